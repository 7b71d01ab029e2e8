/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flags and the configuration file of a program: one table for both.
 *
 *   --name VALUE, --name=VALUE, --switch         name = value, switch = yes|no
 *
 * A flag wins over the same key of the file; a key or flag that is not in the table is refused.
 * --config, --help and --version are understood by themselves.
 */
#ifndef COMMON_OPTIONS_H
#define COMMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct option_spec {
    const char *name;  /* Without the dashes. NULL ends a table. */
    const char *value; /* What to call its value in the help; NULL: a switch. */
    const char *help;
    const char *missing; /* Not NULL: not built yet, and this is why; using it is an error. */
};

/* Takes one value ("yes" or "no" for a switch). Returns NULL, or a sentence why not. */
typedef const char *options_take_fn(void *context, const struct option_spec *spec,
                                    const char *value);

enum options_outcome { OPTIONS_RUN, OPTIONS_EXIT_WELL, OPTIONS_EXIT_USAGE };

/* Reads argv, and the file of --config. Prints help, version or the error itself: the caller
 * exits with 0 or 2 when it is told to. Words that are no flags are refused. */
enum options_outcome options_read(const char *program, const char *version, const char *usage,
                                  const struct option_spec *table, int argc, char **argv,
                                  options_take_fn *take, void *context);

/* "4096", "64K", "32M", "1G", "2T". False if it is not a size or does not fit. */
bool options_size(const char *text, uint64_t *ret_bytes);
/* A whole number in low .. high. */
bool options_number(const char *text, uint64_t low, uint64_t high, uint64_t *ret_number);

/* What an options_take_fn answers, after it put the value there: NULL, or what is wrong with it,
 * until the next call. */
const char *options_take_text(char **text,
                              const char *value); /* Not empty; the old one is freed. */
const char *options_take_number(const char *value, uint64_t low, uint64_t high, uint32_t *number);
const char *options_take_size(const char *value, uint64_t low, uint64_t high, uint64_t *bytes);
const char *options_take_days(const char *value, uint64_t *ns); /* 1 .. 365 */

#endif

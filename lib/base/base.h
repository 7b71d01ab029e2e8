/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base: words that every room speaks.
 *
 * Owns nothing, remembers nothing but the last error sentence of each thread.
 * Pure: no clock, no disk, no chance that is not seeded.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <iomesh/errors.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/prng.h"

/* Every pointer of the store speaks in these blocks. */
#define BLOCK_BYTES 4096u
#define BLOCK_SHIFT 12u

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

#define CONTAINER_OF(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define DIV_CEIL(n, d) (((n) + (d)-1) / (d))
#define ROUND_UP(n, unit) (DIV_CEIL(n, unit) * (unit))

/* A planted bug: constant false in what ships; one test build reads its number at start. */
#ifdef IOMESH_MUTANTS
extern int mutant_active;
#define MUTANT(number) (mutant_active == (number))
#else
#define MUTANT(number) 0
#endif

/*
 * A branch that the storm must reach. Counted in test builds only; `name` is an
 * identifier, unique in the tree. The storm lists the names that it never saw.
 */
#ifdef IOMESH_MUTANTS
void reach_count(const char *name);
/* Every branch reached so far, in the order of first reaching. */
void reach_each(void (*each)(void *context, const char *name, uint64_t count), void *context);
#define REACH(name) reach_count(#name)
#else
#define REACH(name) ((void)0)
#endif

/*
 * Leave a sentence for iomesh_last_error() with its birthplace and return the
 * code. For setup calls and refused arguments; completions carry a code only.
 */
#ifndef __clang_analyzer__
#define FAIL(code, ...) base_fail((code), __FILE__, __LINE__, __VA_ARGS__)
#else /* It cannot see that what is returned is what was passed. */
#define FAIL(code, ...) ((void)base_fail((code), __FILE__, __LINE__, __VA_ARGS__), (code))
#endif
int base_fail(int code, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The calling thread's last sentence; "" if there is none. Valid until the next FAIL. */
const char *base_last_error(void);
/* Where it was born, "file:line"; "" if there is none. */
const char *base_last_error_place(void);
void base_clear_error(void);

/* The text of an IOMESH_… code or a negative errno. Never NULL. */
const char *base_error_text(int code);
/* The nearest positive errno of an IOMESH_… code or a negative errno. */
int base_error_posix(int code);

#endif

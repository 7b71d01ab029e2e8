/* SPDX-License-Identifier: Apache-2.0 */
/* The commands. Each returns the exit status, having said what there is to say. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <jansson.h>

#include "cli/words.h"

int run_pool_init(const struct command *command);
int run_pool_status(const struct command *command);
int run_pool_check(const struct command *command);
int run_pool_scrub(const struct command *command);
int run_volume_create(const struct command *command);
int run_volume_list(const struct command *command);
int run_volume_show(const struct command *command);
int run_volume_resize(const struct command *command);
int run_volume_delete(const struct command *command);
int run_volume_clone(const struct command *command);
int run_volume_flatten(const struct command *command);
int run_volume_export(const struct command *command);
int run_volume_import(const struct command *command);
int run_volume_abandon(const struct command *command);
int run_snapshot_create(const struct command *command);
int run_snapshot_list(const struct command *command);
int run_snapshot_delete(const struct command *command);
int run_snapshot_rollback(const struct command *command);
int run_snapshot_diff(const struct command *command);
int run_group_create(const struct command *command);
int run_group_list(const struct command *command);
int run_group_delete(const struct command *command);

/* Prints a volume as `volume show` does. 0, or 1 after a sentence. */
struct target;
int volume_show(struct target *target, const char *name);

/* --- JSON that they share ------------------------------------------------------------------ */

/* A string, '?' in the place of what is not UTF-8. */
json_t *json_text(const char *text);
json_t *json_number(uint64_t number);
/* A uuid, with its dashes. */
json_t *json_uuid(const uint8_t uuid[16]);
/* Prints and frees it. 0, or 1 after a sentence: no memory, or stdout is full. */
int json_out(const struct command *command, json_t *value);

#endif

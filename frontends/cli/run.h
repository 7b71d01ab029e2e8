/* SPDX-License-Identifier: Apache-2.0 */
/* The commands. Each returns the exit status, having said what there is to say. The target is open,
 * and closed behind them. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <jansson.h>

#include "cli/words.h"

struct target;

int run_pool_status(struct target *target);
int run_pool_scrub(struct target *target);
int run_pool_show(struct target *target);
int run_pool_set(struct target *target);
int run_store_add(struct target *target);
int run_store_list(struct target *target);
int run_store_drain(struct target *target);
int run_store_undrain(struct target *target);
int run_store_remove(struct target *target);
int run_volume_create(struct target *target);
int run_volume_list(struct target *target);
int run_volume_show(struct target *target);
int run_volume_resize(struct target *target);
int run_volume_delete(struct target *target);
int run_volume_clone(struct target *target);
int run_volume_flatten(struct target *target);
int run_volume_abandon(struct target *target);
int run_snapshot_create(struct target *target);
int run_snapshot_list(struct target *target);
int run_snapshot_delete(struct target *target);
int run_snapshot_rollback(struct target *target);
int run_snapshot_diff(struct target *target);
int run_group_create(struct target *target);
int run_group_list(struct target *target);
int run_group_delete(struct target *target);
/* These open what they need, in an order of their own. */
int run_pool_rebuild(const struct command *command);
int run_pool_init(const struct command *command);
int run_pool_check(const struct command *command);
int run_store_check(const struct command *command);
int run_volume_export(const struct command *command);
int run_volume_import(const struct command *command);

struct target;
/* pool status of a cluster; the pool is open. An exit status. */
int cluster_status(struct target *target);
/* Prints a volume as `volume show` does. 0, or 1 after a sentence. */
int volume_show(struct target *target, const char *name);

/* Every copy of a cluster's volume: in *ret_json if that is asked for, else in a table with a head.
 * 0, or a code. */
struct table;
int copies_of(struct target *target, const char *name, json_t **ret_json, struct table *ret_table);

/* The devices of a pool or store, as --device and --size say; bytes of its own file if there are
 * none. 0, or 2 after a sentence. */
struct iomesh_device;
int devices_gather(const struct target *target, struct iomesh_device *devices, uint64_t *ret_bytes);

/* --- JSON that they share ------------------------------------------------------------------ */

/* A string, '?' in the place of what is not UTF-8. */
json_t *json_text(const char *text);
json_t *json_number(uint64_t number);
/* A uuid, with its dashes. */
json_t *json_uuid(const uint8_t uuid[16]);
/* Prints and frees it. 0, or 1 after a sentence: no memory, or stdout is full. */
int json_out(const struct command *command, json_t *value);

#endif

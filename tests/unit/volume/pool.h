/* SPDX-License-Identifier: Apache-2.0 */
/* A pool in the false world, and its operations as calls that wait. */
#ifndef UNIT_VOLUME_POOL_H
#define UNIT_VOLUME_POOL_H

#include <criterion/criterion.h>
#include <string.h>

#include "sim/catalog_rig.h"

#define MIB (1ull << 20)
#define SEGMENT (256 * MIB)

extern struct catalog_rig rig;
extern struct catalog_info shown;
extern char shown_name[CATALOG_NAME_BYTES_MAX + 1];

void pool_open(void);
void pool_reopen(void);
void pool_power_cut(void);
void pool_close(void);
/* Turns until nothing is under way in the catalog, deletions included. */
void pool_settle(void);
void pool_turns(unsigned turns);
/* Writes to a volume until a block finds no place, whatever comes back meanwhile. */
void pool_fill(const char *name, uint64_t bytes);

int create(const char *name, uint64_t bytes);
int delete (const char *name);
int resize(const char *name, uint64_t bytes, bool force);
int show(const char *name);
int handle_open(const char *name, bool read_only, struct catalog_handle **ret_handle);
int handle_close(struct catalog_handle *handle);
/* One block full of a byte. */
int block_write(struct catalog_handle *handle, uint64_t offset, uint8_t byte);
/* The byte of which a block is full; -1 if it is not; an error. */
int block_read(struct catalog_handle *handle, uint64_t offset);
void wait_ended(void);
/* What a block of a volume, or of NAME@SNAPSHOT, reads as; an error. */
int block_look(const char *name, uint64_t offset);
void block_put(const char *name, uint64_t offset, uint8_t byte);
/* Blocks of the store that are in use, when everything has settled. */
uint64_t blocks_used(void);

int snapshot_create(const char *volume, const char *snapshot);
int snapshot_delete(const char *volume, const char *snapshot);
/* Notes them in found[]. */
int snapshot_list(const char *volume, bool space);
int group_create(const char *group, const char *const *volumes, unsigned count);
int group_delete(const char *group);
int clone_make(const char *volume, const char *snapshot, const char *new_name);

int snapshot_rollback(const char *volume, const char *snapshot, bool force);
int flatten(const char *volume);
int import_begin(const char *name, const struct catalog_import *import,
                 struct catalog_handle **ret_handle);
int import_end(struct catalog_handle *handle);
int import_abandon(const char *name);

#define LISTED_MAX 16u
struct listed {
    struct catalog_snapshot snapshot;
    char name[CATALOG_NAME_BYTES_MAX + 1];
    char group[CATALOG_NAME_BYTES_MAX + 1];
};
extern struct listed found[LISTED_MAX];
extern unsigned found_count;
extern char shown_parent[CATALOG_NAME_BYTES_MAX + 1];

#endif

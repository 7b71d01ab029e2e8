/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster in one process of the false world: the metadata (SQLite), stores that are reached
 * through their own ports, and processes that use the pool: a catalog each.
 */
#ifndef UNIT_VOLUME_GATHERING_H
#define UNIT_VOLUME_GATHERING_H

#include <criterion/criterion.h>
#include <string.h>

#include "meta/sqlite/sqlite.h"
#include "sim/disk.h"
#include "sim/meta_vfs.h"
#include "sim/world.h"
#include "volume/catalog.h"

#define MIB (1ull << 20)
#define SEGMENT (256 * MIB)
#define GATHERING_USERS 3u
#define GATHERING_STORES 4u

/* A store, its machine, and its disk. */
struct member {
    struct sim_disk *disk;
    struct store_options options;
    struct store *store;
};

/* How a process sees a store: it may be away. */
struct link {
    struct part_port port;
    struct list cut; /* Requests that end. */
    struct member *to;
    bool known;
};

/* A process that uses the pool. */
struct user {
    struct link links[GATHERING_STORES];
    struct copies_engine *copies;
    unsigned number;
    struct catalog_cluster cluster;
    struct catalog_options options;
    struct catalog *catalog;
    struct volume_engine *volumes;
    unsigned stores_told; /* Times that a store was told of. */
    char said[512];       /* The last event. */
};

struct gathering {
    struct world world;
    struct meta_vfs vfs;
    struct meta *meta;
    struct user users[GATHERING_USERS];
    struct member members[GATHERING_STORES];
    unsigned member_count;
    bool meta_stopped; /* Nobody hears from the metadata. */
    bool waiting;
    int ended;
    struct catalog_handle *opened;
};
extern struct gathering gathering;
/* What else has a turn. */
extern void (*gathering_also)(void);

/* Metadata of a cluster without stores; nobody uses it. */
void gathering_open(void);
void gathering_close(void);
/* The same with stores 1 .. count, each on a node of its own: "n1", ... */
void gathering_open_stores(unsigned count);
/* For a process a store is away, or back. */
void link_cut(unsigned user, unsigned store, bool away);
void gathering_turn(void);
void gathering_turns(unsigned count);
void gathering_run(uint64_t ns);
void gathering_ended(void *context, int result);
/* Waits for what was accepted: the result. */
int gathering_wait(int accepted);

/* Puts the record of a store: of this node, and its own number. Capacity: 1 TiB. */
void store_put(uint64_t id, const char *node);
void store_record_put(const struct metadata_store *record);
void store_record_delete(uint64_t id);

/* `node` and `address` of the process; its number. */
void user_options(unsigned number, const char *node, const char *address);
int user_open(unsigned number);
int user_close(unsigned number);
struct catalog *catalog_of(unsigned number);
int user_create(unsigned number, const char *name, const struct catalog_create *create);

int user_open_volume(unsigned number, const char *name, struct catalog_handle **ret_handle);
/* For reading. */
int user_read_volume(unsigned number, const char *name, struct catalog_handle **ret_handle);
int user_force_volume(unsigned number, const char *name, struct catalog_handle **ret_handle);
/* Begins; gathering.waiting, gathering.opened. */
void user_begin_open(unsigned number, const char *name);
int user_close_volume(struct catalog_handle *handle);
/* One block full of a byte: 0, or why not. The byte that a block is full of; -1: it is not. */
int put_block(struct catalog_handle *handle, uint64_t offset, uint8_t byte);
int get_block(struct catalog_handle *handle, uint64_t offset);
/* Begins; gathering.waiting. Then what get_block() would say. */
void begin_get(struct catalog_handle *handle, uint64_t offset);
int got_block(void);
int discard_range(struct catalog_handle *handle, uint64_t offset, uint64_t length);
int volume_flush(struct catalog_handle *handle);

int user_delete(unsigned number, const char *name);
int user_snapshot(unsigned number, const char *volume, const char *snapshot);
int user_snapshot_delete(unsigned number, const char *volume, const char *snapshot);
/* Begins; *ret_result becomes 0 or less. */
void user_begin_delete(unsigned number, const char *volume, const char *snapshot, int *ret_result);
/* `snapshot` NULL: of the volume as it is. */
int user_import(unsigned number, const char *volume, const struct catalog_import *import,
                struct catalog_handle **ret_handle);
int user_clone(unsigned number, const char *volume, const char *snapshot, const char *new_name);
int user_flatten(unsigned number, const char *volume);
void user_begin_flatten(unsigned number, const char *volume, int *ret_result);
int user_rollback(unsigned number, const char *volume, const char *snapshot, bool force);
/* Of two volumes. */
int user_group(unsigned number, const char *group, const char *volume, const char *other);
void user_begin_rollback(unsigned number, const char *volume, const char *snapshot,
                         int *ret_result);
int user_group_delete(unsigned number, const char *group);
int user_resize(unsigned number, const char *name, uint64_t bytes, bool force);
/* Until nothing goes on behind its back. */
void user_settle(unsigned number);
/* The sequence of a block that a store shows in a view of volume 1; its part's role. */
uint64_t store_shows(unsigned store, uint32_t group, uint64_t block, uint64_t view);
uint8_t store_role(unsigned store, uint32_t group);
/* A request of part (1, 0): its result. */
int store_asked(unsigned store, struct part_request *request);
/* The block full of this byte is not readable any more; there is one. */
void store_damage(unsigned store, uint8_t byte);

/* Records as the metadata has them. False: there is none. */
bool group_get(uint64_t volume, uint32_t group, struct metadata_group *ret_group);
bool map_get(uint64_t volume, uint32_t index, struct metadata_map *ret_map);
bool snapshot_get(uint64_t volume, uint64_t cut, struct metadata_snapshot *ret_snapshot);
bool volume_get(uint64_t volume, struct metadata_volume *ret_volume);
/* The lease that this key hangs on ends. */
void lease_revoke(struct metadata_key prefix);
/* Frees the value. */
void key_put(struct metadata_key key, struct metadata_bytes *value);
/* Keys that begin so. */
unsigned keys_of(struct metadata_key prefix);

#endif

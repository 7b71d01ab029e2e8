/* SPDX-License-Identifier: Apache-2.0 */
/* A pool that nobody uses, worked on for as long as one call takes: making, checking. */
#ifndef API_OFFLINE_H
#define API_OFFLINE_H

#include "api/place.h"
#include "api/pool.h"
#include "meta/sqlite/sqlite.h"

struct offline {
    struct iomesh_engine *engine;
    struct engine_hook hook;
    struct place place;
    struct disk *disks[DEVICES_MAX];
    unsigned disk_count;
    struct meta *meta;
    struct store *store;
    struct api_waiter waiter; /* For what is under way. */
};

/* An engine of its own. 0, or with a sentence. */
int offline_begin(struct offline *offline, const char *url);
/* The same without a place: for what is not in a directory. */
int offline_begin_bare(struct offline *offline);
/* Lets go of everything. */
void offline_end(struct offline *offline);
/* Opens disks of the place; `flags` as for uring_disk_open() of what is not made. */
int offline_open_disks(struct offline *offline, unsigned flags, bool use_bytes);
enum offline_meta { OFFLINE_META_CREATE, OFFLINE_META_READ_ONLY };
int offline_open_meta(struct offline *offline, enum offline_meta how);
/* Options of a store over the open disks. */
void offline_store_options(const struct offline *offline, struct store_options *ret_options);
/* Of init_cluster.c: iomesh_pool_init() of "etcd://…". */
int cluster_init(const char *url, const struct iomesh_pool_init_options *options);
/* Turns until what was started with `waiter` has ended; `accepted` is what starting it said. */
int offline_wait(struct offline *offline, int accepted);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Stores of this machine that nobody serves, read for as long as one call takes. */
#ifndef API_REBUILD_READ_H
#define API_REBUILD_READ_H

#include "api/engine.h"
#include "api/place.h"
#include "api/rebuild.h"
#include "meta/meta.h"
#include "store/store.h"

struct reading_store {
    struct place place;
    struct disk *disks[DEVICES_MAX];
    unsigned disk_count;
    struct store *store;
    struct rebuild_store *rebuild;
    uint8_t *data; /* A list of copies. */
};

struct reading {
    struct iomesh_engine *engine;
    struct engine_hook hook;
    struct reading_store *opened[REBUILD_STORES_MAX];
    uint32_t count;
    struct meta *meta; /* Of whoever sets it: it is turned, and closed at the end. */
    struct api_waiter waiter;
};

/* An engine of its own. 0, or with a sentence. */
int reading_begin(struct reading *reading);
/* Lets go of everything, with a checkpoint of each store. */
void reading_end(struct reading *reading);
/* Turns until what was started with `waiter` has ended. */
int reading_wait(struct reading *reading, int accepted);
/* Opens a store, and reads its copies. It stays open. With a sentence. */
int reading_store(struct reading *reading, struct rebuild *rebuild, const char *path);
/* What all stores know of all groups that any has a record of. With a sentence. */
int reading_parts(struct reading *reading, struct rebuild *rebuild);

#endif

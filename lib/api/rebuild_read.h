/* SPDX-License-Identifier: Apache-2.0 */
/* Stores of this machine that nobody serves, and those that daemons serve: read for as long as one
 * call takes. */
#ifndef API_REBUILD_READ_H
#define API_REBUILD_READ_H

#include "api/engine.h"
#include "api/place.h"
#include "api/rebuild.h"
#include "meta/meta.h"
#include "peer/peer.h"
#include "store/store.h"

struct reading_store {
    struct place place;
    struct disk *disks[DEVICES_MAX];
    unsigned disk_count;
    struct store *store;    /* NULL: it is far. */
    struct peer_port *peer; /* NULL: it is here. */
    struct part_port *port;
    struct rebuild_store *rebuild;
    uint8_t *data; /* A list of copies. */
};

struct reading {
    struct iomesh_engine *engine;
    struct engine_hook hook;
    struct reading_store *opened[REBUILD_STORES_MAX];
    uint32_t count;
    struct net *net;   /* To those that are far. */
    struct net *tls;   /* That, if it is sealed. */
    struct meta *meta; /* Of whoever sets it: it is turned, and closed at the end. */
    struct api_waiter waiter;
};

/* An engine of its own. `tls_directory`: NULL, or what connections are sealed with. 0, or with a
 * sentence. */
int reading_begin(struct reading *reading, const char *tls_directory);
/* Lets go of everything, with a checkpoint of each store. */
void reading_end(struct reading *reading);
/* Turns until what was started with `waiter` has ended. */
int reading_wait(struct reading *reading, int accepted);
/* Opens a store, and reads its copies. It stays open. With a sentence. */
int reading_store(struct reading *reading, struct rebuild *rebuild, const char *path);
/* Asks each store that the daemon at `address` serves. With a sentence. */
int reading_far(struct reading *reading, struct rebuild *rebuild, const char *address);
/* One more, with what its copies are read into. NULL: no memory, or too many; with a sentence. */
struct reading_store *reading_store_new(struct reading *reading, struct rebuild *rebuild,
                                        const char *path);
/* Its port is up: reads its copies. With a sentence. */
int reading_copies(struct reading *reading, struct rebuild *rebuild, struct reading_store *opened);
/* What all stores know of all groups that any has a record of. With a sentence. */
int reading_parts(struct reading *reading, struct rebuild *rebuild);

#endif

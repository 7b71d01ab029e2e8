/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stores: the stores of a pool, as their records in the metadata say.
 *
 *   stores_start() ──▶ LIST store/, page by page ──▶ `ready` ──▶ WATCH ──┐
 *                        ▲                                               │ history was too short,
 *                        └── after a second, if it failed ◀──────────────┘ or the watch ended
 *
 * Owns a copy of every record, and the tree of failure domains that is made of them. Whoever makes
 * the connections is told of each record that is new, changed or gone.
 *
 * A record that cannot be read is told as a fault and is none: the one before it stays.
 */
#ifndef VOLUME_STORES_H
#define VOLUME_STORES_H

#include "format/metadata.h"
#include "host/host.h"
#include "meta/meta.h"
#include "place/place.h"

#define STORES_MAX PLACE_STORES_MAX

struct stores_options {
    struct meta *meta;
    struct clock *clock;
    /* record: NULL if it is gone; else valid until the next change of this store. NULL is fine. */
    void (*changed)(void *context, uint64_t store, const struct metadata_store *record);
    /* A whole sentence, valid during the call. NULL is fine. */
    void (*fault)(void *context, const char *text);
    void *context;
};

/* One record, and where it comes from. */
struct stores_entry {
    struct metadata_store record;
    uint64_t revision;
    bool listed; /* By the list that is under way. */
};

/* Zero it, then stores_start(). Read `count`; the rest is its own. */
struct stores {
    struct stores_options options;
    struct stores_entry **entries; /* In order of their ids. */
    uint32_t count, capacity;
    struct place *place; /* Its memory, too. NULL: to be made anew. */
    bool ready, stopped;
    bool watching;
    uint64_t from; /* The watch begins there: after the first page of the list. */
    struct metadata_key after;
    struct meta_request request;
    struct meta_watch watch;
    struct timer timer;
    void (*done)(void *context, int result);
};

/* `done` once: 0, all stores are known; or why the first list could not be read, and nothing goes
 * on. 0, or what meta_commit() says. */
int stores_start(struct stores *stores, const struct stores_options *options,
                 void (*done)(void *context, int result));
/* Nothing is told any more. */
void stores_stop(struct stores *stores);
/* It waits for an answer of the metadata: not to be freed. */
bool stores_flying(const struct stores *stores);
/* Frees what it holds; stopped, not flying. Harmless on what never began. */
void stores_done(struct stores *stores);

/* NULL: there is none of this id. */
const struct metadata_store *stores_find(const struct stores *stores, uint64_t id);
/* For placing; what is charged to it holds until a record changes. NULL: no memory. */
struct place *stores_place(struct stores *stores);

#endif

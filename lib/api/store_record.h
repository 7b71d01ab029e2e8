/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a store in the metadata of a cluster, for whoever makes or serves the store.
 *
 * One thing at a time; `done` runs once if 0 was returned, from meta_poll(). What is in `record`
 * is as it was read last.
 *
 *   make:  READ the counter ──▶ LIST, page by page: is there one of this uuid? ──▶ PUT both
 *                ▲                                                                  │
 *                └────────────── somebody else took the number, or nobody knows ────┘
 *
 * The counter is read first and compared last: a transaction whose outcome nobody told has either
 * happened before, and is found in the list, or never happens.
 */
#ifndef API_STORE_RECORD_H
#define API_STORE_RECORD_H

#include "api/pool.h"
#include "format/metadata.h"

#define STORE_RECORD_COUNTER "store"

struct store_record;
typedef void store_record_fn(struct store_record *record, int result);

/* Zero it, set `pool`. */
struct store_record {
    struct iomesh_pool *pool;
    struct metadata_store record;
    uint64_t revision; /* Of the record; 0: there is none, or none was read. */

    /* Its own. */
    struct meta_request request;
    struct metadata_key after;
    uint8_t uuid[16];
    uint64_t counter_next, counter_revision;
    unsigned tries;
    bool making;
    store_record_fn *listed, *done;
};

/* Nothing of it is under way. */
void store_record_done(struct store_record *record);
bool store_record_flying(const struct store_record *record);

/* The one of this uuid. `done`: -ENOENT, with a sentence; what the metadata said. */
int store_record_find(struct store_record *record, const uint8_t uuid[16], store_record_fn *done);
/* The same, by record->record.id. -ESTALE: there is no pool, so nothing was removed from it. */
int store_record_read(struct store_record *record, store_record_fn *done);
/* record->record as it was filled in, under a number that it is given. */
int store_record_make(struct store_record *record, store_record_fn *done);
/* record->record as it was changed, if nobody changed it since it was read. `done`:
 * IOMESH_CONFLICT: somebody did, nothing happened; IOMESH_UNKNOWN: read it again. */
int store_record_put(struct store_record *record, store_record_fn *done);
/* Whether a session of its node and address lives: `done` sees 1, or 0. */
int store_record_owner(struct store_record *record, store_record_fn *done);

#endif

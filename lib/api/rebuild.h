/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rebuild: metadata of a cluster's pool, made anew of what its stores have copies of.
 *
 *   of each store: its own name, the copies of records that it keeps, the states of its parts
 *     ──▶ merge: of each volume the newest set of records, corrected by what the parts know
 *     ──▶ new metadata, a pool when its last transaction is done
 *
 * A copy may be older than the record was (lib/volume/catalog_records.c). What follows from that:
 *   - Epochs, generations and sequences go beyond anything that any store has seen, and so much
 *     further that a store which is away has not seen them either.
 *   - Who is in sync is what the newest record says, unless a part has seen a newer generation:
 *     then those parts are that have seen it as such. Everybody else is stale, which costs a
 *     comparison of versions, no more.
 *   - Where so many of those are missing that others may have acknowledged writes without those
 *     that are here, it is a loss that somebody has to accept.
 */
#ifndef API_REBUILD_H
#define API_REBUILD_H

#include "format/metadata.h"
#include "format/metadata_copy.h"
#include "part/part.h"

#define REBUILD_STORES_MAX 256u
#define REBUILD_EPOCHS (1ull << 24)    /* Beyond what was seen: changes of owner. */
#define REBUILD_SEQUENCES (1ull << 36) /* Writes. */
#define REBUILD_GENERATIONS (1u << 16) /* Changes of a group. */
#define REBUILD_NUMBERS (1ull << 20)   /* Of volumes. */

/* A copy that a store has. */
struct rebuild_copy {
    struct rebuild_copy *next;
    struct metadata_key_parts parts; /* Its name is within `key`. */
    struct metadata_stamp stamp;
    uint32_t bytes;
    uint8_t *data; /* The record. */
    struct metadata_key key;
};

/* What a store knows of a part. */
struct rebuild_part {
    struct rebuild_part *next;
    uint64_t volume;
    uint32_t group;
    struct part_state state;
    uint64_t sequence; /* The newest that is in it. */
};

struct rebuild_store {
    char *path;
    uint64_t id;      /* Of one that was asked from far: its copies say which uuid it has. */
    uint8_t uuid[16]; /* None: not known. */
    uint64_t incarnation, bytes;
    bool known; /* It has a copy of its own record. */
    struct metadata_store record;
    struct rebuild_copy *copies;
    struct rebuild_part *parts;
};

/* A record to be put. */
struct rebuild_record {
    struct rebuild_record *next;
    struct metadata_key key;
    struct metadata_bytes value;
};

struct rebuild {
    struct rebuild_store *stores[REBUILD_STORES_MAX];
    uint32_t store_count;
    void (*tell)(void *context, uint32_t severity, const char *text);
    void *context;

    /* Of merging. */
    struct rebuild_record *records, **last;
    struct rebuild_volume *volumes; /* In order of their ids. */
    struct metadata_cluster cluster;
    uint64_t volume_count, snapshot_count, group_count; /* That were found. */
    uint64_t losses;                                    /* Groups that may lack something. */
    uint64_t faults;                                    /* What could not be read, or is missing. */
    uint64_t id_last, store_last;
};

void rebuild_say(struct rebuild *rebuild, uint32_t severity, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
struct rebuild_store *rebuild_store_new(struct rebuild *rebuild, const char *path);
/* The one that was made last, of which nothing was read. */
void rebuild_store_drop(struct rebuild *rebuild);
/* Another that is the same. NULL: there is none. */
const struct rebuild_store *rebuild_store_same(const struct rebuild *rebuild,
                                               const struct rebuild_store *store);
/* Takes what a store has listed. 0, -ENOMEM. */
int rebuild_copy_add(struct rebuild *rebuild, struct rebuild_store *store,
                     const struct metadata_copy *copy);
const struct rebuild_part *rebuild_part_find(const struct rebuild_store *store, uint64_t volume,
                                             uint32_t group);
/* Of all stores: the records of the metadata. 0, -ENOMEM, -ENOENT, -EXDEV, IOMESH_CORRUPT … with a
 * sentence. */
int rebuild_merge(struct rebuild *rebuild);
void rebuild_done(struct rebuild *rebuild);
/* What was read, into a file that is not there; and back. With a sentence. */
int rebuild_save(const struct rebuild *rebuild, const char *path);
int rebuild_load(struct rebuild *rebuild, const char *path);

#endif

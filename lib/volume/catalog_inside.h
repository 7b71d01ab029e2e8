/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the catalog share.
 *
 *   catalog_call() ──▶ slot: one queue per name in use ──▶ begin ──▶ steps ──▶ end ──▶ the next
 *
 * An operation is a chain of steps; each waits for one transaction, or for catalog_turn(). A name
 * has a slot while an operation on it runs or waits, or while its volume is open.
 */
#ifndef VOLUME_CATALOG_INSIDE_H
#define VOLUME_CATALOG_INSIDE_H

#include "format/metadata.h"
#include "volume/catalog.h"

#define CATALOG_BUCKETS 1024u
#define CATALOG_RETRY_NS NS_PER_S
#define CATALOG_STORE_ID 1u /* The one store of an embedded pool. */
#define CATALOG_COUNTER "volume"

struct catalog_op;
struct catalog_volume;
typedef void catalog_step_fn(struct catalog_op *op, int result);

struct catalog_slot {
    struct list node; /* In its bucket. */
    struct list ops;  /* struct catalog_op.node that wait. At most operations_max and handles. */
    bool running;     /* One that is not among them any more. */
    struct catalog_volume *open;
    char name[CATALOG_NAME_BYTES_MAX + 1];
};

/* Lives at the head of an operation of some kind. */
struct catalog_op {
    struct catalog *catalog;
    struct catalog_slot *slot; /* NULL: of no name. */
    struct list all;           /* In catalog->ops. */
    struct list node;          /* In slot->ops. */
    struct list later;         /* In catalog->later, or among those that wait for a number. */
    catalog_step_fn *begin;
    catalog_step_fn *next;   /* After what is waited for. */
    catalog_step_fn *loaded; /* After catalog_op_load(). */
    catalog_step_fn *opened; /* After catalog_op_open_volume(). */
    catalog_step_fn *closed; /* After catalog_op_close_volume(). */
    catalog_step_fn *held;   /* After catalog_op_hold_record(). */
    /* Tells, and frees the operation. */
    void (*end)(struct catalog_op *op, int result);
    int result; /* For `next`, if it comes from catalog_turn(). */
    bool writes;
    struct meta_request request;
    struct metadata_volume record; /* Of the volume, once loaded. */
    uint64_t revision;             /* Of the record; 0: none is loaded. */
    bool record_lent;              /* It is the open volume's: its memory is not ours. */
    uint64_t id;                   /* From catalog_op_take_id(). */
    catalog_done_fn *done;
    void *context;
};

/* A volume that is open. */
struct catalog_volume {
    struct catalog *catalog;
    struct catalog_slot *slot;
    struct volume *volume;
    struct metadata_volume record; /* As committed. */
    uint64_t revision;
    struct list handles;
    bool writable; /* It has an epoch and sequences. */

    /* One transaction at a time changes the record. */
    bool changing;
    struct catalog_op *waits; /* To be next; at most one, for the slot lets only one run. */

    /* The next lot of sequences. */
    bool lot_wanted;
    struct list lot_later; /* In catalog->lots_later: the metadata took no more. */
    struct timer lot_timer;
    struct meta_request lot_request;
    struct metadata_volume lot_record;
};

struct catalog_handle {
    struct catalog_op op; /* Of opening, then of closing. First: see catalog_ops_abandon(). */
    struct list node;     /* In volume->handles. */
    struct catalog_volume *volume;
    bool read_only;
    catalog_opened_fn *opened;
};

struct catalog_ids {
    uint64_t next, end; /* Reserved, and not given out. */
    uint64_t counter;   /* As in the metadata. */
    uint64_t revision;  /* Of the counter; 0: not read. */
    bool flying;
    bool again;          /* The metadata took no more: once more in the next turn. */
    struct list waiting; /* struct catalog_op.later */
    struct meta_request request;
};

/* A volume whose space is coming back. As many as were deleted: at most the volumes of a pool. */
struct catalog_deletion {
    struct list node;        /* In catalog->deletions. */
    struct list later;       /* In catalog->deletions_later. */
    struct catalog *catalog; /* NULL: it was closed; the store may still tell. */
    uint64_t id;
    bool found; /* By the scan at opening. */
    bool flying;
    struct meta_request request;
};

struct catalog_session {
    uint64_t lease;
    bool flying;
    struct timer timer;
    struct meta_request request;
};

struct catalog_scan {
    bool flying, again;
    struct metadata_key after;
    struct meta_request request;
};

enum catalog_state { CATALOG_OPENING, CATALOG_READY, CATALOG_CLOSING };

struct catalog {
    struct catalog_options options;
    enum catalog_state state;
    uint32_t op_count, volume_count, handle_count, deletion_count;
    struct list buckets[CATALOG_BUCKETS];
    struct list ops;
    struct list later;
    struct list lots_later;
    struct list deletions;
    struct list deletions_later;
    struct catalog_ids ids;
    struct catalog_session session;
    struct catalog_scan scan;
    uint64_t store_revision;
    struct metadata_store store_record;
    struct meta_request request; /* Of opening. */
    catalog_done_fn *done;       /* Of opening, then of closing. */
    void *context;
};

/* --- catalog_op.c --------------------------------------------------------------------------- */

/* Room for one more, and `name` (NULL: of none) is one. With a sentence. */
int catalog_may_start(struct catalog *catalog, const char *name, bool changes);
/* Puts it into the queue of its name. 0 or -ENOMEM. */
int catalog_op_start(struct catalog_op *op, struct catalog *catalog, const char *name,
                     catalog_step_fn *begin, void (*end)(struct catalog_op *, int));
/* `next` runs from catalog_turn(). */
void catalog_op_later(struct catalog_op *op, int result, catalog_step_fn *next);
/* Commits op->request; `next` runs with the result. */
void catalog_op_commit(struct catalog_op *op, catalog_step_fn *next);
/* op->record as in the metadata or, if it is open, in memory. -ENOENT: ends the operation. */
void catalog_op_load(struct catalog_op *op, catalog_step_fn *loaded);
void catalog_op_end(struct catalog_op *op, int result);
/* Leaves the sentence for a result that came without one, then ends it. */
void catalog_op_fail(struct catalog_op *op, int result);
/* The same for a committed transaction whose compares may not have held. True: it failed. */
bool catalog_op_failed(struct catalog_op *op, int result);
unsigned catalog_ops_turn(struct catalog *catalog);
void catalog_ops_abandon(struct catalog *catalog);
struct catalog_slot *catalog_slot_find(struct catalog *catalog, const char *name);

/* --- catalog_record.c ----------------------------------------------------------------------- */

/* If the record is still the one of `revision`, put this one. 0 or -ENOMEM. */
int catalog_put_record(struct meta_request *request, const struct metadata_volume *record,
                       uint64_t revision);
int catalog_put_name(struct meta_request *request, const struct metadata_volume *record);
void catalog_tell(const struct catalog *catalog, enum store_event_severity severity,
                  uint64_t volume_id, uint64_t bytes, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
int catalog_check_size(const char *name, uint64_t bytes);

/* --- catalog_ids.c -------------------------------------------------------------------------- */

void catalog_op_take_id(struct catalog_op *op, catalog_step_fn *taken);
void catalog_ids_turn(struct catalog *catalog);

/* --- catalog_volume.c ----------------------------------------------------------------------- */

/* Opens op->slot's volume, or makes an open one writable if op->writes; then `opened`. */
void catalog_op_open_volume(struct catalog_op *op, catalog_step_fn *opened);
/* Closes it if it has no handle, giving back sequences; then `closed`. */
void catalog_op_close_volume(struct catalog_op *op, catalog_step_fn *closed);
/* Nothing else changes the open volume's record until catalog_volume_changed(). */
void catalog_op_hold_record(struct catalog_op *op, catalog_step_fn *held);
/* The record that was put, or NULL if it was not. */
void catalog_volume_changed(struct catalog_volume *volume, const struct metadata_volume *record,
                            uint64_t revision);
void catalog_lots_turn(struct catalog *catalog);
void catalog_volume_abandon(struct catalog_volume *volume);

/* --- catalog_delete.c ----------------------------------------------------------------------- */

void catalog_deletions_turn(struct catalog *catalog);
/* Those under way in the store are left to it. */
void catalog_deletions_leave(struct catalog *catalog);
void catalog_deletions_abandon(struct catalog *catalog);
void catalog_scan_start(struct catalog *catalog);

/* --- catalog_pool.c ------------------------------------------------------------------------- */

/* The records of pool and store, asked for; and what they say once they were read. */
void catalog_look_build(struct meta_request *request);
int catalog_look_read(const struct meta_request *request, struct catalog_look *ret_look,
                      struct metadata_store *ret_store, uint64_t *ret_revision);

/* --- catalog_session.c ---------------------------------------------------------------------- */

void catalog_session_start(struct catalog *catalog);
/* Its key, for the transaction that begins it. 0 or -ENOMEM. */
int catalog_session_put(struct catalog *catalog, struct meta_request *request);

#endif

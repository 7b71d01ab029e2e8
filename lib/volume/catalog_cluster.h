/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the catalog share about clusters: volumes that this process owns.
 *
 *   claimed ──▶ groups and maps are read ──▶ copies_open() ──▶ open ──▶ closed, given back
 *                                                               └──▶ ended: fenced, or lost
 *
 * Of an owned volume every change of a record compares the revision of the volume's record, which
 * only its owner changes: who was overtaken by another owner finds out by that and changes nothing.
 */
#ifndef VOLUME_CATALOG_CLUSTER_H
#define VOLUME_CATALOG_CLUSTER_H

#include "volume/catalog_inside.h"

/* A group, as the metadata has it, and as its copies want it. */
struct catalog_owned_group {
    struct metadata_group record;
    uint64_t revision;
    struct replica_record wanted;
    struct metadata_group next; /* What is in the transaction under way; memory is lent. */
    bool asked;                 /* `wanted` is to be put. */
    bool flying;                /* It is in the transaction under way. */
    bool told;                  /* There may be a record of its progress. */
    uint64_t told_bytes;
};

struct catalog_owned {
    struct list node;    /* In catalog->owned. */
    struct list later;   /* In catalog->owned_later: a transaction is to begin. */
    struct list wishful; /* In catalog->owned_wishful: wishes are to be looked at. */
    struct catalog_volume *volume;
    struct catalog_op *op;              /* That waits until it is open. */
    struct copies *copies;              /* NULL: not yet, or not any more. */
    struct catalog_owned_group *groups; /* In order of their numbers. */
    uint32_t group_count, group_capacity;
    struct copies_run *runs; /* Until it is open. */
    uint32_t run_count, run_capacity;
    uint64_t segments;     /* That the maps tell of. */
    uint64_t sequence;     /* The next, until it is open. */
    uint64_t old_until_ns; /* When the owner before has surely ended; 0: it has. */
    uint64_t *cuts;        /* Kept, oldest first. */
    uint32_t cut_count;
    int ended; /* Why nothing is done any more; 0: it is. */
    bool is_open;
    uint64_t wished_rate; /* Bytes a second, of all wishes together; 0: none. */
    bool unsure;          /* Somebody may have taken it: to be looked at before the lease counts. */
    bool unsure_again;
    bool committing;
    bool taking;                 /* A snapshot: no cut is dropped meanwhile. */
    struct catalog_sweep *sweep; /* Cuts are being dropped: none is taken meanwhile. */
    struct catalog_op *swept;    /* Waits for the end of that, */
    catalog_step_fn *swept_next; /* then this. */
    struct meta_request request;
    struct timer timer, wish_timer, progress_timer;
    uint64_t reader;                  /* Of a snapshot: the session whose key keeps it. */
    uint64_t reader_revision;         /* Of that key. */
    struct list kin;                  /* struct catalog_kin.node: volumes that it reads. */
    catalog_step_fn *opened, *closed; /* Of `op`. */
    struct records_run *records;      /* Under way. */
    uint64_t records_due_ns;          /* When copies of its records are looked at next. */
    struct catalog_op *records_op;    /* Closes it: waits for the last run, */
    catalog_step_fn *records_next;    /* then this. */
    struct timer records_timer;
    struct meta_request progress;
    bool progressing;
    struct catalog_op *progressed;    /* Waits for the end of that, */
    catalog_step_fn *progressed_next; /* then this. */
};

static inline struct catalog *owned_catalog(const struct catalog_owned *owned)
{
    return owned->volume->catalog;
}

/* Before the record is claimed. */
struct catalog_claim {
    uint64_t owner_revision; /* Of the session's key of whoever had it; 0: it is gone. */
    uint64_t owner_lease;
    struct metadata_bytes owner_value;
    bool compares; /* There was an owner. */
    bool succeeds; /* It was this process's earlier life. */
    bool forced;
    struct metadata_key after;
    struct catalog_owned *owned;
};

/* --- catalog_place.c ------------------------------------------------------------------------ */

/* Where what a volume gets goes: groups and maps that are not in the metadata yet. */
struct catalog_layout {
    const struct metadata_volume *record; /* Borrowed. */
    uint64_t segments;
    uint32_t group_first, group_count; /* New ones, and of all. */
    uint32_t map_first, map_count;     /* To be put, and of all. */
    uint32_t *sizes;                   /* Segments of each group. */
    uint64_t *stores;                  /* policy.copies of each new group. */
    struct metadata_map *maps;         /* Of map_first .. map_count - 1. */
};
/* Of a volume that has none yet. 0, -ENOMEM, or -ENOSPC with a sentence. Charges the stores. */
int catalog_layout_new(struct catalog *catalog, const struct metadata_volume *record,
                       const struct place_hint *hint, struct catalog_layout *ret_layout);
/* The same for one that has maps already, and whose record says what it will be. */
int catalog_layout_grow(struct catalog *catalog, const struct metadata_volume *record,
                        const struct metadata_map *maps, uint32_t map_count,
                        const struct place_hint *hint, struct catalog_layout *ret_layout);
/* It does not come about. */
void catalog_layout_return(struct catalog *catalog, const struct catalog_layout *layout);
void catalog_layout_done(struct catalog_layout *layout);
/* Records to be put, and one of them. 0 or -ENOMEM. */
uint32_t catalog_layout_items(const struct catalog_layout *layout);
int catalog_layout_put(const struct catalog_layout *layout, uint32_t item, uint64_t now_ns,
                       struct meta_request *request);

/* Of a volume that is made together with something else, by one transaction. What of it is too much
 * for that comes before, in others, with a record that is `deleting` (as of catalog_create.c). */
struct catalog_birth {
    struct metadata_volume record; /* Lent. */
    struct catalog_layout layout;
    uint32_t items;    /* 0: it is not placed, or of an embedded pool. */
    uint32_t item;     /* The next to be put before the last transaction. */
    uint64_t revision; /* Of the record that is there already; 0: none. */
    catalog_step_fn *placed;
};
/* Places it, once, and puts what does not fit into one transaction, with op->request; nothing of an
 * embedded pool. `placed` sees 0, or why not, and the sentence is there. */
void catalog_birth_start(struct catalog_op *op, struct catalog_birth *birth,
                         const struct metadata_volume *record, catalog_step_fn *placed);
/* The record of it as it will be, and what is left of groups and maps. 0 or -ENOMEM. */
int catalog_birth_put(const struct catalog_birth *birth, const struct metadata_volume *record,
                      struct meta_request *request);
/* It has come about or not. `volume`: its number. */
void catalog_birth_end(struct catalog *catalog, struct catalog_birth *birth, uint64_t volume,
                       int result);

/* --- catalog_claim.c ------------------------------------------------------------------------ */

/* op->record is loaded, op->cuts are listed: makes it ours, opens it into the slot; then
 * op->opened. */
void catalog_op_claim(struct catalog_op *op);
void catalog_claim_free(struct catalog_claim *claim);
/* In a cluster: a volume that is not open here is not open elsewhere, or the operation ends with
 * -EBUSY; then `next`, with 0. Of an embedded pool at once. */
void catalog_op_owner(struct catalog_op *op, catalog_step_fn *next);
/* After that, while op->record is as it was loaded: the transaction compares that its owner has not
 * come back since. */
void catalog_op_unowned(struct catalog_op *op);
/* Puts op->record, as catalog_put_record(), with what whoever has the volume open must know: whose
 * session ran out, or who yields, has it no more. An open volume keeps its owner. */
int catalog_op_put_taken(struct catalog_op *op);

/* An entry of a page of the volume's groups, or maps: into `owned`. */
int catalog_claim_group(struct catalog_owned *owned, uint64_t volume,
                        const struct meta_entry *entry);
int catalog_claim_map(struct catalog_owned *owned, uint64_t volume, const struct meta_entry *entry);

/* --- catalog_kin.c -------------------------------------------------------------------------- */

/* What its copies ask of a volume that they read. */
void catalog_kin_look(struct catalog_owned *owned, uint64_t volume);
/* All of op->parents will be read. 0 or -ENOMEM. */
int catalog_kin_add(struct catalog_owned *owned, const struct catalog_op *op);
void catalog_kin_free(struct catalog_owned *owned);

/* --- catalog_view.c ------------------------------------------------------------------------- */

/* op->record, ->cuts and ->parents are of a snapshot that is not open here: a key says that we read
 * it, then it is open; op->view, op->opened. `cut`: one of op->cuts. */
void catalog_op_read_view(struct catalog_op *op, struct catalog_cut *cut);
/* What deletes that key. */
void catalog_view_unpin(const struct catalog_volume *volume, struct meta_request *request);
/* In a cluster: nobody reads this snapshot of op->record, or the operation ends with -EBUSY; then
 * `next`, with 0. Of an embedded pool at once: see catalog_slot_view(). */
void catalog_op_readers(struct catalog_op *op, uint64_t cut, catalog_step_fn *next);

/* Of all snapshots that are open: as catalog_owned_lease(), _end(), catalog_port_changed(). */
void catalog_views_lease(struct catalog *catalog);
void catalog_views_end(struct catalog *catalog);
void catalog_views_port(struct catalog *catalog, struct part_port *port);

/* --- catalog_space.c ------------------------------------------------------------------------ */

/* What op->space says of these cuts of op->record, of all copies. `measured`: 0, or -ENOTCONN: a
 * store that has a copy is away; ... */
void catalog_op_measure(struct catalog_op *op, uint32_t cut_count, catalog_step_fn *measured);

/* --- catalog_grow.c ------------------------------------------------------------------------- */

/* Of a cluster; op->record is loaded: so many bytes of it get groups. `grown`: 0, or why not,
 * perhaps with a sentence; or the operation ends. */
void catalog_op_grow(struct catalog_op *op, uint64_t bytes, catalog_step_fn *grown);
void catalog_grow_free(struct catalog_grow *grow);

/* --- catalog_retire.c ----------------------------------------------------------------------- */

/* What stores are to drop for a chore: those of its volume forget it, or the copies of an open
 * volume drop what they keep for cuts. Then catalog_chore_stored(). 0, or why not. */
int catalog_chore_ask(struct catalog_chore *chore);
/* A store can be reached: what waits for one asks now. */
void catalog_retire_hurry(struct catalog *catalog);
/* The catalog is being closed: false: nothing is asked. */
bool catalog_chore_leave(struct catalog_chore *chore);
/* Nothing more is asked of the copies for it. */
void catalog_owned_sweep_stop(struct catalog_owned *owned);

/* --- catalog_records.c ---------------------------------------------------------------------- */

/* A record of the volume is another than it was: its stores get copies, soon. */
void catalog_records_changed(struct catalog_owned *owned);
/* Stores have copies of all that was changed, as far as they could be reached. */
bool catalog_records_settled(const struct catalog_owned *owned);
/* The volume is to be closed: what its stores have no copy of yet is sent first; then `next`. At
 * most a moment later. */
void catalog_records_last(struct catalog_owned *owned, struct catalog_op *op,
                          catalog_step_fn *next);
/* The volume is closed; all of them are. */
void catalog_records_leave(struct catalog_owned *owned);
void catalog_records_stop(struct catalog *catalog);
/* One of its stores is back. */
void catalog_records_port(struct catalog *catalog, const struct part_port *port);

/* --- catalog_owned_commit.c ----------------------------------------------------------------- */

/* A group as the machine of its copies knows it. */
struct replica_record catalog_owned_record(const struct metadata_group *group, uint64_t epoch);
/* What is asked for is put in this turn or the next. */
void catalog_owned_later(struct catalog_owned *owned);
/* The record may be changed again. */
void catalog_owned_wake(struct catalog_owned *owned);
void catalog_owned_turn(struct catalog *catalog);

/* --- catalog_owned.c ------------------------------------------------------------------------ */

/* 0 or -ENOMEM. */
int catalog_owned_new(struct catalog_volume *volume, struct catalog_owned **ret_owned);
/* A store of our own node that has a copy of the group; 0: there is none. */
uint64_t catalog_local_store(const struct catalog *catalog, const struct metadata_group *group);
/* What its copies ask. */
struct copies_calls catalog_owned_calls(struct catalog_owned *owned);
/* Its copies, once groups and runs are there. Then `opened`: 0, or why it ended before. */
int catalog_owned_open(struct catalog_owned *owned, struct catalog_op *op, catalog_step_fn *opened);
/* Nothing of it is under way: lets its copies go, then `closed`. */
void catalog_owned_close(struct catalog_owned *owned, struct catalog_op *op,
                         catalog_step_fn *closed);
void catalog_owned_free(struct catalog_owned *owned);
/* Cuts are being dropped: `next` when that is over. One operation may wait. */
void catalog_owned_after_sweep(struct catalog_owned *owned, struct catalog_op *op,
                               catalog_step_fn *next);
/* Kept cuts, as they are now. 0 or -ENOMEM. */
int catalog_owned_cuts(struct catalog_owned *owned, const struct catalog_cuts *cuts);
/* Those that are not kept any more go. */
void catalog_owned_keep(struct catalog_owned *owned, const struct catalog_cuts *cuts);
/* Room for one more: 0 or -ENOMEM; then one more. */
int catalog_owned_cut_room(struct catalog_owned *owned);
void catalog_owned_cut_add(struct catalog_owned *owned, uint64_t cut);
/* All that are kept or being taken: room for PART_CUTS_MAX. */
uint32_t catalog_owned_cuts_now(const struct catalog_owned *owned, uint64_t *cuts);
/* Of all: the lease was renewed; it may be that somebody took some. */
void catalog_owned_lease(struct catalog *catalog);
void catalog_owned_doubt_one(struct catalog_owned *owned);
void catalog_owned_doubt(struct catalog *catalog);
/* Those that wait until they are open need not. */
void catalog_owned_stop(struct catalog *catalog);
/* Somebody else wants what is kept: from now on it is ours no more. */
void catalog_owned_yield(struct catalog_owned *owned);

/* --- catalog_keep.c ------------------------------------------------------------------------- */

/* Another operation on a name: if the volume is kept, or being opened for that, it is let go. */
void catalog_slot_yield(struct catalog_slot *slot, const struct catalog_op *op);

/* --- catalog_handle.c ----------------------------------------------------------------------- */

/* As catalog_handle_open(), for the keeper. */
/* The slot of one that was deleted, and is kept for clones: no volume can have that name. */
void catalog_nameless(uint64_t volume, char name[CATALOG_NAME_BYTES_MAX + 1]);
/* Without `name` it is one that was deleted, and is kept for clones. */
int catalog_handle_keep(struct catalog *catalog, uint64_t volume, const char *name,
                        catalog_opened_fn *opened, void *context);

/* --- catalog_release.c ---------------------------------------------------------------------- */

/* It may be ours in the metadata, of this epoch, and is open nowhere: it is given back. */
void catalog_release(struct catalog *catalog, uint64_t volume, uint64_t epoch);
/* So may the key of who read a snapshot of the volume of that name. */
void catalog_release_reader(struct catalog *catalog, const char *name, uint64_t volume,
                            uint64_t cut, uint64_t reader);
/* The catalog is being closed: what waits does not any more. */
void catalog_releases_leave(struct catalog *catalog);

/* --- catalog_wish.c ------------------------------------------------------------------------- */

void catalog_wishes_start(struct catalog *catalog);
void catalog_wishes_stop(struct catalog *catalog);
void catalog_wishes_done(struct catalog *catalog);
void catalog_wishes_turn(struct catalog *catalog);
/* NULL: none. */
const struct catalog_wish *catalog_wish_find(const struct catalog *catalog, uint64_t volume,
                                             uint32_t group);
/* It is open: wishes are done, progress is told. */
void catalog_owned_began(struct catalog_owned *owned);
/* Wishes of its groups are looked at, in this turn or the next. */
void catalog_owned_wish(struct catalog_owned *owned);
/* What the keeper gives its moves, but no more than any volume may take; or that. */
void catalog_owned_rate(struct catalog_owned *owned);
/* Whether this store's copy leaves because another comes, which `wanted` has. */
bool catalog_wish_leaves(const struct catalog_owned *owned, const struct replica_record *wanted,
                         uint32_t group, uint64_t store);
/* No progress is being told any more: `next`. One operation may wait. */
void catalog_owned_after_progress(struct catalog_owned *owned, struct catalog_op *op,
                                  catalog_step_fn *next);

#endif

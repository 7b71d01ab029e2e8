/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copies: what an open volume asks of a store, asked of all the copies of it.
 *
 * Owns the groups of one volume while it is open for writing: for each the machine that knows who
 * is in sync (replica/), every request to its copies, reconciling after a takeover and the copying
 * to those that catch up. It performs what the machine says, and decides nothing of the protocol.
 *
 * Takes the same operations as a store (struct store_op), so that whoever submits one cannot tell:
 *   STORE_WRITE, STORE_ZERO, STORE_BAD  are done when every copy that must have it has it
 *   STORE_READ               by one copy; blocks that it cannot read by another, and these are then
 *                            written to it anew, behind the answer; IOMESH_CORRUPT: none has them
 *   STORE_MAP, STORE_CHANGED by one copy that is in sync
 * Before the volume has settled, and while too few copies are in sync, they wait.
 *
 * Kin: what a clone reads through, and a snapshot that is open by itself, is a cut of a volume that
 * somebody else may own. It never changes, so it is read from any copy that the metadata says is in
 * sync (part.h). Where a copy says otherwise, or none answers, the records are asked for anew, and
 * what waited goes to who is in sync now.
 *
 * Does not own: the order of what overlaps, sequences, cuts (volume/), the lease and the records in
 * the metadata (whoever opens it, by `calls`), connections (ports are shared by all volumes).
 *
 * Thread: the engine's. Nothing on the path of an I/O allocates. `done` runs from
 * copies_engine_turn(), never inside a call.
 */
#ifndef VOLUME_COPIES_H
#define VOLUME_COPIES_H

#include "host/host.h"
#include "part/part.h"
#include "replica/replica.h"
#include "store/store.h"

struct copies;
struct copies_engine;

/* --- What the volumes of one engine share ------------------------------------------------- */

struct copies_engine_options {
    struct clock *clock;
    uint32_t op_count;   /* Operations under way; 0: 512. About 10 KiB each. */
    uint32_t lane_count; /* Map pages being compared or copied; 0: 16. About 1.1 MiB each. */
    uint64_t resync_bytes_per_s; /* As copies_engine_rate(). */
};

int copies_engine_open(const struct copies_engine_options *options,
                       struct copies_engine **ret_engine);
/* No volume is open. NULL is fine. */
void copies_engine_close(struct copies_engine *engine);
/* Once per engine turn, before what sends: performs what became possible, and tells. */
void copies_engine_turn(struct copies_engine *engine);
bool copies_engine_turn_needed(const struct copies_engine *engine);

/* --- One volume --------------------------------------------------------------------------- */

/* Which group has which segments; in order of `first`. */
struct copies_run {
    uint32_t first, count; /* Segments. */
    uint32_t group;        /* Index into copies_options.groups. */
};

struct copies_group_options {
    uint32_t id;                  /* In the metadata. */
    struct replica_record record; /* As the transaction that raised the epoch saw it. */
};

/* What it asks of whoever opened it. None is called from within a call of this header, but from
 * copies_engine_turn(). */
struct copies_calls {
    /* The port to a store; NULL: the pool knows no such store any more. Outlives the volume. */
    struct part_port *(*port)(void *context, uint64_t store);
    /* Replace a group's record, if it is one generation older and the volume's epoch is still this.
     * Outcome: copies_transacted() or copies_transact_unknown(), once. */
    void (*transact)(void *context, uint32_t group, const struct replica_record *record);
    /* A sequence that no write has; 0: there is none just now. */
    uint64_t (*take_sequence)(void *context);
    /* The cuts that are kept, one that is being taken included, oldest first: at most
     * PART_CUTS_MAX, into `cuts`. Returns how many. */
    uint32_t (*cuts)(void *context, uint64_t *cuts);
    /* How the copies of this volume of the kin are now is to be read: copies_kin_set(), or
     * copies_kin_unknown(), once. NULL: there is no kin. */
    void (*look)(void *context, uint64_t volume);
    /* Every group takes writes. Once. */
    void (*opened)(void *context);
    /* No more: IOMESH_FENCED, or -EIO: what was acknowledged is lost. Once. */
    void (*ended)(void *context, int result);
    void *context;
};

struct copies_options {
    uint64_t volume;
    uint64_t epoch;
    uint64_t sequence;     /* The last before the first of this session's lot. */
    uint64_t bound_ns;     /* As replica_grant. */
    uint64_t old_until_ns; /* As replica_grant. */
    uint64_t local_store;  /* Read from it while it is well; 0: there is none. */
    const struct copies_group_options *groups; /* Copied. */
    uint32_t group_count;
    const struct copies_run *runs; /* Copied. */
    uint32_t run_count;
    struct replica_options replica;
    uint64_t resync_bytes_per_s; /* As copies_rate(). */
    struct copies_calls calls;
};

/* Without groups it has nothing but kin: of a snapshot that is open by itself, whose operations
 * name its volume and view. `calls.opened` and `ended` do not run then.
 * Open, and take over: copies are fenced, compared, told. `calls.opened` runs later. 0 or -ENOMEM.
 * May allocate. */
int copies_open(struct copies_engine *engine, const struct copies_options *options,
                struct copies **ret_copies);
/* No operation is under way. Nothing more is asked of the copies; `done` runs when the last answer
 * came, and the volume is gone then. */
void copies_close(struct copies *copies, void (*done)(void *context), void *context);

/* op->data is borrowed until op->done, as by store_submit(). The volume of the operation is this
 * one. Results as of store_submit(); IOMESH_FENCED, -EIO: the session has ended. */
void copies_submit(struct copies *copies, struct store_op *op);
/* Everything done before this call is durable on every copy that counts when it says 0. */
void copies_flush(struct copies *copies, struct store_flush *flush);

/* --- Kin ---------------------------------------------------------------------------------- */

/* Operations on this volume, of views that are cuts, go to the copies that its records name; once
 * they were looked at: that is asked for soon. Nothing if it is kin already. 0 or -ENOMEM. */
int copies_kin_open(struct copies *copies, uint64_t volume);

struct copies_kin_layout {
    uint64_t local_store; /* As in copies_options, as the next. */
    const struct copies_group_options *groups;
    uint32_t group_count;
    const struct copies_run *runs; /* What is in none was never written. */
    uint32_t run_count;
};
/* As the metadata says now: replaces what was set before. 0 or -ENOMEM, and it is asked again. */
int copies_kin_set(struct copies *copies, uint64_t volume, const struct copies_kin_layout *layout);
/* It could not be read: asked again, later. */
void copies_kin_unknown(struct copies *copies, uint64_t volume);

/* --- Events ------------------------------------------------------------------------------- */

/* A port went up or down: told to every volume whose port it may be. */
void copies_port_changed(struct copies *copies, struct part_port *port);
/* The lease was renewed. */
void copies_lease(struct copies *copies, uint64_t bound_ns);
/* The session's key is gone, or another epoch was seen. */
void copies_end(struct copies *copies, int reason);
/* `record`: what it is now, whether by this transaction or not. */
void copies_transacted(struct copies *copies, uint32_t group, const struct replica_record *record);
void copies_transact_unknown(struct copies *copies, uint32_t group);

/* The volume becomes larger: runs that begin where the last one ends, of groups that there are or
 * of these, which nobody was ever active in. 0, -ENOMEM; -ENOBUFS: of these are more than
 * COPIES_GROW_MAX since it was opened. What is written there waits until they take it. */
#define COPIES_GROW_MAX 16u
int copies_grow(struct copies *copies, const struct copies_group_options *groups,
                uint32_t group_count, const struct copies_run *runs, uint32_t run_count);

/* --- Wishes and looks --------------------------------------------------------------------- */

/* As replica_add() and replica_drop(), by store. -ENOENT: no such group or copy. */
int copies_add(struct copies *copies, uint32_t group, uint64_t store, uint64_t replaces);
int copies_drop(struct copies *copies, uint32_t group, uint64_t store);

/*
 * How much is copied a second to copies that catch up, or could not read what another one can: of a
 * volume, and of all volumes of an engine together. 0: as much as goes. From now on. Whatever is
 * set, it gives way to operations: while there are some, little of it is under way at a time.
 */
void copies_rate(struct copies *copies, uint64_t bytes_per_s);
/* How patient it is with copies, from now on: grace, copy_timeout, slow. With all that it reads its
 * parents of. */
void copies_patience(struct copies *copies, const struct replica_options *replica);
void copies_engine_rate(struct copies_engine *engine, uint64_t bytes_per_s);

struct copies_look {
    const struct replica *replica;
    uint64_t resync_bytes_per_s;                          /* Of late, of this group. */
    uint64_t resync_limit_bytes_per_s;                    /* The lower of both; 0: none. */
    bool resync_yields;                                   /* To operations, just now. */
    uint64_t resync_copied_bytes;                         /* Since the attempt under way began. */
    uint64_t resync_done_segments, resync_total_segments; /* In all views. */
    uint64_t repaired_blocks, hedged_reads;               /* Since it was opened. */
};
/* False: no such group. Valid until the next call. */
bool copies_look(const struct copies *copies, uint32_t group, struct copies_look *ret_look);

#endif

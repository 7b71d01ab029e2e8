/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the catalog share.
 *
 *   catalog_call() ──▶ slot: one queue per name in use ──▶ begin ──▶ steps ──▶ end ──▶ the next
 *
 * An operation is a chain of steps; each waits for one transaction, or for catalog_turn(). A name
 * has a slot while an operation on it runs or waits, or while its volume is open, or a snapshot of
 * it. What is about several names is a gang: an operation of its own for each, in order of names.
 *
 * Who may change a record:
 *   - of a volume with a name: an operation that has its slot; of an open one, who holds the record
 *     (catalog_op_hold_record());
 *   - of a volume without a name (kept, deleting): the chore of its number;
 *   - of a snapshot of a volume with a name: an operation that has the slot; but `clones` falls,
 *     and what is `deleting` goes, by chores. Each change compares what it read.
 */
#ifndef VOLUME_CATALOG_INSIDE_H
#define VOLUME_CATALOG_INSIDE_H

#include "format/metadata.h"
#include "volume/catalog.h"
#include "volume/catalog_wish.h"
#include "volume/stores.h"
#define CATALOG_BUCKETS 1024u
#define CATALOG_RETRY_NS NS_PER_S
#define CATALOG_RETRY_NS_MAX (300 * NS_PER_S) /* Each time the double, up to this. */
#define CATALOG_STARVED_NS (10 * NS_PER_S)    /* Between two looks whether there is space. */
#define CATALOG_STORE_ID 1u                   /* The one store of an embedded pool. */
#define CATALOG_COUNTER "volume"

struct catalog_op;
struct catalog_volume;
struct catalog_owned;
struct catalog_claim;
struct catalog_grow;
struct catalog_space;
typedef void catalog_step_fn(struct catalog_op *op, int result);

/* A snapshot as it was read. */
struct catalog_cut {
    struct metadata_snapshot record;
    uint64_t revision;
};

/* All of a volume, oldest first. At most CATALOG_SNAPSHOTS_MAX, and what is being deleted. */
struct catalog_cuts {
    struct catalog_cut *items;
    uint32_t count, capacity;
};

struct catalog_slot {
    struct list node; /* In its bucket. */
    struct list ops;  /* struct catalog_op.node that wait. At most operations_max and handles. */
    bool running;     /* One that is not among them any more. */
    struct catalog_volume *open;
    struct list views; /* struct catalog_volume.node: snapshots that are open. */
    struct list lost;  /* The same: in a cluster, of sessions that ended, not closed yet. */
    char name[CATALOG_NAME_BYTES_MAX + 1];
};

/* Lives at the head of an operation of some kind. */
/* A rollback that is being finished: catalog_rollback.c. */
struct catalog_rolling {
    struct list node; /* In catalog->rollings, while the job runs. */
    struct volume_job job;
    catalog_progress_fn *progress;
    catalog_step_fn *finished;
    catalog_step_fn *opened; /* The operation's own, as the next two, until it is finished. */
    bool writes, inside;
    int result;
};

struct catalog_op {
    struct catalog *catalog;
    struct catalog_slot *slot; /* NULL: of no name. */
    const char *name;          /* Without a slot, of what is loaded; the operation has it. */
    struct list all;           /* In catalog->ops. */
    struct list node;          /* In slot->ops. */
    struct list later;         /* In catalog->later, or among those that wait for a number. */
    catalog_step_fn *begin;
    catalog_step_fn *next;     /* After what is waited for. */
    catalog_step_fn *loaded;   /* After catalog_op_load(). */
    catalog_step_fn *read;     /* After catalog_op_read(). */
    catalog_step_fn *opened;   /* After catalog_op_open_volume(). */
    catalog_step_fn *closed;   /* After catalog_op_close_volume(). */
    catalog_step_fn *held;     /* After catalog_op_hold_record(). */
    catalog_step_fn *listed;   /* After catalog_op_list(). */
    catalog_step_fn *resolved; /* After catalog_op_resolve(). */
    /* Tells, and frees the operation. */
    void (*end)(struct catalog_op *op, int result);
    int result; /* For `next`, if it comes from catalog_turn(). */
    bool writes;
    bool inside;    /* It may open what is incomplete, or being rolled back. */
    bool keeps;     /* The keeper's: what it opens yields to every other operation. */
    bool force;     /* It may take a volume from its owner. */
    bool swept;     /* catalog_op_open_volume(): a record says what the store is to drop. */
    bool as_rolled; /* A rollback is not over, and cannot be finished now. */
    unsigned tries; /* Of catalog_op_claim(). */
    uint64_t gone;  /* catalog_op_load(): deleted after its name was read. */
    struct catalog_claim *claim;
    struct catalog_grow *grow;
    struct catalog_birth *birth;
    struct catalog_volume *closing; /* Of catalog_op_close(). */
    int why;                        /* The result, while something is closed. */
    const char *snapshot;           /* Of catalog_op_open_view(). */
    uint64_t reader;                /* In a cluster: the session whose key keeps that. */
    struct catalog_volume *view; /* What that opened; or stands for a volume being rolled back. */
    struct meta_request request;
    struct metadata_volume record; /* Of the volume, once loaded. */
    uint64_t revision;             /* Of the record; 0: none is loaded. */
    bool record_lent;              /* It is the open volume's: its memory is not ours. */
    struct catalog_cuts cuts;      /* From catalog_op_list(). */
    uint64_t cuts_volume;
    struct metadata_snapshot tie; /* From catalog_op_read_tie(). */
    uint64_t tie_revision;        /* 0: there is none. */
    struct store_view_space *space;
    struct catalog_space *measures; /* Of catalog_op_measure(), until it has ended. */
    struct volume_parent *parents;  /* From catalog_op_resolve(), nearest first. */
    uint32_t parent_count, parent_capacity;
    struct catalog_rolling rolling;
    uint64_t id;       /* From catalog_op_take_id(). */
    uint64_t nameless; /* Of what was deleted, and is kept for clones, and opened by the keeper. */
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
    bool writable;               /* It has an epoch and sequences. */
    bool as_rolled;              /* A view opened in place of its volume, which is rolled back. */
    char *shown_name;            /* NAME or NAME@SNAPSHOT. */
    struct catalog_owned *owned; /* In a cluster. */

    /* VIEW_HEAD; or the cut of a snapshot: nothing of what follows is used, the record is what the
     * volume's was. */
    uint64_t view;
    struct list node; /* In slot->views. */

    /* What writes carry: `riding` was taken and is on its way into the metadata; else `cut`, the
     * newest that is kept there. Cuts that did not get there are being dropped, all within
     * orphan_first .. orphan_last (0: none). */
    uint64_t cut, riding;
    bool views; /* The store may have some. */
    uint64_t orphan_first, orphan_last;
    struct volume_hold *hold;        /* Of a gang: it waits for it, or has it. */
    struct catalog_flatten *flatten; /* Under way. */

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
    bool inner;                                /* The catalog's own; not counted. */
    bool keeps;                                /* The keeper's; not counted. */
    bool importing;                            /* Of an import that has not ended. */
    char snapshot[CATALOG_NAME_BYTES_MAX + 1]; /* "": the volume itself. */
};

struct catalog_flatten {
    struct catalog_op op; /* Without a slot, from the beginning to the end. */
    struct list node;     /* In catalog->flattens, while the job runs. */
    struct catalog_handle *handle;
    struct volume_job job;
    catalog_progress_fn *progress;
    struct flatten_end *last; /* Taken at the beginning. */
    int result;
    char name[CATALOG_NAME_BYTES_MAX + 1];
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

/* The head of a volume that was deleted goes while its snapshots stay: catalog_empty.c. */
struct catalog_emptying {
    struct catalog_op *op;
    const bool *again;
    catalog_step_fn *emptied;
    struct volume *volume; /* NULL: not under way. */
    /* Bytes of the head: what is below `at` was dealt with; up to `fine` MiB by MiB. */
    uint64_t at, fine;
    int missed; /* Why some of it stayed; 0: none did. */
    int result;
    struct store_seek seek;
    struct volume_io io;
};

/*
 * What is left to be done for a volume behind its user's back: catalog_chore.c. At most one for
 * each number, and as many as were asked for: at most the volumes of a pool.
 */
struct catalog_retire;
struct catalog_sweep;

struct catalog_chore {
    struct catalog_op op; /* While it reads and changes the metadata. First: see its abandoning. */
    struct list node;     /* In catalog->chores. */
    struct list ready;    /* In catalog->chores_ready: to be begun. */
    struct catalog *catalog; /* NULL: it was closed; the store may still tell. */
    uint64_t id;
    bool running; /* Its operation is under way. */
    bool storing; /* The store has something of it. */
    bool again;   /* Something happened since it looked. */
    /* What the store was asked to drop: first .. last of the cuts; the volume, if last is 0. */
    uint64_t first, last;
    bool orphans;        /* They have no record. */
    uint64_t previous;   /* The newest cut below that is kept. */
    uint64_t tie_volume; /* To which a tie is being cut. */
    /* There is no space to give space back with: it waits for some, or did before it looked. */
    bool starved, was_starved;
    uint32_t tries; /* That got nothing done, one after the other. */
    struct timer timer;
    struct catalog_emptying emptying;
    /* In a cluster: what the stores are asked. */
    struct catalog_retire *retire;
    struct catalog_sweep *sweep;
    uint64_t epoch; /* Of the volume that is deleted. */
};

/*
 * An operation on several names at once. Each member has the slot of one; the slots are taken in
 * the order of the names, so that two gangs never wait for each other. The leader has none, holds
 * the transaction, and tells.
 */
#define CATALOG_GANG_MAX CATALOG_GROUP_VOLUMES_MAX

struct catalog_gang;

struct catalog_member {
    struct catalog_op op;
    struct catalog_gang *gang; /* NULL: it is ending. */
    uint32_t index;
    char name[CATALOG_NAME_BYTES_MAX + 1];
    bool bare;   /* The name alone is wanted: nothing is loaded. */
    bool opened; /* For this: it is closed at the end. */

    /* The snapshot that is being taken: catalog_take.c. uuid, name, group, state and clones are
     * given, the rest is filled in. */
    struct metadata_snapshot snapshot;
    uint64_t bytes;                                /* Its size; 0: the volume's. */
    bool holding;                                  /* Waits for, or has, the hold. */
    bool riding;                                   /* Its cut is on writes. */
    bool changing;                                 /* Has the open volume's record. */
    bool swept;                                    /* A record says what the store is to drop. */
    void (*adjust)(struct catalog_member *member); /* The record, before it is put; or NULL. */
    struct volume_hold hold;
    struct store_flush flush; /* In a cluster: of its copies. */
};

struct catalog_gang {
    struct catalog_op op; /* The leader's. */
    struct catalog_member *members[CATALOG_GANG_MAX];
    uint32_t count;
    uint32_t at; /* The next to be begun, loaded, ... */
    catalog_step_fn *ready;
    void (*end)(struct catalog_op *op, int result); /* Of the leader: tells, and frees it. */
    /* Of catalog_take.c. */
    int why;          /* While what was opened is closed. */
    uint32_t waiting; /* Holds, or flushes, that were not told. */
    int take_result;
    int (*build)(struct catalog_gang *gang); /* What else the transaction has. NULL is fine. */
    catalog_step_fn *taken;
    struct store_flush flush;
};

struct catalog_session {
    uint64_t id;    /* As records of volumes name their owner. */
    uint64_t lease; /* Under which its key is; another than at first if that ran out. */
    bool flying;
    /* In a cluster. The lease counts until bound_ns, which moves when it was kept alive and its key
     * is as we put it: whoever takes a volume by force puts it anew. */
    uint64_t sent_ns, bound_ns;
    uint64_t looked_ns; /* When volumes that are owned were looked at last. */
    uint64_t ttl_ns;    /* As it was granted. */
    uint64_t revision;  /* Of the key. */
    struct timer timer;
    struct meta_request request;
};

struct catalog_scan {
    bool flying, again;
    bool snapshots; /* After the volumes. */
    bool keeper;    /* In a cluster: there is one, and it deletes. */
    struct metadata_key after;
    struct meta_request request;
};

enum catalog_state { CATALOG_OPENING, CATALOG_READY, CATALOG_CLOSING };

struct catalog {
    struct catalog_options options;
    struct catalog_cluster cluster; /* Of what `options` point to. */
    enum catalog_state state;
    uint32_t op_count, volume_count, handle_count, chore_count;
    struct list buckets[CATALOG_BUCKETS];
    struct list ops, later, lots_later;
    struct list chores, chores_ready;
    struct list rollings; /* Jobs under way, as the next. */
    struct list flattens;
    struct catalog_ids ids;
    struct catalog_session session;
    struct catalog_scan scan;
    uint8_t pool_uuid[16];
    uint64_t store_revision;
    struct metadata_store store_record;
    struct stores stores;       /* Of a cluster, as the next. */
    struct timer records_timer; /* Copies of records of owned volumes, on their stores. */
    uint32_t records_runs;
    struct list owned, owned_later, owned_wishful, releases;
    struct list views; /* struct catalog_owned.node: of snapshots that are open. */
    struct catalog_wishes wishes;
    struct meta_request request; /* Of opening. */
    catalog_done_fn *done;       /* Of opening, then of closing. */
    void *context;
};

static inline bool catalog_is_cluster(const struct catalog *catalog)
{
    return catalog->options.store == NULL;
}

/* Something may be written, as far as is known beforehand. */
static inline bool catalog_may_write(const struct catalog *catalog)
{
    return catalog_is_cluster(catalog) || store_state(catalog->options.store) == STORE_READY;
}

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
/* The record of a number into op->record, whatever it says: 0, -ENOENT, or what was wrong. */
void catalog_op_read(struct catalog_op *op, uint64_t volume, catalog_step_fn *read);
void catalog_op_end(struct catalog_op *op, int result);
/* Frees what it holds, and not itself. */
void catalog_op_forget(struct catalog_op *op);
/* Leaves the sentence for a result that came without one, then ends it. */
void catalog_op_fail(struct catalog_op *op, int result);
/* The same for a committed transaction whose compares may not have held. True: it failed. */
bool catalog_op_failed(struct catalog_op *op, int result);
unsigned catalog_ops_turn(struct catalog *catalog);
void catalog_ops_abandon(struct catalog *catalog);
struct catalog_slot *catalog_slot_find(struct catalog *catalog, const char *name);

/* --- catalog_cuts.c ------------------------------------------------------------------------- */

/* op->cuts: the snapshots of a volume. Does not fit: ends the operation, as the next. */
void catalog_op_list(struct catalog_op *op, uint64_t volume, catalog_step_fn *listed);
/* op->parents: this view of a volume (0: none), and what fills its holes. */
void catalog_op_resolve(struct catalog_op *op, uint64_t volume, uint64_t cut,
                        catalog_step_fn *resolved);
void catalog_cuts_done(struct catalog_cuts *cuts);
bool catalog_cut_kept(const struct catalog_cut *cut);
/* The one that its user means by this name, or NULL. */
struct catalog_cut *catalog_cuts_named(const struct catalog_cuts *cuts, const char *name);
/* "": it never had one, but was taken for a clone of a volume. */
const char *catalog_cut_name(const struct metadata_snapshot *record);
struct catalog_cut *catalog_cuts_at(const struct catalog_cuts *cuts, uint64_t at);
/* Of all that have a record; 0: none has. */
uint64_t catalog_cuts_newest(const struct catalog_cuts *cuts);
/* The newest that is kept, below this one; 0: none. */
uint64_t catalog_cuts_kept_below(const struct catalog_cuts *cuts, uint64_t below);
uint32_t catalog_cuts_kept(const struct catalog_cuts *cuts);
/* The head, or a snapshot that is kept. */
bool catalog_needs_parent(const struct metadata_volume *record, const struct catalog_cuts *cuts);
/* If it is still the one of `revision` (0: there is none), put this one. 0 or -ENOMEM. */
int catalog_put_snapshot(struct meta_request *request, const struct metadata_snapshot *record,
                         uint64_t revision);
/* A record by which the store drops these cuts. */
int catalog_put_sweep(struct meta_request *request, uint64_t volume, uint64_t first, uint64_t last);
/* The same for what a volume that was not closed may have left behind the newest record. */
int catalog_put_sweep_unclean(struct meta_request *request, const struct metadata_volume *record,
                              uint64_t newest, bool *ret_put);

/* --- catalog_record.c ----------------------------------------------------------------------- */

/* If the record is still the one of `revision`, put this one. 0 or -ENOMEM. */
int catalog_put_record(struct meta_request *request, const struct metadata_volume *record,
                       uint64_t revision);
int catalog_put_name(struct meta_request *request, const struct metadata_volume *record);
void catalog_tell(const struct catalog *catalog, enum store_event_severity severity,
                  uint64_t volume_id, uint64_t bytes, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
int catalog_check_size(const char *name, uint64_t bytes);
/* Groups and maps of a volume of a cluster go with it. */
void catalog_delete_groups(const struct catalog *catalog, uint64_t volume,
                           struct meta_request *request);

/* How many copies, and where: fills in what is left open. 0, or -EINVAL with a sentence. */
int catalog_create_check(const struct catalog *catalog, const char *name,
                         struct catalog_create *what);

/* --- catalog_ids.c -------------------------------------------------------------------------- */

void catalog_op_take_id(struct catalog_op *op, catalog_step_fn *taken);
void catalog_ids_turn(struct catalog *catalog);

/* --- catalog_snapshot.c --------------------------------------------------------------------- */

int catalog_may_snapshot(struct catalog *catalog, const char *volume, const char *snapshot);
/* May this one be deleted by its user? 0, or -EBUSY with a sentence. */
int catalog_drop_check(const struct catalog_op *op, const struct catalog_cut *cut);
/* It goes, or is hidden: puts both records. 0 or -ENOMEM. op's record is held. */
int catalog_drop_build(struct catalog_op *op, struct catalog_cut *cut,
                       struct meta_request *request);
/* That was committed, at this revision. */
void catalog_drop_committed(struct catalog_op *op, uint64_t revision);

/* --- catalog_gang.c ------------------------------------------------------------------------- */

/* Before it begins; 0 or -ENOMEM. */
struct catalog_member *catalog_gang_add(struct catalog_gang *gang, const char *name);
/* The leader has begun, without a slot: takes those of the members, and loads the records and
 * snapshots of those that are not bare; then `ready`, of the leader. */
void catalog_gang_gather(struct catalog_gang *gang, catalog_step_fn *ready);
/* With the slots that it has: loads and lists all once more, then `ready`. */
void catalog_gang_again(struct catalog_gang *gang);
/* In a cluster, with all gathered: those that are not bare are opened, and nothing drops cuts of
 * them. True: `ready` runs again then, with all loaded anew. False: it is so already. */
bool catalog_gang_prepare(struct catalog_gang *gang);
/* Closes what was opened for it, then ends them all. With a sentence. */
void catalog_gang_finish(struct catalog_gang *gang, int result);
/* The leader begins, and has `end`. */
int catalog_gang_start(struct catalog_gang *gang, struct catalog *catalog, catalog_step_fn *begin,
                       void (*end)(struct catalog_op *, int));
/* Ends them all, the leader first; so does whatever ends the leader or a member. */
void catalog_gang_end(struct catalog_gang *gang, int result);
/* Frees what was added to one that did not begin. */
void catalog_gang_forget(struct catalog_gang *gang);

/* --- catalog_take.c ------------------------------------------------------------------------- */

/*
 * Takes a snapshot of each member that is not bare, at one instant, and puts all of it into the
 * metadata in one transaction, with what `build` adds. `taken`: of the leader, 0 or why there is
 * none of them, with a sentence; what was kept for them is being dropped.
 */
void catalog_gang_take(struct catalog_gang *gang, int (*build)(struct catalog_gang *gang),
                       catalog_step_fn *taken);
/* May one of this name (NULL: hidden) be taken? 0, -EEXIST, -EMLINK, -EBUSY with a sentence. */
int catalog_take_check(const struct catalog_op *op, const char *snapshot);

/* --- catalog_open.c ------------------------------------------------------------------------- */

/* Whether a volume can be opened for writing now, as far as that is known beforehand. With a
 * sentence. */
int catalog_may_claim(const struct catalog_op *op);
/* What was listed of op->record becomes an open volume, but for what does its I/O. */
int catalog_volume_new(struct catalog_op *op, const char *snapshot, uint64_t view,
                       struct catalog_volume **ret_volume);
/* From the beginning: the record was changed meanwhile. */
void catalog_op_open_again(struct catalog_op *op);
/* Opens op->slot's volume, or makes an open one writable if op->writes; then `opened`. For reading
 * it may be op->view that is opened: what the volume will show when it is rolled back. */
void catalog_op_open_volume(struct catalog_op *op, catalog_step_fn *opened);
/* Opens a snapshot of it into op->view; the name stays where it is until then. */
void catalog_op_open_view(struct catalog_op *op, const char *snapshot, catalog_step_fn *opened);
/* The snapshot of this cut, if it is open. */
struct catalog_volume *catalog_slot_view(const struct catalog_slot *slot, uint64_t cut);

/* --- catalog_volume.c ----------------------------------------------------------------------- */

/* Closes it if it has no handle, giving back sequences; then `closed`. */
void catalog_op_close_volume(struct catalog_op *op, catalog_step_fn *closed);
/* The same for one of op->slot that is not open by its name any more, too. */
void catalog_op_close(struct catalog_op *op, struct catalog_volume *volume,
                      catalog_step_fn *closed);
/* Nothing else changes a volume's record until catalog_volume_changed(). */
void catalog_op_hold(struct catalog_op *op, struct catalog_volume *volume, catalog_step_fn *held);
/* The same of op->slot's open one. */
void catalog_op_hold_record(struct catalog_op *op, catalog_step_fn *held);
/* The record that was put, or NULL if it was not. */
void catalog_volume_changed(struct catalog_volume *volume, const struct metadata_volume *record,
                            uint64_t revision);
void catalog_lots_turn(struct catalog *catalog);
/* The volume asks, inside an I/O: in this turn or the next. */
void catalog_volume_want_lot(void *context);
/* What writes carry, from `riding`, `cut`, `views` and the orphans. */
void catalog_volume_views(struct catalog_volume *volume);
/* The same, after the list of its snapshots was read or changed. */
void catalog_volume_listed(struct catalog_volume *volume, const struct catalog_cuts *cuts);
/* NULL: it is not open. */
struct catalog_volume *catalog_volume_find(struct catalog *catalog,
                                           const struct metadata_volume *record);
void catalog_volume_free(struct catalog_volume *volume);
void catalog_volume_abandon(struct catalog_volume *volume);

/* --- catalog_chore.c ------------------------------------------------------------------------ */

/* Something is left to be done for this volume, perhaps: it is looked at, soon. */
void catalog_chore_wake(struct catalog *catalog, uint64_t id);
/* The same, not at once: a rollback of it waits for space, or something went wrong. */
void catalog_chore_wait(struct catalog *catalog, uint64_t id);
/* Returns how many began. */
unsigned catalog_chores_turn(struct catalog *catalog);
/* Those under way in the store are left to it. */
void catalog_chores_leave(struct catalog *catalog);
void catalog_chores_abandon(struct catalog *catalog);
/* The stores have dropped it, durably, or give up for now. */
void catalog_chore_stored(void *chore, int result);

/* --- catalog_empty.c ------------------------------------------------------------------------ */

/* op is a chore's; its record and snapshots are loaded, and are of a kept volume. Discards the head
 * until *again; then `emptied`: 0, look again; -ENOSPC: the rest needs space; or what was wrong. */
void catalog_op_empty(struct catalog_op *op, const bool *again, catalog_step_fn *emptied);
/* False: something is under way, and its memory stays. */
bool catalog_empty_abandon(struct catalog_emptying *emptying);

/* --- catalog_settle.c ----------------------------------------------------------------------- */

/* op->record and op->cuts are of a volume that has a name: is there to be changed something? Then
 * it is, by an operation of its own. True: nothing may be dropped before that. */
bool catalog_settle_wake(struct catalog_op *op);
/* op->tie: the snapshot that is the parent of op->record; an error goes to `read`. */
void catalog_op_read_tie(struct catalog_op *op, catalog_step_fn *read);
/* Cut it: one clone less there, no parent here. 0 or -ENOMEM. */
int catalog_untie_build(struct catalog_op *op, uint64_t *ret_parent);

/* --- catalog_rollback.c --------------------------------------------------------------------- */

/* Does what op->record says was begun; nobody has it open. Then `finished`. */
void catalog_op_finish_rollback(struct catalog_op *op, catalog_step_fn *finished);
/* Records that it is rolled back, then does it; ends the operation. Nobody has it open. */
void catalog_op_begin_rollback(struct catalog_op *op, uint64_t cut, uint64_t bytes);
/* Ends the jobs under way: the pool is being closed. */
void catalog_rollings_stop(struct catalog *catalog);
/* catalog_op_finish_rollback() in an operation of its own. */
void catalog_rollback_resume(struct catalog *catalog, const struct metadata_volume *record);

/* --- catalog_flatten.c, catalog_import.c, catalog_delete.c ---------------------------------- */

void catalog_flattens_stop(struct catalog *catalog);
/* No import into it is under way. */
void catalog_import_clear(struct metadata_volume *record);
/* op->record is loaded, nobody has it open: deletes it, and ends the operation. */
void catalog_op_delete(struct catalog_op *op);

/* --- catalog_scan.c ------------------------------------------------------------------------- */

/* Looks for what was interrupted. */
void catalog_scan_start(struct catalog *catalog);
void catalog_scan_turn(struct catalog *catalog);

/* --- catalog_pool.c ------------------------------------------------------------------------- */

/* The records of pool and store, asked for; and what they say once they were read. */
void catalog_look_build(struct meta_request *request);
/* That of the pool alone. */
int catalog_look_pool(const struct meta_request *request, uint8_t ret_uuid[16]);
int catalog_look_read(const struct meta_request *request, struct catalog_look *ret_look,
                      struct metadata_store *ret_store, uint64_t *ret_revision);

/* --- catalog_session.c ---------------------------------------------------------------------- */

void catalog_session_start(struct catalog *catalog);
/* The lease was granted, or kept alive, by what was sent at session.sent_ns. */
void catalog_session_granted(struct catalog *catalog, const struct meta_request *request);
void catalog_session_confirmed(struct catalog *catalog);
/* What a session's key says. 0 or -ENOMEM. */
int catalog_session_encode(const struct catalog *catalog, struct metadata_bytes *ret_value);
/* Its key, for the transaction that begins it. 0 or -ENOMEM. */
int catalog_session_put(struct catalog *catalog, struct meta_request *request);

#endif

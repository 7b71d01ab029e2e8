/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_views: the snapshots and clones of a rig's volumes, and what goes on with them.
 *
 * It plays the catalog: which cuts are kept, what is being deleted, whose parent is what. A cut is
 * kept from the moment its transaction is committed, after a flush; what a crash meets before that
 * has never been, and the volume's next opening has the store delete what came of it.
 *
 *   TAKEN ──▶ KEPT ──▶ DELETING ──▶ (free)
 *     │                   ▲
 *     └───────────────────┘ its transaction failed
 *
 * Drawn from a stream of its own: seeds without views are what they were.
 */
#ifndef SIM_STORE_VIEWS_H
#define SIM_STORE_VIEWS_H

#include "sim/model_frozen.h"
#include "sim/store_rig.h"

#define RIG_SNAPS 18u

enum rig_snap_state { SNAP_FREE, SNAP_TAKEN, SNAP_KEPT, SNAP_DELETING };

struct rig_snap {
    enum rig_snap_state state;
    struct rig_volume *volume;
    uint64_t cut;
    struct rig_snap *parent; /* What showed through the volume's holes then. */
    unsigned users;          /* Clones, and snapshots of them, that need it. */
    unsigned readers;        /* Requests under way. */
    struct model_frozen *frozen;
    struct volume *open; /* For reading; NULL: not yet. */
    bool asked;          /* The store is deleting it. */
};

/* One or several volumes at one instant. */
struct rig_cut {
    struct volume_hold holds[RIG_VOLUMES];
    struct rig_snap *snaps[RIG_VOLUMES]; /* NULL: not this volume. */
    bool wanted[RIG_VOLUMES];
    unsigned holding; /* Volumes that have not drained yet. */
    bool busy;
    bool flushed;
    uint32_t steps; /* Until the transaction ends. */
    struct store_flush flush;
};

/* A rollback or a flatten. */
struct rig_copy {
    struct volume_job job;
    struct rig_volume *volume;
    struct rig_snap *snap; /* NULL: a flatten. */
    bool busy;
    uint32_t versions[MODEL_BLOCKS]; /* 0: no change. */
};

/* What each snapshot of a volume holds. */
struct rig_space {
    struct store_view_space spaces[RIG_SNAPS];
    struct model_frozen *frozen[RIG_SNAPS];
    uint32_t count;
    struct rig_volume *volume;
    bool busy;
};

struct rig_views {
    struct prng prng;
    unsigned often;    /* One step in so many does something. */
    unsigned most;     /* Snapshots of one volume. */
    bool zeros_beyond; /* Zeros are written where nothing is modelled. */
    bool ending;       /* Nothing new any more. */
    bool gone;         /* A snapshot is, a moment ago. */
    bool asleep;
    struct world_event soon;
    struct rig_snap snaps[RIG_SNAPS];
    struct rig_cut cut;
    struct rig_copy rollback, flatten;
    struct rig_space space;
    /* Per volume. */
    struct rig_view_volume {
        struct rig_snap *parent;
        struct rig_snap *leaving; /* The parent from before a flattening, still read from. */
        uint64_t cut;             /* What its writes carry. */
        bool may_have;            /* Views in the store. */
        bool orphans;             /* A crash may have left views that nobody names. */
        bool orphans_asked;
        uint64_t orphans_last;
        bool blocked;             /* No new requests: it is rolled back, or counted. */
        struct rig_snap *rolling; /* Also through a crash. */
        uint64_t rolling_from;    /* The newest sequence then. */
    } volumes[RIG_VOLUMES];
};

/* --- Between the files of the rig ----------------------------------------------------------- */

struct rig_view_volume *view_volume(const struct rig_volume *volume);
/* The newest cut of a volume that is kept, below this; 0: none. */
uint64_t snap_newest(const struct rig_volume *volume, uint64_t below);
/* One that is kept, of this volume (NULL: any), or NULL. */
struct rig_snap *snap_draw(struct rig *rig, const struct rig_volume *volume);
/* Any that may be read: also one that is not committed yet. */
struct rig_snap *snap_draw_shown(struct rig *rig);
uint32_t snap_parents(const struct rig_snap *parent, struct volume_parent to[RIG_SNAPS]);
/* The oldest that is kept and newer than `cut`, or NULL. */
struct rig_snap *snap_after(const struct rig_volume *volume, uint64_t cut);
void snap_delete(struct rig_snap *snap);
void snap_close(struct rig_snap *snap);
/* Opens it for reading if it is not open. */
bool snap_open(struct rig_snap *snap);

/* With --verbose. */
void rig_views_tell(const struct rig *rig, const char *what, const struct rig_volume *volume,
                    uint64_t cut);
void rig_views_open(struct rig *rig);
void rig_views_close(struct rig *rig);
void rig_views_options(struct rig_volume *volume, struct volume_options *options,
                       struct volume_parent parents[RIG_SNAPS]);
void rig_views_resume(struct rig *rig);
void rig_views_crash(struct rig *rig);
/* Ends what cannot be interrupted, and closes views. */
bool rig_views_stop(struct rig *rig);
/* Now and then begins something. */
void rig_views_step(struct rig *rig);
/* Goes on with what was begun. */
void rig_views_advance(struct rig *rig);
bool rig_views_busy(const struct rig *rig);
/* A cut of the volumes in `mask`, of which the transaction takes so many steps. */
void rig_cut(struct rig *rig, uint64_t mask, uint32_t steps);
/* The same, until its transaction has ended: kept or not. */
bool rig_cut_now(struct rig *rig, uint64_t mask);
bool rig_views_can_delete(struct rig_volume *volume);
void rig_views_deleting(struct rig_volume *volume);
void rig_views_replaced(struct rig_volume *volume);
/* Whether the head surely has a place for a block that no view shows, so that a write over it gives
 * that back. */
bool rig_views_alone(const struct rig_volume *volume, uint32_t index);
/* Reads every block of drawn snapshots, or of all. */
bool rig_views_settle(struct rig *rig, bool all);
/* Every snapshot and volume is deleted, and the store closed: then there is nothing. */
bool rig_views_end(struct rig *rig);

/* store_copies.c */
void rig_roll_back(struct rig *rig);
void snap_roll_back(struct rig_snap *snap);
void rig_flatten(struct rig *rig);
void rig_flatten_advance(struct rig *rig);
void rig_copies_resume(struct rig *rig);
/* store_looks.c */
void rig_count_space(struct rig *rig);

#endif

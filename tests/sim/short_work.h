/* SPDX-License-Identifier: Apache-2.0 */
/*
 * short_work: the operations of which the storm of short workloads is made, on a rig of its own.
 *
 * One after another (each has ended before the next begins), or all at once.
 */
#ifndef SIM_SHORT_WORK_H
#define SIM_SHORT_WORK_H

#include "sim/store_rig.h"

#define SHORT_OPS_MAX 256u

enum short_op {
    SHORT_WRITE_ONE,
    SHORT_WRITE_MANY,
    SHORT_WRITE_CROSSING,
    SHORT_WRITE_512,
    SHORT_WRITE_FUA,
    SHORT_DISCARD_SOME,
    SHORT_DISCARD_SEGMENT,
    SHORT_ZERO_NO_HOLE,
    SHORT_FLUSH,
    SHORT_DELETE,
    SHORT_REOPEN,
    SHORT_WAIT,
    SHORT_SNAP,
    SHORT_SNAP_DELETE,
    SHORT_ROLL_BACK,
    SHORT_KINDS,
};

extern const char *const short_op_names[SHORT_KINDS];

/* One operation under way. */
struct short_request {
    struct volume_io io;
    struct rig *rig;
    struct rig_volume *volume;
    uint64_t flush_acks;
    uint32_t index, first_sector, sectors;
    uint32_t *versions;
    uint8_t *data;
};

struct short_work {
    struct rig *rig;
    const enum short_op *ops;
    uint32_t count;
    bool at_once;
    unsigned volume;  /* On which the next operation works; a deletion goes on to the next. */
    uint32_t pending; /* Under way. */
    struct world_event alarm;
    bool asleep;
    struct short_request requests[SHORT_OPS_MAX];
};

/* Whether it is one of snapshots. */
bool short_of_views(enum short_op op);
/* Makes a store with something in it, all of it durable; with `views` a snapshot of each volume
 * too, and changes after it. `journal_blocks` 0: the seed draws. */
bool short_prepare(struct rig *rig, uint64_t seed, uint64_t journal_blocks, bool views);
/* Runs it to its end. False: power went, or something is false. */
bool short_run(struct short_work *work, struct rig *rig);
/* Asks again for the deletions that a crash interrupted, and waits until they have ended; so with
 * what else goes on after an opening. */
bool short_delete_again(struct rig *rig);

/* After a crash: each block that an operation may have touched, against the model. */
bool short_settle(struct rig *rig, bool power_cut);

#endif

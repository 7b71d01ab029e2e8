/* SPDX-License-Identifier: Apache-2.0 */
/* A resync: versions of blocks from another part, in a record and in the tree. */
#ifndef STORE_RESYNC_H
#define STORE_RESYNC_H

#include "store/internal.h"

/* Of an operation STORE_RESYNC, of at most RECORD_RESYNC_BLOCKS blocks (repair:
 * RECORD_REPAIR_BLOCKS): op->block, count, data, crcs (RAW) are as of a write. */
struct store_resync {
    uint64_t view;
    uint64_t cut; /* The newest that is kept and older than each sequence; 0: none. */
    uint16_t kind;
    bool repair;
    uint64_t sequences[RECORD_RESYNC_BLOCKS];
    uint64_t damaged[RECORD_REPAIR_BLOCKS]; /* Places, if it repairs. */
    /* The store's. */
    uint32_t refused; /* Blocks that some page could not take. */
    struct tree_enter enter;
};

/* The record of this round. */
void store_resync_record(const struct store_op *op, struct record *record);
/* Its record is in the log, its data on the device: into the pages. 0, -EAGAIN, or an error. What
 * nothing shows then is stranded. */
int store_resync_apply(struct store_op *op, bool begins);

#endif

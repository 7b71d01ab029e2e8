/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store's rig share. */
#ifndef SIM_STORE_INSIDE_H
#define SIM_STORE_INSIDE_H

#include "sim/store_rig.h"

/* Opens a volume that is not being deleted. */
bool rig_open_volume(struct rig *rig, struct rig_volume *volume);
bool rig_turn(struct rig *rig);
/* Turns until *until_false is false. False: power went, or something is wrong. */
bool rig_wait(struct rig *rig, const bool *until_false, const char *what);

/* A write of up to RIG_REQUEST_BLOCKS blocks, or a discard, from RIG_SPRAY_FROM on. */
void rig_spray(struct rig *rig, struct rig_request *request, struct rig_volume *volume,
               enum volume_io_kind kind, uint64_t block, uint32_t blocks);
/* How many requests are under way. */
unsigned rig_busy(const struct rig *rig);
/* Asks again for the deletions that were interrupted, and what else goes on after an opening. */
void rig_resume(struct rig *rig);
/* Closes a volume without requests, if it is open, and deletes it (again, after a crash). */
void rig_delete(struct rig *rig, struct rig_volume *volume);

/*
 * Shapes: what no draw comes by. Each leaves a store that is open, for the storm to go on with.
 * False: something is false.
 */

/* A block of a deleted volume belongs to another before a crash, and recovery, cut in its turn,
 * has written that down when the volume's older writes are met once more. */
bool shape_retired(struct rig *rig);
/* More is freed at once than may wait in quarantine, by records of which each has more to free. */
bool shape_quarantine(struct rig *rig);
/* A full store with hardly a reserve, and changes that dirty as many pages as they can. */
bool shape_full(struct rig *rig);
/* The same, where a snapshot holds most of what is written over. For a rig with views. */
bool shape_held(struct rig *rig);
/* Writes that carry a cut come behind its deletion. For a rig with views. */
bool shape_late(struct rig *rig);
/* A map page rots that recovery has to change. */
bool shape_rotten(struct rig *rig);
/* Blocks come free while the map that says so cannot be read. */
bool shape_unread(struct rig *rig);

#endif

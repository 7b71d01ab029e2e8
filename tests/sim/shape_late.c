/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes that carry a cut are still on their way when it is deleted, and others overtake them.
 *
 *   LATE   carries the cut, its record is in the log, its data takes long
 *                 the snapshot is deleted
 *   EARLY  carries no cut, another block of the same MiB: applied first
 *
 * The head has passed the cut when LATE is applied, so it makes no page for it, and the deletion
 * finds nothing to drop. (When it made one, EARLY's block was in it, and newer than the cut: freed
 * once more with it.) But the log has LATE before EARLY: a replay makes the page. When the
 * snapshot was told gone by then, nobody ever dropped it, and what it showed was freed under it.
 */
#include "sim/store_inside.h"
#include "sim/store_views.h"

#define LATE 6u
#define TURNS 4u /* Until what was asked for is on its way. */
#define STEPS_MAX 100000u

static uint64_t block_of(uint32_t request)
{
    return RIG_SPRAY_FROM + (uint64_t)request * MAP_BLOCKS;
}

/* Where the request is idle. */
static void write_each(struct rig *rig, uint32_t first, uint32_t index)
{
    for (uint32_t i = 0; i < LATE; i++) {
        if (!rig->requests[first + i].busy)
            rig_spray(rig, &rig->requests[first + i], &rig->volumes[0], VOLUME_WRITE,
                      block_of(i) + index, 1);
    }
}

static void slow(struct rig *rig, uint32_t one_in)
{
    for (unsigned i = 0; i < rig->disk_count; i++)
        rig->disks[i]->faults.slow_one_in = one_in;
}

/* The snapshot is gone, or power. */
static bool overtake(struct rig *rig, struct rig_snap *snap)
{
    slow(rig, 2);
    write_each(rig, 0, 0);
    for (unsigned i = 0; i < TURNS; i++) {
        if (!rig_turn(rig))
            return false;
    }
    slow(rig, 0);
    snap_delete(snap);
    bool again = prng_one_in(&rig->prng, 2);
    write_each(rig, LATE, 1);
    for (unsigned steps = 0; snap->state != SNAP_FREE; steps++) {
        if (again)
            write_each(rig, LATE, 1);
        if (steps == STEPS_MAX)
            return rig_wrong(rig, "deleting a snapshot does not end");
        if (!rig_turn(rig))
            return false;
    }
    return rig_drain(rig);
}

bool shape_late(struct rig *rig)
{
    if (!rig_format(rig) || !rig_start(rig))
        return false;
    for (uint32_t index = 0; index < 3; index++) {
        write_each(rig, 0, index);
        if (!rig_drain(rig))
            return false;
    }
    if (!rig_cut_now(rig, 1))
        return false;
    struct rig_snap *snap = snap_after(&rig->volumes[0], 0);
    if (snap != NULL) {
        if (!overtake(rig, snap))
            return false;
        rig_crash(rig, false);
        if (!rig_start(rig))
            return false;
        rig_resume(rig);
    }
    write_each(rig, 0, 2);
    if (!rig_drain(rig) || !rig_stop(rig) || !rig_check(rig) || !rig_start(rig))
        return false;
    /* What lies there is not modelled. */
    if (rig_views_can_delete(&rig->volumes[0]))
        rig_delete(rig, &rig->volumes[0]);
    return rig->wrong[0] == '\0';
}

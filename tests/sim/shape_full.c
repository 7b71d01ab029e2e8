/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A full store with hardly a reserve, and changes that make or dirty as many pages as they can.
 *
 *   write ──▶ 2 blocks, the last of a segment and the first of the next: two map pages, two
 *             directories, two entries of the table
 *
 * New pages were not counted against new data, and discards of what was never written made pages
 * without asking anybody: what they took was missing when a checkpoint had to write them, and a
 * checkpoint that finds no space ends the store (seed 541 of a reserve of 76 blocks: 28 were
 * needed, none was left).
 */
#include "sim/store_inside.h"

#define PAIRS RIG_REQUESTS
#define SEGMENT_FIRST 5u
#define NEW_FIRST (SEGMENT_FIRST + 2 * PAIRS) /* Never written before the store is full. */
#define FILL_FROM (2u * SEGMENT_BLOCKS + RIG_SPRAY_FROM)

static uint32_t draw(struct rig *rig, uint32_t low, uint32_t high)
{
    return low + (uint32_t)prng_below(&rig->prng, high - low + 1);
}

/* Request i, over the end of the first of two segments. */
static void cross(struct rig *rig, uint32_t i, enum volume_io_kind kind, uint32_t segment)
{
    uint64_t block = (uint64_t)(segment + 1) * SEGMENT_BLOCKS - 1;
    rig_spray(rig, &rig->requests[i], &rig->volumes[0], kind, block, 2);
}

static bool fill(struct rig *rig, uint32_t room)
{
    struct rig_request *request = rig->requests;
    struct rig_volume *volume = &rig->volumes[2];
    uint64_t block = FILL_FROM;
    for (request->result = 0; request->result == 0; block += RIG_REQUEST_BLOCKS) {
        rig_spray(rig, request, volume, VOLUME_WRITE, block, RIG_REQUEST_BLOCKS);
        if (!rig_drain(rig))
            return false;
    }
    rig_spray(rig, request, volume, VOLUME_DISCARD, FILL_FROM, room);
    return rig_drain(rig);
}

/* All at once: what was written there, what was not, and what gives nothing back. */
static bool churn(struct rig *rig)
{
    for (uint32_t i = 0; i < PAIRS; i++) {
        uint64_t die = prng_below(&rig->prng, 8);
        bool fresh = die <= 1;
        cross(rig, i, die == 0 ? VOLUME_DISCARD : VOLUME_WRITE,
              (fresh ? NEW_FIRST : SEGMENT_FIRST) + 2 * (fresh ? i / 2 : i));
    }
    return rig_drain(rig);
}

bool shape_full(struct rig *rig)
{
    rig->options.reserve_bytes = (uint64_t)draw(rig, 1, 64) * BLOCK_BYTES;
    rig->options.segments_max = 2 * RIG_SEGMENTS;
    if (!rig_format(rig) || !rig_start(rig))
        return false;
    for (uint32_t i = 0; i < PAIRS; i++)
        cross(rig, i, VOLUME_WRITE, SEGMENT_FIRST + 2 * i);
    if (!rig_drain(rig) || !fill(rig, draw(rig, 1, RIG_REQUEST_BLOCKS)))
        return false;
    for (unsigned i = 0; i < rig->disk_count; i++)
        rig->disks[i]->faults.slow_one_in = 3;
    for (uint32_t rounds = draw(rig, 2, 8); rounds > 0; rounds--) {
        if (!churn(rig))
            return false;
    }
    for (unsigned i = 0; i < rig->disk_count; i++)
        rig->disks[i]->faults.slow_one_in = 0;
    return true;
}

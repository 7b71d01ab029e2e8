/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A full store, and a snapshot that holds most of what is written over.
 *
 *   HELD   ████████████  written, then the cut: the snapshot shows it too
 *   OWN            ████  written again behind the cut: the head alone shows it
 *   fill  ...            until there is no space
 *
 * Writing over HELD gives nothing back, so it must be refused; while it is, writing over OWN finds
 * what it needs. When HELD counted as space that comes back, it ate the half of the reserve that is
 * there for writing over OWN, and a client's overwrite failed for want of space.
 */
#include "sim/store_inside.h"
#include "sim/store_views.h"

#define HELD_REQUESTS 6u
#define OWN_FIRST (HELD_REQUESTS - 1)
#define FILL_FROM (2u * SEGMENT_BLOCKS + RIG_SPRAY_FROM)

static uint64_t held_block(uint32_t request)
{
    return RIG_SPRAY_FROM + (uint64_t)request * MAP_BLOCKS;
}

static bool write_held(struct rig *rig, uint32_t first)
{
    for (uint32_t i = first; i < HELD_REQUESTS; i++)
        rig_spray(rig, &rig->requests[i], &rig->volumes[0], VOLUME_WRITE, held_block(i),
                  RIG_REQUEST_BLOCKS);
    return rig_drain(rig);
}

static bool fill(struct rig *rig)
{
    struct rig_request *request = rig->requests;
    uint64_t block = FILL_FROM;
    for (uint32_t blocks = RIG_REQUEST_BLOCKS; blocks > 0; blocks /= 2) {
        for (request->result = 0; request->result == 0; block += RIG_REQUEST_BLOCKS) {
            rig_spray(rig, request, &rig->volumes[2], VOLUME_WRITE, block, blocks);
            if (!rig_drain(rig))
                return false;
        }
    }
    return true;
}

/* Some of HELD; with each some of OWN, which must have space. */
static bool overwrite(struct rig *rig)
{
    for (uint32_t i = 0; i < OWN_FIRST; i++) {
        for (uint32_t at = 0; at < RIG_REQUEST_BLOCKS; at += 8) {
            uint32_t own = (uint32_t)prng_below(&rig->prng, RIG_REQUEST_BLOCKS - 4);
            rig_spray(rig, &rig->requests[0], &rig->volumes[0], VOLUME_WRITE, held_block(i) + at,
                      8);
            if (!rig_drain(rig))
                return false;
            rig_spray(rig, &rig->requests[1], &rig->volumes[0], VOLUME_WRITE,
                      held_block(OWN_FIRST) + own, 4);
            rig->requests[1].overwrites = true;
            if (!rig_drain(rig))
                return false;
        }
    }
    return true;
}

bool shape_held(struct rig *rig)
{
    rig->options.reserve_bytes = (1 + prng_below(&rig->prng, 64)) * BLOCK_BYTES;
    if (!rig_format(rig) || !rig_start(rig) || !write_held(rig, 0) || !rig_cut_now(rig, 1) ||
        !write_held(rig, OWN_FIRST) || !fill(rig) || !overwrite(rig))
        return false;
    /* What lies there is not modelled: it goes, and the snapshot with it. */
    if (rig_views_can_delete(&rig->volumes[0]))
        rig_delete(rig, &rig->volumes[0]);
    rig_delete(rig, &rig->volumes[2]);
    return rig->wrong[0] == '\0';
}

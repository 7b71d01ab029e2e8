/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More is freed at once than may wait in quarantine.
 *
 * Discards of whole segments free one map page after another under one record each, and so does the
 * deletion of a volume. When blocks waited until their record and all before it were applied,
 * several of them filled the quarantine between them, none done, and waited for each other for
 * ever: one discard of 2 GiB by a client was enough.
 */
#include "sim/store_inside.h"

#define SEGMENT_FIRST 5u
#define SEGMENTS 4u
#define PAGES 3u /* Map pages of each segment that hold anything. */
#define QUARANTINE_BLOCKS MAP_BLOCKS

/* Data in some map pages of a few segments, until there is no room. */
static bool fill(struct rig *rig, struct rig_volume *volume)
{
    struct rig_request *request = rig->requests;
    for (uint32_t i = 0; i < SEGMENTS * PAGES; i++) {
        uint64_t block = (uint64_t)(SEGMENT_FIRST + i % SEGMENTS) * SEGMENT_BLOCKS +
                         (uint64_t)(i / SEGMENTS) * MAP_BLOCKS;
        for (unsigned part = 0; part < 2; part++, block += RIG_REQUEST_BLOCKS) {
            rig_spray(rig, request, volume, VOLUME_WRITE, block, RIG_REQUEST_BLOCKS);
            if (!rig_drain(rig))
                return false;
            if (request->result != 0)
                return true;
        }
    }
    return true;
}

bool shape_quarantine(struct rig *rig)
{
    rig->options.quarantine_max = QUARANTINE_BLOCKS;
    rig->options.segments_max = 2 * RIG_SEGMENTS;
    if (!rig_format(rig) || !rig_start(rig) || !fill(rig, &rig->volumes[0]) ||
        !fill(rig, &rig->volumes[1]))
        return false;
    bool deletes = prng_one_in(&rig->prng, 2);
    if (deletes)
        rig_delete(rig, &rig->volumes[1]);
    for (uint32_t i = 0; i < SEGMENTS * (deletes ? 1 : 2); i++)
        rig_spray(rig, &rig->requests[i], &rig->volumes[i / SEGMENTS], VOLUME_DISCARD,
                  (uint64_t)(SEGMENT_FIRST + i % SEGMENTS) * SEGMENT_BLOCKS, SEGMENT_BLOCKS);
    return rig_drain(rig);
}

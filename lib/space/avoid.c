/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that look free and are not: records that replay has not reached yet have them. */
#include "space/internal.h"

void space_avoid(struct space *space, struct extent extent)
{
    assert(space->loaded && !space->started);
    while (extent.blocks > 0) {
        uint32_t room = REGION_BLOCKS - (uint32_t)(extent.place % REGION_BLOCKS);
        uint32_t part = MIN(extent.blocks, room);
        space_extents_push(&space->avoid, deferred_pack(extent.place, part));
        extent.place += part;
        extent.blocks -= part;
    }
    space->avoid_sorted = false;
}

void space_avoid_over(struct space *space)
{
    space_extents_done(&space->avoid);
    space->progress = true;
    space_again(space);
}

/* Sorted, and what overlaps (a place may have been used more than once) made one. */
static void avoid_sort(struct space *space)
{
    struct extents *avoid = &space->avoid;
    space_extents_sort(avoid, &space->scratch);
    size_t kept = 0;
    for (size_t i = 0; i < avoid->count; i++) {
        uint64_t place = deferred_place(avoid->items[i]);
        uint64_t end = place + deferred_blocks(avoid->items[i]);
        if (kept > 0) {
            uint64_t last = deferred_place(avoid->items[kept - 1]);
            uint64_t last_end = last + deferred_blocks(avoid->items[kept - 1]);
            if (place < last_end) {
                avoid->items[kept - 1] = deferred_pack(last, (uint32_t)(MAX(end, last_end) - last));
                continue;
            }
        }
        avoid->items[kept++] = avoid->items[i];
    }
    avoid->count = kept;
    space->avoid_sorted = true;
}

bool space_avoid_cut(struct space *space, uint64_t place, uint32_t *blocks, uint64_t *ret_end)
{
    struct extents *avoid = &space->avoid;
    if (avoid->count == 0 || MUTANT(76))
        return true;
    if (!space->avoid_sorted)
        avoid_sort(space);
    size_t next = space_extents_find(avoid, place + 1);
    if (next > 0) {
        uint64_t last = avoid->items[next - 1];
        *ret_end = deferred_place(last) + deferred_blocks(last);
        if (*ret_end > place) {
            REACH(space_avoided);
            return false;
        }
    }
    if (next < avoid->count)
        *blocks = (uint32_t)MIN(*blocks, deferred_place(avoid->items[next]) - place);
    return true;
}

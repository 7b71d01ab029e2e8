/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much must stay free.
 *
 * A checkpoint is what makes space come free and what keeps the store alive, so none may ever find
 * too little. What it takes is known at any instant, at most:
 *
 *   every dirty page + what open changes may yet make dirty + the table's pages   (the owner says)
 *   + the free map's own pages, all of them, twice   (taking the rest makes them dirty; the second
 *                                                     time for the checkpoint after this one)
 *   + the pages of the deferred list
 *
 * So much is free at any instant, or comes free without anybody's doing before the checkpoint takes
 * it: what a checkpoint under way will give back, what only waits for reads to end. Data is given
 * out, and changes of the tree begin, only where that stays true after them. What is short for that
 * comes back by a checkpoint, and who asked waits for one.
 *
 * Except what pages without a place keep for good: they are counted against new data as if they
 * were written, so that the reserve is whole after each checkpoint.
 */
#include "space/internal.h"

/* Less than this is not enough for one overwrite after another: see above, with nothing dirty. */
#define ROOM_CHANGE_BLOCKS 32u
/* What one change of the tree may leave in the deferred list is a map page's worth; per page. */
#define ROOM_EXTENTS_PER_PAGE 128u

void space_room_init(struct space *space)
{
    const struct device_set *devices = space->options.devices;
    uint32_t pages = 1;
    for (unsigned level = 0; level < SPACE_INDEX_LEVEL; level++) {
        uint64_t unit = (uint64_t)REGION_BLOCKS << 8 * level;
        for (unsigned i = 0; i < devices->count; i++) {
            const struct device *device = &devices->devices[i];
            pages += (uint32_t)((device->base + device->blocks - 1) / unit - device->base / unit);
            /* Unless it shares its first with the one before it. */
            const struct device *before = i == 0 ? NULL : &devices->devices[i - 1];
            pages +=
                before == NULL || (before->base + before->blocks - 1) / unit != device->base / unit
                    ? 1
                    : 0;
        }
    }
    space->map_pages = pages;
    space->reserve = space->options.reserve_blocks;
    if (space->options.pages_to_come != NULL)
        space->reserve = MAX(space->reserve, 4ull * pages + ROOM_CHANGE_BLOCKS);
}

/* What comes free whoever does what: batches that are not durable apart, and what the checkpoint
 * under way will leave. */
static uint64_t room_sure(const struct space *space)
{
    const struct space_checkpoint *checkpoint = &space->checkpoint;
    uint64_t sure =
        space->waiting - space->ring_blocks - space->pages_live.blocks - space->pages_frozen.blocks;
    return sure + (checkpoint->frozen ? checkpoint->leaves : checkpoint->run_left);
}

/* What the next checkpoint takes at most, if it writes `to_come` pages besides those of the free
 * map and those that are dirty. */
static uint64_t room_need(const struct space *space, uint32_t to_come)
{
    uint64_t dirty = page_dirty_count(space->cache);
    uint64_t tree = dirty - space->root.dirty_pages + to_come;
    uint64_t list = space_deferred_pages_max(space, tree + space->map_pages,
                                             (uint64_t)to_come * ROOM_EXTENTS_PER_PAGE);
    return tree + 2 * space->map_pages + list + 1;
}

/* Of the blocks that are free now, how many a checkpoint needs. */
static uint64_t room_kept(const struct space *space, uint32_t to_come)
{
    uint64_t need = room_need(space, to_come);
    uint64_t sure = room_sure(space);
    return need > sure && !MUTANT(78) ? need - sure : 0;
}

bool space_admits(const struct space *space, uint32_t to_come)
{
    return space->free >= room_kept(space, to_come);
}

/* The reserve, and what pages take that were made and have no place yet. */
static uint64_t room_reserve(const struct space *space)
{
    if (space->options.pages_to_come == NULL || MUTANT(99))
        return space->reserve;
    return space->reserve + page_unplaced_count(space->cache);
}

uint64_t space_floor(const struct space *space, enum space_purpose purpose)
{
    if (purpose == SPACE_PAGES || MUTANT(64))
        return 0;
    uint64_t floor = purpose == SPACE_NEW ? room_reserve(space) : space->reserve / 2;
    uint64_t lacks = space_prepare_lacks(space);
    if (space->options.pages_to_come == NULL)
        return floor + lacks;
    uint32_t to_come = space->options.pages_to_come(space->options.context);
    /* Each extent that is not linked yet may be a write that makes a map page and a directory. */
    if (purpose == SPACE_NEW && !MUTANT(99))
        floor += to_come + 2 * space->reserved.count + space->promised_pages;
    return MAX(floor, room_kept(space, to_come)) + lacks;
}

/* Blocks that a checkpoint, under way or to come, will give back. */
static uint64_t room_later(const struct space *space)
{
    if (space->barren >= 2)
        return 0;
    uint64_t begun = space->checkpoint.run_left + space->pages_frozen.blocks;
    return begun + (space->options.want_checkpoint != NULL ? space->pages_live.blocks : 0);
}

bool space_full(const struct space *space, enum space_purpose purpose)
{
    uint64_t all = space->free + space_coming(space);
    if (purpose == SPACE_PAGES)
        return all == 0;
    /* What others took for overwriting comes back. */
    if (space->options.pages_to_come != NULL)
        all += space->reserved.blocks;
    uint64_t floor = purpose == SPACE_NEW ? room_reserve(space) : space->reserve / 2;
    floor += space_prepare_lacks(space);
    return all + room_later(space) <= (MUTANT(64) ? 0 : floor);
}

bool space_take_would_wait(const struct space *space, enum space_purpose purpose)
{
    return space->free <= space_floor(space, purpose) && !space_full(space, purpose);
}

uint64_t space_new_room(const struct space *space)
{
    uint64_t all = space->free + space_coming(space) + room_later(space);
    uint64_t reserve = room_reserve(space);
    return all > reserve ? all - reserve : 0;
}

uint64_t space_credit(const struct space *space, uint64_t *ret_later)
{
    uint64_t all = space->free + space_coming(space);
    uint64_t floor = space_floor(space, SPACE_NEW);
    *ret_later = room_later(space);
    return all > floor ? all - floor : 0;
}

bool space_promise_pages(struct space *space, uint32_t pages)
{
    uint64_t most = space->promised_pages + 2 * space->reserved.count + pages;
    if (space_new_room(space) <= most && !MUTANT(79))
        return false;
    space->promised_pages += pages;
    return true;
}

void space_unpromise_pages(struct space *space, uint32_t pages)
{
    assert(space->promised_pages >= pages);
    space->promised_pages -= pages;
}

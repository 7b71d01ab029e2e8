/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long runs for who asks for many blocks: a second cursor over the regions of a class.
 *
 * Next-fit cuts a large write into as many pieces as there are holes, and goes on doing so however
 * often the volume is overwritten. This cursor passes over what is too short and leaves it to small
 * writes. How long the longest run of a region may be is kept in its summary, as a level: never
 * below the truth, raised when blocks come free, made exact when the cursor has passed. It goes
 * to the next region, in order of places, of the highest level there is; a turn of the whole store
 * later, if it must, to those of the next lower.
 *
 * Bounded: a take looks at what is left of one region and goes to one other; what it does not find
 * there is taken piece by piece. It waits for no bitmap.
 */
#include "space/internal.h"

/* Each is half of the next: a write of 128 KiB is in one, two or four pieces. */
#define RUN_LEVELS 3u
static const uint32_t run_blocks[RUN_LEVELS + 1] = {1, SPACE_RUN_ASKED, 16, 32};

static unsigned region_level(const struct space *space, uint32_t region)
{
    return space->regions[region] >> SUMMARY_RUNS_SHIFT & RUN_LEVELS;
}

static void region_set_level(struct space *space, uint32_t region, unsigned level)
{
    uint32_t others = space->regions[region] & ~(RUN_LEVELS << SUMMARY_RUNS_SHIFT);
    space->regions[region] = others | level << SUMMARY_RUNS_SHIFT;
    space_runs_offer(space, region);
}

/* The highest level above `least` of which there is a run in [from, limit); or `least`. */
static unsigned level_find(const uint8_t *bits, uint32_t from, uint32_t limit, unsigned least)
{
    for (unsigned level = RUN_LEVELS; level > least; level--) {
        uint32_t at = 0;
        uint32_t blocks = run_blocks[level];
        if (space_bitmap_find_run(bits, from, limit, blocks, blocks, &at, &blocks))
            return level;
    }
    return least;
}

void space_runs_offer(struct space *space, uint32_t region)
{
    struct space_runs *runs = &space_region_class(space, region)->runs;
    runs->level_max = MAX(runs->level_max, region_level(space, region));
}

void space_runs_assume(struct space *space, uint32_t region)
{
    unsigned level = RUN_LEVELS;
    while (level > 0 && space_region_free(space, region) < run_blocks[level])
        level--;
    region_set_level(space, region, level);
}

void space_runs_freed(struct space *space, uint32_t region, const uint8_t *bits, uint32_t from,
                      uint32_t count)
{
    unsigned level = region_level(space, region);
    if (level == RUN_LEVELS)
        return;
    uint32_t reach = run_blocks[RUN_LEVELS] - 1;
    uint32_t begin = from - MIN(from, reach);
    uint32_t end = MIN(from + count + reach, REGION_BLOCKS);
    unsigned found = level_find(bits, begin, end, level);
    if (found > level)
        region_set_level(space, region, found);
}

/* What is left in the region that the cursor has gone through. */
static void runs_end(struct space *space, struct space_runs *runs)
{
    uint32_t region = runs->fetch.region;
    if (runs->fetch.page != NULL)
        region_set_level(space, region,
                         level_find(page_bytes(runs->fetch.page), 0, REGION_BLOCKS, 0));
    space_fetch_end(&runs->fetch);
}

void space_runs_leave(struct space *space, uint32_t region)
{
    struct space_class *class = space_region_class(space, region);
    if (class->runs.fetch.region != region || MUTANT(77))
        return;
    REACH(space_runs_left);
    runs_end(space, &class->runs);
}

/* From `begin` on, the next region of the highest level that there is. */
static uint32_t runs_pick(struct space *space, struct space_class *class, uint32_t begin)
{
    struct space_runs *runs = &class->runs;
    uint32_t best = SPACE_REGION_NONE;
    unsigned best_level = 0;
    for (uint32_t i = 0; i < space->region_count && best_level < runs->level_max; i++) {
        uint32_t region = (begin + i) % space->region_count;
        unsigned level = region_level(space, region);
        if (level <= best_level || space_region_class(space, region) != class ||
            region == space->discard.fetch.region || !space_region_ready(space, region))
            continue;
        best = region;
        best_level = level;
    }
    runs->level_max = best_level;
    runs->level = best_level;
    return best;
}

/* The bitmap to look at is in memory. */
static bool runs_open(struct space *space, struct space_class *class)
{
    struct space_runs *runs = &class->runs;
    uint32_t begin = 0;
    if (runs->fetch.region != SPACE_REGION_NONE) {
        if (runs->fetch.page != NULL && runs->position < REGION_BLOCKS)
            return true;
        if (runs->fetch.page == NULL)
            return space_fetch_poll(&runs->fetch) == 0;
        begin = runs->fetch.region + 1;
        runs_end(space, runs);
    }
    if (runs->level_max == 0)
        return false;
    uint32_t region = runs_pick(space, class, begin);
    if (region == SPACE_REGION_NONE)
        return false;
    runs->position = 0;
    space_fetch_begin(&runs->fetch, region);
    return space_fetch_poll(&runs->fetch) == 0;
}

int space_runs_take(struct space *space, struct space_class *class, uint32_t blocks_max,
                    struct page_waiter *waiter, struct extent *ret_extent)
{
    struct space_runs *runs = &class->runs;
    for (unsigned regions = 0; regions < 2 && runs_open(space, class); regions++) {
        uint32_t region = runs->fetch.region;
        struct page *page = runs->fetch.page;
        uint32_t from = 0;
        uint32_t blocks = 0;
        if (!space_bitmap_find_run(page_bytes(page), runs->position, REGION_BLOCKS,
                                   MIN(run_blocks[runs->level], blocks_max), blocks_max, &from,
                                   &blocks)) {
            runs->position = REGION_BLOCKS;
            continue;
        }
        int changed = space_region_change(space, region, page, from, blocks, true, waiter);
        if (changed < 0)
            return changed;
        assert((uint32_t)changed == blocks);
        REACH(space_run_taken);
        runs->position = from + blocks;
        space_prepare_busy(space);
        uint64_t place = (uint64_t)region * REGION_BLOCKS + from;
        *ret_extent = (struct extent){.place = place, .blocks = blocks};
        return 0;
    }
    REACH(space_run_not_found);
    return -ENOENT;
}

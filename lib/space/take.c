/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking: next-fit in the current region of a class, then the next region.
 *
 *   current (bitmap pinned) ──exhausted──▶ next (fetched ahead) ──▶ current
 *                                            ▲
 *                         the next ready region in order of places
 *
 * Who asks for many blocks is served from elsewhere while there are long runs (runs.c).
 */
#include "space/internal.h"

int space_wait(struct space *space, struct page_waiter *waiter)
{
    list_remove(&waiter->node);
    list_push_back(&space->waiters, &waiter->node);
    space->waits++;
    return -EAGAIN;
}

/* Somebody else holds the region: it is being given back to the device, or zeroed. */
static bool region_held(const struct space *space, const struct space_class *class, uint32_t region)
{
    return region == space->discard.fetch.region || region == class->prepare.fetch.region;
}

/*
 * The next region in order after the current one that is ready (or, if not `ready`, any) and has
 * free blocks. The fuller ones are passed over while others are there: a bitmap read should
 * buy many blocks; and the one in which long runs are looked for. The current one comes last.
 */
static uint32_t region_pick(struct space *space, struct space_class *class, bool ready)
{
    uint64_t average = class->prepared_free / MAX(class->regions_ready, 1u);
    uint32_t begin = class->current.region == SPACE_REGION_NONE ? 0 : class->current.region + 1;
    uint32_t second = SPACE_REGION_NONE;
    for (uint32_t i = 0; i < space->region_count; i++) {
        uint32_t region = (begin + i) % space->region_count;
        uint32_t free = space_region_free(space, region);
        if (free == 0 || space_region_class(space, region) != class ||
            region_held(space, class, region) || (ready && !space_region_ready(space, region)))
            continue;
        if (free >= average / 2 && region != class->runs.fetch.region)
            return region;
        if (second == SPACE_REGION_NONE)
            second = region;
    }
    return second;
}

/* Where to go on when the current region has nothing more before its limit. */
static uint32_t take_successor(struct space *space, struct space_class *class,
                               enum space_purpose purpose)
{
    uint32_t region = SPACE_REGION_NONE;
    if (class->prepared_free > 0)
        region = region_pick(space, class, true);
    if (region == SPACE_REGION_NONE && purpose == SPACE_PAGES &&
        space_prepare_spares(space, class)) {
        REACH(space_pages_unprepared);
        region = region_pick(space, class, false);
    }
    /* The front part of the one that is being prepared. */
    if (region == SPACE_REGION_NONE && class->prepare.fetch.page != NULL &&
        class->prepare.fetch.region != class->current.region)
        region = class->prepare.fetch.region;
    return region;
}

/* The region fetched ahead may have changed meanwhile. */
static bool next_still_good(struct space *space, struct space_class *class)
{
    uint32_t region = class->next.region;
    return region != SPACE_REGION_NONE && space_region_ready(space, region) &&
           space_region_free(space, region) > 0;
}

/* Makes another region current. 0: look there; -EAGAIN: not yet; -ENOSPC: nothing will come. */
static int take_advance(struct space *space, struct space_class *class, enum space_purpose purpose)
{
    if (!next_still_good(space, class)) {
        space_fetch_end(&class->next);
        uint32_t region = take_successor(space, class, purpose);
        if (region == SPACE_REGION_NONE) {
            bool coming = space_prepare_coming(space, class) ||
                          space->discard.fetch.region != SPACE_REGION_NONE;
            if (coming && !class->starved) {
                class->starved = true;
                space_again(space);
            }
            return coming ? -EAGAIN : -ENOSPC;
        }
        if (region == class->current.region) {
            class->position = 0;
            return 0;
        }
        space_fetch_begin(&class->next, region);
    }
    int result = space_fetch_poll(&class->next);
    if (result == -EAGAIN)
        return -EAGAIN;
    if (result != 0)
        return 0; /* Lost; the caller goes round. */
    space_fetch_end(&class->current);
    class->current.region = class->next.region;
    class->current.page = class->next.page;
    class->next.region = SPACE_REGION_NONE;
    class->next.page = NULL;
    class->position = 0;
    return 0;
}

/* A run of the current region, if it has one. 0, -EAGAIN (waiter queued), -ENOENT. */
static int take_here(struct space *space, struct space_class *class, enum space_purpose purpose,
                     uint32_t blocks_max, struct page_waiter *waiter, struct extent *ret_extent)
{
    uint32_t region = class->current.region;
    struct page *page = class->current.page;
    if (page == NULL)
        return -ENOENT;
    uint32_t limit = space_prepare_limit(space, class, region, purpose);
    uint32_t from = 0;
    uint32_t blocks = 0;
    uint64_t base = (uint64_t)region * REGION_BLOCKS;
    for (;;) {
        uint64_t end = 0;
        if (!space_bitmap_find(page_bytes(page), class->position, limit, blocks_max, &from,
                               &blocks))
            return -ENOENT;
        if (space_avoid_cut(space, base + from, &blocks, &end))
            break;
        class->position = (uint32_t)(end - base);
    }
    int changed = space_region_change(space, region, page, from, blocks, true, waiter);
    if (changed < 0)
        return changed;
    assert((uint32_t)changed == blocks);
    class->position = from + blocks;
    space_prepare_busy(space);
    *ret_extent = (struct extent){.place = base + from, .blocks = blocks};
    return 0;
}

static int class_take(struct space *space, struct space_class *class, enum space_purpose purpose,
                      uint32_t blocks_max, struct page_waiter *waiter, struct extent *ret_extent)
{
    if (blocks_max >= SPACE_RUN_ASKED && purpose != SPACE_PAGES) {
        int result = space_runs_take(space, class, blocks_max, waiter, ret_extent);
        if (result != -ENOENT)
            return result;
    }
    /* Regions that turn out to be lost cost a round each, and those of which all is avoided. */
    uint32_t most = 8 + (space->avoid.count > 0 ? space->region_count : 0);
    for (uint32_t rounds = 0; rounds < most; rounds++) {
        int result = take_here(space, class, purpose, blocks_max, waiter, ret_extent);
        if (result != -ENOENT)
            return result;
        result = take_advance(space, class, purpose);
        if (result == -EAGAIN)
            return space_wait(space, waiter);
        if (result != 0)
            return result;
    }
    if (space->avoid.count > 0)
        return -ENOSPC;
    space->progress = true;
    space_again(space);
    return space_wait(space, waiter);
}

/* Nothing above the floor is free now: whether waiting helps. */
static int take_short(struct space *space, enum space_purpose purpose, uint64_t floor,
                      struct page_waiter *waiter)
{
    if (MUTANT(70) || space_full(space, purpose))
        return -ENOSPC;
    if (space->free + space_coming(space) <= floor) {
        REACH(space_take_waits_for_checkpoint);
        if (purpose != SPACE_PAGES && space->options.want_checkpoint != NULL)
            space->options.want_checkpoint(space->options.context);
    }
    REACH(space_take_waits_for_quarantine);
    space_want_flush(space);
    space->short_waits = true;
    return space_wait(space, waiter);
}

int space_take_run(struct space *space, enum device_class class, enum space_purpose purpose,
                   uint32_t blocks_max, struct page_waiter *waiter, struct extent *ret_extent)
{
    assert(blocks_max > 0);
    if (space->options.devices->failed != 0)
        return IOMESH_FAILED;
    uint64_t floor = space_floor(space, purpose);
    if (space->free <= floor)
        return take_short(space, purpose, floor, waiter);
    uint32_t wanted = (uint32_t)MIN(blocks_max, MIN(space->free - floor, REGION_BLOCKS));
    /* The class asked for, slower ones, then faster ones. */
    int result = -ENOSPC;
    for (unsigned i = 0; i < DEVICE_CLASSES && result == -ENOSPC; i++) {
        unsigned number = class + i < DEVICE_CLASSES ? class + i : DEVICE_CLASSES - 1 - i;
        if (space->classes[number].free > 0)
            result =
                class_take(space, &space->classes[number], purpose, wanted, waiter, ret_extent);
    }
    if (result == -ENOSPC)
        REACH(space_full_below);
    return result;
}

int space_take(struct space *space, enum device_class class, enum space_purpose purpose,
               uint32_t blocks_max, struct page_waiter *waiter, struct extent *ret_extent)
{
    space->releasing = true;
    if (purpose != SPACE_PAGES)
        space->started = space->taken = true;
    if (space->reserved.count == SPACE_RESERVED_MAX) {
        REACH(space_too_many_reserved);
        return space_wait(space, waiter);
    }
    int result = space_take_run(space, class, purpose, blocks_max, waiter, ret_extent);
    if (result == 0) {
        space_reserved_add(&space->reserved, *ret_extent);
        space->barren = 0;
    }
    return result;
}

void space_link(struct space *space, struct extent extent)
{
    if (space->short_waits || space->reserved.count == SPACE_RESERVED_MAX) {
        space->progress = true;
        space_again(space);
    }
    space_reserved_remove(&space->reserved, extent);
}

void space_give_back(struct space *space, struct extent extent)
{
    space_link(space, extent);
    space_extents_push(&space->returned, deferred_pack(extent.place, extent.blocks));
    space->waiting += extent.blocks;
    space_again(space);
}

void space_take_turn(struct space *space)
{
    for (unsigned i = 0; i < DEVICE_CLASSES; i++) {
        struct space_class *class = &space->classes[i];
        uint32_t current = class->current.region;
        if (class->current.page == NULL)
            continue;
        /* Nothing ready elsewhere: nothing to look for. */
        bool ready = space_region_ready(space, current);
        if (class->prepared_free == (ready ? space_region_free(space, current) : 0))
            continue;
        if (class->next.region == SPACE_REGION_NONE) {
            uint32_t region = region_pick(space, class, true);
            if (region == SPACE_REGION_NONE || region == current)
                continue;
            space_fetch_begin(&class->next, region);
        }
        (void)space_fetch_poll(&class->next);
    }
}

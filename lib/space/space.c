/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing, the turn, and the books. */
#include "space/space.h"

#include <stdlib.h>

#include "space/internal.h"

static void again_fired(struct timer *timer)
{
    /* Being due made the engine turn; its turn calls space_turn(). */
    space_turn(CONTAINER_OF(timer, struct space, again));
}

void space_again(struct space *space)
{
    if (!space->again.set)
        clock_set_after(space->options.clock, &space->again, 0);
}

static void idle_fired(struct timer *timer)
{
    struct space *space = CONTAINER_OF(timer, struct space, idle);
    space->idle_now = space->takes == space->takes_seen;
    space->takes_seen = space->takes;
    space_again(space);
}

/* Which device each region belongs to. */
static void regions_assign(struct space *space)
{
    for (uint32_t region = 0; region < space->region_count; region++)
        space->regions[region] = SUMMARY_NO_DEVICE << 24;
    const struct device_set *devices = space->options.devices;
    for (unsigned i = 0; i < devices->count; i++) {
        const struct device *device = &devices->devices[i];
        uint32_t first = (uint32_t)(device->base / REGION_BLOCKS);
        uint32_t count = (uint32_t)DIV_CEIL(device->blocks, REGION_BLOCKS);
        for (uint32_t region = first; region < first + count; region++)
            space->regions[region] = i << 24;
        space->total += device->blocks;
    }
}

static uint32_t regions_needed(const struct device_set *devices)
{
    uint64_t end = 0;
    for (unsigned i = 0; i < devices->count; i++) {
        const struct device *device = &devices->devices[i];
        assert(device->base % REGION_BLOCKS == 0);
        end = MAX(end, device->base + device->blocks);
    }
    assert(end > 0 && end <= PLACE_MAX + 1);
    return (uint32_t)DIV_CEIL(end, REGION_BLOCKS);
}

static void space_init(struct space *space)
{
    list_init(&space->waiters);
    space->again.fire = again_fired;
    space->idle.fire = idle_fired;
    for (unsigned i = 0; i < DEVICE_CLASSES; i++) {
        struct space_class *class = &space->classes[i];
        class->space = space;
        space_fetch_init(&class->current, space);
        space_fetch_init(&class->next, space);
        space_fetch_init(&class->runs.fetch, space);
        space_prepare_init(class);
    }
    for (unsigned i = 0; i < SPACE_RELEASE_SLOTS; i++)
        space_fetch_init(&space->release.slots[i].fetch, space);
    space_discard_init(space);
    space_load_init(space);
    space_checkpoint_init(space);
}

void space_close(struct space *space)
{
    if (space == NULL)
        return;
    while (list_pop_front(&space->waiters) != NULL)
        continue;
    clock_cancel(space->options.clock, &space->again);
    clock_cancel(space->options.clock, &space->idle);
    for (unsigned i = 0; i < DEVICE_CLASSES; i++) {
        space_fetch_end(&space->classes[i].current);
        space_fetch_end(&space->classes[i].next);
        space_fetch_end(&space->classes[i].runs.fetch);
        space_prepare_close(&space->classes[i]);
    }
    for (unsigned i = 0; i < SPACE_RELEASE_SLOTS; i++)
        space_fetch_end(&space->release.slots[i].fetch);
    space_discard_close(space);
    page_waiter_cancel(&space->load.waiter);
    page_waiter_cancel(&space->checkpoint.waiter);
    space_checkpoint_close(space);
    space_extents_done(&space->release.batch);
    space_extents_done(&space->release.lost);
    space_extents_done(&space->returned);
    space_extents_done(&space->pages_live);
    space_extents_done(&space->pages_frozen);
    space_extents_done(&space->pages_done);
    space_extents_done(&space->deferred_pages);
    space_extents_done(&space->scratch);
    space_extents_done(&space->avoid);
    free(space->reserved.items);
    free(space->ring);
    free(space->regions);
    free(space);
}

static bool space_pools_open(struct space *space)
{
    space->regions = calloc(space->region_count, sizeof *space->regions);
    space->ring = calloc(space->options.quarantine_max, sizeof *space->ring);
    space->reserved.items = calloc(RESERVED_SLOTS, sizeof *space->reserved.items);
    space->checkpoint.bytes = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    if (space->regions == NULL || space->ring == NULL || space->reserved.items == NULL ||
        space->checkpoint.bytes == NULL)
        return false;
    size_t pages = page_frame_count(space->cache);
    space_extents_make_room(&space->pages_live, pages);
    space_extents_make_room(&space->pages_frozen, 2 * pages);
    space_extents_make_room(&space->pages_done, 2 * pages);
    space_extents_make_room(&space->checkpoint.list, 4 * pages);
    return true;
}

int space_open(const struct space_options *options, struct space **ret_space)
{
    assert(options->quarantine_max > 0 && options->want_flush != NULL);
    struct space *space = calloc(1, sizeof *space);
    if (space == NULL)
        return FAIL(-ENOMEM, "free space: no memory");
    space->options = *options;
    space->cache = options->cache;
    space->root = (struct page_root){
        .pointer = options->index,
        .level = SPACE_INDEX_LEVEL,
        .leaf_is_bytes = true,
    };
    space->region_count = regions_needed(options->devices);
    space_init(space);
    if (!space_pools_open(space)) {
        space_close(space);
        return FAIL(-ENOMEM, "free space: no memory for %u regions",
                    regions_needed(options->devices));
    }
    regions_assign(space);
    space_room_init(space);
    *ret_space = space;
    return 0;
}

void space_begin(struct space *space)
{
    /* What waits for nothing comes free before its region is prepared. */
    space->started = space->releasing = true;
    space_again(space);
}

void space_stop(struct space *space)
{
    space->stopped = true;
    space->progress = true;
    space_again(space);
}

bool space_idle(const struct space *space)
{
    for (unsigned i = 0; i < DEVICE_CLASSES; i++) {
        if (space_prepare_flying(&space->classes[i]))
            return false;
    }
    return !space->discard.flying && space->checkpoint.deferred == NULL;
}

/* First come, first woken. */
static void waiters_wake(struct space *space)
{
    space->progress = space->short_waits = false;
    for (struct list *node; (node = list_pop_front(&space->waiters)) != NULL;)
        page_wake(space->cache, LIST_ENTRY(node, struct page_waiter, node));
}

void space_turn(struct space *space)
{
    if (!space->loaded)
        return;
    if (space->options.devices->failed != 0 && !space->failed_seen) {
        space->failed_seen = true;
        space->progress = true;
    }
    space_epoch_turn(space);
    space_release_turn(space);
    space_take_turn(space);
    space_prepare_turn(space);
    space_discard_turn(space);
    if (space->progress)
        waiters_wake(space);
}

void space_stats(const struct space *space, struct space_stats *ret_stats)
{
    uint64_t reserve = MIN(space->reserve, space->free);
    uint64_t reserved = space->reserved.blocks + space->checkpoint.run_left;
    *ret_stats = (struct space_stats){
        .total_blocks = space->total,
        .free_blocks = space->free - reserve,
        .reserve_blocks = reserve,
        .used_blocks = space->total - space->free - space->waiting - reserved,
        .quarantine_blocks = space->waiting,
        .reserved_blocks = reserved,
        .lost_blocks = space->lost,
        .prepared_bytes = space->prepared_bytes,
        .discarded_bytes = space->discarded_bytes,
        .regions_prepared = space->regions_prepared,
        .waits = space->waits,
    };
    for (unsigned i = 0; i < DEVICE_CLASSES; i++)
        ret_stats->regions += space->classes[i].regions;
}

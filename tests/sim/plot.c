/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/plot.h"

#include <stdlib.h>
#include <string.h>

#include "format/deferred.h"

/* --- The model --------------------------------------------------------------------------- */

static struct sim_disk *plot_disk(struct plot *plot, uint64_t place, uint64_t *ret_offset)
{
    struct device *device = device_at(&plot->devices, place);
    REQUIRE_SAYING(device != NULL, "place %lu is on no device", place);
    *ret_offset = (place - device->base) * BLOCK_BYTES;
    return plot->disks[device - plot->devices.devices];
}

void plot_tag_again(struct plot *plot, uint64_t place)
{
    uint64_t offset;
    struct sim_disk *disk = plot_disk(plot, place, &offset);
    sim_disk_poke(disk, offset, 8, &plot->tags[place]);
}

static void plot_tag(struct plot *plot, uint64_t place)
{
    plot->tags[place] = ++plot->tag_next;
    plot_tag_again(plot, place);
}

void plot_tag_check(struct plot *plot, uint64_t place)
{
    uint64_t offset;
    uint64_t tag;
    struct sim_disk *disk = plot_disk(plot, place, &offset);
    sim_disk_peek(disk, offset, 8, &tag);
    REQUIRE_SAYING(tag == plot->tags[place], "block %lu was written over", place);
}

static bool state_used(uint8_t state)
{
    return state == PLOT_FIXED || state == PLOT_LINKED || state == PLOT_PAGE;
}

static void plot_become(struct plot *plot, uint64_t place, enum plot_state state)
{
    plot->used -= state_used(plot->state[place]);
    plot->used += state_used((uint8_t)state);
    plot->state[place] = (uint8_t)state;
}

/* Whether the model agrees that a block may be given out now. */
static void plot_may_take(struct plot *plot, uint64_t place)
{
    REQUIRE_SAYING(device_at(&plot->devices, place) != NULL, "place %lu is on no device", place);
    uint8_t state = plot->state[place];
    REQUIRE_SAYING(state == PLOT_FREE || state == PLOT_WAITS || state == PLOT_PAGE_DONE,
                   "block %lu was given out in state %u", place, state);
    if (state == PLOT_FREE)
        return;
    const struct plot_wait *wait = &plot->waits[place];
    REQUIRE_SAYING(state == PLOT_PAGE_DONE || wait->batch <= plot->durable,
                   "block %lu was given out before batch %lu was durable", place, wait->batch);
    for (unsigned i = 0; i < plot->read_count; i++)
        REQUIRE_SAYING(plot->reads[i].time > wait->time, "block %lu was given out while it is read",
                       place);
}

static void plot_log(struct plot *plot, struct extent extent, bool used)
{
    REQUIRE(plot->log_count < plot->log_room);
    REQUIRE(plot->next_log_count < plot->log_room);
    struct plot_log entry = {.extent = extent, .batch = plot->batch, .used = used};
    plot->log[plot->log_count++] = entry;
    plot->next_log[plot->next_log_count++] = entry;
}

/* --- The world --------------------------------------------------------------------------- */

static void want_flush(void *context)
{
    ((struct plot *)context)->want_flush = true;
}

static void want_checkpoint(void *context)
{
    ((struct plot *)context)->want_checkpoint = true;
}

static void plot_woken(struct page_waiter *waiter)
{
    CONTAINER_OF(waiter, struct plot, waiter)->woken++;
}

static void checkpoint_woken(struct page_waiter *waiter)
{
    CONTAINER_OF(waiter, struct plot, checkpoint_waiter)->checkpoint_waits = false;
}

static void page_freed(void *context, uint64_t place)
{
    (void)context;
    REQUIRE_SAYING(false, "the free map dropped its page at %lu", place);
}

void plot_space_open(struct plot *plot)
{
    struct page_cache_options cache = {
        .devices = &plot->devices,
        .frame_count = plot->options.frames,
        .reserve_frames = plot->options.frames / 4,
        .freed = page_freed,
        .context = plot,
    };
    REQUIRE(page_cache_open(&cache, &plot->cache) == 0);
    struct space_options space = {
        .cache = plot->cache,
        .devices = &plot->devices,
        .clock = &plot->world.clock,
        .index = plot->index,
        .deferred_place = plot->deferred_place,
        .deferred_crc = plot->deferred_crc,
        .reserve_blocks = plot->options.reserve_blocks,
        .quarantine_max = plot->options.quarantine_max,
        .discard = plot->options.discard,
        .want_flush = want_flush,
        .context = plot,
        .want_checkpoint = plot->options.no_want_checkpoint ? NULL : want_checkpoint,
    };
    REQUIRE(space_open(&space, &plot->space) == 0);
    list_init(&plot->waiter.node);
    plot->waiter.wake = plot_woken;
    list_init(&plot->checkpoint_waiter.node);
    plot->checkpoint_waiter.wake = checkpoint_woken;
}

static void plot_devices_open(struct plot *plot)
{
    static const char *const names[PLOT_DEVICES] = {"a", "b", "c", "d"};
    for (unsigned i = 0; i < plot->options.devices; i++) {
        uint64_t blocks = plot->options.device[i].blocks;
        plot->disks[i] = sim_disk_open(&plot->world, names[i], blocks * BLOCK_BYTES);
        plot->disks[i]->disk.prepares = plot->options.device[i].prepares;
        plot->devices.devices[i] = (struct device){
            .disk = &plot->disks[i]->disk,
            .base = plot->options.device[i].base,
            .blocks = blocks,
            .class = plot->options.device[i].class,
        };
        plot->end = MAX(plot->end, plot->options.device[i].base + blocks);
        plot->total += blocks;
    }
    plot->devices.count = plot->options.devices;
    device_set_init(&plot->devices);
}

struct plot *plot_open(const struct plot_options *options)
{
    struct plot *plot = calloc(1, sizeof *plot);
    REQUIRE(plot != NULL);
    plot->options = *options;
    world_open(&plot->world, options->seed);
    plot->prng = prng_fork(&plot->world.prng);
    plot_devices_open(plot);
    plot->state = calloc(plot->end, 1);
    plot->snap = calloc(plot->end, 1);
    plot->next_snap = calloc(plot->end, 1);
    plot->waits = calloc(plot->end, sizeof *plot->waits);
    plot->tags = calloc(plot->end, sizeof *plot->tags);
    plot->log_room = 200000;
    plot->log = calloc(plot->log_room, sizeof *plot->log);
    plot->next_log = calloc(plot->log_room, sizeof *plot->next_log);
    plot->batch = 1;
    plot_space_open(plot);
    space_format(plot->space);
    if (options->fixed_blocks > 0) {
        struct extent fixed = {.place = options->device[0].base, .blocks = options->fixed_blocks};
        while (space_mark(plot->space, fixed, true, &plot->waiter) == -EAGAIN)
            plot_turn(plot);
        for (uint32_t i = 0; i < fixed.blocks; i++)
            plot_become(plot, fixed.place + i, PLOT_FIXED);
    }
    plot_checkpoint_run(plot);
    return plot;
}

void plot_close(struct plot *plot)
{
    plot_space_close(plot);
    world_close(&plot->world);
    free(plot->state);
    free(plot->snap);
    free(plot->next_snap);
    free(plot->waits);
    free(plot->tags);
    free(plot->log);
    free(plot->next_log);
    free(plot);
}

bool plot_turn(struct plot *plot)
{
    bool moved = world_step(&plot->world);
    moved = device_turn(&plot->devices) > 0 || moved;
    moved = page_turn(plot->cache) > 0 || moved;
    if (plot->write.active)
        page_write_turn(&plot->write);
    space_turn(plot->space);
    return moved || page_turn_needed(plot->cache) || plot->write.active ||
           clock_deadline_ns(&plot->world.clock) != CLOCK_NEVER;
}

void plot_settle(struct plot *plot)
{
    unsigned turns = 0;
    while (plot_turn(plot))
        REQUIRE_SAYING(++turns < 2000000, "it never settles");
}

void plot_durable(struct plot *plot)
{
    plot->want_flush = false;
    plot->durable = plot->batch++;
    space_durable(plot->space, plot->durable);
}

/* --- Operations -------------------------------------------------------------------------- */

static uint64_t plot_floor(const struct plot *plot, enum space_purpose purpose)
{
    return purpose == SPACE_NEW ? plot->options.reserve_blocks : plot->options.reserve_blocks / 2;
}

/* No space is the truth: nothing that is free or waits is left above the floor. */
static void plot_check_full(const struct plot *plot, enum space_purpose purpose)
{
    struct space_stats stats = plot_stats(plot);
    uint64_t mine = stats.free_blocks + stats.reserve_blocks + stats.quarantine_blocks;
    if (plot->options.no_want_checkpoint)
        mine -= plot_count(plot, PLOT_PAGE_LIVE);
    REQUIRE_SAYING(mine <= plot_floor(plot, purpose) + stats.lost_blocks,
                   "no space, yet there is some");
}

int plot_take(struct plot *plot, enum device_class class, enum space_purpose purpose,
              uint32_t blocks_max)
{
    REQUIRE(plot->taken_count < PLOT_EXTENTS);
    struct space_stats before = plot_stats(plot);
    struct extent extent = {0};
    int result = space_take(plot->space, class, purpose, blocks_max, &plot->waiter, &extent);
    if (result == -ENOSPC && !plot->full_below)
        plot_check_full(plot, purpose);
    if (result != 0)
        return result;
    REQUIRE(extent.blocks >= 1 && extent.blocks <= blocks_max);
    uint64_t free = before.free_blocks + before.reserve_blocks;
    REQUIRE_SAYING(free - extent.blocks >= plot_floor(plot, purpose), "the reserve was given out");
    for (uint32_t i = 0; i < extent.blocks; i++) {
        plot_may_take(plot, extent.place + i);
        plot_become(plot, extent.place + i, PLOT_TAKEN);
        plot_tag(plot, extent.place + i);
    }
    plot->taken[plot->taken_count++] = extent;
    return 0;
}

void plot_fill(struct plot *plot, enum space_purpose purpose, uint64_t blocks)
{
    while (blocks > 0) {
        uint32_t wanted = (uint32_t)MIN(blocks, 4096);
        int result = plot_take(plot, DEVICE_NVME, purpose, wanted);
        if (result == -EAGAIN) {
            REQUIRE_SAYING(plot_turn(plot), "nobody will wake the one who waits");
            continue;
        }
        REQUIRE_SAYING(result == 0, "fill: %d", result);
        blocks -= plot->taken[plot->taken_count - 1].blocks;
        plot_link(plot, plot->taken_count - 1);
    }
}

void plot_link(struct plot *plot, unsigned index)
{
    struct extent extent = plot->taken[index];
    plot->taken[index] = plot->taken[--plot->taken_count];
    space_link(plot->space, extent);
    for (uint32_t i = 0; i < extent.blocks; i++)
        plot_become(plot, extent.place + i, PLOT_LINKED);
    REQUIRE(plot->linked_count < PLOT_EXTENTS);
    plot->linked[plot->linked_count++] = extent;
    plot_log(plot, extent, true);
}

void plot_give_back(struct plot *plot, unsigned index)
{
    struct extent extent = plot->taken[index];
    plot->taken[index] = plot->taken[--plot->taken_count];
    space_give_back(plot->space, extent);
    for (uint32_t i = 0; i < extent.blocks; i++)
        plot_become(plot, extent.place + i, PLOT_FREE);
}

int plot_free(struct plot *plot, unsigned index, uint32_t blocks)
{
    struct extent *linked = &plot->linked[index];
    REQUIRE(blocks <= linked->blocks);
    int result = space_quarantine_reserve(plot->space, blocks, &plot->waiter);
    if (result != 0)
        return result;
    linked->blocks -= blocks;
    struct extent extent = {.place = linked->place + linked->blocks, .blocks = blocks};
    if (linked->blocks == 0)
        *linked = plot->linked[--plot->linked_count];
    space_free(plot->space, extent, plot->batch);
    plot->time++;
    for (uint32_t i = 0; i < blocks; i++) {
        plot_tag_check(plot, extent.place + i);
        plot_become(plot, extent.place + i, PLOT_WAITS);
        plot->waits[extent.place + i] =
            (struct plot_wait){.batch = plot->batch, .time = plot->time};
    }
    plot_log(plot, extent, false);
    return 0;
}

void plot_free_page(struct plot *plot, unsigned index)
{
    uint64_t place = plot->pages[index];
    plot->pages[index] = plot->pages[--plot->page_count];
    plot_tag_check(plot, place);
    space_free_page(plot->space, place);
    plot_become(plot, place, PLOT_PAGE_LIVE);
}

void plot_read_enter(struct plot *plot)
{
    REQUIRE(plot->read_count < PLOT_READS);
    plot->reads[plot->read_count].ticket = space_read_enter(plot->space);
    plot->reads[plot->read_count++].time = ++plot->time;
}

void plot_read_leave(struct plot *plot, unsigned index)
{
    space_read_leave(plot->space, plot->reads[index].ticket);
    plot->reads[index] = plot->reads[--plot->read_count];
}

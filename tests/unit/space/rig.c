/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "format/deferred.h"

/* --- The model --------------------------------------------------------------------------- */

static struct sim_disk *rig_disk(struct rig *rig, uint64_t place, uint64_t *ret_offset)
{
    struct device *device = device_at(&rig->devices, place);
    cr_assert_not_null(device, "place %lu is on no device", place);
    *ret_offset = (place - device->base) * BLOCK_BYTES;
    return rig->disks[device - rig->devices.devices];
}

void rig_tag_again(struct rig *rig, uint64_t place)
{
    uint64_t offset;
    struct sim_disk *disk = rig_disk(rig, place, &offset);
    sim_disk_poke(disk, offset, 8, &rig->tags[place]);
}

static void rig_tag(struct rig *rig, uint64_t place)
{
    rig->tags[place] = ++rig->tag_next;
    rig_tag_again(rig, place);
}

void rig_tag_check(struct rig *rig, uint64_t place)
{
    uint64_t offset;
    uint64_t tag;
    struct sim_disk *disk = rig_disk(rig, place, &offset);
    sim_disk_peek(disk, offset, 8, &tag);
    cr_assert_eq(tag, rig->tags[place], "block %lu was written over", place);
}

static bool state_used(uint8_t state)
{
    return state == RIG_FIXED || state == RIG_LINKED || state == RIG_PAGE;
}

static void rig_become(struct rig *rig, uint64_t place, enum rig_state state)
{
    rig->used -= state_used(rig->state[place]);
    rig->used += state_used((uint8_t)state);
    rig->state[place] = (uint8_t)state;
}

/* Whether the model agrees that a block may be given out now. */
static void rig_may_take(struct rig *rig, uint64_t place)
{
    cr_assert_not_null(device_at(&rig->devices, place), "place %lu is on no device", place);
    uint8_t state = rig->state[place];
    cr_assert(state == RIG_FREE || state == RIG_WAITS || state == RIG_PAGE_DONE,
              "block %lu was given out in state %u", place, state);
    if (state == RIG_FREE)
        return;
    const struct rig_wait *wait = &rig->waits[place];
    cr_assert(state == RIG_PAGE_DONE || wait->batch <= rig->durable,
              "block %lu was given out before batch %lu was durable", place, wait->batch);
    for (unsigned i = 0; i < rig->read_count; i++)
        cr_assert(rig->reads[i].time > wait->time, "block %lu was given out while it is read",
                  place);
}

static void rig_log(struct rig *rig, struct extent extent, bool used)
{
    cr_assert_lt(rig->log_count, rig->log_room);
    cr_assert_lt(rig->next_log_count, rig->log_room);
    struct rig_log entry = {.extent = extent, .batch = rig->batch, .used = used};
    rig->log[rig->log_count++] = entry;
    rig->next_log[rig->next_log_count++] = entry;
}

/* --- The world --------------------------------------------------------------------------- */

static void want_flush(void *context)
{
    ((struct rig *)context)->want_flush = true;
}

static void want_checkpoint(void *context)
{
    ((struct rig *)context)->want_checkpoint = true;
}

static void rig_woken(struct page_waiter *waiter)
{
    CONTAINER_OF(waiter, struct rig, waiter)->woken++;
}

static void checkpoint_woken(struct page_waiter *waiter)
{
    (void)waiter;
}

static void page_freed(void *context, uint64_t place)
{
    (void)context;
    cr_assert_fail("the free map dropped its page at %lu", place);
}

void rig_space_open(struct rig *rig)
{
    struct page_cache_options cache = {
        .devices = &rig->devices,
        .frame_count = rig->options.frames,
        .reserve_frames = rig->options.frames / 4,
        .freed = page_freed,
        .context = rig,
    };
    cr_assert_eq(page_cache_open(&cache, &rig->cache), 0);
    struct space_options space = {
        .cache = rig->cache,
        .devices = &rig->devices,
        .clock = &rig->world.clock,
        .index = rig->index,
        .deferred_place = rig->deferred_place,
        .deferred_crc = rig->deferred_crc,
        .reserve_blocks = rig->options.reserve_blocks,
        .quarantine_max = rig->options.quarantine_max,
        .discard = rig->options.discard,
        .want_flush = want_flush,
        .context = rig,
        .want_checkpoint = rig->options.no_want_checkpoint ? NULL : want_checkpoint,
    };
    cr_assert_eq(space_open(&space, &rig->space), 0);
    list_init(&rig->waiter.node);
    rig->waiter.wake = rig_woken;
    list_init(&rig->checkpoint_waiter.node);
    rig->checkpoint_waiter.wake = checkpoint_woken;
}

static void rig_devices_open(struct rig *rig)
{
    static const char *const names[RIG_DEVICES] = {"a", "b", "c", "d"};
    for (unsigned i = 0; i < rig->options.devices; i++) {
        uint64_t blocks = rig->options.device[i].blocks;
        rig->disks[i] = sim_disk_open(&rig->world, names[i], blocks * BLOCK_BYTES);
        rig->disks[i]->disk.prepares = rig->options.device[i].prepares;
        rig->devices.devices[i] = (struct device){
            .disk = &rig->disks[i]->disk,
            .base = rig->options.device[i].base,
            .blocks = blocks,
            .class = rig->options.device[i].class,
        };
        rig->end = MAX(rig->end, rig->options.device[i].base + blocks);
        rig->total += blocks;
    }
    rig->devices.count = rig->options.devices;
    device_set_init(&rig->devices);
}

struct rig *rig_open(const struct rig_options *options)
{
    struct rig *rig = calloc(1, sizeof *rig);
    cr_assert_not_null(rig);
    rig->options = *options;
    world_open(&rig->world, options->seed);
    rig->prng = prng_fork(&rig->world.prng);
    rig_devices_open(rig);
    rig->state = calloc(rig->end, 1);
    rig->snap = calloc(rig->end, 1);
    rig->next_snap = calloc(rig->end, 1);
    rig->waits = calloc(rig->end, sizeof *rig->waits);
    rig->tags = calloc(rig->end, sizeof *rig->tags);
    rig->log_room = 200000;
    rig->log = calloc(rig->log_room, sizeof *rig->log);
    rig->next_log = calloc(rig->log_room, sizeof *rig->next_log);
    rig->batch = 1;
    rig_space_open(rig);
    space_format(rig->space);
    if (options->fixed_blocks > 0) {
        struct extent fixed = {.place = options->device[0].base, .blocks = options->fixed_blocks};
        while (space_mark(rig->space, fixed, true, &rig->waiter) == -EAGAIN)
            rig_turn(rig);
        for (uint32_t i = 0; i < fixed.blocks; i++)
            rig_become(rig, fixed.place + i, RIG_FIXED);
    }
    rig_checkpoint_run(rig);
    return rig;
}

void rig_close(struct rig *rig)
{
    rig_space_close(rig);
    world_close(&rig->world);
    free(rig->state);
    free(rig->snap);
    free(rig->next_snap);
    free(rig->waits);
    free(rig->tags);
    free(rig->log);
    free(rig->next_log);
    free(rig);
}

bool rig_turn(struct rig *rig)
{
    bool moved = world_step(&rig->world);
    moved = device_turn(&rig->devices) > 0 || moved;
    moved = page_turn(rig->cache) > 0 || moved;
    if (rig->write.active)
        page_write_turn(&rig->write);
    space_turn(rig->space);
    return moved || page_turn_needed(rig->cache) || rig->write.active ||
           clock_deadline_ns(&rig->world.clock) != CLOCK_NEVER;
}

void rig_settle(struct rig *rig)
{
    unsigned turns = 0;
    while (rig_turn(rig))
        cr_assert_lt(++turns, 2000000, "it never settles");
}

void rig_durable(struct rig *rig)
{
    rig->want_flush = false;
    rig->durable = rig->batch++;
    space_durable(rig->space, rig->durable);
}

/* --- Operations -------------------------------------------------------------------------- */

static uint64_t rig_floor(const struct rig *rig, enum space_purpose purpose)
{
    return purpose == SPACE_NEW ? rig->options.reserve_blocks : rig->options.reserve_blocks / 2;
}

/* No space is the truth: nothing that is free or waits is left above the floor. */
static void rig_check_full(const struct rig *rig, enum space_purpose purpose)
{
    struct space_stats stats = rig_stats(rig);
    uint64_t mine = stats.free_blocks + stats.reserve_blocks + stats.quarantine_blocks;
    if (rig->options.no_want_checkpoint)
        mine -= rig_count(rig, RIG_PAGE_LIVE);
    cr_assert_leq(mine, rig_floor(rig, purpose) + stats.lost_blocks, "no space, yet there is some");
}

int rig_take(struct rig *rig, enum device_class class, enum space_purpose purpose,
             uint32_t blocks_max)
{
    cr_assert_lt(rig->taken_count, RIG_EXTENTS);
    struct space_stats before = rig_stats(rig);
    struct extent extent = {0};
    int result = space_take(rig->space, class, purpose, blocks_max, &rig->waiter, &extent);
    if (result == -ENOSPC)
        rig_check_full(rig, purpose);
    if (result != 0)
        return result;
    cr_assert(extent.blocks >= 1 && extent.blocks <= blocks_max);
    uint64_t free = before.free_blocks + before.reserve_blocks;
    cr_assert_geq(free - extent.blocks, rig_floor(rig, purpose), "the reserve was given out");
    for (uint32_t i = 0; i < extent.blocks; i++) {
        rig_may_take(rig, extent.place + i);
        rig_become(rig, extent.place + i, RIG_TAKEN);
        rig_tag(rig, extent.place + i);
    }
    rig->taken[rig->taken_count++] = extent;
    return 0;
}

void rig_fill(struct rig *rig, enum space_purpose purpose, uint64_t blocks)
{
    while (blocks > 0) {
        uint32_t wanted = (uint32_t)MIN(blocks, 4096);
        int result = rig_take(rig, DEVICE_NVME, purpose, wanted);
        if (result == -EAGAIN) {
            cr_assert(rig_turn(rig), "nobody will wake the one who waits");
            continue;
        }
        cr_assert_eq(result, 0, "fill: %d", result);
        blocks -= rig->taken[rig->taken_count - 1].blocks;
        rig_link(rig, rig->taken_count - 1);
    }
}

void rig_link(struct rig *rig, unsigned index)
{
    struct extent extent = rig->taken[index];
    rig->taken[index] = rig->taken[--rig->taken_count];
    space_link(rig->space, extent);
    for (uint32_t i = 0; i < extent.blocks; i++)
        rig_become(rig, extent.place + i, RIG_LINKED);
    cr_assert_lt(rig->linked_count, RIG_EXTENTS);
    rig->linked[rig->linked_count++] = extent;
    rig_log(rig, extent, true);
}

void rig_give_back(struct rig *rig, unsigned index)
{
    struct extent extent = rig->taken[index];
    rig->taken[index] = rig->taken[--rig->taken_count];
    space_give_back(rig->space, extent);
    for (uint32_t i = 0; i < extent.blocks; i++)
        rig_become(rig, extent.place + i, RIG_FREE);
}

int rig_free(struct rig *rig, unsigned index, uint32_t blocks)
{
    struct extent *linked = &rig->linked[index];
    cr_assert_leq(blocks, linked->blocks);
    int result = space_quarantine_reserve(rig->space, blocks, &rig->waiter);
    if (result != 0)
        return result;
    linked->blocks -= blocks;
    struct extent extent = {.place = linked->place + linked->blocks, .blocks = blocks};
    if (linked->blocks == 0)
        *linked = rig->linked[--rig->linked_count];
    space_free(rig->space, extent, rig->batch);
    rig->time++;
    for (uint32_t i = 0; i < blocks; i++) {
        rig_tag_check(rig, extent.place + i);
        rig_become(rig, extent.place + i, RIG_WAITS);
        rig->waits[extent.place + i] = (struct rig_wait){.batch = rig->batch, .time = rig->time};
    }
    rig_log(rig, extent, false);
    return 0;
}

void rig_free_page(struct rig *rig, unsigned index)
{
    uint64_t place = rig->pages[index];
    rig->pages[index] = rig->pages[--rig->page_count];
    rig_tag_check(rig, place);
    space_free_page(rig->space, place);
    rig_become(rig, place, RIG_PAGE_LIVE);
}

void rig_read_enter(struct rig *rig)
{
    cr_assert_lt(rig->read_count, RIG_READS);
    rig->reads[rig->read_count].ticket = space_read_enter(rig->space);
    rig->reads[rig->read_count++].time = ++rig->time;
}

void rig_read_leave(struct rig *rig, unsigned index)
{
    space_read_leave(rig->space, rig->reads[index].ticket);
    rig->reads[index] = rig->reads[--rig->read_count];
}

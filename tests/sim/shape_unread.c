/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A piece of the free map cannot be read just when blocks in it come free.
 *
 *   region A  ████████████  full; its bitmap is not in memory since the store was opened again
 *   region B  ██░░░░░░░░░░  where new blocks come from
 *
 *   A's bitmap cannot be read ──▶ blocks in A come free ──▶ it can be read again ──▶ closed, proved
 *
 * Until the store is opened again nobody knows what is free in A; what came free meanwhile has to
 * be known to that opening, or it is lost for ever. It takes several regions, and a disk that
 * refuses one block for a while.
 */
#include "sim/store_inside.h"
#include "space/internal.h"
#include "store/internal.h"

#define FILLS_MAX 120u
#define TOUCHES 3u /* What makes the store choose a region to take from. */
#define TOUCH_FROM (2u * SEGMENT_BLOCKS + RIG_SPRAY_FROM)

static bool one(struct rig *rig, enum volume_io_kind kind, uint64_t block, uint32_t blocks)
{
    rig_spray(rig, rig->requests, &rig->volumes[0], kind, block, blocks);
    return rig_drain(rig);
}

/* As many disks as there may be, all of one kind: so many regions. */
static void disks_alike(struct rig *rig)
{
    static const char *const names[RIG_DEVICES] = {"disk-a", "disk-b", "disk-c"};
    struct store_options *options = &rig->options;
    for (; rig->disk_count < RIG_DEVICES; rig->disk_count++) {
        unsigned at = rig->disk_count;
        uint64_t blocks = 1200 + prng_below(&rig->prng, 200);
        rig->disks[at] = sim_disk_open(&rig->world, names[at], blocks * BLOCK_BYTES);
        options->devices[at].disk = &rig->disks[at]->disk;
    }
    for (unsigned i = 0; i < rig->disk_count; i++)
        options->devices[i].class = DEVICE_SSD;
    options->device_count = rig->disk_count;
}

/* One that is as good as full; SPACE_REGION_NONE: none is. */
static uint32_t region_full(const struct rig *rig)
{
    const struct space *space = rig->store->space;
    for (uint32_t region = 0; region < space->region_count; region++) {
        if (space_region_blocks(space, region) > 0 && space_region_free(space, region) < 16)
            return region;
    }
    return SPACE_REGION_NONE;
}

/* Until a region is full. Answers how many requests that took. */
static bool fill(struct rig *rig, uint32_t *ret_fills)
{
    uint32_t fills = 0;
    for (; fills < FILLS_MAX && region_full(rig) == SPACE_REGION_NONE; fills++) {
        if (!one(rig, VOLUME_WRITE, RIG_SPRAY_FROM + (uint64_t)fills * RIG_REQUEST_BLOCKS,
                 RIG_REQUEST_BLOCKS))
            return false;
    }
    *ret_fills = fills;
    return true;
}

static bool touch(struct rig *rig)
{
    for (uint32_t i = 0; i < TOUCHES; i++) {
        if (!one(rig, VOLUME_WRITE, TOUCH_FROM + i, 1) || !one(rig, VOLUME_FLUSH, 0, 1))
            return false;
    }
    return true;
}

/* Where the bitmap of a full region is; 0: it is in memory, or nobody knows. */
static uint64_t bitmap_place(const struct rig *rig)
{
    uint32_t region = region_full(rig);
    struct page *page = page_cached_root(&rig->store->space->root);
    for (unsigned level = SPACE_INDEX_LEVEL - 1; page != NULL && level >= 1; level--)
        page = page_cached(page, region >> 8 * level & 255u);
    if (region == SPACE_REGION_NONE || page == NULL || page_cached(page, region & 255u) != NULL)
        return 0;
    return page_slot(page, region & 255u).place;
}

/* The disks read everything but the block at `place`; 0: everything. */
static void refuse(struct rig *rig, uint64_t place)
{
    const struct device *device = place != 0 ? device_at(&rig->store->devices, place) : NULL;
    for (unsigned i = 0; i < rig->disk_count; i++) {
        struct sim_disk *disk = rig->disks[i];
        bool here = device != NULL && device->disk == &disk->disk;
        disk->faults.unreadable_offset = here ? (place - device->base) * BLOCK_BYTES : 0;
        disk->faults.unreadable_length = here ? BLOCK_BYTES : 0;
    }
}

static bool give_back(struct rig *rig, uint32_t fills)
{
    for (uint32_t i = 0; i < fills; i++) {
        if (!one(rig, VOLUME_DISCARD, RIG_SPRAY_FROM + (uint64_t)i * RIG_REQUEST_BLOCKS,
                 RIG_REQUEST_BLOCKS - 1) ||
            !one(rig, VOLUME_FLUSH, 0, 1))
            return false;
    }
    return true;
}

bool shape_unread(struct rig *rig)
{
    uint32_t fills = 0;
    disks_alike(rig);
    if (!rig_format(rig) || !rig_start(rig) || !fill(rig, &fills) || !rig_stop(rig) ||
        !rig_start(rig) || !touch(rig))
        return false;
    rig->faulty = true;
    refuse(rig, bitmap_place(rig));
    bool given = give_back(rig, fills);
    rig->faulty = false;
    refuse(rig, 0);
    if (!given || !rig_stop(rig) || !rig_check(rig))
        return false;
    return rig_start(rig);
}

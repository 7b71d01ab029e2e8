/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map page rots, and recovery has a record to apply to it.
 *
 *   checkpoint: map page ████████   log: one more block of it   cut   the page rots   recovery
 *
 * What the page showed is lost. Recovery goes on without it, and each block of it has to be an
 * error from then on, but for the one that the log has; as zeros they would be taken for data.
 */
#include "sim/store_inside.h"
#include "store/internal.h"

static void woken(struct tree_path *path)
{
    (void)path;
}

/* Of the first block; it was changed a moment ago, so it is in memory. 0: it is not. */
static uint64_t map_place(const struct rig *rig)
{
    struct tree_path path = {.open = false};
    uint64_t place = 0;
    tree_path_init(&path, rig->store->tree, woken);
    if (tree_path_open(&path, rig->volumes[0].id, VIEW_HEAD, RIG_SPRAY_FROM, false) == 0 &&
        path.page != NULL)
        place = page_pointer(path.page).place;
    tree_path_close(&path);
    return place;
}

static bool one(struct rig *rig, enum volume_io_kind kind, uint32_t first, uint32_t blocks)
{
    rig_spray(rig, rig->requests, &rig->volumes[0], kind, RIG_SPRAY_FROM + first, blocks);
    return rig_drain(rig);
}

static void rot(struct rig *rig, uint64_t place)
{
    const struct device *device = device_at(&rig->store->devices, place);
    for (unsigned i = 0; i < rig->disk_count; i++) {
        if (device->disk == &rig->disks[i]->disk)
            (void)sim_disk_rot(rig->disks[i], (place - device->base) * BLOCK_BYTES, BLOCK_BYTES);
    }
}

bool shape_rotten(struct rig *rig)
{
    uint32_t blocks = 1 + (uint32_t)prng_below(&rig->prng, RIG_REQUEST_BLOCKS);
    if (!rig_format(rig) || !rig_start(rig) || !one(rig, VOLUME_WRITE, 0, blocks) ||
        !rig_stop(rig) || !rig_start(rig) || !one(rig, VOLUME_READ, 0, 1))
        return false;
    uint64_t place = map_place(rig);
    if (!one(rig, VOLUME_WRITE, blocks, 1) || !one(rig, VOLUME_FLUSH, 0, 1))
        return false;
    rig->faulty = rig->media = true;
    if (place != 0)
        rot(rig, place);
    rig_crash(rig, true);
    if (!rig_start(rig) || !one(rig, VOLUME_READ, 0, 1))
        return false;
    if (place != 0 && rig->requests[0].result == 0)
        return rig_wrong(rig, "a block whose map is lost reads as if it were there");
    return one(rig, VOLUME_READ, blocks, 1);
}

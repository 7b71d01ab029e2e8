/* SPDX-License-Identifier: Apache-2.0 */
/* What the labels of a store's devices say, and whether it can be true. */
#include <string.h>

#include "store/opening.h"

static int label_refuse(const struct disk *disk, int error, const struct label *label)
{
    if (error == IOMESH_FORMAT && label->version != 0)
        return FAIL(error,
                    "%s: written in format %u, this program reads format %u; open it with the "
                    "version that wrote it",
                    disk->name, label->version, STORE_FORMAT);
    if (error == IOMESH_FORMAT)
        return FAIL(error, "%s: no store here (no label); name the right device, or make a pool",
                    disk->name);
    if (error == IOMESH_CORRUPT)
        return FAIL(error, "%s: its label is damaged; is it the right device?", disk->name);
    return FAIL(error, "%s: its label cannot be read: %s", disk->name, base_error_text(error));
}

/* Puts the disk where its label says. */
static int label_place(struct store *store, struct disk *disk, const struct label *label)
{
    struct device *device = &store->devices.devices[label->index];
    if (label->index >= store->options.device_count)
        return FAIL(-EINVAL, "%s: is device %u of its store, but only %u devices were named",
                    disk->name, label->index + 1, store->options.device_count);
    if (device->disk != NULL)
        return FAIL(-EINVAL, "%s and %s are both device %u of a store", disk->name,
                    device->disk->name, label->index + 1);
    if (disk->size_bytes / BLOCK_BYTES < label->blocks)
        return FAIL(-EINVAL,
                    "%s: %llu bytes long, but %llu bytes were recorded; it was cut short or is not "
                    "the same device",
                    disk->name, (unsigned long long)disk->size_bytes,
                    (unsigned long long)label->blocks * BLOCK_BYTES);
    device->disk = disk;
    device->base = label->base;
    device->blocks = label->blocks;
    device->class = (enum device_class)label->class;
    return 0;
}

/* Where format.c puts devices: in order, apart, the fixed areas on them, each where a region
 * begins. */
static int labels_lie_right(const struct store *store)
{
    uint64_t end = 0;
    for (unsigned i = 0; i < store->devices.count; i++) {
        const struct device *device = &store->devices.devices[i];
        uint64_t fixed = i == 0 ? SUPERBLOCK_AREA_BLOCKS : LABEL_AREA_BLOCKS;
        if ((i == 0 && device->base != 0) || device->base % REGION_BLOCKS != 0 ||
            device->base < end || device->blocks < fixed ||
            device->base + device->blocks > PLACE_MAX)
            return FAIL(IOMESH_CORRUPT, "%s: its label makes no sense: %llu blocks at %llu",
                        device->disk->name, (unsigned long long)device->blocks,
                        (unsigned long long)device->base);
        end = device->base + device->blocks;
    }
    return 0;
}

int opening_labels_check(struct opening *opening)
{
    struct store *store = opening->store;
    uint8_t *uuid = opening->uuid;
    for (unsigned i = 0; i < store->options.device_count; i++) {
        struct disk *disk = store->options.devices[i].disk;
        struct label label = {.version = 0};
        int error = opening->reads[i].result;
        if (error == 0)
            error = label_decode(opening->blocks + (size_t)i * BLOCK_BYTES, &label);
        if (error != 0)
            return label_refuse(disk, error, &label);
        if (i > 0 && memcmp(uuid, label.store_uuid, STORE_UUID_BYTES) != 0)
            return FAIL(-EINVAL, "%s and %s belong to different stores",
                        store->options.devices[0].disk->name, disk->name);
        memcpy(uuid, label.store_uuid, STORE_UUID_BYTES);
        error = label_place(store, disk, &label);
        if (error != 0)
            return error;
    }
    store->devices.count = store->options.device_count;
    return labels_lie_right(store);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the superblocks of a store say, and whether it can be true. */
#include <string.h>

#include "store/opening.h"

/* The newest valid of the four, or why there is none. */
static int supers_choose(struct opening *opening, struct superblock *ret_super)
{
    const struct disk *disk = opening->store->devices.devices[0].disk;
    struct superblock candidate;
    uint32_t version = 0;
    bool found = false;
    for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++) {
        int error = opening->reads[i].result;
        candidate.version = 0;
        if (error == 0)
            error = superblock_decode(opening->blocks + (size_t)i * BLOCK_BYTES, &candidate);
        if (error == IOMESH_FORMAT && candidate.version > version)
            version = candidate.version;
        if (error != 0)
            continue;
        if (!found || candidate.generation > ret_super->generation)
            *ret_super = candidate;
        found = true;
    }
    if (version > STORE_FORMAT)
        return FAIL(IOMESH_FORMAT,
                    "%s: written in format %u, this program reads format %u; open it with the "
                    "version that wrote it",
                    disk->name, version, STORE_FORMAT);
    if (!found)
        return FAIL(IOMESH_CORRUPT,
                    "%s: all four superblocks are damaged; restore the device from a copy",
                    disk->name);
    return 0;
}

static int super_check(struct opening *opening, const struct superblock *super)
{
    struct store *store = opening->store;
    const struct disk *disk = store->devices.devices[0].disk;
    if (memcmp(super->uuid, opening->uuid, sizeof super->uuid) != 0)
        return FAIL(IOMESH_CORRUPT, "%s: its label and its superblock name different stores",
                    disk->name);
    if (super->device_count != store->devices.count)
        return FAIL(-EINVAL, "the store on %s has %u devices, but %u were named", disk->name,
                    super->device_count, store->devices.count);
    for (unsigned i = 0; i < super->device_count; i++) {
        const struct device *device = &store->devices.devices[i];
        if (device->base != super->devices[i].base || device->blocks != super->devices[i].blocks)
            return FAIL(IOMESH_CORRUPT, "%s: its label and the superblock on %s do not agree",
                        device->disk->name, disk->name);
    }
    /* A store always has a free map: its fixed areas are in use. */
    if (super->index.kind != POINTER_RAW || super->journal_place < SUPERBLOCK_AREA_BLOCKS)
        return FAIL(IOMESH_CORRUPT, "%s: its superblock makes no sense", disk->name);
    if (super->incarnation < store->options.incarnation_min && !MUTANT(94)) {
        REACH(open_refuses_old_image);
        return FAIL(IOMESH_CORRUPT,
                    "%s: incarnation %llu, but the pool has seen %llu: an old image was put back; "
                    "what was written since is not in it",
                    disk->name, (unsigned long long)super->incarnation,
                    (unsigned long long)store->options.incarnation_min);
    }
    return 0;
}

static void supers_tell(const struct superblock *super, struct store_identity *ret_look)
{
    memcpy(ret_look->uuid, super->uuid, sizeof ret_look->uuid);
    memcpy(ret_look->pool_uuid, super->pool_uuid, sizeof ret_look->pool_uuid);
    ret_look->incarnation = super->incarnation;
}

int opening_supers_check(struct opening *opening)
{
    struct superblock *super = &opening->store->super;
    int error = supers_choose(opening, super);
    if (error == 0)
        error = super_check(opening, super);
    if (error == 0 && opening->look != NULL)
        supers_tell(super, opening->look);
    return error;
}

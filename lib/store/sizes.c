/* SPDX-License-Identifier: Apache-2.0 */
/* How large the fixed parts of a store are. Chosen once, at format; recorded in the superblock. */
#include "store/opening.h"

#define MIB_BLOCKS 256ull

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return MAX(low, MIN(value, high));
}

/*
 * Journal: half of it is what replay may have to read and what a checkpoint is spread over: 1/128
 * of the first device, 1 to 256 MiB. Reserve: what overwrites, deletes and a checkpoint of every
 * dirty page may need on a full store: 1/64, 1.25 MiB to 1 GiB. Not less, for a cache has 64 frames
 * at least, five in eight of which may be dirty and new at a checkpoint, with the table above them,
 * and overwriting may have taken half of the reserve before.
 */
#define RESERVE_BLOCKS_MIN 320u

void sizes_choose(struct store *store, struct superblock *super)
{
    const struct store_options *options = &store->options;
    uint64_t total = 0;
    for (unsigned i = 0; i < store->devices.count; i++)
        total += store->devices.devices[i].blocks;
    uint64_t journal = options->journal_bytes / BLOCK_BYTES;
    if (journal == 0)
        journal = clamp(store->devices.devices[0].blocks / 128, MIB_BLOCKS, 256 * MIB_BLOCKS);
    uint64_t reserve = options->reserve_bytes / BLOCK_BYTES;
    if (reserve == 0)
        reserve = clamp(total / 64, RESERVE_BLOCKS_MIN, 1024 * MIB_BLOCKS);
    super->batch_blocks_max = options->batch_blocks_max;
    if (super->batch_blocks_max == 0)
        super->batch_blocks_max = (uint32_t)clamp(journal / 16, 2, 16);
    super->journal_place = SUPERBLOCK_AREA_BLOCKS;
    super->journal_blocks = MAX(journal, 4ull * super->batch_blocks_max);
    super->reserve_blocks = reserve;
}

/* No more frames than the reserve can take in at a checkpoint: all of them may be dirty and new. */
uint32_t sizes_frames(const struct store *store)
{
    /* A store that is only read writes no checkpoint: what replay changes must all fit. */
    uint64_t most = store->options.read_only ? UINT32_MAX : store->super.reserve_blocks / 2;
    uint64_t bytes = store->options.cache_bytes != 0 ? store->options.cache_bytes : 64ull << 20;
    return (uint32_t)clamp(bytes / BLOCK_BYTES, 64, MAX(most, 64));
}

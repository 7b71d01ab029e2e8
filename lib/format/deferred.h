/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The deferred list: extents whose bits a checkpoint's free map still shows as used, although
 * that checkpoint needs them no more. A chain of pages; whoever leads to a page holds its CRC32C.
 *
 * One page, format 1, little-endian, 4096 bytes:
 *
 *    0  magic       u32   "IMD1"
 *    4  count       u32   0 .. DEFERRED_EXTENTS
 *    8  next place  u64   the page after this one; 0: none
 *   16  next crc    u32   CRC32C of that page; 0 if there is none
 *   20  zero        u32
 *   24  extents     u64 x count: place << 28 | blocks - 1, ascending, none overlaps the next
 *       zeros to the end
 */
#ifndef FORMAT_DEFERRED_H
#define FORMAT_DEFERRED_H

#include "base/base.h"

#define DEFERRED_MAGIC 0x31444d49u
#define DEFERRED_HEADER_BYTES 24u
#define DEFERRED_EXTENTS ((BLOCK_BYTES - DEFERRED_HEADER_BYTES) / 8u)
#define DEFERRED_BLOCKS_BITS 28u
#define DEFERRED_BLOCKS_MAX (1u << DEFERRED_BLOCKS_BITS)

/* An extent in 8 bytes; extents compare as their numbers do. */
static inline uint64_t deferred_pack(uint64_t place, uint32_t blocks)
{
    assert(place < 1ull << 36);
    assert(blocks > 0 && blocks <= DEFERRED_BLOCKS_MAX);
    return place << DEFERRED_BLOCKS_BITS | (blocks - 1);
}

static inline uint64_t deferred_place(uint64_t packed)
{
    return packed >> DEFERRED_BLOCKS_BITS;
}

static inline uint32_t deferred_blocks(uint64_t packed)
{
    return (uint32_t)(packed & (DEFERRED_BLOCKS_MAX - 1)) + 1;
}

struct deferred_page {
    uint64_t next_place;
    uint32_t next_crc;
    uint32_t count;
    uint64_t extents[DEFERRED_EXTENTS]; /* Packed. */
};

/* Encoding asserts: it is our data. */
void deferred_put(uint8_t to[BLOCK_BYTES], const struct deferred_page *page);
/* Total: 0, IOMESH_FORMAT for another magic, IOMESH_CORRUPT for what no encoder writes. */
int deferred_get(const uint8_t from[BLOCK_BYTES], struct deferred_page *ret_page);

#endif

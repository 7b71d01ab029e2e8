/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a store knows of its parts, in a volume of its own: 32 states of 128 bytes to a block,
 * format 1, little-endian. Which of them are in use a state says itself; all zeros: none.
 *
 *    0  version          u16   1; 0: not in use, and all that follows is 0
 *    2  role             u8    0 new, 1 in sync, 2 catching up
 *    3  flags            u8    bit 0: everything of the volume is to go
 *    4  group            u32
 *    8  volume           u64   (not one of the store's own)
 *   16  epoch            u64   as all sequences and epochs < 2^48
 *   24  watermark        u64
 *   32  heard            u64
 *   40  flushed          u64   <= watermark
 *   48  generation       u32
 *   52  role generation  u32   <= generation
 *   56  aside            u32   blocks set aside when this was written; exact if flags bit 1 is set
 *   60  boot             u32   the store's number of the boot in which it was last told its role
 *   64  settled          u64
 *   72  zeros
 */
#ifndef FORMAT_PART_STATE_H
#define FORMAT_PART_STATE_H

#include "base/base.h"

#define PART_STATE_BYTES 128u
#define PART_STATES_PER_BLOCK (BLOCK_BYTES / PART_STATE_BYTES)

/* Volumes that are the store's own. No other volume has a number so high. */
#define VOLUME_SYSTEM_FIRST 0xffffffffffff0000ull
#define VOLUME_PARTS (VOLUME_SYSTEM_FIRST + 0)   /* States. */
#define VOLUME_RECORDS (VOLUME_SYSTEM_FIRST + 1) /* Copies of metadata records. */

static inline bool volume_is_system(uint64_t volume)
{
    return volume >= VOLUME_SYSTEM_FIRST;
}

struct part_saved {
    bool used;
    uint8_t role;
    bool retired;
    bool counted; /* `aside` was exact. */
    uint32_t group;
    uint64_t volume;
    uint64_t epoch;
    uint64_t watermark;
    uint64_t heard;
    uint64_t flushed;
    uint64_t settled;
    uint32_t generation;
    uint32_t role_generation;
    uint32_t aside;
    uint32_t boot;
};

/* Encoding asserts; decoding is total: 0, IOMESH_FORMAT (a version that is not known),
 * IOMESH_CORRUPT. */
void part_state_put(uint8_t to[PART_STATE_BYTES], const struct part_saved *saved);
int part_state_get(const uint8_t from[PART_STATE_BYTES], struct part_saved *ret_saved);

#endif

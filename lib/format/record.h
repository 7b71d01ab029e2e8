/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of a store's journal, formats 1 to 3. Little-endian; byte 0 is the type.
 *
 * WRITE (1): blocks of a volume moved to new places
 *    0  type u8 | 1  extents u8 | 2  blocks u16 (1 .. 256) | 4  generation u32
 *    8  volume u64 | 16  block u48 (< 2^34) | 22  sequence u48 (not 0) | 28  watermark u48
 *   34  epoch u48
 *   40  extents x 8: place u48, blocks u16, in the order of the blocks
 *    .  blocks x 4: CRC32C of each block
 * ZERO (2): blocks became zeros
 *    0  type u8 | 1  0 | 2  0 u16 | 4  generation u32
 *    8  volume u64 | 16  block u48 | 22  sequence u48 | 28  watermark u48 | 34  epoch u48, all as
 *       above
 *   40  count u32 (within one MiB, or 65,536: a whole segment)
 * RETIRE (3), DROP_SEGMENT (4), FORGET (5): the steps of deleting a volume
 *    0  type u8 | 1  0 | 2  0 u16 | 4  segment u32 (if it is dropped < 2^18; since format 2 also
 *   2^31 + mebibyte (< 2^26): all views of that MiB) | 8  volume u64 | 16  view u48 | 22  0 u16
 *
 * Since format 2, of volumes that have views in this store, or may have; since format 3 also of
 * parts of another group than 0, whose number they carry (0 in format 2; in the others it is 0).
 * What is 0 in these is refused if it is not:
 *
 * WRITE_VIEWS (6): a WRITE that tells of views
 *    0  up to the epoch as WRITE
 *   40  cut u48 (< sequence): the newest that is kept; 0: none | 46  group u16
 *   48  extents and CRCs as WRITE
 * ZERO_VIEWS (7): within one MiB only
 *    0  up to the count as ZERO
 *   44  cut u48 as above | 50  group u16 as above
 * DROP_VIEW (8): what only this view shows of one MiB is free
 *    0  type u8 | 1  0 | 2  0 u16 | 4  mebibyte u32 (< 2^26) | 8  volume u64
 *   16  cut u48 (not 0, not the head) | 22  previous u48 (< cut): the newest kept one before it
 * BAD (9): blocks became known damage
 *    0  as ZERO_VIEWS
 *
 * Since format 3, what a part took from another one:
 *
 * RESYNC (10): versions of blocks enter what a view shows, and later views
 *    0  type u8 | 1  extents u8 (of RAW 1 .. 16, else 0) | 2  blocks u16 (1 .. 64; repair: 1 .. 32)
 *    4  generation u32 | 8  volume u64 | 16  block u48 | 22  view u48 (not 0)
 *   28  watermark u48 | 34  epoch u48
 *   40  cut u48: the newest that is kept and older than each of the sequences; 0: none
 *   46  group u16 | 48  kind u8 (HOLE, ZERO, RAW, BAD) | 49  flags u8 (bit 0: repair, RAW only)
 *   50  0 u16
 *   52  extents as WRITE
 *    .  blocks x 6: sequence u48 (HOLE: 0; else > cut)
 *    .  blocks x 4: CRC32C of each block (RAW)
 *    .  blocks x 6: place u48 of what is damaged (repair)
 */
#ifndef FORMAT_RECORD_H
#define FORMAT_RECORD_H

#include "base/base.h"

#define RECORD_BLOCKS_MAX 256u
#define RECORD_EXTENTS_MAX 16u
#define RECORD_HEAD_BYTES 48u /* The longer one, that of WRITE_VIEWS. */
#define RECORD_BYTES_MAX (RECORD_HEAD_BYTES + RECORD_EXTENTS_MAX * 8u + RECORD_BLOCKS_MAX * 4u)
#define RECORD_RESYNC_BLOCKS 64u
#define RECORD_REPAIR_BLOCKS 32u

enum record_type {
    RECORD_WRITE = 1,
    RECORD_ZERO = 2,
    RECORD_RETIRE = 3,       /* The volume takes no write any more. */
    RECORD_DROP_SEGMENT = 4, /* A segment's pages and blocks are free. */
    RECORD_FORGET = 5,       /* No record of the volume can be replayed any more. */
    RECORD_WRITE_VIEWS = 6,
    RECORD_ZERO_VIEWS = 7,
    RECORD_DROP_VIEW = 8, /* One view gives up its own page of one MiB. */
    RECORD_BAD = 9,       /* What was to be copied there could not be read. */
    RECORD_RESYNC = 10,
};

struct record_extent {
    uint64_t place;
    uint16_t blocks;
};

struct record {
    enum record_type type;
    uint32_t count;
    uint64_t volume;
    uint64_t block;
    uint64_t sequence;
    uint64_t watermark;
    uint64_t epoch;
    uint32_t generation;
    uint32_t segment;
    uint64_t view;
    uint64_t cut;      /* WRITE_VIEWS, ZERO_VIEWS, BAD, RESYNC; the view of a DROP_VIEW. */
    uint64_t previous; /* DROP_VIEW. */
    uint32_t mebibyte; /* DROP_VIEW: block / 256. */
    uint16_t group;    /* WRITE_VIEWS, ZERO_VIEWS, RESYNC. */
    uint8_t kind;      /* RESYNC: enum pointer_kind. */
    bool repair;       /* RESYNC. */
    uint8_t extent_count;
    struct record_extent extents[RECORD_EXTENTS_MAX];
    uint32_t crcs[RECORD_BLOCKS_MAX];
    uint64_t sequences[RECORD_RESYNC_BLOCKS]; /* RESYNC. */
    uint64_t damaged[RECORD_REPAIR_BLOCKS];   /* RESYNC, if it repairs: places. */
};

static inline bool record_is_write(const struct record *record)
{
    return record->type == RECORD_WRITE || record->type == RECORD_WRITE_VIEWS;
}

/* Of blocks that lose what they had, and get no data. */
static inline bool record_is_zero(const struct record *record)
{
    return record->type == RECORD_ZERO || record->type == RECORD_ZERO_VIEWS ||
           record->type == RECORD_BAD;
}

/* It names places of data, and what their CRCs are. */
static inline bool record_has_data(const struct record *record)
{
    return record_is_write(record) || (record->type == RECORD_RESYNC && record->extent_count > 0);
}

/* Bytes written, at most RECORD_BYTES_MAX. */
uint32_t record_encode(uint8_t *to, const struct record *record);
/* Total: 0, or IOMESH_CORRUPT. */
int record_decode(const uint8_t *from, uint32_t length, struct record *ret_record);

#endif

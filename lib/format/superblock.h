/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a store keeps at fixed places: a label on each device, superblocks on the first.
 *
 * Block 0 of each device is its label. The first device has four superblocks: two pairs that
 * alternate by generation, two copies in each: copy c of generation g is block
 * 8 + 8 * (g mod 2) + 16 * c. One valid copy with the highest generation wins.
 * Both are one 4 KiB block, little-endian, CRC32C of bytes 4 .. 4095 first.
 */
#ifndef FORMAT_SUPERBLOCK_H
#define FORMAT_SUPERBLOCK_H

#include "format/pointer.h"
#include "format/table.h"

/* What is written. Format 2: volumes may have views in the segment table and in the journal. Format
 * 3: parts of volumes, in volumes of the store's own and in the journal, and the boot. Else as
 * format 1; an older one is read, and is of this format from the first superblock on that is
 * written to it. */
#define STORE_FORMAT 3u
#define STORE_FORMAT_OLDEST 1u
#define STORE_UUID_BYTES 16u
#define SUPERBLOCK_COPIES 4u
#define SUPERBLOCK_DEVICES_MAX 64u
/* Blocks of the first device that the label and superblocks take; then the journal. */
#define SUPERBLOCK_AREA_BLOCKS 64u
/* Blocks of every other device that its label takes. */
#define LABEL_AREA_BLOCKS 8u

/* Formats 1 to 3:
 *    0  crc32c         u32
 *    4  magic          u32   "IMDV"
 *    8  version        u32   that it was made in
 *   12  index          u32   0 .. 63, place in the store's table of devices
 *   16  store uuid     16
 *   32  device uuid    16
 *   48  base           u64   first place, blocks
 *   56  blocks         u64
 *   64  class          u32   0 nvme, 1 ssd, 2 hdd
 */
struct label {
    uint32_t version;
    uint32_t index;
    uint8_t store_uuid[STORE_UUID_BYTES];
    uint8_t device_uuid[STORE_UUID_BYTES];
    uint64_t base;
    uint64_t blocks;
    uint32_t class;
};

struct superblock_device {
    uint8_t uuid[STORE_UUID_BYTES];
    uint64_t base;
    uint64_t blocks;
    uint32_t class;
};

/* Formats 1 to 3:
 *    0  crc32c            u32
 *    4  magic             u32   "IMSB"
 *    8  version           u32   STORE_FORMAT
 *   12  flags             u32   bit 0: closed cleanly, the journal holds nothing
 *                               bit 1: a scrub was under way
 *                               bit 2: it may have parts
 *   16  store uuid        16
 *   32  generation        u64   +1 per superblock written
 *   40  incarnation       u64   +1 per opening
 *   48  journal place     u64   blocks
 *   56  journal blocks    u64
 *   64  replay batch      u64   number of the first batch to replay
 *   72  replay block      u64   where it begins, blocks from the journal's start
 *   80  table             16    pointer to the root of the segment table
 *   96  index             16    pointer to the root of the free map's index
 *  112  deferred place    u64   first page of the deferred list, 0 if none
 *  120  deferred crc      u32
 *  124  batch blocks max  u32   the journal's wrap rule
 *  128  reserve blocks    u64
 *  136  pages used        u64   tree and table pages that this superblock reaches
 *  144  device count      u32
 *  148  zero              u32
 *  152  scrub ended       u64   the last whole pass, nanoseconds since 1970; 0: none
 *  160  its blocks        u64   read
 *  168  its faults        u64   found
 *  176  scrub blocks      u64   read by the pass that is under way
 *  184  scrub faults      u64   found by it
 *  192  scrub volume      u64   the first thing that it has not read: volume,
 *  200  scrub view        u64   view,
 *  208  scrub segment     u32   segment,
 *  212  scrub block       u32   and block in it
 *  216  boot id           16    of the machine that opened it last; zeros: not known
 *  232  boot              u32   +1 whenever that is another, or may be, or a device had failed
 *  236  pool uuid         16    of the pool that it was made for; zeros: not known
 *  252  zero
 *  512  devices           64 x 40: uuid 16, base u64, blocks u64, class u32, zero u32
 */
/* What is known of scrubbing. All zero in stores of programs that did not write it, and advice for
 * those that do: nothing depends on it but when a pass begins, and where. */
struct superblock_scrub {
    bool running;
    uint64_t ended_ns, ended_blocks, ended_faults;
    uint64_t blocks, faults;
    struct segment_key key;
    uint32_t block; /* In the segment. */
};

struct superblock {
    uint32_t version;
    bool clean;
    bool parts; /* Since format 3. */
    uint8_t uuid[STORE_UUID_BYTES];
    uint64_t generation;
    uint64_t incarnation;
    uint64_t journal_place;
    uint64_t journal_blocks;
    uint64_t replay_batch;
    uint64_t replay_block;
    struct pointer table;
    struct pointer index;
    uint64_t deferred_place;
    uint32_t deferred_crc;
    uint32_t batch_blocks_max;
    uint64_t reserve_blocks;
    uint64_t pages_used;
    struct superblock_scrub scrub;
    uint8_t boot_id[16];
    uint32_t boot;
    uint8_t pool_uuid[STORE_UUID_BYTES];
    uint32_t device_count;
    struct superblock_device devices[SUPERBLOCK_DEVICES_MAX];
};

/* Block of copy `copy` (0 or 1) of a generation. */
uint64_t superblock_block(uint64_t generation, unsigned copy);

/* Encoding asserts. Decoding is total: 0, IOMESH_CORRUPT (magic there, sum wrong),
 * IOMESH_FORMAT (not
 * ours: no magic; or version newer: then ret->version is set and nothing else). */
void label_encode(uint8_t to[BLOCK_BYTES], const struct label *label);
int label_decode(const uint8_t from[BLOCK_BYTES], struct label *ret_label);
void superblock_encode(uint8_t to[BLOCK_BYTES], const struct superblock *superblock);
int superblock_decode(const uint8_t from[BLOCK_BYTES], struct superblock *ret_superblock);

#endif

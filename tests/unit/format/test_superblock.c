/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "codec/codec.h"
#include "format/superblock.h"

static void label_make(uint8_t bytes[BLOCK_BYTES])
{
    struct label label = {.version = STORE_FORMAT,
                          .index = SUPERBLOCK_DEVICES_MAX - 1,
                          .store_uuid = {1, 2, 3},
                          .device_uuid = {4, 5, 6},
                          .base = PLACE_MAX - 10,
                          .blocks = 10,
                          .class = 2};
    label_encode(bytes, &label);
}

static struct superblock super_of(uint32_t devices)
{
    struct superblock super = {.version = STORE_FORMAT,
                               .clean = true,
                               .uuid = {9, 8, 7},
                               .generation = 1000,
                               .incarnation = 12,
                               .journal_place = 64,
                               .journal_blocks = 4096,
                               .replay_batch = 77,
                               .replay_block = 4095,
                               .table = {.kind = POINTER_RAW, .place = 5000, .crc = 0xabcdef01u},
                               .index = {.kind = POINTER_RAW, .place = PLACE_MAX, .sequence = 3},
                               .deferred_place = 6000,
                               .deferred_crc = 0x12345678u,
                               .batch_blocks_max = 64,
                               .reserve_blocks = 512,
                               .pages_used = 99,
                               .scrub = {.running = true,
                                         .ended_ns = 1700000000000000000u,
                                         .ended_blocks = 70,
                                         .ended_faults = 71,
                                         .blocks = 72,
                                         .faults = 73,
                                         .key = {.volume = 74, .segment = 75, .view = 76},
                                         .block = 77},
                               .pool_uuid = {6, 5, 4},
                               .device_count = devices};
    for (uint32_t i = 0; i < devices; i++)
        super.devices[i] = (struct superblock_device){
            .uuid = {(uint8_t)i}, .base = i * 1000, .blocks = 1000, .class = i % 3};
    return super;
}

static void sum_right(uint8_t bytes[BLOCK_BYTES])
{
    put32(bytes, crc32c(bytes + 4, BLOCK_BYTES - 4));
}

Test(superblock, a_label_decodes_to_what_was_encoded)
{
    uint8_t bytes[BLOCK_BYTES];
    uint8_t again[BLOCK_BYTES];
    label_make(bytes);
    struct label label;
    cr_assert_eq(label_decode(bytes, &label), 0);
    cr_assert_eq(label.index, SUPERBLOCK_DEVICES_MAX - 1);
    cr_assert_eq(label.blocks, 10);
    label_encode(again, &label);
    cr_assert_arr_eq(again, bytes, BLOCK_BYTES);
}

Test(superblock, a_superblock_decodes_to_what_was_encoded)
{
    for (uint32_t devices = 1; devices <= SUPERBLOCK_DEVICES_MAX; devices += 21) {
        static struct superblock super, decoded;
        uint8_t bytes[BLOCK_BYTES];
        uint8_t again[BLOCK_BYTES];
        super = super_of(devices);
        superblock_encode(bytes, &super);
        cr_assert_eq(superblock_decode(bytes, &decoded), 0);
        cr_assert_eq(decoded.generation, 1000);
        cr_assert_eq(decoded.pool_uuid[0], 6);
        cr_assert_eq(decoded.device_count, devices);
        cr_assert(decoded.scrub.running);
        cr_assert_eq(decoded.scrub.ended_blocks, 70);
        cr_assert_eq(decoded.scrub.key.view, 76);
        cr_assert_eq(decoded.scrub.block, 77);
        superblock_encode(again, &decoded);
        cr_assert_arr_eq(again, bytes, BLOCK_BYTES);
    }
}

Test(superblock, every_flipped_bit_is_seen)
{
    static struct superblock super, decoded;
    struct label label;
    uint8_t blocks[2][BLOCK_BYTES];
    super = super_of(3);
    superblock_encode(blocks[0], &super);
    label_make(blocks[1]);
    for (uint32_t bit = 0; bit < BLOCK_BYTES * 8; bit++) {
        /* Bytes 4 .. 7 are the magic: without it the block is foreign, not damaged. */
        int wanted = bit / 32 == 1 ? IOMESH_FORMAT : IOMESH_CORRUPT;
        for (unsigned i = 0; i < 2; i++)
            blocks[i][bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(superblock_decode(blocks[0], &decoded), wanted, "bit %u", bit);
        cr_assert_eq(label_decode(blocks[1], &label), wanted, "bit %u", bit);
        for (unsigned i = 0; i < 2; i++)
            blocks[i][bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(superblock_decode(blocks[0], &decoded), 0);
    cr_assert_eq(label_decode(blocks[1], &label), 0);
}

Test(superblock, a_newer_version_is_named)
{
    static struct superblock super, decoded;
    uint8_t bytes[BLOCK_BYTES];
    super = super_of(1);
    super.version = STORE_FORMAT + 41;
    superblock_encode(bytes, &super);
    cr_assert_eq(superblock_decode(bytes, &decoded), IOMESH_FORMAT);
    cr_assert_eq(decoded.version, STORE_FORMAT + 41);
    struct label label;
    label_make(bytes);
    put32(bytes + 8, STORE_FORMAT + 42);
    sum_right(bytes);
    cr_assert_eq(label_decode(bytes, &label), IOMESH_FORMAT);
    cr_assert_eq(label.version, STORE_FORMAT + 42);
}

Test(superblock, every_format_from_the_oldest_on_is_read)
{
    static struct superblock super, decoded;
    uint8_t bytes[BLOCK_BYTES];
    struct label label;
    for (uint32_t version = STORE_FORMAT_OLDEST; version <= STORE_FORMAT; version++) {
        super = super_of(1);
        super.version = version;
        superblock_encode(bytes, &super);
        cr_assert_eq(superblock_decode(bytes, &decoded), 0);
        cr_assert_eq(decoded.version, version);
        label_make(bytes);
        put32(bytes + 8, version);
        sum_right(bytes);
        cr_assert_eq(label_decode(bytes, &label), 0);
    }
    put32(bytes + 8, STORE_FORMAT_OLDEST - 1);
    sum_right(bytes);
    cr_assert_eq(label_decode(bytes, &label), IOMESH_FORMAT);
}

Test(superblock, what_is_not_ours_has_no_version)
{
    uint8_t bytes[BLOCK_BYTES] = {0};
    static struct superblock super;
    struct label label;
    cr_assert_eq(superblock_decode(bytes, &super), IOMESH_FORMAT);
    cr_assert_eq(super.version, 0);
    cr_assert_eq(label_decode(bytes, &label), IOMESH_FORMAT);
    cr_assert_eq(label.version, 0);
}

/* The sum is right, one field is not. */
static void expect_refused(uint32_t offset, uint64_t value)
{
    static struct superblock super, decoded;
    uint8_t bytes[BLOCK_BYTES];
    super = super_of(2);
    superblock_encode(bytes, &super);
    put64(bytes + offset, value);
    sum_right(bytes);
    cr_assert_eq(superblock_decode(bytes, &decoded), IOMESH_CORRUPT, "offset %u", offset);
}

Test(superblock, what_makes_no_sense_is_refused_though_its_sum_is_right)
{
    expect_refused(48, PLACE_MAX + 1);               /* Journal beyond every device. */
    expect_refused(56, 64);                          /* Too small for four batches of 64 blocks. */
    expect_refused(64, 0);                           /* Batch 0 does not exist. */
    expect_refused(72, 4096);                        /* Replay behind the journal's end. */
    expect_refused(80, 0xfffull << 36);              /* A pointer of no kind. */
    expect_refused(112, PLACE_MAX + 1);              /* Deferred list. */
    expect_refused(120, 1ull << 32);                 /* Batches of one block. */
    expect_refused(144, 0);                          /* No device. */
    expect_refused(144, SUPERBLOCK_DEVICES_MAX + 1); /* Too many. */
    expect_refused(512 + 40 + 16, PLACE_MAX + 1);    /* The second device's base. */
    expect_refused(512 + 32, 3);                     /* A class that is none. */
}

Test(superblock, the_four_copies_are_four_places)
{
    uint64_t seen = 0;
    for (uint64_t generation = 6; generation < 8; generation++) {
        for (unsigned copy = 0; copy < 2; copy++) {
            uint64_t block = superblock_block(generation, copy);
            cr_assert(block >= 8 && block < SUPERBLOCK_AREA_BLOCKS);
            cr_assert((seen & 1ull << block) == 0);
            seen |= 1ull << block;
        }
    }
    cr_assert_eq(superblock_block(6, 1), superblock_block(100, 1));
}

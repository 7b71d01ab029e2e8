/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "format/pointer.h"
#include "format/record.h"

static struct record write_make(uint8_t extents, uint16_t blocks)
{
    struct record record = {
        .type = RECORD_WRITE,
        .volume = UINT64_MAX - 1,
        .block = 65536ull * 3 + 256 - blocks,
        .count = blocks,
        .sequence = SEQUENCE_MAX,
        .watermark = 1,
        .epoch = SEQUENCE_MAX - 7,
        .generation = UINT32_MAX,
        .extent_count = extents,
    };
    for (unsigned i = 0; i < extents; i++) {
        record.extents[i].place = PLACE_MAX - i * 1000;
        record.extents[i].blocks = 1;
    }
    record.extents[extents - 1].blocks = (uint16_t)(blocks - extents + 1);
    for (unsigned i = 0; i < blocks; i++)
        record.crcs[i] = i * 0x9e3779b9u;
    return record;
}

/* Decoded, it encodes to the same bytes. */
static void expect_back(const struct record *record)
{
    uint8_t bytes[RECORD_BYTES_MAX];
    uint8_t again[RECORD_BYTES_MAX];
    static struct record decoded;
    uint32_t length = record_encode(bytes, record);
    cr_assert_leq(length, RECORD_BYTES_MAX);
    cr_assert_eq(record_decode(bytes, length, &decoded), 0);
    cr_assert_eq(record_encode(again, &decoded), length);
    cr_assert_arr_eq(again, bytes, length);
    cr_assert_eq(decoded.type, record->type);
    cr_assert_eq(decoded.volume, record->volume);
}

Test(record, a_write_decodes_to_what_was_encoded)
{
    for (uint8_t extents = 1; extents <= RECORD_EXTENTS_MAX; extents += 5) {
        for (uint16_t blocks = extents; blocks <= RECORD_BLOCKS_MAX; blocks += 40) {
            struct record record = write_make(extents, blocks);
            expect_back(&record);
        }
    }
    struct record widest = write_make(RECORD_EXTENTS_MAX, RECORD_BLOCKS_MAX);
    widest.type = RECORD_WRITE_VIEWS;
    widest.cut = SEQUENCE_MAX - 1;
    uint8_t bytes[RECORD_BYTES_MAX];
    cr_assert_eq(record_encode(bytes, &widest), RECORD_BYTES_MAX);
}

Test(record, a_zero_and_the_steps_of_a_deletion_decode_to_what_was_encoded)
{
    struct record zero = {
        .type = RECORD_ZERO, .volume = 7, .block = 131072, .count = 65536, .sequence = 1};
    expect_back(&zero);
    zero.block = 131072 + 255;
    zero.count = 1;
    expect_back(&zero);
    for (unsigned type = RECORD_RETIRE; type <= RECORD_FORGET; type++) {
        struct record drop = {.type = (enum record_type)type,
                              .volume = UINT64_MAX,
                              .segment = 262143,
                              .view = SEQUENCE_MAX};
        expect_back(&drop);
    }
}

/* What tells of views comes back with them. */
static void expect_cut_back(const struct record *record)
{
    uint8_t bytes[RECORD_BYTES_MAX];
    static struct record decoded;
    expect_back(record);
    cr_assert_eq(record_decode(bytes, record_encode(bytes, record), &decoded), 0);
    cr_assert_eq(decoded.cut, record->cut);
    cr_assert_eq(decoded.previous, record->previous);
    cr_assert_eq(decoded.mebibyte, record->mebibyte);
    cr_assert_eq(decoded.block, record->block);
    cr_assert_eq(decoded.sequence, record->sequence);
}

Test(record, what_tells_of_views_decodes_to_what_was_encoded)
{
    struct record write = write_make(5, 9);
    write.type = RECORD_WRITE_VIEWS;
    expect_cut_back(&write);
    write.cut = SEQUENCE_MAX - 1;
    expect_cut_back(&write);
    struct record zero = {.type = RECORD_ZERO_VIEWS,
                          .volume = 7,
                          .block = 131072 + 255,
                          .count = 1,
                          .sequence = 78,
                          .cut = 77};
    expect_cut_back(&zero);
    zero.type = RECORD_BAD;
    expect_cut_back(&zero);
    struct record drop = {.type = RECORD_DROP_VIEW,
                          .volume = UINT64_MAX,
                          .mebibyte = (1u << 26) - 1,
                          .cut = SEQUENCE_MAX - 1,
                          .previous = SEQUENCE_MAX - 2};
    expect_cut_back(&drop);
}

static void flip_bits(struct record record);

/* Three blocks of another part. */
static struct record resync_make(uint8_t kind, bool repair)
{
    struct record record = {.type = RECORD_RESYNC,
                            .volume = 7,
                            .block = 131072,
                            .view = SEQUENCE_MAX,
                            .generation = 6,
                            .epoch = 5,
                            .watermark = 4,
                            .cut = 77,
                            .group = 513,
                            .kind = kind,
                            .repair = repair,
                            .count = 3,
                            .extent_count = kind == POINTER_RAW ? 2 : 0,
                            .extents = {{.place = 12, .blocks = 1}, {.place = 99, .blocks = 2}}};
    for (unsigned i = 0; i < record.count; i++) {
        record.sequences[i] = kind == POINTER_HOLE ? 0 : 78 + i;
        record.crcs[i] = kind == POINTER_RAW ? i + 1 : 0;
        record.damaged[i] = repair ? 500 + i : 0;
    }
    return record;
}

Test(record, what_comes_from_another_part_decodes_to_what_was_encoded)
{
    for (unsigned kind = POINTER_HOLE; kind <= POINTER_BAD; kind++) {
        struct record record = resync_make((uint8_t)kind, false);
        expect_back(&record);
        flip_bits(record);
    }
    struct record record = resync_make(POINTER_RAW, true);
    expect_back(&record);
    flip_bits(record);
    record.kind = POINTER_ZERO;
    record.extent_count = 0;
    uint8_t bytes[RECORD_BYTES_MAX];
    static struct record decoded;
    uint32_t length = record_encode(bytes, &record);
    cr_assert_eq(record_decode(bytes, length, &decoded), IOMESH_CORRUPT, "only data is repaired");
}

Test(record, what_is_cut_short_or_too_long_is_refused)
{
    struct record records[] = {write_make(3, 9),
                               {.type = RECORD_ZERO, .count = 1, .sequence = 1},
                               {.type = RECORD_RETIRE, .volume = 1},
                               write_make(3, 9),
                               {.type = RECORD_ZERO_VIEWS, .count = 1, .sequence = 2, .cut = 1},
                               {.type = RECORD_DROP_VIEW, .volume = 1, .cut = 1},
                               {.type = RECORD_BAD, .count = 1, .sequence = 2, .cut = 1},
                               resync_make(POINTER_RAW, true)};
    records[3].type = RECORD_WRITE_VIEWS;
    for (unsigned i = 0; i < COUNT_OF(records); i++) {
        uint8_t bytes[RECORD_BYTES_MAX + 8] = {0};
        static struct record decoded;
        uint32_t length = record_encode(bytes, &records[i]);
        for (uint32_t wrong = 0; wrong < length + 8; wrong++) {
            if (wrong != length)
                cr_assert_eq(record_decode(bytes, wrong, &decoded), IOMESH_CORRUPT, "%u", wrong);
        }
    }
}

static int decode_with(const struct record *record, uint32_t offset, uint8_t value)
{
    uint8_t bytes[RECORD_BYTES_MAX];
    static struct record decoded;
    uint32_t length = record_encode(bytes, record);
    bytes[offset] = value;
    return record_decode(bytes, length, &decoded);
}

Test(record, what_makes_no_sense_is_refused)
{
    struct record write = write_make(2, 4);
    cr_assert_eq(decode_with(&write, 0, RECORD_WRITE), 0);
    cr_assert_eq(decode_with(&write, 0, 0), IOMESH_CORRUPT);
    cr_assert_eq(decode_with(&write, 0, RECORD_RESYNC + 1), IOMESH_CORRUPT);
    cr_assert_eq(decode_with(&write, 1, 0), IOMESH_CORRUPT);
    cr_assert_eq(decode_with(&write, 1, RECORD_EXTENTS_MAX + 1), IOMESH_CORRUPT);
    cr_assert_eq(decode_with(&write, 2, 5), IOMESH_CORRUPT);
    cr_assert_eq(decode_with(&write, 16, 253), IOMESH_CORRUPT);      /* It would cross a MiB. */
    cr_assert_eq(decode_with(&write, 40 + 4, 0xff), IOMESH_CORRUPT); /* Beyond every device. */
    cr_assert_eq(decode_with(&write, 40 + 6, 0), IOMESH_CORRUPT);    /* An empty extent. */
    cr_assert_eq(decode_with(&write, 40 + 6, 2), IOMESH_CORRUPT);    /* More than it says. */
    cr_assert_eq(decode_with(&write, 16 + 4, 4), IOMESH_CORRUPT);    /* Beyond 64 TiB. */
    struct record last = {.type = RECORD_ZERO, .block = (1ull << 34) - 65536, .count = 65536};
    last.sequence = 1;
    cr_assert_eq(decode_with(&last, 0, RECORD_ZERO), 0);
    cr_assert_eq(decode_with(&last, 22, 0), IOMESH_CORRUPT); /* What was never written has 0. */
    struct record drop = {.type = RECORD_DROP_SEGMENT, .segment = 262143};
    cr_assert_eq(decode_with(&drop, 0, RECORD_DROP_SEGMENT), 0);
    cr_assert_eq(decode_with(&drop, 6, 4), IOMESH_CORRUPT); /* The segment after the last. */
    struct record zero = {.type = RECORD_ZERO, .block = 65536, .count = 65536, .sequence = 1};
    cr_assert_eq(decode_with(&zero, 16, 0), 0);
    cr_assert_eq(decode_with(&zero, 16, 1), IOMESH_CORRUPT);
    cr_assert_eq(decode_with(&zero, 42, 0), IOMESH_CORRUPT); /* Count 0. */
}

Test(record, a_cut_that_is_not_older_is_refused)
{
    struct record write = write_make(2, 4);
    write.type = RECORD_WRITE_VIEWS;
    write.sequence = 9;
    cr_assert_eq(decode_with(&write, 40, 8), 0);
    cr_assert_eq(decode_with(&write, 40, 9), IOMESH_CORRUPT);
    cr_assert_eq(decode_with(&write, 48 + 6, 0), IOMESH_CORRUPT); /* An empty extent. */
    struct record zero = {.type = RECORD_ZERO_VIEWS, .count = 256, .sequence = 9, .cut = 8};
    cr_assert_eq(decode_with(&zero, 44, 7), 0);
    cr_assert_eq(decode_with(&zero, 44, 9), IOMESH_CORRUPT);
    zero.count = 65536;
    cr_assert_eq(decode_with(&zero, 44, 7), IOMESH_CORRUPT); /* Never a whole segment. */
    struct record drop = {.type = RECORD_DROP_VIEW, .cut = 9, .previous = 8};
    cr_assert_eq(decode_with(&drop, 22, 7), 0);
    cr_assert_eq(decode_with(&drop, 22, 9), IOMESH_CORRUPT);
    cr_assert_eq(decode_with(&drop, 7, 4), IOMESH_CORRUPT); /* Beyond 64 TiB. */
    drop.cut = SEQUENCE_MAX;
    cr_assert_eq(decode_with(&drop, 22, 7), IOMESH_CORRUPT); /* The head is no view. */
}

static void flip_bits(struct record record)
{
    uint8_t bytes[RECORD_BYTES_MAX];
    uint8_t again[RECORD_BYTES_MAX];
    static struct record decoded;
    uint32_t length = record_encode(bytes, &record);
    unsigned taken = 0;
    for (uint32_t bit = 0; bit < length * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (record_decode(bytes, length, &decoded) == 0) {
            cr_assert_eq(record_encode(again, &decoded), length);
            cr_assert_arr_eq(again, bytes, length, "bit %u", bit);
            taken++;
        }
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_gt(taken, 0);
}

Test(record, no_flipped_bit_gives_what_does_not_encode_back)
{
    struct record record = write_make(4, 12);
    flip_bits(record);
    record.type = RECORD_WRITE_VIEWS;
    flip_bits(record);
    flip_bits((struct record){.type = RECORD_ZERO_VIEWS, .count = 3, .sequence = 9, .cut = 8});
    flip_bits((struct record){.type = RECORD_DROP_VIEW, .mebibyte = 9, .cut = 9, .previous = 8});
}

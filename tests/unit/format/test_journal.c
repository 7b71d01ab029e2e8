/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "codec/codec.h"
#include "format/journal.h"

static uint8_t batch[2 * BLOCK_BYTES];

static struct batch_header sealed(void)
{
    memset(batch, 0xee, sizeof batch);
    struct batch_header header = {.incarnation = 0x1122334455667788, .number = 42, .durable = 40};
    uint8_t record[3000];
    memset(record, 7, sizeof record);
    header.bytes_used = batch_add(batch, BATCH_HEADER_BYTES, "first", 5);
    header.bytes_used = batch_add(batch, header.bytes_used, record, sizeof record);
    header.bytes_used = batch_add(batch, header.bytes_used, record, 1);
    header.record_count = 3;
    batch_seal(batch, &header);
    return header;
}

/* Makes the sum right again, so that the other checks are asked. */
static void resum(void)
{
    put32(batch, crc32c(batch + 4, get32(batch + 12) - 4));
}

Test(batch, says_what_was_sealed)
{
    struct batch_header header = sealed(), got;
    cr_assert_eq(batch_get(batch, sizeof batch, &got), 0);
    cr_assert_eq(got.incarnation, header.incarnation);
    cr_assert_eq(got.number, 42);
    cr_assert_eq(got.durable, 40);
    cr_assert_eq(got.record_count, 3);
    cr_assert_eq(got.bytes_used, header.bytes_used);
    const uint8_t *record;
    uint32_t offset = BATCH_HEADER_BYTES, length;
    cr_assert(batch_next(batch, &got, &offset, &record, &length));
    cr_assert_eq(length, 5);
    cr_assert_eq(memcmp(record, "first", 5), 0);
    cr_assert(batch_next(batch, &got, &offset, &record, &length));
    cr_assert_eq(length, 3000);
    cr_assert(batch_next(batch, &got, &offset, &record, &length));
    cr_assert_eq(length, 1);
    cr_assert_not(batch_next(batch, &got, &offset, &record, &length));
}

/* The bytes of format 1, as they lie in every store written so far. */
Test(batch, lies_as_format_1_says)
{
    sealed();
    cr_assert_eq(memcmp(batch + 4, "IMJB\1\0\0\0", 8), 0);
    cr_assert_eq(memcmp(batch + 16, "\x88\x77\x66\x55\x44\x33\x22\x11", 8), 0);
    cr_assert_eq(memcmp(batch + 24, "\x2a\0\0\0\0\0\0\0\x28\0\0\0\0\0\0\0\3\0\0\0", 20), 0);
    cr_assert_eq(memcmp(batch + 64, "\5\0\0\0first", 9), 0);
    cr_assert_eq(get32(batch), crc32c(batch + 4, get32(batch + 12) - 4));
}

Test(batch, ends_in_zeros)
{
    struct batch_header header = sealed();
    for (uint32_t i = header.bytes_used; i < BLOCK_BYTES; i++)
        cr_assert_eq(batch[i], 0);
    cr_assert_eq(batch[BLOCK_BYTES], 0xee);
}

Test(batch, with_any_used_bit_flipped_is_refused)
{
    struct batch_header header = sealed(), got;
    for (uint32_t bit = 0; bit < header.bytes_used * 8; bit++) {
        batch[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_neq(batch_get(batch, sizeof batch, &got), 0, "bit %u", bit);
        batch[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(batch_get(batch, sizeof batch, &got), 0);
}

Test(batch, with_rot_in_its_padding_is_whole)
{
    struct batch_header header = sealed(), got;
    batch[header.bytes_used] ^= 1;
    cr_assert_eq(batch_get(batch, sizeof batch, &got), 0);
}

Test(batch, cut_short_is_refused)
{
    struct batch_header header = sealed(), got;
    for (uint32_t available = 0; available < header.bytes_used; available++)
        cr_assert_neq(batch_get(batch, available, &got), 0);
    cr_assert_eq(batch_get(batch, header.bytes_used, &got), 0);
}

static void refuses(uint32_t at, uint8_t value, int code)
{
    struct batch_header got;
    sealed();
    batch[at] = value;
    resum();
    cr_assert_eq(batch_get(batch, sizeof batch, &got), code, "byte %u", at);
}

Test(batch, with_fields_that_no_batch_has_is_refused_whatever_its_sum)
{
    refuses(4, 'X', IOMESH_FORMAT);
    refuses(8, 2, IOMESH_FORMAT);
    refuses(10, 1, IOMESH_CORRUPT);
    refuses(24, 0, IOMESH_CORRUPT);
    refuses(32, 42, IOMESH_CORRUPT);
    refuses(40, 2, IOMESH_CORRUPT);
    refuses(40, 4, IOMESH_CORRUPT);
    refuses(44, 1, IOMESH_CORRUPT);
    refuses(63, 1, IOMESH_CORRUPT);
    refuses(64, 0, IOMESH_CORRUPT);
    refuses(64, 6, IOMESH_CORRUPT);
    refuses(66, 1, IOMESH_CORRUPT);
}

Test(batch, longer_than_any_is_refused)
{
    struct batch_header got;
    sealed();
    put32(batch + 12, BATCH_BLOCKS_MAX * BLOCK_BYTES + 1);
    cr_assert_eq(batch_get(batch, sizeof batch, &got), IOMESH_CORRUPT);
    put32(batch + 12, BATCH_HEADER_BYTES - 1);
    cr_assert_eq(batch_get(batch, sizeof batch, &got), IOMESH_CORRUPT);
}

Test(batch, without_records_is_a_batch)
{
    struct batch_header header = {.incarnation = 1, .number = 1, .bytes_used = BATCH_HEADER_BYTES},
                        got;
    batch_seal(batch, &header);
    cr_assert_eq(batch_get(batch, BLOCK_BYTES, &got), 0);
    cr_assert_eq(got.record_count, 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/metadata_copy.h"

static uint8_t bytes[METADATA_COPY_BLOCKS_MAX * BLOCK_BYTES];
static uint8_t record[METADATA_COPY_BYTES_MAX];

static struct metadata_copy a_copy(uint32_t length)
{
    struct metadata_copy copy = {
        .number = 0x0102030405060708, .bytes = length, .key_length = 9, .data = record};
    memcpy(copy.key, "group/1/2", 9);
    for (uint32_t i = 0; i < length; i++)
        record[i] = (uint8_t)(i * 7 + 1);
    return copy;
}

/* A format never changes: these bytes are what the first release wrote. */
static const uint8_t golden[] = {
    0x90, 0x91, 0xc1, 0x5e, 'I', 'M', 'C',  '1',  8,    7,    6,   5,   4,   3,
    2,    1,    3,    0,    0,   0,   0x98, 0xce, 0x22, 0x06, 9,   0,   0,   0,
    0,    0,    0,    0,    'g', 'r', 'o',  'u',  'p',  '/',  '1', '/', '2', 0,
};

Test(metadata_copy, a_head_has_the_bytes_that_it_always_had)
{
    struct metadata_copy copy = a_copy(3);
    metadata_copy_put(bytes, &copy);
    for (unsigned i = 0; i < sizeof golden; i++)
        cr_expect_eq(bytes[i], golden[i], "byte %u is 0x%02x", i, bytes[i]);
}

Test(metadata_copy, the_largest_is_read_back_and_a_missing_block_is_found)
{
    struct metadata_copy copy = a_copy(METADATA_COPY_BYTES_MAX), back;
    cr_assert_eq(metadata_copy_blocks(copy.bytes), METADATA_COPY_BLOCKS_MAX);
    metadata_copy_put(bytes, &copy);
    cr_assert_eq(metadata_copy_get(bytes, sizeof bytes, &back), 0);
    cr_expect(back.number == copy.number && back.bytes == copy.bytes);
    cr_expect_str_eq(back.key, "group/1/2");
    cr_expect_eq(memcmp(back.data, record, back.bytes), 0);
    cr_expect_eq(metadata_copy_get(bytes, sizeof bytes - BLOCK_BYTES, &back), IOMESH_CORRUPT);
    memset(bytes + 5 * BLOCK_BYTES, 0, BLOCK_BYTES);
    cr_expect_eq(metadata_copy_get(bytes, sizeof bytes, &back), IOMESH_CORRUPT);
}

Test(metadata_copy, any_bit_that_turns_over_is_found)
{
    struct metadata_copy copy = a_copy(100), back;
    metadata_copy_put(bytes, &copy);
    for (unsigned bit = 0; bit < (METADATA_COPY_HEAD_BYTES + 100) * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_expect_eq(metadata_copy_get(bytes, BLOCK_BYTES, &back), IOMESH_CORRUPT, "bit %u", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    memset(bytes, 0, BLOCK_BYTES);
    cr_expect_eq(metadata_copy_get(bytes, BLOCK_BYTES, &back), -ENOENT);
}

Test(metadata_copy, a_list_is_read_back_and_never_past_its_end)
{
    struct metadata_copy copy = a_copy(40), back;
    uint32_t once = metadata_copy_list(bytes, 57, &copy);
    cr_assert_eq(once, 57);
    cr_expect_eq(metadata_copy_list(bytes + 57, 56, &copy), 0, "it does not fit");
    cr_assert_eq(metadata_copy_list(bytes + 57, 57, &copy), 57);
    cr_assert_eq(metadata_copy_listed(bytes, 114, &back), 57);
    cr_assert_eq(metadata_copy_listed(bytes + 57, 57, &back), 57);
    cr_expect_str_eq(back.key, "group/1/2");
    cr_expect(back.bytes == 40 && memcmp(back.data, record, 40) == 0);
    for (uint32_t length = 0; length < 57; length++)
        cr_expect_eq(metadata_copy_listed(bytes, length, &back), -EPROTO, "%u", length);
    bytes[8] = 0;
    cr_expect_eq(metadata_copy_listed(bytes, 57, &back), -EPROTO, "a key with a zero in it");
}

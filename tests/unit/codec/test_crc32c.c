/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/base.h"
#include "codec/codec.h"

/* RFC 3720, appendix B.4. */
Test(crc32c, the_examples_of_rfc_3720)
{
    uint8_t bytes[32];
    memset(bytes, 0, sizeof bytes);
    cr_assert_eq(crc32c(bytes, sizeof bytes), 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    cr_assert_eq(crc32c(bytes, sizeof bytes), 0x62a8ab43u);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    cr_assert_eq(crc32c(bytes, sizeof bytes), 0x46dd794eu);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    cr_assert_eq(crc32c(bytes, sizeof bytes), 0x113fdb5cu);
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
        0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
        0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
    cr_assert_eq(crc32c(read_command, sizeof read_command), 0xd9963a56u);
}

Test(crc32c, the_check_value_of_the_catalogue)
{
    cr_assert_eq(crc32c("123456789", 9), 0xe3069283u);
    cr_assert_eq(crc32c("", 0), 0);
}

Test(crc32c, a_block_of_zeros_is_the_constant)
{
    static const uint8_t zeros[BLOCK_BYTES];
    cr_assert_eq(crc32c(zeros, sizeof zeros), CRC32C_ZERO_BLOCK);
}

/* Bit by bit, from the polynomial. */
static uint32_t slow(const uint8_t *bytes, size_t length)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

Test(crc32c, any_length_and_alignment_agrees_with_the_polynomial)
{
    struct prng prng = {.state = 5};
    static uint8_t bytes[9000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)prng_next(&prng);
    for (unsigned i = 0; i < 400; i++) {
        size_t length = prng_below(&prng, i % 20 == 0 ? 8192 : 300);
        size_t offset = prng_below(&prng, 64);
        cr_assert_eq(crc32c(bytes + offset, length), slow(bytes + offset, length));
    }
}

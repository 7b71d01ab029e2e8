/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/base.h"
#include "format/pointer.h"

static bool same(const struct pointer *a, const struct pointer *b)
{
    return a->place == b->place && a->sequence == b->sequence && a->crc == b->crc &&
           a->kind == b->kind;
}

Test(pointer, what_is_put_is_got)
{
    struct prng prng = {.state = 1};
    for (unsigned i = 0; i < 10000; i++) {
        struct pointer pointer = {
            .place = prng_next(&prng) & PLACE_MAX,
            .sequence = prng_next(&prng) & SEQUENCE_MAX,
            .crc = (uint32_t)prng_next(&prng),
            .kind = (uint16_t)(i % 2 ? prng_below(&prng, POINTER_PREPARED + 1)
                                     : POINTER_RUN | prng_below(&prng, 1024)),
        };
        uint8_t bytes[POINTER_BYTES];
        pointer_put(bytes, &pointer);
        struct pointer again;
        cr_assert_eq(pointer_get(bytes, &again), 0);
        cr_assert(same(&pointer, &again));
    }
}

Test(pointer, the_bytes_are_those_of_format_1)
{
    struct pointer pointer = {.place = 0x9abcdef01,
                              .sequence = 0x123456789abc,
                              .crc = 0xdeadbeef,
                              .kind = POINTER_RUN | 5 << 5 | 3};
    uint8_t bytes[POINTER_BYTES];
    pointer_put(bytes, &pointer);
    static const uint8_t expected[POINTER_BYTES] = {0x01, 0xef, 0xcd, 0xab, 0x39, 0x4a, 0xbc, 0x9a,
                                                    0x78, 0x56, 0x34, 0x12, 0xef, 0xbe, 0xad, 0xde};
    cr_assert_arr_eq(bytes, expected, sizeof bytes);
}

Test(pointer, sixteen_zero_bytes_are_a_hole)
{
    static const uint8_t bytes[POINTER_BYTES];
    struct pointer pointer;
    cr_assert_eq(pointer_get(bytes, &pointer), 0);
    cr_assert_eq(pointer.kind, POINTER_HOLE);
    cr_assert_eq(pointer.sequence, 0);
    cr_assert(!pointer_has_place(&pointer));
}

Test(pointer, every_kind_is_known_or_refused)
{
    for (unsigned kind = 0; kind < 4096; kind++) {
        uint8_t bytes[POINTER_BYTES] = {0};
        put48(bytes, (uint64_t)kind << 36 | 7);
        bool known = kind <= POINTER_PREPARED || (kind >= 0x400 && kind <= 0x7ff);
        struct pointer pointer = {.place = 99};
        cr_assert_eq(pointer_get(bytes, &pointer), known ? 0 : IOMESH_FORMAT);
        cr_assert_eq(pointer.place, known ? 7 : 99, "a refused pointer was written");
        if (known)
            cr_assert_eq(pointer_has_place(&pointer),
                         kind == POINTER_RAW || kind >= POINTER_PREPARED);
    }
}

Test(pointer, each_flipped_bit_is_refused_or_another_pointer)
{
    struct pointer pointer = {.place = 12345, .sequence = 678, .crc = 9, .kind = POINTER_RAW};
    uint8_t bytes[POINTER_BYTES];
    pointer_put(bytes, &pointer);
    for (unsigned bit = 0; bit < 8 * POINTER_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct pointer other;
        if (pointer_get(bytes, &other) == 0)
            cr_assert(!same(&pointer, &other));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

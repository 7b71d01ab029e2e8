/* SPDX-License-Identifier: Apache-2.0 */
/* What a store knows of its parts comes back as it was, and anything else is refused. */
#include <criterion/criterion.h>
#include <string.h>

#include "format/part_state.h"

static const struct part_saved full = {
    .used = true,
    .role = 2,
    .retired = true,
    .counted = true,
    .group = 0x01020304,
    .volume = 0x0102030405060708,
    .epoch = 0x111213141516,
    .watermark = 0x212223242526,
    .heard = 0x313233343536,
    .flushed = 0x212223242525,
    .generation = 0x41424344,
    .role_generation = 0x41424343,
    .aside = 0x51525354,
    .boot = 0x61626364,
};

Test(part_state, comes_back_as_it_was)
{
    uint8_t bytes[PART_STATE_BYTES];
    struct part_saved back;
    part_state_put(bytes, &full);
    cr_assert_eq(part_state_get(bytes, &back), 0);
    uint8_t again[PART_STATE_BYTES];
    part_state_put(again, &back);
    cr_assert_arr_eq(bytes, again, sizeof bytes);
    cr_assert_eq(back.volume, full.volume);
    cr_assert_eq(back.epoch, full.epoch);
    cr_assert_eq(back.watermark, full.watermark);
    cr_assert_eq(back.heard, full.heard);
    cr_assert_eq(back.flushed, full.flushed);
    cr_assert_eq(back.boot, full.boot);
    cr_assert_eq(back.aside, full.aside);
    cr_assert(back.used && back.retired && back.counted);
    cr_assert_eq(get64(bytes + 8), full.volume, "at its offset");
    cr_assert_eq(get32(bytes + 60), full.boot, "at its offset");
}

Test(part_state, zeros_are_a_place_that_is_not_in_use)
{
    uint8_t bytes[PART_STATE_BYTES] = {0};
    struct part_saved back;
    cr_assert_eq(part_state_get(bytes, &back), 0);
    cr_assert(!back.used);
    for (unsigned i = 2; i < sizeof bytes; i++) {
        bytes[i] = 1;
        cr_assert_eq(part_state_get(bytes, &back), IOMESH_CORRUPT, "byte %u", i);
        bytes[i] = 0;
    }
}

Test(part_state, nonsense_is_refused)
{
    uint8_t bytes[PART_STATE_BYTES];
    struct part_saved back;
    part_state_put(bytes, &full);
    put16(bytes, 2);
    cr_assert_eq(part_state_get(bytes, &back), IOMESH_FORMAT);
    static const struct {
        unsigned at;
        uint8_t value;
    } wrong[] = {{2, 3},     {3, 4},     {22, 1}, {30, 1}, {38, 1},
                 {40, 0x27}, {52, 0x45}, {70, 1}, {72, 1}, {127, 1}};
    for (unsigned i = 0; i < COUNT_OF(wrong); i++) {
        part_state_put(bytes, &full);
        bytes[wrong[i].at] = wrong[i].value;
        cr_assert_eq(part_state_get(bytes, &back), IOMESH_CORRUPT, "byte %u", wrong[i].at);
    }
    part_state_put(bytes, &full);
    put64(bytes + 8, VOLUME_PARTS);
    cr_assert_eq(part_state_get(bytes, &back), IOMESH_CORRUPT);
}

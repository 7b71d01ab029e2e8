/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "space/bitmap.h"
#include "space/extents.h"

#define BITS 1024u

static uint8_t bits[BITS / 8];
static bool model[BITS];

static void model_set(uint32_t from, uint32_t count, bool value)
{
    uint32_t changed = 0;
    for (uint32_t i = from; i < from + count; i++) {
        changed += model[i] != value;
        model[i] = value;
    }
    uint32_t said =
        value ? space_bitmap_set(bits, from, count) : space_bitmap_clear(bits, from, count);
    cr_assert_eq(said, changed);
}

static void find_check(uint32_t from, uint32_t limit, uint32_t most)
{
    uint32_t first = from;
    while (first < limit && model[first])
        first++;
    uint32_t end = first;
    while (end < limit && !model[end] && end - first < most)
        end++;
    uint32_t at, blocks;
    bool found = space_bitmap_find(bits, from, limit, most, &at, &blocks);
    cr_assert_eq(found, first < limit);
    if (!found)
        return;
    cr_assert_eq(at, first);
    cr_assert_eq(blocks, end - first);
}

static void find_run_check(uint32_t from, uint32_t limit, uint32_t least, uint32_t most)
{
    uint32_t first = from;
    uint32_t run = 0;
    for (; first + run < limit && run < least; run++) {
        if (model[first + run]) {
            first += run + 1;
            run = UINT32_MAX;
        }
    }
    uint32_t end = first;
    while (end < limit && !model[end] && end - first < most)
        end++;
    uint32_t at, blocks;
    bool found = space_bitmap_find_run(bits, from, limit, least, most, &at, &blocks);
    cr_assert_eq(found, run == least);
    if (!found)
        return;
    cr_assert_eq(at, first);
    cr_assert_eq(blocks, end - first);
}

Test(bitmap, agrees_with_an_array_of_flags)
{
    struct prng prng = {.state = 11};
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t from = (uint32_t)prng_below(&prng, BITS);
        uint32_t count = (uint32_t)prng_below(&prng, MIN(BITS - from, 200) + 1);
        model_set(from, count, prng_one_in(&prng, 2));
        uint32_t limit = (uint32_t)prng_below(&prng, BITS + 1);
        find_check((uint32_t)prng_below(&prng, BITS), limit, 1 + (uint32_t)prng_below(&prng, 300));
        uint32_t least = 1 + (uint32_t)prng_below(&prng, 64);
        find_run_check(from, limit, least, least + (uint32_t)prng_below(&prng, 300));
        bool clear = true;
        for (uint32_t j = from; j < from + count; j++) {
            cr_assert_eq(space_bitmap_get(bits, j), model[j]);
            clear = clear && !model[j];
        }
        cr_assert_eq(space_bitmap_all_clear(bits, from, count), clear);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

Test(extents, are_sorted_and_found)
{
    struct prng prng = {.state = 12};
    struct extents extents = {0}, scratch = {0};
    static uint64_t expected[5000];
    for (unsigned round = 0; round < 20; round++) {
        space_extents_clear(&extents);
        size_t count = prng_below(&prng, 5000);
        uint64_t blocks = 0;
        for (size_t i = 0; i < count; i++) {
            /* Places are not repeated: nothing waits twice. */
            uint64_t place = (prng_next(&prng) >> 28) / 5000 * 5000 + i;
            uint32_t length = 1 + (uint32_t)prng_below(&prng, 32768);
            expected[i] = deferred_pack(place, length);
            space_extents_push(&extents, expected[i]);
            blocks += length;
        }
        cr_assert_eq(extents.blocks, blocks);
        space_extents_sort(&extents, &scratch);
        qsort(expected, count, sizeof *expected, compare);
        cr_assert_eq(extents.count, count);
        cr_assert(count == 0 || memcmp(extents.items, expected, count * 8) == 0);
        for (size_t i = 0; i < count; i += 7)
            cr_assert_eq(space_extents_find(&extents, deferred_place(expected[i])), i);
    }
    space_extents_done(&extents);
    space_extents_done(&scratch);
}

Test(extents, neighbours_are_joined_but_not_over_a_region)
{
    struct extents extents = {0};
    space_extents_push(&extents, deferred_pack(90, 5));
    space_extents_push(&extents, deferred_pack(95, 5));
    space_extents_push(&extents, deferred_pack(100, 1));
    space_extents_push(&extents, deferred_pack(101, 9));
    space_extents_push(&extents, deferred_pack(111, 2));
    space_extents_merge(&extents, 100);
    cr_assert_eq(extents.count, 3);
    cr_assert_eq(extents.items[0], deferred_pack(90, 10));
    cr_assert_eq(extents.items[1], deferred_pack(100, 10));
    cr_assert_eq(extents.items[2], deferred_pack(111, 2));
    cr_assert_eq(extents.blocks, 22);
    space_extents_done(&extents);
}

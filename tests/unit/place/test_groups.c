/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "place/place.h"

Test(place_groups, a_volume_has_few_groups_and_more_only_if_it_needs_more_stores)
{
    cr_assert_eq(place_segments(4096), 1);
    cr_assert_eq(place_segments(64ull << 40), 262144);
    cr_assert_eq(place_group_count(1, 0), 1);
    cr_assert_eq(place_group_count(16, 0), 1);
    cr_assert_eq(place_group_count(17, 0), 2);
    cr_assert_eq(place_group_count(400, 10ull << 40), 16);
    cr_assert_eq(place_group_count(262144, 16ull << 40), 16); /* 4 TiB of 16 each. */
    cr_assert_eq(place_group_count(262144, 8ull << 40), 32);
    cr_assert_eq(place_group_count(262144, 1ull << 30), PLACE_GROUPS_MAX);
}

static uint32_t runs(const struct metadata_map *map)
{
    uint32_t count = map->segment_count > 0;
    for (uint32_t i = 1; i < map->segment_count; i++)
        count += map->groups[i] != map->groups[i - 1];
    return count;
}

Test(place_groups, the_map_of_a_new_volume_is_even_and_small)
{
    static const uint64_t segments[] = {1, 16, 17, 100, 400, 5000, 16384, 16385, 262144};
    struct metadata_map *map = calloc(1, sizeof *map);
    for (size_t i = 0; i < COUNT_OF(segments); i++) {
        uint32_t sizes[PLACE_GROUPS] = {0};
        uint32_t again[PLACE_GROUPS] = {0};
        uint32_t groups = place_group_count(segments[i], 0);
        uint64_t all = 0;
        for (map->index = 0; map->index * METADATA_MAP_SEGMENTS < segments[i]; map->index++) {
            struct metadata_bytes value;
            map->segment_count = 0;
            place_map_grow(map, segments[i], sizes, groups);
            all += map->segment_count;
            cr_assert_leq(runs(map), PLACE_MAP_RUNS);
            cr_assert_eq(place_map_sizes(map, again, groups), 0);
            cr_assert_eq(metadata_map_encode(map, &value), 0);
            cr_assert_leq(value.length, 1024);
            metadata_bytes_done(&value);
        }
        cr_assert_eq(all, segments[i]);
        cr_assert_arr_eq(sizes, again, sizeof sizes);
        for (uint32_t g = 0; g < groups; g++)
            cr_assert_leq(sizes[0] - sizes[g], 64 + sizes[0] / 16, "%u of %u", sizes[g], sizes[0]);
    }
    free(map);
}

Test(place_groups, what_grows_goes_to_the_smallest_groups_and_what_was_there_stays)
{
    struct metadata_map *map = calloc(1, sizeof *map);
    uint32_t sizes[PLACE_GROUPS] = {0};
    uint16_t before[40];
    place_map_grow(map, 40, sizes, 3);
    for (uint32_t i = 0; i < 40; i++)
        before[i] = map->groups[i];
    place_map_grow(map, 200, sizes, 13); /* Ten new ones. */
    cr_assert_eq(map->segment_count, 200);
    cr_assert_arr_eq(before, map->groups, sizeof before);
    for (uint32_t g = 0; g < 13; g++)
        cr_assert(sizes[g] >= 15 && sizes[g] <= 16, "group %u: %u", g, sizes[g]);
    /* Growing by nothing changes nothing. */
    place_map_grow(map, 200, sizes, 13);
    cr_assert_eq(map->segment_count, 200);
    free(map);
}

Test(place_groups, a_split_takes_the_last_segments_and_adds_one_run_at_most)
{
    struct metadata_map *map = calloc(1, sizeof *map);
    uint32_t sizes[17] = {0};
    uint32_t after[17] = {0};
    place_map_grow(map, 6000, sizes, 16);
    uint32_t before = runs(map);
    cr_assert_eq(place_map_split(map, 5, 16, 100), 100);
    cr_assert_leq(runs(map), before + 1);
    cr_assert_eq(place_map_sizes(map, after, 17), 0);
    cr_assert_eq(after[16], 100);
    cr_assert_eq(after[5], sizes[5] - 100);
    cr_assert_eq(place_map_split(map, 5, 16, 100000), sizes[5] - 100);
    cr_assert_eq(place_map_sizes(map, after, 16), IOMESH_CORRUPT);
    free(map);
}

Test(place_groups, what_moves_is_a_group_or_a_part_but_never_so_much_that_it_swings_back)
{
    uint64_t gib = 1ull << 30;
    /* What fits moves whole, and so does a little more. */
    cr_assert_eq(place_move_segments(10 * gib, 40, 16, 20 * gib, 30 * gib), 40);
    cr_assert_eq(place_move_segments(10 * gib, 40, 16, 20 * gib, 9 * gib), 40);
    /* Of what is too much, a part. */
    cr_assert_eq(place_move_segments(100 * gib, 400, 16, 20 * gib, 30 * gib), 80);
    /* Unless it is so small that a group for it is not worth it, */
    cr_assert_eq(place_move_segments(100 * gib, 400, 16, gib, 30 * gib), 0);
    /* or the volume has many groups already. */
    cr_assert_eq(place_move_segments(100 * gib, 400, 64, 20 * gib, 30 * gib), 0);
    cr_assert_eq(place_move_segments(30 * gib, 120, 64, 20 * gib, 30 * gib), 120);
    cr_assert_eq(place_move_segments(0, 40, 16, 20 * gib, 30 * gib), 0);
    cr_assert_eq(place_move_segments(gib, 4, 16, 0, 30 * gib), 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes of a cluster that become larger and smaller. */
#include "gathering.h"

static const struct catalog_create small = {.bytes = 4 * SEGMENT, .sector_bytes = 4096};

static struct catalog_handle *handle, *other;
static struct metadata_map map;

static void a_volume(void)
{
    gathering_open_stores(3);
    user_options(0, "n1", "gateway-a");
    user_options(1, "n2", "gateway-b");
    cr_assert_eq(user_open(0), 0, "%s", base_last_error());
    cr_assert_eq(user_create(0, "a", &small), 0, "%s", base_last_error());
}

TestSuite(grown, .init = a_volume, .fini = gathering_close, .timeout = 60);

static void every_segment_has_a_group(uint64_t bytes)
{
    uint64_t segments = bytes / SEGMENT;
    unsigned groups = keys_of(metadata_volume_prefix(METADATA_GROUP, 1));
    for (uint32_t i = 0; (uint64_t)i * METADATA_MAP_SEGMENTS < segments; i++) {
        cr_assert(map_get(1, i, &map));
        uint64_t count =
            MIN(segments - (uint64_t)i * METADATA_MAP_SEGMENTS, (uint64_t)METADATA_MAP_SEGMENTS);
        cr_assert_eq(map.segment_count, count);
        for (uint32_t j = 0; j < map.segment_count; j++)
            cr_assert_lt(map.groups[j], groups);
    }
}

Test(grown, what_was_there_stays_and_new_segments_can_be_written)
{
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    cr_assert_eq(put_block(handle, 0, 7), 0);
    cr_assert_eq(user_close_volume(handle), 0);
    cr_assert(map_get(1, 0, &map));
    uint16_t before[4];
    memcpy(before, map.groups, sizeof before);
    cr_assert_eq(user_resize(0, "a", 100 * SEGMENT, false), 0, "%s", base_last_error());
    every_segment_has_a_group(100 * SEGMENT);
    cr_assert_arr_eq(before, map.groups, sizeof before);
    cr_assert_gt(keys_of(metadata_volume_prefix(METADATA_GROUP, 1)), 1);
    cr_assert_eq(user_open_volume(0, "a", &handle), 0, "%s", base_last_error());
    cr_assert_eq(get_block(handle, 0), 7);
    cr_assert_eq(put_block(handle, 99 * SEGMENT, 8), 0);
    cr_assert_eq(get_block(handle, 99 * SEGMENT), 8);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(grown, to_the_largest_in_as_many_transactions_as_it_needs)
{
    cr_assert_eq(user_resize(0, "a", CATALOG_BYTES_MAX, false), 0, "%s", base_last_error());
    every_segment_has_a_group(CATALOG_BYTES_MAX);
    cr_assert_gt(keys_of(metadata_volume_prefix(METADATA_GROUP, 1)), 130);
}

#define LARGE (24ull << 40)

/* Nothing of one that lives is deleted, and nothing is left of others. */
Test(grown, clones_and_imports_in_many_groups_take_several_transactions)
{
    static const uint8_t uuid[16] = {1};
    struct catalog_import import = {
        .bytes = LARGE, .sector_bytes = 4096, .snapshot = "s", .copies = 2};
    memcpy(import.uuid, uuid, sizeof uuid);
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    cr_assert_eq(put_block(handle, 0, 7), 0);
    cr_assert_eq(user_close_volume(handle), 0);
    cr_assert_eq(user_resize(0, "a", LARGE, false), 0, "%s", base_last_error());
    unsigned groups = keys_of(metadata_volume_prefix(METADATA_GROUP, 1));
    cr_assert_gt(groups, 50);
    cr_assert_eq(user_snapshot(0, "a", "s"), 0, "%s", base_last_error());
    cr_assert_eq(user_clone(0, "a", "s", "b"), 0, "%s", base_last_error());
    cr_assert_eq(user_clone(0, "a", NULL, "c"), 0, "%s", base_last_error());
    cr_assert_eq(user_open(1), 0, "%s", base_last_error());
    cr_assert_eq(user_import(1, "d", &import, &other), 0, "%s", base_last_error());
    cr_assert_eq(put_block(other, LARGE - 4096, 8), 0);
    cr_assert_eq(user_close_volume(other), 0);
    unsigned found = 0;
    for (uint64_t volume = 2; volume < 100 && found < 3; volume++) {
        struct metadata_volume record;
        if (!volume_get(volume, &record))
            continue;
        bool imported = strcmp(record.name, "d") == 0;
        found++;
        cr_assert_eq(record.state, METADATA_VOLUME_LIVE);
        cr_assert_eq(record.policy.copies, imported ? 2 : 3);
        cr_assert_eq(record.parent_volume, imported ? 0 : 1);
        metadata_volume_done(&record);
        cr_assert_eq(keys_of(metadata_volume_prefix(METADATA_GROUP, volume)), groups);
        cr_assert_eq(keys_of(metadata_volume_prefix(METADATA_MAP, volume)), 6);
    }
    cr_assert_eq(found, 3);
    cr_assert_eq(user_open_volume(0, "b", &handle), 0, "%s", base_last_error());
    cr_assert_eq(get_block(handle, 0), 7);
    cr_assert_eq(put_block(handle, LARGE - 4096, 9), 0);
    cr_assert_eq(user_close_volume(handle), 0);
    cr_assert_eq(user_clone(0, "a", "s", "d"), -EEXIST);
}

Test(grown, an_open_volume_is_larger_at_once)
{
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    cr_assert_eq(put_block(handle, 0, 7), 0);
    cr_assert_eq(user_resize(0, "a", 30 * SEGMENT, false), 0, "%s", base_last_error());
    every_segment_has_a_group(30 * SEGMENT);
    cr_assert_eq(get_block(handle, 29 * SEGMENT), 0);
    cr_assert_eq(put_block(handle, 29 * SEGMENT, 8), 0);
    cr_assert_eq(user_resize(0, "a", 60 * SEGMENT, false), 0, "%s", base_last_error());
    cr_assert_eq(put_block(handle, 59 * SEGMENT, 9), 0);
    cr_assert_eq(volume_flush(handle), 0);
    cr_assert_eq(user_snapshot(0, "a", "s"), 0, "%s", base_last_error());
    cr_assert_eq(put_block(handle, 59 * SEGMENT, 10), 0);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(get_block(handle, 0), 7);
        cr_assert_eq(get_block(handle, 29 * SEGMENT), 8);
        cr_assert_eq(get_block(handle, 59 * SEGMENT), 10);
        cr_assert_eq(user_close_volume(handle), 0);
        cr_assert_eq(user_open_volume(0, "a", &handle), 0, "%s", base_last_error());
    }
    cr_assert_eq(user_read_volume(0, "a@s", &other), 0, "%s", base_last_error());
    cr_assert_eq(get_block(other, 59 * SEGMENT), 9);
    cr_assert_eq(user_close_volume(other), 0);
    cr_assert_eq(user_close_volume(handle), 0);
}

/* What is flushed, and copied, while nobody has told the new groups anything yet. */
Test(grown, an_open_volume_grows_with_a_store_away)
{
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    link_cut(0, 3, true);
    cr_assert_eq(put_block(handle, 0, 7), 0);
    cr_assert_eq(user_resize(0, "a", 30 * SEGMENT, false), 0, "%s", base_last_error());
    cr_assert_eq(volume_flush(handle), 0);
    cr_assert_eq(put_block(handle, 29 * SEGMENT, 8), 0);
    link_cut(0, 3, false);
    gathering_run(10 * NS_PER_S);
    cr_assert_eq(get_block(handle, 29 * SEGMENT), 8);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(grown, an_open_volume_that_would_get_too_many_groups_is_to_be_closed)
{
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    cr_assert_eq(user_resize(0, "a", CATALOG_BYTES_MAX, false), -EBUSY);
    cr_assert_not_null(strstr(base_last_error(), "meanwhile: close it"), "%s", base_last_error());
    cr_assert_eq(put_block(handle, 0, 7), 0);
    cr_assert_eq(keys_of(metadata_volume_prefix(METADATA_GROUP, 1)), 1);
    cr_assert_eq(get_block(handle, 0), 7);
    cr_assert_eq(user_resize(0, "a", 4 * SEGMENT - MIB, true), 0, "%s", base_last_error());
    cr_assert_eq(user_resize(0, "a", 4 * SEGMENT, false), 0, "it was placed once");
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(grown, what_was_cut_off_never_comes_back)
{
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    cr_assert_eq(put_block(handle, 3 * SEGMENT, 7), 0);
    cr_assert_eq(put_block(handle, SEGMENT, 8), 0);
    cr_assert_eq(user_close_volume(handle), 0);
    cr_assert_eq(user_resize(0, "a", 2 * SEGMENT, false), -EPERM);
    cr_assert_eq(user_resize(0, "a", 2 * SEGMENT, true), 0, "%s", base_last_error());
    cr_assert_eq(user_resize(0, "a", 4 * SEGMENT, false), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    cr_assert_eq(get_block(handle, 3 * SEGMENT), 0);
    cr_assert_eq(get_block(handle, SEGMENT), 8);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(grown, what_another_process_has_open_keeps_its_size)
{
    cr_assert_eq(user_open(1), 0);
    cr_assert_eq(user_open_volume(1, "a", &other), 0);
    cr_assert_eq(user_resize(0, "a", 100 * SEGMENT, false), -EBUSY);
    cr_assert_eq(user_resize(0, "a", SEGMENT, true), -EBUSY);
    cr_assert_eq(user_close_volume(other), 0);
}

Test(grown, what_cannot_be_placed_is_refused_and_nothing_changes)
{
    struct metadata_volume record;
    store_record_delete(3);
    gathering_turns(50);
    cr_assert_eq(user_resize(0, "a", 100 * SEGMENT, false), -ENOSPC);
    cr_assert_not_null(strstr(base_last_error(), "3 copies"), "%s", base_last_error());
    cr_assert(volume_get(1, &record));
    metadata_volume_done(&record);
    cr_assert_eq(record.bytes, small.bytes);
}

Test(grown, a_whole_segment_is_discarded)
{
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    cr_assert_eq(put_block(handle, 2 * SEGMENT + MIB, 7), 0);
    cr_assert_eq(discard_range(handle, 2 * SEGMENT, SEGMENT), 0);
    cr_assert_eq(get_block(handle, 2 * SEGMENT + MIB), 0);
    cr_assert_eq(user_close_volume(handle), 0);
}

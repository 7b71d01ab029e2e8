/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes of a cluster: which stores there are, and where a new volume goes. */
#include "gathering.h"
#include "volume/stores.h"

TestSuite(placed, .init = gathering_open, .fini = gathering_close, .timeout = 60);

static const struct catalog_create three = {.bytes = 10ull << 30, .sector_bytes = 4096};

static struct metadata_group group;
static struct metadata_map map;

static void nodes_put(unsigned count)
{
    static const char *const names[] = {"ann", "bob", "cas", "dot", "eve"};
    for (unsigned i = 0; i < count; i++)
        store_put(i + 1, names[i]);
}

static void put_broken(uint64_t id)
{
    struct metadata_store record = {.id = id + 1}; /* Another than its key says. */
    struct metadata_bytes value = {0};
    cr_assert_eq(metadata_store_encode(&record, &value), 0);
    key_put(metadata_store_key(id), &value);
}

Test(placed, a_pool_without_stores_opens_and_says_what_a_volume_needs)
{
    cr_assert_eq(user_open(0), 0, "%s", base_last_error());
    cr_assert_eq(user_create(0, "a", &three), -ENOSPC);
    cr_assert_not_null(strstr(base_last_error(), "volume \"a\": 3 copies"), "%s",
                       base_last_error());
    cr_assert_eq(keys_of(metadata_prefix(METADATA_NAME)), 0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_GROUP)), 0);
}

Test(placed, every_store_is_told_when_the_pool_is_opened_and_when_it_changes)
{
    nodes_put(3);
    cr_assert_eq(user_open(0), 0);
    cr_assert_eq(gathering.users[0].stores_told, 3);
    store_put(4, "dot");
    gathering_turns(50);
    cr_assert_eq(gathering.users[0].stores_told, 4);
    store_put(4, "eve");
    store_record_delete(2);
    gathering_turns(50);
    cr_assert_eq(gathering.users[0].stores_told, 6);
}

Test(placed, a_store_whose_record_makes_no_sense_is_told_and_is_none)
{
    nodes_put(2);
    put_broken(3);
    cr_assert_eq(user_open(0), 0);
    cr_assert_eq(gathering.users[0].stores_told, 2);
    cr_assert_not_null(strstr(gathering.users[0].said, "store/"), "%s", gathering.users[0].said);
    cr_assert_eq(user_create(0, "a", &three), -ENOSPC);
}

Test(placed, each_copy_of_each_group_is_on_another_node)
{
    nodes_put(5);
    cr_assert_eq(user_open(0), 0);
    cr_assert_eq(user_create(0, "a", &three), 0, "%s", base_last_error());
    struct metadata_volume record;
    cr_assert(volume_get(1, &record));
    cr_assert_eq(record.policy.copies, 3);
    cr_assert_eq(record.policy.copies_min, 2);
    cr_assert_eq(record.epoch, 0);
    metadata_volume_done(&record);
    unsigned groups = keys_of(metadata_volume_prefix(METADATA_GROUP, 1));
    cr_assert_gt(groups, 1);
    for (uint32_t i = 0; i < groups; i++) {
        cr_assert(group_get(1, i, &group));
        cr_assert_eq(group.generation, 0);
        cr_assert_eq(group.member_count, 3);
        for (unsigned j = 0; j < 3; j++) {
            cr_assert_eq(group.members[j].state, METADATA_IN_SYNC);
            cr_assert_neq(group.members[j].store, group.members[(j + 1) % 3].store);
        }
    }
}

Test(placed, every_segment_has_a_group_that_there_is)
{
    nodes_put(3);
    cr_assert_eq(user_open(0), 0);
    cr_assert_eq(user_create(0, "a", &three), 0);
    cr_assert_eq(keys_of(metadata_volume_prefix(METADATA_MAP, 1)), 1);
    cr_assert(map_get(1, 0, &map));
    cr_assert_eq(map.segment_count, three.bytes / SEGMENT);
    unsigned groups = keys_of(metadata_volume_prefix(METADATA_GROUP, 1));
    for (uint32_t i = 0; i < map.segment_count; i++)
        cr_assert_lt(map.groups[i], groups);
}

Test(placed, the_largest_volume_has_sixteen_maps_in_as_many_transactions_as_it_needs)
{
    static const struct catalog_create largest = {.bytes = CATALOG_BYTES_MAX, .sector_bytes = 512};
    nodes_put(5);
    cr_assert_eq(user_open(0), 0);
    cr_assert_eq(user_create(0, "a", &largest), 0, "%s", base_last_error());
    cr_assert_eq(keys_of(metadata_volume_prefix(METADATA_MAP, 1)), 16);
    unsigned groups = keys_of(metadata_volume_prefix(METADATA_GROUP, 1));
    cr_assert_gt(groups, 200, "of stores of 1 TiB: %u", groups);
    for (uint32_t i = 0; i < 16; i++) {
        cr_assert(map_get(1, i, &map));
        cr_assert_eq(map.segment_count, METADATA_MAP_SEGMENTS);
    }
    struct metadata_volume record;
    cr_assert(volume_get(1, &record));
    cr_assert_eq(record.state, METADATA_VOLUME_LIVE);
    metadata_volume_done(&record);
    cr_assert_eq(user_create(0, "a", &largest), -EEXIST);
}

Test(placed, the_first_copy_is_near_where_it_is_asked_for)
{
    struct catalog_create near = three;
    nodes_put(5);
    cr_assert_eq(user_open(0), 0);
    near.hint.node = "dot";
    near.copies = 2;
    cr_assert_eq(user_create(0, "a", &near), 0);
    for (uint32_t i = 0; group_get(1, i, &group); i++)
        cr_assert_eq(group.members[0].store, 4);
}

Test(placed, where_it_is_created_is_near_if_nothing_else_is_said)
{
    nodes_put(5);
    user_options(0, "bob", "here");
    cr_assert_eq(user_open(0), 0);
    cr_assert_eq(user_create(0, "a", &three), 0);
    for (uint32_t i = 0; group_get(1, i, &group); i++)
        cr_assert_eq(group.members[0].store, 2);
}

Test(placed, what_cannot_be_placed_leaves_nothing_behind)
{
    struct catalog_create create = three;
    nodes_put(2);
    cr_assert_eq(user_open(0), 0);
    cr_assert_eq(user_create(0, "a", &create), -ENOSPC);
    cr_assert_not_null(strstr(base_last_error(), "there are 2"), "%s", base_last_error());
    create.media = 1u << METADATA_NVME;
    create.copies = 2;
    cr_assert_eq(user_create(0, "a", &create), -ENOSPC);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_NAME)), 0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_GROUP)), 0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_MAP)), 0);
    create.media = 0;
    cr_assert_eq(user_create(0, "a", &create), 0, "%s", base_last_error());
}

Test(placed, a_node_that_comes_later_makes_room)
{
    nodes_put(2);
    cr_assert_eq(user_open(0), 0);
    cr_assert_eq(user_create(0, "a", &three), -ENOSPC);
    store_put(3, "cas");
    gathering_turns(50);
    cr_assert_eq(user_create(0, "a", &three), 0, "%s", base_last_error());
}

Test(placed, copies_out_of_range_are_refused_at_once)
{
    struct catalog_create create = three;
    nodes_put(3);
    cr_assert_eq(user_open(0), 0);
    create.copies = CATALOG_COPIES_MAX + 1;
    cr_assert_eq(user_create(0, "a", &create), -EINVAL);
    create.copies = 2;
    create.copies_min = 3;
    cr_assert_eq(user_create(0, "a", &create), -EINVAL);
    create.copies_min = 0;
    create.media = 1u << 7;
    cr_assert_eq(user_create(0, "a", &create), -EINVAL);
}

Test(placed, volumes_are_spread_as_soon_as_they_are_created)
{
    struct catalog_create one = {.bytes = 100ull << 30, .sector_bytes = 4096, .copies = 1};
    uint64_t promised[6] = {0};
    nodes_put(5);
    cr_assert_eq(user_open(0), 0);
    for (unsigned i = 0; i < 20; i++) {
        char name[8] = {(char)('a' + i)};
        cr_assert_eq(user_create(0, name, &one), 0);
        cr_assert(map_get(i + 1, 0, &map));
        for (uint32_t j = 0; j < map.segment_count; j++) {
            cr_assert(group_get(i + 1, map.groups[j], &group));
            promised[group.members[0].store]++;
        }
    }
    /* 20 volumes of 400 segments: 1,600 each if it were even. */
    for (unsigned i = 1; i <= 5; i++)
        cr_assert(promised[i] > 1100 && promised[i] < 2100, "store %u: %llu", i,
                  (unsigned long long)promised[i]);
}

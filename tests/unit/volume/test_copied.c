/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of records, on the stores that have a volume: what metadata could be made of. */
#include <stdlib.h>

#include "format/metadata_copy.h"
#include "gathering.h"

static struct catalog_handle *handle;
static const struct catalog_create small = {.bytes = 8 * MIB, .sector_bytes = 4096, .copies = 3};

static void begin(void)
{
    gathering_open_stores(4);
    cr_assert_eq(user_open(0), 0);
}

TestSuite(copied, .init = begin, .fini = gathering_close);

static uint8_t list[PART_RECORDS_BLOCKS_MIN * BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));

static void listed(struct part_request *request, int result)
{
    (void)request;
    gathering_ended(NULL, result);
}

/* Copies that a store has whose keys begin so. */
static unsigned copies_on(unsigned store, const char *prefix)
{
    struct part_request request = {
        .kind = PART_RECORDS,
        .group = (uint32_t)strlen(prefix),
        .count = PART_RECORDS_BLOCKS_MIN,
        .data = list,
        .key = prefix,
        .done = listed,
    };
    gathering.waiting = true;
    part_submit(store_port(gathering.members[store - 1].store), &request);
    cr_assert_eq(gathering_wait(0), 0);
    return (unsigned)request.found;
}

/* The record that a store has a copy of, and the epoch of who sent it. */
static uint64_t group_on(unsigned store, struct metadata_group *ret_group)
{
    struct metadata_copy copy;
    struct metadata_stamp stamp;
    cr_assert_eq(copies_on(store, "group/0000000000000001/"), 1);
    cr_assert_gt(metadata_copy_listed(list, sizeof list, &copy), 0);
    cr_assert(metadata_stamp_get(copy.data, copy.bytes, &stamp));
    cr_assert_eq(metadata_group_decode(copy.data + METADATA_COPY_STAMP_BYTES,
                                       copy.bytes - METADATA_COPY_STAMP_BYTES, ret_group),
                 0);
    return stamp.epoch;
}

static void volume_begin(void)
{
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    gathering_run(8 * NS_PER_S);
}

/* Stores of volume 1's group; *ret_other has none. */
static struct metadata_group stores_of(unsigned *ret_other)
{
    struct metadata_group group;
    cr_assert(group_get(1, 0, &group));
    for (unsigned store = 1; store <= 4; store++) {
        bool member = false;
        for (uint32_t i = 0; i < group.member_count; i++)
            member = member || group.members[i].store == store;
        if (!member)
            *ret_other = store;
    }
    return group;
}

Test(copied, each_store_of_a_volume_has_its_records_and_its_own)
{
    unsigned other = 0;
    volume_begin();
    struct metadata_group group = stores_of(&other);
    for (uint32_t i = 0; i < group.member_count; i++) {
        unsigned store = (unsigned)group.members[i].store;
        cr_expect_eq(copies_on(store, "volume/"), 1);
        cr_expect_eq(copies_on(store, "group/"), 1);
        cr_expect_eq(copies_on(store, "map/"), 1);
        cr_expect_eq(copies_on(store, "snap/"), 0);
        cr_expect_eq(copies_on(store, "cluster"), 0, "it comes after what is asked");
        cr_expect_eq(copies_on(store, "cluste"), 1);
        cr_expect_eq(copies_on(store, "store/"), 1, "its own, and no other's");
    }
    cr_expect_eq(copies_on(other, "volume/"), 0);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(copied, snapshots_come_and_go)
{
    unsigned other = 0;
    volume_begin();
    unsigned store = (unsigned)stores_of(&other).members[0].store;
    cr_assert_eq(user_snapshot(0, "a", "one"), 0);
    cr_assert_eq(user_snapshot(0, "a", "two"), 0);
    gathering_run(8 * NS_PER_S);
    cr_expect_eq(copies_on(store, "snap/"), 2);
    cr_assert_eq(user_snapshot_delete(0, "a", "one"), 0);
    user_settle(0);
    gathering_run(8 * NS_PER_S);
    cr_expect_eq(copies_on(store, "snap/"), 1);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(copied, a_store_that_was_away_gets_what_it_missed)
{
    unsigned other = 0;
    struct metadata_group kept;
    volume_begin();
    unsigned store = (unsigned)stores_of(&other).members[2].store;
    cr_assert_eq(group_on(store, &kept), 1);
    uint32_t before = kept.generation;
    link_cut(0, store, true);
    cr_assert_eq(put_block(handle, 0, 1), 0);
    cr_assert_eq(user_snapshot(0, "a", "one"), 0);
    gathering_run(8 * NS_PER_S);
    cr_expect_eq(copies_on(store, "snap/"), 0);
    link_cut(0, store, false);
    gathering_run(12 * NS_PER_S);
    cr_expect_eq(copies_on(store, "snap/"), 1);
    cr_assert_eq(group_on(store, &kept), 1);
    cr_expect_gt(kept.generation, before);
    for (uint32_t i = 0; i < kept.member_count; i++)
        cr_expect_eq(kept.members[i].state, METADATA_IN_SYNC);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(copied, what_is_closed_at_once_is_copied_before)
{
    unsigned other = 0;
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_snapshot(0, "a", "one"), 0);
    user_settle(0);
    unsigned store = (unsigned)stores_of(&other).members[0].store;
    cr_expect_eq(copies_on(store, "volume/"), 1);
    cr_expect_eq(copies_on(store, "snap/"), 1);
}

Test(copied, the_next_owner_overwrites_and_has_a_greater_stamp)
{
    unsigned other = 0;
    struct metadata_group kept;
    volume_begin();
    cr_assert_eq(user_close_volume(handle), 0);
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    gathering_run(8 * NS_PER_S);
    cr_expect_eq(group_on((unsigned)stores_of(&other).members[0].store, &kept), 2);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(copied, nothing_is_left_of_a_volume_that_was_deleted)
{
    unsigned other = 0;
    volume_begin();
    struct metadata_group group = stores_of(&other);
    cr_assert_eq(user_snapshot(0, "a", "one"), 0);
    gathering_run(8 * NS_PER_S);
    cr_assert_eq(user_snapshot_delete(0, "a", "one"), 0);
    cr_assert_eq(user_close_volume(handle), 0);
    cr_assert_eq(user_delete(0, "a"), 0);
    user_settle(0);
    for (uint32_t i = 0; i < group.member_count; i++) {
        unsigned store = (unsigned)group.members[i].store;
        cr_expect_eq(copies_on(store, "volume/"), 0);
        cr_expect_eq(copies_on(store, "group/"), 0);
        cr_expect_eq(copies_on(store, "map/"), 0);
        cr_expect_eq(copies_on(store, "snap/"), 0);
        cr_expect_eq(copies_on(store, "store/"), 1);
    }
}

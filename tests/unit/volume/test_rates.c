/* SPDX-License-Identifier: Apache-2.0 */
/* How fast a copy that was away is brought up to date. */
#include "gathering.h"

#define BLOCKS 600u /* 2.3 MiB, two in each MiB of the volume. */

static const struct catalog_create small = {.bytes = 4 * SEGMENT, .sector_bytes = 4096};

static struct catalog_handle *handle;

static void three_stores(void)
{
    gathering_open_stores(3);
    user_options(0, "n1", "gateway-a");
    cr_assert_eq(user_open(0), 0, "%s", base_last_error());
    cr_assert_eq(user_create(0, "a", &small), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(0, "a", &handle), 0, "%s", base_last_error());
    /* All of it in one group, or the first group has most: what is asked is of all. */
    cr_assert_eq(put_block(handle, 0, 1), 0);
    cr_assert_eq(volume_flush(handle), 0);
    gathering_run(2 * NS_PER_S);
    link_cut(0, 2, true);
    for (unsigned i = 0; i < BLOCKS; i++)
        cr_assert_eq(put_block(handle, i * MIB / 2, (uint8_t)(i + 2)), 0);
}

static void close_all(void)
{
    cr_expect_eq(user_close_volume(handle), 0);
    gathering_close();
}

TestSuite(rates, .init = three_stores, .fini = close_all, .timeout = 60);

static bool all_in_sync(void)
{
    struct metadata_group group;
    for (uint32_t id = 0; group_get(1, id, &group); id++) {
        for (unsigned i = 0; i < group.member_count; i++)
            if (group.members[i].state != METADATA_IN_SYNC)
                return false;
    }
    return true;
}

/* From when it is back. */
static uint64_t time_to_sync(void)
{
    uint64_t begin_ns = gathering.world.now_ns;
    link_cut(0, 2, false);
    while (!all_in_sync()) {
        gathering_run(20 * NS_PER_MS);
        cr_assert_lt(gathering.world.now_ns - begin_ns, 60 * NS_PER_S);
    }
    return gathering.world.now_ns - begin_ns;
}

Test(rates, without_a_limit_it_takes_as_long_as_it_takes)
{
    cr_expect_lt(time_to_sync(), NS_PER_S);
    cr_expect_eq(get_block(handle, (BLOCKS - 1) * MIB / 2), (uint8_t)(BLOCKS + 1));
}

/* A credit of 1 MiB, and the rest at 256 KiB a second. */
Test(rates, a_volume_is_copied_no_faster_than_its_limit)
{
    catalog_set_resync(catalog_of(0), 256 << 10);
    uint64_t took_ns = time_to_sync();
    cr_expect_gt(took_ns, 4 * NS_PER_S);
    cr_expect_lt(took_ns, 12 * NS_PER_S);
}

Test(rates, neither_are_all_volumes_of_an_engine)
{
    copies_engine_rate(gathering.users[0].copies, 256 << 10);
    cr_expect_gt(time_to_sync(), 4 * NS_PER_S);
}

Test(rates, a_limit_that_goes_is_felt_at_once)
{
    catalog_set_resync(catalog_of(0), 1 << 10);
    link_cut(0, 2, false);
    gathering_run(3 * NS_PER_S);
    cr_expect_not(all_in_sync());
    catalog_set_resync(catalog_of(0), 0);
    cr_expect_lt(time_to_sync(), NS_PER_S);
}

/* How long a write waits for a store that refuses connections. */
static uint64_t time_to_give_up(unsigned store)
{
    uint64_t begin_ns = gathering.world.now_ns;
    link_cut(0, store, true);
    cr_assert_eq(put_block(handle, 0, 99), 0);
    return gathering.world.now_ns - begin_ns;
}

static void two_of_three_are_in_sync_again(void)
{
    struct replica_options usual = {0};
    catalog_set_replica(catalog_of(0), &usual);
    (void)time_to_sync();
}

Test(rates, patience_that_is_set_is_that_of_open_volumes_too)
{
    struct replica_options patient = {.grace_ns = 3 * NS_PER_S, .copy_timeout_ns = 4 * NS_PER_S};
    two_of_three_are_in_sync_again();
    catalog_set_replica(catalog_of(0), &patient);
    uint64_t took_ns = time_to_give_up(2);
    cr_expect_geq(took_ns, 2900 * NS_PER_MS, "%d ms", (int)(took_ns / NS_PER_MS));
    two_of_three_are_in_sync_again();
    took_ns = time_to_give_up(2);
    cr_expect_lt(took_ns, 1500 * NS_PER_MS, "%d ms", (int)(took_ns / NS_PER_MS));
}

/* It waits already: the shorter time counts from when it began. */
Test(rates, who_waits_is_told)
{
    struct replica_options patient = {.grace_ns = 30 * NS_PER_S, .copy_timeout_ns = 40 * NS_PER_S};
    struct replica_options usual = {0};
    two_of_three_are_in_sync_again();
    catalog_set_replica(catalog_of(0), &patient);
    link_cut(0, 2, true);
    gathering_run(2 * NS_PER_S);
    catalog_set_replica(catalog_of(0), &usual);
    uint64_t begin_ns = gathering.world.now_ns;
    cr_assert_eq(put_block(handle, 0, 99), 0);
    cr_expect_lt(gathering.world.now_ns - begin_ns, NS_PER_S);
}

Test(rates, a_volume_is_closed_while_its_copies_wait_for_their_turn)
{
    catalog_set_resync(catalog_of(0), 1 << 10);
    link_cut(0, 2, false);
    gathering_run(3 * NS_PER_S);
    cr_expect_not(all_in_sync());
    cr_expect_eq(user_close_volume(handle), 0);
    cr_expect_eq(user_open_volume(0, "a", &handle), 0, "%s", base_last_error());
    catalog_set_resync(catalog_of(0), 0);
    gathering_run(2 * NS_PER_S);
    cr_expect(all_in_sync());
}

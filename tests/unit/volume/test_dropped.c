/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes and snapshots of a cluster that are deleted: what every store forgets, and when. */
#include "gathering.h"
#include "tree/tree.h"

static const struct catalog_create small = {.bytes = 4 * SEGMENT, .sector_bytes = 4096};

static struct catalog_handle *handle, *other;

static void a_volume(void)
{
    gathering_open_stores(3);
    user_options(0, "n1", "gateway-a");
    user_options(1, "n2", "gateway-b");
    cr_assert_eq(user_open(0), 0, "%s", base_last_error());
    cr_assert_eq(user_create(0, "a", &small), 0, "%s", base_last_error());
}

TestSuite(dropped, .init = a_volume, .fini = gathering_close, .timeout = 60);

static void write_and_close(uint8_t byte)
{
    cr_assert_eq(user_open_volume(0, "a", &handle), 0, "%s", base_last_error());
    cr_assert_eq(put_block(handle, 0, byte), 0);
    cr_assert_eq(user_close_volume(handle), 0);
}

/* It answers before all of it is gone. */
static bool forgotten(unsigned store)
{
    for (unsigned i = 0; i < 100 && store_role(store, 0) != PART_NEW; i++)
        gathering_run(100 * NS_PER_MS);
    return store_role(store, 0) == PART_NEW;
}

static bool gone(void)
{
    return keys_of(metadata_prefix(METADATA_VOLUME)) == 0 &&
           keys_of(metadata_prefix(METADATA_GROUP)) == 0 &&
           keys_of(metadata_prefix(METADATA_MAP)) == 0 &&
           keys_of(metadata_prefix(METADATA_SNAPSHOT)) == 0;
}

Test(dropped, what_was_never_opened_goes_at_once)
{
    cr_assert_eq(user_delete(0, "a"), 0, "%s", base_last_error());
    cr_assert(gone());
}

Test(dropped, every_store_forgets_a_volume)
{
    write_and_close(7);
    cr_assert_eq(store_role(1, 0), PART_IN_SYNC);
    cr_assert_eq(user_delete(0, "a"), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(0, "a", &handle), -ENOENT);
    user_settle(0);
    cr_assert(gone());
    for (unsigned i = 1; i <= 3; i++)
        cr_assert(forgotten(i), "store %u", i);
}

Test(dropped, a_store_that_is_away_forgets_it_when_it_is_back)
{
    write_and_close(7);
    link_cut(0, 2, true);
    cr_assert_eq(user_delete(0, "a"), 0);
    gathering_run(5 * NS_PER_S);
    cr_assert_not(gone());
    cr_assert(forgotten(1));
    cr_assert_eq(store_role(2, 0), PART_IN_SYNC);
    link_cut(0, 2, false);
    user_settle(0);
    cr_assert(gone());
    cr_assert(forgotten(2));
}

Test(dropped, whoever_opens_the_pool_next_goes_on_with_it)
{
    write_and_close(7);
    link_cut(0, 2, true);
    cr_assert_eq(user_delete(0, "a"), 0);
    gathering_run(NS_PER_S);
    cr_assert_eq(user_close(0), 0);
    cr_assert_not(gone());
    cr_assert_eq(user_open(1), 0);
    user_settle(1);
    cr_assert(gone());
    cr_assert(forgotten(2));
}

Test(dropped, a_store_that_left_the_pool_is_not_waited_for)
{
    write_and_close(7);
    link_cut(0, 2, true);
    cr_assert_eq(user_delete(0, "a"), 0);
    gathering_run(NS_PER_S);
    store_record_delete(2);
    user_settle(0);
    cr_assert(gone());
}

Test(dropped, a_store_that_was_a_member_once_forgets_it_too)
{
    struct metadata_group group;
    struct metadata_bytes value = {0};
    write_and_close(7);
    cr_assert(group_get(1, 0, &group));
    for (unsigned i = 0; i < 3; i++) {
        if (group.members[i].store == 3)
            group.members[i] = group.members[2];
    }
    group.member_count = 2;
    group.left[group.left_count++] = 3;
    cr_assert_eq(metadata_group_encode(&group, &value), 0);
    key_put(metadata_group_key(1, 0), &value);
    cr_assert_eq(user_delete(0, "a"), 0);
    user_settle(0);
    cr_assert(gone());
    cr_assert(forgotten(3));
}

Test(dropped, what_another_process_has_open_is_not_deleted)
{
    cr_assert_eq(user_open(1), 0);
    cr_assert_eq(user_open_volume(1, "a", &other), 0);
    cr_assert_eq(user_delete(0, "a"), -EBUSY);
    cr_assert_not_null(strstr(base_last_error(), "is open on node \"n2\""), "%s",
                       base_last_error());
    cr_assert_eq(user_snapshot(0, "a", "s"), -EBUSY);
    cr_assert_eq(user_close_volume(other), 0);
    cr_assert_eq(user_delete(0, "a"), 0);
    user_settle(0);
    cr_assert(gone());
}

static uint64_t cut_now(void)
{
    struct metadata_volume record;
    cr_assert(volume_get(1, &record));
    metadata_volume_done(&record);
    return record.sequence_end;
}

Test(dropped, a_snapshot_keeps_what_it_shows_and_every_copy_drops_it_with_it)
{
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    cr_assert_eq(put_block(handle, 0, 7), 0);
    uint64_t before = store_shows(1, 0, 0, VIEW_HEAD);
    cr_assert_eq(user_snapshot(0, "a", "s"), 0, "%s", base_last_error());
    cr_assert_eq(put_block(handle, 0, 8), 0);
    uint64_t after = store_shows(1, 0, 0, VIEW_HEAD);
    cr_assert_lt(before, after);
    for (unsigned i = 1; i <= 3; i++)
        cr_assert_eq(store_shows(i, 0, 0, before + 1), before, "store %u", i);
    cr_assert_eq(user_snapshot_delete(0, "a", "s"), 0, "%s", base_last_error());
    user_settle(0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_SNAPSHOT)), 0);
    for (unsigned i = 1; i <= 3; i++)
        cr_assert_eq(store_shows(i, 0, 0, before + 1), after, "store %u", i);
    cr_assert_eq(get_block(handle, 0), 8);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(dropped, of_two_snapshots_the_other_stays)
{
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    cr_assert_eq(put_block(handle, 0, 1), 0);
    cr_assert_eq(user_snapshot(0, "a", "s"), 0);
    cr_assert_eq(put_block(handle, 0, 2), 0);
    uint64_t second = store_shows(2, 0, 0, VIEW_HEAD);
    cr_assert_eq(user_snapshot(0, "a", "t"), 0);
    cr_assert_eq(put_block(handle, 0, 3), 0);
    cr_assert_eq(user_snapshot_delete(0, "a", "s"), 0);
    cr_assert_eq(user_snapshot(0, "a", "u"), 0, "one is taken while another is dropped");
    cr_assert_eq(put_block(handle, 0, 4), 0);
    user_settle(0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_SNAPSHOT)), 2);
    cr_assert_eq(store_shows(2, 0, 0, second + 1), second);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(dropped, a_snapshot_of_a_volume_that_nobody_has_open_opens_it_meanwhile)
{
    struct metadata_volume record;
    write_and_close(7);
    cr_assert_eq(user_snapshot(0, "a", "s"), 0, "%s", base_last_error());
    cr_assert_eq(keys_of(metadata_prefix(METADATA_SNAPSHOT)), 1);
    cr_assert_eq(user_snapshot(0, "a", "s"), -EEXIST);
    cr_assert(volume_get(1, &record));
    metadata_volume_done(&record);
    cr_assert_eq(record.owner_session, 0);
    cr_assert_eq(record.epoch, 3);
    cr_assert_lt(cut_now(), 16);
    cr_assert_eq(user_delete(0, "a"), -EBUSY, "it has a snapshot");
}

Test(dropped, a_snapshot_deleted_while_nobody_has_the_volume_goes_when_it_is_opened)
{
    write_and_close(7);
    cr_assert_eq(user_snapshot(0, "a", "s"), 0);
    cr_assert_eq(user_snapshot_delete(0, "a", "s"), 0, "%s", base_last_error());
    user_settle(0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_SNAPSHOT)), 1);
    write_and_close(8);
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    user_settle(0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_SNAPSHOT)), 0);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(dropped, a_copy_that_is_away_while_a_snapshot_goes_is_waited_for_or_stale)
{
    cr_assert_eq(user_open_volume(0, "a", &handle), 0);
    cr_assert_eq(put_block(handle, 0, 1), 0);
    cr_assert_eq(user_snapshot(0, "a", "s"), 0);
    cr_assert_eq(put_block(handle, 0, 2), 0);
    link_cut(0, 3, true);
    cr_assert_eq(user_snapshot_delete(0, "a", "s"), 0);
    cr_assert_eq(put_block(handle, 0, 3), 0);
    user_settle(0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_SNAPSHOT)), 0);
    link_cut(0, 3, false);
    gathering_run(8 * NS_PER_S);
    cr_assert_eq(store_shows(3, 0, 0, VIEW_HEAD), store_shows(1, 0, 0, VIEW_HEAD));
    cr_assert_eq(user_close_volume(handle), 0);
}

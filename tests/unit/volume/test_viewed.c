/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of a cluster's volumes, open by themselves: read by whoever likes. */
#include "gathering.h"

static void three_stores(void)
{
    gathering_open_stores(3);
    user_options(0, "n1", "gateway-a");
    user_options(1, "n2", "gateway-b");
    cr_assert_eq(user_open(0), 0, "%s", base_last_error());
    cr_assert_eq(user_open(1), 0, "%s", base_last_error());
}

TestSuite(viewed, .init = three_stores, .fini = gathering_close, .timeout = 15);

static const struct catalog_create small = {.bytes = 4 * SEGMENT, .sector_bytes = 4096};

static struct catalog_handle *owner, *reader;

/* Volume "a" is open in the first process; snapshot "s" shows 7 and 8, and it shows 9 by now. */
static void a_with_s(void)
{
    cr_assert_eq(user_create(0, "a", &small), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(0, "a", &owner), 0, "%s", base_last_error());
    cr_assert_eq(put_block(owner, 0, 7), 0);
    cr_assert_eq(put_block(owner, 3 * SEGMENT, 8), 0);
    cr_assert_eq(user_snapshot(0, "a", "s"), 0, "%s", base_last_error());
    cr_assert_eq(put_block(owner, 0, 9), 0);
    cr_assert_eq(put_block(owner, 4096, 9), 0);
}

static void reader_sees_s(void)
{
    cr_assert_eq(get_block(reader, 0), 7);
    cr_assert_eq(get_block(reader, 3 * SEGMENT), 8);
    cr_assert_eq(get_block(reader, 4096), 0);
    cr_assert_eq(get_block(reader, SEGMENT), 0);
}

Test(viewed, a_snapshot_is_read_while_another_process_writes_the_volume)
{
    a_with_s();
    cr_assert_eq(user_open_volume(1, "a@s", &reader), -EROFS);
    cr_assert_eq(user_read_volume(1, "a@s", &reader), 0, "%s", base_last_error());
    reader_sees_s();
    for (unsigned i = 0; i < 20; i++)
        cr_assert_eq(put_block(owner, i * 4096ull, (uint8_t)(i + 20)), 0);
    reader_sees_s();
    cr_assert_eq(volume_flush(reader), 0);
    cr_assert_str_eq(catalog_handle_name(reader), "a@s");
    cr_assert_eq(user_close_volume(reader), 0);
    cr_assert_eq(user_close_volume(owner), 0);
}

Test(viewed, a_snapshot_is_read_when_nobody_has_the_volume)
{
    a_with_s();
    cr_assert_eq(user_close_volume(owner), 0);
    cr_assert_eq(user_read_volume(1, "a@s", &reader), 0, "%s", base_last_error());
    reader_sees_s();
    cr_assert_eq(user_open_volume(0, "a", &owner), 0, "%s", base_last_error());
    cr_assert_eq(put_block(owner, 3 * SEGMENT, 3), 0);
    reader_sees_s();
    cr_assert_eq(user_close_volume(owner), 0);
    cr_assert_eq(user_close_volume(reader), 0);
}

Test(viewed, its_owner_reads_it_beside_the_volume)
{
    a_with_s();
    cr_assert_eq(user_read_volume(0, "a@s", &reader), 0, "%s", base_last_error());
    reader_sees_s();
    cr_assert_eq(get_block(owner, 0), 9);
    cr_assert_eq(user_snapshot_delete(0, "a", "s"), -EBUSY);
    cr_assert_eq(user_close_volume(reader), 0);
    cr_assert_eq(user_snapshot_delete(0, "a", "s"), 0, "%s", base_last_error());
    cr_assert_eq(user_close_volume(owner), 0);
}

Test(viewed, a_snapshot_that_another_process_reads_is_not_deleted)
{
    a_with_s();
    cr_assert_eq(user_read_volume(1, "a@s", &reader), 0, "%s", base_last_error());
    cr_assert_eq(user_snapshot_delete(0, "a", "s"), -EBUSY);
    cr_assert_not_null(strstr(base_last_error(), "is open on node \"n2\" (gateway-b)"), "%s",
                       base_last_error());
    reader_sees_s();
    cr_assert_eq(user_close_volume(reader), 0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_READER)), 0);
    cr_assert_eq(user_snapshot_delete(0, "a", "s"), 0, "%s", base_last_error());
    cr_assert_eq(user_read_volume(1, "a@s", &reader), -ENOENT);
    cr_assert_eq(user_close_volume(owner), 0);
}

/* Whoever comes between the look and the deletion is seen all the same. */
Test(viewed, who_comes_while_it_is_being_deleted_keeps_it_or_is_refused)
{
    for (unsigned turns = 0; turns < 24; turns++) {
        if (turns == 0)
            a_with_s();
        else
            cr_assert_eq(user_snapshot(0, "a", "s"), 0, "%s", base_last_error());
        int deleted;
        user_begin_delete(0, "a", "s", &deleted);
        gathering_turns(turns);
        int result = user_read_volume(1, "a@s", &reader);
        while (deleted == 1)
            gathering_turn();
        if (result == 0) {
            cr_assert_eq(deleted, -EBUSY, "%u: %d", turns, deleted);
            cr_assert_eq(user_close_volume(reader), 0);
            cr_assert_eq(user_snapshot_delete(0, "a", "s"), 0);
        } else {
            cr_assert_eq(deleted, 0, "%u: %d", turns, deleted);
            cr_assert_eq(result, -ENOENT, "%u: %d", turns, result);
        }
    }
    cr_assert_eq(user_close_volume(owner), 0);
}

Test(viewed, it_is_read_from_who_is_there)
{
    a_with_s();
    link_cut(1, 1, true);
    cr_assert_eq(user_read_volume(1, "a@s", &reader), 0, "%s", base_last_error());
    reader_sees_s();
    link_cut(1, 2, true);
    reader_sees_s();
    link_cut(1, 1, false);
    link_cut(1, 3, true);
    reader_sees_s();
    cr_assert_eq(user_close_volume(reader), 0);
    cr_assert_eq(user_close_volume(owner), 0);
}

/* A copy that was away when the snapshot was taken would show what was there before. */
Test(viewed, a_copy_that_was_away_is_not_asked_until_it_has_it)
{
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &owner), 0);
    cr_assert_eq(put_block(owner, 0, 1), 0);
    cr_assert_eq(volume_flush(owner), 0);
    link_cut(0, 3, true);
    cr_assert_eq(put_block(owner, 0, 7), 0);
    cr_assert_eq(put_block(owner, 3 * SEGMENT, 8), 0);
    cr_assert_eq(user_snapshot(0, "a", "s"), 0, "%s", base_last_error());
    cr_assert_eq(put_block(owner, 0, 9), 0);
    link_cut(1, 1, true);
    link_cut(1, 2, true);
    cr_assert_eq(user_read_volume(1, "a@s", &reader), 0, "%s", base_last_error());
    begin_get(reader, 0);
    gathering_run(2 * NS_PER_S);
    cr_assert(gathering.waiting, "it was read as %d", got_block());
    link_cut(0, 3, false); /* It catches up. */
    for (unsigned i = 0; gathering.waiting && i < 40; i++)
        gathering_run(NS_PER_S / 2);
    cr_assert_not(gathering.waiting);
    cr_assert_eq(got_block(), 7);
    reader_sees_s();
    cr_assert_eq(user_close_volume(reader), 0);
    cr_assert_eq(user_close_volume(owner), 0);
}

/* It was in sync when the records were read: what it shows of the snapshot is right for ever. */
Test(viewed, a_copy_that_fell_behind_since_shows_it_right)
{
    a_with_s();
    cr_assert_eq(user_read_volume(1, "a@s", &reader), 0, "%s", base_last_error());
    reader_sees_s();
    link_cut(0, 3, true);
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(put_block(owner, i * 4096ull, 30), 0);
    link_cut(1, 1, true);
    link_cut(1, 2, true);
    reader_sees_s();
    cr_assert_eq(user_close_volume(reader), 0);
    cr_assert_eq(user_close_volume(owner), 0);
}

/* While it catches up it may have blocks set aside: it refuses, and the records say who else. */
Test(viewed, a_copy_that_catches_up_refuses_and_another_is_asked)
{
    a_with_s();
    cr_assert_eq(user_read_volume(1, "a@s", &reader), 0, "%s", base_last_error());
    reader_sees_s();
    link_cut(0, 3, true);
    cr_assert_eq(put_block(owner, 0, 30), 0);
    for (unsigned i = 0; i < 20; i++) {
        link_cut(0, 3, i % 2 == 0);
        gathering_turns(13);
        cr_assert_eq(put_block(owner, 4096ull * (i + 1), (uint8_t)i), 0);
        reader_sees_s();
    }
    cr_assert_eq(user_close_volume(reader), 0);
    cr_assert_eq(user_close_volume(owner), 0);
}

Test(viewed, a_reader_whose_session_ran_out_is_told_nothing)
{
    a_with_s();
    cr_assert_eq(user_read_volume(1, "a@s", &reader), 0, "%s", base_last_error());
    reader_sees_s();
    lease_revoke(metadata_prefix(METADATA_READER));
    gathering_run(20 * NS_PER_S);
    cr_assert_eq(get_block(reader, 0), IOMESH_FENCED);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_READER)), 0);
    static struct catalog_handle *again;
    cr_assert_eq(user_read_volume(1, "a@s", &again), 0, "%s", base_last_error());
    cr_assert_eq(get_block(again, 0), 7);
    cr_assert_eq(user_close_volume(reader), 0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_READER)), 1);
    cr_assert_eq(get_block(again, 0), 7);
    cr_assert_eq(user_close_volume(again), 0);
    cr_assert_eq(user_close_volume(owner), 0);
}

/* Its clock has passed the bound, and it has not heard yet that its key is gone. */
Test(viewed, nothing_is_answered_behind_the_end_of_the_lease)
{
    a_with_s();
    cr_assert_eq(user_read_volume(1, "a@s", &reader), 0, "%s", base_last_error());
    reader_sees_s();
    gathering.meta_stopped = true;
    gathering_run(6 * NS_PER_S);
    begin_get(reader, 0);
    gathering_turns(2000);
    cr_assert(gathering.waiting, "it was read as %d", got_block());
    gathering.meta_stopped = false;
    while (gathering.waiting)
        gathering_turn();
    cr_assert_eq(user_close_volume(reader), 0);
    cr_assert_eq(user_close_volume(owner), 0);
}

/* --- What a store refuses --------------------------------------------------------------------- */

static int store_reads(unsigned store, uint64_t view, uint32_t generation)
{
    static uint8_t data[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
    struct part_request request = {
        .kind = PART_READ, .view = view, .generation = generation, .count = 1, .data = data};
    return store_asked(store, &request);
}

/* The cut of the only snapshot of volume 1. */
static uint64_t cut_of_s(void)
{
    struct metadata_snapshot snapshot;
    for (uint64_t cut = 1; cut < 100; cut++) {
        if (snapshot_get(1, cut, &snapshot))
            return cut;
    }
    cr_assert_fail("there is none");
    return 0;
}

Test(viewed, a_store_shows_nothing_but_cuts_to_who_does_not_coordinate)
{
    a_with_s();
    uint64_t cut = cut_of_s();
    cr_assert_eq(store_reads(1, cut, 1), 0);
    cr_assert_eq(store_reads(1, VIEW_HEAD, 1), IOMESH_FENCED);
    cr_assert_eq(user_close_volume(owner), 0);
}

/* Segments may have left it since. */
Test(viewed, a_store_refuses_who_read_an_older_record_than_it_was_told_of)
{
    a_with_s();
    uint64_t cut = cut_of_s();
    cr_assert_eq(store_reads(1, cut, 1), 0);
    link_cut(0, 3, true);
    cr_assert_eq(put_block(owner, 0, 30), 0);
    cr_assert_eq(put_block(owner, 0, 31), 0);
    cr_assert_eq(store_reads(1, cut, 1), IOMESH_CONFLICT);
    cr_assert_eq(store_reads(1, cut, 2), 0);
    cr_assert_eq(store_reads(3, cut, 1), 0);
    cr_assert_eq(user_close_volume(owner), 0);
}

Test(viewed, a_store_that_catches_up_refuses)
{
    a_with_s();
    uint64_t cut = cut_of_s();
    link_cut(0, 3, true);
    cr_assert_eq(put_block(owner, 0, 30), 0);
    link_cut(0, 3, false);
    unsigned caught = 0;
    for (unsigned turns = 0; turns < 4000 && caught < 3; turns++) {
        gathering_turns(1);
        if (store_role(3, 0) != PART_CATCHING_UP)
            continue;
        int result = store_reads(3, cut, UINT32_MAX);
        if (store_role(3, 0) != PART_CATCHING_UP)
            continue;
        cr_assert_eq(result, IOMESH_CONFLICT, "%d", result);
        caught++;
    }
    cr_assert_gt(caught, 0, "it never caught up");
    cr_assert_eq(user_close_volume(owner), 0);
}

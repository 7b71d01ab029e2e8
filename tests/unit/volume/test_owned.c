/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes of a cluster that are open: who owns them, who takes them, what their copies ask. */
#include "gathering.h"

static void three_stores(void)
{
    gathering_open_stores(3);
    user_options(0, "n1", "gateway-a");
    user_options(1, "n2", "gateway-b");
    cr_assert_eq(user_open(0), 0, "%s", base_last_error());
}

TestSuite(owned, .init = three_stores, .fini = gathering_close, .timeout = 60);

static const struct catalog_create small = {.bytes = 4 * SEGMENT, .sector_bytes = 4096};

static struct catalog_handle *first, *second;
static struct metadata_group group;

static struct metadata_volume record_now(void)
{
    struct metadata_volume record;
    cr_assert(volume_get(1, &record));
    metadata_volume_done(&record);
    return record;
}

Test(owned, what_is_written_is_read_and_the_groups_were_born)
{
    cr_assert_eq(user_create(0, "a", &small), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(0, "a", &first), 0, "%s", base_last_error());
    cr_assert(group_get(1, 0, &group));
    cr_assert_eq(group.generation, 1);
    cr_assert_eq(put_block(first, 0, 7), 0);
    cr_assert_eq(put_block(first, 3 * SEGMENT, 8), 0);
    cr_assert_eq(volume_flush(first), 0);
    cr_assert_eq(get_block(first, 0), 7);
    cr_assert_eq(get_block(first, 3 * SEGMENT), 8);
    cr_assert_eq(get_block(first, SEGMENT), 0);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(owned, closing_gives_back_the_volume_and_the_sequences_that_were_not_used)
{
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    cr_assert_eq(record_now().sequence_end, 65);
    cr_assert_neq(record_now().owner_session, 0);
    cr_assert(record_now().unclean);
    cr_assert_eq(put_block(first, 0, 7), 0);
    cr_assert_eq(user_close_volume(first), 0);
    cr_assert_lt(record_now().sequence_end, 5);
    cr_assert_eq(record_now().owner_session, 0);
    cr_assert_eq(record_now().epoch, 1);
    cr_assert_not(record_now().unclean);
}

Test(owned, another_process_finds_what_the_first_wrote_when_it_has_closed)
{
    cr_assert_eq(user_open(1), 0);
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    cr_assert_eq(put_block(first, 4096, 9), 0);
    cr_assert_eq(user_open_volume(1, "a", &second), -EBUSY);
    cr_assert_not_null(strstr(base_last_error(), "is open on node \"n1\" (gateway-a)"), "%s",
                       base_last_error());
    cr_assert_eq(user_close_volume(first), 0);
    cr_assert_eq(user_open_volume(1, "a", &second), 0, "%s", base_last_error());
    cr_assert_eq(get_block(second, 4096), 9);
    cr_assert_eq(record_now().epoch, 2);
    cr_assert_eq(user_close_volume(second), 0);
}

Test(owned, more_sequences_than_a_lot_are_written)
{
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    for (unsigned i = 0; i < 200; i++)
        cr_assert_eq(put_block(first, (i % 50) * 4096ull, (uint8_t)i), 0, "%u", i);
    cr_assert_gt(record_now().sequence_end, 200);
    cr_assert_eq(get_block(first, 0), 150);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(owned, two_handles_share_a_volume)
{
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    cr_assert_eq(user_open_volume(0, "a", &second), 0);
    cr_assert_eq(record_now().epoch, 1);
    cr_assert_eq(put_block(first, 0, 3), 0);
    cr_assert_eq(get_block(second, 0), 3);
    cr_assert_eq(user_close_volume(first), 0);
    cr_assert_eq(get_block(second, 0), 3);
    cr_assert_eq(user_close_volume(second), 0);
}

Test(owned, who_is_forced_out_answers_nothing_any_more)
{
    cr_assert_eq(user_open(1), 0);
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    cr_assert_eq(put_block(first, 0, 3), 0);
    cr_assert_eq(user_force_volume(1, "a", &second), 0, "%s", base_last_error());
    cr_assert_eq(get_block(second, 0), 3);
    cr_assert_eq(put_block(first, 0, 4), IOMESH_FENCED);
    cr_assert_eq(get_block(first, 0), IOMESH_FENCED);
    cr_assert_eq(get_block(second, 0), 3);
    cr_assert_eq(user_close_volume(first), 0);
    cr_assert_eq(record_now().epoch, 2);
    cr_assert_neq(record_now().owner_session, 0);
    cr_assert_eq(user_close_volume(second), 0);
}

Test(owned, who_is_forced_out_and_asks_nothing_finds_out_by_its_lease)
{
    cr_assert_eq(user_open(1), 0);
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_create(0, "b", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    struct catalog_handle *other;
    cr_assert_eq(user_open_volume(0, "b", &other), 0);
    for (unsigned i = 1; i <= 3; i++)
        link_cut(0, i, true); /* It hears nothing of the stores. */
    cr_assert_eq(user_force_volume(1, "a", &second), 0, "%s", base_last_error());
    gathering_run(2 * NS_PER_S);
    cr_assert_not_null(strstr(gathering.users[0].said, "\"a\": this process has it no more"), "%s",
                       gathering.users[0].said);
    for (unsigned i = 1; i <= 3; i++)
        link_cut(0, i, false);
    gathering_run(8 * NS_PER_S);
    cr_assert_eq(put_block(other, 0, 1), 0, "the other volume is still its own");
    cr_assert_eq(user_close_volume(other), 0);
    cr_assert_eq(user_close_volume(first), 0);
    cr_assert_eq(user_close_volume(second), 0);
}

Test(owned, a_process_with_the_same_node_and_address_takes_its_volumes_at_once)
{
    user_options(2, "n1", "gateway-a");
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    cr_assert_eq(put_block(first, 0, 3), 0);
    cr_assert_eq(user_open(2), 0);
    uint64_t began_ns = gathering.world.now_ns;
    cr_assert_eq(user_open_volume(2, "a", &second), 0, "%s", base_last_error());
    cr_assert_eq(get_block(second, 0), 3);
    cr_assert_lt(gathering.world.now_ns - began_ns, NS_PER_S / 2);
    cr_assert_eq(user_close_volume(second), 0);
    /* Its sequences are not given back, whether it has heard by then whose they are. */
    int result = user_close_volume(first);
    cr_assert(result == 0 || result == IOMESH_FENCED, "%d", result);
    cr_assert_neq(record_now().epoch, 1);
}

static void session_revoke(void)
{
    lease_revoke(metadata_session_key(record_now().owner_session));
}

Test(owned, a_session_that_ran_out_is_taken_up_again_with_what_nobody_took)
{
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    cr_assert_eq(put_block(first, 0, 3), 0);
    uint64_t epoch = record_now().epoch;
    cr_assert_eq(user_open(1), 0);
    for (unsigned times = 0; times < 3; times++) {
        session_revoke();
        gathering_run(3 * NS_PER_S);
        cr_assert_eq(get_block(first, 0), 3);
        cr_assert_eq(put_block(first, 0, 3), 0);
        cr_assert_eq(record_now().epoch, epoch, "nobody else had it");
        cr_assert_eq(user_open_volume(1, "a", &second), -EBUSY);
    }
    cr_assert_eq(user_close_volume(first), 0);
    cr_assert_eq(record_now().owner_session, 0);
    cr_assert_eq(user_open_volume(1, "a", &second), 0, "%s", base_last_error());
    cr_assert_eq(get_block(second, 0), 3);
    cr_assert_eq(user_close_volume(second), 0);
}

Test(owned, what_was_taken_while_the_session_had_run_out_is_fenced_and_the_rest_goes_on)
{
    struct catalog_handle *other;
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_create(0, "b", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    cr_assert_eq(user_open_volume(0, "b", &other), 0);
    cr_assert_eq(put_block(first, 0, 3), 0);
    cr_assert_eq(put_block(other, 0, 5), 0);
    cr_assert_eq(user_open(1), 0);
    session_revoke();
    cr_assert_eq(user_open_volume(1, "a", &second), 0, "%s", base_last_error());
    cr_assert_eq(put_block(second, 0, 4), 0);
    gathering_run(3 * NS_PER_S);
    cr_assert_eq(get_block(first, 0), IOMESH_FENCED);
    cr_assert_eq(put_block(first, 0, 6), IOMESH_FENCED);
    cr_assert_eq(get_block(second, 0), 4);
    cr_assert_eq(get_block(other, 0), 5);
    cr_assert_eq(put_block(other, 0, 7), 0);
    cr_assert_eq(user_close_volume(first), 0);
    cr_assert_eq(user_close_volume(second), 0);
    cr_assert_eq(user_close_volume(other), 0);
}

/* Its map is of before. */
Test(owned, what_was_resized_while_the_session_had_run_out_is_fenced)
{
    cr_assert_eq(user_open(1), 0);
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    cr_assert_eq(put_block(first, 0, 3), 0);
    session_revoke();
    cr_assert_eq(user_resize(1, "a", 100 * SEGMENT, false), 0, "%s", base_last_error());
    cr_assert_eq(record_now().owner_session, 0);
    gathering_run(3 * NS_PER_S);
    cr_assert_eq(get_block(first, 0), IOMESH_FENCED);
    cr_assert_eq(user_close_volume(first), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0, "%s", base_last_error());
    cr_assert_eq(get_block(first, 0), 3);
    cr_assert_eq(put_block(first, 99 * SEGMENT, 4), 0);
    cr_assert_eq(get_block(first, 99 * SEGMENT), 4);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(owned, what_was_resized_while_its_opening_waited_is_opened_as_it_is_then)
{
    cr_assert_eq(user_open(1), 0);
    cr_assert_eq(user_create(0, "a", &small), 0);
    for (unsigned i = 1; i <= 3; i++)
        link_cut(0, i, true);
    user_begin_open(0, "a");
    gathering_run(NS_PER_S);
    cr_assert(gathering.waiting, "no copy can be reached");
    session_revoke();
    bool waiting = gathering.waiting;
    cr_assert_eq(user_resize(1, "a", 100 * SEGMENT, false), 0, "%s", base_last_error());
    gathering.waiting = waiting && gathering.opened == NULL;
    gathering_run(3 * NS_PER_S);
    for (unsigned i = 1; i <= 3; i++)
        link_cut(0, i, false);
    gathering_run(3 * NS_PER_S);
    first = gathering.opened;
    if (first == NULL)
        cr_assert_eq(user_open_volume(0, "a", &first), 0, "%s", base_last_error());
    cr_assert_eq(volume_bytes(catalog_handle_volume(first)), 100 * SEGMENT);
    cr_assert_eq(put_block(first, 99 * SEGMENT, 4), 0);
    cr_assert_eq(get_block(first, 99 * SEGMENT), 4);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(owned, a_copy_that_is_away_is_stale_in_the_metadata_and_why_and_comes_back)
{
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    cr_assert_eq(put_block(first, 0, 3), 0);
    link_cut(0, 2, true);
    cr_assert_eq(put_block(first, 0, 4), 0);
    cr_assert(group_get(1, 0, &group));
    cr_assert_eq(group.generation, 2);
    for (unsigned i = 0; i < 3; i++) {
        bool away = group.members[i].store == 2;
        cr_assert_eq(group.members[i].state, away ? METADATA_STALE : METADATA_IN_SYNC);
        cr_assert_eq(group.members[i].reason,
                     away ? METADATA_REASON_REFUSED : METADATA_REASON_NONE);
    }
    link_cut(0, 2, false);
    gathering_run(8 * NS_PER_S);
    cr_assert(group_get(1, 0, &group));
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(group.members[i].state, METADATA_IN_SYNC);
    cr_assert_eq(get_block(first, 0), 4);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(owned, a_volume_opens_with_one_of_three_stores_away)
{
    cr_assert_eq(user_create(0, "a", &small), 0);
    link_cut(0, 3, true);
    cr_assert_eq(user_open_volume(0, "a", &first), 0, "%s", base_last_error());
    cr_assert_eq(put_block(first, 0, 3), 0);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(owned, closing_the_pool_ends_the_waiting_for_stores_that_are_away)
{
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    cr_assert_eq(user_close_volume(first), 0);
    for (unsigned i = 1; i <= 3; i++)
        link_cut(0, i, true);
    gathering.opened = first;
    user_begin_open(0, "a");
    gathering_run(3 * NS_PER_S);
    cr_assert(gathering.waiting);
    cr_assert_eq(user_close(0), 0);
    cr_assert_null(gathering.opened);
}

Test(owned, what_its_own_session_left_behind_it_takes_again)
{
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    cr_assert_eq(put_block(first, 0, 3), 0);
    cr_assert_eq(user_force_volume(0, "a", &second), 0);
    cr_assert_eq(get_block(second, 0), 3);
    cr_assert_eq(user_close_volume(first), 0);
    cr_assert_eq(user_close_volume(second), 0);
}

static unsigned copies_told, copies_in_sync;

static void copy_told(void *context, const struct catalog_copy *copy)
{
    (void)context;
    copies_told++;
    copies_in_sync += copy->state == METADATA_IN_SYNC ? 1 : 0;
    cr_assert_eq(copy->state == METADATA_IN_SYNC, copy->store != 2);
    cr_assert_eq(copy->reason, copy->store == 2 ? METADATA_REASON_REFUSED : METADATA_REASON_NONE);
}

static void copies_ask(unsigned user, const char *name, int expected)
{
    copies_told = copies_in_sync = 0;
    gathering.waiting = true;
    cr_assert_eq(
        gathering_wait(catalog_copies(catalog_of(user), name, copy_told, gathering_ended, NULL)),
        expected);
}

Test(owned, how_its_copies_are_is_told_to_whoever_asks)
{
    cr_assert_eq(user_open(1), 0);
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &first), 0);
    link_cut(0, 2, true);
    cr_assert_eq(put_block(first, 0, 4), 0);
    for (unsigned i = 0; i < 2; i++) {
        copies_ask(i, "a", 0);
        cr_assert_eq(copies_told, 3);
        cr_assert_eq(copies_in_sync, 2);
        copies_ask(i, "b", -ENOENT);
    }
    cr_assert_eq(user_close_volume(first), 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Copies that were away: how they come back, and what is durable where. */
#include "unit/replica/bench.h"

/* Two in sync, the third back and asked to set aside. */
static void begin_catching(void)
{
    begin("IIs", 0);
    for (uint8_t copy = 0; copy < COPIES; copy++)
        fence(copy, 900, false);
    look();
    replica_reconciled(&replica, last[REPLICA_DO_RECONCILE].attempt, true, 1000, now);
    tell_role(0, REPLICA_IN_SYNC);
    tell_role(1, REPLICA_IN_SYNC);
    look();
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 1);
    cr_assert_eq(last[REPLICA_DO_TRANSACT].record.members[2].state, REPLICA_CATCHING_UP);
    commit();
    look();
    cr_assert_eq(counts[REPLICA_DO_ROLE], 1);
    cr_assert_eq(last[REPLICA_DO_ROLE].role, REPLICA_CATCHING_UP);
    cr_assert_eq(last[REPLICA_DO_ROLE].generation, 5);
}

static void answer_role(uint32_t generation, uint64_t watermark)
{
    struct replica_part part = {
        .generation = generation, .role = REPLICA_CATCHING_UP, .watermark = watermark, .boot = 1};
    replica_role_told(&replica, 2, &part, now);
    look();
}

static void seal(uint64_t set_aside)
{
    replica_resynced(&replica, 2, replica.copies[2].attempt, true, now);
    look();
    cr_assert_eq(counts[REPLICA_DO_FLUSH], 1);
    replica_flushed(&replica, 2, last[REPLICA_DO_FLUSH].token, replica.generation, set_aside, now);
    look();
}

Test(catching, the_list_is_asked_for_only_after_the_role_was_answered)
{
    begin_catching();
    struct replica_write write;
    write_to(&write, 1001);
    cr_assert_eq(sent_to, 3);
    cr_assert_eq(counts[REPLICA_DO_RESYNC], 0);
    answer_role(5, 640);
    cr_assert_eq(counts[REPLICA_DO_RESYNC], 1);
    cr_assert_eq(last[REPLICA_DO_RESYNC].above, 640);
    cr_assert_eq(sent_to, 4, "and it gets what is under way");
    told(&write, 0);
    told(&write, 1);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 0, "and must have it");
    told(&write, 2);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 1);
}

Test(catching, an_answer_of_an_earlier_generation_counts_for_nothing)
{
    begin_catching();
    answer_role(4, 640);
    cr_assert_eq(counts[REPLICA_DO_RESYNC], 0);
    cr_assert_eq(replica.copies[2].catches, REPLICA_ASKED);
}

Test(catching, an_older_attempt_to_copy_counts_for_nothing)
{
    begin_catching();
    answer_role(5, 640);
    replica_resynced(&replica, 2, last[REPLICA_DO_RESYNC].attempt - 1, true, now);
    cr_assert_eq(replica.copies[2].catches, REPLICA_COPYING);
}

Test(catching, a_copy_with_blocks_set_aside_is_not_called_in_sync)
{
    begin_catching();
    answer_role(5, 640);
    seal(1);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 0);
    cr_assert_eq(counts[REPLICA_DO_RESYNC], 1);
    seal(0);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 1);
    cr_assert_eq(last[REPLICA_DO_TRANSACT].record.members[2].state, REPLICA_IN_SYNC);
    cr_assert_eq(replica_in_sync(&replica), 3);
    commit();
    look();
    cr_assert_eq(replica_in_sync(&replica), 7);
    cr_assert_eq(last[REPLICA_DO_ROLE].role, REPLICA_IN_SYNC);
    cr_assert_eq(replica_read_choose(&replica, 2, 0) == 2, false, "before it confirmed");
    tell_role(2, REPLICA_IN_SYNC);
    cr_assert_eq(replica_read_choose(&replica, 2, 0), 2);
}

Test(catching, what_was_acknowledged_before_it_came_back_counts_for_nothing)
{
    open_all();
    struct replica_write write;
    write_to(&write, 1001);
    told(&write, 2);
    told(&write, 1);
    replica_disconnected(&replica, 2, now);
    pass(300);
    commit();
    replica_connected(&replica, 2, 1, now);
    pass(200);
    commit();
    look();
    answer_role(6, 900);
    cr_assert_eq(sent_to & 4, 4);
    replica_write_told(&replica, &write, 2, 4, REPLICA_TOLD_DONE, now);
    told(&write, 0);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 0);
    told(&write, 2);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 1);
}

Test(catching, a_source_that_goes_is_replaced)
{
    begin_catching();
    answer_role(5, 640);
    uint8_t source = last[REPLICA_DO_RESYNC].source;
    uint32_t attempt = last[REPLICA_DO_RESYNC].attempt;
    replica_resynced(&replica, 2, attempt, false, now);
    replica_failed(&replica, source, now);
    pass(200);
    cr_assert_eq(counts[REPLICA_DO_RESYNC], 1);
    cr_assert_eq(last[REPLICA_DO_RESYNC].source, 1 - source);
    cr_assert_neq(last[REPLICA_DO_RESYNC].attempt, attempt);
}

static void flush_all(struct replica_flush *flush)
{
    *flush = (struct replica_flush){0};
    replica_flush_start(&replica, flush, now);
    struct replica_action action;
    uint32_t done = 0;
    while (replica_next(&replica, now, &action)) {
        if (action.kind == REPLICA_DO_FLUSH)
            replica_flushed(&replica, action.copy, action.token, replica.generation, 0, now);
        done += action.kind == REPLICA_DO_FLUSH_DONE;
    }
    cr_assert_eq(done, 1);
}

Test(catching, a_flush_needs_every_copy_and_then_says_up_to_where)
{
    open_all();
    struct replica_write write;
    write_to(&write, 1001);
    for (uint8_t copy = 0; copy < COPIES; copy++)
        told(&write, copy);
    struct replica_flush flush = {0};
    replica_flush_start(&replica, &flush, now);
    struct replica_action action;
    uint64_t tokens[COPIES] = {0};
    while (replica_next(&replica, now, &action)) {
        if (action.kind == REPLICA_DO_FLUSH)
            tokens[action.copy] = action.token;
    }
    replica_flushed(&replica, 0, tokens[0], 4, 0, now);
    replica_flushed(&replica, 1, tokens[1], 4, 0, now);
    look();
    cr_assert_eq(counts[REPLICA_DO_FLUSH_DONE], 0);
    cr_assert_eq(replica_flushed_to(&replica), 0);
    replica_flushed(&replica, 2, tokens[2], 4, 0, now);
    look();
    cr_assert_eq(counts[REPLICA_DO_FLUSH_DONE], 1);
    cr_assert_eq(replica_flushed_to(&replica), 1001);
    pass(300);
    cr_assert_eq(last[REPLICA_DO_WATERMARK].flushed, 1001, "and everybody is told");
}

Test(catching, a_copy_whose_machine_restarted_is_stale_if_another_kept_what_it_lost)
{
    open_all();
    struct replica_write write;
    write_to(&write, 1001);
    for (uint8_t copy = 0; copy < COPIES; copy++)
        told(&write, copy);
    replica_disconnected(&replica, 1, now);
    replica_connected(&replica, 1, 2, now);
    look();
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 1);
    cr_assert_eq(last[REPLICA_DO_TRANSACT].record.members[1].state, REPLICA_STALE);
    cr_assert_eq(counts[REPLICA_DO_ROLE], 0);
    cr_assert_eq(replica_read_told(&replica, 1, 4, now), REPLICA_READ_AGAIN);
}

Test(catching, a_session_ends_if_nobody_kept_what_it_acknowledged)
{
    open_all();
    struct replica_write write;
    write_to(&write, 1001);
    for (uint8_t copy = 0; copy < COPIES; copy++)
        told(&write, copy);
    for (uint8_t copy = 0; copy < COPIES; copy++) {
        replica_disconnected(&replica, copy, now);
        replica_connected(&replica, copy, 2, now);
    }
    look();
    cr_assert_eq(counts[REPLICA_DO_ENDED], 1);
    cr_assert_eq(last[REPLICA_DO_ENDED].result, -EIO);
}

Test(catching, a_copy_that_had_flushed_all_lost_nothing)
{
    open_all();
    struct replica_write write;
    write_to(&write, 1001);
    for (uint8_t copy = 0; copy < COPIES; copy++)
        told(&write, copy);
    struct replica_flush flush;
    flush_all(&flush);
    write_to(&write, 1002);
    told(&write, 1);
    replica_disconnected(&replica, 1, now);
    replica_connected(&replica, 1, 2, now);
    look();
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 0);
    cr_assert_eq(sent_to, 2, "but the one that it had not");
    told(&write, 0);
    told(&write, 2);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 0);
}

Test(catching, a_copy_moves_by_being_added_and_then_dropped)
{
    open_all();
    uint8_t copy;
    cr_assert_eq(replica_add(&replica, 101, 0, &copy), -EEXIST);
    cr_assert_eq(replica_add(&replica, 200, 0, &copy), 0);
    look();
    cr_assert_eq(last[REPLICA_DO_TRANSACT].record.members[copy].state, REPLICA_STALE);
    commit();
    fence(copy, 0, false);
    pass(10);
    commit();
    look();
    struct replica_part part = {.generation = 6, .role = REPLICA_CATCHING_UP, .boot = 1};
    replica_role_told(&replica, copy, &part, now);
    look();
    cr_assert_eq(last[REPLICA_DO_RESYNC].above, 0);
    replica_resynced(&replica, copy, last[REPLICA_DO_RESYNC].attempt, true, now);
    look();
    replica_flushed(&replica, copy, last[REPLICA_DO_FLUSH].token, 6, 0, now);
    commit();
    look();
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 1);
    cr_assert_eq(last[REPLICA_DO_TRANSACT].record.members[0].state, REPLICA_ABSENT);
    commit();
    cr_assert_eq(replica_in_sync(&replica), 0xe);
}

Test(catching, a_slow_copy_is_read_last_then_dropped_and_never_two)
{
    open_all();
    uint64_t sequence = 1001;
    bool demoted = false;
    for (uint32_t i = 0; i < 40 && counts[REPLICA_DO_TRANSACT] == 0; i++) {
        struct replica_write write;
        replica_lease(&replica, now + 10000 * MS);
        write_to(&write, sequence++);
        now += MS;
        told(&write, 0);
        told(&write, 1);
        now += 1500 * MS;
        told(&write, 2);
        demoted = demoted || replica_read_choose(&replica, 2, 0) != 2;
        replica_tick(&replica, now);
        look();
    }
    cr_assert(demoted);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 1);
    cr_assert_eq(last[REPLICA_DO_TRANSACT].record.members[2].state, REPLICA_STALE);
    cr_assert(replica.copies[2].evicted);
}

Test(catching, the_newest_wins_and_a_lost_one_is_not_rolled_back)
{
    open_all();
    struct replica_version versions[REPLICA_COPIES_MAX] = {{.sequence = 8}, {.sequence = 10}};
    struct replica_settlement is = replica_settle(&replica, 3, versions);
    cr_assert(is.source == 1 && is.targets == 1 && !is.restamp && is.sequence == 10);
    versions[1].bad = true;
    is = replica_settle(&replica, 3, versions);
    cr_assert(is.source == 0 && is.targets == 3 && is.restamp);
    replica.copies[0].restarted = true;
    is = replica_settle(&replica, 3, versions);
    cr_assert(is.source == REPLICA_COPIES_MAX && is.targets == 1 && is.sequence == 10);
    versions[0] = (struct replica_version){.sequence = 10};
    is = replica_settle(&replica, 3, versions);
    cr_assert(is.source == 0 && is.targets == 2 && !is.restamp);
}

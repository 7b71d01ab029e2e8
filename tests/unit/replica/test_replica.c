/* SPDX-License-Identifier: Apache-2.0 */
/* The machine by itself: what it asks for, event by event. Storms are in tests/sim. */
#include <criterion/criterion.h>

#include "unit/replica/bench.h"

Test(replica, reconcile_begins_at_the_lowest_watermark_that_is_trusted)
{
    begin("III", 0);
    fence(0, 900, false);
    fence(1, 700, true);
    fence(2, 950, false);
    look();
    cr_assert_eq(counts[REPLICA_DO_RECONCILE], 1);
    cr_assert_eq(last[REPLICA_DO_RECONCILE].above, 700);
    cr_assert_eq(last[REPLICA_DO_RECONCILE].copies, 7);
}

Test(replica, who_does_not_answer_is_made_stale_before_anything_else)
{
    begin("III", 0);
    fence(0, 900, false);
    fence(1, 900, false);
    look();
    cr_assert_eq(counts[REPLICA_DO_RECONCILE] + counts[REPLICA_DO_TRANSACT], 0);
    pass(2100);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 1);
    cr_assert_eq(last[REPLICA_DO_TRANSACT].record.generation, 5);
    cr_assert_eq(last[REPLICA_DO_TRANSACT].record.members[2].state, REPLICA_STALE);
    cr_assert_eq(counts[REPLICA_DO_RECONCILE], 0);
    commit();
    look();
    cr_assert_eq(counts[REPLICA_DO_RECONCILE], 1);
    cr_assert_eq(last[REPLICA_DO_RECONCILE].copies, 3);
}

Test(replica, stale_copies_open_nothing_however_long_it_takes)
{
    begin("Iss", 0);
    fence(1, 900, false);
    fence(2, 900, false);
    pass(60000);
    cr_assert_eq(replica.phase, REPLICA_FENCING);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 0);
}

Test(replica, nothing_is_answered_before_the_old_lease_is_over_if_a_copy_was_not_reached)
{
    begin("III", 6000 * MS);
    replica_lease(&replica, 60000 * MS);
    fence(0, 900, false);
    fence(1, 900, false);
    pass(2100);
    commit();
    look();
    replica_reconciled(&replica, last[REPLICA_DO_RECONCILE].attempt, true, 1000, now);
    tell_role(0, REPLICA_IN_SYNC);
    tell_role(1, REPLICA_IN_SYNC);
    look();
    struct replica_write write;
    write_to(&write, 1001);
    told(&write, 0);
    told(&write, 1);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 0);
    cr_assert_eq(replica_read_told(&replica, 0, replica.generation, now), REPLICA_READ_HOLD);
    uint64_t seen = 0;
    while (now < 6100 * MS) {
        pass(10);
        seen += counts[REPLICA_DO_WRITE_DONE];
        cr_assert(seen == 0 || now >= 6000 * MS);
    }
    cr_assert_eq(seen, 1);
}

Test(replica, a_write_needs_every_copy_in_sync)
{
    open_all();
    struct replica_write write;
    write_to(&write, 1001);
    cr_assert_eq(sent_to, 7);
    cr_assert_eq(replica_watermark(&replica), 1000);
    told(&write, 0);
    told(&write, 1);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 0);
    told(&write, 2);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 1);
    cr_assert_eq(last[REPLICA_DO_WRITE_DONE].result, 0);
    cr_assert_eq(replica_watermark(&replica), 1001);
}

Test(replica, the_watermark_waits_for_the_oldest_write)
{
    open_all();
    struct replica_write first, second;
    write_to(&first, 1001);
    write_to(&second, 1002);
    for (uint8_t copy = 0; copy < COPIES; copy++)
        told(&second, copy);
    cr_assert_eq(replica_watermark(&replica), 1000);
    for (uint8_t copy = 0; copy < COPIES; copy++)
        told(&first, copy);
    cr_assert_eq(replica_watermark(&replica), 1002);
}

Test(replica, a_silent_copy_is_dropped_and_only_then_is_the_write_done)
{
    open_all();
    struct replica_write write;
    write_to(&write, 1001);
    told(&write, 0);
    told(&write, 1);
    pass(1900);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 0);
    pass(200);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 1);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 0);
    replica_transact_unknown(&replica, now);
    pass(110);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 1, "the same is tried again");
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 0);
    commit();
    look();
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 1);
    cr_assert_eq(replica_in_sync(&replica), 3);
}

/* Two copies, of which neither can be spared. */
static void open_two(void)
{
    begin("IIs", 0);
    fence(0, 900, false);
    fence(1, 900, false);
    pass(2100);
    replica_reconciled(&replica, last[REPLICA_DO_RECONCILE].attempt, true, 1000, now);
    tell_role(0, REPLICA_IN_SYNC);
    tell_role(1, REPLICA_IN_SYNC);
    look();
}

Test(replica, below_min_copies_nobody_is_dropped_and_nothing_is_done)
{
    open_two();
    struct replica_write write;
    write_to(&write, 1001);
    told(&write, 0);
    pass(60000);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 0);
    cr_assert_eq(write.state != 0, true);
    replica_lease(&replica, now + 1000 * MS);
    told(&write, 1);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 1, "it came back");
}

Test(replica, who_fails_and_cannot_be_spared_is_asked_again_what_it_owes)
{
    open_two();
    struct replica_write write;
    struct replica_flush flush = {0};
    write_to(&write, 1001);
    told(&write, 0);
    told(&write, 1);
    replica_flush_start(&replica, &flush, now);
    look();
    struct replica_action asked = last[REPLICA_DO_FLUSH];
    cr_assert_eq(counts[REPLICA_DO_FLUSH], 2);
    replica_flushed(&replica, 0, replica.copies[0].flush_token, replica.generation, 0, now);
    write_to(&write, 1002);
    told(&write, 0);
    replica_failed(&replica, 1, now); /* It answered both with an error, and is there. */
    pass(4200);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 0, "too few would be left");
    cr_assert_eq(sent_to, 1u << 1, "nothing makes it well but what it owes");
    cr_assert_geq(counts[REPLICA_DO_FLUSH], 1);
    cr_assert_eq(last[REPLICA_DO_FLUSH].copy, 1);
    cr_assert_eq(last[REPLICA_DO_FLUSH].token, asked.token);
    pass(1000);
    cr_assert_eq(sent_to, 0, "not all the time");
    replica_lease(&replica, now + 1000 * MS);
    told(&write, 1);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 1);
    replica_flushed(&replica, 1, asked.token, replica.generation, 0, now);
    look();
    cr_assert_eq(counts[REPLICA_DO_FLUSH_DONE], 1);
}

Test(replica, a_flush_that_was_refused_for_its_generation_is_asked_again_at_once)
{
    open_all();
    struct replica_flush flush = {0};
    struct replica_write write;
    write_to(&write, 1001);
    for (uint8_t copy = 0; copy < COPIES; copy++)
        told(&write, copy);
    replica_flush_start(&replica, &flush, now);
    look();
    uint64_t token = replica.copies[1].flush_token;
    uint32_t generation = replica.generation;
    replica_flush_refused(&replica, 1, token, generation);
    look();
    cr_assert_eq(counts[REPLICA_DO_FLUSH], 0, "there is nothing newer to say");
    replica_failed(&replica, 2, now);
    look();
    commit();
    look();
    cr_assert_gt(replica.generation, generation);
    replica_flush_refused(&replica, 1, token + 1, generation);
    look();
    cr_assert_eq(counts[REPLICA_DO_FLUSH], 0, "that is another one's");
    replica_flush_refused(&replica, 1, token, generation);
    look();
    cr_assert_eq(counts[REPLICA_DO_FLUSH], 1);
    cr_assert_eq(last[REPLICA_DO_FLUSH].copy, 1);
    cr_assert_eq(last[REPLICA_DO_FLUSH].token, token);
}

Test(replica, a_reset_copy_has_its_grace)
{
    open_all();
    replica_disconnected(&replica, 2, now);
    pass(200);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 0);
    replica_connected(&replica, 2, 1, now);
    pass(400);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 0);
    replica_disconnected(&replica, 2, now);
    pass(300);
    cr_assert_eq(counts[REPLICA_DO_TRANSACT], 1);
}

Test(replica, past_the_bound_nothing_is_answered_until_the_lease_is_renewed)
{
    open_all();
    struct replica_write write;
    write_to(&write, 1001);
    now = 5000 * MS;
    for (uint8_t copy = 0; copy < COPIES; copy++)
        told(&write, copy);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 0);
    cr_assert_eq(replica_read_told(&replica, 0, 4, now), REPLICA_READ_HOLD);
    replica_lease(&replica, 9000 * MS);
    look();
    cr_assert_eq(counts[REPLICA_DO_CHANGED], 1);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 1);
    cr_assert_eq(replica_read_told(&replica, 0, 4, now), REPLICA_READ_ANSWER);
}

Test(replica, another_record_than_the_one_asked_for_ends_the_session)
{
    open_all();
    struct replica_record other = record(5, "IIs");
    replica_transacted(&replica, &other, now);
    look();
    cr_assert_eq(counts[REPLICA_DO_ENDED], 1);
    cr_assert_eq(last[REPLICA_DO_ENDED].result, IOMESH_FENCED);
}

Test(replica, a_newer_fence_ends_the_session_and_every_write_with_it)
{
    open_all();
    struct replica_write write;
    write_to(&write, 1001);
    replica_refused(&replica, 1, 8, now);
    look();
    cr_assert_eq(counts[REPLICA_DO_ENDED], 1);
    cr_assert_eq(counts[REPLICA_DO_WRITE_DONE], 1);
    cr_assert_eq(last[REPLICA_DO_WRITE_DONE].result, IOMESH_FENCED);
    cr_assert_eq(replica_read_choose(&replica, 0, 0), REPLICA_COPIES_MAX);
}

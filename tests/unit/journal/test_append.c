/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/journal/fixture.h"

TestSuite(journal, .init = fixture_open, .fini = fixture_close);

Test(journal, ends_entries_in_append_order_after_their_write)
{
    struct noted noted[8];
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(append(&noted[i], (uint8_t)i, 3000), 0);
    journal_turn(journal);
    cr_assert_eq(ended_count, 0);
    cr_assert_not(journal_idle(journal));
    settle();
    cr_assert(journal_idle(journal));
    for (unsigned i = 0; i < 8; i++) {
        cr_assert_eq(noted[i].ended, i + 1);
        cr_assert_eq(noted[i].result, 0);
        cr_assert_eq(noted[i].entry.batch, i / 5 + 1);
    }
    cr_assert_eq(disk->counts.writes, 2);
}

/* Whatever order the disk answers in: 200 worlds, two batches in flight in each. */
Test(journal, ends_no_entry_before_an_older_batch)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        disk->latency.state = seed;
        struct noted first, second;
        ended_count = 0;
        cr_assert_eq(append(&first, 1, 100), 0);
        journal_turn(journal);
        cr_assert_eq(append(&second, 2, 100), 0);
        settle();
        cr_assert(first.ended == 1 && second.ended == 2);
        journal_applied(journal, &first.entry);
        journal_applied(journal, &second.entry);
        trim();
    }
}

Test(journal, gathers_records_while_its_batches_fly)
{
    struct noted noted[6];
    for (unsigned i = 0; i < 6; i++) {
        cr_assert_eq(append(&noted[i], 1, 100), 0);
        journal_turn(journal);
    }
    cr_assert_eq(noted[0].entry.batch, 1);
    cr_assert_eq(noted[1].entry.batch, 2);
    for (unsigned i = 2; i < 6; i++)
        cr_assert_eq(noted[i].entry.batch, 3);
    settle();
    cr_assert_eq(disk->counts.writes, 3);
}

Test(journal, refuses_when_all_fly_and_the_open_batch_is_full_then_tells_of_room)
{
    struct noted noted[4];
    uint32_t most = journal_record_bytes_max(journal);
    cr_assert_eq(most, 4 * BLOCK_BYTES - BATCH_HEADER_BYTES - BATCH_RECORD_BYTES);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(append(&noted[i], 1, most), 0);
    cr_assert_eq(append(&noted[3], 1, most), -EAGAIN);
    cr_assert_eq(room_count, 0);
    settle();
    cr_assert_eq(room_count, 1);
    cr_assert_eq(append(&noted[3], 1, most), 0);
    settle();
    struct journal_stats stats;
    journal_stats(journal, &stats);
    cr_assert_eq(stats.waits_room, 1);
    cr_assert_eq(stats.waits_full, 0);
    cr_assert_eq(stats.blocks_written, 16);
    cr_assert_eq(stats.records, 4);
}

Test(journal, never_overtakes_what_is_not_trimmed)
{
    struct noted noted[BLOCKS], refused;
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (append(&noted[i], 1, 100) != 0)
            break;
        settle();
        cr_assert(noted[i].ended > 0);
    }
    /* Its last three blocks are left out: a batch of four would not fit there. */
    cr_assert_eq(journal_used_blocks(journal), BLOCKS);
    cr_assert_eq(append(&refused, 2, 100), -EAGAIN);
    /* All but the first applied: nothing may go. */
    for (unsigned i = 1; i < BLOCKS - 3; i++)
        journal_applied(journal, &noted[i].entry);
    flush();
    trim();
    cr_assert_eq(journal_applied_through(journal), 0);
    cr_assert_eq(append(&refused, 2, 100), -EAGAIN);
    settle();
    cr_assert_eq(room_count, 0);
    journal_applied(journal, &noted[0].entry);
    trim();
    cr_assert_eq(journal_used_blocks(journal), 0);
    settle();
    cr_assert_eq(room_count, 1);
    cr_assert_eq(append(&refused, 2, 100), 0);
}

Test(journal, waits_when_a_thousand_batches_are_not_applied)
{
    static struct noted noted[1025];
    options.blocks = 2000;
    fixture_reopen();
    for (unsigned i = 0; i < 1023; i++) {
        cr_assert_eq(append(&noted[i], 1, 1), 0);
        settle();
    }
    uint32_t most = journal_record_bytes_max(journal);
    cr_assert_eq(append(&noted[1023], 1, most), 0);
    settle();
    cr_assert_eq(noted[1023].ended, 0);
    cr_assert_eq(append(&noted[1024], 1, most), -EAGAIN);
    journal_applied(journal, &noted[0].entry);
    settle();
    cr_assert_eq(room_count, 1);
    cr_assert_eq(noted[1023].ended, 1024);
}

static void fails_with(int expected)
{
    struct noted noted[3], late;
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(append(&noted[i], 1, 100), 0);
        journal_turn(journal);
    }
    settle();
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(noted[i].result, expected);
    cr_assert(journal_idle(journal));
    cr_assert_eq(append(&late, 1, 100), IOMESH_FAILED);
    uint64_t writes = disk->counts.writes;
    settle();
    cr_assert_eq(disk->counts.writes, writes);
}

Test(journal, fails_whole_when_its_first_write_fails)
{
    disk->faults.write_error_at = 1;
    fails_with(IOMESH_FAILED);
}

Test(journal, fails_whole_when_no_space_is_below)
{
    disk->faults.full_at = 1;
    fails_with(IOMESH_FAILED);
}

Test(journal, fails_when_its_device_has_failed)
{
    struct noted sent, waiting, late;
    cr_assert_eq(append(&sent, 1, 100), 0);
    journal_turn(journal);
    cr_assert_eq(append(&waiting, 1, 100), 0);
    device_fail(&devices, &devices.devices[0], -EIO);
    cr_assert_eq(append(&late, 1, 100), IOMESH_FAILED);
    uint64_t writes = disk->counts.writes;
    settle();
    cr_assert_eq(sent.result, IOMESH_FAILED);
    cr_assert_eq(waiting.result, IOMESH_FAILED);
    cr_assert(journal_idle(journal));
    cr_assert_eq(disk->counts.writes, writes);
}

Test(journal, tells_who_waits_for_room_when_it_fails)
{
    struct noted noted[4];
    uint32_t most = journal_record_bytes_max(journal);
    disk->faults.write_error_one_in = 1;
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(append(&noted[i], 1, most), 0);
    cr_assert_eq(append(&noted[3], 1, most), -EAGAIN);
    settle();
    cr_assert_eq(room_count, 1);
    cr_assert_eq(append(&noted[3], 1, most), IOMESH_FAILED);
}

Test(journal, says_applied_only_up_to_the_first_record_that_is_not)
{
    struct noted noted[3];
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(append(&noted[i], 1, 100), 0);
        settle();
    }
    cr_assert_eq(journal_applied_through(journal), 0);
    journal_applied(journal, &noted[1].entry);
    cr_assert_eq(journal_applied_through(journal), 0);
    cr_assert_eq(journal_replay_start(journal).batch, 1);
    journal_applied(journal, &noted[0].entry);
    cr_assert_eq(journal_applied_through(journal), 2);
    cr_assert_eq(journal_replay_start(journal).batch, 3);
    cr_assert_eq(journal_replay_start(journal).block, 2);
}

Test(journal, names_what_is_durable_once_and_then_is_quiet)
{
    cr_assert_not(journal_durable_unnamed(journal));
    append_whole(1, 100);
    cr_assert_not(journal_durable_unnamed(journal));
    flush();
    cr_assert_eq(journal_durable(journal), 1);
    cr_assert(journal_durable_unnamed(journal));
    journal_mark(journal);
    settle();
    cr_assert_eq(disk->counts.writes, 2);
    cr_assert_not(journal_durable_unnamed(journal));
    /* That the mark is durable too is news to nobody. */
    flush();
    cr_assert_eq(journal_durable(journal), 2);
    cr_assert_not(journal_durable_unnamed(journal));
    journal_mark(journal);
    append_whole(2, 100);
    cr_assert_eq(disk->counts.writes, 3);
}

Test(journal, refuses_a_region_that_cannot_be)
{
    struct journal *none = NULL;
    struct journal_options good = options;
    options.blocks = 15;
    cr_assert_eq(journal_open(&options, &none), -EINVAL);
    options = good, options.place = 4096 - BLOCKS + 1;
    cr_assert_eq(journal_open(&options, &none), -EINVAL);
    options = good, options.batch_blocks_max = 65;
    cr_assert_eq(journal_open(&options, &none), -EINVAL);
    options = good, options.in_flight_max = 0;
    cr_assert_eq(journal_open(&options, &none), -EINVAL);
    options = good, options.start.block = BLOCKS;
    cr_assert_eq(journal_open(&options, &none), -EINVAL);
    options = good, options.start.batch = 0;
    cr_assert_eq(journal_open(&options, &none), -EINVAL);
    cr_assert_null(none);
    cr_assert_str_neq(base_last_error(), "");
}

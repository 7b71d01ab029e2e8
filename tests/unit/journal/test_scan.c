/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/journal/fixture.h"

TestSuite(recovery, .init = fixture_open, .fini = fixture_close);

/* Batches 1 .. count, one record each, one block each but the third, which takes three. */
static void write_batches(unsigned count)
{
    for (unsigned i = 1; i <= count; i++)
        append_whole((uint8_t)i, i == 3 ? 2 * BLOCK_BYTES : 50);
}

Test(recovery, of_an_empty_region_finds_nothing)
{
    struct found found = recover();
    cr_assert_eq(found.records, 0);
    cr_assert_eq(found.scan->end.batch, 1);
    cr_assert_eq(found.scan->end.block, 0);
    cr_assert_not(found.scan->damaged);
}

Test(recovery, gives_every_record_in_order)
{
    write_batches(6);
    struct found found = recover();
    cr_assert_eq(found.records, 6);
    for (unsigned i = 0; i < 6; i++) {
        cr_assert_eq(found.values[i], i + 1);
        cr_assert_eq(found.lengths[i], i == 2 ? 2 * BLOCK_BYTES : 50);
    }
    cr_assert_eq(found.scan->end.batch, 7);
    cr_assert_eq(found.scan->end.block, 8);
    cr_assert_eq(found.scan->batches, 6);
    cr_assert_eq(found.certain, 0);
}

Test(recovery, knows_which_records_are_certain)
{
    write_batches(4);
    flush();
    write_batches(1);
    struct found found = recover();
    cr_assert_eq(found.scan->durable, 4);
    cr_assert_eq(found.records, 5);
    cr_assert_eq(found.certain, 4);
}

Test(recovery, goes_round_the_end_of_the_region)
{
    for (unsigned i = 1; i <= 70; i++) {
        append_whole((uint8_t)i, i % 3 == 0 ? 9000 : 50);
        if (i % 8 != 0)
            continue;
        flush();
        options.start = journal_replay_start(journal);
        journal_trim(journal, options.start);
    }
    struct found found = recover();
    cr_assert_eq(found.records, 6);
    for (unsigned i = 0; i < 6; i++)
        cr_assert_eq(found.values[i], 65 + i);
    cr_assert_eq(found.scan->end.batch, 71);
    cr_assert_not(found.scan->damaged);
}

Test(recovery, finds_the_end_of_a_region_that_is_full)
{
    struct noted noted;
    unsigned count = 0;
    while (append(&noted, 1, 50) == 0) {
        settle();
        journal_applied(journal, &noted.entry);
        count++;
    }
    struct found found = recover();
    cr_assert_eq(found.records, count);
    cr_assert_eq(found.scan->end.batch, count + 1);
    cr_assert_eq(found.scan->end.block, 0);
}

Test(recovery, takes_a_hole_that_nobody_knew_durable_for_the_end)
{
    write_batches(6);
    sim_disk_rot(disk, offset_of(1), 60);
    struct found found = recover();
    cr_assert_eq(found.records, 1);
    cr_assert_eq(found.scan->end.batch, 2);
    cr_assert_eq(found.scan->beyond, 4);
    cr_assert_eq(found.scan->last, 6);
    cr_assert_not(found.scan->damaged);
}

Test(recovery, calls_a_hole_in_what_was_durable_damage)
{
    write_batches(2);
    flush();
    append_whole(3, 50);
    sim_disk_rot(disk, offset_of(1), 60);
    struct found found = recover();
    cr_assert_eq(found.records, 1);
    cr_assert_eq(found.scan->durable, 2);
    cr_assert(found.scan->damaged);
}

Test(recovery, calls_a_block_that_cannot_be_read_at_the_end_damage)
{
    write_batches(3);
    disk->faults.unreadable_offset = offset_of(3);
    disk->faults.unreadable_length = SECTOR_BYTES;
    struct found found = recover();
    cr_assert_eq(found.records, 2);
    cr_assert(found.scan->damaged);
    cr_assert_eq(found.scan->unreadable, 1);
}

Test(recovery, is_not_led_astray_by_a_block_that_cannot_be_read_elsewhere)
{
    write_batches(3);
    disk->faults.unreadable_offset = offset_of(20);
    disk->faults.unreadable_length = SECTOR_BYTES;
    struct found found = recover();
    cr_assert_eq(found.records, 3);
    cr_assert_not(found.scan->damaged);
}

Test(recovery, reads_again_what_failed_once)
{
    write_batches(6);
    disk->faults.read_error_at = 2;
    struct found found = recover();
    cr_assert_eq(found.records, 6);
    cr_assert_eq(found.scan->unreadable, 0);
    cr_assert_not(found.scan->damaged);
}

Test(recovery, does_not_take_batches_of_an_older_incarnation)
{
    write_batches(6);
    options.incarnation = 2;
    fixture_reopen();
    append_whole(9, 50);
    struct found found = recover();
    cr_assert_eq(found.records, 1);
    cr_assert_eq(found.values[0], 9);
    cr_assert_eq(found.scan->end.batch, 2);
    cr_assert_eq(found.scan->beyond, 0);
    cr_assert_not(found.scan->damaged);
}

/* One bit flipped anywhere in what a batch uses ends the chain before it. */
Test(recovery, never_takes_a_batch_with_a_flipped_bit)
{
    write_batches(2);
    for (uint32_t bit = 0; bit < (64 + 4 + 50) * 8; bit += 7) {
        uint8_t byte;
        uint64_t at = offset_of(1) + bit / 8;
        sim_disk_peek(disk, at, 1, &byte);
        uint8_t flipped = byte ^ (uint8_t)(1u << bit % 8);
        sim_disk_poke(disk, at, 1, &flipped);
        cr_assert_eq(recover().records, 1, "bit %u", bit);
        sim_disk_poke(disk, at, 1, &byte);
    }
    cr_assert_eq(recover().records, 2);
}

static unsigned given;

static int visit_and_stop(void *context, uint64_t batch, bool certain, const uint8_t *record,
                          uint32_t length)
{
    (void)context, (void)certain, (void)length;
    given++;
    cr_assert_eq(record[0], batch);
    return 1;
}

static void note_end(void *context, int result)
{
    *(int *)context = result;
}

Test(recovery, stops_at_each_record_until_it_is_continued)
{
    write_batches(5);
    fixture_reopen();
    int result = 1;
    journal_scan_start(journal, note_end, &result);
    settle();
    result = 1;
    journal_replay_start_visit(journal, visit_and_stop, note_end, &result);
    for (unsigned i = 1; i <= 5; i++) {
        settle();
        cr_assert_eq(given, i);
        cr_assert_eq(result, 1);
        journal_replay_continue(journal);
    }
    settle();
    cr_assert_eq(given, 5);
    cr_assert_eq(result, 0);
}

Test(recovery, says_so_when_a_batch_rots_between_scan_and_replay)
{
    write_batches(5);
    fixture_reopen();
    int result = 1;
    journal_scan_start(journal, note_end, &result);
    settle();
    sim_disk_rot(disk, offset_of(1), 60);
    given = 0;
    journal_replay_start_visit(journal, visit_and_stop, note_end, &result);
    settle();
    journal_replay_continue(journal);
    settle();
    cr_assert_eq(given, 1);
    cr_assert_eq(result, IOMESH_CORRUPT);
}

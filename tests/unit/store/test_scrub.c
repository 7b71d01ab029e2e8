/* SPDX-License-Identifier: Apache-2.0 */
/* Scrub: what it reads and with how many requests, whom it blames, when it begins and goes on. */
#include <string.h>

#include "unit/store/fixture.h"

#define DAY_NS (86400 * NS_PER_S)
#define MIB (1ull << 20)

static void until_passes(uint64_t passes)
{
    for (unsigned i = 0; stats_now().scrub_passes < passes; i++) {
        cr_assert_lt(i, 100000);
        step();
    }
}

static void pass(uint64_t rate)
{
    uint64_t before = stats_now().scrub_passes;
    cr_assert_eq(store_scrub_start(store, rate), 0);
    until_passes(before + 1);
}

static void run_for(uint64_t ns)
{
    for (uint64_t end_ns = world.now_ns + ns; world.now_ns < end_ns;)
        step();
}

Test(store_scrub, neighbours_are_read_in_one_request, .init = open_store, .fini = close_store)
{
    uint64_t before = disk->counts.reads;
    pass(64 * MIB);
    /* Four runs of 64, and the written versions of three pages: table, directory, map. */
    cr_assert_leq(disk->counts.reads - before, 10);
    cr_assert_eq(stats_now().scrub_ended_blocks, BLOCKS);
    cr_assert_eq(stats_now().scrub_blocks, BLOCKS);
    cr_assert_eq(told, 0);
}

Test(store_scrub, each_fault_of_a_run_is_named_and_no_other, .init = open_store,
     .fini = close_store)
{
    rot(place_of(17));
    rot(place_of(255));
    disk->faults.unreadable_offset = place_of(40) * BLOCK_BYTES;
    disk->faults.unreadable_length = BLOCK_BYTES;
    pass(64 * MIB);
    cr_assert_eq(told, 3);
    cr_assert(told_of[17] && told_of[40] && told_of[255]);
    cr_assert_eq(stats_now().scrub_ended_faults, 3);
}

Test(store_scrub, it_keeps_to_its_rate, .init = open_store, .fini = close_store)
{
    uint64_t began_ns = world.now_ns;
    pass(BLOCKS * BLOCK_BYTES / 4); /* 25.6 blocks for each tenth of a second. */
    uint64_t took_ns = world.now_ns - began_ns;
    cr_assert_geq(took_ns, 4 * NS_PER_S);
    cr_assert_leq(took_ns, 5 * NS_PER_S);
}

/* The volume, and one block of each of 64 other map pages. */
static void pass_begins_and_is_left(void)
{
    for (uint64_t i = 1; i <= 64; i++)
        put(BLOCK + i * MAP_BLOCKS, 1);
    checkpoint();
    cr_assert_eq(store_scrub_start(store, 100 * BLOCK_BYTES), 0);
    run_for(7 * NS_PER_S / 2);
    cr_assert_gt(stats_now().scrub_blocks, BLOCKS);
    cr_assert(store_scrub_running(store));
}

Test(store_scrub, a_pass_goes_on_where_a_close_left_it, .init = open_store, .fini = close_store)
{
    pass_begins_and_is_left();
    uint64_t first = stats_now().scrub_blocks;
    stop_store();
    options.scrub_bytes_per_s = 64 * MIB;
    start_store();
    until_passes(1);
    /* What is left, and again what was under way when it was left: at most a tick's ten. */
    uint64_t second = stats_now().scrub_blocks;
    cr_assert_geq(first + second, BLOCKS + 64);
    cr_assert_leq(first + second, BLOCKS + 64 + 10);
    cr_assert_eq(stats_now().scrub_ended_blocks, BLOCKS + 64);
}

Test(store_scrub, one_that_was_stopped_begins_anew, .init = open_store, .fini = close_store)
{
    pass_begins_and_is_left();
    store_scrub_stop(store);
    cr_assert_not(store_scrub_running(store));
    pass(64 * MIB);
    cr_assert_eq(stats_now().scrub_ended_blocks, BLOCKS + 64);
}

Test(store_scrub, what_the_last_pass_found_outlives_a_restart, .init = open_store,
     .fini = close_store)
{
    rot(place_of(3));
    pass(64 * MIB);
    struct store_stats before = stats_now();
    cr_assert_neq(before.scrub_ended_ns, 0);
    stop_store();
    start_store();
    struct store_stats after = stats_now();
    cr_assert_eq(after.scrub_ended_ns, before.scrub_ended_ns);
    cr_assert_eq(after.scrub_ended_blocks, BLOCKS);
    cr_assert_eq(after.scrub_ended_faults, 1);
    cr_assert_eq(after.scrub_passes, 0);
}

/* The clock on the wall goes on while nobody looks. */
static void wall_passes(uint64_t ns)
{
    world.wall_offset_ns += (int64_t)ns;
}

static bool begins_within_two_hours(void)
{
    uint64_t before = stats_now().scrub_passes;
    run_for(2 * 3600 * NS_PER_S);
    return stats_now().scrub_passes > before;
}

Test(store_scrub, the_next_pass_begins_a_week_after_the_last, .init = open_store,
     .fini = close_store)
{
    options.scrub_bytes_per_s = 64 * MIB;
    stop_store();
    start_store();
    until_passes(1); /* There was none before. */
    wall_passes(6 * DAY_NS);
    cr_assert_not(begins_within_two_hours());
    wall_passes(DAY_NS);
    cr_assert(begins_within_two_hours());
    cr_assert_not(begins_within_two_hours());
}

Test(store_scrub, the_next_pass_begins_after_the_interval_that_was_chosen, .init = open_store,
     .fini = close_store)
{
    options.scrub_bytes_per_s = 64 * MIB;
    options.scrub_interval_ns = DAY_NS;
    stop_store();
    start_store();
    until_passes(1);
    stop_store();
    wall_passes(DAY_NS / 2);
    start_store();
    cr_assert_not(begins_within_two_hours());
    stop_store();
    wall_passes(DAY_NS / 2);
    start_store();
    cr_assert(begins_within_two_hours());
}

Test(store_scrub, a_clock_that_was_put_back_is_given_an_hour, .init = open_store,
     .fini = close_store)
{
    options.scrub_bytes_per_s = 64 * MIB;
    stop_store();
    start_store();
    until_passes(1);
    stop_store();
    wall_passes(-(300 * DAY_NS));
    start_store();
    run_for(1800 * NS_PER_S);
    cr_assert_eq(stats_now().scrub_passes, 0);
    cr_assert(begins_within_two_hours());
    cr_assert_not(begins_within_two_hours());
}

Test(store_scrub, a_page_that_rots_while_it_is_in_memory_is_written_anew, .init = open_store,
     .fini = close_store)
{
    uint64_t place = place_of_map();
    rot(place);
    pass(64 * MIB);
    cr_assert_eq(told, 1);
    cr_assert(told_of[0]);
    cr_assert(strstr(warning, "anew, from memory") != NULL, "%s", warning);
    stop_store();
    start_store(); /* Nothing is in memory now. */
    cr_assert_neq(place_of_map(), place);
    pass(64 * MIB);
    cr_assert_eq(told, 1);
    cr_assert_eq(stats_now().scrub_ended_blocks, BLOCKS);
}

/* Requests at the disk now. */
static unsigned flying(void)
{
    unsigned count = 0;
    LIST_EACH (&disk->flying, node)
        count++;
    return count;
}

static bool reading;

static void read_again(struct store_op *which, int result)
{
    (void)which;
    cr_assert_eq(result, 0);
    reading = false;
}

/* The most at once during a pass over blocks that lie apart, with or without one who reads. */
static unsigned most_flying(bool foreground)
{
    static uint8_t bytes[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
    unsigned most = 0;
    uint64_t before = stats_now().scrub_passes;
    cr_assert_eq(store_scrub_start(store, BLOCKS * BLOCK_BYTES), 0);
    while (stats_now().scrub_passes == before || reading) {
        if (foreground && !reading && stats_now().scrub_passes == before) {
            reading = true;
            op.kind = STORE_READ;
            op.block = BLOCK;
            op.count = 1;
            op.data = bytes;
            op.done = read_again;
            store_submit(store, &op);
        }
        step();
        if (stats_now().scrub_passes == before) /* Then it asks for a checkpoint. */
            most = MAX(most, flying());
    }
    return most;
}

Test(store_scrub, one_request_at_a_time_while_there_are_others, .init = open_store,
     .fini = close_store)
{
    for (uint32_t i = 0; i < BLOCKS; i += 2)
        put(BLOCK + i, 1);
    checkpoint();
    cr_assert_geq(most_flying(false), 4);
    checkpoint();
    cr_assert_leq(most_flying(true), 3); /* Theirs, its own, and once a second a flush. */
}

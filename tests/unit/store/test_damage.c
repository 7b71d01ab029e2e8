/* SPDX-License-Identifier: Apache-2.0 */
/* A map page that rots: what it covers is lost, and nothing else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/store/fixture.h"

#define FAR (BLOCK + 65536u) /* In another segment. */

static uint8_t bytes[BLOCKS * BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));

Test(store_damage, recovery_goes_on_without_a_map_page, .init = open_store, .fini = close_store)
{
    put(FAR, 4);
    checkpoint();
    put(BLOCK + 9, 1); /* Is in the log alone. */
    put(FAR + 2, 1);
    uint64_t map = place_of_map();
    crash_store();
    rot(map);
    start_store();
    cr_assert_eq(store_state(store), STORE_READY);
    cr_assert_eq(told, 1);
    cr_assert(told_of[0]);
    cr_assert_eq(get(BLOCK + 9, 1, bytes), 0);
    cr_assert_arr_eq(bytes, data, BLOCK_BYTES);
    cr_assert_eq(get(FAR, 4, bytes), 0);
    cr_assert_arr_eq(bytes, data, 2 * BLOCK_BYTES);
    for (uint32_t i = 0; i < BLOCKS; i++)
        cr_assert_eq(get(BLOCK + i, 1, bytes), i == 9 ? 0 : -EIO, "block %u", i);
    put(BLOCK + 200, 1); /* And what is written again is whole again. */
    stop_store();
    start_store();
    cr_assert_eq(get(BLOCK + 200, 1, bytes), 0);
    cr_assert_eq(get(BLOCK + 201, 1, bytes), -EIO);
}

Test(store_damage, recovery_waits_for_what_the_device_refuses_to_read, .init = open_store,
     .fini = close_store)
{
    put(BLOCK + 9, 1);
    disk->faults.unreadable_offset = place_of_map() * BLOCK_BYTES;
    disk->faults.unreadable_length = BLOCK_BYTES;
    crash_store();
    start_store();
    cr_assert_eq(store_state(store), STORE_READ_ONLY);
    stop_store();
    disk->faults.unreadable_length = 0; /* It comes back. */
    start_store();
    cr_assert_eq(store_state(store), STORE_READY);
    cr_assert_eq(get(BLOCK, BLOCKS, bytes), 0);
    cr_assert_arr_eq(bytes + 9 * BLOCK_BYTES, data, BLOCK_BYTES);
    cr_assert_arr_eq(bytes + 10 * BLOCK_BYTES, data + 10 * BLOCK_BYTES, BLOCK_BYTES);
}

static uint64_t leaked, others;

static void on_fault(void *context, const struct store_fault *fault)
{
    (void)context;
    static const char before[] = "places ";
    char *end = NULL;
    uint64_t from = 0, to = 0;
    if (fault->kind == STORE_FAULT_SPACE && strncmp(fault->text, before, strlen(before)) == 0)
        from = strtoull(fault->text + strlen(before), &end, 10);
    if (end != NULL && strncmp(end, "..", 2) == 0)
        to = strtoull(end + 2, &end, 10);
    if (to != 0 && to >= from && strncmp(end, " are in use, but nothing", 24) == 0)
        leaked += to - from + 1;
    else
        others++;
}

static void checked(void *context, int result, const struct store_checked *what)
{
    (void)what;
    done(context, result);
}

/* What pool check says of a store that is closed. */
static void check(void)
{
    leaked = others = 0;
    options.read_only = true;
    start_store();
    struct store_check run = {.fault = on_fault, .done = checked, .data = true};
    cr_assert_eq(store_check_start(store, &run), 0);
    cr_assert_eq(wait_for_it(), 0);
    stop_store();
    options.read_only = false;
}

static void delete_volume(void)
{
    cr_assert_eq(store_delete_volume(store, VOLUME, done, NULL), 0);
    cr_assert_eq(wait_for_it(), 0);
}

Test(store_damage, a_volume_is_deleted_without_its_damaged_map_page, .init = open_store,
     .fini = close_store)
{
    put(FAR, 100);
    stop_store();
    rot(place_of_map());
    start_store();
    delete_volume();
    cr_assert_eq(told, 1);
    stop_store();
    check();
    cr_assert_eq(leaked, BLOCKS);
    cr_assert_eq(others, 0);
    start_store();
}

Test(store_damage, a_volume_is_deleted_without_its_damaged_directory, .init = open_store,
     .fini = close_store)
{
    put(FAR, 100);
    stop_store();
    rot(place_of_directory(place_of_map()));
    start_store();
    delete_volume();
    cr_assert_eq(told, 1);
    stop_store();
    check();
    cr_assert_eq(leaked, BLOCKS + 1); /* And the map page. */
    cr_assert_eq(others, 0);
    start_store();
}

Test(store_damage, a_deletion_without_a_page_is_the_same_after_a_crash, .init = open_store,
     .fini = close_store)
{
    stop_store();
    rot(place_of_map());
    start_store();
    cr_assert_eq(store_delete_volume(store, VOLUME, done, NULL), 0);
    while (told == 0)
        step();
    crash_store();
    start_store();
    delete_volume();
    stop_store();
    check();
    cr_assert_eq(leaked, BLOCKS);
    cr_assert_eq(others, 0);
    start_store();
}

Test(store_damage, recovery_for_reading_only_finds_the_memory_it_needs, .init = open_store,
     .fini = close_store)
{
    for (uint64_t i = 1; i <= 44; i++)
        put(BLOCK + i * MAP_BLOCKS, 1);
    crash_store();
    options.read_only = true;
    options.cache_bytes = 64 * BLOCK_BYTES; /* Of which it leaves some to others. */
    start_store();
    cr_assert_eq(store_state(store), STORE_READ_ONLY);
    cr_assert_geq(stats_now().cache.frames, 128);
    cr_assert_eq(stats_now().replayed_records, 44);
    for (uint64_t i = 0; i <= 44; i++) {
        cr_assert_eq(get(BLOCK + i * MAP_BLOCKS, 1, bytes), 0);
        cr_assert_arr_eq(bytes, data, BLOCK_BYTES);
    }
}

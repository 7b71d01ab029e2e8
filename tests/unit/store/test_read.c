/* SPDX-License-Identifier: Apache-2.0 */
/* Reads of blocks that lie apart: how few requests they take, and who is blamed when one fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/store/rig.h"

#define BLOCKS 64u
#define VOLUME 7u
#define BLOCK 1024u /* First of those that are written. */

static uint64_t sequence;
static unsigned told;
static char sentence[256];

static void on_event(void *context, const struct store_event *event)
{
    (void)context;
    if (event->kind != STORE_DAMAGE)
        return;
    told++;
    (void)snprintf(sentence, sizeof sentence, "%s", event->text);
}

static void open_store(void)
{
    open_world(4096);
    options.event = on_event;
    format_store();
    start_store();
    data = aligned_alloc(BLOCK_BYTES, (size_t)BLOCKS * BLOCK_BYTES);
    cr_assert_not_null(data);
}

static void close_store(void)
{
    stop_store();
    world_close(&world);
    free(data);
}

static int submit(enum store_op_kind kind, uint32_t first, uint32_t count)
{
    op.kind = kind;
    op.volume = VOLUME;
    op.view = VIEW_HEAD;
    op.block = BLOCK + first;
    op.count = count;
    op.data = data + (size_t)first * BLOCK_BYTES;
    op.sequence = kind == STORE_WRITE ? ++sequence : 0;
    op.epoch = 1;
    op.done = op_done;
    store_submit(store, &op);
    return wait_for_it();
}

static void put(uint32_t first, uint32_t count, uint8_t version)
{
    for (uint32_t i = first; i < first + count; i++)
        memset(data + (size_t)i * BLOCK_BYTES, (int)(version + i), BLOCK_BYTES);
    cr_assert_eq(submit(STORE_WRITE, first, count), 0);
}

/* Written in order, then each third block again: it lies elsewhere, and leaves a gap. */
static void scatter(void)
{
    put(0, BLOCKS, 1);
    for (uint32_t i = 0; i < BLOCKS; i += 3)
        put(i, 1, 101);
}

static bool block_is_right(uint32_t i)
{
    uint8_t expected = (uint8_t)((i % 3 == 0 ? 101 : 1) + i);
    const uint8_t *at = data + (size_t)i * BLOCK_BYTES;
    return at[0] == expected && memcmp(at, at + 1, BLOCK_BYTES - 1) == 0;
}

static bool block_is_zero(uint32_t i)
{
    const uint8_t *at = data + (size_t)i * BLOCK_BYTES;
    return at[0] == 0 && memcmp(at, at + 1, BLOCK_BYTES - 1) == 0;
}

static int read_all(void)
{
    memset(data, 0xee, (size_t)BLOCKS * BLOCK_BYTES);
    return submit(STORE_READ, 0, BLOCKS);
}

Test(store_read, blocks_that_lie_scattered_are_had_with_few_requests, .init = open_store,
     .fini = close_store)
{
    scatter();
    uint64_t before = disk->counts.reads;
    cr_assert_eq(read_all(), 0);
    for (uint32_t i = 0; i < BLOCKS; i++)
        cr_assert(block_is_right(i), "block %u", i);
    /* One through the gaps of what was written first, one or two for what was written since; and
     * perhaps a page of the map. */
    cr_assert_leq(disk->counts.reads - before, 4);
}

Test(store_read, one_that_cannot_be_read_is_told_and_its_neighbours_are_had, .init = open_store,
     .fini = close_store)
{
    scatter();
    cr_assert_eq(read_all(), 0);
    disk->faults.unreadable_offset = op.places[31] * BLOCK_BYTES;
    disk->faults.unreadable_length = 512;
    cr_assert_eq(read_all(), -EIO);
    for (uint32_t i = 0; i < BLOCKS; i++)
        cr_assert(i == 31 ? block_is_zero(i) : block_is_right(i), "block %u", i);
    struct store_stats stats;
    store_stats(store, &stats);
    cr_assert_eq(stats.read_errors, 2); /* The stretch, and the block for itself. */
    cr_assert_eq(told, 1);
    char expected[64];
    (void)snprintf(expected, sizeof expected, "volume 7 block %u at place %llu:", BLOCK + 31,
                   (unsigned long long)op.places[31]);
    cr_assert_eq(strncmp(sentence, expected, strlen(expected)), 0, "%s", sentence);
}

Test(store_read, a_gap_that_cannot_be_read_harms_nobody, .init = open_store, .fini = close_store)
{
    put(0, BLOCKS, 1);
    cr_assert_eq(read_all(), 0);
    uint64_t left = op.places[30];
    scatter();
    cr_assert_eq(read_all(), 0);
    cr_assert_neq(op.places[30], left);
    disk->faults.unreadable_offset = op.places[31] * BLOCK_BYTES - BLOCK_BYTES;
    disk->faults.unreadable_length = BLOCK_BYTES;
    cr_assert_eq(read_all(), 0);
    for (uint32_t i = 0; i < BLOCKS; i++)
        cr_assert(block_is_right(i), "block %u", i);
    struct store_stats stats;
    store_stats(store, &stats);
    cr_assert_eq(stats.read_errors, 1);
    cr_assert_eq(told, 0);
}

Test(store_read, damage_within_a_stretch_is_told_with_its_place, .init = open_store,
     .fini = close_store)
{
    scatter();
    cr_assert_eq(read_all(), 0);
    uint8_t byte = 0x55;
    image_write(&disk->seen, op.places[32] * BLOCK_BYTES + 4095, 1, &byte);
    cr_assert_eq(read_all(), IOMESH_CORRUPT);
    for (uint32_t i = 0; i < BLOCKS; i++)
        cr_assert(i == 32 ? block_is_zero(i) : block_is_right(i), "block %u", i);
    struct store_stats stats;
    store_stats(store, &stats);
    cr_assert_eq(stats.corrupt_blocks, 1);
    cr_assert_eq(told, 1);
    char expected[64];
    (void)snprintf(expected, sizeof expected, "volume 7 block %u at place %llu:", BLOCK + 32,
                   (unsigned long long)op.places[32]);
    cr_assert_eq(strncmp(sentence, expected, strlen(expected)), 0, "%s", sentence);
}

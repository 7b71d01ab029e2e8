/* SPDX-License-Identifier: Apache-2.0 */
/* Images whose sums are right and whose words make no sense: a sentence, never a crash. */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/journal.h"
#include "format/record.h"
#include "format/superblock.h"
#include "format/table.h"
#include "unit/store/rig.h"

#define BLOCKS 16384u
#define FREE_PLACE 12000u /* Nothing of a new store is there. */

static void make(void)
{
    open_world(BLOCKS);
    format_store();
}

static void forget(void)
{
    world_close(&world);
}

TestSuite(store_hostile, .init = make, .fini = forget);

static int open_it(void)
{
    base_clear_error();
    cr_assert_eq(store_open(&options, &store, done, NULL), 0);
    int result = wait_for_it();
    cr_assert(result == 0 || base_last_error()[0] != '\0', "no sentence");
    return result;
}

static int close_it(void)
{
    store_close(store, done, NULL);
    return wait_for_it();
}

static void poke(uint64_t block, const void *bytes)
{
    sim_disk_poke(disk, block * BLOCK_BYTES, BLOCK_BYTES, bytes);
}

static void label_is(uint64_t base, uint64_t blocks)
{
    uint8_t bytes[BLOCK_BYTES];
    struct label label;
    sim_disk_peek(disk, 0, BLOCK_BYTES, bytes);
    cr_assert_eq(label_decode(bytes, &label), 0);
    label.base = base;
    label.blocks = blocks;
    label_encode(bytes, &label);
    poke(0, bytes);
}

static struct superblock *super_get(void)
{
    static struct superblock super;
    super.generation = 0;
    for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++) {
        static struct superblock copy;
        uint8_t bytes[BLOCK_BYTES];
        sim_disk_peek(disk, superblock_block(i / 2, i % 2) * BLOCK_BYTES, BLOCK_BYTES, bytes);
        if (superblock_decode(bytes, &copy) == 0 && copy.generation > super.generation)
            super = copy;
    }
    return &super;
}

static void super_put(const struct superblock *super)
{
    uint8_t bytes[BLOCK_BYTES];
    superblock_encode(bytes, super);
    for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++)
        poke(superblock_block(i / 2, i % 2), bytes);
}

Test(store_hostile, a_device_lies_where_devices_can)
{
    static const uint64_t lies[][2] = {
        {7, 16000}, {32768, 16000}, {1ull << 35, 16000}, {0, 16}, {0, 0}};
    for (unsigned i = 0; i < COUNT_OF(lies); i++) {
        label_is(lies[i][0], lies[i][1]);
        struct superblock *super = super_get();
        super->devices[0].base = lies[i][0];
        super->devices[0].blocks = lies[i][1];
        super_put(super);
        cr_assert_eq(open_it(), IOMESH_CORRUPT, "base %llu", (unsigned long long)lies[i][0]);
    }
}

Test(store_hostile, a_store_without_a_free_map_is_none)
{
    struct superblock *super = super_get();
    super->index = (struct pointer){.kind = POINTER_HOLE};
    super_put(super);
    cr_assert_eq(open_it(), IOMESH_CORRUPT);
}

Test(store_hostile, a_journal_does_not_lie_over_the_superblocks)
{
    struct superblock *super = super_get();
    super->journal_place = 0;
    super_put(super);
    cr_assert_eq(open_it(), IOMESH_CORRUPT);
}

/* Two batches, of which the second says that the first is durable: it is believed. */
static void journal_is(const struct record *record)
{
    static uint8_t batch[BLOCK_BYTES];
    uint8_t bytes[RECORD_BYTES_MAX];
    struct superblock *super = super_get();
    super->clean = false;
    super_put(super);
    uint32_t length = record_encode(bytes, record);
    for (uint64_t i = 0; i < 2; i++) {
        struct batch_header header = {.incarnation = super->incarnation,
                                      .number = super->replay_batch + i,
                                      .durable = super->replay_batch + i - 1,
                                      .bytes_used = BATCH_HEADER_BYTES};
        if (i == 0) {
            header.bytes_used = batch_add(batch, BATCH_HEADER_BYTES, bytes, length);
            header.record_count = 1;
        }
        batch_seal(batch, &header);
        poke(super->journal_place + super->replay_block + i, batch);
    }
}

Test(store_hostile, a_record_of_places_that_are_on_no_device_is_refused)
{
    static struct record record = {.type = RECORD_WRITE,
                                   .volume = 7,
                                   .count = 1,
                                   .sequence = 1,
                                   .extent_count = 1,
                                   .extents = {{.place = BLOCKS, .blocks = 1}}};
    journal_is(&record);
    cr_assert_eq(open_it(), IOMESH_CORRUPT);
    record.extents[0].place = FREE_PLACE;
    journal_is(&record);
    cr_assert_eq(open_it(), 0);
    cr_assert_eq(close_it(), 0);
}

Test(store_hostile, a_record_beyond_the_largest_volume_is_refused)
{
    static struct record record = {
        .type = RECORD_ZERO, .volume = 7, .block = 1ull << 34, .count = 1, .sequence = 1};
    journal_is(&record);
    cr_assert_eq(open_it(), IOMESH_FORMAT);
}

static struct pointer page_at(uint64_t place, unsigned level, const struct table_entry *entries,
                              unsigned count)
{
    uint8_t bytes[BLOCK_BYTES];
    table_encode(bytes, level, entries, count);
    poke(place, bytes);
    return (struct pointer){.kind = POINTER_RAW, .place = place, .crc = crc32c(bytes, BLOCK_BYTES)};
}

static int write_block(uint64_t volume, uint64_t block)
{
    static uint8_t zeros[BLOCK_BYTES] __attribute__((aligned(4096)));
    op.kind = STORE_WRITE;
    op.volume = volume;
    op.view = VIEW_HEAD;
    op.block = block;
    op.count = 1;
    op.data = zeros;
    op.sequence++;
    op.epoch = 1;
    op.done = op_done;
    store_submit(store, &op);
    return wait_for_it();
}

/* The second leaf's keys are below the first's: merged, they would be out of order. */
Test(store_hostile, a_leaf_holds_only_what_its_parent_gave_it)
{
    struct superblock *super = super_get();
    /* The end of the journal: in use, says the free map, and not by anybody so soon. */
    uint64_t place = super->journal_place + super->journal_blocks - 8;
    const struct pointer zero = pointer_zero(1);
    struct table_entry first = {.key = {.volume = 5, .view = VIEW_HEAD}, .pointer = zero};
    struct table_entry second = {.key = {.volume = 3, .view = VIEW_HEAD}, .pointer = zero};
    struct table_entry above[] = {
        {.key = {.volume = 5, .view = VIEW_HEAD}, .pointer = page_at(place, 0, &first, 1)},
        {.key = {.volume = 9, .view = VIEW_HEAD}, .pointer = page_at(place + 1, 0, &second, 1)}};
    super->table = page_at(place + 2, 1, above, 2);
    super_put(super);
    cr_assert_eq(open_it(), 0);
    cr_assert_eq(write_block(9, 0), IOMESH_CORRUPT);
    cr_assert_eq(write_block(5, 0), 0);
    cr_assert_eq(close_it(), 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/store/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/superblock.h"

unsigned told;
bool told_of[BLOCKS];
char warning[256];

static void on_event(void *context, const struct store_event *event)
{
    (void)context;
    if (event->severity == STORE_WARNING)
        (void)snprintf(warning, sizeof warning, "%s", event->text);
    if (event->kind != STORE_DAMAGE)
        return;
    told++;
    cr_assert_eq(event->numbers[0], VOLUME, "%s", event->text);
    if (event->numbers[1] >= BLOCK && event->numbers[1] < BLOCK + BLOCKS)
        told_of[event->numbers[1] - BLOCK] = true;
}

void step(void)
{
    cr_assert(world_step(&world));
    do
        store_turn(store);
    while (store_turn_needed(store));
}

/* The process is gone; what it wrote is there. Its memory stays where a leak checker finds it. */
void crash_store(void)
{
    static struct store *crashed[8];
    static unsigned count;
    assert(count < sizeof crashed / sizeof crashed[0]);
    crashed[count++] = store;
    world_kill(&world);
    memset(&op, 0, sizeof op);
    store = NULL;
}

static int submit(enum store_op_kind kind, uint64_t block, uint32_t count, void *bytes)
{
    static uint64_t sequence;
    op.kind = kind;
    op.volume = VOLUME;
    op.view = VIEW_HEAD;
    op.block = block;
    op.count = count;
    op.data = bytes;
    op.sequence = ++sequence;
    op.epoch = 1;
    op.done = op_done;
    store_submit(store, &op);
    return wait_for_it();
}

void put(uint64_t block, uint32_t count)
{
    cr_assert_eq(submit(STORE_WRITE, block, count, data), 0);
}

int get(uint64_t block, uint32_t count, uint8_t *bytes)
{
    return submit(STORE_READ, block, count, bytes);
}

/* A store with a volume of BLOCKS blocks, written in order, all in one map page. */
void open_store(void)
{
    open_world(DISK_BLOCKS);
    options.event = on_event;
    format_store();
    start_store();
    data = aligned_alloc(BLOCK_BYTES, (size_t)BLOCKS * BLOCK_BYTES);
    cr_assert_not_null(data);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        memset(data + (size_t)i * BLOCK_BYTES, (int)i + 1, BLOCK_BYTES);
        put32(data + (size_t)i * BLOCK_BYTES, i);
    }
    put(BLOCK, BLOCKS);
    checkpoint();
}

void close_store(void)
{
    stop_store();
    world_close(&world);
    free(data);
}

struct store_stats stats_now(void)
{
    struct store_stats stats;
    store_stats(store, &stats);
    return stats;
}

/* Where on the disk block i is. */
uint64_t place_of(uint32_t i)
{
    uint8_t bytes[BLOCK_BYTES];
    for (uint64_t place = SUPERBLOCK_AREA_BLOCKS; place < DISK_BLOCKS; place++) {
        sim_disk_peek(disk, place * BLOCK_BYTES, BLOCK_BYTES, bytes);
        if (memcmp(bytes, data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES) == 0)
            return place;
    }
    cr_assert_fail("block %u is nowhere", i);
    return 0;
}

/* The page whose slot shows a place. */
static uint64_t place_of_page(unsigned slot, uint64_t shown)
{
    uint8_t bytes[BLOCK_BYTES];
    for (uint64_t place = DISK_BLOCKS; place-- > SUPERBLOCK_AREA_BLOCKS;) {
        struct pointer pointer;
        sim_disk_peek(disk, place * BLOCK_BYTES, BLOCK_BYTES, bytes);
        if (pointer_get(bytes + slot * POINTER_BYTES, &pointer) == 0 &&
            pointer.kind == POINTER_RAW && pointer.place == shown)
            return place;
    }
    cr_assert_fail("the page is nowhere");
    return 0;
}

uint64_t place_of_map(void)
{
    return place_of_page(0, place_of(0));
}

uint64_t place_of_directory(uint64_t map)
{
    return place_of_page(BLOCK / MAP_BLOCKS, map);
}

void rot(uint64_t place)
{
    (void)sim_disk_rot(disk, place * BLOCK_BYTES, BLOCK_BYTES);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A file whose file system has less space than the file is long: full, never failed. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "sim/disk.h"
#include "sim/world.h"
#include "store/store.h"

#define BLOCKS 131072u  /* Four regions of the free map. */
#define BELOW 80000u    /* So many blocks may ever be written. */
#define OP_BLOCKS 256u  /* Of one write. */
#define VOLUME_OPS 480u /* Writes that cover the volume once. */

static struct world world;
static struct sim_disk *disk;
static struct store_options options;
static struct store *store;
static struct store_op op;
static uint8_t *data;
static const struct disk_ops *sim_ops;
static struct disk_ops below_ops;
static bool has[BLOCKS];
static uint32_t room;
static bool waiting;
static int ended;

/* The file system gives a block its place when it is first written. */
static void below_submit(struct disk *which, struct disk_io *io)
{
    uint64_t first = io->offset_bytes / BLOCK_BYTES;
    uint64_t blocks = DIV_CEIL(io->length_bytes, BLOCK_BYTES);
    uint32_t fresh = 0;
    bool places = io->kind == DISK_WRITE || io->kind == DISK_ZERO;
    for (uint64_t i = first; places && i < first + blocks; i++)
        fresh += !has[i];
    disk->faults.full_one_in = fresh > room;
    if (fresh > 0 && fresh <= room) {
        room -= fresh;
        memset(has + first, true, blocks);
    }
    sim_ops->submit(which, io);
    disk->faults.full_one_in = 0;
}

static void done(void *context, int result)
{
    (void)context;
    waiting = false;
    ended = result;
}

static void op_done(struct store_op *which, int result)
{
    (void)which;
    done(NULL, result);
}

static int wait_for_it(void)
{
    for (waiting = true; waiting;) {
        cr_assert(world_step(&world));
        do
            store_turn(store);
        while (waiting && store_turn_needed(store));
    }
    return ended;
}

static void make(void)
{
    world_open(&world, 1);
    disk = sim_disk_open(&world, "disk", (uint64_t)BLOCKS * BLOCK_BYTES);
    disk->disk.prepares = true;
    sim_ops = disk->disk.ops;
    below_ops.submit = below_submit;
    disk->disk.ops = &below_ops;
    room = BELOW;
    options = (struct store_options){
        .clock = &world.clock,
        .devices = {{.disk = &disk->disk}},
        .device_count = 1,
        .cache_bytes = 1u << 20,
    };
    data = aligned_alloc(BLOCK_BYTES, OP_BLOCKS * BLOCK_BYTES);
    cr_assert_not_null(data);
    memset(data, 7, OP_BLOCKS * BLOCK_BYTES);
    cr_assert_eq(store_format(&options, (const uint8_t[16]){1}, false, &store, done, NULL), 0);
    cr_assert_eq(wait_for_it(), 0);
    cr_assert_eq(store_open(&options, &store, done, NULL), 0);
    cr_assert_eq(wait_for_it(), 0);
}

static void forget(void)
{
    world_close(&world);
    free(data);
}

static int write_at(unsigned index)
{
    op.kind = STORE_WRITE;
    op.volume = 7;
    op.view = VIEW_HEAD;
    op.block = (uint64_t)index * OP_BLOCKS;
    op.count = OP_BLOCKS;
    op.data = data;
    op.sequence++;
    op.epoch = 1;
    op.done = op_done;
    store_submit(store, &op);
    return wait_for_it();
}

static void expect_checkpoint(void)
{
    struct checkpoint_waiter waiter = {.done = done};
    store_checkpoint(store, &waiter);
    cr_assert_eq(wait_for_it(), 0);
}

Test(store_below, a_file_system_that_is_full_fails_no_store, .init = make, .fini = forget,
     .timeout = 120)
{
    unsigned written = 0;
    int result = 0;
    for (; written < VOLUME_OPS && result == 0; written++)
        result = write_at(written);
    cr_assert_eq(result, -ENOSPC);
    cr_assert_eq(store_state(store), STORE_READY);
    cr_assert_gt(written, BELOW / OP_BLOCKS / 2);
    /* What is there can be written again, from checkpoint to checkpoint. */
    unsigned again = 0;
    for (unsigned i = 0; i < 600; i++) {
        result = write_at(i * 37 % (written - 1));
        again += result == 0;
        cr_assert(result == 0 || result == -ENOSPC, "%d", result);
        if (i % 50 == 0)
            expect_checkpoint();
    }
    cr_assert_gt(again, 300);
    cr_assert_eq(store_state(store), STORE_READY);
    store_close(store, done, NULL);
    cr_assert_eq(wait_for_it(), 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A file whose file system has less space than the file is long: full, never failed. */
#include <stdlib.h>
#include <string.h>

#include "unit/store/rig.h"

#define BLOCKS 131072u  /* Four regions of the free map. */
#define BELOW 80000u    /* So many blocks may ever be written. */
#define OP_BLOCKS 256u  /* Of one write. */
#define VOLUME_OPS 480u /* Writes that cover the volume once. */

static const struct disk_ops *sim_ops;
static struct disk_ops below_ops;
static bool has[BLOCKS];
static uint32_t room;

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

static void make(void)
{
    open_world(BLOCKS);
    disk->disk.prepares = true;
    sim_ops = disk->disk.ops;
    below_ops.submit = below_submit;
    disk->disk.ops = &below_ops;
    room = BELOW;
    options.cache_bytes = 1u << 20;
    data = aligned_alloc(BLOCK_BYTES, OP_BLOCKS * BLOCK_BYTES);
    cr_assert_not_null(data);
    memset(data, 7, OP_BLOCKS * BLOCK_BYTES);
    format_store();
    start_store();
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
            checkpoint();
    }
    cr_assert_gt(again, 300);
    cr_assert_eq(store_state(store), STORE_READY);
    store_close(store, done, NULL);
    cr_assert_eq(wait_for_it(), 0);
}

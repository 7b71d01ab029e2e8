/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a superblock: both copies of one generation, beside those of the generation before. */
#include "store/internal.h"

static void super_written(struct device_io *io, int result)
{
    struct super_write *write = io->owner;
    if (result != 0 && write->result == 0)
        write->result = result;
    if (--write->pending == 0)
        write->done(write, write->result);
}

void store_super_write(struct store *store, void (*done)(struct super_write *write, int result))
{
    struct super_write *write = &store->super_write;
    assert(write->pending == 0);
    store->super.generation++;
    store->super.version = STORE_FORMAT; /* Whatever was opened. */
    superblock_encode(write->bytes, &store->super);
    write->done = done;
    write->store = store;
    write->result = 0;
    write->pending = 2;
    for (unsigned copy = 0; copy < 2; copy++) {
        write->ios[copy].owner = write;
        uint64_t place = superblock_block(store->super.generation, copy);
        device_submit(&store->devices, &write->ios[copy], DISK_WRITE, place, 1, write->bytes,
                      super_written);
    }
}

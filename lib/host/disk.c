/* SPDX-License-Identifier: Apache-2.0 */
#include "host/disk.h"

void disk_submit(struct disk *disk, struct disk_io *io)
{
    assert(io->state == DISK_IO_IDLE);
    assert(io->done != NULL);
    if (io->kind != DISK_FLUSH) {
        assert(io->length_bytes > 0);
        assert(io->length_bytes % disk->block_bytes == 0);
        assert(io->offset_bytes % disk->block_bytes == 0);
        assert(io->length_bytes <= disk->size_bytes);
        assert(io->offset_bytes <= disk->size_bytes - io->length_bytes);
    }
    if (io->kind == DISK_READ || io->kind == DISK_WRITE)
        assert((uintptr_t)io->data % 512 == 0);
    io->state = DISK_IO_FLYING;
    io->disk = disk;
    disk->ops->submit(disk, io);
}

void disk_complete(struct disk_io *io, int result)
{
    assert(io->state == DISK_IO_FLYING);
    assert(result <= 0);
    io->state = DISK_IO_IDLE;
    io->done(io, result);
}

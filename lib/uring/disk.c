/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to a disk, as entries of the ring. */
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "uring/disk.h"

/* private[0] of a DISK_ZERO: bytes that are zero already. */
#define ZERO_DONE 0

static bool disk_knows(const struct uring *uring, const void *data, uint32_t length)
{
    uintptr_t start = (uintptr_t)uring->arena.memory;
    uintptr_t at = (uintptr_t)data;
    return uring->buffers_registered && at >= start && at - start < uring->arena.bytes &&
           length <= uring->arena.bytes - (at - start);
}

static uint32_t zero_piece(const struct disk_io *io)
{
    return (uint32_t)MIN(io->length_bytes - io->private[ZERO_DONE], URING_ZERO_BYTES);
}

static void prepare_zero(struct uring *uring, struct disk_io *io, struct io_uring_sqe *sqe, int fd)
{
    uint64_t offset = io->offset_bytes + io->private[ZERO_DONE];
    if (uring->buffers_registered)
        io_uring_prep_write_fixed(sqe, fd, uring->zero, zero_piece(io), offset, URING_BUFFER_ZERO);
    else
        io_uring_prep_write(sqe, fd, uring->zero, zero_piece(io), offset);
}

void uring_disk_prepare(struct disk_io *io, struct io_uring_sqe *sqe)
{
    struct uring_disk *disk = uring_disk_of(io->disk);
    struct uring *uring = disk->uring;
    int fd = disk->slot >= 0 ? disk->slot : disk->fd;
    bool known = disk_knows(uring, io->data, io->length_bytes);
    switch (io->kind) {
    case DISK_READ:
        if (known)
            io_uring_prep_read_fixed(sqe, fd, io->data, io->length_bytes, io->offset_bytes,
                                     URING_BUFFER_ARENA);
        else
            io_uring_prep_read(sqe, fd, io->data, io->length_bytes, io->offset_bytes);
        break;
    case DISK_WRITE:
        if (known)
            io_uring_prep_write_fixed(sqe, fd, io->data, io->length_bytes, io->offset_bytes,
                                      URING_BUFFER_ARENA);
        else
            io_uring_prep_write(sqe, fd, io->data, io->length_bytes, io->offset_bytes);
        break;
    case DISK_FLUSH: io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC); break;
    case DISK_ZERO: prepare_zero(uring, io, sqe, fd); break;
    case DISK_DISCARD:
        io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                (int64_t)io->offset_bytes, (int64_t)io->length_bytes);
        break;
    }
    if (disk->slot >= 0)
        io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
}

void uring_disk_completed(struct disk_io *io, int result)
{
    if (io->kind == DISK_FLUSH || io->kind == DISK_DISCARD) {
        disk_complete(io, MIN(result, 0));
        return;
    }
    uint32_t wanted = io->kind == DISK_ZERO ? zero_piece(io) : io->length_bytes;
    if (result < 0 || (uint32_t)result != wanted) {
        disk_complete(io, result < 0 ? result : -EIO);
        return;
    }
    if (io->kind == DISK_ZERO) {
        io->private[ZERO_DONE] += wanted;
        if (io->private[ZERO_DONE] < io -> length_bytes) {
            uring_disk_start(uring_disk_of(io->disk)->uring, io);
            return;
        }
    }
    disk_complete(io, 0);
}

/* --- Discards of a block device: a call that may block, so on a thread of the work pool ------- */

static void discard_run(struct work_job *job)
{
    struct uring_disk *disk = CONTAINER_OF(job, struct uring_disk, discard_job);
    disk->discard_result = ioctl(disk->fd, BLKDISCARD, disk->discard_range) == 0 ? 0 : -errno;
}

static void discard_next(struct uring_disk *disk)
{
    const struct disk_io *io = LIST_ENTRY(disk->discards.next, struct disk_io, node);
    disk->discard_range[0] = io->offset_bytes;
    disk->discard_range[1] = io->length_bytes;
    work_submit(&disk->uring->work, &disk->discard_job);
}

static void discard_done(struct work_job *job)
{
    struct uring_disk *disk = CONTAINER_OF(job, struct uring_disk, discard_job);
    struct disk_io *io = LIST_ENTRY(list_pop_front(&disk->discards), struct disk_io, node);
    int result = disk->discard_result;
    if (!list_empty(&disk->discards))
        discard_next(disk);
    disk_complete(io, result);
}

static void discard_start(struct uring_disk *disk, struct disk_io *io)
{
    bool first = list_empty(&disk->discards);
    list_push_back(&disk->discards, &io->node);
    disk->discard_job.run = discard_run;
    disk->discard_job.done = discard_done;
    if (first)
        discard_next(disk);
}

/* --- Zeros for a file that has holes ---------------------------------------------------------- */

/* What stays free on the file system below: a pool's metadata may lie there too, and without room
 * for its journal no volume could be opened for writing any more. */
#define ROOM_BYTES (16ull << 20)

static bool zero_leaves_room(const struct uring_disk *disk, const struct disk_io *io)
{
    struct statvfs below;
    struct stat file;
    if (!disk->is_file || fstatvfs(disk->fd, &below) != 0 || fstat(disk->fd, &file) != 0)
        return true;
    /* Every block of the file is there already. */
    if ((uint64_t)file.st_blocks * 512 >= (uint64_t)file.st_size)
        return true;
    /* One that does not count (nbdfuse) says that it has none of none. */
    if (below.f_blocks == 0)
        return true;
    return (uint64_t)below.f_bavail * below.f_frsize >= io->length_bytes + ROOM_BYTES;
}

static void disk_submit_real(struct disk *disk, struct disk_io *io)
{
    struct uring_disk *real = uring_disk_of(disk);
    io->private[ZERO_DONE] = 0;
    if (io->kind == DISK_DISCARD && !real->is_file)
        discard_start(real, io);
    else if (io->kind == DISK_ZERO && !zero_leaves_room(real, io))
        uring_disk_refuse(real->uring, io, -ENOSPC);
    else
        uring_disk_start(real->uring, io);
}

const struct disk_ops uring_disk_ops = {.submit = disk_submit_real};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk: a file or a block device, opened for direct I/O.
 *
 * Requests complete in any order. A completed write is not durable until a
 * flush that was submitted after its completion has completed (io_uring and
 * drives promise no order). A short transfer is reported as -EIO.
 */
#ifndef HOST_DISK_H
#define HOST_DISK_H

#include "base/base.h"

enum disk_io_kind {
    DISK_READ,
    DISK_WRITE,
    DISK_FLUSH,   /* Everything that completed before is durable after. */
    DISK_ZERO,    /* The range reads zeros, and later writes to it pay no allocation. */
    DISK_DISCARD, /* Gives the range back to what is below; its content is then undefined. */
};

enum disk_io_state { DISK_IO_IDLE, DISK_IO_FLYING };

struct disk;
struct disk_io;
typedef void disk_done_fn(struct disk_io *io, int result);

/* Lives in whatever waits for it. Fill the first part, then disk_submit(). */
struct disk_io {
    enum disk_io_kind kind;
    uint64_t offset_bytes; /* Multiples of disk->block_bytes. */
    uint32_t length_bytes;
    void *data; /* 512-byte aligned; borrowed until `done`; read-only for DISK_WRITE. */
    disk_done_fn *done;

    enum disk_io_state state;
    struct disk *disk;
    struct list node;    /* The implementation's. */
    uint64_t private[4]; /* The implementation's. */
};

struct disk_ops {
    void (*submit)(struct disk *disk, struct disk_io *io);
};

struct disk {
    const struct disk_ops *ops;
    const char *name;     /* For sentences. */
    uint64_t size_bytes;  /* A multiple of block_bytes. */
    uint32_t block_bytes; /* Direct I/O granularity, at most 4096. */
    bool prepares;        /* First writes are slow unless DISK_ZERO came first (a file). */
};

/* Checks at the seam, then hands over. `io->done` runs exactly once, later. */
void disk_submit(struct disk *disk, struct disk_io *io);
/* Every implementation ends every request here, and never inside submit. result: 0 or -errno. */
void disk_complete(struct disk_io *io, int result);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A disk of the real world, for the files of this room only. */
#ifndef URING_DISK_H
#define URING_DISK_H

#include "uring/ring.h"

struct uring_disk {
    struct disk disk;
    struct uring *uring;
    int fd;
    int slot; /* Of the registered descriptors; -1: none. */
    bool is_file;
    struct list discards; /* struct disk_io: a block device discards one after the other. */
    struct work_job discard_job;
    uint64_t discard_range[2];
    int discard_result;
    char *path;
};

extern const struct disk_ops uring_disk_ops;

static inline struct uring_disk *uring_disk_of(const struct disk *disk)
{
    return CONTAINER_OF(disk, struct uring_disk, disk);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device: the devices of one store, each at a fixed base in one space of places.
 *
 * Owns the table of devices and whether they failed. Promises that a failed or
 * short write, or a failed flush, fails the whole store at once and for good (the
 * page cache and the drive may lie afterwards): every later request answers
 * IOMESH_FAILED. No space below for a write is -ENOSPC and fails nothing; for a flush
 * it is a failure like any other. A read error is the reader's to judge.
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include "host/host.h"

#define DEVICES_MAX 64u

enum device_class { DEVICE_NVME, DEVICE_SSD, DEVICE_HDD, DEVICE_CLASSES };

struct device {
    struct disk *disk;
    uint64_t base;   /* First place; a multiple of 32,768 blocks (one page of the free map). */
    uint64_t blocks; /* 4 KiB blocks. */
    enum device_class class;
    bool unflushed;    /* Written since the last flush began. */
    unsigned flushing; /* Flushes in flight: what they cover is not durable yet. */
    int failed;        /* 0, or its error: it is the one that failed the store. */
};

struct device_set {
    struct device devices[DEVICES_MAX];
    unsigned count;
    int failed; /* 0, or the error that failed the store. */
    /* Told once, when `failed` is set. device: NULL if it was none of them. */
    void (*on_failed)(struct device_set *set, const struct device *device, int error);
    uint32_t flying;   /* Requests at a disk now. */
    struct list ended; /* Requests that never reached a disk; device_turn() ends them. */
    uint64_t read_errors, bytes_read, bytes_written, flushes;
};

struct device_io;
typedef void device_done_fn(struct device_io *io, int result);

/* Lives in whatever waits for it; zero it first. */
struct device_io {
    struct disk_io io;
    struct device_set *set;
    struct device *device;
    device_done_fn *done;
    struct device_flush *flush; /* Whose part it is, if it flushes. */
    void *owner;                /* The caller's. */
    int result;
};

/* Zero the set, add devices; then this, before anything else. */
void device_set_init(struct device_set *set);
/* Once per engine turn: ends what was refused without a disk. Returns how many it ended. */
unsigned device_turn(struct device_set *set);

/* The device that holds a place, or NULL if none does. */
struct device *device_at(struct device_set *set, uint64_t place);
/* Whether [place, place + blocks) lies whole on one device. */
bool device_holds(struct device_set *set, uint64_t place, uint64_t blocks);

/*
 * Read, write, zero or give back whole blocks; `done` runs once, never inside the call, also when
 * the store has failed. The range lies on one device. `data` is aligned as struct disk_io says,
 * borrowed until `done`.
 */
void device_submit(struct device_set *set, struct device_io *io, enum disk_io_kind kind,
                   uint64_t place, uint32_t blocks, void *data, device_done_fn *done);

/* One flush of every device that was written since its last one. */
struct device_flush {
    struct device_io io[DEVICES_MAX]; /* One for each device that needs it. */
    unsigned pending;
    int result;
    void (*done)(struct device_flush *flush, int result);
};
void device_flush(struct device_set *set, struct device_flush *flush,
                  void (*done)(struct device_flush *flush, int result));

/* Fails the store, as a failed write does. device: NULL if it is not the fault of one. */
void device_fail(struct device_set *set, struct device *device, int error);

#endif

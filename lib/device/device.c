/* SPDX-License-Identifier: Apache-2.0 */
#include "device/device.h"

struct device *device_at(struct device_set *set, uint64_t place)
{
    for (unsigned i = 0; i < set->count; i++) {
        struct device *device = &set->devices[i];
        if (place >= device->base && place - device->base < device->blocks)
            return device;
    }
    return NULL;
}

bool device_holds(struct device_set *set, uint64_t place, uint64_t blocks)
{
    const struct device *device = device_at(set, place);
    return device != NULL && blocks > 0 && blocks <= device->blocks &&
           place - device->base <= device->blocks - blocks;
}

void device_fail(struct device_set *set, struct device *device, int error)
{
    assert(error < 0);
    if (set->failed != 0)
        return;
    set->failed = error;
    if (device != NULL)
        device->failed = error;
    if (set->on_failed != NULL)
        set->on_failed(set, device, error);
}

static void device_count(struct device_set *set, const struct disk_io *io, int result)
{
    if (io->kind == DISK_FLUSH)
        set->flushes++;
    else if (io->kind == DISK_READ && result == 0)
        set->bytes_read += io->length_bytes;
    else if (io->kind == DISK_READ)
        set->read_errors++;
    else if (io->kind == DISK_WRITE && result == 0)
        set->bytes_written += io->length_bytes;
}

static void device_completed(struct disk_io *disk_io, int result)
{
    struct device_io *io = CONTAINER_OF(disk_io, struct device_io, io);
    io->set->flying--;
    device_count(io->set, disk_io, result);
    /* Discarding is advice: its failure changes nothing that was promised. */
    bool changes =
        disk_io->kind == DISK_WRITE || disk_io->kind == DISK_FLUSH || disk_io->kind == DISK_ZERO;
    /* A write that found no space changed nothing. What a flush finds none for is dropped, and the
     * system says so once: the next flush would lie. */
    bool full = result == -ENOSPC && disk_io->kind != DISK_FLUSH;
    if (changes && result != 0 && !full) {
        REACH(device_write_failed);
        if (!MUTANT(20))
            device_fail(io->set, io->device, result);
    }
    /* Marked now, not when sent: a flush sent in between does not cover it. */
    if (disk_io->kind == DISK_WRITE || disk_io->kind == DISK_ZERO)
        io->device->unflushed = true;
    /* What completes after the failure may lie too. */
    if (changes && io->set->failed != 0)
        result = IOMESH_FAILED;
    io->done(io, result);
}

/* Ends a request that no disk will see: later, as every request ends. */
static void device_end_later(struct device_io *io, int result)
{
    assert(io->io.state == DISK_IO_IDLE);
    io->result = result;
    list_push_back(&io->set->ended, &io->io.node);
}

void device_set_init(struct device_set *set)
{
    list_init(&set->ended);
}

unsigned device_turn(struct device_set *set)
{
    struct list ended;
    list_init(&ended);
    list_splice_back(&ended, &set->ended);
    unsigned count = 0;
    for (struct list *node; (node = list_pop_front(&ended)) != NULL; count++) {
        struct device_io *io = LIST_ENTRY(node, struct device_io, io.node);
        io->done(io, io->result);
    }
    return count;
}

void device_submit(struct device_set *set, struct device_io *io, enum disk_io_kind kind,
                   uint64_t place, uint32_t blocks, void *data, device_done_fn *done)
{
    assert(kind != DISK_FLUSH);
    assert(device_holds(set, place, blocks));
    io->set = set;
    io->device = device_at(set, place);
    io->done = done;
    io->io.kind = kind;
    io->io.offset_bytes = (place - io->device->base) * BLOCK_BYTES;
    io->io.length_bytes = blocks * BLOCK_BYTES;
    io->io.data = data;
    io->io.done = device_completed;
    /* What follows a failure must not reach the platter: it may build on what was lost. */
    if (set->failed != 0 && kind != DISK_READ) {
        device_end_later(io, IOMESH_FAILED);
        return;
    }
    set->flying++;
    disk_submit(io->device->disk, &io->io);
}

static void device_flush_part(struct device_io *io, int result)
{
    struct device_flush *flush = io->flush;
    if (io->device != NULL)
        io->device->flushing--;
    if (result != 0 && flush->result == 0)
        flush->result = result;
    if (--flush->pending == 0)
        flush->done(flush, flush->result);
}

static void device_flush_send(struct device_set *set, struct device_flush *flush,
                              struct device *device)
{
    struct device_io *io = &flush->io[flush->pending++];
    io->set = set;
    io->device = device;
    io->flush = flush;
    io->done = device_flush_part;
    io->io.kind = DISK_FLUSH;
    io->io.offset_bytes = 0;
    io->io.length_bytes = 0;
    io->io.data = NULL;
    io->io.done = device_completed;
    device->unflushed = false;
    device->flushing++;
    set->flying++;
    disk_submit(device->disk, &io->io);
}

void device_flush(struct device_set *set, struct device_flush *flush,
                  void (*done)(struct device_flush *flush, int result))
{
    assert(flush->pending == 0);
    flush->done = done;
    flush->result = 0;
    for (unsigned i = 0; i < set->count && set->failed == 0; i++) {
        /* Beside a flush in flight another: to be told durable before it ends would be a lie. */
        const struct device *device = &set->devices[i];
        if (device->unflushed || (device->flushing > 0 && !MUTANT(21)))
            device_flush_send(set, flush, &set->devices[i]);
    }
    if (flush->pending > 0)
        return;
    struct device_io *io = &flush->io[0];
    flush->pending = 1;
    io->set = set;
    io->device = NULL;
    io->flush = flush;
    io->done = device_flush_part;
    device_end_later(io, set->failed != 0 ? IOMESH_FAILED : 0);
}

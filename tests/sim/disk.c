/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_FACTOR 40u
#define GARBAGE 0xa5

enum sim_fault { FAULT_NONE, FAULT_ERROR, FAULT_SHORT, FAULT_FULL, FAULT_MISDIRECT, FAULT_LOST };

struct sim_op {
    struct world_event event;
    struct list node;
    struct sim_disk *disk;
    struct disk_io *io;
    enum disk_io_kind kind;
    uint64_t offset;
    uint32_t length;
    enum sim_fault fault;
    uint8_t *data;    /* DISK_WRITE: what was submitted. */
    uint64_t garbage; /* DISK_DISCARD: seed of what is left behind. */
    uint64_t horizon; /* DISK_FLUSH: covers changes numbered below. Others: its number. */
};

static void op_free(struct sim_op *op)
{
    free(op->data);
    free(op);
}

static void ops_free(struct list *ops)
{
    for (struct list *node; (node = list_pop_front(ops)) != NULL;)
        op_free(LIST_ENTRY(node, struct sim_op, node));
}

/* --- What a change does to an image ---------------------------------------------------------- */

/* What a discarded page then holds: itself, zeros or garbage. Pages of zeros stay zeros, so that a
 * discard of a terabyte costs nothing. */
static void op_discard_page(const struct sim_op *op, struct image *image, uint64_t page,
                            uint64_t from, uint64_t to)
{
    uint8_t *bytes = image_page(image, page);
    struct prng prng = {.state = op->garbage + page};
    uint64_t fate = prng_below(&prng, 3);
    if (bytes == NULL || fate == 0)
        return;
    for (uint64_t at = from; at < to; at += sizeof(uint64_t))
        put64(bytes + at, fate == 1 ? 0 : prng_next(&prng));
}

/* Does `length` bytes of the change from `offset` on. */
static void op_apply(const struct sim_op *op, struct image *image, uint64_t offset, uint64_t length)
{
    if (op->kind != DISK_DISCARD) {
        image_write(image, offset, length,
                    op->data == NULL ? NULL : op->data + (offset - op->offset));
        return;
    }
    while (length > 0) {
        uint64_t within = offset % IMAGE_PAGE_BYTES;
        uint64_t piece = MIN(length, IMAGE_PAGE_BYTES - within);
        op_discard_page(op, image, offset / IMAGE_PAGE_BYTES, within, within + piece);
        offset += piece;
        length -= piece;
    }
}

static void op_apply_whole(const struct sim_op *op, struct image *image)
{
    op_apply(op, image, op->offset, op->length);
}

/* --- Faults ---------------------------------------------------------------------------------- */

static bool hits(struct sim_disk *disk, uint32_t one_in, uint64_t at, uint64_t count)
{
    return (at != 0 && at == count) || prng_one_in(&disk->chance, one_in);
}

static uint64_t media_to(const struct sim_disk *disk)
{
    return disk->faults.media_to == 0 ? disk->disk.size_bytes : disk->faults.media_to;
}

static enum sim_fault draw_write_fault(struct sim_disk *disk, const struct disk_io *io)
{
    const struct sim_faults *f = &disk->faults;
    uint64_t n = disk->counts.writes;
    if (hits(disk, f->write_error_one_in, f->write_error_at, n))
        return FAULT_ERROR;
    if (hits(disk, f->short_one_in, f->short_at, n + disk->counts.reads))
        return FAULT_SHORT;
    if (hits(disk, f->full_one_in, f->full_at, n))
        return FAULT_FULL;
    if (io->offset_bytes < f->media_from || io->offset_bytes + io->length_bytes > media_to(disk))
        return FAULT_NONE;
    if (hits(disk, f->misdirect_one_in, f->misdirect_at, n))
        return FAULT_MISDIRECT;
    if (hits(disk, f->lost_one_in, f->lost_at, n))
        return FAULT_LOST;
    return FAULT_NONE;
}

static enum sim_fault draw_read_fault(struct sim_disk *disk, const struct disk_io *io)
{
    const struct sim_faults *f = &disk->faults;
    uint64_t n = disk->counts.reads;
    if (io->offset_bytes < f->unreadable_offset + f->unreadable_length &&
        f->unreadable_offset < io->offset_bytes + io->length_bytes)
        return FAULT_ERROR;
    if (hits(disk, f->read_error_one_in, f->read_error_at, n))
        return FAULT_ERROR;
    if (hits(disk, f->short_one_in, f->short_at, n + disk->counts.writes))
        return FAULT_SHORT;
    return FAULT_NONE;
}

static enum sim_fault draw_fault(struct sim_disk *disk, const struct disk_io *io)
{
    const struct sim_faults *f = &disk->faults;
    switch (io->kind) {
    case DISK_READ: disk->counts.reads++; return draw_read_fault(disk, io);
    case DISK_WRITE: disk->counts.writes++; return draw_write_fault(disk, io);
    case DISK_FLUSH:
        disk->counts.flushes++;
        return hits(disk, f->flush_error_one_in, f->flush_error_at, disk->counts.flushes)
                   ? FAULT_ERROR
                   : FAULT_NONE;
    case DISK_ZERO:
        disk->counts.zeros++;
        return prng_one_in(&disk->chance, f->full_one_in) ? FAULT_FULL : FAULT_NONE;
    case DISK_DISCARD: disk->counts.discards++; return FAULT_NONE;
    }
    abort();
}

/* A write that failed half way: the sectors that it did not reach keep what they had. */
static void op_spoil(struct sim_op *op)
{
    struct sim_disk *disk = op->disk;
    uint64_t reached = prng_below(&disk->chance, op->length / SECTOR_BYTES);
    for (uint64_t sector = 0; sector < op->length / SECTOR_BYTES; sector++) {
        bool written = op->fault == FAULT_SHORT ? sector < reached : prng_one_in(&disk->chance, 2);
        if (!written)
            image_read(&disk->seen, op->offset + sector * SECTOR_BYTES, SECTOR_BYTES,
                       op->data + sector * SECTOR_BYTES);
    }
}

static void op_misdirect(struct sim_op *op)
{
    struct sim_disk *disk = op->disk;
    uint64_t from = disk->faults.media_from;
    uint64_t places = (media_to(disk) - from - op->length) / IMAGE_PAGE_BYTES + 1;
    op->offset = from + prng_below(&disk->chance, places) * IMAGE_PAGE_BYTES;
}

/* --- Completion ------------------------------------------------------------------------------ */

/* Draws, sector by sector, what of a change is there: `one_in` sectors are not. */
static void op_apply_torn(const struct sim_op *op, struct image *image, struct prng *prng)
{
    uint64_t prefix = prng_below(prng, op->length / SECTOR_BYTES + 1);
    bool scattered = prng_one_in(prng, 2);
    for (uint64_t sector = 0; sector < op->length / SECTOR_BYTES; sector++) {
        if (scattered ? prng_one_in(prng, 2) : sector < prefix)
            op_apply(op, image, op->offset + sector * SECTOR_BYTES, SECTOR_BYTES);
    }
}

static void complete_read(struct sim_op *op)
{
    struct sim_disk *disk = op->disk;
    uint64_t length = op->fault == FAULT_NONE ? op->length : 0;
    if (op->fault == FAULT_SHORT)
        length = prng_below(&disk->chance, op->length / SECTOR_BYTES) * SECTOR_BYTES;
    image_read(&disk->seen, op->offset, length, op->io->data);
    LIST_EACH (&disk->flying, node) {
        const struct sim_op *other = LIST_ENTRY(node, struct sim_op, node);
        if (other->kind != DISK_WRITE || other->fault == FAULT_LOST)
            continue;
        uint64_t from = MAX(op->offset, other->offset);
        uint64_t to = MIN(op->offset + length, other->offset + other->length);
        for (; from < to; from += SECTOR_BYTES) {
            if (prng_one_in(&disk->chance, 2))
                memcpy((uint8_t *)op->io->data + (from - op->offset),
                       other->data + (from - other->offset), SECTOR_BYTES);
        }
    }
}

/* Nobody knows what arrived, and the next flush will not say. */
static void lose_change(struct sim_disk *disk, const struct sim_op *change)
{
    op_apply_torn(change, &disk->platter, &disk->chance);
    if (disk->faults.failed_flush_hides)
        return;
    for (uint64_t at = 0; at < change->length; at += SECTOR_BYTES) {
        uint8_t sector[SECTOR_BYTES];
        image_read(&disk->platter, change->offset + at, SECTOR_BYTES, sector);
        image_write(&disk->seen, change->offset + at, SECTOR_BYTES, sector);
    }
}

static void complete_flush(struct sim_op *op)
{
    struct sim_disk *disk = op->disk;
    if (disk->faults.flush_lies) {
        disk->counts.lies++;
        return;
    }
    LIST_EACH_SAFE (&disk->unflushed, node, after) {
        struct sim_op *change = LIST_ENTRY(node, struct sim_op, node);
        if (change->horizon >= op->horizon)
            break;
        if (op->fault == FAULT_NONE)
            op_apply_whole(change, &disk->platter);
        else
            lose_change(disk, change);
        list_remove(node);
        op_free(change);
    }
    if (op->fault == FAULT_NONE || disk->faults.failed_flush_hides)
        return;
    LIST_EACH (&disk->unflushed, node)
        op_apply_whole(LIST_ENTRY(node, struct sim_op, node), &disk->seen);
}

/* True if the op was kept, to become durable later. */
static bool complete_change(struct sim_op *op)
{
    struct sim_disk *disk = op->disk;
    if (op->fault == FAULT_FULL || op->fault == FAULT_LOST)
        return false;
    if (op->fault == FAULT_ERROR || op->fault == FAULT_SHORT)
        op_spoil(op);
    op_apply_whole(op, &disk->seen);
    op->horizon = disk->completed++;
    list_push_back(&disk->unflushed, &op->node);
    return true;
}

static void check_borrowed(const struct sim_op *op)
{
    if (op->kind != DISK_WRITE || memcmp(op->data, op->io->data, op->length) == 0)
        return;
    fprintf(stderr, "sim: seed %llu: %s: the buffer of a write at %llu changed in flight\n",
            (unsigned long long)op->disk->world->seed, op->disk->disk.name,
            (unsigned long long)op->offset);
    abort();
}

static void disk_fire(struct world_event *event)
{
    struct sim_op *op = CONTAINER_OF(event, struct sim_op, event);
    struct sim_disk *disk = op->disk;
    struct world *world = disk->world;
    struct disk_io *io = op->io;
    enum sim_fault fault = op->fault;
    list_remove(&op->node);
    check_borrowed(op);
    bool kept = false;
    if (op->kind == DISK_READ)
        complete_read(op);
    else if (op->kind == DISK_FLUSH)
        complete_flush(op);
    else
        kept = complete_change(op);
    world_trace(world, op->offset << 8 | (unsigned)fault);
    if (!kept)
        op_free(op);
    int result = fault == FAULT_ERROR || fault == FAULT_SHORT ? -EIO : 0;
    disk_complete(io, fault == FAULT_FULL ? -ENOSPC : result);
    world_moment(world);
}

/* --- Submission ------------------------------------------------------------------------------ */

static uint64_t draw_latency_ns(struct sim_disk *disk, enum disk_io_kind kind)
{
    uint64_t least = kind == DISK_FLUSH ? 50000 : 10000;
    uint64_t latency = least + prng_below(&disk->latency, kind == DISK_FLUSH ? 1000000 : 200000);
    if (prng_one_in(&disk->chance, disk->faults.slow_one_in))
        latency *= SLOW_FACTOR;
    bool stalls = kind == DISK_READ && disk->faults.stall_read_at == disk->counts.reads;
    return stalls ? latency + disk->faults.stall_ns : latency;
}

static void count_fault(struct sim_disk *disk, const struct disk_io *io, enum sim_fault fault)
{
    struct sim_disk_counts *counts = &disk->counts;
    counts->errors += fault == FAULT_ERROR;
    counts->flush_errors += fault == FAULT_ERROR && io->kind == DISK_FLUSH;
    counts->shorts += fault == FAULT_SHORT;
    counts->fulls += fault == FAULT_FULL;
    counts->misdirected += fault == FAULT_MISDIRECT;
    counts->lost += fault == FAULT_LOST;
}

static void sim_disk_submit(struct disk *seen_disk, struct disk_io *io)
{
    struct sim_disk *disk = CONTAINER_OF(seen_disk, struct sim_disk, disk);
    struct world *world = disk->world;
    if (world->off)
        return;
    struct sim_op *op = calloc(1, sizeof *op);
    if (op == NULL)
        abort();
    op->event.fire = disk_fire;
    op->disk = disk;
    op->io = io;
    op->kind = io->kind;
    op->offset = io->kind == DISK_FLUSH ? 0 : io->offset_bytes;
    op->length = io->kind == DISK_FLUSH ? 0 : io->length_bytes;
    op->horizon = disk->completed;
    op->fault = draw_fault(disk, io);
    count_fault(disk, io, op->fault);
    if (io->kind == DISK_WRITE) {
        op->data = malloc(io->length_bytes);
        if (op->data == NULL)
            abort();
        memcpy(op->data, io->data, io->length_bytes);
        world_trace(world, get64(op->data));
    } else if (io->kind == DISK_READ) {
        memset(io->data, GARBAGE, io->length_bytes);
    } else if (io->kind == DISK_DISCARD) {
        op->garbage = prng_next(&disk->chance);
    }
    if (op->fault == FAULT_MISDIRECT)
        op_misdirect(op);
    list_push_back(&disk->flying, &op->node);
    world_trace(world, op->offset ^ (uint64_t)op->length << 40 ^ (uint64_t)op->kind << 60);
    world_at(world, &op->event, draw_latency_ns(disk, io->kind));
    world_moment(world);
}

static const struct disk_ops sim_disk_ops = {.submit = sim_disk_submit};

/* --- Life ------------------------------------------------------------------------------------ */

struct sim_disk *sim_disk_open(struct world *world, const char *name, uint64_t size_bytes)
{
    struct sim_disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL)
        abort();
    disk->disk = (struct disk){
        .ops = &sim_disk_ops, .name = name, .size_bytes = size_bytes, .block_bytes = SECTOR_BYTES};
    disk->world = world;
    disk->latency = prng_fork(&world->prng);
    disk->chance = prng_fork(&world->prng);
    image_open(&disk->seen, size_bytes);
    image_open(&disk->platter, size_bytes);
    list_init(&disk->flying);
    list_init(&disk->unflushed);
    list_push_back(&world->disks, &disk->node);
    return disk;
}

struct sim_disk *sim_disk_clone(struct world *world, const char *name, const struct sim_disk *disk)
{
    struct sim_disk *clone = sim_disk_open(world, name, disk->disk.size_bytes);
    clone->disk.block_bytes = disk->disk.block_bytes;
    clone->disk.prepares = disk->disk.prepares;
    image_copy(&clone->seen, &disk->seen);
    image_copy(&clone->platter, &disk->seen);
    return clone;
}

void sim_disk_close(struct sim_disk *disk)
{
    ops_free(&disk->flying);
    ops_free(&disk->unflushed);
    image_close(&disk->seen);
    image_close(&disk->platter);
    list_remove(&disk->node);
    free(disk);
}

/* How a cut treats what was not flushed: all alike, or each for itself. */
enum cut_mood { CUT_MIXED, CUT_KEEPS, CUT_DROPS, CUT_TEARS, CUT_MOODS };

static void cut_one(struct sim_disk *disk, const struct sim_op *op, enum cut_mood mood)
{
    if (op->kind == DISK_READ || op->kind == DISK_FLUSH || op->fault == FAULT_LOST ||
        op->fault == FAULT_FULL)
        return;
    if (mood == CUT_MIXED)
        mood = (enum cut_mood)(CUT_KEEPS + prng_below(&disk->chance, CUT_MOODS - CUT_KEEPS));
    if (mood == CUT_KEEPS) {
        disk->counts.survived++;
        op_apply_whole(op, &disk->platter);
    } else if (mood == CUT_TEARS) {
        disk->counts.torn++;
        op_apply_torn(op, &disk->platter, &disk->chance);
    } else {
        disk->counts.dropped++;
    }
}

/* A flush under way may have been done already, though nobody heard. */
static void cut_flushes(struct sim_disk *disk)
{
    LIST_EACH (&disk->flying, node) {
        struct sim_op *op = LIST_ENTRY(node, struct sim_op, node);
        if (op->kind == DISK_FLUSH && prng_one_in(&disk->chance, 2))
            complete_flush(op);
    }
}

void sim_disk_restart(struct sim_disk *disk)
{
    disk->counts.cuts++;
    enum cut_mood mood = prng_one_in(&disk->chance, 2)
                             ? CUT_MIXED
                             : (enum cut_mood)prng_below(&disk->chance, CUT_MOODS);
    if (disk->faults.cut_drops_all)
        mood = CUT_DROPS;
    cut_flushes(disk);
    /* Any order: take from the front, put at either end. */
    struct list shuffled;
    list_init(&shuffled);
    list_splice_back(&disk->unflushed, &disk->flying);
    for (struct list *node; (node = list_pop_front(&disk->unflushed)) != NULL;) {
        if (prng_one_in(&disk->chance, 4))
            list_push_front(&shuffled, node);
        else
            list_push_back(&shuffled, node);
    }
    LIST_EACH (&shuffled, node)
        cut_one(disk, LIST_ENTRY(node, struct sim_op, node), mood);
    ops_free(&shuffled);
    image_copy(&disk->seen, &disk->platter);
}

void sim_disk_kill(struct sim_disk *disk)
{
    for (struct list *node; (node = list_pop_front(&disk->flying)) != NULL;) {
        struct sim_op *op = LIST_ENTRY(node, struct sim_op, node);
        bool changes = op->kind != DISK_READ && op->kind != DISK_FLUSH;
        if (!changes || prng_one_in(&disk->chance, 2) || !complete_change(op))
            op_free(op);
    }
}

void sim_disk_peek(const struct sim_disk *disk, uint64_t offset, uint64_t length, void *to)
{
    image_read(&disk->seen, offset, length, to);
}

void sim_disk_poke(struct sim_disk *disk, uint64_t offset, uint64_t length, const void *from)
{
    image_write(&disk->seen, offset, length, from);
    image_write(&disk->platter, offset, length, from);
}

uint64_t sim_disk_rot(struct sim_disk *disk, uint64_t offset, uint64_t length)
{
    uint64_t bit = offset * 8 + prng_below(&disk->chance, length * 8);
    uint8_t byte;
    struct image *images[] = {&disk->seen, &disk->platter};
    for (size_t i = 0; i < COUNT_OF(images); i++) {
        image_read(images[i], bit / 8, 1, &byte);
        byte ^= (uint8_t)(1u << bit % 8);
        image_write(images[i], bit / 8, 1, &byte);
    }
    return bit;
}

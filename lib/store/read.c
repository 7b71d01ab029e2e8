/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One read of up to 256 blocks within one map page (or only where its blocks are: STORE_MAP).
 *
 *   BEGIN ──▶ LOOK ──▶ FLY ──▶ finished
 *                       ▲ │
 *                       └─┘ another round, if its blocks lie in more than 16 runs
 *
 * From before it looks until its last block is in hand the read holds a ticket: no place that it
 * found is given to anybody else meanwhile. Each block is checked against the CRC in its pointer.
 */
#include <string.h>

#include "codec/codec.h"
#include "store/internal.h"

enum read_state { READ_BEGIN, READ_LOOK, READ_FLY };

static void read_finish(struct store_op *op, int result)
{
    space_read_leave(op->store->space, op->ticket);
    store_op_finish(op, result);
}

static void read_next(struct store_op *op);

static void *read_data(const struct store_op *op, uint32_t block)
{
    return (uint8_t *)op->data + (size_t)block * BLOCK_BYTES;
}

/* Damage is told with its exact place, once for each block, and never handed on. */
static void read_damaged(struct store_op *op, uint32_t block, const char *what)
{
    REACH(read_damaged);
    op->store->stats.corrupt_blocks++;
    op->result = IOMESH_CORRUPT;
    memset(read_data(op, block), 0, BLOCK_BYTES);
    store_damage(op->store, op->volume, op->block + block, 1,
                 "volume %llu block %llu at place %llu: %s", (unsigned long long)op->volume,
                 (unsigned long long)(op->block + block), (unsigned long long)op->places[block],
                 what);
}

static void read_done(struct device_io *io, int result)
{
    struct store_op *op = io->owner;
    struct store *store = op->store;
    uint32_t first = op->first[io - op->ios];
    uint32_t blocks = io->io.length_bytes / BLOCK_BYTES;
    op->pending--;
    if (result != 0) {
        memset(read_data(op, first), 0, (size_t)blocks * BLOCK_BYTES);
        if (op->result == 0)
            op->result = -EIO;
        store_damage(store, op->volume, op->block + first, blocks,
                     "volume %llu blocks %llu..%llu at place %llu: %s",
                     (unsigned long long)op->volume, (unsigned long long)(op->block + first),
                     (unsigned long long)(op->block + first + blocks - 1),
                     (unsigned long long)op->places[first], base_error_text(result));
    }
    for (uint32_t i = first; result == 0 && i < first + blocks; i++) {
        if (crc32c(read_data(op, i), BLOCK_BYTES) != op->crcs[i] && !MUTANT(85))
            read_damaged(op, i, "what was read does not match its checksum");
    }
    if (op->pending == 0)
        read_next(op);
}

/* How many blocks from `first` on lie in one run on one device. */
static uint32_t read_run(const struct store_op *op, uint32_t first)
{
    uint32_t blocks = 1;
    while (first + blocks < op->count && op->kinds[first + blocks] == POINTER_RAW &&
           op->places[first + blocks] == op->places[first] + blocks &&
           device_holds(&op->store->devices, op->places[first], blocks + 1))
        blocks++;
    return blocks;
}

/* Send the next round of reads; when nothing is left, finish. */
static void read_next(struct store_op *op)
{
    unsigned count = 0;
    struct device_io *ios[STORE_OP_EXTENTS];
    uint32_t runs[STORE_OP_EXTENTS];
    while (op->base < op->count && count < STORE_OP_EXTENTS) {
        if (op->kinds[op->base] != POINTER_RAW) {
            op->base++;
            continue;
        }
        op->first[count] = op->base;
        runs[count] = read_run(op, op->base);
        ios[count] = &op->ios[count];
        op->base += runs[count];
        count++;
    }
    if (count == 0) {
        read_finish(op, op->result);
        return;
    }
    op->pending = count;
    for (unsigned i = 0; i < count; i++) {
        ios[i]->owner = op;
        device_submit(&op->store->devices, ios[i], DISK_READ, op->places[op->first[i]], runs[i],
                      read_data(op, op->first[i]), read_done);
    }
}

/* Notes where each block is; what needs no disk is answered at once. */
static void read_look(struct store_op *op)
{
    unsigned index = (unsigned)(op->block % MAP_BLOCKS);
    for (uint32_t i = 0; i < op->count; i++) {
        struct pointer pointer = tree_get(&op->path, index + i);
        op->kinds[i] = (uint8_t)MIN(pointer.kind, POINTER_PREPARED);
        op->places[i] = pointer.place;
        op->crcs[i] = pointer.crc;
        if (op->kind == STORE_MAP || pointer.kind == POINTER_RAW)
            continue;
        memset(read_data(op, i), 0, BLOCK_BYTES);
        if (pointer.kind == POINTER_BAD || pointer.kind == POINTER_SET_ASIDE)
            op->result = -EIO;
        else if (pointer.kind != POINTER_HOLE && pointer.kind != POINTER_ZERO)
            read_damaged(op, i, "its pointer is of a kind that this version does not read");
    }
}

void store_read_step(struct store_op *op)
{
    struct store *store = op->store;
    if (op->state == READ_BEGIN) {
        op->ticket = space_read_enter(store->space);
        op->state = READ_LOOK;
    }
    if (op->state != READ_LOOK)
        return;
    int error = tree_path_open(&op->path, op->volume, op->view, op->block, false);
    if (error == -EAGAIN)
        return;
    if (error != 0) {
        store_damage(store, op->volume, op->block, op->count,
                     "volume %llu block %llu: its map cannot be read: %s",
                     (unsigned long long)op->volume, (unsigned long long)op->block,
                     base_error_text(error));
        store->stats.corrupt_blocks += op->count;
        read_finish(op, error);
        return;
    }
    op->state = READ_FLY;
    read_look(op);
    tree_path_close(&op->path);
    if (op->kind == STORE_MAP) {
        read_finish(op, 0);
        return;
    }
    store->stats.reads++;
    store->stats.read_blocks += op->count;
    read_next(op);
}

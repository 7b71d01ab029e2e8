/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zeros over up to 256 blocks within one map page, or over a whole segment. No data is written.
 *
 *   ADMIT ──▶ LOG ──▶ APPLY ──▶ finished
 *                     ▲   │
 *                     └───┘
 *
 * APPLY goes map page by map page for a segment that has pages; one step if it has none. It may be
 * cut short by a crash: replay does it again, and what is zero already stays as it is.
 */
#include "store/internal.h"

enum zero_state { ZERO_ADMIT, ZERO_LOG, ZERO_WHOLE, ZERO_RESERVE, ZERO_APPLY };

uint32_t store_zero_record(const struct store_op *op, uint8_t *to)
{
    struct record record;
    record.type = RECORD_ZERO;
    record.volume = op->volume;
    record.block = op->block;
    record.count = op->count;
    record.sequence = op->sequence;
    record.watermark = op->watermark;
    record.epoch = op->epoch;
    record.generation = op->generation;
    return record_encode(to, &record);
}

static void zero_done(struct store_op *op, int result)
{
    struct store *store = op->store;
    journal_applied(store->journal, &op->entry);
    tree_path_close(&op->path);
    if (op->reserved > 0)
        space_quarantine_unreserve(store->space, op->reserved);
    op->reserved = 0;
    if (result != 0) {
        store_op_finish(op, result);
        return;
    }
    store->stats.zeroes++;
    store->stats.zeroed_blocks += op->count;
    store_op_finish(op, 0);
}

void store_zero_logged(struct store_op *op, int result)
{
    op->pending--;
    if (result != 0) {
        store_op_finish(op, result);
        return;
    }
    op->state = op->count == SEGMENT_BLOCKS ? ZERO_WHOLE : ZERO_RESERVE;
    store_zero_step(op);
}

/* 0: done whole; -ENOENT: it has pages. */
static int zero_whole(struct store_op *op)
{
    return tree_zero_segment(&op->path, op->volume, (uint32_t)(op->block / SEGMENT_BLOCKS),
                             op->sequence);
}

/* One map page; 0 when it is done. */
static int zero_page(struct store_op *op)
{
    struct store *store = op->store;
    uint64_t block = op->block + op->base;
    uint32_t count = MIN(op->count - op->base, MAP_BLOCKS);
    if (op->state == ZERO_RESERVE) {
        int error = store_quarantine_enter(store, count, &op->reserved);
        if (error != 0)
            return error;
        op->state = ZERO_APPLY;
    }
    int error = tree_path_open(&op->path, op->volume, VIEW_HEAD, block, true);
    if (error != 0)
        return error;
    store->applying_batch = op->entry.batch;
    store->applying_reserved = &op->reserved;
    tree_zero(&op->path, (unsigned)(block % MAP_BLOCKS), count, op->sequence);
    store->applying_reserved = NULL;
    tree_path_close(&op->path);
    if (op->reserved > 0)
        space_quarantine_unreserve(store->space, op->reserved);
    op->reserved = 0;
    op->base += count;
    op->state = ZERO_RESERVE;
    return 0;
}

void store_zero_step(struct store_op *op)
{
    struct store *store = op->store;
    int error = 0;
    switch ((enum zero_state)op->state) {
    case ZERO_ADMIT:
        if (store->devices.failed != 0) {
            store_op_finish(op, IOMESH_FAILED);
            return;
        }
        if (store_must_throttle(store)) {
            list_push_back(&store->admission, &op->node);
            return;
        }
        op->state = ZERO_LOG;
        op->pending++;
        store_op_append(op);
        return;
    case ZERO_WHOLE:
        error = zero_whole(op);
        if (error != -ENOENT) {
            if (error != -EAGAIN)
                zero_done(op, error);
            return;
        }
        op->state = ZERO_RESERVE;
        break;
    case ZERO_RESERVE:
    case ZERO_APPLY: break;
    case ZERO_LOG: return;
    }
    while (op->base < op->count) {
        error = zero_page(op);
        if (error == -EAGAIN)
            return;
        if (error != 0) {
            zero_done(op, error);
            return;
        }
    }
    zero_done(op, 0);
}

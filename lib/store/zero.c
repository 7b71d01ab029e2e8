/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zeros over up to 256 blocks within one map page, or over a whole segment. No data is written.
 *
 *   ADMIT ──▶ LOG ──▶ APPLY ──▶ finished
 *     │        ▲      ▲   │         ▲
 *     ▼        │      └───┘         │
 *   PROBE ─────┴────────────────────┘
 *
 * PROBE: no space for pages that would only say that nothing is there. Where that is so already, it
 * is all that was asked for; elsewhere there are pages, and blocks to be given back.
 * APPLY goes map page by map page for a segment that has pages; one step if it has none. It may be
 * cut short by a crash: replay does it again, and what is zero already stays as it is.
 */
#include "store/internal.h"

enum zero_state { ZERO_ADMIT, ZERO_PROBE, ZERO_LOG, ZERO_WHOLE, ZERO_RESERVE, ZERO_APPLY };

/* What zeros over nothing may make: a directory and a map page, or an entry of the table; and what
 * the table may need to take in the entry. */
#define ZERO_PAGES 3u

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

static void zero_end(struct store_op *op, int result)
{
    struct store *store = op->store;
    space_unpromise_pages(store->space, op->promised);
    op->promised = 0;
    if (result == 0) {
        store->stats.zeroes++;
        store->stats.zeroed_blocks += op->count;
    }
    store_op_finish(op, result);
}

static void zero_done(struct store_op *op, int result)
{
    struct store *store = op->store;
    journal_applied(store->journal, &op->entry);
    tree_path_close(&op->path);
    if (op->reserved > 0)
        space_quarantine_unreserve(store->space, op->reserved);
    op->reserved = 0;
    zero_end(op, result);
}

void store_zero_logged(struct store_op *op, int result)
{
    op->pending--;
    if (result != 0) {
        zero_end(op, result);
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

/* 0: there is something; -ENOENT: zeros are what reads there. */
static int zero_probe(struct store_op *op)
{
    int error = tree_path_open(&op->path, op->volume, VIEW_HEAD, op->block, false);
    if (error != 0)
        return error;
    bool whole = op->count == SEGMENT_BLOCKS;
    bool any = whole ? op->path.directory != NULL : op->path.page != NULL;
    tree_path_close(&op->path);
    return any ? 0 : -ENOENT;
}

static void zero_log(struct store_op *op)
{
    op->state = ZERO_LOG;
    op->pending++;
    store_op_append(op);
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
        if (space_promise_pages(store->space, ZERO_PAGES)) {
            op->promised = ZERO_PAGES;
            zero_log(op);
            return;
        }
        REACH(zero_probes);
        op->state = ZERO_PROBE;
        store_zero_step(op);
        return;
    case ZERO_PROBE:
        error = zero_probe(op);
        if (error == -ENOENT)
            zero_end(op, 0);
        else if (error != -EAGAIN)
            zero_log(op); /* An error is met again. */
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zeros over up to 256 blocks within one map page, or over a whole segment. No data is written.
 * Or known damage over them (STORE_BAD), as in a volume that has views.
 *
 *   ADMIT ──▶ LOG ──▶ WHOLE ──▶ RESERVE ──▶ APPLY ──▶ finished
 *     │        ▲                   ▲          │         ▲
 *     ▼        │                   └──────────┘         │
 *   PROBE ─────┴────────────────────────────────────────┘
 *
 * PROBE: no space for pages that would only say that nothing is there. Where that is so already, it
 * is all that was asked for; elsewhere there are pages, and blocks to be given back.
 * APPLY goes map page by map page for a segment that has pages; one step if it has none. It may be
 * cut short by a crash: replay does it again, and what is zero already stays as it is.
 *
 * In a volume that has views each map page is a round of its own, with its own record, for each may
 * take space and give none back:
 *
 *   ADMIT ──▶ LOOK ──▶ LOG ──▶ RESERVE ──▶ APPLY ──▶ ADMIT ... finished
 *     ▲        │ nothing to do
 *     └────────┘
 */
#include "store/internal.h"

enum zero_state {
    ZERO_ADMIT,
    ZERO_PROBE,
    ZERO_LOOK,
    ZERO_LOG,
    ZERO_WHOLE,
    ZERO_RESERVE,
    ZERO_APPLY,
};

/* What zeros over nothing may make: a directory and a map page, or an entry of the table; and what
 * the table may need to take in the entry. */
#define ZERO_PAGES 3u
/* And a page of a view, with what the table may need for that. */
#define ZERO_VIEW_PAGES 5u

uint32_t store_zero_record(const struct store_op *op, uint8_t *to)
{
    struct record record;
    record.type = op->views || op->group != 0 ? RECORD_ZERO_VIEWS : RECORD_ZERO;
    if (op->kind == STORE_BAD)
        record.type = RECORD_BAD;
    record.group = op->group;
    record.volume = op->volume;
    record.block = op->block + op->base;
    record.count = op->round;
    record.sequence = op->sequence;
    record.watermark = op->watermark;
    record.epoch = op->epoch;
    record.generation = op->generation;
    record.cut = op->cut;
    return record_encode(to, &record);
}

static void zero_unpromise(struct store_op *op)
{
    space_unpromise_pages(op->store->space, op->promised);
    op->promised = 0;
}

static void zero_end(struct store_op *op, int result)
{
    struct store *store = op->store;
    zero_unpromise(op);
    if (result == 0) {
        store->stats.zeroes++;
        store->stats.zeroed_blocks += op->count;
    }
    store_op_finish(op, result);
}

/* What a record said is done, or cannot be. */
static void zero_round_end(struct store_op *op)
{
    journal_applied(op->store->journal, &op->entry);
    tree_path_close(&op->path);
    if (op->reserved > 0)
        space_quarantine_unreserve(op->store->space, op->reserved);
    op->reserved = 0;
    zero_unpromise(op);
}

static void zero_done(struct store_op *op, int result)
{
    zero_round_end(op);
    zero_end(op, result);
}

void store_zero_logged(struct store_op *op, int result)
{
    op->pending--;
    if (result != 0) {
        zero_end(op, result);
        return;
    }
    op->state = op->round == SEGMENT_BLOCKS ? ZERO_WHOLE : ZERO_RESERVE;
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
    int error = store_op_open(op, block);
    if (error != 0)
        return error;
    store->applying_batch = op->entry.batch;
    store->applying_reserved = &op->reserved;
    int64_t asides = tree_asides(store->tree);
    if (op->kind == STORE_BAD)
        tree_damage(&op->path, (unsigned)(block % MAP_BLOCKS), count, op->sequence);
    else
        tree_zero(&op->path, (unsigned)(block % MAP_BLOCKS), count, op->sequence);
    store->applying_reserved = NULL;
    if (op->guarded)
        store_part_asides(op, tree_asides(store->tree) - asides);
    store_op_changed(op);
    tree_path_close(&op->path);
    if (op->reserved > 0)
        space_quarantine_unreserve(store->space, op->reserved);
    op->reserved = 0;
    op->base += count;
    op->state = ZERO_RESERVE;
    return 0;
}

/* 0: there is something; -ENOENT: zeros are what reads there; -ENOSPC: it is a hole, a parent would
 * show through it (or the sequence counts), and there is no space to say otherwise. */
static int zero_probe(struct store_op *op)
{
    int error = tree_path_open(&op->path, op->volume, VIEW_HEAD, op->block, false);
    if (error != 0)
        return error;
    bool whole = op->count == SEGMENT_BLOCKS;
    bool any = whole ? op->path.directory != NULL : op->path.page != NULL;
    bool shines = op->parent && op->path.above.kind == POINTER_HOLE;
    shines = shines || (op->exact && op->path.above.sequence < op->sequence);
    tree_path_close(&op->path);
    if (any)
        return 0;
    return shines ? -ENOSPC : -ENOENT;
}

static void zero_log(struct store_op *op)
{
    op->state = ZERO_LOG;
    op->pending++;
    store_op_append(op);
}

/* --- Rounds --------------------------------------------------------------------------------- */

/* No page is made: the one that is there changes, and no view keeps it as it was; or one slot of a
 * directory that is there says all of it. What is written anew for that gives back what it was. */
static bool zero_takes_nothing(const struct store_op *op, uint64_t owner)
{
    if (op->path.page != NULL)
        return owner >= op->cut;
    return op->round == MAP_BLOCKS && op->path.directory != NULL;
}

/* 0: this round is to be logged; -ENOENT: it has nothing to do; -ENOSPC. */
static int zero_look(struct store_op *op)
{
    uint64_t block = op->block + op->base;
    uint64_t owner = 0;
    op->round = MIN(op->count - op->base, MAP_BLOCKS);
    int error =
        tree_view_before(&op->path, op->volume, (uint32_t)(block / MAP_BLOCKS), VIEW_HEAD, &owner);
    if (error == 0)
        error = tree_path_open(&op->path, op->volume, VIEW_HEAD, block, false);
    if (error == -EAGAIN)
        return error;
    if (error != 0)
        return 0; /* It is met again. */
    enum pointer_kind above = op->path.above.kind;
    bool shown = op->path.page != NULL || (above != POINTER_ZERO && above != POINTER_HOLE);
    bool counts = op->exact && op->path.above.sequence < op->sequence;
    if (!shown && !counts && (above == POINTER_ZERO || !op->parent)) {
        /* Without a directory all of the segment is like that. */
        if (op->path.directory == NULL)
            op->round = op->count - op->base;
        error = -ENOENT;
    } else if (space_promise_pages(op->store->space, ZERO_VIEW_PAGES)) {
        op->promised = ZERO_VIEW_PAGES;
    } else if (!zero_takes_nothing(op, owner)) {
        REACH(zero_view_without_space);
        error = -ENOSPC;
    }
    tree_path_close(&op->path);
    return error;
}

/* One round after the other, as far as they go without waiting. True: one is to be admitted. */
static bool zero_rounds(struct store_op *op)
{
    int error = 0;
    if (op->state == ZERO_LOOK) {
        error = zero_look(op);
        if (error == -EAGAIN)
            return false;
        if (error == 0) {
            zero_log(op);
            return false;
        }
        if (error != -ENOENT) {
            zero_end(op, error);
            return false;
        }
        op->base += op->round;
    } else {
        error = zero_page(op);
        if (error == -EAGAIN)
            return false;
        if (error != 0) {
            zero_done(op, error);
            return false;
        }
        zero_round_end(op);
    }
    if (op->base == op->count) {
        zero_end(op, 0);
        return false;
    }
    op->state = ZERO_ADMIT;
    return true;
}

/* --- Steps ---------------------------------------------------------------------------------- */

/* True: it is admitted. */
static bool zero_admit(struct store_op *op)
{
    if (op->store->devices.failed != 0) {
        zero_end(op, IOMESH_FAILED);
        return false;
    }
    if (!store_must_throttle(op->store) || op->system)
        return true;
    list_push_back(&op->store->admission, &op->node);
    return false;
}

static void zero_views_step(struct store_op *op)
{
    do {
        if (op->state == ZERO_LOG)
            return;
        if (op->state == ZERO_ADMIT) {
            if (!zero_admit(op))
                return;
            op->state = ZERO_LOOK;
        }
    } while (zero_rounds(op));
}

static void zero_pages(struct store_op *op)
{
    while (op->base < op->count) {
        int error = zero_page(op);
        if (error == -EAGAIN)
            return;
        if (error != 0) {
            zero_done(op, error);
            return;
        }
    }
    zero_done(op, 0);
}

void store_zero_step(struct store_op *op)
{
    int error = 0;
    if (op->views || op->kind == STORE_BAD) {
        zero_views_step(op);
        return;
    }
    switch ((enum zero_state)op->state) {
    case ZERO_ADMIT:
        if (!zero_admit(op))
            return;
        op->round = op->count;
        if (space_promise_pages(op->store->space, ZERO_PAGES)) {
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
        if (error == -ENOENT || error == -ENOSPC)
            zero_end(op, error == -ENOENT ? 0 : error);
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
        zero_pages(op);
        return;
    case ZERO_RESERVE:
    case ZERO_APPLY: zero_pages(op); return;
    case ZERO_LOOK:
    case ZERO_LOG: return;
    }
}

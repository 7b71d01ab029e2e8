/* SPDX-License-Identifier: Apache-2.0 */
/* Operations: accepting, waiting for room, finishing. */
#include <stdarg.h>
#include <stdio.h>

#include "store/opening.h"

static void event_tell(struct store *store, struct store_event event, const char *format,
                       va_list arguments)
{
    if (store->options.event == NULL)
        return;
    char text[512];
    (void)vsnprintf(text, sizeof text, format, arguments);
    event.text = text;
    store->options.event(store->options.context, &event);
}

void store_event(struct store *store, enum store_event_severity severity, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    event_tell(store, (struct store_event){.severity = severity}, format, arguments);
    va_end(arguments);
}

void store_tell(struct store *store, struct store_event event, const char *format, ...)
{
    if (store->opening != NULL && store->opening->muted)
        return;
    va_list arguments;
    va_start(arguments, format);
    event_tell(store, event, format, arguments);
    va_end(arguments);
}

void store_fail(struct store *store, int error, const char *what)
{
    if (store->state == STORE_FAILED)
        return;
    store->state = STORE_FAILED;
    store_event(store, STORE_ERROR,
                "%s: %s; the store has stopped and answers errors until it is opened again", what,
                base_error_text(error));
    if (store->devices.failed == 0)
        device_fail(&store->devices, NULL, error);
}

/* Ends an operation: later, from a turn, as every operation ends. */
void store_op_finish(struct store_op *op, int result)
{
    tree_path_close(&op->path);
    if (op->reserved > 0)
        space_quarantine_unreserve(op->store->space, op->reserved);
    op->reserved = 0;
    op->result = result;
    list_remove(&op->change_node);
    list_remove(&op->node);
    list_push_back(&op->store->finished, &op->node);
}

int store_op_open(struct store_op *op, uint64_t block)
{
    if (op->views)
        return tree_path_open_under(&op->path, op->volume, block, op->cut);
    return tree_path_open(&op->path, op->volume, VIEW_HEAD, block, true);
}

void store_op_changed(struct store_op *op)
{
    struct store *store = op->store;
    if (op->path.passed)
        REACH(change_behind_its_cut);
    if (op->path.passed)
        store->passed_batch = MAX(store->passed_batch, op->entry.batch);
}

uint8_t store_pointer_kind(const struct pointer *pointer)
{
    /* A view says so where it shows a hole that the head does not show any more. */
    if (pointer->kind == POINTER_ZERO && pointer->sequence == 0)
        return POINTER_HOLE;
    return (uint8_t)MIN(pointer->kind, POINTER_PREPARED);
}

struct part_version store_version(const struct pointer *pointer)
{
    return (struct part_version){
        .sequence = pointer->sequence,
        .crc = pointer->kind == POINTER_RAW ? pointer->crc : 0,
        .kind = store_pointer_kind(pointer),
    };
}

bool store_changes_ended(const struct store *store, uint64_t change)
{
    const struct list *node = list_first(&store->changes);
    return node == NULL || LIST_ENTRY(node, struct store_op, change_node)->change > change;
}

/*
 * Changes wait while most of the cache is dirty: what a checkpoint is writing and what came since
 * must both fit, with room for pages that are only read.
 */
bool store_must_throttle_pages(const struct store *store)
{
    struct page_cache_stats cache;
    page_cache_stats(store->cache, &cache);
    return cache.dirty + cache.frozen > cache.frames / 8 * 5;
}

bool store_must_throttle(const struct store *store)
{
    return store_must_throttle_pages(store) ||
           journal_used_blocks(store->journal) > journal_blocks(store->journal) / 8 * 7;
}

bool store_may_change(const struct store *store)
{
    /* What is replayed found space before the crash; and errors are for all. */
    if (store->replay != NULL || store->options.read_only || store->devices.failed != 0)
        return true;
    /* One change of a tree that is as it was written can always be written. */
    uint32_t dirty = page_dirty_count(store->cache) - space_index_root(store->space)->dirty_pages;
    bool first = tree_changes(store->tree) == 0 && dirty == 0 && !store_checkpoint_busy(store);
    return first || space_admits(store->space, tree_pages_to_come(store->tree, 1));
}

int store_quarantine_enter(struct store *store, uint32_t blocks, uint32_t *ret_reserved)
{
    *ret_reserved = 0;
    if (store->devices.failed == 0 && !space_quarantine_fits(store->space, blocks)) {
        /* Several discards of whole segments filled it, each with more to free under its one
         * record, and waited for each other for ever. */
        REACH(frees_by_checkpoint);
        store_want_flush(store);
        store_want_checkpoint(store);
        return 0;
    }
    int error = space_quarantine_reserve(store->space, blocks, NULL);
    if (error == 0)
        *ret_reserved = blocks;
    return error;
}

static void op_step(struct store_op *op)
{
    switch (op->kind) {
    case STORE_READ:
    case STORE_MAP: store_read_step(op); break;
    case STORE_CHANGED: store_changed_step(op); break;
    case STORE_WRITE:
    case STORE_RESYNC: store_write_step(op); break;
    case STORE_ZERO:
    case STORE_BAD: store_zero_step(op); break;
    }
}

static void op_path_woken(struct tree_path *path)
{
    op_step(CONTAINER_OF(path, struct store_op, path));
}

static void op_waiter_woken(struct page_waiter *waiter)
{
    op_step(CONTAINER_OF(waiter, struct store_op, waiter));
}

void store_op_retry_admission(struct store *store)
{
    struct list waiting;
    list_init(&waiting);
    list_splice_back(&waiting, &store->admission);
    for (struct list *node; (node = list_pop_front(&waiting)) != NULL;)
        op_step(LIST_ENTRY(node, struct store_op, node));
}

static bool op_zeroes(const struct store_op *op)
{
    return op->kind == STORE_ZERO || op->kind == STORE_BAD;
}

static void op_logged(struct journal_entry *entry, int result)
{
    struct store_op *op = CONTAINER_OF(entry, struct store_op, entry);
    if (op_zeroes(op))
        store_zero_logged(op, result);
    else
        store_write_logged(op, result);
}

void store_op_append(struct store_op *op)
{
    struct store *store = op->store;
    /* Behind those that found no room before: the log is fair. */
    if (!list_empty(&store->appending)) {
        op->append_wanted = true;
        list_push_back(&store->appending, &op->node);
        return;
    }
    int refused = op->guarded ? store_part_enters(op) : 0;
    if (refused != 0) {
        op->append_wanted = false;
        op->dropped = true;
        op_logged(&op->entry, refused);
        return;
    }
    uint8_t record[RECORD_BYTES_MAX];
    uint32_t length =
        op_zeroes(op) ? store_zero_record(op, record) : store_write_record(op, record);
    op->append_wanted = false;
    int error = journal_append(store->journal, &op->entry, record, length, op_logged);
    if (error == -EAGAIN) {
        op->append_wanted = true;
        list_push_back(&store->appending, &op->node);
    } else if (error != 0) {
        op_logged(&op->entry, error);
    } else if (op->guarded) {
        store_part_entered(op);
    }
}

static bool op_changes(const struct store_op *op)
{
    return op->kind == STORE_WRITE || op_zeroes(op) || op->kind == STORE_RESYNC;
}

static bool op_sane(const struct store_op *op)
{
    if (op_changes(op) && op->kind != STORE_RESYNC &&
        (op->cut != 0 && (!op->views || op->cut >= op->sequence)))
        return false;
    if (op->kind == STORE_CHANGED)
        return op->block <= op->last;
    if (op->count == SEGMENT_BLOCKS)
        return op->kind == STORE_ZERO && op->block % SEGMENT_BLOCKS == 0;
    return op->count >= 1 && op->block % MAP_BLOCKS + op->count <= MAP_BLOCKS;
}

static int op_refused(const struct store *store, const struct store_op *op)
{
    bool changes = op_changes(op);
    if (op->system && store->devices.failed == 0)
        return 0;
    switch (store->state) {
    case STORE_READY: return 0;
    case STORE_READ_ONLY: return changes ? -EROFS : 0;
    case STORE_FAILED: return IOMESH_FAILED;
    default: return -ESHUTDOWN;
    }
}

void store_submit(struct store *store, struct store_op *op)
{
    assert(op_sane(op));
    assert(op->done != NULL);
    op->store = store;
    op->state = 0;
    op->result = 0;
    op->pending = 0;
    op->base = 0;
    op->round = 0;
    op->reserved = 0;
    op->promised = 0;
    op->extent_count = 0;
    op->path_wanted = op->append_wanted = op->dropped = false;
    list_init(&op->node);
    list_init(&op->change_node);
    list_init(&op->waiter.node);
    op->waiter.wake = op_waiter_woken;
    tree_path_init(&op->path, store->tree, op_path_woken);
    store->active++;
    int error = op_refused(store, op);
    if (error != 0) {
        store_op_finish(op, error);
        return;
    }
    if (op_changes(op)) {
        op->change = ++store->change;
        list_push_back(&store->changes, &op->change_node);
    }
    op_step(op);
}

static void ops_tell(struct store *store)
{
    struct list finished;
    list_init(&finished);
    list_splice_back(&finished, &store->finished);
    for (struct list *node; (node = list_pop_front(&finished)) != NULL;) {
        struct store_op *op = LIST_ENTRY(node, struct store_op, node);
        store->active--;
        op->done(op, op->result);
    }
}

static void ops_append(struct store *store)
{
    struct list waiting;
    list_init(&waiting);
    list_splice_back(&waiting, &store->appending);
    for (struct list *node; (node = list_pop_front(&waiting)) != NULL;) {
        struct store_op *op = LIST_ENTRY(node, struct store_op, node);
        store_op_append(op);
        if (op->path_wanted && !op->append_wanted)
            op_step(op);
    }
}

bool store_turn_needed(const struct store *store)
{
    if (!list_empty(&store->devices.ended) || !list_empty(&store->finished))
        return true;
    if (store->cache != NULL && page_turn_needed(store->cache))
        return true;
    if (store->opening != NULL && (store->opening->ended || store->opening->again) &&
        store->devices.flying == 0)
        return true;
    if (store->checkpoint.state == CHECKPOINT_PAGES && store->checkpoint.pages.in_flight == 0)
        return true;
    return store_check_turn_needed(store) || store_parts_turn_needed(store) ||
           store_view_deletions_turn_needed(store) || store_view_counts_turn_needed(store);
}

void store_ops_turn(struct store *store)
{
    ops_tell(store);
    bool admits = store->state == STORE_FAILED || !store_must_throttle(store);
    if (!list_empty(&store->admission) && admits)
        store_op_retry_admission(store);
    ops_append(store);
}

/* Order matters for latency only: what has ended is told first, and what the callers then ask for
 * joins the batch that this very turn sends. */
void store_turn(struct store *store)
{
    (void)device_turn(&store->devices);
    if (store->cache != NULL)
        (void)page_turn(store->cache);
    /* Also one that failed meanwhile: who opens it is still to be told. */
    if (store->opening != NULL) {
        store_opening_turn(store);
        return;
    }
    if (store->devices.failed != 0 && store->state != STORE_CLOSING)
        store_fail(store, store->devices.failed, "a device failed");
    space_turn(store->space);
    store_ops_turn(store);
    store_parts_turn(store);
    store_deletions_turn(store);
    store_view_deletions_turn(store);
    store_view_counts_turn(store);
    store_checkpoint_turn(store);
    if (tree_admission_waits(store->tree) && store_may_change(store))
        tree_admit(store->tree);
    store_flusher_turn(store);
    journal_turn(store->journal);
    store_check_turn(store);
    store_scrub_turn(store);
    if (store->closing != NULL)
        store_closing_turn(store);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkpoint: what is in memory becomes what the superblock reaches, while I/O goes on.
 *
 *   IDLE ──▶ SAVING ──▶ FLUSHING ──▶ RESERVING ──▶ (freeze) ──▶ PAGES ──▶ TABLE ──▶ DEFERRED
 *    ▲                                                                                  │
 *    └────────────── (thaw, trim) ◀── SEALING ◀── SUPER ◀── (flushed) ◀── SETTLING ◀────┘
 *
 * SAVING writes states of parts, whose watermarks the log is about to forget; it is cut short where
 * somebody waits for the checkpoint, for then so would it. FLUSHING empties the quarantine of what
 * it can. RESERVING takes a run for every page that may be written, so that nothing after the
 * freeze can run out of space or change the free map. The freeze is one instant: pages, segments,
 * free map and the journal position from which replay would have to begin. SETTLING makes pages and
 * deferred list durable before the superblock names them; SEALING makes the superblock durable
 * before anything it replaced is used again.
 */
#include "store/parts.h"

static void checkpoint_move(struct store *store, enum checkpoint_state state)
{
    store->checkpoint.state = state;
}

bool store_checkpoint_busy(const struct store *store)
{
    return store->checkpoint.state != CHECKPOINT_IDLE;
}

static void checkpoint_tell(struct list *waiting, int result)
{
    struct list told;
    list_init(&told);
    list_splice_back(&told, waiting);
    for (struct list *node; (node = list_pop_front(&told)) != NULL;) {
        struct checkpoint_waiter *waiter = LIST_ENTRY(node, struct checkpoint_waiter, node);
        if (waiter->done != NULL)
            waiter->done(waiter->context, result);
    }
}

/* Something on the way failed: the device has, and so has the store. What was frozen stays
 * frozen, the old superblock stays true. */
static void checkpoint_failed(struct store *store, int result)
{
    REACH(checkpoint_failed);
    store_fail(store, result, "a checkpoint could not be written");
    checkpoint_move(store, CHECKPOINT_IDLE);
    checkpoint_tell(&store->checkpoint.running, result);
}

static void checkpoint_sealed(struct store_flush *flush, int result)
{
    struct checkpoint *checkpoint = CONTAINER_OF(flush, struct checkpoint, flush);
    struct store *store = CONTAINER_OF(checkpoint, struct store, checkpoint);
    if (result != 0) {
        checkpoint_failed(store, result);
        return;
    }
    tree_thaw(store->tree);
    page_thaw(store->cache);
    space_checkpoint_done(store->space, true);
    if (!checkpoint->keep_replay)
        journal_trim(store->journal, checkpoint->replay);
    uint64_t took_ns = clock_now_ns(store->clock) - checkpoint->began_ns;
    store->stats.checkpoints++;
    store->stats.checkpoint_ns_last = took_ns;
    store->stats.checkpoint_ns_max = MAX(store->stats.checkpoint_ns_max, took_ns);
    struct store_event event = {
        .severity = STORE_DEBUG,
        .kind = STORE_CHECKPOINT,
        .number_count = 2,
        .numbers = {checkpoint->page_count, took_ns},
    };
    store_tell(store, event, "a checkpoint of %u pages has ended, in %llu us",
               checkpoint->page_count, (unsigned long long)(took_ns / 1000));
    checkpoint_move(store, CHECKPOINT_IDLE);
    checkpoint_tell(&checkpoint->running, 0);
}

static void checkpoint_named(struct super_write *write, int result)
{
    struct store *store = write->store;
    struct checkpoint *checkpoint = &store->checkpoint;
    if (result != 0) {
        checkpoint_failed(store, result);
        return;
    }
    checkpoint_move(store, CHECKPOINT_SEALING);
    checkpoint->flush.done = checkpoint_sealed;
    if (MUTANT(97))
        checkpoint_sealed(&checkpoint->flush, 0);
    else
        store_flush(store, &checkpoint->flush);
}

static void checkpoint_settled(struct store_flush *flush, int result)
{
    struct checkpoint *checkpoint = CONTAINER_OF(flush, struct checkpoint, flush);
    struct store *store = CONTAINER_OF(checkpoint, struct store, checkpoint);
    if (result != 0) {
        checkpoint_failed(store, result);
        return;
    }
    struct superblock *super = &store->super;
    super->table = checkpoint->table.table;
    super->index = space_index_root(store->space)->frozen_pointer;
    super->deferred_place = checkpoint->deferred.place;
    super->deferred_crc = checkpoint->deferred.crc;
    super->clean = checkpoint->clean;
    super->incarnation = checkpoint->incarnation;
    if (!checkpoint->keep_replay) {
        super->replay_batch = checkpoint->replay.batch;
        super->replay_block = checkpoint->replay.block;
    }
    super->pages_used = checkpoint->table.pages_used;
    store_scrub_save(store);
    checkpoint_move(store, CHECKPOINT_SUPER);
    store_super_write(store, checkpoint_named);
}

static void checkpoint_deferred(struct space_deferred *deferred, int result)
{
    struct checkpoint *checkpoint = CONTAINER_OF(deferred, struct checkpoint, deferred);
    struct store *store = CONTAINER_OF(checkpoint, struct store, checkpoint);
    if (result != 0) {
        checkpoint_failed(store, result);
        return;
    }
    checkpoint_move(store, CHECKPOINT_SETTLING);
    checkpoint->flush.done = checkpoint_settled;
    if (MUTANT(84))
        checkpoint_settled(&checkpoint->flush, 0);
    else
        store_flush(store, &checkpoint->flush);
}

static void checkpoint_table(struct tree_checkpoint *table, int result)
{
    struct checkpoint *checkpoint = CONTAINER_OF(table, struct checkpoint, table);
    struct store *store = CONTAINER_OF(checkpoint, struct store, checkpoint);
    if (result != 0) {
        checkpoint_failed(store, result);
        return;
    }
    checkpoint_move(store, CHECKPOINT_DEFERRED);
    checkpoint->deferred.done = checkpoint_deferred;
    space_deferred_write(store->space, &checkpoint->deferred);
}

static void checkpoint_pages(struct page_write *pages, int result)
{
    struct checkpoint *checkpoint = CONTAINER_OF(pages, struct checkpoint, pages);
    struct store *store = CONTAINER_OF(checkpoint, struct store, checkpoint);
    if (result != 0) {
        checkpoint_failed(store, result);
        return;
    }
    checkpoint_move(store, CHECKPOINT_TABLE);
    checkpoint->table.take = space_checkpoint_take;
    checkpoint->table.replaced = space_checkpoint_replaced;
    checkpoint->table.context = store->space;
    checkpoint->table.done = checkpoint_table;
    tree_checkpoint_start(store->tree, &checkpoint->table);
}

static void checkpoint_freeze(struct store *store)
{
    struct checkpoint *checkpoint = &store->checkpoint;
    assert(store_replay_marked(store));
    checkpoint->page_count = page_dirty_count(store->cache);
    store->stats.checkpoint_pages += checkpoint->page_count;
    checkpoint->replay = journal_replay_start(store->journal);
    space_freeze(store->space);
    page_freeze(store->cache);
    tree_freeze(store->tree);
    checkpoint_move(store, CHECKPOINT_PAGES);
    checkpoint->pages = (struct page_write){
        .take = space_checkpoint_take,
        .replaced = space_checkpoint_replaced,
        .context = store->space,
        .done = checkpoint_pages,
    };
    page_write_start(store->cache, &checkpoint->pages, STORE_CHECKPOINT_DEPTH);
}

/* Taking the run dirties pages of the free map itself: again, until it covers what there is. */
static void checkpoint_reserve(struct store *store)
{
    struct checkpoint *checkpoint = &store->checkpoint;
    for (;;) {
        uint32_t need = page_dirty_count(store->cache) + tree_table_pages_max(store->tree) +
                        space_checkpoint_pages_max(store->space);
        if (need <= checkpoint->reserved)
            break;
        uint32_t more = need - checkpoint->reserved;
        int error = space_checkpoint_reserve(store->space, more, &checkpoint->waiter);
        if (error == -EAGAIN)
            return;
        if (error != 0) {
            checkpoint_failed(store, error);
            return;
        }
        checkpoint->reserved = need;
    }
    checkpoint_freeze(store);
}

static void checkpoint_woken(struct page_waiter *waiter)
{
    struct checkpoint *checkpoint = CONTAINER_OF(waiter, struct checkpoint, waiter);
    if (checkpoint->state == CHECKPOINT_RESERVING)
        checkpoint_reserve(CONTAINER_OF(checkpoint, struct store, checkpoint));
}

static void checkpoint_flushed(struct store_flush *flush, int result)
{
    struct checkpoint *checkpoint = CONTAINER_OF(flush, struct checkpoint, flush);
    struct store *store = CONTAINER_OF(checkpoint, struct store, checkpoint);
    if (result != 0) {
        checkpoint_failed(store, result);
        return;
    }
    checkpoint_move(store, CHECKPOINT_RESERVING);
    checkpoint->reserved = 0;
    list_init(&checkpoint->waiter.node);
    checkpoint->waiter.wake = checkpoint_woken;
    checkpoint_reserve(store);
}

static bool checkpoint_due(const struct store *store)
{
    /* While records are replayed, only when replay asks, between two of them: within one the
     * tree is ahead of the free map. */
    if (store->replay != NULL)
        return !list_empty(&store->checkpoint.waiting);
    /* States of parts that are being written as recovery ends should be in it: not before them, but
     * where there is no other way to have room for them. */
    if (store->opening != NULL && store->parts->unlogged)
        return store->checkpoint.wanted;
    uint32_t frames = page_frame_count(store->cache);
    struct tree_stats tree;
    tree_stats(store->tree, &tree);
    return store->checkpoint.wanted ||
           journal_used_blocks(store->journal) > journal_blocks(store->journal) / 2 ||
           page_dirty_count(store->cache) > frames / 3 ||
           tree.segments_dirty > store->options.segments_max / 2;
}

void store_want_checkpoint(void *context)
{
    struct store *store = context;
    store->checkpoint.wanted = true;
}

static void checkpoint_begin(struct store *store)
{
    struct checkpoint *checkpoint = &store->checkpoint;
    checkpoint->wanted = false;
    checkpoint->began_ns = clock_now_ns(store->clock);
    list_splice_back(&checkpoint->running, &checkpoint->waiting);
    checkpoint_move(store, CHECKPOINT_SAVING);
    if (store->replay == NULL && store->opening == NULL)
        parts_save(store->parts);
}

/* Somebody waits for what only a checkpoint gives: the states that are being written may, too. */
static bool checkpoint_is_waited_for(const struct store *store)
{
    return !list_empty(&store->appending) || tree_admission_waits(store->tree) ||
           store_must_throttle(store) || space_take_would_wait(store->space, SPACE_OVERWRITE);
}

static void checkpoint_saved(struct store *store)
{
    struct checkpoint *checkpoint = &store->checkpoint;
    bool saves = store->opening == NULL && !parts_saved(store->parts);
    if (saves && !checkpoint_is_waited_for(store))
        return;
    if (saves)
        REACH(checkpoint_without_states);
    checkpoint_move(store, CHECKPOINT_FLUSHING);
    checkpoint->flush.done = checkpoint_flushed;
    store_flush(store, &checkpoint->flush);
}

void store_checkpoint_turn(struct store *store)
{
    struct checkpoint *checkpoint = &store->checkpoint;
    if (checkpoint->state == CHECKPOINT_PAGES)
        page_write_turn(&checkpoint->pages);
    if (checkpoint->state == CHECKPOINT_SAVING)
        checkpoint_saved(store);
    if (checkpoint->state != CHECKPOINT_IDLE)
        return;
    if (store->state == STORE_FAILED || store->options.read_only) {
        checkpoint->wanted = false;
        checkpoint_tell(&checkpoint->waiting,
                        store->state == STORE_FAILED ? IOMESH_FAILED : -EROFS);
        return;
    }
    if (checkpoint_due(store)) {
        checkpoint_begin(store);
        checkpoint_saved(store);
    }
}

void store_checkpoint(struct store *store, struct checkpoint_waiter *waiter)
{
    list_init(&waiter->node);
    list_push_back(&store->checkpoint.waiting, &waiter->node);
    store->checkpoint.wanted = true;
}

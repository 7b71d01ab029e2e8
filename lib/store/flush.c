/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flushes, grouped: one flies, those who come meanwhile share the next. The store also flushes by
 * itself (every second, every 8,192 records, when space asks), so that recovery, the reuse of
 * freed blocks and `durable` never depend on a client that flushes.
 */
#include "store/internal.h"

static void flusher_ended(struct device_flush *device_flush, int result)
{
    struct flusher *flusher = CONTAINER_OF(device_flush, struct flusher, flush);
    struct store *store = CONTAINER_OF(flusher, struct store, flusher);
    flusher->busy = false;
    store->stats.flushes++;
    if (result == 0) {
        uint64_t covers = MUTANT(83) ? journal_applied_through(store->journal) : flusher->covers;
        journal_set_durable(store->journal, covers);
        space_durable(store->space, covers);
        clock_set_after(store->clock, &flusher->mark, STORE_MARK_AFTER_NS);
    }
    struct list told;
    list_init(&told);
    list_splice_back(&told, &flusher->flying);
    for (struct list *node; (node = list_pop_front(&told)) != NULL;) {
        struct store_flush *flush = LIST_ENTRY(node, struct store_flush, node);
        flush->done(flush, result);
    }
}

static void flusher_start(struct store *store)
{
    struct flusher *flusher = &store->flusher;
    struct journal_stats journal;
    journal_stats(store->journal, &journal);
    flusher->busy = true;
    flusher->records_at = journal.records;
    /* What is applied now was complete before the flush began; what completes while it flies is
     * not covered. */
    flusher->covers = journal_applied_through(store->journal);
    list_splice_back(&flusher->flying, &flusher->joined);
    device_flush(&store->devices, &flusher->flush, flusher_ended);
}

void store_flush(struct store *store, struct store_flush *flush)
{
    list_init(&flush->node);
    list_push_back(&store->flusher.joined, &flush->node);
    if (!store->flusher.busy)
        flusher_start(store);
}

static bool flusher_idle_work(const struct store *store)
{
    return journal_applied_through(store->journal) > journal_durable(store->journal);
}

static void flusher_second(struct timer *timer)
{
    struct flusher *flusher = CONTAINER_OF(timer, struct flusher, timer);
    struct store *store = CONTAINER_OF(flusher, struct store, flusher);
    /* Opening may take longer than that, and there is no journal at first. */
    if (store->journal != NULL && !flusher->busy && flusher_idle_work(store))
        flusher_start(store);
    clock_set_after(store->clock, timer, STORE_FLUSH_EVERY_NS);
}

/* Nothing followed the flush for a while: an empty batch says what became durable. */
static void flusher_mark(struct timer *timer)
{
    struct flusher *flusher = CONTAINER_OF(timer, struct flusher, mark);
    struct store *store = CONTAINER_OF(flusher, struct store, flusher);
    if (store->state == STORE_READY && journal_durable_unnamed(store->journal)) {
        REACH(flush_marked);
        journal_mark(store->journal);
    }
}

void store_want_flush(void *context)
{
    struct store *store = context;
    store->flusher.wanted = true;
}

void store_flusher_turn(struct store *store)
{
    struct flusher *flusher = &store->flusher;
    if (flusher->busy)
        return;
    struct journal_stats journal;
    journal_stats(store->journal, &journal);
    bool many = journal.records - flusher->records_at >= STORE_FLUSH_EVERY_RECORDS;
    /* Space may wish for a flush before there is anything that it would make durable. */
    bool useful = (flusher->wanted || many) && flusher_idle_work(store);
    if (!list_empty(&flusher->joined) || useful) {
        flusher->wanted = false;
        flusher_start(store);
    }
}

void store_flusher_open(struct store *store)
{
    struct flusher *flusher = &store->flusher;
    list_init(&flusher->joined);
    list_init(&flusher->flying);
    flusher->timer.fire = flusher_second;
    flusher->mark.fire = flusher_mark;
    clock_set_after(store->clock, &flusher->timer, STORE_FLUSH_EVERY_NS);
}

void store_flusher_close(struct store *store)
{
    clock_cancel(store->clock, &store->flusher.timer);
    clock_cancel(store->clock, &store->flusher.mark);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ends of a store's life: the turn of one that is opening, closing, letting go.
 *
 *   READY, READ_ONLY, FAILED ──▶ CLOSING ──▶ (operations end) ──▶ (parts are saved)
 *                                                    gone ◀── (last checkpoint) ◀──┘
 */
#include <stdlib.h>

#include "store/opening.h"
#include "store/records.h"
#include "store/scratch.h"

#define CREDIT_LATER_BLOCKS 64u /* For fewer no checkpoint is asked for. */

enum closing_state { CLOSING_DRAIN, CLOSING_SAVE, CLOSING_CHECKPOINT, CLOSING_ENDED };

struct closing {
    store_done_fn *done;
    void *context;
    enum closing_state state;
    bool writes; /* There is something to write, and leave to. */
    int result;
    struct checkpoint_waiter checkpoint;
};

void store_free(struct store *store)
{
    store_flusher_close(store);
    store_scrub_close(store);
    store_parts_close(store);
    scratch_close(&store->scratch);
    tree_close(store->tree);
    space_close(store->space);
    page_cache_close(store->cache);
    journal_close(store->journal);
    if (store->opening != NULL)
        free(store->opening->blocks);
    free(store->opening);
    free(store->closing);
    free(store->super_write.bytes);
    free(store);
}

/* What the parts of an opening store need to go on: the same turns as when it is ready, without
 * operations. */
void store_opening_turn(struct store *store)
{
    struct opening *opening = store->opening;
    if (store->space != NULL)
        space_turn(store->space);
    if (store->replay != NULL)
        store_replay_turn(store);
    opening_parts_turn(opening);
    if (store->journal != NULL) {
        store_checkpoint_turn(store);
        store_flusher_turn(store);
        journal_turn(store->journal);
    }
    if (opening->again && store->devices.flying == 0)
        opening_again(opening);
    /* What an error left at the disks still writes to our memory. */
    if (!opening->ended || store->devices.flying > 0 || opening->pending > 0)
        return;
    store_done_fn *done = opening->done;
    void *context = opening->context;
    int result = opening->result;
    if (result != 0 || opening->fresh || opening->look != NULL) {
        store_free(store);
    } else {
        store->state = store->options.read_only ? STORE_READ_ONLY : STORE_READY;
        store->opening = NULL;
        if (store->state == STORE_READY)
            space_begin(store->space);
        if (store->state == STORE_READY)
            part_resume_retired(store->parts);
        if (store->state == STORE_READY && store_scrub_open(store) != 0)
            store_event(store, STORE_WARNING, "no scrub: %s", base_last_error());
        free(opening->blocks);
        free(opening);
        store_event(store, STORE_INFO, "store open%s, incarnation %llu",
                    store->state == STORE_READ_ONLY ? " for reading only" : "",
                    (unsigned long long)store->super.incarnation);
    }
    done(context, result);
}

static void closing_checkpointed(void *context, int result)
{
    struct closing *closing = context;
    closing->result = result;
    closing->state = CLOSING_ENDED;
}

void store_closing_turn(struct store *store)
{
    struct closing *closing = store->closing;
    if (store->devices.failed != 0) {
        closing->writes = false;
        closing->result = IOMESH_FAILED;
    }
    if (closing->state == CLOSING_DRAIN) {
        bool drained = store->active == 0 && list_empty(&store->deletions) &&
                       list_empty(&store->parts->controls) && list_empty(&store->parts->ended) &&
                       records_idle(store->parts) && list_empty(&store->view_deletions) &&
                       list_empty(&store->view_counts) && store_scrub_halt(store) &&
                       !store_checkpoint_busy(store) && !store->flusher.busy &&
                       store->check == NULL && journal_idle(store->journal);
        if (!drained)
            return;
        closing->state = closing->writes ? CLOSING_SAVE : CLOSING_ENDED;
        parts_save(store->parts);
    }
    if (closing->state == CLOSING_SAVE) {
        if (closing->writes && !parts_saved(store->parts))
            return;
        closing->state = closing->writes ? CLOSING_CHECKPOINT : CLOSING_ENDED;
        if (closing->writes) {
            store->checkpoint.clean = true;
            closing->checkpoint.done = closing_checkpointed;
            closing->checkpoint.context = closing;
            store_checkpoint(store, &closing->checkpoint);
        }
    }
    if (closing->state != CLOSING_ENDED || store->flusher.busy || store->active > 0 ||
        !list_empty(&store->parts->ended) || !space_idle(store->space) || store->devices.flying > 0)
        return;
    store_done_fn *done = closing->done;
    void *context = closing->context;
    int result = closing->result;
    store_free(store);
    if (result != 0)
        (void)FAIL(result, "closing the store: a device failed, and what was not flushed before "
                           "may be lost");
    done(context, result);
}

void store_close(struct store *store, store_done_fn *done, void *context)
{
    assert(store->state != STORE_OPENING && store->closing == NULL);
    struct closing *closing = calloc(1, sizeof *closing);
    assert(closing != NULL);
    space_stop(store->space);
    closing->done = done;
    closing->context = context;
    closing->writes = store->state == STORE_READY;
    closing->result = store->state == STORE_FAILED ? IOMESH_FAILED : 0;
    store->closing = closing;
    store->state = STORE_CLOSING;
}

enum store_state store_state(const struct store *store)
{
    return store->state;
}

uint64_t store_incarnation(const struct store *store)
{
    return store->super.incarnation;
}

const uint8_t *store_uuid(const struct store *store)
{
    return store->super.uuid;
}

int store_device_error(const struct store *store, unsigned device)
{
    return store->devices.devices[device].failed;
}

uint64_t store_room_blocks(const struct store *store)
{
    return space_new_room(store->space);
}

uint64_t store_credit_blocks(struct store *store)
{
    uint64_t later = 0;
    uint64_t credit = space_credit(store->space, &later);
    uint64_t kept = store->super.reserve_blocks / 2;
    if (credit <= 2 * kept && later >= CREDIT_LATER_BLOCKS)
        store_want_checkpoint(store);
    return credit > kept ? credit - kept : 0;
}

void store_stats(struct store *store, struct store_stats *ret_stats)
{
    struct store_stats stats = store->stats;
    struct journal_stats journal;
    journal_stats(store->journal, &journal);
    space_stats(store->space, &stats.space);
    page_cache_stats(store->cache, &stats.cache);
    tree_stats(store->tree, &stats.tree);
    stats.journal_blocks = journal_blocks(store->journal);
    stats.journal_used_blocks = journal_used_blocks(store->journal);
    stats.journal_batches = journal.batches;
    stats.journal_records = journal.records;
    stats.device_bytes_read = store->devices.bytes_read;
    stats.device_bytes_written = store->devices.bytes_written;
    stats.device_flushes = store->devices.flushes;
    stats.read_errors += store->devices.read_errors;
    stats.operations_waiting = store->active;
    store_scrub_stats(store, &stats);
    *ret_stats = stats;
}

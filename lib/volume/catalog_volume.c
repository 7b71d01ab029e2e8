/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes that are open: their epochs and sequences.
 *
 *   (closed) ──▶ for reading ──▶ for writing ──▶ (closed)
 *       │        no transaction   ▲      epoch + 1 and the first lot, in one transaction
 *       └─────────────────────────┘
 *
 * (catalog_open.c has the ways from left to right.)
 *
 * The record says where the last lot ends before any sequence of the lot is used. So whoever opens
 * the volume next begins there, whatever happened to this process. A close gives back what was not
 * used once nothing can use it any more.
 */
#include <stdio.h>
#include <stdlib.h>

#include "volume/catalog_cluster.h"

/* --- The record of an open volume ----------------------------------------------------------- */

static void record_lend(struct catalog_op *op, struct catalog_volume *volume)
{
    op->record = volume->record;
    op->record_lent = true;
    op->revision = volume->revision;
}

void catalog_op_hold(struct catalog_op *op, struct catalog_volume *volume, catalog_step_fn *held)
{
    op->held = held;
    if (volume->changing) {
        assert(volume->waits == NULL);
        REACH(catalog_record_waited);
        volume->waits = op;
        return;
    }
    volume->changing = true;
    record_lend(op, volume);
    held(op, 0);
}

void catalog_op_hold_record(struct catalog_op *op, catalog_step_fn *held)
{
    catalog_op_hold(op, op->slot->open, held);
}

void catalog_volume_changed(struct catalog_volume *volume, const struct metadata_volume *record,
                            uint64_t revision)
{
    assert(volume->changing);
    if (record != NULL) {
        volume->record = *record;
        volume->revision = revision;
    }
    volume->changing = false;
    struct catalog_op *op = volume->waits;
    volume->waits = NULL;
    if (volume->owned != NULL) {
        catalog_owned_wake(volume->owned);
        catalog_records_changed(volume->owned);
    }
    if (op != NULL)
        catalog_op_hold(op, volume, op->held);
    else if (volume->lot_wanted && list_empty(&volume->lot_later))
        list_push_back(&volume->catalog->lots_later, &volume->lot_later);
}

/* --- Lots of sequences ---------------------------------------------------------------------- */

static void lot_refuse(struct catalog_volume *volume, int result)
{
    catalog_tell(volume->catalog, STORE_ERROR, volume->record.id, volume->record.bytes,
                 "volume \"%s\": no more sequences can be reserved, writes will fail: %s",
                 volume->slot->name, base_error_text(result));
    volume_refuse_sequences(volume->volume, result);
}

static void lot_retry(struct timer *timer)
{
    struct catalog_volume *volume = CONTAINER_OF(timer, struct catalog_volume, lot_timer);
    if (list_empty(&volume->lot_later))
        list_push_back(&volume->catalog->lots_later, &volume->lot_later);
}

/* Something that may pass. */
static void lot_retry_later(struct catalog_volume *volume)
{
    volume->lot_timer.fire = lot_retry;
    clock_set_after(volume->catalog->options.clock, &volume->lot_timer, CATALOG_RETRY_NS);
}

static void lot_reserved(struct meta_request *request, int result)
{
    struct catalog_volume *volume = CONTAINER_OF(request, struct catalog_volume, lot_request);
    if (result == 0 && !request->succeeded)
        result = IOMESH_FENCED;
    if (result != 0 && volume->owned != NULL) {
        /* It may have happened, or another's change came first: looked at, and tried again. */
        catalog_owned_doubt_one(volume->owned);
        lot_retry_later(volume);
        catalog_volume_changed(volume, NULL, 0);
        return;
    }
    if (result == 0) {
        REACH(catalog_lot_reserved);
        volume->lot_wanted = false;
        if (!MUTANT(101) && volume->volume != NULL)
            volume_extend_sequences(volume->volume, volume->lot_record.sequence_end);
        catalog_volume_changed(volume, &volume->lot_record, request->revision);
        return;
    }
    if (result == -ENOSPC || result == -ENOMEM) {
        lot_retry_later(volume);
    } else {
        volume->lot_wanted = false;
        lot_refuse(volume, result);
    }
    catalog_volume_changed(volume, NULL, 0);
}

static void lot_start(struct catalog_volume *volume)
{
    if (!volume->lot_wanted)
        return;
    if (volume->owned != NULL && volume->owned->ended != 0) {
        REACH(catalog_lot_of_what_was_lost);
        volume->lot_wanted = false;
        if (volume->volume != NULL && !MUTANT(376))
            volume_refuse_sequences(volume->volume, volume->owned->ended);
        return;
    }
    if (volume->changing || volume->lot_timer.set)
        return;
    struct catalog *catalog = volume->catalog;
    volume->lot_record = volume->record;
    volume->lot_record.sequence_end += catalog->options.sequence_lot;
    if (volume->lot_record.sequence_end > SEQUENCE_MAX) {
        volume->lot_wanted = false;
        lot_refuse(volume, -EOVERFLOW);
        return;
    }
    meta_request_reset(&volume->lot_request);
    int result = catalog_put_record(&volume->lot_request, &volume->lot_record, volume->revision);
    if (result == 0)
        result = meta_commit(catalog->options.meta, &volume->lot_request, lot_reserved);
    if (result != 0)
        lot_retry_later(volume);
    else
        volume->changing = true;
}

void catalog_volume_want_lot(void *context)
{
    struct catalog_volume *volume = context;
    if (!volume->writable)
        return;
    volume->lot_wanted = true;
    if (MUTANT(101))
        volume_extend_sequences(volume->volume, volume->record.sequence_end +
                                                    volume->catalog->options.sequence_lot);
    if (list_empty(&volume->lot_later))
        list_push_back(&volume->catalog->lots_later, &volume->lot_later);
}

void catalog_lots_turn(struct catalog *catalog)
{
    for (struct list *node; (node = list_pop_front(&catalog->lots_later)) != NULL;)
        lot_start(LIST_ENTRY(node, struct catalog_volume, lot_later));
}

/* --- What writes carry ---------------------------------------------------------------------- */

void catalog_volume_views(struct catalog_volume *volume)
{
    uint64_t cut = volume->riding != 0 ? volume->riding : volume->cut;
    if (volume->volume != NULL) /* NULL: it is being closed. */
        volume_set_views(volume->volume, cut,
                         volume->views || cut != 0 || volume->orphan_last != 0 ||
                             volume->owned != NULL); /* A copy that was away may have some. */
}

void catalog_volume_listed(struct catalog_volume *volume, const struct catalog_cuts *cuts)
{
    volume->cut = catalog_cuts_kept_below(cuts, UINT64_MAX);
    volume->views = cuts->count > 0;
    if (volume->owned != NULL) {
        catalog_owned_keep(volume->owned, cuts);
        catalog_records_changed(volume->owned);
    }
    catalog_volume_views(volume);
}

void catalog_nameless(uint64_t volume, char name[CATALOG_NAME_BYTES_MAX + 1])
{
    (void)snprintf(name, CATALOG_NAME_BYTES_MAX + 1, "deleted/%llu", (unsigned long long)volume);
}

struct catalog_volume *catalog_volume_find(struct catalog *catalog,
                                           const struct metadata_volume *record)
{
    char name[CATALOG_NAME_BYTES_MAX + 1];
    bool named = record->state == METADATA_VOLUME_LIVE;
    if (!named)
        catalog_nameless(record->id, name);
    struct catalog_slot *slot = catalog_slot_find(catalog, named ? record->name : name);
    bool found = slot != NULL && slot->open != NULL && slot->open->record.id == record->id;
    return found ? slot->open : NULL;
}

/* --- Closing -------------------------------------------------------------------------------- */

void catalog_volume_free(struct catalog_volume *volume)
{
    list_remove(&volume->lot_later);
    clock_cancel(volume->catalog->options.clock, &volume->lot_timer);
    meta_request_done(&volume->lot_request);
    metadata_volume_done(&volume->record);
    volume->catalog->volume_count--;
    list_remove(&volume->node);
    if (volume->slot->open == volume)
        volume->slot->open = NULL;
    catalog_owned_free(volume->owned);
    free(volume->shown_name);
    free(volume);
}

static void close_committed(struct catalog_op *op, int result)
{
    struct catalog_volume *volume = op->closing;
    bool put = volume->writable && (volume->owned == NULL || volume->owned->ended == 0);
    REACH(catalog_volume_closed);
    if (result == 0 && put && !op->request.succeeded)
        result = IOMESH_FENCED;
    if (volume->view != VIEW_HEAD && volume->owned != NULL && result != 0)
        catalog_release_reader(volume->catalog, volume->slot->name, volume->record.id, volume->view,
                               volume->owned->reader);
    else if (volume->view == VIEW_HEAD && (result != 0 || !put))
        catalog_release(volume->catalog, volume->record.id, volume->record.epoch);
    catalog_volume_free(volume);
    op->record_lent = true; /* And what was lent is gone. */
    op->closed(op, result);
}

/* Nobody uses it any more: what it had goes back, unless it is ours no more. */
static void close_put(struct catalog_op *op, int result)
{
    (void)result;
    const struct catalog_owned *owned = op->closing->owned;
    if (owned != NULL && op->closing->view != VIEW_HEAD) {
        catalog_view_unpin(op->closing, &op->request);
        catalog_op_commit(op, close_committed);
        return;
    }
    if (!op->closing->writable || (owned != NULL && owned->ended != 0)) {
        catalog_op_later(op, 0, close_committed);
        return;
    }
    meta_request_reset(&op->request);
    result = catalog_put_record(&op->request, &op->record, op->revision);
    if (result == 0)
        catalog_op_commit(op, close_committed);
    else
        catalog_op_later(op, result, close_committed);
}

static void close_held(struct catalog_op *op, int result)
{
    struct catalog_volume *volume = op->closing;
    (void)result;
    /* No sequence is taken any more from here on. */
    if (volume->volume != NULL)
        op->record.sequence_end = volume_sequence(volume->volume) - (MUTANT(103) ? 1 : 0);
    op->record.owner_session = 0;
    op->record.owner_yields = false;
    op->record.unclean = volume->orphan_last != 0;
    if (volume->volume != NULL)
        volume_close(volume->volume);
    volume->volume = NULL;
    volume->lot_wanted = false;
    if (volume->owned != NULL)
        catalog_owned_close(volume->owned, op, close_put);
    else
        close_put(op, 0);
}

void catalog_op_close(struct catalog_op *op, struct catalog_volume *volume, catalog_step_fn *closed)
{
    op->closed = closed;
    op->closing = volume;
    if (volume == NULL || !list_empty(&volume->handles))
        catalog_op_later(op, 0, closed);
    else
        catalog_op_hold(op, volume, close_held);
}

void catalog_op_close_volume(struct catalog_op *op, catalog_step_fn *closed)
{
    catalog_op_close(op, op->slot->open, closed);
}

void catalog_volume_abandon(struct catalog_volume *volume)
{
    for (struct list *node; (node = list_pop_front(&volume->handles)) != NULL;) {
        struct catalog_handle *handle = LIST_ENTRY(node, struct catalog_handle, node);
        list_remove(&handle->op.all); /* Its closing may have been asked for. */
        meta_request_done(&handle->op.request);
        free(handle);
    }
    if (volume->hold != NULL)
        volume_release(volume->volume, volume->hold);
    /* What is under way on it never ends, and would be told to it. */
    if (volume->volume != NULL && volume_io_count(volume->volume) == 0)
        volume_close(volume->volume);
    catalog_volume_free(volume);
}

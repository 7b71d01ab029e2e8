/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a volume that was deleted, while clones need snapshots of it.
 *
 *   CLAIM ──▶ SEEK ─┬─▶ DISCARD a segment ──▶ SEEK ...         any: interrupted ──▶ PUT
 *     sequences     │      └─▶ no space: each MiB of it ──▶ SEEK ...
 *                   └─▶ FLUSH ──▶ PUT: `emptied`; or what had no space is left
 *
 * Everything is discarded under the newest snapshot that is kept, as its user could have done: so
 * what snapshots show stays, and what only the head shows comes back. A MiB of which a snapshot
 * shows all may take a page and give nothing back. Interrupted anywhere, it is done again: what is
 * empty already costs nothing.
 */
#include "volume/catalog_inside.h"
#include "volume/inside.h"

static struct catalog_emptying *emptying_of(struct catalog_op *op)
{
    return &CONTAINER_OF(op, struct catalog_chore, op)->emptying;
}

/* --- The end -------------------------------------------------------------------------------- */

static void empty_put(struct catalog_op *op, int result)
{
    struct catalog_emptying *emptying = emptying_of(op);
    if (result == 0)
        result = emptying->result;
    emptying->emptied(op, result);
}

/* Gives back the sequences that were not used. */
static void empty_finish(struct catalog_emptying *emptying, int result)
{
    struct catalog_op *op = emptying->op;
    emptying->result = result;
    op->record.sequence_end = volume_sequence(emptying->volume);
    volume_close(emptying->volume);
    emptying->volume = NULL;
    meta_request_reset(&op->request);
    int error = catalog_put_record(&op->request, &op->record, op->revision);
    if (error == 0)
        catalog_op_commit(op, empty_put);
    else
        catalog_op_later(op, error, empty_put);
}

static void empty_flushed(struct volume_io *io, int result)
{
    struct catalog_emptying *emptying = CONTAINER_OF(io, struct catalog_emptying, io);
    if (result == 0) {
        REACH(catalog_head_emptied);
        emptying->op->record.emptied = true;
    }
    empty_finish(emptying, result);
}

/* All of it was met. */
static void empty_met(struct catalog_emptying *emptying)
{
    emptying->at = emptying->fine = 0;
    int missed = emptying->missed;
    emptying->missed = 0;
    if (missed != 0) {
        empty_finish(emptying, missed);
        return;
    }
    emptying->io.kind = VOLUME_FLUSH;
    emptying->io.done = empty_flushed;
    volume_submit(emptying->volume, &emptying->io);
}

/* --- Segment by segment --------------------------------------------------------------------- */

static void empty_next(struct catalog_op *op, int result);

static void empty_discarded(struct volume_io *io, int result)
{
    struct catalog_emptying *emptying = CONTAINER_OF(io, struct catalog_emptying, io);
    bool passed = result == -ENOSPC || result == -EIO || result == IOMESH_CORRUPT;
    if (passed && io->length == SEGMENT_BYTES) {
        emptying->fine = io->offset + SEGMENT_BYTES;
        result = 0;
    } else if (result == 0 || passed) {
        emptying->at = io->offset + io->length;
        if (passed && emptying->missed != -ENOSPC)
            emptying->missed = result; /* Damage stays; space may come. */
        result = 0;
    }
    catalog_op_later(emptying->op, result, empty_next);
}

static void empty_woken(struct store_seek *seek)
{
    struct catalog_emptying *emptying = CONTAINER_OF(seek, struct catalog_emptying, seek);
    catalog_op_later(emptying->op, 0, empty_next);
}

static void empty_discard(struct catalog_emptying *emptying)
{
    struct volume_io *io = &emptying->io;
    io->kind = VOLUME_DISCARD;
    io->offset = emptying->at;
    io->length = emptying->at < emptying->fine ? (uint64_t)MAP_BLOCKS * BLOCK_BYTES : SEGMENT_BYTES;
    io->done = empty_discarded;
    volume_submit(emptying->volume, io);
}

static void empty_next(struct catalog_op *op, int result)
{
    struct catalog_emptying *emptying = emptying_of(op);
    uint32_t segment = (uint32_t)(emptying->at / SEGMENT_BYTES);
    bool used_up = volume_sequence(emptying->volume) == op->record.sequence_end;
    bool stop = op->catalog->state != CATALOG_READY || *emptying->again || used_up;
    if (result == 0 && !stop && emptying->at >= emptying->fine)
        result = store_seek(op->catalog->options.store, &emptying->seek, op->record.id, segment,
                            &segment);
    if (result == -EAGAIN)
        return;
    if (result == -ENOENT) {
        empty_met(emptying);
    } else if (result != 0 || stop) {
        empty_finish(emptying, result);
    } else {
        if (emptying->at >= emptying->fine)
            emptying->at = segment * SEGMENT_BYTES;
        empty_discard(emptying);
    }
}

/* --- The beginning -------------------------------------------------------------------------- */

static void empty_claimed(struct catalog_op *op, int result)
{
    struct catalog_emptying *emptying = emptying_of(op);
    struct volume_options options = {
        .id = op->record.id,
        .view = VIEW_HEAD,
        .bytes = CATALOG_BYTES_MAX, /* Whole segments only. */
        .sector_bytes = op->record.sector_bytes,
        .epoch = op->record.epoch,
        .sequence = op->record.sequence_end - op->catalog->options.sequence_lot,
        .sequence_end = op->record.sequence_end,
        .cut = MUTANT(114) ? 0 : catalog_cuts_kept_below(&op->cuts, UINT64_MAX),
        .views = true,
    };
    bool committed = result == 0 && op->request.succeeded;
    op->revision = op->request.revision;
    if (committed)
        result = volume_open(op->catalog->options.volumes, &options, &emptying->volume);
    if (!committed || result != 0)
        emptying->emptied(op, result);
    else
        empty_next(op, 0);
}

void catalog_op_empty(struct catalog_op *op, const bool *again, catalog_step_fn *emptied)
{
    struct catalog_emptying *emptying = emptying_of(op);
    struct metadata_volume *record = &op->record;
    emptying->op = op;
    emptying->again = again;
    emptying->emptied = emptied;
    emptying->seek.wake = empty_woken;
    record->epoch++;
    record->sequence_end += op->catalog->options.sequence_lot;
    meta_request_reset(&op->request);
    int result = record->sequence_end > SEQUENCE_MAX ? -EOVERFLOW : 0;
    if (result == 0)
        result = catalog_put_record(&op->request, record, op->revision);
    if (result == 0)
        catalog_op_commit(op, empty_claimed);
    else
        catalog_op_later(op, result, emptied);
}

bool catalog_empty_abandon(struct catalog_emptying *emptying)
{
    if (emptying->volume == NULL)
        return true;
    if (volume_io_count(emptying->volume) != 0)
        return false;
    volume_close(emptying->volume);
    return true;
}

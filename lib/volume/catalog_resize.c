/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resizing.
 *
 *   LOAD ──▶ PUT ──▶ told                  it grows, or was never written and has no parent
 *     └────▶ OPEN ──▶ WAIT ──▶ ZERO ─┬─▶ FLUSH ──▶ PUT ──▶ CLOSE ──▶ told      it shrinks
 *                               ▲    │
 *                               └────┘ for each segment that has anything
 *
 * In memory a smaller end holds from WAIT on, which lets the writes beyond it end: nothing is
 * written behind the zeros. A larger end holds from after PUT on. What is cut off is zero before
 * the metadata says so: a crash leaves the old size, and a later larger size never shows what was
 * there.
 */
#include <stdlib.h>

#include "volume/catalog_cluster.h"
#include "volume/inside.h"

struct resize {
    struct catalog_op op;
    uint64_t bytes;
    uint64_t bytes_before;
    bool force;
    bool opened; /* By this operation: CLOSE follows. */
    int result;
    uint32_t segment; /* The next to look at. */
    catalog_step_fn *zero_next;
    struct store_seek seek;
    struct volume_io io;
    struct volume_extent extent;
};

static struct resize *resize_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct resize, op);
}

static void resize_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(resize_of(op));
    done(context, result);
}

/* --- The end -------------------------------------------------------------------------------- */

static void resize_closed(struct catalog_op *op, int result)
{
    struct resize *resize = resize_of(op);
    (void)result; /* Sequences that were not given back are lost, no more. */
    if (resize->result != 0)
        catalog_op_fail(op, resize->result);
    else
        catalog_op_end(op, 0);
}

static void resize_finish(struct resize *resize, int result)
{
    struct catalog_op *op = &resize->op;
    resize->result = result;
    if (op->slot->open != NULL && result != 0)
        volume_set_bytes(op->slot->open->volume, resize->bytes_before);
    if (resize->opened)
        catalog_op_close_volume(op, resize_closed);
    else
        resize_closed(op, 0);
}

/* --- The record ----------------------------------------------------------------------------- */

static void put_committed(struct catalog_op *op, int result)
{
    struct resize *resize = resize_of(op);
    struct catalog_volume *volume = op->slot->open;
    if (result == 0 && !op->request.succeeded)
        result = IOMESH_CONFLICT;
    if (volume != NULL) {
        struct metadata_volume record = op->record;
        if (result == 0)
            volume_set_bytes(volume->volume, resize->bytes);
        catalog_volume_changed(volume, result == 0 ? &record : NULL, op->request.revision);
    }
    if (result == 0)
        catalog_tell(op->catalog, STORE_INFO, op->id, resize->bytes,
                     "volume \"%s\": now %llu bytes, before %llu", op->slot->name,
                     (unsigned long long)resize->bytes, (unsigned long long)resize->bytes_before);
    resize_finish(resize, result);
}

static void put_start(struct catalog_op *op, int result)
{
    meta_request_reset(&op->request);
    op->record.bytes = resize_of(op)->bytes;
    result = catalog_op_put_taken(op);
    if (result == 0)
        catalog_op_commit(op, put_committed);
    else
        catalog_op_later(op, result, put_committed);
}

static void resize_put(struct resize *resize)
{
    if (resize->op.slot->open != NULL)
        catalog_op_hold_record(&resize->op, put_start);
    else
        put_start(&resize->op, 0);
}

static void resize_grown(struct catalog_op *op, int result)
{
    if (result == -EBUSY || result == -ENOSPC)
        catalog_op_end(op, result); /* It has a sentence. */
    else if (result != 0)
        catalog_op_fail(op, result);
    else
        resize_put(resize_of(op));
}

/* --- Zeros over what is cut off ------------------------------------------------------------- */

static void zero_flushed(struct volume_io *io, int result)
{
    struct resize *resize = CONTAINER_OF(io, struct resize, io);
    if (result != 0)
        resize_finish(resize, result);
    else
        resize_put(resize);
    REACH(catalog_zeroed);
}

static void zero_done(struct volume_io *io, int result)
{
    struct resize *resize = CONTAINER_OF(io, struct resize, io);
    catalog_op_later(&resize->op, result, resize->zero_next);
}

static void zero_woken(struct store_seek *seek)
{
    struct resize *resize = CONTAINER_OF(seek, struct resize, seek);
    catalog_op_later(&resize->op, 0, resize->zero_next);
}

static void zero_next(struct catalog_op *op, int result)
{
    struct resize *resize = resize_of(op);
    struct volume_io *io = &resize->io;
    uint32_t segment = 0;
    bool clone = op->record.parent_volume != 0; /* It shows through where nothing was written. */
    if (result == 0 && (clone || catalog_is_cluster(op->catalog)))
        segment = resize->segment;
    else if (result == 0)
        result = store_seek(op->catalog->options.store, &resize->seek, op->id, resize->segment,
                            &segment);
    if (result == -EAGAIN)
        return;
    if (result != 0 && result != -ENOENT) {
        resize_finish(resize, result);
        return;
    }
    if (result == -ENOENT || segment * SEGMENT_BYTES >= resize->bytes_before) {
        io->kind = VOLUME_FLUSH;
        io->done = zero_flushed;
    } else {
        uint64_t end = MIN((segment + 1) * SEGMENT_BYTES, resize->bytes_before);
        io->kind = VOLUME_DISCARD;
        io->offset = MAX(segment * SEGMENT_BYTES, resize->bytes);
        io->length = end - io->offset;
        io->done = zero_done;
        resize->segment = segment + 1;
    }
    volume_submit(op->slot->open->volume, io);
}

/* What is asked for here waits for every write of the range that was accepted before, and is of no
 * interest itself; nor is it whether it can be answered. */
static void zero_waited(struct volume_io *io, int result)
{
    (void)result;
    struct resize *resize = CONTAINER_OF(io, struct resize, io);
    catalog_op_later(&resize->op, 0, resize->zero_next);
}

static void zero_start(struct catalog_op *op, int result)
{
    struct resize *resize = resize_of(op);
    struct volume *volume = op->slot->open->volume;
    (void)result;
    if (!MUTANT(104))
        volume_set_bytes(volume, resize->bytes);
    if (MUTANT(105)) {
        resize_put(resize);
        return;
    }
    resize->segment = (uint32_t)(resize->bytes / SEGMENT_BYTES);
    resize->zero_next = zero_next;
    resize->seek.wake = zero_woken;
    resize->io.kind = VOLUME_MAP;
    resize->io.offset = resize->bytes;
    resize->io.length = resize->bytes_before - resize->bytes;
    resize->io.extents = &resize->extent;
    resize->io.extent_max = 1;
    resize->io.done = zero_waited;
    volume_submit(volume, &resize->io);
}

/* --- The beginning -------------------------------------------------------------------------- */

static void resize_begin(struct catalog_op *op, int result);

static void resize_again(struct catalog_op *op, int result)
{
    if (result != 0)
        catalog_op_fail(op, result);
    else
        resize_begin(op, 0);
}

static void resize_loaded(struct catalog_op *op, int result)
{
    struct resize *resize = resize_of(op);
    (void)result;
    if (op->record.rollback_cut != 0) {
        catalog_op_finish_rollback(op, resize_again);
        return;
    }
    resize->bytes_before = op->record.bytes;
    if (op->record.incomplete) {
        catalog_op_end(op,
                       FAIL(-EBUSY, "volume \"%s\" is incomplete: an import into it has not ended",
                            op->slot->name));
    } else if (resize->bytes == resize->bytes_before) {
        catalog_op_end(op, 0);
    } else if (resize->bytes > resize->bytes_before ||
               (op->record.epoch == 0 && op->record.parent_volume == 0)) {
        if (resize->bytes < resize->bytes_before && !resize->force)
            catalog_op_end(op, FAIL(-EPERM, "volume \"%s\" would shrink, and that is not forced",
                                    op->slot->name));
        else if (catalog_is_cluster(op->catalog))
            catalog_op_grow(op, resize->bytes, resize_grown);
        else
            resize_put(resize);
    } else if (!resize->force) {
        catalog_op_end(op, FAIL(-EPERM,
                                "volume \"%s\" would shrink from %llu to %llu bytes and lose "
                                "what is beyond, and that is not forced",
                                op->slot->name, (unsigned long long)resize->bytes_before,
                                (unsigned long long)resize->bytes));
    } else {
        resize->opened = op->slot->open == NULL;
        op->writes = true;
        catalog_op_open_volume(op, zero_start);
    }
}

static void resize_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_load(op, resize_loaded);
}

int catalog_resize(struct catalog *catalog, const char *name, uint64_t bytes, bool force,
                   catalog_done_fn *done, void *context)
{
    int error = catalog_may_start(catalog, name, true);
    if (error == 0)
        error = catalog_check_size(name, bytes);
    if (error != 0)
        return error;
    struct resize *resize = calloc(1, sizeof *resize);
    if (resize == NULL)
        return FAIL(-ENOMEM, "resizing volume \"%s\": no memory", name);
    resize->bytes = bytes;
    resize->force = force;
    resize->op.done = done;
    resize->op.context = context;
    error = catalog_op_start(&resize->op, catalog, name, resize_begin, resize_end);
    if (error != 0)
        free(resize);
    return error;
}

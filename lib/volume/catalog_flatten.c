/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flattening.
 *
 *   a handle of our own ──▶ JOB, in use or not ──▶ the record says so ──▶ no handle ──▶ told
 *
 * The operation has no slot while the job runs: the volume is opened, closed and its snapshots are
 * taken meanwhile. Those with cuts below `flattened` still read through the parent; the tie is cut
 * when there is none (catalog_settle.c).
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_inside.h"

/* The end of it, in the slot of the name. */
struct flatten_end {
    struct catalog_op op;
    struct catalog_flatten *flatten;
};

static void flatten_told(struct catalog_op *op, int result)
{
    struct catalog_flatten *flatten = CONTAINER_OF(op, struct catalog_flatten, op);
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(flatten->last);
    free(flatten);
    done(context, result);
}

/* --- The end -------------------------------------------------------------------------------- */

static void flatten_last(struct catalog_op *op, int result)
{
    struct catalog_flatten *flatten = CONTAINER_OF(op, struct catalog_flatten, op);
    if (result == -EALREADY)
        result = FAIL(-EBUSY, "volume \"%s\" is being flattened already", flatten->name);
    else if (result != 0)
        FAIL(result, "volume \"%s\": flattening it: %s", flatten->name, base_error_text(result));
    catalog_op_end(op, result);
}

/* From the closing, which left sequences or not. */
static void flatten_closed(void *context, int result)
{
    struct catalog_flatten *flatten = context;
    (void)result;
    catalog_op_later(&flatten->op, flatten->result, flatten_last);
}

static void flatten_close(struct catalog_flatten *flatten, int result)
{
    flatten->result = result;
    if (flatten->handle->volume->flatten == flatten)
        flatten->handle->volume->flatten = NULL;
    catalog_handle_close(flatten->handle, flatten_closed, flatten);
}

static void end_end(struct catalog_op *op, int result)
{
    struct flatten_end *last = CONTAINER_OF(op, struct flatten_end, op);
    struct catalog_flatten *flatten = last->flatten;
    free(last);
    flatten_close(flatten, result);
}

static void end_committed(struct catalog_op *op, int result)
{
    struct catalog_volume *volume = op->slot->open;
    struct metadata_volume record = op->record;
    if (result == 0 && !op->request.succeeded)
        result = IOMESH_CONFLICT;
    catalog_volume_changed(volume, result == 0 ? &record : NULL, op->request.revision);
    if (result == 0) {
        (void)volume_set_parents(volume->volume, NULL, 0);
        catalog_tell(op->catalog, STORE_INFO, record.id, record.bytes, "volume \"%s\": flattened",
                     op->slot->name);
        catalog_chore_wake(op->catalog, record.id);
    }
    catalog_op_end(op, result);
}

static void end_held(struct catalog_op *op, int result)
{
    op->record.flattened = volume_sequence(op->slot->open->volume);
    meta_request_reset(&op->request);
    result = catalog_put_record(&op->request, &op->record, op->revision);
    if (result == 0)
        catalog_op_commit(op, end_committed);
    else
        catalog_op_later(op, result, end_committed);
}

static void end_lost(struct catalog_op *op, int result)
{
    catalog_op_end(op, result);
}

static void end_begin(struct catalog_op *op, int result)
{
    const struct catalog_flatten *flatten = CONTAINER_OF(op, struct flatten_end, op)->flatten;
    (void)result;
    if (op->slot->open == flatten->handle->volume)
        catalog_op_hold_record(op, end_held);
    else
        catalog_op_later(op, IOMESH_FENCED, end_lost); /* Another process has taken it. */
}

/* --- The job -------------------------------------------------------------------------------- */

static void flatten_worked(struct catalog_op *op, int result)
{
    struct catalog_flatten *flatten = CONTAINER_OF(op, struct catalog_flatten, op);
    if (result == 0) {
        struct flatten_end *last = flatten->last;
        flatten->last = NULL;
        result = catalog_op_start(&last->op, op->catalog, flatten->name, end_begin, end_end);
        assert(result == 0); /* The name has a slot. */
        return;
    }
    flatten_close(flatten, result);
}

static void job_done(struct volume_job *job, int result)
{
    struct catalog_flatten *flatten = CONTAINER_OF(job, struct catalog_flatten, job);
    list_remove(&flatten->node);
    catalog_op_later(&flatten->op, result, flatten_worked);
}

static void job_progress(struct volume_job *job, uint64_t done_bytes, uint64_t total_bytes)
{
    struct catalog_flatten *flatten = CONTAINER_OF(job, struct catalog_flatten, job);
    if (flatten->progress != NULL)
        flatten->progress(flatten->op.context, done_bytes, total_bytes);
}

/* --- Beginning ------------------------------------------------------------------------------ */

static void flatten_start(struct catalog_op *op, int result)
{
    struct catalog_flatten *flatten = CONTAINER_OF(op, struct catalog_flatten, op);
    struct catalog_volume *volume = flatten->handle->volume;
    if (volume->flatten != NULL)
        result = -EALREADY;
    else if (op->catalog->state != CATALOG_READY)
        result = -ECANCELED;
    bool nothing = volume->record.parent_volume == 0 || volume->record.flattened != 0;
    if (result != 0 || nothing) {
        flatten_close(flatten, result);
        return;
    }
    flatten->job.done = job_done;
    flatten->job.progress = job_progress;
    volume->flatten = flatten;
    result = volume_flatten_start(volume->volume, &flatten->job);
    if (result != 0)
        flatten_close(flatten, result);
    else
        list_push_back(&op->catalog->flattens, &flatten->node);
}

static void flatten_refused(struct catalog_op *op, int result)
{
    catalog_op_end(op, result);
}

static void flatten_opened(void *context, int result, struct catalog_handle *handle)
{
    struct catalog_flatten *flatten = context;
    if (result != 0) {
        /* The sentence is the opening's. */
        flatten_refused(&flatten->op, result);
        return;
    }
    flatten->handle = handle;
    handle->inner = true;
    flatten->op.catalog->handle_count--;
    catalog_op_later(&flatten->op, 0, flatten_start);
}

static void flatten_unstarted(struct catalog_op *op, int result)
{
    catalog_op_end(op, FAIL(result, "volume \"%s\": flattening it: %s",
                            CONTAINER_OF(op, struct catalog_flatten, op)->name,
                            base_error_text(result)));
}

static void flatten_begin(struct catalog_op *op, int result)
{
    struct catalog_flatten *flatten = CONTAINER_OF(op, struct catalog_flatten, op);
    result = catalog_handle_open(op->catalog, flatten->name, false, flatten_opened, flatten);
    if (result != 0)
        catalog_op_later(op, result, flatten_unstarted);
}

int catalog_flatten(struct catalog *catalog, const char *volume, catalog_progress_fn *progress,
                    catalog_done_fn *done, void *context)
{
    int error = catalog_may_start(catalog, volume, true);
    if (error != 0)
        return error;
    struct catalog_flatten *flatten = calloc(1, sizeof *flatten);
    struct flatten_end *last = calloc(1, sizeof *last);
    if (flatten == NULL || last == NULL) {
        free(flatten);
        free(last);
        return FAIL(-ENOMEM, "flattening volume \"%s\": no memory", volume);
    }
    flatten->last = last;
    last->flatten = flatten;
    flatten->progress = progress;
    list_init(&flatten->node);
    memcpy(flatten->name, volume, strlen(volume) + 1);
    flatten->op.done = done;
    flatten->op.context = context;
    return catalog_op_start(&flatten->op, catalog, NULL, flatten_begin, flatten_told);
}

void catalog_flattens_stop(struct catalog *catalog)
{
    LIST_EACH (&catalog->flattens, node)
        volume_job_stop(&LIST_ENTRY(node, struct catalog_flatten, node)->job);
}

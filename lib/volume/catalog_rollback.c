/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rolling back.
 *
 *   the record says so ──▶ CLAIM the volume ──▶ JOB: every block written since ──▶ the record is
 *                               ▲                as the snapshot shows it     │    done with it
 *                               └── whoever opens it, the pool, or the chore ◀┴─ crash, no space
 *
 * Nobody has the volume open meanwhile: the operation keeps its slot. What the job writes has newer
 * sequences than what is to be rolled back, so it may begin anew at any time. What the volume will
 * show is known from the moment the record says so, and the snapshot keeps it: whoever opens it for
 * reading while it cannot be finished sees that (catalog_open.c).
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

/* --- Finishing what the record says --------------------------------------------------------- */

static void finish_said(struct catalog_op *op, int result)
{
    const char *name = op->slot->name;
    if (result == IOMESH_CONFLICT)
        FAIL(result, "volume \"%s\": its record changed while it was rolled back", name);
    else if (result == -ENOSPC)
        FAIL(
            result,
            "volume \"%s\": the store has no space to finish rolling it back: delete snapshots or "
            "volumes, or discard what others do not need; it goes on by itself then, or when asked "
            "again, and can be opened for reading meanwhile",
            name);
    else if (result != 0)
        FAIL(result,
             "volume \"%s\": rolling back: %s; it goes on when asked again, and can be opened for "
             "reading meanwhile",
             name, base_error_text(result));
}

static void finish_closed(struct catalog_op *op, int result)
{
    struct catalog_rolling *rolling = &op->rolling;
    (void)result; /* Sequences that were not given back are lost, no more. */
    op->writes = rolling->writes;
    op->inside = rolling->inside;
    op->opened = rolling->opened;
    if (rolling->result == -ENOSPC)
        catalog_chore_wait(op->catalog, op->record.id);
    finish_said(op, rolling->result);
    rolling->finished(op, rolling->result);
}

static void finish_end(struct catalog_op *op, int result)
{
    op->rolling.result = result;
    catalog_op_close_volume(op, finish_closed);
}

static void finish_bad(const struct catalog_op *op)
{
    const struct volume_job *job = &op->rolling.job;
    if (job->bad_blocks == 0)
        return;
    REACH(catalog_rollback_bad);
    catalog_tell(op->catalog, STORE_ERROR, op->record.id, job->bad_blocks * BLOCK_BYTES,
                 "volume \"%s\": rolled back, but %llu blocks of the snapshot cannot be read, the "
                 "first at %llu: they read as errors until they are written again",
                 op->slot->name, (unsigned long long)job->bad_blocks,
                 (unsigned long long)job->bad_offset);
}

static void finish_committed(struct catalog_op *op, int result)
{
    struct catalog_volume *volume = op->slot->open;
    struct metadata_volume record = op->record;
    if (result == 0 && !op->request.succeeded)
        result = IOMESH_CONFLICT;
    if (result == 0) {
        volume_set_bytes(volume->volume, record.bytes);
        catalog_tell(op->catalog, STORE_INFO, record.id, record.bytes, "volume \"%s\": rolled back",
                     op->slot->name);
        finish_bad(op);
    }
    catalog_volume_changed(volume, result == 0 ? &record : NULL, op->request.revision);
    finish_end(op, result);
}

static void finish_held(struct catalog_op *op, int result)
{
    struct metadata_volume *record = &op->record;
    record->equal_cut = record->rollback_cut;
    record->equal_sequence = volume_sequence(op->slot->open->volume);
    record->bytes = record->rollback_bytes;
    record->rollback_cut = record->rollback_from = record->rollback_bytes = 0;
    catalog_import_clear(record); /* It was abandoned by this. */
    meta_request_reset(&op->request);
    result = catalog_put_record(&op->request, record, op->revision);
    if (result == 0)
        catalog_op_commit(op, finish_committed);
    else
        catalog_op_later(op, result, finish_committed);
}

static void finish_rolled(struct catalog_op *op, int result)
{
    if (result != 0)
        finish_end(op, result);
    else
        catalog_op_hold_record(op, finish_held);
}

static void job_done(struct volume_job *job, int result)
{
    struct catalog_op *op = CONTAINER_OF(job, struct catalog_op, rolling.job);
    list_remove(&op->rolling.node);
    catalog_op_later(op, result, finish_rolled);
}

static void job_progress(struct volume_job *job, uint64_t done_bytes, uint64_t total_bytes)
{
    const struct catalog_op *op = CONTAINER_OF(job, struct catalog_op, rolling.job);
    if (op->rolling.progress != NULL)
        op->rolling.progress(op->context, done_bytes, total_bytes);
}

static void finish_opened(struct catalog_op *op, int result)
{
    struct catalog_rolling *rolling = &op->rolling;
    struct catalog_volume *volume = op->slot->open;
    const struct metadata_volume *record = &volume->record;
    struct volume_rollback what = {
        .cut = record->rollback_cut,
        .from = record->rollback_from,
        .parents = op->parents, /* Those of the cut: see catalog_open.c. */
        .parent_count = op->parent_count,
    };
    if (record->rollback_cut == 0 && !MUTANT(377)) {
        REACH(catalog_rollback_finished_elsewhere); /* Between reading the record and owning it. */
        catalog_op_later(op, 0, finish_end);
        return;
    }
    volume_set_bytes(volume->volume, MAX(record->bytes, record->rollback_bytes));
    rolling->job.done = job_done;
    rolling->job.progress = job_progress;
    result = op->catalog->state == CATALOG_READY
                 ? volume_rollback_start(volume->volume, &what, &rolling->job)
                 : -ECANCELED;
    if (result == 0)
        list_push_back(&op->catalog->rollings, &rolling->node);
    else
        catalog_op_later(op, result, finish_rolled);
}

void catalog_op_finish_rollback(struct catalog_op *op, catalog_step_fn *finished)
{
    struct catalog_rolling *rolling = &op->rolling;
    rolling->finished = finished;
    rolling->writes = op->writes;
    rolling->inside = op->inside;
    rolling->opened = op->opened;
    op->writes = op->inside = true;
    list_init(&rolling->node);
    catalog_op_open_volume(op, finish_opened);
}

void catalog_rollings_stop(struct catalog *catalog)
{
    LIST_EACH (&catalog->rollings, node)
        volume_job_stop(&LIST_ENTRY(node, struct catalog_rolling, node)->job);
}

/* --- What was interrupted ------------------------------------------------------------------- */

struct resume {
    struct catalog_op op;
    uint64_t id;
};

static void resume_end(struct catalog_op *op, int result)
{
    uint64_t id = CONTAINER_OF(op, struct resume, op)->id;
    if (result == -EBUSY && catalog_is_cluster(op->catalog))
        result = 0; /* Another process has it. */
    if (result != 0 && result != -ENOENT)
        catalog_tell(op->catalog, STORE_WARNING, id, 0,
                     "volume %llu: a rollback of it that was interrupted goes on when it is opened "
                     "next: %s",
                     (unsigned long long)id, base_error_text(result));
    free(op);
}

static void resume_loaded(struct catalog_op *op, int result)
{
    (void)result;
    /* It may have been opened since, and then it was finished. */
    if (op->slot->open != NULL || op->record.rollback_cut == 0 ||
        op->catalog->state != CATALOG_READY)
        catalog_op_end(op, 0);
    else
        catalog_op_finish_rollback(op, catalog_op_end);
}

static void resume_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_load(op, resume_loaded);
}

void catalog_rollback_resume(struct catalog *catalog, const struct metadata_volume *record)
{
    struct resume *resume = calloc(1, sizeof *resume);
    if (resume == NULL)
        return;
    resume->id = record->id;
    if (catalog_op_start(&resume->op, catalog, record->name, resume_begin, resume_end) != 0)
        free(resume);
}

/* --- By name -------------------------------------------------------------------------------- */

struct rollback {
    struct catalog_op op;
    bool force;
    char name[CATALOG_NAME_BYTES_MAX + 1];
};

static void rollback_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(op);
    done(context, result);
}

/* It is rolled back; who asked for it hears what of it cannot be read. */
static void rollback_finished(struct catalog_op *op, int result)
{
    const struct volume_job *job = &op->rolling.job;
    if (result == 0 && job->bad_blocks > 0)
        result = FAIL(IOMESH_CORRUPT,
                      "volume \"%s\" is rolled back, but %llu blocks of the snapshot cannot be "
                      "read, the first at %llu: they read as errors until they are written again",
                      op->slot->name, (unsigned long long)job->bad_blocks,
                      (unsigned long long)job->bad_offset);
    catalog_op_end(op, result);
}

static void rollback_recorded(struct catalog_op *op, int result)
{
    if (!catalog_op_failed(op, result))
        catalog_op_finish_rollback(op, rollback_finished);
}

/* Nobody else has it. */
static void rollback_record(struct catalog_op *op, int result)
{
    meta_request_reset(&op->request);
    result = catalog_op_put_taken(op);
    if (result == 0)
        catalog_op_commit(op, rollback_recorded);
    else
        catalog_op_later(op, result, rollback_recorded);
}

void catalog_op_begin_rollback(struct catalog_op *op, uint64_t cut, uint64_t bytes)
{
    struct metadata_volume *record = &op->record;
    if (record->rollback_cut == cut && record->rollback_bytes == bytes) {
        /* What was done of it stays done. */
        catalog_op_finish_rollback(op, rollback_finished);
        return;
    }
    record->rollback_cut = cut;
    record->rollback_from = record->sequence_end - 1;
    record->rollback_bytes = bytes;
    catalog_op_owner(op, rollback_record);
}

static void rollback_listed(struct catalog_op *op, int result)
{
    const struct rollback *rollback = CONTAINER_OF(op, struct rollback, op);
    const struct catalog_cut *cut = catalog_cuts_named(&op->cuts, rollback->name);
    uint64_t bytes = op->record.bytes;
    (void)result;
    if (cut == NULL)
        result =
            FAIL(-ENOENT, "volume \"%s\" has no snapshot \"%s\"", op->slot->name, rollback->name);
    else if (cut->record.bytes > bytes && !rollback->force)
        result =
            FAIL(-EPERM,
                 "volume \"%s\" has %llu bytes, but its snapshot \"%s\" has %llu: rolling back "
                 "would lose what is beyond that size, and that is not forced",
                 op->slot->name, (unsigned long long)bytes, rollback->name,
                 (unsigned long long)cut->record.bytes);
    if (result != 0)
        catalog_op_end(op, result);
    else
        catalog_op_begin_rollback(op, cut->record.cut, rollback->force ? cut->record.bytes : bytes);
}

static void rollback_loaded(struct catalog_op *op, int result)
{
    result = catalog_may_write(op->catalog) ? 0 : -EROFS;
    if (result != 0)
        FAIL(result, "volume \"%s\": the store takes no writes now", op->slot->name);
    else if (op->record.incomplete)
        result =
            FAIL(-EBUSY,
                 "volume \"%s\" is incomplete: an import into it has not ended: abandon it first",
                 op->slot->name);
    if (result != 0)
        catalog_op_end(op, result);
    else
        catalog_op_list(op, op->record.id, rollback_listed);
}

static void rollback_busy(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_end(op, FAIL(-EBUSY,
                            "volume \"%s\" is open, and is not rolled back meanwhile: disconnect "
                            "whoever uses it, then try again",
                            op->slot->name));
}

static void rollback_begin(struct catalog_op *op, int result)
{
    (void)result;
    if (op->slot->open != NULL)
        catalog_op_later(op, 0, rollback_busy);
    else
        catalog_op_load(op, rollback_loaded);
}

int catalog_snapshot_rollback(struct catalog *catalog, const char *volume, const char *snapshot,
                              bool force, catalog_progress_fn *progress, catalog_done_fn *done,
                              void *context)
{
    int error = catalog_may_snapshot(catalog, volume, snapshot);
    if (error != 0)
        return error;
    struct rollback *rollback = calloc(1, sizeof *rollback);
    if (rollback == NULL)
        return FAIL(-ENOMEM, "rolling back volume \"%s\": no memory", volume);
    rollback->force = force;
    memcpy(rollback->name, snapshot, strlen(snapshot) + 1);
    rollback->op.rolling.progress = progress;
    rollback->op.done = done;
    rollback->op.context = context;
    error = catalog_op_start(&rollback->op, catalog, volume, rollback_begin, rollback_end);
    if (error != 0)
        free(rollback);
    return error;
}

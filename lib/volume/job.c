/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: a walk over the MiB of a volume in which there may be something to do.
 *
 *   seek ──▶ copy ─┐  several copies at once (copy.c)      flush ──▶ told
 *    ▲─────────────┘  ──▶ nothing is left, or it failed ────┘ │
 *    └── rolling back, what was done gave space back for what found none
 *
 * Something is always under way until it is told: a seek, a copy or the flush. So stopping is a
 * mark, and nothing is told inside a call.
 */
#include <stdlib.h>

#include "volume/job.h"

static void work_step(struct volume_work *work);

/* --- Ends ----------------------------------------------------------------------------------- */

static void work_free(struct volume_work *work)
{
    for (uint32_t i = 0; i < JOB_COPIES; i++)
        free(work->copies[i].buffer);
    family_drop(work->family);
    free(work);
}

static void work_tell(struct volume_work *work, int result)
{
    struct volume_job *job = work->job;
    work->volume->io_count--;
    work_free(work);
    job->work = NULL;
    job->done(job, result);
}

/* Most of what a rollback writes gives back as much as it takes; but what newer snapshots show
 * stays. So what found no space may find some behind what did. */
static bool work_may_go_on(const struct volume_work *work)
{
    return work->starved && work->advanced && work->passes < JOB_PASSES_MAX && !work->stopped;
}

static void work_flushed(struct store_flush *flush, int result)
{
    struct volume_work *work = CONTAINER_OF(flush, struct volume_work, flush);
    if (result == 0 && work_may_go_on(work)) {
        REACH(job_goes_round);
        work->passes++;
        work->starved = work->advanced = work->over = false;
        work->next = 0;
        work_step(work);
    } else {
        work_tell(work, result == 0 && work->starved ? -ENOSPC : result);
    }
}

static void work_end(struct volume_work *work)
{
    store_ahead_end(&work->ahead);
    if (work->result != 0) {
        work_tell(work, work->result);
    } else if (!work->over) {
        work_tell(work, -ECANCELED);
    } else {
        work->flush.done = work_flushed;
        volume_target_flush(work->volume, &work->flush);
    }
}

/* --- Copies --------------------------------------------------------------------------------- */

/* One MiB was changed. */
static void work_note(struct volume_work *work, const struct volume_copy *copy)
{
    struct volume_job *job = work->job;
    work->advanced = true;
    for (uint32_t i = 0; i < copy->io.length / BLOCK_BYTES; i++) {
        if (copy->actions[i] != COPY_BAD)
            continue;
        uint64_t offset = copy->io.offset + (uint64_t)i * BLOCK_BYTES;
        job->bad_offset = job->bad_blocks++ == 0 ? offset : MIN(job->bad_offset, offset);
    }
}

static void work_copied(struct volume_io *io, int result)
{
    struct volume_copy *copy = CONTAINER_OF(io, struct volume_copy, io);
    struct volume_work *work = copy->work;
    copy->busy = false;
    work->busy--;
    if (result == 0 && copy->changes)
        work_note(work, copy);
    if (result == -ENOSPC && work->rolls_back)
        work->starved = true;
    else if (work->result == 0)
        work->result = result;
    if (work->job->progress != NULL && work->passes == 0)
        work->job->progress(work->job, MIN(work->next * BLOCK_BYTES, work->bytes), work->bytes);
    work_step(work);
}

static void work_copy(struct volume_work *work)
{
    struct volume_copy *copy = work->copies;
    while (copy->busy)
        copy++;
    struct volume_io *io = &copy->io;
    io->kind = VOLUME_COPY;
    io->offset = work->found * BLOCK_BYTES;
    io->length = MIN((uint64_t)MAP_BLOCKS * BLOCK_BYTES, work->bytes - io->offset);
    io->data = copy->buffer;
    io->done = work_copied;
    copy->busy = true;
    work->busy++;
    work->next = work->found + MAP_BLOCKS;
    volume_submit(work->volume, io);
}

/* --- Seeking -------------------------------------------------------------------------------- */

static void work_seek(struct volume_work *work)
{
    struct store_op *op = &work->seek;
    op->block = work->next;
    op->last = work->found == NOWHERE ? (work->bytes - 1) / BLOCK_BYTES : work->found - 1;
    work->seeking = true;
    volume_target_submit(work->volume, op);
    struct store *store = work->volume->engine->store;
    if (work->level > 1 || work->volume->copies != NULL)
        return;
    if (work->ahead.store == NULL)
        store_ahead_begin(store, &work->ahead, op->volume, op->view, op->since,
                          (work->bytes - 1) / BLOCK_BYTES);
    store_ahead_at(&work->ahead, op);
}

/* The next of the family looks no farther than what was found. */
static bool work_seek_parent(struct volume_work *work)
{
    if (work->rolls_back || work->level == work->family->count || work->found <= work->next)
        return false;
    const struct volume_parent *parent = &work->family->parents[work->level++];
    work->seek.volume = parent->volume;
    work->seek.view = parent->view;
    work_seek(work);
    return true;
}

static void work_sought(struct store_op *op, int result)
{
    struct volume_work *work = op->context;
    work->seeking = false;
    if (result == 0)
        work->found = op->found;
    else if (result != -ENOENT && work->result == 0)
        work->result = result;
    if (work->result == 0 && work_seek_parent(work))
        return;
    work->over = work->result == 0 && work->found == NOWHERE;
    if (work->result == 0 && !work->over && !work->stopped)
        work_copy(work);
    work_step(work);
}

static void work_seek_first(struct volume_work *work)
{
    struct store_op *op = &work->seek;
    op->kind = STORE_CHANGED;
    op->count = 1;
    op->since = work->rolls_back ? work->cut : 0;
    op->done = work_sought;
    op->context = work;
    work->found = NOWHERE;
    work->level = 0;
    if (work->rolls_back) {
        op->volume = work->volume->id;
        op->view = VIEW_HEAD;
        work_seek(work);
    } else {
        (void)work_seek_parent(work);
    }
}

static void work_step(struct volume_work *work)
{
    if (work->seeking)
        return;
    if (work->next * BLOCK_BYTES >= work->bytes || (!work->rolls_back && work->family == NULL))
        work->over = work->result == 0;
    bool ends = work->result != 0 || work->over || work->stopped;
    if (!ends && work->busy < JOB_COPIES)
        work_seek_first(work);
    else if (ends && work->busy == 0)
        work_end(work);
}

/* --- Asking for it -------------------------------------------------------------------------- */

static int work_start(struct volume *volume, const struct volume_work *what, struct volume_job *job)
{
    assert(volume->view == VIEW_HEAD && job->done != NULL);
    struct volume_work *work = calloc(1, sizeof *work);
    bool memory = work != NULL;
    for (uint32_t i = 0; memory && i < JOB_COPIES; i++) {
        work->copies[i].work = work;
        work->copies[i].buffer = aligned_alloc(BLOCK_BYTES, (size_t)MAP_BLOCKS * BLOCK_BYTES);
        memory = work->copies[i].buffer != NULL;
    }
    if (!memory) {
        if (work != NULL)
            work_free(work);
        return FAIL(-ENOMEM, "working through volume %llu: no memory",
                    (unsigned long long)volume->id);
    }
    work->volume = volume;
    work->job = job;
    work->rolls_back = what->rolls_back;
    work->cut = what->cut;
    work->from = what->from;
    work->family = family_keep(what->family);
    work->bytes = volume->bytes;
    volume->io_count++;
    job->work = work;
    job->bad_blocks = job->bad_offset = 0;
    work_step(work);
    return 0;
}

int volume_flatten_start(struct volume *volume, struct volume_job *job)
{
    struct volume_work what = {.family = volume->family};
    return work_start(volume, &what, job);
}

int volume_rollback_start(struct volume *volume, const struct volume_rollback *rollback,
                          struct volume_job *job)
{
    struct family *family;
    int result = family_make(rollback->parents, rollback->parent_count, &family);
    if (result != 0)
        return result;
    struct volume_work what = {
        .rolls_back = true, .cut = rollback->cut, .from = rollback->from, .family = family};
    result = work_start(volume, &what, job);
    family_drop(family);
    return result;
}

void volume_job_stop(struct volume_job *job)
{
    if (job->work != NULL)
        job->work->stopped = true;
}

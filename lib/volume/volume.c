/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request.
 *
 *   WAITING ──▶ RUNNING ──▶ FLUSHING ──▶ told
 *    (its range is held)  │ no FUA         ▲
 *                         └────────────────┘
 *
 * A range is held from RUNNING until the request is told: a value that may still be lost is not
 * seen by anybody. What asks where something is (survey.c) holds none, nor does a flush.
 */
#include "volume/inside.h"

enum io_state { IO_WAITING, IO_RUNNING, IO_FLUSHING };

static void io_run(struct volume_io *io);

/* --- Ranges --------------------------------------------------------------------------------- */

/* `b` comes after `a`. */
static bool io_conflicts(const struct volume_io *a, const struct volume_io *b)
{
    if (!io_changes(b) && (!io_changes(a) || MUTANT(92)))
        return false;
    if ((a->kind == VOLUME_COPY || b->kind == VOLUME_COPY) && MUTANT(134))
        return false;
    return a->first <= b->last && b->first <= a->last;
}

static bool list_conflicts(const struct list *list, const struct list *until,
                           const struct volume_io *io)
{
    for (const struct list *node = list->next; node != list && node != until; node = node->next) {
        if (io_conflicts(CONTAINER_OF(node, struct volume_io, node), io))
            return true;
    }
    return false;
}

/* Those that waited behind a range that came free; each only if nobody before it is in its way. */
static void volume_wake(struct volume *volume)
{
    LIST_EACH_SAFE (&volume->waiting, node, after) {
        struct volume_io *io = LIST_ENTRY(node, struct volume_io, node);
        if (list_conflicts(&volume->holding, NULL, io) ||
            list_conflicts(&volume->waiting, node, io))
            continue;
        list_remove(node);
        list_push_back(&volume->holding, node);
        io_run(io);
    }
}

/* --- Ends ----------------------------------------------------------------------------------- */

void volume_io_tell(struct volume_io *io)
{
    struct volume *volume = io->volume;
    list_remove(&io->node);
    list_remove(&io->ready);
    if (!list_empty(&volume->waiting))
        volume_wake(volume);
    volume->io_count--;
    io->done(io, io->result);
}

static void io_flushed(struct store_flush *flush, int result)
{
    struct volume_io *io = CONTAINER_OF(flush, struct volume_io, flush);
    if (io->result == 0)
        io->result = result;
    volume_io_tell(io);
}

static void io_flush(struct volume_io *io)
{
    io->state = IO_FLUSHING;
    io->flush.done = io_flushed;
    volume_target_flush(io->volume, &io->flush);
}

void volume_io_ended(struct volume_io *io)
{
    bool fua = (io->flags & VOLUME_FUA) != 0 && !MUTANT(81);
    if (io->result == 0 && io_changes(io) && fua)
        io_flush(io);
    else
        volume_io_tell(io);
}

void volume_io_piece_done(struct volume_io *io, int result)
{
    io->pieces--;
    if (result != 0 && io->result == 0)
        io->result = result;
    bool over = io->result != 0 || io->next == io->offset + io->length;
    if (!over && list_empty(&io->ready))
        (void)volume_io_advance(io);
    else if (over && io->pieces == 0)
        volume_io_ended(io);
}

/* --- Beginning ------------------------------------------------------------------------------ */

static void io_run(struct volume_io *io)
{
    io->state = IO_RUNNING;
    if (io->kind == VOLUME_COPY)
        volume_copy_begin(io);
    else if (!list_empty(&io->volume->engine->ready))
        list_push_back(&io->volume->engine->ready,
                       &io->ready); /* Behind those that lack a piece. */
    else if (io_surveys(io))
        volume_survey(io);
    else
        (void)volume_io_advance(io);
}

void volume_submit(struct volume *volume, struct volume_io *io)
{
    io->volume = volume;
    io->result = 0;
    io->pieces = 0;
    io->extent_count = 0;
    io->next = io->offset;
    list_init(&io->node);
    list_init(&io->ready);
    volume->io_count++;
    if (io->kind == VOLUME_FLUSH) {
        io_flush(io);
        return;
    }
    assert(io->length > 0 && io->offset % volume->sector_bytes == 0);
    assert(io->length % volume->sector_bytes == 0);
    assert(volume->view == VIEW_HEAD || !io_changes(io));
    io->first = io->offset / BLOCK_BYTES;
    io->last = (io->offset + io->length - 1) / BLOCK_BYTES;
    io->state = IO_WAITING;
    if (io->kind == VOLUME_CHANGED) {
        io_run(io);
        return;
    }
    if (list_conflicts(&volume->holding, NULL, io) || list_conflicts(&volume->waiting, NULL, io)) {
        list_push_back(&volume->waiting, &io->node);
        return;
    }
    list_push_back(&volume->holding, &io->node);
    io_run(io);
}

/* Ends it, if all that is left of it lacks sequences and will get none. */
static bool io_refused(struct volume_io *io)
{
    if (!io_changes(io) || io->volume->refused == 0 || volume_has_sequence(io->volume))
        return false;
    if (io->result == 0)
        io->result = io->volume->refused;
    if (io->pieces == 0)
        volume_io_ended(io);
    return true;
}

void volume_engine_turn(struct volume_engine *engine)
{
    engine->again = false;
    volume_holds_turn(engine);
    struct list ready;
    list_init(&ready);
    list_splice_back(&ready, &engine->ready);
    for (struct list *node; (node = list_pop_front(&ready)) != NULL;) {
        struct volume_io *io = LIST_ENTRY(node, struct volume_io, ready);
        if (io_surveys(io))
            volume_survey(io);
        else if (!io_refused(io) && io->result == 0)
            (void)volume_io_advance(io);
    }
    volume_holds_later(engine);
}

bool volume_engine_turn_needed(const struct volume_engine *engine)
{
    return engine->again || !list_empty(&engine->held);
}

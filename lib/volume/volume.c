/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request.
 *
 *   WAITING ──▶ RUNNING ──▶ FLUSHING ──▶ told
 *    (its range is held)  │ no FUA         ▲
 *                         └────────────────┘
 *
 * A range is held from RUNNING until the request is told: a value that may still be lost is not
 * seen by anybody.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/inside.h"

enum io_state { IO_WAITING, IO_RUNNING, IO_FLUSHING };

static void io_run(struct volume_io *io);

/* --- Ranges --------------------------------------------------------------------------------- */

static bool io_shares(const struct volume_io *io)
{
    return io->kind == VOLUME_READ || io->kind == VOLUME_MAP;
}

/* `b` comes after `a`. */
static bool io_conflicts(const struct volume_io *a, const struct volume_io *b)
{
    if (io_shares(b) && (io_shares(a) || MUTANT(92)))
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

static void io_tell(struct volume_io *io)
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
    io_tell(io);
}

static void io_flush(struct volume_io *io)
{
    io->state = IO_FLUSHING;
    io->flush.done = io_flushed;
    store_flush(io->volume->engine->store, &io->flush);
}

static void io_ended(struct volume_io *io)
{
    bool fua = (io->flags & VOLUME_FUA) != 0 && !MUTANT(81);
    if (io->result == 0 && io->kind != VOLUME_READ && fua)
        io_flush(io);
    else
        io_tell(io);
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
        io_ended(io);
}

/* --- The allocation map --------------------------------------------------------------------- */

static uint32_t map_flags(unsigned kind)
{
    switch (kind) {
    case POINTER_HOLE:
    case POINTER_ZERO: return VOLUME_EXTENT_HOLE | VOLUME_EXTENT_ZERO;
    default: return 0;
    }
}

/* Adds to the answer. False: it is full. */
static bool map_add(struct volume_io *io, uint64_t bytes, uint32_t flags)
{
    struct volume_extent *last = io->extent_count == 0 ? NULL : &io->extents[io->extent_count - 1];
    if (last != NULL && last->flags == flags) {
        last->bytes += bytes;
        return true;
    }
    if (io->extent_count == io->extent_max)
        return false;
    assert(io->extents != NULL);
    io->extents[io->extent_count++] = (struct volume_extent){.bytes = bytes, .flags = flags};
    return true;
}

static void map_next(struct volume_io *io);

static void map_piece_done(struct store_op *op, int result)
{
    struct piece *piece = op->context;
    struct volume_io *io = piece->io;
    uint64_t end = io->offset + io->length;
    bool room = true;
    for (uint32_t i = 0; result == 0 && room && i < op->count; i++) {
        uint64_t block_end = MIN((op->block + i + 1) * BLOCK_BYTES, end);
        room = map_add(io, block_end - io->next, map_flags(op->kinds[i]));
        if (room)
            io->next = block_end;
    }
    list_push_front(&io->volume->engine->free_pieces, &piece->node);
    io->pieces--;
    /* What is known is an answer, even if what follows cannot be read. */
    io->result = io->extent_count > 0 ? 0 : result;
    if (result != 0 || !room || io->next == end || io->next - io->offset >= MAP_BYTES_MAX)
        io_tell(io);
    else
        map_next(io);
}

static void map_next(struct volume_io *io)
{
    struct volume_engine *engine = io->volume->engine;
    struct list *node = list_pop_front(&engine->free_pieces);
    if (node == NULL) {
        list_push_back(&engine->ready, &io->ready);
        return;
    }
    struct piece *piece = LIST_ENTRY(node, struct piece, node);
    uint64_t end = io->offset + io->length;
    struct store_op *op = &piece->op;
    piece->io = io;
    piece->bounce = NULL;
    op->kind = STORE_MAP;
    op->volume = io->volume->id;
    op->view = VIEW_HEAD;
    op->block = io->next / BLOCK_BYTES;
    uint64_t blocks = DIV_CEIL(end, BLOCK_BYTES) - op->block;
    op->count = (uint32_t)MIN(blocks, MAP_BLOCKS - op->block % MAP_BLOCKS);
    op->done = map_piece_done;
    op->context = piece;
    io->pieces++;
    store_submit(engine->store, op);
}

/* --- Beginning ------------------------------------------------------------------------------ */

static void io_run(struct volume_io *io)
{
    io->state = IO_RUNNING;
    if (!list_empty(&io->volume->engine->ready))
        list_push_back(&io->volume->engine->ready,
                       &io->ready); /* Behind those that lack a piece. */
    else if (io->kind == VOLUME_MAP)
        map_next(io);
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
    io->first = io->offset / BLOCK_BYTES;
    io->last = (io->offset + io->length - 1) / BLOCK_BYTES;
    io->state = IO_WAITING;
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
    if (io->kind == VOLUME_READ || io->volume->refused == 0 ||
        io->volume->sequence + io->volume->sequences_promised < io->volume->sequence_end)
        return false;
    if (io->result == 0)
        io->result = io->volume->refused;
    if (io->pieces == 0)
        io_ended(io);
    return true;
}

void volume_engine_turn(struct volume_engine *engine)
{
    struct list ready;
    list_init(&ready);
    list_splice_back(&ready, &engine->ready);
    for (struct list *node; (node = list_pop_front(&ready)) != NULL;) {
        struct volume_io *io = LIST_ENTRY(node, struct volume_io, ready);
        if (io->kind == VOLUME_MAP)
            map_next(io);
        else if (!io_refused(io) && io->result == 0)
            (void)volume_io_advance(io);
    }
}

/* --- Opening -------------------------------------------------------------------------------- */

static void engine_lists(struct volume_engine *engine, uint32_t op_count, uint32_t bounce_count)
{
    list_init(&engine->free_pieces);
    list_init(&engine->free_bounces);
    list_init(&engine->ready);
    for (uint32_t i = 0; i < op_count; i++)
        list_push_back(&engine->free_pieces, &engine->pieces[i].node);
    for (uint32_t i = 0; i < bounce_count; i++) {
        struct bounce *bounce = (void *)(engine->bounces + (size_t)i * BOUNCE_BYTES);
        list_push_back(&engine->free_bounces, &bounce->node);
    }
}

int volume_engine_open(const struct volume_engine_options *options,
                       struct volume_engine **ret_engine)
{
    uint32_t op_count = options->op_count != 0 ? options->op_count : 256;
    uint32_t bounce_count = options->bounce_count != 0 ? options->bounce_count : 32;
    struct volume_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return FAIL(-ENOMEM, "opening volumes: no memory");
    engine->store = options->store;
    engine->pieces = calloc(op_count, sizeof *engine->pieces);
    engine->bounces = aligned_alloc(BLOCK_BYTES, (size_t)bounce_count * BOUNCE_BYTES);
    engine->zeros = aligned_alloc(BLOCK_BYTES, (size_t)MAP_BLOCKS * BLOCK_BYTES);
    if (engine->pieces == NULL || engine->bounces == NULL || engine->zeros == NULL) {
        volume_engine_close(engine);
        return FAIL(-ENOMEM, "opening volumes: no memory");
    }
    memset(engine->zeros, 0, (size_t)MAP_BLOCKS * BLOCK_BYTES);
    engine_lists(engine, op_count, bounce_count);
    *ret_engine = engine;
    return 0;
}

void volume_engine_close(struct volume_engine *engine)
{
    if (engine == NULL)
        return;
    assert(engine->volume_count == 0);
    free(engine->pieces);
    free(engine->bounces);
    free(engine->zeros);
    free(engine);
}

static void sequences_set(struct volume *volume, uint64_t end)
{
    volume->sequence_end = end;
    volume->sequence_warn = end - (end - volume->sequence) / 2;
    volume->wants_sequences = false;
}

int volume_open(struct volume_engine *engine, const struct volume_options *options,
                struct volume **ret_volume)
{
    struct volume *volume = calloc(1, sizeof *volume);
    if (volume == NULL)
        return FAIL(-ENOMEM, "opening volume %llu: no memory", (unsigned long long)options->id);
    volume->engine = engine;
    volume->id = options->id;
    volume->bytes = options->bytes;
    volume->sector_bytes = options->sector_bytes;
    volume->epoch = options->epoch;
    volume->sequence = options->sequence;
    volume->want_sequences = options->want_sequences;
    volume->context = options->context;
    sequences_set(volume, options->sequence_end);
    list_init(&volume->holding);
    list_init(&volume->waiting);
    engine->volume_count++;
    *ret_volume = volume;
    return 0;
}

void volume_close(struct volume *volume)
{
    assert(volume->io_count == 0);
    volume->engine->volume_count--;
    free(volume);
}

uint64_t volume_bytes(const struct volume *volume)
{
    return volume->bytes;
}

uint32_t volume_sector_bytes(const struct volume *volume)
{
    return volume->sector_bytes;
}

uint64_t volume_id(const struct volume *volume)
{
    return volume->id;
}

uint64_t volume_sequence(const struct volume *volume)
{
    return volume->sequence;
}

void volume_extend_sequences(struct volume *volume, uint64_t sequence_end)
{
    sequences_set(volume, sequence_end);
}

void volume_make_writable(struct volume *volume, uint64_t epoch, uint64_t sequence,
                          uint64_t sequence_end)
{
    assert(volume->sequence == volume->sequence_end);
    volume->epoch = epoch;
    volume->sequence = sequence;
    sequences_set(volume, sequence_end);
}

void volume_refuse_sequences(struct volume *volume, int result)
{
    assert(result < 0);
    volume->refused = result;
}

void volume_set_bytes(struct volume *volume, uint64_t bytes)
{
    volume->bytes = bytes;
}

uint32_t volume_io_count(const struct volume *volume)
{
    return volume->io_count;
}

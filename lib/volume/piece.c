/* SPDX-License-Identifier: Apache-2.0 */
/* Requests cut into pieces. */
#include <string.h>

#include "volume/inside.h"

struct piece *piece_take(struct volume_io *io)
{
    struct list *node = list_pop_front(&io->volume->engine->free_pieces);
    if (node == NULL)
        return NULL;
    struct piece *piece = LIST_ENTRY(node, struct piece, node);
    piece->io = io;
    piece->bounce = NULL;
    piece->changes = false;
    piece->family = NULL;
    return piece;
}

void piece_release(struct piece *piece)
{
    struct volume_engine *engine = piece->io->volume->engine;
    if (piece->bounce != NULL) {
        struct bounce *bounce = (void *)piece->bounce;
        list_push_front(&engine->free_bounces, &bounce->node);
    }
    piece->bounce = NULL;
    family_drop(piece->family);
    piece->family = NULL;
    /* The last used is the next: what the processor's caches hold is enough for all that fly. */
    list_push_front(&engine->free_pieces, &piece->node);
}

/* The part of a request from `offset` on that begins and ends with a block, or is less than one. */
static uint32_t piece_length(const struct volume_io *io, uint64_t offset)
{
    if (io->kind == VOLUME_COPY)
        return volume_copy_length(io, offset);
    uint64_t end = io->offset + io->length;
    uint64_t head = offset % BLOCK_BYTES;
    if (head != 0)
        return (uint32_t)MIN(BLOCK_BYTES - head, end - offset);
    uint64_t whole = (end - offset) / BLOCK_BYTES * BLOCK_BYTES;
    if (whole == 0)
        return (uint32_t)(end - offset);
    uint64_t mebibyte = (uint64_t)MAP_BLOCKS * BLOCK_BYTES;
    return (uint32_t)MIN(whole, mebibyte - offset % mebibyte);
}

static bool zeroes(const struct volume_io *io)
{
    return io->kind == VOLUME_DISCARD || io->kind == VOLUME_ZERO;
}

/* A whole segment of zeros is one operation, if one store has it: parts take a mebibyte at most. */
static bool piece_is_segment(const struct volume_io *io, uint64_t offset)
{
    return zeroes(io) && io->volume->copies == NULL && (io->flags & VOLUME_NO_HOLE) == 0 &&
           offset % SEGMENT_BYTES == 0 && io->offset + io->length - offset >= SEGMENT_BYTES;
}

static uint8_t *io_data(const struct volume_io *io, uint64_t offset)
{
    return (uint8_t *)io->data + (offset - io->offset);
}

static bool piece_partial(const struct piece *piece)
{
    return piece->offset % BLOCK_BYTES != 0 || piece->length % BLOCK_BYTES != 0;
}

static void piece_submit(struct piece *piece, enum store_op_kind kind, void *data)
{
    struct volume *volume = piece->io->volume;
    struct store_op *op = &piece->op;
    op->kind = kind;
    op->volume = volume->id;
    op->view = volume->view;
    op->only = NULL;
    op->block = piece->offset / BLOCK_BYTES;
    if (piece->length == 0)
        op->count = SEGMENT_BLOCKS;
    else
        op->count = (uint32_t)DIV_CEIL(piece->offset % BLOCK_BYTES + piece->length, BLOCK_BYTES);
    op->data = data;
    op->epoch = volume->epoch;
    op->context = piece;
    if (kind != STORE_READ) { /* It changes something. */
        op->sequence = volume->sequence++;
        op->cut = volume->cut;
        op->views = volume->views;
        /* A hole would let it shine through. */
        op->parent = volume->family != NULL && !MUTANT(133);
    }
    volume_target_submit(volume, op);
}

static void piece_end(struct piece *piece, int result)
{
    struct volume_io *io = piece->io;
    struct volume *volume = io->volume;
    if (piece->state == PIECE_FILL)
        volume->sequences_promised--;
    bool last_change = piece->changes && --volume->changes == 0;
    piece_release(piece);
    if (last_change && volume->holder != NULL)
        volume_hold_advance(volume);
    volume_io_piece_done(io, result);
}

/* The block is in hand: put the request's bytes in it, and write it. */
static void piece_filled(struct piece *piece)
{
    struct volume_io *io = piece->io;
    uint8_t *at = piece->bounce + piece->offset % BLOCK_BYTES;
    if (zeroes(io)) {
        bool empty = piece->op.kinds[0] == POINTER_HOLE || piece->op.kinds[0] == POINTER_ZERO;
        if (empty && (io->flags & VOLUME_NO_HOLE) == 0) {
            piece_end(piece, 0);
            return;
        }
        memset(at, 0, piece->length);
    } else {
        memcpy(at, io_data(io, piece->offset), piece->length);
    }
    piece->state = PIECE_GO;
    family_drop(piece->family);
    piece->family = NULL;
    io->volume->sequences_promised--;
    piece_submit(piece, STORE_WRITE, piece->bounce);
}

static void piece_done(struct store_op *op, int result)
{
    struct piece *piece = op->context;
    struct volume_io *io = piece->io;
    if (result == 0 && piece->family != NULL &&
        family_next(piece->family, &piece->level, op, piece->only)) {
        volume_target_submit(io->volume, op);
        return;
    }
    if (result == 0 && piece->state == PIECE_FILL) {
        piece_filled(piece);
        return;
    }
    if (result == 0 && io->kind == VOLUME_READ && piece->bounce != NULL)
        memcpy(io_data(io, piece->offset), piece->bounce + piece->offset % BLOCK_BYTES,
               piece->length);
    piece_end(piece, result);
}

/* What it reads is read through the family as it is now. */
static void piece_read(struct piece *piece, void *data)
{
    piece->family = family_keep(piece->io->volume->family);
    piece->level = 0;
    piece_submit(piece, STORE_READ, data);
}

static void piece_start(struct piece *piece)
{
    struct volume_io *io = piece->io;
    piece->op.done = piece_done;
    piece->state = PIECE_GO;
    if (io->kind == VOLUME_READ) {
        piece_read(piece, piece->bounce != NULL ? piece->bounce : io_data(io, piece->offset));
    } else if (piece->length != 0 && piece_partial(piece)) {
        piece->state = PIECE_FILL;
        io->volume->sequences_promised++;
        piece_read(piece, piece->bounce);
    } else if (io->kind == VOLUME_WRITE) {
        if (piece->bounce != NULL)
            memcpy(piece->bounce, io_data(io, piece->offset), piece->length);
        piece_submit(piece, STORE_WRITE,
                     piece->bounce != NULL ? piece->bounce : io_data(io, piece->offset));
    } else if (io->kind == VOLUME_COPY) {
        piece_submit(piece, volume_copy_kind(io, piece->offset), io_data(io, piece->offset));
    } else if ((io->flags & VOLUME_NO_HOLE) != 0) {
        piece_submit(piece, STORE_WRITE, io->volume->engine->zeros);
    } else {
        piece_submit(piece, STORE_ZERO, NULL);
    }
}

/* Whether bytes must pass through a buffer of our own. */
static bool piece_bounces(const struct piece *piece)
{
    const struct volume_io *io = piece->io;
    if (piece_partial(piece))
        return true;
    return !zeroes(io) && (uintptr_t)io_data(io, piece->offset) % 512 != 0;
}

static bool io_next_piece(struct volume_io *io)
{
    struct volume_engine *engine = io->volume->engine;
    struct volume *volume = io->volume;
    bool changes = io_changes(io);
    if (changes && (volume_stops(volume) || !volume_has_sequence(volume)))
        return false;
    struct piece *piece = piece_take(io);
    if (piece == NULL)
        return false;
    piece->offset = io->next;
    bool segment = piece_is_segment(io, io->next);
    piece->length = segment ? 0 : piece_length(io, io->next);
    if (!segment && piece_bounces(piece)) {
        struct list *node = list_pop_front(&engine->free_bounces);
        if (node == NULL) {
            piece_release(piece);
            return false;
        }
        piece->bounce = (void *)LIST_ENTRY(node, struct bounce, node);
        piece->length = MIN(piece->length, BOUNCE_BYTES);
    }
    io->next += segment ? SEGMENT_BYTES : piece->length;
    if (io->kind == VOLUME_COPY)
        io->next = volume_copy_next(io, io->next);
    io->pieces++;
    piece->changes = changes;
    volume->changes += changes ? 1 : 0;
    piece_start(piece);
    return true;
}

bool volume_io_advance(struct volume_io *io)
{
    struct volume *volume = io->volume;
    uint64_t end = io->offset + io->length;
    bool started = true;
    while (started && io->result == 0 && io->next < end && io->pieces < VOLUME_IO_PIECES)
        started = io_next_piece(io);
    if (volume->sequence >= volume->sequence_warn)
        volume_want_sequences(volume);
    if (!started && io_changes(io) && volume_stops(volume))
        list_push_back(&volume->stopped, &io->ready);
    else if (!started)
        list_push_back(&volume->engine->ready, &io->ready);
    return started;
}

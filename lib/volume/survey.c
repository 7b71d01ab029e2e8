/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is where, and what changed: extents, and nothing is read but maps.
 *
 *   SEEK ──▶ LOOK ──▶ the page is told ──▶ SEEK ...  ──▶ (done)
 *    the next map page    │
 *    with something in it └ what is a hole, in the family
 *
 * Scouts of the store fetch what will be looked at, as long as the survey lasts.
 *
 * The volume and its parents are asked in turn for the next page in which anything is, each no
 * farther than what the one before found: nothing is looked at where nothing is. One piece goes
 * through it all.
 *
 * Who asks for changes holds no range, for he may ask about all of a volume in use. A page was
 * looked at through the family of then: if that went meanwhile, the page is looked at again.
 */
#include "volume/inside.h"

static uint32_t survey_flags(unsigned kind)
{
    switch (kind) {
    case POINTER_HOLE:
    case POINTER_ZERO: return VOLUME_EXTENT_HOLE | VOLUME_EXTENT_ZERO;
    default: return 0;
    }
}

/* Adds to the answer all from io->next up to `until`. False: it is full. */
static bool survey_add(struct volume_io *io, uint64_t until, uint32_t flags)
{
    uint64_t bytes = until - io->next;
    struct volume_extent *last = io->extent_count == 0 ? NULL : &io->extents[io->extent_count - 1];
    if (last != NULL && last->flags == flags) {
        last->bytes += bytes;
    } else if (io->extent_count == io->extent_max) {
        return false;
    } else {
        assert(io->extents != NULL);
        io->extents[io->extent_count++] = (struct volume_extent){.bytes = bytes, .flags = flags};
    }
    io->next = until;
    return true;
}

static bool survey_through_family(const struct piece *piece)
{
    return piece->family != NULL && (piece->io->kind == VOLUME_MAP || piece->io->since == 0);
}

/* `result`: of what was asked last. */
static void survey_end(struct piece *piece, int result)
{
    struct volume_io *io = piece->io;
    struct survey_ahead *ahead = piece->ahead;
    for (unsigned i = 0; ahead != NULL && i < SURVEY_AHEADS; i++)
        store_ahead_end(&ahead->levels[i]);
    if (ahead != NULL)
        list_push_front(&io->volume->engine->free_aheads, &ahead->node);
    piece->ahead = NULL;
    piece_release(piece);
    io->pieces--;
    /* What is known is an answer, even if what follows cannot be read. */
    io->result = io->extent_count > 0 ? 0 : result;
    volume_io_tell(io);
}

static void survey_seek(struct piece *piece);

static void survey_start(struct piece *piece)
{
    struct volume *volume = piece->io->volume;
    family_drop(piece->family);
    piece->family = family_keep(volume->family);
    piece->level = 0;
    piece->found = NOWHERE;
    piece->op.volume = volume->id;
    piece->op.view = volume->view;
    piece->op.context = piece;
    survey_seek(piece);
}

/* One block of the page that was found. */
static bool survey_block(struct piece *piece, uint32_t index)
{
    struct volume_io *io = piece->io;
    const struct store_op *op = &piece->op;
    uint64_t block = piece->found + index;
    if (block < io->next / BLOCK_BYTES || block > io->last)
        return true;
    uint64_t until = MIN((block + 1) * BLOCK_BYTES, io->offset + io->length);
    uint32_t flags = survey_flags(op->kinds[index]);
    if (io->kind == VOLUME_MAP)
        return survey_add(io, until, flags);
    bool changed = survey_through_family(piece) ? op->kinds[index] != POINTER_HOLE
                                                : block_set_has(op->changed, index);
    return survey_add(io, until, changed ? VOLUME_EXTENT_CHANGED | flags : 0);
}

static void survey_tell(struct piece *piece)
{
    struct volume_io *io = piece->io;
    if (survey_through_family(piece) && piece->family != io->volume->family) {
        survey_start(piece);
        return;
    }
    bool room = true;
    for (uint32_t i = 0; room && i < MAP_BLOCKS; i++)
        room = survey_block(piece, i);
    if (!room || io->next == io->offset + io->length || ++piece->pages == SURVEY_PAGES_MAX)
        survey_end(piece, 0);
    else
        survey_start(piece);
}

/* --- Looking through the family ------------------------------------------------------------- */

static void survey_looked(struct store_op *op, int result)
{
    struct piece *piece = op->context;
    if (result != 0)
        survey_end(piece, result);
    else if (family_next(piece->family, &piece->level, op, piece->only))
        volume_target_submit(piece->io->volume, op);
    else
        survey_tell(piece);
}

static void survey_look(struct piece *piece)
{
    struct volume *volume = piece->io->volume;
    struct store_op *op = &piece->op;
    piece->level = 0;
    op->kind = STORE_MAP;
    op->volume = volume->id;
    op->view = volume->view;
    op->block = piece->found;
    op->count = MAP_BLOCKS;
    op->only = NULL;
    op->done = survey_looked;
    volume_target_submit(volume, op);
}

/* --- Seeking -------------------------------------------------------------------------------- */

/* The next page is known, or that there is none. */
static void survey_found(struct piece *piece)
{
    struct volume_io *io = piece->io;
    uint64_t end = io->offset + io->length;
    uint64_t until = piece->found == NOWHERE ? end : piece->found * BLOCK_BYTES;
    uint32_t flags = io->kind == VOLUME_MAP ? VOLUME_EXTENT_HOLE | VOLUME_EXTENT_ZERO : 0;
    if ((until > io->next && !survey_add(io, until, flags)) || io->next == end)
        survey_end(piece, 0);
    else if (survey_through_family(piece))
        survey_look(piece);
    else
        survey_tell(piece);
}

static void survey_sought(struct store_op *op, int result)
{
    struct piece *piece = op->context;
    if (result != 0 && result != -ENOENT) {
        survey_end(piece, result);
        return;
    }
    if (result == 0)
        piece->found = op->found;
    bool here = piece->found <= piece->io->next / BLOCK_BYTES;
    if (here || !survey_through_family(piece) || piece->level == piece->family->count) {
        survey_found(piece);
        return;
    }
    const struct volume_parent *parent = &piece->family->parents[piece->level++];
    op->volume = parent->volume;
    op->view = parent->view;
    survey_seek(piece);
}

/* A family that changes meanwhile is not followed: whoever was scouted for goes unread. */
static void survey_look_ahead(struct piece *piece)
{
    const struct store_op *op = &piece->op;
    struct store *store = piece->io->volume->engine->store;
    if (piece->ahead == NULL || piece->level >= SURVEY_AHEADS || piece->io->volume->copies != NULL)
        return;
    struct store_ahead *ahead = &piece->ahead->levels[piece->level];
    if (ahead->store == NULL || ahead->volume != op->volume || ahead->view != op->view) {
        store_ahead_end(ahead);
        store_ahead_begin(store, ahead, op->volume, op->view, op->since, piece->io->last);
    }
    store_ahead_at(ahead, op);
}

static void survey_seek(struct piece *piece)
{
    struct volume_io *io = piece->io;
    struct store_op *op = &piece->op;
    op->kind = STORE_CHANGED;
    op->block = io->next / BLOCK_BYTES;
    op->last = piece->found == NOWHERE ? io->last : piece->found - 1;
    op->since = io->kind == VOLUME_MAP ? 0 : io->since;
    op->count = 1;
    op->only = NULL;
    op->done = survey_sought;
    volume_target_submit(io->volume, op);
    survey_look_ahead(piece);
}

void volume_survey(struct volume_io *io)
{
    struct piece *piece = piece_take(io);
    if (piece == NULL) {
        list_push_back(&io->volume->engine->ready, &io->ready);
        return;
    }
    struct list *ahead = list_pop_front(&io->volume->engine->free_aheads);
    piece->ahead = ahead != NULL ? LIST_ENTRY(ahead, struct survey_ahead, node) : NULL;
    piece->pages = 0;
    io->pieces++;
    survey_start(piece);
}

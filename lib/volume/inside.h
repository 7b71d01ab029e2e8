/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of volume/ share. */
#ifndef VOLUME_INSIDE_H
#define VOLUME_INSIDE_H

#include "volume/volume.h"

#define BOUNCE_BYTES 65536u
#define SEGMENT_BYTES ((uint64_t)SEGMENT_BLOCKS * BLOCK_BYTES)
/* Map pages that one answer about what is where looks at, at most: 4 GiB full of data. */
#define SURVEY_PAGES_MAX 4096u

/* Of a seek: no block. */
#define NOWHERE UINT64_MAX

/* One bit for each block of a map page. */
#define BLOCK_SET_BYTES (STORE_OP_BLOCKS_MAX / 8)

static inline bool block_set_has(const uint8_t *set, uint32_t index)
{
    return (set[index / 8] >> index % 8 & 1) != 0;
}

static inline void block_set_put(uint8_t *set, uint32_t index, bool in)
{
    set[index / 8] = (uint8_t)((set[index / 8] & ~(1u << index % 8)) | (unsigned)in << index % 8);
}

/* --- family.c ------------------------------------------------------------------------------- */

/* Who is read where there are holes, nearest first. Lives as long as somebody reads by it. */
struct family {
    uint32_t references;
    uint32_t count;
    uint32_t *retired; /* NULL: it is the volume's. Else: counts those that are still being read. */
    struct volume_parent parents[];
};

/* No parents: NULL, and nothing below costs anything. */
int family_make(const struct volume_parent *parents, uint32_t count, struct family **ret_family);
struct family *family_keep(struct family *family);
void family_drop(struct family *family);
/* A read or map has ended well: if holes are left of what op->only asked for, it becomes the one of
 * the next parent, to be submitted again. What it answers then is of each block the nearest that is
 * no hole. `only`: its memory. `level`: 0 at first. */
bool family_next(const struct family *family, uint32_t *level, struct store_op *op,
                 uint8_t only[BLOCK_SET_BYTES]);

/*
 * A piece of a request: what one store operation, or a read and then a write, does.
 *
 *   whole blocks:            GO ──▶ (done)
 *   partial blocks, reading: GO ──▶ copy out ──▶ (done)
 *   partial blocks, writing: FILL (read) ──▶ copy in ──▶ GO ──▶ (done)
 */
enum piece_state { PIECE_FILL, PIECE_GO };

struct piece {
    struct store_op op;
    struct volume_io *io;
    struct list node; /* Among the free ones. */
    enum piece_state state;
    uint64_t offset;
    uint32_t length; /* Bytes of the request in it; 0 for a whole segment of zeros. */
    uint8_t *bounce; /* Or NULL: straight from and to the caller's memory. */
    bool changes;    /* A hold waits for it. */
    /* What is read through a family. */
    struct family *family;
    uint32_t level; /* Parents asked. */
    uint8_t only[BLOCK_SET_BYTES];
    /* Of a survey. */
    uint64_t found; /* First block of the next map page with anything. */
    uint32_t pages; /* Looked at. */
    struct survey_ahead *ahead;
};

/* Scouts of a survey, for itself and its nearest parent. */
#define SURVEY_AHEADS 2u
/* Surveys that have some at once. */
#define SURVEYS_AHEAD 4u

struct survey_ahead {
    struct list node; /* Among the free ones. */
    struct store_ahead levels[SURVEY_AHEADS];
};

struct bounce {
    struct list node;
};

struct volume_engine {
    struct store *store;
    struct piece *pieces;
    struct list free_pieces;
    uint8_t *bounces;
    struct list free_bounces;
    uint8_t *zeros; /* 1 MiB of them. */
    struct survey_ahead *aheads;
    struct list free_aheads; /* Who gets none goes without. */
    struct list ready;       /* struct volume_io.ready: a piece could not start. In order. */
    struct list held;        /* struct volume_hold.node: to be told. */
    struct list holds_later; /* struct volume.hold_later: released; others wait to hold it. */
    bool again;              /* Turn without waiting for anything. */
    uint32_t volume_count;
};

enum hold_state { HOLD_NONE, HOLD_FIRST, HOLD_STOPPING, HOLD_HELD };

struct volume {
    struct volume_engine *engine;
    struct copies *copies; /* NULL: the engine's store. */
    uint64_t id;
    uint64_t view;
    uint64_t bytes;
    uint32_t sector_bytes;
    uint64_t epoch;
    uint64_t sequence, sequence_end;
    uint32_t sequences_promised; /* To pieces that are read before they are written, and a hold. */
    uint64_t sequence_warn;      /* Ask for more from here on. */
    void (*want_sequences)(void *context);
    void *context;
    bool wants_sequences;
    bool writable;
    int refused;         /* Result of what lacks a sequence; 0: it waits. */
    struct list holding; /* struct volume_io.node: hold their ranges. */
    struct list waiting; /* In order of arrival. */
    uint32_t io_count;
    uint64_t cut; /* What changes carry. */
    bool views;
    struct family *family; /* NULL: none. */
    uint32_t families_retired;

    uint32_t changes;    /* Pieces of changes under way. */
    struct list stopped; /* struct volume_io.ready: changes that a hold lets begin no piece. */
    struct list holds;   /* struct volume_hold.node: those that wait. */
    struct list hold_later;
    struct volume_hold *holder;
    uint8_t hold_state;
    bool cut_taken;
};

static inline bool volume_stops(const struct volume *volume)
{
    return volume->hold_state >= HOLD_STOPPING;
}

static inline bool volume_has_sequence(const struct volume *volume)
{
    return volume->sequence + volume->sequences_promised < volume->sequence_end;
}

static inline bool io_changes(const struct volume_io *io)
{
    return io->kind == VOLUME_WRITE || io->kind == VOLUME_DISCARD || io->kind == VOLUME_ZERO ||
           io->kind == VOLUME_COPY;
}

static inline bool io_surveys(const struct volume_io *io)
{
    return io->kind == VOLUME_MAP || io->kind == VOLUME_CHANGED;
}

/* Whoever keeps the blocks of a volume: the store, or copies in several of them. */
static inline void volume_target_submit(struct volume *volume, struct store_op *op)
{
    if (volume->copies == NULL)
        store_submit(volume->engine->store, op);
    else
        copies_submit(volume->copies, op);
}

static inline void volume_target_flush(struct volume *volume, struct store_flush *flush)
{
    if (volume->copies == NULL)
        store_flush(volume->engine->store, flush);
    else
        copies_flush(volume->copies, flush);
}

/* --- open.c --------------------------------------------------------------------------------- */

/* Asks for more, unless somebody did. */
void volume_want_sequences(struct volume *volume);

/* --- hold.c --------------------------------------------------------------------------------- */

/* Goes on with whoever is first: there is a sequence, or no change under way any more. */
void volume_hold_advance(struct volume *volume);
/* Tells who holds; then, after what waits has begun, lets the next hold begin. */
void volume_holds_turn(struct volume_engine *engine);
void volume_holds_later(struct volume_engine *engine);

/* --- piece.c -------------------------------------------------------------------------------- */

/* A free one; NULL: there is none, and the request wants to be in engine->ready. */
struct piece *piece_take(struct volume_io *io);
void piece_release(struct piece *piece);
/* Start pieces of a request until it has enough under way, or something is short. False: short; it
 * is in engine->ready, or stopped. */
bool volume_io_advance(struct volume_io *io);

/* --- survey.c ------------------------------------------------------------------------------- */

/* Answers what is where, or what changed, from io->next on. */
void volume_survey(struct volume_io *io);

/* --- copy.c --------------------------------------------------------------------------------- */

/* The range is held: find out what is to be written, then write it. */
void volume_copy_begin(struct volume_io *io);
/* The next offset from `offset` on where something is to be written, or the end. */
uint64_t volume_copy_next(const struct volume_io *io, uint64_t offset);
/* What is written from there on with one operation. */
uint32_t volume_copy_length(const struct volume_io *io, uint64_t offset);
enum store_op_kind volume_copy_kind(const struct volume_io *io, uint64_t offset);

/* --- volume.c ------------------------------------------------------------------------------- */

/* A piece has ended. */
void volume_io_piece_done(struct volume_io *io, int result);
/* Nothing of it is under way, and nothing is left to do. */
void volume_io_ended(struct volume_io *io);
/* The same of one that holds no range. */
void volume_io_tell(struct volume_io *io);

#endif

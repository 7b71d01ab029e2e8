/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of volume/ share. */
#ifndef VOLUME_INSIDE_H
#define VOLUME_INSIDE_H

#include "volume/volume.h"

#define BOUNCE_BYTES 65536u
#define SEGMENT_BYTES ((uint64_t)SEGMENT_BLOCKS * BLOCK_BYTES)
/* What one answer about the allocation map looks at, at most. */
#define MAP_BYTES_MAX (4ull << 30)

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
    uint8_t *zeros;    /* 1 MiB of them. */
    struct list ready; /* struct volume_io.ready: a piece could not start. In order. */
    uint32_t volume_count;
};

struct volume {
    struct volume_engine *engine;
    uint64_t id;
    uint64_t bytes;
    uint32_t sector_bytes;
    uint64_t epoch;
    uint64_t sequence, sequence_end;
    uint32_t sequences_promised; /* To pieces that are read before they are written. */
    uint64_t sequence_warn;      /* Ask for more from here on. */
    void (*want_sequences)(void *context);
    void *context;
    bool wants_sequences;
    int refused;         /* Result of what lacks a sequence; 0: it waits. */
    struct list holding; /* struct volume_io.node: hold their ranges. */
    struct list waiting; /* In order of arrival. */
    uint32_t io_count;
};

/* piece.c: start pieces of a request until it has enough under way, or something is short. False:
 * short; it is in engine->ready. */
bool volume_io_advance(struct volume_io *io);
/* volume.c: a piece has ended. */
void volume_io_piece_done(struct volume_io *io, int result);

#endif

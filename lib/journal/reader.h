/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a region once around, in large pieces, a few in flight, and shows it as a window.
 *
 * A piece never crosses the end of the region. What a batch needs from two pieces is brought
 * together in the headroom before the second. A piece that fails is read again block by block; what
 * cannot be read then is zeros and counted.
 */
#ifndef JOURNAL_READER_H
#define JOURNAL_READER_H

#include "device/device.h"

#define READER_BLOCKS 256u
#define READER_PIECES 3u

struct journal_reader;

struct reader_piece {
    struct device_io io;
    struct journal_reader *reader;
    uint8_t *data;    /* Behind `headroom` blocks. */
    uint64_t at;      /* Address of its first block. */
    uint32_t blocks;  /* 0: not in use. */
    uint32_t carried; /* Blocks of the piece before, in front of `data`. */
    uint32_t retry;   /* The block being read alone. */
    bool flying;
};

struct journal_reader {
    struct device_set *devices;
    uint64_t place, region_blocks;
    uint32_t piece_blocks, headroom;
    uint8_t *memory;
    struct reader_piece pieces[READER_PIECES];
    unsigned head; /* The piece being looked at; the others follow in order. */
    unsigned flying;
    uint64_t read_at; /* The next to ask for. */
    uint64_t end_at;  /* Nothing is asked for from here on. */
    uint64_t unreadable;
    uint8_t *unreadable_map; /* A bit for each block of the region. */
    void (*ready)(struct journal_reader *reader);
};

/* 0 or -ENOMEM. */
int reader_init(struct journal_reader *reader);
void reader_done(struct journal_reader *reader);
/* Begins again at `at`. `ready` runs after each piece. Nothing is in flight. */
void reader_start(struct journal_reader *reader, uint64_t at, uint64_t end_at,
                  void (*ready)(struct journal_reader *reader));
/*
 * The bytes at `at`, which never goes back: `blocks` of them or as many as there are before the
 * region's end or `end_at`, *ret_blocks. They stay until the next call. NULL: not read yet, come
 * again when `ready` runs.
 */
const uint8_t *reader_at(struct journal_reader *reader, uint64_t at, uint32_t blocks,
                         uint32_t *ret_blocks);
/* Whether one of these blocks could not be read. */
bool reader_missed(const struct journal_reader *reader, uint64_t at, uint64_t blocks);

#endif

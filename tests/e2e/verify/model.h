/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each 4 KiB block may legally show.
 *
 * What it is: per block the versions it has had, oldest first, each a row of eight sector
 * sequences, with what the server has said about it: acknowledged (its place in the order of
 * acknowledgements), durable (with FUA; a flush that began after the acknowledgement also covers).
 *
 * What it promises: a block that is not one of its legal versions, whole, is reported in one
 * sentence. At most one write to a block is outstanding, so its versions have one order.
 *
 *   running server, or after kill -9   the newest acknowledged version, or a newer one
 *   after a power cut                  the newest durable version, or a newer one
 */
#ifndef VERIFY_MODEL_H
#define VERIFY_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stamp.h"

#define BLOCK_BYTES 4096u
#define BLOCK_SECTORS (BLOCK_BYTES / SECTOR_BYTES)

enum model_mode {
    MODEL_RUNNING,
    MODEL_POWER_CUT,
};

struct version {
    uint64_t write;        /* Number of the write, or trim, or write-zeroes, that made it. */
    uint64_t acknowledged; /* 1 for the first acknowledgement of the session; 0: none. */
    uint64_t durable; /* With FUA, or what a check after a crash found: not to be lost again. */
    uint64_t sectors[BLOCK_SECTORS]; /* The sequence that each sector shows. */
};

struct block {
    struct version *versions; /* Never empty. */
    uint32_t count;
    uint32_t room;
    uint32_t readers; /* While above 0 no version is dropped. */
    bool writing;
    uint64_t seen; /* The newest write that a read has shown: no later read may un-see it. */
};

struct model {
    uint64_t session;
    uint64_t write_last;
    uint64_t acknowledged; /* Acknowledgements so far. */
    uint64_t flushed;      /* Those up to this one are durable. */
    uint64_t flush_count;
    uint64_t rounds;
    uint64_t extent_stride; /* Bytes between the starts of two extents. */
    uint64_t block_count;
    struct block *blocks;
    unsigned atomic_bytes; /* 4096, or 512 for a server that promises no more. */
};

/* Blocks lie in extents of 512, so that a large volume can be spanned by few. */
#define EXTENT_BLOCKS 512u

/* A fresh session: every block shows zeroes. Aborts the program without memory. */
void model_init(struct model *model, uint64_t session, uint64_t block_count,
                uint64_t extent_stride);
void model_done(struct model *model);

/* The side file: all of the above, for a later process. Both return 0, or -1 with errno. */
int model_save(const struct model *model, const char *path);
int model_load(struct model *model, const char *path);

uint64_t model_offset(const struct model *model, uint64_t block);

/* A write of sectors [@first, @last) of @block is about to be sent; @sequence 0 writes zeroes. */
void model_write(struct model *model, uint64_t block, unsigned first, unsigned last, uint64_t write,
                 uint64_t sequence);
/* The newest version of @block was acknowledged, as number @order. */
void model_acknowledge(struct model *model, uint64_t block, uint64_t order, bool fua);

/* The oldest write that a read of @block begun now may show. */
uint64_t model_floor(const struct model *model, uint64_t block, enum model_mode mode);

/*
 * Is what was read from @block legal, for a read that began when model_floor() was @floor?
 * Returns true, and the newest write that it can be; or false and a sentence.
 */
bool model_check(const struct model *model, uint64_t block, uint64_t floor,
                 const uint8_t bytes[BLOCK_BYTES], uint64_t *ret_write, char *sentence,
                 size_t sentence_size);

/* A check found @write in @block: older and newer versions are history. */
void model_settle(struct model *model, uint64_t block, uint64_t write,
                  const uint8_t bytes[BLOCK_BYTES]);

/* Writes the versions of @block, for people, to @path. */
void model_tell(const struct model *model, uint64_t block, const char *path);

#endif

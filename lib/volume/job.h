/* SPDX-License-Identifier: Apache-2.0 */
/* What job.c and copy.c share: a walk over a volume, and one MiB of it. */
#ifndef VOLUME_JOB_H
#define VOLUME_JOB_H

#include "volume/inside.h"

/* MiB that a job works on at once. */
#define JOB_COPIES 4u
/* Times that a rollback on a full store goes through the volume, at most. */
#define JOB_PASSES_MAX 8u

enum copy_action { COPY_NOTHING, COPY_WRITE, COPY_ZERO, COPY_BAD };

/*
 * One MiB, under its range lock.
 *
 *   flatten:     what are holes? (MAP)           ──▶ read them in the family ──▶ write
 *   roll back:   newer than the cut? (CHANGED)   ──▶ read them in the view,  ──▶ write, zero, or
 *                newer than `from`? (CHANGED)        then in its family          damage as they are
 */
enum copy_state { COPY_MAP, COPY_SINCE_CUT, COPY_SINCE_FROM, COPY_READ };

struct volume_copy {
    struct volume_io io;
    struct store_op op;
    struct volume_work *work;
    uint8_t *buffer; /* 1 MiB. */
    bool busy;
    bool again;   /* What could not be read is being read once more. */
    bool changes; /* Something is written, or is to be. */
    uint8_t state;
    uint32_t level;
    uint8_t wanted[BLOCK_SET_BYTES]; /* Blocks that are to be dealt with. */
    uint8_t only[BLOCK_SET_BYTES];
    uint8_t actions[MAP_BLOCKS];
};

struct volume_work {
    struct volume *volume;
    struct volume_job *job;
    bool rolls_back;
    uint64_t cut, from;    /* Rolling back. */
    struct family *family; /* That is read. */
    uint64_t bytes;
    uint64_t next; /* The first block that was not dealt out. */
    bool over;     /* There is nothing from `next` on. */
    bool stopped;
    bool starved;  /* Rolling back: some MiB of this pass found no space. */
    bool advanced; /* Some other was changed. */
    uint32_t passes;
    int result;

    bool seeking;
    struct store_op seek;
    struct store_ahead ahead; /* Of the seeks of the head, or of the nearest parent. */
    uint32_t level;           /* Parents asked. */
    uint64_t found;           /* First block of the next map page. */

    uint32_t busy;
    struct volume_copy copies[JOB_COPIES];
    struct store_flush flush;
};

#endif

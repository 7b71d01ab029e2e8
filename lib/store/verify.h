/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what a walk of the tree meets and comparing it with its CRC: for check and scrub.
 *
 *   walk ──▶ verify_add() … ──▶ verify_send() ──▶ runs, few at a time ──▶ bad() for each fault
 *
 * What was added is sorted by its places and read in runs of neighbours. A run that cannot be read
 * is read again block by block, so each fault is told with its exact place. While one plan is
 * being read the next one gathers.
 *
 * From its first block to its last read a plan keeps what the walk showed from being given to
 * anybody else. So send what was added before anything is waited for: once a turn, and whenever the
 * walk pauses.
 */
#ifndef STORE_VERIFY_H
#define STORE_VERIFY_H

#include "store/internal.h"

#define VERIFY_PLANS 2u
#define VERIFY_PLAN_BLOCKS 256u
#define VERIFY_SLOTS 4u
#define VERIFY_RUN_BLOCKS 64u /* 256 KiB: more a request gains no disk anything. */

struct verify_block {
    struct segment_key key;
    uint64_t block; /* Of the volume. */
    uint64_t place;
    uint32_t crc;
    enum tree_visit_what what; /* Of a page it is the version that is written. */
};

struct verify_plan {
    struct verify_block blocks[VERIFY_PLAN_BLOCKS]; /* As they were met. */
    uint8_t order[VERIFY_PLAN_BLOCKS];              /* Of their places. */
    uint32_t count;                                 /* 0: it may gather. */
    uint32_t sent;                                  /* In requests so far. */
    uint32_t read;                                  /* Done with. */
    uint64_t ticket;
};

struct verify_slot {
    struct device_io io;
    struct verify *verify;
    struct verify_plan *plan; /* NULL: idle. */
    uint32_t first, blocks;   /* Of plan->order. */
    uint32_t single;          /* Which of them is read for itself, if `singly`. */
    bool singly;
    uint8_t *data;
};

struct verify {
    struct store *store;
    struct verify_plan *plans; /* VERIFY_PLANS: the one that gathers or did last, and the other. */
    unsigned now;              /* Which of them gathers. */
    bool closed;               /* It is sent: nothing more is added to it. */
    unsigned depth;            /* Requests at once, 1 .. VERIFY_SLOTS: the owner's to change. */
    struct verify_slot slots[VERIFY_SLOTS];
    uint8_t *buffers;
    uint64_t blocks;                     /* Read so far, pages apart. */
    uint64_t requests, requested_blocks; /* Sent so far, pages and all. */
    /* A block is damaged: -EIO or IOMESH_CORRUPT; IOMESH_FAILED says nothing of it. */
    void (*bad)(struct verify *verify, const struct verify_block *block, int error);
    /* A block is what it was when it was written. NULL: nobody looks at what is in it. */
    void (*good)(struct verify *verify, const struct verify_block *block, const uint8_t *data);
    /* A plan came free. */
    void (*room)(struct verify *verify);
};

int verify_open(struct verify *verify, struct store *store);
/* It is idle. */
void verify_close(struct verify *verify);
/* Nothing is gathered or being read. */
bool verify_idle(const struct verify *verify);
/* Nothing may be added: `room` will run. */
bool verify_full(const struct verify *verify);
/* In the same instant in which the walk showed the pointer, whose place is on a device. */
void verify_add(struct verify *verify, const struct tree_visit *visit);
/* Read what was added, once nothing older is being read. Harmless if nothing was. */
void verify_send(struct verify *verify);
/* Blocks of data that were added and may not be read yet. */
uint64_t verify_pending(const struct verify *verify);
/* The first that was added of what is not read yet; NULL: idle. */
const struct verify_block *verify_oldest(const struct verify *verify);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of frames between one thread that owns the data and a few that pack and move it.
 *
 * Slot n of the ring belongs to its owner or to the workers. A writer's owner fills slots and gives
 * them in order; a reader's owner gets them in order and gives them back. Each slot that is given
 * goes through three steps on one worker:
 *
 *     before    beside the others        pack
 *     in turn   in the ring's order      write, or read
 *     after     beside the others        unpack
 *
 * and comes back to its owner, who is told by `notify`, from that worker's thread. Memory is the
 * slots', all of it taken at the beginning.
 */
#ifndef BACKUP_LANES_H
#define BACKUP_LANES_H

#include "backup/course.h"

enum { LANES_SLOTS = 8, LANES_THREADS_MAX = 4 };

struct lanes_slot {
    struct backup_frame frame;
    struct backup_content content;
    enum backup_fault fault; /* Of a reader: what is wrong with it. */
    bool empty;              /* Of a reader: there is nothing more. */
    int error;               /* Of a reader: a negative errno. */
    uint8_t *plain;          /* BACKUP_DATA_BYTES_MAX, aligned to 4 KiB. */
    uint8_t *head;           /* BACKUP_FRAME_HEAD_BYTES, the payload behind them. */
    uint8_t *payload;        /* BACKUP_PAYLOAD_BYTES_MAX */
    bool given, taken;       /* To the workers; by one of them. */
    bool held;               /* The owner is at it. */
    void *owner;             /* The owner's own. */
};

typedef void lanes_step_fn(void *context, struct lanes_slot *slot, struct backup_packer *packer);

struct lanes_steps {
    lanes_step_fn *before, *in_turn, *after; /* NULL: none. */
    void *context;
    void (*notify)(void *context); /* NULL: nobody is told. */
    void *notify_context;
};

struct lanes;

/* `given`: all slots are the workers' from the start. 0, -ENOMEM, -EAGAIN (no threads). */
int lanes_open(const struct lanes_steps *steps, unsigned threads, bool given,
               struct lanes **ret_lanes);
/* The next slot in order, from now on held by the owner; NULL if the workers have it, or the owner
 * still holds it from the round before. */
struct lanes_slot *lanes_next(struct lanes *lanes);
/* To the workers, in any order: they wait for the one that is next. */
void lanes_give(struct lanes *lanes, struct lanes_slot *slot);
/* The workers have no slot. */
bool lanes_idle(struct lanes *lanes);
/* Ends the threads, in the middle of a read or write too. NULL is fine. */
void lanes_close(struct lanes *lanes);

/* Whole transfers: 0, or a negative errno. Only here can lanes_close() cut in. `ret_bytes`: less
 * than asked for at the end of the file. */
int lanes_write(int fd, const void *data, size_t length);
int lanes_read(int fd, void *data, size_t length, size_t *ret_bytes);

#endif

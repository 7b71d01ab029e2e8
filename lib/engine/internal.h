/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include <stdatomic.h>

#include "engine/engine.h"

/*
 * A ring of cells that many threads fill and one empties (Vyukov's bounded queue). A cell's turn
 * says whose it is: equal to the position, a poster may fill it; position + 1, it is full.
 */
struct post_cell {
    atomic_size_t turn;
    void (*run)(void *context);
    void *context;
};

struct post_queue {
    struct post_cell *cells;
    size_t mask;
    atomic_size_t tail; /* Posters. */
    size_t head;        /* The engine's thread. */
};

int post_queue_open(struct post_queue *queue, uint32_t count);
void post_queue_close(struct post_queue *queue);
/* Any thread: whether there was room. */
bool post_queue_push(struct post_queue *queue, void (*run)(void *context), void *context);
/* The engine's thread: runs what was there at the start. Returns how many. */
unsigned post_queue_run(struct post_queue *queue);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "engine/internal.h"

int post_queue_open(struct post_queue *queue, uint32_t count)
{
    size_t size = 2; /* In a ring of one a cell that is full looks as if it were free. */
    while (size < count)
        size *= 2;
    queue->cells = calloc(size, sizeof *queue->cells);
    if (queue->cells == NULL)
        return FAIL(-ENOMEM, "no memory for %u posts", count);
    queue->mask = size - 1;
    for (size_t i = 0; i < size; i++)
        atomic_init(&queue->cells[i].turn, i);
    return 0;
}

void post_queue_close(struct post_queue *queue)
{
    free(queue->cells);
}

bool post_queue_push(struct post_queue *queue, void (*run)(void *context), void *context)
{
    size_t position = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    for (;;) {
        struct post_cell *cell = &queue->cells[position & queue->mask];
        size_t turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
        if (turn == position) {
            if (atomic_compare_exchange_weak_explicit(&queue->tail, &position, position + 1,
                                                      memory_order_relaxed, memory_order_relaxed)) {
                cell->run = run;
                cell->context = context;
                atomic_store_explicit(&cell->turn, position + 1, memory_order_release);
                return true;
            }
        } else if ((ptrdiff_t)(turn - position) < 0) {
            return false; /* Full: the cell of a lap ago was not emptied yet. */
        } else {
            position = atomic_load_explicit(&queue->tail, memory_order_relaxed);
        }
    }
}

unsigned post_queue_run(struct post_queue *queue)
{
    size_t end = atomic_load_explicit(&queue->tail, memory_order_acquire);
    unsigned count = 0;
    while (queue->head != end) {
        struct post_cell *cell = &queue->cells[queue->head & queue->mask];
        if (atomic_load_explicit(&cell->turn, memory_order_acquire) != queue->head + 1)
            break; /* Claimed, and being filled: its poster wakes the world once more. */
        void (*run)(void *context) = cell->run;
        void *context = cell->context;
        queue->head++;
        atomic_store_explicit(&cell->turn, queue->head + queue->mask, memory_order_release);
        run(context);
        count++;
    }
    return count;
}

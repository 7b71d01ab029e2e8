/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lots: how disk, engine and client come to work at the same time.
 *
 * Left alone, requests in flight fall into step: the disk ends all of them at once, all replies
 * leave with one call, the client answers with as many requests, and while one of the three works
 * the other two wait. So many are passed on a lot at a time:
 *
 *   - disk requests enter the kernel while those that follow are still being prepared;
 *   - of those that the disk has ended one lot ends in a turn, after all else that came: a request
 *     that just arrived gives the disk something to do;
 *   - a client that shares our processor (where the kernel likes to put it, for it is woken from
 *     here) gets it between two lots.
 */
#include <sched.h>

#include "uring/ring.h"

/* Small enough that a few lots circulate at depth 32, large enough that what each costs (two system
 * calls, a doorbell of the device) is little for one request. */
#define LOT 8u
/* A client answers a lot within a fraction of this. Who keeps the processor longer is somebody
 * else, and is left out for a hundred times as long as it took. */
#define YIELD_NS_MAX 500000ull

/* private[1] of a disk_io that has ended; private[0] is disk.c's. */
#define RESULT 1

void uring_lot_placed(struct uring *uring)
{
    /* An error shows again when the turn sends the rest. */
    if (io_uring_sq_ready(&uring->ring) >= LOT)
        (void)io_uring_submit(&uring->ring);
}

void uring_lot_ended(struct uring *uring, struct disk_io *io, int result)
{
    io->private[RESULT] = (uint64_t)(int64_t)result;
    list_push_back(&uring->ended_ios, &io->node);
}

unsigned uring_lot_tell(struct uring *uring)
{
    unsigned count = 0;
    for (; count < LOT && !list_empty(&uring->ended_ios); count++) {
        struct disk_io *io = LIST_ENTRY(list_pop_front(&uring->ended_ios), struct disk_io, node);
        uring->flying--;
        uring->disk_flying--;
        uring_disk_completed(io, (int)(int64_t)io->private[RESULT]);
    }
    return count;
}

void uring_lot_yield(struct uring *uring)
{
    bool replied = uring->lot_replied;
    uring->lot_replied = false;
    if (!replied || list_empty(&uring->ended_ios))
        return;
    uint64_t before_ns = uring_now_ns();
    if (before_ns < uring->yield_rest_until_ns)
        return;
    (void)sched_yield();
    uint64_t took_ns = uring_now_ns() - before_ns;
    if (took_ns > YIELD_NS_MAX)
        uring->yield_rest_until_ns = before_ns + 100 * took_ns;
}

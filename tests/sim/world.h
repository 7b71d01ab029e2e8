/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world: the other world. A clock that is a number, disks that are arrays with faults laid over
 * them, work that runs inline at a drawn moment; one process, one thread, one seed.
 *
 * Owns time and the one queue of things to come, ordered by (time, order): nothing else decides
 * who goes first. Completions come from world_step() alone. Hidden in the seed: latencies, faults,
 * what a power cut leaves. The same seed and the same calls give the same trace.
 *
 * A storm:
 *
 *     struct world world;
 *     world_open(&world, seed);
 *     struct sim_disk *disk = sim_disk_open(&world, "a", 64 << 20);
 *     world_cut_after(&world, n);
 *     ... open the shipped objects on &disk->disk, &world.clock, &world.work ...
 *     while (world_step(&world))
 *         ... one turn of the engine, new operations ...
 *     if (world.off) {
 *         ... throw the objects away: nothing of theirs will ever complete ...
 *         world_restart(&world);       every disk now holds what survived
 *     }
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "host/host.h"

/* Something to come. Lives in whatever waits for it. */
struct world_event {
    uint64_t at_ns;
    uint64_t order;
    void (*fire)(struct world_event *event);
};

struct world {
    struct clock clock;
    struct work work;
    uint64_t now_ns;
    uint64_t seed;
    struct prng prng; /* Its forks are the streams of each part. */
    struct prng work_prng;
    struct prng clock_prng;
    /* A step in so many finds that much time has passed: the machine stood still, or its suspension
     * counts. Wall time then goes anywhere. 0: none. */
    uint32_t jump_one_in;
    int64_t wall_offset_ns;
    uint64_t jumps;

    struct world_event **heap;
    size_t event_count, event_capacity;
    uint64_t order_next;

    struct list disks; /* struct sim_disk, in the order of opening. */
    /* A moment is the submission of a device operation, or its completion once its callback has
     * returned. */
    uint64_t moments;
    uint64_t cut_after; /* Power goes after this moment; 0: never. */
    bool off;           /* Power is off: what is submitted now never happens. */
    uint64_t steps;
    uint64_t trace; /* Hash over every operation, timer and result so far. */
};

void world_open(struct world *world, uint64_t seed);
/* Closes its disks too. */
void world_close(struct world *world);

/* Goes to the next event and fires it. False if nothing is to come or the power is off. */
bool world_step(struct world *world);

/* When that is; CLOCK_NEVER: nothing is to come. */
uint64_t world_next_ns(const struct world *world);

/* Cut the power after `moments` more moments (1 or more; 0: not at all). */
void world_cut_after(struct world *world, uint64_t moments);
/* Cut it now. */
void world_cut(struct world *world);

/*
 * Power comes back: every disk keeps what survived (sim_disk_restart), everything under way, timers
 * and work included, is forgotten. Also without a cut before: then it is one now.
 */
void world_restart(struct world *world);
/*
 * The process died, the machine did not: what was in flight has happened whole or not at all, what
 * had completed stays seen, and nothing became durable by it. Events and timers are forgotten.
 */
void world_kill(struct world *world);

/* --- For the parts of the world ------------------------------------------------------------ */

void world_at(struct world *world, struct world_event *event, uint64_t delay_ns);
/* One moment more; may switch the power off. */
void world_moment(struct world *world);
void world_trace(struct world *world, uint64_t value);

#endif

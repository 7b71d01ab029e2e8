/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine: one thread that turns a crank.
 *
 * Owns the order of things within a turn, and the one door that other threads may use:
 *
 *   collect completions ──▶ run what was posted ──▶ fire timers ──▶ step the machines ──▶ send once
 *
 * Promises: no callback runs inside the call that asked for it, for all of them run from here; what
 * is posted runs once, in order for each thread that posts. Knows the world by a table only, so it
 * turns in the storm as it does on a ring.
 *
 * Nothing here allocates after engine_open().
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "host/host.h"

struct engine;

struct engine_world;
struct engine_world_ops {
    unsigned (*collect)(struct engine_world *world); /* How many completions it ran. */
    int (*submit)(struct engine_world *world);
    bool (*ready)(struct engine_world *world); /* Something to collect or submit. */
    bool (*spin)(struct engine_world *world);  /* Watches briefly: is there something now? */
    /* Submits, then sleeps until there is something, or until then. */
    int (*wait)(struct engine_world *world, uint64_t until_ns);
    void (*wake)(struct engine_world *world); /* Any thread: ends a wait, shows as ready. */
};

struct engine_world {
    const struct engine_world_ops *ops;
    struct clock *clock;
};

/* posts_max: rounded up to a power of two. 0 or -ENOMEM. The world is borrowed. */
int engine_open(struct engine_world *world, uint32_t posts_max, struct engine **ret_engine);
/* Runs what was posted and not yet run. NULL is fine. */
void engine_close(struct engine *engine);

/* A machine that wants to be stepped once per turn. Lives in its owner. */
struct engine_hook {
    unsigned (*turn)(struct engine_hook *hook); /* How much it did; more than 0: turn again soon. */
    struct list node;
};
void engine_hook_add(struct engine *engine, struct engine_hook *hook);
/* Also from inside a turn, also its own. */
void engine_hook_remove(struct engine *engine, struct engine_hook *hook);

/* Something was asked for outside a turn, or must go on in the next one: do not sleep before it. */
void engine_touch(struct engine *engine);

/* A callback ran inside a machine that does not count what it does: the turn did something, and
 * engine_wait() returns after it. */
void engine_count(struct engine *engine);

/* One turn: how many callbacks ran, -EDEADLK inside one, or the world's error. */
int engine_turn(struct engine *engine);
/* A turn that waits, if there is nothing to do, until `until_ns` of the clock. */
int engine_wait(struct engine *engine, uint64_t until_ns);
/* Whether a turn is due, perhaps after watching the world for a moment. */
bool engine_spin(struct engine *engine);
/* When a turn is due if the world stays quiet: 0 for at once, CLOCK_NEVER. */
uint64_t engine_deadline_ns(struct engine *engine);
/* Inside a turn: a callback is running. */
bool engine_turning(const struct engine *engine);

/* Any thread. 0, or -EAGAIN: too many wait. */
int engine_post(struct engine *engine, void (*run)(void *context), void *context);

#endif

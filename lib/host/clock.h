/* SPDX-License-Identifier: Apache-2.0 */
/* Time and timers. Time is CLOCK_BOOTTIME nanoseconds in the real world, a number in the storm. */
#ifndef HOST_CLOCK_H
#define HOST_CLOCK_H

#include "base/base.h"

#define CLOCK_NEVER UINT64_MAX

struct clock;
struct timer;
typedef void timer_fn(struct timer *timer);

struct clock_ops {
    uint64_t (*now_ns)(struct clock *clock);
    /* Nanoseconds since 1970, for people's eyes (created, logged). It may jump, so nothing depends
     * on it but whether a scrub is due. */
    uint64_t (*wall_ns)(struct clock *clock);
};

/* A timer lives in whatever waits for it. Zero it, set `fire`, then clock_set(). */
struct timer {
    uint64_t at_ns;
    uint64_t order; /* Two timers of one moment fire in the order in which they were set. */
    timer_fn *fire;
    struct timer *left, *right, *parent; /* Skew heap. */
    bool set;
};

struct clock {
    const struct clock_ops *ops;
    struct timer *first;
    uint64_t order_next;
};

uint64_t clock_now_ns(struct clock *clock);
uint64_t clock_wall_ns(struct clock *clock);

/* Sets or moves a timer. It fires once, from clock_run(), not before `at_ns`. */
void clock_set(struct clock *clock, struct timer *timer, uint64_t at_ns);
void clock_set_after(struct clock *clock, struct timer *timer, uint64_t delay_ns);
/* Harmless if it is not set. */
void clock_cancel(struct clock *clock, struct timer *timer);
/* When the next timer is due; CLOCK_NEVER if none is set. */
uint64_t clock_deadline_ns(const struct clock *clock);
/* Fires what is due. The engine calls it once per turn. Returns how many fired. */
unsigned clock_run(struct clock *clock);

#endif

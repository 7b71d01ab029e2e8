/* SPDX-License-Identifier: Apache-2.0 */
#include "host/clock.h"

static bool timer_before(const struct timer *a, const struct timer *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

/* Skew heap (Sleator and Tarjan 1986): amortised O(log n), no balance to keep. */
static struct timer *timer_merge(struct timer *a, struct timer *b)
{
    struct timer *root = NULL;
    struct timer **hole = &root;
    struct timer *parent = NULL;
    while (a != NULL && b != NULL) {
        if (timer_before(b, a)) {
            struct timer *swap = a;
            a = b;
            b = swap;
        }
        *hole = a;
        a->parent = parent;
        parent = a;
        struct timer *rest = a->right;
        a->right = a->left;
        a->left = NULL;
        hole = &a->left;
        a = rest;
    }
    *hole = a != NULL ? a : b;
    if (*hole != NULL)
        (*hole)->parent = parent;
    return root;
}

static void timer_take(struct clock *clock, struct timer *timer)
{
    struct timer *parent = timer->parent;
    struct timer *rest = timer_merge(timer->left, timer->right);
    if (rest != NULL)
        rest->parent = parent;
    if (parent == NULL)
        clock->first = rest;
    else if (parent->left == timer)
        parent->left = rest;
    else
        parent->right = rest;
    timer->left = timer->right = timer->parent = NULL;
    timer->set = false;
}

uint64_t clock_now_ns(struct clock *clock)
{
    return clock->ops->now_ns(clock);
}

uint64_t clock_wall_ns(struct clock *clock)
{
    return clock->ops->wall_ns(clock);
}

void clock_set(struct clock *clock, struct timer *timer, uint64_t at_ns)
{
    assert(timer->fire != NULL);
    if (timer->set)
        timer_take(clock, timer);
    timer->at_ns = at_ns;
    timer->order = clock->order_next++;
    timer->set = true;
    clock->first = timer_merge(clock->first, timer);
}

void clock_set_after(struct clock *clock, struct timer *timer, uint64_t delay_ns)
{
    clock_set(clock, timer, clock_now_ns(clock) + delay_ns);
}

void clock_cancel(struct clock *clock, struct timer *timer)
{
    if (timer->set)
        timer_take(clock, timer);
}

uint64_t clock_deadline_ns(const struct clock *clock)
{
    return clock->first == NULL ? CLOCK_NEVER : clock->first->at_ns;
}

unsigned clock_run(struct clock *clock)
{
    /* One reading: a timer that sets itself for now waits for the next turn. */
    uint64_t now_ns = clock_now_ns(clock);
    uint64_t order_end = clock->order_next;
    unsigned fired = 0;
    while (clock->first != NULL && clock->first->at_ns <= now_ns &&
           clock->first->order < order_end) {
        struct timer *timer = clock->first;
        timer_take(clock, timer);
        timer->fire(timer);
        fired++;
    }
    return fired;
}

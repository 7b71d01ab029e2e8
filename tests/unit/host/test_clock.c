/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "host/host.h"

#define TIMERS 300u

static uint64_t now_ns;

static uint64_t now(struct clock *clock)
{
    (void)clock;
    return now_ns;
}

static const struct clock_ops ops = {.now_ns = now, .wall_ns = now};

struct alarm {
    struct timer timer;
    uint64_t at_ns, order; /* What the test set. */
    bool set;
};

static struct alarm alarms[TIMERS];
static struct alarm *fired[TIMERS];
static unsigned fired_count;

static void fire(struct timer *timer)
{
    cr_assert_not(timer->set);
    fired[fired_count++] = CONTAINER_OF(timer, struct alarm, timer);
}

/* The earliest of those that are set; of two for one moment, the one that was set first. */
static struct alarm *earliest(void)
{
    struct alarm *first = NULL;
    for (unsigned i = 0; i < TIMERS; i++) {
        struct alarm *alarm = &alarms[i];
        if (alarm->set && (first == NULL || alarm->at_ns < first->at_ns ||
                           (alarm->at_ns == first->at_ns && alarm->order < first->order)))
            first = alarm;
    }
    return first;
}

static void run_and_check(struct clock *clock)
{
    fired_count = 0;
    unsigned count = clock_run(clock);
    cr_assert_eq(count, fired_count);
    for (unsigned i = 0; i < fired_count; i++) {
        cr_assert_eq(fired[i], earliest());
        cr_assert_leq(fired[i]->at_ns, now_ns);
        fired[i]->set = false;
    }
    struct alarm *next = earliest();
    cr_assert(next == NULL || next->at_ns > now_ns, "a timer that is due did not fire");
    cr_assert_eq(clock_deadline_ns(clock), next == NULL ? CLOCK_NEVER : next->at_ns);
}

Test(clock, timers_fire_in_order_whatever_is_set_moved_and_cancelled)
{
    struct clock clock = {.ops = &ops};
    struct prng prng = {.state = 7};
    uint64_t order = 0;
    now_ns = 0;
    for (unsigned i = 0; i < TIMERS; i++)
        alarms[i] = (struct alarm){.timer.fire = fire};
    for (unsigned i = 0; i < 100000; i++) {
        struct alarm *alarm = &alarms[prng_below(&prng, TIMERS)];
        uint64_t draw = prng_below(&prng, 20);
        if (draw < 12) {
            alarm->at_ns = now_ns + prng_below(&prng, 50);
            alarm->order = order++;
            alarm->set = true;
            clock_set(&clock, &alarm->timer, alarm->at_ns);
        } else if (draw < 18) {
            clock_cancel(&clock, &alarm->timer);
            alarm->set = false;
        } else {
            now_ns += prng_below(&prng, 10);
            run_and_check(&clock);
        }
        cr_assert_eq(alarm->timer.set, alarm->set);
    }
    now_ns += 1000;
    run_and_check(&clock);
    cr_assert_null(clock.first);
}

static struct clock own_clock;
static unsigned again;

static void set_again(struct timer *timer)
{
    again++;
    clock_set_after(&own_clock, timer, 0);
}

Test(clock, a_timer_that_sets_itself_for_now_waits_for_the_next_turn)
{
    own_clock = (struct clock){.ops = &ops};
    struct timer timer = {.fire = set_again};
    now_ns = 5;
    clock_set_after(&own_clock, &timer, 0);
    cr_assert_eq(clock_run(&own_clock), 1);
    cr_assert_eq(again, 1);
    cr_assert_eq(clock_deadline_ns(&own_clock), 5);
    cr_assert_eq(clock_run(&own_clock), 1);
    cr_assert_eq(again, 2);
    clock_cancel(&own_clock, &timer);
    clock_cancel(&own_clock, &timer);
    cr_assert_eq(clock_deadline_ns(&own_clock), CLOCK_NEVER);
}

static struct timer victim;

static void cancel_the_other(struct timer *timer)
{
    (void)timer;
    again++;
    clock_cancel(&own_clock, &victim);
}

Test(clock, a_timer_cancelled_by_the_one_before_it_does_not_fire)
{
    own_clock = (struct clock){.ops = &ops};
    struct timer timer = {.fire = cancel_the_other};
    victim = (struct timer){.fire = fire};
    now_ns = 10;
    fired_count = 0;
    clock_set(&own_clock, &timer, 3);
    clock_set(&own_clock, &victim, 3);
    cr_assert_eq(clock_run(&own_clock), 1);
    cr_assert_eq(fired_count, 0);
    cr_assert_eq(clock_deadline_ns(&own_clock), CLOCK_NEVER);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "engine/engine.h"

/* A world whose completions are a number and whose time is another. */
static struct world {
    struct engine_world world;
    struct clock clock;
    uint64_t now_ns;
    unsigned completions, submits, waits, wakes;
    uint64_t waited_until_ns;
    bool in_callback;
} world;
static struct engine *engine;
static char order[32];

static void note(char what)
{
    size_t length = strlen(order);
    cr_assert_lt(length, sizeof order - 1);
    order[length] = what;
    order[length + 1] = '\0';
}

static uint64_t world_now(struct clock *clock)
{
    (void)clock;
    return world.now_ns;
}

static unsigned world_collect(struct engine_world *unused)
{
    (void)unused;
    unsigned count = world.completions;
    world.completions = 0;
    for (unsigned i = 0; i < count; i++)
        note('c');
    return count;
}

static int world_submit(struct engine_world *unused)
{
    (void)unused;
    world.submits++;
    note('s');
    return 0;
}

static bool world_ready(struct engine_world *unused)
{
    (void)unused;
    return world.completions > 0;
}

static int world_wait(struct engine_world *unused, uint64_t until_ns)
{
    (void)unused;
    world.waits++;
    world.waited_until_ns = until_ns;
    world.now_ns = until_ns;
    return 0;
}

static void world_wake(struct engine_world *unused)
{
    (void)unused;
    world.wakes++;
}

static const struct engine_world_ops world_ops = {
    .collect = world_collect,
    .submit = world_submit,
    .ready = world_ready,
    .spin = world_ready,
    .wait = world_wait,
    .wake = world_wake,
};
static const struct clock_ops world_clock_ops = {.now_ns = world_now, .wall_ns = world_now};

static void setup(void)
{
    world.world.ops = &world_ops;
    world.world.clock = &world.clock;
    world.clock.ops = &world_clock_ops;
    cr_assert_eq(engine_open(&world.world, 4, &engine), 0);
}

static void teardown(void)
{
    engine_close(engine);
}

TestSuite(engine, .init = setup, .fini = teardown);

static void posted(void *context)
{
    (void)context;
    note('p');
}

static void fired(struct timer *timer)
{
    (void)timer;
    note('t');
}

static unsigned hooked(struct engine_hook *hook)
{
    (void)hook;
    note('h');
    return 0;
}

Test(engine, a_turn_collects_then_runs_posts_timers_machines_and_submits_once)
{
    struct engine_hook hook = {.turn = hooked};
    struct timer timer = {.fire = fired};
    engine_hook_add(engine, &hook);
    clock_set_after(&world.clock, &timer, 0);
    cr_assert_eq(engine_post(engine, posted, NULL), 0);
    world.completions = 2;
    cr_expect_str_eq(order, "", "something ran before the turn");
    cr_expect_eq(engine_turn(engine), 4);
    cr_expect_str_eq(order, "ccpths");
    engine_hook_remove(engine, &hook);
}

static void post_again(void *context)
{
    note('p');
    cr_expect_eq(engine_post(engine, posted, context), 0);
    cr_expect_eq(engine_turn(engine), -EDEADLK);
    cr_expect_eq(engine_wait(engine, 0), -EDEADLK);
    cr_expect(engine_turning(engine));
}

Test(engine, what_a_post_posts_waits_for_the_next_turn)
{
    cr_assert_eq(engine_post(engine, post_again, NULL), 0);
    cr_expect_eq(engine_turn(engine), 1);
    cr_expect_str_eq(order, "ps");
    cr_expect_eq(engine_deadline_ns(engine), 0, "it would have slept over it");
    cr_expect_eq(engine_turn(engine), 1);
    cr_expect_str_eq(order, "psps");
}

Test(engine, posts_are_refused_when_too_many_wait_and_each_wakes_the_world)
{
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 4; i++)
            cr_assert_eq(engine_post(engine, posted, NULL), 0);
        cr_expect_eq(engine_post(engine, posted, NULL), -EAGAIN);
        cr_expect_eq(engine_turn(engine), 4);
    }
    cr_expect_eq(world.wakes, 12);
}

Test(engine, a_queue_for_one_post_loses_none)
{
    struct engine *small;
    cr_assert_eq(engine_open(&world.world, 1, &small), 0);
    unsigned taken = 0;
    while (engine_post(small, posted, NULL) == 0)
        taken++;
    cr_expect_geq(taken, 1);
    cr_expect_eq(engine_turn(small), (int)taken);
    cr_expect_eq(engine_post(small, posted, NULL), 0);
    cr_expect_eq(engine_turn(small), 1);
    engine_close(small);
}

static struct engine_hook first, second;

static unsigned remove_both(struct engine_hook *hook)
{
    (void)hook;
    note('1');
    engine_hook_remove(engine, &second);
    engine_hook_remove(engine, &first);
    return 0;
}

Test(engine, a_machine_may_take_itself_and_the_next_one_out)
{
    first.turn = remove_both;
    second.turn = hooked;
    engine_hook_add(engine, &first);
    engine_hook_add(engine, &second);
    struct engine_hook third = {.turn = hooked};
    engine_hook_add(engine, &third);
    cr_expect_eq(engine_turn(engine), 0);
    cr_expect_str_eq(order, "1hs");
    engine_hook_remove(engine, &third);
}

Test(engine, a_wait_sleeps_until_the_next_timer_and_runs_it)
{
    struct timer timer = {.fire = fired};
    clock_set(&world.clock, &timer, 500);
    cr_expect_eq(engine_deadline_ns(engine), 500);
    cr_expect_eq(engine_wait(engine, 9000), 1);
    cr_expect_eq(world.waited_until_ns, 500);
    cr_expect_str_eq(order, "sts");
    cr_expect_eq(engine_wait(engine, 9000), 0);
    cr_expect_eq(world.waited_until_ns, 9000);
    cr_expect_eq(engine_deadline_ns(engine), CLOCK_NEVER);
}

static unsigned tells_something(struct engine_hook *hook)
{
    engine_count(engine);
    hook->turn = hooked;
    return 0;
}

Test(engine, a_wait_returns_when_a_machine_ran_a_callback_and_does_not_sleep_over_it)
{
    struct engine_hook hook = {.turn = tells_something};
    engine_hook_add(engine, &hook);
    cr_expect_eq(engine_wait(engine, 9000), 1);
    cr_expect_eq(world.waits, 0);
    engine_hook_remove(engine, &hook);
}

Test(engine, closing_runs_what_was_posted)
{
    struct engine *other = NULL;
    cr_assert_eq(engine_open(&world.world, 4, &other), 0);
    cr_assert_eq(engine_post(other, posted, NULL), 0);
    engine_close(other);
    cr_expect_str_eq(order, "p");
}

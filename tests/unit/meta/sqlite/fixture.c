/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

struct pool pool;

static void on_wakeup(void *context)
{
    (void)context;
    pool.wakeups++;
}

static uint64_t pool_now(struct clock *clock)
{
    (void)clock;
    return pool.now_ns;
}

static const struct clock_ops clock_ops = {.now_ns = pool_now, .wall_ns = pool_now};

struct meta_sqlite_options pool_options = {
    .path = POOL_PATH,
    .create = true,
    .clock = &pool.clock,
    .wakeup = on_wakeup,
};

static void open_again(void)
{
    pool_options.vfs = pool.vfs.name;
    cr_assert_eq(meta_sqlite_open(&pool_options, &suite.meta), 0, "%s", base_last_error());
}

void suite_open(void)
{
    pool = (struct pool){.clock.ops = &clock_ops};
    meta_vfs_open(&pool.vfs, 1);
    open_again();
}

void suite_close(void)
{
    drain();
    meta_close(suite.meta);
    meta_request_done(&suite.request);
    meta_vfs_close(&pool.vfs);
}

void pool_reopen(void)
{
    drain();
    meta_close(suite.meta);
    open_again();
}

void drain(void)
{
    while (meta_sqlite_step(suite.meta) + meta_poll(suite.meta) > 0)
        continue;
}

void suite_pass(unsigned seconds)
{
    pool.now_ns += seconds * NS_PER_S;
    clock_run(&pool.clock);
    drain();
}

void suite_wait(void)
{
    drain();
}

void suite_settle(void)
{
    drain();
}

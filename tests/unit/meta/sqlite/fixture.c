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
    cr_assert_eq(meta_sqlite_open(&pool_options, &pool.meta), 0, "%s", base_last_error());
}

void pool_open(void)
{
    pool = (struct pool){.clock.ops = &clock_ops};
    meta_vfs_open(&pool.vfs, 1);
    open_again();
}

void pool_close(void)
{
    drain();
    meta_close(pool.meta);
    meta_request_done(&pool.request);
    meta_vfs_close(&pool.vfs);
}

void pool_reopen(void)
{
    drain();
    meta_close(pool.meta);
    open_again();
}

void drain(void)
{
    while (meta_sqlite_step(pool.meta) + meta_poll(pool.meta) > 0)
        continue;
}

void pass_seconds(unsigned seconds)
{
    pool.now_ns += seconds * NS_PER_S;
    clock_run(&pool.clock);
    drain();
}

static int run_result;

static void on_run(struct meta_request *request, int result)
{
    (void)request;
    run_result = result;
}

struct meta_request *build(void)
{
    meta_request_reset(&pool.request);
    return &pool.request;
}

int run(void)
{
    run_result = 1;
    cr_assert_eq(meta_commit(pool.meta, &pool.request, on_run), 0, "%s", base_last_error());
    drain();
    cr_assert_leq(run_result, 0, "it never ended");
    return run_result;
}

void put_leased(const char *key, const char *value, uint64_t lease)
{
    meta_put(build(), META_TEXT(key), META_TEXT(value), lease);
    cr_assert_eq(run(), 0);
}

void put(const char *key, const char *value)
{
    put_leased(key, value, 0);
}

bool exists(const char *key)
{
    meta_get(build(), META_TEXT(key));
    cr_assert_eq(run(), 0);
    return pool.request.responses[0].entry_count == 1;
}

const char *value_of(const char *key)
{
    static char text[256];
    text[0] = '\0';
    if (exists(key)) {
        struct meta_slice value = pool.request.responses[0].entries[0].value;
        cr_assert_lt(value.length, sizeof text);
        memcpy(text, value.data, value.length);
        text[value.length] = '\0';
    }
    return text;
}

uint64_t grant(unsigned seconds)
{
    run_result = 1;
    cr_assert_eq(meta_lease_grant(pool.meta, &pool.request, seconds * NS_PER_S, on_run), 0);
    drain();
    cr_assert_eq(run_result, 0);
    cr_assert_neq(pool.request.lease, 0);
    return pool.request.lease;
}

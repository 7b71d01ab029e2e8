/* SPDX-License-Identifier: Apache-2.0 */
/* The suite over the simulator's truth, and what is its own: being cut off. */
#include "suite.h"

#include "sim/meta_truth.h"

static struct truth truth;
static struct clock false_clock;
static uint64_t now_ns;
static unsigned wakeups;

static uint64_t read_clock(struct clock *clock)
{
    (void)clock;
    return now_ns;
}

static const struct clock_ops clock_ops = {.now_ns = read_clock, .wall_ns = read_clock};

static void on_wakeup(void *context)
{
    (void)context;
    wakeups++;
}

static struct truth_options options = {
    .wait_ns = 10 * NS_PER_S,
    .delay_ns_max = 3 * NS_PER_MS,
    .late_ns_max = NS_PER_S,
    .wakeup = on_wakeup,
};

void suite_open(void)
{
    false_clock = (struct clock){.ops = &clock_ops};
    truth_init(&truth, &false_clock, 5);
    suite.meta = truth_open(&truth, &options);
}

void suite_close(void)
{
    suite_settle();
    meta_close(suite.meta);
    meta_request_done(&suite.request);
    truth_done(&truth);
}

void suite_wait(void)
{
    now_ns += NS_PER_MS;
    clock_run(&false_clock);
    meta_poll(suite.meta);
}

void suite_settle(void)
{
    for (unsigned i = 0; i < 20; i++)
        suite_wait();
}

void suite_pass(unsigned seconds)
{
    for (unsigned i = 0; i < seconds * 1000; i++)
        suite_wait();
}

TestSuite(truth, .init = suite_open, .fini = suite_close);

Test(truth, two_handles_see_one_truth)
{
    struct meta *first = suite.meta;
    struct meta *second = truth_open(&truth, &options);
    struct ear ear = {0};
    suite.meta = second;
    ear_start(&ear, "", 0);
    suite.meta = first;
    put("a", "1");
    suite.meta = second;
    cr_assert_str_eq(value_of("a"), "1");
    ear_expect(&ear, "a=1. ");
    ear_stop(&ear);
    meta_close(second);
    suite.meta = first;
}

static int ended;

static void on_done(struct meta_request *request, int result)
{
    (void)request;
    ended = result;
}

/* A put that is cut off on its way. Its result; 1: it came through before. */
static int put_cut(const char *key)
{
    ended = 1;
    meta_put(build(), META_TEXT(key), META_TEXT("v"), 0);
    cr_assert_eq(meta_commit(suite.meta, &suite.request, on_done), 0);
    suite_wait();
    truth_reach(suite.meta, false);
    meta_poll(suite.meta);
    cr_assert_neq(ended, 1, "nobody told it");
    return ended;
}

Test(truth, a_change_that_is_cut_off_happened_or_never_does_or_happens_later)
{
    unsigned happened = 0, never = 0, late = 0;
    for (unsigned i = 0; i < 200; i++) {
        char key[8] = {'k', (char)('0' + i / 100), (char)('0' + i / 10 % 10), (char)('0' + i % 10)};
        int result = put_cut(key);
        truth_reach(suite.meta, true);
        if (result == 0)
            continue;
        cr_assert_eq(result, IOMESH_UNKNOWN);
        bool at_once = exists(key);
        suite_pass(2);
        bool at_last = exists(key);
        happened += at_once;
        late += at_last && !at_once;
        never += !at_last;
    }
    cr_assert_gt(happened, 5);
    cr_assert_gt(never, 5);
    cr_assert_gt(late, 5);
}

Test(truth, what_is_asked_while_cut_off_waits_and_ends_in_time)
{
    struct ear ear = {0};
    put("a", "1");
    ear_start(&ear, "", 0);
    truth_reach(suite.meta, false);
    meta_put(build(), META_TEXT("a"), META_TEXT("2"), 0);
    ended = 1;
    cr_assert_eq(meta_commit(suite.meta, &suite.request, on_done), 0);
    suite_pass(11);
    cr_assert_eq(ended, -ETIMEDOUT);
    ended = 1;
    meta_put(build(), META_TEXT("a"), META_TEXT("3"), 0);
    cr_assert_eq(meta_commit(suite.meta, &suite.request, on_done), 0);
    suite_pass(5);
    cr_assert_eq(ended, 1);
    truth_reach(suite.meta, true);
    suite_settle();
    cr_assert_eq(ended, 0);
    ear_expect(&ear, "a=3. ");
    ear_stop(&ear);
}

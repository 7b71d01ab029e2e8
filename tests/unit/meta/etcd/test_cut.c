/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection that breaks at every byte of a small exchange. Whatever is answered must be true: a
 * transaction that was done twice, or was said not to have happened and had, would be seen here,
 * for each creates a key that must not be there.
 */
#include "etcd_proxy.h"
#include "fixture.h"

#include <stdio.h>
#include <unistd.h>

static struct proxy proxy;
static char url[128];

static void open_through(uint64_t wait_ns, uint64_t silence_ns)
{
    handle_open(url, wait_ns, silence_ns);
}

static void begin_before(unsigned port)
{
    proxy_start(&proxy, port);
    (void)snprintf(url, sizeof url, "etcd://127.0.0.1:%u/cut-%d", proxy.port, (int)getpid());
}

static void begin(void)
{
    begin_before(shared_port());
}

static void end(void)
{
    proxy_stop(&proxy);
}

TestSuite(cut, .init = begin, .fini = end, .timeout = 40);

static unsigned number;
static struct {
    unsigned done, unknown;
    uint64_t repeated;
} count;

/* Creates a key over a connection that is cut there, and looks. */
static void create_cut(uint64_t up, uint64_t down, enum proxy_cut cut, uint64_t silence_ns)
{
    char key[16];
    struct meta_etcd_state state;
    (void)snprintf(key, sizeof key, "k%05u", ++number);
    proxy_cut_next(&proxy, up, down, cut);
    open_through(0, silence_ns);
    uint64_t began = now_ms();
    meta_if_absent(build(), META_TEXT(key));
    meta_put(&suite.request, META_TEXT(key), META_TEXT("v"), 0);
    int result = run();
    cr_assert_lt(now_ms() - began, 3000, "it took %d ms, cut at %d, %d: %s",
                 (int)(now_ms() - began), (int)up, (int)down, base_error_text(result));
    if (result == 0) {
        cr_assert(suite.request.succeeded, "it was done twice: cut at %d, %d", (int)up, (int)down);
        cr_assert(exists(key), "it was said to be done: cut at %d, %d", (int)up, (int)down);
        count.done++;
    } else {
        cr_assert_eq(result, IOMESH_UNKNOWN, "cut at %d, %d", (int)up, (int)down);
        count.unknown++;
    }
    meta_etcd_state(suite.meta, &state);
    count.repeated += state.repeated;
    handle_close();
}

/* How many bytes a greeting takes each way, and then creating a key. */
static void measure(uint64_t greeting[2], uint64_t all[2])
{
    struct meta_etcd_state state = {0};
    open_through(0, 0);
    while (!state.connected) {
        handle_wait(1);
        meta_etcd_state(suite.meta, &state);
    }
    suite_settle();
    proxy_passed(&proxy, &greeting[0], &greeting[1]);
    meta_if_absent(build(), META_TEXT("k00000"));
    meta_put(&suite.request, META_TEXT("k00000"), META_TEXT("v"), 0);
    cr_assert_eq(run(), 0);
    suite_settle();
    proxy_passed(&proxy, &all[0], &all[1]);
    handle_close();
}

Test(cut, at_every_byte_of_a_small_exchange_no_answer_is_a_lie)
{
    uint64_t greeting[2], all[2];
    measure(greeting, all);
    for (unsigned way = 0; way < 2; way++)
        for (uint64_t at = 1; at <= all[way]; at += at < greeting[way] ? 7 : 1)
            create_cut(way == 0 ? at : UINT64_MAX, way == 1 ? at : UINT64_MAX,
                       at % 2 == way ? PROXY_CLOSE : PROXY_RESET, 0);
    cr_assert_gt(count.done, 50);
    cr_assert_gt(count.unknown, 50);
    fprintf(stderr, "cut: %u done, %u unknown, %u asked again\n", count.done, count.unknown,
            (unsigned)count.repeated);
}

Test(cut, a_member_that_falls_silent_is_left_and_nobody_waits_for_ever)
{
    uint64_t greeting[2], all[2];
    measure(greeting, all);
    for (unsigned way = 0; way < 2; way++)
        for (uint64_t at = 1; at <= all[way]; at += 47)
            create_cut(way == 0 ? at : UINT64_MAX, way == 1 ? at : UINT64_MAX, PROXY_FREEZE,
                       100 * NS_PER_MS);
    cr_assert_gt(count.done, 2);
    cr_assert_gt(count.unknown, 2);
}

Test(cut, reads_are_asked_again_and_always_answered)
{
    uint64_t greeting[2], all[2];
    measure(greeting, all);
    for (uint64_t at = greeting[1]; at < all[1]; at += 5) {
        proxy_cut_next(&proxy, UINT64_MAX, at, PROXY_RESET);
        open_through(0, 0);
        cr_assert(exists("k00000"));
        handle_close();
    }
}

Test(cut, a_slow_line_is_only_slow)
{
    proxy_delay(&proxy, 20);
    open_through(0, 0);
    for (unsigned i = 0; i < 10; i++)
        put("slow", "v");
    handle_close();
}

Test(cut, a_watch_goes_on_after_each_cut_without_gap_or_repetition)
{
    struct ear ear = {0};
    char expected[1000] = "";
    for (unsigned i = 0; i < 10; i++) {
        char value[8];
        size_t length = strlen(expected);
        if (i == 0) {
            open_through(0, 0);
            ear_start(&ear, "", 0);
        }
        (void)snprintf(value, sizeof value, "%02u", i);
        meta_put(build(), META_TEXT("w"), META_TEXT(value), 0);
        proxy_cut_next(&proxy, UINT64_MAX, 400 + i * 10, PROXY_CLOSE);
        int result = run();
        for (unsigned again = 0; result == IOMESH_UNKNOWN && again < 5; again++) {
            /* It happened or not: look, so that the rest of the test knows. */
            result = strcmp(value_of("w"), value) == 0 ? 0 : -1;
            if (result != 0) {
                meta_put(build(), META_TEXT("w"), META_TEXT(value), 0);
                result = run();
            }
        }
        cr_assert_eq(result, 0);
        (void)snprintf(expected + length, sizeof expected - length, "w=%s. ", value);
        if (i % 5 == 4) {
            proxy_refuse(&proxy, true);
            handle_wait(20);
            proxy_refuse(&proxy, false);
        }
    }
    ear_expect(&ear, expected);
    ear_stop(&ear);
    handle_close();
}

Test(cut, a_watch_that_missed_what_is_compacted_ends_and_others_go_on)
{
    struct ear ear = {0};
    char arguments[64];
    char told[128] = "";
    static struct etcd_server own; /* What is compacted is gone for everybody. */
    cr_assert(etcd_server_start(&own, 1, false));
    end();
    begin_before(own.ports[0]);
    open_through(0, 0);
    ear_start(&ear, "", 0);
    put("a", "1");
    ear_expect(&ear, "a=1. ");
    /* While it is connected a compaction is nothing to it. */
    put("a", "2");
    ear_expect(&ear, "a=1. a=2. ");
    (void)snprintf(arguments, sizeof arguments, "compact %llu",
                   (unsigned long long)suite.request.revision);
    cr_assert(etcd_server_ctl(&own, arguments));
    put("a", "3");
    ear_expect(&ear, "a=1. a=2. a=3. ");
    uint64_t revision = suite.request.revision;
    /* While it is not, what it would have been told goes. */
    proxy_refuse(&proxy, true);
    (void)snprintf(told, sizeof told, "put cut-%d/a 4", (int)getpid());
    cr_assert(etcd_server_ctl(&own, told));
    cr_assert(etcd_server_ctl(&own, told));
    (void)snprintf(arguments, sizeof arguments, "compact %llu", (unsigned long long)revision + 2);
    cr_assert(etcd_server_ctl(&own, arguments));
    proxy_refuse(&proxy, false);
    ear_expect_end(&ear, IOMESH_COMPACTED);
    cr_assert_str_eq(ear.told, "a=1. a=2. a=3. ");
    ear_start(&ear, "", revision);
    ear_expect_end(&ear, IOMESH_COMPACTED);
    ear_start(&ear, "", revision + 2);
    /* What was there before that change is gone: it may end, but tells nothing wrong. */
    put("b", "1");
    for (unsigned i = 0; i < 500 && ear.ended == 0 && strstr(ear.told, "b=1. ") == NULL; i++)
        suite_wait();
    cr_assert(ear.ended == IOMESH_COMPACTED || strcmp(ear.told, "a=4. b=1. ") == 0, "%s", ear.told);
    ear_stop(&ear);
    handle_close();
    etcd_server_stop(&own);
}

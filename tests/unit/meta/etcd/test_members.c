/* SPDX-License-Identifier: Apache-2.0 */
/* Three members: killed, stopped, all gone, back. */
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct etcd_server server;
static char url[200];

static void begin(void)
{
    cr_assert(etcd_server_start(&server, 3, false));
    etcd_server_url(&server, "pool", "", url, sizeof url);
}

static void end(void)
{
    etcd_server_stop(&server);
}

TestSuite(members, .init = begin, .fini = end, .timeout = 40);

/* --- Load ---------------------------------------------------------------------------------- */

#define CHAINS 20u

/* Counts up in one key: each step only from the one before. */
struct chain {
    struct meta_request request;
    char key[8];
    unsigned value; /* Known to be there. */
    bool doubt;     /* value + 1 may be. */
};

static struct chain chains[CHAINS];
static bool stopping;
static unsigned flying, steps, unknown, late;
static uint64_t last_ms, pause_ms;
static unsigned heard[CHAINS]; /* By the watch. */

static void chain_step(struct chain *chain);

static void on_step(struct meta_request *request, int result)
{
    struct chain *chain = CONTAINER_OF(request, struct chain, request);
    uint64_t now = now_ms();
    flying--;
    if (result == IOMESH_UNKNOWN) {
        chain->doubt = true;
        unknown++;
    } else if (result == -ETIMEDOUT) {
        late++;
    } else {
        cr_assert_eq(result, 0, "%s", base_error_text(result));
        const struct meta_response *response = &request->responses[0];
        if (request->succeeded) {
            chain->value++;
        } else {
            /* Only what was in doubt may be there already. */
            cr_assert(chain->doubt, "%s: done twice, or lost", chain->key);
            cr_assert_eq(response->entry_count, 1);
            cr_assert_eq(strtoul(response->entries[0].value.data, NULL, 10), chain->value + 1);
            chain->value++;
        }
        chain->doubt = false;
        steps++;
        if (last_ms != 0 && now - last_ms > pause_ms)
            pause_ms = now - last_ms;
        last_ms = now;
    }
    chain_step(chain);
}

static void chain_step(struct chain *chain)
{
    struct meta_slice key = META_TEXT(chain->key);
    char before[16], after[16];
    if (stopping)
        return;
    (void)snprintf(before, sizeof before, "%08u", chain->value);
    (void)snprintf(after, sizeof after, "%08u", chain->value + 1);
    meta_request_reset(&chain->request);
    if (chain->value == 0)
        meta_if_absent(&chain->request, key);
    else
        meta_if_value(&chain->request, key, (struct meta_slice){before, 9});
    meta_put(&chain->request, key, (struct meta_slice){after, 9}, 0);
    meta_else(&chain->request);
    meta_get(&chain->request, key);
    cr_assert_eq(meta_commit(suite.meta, &chain->request, on_step), 0);
    flying++;
}

static void on_event(struct meta_watch *watch, const struct meta_event *event)
{
    char key[8] = "";
    (void)watch;
    memcpy(key, event->entry.key.data, MIN(event->entry.key.length, sizeof key - 1));
    unsigned which = (unsigned)strtoul(key + 1, NULL, 10);
    cr_assert_lt(which, CHAINS);
    cr_assert_eq(strtoul(event->entry.value.data, NULL, 10), ++heard[which],
                 "the watch missed a change, or told one twice");
}

static void on_ended(struct meta_watch *watch, int result)
{
    (void)watch;
    cr_assert_fail("the watch ended: %s", base_error_text(result));
}

static void load_for(unsigned ms)
{
    uint64_t until = now_ms() + ms;
    while (now_ms() < until)
        handle_wait(5);
}

static bool all_heard(void)
{
    for (unsigned i = 0; i < CHAINS; i++)
        if (heard[i] != chains[i].value)
            return false;
    return true;
}

/* Ends the load: every key has what its chain knows, and the watch has told all of it. */
static void load_end(struct meta_watch *watch)
{
    stopping = true;
    for (uint64_t until = now_ms() + 12000; flying > 0 && now_ms() < until;)
        handle_wait(10);
    cr_assert_eq(flying, 0, "something hangs");
    for (unsigned i = 0; i < CHAINS; i++) {
        struct chain *chain = &chains[i];
        unsigned value = (unsigned)strtoul(value_of(chain->key), NULL, 10);
        cr_assert(value == chain->value || (chain->doubt && value == chain->value + 1),
                  "%s is %u, and should be %u", chain->key, value, chain->value);
        chain->value = value;
        meta_request_done(&chain->request);
    }
    for (unsigned i = 0; i < 500 && !all_heard(); i++)
        suite_wait();
    cr_assert(all_heard(), "the watch was not told everything");
    meta_watch_cancel(suite.meta, watch);
}

Test(members, the_leader_killed_under_load_loses_nothing_and_does_nothing_twice)
{
    static struct meta_watch watch;
    int leader = etcd_server_leader(&server);
    cr_assert_geq(leader, 0);
    handle_open(url, 0, 0);
    cr_assert_eq(meta_watch_start(suite.meta, &watch, META_TEXT("c"), 0, on_event, on_ended), 0);
    for (unsigned i = 0; i < CHAINS; i++) {
        (void)snprintf(chains[i].key, sizeof chains[i].key, "c%u", i);
        chain_step(&chains[i]);
    }
    load_for(500);
    cr_assert_gt(steps, 20);
    etcd_server_signal(&server, (unsigned)leader, SIGKILL);
    load_for(1000);
    cr_assert(etcd_server_restart(&server, (unsigned)leader));
    load_for(300);
    /* And the one that is in use, whichever that is. */
    for (unsigned i = 0; i < 3; i++) {
        struct meta_etcd_state state;
        char port[16];
        meta_etcd_state(suite.meta, &state);
        (void)snprintf(port, sizeof port, ":%u", server.ports[i]);
        if (strstr(state.endpoint, port) == NULL)
            continue;
        etcd_server_signal(&server, i, SIGKILL);
        load_for(800);
        cr_assert(etcd_server_restart(&server, i));
        break;
    }
    load_for(300);
    unsigned before = steps;
    load_for(600);
    cr_assert_gt(steps, before, "it does not go on");
    load_end(&watch);
    fprintf(stderr, "members: %u steps, %u unknown, %u late, longest pause %u ms\n", steps, unknown,
            late, (unsigned)pause_ms);
    cr_assert_lt(pause_ms, 4000);
    handle_close();
}

static unsigned member_in_use(void)
{
    struct meta_etcd_state state;
    char port[16];
    meta_etcd_state(suite.meta, &state);
    cr_assert(state.connected);
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(port, sizeof port, ":%u", server.ports[i]);
        if (strstr(state.endpoint, port) != NULL)
            return i;
    }
    cr_assert_fail("no member: %s", state.endpoint);
    return 0;
}

Test(members, one_that_is_stopped_is_left_within_seconds_and_watches_move_too)
{
    struct ear ear = {0};
    handle_open(url, 0, 0);
    ear_start(&ear, "", 0);
    put("a", "1");
    uint64_t lease = grant(5);
    unsigned stopped = member_in_use();
    etcd_server_signal(&server, stopped, SIGSTOP);
    usleep(100000); /* Not all of its threads at once. */
    uint64_t began = now_ms();
    cr_assert_eq(keep_lease(lease), 0);
    cr_assert_lt(now_ms() - began, 4000);
    cr_assert_neq(member_in_use(), stopped);
    put("a", "2");
    ear_expect(&ear, "a=1. a=2. ");
    etcd_server_signal(&server, stopped, SIGCONT);
    put("a", "3");
    ear_expect(&ear, "a=1. a=2. a=3. ");
    ear_stop(&ear);
    handle_close();
}

Test(members, a_member_without_a_leader_is_left)
{
    struct ear ear = {0};
    handle_open(url, 0, 0);
    ear_start(&ear, "", 0);
    put("a", "1");
    /* The other two cannot be heard by it; it can be heard by us, and so can none of them. */
    unsigned used = member_in_use();
    etcd_server_signal(&server, (used + 1) % 3, SIGKILL);
    etcd_server_signal(&server, (used + 2) % 3, SIGKILL);
    load_for(1000);
    cr_assert(etcd_server_restart(&server, (used + 1) % 3));
    cr_assert(etcd_server_restart(&server, (used + 2) % 3));
    put("a", "2");
    ear_expect(&ear, "a=1. a=2. ");
    ear_stop(&ear);
    handle_close();
}

Test(members, one_that_is_silent_costs_a_moment)
{
    char text[200];
    handle_open(url, 0, 0);
    put("a", "1");
    handle_close();
    etcd_server_signal(&server, 0, SIGSTOP);
    usleep(100000);
    if (etcd_server_leader(&server) < 0)
        load_for(2000); /* It led: the others choose another. */
    /* Whichever is tried first, it is the silent one once. */
    for (unsigned first = 0; first < 2; first++) {
        (void)snprintf(text, sizeof text, "etcd://127.0.0.1:%u,127.0.0.1:%u/pool",
                       server.ports[first], server.ports[1 - first]);
        uint64_t began = now_ms();
        handle_open(text, 0, 0);
        cr_assert_str_eq(value_of("a"), "1");
        cr_assert_lt(now_ms() - began, 1000, "%d ms", (int)(now_ms() - began));
        cr_assert_eq(member_in_use(), 1);
        handle_close();
    }
    etcd_server_signal(&server, 0, SIGCONT);
}

Test(members, what_one_has_is_read_without_the_others_and_nothing_is_changed)
{
    struct ear ear = {0};
    handle_open(url, 0, 0);
    put("a", "1");
    handle_close();
    usleep(200000); /* The third has it too. */
    etcd_server_signal(&server, 1, SIGKILL);
    etcd_server_signal(&server, 2, SIGKILL);
    handle_open(url, NS_PER_S, 0);
    meta_get(build(), META_TEXT("a"));
    cr_assert_eq(run(), -ETIMEDOUT);
    handle_close();
    handle_open_stale(url, NS_PER_S);
    cr_assert_str_eq(value_of("a"), "1");
    meta_list(build(), META_TEXT(""), META_TEXT(""), 10);
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.responses[0].entry_count, 1);
    ear_start(&ear, "", 1);
    ear_expect(&ear, "a=1. ");
    ear_stop(&ear);
    meta_put(build(), META_TEXT("a"), META_TEXT("2"), 0);
    cr_assert_neq(run(), 0);
    cr_assert_str_eq(value_of("a"), "1");
    handle_close();
}

Test(members, who_is_told_to_hurry_waits_no_longer)
{
    handle_open(url, 0, 0);
    put("a", "1");
    for (unsigned i = 0; i < 3; i++)
        etcd_server_signal(&server, i, SIGKILL);
    uint64_t began = now_ms();
    meta_etcd_hurry(suite.meta, 300 * NS_PER_MS);
    meta_get(build(), META_TEXT("a"));
    cr_assert_eq(run(), -ETIMEDOUT);
    cr_assert_lt(now_ms() - began, 1500);
    handle_close();
}

Test(members, all_gone_is_an_answer_in_time_and_all_back_is_enough)
{
    struct ear ear = {0};
    struct meta_etcd_state state;
    handle_open(url, 800 * NS_PER_MS, 0);
    ear_start(&ear, "", 0);
    put("a", "1");
    for (unsigned i = 0; i < 3; i++)
        etcd_server_signal(&server, i, SIGKILL);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t began = now_ms();
        meta_put(build(), META_TEXT("a"), META_TEXT("lost"), 0);
        int result = run();
        /* The first may have been on its way. */
        cr_assert(result == -ETIMEDOUT || (i == 0 && result == IOMESH_UNKNOWN), "%d", result);
        cr_assert_lt(now_ms() - began, 2500);
    }
    meta_get(build(), META_TEXT("a"));
    cr_assert_eq(run(), -ETIMEDOUT);
    meta_etcd_state(suite.meta, &state);
    cr_assert_not(state.connected);
    cr_assert_not_null(strstr(state.trouble, "refused"), "%s", state.trouble);
    for (unsigned i = 0; i < 3; i++)
        cr_assert(etcd_server_restart(&server, i));
    cr_assert(etcd_server_ready(&server));
    meta_put(build(), META_TEXT("a"), META_TEXT("2"), 0);
    int result = run();
    if (result != 0) /* The pause before the next try, and an election. */
        put("a", "2");
    ear_expect(&ear, "a=1. a=2. ");
    ear_stop(&ear);
    handle_close();
}

Test(members, without_space_changes_are_unknown_and_reading_goes_on)
{
    static uint8_t big[META_VALUE_BYTES_MAX];
    struct meta_etcd_state before, after;
    int result = 0;
    for (unsigned i = 0; i < 3; i++)
        etcd_server_signal(&server, i, SIGKILL);
    server.quota_bytes = 4 << 20;
    for (unsigned i = 0; i < 3; i++)
        cr_assert(etcd_server_restart(&server, i));
    cr_assert(etcd_server_ready(&server));
    handle_open(url, 0, 0);
    put("a", "1");
    meta_etcd_state(suite.meta, &before);
    for (unsigned i = 0; i < 30 && result == 0; i++) {
        char key[8] = {'b', (char)('a' + i)};
        meta_put(build(), META_TEXT(key), (struct meta_slice){big, sizeof big}, 0);
        result = run();
    }
    cr_assert_eq(result, IOMESH_UNKNOWN);
    meta_put(build(), META_TEXT("a"), META_TEXT("2"), 0);
    cr_assert_eq(run(), IOMESH_UNKNOWN);
    cr_assert_str_eq(value_of("a"), "1");
    meta_delete_prefix(build(), META_TEXT("b"));
    cr_assert_eq(run(), 0, "deleting needs no space");
    meta_etcd_state(suite.meta, &after);
    cr_assert_not_null(strstr(after.trouble, "space exceeded"), "%s", after.trouble);
    cr_assert_eq(after.connections, before.connections, "no other member has more");
    handle_close();
}

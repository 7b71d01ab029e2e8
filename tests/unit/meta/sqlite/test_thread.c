/* SPDX-License-Identifier: Apache-2.0 */
/* With a thread of its own, on a real file. */
#include "fixture.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define OUTSTANDING 50u
#define TRANSACTIONS 2000u

static int bell;
static struct meta *meta;
static struct clock clock_of_test;

static void ring(void *context)
{
    uint64_t one = 1;
    (void)context;
    cr_assert_eq(write(bell, &one, sizeof one), (ssize_t)sizeof one);
}

static uint64_t no_time(struct clock *clock)
{
    (void)clock;
    return 0;
}

static const struct clock_ops clock_ops = {.now_ns = no_time, .wall_ns = no_time};

static void wait_once(void)
{
    uint64_t count;
    struct pollfd waiting = {.fd = bell, .events = POLLIN};
    cr_assert_eq(poll(&waiting, 1, 10000), 1, "nobody rang for ten seconds");
    cr_assert_eq(read(bell, &count, sizeof count), (ssize_t)sizeof count);
    meta_poll(meta);
}

/* One chain of transactions, each submitted when the one before has ended. */
struct chain {
    struct meta_request request;
    unsigned number;
    uint64_t revision;
};

static struct chain chains[OUTSTANDING];
static unsigned submitted, ended;
static uint64_t revisions_sum;

static void chain_next(struct chain *chain);

static void on_done(struct meta_request *request, int result)
{
    struct chain *chain = CONTAINER_OF(request, struct chain, request);
    cr_assert_eq(result, 0, "%s", base_error_text(result));
    cr_assert(request->succeeded);
    cr_assert_gt(request->revision, chain->revision);
    chain->revision = request->revision;
    revisions_sum += request->revision;
    ended++;
    chain_next(chain);
}

/* Creates a key that must not be there, and deletes the one before it, which must. */
static void chain_next(struct chain *chain)
{
    char created[32];
    char deleted[32];
    if (submitted == TRANSACTIONS)
        return;
    submitted++;
    unsigned which = (unsigned)(chain - chains);
    (void)snprintf(created, sizeof created, "chain/%02u/%u", which, chain->number);
    (void)snprintf(deleted, sizeof deleted, "chain/%02u/%u", which, chain->number - 1);
    meta_request_reset(&chain->request);
    meta_if_absent(&chain->request, META_TEXT(created));
    meta_put(&chain->request, META_TEXT(created), META_TEXT("a value of some length"), 0);
    if (chain->number > 0) {
        meta_if_present(&chain->request, META_TEXT(deleted));
        meta_delete(&chain->request, META_TEXT(deleted));
    }
    chain->number++;
    cr_assert_eq(meta_commit(meta, &chain->request, on_done), 0);
}

static void on_list(struct meta_request *request, int result)
{
    cr_assert_eq(result, 0);
    cr_assert_eq(request->responses[0].entry_count, OUTSTANDING);
    ended++;
}

Test(thread, fifty_outstanding_share_commits_and_each_happens_once)
{
    char path[] = "/tmp/iomesh-meta-thread-XXXXXX";
    struct meta_sqlite_options options = {
        .path = path,
        .create = true,
        .threaded = true,
        .clock = &clock_of_test,
        .wakeup = ring,
    };
    int fd = mkstemp(path);
    close(fd);
    bell = eventfd(0, EFD_CLOEXEC);
    clock_of_test.ops = &clock_ops;
    cr_assert_eq(meta_sqlite_open(&options, &meta), 0, "%s", base_last_error());
    for (unsigned i = 0; i < OUTSTANDING; i++)
        chain_next(&chains[i]);
    while (ended < TRANSACTIONS)
        wait_once();
    cr_assert_eq(meta_flying(meta), 0);

    struct meta_sqlite_counts counts = meta_sqlite_counts(meta);
    cr_assert_eq(counts.requests, TRANSACTIONS);
    cr_assert_lt(counts.commits, TRANSACTIONS / 4, "%llu commits",
                 (unsigned long long)counts.commits);
    /* Revisions 2 .. TRANSACTIONS + 1, each once: the first is the empty pool's. */
    cr_assert_eq(revisions_sum, (uint64_t)TRANSACTIONS * (TRANSACTIONS + 3) / 2);

    struct meta_request list = {0};
    meta_list(&list, META_TEXT("chain/"), (struct meta_slice){0}, 1000);
    cr_assert_eq(meta_commit(meta, &list, on_list), 0);
    while (ended == TRANSACTIONS)
        wait_once();
    meta_request_done(&list);
    for (unsigned i = 0; i < OUTSTANDING; i++)
        meta_request_done(&chains[i].request);
    meta_close(meta);
    unlink(path);
    close(bell);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that talks to etcd beside the engine's: puts with a compare, 50 outstanding and one at
 * a time, a watch that hears them, the connection gone in between. Prints how fast.
 *
 *     tsan_test_etcd [TRANSACTIONS]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "meta/etcd/etcd.h"
#include "meta/etcd_server.h"

#define OUTSTANDING_MAX 50u

static struct meta *meta;
static int bell;
static unsigned total, begun, ended, unknown, heard;

static void must(bool truth, const char *what)
{
    if (!truth) {
        printf("failed: %s: %s\n", what, base_last_error());
        exit(1);
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void ring(void *context)
{
    uint64_t one = 1;
    (void)context;
    must(write(bell, &one, sizeof one) == (ssize_t)sizeof one, "ring");
}

struct chain {
    struct meta_request request;
    char key[20];
    uint64_t revision; /* Of its key. */
    uint64_t began_ns;
};

static struct chain chains[OUTSTANDING_MAX];
static uint64_t times[100000];

static void chain_next(struct chain *chain);

static void on_done(struct meta_request *request, int result)
{
    struct chain *chain = CONTAINER_OF(request, struct chain, request);
    must(result == 0 || result == IOMESH_UNKNOWN, "a transaction");
    must(result != 0 || request->succeeded, "its compare");
    if (ended < sizeof times / sizeof times[0])
        times[ended] = now_ns() - chain->began_ns;
    unknown += result != 0;
    chain->revision = result == 0 ? request->revision : 0;
    ended++;
    chain_next(chain);
}

static void chain_next(struct chain *chain)
{
    struct meta_slice key = META_TEXT(chain->key);
    if (begun == total)
        return;
    begun++;
    meta_request_reset(&chain->request);
    if (chain->revision != 0)
        meta_if_modified(&chain->request, key, chain->revision);
    meta_put(&chain->request, key, META_TEXT("a record of a volume, some hundred bytes of it"), 0);
    chain->began_ns = now_ns();
    must(meta_commit(meta, &chain->request, on_done) == 0, "commit");
}

static void on_event(struct meta_watch *watch, const struct meta_event *event)
{
    (void)watch;
    heard += event->kind == META_EVENT_PUT;
}

static void on_watch_ended(struct meta_watch *watch, int result)
{
    (void)watch;
    (void)result;
    must(false, "the watch ended");
}

static void wait_for_bell(void)
{
    uint64_t rings;
    must(read(bell, &rings, sizeof rings) == (ssize_t)sizeof rings, "bell");
    meta_poll(meta);
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void run(const char *what, unsigned outstanding, unsigned count)
{
    uint64_t start = now_ns();
    total = count;
    begun = ended = 0;
    for (unsigned i = 0; i < outstanding; i++) {
        (void)snprintf(chains[i].key, sizeof chains[i].key, "chain/%02u", i);
        chain_next(&chains[i]);
    }
    while (ended < total)
        wait_for_bell();
    uint64_t took = now_ns() - start;
    unsigned kept = ended < sizeof times / sizeof times[0] ? ended : sizeof times / sizeof times[0];
    qsort(times, kept, sizeof times[0], by_time);
    printf("%s: %2u outstanding: %u transactions in %llu ms, %llu a second, p50 %llu us, "
           "p99 %llu us\n",
           what, outstanding, count, (unsigned long long)(took / NS_PER_MS),
           (unsigned long long)(count * NS_PER_S / took),
           (unsigned long long)times[kept / 2] / 1000,
           (unsigned long long)times[kept - 1 - kept / 100] / 1000);
}

int main(int count, char **arguments)
{
    struct etcd_server server;
    struct meta_watch watch;
    struct meta_etcd_options options = {.wakeup = ring};
    char url[128];
    unsigned transactions = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 1000;
    must(etcd_server_start(&server, 1, false), "etcd");
    etcd_server_url(&server, "pool", "", url, sizeof url);
    options.url = url;
    bell = eventfd(0, EFD_CLOEXEC);
    must(meta_etcd_open(&options, &meta) == 0, "open");
    must(meta_watch_start(meta, &watch, META_TEXT("chain/"), 0, on_event, on_watch_ended) == 0,
         "watch");
    run("one member", OUTSTANDING_MAX, transactions);
    run("one member", 1, transactions / 5);
    must(unknown == 0, "all known");
    for (unsigned i = 0; heard < transactions + transactions / 5 && i < 1000; i++)
        wait_for_bell();
    must(heard == transactions + transactions / 5, "the watch heard each once");

    /* The member goes and comes back in the middle. */
    total = transactions;
    begun = ended = 0;
    for (unsigned i = 0; i < OUTSTANDING_MAX; i++)
        chain_next(&chains[i]);
    while (ended < total / 4)
        wait_for_bell();
    etcd_server_signal(&server, 0, SIGKILL);
    must(etcd_server_restart(&server, 0), "restart");
    while (ended < total)
        wait_for_bell();
    printf("killed and back: %u of %u unknown\n", unknown, total);
    must(unknown <= OUTSTANDING_MAX, "only what was on its way is unknown");
    meta_watch_cancel(meta, &watch);
    for (unsigned i = 0; i < OUTSTANDING_MAX; i++)
        meta_request_done(&chains[i].request);
    meta_close(meta);
    etcd_server_stop(&server);
    return 0;
}

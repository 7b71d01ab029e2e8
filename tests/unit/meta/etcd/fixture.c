/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <criterion/hooks.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define PORT_NAME "IOMESH_TEST_ETCD_PORT"

static struct etcd_server shared;
static int bell = -1;

/* Each test is a process of its own: this one is that of none. */
ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    char port[16];
    (void)tests;
    if (!etcd_server_start(&shared, 1, false))
        exit(1);
    (void)snprintf(port, sizeof port, "%u", shared.ports[0]);
    setenv(PORT_NAME, port, 1);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    (void)stats;
    etcd_server_stop(&shared);
}

unsigned shared_port(void)
{
    const char *port = getenv(PORT_NAME);
    cr_assert_not_null(port);
    return (unsigned)strtoul(port, NULL, 10);
}

void shared_url(char *ret_url, size_t room)
{
    (void)snprintf(ret_url, room, "etcd://127.0.0.1:%u/test-%d", shared_port(), (int)getpid());
}

uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

static void ring(void *context)
{
    uint64_t one = 1;
    (void)context;
    cr_assert_eq(write(bell, &one, sizeof one), (ssize_t)sizeof one);
}

static void open_with(struct meta_etcd_options *options)
{
    options->wakeup = ring;
    if (bell < 0)
        bell = eventfd(0, EFD_CLOEXEC);
    cr_assert_eq(meta_etcd_open(options, &suite.meta), 0, "%s", base_last_error());
}

void handle_open(const char *url, uint64_t wait_ns, uint64_t silence_ns)
{
    struct meta_etcd_options options = {.url = url, .wait_ns = wait_ns, .silence_ns = silence_ns};
    open_with(&options);
}

void handle_open_stale(const char *url, uint64_t wait_ns)
{
    struct meta_etcd_options options = {.url = url, .wait_ns = wait_ns, .stale = true};
    open_with(&options);
}

void handle_close(void)
{
    meta_close(suite.meta);
    suite.meta = NULL;
    meta_request_done(&suite.request);
}

bool handle_wait(int timeout_ms)
{
    uint64_t rings;
    struct pollfd waiting = {.fd = bell, .events = POLLIN};
    if (poll(&waiting, 1, timeout_ms) != 1)
        return false;
    cr_assert_eq(read(bell, &rings, sizeof rings), (ssize_t)sizeof rings);
    meta_poll(suite.meta);
    return true;
}

void suite_open(void)
{
    char url[128];
    shared_url(url, sizeof url);
    handle_open(url, 0, 0);
}

void suite_close(void)
{
    handle_close();
}

void suite_wait(void)
{
    handle_wait(10);
}

void suite_settle(void)
{
    while (handle_wait(100))
        continue;
}

void suite_pass(unsigned seconds)
{
    /* A member looks for leases that ran out twice a second. */
    uint64_t until = now_ms() + seconds * 1000 + (seconds > 1 ? 700 : 0);
    for (uint64_t now = now_ms(); now < until; now = now_ms())
        handle_wait((int)(until - now));
}

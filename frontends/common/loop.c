/* SPDX-License-Identifier: Apache-2.0 */
#include "common/loop.h"

#include <errno.h>
#include <stdint.h>
#include <time.h>

/* How long the ring may be quiet before the loop goes to sleep in libev. Longer than the kernel's
 * tick: a shorter sleep sets the processor's timer each time, which in a virtual machine costs more
 * than the request that is waited for. */
static const uint64_t quiet_ns_max = 20000000;
/* How stale signals, timers and metrics may get while I/O is lively. */
static const uint64_t libev_interval_ns = 5000000;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void engine_readable(struct ev_loop *ev, ev_io *watcher, int events)
{
    (void)watcher;
    (void)events;
    ev_break(ev, EVBREAK_ONE); /* loop_run() turns. */
}

static void engine_due(struct ev_loop *ev, ev_timer *watcher, int events)
{
    (void)watcher;
    (void)events;
    ev_break(ev, EVBREAK_ONE);
}

void loop_init(struct loop *loop, struct ev_loop *ev, struct iomesh_engine *engine)
{
    *loop = (struct loop){.ev = ev, .engine = engine};
    ev_io_init(&loop->readable, engine_readable, iomesh_fd(engine), EV_READ);
    ev_timer_init(&loop->deadline, engine_due, 0., 0.);
}

static void sleep_in_libev(struct loop *loop)
{
    const uint64_t wait_ns = iomesh_deadline(loop->engine);
    if (wait_ns == 0) {
        ev_run(loop->ev, EVRUN_NOWAIT);
        return;
    }
    ev_io_start(loop->ev, &loop->readable);
    if (wait_ns != IOMESH_NEVER) {
        ev_now_update(loop->ev);
        ev_timer_set(&loop->deadline, (double)wait_ns / 1e9, 0.);
        ev_timer_start(loop->ev, &loop->deadline);
    }
    ev_run(loop->ev, EVRUN_ONCE);
    ev_timer_stop(loop->ev, &loop->deadline);
    ev_io_stop(loop->ev, &loop->readable);
}

int loop_run(struct loop *loop)
{
    uint64_t libev_seen_ns = now_ns();
    while (!loop->stop) {
        const int ran = iomesh_wait(loop->engine, quiet_ns_max);
        if (ran < 0)
            return ran;
        if (loop->turned != NULL)
            loop->turned(loop->turned_context);
        const uint64_t now = now_ns();
        if (ran > 0 && now - libev_seen_ns < libev_interval_ns)
            continue;
        libev_seen_ns = now;
        if (ran > 0) {
            ev_run(loop->ev, EVRUN_NOWAIT);
            continue;
        }
        /* What timers and signals asked for is sent by the next iomesh_wait(). */
        sleep_in_libev(loop);
    }
    return 0;
}

void loop_stop(struct loop *loop)
{
    loop->stop = true;
}

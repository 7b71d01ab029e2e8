/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine and libev in one thread.
 *
 * While I/O is lively the loop waits in the ring and looks at libev every few milliseconds, so a
 * request pays nothing for libev. When nothing has happened for a while it sleeps in libev, which
 * watches the engine's descriptor and deadline.
 */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include <ev.h>
#include <stdbool.h>

#include <iomesh/iomesh.h>

struct loop {
    struct ev_loop *ev;
    struct iomesh_engine *engine;
    ev_io readable;
    ev_timer deadline;
    bool stop;
    void (*turned)(void *context); /* After each turn; NULL is fine. Set it after loop_init(). */
    void *turned_context;
};

void loop_init(struct loop *loop, struct ev_loop *ev, struct iomesh_engine *engine);

/* Runs until loop_stop(). Returns 0, or the ring's error. */
int loop_run(struct loop *loop);

void loop_stop(struct loop *loop);

#endif

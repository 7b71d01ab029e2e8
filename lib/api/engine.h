/* SPDX-License-Identifier: Apache-2.0 */
/* An engine of the real world, for the files of this room only. */
#ifndef API_ENGINE_H
#define API_ENGINE_H

#include <iomesh/iomesh.h>

#include "engine/engine.h"
#include "uring/uring.h"

struct iomesh_engine {
    struct engine_world world;
    struct uring *uring;
    struct engine *engine;
    iomesh_trace_fn *trace;
    void *trace_context;
    uint32_t pool_count; /* Pools open, opening or closing. */
};

/* Tells the program's hook, if there is one. */
void api_trace(struct iomesh_engine *engine, uint32_t severity, uint32_t kind, const char *text,
               const uint64_t *numbers, uint32_t number_count);

/* Options as the caller knows them over the defaults, field by field up to the smaller size. */
int api_options(const char *what, const void *given, void *defaults, uint32_t size);

/* As much of an answer as the caller knows of. 0, or -EINVAL: its size is not set. */
int api_give(void *to, uint32_t size_given, const void *from, uint32_t size);

/* Turns until `*pending` is false. -EDEADLK inside a callback. */
int api_wait(struct iomesh_engine *engine, const bool *pending);

/* 0, or -EDEADLK with a sentence: what is asked for waits, and a callback must not. */
int api_refuse_in_callback(const struct iomesh_engine *engine);
#define REFUSE_IN_CALLBACK(engine)                     \
    do {                                               \
        int refused_ = api_refuse_in_callback(engine); \
        if (refused_ != 0)                             \
            return refused_;                           \
    } while (0)

/* A completion kept for a waiting call. */
struct api_waiter {
    bool pending;
    int result;
};
void api_waiter_done(void *context, int result);
/* Ends a …_sync call: `accepted` is what the asynchronous one returned. */
int api_waiter_end(struct iomesh_engine *engine, struct api_waiter *waiter, int accepted);

#endif

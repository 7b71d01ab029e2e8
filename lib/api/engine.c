/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: the crank of engine/ on the ring of uring/. */
#include <stdlib.h>
#include <string.h>

#include "api/engine.h"

static struct uring *world_uring(struct engine_world *world)
{
    return CONTAINER_OF(world, struct iomesh_engine, world)->uring;
}

static unsigned world_collect(struct engine_world *world)
{
    return uring_collect(world_uring(world));
}

static int world_submit(struct engine_world *world)
{
    return uring_submit(world_uring(world));
}

static bool world_ready(struct engine_world *world)
{
    return uring_ready(world_uring(world));
}

static bool world_spin(struct engine_world *world)
{
    return uring_spin(world_uring(world));
}

static int world_wait(struct engine_world *world, uint64_t until_ns)
{
    return uring_wait(world_uring(world), until_ns);
}

static void world_wake(struct engine_world *world)
{
    uring_wake(world_uring(world));
}

static const struct engine_world_ops world_ops = {
    .collect = world_collect,
    .submit = world_submit,
    .ready = world_ready,
    .spin = world_spin,
    .wait = world_wait,
    .wake = world_wake,
};

void api_trace(struct iomesh_engine *engine, uint32_t severity, uint32_t kind, const char *text,
               const uint64_t *numbers, uint32_t number_count)
{
    if (engine->trace == NULL)
        return;
    struct iomesh_event event = {
        .size = sizeof event, .severity = severity, .kind = kind, .text = text};
    event.number_count = (uint32_t)MIN(number_count, COUNT_OF(event.numbers));
    for (uint32_t i = 0; i < event.number_count; i++)
        event.numbers[i] = numbers[i];
    engine->trace(engine->trace_context, &event);
}

static void engine_notice(void *context, const char *text)
{
    api_trace(context, IOMESH_SEVERITY_NOTICE, IOMESH_EVENT_ENGINE, text, NULL, 0);
}

int api_options(const char *what, const void *given, void *defaults, uint32_t size)
{
    if (given == NULL)
        return 0;
    uint32_t given_size;
    memcpy(&given_size, given, sizeof given_size);
    if (given_size < sizeof given_size || given_size > 4096)
        return FAIL(-EINVAL, "%s: the options do not begin with their size: use the _INIT macro",
                    what);
    memcpy(defaults, given, MIN(given_size, size));
    return 0;
}

static int engine_options_check(const struct iomesh_engine_options *options)
{
    if (options->ring_entries != 0 && (options->ring_entries < 64 || options->ring_entries > 32768))
        return FAIL(-EINVAL, "ring_entries is 64 to 32768, not %u", options->ring_entries);
    if (options->buffer_bytes != 0 &&
        (options->buffer_bytes < 1ull << 20 || options->buffer_bytes > 1ull << 30))
        return FAIL(-EINVAL, "buffer_bytes is 1 MiB to 1 GiB, not %llu",
                    (unsigned long long)options->buffer_bytes);
    if (options->posts_max > 65536)
        return FAIL(-EINVAL, "posts_max is 1 to 65536, not %u", options->posts_max);
    if (options->work_threads > 64)
        return FAIL(-EINVAL, "work_threads is 1 to 64, not %u", options->work_threads);
    return 0;
}

int iomesh_engine_open(const struct iomesh_engine_options *given, struct iomesh_engine **ret_engine)
{
    struct iomesh_engine_options options = IOMESH_ENGINE_OPTIONS_INIT;
    int result = api_options("engine", given, &options, sizeof options);
    if (result == 0)
        result = engine_options_check(&options);
    if (result != 0)
        return result;
    struct iomesh_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return FAIL(-ENOMEM, "no memory for an engine");
    engine->trace = options.trace;
    engine->trace_context = options.trace_context;
    struct uring_options ring = {
        .entries = options.ring_entries,
        .work_threads = options.work_threads,
        .spin_ns_max = options.spin_ns_max,
        .buffer_bytes = options.buffer_bytes,
        .notice = engine_notice,
        .context = engine,
    };
    result = uring_open(&ring, &engine->uring);
    if (result == 0) {
        engine->world.ops = &world_ops;
        engine->world.clock = uring_clock(engine->uring);
        result = engine_open(&engine->world, options.posts_max != 0 ? options.posts_max : 1024,
                             &engine->engine);
    }
    if (result != 0) {
        uring_close(engine->uring);
        free(engine);
        return result;
    }
    *ret_engine = engine;
    return 0;
}

int iomesh_engine_close(struct iomesh_engine *engine)
{
    if (engine == NULL)
        return 0;
    if (engine_turning(engine->engine))
        return FAIL(-EDEADLK, "a callback cannot close the engine that runs it");
    if (engine->pool_count > 0)
        return FAIL(-EBUSY, "%u pools are open on this engine: close them first",
                    engine->pool_count);
    if (uring_open_count(engine->uring) > 0)
        return FAIL(-EBUSY, "%u streams or listeners are open on this engine: close them first",
                    uring_open_count(engine->uring));
    engine_close(engine->engine);
    uring_close(engine->uring);
    free(engine);
    return 0;
}

int iomesh_fd(struct iomesh_engine *engine)
{
    return uring_fd(engine->uring);
}

uint64_t iomesh_deadline(struct iomesh_engine *engine)
{
    uring_arm(engine->uring);
    uint64_t deadline_ns = engine_deadline_ns(engine->engine);
    if (deadline_ns == CLOCK_NEVER || deadline_ns == 0)
        return deadline_ns == 0 ? 0 : IOMESH_NEVER;
    uint64_t now_ns = clock_now_ns(engine->world.clock);
    return deadline_ns > now_ns ? deadline_ns - now_ns : 0;
}

int iomesh_turn(struct iomesh_engine *engine)
{
    return engine_turn(engine->engine);
}

int iomesh_wait(struct iomesh_engine *engine, uint64_t timeout_ns)
{
    uint64_t now_ns = clock_now_ns(engine->world.clock);
    uint64_t until_ns = timeout_ns >= IOMESH_NEVER - now_ns ? CLOCK_NEVER : now_ns + timeout_ns;
    return engine_wait(engine->engine, until_ns);
}

int iomesh_spin(struct iomesh_engine *engine)
{
    return engine_spin(engine->engine) ? 1 : 0;
}

int iomesh_post(struct iomesh_engine *engine, iomesh_post_fn *post, void *context)
{
    return engine_post(engine->engine, post, context);
}

void *iomesh_buffer_get(struct iomesh_engine *engine, uint64_t bytes)
{
    return uring_buffer_get(engine->uring, bytes);
}

void iomesh_buffer_put(struct iomesh_engine *engine, void *buffer)
{
    uring_buffer_put(engine->uring, buffer);
}

/* --- Waiting ------------------------------------------------------------------------------- */

int api_refuse_in_callback(const struct iomesh_engine *engine)
{
    if (engine_turning(engine->engine))
        return FAIL(-EDEADLK, "a callback cannot wait: use the call that takes a callback");
    return 0;
}

int api_wait(struct iomesh_engine *engine, const bool *pending)
{
    while (*pending) {
        int result = engine_wait(engine->engine, CLOCK_NEVER);
        if (result < 0)
            return result;
    }
    return 0;
}

void api_waiter_done(void *context, int result)
{
    struct api_waiter *waiter = context;
    waiter->result = result;
    waiter->pending = false;
}

int api_waiter_end(struct iomesh_engine *engine, struct api_waiter *waiter, int accepted)
{
    if (accepted != 0)
        return accepted;
    waiter->pending = true;
    int result = api_wait(engine, &waiter->pending);
    return result != 0 ? result : waiter->result;
}

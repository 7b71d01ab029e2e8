/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "engine/internal.h"

struct engine {
    struct engine_world *world;
    struct post_queue posts;
    struct list hooks;
    struct list *hook_next; /* While the hooks run: the one after the one that runs. */
    unsigned counted;       /* By engine_count(), in this turn. */
    bool turning;
    bool touched; /* A turn is due whatever the world says. */
};

int engine_open(struct engine_world *world, uint32_t posts_max, struct engine **ret_engine)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return FAIL(-ENOMEM, "no memory for an engine");
    engine->world = world;
    list_init(&engine->hooks);
    int result = post_queue_open(&engine->posts, posts_max);
    if (result != 0) {
        free(engine);
        return result;
    }
    *ret_engine = engine;
    return 0;
}

void engine_close(struct engine *engine)
{
    if (engine == NULL)
        return;
    assert(!engine->turning && list_empty(&engine->hooks));
    engine->turning = true;
    (void)post_queue_run(&engine->posts);
    post_queue_close(&engine->posts);
    free(engine);
}

void engine_hook_add(struct engine *engine, struct engine_hook *hook)
{
    assert(hook->turn != NULL);
    list_push_back(&engine->hooks, &hook->node);
    engine->touched = true;
}

void engine_hook_remove(struct engine *engine, struct engine_hook *hook)
{
    if (engine->hook_next == &hook->node)
        engine->hook_next = hook->node.next;
    list_remove(&hook->node);
}

void engine_touch(struct engine *engine)
{
    engine->touched = true;
}

void engine_count(struct engine *engine)
{
    engine->counted++;
}

static unsigned engine_step(struct engine *engine)
{
    unsigned count = 0;
    struct list *node = engine->hooks.next;
    while (node != &engine->hooks) {
        engine->hook_next = node->next;
        struct engine_hook *hook = LIST_ENTRY(node, struct engine_hook, node);
        count += hook->turn(hook);
        node = engine->hook_next;
    }
    engine->hook_next = NULL;
    return count;
}

int engine_turn(struct engine *engine)
{
    if (engine->turning)
        return FAIL(-EDEADLK, "a callback cannot turn the engine that runs it, nor wait for it");
    struct engine_world *world = engine->world;
    engine->turning = true;
    engine->touched = false;
    engine->counted = 0;
    unsigned count = world->ops->collect(world);
    count += post_queue_run(&engine->posts);
    count += clock_run(world->clock);
    count += engine_step(engine);
    count += engine->counted;
    /* What ran may have left something for the machines that no completion will announce. */
    if (count > 0)
        engine->touched = true;
    int result = world->ops->submit(world);
    engine->turning = false;
    return result != 0 ? result : (int)MIN(count, (unsigned)INT32_MAX);
}

static bool engine_due(const struct engine *engine)
{
    return engine->touched || engine->world->ops->ready(engine->world) ||
           clock_deadline_ns(engine->world->clock) <= clock_now_ns(engine->world->clock);
}

int engine_wait(struct engine *engine, uint64_t until_ns)
{
    int result = engine_turn(engine);
    /* A turn that did nothing is the price of not asking every machine; then there is time. */
    while (result == 0 && engine->touched)
        result = engine_turn(engine);
    if (result != 0)
        return result;
    uint64_t next_ns = MIN(until_ns, clock_deadline_ns(engine->world->clock));
    result = engine->world->ops->wait(engine->world, next_ns);
    return result != 0 ? result : engine_turn(engine);
}

bool engine_spin(struct engine *engine)
{
    return engine_due(engine) || engine->world->ops->spin(engine->world);
}

uint64_t engine_deadline_ns(struct engine *engine)
{
    if (engine->touched || engine->world->ops->ready(engine->world))
        return 0;
    return clock_deadline_ns(engine->world->clock);
}

bool engine_turning(const struct engine *engine)
{
    return engine->turning;
}

int engine_post(struct engine *engine, void (*run)(void *context), void *context)
{
    if (!post_queue_push(&engine->posts, run, context))
        return -EAGAIN;
    engine->world->ops->wake(engine->world);
    return 0;
}

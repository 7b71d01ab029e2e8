/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/world.h"

#include <stdio.h>
#include <stdlib.h>

#include "sim/disk.h"

#define WALL_START_NS 1700000000000000000ull
#define WORK_NS_MAX 200000ull
#define JUMP_NS_MAX (30 * NS_PER_S)
#define WALL_JUMP_NS_MAX (400ull * 24 * 3600 * NS_PER_S) /* To either side. */

static uint64_t sim_now_ns(struct clock *clock)
{
    return CONTAINER_OF(clock, struct world, clock)->now_ns;
}

static uint64_t sim_wall_ns(struct clock *clock)
{
    const struct world *world = CONTAINER_OF(clock, struct world, clock);
    return WALL_START_NS + world->now_ns + (uint64_t)world->wall_offset_ns;
}

static const struct clock_ops sim_clock_ops = {.now_ns = sim_now_ns, .wall_ns = sim_wall_ns};

/* --- The queue: a binary heap of (time, order) ---------------------------------------------- */

static bool event_before(const struct world_event *a, const struct world_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void heap_push(struct world *world, struct world_event *event)
{
    if (world->event_count == world->event_capacity) {
        world->event_capacity = MAX((size_t)64, world->event_capacity * 2);
        world->heap = realloc(world->heap, world->event_capacity * sizeof *world->heap);
        if (world->heap == NULL)
            abort();
    }
    size_t at = world->event_count++;
    for (; at > 0 && event_before(event, world->heap[(at - 1) / 2]); at = (at - 1) / 2)
        world->heap[at] = world->heap[(at - 1) / 2];
    world->heap[at] = event;
}

static struct world_event *heap_pop(struct world *world)
{
    struct world_event *first = world->heap[0];
    struct world_event *last = world->heap[--world->event_count];
    size_t at = 0;
    for (size_t child = 1; child < world->event_count; child = 2 * at + 1) {
        if (child + 1 < world->event_count &&
            event_before(world->heap[child + 1], world->heap[child]))
            child++;
        if (!event_before(world->heap[child], last))
            break;
        world->heap[at] = world->heap[child];
        at = child;
    }
    world->heap[at] = last;
    return first;
}

void world_at(struct world *world, struct world_event *event, uint64_t delay_ns)
{
    event->at_ns = world->now_ns + delay_ns;
    event->order = world->order_next++;
    heap_push(world, event);
}

/* --- Work ------------------------------------------------------------------------------------ */

struct sim_job {
    struct world_event event;
    struct work_job *job;
};

static void sim_work_fire(struct world_event *event)
{
    struct sim_job *sim_job = CONTAINER_OF(event, struct sim_job, event);
    struct work_job *job = sim_job->job;
    free(sim_job);
    job->run(job);
    job->done(job);
}

static void sim_work_submit(struct work *work, struct work_job *job)
{
    struct world *world = CONTAINER_OF(work, struct world, work);
    if (world->off)
        return;
    struct sim_job *sim_job = calloc(1, sizeof *sim_job);
    if (sim_job == NULL)
        abort();
    sim_job->job = job;
    sim_job->event.fire = sim_work_fire;
    world_at(world, &sim_job->event, 1 + prng_below(&world->work_prng, WORK_NS_MAX));
}

static const struct work_ops sim_work_ops = {.submit = sim_work_submit};

/* Nothing that was to come will come. Disks free their own events. */
static void world_forget(struct world *world)
{
    for (size_t i = 0; i < world->event_count; i++) {
        if (world->heap[i]->fire == sim_work_fire)
            free(CONTAINER_OF(world->heap[i], struct sim_job, event));
    }
    world->event_count = 0;
    world->clock.first = NULL;
}

/* --- The world ------------------------------------------------------------------------------- */

void world_open(struct world *world, uint64_t seed)
{
    *world = (struct world){
        .clock.ops = &sim_clock_ops,
        .work.ops = &sim_work_ops,
        .seed = seed,
        .prng.state = seed,
        .trace = seed,
    };
    world->work_prng = prng_fork(&world->prng);
    world->clock_prng.state = ~seed;
    list_init(&world->disks);
}

void world_close(struct world *world)
{
    world_forget(world);
    LIST_EACH_SAFE (&world->disks, node, after)
        sim_disk_close(LIST_ENTRY(node, struct sim_disk, node));
    free(world->heap);
    world->heap = NULL;
}

void world_trace(struct world *world, uint64_t value)
{
    struct prng mix = {.state = world->trace ^ value};
    world->trace = prng_next(&mix);
}

void world_cut(struct world *world)
{
    world->off = true;
}

void world_moment(struct world *world)
{
    if (world->off)
        return;
    if (++world->moments == world->cut_after)
        world_cut(world);
}

void world_cut_after(struct world *world, uint64_t moments)
{
    world->cut_after = moments == 0 ? 0 : world->moments + moments;
}

/* Everything that was to come in that time is late. */
static void world_jump(struct world *world)
{
    world->jumps++;
    world->now_ns += prng_below(&world->clock_prng, JUMP_NS_MAX);
    world->wall_offset_ns =
        (int64_t)prng_below(&world->clock_prng, 2 * WALL_JUMP_NS_MAX) - (int64_t)WALL_JUMP_NS_MAX;
    world_trace(world, world->now_ns);
}

uint64_t world_next_ns(const struct world *world)
{
    if (world->off)
        return CLOCK_NEVER;
    uint64_t event_ns = world->event_count == 0 ? CLOCK_NEVER : world->heap[0]->at_ns;
    return MIN(clock_deadline_ns(&world->clock), event_ns);
}

bool world_step(struct world *world)
{
    if (world->off)
        return false;
    if (prng_one_in(&world->clock_prng, world->jump_one_in))
        world_jump(world);
    uint64_t timer_ns = clock_deadline_ns(&world->clock);
    uint64_t event_ns = world->event_count == 0 ? CLOCK_NEVER : world->heap[0]->at_ns;
    if (timer_ns == CLOCK_NEVER && event_ns == CLOCK_NEVER)
        return false;
    world->steps++;
    world->now_ns = MAX(world->now_ns, MIN(timer_ns, event_ns));
    world_trace(world, world->now_ns);
    if (timer_ns <= event_ns) {
        world_trace(world, clock_run(&world->clock));
        return true;
    }
    struct world_event *event = heap_pop(world);
    event->fire(event);
    return true;
}

void world_restart(struct world *world)
{
    world_forget(world);
    LIST_EACH (&world->disks, node)
        sim_disk_restart(LIST_ENTRY(node, struct sim_disk, node));
    world->off = false;
    world->cut_after = 0;
}

void world_kill(struct world *world)
{
    assert(!world->off);
    world_forget(world);
    LIST_EACH (&world->disks, node)
        sim_disk_kill(LIST_ENTRY(node, struct sim_disk, node));
    world->cut_after = 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing, and what is said to an open volume. */
#include <stdlib.h>
#include <string.h>

#include "volume/copies_inside.h"

#define LANE_DATA_BYTES ((size_t)MAP_BLOCKS * BLOCK_BYTES)

/* --- The engine ------------------------------------------------------------------------------- */

static int engine_lanes(struct copies_engine *engine, uint32_t count)
{
    const size_t versions = MAP_BLOCKS * sizeof(struct part_version);
    const size_t each = LANE_DATA_BYTES + REPLICA_COPIES_MAX * versions;
    engine->lanes = calloc(count, sizeof *engine->lanes);
    engine->memory = aligned_alloc(BLOCK_BYTES, count * each);
    if (engine->lanes == NULL || engine->memory == NULL)
        return -ENOMEM;
    engine->lane_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct copies_lane *lane = &engine->lanes[i];
        lane->engine = engine;
        list_init(&lane->pace);
        lane->data = engine->memory + i * LANE_DATA_BYTES;
        EACH_COPY(copy)
        lane->versions[copy] = (void *)(engine->memory + count * LANE_DATA_BYTES +
                                        ((size_t)i * REPLICA_COPIES_MAX + copy) * versions);
        list_push_back(&engine->free_lanes, &lane->node);
    }
    return 0;
}

int copies_engine_open(const struct copies_engine_options *options,
                       struct copies_engine **ret_engine)
{
    uint32_t op_count = options->op_count != 0 ? options->op_count : 512;
    struct copies_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return FAIL(-ENOMEM, "opening copies: no memory");
    engine->clock = options->clock;
    list_init(&engine->free_ops);
    list_init(&engine->free_lanes);
    list_init(&engine->ready);
    list_init(&engine->tasks);
    list_init(&engine->finished);
    list_init(&engine->starved);
    list_init(&engine->flushed);
    list_init(&engine->refused);
    list_init(&engine->volumes);
    list_init(&engine->paced);
    engine->pace_timer.fire = copies_pace_turn;
    copies_pace_set(&engine->pace, options->resync_bytes_per_s, clock_now_ns(engine->clock));
    engine->ops = calloc(op_count, sizeof *engine->ops);
    if (engine->ops == NULL ||
        engine_lanes(engine, options->lane_count != 0 ? options->lane_count : 16) != 0) {
        copies_engine_close(engine);
        return FAIL(-ENOMEM, "opening copies: no memory");
    }
    for (uint32_t i = 0; i < op_count; i++)
        list_push_back(&engine->free_ops, &engine->ops[i].node);
    *ret_engine = engine;
    return 0;
}

void copies_engine_close(struct copies_engine *engine)
{
    if (engine == NULL)
        return;
    assert(list_empty(&engine->volumes));
    if (engine->clock != NULL)
        clock_cancel(engine->clock, &engine->pace_timer);
    free(engine->ops);
    free(engine->lanes);
    free(engine->memory);
    free(engine);
}

/* --- A volume --------------------------------------------------------------------------------- */

static void task_init(struct copies_task *task, struct copies_group *group,
                      enum copies_task_kind kind)
{
    task->group = group;
    task->kind = kind;
    list_init(&task->node);
}

static void group_open(struct copies *copies, struct copies_group *group,
                       const struct copies_group_options *options)
{
    const struct copies_options *of = &copies->options;
    group->copies = copies;
    group->id = options->id;
    group->tick.fire = copies_group_tick;
    list_init(&group->waiting);
    list_init(&group->held);
    task_init(&group->reconcile, group, COPIES_RECONCILE);
    EACH_COPY(copy)
    task_init(&group->resync[copy], group, COPIES_RESYNC);
    replica_init(&group->replica, &of->replica);
    copies_group_ready(group);
    if (copies->of != NULL) {
        group->opened = true;
        replica_view(&group->replica, &options->record, of->bound_ns);
        return;
    }
    struct replica_grant grant = {.record = options->record,
                                  .sequence = of->sequence,
                                  .bound_ns = of->bound_ns,
                                  .old_until_ns = of->old_until_ns};
    grant.record.epoch = of->epoch;
    replica_begin(&group->replica, &grant, clock_now_ns(copies->engine->clock));
}

static int copies_allocate(struct copies *copies, const struct copies_options *options)
{
    uint32_t flushes = copies->of != NULL ? 0 : COPIES_FLUSHES;
    copies->runs = calloc(options->run_count + 1, sizeof *copies->runs);
    copies->group_room = options->group_count + (copies->of != NULL ? 1 : COPIES_GROW_MAX);
    copies->groups = calloc(copies->group_room, sizeof *copies->groups);
    copies->flushes = calloc(COPIES_FLUSHES, sizeof *copies->flushes);
    if (copies->runs == NULL || copies->groups == NULL || copies->flushes == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < copies->group_room; i++)
        list_init(&copies->groups[i].ready);
    for (uint32_t i = 0; i < flushes; i++) {
        struct copies_flush *flush =
            calloc(1, sizeof *flush + copies->group_room * sizeof *flush->parts);
        if (flush == NULL)
            return -ENOMEM;
        copies->flushes[i] = flush;
        flush->copies = copies;
        list_push_back(&copies->free_flushes, &flush->node);
    }
    if (options->run_count > 0)
        memcpy(copies->runs, options->runs, options->run_count * sizeof *copies->runs);
    return 0;
}

void copies_free(struct copies *copies)
{
    list_remove(&copies->node);
    for (uint32_t i = 0; copies->groups != NULL && i < copies->options.group_count; i++) {
        clock_cancel(copies->engine->clock, &copies->groups[i].tick);
        list_remove(&copies->groups[i].ready);
    }
    for (uint32_t i = 0; copies->flushes != NULL && i < COPIES_FLUSHES; i++)
        free(copies->flushes[i]);
    copies_kin_free(copies);
    free(copies->flushes);
    free(copies->groups);
    free(copies->runs);
    free(copies);
}

int copies_make(struct copies_engine *engine, const struct copies_options *options,
                struct copies_kin *of, struct copies **ret_copies)
{
    struct copies *copies = calloc(1, sizeof *copies);
    if (copies == NULL)
        return FAIL(-ENOMEM, "opening volume %llu: no memory", (unsigned long long)options->volume);
    copies->engine = engine;
    copies->options = *options;
    copies->of = of;
    list_init(&copies->node);
    list_init(&copies->kin);
    list_init(&copies->free_flushes);
    list_init(&copies->flushes_waiting);
    copies_pace_set(&copies->pace, options->resync_bytes_per_s, clock_now_ns(engine->clock));
    if (copies_allocate(copies, options) != 0) {
        copies_free(copies);
        return FAIL(-ENOMEM, "opening volume %llu: no memory", (unsigned long long)options->volume);
    }
    list_push_back(&engine->volumes, &copies->node);
    for (uint32_t i = 0; i < options->group_count; i++)
        group_open(copies, &copies->groups[i], &options->groups[i]);
    *ret_copies = copies;
    return 0;
}

int copies_open(struct copies_engine *engine, const struct copies_options *options,
                struct copies **ret_copies)
{
    return copies_make(engine, options, NULL, ret_copies);
}

void copies_close(struct copies *copies, void (*done)(void *context), void *context)
{
    copies->closing = true;
    copies->closed = done;
    copies->closed_context = context;
    copies->told_end = true; /* Who closes need not be told. */
    copies->engine->closes = true;
    copies_end(copies, IOMESH_FENCED);
    copies_kin_close(copies);
}

void copies_lease(struct copies *copies, uint64_t bound_ns)
{
    copies->options.bound_ns = MAX(copies->options.bound_ns, bound_ns);
    copies_kin_lease(copies, bound_ns);
    for (uint32_t i = 0; i < copies->options.group_count; i++) {
        replica_lease(&copies->groups[i].replica, bound_ns);
        copies_ops_retry(&copies->groups[i]);
        copies_group_ready(&copies->groups[i]);
    }
}

/* --- Growing ---------------------------------------------------------------------------------- */

int copies_grow(struct copies *copies, const struct copies_group_options *groups,
                uint32_t group_count, const struct copies_run *runs, uint32_t run_count)
{
    uint32_t count = copies->options.run_count;
    if (copies->options.group_count + group_count > copies->group_room)
        return -ENOBUFS;
    struct copies_run *all = realloc(copies->runs, (count + run_count + 1) * sizeof *all);
    if (all == NULL)
        return -ENOMEM;
    if (run_count > 0)
        memcpy(all + count, runs, run_count * sizeof *all);
    copies->runs = all;
    copies->options.run_count = count + run_count;
    for (uint32_t i = 0; i < group_count; i++)
        group_open(copies, &copies->groups[copies->options.group_count++], &groups[i]);
    return 0;
}

/* --- By number -------------------------------------------------------------------------------- */

static struct copies_group *group_find(const struct copies *copies, uint32_t id)
{
    for (uint32_t i = 0; i < copies->options.group_count; i++) {
        if (copies->groups[i].id == id)
            return &copies->groups[i];
    }
    return NULL;
}

static uint8_t copy_find(const struct copies_group *group, uint64_t store)
{
    EACH_COPY(copy)
    {
        const struct replica_copy *of = &group->replica.copies[copy];
        if (of->state != REPLICA_ABSENT && of->store == store)
            return copy;
    }
    return REPLICA_COPIES_MAX;
}

void copies_transacted(struct copies *copies, uint32_t id, const struct replica_record *record)
{
    struct copies_group *group = group_find(copies, id);
    replica_transacted(&group->replica, record, copies_now(group));
    copies_group_ready(group);
}

void copies_transact_unknown(struct copies *copies, uint32_t id)
{
    struct copies_group *group = group_find(copies, id);
    replica_transact_unknown(&group->replica, copies_now(group));
    copies_group_ready(group);
}

int copies_add(struct copies *copies, uint32_t id, uint64_t store, uint64_t replaces)
{
    struct copies_group *group = group_find(copies, id);
    if (group == NULL)
        return -ENOENT;
    uint8_t leaves = replaces == 0 ? REPLICA_COPIES_MAX : copy_find(group, replaces);
    if (replaces != 0 && leaves == REPLICA_COPIES_MAX)
        return -ENOENT;
    uint8_t copy;
    int result = replica_add(&group->replica, store, leaves, &copy);
    copies_group_ready(group);
    return result;
}

int copies_drop(struct copies *copies, uint32_t id, uint64_t store)
{
    struct copies_group *group = group_find(copies, id);
    uint8_t copy = group == NULL ? REPLICA_COPIES_MAX : copy_find(group, store);
    if (copy == REPLICA_COPIES_MAX)
        return -ENOENT;
    replica_drop(&group->replica, copy);
    replica_tick(&group->replica, copies_now(group)); /* It may be idle, and then has no tick. */
    copies_group_ready(group);
    return 0;
}

bool copies_look(const struct copies *copies, uint32_t id, struct copies_look *ret_look)
{
    const struct copies_group *group = group_find(copies, id);
    if (group == NULL)
        return false;
    *ret_look = (struct copies_look){.replica = &group->replica,
                                     .repaired_blocks = group->repaired_blocks,
                                     .hedged_reads = group->hedged_reads,
                                     .resync_bytes_per_s = copies_pace_seen(group),
                                     .resync_yields = copies_pace_yields(copies->engine)};
    uint64_t of_volume = copies->pace.rate;
    uint64_t of_engine = copies->engine->pace.rate;
    ret_look->resync_limit_bytes_per_s =
        of_volume == 0 || of_engine == 0 ? MAX(of_volume, of_engine) : MIN(of_volume, of_engine);
    EACH_COPY(copy)
    {
        const struct copies_task *task = &group->resync[copy];
        ret_look->resync_copied_bytes += task->copied_bytes;
        ret_look->resync_done_segments += task->segments_done;
        ret_look->resync_total_segments += task->segments_total;
    }
    return true;
}

struct copies_group *copies_group_of(struct copies *copies, uint32_t segment, uint32_t *ret_last)
{
    uint32_t low = 0;
    uint32_t high = copies->options.run_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct copies_run *run = &copies->runs[middle];
        if (segment < run->first) {
            high = middle;
        } else if (segment - run->first >= run->count) {
            low = middle + 1;
        } else {
            *ret_last = run->first + run->count - 1;
            return &copies->groups[run->group];
        }
    }
    return NULL;
}

struct copies_group *copies_group_from(struct copies *copies, uint64_t *block, uint64_t last)
{
    uint32_t end;
    struct copies_group *group = copies_group_of(copies, (uint32_t)(*block / SEGMENT_BLOCKS), &end);
    for (uint32_t i = 0; group == NULL && i < copies->options.run_count; i++) {
        uint64_t first = (uint64_t)copies->runs[i].first * SEGMENT_BLOCKS;
        if (first <= *block || first > last)
            continue;
        *block = first;
        group = &copies->groups[copies->runs[i].group];
    }
    return group;
}

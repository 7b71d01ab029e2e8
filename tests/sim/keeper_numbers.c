/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a keeper's look at 10,000 volumes on 10,000 stores takes, from the records to the plan.
 *
 *   keeper_numbers [DIVISOR]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "keeper/survey.h"
#include "sim/meta_truth.h"
#include "sim/world.h"

#define COUNT 10000u
#define LIMIT_S 1.0

static struct world world;
static struct truth truth;
static struct meta *meta;
static struct stores stores;
static struct survey survey;
static bool waiting;

static void wake(void *context)
{
    (void)context;
}

static double seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 +
           (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
}

static void told(struct meta_request *request, int result)
{
    (void)request;
    waiting = false;
    if (result != 0)
        abort();
}

static void wait_for(void)
{
    while (waiting) {
        (void)meta_poll(meta);
        if (waiting)
            (void)world_step(&world);
    }
}

static struct meta_request batch;
static unsigned batched;

static void batch_end(void)
{
    waiting = true;
    if (meta_commit(meta, &batch, told) != 0)
        abort();
    wait_for();
    meta_request_reset(&batch);
    batched = 0;
}

static void put(struct metadata_key key, struct metadata_bytes *value)
{
    meta_put(&batch, META_SLICE(key), META_SLICE(*value), 0);
    metadata_bytes_done(value);
    if (++batched == 200)
        batch_end();
}

static void put_store(uint64_t id)
{
    struct metadata_store record = {
        .id = id, .bytes = 1ull << 42, .bytes_used = 1ull << 40, .bytes_promised = 1ull << 41};
    struct metadata_bytes value;
    (void)snprintf(record.node, sizeof record.node, "n%llu", (unsigned long long)id / 4);
    (void)snprintf(record.rack, sizeof record.rack, "r%llu", (unsigned long long)id / 64);
    (void)metadata_store_encode(&record, &value);
    put(metadata_store_key(id), &value);
}

static void put_volume(uint64_t id, unsigned count)
{
    struct metadata_volume record = {
        .id = id, .bytes = 4ull << 30, .sector_bytes = 4096, .policy = {.copies = 3}};
    struct metadata_group group = {.volume = id, .generation = 1, .member_count = 3};
    static struct metadata_map map;
    struct metadata_bytes value;
    (void)snprintf(record.name, sizeof record.name, "v%llu", (unsigned long long)id);
    (void)metadata_volume_encode(&record, &value);
    put(metadata_volume_key(id), &value);
    for (unsigned i = 0; i < 3; i++)
        group.members[i].store = 1 + (id * 7 + i * 401) % count;
    if (id % 10 == 0)
        group.members[1].state = METADATA_STALE;
    (void)metadata_group_encode(&group, &value);
    put(metadata_group_key(id, 0), &value);
    map.volume = id;
    map.segment_count = 16;
    (void)metadata_map_encode(&map, &value);
    put(metadata_map_key(id, 0), &value);
}

static void stores_listed(void *context, int result)
{
    (void)context;
    told(NULL, result);
}

static bool store_up(void *context, uint64_t store)
{
    (void)context;
    return store % 100 != 0;
}

static void surveyed(struct survey *of, int result)
{
    (void)of;
    told(NULL, result);
}

int main(int argc, char **argv)
{
    unsigned count = COUNT / (argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1);
    struct truth_options options = {.wait_ns = NS_PER_S, .delay_ns_max = 1, .wakeup = wake};
    world_open(&world, 1);
    truth_init(&truth, &world.clock, 1);
    meta = truth_open(&truth, &options);
    struct metadata_cluster cluster = {.format = 1};
    struct metadata_bytes value;
    (void)metadata_cluster_encode(&cluster, &value);
    put(metadata_cluster_key(), &value);
    for (unsigned i = 1; i <= count; i++)
        put_store(i);
    for (unsigned i = 1; i <= count; i++)
        put_volume(i, count);
    batch_end();
    struct stores_options of = {.meta = meta, .clock = &world.clock};
    waiting = true;
    if (stores_start(&stores, &of, stores_listed) != 0)
        abort();
    wait_for();
    survey.options = (struct survey_options){
        .meta = meta, .clock = &world.clock, .stores = &stores, .up = store_up};
    double began = seconds();
    waiting = true;
    if (survey_start(&survey, surveyed) != 0)
        abort();
    wait_for();
    double took = seconds() - began;
    size_t actions;
    size_t facts;
    (void)plan_actions(survey.plan, &actions);
    (void)plan_facts(survey.plan, &facts);
    printf("%llu volumes, %llu groups, %u stores: %.3f s of a core, the truth's part included; "
           "%zu actions, %zu facts\n",
           (unsigned long long)survey.volumes, (unsigned long long)survey.groups,
           survey.store_count, took, actions, facts);
    bool right = survey.volumes == count && survey.groups == count && actions > 0 &&
                 (argc > 1 || took < LIMIT_S);
    return right ? 0 : 1;
}

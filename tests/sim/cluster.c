/* SPDX-License-Identifier: Apache-2.0 */
/* The whole of it: what goes wrong, and what is true at the end. */
#include "sim/cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOMENT_NS (5 * NS_PER_MS) /* How often something may go wrong. */
#define DISK_BLOCKS 6000u
#define FULL_BLOCKS 560u

bool cluster_wrong(struct cluster *cluster, const char *format, ...)
{
    if (cluster->wrong[0] != '\0')
        return false;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(cluster->wrong, sizeof cluster->wrong, format, arguments);
    va_end(arguments);
    return false;
}

void cluster_say(const struct cluster *cluster, const char *format, ...)
{
    if (!cluster->verbose)
        return;
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "  %llu.%03llu ms ", (unsigned long long)cluster->worlds.now_ns / 1000000,
                  (unsigned long long)cluster->worlds.now_ns / 1000 % 1000);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
}

uint32_t cluster_group_of(uint64_t block)
{
    return (uint32_t)(block / SEGMENT_BLOCKS);
}

/* --- Opening ---------------------------------------------------------------------------------- */

static uint32_t draw_fault(struct cluster *cluster, uint32_t one_in)
{
    return prng_one_in(&cluster->prng, 2)
               ? 0
               : one_in / 2 + (uint32_t)prng_below(&cluster->prng, one_in);
}

static void draw_shape(struct cluster *cluster)
{
    struct prng *prng = &cluster->prng;
    cluster->node_count = prng_one_in(prng, 4) ? 1 + (unsigned)prng_below(prng, CLUSTER_NODES) : 3;
    cluster->copy_count = cluster->node_count;
    cluster->owner_count = 1 + (unsigned)prng_below(prng, CLUSTER_OWNERS);
    cluster->group_count = 1 + (unsigned)prng_below(prng, CLUSTER_GROUPS);
    if (prng_one_in(prng, 4)) { /* Stores that have no copy, for now. */
        cluster->node_count = MIN(cluster->node_count + 1, CLUSTER_NODES);
        cluster->copy_count = 1 + (unsigned)prng_below(prng, cluster->node_count);
    }
    cluster->min_copies = cluster->copy_count > 2 && prng_one_in(prng, 2) ? 2 : 1;
    if (cluster->copy_count > 3 && prng_one_in(prng, 4))
        cluster->min_copies = 3;
    cluster->disk_blocks = DISK_BLOCKS;
    cluster->rot_node = (unsigned)prng_below(prng, cluster->node_count);
    if (prng_one_in(prng, 8)) {
        cluster->full = true;
        cluster->min_copies = 1; /* Else nobody could make room when it is needed. */
        cluster->node_seed = prng_next(prng) | 1;
        cluster->disk_blocks = FULL_BLOCKS + prng_below(prng, FULL_BLOCKS / 4);
        if (cluster->copy_count > 2 && prng_one_in(prng, 2)) { /* Of one store only. */
            cluster->small_blocks = cluster->disk_blocks;
            cluster->disk_blocks *= 4;
            cluster->min_copies = 1 + (unsigned)prng_below(prng, 2);
        }
    }
}

static void cluster_draw(struct cluster *cluster)
{
    draw_shape(cluster);
    cluster->faults = (struct cluster_faults){
        .node_kill = draw_fault(cluster, 60),
        .node_cut = draw_fault(cluster, 80),
        .node_slow = draw_fault(cluster, 100),
        .node_stop = draw_fault(cluster, 120),
        .owner_kill = draw_fault(cluster, 120),
        .owner_stop = draw_fault(cluster, 120),
        .road_cut = draw_fault(cluster, 40),
        .road_reset = draw_fault(cluster, 20),
        .truth_away = draw_fault(cluster, 150),
        .truth_lost = draw_fault(cluster, 20),
        .force = draw_fault(cluster, 6),
        .snapshot = draw_fault(cluster, 30),
        .drop = draw_fault(cluster, 30),
        .jump = draw_fault(cluster, 100),
        .churn = draw_fault(cluster, 40),
        .disk_fail = draw_fault(cluster, 150),
        .rot = prng_one_in(&cluster->prng, 3) ? draw_fault(cluster, 30) : 0,
    };
}

static void cluster_begin(struct cluster *cluster, uint64_t seed)
{
    memset(cluster, 0, sizeof *cluster);
    cluster->seed = seed;
    cluster->prng.state = seed ^ 0x636c7573746572ull;
    worlds_open(&cluster->worlds);
}

static void cluster_make(struct cluster *cluster)
{
    cluster_truth_open(cluster);
    unsigned owners = cluster->owner_count;
    cluster->owner_count = 0; /* Nobody hears of stores before there are roads. */
    for (unsigned i = 0; i < cluster->node_count; i++)
        cluster_node_open(cluster, i);
    for (unsigned i = 0; i < owners; i++)
        cluster_owner_open(cluster, i);
    cluster->owner_count = owners;
}

void cluster_open(struct cluster *cluster, uint64_t seed)
{
    cluster_begin(cluster, seed);
    cluster_draw(cluster);
    cluster_make(cluster);
    uint32_t ppm_max = prng_one_in(&cluster->prng, 4) ? 45000 : 10000;
    for (unsigned i = 0; i < cluster->worlds.count; i++)
        worlds_drift(&cluster->worlds, i,
                     (int32_t)prng_below(&cluster->prng, 2ull * ppm_max) - (int32_t)ppm_max);
    /* What is late in a net comes late, and twice. */
    uint32_t twice = draw_fault(cluster, 100);
    uint32_t slow = draw_fault(cluster, 300);
    uint32_t lost = draw_fault(cluster, 2000);
    for (unsigned i = 0; i < cluster->owner_count; i++) {
        for (unsigned n = 0; n < cluster->node_count; n++) {
            cluster->owners[i].roads[n].faults.twice_one_in = twice;
            cluster->owners[i].roads[n].faults.slow_one_in = slow;
            cluster->owners[i].roads[n].faults.lost_one_in = lost;
        }
    }
}

static void story_begin(struct cluster *cluster, unsigned nodes, unsigned owners)
{
    bool verbose = cluster->verbose;
    cluster_begin(cluster, 1);
    cluster->verbose = verbose;
    cluster->by_hand = true;
    cluster->node_count = cluster->copy_count = nodes;
    cluster->owner_count = owners;
    cluster->group_count = 1;
    cluster->min_copies = 1;
    cluster->disk_blocks = DISK_BLOCKS;
}

void cluster_open_story(struct cluster *cluster, unsigned nodes, unsigned owners)
{
    story_begin(cluster, nodes, owners);
    cluster_make(cluster);
}

void cluster_open_full_story(struct cluster *cluster, uint64_t blocks, uint64_t small)
{
    story_begin(cluster, 3, 1);
    cluster->full = true;
    cluster->node_seed = 1;
    cluster->disk_blocks = blocks;
    cluster->small_blocks = small;
    cluster_make(cluster);
}

uint8_t cluster_state_of(const struct cluster *cluster, uint32_t group, unsigned node)
{
    const struct replica_record *record = &cluster->truth.groups[group];
    for (unsigned i = 0; i < REPLICA_COPIES_MAX; i++) {
        if (record->members[i].state != REPLICA_ABSENT && record->members[i].store == node + 1)
            return record->members[i].state;
    }
    return REPLICA_ABSENT;
}

/* --- Time ------------------------------------------------------------------------------------ */

void cluster_calm(struct cluster *cluster)
{
    cluster->calm = true;
    cluster->calm_ns = cluster->worlds.now_ns;
    cluster->truth.away = false;
    cluster->by_hand = false;
    cluster->faults = (struct cluster_faults){.node_cut = cluster->faults.node_cut};
    for (unsigned i = 0; i < cluster->owner_count; i++) {
        cluster->owners[i].cut_off = cluster->owners[i].deaf = false;
        for (unsigned n = 0; n < cluster->node_count; n++) {
            struct road *road = &cluster->owners[i].roads[n];
            road->faults.twice_one_in = road->faults.slow_one_in = road->faults.lost_one_in = 0;
            road_cut(road, false, false);
        }
    }
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct sim_faults *faults = &cluster->nodes[i].disk->faults;
        faults->slow_one_in = faults->write_error_one_in = faults->flush_error_one_in = 0;
    }
    cluster_come_back(cluster);
}

bool cluster_step(struct cluster *cluster)
{
    uint64_t until = (cluster->worlds.now_ns / MOMENT_NS + 1) * MOMENT_NS;
    int went = worlds_step(&cluster->worlds, until);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if (went == (int)cluster->nodes[i].machine)
            cluster_node_turn(&cluster->nodes[i]);
    }
    for (unsigned i = 0; i < cluster->owner_count; i++) {
        if (went == (int)cluster->owners[i].machine)
            cluster_owner_turn(&cluster->owners[i]);
    }
    if (went < 0) {
        if (!cluster->calm && !cluster->by_hand)
            cluster_moment(cluster);
        cluster_come_back(cluster);
        for (unsigned i = 0; i < cluster->node_count; i++) {
            if (!cluster->worlds.stopped[cluster->nodes[i].machine])
                cluster_node_turn(&cluster->nodes[i]);
        }
        for (unsigned i = 0; i < cluster->owner_count; i++) {
            if (!cluster->worlds.stopped[cluster->owners[i].machine])
                cluster_owner_turn(&cluster->owners[i]);
        }
    }
    return cluster->wrong[0] == '\0';
}

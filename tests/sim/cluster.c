/* SPDX-License-Identifier: Apache-2.0 */
/* The whole of it: what goes wrong, and what is true at the end. */
#include "sim/cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOMENT_NS (5 * NS_PER_MS) /* How often something may go wrong. */
#define CALM_NS (20 * NS_PER_S)   /* Within this all is well again. */

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

static void cluster_draw(struct cluster *cluster)
{
    struct prng *prng = &cluster->prng;
    cluster->node_count = prng_one_in(prng, 4) ? 1 + (unsigned)prng_below(prng, CLUSTER_NODES) : 3;
    cluster->owner_count = 1 + (unsigned)prng_below(prng, CLUSTER_OWNERS);
    cluster->group_count = 1 + (unsigned)prng_below(prng, CLUSTER_GROUPS);
    cluster->min_copies = cluster->node_count > 2 && prng_one_in(prng, 2) ? 2 : 1;
    cluster->faults = (struct cluster_faults){
        .node_kill = draw_fault(cluster, 60),
        .node_cut = draw_fault(cluster, 80),
        .node_slow = draw_fault(cluster, 100),
        .owner_kill = draw_fault(cluster, 120),
        .owner_stop = draw_fault(cluster, 120),
        .road_cut = draw_fault(cluster, 40),
        .road_reset = draw_fault(cluster, 20),
        .truth_away = draw_fault(cluster, 150),
        .truth_lost = draw_fault(cluster, 20),
        .force = draw_fault(cluster, 6),
        .snapshot = draw_fault(cluster, 30),
    };
}

void cluster_open(struct cluster *cluster, uint64_t seed)
{
    memset(cluster, 0, sizeof *cluster);
    cluster->seed = seed;
    cluster->prng.state = seed ^ 0x636c7573746572ull;
    worlds_open(&cluster->worlds);
    cluster_draw(cluster);
    cluster_truth_open(cluster);
    unsigned owners = cluster->owner_count;
    cluster->owner_count = 0; /* Nobody hears of stores before there are roads. */
    for (unsigned i = 0; i < cluster->node_count; i++)
        cluster_node_open(cluster, i);
    for (unsigned i = 0; i < owners; i++)
        cluster_owner_open(cluster, i);
    cluster->owner_count = owners;
    for (unsigned i = 0; i < cluster->worlds.count; i++)
        worlds_drift(&cluster->worlds, i, (int32_t)prng_below(&cluster->prng, 20000) - 10000);
}

/* --- What goes wrong -------------------------------------------------------------------------- */

static struct cluster_node *any_node(struct cluster *cluster)
{
    return &cluster->nodes[prng_below(&cluster->prng, cluster->node_count)];
}

static struct cluster_owner *any_owner(struct cluster *cluster)
{
    return &cluster->owners[prng_below(&cluster->prng, cluster->owner_count)];
}

static struct road *any_road(struct cluster *cluster)
{
    struct cluster_owner *owner = any_owner(cluster);
    return &owner->roads[prng_below(&cluster->prng, cluster->node_count)];
}

/* Has somebody else whose power did not go all of each group? */
static bool power_safe(const struct cluster *cluster, uint32_t dying)
{
    for (unsigned g = 0; g < cluster->group_count; g++) {
        bool safe = false;
        for (unsigned i = 0; i < cluster->node_count; i++)
            safe = safe || (cluster->truth.groups[g].members[i].state == REPLICA_IN_SYNC &&
                            (dying >> i & 1) == 0 && (cluster->nodes[i].lossy >> g & 1) == 0);
        if (!safe)
            return false;
    }
    return true;
}

static void power_goes(struct cluster *cluster, uint32_t dying)
{
    if (!power_safe(cluster, dying))
        cluster_lose(cluster);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if ((dying >> i & 1) != 0)
            cluster->nodes[i].lossy = UINT32_MAX;
    }
}

static void node_dies(struct cluster *cluster, bool power)
{
    struct prng *prng = &cluster->prng;
    bool all = prng_one_in(prng, 10);
    struct cluster_node *one = any_node(cluster);
    uint32_t dying = 0;
    for (unsigned i = 0; i < cluster->node_count; i++)
        dying |= (all || &cluster->nodes[i] == one) && cluster->nodes[i].runs ? 1u << i : 0;
    if (power)
        power_goes(cluster, dying);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if ((dying >> i & 1) == 0)
            continue;
        cluster_say(cluster, "node %u %s", i, power ? "loses its power" : "is killed");
        cluster_node_die(node, power, power && prng_one_in(prng, 2));
        node->back_ns = cluster->worlds.now_ns + prng_below(prng, 2 * NS_PER_S);
        cluster->counts.node_kills += power ? 0 : 1;
        cluster->counts.node_cuts += power ? 1 : 0;
    }
}

static void nodes_come_back(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (!node->runs && (cluster->calm || node->back_ns <= cluster->worlds.now_ns))
            cluster_node_start(node);
    }
    for (unsigned i = 0; i < cluster->owner_count; i++) {
        struct cluster_owner *owner = &cluster->owners[i];
        if (cluster->calm || owner->stopped_until_ns <= cluster->worlds.now_ns)
            cluster->worlds.stopped[owner->machine] = false;
    }
}

static void moment(struct cluster *cluster)
{
    const struct cluster_faults *faults = &cluster->faults;
    struct prng *prng = &cluster->prng;
    if (prng_one_in(prng, faults->node_kill))
        node_dies(cluster, false);
    if (prng_one_in(prng, faults->node_cut))
        node_dies(cluster, true);
    if (prng_one_in(prng, faults->node_slow))
        any_node(cluster)->disk->faults.slow_one_in = (uint32_t)prng_below(prng, 4);
    if (prng_one_in(prng, faults->owner_kill)) {
        cluster_owner_die(any_owner(cluster));
        cluster->counts.owner_kills++;
    }
    if (prng_one_in(prng, faults->owner_stop)) {
        struct cluster_owner *owner = any_owner(cluster);
        cluster->worlds.stopped[owner->machine] = true;
        owner->stopped_until_ns = cluster->worlds.now_ns + prng_below(prng, 2 * CLUSTER_TTL_NS);
        cluster->counts.owner_stops++;
    }
    if (prng_one_in(prng, faults->road_cut))
        road_cut(any_road(cluster), prng_one_in(prng, 2), prng_one_in(prng, 2));
    if (prng_one_in(prng, faults->road_reset))
        road_reset(any_road(cluster));
    if (prng_one_in(prng, faults->truth_away))
        cluster->truth.away = prng_one_in(prng, 2);
    if (prng_one_in(prng, faults->snapshot))
        cluster_owner_cut(any_owner(cluster));
}

void cluster_calm(struct cluster *cluster)
{
    cluster->calm = true;
    cluster->calm_ns = cluster->worlds.now_ns;
    cluster->truth.away = false;
    cluster->faults = (struct cluster_faults){.node_cut = cluster->faults.node_cut};
    for (unsigned i = 0; i < cluster->owner_count; i++) {
        for (unsigned n = 0; n < cluster->node_count; n++)
            road_cut(&cluster->owners[i].roads[n], false, false);
    }
    for (unsigned i = 0; i < cluster->node_count; i++)
        cluster->nodes[i].disk->faults.slow_one_in = 0;
    nodes_come_back(cluster);
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
        if (!cluster->calm)
            moment(cluster);
        nodes_come_back(cluster);
        for (unsigned i = 0; i < cluster->node_count; i++)
            cluster_node_turn(&cluster->nodes[i]);
        for (unsigned i = 0; i < cluster->owner_count; i++) {
            if (!cluster->worlds.stopped[cluster->owners[i].machine])
                cluster_owner_turn(&cluster->owners[i]);
        }
    }
    return cluster->wrong[0] == '\0';
}

/* --- What is true at the end ------------------------------------------------------------------ */

static struct cluster_owner *owner_open(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->owner_count; i++) {
        if (cluster->owners[i].state == OWNER_OPEN &&
            cluster->owners[i].epoch == cluster->truth.epoch)
            return &cluster->owners[i];
    }
    return NULL;
}

static bool all_in_sync(const struct cluster *cluster)
{
    for (unsigned g = 0; g < cluster->group_count; g++) {
        for (unsigned i = 0; i < cluster->node_count; i++) {
            if (cluster->truth.groups[g].members[i].state != REPLICA_IN_SYNC)
                return false;
        }
    }
    return true;
}

static bool owner_busy(const struct cluster_owner *owner)
{
    if (owner->holding || owner->cutting)
        return true;
    for (unsigned i = 0; i < CLUSTER_REQUESTS; i++) {
        if (owner->requests[i].busy)
            return true;
    }
    return false;
}

static bool judge_wait(struct cluster *cluster, const char *what, bool (*well)(struct cluster *))
{
    uint64_t until = cluster->worlds.now_ns + CALM_NS;
    while (!well(cluster)) {
        if (!cluster_step(cluster))
            return false;
        if (cluster->worlds.now_ns > until)
            return cluster_wrong(cluster, "%s: not within %llu s", what, CALM_NS / NS_PER_S);
    }
    return true;
}

static bool well_open(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if (!cluster->nodes[i].ready)
            return false;
    }
    return owner_open(cluster) != NULL && all_in_sync(cluster);
}

static bool well_idle(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->owner_count; i++) {
        if (owner_busy(&cluster->owners[i]))
            return false;
    }
    return true;
}

struct ask {
    struct part_request request;
    struct part_version versions[PART_BLOCKS_MAX];
    uint32_t crcs[PART_BLOCKS_MAX];
    uint8_t *data;
    bool flying;
    int result;
};

static void asked(struct part_request *request, int result)
{
    struct ask *ask = CONTAINER_OF(request, struct ask, request);
    ask->flying = false;
    ask->result = result;
}

/* Of a node itself, past all roads. Who took the volume meanwhile is waited for. */
static bool ask_once(struct cluster_node *node, struct ask *ask)
{
    ask->request.epoch = node->cluster->truth.epoch;
    ask->request.generation = node->cluster->truth.groups[ask->request.group].generation;
    ask->flying = true;
    ask->request.done = asked;
    part_submit(store_port(node->store), &ask->request);
    cluster_node_turn(node);
    for (unsigned steps = 0; ask->flying; steps++) {
        if (steps > 10000 || !cluster_step(node->cluster))
            return cluster_wrong(node->cluster, "node %u does not answer", node->number);
        cluster_node_turn(node);
    }
    return true;
}

static bool ask_node(struct cluster_node *node, struct ask *ask)
{
    for (unsigned tries = 0; tries < 5; tries++) {
        if (!ask_once(node, ask))
            return false;
        if (ask->result != IOMESH_FENCED && ask->result != IOMESH_CONFLICT)
            break;
        if (!judge_wait(node->cluster, "all in sync again", well_open))
            return false;
    }
    if (ask->result != 0)
        return cluster_wrong(
            node->cluster,
            "node %u, request %d, view %llu, block %llu: %d (fence %llu, truth %llu)", node->number,
            (int)ask->request.kind, (unsigned long long)ask->request.view,
            (unsigned long long)ask->request.block, ask->result,
            (unsigned long long)ask->request.state.epoch,
            (unsigned long long)node->cluster->truth.epoch);
    return true;
}

static struct ask asks[CLUSTER_NODES];

static bool judge_block(struct cluster *cluster, uint32_t index, uint64_t view, uint64_t at_ns)
{
    uint64_t block = cluster_block(index);
    uint32_t group = cluster_group_of(block) % cluster->group_count;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct ask *ask = &asks[i];
        if (ask->data == NULL)
            ask->data = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
        ask->request = (struct part_request){.kind = PART_READ,
                                             .volume = CLUSTER_VOLUME,
                                             .group = group,
                                             .settle = true,
                                             .view = view,
                                             .block = block,
                                             .count = 1,
                                             .data = ask->data,
                                             .crcs = ask->crcs,
                                             .versions = ask->versions};
        if (!ask_node(&cluster->nodes[i], ask))
            return false;
        const struct part_version *one = &asks[0].versions[0];
        const struct part_version *other = &ask->versions[0];
        bool same = memcmp(asks[0].data, ask->data, BLOCK_BYTES) == 0 &&
                    one->sequence == other->sequence && one->kind == other->kind;
        if (!same)
            return cluster_wrong(
                cluster,
                "register %u, view %llu: node 0 has sequence %llu, kind %u, node %u "
                "has %llu, kind %u",
                index, (unsigned long long)view, (unsigned long long)one->sequence, one->kind, i,
                (unsigned long long)other->sequence, other->kind);
    }
    struct history_op op = {.cell = index, .begun = at_ns, .ended = at_ns};
    if (!cluster_value(cluster, asks[0].data, &op.value))
        return false;
    (void)cluster_note(cluster, &op);
    return true;
}

static bool judge_history(struct cluster *cluster)
{
    const struct history_op *at = NULL;
    enum history_fault fault = history_check(cluster->history, cluster->history_count, &at);
    if (fault == HISTORY_FINE)
        return true;
    for (size_t i = 0; cluster->verbose && i < cluster->history_count; i++) {
        const struct history_op *op = &cluster->history[i];
        if (op->cell == at->cell)
            (void)fprintf(stderr, "      %s %6llu  %llu .. %llu\n", op->write ? "write" : "read ",
                          (unsigned long long)op->value, (unsigned long long)op->begun,
                          (unsigned long long)op->ended);
    }
    return cluster_wrong(cluster, "register %u, value %llu: %s", at->cell,
                         (unsigned long long)at->value, history_fault_text(fault));
}

/* Only what the truth knows of is kept. */
static bool judge_views(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        for (unsigned g = 0; g < cluster->group_count; g++) {
            struct ask *ask = &asks[i];
            ask->request = (struct part_request){.kind = PART_VIEWS,
                                                 .volume = CLUSTER_VOLUME,
                                                 .group = g,
                                                 .cuts = cluster->truth.cuts,
                                                 .cut_count = cluster->truth.cut_count};
            if (!ask_node(&cluster->nodes[i], ask))
                return false;
        }
    }
    return true;
}

/* Long enough for who is silent to be noticed. */
static bool well_rested(struct cluster *cluster)
{
    return cluster->worlds.now_ns >= cluster->calm_ns + NS_PER_S && well_open(cluster);
}

bool cluster_judge(struct cluster *cluster)
{
    if (!judge_wait(cluster, "all in sync", well_rested))
        return false;
    cluster->quiet = true;
    if (!judge_wait(cluster, "nothing under way", well_idle) ||
        !judge_wait(cluster, "all in sync again", well_open))
        return false;
    for (uint32_t r = 0; r < CLUSTER_REGISTERS; r++) {
        if (!judge_block(cluster, r, VIEW_HEAD, cluster->worlds.now_ns))
            return false;
        for (uint32_t c = 0; c < cluster->truth.cut_count; c++) {
            if (!judge_block(cluster, r, cluster->truth.cuts[c], cluster->truth.cut_times[c]))
                return false;
        }
    }
    if (!judge_history(cluster) || !judge_views(cluster))
        return false;
    for (unsigned i = 0; i < cluster->owner_count; i++)
        cluster->worlds.stopped[cluster->owners[i].machine] = true;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if (!cluster_node_prove(&cluster->nodes[i]))
            return false;
    }
    return true;
}

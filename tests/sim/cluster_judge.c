/* SPDX-License-Identifier: Apache-2.0 */
/* What is true at the end. */
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "format/pointer.h"
#include "sim/cluster.h"

#define CALM_NS (20 * NS_PER_S) /* Within this all is well again. */

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
            uint8_t state = cluster_state_of(cluster, g, i);
            if (state != REPLICA_ABSENT && state != REPLICA_IN_SYNC)
                return false;
        }
    }
    return true;
}

static bool owner_busy(const struct cluster_owner *owner)
{
    if (owner->holding || owner->cutting || owner->dropping || owner->views_flying != 0)
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
    alignas(BLOCK_BYTES) uint8_t data[BLOCK_BYTES];
    struct part_request request;
    struct part_version versions[PART_BLOCKS_MAX];
    uint32_t crcs[PART_BLOCKS_MAX];
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
    bool rotten = ask->result == IOMESH_CORRUPT && ask->request.kind == PART_READ &&
                  node->cluster->rot_count > 0;
    if (ask->result != 0 && !rotten)
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

static bool judge_read(struct cluster *cluster, unsigned number, uint32_t group, uint64_t block,
                       uint64_t view)
{
    struct ask *ask = &asks[number];
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
    return ask_node(&cluster->nodes[number], ask);
}

static bool is_empty(const struct ask *ask)
{
    return ask->versions[0].kind == POINTER_HOLE || ask->versions[0].kind == POINTER_ZERO;
}

/* The same version; and the same data, if both can be read. Zeros over zeros may be no change: a
 * store that has them, or is full, leaves them as they are. */
static bool judge_same(struct cluster *cluster, const struct ask *one, const struct ask *other,
                       uint32_t index, uint64_t view)
{
    bool readable = one->result == 0 && other->result == 0;
    bool same = one->versions[0].sequence == other->versions[0].sequence;
    if (is_empty(one) && is_empty(other))
        return true;
    if (readable)
        same = same && one->versions[0].kind == other->versions[0].kind &&
               memcmp(one->data, other->data, BLOCK_BYTES) == 0;
    return same ||
           cluster_wrong(cluster,
                         "register %u, view %llu: node %u has sequence %llu, kind %u, node %u has "
                         "%llu, kind %u",
                         index, (unsigned long long)view, (unsigned)(one - asks),
                         (unsigned long long)one->versions[0].sequence, one->versions[0].kind,
                         (unsigned)(other - asks), (unsigned long long)other->versions[0].sequence,
                         other->versions[0].kind);
}

static bool judge_block(struct cluster *cluster, uint32_t index, uint64_t view, uint64_t at_ns)
{
    uint64_t block = cluster_block(index);
    uint32_t group = cluster_group_of(block) % cluster->group_count;
    const struct ask *first = NULL;
    const struct ask *good = NULL;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if (cluster_state_of(cluster, group, i) == REPLICA_ABSENT)
            continue;
        if (!judge_read(cluster, i, group, block, view))
            return false;
        if (first != NULL &&
            !judge_same(cluster, good != NULL ? good : first, &asks[i], index, view))
            return false;
        first = first != NULL ? first : &asks[i];
        good = good == NULL && asks[i].result == 0 ? &asks[i] : good;
    }
    if (good == NULL)
        return cluster_may_be_bad(cluster, index) ||
               cluster_wrong(cluster,
                             "register %u, view %llu: nobody can read it, and somebody could",
                             index, (unsigned long long)view);
    struct history_op op = {.cell = index, .begun = at_ns, .ended = at_ns};
    if (!cluster_value(cluster, good->data, &op.value))
        return false;
    (void)cluster_note(cluster, &op);
    cluster->counts.cuts_read += view != VIEW_HEAD ? 1 : 0;
    return true;
}

/* Only what the truth knows of is kept. */
static bool judge_views(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        for (unsigned g = 0; g < cluster->group_count; g++) {
            struct ask *ask = &asks[i];
            if (cluster_state_of(cluster, g, i) == REPLICA_ABSENT)
                continue;
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

static void judge_count(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->owner_count; i++) {
        if (cluster->owners[i].state == OWNER_OPEN)
            cluster_owner_count(&cluster->owners[i]);
        for (unsigned n = 0; n < cluster->node_count; n++) {
            const struct road_counts *counts = &cluster->owners[i].roads[n].counts;
            cluster->counts.stalls += counts->stalls;
            cluster->counts.resets += counts->resets;
            cluster->counts.late += counts->late;
        }
    }
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
    if (!cluster_judge_history(cluster) || !judge_views(cluster))
        return false;
    judge_count(cluster);
    for (unsigned i = 0; i < cluster->owner_count; i++)
        cluster->worlds.stopped[cluster->owners[i].machine] = true;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if (!cluster_node_prove(&cluster->nodes[i]))
            return false;
    }
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* How a story of the cluster is told: what is asked, what is waited for, who goes and comes. */
#include "sim/cluster_tell.h"

bool tell_well(const struct cluster *cluster)
{
    return cluster->wrong[0] == '\0';
}

void tell_wait_ms(struct cluster *cluster, uint64_t ms)
{
    uint64_t until = cluster->worlds.now_ns + ms * NS_PER_MS;
    while (tell_well(cluster) && cluster->worlds.now_ns < until)
        (void)cluster_step(cluster);
}

void tell_wait_for(struct cluster *cluster, const char *what, tell_holds_fn *holds)
{
    uint64_t until = cluster->worlds.now_ns + 5 * NS_PER_S;
    while (tell_well(cluster) && !holds(cluster)) {
        (void)cluster_step(cluster);
        if (cluster->worlds.now_ns > until)
            (void)cluster_wrong(cluster, "the story does not get there: %s", what);
    }
}

void tell_expect(struct cluster *cluster, bool holds, const char *what)
{
    if (!holds)
        (void)cluster_wrong(cluster, "the story does not get there: %s", what);
}

void tell_cut_both(struct cluster *cluster, unsigned owner, unsigned node, bool is)
{
    road_cut(&cluster->owners[owner].roads[node], is, is);
}

static bool first_opened(struct cluster *cluster)
{
    return cluster->owners[0].state == OWNER_OPEN;
}

static bool second_opened(struct cluster *cluster)
{
    return cluster->owners[1].state == OWNER_OPEN;
}

void tell_open_volume(struct cluster *cluster, unsigned owner)
{
    cluster->owners[owner].wants = true;
    tell_wait_for(cluster, "somebody opens the volume", owner == 0 ? first_opened : second_opened);
}

void tell_begin(struct cluster *cluster, unsigned owner, unsigned slot, enum volume_io_kind kind,
                uint32_t first, uint32_t count)
{
    struct cluster_owner *of = &cluster->owners[owner];
    if (!tell_well(cluster))
        return;
    tell_expect(cluster, of->state == OWNER_OPEN && !of->requests[slot].busy, "it can be asked");
    if (tell_well(cluster))
        cluster_request_start(of, &of->requests[slot], kind, 0, first, count);
}

void tell_ask(struct cluster *cluster, unsigned owner, enum volume_io_kind kind, uint32_t first,
              uint32_t count)
{
    tell_begin(cluster, owner, 0, kind, first, count);
    for (unsigned ms = 0; cluster->owners[owner].requests[0].busy && ms < 3000; ms++)
        tell_wait_ms(cluster, 1);
    tell_expect(cluster, !cluster->owners[owner].requests[0].busy, "an answer");
}

void tell_write_all(struct cluster *cluster, unsigned owner)
{
    for (uint32_t first = 0; first < CLUSTER_REGISTERS; first += 16)
        tell_ask(cluster, owner, VOLUME_WRITE, first, 16);
}

void tell_flush(struct cluster *cluster, unsigned owner)
{
    tell_ask(cluster, owner, VOLUME_FLUSH, 0, 0);
}

void tell_node_stops(struct cluster *cluster, unsigned node)
{
    cluster_node_die(&cluster->nodes[node], false, false);
    cluster->nodes[node].back_ns = UINT64_MAX;
}

void tell_node_starts(struct cluster *cluster, unsigned node)
{
    cluster->nodes[node].back_ns = 0;
}

void tell_read_all(struct cluster *cluster, unsigned owner)
{
    for (uint32_t first = 0; first < CLUSTER_REGISTERS; first += 16)
        tell_ask(cluster, owner, VOLUME_READ, first, 16);
}

bool tell_first_stale(struct cluster *cluster)
{
    return cluster_state_of(cluster, 0, 0) == REPLICA_STALE;
}

bool tell_first_in_sync(struct cluster *cluster)
{
    return cluster_state_of(cluster, 0, 0) == REPLICA_IN_SYNC;
}

struct copies_group *tell_group_of(struct cluster *cluster, unsigned owner)
{
    return &cluster->owners[owner].copies->groups[0];
}

void tell_wait_state(struct cluster *cluster, unsigned node, uint8_t state)
{
    uint64_t until = cluster->worlds.now_ns + 5 * NS_PER_S;
    while (tell_well(cluster) && cluster_state_of(cluster, 0, node) != state) {
        (void)cluster_step(cluster);
        if (cluster->worlds.now_ns > until)
            tell_expect(cluster, false, "a copy gets into a state");
    }
}

void tell_hold(struct cluster *cluster, unsigned owner, unsigned node, uint32_t kinds)
{
    road_hold(&cluster->owners[owner].roads[node], kinds, 0);
}

void tell_release(struct cluster *cluster, unsigned owner, unsigned node)
{
    road_release(&cluster->owners[owner].roads[node]);
}

void tell_node_loses_power(struct cluster *cluster, unsigned node)
{
    cluster_power_goes(cluster, 1u << node);
    cluster->nodes[node].disk->faults.cut_drops_all = true;
    cluster_node_die(&cluster->nodes[node], true, false);
    cluster->nodes[node].disk->faults.cut_drops_all = false;
    cluster->nodes[node].back_ns = UINT64_MAX;
}

/* It does not come back by itself. */
void tell_owner_dies(struct cluster *cluster, unsigned owner)
{
    cluster->owners[owner].wants = cluster->owners[owner].forces = false;
    cluster_owner_die(&cluster->owners[owner]);
}

static bool first_catches(struct cluster *cluster, uint8_t how)
{
    for (unsigned i = 0; i < cluster->owner_count; i++) {
        if (cluster->owners[i].state == OWNER_OPEN &&
            tell_group_of(cluster, i)->replica.copies[0].catches == how)
            return true;
    }
    return false;
}

bool tell_first_copies(struct cluster *cluster)
{
    return first_catches(cluster, REPLICA_COPYING);
}

bool tell_first_joins(struct cluster *cluster)
{
    return first_catches(cluster, REPLICA_JOINING);
}

void tell_try(struct cluster *cluster, unsigned owner, unsigned slot, enum volume_io_kind kind,
              uint32_t first)
{
    if (cluster->owners[owner].state == OWNER_OPEN)
        tell_begin(cluster, owner, slot, kind, first, 1);
}

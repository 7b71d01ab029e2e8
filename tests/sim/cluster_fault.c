/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong, and how what went wrong comes back. */
#include "sim/cluster.h"

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

static bool node_whole(const struct cluster *cluster, uint32_t group, unsigned node)
{
    return cluster_state_of(cluster, group, node) == REPLICA_IN_SYNC &&
           (cluster->nodes[node].lossy >> group & 1) == 0;
}

static bool others_whole(const struct cluster *cluster, uint32_t group, unsigned but)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if (i != but && node_whole(cluster, group, i))
            return true;
    }
    return false;
}

void cluster_count_alone(struct cluster *cluster)
{
    for (uint32_t group = 0; group < cluster->group_count; group++) {
        for (unsigned i = 0; i < cluster->node_count; i++)
            cluster->alone[group][i] += others_whole(cluster, group, i) ? 0 : 1;
    }
}

bool cluster_may_be_bad(const struct cluster *cluster, uint32_t cell)
{
    for (uint32_t i = 0; i < cluster->rot_count; i++) {
        const struct cluster_rot *rot = &cluster->rots[i];
        if (rot->cell == cell && cluster->alone[rot->group][rot->node] != rot->alone)
            return true;
    }
    return false;
}

/* Has somebody else whose power did not go all of each group? */
static bool power_safe(const struct cluster *cluster, uint32_t dying)
{
    for (unsigned g = 0; g < cluster->group_count; g++) {
        bool safe = false;
        for (unsigned i = 0; i < cluster->node_count; i++)
            safe = safe || ((dying >> i & 1) == 0 && node_whole(cluster, g, i));
        if (!safe)
            return false;
    }
    return true;
}

void cluster_power_goes(struct cluster *cluster, uint32_t dying)
{
    if (!power_safe(cluster, dying))
        cluster_lose(cluster);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if ((dying >> i & 1) != 0)
            cluster->nodes[i].lossy = UINT32_MAX;
    }
    cluster_count_alone(cluster);
}

static bool disk_is_bad(const struct cluster_node *node)
{
    const struct sim_faults *faults = &node->disk->faults;
    return node->failed || faults->write_error_one_in != 0 || faults->flush_error_one_in != 0;
}

bool cluster_disk_is_bad(const struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if (disk_is_bad(&cluster->nodes[i]))
            return true;
    }
    return false;
}

/* Whose disk failed is turned off before it is used again. */
static bool may_die(const struct cluster_node *node, bool power)
{
    return node->runs && (power || !disk_is_bad(node));
}

static void node_dies(struct cluster *cluster, bool power)
{
    struct prng *prng = &cluster->prng;
    bool all = prng_one_in(prng, 10);
    struct cluster_node *one = any_node(cluster);
    uint32_t dying = 0;
    for (unsigned i = 0; i < cluster->node_count; i++)
        dying |=
            (all || &cluster->nodes[i] == one) && may_die(&cluster->nodes[i], power) ? 1u << i : 0;
    if (power)
        cluster_power_goes(cluster, dying);
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

/* Whoever runs it sees that the disk failed, mends it, and turns the machine off and on again, or
 * starts the process alone. */
static void node_mended(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    struct sim_faults *faults = &node->disk->faults;
    bool power = (cluster->counts.disks_failed & 1) != 0;
    cluster_say(cluster, "node %u: its disk failed; %s", node->number,
                power ? "off and on again" : "its process is started again");
    cluster_power_goes(cluster, 1u << node->number);
    faults->write_error_one_in = faults->flush_error_one_in = 0;
    cluster_node_die(node, power, false);
    node->back_ns = 0;
}

void cluster_come_back(struct cluster *cluster)
{
    uint64_t now = cluster->worlds.now_ns;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        bool time = cluster->calm || node->back_ns <= now;
        if (cluster->calm || node->stopped_until_ns <= now)
            cluster->worlds.stopped[node->machine] = false;
        if (node->runs && node->failed && time)
            node_mended(node);
        if (!node->runs && time)
            cluster_node_start(node);
    }
    for (unsigned i = 0; i < cluster->owner_count; i++) {
        struct cluster_owner *owner = &cluster->owners[i];
        if (cluster->calm || owner->stopped_until_ns <= now)
            cluster->worlds.stopped[owner->machine] = false;
    }
}

/* Its clock goes on, its disk does not: a disk that hangs looks no different. */
static void node_stands_still(struct cluster *cluster)
{
    struct cluster_node *node = any_node(cluster);
    cluster->worlds.stopped[node->machine] = true;
    node->stopped_until_ns =
        cluster->worlds.now_ns + prng_below(&cluster->prng, 2 * CLUSTER_TTL_NS);
    cluster->counts.node_stops++;
}

/* --- Disks ------------------------------------------------------------------------------------ */

static void disk_fails(struct cluster *cluster)
{
    struct cluster_node *node = any_node(cluster);
    if (!node->ready || node->failed)
        return;
    struct sim_faults *faults = &node->disk->faults;
    if (prng_one_in(&cluster->prng, 2))
        faults->write_error_one_in = 5;
    else
        faults->flush_error_one_in = 1;
}

static bool place_shows(const struct sim_disk *disk, uint64_t block, uint64_t value)
{
    uint64_t words[4];
    sim_disk_peek(disk, block * BLOCK_BYTES + 1024, sizeof words, words);
    return words[0] == value && words[1] == value && words[2] == value && words[3] == value;
}

/* Answers how many bits flipped: `bits`, of the disk. */
static uint32_t value_rots(struct cluster *cluster, unsigned number, uint64_t value,
                           uint64_t bits[CLUSTER_PLACES])
{
    struct sim_disk *disk = cluster->nodes[number].disk;
    uint32_t count = 0;
    for (uint64_t block = 0; block < disk->disk.size_bytes / BLOCK_BYTES; block++) {
        if (place_shows(disk, block, value) && count < CLUSTER_PLACES)
            bits[count++] = sim_disk_rot(disk, block * BLOCK_BYTES, BLOCK_BYTES);
    }
    cluster->counts.rotten += count > 0 ? 1 : 0;
    return count;
}

bool cluster_rot(struct cluster *cluster, unsigned number, uint64_t value)
{
    uint64_t bits[CLUSTER_PLACES];
    return value_rots(cluster, number, value, bits) > 0;
}

void cluster_rot_spares(struct cluster *cluster, unsigned number)
{
    struct sim_disk *disk = cluster->nodes[number].disk;
    for (uint32_t i = 0; i < cluster->rot_count; i++) {
        struct cluster_rot *rot = &cluster->rots[i];
        if (rot->node != number || rot->written_ns + NS_PER_S < cluster->worlds.now_ns)
            continue;
        for (uint32_t b = 0; b < rot->bit_count; b++) {
            uint64_t bit = rot->bits[b];
            uint8_t byte;
            if (!place_shows(disk, bit / 8 / BLOCK_BYTES, rot->value))
                continue; /* Something else is there by now. */
            sim_disk_peek(disk, bit / 8, 1, &byte);
            byte ^= (uint8_t)(1u << bit % 8);
            sim_disk_poke(disk, bit / 8, 1, &byte);
        }
        rot->bit_count = 0;
    }
}

/* Of one node only, and not of what nobody else in sync has. Where nothing was flushed since, it
 * looks like a write that the power interrupted: a process that starts again drops it. */
static void block_rots(struct cluster *cluster)
{
    unsigned number = cluster->rot_node;
    if (cluster->next_value == 0 || cluster->rot_count == CLUSTER_ROTS)
        return;
    uint64_t value =
        cluster->next_value - prng_below(&cluster->prng, MIN(cluster->next_value, 200u));
    for (size_t i = cluster->history_count; i-- > 0;) {
        const struct history_op *op = &cluster->history[i];
        if (!op->write || op->value != value)
            continue;
        uint32_t group = cluster_group_of(cluster_block(op->cell)) % cluster->group_count;
        struct cluster_rot rot = {.node = number,
                                  .group = group,
                                  .cell = op->cell,
                                  .value = value,
                                  .written_ns = MIN(op->ended, cluster->worlds.now_ns),
                                  .alone = cluster->alone[group][number]};
        const struct cluster_node *node = &cluster->nodes[number];
        bool young = !node->runs && rot.written_ns + NS_PER_S > node->died_ns;
        if (op->zero || young || !others_whole(cluster, group, number))
            return;
        rot.bit_count = value_rots(cluster, number, value, rot.bits);
        if (rot.bit_count == 0)
            return;
        cluster_say(cluster, "node %u: what it has of value %llu rots", number,
                    (unsigned long long)value);
        cluster->rots[cluster->rot_count++] = rot;
        if (cluster_may_lose(cluster, op)) {
            cluster->nodes[number].lossy |= 1u << group;
            cluster_count_alone(cluster);
        }
        return;
    }
}

/* --- Members ---------------------------------------------------------------------------------- */

static void churn(struct cluster *cluster)
{
    struct prng *prng = &cluster->prng;
    struct cluster_owner *owner = any_owner(cluster);
    uint32_t group = (uint32_t)prng_below(prng, cluster->group_count);
    unsigned node = (unsigned)prng_below(prng, cluster->node_count);
    unsigned other = (unsigned)prng_below(prng, cluster->node_count);
    if (owner->state != OWNER_OPEN || owner->copies == NULL)
        return;
    uint32_t in_sync = 0;
    for (unsigned i = 0; i < cluster->node_count; i++)
        in_sync += cluster_state_of(cluster, group, i) == REPLICA_IN_SYNC ? 1 : 0;
    if (cluster_state_of(cluster, group, node) == REPLICA_ABSENT) {
        bool moves =
            prng_one_in(prng, 2) && cluster_state_of(cluster, group, other) != REPLICA_ABSENT;
        cluster->counts.added +=
            copies_add(owner->copies, group, node + 1, moves ? other + 1 : 0) == 0 ? 1 : 0;
    } else if (in_sync > cluster->min_copies && prng_one_in(prng, 2)) {
        cluster->counts.dropped += copies_drop(owner->copies, group, node + 1) == 0 ? 1 : 0;
    }
}

/* --- Any moment ------------------------------------------------------------------------------- */

void cluster_moment(struct cluster *cluster)
{
    const struct cluster_faults *faults = &cluster->faults;
    struct prng *prng = &cluster->prng;
    if (prng_one_in(prng, faults->node_kill))
        node_dies(cluster, false);
    if (prng_one_in(prng, faults->node_cut))
        node_dies(cluster, true);
    if (prng_one_in(prng, faults->node_slow))
        any_node(cluster)->disk->faults.slow_one_in = (uint32_t)prng_below(prng, 4);
    if (prng_one_in(prng, faults->node_stop))
        node_stands_still(cluster);
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
    if (prng_one_in(prng, faults->drop))
        cluster_owner_drop_cut(any_owner(cluster));
    if (prng_one_in(prng, faults->churn))
        churn(cluster);
    if (prng_one_in(prng, faults->disk_fail))
        disk_fails(cluster);
    if (prng_one_in(prng, faults->rot))
        block_rots(cluster);
    if (prng_one_in(prng, faults->jump)) {
        bool node = prng_one_in(prng, 2);
        unsigned machine = node ? any_node(cluster)->machine : any_owner(cluster)->machine;
        worlds_jump(&cluster->worlds, machine, prng_below(prng, 2 * CLUSTER_TTL_NS));
        cluster->counts.jumps++;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What chance does not find in 2,000 seeds, told by hand. Each is true of the cluster as it is, and
 * false with the bug planted that it is about. */
#include "sim/cluster_tell.h"

/* --- 321 -------------------------------------------------------------------------------------- */

/* The lease of owner 0 is over, and nobody has told it; node 2, which owner 1 did not reach,
 * answers it still. */
static void reads_past_the_bound(struct cluster *cluster)
{
    cluster_open_story(cluster, 3, 2);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    cluster->owners[0].cut_off = true;
    tell_cut_both(cluster, 0, 0, true);
    tell_cut_both(cluster, 0, 1, true);
    tell_cut_both(cluster, 1, 2, true);
    tell_open_volume(cluster, 1);
    tell_ask(cluster, 1, VOLUME_WRITE, 0, 1);
    tell_begin(cluster, 0, 0, VOLUME_READ, 0, 1);
    tell_wait_ms(cluster, 20);
}

/* --- 324 -------------------------------------------------------------------------------------- */

/* Node 1 alone has the newest of a block, and cannot read it. What is at node 0 takes its place, as
 * a new version: at node 0, too. */
static void newest_unreadable(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    cluster->rot_node = 1;
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_flush(cluster, 0);
    cluster->owners[0].cut_off = true;
    tell_cut_both(cluster, 0, 0, true);
    tell_begin(cluster, 0, 0, VOLUME_WRITE, 5, 1);
    tell_wait_ms(cluster, 20);
    cluster_owner_die(&cluster->owners[0]);
    cluster->rot_count = 1; /* Damage may be told of. */
    tell_expect(cluster, cluster_rot(cluster, 1, cluster->next_value), "only node 1 has it");
    tell_expect(cluster, !cluster_rot(cluster, 0, cluster->next_value), "node 0 does not have it");
    tell_open_volume(cluster, 1);
    tell_ask(cluster, 1, VOLUME_READ, 5, 1);
}

/* --- 325 -------------------------------------------------------------------------------------- */

static bool source_lists(struct cluster *cluster)
{
    struct cluster_owner *owner = &cluster->owners[1];
    const struct copies_task *task = &tell_group_of(cluster, 1)->resync[0];
    for (uint32_t i = 0; i < owner->copies_engine->lane_count && task->running; i++) {
        const struct copies_lane *lane = &owner->copies_engine->lanes[i];
        if (lane->task == task && lane->state == LANE_LIST &&
            (lane->flying & COPY_BIT(task->source)) != 0)
            return true;
    }
    return false;
}

/* The road to the source breaks, for a moment, while it is asked what node 0 lacks. */
static void list_lost(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_wait_ms(cluster,
                 1000); /* All is flushed, and it was told so: it will set nothing aside. */
    cluster_owner_die(&cluster->owners[0]);
    tell_open_volume(cluster, 1);
    tell_wait_ms(cluster, 50);
    tell_node_stops(cluster, 0);
    tell_wait_for(cluster, "a copy is stale", tell_first_stale);
    tell_write_all(cluster, 1);
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "it is copied to", source_lists);
    if (tell_well(cluster))
        road_break(&cluster->owners[1].roads[1]);
    tell_wait_ms(cluster, 200);
}

/* --- 328 -------------------------------------------------------------------------------------- */

static bool cut_taken(struct cluster *cluster)
{
    return cluster->owners[0].cutting;
}

static bool cut_committed(struct cluster *cluster)
{
    return cluster->truth.cut_count == 1;
}

/* A snapshot is taken, and what it shows not flushed yet, when node 0 hears of it with a write and
 * goes away. Back again, it sets aside what the snapshot and the head both show. */
static void set_aside_in_two_views(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_flush(cluster, 0);
    tell_ask(cluster, 0, VOLUME_WRITE, 1, 1);
    tell_wait_ms(cluster, 50); /* The watermark is told. */
    cluster->nodes[1].disk->faults.slow_one_in = 1;
    cluster_owner_cut(&cluster->owners[0]);
    tell_wait_for(cluster, "a cut is taken", cut_taken);
    tell_begin(cluster, 0, 0, VOLUME_WRITE, 2, 1);
    tell_wait_ms(cluster, 4);
    tell_node_stops(cluster, 0);
    tell_wait_for(cluster, "a copy is stale", tell_first_stale);
    cluster->nodes[1].disk->faults.slow_one_in = 0;
    tell_wait_for(cluster, "the cut is committed", cut_committed);
    tell_node_starts(cluster, 0);
    tell_wait_ms(cluster, 300);
}

/* --- 330 -------------------------------------------------------------------------------------- */

static bool views_go(struct cluster *cluster)
{
    return tell_group_of(cluster, 0)->resync[0].views_flying;
}

static void cut_and_write(struct cluster *cluster)
{
    uint32_t count = cluster->owners[0].cut_count + 1;
    cluster_owner_cut(&cluster->owners[0]);
    for (unsigned ms = 0; ms < 100 && cluster->truth.cut_count < count; ms++)
        tell_wait_ms(cluster, 1);
    tell_expect(cluster, cluster->truth.cut_count == count, "a cut is taken");
    tell_write_all(cluster, 0);
}

/* Node 0 comes back, and is told which snapshots are kept. While it drops the others, another is
 * taken: that is not in the list. */
static void cut_while_views_go(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    for (unsigned i = 0; i < 4; i++)
        cut_and_write(cluster);
    tell_flush(cluster, 0);
    tell_node_stops(cluster, 0);
    tell_wait_for(cluster, "a copy is stale", tell_first_stale);
    for (unsigned i = 0; i < 4; i++) {
        cluster_owner_drop_cut(&cluster->owners[0]);
        tell_wait_ms(cluster, 60);
    }
    tell_expect(cluster, cluster->truth.cut_count == 0, "the cuts are dropped");
    cluster->nodes[0].disk->faults.slow_one_in = 2;
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "it is told of cuts", views_go);
    cluster_owner_cut(&cluster->owners[0]);
    for (uint32_t first = 0; first < CLUSTER_REGISTERS; first += 16)
        tell_begin(cluster, 0, first / 16, VOLUME_WRITE, first, 16);
    tell_wait_ms(cluster, 200);
    cluster->nodes[0].disk->faults.slow_one_in = 0;
}

/* --- 331 -------------------------------------------------------------------------------------- */

static bool sealing(struct cluster *cluster)
{
    return tell_group_of(cluster, 0)->replica.copies[0].catches == REPLICA_SEALING &&
           (tell_group_of(cluster, 0)->flushing & 1) != 0;
}

/* The session ends while the copy that catches up flushes; it says then that something is set aside
 * still, and the volume is closed. */
static void flushed_after_the_end(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_node_stops(cluster, 0);
    tell_wait_for(cluster, "a copy is stale", tell_first_stale);
    tell_write_all(cluster, 0);
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "what it got is flushed", sealing);
    if (tell_well(cluster)) {
        struct copies_group *group = tell_group_of(cluster, 0);
        copies_end(cluster->owners[0].copies, IOMESH_FENCED);
        tell_cut_both(cluster, 0, 1, true);
        replica_flushed(&group->replica, 0, group->tokens[0], group->flushes[0].generation, 1,
                        copies_now(group));
    }
    tell_wait_ms(cluster, 300);
}

/* --- 334 -------------------------------------------------------------------------------------- */

static bool source_is_read(struct cluster *cluster)
{
    struct cluster_owner *owner = &cluster->owners[0];
    for (uint32_t i = 0; i < owner->copies_engine->lane_count; i++) {
        const struct copies_lane *lane = &owner->copies_engine->lanes[i];
        if (lane->task == &tell_group_of(cluster, 0)->resync[0] && lane->state == LANE_READ)
            return true;
    }
    return false;
}

/* What node 0 lacks is read from node 1, and discarded before node 0 has it. */
static void discarded_on_its_way(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    tell_open_volume(cluster, 0);
    tell_node_stops(cluster, 0);
    tell_wait_for(cluster, "a copy is stale", tell_first_stale);
    tell_write_all(cluster, 0);
    tell_ask(cluster, 0, VOLUME_WRITE, 1, 1);
    cluster_owner_cut(&cluster->owners[0]);
    tell_wait_for(cluster, "a cut is committed", cut_committed);
    tell_ask(cluster, 0, VOLUME_WRITE, 2, 1);
    cluster_owner_drop_cut(&cluster->owners[0]);
    tell_wait_ms(cluster, 100);
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "it is copied to", source_is_read);
    for (uint32_t i = 0; i < 6; i++)
        tell_begin(cluster, 0, i, VOLUME_DISCARD, i * 16, 16);
    tell_wait_ms(cluster, 300);
}

/* --- 336 -------------------------------------------------------------------------------------- */

static void all_in_sync(struct cluster *cluster, uint64_t ms)
{
    for (uint64_t i = 0; tell_well(cluster) && i < ms; i++) {
        tell_wait_ms(cluster, 1);
        for (unsigned node = 0; node < cluster->node_count; node++) {
            if (cluster_state_of(cluster, 0, node) != REPLICA_IN_SYNC)
                (void)cluster_wrong(cluster, "node %u fell behind", node);
        }
    }
}

static uint64_t room_of_node_0(struct cluster *cluster)
{
    return tell_well(cluster) ? tell_group_of(cluster, 0)->ports[0]->room_blocks : 0;
}

/* New data, a little at a time, until there is room for one of those that are written at once then.
 * Nobody falls behind for it. */
static void fill_up(struct cluster *cluster)
{
    uint64_t full = cluster->counts.full;
    for (unsigned round = 0; room_of_node_0(cluster) > 36 && round < 200; round++) {
        uint32_t first = round * 4 % CLUSTER_REGISTERS;
        if (first == 0)
            cluster_owner_cut(&cluster->owners[0]); /* What is there stays. */
        tell_wait_ms(cluster, first == 0 ? 40 : 1);
        tell_ask(cluster, 0, VOLUME_WRITE, first, 4);
    }
    tell_expect(cluster, room_of_node_0(cluster) <= 36, "there is little space");
    cluster_owner_cut(&cluster->owners[0]);
    all_in_sync(cluster, 40);
    for (uint32_t i = 0; i < CLUSTER_REGISTERS / 16; i++)
        tell_begin(cluster, 0, i, VOLUME_WRITE, i * 16, 16);
    all_in_sync(cluster, 100);
    tell_expect(cluster, cluster->counts.full > full, "space runs out");
}

static void make_room(struct cluster *cluster)
{
    uint64_t failed = cluster->counts.failed;
    for (unsigned i = 0; i < CLUSTER_CUTS && cluster->truth.cut_count > 0; i++) {
        cluster_owner_drop_cut(&cluster->owners[0]);
        tell_wait_ms(cluster, 60);
    }
    tell_flush(cluster, 0);
    tell_wait_ms(cluster, 300);
    tell_write_all(cluster, 0);
    tell_expect(cluster, cluster->counts.failed == failed, "space that came free is to be had");
}

/* All stores are of one size. */
static void space_runs_out_evenly(struct cluster *cluster)
{
    cluster_open_full_story(cluster, 560, 0);
    tell_open_volume(cluster, 0);
    for (unsigned i = 0; i < 3; i++) {
        fill_up(cluster);
        make_room(cluster);
    }
}

/* One of them is smaller than the others. */
static void one_store_is_full(struct cluster *cluster)
{
    cluster_open_full_story(cluster, 2000, 560);
    tell_open_volume(cluster, 0);
    for (unsigned i = 0; i < 3; i++) {
        fill_up(cluster);
        make_room(cluster);
    }
}

/* --- 337 -------------------------------------------------------------------------------------- */

/* Node 0 catches up from a copy that cannot read a block. The only other one that has it is away,
 * for a moment: it is waited for. */
static void other_is_away(struct cluster *cluster)
{
    cluster_open_story(cluster, 3, 1);
    tell_open_volume(cluster, 0);
    tell_node_stops(cluster, 0);
    tell_wait_for(cluster, "a copy is stale", tell_first_stale);
    tell_write_all(cluster, 0);
    tell_flush(cluster, 0);
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "it is told of cuts", views_go);
    if (!tell_well(cluster))
        return;
    unsigned source = tell_group_of(cluster, 0)->resync[0].source;
    struct road *other = &cluster->owners[0].roads[3 - source];
    cluster->rot_count = 1; /* Damage may be told of. */
    tell_expect(cluster, cluster_rot(cluster, source, cluster->next_value),
                "it rots at the source");
    road_break(other);
    road_cut(other, true, true);
    tell_wait_ms(cluster, 20);
    road_cut(other, false, false);
    tell_wait_for(cluster, "all are in sync", tell_first_in_sync);
    tell_node_stops(cluster, 3 - source);
    for (uint32_t first = 0; first < CLUSTER_REGISTERS; first += 16)
        tell_ask(cluster, 0, VOLUME_READ, first, 16);
    tell_node_starts(cluster, 3 - source);
}

/* --- 338, 339 --------------------------------------------------------------------------------- */

static bool first_failed(struct cluster *cluster)
{
    return cluster->nodes[0].failed;
}

/* Written last, acknowledged, and not flushed at node 0 when a flush of its fails. */
static void flush_fails(struct cluster *cluster, unsigned owner)
{
    tell_write_all(cluster, owner);
    tell_flush(cluster, owner);
    for (uint32_t i = 0; i < 24; i++)
        tell_ask(cluster, owner, VOLUME_WRITE, i,
                 1); /* Each tells that all before are acknowledged. */
    if (!tell_well(cluster))
        return;
    cluster->nodes[0].disk->faults.flush_error_one_in = 1;
    tell_begin(cluster, owner, 0, VOLUME_FLUSH, 0, 0);
    tell_wait_for(cluster, "a flush of node 0 fails", first_failed);
}

/* Its process is started again, on the same boot. */
static void starts_again(struct cluster *cluster)
{
    struct cluster_node *node = &cluster->nodes[0];
    node->disk->faults.flush_error_one_in = 0;
    cluster_node_die(node, false, false);
    tell_node_starts(cluster, 0);
}

/* The coordinator dies before it has told anybody. */
static void flush_fails_and_the_coordinator_dies(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    for (unsigned round = 0; tell_well(cluster) && round < 40; round++) {
        unsigned owner = round % 2;
        tell_open_volume(cluster, owner);
        tell_wait_for(cluster, "it is in sync", tell_first_in_sync);
        flush_fails(cluster, owner);
        cluster->owners[owner].wants = false;
        cluster_owner_die(&cluster->owners[owner]);
        starts_again(cluster);
        tell_open_volume(cluster, 1 - owner);
        tell_read_all(cluster, 1 - owner);
        cluster->owners[1 - owner].wants = false;
        cluster_owner_die(&cluster->owners[1 - owner]);
    }
}

/* The coordinator lives, and hears nothing but that the road broke for a moment. */
static void flush_fails_and_is_not_heard_of(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    tell_open_volume(cluster, 0);
    for (unsigned round = 0; tell_well(cluster) && round < 8; round++) {
        tell_wait_for(cluster, "it is in sync", tell_first_in_sync);
        flush_fails(cluster, 0);
        starts_again(cluster);
        tell_wait_ms(cluster, 400);
        tell_read_all(cluster, 0);
    }
}

const struct cluster_story cluster_stories[] = {
    {"space_runs_out_evenly", space_runs_out_evenly},
    {"one_store_is_full", one_store_is_full},
    {"reads_past_the_bound", reads_past_the_bound},
    {"newest_unreadable", newest_unreadable},
    {"list_lost", list_lost},
    {"set_aside_in_two_views", set_aside_in_two_views},
    {"cut_while_views_go", cut_while_views_go},
    {"flushed_after_the_end", flushed_after_the_end},
    {"discarded_on_its_way", discarded_on_its_way},
    {"other_is_away", other_is_away},
    {"flush_fails_and_the_coordinator_dies", flush_fails_and_the_coordinator_dies},
    {"flush_fails_and_is_not_heard_of", flush_fails_and_is_not_heard_of},
};
const uint32_t cluster_story_count = COUNT_OF(cluster_stories);

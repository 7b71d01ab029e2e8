/* SPDX-License-Identifier: Apache-2.0 */
/* A machine with an engine that wants the volume. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cluster.h"

static void owner_wake_after(struct cluster_owner *owner, uint64_t delay_ns)
{
    clock_set_after(&owner->world.clock, &owner->wake, delay_ns);
}

/* --- What copies ask -------------------------------------------------------------------------- */

static struct part_port *owner_port(void *context, uint64_t store)
{
    struct cluster_owner *owner = context;
    return &owner->roads[store - 1].port;
}

static void owner_transact(void *context, uint32_t group, const struct replica_record *record)
{
    cluster_transact(context, group, record);
}

static uint64_t owner_take_sequence(void *context)
{
    struct cluster_owner *owner = context;
    if (owner->volume != NULL)
        return volume_take_sequence(owner->volume);
    return owner->sequence < owner->sequence_end ? owner->sequence++ : 0;
}

static uint32_t owner_cuts(void *context, uint64_t *cuts)
{
    struct cluster_owner *owner = context;
    memcpy(cuts, owner->cuts, owner->cut_count * sizeof *cuts);
    return owner->cut_count;
}

static void owner_opened(void *context)
{
    struct cluster_owner *owner = context;
    struct cluster *cluster = owner->cluster;
    struct volume_options options = {
        .copies = owner->copies,
        .id = CLUSTER_VOLUME,
        .view = VIEW_HEAD,
        .bytes = (uint64_t)CLUSTER_SEGMENTS * SEGMENT_BLOCKS * BLOCK_BYTES,
        .sector_bytes = BLOCK_BYTES,
        .epoch = owner->epoch,
        .sequence = owner->sequence,
        .sequence_end = owner->sequence_end,
        .cut = owner->cut_count == 0 ? 0 : owner->cuts[owner->cut_count - 1],
        .views = true,
    };
    if (volume_open(owner->volume_engine, &options, &owner->volume) != 0)
        (void)cluster_wrong(cluster, "opening the volume: %s", base_last_error());
    owner->state = OWNER_OPEN;
}

static void owner_closed(void *context)
{
    struct cluster_owner *owner = context;
    owner->copies = NULL;
    owner->closing = false;
    owner->state = OWNER_IDLE;
    owner_wake_after(owner, CLUSTER_TTL_NS / 4);
}

void cluster_owner_count(struct cluster_owner *owner)
{
    struct cluster_counts *counts = &owner->cluster->counts;
    struct copies_look look;
    for (uint32_t g = 0; owner->copies != NULL && g < owner->cluster->group_count; g++) {
        if (!copies_look(owner->copies, g, &look))
            continue;
        counts->repaired += look.repaired_blocks;
        counts->hedged += look.hedged_reads;
        counts->reconciled += look.replica->settled ? 1 : 0;
    }
}

static void owner_ended(void *context, int result)
{
    struct cluster_owner *owner = context;
    if (owner->cluster->verbose)
        (void)fprintf(stderr, "  owner %u, epoch %llu: ended with %d\n", owner->number,
                      (unsigned long long)owner->epoch, result);
    /* While it opens it has promised nothing yet: a copy that restarts then, beside one that was
     * not reached, is reason enough to begin anew. */
    if (result != IOMESH_FENCED && owner->cluster->losses == 0 && owner->state == OWNER_OPEN)
        (void)cluster_wrong(owner->cluster, "the session ended with %d", result);
    cluster_owner_count(owner);
    owner->cluster->counts.fenced += result == IOMESH_FENCED ? 1 : 0;
    owner->state = OWNER_ENDING;
}

/* --- Opening ---------------------------------------------------------------------------------- */

static void owner_copies(struct cluster_owner *owner, bool forced, uint64_t sent_ns)
{
    struct cluster *cluster = owner->cluster;
    struct copies_group_options groups[CLUSTER_GROUPS];
    struct copies_run runs[CLUSTER_SEGMENTS];
    assert(cluster->group_count > 0);
    for (uint32_t i = 0; i < cluster->group_count; i++)
        groups[i] = (struct copies_group_options){.id = i, .record = cluster->truth.groups[i]};
    for (uint32_t i = 0; i < CLUSTER_SEGMENTS; i++)
        runs[i] = (struct copies_run){.first = i, .count = 1, .group = i % cluster->group_count};
    struct copies_options options = {
        .volume = CLUSTER_VOLUME,
        .epoch = owner->epoch,
        .sequence = owner->sequence - 1,
        .bound_ns = sent_ns + CLUSTER_TTL_NS / 10 * 8,
        .old_until_ns = forced ? owner->world.now_ns + CLUSTER_TTL_NS / 10 * 11 : 0,
        .groups = groups,
        .group_count = cluster->group_count,
        .runs = runs,
        .run_count = CLUSTER_SEGMENTS,
        .replica = {.min_copies = (uint8_t)cluster->min_copies,
                    .grace_ns = 50 * NS_PER_MS,
                    .copy_timeout_ns = 300 * NS_PER_MS,
                    .idle_ns = 20 * NS_PER_MS,
                    .flush_ns = 300 * NS_PER_MS,
                    .retry_ns = 20 * NS_PER_MS},
        .calls = {.port = owner_port,
                  .transact = owner_transact,
                  .take_sequence = owner_take_sequence,
                  .cuts = owner_cuts,
                  .opened = owner_opened,
                  .ended = owner_ended,
                  .context = owner},
    };
    if (copies_open(owner->copies_engine, &options, &owner->copies) != 0)
        (void)cluster_wrong(cluster, "opening copies: %s", base_last_error());
}

void cluster_owner_granted(struct cluster_owner *owner, int result, bool forced, uint64_t sent_ns)
{
    struct cluster *cluster = owner->cluster;
    const struct cluster_truth *truth = &cluster->truth;
    if (result != 0 || truth->owner != owner->number) {
        owner->state = OWNER_IDLE;
        owner_wake_after(owner, CLUSTER_TTL_NS / 8 + prng_below(&cluster->prng, CLUSTER_TTL_NS));
        return;
    }
    owner->wants = owner->forces = false;
    owner->epoch = truth->epoch;
    owner->sequence_end = truth->sequence_end;
    owner->sequence = owner->sequence_end - CLUSTER_LOT + 1;
    owner->cut_count = truth->cut_count;
    memcpy(owner->cuts, truth->cuts, truth->cut_count * sizeof *owner->cuts);
    owner->cutting = owner->holding = owner->dropping = false;
    owner->state = OWNER_OPENING;
    owner_copies(owner, forced, sent_ns);
    owner_wake_after(owner, CLUSTER_TTL_NS / 6);
}

/* --- Snapshots -------------------------------------------------------------------------------- */

static void cut_flushed(struct volume_io *io, int result)
{
    struct cluster_owner *owner = CONTAINER_OF(io, struct cluster_owner, cut_flush);
    if (result == 0)
        cluster_commit_cut(owner, owner->cuts[owner->cut_count - 1], owner->cut_taken_ns);
    else
        owner->cutting = false; /* The session ends, and the cut is nobody's. */
}

static void owner_held(struct volume_hold *hold)
{
    struct cluster_owner *owner = CONTAINER_OF(hold, struct cluster_owner, hold);
    owner->holding = false;
    if (hold->result != 0)
        return;
    uint64_t cut = volume_take_cut(owner->volume);
    owner->cuts[owner->cut_count++] = cut;
    owner->cutting = true;
    owner->cluster->counts.cuts_taken++;
    owner->cut_taken_ns = owner->cluster->worlds.now_ns;
    volume_release(owner->volume, hold);
    owner->cut_flush = (struct volume_io){.kind = VOLUME_FLUSH, .done = cut_flushed};
    volume_submit(owner->volume, &owner->cut_flush);
}

void cluster_owner_cut(struct cluster_owner *owner)
{
    if (owner->state != OWNER_OPEN || owner->holding || owner->cutting || owner->dropping ||
        owner->cluster->truth.cut_count >= CLUSTER_CUTS || owner->cut_count >= CLUSTER_CUTS)
        return;
    owner->holding = true;
    owner->hold = (struct volume_hold){.done = owner_held};
    volume_hold(owner->volume, &owner->hold);
}

static void views_told(struct part_request *request, int result)
{
    struct cluster_owner *owner = request->context;
    (void)result; /* If it was away it is told when it catches up. */
    owner->views_flying--;
    free((void *)request->cuts);
}

/* Every copy is told which are kept. */
static void owner_views(struct cluster_owner *owner, uint64_t dropped)
{
    struct cluster *cluster = owner->cluster;
    for (uint32_t g = 0; g < cluster->group_count; g++) {
        struct copies_look look;
        if (!copies_look(owner->copies, g, &look))
            continue;
        for (unsigned i = 0; i < cluster->node_count; i++) {
            uint8_t state = cluster_state_of(cluster, g, i);
            struct part_port *port = &owner->roads[i].port;
            if ((state != REPLICA_IN_SYNC && state != REPLICA_CATCHING_UP) ||
                port->state != PART_PORT_UP)
                continue;
            uint64_t *cuts = calloc(CLUSTER_CUTS + 1, sizeof *cuts);
            if (cuts == NULL)
                abort();
            memcpy(cuts, owner->cuts, owner->cut_count * sizeof *cuts);
            owner->views[g][i] = (struct part_request){.kind = PART_VIEWS,
                                                       .volume = CLUSTER_VOLUME,
                                                       .group = g,
                                                       .epoch = owner->epoch,
                                                       .generation = look.replica->generation,
                                                       .cuts = cuts,
                                                       .cut_count = owner->cut_count,
                                                       .sequence = dropped,
                                                       .done = views_told,
                                                       .context = owner};
            owner->views_flying++;
            part_submit(port, &owner->views[g][i]);
        }
    }
}

void cluster_owner_dropped(struct cluster_owner *owner, uint64_t cut)
{
    owner->dropping = false;
    if (owner->state != OWNER_OPEN || owner->volume == NULL)
        return;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < owner->cut_count; i++) {
        if (owner->cuts[i] != cut)
            owner->cuts[kept++] = owner->cuts[i];
    }
    owner->cut_count = kept;
    volume_set_views(owner->volume, kept == 0 ? 0 : owner->cuts[kept - 1], true);
    owner_views(owner, cut);
}

void cluster_owner_drop_cut(struct cluster_owner *owner)
{
    struct cluster *cluster = owner->cluster;
    /* One that is being taken is the newest, and is in the list. */
    uint32_t count = owner->cut_count - (owner->cutting ? 1 : 0);
    if (owner->state != OWNER_OPEN || owner->dropping || owner->views_flying > 0 || count == 0)
        return;
    owner->dropping = true;
    cluster->counts.cuts_dropped++;
    cluster_commit_drop(owner, owner->cuts[prng_below(&cluster->prng, count)]);
}

/* --- Turning ---------------------------------------------------------------------------------- */

static void owner_wakes(struct timer *timer)
{
    struct cluster_owner *owner = CONTAINER_OF(timer, struct cluster_owner, wake);
    struct cluster *cluster = owner->cluster;
    if (owner->state == OWNER_IDLE && cluster->by_hand && !owner->wants) {
        owner_wake_after(owner, NS_PER_MS);
    } else if (owner->state == OWNER_IDLE) {
        bool force = !cluster->calm && prng_one_in(&cluster->prng, cluster->faults.force);
        owner->state = OWNER_ACQUIRING;
        cluster_acquire(owner, force || owner->forces);
    } else if (owner->state != OWNER_ACQUIRING) {
        cluster_renew(owner);
        owner_wake_after(owner, CLUSTER_TTL_NS / 6);
    }
}

static void owner_port_changed(void *context, struct part_port *port)
{
    struct cluster_owner *owner = context;
    if (owner->copies != NULL)
        copies_port_changed(owner->copies, port);
}

/* Ends what has ended. */
static void owner_let_go(struct cluster_owner *owner)
{
    if (owner->state != OWNER_ENDING)
        return;
    if (owner->volume != NULL) {
        if (owner->holding)
            volume_release(owner->volume, &owner->hold);
        owner->holding = false;
        if (volume_io_count(owner->volume) != 0)
            return;
        volume_close(owner->volume);
        owner->volume = NULL;
    }
    if (owner->closing || owner->copies == NULL || owner->views_flying > 0)
        return;
    owner->closing = true;
    copies_close(owner->copies, owner_closed, owner);
}

void cluster_owner_turn(struct cluster_owner *owner)
{
    cluster_client_turn(owner);
    for (unsigned turns = 0; turns < 1000; turns++) {
        owner_let_go(owner);
        volume_engine_turn(owner->volume_engine);
        copies_engine_turn(owner->copies_engine);
        if (!volume_engine_turn_needed(owner->volume_engine) &&
            !copies_engine_turn_needed(owner->copies_engine))
            return;
    }
    (void)cluster_wrong(owner->cluster, "owner %u turns and turns", owner->number);
}

static void owner_engines(struct cluster_owner *owner)
{
    struct copies_engine_options copies = {
        .clock = &owner->world.clock, .op_count = 24, .lane_count = 3};
    struct volume_engine_options volumes = {.op_count = 24, .bounce_count = 2};
    if (copies_engine_open(&copies, &owner->copies_engine) != 0 ||
        volume_engine_open(&volumes, &owner->volume_engine) != 0)
        (void)cluster_wrong(owner->cluster, "engines: %s", base_last_error());
}

void cluster_owner_open(struct cluster *cluster, unsigned number)
{
    struct cluster_owner *owner = &cluster->owners[number];
    owner->cluster = cluster;
    owner->number = number;
    world_open(&owner->world, prng_next(&cluster->prng));
    owner->machine = worlds_add(&cluster->worlds, &owner->world);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct road *road = &owner->roads[i];
        road_open(road, &cluster->worlds, &owner->world, &cluster->nodes[i].world, i + 1,
                  prng_next(&cluster->prng));
        road->port.changed = owner_port_changed;
        road->port.context = owner;
        road->silent_ns = 200 * NS_PER_MS;
    }
    owner_engines(owner);
    owner->wake.fire = owner_wakes;
    owner_wake_after(owner, 1 + prng_below(&cluster->prng, CLUSTER_TTL_NS));
}

void cluster_owner_die(struct cluster_owner *owner)
{
    struct cluster *cluster = owner->cluster;
    cluster_owner_count(owner);
    world_kill(&owner->world);
    owner->life++;
    owner->copies = NULL;
    owner->volume = NULL;
    owner->state = OWNER_IDLE;
    owner->holding = owner->cutting = owner->dropping = owner->closing = false;
    owner->views_flying = 0;
    memset(&owner->wake, 0, sizeof owner->wake);
    owner->wake.fire = owner_wakes;
    for (unsigned i = 0; i < CLUSTER_REQUESTS; i++) {
        memset(&owner->requests[i].io, 0, sizeof owner->requests[i].io);
        owner->requests[i].busy = false;
        owner->requests[i].data = NULL; /* What flies reads it yet. */
    }
    for (unsigned i = 0; i < cluster->node_count; i++)
        road_near_died(&owner->roads[i]);
    owner_engines(owner);
    owner_wake_after(owner, 1 + prng_below(&cluster->prng, CLUSTER_TTL_NS));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata of the storm: one register, changed by transactions that are slow, lost, or happen
 * and are not answered. */
#include <stdlib.h>
#include <string.h>

#include "sim/cluster.h"

enum call_kind { CALL_ACQUIRE, CALL_RENEW, CALL_TRANSACT, CALL_CUT, CALL_DROP };

struct call {
    struct world_event event;
    struct cluster_owner *owner;
    unsigned life;
    enum call_kind kind;
    bool force, unknown;
    int result;
    uint64_t sent_ns; /* By the owner's clock. */
    uint64_t epoch;
    uint32_t group;
    struct replica_record record;
    uint64_t cut, taken_ns;
    unsigned tries;
};

static void call_there(struct world_event *event);

static uint64_t truth_delay(struct cluster *cluster)
{
    uint64_t delay = 100000 + prng_below(&cluster->prng, 2 * NS_PER_MS);
    return prng_one_in(&cluster->prng, 50) ? 40 * delay : delay;
}

static struct call *call_make(struct cluster_owner *owner, enum call_kind kind)
{
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL)
        abort();
    call->owner = owner;
    call->life = owner->life;
    call->kind = kind;
    call->epoch = owner->epoch;
    call->sent_ns = owner->world.now_ns;
    return call;
}

static void call_send(struct call *call)
{
    struct cluster *cluster = call->owner->cluster;
    call->event.fire = call_there;
    world_at(&cluster->truth.world, &call->event, truth_delay(cluster));
}

/* --- At the truth ----------------------------------------------------------------------------- */

static int truth_acquire(struct cluster *cluster, struct call *call)
{
    struct cluster_truth *truth = &cluster->truth;
    bool over = truth->owner == CLUSTER_OWNERS || truth->owner == call->owner->number ||
                truth->lease_until_ns <= cluster->worlds.now_ns;
    if (!over && !call->force)
        return -EBUSY;
    cluster->counts.acquired++;
    cluster->counts.forced += over ? 0 : 1;
    call->force = !over;
    truth->epoch++;
    cluster_say(cluster, "owner %u has epoch %llu%s", call->owner->number,
                (unsigned long long)truth->epoch, call->force ? ", by force" : "");
    truth->owner = call->owner->number;
    truth->lease_until_ns = cluster->worlds.now_ns + CLUSTER_TTL_NS;
    truth->sequence_end += CLUSTER_LOT;
    return 0;
}

static bool truth_owns(const struct cluster *cluster, const struct call *call)
{
    return cluster->truth.owner == call->owner->number && cluster->truth.epoch == call->epoch;
}

static uint8_t state_in(const struct replica_record *record, unsigned node)
{
    for (unsigned i = 0; i < REPLICA_COPIES_MAX; i++) {
        if (record->members[i].state != REPLICA_ABSENT && record->members[i].store == node + 1)
            return record->members[i].state;
    }
    return REPLICA_ABSENT;
}

/* Is somebody in sync whose power did not go? */
static bool truth_whole(const struct cluster *cluster, uint32_t number,
                        const struct replica_record *group)
{
    bool whole = false;
    for (unsigned i = 0; i < cluster->node_count; i++)
        whole = whole || (state_in(group, i) == REPLICA_IN_SYNC &&
                          (cluster->nodes[i].lossy >> number & 1) == 0);
    return whole;
}

static int truth_transact(struct cluster *cluster, struct call *call)
{
    struct replica_record *group = &cluster->truth.groups[call->group];
    cluster->counts.transactions++;
    if ((!truth_owns(cluster, call) && !MUTANT(221)) ||
        group->generation + 1 != call->record.generation) {
        cluster->counts.refused++;
        return 0;
    }
    char states[CLUSTER_NODES + 1] = {0};
    for (unsigned i = 0; i < cluster->node_count; i++)
        states[i] = "-SCI"[state_in(&call->record, i)];
    cluster_say(cluster, "owner %u, epoch %llu: group %u, generation %u: %s", call->owner->number,
                (unsigned long long)call->epoch, call->group, call->record.generation, states);
    /* Who has caught up has everything, durably. */
    for (unsigned i = 0; i < cluster->node_count; i++) {
        uint8_t was = state_in(group, i), is = state_in(&call->record, i);
        if (was == REPLICA_CATCHING_UP && is == REPLICA_IN_SYNC) {
            cluster->nodes[i].lossy &= ~(1u << call->group);
            cluster->counts.caught_up++;
        }
        cluster->counts.stale += was != REPLICA_STALE && is == REPLICA_STALE ? 1 : 0;
    }
    bool whole = truth_whole(cluster, call->group, group);
    *group = call->record;
    /* A takeover that reaches only those whose power went takes what they flushed. */
    if (whole && !truth_whole(cluster, call->group, group))
        cluster_lose(cluster);
    cluster_count_alone(cluster);
    return 0;
}

static int truth_cut(struct cluster *cluster, struct call *call)
{
    struct cluster_truth *truth = &cluster->truth;
    if (!truth_owns(cluster, call))
        return IOMESH_FENCED;
    if (truth->cut_count > 0 && truth->cuts[truth->cut_count - 1] == call->cut)
        return 0;
    truth->cuts[truth->cut_count] = call->cut;
    truth->cut_times[truth->cut_count++] = call->taken_ns;
    return 0;
}

static int truth_drop(struct cluster *cluster, struct call *call)
{
    struct cluster_truth *truth = &cluster->truth;
    if (!truth_owns(cluster, call))
        return IOMESH_FENCED;
    for (uint32_t i = 0; i < truth->cut_count; i++) {
        if (truth->cuts[i] != call->cut)
            continue;
        truth->cut_count--;
        for (uint32_t j = i; j < truth->cut_count; j++) {
            truth->cuts[j] = truth->cuts[j + 1];
            truth->cut_times[j] = truth->cut_times[j + 1];
        }
    }
    return 0;
}

static void call_do(struct cluster *cluster, struct call *call)
{
    switch (call->kind) {
    case CALL_ACQUIRE: call->result = truth_acquire(cluster, call); break;
    case CALL_RENEW:
        call->result = truth_owns(cluster, call) ? 0 : IOMESH_FENCED;
        if (call->result == 0)
            cluster->truth.lease_until_ns = cluster->worlds.now_ns + CLUSTER_TTL_NS;
        break;
    case CALL_TRANSACT: call->result = truth_transact(cluster, call); break;
    case CALL_CUT: call->result = truth_cut(cluster, call); break;
    case CALL_DROP: call->result = truth_drop(cluster, call); break;
    }
}

/* --- Back at the owner ------------------------------------------------------------------------ */

static void transact_told(struct call *call)
{
    struct cluster_owner *owner = call->owner;
    if (owner->copies == NULL)
        return;
    if (call->unknown)
        copies_transact_unknown(owner->copies, call->group);
    else
        copies_transacted(owner->copies, call->group, &call->record);
}

static void cut_told(struct call *call)
{
    struct cluster_owner *owner = call->owner;
    if (call->unknown)
        cluster_commit_cut(owner, call->cut, call->taken_ns);
    else
        owner->cutting = false;
}

static void drop_told(struct call *call)
{
    struct cluster_owner *owner = call->owner;
    if (call->unknown)
        cluster_commit_drop(owner, call->cut);
    else if (call->result == 0)
        cluster_owner_dropped(owner, call->cut);
    else
        owner->dropping = false;
}

static void renew_told(struct call *call)
{
    struct cluster_owner *owner = call->owner;
    if (call->unknown || owner->copies == NULL)
        return;
    if (call->result != 0)
        copies_end(owner->copies, IOMESH_FENCED);
    else
        copies_lease(owner->copies, call->sent_ns + CLUSTER_TTL_NS / 10 * 8);
}

static void call_back(struct world_event *event)
{
    struct call *call = CONTAINER_OF(event, struct call, event);
    struct cluster_owner *owner = call->owner;
    if (owner->deaf) {
        world_at(&owner->world, &call->event, 10 * NS_PER_MS);
        return;
    }
    if (call->life == owner->life && (call->kind == CALL_ACQUIRE || call->epoch == owner->epoch)) {
        switch (call->kind) {
        case CALL_ACQUIRE:
            cluster_owner_granted(owner, call->unknown ? IOMESH_UNKNOWN : call->result, call->force,
                                  call->sent_ns);
            break;
        case CALL_RENEW: renew_told(call); break;
        case CALL_TRANSACT: transact_told(call); break;
        case CALL_CUT: cut_told(call); break;
        case CALL_DROP: drop_told(call); break;
        }
    }
    free(call);
}

static void call_there(struct world_event *event)
{
    struct call *call = CONTAINER_OF(event, struct call, event);
    struct cluster_owner *owner = call->owner;
    struct cluster *cluster = owner->cluster;
    bool away = cluster->truth.away || owner->cut_off;
    if (away && ++call->tries < 200) {
        world_at(&cluster->truth.world, &call->event, 10 * NS_PER_MS);
        return;
    }
    bool lost = prng_one_in(&cluster->prng, cluster->faults.truth_lost);
    bool done = !away && (!lost || prng_one_in(&cluster->prng, 2));
    call->unknown = lost || away;
    cluster->counts.unknown += call->unknown ? 1 : 0;
    if (done)
        call_do(cluster, call);
    if (call->kind == CALL_TRANSACT && !away) {
        call->record = cluster->truth.groups[call->group];
        call->record.epoch = cluster->truth.epoch;
    }
    call->event.fire = call_back;
    world_at(&owner->world, &call->event, truth_delay(cluster));
}

/* --- What is asked ---------------------------------------------------------------------------- */

void cluster_acquire(struct cluster_owner *owner, bool force)
{
    struct call *call = call_make(owner, CALL_ACQUIRE);
    call->force = force;
    call_send(call);
}

void cluster_renew(struct cluster_owner *owner)
{
    call_send(call_make(owner, CALL_RENEW));
}

void cluster_transact(struct cluster_owner *owner, uint32_t group,
                      const struct replica_record *record)
{
    struct call *call = call_make(owner, CALL_TRANSACT);
    call->group = group;
    call->record = *record;
    call_send(call);
}

void cluster_commit_cut(struct cluster_owner *owner, uint64_t cut, uint64_t taken_ns)
{
    struct call *call = call_make(owner, CALL_CUT);
    call->cut = cut;
    call->taken_ns = taken_ns;
    call_send(call);
}

void cluster_commit_drop(struct cluster_owner *owner, uint64_t cut)
{
    struct call *call = call_make(owner, CALL_DROP);
    call->cut = cut;
    call_send(call);
}

void cluster_truth_open(struct cluster *cluster)
{
    struct cluster_truth *truth = &cluster->truth;
    world_open(&truth->world, cluster->seed ^ 0x7472757468ull);
    truth->machine = worlds_add(&cluster->worlds, &truth->world);
    truth->owner = CLUSTER_OWNERS;
    for (unsigned group = 0; group < cluster->group_count; group++) {
        for (unsigned i = 0; i < cluster->copy_count; i++)
            truth->groups[group].members[i] = (struct replica_member){
                .store = (group + i) % cluster->node_count + 1, .state = REPLICA_IN_SYNC};
    }
}

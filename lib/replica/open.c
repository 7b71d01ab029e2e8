/* SPDX-License-Identifier: Apache-2.0 */
/* From owning the volume to serving it: fence, shrink, reconcile; or be born. */
#include "replica/internal.h"

void replica_reconcile_begin(struct replica *replica)
{
    replica->phase = REPLICA_RECONCILING;
    replica->attempt = ++replica->attempts;
    replica->todo |= TODO_RECONCILE;
}

void replica_activate(struct replica *replica, uint64_t now)
{
    bool born = replica->phase == REPLICA_BEARING;
    replica->phase = REPLICA_ACTIVE;
    replica->flush_at_ns = now + replica->options.flush_ns;
    replica->todo |= TODO_OPEN;
    /* Whatever they answered: one that was being added when the last owner died is in sync in the
     * metadata and thinks that it is catching up. */
    EACH_COPY(replica, copy)
    if (copy->state == REPLICA_IN_SYNC && !born && !(MUTANT(228) && copy->connected))
        replica_ask_role(copy, REPLICA_IN_SYNC, now);
    replica_plan(replica, now);
}

static uint8_t fenced_mask(const struct replica *replica)
{
    uint8_t mask = 0;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++)
        mask |= (uint8_t)(replica->copies[i].fenced << i);
    return mask & replica_placed(replica);
}

/* All who may serve reads of the old owner obey this epoch, so it can't be in anyone's way. */
static void release_hold(struct replica *replica)
{
    uint8_t missing = replica_placed(replica) & (uint8_t)~fenced_mask(replica);
    if (replica->answer_from_ns == 0 || copies_count(missing) > (MUTANT(225) ? 1u : 0u))
        return;
    replica->answer_from_ns = 0;
    replica->todo |= TODO_CHANGED;
}

static void shrink(struct replica *replica, uint8_t stay, uint64_t now)
{
    struct replica_member members[REPLICA_COPIES_MAX] = {0};
    EACH_COPY(replica, copy)
    {
        bool stays = (stay & copy_bit(replica, copy)) != 0;
        members[copy_index(replica, copy)] = (struct replica_member){
            .store = copy->store, .state = stays ? REPLICA_IN_SYNC : REPLICA_STALE};
        if (copy->state == REPLICA_IN_SYNC && !stays)
            copy->lost = true;
        if (MUTANT(204) && stays)
            copy->state = REPLICA_IN_SYNC;
    }
    replica_propose(replica, members, now);
}

void replica_fencing_step(struct replica *replica, uint64_t now)
{
    release_hold(replica);
    if (replica->phase != REPLICA_FENCING)
        return;
    uint8_t fenced = fenced_mask(replica);
    uint8_t in_sync = replica_in_sync(replica);
    uint8_t stay = replica_whole(replica) & fenced;
    bool waited = now - MIN(now, replica->began_ns) >= replica->options.fence_timeout_ns;
    if (MUTANT(204) && stay == 0 && waited)
        stay = fenced;
    if (stay == 0)
        return; /* None that is in sync: nobody else is ever taken for one. */
    if (MUTANT(205) && stay == in_sync) {
        replica->answer_from_ns = 0;
        waited = true;
    }
    if (fenced != replica_placed(replica) && !waited)
        return;
    if (replica->generation == 0) {
        replica->phase = REPLICA_BEARING;
        EACH_COPY(replica, copy)
        if ((stay & copy_bit(replica, copy)) != 0)
            replica_ask_role(copy, REPLICA_IN_SYNC, now);
        return;
    }
    if (stay == in_sync) {
        replica_reconcile_begin(replica);
        return;
    }
    REACH(replica_shrinks);
    replica->phase = REPLICA_SHRINKING;
    shrink(replica, stay, now);
}

void replica_fenced(struct replica *replica, uint8_t index, uint64_t epoch,
                    const struct replica_part *part, uint64_t now)
{
    struct replica_copy *copy = &replica->copies[index];
    if (epoch != replica->epoch || copy->state == REPLICA_ABSENT || copy->fenced ||
        replica->phase == REPLICA_IDLE || replica->phase == REPLICA_ENDED)
        return;
    copy->fenced = true;
    if (copy->boot == 0)
        copy->boot = part->boot;
    if (replica->phase == REPLICA_FENCING) {
        copy->trusted = part->watermark;
        copy->restarted = part->restarted;
        /* In sync in the metadata, and it was never told: another store under its name, empty. */
        if (copy->state == REPLICA_IN_SYNC && part->role == REPLICA_ABSENT &&
            replica->generation > 0) {
            REACH(replica_wiped);
            copy->lost = true;
        }
    }
    replica_fencing_step(replica, now);
    replica_plan(replica, now);
}

/* A new group has nothing to lose, but from generation 1 on a copy that was never told its role is
 * one that lost everything. So all who will be in sync are told before. */
void replica_bearing_step(struct replica *replica, uint64_t now)
{
    if (replica->phase != REPLICA_BEARING || replica->transacting)
        return;
    uint8_t told = 0;
    uint8_t asked = 0;
    uint64_t asked_ns = 0;
    EACH_COPY(replica, copy)
    {
        /* One that was fenced since is not among those who were asked. */
        bool was_asked = copy->role_told == REPLICA_IN_SYNC || (MUTANT(239) && copy->fenced);
        if (copy->state != REPLICA_IN_SYNC || !was_asked)
            continue;
        asked |= copy_bit(replica, copy);
        asked_ns = MAX(asked_ns, copy->asked_ns);
        if (!copy->untold)
            told |= copy_bit(replica, copy);
    }
    bool waited = now - MIN(now, asked_ns) >= replica->options.copy_timeout_ns;
    if (told == 0 || (told != asked && !waited))
        return;
    replica->settled = true;
    shrink(replica, told, now);
}

void replica_reconciled(struct replica *replica, uint32_t attempt, bool complete, uint64_t sequence,
                        uint64_t now)
{
    if (replica->phase != REPLICA_RECONCILING || replica->attempt != attempt)
        return;
    if (!complete) {
        replica_reconcile_begin(replica);
        return;
    }
    assert(list_empty(&replica->settles));
    /* A copy that lost what it had meanwhile was not made whole: it goes first. */
    if (replica_whole(replica) != replica_in_sync(replica) || replica->transacting) {
        replica_reconcile_begin(replica);
        return;
    }
    replica->newest = MAX(replica->newest, sequence);
    replica->settled = true;
    replica_activate(replica, now);
}

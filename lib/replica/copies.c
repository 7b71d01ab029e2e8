/* SPDX-License-Identifier: Apache-2.0 */
/* Copies that come, go, fail, restart, and catch up. */
#include "replica/internal.h"

/* --- Sets of copies ------------------------------------------------------------------------- */

static uint8_t mask_of_state(const struct replica *replica, uint8_t least)
{
    uint8_t mask = 0;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        if (replica->copies[i].state >= least)
            mask |= (uint8_t)(1u << i);
    }
    return mask;
}

uint8_t replica_placed(const struct replica *replica)
{
    return mask_of_state(replica, REPLICA_STALE);
}

uint8_t replica_in_sync(const struct replica *replica)
{
    return mask_of_state(replica, REPLICA_IN_SYNC);
}

uint8_t replica_connected_mask(const struct replica *replica)
{
    uint8_t mask = 0;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++)
        mask |= (uint8_t)(replica->copies[i].connected << i);
    return mask;
}

static uint8_t lost_mask(const struct replica *replica)
{
    uint8_t mask = 0;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++)
        mask |= (uint8_t)(replica->copies[i].lost << i);
    return mask;
}

uint8_t replica_whole(const struct replica *replica)
{
    return replica_in_sync(replica) & (uint8_t)~lost_mask(replica);
}

uint8_t replica_targets(const struct replica *replica)
{
    uint8_t mask = replica_whole(replica);
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        if (replica->copies[i].catches >= REPLICA_COPYING && !replica->copies[i].lost)
            mask |= (uint8_t)(1u << i);
    }
    return mask;
}

bool replica_counts(const struct replica *replica, uint8_t index, uint32_t generation)
{
    const struct replica_copy *copy = &replica->copies[index];
    return copy->state != REPLICA_ABSENT && generation >= copy->added;
}

bool replica_owes_role(const struct replica *replica, const struct replica_copy *copy)
{
    if (copy->catches == REPLICA_ASKED)
        return true;
    return copy->state == REPLICA_IN_SYNC && copy->untold && (!copy->lost || MUTANT(238)) &&
           replica->phase >= REPLICA_BEARING;
}

/* --- Failing -------------------------------------------------------------------------------- */

void replica_abort_catching(struct replica *replica, struct replica_copy *copy, uint64_t now)
{
    if (copy->catches == REPLICA_COPYING || copy->catches == REPLICA_SEALING)
        copy->todo |= TODO_STOP;
    copy->todo &= (uint8_t) ~(TODO_ROLE | TODO_RESYNC | TODO_FLUSH | TODO_WATERMARK);
    copy->catches = REPLICA_NOT_CATCHING;
    copy->flush_token = 0;
    copy->attempt = ++replica->attempts;
    if (copy->attempts < 6)
        copy->attempts++;
    copy->retry_ns = now + (replica->options.retry_ns << copy->attempts);
    replica_writes_evaluate(replica);
    replica_flush_evaluate(replica);
}

void replica_mark_failed(struct replica *replica, struct replica_copy *copy, uint64_t now)
{
    /* Nothing is asked of it yet but to obey: opening waits for that, or goes on without it. */
    if (replica->phase < REPLICA_RECONCILING)
        return;
    /* Once asked for, the transaction that calls it in sync is waited for. */
    if (MUTANT(241) && copy->catches == REPLICA_JOINING)
        replica_abort_catching(replica, copy, now);
    else if (copy->catches == REPLICA_JOINING || copy->state == REPLICA_IN_SYNC)
        copy->failed = true;
    else if (copy->catches != REPLICA_NOT_CATCHING)
        replica_abort_catching(replica, copy, now);
}

void replica_mark_well(struct replica *replica, struct replica_copy *copy)
{
    if (!replica->transacting)
        copy->failed = false;
}

void replica_failed(struct replica *replica, uint8_t index, uint64_t now)
{
    if (replica->copies[index].state == REPLICA_ABSENT)
        return;
    replica_mark_failed(replica, &replica->copies[index], now);
    replica_plan(replica, now);
}

/* --- Connections ---------------------------------------------------------------------------- */

/* It has not what it acknowledged: that counts no more, nor what it says from now on. Least of all
 * is it told its role: the watermark in that would cover what it lost. */
static void mark_lost(struct replica *replica, struct replica_copy *copy, uint64_t now)
{
    copy->lost = true;
    if (MUTANT(246) && copy->catches == REPLICA_JOINING)
        return;
    copy->flushed = 0;
    copy->flushed_to = 0;
    copy->flush_token = 0;
    copy->todo &= TODO_FENCE;
    if (!MUTANT(237))
        replica_writes_forget(replica, copy_bit(replica, copy), true, now);
}

static void lose(struct replica *replica, struct replica_copy *copy, uint64_t now)
{
    mark_lost(replica, copy, now);
    /* Nobody kept it: whoever was told "done" must not go on as if it were so. */
    if (replica_whole(replica) == 0 && !MUTANT(232)) {
        REACH(replica_nobody_kept_it);
        replica_end(replica, -EIO);
        return;
    }
    if (MUTANT(232))
        copy->lost = false;
    replica->todo |= TODO_CHANGED;
    replica_plan(replica, now);
}

static void restarted(struct replica *replica, struct replica_copy *copy, uint64_t now)
{
    copy->flush_token = 0;
    copy->restarted = true;
    if (replica->phase <= REPLICA_FENCING || replica->phase == REPLICA_BEARING) {
        copy->fenced = replica->phase == REPLICA_BEARING && copy->fenced;
        copy->untold = true;
        if (replica->phase == REPLICA_BEARING)
            copy->todo |= TODO_ROLE;
        return;
    }
    if (copy->catches == REPLICA_JOINING) {
        /* What was copied is durable, and so is what was done before that; what came since not. */
        mark_lost(replica, copy, now);
        return;
    }
    if (copy->catches != REPLICA_NOT_CATCHING) {
        REACH(replica_restarted_catching_up);
        replica_abort_catching(replica, copy, now);
        return;
    }
    if (copy->state != REPLICA_IN_SYNC || copy->lost)
        return;
    if (!MUTANT(237))
        replica_writes_forget(replica, copy_bit(replica, copy), true, now);
    if (copy->flushed == replica->done) {
        REACH(replica_restarted_and_lost_nothing);
        return;
    }
    lose(replica, copy, now);
}

void replica_connected(struct replica *replica, uint8_t index, uint64_t boot, uint64_t now)
{
    struct replica_copy *copy = &replica->copies[index];
    if (copy->state == REPLICA_ABSENT || replica->phase == REPLICA_ENDED)
        return;
    if (replica->phase == REPLICA_VIEWING) {
        copy->connected = true;
        replica->todo |= TODO_CHANGED;
        return;
    }
    copy->connected = true;
    copy->gone_ns = 0;
    copy->failed = false;
    copy->asked_ns = now;
    bool again = copy->boot != 0 && copy->boot != boot;
    copy->boot = boot;
    if (again)
        restarted(replica, copy, now);
    if (replica->phase == REPLICA_ENDED)
        return;
    if (!copy->fenced)
        copy->todo |= TODO_FENCE;
    if (replica_owes_role(replica, copy))
        copy->todo |= TODO_ROLE;
    copy->flush_token = 0;
    replica_writes_forget(replica, copy_bit(replica, copy), false, now);
    replica_flush_kick(replica);
    replica_find_sources(replica, now);
    replica->todo |= TODO_CHANGED;
    replica_plan(replica, now);
}

void replica_disconnected(struct replica *replica, uint8_t index, uint64_t now)
{
    struct replica_copy *copy = &replica->copies[index];
    if (copy->state == REPLICA_ABSENT || !copy->connected)
        return;
    copy->connected = false;
    copy->gone_ns = now;
    copy->flush_token = 0;
    replica->todo |= TODO_CHANGED;
}

void replica_refused(struct replica *replica, uint8_t index, uint64_t fence, uint64_t now)
{
    struct replica_copy *copy = &replica->copies[index];
    if (replica->phase == REPLICA_IDLE || replica->phase == REPLICA_ENDED)
        return;
    if (fence > replica->epoch) {
        replica_end(replica, IOMESH_FENCED);
        return;
    }
    if (fence == replica->epoch || copy->state == REPLICA_ABSENT || !copy->fenced)
        return;
    /* It obeyed this epoch and knows nothing of it any more: another store under its name. */
    REACH(replica_wiped_under_way);
    if (replica->phase == REPLICA_FENCING) {
        copy->fenced = false;
        copy->todo |= TODO_FENCE;
    } else if (copy->catches == REPLICA_JOINING) {
        mark_lost(replica, copy, now);
    } else if (copy->catches != REPLICA_NOT_CATCHING) {
        replica_abort_catching(replica, copy, now);
    } else if (copy->state == REPLICA_IN_SYNC && !copy->lost) {
        lose(replica, copy, now);
    }
}

/* --- Roles and catching up ------------------------------------------------------------------ */

void replica_ask_role(struct replica_copy *copy, uint8_t role, uint64_t now)
{
    copy->role_told = role;
    copy->untold = role == REPLICA_IN_SYNC;
    copy->asked_ns = now;
    copy->todo |= TODO_ROLE;
}

/* Readable, and not the same one again if there is another: it may be what failed. */
static uint8_t choose_source(const struct replica *replica, uint32_t attempt)
{
    uint8_t well[REPLICA_COPIES_MAX];
    uint32_t count = 0;
    uint8_t other = REPLICA_COPIES_MAX;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_copy *copy = &replica->copies[i];
        if (copy->state != REPLICA_IN_SYNC || copy->lost || !copy->connected || copy->untold)
            continue;
        if (copy->failed)
            other = i;
        else
            well[count++] = i;
    }
    return count == 0 ? other : well[attempt % count];
}

static bool source_stays(const struct replica *replica, uint8_t index)
{
    const struct replica_copy *source = &replica->copies[index];
    if (source->state != REPLICA_IN_SYNC || source->lost)
        return false;
    if (!source->failed)
        return true;
    uint8_t better = choose_source(replica, 0);
    return better == REPLICA_COPIES_MAX || replica->copies[better].failed;
}

void replica_find_sources(struct replica *replica, uint64_t now)
{
    EACH_COPY(replica, copy)
    {
        bool early = MUTANT(224) && copy->catches == REPLICA_ASKED;
        if ((copy->catches != REPLICA_COPYING && !early) || now < copy->retry_ns)
            continue;
        if (copy->source < REPLICA_COPIES_MAX) {
            if (source_stays(replica, copy->source))
                continue;
            REACH(replica_source_left);
        }
        copy->source = choose_source(replica, replica->attempts);
        copy->todo &= (uint8_t)~TODO_RESYNC;
        if (copy->source == REPLICA_COPIES_MAX)
            continue;
        copy->attempt = ++replica->attempts;
        copy->todo |= TODO_RESYNC;
    }
}

void replica_role_told(struct replica *replica, uint8_t index, const struct replica_part *part,
                       uint64_t now)
{
    struct replica_copy *copy = &replica->copies[index];
    if (copy->state == REPLICA_ABSENT || replica->phase == REPLICA_ENDED)
        return;
    if (part->generation < copy->added && !MUTANT(207))
        return;
    replica_mark_well(replica, copy);
    if (copy->catches == REPLICA_ASKED && part->role == REPLICA_CATCHING_UP) {
        copy->fenced = true;
        copy->trusted = part->watermark;
        copy->catches = REPLICA_COPYING;
        copy->retry_ns = now;
        if (!MUTANT(224))
            copy->source = REPLICA_COPIES_MAX;
        else if (copy->attempt == 0)
            copy->catches = REPLICA_SEALING;
        /* From here on it gets every write, those under way too; then comes the list. */
        replica_writes_forget(replica, copy_bit(replica, copy), false, now);
        replica_find_sources(replica, now);
        return;
    }
    if (copy->state == REPLICA_IN_SYNC && copy->untold && part->role == REPLICA_IN_SYNC) {
        copy->untold = false;
        replica->todo |= TODO_CHANGED;
        replica_find_sources(replica, now);
        replica_bearing_step(replica, now);
        replica_plan(replica, now);
    }
}

void replica_resynced(struct replica *replica, uint8_t index, uint32_t attempt, bool complete,
                      uint64_t now)
{
    struct replica_copy *copy = &replica->copies[index];
    if (MUTANT(224) && copy->catches == REPLICA_ASKED && complete)
        copy->attempt = 0;
    if (copy->catches != REPLICA_COPYING || copy->source >= REPLICA_COPIES_MAX)
        return;
    if (copy->attempt != attempt && !MUTANT(207))
        return;
    if (!complete) {
        copy->source = REPLICA_COPIES_MAX;
        copy->retry_ns = now + replica->options.retry_ns;
        return;
    }
    copy->source = REPLICA_COPIES_MAX;
    /* What it took must be durable before the metadata says that it has it: it may be the only one
     * that comes back. */
    copy->flush_token = 0;
    copy->catches = MUTANT(231) ? REPLICA_JOINING : REPLICA_SEALING;
    replica_flush_kick(replica);
    replica_plan(replica, now);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions: who is in sync, changed one record at a time. One is under way at most, and it is
 * repeated, the same, until it is known whether it was committed.
 */
#include "replica/internal.h"

static void current_members(const struct replica *replica, struct replica_member *ret_members)
{
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++)
        ret_members[i] = (struct replica_member){.store = replica->copies[i].store,
                                                 .state = replica->copies[i].state};
}

static bool has_member(const struct replica_member *members, const struct replica_member *wanted)
{
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        if (members[i].state == wanted->state && members[i].store == wanted->store)
            return true;
    }
    return false;
}

static bool same_members(const struct replica_member *a, const struct replica_member *b)
{
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        if (a[i].state != REPLICA_ABSENT && !has_member(b, &a[i]))
            return false;
        if (b[i].state != REPLICA_ABSENT && !has_member(a, &b[i]))
            return false;
    }
    return true;
}

static void apply_member(struct replica *replica, struct replica_copy *copy, uint8_t state,
                         uint64_t now);

void replica_propose(struct replica *replica, const struct replica_member *members, uint64_t now)
{
    assert(!replica->transacting);
    replica->next.epoch = replica->epoch;
    replica->next.generation = replica->generation + 1;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++)
        replica->next.members[i] = members[i];
    replica->transacting = true;
    replica->transact_at_ns = now;
    replica->todo |= TODO_TRANSACT;
    if (!MUTANT(201) || replica->phase != REPLICA_ACTIVE)
        return;
    EACH_COPY(replica, copy)
    if (members[copy_index(replica, copy)].state == REPLICA_STALE && copy->state == REPLICA_IN_SYNC)
        apply_member(replica, copy, REPLICA_STALE, now);
    replica_writes_evaluate(replica);
}

/* --- What is wanted ------------------------------------------------------------------------- */

static bool may_go(const struct replica *replica, const struct replica_copy *copy, uint32_t left)
{
    /* The last one in sync never goes: it is the volume. */
    if (left == 0)
        return MUTANT(229);
    /* One that lost what it had is not in sync, whatever the record says. */
    return copy->lost || replica->phase != REPLICA_ACTIVE || left >= replica->options.min_copies;
}

/* With so many others in sync. Where there are too few a copy that is to go is needed yet, whether
 * it has everything or not: it catches up, and writes go on. */
static bool leaves(const struct replica *replica, const struct replica_copy *copy, uint32_t others)
{
    return copy->leaving && replica->phase == REPLICA_ACTIVE &&
           (others >= replica->options.min_copies || MUTANT(332));
}

/* Who shall be stale, or go. A copy that is whole stays before one that is not. */
static bool plan_drops(const struct replica *replica, struct replica_member *members)
{
    bool changed = false;
    uint32_t left = copies_count(replica_in_sync(replica));
    for (int lost = 1; lost >= 0; lost--) {
        for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
            const struct replica_copy *copy = &replica->copies[i];
            if (copy->state != REPLICA_IN_SYNC || copy->lost != lost)
                continue;
            if (!copy->lost && !copy->failed && !copy->leaving)
                continue;
            if (!may_go(replica, copy, left - 1))
                continue;
            left--;
            members[i].state = leaves(replica, copy, left) ? REPLICA_ABSENT : REPLICA_STALE;
            changed = true;
        }
    }
    EACH_COPY(replica, copy)
    {
        uint8_t i = copy_index(replica, copy);
        if (copy->state == REPLICA_IN_SYNC || copy->catches != REPLICA_NOT_CATCHING)
            continue;
        if (leaves(replica, copy, left))
            members[i].state = REPLICA_ABSENT;
        else if (copy->state == REPLICA_CATCHING_UP)
            members[i].state = REPLICA_STALE;
        changed = changed || members[i].state != copy->state;
    }
    return changed;
}

static bool plan_adds(const struct replica *replica, struct replica_member *members, uint64_t now)
{
    bool changed = false;
    bool readable = false;
    bool too_few = copies_count(replica_in_sync(replica)) < replica->options.min_copies;
    EACH_COPY(replica, copy)
    if (copy->state == REPLICA_IN_SYNC && !copy->lost && !copy->untold)
        readable = true;
    EACH_COPY(replica, copy)
    {
        uint8_t i = copy_index(replica, copy);
        if (copy->catches == REPLICA_JOINING) {
            members[i].state = REPLICA_IN_SYNC;
            changed = true;
        } else if (copy->state == REPLICA_STALE && copy->wanted && (!copy->leaving || too_few) &&
                   copy->connected && copy->fenced && now >= copy->retry_ns && readable) {
            members[i].state = REPLICA_CATCHING_UP;
            changed = true;
        }
    }
    return changed;
}

void replica_plan(struct replica *replica, uint64_t now)
{
    if (replica->transacting ||
        (replica->phase != REPLICA_RECONCILING && replica->phase != REPLICA_ACTIVE))
        return;
    /* One that broke when it was about to be called in sync, and was not asked for yet. */
    EACH_COPY(replica, copy)
    if (copy->catches == REPLICA_JOINING && (copy->failed || copy->lost)) {
        replica_abort_catching(replica, copy, now);
        copy->failed = false;
        copy->lost = false;
    }
    struct replica_member members[REPLICA_COPIES_MAX];
    current_members(replica, members);
    if (plan_drops(replica, members) ||
        (replica->phase == REPLICA_ACTIVE && plan_adds(replica, members, now)))
        replica_propose(replica, members, now);
}

/* --- What was committed --------------------------------------------------------------------- */

static void apply_stale(struct replica *replica, struct replica_copy *copy, uint64_t now)
{
    copy->failed = false;
    copy->lost = false;
    copy->untold = false;
    copy->demoted = false;
    copy->slow_ns = 0;
    copy->quick_ns = 0;
    copy->latency_ns = 0; /* It is judged by what it does when it is back. */
    copy->todo &= TODO_FENCE;
    copy->flush_token = 0;
    copy->retry_ns = MAX(copy->retry_ns, now + replica->options.retry_ns);
    if (copy->evicted)
        copy->retry_ns = now + (replica->options.slow_for_ns << MIN(copy->evictions, 8u));
}

static void apply_catching_up(struct replica *replica, struct replica_copy *copy, uint64_t now)
{
    copy->added = replica->generation;
    copy->flushed = 0;
    copy->flushed_to = 0;
    copy->flush_token = 0;
    copy->failed = false;
    copy->lost = false;
    copy->source = REPLICA_COPIES_MAX;
    copy->catches = REPLICA_ASKED;
    replica_ask_role(copy, REPLICA_CATCHING_UP, now);
    /* What it acknowledged in an earlier membership it may be about to set aside. */
    if (!MUTANT(206))
        replica_writes_forget(replica, copy_bit(replica, copy), true, now);
}

static void apply_in_sync(struct replica *replica, struct replica_copy *copy, uint64_t now)
{
    copy->catches = REPLICA_NOT_CATCHING;
    copy->attempts = 0;
    copy->evicted = false;
    /* If its machine restarted while that was under way it goes again, and is told nothing. */
    if (!copy->lost || MUTANT(238))
        replica_ask_role(copy, REPLICA_IN_SYNC, now);
    if (copy->replaces < REPLICA_COPIES_MAX && copy->replaces != copy_index(replica, copy))
        replica->copies[copy->replaces].leaving = true;
    copy->replaces = copy_index(replica, copy);
}

static void apply_member(struct replica *replica, struct replica_copy *copy, uint8_t state,
                         uint64_t now)
{
    uint8_t before = copy->state;
    copy->state = state;
    switch (state) {
    case REPLICA_STALE:
        if (before != REPLICA_STALE)
            apply_stale(replica, copy, now);
        break;
    case REPLICA_CATCHING_UP: apply_catching_up(replica, copy, now); break;
    case REPLICA_IN_SYNC:
        if (before != REPLICA_IN_SYNC)
            apply_in_sync(replica, copy, now);
        break;
    default: *copy = (struct replica_copy){.state = REPLICA_ABSENT}; break;
    }
}

static void committed(struct replica *replica, uint64_t now)
{
    uint8_t before = replica_in_sync(replica);
    replica->transacting = false;
    replica->todo &= (uint16_t)~TODO_TRANSACT;
    replica->generation = replica->next.generation;
    EACH_COPY(replica, copy)
    {
        uint8_t state = replica->next.members[copy_index(replica, copy)].state;
        /* A copy that is catching up and is not what this changed goes on as it was. */
        if (state != copy->state)
            apply_member(replica, copy, state, now);
    }
    assert(replica_in_sync(replica) != 0 || MUTANT(229) || MUTANT(201));
    if (replica_whole(replica) == 0) {
        REACH(replica_kept_by_one_that_went);
        replica_end(replica, -EIO);
        return;
    }
    replica->todo |= TODO_CHANGED;
    if (replica->phase == REPLICA_SHRINKING ||
        (replica->phase == REPLICA_RECONCILING && before != replica_in_sync(replica)))
        replica_reconcile_begin(replica);
    else if (replica->phase == REPLICA_BEARING)
        replica_activate(replica, now);
    replica_writes_evaluate(replica);
    replica_flush_evaluate(replica);
    replica_flush_kick(replica);
    replica_find_sources(replica, now);
    replica_plan(replica, now);
}

void replica_transacted(struct replica *replica, const struct replica_record *record, uint64_t now)
{
    if (replica->phase == REPLICA_IDLE || replica->phase == REPLICA_ENDED)
        return;
    if (record->epoch > replica->epoch) {
        replica_end(replica, IOMESH_FENCED);
        return;
    }
    if (record->epoch < replica->epoch || record->generation < replica->generation)
        return; /* Of long ago. */
    if (record->generation == replica->generation) {
        if (replica->transacting)
            replica_transact_unknown(replica, now);
        return;
    }
    if (!replica->transacting || record->generation != replica->next.generation ||
        !same_members(record->members, replica->next.members)) {
        replica_end(replica, IOMESH_FENCED);
        return;
    }
    committed(replica, now);
}

void replica_transact_unknown(struct replica *replica, uint64_t now)
{
    /* The same again: an earlier one may yet arrive. */
    if (replica->transacting)
        replica->transact_at_ns = now + replica->options.retry_ns;
}

/* --- Wishes --------------------------------------------------------------------------------- */

int replica_add(struct replica *replica, uint64_t store, uint8_t replaces, uint8_t *ret_copy)
{
    if (replica->phase != REPLICA_ACTIVE || replica->transacting)
        return -EAGAIN;
    struct replica_copy *free_copy = NULL;
    for (struct replica_copy *copy = replica->copies; copy < replica->copies + REPLICA_COPIES_MAX;
         copy++) {
        if (copy->state == REPLICA_ABSENT)
            free_copy = free_copy != NULL ? free_copy : copy;
        else if (copy->store == store)
            return -EEXIST;
    }
    if (free_copy == NULL)
        return -ENOSPC;
    uint8_t index = copy_index(replica, free_copy);
    *free_copy = (struct replica_copy){.store = store,
                                       .state = REPLICA_STALE,
                                       .wanted = true,
                                       .source = REPLICA_COPIES_MAX,
                                       .replaces = replaces < REPLICA_COPIES_MAX ? replaces : index,
                                       .added = replica->generation + 1};
    /* In the record before anything is asked of it, so that who opens next fences it too. */
    struct replica_member members[REPLICA_COPIES_MAX];
    current_members(replica, members);
    replica_propose(replica, members, replica->began_ns);
    *ret_copy = index;
    return 0;
}

void replica_drop(struct replica *replica, uint8_t index)
{
    if (replica->copies[index].state == REPLICA_ABSENT)
        return;
    replica->copies[index].leaving = true;
    if (replica->copies[index].catches != REPLICA_NOT_CATCHING &&
        replica->copies[index].catches != REPLICA_JOINING)
        replica_abort_catching(replica, &replica->copies[index], replica->began_ns);
}

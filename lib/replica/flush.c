/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is durable where. `done` counts writes that were done; a copy's `flushed` is that count when
 * the last flush that it answered was sent. So one flush of a copy serves all who asked before it
 * was sent, and a copy whose machine restarted lost nothing if the two are equal.
 */
#include "replica/internal.h"

/* Who gets writes gets flushes: also a copy that joins meanwhile holds what was promised. */
static uint8_t flush_copies(const struct replica *replica)
{
    return MUTANT(233) ? replica_in_sync(replica) & (uint8_t)-replica_in_sync(replica)
                       : replica_required(replica);
}

void replica_flush_kick(struct replica *replica)
{
    uint8_t copies = flush_copies(replica) & replica_targets(replica);
    EACH_COPY(replica, copy)
    {
        bool wanted = copy->flushed < replica->flush_wanted || copy->catches == REPLICA_SEALING;
        if ((copies & copy_bit(replica, copy)) == 0 || !wanted || copy->flush_token != 0 ||
            (copy->lost && !MUTANT(246)))
            continue;
        copy->todo |= TODO_FLUSH;
    }
}

uint64_t replica_flushed_to(const struct replica *replica)
{
    return replica->flushed_to;
}

void replica_flush_evaluate(struct replica *replica)
{
    uint8_t copies = flush_copies(replica);
    if (replica_in_sync(replica) == 0)
        return;
    uint64_t flushed = UINT64_MAX;
    uint64_t flushed_to = UINT64_MAX;
    EACH_COPY(replica, copy)
    {
        if ((copies & copy_bit(replica, copy)) == 0)
            continue;
        flushed = MIN(flushed, copy->flushed);
        flushed_to = MIN(flushed_to, copy->flushed_to);
    }
    replica->flushed_to = MAX(replica->flushed_to, flushed_to);
    struct list *next;
    for (struct list *node = replica->flushes.next; node != &replica->flushes; node = next) {
        next = node->next;
        struct replica_flush *flush = CONTAINER_OF(node, struct replica_flush, node);
        if (flush->count > flushed)
            continue;
        list_remove(node);
        list_push_back(&replica->flushed, node);
        flush->state = REQUEST_DONE;
    }
}

void replica_flush_start(struct replica *replica, struct replica_flush *flush, uint64_t now)
{
    assert(replica->phase == REPLICA_ACTIVE);
    assert(flush->state == REQUEST_IDLE);
    flush->count = replica->done;
    flush->asked_ns = now;
    flush->state = REQUEST_FLYING;
    list_push_back(&replica->flushes, &flush->node);
    replica->flush_wanted = MAX(replica->flush_wanted, flush->count);
    replica_flush_kick(replica);
    replica_flush_evaluate(replica);
}

static void sealed(struct replica *replica, struct replica_copy *copy, uint64_t set_aside,
                   uint64_t now)
{
    /* No copy is in sync while it may not say what a block of it is. */
    if (set_aside == 0 || MUTANT(230)) {
        copy->catches = REPLICA_JOINING;
        return;
    }
    REACH(replica_still_set_aside);
    copy->catches = REPLICA_COPYING;
    copy->source = REPLICA_COPIES_MAX;
    replica_find_sources(replica, now);
}

void replica_flushed(struct replica *replica, uint8_t index, uint64_t token, uint32_t generation,
                     uint64_t set_aside, uint64_t now)
{
    struct replica_copy *copy = &replica->copies[index];
    if (token == 0 || copy->flush_token != token || !replica_counts(replica, index, generation))
        return;
    /* Who has ended begins nothing: not to copy anew what is still set aside either. */
    if (replica->phase == REPLICA_ENDED && !MUTANT(331))
        return;
    copy->flush_token = 0;
    copy->flushed = copy->flushing;
    copy->flushed_to = copy->flushing_to;
    replica_mark_well(replica, copy);
    if (copy->catches == REPLICA_SEALING)
        sealed(replica, copy, set_aside, now);
    replica_flush_kick(replica);
    replica_flush_evaluate(replica);
    replica_plan(replica, now);
}

void replica_flush_refused(struct replica *replica, uint8_t index, uint64_t token,
                           uint32_t generation)
{
    struct replica_copy *copy = &replica->copies[index];
    if (token == 0 || copy->flush_token != token || generation >= replica->generation ||
        replica->phase == REPLICA_ENDED || MUTANT(410))
        return;
    copy->todo |= TODO_FLUSH;
}

void replica_flush_tick(struct replica *replica, uint64_t now)
{
    EACH_COPY(replica, copy)
    {
        if (copy->flush_token == 0)
            continue;
        if (now - MIN(now, copy->flush_ns) >= replica->options.copy_timeout_ns)
            replica_mark_failed(replica, copy, now);
        if (copy->flush_token != 0 && replica->options.resend_ns != 0 &&
            now - MIN(now, copy->resent_ns) >= replica->options.resend_ns)
            copy->todo |= TODO_FLUSH;
    }
    if (replica->phase != REPLICA_ACTIVE || now < replica->flush_at_ns)
        return;
    replica->flush_at_ns = now + replica->options.flush_ns;
    replica->flush_wanted = replica->done;
    replica_flush_kick(replica);
}

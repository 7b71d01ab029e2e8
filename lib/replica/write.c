/* SPDX-License-Identifier: Apache-2.0 */
/* Writes on their way: who must have them, who has them, and what the watermark says of it. */
#include "replica/internal.h"

uint8_t replica_required(const struct replica *replica)
{
    uint8_t mask = 0;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_copy *copy = &replica->copies[i];
        /* A copy that catches up is asked for everything before the transaction that calls it in
         * sync is sent: whoever opens next may find it committed. */
        bool joins = copy->catches >= REPLICA_COPYING;
        if (copy->state == REPLICA_IN_SYNC || joins)
            mask |= (uint8_t)(1u << i);
    }
    return mask;
}

uint64_t replica_watermark(const struct replica *replica)
{
    if (!replica->settled)
        return MUTANT(236) ? replica->newest : 0;
    if (list_empty(&replica->writes))
        return replica->newest;
    return write_of_node(replica->writes.next)->sequence - 1;
}

static void queue_unsent(struct replica *replica, struct replica_write *write)
{
    uint8_t reach = replica_targets(replica) & replica_connected_mask(replica);
    if ((write->unsent & reach) != 0 && list_empty(&write->ready))
        list_push_back(&replica->unsent, &write->ready);
}

static bool has_all(const struct replica *replica, const struct replica_write *write)
{
    uint8_t required = replica_required(replica);
    uint8_t in_sync = replica_in_sync(replica);
    if (MUTANT(202))
        required = in_sync;
    if (MUTANT(200)) {
        if (copies_count(write->acked & in_sync) * 2 > copies_count(replica_placed(replica)))
            return true;
    }
    if (in_sync == 0 || (required & ~write->acked) != 0)
        return false;
    return write->settle || copies_count(in_sync) >= replica->options.min_copies || MUTANT(234);
}

static void evaluate(struct replica *replica, struct replica_write *write)
{
    if (write->state != REQUEST_FLYING || !has_all(replica, write))
        return;
    list_remove(&write->node);
    list_remove(&write->ready);
    list_push_back(&replica->finished, &write->ready);
    write->state = REQUEST_DONE;
    if (!write->fua)
        replica->done++;
}

/* Both lists are short; `each` may take that write out, and no other. */
static void each_write(struct replica *replica,
                       void (*each)(struct replica *replica, struct replica_write *write,
                                    const void *context),
                       const void *context)
{
    struct list *lists[] = {&replica->settles, &replica->writes};
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        struct list *next;
        for (struct list *node = lists[i]->next; node != lists[i]; node = next) {
            next = node->next;
            each(replica, write_of_node(node), context);
        }
    }
}

static void evaluate_each(struct replica *replica, struct replica_write *write, const void *context)
{
    (void)context;
    evaluate(replica, write);
}

void replica_writes_evaluate(struct replica *replica)
{
    each_write(replica, evaluate_each, NULL);
}

void replica_write_start(struct replica *replica, struct replica_write *write, uint64_t sequence,
                         uint8_t have, uint64_t now)
{
    assert(write->state == REQUEST_IDLE);
    assert(replica->phase == (write->settle ? REPLICA_RECONCILING : REPLICA_ACTIVE));
    if (!write->settle) {
        assert(sequence >= replica->newest);
        replica->newest = sequence;
    }
    list_push_back(write->settle ? &replica->settles : &replica->writes, &write->node);
    list_init(&write->ready);
    write->state = REQUEST_FLYING;
    write->sequence = sequence;
    write->asked_ns = now;
    write->sent_ns = now;
    write->acked = have;
    write->sent = have;
    write->unsent = replica_targets(replica) & (uint8_t)~have;
    queue_unsent(replica, write);
    evaluate(replica, write);
}

void replica_write_told(struct replica *replica, struct replica_write *write, uint8_t index,
                        uint32_t generation, enum replica_told told, uint64_t now)
{
    struct replica_copy *copy = &replica->copies[index];
    uint8_t bit = (uint8_t)(1u << index);
    if (write->state != REQUEST_FLYING || replica->phase == REPLICA_ENDED)
        return;
    /* What it answered before it was last added it may have set aside since. */
    if (!replica_counts(replica, index, generation) && !MUTANT(206))
        return;
    if (told == REPLICA_TOLD_STALE_GENERATION) {
        /* At once only if there is something newer to say: else two of them would ask each other
         * forever. */
        if (generation < replica->generation && (write->acked & bit) == 0) {
            write->unsent |= bit & replica_targets(replica);
            queue_unsent(replica, write);
        }
        return;
    }
    if (copy->lost)
        return;
    if ((write->acked & bit) == 0 && copy->state == REPLICA_IN_SYNC)
        replica_sample(copy, now - MIN(now, write->asked_ns), now);
    write->acked |= bit;
    write->unsent &= (uint8_t)~bit;
    replica_mark_well(replica, copy);
    evaluate(replica, write);
}

void replica_write_cancel(struct replica *replica, struct replica_write *write)
{
    (void)replica;
    if (write->state == REQUEST_IDLE)
        return;
    if (write->state == REQUEST_FLYING)
        list_remove(&write->node);
    list_remove(&write->ready);
    write->state = REQUEST_IDLE;
}

struct forget {
    uint8_t copies;
    bool acked;
    uint64_t now;
};

static void forget_each(struct replica *replica, struct replica_write *write, const void *context)
{
    const struct forget *forget = context;
    if (forget->acked)
        write->acked &= (uint8_t)~forget->copies;
    uint8_t again = forget->copies & replica_targets(replica) & (uint8_t)~write->acked;
    if (again == 0)
        return;
    write->unsent |= again;
    write->asked_ns = forget->now;
    queue_unsent(replica, write);
}

void replica_writes_forget(struct replica *replica, uint8_t copies, bool acked, uint64_t now)
{
    struct forget forget = {.copies = copies, .acked = acked, .now = now};
    each_write(replica, forget_each, &forget);
}

struct lateness {
    uint64_t now;
    uint8_t *silent; /* Copies that owe an answer for too long. */
};

static void tick_each(struct replica *replica, struct replica_write *write, const void *context)
{
    const struct lateness *late = context;
    const struct replica_options *options = &replica->options;
    if (late->now - MIN(late->now, write->asked_ns) >= options->copy_timeout_ns)
        *late->silent |= replica_required(replica) & (uint8_t)~write->acked;
    if (options->resend_ns == 0 || late->now - MIN(late->now, write->sent_ns) < options->resend_ns)
        return;
    write->sent_ns = late->now;
    write->unsent |= replica_targets(replica) & (uint8_t)~write->acked;
    queue_unsent(replica, write);
}

void replica_writes_tick(struct replica *replica, uint64_t now)
{
    uint8_t silent = 0;
    struct lateness late = {.now = now, .silent = &silent};
    each_write(replica, tick_each, &late);
    /* Only now: it may end writes, others than the one looked at too. */
    EACH_COPY(replica, copy)
    if ((silent & copy_bit(replica, copy)) != 0)
        replica_mark_failed(replica, copy, now);
}

static void end_each(struct replica *replica, struct replica_write *write, const void *context)
{
    (void)context;
    list_remove(&write->node);
    list_remove(&write->ready);
    list_push_back(&replica->finished, &write->ready);
    write->state = REQUEST_DONE;
}

void replica_writes_end(struct replica *replica)
{
    each_write(replica, end_each, NULL);
}

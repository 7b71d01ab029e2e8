/* SPDX-License-Identifier: Apache-2.0 */
/* The session, the passing of time, and the one door out: replica_next(). */
#include "replica/internal.h"

#define GRACE_NS (250 * NS_PER_MS)
#define COPY_TIMEOUT_NS (2 * NS_PER_S)
#define SLOW_NS (50 * NS_PER_MS)

static void set_default(uint64_t *option, uint64_t value)
{
    if (*option == 0)
        *option = value;
}

void replica_init(struct replica *replica, const struct replica_options *options)
{
    *replica = (struct replica){.options = *options};
    struct replica_options *set = &replica->options;
    if (set->min_copies == 0)
        set->min_copies = 1;
    set_default(&set->grace_ns, GRACE_NS);
    set_default(&set->copy_timeout_ns, COPY_TIMEOUT_NS);
    set_default(&set->fence_timeout_ns, set->copy_timeout_ns);
    set_default(&set->retry_ns, 100 * NS_PER_MS);
    set_default(&set->idle_ns, 100 * NS_PER_MS);
    set_default(&set->flush_ns, NS_PER_S);
    set_default(&set->hedge_ns, NS_PER_MS);
    set_default(&set->slow_ns, SLOW_NS);
    set_default(&set->evict_ns, NS_PER_S);
    set_default(&set->slow_for_ns, 10 * NS_PER_S);
    list_init(&replica->writes);
    list_init(&replica->settles);
    list_init(&replica->unsent);
    list_init(&replica->finished);
    list_init(&replica->flushes);
    list_init(&replica->flushed);
}

void replica_set(struct replica *replica, const struct replica_options *options)
{
    struct replica_options *set = &replica->options;
    set->grace_ns = options->grace_ns;
    set->copy_timeout_ns = options->copy_timeout_ns;
    set->slow_ns = options->slow_ns;
    set_default(&set->grace_ns, GRACE_NS);
    set_default(&set->copy_timeout_ns, COPY_TIMEOUT_NS);
    set_default(&set->slow_ns, SLOW_NS);
    set->fence_timeout_ns = set->copy_timeout_ns;
}

/* --- The session ---------------------------------------------------------------------------- */

void replica_begin(struct replica *replica, const struct replica_grant *grant, uint64_t now)
{
    assert(replica->phase == REPLICA_IDLE || replica->phase == REPLICA_ENDED);
    assert(list_empty(&replica->writes) && list_empty(&replica->settles));
    assert(list_empty(&replica->finished) && list_empty(&replica->flushes));
    struct replica_options options = replica->options;
    uint64_t tokens = replica->flush_tokens;
    uint32_t attempts = replica->attempts;
    replica_init(replica, &options);
    replica->phase = REPLICA_FENCING;
    replica->epoch = grant->record.epoch;
    replica->generation = grant->record.generation;
    replica->bound_ns = grant->bound_ns;
    replica->answer_from_ns = grant->old_until_ns;
    replica->began_ns = now;
    replica->newest = grant->sequence;
    replica->flush_tokens = tokens;
    replica->attempts = attempts;
    replica->done = 1;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_member *member = &grant->record.members[i];
        if (member->state == REPLICA_ABSENT)
            continue;
        /* What a former owner was adding is to be added anew: it may hold what nobody has. */
        replica->copies[i] = (struct replica_copy){
            .store = member->store,
            .state = member->state == REPLICA_IN_SYNC ? REPLICA_IN_SYNC : REPLICA_STALE,
            .wanted = true,
            .source = REPLICA_COPIES_MAX,
            .replaces = i,
            .gone_ns = now,
        };
    }
}

void replica_view(struct replica *replica, const struct replica_record *record, uint64_t bound_ns)
{
    assert(replica->phase == REPLICA_IDLE);
    replica->phase = REPLICA_VIEWING;
    replica->generation = record->generation;
    replica->bound_ns = bound_ns;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_member *member = &record->members[i];
        if (member->state != REPLICA_IN_SYNC && !(MUTANT(362) && member->state == REPLICA_STALE))
            continue;
        replica->copies[i] = (struct replica_copy){.store = member->store,
                                                   .state = REPLICA_IN_SYNC,
                                                   .source = REPLICA_COPIES_MAX,
                                                   .replaces = i};
    }
}

void replica_lease(struct replica *replica, uint64_t bound_ns)
{
    if (bound_ns <= replica->bound_ns)
        return;
    replica->bound_ns = bound_ns;
    replica->todo |= TODO_CHANGED;
}

void replica_end(struct replica *replica, int reason)
{
    if (replica->phase == REPLICA_IDLE || replica->phase == REPLICA_ENDED)
        return;
    replica->phase = REPLICA_ENDED;
    replica->reason = reason;
    replica->todo = TODO_ENDED;
    replica->transacting = false;
    EACH_COPY(replica, copy)
    copy->todo = 0;
    while (list_pop_front(&replica->unsent) != NULL)
        continue;
    replica_writes_end(replica);
    struct list *node;
    while ((node = list_pop_front(&replica->flushes)) != NULL) {
        list_push_back(&replica->flushed, node);
        CONTAINER_OF(node, struct replica_flush, node)->state = REQUEST_DONE;
    }
}

/* --- Time ----------------------------------------------------------------------------------- */

static void tick_copy(struct replica *replica, struct replica_copy *copy, uint64_t now)
{
    const struct replica_options *options = &replica->options;
    if (!copy->connected) {
        if (now - MIN(now, copy->gone_ns) >= options->grace_ns)
            replica_mark_failed(replica, copy, now);
        return;
    }
    bool owes_role = replica_owes_role(replica, copy);
    if (owes_role && now - MIN(now, copy->asked_ns) >= options->copy_timeout_ns)
        replica_mark_failed(replica, copy, now);
    bool again = options->resend_ns != 0 && now - MIN(now, copy->resent_ns) >= options->resend_ns;
    if (again && !copy->fenced)
        copy->todo |= TODO_FENCE;
    if (again && owes_role)
        copy->todo |= TODO_ROLE;
    bool hears = (replica_targets(replica) & copy_bit(replica, copy)) != 0;
    bool news = copy->told < replica_watermark(replica) || copy->told_flushed < replica->flushed_to;
    if (replica->phase == REPLICA_ACTIVE && hears && news && !MUTANT(243) &&
        now - copy->told_ns >= options->idle_ns)
        copy->todo |= TODO_WATERMARK;
}

/* It failed, is there, and cannot be spared: those left would be too few. Nothing but what it owes
 * can make it well, and what was asked of it is answered already. */
static void ask_again(struct replica *replica, struct replica_copy *copy, uint64_t now)
{
    if (copy->state != REPLICA_IN_SYNC || !copy->failed || copy->lost || !copy->connected ||
        replica->transacting || now - copy->again_ns < replica->options.copy_timeout_ns ||
        MUTANT(411))
        return;
    REACH(replica_asked_again);
    copy->again_ns = now;
    if (replica_owes_role(replica, copy))
        copy->todo |= TODO_ROLE;
    if (copy->flush_token != 0)
        copy->todo |= TODO_FLUSH;
    replica_writes_forget(replica, copy_bit(replica, copy), false, now);
}

void replica_tick(struct replica *replica, uint64_t now)
{
    if (replica->phase == REPLICA_IDLE || replica->phase >= REPLICA_ENDED)
        return;
    replica->ticked_ns = now;
    replica_fencing_step(replica, now);
    replica_bearing_step(replica, now);
    if (replica->answer_from_ns != 0 && now >= replica->answer_from_ns) {
        replica->answer_from_ns = 0;
        replica->todo |= TODO_CHANGED;
    }
    EACH_COPY(replica, copy)
    tick_copy(replica, copy, now);
    replica_writes_tick(replica, now);
    replica_flush_tick(replica, now);
    replica_slow_tick(replica, now);
    if (replica->transacting && now >= replica->transact_at_ns)
        replica->todo |= TODO_TRANSACT;
    replica_find_sources(replica, now);
    replica_plan(replica, now);
    EACH_COPY(replica, copy)
    ask_again(replica, copy, now);
}

static bool busy(const struct replica *replica)
{
    if (replica->phase != REPLICA_ACTIVE || replica->transacting || replica->answer_from_ns != 0 ||
        !list_empty(&replica->writes) || !list_empty(&replica->flushes))
        return true;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_copy *copy = &replica->copies[i];
        if (copy->state == REPLICA_ABSENT)
            continue;
        if (copy->state == REPLICA_STALE && !copy->connected)
            continue; /* It connects, or is dropped: both are events. */
        if (copy->state != REPLICA_IN_SYNC || copy->untold || !copy->connected ||
            copy->flushed < replica->done || copy->told < replica_watermark(replica) ||
            copy->told_flushed < replica->flushed_to || copy->slow_ns != 0 || copy->demoted)
            return true;
    }
    return false;
}

uint64_t replica_deadline(const struct replica *replica)
{
    if (replica->phase == REPLICA_IDLE || replica->phase >= REPLICA_ENDED || !busy(replica))
        return UINT64_MAX;
    const struct replica_options *options = &replica->options;
    uint64_t quantum = MIN(MIN(options->grace_ns, options->idle_ns), options->retry_ns);
    if (options->resend_ns != 0)
        quantum = MIN(quantum, options->resend_ns);
    return replica->ticked_ns + quantum / 2;
}

/* --- Out ------------------------------------------------------------------------------------ */

static bool next_of_group(struct replica *replica, struct replica_action *action)
{
    static const enum replica_do kinds[] = {REPLICA_DO_TRANSACT, REPLICA_DO_RECONCILE,
                                            REPLICA_DO_OPEN, REPLICA_DO_CHANGED, REPLICA_DO_ENDED};
    if (replica->todo == 0)
        return false;
    uint32_t bit = (uint32_t)__builtin_ctz(replica->todo);
    replica->todo &= (uint16_t)(replica->todo - 1);
    action->kind = kinds[bit];
    action->result = replica->reason;
    if (action->kind == REPLICA_DO_TRANSACT) {
        action->record = replica->next;
        replica->transact_at_ns = UINT64_MAX; /* Until its outcome, or that there is none. */
    }
    if (action->kind != REPLICA_DO_RECONCILE)
        return true;
    action->attempt = replica->attempt;
    action->copies = replica_whole(replica);
    action->above = UINT64_MAX;
    EACH_COPY(replica, copy)
    if ((action->copies & copy_bit(replica, copy)) != 0)
        action->above = MIN(action->above, copy->trusted);
    if (MUTANT(203))
        action->above = UINT64_MAX;
    return true;
}

static void next_flush(struct replica *replica, struct replica_copy *copy,
                       struct replica_action *action, uint64_t now)
{
    if (copy->flush_token == 0) {
        copy->flush_token = ++replica->flush_tokens;
        copy->flushing = replica->done;
        copy->flushing_to = replica_watermark(replica);
        copy->flush_ns = now;
    }
    action->token = copy->flush_token;
}

static bool next_of_copy(struct replica *replica, struct replica_copy *copy,
                         struct replica_action *action, uint64_t now)
{
    static const enum replica_do kinds[] = {REPLICA_DO_FENCE,  REPLICA_DO_ROLE,
                                            REPLICA_DO_RESYNC, REPLICA_DO_STOP,
                                            REPLICA_DO_FLUSH,  REPLICA_DO_WATERMARK};
    /* Copying is the caller's affair; the rest goes to the copy, once it is there. */
    uint8_t ready = copy->todo & (copy->connected ? 0xff : TODO_STOP | TODO_RESYNC);
    if (ready == 0)
        return false;
    uint32_t bit = (uint32_t)__builtin_ctz(ready);
    copy->todo &= (uint8_t) ~(1u << bit);
    action->kind = kinds[bit];
    action->copy = copy_index(replica, copy);
    action->generation = replica->generation;
    action->watermark = replica_watermark(replica);
    action->flushed = replica->flushed_to;
    copy->resent_ns = now;
    switch (action->kind) {
    case REPLICA_DO_ROLE:
        action->role = copy->role_told;
        /* Once per generation, so always the one in which it was added; of a new group: the next
         * one, for there is none yet. */
        if (copy->role_told == REPLICA_CATCHING_UP)
            action->generation = copy->added;
        else if (replica->phase == REPLICA_BEARING)
            action->generation = 1;
        break;
    case REPLICA_DO_RESYNC:
        action->source = copy->source;
        action->attempt = copy->attempt;
        action->above = MUTANT(209) ? UINT64_MAX : copy->trusted;
        break;
    case REPLICA_DO_FLUSH: next_flush(replica, copy, action, now); break;
    case REPLICA_DO_WATERMARK:
        copy->told = action->watermark;
        copy->told_flushed = action->flushed;
        copy->told_ns = now;
        break;
    default: break;
    }
    return true;
}

static bool next_send(struct replica *replica, struct replica_action *action, uint64_t now)
{
    struct list *node;
    while ((node = list_pop_front(&replica->unsent)) != NULL) {
        struct replica_write *write = CONTAINER_OF(node, struct replica_write, ready);
        uint8_t copies = write->unsent & replica_targets(replica) & replica_connected_mask(replica);
        if (copies == 0)
            continue;
        write->unsent &= (uint8_t)~copies;
        write->sent |= copies;
        write->sent_ns = now;
        action->kind = REPLICA_DO_SEND;
        action->write = write;
        action->copies = copies;
        action->generation = replica->generation;
        action->watermark = replica_watermark(replica);
        EACH_COPY(replica, copy)
        if ((copies & copy_bit(replica, copy)) != 0) {
            copy->told = action->watermark;
            copy->told_ns = now;
        }
        return true;
    }
    return false;
}

/* A write that was held is told of under the same rule as one that was not. */
static bool may_tell(const struct replica *replica, uint64_t now)
{
    return replica_may_answer(replica, now) &&
           (copies_count(replica_in_sync(replica)) >= replica->options.min_copies || MUTANT(234));
}

static bool next_done(struct replica *replica, struct replica_action *action, uint64_t now)
{
    bool ended = replica->phase == REPLICA_ENDED;
    action->result = ended ? replica->reason : 0;
    struct list *node = list_first(&replica->finished);
    if (node != NULL) {
        struct replica_write *write = CONTAINER_OF(node, struct replica_write, ready);
        if (write->settle || ended || may_tell(replica, now)) {
            list_remove(node);
            write->state = REQUEST_IDLE;
            action->kind = REPLICA_DO_WRITE_DONE;
            action->write = write;
            return true;
        }
    }
    node = list_first(&replica->flushed);
    if (node == NULL || !(ended || replica_may_answer(replica, now)))
        return false;
    list_remove(node);
    action->kind = REPLICA_DO_FLUSH_DONE;
    action->flush = CONTAINER_OF(node, struct replica_flush, node);
    action->flush->state = REQUEST_IDLE;
    return true;
}

bool replica_next(struct replica *replica, uint64_t now, struct replica_action *action)
{
    *action = (struct replica_action){.epoch = replica->epoch};
    if (next_of_group(replica, action))
        return true;
    EACH_COPY(replica, copy)
    {
        if (next_of_copy(replica, copy, action, now))
            return true;
    }
    return next_send(replica, action, now) || next_done(replica, action, now);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* An owner: it takes the lease, keeps sessions with stores, and does what the machine asks for. */
#include <string.h>

#include "sim/replica_rig.h"

uint64_t owner_clock(const struct owner *owner)
{
    int64_t drift = (int64_t)rig.now * owner->drift_ppm / 1000000;
    return (uint64_t)((int64_t)(rig.now + owner->offset) + drift);
}

struct message owner_words(uint32_t index, uint8_t kind, uint8_t copy)
{
    const struct owner *owner = &rig.owners[index];
    const struct replica *replica = &owner->replica;
    uint64_t store = copy < REPLICA_COPIES_MAX ? replica->copies[copy].store : 0;
    return (struct message){
        .kind = kind,
        .from = node_of_owner(index),
        .to = store == 0 ? RIG_META : node_of_store((uint32_t)store - 1),
        .life = owner->life,
        .session = store == 0 ? 0 : owner->sessions[store - 1],
        .epoch = replica->epoch,
        .generation = replica->generation,
        .watermark = replica_watermark(replica),
        .sent = owner_clock(owner),
    };
}

void owner_send(uint32_t index, uint8_t copy, struct message *message)
{
    uint64_t store = rig.owners[index].replica.copies[copy].store;
    if (store == 0 || rig.owners[index].sessions[store - 1] == 0)
        return;
    rig_send(message);
}

/* --- Its life --------------------------------------------------------------------------------- */

static void forget(struct owner *owner, uint32_t index)
{
    work_drop(index);
    memset(owner->sessions, 0, sizeof owner->sessions);
    memset(owner->copying, 0, sizeof owner->copying);
    memset(&owner->settling, 0, sizeof owner->settling);
    owner->transacting = false;
    owner->state = OWNER_OUT;
    owner->life++;
}

static void begin_again(uint32_t index, uint64_t delay)
{
    struct owner *owner = &rig.owners[index];
    owner->acquire_at = owner_clock(owner) + delay;
    rig_at(1000, EVENT_TICK, node_of_owner(index), owner->life, 0);
}

void owner_kill(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    if (!owner->up)
        return;
    rig_say("owner %u: killed", index);
    owner->up = false;
    forget(owner, index);
    rig_at(5000 + rig_below(150000), EVENT_OWNER_UP, node_of_owner(index), owner->life, 0);
}

void owner_up(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    struct replica_options options = {
        .min_copies = (uint8_t)rig.min_copies,
        .grace_ns = 12000,
        .copy_timeout_ns = rig.copy_timeout,
        .fence_timeout_ns = rig.fence_timeout,
        .resend_ns = rig.resend,
        .retry_ns = 5000,
        .idle_ns = 6000,
        .flush_ns = rig.flush_every,
        .hedge_ns = 3000,
        .slow_ns = 8000,
        .evict_ns = 15000,
        .slow_for_ns = 40000,
    };
    replica_init(&owner->replica, &options);
    owner->up = true;
    begin_again(index, rig_below(20000));
}

/* The session is over: whoever waits is told, and it may be taken anew. */
static void session_ended(uint32_t index, int reason)
{
    struct owner *owner = &rig.owners[index];
    rig_say("owner %u: session of epoch %llu ended (%d)", index,
            (unsigned long long)owner->replica.epoch, reason);
    if (reason == -EIO)
        rig.counts.lost_sessions++;
    struct replica_action action;
    while (replica_next(&owner->replica, owner_clock(owner), &action)) {
        if (action.kind == REPLICA_DO_WRITE_DONE && action.result == 0)
            rig_fail("a write was done after its session ended");
        if (action.kind == REPLICA_DO_FLUSH_DONE && action.result == 0)
            rig_fail("a flush was done after its session ended");
    }
    forget(owner, index);
    begin_again(index, 10000 + rig_below(60000));
}

/* --- What the machine asks for ---------------------------------------------------------------- */

static void transact(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    struct message message = owner_words(index, MESSAGE_TRANSACT, REPLICA_COPIES_MAX);
    message.record = owner->replica.next;
    message.request = ++owner->requests;
    owner->transacting = true;
    owner->transact_request = message.request;
    owner->transact_sent = owner_clock(owner);
    rig_send(&message);
}

static void perform(uint32_t index, const struct replica_action *action)
{
    struct owner *owner = &rig.owners[index];
    static const uint8_t kinds[] = {[REPLICA_DO_FENCE] = MESSAGE_FENCE,
                                    [REPLICA_DO_ROLE] = MESSAGE_ROLE,
                                    [REPLICA_DO_FLUSH] = MESSAGE_FLUSH,
                                    [REPLICA_DO_WATERMARK] = MESSAGE_WATERMARK};
    switch (action->kind) {
    case REPLICA_DO_FENCE:
    case REPLICA_DO_ROLE:
    case REPLICA_DO_FLUSH:
    case REPLICA_DO_WATERMARK: {
        struct message message = owner_words(index, kinds[action->kind], action->copy);
        message.generation = action->generation;
        message.watermark = action->watermark;
        message.flushed = action->flushed;
        message.role = action->role;
        message.token = action->token;
        owner_send(index, action->copy, &message);
        break;
    }
    case REPLICA_DO_TRANSACT: transact(index); break;
    case REPLICA_DO_RECONCILE: settle_begin(index, action); break;
    case REPLICA_DO_OPEN:
        rig_say("owner %u: open, epoch %llu", index, (unsigned long long)action->epoch);
        rig_at(500 + rig_below(2000), EVENT_WORK, node_of_owner(index), owner->life, 0);
        break;
    case REPLICA_DO_RESYNC: copying_begin(index, action); break;
    case REPLICA_DO_STOP: owner->copying[action->copy].active = false; break;
    case REPLICA_DO_SEND:
        if (action->write->settle)
            settle_send(index, action);
        else
            work_send(index, action);
        break;
    case REPLICA_DO_WRITE_DONE:
        if (action->write->settle)
            settle_written(index);
        else
            work_written(index, action->write, action->result);
        break;
    case REPLICA_DO_FLUSH_DONE: work_flushed(index, action->flush, action->result); break;
    case REPLICA_DO_CHANGED: work_again(index); break;
    case REPLICA_DO_ENDED: break;
    }
}

void owner_perform(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    struct replica_action action;
    uint32_t life = owner->life;
    for (uint32_t steps = 0; replica_next(&owner->replica, owner_clock(owner), &action); steps++) {
        if (steps > 10000) {
            rig_fail("actions without end: kind %d", (int)action.kind);
            return;
        }
        if (action.kind == REPLICA_DO_ENDED) {
            session_ended(index, action.result);
            return;
        }
        perform(index, &action);
        if (owner->life != life)
            return;
    }
}

/* --- What it hears ---------------------------------------------------------------------------- */

static void granted(uint32_t index, const struct message *message)
{
    struct owner *owner = &rig.owners[index];
    uint64_t now = owner_clock(owner);
    owner->known_epoch = message->record.epoch;
    if (message->status != STATUS_OK || owner->state != OWNER_ACQUIRING)
        return;
    struct replica_grant grant = {
        .record = message->record,
        .sequence = message->watermark,
        .bound_ns = message->sent + rig.ttl * 8 / 10,
        .old_until_ns = message->force ? now + rig.ttl + rig.ttl / 20 : 0,
    };
    owner->state = OWNER_IN;
    owner->force = false;
    owner->sequence = grant.sequence;
    owner->renewed_at = now;
    rig.counts.epochs++;
    replica_begin(&owner->replica, &grant, now);
    memset(owner->hello_at, 0, sizeof owner->hello_at);
}

static void meta_told(uint32_t index, const struct message *message)
{
    struct owner *owner = &rig.owners[index];
    struct replica *replica = &owner->replica;
    if (message->of == MESSAGE_ACQUIRE) {
        granted(index, message);
        return;
    }
    if (owner->state != OWNER_IN)
        return;
    if (message->of == MESSAGE_RENEW) {
        if (message->status == STATUS_OK && message->record.epoch == replica->epoch)
            replica_lease(replica, message->sent + rig.ttl * 8 / 10);
        else
            replica_end(replica, IOMESH_FENCED);
        return;
    }
    if (message->request == owner->transact_request)
        owner->transacting = false;
    if (message->record.generation > replica->generation)
        rig.counts.generations++;
    replica_transacted(replica, &message->record, owner_clock(owner));
}

static uint8_t copy_of(const struct owner *owner, uint32_t store)
{
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_copy *copy = &owner->replica.copies[i];
        if (copy->state != REPLICA_ABSENT && copy->store == store + 1)
            return i;
    }
    return REPLICA_COPIES_MAX;
}

static void store_part_told(struct replica *replica, uint8_t copy, const struct message *message,
                            uint64_t now)
{
    struct replica_part part = {.generation = message->generation,
                                .role = message->role,
                                .restarted = message->restarted,
                                .watermark = message->watermark,
                                .boot = message->boot};
    if (message->of == MESSAGE_FENCE)
        replica_fenced(replica, copy, message->epoch, &part, now);
    else
        replica_role_told(replica, copy, &part, now);
}

static void store_flush_told(struct replica *replica, uint8_t copy, const struct message *message,
                             uint64_t now)
{
    uint64_t aside = 0;
    for (uint32_t i = 0; i < RIG_BLOCKS; i++)
        aside += message->cells[i].aside;
    replica_flushed(replica, copy, message->token, message->generation, aside, now);
}

static void store_told(uint32_t index, uint32_t store, const struct message *message)
{
    struct owner *owner = &rig.owners[index];
    struct replica *replica = &owner->replica;
    uint64_t now = owner_clock(owner);
    uint8_t copy = copy_of(owner, store);
    if (copy == REPLICA_COPIES_MAX || owner->state != OWNER_IN)
        return;
    if (message->of == MESSAGE_HELLO) {
        if (message->request != owner->hello_request[store] || owner->sessions[store] != 0)
            return;
        owner->sessions[store] = message->session;
        replica_connected(replica, copy, message->boot, now);
        return;
    }
    if (message->session != owner->sessions[store] && !MUTANT(223))
        return; /* Of a session that has ended. */
    if (message->status == STATUS_RESET) {
        if (message->session != owner->sessions[store])
            return;
        owner->sessions[store] = 0;
        replica_disconnected(replica, copy, now);
        return;
    }
    if (message->status == STATUS_STALE_EPOCH) {
        replica_refused(replica, copy, message->epoch, now);
        return;
    }
    if (message->status == STATUS_FAILED) {
        replica_failed(replica, copy, now);
        return;
    }
    if (message->of == MESSAGE_FENCE || message->of == MESSAGE_ROLE) {
        store_part_told(replica, copy, message, now);
    } else if (message->of == MESSAGE_FLUSH) {
        if (message->status == STATUS_OK)
            store_flush_told(replica, copy, message, now);
    } else {
        settle_told(index, copy, message);
        copying_told(index, copy, message);
        work_told(index, copy, message);
    }
}

void owner_message(uint32_t index, const struct message *message)
{
    if (message->from == RIG_META)
        meta_told(index, message);
    else
        store_told(index, message->from - node_of_store(0), message);
    owner_perform(index);
}

/* --- Time passes ------------------------------------------------------------------------------ */

static void acquire(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    uint64_t now = owner_clock(owner);
    if (now < owner->acquire_at)
        return;
    owner->state = OWNER_ACQUIRING;
    owner->acquire_at = now + 12000 + rig_below(12000);
    struct message message = owner_words(index, MESSAGE_ACQUIRE, REPLICA_COPIES_MAX);
    message.epoch = owner->known_epoch;
    message.force = owner->force;
    rig_send(&message);
}

static void keep_sessions(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    uint64_t now = owner_clock(owner);
    for (uint8_t copy = 0; copy < REPLICA_COPIES_MAX; copy++) {
        uint64_t store = owner->replica.copies[copy].store;
        if (store == 0 || owner->sessions[store - 1] != 0 || now < owner->hello_at[store - 1])
            continue;
        owner->hello_at[store - 1] = now + rig.resend;
        struct message message = owner_words(index, MESSAGE_HELLO, copy);
        message.request = ++owner->requests;
        owner->hello_request[store - 1] = message.request;
        rig_send(&message);
    }
}

void owner_tick(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    uint64_t now = owner_clock(owner);
    rig_at(rig.tick, EVENT_TICK, node_of_owner(index), owner->life, 0);
    if (owner->state != OWNER_IN) {
        acquire(index);
        return;
    }
    if (now - owner->renewed_at >= rig.ttl / 4) {
        owner->renewed_at = now;
        struct message message = owner_words(index, MESSAGE_RENEW, REPLICA_COPIES_MAX);
        rig_send(&message);
    }
    keep_sessions(index);
    if (owner->transacting && now - owner->transact_sent >= rig.resend * 2) {
        owner->transacting = false;
        replica_transact_unknown(&owner->replica, now);
    }
    settle_tick(index);
    copying_tick(index);
    work_tick(index);
    replica_tick(&owner->replica, now);
    owner_perform(index);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A client of an owner: reads, writes and flushes under a lock of each block, and what it saw. */
#include <string.h>

#include "sim/replica_rig.h"

static bool flying(const struct owner *owner, uint8_t block, bool writes_only)
{
    for (uint32_t i = 0; i < RIG_OPS; i++) {
        const struct op *op = &owner->ops[i];
        if (op->kind == OP_WRITE && op->block == block)
            return true;
        if (op->kind == OP_READ && op->block == block && !writes_only)
            return true;
    }
    return false;
}

static void read_ask(uint32_t index, struct op *op)
{
    struct owner *owner = &rig.owners[index];
    op->asked = owner_clock(owner);
    op->held = false;
    op->hedged = false;
    op->copy = replica_read_choose(&owner->replica, owner->near, op->tried);
    if (op->copy == REPLICA_COPIES_MAX) {
        op->tried = op->bad;
        return;
    }
    op->request = ++owner->requests;
    struct message message = owner_words(index, MESSAGE_READ, op->copy);
    message.block = op->block;
    message.request = op->request;
    replica_read_began(&owner->replica, op->copy);
    owner_send(index, op->copy, &message);
    replica_read_ended(&owner->replica, op->copy, 0);
}

static void read_hedge(uint32_t index, struct op *op)
{
    struct owner *owner = &rig.owners[index];
    op->hedged = true;
    op->hedge_copy = replica_read_choose(&owner->replica, REPLICA_COPIES_MAX,
                                         op->tried | (uint8_t)(1u << op->copy));
    if (op->hedge_copy == REPLICA_COPIES_MAX)
        return;
    op->hedge_request = ++owner->requests;
    struct message message = owner_words(index, MESSAGE_READ, op->hedge_copy);
    message.block = op->block;
    message.request = op->hedge_request;
    owner_send(index, op->hedge_copy, &message);
}

static uint32_t history_add(uint32_t index, uint8_t block, bool write, uint32_t value)
{
    uint32_t at = rig.history_count++;
    rig.history[at] = (struct history_op){
        .cell = block, .write = write, .value = value, .begun = rig.now, .ended = HISTORY_NEVER};
    rig.history_epoch[at] = rig.owners[index].replica.epoch;
    rig.history_used[at] = write;
    return at;
}

void work_begin(uint32_t index, enum op_kind kind, uint8_t block)
{
    struct owner *owner = &rig.owners[index];
    struct op *op = owner->ops;
    while (op < owner->ops + RIG_OPS && op->kind != OP_NONE)
        op++;
    if (op == owner->ops + RIG_OPS || rig.history_count >= RIG_OPS_MAX)
        return;
    /* Whoever reads waits for what is being written, and the other way about. */
    if (kind == OP_WRITE && flying(owner, block, MUTANT(210)))
        return;
    if (kind == OP_READ && flying(owner, block, true) && !MUTANT(210) && flying(owner, block, true))
        return;
    *op = (struct op){.kind = (uint8_t)kind, .block = block, .begun = rig.now};
    uint64_t now = owner_clock(owner);
    switch (kind) {
    case OP_WRITE:
        op->value = ++rig.values;
        op->hole = rig_chance(200000);
        op->write.fua = rig_chance(100000) && !rig.quiet;
        op->request = ++owner->requests;
        op->history = history_add(index, block, true, op->value);
        replica_write_start(&owner->replica, &op->write, ++owner->sequence, 0, now);
        break;
    case OP_READ:
        op->history = history_add(index, block, false, 0);
        read_ask(index, op);
        break;
    default:
        /* What another owner, who has taken over unheard, acknowledged is not for this one. */
        for (uint32_t i = 0; i < RIG_BLOCKS; i++)
            op->acked[i] = rig.acked[i] <= owner->sequence ? rig.acked[i] : 0;
        replica_flush_start(&owner->replica, &op->flush, now);
        break;
    }
}

void work_event(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    if (owner->state != OWNER_IN || owner->replica.phase != REPLICA_ACTIVE || rig.quiet)
        return;
    bool calm = rig.now >= rig.faults_until;
    rig_at(300 + rig_delay(calm ? 4000 : 2500), EVENT_WORK, node_of_owner(index), owner->life, 0);
    if (rig.now + 100000 > rig.ends)
        return;
    uint64_t what = rig_below(100);
    uint8_t block = (uint8_t)rig_below(RIG_BLOCKS);
    work_begin(index, what < 50 ? OP_WRITE : what < 95 ? OP_READ : OP_FLUSH, block);
    owner_perform(index);
}

/* --- Writes and flushes ----------------------------------------------------------------------- */

void work_send(uint32_t index, const struct replica_action *action)
{
    struct op *op = CONTAINER_OF(action->write, struct op, write);
    for (uint8_t copy = 0; copy < REPLICA_COPIES_MAX; copy++) {
        if ((action->copies >> copy & 1) == 0)
            continue;
        struct message message = owner_words(index, MESSAGE_WRITE, copy);
        message.block = op->block;
        message.request = op->request;
        message.fua = op->write.fua;
        message.generation = action->generation;
        message.watermark = action->watermark;
        message.cell = (struct cell){.sequence = op->write.sequence,
                                     .value = op->value,
                                     .kind = op->hole ? CELL_HOLE : CELL_DATA};
        owner_send(index, copy, &message);
    }
}

void work_written(uint32_t index, struct replica_write *write, int result)
{
    struct op *op = CONTAINER_OF(write, struct op, write);
    op->kind = OP_NONE;
    if (result != 0)
        return;
    rig.counts.acked++;
    rig.history[op->history].ended = rig.now;
    rig_say("owner %u: wrote block %u: value %u, sequence %llx, since %llu", index, op->block,
            op->value, (unsigned long long)write->sequence, (unsigned long long)op->begun);
    if (write->sequence > rig.acked[op->block]) {
        rig.acked[op->block] = write->sequence;
        rig.acked_epoch[op->block] = rig.owners[index].replica.epoch;
    }
    if (write->fua)
        rig.flushed[op->block] = MAX(rig.flushed[op->block], write->sequence);
    uint32_t in_sync = 0;
    for (uint32_t i = 0; i < REPLICA_COPIES_MAX; i++)
        in_sync += rig.meta.record.members[i].state == REPLICA_IN_SYNC;
    const struct replica *replica = &rig.owners[index].replica;
    if (rig.meta.record.epoch == replica->epoch && !replica->transacting &&
        in_sync < rig.min_copies)
        rig_fail("a write was acknowledged with %u copies in sync", in_sync);
    check_copies("an acknowledgement");
}

void work_flushed(uint32_t index, struct replica_flush *flush, int result)
{
    struct op *op = CONTAINER_OF(flush, struct op, flush);
    (void)index;
    op->kind = OP_NONE;
    if (result != 0)
        return;
    rig.counts.flushes++;
    for (uint32_t block = 0; block < RIG_BLOCKS; block++)
        rig.flushed[block] = MAX(rig.flushed[block], op->acked[block]);
    check_copies("a flush");
}

/* --- Reads ------------------------------------------------------------------------------------ */

static void read_repair(uint32_t index, const struct op *op)
{
    for (uint8_t copy = 0; copy < REPLICA_COPIES_MAX; copy++) {
        if ((op->bad >> copy & 1) == 0)
            continue;
        struct message message = owner_words(index, MESSAGE_REPAIR, copy);
        message.block = op->block;
        message.cell = op->cell;
        owner_send(index, copy, &message);
    }
}

static void read_verdict(uint32_t index, struct op *op)
{
    struct owner *owner = &rig.owners[index];
    enum replica_verdict verdict =
        replica_read_told(&owner->replica, op->copy, op->generation, owner_clock(owner));
    op->held = verdict == REPLICA_READ_HOLD;
    if (verdict == REPLICA_READ_AGAIN) {
        op->request = 0;
        return;
    }
    if (verdict != REPLICA_READ_ANSWER)
        return;
    read_repair(index, op);
    rig.counts.reads++;
    rig_say("owner %u: read block %u: value %u, sequence %llx, since %llu", index, op->block,
            op->cell.value, (unsigned long long)op->cell.sequence, (unsigned long long)op->begun);
    rig.history[op->history].value = op->cell.value;
    rig.history[op->history].ended = rig.now;
    rig.history_used[op->history] = true;
    op->kind = OP_NONE;
}

static void read_told(uint32_t index, struct op *op, uint8_t copy, const struct message *message)
{
    bool hedge = op->hedged && message->request == op->hedge_request;
    if (op->held || (message->request != op->request && !hedge))
        return;
    if (message->status == STATUS_BAD) {
        op->bad |= (uint8_t)(1u << copy);
        op->tried |= op->bad;
        read_ask(index, op);
        if (op->copy != REPLICA_COPIES_MAX)
            return;
        uint8_t in_sync = replica_in_sync(&rig.owners[index].replica);
        if ((in_sync & ~op->bad) != 0)
            return;
        if (!rig.rotted[op->block])
            rig_fail("I9: block %u is bad, and nobody spoiled it", op->block);
        rig.counts.eio++;
        op->kind = OP_NONE;
        return;
    }
    if (message->status != STATUS_OK)
        return;
    op->copy = copy;
    op->cell = message->cell;
    op->generation = message->generation;
    read_verdict(index, op);
}

void work_told(uint32_t index, uint8_t copy, const struct message *message)
{
    struct owner *owner = &rig.owners[index];
    for (uint32_t i = 0; i < RIG_OPS; i++) {
        struct op *op = &owner->ops[i];
        if (op->kind == OP_READ && message->of == MESSAGE_READ) {
            read_told(index, op, copy, message);
        } else if (op->kind == OP_WRITE && message->of == MESSAGE_WRITE &&
                   message->request == op->request && message->status != STATUS_REFUSED) {
            replica_write_told(&owner->replica, &op->write, copy, message->generation,
                               message->status == STATUS_OK ? REPLICA_TOLD_DONE
                                                            : REPLICA_TOLD_STALE_GENERATION,
                               owner_clock(owner));
        }
    }
}

void work_again(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    for (uint32_t i = 0; i < RIG_OPS; i++) {
        struct op *op = &owner->ops[i];
        if (op->kind != OP_READ)
            continue;
        if (op->held)
            read_verdict(index, op);
        else if (op->copy == REPLICA_COPIES_MAX || op->request == 0)
            read_ask(index, op);
    }
}

void work_tick(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    uint64_t now = owner_clock(owner);
    for (uint32_t i = 0; i < RIG_OPS; i++) {
        struct op *op = &owner->ops[i];
        if (op->kind != OP_READ || op->held)
            continue;
        if (now - op->asked >= rig.resend) {
            if (op->copy < REPLICA_COPIES_MAX)
                op->tried |= (uint8_t)(1u << op->copy);
            read_ask(index, op);
        } else if (!op->hedged && op->copy < REPLICA_COPIES_MAX &&
                   now - op->asked >= replica_hedge_ns(&owner->replica, op->copy))
            read_hedge(index, op);
    }
}

void work_drop(uint32_t index)
{
    for (uint32_t i = 0; i < RIG_OPS; i++)
        rig.owners[index].ops[i].kind = OP_NONE;
}

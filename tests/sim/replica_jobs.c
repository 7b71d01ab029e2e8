/* SPDX-License-Identifier: Apache-2.0 */
/* What an owner does by itself: making copies agree after a takeover, and copying to one that was
 * away. The machine says when, from whom and above what; the blocks are the owner's. */
#include <string.h>

#include "sim/replica_rig.h"

static bool patience(uint64_t since, uint64_t now, uint64_t limit)
{
    return now - MIN(now, since) >= limit;
}

/* --- Reconcile -------------------------------------------------------------------------------- */

enum settle_stage { SETTLE_LISTING, SETTLE_READING, SETTLE_WRITING };

static void settle_list(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    struct settling *settling = &owner->settling;
    settling->asked = owner_clock(owner);
    for (uint8_t copy = 0; copy < REPLICA_COPIES_MAX; copy++) {
        if (((settling->copies & ~settling->listed) >> copy & 1) == 0)
            continue;
        struct message message = owner_words(index, MESSAGE_LIST, copy);
        message.request = settling->request;
        owner_send(index, copy, &message);
    }
}

void settle_begin(uint32_t index, const struct replica_action *action)
{
    struct owner *owner = &rig.owners[index];
    struct settling *settling = &owner->settling;
    replica_write_cancel(&owner->replica, &settling->write);
    *settling = (struct settling){
        .active = true,
        .copies = action->copies,
        .attempt = action->attempt,
        .above = action->above,
        .request = ++owner->requests,
        .progress = owner_clock(owner),
    };
    settle_list(index);
}

static void settle_end(uint32_t index, bool complete)
{
    struct owner *owner = &rig.owners[index];
    struct settling *settling = &owner->settling;
    settling->active = false;
    replica_write_cancel(&owner->replica, &settling->write);
    replica_reconciled(&owner->replica, settling->attempt, complete, owner->sequence,
                       owner_clock(owner));
}

static void settle_write(uint32_t index, const struct replica_settlement *settlement)
{
    struct owner *owner = &rig.owners[index];
    struct settling *settling = &owner->settling;
    settling->stage = SETTLE_WRITING;
    settling->request = ++owner->requests;
    uint64_t sequence = settlement->restamp ? ++owner->sequence : settlement->sequence;
    settling->cell.sequence = sequence;
    settling->write = (struct replica_write){.settle = true};
    replica_write_start(&owner->replica, &settling->write, sequence,
                        settling->copies & (uint8_t)~settlement->targets, owner_clock(owner));
}

static void settle_read(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    struct settling *settling = &owner->settling;
    settling->asked = owner_clock(owner);
    struct message message = owner_words(index, MESSAGE_READ, settling->source);
    message.block = settling->block;
    message.request = settling->request;
    message.kind = MESSAGE_LIST; /* A store gives what it has to a reconcile, whatever its role. */
    message.how = 1;
    owner_send(index, settling->source, &message);
}

static bool settle_block(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    struct settling *settling = &owner->settling;
    const struct replica_version *versions = settling->versions[settling->block];
    struct replica_settlement settlement =
        replica_settle(&owner->replica, settling->copies, versions);
    if (settlement.targets == 0)
        return false;
    if (settlement.source == REPLICA_COPIES_MAX) {
        settling->cell = (struct cell){.kind = CELL_BAD};
        settle_write(index, &settlement);
        return true;
    }
    settling->stage = SETTLE_READING;
    settling->source = settlement.source;
    settling->request = ++owner->requests;
    settle_read(index);
    return true;
}

static void settle_next(uint32_t index)
{
    struct settling *settling = &rig.owners[index].settling;
    while (settling->left != 0) {
        settling->block = (uint8_t)__builtin_ctz(settling->left);
        if (settle_block(index))
            return;
        settling->left = (uint8_t)(settling->left & (settling->left - 1u));
    }
    settle_end(index, true);
}

static void settle_listed(uint32_t index, uint8_t copy, const struct message *message)
{
    struct settling *settling = &rig.owners[index].settling;
    for (uint8_t block = 0; block < RIG_BLOCKS; block++) {
        const struct cell *cell = &message->cells[block];
        settling->versions[block][copy] = (struct replica_version){
            .sequence = cell->sequence, .crc = cell->value, .bad = cell->kind == CELL_BAD};
        /* What the copy is trusted to is not asked for. */
        if (cell->sequence > settling->above)
            settling->left |= (uint8_t)(1u << block);
    }
    settling->listed |= (uint8_t)(1u << copy);
    if (settling->listed == settling->copies)
        settle_next(index);
}

void settle_told(uint32_t index, uint8_t copy, const struct message *message)
{
    struct owner *owner = &rig.owners[index];
    struct settling *settling = &owner->settling;
    if (!settling->active || message->request != settling->request)
        return;
    settling->progress = owner_clock(owner);
    if (settling->stage == SETTLE_WRITING) {
        replica_write_told(&owner->replica, &settling->write, copy, message->generation,
                           message->status == STATUS_OK ? REPLICA_TOLD_DONE
                                                        : REPLICA_TOLD_STALE_GENERATION,
                           owner_clock(owner));
        return;
    }
    if (message->status != STATUS_OK || !replica_counts(&owner->replica, copy, message->generation))
        return;
    if (settling->stage == SETTLE_LISTING) {
        if ((settling->copies >> copy & 1) != 0 && (settling->listed >> copy & 1) == 0)
            settle_listed(index, copy, message);
        return;
    }
    const struct cell *cell = &message->cells[settling->block];
    struct replica_version *version = &settling->versions[settling->block][copy];
    if (copy != settling->source)
        return;
    if (cell->sequence != version->sequence) {
        settle_end(index, false);
        return;
    }
    if (cell->rotten || cell->kind == CELL_BAD) {
        version->bad = true;
        settle_next(index);
        return;
    }
    settling->cell = *cell;
    struct replica_settlement settlement =
        replica_settle(&owner->replica, settling->copies, settling->versions[settling->block]);
    settle_write(index, &settlement);
}

void settle_send(uint32_t index, const struct replica_action *action)
{
    struct settling *settling = &rig.owners[index].settling;
    for (uint8_t copy = 0; copy < REPLICA_COPIES_MAX; copy++) {
        if ((action->copies >> copy & 1) == 0)
            continue;
        struct message message = owner_words(index, MESSAGE_RESYNC, copy);
        message.block = settling->block;
        message.cell = settling->cell;
        message.request = settling->request;
        owner_send(index, copy, &message);
    }
}

void settle_written(uint32_t index)
{
    struct settling *settling = &rig.owners[index].settling;
    if (!settling->active)
        return;
    settling->left = (uint8_t)(settling->left & (settling->left - 1u));
    settle_next(index);
}

void settle_tick(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    struct settling *settling = &owner->settling;
    uint64_t now = owner_clock(owner);
    if (!settling->active || settling->stage == SETTLE_WRITING ||
        !patience(settling->asked, now, rig.resend))
        return;
    uint8_t silent = (uint8_t)(1u << settling->source);
    if (settling->stage == SETTLE_LISTING)
        silent = settling->copies & (uint8_t)~settling->listed;
    if (patience(settling->progress, now, rig.copy_timeout)) {
        settling->progress = now;
        for (uint8_t copy = 0; copy < REPLICA_COPIES_MAX; copy++) {
            if ((silent >> copy & 1) != 0)
                replica_failed(&owner->replica, copy, now);
        }
    }
    if (settling->stage == SETTLE_LISTING)
        settle_list(index);
    else
        settle_read(index);
}

/* --- Copying ---------------------------------------------------------------------------------- */

static void copying_ask(uint32_t index, uint8_t copy)
{
    struct owner *owner = &rig.owners[index];
    struct copying *copying = &owner->copying[copy];
    copying->asked = owner_clock(owner);
    if (!copying->listed) {
        struct message message = owner_words(index, MESSAGE_LIST, copying->source);
        message.request = copying->request;
        owner_send(index, copying->source, &message);
    }
    if (!copying->listed_aside) {
        struct message message = owner_words(index, MESSAGE_LIST, copy);
        message.request = copying->aside_request;
        owner_send(index, copy, &message);
    }
    if (!copying->listed || !copying->listed_aside)
        return;
    struct message message = owner_words(index, copying->reading ? MESSAGE_READ : MESSAGE_RESYNC,
                                         copying->reading ? copying->source : copy);
    message.block = copying->block;
    message.cell = copying->cell;
    message.request = copying->request;
    owner_send(index, copying->reading ? copying->source : copy, &message);
}

void copying_begin(uint32_t index, const struct replica_action *action)
{
    struct owner *owner = &rig.owners[index];
    owner->copying[action->copy] = (struct copying){
        .active = true,
        .source = action->source,
        .attempt = action->attempt,
        .above = action->above,
        .request = ++owner->requests,
        .aside_request = ++owner->requests,
        .progress = owner_clock(owner),
    };
    copying_ask(index, action->copy);
}

static void copying_next(uint32_t index, uint8_t copy)
{
    struct owner *owner = &rig.owners[index];
    struct copying *copying = &owner->copying[copy];
    if (copying->wanted == 0) {
        copying->active = false;
        replica_resynced(&owner->replica, copy, copying->attempt, true, owner_clock(owner));
        return;
    }
    copying->block = (uint8_t)__builtin_ctz(copying->wanted);
    copying->reading = true;
    copying->bad = 0;
    copying->request = ++owner->requests;
    copying_ask(index, copy);
}

static void copying_listed(uint32_t index, uint8_t copy, const struct message *message, bool aside)
{
    struct copying *copying = &rig.owners[index].copying[copy];
    for (uint8_t block = 0; block < RIG_BLOCKS; block++) {
        const struct cell *cell = &message->cells[block];
        if (aside ? cell->aside || (MUTANT(211) && cell->sequence == 0)
                  : cell->sequence > copying->above)
            copying->wanted |= (uint8_t)(1u << block);
    }
    if (aside && rig.forgetful) {
        copying->wanted = 0;
        rig.forgetful = false;
    }
    if (aside)
        copying->listed_aside = true;
    else
        copying->listed = true;
    if (copying->listed && copying->listed_aside)
        copying_next(index, copy);
}

/* It is bad where it was read: from another; bad everywhere: the copy shall know that it is. */
static void copying_bad(uint32_t index, uint8_t copy, const struct message *message)
{
    struct owner *owner = &rig.owners[index];
    struct copying *copying = &owner->copying[copy];
    copying->bad |= (uint8_t)(1u << copying->source);
    copying->request = ++owner->requests;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_copy *other = &owner->replica.copies[i];
        if (other->state != REPLICA_IN_SYNC || other->lost || (copying->bad >> i & 1) != 0)
            continue;
        copying->source = i;
        copying_ask(index, copy);
        return;
    }
    copying->reading = false;
    copying->cell = (struct cell){.sequence = message->cell.sequence, .kind = CELL_BAD};
    copying_ask(index, copy);
}

static void copying_answer(uint32_t index, uint8_t from, uint8_t copy,
                           const struct message *message)
{
    struct owner *owner = &rig.owners[index];
    struct copying *copying = &owner->copying[copy];
    if (message->of == MESSAGE_LIST) {
        bool same = message->request == copying->request || MUTANT(207);
        if (message->status != STATUS_OK)
            return;
        if (!copying->listed && same &&
            replica_may_copy_from(&owner->replica, from, message->generation))
            copying_listed(index, copy, message, false);
        else if (!copying->listed_aside && from == copy &&
                 (message->request == copying->aside_request || MUTANT(207)))
            copying_listed(index, copy, message, true);
        return;
    }
    if (message->request != copying->request)
        return;
    copying->progress = owner_clock(owner);
    if (message->of == MESSAGE_READ && copying->reading && from == copying->source &&
        (replica_may_copy_from(&owner->replica, from, message->generation) || MUTANT(245))) {
        if (message->status == STATUS_BAD) {
            copying_bad(index, copy, message);
        } else if (message->status == STATUS_OK) {
            copying->cell = message->cell;
            copying->reading = false;
            copying->request = ++owner->requests;
            copying_ask(index, copy);
        }
    } else if (message->of == MESSAGE_RESYNC && from == copy && message->status == STATUS_OK) {
        copying->wanted = (uint8_t)(copying->wanted & (copying->wanted - 1));
        copying_next(index, copy);
    }
}

void copying_told(uint32_t index, uint8_t from, const struct message *message)
{
    struct owner *owner = &rig.owners[index];
    for (uint8_t copy = 0; copy < REPLICA_COPIES_MAX; copy++) {
        if (!owner->copying[copy].active ||
            !replica_counts(&owner->replica, from, message->generation))
            continue;
        copying_answer(index, from, copy, message);
    }
}

void copying_tick(uint32_t index)
{
    struct owner *owner = &rig.owners[index];
    uint64_t now = owner_clock(owner);
    for (uint8_t copy = 0; copy < REPLICA_COPIES_MAX; copy++) {
        struct copying *copying = &owner->copying[copy];
        if (!copying->active || !patience(copying->asked, now, rig.resend))
            continue;
        if (!patience(copying->progress, now, rig.copy_timeout)) {
            copying_ask(index, copy);
            continue;
        }
        copying->active = false;
        bool source = !copying->listed || copying->reading;
        if (source)
            replica_resynced(&owner->replica, copy, copying->attempt, false, now);
        else
            replica_failed(&owner->replica, copy, now);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store's part of the group. A request is looked at when it comes and again when it takes effect;
 * what took effect survives the process, what was flushed survives the power. Of the rest a power
 * cut takes any subset.
 */
#include <string.h>

#include "sim/replica_rig.h"

/* --- What is durable -------------------------------------------------------------------------- */

static void make_durable(struct false_store *store)
{
    store->durable = store->live;
    store->log_count = 0;
}

static void note(struct false_store *store, uint8_t block)
{
    if (store->log_count == RIG_LOG) {
        make_durable(store);
        return;
    }
    store->log[store->log_count++] =
        (struct record){.block = block, .cell = store->live.cells[block]};
}

static void power_cut(struct false_store *store)
{
    struct part live = store->live;
    store->live = store->durable;
    if (MUTANT(227))
        store->live.watermark = live.watermark;
    if (MUTANT(220)) { /* The fence was told before it was durable. */
        store->live.fence = store->live.fence > 0 ? store->live.fence - 1 : 0;
    }
    for (uint32_t i = 0; i < store->log_count; i++) {
        const struct record *record = &store->log[i];
        if (rig_chance(500000))
            store->live.cells[record->block] = record->cell;
    }
    for (uint32_t i = 0; i < RIG_BLOCKS; i++) {
        if (store->live.cells[i].sequence < live.cells[i].sequence)
            store->lost[i] = MAX(store->lost[i], live.cells[i].sequence);
    }
    make_durable(store);
}

void store_kill(uint32_t index, bool power)
{
    struct false_store *store = &rig.stores[index];
    if (!store->up)
        return;
    rig_say("store %u: %s", index, power ? "power cut" : "killed");
    /* What is on its way to the disk may have got there. */
    for (uint32_t i = 0; i < RIG_DISK; i++) {
        if (store->disk_busy[i] && rig_chance(300000))
            store_disk(index, i);
    }
    store->up = false;
    store->life++;
    store->broken = false;
    memset(store->disk_busy, 0, sizeof store->disk_busy);
    memset(store->sessions, 0, sizeof store->sessions);
    memset(store->greeted, 0, sizeof store->greeted);
    if (power) {
        rig.counts.power_cuts++;
        power_cut(store);
        store->boot++;
        check_copies("a power cut");
    } else {
        rig.counts.kills++;
    }
}

void store_wipe(uint32_t index)
{
    struct false_store *store = &rig.stores[index];
    rig_say("store %u: wiped", index);
    rig.counts.wipes++;
    store_kill(index, true);
    store->live = (struct part){0};
    store->wiped = true;
    make_durable(store);
}

void store_up(uint32_t index)
{
    if (!rig.stores[index].up)
        rig_say("store %u: up", index);
    rig.stores[index].up = true;
}

/* --- Answers ---------------------------------------------------------------------------------- */

static void answer(uint32_t index, const struct message *request, enum message_status status)
{
    const struct false_store *store = &rig.stores[index];
    const struct part *part = &store->live;
    struct message message = {
        .kind = MESSAGE_STORE,
        .of = request->kind,
        .from = node_of_store(index),
        .to = request->from,
        .status = (uint8_t)status,
        .block = request->block,
        .how = request->how,
        .role = part->role,
        .restarted = part->boot != store->boot,
        .life = request->life,
        .session = request->session,
        .generation = request->generation,
        .request = request->request,
        .token = request->token,
        .epoch = status == STATUS_STALE_EPOCH ? part->fence : request->epoch,
        .watermark = part->watermark,
        .boot = store->boot,
    };
    if (request->kind == MESSAGE_READ) {
        message.cell = part->cells[request->block];
        if (status == STATUS_OK && (message.cell.rotten || message.cell.kind == CELL_BAD))
            message.status = STATUS_BAD;
        if (MUTANT(214) && message.status == STATUS_BAD) {
            message.status = STATUS_OK;
            message.cell.value = 0;
            message.cell.kind = CELL_HOLE;
        }
    }
    if (request->kind == MESSAGE_LIST || request->kind == MESSAGE_FLUSH)
        memcpy(message.cells, part->cells, sizeof message.cells);
    rig_send(&message);
}

/* --- Rules ------------------------------------------------------------------------------------ */

static bool epoch_is_right(const struct part *part, uint64_t epoch)
{
    if (MUTANT(216))
        return true;
    if (MUTANT(222))
        return epoch >= part->fence;
    return epoch == part->fence;
}

static enum message_status admit(const struct false_store *store, const struct message *message)
{
    const struct part *part = &store->live;
    if (message->kind == MESSAGE_FENCE || message->kind == MESSAGE_ROLE)
        return message->epoch < part->fence ? STATUS_STALE_EPOCH : STATUS_OK;
    if (!epoch_is_right(part, message->epoch))
        return STATUS_STALE_EPOCH;
    if (message->generation < part->generation && !MUTANT(218))
        return STATUS_STALE_GENERATION;
    if (store->broken && message->kind != MESSAGE_READ)
        return STATUS_FAILED;
    if (message->kind == MESSAGE_READ &&
        (part->role != REPLICA_IN_SYNC || part->cells[message->block].aside))
        return STATUS_REFUSED;
    return STATUS_OK;
}

static void set_cell(struct false_store *store, uint8_t block, struct cell cell)
{
    cell.rotten = false;
    cell.aside = false;
    store->live.cells[block] = cell;
    note(store, block);
}

static void apply_write(struct false_store *store, const struct message *message)
{
    const struct cell *have = &store->live.cells[message->block];
    const struct cell *given = &message->cell;
    bool newer = given->sequence > have->sequence || have->aside;
    bool mends = given->sequence == have->sequence && (have->rotten || have->kind == CELL_BAD) &&
                 given->kind != CELL_BAD;
    if (message->kind == MESSAGE_REPAIR) {
        bool bad = have->rotten || have->kind == CELL_BAD;
        if (MUTANT(219) || (bad && !have->aside && given->sequence >= have->sequence))
            set_cell(store, message->block, *given);
        return;
    }
    bool marks = message->kind == MESSAGE_RESYNC && given->sequence == have->sequence &&
                 given->kind == CELL_BAD && have->rotten;
    if (newer || mends || marks || MUTANT(212))
        set_cell(store, message->block, *given);
}

static void hear(struct part *part, const struct message *message)
{
    if (part->role == REPLICA_IN_SYNC || MUTANT(215))
        part->watermark = MAX(part->watermark, message->watermark);
    part->settled = MAX(part->settled, message->flushed);
}

/* Whatever its watermark says: what is above `settled` may have gone with the power of all others
 * while this copy was away. */
static void set_aside(struct part *part)
{
    uint64_t known = MUTANT(244) ? MAX(part->watermark, part->settled) : part->settled;
    for (uint32_t i = 0; i < RIG_BLOCKS; i++) {
        struct cell *cell = &part->cells[i];
        if (cell->sequence <= known || MUTANT(217))
            continue;
        if (MUTANT(211)) {
            cell->sequence = 0; /* As if it had never been written. */
            continue;
        }
        cell->aside = true;
    }
}

static void apply_role(struct false_store *store, const struct message *message)
{
    struct part *part = &store->live;
    part->fence = MAX(part->fence, message->epoch);
    if (message->generation < part->generation && !MUTANT(218))
        return;
    part->generation = MAX(part->generation, message->generation);
    if (message->role == REPLICA_IN_SYNC) {
        if (message->generation < part->role_generation && !MUTANT(218))
            return;
        part->role = REPLICA_IN_SYNC;
        hear(part, message);
        part->boot = store->boot;
    } else if (message->generation > part->role_generation || MUTANT(213)) {
        /* Once per generation, however often it is asked. */
        set_aside(part);
        part->role = REPLICA_CATCHING_UP;
    }
    part->role_generation = MAX(part->role_generation, message->generation);
}

static void take_effect(uint32_t index, const struct message *message)
{
    struct false_store *store = &rig.stores[index];
    struct part *part = &store->live;
    uint64_t watermark = part->watermark;
    switch (message->kind) {
    case MESSAGE_FENCE:
        part->fence = MAX(part->fence, message->epoch);
        make_durable(store);
        break;
    case MESSAGE_ROLE:
        apply_role(store, message);
        make_durable(store);
        break;
    case MESSAGE_FLUSH: make_durable(store); break;
    case MESSAGE_WRITE:
    case MESSAGE_RESYNC:
    case MESSAGE_REPAIR:
        part->generation = MAX(part->generation, message->generation);
        apply_write(store, message);
        if (message->kind != MESSAGE_REPAIR)
            hear(part, message);
        if (message->fua)
            make_durable(store);
        break;
    case MESSAGE_WATERMARK:
        part->generation = MAX(part->generation, message->generation);
        hear(part, message);
        break;
    default: break;
    }
    static const char *const names[] = {
        [MESSAGE_FENCE] = "fence",        [MESSAGE_ROLE] = "role",     [MESSAGE_FLUSH] = "flush",
        [MESSAGE_WRITE] = "write",        [MESSAGE_RESYNC] = "resync", [MESSAGE_REPAIR] = "repair",
        [MESSAGE_WATERMARK] = "watermark"};
    if (rig.verbose && message->kind != MESSAGE_READ && message->kind != MESSAGE_LIST)
        rig_say("store %u: %s of epoch %llu generation %u: block %u sequence %llx role %u "
                "watermark %llx; has role %u watermark %llx settled %llx",
                index, names[message->kind], (unsigned long long)message->epoch,
                message->generation, message->block, (unsigned long long)message->cell.sequence,
                message->role, (unsigned long long)message->watermark, part->role,
                (unsigned long long)part->watermark, (unsigned long long)part->settled);
    if (part->watermark < watermark)
        rig_fail("I2: the watermark of store %u fell", index);
}

/* --- In and out ------------------------------------------------------------------------------- */

void store_message(uint32_t index, const struct message *message)
{
    struct false_store *store = &rig.stores[index];
    uint32_t owner = message->from - node_of_owner(0);
    if (!store->up)
        return;
    if (message->kind == MESSAGE_HELLO) {
        /* Greeted once each time, whatever comes twice or late. */
        uint64_t greeting = (uint64_t)message->life << 32 | message->request;
        if (greeting < store->greeted[owner])
            return;
        if (greeting > store->greeted[owner])
            store->sessions[owner] = ++store->session_last + 1000 * (store->life + 1);
        store->greeted[owner] = greeting;
        struct message welcome = *message;
        welcome.session = store->sessions[owner];
        answer(index, &welcome, STATUS_OK);
        return;
    }
    if (message->session != store->sessions[owner]) {
        answer(index, message, STATUS_RESET);
        return;
    }
    enum message_status status = admit(store, message);
    if (status != STATUS_OK) {
        answer(index, message, status);
        return;
    }
    for (uint32_t i = 0; i < RIG_DISK; i++) {
        if (store->disk_busy[i])
            continue;
        store->disk_busy[i] = true;
        store->disk[i] = *message;
        rig_at(rig_delay(rig.disk_us) * (store->slow ? 40 : 1), EVENT_DISK, node_of_store(index),
               store->life, i);
        return;
    }
}

void store_disk(uint32_t index, uint32_t slot)
{
    struct false_store *store = &rig.stores[index];
    if (!store->disk_busy[slot])
        return;
    store->disk_busy[slot] = false;
    struct message message = store->disk[slot];
    if (message.session != store->sessions[message.from - node_of_owner(0)])
        return;
    enum message_status status = admit(store, &message);
    if (status == STATUS_OK)
        take_effect(index, &message);
    answer(index, &message, status);
}

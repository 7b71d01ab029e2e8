/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong, and how it is kept survivable. */
#include <string.h>

#include "sim/replica_rig.h"

enum fault {
    FAULT_KILL,
    FAULT_POWER,
    FAULT_POWER_ALL,
    FAULT_OWNER_KILL,
    FAULT_OWNER_PAUSE,
    FAULT_ROAD,
    FAULT_ROAD_AGAIN,
    FAULT_ISLAND,
    FAULT_HALF,
    FAULT_HEAL,
    FAULT_HEAL_AGAIN,
    FAULT_HEAL_MORE,
    FAULT_FORCE,
    FAULT_SLOW,
    FAULT_ROT,
    FAULT_META,
    FAULT_BROKEN,
    FAULT_WIPE,
    FAULT_MOVE,
    FAULTS,
};

static void restart_later(uint32_t store)
{
    rig_at(3000 + rig_below(120000), EVENT_STORE_UP, node_of_store(store), 0, 0);
}

static void kill_store(uint32_t store, bool power)
{
    store_kill(store, power);
    restart_later(store);
}

static int active_owner(void)
{
    for (uint32_t i = 0; i < RIG_OWNERS; i++) {
        if (rig.owners[i].up && rig.owners[i].state == OWNER_IN &&
            rig.owners[i].replica.phase == REPLICA_ACTIVE)
            return (int)i;
    }
    return -1;
}

static void road(void)
{
    uint32_t from = (uint32_t)rig_below(RIG_NODES);
    uint32_t to = (uint32_t)rig_below(RIG_NODES);
    if (from == to)
        return;
    rig.blocked[from][to] = true;
    if (rig_chance(600000))
        rig.blocked[to][from] = true;
}

static void island(void)
{
    uint32_t node = (uint32_t)rig_below(RIG_NODES);
    for (uint32_t i = 0; i < RIG_NODES; i++)
        rig.blocked[node][i] = rig.blocked[i][node] = i != node;
}

/* The owner loses one store, so that some have what others have not. */
static void half(void)
{
    int owner = active_owner();
    if (owner >= 0)
        rig.blocked[node_of_owner((uint32_t)owner)]
                   [node_of_store((uint32_t)rig_below(rig.copies))] = true;
}

/* Never the last good one of those that would be asked. */
static void rot(void)
{
    uint32_t store = (uint32_t)rig_below(RIG_STORES);
    uint8_t block = (uint8_t)rig_below(RIG_BLOCKS);
    struct false_store *victim = &rig.stores[store];
    if (rig.rot_left == 0 || victim->live.cells[block].sequence == 0)
        return;
    rig.rot_left--;
    rig.rotted[block] = true;
    victim->live.cells[block].rotten = true;
    victim->durable.cells[block].rotten = true;
    rig_say("store %u: block %u rots", store, block);
}

/* Only one that nobody relies on: the loss of one in sync has a story of its own. */
static void wipe(void)
{
    uint32_t store = (uint32_t)rig_below(RIG_STORES);
    for (uint32_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_member *member = &rig.meta.record.members[i];
        if (member->state > REPLICA_STALE && member->store == store + 1)
            return;
    }
    if (rig.wipes_left == 0 || !rig.stores[store].up || rig.meta.record.generation == 0)
        return;
    rig.wipes_left--;
    store_wipe(store);
    rig.stores[store].wiped = false;
    restart_later(store);
}

static void move(void)
{
    int owner = active_owner();
    if (owner < 0)
        return;
    struct replica *replica = &rig.owners[owner].replica;
    uint8_t from = (uint8_t)rig_below(REPLICA_COPIES_MAX);
    uint8_t to;
    if (replica->copies[from].state == REPLICA_ABSENT || replica->copies[from].leaving)
        return;
    if (replica_add(replica, 1 + rig_below(RIG_STORES), from, &to) != 0)
        return;
    rig.counts.moves++;
    rig.owners[owner].sessions[replica->copies[to].store - 1] = 0; /* It greets it anew. */
    rig_say("owner %d: moves copy %u to store %u", owner, from,
            (uint32_t)replica->copies[to].store - 1);
    owner_perform((uint32_t)owner);
}

static void one_fault(enum fault fault)
{
    uint32_t store = (uint32_t)rig_below(RIG_STORES);
    uint32_t owner = (uint32_t)rig_below(RIG_OWNERS);
    switch (fault) {
    case FAULT_KILL: kill_store(store, false); break;
    case FAULT_POWER: kill_store(store, true); break;
    case FAULT_POWER_ALL:
        if (!rig_chance(300000))
            break;
        for (uint32_t i = 0; i < RIG_STORES; i++)
            kill_store(i, true);
        break;
    case FAULT_OWNER_KILL: owner_kill(owner); break;
    case FAULT_OWNER_PAUSE:
        if (rig.owners[owner].up)
            rig.owners[owner].paused_until = rig.now + rig_below(300000);
        break;
    case FAULT_ROAD:
    case FAULT_ROAD_AGAIN: road(); break;
    case FAULT_ISLAND: island(); break;
    case FAULT_HALF: half(); break;
    case FAULT_HEAL:
    case FAULT_HEAL_AGAIN:
    case FAULT_HEAL_MORE: memset(rig.blocked, 0, sizeof rig.blocked); break;
    case FAULT_FORCE:
        if (rig.owners[owner].state != OWNER_IN)
            rig.owners[owner].force = true;
        break;
    case FAULT_SLOW: rig.stores[store].slow = !rig.stores[store].slow; break;
    case FAULT_ROT: rot(); break;
    case FAULT_META:
        if (rig_chance(500000))
            rig.meta.down_until = rig.now + rig_below(150000);
        else
            rig.meta.slow_until = rig.now + rig_below(150000);
        break;
    case FAULT_BROKEN: rig.stores[store].broken = rig_chance(300000); break;
    case FAULT_WIPE: wipe(); break;
    case FAULT_MOVE: move(); break;
    case FAULTS: break;
    }
}

void fault_event(void)
{
    if (rig.quiet)
        return;
    if (rig.now < rig.faults_until) {
        rig_at(3000 + rig_delay(22000), EVENT_FAULT, 0, 0, 0);
        enum fault fault = (enum fault)rig_below(FAULTS);
        bool heals = fault >= FAULT_HEAL && fault <= FAULT_HEAL_MORE;
        if (heals || (rig.kinds >> fault & 1) != 0)
            one_fault(fault);
        return;
    }
    memset(rig.blocked, 0, sizeof rig.blocked);
    rig.drop_ppm = 0;
    rig.meta.down_until = rig.meta.slow_until = 0;
    for (uint32_t i = 0; i < RIG_STORES; i++)
        rig.stores[i].slow = rig.stores[i].broken = false;
}

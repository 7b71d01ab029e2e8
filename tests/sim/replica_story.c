/* SPDX-License-Identifier: Apache-2.0 */
/* What chance does not find in 20,000 seeds, told by hand. Each is true of the machine as it is,
 * and false with the rule left out that it is about. */
#include <string.h>

#include "sim/replica_rig.h"

#define MS 1000u

static void wait_ms(uint64_t ms)
{
    rig_run(rig.now + ms * MS);
}

static void expect(bool holds, const char *what)
{
    if (!holds)
        rig_fail("the story does not get there: %s", what);
}

static void cut(uint32_t from, uint32_t to, bool is)
{
    rig.blocked[from][to] = is;
}

static void cut_both(uint32_t a, uint32_t b, bool is)
{
    cut(a, b, is);
    cut(b, a, is);
}

static bool open_by(uint32_t owner)
{
    return rig.owners[owner].state == OWNER_IN && rig.owners[owner].replica.phase == REPLICA_ACTIVE;
}

static void open_volume(uint32_t owner, bool force)
{
    if (!rig.owners[owner].up)
        owner_up(owner);
    rig.owners[owner].force = force;
    for (uint32_t i = 0; i < 400 && !open_by(owner); i++)
        wait_ms(1);
    expect(open_by(owner), "nobody opened the volume");
}

static void begin(uint32_t owner, enum op_kind kind, uint8_t block)
{
    if (!open_by(owner))
        return;
    work_begin(owner, kind, block);
    owner_perform(owner);
}

static void write_all(uint32_t owner)
{
    for (uint8_t block = 0; block < RIG_BLOCKS; block++)
        begin(owner, OP_WRITE, block);
    wait_ms(10);
    begin(owner, OP_FLUSH, 0);
    wait_ms(10);
    expect(rig.flushed[RIG_BLOCKS - 1] != 0, "the first writes were not flushed");
    for (uint32_t block = 0; block < RIG_BLOCKS; block++)
        rig.flushed_value[block] = rig.stores[0].live.cells[block].value;
}

static void end_well(void)
{
    memset(rig.blocked, 0, sizeof rig.blocked);
    wait_ms(600);
    if (rig.fault[0] == '\0')
        check_history();
    if (rig.fault[0] == '\0')
        check_end();
}

static void power_cycle(uint32_t store)
{
    store_kill(store, true);
    wait_ms(1);
    store_up(store);
}

/* What it had of the block since the last flush is gone with its power: chance might keep it. */
static void lose_block(uint32_t store, uint8_t block)
{
    struct false_store *is = &rig.stores[store];
    is->lost[block] = MAX(is->lost[block], rig.acked[block]);
    is->live.cells[block].sequence = rig.flushed[block];
    is->live.cells[block].value = rig.flushed_value[block];
    is->live.cells[block].kind = CELL_DATA;
    is->live.cells[block].rotten = false;
    is->durable = is->live;
}

static void rot_block(uint32_t store, uint8_t block)
{
    rig.rotted[block] = true;
    rig.stores[store].live.cells[block].rotten = true;
    rig.stores[store].durable.cells[block].rotten = true;
}

static void stop_owner(uint32_t owner)
{
    owner_kill(owner);
    rig.owners[owner].life++; /* It does not come back by itself. */
}

/* Owner 0 dropped store 2 and has not heard that this was committed. Owner 1 takes over by force
 * and can't reach store 2; owner 0 can, and reads there: it may, until its lease is over. */
static void unreached_copy(void)
{
    rig_start_story(3);
    rig.ttl = 400 * MS;
    rig.fence_timeout = 20 * MS;
    open_volume(0, false);
    write_all(0);
    rig.owners[0].near = 2;
    cut(RIG_META, node_of_owner(0), true);
    cut_both(node_of_owner(0), node_of_store(2), true);
    begin(0, OP_WRITE, 1);
    for (uint32_t i = 0; i < 80 && rig.meta.record.generation < 2; i++)
        wait_ms(1);
    expect(rig.meta.record.generation == 2, "the copy was not dropped");
    cut_both(node_of_owner(0), node_of_store(2), false);
    cut_both(node_of_owner(0), node_of_store(0), true);
    cut_both(node_of_owner(0), node_of_store(1), true);
    cut_both(node_of_owner(1), node_of_store(2), true);
    open_volume(1, true);
    begin(1, OP_WRITE, 0);
    wait_ms(5);
    uint64_t reads = rig.counts.reads;
    begin(0, OP_READ, 0);
    wait_ms(30);
    expect(rig.counts.reads == reads + 1, "the old owner did not read");
    wait_ms(500);
    expect(rig.history[rig.history_count - 2].ended != HISTORY_NEVER, "the new owner wrote");
    end_well();
}

/* The lease of owner 0 is over; nobody has told it. */
static void reads_past_the_bound(void)
{
    rig_start_story(3);
    open_volume(0, false);
    write_all(0);
    rig.owners[0].near = 2;
    cut_both(node_of_owner(0), RIG_META, true);
    cut_both(node_of_owner(0), node_of_store(0), true);
    cut_both(node_of_owner(0), node_of_store(1), true);
    cut_both(node_of_owner(1), node_of_store(2), true);
    open_volume(1, false);
    begin(1, OP_WRITE, 0);
    wait_ms(5);
    begin(0, OP_READ, 0);
    wait_ms(10);
    end_well();
}

/* Store 0 acknowledged a write and lost it with its power; the answer comes when it is back. */
static void answer_of_an_ended_session(void)
{
    rig_start_story(2);
    rig.copy_timeout = 200 * MS;
    open_volume(0, false);
    write_all(0);
    rig.late[node_of_store(0)][node_of_owner(0)] = rig.now + 40 * MS;
    begin(0, OP_WRITE, 0);
    wait_ms(2);
    rig.late[node_of_store(0)][node_of_owner(0)] = 0;
    store_kill(0, true);
    lose_block(0, 0);
    rig.stores[0].lost[0] = rig.owners[0].sequence;
    store_up(0);
    /* It is greeted; what is sent again after that is on its way for long. */
    for (uint32_t i = 0; i < 2000 && rig.stores[0].sessions[0] == 0; i++)
        rig_run(rig.now + 10);
    cut(node_of_owner(0), node_of_store(0), true);
    wait_ms(45);
    cut(node_of_owner(0), node_of_store(0), false);
    wait_ms(30);
    check_copies("the end of the story");
    end_well();
}

/* Store 0 comes back as another, empty, while it is in sync and all is flushed. */
static void empty_store_in_sync(void)
{
    rig_start_story(2);
    open_volume(0, false);
    write_all(0);
    store_wipe(0);
    rig.stores[0].wiped = false;
    wait_ms(1);
    store_up(0);
    wait_ms(20);
    begin(0, OP_WRITE, 0);
    wait_ms(100);
    check_copies("the end of the story");
    end_well();
}

/* Owner 1 fenced all. Store 2 loses its power: it must not obey owner 0 again. */
static void fence_and_power(void)
{
    rig_start_story(3);
    rig.ttl = 400 * MS;
    open_volume(0, false);
    write_all(0);
    rig.owners[0].near = 2;
    cut(RIG_META, node_of_owner(0), true);
    for (uint32_t i = 0; i < 3; i++)
        cut_both(node_of_owner(0), node_of_store(i), true);
    open_volume(1, true);
    wait_ms(5);
    power_cycle(2);
    for (uint32_t i = 0; i < 100 && rig.meta.record.members[2].state == REPLICA_IN_SYNC; i++)
        wait_ms(1);
    expect(rig.meta.record.members[2].state != REPLICA_IN_SYNC, "the copy was not dropped");
    cut_both(node_of_owner(1), node_of_store(2), true);
    begin(1, OP_WRITE, 0);
    wait_ms(50);
    cut_both(node_of_owner(0), node_of_store(2), false);
    wait_ms(15);
    begin(0, OP_READ, 0);
    wait_ms(20);
    end_well();
}

/* Copy 1 has one write that nobody else has, and sets it aside when it comes back. */
static void one_write_ahead(bool rotten)
{
    cut_both(node_of_owner(0), node_of_store(0), true);
    begin(0, OP_WRITE, 2);
    wait_ms(3);
    expect(rig.stores[1].live.cells[2].sequence > rig.stores[0].live.cells[2].sequence,
           "no copy is ahead");
    stop_owner(0);
    if (rotten)
        rot_block(1, 2);
}

/* Whoever copied did not hear of a block that was set aside. */
static void forgotten_block(void)
{
    rig_start_story(2);
    open_volume(0, false);
    write_all(0);
    one_write_ahead(false);
    cut_both(node_of_owner(1), node_of_store(1), true);
    open_volume(1, false);
    rig.forgetful = true;
    cut_both(node_of_owner(1), node_of_store(1), false);
    for (uint32_t i = 0; i < 200 && rig.forgetful; i++)
        wait_ms(1);
    expect(!rig.forgetful, "nothing was copied");
    wait_ms(100);
    check_copies("the end of the story");
    end_well();
}

/* The newest can't be read, and was not acknowledged: what takes its place is a new version. */
static void newest_unreadable(void)
{
    rig_start_story(2);
    open_volume(0, false);
    write_all(0);
    one_write_ahead(true);
    open_volume(1, false);
    begin(1, OP_READ, 2);
    wait_ms(20);
    end_well();
}

/* The newest was acknowledged, by a copy that cannot read it and one that lost it with its power.
 * It is gone, and that is said; what was there before it does not come back. */
static void newest_unreadable_and_lost(void)
{
    rig_start_story(2);
    open_volume(0, false);
    write_all(0);
    begin(0, OP_WRITE, 2);
    wait_ms(5);
    expect(rig.acked[2] > rig.flushed[2], "it was not acknowledged");
    store_kill(1, true);
    stop_owner(0);
    lose_block(1, 2);
    store_up(1);
    rot_block(0, 2);
    open_volume(1, false);
    uint64_t eio = rig.counts.eio;
    begin(1, OP_READ, 2);
    wait_ms(20);
    if (rig.fault[0] == '\0')
        check_history();
    expect(rig.counts.eio == eio + 1, "the damage was not told");
    end_well();
}

/* Store 2 had a write durable that others had not, and was away when these lost their power. Its
 * watermark covers what has never been. */
static void away_when_the_power_went(void)
{
    rig_start_story(3);
    rig.flush_every = 1000 * MS;
    open_volume(0, false);
    write_all(0);
    wait_ms(20);
    begin(0, OP_WRITE, 0);
    wait_ms(20);
    expect(rig.stores[2].live.watermark >= rig.acked[0], "the watermark was not told");
    rig.stores[2].durable = rig.stores[2].live; /* A store flushes when it likes. */
    cut_both(node_of_owner(0), node_of_store(2), true);
    begin(0, OP_WRITE, 1);
    for (uint32_t i = 0; i < 80 && rig.meta.record.generation < 2; i++)
        wait_ms(1);
    stop_owner(0);
    for (uint32_t store = 0; store < 2; store++) {
        store_kill(store, true);
        lose_block(store, 0);
        lose_block(store, 1);
    }
    check_copies("the loss");
    store_up(0);
    store_up(1);
    cut_both(node_of_owner(1), node_of_store(2), true);
    open_volume(1, false);
    begin(1, OP_READ, 0);
    wait_ms(10);
    end_well();
}

/* Copy 0 is copied to. The block rots at the source, the other copy in sync is asked instead, and
 * that is another one by the time it answers: its power was gone meanwhile. */
static void source_that_lost_its_power(void)
{
    rig_start_story(3);
    open_volume(0, false);
    write_all(0);
    cut_both(node_of_owner(0), node_of_store(0), true);
    begin(0, OP_WRITE, 0);
    for (uint32_t i = 0; i < 80 && rig.meta.record.generation < 2; i++)
        wait_ms(1);
    wait_ms(5);
    expect(rig.acked[0] > rig.flushed[0], "it was not acknowledged");
    cut_both(node_of_owner(0), node_of_store(0), false);
    const struct replica_copy *target = &rig.owners[0].replica.copies[0];
    for (uint32_t i = 0; i < 20000 && target->catches != REPLICA_COPYING; i++)
        rig_run(rig.now + 10);
    expect(target->source == 1 || target->source == 2, "nothing is copied");
    uint32_t other = 3 - (target->source == 2 ? 2u : 1u);
    rot_block(3 - other, 0);
    store_kill(other, true);
    lose_block(other, 0);
    cut(RIG_META, node_of_owner(0), true); /* That it lost something can't be noted for a while. */
    wait_ms(1);
    store_up(other);
    wait_ms(40);
    cut(RIG_META, node_of_owner(0), false);
    wait_ms(200);
    check_copies("the end of the story");
    end_well();
}

/* Copy 1 has all, and the transaction that says so is on its way when its power goes. A flush after
 * that does not end before it is known whether the copy counts. */
static void joins_without_power(void)
{
    rig_start_story(2);
    rig.ttl = 400 * MS;
    open_volume(0, false);
    write_all(0);
    cut_both(node_of_owner(0), node_of_store(1), true);
    begin(0, OP_WRITE, 0);
    for (uint32_t i = 0; i < 80 && rig.meta.record.generation < 2; i++)
        wait_ms(1);
    cut_both(node_of_owner(0), node_of_store(1), false);
    const struct replica_copy *target = &rig.owners[0].replica.copies[1];
    for (uint32_t i = 0; i < 20000 && target->catches != REPLICA_SEALING; i++)
        rig_run(rig.now + 10);
    cut(node_of_owner(0), RIG_META, true);
    for (uint32_t i = 0; i < 2000 && target->catches != REPLICA_JOINING; i++)
        rig_run(rig.now + 10);
    expect(target->catches == REPLICA_JOINING, "it is not added");
    begin(0, OP_WRITE, 2);
    wait_ms(5);
    expect(rig.acked[2] > rig.flushed[2], "it was not acknowledged");
    store_kill(1, true);
    lose_block(1, 2);
    wait_ms(1);
    store_up(1);
    wait_ms(20);
    begin(0, OP_FLUSH, 0);
    wait_ms(30);
    cut(node_of_owner(0), RIG_META, false);
    wait_ms(60);
    end_well();
}

/* A store that was in sync is another, empty one when the volume is opened again. */
static void empty_store_at_takeover(void)
{
    rig_start_story(2);
    open_volume(0, false);
    write_all(0);
    stop_owner(0);
    store_wipe(0);
    store_up(0);
    open_volume(1, false);
    rig.stores[0].wiped = false;
    check_copies("the opening");
    begin(1, OP_READ, 0);
    wait_ms(20);
    end_well();
}

const struct story stories[] = {
    {"unreached_copy", unreached_copy},
    {"reads_past_the_bound", reads_past_the_bound},
    {"answer_of_an_ended_session", answer_of_an_ended_session},
    {"empty_store_in_sync", empty_store_in_sync},
    {"fence_and_power", fence_and_power},
    {"forgotten_block", forgotten_block},
    {"newest_unreadable", newest_unreadable},
    {"newest_unreadable_and_lost", newest_unreadable_and_lost},
    {"away_when_the_power_went", away_when_the_power_went},
    {"source_that_lost_its_power", source_that_lost_its_power},
    {"empty_store_at_takeover", empty_store_at_takeover},
    {"joins_without_power", joins_without_power},
};
const uint32_t story_count = COUNT_OF(stories);

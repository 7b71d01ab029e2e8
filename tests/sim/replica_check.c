/* SPDX-License-Identifier: Apache-2.0 */
/* What may never be false: I1 to I10 of the protocol, at each acknowledgement, transaction, power
 * cut; and at the end. */
#include <stdlib.h>
#include <string.h>

#include "sim/replica_rig.h"

static struct false_store *in_sync_store(uint32_t member)
{
    const struct replica_member *is = &rig.meta.record.members[member];
    return is->state == REPLICA_IN_SYNC ? &rig.stores[is->store - 1] : NULL;
}

/* A power cut took it, and the copy does not claim to have it. */
static bool lost_by_power(const struct false_store *store, uint32_t block, uint64_t sequence)
{
    return store->wiped || (store->lost[block] >= sequence && store->live.watermark < sequence);
}

/* Acknowledged and not flushed, and every copy in sync lost its power: allowed, but whoever was
 * told "done" is told so no more (design, section 5). */
static void new_era(uint32_t block)
{
    rig.counts.eras++;
    rig_say("block %u: what was acknowledged and not flushed is lost with the power", block);
    if (rig.era_count[block] < RIG_ERAS)
        rig.era_epoch[block][rig.era_count[block]++] = rig.acked_epoch[block];
    rig.acked[block] = rig.flushed[block];
}

/* I1: whatever was acknowledged is on every copy in sync. */
static void check_acked(uint32_t block, const char *when)
{
    uint64_t acked = rig.acked[block];
    uint32_t lost = 0;
    uint32_t in_sync = 0;
    for (uint32_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct false_store *store = in_sync_store(i);
        if (store == NULL)
            continue;
        in_sync++;
        const struct cell *cell = &store->live.cells[block];
        if (cell->aside && !store->wiped)
            rig_fail("I8: copy %u is in sync and has block %u set aside, at %s", i, block, when);
        if (store->durable.cells[block].sequence < rig.flushed[block] && !store->wiped)
            rig_fail("I1: block %u was flushed, and copy %u in sync has it not durable, at %s",
                     block, i, when);
        if (cell->sequence >= acked)
            continue;
        if (lost_by_power(store, block, acked))
            lost++;
        else
            rig_fail("I1: block %u was acknowledged, and copy %u in sync has it not, at %s", block,
                     i, when);
    }
    if (lost != 0 && lost == in_sync) {
        if (acked <= rig.flushed[block])
            rig_fail("I1: block %u was flushed and no copy in sync has it, at %s", block, when);
        new_era(block);
    }
}

/* I3: the same sequence, the same bytes. */
static void check_same(uint32_t block, const char *when)
{
    for (uint32_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct false_store *store = in_sync_store(i);
        for (uint32_t j = 0; j < i && store != NULL; j++) {
            const struct false_store *other = in_sync_store(j);
            if (other == NULL)
                continue;
            const struct cell *a = &store->live.cells[block];
            const struct cell *b = &other->live.cells[block];
            if (a->sequence == b->sequence && a->kind != CELL_BAD && b->kind != CELL_BAD &&
                a->value != b->value)
                rig_fail("I3: copies %u and %u have block %u with one sequence and two contents, "
                         "at %s",
                         i, j, block, when);
        }
    }
}

/* I4: a watermark covers no write that the copy lacks. */
static void check_watermarks(uint32_t block, const char *when)
{
    uint64_t acked = rig.acked[block];
    for (uint32_t i = 0; i < RIG_STORES; i++) {
        const struct part *part = &rig.stores[i].live;
        if (part->watermark >= acked && part->cells[block].sequence < acked)
            rig_fail("I4: the watermark of store %u covers block %u, and it has it not, at %s", i,
                     block, when);
    }
}

void check_copies(const char *when)
{
    for (uint32_t block = 0; block < RIG_BLOCKS; block++) {
        check_acked(block, when);
        check_same(block, when);
        check_watermarks(block, when);
    }
}

/* --- The history ------------------------------------------------------------------------------ */

static uint32_t era_of(uint32_t block, uint64_t epoch)
{
    uint32_t era = 0;
    while (era < rig.era_count[block] && epoch > rig.era_epoch[block][era])
        era++;
    return era;
}

/* Each era is a register of its own, in which what was written in an earlier one may have happened
 * at any time, or not. */
static uint32_t gather(struct history_op *ops)
{
    static uint32_t era_written[RIG_OPS_MAX + 1];
    static uint8_t carried[RIG_OPS_MAX + 1];
    uint32_t count = 0;
    memset(carried, 0, (rig.values + 1) * sizeof carried[0]);
    for (uint32_t i = 0; i < rig.history_count; i++) {
        const struct history_op *op = &rig.history[i];
        if (op->write)
            era_written[op->value] = era_of(op->cell, rig.history_epoch[i]);
    }
    for (uint32_t i = 0; i < rig.history_count; i++) {
        if (!rig.history_used[i])
            continue;
        struct history_op op = rig.history[i];
        uint32_t era = era_of(op.cell, rig.history_epoch[i]);
        op.cell += era * RIG_BLOCKS;
        ops[count++] = op;
        if (op.write || op.value == 0 || op.value > rig.values || era_written[op.value] == era ||
            (carried[op.value] >> era & 1) != 0)
            continue;
        carried[op.value] |= (uint8_t)(1u << era);
        ops[count++] = (struct history_op){
            .cell = op.cell, .write = true, .value = op.value, .ended = HISTORY_NEVER};
    }
    return count;
}

void check_history(void)
{
    static struct history_op ops[2 * RIG_OPS_MAX];
    const struct history_op *at = NULL;
    enum history_fault fault = history_check(ops, gather(ops), &at);
    if (fault != HISTORY_FINE)
        rig_fail("I10: %s: block %llu, value %llu, begun %llu", history_fault_text(fault),
                 (unsigned long long)at->cell, (unsigned long long)at->value,
                 (unsigned long long)at->begun);
}

/* --- The end ---------------------------------------------------------------------------------- */

static void check_equal(uint32_t first, uint32_t other)
{
    const struct part *a = &rig.stores[first].live;
    const struct part *b = &rig.stores[other].live;
    for (uint32_t block = 0; block < RIG_BLOCKS; block++) {
        if (a->cells[block].sequence != b->cells[block].sequence)
            rig_fail("I8: stores %u and %u do not agree about block %u", first, other, block);
    }
}

/* I8: once all is well, everyone is in sync, and they agree. */
void check_end(void)
{
    check_copies("the end");
    uint32_t first = RIG_STORES;
    for (uint32_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_member *member = &rig.meta.record.members[i];
        if (member->state == REPLICA_ABSENT)
            continue;
        uint32_t store = (uint32_t)member->store - 1;
        if (member->state != REPLICA_IN_SYNC || rig.stores[store].live.role != REPLICA_IN_SYNC)
            rig_fail("I8: copy %u is not in sync, and nothing hinders it", i);
        for (uint32_t block = 0; block < RIG_BLOCKS; block++) {
            if (rig.stores[store].live.watermark < rig.acked[block])
                rig_fail("I8: at rest, and copy %u was not told that block %u is settled", i,
                         block);
        }
        if (first == RIG_STORES)
            first = store;
        else
            check_equal(first, store);
    }
    bool open = false;
    for (uint32_t i = 0; i < RIG_OWNERS; i++)
        open = open || rig.owners[i].replica.phase == REPLICA_ACTIVE;
    if (!open)
        rig_fail("I8: nobody has the volume open, and nothing hinders it");
    rig.counts.converged += rig.fault[0] == '\0';
}

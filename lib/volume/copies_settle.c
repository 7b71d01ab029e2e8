/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reconciling: blocks of a page that the copies in sync have in different versions.
 *
 * Nobody else writes: what the lists said is what is there. A block that cannot be read where it is
 * newest counts as bad there, and what becomes of it is asked anew.
 */
#include <string.h>

#include "volume/copies_inside.h"

static struct replica_settlement settle_block(const struct copies_lane *lane, uint32_t index)
{
    struct replica_version versions[REPLICA_COPIES_MAX] = {0};
    bool newer = false;
    EACH_COPY(copy)
    {
        if ((lane->copies & COPY_BIT(copy)) == 0)
            continue;
        const struct part_version *version = &lane->versions[copy][index];
        newer = newer || version->sequence > lane->since;
        versions[copy] = (struct replica_version){
            .sequence = version->sequence,
            .crc = version->kind == POINTER_RAW ? version->crc : 0,
            .bad = version->kind == POINTER_BAD || version->kind == POINTER_SET_ASIDE ||
                   copies_bit(lane->unreadable[copy], index),
        };
    }
    if (!newer)
        return (struct replica_settlement){.source = REPLICA_COPIES_MAX};
    return replica_settle(&lane->group->replica, lane->copies, versions);
}

static uint16_t settle_kind(const struct copies_lane *lane, uint32_t index)
{
    uint8_t source = lane->settlement.source;
    return source == REPLICA_COPIES_MAX ? POINTER_BAD : lane->versions[source][index].kind;
}

static bool settles_alike(const struct copies_lane *lane, uint32_t first, uint32_t index)
{
    struct replica_settlement one = lane->settlement;
    struct replica_settlement other = settle_block(lane, index);
    if (one.source != other.source || one.targets != other.targets ||
        one.restamp != other.restamp || (!one.restamp && one.sequence != other.sequence))
        return false;
    bool data = settle_kind(lane, first) == POINTER_RAW;
    return one.source == REPLICA_COPIES_MAX ||
           (lane->versions[one.source][index].kind == POINTER_RAW) == data;
}

/* --- Writing ---------------------------------------------------------------------------------- */

static uint64_t settle_cut(const struct copies_task *task, uint64_t sequence)
{
    uint64_t cut = 0;
    for (uint32_t i = 0; i < task->cut_count && task->cuts[i] < sequence; i++)
        cut = task->cuts[i];
    return cut;
}

static void settle_versions(struct copies_op *op)
{
    for (uint32_t i = 0; i < op->count; i++)
        op->versions[i] = (struct part_version){.sequence = op->sequence, .kind = POINTER_BAD};
}

static void settle_write(struct copies_lane *lane)
{
    struct copies_task *task = lane->task;
    struct copies_group *group = lane->group;
    const struct copies_calls *calls = &group->copies->options.calls;
    struct copies_op *op = &lane->op;
    uint16_t kind = settle_kind(lane, lane->at);
    if (group->replica.phase != REPLICA_RECONCILING) {
        copies_lane_ended(lane, false);
        return;
    }
    *op = (struct copies_op){.lane = lane, .group = group, .state = COPIES_SENT};
    op->sequence =
        lane->settlement.restamp ? calls->take_sequence(calls->context) : lane->settlement.sequence;
    if (op->sequence == 0) {
        copies_lane_ended(lane, false);
        return;
    }
    op->kind = kind == POINTER_BAD ? PART_RESYNC : kind == POINTER_RAW ? PART_WRITE : PART_ZERO;
    op->block = lane->page + lane->at;
    op->count = lane->count;
    op->view = VIEW_HEAD;
    op->cut = settle_cut(task, op->sequence);
    op->views = true;
    op->parent = true;
    op->data = lane->data;
    memcpy(op->crcs, lane->crcs, lane->count * sizeof *op->crcs);
    if (op->kind == PART_RESYNC)
        settle_versions(op);
    lane->state = LANE_SETTLE;
    op->write.settle = true;
    task->sequence = MAX(task->sequence, op->sequence);
    uint8_t have = lane->copies & (uint8_t)~lane->settlement.targets;
    replica_write_start(&group->replica, &op->write, op->sequence, have, copies_now(group));
    copies_group_ready(group);
}

void copies_settled(struct copies_op *op, int result)
{
    struct copies_lane *lane = op->lane;
    if (result != 0 || lane->task->stopped || lane->task->failed) {
        copies_lane_ended(lane, false);
        return;
    }
    lane->at += lane->count;
    copies_settle_page(lane);
}

/* --- Reading ---------------------------------------------------------------------------------- */

static void settle_read(struct part_request *request, int result)
{
    struct copies_lane *lane = request->context;
    struct copies_group *group = lane->group;
    lane->flying = 0;
    if (lane->task->stopped || lane->task->failed) {
        copies_lane_ended(lane, false);
    } else if (result == IOMESH_CORRUPT) {
        for (uint32_t i = 0; i < lane->count; i++) {
            if (copies_bit(request->bad, i))
                copies_bit_put(lane->unreadable[lane->source], lane->at + i, true);
        }
        copies_settle_page(lane);
    } else if (result != 0 || !replica_counts(&group->replica, lane->source, request->generation)) {
        (void)copies_answer_ends(group, lane->source, result, request);
        copies_lane_ended(lane, false);
    } else {
        copies_pace_spend(group, (uint64_t)lane->count * BLOCK_BYTES);
        settle_write(lane);
    }
}

void copies_settle_page(struct copies_lane *lane)
{
    for (; lane->at < MAP_BLOCKS; lane->at++) {
        lane->settlement = settle_block(lane, lane->at);
        if (lane->settlement.targets != 0)
            break;
    }
    if (lane->at == MAP_BLOCKS) {
        copies_lane_next(lane);
        return;
    }
    lane->count = 1;
    while (lane->at + lane->count < MAP_BLOCKS &&
           settles_alike(lane, lane->at, lane->at + lane->count))
        lane->count++;
    if (settle_kind(lane, lane->at) == POINTER_RAW)
        copies_lane_read(lane, lane->settlement.source, settle_read);
    else
        settle_write(lane);
}

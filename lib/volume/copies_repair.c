/* SPDX-License-Identifier: Apache-2.0 */
/* What a copy could not read, and another could, is written to it anew, behind the answer. */
#include <string.h>

#include "volume/copies_inside.h"

void copies_repair_want(const struct copies_op *op)
{
    struct copies_engine *engine = op->group->copies->engine;
    uint8_t any[PART_BLOCKS_MAX / 8] = {0};
    EACH_COPY(copy)
    {
        for (uint32_t i = 0; (op->bad_copies & COPY_BIT(copy)) != 0 && i < sizeof any; i++)
            any[i] |= op->bad[copy][i];
    }
    for (uint32_t at = 0; at < op->count && engine->repair_count < COPIES_REPAIRS; at++) {
        if (!copies_bit(any, at))
            continue;
        uint32_t first = at;
        while (at < op->count && copies_bit(any, at))
            at++;
        engine->repairs[engine->repair_count++] = (struct copies_repair){
            .group = op->group,
            .view = op->view,
            .block = op->block + first,
            .count = at - first,
            .copies = op->bad_copies,
        };
        op->group->copies->ops++; /* It is not closed before. */
    }
}

static void repair_end(struct copies_lane *lane)
{
    lane->group->copies->ops--;
    copies_pace_release(lane);
    lane->state = LANE_FREE;
    list_push_front(&lane->engine->free_lanes, &lane->node);
    copies_group_ready(lane->group);
}

static void repair_written(struct part_request *request, int result)
{
    struct copies_lane *lane = request->context;
    struct copies_group *group = lane->group;
    uint8_t copy = (uint8_t)(request - lane->requests);
    lane->flying &= (uint8_t)~COPY_BIT(copy);
    if (result == 0)
        group->repaired_blocks += lane->count;
    else
        (void)copies_answer_ends(group, copy, result, request);
    if (lane->flying == 0)
        repair_end(lane);
}

static void repair_read(struct part_request *request, int result)
{
    struct copies_lane *lane = request->context;
    struct copies_group *group = lane->group;
    lane->flying = 0;
    if (result != 0 || group->copies->ended != 0 ||
        !replica_may_copy_from(&group->replica, lane->source, request->generation)) {
        (void)copies_answer_ends(group, lane->source, result == IOMESH_CORRUPT ? 0 : result,
                                 request);
        repair_end(lane);
        return;
    }
    lane->flying = lane->repair; /* So that the first answer does not end it. */
    EACH_COPY(copy)
    {
        if ((lane->repair & COPY_BIT(copy)) != 0)
            copies_lane_write(lane, copy, PART_REPAIR, repair_written);
    }
}

static void repair_go(struct copies_lane *lane)
{
    const struct copies_group *group = lane->group;
    uint8_t source = replica_read_choose(&group->replica, REPLICA_COPIES_MAX, lane->repair);
    if (source == REPLICA_COPIES_MAX || group->copies->ended != 0)
        repair_end(lane);
    else
        copies_lane_read(lane, source, repair_read);
}

void copies_repairs_turn(struct copies_engine *engine)
{
    while (engine->repair_count > 0 && !list_empty(&engine->free_lanes)) {
        struct copies_repair repair = engine->repairs[--engine->repair_count];
        struct copies_lane *lane =
            LIST_ENTRY(list_pop_front(&engine->free_lanes), struct copies_lane, node);
        lane->task = NULL;
        lane->group = repair.group;
        lane->view = repair.view;
        lane->page = repair.block;
        lane->at = 0;
        lane->count = repair.count;
        lane->repair = repair.copies;
        lane->flying = 0;
        copies_pace_take(lane, (uint64_t)repair.count * BLOCK_BYTES, repair_go);
    }
}

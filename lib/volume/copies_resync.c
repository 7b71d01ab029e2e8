/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Catching up: what the target lacks of a page goes from its source to it.
 *
 * Writes go on meanwhile, to the target too. What is read may be newer than what was listed, and
 * the target may have something newer still: it takes what is newer, so the order does not matter.
 */
#include <string.h>

#include "volume/copies_inside.h"

static void resync_send(struct copies_lane *lane);

static bool resync_lacks(const struct copies_lane *lane, uint32_t index)
{
    const struct copies_task *task = lane->task;
    const struct part_version *from = &lane->versions[task->source][index];
    const struct part_version *to = &lane->versions[task->target][index];
    if (from->kind == POINTER_SET_ASIDE)
        return false;
    if (to->kind == POINTER_SET_ASIDE)
        return !MUTANT(323) || from->sequence > to->sequence;
    if (lane->view != VIEW_HEAD && from->sequence > lane->view)
        return false; /* The snapshot went meanwhile, and a later view answers for it. */
    if (from->sequence != to->sequence)
        return from->sequence > to->sequence;
    return to->kind == POINTER_BAD && from->kind != POINTER_BAD;
}

/* --- To the target ---------------------------------------------------------------------------- */

static void resync_written(struct part_request *request, int result)
{
    struct copies_lane *lane = request->context;
    struct copies_task *task = lane->task;
    lane->flying = 0;
    if (result != 0 || task->stopped || task->failed) {
        (void)copies_answer_ends(lane->group, task->target, result, request);
        copies_lane_ended(lane, false);
        return;
    }
    for (uint32_t i = 0; i < lane->count; i++)
        task->copied_bytes += lane->sent[i].kind == POINTER_RAW ? BLOCK_BYTES : 0;
    lane->at += lane->count;
    lane->tried = 0;
    copies_resync_page(lane);
}

static void resync_send(struct copies_lane *lane)
{
    copies_lane_write(lane, lane->task->target, PART_RESYNC, resync_written);
}

/* --- From the source -------------------------------------------------------------------------- */

static void resync_read(struct part_request *request, int result);

/* Blocks that no copy can give are known damage at the target too, and never something older. */
static void resync_bad(struct copies_lane *lane, const struct part_request *request)
{
    for (uint32_t i = 0; i < lane->count; i++) {
        if (copies_bit(request->bad, i)) {
            lane->sent[i] = lane->versions[lane->task->source][lane->at + i];
            lane->sent[i].kind = POINTER_BAD;
        }
    }
    resync_send(lane);
}

static void resync_read(struct part_request *request, int result)
{
    struct copies_lane *lane = request->context;
    struct copies_task *task = lane->task;
    struct replica *replica = &lane->group->replica;
    uint8_t copy = (uint8_t)(request - lane->requests);
    lane->flying = 0;
    if (task->stopped || task->failed) {
        copies_lane_ended(lane, false);
        return;
    }
    bool counts = replica_may_copy_from(replica, copy, request->generation);
    if (result == 0 && counts) {
        resync_send(lane);
        return;
    }
    lane->tried |= COPY_BIT(copy);
    if (result != IOMESH_CORRUPT || !counts) {
        (void)copies_answer_ends(lane->group, copy, result, request);
        copies_lane_ended(lane, false);
        return;
    }
    uint8_t other = replica_read_choose(replica, REPLICA_COPIES_MAX, lane->tried);
    if (other == REPLICA_COPIES_MAX)
        resync_bad(lane, request);
    else
        copies_lane_read(lane, other, resync_read);
}

void copies_resync_page(struct copies_lane *lane)
{
    while (lane->at < MAP_BLOCKS && !resync_lacks(lane, lane->at))
        lane->at++;
    if (lane->at == MAP_BLOCKS) {
        copies_lane_next(lane);
        return;
    }
    const struct part_version *from = lane->versions[lane->task->source];
    bool data = false;
    lane->count = 0;
    while (lane->at + lane->count < MAP_BLOCKS && resync_lacks(lane, lane->at + lane->count)) {
        data = data || from[lane->at + lane->count].kind == POINTER_RAW;
        lane->count++;
    }
    if (data) {
        copies_lane_read(lane, lane->task->source, resync_read);
        return;
    }
    memcpy(lane->sent, from + lane->at, lane->count * sizeof *lane->sent);
    resync_send(lane);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Catching up: what the target lacks of a page goes from its source to it.
 *
 * Writes go on meanwhile, to the target too. What is read may be newer than what was listed, and
 * the target may have something newer still: it takes what is newer, so the order does not matter.
 */
#include <string.h>

#include "volume/copies_inside.h"

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

/* What is bad at the source may be good in another copy: reading tells. */
static bool resync_is_data(const struct part_version *version)
{
    return version->kind == POINTER_RAW || version->kind == POINTER_BAD;
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
    copies_pace_release(lane);
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
    if (other != REPLICA_COPIES_MAX)
        copies_lane_read(lane, other, resync_read);
    else if ((replica_in_sync(replica) & (uint8_t)~lane->tried) != 0 && !MUTANT(337))
        copies_lane_ended(lane, false); /* Who is away may have it: it is back soon, or stale. */
    else
        resync_bad(lane, request);
}

/* --- Runs ------------------------------------------------------------------------------------- */

static void runs_read(struct part_request *request, int result);

/* What is to be read of those at hand: lacking, and data. */
static bool runs_wants(const struct copies_lane *lane, uint32_t index)
{
    return resync_lacks(lane, lane->at + index) &&
           resync_is_data(&lane->versions[lane->task->source][lane->at + index]);
}

static void runs_over(struct copies_lane *lane)
{
    const struct copies_task *task = lane->task;
    if (task->stopped || task->failed ||
        (lane->read_result != 0 && lane->read_result != IOMESH_CORRUPT)) {
        copies_lane_ended(lane, false);
    } else if (lane->read_result == IOMESH_CORRUPT) {
        copies_pace_release(lane);
        lane->single = true;
        copies_resync_page(lane);
    } else {
        resync_send(lane);
    }
}

/* As many as go at once. */
static void runs_ask(struct copies_lane *lane)
{
    while (lane->read_result == 0 && lane->read_at < lane->count &&
           lane->reading != (1u << LANE_READS) - 1) {
        uint32_t first = lane->read_at;
        while (first < lane->count && !runs_wants(lane, first))
            first++;
        uint32_t end = first;
        while (end < lane->count && runs_wants(lane, end))
            end++;
        lane->read_at = end;
        if (end > first && !copies_lane_read_run(lane, first, end - first, runs_read))
            lane->read_result = -ECONNRESET;
    }
}

static void runs_read(struct part_request *request, int result)
{
    struct copies_lane *lane = request->context;
    struct copies_group *group = lane->group;
    uint8_t source = lane->task->source;
    lane->reading &= ~(1u << (request - lane->reads));
    if (!replica_may_copy_from(&group->replica, source, request->generation) && result == 0)
        result = -ECANCELED;
    if (result != 0 && result != IOMESH_CORRUPT)
        (void)copies_answer_ends(group, source, result, request);
    if (result != 0 && (lane->read_result == 0 || lane->read_result == IOMESH_CORRUPT))
        lane->read_result = result;
    runs_ask(lane);
    if (lane->reading == 0)
        runs_over(lane);
}

static void runs_go(struct copies_lane *lane)
{
    lane->state = LANE_READ;
    lane->reading = lane->read_at = 0;
    lane->read_result = 0;
    runs_ask(lane);
    if (lane->reading == 0)
        runs_over(lane);
}

static void single_go(struct copies_lane *lane)
{
    copies_lane_read(lane, lane->task->source, resync_read);
}

/* --- The page --------------------------------------------------------------------------------- */

/* Up to which block it goes now, and how many of them are data. What is between, and not lacking,
 * goes as SET_ASIDE, which is not touched. */
static uint32_t resync_gather(struct copies_lane *lane)
{
    const struct part_version *from = lane->versions[lane->task->source] + lane->at;
    uint32_t most = copies_pace_yields(lane->engine) ? COPIES_YIELD_BLOCKS : MAP_BLOCKS;
    uint32_t data = 0;
    lane->count = 0;
    for (uint32_t i = 0; lane->at + i < MAP_BLOCKS && data < most; i++) {
        bool lacks = resync_lacks(lane, lane->at + i);
        if (!lacks && lane->single)
            break;
        lane->sent[i] =
            lacks ? from[i] : (struct part_version){.kind = POINTER_SET_ASIDE, .sequence = 1};
        data += lacks && resync_is_data(&from[i]);
        if (lacks)
            lane->count = i + 1;
    }
    return data;
}

void copies_resync_page(struct copies_lane *lane)
{
    while (lane->at < MAP_BLOCKS && !resync_lacks(lane, lane->at))
        lane->at++;
    if (lane->at == MAP_BLOCKS) {
        copies_lane_next(lane);
        return;
    }
    uint32_t data = resync_gather(lane);
    if (data > 0)
        copies_pace_take(lane, (uint64_t)data * BLOCK_BYTES, lane->single ? single_go : runs_go);
    else
        resync_send(lane);
}

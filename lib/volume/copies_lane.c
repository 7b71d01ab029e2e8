/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One segment of one view, page by page, as several copies have it.
 *
 *   LIST ──▶ MAP ──▶ the page: what differs is read and written ──▶ LIST ...
 *    each copy: where is the next page      │ settle, resync
 *    with anything newer?                   └ a page that one copy did not name is asked of it
 */
#include <string.h>

#include "volume/copies_inside.h"

#define NO_PAGE UINT64_MAX

static void lane_listed(struct copies_lane *lane);

static uint8_t lane_copy(const struct copies_lane *lane, const struct part_request *request)
{
    return (uint8_t)(request - lane->requests);
}

static bool lane_stops(const struct copies_lane *lane)
{
    return lane->task != NULL && (lane->task->stopped || lane->task->failed);
}

void copies_lane_cancel(struct copies_lane *lane)
{
    if (lane->state == LANE_SETTLE) {
        replica_write_cancel(&lane->group->replica, &lane->op.write);
        copies_write_over(&lane->op, -ECANCELED);
        return;
    }
    if (lane->state == LANE_PACED) {
        copies_lane_ended(lane, false);
        return;
    }
    EACH_COPY(copy)
    {
        if ((lane->flying & COPY_BIT(copy)) != 0)
            part_cancel(&lane->requests[copy]);
    }
    for (uint32_t i = 0; i < LANE_READS; i++) {
        if ((lane->reading >> i & 1) != 0)
            part_cancel(&lane->reads[i]);
    }
}

/* --- Pages ------------------------------------------------------------------------------------ */

static void lane_page(struct copies_lane *lane)
{
    if (lane->lacking != 0 || lane_stops(lane)) {
        copies_lane_ended(lane, false);
        return;
    }
    lane->at = 0;
    lane->tried = 0;
    lane->single = false;
    memset(lane->unreadable, 0, sizeof lane->unreadable);
    if (lane->task->kind == COPIES_RECONCILE)
        copies_settle_page(lane);
    else
        copies_resync_page(lane);
}

void copies_lane_next(struct copies_lane *lane)
{
    lane->block = lane->page + MAP_BLOCKS;
    if (lane_stops(lane))
        copies_lane_ended(lane, false);
    else if (lane->block > lane->last)
        copies_lane_ended(lane, true);
    else
        copies_lane_scan(lane);
}

/* --- Asking ----------------------------------------------------------------------------------- */

static bool lane_counts(const struct copies_lane *lane, uint8_t copy, uint32_t generation)
{
    const struct copies_task *task = lane->task;
    const struct replica *replica = &lane->group->replica;
    if (task->kind == COPIES_RESYNC && copy == task->source)
        return replica_may_copy_from(replica, copy, generation);
    return replica_counts(replica, copy, generation);
}

/* True: the answer counts. */
static bool lane_answer(struct copies_lane *lane, struct part_request *request, int result)
{
    uint8_t copy = lane_copy(lane, request);
    lane->flying &= (uint8_t)~COPY_BIT(copy);
    bool counts =
        (result == 0 || result == -ENOENT) && lane_counts(lane, copy, request->generation);
    if (result != 0 && result != -ENOENT)
        (void)copies_answer_ends(lane->group, copy, result, request);
    if (!counts)
        lane->lacking |= COPY_BIT(copy);
    return counts;
}

static void lane_ask(struct copies_lane *lane, uint8_t copy, enum part_request_kind kind,
                     part_done_fn *done)
{
    struct part_request *request = &lane->requests[copy];
    copies_address(lane->group, request, kind);
    request->view = lane->view;
    request->block = kind == PART_MAP ? lane->page : lane->block;
    request->last = lane->last;
    request->since = lane->since;
    request->count = MAP_BLOCKS;
    request->versions = lane->versions[copy];
    if (copies_send(lane->group, copy, request, done, lane))
        lane->flying |= COPY_BIT(copy);
    else
        lane->lacking |= COPY_BIT(copy);
}

static void lane_map_told(struct part_request *request, int result)
{
    struct copies_lane *lane = request->context;
    (void)lane_answer(lane, request, result);
    if (lane->flying == 0)
        lane_page(lane);
}

static void lane_list_told(struct part_request *request, int result)
{
    struct copies_lane *lane = request->context;
    if (lane_answer(lane, request, result))
        lane->found[lane_copy(lane, request)] = result == 0 ? request->found : NO_PAGE;
    if (lane->flying == 0)
        lane_listed(lane);
}

/* Each copy has said where it has something. */
static void lane_listed(struct copies_lane *lane)
{
    if ((lane->lacking != 0 && !MUTANT(325)) || lane_stops(lane)) {
        copies_lane_ended(lane, false);
        return;
    }
    lane->page = NO_PAGE;
    EACH_COPY(copy)
    {
        if ((lane->copies & COPY_BIT(copy)) != 0)
            lane->page = MIN(lane->page, lane->found[copy]);
    }
    if (lane->page == NO_PAGE) {
        copies_lane_ended(lane, true);
        return;
    }
    lane->state = LANE_MAP;
    copies_lane_share(lane);
    EACH_COPY(copy)
    {
        if ((lane->copies & COPY_BIT(copy)) != 0 && lane->found[copy] != lane->page)
            lane_ask(lane, copy, PART_MAP, lane_map_told);
    }
    if (lane->flying == 0)
        lane_page(lane);
}

void copies_lane_scan(struct copies_lane *lane)
{
    lane->state = LANE_LIST;
    lane->flying = lane->lacking = 0;
    EACH_COPY(copy)
    {
        if ((lane->copies & COPY_BIT(copy)) != 0)
            lane_ask(lane, copy, PART_CHANGED, lane_list_told);
    }
    if (lane->flying == 0)
        lane_listed(lane);
}

/* --- Data ------------------------------------------------------------------------------------- */

/* Blocks from lane->at + `first` on. */
static void lane_address(struct copies_lane *lane, struct part_request *request,
                         enum part_request_kind kind, uint32_t first, uint32_t count)
{
    copies_address(lane->group, request, kind);
    request->view = lane->view;
    request->block = lane->page + lane->at + first;
    request->count = count;
    request->data = lane->data + (size_t)first * BLOCK_BYTES;
    request->versions = lane->sent + first;
    request->crcs = lane->crcs + first;
}

static void lane_data(struct copies_lane *lane, uint8_t copy, enum part_request_kind kind,
                      part_done_fn *done)
{
    struct part_request *request = &lane->requests[copy];
    lane_address(lane, request, kind, 0, lane->count);
    request->settle = lane->task != NULL && lane->task->kind == COPIES_RECONCILE;
    if (lane->task != NULL) {
        request->cuts = lane->task->cuts;
        request->cut_count = lane->task->cut_count;
    }
    lane->flying |= COPY_BIT(copy);
    if (!copies_send(lane->group, copy, request, done, lane)) {
        request->context = lane;
        done(request, -ECONNRESET);
    }
}

bool copies_lane_read_run(struct copies_lane *lane, uint32_t first, uint32_t count,
                          part_done_fn *done)
{
    uint32_t slot = 0;
    while ((lane->reading >> slot & 1) != 0)
        slot++;
    struct part_request *request = &lane->reads[slot];
    lane_address(lane, request, PART_READ, first, count);
    if (!copies_send(lane->group, lane->task->source, request, done, lane))
        return false;
    lane->reading |= 1u << slot;
    return true;
}

void copies_lane_read(struct copies_lane *lane, uint8_t copy, part_done_fn *done)
{
    lane->state = LANE_READ;
    lane->source = copy;
    lane_data(lane, copy, PART_READ, done);
}

void copies_lane_write(struct copies_lane *lane, uint8_t copy, enum part_request_kind kind,
                       part_done_fn *done)
{
    lane->state = LANE_WRITE;
    lane_data(lane, copy, kind, done);
}

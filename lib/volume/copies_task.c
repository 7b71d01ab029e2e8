/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reconciling and catching up, shared out to lanes: a segment of one view each.
 *
 * A view is done before the next begins. A snapshot that is taken while a copy catches up shows
 * what the copy may not have had when it was taken: so the cuts are asked for again at the end, and
 * new ones are gone through as well.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/copies_inside.h"

#define LANE_SHARE_PAGES 4u /* Fewer are not worth it. */

static void task_start(struct copies_task *task, const struct replica_action *action);

static struct copies *task_copies(const struct copies_task *task)
{
    return task->group->copies;
}

static void task_wants_lane(struct copies_task *task)
{
    if (list_empty(&task->node))
        list_push_back(&task_copies(task)->engine->tasks, &task->node);
}

/* --- Ends ------------------------------------------------------------------------------------- */

static void task_tell(struct copies_task *task)
{
    struct copies_group *group = task->group;
    uint64_t now = copies_now(group);
    if (task->kind == COPIES_RECONCILE)
        replica_reconciled(&group->replica, task->attempt, !task->failed, task->sequence, now);
    else
        replica_resynced(&group->replica, task->target, task->attempt, !task->failed, now);
    copies_group_ready(group);
}

static void task_later(struct timer *timer)
{
    task_tell(CONTAINER_OF(timer, struct copies_task, later));
}

/* Nothing of it is under way. */
static void task_over(struct copies_task *task)
{
    list_remove(&task->node);
    free(task->cuts);
    task->cuts = NULL;
    task->running = false;
    if (task->begin_again) {
        struct replica_action next = task->next;
        task_start(task, &next);
    } else if (!task->stopped && task->failed) {
        /* Who failed at once would be asked at once again. */
        task->later.fire = task_later;
        clock_set_after(task_copies(task)->engine->clock, &task->later, COPIES_RETRY_NS);
    } else if (!task->stopped) {
        task_tell(task);
    }
}

static void task_settle(struct copies_task *task)
{
    if (task->lanes == 0 && !task->views_flying)
        task_over(task);
}

static void task_cancel(struct copies_task *task)
{
    struct copies_engine *engine = task_copies(task)->engine;
    if (task->views_flying)
        part_cancel(&task->views_request);
    for (uint32_t i = 0; i < engine->lane_count; i++) {
        if (engine->lanes[i].task == task)
            copies_lane_cancel(&engine->lanes[i]);
    }
}

void copies_task_stop(struct copies_task *task)
{
    task->begin_again = false;
    clock_cancel(task_copies(task)->engine->clock, &task->later);
    if (!task->running || task->stopped)
        return;
    task->stopped = true;
    list_remove(&task->node);
    task_cancel(task);
    task_settle(task);
}

void copies_lane_ended(struct copies_lane *lane, bool complete)
{
    struct copies_task *task = lane->task;
    copies_pace_release(lane);
    lane->task = NULL;
    lane->state = LANE_FREE;
    list_push_front(&lane->engine->free_lanes, &lane->node);
    task->lanes--;
    task->segments_done += !lane->split;
    task->failed = task->failed || !complete;
    if (task->stopped || task->failed) {
        list_remove(&task->node);
        task_settle(task);
    } else {
        task_wants_lane(task);
    }
}

/* --- Beginning -------------------------------------------------------------------------------- */

static uint64_t task_segments(const struct copies_task *task)
{
    const struct copies *copies = task_copies(task);
    uint64_t segments = 0;
    for (uint32_t i = 0; i < copies->options.run_count; i++) {
        if (&copies->groups[copies->runs[i].group] == task->group)
            segments += copies->runs[i].count;
    }
    return segments;
}

static int task_cuts_load(struct copies_task *task)
{
    const struct copies_calls *calls = &task_copies(task)->options.calls;
    if (task->cuts == NULL)
        task->cuts = calloc(PART_CUTS_MAX, sizeof *task->cuts);
    if (task->cuts == NULL)
        return -ENOMEM;
    task->cut_count = calls->cuts(calls->context, task->cuts);
    return 0;
}

static void task_rewind(struct copies_task *task)
{
    task->run = 0;
    task->segment = 0;
}

/* The first view that may have something newer than what was dealt with. */
static void task_first_view(struct copies_task *task, uint64_t newer_than)
{
    task->view = 0;
    while (task->view < task->cut_count && (task->cuts[task->view] <= newer_than || MUTANT(322)))
        task->view++;
    task->segments_total += task_segments(task) * (task->cut_count - task->view + 1);
    task_rewind(task);
}

static void task_views_sent(struct part_request *request, int result)
{
    struct copies_task *task = request->context;
    struct copies_group *group = task->group;
    task->views_flying = false;
    if (copies_answer_ends(group, task->target, result, request) || result != 0)
        task->failed = true;
    if (task->stopped || task->failed)
        task_settle(task);
    else
        task_wants_lane(task);
}

/* What the target keeps for snapshots that went while it was away goes first. */
static void task_send_views(struct copies_task *task)
{
    struct part_request *request = &task->views_request;
    copies_address(task->group, request, PART_VIEWS);
    request->cuts = task->cuts;
    request->cut_count = task->cut_count;
    request->sequence = task->group->replica.newest;
    task->views_flying = copies_send(task->group, task->target, request, task_views_sent, task);
    if (!task->views_flying) {
        task->failed = true;
        task_settle(task);
    }
}

static void task_start(struct copies_task *task, const struct replica_action *action)
{
    task->running = true;
    task->stopped = task->failed = task->begin_again = false;
    task->attempt = action->attempt;
    task->above = action->above;
    task->source = action->source;
    task->target = action->copy;
    task->sequence = 0;
    task->copied_bytes = task->segments_done = task->segments_total = 0;
    task->copies = action->copies;
    if (task->kind != COPIES_RECONCILE)
        task->copies = (uint8_t)(COPY_BIT(action->source) | COPY_BIT(action->copy));
    if (task_cuts_load(task) != 0) {
        task->failed = true;
        task_over(task);
        return;
    }
    if (task->kind == COPIES_RECONCILE) {
        task->view = task->cut_count; /* Views show nothing that was not acknowledged. */
        task->segments_total = task_segments(task);
        task_rewind(task);
        task_wants_lane(task);
    } else {
        task_first_view(task, task->above);
        task_send_views(task);
    }
}

void copies_task_begin(struct copies_task *task, const struct replica_action *action)
{
    copies_task_stop(task);
    if (!task->running) {
        task_start(task, action);
        return;
    }
    task->next = *action;
    task->begin_again = true;
}

/* --- Lanes ------------------------------------------------------------------------------------ */

/* The next segment of the view at hand. */
static bool task_segment(struct copies_task *task, uint32_t *ret_segment)
{
    const struct copies *copies = task_copies(task);
    for (; task->run < copies->options.run_count; task->run++, task->segment = 0) {
        const struct copies_run *run = &copies->runs[task->run];
        if (&copies->groups[run->group] == task->group && task->segment < run->count) {
            *ret_segment = run->first + task->segment++;
            return true;
        }
    }
    return false;
}

/* All views are done. Were snapshots taken meanwhile? */
static bool task_new_cuts(struct copies_task *task)
{
    if (task->kind == COPIES_RECONCILE || MUTANT(320))
        return false;
    assert(task->cut_count == 0 || task->cuts != NULL);
    uint64_t newest = task->cut_count == 0 ? task->above : task->cuts[task->cut_count - 1];
    newest = MAX(newest, task->above);
    if (task_cuts_load(task) != 0 || task->cut_count == 0 ||
        task->cuts[task->cut_count - 1] <= newest)
        return false;
    task_first_view(task, newest);
    return true;
}

static void task_give(struct copies_task *task, struct copies_lane *lane, uint64_t block,
                      uint64_t last)
{
    bool head = task->view == task->cut_count;
    assert(task->cut_count == 0 || task->cuts != NULL);
    uint64_t before = task->view == 0 ? 0 : task->cuts[task->view - 1];
    lane->task = task;
    lane->group = task->group;
    lane->copies = task->copies;
    lane->view = head ? VIEW_HEAD : task->cuts[task->view];
    lane->since = task->kind == COPIES_RECONCILE ? task->above : MAX(task->above, before);
    lane->block = block;
    lane->last = last;
    task->lanes++;
    copies_lane_scan(lane);
}

/* False: it wants no lane now. */
static bool task_advance(struct copies_task *task, struct copies_engine *engine)
{
    uint32_t segment;
    while (!task_segment(task, &segment)) {
        if (task->lanes > 0)
            return false;
        if (task->view < task->cut_count) {
            task->view++;
            task_rewind(task);
        } else if (!task_new_cuts(task)) {
            task_over(task);
            return false;
        }
    }
    struct list *node = list_pop_front(&engine->free_lanes);
    LIST_ENTRY(node, struct copies_lane, node)->split = false;
    uint64_t first = (uint64_t)segment * SEGMENT_BLOCKS;
    task_give(task, LIST_ENTRY(node, struct copies_lane, node), first, first + SEGMENT_BLOCKS - 1);
    return true;
}

/* A segment with much to do is shared with lanes that have nothing to do: the second half goes to
 * one of them, which may do the same. */
void copies_lane_share(struct copies_lane *lane)
{
    struct copies_engine *engine = lane->engine;
    uint64_t from = lane->page + MAP_BLOCKS;
    if (lane->last < from || lane->last - from < (uint64_t)LANE_SHARE_PAGES * MAP_BLOCKS ||
        !list_empty(&engine->tasks) || list_empty(&engine->free_lanes))
        return;
    uint64_t middle = from + (lane->last - from) / 2 / MAP_BLOCKS * MAP_BLOCKS;
    uint64_t last = lane->last;
    struct copies_lane *other =
        LIST_ENTRY(list_pop_front(&engine->free_lanes), struct copies_lane, node);
    lane->last = middle - 1;
    other->split = true;
    task_give(lane->task, other, middle, last);
}

void copies_tasks_turn(struct copies_engine *engine)
{
    while (!list_empty(&engine->tasks) && !list_empty(&engine->free_lanes)) {
        struct list *node = list_pop_front(&engine->tasks);
        struct copies_task *task = LIST_ENTRY(node, struct copies_task, node);
        if (task_advance(task, engine) && task->running && !task->stopped)
            task_wants_lane(task);
    }
}

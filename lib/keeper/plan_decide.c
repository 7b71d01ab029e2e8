/* SPDX-License-Identifier: Apache-2.0 */
/* Of all that would be to be done, what is done now: the most urgent, within the limits. */
#include <stdlib.h>

#include "keeper/plan_inside.h"

/* --- The most urgent are kept ----------------------------------------------------------------- */

static void candidate_swap(struct candidate *a, struct candidate *b)
{
    struct candidate swap = *a;
    *a = *b;
    *b = swap;
}

void plan_candidate_add(struct plan *plan, const struct candidate *candidate)
{
    struct candidate *heap = plan->candidates;
    if (candidate->fact != PLAN_NONE) {
        struct plan_doing *doing = &plan->facts[candidate->fact].doing;
        doing->queued++;
        doing->bytes_left += candidate->bytes;
        doing->bytes_most = MAX(doing->bytes_most, candidate->bytes);
    }
    if (candidate->why != PLAN_WHY_BALANCE)
        plan->bytes_left += candidate->bytes;
    if (plan->candidate_count < PLAN_CANDIDATES_MAX) {
        uint32_t at = plan->candidate_count++;
        heap[at] = *candidate;
        for (; at > 0 && heap[(at - 1) / 2].order < heap[at].order; at = (at - 1) / 2)
            candidate_swap(&heap[at], &heap[(at - 1) / 2]);
        return;
    }
    if (candidate->order >= heap[0].order)
        return;
    heap[0] = *candidate;
    for (uint32_t at = 0;;) {
        uint32_t most = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2; child++)
            if (child < plan->candidate_count && heap[child].order > heap[most].order)
                most = child;
        if (most == at)
            return;
        candidate_swap(&heap[at], &heap[most]);
        at = most;
    }
}

static int candidate_order(const void *a, const void *b)
{
    const struct candidate *left = a;
    const struct candidate *right = b;
    if (left->order != right->order)
        return left->order < right->order ? -1 : 1;
    if (left->volume != right->volume)
        return left->volume < right->volume ? -1 : 1;
    return (left->group > right->group) - (left->group < right->group);
}

/* --- Moves ------------------------------------------------------------------------------------ */

bool plan_move_fits(const struct plan *plan, uint32_t source, uint32_t target)
{
    uint32_t most = MUTANT(263) ? UINT32_MAX : plan->settings.moves_per_store_max;
    return plan->moves < plan->settings.moves_per_pool_max &&
           (source == PLAN_NONE || plan->seen[source].moves < most) &&
           (target == PLAN_NONE || plan->seen[target].moves < most);
}

void plan_move_begin(struct plan *plan, const struct candidate *candidate, uint32_t target)
{
    uint64_t bytes = candidate->bytes;
    struct plan_action *action = plan_action_new(plan, PLAN_ADD);
    if (action == NULL)
        return;
    int64_t promised = (int64_t)(candidate->segments * PLACE_SEGMENT_BYTES);
    action->why = candidate->why;
    action->volume = candidate->volume;
    action->group = candidate->group;
    action->target = place_id(plan->place, target);
    action->bytes = bytes;
    plan->moves++;
    plan->seen[target].moves++;
    place_charge(plan->place, target, (int64_t)bytes, promised);
    if (candidate->source != PLAN_NONE) {
        action->source = place_id(plan->place, candidate->source);
        if (!plan->seen[candidate->source].out)
            plan->seen[candidate->source].moves++;
        place_charge(plan->place, candidate->source, -(int64_t)bytes, -promised);
    }
}

static void doing_begun(struct plan *plan, const struct candidate *candidate)
{
    if (candidate->fact == PLAN_NONE)
        return;
    plan->facts[candidate->fact].doing.queued--;
    plan->facts[candidate->fact].doing.running++;
}

static void doing_refused(struct plan *plan, const struct candidate *candidate,
                          const struct place_refusal *refusal)
{
    if (candidate->fact == PLAN_NONE)
        return;
    struct plan_fact *fact = &plan->facts[candidate->fact];
    fact->doing.queued--;
    fact->doing.nowhere++;
    fact->refusal = *refusal;
}

/* Copies that are missing, or leave a store that drains. */
static void make_copies(struct plan *plan)
{
    bool saturated = false;
    for (uint32_t i = 0; i < plan->candidate_count; i++) {
        const struct candidate *candidate = &plan->candidates[i];
        uint32_t source = candidate->source;
        struct place_refusal refusal;
        uint64_t id;
        bool from = source != PLAN_NONE && !plan->seen[source].out;
        if (candidate->why == PLAN_WHY_BALANCE)
            continue;
        if (!plan_move_fits(plan, from ? source : PLAN_NONE, PLAN_NONE))
            continue;
        struct place_request request = {
            .volume = candidate->volume,
            .group = candidate->group,
            .domain = place_level_of(candidate->domain),
            .media = candidate->media,
            .bytes = candidate->segments * PLACE_SEGMENT_BYTES,
        };
        if (from)
            place_set_weight(plan->place, source, 0);
        int result = place_another(plan->place, &request, candidate->stay, candidate->stay_count,
                                   &id, &refusal);
        if (from && plan->seen[source].moves < plan->settings.moves_per_store_max)
            place_set_weight(plan->place, source, plan->seen[source].weight);
        if (result != 0) {
            if (!saturated)
                doing_refused(plan, candidate, &refusal);
            continue;
        }
        uint32_t target = place_index(plan->place, id);
        if (!plan_move_fits(plan, PLAN_NONE, target))
            continue;
        plan_move_begin(plan, candidate, target);
        doing_begun(plan, candidate);
        if (!plan_move_fits(plan, PLAN_NONE, target)) {
            /* Others go elsewhere, or wait. */
            place_set_weight(plan->place, target, 0);
            saturated = true;
        }
    }
}

/* What each move may take, now that all are known. */
static uint64_t share(const struct plan *plan, uint32_t source, uint32_t target)
{
    uint64_t bytes = plan->settings.pool_bytes_max / MAX(1, plan->moves);
    if (source != PLAN_NONE)
        bytes = MIN(bytes, plan->settings.store_bytes_max / MAX(1, plan->seen[source].moves));
    if (target != PLAN_NONE)
        bytes = MIN(bytes, plan->settings.store_bytes_max / MAX(1, plan->seen[target].moves));
    return bytes;
}

uint64_t plan_bytes_second(const struct plan *plan, uint64_t source, uint64_t target)
{
    uint32_t from = source == 0 ? PLAN_NONE : place_index(plan->place, source);
    uint32_t to = target == 0 ? PLAN_NONE : place_index(plan->place, target);
    if ((from == PLAN_NONE || plan->seen[from].moves == 0) &&
        (to == PLAN_NONE || plan->seen[to].moves == 0))
        return 0;
    return share(plan, from, to);
}

void plan_decide(struct plan *plan)
{
    plan_volume(plan, &(struct plan_volume){0});
    qsort(plan->candidates, plan->candidate_count, sizeof *plan->candidates, candidate_order);
    make_copies(plan);
    if (plan->balancing)
        plan_balance(plan);
    for (uint32_t i = 0; i < plan->action_count; i++) {
        struct plan_action *action = &plan->actions[i];
        if (action->kind == PLAN_ADD)
            action->bytes_second = plan_bytes_second(plan, action->source, action->target);
    }
    plan_facts_end(plan);
}

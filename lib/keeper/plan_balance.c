/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Balancing: copies leave stores that have more than their even share for such as have less, drawn
 * by what they lack. A pair is worth a move if one of the two is farther from even than where
 * balancing ends: so no more is moved than must be, and nothing swings back.
 */
#include "keeper/plan_inside.h"

static uint64_t allowance(const struct plan *plan, uint32_t index)
{
    return plan->seen[index].weight / 1000000 * plan->settings.balance_stop_ppm;
}

/* What a store lacks, if that is more than its allowance or `all` may take; 0 if it may not take,
 * or takes as much as it may already. */
static uint64_t lacks(const struct plan *plan, uint32_t index, bool all)
{
    int64_t excess = plan_excess(plan, index);
    if (!plan->seen[index].may_take || excess >= 0 || !plan_move_fits(plan, PLAN_NONE, index))
        return 0;
    uint64_t missing = 0 - (uint64_t)excess;
    return all || missing > allowance(plan, index) ? missing : 0;
}

/* Evenness is not worth copies that are nearer to each other. */
static bool comes_nearer(const struct plan *plan, const struct candidate *candidate,
                         uint64_t target)
{
    uint64_t members[METADATA_MEMBERS_MAX];
    uint32_t count = candidate->stay_count;
    for (uint32_t i = 0; i < count; i++)
        members[i] = candidate->stay[i];
    members[count] = place_id(plan->place, candidate->source);
    struct place_spread before = place_spread(plan->place, members, count + 1);
    members[count] = target;
    struct place_spread after = place_spread(plan->place, members, count + 1);
    return place_spread_compare(&after, &before) > 0 && !MUTANT(268);
}

static void balance_one(struct plan *plan, struct candidate *candidate, bool far)
{
    uint32_t source = candidate->source;
    uint32_t media = 1u << plan_told(plan, source)->record.media;
    struct place_request request = {
        .volume = candidate->volume,
        .group = candidate->group,
        .domain = place_level_of(candidate->domain),
        .media = media,
        .bytes = candidate->segments * PLACE_SEGMENT_BYTES,
    };
    int64_t excess = plan_excess(plan, source);
    uint64_t id;
    if (excess <= 0 || (far && (uint64_t)excess <= allowance(plan, source)) ||
        (candidate->media != 0 && (candidate->media & media) == 0) ||
        !plan_move_fits(plan, source, PLAN_NONE) ||
        place_another(plan->place, &request, candidate->stay, candidate->stay_count, &id, NULL))
        return;
    uint32_t target = place_index(plan->place, id);
    if (comes_nearer(plan, candidate, id))
        return;
    /* Who lacks far too much may get what others have in their allowance. */
    uint64_t given = (uint64_t)excess + (far ? 0 : allowance(plan, source) / 2);
    /* All of it or nothing: as if the volume had as many groups as it may. */
    uint32_t segments =
        place_move_segments(candidate->bytes, candidate->segments, PLACE_GROUPS_SPLIT_MAX, given,
                            lacks(plan, target, far));
    if (segments == 0 && !MUTANT(265))
        return;
    plan_move_begin(plan, candidate, target);
    place_set_weight(plan->place, target, lacks(plan, target, far));
    candidate->done = true;
}

/* Copies of stores that are far too full to all that lack any, or of all that have too much to
 * those that lack far too much. */
static void balance(struct plan *plan, bool far)
{
    uint32_t count = place_count(plan->place);
    for (uint32_t i = 0; i < count; i++)
        place_set_weight(plan->place, i, lacks(plan, i, far));
    for (uint32_t i = 0; i < plan->candidate_count; i++)
        if (plan->candidates[i].why == PLAN_WHY_BALANCE && !plan->candidates[i].done)
            balance_one(plan, &plan->candidates[i], far);
}

void plan_balance(struct plan *plan)
{
    plan_evenness(plan);
    balance(plan, true);
    balance(plan, false);
}

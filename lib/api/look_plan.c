/* SPDX-License-Identifier: Apache-2.0 */
/* What was read, told to a plan: it knows what is wrong, why, and what is done about it. */
#include <stdlib.h>

#include "api/look.h"

void look_plan_close(struct look_plan *plan)
{
    plan_close(plan->plan);
    free(plan->stores);
    *plan = (struct look_plan){0};
}

/* What a copy of so many segments has of them, of a thin volume: as full as its stores say that
 * what was promised on them is. */
static uint64_t group_bytes(const struct look *look, const struct look_group *group,
                            uint64_t segments)
{
    uint64_t full = segments * PLACE_SEGMENT_BYTES;
    uint64_t used = 0;
    uint64_t promised = 0;
    for (uint32_t i = 0; i < group->member_count; i++) {
        const struct look_store *store = look_store(look, look->members[group->first + i].store);
        if (store == NULL)
            continue;
        used += store->record.bytes_used >> 20;
        promised += store->record.bytes_promised >> 20;
    }
    if (promised == 0 || used >= promised)
        return full;
    return full / promised * used + full % promised * used / promised;
}

/* Of a copy that catches up: what its coordinator has not dealt with; UINT64_MAX: not known. */
static uint64_t bytes_left(const struct look *look, const struct look_group *group, uint64_t bytes)
{
    size_t low = 0;
    size_t high = look->progress_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct look_progress *at = &look->progresses[middle];
        if (at->volume < group->volume || (at->volume == group->volume && at->group < group->id))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == look->progress_count)
        return UINT64_MAX;
    const struct look_progress *progress = &look->progresses[low];
    if (progress->volume != group->volume || progress->group != group->id ||
        progress->segments_total == 0)
        return UINT64_MAX;
    uint64_t left =
        progress->segments_total - MIN(progress->segments_done, progress->segments_total);
    return bytes / progress->segments_total * left;
}

static void tell_group(struct look *look, struct plan *plan, const struct look_group *from,
                       uint32_t segments)
{
    struct plan_group group = {
        .id = from->id,
        .segments = segments,
        .bytes = group_bytes(look, from, segments),
        .member_count = from->member_count,
    };
    uint64_t left = bytes_left(look, from, group.bytes);
    for (uint32_t i = 0; i < from->member_count; i++) {
        const struct look_member *member = &look->members[from->first + i];
        group.members[i] = (struct plan_member){
            .store = member->store,
            .state = (enum metadata_member_state)member->state,
            .reason = member->reason,
            .since_ns = member->since_ns,
            .leaving = member->leaving,
            .bytes_left = left,
        };
    }
    plan_group(plan, &group);
}

/* Each volume and its groups, which are in the same order. */
static void tell_volumes(struct look *look, struct plan *plan)
{
    size_t at = 0;
    for (size_t i = 0; i < look->volume_count; i++) {
        const struct look_volume *volume = &look->volumes[i];
        while (at < look->group_count && look->groups[at].volume < volume->id)
            at++;
        size_t end = at;
        while (end < look->group_count && look->groups[end].volume == volume->id)
            end++;
        struct plan_volume told = {
            .id = volume->id,
            .state = volume->state,
            .owned = volume->owned,
            .policy = volume->policy,
            .groups = (uint32_t)(end - at),
        };
        plan_volume(plan, &told);
        uint64_t segments = place_segments(volume->bytes);
        uint32_t each = end > at ? (uint32_t)DIV_CEIL(segments, end - at) : 0;
        for (; at < end; at++)
            tell_group(look, plan, &look->groups[at], each);
    }
}

int look_plan_open(struct look *look, struct look_plan *ret_plan)
{
    struct look_plan made = {.stores = calloc(look->store_count + 1, sizeof *made.stores)};
    if (made.stores == NULL)
        return FAIL(-ENOMEM, "no memory to look at %zu stores", look->store_count);
    for (size_t i = 0; i < look->store_count; i++) {
        const struct look_store *store = &look->stores[i];
        /* Not known: from now on, and a little more, so that no time is told. */
        uint64_t since = store->silent_since_ns != 0 ? store->silent_since_ns : look->wall_ns + 1;
        made.stores[i] = (struct plan_store){
            .record = place_store_of(&store->record),
            .state_reason = store->record.state_reason,
            .answers = store->answers,
            .silent_since_ns = store->answers ? 0 : since,
        };
    }
    struct plan_settings settings = plan_settings_of(&look->cluster, look->store_count);
    int result =
        plan_open(&settings, made.stores, look->store_count, look->wall_ns, false, &made.plan);
    if (result != 0) {
        free(made.stores);
        return result;
    }
    tell_volumes(look, made.plan);
    plan_decide(made.plan);
    *ret_plan = made;
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A group as the plan is told of it: as it will be when what is wished already has been done. */
#include <stdlib.h>

#include "keeper/survey_inside.h"

#define SEGMENT_BYTES_MIN (1ull << 20)
#define PROGRESS_OLD_NS (30 * NS_PER_S)

static int group_order(uint64_t volume, uint32_t group, uint64_t of_volume, uint32_t of_group)
{
    if (volume != of_volume)
        return volume < of_volume ? -1 : 1;
    return (group > of_group) - (group < of_group);
}

static struct survey_wish *wish_of(struct survey *survey, uint64_t volume, uint32_t group)
{
    uint32_t low = 0;
    uint32_t high = survey->wish_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct metadata_wish *wish = &survey->wishes[middle].wish;
        int order = group_order(wish->volume, wish->group, volume, group);
        if (order == 0)
            return &survey->wishes[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static const struct metadata_progress *progress_of(const struct survey *survey, uint64_t volume,
                                                   uint32_t group)
{
    uint64_t now_ns = clock_wall_ns(survey->options.clock);
    uint32_t low = 0;
    uint32_t high = survey->progress_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct metadata_progress *progress = &survey->progresses[middle];
        int order = group_order(progress->volume, progress->group, volume, group);
        if (order == 0)
            return progress->told_ns + PROGRESS_OLD_NS > now_ns ? progress : NULL;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* What a copy has: as full as what is promised on its stores is. */
static uint64_t group_bytes(const struct survey *survey, const struct metadata_group *group,
                            uint32_t segments)
{
    uint64_t used = 0;
    uint64_t promised = 0;
    for (uint32_t i = 0; i < group->member_count; i++) {
        uint32_t index = survey_store(survey, group->members[i].store);
        if (index == UINT32_MAX)
            continue;
        used += survey->stores[index].record.bytes_used >> 20;
        promised += survey->stores[index].record.bytes_promised >> 20;
    }
    uint64_t full = segments * PLACE_SEGMENT_BYTES;
    uint64_t bytes = used >= promised ? full : (full >> 20) * used / promised << 20;
    return promised == 0 ? segments * SEGMENT_BYTES_MIN : MAX(bytes, segments * SEGMENT_BYTES_MIN);
}

static struct plan_member *member_find(struct plan_group *group, uint64_t store)
{
    for (uint32_t i = 0; i < group->member_count; i++) {
        if (group->members[i].store == store)
            return &group->members[i];
    }
    return NULL;
}

static void wish_overlay(const struct survey *survey, struct plan_group *group,
                         struct survey_wish *wish)
{
    bool adds = wish->wish.kind == METADATA_WISH_ADD;
    struct plan_member *source = member_find(group, wish->wish.source);
    struct plan_member *target = member_find(group, wish->wish.target);
    uint32_t index = survey_store(survey, wish->wish.target);
    wish->seen = true;
    wish->member = (adds ? target : source) != NULL;
    wish->done = adds && target != NULL && target->state == METADATA_IN_SYNC;
    wish->lost =
        adds && (index == UINT32_MAX || survey->stores[index].record.state != METADATA_STORE_UP);
    if (source != NULL)
        source->leaving = true;
    /* If its store has gone nothing comes of it, and another is chosen. */
    if (!adds || target != NULL || wish->lost || group->member_count == METADATA_MEMBERS_MAX)
        return;
    group->members[group->member_count++] = (struct plan_member){.store = wish->wish.target,
                                                                 .state = METADATA_CATCHING_UP,
                                                                 .reason = METADATA_REASON_MOVED,
                                                                 .since_ns = wish->wish.since_ns,
                                                                 .bytes_left = UINT64_MAX};
}

static void group_promise(struct survey *survey, const struct plan_group *group)
{
    for (uint32_t i = 0; i < group->member_count; i++) {
        uint32_t index = survey_store(survey, group->members[i].store);
        if (index != UINT32_MAX && !group->members[i].leaving)
            survey->promised[index] += group->segments * PLACE_SEGMENT_BYTES;
    }
}

void survey_group(struct survey *survey, const struct metadata_group *record)
{
    uint32_t segments = survey->sizes[record->id % SURVEY_GROUPS_MAX];
    const struct metadata_progress *progress = progress_of(survey, record->volume, record->id);
    struct survey_wish *wish = wish_of(survey, record->volume, record->id);
    struct plan_group group = {.id = record->id,
                               .segments = segments,
                               .bytes = group_bytes(survey, record, segments),
                               .member_count = record->member_count};
    for (uint32_t i = 0; i < record->member_count; i++) {
        const struct metadata_member *from = &record->members[i];
        struct plan_member *member = &group.members[i];
        *member = (struct plan_member){.store = from->store,
                                       .state = from->state,
                                       .reason = from->reason,
                                       .since_ns = from->since_ns,
                                       .leaving = from->leaving,
                                       .bytes_left = UINT64_MAX};
        if (from->state == METADATA_CATCHING_UP && progress != NULL && progress->segments_total > 0)
            member->bytes_left =
                group.bytes / progress->segments_total *
                (progress->segments_total - MIN(progress->segments_done, progress->segments_total));
    }
    if (wish != NULL && survey->volume.state != METADATA_VOLUME_DELETING)
        wish_overlay(survey, &group, wish);
    group_promise(survey, &group);
    plan_group(survey->plan, &group);
    survey->groups++;
}

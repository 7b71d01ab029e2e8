/* SPDX-License-Identifier: Apache-2.0 */
/* How far apart copies are, and how much of a group is worth moving. */
#include "place/internal.h"

struct place_spread place_spread(const struct place *place, const uint64_t *members,
                                 uint32_t member_count)
{
    struct place_spread spread = {{0}};
    assert(member_count <= METADATA_MEMBERS_MAX);
    uint32_t indices[METADATA_MEMBERS_MAX];
    for (uint32_t i = 0; i < member_count; i++)
        indices[i] = place_index(place, members[i]);
    for (uint32_t i = 0; i < member_count; i++)
        for (uint32_t j = i + 1; j < member_count; j++) {
            if (indices[i] == UINT32_MAX || indices[j] == UINT32_MAX)
                continue;
            for (uint32_t level = 0; level < PLACE_LEVELS; level++)
                spread.shared[level] += place_domain(place, indices[i], (enum place_level)level) ==
                                        place_domain(place, indices[j], (enum place_level)level);
        }
    return spread;
}

int place_spread_compare(const struct place_spread *a, const struct place_spread *b)
{
    for (uint32_t level = PLACE_LEVELS; level-- > 0;)
        if (a->shared[level] != b->shared[level])
            return a->shared[level] < b->shared[level] ? -1 : 1;
    return 0;
}

uint32_t place_move_segments(uint64_t copy_bytes, uint32_t segments, uint32_t groups,
                             uint64_t excess_bytes, uint64_t missing_bytes)
{
    uint64_t wanted = MIN(excess_bytes, missing_bytes);
    if (copy_bytes == 0 || segments == 0 || wanted == 0)
        return 0;
    /* A little too much is better than a group more. */
    if (copy_bytes <= wanted || (copy_bytes - wanted < copy_bytes / 4 && !MUTANT(255)))
        return segments;
    uint64_t part = (uint64_t)((place_wide)segments * wanted / copy_bytes);
    if (groups >= PLACE_GROUPS_SPLIT_MAX || part < PLACE_GROUP_SEGMENTS_MIN ||
        segments - part < PLACE_GROUP_SEGMENTS_MIN)
        return copy_bytes / 2 < wanted ? segments : 0;
    return MUTANT(255) ? segments : (uint32_t)part;
}

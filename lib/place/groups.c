/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments of a volume to its groups.
 *
 * Segments are dealt out in runs, so that what is used together is on many stores, and a map stays
 * small: one begins with PLACE_MAP_RUNS runs at most, some 1 KiB.
 */
#include "place/internal.h"

uint64_t place_segments(uint64_t volume_bytes)
{
    return DIV_CEIL(volume_bytes, PLACE_SEGMENT_BYTES);
}

uint32_t place_group_count(uint64_t segments, uint64_t store_bytes)
{
    uint64_t count = MIN(PLACE_GROUPS, DIV_CEIL(segments, PLACE_GROUP_SEGMENTS_MIN));
    uint64_t share = store_bytes / PLACE_GROUP_STORE_SHARE / PLACE_SEGMENT_BYTES;
    if (store_bytes > 0)
        count = MAX(count, DIV_CEIL(segments, MAX(1, share)));
    return (uint32_t)MAX(1, MIN(count, PLACE_GROUPS_MAX));
}

uint64_t place_store_bytes(const struct place *place, uint32_t media)
{
    const struct domain *root = &place->domains[0];
    uint32_t mask = place_mask(media);
    uint32_t count = root->fit[PLACE_STORE][mask];
    return count == 0 ? 0 : odds_weight(&place->odds[0], mask) / count * BLOCK_BYTES;
}

static uint32_t fewest(const uint32_t *sizes, uint32_t groups)
{
    uint32_t least = 0;
    for (uint32_t i = 1; i < groups; i++)
        if (sizes[i] < sizes[least])
            least = i;
    return least;
}

void place_map_grow(struct metadata_map *map, uint64_t segments, uint32_t *sizes, uint32_t groups)
{
    uint64_t before = (uint64_t)map->index * METADATA_MAP_SEGMENTS;
    assert(groups >= 1 && groups <= PLACE_GROUPS_MAX && segments >= before);
    uint32_t end = (uint32_t)MIN(segments - before, METADATA_MAP_SEGMENTS);
    uint32_t run =
        (uint32_t)DIV_CEIL(MIN(segments, METADATA_MAP_SEGMENTS), (uint64_t)PLACE_MAP_RUNS);
    while (map->segment_count < end) {
        uint32_t group = MUTANT(254) ? 0 : fewest(sizes, groups);
        uint32_t count = MIN(run, end - map->segment_count);
        sizes[group] += count;
        while (count-- > 0)
            map->groups[map->segment_count++] = (uint16_t)group;
    }
}

int place_map_sizes(const struct metadata_map *map, uint32_t *sizes, uint32_t groups)
{
    for (uint32_t i = 0; i < map->segment_count; i++)
        if (map->groups[i] >= groups)
            return IOMESH_CORRUPT;
    for (uint32_t i = 0; i < map->segment_count; i++)
        sizes[map->groups[i]]++;
    return 0;
}

uint32_t place_map_split(struct metadata_map *map, uint32_t from, uint32_t to, uint32_t count)
{
    uint32_t moved = 0;
    assert(to < PLACE_GROUPS_MAX);
    for (uint32_t i = map->segment_count; i-- > 0 && moved < count;)
        if (map->groups[i] == from) {
            map->groups[i] = (uint16_t)to;
            moved++;
        }
    return moved;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a volume of a cluster goes: the groups that its segments get, and the stores of each.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

#define BIRTH_ITEMS 50u /* Of a transaction, beside what else it has. */

void catalog_layout_done(struct catalog_layout *layout)
{
    free(layout->sizes);
    free(layout->stores);
    free(layout->maps);
    *layout = (struct catalog_layout){0};
}

static uint32_t maps_of(uint64_t segments)
{
    return (uint32_t)((segments + METADATA_MAP_SEGMENTS - 1) / METADATA_MAP_SEGMENTS);
}

/* Which segments each group has. */
static void layout_grow(struct catalog_layout *layout)
{
    for (uint32_t i = layout->map_first; i < layout->map_count; i++) {
        struct metadata_map *map = &layout->maps[i - layout->map_first];
        map->volume = layout->record->id;
        map->index = i;
        place_map_grow(map, layout->segments, layout->sizes, layout->group_count);
    }
}

/* What each of the first `count` new groups will hold is promised by its stores, or is not. */
static void layout_charge(const struct catalog_layout *layout, struct place *place, uint32_t first,
                          uint32_t count, int sign)
{
    uint32_t copies = layout->record->policy.copies;
    for (uint32_t i = first; i < count; i++) {
        uint32_t segments = layout->sizes[layout->group_first + i];
        int64_t bytes = (int64_t)(segments * PLACE_SEGMENT_BYTES);
        for (uint32_t j = 0; j < copies; j++) {
            uint32_t index = place_index(place, layout->stores[i * copies + j]);
            if (index != UINT32_MAX) /* Its record is gone since. */
                place_charge(place, index, 0, sign * bytes);
        }
    }
}

static int layout_refuse(const struct catalog_layout *layout, const struct place_refusal *refusal)
{
    char text[PLACE_TEXT_BYTES];
    return FAIL(-ENOSPC, "volume \"%s\": %s", layout->record->name,
                place_refusal_text(refusal, text));
}

static int layout_choose(struct catalog_layout *layout, struct place *place,
                         const struct place_hint *hint)
{
    const struct metadata_policy *policy = &layout->record->policy;
    uint32_t count = layout->group_count - layout->group_first;
    for (uint32_t i = 0; i < count; i++) {
        struct place_request request = {
            .volume = layout->record->id,
            .group = layout->group_first + i,
            .copies = policy->copies,
            .domain = place_level_of(policy->domain),
            .media = policy->media,
            .bytes = layout->sizes[layout->group_first + i] * PLACE_SEGMENT_BYTES,
            .hint = *hint,
        };
        struct place_refusal refusal;
        int result =
            place_choose(place, &request, &layout->stores[(size_t)i * policy->copies], &refusal);
        if (result != 0) {
            layout_charge(layout, place, 0, i, -1);
            return result == -ENOSPC ? layout_refuse(layout, &refusal) : result;
        }
        layout_charge(layout, place, i, i + 1, 1);
    }
    return 0;
}

static int layout_memory(struct catalog_layout *layout)
{
    size_t groups = layout->group_count;
    size_t maps = layout->map_count - layout->map_first;
    layout->sizes = calloc(groups, sizeof *layout->sizes);
    layout->stores = calloc(groups * layout->record->policy.copies, sizeof *layout->stores);
    layout->maps = calloc(maps, sizeof *layout->maps);
    return layout->sizes != NULL && layout->stores != NULL && layout->maps != NULL ? 0 : -ENOMEM;
}

int catalog_layout_new(struct catalog *catalog, const struct metadata_volume *record,
                       const struct place_hint *hint, struct catalog_layout *ret_layout)
{
    struct place *place = stores_place(&catalog->stores);
    if (place == NULL)
        return FAIL(-ENOMEM, "volume \"%s\": placing it: no memory", record->name);
    struct catalog_layout layout = {.record = record, .segments = place_segments(record->bytes)};
    uint64_t store_bytes = place_store_bytes(place, record->policy.media);
    layout.group_count = place_group_count(layout.segments, store_bytes);
    layout.map_count = maps_of(layout.segments);
    int result = layout_memory(&layout);
    if (result != 0) {
        FAIL(result, "volume \"%s\": placing it: no memory", record->name);
    } else {
        layout_grow(&layout);
        result = layout_choose(&layout, place, hint);
    }
    if (result != 0)
        catalog_layout_done(&layout);
    else
        *ret_layout = layout;
    return result;
}

/* How the maps that there are share out segments; those from the last on that has room. */
static int layout_continue(struct catalog_layout *layout, const struct metadata_map *maps,
                           uint32_t map_count)
{
    int result = 0;
    for (uint32_t i = 0; i < map_count && result == 0; i++)
        result = place_map_sizes(&maps[i], layout->sizes, layout->group_count);
    if (layout->map_first < map_count)
        layout->maps[0] = maps[layout->map_first]; /* What a newer program put there is not kept. */
    layout->maps[0].unknown = (struct metadata_bytes){0};
    return result;
}

int catalog_layout_grow(struct catalog *catalog, const struct metadata_volume *record,
                        const struct metadata_map *maps, uint32_t map_count,
                        const struct place_hint *hint, struct catalog_layout *ret_layout)
{
    struct place *place = stores_place(&catalog->stores);
    if (place == NULL)
        return FAIL(-ENOMEM, "volume \"%s\": placing it: no memory", record->name);
    struct catalog_layout layout = {.record = record, .segments = place_segments(record->bytes)};
    for (uint32_t i = 0; i < map_count; i++) {
        for (uint32_t j = 0; j < maps[i].segment_count; j++)
            layout.group_first = MAX(layout.group_first, (uint32_t)maps[i].groups[j] + 1);
    }
    bool full = maps[map_count - 1].segment_count == METADATA_MAP_SEGMENTS;
    uint64_t covered =
        (uint64_t)(map_count - 1) * METADATA_MAP_SEGMENTS + maps[map_count - 1].segment_count;
    layout.map_first = map_count - (full ? 0 : 1);
    layout.map_count = maps_of(layout.segments);
    *ret_layout = (struct catalog_layout){0};
    if (layout.segments <= covered)
        return 0; /* It was larger once. */
    layout.group_count =
        MAX(layout.group_first,
            place_group_count(layout.segments, place_store_bytes(place, record->policy.media)));
    int result = layout_memory(&layout);
    if (result == 0)
        result = layout_continue(&layout, maps, map_count);
    if (result == 0) {
        layout_grow(&layout);
        result = layout_choose(&layout, place, hint);
    }
    if (result != 0)
        catalog_layout_done(&layout);
    else
        *ret_layout = layout;
    return result;
}

void catalog_layout_return(struct catalog *catalog, const struct catalog_layout *layout)
{
    if (catalog->stores.place != NULL)
        layout_charge(layout, catalog->stores.place, 0, layout->group_count - layout->group_first,
                      -1);
}

/* --- Records -------------------------------------------------------------------------------- */

uint32_t catalog_layout_items(const struct catalog_layout *layout)
{
    return layout->group_count - layout->group_first + layout->map_count - layout->map_first;
}

static int put_group(const struct catalog_layout *layout, uint32_t index, uint64_t now_ns,
                     struct meta_request *request)
{
    uint32_t copies = layout->record->policy.copies;
    struct metadata_group group = {
        .volume = layout->record->id,
        .id = layout->group_first + index,
        .member_count = copies,
    };
    for (uint32_t i = 0; i < copies; i++)
        group.members[i] = (struct metadata_member){
            .store = layout->stores[(size_t)index * copies + i],
            .state = METADATA_IN_SYNC,
            .since_ns = now_ns,
        };
    struct metadata_bytes value = {0};
    int result = metadata_group_encode(&group, &value);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_group_key(group.volume, group.id);
    meta_put(request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return 0;
}

static int put_map(const struct metadata_map *map, struct meta_request *request)
{
    struct metadata_bytes value = {0};
    int result = metadata_map_encode(map, &value);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_map_key(map->volume, map->index);
    meta_put(request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return 0;
}

int catalog_layout_put(const struct catalog_layout *layout, uint32_t item, uint64_t now_ns,
                       struct meta_request *request)
{
    uint32_t groups = layout->group_count - layout->group_first;
    return item < groups ? put_group(layout, item, now_ns, request)
                         : put_map(&layout->maps[item - groups], request);
}

/* --- With something else ---------------------------------------------------------------------- */

static uint32_t birth_before(const struct catalog_birth *birth)
{
    return birth->items > BIRTH_ITEMS ? birth->items - BIRTH_ITEMS : 0;
}

static void birth_next(struct catalog_op *op, struct catalog_birth *birth);

static void birth_some(struct catalog_op *op, int result)
{
    struct catalog_birth *birth = op->birth;
    if (result == 0 && !op->request.succeeded)
        result = IOMESH_CONFLICT;
    if (result == 0) {
        REACH(catalog_born_in_parts);
        birth->revision = op->request.revision;
        birth_next(op, birth);
        return;
    }
    /* Perhaps it happened: whoever asks again does so with another number. */
    FAIL(result, "volume \"%s\": making its groups: %s", birth->record.name,
         base_error_text(result));
    birth->placed(op, result);
}

/* The next transaction before the last. */
static void birth_next(struct catalog_op *op, struct catalog_birth *birth)
{
    uint32_t end = MIN(birth->item + BIRTH_ITEMS, birth_before(birth));
    struct metadata_volume record = birth->record;
    if (birth->item == birth_before(birth)) {
        birth->placed(op, 0);
        return;
    }
    /* It has no tie to its parent until it lives; the keeper deletes what is nobody's. */
    record.state = METADATA_VOLUME_DELETING;
    record.owner_session = op->catalog->session.id;
    record.parent_volume = record.parent_cut = 0;
    meta_request_reset(&op->request);
    int result = catalog_put_record(&op->request, &record, birth->revision);
    for (; result == 0 && birth->item < end; birth->item++)
        result =
            catalog_layout_put(&birth->layout, birth->item, birth->record.created_ns, &op->request);
    op->birth = birth;
    if (result == 0)
        catalog_op_commit(op, birth_some);
    else
        catalog_op_later(op, result, birth_some);
}

void catalog_birth_start(struct catalog_op *op, struct catalog_birth *birth,
                         const struct metadata_volume *record, catalog_step_fn *placed)
{
    struct catalog *catalog = op->catalog;
    struct place_hint here = {.zone = catalog->cluster.zone,
                              .rack = catalog->cluster.rack,
                              .node = catalog->cluster.node};
    if (!catalog_is_cluster(catalog) || birth->items > 0) {
        placed(op, 0);
        return;
    }
    birth->record = *record; /* Lent. */
    birth->placed = placed;
    int result = catalog_layout_new(catalog, &birth->record, &here, &birth->layout);
    if (result != 0) {
        placed(op, result);
        return;
    }
    birth->items = catalog_layout_items(&birth->layout);
    birth_next(op, birth);
}

int catalog_birth_put(const struct catalog_birth *birth, const struct metadata_volume *record,
                      struct meta_request *request)
{
    int result = catalog_put_record(request, record, birth->revision);
    for (uint32_t i = birth_before(birth); i < birth->items && result == 0; i++)
        result = catalog_layout_put(&birth->layout, i, birth->record.created_ns, request);
    return result;
}

void catalog_birth_end(struct catalog *catalog, struct catalog_birth *birth, uint64_t volume,
                       int result)
{
    if (birth->items > 0 && result != 0 && result != IOMESH_UNKNOWN)
        catalog_layout_return(catalog, &birth->layout);
    /* Some of it may be there. */
    if (result != 0 && birth->item > 0)
        catalog_chore_wake(catalog, volume);
    catalog_layout_done(&birth->layout);
}

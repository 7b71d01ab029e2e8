/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume of a cluster becomes larger: the segments that it gets have groups before it has them.
 *
 *   MAPS are read ──▶ the layout goes on from them ──▶ groups and maps are PUT ─┬─▶ grown
 *                                                        ▲                      │
 *                                                        └── more than fit ─────┘
 *
 * An open volume takes over what was put, and what a crash left behind, before it is larger.
 *
 * Each transaction compares the volume's record. Maps may tell of more segments than the volume
 * has, so what is left behind by a crash does no harm.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

#define GROW_ITEMS 120u /* Of a transaction; each new group is compared too. */

struct catalog_grow {
    struct metadata_volume record; /* As it will be; lent. */
    struct catalog_volume *open;   /* Whose record is held meanwhile; NULL: it is not open. */
    struct catalog_owned found;    /* Groups and runs as they are then; nothing else of it. */
    struct metadata_key group_after, map_after;
    struct catalog_layout layout;
    uint32_t item, items;
    catalog_step_fn *grown;
};

void catalog_grow_free(struct catalog_grow *grow)
{
    if (grow == NULL)
        return;
    catalog_layout_done(&grow->layout);
    for (uint32_t i = 0; i < grow->found.group_count; i++)
        metadata_group_done(&grow->found.groups[i].record);
    free(grow->found.groups);
    free(grow->found.runs);
    free(grow);
}

static void grow_end(struct catalog_op *op, int result)
{
    struct catalog_grow *grow = op->grow;
    catalog_step_fn *grown = grow->grown;
    if (result != 0 && grow->items > 0)
        catalog_layout_return(op->catalog, &grow->layout);
    if (grow->open != NULL)
        catalog_volume_changed(grow->open, NULL, 0);
    catalog_grow_free(grow);
    op->grow = NULL;
    grown(op, result);
}

/* --- Of a volume that is open ----------------------------------------------------------------- */

/* Runs behind those that it has. Maps may tell of segments that only a crash left behind. */
static uint32_t adopt_runs(const struct catalog_grow *grow, uint64_t segments,
                           struct copies_run *runs)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < grow->found.run_count; i++) {
        struct copies_run run = grow->found.runs[i];
        if ((uint64_t)run.first + run.count <= segments)
            continue;
        if (run.first < segments) {
            run.count -= (uint32_t)(segments - run.first);
            run.first = (uint32_t)segments;
        }
        runs[count++] = run;
    }
    return count;
}

/* Groups that it does not have go behind those that it has: their numbers are larger. */
static int adopt_groups(struct catalog_owned *owned, struct catalog_owned *found,
                        struct copies_group_options *options, uint32_t *ret_count)
{
    uint32_t room = MAX(found->group_count, owned->group_capacity);
    struct catalog_owned_group *groups = realloc(owned->groups, room * sizeof *groups);
    if (groups == NULL)
        return -ENOMEM;
    owned->groups = groups;
    owned->group_capacity = room;
    uint32_t had = owned->group_count;
    if (found->group_count < had)
        return IOMESH_CORRUPT;
    for (uint32_t i = 0; i < had; i++) {
        if (found->groups[i].record.id != groups[i].record.id)
            return IOMESH_CORRUPT;
    }
    for (uint32_t i = had; i < found->group_count; i++)
        options[i - had] = (struct copies_group_options){
            .id = found->groups[i].record.id,
            .record = catalog_owned_record(&found->groups[i].record, owned->volume->record.epoch)};
    *ret_count = found->group_count - had;
    return 0;
}

static int grow_refuse(const struct catalog_grow *grow)
{
    return FAIL(-EBUSY,
                "volume \"%s\" is open, and would get more groups of copies than it can meanwhile: "
                "close it",
                grow->open->slot->name);
}

static int grow_adopt(struct catalog_grow *grow)
{
    struct catalog_owned *owned = grow->open->owned;
    struct catalog_owned *found = &grow->found;
    struct copies_group_options *groups = calloc(found->group_count + 1, sizeof *groups);
    struct copies_run *runs = calloc(found->run_count + 1, sizeof *runs);
    uint32_t count = 0;
    int result = groups == NULL || runs == NULL ? -ENOMEM : 0;
    if (result == 0 && (owned->copies == NULL || owned->ended != 0))
        result = IOMESH_FENCED;
    if (result == 0)
        result = adopt_groups(owned, found, groups, &count);
    if (result == 0)
        result = copies_grow(owned->copies, groups, count, runs,
                             adopt_runs(grow, owned->segments, runs));
    if (result == 0) {
        owned->segments = found->segments;
        for (; owned->group_count < found->group_count; owned->group_count++) {
            owned->groups[owned->group_count] = found->groups[owned->group_count];
            found->groups[owned->group_count].record = (struct metadata_group){0};
        }
        REACH(catalog_grown_open);
    }
    free(groups);
    free(runs);
    return result == -ENOBUFS ? grow_refuse(grow) : result;
}

static int found_entries(struct catalog_grow *grow, const struct meta_response *response,
                         int (*add)(struct catalog_owned *, uint64_t, const struct meta_entry *),
                         struct metadata_key *after)
{
    int result = 0;
    for (uint32_t i = 0; i < response->entry_count && result == 0; i++) {
        const struct meta_slice *key = &response->entries[i].key;
        result = add(&grow->found, grow->record.id, &response->entries[i]);
        after->length = MIN(key->length, sizeof after->bytes);
        memcpy(after->bytes, key->data, after->length);
    }
    return result;
}

static void grow_look(struct catalog_op *op);

/* Nobody else changes them: pages of different moments fit. */
static void grow_looked(struct catalog_op *op, int result)
{
    struct catalog_grow *grow = op->grow;
    const struct meta_response *responses = op->request.responses;
    if (result == 0)
        result = found_entries(grow, &responses[0], catalog_claim_group, &grow->group_after);
    bool more_groups = result == 0 && responses[0].more;
    if (result == 0 && !more_groups)
        result = found_entries(grow, &responses[1], catalog_claim_map, &grow->map_after);
    if (result == 0 && (more_groups || responses[1].more)) {
        grow_look(op);
        return;
    }
    grow_end(op, result != 0 ? result : grow_adopt(grow));
}

static void grow_look(struct catalog_op *op)
{
    struct catalog_grow *grow = op->grow;
    struct metadata_key groups = metadata_volume_prefix(METADATA_GROUP, grow->record.id);
    struct metadata_key maps = metadata_volume_prefix(METADATA_MAP, grow->record.id);
    meta_request_reset(&op->request);
    meta_list(&op->request, META_SLICE(groups), META_SLICE(grow->group_after),
              META_LIST_ENTRIES_MAX);
    meta_list(&op->request, META_SLICE(maps), META_SLICE(grow->map_after), META_LIST_ENTRIES_MAX);
    catalog_op_commit(op, grow_looked);
}

/* All of it has a place. */
static void grow_placed(struct catalog_op *op)
{
    op->grow->items = 0; /* They are there, whatever comes of them. */
    if (op->grow->open != NULL)
        grow_look(op);
    else
        grow_end(op, 0);
}

/* --- Putting ---------------------------------------------------------------------------------- */

static void grow_put(struct catalog_op *op);

static void grow_committed(struct catalog_op *op, int result)
{
    struct catalog_grow *grow = op->grow;
    if (result == 0 && !op->request.succeeded)
        result = IOMESH_CONFLICT;
    if (result != 0)
        grow_end(op, result);
    else if (grow->item == grow->items)
        grow_placed(op);
    else
        grow_put(op);
}

static void grow_put(struct catalog_op *op)
{
    struct catalog_grow *grow = op->grow;
    struct metadata_key volume = metadata_volume_key(op->record.id);
    uint32_t groups = grow->layout.group_count - grow->layout.group_first;
    uint64_t now_ns = clock_wall_ns(op->catalog->options.clock);
    int result = 0;
    meta_request_reset(&op->request);
    meta_if_modified(&op->request, META_SLICE(volume), op->revision);
    catalog_op_unowned(op);
    for (uint32_t i = 0; i < GROW_ITEMS && grow->item < grow->items && result == 0; i++) {
        if (grow->item < groups) {
            struct metadata_key key =
                metadata_group_key(op->record.id, grow->layout.group_first + grow->item);
            meta_if_absent(&op->request, META_SLICE(key));
        }
        result = catalog_layout_put(&grow->layout, grow->item++, now_ns, &op->request);
    }
    if (result == 0)
        catalog_op_commit(op, grow_committed);
    else
        catalog_op_later(op, result, grow_committed);
}

/* --- What there is ---------------------------------------------------------------------------- */

static int maps_decode(const struct catalog_op *op, const struct meta_response *response,
                       struct metadata_map *maps)
{
    for (uint32_t i = 0; i < response->entry_count; i++) {
        const struct meta_slice *value = &response->entries[i].value;
        int result = metadata_map_decode(value->data, value->length, &maps[i]);
        if (result != 0)
            return result;
        if (maps[i].volume != op->record.id || maps[i].index != i)
            return IOMESH_CORRUPT;
    }
    return 0;
}

static void grow_read(struct catalog_op *op, int result)
{
    struct catalog_grow *grow = op->grow;
    const struct meta_response *response = &op->request.responses[0];
    struct place_hint here = {.zone = op->catalog->cluster.zone,
                              .rack = op->catalog->cluster.rack,
                              .node = op->catalog->cluster.node};
    if (result == 0 && !op->request.succeeded)
        result = IOMESH_CONFLICT; /* It was deleted, say, and its maps are going. */
    else if (result == 0 && (response->more || response->entry_count == 0))
        result = IOMESH_CORRUPT;
    if (result != 0) {
        grow_end(op, result);
        return;
    }
    uint32_t count = response->entry_count;
    struct metadata_map *maps = calloc(count, sizeof *maps);
    result = maps == NULL ? -ENOMEM : maps_decode(op, response, maps);
    if (result == 0)
        result = catalog_layout_grow(op->catalog, &grow->record, maps, count, &here, &grow->layout);
    for (uint32_t i = 0; maps != NULL && i < count; i++)
        metadata_map_done(&maps[i]);
    free(maps);
    if (result == 0)
        grow->items = catalog_layout_items(&grow->layout);
    if (result == 0 && grow->open != NULL &&
        grow->layout.group_count - grow->layout.group_first > COPIES_GROW_MAX)
        result = grow_refuse(grow); /* Nothing was put yet. */
    if (result != 0)
        grow_end(op, result);
    else if (grow->items == 0)
        grow_placed(op);
    else
        grow_put(op);
}

static void grow_alone(struct catalog_op *op, int result)
{
    struct metadata_key volume = metadata_volume_key(op->record.id);
    struct metadata_key prefix = metadata_volume_prefix(METADATA_MAP, op->record.id);
    struct meta_slice none = {0};
    (void)result;
    meta_request_reset(&op->request);
    if (!MUTANT(434))
        meta_if_modified(&op->request, META_SLICE(volume), op->revision);
    meta_list(&op->request, META_SLICE(prefix), none, META_LIST_ENTRIES_MAX);
    catalog_op_commit(op, grow_read);
}

static void grow_held(struct catalog_op *op, int result)
{
    op->grow->open = op->slot->open;
    grow_alone(op, result);
}

void catalog_op_grow(struct catalog_op *op, uint64_t bytes, catalog_step_fn *grown)
{
    const struct catalog_volume *open = op->slot->open;
    if (open != NULL && place_segments(bytes) <= open->owned->segments) {
        grown(op, 0);
        return;
    }
    struct catalog_grow *grow = calloc(1, sizeof *grow);
    if (grow == NULL) {
        grown(op, -ENOMEM);
        return;
    }
    grow->record = op->record;
    grow->record.bytes = bytes;
    grow->grown = grown;
    op->grow = grow;
    if (open != NULL)
        catalog_op_hold_record(op, grow_held);
    else
        catalog_op_owner(op, grow_alone);
}

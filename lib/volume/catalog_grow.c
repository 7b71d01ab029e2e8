/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume of a cluster becomes larger: the segments that it gets have groups before it has them.
 *
 *   MAPS are read ──▶ the layout goes on from them ──▶ groups and maps are PUT ─┬─▶ grown
 *                                                        ▲                      │
 *                                                        └── more than fit ─────┘
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
    struct catalog_layout layout;
    uint32_t item, items;
    catalog_step_fn *grown;
};

void catalog_grow_free(struct catalog_grow *grow)
{
    if (grow == NULL)
        return;
    catalog_layout_done(&grow->layout);
    free(grow);
}

static void grow_end(struct catalog_op *op, int result)
{
    struct catalog_grow *grow = op->grow;
    catalog_step_fn *grown = grow->grown;
    if (result != 0 && grow->items > 0)
        catalog_layout_return(op->catalog, &grow->layout);
    catalog_grow_free(grow);
    op->grow = NULL;
    grown(op, result);
}

static void grow_put(struct catalog_op *op);

static void grow_committed(struct catalog_op *op, int result)
{
    struct catalog_grow *grow = op->grow;
    if (result == 0 && !op->request.succeeded)
        result = IOMESH_CONFLICT;
    if (result != 0 || grow->item == grow->items)
        grow_end(op, result);
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
    if (result == 0 && (response->more || response->entry_count == 0))
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
    if (result != 0 || grow->items == 0)
        grow_end(op, result);
    else
        grow_put(op);
}

static void grow_alone(struct catalog_op *op, int result)
{
    struct metadata_key prefix = metadata_volume_prefix(METADATA_MAP, op->record.id);
    struct meta_slice none = {0};
    (void)result;
    meta_request_reset(&op->request);
    meta_list(&op->request, META_SLICE(prefix), none, META_LIST_ENTRIES_MAX);
    catalog_op_commit(op, grow_read);
}

void catalog_op_grow(struct catalog_op *op, uint64_t bytes, catalog_step_fn *grown)
{
    const struct catalog_volume *open = op->slot->open;
    if (open != NULL && place_segments(bytes) <= open->owned->segments) {
        grown(op, 0);
        return;
    }
    if (open != NULL) {
        grown(op, FAIL(-EBUSY,
                       "volume \"%s\" is open: close it, for it gets space that is not placed yet",
                       op->slot->name));
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
    catalog_op_owner(op, grow_alone);
}

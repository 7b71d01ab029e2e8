/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What snapshots hold in a cluster: each store that has a copy in sync is asked once, for it counts
 * all that it has of the volume, and the answers are added up.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

struct measure_store {
    struct catalog_space *space;
    uint64_t store;
    struct part_request request;
    struct part_view_space *counts;
};

struct catalog_space {
    struct catalog_op *op;
    uint32_t cut_count;
    uint64_t *cuts;
    struct measure_store *stores;
    uint32_t store_count, store_capacity;
    uint32_t flying;
    int result;
    struct metadata_key after;
    catalog_step_fn *measured;
};

static void measure_free(struct catalog_space *space)
{
    for (uint32_t i = 0; i < space->store_count; i++)
        free(space->stores[i].counts);
    free(space->stores);
    free(space->cuts);
    free(space);
}

static void measure_end(struct catalog_space *space, int result)
{
    struct catalog_op *op = space->op;
    catalog_step_fn *measured = space->measured;
    measure_free(space);
    catalog_op_later(op, result, measured);
}

/* --- Asking ----------------------------------------------------------------------------------- */

static void measure_told(struct part_request *request, int result)
{
    struct measure_store *store = request->context;
    struct catalog_space *space = store->space;
    struct store_view_space *sums = space->op->space;
    for (uint32_t i = 0; result == 0 && i < space->cut_count; i++) {
        sums[i].unique_blocks += store->counts[i].unique_blocks;
        sums[i].shared_blocks += store->counts[i].shared_blocks;
    }
    if (space->result == 0)
        space->result = result;
    if (--space->flying == 0)
        measure_end(space, space->result);
}

static int measure_send(struct catalog_space *space, struct measure_store *store)
{
    const struct catalog_op *op = space->op;
    struct part_port *port = op->catalog->cluster.port(op->catalog->cluster.context, store->store);
    if (port == NULL || port->state != PART_PORT_UP)
        return -ENOTCONN;
    store->counts = calloc(space->cut_count, sizeof *store->counts);
    if (store->counts == NULL)
        return -ENOMEM;
    store->space = space;
    store->request = (struct part_request){.kind = PART_VIEW_SPACE,
                                           .volume = op->record.id,
                                           .cuts = space->cuts,
                                           .cut_count = space->cut_count,
                                           .data = store->counts,
                                           .done = measure_told,
                                           .context = store};
    space->flying++;
    part_submit(port, &store->request);
    return 0;
}

static void measure_ask(struct catalog_space *space)
{
    space->flying = 1; /* This. */
    for (uint32_t i = 0; i < space->store_count && space->result == 0; i++)
        space->result = measure_send(space, &space->stores[i]);
    if (--space->flying == 0)
        measure_end(space, space->result);
}

/* --- Whom ------------------------------------------------------------------------------------- */

static int measure_add(struct catalog_space *space, uint64_t store)
{
    for (uint32_t i = 0; i < space->store_count; i++) {
        if (space->stores[i].store == store)
            return 0;
    }
    if (space->store_count == space->store_capacity) {
        uint32_t capacity = MAX(2 * space->store_capacity, 16u);
        struct measure_store *stores = realloc(space->stores, capacity * sizeof *stores);
        if (stores == NULL)
            return -ENOMEM;
        space->stores = stores;
        space->store_capacity = capacity;
    }
    space->stores[space->store_count++] = (struct measure_store){.store = store};
    return 0;
}

static int measure_group(struct catalog_space *space, const struct meta_entry *entry)
{
    struct metadata_group group = {0};
    int result = metadata_group_decode(entry->value.data, entry->value.length, &group);
    for (uint32_t i = 0; i < group.member_count && result == 0; i++) {
        if (group.members[i].state == METADATA_IN_SYNC && group.generation > 0)
            result = measure_add(space, group.members[i].store);
    }
    metadata_group_done(&group);
    return result;
}

static void measure_read(struct catalog_op *op, int result);

static void measure_page(struct catalog_space *space)
{
    struct catalog_op *op = space->op;
    struct metadata_key prefix = metadata_volume_prefix(METADATA_GROUP, op->record.id);
    meta_request_reset(&op->request);
    meta_list(&op->request, META_SLICE(prefix), META_SLICE(space->after), META_LIST_ENTRIES_MAX);
    catalog_op_commit(op, measure_read);
}

static void measure_read(struct catalog_op *op, int result)
{
    struct catalog_space *space = op->measures;
    const struct meta_response *response = &op->request.responses[0];
    uint32_t count = result == 0 ? response->entry_count : 0;
    for (uint32_t i = 0; i < count && result == 0; i++)
        result = measure_group(space, &response->entries[i]);
    if (result != 0) {
        measure_end(space, result);
    } else if (count > 0 && response->more) {
        const struct meta_slice *last = &response->entries[count - 1].key;
        space->after.length = MIN(last->length, sizeof space->after.bytes);
        memcpy(space->after.bytes, last->data, space->after.length);
        measure_page(space);
    } else {
        measure_ask(space);
    }
}

void catalog_op_measure(struct catalog_op *op, uint32_t cut_count, catalog_step_fn *measured)
{
    struct catalog_space *space = calloc(1, sizeof *space);
    if (space != NULL)
        space->cuts = calloc(cut_count, sizeof *space->cuts);
    if (space == NULL || space->cuts == NULL) {
        free(space);
        catalog_op_later(op, -ENOMEM, measured);
        return;
    }
    space->op = op;
    space->measured = measured;
    space->cut_count = cut_count;
    for (uint32_t i = 0; i < cut_count; i++)
        space->cuts[i] = op->space[i].cut;
    op->measures = space;
    measure_page(space);
}

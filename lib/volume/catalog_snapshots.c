/* SPDX-License-Identifier: Apache-2.0 */
/* All snapshots of a volume, told; and how much each holds. */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

struct listing {
    struct catalog_op op;
    bool space;
    uint32_t space_count;
    catalog_snapshot_fn *each;
    char name[CATALOG_NAME_BYTES_MAX + 1];
};

static struct listing *listing_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct listing, op);
}

static void listing_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(listing_of(op));
    done(context, result);
}

static const struct store_view_space *space_of(const struct listing *listing, uint64_t cut)
{
    for (uint32_t i = 0; i < listing->space_count; i++) {
        if (listing->op.space[i].cut == cut)
            return &listing->op.space[i];
    }
    return NULL;
}

static void listing_tell(struct catalog_op *op, int result)
{
    struct listing *listing = listing_of(op);
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    for (uint32_t i = 0; i < op->cuts.count; i++) {
        const struct metadata_snapshot *record = &op->cuts.items[i].record;
        const struct store_view_space *space = space_of(listing, record->cut);
        if (record->first != 0)
            continue; /* Never was one. */
        struct catalog_snapshot snapshot = {
            .volume = listing->name,
            .name = catalog_cut_name(record),
            .group = record->group,
            .volume_id = record->volume,
            .cut = record->cut,
            .bytes = record->bytes,
            .created_ns = record->created_ns,
            .clones = record->clones,
            .hidden = record->state == METADATA_SNAPSHOT_HIDDEN,
            .deleting = record->state == METADATA_SNAPSHOT_DELETING,
            .space = space != NULL,
            .unique_bytes = space != NULL ? space->unique_blocks * BLOCK_BYTES : 0,
            .shared_bytes = space != NULL ? space->shared_blocks * BLOCK_BYTES : 0,
        };
        memcpy(snapshot.uuid, record->uuid, sizeof snapshot.uuid);
        listing->each(op->context, &snapshot);
    }
    catalog_op_end(op, 0);
}

static void listing_measured(void *context, int result)
{
    struct catalog_op *op = context;
    catalog_op_later(op, result, listing_tell);
}

static void listing_listed(struct catalog_op *op, int result)
{
    struct listing *listing = listing_of(op);
    uint32_t kept = catalog_cuts_kept(&op->cuts);
    if (!listing->space || kept == 0) {
        listing_tell(op, result);
        return;
    }
    op->space = calloc(kept, sizeof *op->space);
    for (uint32_t i = 0; op->space != NULL && i < op->cuts.count; i++) {
        if (catalog_cut_kept(&op->cuts.items[i]))
            op->space[listing->space_count++].cut = op->cuts.items[i].record.cut;
    }
    if (op->space != NULL && catalog_is_cluster(op->catalog)) {
        catalog_op_measure(op, kept, listing_tell);
        return;
    }
    result = op->space == NULL ? -ENOMEM
                               : store_view_space(op->catalog->options.store, op->record.id,
                                                  op->space, kept, listing_measured, op);
    if (result != 0)
        catalog_op_later(op, result, listing_tell);
}

static void listing_loaded(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_list(op, op->record.id, listing_listed);
}

static void listing_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_load(op, listing_loaded);
}

int catalog_snapshot_list(struct catalog *catalog, const char *volume, bool space,
                          catalog_snapshot_fn *each, catalog_done_fn *done, void *context)
{
    int error = catalog_may_start(catalog, volume, false);
    if (error != 0)
        return error;
    struct listing *listing = calloc(1, sizeof *listing);
    if (listing == NULL)
        return FAIL(-ENOMEM, "the snapshots of volume \"%s\": no memory", volume);
    listing->space = space;
    listing->each = each;
    memcpy(listing->name, volume, strlen(volume) + 1);
    listing->op.name = listing->name;
    listing->op.done = done;
    listing->op.context = context;
    return catalog_op_start(&listing->op, catalog, NULL, listing_begin, listing_end);
}

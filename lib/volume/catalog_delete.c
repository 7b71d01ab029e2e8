/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deleting a volume.
 *
 *   name and record there ──▶ no name, record `deleting` ──▶ (catalog_chore.c) ──▶ no record
 *           │  └── clones need snapshots of it: `kept` ──▶ (until none does) ──┘      ▲
 *           └── never opened for writing: the store has nothing of it ────────────────┘
 *
 * In a cluster nobody has it open, and the epoch is raised: the stores are told to forget it by an
 * owner that never opens it (catalog_retire.c).
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

static void delete_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(op);
    done(context, result);
}

static void delete_committed(struct catalog_op *op, int result)
{
    if (catalog_op_failed(op, result))
        return;
    struct catalog *catalog = op->catalog;
    catalog_tell(catalog, STORE_INFO, op->record.id, op->record.bytes, "volume \"%s\": deleted",
                 op->slot->name);
    if (op->record.state != METADATA_VOLUME_LIVE)
        catalog_chore_wake(catalog, op->record.id);
    catalog_op_end(op, 0);
}

/* The name goes; the record goes too, or says what is to be done about it. */
static int delete_build(struct catalog_op *op, uint32_t kept)
{
    struct metadata_volume *record = &op->record;
    struct metadata_key name = metadata_name_key(op->slot->name, strlen(op->slot->name));
    struct metadata_key key = metadata_volume_key(record->id);
    meta_request_reset(&op->request);
    catalog_op_unowned(op);
    meta_delete(&op->request, META_SLICE(name));
    if ((record->epoch == 0 && op->cuts.count == 0 && record->parent_volume == 0) || MUTANT(100)) {
        meta_if_modified(&op->request, META_SLICE(key), op->revision);
        meta_delete(&op->request, META_SLICE(key));
        catalog_delete_groups(op->catalog, record->id, &op->request);
        return 0;
    }
    int result = 0;
    if (catalog_is_cluster(op->catalog)) {
        record->epoch++;
        record->owner_session = 0;
        record->owner_yields = false;
    }
    record->state = METADATA_VOLUME_DELETING;
    record->rollback_cut = 0;
    if (kept > 0) {
        REACH(catalog_volume_kept);
        record->state = METADATA_VOLUME_KEPT;
        result = catalog_put_sweep_unclean(&op->request, record, catalog_cuts_newest(&op->cuts),
                                           &op->swept);
        record->unclean = false;
    }
    return result != 0 ? result : catalog_put_record(&op->request, record, op->revision);
}

/* Nobody has it. */
static void delete_put(struct catalog_op *op, int result)
{
    (void)result;
    result = delete_build(op, catalog_cuts_kept(&op->cuts));
    if (result == 0)
        catalog_op_commit(op, delete_committed);
    else
        catalog_op_later(op, result, delete_committed);
}

static void delete_listed(struct catalog_op *op, int result)
{
    uint32_t visible = 0;
    (void)result;
    for (uint32_t i = 0; i < op->cuts.count; i++)
        visible += op->cuts.items[i].record.state == METADATA_SNAPSHOT_LIVE ? 1 : 0;
    if (visible > 0) {
        catalog_op_end(op, FAIL(-EBUSY, "volume \"%s\" has %u snapshot%s: delete %s first",
                                op->slot->name, visible, visible == 1 ? "" : "s",
                                visible == 1 ? "it" : "them"));
        return;
    }
    catalog_op_owner(op, delete_put);
}

void catalog_op_delete(struct catalog_op *op)
{
    catalog_op_list(op, op->record.id, delete_listed);
}

static void delete_loaded(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_delete(op);
}

static void delete_busy(struct catalog_op *op, int result)
{
    (void)result;
    const struct catalog_volume *open = op->slot->open;
    if (open != NULL && open->flatten != NULL)
        FAIL(-EBUSY, "volume \"%s\" is being flattened: try again when that is over",
             op->slot->name);
    else if (open != NULL)
        FAIL(-EBUSY, "volume \"%s\" is open: disconnect whoever uses it, then try again",
             op->slot->name);
    else
        FAIL(-EBUSY,
             "a snapshot of volume \"%s\" is open: disconnect whoever reads it, then try again",
             op->slot->name);
    catalog_op_end(op, -EBUSY);
}

static void delete_begin(struct catalog_op *op, int result)
{
    (void)result;
    if (op->slot->open != NULL || !list_empty(&op->slot->views))
        catalog_op_later(op, 0, delete_busy);
    else
        catalog_op_load(op, delete_loaded);
}

int catalog_delete(struct catalog *catalog, const char *name, catalog_done_fn *done, void *context)
{
    int error = catalog_may_start(catalog, name, true);
    if (error != 0)
        return error;
    struct catalog_op *op = calloc(1, sizeof *op);
    if (op == NULL)
        return FAIL(-ENOMEM, "deleting volume \"%s\": no memory", name);
    op->done = done;
    op->context = context;
    error = catalog_op_start(op, catalog, name, delete_begin, delete_end);
    if (error != 0)
        free(op);
    return error;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Abandoning an import: a new volume is deleted, another one rolled back to what the import began
 * from.
 */
#include <stdlib.h>

#include "volume/catalog_cluster.h"

static void abandon_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(op);
    done(context, result);
}

static void abandon_listed(struct catalog_op *op, int result)
{
    const struct catalog_cut *base = catalog_cuts_at(&op->cuts, op->record.import_base);
    (void)result;
    if (base == NULL)
        catalog_op_end(op, FAIL(IOMESH_CORRUPT,
                                "volume \"%s\": the snapshot that the import began from is gone",
                                op->slot->name));
    else
        catalog_op_begin_rollback(op, base->record.cut,
                                  op->record.import_bytes != 0 ? op->record.import_bytes
                                                               : base->record.bytes);
}

static void abandon_loaded(struct catalog_op *op, int result)
{
    (void)result;
    if (!op->record.incomplete)
        catalog_op_end(op, FAIL(-EINVAL, "volume \"%s\" is complete: no import into it was begun",
                                op->slot->name));
    else if (op->record.import_base == 0)
        catalog_op_delete(op);
    else
        catalog_op_list(op, op->record.id, abandon_listed);
}

static void abandon_busy(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_end(op, FAIL(-EBUSY,
                            "volume \"%s\" is open, and an import is abandoned when nobody uses "
                            "it: disconnect whoever does, then try again",
                            op->slot->name));
}

static void abandon_begin(struct catalog_op *op, int result)
{
    (void)result;
    if (op->slot->open != NULL)
        catalog_op_later(op, 0, abandon_busy);
    else
        catalog_op_load(op, abandon_loaded);
}

int catalog_import_abandon(struct catalog *catalog, const char *name, catalog_progress_fn *progress,
                           catalog_done_fn *done, void *context)
{
    int error = catalog_may_start(catalog, name, true);
    if (error != 0)
        return error;
    struct catalog_op *op = calloc(1, sizeof *op);
    if (op == NULL)
        return FAIL(-ENOMEM, "abandoning an import into volume \"%s\": no memory", name);
    op->rolling.progress = progress;
    op->done = done;
    op->context = context;
    error = catalog_op_start(op, catalog, name, abandon_begin, abandon_end);
    if (error != 0)
        free(op);
    return error;
}

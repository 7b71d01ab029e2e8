/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots, groups, clones and imports: refused until the rooms below have them. */
#include "volume/catalog_inside.h"

static int not_yet(void)
{
    return FAIL(-ENOTSUP, "snapshots are not known to this program");
}

int catalog_snapshot_rollback(struct catalog *catalog, const char *volume, const char *snapshot,
                              bool force, catalog_progress_fn *progress, catalog_done_fn *done,
                              void *context)
{
    (void)catalog, (void)volume, (void)snapshot, (void)force, (void)progress, (void)done,
        (void)context;
    return not_yet();
}

int catalog_flatten(struct catalog *catalog, const char *volume, catalog_progress_fn *progress,
                    catalog_done_fn *done, void *context)
{
    (void)catalog, (void)volume, (void)progress, (void)done, (void)context;
    return not_yet();
}

int catalog_import_begin(struct catalog *catalog, const char *name,
                         const struct catalog_import *import, catalog_opened_fn *opened,
                         void *context)
{
    (void)catalog, (void)name, (void)import, (void)opened, (void)context;
    return not_yet();
}

int catalog_import_end(struct catalog_handle *handle, catalog_done_fn *done, void *context)
{
    (void)handle, (void)done, (void)context;
    return not_yet();
}

int catalog_import_abandon(struct catalog *catalog, const char *name, catalog_progress_fn *progress,
                           catalog_done_fn *done, void *context)
{
    (void)catalog, (void)name, (void)progress, (void)done, (void)context;
    return not_yet();
}

void catalog_op_finish_rollback(struct catalog_op *op, catalog_step_fn *finished)
{
    catalog_op_later(op, not_yet(), finished);
}

void catalog_rollback_resume(struct catalog *catalog, const struct metadata_volume *record)
{
    (void)catalog, (void)record;
}

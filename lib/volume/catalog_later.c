/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots, groups, clones and imports: refused until the rooms below have them. */
#include "volume/catalog_inside.h"

static int not_yet(void)
{
    return FAIL(-ENOTSUP, "snapshots are not known to this program");
}

int catalog_snapshot_create(struct catalog *catalog, const char *volume, const char *snapshot,
                            const uint8_t uuid[16], catalog_done_fn *done, void *context)
{
    (void)catalog, (void)volume, (void)snapshot, (void)uuid, (void)done, (void)context;
    return not_yet();
}

int catalog_snapshot_delete(struct catalog *catalog, const char *volume, const char *snapshot,
                            catalog_done_fn *done, void *context)
{
    (void)catalog, (void)volume, (void)snapshot, (void)done, (void)context;
    return not_yet();
}

int catalog_snapshot_rollback(struct catalog *catalog, const char *volume, const char *snapshot,
                              bool force, catalog_progress_fn *progress, catalog_done_fn *done,
                              void *context)
{
    (void)catalog, (void)volume, (void)snapshot, (void)force, (void)progress, (void)done,
        (void)context;
    return not_yet();
}

int catalog_snapshot_list(struct catalog *catalog, const char *volume, bool space,
                          catalog_snapshot_fn *each, catalog_done_fn *done, void *context)
{
    (void)catalog, (void)volume, (void)space, (void)each, (void)done, (void)context;
    return not_yet();
}

int catalog_group_create(struct catalog *catalog, const char *group, const char *const *volumes,
                         unsigned count, const uint8_t (*uuids)[16], catalog_done_fn *done,
                         void *context)
{
    (void)catalog, (void)group, (void)volumes, (void)count, (void)uuids, (void)done, (void)context;
    return not_yet();
}

int catalog_group_delete(struct catalog *catalog, const char *group, catalog_done_fn *done,
                         void *context)
{
    (void)catalog, (void)group, (void)done, (void)context;
    return not_yet();
}

int catalog_group_list(struct catalog *catalog, catalog_group_fn *each, catalog_done_fn *done,
                       void *context)
{
    (void)catalog, (void)each, (void)done, (void)context;
    return not_yet();
}

int catalog_clone(struct catalog *catalog, const char *volume, const char *snapshot,
                  const char *new_name, catalog_done_fn *done, void *context)
{
    (void)catalog, (void)volume, (void)snapshot, (void)new_name, (void)done, (void)context;
    return not_yet();
}

int catalog_flatten(struct catalog *catalog, const char *volume, catalog_progress_fn *progress,
                    catalog_done_fn *done, void *context)
{
    (void)catalog, (void)volume, (void)progress, (void)done, (void)context;
    return not_yet();
}

int catalog_changed_since(struct catalog_handle *handle, const char *snapshot, catalog_cut_fn *done,
                          void *context)
{
    (void)handle, (void)snapshot, (void)done, (void)context;
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

/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/snapshot.h>: the calls, answered until the rooms below them are there. */
#include "api/pool.h"

int iomesh_snapshot_create(struct iomesh_pool *pool, const char *name, iomesh_done_fn *done,
                           void *context)
{
    (void)pool;
    (void)name;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_snapshot_delete(struct iomesh_pool *pool, const char *name, iomesh_done_fn *done,
                           void *context)
{
    (void)pool;
    (void)name;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_snapshot_rollback(struct iomesh_pool *pool, const char *name, uint32_t flags,
                             iomesh_progress_fn *progress, iomesh_done_fn *done, void *context)
{
    (void)pool;
    (void)name;
    (void)flags;
    (void)progress;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_snapshot_list(struct iomesh_pool *pool, const char *volume, uint32_t flags,
                         iomesh_snapshot_info_fn *each, iomesh_done_fn *done, void *context)
{
    (void)pool;
    (void)volume;
    (void)flags;
    (void)each;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_snapshot_show(struct iomesh_pool *pool, const char *name, uint32_t flags,
                         iomesh_snapshot_info_fn *each, iomesh_done_fn *done, void *context)
{
    (void)pool;
    (void)name;
    (void)flags;
    (void)each;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_group_create(struct iomesh_pool *pool, const char *group, const char *const *volumes,
                        uint32_t volume_count, iomesh_done_fn *done, void *context)
{
    (void)pool;
    (void)group;
    (void)volumes;
    (void)volume_count;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_group_delete(struct iomesh_pool *pool, const char *group, iomesh_done_fn *done,
                        void *context)
{
    (void)pool;
    (void)group;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_group_list(struct iomesh_pool *pool, iomesh_group_info_fn *each, iomesh_done_fn *done,
                      void *context)
{
    (void)pool;
    (void)each;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_volume_clone(struct iomesh_pool *pool, const char *source, const char *name,
                        iomesh_done_fn *done, void *context)
{
    (void)pool;
    (void)source;
    (void)name;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_volume_flatten(struct iomesh_pool *pool, const char *name, iomesh_progress_fn *progress,
                          iomesh_done_fn *done, void *context)
{
    (void)pool;
    (void)name;
    (void)progress;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_changed(struct iomesh_volume *volume, uint64_t since, uint64_t offset, uint64_t length,
                   struct iomesh_extent *extents, uint32_t extent_max, iomesh_extents_fn *done,
                   void *context)
{
    (void)volume;
    (void)since;
    (void)offset;
    (void)length;
    (void)extents;
    (void)extent_max;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_import_begin(struct iomesh_pool *pool, const char *name,
                        const struct iomesh_import_options *options,
                        iomesh_volume_opened_fn *opened, void *context)
{
    (void)pool;
    (void)name;
    (void)options;
    (void)opened;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_import_end(struct iomesh_volume *volume, iomesh_done_fn *done, void *context)
{
    (void)volume;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_import_abandon(struct iomesh_pool *pool, const char *name, iomesh_progress_fn *progress,
                          iomesh_done_fn *done, void *context)
{
    (void)pool;
    (void)name;
    (void)progress;
    (void)done;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

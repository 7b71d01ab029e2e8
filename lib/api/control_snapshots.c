/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/sys/control.h> of snapshots, answered until the owner knows them. */
#include <iomesh/sys/control.h>

#include "base/base.h"

int iomesh_control_snapshot_create(struct iomesh_control *control, const char *name)
{
    (void)control;
    (void)name;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_snapshot_delete(struct iomesh_control *control, const char *name)
{
    (void)control;
    (void)name;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_snapshot_rollback(struct iomesh_control *control, const char *name,
                                     uint32_t flags, iomesh_progress_fn *progress, void *context)
{
    (void)control;
    (void)name;
    (void)flags;
    (void)progress;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_snapshot_list(struct iomesh_control *control, const char *volume, uint32_t flags,
                                 iomesh_snapshot_info_fn *each, void *context)
{
    (void)control;
    (void)volume;
    (void)flags;
    (void)each;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_snapshot_show(struct iomesh_control *control, const char *name, uint32_t flags,
                                 struct iomesh_snapshot_info *ret_info)
{
    (void)control;
    (void)name;
    (void)flags;
    (void)ret_info;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_group_create(struct iomesh_control *control, const char *group,
                                const char *const *volumes, uint32_t volume_count)
{
    (void)control;
    (void)group;
    (void)volumes;
    (void)volume_count;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_group_delete(struct iomesh_control *control, const char *group)
{
    (void)control;
    (void)group;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_group_list(struct iomesh_control *control, iomesh_group_info_fn *each,
                              void *context)
{
    (void)control;
    (void)each;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_volume_clone(struct iomesh_control *control, const char *source,
                                const char *name)
{
    (void)control;
    (void)source;
    (void)name;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_volume_flatten(struct iomesh_control *control, const char *name,
                                  iomesh_progress_fn *progress, void *context)
{
    (void)control;
    (void)name;
    (void)progress;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_import_begin(struct iomesh_control *control, const char *name,
                                const struct iomesh_import_options *options,
                                struct iomesh_volume **ret_volume)
{
    (void)control;
    (void)name;
    (void)options;
    (void)ret_volume;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_import_abandon(struct iomesh_control *control, const char *name,
                                  iomesh_progress_fn *progress, void *context)
{
    (void)control;
    (void)name;
    (void)progress;
    (void)context;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

int iomesh_control_volume_open(struct iomesh_control *control, const char *name,
                               const struct iomesh_volume_options *options,
                               struct iomesh_volume **ret_volume)
{
    (void)control;
    (void)name;
    (void)options;
    (void)ret_volume;
    return FAIL(-ENOTSUP, "snapshots are not built yet");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots, groups, clones, imports and I/O: asked of the owner of a pool, or done here. */
#ifndef CLI_SNAPSHOTS_H
#define CLI_SNAPSHOTS_H

#include "cli/target.h"

int target_snapshot_create(struct target *target, const char *name);
int target_snapshot_delete(struct target *target, const char *name);
int target_snapshot_rollback(struct target *target, const char *name, uint32_t flags,
                             iomesh_progress_fn *progress, void *context);
int target_snapshot_list(struct target *target, const char *volume, uint32_t flags,
                         iomesh_snapshot_info_fn *each, void *context);
int target_snapshot_show(struct target *target, const char *name,
                         struct iomesh_snapshot_info *ret_info);
int target_group_create(struct target *target, const char *group, const char *const *volumes,
                        uint32_t volume_count);
int target_group_delete(struct target *target, const char *group);
int target_group_list(struct target *target, iomesh_group_info_fn *each, void *context);
int target_clone(struct target *target, const char *source, const char *name);
int target_flatten(struct target *target, const char *name, iomesh_progress_fn *progress,
                   void *context);
int target_import_begin(struct target *target, const char *name,
                        const struct iomesh_import_options *options,
                        struct iomesh_volume **ret_volume);
int target_import_abandon(struct target *target, const char *name, iomesh_progress_fn *progress,
                          void *context);
/* Closed with iomesh_volume_close_sync(). */
int target_volume_open(struct target *target, const char *name, uint32_t flags,
                       struct iomesh_volume **ret_volume);

/* In a pool that is this process's own nobody else is left to bring the space back of what was
 * deleted: waits for it. `volume`: whose snapshots; NULL: volumes. */
int target_settle(struct target *target, const char *volume);
/* "; its space comes back in the background" of a pool that somebody else owns. */
const char *target_background(const struct target *target);

/* "NAME@SNAP" of the parts: the first to its '@', if it has one, and `snapshot`. */
enum { SNAPSHOT_NAME_BYTES = 2 * IOMESH_NAME_BYTES_MAX + 2 };
/* False: too long to be one. */
bool snapshot_name(const char *volume, const char *snapshot, char ret_name[SNAPSHOT_NAME_BYTES]);
/* "NAME" of "NAME@SNAP". False: too long to be one. */
bool volume_of(const char *name, char ret_volume[IOMESH_NAME_BYTES_MAX + 1]);

#endif

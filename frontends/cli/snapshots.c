/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/snapshots.h"

#include <stdio.h>
#include <string.h>

/* Of whom it is asked: iomesh_control_NAME(control, …) or iomesh_NAME_sync(pool, …). */
#define ASK(target, name, ...)                                                         \
    ((target)->control != NULL ? iomesh_control_##name((target)->control, __VA_ARGS__) \
                               : iomesh_##name##_sync((target)->pool, __VA_ARGS__))

int target_snapshot_create(struct target *target, const char *name)
{
    return ASK(target, snapshot_create, name);
}

int target_snapshot_delete(struct target *target, const char *name)
{
    return ASK(target, snapshot_delete, name);
}

int target_snapshot_rollback(struct target *target, const char *name, uint32_t flags,
                             iomesh_progress_fn *progress, void *context)
{
    return ASK(target, snapshot_rollback, name, flags, progress, context);
}

int target_snapshot_list(struct target *target, const char *volume, uint32_t flags,
                         iomesh_snapshot_info_fn *each, void *context)
{
    return ASK(target, snapshot_list, volume, flags, each, context);
}

int target_snapshot_show(struct target *target, const char *name,
                         struct iomesh_snapshot_info *ret_info)
{
    ret_info->size = sizeof *ret_info;
    return ASK(target, snapshot_show, name, 0, ret_info);
}

int target_group_create(struct target *target, const char *group, const char *const *volumes,
                        uint32_t volume_count)
{
    return ASK(target, group_create, group, volumes, volume_count);
}

int target_group_delete(struct target *target, const char *group)
{
    return ASK(target, group_delete, group);
}

int target_group_list(struct target *target, iomesh_group_info_fn *each, void *context)
{
    return ASK(target, group_list, each, context);
}

int target_clone(struct target *target, const char *source, const char *name)
{
    return ASK(target, volume_clone, source, name);
}

int target_flatten(struct target *target, const char *name, iomesh_progress_fn *progress,
                   void *context)
{
    return ASK(target, volume_flatten, name, progress, context);
}

int target_import_begin(struct target *target, const char *name,
                        const struct iomesh_import_options *options,
                        struct iomesh_volume **ret_volume)
{
    return ASK(target, import_begin, name, options, ret_volume);
}

int target_import_abandon(struct target *target, const char *name, iomesh_progress_fn *progress,
                          void *context)
{
    return ASK(target, import_abandon, name, progress, context);
}

int target_volume_open(struct target *target, const char *name, uint32_t flags,
                       struct iomesh_volume **ret_volume)
{
    struct iomesh_volume_options options = IOMESH_VOLUME_OPTIONS_INIT;
    options.flags = flags;
    return ASK(target, volume_open, name, &options, ret_volume);
}

/* --- Space that comes back ------------------------------------------------------------------ */

static const uint64_t settle_ns = 20000000u;
/* A deletion is looked for before it begins; so often it is not there until it is over. */
enum { SETTLE_LOOKS = 5, CLUSTER_LOOKS = 50 };

static void count_deleting(void *context, const struct iomesh_snapshot_info *info)
{
    *(unsigned *)context += (info->flags & IOMESH_SNAPSHOT_DELETING) != 0;
}

static int still_deleting(struct target *target, const char *volume, unsigned *ret_count)
{
    *ret_count = 0;
    if (volume != NULL)
        return target_snapshot_list(target, volume, IOMESH_SNAPSHOT_ALL, count_deleting, ret_count);
    struct iomesh_pool_status status = {.size = sizeof status};
    int result = target_status(target, &status);
    *ret_count = result == 0 ? (unsigned)status.deleting_volumes : 0;
    return result;
}

/* In a cluster others go on with it, and it may wait for what is away: it is helped along. */
static int settle_cluster(struct target *target, const char *volume)
{
    unsigned count = 1;
    int result = 0;
    for (unsigned i = 0; volume == NULL && count > 0 && result >= 0 && i < CLUSTER_LOOKS; i++) {
        result = still_deleting(target, volume, &count);
        if (result >= 0 && count > 0)
            result = iomesh_wait(target->engine, settle_ns);
    }
    return result < 0 ? result : 0;
}

int target_settle(struct target *target, const char *volume)
{
    unsigned count = 0;
    int result = 0;
    if (target->pool != NULL && target_is_cluster(target->command))
        return settle_cluster(target, volume);
    for (unsigned quiet = 0; target->pool != NULL && result >= 0 && quiet < SETTLE_LOOKS;) {
        result = still_deleting(target, volume, &count);
        quiet = count == 0 ? quiet + 1 : 0;
        if (count == 0 && volume != NULL)
            break;
        if (result >= 0)
            result = iomesh_wait(target->engine, settle_ns);
    }
    return result < 0 ? result : 0;
}

const char *target_background(const struct target *target)
{
    return target->pool == NULL || target_is_cluster(target->command)
               ? "; its space comes back in the background"
               : "";
}

/* --- Names ---------------------------------------------------------------------------------- */

bool snapshot_name(const char *volume, const char *snapshot, char ret_name[SNAPSHOT_NAME_BYTES])
{
    const int length = snprintf(ret_name, SNAPSHOT_NAME_BYTES, "%.*s@%s", (int)strcspn(volume, "@"),
                                volume, snapshot);
    return length > 0 && length < SNAPSHOT_NAME_BYTES;
}

bool volume_of(const char *name, char ret_volume[IOMESH_NAME_BYTES_MAX + 1])
{
    const size_t length = strcspn(name, "@");
    if (length > IOMESH_NAME_BYTES_MAX)
        return false;
    memcpy(ret_volume, name, length);
    ret_volume[length] = '\0';
    return true;
}

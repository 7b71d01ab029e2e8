/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/snapshot.h>, waiting. */
#include <string.h>

#include "api/pool.h"

int iomesh_snapshot_create_sync(struct iomesh_pool *pool, const char *name)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(pool->engine, &waiter,
                          iomesh_snapshot_create(pool, name, api_waiter_done, &waiter));
}

int iomesh_snapshot_delete_sync(struct iomesh_pool *pool, const char *name)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(pool->engine, &waiter,
                          iomesh_snapshot_delete(pool, name, api_waiter_done, &waiter));
}

/* --- What tells how far it is -------------------------------------------------------------- */

/* The waiter comes first: api_waiter_done() has it. */
struct progress_waiter {
    struct api_waiter waiter;
    iomesh_progress_fn *progress;
    void *context;
};

static void progress_waiter_tell(void *context, uint64_t done, uint64_t total)
{
    const struct progress_waiter *waiter = context;
    if (waiter->progress != NULL)
        waiter->progress(waiter->context, done, total);
}

int iomesh_snapshot_rollback_sync(struct iomesh_pool *pool, const char *name, uint32_t flags,
                                  iomesh_progress_fn *progress, void *context)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct progress_waiter waiter = {.progress = progress, .context = context};
    return api_waiter_end(pool->engine, &waiter.waiter,
                          iomesh_snapshot_rollback(pool, name, flags, progress_waiter_tell,
                                                   api_waiter_done, &waiter));
}

int iomesh_volume_flatten_sync(struct iomesh_pool *pool, const char *name,
                               iomesh_progress_fn *progress, void *context)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct progress_waiter waiter = {.progress = progress, .context = context};
    return api_waiter_end(
        pool->engine, &waiter.waiter,
        iomesh_volume_flatten(pool, name, progress_waiter_tell, api_waiter_done, &waiter));
}

int iomesh_import_abandon_sync(struct iomesh_pool *pool, const char *name,
                               iomesh_progress_fn *progress, void *context)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct progress_waiter waiter = {.progress = progress, .context = context};
    return api_waiter_end(
        pool->engine, &waiter.waiter,
        iomesh_import_abandon(pool, name, progress_waiter_tell, api_waiter_done, &waiter));
}

/* --- What there is ------------------------------------------------------------------------- */

struct snapshots_waiter {
    struct api_waiter waiter;
    iomesh_snapshot_info_fn *each;
    iomesh_group_info_fn *each_group;
    struct iomesh_snapshot_info *ret_info;
    void *context;
};

static void snapshots_waiter_each(void *context, const struct iomesh_snapshot_info *info)
{
    const struct snapshots_waiter *waiter = context;
    waiter->each(waiter->context, info);
}

static void snapshots_waiter_group(void *context, const struct iomesh_group_info *info)
{
    const struct snapshots_waiter *waiter = context;
    waiter->each_group(waiter->context, info);
}

static void snapshots_waiter_show(void *context, const struct iomesh_snapshot_info *info)
{
    const struct snapshots_waiter *waiter = context;
    (void)api_give(waiter->ret_info, waiter->ret_info->size, info, info->size);
}

int iomesh_snapshot_list_sync(struct iomesh_pool *pool, const char *volume, uint32_t flags,
                              iomesh_snapshot_info_fn *each, void *context)
{
    REFUSE_IN_CALLBACK(pool->engine);
    if (each == NULL)
        return FAIL(-EINVAL, "a list needs a callback");
    struct snapshots_waiter waiter = {.each = each, .context = context};
    return api_waiter_end(
        pool->engine, &waiter.waiter,
        iomesh_snapshot_list(pool, volume, flags, snapshots_waiter_each, api_waiter_done, &waiter));
}

int iomesh_snapshot_show_sync(struct iomesh_pool *pool, const char *name, uint32_t flags,
                              struct iomesh_snapshot_info *ret_info)
{
    REFUSE_IN_CALLBACK(pool->engine);
    if (ret_info == NULL || ret_info->size < sizeof ret_info->size)
        return FAIL(-EINVAL, "the answer's size is not set");
    struct snapshots_waiter waiter = {.ret_info = ret_info};
    return api_waiter_end(
        pool->engine, &waiter.waiter,
        iomesh_snapshot_show(pool, name, flags, snapshots_waiter_show, api_waiter_done, &waiter));
}

int iomesh_group_list_sync(struct iomesh_pool *pool, iomesh_group_info_fn *each, void *context)
{
    REFUSE_IN_CALLBACK(pool->engine);
    if (each == NULL)
        return FAIL(-EINVAL, "a list needs a callback");
    struct snapshots_waiter waiter = {.each_group = each, .context = context};
    return api_waiter_end(
        pool->engine, &waiter.waiter,
        iomesh_group_list(pool, snapshots_waiter_group, api_waiter_done, &waiter));
}

/* --- Groups and clones --------------------------------------------------------------- */

int iomesh_group_create_sync(struct iomesh_pool *pool, const char *group,
                             const char *const *volumes, uint32_t volume_count)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(
        pool->engine, &waiter,
        iomesh_group_create(pool, group, volumes, volume_count, api_waiter_done, &waiter));
}

int iomesh_group_delete_sync(struct iomesh_pool *pool, const char *group)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(pool->engine, &waiter,
                          iomesh_group_delete(pool, group, api_waiter_done, &waiter));
}

int iomesh_volume_clone_sync(struct iomesh_pool *pool, const char *source, const char *name)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(pool->engine, &waiter,
                          iomesh_volume_clone(pool, source, name, api_waiter_done, &waiter));
}

/* --- Imports ------------------------------------------------------------------------------- */

int iomesh_import_begin_sync(struct iomesh_pool *pool, const char *name,
                             const struct iomesh_import_options *options,
                             struct iomesh_volume **ret_volume)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_volume_waiter waiter;
    return api_volume_waiter_end(
        pool->engine, &waiter,
        iomesh_import_begin(pool, name, options, api_volume_waiter_opened, &waiter), ret_volume);
}

int iomesh_import_end_sync(struct iomesh_volume *volume)
{
    struct iomesh_engine *engine = volume->shared->engine;
    REFUSE_IN_CALLBACK(engine);
    struct api_waiter waiter;
    return api_waiter_end(engine, &waiter, iomesh_import_end(volume, api_waiter_done, &waiter));
}

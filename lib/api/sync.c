/* SPDX-License-Identifier: Apache-2.0 */
/* Pools and volumes by name, waiting. */
#include <stdio.h>
#include <string.h>

#include "api/pool.h"

struct pool_waiter {
    struct api_waiter waiter;
    struct iomesh_pool *pool;
};

static void pool_waiter_opened(void *context, int result, struct iomesh_pool *pool)
{
    struct pool_waiter *waiter = context;
    waiter->pool = pool;
    api_waiter_done(&waiter->waiter, result);
}

int iomesh_pool_open_sync(struct iomesh_engine *engine, const char *url,
                          const struct iomesh_pool_options *options, struct iomesh_pool **ret_pool)
{
    REFUSE_IN_CALLBACK(engine);
    struct pool_waiter waiter;
    int result =
        api_waiter_end(engine, &waiter.waiter,
                       iomesh_pool_open(engine, url, options, pool_waiter_opened, &waiter));
    if (result == 0)
        *ret_pool = waiter.pool;
    return result;
}

int iomesh_pool_close_sync(struct iomesh_pool *pool)
{
    if (pool == NULL)
        return 0;
    struct iomesh_engine *engine = pool->engine;
    REFUSE_IN_CALLBACK(engine);
    struct api_waiter waiter;
    return api_waiter_end(engine, &waiter, iomesh_pool_close(pool, api_waiter_done, &waiter));
}

int iomesh_volume_create_sync(struct iomesh_pool *pool, const char *name,
                              const struct iomesh_volume_create_options *options)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(pool->engine, &waiter,
                          iomesh_volume_create(pool, name, options, api_waiter_done, &waiter));
}

int iomesh_volume_delete_sync(struct iomesh_pool *pool, const char *name)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(pool->engine, &waiter,
                          iomesh_volume_delete(pool, name, api_waiter_done, &waiter));
}

int iomesh_volume_resize_sync(struct iomesh_pool *pool, const char *name, uint64_t bytes,
                              uint32_t flags)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(pool->engine, &waiter,
                          iomesh_volume_resize(pool, name, bytes, flags, api_waiter_done, &waiter));
}

struct list_waiter {
    struct api_waiter waiter;
    iomesh_volume_info_fn *each;
    void *context;
    char last[IOMESH_NAME_BYTES_MAX + 1];
};

static void list_waiter_each(void *context, const struct iomesh_volume_info *info)
{
    struct list_waiter *waiter = context;
    memcpy(waiter->last, info->name, sizeof waiter->last);
    waiter->each(waiter->context, info);
}

int iomesh_volume_list_sync(struct iomesh_pool *pool, iomesh_volume_info_fn *each, void *context)
{
    REFUSE_IN_CALLBACK(pool->engine);
    if (each == NULL)
        return FAIL(-EINVAL, "a list needs a callback");
    struct list_waiter waiter = {.each = each, .context = context};
    char after[sizeof waiter.last];
    int result;
    do {
        memcpy(after, waiter.last, sizeof after);
        result = api_waiter_end(pool->engine, &waiter.waiter,
                                iomesh_volume_list(pool, after, CATALOG_LIST_MAX, list_waiter_each,
                                                   api_waiter_done, &waiter));
    } while (result == 1);
    return result;
}

struct show_waiter {
    struct api_waiter waiter;
    struct iomesh_volume_info *ret_info;
};

static void show_waiter_each(void *context, const struct iomesh_volume_info *info)
{
    const struct show_waiter *waiter = context;
    (void)api_give(waiter->ret_info, waiter->ret_info->size, info, info->size);
}

int iomesh_volume_show_sync(struct iomesh_pool *pool, const char *name,
                            struct iomesh_volume_info *ret_info)
{
    REFUSE_IN_CALLBACK(pool->engine);
    if (ret_info == NULL || ret_info->size < sizeof ret_info->size)
        return FAIL(-EINVAL, "the answer's size is not set");
    struct show_waiter waiter = {.ret_info = ret_info};
    return api_waiter_end(
        pool->engine, &waiter.waiter,
        iomesh_volume_show(pool, name, show_waiter_each, api_waiter_done, &waiter));
}

void api_volume_waiter_opened(void *context, int result, struct iomesh_volume *volume)
{
    struct api_volume_waiter *waiter = context;
    waiter->volume = volume;
    api_waiter_done(&waiter->waiter, result);
}

int api_volume_waiter_end(struct iomesh_engine *engine, struct api_volume_waiter *waiter,
                          int accepted, struct iomesh_volume **ret_volume)
{
    int result = api_waiter_end(engine, &waiter->waiter, accepted);
    if (result == 0)
        *ret_volume = waiter->volume;
    return result;
}

int iomesh_volume_open_sync(struct iomesh_pool *pool, const char *name,
                            const struct iomesh_volume_options *options,
                            struct iomesh_volume **ret_volume)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_volume_waiter waiter;
    return api_volume_waiter_end(
        pool->engine, &waiter,
        iomesh_volume_open(pool, name, options, api_volume_waiter_opened, &waiter), ret_volume);
}

int iomesh_volume_close_sync(struct iomesh_volume *volume)
{
    if (volume == NULL)
        return 0;
    struct iomesh_engine *engine = volume->shared->engine;
    REFUSE_IN_CALLBACK(engine);
    struct api_waiter waiter;
    return api_waiter_end(engine, &waiter, iomesh_volume_close(volume, api_waiter_done, &waiter));
}

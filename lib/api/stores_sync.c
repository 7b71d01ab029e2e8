/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/store.h>, waiting. */
#include <string.h>

#include "api/pool.h"

int iomesh_store_drain_sync(struct iomesh_pool *pool, uint64_t store, uint32_t flags)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(pool->engine, &waiter,
                          iomesh_store_drain(pool, store, flags, api_waiter_done, &waiter));
}

int iomesh_store_undrain_sync(struct iomesh_pool *pool, uint64_t store)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(pool->engine, &waiter,
                          iomesh_store_undrain(pool, store, api_waiter_done, &waiter));
}

int iomesh_store_remove_sync(struct iomesh_pool *pool, uint64_t store)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(pool->engine, &waiter,
                          iomesh_store_remove(pool, store, api_waiter_done, &waiter));
}

int iomesh_settings_set_sync(struct iomesh_pool *pool, const struct iomesh_settings *settings,
                             uint32_t which)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct api_waiter waiter;
    return api_waiter_end(pool->engine, &waiter,
                          iomesh_settings_set(pool, settings, which, api_waiter_done, &waiter));
}

/* --- What tells more than a result ---------------------------------------------------------- */

struct telling {
    struct api_waiter waiter;
    iomesh_store_info_fn *store;
    iomesh_copy_info_fn *copy;
    iomesh_fact_fn *fact;
    struct iomesh_look *ret_look;
    void *context;
};

static void telling_done(void *context, int result)
{
    struct telling *telling = context;
    api_waiter_done(&telling->waiter, result);
}

static void telling_store(void *context, const struct iomesh_store_info *info)
{
    const struct telling *telling = context;
    telling->store(telling->context, info);
}

int iomesh_store_list_sync(struct iomesh_pool *pool, iomesh_store_info_fn *each, void *context)
{
    REFUSE_IN_CALLBACK(pool->engine);
    if (each == NULL)
        return FAIL(-EINVAL, "a list needs a callback");
    struct telling telling = {.store = each, .context = context};
    return api_waiter_end(pool->engine, &telling.waiter,
                          iomesh_store_list(pool, telling_store, telling_done, &telling));
}

static void telling_copy(void *context, const struct iomesh_copy_info *info)
{
    const struct telling *telling = context;
    telling->copy(telling->context, info);
}

int iomesh_volume_copies_sync(struct iomesh_pool *pool, const char *name, iomesh_copy_info_fn *each,
                              void *context)
{
    REFUSE_IN_CALLBACK(pool->engine);
    if (each == NULL)
        return FAIL(-EINVAL, "a list needs a callback");
    struct telling telling = {.copy = each, .context = context};
    return api_waiter_end(pool->engine, &telling.waiter,
                          iomesh_volume_copies(pool, name, telling_copy, telling_done, &telling));
}

static void telling_fact(void *context, const struct iomesh_fact *fact)
{
    const struct telling *telling = context;
    if (telling->fact != NULL)
        telling->fact(telling->context, fact);
}

static void telling_look(void *context, const struct iomesh_look *look)
{
    const struct telling *telling = context;
    uint32_t size = telling->ret_look->size;
    memcpy(telling->ret_look, look, MIN(size, look->size));
    telling->ret_look->size = size;
}

int iomesh_pool_look_sync(struct iomesh_pool *pool, iomesh_fact_fn *fact, void *context,
                          struct iomesh_look *ret_look)
{
    REFUSE_IN_CALLBACK(pool->engine);
    if (ret_look == NULL || ret_look->size < sizeof ret_look->size)
        return FAIL(-EINVAL, "the answer's size is not set");
    struct telling telling = {.fact = fact, .context = context, .ret_look = ret_look};
    return api_waiter_end(
        pool->engine, &telling.waiter,
        iomesh_pool_look(pool, telling_fact, telling_look, telling_done, &telling));
}

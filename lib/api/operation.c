/* SPDX-License-Identifier: Apache-2.0 */
#include "api/operation.h"
#include "api/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "base/name.h"

int api_name_split(const char *name, bool snapshot, struct api_name *ret_name)
{
    const char *at = strchr(name, '@');
    size_t length = at != NULL ? (size_t)(at - name) : strlen(name);
    struct api_name split = {0};
    if (at == NULL && snapshot)
        return FAIL(-EINVAL, "%s: names no snapshot: NAME@SNAP is one", name);
    int result = name_check("volume", name, length);
    if (result == 0 && at != NULL)
        result = name_check("snapshot", at + 1, strlen(at + 1));
    if (result != 0)
        return result;
    memcpy(split.volume, name, length);
    if (at != NULL)
        memcpy(split.snapshot, at + 1, strlen(at + 1));
    *ret_name = split;
    return 0;
}

int api_operation_refuse(const struct iomesh_pool *pool, const char *name, bool callback)
{
    if (name == NULL)
        return FAIL(-EINVAL, "%s: no name was given", pool->url);
    if (!callback)
        return FAIL(-EINVAL, "%s: an operation needs a callback", pool->url);
    if (pool->state != POOL_OPEN)
        return FAIL(-EINVAL, "%s: the pool is not open", pool->url);
    return 0;
}

struct api_operation *api_operation_begin(struct iomesh_pool *pool, void *context)
{
    struct api_operation *operation = calloc(1, sizeof *operation);
    if (operation == NULL) {
        (void)FAIL(-ENOMEM, "%s: no memory", pool->url);
        return NULL;
    }
    operation->pool = pool;
    operation->context = context;
    pool->operations++;
    /* It may leave work for the next turn. */
    engine_touch(pool->engine->engine);
    return operation;
}

struct api_operation *api_operation_new(struct iomesh_pool *pool, const char *name,
                                        iomesh_done_fn *done, void *context, int *ret_result)
{
    int result = api_operation_refuse(pool, name, done != NULL);
    struct api_operation *operation = result == 0 ? api_operation_begin(pool, context) : NULL;
    *ret_result = result == 0 ? -ENOMEM : result;
    if (operation != NULL)
        operation->done = done;
    return operation;
}

void api_operation_end(struct api_operation *operation)
{
    operation->pool->operations--;
    if (operation->opening)
        cluster_opening_end(operation);
    engine_count(operation->pool->engine->engine);
    free(operation);
}

int api_operation_started(struct api_operation *operation, int result)
{
    if (result != 0)
        api_operation_end(operation);
    return result;
}

void api_operation_done(void *context, int result)
{
    struct api_operation *operation = context;
    iomesh_done_fn *done = operation->done;
    void *caller = operation->context;
    api_operation_end(operation);
    done(caller, result);
}

void api_operation_progress(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    const struct api_operation *operation = context;
    if (operation->progress != NULL && total_bytes > 0)
        operation->progress(operation->context, done_bytes, total_bytes);
}

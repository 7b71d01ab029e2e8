/* SPDX-License-Identifier: Apache-2.0 */
/* The same requests, waiting for them. */
#include "api/pool.h"

static struct iomesh_engine *engine_of(const struct iomesh_volume *volume)
{
    return volume->shared->engine;
}

int iomesh_read_sync(struct iomesh_volume *volume, uint64_t offset, uint32_t length, void *data)
{
    REFUSE_IN_CALLBACK(engine_of(volume));
    struct api_waiter waiter;
    return api_waiter_end(engine_of(volume), &waiter,
                          iomesh_read(volume, offset, length, data, api_waiter_done, &waiter));
}

int iomesh_write_sync(struct iomesh_volume *volume, uint64_t offset, uint32_t length,
                      const void *data, uint32_t flags)
{
    REFUSE_IN_CALLBACK(engine_of(volume));
    struct api_waiter waiter;
    return api_waiter_end(
        engine_of(volume), &waiter,
        iomesh_write(volume, offset, length, data, flags, api_waiter_done, &waiter));
}

int iomesh_flush_sync(struct iomesh_volume *volume)
{
    REFUSE_IN_CALLBACK(engine_of(volume));
    struct api_waiter waiter;
    return api_waiter_end(engine_of(volume), &waiter,
                          iomesh_flush(volume, api_waiter_done, &waiter));
}

int iomesh_discard_sync(struct iomesh_volume *volume, uint64_t offset, uint64_t length,
                        uint32_t flags)
{
    REFUSE_IN_CALLBACK(engine_of(volume));
    struct api_waiter waiter;
    return api_waiter_end(engine_of(volume), &waiter,
                          iomesh_discard(volume, offset, length, flags, api_waiter_done, &waiter));
}

int iomesh_write_zeroes_sync(struct iomesh_volume *volume, uint64_t offset, uint64_t length,
                             uint32_t flags)
{
    REFUSE_IN_CALLBACK(engine_of(volume));
    struct api_waiter waiter;
    return api_waiter_end(
        engine_of(volume), &waiter,
        iomesh_write_zeroes(volume, offset, length, flags, api_waiter_done, &waiter));
}

struct extents_waiter {
    struct api_waiter waiter;
    uint32_t count;
};

static void extents_waiter_done(void *context, int result, uint32_t extent_count)
{
    struct extents_waiter *waiter = context;
    waiter->count = extent_count;
    api_waiter_done(&waiter->waiter, result);
}

int iomesh_block_status_sync(struct iomesh_volume *volume, uint64_t offset, uint64_t length,
                             struct iomesh_extent *extents, uint32_t extent_max)
{
    REFUSE_IN_CALLBACK(engine_of(volume));
    struct extents_waiter waiter;
    int result = api_waiter_end(engine_of(volume), &waiter.waiter,
                                iomesh_block_status(volume, offset, length, extents, extent_max,
                                                    extents_waiter_done, &waiter));
    return result != 0 ? result : (int)MIN(waiter.count, (uint32_t)INT32_MAX);
}

int iomesh_changed_sync(struct iomesh_volume *volume, uint64_t since, uint64_t offset,
                        uint64_t length, struct iomesh_extent *extents, uint32_t extent_max)
{
    REFUSE_IN_CALLBACK(engine_of(volume));
    struct extents_waiter waiter;
    int result = api_waiter_end(engine_of(volume), &waiter.waiter,
                                iomesh_changed(volume, since, offset, length, extents, extent_max,
                                               extents_waiter_done, &waiter));
    return result != 0 ? result : (int)MIN(waiter.count, (uint32_t)INT32_MAX);
}

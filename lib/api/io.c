/* SPDX-License-Identifier: Apache-2.0 */
/* I/O on an open volume: arguments are checked here, once; below they are asserted. */
#include <stdlib.h>
#include <string.h>

#include "api/control_client.h"

/* The answer of the allocation map is filled in where the caller wants it. */
_Static_assert(sizeof(struct iomesh_extent) == sizeof(struct volume_extent), "one layout");
_Static_assert(IOMESH_EXTENT_HOLE == VOLUME_EXTENT_HOLE, "one meaning");
_Static_assert(IOMESH_EXTENT_ZERO == VOLUME_EXTENT_ZERO, "one meaning");
_Static_assert(IOMESH_EXTENT_CHANGED == VOLUME_EXTENT_CHANGED, "one meaning");

int api_requests_open(struct api_requests *requests, uint32_t count)
{
    requests->table = calloc(count, sizeof *requests->table);
    if (requests->table == NULL)
        return FAIL(-ENOMEM, "no memory for %u requests", count);
    requests->count = count;
    list_init(&requests->free);
    for (uint32_t i = 0; i < count; i++)
        list_push_back(&requests->free, &requests->table[i].node);
    return 0;
}

void api_requests_close(struct api_requests *requests)
{
    assert(requests->in_flight == 0);
    free(requests->table);
    requests->table = NULL;
}

/* --- Ends ---------------------------------------------------------------------------------- */

void api_io_count(struct iomesh_volume_stats *stats, const struct volume_io *io, int result,
                  uint64_t took_ns)
{
    stats->in_flight--;
    if (result != 0)
        stats->errors++;
    if (io->kind != VOLUME_FLUSH &&
        (io->offset % BLOCK_BYTES != 0 || io->length % BLOCK_BYTES != 0))
        stats->unaligned++;
    switch (io->kind) {
    case VOLUME_READ:
        stats->reads++;
        stats->read_bytes += io->length;
        api_histogram_add(&stats->read_ns, took_ns);
        break;
    case VOLUME_WRITE:
        stats->writes++;
        stats->written_bytes += io->length;
        api_histogram_add(&stats->write_ns, took_ns);
        break;
    case VOLUME_FLUSH:
        stats->flushes++;
        api_histogram_add(&stats->flush_ns, took_ns);
        break;
    case VOLUME_DISCARD:
        stats->discards++;
        stats->discarded_bytes += io->length;
        break;
    case VOLUME_ZERO:
        stats->zeroes++;
        stats->zeroed_bytes += io->length;
        break;
    case VOLUME_MAP:
    case VOLUME_CHANGED:
    case VOLUME_COPY: break;
    }
}

static void io_done(struct volume_io *io, int result)
{
    struct api_request *request = CONTAINER_OF(io, struct api_request, io);
    struct iomesh_volume *volume = request->volume;
    struct iomesh_pool *pool = volume->shared->pool;
    uint64_t took_ns = clock_now_ns(pool->clock) - request->start_ns;
    api_io_count(&volume->shared->stats, io, result, took_ns);
    if (result == -ENOSPC)
        pool_tell_full(pool);
    iomesh_done_fn *done = request->done;
    iomesh_extents_fn *extents_done = request->extents_done;
    void *context = request->context;
    uint32_t extent_count = result == 0 ? io->extent_count : 0;
    /* The request is free before the callback: it may begin the next one with it. */
    volume->in_flight--;
    engine_count(pool->engine->engine);
    pool->requests.in_flight--;
    list_push_front(&pool->requests.free, &request->node);
    if (extents_done != NULL)
        extents_done(context, result, extent_count);
    else
        done(context, result);
}

/* --- Beginnings ---------------------------------------------------------------------------- */

static int io_check_range(const struct iomesh_volume *volume, uint64_t offset, uint64_t length)
{
    uint32_t sector = iomesh_volume_sector_bytes(volume);
    uint64_t size = iomesh_volume_bytes(volume);
    if (offset % sector != 0 || length % sector != 0)
        return FAIL(-EINVAL, "%s: offset %llu or length %llu is not a multiple of %u bytes",
                    volume->name, (unsigned long long)offset, (unsigned long long)length, sector);
    if (length == 0 || offset > size || length > size - offset)
        return FAIL(-EINVAL, "%s: %llu bytes at %llu: the volume has %llu bytes", volume->name,
                    (unsigned long long)length, (unsigned long long)offset,
                    (unsigned long long)size);
    return 0;
}

static int io_check_transfer(const struct iomesh_volume *volume, uint64_t offset, uint32_t length,
                             const void *data)
{
    if (length > IOMESH_IO_BYTES_MAX)
        return FAIL(-EINVAL, "%s: %u bytes are more than one request may carry (%u)", volume->name,
                    length, IOMESH_IO_BYTES_MAX);
    if (data == NULL)
        return FAIL(-EINVAL, "%s: no memory was given", volume->name);
    return io_check_range(volume, offset, length);
}

static int io_check_change(const struct iomesh_volume *volume, uint32_t flags, uint32_t allowed)
{
    if (flags & ~allowed)
        return FAIL(-EINVAL, "%s: flags %#x are not known here", volume->name, flags & ~allowed);
    if (volume->read_only)
        return FAIL(-EROFS, "%s: is open for reading only", volume->name);
    return 0;
}

/* What every request has; the rest is `with`. */
static int io_start(struct iomesh_volume *volume, const struct volume_io *with,
                    iomesh_done_fn *done, iomesh_extents_fn *extents_done, void *context)
{
    struct iomesh_pool *pool = volume->shared->pool;
    if (done == NULL && extents_done == NULL)
        return FAIL(-EINVAL, "%s: a request needs a callback", volume->name);
    if (volume->remote != NULL)
        return api_remote_submit(volume, with, done, extents_done, context);
    struct list *node = list_pop_front(&pool->requests.free);
    if (node == NULL)
        return -EAGAIN;
    struct api_request *request = LIST_ENTRY(node, struct api_request, node);
    request->volume = volume;
    request->done = done;
    request->extents_done = extents_done;
    request->context = context;
    request->start_ns = clock_now_ns(pool->clock);
    struct volume_io *io = &request->io;
    io->kind = with->kind;
    io->flags = with->flags;
    io->offset = with->offset;
    io->length = with->length;
    io->data = with->data;
    io->extents = with->extents;
    io->extent_max = with->extent_max;
    io->since = with->since;
    io->done = io_done;
    struct iomesh_volume_stats *stats = &volume->shared->stats;
    stats->in_flight++;
    stats->in_flight_max = MAX(stats->in_flight_max, stats->in_flight);
    volume->in_flight++;
    pool->requests.in_flight++;
    engine_touch(pool->engine->engine);
    volume_submit(volume->shared->volume, io);
    return 0;
}

int iomesh_read(struct iomesh_volume *volume, uint64_t offset, uint32_t length, void *data,
                iomesh_done_fn *done, void *context)
{
    int result = io_check_transfer(volume, offset, length, data);
    if (result != 0)
        return result;
    struct volume_io io = {.kind = VOLUME_READ, .offset = offset, .length = length, .data = data};
    return io_start(volume, &io, done, NULL, context);
}

int iomesh_write(struct iomesh_volume *volume, uint64_t offset, uint32_t length, const void *data,
                 uint32_t flags, iomesh_done_fn *done, void *context)
{
    int result = io_check_change(volume, flags, IOMESH_FUA);
    if (result == 0)
        result = io_check_transfer(volume, offset, length, data);
    if (result != 0)
        return result;
    struct volume_io io = {
        .kind = VOLUME_WRITE,
        .flags = flags & IOMESH_FUA ? VOLUME_FUA : 0,
        .offset = offset,
        .length = length,
        .data = (void *)(uintptr_t)data, /* Only read: one field serves both directions. */
    };
    return io_start(volume, &io, done, NULL, context);
}

int iomesh_flush(struct iomesh_volume *volume, iomesh_done_fn *done, void *context)
{
    struct volume_io io = {.kind = VOLUME_FLUSH};
    return io_start(volume, &io, done, NULL, context);
}

int iomesh_discard(struct iomesh_volume *volume, uint64_t offset, uint64_t length, uint32_t flags,
                   iomesh_done_fn *done, void *context)
{
    int result = io_check_change(volume, flags, IOMESH_FUA);
    if (result == 0)
        result = io_check_range(volume, offset, length);
    if (result != 0)
        return result;
    struct volume_io io = {
        .kind = VOLUME_DISCARD,
        .flags = flags & IOMESH_FUA ? VOLUME_FUA : 0,
        .offset = offset,
        .length = length,
    };
    return io_start(volume, &io, done, NULL, context);
}

int iomesh_write_zeroes(struct iomesh_volume *volume, uint64_t offset, uint64_t length,
                        uint32_t flags, iomesh_done_fn *done, void *context)
{
    int result = io_check_change(volume, flags, IOMESH_FUA | IOMESH_NO_HOLE | IOMESH_FAST);
    if (result == 0)
        result = io_check_range(volume, offset, length);
    if (result != 0)
        return result;
    /* Space is taken by writing zeros into it, which is what the caller could do as fast. */
    if (flags & IOMESH_FAST && flags & IOMESH_NO_HOLE)
        return FAIL(-ENOTSUP, "%s: zeros that take space are not faster than writing them",
                    volume->name);
    struct volume_io io = {
        .kind = VOLUME_ZERO,
        .flags =
            (flags & IOMESH_FUA ? VOLUME_FUA : 0) | (flags & IOMESH_NO_HOLE ? VOLUME_NO_HOLE : 0),
        .offset = offset,
        .length = length,
    };
    return io_start(volume, &io, done, NULL, context);
}

static int io_survey(struct iomesh_volume *volume, const struct volume_io *with,
                     struct iomesh_extent *extents, iomesh_extents_fn *done, void *context)
{
    if (extents == NULL || with->extent_max == 0)
        return FAIL(-EINVAL, "%s: no room for an answer", volume->name);
    int result = io_check_range(volume, with->offset, with->length);
    if (result != 0)
        return result;
    struct volume_io io = *with;
    io.extents = (struct volume_extent *)(void *)extents;
    return io_start(volume, &io, NULL, done, context);
}

int iomesh_block_status(struct iomesh_volume *volume, uint64_t offset, uint64_t length,
                        struct iomesh_extent *extents, uint32_t extent_max, iomesh_extents_fn *done,
                        void *context)
{
    struct volume_io io = {
        .kind = VOLUME_MAP, .offset = offset, .length = length, .extent_max = extent_max};
    return io_survey(volume, &io, extents, done, context);
}

int iomesh_changed(struct iomesh_volume *volume, uint64_t since, uint64_t offset, uint64_t length,
                   struct iomesh_extent *extents, uint32_t extent_max, iomesh_extents_fn *done,
                   void *context)
{
    if (volume->remote == NULL && since >= volume_view(volume->shared->volume))
        return FAIL(-EINVAL, "%s: is not newer than what it is compared with", volume->name);
    struct volume_io io = {.kind = VOLUME_CHANGED,
                           .offset = offset,
                           .length = length,
                           .extent_max = extent_max,
                           .since = since};
    return io_survey(volume, &io, extents, done, context);
}

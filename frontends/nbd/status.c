/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLOCK_STATUS: a chunk for each context that is wanted, one after the other; and CACHE, which
 * walks the same map.
 */
#include <assert.h>

#include "nbd/plant.h"
#include "nbd/server.h"

enum {
    BLOCK_BYTES = 4096,
    STATUS_BYTES = 65536,
    /* A walk for CACHE: this many extents at a time, this often. */
    CACHE_EXTENTS = BLOCK_BYTES / sizeof(struct iomesh_extent),
    CACHE_ROUNDS_MAX = 64,
};

/* The longest that 32 bits can say in whole blocks. */
static const uint64_t compact_bytes_max = UINT32_MAX - (BLOCK_BYTES - 1);

static bool wants_one(const struct io *io)
{
    return (io->request.flags & NBD_CMD_FLAG_REQ_ONE) != 0 && !PLANTED("req-one");
}

uint32_t status_buffer_bytes(const struct io *io)
{
    return io->request.type == NBD_CMD_CACHE || wants_one(io) ? BLOCK_BYTES : STATUS_BYTES;
}

/* The context whose turn it is: the number of its bit. */
static uint32_t turn(const struct io *io)
{
    assert(io->request.contexts != 0);
    return (uint32_t)__builtin_ctz(io->request.contexts);
}

static void status_sent(void *context, int result)
{
    struct io *io = context;
    if (!io_sent(io, result))
        return;
    io->request.contexts &= io->request.contexts - 1;
    if (io->request.contexts != 0)
        status_submit(io);
    else
        io_free(io);
}

static uint32_t flags_of(uint32_t context, uint32_t flags)
{
    static_assert((int)IOMESH_EXTENT_HOLE == (int)NBD_STATE_HOLE, "the same bits");
    static_assert((int)IOMESH_EXTENT_ZERO == (int)NBD_STATE_ZERO, "the same bits");
    if (PLANTED(context == 0 ? "block-status" : "changed-since"))
        return 0;
    if (context == 0)
        return flags & (IOMESH_EXTENT_HOLE | IOMESH_EXTENT_ZERO);
    return (flags & IOMESH_EXTENT_CHANGED) != 0 ? NBD_STATE_CHANGED : 0;
}

/* Extents become descriptors in place, for a descriptor is never longer than an extent: neighbours
 * that say the same are one, and those that 32 bits cannot tell are left out with all that follow.
 * Returns how many there are. */
static uint32_t put_extents(const struct io *io, uint32_t extent_count)
{
    static_assert(sizeof(struct iomesh_extent) == 16, "descriptors are written over extents");
    const enum nbd_mode mode = io->connection->session.mode;
    const uint64_t bytes_max = mode == NBD_EXTENDED ? UINT64_MAX : compact_bytes_max;
    const uint32_t count_max = wants_one(io) ? 1 : extent_count;
    const struct iomesh_extent *extents = io->buffer;
    uint8_t *to = io->buffer;
    uint32_t count = 0;
    for (uint32_t index = 0; index < extent_count && count < count_max; count++) {
        const uint32_t flags = flags_of(turn(io), extents[index].flags);
        uint64_t bytes = 0;
        for (; index < extent_count && flags_of(turn(io), extents[index].flags) == flags; index++)
            bytes += extents[index].bytes;
        if (bytes > bytes_max) {
            bytes = bytes_max;
            index = extent_count;
        }
        to += nbd_put_extent(mode, to, bytes, flags);
    }
    return count;
}

static void status_done(void *context, int result, uint32_t extent_count)
{
    struct io *io = context;
    const enum nbd_mode mode = io->connection->session.mode;
    if (result != 0) {
        io_reply(io, result);
        return;
    }
    const uint32_t count = put_extents(io, extent_count);
    const bool last = (io->request.contexts & (io->request.contexts - 1)) == 0;
    const size_t bytes = nbd_put_status(mode, io->head, &io->request, turn(io) + 1, count, last);
    io->parts[0] = (struct iovec){io->head, bytes};
    io->parts[1] = (struct iovec){io->buffer, count * nbd_extent_bytes(mode)};
    io_send(io, 2, status_sent);
}

void status_submit(struct io *io)
{
    const struct nbd_request *request = &io->request;
    const struct connection *connection = io->connection;
    const uint32_t extent_max = io->buffer_bytes / (uint32_t)sizeof(struct iomesh_extent);
    struct iomesh_volume *volume = connection->export->volume;
    if (turn(io) == 0)
        io_asked(io, iomesh_block_status(volume, request->offset, request->length, io->buffer,
                                         wants_one(io) ? 1 : extent_max, status_done, io));
    else
        io_asked(io, iomesh_changed(volume, connection->session.contexts.cuts[turn(io) - 1],
                                    request->offset, request->length, io->buffer, extent_max,
                                    status_done, io));
}

/* CACHE brings in the pages that say where the range lies; data itself is not cached here. */
static void cache_done(void *context, int result, uint32_t extent_count)
{
    struct io *io = context;
    const struct iomesh_extent *extents = io->buffer;
    for (uint32_t index = 0; index < extent_count; index++)
        io->done_bytes += extents[index].bytes;
    if (result != 0 || io->done_bytes >= io->request.length ||
        ++io->piece_bytes >= CACHE_ROUNDS_MAX)
        io_reply(io, result);
    else if (io->connection->state == CONNECTION_CLOSING)
        io_free(io);
    else
        cache_submit(io);
}

void cache_submit(struct io *io)
{
    io_asked(io, iomesh_block_status(io->connection->export->volume,
                                     io->request.offset + io->done_bytes,
                                     io->request.length - io->done_bytes, io->buffer, CACHE_EXTENTS,
                                     cache_done, io));
}

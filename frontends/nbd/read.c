/* SPDX-License-Identifier: Apache-2.0 */
/* READ: data and holes. */
#include <assert.h>
#include <string.h>

#include "common/log.h"
#include "nbd/plant.h"
#include "nbd/server.h"

enum {
    BLOCK_BYTES = 4096,
    /* Shorter runs of zeros inside a reply are sent as data: a chunk has its price too. */
    HOLE_BYTES_MIN = 32768,
    CHUNKS_MAX = IO_PARTS_MAX / 2,
};

static bool is_zero(const uint8_t *bytes, size_t length)
{
    uint64_t first;
    if (length < sizeof first)
        return false;
    memcpy(&first, bytes, sizeof first);
    return first == 0 && memcmp(bytes, bytes + sizeof first, length - sizeof first) == 0;
}

/* How far from `at` on the piece stays zero, or stays data until a long run of zeros. */
static uint32_t run(const uint8_t *piece, uint32_t at, uint32_t length, bool *ret_zero)
{
    uint32_t end = at;
    while (end < length) {
        const uint32_t step = length - end < BLOCK_BYTES ? length - end : BLOCK_BYTES;
        if (!is_zero(piece + end, step))
            break;
        end += step;
    }
    *ret_zero = end - at >= HOLE_BYTES_MIN || (end == length && at == 0);
    if (*ret_zero)
        return end - at;
    uint32_t zeros = 0;
    for (end = at; end < length && zeros < HOLE_BYTES_MIN;) {
        const uint32_t step = length - end < BLOCK_BYTES ? length - end : BLOCK_BYTES;
        zeros = is_zero(piece + end, step) ? zeros + step : 0;
        end += step;
    }
    return zeros >= HOLE_BYTES_MIN ? end - zeros - at : length - at;
}

/* The piece as chunks of data and holes; the last chunk takes whatever is left. */
static uint32_t put_chunks(struct io *io, bool last_piece)
{
    const enum nbd_mode mode = io->connection->session.mode;
    const bool whole = (io->request.flags & NBD_CMD_FLAG_DF) != 0 && !PLANTED("df");
    uint8_t *piece = io->buffer;
    uint8_t *head = io->head;
    uint32_t parts = 0;
    uint32_t chunks = 0;
    for (uint32_t at = 0; at < io->piece_bytes;) {
        bool zero = false;
        uint32_t length = io->piece_bytes - at;
        if (!whole && ++chunks < CHUNKS_MAX)
            length = run(piece, at, io->piece_bytes, &zero);
        const bool last = last_piece && at + length == io->piece_bytes;
        const uint64_t offset = io->request.offset + io->done_bytes + at;
        const size_t bytes = zero ? nbd_put_hole(mode, head, &io->request, offset, length, last)
                                  : nbd_put_data(mode, head, &io->request, offset, length, last);
        io->parts[parts++] = (struct iovec){head, bytes};
        head += bytes;
        if (!zero)
            io->parts[parts++] = (struct iovec){piece + at, length};
        at += length;
    }
    assert(parts <= IO_PARTS_MAX && head <= io->head + sizeof io->head);
    return parts;
}

static void read_sent(void *context, int result)
{
    struct io *io = context;
    if (!io_sent(io, result))
        return;
    io->done_bytes += io->piece_bytes;
    if (io->done_bytes == io->request.length)
        io_free(io);
    else
        read_submit(io);
}

static void read_done(void *context, int result)
{
    struct io *io = context;
    const enum nbd_mode mode = io->connection->session.mode;
    if (result != 0) {
        if (mode == NBD_SIMPLE && io->done_bytes > 0) {
            /* The reply has said that all is well: only silence is left. */
            connection_cut(io->connection, LOG_LEVEL_ERROR,
                           "a read failed after its reply had begun");
            io_free(io);
            return;
        }
        io_reply(io, result);
        return;
    }
    if (mode != NBD_SIMPLE) {
        const bool last = io->done_bytes + io->piece_bytes == io->request.length;
        io_send(io, put_chunks(io, last), read_sent);
        return;
    }
    io->unfinished = io->done_bytes + io->piece_bytes < io->request.length;
    uint32_t parts = 0;
    if (io->done_bytes == 0) {
        const size_t bytes = nbd_put_data(mode, io->head, &io->request, io->request.offset,
                                          (uint32_t)io->request.length, true);
        io->parts[parts++] = (struct iovec){io->head, bytes};
    }
    io->parts[parts++] = (struct iovec){io->buffer, io->piece_bytes};
    io_send(io, parts, read_sent);
}

void read_submit(struct io *io)
{
    const uint64_t left = io->request.length - io->done_bytes;
    io->piece_bytes = left < IO_PIECE_BYTES ? (uint32_t)left : IO_PIECE_BYTES;
    if (PLANTED("read")) {
        memset(io->buffer, 0, io->piece_bytes);
        read_done(io, 0);
        return;
    }
    io_asked(io, iomesh_read(io->connection->export->volume, io->request.offset + io->done_bytes,
                             io->piece_bytes, io->buffer, read_done, io));
}

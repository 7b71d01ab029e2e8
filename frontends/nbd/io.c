/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request: memory, the engine's call, the reply.
 *
 * A WRITE's payload goes from the socket into the arena's memory and is written from there; only
 * what the stream had received already, together with other requests, is copied. A request of
 * more than IO_PIECE_BYTES is done in pieces, so no request needs more memory than that.
 *
 * Memory is given out in the order in which connections ran out of it. A connection waits with
 * one request in hand and receives nothing meanwhile.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "nbd/plant.h"
#include "nbd/server.h"

static void submit(struct io *io);
static void begin(struct io *io);

static bool closing(const struct io *io)
{
    return io->connection->state == CONNECTION_CLOSING;
}

static uint32_t piece_bytes(const struct io *io)
{
    const uint64_t left = io->request.length - io->done_bytes;
    return left < IO_PIECE_BYTES ? (uint32_t)left : IO_PIECE_BYTES;
}

static uint32_t memory_needed(const struct io *io)
{
    switch (io->request.type) {
    case NBD_CMD_READ:
    case NBD_CMD_WRITE: return piece_bytes(io);
    case NBD_CMD_CACHE:
    case NBD_CMD_BLOCK_STATUS: return status_buffer_bytes(io);
    default: return 0;
    }
}

static bool take_memory(struct io *io)
{
    struct connection *connection = io->connection;
    const uint32_t bytes = memory_needed(io);
    if (bytes == 0)
        return true;
    io->buffer = iomesh_buffer_get(connection->server->engine, bytes);
    if (io->buffer == NULL)
        return false;
    io->buffer_bytes = bytes;
    connection->bytes += bytes;
    return true;
}

/* What became free goes to those who wait, the first first. Two lines, not one: whoever waits for
 * memory holds an io, and must never stand behind somebody who waits for one. */
static void feed(struct server *server)
{
    struct io *io;
    while ((io = TAILQ_FIRST(&server->hungry)) != NULL && take_memory(io)) {
        struct connection *connection = io->connection;
        TAILQ_REMOVE(&server->hungry, io, link);
        connection->hungry = NULL;
        begin(io);
        connection_pump(connection);
    }
    struct connection *connection;
    while (!TAILQ_EMPTY(&server->ios_free) && (connection = TAILQ_FIRST(&server->queue)) != NULL) {
        TAILQ_REMOVE(&server->queue, connection, queue);
        connection->queueing = false;
        connection_pump(connection);
    }
}

void io_free(struct io *io)
{
    struct connection *connection = io->connection;
    struct server *server = connection->server;
    iomesh_buffer_put(server->engine, io->buffer);
    connection->bytes -= io->buffer_bytes;
    connection->in_flight--;
    if (connection->receiving == io)
        connection->receiving = NULL;
    io->connection = NULL;
    server->ios_used--;
    TAILQ_INSERT_HEAD(&server->ios_free, io, link);
    feed(server);
    if (connection->throttled) {
        connection->throttled = false;
        connection_pump(connection);
    }
    connection_settle(connection);
}

bool io_sent(struct io *io, int result)
{
    struct connection *connection = io->connection;
    connection->sending--;
    connection->progress_ns = server_now_ns();
    if (result == 0 && !closing(io))
        return true;
    connection_cut(connection, LOG_LEVEL_INFO, "the client went away with replies due");
    io_free(io);
    return false;
}

static void reply_sent(void *context, int result)
{
    struct io *io = context;
    if (io_sent(io, result))
        io_free(io);
}

static void send_now(struct connection *connection, struct io *io)
{
    connection->half_told = io->unfinished ? io : NULL;
    if (connection->sending++ == 0)
        connection->progress_ns = server_now_ns();
    if (transport_send(&connection->transport, &io->send) != 0) {
        connection->sending--;
        connection_cut(connection, LOG_LEVEL_WARNING, "its socket cannot be written");
        io_free(io);
    }
}

/* A simple reply is a header and all of its data, which is not here at once if it is long: other
 * replies wait for its last piece. (Structured ones come in chunks that say whose they are.) */
void io_send(struct io *io, uint32_t part_count, iomesh_done_fn *done)
{
    struct connection *connection = io->connection;
    if (closing(io)) {
        io_free(io);
        return;
    }
    io->send.parts = io->parts;
    io->send.part_count = part_count;
    io->send.done = done;
    io->send.context = io;
    if (connection->half_told != NULL && connection->half_told != io) {
        TAILQ_INSERT_TAIL(&connection->held, io, link);
        return;
    }
    send_now(connection, io);
    while (connection->half_told == NULL && (io = TAILQ_FIRST(&connection->held)) != NULL) {
        TAILQ_REMOVE(&connection->held, io, link);
        send_now(connection, io);
    }
}

void io_free_held(struct connection *connection)
{
    struct io *io;
    while ((io = TAILQ_FIRST(&connection->held)) != NULL) {
        TAILQ_REMOVE(&connection->held, io, link);
        io_free(io);
    }
}

void io_refuse(struct io *io, uint32_t error, const char *sentence)
{
    const size_t bytes =
        nbd_put_error(io->connection->session.mode, io->head, &io->request, error, sentence);
    io->parts[0] = (struct iovec){io->head, bytes};
    io_send(io, 1, reply_sent);
}

void io_reply(struct io *io, int error)
{
    if (error == 0) {
        const size_t bytes = nbd_put_done(io->connection->session.mode, io->head, &io->request);
        io->parts[0] = (struct iovec){io->head, bytes};
        io_send(io, 1, reply_sent);
        return;
    }
    io->connection->server->counts.errors++;
    log_line(LOG_LEVEL_ERROR, "volume %s: request %u at %llu, %llu bytes: %s",
             io->connection->export->name, io->request.type, (unsigned long long)io->request.offset,
             (unsigned long long)io->request.length, iomesh_error_text(error));
    io_refuse(io, nbd_error_from(iomesh_error_posix(error)), iomesh_error_text(error));
}

static void done(void *context, int result)
{
    io_reply(context, result);
}

void io_asked(struct io *io, int result)
{
    if (result == 0)
        return;
    if (result == -EAGAIN)
        TAILQ_INSERT_TAIL(&io->connection->server->ios_retry, io, link);
    else
        io_reply(io, result);
}

void io_retry(struct io *io)
{
    if (closing(io))
        io_free(io);
    else
        submit(io);
}

static uint32_t fua(const struct io *io)
{
    if ((io->request.flags & NBD_CMD_FLAG_FUA) == 0 || PLANTED("fua"))
        return 0;
    return IOMESH_FUA;
}

static void write_payload(struct io *io);

/* The rest of a failed WRITE's payload is thrown away. */
static void write_failed(struct io *io, int result)
{
    struct connection *connection = io->connection;
    connection->session.skip_bytes += io->request.length - io->done_bytes - io->piece_bytes;
    if (connection->receiving == io)
        connection->receiving = NULL;
    io_reply(io, result);
    connection_pump(connection);
}

static void written(void *context, int result)
{
    struct io *io = context;
    const bool whole = io->done_bytes + io->piece_bytes == io->request.length;
    if (whole || closing(io)) {
        io_reply(io, result);
        return;
    }
    if (result != 0) {
        write_failed(io, result);
        return;
    }
    struct connection *connection = io->connection;
    io->done_bytes += io->piece_bytes;
    write_payload(io);
    connection_pump(connection);
}

static void write_submit(struct io *io)
{
    struct connection *connection = io->connection;
    if (io->done_bytes + io->piece_bytes == io->request.length)
        connection->receiving = NULL; /* All is here: the next request may come. */
    if (PLANTED("write")) {
        io_reply(io, 0);
        return;
    }
    const int result = iomesh_write(connection->export->volume, io->request.offset + io->done_bytes,
                                    io->piece_bytes, io->buffer, fua(io), written, io);
    if (result == 0 || result == -EAGAIN)
        io_asked(io, result);
    else
        written(io, result); /* Refused at once: the rest of its payload comes all the same. */
}

static void received(void *context, int result)
{
    struct io *io = context;
    struct connection *connection = io->connection;
    connection->filling = false;
    if (result != 0 || closing(io)) {
        connection_cut(connection, LOG_LEVEL_INFO, "the client went away in the midst of a WRITE");
        io_free(io);
        return;
    }
    write_submit(io);
    connection_pump(connection);
}

/* The next piece of a WRITE: already here, or received where it will be written from. */
static void write_payload(struct io *io)
{
    struct connection *connection = io->connection;
    assert(io->buffer != NULL);
    io->piece_bytes = piece_bytes(io);
    const void *data;
    if (transport_peek(&connection->transport, &data) >= io->piece_bytes) {
        memcpy(io->buffer, data, io->piece_bytes);
        transport_consume(&connection->transport, io->piece_bytes);
        write_submit(io);
        return;
    }
    connection->filling = true;
    connection->progress_ns = server_now_ns();
    const int result =
        transport_receive(&connection->transport, io->buffer, io->piece_bytes, received, io);
    if (result == 0)
        return;
    connection->filling = false;
    if (result == 1) {
        write_submit(io);
        return;
    }
    connection_cut(connection, LOG_LEVEL_WARNING, "its socket cannot be read");
    io_free(io);
}

static uint32_t zeroes_flags(const struct io *io)
{
    uint32_t flags = fua(io);
    if ((io->request.flags & NBD_CMD_FLAG_NO_HOLE) != 0 && !PLANTED("no-hole"))
        flags |= IOMESH_NO_HOLE;
    if ((io->request.flags & NBD_CMD_FLAG_FAST_ZERO) != 0 && !PLANTED("fast-zero"))
        flags |= IOMESH_FAST;
    return flags;
}

/* In a test build: is this a request that shall do nothing? */
static bool planted_nothing(const struct io *io)
{
    switch (io->request.type) {
    case NBD_CMD_FLUSH:
        return PLANTED("flush") || (PLANTED("multi-conn") && !io->connection->has_written);
    case NBD_CMD_TRIM: return PLANTED("trim");
    case NBD_CMD_CACHE: return PLANTED("cache");
    case NBD_CMD_WRITE_ZEROES: return PLANTED("write-zeroes");
    default: return false;
    }
}

/* Gives a request to the engine; its memory is there. */
static void submit(struct io *io)
{
    struct iomesh_volume *volume = io->connection->export->volume;
    const struct nbd_request *request = &io->request;
    if (planted_nothing(io)) {
        io_reply(io, 0);
        return;
    }
    switch (request->type) {
    case NBD_CMD_READ: read_submit(io); break;
    case NBD_CMD_WRITE: write_submit(io); break;
    case NBD_CMD_FLUSH: io_asked(io, iomesh_flush(volume, done, io)); break;
    case NBD_CMD_TRIM:
        io_asked(io, iomesh_discard(volume, request->offset, request->length, fua(io), done, io));
        break;
    case NBD_CMD_CACHE: cache_submit(io); break;
    case NBD_CMD_WRITE_ZEROES:
        io_asked(io, iomesh_write_zeroes(volume, request->offset, request->length, zeroes_flags(io),
                                         done, io));
        break;
    default: status_submit(io); break;
    }
}

/* It has its memory. */
static void begin(struct io *io)
{
    if (io->request.type == NBD_CMD_WRITE)
        write_payload(io);
    else
        submit(io);
}

void io_start(struct connection *connection, const struct nbd_request *request)
{
    struct server *server = connection->server;
    struct io *io = TAILQ_FIRST(&server->ios_free);
    assert(io != NULL);
    TAILQ_REMOVE(&server->ios_free, io, link);
    server->ios_used++;
    connection->in_flight++;
    io->connection = connection;
    io->request = *request;
    io->buffer = NULL;
    io->buffer_bytes = 0;
    io->piece_bytes = 0;
    io->done_bytes = 0;
    io->unfinished = false;
    if (request->error != 0) {
        server->counts.requests_refused++;
        log_line(LOG_LEVEL_DEBUG, "connection %llu: request %u refused: %s",
                 (unsigned long long)connection->number, request->type, request->reason);
        io_refuse(io, request->error, request->reason);
        return;
    }
    server->counts.requests[request->type]++;
    if (request->length == 0 && request->type != NBD_CMD_FLUSH) {
        io_reply(io, 0);
        return;
    }
    if (request->type == NBD_CMD_READ && (request->flags & NBD_CMD_FLAG_DF) != 0 &&
        request->length > IO_PIECE_BYTES) {
        io_refuse(io, NBD_EOVERFLOW, "too long to be sent in one piece");
        return;
    }
    if (request->type == NBD_CMD_WRITE) {
        connection->receiving = io;
        connection->has_written = true;
    }
    const bool others_first = !TAILQ_EMPTY(&server->hungry) && memory_needed(io) > 0;
    if (!others_first && take_memory(io)) {
        begin(io);
        return;
    }
    server->counts.starved++;
    connection->hungry = io;
    TAILQ_INSERT_TAIL(&server->hungry, io, link);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One client, from accepting it to forgetting it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "nbd/server.h"

static const char *peer(const struct connection *connection)
{
    return iomesh_stream_peer(connection->transport.stream);
}

void connection_handshaken(struct connection *connection)
{
    if (!connection->accepted)
        return;
    connection->accepted = false;
    connection->server->handshake_count--;
}

static void connection_free(struct connection *connection)
{
    struct server *server = connection->server;
    if (connection->export != NULL)
        export_leave(connection->export);
    TAILQ_REMOVE(&server->connections, connection, link);
    server->connection_count--;
    free(connection);
    server_check_drained(server);
}

static void stream_closed(void *context, int result)
{
    (void)result;
    struct connection *connection = context;
    connection->stream_open = false;
    connection->transport = (struct transport){0};
    connection_settle(connection);
}

static void start_closing(struct connection *connection)
{
    struct server *server = connection->server;
    connection_handshaken(connection);
    connection->state = CONNECTION_CLOSING;
    connection->progress_ns = server_now_ns();
    if (connection->queueing) {
        TAILQ_REMOVE(&server->queue, connection, queue);
        connection->queueing = false;
    }
    export_forget(connection);
    transport_close(&connection->transport, stream_closed, connection);
    /* Its payload will not come any more; a receive under way is ended by the closing. */
    struct io *hungry = connection->hungry;
    if (hungry != NULL) {
        TAILQ_REMOVE(&server->hungry, hungry, link);
        connection->hungry = NULL;
        connection->receiving = NULL;
        io_free(hungry);
    }
    io_free_held(connection);
}

void connection_cut(struct connection *connection, int level, const char *reason)
{
    if (connection->state == CONNECTION_CLOSING)
        return;
    if (reason != NULL)
        log_line((enum log_level)level, "connection %llu from %s closed: %s",
                 (unsigned long long)connection->number, peer(connection), reason);
    start_closing(connection);
}

void connection_end(struct connection *connection)
{
    if (connection->state == CONNECTION_CLOSING || connection->state == CONNECTION_ENDING)
        return;
    connection_handshaken(connection);
    connection->state = CONNECTION_ENDING;
    connection_settle(connection);
}

void connection_settle(struct connection *connection)
{
    /* A payload that is half here will never be whole: nothing is owed for it. */
    const uint32_t owed = connection->in_flight - (connection->receiving != NULL ? 1 : 0);
    if (connection->state == CONNECTION_ENDING && owed == 0 && !connection->out_flying &&
        connection->sending == 0) {
        start_closing(connection);
        return;
    }
    if (connection->state == CONNECTION_CLOSING && !connection->stream_open &&
        connection->in_flight == 0 && !connection->asking)
        connection_free(connection);
}

static void filled(void *context, int result)
{
    struct connection *connection = context;
    connection->filling = false;
    if (connection->state == CONNECTION_CLOSING)
        return;
    if (result == 0) {
        connection_pump(connection);
        return;
    }
    const bool quiet = result == -ECONNRESET && connection->in_flight == 0;
    if (connection->state == CONNECTION_HANDSHAKE)
        connection->server->counts.handshakes_failed++;
    connection_cut(connection, quiet ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
                   result == -ECONNRESET ? "the client went away" : strerror(-result));
}

static void want(struct connection *connection, uint32_t bytes)
{
    connection->filling = true;
    const int result = transport_fill(&connection->transport, bytes, filled, connection);
    if (result != 0) {
        connection->filling = false;
        connection_cut(connection, LOG_LEVEL_WARNING, "its socket cannot be read");
    }
}

/* May one more request of this client begin? */
static bool admitted(struct connection *connection)
{
    struct server *server = connection->server;
    if (connection->in_flight >= server->limits.connection_requests_max ||
        connection->bytes >= server->limits.connection_bytes_max) {
        if (!connection->throttled)
            server->counts.throttled++;
        connection->throttled = true;
        return false;
    }
    if (TAILQ_EMPTY(&server->ios_free)) {
        if (!connection->queueing) {
            server->counts.starved++;
            TAILQ_INSERT_TAIL(&server->queue, connection, queue);
            connection->queueing = true;
        }
        return false;
    }
    return true;
}

static bool act(struct connection *connection, const struct nbd_event *event)
{
    switch (event->kind) {
    case NBD_EVENT_MORE: want(connection, (uint32_t)event->needed); return false;
    case NBD_EVENT_REQUEST: io_start(connection, &event->request); return true;
    case NBD_EVENT_BROKEN:
        if (connection->state == CONNECTION_HANDSHAKE)
            connection->server->counts.handshakes_failed++;
        connection->server->counts.connections_broken++;
        connection_cut(connection, LOG_LEVEL_WARNING, event->reason);
        return false;
    default: return handshake_event(connection, event);
    }
}

void connection_pump(struct connection *connection)
{
    while (connection->state == CONNECTION_HANDSHAKE || connection->state == CONNECTION_REQUESTS) {
        if (connection->filling || connection->asking || connection->receiving != NULL ||
            connection->hungry != NULL || connection->queueing)
            return;
        if (connection->session.out_bytes > 0) {
            handshake_send(connection);
            return;
        }
        if (connection->state == CONNECTION_REQUESTS && !admitted(connection))
            return;
        const void *data;
        const uint32_t length = transport_peek(&connection->transport, &data);
        struct nbd_event event;
        nbd_step(&connection->session, data, length, &event);
        if (event.used > 0)
            transport_consume(&connection->transport, (uint32_t)event.used);
        if (!act(connection, &event))
            return;
    }
}

/* Too many that have not chosen an export: the one that has taken longest makes room. */
static void limit_handshakes(struct server *server)
{
    if (server->handshake_count <= server->limits.handshakes_max)
        return;
    struct connection *connection;
    TAILQ_FOREACH(connection, &server->connections, link)
    {
        if (connection->state == CONNECTION_HANDSHAKE) {
            server->counts.handshakes_failed++;
            connection_cut(connection, LOG_LEVEL_WARNING, "too many handshakes at once");
            return;
        }
    }
}

void connection_accept(struct server *server, struct iomesh_stream *stream)
{
    struct connection *connection = NULL;
    if (!server->draining && server->connection_count < server->limits.connections_max)
        connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        server->counts.connections_refused++;
        log_line(LOG_LEVEL_WARNING, "connection from %s refused: %s", iomesh_stream_peer(stream),
                 server->draining ? "shutting down" : "too many, or no memory");
        iomesh_stream_close(stream, NULL, NULL);
        return;
    }
    connection->server = server;
    connection->transport.stream = stream;
    connection->stream_open = true;
    connection->accepted = true;
    connection->since_ns = server_now_ns();
    TAILQ_INIT(&connection->held);
    connection->number = ++server->counts.connections;
    TAILQ_INSERT_TAIL(&server->connections, connection, link);
    server->connection_count++;
    server->handshake_count++;
    nbd_session_init(&connection->session, server->tls != NULL, server->tls != NULL);
    limit_handshakes(server);
    log_line(LOG_LEVEL_DEBUG, "connection %llu from %s", (unsigned long long)connection->number,
             peer(connection));
    connection_pump(connection);
}

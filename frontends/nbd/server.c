/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/server.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"

/* A server that was killed keeps its sockets until its disk has answered: the next one waits. */
#define LISTEN_IN_USE_MS 3000u

uint64_t server_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int server_init(struct server *server)
{
    TAILQ_INIT(&server->connections);
    TAILQ_INIT(&server->queue);
    TAILQ_INIT(&server->hungry);
    TAILQ_INIT(&server->exports);
    TAILQ_INIT(&server->ios_free);
    TAILQ_INIT(&server->ios_retry);
    server->ios = calloc(server->limits.requests_max, sizeof *server->ios);
    if (server->ios == NULL)
        return -ENOMEM;
    for (uint32_t index = 0; index < server->limits.requests_max; index++)
        TAILQ_INSERT_TAIL(&server->ios_free, &server->ios[index], link);
    return 0;
}

void server_done(struct server *server)
{
    free(server->ios);
    server->ios = NULL;
    tls_context_close(server->tls);
    server->tls = NULL;
}

static void accepted(void *context, int result, struct iomesh_stream *stream)
{
    struct server *server = context;
    if (result == 0) {
        connection_accept(server, stream);
        return;
    }
    if (result == -ECANCELED) {
        server->listeners_open--;
        server_check_drained(server);
        return;
    }
    log_line(LOG_LEVEL_WARNING, "accepting a connection: %s", strerror(-result));
}

int server_listen(struct server *server, const char *address, uint32_t mode)
{
    assert(server->listener_count < SERVER_LISTENERS_MAX);
    struct iomesh_stream_options options = IOMESH_STREAM_OPTIONS_INIT;
    options.mode = mode;
    options.streams_max = server->limits.connections_max;
    options.in_use_ms = LISTEN_IN_USE_MS;
    struct iomesh_listener *listener;
    const int result =
        iomesh_listen(server->engine, address, &options, accepted, server, &listener);
    if (result != 0)
        return result;
    server->listeners[server->listener_count++] = listener;
    server->listeners_open++;
    log_line(LOG_LEVEL_INFO, "listening on %s", iomesh_listener_address(listener));
    return 0;
}

/* Is it the client whom we wait for? Not while a WRITE waits for memory, or for the disk between
 * two pieces. */
static bool owes(const struct connection *connection)
{
    return connection->sending > 0 || (connection->receiving != NULL && connection->filling);
}

/* Cutting one connection may move another on: it is younger than `now` then. */
static bool longer_than(uint64_t limit_ns, uint64_t since_ns, uint64_t now)
{
    return now > since_ns && now - since_ns > limit_ns;
}

void server_tick(struct server *server)
{
    const struct server_limits *limits = &server->limits;
    const uint64_t now = server_now_ns();
    struct connection *next;
    for (struct connection *one = TAILQ_FIRST(&server->connections); one != NULL; one = next) {
        next = TAILQ_NEXT(one, link);
        if (one->state == CONNECTION_HANDSHAKE &&
            longer_than(limits->handshake_ns_max, one->since_ns, now)) {
            server->counts.handshakes_timed_out++;
            connection_cut(one, LOG_LEVEL_INFO, "no export chosen in time");
        } else if (one->state == CONNECTION_CLOSING) {
            /* No more waiting for a goodbye to go out; for the disk there is. */
            if (one->stream_open && longer_than(limits->handshake_ns_max, one->progress_ns, now))
                transport_close(&one->transport, NULL, NULL);
        } else if (owes(one) && longer_than(limits->stall_ns_max, one->progress_ns, now)) {
            server->counts.connections_stalled++;
            connection_cut(one, LOG_LEVEL_WARNING, "it neither sends nor takes what is due");
        }
    }
}

void server_turned(struct server *server)
{
    struct io_list again = TAILQ_HEAD_INITIALIZER(again);
    TAILQ_CONCAT(&again, &server->ios_retry, link);
    struct io *io;
    while ((io = TAILQ_FIRST(&again)) != NULL) {
        TAILQ_REMOVE(&again, io, link);
        io_retry(io);
    }
}

void server_check_drained(struct server *server)
{
    if (!server->draining || server->connection_count > 0 || !exports_are_idle(server) ||
        server->listeners_open > 0 || server->drained == NULL)
        return;
    void (*drained)(void *) = server->drained;
    server->drained = NULL;
    drained(server->drained_context);
}

void server_drain(struct server *server, void (*drained)(void *), void *context)
{
    server->draining = true;
    server->drained = drained;
    server->drained_context = context;
    for (uint32_t index = 0; index < server->listener_count; index++)
        iomesh_listener_close(server->listeners[index]);
    server->listener_count = 0;
    struct connection *next;
    for (struct connection *one = TAILQ_FIRST(&server->connections); one != NULL; one = next) {
        next = TAILQ_NEXT(one, link);
        one->session.closing = true;
        connection_end(one);
    }
    server_check_drained(server);
}

void server_cut(struct server *server)
{
    struct connection *next;
    for (struct connection *one = TAILQ_FIRST(&server->connections); one != NULL; one = next) {
        next = TAILQ_NEXT(one, link);
        connection_cut(one, LOG_LEVEL_WARNING, "it did not finish in time");
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a client asks before it has an export: TLS, and what names.c looks up for it. */
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "nbd/server.h"

bool handshake_gone(const struct connection *connection)
{
    return connection->state == CONNECTION_CLOSING || connection->state == CONNECTION_ENDING;
}

static void tls_started(void *context, int result)
{
    struct connection *connection = context;
    connection->asking = false;
    if (handshake_gone(connection)) {
        connection_settle(connection);
        return;
    }
    if (result != 0) {
        connection->server->counts.tls_failed++;
        connection->server->counts.handshakes_failed++;
        connection_cut(connection, LOG_LEVEL_WARNING, transport_sentence(&connection->transport));
        return;
    }
    log_line(LOG_LEVEL_INFO, "connection %llu: TLS with %s", (unsigned long long)connection->number,
             transport_subject(&connection->transport));
    nbd_secured(&connection->session);
    connection_pump(connection);
}

static void start_tls(struct connection *connection)
{
    connection->tls_next = false;
    connection->asking = true;
    const int result = transport_start_tls(&connection->transport, connection->server->tls,
                                           tls_started, connection);
    if (result != 0)
        tls_started(connection, result);
}

static void out_sent(void *context, int result)
{
    struct connection *connection = context;
    connection->out_flying = false;
    connection->sending--;
    connection->progress_ns = server_now_ns();
    nbd_out_taken(&connection->session);
    if (result != 0 && !handshake_gone(connection)) {
        connection_cut(connection, LOG_LEVEL_DEBUG, "the client went away");
        return;
    }
    if (handshake_gone(connection))
        connection_settle(connection);
    else if (connection->end_next)
        connection_end(connection);
    else if (connection->tls_next)
        start_tls(connection);
    else if (connection->stage != NAMES_NONE)
        names_go_on(connection);
    else
        connection_pump(connection);
}

void handshake_send(struct connection *connection)
{
    if (connection->out_flying)
        return;
    connection->out_part = (struct iovec){connection->session.out, connection->session.out_bytes};
    connection->out_send.parts = &connection->out_part;
    connection->out_send.part_count = 1;
    connection->out_send.done = out_sent;
    connection->out_send.context = connection;
    connection->out_flying = true;
    if (connection->sending++ == 0)
        connection->progress_ns = server_now_ns();
    const int result = transport_send(&connection->transport, &connection->out_send);
    if (result != 0) {
        connection->out_flying = false;
        connection->sending--;
        connection_cut(connection, LOG_LEVEL_WARNING, "its socket cannot be written");
    }
}

void handshake_answered(struct connection *connection, bool alive, const char *reason)
{
    if (!alive) {
        connection->server->counts.handshakes_failed++;
        connection_cut(connection, LOG_LEVEL_INFO, reason);
        return;
    }
    if (connection->session.state == NBD_STATE_REQUESTS) {
        connection->state = CONNECTION_REQUESTS;
        connection_handshaken(connection);
    }
    connection_pump(connection);
}

void handshake_refuse(struct connection *connection, int error)
{
    const bool unknown = error == -ENOENT || error == -EINVAL;
    const char *sentence = unknown            ? "no such export"
                           : error == -ENOMEM ? "no memory to open it"
                           : error == -ENOSPC ? "no space to open it for writing"
                           : error == -EAGAIN ? "too many are being opened: try again"
                           : error == -EBUSY  ? "it is in use: see the server's log"
                                              : "it cannot be opened: see the server's log";
    const char *why = iomesh_last_error(); /* This runs in the call that tells the refusal. */
    if (!unknown)
        log_line(LOG_LEVEL_ERROR, "opening volume %s: %s", connection->session.name,
                 error != -ENOMEM && why[0] != '\0' ? why : iomesh_error_text(error));
    handshake_answered(connection,
                       nbd_export_refused(&connection->session,
                                          unknown ? NBD_REP_ERR_UNKNOWN : NBD_REP_ERR_POLICY,
                                          sentence),
                       sentence);
}

void handshake_facts(const struct connection *connection, uint64_t bytes, uint32_t sector_bytes,
                     bool read_only, struct nbd_export *ret_export)
{
    *ret_export = (struct nbd_export){
        .size_bytes = bytes,
        .block_bytes_min = sector_bytes,
        .block_bytes_preferred = 4096,
        .payload_bytes_max = connection->server->limits.payload_bytes_max,
        .read_only = read_only,
        .rotational = connection->server->rotational,
    };
}

void handshake_opened(struct connection *connection, int result)
{
    connection->asking = false;
    if (handshake_gone(connection)) {
        connection_settle(connection);
        return;
    }
    if (result != 0) {
        handshake_refuse(connection, result);
        return;
    }
    if ((nbd_contexts_of(&connection->session, connection->session.name) & ~1u) != 0)
        names_confirm(connection);
    else
        handshake_go(connection);
}

void handshake_go(struct connection *connection)
{
    const struct export *export = connection->export;
    struct nbd_export facts;
    handshake_facts(connection, iomesh_volume_bytes(export->volume),
                    iomesh_volume_sector_bytes(export->volume),
                    iomesh_volume_is_read_only(export->volume) != 0, &facts);
    log_line(LOG_LEVEL_INFO, "connection %llu from %s: volume %s",
             (unsigned long long)connection->number,
             iomesh_stream_peer(connection->transport.stream), export->name);
    handshake_answered(connection, nbd_export_found(&connection->session, &facts), NULL);
}

static void open_export(struct connection *connection)
{
    connection->asking = true;
    export_open(connection, names_wanted(connection));
}

bool handshake_event(struct connection *connection, const struct nbd_event *event)
{
    switch (event->kind) {
    case NBD_EVENT_SEND: return true;
    case NBD_EVENT_TLS:
        connection->tls_next = true;
        handshake_send(connection);
        return false;
    case NBD_EVENT_LIST: names_list(connection); return false;
    case NBD_EVENT_CONTEXTS: names_look_up(connection, true); return false;
    case NBD_EVENT_EXPORT:
        if (event->opening)
            open_export(connection);
        else
            names_look_up(connection, false);
        return false;
    default: /* NBD_EVENT_END: DISC, or ABORT with its answer in out. */
        if (connection->session.out_bytes > 0) {
            connection->end_next = true;
            handshake_send(connection);
        } else {
            connection_end(connection);
        }
        return false;
    }
}

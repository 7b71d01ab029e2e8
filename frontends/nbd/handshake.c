/* SPDX-License-Identifier: Apache-2.0 */
/* What a client asks before it has an export: names, facts, TLS. */
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "nbd/server.h"

/* Names of a page always fit the codec's out buffer: 20 x (24 + 128) < 4096. */
enum { LIST_PAGE = 20 };

static bool gone(const struct connection *connection)
{
    return connection->state == CONNECTION_CLOSING || connection->state == CONNECTION_ENDING;
}

static void list_page(struct connection *connection);

static void tls_started(void *context, int result)
{
    struct connection *connection = context;
    connection->asking = false;
    if (gone(connection)) {
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
    if (result != 0 && !gone(connection)) {
        connection_cut(connection, LOG_LEVEL_DEBUG, "the client went away");
        return;
    }
    if (gone(connection))
        connection_settle(connection);
    else if (connection->end_next)
        connection_end(connection);
    else if (connection->tls_next)
        start_tls(connection);
    else if (connection->listing)
        list_page(connection);
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

/* The codec has an answer or lost its patience. */
static void answered(struct connection *connection, bool alive, const char *reason)
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

static void refuse_export(struct connection *connection, int error)
{
    const bool unknown = error == -ENOENT || error == -EINVAL;
    const char *sentence = unknown            ? "no such export"
                           : error == -ENOMEM ? "no memory to open it"
                           : error == -ENOSPC ? "no space to open it for writing"
                           : error == -EAGAIN ? "too many are being opened: try again"
                                              : "it cannot be opened: see the server's log";
    if (!unknown)
        log_line(LOG_LEVEL_ERROR, "opening volume %s: %s", connection->session.name,
                 iomesh_error_text(error));
    answered(connection,
             nbd_export_refused(&connection->session,
                                unknown ? NBD_REP_ERR_UNKNOWN : NBD_REP_ERR_POLICY, sentence),
             sentence);
}

static void fill_in(const struct connection *connection, uint64_t bytes, uint32_t sector_bytes,
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

void handshake_opened(struct connection *connection, struct export *export, int result)
{
    connection->asking = false;
    if (gone(connection)) {
        connection_settle(connection);
        return;
    }
    if (result != 0) {
        refuse_export(connection, result);
        return;
    }
    struct nbd_export facts;
    fill_in(connection, iomesh_volume_bytes(export->volume),
            iomesh_volume_sector_bytes(export->volume),
            iomesh_volume_is_read_only(export->volume) != 0, &facts);
    log_line(LOG_LEVEL_INFO, "connection %llu from %s: volume %s",
             (unsigned long long)connection->number,
             iomesh_stream_peer(connection->transport.stream), export->name);
    answered(connection, nbd_export_found(&connection->session, &facts), NULL);
}

static void shown(void *context, const struct iomesh_volume_info *info)
{
    struct connection *connection = context;
    struct iomesh_pool_status status = {.size = sizeof status};
    const bool pool_read_only = iomesh_pool_status(connection->server->pool, &status) == 0 &&
                                status.state == IOMESH_POOL_IS_READ_ONLY;
    fill_in(connection, info->bytes, info->sector_bytes,
            connection->server->read_only || pool_read_only, &connection->found);
}

static void show_ended(void *context, int result)
{
    struct connection *connection = context;
    connection->asking = false;
    if (gone(connection))
        connection_settle(connection);
    else if (result != 0)
        refuse_export(connection, result);
    else
        answered(connection, nbd_export_found(&connection->session, &connection->found), NULL);
}

/* INFO and the meta context options want facts: the volume stays closed if it is. */
static void look_up(struct connection *connection)
{
    struct server *server = connection->server;
    const char *name = connection->session.name;
    if (name[0] == '\0')
        name = server->default_export;
    connection->asking = true;
    if (name[0] == '\0' || strlen(name) > IOMESH_NAME_BYTES_MAX) {
        show_ended(connection, -ENOENT);
        return;
    }
    if (connection->opening) {
        export_open(connection, name);
        return;
    }
    const int result = iomesh_volume_show(server->pool, name, shown, show_ended, connection);
    if (result != 0)
        show_ended(connection, result);
}

static void listed(void *context, const struct iomesh_volume_info *info)
{
    struct connection *connection = context;
    if (gone(connection))
        return;
    nbd_list_add(&connection->session, info->name);
    memcpy(connection->list_after, info->name, strlen(info->name) + 1);
}

static void list_ended(void *context, int result)
{
    struct connection *connection = context;
    connection->asking = false;
    if (gone(connection)) {
        connection_settle(connection);
        return;
    }
    connection->listing = result == 1;
    if (result < 0)
        nbd_export_refused(&connection->session, NBD_REP_ERR_POLICY, "the list cannot be read");
    else if (result == 0)
        nbd_list_end(&connection->session);
    handshake_send(connection);
}

static void list_page(struct connection *connection)
{
    connection->asking = true;
    const int result = iomesh_volume_list(connection->server->pool, connection->list_after,
                                          LIST_PAGE, listed, list_ended, connection);
    if (result != 0)
        list_ended(connection, result);
}

bool handshake_event(struct connection *connection, const struct nbd_event *event)
{
    switch (event->kind) {
    case NBD_EVENT_SEND: return true;
    case NBD_EVENT_TLS:
        connection->tls_next = true;
        handshake_send(connection);
        return false;
    case NBD_EVENT_LIST:
        connection->list_after[0] = '\0';
        list_page(connection);
        return false;
    case NBD_EVENT_EXPORT:
        connection->opening = event->opening;
        look_up(connection);
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

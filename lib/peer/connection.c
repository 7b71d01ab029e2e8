/* SPDX-License-Identifier: Apache-2.0 */
/* Who is asked: the life of a connection, its handshake, its limits of time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"
#include "peer/server.h"

/* So that who waits for us is told in time that we live. */
#define CONNECTION_TICK_NS (200 * NS_PER_MS)

void connection_check(struct connection *connection)
{
    if (connection->state != CONNECTION_ENDING || connection->linked || connection->busy > 0)
        return;
    struct peer_server *server = connection->server;
    list_remove(&connection->node);
    list_remove(&connection->hungry);
    server->counts.connections--;
    free(connection->tasks);
    free(connection);
    server_check(server);
}

void connection_end(struct connection *connection)
{
    if (connection->state == CONNECTION_ENDING)
        return;
    connection->state = CONNECTION_ENDING;
    clock_cancel(connection->server->options.clock, &connection->timer);
    list_remove(&connection->hungry);
    link_close(&connection->link);
    task_end_all(connection);
}

static void connection_link_ended(struct link *link, int reason)
{
    struct connection *connection = CONTAINER_OF(link, struct connection, link);
    if (reason == IOMESH_CORRUPT || reason == IOMESH_FORMAT || reason == -EPROTO) {
        connection->server->counts.broken++;
        server_notice(connection->server, connection, "what it sends makes no sense");
    }
    connection_end(connection);
}

static void connection_link_closed(struct link *link)
{
    struct connection *connection = CONTAINER_OF(link, struct connection, link);
    connection->linked = false;
    connection->frame_sending = false;
    struct task *task = connection->receiving;
    connection->receiving = NULL;
    if (task != NULL)
        task_free(task); /* It looks whether that was the last. */
    else
        connection_check(connection);
}

/* --- The handshake ------------------------------------------------------------------------- */

static void connection_frame_sent(void *context, int result)
{
    struct connection *connection = context;
    connection->frame_sending = false;
    if (connection->state == CONNECTION_ENDING)
        return;
    if (result != 0 || connection->refusing)
        connection_end(connection);
}

void connection_frame_send(struct connection *connection, uint32_t bytes)
{
    connection->frame_part = (struct iovec){connection->frame, bytes};
    connection->frame_send = (struct iomesh_send){.parts = &connection->frame_part,
                                                  .part_count = 1,
                                                  .done = connection_frame_sent,
                                                  .context = connection};
    connection->frame_sending = true;
    if (net_send(connection->link.stream, &connection->frame_send) != 0) {
        connection->frame_sending = false;
        connection_end(connection);
    }
}

static int connection_refuse(struct connection *connection, int code, const char *sentence)
{
    struct wire_refused refused = {
        .code = code, .version_first = WIRE_VERSION, .version_last = WIRE_VERSION};
    (void)snprintf(refused.sentence, sizeof refused.sentence, "%s", sentence);
    uint8_t *aside = connection->frame + WIRE_HEADER_BYTES;
    struct wire_header header = {.type = WIRE_REFUSED,
                                 .aside_bytes = wire_refused_put(aside, &refused)};
    link_sum(&header, aside);
    wire_header_put(connection->frame, &header);
    connection->refusing = true;
    connection->server->counts.refused++;
    server_notice(connection->server, connection, refused.sentence);
    connection_frame_send(connection, WIRE_HEADER_BYTES + header.aside_bytes);
    return 0;
}

/* An engine has one connection to a store. What the old one asked for is dropped, as far as the
 * store still can. */
static void connection_replace(const struct connection *connection)
{
    LIST_EACH (&connection->server->connections, node) {
        struct connection *other = LIST_ENTRY(node, struct connection, node);
        if (other == connection || other->state != CONNECTION_UP ||
            other->served != connection->served || other->engine != connection->engine)
            continue;
        connection->server->counts.replaced++;
        connection_end(other);
        return;
    }
}

static void connection_welcome(struct connection *connection, const struct wire_hello *hello)
{
    struct peer_server *server = connection->server;
    connection->session = (uint64_t)hello->half << 32 | (uint32_t)prng_next(&server->prng);
    struct wire_welcome welcome = {
        .version = WIRE_VERSION,
        .store = connection->served->store,
        .session = connection->session,
        .incarnation = connection->served->incarnation,
        .requests_max = server->options.requests_max,
        .bytes_max = server->options.bytes_max,
        .room_blocks = connection->served->port->room_blocks,
    };
    memcpy(welcome.pool, server->options.pool, sizeof welcome.pool);
    memcpy(welcome.boot_id, connection->served->port->boot_id, sizeof welcome.boot_id);
    uint8_t *aside = connection->frame + WIRE_HEADER_BYTES;
    struct wire_header header = {.type = WIRE_WELCOME,
                                 .aside_bytes = wire_welcome_put(aside, &welcome)};
    link_sum(&header, aside);
    wire_header_put(connection->frame, &header);
    connection->state = CONNECTION_UP;
    clock_set_after(server->options.clock, &connection->timer, CONNECTION_TICK_NS);
    connection_frame_send(connection, WIRE_HEADER_BYTES + header.aside_bytes);
}

static int connection_hello(struct connection *connection, const struct wire_header *header,
                            const uint8_t *aside)
{
    struct peer_server *server = connection->server;
    struct wire_hello hello;
    char sentence[WIRE_SENTENCE_BYTES];
    if (connection->refusing)
        return 0;
    if (header->type != WIRE_HELLO || wire_hello_get(aside, header->aside_bytes, &hello) != 0)
        return -EPROTO;
    if (hello.version_first > WIRE_VERSION || hello.version_last < WIRE_VERSION) {
        (void)snprintf(sentence, sizeof sentence,
                       "this store speaks version %u of the wire, you speak %u to %u: use programs "
                       "of releases that follow each other",
                       WIRE_VERSION, hello.version_first, hello.version_last);
        return connection_refuse(connection, IOMESH_FORMAT, sentence);
    }
    bool other = memcmp(hello.pool, server->options.pool, sizeof hello.pool) != 0;
    connection->looks = other && uuid_is_none(hello.pool);
    if (other && !connection->looks)
        return connection_refuse(connection, -EXDEV, "the store here is of another pool");
    connection->served = connection->looks ? server_find_from(server, hello.store)
                                           : server_find(server, hello.store);
    if (connection->served == NULL) {
        (void)snprintf(sentence, sizeof sentence, "store %llu is not here",
                       (unsigned long long)hello.store);
        return connection_refuse(connection, -ENXIO, sentence);
    }
    connection->engine = hello.engine;
    if (task_open(connection) != 0)
        return connection_refuse(connection, -ENOMEM, "no memory for another connection");
    connection_replace(connection);
    connection_welcome(connection, &hello);
    return 0;
}

/* --- Frames -------------------------------------------------------------------------------- */

static int connection_ping(struct connection *connection)
{
    /* Who does not take the last answer gets no other. */
    if (connection->frame_sending)
        return 0;
    struct wire_header header = {.type = WIRE_PONG, .session = connection->session};
    wire_header_put(connection->frame, &header);
    connection_frame_send(connection, WIRE_HEADER_BYTES);
    return 0;
}

static int connection_frame(struct link *link, const struct wire_header *header,
                            const uint8_t *aside)
{
    struct connection *connection = CONTAINER_OF(link, struct connection, link);
    if (connection->state == CONNECTION_HELLO)
        return connection_hello(connection, header, aside);
    if (header->type == WIRE_PING)
        return connection_ping(connection);
    return task_frame(connection, header, aside);
}

static int connection_data(struct link *link)
{
    return task_data(CONTAINER_OF(link, struct connection, link));
}

static const struct link_ops connection_link_ops = {
    .frame = connection_frame,
    .data = connection_data,
    .ended = connection_link_ended,
    .closed = connection_link_closed,
};

/* --- Time ---------------------------------------------------------------------------------- */

static void connection_tick(struct timer *timer)
{
    struct connection *connection = CONTAINER_OF(timer, struct connection, timer);
    const struct peer_server_options *options = &connection->server->options;
    uint64_t now_ns = clock_now_ns(options->clock);
    if (connection->state == CONNECTION_HELLO) {
        connection_end(connection);
        return;
    }
    /* While its requests wait for us it is us who do not listen, also not to its pings. */
    if (connection->link.heard != connection->heard_before || connection->link.held)
        connection->heard_ns = now_ns;
    if (connection->link.held)
        (void)connection_ping(connection);
    if (connection->state != CONNECTION_UP)
        return;
    connection->heard_before = connection->link.heard;
    if (connection->sending > 0 && now_ns - connection->sent_ns > options->stall_ns) {
        connection->server->counts.stalled++;
        server_notice(connection->server, connection, "it does not take its answers");
        connection_end(connection);
        return;
    }
    if (now_ns - connection->heard_ns > options->silence_ns) {
        server_notice(connection->server, connection, "it says nothing any more");
        connection_end(connection);
        return;
    }
    clock_set_after(options->clock, timer, CONNECTION_TICK_NS);
}

void connection_open(struct peer_server *server, struct net_stream *stream)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        net_close(stream, NULL, NULL);
        return;
    }
    connection->server = server;
    connection->linked = true;
    connection->timer.fire = connection_tick;
    connection->heard_ns = clock_now_ns(server->options.clock);
    list_init(&connection->free);
    list_init(&connection->hungry);
    list_push_back(&server->connections, &connection->node);
    server->counts.connections++;
    server->counts.accepted++;
    clock_set_after(server->options.clock, &connection->timer, server->options.hello_ns);
    link_open(&connection->link, &connection_link_ops, stream);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Who is asked: stores, listeners, and everybody's memory. */
#include "peer/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A daemon that was killed keeps its port until its disk has answered: the next one waits. */
#define LISTEN_IN_USE_MS 10000u

void server_notice(struct peer_server *server, const struct connection *connection,
                   const char *sentence)
{
    char text[512];
    if (server->options.notice == NULL)
        return;
    (void)snprintf(text, sizeof text, "%s: %s",
                   connection->link.stream != NULL ? net_peer(connection->link.stream) : "?",
                   sentence);
    server->options.notice(server->options.context, text);
}

struct served *server_find(const struct peer_server *server, uint64_t store)
{
    LIST_EACH (&server->stores, node) {
        struct served *served = LIST_ENTRY(node, struct served, node);
        if (served->store == store && !served->removing)
            return served;
    }
    return NULL;
}

struct served *server_find_from(const struct peer_server *server, uint64_t store)
{
    struct served *first = NULL;
    LIST_EACH (&server->stores, node) {
        struct served *served = LIST_ENTRY(node, struct served, node);
        if (served->store >= store && !served->removing &&
            (first == NULL || served->store < first->store))
            first = served;
    }
    return first;
}

/* --- Going --------------------------------------------------------------------------------- */

static bool served_is_used(const struct peer_server *server, const struct served *served)
{
    LIST_EACH (&server->connections, node)
        if (LIST_ENTRY(node, struct connection, node)->served == served)
            return true;
    return false;
}

static void server_gone(struct peer_server *server)
{
    void (*closed)(void *context) = server->closed;
    void *context = server->closed_context;
    clock_cancel(server->options.clock, &server->feed);
    clock_cancel(server->options.clock, &server->starve);
    for (struct list *node; (node = list_pop_front(&server->stores)) != NULL;)
        free(LIST_ENTRY(node, struct served, node));
    free(server);
    closed(context);
}

/* What nobody uses any more goes; later, for whoever asked waits for a callback. */
static void server_run_later(struct timer *timer)
{
    struct peer_server *server = CONTAINER_OF(timer, struct peer_server, later);
    LIST_EACH_SAFE (&server->stores, node, after) {
        struct served *served = LIST_ENTRY(node, struct served, node);
        if (!served->removing || served_is_used(server, served))
            continue;
        void (*removed)(void *context) = served->removed;
        void *context = served->removed_context;
        list_remove(&served->node);
        free(served);
        removed(context);
        server_check(server);
        return; /* What ran may have changed the list. */
    }
    if (server->closing && list_empty(&server->connections) && list_empty(&server->listeners))
        server_gone(server);
}

void server_check(struct peer_server *server)
{
    clock_set_after(server->options.clock, &server->later, 0);
}

void peer_server_remove(struct peer_server *server, uint64_t store, void (*removed)(void *context),
                        void *context)
{
    struct served *served = server_find(server, store);
    assert(served != NULL);
    served->removing = true;
    served->removed = removed;
    served->removed_context = context;
    LIST_EACH_SAFE (&server->connections, node, after) {
        struct connection *connection = LIST_ENTRY(node, struct connection, node);
        if (connection->served == served)
            connection_end(connection);
    }
    server_check(server);
}

static void server_lock_doors(struct peer_server *server)
{
    LIST_EACH_SAFE (&server->listeners, node, after) {
        struct door *door = LIST_ENTRY(node, struct door, node);
        if (!door->locked)
            net_listener_close(door->listener);
        door->locked = true;
    }
}

void peer_server_drain(struct peer_server *server)
{
    server->draining = true;
    server_lock_doors(server);
}

void peer_server_close(struct peer_server *server, void (*closed)(void *context), void *context)
{
    assert(!server->closing);
    server->closing = true;
    server->closed = closed;
    server->closed_context = context;
    server_lock_doors(server);
    LIST_EACH_SAFE (&server->connections, node, after)
        connection_end(LIST_ENTRY(node, struct connection, node));
    server_check(server);
}

/* --- Coming -------------------------------------------------------------------------------- */

static void server_accepted(void *context, int result, struct net_stream *stream)
{
    struct door *door = context;
    struct peer_server *server = door->server;
    if (result == -ECANCELED) {
        list_remove(&door->node);
        free(door);
        server_check(server);
        return;
    }
    if (result != 0)
        return; /* The listener tries again by itself. */
    if (server->closing)
        net_close(stream, NULL, NULL);
    else
        connection_open(server, stream);
}

int peer_server_listen(struct peer_server *server, const char *address, const char **ret_address)
{
    struct door *door = calloc(1, sizeof *door);
    if (door == NULL)
        return FAIL(-ENOMEM, "%s: no memory", address);
    door->server = server;
    struct net_options options = {.streams_max = server->options.connections_max,
                                  .in_use_ms = LISTEN_IN_USE_MS};
    int result =
        net_listen(server->options.net, address, &options, server_accepted, door, &door->listener);
    if (result != 0) {
        free(door);
        return result;
    }
    list_push_back(&server->listeners, &door->node);
    if (ret_address != NULL)
        *ret_address = net_listener_address(door->listener);
    return 0;
}

int peer_server_add(struct peer_server *server, uint64_t store, uint64_t incarnation,
                    struct part_port *port)
{
    LIST_EACH (&server->stores, node)
        if (LIST_ENTRY(node, struct served, node)->store == store)
            return FAIL(-EEXIST, "store %llu is served already", (unsigned long long)store);
    struct served *served = calloc(1, sizeof *served);
    if (served == NULL)
        return FAIL(-ENOMEM, "store %llu: no memory", (unsigned long long)store);
    served->store = store;
    served->incarnation = incarnation;
    served->port = port;
    list_push_back(&server->stores, &served->node);
    return 0;
}

/* Buffers came back: each who waits for some tries once. */
static void server_feed(struct timer *timer)
{
    struct peer_server *server = CONTAINER_OF(timer, struct peer_server, feed);
    struct list now;
    list_init(&now);
    list_splice_back(&now, &server->hungry);
    for (struct list *node; (node = list_pop_front(&now)) != NULL;)
        link_go_on(&LIST_ENTRY(node, struct connection, hungry)->link);
}

static void server_starve_run(struct timer *timer)
{
    struct peer_server *server = CONTAINER_OF(timer, struct peer_server, starve);
    uint64_t now_ns = clock_now_ns(server->options.clock);
    struct connection *most = NULL;
    if (list_empty(&server->hungry))
        return;
    LIST_EACH (&server->connections, node) {
        struct connection *connection = LIST_ENTRY(node, struct connection, node);
        if (connection->state == CONNECTION_UP && connection->sending > 0 &&
            now_ns - connection->sent_ns >= server->options.starve_ns &&
            (most == NULL || connection->bytes > most->bytes))
            most = connection;
    }
    if (most != NULL) {
        server->counts.stalled++;
        server_notice(server, most, "it does not take its answers, and others wait for its memory");
        connection_end(most);
    }
    server_starve(server);
}

void server_starve(struct peer_server *server)
{
    if (!server->starve.set)
        clock_set_after(server->options.clock, &server->starve, server->options.starve_ns);
}

static void server_defaults(struct peer_server_options *options)
{
    LINK_DEFAULT(connections_max, 256);
    LINK_DEFAULT(requests_max, 128);
    LINK_DEFAULT(bytes_max, 8u << 20);
    LINK_DEFAULT(hello_ns, 5 * NS_PER_S);
    LINK_DEFAULT(silence_ns, 10 * NS_PER_S);
    LINK_DEFAULT(stall_ns, 10 * NS_PER_S);
    LINK_DEFAULT(starve_ns, NS_PER_S);
}

int peer_server_open(const struct peer_server_options *options, struct peer_server **ret_server)
{
    if (options->requests_max > PEER_REQUESTS_MAX)
        return FAIL(-EINVAL, "at most %u requests in flight, not %u", PEER_REQUESTS_MAX,
                    options->requests_max);
    struct peer_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return FAIL(-ENOMEM, "no memory for a server");
    server->options = *options;
    server_defaults(&server->options);
    server->prng.state = options->seed;
    server->later.fire = server_run_later;
    server->feed.fire = server_feed;
    server->starve.fire = server_starve_run;
    list_init(&server->stores);
    list_init(&server->connections);
    list_init(&server->hungry);
    list_init(&server->listeners);
    *ret_server = server;
    return 0;
}

struct peer_server_counts peer_server_counts(const struct peer_server *server)
{
    struct peer_server_counts counts = server->counts;
    LIST_EACH (&server->connections, node)
        counts.busy += LIST_ENTRY(node, struct connection, node)->busy;
    return counts;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One connection: a name, a socket, TLS, and gRPC's bytes through them. Nothing here decides what
 * becomes of a request; a connection says only that it retires or is dead, and why. */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "meta/etcd/inside.h"

#define READ_BYTES 65536u
#define READS_AT_ONCE 8u

static const struct grpc_events link_events = {
    .message = etcd_call_message,
    .ended = etcd_call_ended,
};

void etcd_link_retire(struct etcd_link *link, const char *word)
{
    if (link->retired || link->dead)
        return;
    link->retired = true;
    (void)snprintf(link->word, sizeof link->word, "%s", word);
}

void etcd_link_kill(struct etcd_link *link, const char *word)
{
    if (link->dead)
        return;
    link->dead = true;
    (void)snprintf(link->word, sizeof link->word, "%s", word);
}

static void link_move(struct etcd_link *link, enum etcd_link_state state)
{
    link->state = state;
    link->since_ns = link->heard_ns = etcd_now_ns();
}

/* --- The way to it ------------------------------------------------------------------------- */

static bool grpc_begin(struct etcd_link *link)
{
    struct grpc_options options = {
        .secure = link->ssl != NULL,
        .authority = link->name,
        .events = &link_events,
        .owner = link,
        .message_bytes_max = ETCD_ANSWER_BYTES_MAX,
        .held_bytes_max = 2 * ETCD_ANSWER_BYTES_MAX,
        .queued_bytes_max = 2 * META_REQUEST_BYTES_MAX,
    };
    if (grpc_session_new(&options, &link->grpc) != 0) {
        etcd_link_kill(link, base_last_error());
        return false;
    }
    link_move(link, LINK_GREETING);
    etcd_greet(link);
    return true;
}

static void secure(struct etcd_link *link)
{
    const uint8_t *agreed;
    unsigned length;
    char word[160];
    ERR_clear_error();
    int result = SSL_do_handshake(link->ssl);
    if (result != 1) {
        int wants = SSL_get_error(link->ssl, result);
        link->wants_write = wants == SSL_ERROR_WANT_WRITE;
        if (wants != SSL_ERROR_WANT_READ && wants != SSL_ERROR_WANT_WRITE) {
            etcd_tls_word(link->ssl, word, sizeof word);
            etcd_link_kill(link, word);
        }
        return;
    }
    link->wants_write = false;
    SSL_get0_alpn_selected(link->ssl, &agreed, &length);
    if (length != 2 || memcmp(agreed, "h2", 2) != 0)
        etcd_link_kill(link, "it does not offer HTTP/2 over TLS");
    else
        grpc_begin(link);
}

static void connected(struct etcd_link *link)
{
    struct meta_etcd *etcd = link->etcd;
    if (etcd->tls == NULL) {
        grpc_begin(link);
        return;
    }
    link->ssl = etcd_tls_new(etcd->tls, link->fd, etcd->place.endpoints[link->endpoint].host);
    if (link->ssl == NULL) {
        etcd_link_kill(link, "no memory for TLS");
        return;
    }
    link_move(link, LINK_SECURING);
    secure(link);
}

/* Begins with the address after `link->address`, until one does not refuse at once. */
static void connect_next(struct etcd_link *link, int error)
{
    const int one = 1;
    while (link->address != NULL) {
        const struct addrinfo *to = link->address;
        link->address = to->ai_next;
        if (link->fd >= 0)
            close(link->fd);
        link->fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
        if (link->fd < 0) {
            error = errno;
            continue;
        }
        (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        link_move(link, LINK_CONNECTING);
        if (connect(link->fd, to->ai_addr, to->ai_addrlen) == 0) {
            connected(link);
            return;
        }
        if (errno == EINPROGRESS)
            return;
        error = errno;
    }
    etcd_link_kill(link, strerror(error));
}

void etcd_link_begin(struct meta_etcd *etcd)
{
    struct etcd_link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return; /* Tried again. */
    link->etcd = etcd;
    link->fd = -1;
    link->begun_ns = etcd_now_ns();
    link->endpoint = etcd->endpoint_next++ % etcd->place.endpoint_count;
    list_init(&link->calls);
    list_push_back(&etcd->links, &link->node);
    etcd->current = link;
    const struct meta_etcd_endpoint *to = &etcd->place.endpoints[link->endpoint];
    (void)snprintf(link->name, sizeof link->name,
                   strchr(to->host, ':') != NULL ? "[%s]:%s" : "%s:%s", to->host, to->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    link_move(link, LINK_CONNECTING);
    int result = getaddrinfo(to->host, to->port, &hints, &link->addresses);
    if (result != 0) {
        etcd_link_kill(link, gai_strerror(result));
        return;
    }
    link->address = link->addresses;
    connect_next(link, ENOENT);
}

void etcd_link_close(struct etcd_link *link)
{
    struct meta_etcd *etcd = link->etcd;
    if (etcd->current == link)
        etcd->current = NULL;
    if (link->grpc != NULL)
        grpc_lost(link->grpc, link->word);
    assert(list_empty(&link->calls));
    grpc_session_free(link->grpc);
    SSL_free(link->ssl);
    if (link->fd >= 0)
        close(link->fd);
    if (link->addresses != NULL)
        freeaddrinfo(link->addresses);
    list_remove(&link->node);
    free(link);
}

/* --- Bytes --------------------------------------------------------------------------------- */

/* How many went; 0: not now; -1: dead. */
static ssize_t bytes_send(struct etcd_link *link, const uint8_t *data, size_t length)
{
    if (link->ssl == NULL) {
        ssize_t sent = send(link->fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            return sent;
        if (errno == EAGAIN || errno == EINTR)
            return 0;
        etcd_link_kill(link, strerror(errno));
        return -1;
    }
    char word[160];
    ERR_clear_error();
    int sent = SSL_write(link->ssl, data, (int)length);
    if (sent > 0)
        return sent;
    int wants = SSL_get_error(link->ssl, sent);
    if (wants == SSL_ERROR_WANT_WRITE || wants == SSL_ERROR_WANT_READ)
        return 0;
    etcd_tls_word(link->ssl, word, sizeof word);
    etcd_link_kill(link, word);
    return -1;
}

void etcd_link_flush(struct etcd_link *link)
{
    const uint8_t *data;
    size_t length;
    if (link->grpc == NULL)
        return;
    link->wants_write = false;
    while (!link->dead && (length = grpc_output(link->grpc, &data)) > 0) {
        ssize_t sent = bytes_send(link, data, length);
        if (sent < 0)
            return;
        if (sent == 0) {
            link->wants_write = true;
            return;
        }
        grpc_taken(link->grpc, (size_t)sent);
    }
    if (grpc_over(link->grpc))
        etcd_link_kill(link, "it ended the connection");
}

/* How many came; 0: none now; -1: dead. */
static ssize_t bytes_receive(struct etcd_link *link, uint8_t *data, size_t room)
{
    if (link->ssl == NULL) {
        ssize_t got = recv(link->fd, data, room, MSG_DONTWAIT);
        if (got > 0)
            return got;
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        etcd_link_kill(link, got == 0 ? "it closed the connection" : strerror(errno));
        return -1;
    }
    char word[160];
    ERR_clear_error();
    int got = SSL_read(link->ssl, data, (int)room);
    if (got > 0)
        return got;
    int wants = SSL_get_error(link->ssl, got);
    if (wants == SSL_ERROR_WANT_WRITE || wants == SSL_ERROR_WANT_READ)
        return 0;
    if (wants == SSL_ERROR_ZERO_RETURN)
        (void)snprintf(word, sizeof word, "it closed the connection");
    else
        etcd_tls_word(link->ssl, word, sizeof word);
    etcd_link_kill(link, word);
    return -1;
}

static void receive(struct etcd_link *link)
{
    uint8_t data[READ_BYTES];
    for (unsigned i = 0; i < READS_AT_ONCE && !link->dead; i++) {
        ssize_t got = bytes_receive(link, data, sizeof data);
        if (got <= 0)
            return;
        link->heard_ns = etcd_now_ns();
        if (grpc_receive(link->grpc, data, (size_t)got) != 0)
            etcd_link_kill(link, base_last_error());
        else if (grpc_leaving(link->grpc))
            etcd_link_retire(link, "it is going away");
    }
}

static void finish_connecting(struct etcd_link *link)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
        error = errno;
    if (error != 0)
        connect_next(link, error);
    else
        connected(link);
}

void etcd_link_io(struct etcd_link *link, short events)
{
    if (events == 0 || link->dead)
        return;
    switch (link->state) {
    case LINK_CONNECTING: finish_connecting(link); break;
    case LINK_SECURING: secure(link); break;
    case LINK_GREETING:
    case LINK_UP:
    case LINK_LEAVING:
        if ((events & (POLLIN | POLLHUP | POLLERR)) != 0 || link->ssl != NULL)
            receive(link);
        break;
    }
}

short etcd_link_events(const struct etcd_link *link)
{
    if (link->state == LINK_CONNECTING)
        return POLLOUT;
    return link->wants_write ? POLLIN | POLLOUT : POLLIN;
}

/* --- The clock ----------------------------------------------------------------------------- */

/* Asks for a sign of life once it has been silent for a while, though it owes something. Members
 * end connections on which they are asked too often. */
static uint64_t tick_up(struct etcd_link *link, uint64_t now)
{
    uint64_t silence_ns = link->etcd->silence_ns;
    bool haste = false; /* Somebody waits for an answer, and not for what may happen. */
    LIST_EACH (&link->calls, node)
        haste |= LIST_ENTRY(node, struct etcd_call, node)->kind != CALL_WATCH;
    if (list_empty(&link->calls) && !link->wants_write)
        return UINT64_MAX;
    if (link->ping_ns > link->heard_ns) {
        if (now >= link->ping_ns + silence_ns)
            etcd_link_kill(link, "it gives no sign of life");
        return link->ping_ns + silence_ns;
    }
    uint64_t due = link->heard_ns + silence_ns;
    if (!haste || link->pings >= ETCD_PINGS_AT_ONCE)
        due = MAX(due, link->ping_ns + ETCD_PING_GAP_NS);
    if (now < due)
        return due;
    grpc_ping(link->grpc);
    link->ping_ns = now;
    link->pings += haste;
    return now + silence_ns;
}

uint64_t etcd_link_tick(struct etcd_link *link, uint64_t now)
{
    switch (link->state) {
    case LINK_CONNECTING:
    case LINK_SECURING:
        if (now < link->since_ns + ETCD_CONNECT_NS)
            return link->since_ns + ETCD_CONNECT_NS;
        if (link->state == LINK_CONNECTING && link->address != NULL)
            connect_next(link, ETIMEDOUT);
        else
            etcd_link_kill(link, "it does not answer");
        return now;
    case LINK_GREETING:
        if (now >= link->since_ns + ETCD_GREET_NS)
            etcd_link_kill(link, "it does not answer");
        return MIN(link->since_ns + ETCD_GREET_NS, tick_up(link, now));
    case LINK_UP:
    case LINK_LEAVING: break;
    }
    return tick_up(link, now);
}

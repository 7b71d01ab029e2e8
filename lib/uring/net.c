/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The net of the real world: streams and listeners as host/net.h names them.
 *
 *   connect ──▶ RESOLVING (a work thread, if the host is a name) ──▶ CONNECTING ──▶ `connected`
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "uring/stream.h"

/* --- Streams ------------------------------------------------------------------------------- */

static struct iomesh_stream *real(struct net_stream *stream)
{
    return CONTAINER_OF(stream, struct iomesh_stream, net);
}

static int net_real_fill(struct net_stream *stream, uint32_t bytes, net_done_fn *done,
                         void *context)
{
    return uring_stream_fill(real(stream), bytes, done, context);
}

static uint32_t net_real_peek(struct net_stream *stream, const void **ret_data)
{
    return uring_stream_peek(real(stream), ret_data);
}

static void net_real_consume(struct net_stream *stream, uint32_t bytes)
{
    uring_stream_consume(real(stream), bytes);
}

static int net_real_receive(struct net_stream *stream, void *data, uint32_t length,
                            net_done_fn *done, void *context)
{
    return uring_stream_receive(real(stream), data, length, done, context);
}

static int net_real_send(struct net_stream *stream, struct iomesh_send *send)
{
    return uring_stream_send(real(stream), send);
}

static void net_real_close(struct net_stream *stream, net_done_fn *closed, void *context)
{
    uring_stream_close(real(stream), closed, context);
}

static const char *net_real_peer(const struct net_stream *stream)
{
    return uring_stream_peer(
        (const struct iomesh_stream *)(const void *)((const char *)stream -
                                                     offsetof(struct iomesh_stream, net)));
}

const struct net_stream_ops uring_net_stream_ops = {
    .fill = net_real_fill,
    .peek = net_real_peek,
    .consume = net_real_consume,
    .receive = net_real_receive,
    .send = net_real_send,
    .close = net_real_close,
    .peer = net_real_peer,
};

/* "HOST:PORT" is "tcp:HOST:PORT" in this room. */
static int net_real_address(const char *address, char ret_text[NET_ADDRESS_BYTES + 4])
{
    bool has_kind = strncmp(address, "unix:", 5) == 0 || strncmp(address, "tcp:", 4) == 0;
    if (strlen(address) >= NET_ADDRESS_BYTES)
        return FAIL(-ENAMETOOLONG, "an address of %zu bytes: it has fewer than %u", strlen(address),
                    NET_ADDRESS_BYTES);
    (void)snprintf(ret_text, NET_ADDRESS_BYTES + 4, "%s%s", has_kind ? "" : "tcp:", address);
    return 0;
}

static void net_real_options(const struct net_options *given,
                             struct iomesh_stream_options *ret_options)
{
    *ret_options = (struct iomesh_stream_options)IOMESH_STREAM_OPTIONS_INIT;
    if (given == NULL)
        return;
    ret_options->buffer_bytes = given->buffer_bytes;
    ret_options->streams_max = given->streams_max;
    ret_options->mode = given->mode;
    ret_options->in_use_ms = given->in_use_ms;
}

/* --- Listening ----------------------------------------------------------------------------- */

struct real_listener {
    struct net_listener net;
    struct iomesh_listener *listener;
    net_connected_fn *accept;
    void *context;
};

static void net_real_accepted(void *context, int result, struct iomesh_stream *stream)
{
    struct real_listener *listener = context;
    net_connected_fn *accept = listener->accept;
    void *accept_context = listener->context;
    if (result == -ECANCELED)
        free(listener);
    accept(accept_context, result, stream != NULL ? &stream->net : NULL);
}

static int net_real_listen(struct net *net, const char *address, const struct net_options *given,
                           net_connected_fn *accept, void *context,
                           struct net_listener **ret_listener)
{
    struct uring *uring = CONTAINER_OF(net, struct uring, net);
    char text[NET_ADDRESS_BYTES + 4];
    int result = net_real_address(address, text);
    if (result != 0)
        return result;
    struct real_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return FAIL(-ENOMEM, "%s: no memory", address);
    *listener = (struct real_listener){.net.net = net, .accept = accept, .context = context};
    struct iomesh_stream_options options;
    net_real_options(given, &options);
    result = uring_listen(uring, text, &options, net_real_accepted, listener, &listener->listener);
    if (result != 0) {
        free(listener);
        return result;
    }
    *ret_listener = &listener->net;
    return 0;
}

static const char *net_real_listener_address(const struct net_listener *net)
{
    const struct real_listener *listener = (const struct real_listener *)(const void *)net;
    const char *text = uring_listener_address(listener->listener);
    return strncmp(text, "tcp:", 4) == 0 ? text + 4 : text;
}

static void net_real_listener_close(struct net_listener *net)
{
    uring_listener_close(CONTAINER_OF(net, struct real_listener, net)->listener);
}

/* --- Connecting ---------------------------------------------------------------------------- */

struct real_attempt {
    struct net_attempt net;
    struct uring *uring;
    struct stream_connection *connection; /* Once the address is known. */
    bool canceled, told;
    int result;
    struct stream_options options;
    struct stream_address address;
    char text[NET_ADDRESS_BYTES + 4];
    struct work_job resolve; /* Looks at `text`, fills `address` and `result`, nothing else. */
    bool resolving;
    struct uring_later later;
    net_connected_fn *connected;
    void *context;
};

/* A resolver that is at work keeps the attempt. */
static void attempt_tell(struct real_attempt *attempt, int result, struct iomesh_stream *stream)
{
    net_connected_fn *connected = attempt->connected;
    void *context = attempt->context;
    attempt->told = true;
    list_remove(&attempt->later.node);
    if (!attempt->resolving)
        free(attempt);
    connected(context, result, stream != NULL ? &stream->net : NULL);
}

static void attempt_connected(void *context, int result, struct iomesh_stream *stream)
{
    attempt_tell(context, result, stream);
}

static void attempt_connect(struct real_attempt *attempt)
{
    int result = attempt->canceled ? -ECANCELED : attempt->result;
    if (result == 0)
        result = stream_connection_open(attempt->uring, &attempt->address, &attempt->options,
                                        attempt_connected, attempt, &attempt->connection);
    if (result != 0)
        attempt_tell(attempt, result, NULL);
}

static void attempt_resolve(struct work_job *job)
{
    struct real_attempt *attempt = CONTAINER_OF(job, struct real_attempt, resolve);
    int result = address_parse(attempt->text, false, &attempt->address);
    attempt->result = result == -EINVAL ? -ENOENT : result;
}

static void attempt_resolved(struct work_job *job)
{
    struct real_attempt *attempt = CONTAINER_OF(job, struct real_attempt, resolve);
    attempt->resolving = false;
    if (attempt->told)
        free(attempt);
    else
        attempt_connect(attempt);
}

static void attempt_run_later(struct uring_later *later)
{
    attempt_tell(CONTAINER_OF(later, struct real_attempt, later), -ECANCELED, NULL);
}

static int attempt_start(struct real_attempt *attempt)
{
    attempt->result = address_parse_numeric(attempt->text, false, &attempt->address);
    if (attempt->result == -ENOENT) {
        attempt->resolving = true;
        attempt->resolve = (struct work_job){.run = attempt_resolve, .done = attempt_resolved};
        work_submit(&attempt->uring->work, &attempt->resolve);
        return 0;
    }
    if (attempt->result != 0)
        return attempt->result;
    return stream_connection_open(attempt->uring, &attempt->address, &attempt->options,
                                  attempt_connected, attempt, &attempt->connection);
}

static int net_real_connect(struct net *net, const char *address, const struct net_options *given,
                            net_connected_fn *connected, void *context,
                            struct net_attempt **ret_attempt)
{
    struct real_attempt *attempt = calloc(1, sizeof *attempt);
    if (attempt == NULL)
        return FAIL(-ENOMEM, "%s: no memory", address);
    attempt->net.net = net;
    attempt->uring = CONTAINER_OF(net, struct uring, net);
    attempt->connected = connected;
    attempt->context = context;
    attempt->later.run = attempt_run_later;
    list_init(&attempt->later.node);
    struct iomesh_stream_options options;
    net_real_options(given, &options);
    int result = stream_options_check(&options, &attempt->options);
    if (result == 0)
        result = net_real_address(address, attempt->text);
    if (result == 0)
        result = attempt_start(attempt);
    if (result != 0) {
        free(attempt);
        return result;
    }
    *ret_attempt = &attempt->net;
    return 0;
}

static void net_real_attempt_cancel(struct net_attempt *net)
{
    struct real_attempt *attempt = CONTAINER_OF(net, struct real_attempt, net);
    attempt->canceled = true;
    if (attempt->connection != NULL)
        stream_connection_cancel(attempt->connection);
    else
        uring_later_start(attempt->uring, &attempt->later);
}

const struct net_ops uring_net_ops = {
    .listen = net_real_listen,
    .listener_address = net_real_listener_address,
    .listener_close = net_real_listener_close,
    .connect = net_real_connect,
    .attempt_cancel = net_real_attempt_cancel,
};

struct net *uring_net(struct uring *uring)
{
    return &uring->net;
}

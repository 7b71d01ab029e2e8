/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The net: streams are passed on when both ends have shown who they are.
 *
 *   attempt:   CONNECTING below ──▶ GREETING ──▶ `connected`
 *   listener:  a stream below ────▶ GREETING ──▶ `accept`; or it is closed, and `notice` hears why
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inside.h"

#define PLAIN_BYTES (64u << 10)
#define PARTING_NS (500 * NS_PER_MS) /* For the other end to hear why. */

static struct tls_net *net_of(struct net *net)
{
    return CONTAINER_OF(net, struct tls_net, net);
}

static bool is_sealed(const char *address)
{
    return strncmp(address, "unix:", 5) != 0;
}

static uint32_t plain_bytes(const struct net_options *options)
{
    return options == NULL || options->buffer_bytes == 0 ? PLAIN_BYTES : options->buffer_bytes;
}

/* --- Greeting ------------------------------------------------------------------------------- */

/* A stream on its way to who wants it. */
struct greeting {
    struct tls_net *net;
    struct tls_stream *stream;
    struct timer timer; /* It takes too long. */
    struct list node;   /* Of a listener's. */
    int result;
    bool parting; /* Refused; the other end is being told. */
    bool closing;
    char sentence[NET_ADDRESS_BYTES + 300];
    /* Once it is over, and the stream closed if it failed: NULL then. */
    void (*over)(struct greeting *greeting, int result, struct net_stream *stream);
};

static void greeting_closed(void *context, int result)
{
    struct greeting *greeting = context;
    (void)result;
    greeting->over(greeting, greeting->result, NULL);
}

static void greeting_close(struct greeting *greeting)
{
    if (greeting->closing)
        return;
    greeting->closing = true;
    clock_cancel(greeting->net->options.clock, &greeting->timer);
    net_close(&greeting->stream->net, greeting_closed, greeting);
}

static void greeting_judge(struct greeting *greeting, int result, const char *why)
{
    greeting->result = result;
    (void)snprintf(greeting->sentence, sizeof greeting->sentence, "%s: %s",
                   net_peer(&greeting->stream->net), why);
}

static void greeting_fail(struct greeting *greeting, int result, const char *why)
{
    if (greeting->closing)
        return;
    if (!greeting->parting)
        greeting_judge(greeting, result, why);
    greeting_close(greeting);
}

static void greeting_parted(void *context, int result)
{
    (void)result;
    greeting_close(context);
}

static void greeting_refuse(struct greeting *greeting, int result, const char *why)
{
    greeting_judge(greeting, result, why);
    greeting->parting = true;
    clock_set_after(greeting->net->options.clock, &greeting->timer, PARTING_NS);
    tls_stream_part(greeting->stream, greeting_parted, greeting);
}

static void greeting_late(struct timer *timer)
{
    greeting_fail(CONTAINER_OF(timer, struct greeting, timer), -ETIMEDOUT,
                  "the TLS handshake takes too long");
}

static void greeting_done(void *context, int result)
{
    struct greeting *greeting = context;
    struct tls_stream *stream = greeting->stream;
    if (greeting->closing)
        return;
    if (result != 0) {
        const char *why = stream->sentence;
        if (why == NULL)
            greeting_fail(greeting, result, "the connection ended in the TLS handshake");
        else if (stream->refused)
            greeting_fail(greeting, result, why);
        else
            greeting_refuse(greeting, result, why);
        return;
    }
    clock_cancel(greeting->net->options.clock, &greeting->timer);
    greeting->over(greeting, 0, &stream->net);
}

/* 0: `over` will run, and `below` is not the caller's any more. */
static int greeting_begin(struct greeting *greeting, struct net_stream *below, bool server,
                          uint32_t bytes)
{
    struct tls_net *net = greeting->net;
    int result = tls_stream_open(net, below, server, bytes, &greeting->stream);
    if (result != 0)
        return result;
    greeting->timer.fire = greeting_late;
    clock_set_after(net->options.clock, &greeting->timer, net->options.handshake_ns);
    return tls_stream_greet(greeting->stream, greeting_done, greeting);
}

/* --- Listening ------------------------------------------------------------------------------ */

struct tls_listener {
    struct net_listener net;
    struct tls_net *owner;
    struct net_listener *below; /* NULL: it is gone. */
    struct list greetings;      /* struct greeting */
    uint32_t bytes;
    net_connected_fn *accept;
    void *context;
};

struct arrival {
    struct greeting greeting;
    struct tls_listener *listener;
};

/* Its last word, when nobody is being greeted any more. */
static void listener_check(struct tls_listener *listener)
{
    if (listener->below != NULL || !list_empty(&listener->greetings))
        return;
    net_connected_fn *tell = listener->accept;
    void *context = listener->context;
    free(listener);
    tell(context, -ECANCELED, NULL);
}

static void arrival_over(struct greeting *greeting, int result, struct net_stream *stream)
{
    struct arrival *arrival = CONTAINER_OF(greeting, struct arrival, greeting);
    struct tls_listener *listener = arrival->listener;
    const struct tls_options *options = &listener->owner->options;
    list_remove(&greeting->node);
    if (result != 0 && result != -ECANCELED && options->notice != NULL)
        options->notice(options->context, greeting->sentence);
    free(arrival);
    if (stream != NULL)
        listener->accept(listener->context, 0, stream);
    listener_check(listener);
}

static void arrived(void *context, int result, struct net_stream *below)
{
    struct tls_listener *listener = context;
    if (result == -ECANCELED) {
        listener->below = NULL;
        LIST_EACH_SAFE (&listener->greetings, node, after)
            greeting_fail(LIST_ENTRY(node, struct greeting, node), -ECANCELED, "it is closed");
        listener_check(listener);
        return;
    }
    if (result != 0) {
        listener->accept(listener->context, result, NULL);
        return;
    }
    struct arrival *arrival = calloc(1, sizeof *arrival);
    if (arrival != NULL) {
        arrival->listener = listener;
        arrival->greeting.net = listener->owner;
        arrival->greeting.over = arrival_over;
        list_push_back(&listener->greetings, &arrival->greeting.node);
        if (greeting_begin(&arrival->greeting, below, true, listener->bytes) == 0)
            return;
        list_remove(&arrival->greeting.node);
        free(arrival);
    }
    net_close(below, NULL, NULL);
    listener->accept(listener->context, -ENOMEM, NULL);
}

static int tls_listen(struct net *net, const char *address, const struct net_options *options,
                      net_connected_fn *accept, void *context, struct net_listener **ret_listener)
{
    struct tls_net *owner = net_of(net);
    if (!is_sealed(address))
        return net_listen(owner->options.below, address, options, accept, context, ret_listener);
    struct tls_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return FAIL(-ENOMEM, "%s: no memory", address);
    *listener = (struct tls_listener){.net.net = net,
                                      .owner = owner,
                                      .bytes = plain_bytes(options),
                                      .accept = accept,
                                      .context = context};
    list_init(&listener->greetings);
    int result =
        net_listen(owner->options.below, address, options, arrived, listener, &listener->below);
    if (result != 0) {
        free(listener);
        return result;
    }
    *ret_listener = &listener->net;
    return 0;
}

static const char *tls_listener_address(const struct net_listener *net)
{
    const struct tls_listener *listener = (const struct tls_listener *)(const void *)net;
    return net_listener_address(listener->below);
}

static void tls_listener_close(struct net_listener *net)
{
    net_listener_close(CONTAINER_OF(net, struct tls_listener, net)->below);
}

/* --- Connecting ----------------------------------------------------------------------------- */

struct tls_attempt {
    struct net_attempt net;
    struct greeting greeting;
    struct net_attempt *below; /* NULL: it is connected. */
    uint32_t bytes;
    net_connected_fn *connected;
    void *context;
};

static void attempt_over(struct greeting *greeting, int result, struct net_stream *stream)
{
    struct tls_attempt *attempt = CONTAINER_OF(greeting, struct tls_attempt, greeting);
    net_connected_fn *connected = attempt->connected;
    void *context = attempt->context;
    if (result != 0)
        (void)FAIL(result, "%s", greeting->sentence);
    free(attempt);
    connected(context, result, stream);
}

static void attempt_connected(void *context, int result, struct net_stream *below)
{
    struct tls_attempt *attempt = context;
    attempt->below = NULL;
    if (result == 0) {
        result = greeting_begin(&attempt->greeting, below, false, attempt->bytes);
        if (result == 0)
            return;
        net_close(below, NULL, NULL);
    }
    net_connected_fn *connected = attempt->connected;
    void *connected_context = attempt->context;
    free(attempt);
    connected(connected_context, result, NULL);
}

static int tls_connect(struct net *net, const char *address, const struct net_options *options,
                       net_connected_fn *connected, void *context, struct net_attempt **ret_attempt)
{
    struct tls_net *owner = net_of(net);
    if (!is_sealed(address))
        return net_connect(owner->options.below, address, options, connected, context, ret_attempt);
    struct tls_attempt *attempt = calloc(1, sizeof *attempt);
    if (attempt == NULL)
        return FAIL(-ENOMEM, "%s: no memory", address);
    *attempt = (struct tls_attempt){.net.net = net,
                                    .greeting = {.net = owner, .over = attempt_over},
                                    .bytes = plain_bytes(options),
                                    .connected = connected,
                                    .context = context};
    int result = net_connect(owner->options.below, address, options, attempt_connected, attempt,
                             &attempt->below);
    if (result != 0) {
        free(attempt);
        return result;
    }
    *ret_attempt = &attempt->net;
    return 0;
}

static void tls_attempt_cancel(struct net_attempt *net)
{
    struct tls_attempt *attempt = CONTAINER_OF(net, struct tls_attempt, net);
    if (attempt->below != NULL)
        net_attempt_cancel(attempt->below);
    else
        greeting_fail(&attempt->greeting, -ECANCELED, "canceled");
}

/* --- Life ------------------------------------------------------------------------------------ */

static const struct net_ops tls_ops = {
    .listen = tls_listen,
    .listener_address = tls_listener_address,
    .listener_close = tls_listener_close,
    .connect = tls_connect,
    .attempt_cancel = tls_attempt_cancel,
};

int tls_net_reload(struct net *net)
{
    struct tls_net *tls = net_of(net);
    SSL_CTX *context;
    int result = tls_context_open(tls->directory, &context);
    if (result != 0)
        return result;
    SSL_CTX_free(tls->context); /* Streams that use it keep it. */
    tls->context = context;
    return 0;
}

int tls_net_open(const struct tls_options *options, struct net **ret_net)
{
    struct tls_net *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        return FAIL(-ENOMEM, "no memory for TLS");
    tls->net.ops = &tls_ops;
    tls->options = *options;
    if (tls->options.handshake_ns == 0)
        tls->options.handshake_ns = 5 * NS_PER_S;
    tls->directory = strdup(options->directory);
    tls->bio = tls_stream_bio();
    int result = tls->directory == NULL || tls->bio == NULL ? FAIL(-ENOMEM, "no memory for TLS")
                                                            : tls_net_reload(&tls->net);
    if (result != 0) {
        tls_net_close(&tls->net);
        return result;
    }
    *ret_net = &tls->net;
    return 0;
}

void tls_net_close(struct net *net)
{
    if (net == NULL)
        return;
    struct tls_net *tls = net_of(net);
    SSL_CTX_free(tls->context);
    BIO_meth_free(tls->bio);
    free(tls->directory);
    free(tls);
}

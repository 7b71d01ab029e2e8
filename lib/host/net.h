/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A net: streams of bytes between ends that have addresses, "HOST:PORT" or "unix:PATH".
 *
 * What the other end sends arrives in order and whole, or not: a stream stalls, or breaks with a
 * negative code. Nothing here promises that bytes are right; who must know sends sums.
 *
 * Receiving and sending are as <iomesh/sys/stream.h> tells, and its words for both are used: a
 * stream has a buffer of its own for small things; large ones are received where they shall be.
 * Every completion comes from a turn, never inside the call. A stream above another one (TLS) has
 * the same table.
 */
#ifndef HOST_NET_H
#define HOST_NET_H

#include <iomesh/sys/stream.h>

#include "base/base.h"

#define NET_ADDRESS_BYTES 256u /* With the zero at the end. */

struct net;
struct net_stream;
struct net_listener;
struct net_attempt;

typedef void net_done_fn(void *context, int result);
/* stream: NULL unless result is 0; yours until net_close(). */
typedef void net_connected_fn(void *context, int result, struct net_stream *stream);

struct net_options {
    uint32_t buffer_bytes; /* Of a stream for receiving, 4 KiB .. 1 MiB; 0: 64 KiB. */
    uint32_t streams_max;  /* Of a listener: accepted and not yet closed; 0: 1024. More wait. */
    uint32_t mode;         /* Permissions of a unix socket; 0: 0600. */
    uint32_t in_use_ms;    /* Listening blocks so long for an address in use; 0: not at all. */
};

struct net_ops {
    int (*listen)(struct net *net, const char *address, const struct net_options *options,
                  net_connected_fn *accept, void *context, struct net_listener **ret_listener);
    const char *(*listener_address)(const struct net_listener *listener);
    void (*listener_close)(struct net_listener *listener);
    int (*connect)(struct net *net, const char *address, const struct net_options *options,
                   net_connected_fn *connected, void *context, struct net_attempt **ret_attempt);
    void (*attempt_cancel)(struct net_attempt *attempt);
};

struct net_stream_ops {
    int (*fill)(struct net_stream *stream, uint32_t bytes, net_done_fn *done, void *context);
    uint32_t (*peek)(struct net_stream *stream, const void **ret_data);
    void (*consume)(struct net_stream *stream, uint32_t bytes);
    int (*receive)(struct net_stream *stream, void *data, uint32_t length, net_done_fn *done,
                   void *context);
    int (*send)(struct net_stream *stream, struct iomesh_send *send);
    void (*close)(struct net_stream *stream, net_done_fn *closed, void *context);
    const char *(*peer)(const struct net_stream *stream);
};

struct net {
    const struct net_ops *ops;
};

struct net_stream {
    const struct net_stream_ops *ops;
};

struct net_listener {
    const struct net *net;
};

struct net_attempt {
    const struct net *net;
};

/*
 * Listen. `accept` runs for each stream that comes in; with a negative result and no stream when
 * one could not be had (the listener goes on by itself), last with -ECANCELED after
 * net_listener_close(). Port 0: any that is free.
 * 0, or -EINVAL, -EADDRINUSE, -EACCES, … with a sentence.
 */
static inline int net_listen(struct net *net, const char *address,
                             const struct net_options *options, net_connected_fn *accept,
                             void *context, struct net_listener **ret_listener)
{
    return net->ops->listen(net, address, options, accept, context, ret_listener);
}

/* As it would be given to net_connect(), with the port that was found. */
static inline const char *net_listener_address(const struct net_listener *listener)
{
    return listener->net->ops->listener_address(listener);
}

/* Its streams stay open. NULL is fine. */
static inline void net_listener_close(struct net_listener *listener)
{
    if (listener != NULL)
        listener->net->ops->listener_close(listener);
}

/*
 * Connect. 0 once accepted: `connected` runs exactly once, with -ECONNREFUSED, -ETIMEDOUT,
 * -ENOENT (no such host), … or -ECANCELED; the attempt is gone then. Or -EINVAL, -ENOMEM, -EMFILE
 * with a sentence. Never blocks, names of hosts included.
 */
static inline int net_connect(struct net *net, const char *address,
                              const struct net_options *options, net_connected_fn *connected,
                              void *context, struct net_attempt **ret_attempt)
{
    return net->ops->connect(net, address, options, connected, context, ret_attempt);
}

/* It ends soon, as it may: with -ECANCELED, or well. */
static inline void net_attempt_cancel(struct net_attempt *attempt)
{
    attempt->net->ops->attempt_cancel(attempt);
}

/* Until `bytes` or more are in the buffer. 0 once accepted; `done` as iomesh_stream_fill(). */
static inline int net_fill(struct net_stream *stream, uint32_t bytes, net_done_fn *done,
                           void *context)
{
    return stream->ops->fill(stream, bytes, done, context);
}

static inline uint32_t net_peek(struct net_stream *stream, const void **ret_data)
{
    return stream->ops->peek(stream, ret_data);
}

static inline void net_consume(struct net_stream *stream, uint32_t bytes)
{
    stream->ops->consume(stream, bytes);
}

/* Exactly `length` bytes to `data`, which is borrowed until `done`. One fill or receive at once. */
static inline int net_receive(struct net_stream *stream, void *data, uint32_t length,
                              net_done_fn *done, void *context)
{
    return stream->ops->receive(stream, data, length, done, context);
}

/* Sends leave in the order of the calls; parts and data are borrowed until send->done. */
static inline int net_send(struct net_stream *stream, struct iomesh_send *send)
{
    return stream->ops->send(stream, send);
}

/* What is under way ends with -ECANCELED, then `closed` runs, last. */
static inline void net_close(struct net_stream *stream, net_done_fn *closed, void *context)
{
    stream->ops->close(stream, closed, context);
}

/* Who is at the other end, for people's eyes. */
static inline const char *net_peer(const struct net_stream *stream)
{
    return stream->ops->peer(stream);
}

#endif

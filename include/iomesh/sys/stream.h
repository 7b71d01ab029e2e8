/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte streams on the engine's ring: sockets beside disks, one submission for both.
 *
 * Promised for a minor version only. For front ends: an NBD server, a control socket.
 *
 * Receiving. Each stream has a buffer of its own. iomesh_stream_fill() waits until some bytes are
 * in it; iomesh_stream_peek() and _consume() look at and use them without waiting: many small
 * messages arrive with one receive. iomesh_stream_receive() puts exactly so many bytes into memory
 * of yours: what the buffer already holds is copied, the rest is received where it shall be.
 * One fill or receive at a time.
 *
 * Sending. iomesh_stream_send() takes a list of pieces; sends leave in the order of the calls, all
 * that were asked in one turn with one system call. Any number may wait; you own them, so you
 * bound them.
 *
 * Closing. iomesh_stream_close() ends what is in flight with -ECANCELED; when `closed` runs nothing
 * of the stream is used any more. Every callback runs from iomesh_turn(), never inside a call.
 */
#ifndef IOMESH_SYS_STREAM_H
#define IOMESH_SYS_STREAM_H

#include <stdint.h>
#include <sys/uio.h>

#include <iomesh/engine.h>
#include <iomesh/version.h>

struct iomesh_listener;
struct iomesh_stream;

struct iomesh_stream_options {
    uint32_t size;
    uint32_t buffer_bytes; /* Of each stream for receiving, 4 KiB .. 1 MiB; 0: 64 KiB. */
    uint32_t backlog;      /* Listening; 0: 128. */
    uint32_t mode;         /* Listening on a unix socket: its permissions; 0: 0600. */
    uint32_t streams_max;  /* Listening: accepted and not yet closed; 0: 1024. More wait. */
    uint32_t in_use_ms;    /* Listening: how long an address in use is tried, 0 .. 60,000. */
};

#define IOMESH_STREAM_OPTIONS_INIT                                    \
    {                                                                 \
        (uint32_t)sizeof(struct iomesh_stream_options), 0, 0, 0, 0, 0 \
    }

/*
 * A stream came in, yours until iomesh_stream_close(). Or result is negative, stream is NULL and
 * the listener goes on by itself (-EMFILE, -ENOMEM: it tries again in a while) unless result is
 * -ECANCELED: it was closed, and this is the last call.
 */
typedef void iomesh_accept_fn(void *context, int result, struct iomesh_stream *stream);

/**
 * Listen.
 *
 * @address  "unix:PATH" (a stale socket file that nobody serves is replaced), "tcp:HOST:PORT"
 *           (PORT 0: any; HOST may be [v6]; several addresses of a name: the first that works),
 *           "fd:N": a listening socket that the process was given; it is then the listener's
 * @options  NULL: defaults; copied
 * @accept   runs for each stream, until the listener is closed
 *
 * Returns 0, or -EINVAL, -EADDRINUSE, -EACCES, -ENAMETOOLONG, -ENOTSOCK, … with a sentence.
 * A process that was killed keeps its addresses until the kernel has ended its requests, which a
 * slow disk can draw out: a server that is started again at once wants options.in_use_ms.
 *
 * Thread: the engine's. Blocks: for resolving HOST, and for options.in_use_ms. Allocates: yes.
 * Since: 0.1.
 */
IOMESH_API int iomesh_listen(struct iomesh_engine *engine, const char *address,
                             const struct iomesh_stream_options *options, iomesh_accept_fn *accept,
                             void *context, struct iomesh_listener **ret_listener);

/** The address that it listens on, with the port that was found. Valid until it is closed.
 * Thread: the engine's. Since: 0.1. */
IOMESH_API const char *iomesh_listener_address(const struct iomesh_listener *listener);

/**
 * Stop listening. @accept sees -ECANCELED last; the listener is gone then. Removes the unix
 * socket's file if the listener made it. Streams stay open. NULL is fine.
 *
 * Thread: the engine's. Blocks: never. Since: 0.1.
 */
IOMESH_API void iomesh_listener_close(struct iomesh_listener *listener);

/* stream: NULL unless result is 0. */
typedef void iomesh_connected_fn(void *context, int result, struct iomesh_stream *stream);

/**
 * Connect to "unix:PATH" or "tcp:HOST:PORT".
 *
 * Returns 0 once accepted, or -EINVAL, -ENOMEM, -EMFILE, -ENOENT …; @connected may see
 * -ECONNREFUSED, -ETIMEDOUT, …
 *
 * Thread: the engine's. Blocks: for resolving HOST. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_stream_connect(struct iomesh_engine *engine, const char *address,
                                     const struct iomesh_stream_options *options,
                                     iomesh_connected_fn *connected, void *context);

/**
 * Make a stream of a connected socket; it is the stream's from then on.
 *
 * Returns 0, or -EINVAL, -ENOTSOCK, -ENOMEM: the descriptor is still yours.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_stream_adopt(struct iomesh_engine *engine, int fd,
                                   const struct iomesh_stream_options *options,
                                   struct iomesh_stream **ret_stream);

/** Who is at the other end, for people's eyes. Valid until the stream is closed.
 * Thread: the engine's. Since: 0.1. */
IOMESH_API const char *iomesh_stream_peer(const struct iomesh_stream *stream);

/**
 * Wait until the stream's buffer holds @bytes (1 .. buffer_bytes) or more.
 *
 * @done  0; or -ECONNRESET when the other end closed first (what came is still in the buffer),
 *        -ECANCELED, or another error of the connection
 *
 * Returns 0 once accepted, or -EBUSY (a fill or receive is under way), -EINVAL.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_stream_fill(struct iomesh_stream *stream, uint32_t bytes,
                                  iomesh_done_fn *done, void *context);

/** The bytes in the buffer. *ret_data is valid until the next call on the stream or the next turn.
 * Returns how many there are. Thread: the engine's. Blocks: never. Since: 0.1. */
IOMESH_API uint32_t iomesh_stream_peek(struct iomesh_stream *stream, const void **ret_data);

/** Take the first @bytes out of the buffer; not more than peek told, and not while a fill or a
 * receive is under way. Thread: the engine's. Blocks: never. Since: 0.1. */
IOMESH_API void iomesh_stream_consume(struct iomesh_stream *stream, uint32_t bytes);

/**
 * Receive exactly @length bytes into @data. If the buffer has them all already, @done still runs
 * from a turn: take them with peek and consume if that is too late for you.
 *
 * @data  borrowed until @done has run; memory of iomesh_buffer_get() may then be written from
 * @done  as for iomesh_stream_fill(); -ECONNRESET: it ended early
 *
 * Returns as iomesh_stream_fill().
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_stream_receive(struct iomesh_stream *stream, void *data, uint32_t length,
                                     iomesh_done_fn *done, void *context);

/* A send, inside whatever waits for it. Zero it once, fill the first four, send. */
struct iomesh_send {
    const struct iovec *parts; /* Borrowed, with what they point to, until `done` has run. */
    uint32_t part_count;       /* 1 or more. */
    iomesh_done_fn *done;      /* May send it again. */
    void *context;
    void *private_[4]; /* The library's. */
};

/**
 * Send all parts, after what was sent before.
 *
 * @send  stays in place until its `done` has run: 0, or -EPIPE, -ECONNRESET, -ECANCELED, …; after
 *        an error nothing more is sent on the stream and every later send fails the same way
 *
 * Returns 0 once accepted, or -EINVAL, -EPIPE (the stream is being closed).
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_stream_send(struct iomesh_stream *stream, struct iomesh_send *send);

/**
 * Close. Sends and receives under way end with -ECANCELED, then @closed runs, last. To let sends
 * arrive, wait for their `done` first. NULL is fine: @closed does not run then.
 *
 * @closed  NULL is fine
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API void iomesh_stream_close(struct iomesh_stream *stream, iomesh_done_fn *closed,
                                    void *context);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* One connection: a request to receive and a request to send in the kernel, at most. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uring/stream.h"

/* The list node of a send is in the memory that the caller keeps for it. */
_Static_assert(sizeof(struct list) <= sizeof((struct iomesh_send *)0)->private_, "node fits");

static struct list *send_node(struct iomesh_send *send)
{
    return (struct list *)(void *)send->private_;
}

static struct iomesh_send *send_of(struct list *node)
{
    return CONTAINER_OF(node, struct iomesh_send, private_);
}

/* --- Ending --------------------------------------------------------------------------------- */

static void receive_end(struct iomesh_stream *stream, int result)
{
    stream->wanted = false;
    stream->target = NULL;
    stream->receive_done(stream->receive_context, result);
}

static void send_fail_all(struct iomesh_stream *stream)
{
    int result = stream->closing ? -ECANCELED : stream->send_error;
    struct list failed;
    list_init(&failed);
    list_splice_back(&failed, &stream->sends);
    for (struct list *node; (node = list_pop_front(&failed)) != NULL;) {
        struct iomesh_send *send = send_of(node);
        send->done(send->context, result);
    }
}

static void stream_gone(struct iomesh_stream *stream)
{
    iomesh_done_fn *closed = stream->closed;
    void *context = stream->closed_context;
    struct uring *uring = stream->uring;
    list_remove(&stream->receive_later.node);
    list_remove(&stream->close_later.node);
    close(stream->fd);
    uring->open_count--;
    if (stream->listener != NULL)
        listener_stream_gone(stream->listener);
    free(stream->buffer);
    free(stream);
    if (closed != NULL)
        closed(context, 0);
}

static void stream_close_check(struct iomesh_stream *stream)
{
    if (stream->receiving || stream->sending)
        return;
    if (stream->wanted)
        receive_end(stream, -ECANCELED);
    send_fail_all(stream);
    stream_gone(stream);
}

/* --- Receiving ----------------------------------------------------------------------------- */

static uint32_t stream_held(const struct iomesh_stream *stream)
{
    return stream->end - stream->begin;
}

static bool receive_satisfied(const struct iomesh_stream *stream)
{
    return stream->target != NULL ? stream->target_left == 0
                                  : stream_held(stream) >= stream->fill_bytes;
}

static void receive_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    struct iomesh_stream *stream = CONTAINER_OF(op, struct iomesh_stream, receive_op);
    struct msghdr *message = &stream->receive_message;
    if (message->msg_iovlen == 1)
        io_uring_prep_recv(sqe, stream->fd, message->msg_iov->iov_base, message->msg_iov->iov_len,
                           0);
    else
        io_uring_prep_recvmsg(sqe, stream->fd, message, 0);
}

/* Whether moving what is held to the front pays, or must be. */
static bool receive_cramped(const struct iomesh_stream *stream)
{
    uint32_t room = stream->buffer_bytes - stream->end;
    return stream->buffer_bytes - stream->begin < stream->fill_bytes ||
           (room < stream->buffer_bytes / 2 && stream_held(stream) <= 4096);
}

/*
 * What is wanted goes where it shall be, and what follows it into the buffer, with one request.
 * Who sends large payloads is likely to send another, which is copied as far as it is in the
 * buffer: of that, only a little is let in.
 */
static void receive_start(struct iomesh_stream *stream)
{
    struct iovec *parts = stream->receive_parts;
    unsigned count = 0;
    if (stream->target != NULL)
        parts[count++] = (struct iovec){stream->target, stream->target_left};
    if (stream->begin == stream->end)
        stream->begin = stream->end = 0;
    if (stream->target == NULL && stream->begin > 0 && receive_cramped(stream)) {
        memmove(stream->buffer, stream->buffer + stream->begin, stream_held(stream));
        stream->end -= stream->begin;
        stream->begin = 0;
    }
    uint32_t room = MIN(stream->buffer_bytes - stream->end, stream->ahead_bytes);
    if (room > 0)
        parts[count++] = (struct iovec){stream->buffer + stream->end, room};
    stream->receive_message.msg_iov = parts;
    stream->receive_message.msg_iovlen = count;
    stream->receiving = true;
    uring_op_start(stream->uring, &stream->receive_op);
}

static void receive_took(struct iomesh_stream *stream, uint32_t bytes)
{
    uint32_t direct = stream->target != NULL ? MIN(bytes, stream->target_left) : 0;
    if (stream->target != NULL) {
        stream->target += direct;
        stream->target_left -= direct;
    }
    stream->end += bytes - direct;
}

static void receive_done(struct uring_op *op, int result, uint32_t flags)
{
    (void)flags;
    struct iomesh_stream *stream = CONTAINER_OF(op, struct iomesh_stream, receive_op);
    stream->receiving = false;
    if (stream->closing) {
        stream_close_check(stream);
        return;
    }
    if (result > 0)
        receive_took(stream, (uint32_t)result);
    else if (result != -EINTR && result != -EAGAIN)
        stream->receive_error = result == 0 ? -ECONNRESET : result;
    if (receive_satisfied(stream))
        receive_end(stream, 0);
    else if (stream->receive_error != 0)
        receive_end(stream, stream->receive_error);
    else
        receive_start(stream);
}

/* It could be answered at once: a turn later, as every callback. */
static void receive_run_later(struct uring_later *later)
{
    struct iomesh_stream *stream = CONTAINER_OF(later, struct iomesh_stream, receive_later);
    if (!stream->wanted)
        return;
    if (stream->closing)
        receive_end(stream, -ECANCELED);
    else
        receive_end(stream, receive_satisfied(stream) ? 0 : stream->receive_error);
}

static int receive_want(struct iomesh_stream *stream, iomesh_done_fn *done, void *context)
{
    stream->wanted = true;
    stream->receive_done = done;
    stream->receive_context = context;
    if (receive_satisfied(stream) || stream->receive_error != 0)
        uring_later_start(stream->uring, &stream->receive_later);
    else
        receive_start(stream);
    return 0;
}

int uring_stream_fill(struct iomesh_stream *stream, uint32_t bytes, iomesh_done_fn *done,
                      void *context)
{
    if (stream->wanted || stream->closing)
        return FAIL(-EBUSY, "a fill or receive of this stream is under way, or it closes");
    if (bytes == 0 || bytes > stream->buffer_bytes)
        return FAIL(-EINVAL, "a fill takes 1 to %u bytes, not %u", stream->buffer_bytes, bytes);
    stream->target = NULL;
    stream->fill_bytes = bytes;
    /* Two fills in a row: what is asked for now is small. */
    stream->ahead_bytes = stream->large ? MAX(bytes, STREAM_AHEAD_BYTES) : stream->buffer_bytes;
    stream->large = false;
    return receive_want(stream, done, context);
}

uint32_t uring_stream_peek(struct iomesh_stream *stream, const void **ret_data)
{
    *ret_data = stream->buffer + stream->begin;
    return stream_held(stream);
}

void uring_stream_consume(struct iomesh_stream *stream, uint32_t bytes)
{
    assert(!stream->wanted && bytes <= stream_held(stream));
    stream->begin += bytes;
}

int uring_stream_receive(struct iomesh_stream *stream, void *data, uint32_t length,
                         iomesh_done_fn *done, void *context)
{
    if (stream->wanted || stream->closing)
        return FAIL(-EBUSY, "a fill or receive of this stream is under way, or it closes");
    if (length == 0 || data == NULL)
        return FAIL(-EINVAL, "nothing to receive");
    stream->large = length >= STREAM_LARGE_BYTES;
    stream->ahead_bytes = stream->large ? STREAM_AHEAD_BYTES : stream->buffer_bytes;
    uint32_t held = MIN(length, stream_held(stream));
    memcpy(data, stream->buffer + stream->begin, held);
    stream->begin += held;
    stream->target = (uint8_t *)data + held;
    stream->target_left = length - held;
    return receive_want(stream, done, context);
}

/* --- Sending ------------------------------------------------------------------------------- */

static void send_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    struct iomesh_stream *stream = CONTAINER_OF(op, struct iomesh_stream, send_op);
    io_uring_prep_sendmsg(sqe, stream->fd, &stream->send_message, MSG_NOSIGNAL | MSG_WAITALL);
}

/* As many parts as go with one call, from where the last one ended. */
static void send_gather(struct iomesh_stream *stream)
{
    unsigned count = 0;
    uint32_t part = stream->sent_parts;
    size_t skip = stream->sent_bytes;
    for (struct list *node = stream->sends.next; node != &stream->sends; node = node->next) {
        const struct iomesh_send *send = send_of(node);
        for (; part < send->part_count && count < STREAM_PARTS_MAX; part++, skip = 0) {
            const struct iovec *from = &send->parts[part];
            stream->send_parts[count++] =
                (struct iovec){(uint8_t *)from->iov_base + skip, from->iov_len - skip};
        }
        if (count == STREAM_PARTS_MAX)
            break;
        part = 0;
    }
    stream->send_message.msg_iov = stream->send_parts;
    stream->send_message.msg_iovlen = count;
    stream->sending = true;
    stream->uring->lot_replied = true;
    uring_op_start(stream->uring, &stream->send_op);
}

static void send_mark(struct iomesh_stream *stream)
{
    if (!stream->sending && list_empty(&stream->dirty))
        list_push_back(&stream->uring->dirty, &stream->dirty);
}

void uring_streams_gather(struct uring *uring)
{
    for (struct list *node; (node = list_pop_front(&uring->dirty)) != NULL;) {
        struct iomesh_stream *stream = LIST_ENTRY(node, struct iomesh_stream, dirty);
        if (!list_empty(&stream->sends) && stream->send_error == 0 && !stream->closing)
            send_gather(stream);
    }
}

static void send_end_first(struct iomesh_stream *stream, int result)
{
    struct iomesh_send *send = send_of(list_pop_front(&stream->sends));
    stream->sent_parts = 0;
    stream->sent_bytes = 0;
    send->done(send->context, result);
}

/* Sends that are whole end; `done` may send more, which go to the end of the list. */
static void send_took(struct iomesh_stream *stream, size_t bytes)
{
    while (!list_empty(&stream->sends)) {
        const struct iomesh_send *send = send_of(stream->sends.next);
        while (stream->sent_parts < send->part_count) {
            size_t left = send->parts[stream->sent_parts].iov_len - stream->sent_bytes;
            if (bytes < left) {
                stream->sent_bytes += bytes;
                return;
            }
            bytes -= left;
            stream->sent_bytes = 0;
            stream->sent_parts++;
            if (bytes == 0 && stream->sent_parts < send->part_count)
                return;
        }
        send_end_first(stream, 0);
        if (bytes == 0)
            return;
    }
}

static void send_done(struct uring_op *op, int result, uint32_t flags)
{
    (void)flags;
    struct iomesh_stream *stream = CONTAINER_OF(op, struct iomesh_stream, send_op);
    bool again = result == -EINTR || result == -EAGAIN;
    if (result < 0 && !again)
        stream->send_error = result;
    if (result >= 0)
        send_took(stream, (size_t)result);
    stream->sending = false;
    if (stream->closing)
        stream_close_check(stream);
    else if (stream->send_error != 0)
        send_fail_all(stream);
    else if (!list_empty(&stream->sends))
        send_mark(stream);
}

int uring_stream_send(struct iomesh_stream *stream, struct iomesh_send *send)
{
    if (send->part_count == 0 || send->parts == NULL || send->done == NULL)
        return FAIL(-EINVAL, "a send needs parts and a callback");
    if (stream->closing)
        return FAIL(-EPIPE, "the stream is being closed");
    list_push_back(&stream->sends, send_node(send));
    /* A stream that failed ends it from the next turn. */
    if (stream->send_error != 0)
        uring_later_start(stream->uring, &stream->close_later);
    else
        send_mark(stream);
    return 0;
}

/* --- Closing ------------------------------------------------------------------------------- */

static void stream_run_later(struct uring_later *later)
{
    struct iomesh_stream *stream = CONTAINER_OF(later, struct iomesh_stream, close_later);
    if (stream->closing)
        stream_close_check(stream);
    else if (!stream->sending)
        send_fail_all(stream);
}

void uring_stream_close(struct iomesh_stream *stream, iomesh_done_fn *closed, void *context)
{
    if (stream == NULL)
        return;
    assert(!stream->closing);
    stream->closing = true;
    stream->closed = closed;
    stream->closed_context = context;
    list_remove(&stream->dirty);
    /* Ends what the kernel waits for. */
    (void)shutdown(stream->fd, SHUT_RDWR);
    uring_later_start(stream->uring, &stream->close_later);
}

/* --- Opening ------------------------------------------------------------------------------- */

int stream_options_check(const struct iomesh_stream_options *given,
                         struct stream_options *ret_options)
{
    struct iomesh_stream_options options = IOMESH_STREAM_OPTIONS_INIT;
    if (given != NULL)
        memcpy(&options, given, MIN(given->size, sizeof options));
    *ret_options = (struct stream_options){
        .buffer_bytes = options.buffer_bytes != 0 ? options.buffer_bytes : 64u << 10,
        .backlog = options.backlog != 0 ? options.backlog : 128,
        .mode = options.mode != 0 ? options.mode : 0600,
        .streams_max = options.streams_max != 0 ? options.streams_max : 1024,
        .in_use_ms = options.in_use_ms,
    };
    if (ret_options->buffer_bytes < 4096 || ret_options->buffer_bytes > 1u << 20)
        return FAIL(-EINVAL, "a stream's buffer has 4 KiB to 1 MiB, not %u bytes",
                    ret_options->buffer_bytes);
    if (ret_options->in_use_ms > STREAM_IN_USE_MS_MAX)
        return FAIL(-EINVAL, "an address in use is waited for by up to %u ms, not %u",
                    STREAM_IN_USE_MS_MAX, ret_options->in_use_ms);
    if (ret_options->mode > 0777)
        return FAIL(-EINVAL, "permissions of a socket are 0 to 0777, not %o", ret_options->mode);
    return 0;
}

int stream_open(struct uring *uring, int fd, const struct stream_options *options,
                struct iomesh_stream **ret_stream)
{
    struct iomesh_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return FAIL(-ENOMEM, "no memory for a connection");
    stream->buffer = malloc(options->buffer_bytes);
    if (stream->buffer == NULL) {
        free(stream);
        return FAIL(-ENOMEM, "no memory for a connection");
    }
    stream->net.ops = &uring_net_stream_ops;
    stream->uring = uring;
    stream->fd = fd;
    stream->buffer_bytes = options->buffer_bytes;
    stream->receive_op = (struct uring_op){.prepare = receive_prepare, .done = receive_done};
    stream->send_op = (struct uring_op){.prepare = send_prepare, .done = send_done};
    stream->receive_later.run = receive_run_later;
    stream->close_later.run = stream_run_later;
    list_init(&stream->receive_op.node);
    list_init(&stream->send_op.node);
    list_init(&stream->receive_later.node);
    list_init(&stream->close_later.node);
    list_init(&stream->sends);
    list_init(&stream->dirty);
    int on = 1;
    /* Refused by unix sockets, which do not wait anyway. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    struct sockaddr_storage peer = {0};
    socklen_t length = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0)
        address_name((const struct sockaddr *)&peer, length, stream->peer);
    uring->open_count++;
    *ret_stream = stream;
    return 0;
}

int uring_stream_adopt(struct uring *uring, int fd, const struct iomesh_stream_options *given,
                       struct iomesh_stream **ret_stream)
{
    struct stream_options options;
    int result = stream_options_check(given, &options);
    if (result != 0)
        return result;
    int type = 0;
    socklen_t length = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0)
        return FAIL(-errno, "descriptor %d: %s", fd, strerror(errno));
    if (type != SOCK_STREAM)
        return FAIL(-EINVAL, "descriptor %d is not a stream socket", fd);
    return stream_open(uring, fd, &options, ret_stream);
}

const char *uring_stream_peer(const struct iomesh_stream *stream)
{
    return stream->peer;
}

int uring_stream_user(const struct iomesh_stream *stream, uint32_t *ret_user)
{
    struct ucred who;
    socklen_t length = sizeof who;
    if (getsockopt(stream->fd, SOL_SOCKET, SO_PEERCRED, &who, &length) != 0)
        return FAIL(-errno, "%s: who is there is not known: %s", stream->peer, strerror(errno));
    *ret_user = who.uid;
    return 0;
}

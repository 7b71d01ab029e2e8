/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inside.h"

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

static struct tls_stream *tls_of(struct net_stream *net)
{
    return CONTAINER_OF(net, struct tls_stream, net);
}

static void later(struct tls_stream *stream)
{
    if (!stream->later.set)
        clock_set_after(stream->owner->options.clock, &stream->later, 0);
}

/* --- Between OpenSSL and the stream below -------------------------------------------------- */

static int bio_read(BIO *bio, char *to, int room)
{
    struct tls_stream *stream = BIO_get_data(bio);
    const void *data;
    uint32_t held = stream->filling ? 0 : net_peek(stream->below, &data);
    BIO_clear_retry_flags(bio);
    if (held == 0 || room <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    uint32_t bytes = MIN(held, (uint32_t)room);
    memcpy(to, data, bytes);
    net_consume(stream->below, bytes);
    return (int)bytes;
}

static int bio_write(BIO *bio, const char *from, int length)
{
    struct tls_stream *stream = BIO_get_data(bio);
    struct tls_chunk *chunk = stream->sealing;
    uint32_t room = chunk == NULL ? 0 : TLS_CHUNK_BYTES - chunk->bytes;
    BIO_clear_retry_flags(bio);
    if (room == 0 || length <= 0) {
        BIO_set_retry_write(bio);
        return -1;
    }
    uint32_t bytes = MIN(room, (uint32_t)length);
    memcpy(chunk->data + chunk->bytes, from, bytes);
    chunk->bytes += bytes;
    return (int)bytes;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD *tls_stream_bio(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream below");
    if (method != NULL) {
        (void)BIO_meth_set_read(method, bio_read);
        (void)BIO_meth_set_write(method, bio_write);
        (void)BIO_meth_set_ctrl(method, bio_control);
    }
    return method;
}

/* --- What went wrong ----------------------------------------------------------------------- */

static void remember(struct tls_stream *stream)
{
    const unsigned long code = ERR_peek_error();
    const long verdict = SSL_get_verify_result(stream->ssl);
    const char *reason = ERR_reason_error_string(code);
    const int alert = ERR_GET_REASON(code) - SSL_AD_REASON_OFFSET;
    char text[256];
    stream->refused = ERR_GET_LIB(code) == ERR_LIB_SSL && alert >= 0;
    if (stream->refused)
        (void)snprintf(text, sizeof text, "our certificate is refused: %s",
                       SSL_alert_desc_string_long(alert));
    else if (verdict != X509_V_OK)
        (void)snprintf(text, sizeof text, "its certificate is refused: %s",
                       X509_verify_cert_error_string(verdict));
    else
        (void)snprintf(text, sizeof text, "TLS: %s", reason == NULL ? "refused" : reason);
    ERR_clear_error();
    if (stream->sentence == NULL)
        stream->sentence = strdup(text);
    stream->error = stream->up && stream->refused ? -EKEYREJECTED : -EPROTO;
}

/* OpenSSL did not do what was asked: an error, or simply no bytes yet. */
static void judge(struct tls_stream *stream, int result)
{
    switch (SSL_get_error(stream->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: break;
    case SSL_ERROR_ZERO_RETURN: stream->error = -ECONNRESET; break;
    default: remember(stream); break;
    }
}

/* --- Out ------------------------------------------------------------------------------------ */

static void push(struct tls_stream *stream);

static void fail_sends(struct tls_stream *stream)
{
    struct list failed;
    list_init(&failed);
    list_splice_back(&failed, &stream->sends);
    for (struct list *node; (node = list_pop_front(&failed)) != NULL;) {
        struct iomesh_send *send = send_of(node);
        send->done(send->context, stream->closing ? -ECANCELED : stream->send_error);
    }
}

static void chunk_sent(void *context, int result)
{
    struct tls_chunk *chunk = context;
    struct tls_stream *stream = chunk->stream;
    list_push_back(&stream->idle, &chunk->node);
    if (result != 0 && stream->send_error == 0)
        stream->send_error = result;
    struct list covered;
    list_init(&covered);
    list_splice_back(&covered, &chunk->covered);
    for (struct list *node; (node = list_pop_front(&covered)) != NULL;) {
        struct iomesh_send *send = send_of(node);
        send->done(send->context, result);
    }
    if (stream->closing)
        return; /* The stream below ends all that is under way, and then this one does. */
    if (stream->send_error == 0)
        push(stream);
    else
        fail_sends(stream);
}

static void chunk_send(struct tls_stream *stream, struct tls_chunk *chunk)
{
    chunk->part = (struct iovec){chunk->data, chunk->bytes};
    chunk->send = (struct iomesh_send){
        .parts = &chunk->part, .part_count = 1, .done = chunk_sent, .context = chunk};
    int result = net_send(stream->below, &chunk->send);
    if (result == 0)
        return;
    stream->send_error = result;
    list_splice_back(&stream->sends, &chunk->covered);
    list_push_back(&stream->idle, &chunk->node);
    later(stream);
}

/* The next record's plain bytes, from as many parts and sends as it takes. Those whose last byte is
 * in it are the chunk's from here on. */
static uint32_t gather(struct tls_stream *stream, struct tls_chunk *chunk, const void **ret_bytes)
{
    uint32_t bytes = 0;
    *ret_bytes = stream->record;
    while (!list_empty(&stream->sends) && bytes < TLS_RECORD_BYTES) {
        struct iomesh_send *send = send_of(stream->sends.next);
        const struct iovec *part = &send->parts[stream->part];
        const uint8_t *from = (const uint8_t *)part->iov_base + stream->part_done;
        size_t left = part->iov_len - stream->part_done;
        uint32_t count = (uint32_t)MIN(left, TLS_RECORD_BYTES - bytes);
        if (bytes == 0 && count == TLS_RECORD_BYTES)
            *ret_bytes = from;
        else if (count > 0)
            memcpy(stream->record + bytes, from, count);
        bytes += count;
        stream->part_done += count;
        if (count < left)
            break;
        stream->part_done = 0;
        if (++stream->part < send->part_count)
            continue;
        stream->part = 0;
        (void)list_pop_front(&stream->sends);
        list_push_back(&chunk->covered, send_node(send));
    }
    return bytes;
}

static bool seal(struct tls_stream *stream, struct tls_chunk *chunk)
{
    const void *bytes;
    uint32_t count = gather(stream, chunk, &bytes);
    if (count == 0)
        return true;
    ERR_clear_error();
    /* There is room for all of it, so it is taken whole. */
    if (SSL_write(stream->ssl, bytes, (int)count) == (int)count)
        return true;
    remember(stream);
    stream->send_error = stream->error;
    return false;
}

static struct tls_chunk *chunk_take(struct tls_stream *stream)
{
    struct list *node = list_pop_front(&stream->idle);
    if (node == NULL)
        return NULL;
    struct tls_chunk *chunk = LIST_ENTRY(node, struct tls_chunk, node);
    chunk->bytes = 0;
    stream->sealing = chunk;
    return chunk;
}

static void chunk_give(struct tls_stream *stream, struct tls_chunk *chunk)
{
    stream->sealing = NULL;
    if (chunk->bytes > 0 || !list_empty(&chunk->covered))
        chunk_send(stream, chunk);
    else
        list_push_back(&stream->idle, &chunk->node);
}

static void push(struct tls_stream *stream)
{
    while (stream->up && stream->send_error == 0 && !list_empty(&stream->sends)) {
        struct tls_chunk *chunk = chunk_take(stream);
        if (chunk == NULL)
            return;
        while (!list_empty(&stream->sends) && chunk->bytes + TLS_SEALED_BYTES <= TLS_CHUNK_BYTES)
            if (!seal(stream, chunk))
                break;
        chunk_give(stream, chunk);
    }
    if (stream->send_error != 0 && !list_empty(&stream->sends))
        later(stream);
}

static int tls_send(struct net_stream *net, struct iomesh_send *send)
{
    struct tls_stream *stream = tls_of(net);
    if (send->part_count == 0 || send->parts == NULL || send->done == NULL)
        return FAIL(-EINVAL, "a send needs parts and a callback");
    if (stream->closing)
        return FAIL(-EPIPE, "the stream is being closed");
    list_push_back(&stream->sends, send_node(send));
    push(stream);
    return 0;
}

/* --- In ------------------------------------------------------------------------------------- */

static uint32_t plain_held(const struct tls_stream *stream)
{
    return stream->plain_end - stream->plain_begin;
}

static uint32_t open_some(struct tls_stream *stream, void *to, uint32_t room)
{
    ERR_clear_error();
    int got = SSL_read(stream->ssl, to, (int)MIN(room, 1u << 30));
    if (got > 0)
        return (uint32_t)got;
    judge(stream, got);
    return 0;
}

/* Opens what has come: for whom it is, and what follows it into the buffer. */
static void open_records(struct tls_stream *stream)
{
    uint32_t got = 1;
    if (!stream->up || stream->filling || stream->error != 0)
        return;
    while (stream->target_left > 0 && got > 0) {
        got = open_some(stream, stream->target, stream->target_left);
        stream->target += got;
        stream->target_left -= got;
    }
    if (stream->plain_begin == stream->plain_end)
        stream->plain_begin = stream->plain_end = 0;
    if (stream->plain_begin > stream->plain_bytes / 2 ||
        stream->plain_begin + stream->wanted > stream->plain_bytes) {
        memmove(stream->plain, stream->plain + stream->plain_begin, plain_held(stream));
        stream->plain_end -= stream->plain_begin;
        stream->plain_begin = 0;
    }
    while (got > 0 && stream->error == 0 && stream->plain_end < stream->plain_bytes) {
        got = open_some(stream, stream->plain + stream->plain_end,
                        stream->plain_bytes - stream->plain_end);
        stream->plain_end += got;
    }
}

/* One step of the handshake. */
static void greet(struct tls_stream *stream)
{
    struct tls_chunk *chunk = chunk_take(stream);
    if (chunk == NULL)
        return;
    ERR_clear_error();
    int result = SSL_do_handshake(stream->ssl);
    if (result == 1)
        stream->up = true;
    else
        judge(stream, result);
    chunk_give(stream, chunk);
}

static bool satisfied(struct tls_stream *stream)
{
    if (!stream->up) {
        greet(stream);
        return stream->up;
    }
    open_records(stream);
    return stream->target_left == 0 && plain_held(stream) >= stream->wanted;
}

static void tell(struct tls_stream *stream, int result)
{
    net_done_fn *done = stream->done;
    stream->done = NULL;
    stream->target_left = 0;
    stream->wanted = 0;
    if (result == -EKEYREJECTED)
        (void)FAIL(result, "%s: %s", net_peer(stream->below),
                   stream->sentence != NULL ? stream->sentence : "our certificate is refused");
    if (done != NULL)
        done(stream->context, result);
}

static void filled(void *context, int result);

static void fill_below(struct tls_stream *stream)
{
    stream->filling = true;
    int result = net_fill(stream->below, 1, filled, stream);
    if (result == 0)
        return;
    stream->filling = false;
    stream->error = result;
}

static void filled(void *context, int result)
{
    struct tls_stream *stream = context;
    stream->filling = false;
    if (stream->closing)
        return; /* Told when it is closed. */
    if (result != 0 && result != -ECONNRESET)
        stream->error = result;
    if (stream->error == 0 && satisfied(stream)) {
        tell(stream, 0);
        return;
    }
    /* It has ended, and what came before that was not enough. */
    if (stream->error == 0 && result != 0)
        stream->error = result;
    if (stream->error == 0)
        fill_below(stream);
    if (stream->error != 0)
        tell(stream, stream->error);
}

static int want(struct tls_stream *stream, net_done_fn *done, void *context)
{
    stream->done = done;
    stream->context = context;
    if (satisfied(stream) || stream->error != 0)
        later(stream);
    else
        fill_below(stream);
    if (stream->error != 0)
        later(stream);
    return 0;
}

static void run_later(struct timer *timer)
{
    struct tls_stream *stream = CONTAINER_OF(timer, struct tls_stream, later);
    if (stream->closing)
        return;
    bool fails = stream->send_error != 0;
    if (stream->done != NULL && !stream->filling) {
        bool whole = stream->up && stream->target_left == 0 && plain_held(stream) >= stream->wanted;
        if (fails)
            clock_set_after(stream->owner->options.clock, timer, 0);
        tell(stream, whole ? 0 : stream->error);
        return;
    }
    if (fails)
        fail_sends(stream);
}

static int tls_fill(struct net_stream *net, uint32_t bytes, net_done_fn *done, void *context)
{
    struct tls_stream *stream = tls_of(net);
    if (stream->done != NULL || stream->closing)
        return FAIL(-EBUSY, "a fill or receive of this stream is under way, or it closes");
    if (bytes == 0 || bytes > stream->plain_bytes)
        return FAIL(-EINVAL, "a fill takes 1 to %u bytes, not %u", stream->plain_bytes, bytes);
    stream->wanted = bytes;
    return want(stream, done, context);
}

static uint32_t tls_peek(struct net_stream *net, const void **ret_data)
{
    struct tls_stream *stream = tls_of(net);
    if (stream->done == NULL && plain_held(stream) < stream->plain_bytes / 2)
        open_records(stream);
    *ret_data = stream->plain + stream->plain_begin;
    return plain_held(stream);
}

static void tls_consume(struct net_stream *net, uint32_t bytes)
{
    struct tls_stream *stream = tls_of(net);
    assert(stream->done == NULL && bytes <= plain_held(stream));
    stream->plain_begin += bytes;
}

static int tls_receive(struct net_stream *net, void *data, uint32_t length, net_done_fn *done,
                       void *context)
{
    struct tls_stream *stream = tls_of(net);
    if (stream->done != NULL || stream->closing)
        return FAIL(-EBUSY, "a fill or receive of this stream is under way, or it closes");
    if (length == 0 || data == NULL)
        return FAIL(-EINVAL, "nothing to receive");
    uint32_t held = MIN(length, plain_held(stream));
    memcpy(data, stream->plain + stream->plain_begin, held);
    stream->plain_begin += held;
    stream->target = (uint8_t *)data + held;
    stream->target_left = length - held;
    return want(stream, done, context);
}

static const char *tls_peer(const struct net_stream *net)
{
    return net_peer(((const struct tls_stream *)(const void *)net)->below);
}

/* --- Life ----------------------------------------------------------------------------------- */

static void stream_free(struct tls_stream *stream)
{
    SSL_free(stream->ssl); /* With its BIO. */
    free(stream->sentence);
    free(stream->chunks);
    free(stream->plain);
    free(stream);
}

static void below_closed(void *context, int result)
{
    struct tls_stream *stream = context;
    net_done_fn *closed = stream->closed;
    void *closed_context = stream->closed_context;
    clock_cancel(stream->owner->options.clock, &stream->later);
    tell(stream, -ECANCELED);
    fail_sends(stream);
    stream_free(stream);
    if (closed != NULL)
        closed(closed_context, result);
}

static void tls_close(struct net_stream *net, net_done_fn *closed, void *context)
{
    struct tls_stream *stream = tls_of(net);
    assert(!stream->closing);
    stream->closing = true;
    stream->closed = closed;
    stream->closed_context = context;
    net_close(stream->below, below_closed, stream);
}

static const struct net_stream_ops stream_ops = {
    .fill = tls_fill,
    .peek = tls_peek,
    .consume = tls_consume,
    .receive = tls_receive,
    .send = tls_send,
    .close = tls_close,
    .peer = tls_peer,
};

static int stream_memory(struct tls_stream *stream, uint32_t plain_bytes)
{
    stream->plain_bytes = plain_bytes;
    stream->plain = malloc(plain_bytes);
    stream->chunks = calloc(TLS_CHUNKS, sizeof *stream->chunks);
    stream->ssl = SSL_new(stream->owner->context);
    BIO *bio = BIO_new(stream->owner->bio);
    if (stream->plain == NULL || stream->chunks == NULL || stream->ssl == NULL || bio == NULL) {
        (void)BIO_free(bio);
        return -ENOMEM;
    }
    BIO_set_data(bio, stream);
    BIO_set_init(bio, 1);
    SSL_set_bio(stream->ssl, bio, bio);
    for (unsigned i = 0; i < TLS_CHUNKS; i++) {
        stream->chunks[i].stream = stream;
        list_init(&stream->chunks[i].covered);
        list_push_back(&stream->idle, &stream->chunks[i].node);
    }
    return 0;
}

int tls_stream_open(struct tls_net *net, struct net_stream *below, bool server,
                    uint32_t plain_bytes, struct tls_stream **ret_stream)
{
    struct tls_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return FAIL(-ENOMEM, "no memory for TLS");
    stream->net.ops = &stream_ops;
    stream->owner = net;
    stream->below = below;
    stream->later.fire = run_later;
    list_init(&stream->sends);
    list_init(&stream->idle);
    if (stream_memory(stream, plain_bytes) != 0) {
        stream_free(stream);
        return FAIL(-ENOMEM, "no memory for TLS");
    }
    if (server)
        SSL_set_accept_state(stream->ssl);
    else
        SSL_set_connect_state(stream->ssl);
    *ret_stream = stream;
    return 0;
}

int tls_stream_greet(struct tls_stream *stream, net_done_fn *done, void *context)
{
    return want(stream, done, context);
}

static void parting(void *context, int result)
{
    struct tls_stream *stream = context;
    const void *data;
    stream->filling = false;
    if (stream->closing)
        return;
    if (result == 0) {
        net_consume(stream->below, net_peek(stream->below, &data));
        stream->filling = true;
        result = net_fill(stream->below, 1, parting, stream);
    }
    if (result == 0)
        return;
    stream->filling = false;
    tell(stream, result);
}

void tls_stream_part(struct tls_stream *stream, net_done_fn *done, void *context)
{
    stream->done = done;
    stream->context = context;
    parting(stream, 0);
}

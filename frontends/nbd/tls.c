/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS over a stream, by OpenSSL with memory on both sides.
 *
 *   stream ──▶ in ──SSL_read──▶ plain[] or the receiver's memory
 *   stream ◀── wire_bytes[] ◀── out ◀──SSL_write── the senders' parts
 *
 * Sends that come while the wire is busy are sealed together when it is free again.
 */
#include "nbd/tls.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void push(struct tls *tls);

/* While a send is ours, its first private word links it to the next. */
static void append(struct iomesh_send **first, struct iomesh_send **last, struct iomesh_send *send)
{
    send->private_[0] = NULL;
    if (*first == NULL)
        *first = send;
    else
        (*last)->private_[0] = send;
    *last = send;
}

static void finish_sends(struct iomesh_send *send, int result)
{
    while (send != NULL) {
        struct iomesh_send *next = send->private_[0];
        send->private_[0] = NULL;
        send->done(send->context, result);
        send = next;
    }
}

static void remember_failure(struct tls *tls)
{
    const unsigned long code = ERR_peek_last_error();
    const long verdict = SSL_get_verify_result(tls->ssl);
    if (tls->sentence[0] == '\0')
        snprintf(tls->sentence, sizeof tls->sentence, "TLS: %s%s%s",
                 code == 0 ? "refused" : ERR_reason_error_string(code),
                 verdict == X509_V_OK ? "" : ": ",
                 verdict == X509_V_OK ? "" : X509_verify_cert_error_string(verdict));
    ERR_clear_error();
    tls->error = -EPROTO;
}

/* What SSL said when it did not do what was asked: an error, or simply no bytes yet. */
static void judge(struct tls *tls, int result)
{
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: break;
    case SSL_ERROR_ZERO_RETURN: tls->error = -ECONNRESET; break;
    default: remember_failure(tls); break;
    }
}

static uint32_t plain_bytes(const struct tls *tls)
{
    return tls->plain_end - tls->plain_begin;
}

/* Moves sealed bytes from the stream to OpenSSL, and opened ones to where they are wanted. */
static void open_records(struct tls *tls)
{
    const void *data;
    const uint32_t sealed = iomesh_stream_peek(tls->stream, &data);
    if (sealed > 0 && BIO_write(tls->in, data, (int)sealed) == (int)sealed)
        iomesh_stream_consume(tls->stream, sealed);
    if (!tls->up)
        return;
    while (tls->error == 0 && tls->target_left > 0) {
        const int got = SSL_read(tls->ssl, tls->target, (int)tls->target_left);
        if (got <= 0) {
            judge(tls, got);
            return;
        }
        tls->target += got;
        tls->target_left -= (uint32_t)got;
    }
    if (tls->plain_begin > 0) {
        memmove(tls->plain, tls->plain + tls->plain_begin, plain_bytes(tls));
        tls->plain_end -= tls->plain_begin;
        tls->plain_begin = 0;
    }
    while (tls->error == 0 && tls->plain_end < TLS_PLAIN_BYTES) {
        const int got = SSL_read(tls->ssl, tls->plain + tls->plain_end,
                                 (int)(TLS_PLAIN_BYTES - tls->plain_end));
        if (got <= 0) {
            judge(tls, got);
            return;
        }
        tls->plain_end += (uint32_t)got;
    }
}

static void tell_waiter(struct tls *tls, int result)
{
    iomesh_done_fn *done = tls->done;
    tls->done = NULL;
    tls->target_left = 0;
    tls->wanted = 0;
    if (done != NULL)
        done(tls->context, result);
}

static void describe_peer(struct tls *tls)
{
    X509 *certificate = SSL_get1_peer_certificate(tls->ssl);
    if (certificate != NULL)
        X509_NAME_oneline(X509_get_subject_name(certificate), tls->subject,
                          (int)sizeof tls->subject);
    X509_free(certificate);
}

/* Whether what the waiter waits for has come; the handshake goes one step further here. */
static bool satisfied(struct tls *tls)
{
    open_records(tls);
    if (tls->up)
        return tls->target_left == 0 && plain_bytes(tls) >= tls->wanted;
    const int result = SSL_accept(tls->ssl);
    if (result != 1)
        judge(tls, result);
    push(tls);
    if (result != 1)
        return false;
    tls->up = true;
    describe_peer(tls);
    return true;
}

static void stream_filled(void *context, int result);

static void fill_stream(struct tls *tls)
{
    tls->filling = true;
    const int result = iomesh_stream_fill(tls->stream, 1, stream_filled, tls);
    if (result != 0) {
        tls->filling = false;
        tls->error = result;
    }
}

static void stream_filled(void *context, int result)
{
    struct tls *tls = context;
    tls->filling = false;
    if (result != 0 && result != -ECONNRESET)
        tls->error = result;
    if (tls->error == 0 && satisfied(tls)) {
        tell_waiter(tls, 0);
        return;
    }
    if (tls->error == 0 && result != 0)
        tls->error = result;
    if (tls->error == 0)
        fill_stream(tls);
    if (tls->error != 0)
        tell_waiter(tls, tls->error);
}

uint32_t tls_peek(struct tls *tls, const void **ret_data)
{
    if (!tls->filling && tls->error == 0 && tls->plain_end - tls->plain_begin < TLS_PLAIN_BYTES / 2)
        open_records(tls);
    *ret_data = tls->plain + tls->plain_begin;
    return plain_bytes(tls);
}

void tls_consume(struct tls *tls, uint32_t bytes)
{
    assert(bytes <= plain_bytes(tls));
    tls->plain_begin += bytes;
}

static int wait_for(struct tls *tls, iomesh_done_fn *done, void *context)
{
    assert(tls->done == NULL && !tls->filling);
    tls->done = done;
    tls->context = context;
    fill_stream(tls);
    if (tls->filling)
        return 0;
    tls->done = NULL;
    return tls->error;
}

int tls_fill(struct tls *tls, uint32_t bytes, iomesh_done_fn *done, void *context)
{
    if (tls->error != 0)
        return tls->error;
    assert(bytes <= TLS_PLAIN_BYTES);
    tls->wanted = bytes;
    return wait_for(tls, done, context);
}

int tls_receive(struct tls *tls, void *data, uint32_t length, iomesh_done_fn *done, void *context)
{
    const uint32_t here = plain_bytes(tls) < length ? plain_bytes(tls) : length;
    memcpy(data, tls->plain + tls->plain_begin, here);
    tls->plain_begin += here;
    tls->target = (uint8_t *)data + here;
    tls->target_left = length - here;
    tls->wanted = 0;
    if (tls->target_left > 0 && tls->error == 0)
        open_records(tls);
    if (tls->target_left == 0)
        return 1;
    return tls->error != 0 ? tls->error : wait_for(tls, done, context);
}

static void wire_sent(void *context, int result)
{
    struct tls *tls = context;
    struct iomesh_send *covered = tls->covered_first;
    tls->covered_first = tls->covered_last = NULL;
    tls->wire_busy = false;
    if (tls->goodbye) {
        tls_close_stream(tls);
        return;
    }
    finish_sends(covered, result);
    if (result == 0)
        push(tls);
}

/* Puts what OpenSSL has sealed on the wire. */
static void flush_out(struct tls *tls)
{
    const int bytes = BIO_read(tls->out, tls->wire_bytes, TLS_WIRE_BYTES);
    if (bytes <= 0)
        return;
    tls->wire_part = (struct iovec){tls->wire_bytes, (size_t)bytes};
    tls->wire.parts = &tls->wire_part;
    tls->wire.part_count = 1;
    tls->wire.done = wire_sent;
    tls->wire.context = tls;
    tls->wire_busy = true;
    if (iomesh_stream_send(tls->stream, &tls->wire) != 0)
        tls->wire_busy = false; /* The way in notices the broken socket. */
}

/* Seals one stretch of the first send in the queue. */
static bool seal(struct tls *tls)
{
    struct iomesh_send *send = tls->queue_first;
    const struct iovec *part = &send->parts[tls->part_index];
    size_t bytes = part->iov_len - tls->part_done;
    if (bytes > TLS_RECORD_BYTES)
        bytes = TLS_RECORD_BYTES;
    if (bytes > 0) {
        const int sealed =
            SSL_write(tls->ssl, (const uint8_t *)part->iov_base + tls->part_done, (int)bytes);
        if (sealed <= 0) {
            judge(tls, sealed);
            return false;
        }
        tls->part_done += (size_t)sealed;
    }
    if (tls->part_done < part->iov_len)
        return true;
    tls->part_done = 0;
    if (++tls->part_index < send->part_count)
        return true;
    tls->part_index = 0;
    tls->queue_first = send->private_[0];
    append(&tls->covered_first, &tls->covered_last, send);
    return true;
}

static void push(struct tls *tls)
{
    if (tls->wire_busy || tls->closing)
        return;
    while (tls->queue_first != NULL && BIO_ctrl_pending(tls->out) < TLS_SEAL_BYTES)
        if (!seal(tls))
            break;
    flush_out(tls);
}

int tls_send(struct tls *tls, struct iomesh_send *send)
{
    if (tls->closing)
        return -EPIPE;
    append(&tls->queue_first, &tls->queue_last, send);
    push(tls);
    return 0;
}

bool tls_goodbye(struct tls *tls)
{
    tls->closing = true;
    if (!tls->up || tls->wire_busy || tls->error != 0 || tls->queue_first != NULL)
        return false;
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    flush_out(tls);
    tls->goodbye = tls->wire_busy;
    return tls->goodbye;
}

void tls_free(struct tls *tls)
{
    tell_waiter(tls, -ECANCELED);
    finish_sends(tls->covered_first, -ECANCELED);
    finish_sends(tls->queue_first, -ECANCELED);
    SSL_free(tls->ssl); /* With both BIOs. */
    free(tls);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/transport.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "nbd/tls.h"

int transport_start_tls(struct transport *transport, struct tls_context *context,
                        iomesh_done_fn *done, void *done_context)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        return -ENOMEM;
    tls->stream = transport->stream;
    tls->ssl = SSL_new(context->ssl);
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    if (tls->ssl == NULL || tls->in == NULL || tls->out == NULL) {
        SSL_free(tls->ssl);
        BIO_free(tls->in);
        BIO_free(tls->out);
        free(tls);
        return -ENOMEM;
    }
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_accept_state(tls->ssl);
    transport->tls = tls;
    /* Bytes that came with STARTTLS already are TLS's: nothing sent in the clear is obeyed. */
    return tls_fill(tls, 0, done, done_context);
}

const char *transport_sentence(const struct transport *transport)
{
    return transport->tls == NULL || transport->tls->sentence[0] == '\0'
               ? "the client ended the TLS handshake"
               : transport->tls->sentence;
}

const char *transport_subject(const struct transport *transport)
{
    return transport->tls == NULL ? "" : transport->tls->subject;
}

int transport_fill(struct transport *transport, uint32_t bytes, iomesh_done_fn *done, void *context)
{
    if (transport->tls != NULL)
        return tls_fill(transport->tls, bytes, done, context);
    return iomesh_stream_fill(transport->stream, bytes, done, context);
}

uint32_t transport_peek(struct transport *transport, const void **ret_data)
{
    if (transport->tls != NULL)
        return tls_peek(transport->tls, ret_data);
    return iomesh_stream_peek(transport->stream, ret_data);
}

void transport_consume(struct transport *transport, uint32_t bytes)
{
    if (transport->tls != NULL)
        tls_consume(transport->tls, bytes);
    else
        iomesh_stream_consume(transport->stream, bytes);
}

int transport_receive(struct transport *transport, void *data, uint32_t length,
                      iomesh_done_fn *done, void *context)
{
    if (transport->tls != NULL)
        return tls_receive(transport->tls, data, length, done, context);
    return iomesh_stream_receive(transport->stream, data, length, done, context);
}

int transport_send(struct transport *transport, struct iomesh_send *send)
{
    if (transport->tls != NULL)
        return tls_send(transport->tls, send);
    return iomesh_stream_send(transport->stream, send);
}

static void tls_closed(void *context, int result)
{
    struct tls *tls = context;
    iomesh_done_fn *closed = tls->closed;
    void *closed_context = tls->closed_context;
    tls_free(tls);
    closed(closed_context, result);
}

void tls_close_stream(struct tls *tls)
{
    if (tls->stream == NULL)
        return;
    struct iomesh_stream *stream = tls->stream;
    tls->stream = NULL;
    iomesh_stream_close(stream, tls_closed, tls);
}

void transport_close(struct transport *transport, iomesh_done_fn *closed, void *context)
{
    struct tls *tls = transport->tls;
    if (tls == NULL) {
        if (closed != NULL)
            iomesh_stream_close(transport->stream, closed, context);
        return;
    }
    if (closed == NULL) { /* Again: the goodbye took too long. */
        tls_close_stream(tls);
        return;
    }
    tls->closed = closed;
    tls->closed_context = context;
    if (!tls_goodbye(tls))
        tls_close_stream(tls);
}

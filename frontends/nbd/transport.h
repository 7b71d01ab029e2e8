/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a connection, plain or through TLS, with the calls of <iomesh/sys/stream.h>.
 *
 * Plain calls go straight through. With TLS the records are opened and sealed here, by OpenSSL
 * over memory: the ring still moves every byte.
 */
#ifndef NBD_TRANSPORT_H
#define NBD_TRANSPORT_H

#include <iomesh/iomesh.h>
#include <iomesh/sys/stream.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Certificates of the server, and of the authority that signs its clients'. */
struct tls_context;
/* Reads ca-cert.pem, server-cert.pem and server-key.pem. Returns 0, or a negative errno with a
 * sentence in `error`. */
int tls_context_open(const char *directory, char *error, size_t error_bytes,
                     struct tls_context **ret_context);
void tls_context_close(struct tls_context *context);

struct tls;

struct transport {
    struct iomesh_stream *stream;
    struct tls *tls; /* NULL: plain. */
};

/* Seal the connection from here on: the server's side of the TLS handshake. `done` sees 0, or a
 * negative code with transport_sentence() saying why. Returns 0, or -ENOMEM. */
int transport_start_tls(struct transport *transport, struct tls_context *context,
                        iomesh_done_fn *done, void *done_context);
/* Why TLS failed, or "". */
const char *transport_sentence(const struct transport *transport);
/* The subject of the client's certificate, or "". */
const char *transport_subject(const struct transport *transport);

/* As iomesh_stream_fill(), but never call it for what peek has shown already. */
int transport_fill(struct transport *transport, uint32_t bytes, iomesh_done_fn *done,
                   void *context);
uint32_t transport_peek(struct transport *transport, const void **ret_data);
void transport_consume(struct transport *transport, uint32_t bytes);
/* As iomesh_stream_receive(); 1: all is here already and `done` will not run. */
int transport_receive(struct transport *transport, void *data, uint32_t length,
                      iomesh_done_fn *done, void *context);
int transport_send(struct transport *transport, struct iomesh_send *send);
/* Tells a TLS peer goodbye if it can be done without waiting, then closes. Everything under way
 * ends with -ECANCELED before `closed` runs; the transport is empty after it. */
void transport_close(struct transport *transport, iomesh_done_fn *closed, void *context);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The sealed side of a transport; see transport.h. Private to tls*.c and transport.c. */
#ifndef NBD_TLS_H
#define NBD_TLS_H

#include <openssl/ssl.h>

#include "nbd/transport.h"

enum {
    TLS_PLAIN_BYTES = 65536,
    /* Sealed bytes in one send: what can be made of this much before more is sealed. */
    TLS_SEAL_BYTES = 65536,
    TLS_WIRE_BYTES = TLS_SEAL_BYTES + 32768,
    TLS_RECORD_BYTES = 16384,
};

struct tls_context {
    SSL_CTX *ssl;
};

struct tls {
    struct iomesh_stream *stream;
    SSL *ssl;
    BIO *in;  /* Sealed bytes that came. */
    BIO *out; /* Sealed bytes to go. */
    bool up;
    bool closing;
    int error; /* The way in is over. */

    /* Who waits for the way in: the handshake, a fill or a receive. */
    iomesh_done_fn *done;
    void *context;
    bool filling;
    uint32_t wanted; /* Opened bytes that a fill waits for. */
    uint8_t *target; /* Where a receive puts them. */
    uint32_t target_left;

    uint32_t plain_begin, plain_end; /* Of plain[]. */

    /* The way out: sends not sealed to their end, and sends whose last byte is on the wire. */
    struct iomesh_send *queue_first, *queue_last;
    struct iomesh_send *covered_first, *covered_last;
    uint32_t part_index;
    size_t part_done;
    bool wire_busy;
    bool goodbye; /* close_notify is on the wire: close when it is out. */
    struct iomesh_send wire;
    struct iovec wire_part;
    iomesh_done_fn *closed;
    void *closed_context;

    char sentence[200];
    char subject[200];
    uint8_t plain[TLS_PLAIN_BYTES];
    uint8_t wire_bytes[TLS_WIRE_BYTES];
};

/* Frees what is left; everything under way has come back. Sends that wait end with an error. */
void tls_free(struct tls *tls);
int tls_fill(struct tls *tls, uint32_t bytes, iomesh_done_fn *done, void *context);
uint32_t tls_peek(struct tls *tls, const void **ret_data);
void tls_consume(struct tls *tls, uint32_t bytes);
int tls_receive(struct tls *tls, void *data, uint32_t length, iomesh_done_fn *done, void *context);
int tls_send(struct tls *tls, struct iomesh_send *send);
/* True: a goodbye is on its way, and the stream is closed after it. */
bool tls_goodbye(struct tls *tls);
/* Close the stream, now. */
void tls_close_stream(struct tls *tls);

#endif

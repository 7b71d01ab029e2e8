/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the files of this room only.
 *
 *   stream below ──BIO──▶ SSL_read ──▶ plain[], or where a receive wants it
 *   stream below ◀── chunks[] ◀──BIO── SSL_write ◀── record[] ◀── the senders' parts
 *
 * What is to be sent is sealed when it is asked for, if a chunk is free; else when one comes free,
 * together with what came after it. A send has ended when its last byte left.
 */
#ifndef TLS_INSIDE_H
#define TLS_INSIDE_H

#include <openssl/ssl.h>

#include "tls/tls.h"

#define TLS_RECORD_BYTES 16384u
#define TLS_SEALED_BYTES (TLS_RECORD_BYTES + 512u) /* Of a record, at most. */
#define TLS_CHUNK_BYTES (2 * TLS_SEALED_BYTES)
#define TLS_CHUNKS 4u

struct tls_net {
    struct net net;
    struct tls_options options;
    char *directory;
    SSL_CTX *context;
    BIO_METHOD *bio;
};

struct tls_stream;

/* Sealed bytes on their way. */
struct tls_chunk {
    struct tls_stream *stream;
    struct list node;    /* In stream->idle. */
    struct list covered; /* Sends whose last byte is in it. */
    struct iomesh_send send;
    struct iovec part;
    uint32_t bytes;
    uint8_t data[TLS_CHUNK_BYTES];
};

struct tls_stream {
    struct net_stream net;
    struct tls_net *owner;
    struct net_stream *below;
    SSL *ssl;
    bool up;
    bool closing;
    int error; /* The way in is over. */
    int send_error;
    bool refused;   /* By the other end: it said so. */
    char *sentence; /* Why it failed; NULL: nothing is known. */

    /* Who waits for the way in: the handshake, a fill, a receive. */
    net_done_fn *done;
    void *context;
    bool filling;    /* The stream below is asked. */
    uint32_t wanted; /* Of a fill. */
    uint8_t *target; /* Of a receive. */
    uint32_t target_left;
    uint32_t plain_begin, plain_end, plain_bytes;
    uint8_t *plain;

    struct list sends; /* Whose last byte is not sealed. */
    uint32_t part;     /* Of the first of them, and how much of it was. */
    size_t part_done;
    struct tls_chunk *chunks;
    struct tls_chunk *sealing; /* Where sealed bytes go. */
    struct list idle;
    struct timer later; /* What could be told at once is told then. */

    net_done_fn *closed;
    void *closed_context;
    uint8_t record[TLS_RECORD_BYTES];
};

/* --- context.c --- */

int tls_context_open(const char *directory, SSL_CTX **ret_context);
/* A file of OpenSSL's could not be used: -EINVAL and a sentence. */

/* --- stream.c --- */

/* Of `below`, which is ours if the result is 0. */
int tls_stream_open(struct tls_net *net, struct net_stream *below, bool server,
                    uint32_t plain_bytes, struct tls_stream **ret_stream);
/* `done` when the other end has shown who it is, or not. 0, or as it cannot begin. */
int tls_stream_greet(struct tls_stream *stream, net_done_fn *done, void *context);
/* After that has failed: what was said last leaves, what comes is thrown away; `done` when the
 * other end has gone. One that closes with something unread takes back what it said. */
void tls_stream_part(struct tls_stream *stream, net_done_fn *done, void *context);
BIO_METHOD *tls_stream_bio(void);

#endif

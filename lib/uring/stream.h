/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, for the files of this room only. */
#ifndef URING_STREAM_H
#define URING_STREAM_H

#include <sys/socket.h>
#include <sys/un.h>

#include "uring/ring.h"

#define STREAM_PARTS_MAX 128u /* Pieces that leave with one system call. */
#define STREAM_NAME_BYTES 160u
/* After a receive of so much, no more than this comes into the buffer unasked. */
#define STREAM_LARGE_BYTES (32u << 10)
#define STREAM_AHEAD_BYTES 4096u

#define STREAM_IN_USE_MS_MAX 60000u

struct stream_options {
    uint32_t buffer_bytes, backlog, mode, streams_max, in_use_ms;
};

/*
 * A stream.
 *
 *   OPEN ──▶ CLOSING (shut down; what is in flight ends) ──▶ gone, `closed` runs
 */
struct iomesh_stream {
    struct net_stream net; /* As others see it who know host/ only. */
    struct uring *uring;
    struct iomesh_listener *listener; /* That counts it; NULL: none. */
    int fd;
    bool closing;

    /* Receiving: bytes begin .. end of the buffer have come and were not consumed. */
    uint8_t *buffer;
    uint32_t buffer_bytes, begin, end;
    uint8_t *target;      /* Of a receive: where the next byte goes. */
    uint32_t target_left; /* Bytes. */
    uint32_t fill_bytes;  /* Of a fill. */
    uint32_t ahead_bytes; /* How much may come into the buffer with what is wanted. */
    bool large;           /* The last thing wanted was a large receive. */
    bool wanted;          /* A fill or receive is under way. */
    bool receiving;       /* The kernel has a request. */
    int receive_error;    /* Once set it stays. */
    struct uring_op receive_op;
    struct msghdr receive_message;
    struct iovec receive_parts[2];
    struct uring_later receive_later;
    iomesh_done_fn *receive_done;
    void *receive_context;

    /* Sending: the first of `sends` has sent_parts whole parts and sent_bytes of the next away. */
    struct list sends;
    struct list dirty; /* In uring->dirty. */
    uint32_t sent_parts;
    size_t sent_bytes;
    bool sending;
    int send_error;
    struct uring_op send_op;
    struct msghdr send_message;
    struct iovec send_parts[STREAM_PARTS_MAX];

    iomesh_done_fn *closed;
    void *closed_context;
    struct uring_later close_later;
    char peer[STREAM_NAME_BYTES];
};

struct stream_address {
    struct sockaddr_storage bytes;
    socklen_t length;
    char text[STREAM_NAME_BYTES]; /* As it would be given. */
    bool is_unix;
};

/* Parses "unix:PATH" and "tcp:HOST:PORT". `passive`: to listen on. 0, or -EINVAL, -ENOENT … */
int address_parse(const char *text, bool passive, struct stream_address *ret_address);
/* As above, but asks nobody: -ENOENT where HOST is not a number, and must be looked up. */
int address_parse_numeric(const char *text, bool passive, struct stream_address *ret_address);
void address_name(const struct sockaddr *address, socklen_t length,
                  char ret_text[STREAM_NAME_BYTES]);

int stream_options_check(const struct iomesh_stream_options *given,
                         struct stream_options *ret_options);
int stream_open(struct uring *uring, int fd, const struct stream_options *options,
                struct iomesh_stream **ret_stream);
/* Of connect.c. `connected` runs exactly once; the connection is gone then. */
struct stream_connection;
int stream_connection_open(struct uring *uring, const struct stream_address *address,
                           const struct stream_options *options, iomesh_connected_fn *connected,
                           void *context, struct stream_connection **ret_connection);
/* It ends soon, with -ECANCELED. */
void stream_connection_cancel(struct stream_connection *connection);
/* Of net.c. */
extern const struct net_ops uring_net_ops;
extern const struct net_stream_ops uring_net_stream_ops;
/* Of listen.c: a stream that came in is gone. */
void listener_stream_gone(struct iomesh_listener *listener);

#endif

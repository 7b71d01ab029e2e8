/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of grpc share. */
#ifndef GRPC_INSIDE_H
#define GRPC_INSIDE_H

#include <nghttp2/nghttp2.h>
#include <string.h>

#include "grpc/grpc.h"

#define GRPC_PREFIX_BYTES 5u /* 0: compressed or not, u8. 1: length, u32, big-endian. */

/* A message on its way in. */
enum grpc_intake_state {
    INTAKE_SMALL,   /* It fits what a stream may have. */
    INTAKE_WAITING, /* Large: its window stays closed until there is room. */
    INTAKE_HELD     /* Large, and counted in session->held_bytes. */
};

struct grpc_intake {
    enum grpc_intake_state state;
    uint8_t prefix[GRPC_PREFIX_BYTES];
    uint32_t prefix_have;
    uint32_t length; /* Of the message, once the prefix is here. */
    uint32_t have;
    uint8_t *data;
    uint32_t capacity;
    uint32_t unconsumed; /* Received, and not yet given back to the stream's window. */
    struct list node;    /* session->waiting. */
};

/* A message on its way out; its prefix and itself follow. */
struct grpc_chunk {
    struct list node;
    size_t length;
    size_t done;
    uint8_t bytes[];
};

struct grpc_stream {
    struct grpc_session *session;
    struct list node; /* session->streams. */
    void *context;
    int32_t id;
    bool told;       /* It has ended, or was cancelled: no more events. */
    bool answered;   /* A server's: its headers were sent. */
    bool closing;    /* Nothing will be added to `chunks`. */
    bool suspended;  /* Its data provider said that there is nothing yet. */
    bool eof_given;  /* The last byte of ours is in a frame, */
    uint64_t eof_at; /* and that frame begins here in all that the session ever produced. */
    struct list chunks;
    size_t queued_bytes;
    struct grpc_intake intake;

    /* What the peer said. */
    uint32_t http_status; /* 0: nothing yet. */
    bool has_status;
    uint32_t status;
    char text[GRPC_TEXT_BYTES_MAX + 1];
    uint32_t message_bytes;

    /* A server's: the call's head, until it has begun; and how it ends. */
    struct grpc_request *request;
    bool begun;
    bool finished;
    uint32_t finish_status;
    char finish_text[GRPC_TEXT_BYTES_MAX + 1];
};

/* A call's head as it comes in, field by field. */
struct grpc_request {
    char path[GRPC_PATH_BYTES_MAX + 1];
    bool is_grpc;
    uint64_t timeout_ns;
    uint32_t field_count;
    size_t used;
    struct grpc_field fields[GRPC_FIELDS_MAX];
    char bytes[GRPC_FIELD_BYTES_MAX];
};

struct grpc_session {
    nghttp2_session *http;
    struct grpc_options options;
    char authority[GRPC_PATH_BYTES_MAX + 1];
    struct list streams;
    struct list waiting; /* struct grpc_intake: for room. */
    size_t held_bytes;
    bool leaving;
    bool failed;       /* No memory somewhere in a callback. */
    uint64_t produced; /* Bytes that nghttp2 gave us, */
    uint64_t taken;    /* and those of them that the socket took. */
    uint8_t output[GRPC_OUTPUT_BYTES + 16384 + 1024];
    size_t output_from;
    size_t output_to;
};

/* session.c */
void grpc_stream_tell(struct grpc_stream *stream, const struct grpc_end *end);
/* Ends a stream because of what the peer sent: told, and reset. */
void grpc_stream_refuse(struct grpc_stream *stream, uint32_t status, const char *text);
bool grpc_stream_may_have_run(const struct grpc_stream *stream);

/* stream.c */
struct grpc_stream *grpc_stream_new(struct grpc_session *session);
void grpc_stream_free(struct grpc_stream *stream);
/* Of frames that nghttp2 sends for a stream. */
nghttp2_data_provider grpc_stream_source(struct grpc_stream *stream);

/* intake.c: bytes of a stream's messages. Runs `message` for each that is whole. */
void grpc_intake_feed(struct grpc_stream *stream, const uint8_t *data, size_t length);
/* The stream is over: gives back its memory and its place. */
void grpc_intake_done(struct grpc_stream *stream);

/* head.c: what is in headers. */
struct grpc_value {
    const uint8_t *data;
    size_t length;
};
/* A client's: of an answer or its trailers. */
void grpc_head_answer(struct grpc_stream *stream, struct grpc_value name, struct grpc_value value);
/* A server's: of a call. False: too much of it. */
bool grpc_head_request(struct grpc_request *request, struct grpc_value name,
                       struct grpc_value value);
#define GRPC_TIMEOUT_BYTES 16u
/* "5000m" for 5 s. */
void grpc_timeout_encode(uint64_t timeout_ns, char ret_text[GRPC_TIMEOUT_BYTES]);
/* False: it is none. */
bool grpc_timeout_decode(struct grpc_value text, uint64_t *ret_timeout_ns);
/* Printable text as a status carries it, with what is not escaped as %XX; and back. */
#define GRPC_ESCAPED_BYTES (3 * GRPC_TEXT_BYTES_MAX + 1)
void grpc_text_encode(const char *text, char ret_escaped[GRPC_ESCAPED_BYTES]);
void grpc_text_decode(struct grpc_value escaped, char ret_text[GRPC_TEXT_BYTES_MAX + 1]);
/* What HTTP's status means where gRPC's is missing. */
uint32_t grpc_status_of_http(uint32_t http_status);

#endif

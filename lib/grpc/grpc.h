/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc: one connection of gRPC over HTTP/2, either end of it, bytes in and bytes out.
 *
 *   socket ──▶ grpc_receive() ──▶ events          calls, messages ──▶ grpc_output() ──▶ socket
 *
 * Owns: the session, its streams, and what waits in them. Knows no socket, no clock and no thread:
 * whoever has the connection moves the bytes and keeps the deadlines (one that has passed ends with
 * grpc_cancel()). Messages are bytes; what is in them is somebody else's.
 *
 * Promises:
 *   - `ended` runs exactly once for each stream that has begun, unless grpc_cancel() came first or
 *     the session was freed; nothing runs for a stream after either.
 *   - Memory is bounded whatever the peer sends: small messages by their stream's window, larger
 *     ones by a room for all streams together (held_bytes_max), in which they wait their turn.
 *   - Whether a call that broke off may have reached the peer is known exactly: see `may_have_run`.
 *
 * Events run inside grpc_receive() and grpc_lost() and from nowhere else. They may call back in:
 * begin, send, cancel; but not free the session, and not receive.
 *
 * Thread: one at a time. Blocks: never. Allocates: yes, within the limits of the options.
 */
#ifndef GRPC_GRPC_H
#define GRPC_GRPC_H

#include "base/base.h"

#define GRPC_TEXT_BYTES_MAX 255u   /* Of a status; what is longer is cut. */
#define GRPC_PATH_BYTES_MAX 255u   /* "/package.Service/Method" */
#define GRPC_FIELDS_MAX 32u        /* Of metadata, for each call. */
#define GRPC_FIELD_BYTES_MAX 8192u /* Names and values of them together. */
#define GRPC_SMALL_BYTES 65536u    /* A message of more waits for room. */
#define GRPC_OUTPUT_BYTES 65536u   /* What grpc_output() gathers. */
#define GRPC_TIMEOUT_NONE 0u

/* As they go over the wire. */
enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16
};

struct grpc_session;
struct grpc_stream;

/* One of a call's metadata: text, the name in lower case and not one that gRPC uses itself. */
struct grpc_field {
    const char *name;
    const char *value;
};

/* How a call begins. Borrowed: by grpc_call() until it returns, in `begun` until that does. */
struct grpc_head {
    const char *path;
    uint64_t timeout_ns; /* GRPC_TIMEOUT_NONE, or told to the server, which keeps it. */
    const struct grpc_field *fields;
    uint32_t field_count;
};

/* How it ended. */
struct grpc_end {
    uint32_t status;        /* enum grpc_status, or a number that is none of them. */
    const char *text;       /* The peer's, or ours. Borrowed until `ended` returns. */
    bool may_have_run;      /* False: the server surely never had all of the request. */
    uint32_t message_bytes; /* Not 0: ended here, because a message would have had so many. */
};

struct grpc_events {
    /* A server's: a call begins. It may be answered, or ended, in here. */
    void (*begun)(void *owner, struct grpc_stream *stream, const struct grpc_head *head);
    /* A whole message; borrowed until this returns, or cancels the stream. */
    void (*message)(void *owner, struct grpc_stream *stream, const void *data, uint32_t length);
    /* A server's: the client sends no more. */
    void (*half_closed)(void *owner, struct grpc_stream *stream);
    /* The stream is over, and gone when this returns. */
    void (*ended)(void *owner, struct grpc_stream *stream, const struct grpc_end *end);
};

struct grpc_options {
    bool server;
    bool secure;           /* The scheme a client names: https. */
    const char *authority; /* A client's: the server's name, "host:port". Copied. */
    const struct grpc_events *events;
    void *owner;                /* For the events. */
    uint32_t message_bytes_max; /* Received; a call whose message has more is ended. */
    uint32_t held_bytes_max;    /* Large messages on their way in, all together; one always fits. */
    uint32_t queued_bytes_max;  /* Sent, of one stream, and not yet with the socket. */
    uint32_t streams_max;       /* A server's: calls at a time; the peer is told. */
};

/* 0 or -ENOMEM, with a sentence. */
int grpc_session_new(const struct grpc_options *options, struct grpc_session **ret_session);
/* No event runs. NULL is fine. */
void grpc_session_free(struct grpc_session *session);

/*
 * What came from the peer. 0, or with a sentence -EPROTO or -ENOMEM: the connection is of no more
 * use; send what grpc_output() still has, if that is easy, then grpc_lost().
 */
int grpc_receive(struct grpc_session *session, const void *data, size_t length);
/* What is to be sent next: its length (0: nothing), valid until the next call of this room. */
size_t grpc_output(struct grpc_session *session, const uint8_t **ret_data);
/* The first `length` bytes of that are with the socket. */
void grpc_taken(struct grpc_session *session, size_t length);
/* The connection is gone: every stream ends as GRPC_UNAVAILABLE. Then only _free(). */
void grpc_lost(struct grpc_session *session, const char *text);
/* The peer takes no new calls on this connection. */
bool grpc_leaving(const struct grpc_session *session);
/* Both have said all that they will on this connection; also after a peer's gross mistake. */
bool grpc_over(const struct grpc_session *session);
/* A server's: takes no new calls, lets those that it has go on. */
void grpc_leave(struct grpc_session *session);
/* Asks for a sign of life: bytes will come from a peer that is there. */
void grpc_ping(struct grpc_session *session);

/* Begins a call. 0, -ENOMEM, or -EAGAIN: the peer takes no more. Sentences: no. */
int grpc_call(struct grpc_session *session, const struct grpc_head *head, void *context,
              struct grpc_stream **ret_stream);
/*
 * A message; copied. `last`: no more follows from here (a client's; a server ends with
 * grpc_finish()). 0, -ENOMEM, or -EAGAIN: queued_bytes_max wait already.
 */
int grpc_send(struct grpc_stream *stream, const void *data, uint32_t length, bool last);
/* A server's end of a call, after what was sent. Only `ended` is told of it after this. */
void grpc_finish(struct grpc_stream *stream, uint32_t status, const char *text);
/*
 * Ends a call from here; no event runs for it, and it is gone. True: its request may have reached
 * the peer, or still may.
 */
bool grpc_cancel(struct grpc_stream *stream);

void *grpc_context(const struct grpc_stream *stream);
void grpc_context_set(struct grpc_stream *stream, void *context);

/* "NOT_FOUND" and so on. */
const char *grpc_status_name(uint32_t status);

#endif

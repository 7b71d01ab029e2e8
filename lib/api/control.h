/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool's control socket: who owns the pool answers for it.
 *
 * One listener and a few connections. Each has one request at a time worked on, and beside it I/O
 * on the volumes that it opened, in slots: what a connection may take of memory is its own, so one
 * that stops reading holds up nobody else. A connection without volumes that is silent for too
 * long, or is another user's, is closed. The pool outlives it: closing waits for what was asked
 * for here and lets the answers out, but what takes long ends when the catalog is closed.
 */
#ifndef API_CONTROL_H
#define API_CONTROL_H

#include "api/pool.h"
#include "control/control.h"

#define CONTROL_SESSIONS_MAX 16u
#define CONTROL_IDLE_NS (30 * NS_PER_S)
#define CONTROL_SEND_NS (10 * NS_PER_S)
/* What a pool that closes waits for a client to take its answer. */
#define CONTROL_PARTING_NS (1 * NS_PER_S)
/* What takes long tells how far it is so often, and that it goes on so often. */
#define CONTROL_PROGRESS_NS (100 * NS_PER_MS)
#define CONTROL_ALIVE_NS (10 * NS_PER_S)
/* Requests of I/O of one connection at once; each has CONTROL_PAYLOAD_BYTES_MAX of memory. */
#define CONTROL_SLOTS 4u
/* After the pool was out of requests. */
#define CONTROL_RETRY_NS (1 * NS_PER_MS)

/*
 * A connection, as it reads.
 *
 *   HEAD ──▶ BODY ──▶ WAIT ──▶ HEAD    until the answer has left, or a slot is free
 *     │       │ └─▶ PAYLOAD ──▶ WAIT
 *     └───────┴──────┴──────────┴──▶ GONE
 */
enum control_state { CONTROL_HEAD, CONTROL_BODY, CONTROL_PAYLOAD, CONTROL_WAIT, CONTROL_GONE };

struct pool_control;
struct control_session;

/* An answer on its way, inside whatever waits for it. */
struct control_answer {
    struct control_session *session;
    struct control_bytes bytes;
    struct iovec parts[2];
    struct iomesh_send send;
    bool sending;
    void (*sent)(struct control_answer *answer); /* Not if the connection is gone. */
};

/* I/O under way. */
struct control_slot {
    struct control_session *session;
    bool busy;
    struct control_request request;
    struct iomesh_volume *volume;
    uint8_t *data; /* CONTROL_PAYLOAD_BYTES_MAX of them. */
    struct iomesh_extent *extents;
    struct timer retry;
    struct control_answer answer;
};

struct control_opened {
    uint32_t number; /* 0: none. */
    struct iomesh_volume *volume;
};

/* What a connection has once it opens its first volume. */
struct control_io {
    struct control_slot slots[CONTROL_SLOTS];
    struct control_opened opened[IOMESH_CONTROL_VOLUMES_MAX];
    uint32_t number_last, opened_count, opening_count, busy_count;
};

struct control_session {
    struct list node; /* In control->sessions. */
    struct pool_control *control;
    struct iomesh_stream *stream; /* NULL once it is closed. */
    enum control_state state;
    bool working; /* On `request`, or its answer is on its way. */
    bool done;    /* Of that: it is on its way. */
    bool last;    /* Closed after the answer that is under way. */
    bool closing; /* One of its volumes. */
    uint32_t body_bytes;
    uint32_t sends;          /* Under way. */
    struct timer limit;      /* Of what is read. */
    struct timer send_limit; /* Of what is sent. */
    struct timer alive;      /* Of what is worked on. */
    uint64_t progress_done, progress_total, progress_ns;
    uint32_t snapshots_told, groups_told;
    struct control_request request;
    struct control_response response;
    struct control_answer answer, progress;
    struct control_io *io; /* NULL: it never opened a volume. */
};

struct pool_control {
    struct iomesh_pool *pool;
    struct iomesh_listener *listener; /* NULL once it is gone. */
    struct list sessions;
    uint32_t operations; /* Of those that pool->operations counts. */
    uint32_t handles;    /* Of those that pool->handles counts. */
    bool closing;
    bool quiet; /* All that is left ends with the catalog. */
};

/* Serves an open pool. A socket that cannot be made is a trace event, not an error. */
void pool_control_open(struct iomesh_pool *pool);
/* Ends it; pool_control_closed() follows from a turn. */
void pool_control_close(struct pool_control *control);
/* Of pool.c: nothing of the control socket needs the catalog; pool->control is NULL, or quiet and
 * will be. */
void pool_control_closed(struct iomesh_pool *pool);

/* Of control_work.c: does what session->request asks; control_answer() follows. */
void control_work(struct control_session *session);
/* It ends with the catalog, not before. */
bool control_takes_long(uint32_t kind);

/* Of control.c. session->response is whole. */
void control_answer(struct control_session *session, int result);
/* How far the work is. */
void control_progress(struct control_session *session, uint64_t done, uint64_t total);
/* Sends response, and behind it `payload`. The connection is closed if that cannot be. */
void control_send(struct control_answer *answer, const struct control_response *response,
                  const void *payload);
/* What it waited for may be there: reads on, or ends. */
void control_go_on(struct control_session *session);
/* `result` with its sentence: the last one, or that of the code. */
void control_say(struct control_response *response, int result, bool sentence);

/* Of control_io.c. Work: control_answer() follows. */
void control_io_open(struct control_session *session, struct iomesh_pool *pool);
void control_io_handle(struct control_session *session); /* CONTROL_IMPORT_END, CONTROL_CLOSE. */
/* A slot for session->request; one is free. */
struct control_slot *control_io_slot(struct control_session *session);
/* Its data has come: its answer follows. */
void control_io_start(struct control_slot *slot);
/* Of a connection that is gone: true once nothing of it is left. */
bool control_io_ended(struct control_session *session);

struct iomesh_control;
/* Of control_client.c, for tests: the longest wait for an answer from now on. */
void api_control_limit(struct iomesh_control *control, uint64_t answer_ns);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool's control socket: who owns the pool answers for it.
 *
 * One listener, a few connections, one request at a time on each. A connection that is silent for
 * too long, or is another user's, is closed. The pool outlives it: closing waits for operations
 * that were asked for here and lets their answers out.
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

/*
 * A connection.
 *
 *   HEAD ──▶ BODY ──▶ WORK ──▶ SEND ──▶ HEAD
 *     └───────┴─────────────────┴──▶ GONE
 */
enum control_state { CONTROL_HEAD, CONTROL_BODY, CONTROL_WORK, CONTROL_SEND, CONTROL_GONE };

struct pool_control;

struct control_session {
    struct list node; /* In control->sessions. */
    struct pool_control *control;
    struct iomesh_stream *stream;
    enum control_state state;
    bool last; /* Closed after the answer that is under way. */
    uint32_t body_bytes;
    struct timer limit; /* Of the state it is in; WORK has none. */
    struct control_request request;
    struct control_response response;
    struct control_bytes answer;
    struct iovec part;
    struct iomesh_send send;
};

struct pool_control {
    struct iomesh_pool *pool;
    struct iomesh_listener *listener; /* NULL once it is gone. */
    struct list sessions;
    uint32_t operations; /* Of those that pool->operations counts. */
    bool closing;
};

/* Serves an open pool. A socket that cannot be made is a trace event, not an error. */
void pool_control_open(struct iomesh_pool *pool);
/* Ends it; pool_control_closed() follows from a turn. */
void pool_control_close(struct pool_control *control);
/* Of pool.c: the control socket is gone, and pool->control freed. */
void pool_control_closed(struct iomesh_pool *pool);

/* Of control_work.c: does what session->request asks; control_answer() follows, never inside. */
void control_work(struct control_session *session);
/* Of control.c: session->response is whole. */
void control_answer(struct control_session *session, int result);

struct iomesh_control;
/* Of control_client.c, for tests: the longest wait for an answer from now on. */
void api_control_limit(struct iomesh_control *control, uint64_t answer_ns);

#endif

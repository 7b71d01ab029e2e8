/* SPDX-License-Identifier: Apache-2.0 */
#include "api/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void control_notice(struct pool_control *control, const char *what)
{
    char text[600];
    (void)snprintf(text, sizeof text, "control socket: %s", what);
    api_trace(control->pool->engine, IOMESH_SEVERITY_WARNING, IOMESH_EVENT_CONTROL, text, NULL, 0);
}

/* Once the listener and the sessions are gone there is nothing left of it. */
static void control_release(struct pool_control *control)
{
    if (!control->closing || control->listener != NULL || !list_empty(&control->sessions))
        return;
    struct iomesh_pool *pool = control->pool;
    pool->control = NULL;
    free(control);
    pool_control_closed(pool);
}

/* --- A connection -------------------------------------------------------------------------- */

static void session_read(struct control_session *session, enum control_state state, uint32_t bytes);

static void session_closed(void *context, int result)
{
    (void)result;
    struct control_session *session = context;
    struct pool_control *control = session->control;
    list_remove(&session->node);
    control_response_done(&session->response);
    free(session->answer.bytes);
    free(session);
    control_release(control);
}

static void session_close(struct control_session *session)
{
    assert(session->state != CONTROL_WORK);
    if (session->state == CONTROL_GONE)
        return;
    session->state = CONTROL_GONE;
    clock_cancel(session->control->pool->clock, &session->limit);
    uring_stream_close(session->stream, session_closed, session);
}

static void session_limit(struct timer *timer)
{
    session_close(CONTAINER_OF(timer, struct control_session, limit));
}

static void session_sent(void *context, int result)
{
    struct control_session *session = context;
    if (session->state == CONTROL_GONE)
        return;
    free(session->answer.bytes);
    session->answer = (struct control_bytes){0};
    if (result != 0 || session->last)
        session_close(session);
    else
        session_read(session, CONTROL_HEAD, CONTROL_FRAME_BYTES);
}

void control_answer(struct control_session *session, int result)
{
    struct pool_control *control = session->control;
    struct control_response *response = &session->response;
    response->id = session->request.id;
    response->result = result;
    response->process = (uint32_t)getpid();
    if (result < 0)
        (void)snprintf(response->sentence, sizeof response->sentence, "%s",
                       base_last_error()[0] != '\0' ? base_last_error() : base_error_text(result));
    session->state = CONTROL_SEND;
    int encoded = control_response_encode(response, &session->answer);
    control_response_done(response);
    if (encoded == 0) {
        session->part = (struct iovec){session->answer.bytes, session->answer.length};
        session->send.parts = &session->part;
        session->send.part_count = 1;
        session->send.done = session_sent;
        session->send.context = session;
        encoded = uring_stream_send(session->stream, &session->send);
    }
    if (encoded != 0)
        session_close(session);
    else
        clock_set_after(control->pool->clock, &session->limit,
                        control->closing ? CONTROL_PARTING_NS : CONTROL_SEND_NS);
}

/* What cannot be understood is answered once, and the connection ends with it. */
static void session_refuse(struct control_session *session, int result)
{
    session->last = true;
    control_answer(session, result);
}

static void session_take_head(struct control_session *session)
{
    const void *bytes;
    uint32_t length = 0;
    (void)uring_stream_peek(session->stream, &bytes);
    int result = control_frame_decode(bytes, CONTROL_REQUEST_BYTES_MAX, &length);
    if (result != 0) {
        session->request = (struct control_request){0};
        session_refuse(session, result);
        return;
    }
    session->body_bytes = length;
    session_read(session, CONTROL_BODY, CONTROL_FRAME_BYTES + length);
}

static void session_take_body(struct control_session *session)
{
    const void *bytes;
    (void)uring_stream_peek(session->stream, &bytes);
    session->request = (struct control_request){0};
    base_clear_error();
    int result = control_request_decode((const uint8_t *)bytes + CONTROL_FRAME_BYTES,
                                        session->body_bytes, &session->request);
    uring_stream_consume(session->stream, CONTROL_FRAME_BYTES + session->body_bytes);
    if (result == -EPROTO || result == -ENOMEM) {
        session_refuse(session, result);
        return;
    }
    session->state = CONTROL_WORK;
    clock_cancel(session->control->pool->clock, &session->limit);
    if (result != 0)
        control_answer(session, result);
    else
        control_work(session);
}

static void session_filled(void *context, int result)
{
    struct control_session *session = context;
    if (session->state == CONTROL_GONE)
        return;
    if (result != 0)
        session_close(session);
    else if (session->state == CONTROL_HEAD)
        session_take_head(session);
    else
        session_take_body(session);
}

static void session_read(struct control_session *session, enum control_state state, uint32_t bytes)
{
    /* A request is whole within the time of one: its head does not buy its body more. */
    if (state == CONTROL_HEAD)
        clock_set_after(session->control->pool->clock, &session->limit, CONTROL_IDLE_NS);
    session->state = state;
    if (uring_stream_fill(session->stream, bytes, session_filled, session) != 0)
        session_close(session);
}

/* --- Connections --------------------------------------------------------------------------- */

/* Its mode lets only its owner and root open the socket; this holds wherever the file has gone. */
static bool control_admits(struct pool_control *control, const struct iomesh_stream *stream)
{
    uint32_t user;
    char text[96];
    if (uring_stream_user(stream, &user) != 0) {
        control_notice(control, base_last_error());
        return false;
    }
    if (user == 0 || user == geteuid())
        return true;
    (void)snprintf(text, sizeof text, "user %u was turned away", user);
    control_notice(control, text);
    return false;
}

static void control_accepted(void *context, int result, struct iomesh_stream *stream)
{
    struct pool_control *control = context;
    if (result == -ECANCELED) {
        control->listener = NULL;
        control_release(control);
        return;
    }
    if (result != 0) {
        control_notice(control, base_error_text(result));
        return;
    }
    struct control_session *session =
        control_admits(control, stream) ? calloc(1, sizeof *session) : NULL;
    if (session == NULL || control->closing) {
        free(session);
        uring_stream_close(stream, NULL, NULL);
        return;
    }
    session->control = control;
    session->stream = stream;
    session->limit.fire = session_limit;
    list_push_back(&control->sessions, &session->node);
    session_read(session, CONTROL_HEAD, CONTROL_FRAME_BYTES);
}

void pool_control_open(struct iomesh_pool *pool)
{
    struct iomesh_stream_options options = IOMESH_STREAM_OPTIONS_INIT;
    options.buffer_bytes = 2 * CONTROL_REQUEST_BYTES_MAX;
    options.streams_max = CONTROL_SESSIONS_MAX;
    options.mode = 0600;
    struct pool_control *control = calloc(1, sizeof *control);
    size_t length = strlen(pool->place.control) + sizeof "unix:";
    char *address = malloc(length);
    int result = control != NULL && address != NULL ? 0 : FAIL(-ENOMEM, "no memory");
    if (result == 0) {
        (void)snprintf(address, length, "unix:%s", pool->place.control);
        control->pool = pool;
        list_init(&control->sessions);
        result = uring_listen(pool->engine->uring, address, &options, control_accepted, control,
                              &control->listener);
    }
    free(address);
    if (result == 0) {
        pool->control = control;
        return;
    }
    char text[600];
    (void)snprintf(text, sizeof text, "the pool is not served for control: %s", base_last_error());
    api_trace(pool->engine, IOMESH_SEVERITY_WARNING, IOMESH_EVENT_CONTROL, text, NULL, 0);
    free(control);
}

void pool_control_close(struct pool_control *control)
{
    control->closing = true;
    uring_listener_close(control->listener);
    LIST_EACH_SAFE (&control->sessions, node, after) {
        struct control_session *session = LIST_ENTRY(node, struct control_session, node);
        session->last = true;
        if (session->state == CONTROL_SEND)
            clock_set_after(control->pool->clock, &session->limit, CONTROL_PARTING_NS);
        else if (session->state != CONTROL_WORK)
            session_close(session);
    }
}

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

/* Nothing of it keeps the catalog from being closed; or nothing is left of it at all. */
static void control_release(struct pool_control *control)
{
    struct iomesh_pool *pool = control->pool;
    bool quiet = control->quiet;
    if (!control->closing || control->listener != NULL || control->handles > 0)
        return;
    LIST_EACH (&control->sessions, node) {
        const struct control_session *session = LIST_ENTRY(node, struct control_session, node);
        if (!session->working || session->done || !control_takes_long(session->request.kind))
            return;
    }
    control->quiet = true;
    if (list_empty(&control->sessions)) {
        pool->control = NULL;
        free(control);
    }
    if (!quiet)
        pool_control_closed(pool);
}

/* --- A connection ends --------------------------------------------------------------------- */

static void session_end(struct control_session *session)
{
    struct pool_control *control = session->control;
    bool ended = session->stream == NULL && control_io_ended(session);
    if (ended && !session->working) {
        list_remove(&session->node);
        control_response_done(&session->response);
        control_request_done(&session->request);
        free(session->answer.bytes.bytes);
        free(session->progress.bytes.bytes);
        free(session);
    }
    control_release(control);
}

static void session_closed(void *context, int result)
{
    (void)result;
    struct control_session *session = context;
    session->stream = NULL;
    session_end(session);
}

static void session_close(struct control_session *session)
{
    if (session->state == CONTROL_GONE)
        return;
    struct clock *clock = session->control->pool->clock;
    session->state = CONTROL_GONE;
    clock_cancel(clock, &session->limit);
    clock_cancel(clock, &session->send_limit);
    clock_cancel(clock, &session->alive);
    uring_stream_close(session->stream, session_closed, session);
}

static void session_limit(struct timer *timer)
{
    session_close(CONTAINER_OF(timer, struct control_session, limit));
}

static void session_send_limit(struct timer *timer)
{
    session_close(CONTAINER_OF(timer, struct control_session, send_limit));
}

/* --- Sending ------------------------------------------------------------------------------- */

/* One that has volumes open may take its time: it may be a backup whose reader is slow. */
static void session_set_send_limit(struct control_session *session)
{
    struct clock *clock = session->control->pool->clock;
    bool patient = session->io != NULL && session->io->opened_count > 0;
    if (session->sends == 0 || (patient && !session->control->closing))
        clock_cancel(clock, &session->send_limit);
    else
        clock_set_after(clock, &session->send_limit,
                        session->control->closing ? CONTROL_PARTING_NS : CONTROL_SEND_NS);
}

static void answer_sent(void *context, int result)
{
    struct control_answer *answer = context;
    struct control_session *session = answer->session;
    free(answer->bytes.bytes);
    answer->bytes = (struct control_bytes){0};
    answer->sending = false;
    session->sends--;
    if (session->state != CONTROL_GONE) {
        session_set_send_limit(session);
        if (result != 0)
            session_close(session);
    }
    answer->sent(answer);
}

void control_send(struct control_answer *answer, const struct control_response *response,
                  const void *payload)
{
    struct control_session *session = answer->session;
    int result = control_response_encode(response, &answer->bytes);
    if (result == 0) {
        answer->parts[0] = (struct iovec){answer->bytes.bytes, answer->bytes.length};
        answer->parts[1] = (struct iovec){(void *)(uintptr_t)payload, response->payload};
        answer->send.parts = answer->parts;
        answer->send.part_count = response->payload > 0 ? 2 : 1;
        answer->send.done = answer_sent;
        answer->send.context = answer;
        result = uring_stream_send(session->stream, &answer->send);
    }
    if (result == 0) {
        answer->sending = true;
        session->sends++;
        if (!session->send_limit.set)
            session_set_send_limit(session);
        return;
    }
    free(answer->bytes.bytes);
    answer->bytes = (struct control_bytes){0};
    session_close(session);
    answer->sent(answer);
}

void control_say(struct control_response *response, int result, bool sentence)
{
    response->result = result;
    if (result < 0)
        (void)snprintf(response->sentence, sizeof response->sentence, "%s",
                       sentence && base_last_error()[0] != '\0' ? base_last_error()
                                                                : base_error_text(result));
}

/* --- Answers ------------------------------------------------------------------------------- */

/* The next of the answers that session->response makes. */
static void session_tell(struct control_session *session)
{
    const struct control_response *whole = &session->response;
    struct control_response page = *whole;
    page.snapshots = whole->snapshots + session->snapshots_told;
    page.snapshot_count =
        MIN(whole->snapshot_count - session->snapshots_told, CONTROL_SNAPSHOTS_MAX);
    page.groups = whole->groups + session->groups_told;
    page.group_count = MIN(whole->group_count - session->groups_told, CONTROL_GROUPS_MAX);
    session->snapshots_told += page.snapshot_count;
    session->groups_told += page.group_count;
    page.more = session->snapshots_told < whole->snapshot_count ||
                session->groups_told < whole->group_count;
    control_send(&session->answer, &page, NULL);
}

static void session_told(struct control_answer *answer)
{
    struct control_session *session = answer->session;
    const struct control_response *whole = &session->response;
    if (session->state != CONTROL_GONE && (session->snapshots_told < whole->snapshot_count ||
                                           session->groups_told < whole->group_count)) {
        session_tell(session);
        return;
    }
    control_response_done(&session->response);
    control_request_done(&session->request);
    session->working = session->done = false;
    if (session->last)
        session_close(session);
    control_go_on(session);
}

void control_answer(struct control_session *session, int result)
{
    struct control_response *response = &session->response;
    session->done = true;
    clock_cancel(session->control->pool->clock, &session->alive);
    if (session->state == CONTROL_GONE) {
        session_told(&session->answer);
        return;
    }
    response->id = session->request.id;
    response->process = (uint32_t)getpid();
    control_say(response, result, true);
    session->snapshots_told = session->groups_told = 0;
    session_tell(session);
}

static void progress_sent(struct control_answer *answer)
{
    (void)answer;
}

static void session_tell_progress(struct control_session *session)
{
    struct clock *clock = session->control->pool->clock;
    if (session->state == CONTROL_GONE || session->progress.sending)
        return;
    struct control_response response = {
        .id = session->request.id,
        .process = (uint32_t)getpid(),
        .more = true,
        .progress_done = session->progress_done,
        .progress_total = session->progress_total,
    };
    session->progress_ns = clock_now_ns(clock);
    clock_set_after(clock, &session->alive, CONTROL_ALIVE_NS);
    control_send(&session->progress, &response, NULL);
}

static void session_alive(struct timer *timer)
{
    struct control_session *session = CONTAINER_OF(timer, struct control_session, alive);
    clock_set_after(session->control->pool->clock, timer, CONTROL_ALIVE_NS);
    session_tell_progress(session);
}

void control_progress(struct control_session *session, uint64_t done, uint64_t total)
{
    session->progress_done = done;
    session->progress_total = total;
    uint64_t now_ns = clock_now_ns(session->control->pool->clock);
    if (done >= total || now_ns - session->progress_ns >= CONTROL_PROGRESS_NS)
        session_tell_progress(session);
}

/* --- Requests ------------------------------------------------------------------------------ */

static void session_read(struct control_session *session, enum control_state state, uint32_t bytes);

static void session_work(struct control_session *session, int result)
{
    struct clock *clock = session->control->pool->clock;
    session->state = CONTROL_WAIT;
    session->working = true;
    session->done = false;
    clock_cancel(clock, &session->limit);
    if (result != 0) {
        control_answer(session, result);
        return;
    }
    session->progress_done = session->progress_total = session->progress_ns = 0;
    if (control_takes_long(session->request.kind))
        clock_set_after(clock, &session->alive, CONTROL_ALIVE_NS);
    control_work(session);
}

/* What cannot be understood is answered once, and the connection ends with it. */
static void session_refuse(struct control_session *session, int result)
{
    session->last = true;
    session_work(session, result);
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

static void session_take_payload(void *context, int result)
{
    struct control_slot *slot = context;
    struct control_session *session = slot->session;
    if (session->state == CONTROL_GONE || result != 0) {
        slot->busy = false;
        session->io->busy_count--;
        session_close(session);
        session_end(session);
        return;
    }
    session->state = CONTROL_WAIT;
    clock_cancel(session->control->pool->clock, &session->limit);
    control_io_start(slot);
    control_go_on(session);
}

/* A slot is free whenever a request is read; before the first volume is open it is work. */
static void session_take_io(struct control_session *session)
{
    struct control_slot *slot = control_io_slot(session);
    uint32_t payload = slot->request.payload;
    session->state = CONTROL_PAYLOAD;
    if (payload == 0)
        session_take_payload(slot, 0);
    else if (uring_stream_receive(session->stream, slot->data, payload, session_take_payload,
                                  slot) != 0)
        session_take_payload(slot, -EIO);
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
    bool has_slots = session->io != NULL;
    if (result == 0 && session->request.payload > 0 && !has_slots)
        result = FAIL(-EPROTO, "data for a volume came before one was opened");
    /* What follows it would be taken for a request. */
    if (result == -EPROTO || result == -ENOMEM || (result != 0 && session->request.payload > 0))
        session_refuse(session, result);
    else if (result == 0 && control_is_io(session->request.kind) && has_slots)
        session_take_io(session);
    else
        session_work(session, result);
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
    struct clock *clock = session->control->pool->clock;
    bool patient = session->io != NULL && session->io->opened_count > 0;
    /* A request is whole within the time of one: its head does not buy its body more. */
    if (state == CONTROL_HEAD && patient)
        clock_cancel(clock, &session->limit);
    else if (state == CONTROL_HEAD || !session->limit.set)
        clock_set_after(clock, &session->limit, CONTROL_IDLE_NS);
    session->state = state;
    if (uring_stream_fill(session->stream, bytes, session_filled, session) != 0)
        session_close(session);
}

void control_go_on(struct control_session *session)
{
    if (session->state == CONTROL_GONE)
        session_end(session);
    else if (session->state == CONTROL_WAIT && !session->working && !session->last &&
             (session->io == NULL || session->io->busy_count < CONTROL_SLOTS))
        session_read(session, CONTROL_HEAD, CONTROL_FRAME_BYTES);
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
    session->send_limit.fire = session_send_limit;
    session->alive.fire = session_alive;
    session->answer.session = session->progress.session = session;
    session->answer.sent = session_told;
    session->progress.sent = progress_sent;
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
        session_set_send_limit(session);
        if (!session->working)
            session_close(session);
    }
}

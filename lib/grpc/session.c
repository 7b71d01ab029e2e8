/* SPDX-License-Identifier: Apache-2.0 */
/* The connection: nghttp2 between bytes and streams. */
#include <stdio.h>
#include <stdlib.h>

#include "grpc/inside.h"

#define WINDOW_BYTES (1 << 20) /* Of the connection: given back as it is received. */
#define HEADER_LIST_BYTES_MAX 16384u

/* --- Ends ---------------------------------------------------------------------------------- */

bool grpc_stream_may_have_run(const struct grpc_stream *stream)
{
    return stream->eof_given && stream->session->taken > stream->eof_at;
}

void grpc_stream_tell(struct grpc_stream *stream, const struct grpc_end *end)
{
    const struct grpc_options *options = &stream->session->options;
    if (stream->told)
        return;
    stream->told = true;
    grpc_intake_done(stream);
    if (!options->server || stream->begun)
        options->events->ended(options->owner, stream, end);
}

void grpc_stream_refuse(struct grpc_stream *stream, uint32_t status, const char *text)
{
    struct grpc_end end = {
        .status = status,
        .text = text,
        .may_have_run = grpc_stream_may_have_run(stream),
        .message_bytes = stream->message_bytes,
    };
    if (nghttp2_submit_rst_stream(stream->session->http, NGHTTP2_FLAG_NONE, stream->id,
                                  NGHTTP2_CANCEL) != 0)
        stream->session->failed = true;
    grpc_stream_tell(stream, &end);
}

/* What the peer's last frame of a stream means to a client. */
static void tell_answer(struct grpc_stream *stream)
{
    struct grpc_end end = {.may_have_run = grpc_stream_may_have_run(stream)};
    if (stream->has_status) {
        end.status = stream->status;
        end.text = stream->text;
        if (stream->status == GRPC_OK && stream->intake.prefix_have > 0) {
            end.status = GRPC_INTERNAL;
            end.text = "an answer ends within a message";
        }
    } else {
        end.status = grpc_status_of_http(stream->http_status);
        end.text = "an answer without a status";
    }
    grpc_stream_tell(stream, &end);
}

static void tell_closed(struct grpc_stream *stream, uint32_t error_code)
{
    struct grpc_end end = {.may_have_run = grpc_stream_may_have_run(stream)};
    switch (error_code) {
    case NGHTTP2_REFUSED_STREAM:
        end.status = GRPC_UNAVAILABLE;
        end.may_have_run = false; /* That is what this code promises. */
        break;
    case NGHTTP2_NO_ERROR:
        end.status = stream->finished ? stream->finish_status : GRPC_INTERNAL;
        break;
    case NGHTTP2_CANCEL: end.status = GRPC_CANCELLED; break;
    case NGHTTP2_ENHANCE_YOUR_CALM: end.status = GRPC_RESOURCE_EXHAUSTED; break;
    case NGHTTP2_INADEQUATE_SECURITY: end.status = GRPC_PERMISSION_DENIED; break;
    default: end.status = GRPC_INTERNAL; break;
    }
    end.text = nghttp2_http2_strerror(error_code);
    grpc_stream_tell(stream, &end);
}

/* --- What nghttp2 tells -------------------------------------------------------------------- */

static struct grpc_stream *stream_of(nghttp2_session *http, int32_t id)
{
    return nghttp2_session_get_stream_user_data(http, id);
}

static int on_begin_headers(nghttp2_session *http, const nghttp2_frame *frame, void *owner)
{
    struct grpc_session *session = owner;
    if (!session->options.server || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct grpc_stream *stream = grpc_stream_new(session);
    if (stream != NULL)
        stream->request = calloc(1, sizeof *stream->request);
    if (stream == NULL || stream->request == NULL) {
        if (stream != NULL)
            grpc_stream_free(stream);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    stream->id = frame->hd.stream_id;
    nghttp2_session_set_stream_user_data(http, stream->id, stream);
    return 0;
}

static int on_header(nghttp2_session *http, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                     void *owner)
{
    struct grpc_session *session = owner;
    struct grpc_stream *stream = stream_of(http, frame->hd.stream_id);
    struct grpc_value what = {name, name_length};
    struct grpc_value is = {value, value_length};
    (void)flags;
    if (stream == NULL || stream->told)
        return 0;
    if (!session->options.server)
        grpc_head_answer(stream, what, is);
    else if (stream->request != NULL && !grpc_head_request(stream->request, what, is))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return 0;
}

/* A server's: all of a call's headers are here. */
static void begin(struct grpc_stream *stream)
{
    const struct grpc_options *options = &stream->session->options;
    struct grpc_request *request = stream->request;
    struct grpc_head head = {
        .path = request->path,
        .timeout_ns = request->timeout_ns,
        .fields = request->fields,
        .field_count = request->field_count,
    };
    stream->request = NULL;
    if (request->is_grpc) {
        stream->begun = true;
        options->events->begun(options->owner, stream, &head);
    } else {
        grpc_finish(stream, GRPC_INTERNAL, "this is not gRPC");
    }
    free(request);
}

/* The peer has sent all that it will on this stream. */
static void on_last(struct grpc_stream *stream)
{
    struct grpc_session *session = stream->session;
    if (stream->told || stream->finished)
        return;
    if (session->options.server) {
        if (stream->intake.prefix_have > 0)
            grpc_stream_refuse(stream, GRPC_INTERNAL, "a call ends within a message");
        else if (stream->begun)
            session->options.events->half_closed(session->options.owner, stream);
        return;
    }
    /* What we had to say is of no more use. */
    if (!stream->eof_given && nghttp2_submit_rst_stream(session->http, NGHTTP2_FLAG_NONE,
                                                        stream->id, NGHTTP2_CANCEL) != 0)
        session->failed = true;
    tell_answer(stream);
}

static int on_frame(nghttp2_session *http, const nghttp2_frame *frame, void *owner)
{
    struct grpc_session *session = owner;
    struct grpc_stream *stream = stream_of(http, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_GOAWAY)
        session->leaving = true;
    if (stream == NULL)
        return session->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    if (frame->hd.type == NGHTTP2_HEADERS && stream->request != NULL)
        begin(stream);
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        on_last(stream);
    return session->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_data(nghttp2_session *http, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t length, void *owner)
{
    struct grpc_session *session = owner;
    struct grpc_stream *stream = stream_of(http, id);
    (void)flags;
    if (stream != NULL && !stream->told && !stream->finished &&
        (!session->options.server || stream->begun))
        grpc_intake_feed(stream, data, length);
    else if (nghttp2_session_consume(http, id, length) != 0)
        session->failed = true;
    return session->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_close(nghttp2_session *http, int32_t id, uint32_t error_code, void *owner)
{
    struct grpc_stream *stream = stream_of(http, id);
    (void)owner;
    if (stream == NULL)
        return 0;
    tell_closed(stream, error_code);
    nghttp2_session_set_stream_user_data(http, id, NULL);
    grpc_stream_free(stream);
    return 0;
}

/* --- The session --------------------------------------------------------------------------- */

static int http_new(struct grpc_session *session)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return -ENOMEM;
    if (nghttp2_option_new(&option) != 0) {
        nghttp2_session_callbacks_del(callbacks);
        return -ENOMEM;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    int result = session->options.server
                     ? nghttp2_session_server_new2(&session->http, callbacks, session, option)
                     : nghttp2_session_client_new2(&session->http, callbacks, session, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return result == 0 ? 0 : -ENOMEM;
}

static int http_greet(struct grpc_session *session)
{
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, GRPC_SMALL_BYTES - 1},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES_MAX},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    if (session->options.server)
        settings[2] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                               session->options.streams_max};
    if (nghttp2_submit_settings(session->http, NGHTTP2_FLAG_NONE, settings, COUNT_OF(settings)) !=
            0 ||
        nghttp2_session_set_local_window_size(session->http, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES) !=
            0)
        return -ENOMEM;
    return 0;
}

int grpc_session_new(const struct grpc_options *options, struct grpc_session **ret_session)
{
    assert(options->events->ended != NULL && options->events->message != NULL);
    assert(options->message_bytes_max > 0 && options->queued_bytes_max > 0);
    assert(!options->server || (options->streams_max > 0 && options->events->begun != NULL &&
                                options->events->half_closed != NULL));
    struct grpc_session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return FAIL(-ENOMEM, "no memory for a connection");
    session->options = *options;
    list_init(&session->streams);
    list_init(&session->waiting);
    if (options->authority != NULL)
        (void)snprintf(session->authority, sizeof session->authority, "%s", options->authority);
    if (http_new(session) != 0 || http_greet(session) != 0) {
        grpc_session_free(session);
        return FAIL(-ENOMEM, "no memory for a connection");
    }
    *ret_session = session;
    return 0;
}

void grpc_session_free(struct grpc_session *session)
{
    struct list *node;
    if (session == NULL)
        return;
    /* First, for its streams point to ours. It runs no callback. */
    nghttp2_session_del(session->http);
    session->http = NULL;
    list_init(&session->waiting);
    while ((node = list_first(&session->streams)) != NULL) {
        struct grpc_stream *stream = LIST_ENTRY(node, struct grpc_stream, node);
        list_init(&stream->intake.node);
        stream->intake.state = INTAKE_SMALL;
        grpc_stream_free(stream);
    }
    free(session);
}

int grpc_receive(struct grpc_session *session, const void *data, size_t length)
{
    ssize_t result = nghttp2_session_mem_recv(session->http, data, length);
    if (session->failed || result == NGHTTP2_ERR_NOMEM)
        return FAIL(-ENOMEM, "no memory for what a peer sent");
    if (result < 0)
        return FAIL(-EPROTO, "a peer does not speak HTTP/2: %s", nghttp2_strerror((int)result));
    return 0;
}

size_t grpc_output(struct grpc_session *session, const uint8_t **ret_data)
{
    if (session->output_from == session->output_to)
        session->output_from = session->output_to = 0;
    while (session->output_to < GRPC_OUTPUT_BYTES && !session->failed) {
        const uint8_t *piece;
        ssize_t length = nghttp2_session_mem_send(session->http, &piece);
        if (length <= 0) {
            session->failed |= length < 0;
            break;
        }
        /* A frame and its head at most, and both fit. */
        assert((size_t)length <= sizeof session->output - session->output_to);
        memcpy(session->output + session->output_to, piece, (size_t)length);
        session->output_to += (size_t)length;
        session->produced += (uint64_t)length;
    }
    *ret_data = session->output + session->output_from;
    return session->output_to - session->output_from;
}

void grpc_taken(struct grpc_session *session, size_t length)
{
    assert(length <= session->output_to - session->output_from);
    session->output_from += length;
    session->taken += length;
}

void grpc_lost(struct grpc_session *session, const char *text)
{
    session->leaving = true;
    LIST_EACH_SAFE (&session->streams, node, after) {
        struct grpc_stream *stream = LIST_ENTRY(node, struct grpc_stream, node);
        struct grpc_end end = {
            .status = GRPC_UNAVAILABLE,
            .text = text,
            .may_have_run = grpc_stream_may_have_run(stream),
        };
        grpc_stream_tell(stream, &end);
    }
}

bool grpc_leaving(const struct grpc_session *session)
{
    return session->leaving;
}

bool grpc_over(const struct grpc_session *session)
{
    return session->failed || (session->output_from == session->output_to &&
                               nghttp2_session_want_read(session->http) == 0 &&
                               nghttp2_session_want_write(session->http) == 0);
}

void grpc_leave(struct grpc_session *session)
{
    assert(session->options.server);
    int32_t last = nghttp2_session_get_last_proc_stream_id(session->http);
    if (nghttp2_submit_goaway(session->http, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) !=
        0)
        session->failed = true;
}

void grpc_ping(struct grpc_session *session)
{
    if (nghttp2_submit_ping(session->http, NGHTTP2_FLAG_NONE, NULL) != 0)
        session->failed = true;
}

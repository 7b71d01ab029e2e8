/* SPDX-License-Identifier: Apache-2.0 */
/* Calls, and messages on their way out. */
#include <stdio.h>
#include <stdlib.h>

#include "grpc/inside.h"

struct grpc_stream *grpc_stream_new(struct grpc_session *session)
{
    struct grpc_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->session = session;
    list_init(&stream->chunks);
    list_init(&stream->intake.node);
    list_push_back(&session->streams, &stream->node);
    return stream;
}

static void chunks_forget(struct grpc_stream *stream)
{
    struct list *node;
    while ((node = list_pop_front(&stream->chunks)) != NULL)
        free(LIST_ENTRY(node, struct grpc_chunk, node));
    stream->queued_bytes = 0;
}

void grpc_stream_free(struct grpc_stream *stream)
{
    grpc_intake_done(stream);
    chunks_forget(stream);
    list_remove(&stream->node);
    free(stream->request);
    free(stream);
}

void *grpc_context(const struct grpc_stream *stream)
{
    return stream->context;
}

void grpc_context_set(struct grpc_stream *stream, void *context)
{
    stream->context = context;
}

/* A field whose bytes nghttp2 copies. */
static nghttp2_nv field(const char *name, const char *value)
{
    nghttp2_nv pair = {
        .name = (uint8_t *)(uintptr_t)name,
        .value = (uint8_t *)(uintptr_t)value,
        .namelen = strlen(name),
        .valuelen = strlen(value),
    };
    return pair;
}

/* --- Out ----------------------------------------------------------------------------------- */

static void submit_trailer(struct grpc_stream *stream)
{
    char status[16];
    char text[GRPC_ESCAPED_BYTES];
    (void)snprintf(status, sizeof status, "%u", stream->finish_status);
    grpc_text_encode(stream->finish_text, text);
    nghttp2_nv fields[] = {field("grpc-status", status), field("grpc-message", text)};
    if (nghttp2_submit_trailer(stream->session->http, stream->id, fields, COUNT_OF(fields)) != 0)
        stream->session->failed = true;
}

static ssize_t source_read(nghttp2_session *http, int32_t id, uint8_t *to, size_t length,
                           uint32_t *flags, nghttp2_data_source *source, void *owner)
{
    struct grpc_stream *stream = source->ptr;
    size_t used = 0;
    (void)http;
    (void)id;
    (void)owner;
    if (stream->told && !stream->session->options.server)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* Cancelled: half a message is none. */
    while (used < length && !list_empty(&stream->chunks)) {
        struct grpc_chunk *chunk = LIST_ENTRY(list_first(&stream->chunks), struct grpc_chunk, node);
        size_t some = MIN(length - used, chunk->length - chunk->done);
        memcpy(to + used, chunk->bytes + chunk->done, some);
        chunk->done += some;
        used += some;
        stream->queued_bytes -= some;
        if (chunk->done == chunk->length) {
            list_remove(&chunk->node);
            free(chunk);
        }
    }
    if (list_empty(&stream->chunks) && stream->closing) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        /* What comes next out of the session is this frame. Whoever sees a byte of it leave must
         * take it that all of the request may arrive. */
        stream->eof_given = true;
        stream->eof_at = stream->session->produced;
        if (stream->session->options.server) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            submit_trailer(stream);
        }
        return (ssize_t)used;
    }
    if (used == 0) {
        stream->suspended = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)used;
}

nghttp2_data_provider grpc_stream_source(struct grpc_stream *stream)
{
    return (nghttp2_data_provider){.source.ptr = stream, .read_callback = source_read};
}

static void resume(struct grpc_stream *stream)
{
    if (!stream->suspended)
        return;
    stream->suspended = false;
    if (nghttp2_session_resume_data(stream->session->http, stream->id) == NGHTTP2_ERR_NOMEM)
        stream->session->failed = true;
}

/* The headers of an answer; the messages follow as they come. */
static int answer_begin(struct grpc_stream *stream)
{
    nghttp2_nv fields[] = {field(":status", "200"), field("content-type", "application/grpc")};
    nghttp2_data_provider source = grpc_stream_source(stream);
    stream->answered = true;
    return nghttp2_submit_response(stream->session->http, stream->id, fields, COUNT_OF(fields),
                                   &source);
}

int grpc_send(struct grpc_stream *stream, const void *data, uint32_t length, bool last)
{
    size_t whole = (size_t)GRPC_PREFIX_BYTES + length;
    assert(!stream->closing && !stream->told);
    assert(!last || !stream->session->options.server);
    if (stream->queued_bytes > 0 &&
        stream->queued_bytes + whole > stream->session->options.queued_bytes_max)
        return -EAGAIN;
    struct grpc_chunk *chunk = malloc(sizeof *chunk + whole);
    if (chunk == NULL)
        return -ENOMEM;
    *chunk = (struct grpc_chunk){.length = whole};
    chunk->bytes[0] = 0;
    chunk->bytes[1] = (uint8_t)(length >> 24);
    chunk->bytes[2] = (uint8_t)(length >> 16);
    chunk->bytes[3] = (uint8_t)(length >> 8);
    chunk->bytes[4] = (uint8_t)length;
    if (length > 0)
        memcpy(chunk->bytes + GRPC_PREFIX_BYTES, data, length);
    list_push_back(&stream->chunks, &chunk->node);
    stream->queued_bytes += whole;
    stream->closing = last;
    if (stream->session->options.server && !stream->answered && answer_begin(stream) != 0)
        return -ENOMEM;
    resume(stream);
    return 0;
}

/* --- Beginning and ending ------------------------------------------------------------------ */

int grpc_call(struct grpc_session *session, const struct grpc_head *head, void *context,
              struct grpc_stream **ret_stream)
{
    nghttp2_nv fields[GRPC_FIELDS_MAX + 7];
    char timeout[GRPC_TIMEOUT_BYTES];
    size_t count = 0;
    assert(!session->options.server);
    assert(head->field_count <= GRPC_FIELDS_MAX);
    if (session->leaving || nghttp2_session_check_request_allowed(session->http) == 0)
        return -EAGAIN;
    fields[count++] = field(":method", "POST");
    fields[count++] = field(":scheme", session->options.secure ? "https" : "http");
    fields[count++] = field(":path", head->path);
    fields[count++] = field(":authority", session->authority);
    fields[count++] = field("te", "trailers");
    fields[count++] = field("content-type", "application/grpc");
    if (head->timeout_ns != GRPC_TIMEOUT_NONE) {
        grpc_timeout_encode(head->timeout_ns, timeout);
        fields[count++] = field("grpc-timeout", timeout);
    }
    for (uint32_t i = 0; i < head->field_count; i++) {
        fields[count] = field(head->fields[i].name, head->fields[i].value);
        fields[count++].flags = NGHTTP2_NV_FLAG_NO_INDEX; /* Tokens are nobody's to keep. */
    }
    struct grpc_stream *stream = grpc_stream_new(session);
    if (stream == NULL)
        return -ENOMEM;
    stream->context = context;
    nghttp2_data_provider source = grpc_stream_source(stream);
    stream->id = nghttp2_submit_request(session->http, NULL, fields, count, &source, stream);
    if (stream->id < 0) {
        int result = stream->id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EAGAIN;
        grpc_stream_free(stream);
        return result;
    }
    *ret_stream = stream;
    return 0;
}

/* An end without an answer before it: one frame. */
static int finish_at_once(struct grpc_stream *stream)
{
    char status[16];
    char text[GRPC_ESCAPED_BYTES];
    (void)snprintf(status, sizeof status, "%u", stream->finish_status);
    grpc_text_encode(stream->finish_text, text);
    nghttp2_nv fields[] = {field(":status", "200"), field("content-type", "application/grpc"),
                           field("grpc-status", status), field("grpc-message", text)};
    stream->answered = true;
    return nghttp2_submit_response(stream->session->http, stream->id, fields, COUNT_OF(fields),
                                   NULL);
}

void grpc_finish(struct grpc_stream *stream, uint32_t status, const char *text)
{
    assert(stream->session->options.server);
    assert(!stream->finished && !stream->told);
    stream->finished = stream->closing = true;
    stream->finish_status = status;
    (void)snprintf(stream->finish_text, sizeof stream->finish_text, "%s", text);
    if (!stream->answered) {
        if (finish_at_once(stream) != 0)
            stream->session->failed = true;
        return;
    }
    resume(stream);
}

bool grpc_cancel(struct grpc_stream *stream)
{
    struct grpc_session *session = stream->session;
    /* Given to nghttp2's output, it may still leave, whatever is said here. */
    bool may_run = stream->eof_given;
    assert(!stream->told);
    stream->told = true;
    grpc_intake_done(stream);
    chunks_forget(stream);
    if (nghttp2_submit_rst_stream(session->http, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_CANCEL) !=
        0)
        session->failed = true;
    return may_run;
}

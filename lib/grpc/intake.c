/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages on their way in.
 *
 *   SMALL ──────────────────────────────────────────▶ whole: told
 *     └─ more than 64 KiB ──▶ WAITING ──room──▶ HELD ──▶ whole: told, and the next has room
 *
 * The connection's window is always given back at once, so one stream never stops another. A
 * stream's own is not while it waits: its peer then stops after what the window allows.
 */
#include <stdlib.h>

#include "grpc/inside.h"

static bool has_room(const struct grpc_session *session, uint32_t length)
{
    return session->held_bytes == 0 ||
           session->held_bytes + length <= session->options.held_bytes_max;
}

static struct grpc_stream *stream_of(struct grpc_intake *intake)
{
    return CONTAINER_OF(intake, struct grpc_stream, intake);
}

static void consume(struct grpc_stream *stream, size_t length)
{
    if (nghttp2_session_consume_stream(stream->session->http, stream->id, length) != 0)
        stream->session->failed = true;
}

static void hold(struct grpc_stream *stream)
{
    struct grpc_intake *intake = &stream->intake;
    intake->state = INTAKE_HELD;
    stream->session->held_bytes += intake->length;
    consume(stream, intake->unconsumed);
    intake->unconsumed = 0;
}

/* Who waits longest comes first, though a smaller one might fit. */
static void next_waiting(struct grpc_session *session)
{
    struct list *node;
    while ((node = list_first(&session->waiting)) != NULL) {
        struct grpc_intake *intake = LIST_ENTRY(node, struct grpc_intake, node);
        if (!has_room(session, intake->length))
            return;
        list_remove(node);
        hold(stream_of(intake));
    }
}

/* The message is done with, or the stream is: its room is free. */
static void release(struct grpc_stream *stream)
{
    struct grpc_intake *intake = &stream->intake;
    struct grpc_session *session = stream->session;
    enum grpc_intake_state state = intake->state;
    intake->state = INTAKE_SMALL;
    list_remove(&intake->node);
    if (intake->capacity > GRPC_SMALL_BYTES) {
        free(intake->data);
        intake->data = NULL;
        intake->capacity = 0;
    }
    if (state == INTAKE_HELD) {
        session->held_bytes -= intake->length;
        next_waiting(session);
    }
}

void grpc_intake_done(struct grpc_stream *stream)
{
    release(stream);
    free(stream->intake.data);
    stream->intake.data = NULL;
    stream->intake.capacity = 0;
    stream->intake.length = stream->intake.have = stream->intake.prefix_have = 0;
}

/* The prefix is here. False: the message is not wanted, and the stream has ended. */
static bool message_begin(struct grpc_stream *stream)
{
    struct grpc_intake *intake = &stream->intake;
    const uint8_t *prefix = intake->prefix;
    uint32_t length = (uint32_t)prefix[1] << 24 | (uint32_t)prefix[2] << 16 |
                      (uint32_t)prefix[3] << 8 | prefix[4];
    intake->length = length;
    intake->have = 0;
    if (prefix[0] != 0) {
        grpc_stream_refuse(stream, GRPC_UNIMPLEMENTED, "a message is compressed");
        return false;
    }
    if (length > stream->session->options.message_bytes_max) {
        stream->message_bytes = length;
        grpc_stream_refuse(stream, GRPC_RESOURCE_EXHAUSTED, "a message is too large");
        return false;
    }
    if (length <= GRPC_SMALL_BYTES)
        return true;
    if (list_empty(&stream->session->waiting) && has_room(stream->session, length)) {
        hold(stream);
    } else {
        intake->state = INTAKE_WAITING;
        list_push_back(&stream->session->waiting, &intake->node);
    }
    return true;
}

static bool make_capacity(struct grpc_stream *stream, uint32_t needed)
{
    struct grpc_intake *intake = &stream->intake;
    if (needed <= intake->capacity)
        return true;
    uint32_t larger = MIN(intake->length, MAX(needed, intake->capacity * 2));
    uint8_t *data = realloc(intake->data, larger);
    if (data == NULL) {
        grpc_stream_refuse(stream, GRPC_RESOURCE_EXHAUSTED, "no memory for a message");
        return false;
    }
    intake->data = data;
    intake->capacity = larger;
    return true;
}

/* As much of the message under way as is here. How many bytes; 0: the stream has ended. */
static size_t message_more(struct grpc_stream *stream, const uint8_t *data, size_t length)
{
    struct grpc_intake *intake = &stream->intake;
    uint32_t some = (uint32_t)MIN(length, intake->length - intake->have);
    if (!make_capacity(stream, intake->have + some))
        return 0;
    memcpy(intake->data + intake->have, data, some);
    intake->have += some;
    return some;
}

static void message_whole(struct grpc_stream *stream)
{
    struct grpc_session *session = stream->session;
    session->options.events->message(session->options.owner, stream, stream->intake.data,
                                     stream->intake.length);
    stream->intake.prefix_have = 0;
    release(stream);
}

static void feed(struct grpc_stream *stream, const uint8_t *data, size_t length)
{
    struct grpc_intake *intake = &stream->intake;
    while (length > 0 && !stream->told && !stream->finished) {
        if (intake->prefix_have < GRPC_PREFIX_BYTES) {
            intake->prefix[intake->prefix_have++] = *data++;
            length--;
            if (intake->prefix_have < GRPC_PREFIX_BYTES)
                continue;
            if (!message_begin(stream))
                return;
        } else {
            size_t some = message_more(stream, data, length);
            if (some == 0)
                return;
            data += some;
            length -= some;
        }
        if (intake->have == intake->length)
            message_whole(stream);
    }
}

void grpc_intake_feed(struct grpc_stream *stream, const uint8_t *data, size_t length)
{
    struct grpc_session *session = stream->session;
    if (nghttp2_session_consume_connection(session->http, length) != 0)
        session->failed = true;
    /* Before it may be released: what waits is counted when its turn comes. */
    stream->intake.unconsumed += (uint32_t)length;
    feed(stream, data, length);
    if (stream->intake.state != INTAKE_WAITING) {
        consume(stream, stream->intake.unconsumed);
        stream->intake.unconsumed = 0;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Either end of a gRPC connection, given anything. The first byte says which end; then come pieces:
 * a length and so many bytes, received at once. The client has calls under way, the server answers
 * what it is asked, so that arbitrary bytes meet states that matter.
 */
#include <stdlib.h>
#include <string.h>

#include "grpc/grpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned begun, ended;

static void on_begun(void *owner, struct grpc_stream *stream, const struct grpc_head *head)
{
    (void)owner;
    assert(strlen(head->path) <= GRPC_PATH_BYTES_MAX);
    assert(head->field_count <= GRPC_FIELDS_MAX);
    begun++;
    if (head->path[0] == 'x')
        grpc_finish(stream, GRPC_NOT_FOUND, "no");
}

static void on_message(void *owner, struct grpc_stream *stream, const void *data, uint32_t length)
{
    const struct grpc_options *options = owner;
    assert(length <= options->message_bytes_max);
    if (options->server) {
        if (grpc_send(stream, data, length, false) != 0 || length > 9)
            grpc_cancel(stream);
    } else if (length == 7) {
        grpc_cancel(stream);
        ended++;
    }
}

static void on_half_closed(void *owner, struct grpc_stream *stream)
{
    (void)owner;
    grpc_finish(stream, GRPC_OK, "");
}

static void on_ended(void *owner, struct grpc_stream *stream, const struct grpc_end *end)
{
    (void)owner;
    (void)stream;
    assert(strlen(end->text) <= GRPC_TEXT_BYTES_MAX);
    ended++;
}

static const struct grpc_events events = {on_begun, on_message, on_half_closed, on_ended};

static void drain(struct grpc_session *session)
{
    const uint8_t *out;
    size_t length;
    size_t sum = 0;
    while ((length = grpc_output(session, &out)) > 0 && sum < (1 << 20)) {
        grpc_taken(session, length);
        sum += length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct grpc_options options = {
        .server = (data[0] & 1) != 0,
        .authority = "a",
        .events = &events,
        .message_bytes_max = 300000,
        .held_bytes_max = 400000,
        .queued_bytes_max = 100000,
        .streams_max = 10,
    };
    struct grpc_session *session;
    unsigned calls = 0;
    options.owner = &options;
    begun = ended = 0;
    if (grpc_session_new(&options, &session) != 0)
        return 0;
    for (; !options.server && calls < 4; calls++) {
        struct grpc_head head = {.path = "/etcdserverpb.KV/Txn"};
        struct grpc_stream *stream;
        if (grpc_call(session, &head, NULL, &stream) != 0 ||
            grpc_send(stream, "request", 7, calls != 3) != 0)
            abort();
    }
    drain(session);
    /* What every peer says first, so that the input need not. */
    static const uint8_t magic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    int result = options.server ? grpc_receive(session, magic, sizeof magic - 1) : 0;
    if (result == 0 && (data[0] & 2) != 0)
        result = grpc_receive(session, settings, sizeof settings);
    for (size_t at = 1; at < size && result == 0;) {
        size_t length = MIN((size_t)data[at] * ((data[0] & 4) != 0 ? 64 : 1), size - at - 1);
        result = grpc_receive(session, data + at + 1, length);
        assert(result == 0 || result == -EPROTO || result == -ENOMEM);
        at += 1 + length;
        drain(session);
    }
    grpc_lost(session, "over");
    if (!options.server)
        assert(ended == calls);
    grpc_session_free(session);
    return 0;
}

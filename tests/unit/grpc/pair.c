/* SPDX-License-Identifier: Apache-2.0 */
#include "pair.h"

struct pair pair;

/* --- The client ---------------------------------------------------------------------------- */

static void client_message(void *owner, struct grpc_stream *stream, const void *data,
                           uint32_t length)
{
    struct call *call = grpc_context(stream);
    (void)owner;
    call->messages++;
    call->bytes += length;
    call->first = length > 0 ? *(const uint8_t *)data : 0;
    if (call->cancel_at_message)
        grpc_cancel(stream);
}

static void client_ended(void *owner, struct grpc_stream *stream, const struct grpc_end *end)
{
    struct call *call = grpc_context(stream);
    (void)owner;
    cr_assert_not(call->ended, "it ended twice");
    call->ended = true;
    call->status = end->status;
    call->may_have_run = end->may_have_run;
    call->message_bytes = end->message_bytes;
    (void)snprintf(call->text, sizeof call->text, "%s", end->text);
}

static const struct grpc_events client_events = {
    .message = client_message,
    .ended = client_ended,
};

/* --- The server ---------------------------------------------------------------------------- */

enum { ECHO = 1, BIG, DEAF };
static int kinds[4] = {0, ECHO, BIG, DEAF};

static void server_begun(void *owner, struct grpc_stream *stream, const struct grpc_head *head)
{
    (void)owner;
    pair.begun++;
    pair.timeout_ns = head->timeout_ns;
    (void)snprintf(pair.path, sizeof pair.path, "%s", head->path);
    for (uint32_t i = 0; i < head->field_count; i++)
        if (strcmp(head->fields[i].name, "token") == 0)
            (void)snprintf(pair.token, sizeof pair.token, "%s", head->fields[i].value);
    if (strcmp(head->path, "/t/Refuse") == 0)
        grpc_finish(stream, GRPC_NOT_FOUND, "no such lease: 100% \xc3\xa4");
    else if (strcmp(head->path, "/t/Echo") == 0)
        grpc_context_set(stream, &kinds[ECHO]);
    else if (strcmp(head->path, "/t/Big") == 0)
        grpc_context_set(stream, &kinds[BIG]);
    else
        pair.deaf = stream;
}

static void server_message(void *owner, struct grpc_stream *stream, const void *data,
                           uint32_t length)
{
    const int *kind = grpc_context(stream);
    (void)owner;
    pair.server_messages++;
    if (kind == &kinds[ECHO]) {
        cr_assert_eq(grpc_send(stream, data, length, false), 0);
    } else if (kind == &kinds[BIG]) {
        uint32_t count = get32(data);
        uint32_t bytes = get32((const uint8_t *)data + 4);
        uint8_t *answer = calloc(1, bytes + 1);
        for (uint32_t i = 0; i < count; i++) {
            answer[0] = (uint8_t)i;
            cr_assert_eq(grpc_send(stream, answer, bytes, false), 0);
        }
        free(answer);
    }
}

static void server_half_closed(void *owner, struct grpc_stream *stream)
{
    (void)owner;
    pair.half_closed++;
    if (grpc_context(stream) != NULL)
        grpc_finish(stream, GRPC_OK, "");
}

static void server_ended(void *owner, struct grpc_stream *stream, const struct grpc_end *end)
{
    (void)owner;
    (void)stream;
    pair.server_ended++;
    pair.server_ended_status = end->status;
}

static const struct grpc_events server_events = {
    .begun = server_begun,
    .message = server_message,
    .half_closed = server_half_closed,
    .ended = server_ended,
};

/* --- The two of them ----------------------------------------------------------------------- */

struct grpc_options pair_client_options = {
    .authority = "there:2379",
    .events = &client_events,
    .message_bytes_max = 4 << 20,
    .held_bytes_max = 4 << 20,
    .queued_bytes_max = 4 << 20,
};

struct grpc_options pair_server_options = {
    .server = true,
    .events = &server_events,
    .message_bytes_max = 1 << 20,
    .held_bytes_max = 2 << 20,
    .queued_bytes_max = 64 << 20,
    .streams_max = CALLS_MAX,
};

void pair_open(void)
{
    pair = (struct pair){0};
    cr_assert_eq(grpc_session_new(&pair_client_options, &pair.client), 0);
    cr_assert_eq(grpc_session_new(&pair_server_options, &pair.server), 0);
}

void pair_close(void)
{
    grpc_session_free(pair.client);
    grpc_session_free(pair.server);
}

size_t pair_move(struct grpc_session *from, struct grpc_session *to, size_t most)
{
    const uint8_t *data;
    size_t length = MIN(grpc_output(from, &data), most);
    if (length == 0)
        return 0;
    /* Receiving may produce: what is to be sent is valid until the next call only. */
    uint8_t *copy = malloc(length);
    memcpy(copy, data, length);
    grpc_taken(from, length);
    int result = grpc_receive(to, copy, length);
    free(copy);
    cr_assert_eq(result, 0, "%s", base_last_error());
    return length;
}

void pair_run(void)
{
    size_t most = pair.step == 0 ? SIZE_MAX : pair.step;
    while (pair_move(pair.client, pair.server, most) + pair_move(pair.server, pair.client, most) >
           0)
        continue;
}

struct call *pair_call(unsigned index, const char *path, const void *data, uint32_t length,
                       bool last)
{
    struct grpc_field token = {.name = "token", .value = "abc.17"};
    struct grpc_head head = {
        .path = path,
        .timeout_ns = 2500 * NS_PER_MS,
        .fields = &token,
        .field_count = 1,
    };
    struct call *call = &pair.calls[index];
    *call = (struct call){0};
    cr_assert_eq(grpc_call(pair.client, &head, call, &call->stream), 0);
    if (data != NULL)
        cr_assert_eq(grpc_send(call->stream, data, length, last), 0);
    return call;
}

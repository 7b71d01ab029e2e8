/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to the owner of a pool. */
#include "api/control_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/control.h"
#include "api/place.h"
#include "base/name.h"

#define ANSWER_NS (300 * NS_PER_S)

/* --- Ends ---------------------------------------------------------------------------------- */

void control_client_release(struct iomesh_control *control)
{
    if (!control->abandoned || control->volume_count > 0 || control->closed.pending)
        return;
    control_response_done(&control->answer);
    free(control);
}

static void call_end(struct control_call *call, int result, struct control_response *response)
{
    struct control_response answer = response != NULL ? *response : (struct control_response){0};
    list_remove(&call->node);
    free(call->bytes.bytes);
    call->bytes = (struct control_bytes){0};
    call->done(call, result, response != NULL ? &answer : NULL);
    control_response_done(&answer);
}

static void client_closed(void *context, int result)
{
    struct iomesh_control *control = context;
    while (!list_empty(&control->calls)) {
        struct control_call *call = LIST_ENTRY(control->calls.next, struct control_call, node);
        control_response_done(&call->response);
        call_end(call, FAIL(control->refused, "%s", control->sentence), NULL);
    }
    api_waiter_done(&control->closed, result);
    control_client_release(control);
}

/* Every call ends when nothing of the stream is used any more, with `result` and the last sentence:
 * a code of the connection is told as what it means for what was asked. */
static void client_break(struct iomesh_control *control, int result)
{
    if (control->stream == NULL)
        return;
    struct iomesh_stream *stream = control->stream;
    control->refused = result;
    (void)snprintf(control->sentence, sizeof control->sentence, "%s", base_last_error());
    control->stream = NULL;
    control->closed.pending = true;
    clock_cancel(control->engine->world.clock, &control->limit);
    uring_stream_close(stream, client_closed, control);
}

static void client_lose(struct iomesh_control *control, const char *how)
{
    client_break(control, FAIL(IOMESH_UNKNOWN,
                               "the owner of the pool %s: it may be done or not: look again", how));
}

static void client_late(struct timer *timer)
{
    client_lose(CONTAINER_OF(timer, struct iomesh_control, limit), "does not answer");
}

/* What was received, or not. */
static bool client_received(struct iomesh_control *control, int result)
{
    if (result != 0)
        client_lose(control, "went away before it answered");
    return control->stream != NULL;
}

/* --- Answers ------------------------------------------------------------------------------- */

static void client_receive(struct iomesh_control *control, void *bytes, uint32_t length,
                           iomesh_done_fn *received)
{
    if (length == 0)
        received(control, 0);
    else if (uring_stream_receive(control->stream, bytes, length, received, control) != 0)
        client_lose(control, "cannot be heard");
}

static void client_head(void *context, int result);

static void client_read(struct iomesh_control *control)
{
    struct clock *clock = control->engine->world.clock;
    control->reading = !list_empty(&control->calls);
    if (!control->reading) {
        clock_cancel(clock, &control->limit);
        return;
    }
    clock_set_after(clock, &control->limit, control->limit_ns);
    client_receive(control, control->head, sizeof control->head, client_head);
}

/* The answer is whole. */
static void client_take(struct iomesh_control *control, struct control_call *call)
{
    struct control_response response = control->response;
    control->response = (struct control_response){0};
    if (response.process != 0)
        control->process = response.process;
    if (response.more) {
        if (call->told != NULL)
            call->told(call, &response);
        control_response_done(&response);
    } else {
        call->answered = true;
        if (call->sending)
            call->response = response;
        else
            call_end(call, 0, &response);
    }
    if (control->stream != NULL)
        client_read(control);
}

static void client_payload(void *context, int result)
{
    struct iomesh_control *control = context;
    struct control_call *call = control->filling;
    control->filling = NULL;
    if (client_received(control, result))
        client_take(control, call);
    else
        control_response_done(&control->response);
}

static struct control_call *client_find(struct iomesh_control *control, uint64_t id)
{
    LIST_EACH (&control->calls, node) {
        struct control_call *call = LIST_ENTRY(node, struct control_call, node);
        if (call->id == id && !call->answered)
            return call;
    }
    return NULL;
}

static void client_body(void *context, int result)
{
    struct iomesh_control *control = context;
    bool received = client_received(control, result);
    if (received)
        result = control_response_decode(control->body, control->body_bytes, &control->response);
    free(control->body);
    control->body = NULL;
    if (!received)
        return;
    /* What nobody asked for, or more data than was asked for. */
    struct control_call *call = result == 0 ? client_find(control, control->response.id) : NULL;
    uint32_t payload = control->response.payload;
    if (result == 0 && (call == NULL || (payload > 0 && payload != call->data_bytes)))
        result = FAIL(-EPROTO, "the owner of the pool answered another request");
    if (result == 0) {
        control->filling = call;
        client_receive(control, call->data, payload, client_payload);
        return;
    }
    control_response_done(&control->response);
    client_break(control, result);
}

static void client_head(void *context, int result)
{
    struct iomesh_control *control = context;
    if (!client_received(control, result))
        return;
    result = control_frame_decode(control->head, CONTROL_RESPONSE_BYTES_MAX, &control->body_bytes);
    control->body = result == 0 ? malloc((size_t)control->body_bytes + 1) : NULL;
    if (result == 0 && control->body == NULL)
        result = FAIL(-ENOMEM, "the control socket: no memory");
    if (result != 0)
        client_break(control, result);
    else
        client_receive(control, control->body, control->body_bytes, client_body);
}

/* --- Calls --------------------------------------------------------------------------------- */

static void call_sent(void *context, int result)
{
    struct control_call *call = context;
    struct iomesh_control *control = call->control;
    call->sending = false;
    if (result != 0) {
        client_lose(control, "went away before it answered");
    } else if (call->answered && control->stream != NULL) {
        call_end(call, 0, &call->response);
        if (list_empty(&control->calls))
            clock_cancel(control->engine->world.clock, &control->limit);
    }
}

int control_call_start(struct iomesh_control *control, struct control_call *call,
                       struct control_request *request, const void *payload)
{
    if (control->stream == NULL)
        return FAIL(-ENOTCONN, "the connection to the owner of the pool has ended");
    request->id = call->id = ++control->id;
    call->control = control;
    call->answered = false;
    call->response = (struct control_response){0};
    int result = control_request_encode(request, &call->bytes);
    if (result != 0)
        return result;
    call->parts[0] = (struct iovec){call->bytes.bytes, call->bytes.length};
    call->parts[1] = (struct iovec){(void *)(uintptr_t)payload, request->payload};
    call->send = (struct iomesh_send){.parts = call->parts,
                                      .part_count = request->payload > 0 ? 2 : 1,
                                      .done = call_sent,
                                      .context = call};
    result = uring_stream_send(control->stream, &call->send);
    if (result != 0) {
        free(call->bytes.bytes);
        call->bytes = (struct control_bytes){0};
        return result;
    }
    call->sending = true;
    list_push_back(&control->calls, &call->node);
    engine_touch(control->engine->engine);
    if (!control->reading)
        client_read(control);
    else if (!control->limit.set)
        clock_set_after(control->engine->world.clock, &control->limit, control->limit_ns);
    return 0;
}

int control_call_result(int result, const struct control_response *response)
{
    if (response == NULL)
        return result;
    return response->result < 0 ? FAIL(response->result, "%s", response->sentence)
                                : response->result;
}

/* --- Asking and waiting -------------------------------------------------------------------- */

struct client_ask {
    struct control_call call;
    struct api_waiter waiter;
    const struct control_ear *ear;
};

static void ask_hear(const struct client_ask *ask, const struct control_response *response)
{
    const struct control_ear *ear = ask->ear;
    if (ear == NULL)
        return;
    if (ear->rows != NULL)
        ear->rows(ear->context, response);
    if (ear->progress != NULL && response->progress_total > 0)
        ear->progress(ear->context, response->progress_done, response->progress_total);
}

static void ask_told(struct control_call *call, const struct control_response *response)
{
    ask_hear(CONTAINER_OF(call, struct client_ask, call), response);
}

static void ask_done(struct control_call *call, int result, struct control_response *response)
{
    struct client_ask *ask = CONTAINER_OF(call, struct client_ask, call);
    if (response != NULL) {
        if (response->result >= 0)
            ask_hear(ask, response);
        call->control->answer = *response;
        *response = (struct control_response){0};
    }
    api_waiter_done(&ask->waiter, result);
}

int control_ask(struct iomesh_control *control, struct control_request *request,
                const struct control_ear *ear)
{
    REFUSE_IN_CALLBACK(control->engine);
    control_response_done(&control->answer);
    struct client_ask ask = {.ear = ear, .call = {.told = ask_told, .done = ask_done}};
    int result = api_waiter_end(control->engine, &ask.waiter,
                                control_call_start(control, &ask.call, request, NULL));
    /* Broken: it was said just before this. */
    if (result == 0)
        return control_call_result(0, &control->answer);
    (void)api_wait(control->engine, &control->closed.pending);
    return result;
}

int control_named(const char *name, bool at, struct control_request *request)
{
    if (name == NULL)
        return FAIL(-EINVAL, "no name was given");
    const char *cut = at ? strchr(name, '@') : NULL;
    size_t length = strlen(name);
    int result = name_check("volume", name, cut != NULL ? (size_t)(cut - name) : length);
    if (result == 0 && cut != NULL)
        result = name_check("snapshot", cut + 1, strlen(cut + 1));
    if (result == 0)
        memcpy(request->name, name, length + 1);
    return result;
}

/* --- The connection ------------------------------------------------------------------------ */

struct connect_waiter {
    struct api_waiter waiter;
    struct iomesh_stream *stream;
};

static void client_connected(void *context, int result, struct iomesh_stream *stream)
{
    struct connect_waiter *waiter = context;
    waiter->stream = stream;
    api_waiter_done(&waiter->waiter, result);
}

static int client_connect(struct iomesh_engine *engine, const char *url,
                          struct iomesh_stream **ret_stream)
{
    struct place place = {0};
    if (url != NULL && place_is_cluster(url))
        return FAIL(-ENOENT, "%s: a cluster's pool has no owner to be asked: open it", url);
    int result = place_parse(url, &place);
    if (result != 0)
        return result;
    size_t length = strlen(place.control) + sizeof "unix:";
    char *address = malloc(length);
    result = -ENOMEM;
    struct connect_waiter waiter = {0};
    if (address != NULL) {
        (void)snprintf(address, length, "unix:%s", place.control);
        result = api_waiter_end(
            engine, &waiter.waiter,
            uring_stream_connect(engine->uring, address, NULL, client_connected, &waiter));
    }
    if (result != 0)
        result = FAIL(result, "%s: no owner of the pool answers: %s", place.control,
                      base_error_text(result));
    free(address);
    place_done(&place);
    if (result == 0)
        *ret_stream = waiter.stream;
    return result;
}

int iomesh_control_open(struct iomesh_engine *engine, const char *url,
                        struct iomesh_control **ret_control)
{
    REFUSE_IN_CALLBACK(engine);
    struct iomesh_control *control = calloc(1, sizeof *control);
    if (control == NULL)
        return FAIL(-ENOMEM, "%s: no memory", url);
    control->engine = engine;
    control->limit.fire = client_late;
    control->limit_ns = ANSWER_NS;
    list_init(&control->calls);
    int result = client_connect(engine, url, &control->stream);
    /* It is there, and speaks our version. */
    struct control_request request = {.kind = CONTROL_STATUS};
    if (result == 0)
        result = control_ask(control, &request, NULL);
    if (result != 0) {
        /* The socket of a killed owner takes connections until the kernel has drained its ring. */
        if (result == IOMESH_UNKNOWN && control->stream == NULL)
            result = FAIL(-ECONNREFUSED, "%s: the owner of the pool has ended", url);
        iomesh_control_close(control);
        return result;
    }
    *ret_control = control;
    return 0;
}

void iomesh_control_close(struct iomesh_control *control)
{
    if (control == NULL)
        return;
    if (!list_empty(&control->calls)) /* Whoever waits is told; else the last sentence stays. */
        (void)FAIL(-ENOTCONN, "the connection to the owner of the pool was closed");
    client_break(control, -ENOTCONN);
    (void)api_wait(control->engine, &control->closed.pending);
    control->abandoned = true;
    control_client_release(control);
}

void api_control_limit(struct iomesh_control *control, uint64_t answer_ns)
{
    control->limit_ns = answer_ns;
}

uint32_t iomesh_control_process(const struct iomesh_control *control)
{
    return control->process;
}

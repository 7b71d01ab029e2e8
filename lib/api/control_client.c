/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/sys/control.h>: one connection, one request at a time, waited for. */
#include <iomesh/sys/control.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/control.h"
#include "api/engine.h"
#include "api/place.h"
#include "base/name.h"
#include "control/control.h"

#define ANSWER_NS (300 * NS_PER_S)

struct iomesh_control {
    struct iomesh_engine *engine;
    struct iomesh_stream *stream; /* NULL: it ended. */
    struct api_waiter dropped;    /* Its closing, if it ended before its time. */
    struct timer limit;           /* Of an answer. */
    uint64_t limit_ns;
    uint64_t id; /* Of the last request. */
    uint32_t process;
    struct control_response response; /* The last. */
};

struct connect_waiter {
    struct api_waiter waiter;
    struct iomesh_stream *stream;
};

static void control_connected(void *context, int result, struct iomesh_stream *stream)
{
    struct connect_waiter *waiter = context;
    waiter->stream = stream;
    api_waiter_done(&waiter->waiter, result);
}

static void control_drop(struct iomesh_control *control)
{
    control->dropped.pending = true;
    uring_stream_close(control->stream, api_waiter_done, &control->dropped);
    control->stream = NULL;
}

/* The receive that waits ends with -ECANCELED. */
static void control_late(struct timer *timer)
{
    control_drop(CONTAINER_OF(timer, struct iomesh_control, limit));
}

/* --- A request and its answer -------------------------------------------------------------- */

static int control_send(struct iomesh_control *control, const struct control_request *request)
{
    struct control_bytes bytes;
    int result = control_request_encode(request, &bytes);
    if (result != 0)
        return result;
    struct api_waiter waiter = {0};
    struct iovec part = {bytes.bytes, bytes.length};
    struct iomesh_send send = {
        .parts = &part, .part_count = 1, .done = api_waiter_done, .context = &waiter};
    result = api_waiter_end(control->engine, &waiter, uring_stream_send(control->stream, &send));
    free(bytes.bytes);
    return result;
}

static int control_receive(struct iomesh_control *control, void *bytes, uint32_t length)
{
    if (length == 0)
        return 0;
    struct api_waiter waiter = {0};
    return api_waiter_end(
        control->engine, &waiter,
        uring_stream_receive(control->stream, bytes, length, api_waiter_done, &waiter));
}

/* A code of the connection is told as what it means for what was asked. */
static int control_lost(const struct iomesh_control *control, int result)
{
    if (result == -ENOMEM || result == -EDEADLK)
        return result;
    return FAIL(IOMESH_UNKNOWN, "the owner of the pool %s: it may be done or not: look again",
                control->stream == NULL ? "does not answer" : "went away before it answered");
}

static int control_read(struct iomesh_control *control)
{
    uint8_t head[CONTROL_FRAME_BYTES];
    uint32_t length = 0;
    int result = control_receive(control, head, sizeof head);
    if (result != 0)
        return control_lost(control, result);
    result = control_frame_decode(head, CONTROL_RESPONSE_BYTES_MAX, &length);
    if (result != 0)
        return result;
    uint8_t *bytes = malloc((size_t)length + 1);
    if (bytes == NULL)
        return FAIL(-ENOMEM, "the control socket: no memory");
    result = control_receive(control, bytes, length);
    if (result != 0)
        result = control_lost(control, result);
    else
        result = control_response_decode(bytes, length, &control->response);
    free(bytes);
    return result;
}

/* What the owner answered: its result, its sentence here. The answer is in control->response. */
static int control_ask(struct iomesh_control *control, struct control_request *request)
{
    REFUSE_IN_CALLBACK(control->engine);
    if (control->stream == NULL)
        return FAIL(-ENOTCONN, "the connection to the owner of the pool has ended");
    control_response_done(&control->response);
    request->id = ++control->id;
    struct clock *clock = control->engine->world.clock;
    clock_set_after(clock, &control->limit, control->limit_ns);
    int result = control_send(control, request);
    result = result != 0 ? control_lost(control, result) : control_read(control);
    clock_cancel(clock, &control->limit);
    if (result == 0 && control->response.id != request->id)
        result = FAIL(-EPROTO, "the owner of the pool answered another request");
    if (result != 0) {
        if (control->stream != NULL)
            control_drop(control);
        return result;
    }
    control->process = control->response.process;
    result = control->response.result;
    return result < 0 ? FAIL(result, "%s", control->response.sentence) : result;
}

/* --- The connection ------------------------------------------------------------------------ */

static int control_connect(struct iomesh_engine *engine, const char *url,
                           struct iomesh_stream **ret_stream)
{
    struct place place = {0};
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
            uring_stream_connect(engine->uring, address, NULL, control_connected, &waiter));
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
    control->limit.fire = control_late;
    control->limit_ns = ANSWER_NS;
    int result = control_connect(engine, url, &control->stream);
    /* It is there, and speaks our version. */
    struct control_request request = {.kind = CONTROL_STATUS};
    if (result == 0)
        result = control_ask(control, &request);
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
    struct api_waiter waiter = {0};
    if (control->stream != NULL) {
        uring_stream_close(control->stream, api_waiter_done, &waiter);
        (void)api_waiter_end(control->engine, &waiter, 0);
    }
    (void)api_wait(control->engine, &control->dropped.pending);
    control_response_done(&control->response);
    free(control);
}

void api_control_limit(struct iomesh_control *control, uint64_t answer_ns)
{
    control->limit_ns = answer_ns;
}

uint32_t iomesh_control_process(const struct iomesh_control *control)
{
    return control->process;
}

/* --- Requests ------------------------------------------------------------------------------ */

static int control_give(void *to, uint32_t given, const void *from, uint32_t size, bool has)
{
    if (!has)
        return FAIL(-EPROTO, "the owner of the pool left out the answer");
    if (given < sizeof given)
        return FAIL(-EINVAL, "the answer's size is not set");
    memcpy(to, from, MIN(given, size));
    memcpy(to, &given, sizeof given);
    return 0;
}

int iomesh_control_status(struct iomesh_control *control, struct iomesh_pool_status *ret_status)
{
    struct control_request request = {.kind = CONTROL_STATUS};
    int result = control_ask(control, &request);
    return result != 0
               ? result
               : control_give(ret_status, ret_status->size, &control->response.status,
                              sizeof control->response.status, control->response.has_status);
}

int iomesh_control_device(struct iomesh_control *control, uint32_t index,
                          struct iomesh_device_status *ret_status)
{
    struct control_request request = {.kind = CONTROL_DEVICE, .index = index};
    int result = control_ask(control, &request);
    return result != 0
               ? result
               : control_give(ret_status, ret_status->size, &control->response.device,
                              sizeof control->response.device, control->response.has_device);
}

int iomesh_control_scrub_start(struct iomesh_control *control, uint64_t rate)
{
    struct control_request request = {.kind = CONTROL_SCRUB_START, .bytes = rate};
    return control_ask(control, &request);
}

int iomesh_control_scrub_stop(struct iomesh_control *control)
{
    struct control_request request = {.kind = CONTROL_SCRUB_STOP};
    return control_ask(control, &request);
}

/* A request about a volume, its name checked here: no other fits into a request. */
static int control_named(const char *name, struct control_request *request)
{
    if (name == NULL)
        return FAIL(-EINVAL, "no name was given");
    int result = name_check("volume", name, strlen(name));
    if (result == 0)
        memcpy(request->name, name, strlen(name) + 1);
    return result;
}

int iomesh_control_volume_create(struct iomesh_control *control, const char *name,
                                 const struct iomesh_volume_create_options *given)
{
    struct iomesh_volume_create_options options = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    struct control_request request = {.kind = CONTROL_VOLUME_CREATE};
    int result = api_options("volume create", given, &options, sizeof options);
    if (result == 0)
        result = control_named(name, &request);
    request.bytes = options.bytes;
    request.sector_bytes = options.sector_bytes;
    request.flags = options.flags;
    return result != 0 ? result : control_ask(control, &request);
}

int iomesh_control_volume_delete(struct iomesh_control *control, const char *name)
{
    struct control_request request = {.kind = CONTROL_VOLUME_DELETE};
    int result = control_named(name, &request);
    return result != 0 ? result : control_ask(control, &request);
}

int iomesh_control_volume_resize(struct iomesh_control *control, const char *name, uint64_t bytes,
                                 uint32_t flags)
{
    struct control_request request = {
        .kind = CONTROL_VOLUME_RESIZE, .bytes = bytes, .flags = flags};
    int result = control_named(name, &request);
    return result != 0 ? result : control_ask(control, &request);
}

int iomesh_control_volume_list(struct iomesh_control *control, iomesh_volume_info_fn *each,
                               void *context)
{
    if (each == NULL)
        return FAIL(-EINVAL, "a list needs a callback");
    struct control_request request = {.kind = CONTROL_VOLUME_LIST};
    int result;
    do {
        result = control_ask(control, &request);
        const struct control_response *response = &control->response;
        if (result >= 0 && response->volume_count > 0)
            memcpy(request.name, response->volumes[response->volume_count - 1].name,
                   sizeof request.name);
        else if (result == 1)
            result = FAIL(-EPROTO, "the owner of the pool sent an empty page");
        for (uint32_t i = 0; result >= 0 && i < response->volume_count; i++)
            each(context, &response->volumes[i]);
    } while (result == 1);
    return result;
}

int iomesh_control_volume_show(struct iomesh_control *control, const char *name,
                               struct iomesh_volume_info *ret_info)
{
    struct control_request request = {.kind = CONTROL_VOLUME_SHOW};
    int result = control_named(name, &request);
    if (result == 0)
        result = control_ask(control, &request);
    if (result != 0)
        return result;
    const struct control_response *response = &control->response;
    return control_give(ret_info, ret_info->size, response->volumes, sizeof *ret_info,
                        response->volume_count == 1);
}

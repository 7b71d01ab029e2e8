/* SPDX-License-Identifier: Apache-2.0 */
/* Requests. */
#include <stdlib.h>
#include <string.h>

#include "control/frame.h"

/* Numbers that are the same in both. */
#define REQUEST_COPY(to, from)                     \
    do {                                           \
        (to)->id = (from)->id;                     \
        (to)->kind = (from)->kind;                 \
        (to)->bytes = (from)->bytes;               \
        (to)->sector_bytes = (from)->sector_bytes; \
        (to)->flags = (from)->flags;               \
        (to)->limit = (from)->limit;               \
        (to)->index = (from)->index;               \
        (to)->handle = (from)->handle;             \
        (to)->offset = (from)->offset;             \
        (to)->length = (from)->length;             \
        (to)->since = (from)->since;               \
        (to)->payload = (from)->payload;           \
    } while (0)

static ProtobufCBinaryData uuid_put(const uint8_t uuid[IOMESH_UUID_BYTES], bool has)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)uuid,
                                 .len = has ? IOMESH_UUID_BYTES : 0};
}

int control_request_encode(const struct control_request *request, struct control_bytes *ret_bytes)
{
    Control__Request message = CONTROL__REQUEST__INIT;
    Control__Request *to = &message;
    REQUEST_COPY(to, request);
    message.name = (char *)request->name;
    message.target = (char *)request->target;
    message.uuid = uuid_put(request->uuid, request->has_uuid);
    message.base_uuid = uuid_put(request->base, request->has_base);
    message.n_names = request->name_count;
    message.names = (char **)(uintptr_t)request->names;
    return control_frame_pack(&message.base, ret_bytes);
}

void control_request_done(struct control_request *request)
{
    free((void *)(uintptr_t)request->names);
    request->names = NULL;
    request->name_count = 0;
}

static int text_take(char *to, const char *from, size_t max)
{
    size_t length = strlen(from);
    if (length > max)
        return FAIL(-EINVAL, "a name of %zu bytes: at most %zu", length, max);
    memcpy(to, from, length + 1);
    return 0;
}

static int uuid_take(uint8_t to[IOMESH_UUID_BYTES], bool *ret_has, const ProtobufCBinaryData *from)
{
    if (from->len != 0 && from->len != IOMESH_UUID_BYTES)
        return FAIL(-EINVAL, "a uuid of %zu bytes: it has %u", from->len, IOMESH_UUID_BYTES);
    *ret_has = from->len != 0;
    if (*ret_has)
        memcpy(to, from->data, IOMESH_UUID_BYTES);
    return 0;
}

/* All in one piece: the pointers, then the names. */
static int names_take(const Control__Request *message, struct control_request *request)
{
    if (message->n_names > IOMESH_GROUP_VOLUMES_MAX)
        return FAIL(-EINVAL, "%zu names: at most %u", message->n_names, IOMESH_GROUP_VOLUMES_MAX);
    if (message->n_names == 0)
        return 0;
    char **names = calloc(message->n_names, sizeof *names + IOMESH_NAME_BYTES_MAX + 1);
    if (names == NULL)
        return FAIL(-ENOMEM, "the control socket: no memory");
    char *text = (char *)(names + message->n_names);
    int result = 0;
    for (size_t i = 0; result == 0 && i < message->n_names; i++) {
        names[i] = text + i * (IOMESH_NAME_BYTES_MAX + 1);
        result = text_take(names[i], message->names[i], IOMESH_NAME_BYTES_MAX);
    }
    request->names = (const char *const *)names;
    request->name_count = (uint32_t)message->n_names;
    if (result != 0)
        control_request_done(request);
    return result;
}

static int request_take(const Control__Request *message, struct control_request *request)
{
    /* Nobody knows where the next request begins. */
    if (message->payload > CONTROL_PAYLOAD_BYTES_MAX ||
        (message->payload != 0 && message->kind != CONTROL_WRITE))
        return FAIL(-EPROTO, "a request on the control socket has data that it cannot have");
    if (message->base.n_unknown_fields > 0)
        return FAIL(-ENOTSUP, "the request says more than the owner of the pool understands: "
                              "use programs of one release");
    REQUEST_COPY(request, message);
    int result = text_take(request->name, message->name, CONTROL_NAME_BYTES_MAX);
    if (result == 0)
        result = text_take(request->target, message->target, IOMESH_NAME_BYTES_MAX);
    if (result == 0)
        result = uuid_take(request->uuid, &request->has_uuid, &message->uuid);
    if (result == 0)
        result = uuid_take(request->base, &request->has_base, &message->base_uuid);
    return result != 0 ? result : names_take(message, request);
}

int control_request_decode(const uint8_t *bytes, size_t length, struct control_request *ret_request)
{
    Control__Request *message = control__request__unpack(NULL, length, bytes);
    if (message == NULL)
        return FAIL(-EPROTO, "a request on the control socket cannot be read");
    struct control_request request = {.id = message->id, .payload = message->payload};
    int result = request_take(message, &request);
    control__request__free_unpacked(message, NULL);
    *ret_request = request;
    return result;
}

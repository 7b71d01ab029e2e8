/* SPDX-License-Identifier: Apache-2.0 */
/* Frames, and requests in them. */
#include "control/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.pb-c.h"

#define MAGIC 0x53434d49u /* "IMCS" */

int control_frame_decode(const uint8_t head[CONTROL_FRAME_BYTES], uint32_t length_max,
                         uint32_t *ret_length)
{
    if (get32(head) != MAGIC)
        return FAIL(-EPROTO, "what came on the control socket is not of iomesh");
    unsigned version = get16(head + 4);
    if (version != CONTROL_VERSION)
        return FAIL(IOMESH_FORMAT,
                    "the other end of the control socket speaks version %u, this one %u: "
                    "use programs of one release",
                    version, CONTROL_VERSION);
    if (get16(head + 6) != 0)
        return FAIL(-EPROTO, "a message on the control socket has a broken head");
    uint32_t length = get32(head + 8);
    if (length > length_max)
        return FAIL(-EMSGSIZE, "a message of %u bytes on the control socket: at most %u", length,
                    length_max);
    *ret_length = length;
    return 0;
}

int control_frame_pack(const ProtobufCMessage *message, struct control_bytes *ret_bytes)
{
    size_t packed = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(CONTROL_FRAME_BYTES + packed);
    if (bytes == NULL)
        return FAIL(-ENOMEM, "the control socket: no memory");
    put32(bytes, MAGIC);
    put16(bytes + 4, CONTROL_VERSION);
    put16(bytes + 6, 0);
    put32(bytes + 8, (uint32_t)packed);
    size_t written = protobuf_c_message_pack(message, bytes + CONTROL_FRAME_BYTES);
    assert(written == packed);
    *ret_bytes = (struct control_bytes){.bytes = bytes, .length = CONTROL_FRAME_BYTES + written};
    return 0;
}

int control_request_encode(const struct control_request *request, struct control_bytes *ret_bytes)
{
    Control__Request message = CONTROL__REQUEST__INIT;
    message.id = request->id;
    message.kind = request->kind;
    message.name = (char *)request->name;
    message.bytes = request->bytes;
    message.sector_bytes = request->sector_bytes;
    message.flags = request->flags;
    message.limit = request->limit;
    message.index = request->index;
    return control_frame_pack(&message.base, ret_bytes);
}

static int request_take(const Control__Request *message, struct control_request *request)
{
    if (message->base.n_unknown_fields > 0)
        return FAIL(-ENOTSUP, "the request says more than the owner of the pool understands: "
                              "use programs of one release");
    size_t length = strlen(message->name);
    if (length > IOMESH_NAME_BYTES_MAX)
        return FAIL(-EINVAL, "a name of %zu bytes: at most %u", length, IOMESH_NAME_BYTES_MAX);
    memcpy(request->name, message->name, length + 1);
    request->kind = message->kind;
    request->bytes = message->bytes;
    request->sector_bytes = message->sector_bytes;
    request->flags = message->flags;
    request->limit = message->limit;
    request->index = message->index;
    return 0;
}

int control_request_decode(const uint8_t *bytes, size_t length, struct control_request *ret_request)
{
    Control__Request *message = control__request__unpack(NULL, length, bytes);
    if (message == NULL)
        return FAIL(-EPROTO, "a request on the control socket cannot be read");
    struct control_request request = {.id = message->id};
    int result = request_take(message, &request);
    control__request__free_unpacked(message, NULL);
    *ret_request = request;
    return result;
}

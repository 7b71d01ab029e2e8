/* SPDX-License-Identifier: Apache-2.0 */
/* Frames. */
#include "control/frame.h"

#include <stdlib.h>

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

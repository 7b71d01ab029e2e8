/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: any bytes in, an error or a value out that encodes to one which decodes to
 * the same. The first byte says whose they are: a head, a request, an answer.
 */
#include <stdlib.h>
#include <string.h>

#include "control/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_head(const uint8_t *data, size_t size)
{
    uint8_t head[CONTROL_FRAME_BYTES] = {0};
    uint32_t length = 0;
    memcpy(head, data, MIN(size, sizeof head));
    int result = control_frame_decode(head, CONTROL_REQUEST_BYTES_MAX, &length);
    assert(result == 0 || result == -EPROTO || result == IOMESH_FORMAT || result == -EMSGSIZE);
    assert(length <= CONTROL_REQUEST_BYTES_MAX);
}

static void fuzz_request(const uint8_t *data, size_t size)
{
    struct control_request first;
    struct control_request second;
    struct control_bytes bytes;
    int result = control_request_decode(data, size, &first);
    assert(result == 0 || result == -EPROTO || result == -EINVAL || result == -ENOTSUP);
    if (result != 0)
        return;
    assert(control_request_encode(&first, &bytes) == 0);
    assert(bytes.length <= CONTROL_FRAME_BYTES + CONTROL_REQUEST_BYTES_MAX);
    assert(control_request_decode(bytes.bytes + CONTROL_FRAME_BYTES,
                                  bytes.length - CONTROL_FRAME_BYTES, &second) == 0);
    assert(first.id == second.id && first.kind == second.kind && first.bytes == second.bytes &&
           strcmp(first.name, second.name) == 0);
    free(bytes.bytes);
}

static void fuzz_response(const uint8_t *data, size_t size)
{
    struct control_response first;
    struct control_response second;
    struct control_bytes bytes;
    int result = control_response_decode(data, size, &first);
    assert(result == 0 || result == -EPROTO);
    if (result != 0)
        return;
    assert(control_response_encode(&first, &bytes) == 0);
    assert(control_response_decode(bytes.bytes + CONTROL_FRAME_BYTES,
                                   bytes.length - CONTROL_FRAME_BYTES, &second) == 0);
    assert(first.volume_count == second.volume_count && first.result == second.result);
    assert(memcmp(&first.status, &second.status, sizeof first.status) == 0);
    control_response_done(&first);
    control_response_done(&second);
    free(bytes.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0] % 3) {
    case 0: fuzz_head(data + 1, size - 1); break;
    case 1: fuzz_request(data + 1, size - 1); break;
    default: fuzz_response(data + 1, size - 1); break;
    }
    return 0;
}

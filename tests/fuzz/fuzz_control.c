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
           strcmp(first.name, second.name) == 0 && strcmp(first.target, second.target) == 0);
    assert(first.offset == second.offset && first.length == second.length &&
           first.since == second.since && first.handle == second.handle);
    assert(first.payload == second.payload && first.payload <= CONTROL_PAYLOAD_BYTES_MAX &&
           (first.payload == 0 || first.kind == CONTROL_WRITE));
    assert(first.has_uuid == second.has_uuid && first.has_base == second.has_base &&
           memcmp(first.uuid, second.uuid, sizeof first.uuid) == 0 &&
           memcmp(first.base, second.base, sizeof first.base) == 0);
    assert(first.name_count == second.name_count);
    for (uint32_t i = 0; i < first.name_count; i++)
        assert(strcmp(first.names[i], second.names[i]) == 0);
    control_request_done(&first);
    control_request_done(&second);
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
    assert(first.more == second.more && first.handle == second.handle &&
           first.progress_done == second.progress_done && first.payload == second.payload);
    assert(first.snapshot_count == second.snapshot_count &&
           first.group_count == second.group_count && first.extent_count == second.extent_count);
    for (uint32_t i = 0; i < first.snapshot_count; i++)
        assert(memcmp(&first.snapshots[i], &second.snapshots[i], sizeof *first.snapshots) == 0);
    for (uint32_t i = 0; i < first.group_count; i++)
        assert(first.groups[i].volume_count == second.groups[i].volume_count);
    for (uint32_t i = 0; i < first.extent_count; i++)
        assert(first.extents[i].bytes == second.extents[i].bytes);
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

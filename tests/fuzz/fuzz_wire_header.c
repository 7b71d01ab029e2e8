/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes in: an error, or a header that encodes back to the same bytes, whose aside and data are
 * within their limits. Byte 0: if odd, magic and sum are made right first.
 */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int truth)
{
    if (!truth)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[WIRE_HEADER_BYTES] = {0}, again[WIRE_HEADER_BYTES];
    if (size == 0)
        return 0;
    memcpy(bytes, data + 1, size - 1 < sizeof bytes ? size - 1 : sizeof bytes);
    if (data[0] & 1) {
        memcpy(bytes + 4, "IMW1", 4);
        put32(bytes, crc32c(bytes + 4, sizeof bytes - 4));
    }
    struct wire_header header;
    if (wire_header_get(bytes, &header) != 0)
        return 0;
    check(header.aside_bytes <= WIRE_ASIDE_BYTES_MAX && header.data_bytes <= WIRE_DATA_BYTES_MAX);
    check(header.count <= WIRE_BLOCKS_MAX && header.cut_count <= WIRE_CUTS_MAX);
    if (!(header.type & WIRE_ANSWER) && wire_request_check(&header) == 0)
        check(header.block / WIRE_BLOCKS_MAX ==
                  (header.block + (header.count > 0 ? header.count - 1u : 0u)) / WIRE_BLOCKS_MAX ||
              wire_is_control(header.type) || header.type == WIRE_CHANGED ||
              header.type == WIRE_FLUSH || header.type == WIRE_WATERMARK ||
              header.type >= WIRE_HELLO);
    wire_header_put(again, &header);
    check(memcmp(bytes, again, sizeof bytes) == 0);
    return 0;
}

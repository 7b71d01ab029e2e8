/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes in: an error, or a copy of a metadata record that encodes back to the same bytes. Byte
 * 0 says whether they are a half, or a list. */
#include <stdlib.h>
#include <string.h>

#include "format/metadata_copy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t again[METADATA_COPY_BLOCKS_MAX * BLOCK_BYTES];

static void check(int truth)
{
    if (!truth)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct metadata_copy copy;
    if (size < 1 || size > sizeof again)
        return 0;
    uint32_t length = (uint32_t)size - 1;
    if (data[0] % 2 == 0) {
        if (metadata_copy_get(data + 1, length, &copy) != 0)
            return 0;
        metadata_copy_put(again, &copy);
        check(memcmp(again, data + 1, METADATA_COPY_HEAD_BYTES + copy.bytes) == 0);
        return 0;
    }
    const uint8_t *at = data + 1, *end = at + length;
    for (int used; (used = metadata_copy_listed(at, (uint32_t)(end - at), &copy)) > 0; at += used) {
        check(metadata_copy_list(again, sizeof again, &copy) == (uint32_t)used);
        check(memcmp(again, at, (size_t)used) == 0);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes in: an error, or what a file says of a store or a part, which encodes back to the same
 * bytes. Byte 0 says which. */
#include <stdlib.h>
#include <string.h>

#include "format/metadata_gathered.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int truth)
{
    if (!truth)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[MAX(GATHERED_STORE_BYTES_MAX, GATHERED_PART_BYTES)];
    if (size < 1 || size > sizeof again)
        return 0;
    uint32_t length = (uint32_t)size - 1;
    if (data[0] % 2 == 0) {
        struct gathered_store store;
        if (gathered_store_get(data + 1, length, &store) != 0)
            return 0;
        check(gathered_store_put(again, &store) == length);
        check(memcmp(again, data + 1, length) == 0);
        return 0;
    }
    struct part_saved part;
    uint64_t sequence;
    if (gathered_part_get(data + 1, length, &part, &sequence) != 0)
        return 0;
    gathered_part_put(again, &part, sequence);
    check(memcmp(again, data + 1, length) == 0);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Any sixteen bytes: an error, or a pointer that encodes back to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "format/pointer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (; size >= POINTER_BYTES; data += POINTER_BYTES, size -= POINTER_BYTES) {
        struct pointer pointer;
        if (pointer_get(data, &pointer) != 0)
            continue;
        uint8_t again[POINTER_BYTES];
        pointer_put(again, &pointer);
        if (memcmp(again, data, POINTER_BYTES) != 0)
            abort();
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes in: an error, or a page of the deferred list that encodes back to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "format/deferred.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[BLOCK_BYTES], again[BLOCK_BYTES];
    if (size > BLOCK_BYTES)
        return 0;
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, data, size);
    struct deferred_page page;
    if (deferred_get(bytes, &page) != 0)
        return 0;
    deferred_put(again, &page);
    if (memcmp(bytes, again, sizeof bytes) != 0)
        abort();
    return 0;
}

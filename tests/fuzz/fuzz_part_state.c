/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes in: an error, or the state of a part that encodes back to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "format/part_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[PART_STATE_BYTES] = {0}, again[PART_STATE_BYTES];
    if (size > sizeof bytes)
        return 0;
    memcpy(bytes, data, size);
    struct part_saved saved;
    if (part_state_get(bytes, &saved) != 0)
        return 0;
    part_state_put(again, &saved);
    if (memcmp(bytes, again, sizeof bytes) != 0)
        abort();
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes in: an error, or a record that encodes to bytes which decode to the same record. */
#include <stdlib.h>
#include <string.h>

#include "format/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct record record, again;
    if (size > RECORD_BYTES_MAX || record_decode(data, (uint32_t)size, &record) != 0)
        return 0;
    uint8_t bytes[2][RECORD_BYTES_MAX];
    /* Bytes that mean nothing are not kept, so it is the second encoding that must be the same. */
    uint32_t length = record_encode(bytes[0], &record);
    if (length != size || record_decode(bytes[0], length, &again) != 0)
        abort();
    if (record_encode(bytes[1], &again) != length || memcmp(bytes[0], bytes[1], length) != 0)
        abort();
    return 0;
}

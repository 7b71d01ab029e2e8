/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes in: an error, or a batch whose records encode back to the same bytes. Byte 0: if odd,
 * the sum is made right first, so that what it guards is looked at too.
 */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/journal.h"

#define BYTES (BATCH_BLOCKS_MAX * BLOCK_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t batch[BYTES], again[BYTES];

static void check(int truth)
{
    if (!truth)
        abort();
}

static void make_sum_right(size_t length)
{
    struct batch_header header;
    if (length >= BATCH_HEADER_BYTES && batch_header_get(batch, &header) == 0 &&
        header.bytes_used <= length)
        put32(batch, crc32c(batch + 4, header.bytes_used - 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size - 1 > BYTES)
        return 0;
    size_t length = size - 1;
    memcpy(batch, data + 1, length);
    if (data[0] & 1)
        make_sum_right(length);
    struct batch_header header;
    if (batch_get(batch, length, &header) != 0)
        return 0;
    check(header.bytes_used <= length && header.durable < header.number);
    uint32_t used = BATCH_HEADER_BYTES, offset = BATCH_HEADER_BYTES, count = 0, record_length;
    for (const uint8_t *record; batch_next(batch, &header, &offset, &record, &record_length);
         count++)
        used = batch_add(again, used, record, record_length);
    check(count == header.record_count && used == header.bytes_used);
    batch_seal(again, &header);
    check(memcmp(again, batch, used) == 0);
    return 0;
}

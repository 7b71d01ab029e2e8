/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes in: an error, or a label or superblock that encodes to bytes which decode to the same.
 * Byte 0: bit 0 makes the sum right first, bit 1 takes the bytes for a label.
 */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/superblock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t bytes[BLOCK_BYTES], again[BLOCK_BYTES], third[BLOCK_BYTES];

static void try_label(void)
{
    struct label label;
    if (label_decode(bytes, &label) != 0)
        return;
    label_encode(again, &label);
    if (label_decode(again, &label) != 0)
        abort();
    label_encode(third, &label);
    if (memcmp(again, third, BLOCK_BYTES) != 0)
        abort();
}

static void try_superblock(void)
{
    static struct superblock super;
    if (superblock_decode(bytes, &super) != 0)
        return;
    superblock_encode(again, &super);
    if (superblock_decode(again, &super) != 0)
        abort();
    superblock_encode(third, &super);
    if (memcmp(again, third, BLOCK_BYTES) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size - 1 > BLOCK_BYTES)
        return 0;
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, data + 1, size - 1);
    if (data[0] & 1)
        put32(bytes, crc32c(bytes + 4, BLOCK_BYTES - 4));
    if (data[0] & 2)
        try_label();
    else
        try_superblock();
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "format/journal.h"

#include <string.h>

#include "codec/codec.h"

#define BATCH_MAGIC 0x424a4d49u /* "IMJB" */
#define BATCH_VERSION 1u
#define BATCH_BYTES_MAX (BATCH_BLOCKS_MAX * BLOCK_BYTES)

static const uint8_t reserved_zero[BATCH_HEADER_BYTES - 44];

uint32_t batch_add(uint8_t *batch, uint32_t bytes_used, const void *record, uint32_t length)
{
    assert(length > 0 && length <= BATCH_RECORD_MAX);
    assert(bytes_used >= BATCH_HEADER_BYTES);
    assert(bytes_used + BATCH_RECORD_BYTES + length <= BATCH_BYTES_MAX);
    put16(batch + bytes_used, (uint16_t)length);
    put16(batch + bytes_used + 2, 0);
    memcpy(batch + bytes_used + BATCH_RECORD_BYTES, record, length);
    return bytes_used + BATCH_RECORD_BYTES + length;
}

void batch_seal(uint8_t *batch, const struct batch_header *header)
{
    assert(header->bytes_used >= BATCH_HEADER_BYTES && header->bytes_used <= BATCH_BYTES_MAX);
    assert(header->durable < header->number);
    put32(batch + 4, BATCH_MAGIC);
    put16(batch + 8, BATCH_VERSION);
    put16(batch + 10, 0);
    put32(batch + 12, header->bytes_used);
    put64(batch + 16, header->incarnation);
    put64(batch + 24, header->number);
    put64(batch + 32, header->durable);
    put32(batch + 40, header->record_count);
    memset(batch + 44, 0, BATCH_HEADER_BYTES - 44);
    memset(batch + header->bytes_used, 0,
           batch_blocks(header->bytes_used) * BLOCK_BYTES - header->bytes_used);
    put32(batch, crc32c(batch + 4, header->bytes_used - 4));
}

int batch_header_get(const uint8_t from[BATCH_HEADER_BYTES], struct batch_header *ret_header)
{
    if (get32(from + 4) != BATCH_MAGIC || get16(from + 8) != BATCH_VERSION)
        return IOMESH_FORMAT;
    struct batch_header header = {
        .bytes_used = get32(from + 12),
        .incarnation = get64(from + 16),
        .number = get64(from + 24),
        .durable = get64(from + 32),
        .record_count = get32(from + 40),
    };
    if (get16(from + 10) != 0 || memcmp(from + 44, reserved_zero, sizeof reserved_zero) != 0)
        return IOMESH_CORRUPT;
    if (header.bytes_used < BATCH_HEADER_BYTES || header.bytes_used > BATCH_BYTES_MAX)
        return IOMESH_CORRUPT;
    if (header.number == 0 || header.durable >= header.number)
        return IOMESH_CORRUPT;
    *ret_header = header;
    return 0;
}

/* One frame; false if there is none whole below `bytes_used`. */
static bool frame_get(const uint8_t *batch, uint32_t bytes_used, uint32_t offset,
                      uint32_t *ret_length)
{
    if (bytes_used - offset <= BATCH_RECORD_BYTES)
        return false;
    uint32_t length = get16(batch + offset);
    if (length == 0 || get16(batch + offset + 2) != 0 ||
        length > bytes_used - offset - BATCH_RECORD_BYTES)
        return false;
    *ret_length = length;
    return true;
}

int batch_check_frames(const uint8_t *batch, const struct batch_header *header)
{
    uint32_t offset = BATCH_HEADER_BYTES;
    uint32_t count = 0;
    for (uint32_t length; offset < header->bytes_used; count++) {
        if (!frame_get(batch, header->bytes_used, offset, &length))
            return IOMESH_CORRUPT;
        offset += BATCH_RECORD_BYTES + length;
    }
    return count == header->record_count ? 0 : IOMESH_CORRUPT;
}

int batch_get(const uint8_t *from, size_t available, struct batch_header *ret_header)
{
    if (available < BATCH_HEADER_BYTES)
        return IOMESH_CORRUPT;
    struct batch_header header;
    int result = batch_header_get(from, &header);
    if (result != 0)
        return result;
    if (header.bytes_used > available)
        return IOMESH_CORRUPT;
    if (get32(from) != crc32c(from + 4, header.bytes_used - 4) && !MUTANT(1))
        return IOMESH_CORRUPT;
    if (batch_check_frames(from, &header) != 0)
        return IOMESH_CORRUPT;
    *ret_header = header;
    return 0;
}

bool batch_next(const uint8_t *batch, const struct batch_header *header, uint32_t *offset,
                const uint8_t **ret_record, uint32_t *ret_length)
{
    assert(*offset >= BATCH_HEADER_BYTES && *offset <= header->bytes_used);
    uint32_t length;
    if (*offset == header->bytes_used || !frame_get(batch, header->bytes_used, *offset, &length))
        return false;
    *ret_record = batch + *offset + BATCH_RECORD_BYTES;
    *ret_length = length;
    *offset += BATCH_RECORD_BYTES + length;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/format.h"

#include <assert.h>
#include <isa-l/crc.h>
#include <string.h>

#include "backup/wire.h"

static const uint8_t magic[8] = {0x89, 'I', 'M', 'B', '\r', '\n', 0x1a, '\n'};
static const uint64_t volume_bytes_max = UINT64_C(1) << 46;
enum { HEADER_BYTES = 88, ZERO_HEAD_BYTES = 8, END_BYTES = 40 };

const char *backup_fault_text(enum backup_fault fault)
{
#define BACKUP_FAULT_TEXT(name, text) [BACKUP_##name] = (text),
    static const char *const texts[] = {BACKUP_FAULTS(BACKUP_FAULT_TEXT)};
#undef BACKUP_FAULT_TEXT
    assert((size_t)fault < sizeof texts / sizeof *texts);
    return texts[fault];
}

uint32_t backup_checksum(uint32_t before, const void *data, size_t length)
{
    assert(length <= INT32_MAX);
    /* The library takes the state before its last inversion. */
    return ~crc32_iscsi((unsigned char *)(uintptr_t)data, (int)length, ~before);
}

bool backup_is_increment(const struct backup_header *header)
{
    static const uint8_t none[16];
    return memcmp(header->base_uuid, none, sizeof none) != 0;
}

/* --- Heads --------------------------------------------------------------------------------- */

void backup_stream_head_encode(uint8_t to[BACKUP_STREAM_HEAD_BYTES])
{
    memcpy(to, magic, sizeof magic);
    put32(to + 8, BACKUP_VERSION);
    put32(to + 12, backup_checksum(0, to, 12));
}

enum backup_fault backup_stream_head_decode(const uint8_t from[BACKUP_STREAM_HEAD_BYTES])
{
    if (memcmp(from, magic, sizeof magic) != 0)
        return BACKUP_NO_STREAM;
    if (get32(from + 12) != backup_checksum(0, from, 12))
        return BACKUP_DAMAGED;
    return get32(from + 8) == BACKUP_VERSION ? BACKUP_GOOD : BACKUP_NEWER;
}

void backup_frame_head_encode(const struct backup_frame *frame, uint8_t to[BACKUP_FRAME_HEAD_BYTES])
{
    assert(frame->length <= BACKUP_PAYLOAD_BYTES_MAX);
    put16(to + 4, frame->type);
    put16(to + 6, 0);
    put32(to + 8, frame->length);
    put32(to + 12, frame->payload_checksum);
    put64(to + 16, frame->number);
    put32(to + 24, frame->chain);
    put32(to + 28, 0);
    put32(to, backup_checksum(0, to + 4, BACKUP_FRAME_HEAD_BYTES - 4));
}

enum backup_fault backup_frame_head_decode(const uint8_t from[BACKUP_FRAME_HEAD_BYTES],
                                           struct backup_frame *ret_frame)
{
    if (get32(from) != backup_checksum(0, from + 4, BACKUP_FRAME_HEAD_BYTES - 4))
        return BACKUP_DAMAGED;
    struct backup_frame frame = {
        .type = get16(from + 4),
        .length = get32(from + 8),
        .payload_checksum = get32(from + 12),
        .number = get64(from + 16),
        .chain = get32(from + 24),
    };
    if (get16(from + 6) != 0 || get32(from + 28) != 0 || frame.length > BACKUP_PAYLOAD_BYTES_MAX)
        return BACKUP_NONSENSE;
    *ret_frame = frame;
    return BACKUP_GOOD;
}

/* --- HEADER -------------------------------------------------------------------------------- */

static uint8_t *put_name(uint8_t *to, uint8_t *length_at, const char *name)
{
    const size_t length = strnlen(name, BACKUP_NAME_BYTES_MAX + 1);
    assert(length <= BACKUP_NAME_BYTES_MAX);
    put16(length_at, (uint16_t)length);
    memcpy(to, name, length);
    return to + length;
}

uint32_t backup_header_encode(const struct backup_header *header, uint8_t *to)
{
    memcpy(to, header->pool_uuid, 16);
    memcpy(to + 16, header->snapshot_uuid, 16);
    memcpy(to + 32, header->base_uuid, 16);
    put64(to + 48, header->volume_id);
    put64(to + 56, header->volume_bytes);
    put64(to + 64, header->created_ns);
    put32(to + 72, header->sector_bytes);
    put32(to + 76, header->flags);
    uint8_t *end = put_name(to + HEADER_BYTES, to + 80, header->volume);
    end = put_name(end, to + 82, header->snapshot);
    end = put_name(end, to + 84, header->base);
    put16(to + 86, 0);
    return (uint32_t)(end - to);
}

/* One name, not empty, that text can hold. */
static bool get_name(const uint8_t **from, uint32_t length, char ret_name[])
{
    if (length > BACKUP_NAME_BYTES_MAX || memchr(*from, '\0', length) != NULL)
        return false;
    memcpy(ret_name, *from, length);
    ret_name[length] = '\0';
    *from += length;
    return true;
}

enum backup_fault backup_header_decode(const uint8_t *from, uint32_t length,
                                       struct backup_header *ret_header)
{
    static const uint8_t none[16];
    struct backup_header header = {0};
    if (length < HEADER_BYTES)
        return BACKUP_NONSENSE;
    memcpy(header.pool_uuid, from, 16);
    memcpy(header.snapshot_uuid, from + 16, 16);
    memcpy(header.base_uuid, from + 32, 16);
    header.volume_id = get64(from + 48);
    header.volume_bytes = get64(from + 56);
    header.created_ns = get64(from + 64);
    header.sector_bytes = get32(from + 72);
    header.flags = get32(from + 76);
    const uint16_t lengths[3] = {get16(from + 80), get16(from + 82), get16(from + 84)};
    if (memcmp(header.snapshot_uuid, none, sizeof none) == 0 ||
        memcmp(header.snapshot_uuid, header.base_uuid, sizeof none) == 0 ||
        header.volume_bytes < BACKUP_BLOCK_BYTES || header.volume_bytes > volume_bytes_max ||
        header.volume_bytes % BACKUP_BLOCK_BYTES != 0 ||
        (header.sector_bytes != 512 && header.sector_bytes != BACKUP_BLOCK_BYTES) ||
        (header.flags & ~BACKUP_FLAG_PASSING) != 0 || get16(from + 86) != 0 || lengths[0] == 0 ||
        lengths[1] == 0 || (lengths[2] != 0) != backup_is_increment(&header) ||
        (uint32_t)lengths[0] + lengths[1] + lengths[2] > length - HEADER_BYTES)
        return BACKUP_NONSENSE;
    const uint8_t *names = from + HEADER_BYTES;
    if (!get_name(&names, lengths[0], header.volume) ||
        !get_name(&names, lengths[1], header.snapshot) ||
        !get_name(&names, lengths[2], header.base))
        return BACKUP_NONSENSE;
    *ret_header = header;
    return BACKUP_GOOD;
}

/* --- Extents ------------------------------------------------------------------------------- */

uint8_t *backup_extents_encode(const struct backup_extent *extents, uint32_t count, uint8_t *to)
{
    assert(count > 0 && count <= BACKUP_EXTENTS_MAX);
    for (uint32_t i = 0; i < count; i++, to += BACKUP_EXTENT_BYTES) {
        put64(to, extents[i].offset);
        put64(to + 8, extents[i].bytes);
    }
    return to;
}

enum backup_fault backup_extents_decode(const uint8_t *from, uint32_t count,
                                        struct backup_extent *ret_extents, uint64_t *ret_bytes)
{
    uint64_t end = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++, from += BACKUP_EXTENT_BYTES) {
        const struct backup_extent extent = {get64(from), get64(from + 8)};
        if ((extent.offset | extent.bytes) % BACKUP_BLOCK_BYTES != 0 || extent.bytes == 0 ||
            extent.offset < end || extent.offset > volume_bytes_max ||
            extent.bytes > volume_bytes_max - extent.offset)
            return BACKUP_NONSENSE;
        end = extent.offset + extent.bytes;
        bytes += extent.bytes;
        ret_extents[i] = extent;
    }
    *ret_bytes = bytes;
    return BACKUP_GOOD;
}

/* --- ZERO, END ----------------------------------------------------------------------------- */

uint32_t backup_zero_encode(const struct backup_extent *extents, uint32_t count, uint8_t *to)
{
    put32(to, count);
    put32(to + 4, 0);
    return (uint32_t)(backup_extents_encode(extents, count, to + ZERO_HEAD_BYTES) - to);
}

enum backup_fault backup_zero_decode(const uint8_t *from, uint32_t length,
                                     struct backup_extent ret_extents[BACKUP_EXTENTS_MAX],
                                     uint32_t *ret_count)
{
    if (length < ZERO_HEAD_BYTES)
        return BACKUP_NONSENSE;
    const uint32_t count = get32(from);
    uint64_t bytes;
    if (count == 0 || count > BACKUP_EXTENTS_MAX || get32(from + 4) != 0 ||
        length != ZERO_HEAD_BYTES + count * BACKUP_EXTENT_BYTES)
        return BACKUP_NONSENSE;
    *ret_count = count;
    return backup_extents_decode(from + ZERO_HEAD_BYTES, count, ret_extents, &bytes);
}

uint32_t backup_end_encode(const struct backup_end *end, uint8_t *to)
{
    put64(to, end->data_bytes);
    put64(to + 8, end->zero_bytes);
    put64(to + 16, end->frames);
    put64(to + 24, end->stream_bytes);
    put32(to + 32, end->chain);
    put32(to + 36, 0);
    return END_BYTES;
}

enum backup_fault backup_end_decode(const uint8_t *from, uint32_t length,
                                    struct backup_end *ret_end)
{
    if (length != END_BYTES || get32(from + 36) != 0)
        return BACKUP_NONSENSE;
    *ret_end = (struct backup_end){.data_bytes = get64(from),
                                   .zero_bytes = get64(from + 8),
                                   .frames = get64(from + 16),
                                   .stream_bytes = get64(from + 24),
                                   .chain = get32(from + 32)};
    return BACKUP_GOOD;
}

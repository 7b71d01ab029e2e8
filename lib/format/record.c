/* SPDX-License-Identifier: Apache-2.0 */
#include "format/record.h"

#include <string.h>

#include "format/pointer.h"

#define MAP_BLOCKS_ 256u
#define SEGMENT_BLOCKS_ 65536u
#define VOLUME_BLOCKS_ (1ull << 34) /* 64 TiB. */
#define DROP_BYTES 24u
#define ZERO_BYTES 44u

static uint32_t encode_io(uint8_t *to, const struct record *record)
{
    put32(to + 4, record->generation);
    put64(to + 8, record->volume);
    put48(to + 16, record->block);
    put48(to + 22, record->sequence);
    put48(to + 28, record->watermark);
    put48(to + 34, record->epoch);
    if (record->type == RECORD_ZERO) {
        put16(to + 2, 0);
        put32(to + 40, record->count);
        return ZERO_BYTES;
    }
    assert(record->extent_count >= 1 && record->extent_count <= RECORD_EXTENTS_MAX);
    assert(record->count >= 1 && record->count <= RECORD_BLOCKS_MAX);
    to[1] = record->extent_count;
    put16(to + 2, (uint16_t)record->count);
    uint8_t *at = to + RECORD_HEAD_BYTES;
    for (unsigned i = 0; i < record->extent_count; i++, at += 8) {
        put48(at, record->extents[i].place);
        put16(at + 6, record->extents[i].blocks);
    }
    for (unsigned i = 0; i < record->count; i++, at += 4)
        put32(at, record->crcs[i]);
    return (uint32_t)(at - to);
}

uint32_t record_encode(uint8_t *to, const struct record *record)
{
    to[0] = (uint8_t)record->type;
    to[1] = 0;
    if (record->type == RECORD_WRITE || record->type == RECORD_ZERO)
        return encode_io(to, record);
    put16(to + 2, 0);
    put32(to + 4, record->segment);
    put64(to + 8, record->volume);
    put48(to + 16, record->view);
    put16(to + 22, 0);
    return DROP_BYTES;
}

static bool range_sane(uint64_t block, uint32_t count)
{
    if (block >= VOLUME_BLOCKS_)
        return false;
    if (count == SEGMENT_BLOCKS_)
        return block % SEGMENT_BLOCKS_ == 0;
    return count >= 1 && count <= MAP_BLOCKS_ && block % MAP_BLOCKS_ + count <= MAP_BLOCKS_;
}

static int decode_extents(const uint8_t *at, struct record *record)
{
    uint32_t blocks = 0;
    for (unsigned i = 0; i < record->extent_count; i++, at += 8) {
        record->extents[i].place = get48(at);
        record->extents[i].blocks = get16(at + 6);
        if (record->extents[i].blocks == 0 || record->extents[i].place > PLACE_MAX)
            return IOMESH_CORRUPT;
        blocks += record->extents[i].blocks;
    }
    for (unsigned i = 0; i < record->count; i++, at += 4)
        record->crcs[i] = get32(at);
    return blocks == record->count ? 0 : IOMESH_CORRUPT;
}

static int decode_io(const uint8_t *from, uint32_t length, struct record *record)
{
    if (length < RECORD_HEAD_BYTES)
        return IOMESH_CORRUPT;
    record->generation = get32(from + 4);
    record->volume = get64(from + 8);
    record->block = get48(from + 16);
    record->sequence = get48(from + 22);
    record->watermark = get48(from + 28);
    record->epoch = get48(from + 34);
    if (record->sequence == 0)
        return IOMESH_CORRUPT;
    if (record->type == RECORD_ZERO) {
        if (length != ZERO_BYTES)
            return IOMESH_CORRUPT;
        record->count = get32(from + 40);
        return range_sane(record->block, record->count) ? 0 : IOMESH_CORRUPT;
    }
    record->extent_count = from[1];
    record->count = get16(from + 2);
    bool sane = record->extent_count >= 1 && record->extent_count <= RECORD_EXTENTS_MAX &&
                record->count <= RECORD_BLOCKS_MAX && range_sane(record->block, record->count) &&
                length == RECORD_HEAD_BYTES + record->extent_count * 8u + record->count * 4u;
    return sane ? decode_extents(from + RECORD_HEAD_BYTES, record) : IOMESH_CORRUPT;
}

int record_decode(const uint8_t *from, uint32_t length, struct record *ret_record)
{
    if (length < 1)
        return IOMESH_CORRUPT;
    memset(ret_record, 0, offsetof(struct record, extents));
    ret_record->type = from[0];
    if (from[0] == RECORD_WRITE || from[0] == RECORD_ZERO)
        return decode_io(from, length, ret_record);
    if (from[0] < RECORD_RETIRE || from[0] > RECORD_FORGET || length != DROP_BYTES)
        return IOMESH_CORRUPT;
    ret_record->segment = get32(from + 4);
    ret_record->volume = get64(from + 8);
    ret_record->view = get48(from + 16);
    bool segment = ret_record->segment < VOLUME_BLOCKS_ / SEGMENT_BLOCKS_;
    return segment || from[0] != RECORD_DROP_SEGMENT ? 0 : IOMESH_CORRUPT;
}

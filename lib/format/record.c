/* SPDX-License-Identifier: Apache-2.0 */
#include "format/record.h"

#include <string.h>

#include "format/pointer.h"

#define MAP_BLOCKS_ 256u
#define SEGMENT_BLOCKS_ 65536u
#define VOLUME_BLOCKS_ (1ull << 34) /* 64 TiB. */
#define MEBIBYTES_ (VOLUME_BLOCKS_ / MAP_BLOCKS_)
#define SEGMENT_VIEWS_ 0x80000000u
#define WRITE_HEAD_BYTES 40u /* Of one that tells of no views. */
#define DROP_BYTES 24u
#define DROP_VIEW_BYTES 28u
#define ZERO_BYTES 44u
#define ZERO_VIEWS_BYTES 52u
#define RESYNC_HEAD_BYTES 52u
#define RESYNC_REPAIR 1u

static uint8_t *encode_extents(uint8_t *at, const struct record *record)
{
    for (unsigned i = 0; i < record->extent_count; i++, at += 8) {
        put48(at, record->extents[i].place);
        put16(at + 6, record->extents[i].blocks);
    }
    return at;
}

static uint32_t encode_io(uint8_t *to, const struct record *record)
{
    put32(to + 4, record->generation);
    put64(to + 8, record->volume);
    put48(to + 16, record->block);
    put48(to + 22, record->sequence);
    put48(to + 28, record->watermark);
    put48(to + 34, record->epoch);
    if (record_is_zero(record)) {
        put16(to + 2, 0);
        put32(to + 40, record->count);
        if (record->type == RECORD_ZERO)
            return ZERO_BYTES;
        put48(to + 44, record->cut);
        put16(to + 50, record->group);
        return ZERO_VIEWS_BYTES;
    }
    assert(record->extent_count >= 1 && record->extent_count <= RECORD_EXTENTS_MAX);
    assert(record->count >= 1 && record->count <= RECORD_BLOCKS_MAX);
    to[1] = record->extent_count;
    put16(to + 2, (uint16_t)record->count);
    uint8_t *at = to + WRITE_HEAD_BYTES;
    if (record->type == RECORD_WRITE_VIEWS) {
        put48(to + 40, record->cut);
        put16(to + 46, record->group);
        at = to + RECORD_HEAD_BYTES;
    }
    at = encode_extents(at, record);
    for (unsigned i = 0; i < record->count; i++, at += 4)
        put32(at, record->crcs[i]);
    return (uint32_t)(at - to);
}

static uint32_t encode_resync(uint8_t *to, const struct record *record)
{
    assert(record->count >= 1 && record->count <= RECORD_RESYNC_BLOCKS);
    assert(record->extent_count <= RECORD_EXTENTS_MAX);
    assert(!record->repair || record->count <= RECORD_REPAIR_BLOCKS);
    to[1] = record->extent_count;
    put16(to + 2, (uint16_t)record->count);
    put32(to + 4, record->generation);
    put64(to + 8, record->volume);
    put48(to + 16, record->block);
    put48(to + 22, record->view);
    put48(to + 28, record->watermark);
    put48(to + 34, record->epoch);
    put48(to + 40, record->cut);
    put16(to + 46, record->group);
    to[48] = record->kind;
    to[49] = record->repair ? RESYNC_REPAIR : 0;
    put16(to + 50, 0);
    uint8_t *at = encode_extents(to + RESYNC_HEAD_BYTES, record);
    for (unsigned i = 0; i < record->count; i++, at += 6)
        put48(at, record->sequences[i]);
    for (unsigned i = 0; record->kind == POINTER_RAW && i < record->count; i++, at += 4)
        put32(at, record->crcs[i]);
    for (unsigned i = 0; record->repair && i < record->count; i++, at += 6)
        put48(at, record->damaged[i]);
    return (uint32_t)(at - to);
}

static uint32_t encode_drop_view(uint8_t *to, const struct record *record)
{
    put16(to + 2, 0);
    put32(to + 4, record->mebibyte);
    put64(to + 8, record->volume);
    put48(to + 16, record->cut);
    put48(to + 22, record->previous);
    return DROP_VIEW_BYTES;
}

uint32_t record_encode(uint8_t *to, const struct record *record)
{
    to[0] = (uint8_t)record->type;
    to[1] = 0;
    if (record_is_write(record) || record_is_zero(record))
        return encode_io(to, record);
    if (record->type == RECORD_DROP_VIEW)
        return encode_drop_view(to, record);
    if (record->type == RECORD_RESYNC)
        return encode_resync(to, record);
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

/* 0 if they are as many blocks as the record has. */
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
    return blocks == record->count ? 0 : IOMESH_CORRUPT;
}

static void decode_crcs(const uint8_t *at, struct record *record)
{
    for (unsigned i = 0; i < record->count; i++, at += 4)
        record->crcs[i] = get32(at);
}

static int decode_zero(const uint8_t *from, uint32_t length, struct record *record)
{
    bool views = record->type != RECORD_ZERO;
    if (length != (views ? ZERO_VIEWS_BYTES : ZERO_BYTES))
        return IOMESH_CORRUPT;
    record->count = get32(from + 40);
    if (views) {
        record->cut = get48(from + 44);
        record->group = get16(from + 50);
    }
    if (views && (from[1] != 0 || get16(from + 2) != 0))
        return IOMESH_CORRUPT;
    bool sane = range_sane(record->block, record->count) && record->cut < record->sequence &&
                (!views || record->count <= MAP_BLOCKS_);
    return sane ? 0 : IOMESH_CORRUPT;
}

static int decode_write(const uint8_t *from, uint32_t length, struct record *record)
{
    bool views = record->type == RECORD_WRITE_VIEWS;
    uint32_t head = views ? RECORD_HEAD_BYTES : WRITE_HEAD_BYTES;
    if (length < head)
        return IOMESH_CORRUPT;
    if (views) {
        record->cut = get48(from + 40);
        record->group = get16(from + 46);
    }
    record->extent_count = from[1];
    record->count = get16(from + 2);
    bool sane = record->extent_count >= 1 && record->extent_count <= RECORD_EXTENTS_MAX &&
                record->count <= RECORD_BLOCKS_MAX && range_sane(record->block, record->count) &&
                record->cut < record->sequence &&
                length == head + record->extent_count * 8u + record->count * 4u;
    if (!sane)
        return IOMESH_CORRUPT;
    decode_crcs(from + head + record->extent_count * 8u, record);
    return decode_extents(from + head, record);
}

static int decode_io(const uint8_t *from, uint32_t length, struct record *record)
{
    if (length < WRITE_HEAD_BYTES)
        return IOMESH_CORRUPT;
    record->generation = get32(from + 4);
    record->volume = get64(from + 8);
    record->block = get48(from + 16);
    record->sequence = get48(from + 22);
    record->watermark = get48(from + 28);
    record->epoch = get48(from + 34);
    if (record->sequence == 0)
        return IOMESH_CORRUPT;
    return record_is_zero(record) ? decode_zero(from, length, record)
                                  : decode_write(from, length, record);
}

/* The numbers of a RESYNC, of blocks that fit one MiB, are in the bytes that it has. */
static bool resync_fits(const struct record *record, uint32_t length)
{
    bool raw = record->kind == POINTER_RAW;
    uint32_t most = record->repair ? RECORD_REPAIR_BLOCKS : RECORD_RESYNC_BLOCKS;
    uint32_t each = 6u + (raw ? 4u : 0) + (record->repair ? 6u : 0);
    return record->count <= most && range_sane(record->block, record->count) &&
           record->extent_count <= RECORD_EXTENTS_MAX && (record->extent_count > 0) == raw &&
           length == RESYNC_HEAD_BYTES + record->extent_count * 8u + record->count * each;
}

static bool resync_sane(const struct record *record)
{
    bool hole = record->kind == POINTER_HOLE;
    for (unsigned i = 0; i < record->count; i++) {
        uint64_t sequence = record->sequences[i];
        if (hole ? sequence != 0 : sequence <= record->cut)
            return false;
        if (record->repair && record->damaged[i] > PLACE_MAX)
            return false;
    }
    return record->view != 0 && record->kind <= POINTER_BAD &&
           (!record->repair || record->kind == POINTER_RAW);
}

static int decode_resync(const uint8_t *from, uint32_t length, struct record *record)
{
    if (length < RESYNC_HEAD_BYTES)
        return IOMESH_CORRUPT;
    record->extent_count = from[1];
    record->count = get16(from + 2);
    record->generation = get32(from + 4);
    record->volume = get64(from + 8);
    record->block = get48(from + 16);
    record->view = get48(from + 22);
    record->watermark = get48(from + 28);
    record->epoch = get48(from + 34);
    record->cut = get48(from + 40);
    record->group = get16(from + 46);
    record->kind = from[48];
    record->repair = from[49] == RESYNC_REPAIR;
    if (from[49] > RESYNC_REPAIR || get16(from + 50) != 0 || !resync_fits(record, length))
        return IOMESH_CORRUPT;
    const uint8_t *at = from + RESYNC_HEAD_BYTES + record->extent_count * 8u;
    for (unsigned i = 0; i < record->count; i++, at += 6)
        record->sequences[i] = get48(at);
    if (record->kind == POINTER_RAW) {
        decode_crcs(at, record);
        at += record->count * 4u;
    }
    for (unsigned i = 0; record->repair && i < record->count; i++, at += 6)
        record->damaged[i] = get48(at);
    if (!resync_sane(record))
        return IOMESH_CORRUPT;
    bool raw = record->extent_count > 0;
    return raw ? decode_extents(from + RESYNC_HEAD_BYTES, record) : 0;
}

static int decode_drop_view(const uint8_t *from, uint32_t length, struct record *record)
{
    if (length != DROP_VIEW_BYTES)
        return IOMESH_CORRUPT;
    record->mebibyte = get32(from + 4);
    record->volume = get64(from + 8);
    record->cut = get48(from + 16);
    record->previous = get48(from + 22);
    bool sane = record->mebibyte < MEBIBYTES_ && record->previous < record->cut &&
                record->cut < SEQUENCE_MAX && from[1] == 0 && get16(from + 2) == 0;
    return sane ? 0 : IOMESH_CORRUPT;
}

int record_decode(const uint8_t *from, uint32_t length, struct record *ret_record)
{
    if (length < 1)
        return IOMESH_CORRUPT;
    memset(ret_record, 0, offsetof(struct record, extents));
    ret_record->type = from[0];
    if (record_is_write(ret_record) || record_is_zero(ret_record))
        return decode_io(from, length, ret_record);
    if (from[0] == RECORD_DROP_VIEW)
        return decode_drop_view(from, length, ret_record);
    if (from[0] == RECORD_RESYNC)
        return decode_resync(from, length, ret_record);
    if (from[0] < RECORD_RETIRE || from[0] > RECORD_FORGET || length != DROP_BYTES)
        return IOMESH_CORRUPT;
    ret_record->segment = get32(from + 4);
    ret_record->volume = get64(from + 8);
    ret_record->view = get48(from + 16);
    bool segment = ret_record->segment < VOLUME_BLOCKS_ / SEGMENT_BLOCKS_ ||
                   ret_record->segment - SEGMENT_VIEWS_ < MEBIBYTES_;
    return segment || from[0] != RECORD_DROP_SEGMENT ? 0 : IOMESH_CORRUPT;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backup stream: any bytes in, a fault or values out that keep the promises of the format. The
 * first byte says whose they are:
 *
 *   even   a stream as it is
 *   odd    payloads, each behind its type (u16) and length (u16): their heads are made right, so
 *          that what is behind the checksums is reached too
 */
#include <stdlib.h>
#include <string.h>

#include "backup/course.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int truth)
{
    if (!truth)
        abort();
}

struct reading {
    struct backup_packer *packer;
    struct backup_chain chain;
    struct backup_sums sums;
};

static struct backup_content content;
static uint8_t plain[BACKUP_DATA_BYTES_MAX];
static uint8_t payload[BACKUP_PAYLOAD_BYTES_MAX];
static uint64_t end_offset;

/* What was believed. */
static void look_at(const struct reading *reading)
{
    uint64_t bytes = 0;
    check(reading->sums.begun);
    check(content.type <= BACKUP_END || content.type >= BACKUP_TYPE_OPTIONAL);
    for (uint32_t i = 0; i < content.count; i++) {
        const struct backup_extent *extent = &content.extents[i];
        check(extent->bytes > 0 && (extent->offset | extent->bytes) % BACKUP_BLOCK_BYTES == 0);
        check(extent->offset >= end_offset);
        check(extent->offset <= reading->sums.volume_bytes &&
              extent->bytes <= reading->sums.volume_bytes - extent->offset);
        end_offset = extent->offset + extent->bytes;
        bytes += extent->bytes;
    }
    check(content.type != BACKUP_DATA || (content.count > 0 && bytes <= sizeof plain));
    if (content.type != BACKUP_HEADER)
        return;
    struct backup_header again;
    memset(&again, 0, sizeof again);
    const uint32_t length = backup_header_encode(&content.header, payload);
    check(backup_header_decode(payload, length, &again) == BACKUP_GOOD);
    check(memcmp(&again, &content.header, sizeof again) == 0);
}

static bool take(struct reading *reading, const struct backup_frame *frame, const uint8_t *from)
{
    memset(&content, 0, sizeof content);
    if (backup_content_decode(reading->packer, frame, from, &content, plain) != BACKUP_GOOD ||
        backup_sums_take(&reading->sums, frame, &content) != BACKUP_GOOD)
        return false;
    look_at(reading);
    return true;
}

static void read_as_it_is(struct reading *reading, const uint8_t *data, size_t size)
{
    if (size < BACKUP_STREAM_HEAD_BYTES || backup_stream_head_decode(data) != BACKUP_GOOD)
        return;
    backup_chain_begin(&reading->chain, data);
    data += BACKUP_STREAM_HEAD_BYTES;
    size -= BACKUP_STREAM_HEAD_BYTES;
    struct backup_frame frame;
    while (size >= BACKUP_FRAME_HEAD_BYTES &&
           backup_chain_take(&reading->chain, data, &frame) == BACKUP_GOOD) {
        data += BACKUP_FRAME_HEAD_BYTES;
        size -= BACKUP_FRAME_HEAD_BYTES;
        if (frame.length > size || !take(reading, &frame, data))
            return;
        data += frame.length;
        size -= frame.length;
    }
}

static void read_payloads(struct reading *reading, const uint8_t *data, size_t size)
{
    uint8_t head[BACKUP_FRAME_HEAD_BYTES];
    backup_stream_head_encode(head);
    backup_chain_begin(&reading->chain, head);
    while (size >= 4) {
        uint16_t words[2];
        memcpy(words, data, sizeof words);
        data += 4;
        size -= 4;
        struct backup_frame frame = {.type = words[0], .length = words[1]};
        if (frame.length > size)
            return;
        frame.payload_checksum = backup_checksum(0, data, frame.length);
        struct backup_chain before = reading->chain;
        backup_chain_seal(&before, &frame, head);
        check(backup_chain_take(&reading->chain, head, &frame) == BACKUP_GOOD);
        if (!take(reading, &frame, data))
            return;
        data += frame.length;
        size -= frame.length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct backup_packer *packer;
    if (packer == NULL)
        check((packer = backup_packer_open()) != NULL);
    if (size == 0)
        return 0;
    struct reading reading = {.packer = packer};
    end_offset = 0;
    if (data[0] % 2 == 0)
        read_as_it_is(&reading, data + 1, size - 1);
    else
        read_payloads(&reading, data + 1, size - 1);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/frontends/backup/streams.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct backup_header made_header(bool increment)
{
    struct backup_header header = {.volume_id = 7,
                                   .volume_bytes = UINT64_C(1) << 30,
                                   .created_ns = 1234567890,
                                   .sector_bytes = 512,
                                   .volume = "web",
                                   .snapshot = "monday"};
    memset(header.pool_uuid, 0x11, 16);
    memset(header.snapshot_uuid, 0x22, 16);
    if (increment) {
        memset(header.base_uuid, 0x33, 16);
        memcpy(header.base, "sunday", sizeof "sunday");
    }
    return header;
}

void made_begin(struct made *made)
{
    *made = (struct made){.length = BACKUP_STREAM_HEAD_BYTES};
    backup_stream_head_encode(made->bytes);
    backup_chain_begin(&made->chain, made->bytes);
}

void made_frame(struct made *made, uint16_t type, const void *payload, uint32_t length)
{
    assert(made->length + BACKUP_FRAME_HEAD_BYTES + length <= MADE_BYTES_MAX);
    assert(made->frames < MADE_FRAMES_MAX);
    struct backup_frame frame = {
        .type = type, .length = length, .payload_checksum = backup_checksum(0, payload, length)};
    made->starts[made->frames++] = made->length;
    backup_chain_seal(&made->chain, &frame, made->bytes + made->length);
    made->length += BACKUP_FRAME_HEAD_BYTES;
    memcpy(made->bytes + made->length, payload, length);
    made->length += length;
}

void made_header_frame(struct made *made, bool increment)
{
    static uint8_t payload[BACKUP_PAYLOAD_BYTES_MAX];
    const struct backup_header header = made_header(increment);
    made_frame(made, BACKUP_HEADER, payload, backup_header_encode(&header, payload));
}

void made_plain(const struct backup_extent *extents, uint32_t count, uint8_t seed, uint8_t *to)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t state = extents[i].offset ^ (uint64_t)seed << 56;
        for (uint64_t at = 0; at < extents[i].bytes; at++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            *to++ =
                seed % 2 == 0 ? (uint8_t)(extents[i].offset >> 12 ^ seed) : (uint8_t)(state >> 56);
        }
    }
}

void made_data(struct made *made, const struct backup_extent *extents, uint32_t count, uint8_t seed)
{
    static uint8_t plain[BACKUP_DATA_BYTES_MAX];
    static uint8_t payload[BACKUP_PAYLOAD_BYTES_MAX];
    struct backup_packer *packer = backup_packer_open();
    assert(packer != NULL);
    made_plain(extents, count, seed, plain);
    made_frame(made, BACKUP_DATA, payload,
               backup_data_encode(packer, extents, count, plain, payload));
    for (uint32_t i = 0; i < count; i++)
        made->sums.data_bytes += extents[i].bytes;
    backup_packer_close(packer);
}

void made_zero(struct made *made, const struct backup_extent *extents, uint32_t count)
{
    static uint8_t payload[BACKUP_PAYLOAD_BYTES_MAX];
    made_frame(made, BACKUP_ZERO, payload, backup_zero_encode(extents, count, payload));
    for (uint32_t i = 0; i < count; i++)
        made->sums.zero_bytes += extents[i].bytes;
}

void made_end(struct made *made)
{
    uint8_t payload[64];
    const struct backup_end end = backup_sums_end(&made->sums, &made->chain);
    made_frame(made, BACKUP_END, payload, backup_end_encode(&end, payload));
}

void made_whole(struct made *made)
{
    made_begin(made);
    made_header_frame(made, true);
    made_data(made, (struct backup_extent[]){{4096, 16384}}, 1, 2);
    made_data(made, (struct backup_extent[]){{40960, 4096}, {81920, 4096}}, 2, 1);
    made_zero(made, (struct backup_extent[]){{1 << 20, 1 << 20}, {4 << 20, 4096}}, 2);
    made_end(made);
}

static void wake(void *context)
{
    const int fd = *(int *)context;
    if (write(fd, "", 1) < 0)
        assert(errno == EAGAIN);
}

static void note(struct outcome *outcome, const struct lanes_slot *slot)
{
    const struct backup_content *content = &slot->content;
    if (outcome->frames < MADE_FRAMES_MAX)
        outcome->types[outcome->frames] = content->type;
    outcome->frames++;
    uint32_t bytes = 0;
    for (uint32_t i = 0; content->type == BACKUP_DATA && i < content->count; i++)
        bytes += (uint32_t)content->extents[i].bytes;
    outcome->data_bytes += bytes;
    if (bytes > 0)
        outcome->data_checksum = backup_checksum(outcome->data_checksum, slot->plain, bytes);
}

static int file_of(const uint8_t *bytes, size_t length)
{
    const int fd = memfd_create("stream", MFD_CLOEXEC);
    assert(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
    assert(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

struct outcome read_stream(const uint8_t *bytes, size_t length)
{
    struct outcome outcome = {0};
    const int fd = file_of(bytes, length);
    int ends[2];
    assert(pipe(ends) == 0);
    struct backup_reader *reader;
    assert(backup_reader_open(fd, 2, wake, &ends[1], &reader) == 0);
    struct lanes_slot *slot;
    while ((outcome.result = backup_reader_next(reader, &slot)) >= 0) {
        if (outcome.result == 0) {
            struct pollfd woken = {.fd = ends[0], .events = POLLIN};
            char buffer[64];
            assert(poll(&woken, 1, 10000) == 1);
            assert(read(ends[0], buffer, sizeof buffer) > 0);
            continue;
        }
        note(&outcome, slot);
        backup_reader_give(reader, slot);
    }
    snprintf(outcome.why, sizeof outcome.why, "%s", backup_reader_why(reader));
    backup_reader_close(reader);
    close(ends[0]);
    close(ends[1]);
    close(fd);
    return outcome;
}

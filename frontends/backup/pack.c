/* SPDX-License-Identifier: Apache-2.0 */
/* DATA frames: what compresses is compressed. */
#include <assert.h>
#include <stdlib.h>
#include <zstd.h>

#include "backup/wire.h"

enum { ENCODING_PLAIN = 0, ENCODING_ZSTD = 1 };
/* The fastest that still halves ordinary data. Measured on one core: 450 MB/s of programs, and 4
 * GB/s of noise, which it gives up on by itself. */
enum { LEVEL = 1 };

/* Of a frame after one of noise, some is tried before all of it is. */
enum { SAMPLES = 8, SAMPLE_BYTES = 4096 };

struct backup_packer {
    ZSTD_CCtx *compress;
    ZSTD_DCtx *decompress;
    bool noise; /* The frame before did not compress. */
};

struct backup_packer *backup_packer_open(void)
{
    struct backup_packer *packer = calloc(1, sizeof *packer);
    if (packer == NULL)
        return NULL;
    packer->compress = ZSTD_createCCtx();
    packer->decompress = ZSTD_createDCtx();
    if (packer->compress != NULL && packer->decompress != NULL)
        return packer;
    backup_packer_close(packer);
    return NULL;
}

void backup_packer_close(struct backup_packer *packer)
{
    if (packer == NULL)
        return;
    ZSTD_freeCCtx(packer->compress);
    ZSTD_freeDCtx(packer->decompress);
    free(packer);
}

/* Bytes stored, or 0: it has to save a sixteenth, else zstd says that it does not fit. */
static size_t pack(struct backup_packer *packer, uint8_t *to, const uint8_t *plain, size_t length)
{
    size_t stored =
        ZSTD_compressCCtx(packer->compress, to, length - length / 16, plain, length, LEVEL);
    return ZSTD_isError(stored) ? 0 : stored;
}

/* Noise comes in long runs: looking at all of it takes a third of an export's processor time. */
static bool is_noise(struct backup_packer *packer, uint8_t *to, const uint8_t *plain,
                     uint32_t length)
{
    if (!packer->noise || length < 2 * SAMPLES * SAMPLE_BYTES)
        return false;
    for (uint32_t i = 0; i < SAMPLES; i++)
        if (pack(packer, to, plain + (size_t)length / SAMPLES * i, SAMPLE_BYTES) != 0)
            return false;
    return true;
}

uint32_t backup_data_encode(struct backup_packer *packer, const struct backup_extent *extents,
                            uint32_t count, const uint8_t *plain, uint8_t *to)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        bytes += extents[i].bytes;
    assert(bytes > 0 && bytes <= BACKUP_DATA_BYTES_MAX);
    const uint32_t length = (uint32_t)bytes;
    uint8_t *data = backup_extents_encode(extents, count, to + BACKUP_DATA_HEAD_BYTES);
    size_t stored = 0;
    if (!is_noise(packer, data, plain, length))
        stored = pack(packer, data, plain, length);
    uint32_t encoding = ENCODING_ZSTD;
    packer->noise = stored == 0;
    if (packer->noise) {
        encoding = ENCODING_PLAIN;
        stored = length;
        memcpy(data, plain, length);
    }
    put32(to, count);
    put32(to + 4, length);
    put32(to + 8, backup_checksum(0, plain, length));
    put32(to + 12, encoding);
    return (uint32_t)(data - to) + (uint32_t)stored;
}

static bool unpack(struct backup_packer *packer, uint32_t encoding, const uint8_t *stored,
                   uint32_t stored_length, uint8_t *ret_plain, uint32_t length)
{
    if (encoding == ENCODING_PLAIN) {
        if (stored_length != length)
            return false;
        memcpy(ret_plain, stored, length);
        return true;
    }
    return encoding == ENCODING_ZSTD && ZSTD_decompressDCtx(packer->decompress, ret_plain, length,
                                                            stored, stored_length) == length;
}

enum backup_fault backup_data_decode(struct backup_packer *packer, const uint8_t *from,
                                     uint32_t length,
                                     struct backup_extent ret_extents[BACKUP_EXTENTS_MAX],
                                     uint32_t *ret_count, uint8_t *ret_plain)
{
    if (length < BACKUP_DATA_HEAD_BYTES)
        return BACKUP_NONSENSE;
    const uint32_t count = get32(from);
    const uint32_t plain_length = get32(from + 4);
    if (count == 0 || count > BACKUP_EXTENTS_MAX || plain_length > BACKUP_DATA_BYTES_MAX ||
        length - BACKUP_DATA_HEAD_BYTES < count * BACKUP_EXTENT_BYTES)
        return BACKUP_NONSENSE;
    uint64_t bytes;
    enum backup_fault fault =
        backup_extents_decode(from + BACKUP_DATA_HEAD_BYTES, count, ret_extents, &bytes);
    if (fault != BACKUP_GOOD)
        return fault;
    const uint32_t data_at = BACKUP_DATA_HEAD_BYTES + count * BACKUP_EXTENT_BYTES;
    if (bytes != plain_length || !unpack(packer, get32(from + 12), from + data_at, length - data_at,
                                         ret_plain, plain_length))
        return BACKUP_NONSENSE;
    if (get32(from + 8) != backup_checksum(0, ret_plain, plain_length))
        return BACKUP_DAMAGED;
    *ret_count = count;
    return BACKUP_GOOD;
}

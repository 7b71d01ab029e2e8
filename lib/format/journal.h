/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal on a device: batches of records.
 *
 * Format 1. A batch is a header, records without gaps, and zeros up to a whole block; 1 to 64
 * blocks of 4 KiB. Header, little-endian, 64 bytes:
 *
 *    0  crc           u32   CRC32C of bytes 4 .. bytes used - 1
 *    4  magic         u32   "IMJB"
 *    8  version       u16   1
 *   10  reserved      u16   0
 *   12  bytes used    u32   header and records
 *   16  incarnation   u64   of the store that wrote it
 *   24  number        u64   of the batch; from 1, no gaps
 *   32  durable       u64   the highest batch known durable when this one was sealed; < number
 *   40  record count  u32
 *   44  reserved      20    0
 *
 * A record is its length (u16, at least 1), two bytes of zero, and its bytes. The padding is under
 * no checksum: what rots there was nobody's.
 */
#ifndef FORMAT_JOURNAL_H
#define FORMAT_JOURNAL_H

#include "base/base.h"

#define BATCH_HEADER_BYTES 64u
#define BATCH_RECORD_BYTES 4u /* Around each record. */
#define BATCH_BLOCKS_MAX 64u
#define BATCH_RECORD_MAX UINT16_MAX

struct batch_header {
    uint64_t incarnation;
    uint64_t number;
    uint64_t durable;
    uint32_t bytes_used;
    uint32_t record_count;
};

static inline uint32_t batch_blocks(uint32_t bytes_used)
{
    return DIV_CEIL(bytes_used, BLOCK_BYTES);
}

/* Adds a record behind `bytes_used` bytes; answers how many are used then. There is room. */
uint32_t batch_add(uint8_t *batch, uint32_t bytes_used, const void *record, uint32_t length);
/* Writes the header, the zeros behind the last record, and last the sum. */
void batch_seal(uint8_t *batch, const struct batch_header *header);

/*
 * What the header says, unproved: enough to know how much to read. Total: 0, IOMESH_FORMAT (no
 * batch, or of an unknown version) or IOMESH_CORRUPT (fields that no batch has).
 */
int batch_header_get(const uint8_t from[BATCH_HEADER_BYTES], struct batch_header *ret_header);
/* Whether all records are framed as the header says: 0 or IOMESH_CORRUPT. */
int batch_check_frames(const uint8_t *batch, const struct batch_header *header);
/* The whole proof. `available` bytes may be read. Total: 0, IOMESH_FORMAT or IOMESH_CORRUPT. */
int batch_get(const uint8_t *from, size_t available, struct batch_header *ret_header);

/* Walks the records of a proved batch: `offset` begins as BATCH_HEADER_BYTES; false at the end. */
bool batch_next(const uint8_t *batch, const struct batch_header *header, uint32_t *offset,
                const uint8_t **ret_record, uint32_t *ret_length);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of metadata records that a store keeps, in a volume of its own (VOLUME_RECORDS), format 1,
 * little-endian. A copy has a slot of 64 blocks, in two halves. A half begins with a head, behind
 * which the record's bytes stand; of two halves that are whole the one with the greater number
 * counts. A half is zeros if there is none.
 *
 *    0  checksum    u32   CRC32C of bytes 4 .. 255
 *    4  magic       u32   "IMC1"
 *    8  number      u64   grows with each copy that the store takes
 *   16  bytes       u32   of the record
 *   20  sum         u32   CRC32C of the record
 *   24  key length  u16   1 .. 192
 *   26  zeros
 *   32  key         192   and zeros
 *  224  zeros
 *  256  the record
 *
 * A record of a cluster is kept with a stamp before it: the epoch of the volume's coordinator that
 * sent it (u64), and the revision of the metadata that it is of (u64). Of copies of one record that
 * with the greater stamp is the newer: epochs first, for revisions begin anew with another etcd.
 *
 * As a list, one behind the other: key length (u16), 0 (u16), bytes (u32), key, record.
 */
#ifndef FORMAT_METADATA_COPY_H
#define FORMAT_METADATA_COPY_H

#include "base/base.h"

#define METADATA_COPY_HEAD_BYTES 256u
#define METADATA_COPY_KEY_BYTES_MAX 192u
/* The map of 16,384 segments, each of another group, is a little longer than 64 KiB. */
#define METADATA_COPY_BYTES_MAX (72u << 10)
#define METADATA_COPY_BLOCKS_MAX 19u
#define METADATA_COPY_HALF_BLOCKS 32u
#define METADATA_COPY_SLOT_BLOCKS 64u
#define METADATA_COPY_ENTRY_BYTES 8u

#define METADATA_COPY_STAMP_BYTES 16u

struct metadata_stamp {
    uint64_t epoch, revision;
};
void metadata_stamp_put(uint8_t to[METADATA_COPY_STAMP_BYTES], const struct metadata_stamp *stamp);
/* Total: false: it is too short to have one and a record behind it. */
bool metadata_stamp_get(const uint8_t *from, uint32_t length, struct metadata_stamp *ret_stamp);
/* Below 0: `a` is older. */
int metadata_stamp_compare(const struct metadata_stamp *a, const struct metadata_stamp *b);

struct metadata_copy {
    uint64_t number;
    uint32_t bytes;
    uint32_t key_length;
    char key[METADATA_COPY_KEY_BYTES_MAX + 1]; /* Ends with a zero, and has no other. */
    const uint8_t *data;
};

/* How many blocks a half with so many bytes takes. */
static inline uint32_t metadata_copy_blocks(uint32_t bytes)
{
    return (METADATA_COPY_HEAD_BYTES + bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

/* Its blocks, whole. Asserts. */
void metadata_copy_put(uint8_t *to, const struct metadata_copy *copy);
/* The head alone, total: 0, -ENOENT (there is none), IOMESH_CORRUPT. `data` points behind it. */
int metadata_copy_get_head(const uint8_t from[METADATA_COPY_HEAD_BYTES],
                           struct metadata_copy *ret_copy);
/* Of a half, of which so many bytes are there. IOMESH_CORRUPT: some of it is missing, too. */
int metadata_copy_get(const uint8_t *from, uint32_t length, struct metadata_copy *ret_copy);

/* One entry of a list: how long it is; 0: it does not fit into `room`. */
uint32_t metadata_copy_list(uint8_t *to, uint32_t room, const struct metadata_copy *copy);
/* The entry that a list begins with. Total: how long it is, or -EPROTO. */
int metadata_copy_listed(const uint8_t *from, uint32_t length, struct metadata_copy *ret_copy);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pointer: the one way in which anything in a store is reached.
 *
 * Format 1, little-endian, 16 bytes:
 *
 *    bit   0  place     36   block of the store (4 KiB units): 256 TiB over its devices
 *    bit  36  kind      12   a prefix code, below
 *    bit  48  sequence  48   the newest sequence beneath
 *    bit  96  crc       32   CRC32C of the stored block (of the plain block in a run)
 *
 * Kind: `00` and a subkind of 10 bits, or `01`, index (5) and stored length - 1 (5) for a block
 * of a compressed run; anything else is refused. Sixteen zero bytes are a hole of sequence 0.
 */
#ifndef FORMAT_POINTER_H
#define FORMAT_POINTER_H

#include "base/base.h"

#define POINTER_BYTES 16u
#define POINTERS_PER_PAGE (BLOCK_BYTES / POINTER_BYTES)
#define PLACE_MAX ((1ull << 36) - 1)
#define SEQUENCE_MAX ((1ull << 48) - 1)

enum pointer_kind {
    POINTER_HOLE = 0,      /* Never written: zeros, sequence 0. */
    POINTER_ZERO = 1,      /* Written as zeros or discarded: zeros, with a sequence. */
    POINTER_RAW = 2,       /* A block, or a page of pointers. */
    POINTER_BAD = 3,       /* Known damage: EIO until overwritten or repaired. */
    POINTER_SET_ASIDE = 4, /* May be one write ahead: neither hole nor bad (replication). */
    POINTER_PREPARED = 5,  /* Prepared, not committed (erasure coding). */
    POINTER_RUN = 0x400,   /* | index << 5 | (stored blocks - 1) */
};

struct pointer {
    uint64_t place;
    uint64_t sequence;
    uint32_t crc;
    uint16_t kind;
};

/* Encoding asserts: it is our data. */
void pointer_put(uint8_t to[POINTER_BYTES], const struct pointer *pointer);
/* Total: 0, or IOMESH_FORMAT for a kind that is not known. */
int pointer_get(const uint8_t from[POINTER_BYTES], struct pointer *ret_pointer);

static inline bool pointer_has_place(const struct pointer *pointer)
{
    return pointer->kind == POINTER_RAW || pointer->kind >= POINTER_PREPARED;
}

static inline struct pointer pointer_zero(uint64_t sequence)
{
    return (struct pointer){.kind = POINTER_ZERO, .sequence = sequence};
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stores of one node say, in a file: for metadata that is made anew on another node. Format 1,
 * little-endian. Entries one behind the other, as in a list of metadata_copy.h: key length (u16),
 * 0 (u16), bytes (u32), key, data. Those whose key begins with '!' are the file's own:
 *
 *   !gathered  first: "IMG1"
 *   !store     uuid (16), incarnation (u64), where it was (text); what follows is of this store
 *   !part      a state (part_state.h), the newest sequence in it (u64)
 *   !end       last: a sum (u32) of all before it, from 0: of each entry CRC32C of (the sum so far,
 *              CRC32C of the entry)
 *
 * All others are copies of records, with their stamps.
 */
#ifndef FORMAT_METADATA_GATHERED_H
#define FORMAT_METADATA_GATHERED_H

#include "format/metadata_copy.h"
#include "format/part_state.h"

#define GATHERED_FIRST "!gathered"
#define GATHERED_STORE "!store"
#define GATHERED_PART "!part"
#define GATHERED_END "!end"
#define GATHERED_MAGIC "IMG1"
#define GATHERED_PATH_BYTES_MAX 1000u
#define GATHERED_BYTES_MAX (1ull << 30)

/* The sum, one entry further. */
uint32_t gathered_sum(uint32_t sum, const uint8_t *entry, uint32_t length);

struct gathered_store {
    uint8_t uuid[16];
    uint64_t incarnation;
    char path[GATHERED_PATH_BYTES_MAX + 1];
};
#define GATHERED_STORE_BYTES_MAX (24u + GATHERED_PATH_BYTES_MAX)
#define GATHERED_PART_BYTES (PART_STATE_BYTES + 8u)

/* How long it is. */
uint32_t gathered_store_put(uint8_t to[GATHERED_STORE_BYTES_MAX],
                            const struct gathered_store *store);
/* Total: 0 or IOMESH_CORRUPT. */
int gathered_store_get(const uint8_t *from, uint32_t length, struct gathered_store *ret_store);
void gathered_part_put(uint8_t to[GATHERED_PART_BYTES], const struct part_saved *part,
                       uint64_t sequence);
/* Total: 0, IOMESH_CORRUPT, IOMESH_FORMAT. */
int gathered_part_get(const uint8_t *from, uint32_t length, struct part_saved *ret_part,
                      uint64_t *ret_sequence);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and extents in a stream: for this directory's own files. */
#ifndef BACKUP_WIRE_H
#define BACKUP_WIRE_H

#include <endian.h>
#include <string.h>

#include "backup/format.h"

static inline void put16(uint8_t *to, uint16_t value)
{
    value = htole16(value);
    memcpy(to, &value, sizeof value);
}

static inline void put32(uint8_t *to, uint32_t value)
{
    value = htole32(value);
    memcpy(to, &value, sizeof value);
}

static inline void put64(uint8_t *to, uint64_t value)
{
    value = htole64(value);
    memcpy(to, &value, sizeof value);
}

static inline uint16_t get16(const uint8_t *from)
{
    uint16_t value;
    memcpy(&value, from, sizeof value);
    return le16toh(value);
}

static inline uint32_t get32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return le32toh(value);
}

static inline uint64_t get64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return le64toh(value);
}

/* Returns where they end. */
uint8_t *backup_extents_encode(const struct backup_extent *extents, uint32_t count, uint8_t *to);
/* Aligned, ascending, within what a volume may have. `ret_bytes`: their sum. */
enum backup_fault backup_extents_decode(const uint8_t *from, uint32_t count,
                                        struct backup_extent *ret_extents, uint64_t *ret_bytes);

#endif

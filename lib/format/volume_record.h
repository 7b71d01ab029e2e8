/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store's own record of a volume: one page of bytes, format 1, little-endian.
 *
 *    0  magic  u32   "IMVR"
 *    4  flags  u32   bit 0: retired (deleted: takes no write, also none that is replayed)
 *    8  zeros, for what copies keep later: fence, generations, roles, watermarks
 */
#ifndef FORMAT_VOLUME_RECORD_H
#define FORMAT_VOLUME_RECORD_H

#include "base/base.h"

#define VOLUME_RECORD_MAGIC 0x52564d49u
#define VOLUME_RECORD_RETIRED 1u

/* A page of zeros is the record of a volume about which nothing was noted. */
static inline bool volume_record_retired(const uint8_t page[BLOCK_BYTES])
{
    return get32(page) == VOLUME_RECORD_MAGIC && (get32(page + 4) & VOLUME_RECORD_RETIRED) != 0;
}

static inline void volume_record_retire(uint8_t page[BLOCK_BYTES])
{
    put32(page, VOLUME_RECORD_MAGIC);
    put32(page + 4, get32(page + 4) | VOLUME_RECORD_RETIRED);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unique content: a sector that says which write of which session made it, and for which place.
 *
 * All 512 bytes follow from (session, sequence, sector), so a reader rebuilds and compares them: a
 * torn, misdirected, stale or damaged sector can't pass for another. Zeroes are sequence 0.
 */
#ifndef VERIFY_STAMP_H
#define VERIFY_STAMP_H

#include <stdint.h>

#define SECTOR_BYTES 512u

enum stamp {
    STAMP_GOOD,
    STAMP_DAMAGED,   /* Not a stamp, or not all of one. */
    STAMP_STRANGER,  /* Whole, but another session's. */
    STAMP_MISPLACED, /* Whole, but another sector's. */
};

void stamp_fill(uint8_t bytes[SECTOR_BYTES], uint64_t session, uint64_t sequence, uint64_t sector);

/* What a sector holds. @ret_found: its sequence, or with STAMP_MISPLACED the sector it is from. */
enum stamp stamp_read(const uint8_t bytes[SECTOR_BYTES], uint64_t session, uint64_t sector,
                      uint64_t *ret_found);

#endif

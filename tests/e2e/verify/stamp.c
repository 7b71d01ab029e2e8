/* SPDX-License-Identifier: Apache-2.0 */
#include "stamp.h"

#include <string.h>

#define WORDS (SECTOR_BYTES / sizeof(uint64_t))
#define MAGIC 0x706d6174736f6976u /* "viostamp" */

static const uint8_t zeroes[SECTOR_BYTES];

void stamp_fill(uint8_t bytes[SECTOR_BYTES], uint64_t session, uint64_t sequence, uint64_t sector)
{
    if (sequence == 0) {
        memset(bytes, 0, SECTOR_BYTES);
        return;
    }
    uint64_t words[WORDS] = {MAGIC, session, sequence, sector};
    uint64_t state = session ^ sequence * 0x9e3779b97f4a7c15u ^ sector * 0xd6e8feb86659fd93u;
    for (unsigned i = 4; i < WORDS; i++) {
        state = (state ^ state >> 29) * 0xbf58476d1ce4e5b9u + i;
        words[i] = state;
    }
    memcpy(bytes, words, sizeof words);
}

enum stamp stamp_read(const uint8_t bytes[SECTOR_BYTES], uint64_t session, uint64_t sector,
                      uint64_t *ret_found)
{
    uint64_t head[4];
    uint8_t expected[SECTOR_BYTES];

    memcpy(head, bytes, sizeof head);
    if (head[0] == 0 && memcmp(bytes, zeroes, SECTOR_BYTES) == 0) {
        *ret_found = 0;
        return STAMP_GOOD;
    }
    if (head[0] != MAGIC || head[2] == 0)
        return STAMP_DAMAGED;
    stamp_fill(expected, head[1], head[2], head[3]);
    if (memcmp(bytes, expected, SECTOR_BYTES) != 0)
        return STAMP_DAMAGED;
    *ret_found = head[3];
    if (head[1] != session)
        return STAMP_STRANGER;
    if (head[3] != sector)
        return STAMP_MISPLACED;
    *ret_found = head[2];
    return STAMP_GOOD;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "space/bitmap.h"

#define WORD_BITS 64u

static uint64_t word_get(const uint8_t *bits, uint32_t word)
{
    return get64(bits + (size_t)word * 8);
}

/* Ones at [from, from + count) of a word; they lie in it. */
static uint64_t word_mask(uint32_t from, uint32_t count)
{
    assert(from + count <= WORD_BITS);
    return (count == WORD_BITS ? ~0ull : (1ull << count) - 1) << from;
}

/* The first bit at or after `from` that is clear (or set); `limit` if there is none. */
static uint32_t next_bit(const uint8_t *bits, uint32_t from, uint32_t limit, bool set)
{
    while (from < limit) {
        uint64_t word = word_get(bits, from / WORD_BITS);
        word = (set ? word : ~word) >> from % WORD_BITS;
        if (word != 0)
            return MIN(limit, from + (uint32_t)__builtin_ctzll(word));
        from = (from / WORD_BITS + 1) * WORD_BITS;
    }
    return limit;
}

bool space_bitmap_find(const uint8_t *bits, uint32_t from, uint32_t limit, uint32_t blocks_max,
                       uint32_t *ret_from, uint32_t *ret_blocks)
{
    from = next_bit(bits, from, limit, false);
    if (from >= limit)
        return false;
    *ret_from = from;
    *ret_blocks = next_bit(bits, from, MIN(limit, from + blocks_max), true) - from;
    return true;
}

uint32_t space_bitmap_set(uint8_t *bits, uint32_t from, uint32_t count)
{
    uint32_t changed = 0;
    for (uint32_t done = 0; done < count;) {
        uint32_t at = from + done;
        uint32_t part = MIN(count - done, WORD_BITS - at % WORD_BITS);
        uint64_t mask = word_mask(at % WORD_BITS, part);
        uint64_t word = word_get(bits, at / WORD_BITS);
        changed += (uint32_t)__builtin_popcountll(mask & ~word);
        put64(bits + (size_t)(at / WORD_BITS) * 8, word | mask);
        done += part;
    }
    return changed;
}

uint32_t space_bitmap_clear(uint8_t *bits, uint32_t from, uint32_t count)
{
    uint32_t changed = 0;
    for (uint32_t done = 0; done < count;) {
        uint32_t at = from + done;
        uint32_t part = MIN(count - done, WORD_BITS - at % WORD_BITS);
        uint64_t mask = word_mask(at % WORD_BITS, part);
        uint64_t word = word_get(bits, at / WORD_BITS);
        changed += (uint32_t)__builtin_popcountll(mask & word);
        put64(bits + (size_t)(at / WORD_BITS) * 8, word & ~mask);
        done += part;
    }
    return changed;
}

bool space_bitmap_get(const uint8_t *bits, uint32_t at)
{
    return (bits[at / 8] >> at % 8 & 1) != 0;
}

bool space_bitmap_all_clear(const uint8_t *bits, uint32_t from, uint32_t count)
{
    return next_bit(bits, from, from + count, true) == from + count;
}

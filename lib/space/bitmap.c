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

/* The free blocks of a word, as ones; none outside [from, limit). */
static uint64_t word_free(const uint8_t *bits, uint32_t word, uint32_t from, uint32_t limit)
{
    uint32_t begin = word * WORD_BITS;
    if (begin >= limit || begin + WORD_BITS <= from)
        return 0;
    uint64_t free = ~word_get(bits, word);
    if (from > begin)
        free &= ~0ull << (from - begin);
    if (limit - begin < WORD_BITS)
        free &= (1ull << (limit - begin)) - 1;
    return free;
}

/* The bits of `low` that begin `run` ones; what follows bit 63 of `low` is `high`. */
static uint64_t run_starts(uint64_t low, uint64_t high, uint32_t run)
{
    for (uint32_t have = 1; have < run && low != 0;) {
        uint32_t step = MIN(have, run - have);
        low &= low >> step | high << (WORD_BITS - step);
        high &= high >> step;
        have += step;
    }
    return low;
}

bool space_bitmap_find_run(const uint8_t *bits, uint32_t from, uint32_t limit, uint32_t blocks_min,
                           uint32_t blocks_max, uint32_t *ret_from, uint32_t *ret_blocks)
{
    assert(blocks_min > 0 && blocks_min <= WORD_BITS && blocks_min <= blocks_max);
    uint32_t word = from / WORD_BITS;
    uint64_t low = word_free(bits, word, from, limit);
    for (; word * WORD_BITS < limit; word++) {
        uint64_t high = word_free(bits, word + 1, from, limit);
        uint64_t starts = run_starts(low, high, blocks_min);
        if (starts != 0) {
            uint32_t start = word * WORD_BITS + (uint32_t)__builtin_ctzll(starts);
            *ret_from = start;
            *ret_blocks = next_bit(bits, start, MIN(limit, start + blocks_max), true) - start;
            return true;
        }
        low = high;
    }
    return false;
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

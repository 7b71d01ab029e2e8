/* SPDX-License-Identifier: Apache-2.0 */
/* The bits of one region: bit i of byte i / 8 is block i; set means in use. */
#ifndef SPACE_BITMAP_H
#define SPACE_BITMAP_H

#include "base/base.h"

/*
 * The first run of clear bits that begins in [from, limit), cut at blocks_max and at limit.
 * False if there is none.
 */
bool space_bitmap_find(const uint8_t *bits, uint32_t from, uint32_t limit, uint32_t blocks_max,
                       uint32_t *ret_from, uint32_t *ret_blocks);
/* The first of at least blocks_min (1 .. 64) in [from, limit), cut as above. Looks at each word
 * once, however many runs are too short. */
bool space_bitmap_find_run(const uint8_t *bits, uint32_t from, uint32_t limit, uint32_t blocks_min,
                           uint32_t blocks_max, uint32_t *ret_from, uint32_t *ret_blocks);
/* Both return how many bits they changed. */
uint32_t space_bitmap_set(uint8_t *bits, uint32_t from, uint32_t count);
uint32_t space_bitmap_clear(uint8_t *bits, uint32_t from, uint32_t count);
bool space_bitmap_get(const uint8_t *bits, uint32_t at);
/* Whether all of [from, from + count) is clear. */
bool space_bitmap_all_clear(const uint8_t *bits, uint32_t from, uint32_t count);

#endif

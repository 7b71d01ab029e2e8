/* SPDX-License-Identifier: Apache-2.0 */
#include "space/extents.h"

#include <stdlib.h>
#include <string.h>

#define RADIX_BITS 9u
#define RADIX (1u << RADIX_BITS)

void space_extents_done(struct extents *extents)
{
    free(extents->items);
    *extents = (struct extents){0};
}

void space_extents_make_room(struct extents *extents, size_t count)
{
    if (count <= extents->capacity)
        return;
    size_t capacity = MAX(MAX(extents->capacity * 2, count), 64u);
    uint64_t *items = realloc(extents->items, capacity * sizeof *items);
    assert(items != NULL);
    extents->items = items;
    extents->capacity = capacity;
}

void space_extents_push(struct extents *extents, uint64_t packed)
{
    space_extents_make_room(extents, extents->count + 1);
    extents->items[extents->count++] = packed;
    extents->blocks += deferred_blocks(packed);
}

void space_extents_clear(struct extents *extents)
{
    extents->count = 0;
    extents->blocks = 0;
}

void space_extents_copy(struct extents *to, const struct extents *from)
{
    if (from->count == 0)
        return;
    space_extents_make_room(to, to->count + from->count);
    memcpy(to->items + to->count, from->items, from->count * sizeof *from->items);
    to->count += from->count;
    to->blocks += from->blocks;
}

void space_extents_move(struct extents *to, struct extents *from)
{
    space_extents_copy(to, from);
    space_extents_clear(from);
}

/* One pass of a radix sort, by RADIX_BITS of the place. */
static void sort_pass(uint64_t *to, const uint64_t *from, size_t count, unsigned shift)
{
    size_t starts[RADIX + 1] = {0};
    for (size_t i = 0; i < count; i++)
        starts[(from[i] >> shift) % RADIX + 1]++;
    for (size_t i = 0; i < RADIX; i++)
        starts[i + 1] += starts[i];
    for (size_t i = 0; i < count; i++)
        to[starts[(from[i] >> shift) % RADIX]++] = from[i];
}

void space_extents_sort(struct extents *extents, struct extents *scratch)
{
    if (extents->count < 2)
        return;
    space_extents_make_room(scratch, extents->count);
    uint64_t *from = extents->items;
    uint64_t *to = scratch->items;
    /* Four passes cover the 36 bits of a place, and leave the result where it began. */
    for (unsigned shift = DEFERRED_BLOCKS_BITS; shift < 64; shift += RADIX_BITS) {
        sort_pass(to, from, extents->count, shift);
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    assert(from == extents->items);
}

void space_extents_merge(struct extents *extents, uint64_t unit)
{
    size_t kept = 0;
    for (size_t i = 0; i < extents->count; i++) {
        uint64_t item = extents->items[i];
        if (kept > 0) {
            uint64_t last = extents->items[kept - 1];
            uint64_t end = deferred_place(last) + deferred_blocks(last);
            assert(end <= deferred_place(item)); /* Nothing waits twice. */
            if (end == deferred_place(item) && end % unit != 0) {
                extents->items[kept - 1] = deferred_pack(
                    deferred_place(last), deferred_blocks(last) + deferred_blocks(item));
                continue;
            }
        }
        extents->items[kept++] = item;
    }
    extents->count = kept;
}

size_t space_extents_find(const struct extents *extents, uint64_t place)
{
    size_t low = 0;
    size_t high = extents->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (deferred_place(extents->items[middle]) < place)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

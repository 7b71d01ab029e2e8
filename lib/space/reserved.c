/* SPDX-License-Identifier: Apache-2.0 */
/* Which extents are taken and not linked yet: as many as there are writes under way. */
#include <stdlib.h>

#include "space/internal.h"

static size_t reserved_home(const struct space_reserved *reserved, uint64_t packed)
{
    uint64_t hash = deferred_place(packed) * 0x9e3779b97f4a7c15u;
    return (size_t)(hash >> 32) & (reserved->capacity - 1);
}

static void reserved_put(struct space_reserved *reserved, uint64_t packed)
{
    size_t at = reserved_home(reserved, packed);
    while (reserved->items[at] != 0)
        at = (at + 1) & (reserved->capacity - 1);
    reserved->items[at] = packed;
}

/* Doubles; after the busiest moment so far it allocates no more. */
static void reserved_grow(struct space_reserved *reserved)
{
    struct space_reserved old = *reserved;
    reserved->capacity = MAX(old.capacity * 2, 256u);
    reserved->items = calloc(reserved->capacity, sizeof *reserved->items);
    assert(reserved->items != NULL);
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.items[i] != 0)
            reserved_put(reserved, old.items[i]);
    }
    free(old.items);
}

void space_reserved_add(struct space_reserved *reserved, struct extent extent)
{
    assert(extent.place != 0);
    if (reserved->count * 2 >= reserved->capacity)
        reserved_grow(reserved);
    reserved_put(reserved, deferred_pack(extent.place, extent.blocks));
    reserved->count++;
    reserved->blocks += extent.blocks;
}

void space_reserved_remove(struct space_reserved *reserved, struct extent extent)
{
    uint64_t packed = deferred_pack(extent.place, extent.blocks);
    assert(reserved->count > 0);
    size_t mask = reserved->capacity - 1;
    size_t hole = reserved_home(reserved, packed);
    while (reserved->items[hole] != packed) {
        assert(reserved->items[hole] != 0); /* Taken as it is given here, and not linked before. */
        hole = (hole + 1) & mask;
    }
    /* Move back what would no longer be found (Knuth, volume 3, algorithm 6.4R). */
    for (size_t at = (hole + 1) & mask; reserved->items[at] != 0; at = (at + 1) & mask) {
        size_t home = reserved_home(reserved, reserved->items[at]);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            reserved->items[hole] = reserved->items[at];
            hole = at;
        }
    }
    reserved->items[hole] = 0;
    reserved->count--;
    reserved->blocks -= extent.blocks;
}

void space_reserved_list(const struct space_reserved *reserved, struct extents *to)
{
    for (size_t i = 0; i < reserved->capacity; i++) {
        if (reserved->items[i] != 0)
            space_extents_push(to, reserved->items[i]);
    }
}

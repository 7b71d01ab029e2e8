/* SPDX-License-Identifier: Apache-2.0 */
/* Which extents are taken and not linked yet: as many as there are writes under way. */
#include "space/internal.h"

static size_t reserved_home(uint64_t packed)
{
    uint64_t hash = deferred_place(packed) * 0x9e3779b97f4a7c15u;
    return (size_t)(hash >> 32) & (RESERVED_SLOTS - 1);
}

static void reserved_put(struct space_reserved *reserved, uint64_t packed)
{
    size_t at = reserved_home(packed);
    while (reserved->items[at] != 0)
        at = (at + 1) & (RESERVED_SLOTS - 1);
    reserved->items[at] = packed;
}

void space_reserved_add(struct space_reserved *reserved, struct extent extent)
{
    assert(extent.place != 0);
    assert(reserved->count < SPACE_RESERVED_MAX);
    reserved_put(reserved, deferred_pack(extent.place, extent.blocks));
    reserved->count++;
    reserved->blocks += extent.blocks;
}

void space_reserved_remove(struct space_reserved *reserved, struct extent extent)
{
    uint64_t packed = deferred_pack(extent.place, extent.blocks);
    assert(reserved->count > 0);
    size_t mask = RESERVED_SLOTS - 1;
    size_t hole = reserved_home(packed);
    while (reserved->items[hole] != packed) {
        assert(reserved->items[hole] != 0); /* Taken as it is given here, and not linked before. */
        hole = (hole + 1) & mask;
    }
    /* Move back what would no longer be found (Knuth, volume 3, algorithm 6.4R). */
    for (size_t at = (hole + 1) & mask; reserved->items[at] != 0; at = (at + 1) & mask) {
        size_t home = reserved_home(reserved->items[at]);
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
    for (size_t i = 0; i < RESERVED_SLOTS; i++) {
        if (reserved->items[i] != 0)
            space_extents_push(to, reserved->items[i]);
    }
}

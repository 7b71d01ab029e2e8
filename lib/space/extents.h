/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An array of packed extents (format/deferred.h). Sized at open for what a busy store needs; many
 * pages dropped between two checkpoints may make it grow: by doubling, and what it has it keeps.
 * No memory stops the process, which a store survives.
 */
#ifndef SPACE_EXTENTS_H
#define SPACE_EXTENTS_H

#include "format/deferred.h"

struct extents {
    uint64_t *items;
    size_t count, capacity;
    uint64_t blocks; /* In all of them. */
};

/* Room for `count` in all. */
void space_extents_make_room(struct extents *extents, size_t count);
void space_extents_done(struct extents *extents);
void space_extents_push(struct extents *extents, uint64_t packed);
/* Everything in `from`, to the end of `to`; `from` is left empty. */
void space_extents_move(struct extents *to, struct extents *from);
/* The same, but `from` stays. */
void space_extents_copy(struct extents *to, const struct extents *from);
void space_extents_clear(struct extents *extents);
/* Ascending. `scratch` is used and left empty. */
void space_extents_sort(struct extents *extents, struct extents *scratch);
/* Joins neighbours of a sorted array, never over a multiple of `unit` blocks. */
void space_extents_merge(struct extents *extents, uint64_t unit);
/* The index of the first extent of a sorted array whose place is not below `place`. */
size_t space_extents_find(const struct extents *extents, uint64_t place);

#endif

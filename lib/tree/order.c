/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segments in memory, by key: a skip list (Pugh, 1990) through the objects. How many rows an
 * object is in is drawn from its number in the pool, so nothing is drawn as time goes by.
 */
#include "tree/internal.h"

static unsigned order_rows(const struct tree *tree, const struct segment *segment)
{
    uint64_t drawn = ((uint64_t)(segment - tree->segments) + 1) * 0x9e3779b97f4a7c15u;
    drawn ^= drawn >> 32;
    unsigned rows = 1;
    for (; rows < ORDER_ROWS && (drawn & 3) == 0; drawn >>= 2)
        rows++;
    return rows;
}

/* In each row the link that leads to the first object at or after the key; and the one before. */
static struct segment *order_find(struct tree *tree, const struct segment_key *key,
                                  struct segment **links[ORDER_ROWS])
{
    struct segment **from = tree->order;
    struct segment *before = NULL;
    for (unsigned row = ORDER_ROWS; row-- > 0;) {
        while (from[row] != NULL && segment_key_compare(&from[row]->key, key) < 0) {
            before = from[row];
            from = before->order;
        }
        links[row] = &from[row];
    }
    return before;
}

void order_add(struct tree *tree, struct segment *segment)
{
    struct segment **links[ORDER_ROWS];
    segment->order_before = order_find(tree, &segment->key, links);
    for (unsigned row = 0, rows = order_rows(tree, segment); row < rows; row++) {
        segment->order[row] = *links[row];
        *links[row] = segment;
    }
    if (segment->order[0] != NULL)
        segment->order[0]->order_before = segment;
}

void order_remove(struct tree *tree, struct segment *segment)
{
    struct segment **links[ORDER_ROWS];
    (void)order_find(tree, &segment->key, links);
    for (unsigned row = 0, rows = order_rows(tree, segment); row < rows; row++) {
        assert(*links[row] == segment);
        *links[row] = segment->order[row];
    }
    if (segment->order[0] != NULL)
        segment->order[0]->order_before = segment->order_before;
}

struct segment *order_from(struct tree *tree, const struct segment_key *key)
{
    struct segment **links[ORDER_ROWS];
    (void)order_find(tree, key, links);
    struct segment *segment = *links[0];
    while (segment != NULL && !segment_has_anything(segment))
        segment = segment->order[0];
    return segment;
}

struct segment *order_before(struct tree *tree, const struct segment_key *key)
{
    struct segment **links[ORDER_ROWS];
    struct segment *segment = order_find(tree, key, links);
    while (segment != NULL && !segment_has_anything(segment))
        segment = segment->order_before;
    return segment;
}

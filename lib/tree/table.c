/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the segment table. Nothing is held between two calls: who waited begins at the root. */
#include "tree/internal.h"

/* What one search may look at before others have their turn. */
#define SEEK_LEAVES_PER_TURN 64u
/* The note of a page that table_decode() took. */
#define NODE_SOUND 1u

static int node_open(struct tree *tree, const struct pointer *pointer, struct page_waiter *waiter,
                     struct page **ret_page, struct table_node *ret_node)
{
    struct page *page;
    int result = page_open_place(tree->cache, pointer, waiter, &page);
    if (result != 0)
        return result;
    *ret_page = page;
    if (page_note(page) == NODE_SOUND) {
        *ret_node = table_node_of(page_bytes(page));
        return 0;
    }
    result = table_decode(page_bytes(page), ret_node);
    if (result != 0)
        page_unpin(page);
    else
        page_set_note(
            page,
            NODE_SOUND); /* Once while it is in memory: to look at each entry takes a while. */
    return result;
}

/* The entry of a node above the leaves that covers a key. */
static unsigned node_route(const struct table_node *node, const struct segment_key *key)
{
    unsigned index = table_search(node, key);
    if (index < node->count) {
        struct segment_key at = table_key(node, index);
        if (segment_key_compare(&at, key) == 0)
            return index;
    }
    return index == 0 ? 0 : index - 1;
}

void table_leave(struct table_spot *spot)
{
    page_unpin(spot->page);
    spot->page = NULL;
}

/* Whether the keys of a node are those that its parent gave it: then no walk over the table meets a
 * node twice, and what is merged is in order. */
static bool node_belongs(const struct table_spot *spot)
{
    struct segment_key first = table_key(&spot->node, 0);
    struct segment_key last = table_key(&spot->node, spot->node.count - 1);
    return segment_key_compare(&first, &spot->separator) >= 0 &&
           (!spot->bounded || segment_key_compare(&last, &spot->bound) < 0);
}

/* One level down, from a pinned node to a pinned node. */
static int spot_down(struct tree *tree, const struct segment_key *key, struct page_waiter *waiter,
                     struct table_spot *spot)
{
    struct table_node above = spot->node;
    struct page *page_above = spot->page;
    unsigned index = node_route(&above, key);
    struct table_entry entry = table_entry(&above, index);
    spot->separator = entry.key;
    spot->pointer = entry.pointer;
    spot->level = above.level - 1;
    spot->sibling = index + 1 < above.count;
    if (index > 0) {
        spot->floor = entry.key;
        spot->floored = true;
    }
    if (spot->sibling) {
        spot->bound = table_key(&above, index + 1);
        spot->bounded = true;
    }
    int result = node_open(tree, &entry.pointer, waiter, &spot->page, &spot->node);
    if (result == 0 && (spot->node.level != spot->level || !node_belongs(spot))) {
        table_leave(spot);
        result = IOMESH_CORRUPT;
    }
    page_unpin(page_above);
    return result;
}

int table_descend(struct tree *tree, const struct segment_key *key, unsigned level,
                  struct page_waiter *waiter, struct table_spot *spot)
{
    *spot = (struct table_spot){.pointer = tree->table, .level = TABLE_LEVELS};
    int result = node_open(tree, &tree->table, waiter, &spot->page, &spot->node);
    if (result != 0)
        return result;
    spot->level = spot->node.level;
    tree->root_level = (uint8_t)spot->node.level;
    tree->root_count = spot->node.count;
    while (level != TABLE_ROOT && spot->level > level) {
        result = spot_down(tree, key, waiter, spot);
        if (result != 0)
            return result;
    }
    assert(level == TABLE_ROOT || spot->level == level);
    return 0;
}

int table_find(struct tree *tree, const struct segment_key *key, struct page_waiter *waiter,
               struct pointer *ret_pointer)
{
    if (tree->table.kind == POINTER_HOLE)
        return -ENOENT;
    struct table_spot spot;
    int result = table_descend(tree, key, 0, waiter, &spot);
    if (result != 0)
        return result;
    result = -ENOENT;
    unsigned index = table_search(&spot.node, key);
    if (index < spot.node.count) {
        struct table_entry entry = table_entry(&spot.node, index);
        if (segment_key_compare(&entry.key, key) == 0) {
            *ret_pointer = entry.pointer;
            result = 0;
        }
    }
    table_leave(&spot);
    return result;
}

/* The key before this one; false if there is none. */
static bool key_retreat(struct segment_key *key)
{
    if (key->view-- > 0)
        return true;
    key->view = SEQUENCE_MAX;
    if (key->segment-- > 0)
        return true;
    return key->volume-- > 0;
}

int table_before(struct tree *tree, const struct segment_key *key, struct page_waiter *waiter,
                 struct table_entry *ret_entry)
{
    struct segment_key last = *key;
    /* Twice at most: a node begins with the key that its parent has for it. */
    while (tree->table.kind != POINTER_HOLE && key_retreat(&last)) {
        struct table_spot spot;
        int result = table_descend(tree, &last, 0, waiter, &spot);
        if (result != 0)
            return result;
        unsigned index = table_search(&spot.node, key);
        if (index > 0)
            *ret_entry = table_entry(&spot.node, index - 1);
        table_leave(&spot);
        if (index > 0)
            return 0;
        if (!spot.floored)
            break;
        last = spot.floor;
    }
    return -ENOENT;
}

/* Within one leaf. TABLE_PASS: nothing in it was taken. */
static enum table_verdict seek_leaf(struct table_seek *seek, const struct table_node *leaf)
{
    unsigned index;
    while ((index = table_search(leaf, &seek->from)) < leaf->count) {
        struct table_entry entry = table_entry(leaf, index);
        enum table_verdict verdict = TABLE_TAKE;
        if (seek->judge != NULL)
            verdict = seek->judge(seek->context, &entry, &seek->from);
        if (verdict == TABLE_TAKE)
            seek->entry = entry;
        if (verdict != TABLE_PASS)
            return verdict;
        assert(segment_key_compare(&seek->from, &entry.key) > 0);
    }
    return TABLE_PASS;
}

int table_seek(struct tree *tree, struct table_seek *seek, struct page_waiter *waiter)
{
    for (unsigned leaves = 0; tree->table.kind != POINTER_HOLE; leaves++) {
        if (leaves == SEEK_LEAVES_PER_TURN && seek->yields) {
            page_wake(tree->cache, waiter);
            return -EAGAIN;
        }
        struct table_spot spot;
        int result = table_descend(tree, &seek->from, 0, waiter, &spot);
        if (result == -EAGAIN || (result != 0 && !seek->skip))
            return result;
        if (result == 0) {
            enum table_verdict verdict = seek_leaf(seek, &spot.node);
            table_leave(&spot);
            if (verdict != TABLE_PASS)
                return verdict == TABLE_TAKE ? 0 : -ENOENT;
        }
        if (!spot.bounded)
            break;
        if (segment_key_compare(&seek->from, &spot.bound) < 0)
            seek->from = spot.bound; /* The next leaf; a node is never empty. */
    }
    return -ENOENT;
}

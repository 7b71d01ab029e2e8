/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "tree/internal.h"

void tree_close(struct tree *tree)
{
    if (tree == NULL)
        return;
    merge_close(tree->merge);
    free(tree->segments);
    free(tree->hash);
    free(tree);
}

int tree_open(const struct tree_options *options, struct tree **ret_tree)
{
    if (options->segments_max < 64)
        return FAIL(-EINVAL, "a tree with %u segments in memory", options->segments_max);
    if (options->table.kind != POINTER_HOLE && options->table.kind != POINTER_RAW)
        return FAIL(IOMESH_CORRUPT, "the root of the segment table is of kind %u",
                    options->table.kind);
    struct tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL)
        return FAIL(-ENOMEM, "tree: no memory");
    tree->cache = options->cache;
    tree->devices = options->devices;
    tree->freed = options->freed;
    tree->admits = options->admits;
    list_init(&tree->refused);
    tree->context = options->context;
    tree->table = options->table;
    tree->pages = options->pages_used;
    tree->root_level = NO_LEVEL;
    int result = segment_pool_open(tree, options->segments_max);
    if (result == 0)
        result = merge_open(tree, &tree->merge);
    if (result != 0) {
        tree_close(tree);
        return FAIL(result, "tree of %u segments: no memory", options->segments_max);
    }
    *ret_tree = tree;
    return 0;
}

bool tree_wants_checkpoint(const struct tree *tree)
{
    return page_dirty_roots(tree->cache) >= tree->segments_max / 2;
}

bool segment_key_advance(struct segment_key *key)
{
    if (key->view < SEQUENCE_MAX) {
        key->view++;
        return true;
    }
    key->view = 0;
    if (++key->segment != 0)
        return true;
    return ++key->volume != 0;
}

/* The table's entries that memory does not hide, before the first that memory has. */
struct next {
    struct tree *tree;
    const struct segment *memory;
};

static enum table_verdict judge_next(void *context, const struct table_entry *entry,
                                     struct segment_key *from)
{
    const struct next *next = context;
    if (next->memory != NULL && segment_key_compare(&entry->key, &next->memory->key) >= 0)
        return TABLE_STOP;
    if (segment_find(next->tree, &entry->key) == NULL)
        return TABLE_TAKE;
    *from = entry->key;
    return segment_key_advance(from) ? TABLE_PASS : TABLE_STOP;
}

int segment_next(struct tree_path *path, const struct segment_key *key, bool skip,
                 struct segment_key *ret_key)
{
    assert(!path->open);
    struct next next = {.tree = path->tree, .memory = order_from(path->tree, key)};
    struct table_seek seek = {.from = *key, .skip = skip, .judge = judge_next, .context = &next};
    int result = table_seek(path->tree, &seek, &path->waiter);
    if (result == 0)
        *ret_key = seek.entry.key;
    if (result != -ENOENT || next.memory == NULL)
        return result;
    *ret_key = next.memory->key;
    return 0;
}

int tree_next_segment(struct tree_path *path, const struct segment_key *key,
                      struct segment_key *ret_key)
{
    return segment_next(path, key, false, ret_key);
}

/* Nodes of the table, at most, by what its root said. */
static uint64_t table_nodes_max(const struct tree *tree)
{
    if (tree->table.kind == POINTER_HOLE)
        return 0;
    if (tree->root_count == 0)
        return UINT32_MAX;
    uint64_t nodes = 1, level = 1;
    for (unsigned i = tree->root_level; i > 0; i--) {
        level *= i == tree->root_level ? tree->root_count : TABLE_ENTRIES;
        nodes += level;
    }
    return nodes;
}

/*
 * A group of changes to one node, and at most one neighbour that it absorbs, gives as many nodes as
 * it took, one more for the rest, and what the added entries fill.
 */
static uint32_t table_pages_max(const struct tree *tree, uint64_t added)
{
    if (added == 0)
        return 0;
    uint64_t nodes = table_nodes_max(tree), sum = 0;
    uint64_t groups = MIN(added, MAX(nodes, 1));
    unsigned levels = tree->root_count == 0 ? TABLE_LEVELS : tree->root_level + 1u;
    if (tree->table.kind == POINTER_HOLE)
        levels = 1;
    for (unsigned level = 0; level < levels; level++) {
        added = MIN(2 * groups, nodes) + groups + added / TABLE_ENTRIES;
        sum += added;
    }
    while (added > 1) {
        added = DIV_CEIL(added, TABLE_ENTRIES);
        sum += added;
    }
    return (uint32_t)MIN(sum, UINT32_MAX);
}

uint32_t tree_table_pages_max(const struct tree *tree)
{
    return table_pages_max(tree, page_dirty_roots(tree->cache));
}

uint32_t tree_pages_to_come(const struct tree *tree, uint32_t more)
{
    uint64_t changing = (uint64_t)tree->changing + more;
    uint64_t copying = tree->copying + (tree->views ? more : 0);
    uint64_t table = table_pages_max(tree, page_dirty_roots(tree->cache) + changing + copying);
    uint64_t pages = PATH_FRAMES * changing + (VIEW_FRAMES - PATH_FRAMES) * copying;
    return (uint32_t)MIN(pages + table, UINT32_MAX);
}

uint32_t tree_changes(const struct tree *tree)
{
    return tree->changing;
}

bool tree_admission_waits(const struct tree *tree)
{
    return !list_empty(&tree->refused);
}

void tree_admit(struct tree *tree)
{
    for (struct list *node; (node = list_pop_front(&tree->refused)) != NULL;)
        page_wake(tree->cache, LIST_ENTRY(node, struct page_waiter, node));
}

int tree_ask_admission(struct tree_path *path)
{
    struct tree *tree = path->tree;
    if (tree->admits == NULL || tree->admits(tree->context))
        return 0;
    list_remove(&path->waiter.node);
    list_push_back(&tree->refused, &path->waiter.node);
    return -EAGAIN;
}

void tree_freeze(struct tree *tree)
{
    merge_freeze(tree->merge);
}

void tree_checkpoint_start(struct tree *tree, struct tree_checkpoint *checkpoint)
{
    merge_start(tree->merge, checkpoint);
}

void tree_thaw(struct tree *tree)
{
    merge_thaw(tree->merge);
    segment_thaw(tree);
}

void tree_stats(const struct tree *tree, struct tree_stats *ret_stats)
{
    *ret_stats = (struct tree_stats){
        .segments = tree->used,
        .segments_dirty = page_dirty_roots(tree->cache),
        .table_pages_written = tree->table_pages_written,
        .pages_used = tree->pages,
    };
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of segments in memory. */
#include <stdlib.h>

#include "tree/internal.h"

/* Segments that are looked at for one that may go: their pages are in the way only while one of
 * them is being read. */
#define RECYCLE_TRIES 8u

static uint32_t hash_of(const struct tree *tree, const struct segment_key *key)
{
    uint64_t hash = key->volume * 0x9e3779b97f4a7c15u;
    hash = (hash ^ hash >> 32 ^ key->segment) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ hash >> 29 ^ key->view) * 0x94d049bb133111ebu;
    return (uint32_t)(hash >> 32) & tree->hash_mask;
}

struct segment *segment_find(struct tree *tree, const struct segment_key *key)
{
    struct segment *segment = tree->hash[hash_of(tree, key)];
    while (segment != NULL && segment_key_compare(&segment->key, key) != 0)
        segment = segment->hash_next;
    return segment;
}

static void segments_wake(struct tree *tree)
{
    for (struct list *node; (node = list_first(&tree->waiters)) != NULL;)
        page_wake(tree->cache, LIST_ENTRY(node, struct page_waiter, node));
}

static void segment_settle(struct tree *tree, struct segment *segment)
{
    bool frozen = segment->root.frozen && !MUTANT(49);
    bool may_go = segment->used && segment->refs == 0 && !segment->root.dirty && !frozen;
    if (may_go == segment->queued)
        return;
    segment->queued = may_go;
    if (may_go) {
        list_push_back(&tree->queue, &segment->node);
        segments_wake(tree);
    } else {
        list_remove(&segment->node);
    }
}

static void segment_forget(struct tree *tree, struct segment *segment)
{
    struct segment **link = &tree->hash[hash_of(tree, &segment->key)];
    while (*link != segment)
        link = &(*link)->hash_next;
    *link = segment->hash_next;
    list_remove(&segment->node);
    order_remove(tree, segment);
    segment->queued = false;
    segment->used = false;
    tree->used--;
    list_push_back(&tree->segments_free, &segment->node);
}

/* Makes one object free. 0; -EAGAIN: a page is being read, or all are held or dirty;
 * IOMESH_FAILED: no checkpoint will make them clean. */
static int segment_recycle(struct tree *tree, struct page_waiter *waiter)
{
    if (tree->devices->failed != 0)
        return IOMESH_FAILED;
    for (unsigned tries = 0; tries < RECYCLE_TRIES; tries++) {
        struct list *node = list_first(&tree->queue);
        if (node == NULL)
            break;
        struct segment *segment = LIST_ENTRY(node, struct segment, node);
        int result = page_release_root(tree->cache, &segment->root, waiter);
        if (result == 0) {
            segment_forget(tree, segment);
            return 0;
        }
        if (result == -EAGAIN)
            return result;
        list_remove(node); /* Somebody looks at its pages: behind the others. */
        list_push_back(&tree->queue, node);
    }
    REACH(tree_segments_exhausted);
    list_remove(&waiter->node);
    list_push_back(&tree->waiters, &waiter->node);
    return -EAGAIN;
}

static int segment_make(struct tree *tree, const struct segment_key *key,
                        const struct pointer *pointer, struct page_waiter *waiter,
                        struct segment **ret_segment)
{
    if (list_empty(&tree->segments_free)) {
        int result = segment_recycle(tree, waiter);
        if (result != 0)
            return result;
    }
    struct list *node = list_pop_front(&tree->segments_free);
    struct segment *segment = LIST_ENTRY(node, struct segment, node);
    bool record = key->segment == SEGMENT_RECORD;
    bool leaf = record || segment_is_view(key->segment);
    segment->key = *key;
    segment->root = (struct page_root){
        .pointer = *pointer, .level = leaf ? 0 : 1, .leaf_is_bytes = record, .owner = segment};
    segment->used = true;
    segment->refs = 0;
    struct segment **bucket = &tree->hash[hash_of(tree, key)];
    segment->hash_next = *bucket;
    *bucket = segment;
    order_add(tree, segment);
    tree->used++;
    tree->touched = MAX(tree->touched, (uint32_t)(segment - tree->segments) + 1);
    *ret_segment = segment;
    return 0;
}

void segment_keep(struct tree *tree, struct segment *segment)
{
    segment->refs++;
    segment_settle(tree, segment);
}

void segment_let_go(struct tree *tree, struct segment *segment)
{
    assert(segment->refs > 0);
    segment->refs--;
    segment_settle(tree, segment);
}

static int segment_get(struct tree *tree, const struct segment_key *key, struct page_waiter *waiter,
                       struct segment **slot)
{
    if (*slot != NULL)
        return 0;
    struct segment *segment = segment_find(tree, key);
    if (segment == NULL) {
        struct pointer pointer = {.kind = POINTER_HOLE};
        int result = table_find(tree, key, waiter, &pointer);
        if (result != 0 && result != -ENOENT)
            return result;
        result = segment_make(tree, key, &pointer, waiter, &segment);
        if (result != 0)
            return result;
    }
    segment_keep(tree, segment);
    *slot = segment;
    return 0;
}

int segment_hold(struct tree_path *path, const struct segment_key *key)
{
    assert(path->segment == NULL || segment_key_compare(&path->segment->key, key) == 0);
    return segment_get(path->tree, key, &path->waiter, &path->segment);
}

int segment_hold_both(struct tree_path *path, const struct segment_key *key,
                      const struct segment_key *beside)
{
    struct tree *tree = path->tree;
    for (;;) {
        uint32_t need = segment_find(tree, key) == NULL ? 1 : 0;
        need += segment_find(tree, beside) == NULL ? 1 : 0;
        if (tree->segments_max - tree->used >= need)
            break;
        if (path->segment != NULL || path->beside != NULL) {
            REACH(tree_segment_let_go);
            tree_path_close(path);
            continue;
        }
        int result = segment_recycle(tree, &path->waiter);
        if (result != 0)
            return result;
    }
    int result = segment_get(tree, key, &path->waiter, &path->segment);
    if (result == 0)
        result = segment_get(tree, beside, &path->waiter, &path->beside);
    return result;
}

void segment_release(struct tree_path *path)
{
    struct segment *segment = path->segment, *beside = path->beside;
    path->segment = NULL;
    path->beside = NULL;
    if (segment != NULL)
        segment_let_go(path->tree, segment);
    if (beside != NULL)
        segment_let_go(path->tree, beside);
}

bool segment_has_anything(const struct segment *segment)
{
    return segment->root.page != NULL || segment->root.pointer.kind != POINTER_HOLE;
}

void segment_thaw(struct tree *tree)
{
    for (uint32_t i = 0; i < tree->touched; i++) {
        struct segment *segment = &tree->segments[i];
        if (!segment->used || !segment->root.frozen)
            continue;
        /* page_thaw() follows in the same instant and takes the mark away. */
        bool may_go = segment->refs == 0 && !segment->root.dirty;
        if (may_go && !segment->queued) {
            segment->queued = true;
            list_push_back(&tree->queue, &segment->node);
        }
    }
    segments_wake(tree);
}

void tree_failed(struct tree *tree)
{
    segments_wake(tree);
}

int segment_pool_open(struct tree *tree, uint32_t segments_max)
{
    uint32_t buckets = 64;
    while (buckets < segments_max)
        buckets *= 2;
    tree->segments = calloc(segments_max, sizeof *tree->segments);
    tree->hash = calloc(buckets, sizeof(void *));
    if (tree->segments == NULL || tree->hash == NULL)
        return -ENOMEM;
    tree->segments_max = segments_max;
    tree->hash_mask = buckets - 1;
    list_init(&tree->segments_free);
    list_init(&tree->queue);
    list_init(&tree->waiters);
    for (uint32_t i = 0; i < segments_max; i++) {
        struct segment *segment = &tree->segments[i];
        list_init(&segment->node);
        list_init(&segment->paths);
        list_push_back(&tree->segments_free, &segment->node);
    }
    return 0;
}

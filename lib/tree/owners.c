/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has a page of his own at a mebibyte: in memory and in the table. What is in memory hides its
 * entry in the table, so both are asked, and an entry counts only where memory has no object for
 * it.
 */
#include "tree/internal.h"

static bool same_mebibyte(const struct segment_key *a, const struct segment_key *b)
{
    return a->volume == b->volume && a->segment == b->segment;
}

static struct owner owner_in_memory(struct segment *segment)
{
    return (struct owner){
        .cut = segment->key.view, .pointer = segment->root.pointer, .segment = segment};
}

struct search {
    struct tree *tree;
    struct segment_key key;
    struct segment *memory; /* The best that is in memory. */
};

static enum table_verdict judge_owner(void *context, const struct table_entry *entry,
                                      struct segment_key *from)
{
    const struct search *search = context;
    if (!same_mebibyte(&entry->key, &search->key) ||
        (search->memory != NULL && entry->key.view >= search->memory->key.view))
        return TABLE_STOP;
    if (segment_find(search->tree, &entry->key) == NULL)
        return TABLE_TAKE;
    *from = entry->key;
    return segment_key_advance(from) ? TABLE_PASS : TABLE_STOP;
}

int owner_from(struct tree *tree, uint64_t volume, uint32_t mebibyte, uint64_t cut,
               struct page_waiter *waiter, struct owner *ret_owner)
{
    struct search search = {.tree = tree, .key = view_key(volume, mebibyte, cut)};
    search.memory = order_from(tree, &search.key);
    if (search.memory != NULL && !same_mebibyte(&search.memory->key, &search.key))
        search.memory = NULL;
    int result = -ENOENT;
    if (search.memory == NULL || search.memory->key.view != cut) {
        struct table_seek seek = {.from = search.key, .judge = judge_owner, .context = &search};
        result = table_seek(tree, &seek, waiter);
        if (result == 0)
            *ret_owner = (struct owner){.cut = seek.entry.key.view, .pointer = seek.entry.pointer};
    }
    if (result != -ENOENT || search.memory == NULL)
        return result;
    *ret_owner = owner_in_memory(search.memory);
    return 0;
}

int owner_before(struct tree *tree, uint64_t volume, uint32_t mebibyte, uint64_t cut,
                 struct page_waiter *waiter, struct owner *ret_owner)
{
    struct segment_key from = view_key(volume, mebibyte, cut);
    struct segment *memory = order_before(tree, &from);
    if (memory != NULL && !same_mebibyte(&memory->key, &from))
        memory = NULL;
    for (;;) {
        struct table_entry entry;
        int result = table_before(tree, &from, waiter, &entry);
        if (result != 0 && result != -ENOENT)
            return result;
        if (result != 0 || !same_mebibyte(&entry.key, &from) ||
            (memory != NULL && entry.key.view <= memory->key.view))
            break;
        if (segment_find(tree, &entry.key) == NULL || MUTANT(31)) {
            *ret_owner = (struct owner){.cut = entry.key.view, .pointer = entry.pointer};
            return 0;
        }
        from = entry.key;
    }
    if (memory == NULL)
        return -ENOENT;
    *ret_owner = owner_in_memory(memory);
    return 0;
}

int root_find(struct tree *tree, const struct segment_key *key, struct page_waiter *waiter,
              struct pointer *ret_pointer)
{
    const struct segment *segment = segment_find(tree, key);
    if (segment == NULL)
        return table_find(tree, key, waiter, ret_pointer);
    *ret_pointer = segment->root.pointer;
    return segment_has_anything(segment) ? 0 : -ENOENT;
}

int tree_view_before(struct tree_path *path, uint64_t volume, uint32_t mebibyte, uint64_t cut,
                     uint64_t *ret_owner)
{
    struct owner owner = {.cut = 0};
    assert(!path->open && mebibyte < VIEW_MEBIBYTES);
    int result = owner_before(path->tree, volume, mebibyte, cut, &path->waiter, &owner);
    if (result != 0 && result != -ENOENT)
        return result;
    *ret_owner = owner.cut;
    return 0;
}

/* --- The next of some views ------------------------------------------------------------------- */

/* Where to go on from a key of a view that is not among [first, last]. False: it is. */
static bool next_passes(const struct segment_key *key, uint64_t first, uint64_t last,
                        struct segment_key *from)
{
    if (key->view >= first && key->view <= last)
        return false;
    *from = *key;
    from->view = first;
    from->segment += key->view > last; /* To the record at most. */
    return true;
}

struct next_view {
    struct tree *tree;
    uint64_t volume, first, last;
    struct segment *memory;
};

static enum table_verdict judge_view(void *context, const struct table_entry *entry,
                                     struct segment_key *from)
{
    const struct next_view *next = context;
    const struct segment_key *key = &entry->key;
    if (key->volume != next->volume || !segment_is_view(key->segment) ||
        (next->memory != NULL && segment_key_compare(key, &next->memory->key) >= 0))
        return TABLE_STOP;
    if (next_passes(key, next->first, next->last, from))
        return TABLE_PASS;
    if (segment_find(next->tree, key) == NULL)
        return TABLE_TAKE;
    *from = *key;
    return segment_key_advance(from) ? TABLE_PASS : TABLE_STOP;
}

static struct segment *next_in_memory(const struct next_view *next, struct segment_key from)
{
    for (;;) {
        struct segment *segment = order_from(next->tree, &from);
        if (segment == NULL || segment->key.volume != next->volume ||
            !segment_is_view(segment->key.segment))
            return NULL;
        if (!next_passes(&segment->key, next->first, next->last, &from))
            return segment;
    }
}

int tree_view_next(struct tree_path *path, uint64_t volume, uint64_t first, uint64_t last,
                   uint32_t *mebibyte, uint64_t *ret_cut)
{
    assert(!path->open && first <= last);
    if (*mebibyte >= VIEW_MEBIBYTES)
        return -ENOENT;
    struct next_view next = {.tree = path->tree, .volume = volume, .first = first, .last = last};
    struct table_seek seek = {
        .from = view_key(volume, *mebibyte, first),
        .judge = judge_view,
        .context = &next,
        .yields = true,
    };
    next.memory = next_in_memory(&next, seek.from);
    int result = table_seek(path->tree, &seek, &path->waiter);
    struct segment_key found = result == 0 ? seek.entry.key : seek.from;
    if (result == -ENOENT && next.memory != NULL) {
        found = next.memory->key;
        result = 0;
    } else if (result == -EAGAIN && next.memory != NULL &&
               segment_key_compare(&next.memory->key, &found) < 0)
        found = next.memory->key; /* Between two leaves of the table. */
    if (result == 0)
        *ret_cut = found.view;
    if (found.volume == volume && segment_is_view(found.segment) && result != -ENOENT)
        *mebibyte = found.segment - SEGMENT_VIEWS;
    return result;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing pages. Who changes a page makes its ancestors dirty in the same call, so the dirty set
 * is closed upwards at any instant, and so is the frozen one. What a frozen page must keep stays in
 * its frame (it may be on its way to the disk); the live bytes go on in another.
 */
#include <string.h>

#include "page/cache.h"

static void root_dirty(struct page_cache *cache, struct page_root *root)
{
    if (root->dirty)
        return;
    root->dirty = true;
    list_init(&root->dirty_node);
    list_push_back(&cache->dirty_roots, &root->dirty_node);
    cache->dirty_root_count++;
}

static void page_clone(struct page *page)
{
    if (MUTANT(40))
        return;
    REACH(page_cloned);
    uint8_t *frame = page_take_frame(page->cache);
    memcpy(frame, page->live, BLOCK_BYTES);
    page->frozen = page->live;
    page->live = frame;
    page->cache->stats.clones++;
}

/* The same as long as it is dirty: what is being written has its place then. */
static bool set_unplaced(const struct page *page)
{
    return !page->written && !page_is_frozen(page);
}

static void set_add(struct page *page)
{
    struct page_cache *cache = page->cache;
    struct page_set *set = &cache->sets[cache->now];
    page->set[cache->now] = true;
    list_push_back(&set->level[page->level], &page->set_node[cache->now]);
    set->count++;
    set->unplaced += set_unplaced(page);
    page->root->dirty_pages++;
    page_settle(page);
}

static void set_remove(struct page *page)
{
    struct page_cache *cache = page->cache;
    page->set[cache->now] = false;
    list_remove(&page->set_node[cache->now]);
    cache->sets[cache->now].count--;
    cache->sets[cache->now].unplaced -= set_unplaced(page);
    page->root->dirty_pages--;
}

uint8_t *page_change(struct page *page)
{
    assert(page->pins > 0 || page->children > 0);
    assert(page->root != NULL);
    for (struct page *changed = page; changed != NULL; changed = changed->parent) {
        assert(changed->state == PAGE_READY);
        if (page_is_dirty(changed))
            return page->live; /* And so is everything above. */
        if (page_is_frozen(changed) && changed->frozen == NULL)
            page_clone(changed);
        set_add(changed);
    }
    root_dirty(page->cache, page->root);
    return page->live;
}

/* A slot may be set over a page that could not be read, not over one that is in use. */
static void slot_clear(struct page *page, unsigned slot)
{
    struct page *child = page_find(page->cache, page_key_child(page, slot));
    if (child == NULL)
        return;
    assert(child->state == PAGE_BROKEN);
    page_detach(child);
    page_gone(child);
}

void page_set_slot(struct page *page, unsigned slot, const struct pointer *pointer)
{
    assert(!page->bytes && slot < POINTERS_PER_PAGE);
    if (page->level > 0)
        slot_clear(page, slot);
    pointer_put(page_change(page) + slot * POINTER_BYTES, pointer);
}

void page_set_root(struct page_cache *cache, struct page_root *root, const struct pointer *pointer)
{
    assert(root->page == NULL);
    root->pointer = *pointer;
    root_dirty(cache, root);
}

void page_annotate(struct page *page, uint64_t sequence)
{
    assert(page->bytes && page->root != NULL);
    if (page->parent == NULL) {
        page->root->pointer.sequence = sequence;
        root_dirty(page->cache, page->root);
        return;
    }
    struct pointer pointer = page_slot(page->parent, page->slot);
    pointer.sequence = sequence;
    pointer_put(page_change(page->parent) + page->slot * POINTER_BYTES, &pointer);
}

static void page_fill(struct page *page, const struct pointer *fill)
{
    memset(page->live, 0, BLOCK_BYTES);
    if (fill == NULL)
        return;
    assert(!page->bytes);
    for (unsigned i = 0; i < POINTERS_PER_PAGE; i++)
        pointer_put(page->live + i * POINTER_BYTES, fill);
}

static struct page *page_born(struct page_cache *cache, struct page_root *root, struct page *parent,
                              unsigned slot, const struct pointer *fill)
{
    uint8_t *frame = page_take_frame(cache);
    struct page *page = page_new(cache);
    page->live = frame;
    page->state = PAGE_READY;
    page_hold(page);
    page_attach(page, root, parent, slot);
    page_fill(page, fill);
    page_change(page);
    return page;
}

struct page *page_create(struct page_cache *cache, struct page *parent, unsigned slot,
                         const struct pointer *fill)
{
    assert(parent->pins > 0 && parent->state == PAGE_READY);
    assert(page_slot(parent, slot).kind != POINTER_RAW);
    assert(page_find(cache, page_key_child(parent, slot)) == NULL);
    return page_born(cache, parent->root, parent, slot, fill);
}

struct page *page_create_root(struct page_cache *cache, struct page_root *root,
                              const struct pointer *fill)
{
    assert(root->page == NULL && root->pointer.kind != POINTER_RAW);
    return page_born(cache, root, NULL, 0, fill);
}

struct page *page_copy_root(struct page_cache *cache, struct page_root *root,
                            const struct page *from)
{
    struct page *page = page_create_root(cache, root, NULL);
    memcpy(page->live, from->live, BLOCK_BYTES);
    return page;
}

struct pointer page_disown(struct page *page)
{
    struct page *parent = page->parent;
    assert(page->state == PAGE_READY && page->written && !page_changed(page) && parent != NULL);
    struct pointer given = page_slot(parent, page->slot);
    struct pointer hole = {.kind = POINTER_HOLE};
    assert(given.kind == POINTER_RAW && given.place == page->place);
    page->written = MUTANT(59);
    (void)page_change(page);
    pointer_put(parent->live + page->slot * POINTER_BYTES, &hole);
    return given;
}

void page_move_root(struct page_cache *cache, struct page_root *from, struct page_root *to)
{
    struct page *page = from->page;
    assert(to->page == NULL && to->pointer.kind != POINTER_RAW);
    assert(from->level == 0 && to->level == 0);
    to->pointer = from->pointer;
    from->pointer = (struct pointer){.kind = POINTER_HOLE};
    root_dirty(cache, from);
    root_dirty(cache, to);
    if (page == NULL)
        return;
    assert(!page_is_frozen(page));
    to->page = page;
    from->page = NULL;
    page->root = to;
    if (page_is_dirty(page)) {
        from->dirty_pages--;
        to->dirty_pages++;
    }
}

/* The frozen version is still to be written, for the checkpoint's parent to point to. */
static void page_become_ghost(struct page *page)
{
    REACH(page_ghost);
    if (page->frozen != NULL)
        page_give_frame(page->cache, page->live);
    else
        page->frozen = page->live;
    page->live = NULL;
    page->state = PAGE_GHOST;
}

void page_drop(struct page *page, const struct pointer *instead)
{
    struct page_cache *cache = page->cache;
    assert(page->state == PAGE_READY && page->pins == 1 && page->children == 0);
    assert(instead->kind != POINTER_RAW);
    struct page *parent = page->parent;
    struct page_root *root = page->root;
    page_detach(page);
    if (page_is_dirty(page))
        set_remove(page);
    page_let_go(page);
    if (parent != NULL) {
        assert(parent->pins > 0);
        pointer_put(page_change(parent) + page->slot * POINTER_BYTES, instead);
    } else {
        root->pointer = *instead;
        root_dirty(cache, root);
    }
    if (page_is_frozen(page) && !MUTANT(43)) {
        page_become_ghost(page);
        return;
    }
    if (page_is_frozen(page)) { /* Mutant 43: as if nothing needed the frozen version. */
        page->set[cache->now ^ 1u] = false;
        list_remove(&page->set_node[cache->now ^ 1u]);
        cache->sets[cache->now ^ 1u].count--;
    }
    bool written = page->written;
    uint64_t place = page->place;
    page_gone(page);
    if (written)
        cache->freed(cache->context, place);
}

/* 0: nobody has it, or knows no more than that it is broken. */
static int page_is_lost(struct page *page, const struct pointer *written,
                        struct page_waiter *waiter)
{
    if (written->kind != POINTER_RAW || (page != NULL && page->state == PAGE_READY))
        return -EBUSY;
    return page != NULL && page->state == PAGE_READING ? page_wait(&page->waiters, waiter) : 0;
}

/* A pointer that nobody could follow may show what no device has. */
static void page_lost(struct page_cache *cache, const struct pointer *written)
{
    if (device_holds(cache->devices, written->place, 1))
        cache->freed(cache->context, written->place);
}

int page_abandon(struct page *parent, unsigned slot, const struct pointer *instead,
                 struct page_waiter *waiter)
{
    struct page_cache *cache = parent->cache;
    struct pointer written = page_slot(parent, slot);
    int result = page_is_lost(page_find(cache, page_key_child(parent, slot)), &written, waiter);
    if (result != 0)
        return result;
    page_set_slot(parent, slot, instead);
    page_lost(cache, &written);
    return 0;
}

int page_abandon_root(struct page_cache *cache, struct page_root *root,
                      const struct pointer *instead, struct page_waiter *waiter)
{
    struct pointer written = root->pointer;
    int result = page_is_lost(root->page, &written, waiter);
    if (result != 0)
        return result;
    if (root->page != NULL) {
        struct page *page = root->page;
        page_detach(page);
        page_gone(page);
    }
    page_set_root(cache, root, instead);
    page_lost(cache, &written);
    return 0;
}

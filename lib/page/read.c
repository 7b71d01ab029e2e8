/* SPDX-License-Identifier: Apache-2.0 */
/* Opening pages: found, or read once however many wait, and checked before anybody sees them. */
#include "codec/codec.h"
#include "page/cache.h"

static bool slot_is_sound(struct page *page, const uint8_t *from)
{
    struct pointer pointer;
    if (pointer_get(from, &pointer) != 0)
        return false;
    if (page->level > 0 && pointer.kind != POINTER_HOLE && pointer.kind != POINTER_ZERO &&
        pointer.kind != POINTER_RAW)
        return false;
    if (!pointer_has_place(&pointer))
        return true;
    uint64_t blocks = pointer.kind >= POINTER_RUN ? (pointer.kind & 31u) + 1u : 1u;
    return device_holds(page->cache->devices, pointer.place, blocks);
}

/* Once, here: whoever uses the page later may assert. */
static int page_verify(struct page *page)
{
    if (!MUTANT(42) && crc32c(page->live, BLOCK_BYTES) != page->crc) {
        REACH(page_crc_wrong);
        return IOMESH_CORRUPT;
    }
    for (unsigned i = 0; i < POINTERS_PER_PAGE && !page->bytes; i++) {
        if (!slot_is_sound(page, page->live + i * POINTER_BYTES))
            return IOMESH_CORRUPT;
    }
    return 0;
}

static uint32_t list_count(struct list *list)
{
    uint32_t count = 0;
    LIST_EACH (list, node)
        count++;
    return count;
}

static void page_broke(struct page *page, int error)
{
    page->state = PAGE_BROKEN;
    page->error = error == IOMESH_CORRUPT || error == IOMESH_FAILED ? error : -EIO;
    page->answers = list_count(&page->waiters);
}

static void page_arrived(struct device_io *io, int result)
{
    struct page *page = CONTAINER_OF(io, struct page, io);
    struct page_cache *cache = page->cache;
    assert(page->state == PAGE_READING);
    cache->flying--;
    if (result == 0)
        result = page_verify(page);
    page->state = PAGE_READY;
    if (result != 0)
        page_broke(page, result);
    page_wake_all(cache, &page->waiters);
    if (page->forgotten || (page->state == PAGE_BROKEN && page->answers == 0)) {
        page_detach(page);
        page_gone(page);
    } else {
        page_settle(page);
    }
    page_wake_now(cache);
}

/* A page that was broken is told to each who waited for it; who asks later reads again, since a
 * read error may pass. */
static int page_answer_broken(struct page *page)
{
    int error = page->error;
    if (--page->answers == 0) {
        page_detach(page);
        page_gone(page);
    }
    return error;
}

/* It is there: pin it, or wait, or say what is wrong. */
static int page_meet(struct page *page, struct page_waiter *waiter, struct page **ret_page)
{
    struct page_cache *cache = page->cache;
    if (page->state == PAGE_READING)
        return page_wait(&page->waiters, waiter);
    if (page->state == PAGE_BROKEN)
        return page_answer_broken(page);
    if (page->queued && !page_spare(cache)) {
        cache->stats.waits++;
        return page_wait(&cache->frame_waiters, waiter);
    }
    cache->stats.hits++;
    page_hold(page);
    page_settle(page);
    if (!page->hot && cache->stats.misses - page->arrived >= cache->frame_count / 4)
        page->hot = true; /* Out of its queue now, so this moves nothing. */
    *ret_page = page;
    return 0;
}

static void page_read(struct page *page, const struct pointer *pointer, struct page_waiter *waiter)
{
    struct page_cache *cache = page->cache;
    page->state = PAGE_READING;
    page->place = pointer->place;
    page->crc = pointer->crc;
    page->written = true;
    cache->stats.misses++;
    cache->stats.reads++;
    cache->flying++;
    page_wait(&page->waiters, waiter);
    device_submit(cache->devices, &page->io, DISK_READ, page->place, 1, page->live, page_arrived);
}

/* 0, or why `pointer` cannot be followed now. */
static int page_may_read(struct page_cache *cache, const struct pointer *pointer,
                         struct page_waiter *waiter)
{
    if (pointer->kind != POINTER_RAW)
        return -ENOENT;
    if (!device_holds(cache->devices, pointer->place, 1))
        return IOMESH_CORRUPT;
    if (page_spare(cache))
        return 0;
    REACH(page_frame_waits);
    cache->stats.waits++;
    return page_wait(&cache->frame_waiters, waiter);
}

static struct page *page_blank(struct page_cache *cache)
{
    uint8_t *frame = page_take_frame(cache);
    struct page *page = page_new(cache);
    page->live = frame;
    return page;
}

int page_open_root(struct page_cache *cache, struct page_root *root, struct page_waiter *waiter,
                   struct page **ret_page)
{
    if (root->page != NULL)
        return page_meet(root->page, waiter, ret_page);
    int result = page_may_read(cache, &root->pointer, waiter);
    if (result != 0)
        return result;
    struct page *page = page_blank(cache);
    page_attach(page, root, NULL, 0);
    page_read(page, &root->pointer, waiter);
    return -EAGAIN;
}

int page_open(struct page_cache *cache, struct page *parent, unsigned slot,
              struct page_waiter *waiter, struct page **ret_page)
{
    assert(parent->pins > 0);
    assert(slot < POINTERS_PER_PAGE);
    struct page *page = page_find(cache, page_key_child(parent, slot));
    if (page != NULL)
        return page_meet(page, waiter, ret_page);
    struct pointer pointer = page_slot(parent, slot);
    int result = page_may_read(cache, &pointer, waiter);
    if (result != 0)
        return result;
    page = page_blank(cache);
    page_attach(page, parent->root, parent, slot);
    page_read(page, &pointer, waiter);
    return -EAGAIN;
}

int page_open_place(struct page_cache *cache, const struct pointer *pointer,
                    struct page_waiter *waiter, struct page **ret_page)
{
    assert(pointer->kind == POINTER_RAW);
    struct page *page = page_find(cache, page_key_place(pointer->place));
    if (page != NULL)
        return page_meet(page, waiter, ret_page);
    int result = page_may_read(cache, pointer, waiter);
    if (result != 0)
        return result;
    page = page_blank(cache);
    page->level = 0;
    page->bytes = true;
    page->key = page_key_place(pointer->place);
    page_hash_add(page);
    page_read(page, pointer, waiter);
    return -EAGAIN;
}

void page_forget_place(struct page_cache *cache, uint64_t place)
{
    struct page *page = page_find(cache, page_key_place(place));
    if (page == NULL)
        return;
    assert(page->pins == 0);
    page_detach(page);
    page->forgotten = true;
    if (page->state != PAGE_READING)
        page_gone(page);
}

void page_pin(struct page *page)
{
    assert(page->state == PAGE_READY);
    page_hold(page);
    page_settle(page);
}

void page_unpin(struct page *page)
{
    page_let_go(page);
    page_settle(page);
}

bool page_changed(const struct page *page)
{
    return page_is_dirty(page) || page_is_frozen(page);
}

bool page_frozen(const struct page *page)
{
    return page_is_frozen(page);
}

uint64_t page_note(const struct page *page)
{
    return page->note;
}

void page_set_note(struct page *page, uint64_t note)
{
    page->note = note;
}

uint32_t page_pins(const struct page *page)
{
    return page->pins;
}

uint32_t page_children(const struct page *page)
{
    return page->children;
}

static struct page *page_if_ready(struct page *page)
{
    return page != NULL && page->state == PAGE_READY ? page : NULL;
}

struct page *page_cached(struct page *parent, unsigned slot)
{
    return page_if_ready(page_find(parent->cache, page_key_child(parent, slot)));
}

struct page *page_cached_root(const struct page_root *root)
{
    return page_if_ready(root->page);
}

struct pointer page_pointer(const struct page *page)
{
    if (!page->written)
        return (struct pointer){.kind = POINTER_HOLE};
    return (struct pointer){.kind = POINTER_RAW, .place = page->place, .crc = page->crc};
}

const uint8_t *page_bytes(const struct page *page)
{
    assert(page->state == PAGE_READY);
    return page->live;
}

struct pointer page_slot(const struct page *page, unsigned slot)
{
    assert(!page->bytes && slot < POINTERS_PER_PAGE);
    struct pointer pointer;
    int result = pointer_get(page->live + slot * POINTER_BYTES, &pointer);
    assert(result == 0);
    return pointer;
}

/* The deepest first child, or the page itself: what has to leave before it can. */
static struct page *page_deepest(struct page *page)
{
    while (!list_empty(&page->offspring))
        page = LIST_ENTRY(list_first(&page->offspring), struct page, sibling);
    return page;
}

int page_release_root(struct page_cache *cache, struct page_root *root, struct page_waiter *waiter)
{
    while (root->page != NULL) {
        struct page *page = page_deepest(root->page);
        if (page->state == PAGE_READING)
            return page_wait(&page->waiters, waiter);
        if (!page->queued)
            return -EBUSY;
        cache->stats.evictions++;
        page_detach(page);
        page_gone(page);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the frozen set, leaves first. A level begins when everything below it is written and
 * its pointers stand in the frozen bytes of their parents: a parent's CRC covers them. Places that
 * follow each other, as those of a checkpoint's run do, are written together: one write of
 * 64 KiB costs a device far less than sixteen of 4.
 */
#include <string.h>

#include "codec/codec.h"
#include "page/cache.h"

uint32_t page_dirty_count(const struct page_cache *cache)
{
    return cache->sets[cache->now].count;
}

uint32_t page_unplaced_count(const struct page_cache *cache)
{
    return cache->sets[cache->now].unplaced;
}

uint32_t page_dirty_roots(const struct page_cache *cache)
{
    return cache->dirty_root_count;
}

struct list *page_frozen_roots(struct page_cache *cache)
{
    return &cache->frozen_roots;
}

void page_freeze(struct page_cache *cache)
{
    assert(!cache->frozen);
    assert(cache->sets[cache->now ^ 1u].count == 0);
    cache->sets[cache->now].unplaced = 0;
    cache->now ^= 1u;
    cache->frozen = true;
    for (struct list *node; (node = list_pop_front(&cache->dirty_roots)) != NULL;) {
        struct page_root *root = LIST_ENTRY(node, struct page_root, dirty_node);
        root->dirty = false;
        root->dirty_pages = 0;
        root->frozen = true;
        root->frozen_pointer = root->pointer;
        list_init(&root->frozen_node);
        list_push_back(&cache->frozen_roots, &root->frozen_node);
    }
    cache->dirty_root_count = 0;
}

void page_thaw(struct page_cache *cache)
{
    assert(cache->frozen && cache->write == NULL);
    assert(cache->sets[cache->now ^ 1u].count == 0);
    for (struct list *node; (node = list_pop_front(&cache->frozen_roots)) != NULL;)
        LIST_ENTRY(node, struct page_root, frozen_node)->frozen = false;
    cache->frozen = false;
}

static uint64_t newest_in(const uint8_t *bytes)
{
    uint64_t newest = 0;
    for (unsigned i = 0; i < POINTERS_PER_PAGE; i++)
        newest = MAX(newest, get48(bytes + i * POINTER_BYTES + 6));
    return newest;
}

/* The pointer of a page of bytes keeps the sequence that its owner gave it, in each version. */
static void slot_store(const struct page *page, uint8_t *bytes)
{
    struct pointer pointer = page->flying;
    uint8_t *to = bytes + page->slot * POINTER_BYTES;
    if (page->bytes)
        pointer.sequence = get48(to + 6);
    pointer_put(to, &pointer);
}

static void root_store(const struct page *page, struct pointer *to)
{
    uint64_t sequence = page->bytes ? to->sequence : page->flying.sequence;
    *to = page->flying;
    to->sequence = sequence;
}

/* Where the new version stands from now on: for the checkpoint, and for the living unless the page
 * was dropped meanwhile. */
static void page_store_pointer(struct page *page)
{
    struct page *parent = page->parent;
    bool lives = page->state != PAGE_GHOST;
    if (parent == NULL) {
        root_store(page, &page->root->frozen_pointer);
        if (lives)
            root_store(page, &page->root->pointer);
        return;
    }
    slot_store(page, page_frozen_bytes(parent));
    if (lives && parent->frozen != NULL && !MUTANT(50))
        slot_store(page, parent->live);
}

static void page_version_written(struct page *page, struct page_write *write)
{
    struct page_cache *cache = page->cache;
    page_store_pointer(page);
    bool replaced = page->written;
    uint64_t old = page->place;
    page->set[cache->now ^ 1u] = false;
    page->written = true;
    page->place = page->flying.place;
    page->crc = page->flying.crc;
    if (page->state == PAGE_GHOST) {
        uint64_t place = page->place;
        page_gone(page);
        cache->freed(cache->context, place);
    } else {
        if (page->frozen != NULL)
            page_give_frame(cache, page->frozen);
        page->frozen = NULL;
        page_settle(page);
    }
    if (replaced && !MUTANT(46))
        write->replaced(write->context, old);
}

static bool write_is_over(const struct page_write *write)
{
    const struct page_set *set = &write->cache->sets[write->cache->now ^ 1u];
    return write->in_flight == 0 && (write->result != 0 || set->count == 0);
}

static void write_end(struct page_write *write)
{
    write->active = false;
    write->cache->write = NULL;
    write->done(write, write->result);
}

static void page_was_written(struct page_write *write, struct page *page, int result)
{
    struct page_cache *cache = page->cache;
    struct page_set *set = &cache->sets[cache->now ^ 1u];
    write->in_flight--;
    list_remove(&page->set_node[cache->now ^ 1u]);
    if (result == 0) {
        set->count--;
        page_version_written(page, write);
        return;
    }
    /* It stays frozen: the store has failed, and what it knew stays readable. */
    REACH(page_write_failed);
    list_push_back(&set->level[page->level], &page->set_node[cache->now ^ 1u]);
    if (write->result == 0)
        write->result = result;
}

static void batch_written(struct device_io *io, int result)
{
    struct page_batch *batch = CONTAINER_OF(io, struct page_batch, io);
    struct page_cache *cache = batch->cache;
    struct page_write *write = cache->write;
    cache->flying--;
    for (uint32_t i = 0; i < batch->count; i++)
        page_was_written(write, batch->pages[i], result);
    batch->count = 0;
    page_wake_now(cache);
    if (write_is_over(write))
        write_end(write);
}

static void batch_send(struct page_batch *batch)
{
    struct page_cache *cache = batch->cache;
    cache->flying++;
    device_submit(cache->devices, &batch->io, DISK_WRITE, batch->pages[0]->flying.place,
                  batch->count, batch->bytes, batch_written);
}

static struct page_batch *batch_free(const struct page_write *write, const struct page_batch *but)
{
    for (unsigned i = 0; i < write->depth; i++) {
        struct page_batch *batch = &write->cache->batches[i];
        if (batch->count == 0 && batch != but)
            return batch;
    }
    return NULL;
}

/* Whether the place comes right behind those of the batch, on the same device. */
static bool batch_reaches(const struct page_batch *batch, uint64_t place)
{
    if (batch->count == 0)
        return true;
    uint64_t first = batch->pages[0]->flying.place;
    return place == first + batch->count &&
           device_holds(batch->cache->devices, first, batch->count + 1);
}

/* Adds the page to the open batch, or sends that and begins another: there is one. */
static struct page_batch *batch_put(struct page_write *write, struct page_batch *batch,
                                    struct page *page)
{
    struct page_cache *cache = write->cache;
    uint64_t place = write->take(write->context);
    if (!batch_reaches(batch, place)) {
        REACH(page_batch_ends_early);
        batch_send(batch);
        batch = batch_free(write, NULL);
        assert(batch != NULL);
    }
    uint8_t *bytes = batch->bytes + (size_t)batch->count * BLOCK_BYTES;
    memcpy(bytes, page_frozen_bytes(page), BLOCK_BYTES);
    page->flying = (struct pointer){
        .kind = POINTER_RAW,
        .place = place,
        .sequence = page->bytes ? 0 : newest_in(bytes),
        .crc = crc32c(bytes, BLOCK_BYTES),
    };
    batch->pages[batch->count++] = page;
    list_push_back(&cache->sets[cache->now ^ 1u].flying, &page->set_node[cache->now ^ 1u]);
    write->in_flight++;
    cache->stats.writes++;
    return batch;
}

/* The next page whose turn it is; NULL while a level ends, or when all were sent. */
static struct page *write_next(struct page_write *write)
{
    struct page_cache *cache = write->cache;
    struct page_set *set = &cache->sets[cache->now ^ 1u];
    for (; write->level < PAGE_LEVELS; write->level++) {
        struct list *node = list_pop_front(&set->level[write->level]);
        if (node != NULL)
            return LIST_ENTRY(node, struct page, set_node[cache->now ^ 1u]);
        if (write->in_flight > 0 && !MUTANT(41))
            return NULL;
    }
    return NULL;
}

void page_write_start(struct page_cache *cache, struct page_write *write, unsigned depth)
{
    assert(cache->frozen && cache->write == NULL && depth > 0 && depth <= BATCHES);
    write->cache = cache;
    write->depth = depth;
    write->in_flight = 0;
    write->result = 0;
    write->level = 0;
    write->active = true;
    cache->write = write;
}

void page_write_turn(struct page_write *write)
{
    if (!write->active)
        return;
    struct page_batch *open = NULL;
    for (unsigned sent = 0; sent < WRITES_PER_TURN && write->result == 0; sent++) {
        /* The next place may not follow: there must be another batch for its page. */
        if (open != NULL && (open->count == BATCH_PAGES || batch_free(write, open) == NULL)) {
            batch_send(open);
            open = NULL;
        }
        if (open == NULL)
            open = batch_free(write, NULL);
        struct page *page = open != NULL ? write_next(write) : NULL;
        if (page == NULL)
            break;
        open = batch_put(write, open, page);
    }
    if (open != NULL && open->count > 0)
        batch_send(open);
    if (write_is_over(write))
        write_end(write);
}

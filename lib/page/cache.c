/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames, descriptors, who goes next and who waits.
 *
 * Eviction is by two queues, each in order of last use: cold pages came once, hot ones were asked
 * for again after a quarter of the cache had passed by. Cold pages go first while they are more
 * than a quarter, so a scan passes through without washing out what is used. Only pages that may
 * go are in a queue: a page leaves it when pinned, and its parent enters when its last child left.
 */
#include <stdlib.h>

#include "page/cache.h"

uint64_t page_key_child(const struct page *parent, unsigned slot)
{
    return (uint64_t)parent->index << 16 | slot;
}

uint64_t page_key_place(uint64_t place)
{
    return 1ull << 63 | place;
}

static uint32_t hash_of(const struct page_cache *cache, uint64_t key)
{
    /* By index and place, never by address: the order of things must not depend on it. */
    key *= 0x9e3779b97f4a7c15u;
    return (uint32_t)(key >> 32) & cache->hash_mask;
}

struct page *page_find(struct page_cache *cache, uint64_t key)
{
    struct page *page = cache->hash[hash_of(cache, key)];
    while (page != NULL && page->key != key)
        page = page->hash_next;
    return page;
}

void page_hash_add(struct page *page)
{
    struct page **bucket = &page->cache->hash[hash_of(page->cache, page->key)];
    page->hash_next = *bucket;
    *bucket = page;
}

static void hash_remove(struct page *page)
{
    struct page **link = &page->cache->hash[hash_of(page->cache, page->key)];
    while (*link != page)
        link = &(*link)->hash_next;
    *link = page->hash_next;
    page->hash_next = NULL;
}

void page_settle(struct page *page)
{
    struct page_cache *cache = page->cache;
    bool may_go = (page->state == PAGE_READY || page->state == PAGE_BROKEN) && page->pins == 0 &&
                  page->children == 0 && !page->set[0] && !page->set[1];
    if (may_go == page->queued)
        return;
    page->queued = may_go;
    if (may_go) {
        list_push_back(&cache->queue[page->hot], &page->node);
        cache->queue_count[page->hot]++;
    } else {
        list_remove(&page->node);
        cache->queue_count[page->hot]--;
    }
}

void page_attach(struct page *page, struct page_root *root, struct page *parent, unsigned slot)
{
    page->root = root;
    page->parent = parent;
    if (parent == NULL) {
        assert(root->page == NULL && root->level < PAGE_LEVELS);
        root->page = page;
        page->level = root->level;
    } else {
        assert(parent->level > 0);
        page->level = parent->level - 1;
        page->slot = (uint16_t)slot;
        page->key = page_key_child(parent, slot);
        page_hash_add(page);
        list_push_back(&parent->offspring, &page->sibling);
        parent->children++;
        page_settle(parent);
    }
    page->bytes = root->leaf_is_bytes && page->level == 0;
}

void page_detach(struct page *page)
{
    struct page *parent = page->parent;
    if (parent != NULL) {
        hash_remove(page);
        list_remove(&page->sibling);
        assert(parent->children > 0);
        parent->children--;
        page_settle(parent);
    } else if (page->root != NULL) {
        assert(page->root->page == page);
        page->root->page = NULL;
    } else if (!page->forgotten) {
        hash_remove(page);
    }
}

void page_give_frame(struct page_cache *cache, uint8_t *frame)
{
    assert(cache->frames_free_count < cache->frame_count);
    cache->frames_free[cache->frames_free_count++] = frame;
}

void page_gone(struct page *page)
{
    struct page_cache *cache = page->cache;
    assert(!page->set[0] && !page->set[1] && page->pins == 0 && page->children == 0);
    assert(list_empty(&page->waiters));
    if (page->queued) {
        list_remove(&page->node);
        cache->queue_count[page->hot]--;
        page->queued = false;
    }
    if (page->live != NULL)
        page_give_frame(cache, page->live);
    if (page->frozen != NULL)
        page_give_frame(cache, page->frozen);
    page->live = NULL;
    page->frozen = NULL;
    page->state = PAGE_FREE;
    list_push_back(&cache->pages_free, &page->node);
}

struct page *page_new(struct page_cache *cache)
{
    struct list *node = list_pop_front(&cache->pages_free);
    assert(node != NULL); /* Each page has a frame, and there are as many of both. */
    struct page *page = LIST_ENTRY(node, struct page, node);
    page->parent = NULL;
    page->root = NULL;
    page->place = 0;
    page->crc = 0;
    page->answers = 0;
    page->error = 0;
    page->written = false;
    page->hot = false;
    page->forgotten = false;
    page->note = 0;
    page->arrived = cache->stats.misses;
    return page;
}

static void evict(struct page_cache *cache)
{
    bool hot = cache->queue_count[0] <= cache->frame_count / 4 && cache->queue_count[1] > 0;
    struct list *node = list_first(&cache->queue[hot]);
    assert(node != NULL);
    struct page *page = LIST_ENTRY(node, struct page, node);
    cache->stats.evictions++;
    page_detach(page);
    page_gone(page);
}

uint8_t *page_take_frame(struct page_cache *cache)
{
    if (cache->frames_free_count == 0)
        evict(cache);
    assert(cache->frames_free_count > 0);
    return cache->frames_free[--cache->frames_free_count];
}

int page_wait(struct list *queue, struct page_waiter *waiter)
{
    if (waiter != NULL) {
        list_remove(&waiter->node);
        list_push_back(queue, &waiter->node);
    }
    return -EAGAIN;
}

void page_waiter_cancel(struct page_waiter *waiter)
{
    list_remove(&waiter->node);
}

void page_wake(struct page_cache *cache, struct page_waiter *waiter)
{
    list_remove(&waiter->node);
    list_push_back(&cache->ready, &waiter->node);
}

void page_wake_all(struct page_cache *cache, struct list *queue)
{
    list_splice_back(&cache->ready, queue);
}

static bool wake_first(struct list *queue)
{
    struct list *node = list_pop_front(queue);
    if (node == NULL)
        return false;
    struct page_waiter *waiter = LIST_ENTRY(node, struct page_waiter, node);
    waiter->wake(waiter);
    return true;
}

/* Who is patient leaves a quarter of the reservations, and all that is kept for reading; others
 * may have three quarters of that: enough for the way to one bitmap however small the cache is, or
 * a checkpoint could not take the space that it needs to clean anything. */
static bool reserve_fits(const struct page_cache *cache, uint32_t frames, bool patient)
{
    /* No checkpoint will clean anything any more: who waits asks again, and hears of it. */
    if (cache->devices->failed != 0)
        return true;
    uint32_t most = cache->reserve_max - (patient ? cache->reserve_max / 4 : 0);
    uint32_t floor = patient ? cache->floor : cache->floor / 4;
    return cache->reserved + frames <= most &&
           page_available(cache) >= cache->reserved + frames + floor;
}

/* The first in the queue of reservations could be served, besides `promised` frames. */
static struct page_waiter *reserve_next(const struct page_cache *cache, const struct list *queue,
                                        uint32_t promised)
{
    struct list *node = list_first(queue);
    if (node == NULL)
        return NULL;
    struct page_waiter *waiter = LIST_ENTRY(node, struct page_waiter, node);
    bool fits = reserve_fits(cache, promised + waiter->frames, waiter->patient);
    return fits ? waiter : NULL;
}

/* The first `most` of a queue; those who wait again meanwhile stand behind, for a later turn. */
static unsigned wake_some(struct page_cache *cache, struct list *queue, uint32_t most, bool frames)
{
    struct list some;
    list_init(&some);
    list_splice_back(&some, queue);
    unsigned woken = 0;
    while (woken < most && (!frames || page_spare(cache)) && wake_first(&some))
        woken++;
    list_splice_back(&some, queue);
    list_splice_back(queue, &some);
    return woken;
}

static uint32_t frames_spare(const struct page_cache *cache)
{
    return page_spare(cache) ? page_available(cache) - cache->reserved : 0;
}

static bool frames_wake(const struct page_cache *cache)
{
    uint32_t spare = frames_spare(cache);
    return !list_empty(&cache->frame_waiters) && spare > 0 && spare != cache->spare_in_vain;
}

/* Who wants a page pins those above it first, and may thereby take from the queues the very frame
 * that it was woken for. Then it waits for another, not for the next turn. */
static unsigned wake_for_frames(struct page_cache *cache)
{
    uint32_t spare = frames_spare(cache);
    uint64_t reads = cache->stats.reads;
    unsigned woken = wake_some(cache, &cache->frame_waiters, spare, true);
    bool vain = cache->stats.reads == reads && !list_empty(&cache->frame_waiters);
    cache->spare_in_vain = vain ? frames_spare(cache) : 0;
    return woken;
}

unsigned page_wake_now(struct page_cache *cache)
{
    if (cache->waking)
        return 0;
    cache->waking = true;
    unsigned woken = wake_some(cache, &cache->ready, WAKES_PER_TURN, false);
    woken += wake_for_frames(cache);
    uint32_t promised = 0;
    for (unsigned i = 0; i < COUNT_OF(cache->reserve_waiters); i++) {
        struct page_waiter *waiter;
        while ((waiter = reserve_next(cache, &cache->reserve_waiters[i], promised)) != NULL) {
            promised += waiter->frames;
            wake_first(&cache->reserve_waiters[i]);
            woken++;
        }
    }
    cache->waking = false;
    return woken;
}

unsigned page_turn(struct page_cache *cache)
{
    return page_wake_now(cache);
}

bool page_turn_needed(const struct page_cache *cache)
{
    return !list_empty(&cache->ready) || frames_wake(cache) ||
           reserve_next(cache, &cache->reserve_waiters[0], 0) != NULL ||
           reserve_next(cache, &cache->reserve_waiters[1], 0) != NULL;
}

static int reserve(struct page_cache *cache, unsigned frames, bool patient,
                   struct page_waiter *waiter)
{
    assert(frames <= cache->reserve_max - (patient ? cache->reserve_max / 4 : 0));
    if (cache->devices->failed != 0)
        return IOMESH_FAILED;
    if (reserve_fits(cache, frames, patient)) {
        cache->reserved += frames;
        return 0;
    }
    REACH(page_reserve_waits);
    cache->stats.waits++;
    if (waiter != NULL) {
        waiter->frames = frames;
        waiter->patient = patient;
    }
    return page_wait(&cache->reserve_waiters[patient], waiter);
}

int page_reserve(struct page_cache *cache, unsigned frames, struct page_waiter *waiter)
{
    return reserve(cache, frames, false, waiter);
}

int page_reserve_patiently(struct page_cache *cache, unsigned frames, struct page_waiter *waiter)
{
    return reserve(cache, frames, true, waiter);
}

void page_unreserve(struct page_cache *cache, unsigned frames)
{
    assert(cache->reserved >= frames);
    cache->reserved -= frames;
}

bool page_wants_checkpoint(const struct page_cache *cache)
{
    uint32_t dirty = cache->sets[cache->now].count;
    bool waits = !list_empty(&cache->reserve_waiters[0]) || !list_empty(&cache->reserve_waiters[1]);
    return dirty >= cache->frame_count / 3 || (dirty > 0 && waits);
}

uint32_t page_frame_count(const struct page_cache *cache)
{
    return cache->frame_count;
}

void page_cache_stats(const struct page_cache *cache, struct page_cache_stats *ret_stats)
{
    *ret_stats = cache->stats;
    ret_stats->frames = cache->frame_count;
    ret_stats->used = cache->frame_count - cache->frames_free_count;
    ret_stats->dirty = cache->sets[cache->now].count;
    ret_stats->frozen = cache->sets[cache->now ^ 1u].count;
    ret_stats->pinned = cache->pinned;
}

static void page_descriptor_init(struct page_cache *cache, uint32_t index)
{
    struct page *page = &cache->pages[index];
    page->cache = cache;
    page->index = index;
    list_init(&page->node);
    list_init(&page->set_node[0]);
    list_init(&page->set_node[1]);
    list_init(&page->offspring);
    list_init(&page->sibling);
    list_init(&page->waiters);
    list_push_back(&cache->pages_free, &page->node);
    cache->frames_free[index] =
        cache->arena + (size_t)(cache->frame_count - 1 - index) * BLOCK_BYTES;
}

static void page_lists_init(struct page_cache *cache)
{
    list_init(&cache->pages_free);
    list_init(&cache->ready);
    list_init(&cache->frame_waiters);
    list_init(&cache->reserve_waiters[0]);
    list_init(&cache->reserve_waiters[1]);
    list_init(&cache->dirty_roots);
    list_init(&cache->frozen_roots);
    for (unsigned i = 0; i < 2; i++) {
        list_init(&cache->queue[i]);
        list_init(&cache->sets[i].flying);
        for (unsigned level = 0; level < PAGE_LEVELS; level++)
            list_init(&cache->sets[i].level[level]);
    }
}

void page_cache_close(struct page_cache *cache)
{
    if (cache == NULL)
        return;
    free(cache->arena);
    free(cache->batch_bytes);
    free(cache->pages);
    free(cache->hash);
    free(cache->frames_free);
    free(cache);
}

int page_cache_open(const struct page_cache_options *options, struct page_cache **ret_cache)
{
    uint32_t count = options->frame_count;
    if (count < 64 || count > 1u << 30 || options->reserve_frames > count / 2)
        return FAIL(-EINVAL, "a page cache of %u frames, %u of them reserved", count,
                    options->reserve_frames);
    struct page_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return FAIL(-ENOMEM, "page cache: no memory");
    uint32_t buckets = 64;
    while (buckets < count)
        buckets *= 2;
    cache->arena = aligned_alloc(BLOCK_BYTES, (size_t)count * BLOCK_BYTES);
    cache->batch_bytes = aligned_alloc(BLOCK_BYTES, (size_t)BATCHES * BATCH_PAGES * BLOCK_BYTES);
    cache->pages = calloc(count, sizeof *cache->pages);
    cache->hash = calloc(buckets, sizeof(void *));
    cache->frames_free = calloc(count, sizeof(void *));
    if (cache->arena == NULL || cache->batch_bytes == NULL || cache->pages == NULL ||
        cache->hash == NULL || cache->frames_free == NULL) {
        page_cache_close(cache);
        return FAIL(-ENOMEM, "page cache of %u frames: no memory", count);
    }
    cache->devices = options->devices;
    cache->freed = options->freed;
    cache->context = options->context;
    cache->hash_mask = buckets - 1;
    cache->frame_count = count;
    cache->frames_free_count = count;
    cache->reserve_max = options->reserve_frames;
    cache->floor = count / 8;
    page_lists_init(cache);
    for (uint32_t i = 0; i < BATCHES; i++) {
        cache->batches[i].cache = cache;
        cache->batches[i].bytes = cache->batch_bytes + (size_t)i * BATCH_PAGES * BLOCK_BYTES;
    }
    for (uint32_t i = 0; i < count; i++)
        page_descriptor_init(cache, i);
    *ret_cache = cache;
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of page share. Nobody else's business.
 *
 *              open                         read, checked
 *   (none) ───────────▶ READING ──────────────────────────▶ READY ──▶ evicted, when clean,
 *     │                    │ broken: BROKEN answers those      │       unpinned, childless
 *     │ create             ▼ who waited, then goes             │ drop
 *     └──────────────▶ READY                                   ▼
 *                                       GHOST while its frozen version is to be written, else gone
 *
 * Two sets of changed pages, by parity: set[cache->now] is dirty, the other is frozen. A freeze
 * flips the parity and nothing else. A page may be in both: `live` and `frozen` are then two
 * frames.
 */
#ifndef PAGE_CACHE_H
#define PAGE_CACHE_H

#include "page/page.h"

#define PAGE_LEVELS 8u
/* What one turn may do: a few hundred microseconds. */
#define WAKES_PER_TURN 256u
#define WRITES_PER_TURN 64u
/* Pages that one write to the device carries, and how many such writes may be in flight. */
#define BATCH_PAGES 16u
#define BATCHES 8u

enum page_state { PAGE_FREE, PAGE_READING, PAGE_READY, PAGE_BROKEN, PAGE_GHOST };

struct page {
    struct page_cache *cache;
    struct page *parent;    /* NULL for a root and for a page by place. */
    struct page_root *root; /* Of its tree; NULL for a page by place. */
    uint8_t *live;          /* NULL for a ghost only. */
    uint8_t *frozen;        /* The frozen version, where its bytes are not those of `live`. */
    uint64_t key;           /* In the hash; unused for a root. */
    uint64_t note;          /* Of whoever owns the tree. */
    uint64_t arrived;       /* cache->stats.misses when it was read. */
    uint64_t place;         /* Of its last written version, if `written`. */
    uint32_t crc;           /* Of that version. */
    uint32_t index;         /* Its own in cache->pages. */
    uint32_t pins;
    uint32_t children; /* Pages in the cache whose parent it is; ghosts do not count. */
    uint32_t answers;  /* BROKEN: how many still wait to hear of it. */
    int error;         /* BROKEN: why. */
    uint16_t slot;     /* In its parent. */
    uint8_t level;
    uint8_t state;
    bool bytes;       /* Holds bytes, not pointers. */
    bool written;     /* Has a place. */
    bool hot;         /* Came back after a time away from attention. */
    bool queued;      /* May be evicted: in a queue. */
    bool forgotten;   /* READING: nobody wants it any more. */
    bool set[2];      /* Changed, by parity. */
    struct list node; /* Of the free list or a queue. */
    struct list set_node[2];
    struct list offspring; /* Its children in the cache, by `sibling`. */
    struct list sibling;
    struct list waiters;
    struct page *hash_next;
    struct pointer flying; /* The version that is being written. */
    struct device_io io;
};

/* Frozen pages on their way to places that follow each other, copied together. */
struct page_batch {
    struct page_cache *cache;
    uint8_t *bytes; /* BATCH_PAGES of them. */
    struct page *pages[BATCH_PAGES];
    uint32_t count; /* 0: free. */
    struct device_io io;
};

struct page_set {
    struct list level[PAGE_LEVELS];
    struct list flying;
    uint32_t count;
    uint32_t unplaced; /* Of the dirty set: without a place, now or soon. */
};

struct page_cache {
    struct device_set *devices;
    void (*freed)(void *context, uint64_t place);
    void *context;

    uint8_t *arena;
    uint8_t *batch_bytes;
    struct page_batch batches[BATCHES];
    struct page *pages;
    struct page **hash;
    uint8_t **frames_free; /* A stack. */
    uint32_t hash_mask, frame_count, frames_free_count;
    struct list pages_free;
    struct list queue[2]; /* Cold and hot pages that may be evicted, least recent first. */
    uint32_t queue_count[2];

    uint32_t reserved, reserve_max, floor;
    uint32_t spare_in_vain;    /* So many frames were there, and who wants one could use none. */
    struct list ready;         /* To be woken by the next turn. */
    struct list frame_waiters; /* Want one frame. */
    struct list reserve_waiters[2]; /* Want waiter->frames; the patient are apart. */
    bool waking;
    uint32_t pinned; /* Pages. */

    unsigned now; /* Parity of the dirty set. */
    struct page_set sets[2];
    bool frozen; /* A frozen set exists: from page_freeze() to page_thaw(). */
    struct list dirty_roots, frozen_roots;
    uint32_t dirty_root_count;
    struct page_write *write;
    uint32_t flying; /* Reads and writes under way. */

    struct page_cache_stats stats;
};

static inline bool page_is_dirty(const struct page *page)
{
    return page->set[page->cache->now];
}

/* Its version at the freeze is still to be written. */
static inline bool page_is_frozen(const struct page *page)
{
    return page->set[page->cache->now ^ 1u];
}

static inline uint8_t *page_frozen_bytes(const struct page *page)
{
    assert(page_is_frozen(page));
    return page->frozen != NULL ? page->frozen : page->live;
}

/* Frames that may be had now. */
static inline uint32_t page_available(const struct page_cache *cache)
{
    return cache->frames_free_count + cache->queue_count[0] + cache->queue_count[1];
}

/* One more may be taken without touching what is reserved. */
static inline bool page_spare(const struct page_cache *cache)
{
    return page_available(cache) > cache->reserved;
}

static inline void page_hold(struct page *page)
{
    page->cache->pinned += page->pins++ == 0;
}

static inline void page_let_go(struct page *page)
{
    assert(page->pins > 0);
    page->cache->pinned -= --page->pins == 0;
}

/* --- cache.c: frames, descriptors, queues, waiting -------------------------------------------- */

/* Puts a page into its queue or takes it out, by what is true of it now. */
void page_settle(struct page *page);
/* A frame, by eviction if need be. There is one: the caller asked page_spare() or has reserved. */
uint8_t *page_take_frame(struct page_cache *cache);
void page_give_frame(struct page_cache *cache, uint8_t *frame);
/* A descriptor without a place in any tree. */
struct page *page_new(struct page_cache *cache);
/* Out of its tree (hash, parent, root). */
void page_detach(struct page *page);
/* Detached, in no set: frames and descriptor go back. */
void page_gone(struct page *page);
/* Joins a tree: as a child, or as the page of a root (parent NULL). */
void page_attach(struct page *page, struct page_root *root, struct page *parent, unsigned slot);
struct page *page_find(struct page_cache *cache, uint64_t key);
void page_hash_add(struct page *page);
uint64_t page_key_child(const struct page *parent, unsigned slot);
uint64_t page_key_place(uint64_t place);

/* Queues a waiter, if there is one, and answers -EAGAIN. */
int page_wait(struct list *queue, struct page_waiter *waiter);
/* Everybody in `queue` will be woken. */
void page_wake_all(struct page_cache *cache, struct list *queue);
unsigned page_wake_now(struct page_cache *cache);

#endif

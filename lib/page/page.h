/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page: one bounded cache for every page of a store.
 *
 * Owns the frames (4 KiB each), which pages are in them, and which of those are
 * dirty. A page sits in a tree: its pointer is in a slot of its parent, or in a
 * page_root. Trees (maps and directories; the free map and its index) are
 * radix trees of fixed slots; the B+tree of segments keeps read-only pages here too.
 *
 * Promises:
 *  - what is read is checked against the CRC in the pointer that led to it;
 *  - a page in the cache keeps its ancestors in the cache;
 *  - dirtying a page dirties its ancestors at once, so a frozen set is closed
 *    upwards; page_freeze() is O(1) in I/O and touches no page's bytes;
 *  - a frozen page that must change is cloned first: the frozen bytes are what was
 *    true at the freeze, the live bytes go on;
 *  - page_change() cannot fail: what it may need was reserved by page_reserve().
 *
 * Nothing here allocates after page_cache_open().
 */
#ifndef PAGE_PAGE_H
#define PAGE_PAGE_H

#include "device/device.h"
#include "format/pointer.h"

struct page_cache;
struct page;

/* Somebody who waits for a page to arrive or a frame to come free. Woken once, from a completion
 * or a turn, never inside the call; tries again then (and may have to wait again). */
struct page_waiter {
    struct list node; /* list_init() it once. */
    void (*wake)(struct page_waiter *waiter);
    /* page's: what it wants, while it waits for a reservation. */
    unsigned frames;
    bool patient;
};

/* Where a tree begins: in a segment, or in the superblock. Zero it, set `pointer`. */
struct page_root {
    struct pointer pointer; /* Where the last written version is, hole or zero if there is none. */
    struct page *page;      /* The root page while it is in the cache. */
    uint8_t level;          /* Of the root page: leaves are level 0. */
    bool leaf_is_bytes;     /* Leaves hold bytes (bitmaps, records), not pointers. */
    bool dirty;             /* The root page is dirty, or `pointer` changed in memory. */
    /* Set by page_write() when the frozen root was written; the owner stores it, e.g. in the
     * segment table of the same checkpoint. */
    struct pointer frozen_pointer;
    bool frozen;             /* Was dirty when the set froze: frozen_pointer counts. */
    uint32_t dirty_pages;    /* Of its tree, dirty now. */
    void *owner;             /* The owner's. */
    struct list frozen_node; /* In the cache's list of frozen roots, in the order of dirtying. */
    struct list dirty_node;  /* page's. */
};

struct page_cache_options {
    struct device_set *devices;
    uint32_t frame_count; /* At least 64. */
    /* The most that page_reserve() may hold at once: half of frame_count at most, and enough for
     * all who hold one while they wait for something else. */
    uint32_t reserve_frames;
    /* A written page left the live tree by page_drop(). The current checkpoint still needs it
     * (replay may read it): it is free once the next checkpoint, frozen later, is durable. */
    void (*freed)(void *context, uint64_t place);
    void *context;
};

int page_cache_open(const struct page_cache_options *options, struct page_cache **ret_cache);
/* Nothing is under way, or will never complete. */
void page_cache_close(struct page_cache *cache);

/* Once per engine turn, after completions: wakes those who wait. Returns how many it woke. */
unsigned page_turn(struct page_cache *cache);
/* Somebody can be woken now: the engine turns again before it sleeps. */
bool page_turn_needed(const struct page_cache *cache);
/* Wakes a waiter from the next page_turn(): for rooms above, which wait with the same struct. */
void page_wake(struct page_cache *cache, struct page_waiter *waiter);

/* --- Reading ------------------------------------------------------------------------------- */

/*
 * The page that a root, or a slot of a pinned page, leads to; pinned on 0.
 *   -EAGAIN         being read, or no frame is free: `waiter` is woken later
 *   -ENOENT         no page there: the slot is a hole, or zeros (ask page_slot())
 *   IOMESH_CORRUPT  what was read does not match its CRC, or is not a pointer page
 *   -EIO            the read failed;  IOMESH_FAILED  the store has
 */
int page_open_root(struct page_cache *cache, struct page_root *root, struct page_waiter *waiter,
                   struct page **ret_page);
int page_open(struct page_cache *cache, struct page *parent, unsigned slot,
              struct page_waiter *waiter, struct page **ret_page);
/* The page of bytes that `pointer` leads to, outside any tree and never changed: for the table of
 * segments. No -ENOENT. */
int page_open_place(struct page_cache *cache, const struct pointer *pointer,
                    struct page_waiter *waiter, struct page **ret_page);
/* What page_open_place() read there is no longer true; it is not pinned. */
void page_forget_place(struct page_cache *cache, uint64_t place);
void page_unpin(struct page *page);
void page_pin(struct page *page);
uint32_t page_pins(const struct page *page);
/* Pages in the cache whose parent it is. */
uint32_t page_children(const struct page *page);
/* The page of a slot, or of a root, if it is in the cache and good; else NULL. Not pinned. */
struct page *page_cached(struct page *parent, unsigned slot);
struct page *page_cached_root(const struct page_root *root);
/* The last written version of a page: a hole if there is none. Its sequence is not filled in. */
struct pointer page_pointer(const struct page *page);
/* Dirty, or not written yet as it was at the freeze: what its pointer says of sequences is old. */
bool page_changed(const struct page *page);
/* Its version at the freeze is still to be written. */
bool page_frozen(const struct page *page);
/* What its owner keeps in mind about a page while it is in memory; 0 at first. */
uint64_t page_note(const struct page *page);
void page_set_note(struct page *page, uint64_t note);
/* Lets a clean, unpinned tree leave the cache, so that its root may go. 0; -EBUSY: something is
 * pinned or dirty; -EAGAIN: a page is being read, woken later. */
int page_release_root(struct page_cache *cache, struct page_root *root, struct page_waiter *waiter);
/* Takes a waiter out of whatever queue it is in. */
void page_waiter_cancel(struct page_waiter *waiter);

/* The live bytes. Valid while pinned and until the next page_change(). */
const uint8_t *page_bytes(const struct page *page);
/* A slot of a page of pointers; pages were checked when they were read. */
struct pointer page_slot(const struct page *page, unsigned slot);

/* --- Changing ------------------------------------------------------------------------------ */

/* Promise `frames` clones or new pages to come, all in one instant (after a freeze a page may need
 * another clone). 0; -EAGAIN: woken later; IOMESH_FAILED. Give back with page_unreserve(), the same
 * number, when the change is done. */
int page_reserve(struct page_cache *cache, unsigned frames, struct page_waiter *waiter);
/* The same, but a part stays for others: for those who may hold it while they wait for somebody
 * that needs a reservation too, as a write waits for the journal and that for a checkpoint. */
int page_reserve_patiently(struct page_cache *cache, unsigned frames, struct page_waiter *waiter);
void page_unreserve(struct page_cache *cache, unsigned frames);

/* Make the page and its ancestors dirty; the live bytes to write to. Needs a reservation of one
 * frame for each level up to the root. Mind: setting a slot of a page of pointers whose child is
 * in the cache is wrong; drop the child first. */
uint8_t *page_change(struct page *page);
void page_set_slot(struct page *page, unsigned slot, const struct pointer *pointer);
/* What a root without a page in the cache says for all that is beneath it. A version that its old
 * pointer led to is the caller's to free. */
void page_set_root(struct page_cache *cache, struct page_root *root, const struct pointer *pointer);
/* For pages of bytes: the sequence of their pointer is the owner's to use (the free map keeps its
 * summary there). Changes it in the parent's slot; page_write leaves it as it is then. */
void page_annotate(struct page *page, uint64_t sequence);

/* A new page under a slot (or root) that holds no page: pinned, dirty, every pointer in it `fill`
 * (all bytes zero if NULL). */
struct page *page_create(struct page_cache *cache, struct page *parent, unsigned slot,
                         const struct pointer *fill);
struct page *page_create_root(struct page_cache *cache, struct page_root *root,
                              const struct pointer *fill);

/* The same, as a copy of another page as it is now. */
struct page *page_copy_root(struct page_cache *cache, struct page_root *root,
                            const struct page *from);
/*
 * Give the written version of a page away: its pointer, the caller's from now on. The page itself,
 * pinned, not a root and not changed since it was written, stays where it is, dirty and as if it
 * had never been written. Needs a reservation as page_change() does.
 */
struct pointer page_disown(struct page *page);
/* What one root leads to becomes another's, that has nothing; a hole is left. In the cache or not,
 * pinned or not, but not frozen (page_frozen()); of one page, without children. */
void page_move_root(struct page_cache *cache, struct page_root *from, struct page_root *to);

/*
 * Take a page, pinned once by the caller and without children in the cache, out of its tree: its
 * slot (or root) becomes `instead`, the pin is gone. Its last written version is reported to
 * options.freed: at once, or, if a frozen version is still to be written, when that is.
 */
void page_drop(struct page *page, const struct pointer *instead);

/*
 * Give up the page of a slot, or of a root, that cannot be read: its slot becomes `instead`, and
 * its written version is reported to options.freed. 0; -EAGAIN: somebody reads it, woken later;
 * -EBUSY: there is none, or it is in memory and good. Needs a reservation as page_change() does.
 */
int page_abandon(struct page *parent, unsigned slot, const struct pointer *instead,
                 struct page_waiter *waiter);
int page_abandon_root(struct page_cache *cache, struct page_root *root,
                      const struct pointer *instead, struct page_waiter *waiter);

/* --- Checkpoint ---------------------------------------------------------------------------- */

/* Pages dirty now, ancestors included: the most that a freeze would have to write. */
uint32_t page_dirty_count(const struct page_cache *cache);
/* Those of them that were never written and are not about to be: they will take a place, and give
 * none back. */
uint32_t page_unplaced_count(const struct page_cache *cache);
uint32_t page_frame_count(const struct page_cache *cache);
/* Roots dirty now. */
uint32_t page_dirty_roots(const struct page_cache *cache);
/* A third of the frames is dirty, or a reservation waits for frames that are. */
bool page_wants_checkpoint(const struct page_cache *cache);

/* Everything dirty becomes the frozen set, in one instant. Not while a frozen set exists. */
void page_freeze(struct page_cache *cache);
/* The roots that were dirty at the freeze. */
struct list *page_frozen_roots(struct page_cache *cache);

struct page_write {
    /* A new place for one page: from the run that the checkpoint reserved; cannot fail. */
    uint64_t (*take)(void *context);
    /* The version at `place` is replaced once this checkpoint is durable. */
    void (*replaced)(void *context, uint64_t place);
    void *context;
    void (*done)(struct page_write *write, int result);
    /* From here on page's own. */
    struct page_cache *cache;
    unsigned depth, in_flight;
    int result;
    uint8_t level;
    bool active;
};

/*
 * Write the frozen set, leaves first, `depth` (at most 8) writes of up to 16 pages in flight, at
 * most a few hundred microseconds of work per turn: page_write_turn() is called once per engine
 * turn while it is active.
 * Each written page's new pointer goes into the frozen and the live bytes of its parent, or into
 * root->frozen_pointer and, unless the root was replaced since, root->pointer. The sequence of a
 * written page's pointer is the newest in its slots; that of a page of bytes stays as annotated.
 */
void page_write_start(struct page_cache *cache, struct page_write *write, unsigned depth);
void page_write_turn(struct page_write *write);
/* The frozen set is on its way to history: clones are let go, clean frames may be evicted. */
void page_thaw(struct page_cache *cache);

struct page_cache_stats {
    uint64_t hits, misses, evictions, reads, writes, clones, waits;
    uint32_t frames, used, dirty, frozen, pinned;
};
void page_cache_stats(const struct page_cache *cache, struct page_cache_stats *ret_stats);

#endif

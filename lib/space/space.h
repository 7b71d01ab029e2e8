/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space: which blocks of a store are free, exactly, and when they may be used again.
 *
 * Owns the free map: a bitmap (1 = in use), one page per region of 32,768 blocks (128 MiB), under
 * three levels of index pages (256 regions to the lowest) whose slot for region r is {place, crc:
 * of its bitmap page; kind; sequence: free blocks of the region | prepared << 32}. Kind HOLE: the
 * region is all free and never was prepared; RAW: see the bitmap, in which what lies beyond the end
 * of the device is in use. A summary of four bytes (free count, prepared, device) is the only RAM
 * per region; bitmap pages are paged through `page`, and each slot is kept up with its bitmap.
 *
 * A freed block is not free at once: it waits in quarantine, its bit still set,
 *   - a data block until the batch that freed it is durable and no read that began before is
 *     under way;
 *   - a page until the checkpoint that no longer needs it is durable.
 * The live bitmap is exactly: reachable, or in quarantine, or reserved (taken, not yet linked). A
 * checkpoint's bitmap is the live one at the freeze; the same checkpoint carries the *deferred
 * list*: every place in quarantine or reserved at the freeze, what the checkpoint itself replaced,
 * and what was left of the run that it took for its pages. So checkpoint = bitmap minus deferred
 * list, exactly, and no page has to be written because another was. A reopened store begins with
 * the deferred list in quarantine, with nothing to wait for.
 *
 * Space is given next-fit per class from a current region whose bitmap is in memory (who asks for
 * many blocks at once gets a long run from elsewhere while there is one: runs.c); the next
 * region is fetched, and prepared (DISK_ZERO of its free runs, in pieces of 256 KiB, few at a
 * time so that foreground writes do not stall), before the current one runs out; while nobody
 * takes, up to 1 GiB ahead, or as much as is in use (not if free space is given back below). Of a
 * region that is being prepared, what lies before the piece in flight can be had already.
 *
 * At any instant:  total = free + the reserve's share + used + reserved + quarantine.
 */
#ifndef SPACE_SPACE_H
#define SPACE_SPACE_H

#include "page/page.h"

#define REGION_BLOCKS 32768u
/* Level of the index's root page; bitmaps are level 0. */
#define SPACE_INDEX_LEVEL 3u

struct space;

struct extent {
    uint64_t place;
    uint32_t blocks;
};

/* Who asks decides how deep it may dip. */
enum space_purpose {
    SPACE_NEW,       /* New user data: leaves the reserve alone. */
    SPACE_OVERWRITE, /* Replaces as much as it takes: may have half of the reserve. */
    SPACE_PAGES,     /* A checkpoint: to the last block. */
};

struct space_options {
    struct page_cache *cache;
    struct device_set *devices;
    struct clock *clock;
    struct pointer index; /* Root of the free map's index, from the superblock; hole: all free. */
    uint64_t deferred_place; /* First page of the deferred list; 0: none. */
    uint32_t deferred_crc;
    uint64_t reserve_blocks; /* Recorded at init. */
    uint32_t quarantine_max; /* Entries (blocks) that may wait at once, pages apart. */
    bool discard;            /* Give freed runs back to the device (prepare again before reuse). */
    /* Freed blocks wait for a flush: the store should flush soon. Called from within the calls
     * below: take a note, no more. */
    void (*want_flush)(void *context);
    void *context;
    /* Page versions wait for a checkpoint, and somebody waits for them. NULL: what only the next
     * checkpoint frees does not count as coming free. As above. */
    void (*want_checkpoint)(void *context);
    /* How many pages the next checkpoint may write besides those that are dirty now and the free
     * map's own: so much is kept back that it finds space for all of them, whatever the reserve.
     * NULL: the reserve alone is kept back. */
    uint32_t (*pages_to_come)(void *context);
};

int space_open(const struct space_options *options, struct space **ret_space);
/* Before the page cache is closed. What space_idle() speaks of must have ended, or never will. */
void space_close(struct space *space);
/* Recovery is over: from now on what is free is prepared when nobody takes. The first take that is
 * not for pages says so too. */
void space_begin(struct space *space);
/* Nothing is prepared or given back to a device from now on. */
void space_stop(struct space *space);
/* No request to a device is under way. */
bool space_idle(const struct space *space);

/* Loads the summaries and the deferred list. Asynchronous: `done` once, never inside the call. A
 * deferred list or index page that fails its CRC is IOMESH_CORRUPT. */
void space_load_start(struct space *space, void (*done)(void *context, int result), void *context);

/* A fresh store: nothing is in use but what is marked. Instead of a load. */
void space_format(struct space *space);

/* --- Taking ------------------------------------------------------------------------------ */

/*
 * One run of 1 .. blocks_max free blocks of the class, or of another if that has none (to slower
 * ones first), within one region. 0; -EAGAIN: waiter woken when it may go on (a region is being
 * fetched or prepared, quarantined blocks will come free, or 8,192 extents are reserved; first
 * come, first woken); -ENOSPC: not
 * for this purpose, even when all that waits has come free; IOMESH_FAILED.
 * The blocks are then reserved: link them into the tree and say space_link(), or
 * space_give_back().
 */
int space_take(struct space *space, enum device_class class, enum space_purpose purpose,
               uint32_t blocks_max, struct page_waiter *waiter, struct extent *ret_extent);
/* Just this extent, as it was taken, is in the tree now: no longer reserved. In the same instant as
 * the pointers move, so that a freeze sees both or none. */
void space_link(struct space *space, struct extent extent);
/* Taken, never linked, nothing durable shows it: free again. */
void space_give_back(struct space *space, struct extent extent);
/* How many blocks SPACE_NEW may still have, what waits in quarantine included: to answer ENOSPC
 * before sending. What a checkpoint took and may give back counts while it runs. */
uint64_t space_new_room(const struct space *space);
/* Of these, those that are had without any checkpoint, whatever is under way: what may be promised.
 * `ret_later`: how many more a checkpoint would give. */
uint64_t space_credit(const struct space *space, uint64_t *ret_later);
/* Whether a take would have to wait for blocks to come free. Who has some already uses those. */
bool space_take_would_wait(const struct space *space, enum space_purpose purpose);
/* Whether the next checkpoint finds the space that it takes, if `to_come` (see above) is what it
 * was asked to be. If not, a checkpoint under way, or the next, will change that. */
bool space_admits(const struct space *space, uint32_t to_come);
/* A change that takes no blocks for data may make so many pages. False: then new data has taken all
 * there is. */
bool space_promise_pages(struct space *space, uint32_t pages);
void space_unpromise_pages(struct space *space, uint32_t pages);

/* --- Freeing ----------------------------------------------------------------------------- */

/* Room in quarantine for `blocks` to come: 0, IOMESH_FAILED, or -EAGAIN (woken after the next
 * flush). */
int space_quarantine_reserve(struct space *space, uint32_t blocks, struct page_waiter *waiter);
void space_quarantine_unreserve(struct space *space, uint32_t blocks);
/* It would not have to wait. */
bool space_quarantine_fits(const struct space *space, uint32_t blocks);
/* Data blocks that batch `batch` freed. Uses up a reservation of as many. */
void space_free(struct space *space, struct extent extent, uint64_t batch);
/* A page version that the next checkpoint to freeze will no longer need; or a data block for which
 * there is no room in quarantine, freed by a record that is being applied. */
void space_free_page(struct space *space, uint64_t place);
/* Every batch up to this one is durable. */
void space_durable(struct space *space, uint64_t batch);

/* A read that looks up pointers and then reads blocks stands between these two. */
uint64_t space_read_enter(struct space *space);
void space_read_leave(struct space *space, uint64_t ticket);

/* --- Recovery: asynchronous, in journal order -------------------------------------------- */

/* Make [place, blocks) used (used already: fine) or free (free already: fine) at once. 0, -EAGAIN,
 * or why the map cannot be read. Not once space_take() was called but for pages. */
int space_mark(struct space *space, struct extent extent, bool used, struct page_waiter *waiter);

/*
 * Replay will mark these blocks, or may: a checkpoint that has to be taken before it ends must not
 * write its pages there. Say so for every record before the first mark, and say when it is over.
 */
void space_avoid(struct space *space, struct extent extent);
void space_avoid_over(struct space *space);

/* --- Checkpoint -------------------------------------------------------------------------- */

/* Pages of the deferred list that a freeze now would write, at most; those of the free map are
 * counted by page_dirty_count(). Ask again after space_checkpoint_reserve(): it dirties some. */
uint32_t space_checkpoint_pages_max(const struct space *space);
/* Take `blocks` more for the pages of a checkpoint (several runs if need be). 0; -EAGAIN: call
 * again with what is then needed, what it took meanwhile counts; -ENOSPC (a bug if the reserve was
 * kept). */
int space_checkpoint_reserve(struct space *space, uint32_t blocks, struct page_waiter *waiter);
/* In the same instant as page_freeze(), and as the reserve that covers it. */
void space_freeze(struct space *space);
/* One block of the reserved run; `replaced` notes a version that this checkpoint ends. These two
 * are the take/replaced of page_write and tree_checkpoint. context: the space. */
uint64_t space_checkpoint_take(void *space);
void space_checkpoint_replaced(void *space, uint64_t place);
/* After everything else of the checkpoint is written: write the deferred list. */
struct space_deferred {
    void (*done)(struct space_deferred *deferred, int result);
    uint64_t place; /* Result: first page, 0 if the list is empty; and its CRC. */
    uint32_t crc;
    void *private;
};
void space_deferred_write(struct space *space, struct space_deferred *deferred);
/* The superblock of this checkpoint is durable, or may not be: then everything stays in quarantine
 * until a later one is. */
void space_checkpoint_done(struct space *space, bool durable);
struct page_root *space_index_root(struct space *space);

/* --- Turning ----------------------------------------------------------------------------- */

/* Once per engine turn: releases what may be released, prepares, wakes waiters. */
void space_turn(struct space *space);

struct space_stats {
    uint64_t total_blocks; /* Over all devices. */
    uint64_t free_blocks;  /* May be taken now; without the reserve. */
    uint64_t
        reserve_blocks;   /* Free blocks that are kept back: the whole reserve, or what is left. */
    uint64_t used_blocks; /* Reachable: data and pages and fixed areas. */
    uint64_t quarantine_blocks; /* Data and pages that wait. */
    uint64_t
        reserved_blocks;  /* Taken, not linked yet; with what a checkpoint holds for its pages. */
    uint64_t lost_blocks; /* Part of `used`: free, but the map that says where cannot be read. */
    uint64_t prepared_bytes; /* Zero-filled ahead since open. */
    uint64_t discarded_bytes;
    uint64_t regions, regions_prepared;
    uint64_t waits; /* Takes that had to wait. */
};
void space_stats(const struct space *space, struct space_stats *ret_stats);
/* For check: a page of the deferred list that the store was opened with. */
bool space_is_deferred_page(const struct space *space, uint64_t place);
/* For check: whether a block is in use: reachable, or should be. What a reopened store still has in
 * quarantine is not. 0: *ret_used; -EAGAIN, errors. */
int space_probe(struct space *space, uint64_t place, struct page_waiter *waiter, bool *ret_used);

#endif

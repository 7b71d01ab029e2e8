/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of space/ share.
 *
 *   taken ──▶ reserved ──link──▶ (in the tree) ──free──▶ quarantine ring ──durable, unread──┐
 *     ▲          └──give back──▶ returned ──────────────────────────────────────────────────┤
 *     │        a page ──free_page──▶ pages_live ──freeze──▶ pages_frozen ──done──▶ pages_done ┤
 *     │                                                                                      ▼
 *     └────────────────────── free ◀── bits cleared, region by region ◀── release batch ◀────┘
 */
#ifndef SPACE_INTERNAL_H
#define SPACE_INTERNAL_H

#include "space/bitmap.h"
#include "space/extents.h"
#include "space/space.h"

/* A change of a bitmap may clone it and every page above it. */
#define SPACE_CHANGE_FRAMES (SPACE_INDEX_LEVEL + 1)
#define SPACE_REGION_NONE UINT32_MAX
/* Reads are told apart by the turn in which they began; at most so many turns. */
#define SPACE_READ_EPOCHS 256u
/* Extents of one release batch taken from the ring, and bitmaps being fetched for it. */
#define SPACE_RELEASE_BATCH 8192u
#define SPACE_RELEASE_SLOTS 16u
/* Extents released per turn. */
#define SPACE_RELEASE_WORK 512u
/* One piece of preparing, and how many fly at once. What zeros cost others is the bandwidth they
 * take, whatever the piece; but a small request that meets a piece at the device waits for it
 * (measured beside 4 KiB writes: p99 0.6 ms with pieces of 256 KiB, 1.0 with 1 MiB, 2.4 with 4). */
#define SPACE_PIECE_BLOCKS 64u
#define SPACE_PIECES 8u
/* Prepared and free: below the first, prepare with all pieces; below the second, with one; and when
 * nobody takes, with two up to the third, or as much as is in use. */
#define SPACE_AHEAD_LOW (REGION_BLOCKS / 2)
#define SPACE_AHEAD_BUSY (2 * REGION_BLOCKS)
#define SPACE_AHEAD_IDLE (8 * REGION_BLOCKS)
#define SPACE_IDLE_NS (50 * NS_PER_MS)
/* How long the space below may stay full before it is tried again. */
#define SPACE_FULL_NS NS_PER_S
/* Chunks that came free and may be given back, and how often one request of at most so many. */
#define SPACE_CHUNK_BLOCKS 256u
#define SPACE_CHUNKS_MAX 4096u
#define SPACE_DISCARD_BLOCKS (64 * SPACE_CHUNK_BLOCKS)
#define SPACE_DISCARD_NS NS_PER_MS
/* Chunks put off per turn because blocks are being given out where they lie. */
#define SPACE_DISCARD_LOOK 64u
/* Extents taken and not linked; the table that finds them is half empty at least. */
#define SPACE_RESERVED_MAX 8192u
#define RESERVED_SLOTS (2 * SPACE_RESERVED_MAX)

/* A summary: free blocks in the low 16 bits, flags, index of the device in the high 8. */
#define SUMMARY_PREPARED (1u << 16)
#define SUMMARY_BAD (1u << 17)
/* Two bits: how long its longest free run may be (runs.c). */
#define SUMMARY_RUNS_SHIFT 18
#define SUMMARY_NO_DEVICE 0xffu

/* A region being fetched for somebody. */
struct region_fetch {
    struct page_waiter waiter;
    struct space *space;
    uint32_t region;   /* SPACE_REGION_NONE: idle. */
    struct page *page; /* Pinned once it is here. */
    bool waiting;
};

struct space_class;

struct space_piece {
    struct device_io io;
    struct space_class *class;
    uint32_t start, blocks; /* In the region that is being prepared. */
    bool flying;
};

/* One region of a class at a time is prepared. */
struct space_prepare {
    struct region_fetch fetch;
    uint32_t position; /* The next to be zeroed. */
    struct space_piece pieces[SPACE_PIECES];
    bool none;  /* There was nothing to prepare when last looked. */
    bool full;  /* No space below; tried again when the timer fires. */
    bool tight; /* Since then no region was prepared whole: what is prepared is all there is. */
    struct timer full_timer;
};

/* Where takes of many blocks look for long runs. */
struct space_runs {
    struct region_fetch fetch;
    uint32_t position;
    unsigned level;     /* The shortest run that is taken from this region. */
    unsigned level_max; /* Of all regions; not below the truth. */
};

struct space_class {
    struct space *space;
    unsigned number;
    uint64_t free;          /* Clear bits. */
    uint64_t prepared_free; /* Of regions that may be given out. */
    uint32_t regions, regions_ready;
    struct region_fetch current;
    uint32_t position;
    struct region_fetch next;
    struct space_runs runs;
    struct space_prepare prepare;
    bool starved; /* Somebody waits for a piece. */
};

struct space_waiting {
    uint64_t packed;
    uint64_t batch;
    uint64_t stamp; /* Read epoch when it was freed. */
};

/* Open addressing, linear probing; 0 is empty (nobody takes block 0 of a store). */
struct space_reserved {
    uint64_t *items;
    size_t count;
    uint64_t blocks;
};

struct release_slot {
    struct region_fetch fetch;
    size_t from, to; /* Of the batch. */
};

/* A bit of a packed extent that no extent within one region needs: it was released. */
#define RELEASED (1ull << 27)

/* What may be released, sorted. */
struct space_release {
    struct extents batch;
    size_t next; /* First that no slot has. */
    size_t left; /* Not released yet. */
    /* Of regions whose map cannot be read now: named by every deferred list, so that an open that
     * can read it has them. */
    struct extents lost;
    bool loaded; /* From a deferred list: bits may be clear already. */
    struct release_slot slots[SPACE_RELEASE_SLOTS];
};

struct space_checkpoint {
    struct extents run; /* What is left of it, in the order in which it is given. */
    size_t run_next;
    uint64_t run_left; /* Blocks. */
    uint64_t taken;    /* Blocks. */
    uint64_t promised; /* Blocks asked for and had so far. */
    bool frozen;
    uint64_t leaves;      /* Since the freeze: blocks that it will have given back, at least. */
    struct extents list;  /* For the deferred list. */
    struct extents pages; /* The deferred list's own pages. */
    uint8_t *bytes;
    struct device_io io;
    struct space_deferred *deferred; /* Being written. */
    size_t page_next;                /* Of `pages`: the one after the one being written. */
    uint32_t crc;                    /* Of that one. */
    struct page_waiter waiter;       /* To say that there was nothing to write. */
};

struct space_load {
    struct page_waiter waiter;
    void (*done)(void *context, int result);
    void *context;
    uint32_t region; /* First of the index page that is looked at. */
    uint64_t place;  /* Of the page of the deferred list that is read. */
    uint32_t crc;
    uint64_t last_end;
};

struct space_discard {
    struct region_fetch fetch;
    uint64_t chunks[SPACE_CHUNKS_MAX]; /* Places; a ring. */
    uint32_t head, count;
    struct device_io io;
    bool flying;
    struct timer timer; /* The next may go. */
};

struct space {
    struct space_options options;
    struct page_cache *cache;
    struct page_root root;
    uint32_t *regions;
    uint32_t region_count, regions_prepared;
    uint64_t map_pages; /* Bitmaps and index pages that there are or may be. */
    uint64_t reserve;   /* Blocks; not less than changing one thing after another needs. */
    uint64_t promised_pages;
    uint64_t total;
    uint64_t free;    /* Clear bits of regions that can be read. */
    uint64_t waiting; /* Quarantined blocks, wherever they wait. */
    uint64_t lost;
    struct space_class classes[DEVICE_CLASSES];
    struct list waiters; /* For a take, a page run, or room in quarantine. */
    bool loaded;
    bool progress;  /* Waiters may try again. */
    bool started;   /* Recovery is over: preparing may begin. */
    bool taken;     /* Somebody wants blocks: preparing need not wait until it is idle. */
    bool releasing; /* The same for release. */
    /* Checkpoints that ended since something was last taken or freed: what a checkpoint frees it
     * may also use up, so two of them without gain are the truth. */
    uint8_t barren;
    bool stopped;
    bool failed_seen;

    struct space_reserved reserved;

    struct space_waiting *ring;
    uint32_t ring_head, ring_count;
    uint32_t ring_blocks, ring_reserved;
    uint64_t durable;
    uint64_t freed_since; /* Blocks, since then too. */
    bool flush_wanted;    /* Since the last space_durable(). */
    bool short_waits;     /* Somebody waits for a lower floor, or for what others have taken. */
    struct extents returned, pages_live, pages_frozen, pages_done;
    uint64_t pages_stamp;
    uint64_t epoch, epoch_oldest;
    bool epoch_used; /* Something was stamped with the current epoch. */
    uint32_t readers[SPACE_READ_EPOCHS];
    struct space_release release;

    struct space_checkpoint checkpoint;
    struct extents deferred_pages; /* Of the last durable checkpoint. */
    struct space_load load;
    struct space_discard discard;
    struct extents scratch;
    struct extents avoid; /* What replay may mark; sorted and apart once `avoid_sorted`. */
    bool avoid_sorted;
    struct timer again; /* More to do: turn before you sleep. */
    struct timer idle;
    uint64_t takes, takes_seen;
    bool idle_now; /* Nobody took for a while. */
    uint64_t prepared_bytes, discarded_bytes, waits;
};

/* --- region.c ---------------------------------------------------------------------------- */

static inline uint32_t space_region_of(uint64_t place)
{
    return (uint32_t)(place / REGION_BLOCKS);
}
static inline uint32_t space_region_free(const struct space *space, uint32_t region)
{
    return space->regions[region] & 0xffffu;
}
/* Blocks of the region that its device has; 0 if no device does. */
uint32_t space_region_blocks(const struct space *space, uint32_t region);
struct device *space_region_device(const struct space *space, uint32_t region);
/* NULL for a region of no device. */
struct space_class *space_region_class(struct space *space, uint32_t region);
/* Its free blocks may be given out. */
bool space_region_ready(const struct space *space, uint32_t region);
/* Takes a summary into account, and all of the sums; only for one that was not yet. */
void space_region_enter(struct space *space, uint32_t region, uint32_t free, bool prepared);
/* Its map cannot be read: nothing of it is given out any more. */
void space_region_lose(struct space *space, uint32_t region);

/* The index page over a region, pinned: 0, -ENOENT, -EAGAIN, errors. */
int space_index_open(struct space *space, uint32_t region, struct page_waiter *waiter,
                     struct page **ret_page);
/* The bitmap, pinned; made if there was none. 0, -EAGAIN, errors. */
int space_region_open(struct space *space, uint32_t region, struct page_waiter *waiter,
                      struct page **ret_page);
/* Change bits of a pinned bitmap, its summary and its slot. How many changed, or -EAGAIN. */
int space_region_change(struct space *space, uint32_t region, struct page *page, uint32_t from,
                        uint32_t count, bool used, struct page_waiter *waiter);
/* The bitmap, pinned, as it is: -ENOENT if there is none. */
int space_region_peek(struct space *space, uint32_t region, struct page_waiter *waiter,
                      struct page **ret_page);
/* Set or clear the prepared flag: 0, or -EAGAIN. */
int space_region_prepared(struct space *space, uint32_t region, struct page *page, bool prepared,
                          struct page_waiter *waiter);

void space_fetch_init(struct region_fetch *fetch, struct space *space);
/* Begin; then poll. */
void space_fetch_begin(struct region_fetch *fetch, uint32_t region);
/* 0: fetch->page; -EAGAIN: a later turn; an error: the region is lost, the fetch idle. */
int space_fetch_poll(struct region_fetch *fetch);
void space_fetch_end(struct region_fetch *fetch);

/* --- reserved.c -------------------------------------------------------------------------- */

void space_reserved_add(struct space_reserved *reserved, struct extent extent);
void space_reserved_remove(struct space_reserved *reserved, struct extent extent);
void space_reserved_list(const struct space_reserved *reserved, struct extents *to);

/* --- avoid.c ----------------------------------------------------------------------------- */

/* Cuts [*place, *place + *blocks) to what need not be avoided. False: *place must be, and all up
 * to *ret_end. */
bool space_avoid_cut(struct space *space, uint64_t place, uint32_t *blocks, uint64_t *ret_end);

/* --- take.c ------------------------------------------------------------------------------ */

/* Queue, and say -EAGAIN. */
int space_wait(struct space *space, struct page_waiter *waiter);
/* A take without the books of who reserved it. */
int space_take_run(struct space *space, enum device_class class, enum space_purpose purpose,
                   uint32_t blocks_max, struct page_waiter *waiter, struct extent *ret_extent);
/* Prefetch of the next region. */
void space_take_turn(struct space *space);

/* --- runs.c ------------------------------------------------------------------------------ */

/* Takes of at least so many blocks look for a long run first. */
#define SPACE_RUN_ASKED 8u
/* 0; -ENOENT: take the next free blocks, whatever their runs; -EAGAIN: waiter queued. */
int space_runs_take(struct space *space, struct space_class *class, uint32_t blocks_max,
                    struct page_waiter *waiter, struct extent *ret_extent);
/* The region has a new summary: assume the most. */
void space_runs_assume(struct space *space, uint32_t region);
/* Blocks of it came free. */
void space_runs_freed(struct space *space, uint32_t region, const uint8_t *bits, uint32_t from,
                      uint32_t count);
/* The region may be looked at (again). */
void space_runs_offer(struct space *space, uint32_t region);
/* Somebody else wants the region for himself. */
void space_runs_leave(struct space *space, uint32_t region);

/* --- room.c ------------------------------------------------------------------------------ */

void space_room_init(struct space *space);
/* Of the free blocks, how many are not for this purpose now. */
uint64_t space_floor(const struct space *space, enum space_purpose purpose);
/* There is nothing for it, even when all that waits has come free. */
bool space_full(const struct space *space, enum space_purpose purpose);

/* --- quarantine.c, release.c ------------------------------------------------------------- */

/* Quarantined blocks that come free without a checkpoint. */
uint64_t space_coming(const struct space *space);
void space_want_flush(struct space *space);
/* Whether a read that began in or before the epoch may be under way. */
bool space_epoch_over(const struct space *space, uint64_t epoch);
void space_epoch_turn(struct space *space);
void space_quarantine_gather(struct space *space, struct extents *batch);
/* Begins a wait for the reads under way. */
uint64_t space_epoch_stamp(struct space *space);
/* What is quarantined, pages that wait for a checkpoint apart, to the end of a list. */
void space_quarantine_list(const struct space *space, struct extents *to);
void space_release_turn(struct space *space);
/* Release what waits in this region, now that its page is open. 0, or -EAGAIN. */
int space_release_region(struct space *space, uint32_t region, struct page *page,
                         struct page_waiter *waiter);
/* Sorted extents that wait for nothing: the batch of a reopened store. */
void space_release_loaded(struct space *space);

/* --- load.c, checkpoint.c ---------------------------------------------------------------- */

void space_load_init(struct space *space);
/* Pages of a deferred list that takes in what waits now and `more` extents, and which goes with a
 * checkpoint of `written` pages. */
uint64_t space_deferred_pages_max(const struct space *space, uint64_t written, uint64_t more);
void space_checkpoint_init(struct space *space);
void space_checkpoint_close(struct space *space);

/* --- prepare.c, discard.c ---------------------------------------------------------------- */

/* Where allocation in a region ends: blocks before it are prepared and no piece flies there. */
uint32_t space_prepare_limit(const struct space *space, const struct space_class *class,
                             uint32_t region, enum space_purpose purpose);
/* Nothing is prepared now. */
bool space_prepare_over(const struct space *space, const struct space_class *class);
/* So, or there is nothing that can be: a checkpoint may take what is not prepared. */
bool space_prepare_spares(const struct space *space, const struct space_class *class);
/* Free blocks that only look so: the space below is full, and they were not prepared. */
uint64_t space_prepare_lacks(const struct space *space);
/* Whether preparing will make something ready. */
bool space_prepare_coming(const struct space *space, const struct space_class *class);
void space_prepare_turn(struct space *space);
bool space_prepare_flying(const struct space_class *class);
void space_prepare_init(struct space_class *class);
void space_prepare_close(struct space_class *class);
/* Somebody takes: no longer idle. */
void space_prepare_busy(struct space *space);
void space_discard_note(struct space *space, const uint8_t *bits, uint32_t region, uint32_t from,
                        uint32_t count);
void space_discard_init(struct space *space);
void space_discard_close(struct space *space);
void space_discard_turn(struct space *space);

/* Ask for another turn before the engine sleeps. */
void space_again(struct space *space);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of tree share. */
#ifndef TREE_INTERNAL_H
#define TREE_INTERNAL_H

#include "tree/tree.h"

/* A directory and a map page: what one change may clone or make; and a view's own page beside. */
#define PATH_FRAMES 2u
#define VIEW_FRAMES 3u
#define ORDER_ROWS 8u
#define NO_LEVEL UINT8_MAX

/*
 * A segment in memory. While its root is dirty or frozen, or a path holds it, it stays and hides
 * its entry in the table; else it says what the table says and may go, least recent first.
 */
struct segment {
    struct segment_key key;
    struct page_root root;
    struct list node;  /* Of the free list or the queue of those that may go. */
    struct list paths; /* Open paths, by path->node. */
    struct segment *hash_next;
    struct segment *order[ORDER_ROWS], *order_before;
    uint32_t refs;
    bool used, queued;
};

struct merge;

struct tree {
    struct page_cache *cache;
    struct device_set *devices;
    void (*freed)(void *context, uint64_t place, uint32_t blocks);
    void *context;

    struct segment *segments;
    struct segment **hash;
    struct segment *order[ORDER_ROWS]; /* Those in use, by key. */
    uint32_t segments_max, hash_mask, used;
    uint32_t touched; /* Objects from here on were never used. */
    struct list segments_free;
    struct list queue;   /* Segments that may go. */
    struct list waiters; /* Paths that want a segment object. */
    struct list refused; /* Paths that were not admitted. */
    uint32_t changing;   /* Paths with a reservation. */
    uint32_t copying;    /* Of them: those that may make a view's page as well. */
    bool views;          /* There has been such a path: there will be more. */
    int64_t asides;      /* See tree_asides(). */
    bool (*admits)(void *context);

    struct pointer table; /* Root of the table that lookups see. */
    uint8_t root_level;   /* Of the table; NO_LEVEL: empty. */
    unsigned root_count;  /* Entries in its root, at most; 0: not known yet. */
    uint64_t pages;       /* Reachable now, table pages included. */
    struct merge *merge;
    uint64_t table_pages_written;
};

/* --- tree.c ----------------------------------------------------------------------------------- */

/* Before anything is made dirty: 0, or -EAGAIN (path->waiter is woken by tree_admit()). */
int tree_ask_admission(struct tree_path *path);

/* --- table.c: reading the table --------------------------------------------------------------- */

/* As a level to descend to: stay at the root. */
#define TABLE_ROOT UINT32_MAX

/* A node on the way to a key. */
struct table_spot {
    struct table_node node;
    struct page *page; /* Pinned until table_leave(). */
    struct pointer pointer;
    unsigned level;
    struct segment_key separator; /* Its key in its parent. */
    struct segment_key bound;     /* What is at or above it is elsewhere, if `bounded`. */
    bool bounded;
    bool sibling;             /* Its parent has one more after it: at `bound`. */
    struct segment_key floor; /* What is less is elsewhere, if `floored`. */
    bool floored;
};
/*
 * The node of `level` that covers `key`. 0, -EAGAIN, or an error: then `spot` says which node is
 * broken, and nothing is pinned. The table is not empty, and reaches up to `level`.
 */
int table_descend(struct tree *tree, const struct segment_key *key, unsigned level,
                  struct page_waiter *waiter, struct table_spot *spot);
void table_leave(struct table_spot *spot);
/* The entry of a key: 0, -ENOENT, -EAGAIN, or an error. */
int table_find(struct tree *tree, const struct segment_key *key, struct page_waiter *waiter,
               struct pointer *ret_pointer);
/* The last entry before a key. Same results. */
int table_before(struct tree *tree, const struct segment_key *key, struct page_waiter *waiter,
                 struct table_entry *ret_entry);

/* What to make of an entry that was met. */
enum table_verdict { TABLE_TAKE, TABLE_STOP, TABLE_PASS };
/* A search from a key on. */
struct table_seek {
    struct segment_key from; /* Moves on past what was ruled out. */
    bool skip;               /* Nodes that are broken are passed over. */
    bool yields;             /* -EAGAIN after so many nodes that a turn should end: goes on. */
    /* NULL: takes the first. TABLE_PASS: *from was set to where to go on, behind the entry. */
    enum table_verdict (*judge)(void *context, const struct table_entry *entry,
                                struct segment_key *from);
    void *context;
    struct table_entry entry; /* The one that was taken. */
};
/* The first entry at or after seek->from that is taken: 0; -ENOENT: none, or stopped; -EAGAIN:
 * woken later; or an error. */
int table_seek(struct tree *tree, struct table_seek *seek, struct page_waiter *waiter);

/* --- segment.c -------------------------------------------------------------------------------- */

int segment_pool_open(struct tree *tree, uint32_t segments_max);
struct segment *segment_find(struct tree *tree, const struct segment_key *key);
/* The segment of a key, held for `path`: 0, -EAGAIN (path->waiter is woken), or an error. */
int segment_hold(struct tree_path *path, const struct segment_key *key);
/* Two at once, path->segment and path->beside. Nobody holds one while he waits for room for the
 * other: the path may be closed on the way. */
int segment_hold_both(struct tree_path *path, const struct segment_key *key,
                      const struct segment_key *beside);
/* One more, or one less, who holds a segment. */
void segment_keep(struct tree *tree, struct segment *segment);
void segment_let_go(struct tree *tree, struct segment *segment);
void segment_release(struct tree_path *path);
/* In memory and something is there. */
bool segment_has_anything(const struct segment *segment);
/* Those that a checkpoint has written: they may go, and whoever waits may try. */
void segment_thaw(struct tree *tree);

/* tree_next_segment(); `skip`: go on behind what is broken of the table. */
int segment_next(struct tree_path *path, const struct segment_key *key, bool skip,
                 struct segment_key *ret_key);
/* The key after this one; false if there is none. */
bool segment_key_advance(struct segment_key *key);

/* --- order.c ---------------------------------------------------------------------------------- */

void order_add(struct tree *tree, struct segment *segment);
void order_remove(struct tree *tree, struct segment *segment);
/* The first in memory at or after a key, and the last before it, that has anything; or NULL. */
struct segment *order_from(struct tree *tree, const struct segment_key *key);
struct segment *order_before(struct tree *tree, const struct segment_key *key);

/* --- owners.c: who has a page of his own at a mebibyte ---------------------------------------- */

struct owner {
    uint64_t cut;
    struct pointer pointer;  /* As it was written, unless `segment` says more. */
    struct segment *segment; /* If it is in memory. */
};

static inline struct segment_key view_key(uint64_t volume, uint32_t mebibyte, uint64_t cut)
{
    return (struct segment_key){.volume = volume, .segment = SEGMENT_VIEWS | mebibyte, .view = cut};
}

static inline struct segment_key head_key(uint64_t volume, uint64_t block)
{
    return (struct segment_key){
        .volume = volume, .segment = (uint32_t)(block / SEGMENT_BLOCKS), .view = VIEW_HEAD};
}

/* The first owner at or after a cut, or the last before it: 0, -ENOENT, -EAGAIN, or an error. */
int owner_from(struct tree *tree, uint64_t volume, uint32_t mebibyte, uint64_t cut,
               struct page_waiter *waiter, struct owner *ret_owner);
int owner_before(struct tree *tree, uint64_t volume, uint32_t mebibyte, uint64_t cut,
                 struct page_waiter *waiter, struct owner *ret_owner);
/* The pointer in the table, or in memory, of a root that is not known to be there. Same results. */
int root_find(struct tree *tree, const struct segment_key *key, struct page_waiter *waiter,
              struct pointer *ret_pointer);

/* --- path.c ----------------------------------------------------------------------------------- */

/* Something was made or dropped beneath a segment: what open paths know of it is brought up. */
void path_refresh(struct segment *segment);
/* Every open path but `path` lets go of `page`, which is about to be dropped. True if nobody else
 * holds it then. */
bool path_detach_others(struct tree_path *path, struct page *page);

/* The segment(s), the reservation if it is for a change, the pages; then it is open. */
int path_open(struct tree_path *path, const struct segment_key *key,
              const struct segment_key *beside, bool change);
/* The segment(s) alone; those of another key that it held are let go. */
int path_hold(struct tree_path *path, const struct segment_key *key,
              const struct segment_key *beside);
/* Pins directory and map page of path->segment, as far as they exist: 0; else nothing is pinned. */
int path_open_pages(struct tree_path *path);
/* Admission, and frames for what a path may make. */
int path_reserve(struct tree_path *path, uint8_t frames);
/* An open path shows another segment from now on. */
void path_move(struct tree_path *path, struct segment *segment);
/* The owners of a mebibyte are others now. */
void path_forget_owner(struct tree *tree, const struct segment_key *head, uint32_t map);
/* What it shows has gone: a hole. */
void path_strand(struct tree_path *path);

/* --- views.c ---------------------------------------------------------------------------------- */

/* Before a path changes what it shows: its cut becomes an owner, if it is not. */
void view_make_owner(struct tree_path *path);

/* --- pointers.c ------------------------------------------------------------------------------- */

/* The map page of an open path, made if there is none. */
void path_make_page(struct tree_path *path);
/* Frees what `page` (pinned by path->page) shows and drops it: but for what the owner before shows,
 * and what `after` (may be NULL) does. */
void page_drop_shown(struct tree_path *path, const struct pointer *instead, uint64_t before,
                     const struct page *after);

/* --- merge.c ---------------------------------------------------------------------------------- */

int merge_open(struct tree *tree, struct merge **ret_merge);
void merge_close(struct merge *merge);
void merge_freeze(struct merge *merge);
void merge_start(struct merge *merge, struct tree_checkpoint *checkpoint);
void merge_thaw(struct merge *merge);

#endif

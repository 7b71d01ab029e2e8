/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of tree share. */
#ifndef TREE_INTERNAL_H
#define TREE_INTERNAL_H

#include "tree/tree.h"

/* A directory and a map page: what one change may clone or make. */
#define PATH_FRAMES 2u
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
    uint32_t segments_max, hash_mask, used;
    uint32_t touched; /* Objects from here on were never used. */
    struct list segments_free;
    struct list queue;   /* Segments that may go. */
    struct list waiters; /* Paths that want a segment object. */
    struct list refused; /* Paths that were not admitted. */
    uint32_t changing;   /* Paths with a reservation. */
    bool (*admits)(void *context);

    struct pointer table; /* Root of the table that lookups see. */
    uint8_t root_level;   /* Of the table; NO_LEVEL: empty. */
    unsigned root_count;  /* Entries in its root; 0: not known yet. */
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
    bool sibling; /* Its parent has one more after it: at `bound`. */
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
/* The first entry at or after a key. Same results; nodes that are broken may be skipped. */
int table_next(struct tree *tree, const struct segment_key *key, bool skip,
               struct page_waiter *waiter, struct table_entry *ret_entry);

/* --- segment.c -------------------------------------------------------------------------------- */

int segment_pool_open(struct tree *tree, uint32_t segments_max);
struct segment *segment_find(struct tree *tree, const struct segment_key *key);
/* The segment of a key, held for `path`: 0, -EAGAIN (path->waiter is woken), or an error. */
int segment_hold(struct tree_path *path, const struct segment_key *key);
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

/* --- path.c ----------------------------------------------------------------------------------- */

/* Something was made or dropped beneath a segment: what open paths know of it is brought up. */
void path_refresh(struct segment *segment);
/* Every open path but `path` lets go of `page`, which is about to be dropped. True if nobody else
 * holds it then. */
bool path_detach_others(struct tree_path *path, struct page *page);

/* --- merge.c ---------------------------------------------------------------------------------- */

int merge_open(struct tree *tree, struct merge **ret_merge);
void merge_close(struct merge *merge);
void merge_freeze(struct merge *merge);
void merge_start(struct merge *merge, struct tree_checkpoint *checkpoint);
void merge_thaw(struct merge *merge);

#endif

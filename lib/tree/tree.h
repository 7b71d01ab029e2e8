/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree: from (volume, segment, view, block) to a pointer.
 *
 *   superblock ──▶ segment table (B+tree) ──▶ directory page ──▶ map page ──▶ block
 *                  one entry per segment       256 x 1 MiB        256 x 4 KiB
 *                  and view that differs
 *
 * Owns the segments that are in memory and the segment table. A hole or zero pointer may stand at
 * any level for all that is beneath it; the first change beneath it expands it into a page of
 * equal pointers. The table is changed only by a checkpoint: between checkpoints a changed segment
 * lives as an object in memory (pinned while dirty) that hides its entry in the table; so live
 * lookups and the merge never meet. Segments, like pages, come from a pool: no RAM per block.
 *
 * Promises: tree_set() and friends, called on an open path, are synchronous and cannot fail.
 * What they free is handed to `freed` before they return. Everything that may wait says -EAGAIN
 * and wakes the waiter of the path: begin the same call again then.
 */
#ifndef TREE_TREE_H
#define TREE_TREE_H

#include "format/table.h"
#include "page/page.h"

#define SEGMENT_BLOCKS 65536u /* 256 MiB. */
#define MAP_BLOCKS 256u       /* 1 MiB: what one map page covers. */
#define SEGMENTS_PER_VOLUME 262144u
/* The segment number of a volume's record: a page of bytes, see tree_record_open(). */
#define SEGMENT_RECORD UINT32_MAX
/* The view of a volume's head; a snapshot's view is its cut. */
#define VIEW_HEAD SEQUENCE_MAX

struct tree;

struct tree_options {
    struct page_cache *cache;
    struct device_set *devices;
    struct pointer table;  /* Root of the segment table; hole if empty. */
    uint64_t pages_used;   /* tree_checkpoint.pages_used of the checkpoint that is opened. */
    uint32_t segments_max; /* Objects in memory; at least 64. */
    /* A block or run of blocks that no pointer shows any more. */
    void (*freed)(void *context, uint64_t place, uint32_t blocks);
    /* Whether one more change may begin: the checkpoint that it makes larger will find space. Who
     * is refused waits for tree_admit(). NULL: always. */
    bool (*admits)(void *context);
    void *context;
};

int tree_open(const struct tree_options *options, struct tree **ret_tree);
/* Before its page cache; nothing is under way, or will never complete. */
void tree_close(struct tree *tree);
/* The devices have failed: whoever waits for a segment in memory asks again, and hears of it. */
void tree_failed(struct tree *tree);

/* --- One map page ------------------------------------------------------------------------ */

/* The way to one map page, held open: nothing on it leaves memory. Zero it, tree_path_init(). */
struct tree_path {
    struct page_waiter waiter;
    struct tree *tree;
    struct segment_key key;
    uint32_t map; /* Index of the map page in its segment, 0 .. 255. */
    bool change;  /* Opened for change: frames are reserved. */
    bool open;
    uint8_t reserved; /* tree's: frames. */
    bool passed;      /* The cut made no owner, for the head was newer; in a replay it may. */
    struct segment *segment;
    struct page *directory; /* NULL: `above` covers all of it. */
    struct page *page;      /* The map page; NULL: `above` covers it. */
    struct pointer above;   /* Hole or zero, if `page` is NULL. */
    /* Of tree_path_open_under(): the newest owner here, at any time. Of a path that reads a cut:
     * whose page it is, VIEW_HEAD if the head's. See views.h. */
    uint64_t owner;
    void *context; /* The caller's. */
    /* tree's. */
    void (*wake)(struct tree_path *path);
    struct list node;       /* In segment->paths. */
    struct segment *beside; /* Of the view that a change makes an owner. */
    uint64_t view;          /* What was asked for. */
    uint64_t cut;           /* Newer than the owner: becomes one with the first change. */
};

/* `wake` runs when a call that said -EAGAIN should be tried again. */
void tree_path_init(struct tree_path *path, struct tree *tree, void (*wake)(struct tree_path *));

/*
 * Open the way to the map page of `block` of a volume's view.
 * 0: open (also if nothing is there: path->page is NULL, path->above says what reads there).
 * -EAGAIN: woken later. IOMESH_CORRUPT, -EIO, IOMESH_FAILED: a page on the way cannot be read
 * (reported, never written over).
 * `change`: reserves what tree_set and friends may need.
 */
int tree_path_open(struct tree_path *path, uint64_t volume, uint64_t view, uint64_t block,
                   bool change);
/* Lets go, whatever state it is in; harmless twice. A waiting path is taken out of its queue. */
void tree_path_close(struct tree_path *path);

/* The pointer of a block, 0 .. 255 within the map page. Expanded from `above` as needed. */
struct pointer tree_get(const struct tree_path *path, unsigned index);
/*
 * Move a pointer: only where `pointer->sequence` is newer than what is there (equal or older:
 * false, nothing changes and nothing is freed). What it replaced is handed to `freed`. Pages are
 * made as needed. Setting a newer HOLE is a bug (use ZERO).
 */
bool tree_set(struct tree_path *path, unsigned index, const struct pointer *pointer);
/* Same, whatever the sequences: for moves and repairs, after the caller compared. */
void tree_replace(struct tree_path *path, unsigned index, const struct pointer *pointer);
/* Zero [index, index + count) at `sequence`, by the same rule; collapses into the directory slot
 * where the whole page is covered and nothing in it is newer. */
void tree_zero(struct tree_path *path, unsigned index, unsigned count, uint64_t sequence);
/* They become known damage, by the same rule. */
void tree_damage(struct tree_path *path, unsigned index, unsigned count, uint64_t sequence);
/* Free the map page and every block in it, leaving a hole: a step of deleting a volume. */
void tree_drop_map(struct tree_path *path);

/*
 * Give up the map page of `block`, which cannot be read. What it showed stays in use, and nothing
 * shows it any more: lost, but never given to anybody else. `bad`: each block that it covered is
 * damage from now on, older than whatever is newer than the page was; else a hole. 0; -EAGAIN;
 * -EBUSY: it can be read now, or there is none; or why its directory cannot be read.
 * Uses `path` (closed, initialised) for waiting only.
 */
int tree_give_up_map(struct tree_path *path, uint64_t volume, uint64_t view, uint64_t block,
                     bool bad);
/* The same for the directory of a segment, and all that is beneath it: a hole then. */
int tree_give_up_segment(struct tree_path *path, const struct segment_key *key);

/* --- Whole segments ---------------------------------------------------------------------- */

/*
 * Zero a whole segment at `sequence` when that takes no page: the segment has no directory page.
 * 0 done; -ENOENT: it has one, go map page by map page; -EAGAIN: woken through path->waiter.
 * Uses `path` (closed, initialised) for waiting only.
 */
int tree_zero_segment(struct tree_path *path, uint64_t volume, uint32_t segment, uint64_t sequence);
/* Remove a segment whose directory has nothing but holes left (deleting a volume): drops the
 * directory page; the entry goes from the table at the next checkpoint. Same results; -EBUSY if
 * something is left. */
int tree_drop_segment(struct tree_path *path, const struct segment_key *key);

/*
 * The first key at or after *key, in memory or in the table, that has anything (not a hole).
 * 0: *ret_key; -ENOENT: none; -EAGAIN and errors as above. For deletion, allocation maps, check.
 */
int tree_next_segment(struct tree_path *path, const struct segment_key *key,
                      struct segment_key *ret_key);

/*
 * A volume's record: 4 KiB of the store's own truth about a volume (fence, retired, ...), kept
 * under (volume, SEGMENT_RECORD, 0). 0: path->page is its page of bytes, made of zeros if there was
 * none and `change`; -ENOENT: none and not `change`.
 * Use page_bytes(path->page) and page_change(path->page).
 */
int tree_record_open(struct tree_path *path, uint64_t volume, bool change);
/* Removes an open record (path opened for change); closes the path. */
void tree_record_drop(struct tree_path *path);

/* --- Admission --------------------------------------------------------------------------- */

/* Somebody was refused; and those who were may ask again, first come, first woken. */
bool tree_admission_waits(const struct tree *tree);
void tree_admit(struct tree *tree);

/* --- Checkpoint -------------------------------------------------------------------------- */

/* Half of the segments in memory are dirty: the pool will run out before long. */
bool tree_wants_checkpoint(const struct tree *tree);

/* An upper bound of the table pages that a checkpoint would write now (tree pages proper are
 * counted by page_dirty_count()). */
uint32_t tree_table_pages_max(const struct tree *tree);
/* And an upper bound of what it would write besides the pages that are dirty now, with `more` paths
 * opened for change before: table pages, and what open paths may yet make dirty. */
uint32_t tree_pages_to_come(const struct tree *tree, uint32_t more);
/* Paths that are open for change, or will be without being refused. */
uint32_t tree_changes(const struct tree *tree);

struct tree_checkpoint {
    /* As in struct page_write. */
    uint64_t (*take)(void *context);
    void (*replaced)(void *context, uint64_t place);
    void *context;
    void (*done)(struct tree_checkpoint *checkpoint, int result);
    struct pointer table; /* The result: root of the new table. */
    uint64_t pages_used;  /* The result: what the checkpoint reaches, for the superblock. */
    void *private;
};
/* With page_freeze(), in the same instant: which segments' roots are dirty is remembered. */
void tree_freeze(struct tree *tree);
/* After page_write has written the frozen pages: merge the frozen segments' roots into the table.
 * Reads table pages as needed. */
void tree_checkpoint_start(struct tree *tree, struct tree_checkpoint *checkpoint);
/* The checkpoint is durable: lookups go to the new table. Call before page_thaw(). */
void tree_thaw(struct tree *tree);

struct tree_stats {
    uint64_t segments, segments_dirty, table_pages_written;
    uint64_t pages_used; /* Map, directory, record and table pages reachable now. */
};
void tree_stats(const struct tree *tree, struct tree_stats *ret_stats);

#include "tree/enter.h"
#include "tree/views.h"
#include "tree/walk.h"

#endif

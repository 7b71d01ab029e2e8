/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: what snapshots show of a volume, beside its head.
 *
 * A cut is a sequence that no write has: what is older is in the snapshot, what is newer is not.
 * The head keeps its tree as it is. Where the head changed since a cut, that cut has a map page of
 * its own, the only one at that mebibyte that says what the head said then:
 *
 *   (volume, SEGMENT_VIEWS | mebibyte, cut) ──▶ a map page; zero with a sequence; or a hole (a zero
 *                                               with sequence 0, for the table holds no holes)
 *
 * Cuts that have one are the owners o1 < o2 < ... of the mebibyte. The page of o2 is what every
 * cut in (o1, o2] shows; the head's page is what every later cut shows. So a reader of a cut looks
 * once: the first owner at or after it, or the head. Pages have one owner; data blocks may be
 * shown by several, and a block (written at q) that leaves a page goes free unless
 *
 *   q <= the owner before:  that page shows the same block, for it was copied when the block stood;
 *   the owner after shows the same place (asked only where a page between two owners goes).
 */
#ifndef TREE_VIEWS_H
#define TREE_VIEWS_H

#include "tree/tree.h"

/* Segment numbers of views: this, and the number of the mebibyte (block / MAP_BLOCKS). */
#define SEGMENT_VIEWS 0x80000000u
#define VIEW_MEBIBYTES (SEGMENTS_PER_VOLUME * (SEGMENT_BLOCKS / MAP_BLOCKS))

static inline bool segment_is_view(uint32_t segment)
{
    return segment >= SEGMENT_VIEWS && segment < SEGMENT_VIEWS + VIEW_MEBIBYTES;
}

/*
 * Open the head at `block` for change, in a volume that may have views. `cut`: the newest that is
 * kept, 0: none. The first real change by tree_set() and its like makes `cut` an owner with what
 * the head showed until then, if it is newer than the newest owner; and what they replace is freed
 * by the rule above. path->owner is the newest owner (0: none), as long as the path is open.
 * Results as of tree_path_open(). A volume without views needs none of this.
 */
int tree_path_open_under(struct tree_path *path, uint64_t volume, uint64_t block, uint64_t cut);

/*
 * The newest owner of a mebibyte that is older than `cut` (VIEW_HEAD: the newest of all); 0: none.
 * 0; -EAGAIN; or why the table cannot be read. Uses `path` (closed) for waiting only.
 */
int tree_view_before(struct tree_path *path, uint64_t volume, uint32_t mebibyte, uint64_t cut,
                     uint64_t *ret_owner);

/*
 * The first own page (or zero, or hole) of a view with a cut in [first, last], at *mebibyte or
 * after: 0, *mebibyte and *ret_cut say which; -ENOENT: none; -EAGAIN; or why the table cannot be
 * read. Uses `path` (closed) for waiting only. What it costs grows with the mebibytes that have
 * owners, not with the owners that it passes over; *mebibyte moves on past what is ruled out even
 * where the answer is -EAGAIN.
 */
int tree_view_next(struct tree_path *path, uint64_t volume, uint64_t first, uint64_t last,
                   uint32_t *mebibyte, uint64_t *ret_cut);

/*
 * Take away what `cut` has at a mebibyte, in the same order in which a record says so, and after
 * every change that was under way under that cut. `previous`: the newest cut that is kept and older
 * than `cut`, 0: none; where it relies on that page, the page becomes its own. 0: done, or nothing
 * was there; -EAGAIN: either path is woken; or why a page cannot be read: nothing has changed then,
 * see tree_view_give_up(). Uses both paths (closed, initialised; closed again but for -EAGAIN).
 */
int tree_view_drop(struct tree_path *path, struct tree_path *beside, uint64_t volume,
                   uint32_t mebibyte, uint64_t cut, uint64_t previous);

/*
 * The same for the newest owner of a mebibyte whose head is gone, as a volume goes: needs no page
 * but its own. -EINPROGRESS: one page went, call again; 0: none is left; -EAGAIN and errors as
 * above (of the newest owner: tree_view_before() says which).
 */
int tree_views_drop_newest(struct tree_path *path, uint64_t volume, uint32_t mebibyte);

/*
 * Take away what `cut` has at a mebibyte where its page, or that of the owner after it, cannot be
 * read, and no cut that is kept relies on it. What it showed stays in use: lost, but never given to
 * anybody else. 0; -EAGAIN; or why the table cannot be read.
 */
int tree_view_give_up(struct tree_path *path, uint64_t volume, uint32_t mebibyte, uint64_t cut);

/*
 * The first mebibyte at *block or after, up to that of `last`, in which `view` (VIEW_HEAD or a cut)
 * may show something with a sequence above `since` (0: anything that was ever written). 0: *block
 * is its first block and `path` is open on it, for reading; -ENOENT: no more; -EAGAIN; errors as of
 * tree_path_open(), of the mebibyte of *block. *block moves on past what is ruled out even where
 * the answer is -EAGAIN. It looks only where the head has changed since, by the sequences that
 * table and directories hold: so it is of no use where the head has been deleted.
 */
int tree_changed_next(struct tree_path *path, uint64_t volume, uint64_t view, uint64_t since,
                      uint64_t last, uint64_t *block);

#endif

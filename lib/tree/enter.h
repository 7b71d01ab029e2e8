/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions of blocks enter what views show: not at the head alone, as writes do.
 *
 * A part that was away takes from another what a view shows of a block: sequence q. Whatever view
 * is newer than q and shows something older has to show it too. So it enters every page of an owner
 * above q, and the head's, from the oldest on, that shows something older; and what is set aside in
 * the pages up to the one that shows the view. Where the newest kept cut below q has no page of its
 * own, it becomes an owner first, as with a write.
 *
 * Who frees what, and why just once. These hold of each index of a mebibyte, and every change keeps
 * them (o: owners, oldest first; page j is that of owner o_j, the last the head's):
 *
 *   C  page j shows nothing with a sequence above o_j
 *   M  the sequences that pages show never fall from one page to the next
 *   U  one place for each sequence: pages that show the same version show the same place
 *   S  what page j shows with a sequence q <= o_(j-1), page j - 1 shows too
 *
 * By M and U the pages that show a place are neighbours, x .. y, and by S and C page x is the one
 * with q > o_(x-1): that comparison tells whether a page is the first that shows a place, without
 * a look at another. A version q that enters begins at the first owner above q, so nothing below
 * shows it (C), and no page from there on is left showing something older (M, S). A place that it
 * replaces in one page it replaces in all that show it from there on, for they show the same
 * version: so the place goes free if the first page in which it was met was page x, when the last
 * of them has been left behind, and else not at all: an older page still shows it. If some page
 * shows version q already, the others get that place and not a new one (U): so all pages are looked
 * at before the first is changed. What is set aside, bad, zero or a hole has no place, and may
 * stand where S would want another: nothing is freed for it. But what follows it must not get a
 * place that S says is its neighbour's: where a page above q stays with something else, later pages
 * that have it set aside keep that, and are told (`refused`).
 *
 * What a walk has done stays done if it is begun anew (a replay): pages that show the version are
 * passed, and those that do not are changed by the same rule.
 */
#ifndef TREE_ENTER_H
#define TREE_ENTER_H

#include "tree/tree.h"

#define TREE_ENTER_BLOCKS 64u

enum tree_enter_how {
    TREE_RESYNC, /* Versions, as `view` shows them elsewhere. */
    TREE_REPAIR, /* The same contents at another place, wherever the damaged one is shown. */
    TREE_ASIDE,  /* What is newer than `above` is set aside, in all pages; it has no place then. */
};

/* Zero it; one mebibyte. */
struct tree_enter {
    enum tree_enter_how how;
    uint64_t volume;
    uint32_t mebibyte;
    uint64_t view;
    uint64_t cut;   /* The newest that is kept and older than every sequence here; 0: none. */
    uint64_t above; /* TREE_ASIDE. */
    /* Blocks index .. index + count - 1; all of one kind: RAW, ZERO, HOLE, BAD. */
    unsigned index, count;
    uint16_t kind;
    uint64_t sequences[TREE_ENTER_BLOCKS];
    uint64_t places[TREE_ENTER_BLOCKS];
    uint64_t damaged[TREE_ENTER_BLOCKS]; /* TREE_REPAIR. */
    uint32_t crcs[TREE_ENTER_BLOCKS];
    bool skip[TREE_ENTER_BLOCKS];

    /* Answers. */
    bool shown[TREE_ENTER_BLOCKS]; /* places[i] is shown by some page. */
    uint32_t refused;              /* Blocks that could not be taken in some page. */
    uint32_t asides;               /* TREE_ASIDE: blocks set aside here, in all pages. */

    /* tree's. */
    bool begun, looked;
    uint64_t at; /* The owner of the page that was dealt with last. */
    uint64_t existing[TREE_ENTER_BLOCKS];
    /* What the page before shows, if it is of an owner above. */
    uint64_t before[TREE_ENTER_BLOCKS];
    uint64_t pending[MAP_BLOCKS]; /* Places that were left, and may be shown by the next. */
};

/*
 * One page. -EINPROGRESS: call again (whatever was freed has been handed on); 0: it was the last;
 * -EAGAIN: woken, call again; or why a page cannot be read: what was done stays. `path`:
 * initialised, closed. What it frees goes to `freed`.
 */
int tree_enter(struct tree_path *path, struct tree_enter *enter);

/* Blocks that were set aside, less those that are not any more, since it was opened: what a change
 * makes of it is the difference. */
int64_t tree_asides(const struct tree *tree);

#endif

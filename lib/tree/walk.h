/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking everything that a tree reaches: for check, which compares it with the free map, and for
 * scrub, which reads it.
 *
 * First the nodes of the table, level by level; then, segment by segment in key order, its root,
 * each map page and what that shows; a view's own page is told as a map page, with the view's key.
 * Every page is read and verified on the way; one that is broken is told with its error, and the
 * walk goes on behind it. A walk holds no page between two visits, so it disturbs nobody; what
 * changes while it walks may be told as it was or as it is.
 */
#ifndef TREE_WALK_H
#define TREE_WALK_H

#include "tree/tree.h"

enum tree_visit_what {
    TREE_VISIT_TABLE,     /* A node of the segment table; level 0 is a leaf. */
    TREE_VISIT_DIRECTORY, /* A segment's root; kind zero: all of the segment. */
    TREE_VISIT_MAP,       /* A map page; kind zero: all that it would cover. */
    TREE_VISIT_RECORD,    /* A volume's record. */
    TREE_VISIT_BLOCK,     /* What a map page shows for a block; holes are left out. */
};

struct tree_visit {
    enum tree_visit_what what;
    struct segment_key key; /* Of the segment; of a table node: the first that it may hold. */
    unsigned level;         /* Of a table node. */
    bool page;              /* It is a page, in memory or on disk, not only a pointer. */
    bool shared;            /* A block that the owner before shows as well: told there too. */
    uint64_t block;         /* The first that it covers, in the volume. */
    /* The last written version: a page that was made since the last checkpoint has no place. */
    struct pointer pointer;
    int error; /* 0, or why the page cannot be read: IOMESH_CORRUPT, -EIO, IOMESH_FAILED. */
};

enum tree_walk_answer { TREE_WALK_ON, TREE_WALK_PAUSE };

/* Zero it; set the first part. Lives until `done` or tree_walk_stop(). */
struct tree_walk {
    /* Called from turns. After TREE_WALK_PAUSE not again until tree_walk_continue(). */
    enum tree_walk_answer (*visit)(struct tree_walk *walk, const struct tree_visit *visit);
    void (*done)(struct tree_walk *walk);
    void *context;

    /* walk's. */
    struct tree_path path;
    struct segment_key key;
    unsigned level, map, index, from;
    uint64_t before; /* The owner before that of the map page. */
    uint8_t phase;
    bool root_told, page_told, paused;
};

void tree_walk_start(struct tree_walk *walk, struct tree *tree);
/* From a block of a segment on, or what comes after it by now; the table is left out. */
void tree_walk_start_at(struct tree_walk *walk, struct tree *tree, const struct segment_key *key,
                        uint32_t block);
/* Where it stands: what tree_walk_start_at() would go on with. Key zero: in the table. */
void tree_walk_where(const struct tree_walk *walk, struct segment_key *ret_key,
                     uint32_t *ret_block);
void tree_walk_continue(struct tree_walk *walk);
/* Ends it without `done`. Harmless when it has ended. */
void tree_walk_stop(struct tree_walk *walk);

#endif

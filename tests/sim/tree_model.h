/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree beside plain arrays: what is drawn is done to both, and what the tree says is compared at
 * once.
 */
#ifndef SIM_TREE_MODEL_H
#define SIM_TREE_MODEL_H

#include "sim/forest.h"

#define VOLUMES 3u
#define SEGMENTS 90u
#define MAPS 2u
#define HELD 3u
#define CROWD 40u

struct cell {
    uint64_t sequence, place;
    uint8_t kind;
};

struct model {
    struct cell cells[VOLUMES][SEGMENTS][MAPS][MAP_BLOCKS];
    uint8_t records[VOLUMES]; /* 0: none. */
};

struct spot {
    unsigned volume, segment, map;
};

struct held {
    struct tree_path path;
    struct spot spot;
};

/* A volume of its own with snapshots. */
#define VIEWED 4u
#define VIEW_SEGMENTS 10u
#define CUTS 10u
#define OWNERS (2u * CUTS + 2)
#define READERS 3u
#define DROPPERS 6u

struct viewed_cells {
    struct cell cells[VIEW_SEGMENTS][MAPS][MAP_BLOCKS];
};

struct cut {
    uint64_t at;
    bool kept; /* Else it is being deleted. */
    struct viewed_cells shows;
};

struct views {
    struct viewed_cells head;
    struct cut cuts[CUTS]; /* Ascending. */
    unsigned count;
    uint64_t newest; /* The last cut that was taken. */
    /* Who has a page of his own, ascending. */
    uint64_t owners[VIEW_SEGMENTS][MAPS][OWNERS];
    uint8_t owner_count[VIEW_SEGMENTS][MAPS];
};

struct run;

/* A path that reads a cut, or one that changes the head under one. */
struct reader {
    struct tree_path path;
    struct spot spot;
    uint64_t view;
};

/* A view's page on its way out. */
struct dropper {
    struct tree_path path, beside;
    struct run *run;
    struct spot spot;
    uint64_t cut, previous;
    bool busy;
};

/* The deletion of a cut: one at a time names another as the one before. */
struct cutting {
    uint64_t at, previous;
    unsigned first, done; /* Mebibytes; where it begins is drawn. */
    bool active;
};

/* A change that waits as often as it must, beside others. */
struct guest {
    struct tree_path path;
    struct spot spot;
    struct run *run;
    bool busy, zeroes;
    bool viewed; /* In the volume with snapshots, under `cut`. */
    uint64_t cut;
};

struct run {
    struct forest *forest;
    struct prng prng;
    struct model live, frozen, durable;
    uint64_t sequence;
    struct held held[HELD];
    struct guest crowd[CROWD];

    struct views views, views_frozen, views_durable;
    struct reader readers[READERS];
    struct dropper droppers[DROPPERS];
    struct cutting cuttings[2];
    struct guest view_crowd[CROWD / 2];
};

extern const unsigned map_index[MAPS];

unsigned run_below(struct run *run, unsigned limit);
/* For a new tree: every path begins anew. */
void run_paths_init(struct run *run);
/* What the forest calls at a freeze, and when that checkpoint is durable. */
void run_frozen(struct forest *forest);
void run_durable(struct forest *forest);

uint64_t spot_block(struct spot spot);
struct cell *cells_at(struct model *model, struct spot spot);
void cell_check(const struct cell *cell, const struct pointer *pointer);

/* tree_views.c: the volume with snapshots. */
void views_step(struct run *run);
void views_init(struct run *run);
/* Everything that is open is closed, everything that was begun has ended. */
void views_quiet(struct run *run);
void views_compare(struct run *run);
/* After a crash: deletions that were under way begin anew. */
void views_crashed(struct run *run);

/* One thing drawn from all that can be done to a tree. */
void model_step(struct run *run);

#endif

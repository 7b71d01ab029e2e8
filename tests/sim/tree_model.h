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
#define HELD 4u
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

struct run;

/* A change that waits as often as it must, beside others. */
struct guest {
    struct tree_path path;
    struct spot spot;
    struct run *run;
    bool busy, zeroes;
};

struct run {
    struct forest *forest;
    struct prng prng;
    struct model live, frozen, durable;
    uint64_t sequence;
    struct held held[HELD];
    struct guest crowd[CROWD];
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

/* One thing drawn from all that can be done to a tree. */
void model_step(struct run *run);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume with views in a store in the false world, and what each of them should show.
 *
 * One operation at a time, each followed by a flush. The power may go, or the process die, at any
 * moment: then what was under way is old or new, and the store is opened again.
 */
#ifndef UNIT_STORE_VIEWS_RIG_H
#define UNIT_STORE_VIEWS_RIG_H

#include "unit/store/rig.h"

#define VIEWS_BLOCKS 1536u /* 6 MiB, in two segments. */
#define VIEWS_MAX 24u
#define VIEWS_VOLUME 7u
/* Block i of the model is this block of the volume: three mebibytes in each of two segments. */
#define VIEWS_BLOCK(i) ((uint64_t)(i) + ((i) < 768 ? 0 : 65536ull * 3 - 768))

struct views_view {
    uint64_t cut;
    uint32_t tags[VIEWS_BLOCKS];    /* Of whoever wrote it, each write its own; 0: zeros. */
    uint64_t touched[VIEWS_BLOCKS]; /* The last sequence that may have changed it. */
};

struct views {
    uint64_t sequence;
    uint32_t tag; /* The last that was written. */
    uint32_t head[VIEWS_BLOCKS];
    uint64_t touched[VIEWS_BLOCKS];
    struct views_view views[VIEWS_MAX];
    unsigned count;
    uint64_t used_empty; /* Blocks in use before anything was written. */
    /* When it goes down: after so many moments more; 0: not. */
    uint64_t down_after;
    bool power;      /* The power goes; else the process dies. */
    unsigned downs;  /* How often it did. */
    unsigned damage; /* Events of damage. */
    bool expects_damage;
};
extern struct views views;

/* A store on so many blocks, with nothing in it. Options beside those of the rig may be set. */
void views_open(uint64_t disk_blocks);
void views_close(void);
/* It goes down after so many moments from now. */
void views_down_after(uint64_t moments, bool power);
/* Now; and it is up again. */
void views_down_now(bool power);

/* 0, or the error of the store. */
int views_write(uint32_t first, uint32_t count);
int views_zero(uint32_t first, uint32_t count);
/* A whole segment: of the first three mebibytes, or of the others. */
int views_zero_segment(unsigned segment);
void views_cut(void);
void views_checkpoint(void);
/* The views with these numbers, as they stand. */
int views_delete(unsigned first, unsigned last);
int views_delete_volume(void);

/* Every block of the head and of each view is what it should be. */
void views_verify(void);
/* One more block of a view is read: the store's result. */
int views_read(uint64_t view, uint32_t index, uint32_t count, uint8_t *to);
/* A block as a write with this tag leaves it. */
void views_fill(uint8_t *to, uint32_t tag, uint32_t index);
/* What was under way when it went down is old or new. */
void views_settle(uint32_t index, uint32_t tag);
/* Blocks in use, when nothing waits any more. */
uint64_t views_used(void);
/* So many are in use as the head shows, with the pages of the tree: nothing of a view is left. */
void views_none_left(void);
/* Closes the store, checks it with its data, opens it again. The faults. */
uint64_t views_check(void);

#endif

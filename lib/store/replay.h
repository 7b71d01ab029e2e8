/* SPDX-License-Identifier: Apache-2.0 */
/* What replay.c (ahead, out of order) and apply.c (in order) share. */
#ifndef STORE_REPLAY_H
#define STORE_REPLAY_H

#include "store/view_drop.h"

#define REPLAY_SLOTS 64u
#define REPLAY_CHECK_BLOCKS 16u

enum slot_state { SLOT_CHECK, SLOT_FETCH, SLOT_READY };

struct replay_slot {
    struct replay *replay;
    enum slot_state state;
    struct record record;
    uint64_t batch;
    bool certain;
    bool busy;
    uint32_t checked; /* Blocks of the record checked so far. */
    uint32_t alone;   /* So many next ones are read each by itself: together they failed. */
    uint32_t extent;  /* Which extent is being checked, and how far. */
    uint32_t extent_done;
    bool missing[RECORD_BLOCKS_MAX]; /* Its data did not arrive: the block did not happen. */
    uint8_t *data;
    struct device_io io;
    struct tree_path ahead; /* Keeps the map page in memory until its turn. */
};

enum apply_state { APPLY_NEXT, APPLY_RETIRED, APPLY_RECORD, APPLY_MARK };

struct replay_mark {
    struct extent extent;
    bool used;
};

/* One map page's worth of frees and uses at once. */
#define REPLAY_MARKS_MAX (2u * MAP_BLOCKS + 2u)

struct replay {
    struct store *store;
    struct journal *journal;
    store_done_fn *done;
    void *context;
    struct replay_slot *slots;
    uint64_t begun_count; /* Records whose turn has come. */
    unsigned head, count;
    bool paused, visited;
    bool looked, begun; /* Places to be avoided are known; the replay proper was begun. */
    bool waits;         /* The head waits for a page. */
    int result;

    /* The record at the head. */
    enum apply_state state;
    bool applied;  /* The head's last step is taken; only marks are left. */
    bool broken;   /* A page of its map did not match its checksum once. */
    bool gives_up; /* Nor did it again: no third look while that has to be waited for. */
    uint32_t base; /* Blocks, or map pages, dealt with. */
    struct tree_path path, beside;
    struct view_drop drop;   /* Of a record that drops views. */
    struct tree_enter enter; /* Of one that resyncs. */
    struct page_waiter waiter;
    struct replay_mark marks[REPLAY_MARKS_MAX];
    uint32_t mark_count, mark_done;
    struct checkpoint_waiter checkpoint;
    bool checkpointing;

    /* Volumes known to be retired, and one known not to be. */
    uint64_t *retired;
    size_t retired_count, retired_room;
    uint64_t alive;
    bool alive_known;
    uint64_t skipped;
};

void replay_apply_init(struct replay *replay);
/* Applies from the head as far as it goes. */
void replay_apply(struct replay *replay);

#endif

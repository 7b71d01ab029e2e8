/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree over a false disk, an account of every place, and a checkpoint that is driven by turns.
 *
 * A place that was freed is given out again as soon as the promises allow: after the checkpoint
 * that was frozen later is durable. A tree that still needed it reads somebody else's bytes.
 */
#ifndef SIM_FOREST_H
#define SIM_FOREST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/disk.h"
#include "tree/tree.h"

/* Says what was false and ends the process: under Criterion a crash, alone a failed storm. */
#define REQUIRE(condition)                                                           \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition); \
            abort();                                                                 \
        }                                                                            \
    } while (0)

#define FOREST_BLOCKS (1u << 18)
/* Pages are below, data is above: so a page's place comes round soon. */
#define FOREST_PAGE_BLOCKS 4096u

enum place_state { PLACE_FREE, PLACE_OUT, PLACE_FREED, PLACE_LEAVING };
enum forest_phase { FOREST_IDLE, FOREST_PAGES, FOREST_TABLE };

struct forest {
    struct world world;
    struct sim_disk *disk;
    struct device_set devices;
    struct page_cache *cache;
    struct tree *tree;
    uint32_t frames, segments_max;

    enum forest_phase phase;
    bool still; /* No checkpoint begins by itself. */
    struct page_write write;
    struct tree_checkpoint table;
    uint32_t took, took_max;
    void (*frozen)(struct forest *forest); /* The test's, may be NULL. */
    void (*durable)(struct forest *forest);
    uint64_t checkpoints;
    int failed;

    struct pointer root; /* Of the last durable checkpoint. */
    uint64_t pages_used;
    uint64_t next;
    uint8_t state[FOREST_BLOCKS];
    bool in_checkpoint[FOREST_BLOCKS]; /* Of the one being written. */
    bool in_durable[FOREST_BLOCKS];
    uint64_t freed_calls;
    struct tree_path path, beside;
    void *context;
};

static inline uint64_t forest_take(struct forest *forest)
{
    for (uint32_t i = FOREST_PAGE_BLOCKS; i < FOREST_BLOCKS; i++) {
        forest->next = MAX(forest->next + 1, FOREST_PAGE_BLOCKS);
        if (forest->next == FOREST_BLOCKS)
            forest->next = FOREST_PAGE_BLOCKS;
        if (forest->state[forest->next] == PLACE_FREE) {
            forest->state[forest->next] = PLACE_OUT;
            return forest->next;
        }
    }
    bool full = true;
    REQUIRE(!full);
    return 0;
}

/* Taken, never linked. */
static inline void forest_give_back(struct forest *forest, uint64_t place)
{
    REQUIRE(forest->state[place] == PLACE_OUT);
    forest->state[place] = PLACE_FREE;
}

static inline void forest_freed_page(void *context, uint64_t place)
{
    struct forest *forest = context;
    REQUIRE(forest->state[place] == PLACE_OUT);
    forest->state[place] = PLACE_FREED;
}

static inline void forest_freed(void *context, uint64_t place, uint32_t blocks)
{
    struct forest *forest = context;
    forest->freed_calls++;
    for (uint32_t i = 0; i < blocks; i++)
        forest_freed_page(context, place + i);
}

static inline uint64_t forest_checkpoint_take(void *context)
{
    struct forest *forest = context;
    uint64_t place = 1;
    while (forest->state[place] != PLACE_FREE)
        place++;
    REQUIRE(place < FOREST_PAGE_BLOCKS);
    forest->state[place] = PLACE_OUT;
    REQUIRE(forest->took < forest->took_max);
    forest->took++;
    forest->in_checkpoint[place] = true;
    return place;
}

static inline void forest_replaced(void *context, uint64_t place)
{
    struct forest *forest = context;
    REQUIRE(forest->state[place] == PLACE_OUT);
    REQUIRE(forest->in_checkpoint[place]);
    forest->state[place] = PLACE_LEAVING;
    forest->in_checkpoint[place] = false;
}

static inline void forest_woken(struct tree_path *path)
{
    (void)path;
}

static inline void forest_tree_open(struct forest *forest)
{
    struct page_cache_options cache = {
        .devices = &forest->devices,
        .frame_count = forest->frames,
        .reserve_frames = forest->frames / 4,
        .freed = forest_freed_page,
        .context = forest,
    };
    REQUIRE(page_cache_open(&cache, &forest->cache) == 0);
    struct tree_options options = {
        .cache = forest->cache,
        .devices = &forest->devices,
        .table = forest->root,
        .pages_used = forest->pages_used,
        .segments_max = forest->segments_max,
        .freed = forest_freed,
        .context = forest,
    };
    REQUIRE(tree_open(&options, &forest->tree) == 0);
    tree_path_init(&forest->path, forest->tree, forest_woken);
    tree_path_init(&forest->beside, forest->tree, forest_woken);
    forest->phase = FOREST_IDLE;
    forest->write.active = false;
}

static inline struct forest *forest_open(uint64_t seed, uint32_t frames, uint32_t segments_max)
{
    struct forest *forest = calloc(1, sizeof *forest);
    REQUIRE(forest != NULL);
    world_open(&forest->world, seed);
    forest->disk = sim_disk_open(&forest->world, "d", (uint64_t)FOREST_BLOCKS * BLOCK_BYTES);
    forest->devices.devices[0] =
        (struct device){.disk = &forest->disk->disk, .blocks = FOREST_BLOCKS};
    forest->devices.count = 1;
    device_set_init(&forest->devices);
    forest->frames = frames;
    forest->segments_max = segments_max;
    forest_tree_open(forest);
    return forest;
}

static inline void forest_close(struct forest *forest)
{
    tree_close(forest->tree);
    page_cache_close(forest->cache);
    world_close(&forest->world);
    free(forest);
}

/* --- Checkpoints ------------------------------------------------------------------------------ */

static inline void forest_table_done(struct tree_checkpoint *table, int result)
{
    struct forest *forest = CONTAINER_OF(table, struct forest, table);
    forest->phase = FOREST_IDLE;
    forest->failed = result;
    if (result != 0)
        return;
    forest->root = table->table;
    forest->pages_used = table->pages_used;
    tree_thaw(forest->tree);
    page_thaw(forest->cache);
    for (uint32_t i = 0; i < FOREST_BLOCKS; i++) {
        if (forest->state[i] == PLACE_LEAVING)
            forest->state[i] = PLACE_FREE;
    }
    memcpy(forest->in_durable, forest->in_checkpoint, sizeof forest->in_durable);
    forest->checkpoints++;
    if (forest->durable != NULL)
        forest->durable(forest);
}

static inline void forest_write_done(struct page_write *write, int result)
{
    struct forest *forest = CONTAINER_OF(write, struct forest, write);
    forest->failed = result;
    forest->phase = FOREST_IDLE;
    if (result != 0)
        return;
    forest->phase = FOREST_TABLE;
    forest->table = (struct tree_checkpoint){
        .take = forest_checkpoint_take,
        .replaced = forest_replaced,
        .context = forest,
        .done = forest_table_done,
    };
    tree_checkpoint_start(forest->tree, &forest->table);
    REQUIRE(forest->phase == FOREST_TABLE);
}

static inline void forest_freeze(struct forest *forest)
{
    REQUIRE(forest->phase == FOREST_IDLE);
    forest->took = 0;
    forest->took_max = page_dirty_count(forest->cache) + tree_table_pages_max(forest->tree);
    page_freeze(forest->cache);
    tree_freeze(forest->tree);
    for (uint32_t i = 0; i < FOREST_BLOCKS; i++) {
        forest->in_checkpoint[i] = forest->state[i] == PLACE_OUT;
        if (forest->state[i] == PLACE_FREED)
            forest->state[i] = PLACE_LEAVING;
    }
    if (forest->frozen != NULL)
        forest->frozen(forest);
    forest->phase = FOREST_PAGES;
    forest->write = (struct page_write){
        .take = forest_checkpoint_take,
        .replaced = forest_replaced,
        .context = forest,
        .done = forest_write_done,
    };
    page_write_start(forest->cache, &forest->write, 3);
}

static inline bool forest_wants_checkpoint(const struct forest *forest)
{
    return forest->phase == FOREST_IDLE && forest->failed == 0 && !forest->still &&
           (page_wants_checkpoint(forest->cache) || tree_wants_checkpoint(forest->tree));
}

static inline void forest_turn(struct forest *forest)
{
    (void)world_step(&forest->world);
    (void)device_turn(&forest->devices);
    (void)page_turn(forest->cache);
    if (forest->phase == FOREST_PAGES)
        page_write_turn(&forest->write);
    if (forest_wants_checkpoint(forest))
        forest_freeze(forest);
}

static inline bool forest_busy(const struct forest *forest)
{
    return forest->phase != FOREST_IDLE || page_turn_needed(forest->cache) ||
           !list_empty(&forest->devices.ended) || forest_wants_checkpoint(forest);
}

static inline void forest_settle(struct forest *forest)
{
    while (world_step(&forest->world) || forest_busy(forest))
        forest_turn(forest);
}

static inline void forest_checkpoint(struct forest *forest)
{
    forest_settle(forest);
    forest_freeze(forest);
    forest_settle(forest);
    REQUIRE(forest->failed == 0);
}

/* The process is gone; the next one opens the last durable checkpoint. */
static inline void forest_reopen(struct forest *forest)
{
    world_kill(&forest->world);
    list_init(&forest->devices.ended);
    tree_close(forest->tree);
    page_cache_close(forest->cache);
    for (uint32_t i = 0; i < FOREST_BLOCKS; i++)
        forest->state[i] = forest->in_durable[i] ? PLACE_OUT : PLACE_FREE;
    forest_tree_open(forest);
}

/* --- Calls that wait -------------------------------------------------------------------------- */

static inline void forest_path(struct forest *forest, struct tree_path *path, uint64_t volume,
                               uint64_t block, bool change)
{
    int result;
    while ((result = tree_path_open(path, volume, VIEW_HEAD, block, change)) == -EAGAIN)
        forest_turn(forest);
    REQUIRE(result == 0);
}

static inline struct tree_path *forest_at(struct forest *forest, uint64_t volume, uint64_t block,
                                          bool change)
{
    forest_path(forest, &forest->path, volume, block, change);
    return &forest->path;
}

static inline struct pointer forest_raw(uint64_t place, uint64_t sequence)
{
    return (struct pointer){
        .kind = POINTER_RAW, .place = place, .sequence = sequence, .crc = (uint32_t)sequence};
}

/* False: not newer. */
static inline bool forest_set(struct forest *forest, uint64_t volume, uint64_t block,
                              uint64_t sequence)
{
    struct tree_path *path = forest_at(forest, volume, block, true);
    struct pointer pointer = forest_raw(forest_take(forest), sequence);
    bool set = tree_set(path, (unsigned)(block % MAP_BLOCKS), &pointer);
    if (!set)
        forest_give_back(forest, pointer.place);
    tree_path_close(path);
    return set;
}

static inline struct pointer forest_get(struct forest *forest, uint64_t volume, uint64_t block)
{
    struct tree_path *path = forest_at(forest, volume, block, false);
    struct pointer pointer = tree_get(path, (unsigned)(block % MAP_BLOCKS));
    tree_path_close(path);
    return pointer;
}

/* The same in a volume that may have views: `cut` is the newest that is kept. */
static inline struct tree_path *forest_under(struct forest *forest, uint64_t volume, uint64_t block,
                                             uint64_t cut)
{
    int result;
    while ((result = tree_path_open_under(&forest->path, volume, block, cut)) == -EAGAIN)
        forest_turn(forest);
    REQUIRE(result == 0);
    return &forest->path;
}

static inline bool forest_set_under(struct forest *forest, uint64_t volume, uint64_t block,
                                    uint64_t sequence, uint64_t cut)
{
    struct tree_path *path = forest_under(forest, volume, block, cut);
    struct pointer pointer = forest_raw(forest_take(forest), sequence);
    bool set = tree_set(path, (unsigned)(block % MAP_BLOCKS), &pointer);
    if (!set)
        forest_give_back(forest, pointer.place);
    tree_path_close(path);
    return set;
}

static inline struct pointer forest_get_view(struct forest *forest, uint64_t volume, uint64_t view,
                                             uint64_t block)
{
    struct tree_path *path = &forest->path;
    int result;
    while ((result = tree_path_open(path, volume, view, block, false)) == -EAGAIN)
        forest_turn(forest);
    REQUIRE(result == 0);
    struct pointer pointer = tree_get(path, (unsigned)(block % MAP_BLOCKS));
    tree_path_close(path);
    return pointer;
}

static inline int forest_drop_view(struct forest *forest, uint64_t volume, uint32_t mebibyte,
                                   uint64_t cut, uint64_t previous)
{
    int result;
    while ((result = tree_view_drop(&forest->path, &forest->beside, volume, mebibyte, cut,
                                    previous)) == -EAGAIN)
        forest_turn(forest);
    return result;
}

static inline void forest_zero(struct forest *forest, uint64_t volume, uint64_t block,
                               unsigned count, uint64_t sequence)
{
    struct tree_path *path = forest_at(forest, volume, block, true);
    tree_zero(path, (unsigned)(block % MAP_BLOCKS), count, sequence);
    tree_path_close(path);
}

static inline int forest_next(struct forest *forest, const struct segment_key *key,
                              struct segment_key *ret_key)
{
    int result;
    while ((result = tree_next_segment(&forest->path, key, ret_key)) == -EAGAIN)
        forest_turn(forest);
    tree_path_close(&forest->path);
    return result;
}

static inline uint64_t forest_pages_used(const struct forest *forest)
{
    struct tree_stats stats;
    tree_stats(forest->tree, &stats);
    return stats.pages_used;
}

/* --- What a full walk reaches ----------------------------------------------------------------- */

struct survey {
    struct tree_walk walk;
    bool over;
    bool reached[FOREST_BLOCKS];
    bool shared[FOREST_BLOCKS]; /* Said to be reached by an older view. */
    bool page_at[FOREST_BLOCKS];
    uint64_t pages, blocks, zeros, errors, visits;
    unsigned pause_every;
    void (*look)(struct survey *survey, const struct tree_visit *visit); /* May be NULL. */
    void *context;
};

static inline enum tree_walk_answer survey_visit(struct tree_walk *walk,
                                                 const struct tree_visit *visit)
{
    struct survey *survey = CONTAINER_OF(walk, struct survey, walk);
    survey->visits++;
    survey->pages += visit->page;
    survey->blocks += visit->what == TREE_VISIT_BLOCK;
    survey->errors += visit->error != 0;
    if (pointer_has_place(&visit->pointer) && visit->shared) {
        survey->shared[visit->pointer.place] = true;
    } else if (pointer_has_place(&visit->pointer)) {
        REQUIRE(!survey->reached[visit->pointer.place]);
        survey->reached[visit->pointer.place] = true;
        survey->page_at[visit->pointer.place] = visit->page;
    }
    if (survey->look != NULL)
        survey->look(survey, visit);
    bool pause = survey->pause_every != 0 && survey->visits % survey->pause_every == 0;
    return pause ? TREE_WALK_PAUSE : TREE_WALK_ON;
}

static inline void survey_done(struct tree_walk *walk)
{
    CONTAINER_OF(walk, struct survey, walk)->over = true;
}

static inline void survey_run(struct survey *survey, struct forest *forest)
{
    survey->walk.visit = survey_visit;
    survey->walk.done = survey_done;
    forest->still = true;
    tree_walk_start(&survey->walk, forest->tree);
    while (!survey->over) {
        forest_turn(forest);
        if (survey->walk.paused)
            tree_walk_continue(&survey->walk);
    }
    forest->still = false;
}

/* Nothing leaks, nothing is freed that is reached, and the count of pages is right. */
static inline void survey_check(const struct survey *survey, const struct forest *forest)
{
    for (uint32_t i = 0; i < FOREST_BLOCKS; i++) {
        bool out = forest->state[i] == PLACE_OUT;
        REQUIRE(out == survey->reached[i]);
        REQUIRE(survey->reached[i] || !survey->shared[i]);
    }
    REQUIRE(survey->errors == 0);
    REQUIRE(survey->pages == forest_pages_used(forest));
}

#endif

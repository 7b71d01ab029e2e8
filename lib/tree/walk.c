/* SPDX-License-Identifier: Apache-2.0 */
#include "tree/walk.h"

#include "tree/internal.h"

/* Map pages or nodes that one turn may visit. */
#define STEPS_PER_TURN 8u

/*
 *   ROOT ──▶ TABLE (level by level) ──▶ SEGMENT ──▶ PAGES ──▶ SEGMENT … ──▶ ENDED
 */
enum walk_phase { WALK_ROOT, WALK_TABLE, WALK_SEGMENT, WALK_PAGES, WALK_ENDED };

/* What a step says: go on, stop for now (waiting, or paused). */
enum walk_step { WALK_MORE, WALK_LATER };

static enum walk_step walk_tell(struct tree_walk *walk, const struct tree_visit *visit)
{
    if (walk->visit(walk, visit) == TREE_WALK_ON)
        return WALK_MORE;
    walk->paused = true;
    return WALK_LATER;
}

static void walk_segments(struct tree_walk *walk)
{
    walk->key = (struct segment_key){0};
    walk->phase = WALK_SEGMENT;
}

static enum walk_step tell_node(struct tree_walk *walk, const struct segment_key *first,
                                const struct table_spot *spot, int error)
{
    struct tree_visit visit = {
        .what = TREE_VISIT_TABLE,
        .key = *first,
        .page = true,
        .level = spot->level,
        .pointer = spot->pointer,
        .error = error,
    };
    return walk_tell(walk, &visit);
}

static enum walk_step step_root(struct tree_walk *walk)
{
    struct tree *tree = walk->path.tree;
    walk_segments(walk);
    if (tree->table.kind == POINTER_HOLE)
        return WALK_MORE;
    struct table_spot spot;
    int result = table_descend(tree, &walk->key, TABLE_ROOT, &walk->path.waiter, &spot);
    if (result == -EAGAIN) {
        walk->phase = WALK_ROOT;
        return WALK_LATER;
    }
    if (result == 0) {
        table_leave(&spot);
        walk->level = spot.level;
        if (walk->level > 0) {
            walk->level--;
            walk->phase = WALK_TABLE;
        }
    }
    return tell_node(walk, &(struct segment_key){0}, &spot, result);
}

/* The next node of this level; a broken one above it was told already. */
static enum walk_step step_table(struct tree_walk *walk)
{
    struct tree *tree = walk->path.tree;
    struct table_spot spot;
    if (tree->table.kind == POINTER_HOLE || walk->level > tree->root_level) {
        walk_segments(walk); /* It shrank meanwhile. */
        return WALK_MORE;
    }
    int result = table_descend(tree, &walk->key, walk->level, &walk->path.waiter, &spot);
    if (result == -EAGAIN)
        return WALK_LATER;
    if (result == 0)
        table_leave(&spot);
    bool tell = spot.level == walk->level;
    struct segment_key first = walk->key;
    if (spot.bounded) {
        walk->key = spot.bound;
    } else if (walk->level > 0) {
        walk->level--;
        walk->key = (struct segment_key){0};
    } else {
        walk_segments(walk);
    }
    if (!tell)
        return WALK_MORE;
    return tell_node(walk, &first, &spot, result);
}

static enum walk_step step_segment(struct tree_walk *walk)
{
    struct segment_key from = walk->key;
    int result = segment_next(&walk->path, &from, true, &walk->key);
    if (result == -EAGAIN)
        return WALK_LATER;
    if (result != 0) {
        walk->phase = WALK_ENDED;
        walk->done(walk);
        return WALK_LATER;
    }
    if (segment_key_compare(&walk->key, &from) != 0)
        walk->from = 0;
    walk->map = segment_is_view(walk->key.segment) ? 0 : walk->from / MAP_BLOCKS;
    walk->index = walk->from % MAP_BLOCKS;
    walk->from = 0;
    walk->root_told = false;
    walk->page_told = false;
    walk->phase = WALK_PAGES;
    return WALK_MORE;
}

static enum walk_step segment_over(struct tree_walk *walk)
{
    walk->phase = WALK_SEGMENT;
    if (!segment_key_advance(&walk->key)) {
        walk->phase = WALK_ENDED;
        walk->done(walk);
        return WALK_LATER;
    }
    return WALK_MORE;
}

static uint64_t walk_block(const struct tree_walk *walk)
{
    if (walk->key.segment == SEGMENT_RECORD)
        return 0;
    if (segment_is_view(walk->key.segment))
        return (uint64_t)(walk->key.segment - SEGMENT_VIEWS) * MAP_BLOCKS + walk->index;
    return (uint64_t)walk->key.segment * SEGMENT_BLOCKS + walk->map * MAP_BLOCKS + walk->index;
}

static enum walk_step tell(struct tree_walk *walk, enum tree_visit_what what,
                           const struct pointer *pointer, int result)
{
    struct tree_visit visit = {
        .what = what,
        .key = walk->key,
        .block = walk_block(walk),
        .pointer = *pointer,
        .page = what != TREE_VISIT_BLOCK && result != -ENOENT,
        .shared = what == TREE_VISIT_BLOCK && pointer->sequence <= walk->before,
        .error = result == -ENOENT ? 0 : result,
    };
    return walk_tell(walk, &visit);
}

static void map_over(struct tree_walk *walk)
{
    walk->map++;
    walk->index = 0;
    walk->page_told = false;
}

/* What one map page shows, from walk->index on. */
static enum walk_step tell_blocks(struct tree_walk *walk, struct page *page)
{
    while (walk->index < MAP_BLOCKS) {
        struct pointer pointer = page_slot(page, walk->index);
        enum walk_step step = WALK_MORE;
        if (pointer.kind != POINTER_HOLE)
            step = tell(walk, TREE_VISIT_BLOCK, &pointer, 0);
        walk->index++;
        if (step == WALK_LATER)
            return step;
    }
    map_over(walk);
    return WALK_MORE;
}

/* Who shows blocks of this map page as well. False: what it takes is being read. */
static bool find_before(struct tree_walk *walk)
{
    struct owner owner = {.cut = 0};
    uint64_t cut = segment_is_view(walk->key.segment) ? walk->key.view : VIEW_HEAD;
    int result =
        owner_before(walk->path.tree, walk->key.volume, (uint32_t)(walk_block(walk) / MAP_BLOCKS),
                     cut, &walk->path.waiter, &owner);
    walk->before = result == 0 ? owner.cut : 0;
    return result != -EAGAIN;
}

/* A map page, from what came of opening it: pinned here if it was. */
static enum walk_step walk_page(struct tree_walk *walk, const struct pointer *pointer,
                                struct page *page, int result)
{
    enum walk_step step = WALK_MORE;
    if (!walk->page_told && (result != -ENOENT || pointer->kind != POINTER_HOLE))
        step = tell(walk, TREE_VISIT_MAP, pointer, result);
    walk->page_told = true;
    if (result != 0)
        map_over(walk);
    else if (step == WALK_MORE)
        step = tell_blocks(walk, page);
    return step;
}

/* One map page beneath a pinned directory. */
static enum walk_step walk_map(struct tree_walk *walk, struct page *directory)
{
    struct page *page = NULL;
    struct pointer pointer = page_slot(directory, walk->map);
    int result = page_open(walk->path.tree->cache, directory, walk->map, &walk->path.waiter, &page);
    if (result == -EAGAIN)
        return WALK_LATER;
    enum walk_step step = WALK_LATER;
    if (result != 0 || find_before(walk))
        step = walk_page(walk, &pointer, page, result);
    if (page != NULL)
        page_unpin(page);
    return step;
}

/* A view's own page: no more than that is in its segment. */
static enum walk_step walk_view(struct tree_walk *walk, struct segment *segment)
{
    struct page *page = NULL;
    int result = page_open_root(walk->path.tree->cache, &segment->root, &walk->path.waiter, &page);
    if (result == -EAGAIN)
        return WALK_LATER;
    enum walk_step step = WALK_LATER;
    if (result != 0 || find_before(walk))
        step = walk_page(walk, &segment->root.pointer, page, result);
    if (walk->map > 0)
        walk->map = POINTERS_PER_PAGE;
    if (page != NULL)
        page_unpin(page);
    return step;
}

/* The root, then one map page after the other. */
static enum walk_step walk_segment(struct tree_walk *walk, struct segment *segment)
{
    struct page *root = NULL;
    int result = page_open_root(walk->path.tree->cache, &segment->root, &walk->path.waiter, &root);
    if (result == -EAGAIN)
        return WALK_LATER;
    bool record = walk->key.segment == SEGMENT_RECORD;
    enum walk_step step = WALK_MORE;
    if (!walk->root_told && (result != -ENOENT || segment->root.pointer.kind != POINTER_HOLE))
        step = tell(walk, record ? TREE_VISIT_RECORD : TREE_VISIT_DIRECTORY, &segment->root.pointer,
                    result);
    walk->root_told = true;
    if (result != 0 || record)
        walk->map = POINTERS_PER_PAGE;
    else if (step == WALK_MORE && walk->map < POINTERS_PER_PAGE)
        step = walk_map(walk, root);
    if (root != NULL)
        page_unpin(root);
    return step;
}

static enum walk_step step_pages(struct tree_walk *walk)
{
    int result = segment_hold(&walk->path, &walk->key);
    if (result == -EAGAIN)
        return WALK_LATER;
    if (result != 0) /* The table is broken there, and that was told. */
        return segment_over(walk);
    bool view = segment_is_view(walk->key.segment);
    enum walk_step step =
        view ? walk_view(walk, walk->path.segment) : walk_segment(walk, walk->path.segment);
    if (step == WALK_LATER && !walk->paused)
        return step; /* Waiting: the segment stays. */
    segment_release(&walk->path);
    if (walk->map < POINTERS_PER_PAGE)
        return step;
    enum walk_step next = segment_over(walk);
    return step == WALK_LATER ? step : next;
}

static enum walk_step walk_step(struct tree_walk *walk)
{
    switch ((enum walk_phase)walk->phase) {
    case WALK_ROOT: return step_root(walk);
    case WALK_TABLE: return step_table(walk);
    case WALK_SEGMENT: return step_segment(walk);
    case WALK_PAGES: return step_pages(walk);
    case WALK_ENDED: break;
    }
    return WALK_LATER;
}

static void walk_woken(struct tree_path *path)
{
    struct tree_walk *walk = CONTAINER_OF(path, struct tree_walk, path);
    if (walk->paused)
        return;
    for (unsigned i = 0; i < STEPS_PER_TURN; i++) {
        if (walk_step(walk) == WALK_LATER)
            return;
    }
    page_wake(path->tree->cache, &path->waiter);
}

static void walk_start(struct tree_walk *walk, struct tree *tree, enum walk_phase phase)
{
    tree_path_init(&walk->path, tree, walk_woken);
    walk->phase = (uint8_t)phase;
    walk->paused = false;
    page_wake(tree->cache, &walk->path.waiter);
}

void tree_walk_start(struct tree_walk *walk, struct tree *tree)
{
    walk_start(walk, tree, WALK_ROOT);
}

void tree_walk_start_at(struct tree_walk *walk, struct tree *tree, const struct segment_key *key,
                        uint32_t block)
{
    walk->key = *key;
    walk->from = MIN(block, SEGMENT_BLOCKS);
    walk_start(walk, tree, WALK_SEGMENT);
}

void tree_walk_where(const struct tree_walk *walk, struct segment_key *ret_key, uint32_t *ret_block)
{
    bool table = walk->phase == WALK_ROOT || walk->phase == WALK_TABLE;
    *ret_key = table ? (struct segment_key){0} : walk->key;
    *ret_block = walk->phase == WALK_PAGES ? walk->map * MAP_BLOCKS + walk->index : walk->from;
}

void tree_walk_continue(struct tree_walk *walk)
{
    assert(walk->paused);
    walk->paused = false;
    page_wake(walk->path.tree->cache, &walk->path.waiter);
}

void tree_walk_stop(struct tree_walk *walk)
{
    if (walk->path.tree == NULL)
        return;
    walk->phase = WALK_ENDED;
    tree_path_close(&walk->path);
}

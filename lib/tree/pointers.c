/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and moving the pointers of one map page, and giving back what they showed. */
#include "tree/internal.h"

/* Neighbouring blocks that became free, told as one. */
struct run {
    struct tree *tree;
    uint64_t place;
    uint32_t blocks;
};

static void run_flush(struct run *run)
{
    if (run->blocks > 0)
        run->tree->freed(run->tree->context, run->place, run->blocks);
    run->blocks = 0;
}

static void run_add(struct run *run, uint64_t place, uint32_t blocks)
{
    if (run->blocks > 0 && run->place + run->blocks == place) {
        run->blocks += blocks;
        return;
    }
    run_flush(run);
    run->place = place;
    run->blocks = blocks;
}

static bool is_run(const struct pointer *pointer)
{
    return pointer->kind >= POINTER_RUN;
}

/* A compressed run goes with the last pointer that shows it; all of them are in one map page. */
static bool run_is_shown(const struct page *page, const struct pointer *old)
{
    for (unsigned i = 0; page != NULL && i < MAP_BLOCKS; i++) {
        struct pointer pointer = page_slot(page, i);
        if (is_run(&pointer) && pointer.place == old->place)
            return true;
    }
    return false;
}

static bool run_is_listed(const struct pointer *olds, unsigned count, const struct pointer *old)
{
    for (unsigned i = 0; i < count; i++) {
        if (is_run(&olds[i]) && olds[i].place == old->place)
            return true;
    }
    return false;
}

/* Who else may show what a page showed. */
struct kept {
    uint64_t before;          /* The owner before: what is as old as it or older is in its page. */
    const struct page *after; /* The page of the owner after; NULL: none, or it shows no block. */
};

/* Every place is shown at one index of its mebibyte. */
static bool is_kept(const struct kept *kept, const struct pointer *old, unsigned index)
{
    if (old->sequence <= kept->before && !MUTANT(52))
        return true;
    if (kept->after == NULL || MUTANT(53))
        return false;
    struct pointer after = page_slot(kept->after, index);
    return pointer_has_place(&after) && after.place == old->place;
}

/* Frees what `olds`, from `index` on, showed and `page` (NULL: gone) and others show no more. */
static void free_olds(struct tree *tree, const struct page *page, const struct pointer *olds,
                      unsigned index, unsigned count, const struct kept *kept)
{
    struct run run = {.tree = tree};
    for (unsigned i = 0; i < count; i++) {
        const struct pointer *old = &olds[i];
        if (!pointer_has_place(old) || is_kept(kept, old, index + i))
            continue;
        if (!is_run(old))
            run_add(&run, old->place, 1);
        else if (!run_is_listed(olds, i, old) && !run_is_shown(page, old))
            run_add(&run, old->place, (old->kind & 31u) + 1u);
    }
    run_flush(&run);
}

struct pointer tree_get(const struct tree_path *path, unsigned index)
{
    assert(path->open && index < MAP_BLOCKS);
    return path->page != NULL ? page_slot(path->page, index) : path->above;
}

/* The head has changed under no cut, or an older one, since this one was taken: it is not kept any
 * more, and a write that carried it comes late. What it would be given is not what it showed, and
 * newer than itself: the rule that frees by sequence would free that twice. */
static bool cut_is_passed(struct tree_path *path)
{
    for (unsigned i = 0; i < (path->page != NULL ? MAP_BLOCKS : 1) && !path->passed; i++)
        path->passed = tree_get(path, i).sequence > path->cut && !MUTANT(33);
    return path->passed;
}

/* What a cut shows stays as it is. */
static void change_begins(struct tree_path *path)
{
    assert(path->open && path->change && path->view == VIEW_HEAD);
    if (path->cut > path->owner && !cut_is_passed(path) && !MUTANT(54))
        view_make_owner(path);
}

static void make_directory(struct tree_path *path)
{
    if (path->directory != NULL)
        return;
    struct pointer above = path->segment->root.pointer;
    path->directory = page_create_root(path->tree->cache, &path->segment->root, &above);
    path->tree->pages++;
}

void path_make_page(struct tree_path *path)
{
    assert(path->open && path->change);
    if (path->page != NULL)
        return;
    if (path->segment->root.level == 0) { /* A view's own. */
        path->page = page_create_root(path->tree->cache, &path->segment->root, &path->above);
        path->tree->pages++;
        path_refresh(path->segment);
        return;
    }
    make_directory(path);
    struct pointer above = page_slot(path->directory, path->map);
    path->page = page_create(path->tree->cache, path->directory, path->map, &above);
    path->tree->pages++;
    path_refresh(path->segment);
}

void tree_replace(struct tree_path *path, unsigned index, const struct pointer *pointer)
{
    assert(index < MAP_BLOCKS);
    change_begins(path);
    path_make_page(path);
    struct pointer old = page_slot(path->page, index);
    struct kept kept = {.before = path->owner};
    path->tree->asides -= old.kind == POINTER_SET_ASIDE;
    page_set_slot(path->page, index, pointer);
    free_olds(path->tree, path->page, &old, index, 1, &kept);
}

bool tree_set(struct tree_path *path, unsigned index, const struct pointer *pointer)
{
    assert(pointer->kind != POINTER_HOLE);
    struct pointer now = tree_get(path, index);
    /* What is set aside gives way to the same write, sent again. */
    bool again = now.kind == POINTER_SET_ASIDE && pointer->sequence == now.sequence;
    if (pointer->sequence <= now.sequence && !again && !MUTANT(44))
        return false;
    tree_replace(path, index, pointer);
    return true;
}

/* All of the map page is zero or hole from now on: a slot of the directory says so. */
static void set_above(struct tree_path *path, const struct pointer *above)
{
    make_directory(path);
    page_set_slot(path->directory, path->map, above);
    path_refresh(path->segment);
}

void page_drop_shown(struct tree_path *path, const struct pointer *instead, uint64_t before,
                     const struct page *after)
{
    struct pointer olds[MAP_BLOCKS];
    struct kept kept = {.before = before, .after = after};
    for (unsigned i = 0; i < MAP_BLOCKS; i++) {
        olds[i] = page_slot(path->page, i);
        path->tree->asides -= olds[i].kind == POINTER_SET_ASIDE;
    }
    page_drop(path->page, instead);
    path->page = NULL;
    path->tree->pages--;
    path_refresh(path->segment);
    free_olds(path->tree, NULL, olds, 0, MAP_BLOCKS, &kept);
}

/* What the page shows is freed, the page itself is dropped. False: somebody else holds it. */
static bool drop_page(struct tree_path *path, const struct pointer *instead)
{
    if (!path_detach_others(path, path->page))
        return false;
    page_drop_shown(path, instead, path->owner, NULL);
    return true;
}

/* What is set aside gives way to the same zeros, sent again. */
static bool zero_takes(const struct pointer *old, uint64_t sequence)
{
    return old->sequence < sequence ||
           (old->kind == POINTER_SET_ASIDE && old->sequence == sequence);
}

/*
 * Would every block of the page be zero with just this sequence? Only then may one pointer speak
 * for all: a block that was not covered keeps its own sequence, or a late write to it would lose.
 */
static bool zero_collapses(const struct tree_path *path, unsigned index, unsigned count,
                           uint64_t sequence)
{
    for (unsigned i = 0; i < MAP_BLOCKS; i++) {
        struct pointer pointer = page_slot(path->page, i);
        bool covered = i >= index && i < index + count;
        if (covered && zero_takes(&pointer, sequence))
            continue;
        if (MUTANT(45) && !pointer_has_place(&pointer))
            continue;
        if (pointer.kind != POINTER_ZERO || pointer.sequence != sequence)
            return false;
    }
    return true;
}

static void zero_slots(struct tree_path *path, unsigned index, unsigned count, uint64_t sequence)
{
    struct pointer olds[MAP_BLOCKS];
    struct kept kept = {.before = path->owner};
    struct pointer zero = pointer_zero(sequence);
    for (unsigned i = 0; i < count; i++) {
        struct pointer old = page_slot(path->page, index + i);
        olds[i] = (struct pointer){.kind = POINTER_HOLE};
        if (!zero_takes(&old, sequence))
            continue;
        olds[i] = old;
        path->tree->asides -= old.kind == POINTER_SET_ASIDE;
        page_set_slot(path->page, index + i, &zero);
    }
    free_olds(path->tree, path->page, olds, index, count, &kept);
}

static bool zero_is_newer(const struct tree_path *path, unsigned index, unsigned count,
                          uint64_t sequence)
{
    for (unsigned i = index; i < index + count; i++) {
        struct pointer pointer = tree_get(path, i);
        if (zero_takes(&pointer, sequence))
            return true;
    }
    return false;
}

void tree_zero(struct tree_path *path, unsigned index, unsigned count, uint64_t sequence)
{
    assert(path->open && path->change);
    assert(count > 0 && index < MAP_BLOCKS && count <= MAP_BLOCKS - index && sequence > 0);
    struct pointer zero = pointer_zero(sequence);
    if (zero_is_newer(path, index, count, sequence))
        change_begins(path);
    if (path->page == NULL) {
        if (path->above.sequence >= sequence)
            return;
        if (count == MAP_BLOCKS) {
            set_above(path, &zero);
            return;
        }
        path_make_page(path);
    }
    if (zero_collapses(path, index, count, sequence) && drop_page(path, &zero)) {
        REACH(tree_zero_collapsed);
        return;
    }
    zero_slots(path, index, count, sequence);
}

void tree_damage(struct tree_path *path, unsigned index, unsigned count, uint64_t sequence)
{
    struct pointer bad = {.kind = POINTER_BAD, .sequence = sequence};
    for (unsigned i = 0; i < count; i++)
        (void)tree_set(path, index + i, &bad);
}

void tree_drop_map(struct tree_path *path)
{
    assert(path->open && path->change);
    struct pointer hole = {.kind = POINTER_HOLE};
    if (path->page != NULL) {
        change_begins(path);
        bool dropped = drop_page(path, &hole);
        assert(dropped);
    } else if (path->directory != NULL && path->above.kind != POINTER_HOLE) {
        change_begins(path);
        set_above(path, &hole);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making an owner, and taking one away: each in one instant, with everything in hand.
 *
 *   owners of a mebibyte       o1        o2        o3     head
 *   what each shows       ..───┘ ───────┘ ────────┘ ──────────▶
 *
 *   a change under a cut newer than o3: it becomes o4 with what the head shows. Where the head's
 *   page is as it was written o4 takes over that very version, and the page in memory goes on as
 *   one that was never written; else o4 has a copy of it.
 *   o2 goes: if the cut before it that is kept is newer than o1, it needs what o2 had: the page
 *   becomes its own. Else the page goes, and of its blocks those that neither o1 nor o3 shows.
 */
#include "tree/internal.h"

/* --- One more --------------------------------------------------------------------------------- */

/* Paths that read a cut are open on the head, and are about to see another page. */
static bool has_readers(const struct tree_path *path)
{
    LIST_EACH (&path->segment->paths, node) {
        const struct tree_path *other = LIST_ENTRY(node, struct tree_path, node);
        if (other->map == path->map && other->view <= path->cut)
            return true;
    }
    return false;
}

/* All who are open on the head of a mebibyte hear who its newest owner is. */
static void heads_hear(struct segment *head, uint32_t map, uint64_t from, uint64_t to)
{
    if (MUTANT(55))
        return;
    LIST_EACH (&head->paths, node) {
        struct tree_path *path = LIST_ENTRY(node, struct tree_path, node);
        if (path->map == map && path->view == VIEW_HEAD && path->change && path->owner == from)
            path->owner = to;
    }
}

static void count_asides(struct tree_path *path)
{
    for (unsigned i = 0; i < MAP_BLOCKS; i++)
        path->tree->asides += page_slot(path->page, i).kind == POINTER_SET_ASIDE;
}

void view_make_owner(struct tree_path *path)
{
    struct tree *tree = path->tree;
    struct segment *head = path->segment, *view = path->beside;
    bool leads = path->view == VIEW_HEAD; /* Else another owner's page is divided. */
    assert(view != NULL && view->key.view == path->cut && !segment_has_anything(view));
    if (path->page == NULL) {
        REACH(tree_owner_of_nothing);
        struct pointer zero = pointer_zero(path->above.sequence);
        page_set_root(tree->cache, &view->root, &zero);
    } else if (leads && !page_changed(path->page) && page_pointer(path->page).kind == POINTER_RAW &&
               !has_readers(path)) {
        REACH(tree_owner_takes_over);
        struct pointer given = page_disown(path->page);
        page_set_root(tree->cache, &view->root, &given);
        tree->pages++;
    } else {
        REACH(tree_owner_copies);
        page_unpin(page_copy_root(tree->cache, &view->root, path->page));
        tree->pages++;
    }
    if (path->page != NULL)
        count_asides(path);
    LIST_EACH_SAFE (&head->paths, node, after) {
        struct tree_path *other = LIST_ENTRY(node, struct tree_path, node);
        if (other->map == path->map && other->view <= path->cut && !MUTANT(56))
            path_move(other, view);
    }
    if (!leads)
        return;
    path_forget_owner(tree, &head->key, path->map);
    heads_hear(head, path->map, path->owner, path->cut);
}

/* --- One less --------------------------------------------------------------------------------- */

/* Open paths on the head, if the owner that goes was the newest. */
static void owner_gone(struct tree_path *path, const struct segment_key *key, uint64_t instead)
{
    uint32_t mebibyte = key->segment - SEGMENT_VIEWS;
    struct segment_key head = head_key(key->volume, (uint64_t)mebibyte * MAP_BLOCKS);
    struct segment *segment = segment_find(path->tree, &head);
    path_forget_owner(path->tree, &head, mebibyte % POINTERS_PER_PAGE);
    if (segment != NULL)
        heads_hear(segment, mebibyte % POINTERS_PER_PAGE, key->view, instead);
}

/* path->segment is the view's, held, its page pinned by the path if it has one. */
static void drop_owner(struct tree_path *path, uint64_t before, const struct page *after)
{
    struct segment *segment = path->segment;
    struct segment_key key = segment->key;
    struct pointer hole = {.kind = POINTER_HOLE};
    if (path->page != NULL) {
        bool alone = path_detach_others(path, path->page);
        assert(alone);
        page_drop_shown(path, &hole, before, after);
    } else {
        page_set_root(path->tree->cache, &segment->root, &hole);
        path_refresh(segment);
    }
    owner_gone(path, &key, before);
}

/* The page of path->segment becomes that of path->beside. */
static void rename_owner(struct tree_path *path)
{
    struct tree *tree = path->tree;
    struct segment *from = path->segment, *to = path->beside;
    struct page *page = page_cached_root(&from->root);
    if (page == NULL || !page_frozen(page)) {
        page_move_root(tree->cache, &from->root, &to->root);
    } else {
        REACH(tree_owner_renamed_frozen);
        page_unpin(page_copy_root(tree->cache, &to->root, page));
    }
    LIST_EACH_SAFE (&from->paths, node, after) {
        struct tree_path *other = LIST_ENTRY(node, struct tree_path, node);
        if (other->view <= to->key.view)
            path_move(other, to);
        else
            path_strand(other);
    }
    if (from->root.page != NULL) {
        struct pointer hole = {.kind = POINTER_HOLE};
        page_pin(page);
        page_drop(page, &hole);
    }
    owner_gone(path, &from->key, to->key.view);
}

/* Ends an attempt: who has to wait keeps segments and reservation, not pins. */
static int drop_ends(struct tree_path *path, int result)
{
    if (result != -EAGAIN) {
        tree_path_close(path);
    } else if (path->page != NULL) {
        page_unpin(path->page);
        path->page = NULL;
    }
    return result;
}

/* What `cut` has, and who is before it: 0; -ENOENT: it has nothing; -EAGAIN or an error. */
static int find_owner(struct tree_path *path, const struct segment_key *key,
                      struct owner *ret_before)
{
    struct pointer pointer;
    int result = root_find(path->tree, key, &path->waiter, &pointer);
    if (result != 0)
        return result;
    *ret_before = (struct owner){.cut = 0};
    result = owner_before(path->tree, key->volume, key->segment - SEGMENT_VIEWS, key->view,
                          &path->waiter, ret_before);
    return result == -ENOENT ? 0 : result;
}

static int find_after(struct tree_path *path, const struct segment_key *key,
                      struct segment_key *ret_key)
{
    uint32_t mebibyte = key->segment - SEGMENT_VIEWS;
    struct owner after;
    int result =
        owner_from(path->tree, key->volume, mebibyte, key->view + 1, &path->waiter, &after);
    if (result == 0) {
        *ret_key = view_key(key->volume, mebibyte, after.cut);
    } else if (result == -ENOENT) {
        *ret_key = head_key(key->volume, (uint64_t)mebibyte * MAP_BLOCKS);
        result = 0;
    }
    return result;
}

static int hold(struct tree_path *path, const struct segment_key *key,
                const struct segment_key *beside)
{
    int result = path_hold(path, key, beside);
    return result != 0 ? result : path_reserve(path, VIEW_FRAMES);
}

/* The page of the view that path->segment is, pinned: 0, also where there is none. */
static int open_own_page(struct tree_path *path)
{
    int result =
        page_open_root(path->tree->cache, &path->segment->root, &path->waiter, &path->page);
    return result == -ENOENT ? 0 : result;
}

/* The page of the owner after, which is path->beside, pinned by another path. */
static int open_after(const struct tree_path *path, struct tree_path *after, uint32_t mebibyte)
{
    segment_keep(path->tree, path->beside);
    after->segment = path->beside;
    after->map = mebibyte % POINTERS_PER_PAGE;
    return path_open_pages(after);
}

int tree_view_drop(struct tree_path *path, struct tree_path *beside, uint64_t volume,
                   uint32_t mebibyte, uint64_t cut, uint64_t previous)
{
    assert(!path->open && !beside->open && mebibyte < VIEW_MEBIBYTES);
    assert(previous < cut && cut < VIEW_HEAD);
    struct segment_key key = view_key(volume, mebibyte, cut), second;
    struct owner before;
    tree_path_close(beside);
    /* All of it each time: only what is found and done in one instant is true. */
    int result = find_owner(path, &key, &before);
    if (result != 0)
        return drop_ends(path, result == -ENOENT ? 0 : result);
    bool renames = previous > before.cut && !MUTANT(57);
    renames = renames || (MUTANT(58) && previous > 0);
    if (renames)
        second = view_key(volume, mebibyte, previous);
    else
        result = find_after(path, &key, &second);
    if (result == 0)
        result = hold(path, &key, &second);
    if (result == 0 && !renames)
        result = open_own_page(path);
    if (result == 0 && path->page != NULL)
        result = open_after(path, beside, mebibyte);
    if (result != 0)
        return drop_ends(path, result);
    if (renames)
        rename_owner(path);
    else
        drop_owner(path, before.cut, beside->page);
    tree_path_close(beside);
    return drop_ends(path, 0);
}

int tree_views_drop_newest(struct tree_path *path, uint64_t volume, uint32_t mebibyte)
{
    assert(!path->open && mebibyte < VIEW_MEBIBYTES);
    struct owner newest, before;
    int result = owner_before(path->tree, volume, mebibyte, VIEW_HEAD, &path->waiter, &newest);
    if (result != 0)
        return drop_ends(path, result == -ENOENT ? 0 : result);
    struct segment_key key = view_key(volume, mebibyte, newest.cut);
    result = find_owner(path, &key, &before);
    if (result == 0)
        result = hold(path, &key, NULL);
    if (result == 0)
        result = open_own_page(path);
    if (result != 0)
        return drop_ends(path, result);
    drop_owner(path, before.cut, NULL);
    return drop_ends(path, -EINPROGRESS);
}

int tree_view_give_up(struct tree_path *path, uint64_t volume, uint32_t mebibyte, uint64_t cut)
{
    assert(!path->open && mebibyte < VIEW_MEBIBYTES);
    struct segment_key key = view_key(volume, mebibyte, cut);
    struct pointer hole = {.kind = POINTER_HOLE};
    struct owner before;
    int result = find_owner(path, &key, &before);
    if (result == 0)
        result = hold(path, &key, NULL);
    if (result != 0)
        return drop_ends(path, result == -ENOENT ? 0 : result);
    struct page_root *root = &path->segment->root;
    struct page *page = page_cached_root(root);
    if (page != NULL) {
        page_pin(page);
        bool alone = path_detach_others(path, page);
        assert(alone);
        page_drop(page, &hole);
        path->tree->pages--;
    } else if (root->pointer.kind == POINTER_RAW) {
        result = page_abandon_root(path->tree->cache, root, &hole, &path->waiter);
        if (result != 0)
            return drop_ends(path, result);
        path->tree->pages--;
    } else {
        page_set_root(path->tree->cache, root, &hole);
    }
    path_refresh(path->segment);
    owner_gone(path, &key, before.cut);
    return drop_ends(path, 0);
}

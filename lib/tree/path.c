/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to one map page.
 *
 *   segment (table) ──▶ reservation, if it is for a change ──▶ directory ──▶ map page ──▶ open
 *
 * In this order: who waits for a segment object waits for a checkpoint, and must not hold frames
 * that the checkpoint may need. While a path waits for a page it holds its segment and its
 * reservation, and no pins: the page that is being read keeps what is above it.
 *
 * Several paths may be open on one map page. When one of them makes or drops a page, the others
 * hear of it in the same call, so what a path says is what is true.
 */
#include "tree/internal.h"

static void path_woken(struct page_waiter *waiter)
{
    struct tree_path *path = CONTAINER_OF(waiter, struct tree_path, waiter);
    path->wake(path);
}

void tree_path_init(struct tree_path *path, struct tree *tree, void (*wake)(struct tree_path *))
{
    *path = (struct tree_path){.tree = tree, .wake = wake, .context = path->context};
    list_init(&path->waiter.node);
    list_init(&path->node);
    path->waiter.wake = path_woken;
}

static void path_unreserve(struct tree_path *path)
{
    if (path->reserved == 0)
        return;
    page_unreserve(path->tree->cache, path->reserved);
    path->tree->changing--;
    path->tree->copying -= path->reserved == VIEW_FRAMES;
    path->reserved = 0;
}

void tree_path_close(struct tree_path *path)
{
    page_waiter_cancel(&path->waiter);
    list_remove(&path->node);
    if (path->page != NULL)
        page_unpin(path->page);
    if (path->directory != NULL)
        page_unpin(path->directory);
    path->page = NULL;
    path->directory = NULL;
    path_unreserve(path);
    segment_release(path);
    path->open = false;
    path->change = false;
}

/* Its root is what others have two levels below: a record, or a view's own page. */
static bool is_leaf(const struct segment *segment)
{
    return segment->root.level == 0;
}

static void path_pin(struct page **slot, struct page *page)
{
    if (*slot != NULL || page == NULL)
        return;
    page_pin(page);
    *slot = page;
}

static void path_look(struct tree_path *path)
{
    struct segment *segment = path->segment;
    struct page *root = page_cached_root(&segment->root);
    if (is_leaf(segment)) {
        path_pin(&path->page, root);
        path->above = segment->root.pointer;
        if (path->above.sequence == 0) /* The table holds no holes: such a zero is one. */
            path->above = (struct pointer){.kind = POINTER_HOLE};
        return;
    }
    path_pin(&path->directory, root);
    if (path->directory != NULL)
        path_pin(&path->page, page_cached(path->directory, path->map));
    if (path->page == NULL)
        path->above =
            path->directory != NULL ? page_slot(path->directory, path->map) : segment->root.pointer;
}

void path_refresh(struct segment *segment)
{
    if (MUTANT(48))
        return;
    LIST_EACH (&segment->paths, node)
        path_look(LIST_ENTRY(node, struct tree_path, node));
}

bool path_detach_others(struct tree_path *path, struct page *page)
{
    LIST_EACH (&path->segment->paths, node) {
        struct tree_path *other = LIST_ENTRY(node, struct tree_path, node);
        if (other == path)
            continue;
        if (other->page == page) {
            page_unpin(page);
            other->page = NULL;
        } else if (other->directory == page) {
            page_unpin(page);
            other->directory = NULL;
        }
    }
    return page_pins(page) == 1;
}

void path_strand(struct tree_path *path)
{
    if (path->page != NULL)
        page_unpin(path->page);
    if (path->directory != NULL)
        page_unpin(path->directory);
    path->page = NULL;
    path->directory = NULL;
    path->above = (struct pointer){.kind = POINTER_HOLE};
}

void path_move(struct tree_path *path, struct segment *segment)
{
    struct segment *from = path->segment;
    path_strand(path);
    list_remove(&path->node);
    segment_keep(path->tree, segment);
    path->segment = segment;
    path->key = segment->key;
    path->owner = segment->key.view;
    segment_let_go(path->tree, from);
    list_push_back(&segment->paths, &path->node);
    path_look(path);
}

int path_open_pages(struct tree_path *path)
{
    struct page_cache *cache = path->tree->cache;
    struct page_root *root = &path->segment->root;
    struct page **first = is_leaf(path->segment) ? &path->page : &path->directory;
    int result = page_open_root(cache, root, &path->waiter, first);
    if (result == 0 && path->directory != NULL)
        result = page_open(cache, path->directory, path->map, &path->waiter, &path->page);
    if (result == 0 || result == -ENOENT)
        return 0;
    if (path->directory != NULL)
        page_unpin(path->directory);
    path->directory = NULL;
    return result;
}

int path_reserve(struct tree_path *path, uint8_t frames)
{
    struct tree *tree = path->tree;
    if (path->reserved == frames)
        return 0;
    path_unreserve(path);
    tree->views |= frames == VIEW_FRAMES;
    int result = tree_ask_admission(path);
    if (result == 0)
        result = page_reserve_patiently(tree->cache, frames, &path->waiter);
    if (result != 0)
        return result;
    path->reserved = frames;
    tree->changing++;
    tree->copying += frames == VIEW_FRAMES;
    return 0;
}

int path_hold(struct tree_path *path, const struct segment_key *key,
              const struct segment_key *beside)
{
    if (path->segment != NULL && segment_key_compare(&path->segment->key, key) != 0)
        tree_path_close(path);
    if (path->beside != NULL &&
        (beside == NULL || segment_key_compare(&path->beside->key, beside) != 0)) {
        segment_let_go(path->tree, path->beside);
        path->beside = NULL;
    }
    return beside != NULL ? segment_hold_both(path, key, beside) : segment_hold(path, key);
}

int path_open(struct tree_path *path, const struct segment_key *key,
              const struct segment_key *beside, bool change)
{
    assert(!path->open);
    int result = path_hold(path, key, beside);
    if (result == 0 && change)
        result = path_reserve(path, beside != NULL ? VIEW_FRAMES : PATH_FRAMES);
    if (result == 0)
        result = path_open_pages(path);
    if (result == -EAGAIN)
        return result;
    if (result != 0) {
        tree_path_close(path);
        return result;
    }
    path->key = *key;
    path->change = change;
    path->open = true;
    list_push_back(&path->segment->paths, &path->node);
    path_look(path);
    return 0;
}

static uint32_t path_aim(struct tree_path *path, uint64_t block, uint64_t view)
{
    assert(block / SEGMENT_BLOCKS < SEGMENTS_PER_VOLUME);
    path->map = (uint32_t)(block % SEGMENT_BLOCKS / MAP_BLOCKS);
    path->view = view;
    path->cut = 0;
    path->passed = false;
    return (uint32_t)(block / MAP_BLOCKS);
}

int tree_path_open(struct tree_path *path, uint64_t volume, uint64_t view, uint64_t block,
                   bool change)
{
    uint32_t mebibyte = path_aim(path, block, view);
    struct segment_key key = head_key(volume, block);
    struct owner owner = {.cut = VIEW_HEAD};
    /* Each time anew: while we waited a change may have given the view a page. */
    if (view != VIEW_HEAD) {
        int result = owner_from(path->tree, volume, mebibyte, view, &path->waiter, &owner);
        if (result == 0) {
            key = view_key(volume, mebibyte, owner.cut);
        } else if (result != -ENOENT) {
            if (result != -EAGAIN)
                tree_path_close(path);
            return result;
        }
    }
    path->owner = view == VIEW_HEAD && change ? 0 : owner.cut;
    return path_open(path, &key, NULL, change);
}

static struct page *head_page(struct tree *tree, const struct segment_key *key, uint32_t map)
{
    const struct segment *segment = segment_find(tree, key);
    struct page *directory = segment != NULL ? page_cached_root(&segment->root) : NULL;
    return directory != NULL ? page_cached(directory, map) : NULL;
}

void path_forget_owner(struct tree *tree, const struct segment_key *head, uint32_t map)
{
    struct page *page = head_page(tree, head, map);
    if (page != NULL && !MUTANT(32))
        page_set_note(page, 0);
}

/* The newest owner: a map page of the head that is in memory remembers it, for whoever changes it
 * asks. Its note is one more, or 0. */
static int newest_owner(struct tree_path *path, const struct segment_key *head, uint64_t *ret_cut)
{
    const struct page *page = head_page(path->tree, head, path->map);
    struct owner owner = {.cut = 0};
    if (page != NULL && page_note(page) != 0) {
        *ret_cut = page_note(page) - 1;
        return 0;
    }
    uint32_t mebibyte = head->segment * POINTERS_PER_PAGE + path->map;
    int result = owner_before(path->tree, head->volume, mebibyte, VIEW_HEAD, &path->waiter, &owner);
    if (result != 0 && result != -ENOENT)
        return result;
    *ret_cut = owner.cut;
    return 0;
}

int tree_path_open_under(struct tree_path *path, uint64_t volume, uint64_t block, uint64_t cut)
{
    uint32_t mebibyte = path_aim(path, block, VIEW_HEAD);
    struct segment_key key = head_key(volume, block), beside = view_key(volume, mebibyte, cut);
    int result = newest_owner(path, &key, &path->owner);
    if (result != 0) {
        if (result != -EAGAIN)
            tree_path_close(path);
        return result;
    }
    path->cut = cut > path->owner ? cut : 0;
    path->tree->views = true;
    result = path_open(path, &key, path->cut != 0 ? &beside : NULL, true);
    if (result == 0 && path->page != NULL)
        page_set_note(path->page, path->owner + 1);
    return result;
}

int tree_record_open(struct tree_path *path, uint64_t volume, bool change)
{
    struct segment_key key = {.volume = volume, .segment = SEGMENT_RECORD, .view = 0};
    path->view = 0;
    path->cut = 0;
    int result = path_open(path, &key, NULL, change);
    if (result != 0 || path->page != NULL)
        return result;
    if (!change) {
        tree_path_close(path);
        return -ENOENT;
    }
    path->page = page_create_root(path->tree->cache, &path->segment->root, NULL);
    path->tree->pages++;
    path_refresh(path->segment);
    return 0;
}

void tree_record_drop(struct tree_path *path)
{
    assert(path->open && path->change && path->page != NULL && is_leaf(path->segment));
    bool alone = path_detach_others(path, path->page);
    assert(alone);
    struct pointer hole = {.kind = POINTER_HOLE};
    page_drop(path->page, &hole);
    path->page = NULL;
    path->tree->pages--;
    path_refresh(path->segment);
    tree_path_close(path);
}

int tree_zero_segment(struct tree_path *path, uint64_t volume, uint32_t segment, uint64_t sequence)
{
    struct segment_key key = {.volume = volume, .segment = segment, .view = VIEW_HEAD};
    assert(segment < SEGMENTS_PER_VOLUME && sequence > 0);
    assert(!path->open);
    int result = segment_hold(path, &key);
    if (result != 0)
        return result;
    struct page_root *root = &path->segment->root;
    bool newer = root->pointer.sequence < sequence;
    if (root->page != NULL || root->pointer.kind == POINTER_RAW) {
        result = -ENOENT;
    } else if (newer && (result = tree_ask_admission(path)) != 0) {
        return result;
    } else if (newer) {
        struct pointer zero = pointer_zero(sequence);
        page_set_root(path->tree->cache, root, &zero);
        path_refresh(path->segment);
    }
    tree_path_close(path);
    return result;
}

static bool has_pages(const struct page *directory)
{
    if (page_children(directory) > 0)
        return true;
    for (unsigned i = 0; i < POINTERS_PER_PAGE; i++) {
        if (page_slot(directory, i).kind == POINTER_RAW)
            return true;
    }
    return false;
}

/* path->directory is pinned. */
static int drop_directory(struct tree_path *path)
{
    struct pointer hole = {.kind = POINTER_HOLE};
    if (has_pages(path->directory) || !path_detach_others(path, path->directory))
        return -EBUSY;
    page_drop(path->directory, &hole);
    path->directory = NULL;
    path->tree->pages--;
    return 0;
}

int tree_drop_segment(struct tree_path *path, const struct segment_key *key)
{
    assert(!path->open && key->segment != SEGMENT_RECORD);
    int result = segment_hold(path, key);
    if (result != 0)
        return result;
    result = tree_ask_admission(path);
    if (result != 0)
        return result;
    struct page_cache *cache = path->tree->cache;
    struct page_root *root = &path->segment->root;
    result = page_open_root(cache, root, &path->waiter, &path->directory);
    if (result == -EAGAIN)
        return result;
    if (result == 0) {
        result = drop_directory(path);
    } else if (result == -ENOENT) {
        result = 0;
        struct pointer hole = {.kind = POINTER_HOLE};
        if (root->pointer.kind != POINTER_HOLE)
            page_set_root(cache, root, &hole);
    }
    path_refresh(path->segment);
    tree_path_close(path);
    return result;
}

/* --- Giving up -------------------------------------------------------------------------------- */

/* The segment, and frames to change what is above a page. */
static int give_up_begin(struct tree_path *path, const struct segment_key *key)
{
    assert(!path->open && key->segment < SEGMENTS_PER_VOLUME);
    int result = segment_hold(path, key);
    return result != 0 ? result : path_reserve(path, PATH_FRAMES);
}

static int give_up_end(struct tree_path *path, int result)
{
    if (path->directory != NULL)
        page_unpin(path->directory);
    path->directory = NULL;
    if (result == -EAGAIN)
        return result;
    if (result == 0)
        path_refresh(path->segment);
    tree_path_close(path);
    return result;
}

int tree_give_up_map(struct tree_path *path, uint64_t volume, uint64_t view, uint64_t block,
                     bool bad)
{
    struct tree *tree = path->tree;
    struct segment_key key = {
        .volume = volume, .segment = (uint32_t)(block / SEGMENT_BLOCKS), .view = view};
    unsigned map = (unsigned)(block % SEGMENT_BLOCKS / MAP_BLOCKS);
    struct pointer hole = {.kind = POINTER_HOLE};
    int result = give_up_begin(path, &key);
    if (result == 0)
        result = page_open_root(tree->cache, &path->segment->root, &path->waiter, &path->directory);
    if (result != 0)
        return give_up_end(path, result == -ENOENT ? -EBUSY : result);
    struct pointer lost = page_slot(path->directory, map);
    result = page_abandon(path->directory, map, &hole, &path->waiter);
    if (result == 0 && bad) {
        struct pointer damage = {.kind = POINTER_BAD, .sequence = lost.sequence};
        if (MUTANT(51))
            damage = pointer_zero(lost.sequence);
        page_unpin(page_create(tree->cache, path->directory, map, &damage));
    } else if (result == 0) {
        tree->pages--;
    }
    return give_up_end(path, result);
}

int tree_give_up_segment(struct tree_path *path, const struct segment_key *key)
{
    struct pointer hole = {.kind = POINTER_HOLE};
    int result = give_up_begin(path, key);
    if (result == 0)
        result = page_abandon_root(path->tree->cache, &path->segment->root, &hole, &path->waiter);
    if (result == 0)
        path->tree->pages--;
    return give_up_end(path, result);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking ahead of who asks for one map page after the other: see store_ahead_begin().
 *
 * Sequences in the table and in directories rule out what is old, so what is left are a few pages
 * that lie apart, each behind a directory of its own, and both have to be read. Scouts fetch what
 * will be asked for next: some in the MiBs that follow, the others in the segments that do. Who has
 * found a page goes on to another, so that the disk is kept busy whoever waits; up to so many pages
 * that were not asked for yet.
 */
#include "store/internal.h"

/* Looks that one call may take. */
#define AHEAD_LOOKS 64u
#define AHEAD_NEAR 4u /* Of the scouts. */
/* In a cache that is smaller there is no room for what is not asked for yet. */
#define AHEAD_FRAMES_MIN 1024u

static void ahead_send(struct store_ahead *ahead);

/* True: it waits. */
static bool scout_look(struct store_scout *scout)
{
    struct store_ahead *ahead = scout->path.context;
    int result = tree_changed_next(&scout->path, ahead->volume, ahead->view, ahead->since,
                                   ahead->last, &scout->block);
    scout->waits = result == -EAGAIN;
    if (scout->waits)
        return true;
    tree_path_close(&scout->path);
    if (result == 0 && ahead->found_count < STORE_AHEAD_PAGES)
        ahead->found[ahead->found_count++] = scout->block;
    return false;
}

static void scout_woken(struct tree_path *path)
{
    if (!scout_look(CONTAINER_OF(path, struct store_scout, path)))
        ahead_send(path->context);
}

/* Pages behind the one that is asked for now. */
static void ahead_forget(struct store_ahead *ahead)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ahead->found_count; i++) {
        if (ahead->found[i] > ahead->at)
            ahead->found[kept++] = ahead->found[i];
    }
    ahead->found_count = kept;
}

/* Each begins behind the farthest of its kind. */
static void ahead_send(struct store_ahead *ahead)
{
    uint64_t *behind = ahead->behind;
    for (unsigned i = 0, looks = 0; i < STORE_SCOUTS && looks < AHEAD_LOOKS;) {
        struct store_scout *scout = &ahead->scouts[i];
        bool far = i >= AHEAD_NEAR;
        uint64_t step = far ? SEGMENT_BLOCKS : MAP_BLOCKS;
        uint64_t from = (MAX(behind[far], ahead->at) / step + 1) * step;
        if (scout->waits || from > ahead->last || ahead->found_count == STORE_AHEAD_PAGES ||
            (!far && from / SEGMENT_BLOCKS != ahead->at / SEGMENT_BLOCKS)) {
            i++;
            continue;
        }
        scout->block = from;
        (void)scout_look(scout);
        behind[far] = MAX(scout->block, from);
        looks++;
    }
}

void store_ahead_begin(struct store *store, struct store_ahead *ahead, uint64_t volume,
                       uint64_t view, uint64_t since, uint64_t last)
{
    ahead->store = store;
    ahead->volume = volume;
    ahead->view = view;
    ahead->since = since;
    ahead->last = last;
    ahead->at = 0;
    ahead->behind[0] = ahead->behind[1] = 0;
    ahead->found_count = 0;
    for (unsigned i = 0; i < STORE_SCOUTS; i++) {
        struct store_scout *scout = &ahead->scouts[i];
        tree_path_init(&scout->path, store->tree, scout_woken);
        scout->path.context = ahead;
        scout->waits = false;
    }
}

void store_ahead_at(struct store_ahead *ahead, const struct store_op *op)
{
    const struct store *store = ahead->store;
    bool room = page_frame_count(store->cache) >= AHEAD_FRAMES_MIN &&
                store->options.segments_max >= AHEAD_FRAMES_MIN;
    /* What is in memory already needs nobody who looks ahead. */
    bool waits = list_empty(&op->node);
    bool runs = ahead->found_count > 0;
    bool open = store->state == STORE_READY || store->state == STORE_READ_ONLY;
    ahead->at = op->found;
    ahead_forget(ahead);
    if (room && open && (waits || runs))
        ahead_send(ahead);
}

void store_ahead_end(struct store_ahead *ahead)
{
    for (unsigned i = 0; ahead->store != NULL && i < STORE_SCOUTS; i++)
        tree_path_close(&ahead->scouts[i].path);
    ahead->store = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much the snapshots of a volume hold.
 *
 * One look after the other finds the next segment in which the volume has anything, and gives
 * pieces of it to lanes; a lane takes one MiB after the other, many lanes wait for their pages at
 * once. Of a MiB it reads the head's page, then those of its owners (see tree/views.h), the newest
 * first. Cuts that are not kept any more do not count: only pages that some kept cut shows are
 * looked at. A block is unique to a cut if only that cut shows its page, the page after it does not
 * show the place, and it was written after the owner before.
 */
#include <stdlib.h>

#include "store/internal.h"

#define COUNT_LANES 32u
/* Of one piece of work: of a small volume too there are enough of them for all lanes. */
#define COUNT_MEBIBYTES 16u
/* Pages that one lane may take in a turn. */
#define COUNT_PAGES 16u
#define SEGMENT_MEBIBYTES (SEGMENT_BLOCKS / MAP_BLOCKS)

/* An owner whose page is what the cuts [low, high) show. */
struct count_owner {
    uint64_t cut;
    uint32_t low, high;
};

enum count_state { COUNT_IDLE, COUNT_OWNERS, COUNT_HEAD, COUNT_PAGE };

struct count_lane {
    struct view_count *count;
    enum count_state state;
    bool waits;
    uint32_t mebibyte, end;
    uint32_t owned; /* No mebibyte before this one has an owner. */
    struct tree_path path;
    struct count_owner *owners; /* Of this mebibyte, the newest first. */
    uint32_t owner_count, at;
    uint32_t head_low;          /* Cuts from here on show the head. */
    uint64_t after[MAP_BLOCKS]; /* Places that the page shows that comes after, 0: none. */
};

struct view_count {
    struct list node;
    struct store *store;
    uint64_t volume;
    struct store_view_space *views;
    uint32_t view_count;
    store_done_fn *done;
    void *context;
    uint64_t *shown; /* By how much more a cut shows than the one before it. */
    struct count_owner *owners;
    uint32_t mebibyte; /* Where to look next. */
    bool looked, waits, more;
    int result;
    struct tree_path path;
    struct count_lane lanes[COUNT_LANES];
};

/* How many of the cuts are not newer than this one. */
static uint32_t cuts_up_to(const struct view_count *count, uint64_t cut)
{
    uint32_t low = 0, high = count->view_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (count->views[middle].cut <= cut)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- One MiB -------------------------------------------------------------------------------- */

static void mebibyte_over(struct count_lane *lane)
{
    lane->mebibyte++;
    lane->state = lane->mebibyte == lane->end ? COUNT_IDLE : COUNT_OWNERS;
}

/* Who owns what some cut shows here. */
static int count_owners(struct count_lane *lane)
{
    struct view_count *count = lane->count;
    if (lane->owned <= lane->mebibyte) {
        uint64_t cut;
        lane->owned = lane->mebibyte;
        int error =
            tree_view_next(&lane->path, count->volume, 1, VIEW_HEAD - 1, &lane->owned, &cut);
        if (error == -ENOENT)
            lane->owned = lane->end;
        else if (error != 0)
            return error;
    }
    lane->owner_count = lane->at = 0;
    lane->head_low = 0;
    lane->state = COUNT_HEAD;
    if (lane->owned > lane->mebibyte)
        return 0;
    uint64_t owner = VIEW_HEAD;
    struct count_owner last = {.cut = 0};
    for (bool newest = true;; newest = false) {
        int error = tree_view_before(&lane->path, count->volume, lane->mebibyte, owner, &owner);
        if (error != 0) {
            lane->state = COUNT_OWNERS;
            return error;
        }
        last.low = cuts_up_to(count, owner);
        if (newest)
            lane->head_low = last.low;
        else if (last.high > last.low)
            lane->owners[lane->owner_count++] = last;
        if (owner == 0)
            break;
        last = (struct count_owner){.cut = owner, .high = last.low};
    }
    lane->owned++;
    return 0;
}

static void count_shown(struct view_count *count, uint32_t low, uint32_t high, uint64_t blocks)
{
    count->shown[low] += blocks;
    count->shown[high] -= blocks;
}

/* What the open page shows; of a page that one cut alone shows, what is unique to it. */
static void count_page(struct count_lane *lane, const struct count_owner *owner, uint64_t before)
{
    struct view_count *count = lane->count;
    uint64_t shown = 0, unique = 0;
    for (unsigned i = 0; i < MAP_BLOCKS; i++) {
        struct pointer pointer = tree_get(&lane->path, i);
        bool has = pointer_has_place(&pointer);
        shown += has;
        unique += has && pointer.place != lane->after[i] && pointer.sequence > before;
        lane->after[i] = has ? pointer.place : 0;
    }
    count_shown(count, owner->low, owner->high, shown);
    if (owner->high - owner->low == 1 && owner->cut != VIEW_HEAD)
        count->views[owner->low].unique_blocks += unique;
}

static int count_head(struct count_lane *lane)
{
    struct view_count *count = lane->count;
    uint64_t block = (uint64_t)lane->mebibyte * MAP_BLOCKS;
    int error = tree_path_open(&lane->path, count->volume, VIEW_HEAD, block, false);
    if (error != 0)
        return error;
    bool none = lane->path.directory == NULL && lane->owner_count == 0;
    struct count_owner head = {.cut = VIEW_HEAD, .low = lane->head_low, .high = count->view_count};
    count_page(lane, &head, 0);
    tree_path_close(&lane->path);
    /* Nothing to be read up to the next that is owned. */
    if (none)
        lane->mebibyte = MAX(lane->mebibyte, MIN(lane->owned, lane->end) - 1);
    lane->state = COUNT_PAGE;
    return 0;
}

static int count_owner(struct count_lane *lane)
{
    if (lane->at == lane->owner_count) {
        mebibyte_over(lane);
        return 0;
    }
    const struct count_owner *owner = &lane->owners[lane->at];
    uint64_t before = lane->at + 1 < lane->owner_count ? owner[1].cut : 0;
    int error = tree_path_open(&lane->path, lane->count->volume, owner->cut,
                               (uint64_t)lane->mebibyte * MAP_BLOCKS, false);
    if (error != 0)
        return error;
    count_page(lane, owner, before);
    tree_path_close(&lane->path);
    lane->at++;
    return 0;
}

/* --- Lanes ---------------------------------------------------------------------------------- */

static void count_failed(struct view_count *count, int error)
{
    count->looked = true;
    if (count->result == 0)
        count->result = error;
}

static void lane_turn(struct count_lane *lane)
{
    struct view_count *count = lane->count;
    for (unsigned pages = 0; lane->state != COUNT_IDLE && !lane->waits; pages++) {
        if (pages == COUNT_PAGES) {
            count->more = true;
            return;
        }
        int error = count->result;
        if (error == 0 && lane->state == COUNT_OWNERS)
            error = count_owners(lane);
        else if (error == 0 && lane->state == COUNT_HEAD)
            error = count_head(lane);
        else if (error == 0)
            error = count_owner(lane);
        lane->waits = error == -EAGAIN;
        if (error == 0 || error == -EAGAIN)
            continue;
        count_failed(count, error);
        tree_path_close(&lane->path);
        lane->state = COUNT_IDLE;
    }
}

static void lane_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct count_lane, path)->waits = false;
}

static void count_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct view_count, path)->waits = false;
}

/* The next segment in which there is anything: of the head, or of a view. */
static int count_next(struct view_count *count)
{
    uint32_t segment = count->mebibyte / SEGMENT_MEBIBYTES;
    struct segment_key from = {.volume = count->volume, .segment = segment};
    struct segment_key found;
    uint32_t head = SEGMENTS_PER_VOLUME;
    int error = tree_next_segment(&count->path, &from, &found);
    if (error != 0 && error != -ENOENT)
        return error;
    if (error == 0 && found.volume == count->volume && found.segment < head)
        head = found.segment;
    uint32_t mebibyte = count->mebibyte;
    uint64_t cut;
    error = tree_view_next(&count->path, count->volume, 1, VIEW_HEAD - 1, &mebibyte, &cut);
    if (error != 0 && error != -ENOENT)
        return error;
    uint32_t view = error == 0 ? mebibyte / SEGMENT_MEBIBYTES : SEGMENTS_PER_VOLUME;
    count->mebibyte = MIN(head, view) * SEGMENT_MEBIBYTES;
    return count->mebibyte == VIEW_MEBIBYTES ? -ENOENT : 0;
}

static void count_look(struct view_count *count, struct count_lane *lane)
{
    int error = count->mebibyte < VIEW_MEBIBYTES ? 0 : -ENOENT;
    if (error == 0 && count->mebibyte % SEGMENT_MEBIBYTES == 0)
        error = count_next(count);
    count->waits = error == -EAGAIN;
    if (error == -EAGAIN)
        return;
    if (error != 0) {
        count->looked = true;
        if (error != -ENOENT)
            count_failed(count, error);
        return;
    }
    lane->mebibyte = count->mebibyte;
    lane->end = lane->mebibyte + COUNT_MEBIBYTES;
    lane->owned = 0;
    lane->state = COUNT_OWNERS;
    count->mebibyte = lane->end;
}

static void count_free(struct view_count *count)
{
    free(count->shown);
    free(count->owners);
    free(count);
}

static void count_end(struct view_count *count)
{
    uint64_t shown = 0;
    tree_path_close(&count->path);
    list_remove(&count->node);
    for (uint32_t i = 0; i < count->view_count; i++) {
        shown += count->shown[i];
        count->views[i].shared_blocks = shown - count->views[i].unique_blocks;
    }
    count->done(count->context, count->result);
    count_free(count);
}

static void count_turn(struct view_count *count)
{
    const struct store *store = count->store;
    bool busy = false;
    count->more = false;
    if (store->state != STORE_READY && store->state != STORE_READ_ONLY)
        count_failed(count, store->state == STORE_FAILED ? IOMESH_FAILED : -ESHUTDOWN);
    unsigned most = (unsigned)MIN(COUNT_LANES, 1 + store->options.segments_max / 64);
    for (unsigned i = 0; i < most; i++) {
        struct count_lane *lane = &count->lanes[i];
        if (lane->state == COUNT_IDLE && !count->looked && !count->waits)
            count_look(count, lane);
        lane_turn(lane);
        busy = busy || lane->state != COUNT_IDLE;
        if (lane->state == COUNT_IDLE && !count->looked && !count->waits)
            count->more = true;
    }
    if (count->looked && !busy)
        count_end(count);
}

void store_view_counts_turn(struct store *store)
{
    LIST_EACH_SAFE (&store->view_counts, node, after)
        count_turn(LIST_ENTRY(node, struct view_count, node));
}

bool store_view_counts_turn_needed(const struct store *store)
{
    LIST_EACH (&store->view_counts, node) {
        if (LIST_ENTRY(node, struct view_count, node)->more)
            return true;
    }
    return false;
}

/* NULL: no memory. */
static struct view_count *count_new(uint32_t view_count)
{
    struct view_count *count = calloc(1, sizeof *count);
    if (count == NULL)
        return NULL;
    count->shown = calloc(view_count + 1ull, sizeof *count->shown);
    count->owners = calloc((size_t)COUNT_LANES * (view_count + 1ull), sizeof *count->owners);
    if (count->shown != NULL && count->owners != NULL)
        return count;
    count_free(count);
    return NULL;
}

int store_view_space(struct store *store, uint64_t volume, struct store_view_space *views,
                     uint32_t view_count, store_done_fn *done, void *context)
{
    struct view_count *count = count_new(view_count);
    if (count == NULL)
        return FAIL(-ENOMEM, "counting the space of snapshots: no memory");
    count->store = store;
    count->volume = volume;
    count->views = views;
    count->view_count = view_count;
    count->done = done;
    count->context = context;
    tree_path_init(&count->path, store->tree, count_woken);
    for (uint32_t i = 0; i < view_count; i++) {
        assert(i == 0 || views[i - 1].cut < views[i].cut);
        views[i].unique_blocks = views[i].shared_blocks = 0;
    }
    for (unsigned i = 0; i < COUNT_LANES; i++) {
        struct count_lane *lane = &count->lanes[i];
        lane->count = count;
        lane->owners = count->owners + (size_t)i * (view_count + 1ull);
        tree_path_init(&lane->path, store->tree, lane_woken);
    }
    list_push_back(&store->view_counts, &count->node);
    count->more = true;
    return 0;
}

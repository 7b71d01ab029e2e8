/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deleting what only some views of a volume show, in the background, through crashes.
 *
 *   GRACE ──▶ WORK ──▶ SEAL ──▶ (TRIM) ──▶ (told)
 *
 *   each lane:  IDLE ──▶ LOOK ──▶ LOG ──▶ APPLY ──▶ LOOK ... IDLE
 *
 * GRACE: every write that was accepted before has ended, for it may carry one of these cuts and
 * make a page for it. So a record that drops a page comes behind all of them in the log, and a
 * replay that makes the page again meets the record that drops it.
 * WORK: one look after the other finds the next MiB in which there is something, and gives it to a
 * lane; many lanes wait for their pages and the log at once. A lane drops the newest of the views
 * there first: what an older one shows too is then known without a look at its neighbour.
 * Interrupted anywhere, the caller asks again and it goes on from what is left.
 * TRIM: where a write that carried such a cut came so late that the head had passed it, it made no
 * page, and nothing was dropped. A replay may apply it first and make one, which nobody would ever
 * look for again: so the log has to be past it before the cuts are told gone.
 *
 * All views of a volume go when its head is gone: then one record speaks for a whole MiB.
 */
#include <stdlib.h>

#include "store/view_drop.h"

#define VIEW_LANES 32u
/* Steps of one lane in a turn. */
#define LANE_STEPS 8u

enum lane_state { LANE_IDLE, LANE_LOOK, LANE_LOG, LANE_APPLY };

struct view_lane {
    struct view_deletion *deletion;
    enum lane_state state;
    bool waits; /* For a wake or for the log. */
    bool appended, logged;
    uint32_t reserved;
    struct view_drop drop;
    struct tree_path path, beside;
    struct journal_entry entry;
};

enum view_deletion_state {
    VIEW_DELETION_GRACE,
    VIEW_DELETION_WORK,
    VIEW_DELETION_SEAL,
    VIEW_DELETION_TRIM,
    VIEW_DELETION_TOLD,
};

struct view_deletion {
    struct list node;
    struct store *store;
    uint64_t volume, first, last, previous;
    bool all;
    uint64_t *ret_batch;
    store_done_fn *done;
    void *context;
    enum view_deletion_state state;
    uint64_t change;   /* The last that was accepted before. */
    uint32_t mebibyte; /* Where to look next. */
    bool looked;       /* Nothing is left to look for. */
    bool waits;
    bool more; /* It stopped for this turn, and for nothing else. */
    uint64_t last_batch;
    uint64_t passed_batch; /* Replay must begin behind it. */
    int result;
    struct tree_path path;
    struct store_flush flush;
    struct checkpoint_waiter checkpoint;
    struct view_lane lanes[VIEW_LANES];
};

/* --- Lanes ---------------------------------------------------------------------------------- */

static void lane_idle(struct view_lane *lane)
{
    struct store *store = lane->deletion->store;
    tree_path_close(&lane->path);
    tree_path_close(&lane->beside);
    if (lane->reserved > 0)
        space_quarantine_unreserve(store->space, lane->reserved);
    lane->reserved = 0;
    lane->appended = lane->logged = false;
    lane->state = LANE_IDLE;
}

static void lane_failed(struct view_lane *lane, int error)
{
    struct view_deletion *deletion = lane->deletion;
    if (lane->logged)
        journal_applied(deletion->store->journal, &lane->entry);
    lane_idle(lane);
    deletion->looked = true;
    if (deletion->result == 0)
        deletion->result = error;
}

static void lane_path_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct view_lane, path)->waits = false;
}

static void lane_beside_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct view_lane, beside)->waits = false;
}

static void lane_logged(struct journal_entry *entry, int result)
{
    struct view_lane *lane = CONTAINER_OF(entry, struct view_lane, entry);
    lane->waits = false;
    if (result != 0)
        lane_failed(lane, result);
    else
        lane->logged = true;
}

/* The newest view that is to go here. */
static int lane_look(struct view_lane *lane)
{
    const struct view_deletion *deletion = lane->deletion;
    struct view_drop *drop = &lane->drop;
    uint64_t owner;
    int error = tree_view_before(&lane->path, drop->volume, drop->mebibyte, drop->cut, &owner);
    if (error != 0)
        return error;
    if (owner < deletion->first || owner == 0) {
        lane_idle(lane);
        return 0;
    }
    drop->cut = owner;
    lane->state = LANE_LOG;
    return 0;
}

static int lane_log(struct view_lane *lane)
{
    struct store *store = lane->deletion->store;
    const struct view_drop *drop = &lane->drop;
    if (lane->appended) {
        lane->state = lane->logged ? LANE_APPLY : LANE_LOG;
        lane->waits = !lane->logged;
        return lane->logged ? 0 : -EAGAIN;
    }
    struct record record;
    record.type = drop->all ? RECORD_DROP_SEGMENT : RECORD_DROP_VIEW;
    record.volume = drop->volume;
    record.segment = SEGMENT_VIEWS | drop->mebibyte;
    record.view = 0;
    record.mebibyte = drop->mebibyte;
    record.cut = drop->cut;
    record.previous = MUTANT(141) ? 0 : drop->previous;
    uint8_t bytes[RECORD_BYTES_MAX];
    uint32_t length = record_encode(bytes, &record);
    int error = journal_append(store->journal, &lane->entry, bytes, length, lane_logged);
    if (error != 0)
        return error; /* No room: tried again in the next turn. */
    lane->appended = true;
    lane->waits = true;
    return -EAGAIN;
}

static int lane_apply(struct view_lane *lane)
{
    struct view_deletion *deletion = lane->deletion;
    struct store *store = deletion->store;
    if (lane->reserved == 0) {
        int error = store_quarantine_enter(store, MAP_BLOCKS, &lane->reserved);
        if (error != 0)
            return error;
    }
    store->applying_batch = lane->entry.batch;
    store->applying_reserved = &lane->reserved;
    int64_t asides = tree_asides(store->tree);
    int error = store_view_drop_step(store, &lane->drop);
    store->applying_reserved = NULL;
    store_volume_asides(store, deletion->volume, lane->drop.mebibyte,
                        tree_asides(store->tree) - asides);
    if (error == -EAGAIN)
        return error;
    if (lane->reserved > 0)
        space_quarantine_unreserve(store->space, lane->reserved);
    lane->reserved = 0;
    if (error != 0)
        return error == -EINPROGRESS ? 0 : error;
    deletion->last_batch = MAX(deletion->last_batch, lane->entry.batch);
    journal_applied(store->journal, &lane->entry);
    lane->appended = lane->logged = false;
    lane->state = LANE_LOOK;
    if (deletion->all || deletion->first == deletion->last)
        lane_idle(lane);
    return 0;
}

static int lane_step(struct view_lane *lane)
{
    int error = 0;
    switch (lane->state) {
    case LANE_LOOK: error = lane_look(lane); break;
    case LANE_LOG: error = lane_log(lane); break;
    case LANE_APPLY: error = lane_apply(lane); break;
    case LANE_IDLE: break;
    }
    /* Only a log that has no room does not wake. */
    if (error == -EAGAIN && lane->state != LANE_LOG)
        lane->waits = true;
    return error;
}

/* Begins nothing where changes have to wait: what is in the log is always applied. */
static bool lane_may_go(const struct view_lane *lane)
{
    const struct store *store = lane->deletion->store;
    if (lane->waits || lane->state == LANE_IDLE)
        return false;
    return lane->appended || store->devices.failed != 0 || !store_must_throttle(store);
}

static void lane_turn(struct view_lane *lane)
{
    for (unsigned steps = 0; lane_may_go(lane); steps++) {
        if (steps == LANE_STEPS) {
            lane->deletion->more = true;
            return;
        }
        if (lane->deletion->result != 0 && !lane->appended) {
            lane_idle(lane);
            return;
        }
        int error = lane_step(lane);
        if (error == -EAGAIN)
            return;
        if (error != 0)
            lane_failed(lane, error);
    }
}

/* --- Deletions ------------------------------------------------------------------------------ */

static void view_deletion_path_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct view_deletion, path)->waits = false;
}

static void lane_begin(struct view_lane *lane, uint32_t mebibyte, uint64_t cut)
{
    const struct view_deletion *deletion = lane->deletion;
    lane->drop.mebibyte = mebibyte;
    lane->drop.gives_up = false;
    lane->drop.cut = cut;
    lane->state = LANE_LOG;
    if (deletion->all || deletion->first == deletion->last)
        return;
    lane->drop.cut = deletion->last + 1;
    lane->state = LANE_LOOK;
}

/* As many as pages and segments in memory can take, and a full store. */
static unsigned lanes_max(const struct store *store)
{
    uint64_t most = MIN(VIEW_LANES, 1 + space_new_room(store->space) / 4);
    most = MIN(most, 1 + store->options.segments_max / 32);
    return (unsigned)MIN(most, 1 + page_frame_count(store->cache) / 64);
}

/* Finds work for a lane that has none. False: there is no more, or it has to be waited for. */
static bool view_deletion_look(struct view_deletion *deletion, struct view_lane *lane)
{
    if (deletion->waits || deletion->looked)
        return false;
    uint64_t cut;
    int error = -ENOENT;
    if (deletion->mebibyte < VIEW_MEBIBYTES)
        error = tree_view_next(&deletion->path, deletion->volume, deletion->first, deletion->last,
                               &deletion->mebibyte, &cut);
    deletion->waits = error == -EAGAIN;
    if (error == -EAGAIN)
        return false;
    if (error != 0) {
        deletion->looked = true;
        if (error != -ENOENT && deletion->result == 0)
            deletion->result = error;
        return false;
    }
    lane_begin(lane, deletion->mebibyte++, cut);
    return true;
}

static void view_deletion_trimmed(void *context, int result)
{
    struct view_deletion *deletion = context;
    deletion->result = result;
    deletion->waits = false;
}

/* Each checkpoint moves the place where replay begins as far as what is applied allows. */
static void view_deletion_trim(struct view_deletion *deletion)
{
    struct store *store = deletion->store;
    bool behind = deletion->passed_batch != 0 &&
                  store->super.replay_batch <= deletion->passed_batch && !MUTANT(146);
    if (deletion->result != 0 || !behind) {
        deletion->state = VIEW_DELETION_TOLD;
        return;
    }
    REACH(views_wait_for_the_log);
    deletion->waits = true;
    deletion->checkpoint.done = view_deletion_trimmed;
    deletion->checkpoint.context = deletion;
    store_checkpoint(store, &deletion->checkpoint);
}

static void view_deletion_sealed(struct store_flush *flush, int result)
{
    struct view_deletion *deletion = CONTAINER_OF(flush, struct view_deletion, flush);
    deletion->result = result;
    deletion->waits = false;
    deletion->state = VIEW_DELETION_TRIM;
}

/* All lanes are idle, nothing is left. */
static void view_deletion_end(struct view_deletion *deletion)
{
    tree_path_close(&deletion->path);
    deletion->state = VIEW_DELETION_TOLD;
    if (deletion->result != 0 || deletion->all || MUTANT(145))
        return;
    deletion->state = VIEW_DELETION_SEAL;
    deletion->flush.done = view_deletion_sealed;
    store_flush(deletion->store, &deletion->flush);
}

static void view_deletion_work(struct view_deletion *deletion)
{
    struct store *store = deletion->store;
    bool busy = false;
    deletion->more = false;
    if (store->state != STORE_READY && !deletion->looked) {
        deletion->looked = true;
        deletion->result = store->state == STORE_FAILED ? IOMESH_FAILED : -ESHUTDOWN;
    }
    unsigned most = lanes_max(store);
    for (unsigned i = 0; i < VIEW_LANES; i++) {
        struct view_lane *lane = &deletion->lanes[i];
        if (lane->state == LANE_IDLE && i < most && !store_must_throttle(store))
            (void)view_deletion_look(deletion, lane);
        lane_turn(lane);
        busy = busy || lane->state != LANE_IDLE;
        /* It has ended what it was given: there is more for it. */
        if (i < most && lane->state == LANE_IDLE && !deletion->looked && !deletion->waits)
            deletion->more = true;
    }
    if (store_must_throttle(store))
        deletion->more = false; /* What lets it go on again is a turn too. */
    if (deletion->looked && !busy)
        view_deletion_end(deletion);
}

static bool view_deletion_first(const struct view_deletion *deletion)
{
    const struct store *store = deletion->store;
    LIST_EACH (&store->view_deletions, node) {
        const struct view_deletion *other = LIST_ENTRY(node, struct view_deletion, node);
        if (other == deletion)
            return true;
        if (other->volume == deletion->volume)
            return false;
    }
    return true;
}

static void view_deletion_turn(struct view_deletion *deletion)
{
    const struct store *store = deletion->store;
    if (deletion->state == VIEW_DELETION_GRACE) {
        bool ended = store_changes_ended(store, deletion->change) || MUTANT(140);
        if (!view_deletion_first(deletion) || !ended)
            return;
        deletion->passed_batch = deletion->all ? 0 : store->passed_batch;
        deletion->state = VIEW_DELETION_WORK;
    }
    if (deletion->state == VIEW_DELETION_WORK)
        view_deletion_work(deletion);
    if (deletion->state == VIEW_DELETION_TRIM && !deletion->waits)
        view_deletion_trim(deletion);
}

void store_view_deletions_turn(struct store *store)
{
    LIST_EACH_SAFE (&store->view_deletions, node, after) {
        struct view_deletion *deletion = LIST_ENTRY(node, struct view_deletion, node);
        view_deletion_turn(deletion);
        if (deletion->state != VIEW_DELETION_TOLD)
            continue;
        list_remove(node);
        if (deletion->ret_batch != NULL)
            *deletion->ret_batch = deletion->last_batch;
        deletion->done(deletion->context, deletion->result);
        free(deletion);
    }
}

bool store_view_deletions_turn_needed(const struct store *store)
{
    LIST_EACH (&store->view_deletions, node) {
        const struct view_deletion *deletion = LIST_ENTRY(node, struct view_deletion, node);
        if ((deletion->state == VIEW_DELETION_WORK && deletion->more) ||
            (deletion->state == VIEW_DELETION_TRIM && !deletion->waits))
            return true;
    }
    return false;
}

static struct view_deletion *view_deletion_make(struct store *store, uint64_t volume, bool all,
                                                uint64_t previous)
{
    struct view_deletion *deletion = calloc(1, sizeof *deletion);
    if (deletion == NULL)
        return NULL;
    deletion->store = store;
    deletion->volume = volume;
    deletion->all = all;
    deletion->previous = previous;
    deletion->change = store->change;
    tree_path_init(&deletion->path, store->tree, view_deletion_path_woken);
    for (unsigned i = 0; i < VIEW_LANES; i++) {
        struct view_lane *lane = &deletion->lanes[i];
        lane->deletion = deletion;
        tree_path_init(&lane->path, store->tree, lane_path_woken);
        tree_path_init(&lane->beside, store->tree, lane_beside_woken);
        lane->drop = (struct view_drop){
            .path = &lane->path,
            .beside = &lane->beside,
            .volume = volume,
            .all = all,
            .previous = previous,
        };
    }
    return deletion;
}

int store_drop_all_views(struct store *store, uint64_t volume, uint64_t *ret_batch,
                         store_done_fn *done, void *context)
{
    struct view_deletion *deletion = view_deletion_make(store, volume, true, 0);
    if (deletion == NULL)
        return FAIL(-ENOMEM, "deleting volume %llu: no memory", (unsigned long long)volume);
    deletion->first = 1;
    deletion->last = VIEW_HEAD - 1;
    deletion->ret_batch = ret_batch;
    deletion->done = done;
    deletion->context = context;
    list_push_back(&store->view_deletions, &deletion->node);
    return 0;
}

int store_delete_views(struct store *store, uint64_t volume, uint64_t first, uint64_t last,
                       uint64_t previous, store_done_fn *done, void *context)
{
    assert(previous < first && first <= last && last < VIEW_HEAD);
    if (store->state != STORE_READY)
        return FAIL(store->state == STORE_FAILED ? IOMESH_FAILED : -EROFS,
                    "volume %llu: the store takes no changes now", (unsigned long long)volume);
    struct view_deletion *deletion = view_deletion_make(store, volume, false, previous);
    if (deletion == NULL)
        return FAIL(-ENOMEM, "deleting snapshots of volume %llu: no memory",
                    (unsigned long long)volume);
    deletion->first = first;
    deletion->last = last;
    deletion->done = done;
    deletion->context = context;
    list_push_back(&store->view_deletions, &deletion->node);
    return 0;
}

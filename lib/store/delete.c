/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deleting what a volume has in this store, in the background, through crashes.
 *
 *   LOOK ──▶ RETIRE ──▶ NEXT ──▶ DROP ──▶ APPLY ─┐
 *    │ nothing here      ▲ │                     │
 *    ▼                   └─┼─────────────────────┘
 *   (told)                 ├──▶ VIEWS: delete_views.c ──▶ NEXT
 *                          ▼ nothing left
 *                        SETTLE ──▶ FORGET ──▶ SEAL ──▶ (told)
 *
 * RETIRE comes first in the log: whatever write of the volume a replay still meets, it meets the
 * retired volume and does nothing (its blocks may belong to others by then). So the note may go
 * only when no replay can meet such a write any more: SETTLE waits for checkpoints until replay
 * would begin behind the last drop. Interrupted anywhere, the caller asks again and it goes on from
 * what is left.
 */
#include <stdlib.h>

#include "format/volume_record.h"
#include "store/view_drop.h"

enum deletion_state {
    DELETION_LOOK,
    DELETION_RETIRE,
    DELETION_NEXT,
    DELETION_DROP,
    DELETION_APPLY,
    DELETION_VIEWS,
    DELETION_SETTLE,
    DELETION_FORGET,
    DELETION_SEAL,
    DELETION_TOLD,
};

/* At once; the others wait their turn. */
#define DELETIONS_ACTIVE_MAX 32u

struct deletion {
    struct list node;
    struct store *store;
    uint64_t volume;
    store_done_fn *done;
    void *context;
    enum deletion_state state;
    bool waits;  /* For a wake, a log entry, a checkpoint or a flush. */
    bool logged; /* The record of this state is in the log. */
    bool appended;
    uint32_t map;
    uint32_t reserved;
    uint64_t last_batch;  /* Of the last record that was applied. */
    uint64_t views_batch; /* Of the last that dropped views. */
    int result;
    struct segment_key key;
    struct tree_path path;
    struct journal_entry entry;
    struct checkpoint_waiter checkpoint;
    struct store_flush flush;
};

/* In *map: the page is being given up. Not read once more for each thing that has to be waited for,
 * or in a small cache it would push out what was waited for. */
#define DROP_WITHOUT (1u << 31)
/* Beside it: so is what leads to the map pages of its segment. */
#define DROP_SEGMENT (1u << 30)

/*
 * A page that does not match its checksum will not tell any more what is beneath it. The deletion
 * goes on without it: what it showed is lost, which pool check tells. (One that the device refuses
 * to read may be had another time, and so may what is beneath it: then the deletion waits for the
 * next open.)
 */
static int drop_without(struct store *store, struct tree_path *path, const struct segment_key *key,
                        uint32_t *map)
{
    uint64_t block = (uint64_t)key->segment * SEGMENT_BLOCKS +
                     (uint64_t)(*map & ~(DROP_WITHOUT | DROP_SEGMENT)) * MAP_BLOCKS;
    int error = 0;
    if ((*map & DROP_SEGMENT) == 0) {
        error = tree_give_up_map(path, key->volume, key->view, block, false);
        *map |= error == IOMESH_CORRUPT ? DROP_SEGMENT : 0;
    }
    /* What was read in vain is told once: not back to the map, which would read it again. */
    uint32_t most = MAP_BLOCKS;
    if ((*map & DROP_SEGMENT) != 0) {
        error = tree_give_up_segment(path, key);
        most = SEGMENT_BLOCKS;
    }
    if (error == -EAGAIN)
        return error;
    *map &= ~(DROP_WITHOUT | DROP_SEGMENT);
    if (error == -EBUSY)
        return -EINPROGRESS;
    if (error != 0)
        return error;
    REACH(delete_without_page);
    store->stats.corrupt_blocks++;
    store_damage(
        store, key->volume, block, most,
        "deleting volume %llu: a page of the map of block %llu is damaged: what it showed, "
        "%u blocks at most, stays in use by nobody",
        (unsigned long long)key->volume, (unsigned long long)block, most);
    return -EINPROGRESS;
}

int store_drop_step(struct store *store, struct tree_path *path, const struct segment_key *key,
                    uint32_t *map)
{
    if ((*map & DROP_WITHOUT) != 0)
        return drop_without(store, path, key, map);
    while (*map < POINTERS_PER_PAGE) {
        uint64_t block = (uint64_t)key->segment * SEGMENT_BLOCKS + (uint64_t)*map * MAP_BLOCKS;
        /* What views show too goes with them. */
        int error = tree_path_open_under(path, key->volume, block, 0);
        if (error == IOMESH_CORRUPT) {
            *map |= DROP_WITHOUT;
            return drop_without(store, path, key, map);
        }
        if (error != 0)
            return error;
        bool any = path->page != NULL || path->above.kind != POINTER_HOLE;
        bool directory = path->directory != NULL;
        if (any)
            tree_drop_map(path);
        tree_path_close(path);
        /* Without a directory one step emptied all of it. */
        *map = directory ? *map + 1 : POINTERS_PER_PAGE;
        if (any)
            return -EINPROGRESS;
    }
    return tree_drop_segment(path, key);
}

static void deletion_end(struct deletion *deletion, int result)
{
    tree_path_close(&deletion->path);
    if (deletion->reserved > 0)
        space_quarantine_unreserve(deletion->store->space, deletion->reserved);
    deletion->reserved = 0;
    deletion->result = result;
    deletion->state = DELETION_TOLD;
}

static void deletion_path_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct deletion, path)->waits = false;
}

static void deletion_logged(struct journal_entry *entry, int result)
{
    struct deletion *deletion = CONTAINER_OF(entry, struct deletion, entry);
    deletion->waits = false;
    deletion->logged = true;
    if (result != 0)
        deletion_end(deletion, result);
}

static void deletion_checkpointed(void *context, int result)
{
    struct deletion *deletion = context;
    deletion->waits = false;
    if (result != 0)
        deletion_end(deletion, result);
    else if (deletion->store->super.replay_batch > deletion->last_batch)
        deletion->state = DELETION_FORGET;
    else
        REACH(delete_settles_again); /* An older record of somebody else is not applied yet. */
}

static void deletion_sealed(struct store_flush *flush, int result)
{
    struct deletion *deletion = CONTAINER_OF(flush, struct deletion, flush);
    deletion->waits = false;
    deletion_end(deletion, result);
}

/* What the tree or space said: with -EAGAIN they wake us. */
static int deletion_waits(struct deletion *deletion, int error)
{
    if (error == -EAGAIN)
        deletion->waits = true;
    return error;
}

/* 0 once the record is in the log; -EAGAIN before. */
static int deletion_log(struct deletion *deletion, enum record_type type)
{
    if (deletion->logged)
        return 0;
    if (deletion->appended) {
        deletion->waits = true;
        return -EAGAIN;
    }
    struct record record;
    record.type = type;
    record.volume = deletion->volume;
    record.segment = deletion->key.segment;
    record.view = deletion->key.view;
    uint8_t bytes[RECORD_BYTES_MAX];
    uint32_t length = record_encode(bytes, &record);
    struct store *store = deletion->store;
    int error = journal_append(store->journal, &deletion->entry, bytes, length, deletion_logged);
    if (error == 0) {
        deletion->appended = true;
        deletion->waits = true;
        return -EAGAIN;
    }
    return error; /* No room: tried again in the next turn. */
}

/* The record of this state is applied; on to the next. */
static void deletion_applied(struct deletion *deletion, enum deletion_state next)
{
    deletion->last_batch = deletion->entry.batch;
    journal_applied(deletion->store->journal, &deletion->entry);
    tree_path_close(&deletion->path);
    deletion->appended = deletion->logged = false;
    deletion->state = next;
}

static int deletion_next(struct deletion *deletion)
{
    struct segment_key from = {.volume = deletion->volume};
    struct segment_key found;
    int error = deletion_waits(deletion, tree_next_segment(&deletion->path, &from, &found));
    if (error != 0 && error != -ENOENT)
        return error;
    bool here = error == 0 && found.volume == deletion->volume;
    if (deletion->state == DELETION_LOOK) {
        if (here)
            deletion->state = DELETION_RETIRE;
        else
            deletion_end(deletion, 0);
        return 0;
    }
    if (here && segment_is_view(found.segment)) {
        deletion->state = DELETION_VIEWS;
    } else if (here && found.segment != SEGMENT_RECORD) {
        deletion->key = found;
        deletion->map = 0;
        deletion->state = DELETION_DROP;
    } else {
        deletion->state = DELETION_SETTLE;
    }
    return 0;
}

static int deletion_retire(struct deletion *deletion)
{
    int error = deletion_log(deletion, RECORD_RETIRE);
    if (error == 0)
        error = deletion_waits(deletion, tree_record_open(&deletion->path, deletion->volume, true));
    if (error != 0)
        return error;
    volume_record_retire(page_change(deletion->path.page));
    deletion_applied(deletion, DELETION_NEXT);
    return 0;
}

static int deletion_apply(struct deletion *deletion)
{
    struct store *store = deletion->store;
    if (deletion->reserved == 0) {
        int error = store_quarantine_enter(store, MAP_BLOCKS, &deletion->reserved);
        if (error != 0)
            return error;
    }
    store->applying_batch = deletion->entry.batch;
    store->applying_reserved = &deletion->reserved;
    int error = store_drop_step(store, &deletion->path, &deletion->key, &deletion->map);
    store->applying_reserved = NULL;
    if (error == -EAGAIN)
        return deletion_waits(deletion, error);
    if (deletion->reserved > 0)
        space_quarantine_unreserve(store->space, deletion->reserved);
    deletion->reserved = 0;
    if (error == -EINPROGRESS)
        return 0;
    if (error != 0)
        return error;
    deletion_applied(deletion, DELETION_NEXT);
    return 0;
}

static int deletion_forget(struct deletion *deletion)
{
    int error = deletion_log(deletion, RECORD_FORGET);
    if (error == 0)
        error = deletion_waits(deletion, tree_record_open(&deletion->path, deletion->volume, true));
    if (error != 0)
        return error;
    tree_record_drop(&deletion->path);
    deletion_applied(deletion, DELETION_SEAL);
    return 0;
}

static void deletion_views_dropped(void *context, int result)
{
    struct deletion *deletion = context;
    deletion->waits = false;
    deletion->last_batch = MAX(deletion->last_batch, deletion->views_batch);
    deletion->state = DELETION_NEXT;
    if (result != 0)
        deletion_end(deletion, result);
}

static int deletion_views(struct deletion *deletion)
{
    int error = store_drop_all_views(deletion->store, deletion->volume, &deletion->views_batch,
                                     deletion_views_dropped, deletion);
    if (error != 0)
        return error;
    deletion->waits = true;
    return -EAGAIN;
}

static int deletion_settle(struct deletion *deletion)
{
    deletion->waits = true;
    deletion->checkpoint.done = deletion_checkpointed;
    deletion->checkpoint.context = deletion;
    store_checkpoint(deletion->store, &deletion->checkpoint);
    return -EAGAIN;
}

static int deletion_seal(struct deletion *deletion)
{
    deletion->waits = true;
    deletion->flush.done = deletion_sealed;
    store_flush(deletion->store, &deletion->flush);
    return -EAGAIN;
}

/* 0: go on; -EAGAIN: in a later turn. */
static int deletion_step(struct deletion *deletion)
{
    switch (deletion->state) {
    case DELETION_LOOK:
    case DELETION_NEXT: return deletion_next(deletion);
    case DELETION_RETIRE: return deletion_retire(deletion);
    case DELETION_DROP: {
        int error = deletion_log(deletion, RECORD_DROP_SEGMENT);
        if (error == 0)
            deletion->state = DELETION_APPLY;
        return error;
    }
    case DELETION_APPLY: return deletion_apply(deletion);
    case DELETION_VIEWS: return deletion_views(deletion);
    case DELETION_SETTLE: return deletion_settle(deletion);
    case DELETION_FORGET: return deletion_forget(deletion);
    case DELETION_SEAL: return deletion_seal(deletion);
    case DELETION_TOLD: break;
    }
    return -EAGAIN;
}

/* A bounded piece of work each turn. */
static void deletion_turn(struct deletion *deletion)
{
    struct store *store = deletion->store;
    bool begins = deletion->state == DELETION_LOOK || deletion->state == DELETION_NEXT ||
                  deletion->state == DELETION_SETTLE;
    for (unsigned steps = 0; steps < 16 && !deletion->waits; steps++) {
        if (store->state != STORE_READY && begins && deletion->state != DELETION_TOLD)
            deletion_end(deletion, store->state == STORE_FAILED ? IOMESH_FAILED : -ESHUTDOWN);
        if (deletion->state == DELETION_TOLD)
            return;
        /* Of a store that failed no checkpoint will clean the pages. */
        if (store->devices.failed == 0 && store_must_throttle(store) && !deletion->logged)
            return;
        int error = deletion_step(deletion);
        begins = deletion->state == DELETION_LOOK || deletion->state == DELETION_NEXT ||
                 deletion->state == DELETION_SETTLE;
        if (error == -EAGAIN)
            return;
        if (error != 0) {
            if (deletion->logged)
                journal_applied(store->journal, &deletion->entry);
            deletion_end(deletion, error);
        }
    }
}

void store_deletions_turn(struct store *store)
{
    unsigned active = 0;
    /* Each makes a page, its record. On a full store they come one after another. */
    uint64_t most = MIN(1 + space_new_room(store->space) / 4, DELETIONS_ACTIVE_MAX);
    LIST_EACH_SAFE (&store->deletions, node, after) {
        struct deletion *deletion = LIST_ENTRY(node, struct deletion, node);
        deletion_turn(deletion);
        if (deletion->state == DELETION_TOLD && !deletion->waits) {
            list_remove(node);
            deletion->done(deletion->context, deletion->result);
            free(deletion);
        } else if (++active >= most) {
            break;
        }
    }
}

int store_delete_volume(struct store *store, uint64_t volume, store_done_fn *done, void *context)
{
    if (store->state != STORE_READY)
        return FAIL(store->state == STORE_FAILED ? IOMESH_FAILED : -EROFS,
                    "volume %llu: the store takes no changes now", (unsigned long long)volume);
    struct deletion *deletion = calloc(1, sizeof *deletion);
    if (deletion == NULL)
        return FAIL(-ENOMEM, "deleting volume %llu: no memory", (unsigned long long)volume);
    deletion->store = store;
    deletion->volume = volume;
    deletion->done = done;
    deletion->context = context;
    tree_path_init(&deletion->path, store->tree, deletion_path_woken);
    list_push_back(&store->deletions, &deletion->node);
    return 0;
}

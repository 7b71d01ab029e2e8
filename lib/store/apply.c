/* SPDX-License-Identifier: Apache-2.0 */
/* Applying replayed records in order: see replay.c. */
#include <stdlib.h>
#include <string.h>

#include "format/volume_record.h"
#include "store/opening.h"
#include "store/replay.h"

static void apply_mark(struct replay *replay, uint64_t place, uint32_t blocks, bool used)
{
    assert(replay->mark_count < REPLAY_MARKS_MAX);
    struct replay_mark *mark = &replay->marks[replay->mark_count++];
    mark->extent = (struct extent){.place = place, .blocks = blocks};
    mark->used = used;
}

void store_replay_freed(struct store *store, uint64_t place, uint32_t blocks)
{
    apply_mark(store->replay, place, blocks, false);
}

/* --- Retired volumes ------------------------------------------------------------------------ */

static int retired_find(const struct replay *replay, uint64_t volume)
{
    for (size_t i = 0; i < replay->retired_count; i++) {
        if (replay->retired[i] == volume)
            return (int)i;
    }
    return -1;
}

static int retired_add(struct replay *replay, uint64_t volume)
{
    if (retired_find(replay, volume) >= 0)
        return 0;
    if (replay->retired_count == replay->retired_room) {
        size_t room = replay->retired_room == 0 ? 64 : 2 * replay->retired_room;
        uint64_t *grown = realloc(replay->retired, room * sizeof *grown);
        if (grown == NULL)
            return FAIL(-ENOMEM, "recovery: no memory");
        replay->retired = grown;
        replay->retired_room = room;
    }
    replay->retired[replay->retired_count++] = volume;
    return 0;
}

/* 1: retired, 0: not, or a negative error. */
static int apply_is_retired(struct replay *replay, uint64_t volume)
{
    if (retired_find(replay, volume) >= 0)
        return 1;
    if (replay->alive_known && replay->alive == volume)
        return 0;
    int error = tree_record_open(&replay->path, volume, false);
    if (error != 0 && error != -ENOENT)
        return error;
    bool retired = error == 0 && volume_record_retired(page_bytes(replay->path.page));
    tree_path_close(&replay->path);
    if (retired) {
        error = retired_add(replay, volume);
        return error != 0 ? error : 1;
    }
    replay->alive = volume;
    replay->alive_known = true;
    return 0;
}

/* --- One record ----------------------------------------------------------------------------- */

static void apply_write_blocks(struct replay *replay, const struct replay_slot *slot)
{
    const struct record *record = &slot->record;
    unsigned index = (unsigned)(record->block % MAP_BLOCKS);
    uint32_t block = 0;
    for (unsigned i = 0; i < record->extent_count; i++) {
        for (uint32_t j = 0; j < record->extents[i].blocks; j++, block++) {
            struct pointer pointer = {
                .place = record->extents[i].place + j,
                .kind = POINTER_RAW,
                .sequence = record->sequence,
                .crc = record->crcs[block],
            };
            if (slot->missing[block])
                continue;
            if (tree_set(&replay->path, index + block, &pointer))
                apply_mark(replay, pointer.place, 1, true);
        }
    }
}

/* Views are looked for whatever the record says: one that was in the log before the first of them
 * may not have been applied, if its map page could not be read. */
static int apply_open(struct replay *replay, const struct record *record, uint64_t block)
{
    return tree_path_open_under(&replay->path, record->volume, block,
                                MUTANT(143) ? 0 : record->cut);
}

static int apply_write(struct replay *replay, const struct replay_slot *slot)
{
    int error = apply_open(replay, &slot->record, slot->record.block);
    if (error != 0)
        return error;
    apply_write_blocks(replay, slot);
    tree_path_close(&replay->path);
    replay->applied = true;
    return 0;
}

static int apply_zero(struct replay *replay, const struct record *record)
{
    if (record->count == SEGMENT_BLOCKS && replay->base == 0) {
        uint32_t segment = (uint32_t)(record->block / SEGMENT_BLOCKS);
        int error = tree_zero_segment(&replay->path, record->volume, segment, record->sequence);
        if (error != -ENOENT) {
            replay->applied = error == 0;
            return error;
        }
    }
    uint32_t count = MIN(record->count - replay->base, MAP_BLOCKS);
    uint64_t block = record->block + replay->base;
    int error = apply_open(replay, record, block);
    if (error != 0)
        return error;
    if (record->type == RECORD_BAD)
        tree_damage(&replay->path, (unsigned)(block % MAP_BLOCKS), count, record->sequence);
    else
        tree_zero(&replay->path, (unsigned)(block % MAP_BLOCKS), count, record->sequence);
    tree_path_close(&replay->path);
    replay->base += count;
    replay->applied = replay->base == record->count;
    return 0;
}

static int apply_drop_view(struct replay *replay, const struct record *record)
{
    struct view_drop *drop = &replay->drop;
    bool all = record->type == RECORD_DROP_SEGMENT;
    if (replay->base == 0) {
        replay->base = 1;
        *drop = (struct view_drop){
            .path = &replay->path,
            .beside = &replay->beside,
            .volume = record->volume,
            .mebibyte = all ? record->segment - SEGMENT_VIEWS : record->mebibyte,
            .all = all,
            .cut = record->cut,
            .previous = record->previous,
        };
    }
    int error = MUTANT(142) ? 0 : store_view_drop_step(replay->store, drop);
    replay->applied = error == 0;
    return error == -EINPROGRESS ? 0 : error;
}

static int apply_drop(struct replay *replay, const struct record *record)
{
    if (segment_is_view(record->segment))
        return apply_drop_view(replay, record);
    struct segment_key key = {
        .volume = record->volume, .segment = record->segment, .view = record->view};
    int error = store_drop_step(replay->store, &replay->path, &key, &replay->base);
    replay->applied = error == 0;
    return error == -EINPROGRESS ? 0 : error;
}

static int apply_retire(struct replay *replay, const struct record *record)
{
    int error = tree_record_open(&replay->path, record->volume, true);
    if (error != 0)
        return error;
    volume_record_retire(page_change(replay->path.page));
    tree_path_close(&replay->path);
    replay->alive_known = false;
    replay->applied = true;
    return retired_add(replay, record->volume);
}

static int apply_forget(struct replay *replay, const struct record *record)
{
    int error = tree_record_open(&replay->path, record->volume, true);
    if (error != 0)
        return error;
    tree_record_drop(&replay->path);
    replay->applied = true;
    return 0;
}

static void resync_begin(struct replay *replay, const struct replay_slot *slot)
{
    const struct record *record = &slot->record;
    struct tree_enter *enter = &replay->enter;
    store_enter_fill(enter, record);
    for (uint32_t i = 0; i < record->count; i++)
        enter->skip[i] = slot->missing[i];
    replay->base = 1;
}

static int apply_resync(struct replay *replay, const struct replay_slot *slot)
{
    struct tree_enter *enter = &replay->enter;
    if (replay->base == 0)
        resync_begin(replay, slot);
    int error = tree_enter(&replay->path, enter);
    if (error != 0)
        return error == -EINPROGRESS ? 0 : error;
    for (uint32_t i = 0; i < slot->record.count; i++) {
        if (enter->shown[i])
            apply_mark(replay, enter->places[i], 1, true);
    }
    replay->applied = true;
    return 0;
}

static int apply_record(struct replay *replay, const struct replay_slot *slot)
{
    switch (slot->record.type) {
    case RECORD_WRITE:
    case RECORD_WRITE_VIEWS: return apply_write(replay, slot);
    case RECORD_ZERO:
    case RECORD_ZERO_VIEWS:
    case RECORD_BAD: return apply_zero(replay, &slot->record);
    case RECORD_RETIRE: return apply_retire(replay, &slot->record);
    case RECORD_DROP_SEGMENT: return apply_drop(replay, &slot->record);
    case RECORD_FORGET: return apply_forget(replay, &slot->record);
    case RECORD_DROP_VIEW: return apply_drop_view(replay, &slot->record);
    case RECORD_RESYNC: return apply_resync(replay, slot);
    }
    return IOMESH_FORMAT;
}

/* --- The head ------------------------------------------------------------------------------- */

/*
 * What is on the way cannot be read, now or for ever: to go on without it would lose an
 * acknowledged
 * write, or give its blocks to somebody else, and nobody would know later. So the store opens for
 * reading only, and the journal stays as it is.
 */
static void apply_read_only(struct replay *replay, const char *what, uint64_t volume,
                            uint64_t block, int error)
{
    store_damage(
        replay->store, volume, block, 1,
        "recovery: %s of volume %llu block %llu cannot be read (%s): opened for reading only; "
        "try again, or copy what can be read and restore the rest",
        what, (unsigned long long)volume, (unsigned long long)block, base_error_text(error));
    replay->store->stats.corrupt_blocks++;
    replay->store->options.read_only = true;
}

static bool apply_needs_alive(const struct record *record)
{
    return record_is_write(record) || record_is_zero(record) || record->type == RECORD_RESYNC;
}

/*
 * A map page that does not match its checksum, twice, is lost with whatever it showed: nobody could
 * read those blocks any more, nor write them. So they become known damage, and the record and those
 * that follow apply over that: the store goes on with all the rest. Not what the device refuses to
 * read, for that may be had another time; nor a directory, for its map pages cannot be told.
 */
static int apply_give_up(struct replay *replay, const struct record *record)
{
    struct store *store = replay->store;
    if (!replay->broken) {
        replay->broken = true;
        return -EBUSY;
    }
    replay->gives_up = true;
    uint64_t block = record->block + (record_is_zero(record) ? replay->base : 0);
    int error = tree_give_up_map(&replay->path, record->volume, VIEW_HEAD, block, true);
    if (error != 0) {
        replay->gives_up = error == -EAGAIN;
        return error;
    }
    replay->gives_up = false;
    REACH(replay_gives_up_map);
    store->stats.corrupt_blocks += MAP_BLOCKS;
    block -= block % MAP_BLOCKS;
    store_damage(store, record->volume, block, MAP_BLOCKS,
                 "recovery: the map of volume %llu blocks %llu..%llu is damaged: they are lost but "
                 "for what was written last, and read as errors until they are written again",
                 (unsigned long long)record->volume, (unsigned long long)block,
                 (unsigned long long)block + MAP_BLOCKS - 1);
    return 0;
}

static int apply_lost(struct replay *replay, const struct replay_slot *slot, int error)
{
    if (error != IOMESH_CORRUPT && error != -EIO)
        return error;
    REACH(replay_broken_map);
    tree_path_close(&replay->path);
    tree_path_close(&replay->beside);
    uint64_t block = slot->record.block;
    if (slot->record.type == RECORD_DROP_VIEW)
        block = (uint64_t)slot->record.mebibyte * MAP_BLOCKS;
    apply_read_only(replay, "the map", slot->record.volume, block, error);
    replay->applied = true;
    return 0;
}

static int apply_broken(struct replay *replay, const struct replay_slot *slot, int error)
{
    bool maps = apply_needs_alive(&slot->record) && !replay->store->options.read_only;
    if (error == IOMESH_CORRUPT && maps) {
        error = apply_give_up(replay, &slot->record);
        if (error == 0 || error == -EBUSY)
            return 0; /* The same step again. */
        replay->waits = error == -EAGAIN;
    }
    return apply_lost(replay, slot, error);
}

bool store_replay_marked(const struct store *store)
{
    return store->replay == NULL || store->replay->mark_count == 0;
}

/* 0: marks are all made. */
static int apply_marks(struct replay *replay)
{
    struct space *space = replay->store->space;
    for (; replay->mark_done < replay->mark_count; replay->mark_done++) {
        const struct replay_mark *mark = &replay->marks[replay->mark_done];
        int error = space_mark(space, mark->extent, mark->used, &replay->waiter);
        if (error == IOMESH_CORRUPT || error == -EIO) {
            REACH(replay_mark_lost);
            const struct record *record = &replay->slots[replay->head].record;
            apply_read_only(replay, "the map of free space for a write", record->volume,
                            record->block, error);
        } else if (error != 0) {
            return error;
        }
    }
    replay->mark_count = replay->mark_done = 0;
    return 0;
}

/* One step of the head. 0: go on; -EAGAIN: woken later. */
static int apply_step(struct replay *replay, struct replay_slot *slot)
{
    int error = 0;
    switch (replay->state) {
    case APPLY_NEXT:
        if (slot->state != SLOT_READY)
            return -EAGAIN;
        replay->base = 0;
        replay->applied = false;
        replay->broken = replay->gives_up = false;
        replay->begun_count++;
        replay->store->opening->muted = replay->begun_count <= replay->store->opening->told;
        replay->state = APPLY_RETIRED;
        break;
    case APPLY_RETIRED:
        if (apply_needs_alive(&slot->record) && !MUTANT(87)) {
            error = apply_is_retired(replay, slot->record.volume);
            replay->waits = error == -EAGAIN;
            if (error < 0 && error != -EAGAIN)
                error = apply_lost(replay, slot, error);
            if (error < 0)
                return error;
            if (error == 1) {
                REACH(replay_skips_retired);
                replay->applied = true;
                replay->skipped++;
            }
        }
        replay->state = replay->applied ? APPLY_MARK : APPLY_RECORD;
        break;
    case APPLY_RECORD:
        error = replay->gives_up ? IOMESH_CORRUPT : apply_record(replay, slot);
        replay->waits = error == -EAGAIN;
        if (error != 0 && error != -EAGAIN)
            error = apply_broken(replay, slot, error);
        if (error != 0)
            return error;
        replay->state = APPLY_MARK;
        break;
    case APPLY_MARK:
        error = apply_marks(replay);
        replay->waits = error == -EAGAIN;
        if (error != 0)
            return error;
        replay->state = replay->applied ? APPLY_NEXT : APPLY_RECORD;
        if (replay->applied) {
            tree_path_close(&slot->ahead);
            replay->head = (replay->head + 1) % REPLAY_SLOTS;
            replay->count--;
        }
        break;
    }
    return 0;
}

static void apply_checkpointed(void *context, int result)
{
    struct replay *replay = context;
    replay->checkpointing = false;
    if (result != 0 && replay->result == 0)
        replay->result =
            FAIL(result, "a checkpoint during recovery failed: %s", base_error_text(result));
}

/* More is dirty than the cache likes: some of it must be written before recovery goes on. A store
 * that must not be written cannot do that. */
static bool apply_must_wait(struct replay *replay)
{
    struct store *store = replay->store;
    if (replay->checkpointing)
        return true;
    bool full = store_must_throttle_pages(store) || tree_wants_checkpoint(store->tree);
    if (!full || replay->result != 0)
        return false;
    if (store->options.read_only) {
        REACH(replay_needs_memory);
        struct opening *opening = store->opening;
        opening->small = true;
        opening->told = MAX(opening->told, replay->begun_count);
        replay->result = FAIL(-ENOMEM, "recovery for reading only: more pages change than memory "
                                       "holds");
        return false;
    }
    REACH(replay_checkpoints);
    replay->checkpointing = true;
    replay->checkpoint.done = apply_checkpointed;
    replay->checkpoint.context = replay;
    store_checkpoint(store, &replay->checkpoint);
    return true;
}

/* After an error slots are only let go. */
static void apply_discard(struct replay *replay)
{
    tree_path_close(&replay->path);
    tree_path_close(&replay->beside);
    while (replay->count > 0) {
        struct replay_slot *slot = &replay->slots[replay->head];
        if (slot->busy)
            return;
        tree_path_close(&slot->ahead);
        slot->state = SLOT_READY;
        replay->head = (replay->head + 1) % REPLAY_SLOTS;
        replay->count--;
    }
}

void replay_apply(struct replay *replay)
{
    while (replay->count > 0 && !replay->waits) {
        if (replay->state == APPLY_NEXT && apply_must_wait(replay))
            return;
        if (replay->result != 0) {
            apply_discard(replay);
            return;
        }
        int error = apply_step(replay, &replay->slots[replay->head]);
        if (error == -EAGAIN)
            return;
        if (error != 0)
            replay->result = FAIL(error, "recovery failed: %s", base_error_text(error));
    }
}

/* The next turn goes on. */
static void apply_path_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct replay, path)->waits = false;
}

static void apply_beside_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct replay, beside)->waits = false;
}

static void apply_waiter_woken(struct page_waiter *waiter)
{
    CONTAINER_OF(waiter, struct replay, waiter)->waits = false;
}

void replay_apply_init(struct replay *replay)
{
    list_init(&replay->waiter.node);
    replay->waiter.wake = apply_waiter_woken;
    tree_path_init(&replay->path, replay->store->tree, apply_path_woken);
    tree_path_init(&replay->beside, replay->store->tree, apply_beside_woken);
}

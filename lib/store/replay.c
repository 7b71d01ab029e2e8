/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery: journal records become pointers again, in the order of the log.
 *
 * Records pass through a row of slots. What can be done out of order is done ahead, many at a time:
 * fetching the map page, and, for a record above the highest durable batch, reading its data and
 * comparing CRCs: a block whose data did not arrive did not happen. Applying is strictly in order,
 * one record at a time, with the sequence rule: replay over newer state changes nothing.
 *
 *   visit ──▶ [CHECK ──▶ FETCH ──▶ READY] ... ──▶ head: RETIRED? ──▶ APPLY ──▶ MARK ──▶ free slot
 *
 * Nothing is given out while replaying, so what a record frees is free at once.
 */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "store/parts.h"
#include "store/replay.h"

static void slot_step(struct replay_slot *slot);

/* --- Ahead: check and fetch ----------------------------------------------------------------- */

/* A block that cannot be read may well have been acknowledged. It gets its pointer, so that it
 * reads as what it is, an error, until it can be read or is written anew: never as what it was. */
static void slot_unreadable(const struct replay_slot *slot)
{
    REACH(replay_data_unreadable);
    store_event(slot->replay->store, STORE_WARNING,
                "volume %llu, block %llu: its last write cannot be read, and may be lost",
                (unsigned long long)slot->record.volume,
                (unsigned long long)(slot->record.block + slot->checked));
}

static void slot_compare(struct replay_slot *slot, uint32_t blocks)
{
    for (uint32_t i = 0; i < blocks; i++) {
        const uint8_t *data = slot->data + (size_t)i * BLOCK_BYTES;
        if (crc32c(data, BLOCK_BYTES) == slot->record.crcs[slot->checked + i] || MUTANT(82))
            continue;
        REACH(replay_data_missing);
        slot->missing[slot->checked + i] = true;
    }
}

static void slot_checked(struct device_io *io, int result)
{
    struct replay_slot *slot = io->owner;
    uint32_t blocks = io->io.length_bytes / BLOCK_BYTES;
    bool alone = slot->alone > 0;
    if (result != 0 && !alone) {
        slot->alone = blocks; /* Once more, each by itself: the others are not lost with one. */
        blocks = 0;
    } else if (result != 0 && MUTANT(90)) {
        slot->missing[slot->checked] = true;
    } else if (result != 0) {
        slot_unreadable(slot);
    } else {
        slot_compare(slot, blocks);
    }
    slot->alone -= alone ? 1 : 0;
    slot->checked += blocks;
    slot->extent_done += blocks;
    if (slot->extent_done == slot->record.extents[slot->extent].blocks) {
        slot->extent++;
        slot->extent_done = 0;
    }
    slot->busy = false;
    slot_step(slot);
}

/* Reads the next piece of an uncertain write. False: all of it is checked. */
static bool slot_check_next(struct replay_slot *slot)
{
    if (slot->certain || !record_has_data(&slot->record) || slot->checked == slot->record.count)
        return false;
    struct store *store = slot->replay->store;
    const struct record_extent *extent = &slot->record.extents[slot->extent];
    uint64_t place = extent->place + slot->extent_done;
    uint32_t most = slot->alone > 0 ? 1 : REPLAY_CHECK_BLOCKS;
    uint32_t blocks = MIN(extent->blocks - slot->extent_done, most);
    slot->busy = true;
    slot->io.owner = slot;
    device_submit(&store->devices, &slot->io, DISK_READ, place, blocks, slot->data, slot_checked);
    return true;
}

static void slot_ahead_woken(struct tree_path *path)
{
    slot_step(CONTAINER_OF(path, struct replay_slot, ahead));
}

/* What is fetched ahead stays in memory until its turn, and the head must find room beside it, or
 * recovery would not end: in a small cache only the next few go ahead. */
static bool slot_may_hold(const struct replay_slot *slot)
{
    const struct replay *replay = slot->replay;
    uint32_t most = page_frame_count(replay->store->cache) / 32;
    most = MIN(most, replay->store->options.segments_max / 8);
    uint32_t before = (uint32_t)(slot - replay->slots) + REPLAY_SLOTS - replay->head;
    return before % REPLAY_SLOTS < most;
}

static int slot_fetch(struct replay_slot *slot)
{
    const struct record *record = &slot->record;
    if (record->type == RECORD_DROP_VIEW)
        return tree_path_open(&slot->ahead, record->volume, record->cut,
                              (uint64_t)record->mebibyte * MAP_BLOCKS, false);
    if (!record_is_write(record) && (!record_is_zero(record) || record->count > MAP_BLOCKS))
        return 0;
    return tree_path_open(&slot->ahead, record->volume, VIEW_HEAD, record->block, false);
}

static void slot_step(struct replay_slot *slot)
{
    if (slot->state == SLOT_CHECK) {
        if (slot->busy || slot_check_next(slot))
            return;
        slot->state = SLOT_FETCH;
    }
    if (slot->state == SLOT_FETCH) {
        int error = slot_may_hold(slot) ? slot_fetch(slot) : 0;
        /* An error is met again, and told, when the record is applied. */
        if (error == -EAGAIN)
            return;
        slot->state = SLOT_READY;
    }
}

/* --- Visiting ------------------------------------------------------------------------------- */

/* A write to places that we do not have never was: the record is not ours, whatever its sum
 * says. */
static bool record_fits(struct store *store, const struct record *record)
{
    for (unsigned i = 0; record_has_data(record) && i < record->extent_count; i++) {
        if (!device_holds(&store->devices, record->extents[i].place, record->extents[i].blocks))
            return false;
    }
    return true;
}

static int replay_visit(void *context, uint64_t batch, bool certain, const uint8_t *bytes,
                        uint32_t length)
{
    struct replay *replay = context;
    struct store *store = replay->store;
    assert(replay->count < REPLAY_SLOTS && !replay->paused);
    struct replay_slot *slot = &replay->slots[(replay->head + replay->count) % REPLAY_SLOTS];
    if (record_decode(bytes, length, &slot->record) != 0) {
        replay->result = FAIL(IOMESH_FORMAT,
                              "the journal has a record that this version does not know; open the "
                              "pool with the version that wrote it, and close it there");
        return 0;
    }
    if (!record_fits(store, &slot->record)) {
        replay->result = FAIL(IOMESH_CORRUPT, "the journal has a record of places that are on no "
                                              "device: restore the store from a copy");
        return 0;
    }
    parts_note(store, &slot->record, certain);
    slot->batch = batch;
    slot->certain = certain;
    slot->state = SLOT_CHECK;
    slot->busy = false;
    slot->checked = slot->alone = slot->extent = slot->extent_done = 0;
    memset(slot->missing, false, sizeof slot->missing);
    tree_path_init(&slot->ahead, store->tree, slot_ahead_woken);
    replay->count++;
    store->stats.replayed_records++;
    slot_step(slot);
    /* The journal goes on behind the record that it was stopped at: this one is taken. */
    replay->paused = replay->count == REPLAY_SLOTS;
    return replay->paused ? 1 : 0;
}

/* It could be read a moment ago, when its end was looked for. */
static int journal_unreadable(int error)
{
    return FAIL(error, "the journal cannot be read again: %s", base_error_text(error));
}

static void replay_visited(void *context, int result)
{
    struct replay *replay = context;
    if (result != 0 && replay->result == 0)
        replay->result = journal_unreadable(result);
    replay->visited = true;
}

/* --- Before: places that must stay as they are ----------------------------------------------- */

/* A checkpoint may have to be written while records still wait: not over their data. */
static int replay_look(void *context, uint64_t batch, bool certain, const uint8_t *bytes,
                       uint32_t length)
{
    struct replay *replay = context;
    struct record *record = &replay->slots[0].record;
    (void)batch;
    (void)certain;
    /* One that is not known ends the replay proper, with a sentence. */
    if (record_decode(bytes, length, record) != 0 || !record_has_data(record))
        return 0;
    for (unsigned i = 0; i < record->extent_count; i++) {
        struct extent extent = {.place = record->extents[i].place,
                                .blocks = record->extents[i].blocks};
        if (device_holds(&replay->store->devices, extent.place, extent.blocks))
            space_avoid(replay->store->space, extent);
    }
    return 0;
}

static void replay_looked(void *context, int result)
{
    struct replay *replay = context;
    replay->result = result != 0 ? journal_unreadable(result) : 0;
    replay->looked = true;
}

static void replay_begin(struct replay *replay)
{
    replay->begun = true;
    if (replay->result != 0)
        replay->visited = true;
    else
        journal_replay_start_visit(replay->journal, replay_visit, replay_visited, replay);
}

/* --- The end -------------------------------------------------------------------------------- */

static void replay_settle(struct replay *replay)
{
    struct store *store = replay->store;
    store_done_fn *done = replay->done;
    void *context = replay->context;
    int result = replay->result;
    tree_path_close(&replay->path);
    tree_path_close(&replay->beside);
    store->replay = NULL;
    space_avoid_over(store->space);
    for (unsigned i = 0; i < REPLAY_SLOTS; i++)
        free(replay->slots[i].data);
    free(replay->slots);
    free(replay->retired);
    free(replay);
    done(context, result);
}

void store_replay_turn(struct store *store)
{
    struct replay *replay = store->replay;
    if (!replay->looked)
        return;
    if (!replay->begun)
        replay_begin(replay);
    replay_apply(replay);
    if (replay->paused && replay->count < REPLAY_SLOTS / 2) {
        replay->paused = false;
        journal_replay_continue(replay->journal);
    }
    if (replay->visited && replay->count == 0)
        replay_settle(replay);
}

int store_replay_start(struct store *store, store_done_fn *done, void *context)
{
    struct replay *replay = calloc(1, sizeof *replay);
    struct replay_slot *slots = calloc(REPLAY_SLOTS, sizeof *slots);
    bool whole = replay != NULL && slots != NULL;
    for (unsigned i = 0; whole && i < REPLAY_SLOTS; i++) {
        slots[i].replay = replay;
        slots[i].data = aligned_alloc(BLOCK_BYTES, (size_t)REPLAY_CHECK_BLOCKS * BLOCK_BYTES);
        whole = slots[i].data != NULL;
    }
    if (!whole) {
        for (unsigned i = 0; slots != NULL && i < REPLAY_SLOTS; i++)
            free(slots[i].data);
        free(slots);
        free(replay);
        return FAIL(-ENOMEM, "recovery: no memory");
    }
    replay->slots = slots;
    replay->store = store;
    replay->journal = store->journal;
    replay->done = done;
    replay->context = context;
    replay_apply_init(replay);
    store->replay = replay;
    /* So few records that no checkpoint can be needed: nothing to look for. */
    replay->looked =
        journal_scanned(store->journal)->records <= page_frame_count(store->cache) / 32;
    if (!replay->looked)
        journal_replay_start_visit(store->journal, replay_look, replay_looked, replay);
    else
        replay_begin(replay);
    return 0;
}

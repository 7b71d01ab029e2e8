/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a store, after a clean close or after a crash. The drawing is in opening.h. */
#include <stdlib.h>
#include <string.h>

#include "store/opening.h"
#include "store/parts.h"
#include "store/scratch.h"

/* 64 GiB of pages: recovery for reading only takes no more memory than that. */
#define RECOVERY_FRAMES_MAX (1u << 24)

static void device_has_failed(struct device_set *set, const struct device *device, int error)
{
    struct store *store = CONTAINER_OF(set, struct store, devices);
    if (store->tree != NULL)
        tree_failed(store->tree);
    if (device == NULL) /* Whoever failed the store says why. */
        return;
    struct store_event event = {
        .severity = STORE_ERROR,
        .kind = STORE_DEVICE_FAILED,
        .number_count = 2,
        .numbers = {(uint64_t)(device - set->devices), (uint64_t)(int64_t)error},
    };
    /* Nothing is written where space was not taken before. */
    store_tell(store, event, "%s: a write or flush failed: %s%s", device->disk->name,
               base_error_text(error),
               error == -ENOSPC ? ": it was cut short, or what is below it lost the space" : "");
}

static void store_lists_init(struct store *store)
{
    list_init(&store->admission);
    list_init(&store->appending);
    list_init(&store->finished);
    list_init(&store->deletions);
    list_init(&store->view_deletions);
    list_init(&store->view_counts);
    list_init(&store->changes);
    list_init(&store->checkpoint.waiting);
    list_init(&store->checkpoint.running);
    device_set_init(&store->devices);
    store->devices.on_failed = device_has_failed;
}

int opening_begin(const struct store_options *options, store_done_fn *done, void *context,
                  struct opening **ret_opening)
{
    if (options->device_count == 0 || options->device_count > DEVICES_MAX)
        return FAIL(-EINVAL, "a store has 1 to %u devices, not %u", DEVICES_MAX,
                    options->device_count);
    for (unsigned i = 0; i < options->device_count; i++) {
        const struct disk *disk = options->devices[i].disk;
        if (disk->size_bytes < LABEL_AREA_BLOCKS * BLOCK_BYTES)
            return FAIL(-ENXIO,
                        "%s: %llu bytes long, too short to be of a store: is it the right "
                        "device, or was it cut short?",
                        disk->name, (unsigned long long)disk->size_bytes);
    }
    struct store *store = calloc(1, sizeof *store);
    struct opening *opening = calloc(1, sizeof *opening);
    uint8_t *blocks = aligned_alloc(BLOCK_BYTES, (size_t)DEVICES_MAX * BLOCK_BYTES);
    uint8_t *super = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    if (store == NULL || opening == NULL || blocks == NULL || super == NULL) {
        free(store);
        free(opening);
        free(blocks);
        free(super);
        return FAIL(-ENOMEM, "opening a store: no memory");
    }
    store->options = *options;
    if (store->options.segments_max == 0)
        store->options.segments_max = 8192;
    if (store->options.quarantine_max == 0)
        store->options.quarantine_max = 131072;
    store->clock = options->clock;
    store->state = STORE_OPENING;
    store->super_write.bytes = super;
    store->opening = opening;
    store_lists_init(store);
    if (store_parts_open(store) != 0) {
        free(store);
        free(opening);
        free(blocks);
        free(super);
        return -ENOMEM;
    }
    opening->store = store;
    opening->done = done;
    opening->context = context;
    opening->blocks = blocks;
    opening->began_ns = clock_now_ns(store->clock);
    *ret_opening = opening;
    return 0;
}

void opening_end(struct opening *opening, int result)
{
    assert(!opening->ended);
    opening->result = result;
    opening->ended = true;
}

/* --- Labels --------------------------------------------------------------------------------- */

static void block_read(struct disk_io *io, int result)
{
    struct opening_read *read = CONTAINER_OF(io, struct opening_read, io);
    struct opening *opening = read->opening;
    read->result = result;
    if (--opening->pending == 0)
        opening->next(opening);
}

/* One raw block into opening->blocks[index], before there are devices to speak of. */
static void block_submit(struct opening *opening, unsigned index, struct disk *disk, uint64_t block)
{
    struct opening_read *read = &opening->reads[index];
    read->opening = opening;
    read->io.kind = DISK_READ;
    read->io.offset_bytes = block * BLOCK_BYTES;
    read->io.length_bytes = BLOCK_BYTES;
    read->io.data = opening->blocks + (size_t)index * BLOCK_BYTES;
    read->io.done = block_read;
    disk_submit(disk, &read->io);
}

void opening_read_labels(struct opening *opening, void (*next)(struct opening *opening))
{
    struct store *store = opening->store;
    opening->next = next;
    opening->pending = store->options.device_count;
    for (unsigned i = 0; i < store->options.device_count; i++)
        block_submit(opening, i, store->options.devices[i].disk, 0);
}

/* --- Superblocks ---------------------------------------------------------------------------- */

static void supers_read(struct opening *opening);

static void labels_read(struct opening *opening)
{
    int error = opening_labels_check(opening);
    if (error != 0) {
        opening_end(opening, error);
        return;
    }
    opening->next = supers_read;
    opening->pending = SUPERBLOCK_COPIES;
    for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++)
        block_submit(opening, i, opening->store->devices.devices[0].disk,
                     superblock_block(i / 2, i % 2));
}

/* --- Components ----------------------------------------------------------------------------- */

static void tree_freed(void *context, uint64_t place, uint32_t blocks)
{
    struct store *store = context;
    if (store->replay != NULL) {
        store_replay_freed(store, place, blocks);
        return;
    }
    assert(store->applying_reserved != NULL);
    if (*store->applying_reserved < blocks) {
        /* store_quarantine_enter() found no room. */
        for (uint32_t i = 0; i < blocks; i++)
            space_free_page(store->space, place + i);
        return;
    }
    *store->applying_reserved -= blocks;
    space_free(store->space, (struct extent){.place = place, .blocks = blocks},
               store->applying_batch);
}

static void page_freed(void *context, uint64_t place)
{
    struct store *store = context;
    space_free_page(store->space, place);
}

static bool tree_may_change(void *context)
{
    struct store *store = context;
    if (store_may_change(store))
        return true;
    REACH(changes_wait_for_checkpoint);
    store_want_checkpoint(store);
    return false;
}

static uint32_t pages_to_come(void *context)
{
    struct store *store = context;
    return tree_pages_to_come(store->tree, 0);
}

int opening_components(struct opening *opening)
{
    struct store *store = opening->store;
    uint32_t frames = sizes_frames(store);
    struct page_cache_options cache = {
        .devices = &store->devices,
        .frame_count = frames,
        /* Paths leave a quarter of it alone: a change of the free map must fit there. */
        .reserve_frames = MAX(frames / 8, 24),
        .freed = page_freed,
        .context = store,
    };
    int error = scratch_open(&store->scratch, store->options.scratch_max);
    if (error == 0)
        error = page_cache_open(&cache, &store->cache);
    if (error != 0)
        return error;
    struct tree_options tree = {
        .cache = store->cache,
        .devices = &store->devices,
        .table = store->super.table,
        .segments_max = store->options.segments_max,
        .pages_used = store->super.pages_used,
        .freed = tree_freed,
        .admits = tree_may_change,
        .context = store,
    };
    error = tree_open(&tree, &store->tree);
    if (error != 0)
        return error;
    struct space_options space = {
        .cache = store->cache,
        .devices = &store->devices,
        .clock = store->clock,
        .index = store->super.index,
        .deferred_place = store->super.deferred_place,
        .deferred_crc = store->super.deferred_crc,
        .reserve_blocks = store->super.reserve_blocks,
        .quarantine_max = store->options.quarantine_max,
        .discard = store->options.discard,
        .want_flush = store_want_flush,
        .want_checkpoint = store_want_checkpoint,
        .pages_to_come = pages_to_come,
        .context = store,
    };
    return space_open(&space, &store->space);
}

int opening_journal(struct store *store, uint64_t incarnation, struct journal_position start)
{
    journal_close(store->journal);
    store->journal = NULL;
    struct journal_options options = {
        .devices = &store->devices,
        .place = store->super.journal_place,
        .blocks = store->super.journal_blocks,
        .incarnation = incarnation,
        .start = start,
        .batch_blocks_max = store->super.batch_blocks_max,
        .in_flight_max = STORE_BATCHES_IN_FLIGHT,
    };
    return journal_open(&options, &store->journal);
}

void opening_checkpoint(struct opening *opening, bool clean, store_done_fn *done)
{
    struct store *store = opening->store;
    store->checkpoint.clean = clean;
    opening->checkpoint.done = done;
    opening->checkpoint.context = opening;
    store_checkpoint(store, &opening->checkpoint);
}

/* --- Recovery ------------------------------------------------------------------------------- */

static void recovery_checkpointed(void *context, int result)
{
    struct opening *opening = context;
    struct store *store = opening->store;
    store->checkpoint.clean = false;
    opening_end(opening, result == 0 ? 0
                                     : FAIL(result, "the checkpoint that ends recovery failed: %s",
                                            base_error_text(result)));
}

static int parts_unreadable(int error)
{
    return FAIL(error, "what is known of parts cannot be had: %s", base_error_text(error));
}

/* States of parts that records have changed are in the tree: then the checkpoint. */
static void recovery_saved(struct opening *opening)
{
    opening->saving = false;
    opening->store->parts->unlogged = false;
    if (MUTANT(95))
        opening_end(opening, 0);
    else
        opening_checkpoint(opening, false, recovery_checkpointed);
}

/*
 * States of parts have no records now. Those would lie behind the old log, and where that fills
 * its region, over its beginning; and whoever recovers next, if this one does not come to its end,
 * needs the old log whole, and goes on with the same incarnation and the same numbers. The
 * checkpoint that trims the old log has the states instead.
 */
static void recovery_flushed(struct store_flush *flush, int result)
{
    struct opening *opening = CONTAINER_OF(flush, struct opening, flush);
    struct store *store = opening->store;
    if (result != 0) {
        opening_end(opening, FAIL(result, "what recovery read cannot be made durable: %s",
                                  base_error_text(result)));
        return;
    }
    parts_save(store->parts);
    opening->saving = true;
}

/* Nothing of the old incarnation is under way. */
static void recovery_renew(struct opening *opening)
{
    struct store *store = opening->store;
    const struct journal_scan scan = *journal_scanned(store->journal);
    opening->loaded = false;
    /* From here on a new incarnation: no batch of the old one counts any more. */
    store->checkpoint.incarnation = store->super.incarnation + 1;
    store->checkpoint.keep_replay = false;
    /* Numbers go on after the highest that was ever seen: none is used twice. */
    struct journal_position start = {.batch = MAX(scan.end.batch, scan.last + 1),
                                     .block = scan.end.block};
    int error = opening_journal(store, store->checkpoint.incarnation, start);
    if (error != 0) {
        opening_end(opening, error);
        return;
    }
    if (list_empty(&store->parts->stale)) {
        recovery_saved(opening);
        return;
    }
    /* States may be written where a block was that the log replaced by another: that one must not
     * be lost with the power any more. */
    store->parts->unlogged = true;
    store->checkpoint.wanted = false;
    opening->flush.done = recovery_flushed;
    store_flush(store, &opening->flush);
}

/* A checkpoint that began while records were replayed, or states read, is waited for: it may not
 * name where replay begins, and what follows may. */
static void recovery_loaded(void *context, int result)
{
    struct opening *opening = context;
    struct store *store = opening->store;
    const struct journal_scan scan = *journal_scanned(store->journal);
    if (result != 0 || scan.damaged || store->options.read_only)
        opening_end(opening, result != 0 ? parts_unreadable(result) : 0);
    else
        opening->loaded = true;
}

void opening_parts_turn(struct opening *opening)
{
    struct store *store = opening->store;
    parts_load_turn(store);
    if (opening->loaded && !opening->ended &&
        (store->checkpoint.state == CHECKPOINT_IDLE || MUTANT(329)))
        recovery_renew(opening);
    if (!opening->saving || opening->ended)
        return;
    store_ops_turn(store);
    parts_save_turn(store->parts);
    if (tree_admission_waits(store->tree) && store_may_change(store))
        tree_admit(store->tree);
    if (store->devices.failed != 0)
        opening_end(opening, FAIL(IOMESH_FAILED, "recovery: a device failed"));
    else if (parts_saved(store->parts))
        recovery_saved(opening);
}

static void recovery_replayed(void *context, int result)
{
    struct opening *opening = context;
    struct store *store = opening->store;
    opening->muted = false;
    if (result != 0) {
        opening->again = opening->small && page_frame_count(store->cache) < RECOVERY_FRAMES_MAX;
        if (!opening->again)
            opening_end(opening, result);
        return;
    }
    store->stats.recovery_ns = clock_now_ns(store->clock) - opening->began_ns;
    int error = parts_load_start(store, false, recovery_loaded, opening);
    if (error != 0)
        opening_end(opening, error);
}

static void recovery_scanned(void *context, int result)
{
    struct opening *opening = context;
    struct store *store = opening->store;
    if (result != 0) {
        opening_end(opening,
                    FAIL(result, "the journal cannot be read: %s", base_error_text(result)));
        return;
    }
    const struct journal_scan *scan = journal_scanned(store->journal);
    opening->muted = opening->told > 0;
    if (scan->damaged) {
        REACH(recovery_damaged);
        store_damage(
            store, 0, 0, 0,
            "the journal lost batches that were durable (it ends before %llu, but %llu was "
            "named): opened read-only; copy what can be read and restore the rest",
            (unsigned long long)scan->end.batch, (unsigned long long)scan->durable);
        store->options.read_only = true;
    }
    if (scan->batches > 0)
        store_event(store, STORE_INFO, "recovering: %llu records in %llu batches",
                    (unsigned long long)scan->records, (unsigned long long)scan->batches);
    int error = store_replay_start(store, recovery_replayed, opening);
    if (error != 0)
        opening_end(opening, error);
}

/* --- After a clean close -------------------------------------------------------------------- */

static void name_sealed(struct store_flush *flush, int result)
{
    opening_end(CONTAINER_OF(flush, struct opening, flush),
                result == 0 ? 0
                            : FAIL(result, "the superblock cannot be made durable: %s",
                                   base_error_text(result)));
}

static void name_written(struct super_write *write, int result)
{
    struct opening *opening = write->store->opening;
    if (result != 0) {
        opening_end(opening,
                    FAIL(result, "the superblock cannot be written: %s", base_error_text(result)));
        return;
    }
    opening->flush.done = name_sealed;
    store_flush(write->store, &opening->flush);
}

/* --- Space, then whichever way -------------------------------------------------------------- */

static void clean_loaded(void *context, int result)
{
    struct opening *opening = context;
    struct store *store = opening->store;
    struct superblock *super = &store->super;
    if (result != 0) {
        opening_end(opening, parts_unreadable(result));
    } else if (store->options.read_only) {
        opening_end(opening, 0);
    } else {
        REACH(open_after_clean_close);
        super->clean = false;
        super->incarnation++;
        store->checkpoint.incarnation = super->incarnation;
        store_super_write(store, name_written);
    }
}

static void space_loaded(void *context, int result)
{
    struct opening *opening = context;
    struct store *store = opening->store;
    struct superblock *super = &store->super;
    if (result != 0) {
        opening_end(opening,
                    FAIL(result, "the map of free space cannot be read: %s; run pool check",
                         base_error_text(result)));
        return;
    }
    struct journal_position start = {.batch = super->replay_batch, .block = super->replay_block};
    bool clean = super->clean;
    uint64_t incarnation = super->incarnation + (clean && !store->options.read_only ? 1 : 0);
    int error = opening_journal(store, incarnation, start);
    if (error != 0) {
        opening_end(opening, error);
    } else if (!clean) {
        store->checkpoint.incarnation = super->incarnation;
        store->checkpoint.keep_replay = true;
        error = journal_scan_start(store->journal, recovery_scanned, opening);
        if (error != 0)
            opening_end(opening, error);
    } else {
        error = parts_load_start(store, true, clean_loaded, opening);
        if (error != 0)
            opening_end(opening, error);
    }
}

static void supers_read(struct opening *opening)
{
    struct store *store = opening->store;
    int error = opening_supers_check(opening);
    if (error == 0 && opening->look != NULL) {
        opening_end(opening, 0);
        return;
    }
    if (error == 0)
        error = opening_components(opening);
    if (error != 0) {
        opening_end(opening, error);
        return;
    }
    /* What a killed process wrote and did not flush is in the device's cache: the first flush
     * makes durable what recovery is about to believe. */
    for (unsigned i = 0; i < store->devices.count; i++)
        store->devices.devices[i].unflushed = true;
    store_flusher_open(store);
    space_load_start(store->space, space_loaded, opening);
}

void opening_again(struct opening *opening)
{
    struct store *store = opening->store;
    store->options.cache_bytes = 2ull * page_frame_count(store->cache) * BLOCK_BYTES;
    store->options.segments_max *= 2;
    scratch_close(&store->scratch);
    tree_close(store->tree);
    space_close(store->space);
    page_cache_close(store->cache);
    journal_close(store->journal);
    store->tree = NULL;
    store->space = NULL;
    store->cache = NULL;
    store->journal = NULL;
    store->stats = (struct store_stats){0};
    store_parts_reset(store);
    opening->again = opening->small = false;
    int error = opening_components(opening);
    if (error != 0)
        opening_end(opening, error);
    else
        space_load_start(store->space, space_loaded, opening);
}

int store_identify(const struct store_options *options, struct store_identity *ret_look,
                   struct store **ret_store, store_done_fn *done, void *context)
{
    struct opening *opening;
    int error = opening_begin(options, done, context, &opening);
    if (error != 0)
        return error;
    opening->look = ret_look;
    opening_read_labels(opening, labels_read);
    *ret_store = opening->store;
    return 0;
}

int store_open(const struct store_options *options, struct store **ret_store, store_done_fn *done,
               void *context)
{
    struct opening *opening;
    int error = opening_begin(options, done, context, &opening);
    if (error != 0)
        return error;
    opening_read_labels(opening, labels_read);
    *ret_store = opening->store;
    return 0;
}

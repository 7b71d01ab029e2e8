/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts as they were: their states from the tree, and what records said that came later.
 *
 *   watermark   same boot:     the newest of state and records: what was acknowledged is in the log
 *               another boot:  flushed
 *               a device failed a write or a flush since the last opening: flushed, for its cache
 *               may be gone; this is a boot of its own, though the machine's is the same
 *   flushed     the newest that is known to be behind a flush: of a state, what it says was
 *               flushed; and of states and records at or below the highest durable batch, their
 *               watermarks
 */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "store/opening.h"
#include "store/parts.h"

#define LOAD_READS 16u

struct load_read {
    struct device_io io;
    struct parts_load *load;
    uint32_t number;
    struct pointer pointer;
};

struct parts_load {
    struct store *store;
    store_done_fn *done;
    void *context;
    bool certain; /* Closed cleanly: all of it is durable. */
    bool same;    /* The machine has not restarted since, and no device has failed. */
    bool over;    /* No map page is left. */
    bool begun, waits;
    int result;
    uint64_t block; /* The next map page. */
    struct tree_path path;
    uint32_t count, next, pending;
    uint32_t slots; /* One bit for each read. */
    struct pointer pointers[MAP_BLOCKS];
    struct load_read reads[LOAD_READS];
    uint8_t *bytes;
};

/* --- What records say ----------------------------------------------------------------------- */

void parts_note(struct store *store, const struct record *record, bool certain)
{
    struct parts *parts = store->parts;
    bool io = record_is_write(record) || record_is_zero(record) || record->type == RECORD_RESYNC;
    if (!io)
        return;
    if (record->volume == VOLUME_PARTS) {
        store->super.parts = true;
        if (!certain)
            parts->uncertain_from = MIN(parts->uncertain_from, record->sequence);
    }
    if (volume_is_system(record->volume) || (record->watermark == 0 && record->generation == 0))
        return;
    struct part *part = part_make(parts, record->volume, record->group);
    if (part == NULL)
        return; /* It is trusted with less. */
    part->noted = MAX(part->noted, record->watermark);
    part->noted_generation = MAX(part->noted_generation, record->generation);
    if (certain)
        part->noted_certain = MAX(part->noted_certain, record->watermark);
}

/* --- States --------------------------------------------------------------------------------- */

static int load_state(struct parts_load *load, const struct load_read *read, unsigned index,
                      const uint8_t *bytes)
{
    struct parts *parts = load->store->parts;
    struct part_saved saved;
    int error = part_state_get(bytes, &saved);
    if (error != 0 || !saved.used)
        return error;
    struct part *part = part_make(parts, saved.volume, saved.group);
    if (part == NULL)
        return -ENOMEM;
    error = part_settle_at(parts, part, read->number, index);
    if (error != 0)
        return error;
    bool certain = load->certain || read->pointer.sequence < parts->uncertain_from;
    struct part_state *state = &part->state;
    state->epoch = saved.epoch;
    state->role = saved.role;
    state->heard = saved.heard;
    state->settled = part->settled_kept = saved.settled;
    state->generation = MAX(saved.generation, part->noted_generation);
    state->role_generation = saved.role_generation;
    state->flushed = MAX(saved.flushed, part->noted_certain);
    if (certain)
        state->flushed = MAX(state->flushed, saved.watermark);
    state->watermark = MAX(saved.watermark, part->noted);
    if (!load->same && !load->certain && !MUTANT(274))
        state->watermark = state->flushed;
    part->retired = saved.retired;
    part->boot = saved.boot;
    part->counted = (load->certain && saved.counted) || saved.role != PART_CATCHING_UP;
    state->aside = load->certain ? saved.aside : 0;
    if (state->watermark != saved.watermark || state->flushed != saved.flushed ||
        state->generation != saved.generation)
        part_stale(parts, part);
    return 0;
}

static void load_broken(struct parts_load *load, uint32_t number, int error)
{
    struct store *store = load->store;
    REACH(part_states_broken);
    store_damage(store, VOLUME_PARTS, number, 1,
                 "what this store knows of its parts (block %u) cannot be read (%s): opened for "
                 "reading only; replace the store, its parts are on others",
                 number, base_error_text(error));
    store->options.read_only = true;
}

static void load_step(struct parts_load *load);

static void load_read_done(struct device_io *io, int result)
{
    struct load_read *read = io->owner;
    struct parts_load *load = read->load;
    unsigned slot = (unsigned)(read - load->reads);
    const uint8_t *bytes = load->bytes + (size_t)slot * BLOCK_BYTES;
    if (result == 0 && crc32c(bytes, BLOCK_BYTES) != read->pointer.crc)
        result = IOMESH_CORRUPT;
    for (unsigned i = 0; result == 0 && i < PART_STATES_PER_BLOCK; i++)
        result = load_state(load, read, i, bytes + (size_t)i * PART_STATE_BYTES);
    load->slots &= ~(1u << slot);
    load->pending--;
    if (result == -ENOMEM || result == IOMESH_FAILED)
        load->result = result;
    else if (result != 0)
        load_broken(load, read->number, result);
    load_step(load);
}

static void load_read_next(struct parts_load *load)
{
    struct store *store = load->store;
    struct pointer pointer = load->pointers[load->next];
    uint32_t number = (uint32_t)(load->block - MAP_BLOCKS) + load->next++;
    store->parts->sequence = MAX(store->parts->sequence, pointer.sequence);
    if (pointer.kind == POINTER_BAD)
        load_broken(load, number, IOMESH_CORRUPT);
    if (pointer.kind != POINTER_RAW)
        return;
    unsigned slot = (unsigned)__builtin_ctz(~load->slots);
    struct load_read *read = &load->reads[slot];
    load->slots |= 1u << slot;
    load->pending++;
    read->load = load;
    read->number = number;
    read->pointer = pointer;
    read->io.owner = read;
    device_submit(&store->devices, &read->io, DISK_READ, pointer.place, 1,
                  load->bytes + (size_t)slot * BLOCK_BYTES, load_read_done);
}

/* The pointers of the next map page. */
static void load_page(struct parts_load *load)
{
    int error =
        tree_changed_next(&load->path, VOLUME_PARTS, VIEW_HEAD, 0, UINT32_MAX, &load->block);
    load->waits = error == -EAGAIN;
    if (load->waits)
        return;
    load->over = error == -ENOENT;
    if (load->over)
        return;
    if (error != 0) {
        load->over = true;
        load_broken(load, (uint32_t)load->block, error);
        return;
    }
    for (unsigned i = 0; i < MAP_BLOCKS; i++)
        load->pointers[i] = tree_get(&load->path, i);
    tree_path_close(&load->path);
    load->next = 0;
    load->count = MAP_BLOCKS;
    load->block += MAP_BLOCKS;
}

static void load_step(struct parts_load *load)
{
    while (!load->over && load->result == 0) {
        if (load->next < load->count && load->pending == LOAD_READS)
            return;
        if (load->next < load->count) {
            load_read_next(load);
            continue;
        }
        load_page(load);
        if (load->waits)
            return;
    }
}

static void load_woken(struct tree_path *path)
{
    load_step(CONTAINER_OF(path, struct parts_load, path));
}

/* --- The whole ------------------------------------------------------------------------------ */

static bool boot_is_same(const struct store *store)
{
    static const uint8_t unknown[16];
    const uint8_t *now = store->options.boot_id;
    return memcmp(now, unknown, sizeof unknown) != 0 &&
           memcmp(now, store->super.boot_id, sizeof unknown) == 0;
}

/* Notes of volumes that have no part here go. */
static void load_forget(struct parts *parts)
{
    for (struct part *part = part_next(parts, NULL, 0), *next; part != NULL; part = next) {
        next = part_next(parts, part, 0);
        if (part->home == NULL)
            part_drop(parts, part);
    }
}

static void load_end(struct parts_load *load)
{
    struct store *store = load->store;
    struct parts *parts = store->parts;
    store_done_fn *done = load->done;
    void *context = load->context;
    int result = load->result;
    if (result == 0) {
        load_forget(parts);
        if (!load->same) {
            memcpy(store->super.boot_id, store->options.boot_id, sizeof store->super.boot_id);
            store->super.boot++;
        }
        for (struct part *part = part_next(parts, NULL, 0); part != NULL;
             part = part_next(parts, part, 0))
            part->state.restarted = part->boot != store->super.boot;
    }
    tree_path_close(&load->path);
    parts->load = NULL;
    free(load->bytes);
    free(load);
    done(context, result);
}

void parts_load_turn(struct store *store)
{
    struct parts_load *load = store->parts->load;
    if (load == NULL)
        return;
    if (!load->begun) {
        load->begun = true;
        load_step(load);
    }
    if ((load->over || load->result != 0) && load->pending == 0)
        load_end(load);
}

int parts_load_start(struct store *store, bool certain, store_done_fn *done, void *context)
{
    struct parts_load *load = calloc(1, sizeof *load);
    uint8_t *bytes = aligned_alloc(BLOCK_BYTES, (size_t)LOAD_READS * BLOCK_BYTES);
    if (load == NULL || bytes == NULL) {
        free(load);
        free(bytes);
        return FAIL(-ENOMEM, "opening a store: no memory");
    }
    load->store = store;
    load->bytes = bytes;
    load->certain = certain;
    load->same = boot_is_same(store) && (!store->options.failed || MUTANT(338));
    load->over = !store->super.parts; /* Nothing to look for, whatever is broken. */
    load->done = done;
    load->context = context;
    tree_path_init(&load->path, store->tree, load_woken);
    store->parts->load = load;
    return 0;
}

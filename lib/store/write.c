/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One write of up to 256 blocks within one map page.
 *
 *   ADMIT ──▶ RESERVE ──▶ TAKE ──▶ FLY ──▶ (apply) ──▶ finished
 *                          │ ▲      │
 *                          ▼ │      └──▶ TAKE again: free space was in too many pieces
 *                         PROBE
 *
 * FLY is three things at once: the data goes to its new places, the record to the journal, and the
 * map page is fetched if it is not in memory. When all three are there, pointers move. PROBE: no
 * space for new data; if every block of the write has a place already it may dip into the reserve,
 * for it gives back as much as it takes.
 *
 * A resync goes the same way, with a record of its own (resync.c); what it brings enters one page
 * after another when all has landed (ENTER, behind FLY).
 */
#include <string.h>

#include "codec/codec.h"
#include "format/part_state.h"
#include "store/internal.h"
#include "store/resync.h"

enum write_state { WRITE_ADMIT, WRITE_RESERVE, WRITE_TAKE, WRITE_PROBE, WRITE_FLY, WRITE_ENTER };

static void write_land(struct store_op *op);

uint32_t store_write_record(const struct store_op *op, uint8_t *to)
{
    struct record record;
    if (op->kind == STORE_RESYNC) {
        store_resync_record(op, &record);
        return record_encode(to, &record);
    }
    record.type = op->views || op->group != 0 ? RECORD_WRITE_VIEWS : RECORD_WRITE;
    record.group = op->group;
    record.cut = op->cut;
    record.volume = op->volume;
    record.block = op->block + op->base;
    record.count = op->round;
    record.sequence = op->sequence;
    record.watermark = op->watermark;
    record.epoch = op->epoch;
    record.generation = op->generation;
    record.extent_count = (uint8_t)op->extent_count;
    for (unsigned i = 0; i < op->extent_count; i++) {
        record.extents[i].place = op->extents[i].place;
        record.extents[i].blocks = (uint16_t)op->extents[i].blocks;
    }
    memcpy(record.crcs, op->crcs + op->base, op->round * sizeof op->crcs[0]);
    return record_encode(to, &record);
}

/* Blocks taken for a write that will not happen, never shown by anything durable. */
static void write_give_back(struct store_op *op)
{
    for (unsigned i = 0; i < op->extent_count; i++)
        space_give_back(op->store->space, op->extents[i]);
    op->extent_count = 0;
    op->round = 0;
}

static void write_done(struct store_op *op)
{
    struct store *store = op->store;
    store->stats.writes++;
    store->stats.written_blocks += op->count;
    store_op_finish(op, 0);
}

/*
 * The record is in the log but its map page cannot be read: the blocks stay away from everybody
 * until no replay can meet the record any more.
 */
static void write_strand(struct store_op *op)
{
    REACH(write_stranded);
    for (unsigned i = 0; i < op->extent_count; i++) {
        space_link(op->store->space, op->extents[i]);
        for (uint32_t j = 0; j < op->extents[i].blocks; j++)
            space_free_page(op->store->space, op->extents[i].place + j);
    }
}

/* Planted bug 135: data that the newest view shows already, as a rollback writes it, is not kept at
 * a place of its own. */
static void write_share(const struct store_op *op, unsigned index, struct pointer *pointer)
{
    struct tree_path view = {.open = false};
    tree_path_init(&view, op->store->tree, op->path.wake);
    uint64_t block = op->block - op->block % MAP_BLOCKS;
    struct pointer shown = {.kind = POINTER_HOLE};
    if (op->cut != 0 && tree_path_open(&view, op->volume, op->cut, block, false) == 0)
        shown = tree_get(&view, index);
    tree_path_close(&view);
    if (shown.kind != POINTER_RAW || shown.crc != pointer->crc)
        return;
    space_free_page(op->store->space, pointer->place);
    pointer->place = shown.place;
}

static void write_apply(struct store_op *op)
{
    struct store *store = op->store;
    unsigned index = (unsigned)((op->block + op->base) % MAP_BLOCKS);
    uint32_t none = 0;
    store->applying_batch = op->unlogged ? 0 : op->entry.batch;
    store->applying_reserved = op->unlogged ? &none : &op->reserved; /* By the checkpoint. */
    uint32_t block = op->base;
    int64_t asides = tree_asides(store->tree);
    for (unsigned i = 0; i < op->extent_count; i++) {
        space_link(store->space, op->extents[i]);
        for (uint32_t j = 0; j < op->extents[i].blocks; j++, block++, index++) {
            struct pointer pointer = {
                .place = op->extents[i].place + j,
                .kind = POINTER_RAW,
                .sequence = op->sequence,
                .crc = op->crcs[block],
            };
            if (MUTANT(135))
                write_share(op, index, &pointer);
            if (!tree_set(&op->path, index, &pointer))
                space_free_page(store->space, pointer.place);
        }
    }
    store->applying_reserved = NULL;
    if (op->guarded)
        store_part_asides(op, tree_asides(store->tree) - asides);
    store_op_changed(op);
}

/* All that flew has landed. */
static void write_land(struct store_op *op)
{
    struct store *store = op->store;
    if (op->pending > 0 || op->append_wanted || op->path_wanted)
        return;
    if (store->devices.failed != 0) {
        store_op_finish(op, IOMESH_FAILED);
        return;
    }
    if (op->dropped) {
        write_give_back(op);
    } else if (op->result != 0) {
        write_strand(op);
    } else if (op->kind == STORE_RESYNC) {
        bool begins = op->state != WRITE_ENTER;
        op->state = WRITE_ENTER;
        op->result = store_resync_apply(op, begins);
        if (op->result == -EAGAIN) {
            op->result = 0;
            return;
        }
    } else {
        write_apply(op);
    }
    if (!MUTANT(80) && !op->dropped && !op->unlogged)
        journal_applied(store->journal, &op->entry);
    tree_path_close(&op->path);
    if (op->result != 0) {
        store_op_finish(op, op->result);
        return;
    }
    /* What replaced something used up its places in quarantine; the rest of the round had none. */
    op->base += op->round;
    op->round = 0;
    op->extent_count = 0;
    if (op->base == op->count) {
        write_done(op);
        return;
    }
    REACH(write_in_rounds);
    op->state = WRITE_TAKE;
    store_write_step(op);
}

void store_write_logged(struct store_op *op, int result)
{
    op->pending--;
    if (result != 0 && op->result == 0)
        op->result = result;
    write_land(op);
}

static void write_data_done(struct device_io *io, int result)
{
    struct store_op *op = io->owner;
    op->pending--;
    if (result == -ENOSPC) {
        /* Space was prepared before it was given out: below us something is not as it was. */
        device_fail(&op->store->devices, io->device, result);
        result = IOMESH_FAILED;
    }
    if (result != 0 && op->result == 0)
        op->result = result;
    write_land(op);
}

static void write_fly(struct store_op *op)
{
    struct store *store = op->store;
    uint8_t *data = (uint8_t *)op->data + (size_t)op->base * BLOCK_BYTES;
    for (uint32_t i = 0; i < op->round && !op->summed; i++)
        op->crcs[op->base + i] = crc32c(data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES);
    op->state = WRITE_FLY;
    op->path_wanted = op->kind != STORE_RESYNC;
    for (unsigned i = 0; i < op->extent_count; i++) {
        op->pending++;
        op->ios[i].owner = op;
        device_submit(&store->devices, &op->ios[i], DISK_WRITE, op->extents[i].place,
                      op->extents[i].blocks, data, write_data_done);
        data += (size_t)op->extents[i].blocks * BLOCK_BYTES;
    }
    if (MUTANT(80) || op->unlogged)
        return;
    op->pending++;
    store_op_append(op);
}

/* 0, or what space_take() said once nothing more is to be had. */
static int write_take(struct store_op *op)
{
    if (op->kind == STORE_RESYNC && op->resync->kind != POINTER_RAW)
        op->round = op->count; /* It has no data. */
    while (op->base + op->round < op->count && op->extent_count < STORE_OP_EXTENTS) {
        /* Nobody waits for space with some in his hands: others wait for that. */
        if (op->extent_count > 0 && space_take_would_wait(op->store->space, op->purpose)) {
            REACH(write_flies_short);
            return 0;
        }
        struct extent *extent = &op->extents[op->extent_count];
        int error = space_take(op->store->space, DEVICE_NVME, op->purpose,
                               op->count - op->base - op->round, &op->waiter, extent);
        if (error != 0)
            return error;
        op->extent_count++;
        op->round += extent->blocks;
    }
    return 0;
}

/* 0: every block of the write has a place that it will give back. What a view shows too stays. */
static int write_probe(struct store_op *op)
{
    uint64_t owner = 0;
    int error = 0;
    if (op->views)
        error = tree_view_before(&op->path, op->volume, (uint32_t)(op->block / MAP_BLOCKS),
                                 VIEW_HEAD, &owner);
    if (error == 0)
        error = tree_path_open(&op->path, op->volume, VIEW_HEAD, op->block, false);
    if (error != 0)
        return error;
    for (uint32_t i = op->base; i < op->count; i++) {
        struct pointer pointer = tree_get(&op->path, (unsigned)((op->block + i) % MAP_BLOCKS));
        bool kept = pointer.sequence <= MAX(owner, op->cut) && !MUTANT(144);
        if (!pointer_has_place(&pointer) || kept)
            return -ENOSPC;
    }
    tree_path_close(&op->path);
    return 0;
}

static void write_refuse(struct store_op *op, int error)
{
    write_give_back(op);
    store_op_finish(op, error);
}

void store_write_step(struct store_op *op)
{
    struct store *store = op->store;
    int error = 0;
    if (op->state == WRITE_ADMIT) {
        if (store->devices.failed != 0) {
            store_op_finish(op, IOMESH_FAILED);
            return;
        }
        if (store_must_throttle(store) && !op->system) {
            list_push_back(&store->admission, &op->node);
            return;
        }
        /* States of parts are few, and a checkpoint waits for them: they must not wait for one. */
        op->purpose = op->volume == VOLUME_PARTS && !MUTANT(333) ? SPACE_OVERWRITE : SPACE_NEW;
        op->state = WRITE_RESERVE;
    }
    if (op->state == WRITE_RESERVE) {
        error = space_quarantine_reserve(store->space, op->count, &op->waiter);
        if (error == -EAGAIN)
            return;
        if (error != 0) {
            store_op_finish(op, error);
            return;
        }
        op->reserved = op->count;
        op->state = WRITE_TAKE;
    }
    while (op->state == WRITE_TAKE || op->state == WRITE_PROBE) {
        error = op->state == WRITE_TAKE ? write_take(op) : write_probe(op);
        if (error == -EAGAIN)
            return;
        if (error == -ENOSPC && op->state == WRITE_TAKE && op->purpose == SPACE_NEW &&
            !MUTANT(93)) {
            REACH(write_probes_for_overwrite);
            op->state = WRITE_PROBE;
        } else if (error != 0) {
            write_refuse(op, error);
            return;
        } else if (op->state == WRITE_PROBE) {
            op->purpose = SPACE_OVERWRITE;
            op->state = WRITE_TAKE;
        } else {
            write_fly(op);
        }
    }
    /* Not while there is no room for its record: an open path keeps frames, and room comes by a
     * checkpoint, which needs some. */
    if (op->state == WRITE_ENTER)
        write_land(op);
    else if (op->state == WRITE_FLY && op->path_wanted && !op->append_wanted) {
        error = store_op_open(op, op->block + op->base);
        if (error == -EAGAIN)
            return;
        op->path_wanted = false;
        if (error != 0 && op->result == 0)
            op->result = error;
        write_land(op);
    }
}

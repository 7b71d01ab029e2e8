/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery as a store does it, and beside it, a simpler reading of the same disk. */
#include <stdio.h>
#include <string.h>

#include "format/journal.h"
#include "sim/journal_model.h"

/* --- The simpler reading --------------------------------------------------------------------- */

struct reference {
    struct journal_position end;
    uint64_t durable, last, chain_blocks;
    bool damaged;
    unsigned batch_count;
    uint64_t blocks[REGION_BLOCKS_MAX]; /* Where each batch of the chain begins. */
};

static uint8_t region[REGION_BLOCKS_MAX * BLOCK_BYTES];
static bool unreadable[REGION_BLOCKS_MAX];

static void region_load(const struct model *model)
{
    const struct sim_faults *faults = &model->disk->faults;
    for (uint64_t block = 0; block < model->options.blocks; block++) {
        uint64_t offset = (JOURNAL_PLACE + block) * BLOCK_BYTES;
        uint8_t *to = region + block * BLOCK_BYTES;
        unreadable[block] = offset < faults->unreadable_offset + faults->unreadable_length &&
                            faults->unreadable_offset < offset + BLOCK_BYTES;
        if (unreadable[block])
            memset(to, 0, BLOCK_BYTES);
        else
            sim_disk_peek(model->disk, offset, BLOCK_BYTES, to);
    }
}

/* Blocks of the batch at a block of the region; 0: there is none. */
static uint32_t region_batch(const struct model *model, uint64_t block, uint64_t incarnation,
                             struct batch_header *ret_header)
{
    size_t available = (model->options.blocks - block) * BLOCK_BYTES;
    if (batch_get(region + block * BLOCK_BYTES, available, ret_header) != 0 ||
        ret_header->incarnation != incarnation ||
        batch_blocks(ret_header->bytes_used) > model->options.batch_blocks_max)
        return 0;
    return batch_blocks(ret_header->bytes_used);
}

static uint64_t fit(const struct model *model, uint64_t block)
{
    return model->options.blocks - block < model->options.batch_blocks_max ? 0 : block;
}

static void reference_chain(const struct model *model, const struct superblock *super,
                            struct reference *reference)
{
    struct batch_header header;
    uint64_t block = fit(model, super->start.block);
    uint64_t number = super->start.batch;
    uint64_t gone = 0; /* Blocks passed since the start. */
    while (gone < model->options.blocks) {
        uint32_t blocks = region_batch(model, block, super->incarnation, &header);
        if (blocks == 0 || header.number != number || gone + blocks > model->options.blocks)
            break;
        reference->blocks[reference->batch_count++] = block;
        uint64_t next = fit(model, (block + blocks) % model->options.blocks);
        gone += blocks + (next == 0 ? (model->options.blocks - block - blocks) : 0);
        block = next;
        number++;
    }
    reference->end = (struct journal_position){.batch = number, .block = block};
    uint64_t left = gone > model->options.blocks ? 0 : model->options.blocks - gone;
    for (uint64_t i = 0; i < MIN(left, model->options.batch_blocks_max); i++)
        reference->damaged |= unreadable[(block + i) % model->options.blocks];
}

static struct reference reference_scan(const struct model *model, const struct superblock *super)
{
    struct batch_header header;
    struct reference reference = {.durable = super->start.batch - 1,
                                  .last = super->start.batch - 1};
    region_load(model);
    reference_chain(model, super, &reference);
    for (uint64_t block = 0; block < model->options.blocks; block++) {
        if (region_batch(model, block, super->incarnation, &header) == 0)
            continue;
        reference.durable = MAX(reference.durable, header.durable);
        reference.last = MAX(reference.last, header.number);
    }
    reference.damaged |= reference.end.batch <= reference.durable;
    return reference;
}

uint64_t named_on_disk(const struct model *model)
{
    const struct superblock here = {.incarnation = model->options.incarnation,
                                    .start = model->options.start};
    return reference_scan(model, &here).durable;
}

/* --- Waiting --------------------------------------------------------------------------------- */

static void read_ended(void *context, int result)
{
    struct model *model = context;
    if (model->read_ended)
        broken(model, "a scan or replay ended twice");
    model->read_ended = true;
    model->read_result = result;
}

static void part_ended(struct model *model, int result)
{
    model->read_ended = true;
    model->read_result = result;
}

static void super_written(struct device_io *io, int result)
{
    part_ended(CONTAINER_OF(io, struct model, super_io), result);
}

static void super_flushed(struct device_flush *flush, int result)
{
    part_ended(CONTAINER_OF(flush, struct flush_op, flush)->model, result);
}

/* False if the power went. */
static bool await(struct model *model)
{
    while (!model->read_ended) {
        if (device_turn(&model->devices) > 0)
            continue;
        if (!world_step(&model->world)) {
            if (!model->world.off)
                broken(model, "recovery waits for nothing");
            return false;
        }
    }
    return !model->world.off;
}

/* --- Replay ---------------------------------------------------------------------------------- */

/* The next record that a replay may give, from `from` on; RECORDS_MAX: none. */
static unsigned next_expected(const struct model *model, unsigned from)
{
    while (from < model->record_count) {
        const struct record *record = &model->records[from];
        if (record->incarnation == model->super.incarnation &&
            record->batch >= model->super.start.batch)
            return from;
        from++;
    }
    return RECORDS_MAX;
}

static bool data_is_there(const struct model *model, unsigned number)
{
    uint8_t bytes[BLOCK_BYTES];
    sim_disk_peek(model->disk, data_place(model, number) * BLOCK_BYTES, BLOCK_BYTES, bytes);
    return memcmp(bytes, data_bytes(number), BLOCK_BYTES) == 0;
}

static void replay_resume(struct timer *timer)
{
    journal_replay_continue(CONTAINER_OF(timer, struct model, resume)->journal);
}

static int visit(void *context, uint64_t batch, bool certain, const uint8_t *bytes, uint32_t length)
{
    struct model *model = context;
    unsigned expected = next_expected(model, model->replay_next);
    unsigned number = length < 4 ? UINT32_MAX : get32(bytes);
    if (expected == RECORDS_MAX || number != expected)
        broken(model, "replay gave record %u of batch %llu, not %u", number,
               (unsigned long long)batch, expected);
    const struct record *record = &model->records[number];
    if (record->batch != batch)
        broken(model, "record %u came from batch %llu, not %llu", number, (unsigned long long)batch,
               (unsigned long long)record->batch);
    if (record->length != length || memcmp(bytes, record_bytes(number, length), length) != 0)
        broken(model, "record %u has other bytes", number);
    counts.replayed++;
    bool there = !record->has_data || data_is_there(model, number);
    if (there)
        model->found.holds[number / 8] |= (uint8_t)(1u << number % 8);
    else
        counts.data_missing++;
    if (certain && !there && !holds(&model->super, number))
        broken(model, "record %u is durable and its data is not there", number);
    model->replay_next = number + 1;
    model->replay_batch = batch;
    if (!prng_one_in(&model->prng, 8))
        return 0;
    if (prng_one_in(&model->prng, 2)) {
        journal_replay_continue(model->journal); /* At once, from within. */
        return 1;
    }
    model->resume = (struct timer){.fire = replay_resume};
    clock_set_after(&model->world.clock, &model->resume, 1 + prng_below(&model->prng, 300000));
    return 1;
}

/* --- Recovery -------------------------------------------------------------------------------- */

static void choose_super(struct model *model)
{
    struct superblock super;
    uint8_t bytes[BLOCK_BYTES];
    bool found = false;
    for (uint64_t slot = 0; slot < 2; slot++) {
        sim_disk_peek(model->disk, slot * BLOCK_BYTES, BLOCK_BYTES, bytes);
        if (!super_decode(bytes, &super) || (found && super.generation < model->super.generation))
            continue;
        found = true;
        model->super = super;
    }
    if (!found || model->super.generation < model->super_durable)
        broken(model, "the superblock of generation %llu is lost",
               (unsigned long long)model->super_durable);
    if (memcmp(&model->super, &model->written[model->super.generation % 2], sizeof super) != 0)
        broken(model, "a superblock that was never written");
}

/* Reads may fail once: read again, they are there. Or for good, rarely. */
static void draw_read_faults(struct model *model)
{
    struct sim_faults *faults = &model->disk->faults;
    const struct sim_disk_counts *done = &model->disk->counts;
    *faults = (struct sim_faults){.slow_one_in = 20};
    switch (prng_below(&model->prng, 10)) {
    case 0: faults->read_error_at = done->reads + 1 + prng_below(&model->prng, 8); break;
    case 1: faults->short_at = done->reads + done->writes + 1 + prng_below(&model->prng, 8); break;
    case 2:
        faults->unreadable_offset =
            (JOURNAL_PLACE + prng_below(&model->prng, model->options.blocks)) * BLOCK_BYTES;
        faults->unreadable_length = SECTOR_BYTES;
        model->media_faults = true;
        break;
    default: break;
    }
}

static void check_scan(const struct model *model, const struct reference *reference)
{
    const struct journal_scan *scan = journal_scanned(model->journal);
    if (scan->end.batch != reference->end.batch || scan->batches != reference->batch_count ||
        (!scan->damaged && scan->end.block != reference->end.block))
        broken(model, "the chain ends with %llu at %llu, not %llu at %llu",
               (unsigned long long)scan->end.batch, (unsigned long long)scan->end.block,
               (unsigned long long)reference->end.batch, (unsigned long long)reference->end.block);
    if (scan->durable != reference->durable || scan->last != reference->last)
        broken(model, "durable through %llu, last %llu; the disk says %llu and %llu",
               (unsigned long long)scan->durable, (unsigned long long)scan->last,
               (unsigned long long)reference->durable, (unsigned long long)reference->last);
    if (scan->damaged != reference->damaged)
        broken(model, "damaged: %d, and the disk says %d", scan->damaged, reference->damaged);
    if (scan->damaged && !model->media_faults)
        broken(model,
               "damage, though nothing was lost: durable through %llu, the chain ends at %llu",
               (unsigned long long)scan->durable, (unsigned long long)scan->end.batch);
}

static void print_reference(const struct model *model, const struct reference *reference)
{
    printf(
        "recovery of %llu: superblock %llu, batches %llu .. %llu, durable through %llu%s\n",
        (unsigned long long)model->super.incarnation, (unsigned long long)model->super.generation,
        (unsigned long long)model->super.start.batch, (unsigned long long)reference->end.batch - 1,
        (unsigned long long)reference->durable, reference->damaged ? ", damaged" : "");
}

/* A batch that rots after it was scanned must not be replayed. */
static bool rot_before_replay(struct model *model, const struct reference *reference)
{
    if (reference->batch_count == 0 || !prng_one_in(&model->prng, 200))
        return false;
    uint64_t block = reference->blocks[prng_below(&model->prng, reference->batch_count)];
    sim_disk_rot(model->disk, (JOURNAL_PLACE + block) * BLOCK_BYTES, BATCH_HEADER_BYTES);
    model->media_faults = true;
    return true;
}

/* Whether everything promised is there. What is missing must have a fault to blame. */
static bool check_promises(const struct model *model)
{
    for (unsigned i = 0; i < model->record_count; i++) {
        const struct record *record = &model->records[i];
        if (holds(&model->found, i) || !(record->durable || record->acknowledged))
            continue;
        if (!model->media_faults)
            broken(model, "record %u of batch %llu was %s and is gone", i,
                   (unsigned long long)record->batch, record->durable ? "durable" : "acknowledged");
        return false;
    }
    unsigned expected = next_expected(model, model->replay_next);
    if (expected != RECORDS_MAX && model->records[expected].batch == model->replay_batch)
        broken(model, "batch %llu was replayed in part", (unsigned long long)model->replay_batch);
    return true;
}

static bool flush_now(struct model *model)
{
    model->read_ended = false;
    device_flush(&model->devices, &model->flushes[0].flush, super_flushed);
    return await(model);
}

/* Ends a recovery: once its superblock is durable, the verdict is given for good. */
static bool accept(struct model *model, struct journal_position start)
{
    struct superblock *next = &model->found;
    next->generation = model->super.generation + 1;
    next->incarnation = model->super.incarnation + 1;
    next->start = start;
    if (!flush_now(model))
        return false;
    uint64_t slot = next->generation % 2;
    model->written[slot] = *next;
    super_encode(next, model->super_bytes);
    model->read_ended = false;
    device_submit(&model->devices, &model->super_io, DISK_WRITE, slot, 1, model->super_bytes,
                  super_written);
    if (!await(model) || !flush_now(model))
        return false;
    model->super = *next;
    model->super_durable = next->generation;
    for (unsigned i = 0; i < model->record_count; i++) {
        struct record *record = &model->records[i];
        record->applied = record->durable = record->acknowledged = holds(next, i);
        counts.durable += record->durable;
    }
    return true;
}

enum recovery model_recover(struct model *model)
{
    counts.lives++;
    model_forget(model);
    choose_super(model);
    draw_read_faults(model);
    model_open_journal(model, model->super.incarnation, model->super.start);
    const struct reference reference = reference_scan(model, &model->super);
    model->read_ended = false;
    if (journal_scan_start(model->journal, read_ended, model) != 0)
        broken(model, "journal_scan_start: %s", base_last_error());
    if (!await(model))
        return RECOVERY_CUT;
    if (model->verbose)
        print_reference(model, &reference);
    check_scan(model, &reference);
    const struct journal_scan scan = *journal_scanned(model->journal);
    bool rotted = rot_before_replay(model, &reference);
    model->found = model->super;
    model->replay_next = 0;
    model->replay_batch = 0;
    model->read_ended = false;
    journal_replay_start_visit(model->journal, visit, read_ended, model);
    if (!await(model))
        return RECOVERY_CUT;
    if (model->read_result != (rotted ? IOMESH_CORRUPT : 0))
        broken(model, "replay ended with %d", model->read_result);
    if (rotted || scan.damaged) {
        counts.damaged++;
        return RECOVERY_LOST;
    }
    if (!check_promises(model))
        return RECOVERY_LOST;
    model->disk->faults = (struct sim_faults){0};
    struct journal_position start = scan.end;
    /* Numbers may go on where the chain ends, or above all that was seen: the incarnation tells. */
    if (prng_one_in(&model->prng, 2))
        start.batch = scan.last + 1;
    if (!accept(model, start))
        return RECOVERY_CUT;
    model->media_faults = false;
    model_open_journal(model, model->super.incarnation, start);
    return RECOVERED;
}

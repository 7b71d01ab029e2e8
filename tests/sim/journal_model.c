/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/journal_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/journal.h"

#define PATTERN_STEP 977u
#define SUPER_MAGIC 0x53494d53u
#define MARK_NS (100 * NS_PER_MS)

struct storm_counts counts;

static uint8_t pattern[BATCH_RECORD_MAX + PATTERN_STEP + 1];
static uint8_t data_blocks[RECORDS_MAX][BLOCK_BYTES] __attribute__((aligned(4096)));

noreturn void broken(const struct model *model, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("seed %llu, %s: ", (unsigned long long)model->world.seed,
           model->world.off ? "power off" : "running");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    fflush(stdout);
    exit(1);
}

/* --- Bytes ----------------------------------------------------------------------------------- */

static void patterns_make(void)
{
    if (pattern[0] != 0)
        return;
    struct prng prng = {.state = 1};
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)(prng_next(&prng) | 1);
    for (unsigned number = 0; number < RECORDS_MAX; number++) {
        for (unsigned at = 0; at < BLOCK_BYTES; at += 8)
            put64(data_blocks[number] + at, prng_next(&prng));
    }
}

const uint8_t *record_bytes(unsigned number, uint32_t length)
{
    static uint8_t bytes[BATCH_RECORD_MAX];
    memcpy(bytes, pattern + number % PATTERN_STEP, length);
    put32(bytes, number);
    return bytes;
}

const uint8_t *data_bytes(unsigned number)
{
    return data_blocks[number];
}

uint64_t data_place(const struct model *model, unsigned number)
{
    return JOURNAL_PLACE + model->options.blocks + number;
}

void super_encode(const struct superblock *super, uint8_t to[BLOCK_BYTES])
{
    memset(to, 0, BLOCK_BYTES);
    put32(to + 4, SUPER_MAGIC);
    put64(to + 8, super->generation);
    put64(to + 16, super->incarnation);
    put64(to + 24, super->start.batch);
    put64(to + 32, super->start.block);
    memcpy(to + 40, super->holds, sizeof super->holds);
    /* Across all sectors, so that a torn one shows. */
    for (unsigned at = 512; at < BLOCK_BYTES; at += 512)
        put64(to + at, super->generation);
    put32(to, crc32c(to + 4, BLOCK_BYTES - 4));
}

bool super_decode(const uint8_t from[BLOCK_BYTES], struct superblock *ret_super)
{
    if (get32(from + 4) != SUPER_MAGIC || get32(from) != crc32c(from + 4, BLOCK_BYTES - 4))
        return false;
    *ret_super =
        (struct superblock){.generation = get64(from + 8),
                            .incarnation = get64(from + 16),
                            .start = {.batch = get64(from + 24), .block = get64(from + 32)}};
    memcpy(ret_super->holds, from + 40, sizeof ret_super->holds);
    return true;
}

/* --- Records --------------------------------------------------------------------------------- */

static void record_settle(struct record *record)
{
    struct model *model = record->model;
    if (!record->done || (record->has_data && !record->data_done) || record->applied)
        return;
    record->applied = true;
    journal_applied(model->journal, &record->entry);
}

/* Some are applied at once, some dawdle. */
static void record_came_along(struct record *record)
{
    if (!prng_one_in(&record->model->prng, 3))
        record_settle(record);
}

static void record_ended(struct journal_entry *entry, int result)
{
    struct record *record = CONTAINER_OF(entry, struct record, entry);
    struct model *model = record->model;
    if (record->ended)
        broken(model, "record %u ended twice", record->number);
    if (record->number < model->last_ended)
        broken(model, "record %u ended after %u", record->number, model->last_ended);
    record->ended = true;
    model->last_ended = record->number;
    if (result != 0) {
        if (result != IOMESH_FAILED)
            broken(model, "record %u ended with %d", record->number, result);
        model->failed = true;
        return;
    }
    record->done = true;
    record_came_along(record);
}

static void data_written(struct device_io *io, int result)
{
    struct record *record = CONTAINER_OF(io, struct record, data_io);
    record->data_ended = true;
    if (result != 0) {
        record->model->failed = true;
        return;
    }
    record->data_done = true;
    record_came_along(record);
}

static void record_make(struct model *model)
{
    unsigned number = model->record_count++;
    struct record *record = &model->records[number];
    uint32_t most = MIN(journal_record_bytes_max(model->journal), model->length_max);
    *record = (struct record){.model = model, .number = number};
    record->length =
        4 + (uint32_t)prng_below(&model->prng, prng_one_in(&model->prng, 4) ? most - 3 : 200);
    record->length = MIN(record->length, most);
    record->has_data = prng_one_in(&model->prng, 2);
    counts.records++;
    if (record->has_data)
        device_submit(&model->devices, &record->data_io, DISK_WRITE, data_place(model, number), 1,
                      (void *)(uintptr_t)data_bytes(number), data_written);
}

static void records_append(struct model *model)
{
    while (model->appended < model->record_count && !model->failed) {
        struct record *record = &model->records[model->appended];
        int result = journal_append(model->journal, &record->entry,
                                    record_bytes(record->number, record->length), record->length,
                                    record_ended);
        if (result == -EAGAIN) {
            model->wants_room = true;
            return;
        }
        model->failed |= result != 0;
        if (result != 0)
            return;
        record->incarnation = model->options.incarnation;
        record->batch = record->entry.batch;
        model->appended++;
    }
}

static void room_came(void *context)
{
    struct model *model = context;
    model->wants_room = false;
    records_append(model);
}

/* --- Flush and checkpoint -------------------------------------------------------------------- */

static void flush_begin(struct flush_op *op, void (*done)(struct device_flush *flush, int result))
{
    struct model *model = op->model;
    op->busy = true;
    op->covers = journal_applied_through(model->journal);
    for (unsigned i = 0; i < model->record_count; i++)
        model->records[i].flushing[op->which] = model->records[i].applied;
    device_flush(&model->devices, &op->flush, done);
}

static bool flush_end(struct flush_op *op, int result)
{
    struct model *model = op->model;
    op->busy = false;
    if (result != 0) {
        model->failed = true;
        return false;
    }
    counts.flushes++;
    for (unsigned i = 0; i < model->record_count; i++)
        model->records[i].durable |= model->records[i].flushing[op->which];
    journal_set_durable(model->journal, op->covers);
    return true;
}

static void client_flushed(struct device_flush *flush, int result)
{
    flush_end(CONTAINER_OF(flush, struct flush_op, flush), result);
}

static void checkpoint_settled(struct device_flush *flush, int result)
{
    struct flush_op *op = CONTAINER_OF(flush, struct flush_op, flush);
    struct model *model = op->model;
    model->checkpoint = CHECKPOINT_IDLE;
    if (!flush_end(op, result))
        return;
    counts.checkpoints++;
    model->super = model->super_next;
    model->super_durable = model->super.generation;
    journal_trim(model->journal, model->super.start);
}

static void checkpoint_written(struct device_io *io, int result)
{
    struct model *model = CONTAINER_OF(io, struct model, super_io);
    if (result != 0) {
        model->failed = true;
        return;
    }
    model->checkpoint = CHECKPOINT_SETTLE;
    flush_begin(&model->flushes[1], checkpoint_settled);
}

static void checkpoint_flushed(struct device_flush *flush, int result)
{
    struct flush_op *op = CONTAINER_OF(flush, struct flush_op, flush);
    struct model *model = op->model;
    if (!flush_end(op, result))
        return;
    model->checkpoint = CHECKPOINT_SUPER;
    uint64_t slot = model->super_next.generation % 2;
    super_encode(&model->super_next, model->super_bytes);
    model->written[slot] = model->super_next;
    device_submit(&model->devices, &model->super_io, DISK_WRITE, slot, 1, model->super_bytes,
                  checkpoint_written);
}

static void checkpoint_begin(struct model *model)
{
    struct superblock *next = &model->super_next;
    *next = model->super;
    next->generation++;
    next->start = journal_replay_start(model->journal);
    for (unsigned i = 0; i < model->record_count; i++) {
        if (model->records[i].applied)
            next->holds[i / 8] |= (uint8_t)(1u << i % 8);
    }
    model->checkpoint = CHECKPOINT_DATA;
    flush_begin(&model->flushes[1], checkpoint_flushed);
}

/* --- Turns ----------------------------------------------------------------------------------- */

static bool all_applied(const struct model *model)
{
    for (unsigned i = 0; i < model->record_count; i++) {
        const struct record *record = &model->records[i];
        if (record->incarnation == model->options.incarnation && !record->applied)
            return false;
    }
    return model->appended == model->record_count;
}

static bool all_durable(const struct model *model)
{
    for (unsigned i = 0; i < model->record_count; i++) {
        if (model->records[i].applied && !model->records[i].durable)
            return false;
    }
    return true;
}

bool model_at_rest(const struct model *model)
{
    return model->record_count == model->record_limit && all_applied(model) && all_durable(model) &&
           !model->flushes[0].busy && model->checkpoint == CHECKPOINT_IDLE &&
           journal_idle(model->journal) && !journal_durable_unnamed(model->journal);
}

static void apply_dawdlers(struct model *model)
{
    for (unsigned i = 0; i < model->record_count; i++) {
        struct record *record = &model->records[i];
        if (record->incarnation == model->options.incarnation && prng_one_in(&model->prng, 4))
            record_settle(record);
    }
}

static void act(struct model *model)
{
    bool resting = model->record_count == model->record_limit;
    uint64_t what = prng_below(&model->prng, 20);
    bool tight = journal_used_blocks(model->journal) * 2 > journal_blocks(model->journal);
    if (what < 8 && !resting)
        record_make(model);
    else if ((what < 11 || resting) && !model->flushes[0].busy && !all_durable(model))
        flush_begin(&model->flushes[0], client_flushed);
    else if ((what == 11 || (tight && what < 16)) && model->checkpoint == CHECKPOINT_IDLE)
        checkpoint_begin(model);
    else if (what >= 16)
        apply_dawdlers(model);
}

static void ticked(struct timer *timer)
{
    struct model *model = CONTAINER_OF(timer, struct model, tick);
    if (model->failed)
        return;
    if (journal_durable_unnamed(model->journal)) {
        counts.marks++;
        journal_mark(model->journal);
    }
    for (uint64_t n = prng_below(&model->prng, 4); n > 0 && !model->failed; n--)
        act(model);
    uint64_t delay_ns = prng_one_in(&model->prng, 20) ? MARK_NS : 20000;
    clock_set_after(&model->world.clock, timer, 1 + prng_below(&model->prng, delay_ns));
}

void model_turn(struct model *model)
{
    device_turn(&model->devices);
    if (!model->failed && prng_one_in(&model->prng, 2))
        act(model);
    if (!model->wants_room)
        records_append(model);
    journal_turn(model->journal);
}

static void device_failed(struct device_set *set, const struct device *device, int error)
{
    (void)device, (void)error;
    CONTAINER_OF(set, struct model, devices)->failed = true;
}

/* --- Life ------------------------------------------------------------------------------------ */

void model_open_journal(struct model *model, uint64_t incarnation, struct journal_position start)
{
    journal_close(model->journal);
    model->options.incarnation = incarnation;
    model->options.start = start;
    if (journal_open(&model->options, &model->journal) != 0)
        broken(model, "journal_open: %s", base_last_error());
    journal_on_room(model->journal, room_came, model);
}

void model_begin(struct model *model, unsigned records)
{
    model->record_limit = MIN(RECORDS_MAX, model->record_count + records);
    /* What is left of former lives was never taken. */
    model->appended = model->record_count;
    model->last_ended = 0;
    model->tick = (struct timer){.fire = ticked};
    clock_set_after(&model->world.clock, &model->tick, 1);
}

void model_forget(struct model *model)
{
    journal_close(model->journal);
    model->journal = NULL;
    model->failed = false;
    model->wants_room = false;
    model->checkpoint = CHECKPOINT_IDLE;
    for (unsigned i = 0; i < 2; i++)
        model->flushes[i] = (struct flush_op){.model = model, .which = i};
    model->super_io = (struct device_io){.result = 0};
    model->devices = (struct device_set){.count = 1, .on_failed = device_failed};
    model->devices.devices[0] = (struct device){
        .disk = &model->disk->disk, .blocks = model->disk->disk.size_bytes / BLOCK_BYTES};
    device_set_init(&model->devices);
    /* A process that was killed may have left writes that no flush covered. */
    model->devices.devices[0].unflushed = true;
}

static void draw_options(struct model *model)
{
    struct prng *prng = &model->prng;
    struct journal_options *options = &model->options;
    options->devices = &model->devices;
    options->place = JOURNAL_PLACE;
    options->batch_blocks_max = 2 + (uint32_t)prng_below(prng, 4);
    options->in_flight_max = 1 + (uint32_t)prng_below(prng, 4);
    options->blocks = 4 * options->batch_blocks_max + prng_below(prng, 30);
    options->read_blocks = 1 + (uint32_t)prng_below(prng, 12);
    model->length_max = prng_one_in(prng, 3) ? 200 : UINT16_MAX;
    assert(options->blocks <= REGION_BLOCKS_MAX);
}

void model_open(struct model *model, uint64_t seed, bool verbose)
{
    patterns_make();
    *model = (struct model){.verbose = verbose};
    world_open(&model->world, seed);
    model->prng = prng_fork(&model->world.prng);
    draw_options(model);
    uint64_t blocks = JOURNAL_PLACE + model->options.blocks + RECORDS_MAX;
    model->disk = sim_disk_open(&model->world, "disk", blocks * BLOCK_BYTES);
    model_forget(model);
    model->super_bytes = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    if (model->super_bytes == NULL)
        abort();
    model->super = (struct superblock){
        .generation = 1,
        .incarnation = 1,
        .start = {.batch = 1 + prng_below(&model->prng, 3),
                  .block = prng_below(&model->prng, model->options.blocks)},
    };
    model->super_durable = 1;
    model->written[1] = model->super;
    super_encode(&model->super, model->super_bytes);
    sim_disk_poke(model->disk, BLOCK_BYTES, BLOCK_BYTES, model->super_bytes);
}

void model_close(struct model *model)
{
    journal_close(model->journal);
    free(model->super_bytes);
    world_close(&model->world);
}

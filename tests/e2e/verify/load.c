/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IO_BLOCKS_MAX 257u /* 1 MiB, unaligned. */

enum kind {
    KIND_READ,
    KIND_WRITE,
    KIND_ZERO,
    KIND_TRIM,
    KIND_FLUSH,
};

struct load {
    struct client *client;
    struct model *model;
    const struct load_options *options;
    struct load_counts counts;
    struct report *report;
    uint64_t random;
    unsigned flying;
    bool ended; /* An error was answered: nothing more is sent. */
};

/* One request, from being drawn to its answer. */
struct op {
    struct load *load;
    bool busy;
    enum kind kind;
    bool fua;
    uint64_t block; /* The first that it touches, and how many. */
    unsigned blocks;
    unsigned skip; /* Sectors of the first block before it. */
    unsigned sectors;
    uint64_t flushing;              /* A flush: the acknowledgements that it covers. */
    uint64_t floors[IO_BLOCKS_MAX]; /* A read: the oldest write that each block may show. */
    uint8_t *data;
};

static uint64_t draw(struct load *load, uint64_t below)
{
    uint64_t z = (load->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

/* The first error in a round. libnbd completes requests before it calls the connection dead, so
 * whether the server answered it is known only later. */
static void refused(struct load *load, const struct op *op, int error)
{
    static const char *const names[] = {"read", "write", "write-zeroes", "trim", "flush"};

    load->counts.in_doubt++;
    if (load->ended)
        return;
    load->ended = true;
    load->report->block = op->block;
    snprintf(load->report->sentence, sizeof load->report->sentence,
             "a %s of %u sectors at block %" PRIu64 " was answered with error %d (%s) by a running "
             "server",
             names[op->kind], op->sectors, op->block, error, strerror(error));
}

/* The sectors of block @i of @op that it covers. */
static void span(const struct op *op, unsigned i, unsigned *ret_first, unsigned *ret_last)
{
    unsigned end = op->skip + op->sectors - i * BLOCK_SECTORS; /* From the start of block i. */
    *ret_first = i == 0 ? op->skip : 0;
    *ret_last = end < BLOCK_SECTORS ? end : BLOCK_SECTORS;
}

static void check_read(struct load *load, struct op *op)
{
    for (unsigned i = 0; i < op->blocks; i++) {
        struct block *block = &load->model->blocks[op->block + i];
        uint64_t write;
        if (load->report->violated)
            return;
        if (!model_check(load->model, op->block + i, op->floors[i], op->data + i * BLOCK_BYTES,
                         &write, load->report->sentence, sizeof load->report->sentence))
            load->report->violated = true, load->report->block = op->block + i;
        else if (write > block->seen)
            block->seen = write;
    }
}

static void count(struct load *load, const struct op *op)
{
    uint64_t *const counters[] = {
        [KIND_READ] = &load->counts.reads,    [KIND_WRITE] = &load->counts.writes,
        [KIND_ZERO] = &load->counts.zeroes,   [KIND_TRIM] = &load->counts.trims,
        [KIND_FLUSH] = &load->counts.flushes,
    };
    *counters[op->kind] += 1;
    if (op->fua)
        load->counts.through++;
}

static void acknowledged(struct load *load, struct op *op)
{
    struct model *model = load->model;

    count(load, op);
    if (op->kind == KIND_READ) {
        check_read(load, op);
    } else if (op->kind == KIND_FLUSH) {
        if (op->flushing > model->flushed)
            model->flushed = op->flushing;
        model->flush_count++;
    } else {
        uint64_t order = ++model->acknowledged;
        for (unsigned i = 0; i < op->blocks; i++)
            model_acknowledge(model, op->block + i, order, op->fua);
    }
}

static int op_done(void *context, int *error)
{
    struct op *op = context;
    struct load *load = op->load;

    op->busy = false;
    load->flying--;
    if (op->kind == KIND_READ)
        for (unsigned i = 0; i < op->blocks; i++)
            load->model->blocks[op->block + i].readers--;
    if (*error == 0)
        acknowledged(load, op);
    else
        refused(load, op, *error);
    return 1;
}

static enum kind draw_kind(struct load *load)
{
    const struct load_options *options = load->options;
    uint64_t at = draw(load, 100);
    const unsigned percents[] = {options->read_percent, options->zero_percent,
                                 options->trim_percent, options->flush_percent};
    static const enum kind kinds[] = {KIND_READ, KIND_ZERO, KIND_TRIM, KIND_FLUSH};

    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (at < percents[i])
            return kinds[i];
        at -= percents[i];
    }
    return KIND_WRITE;
}

/* Sectors: mostly one block, else up to 32 blocks, seldom the largest. */
static uint64_t draw_sectors(struct load *load)
{
    const uint64_t most = load->options->io_bytes_max / SECTOR_BYTES;
    uint64_t sectors = BLOCK_SECTORS;
    switch (draw(load, 16)) {
    case 0: sectors = most; break;
    case 1:
    case 2:
    case 3: sectors = BLOCK_SECTORS * (1 + draw(load, 32)); break;
    case 4:
    case 5: sectors = load->options->small ? 1 + draw(load, 3 * BLOCK_SECTORS) : sectors; break;
    default: break;
    }
    return sectors < most ? sectors : most;
}

/* Draws where; false if something outstanding writes there. */
static bool draw_place(struct load *load, struct op *op)
{
    const uint64_t extents = (load->model->block_count + EXTENT_BLOCKS - 1) / EXTENT_BLOCKS;
    const uint64_t extent = draw(load, extents) * EXTENT_BLOCKS;
    uint64_t blocks_here = load->model->block_count - extent;
    blocks_here = blocks_here < EXTENT_BLOCKS ? blocks_here : EXTENT_BLOCKS;
    uint64_t sectors = draw_sectors(load);
    const uint64_t room = blocks_here * BLOCK_SECTORS;

    sectors = sectors < room ? sectors : room;
    bool unaligned = sectors % BLOCK_SECTORS != 0;
    if (op->kind == KIND_READ) /* Whole blocks are what can be judged. */
        sectors = (sectors + BLOCK_SECTORS - 1) / BLOCK_SECTORS * BLOCK_SECTORS, unaligned = false;
    uint64_t at = unaligned ? draw(load, room - sectors + 1)
                            : draw(load, (room - sectors) / BLOCK_SECTORS + 1) * BLOCK_SECTORS;
    op->block = extent + at / BLOCK_SECTORS;
    op->skip = (unsigned)(at % BLOCK_SECTORS);
    op->sectors = (unsigned)sectors;
    op->blocks = (unsigned)((op->skip + sectors + BLOCK_SECTORS - 1) / BLOCK_SECTORS);
    if (op->kind == KIND_READ)
        return true;
    for (unsigned i = 0; i < op->blocks; i++)
        if (load->model->blocks[op->block + i].writing)
            return false;
    return true;
}

/* Tells the model what is about to be sent, and makes its bytes. */
static void prepare(struct load *load, struct op *op)
{
    struct model *model = load->model;

    if (op->kind == KIND_READ) {
        for (unsigned i = 0; i < op->blocks; i++) {
            op->floors[i] = model_floor(model, op->block + i, MODEL_RUNNING);
            model->blocks[op->block + i].readers++;
        }
        return;
    }
    const uint64_t write = ++model->write_last;
    const uint64_t sequence = op->kind == KIND_WRITE ? write : 0;
    const uint64_t sector = model_offset(model, op->block) / SECTOR_BYTES + op->skip;
    for (unsigned i = 0; i < op->blocks; i++) {
        unsigned first, last;
        span(op, i, &first, &last);
        model_write(model, op->block + i, first, last, write, sequence);
    }
    for (unsigned i = 0; sequence != 0 && i < op->sectors; i++)
        stamp_fill(op->data + i * SECTOR_BYTES, model->session, sequence, sector + i);
}

static int64_t submit(struct load *load, struct op *op, struct nbd_handle *handle)
{
    const uint64_t offset = model_offset(load->model, op->block) + op->skip * SECTOR_BYTES;
    const uint64_t length = (uint64_t)op->sectors * SECTOR_BYTES;
    const uint32_t fua = op->fua ? LIBNBD_CMD_FLAG_FUA : 0;
    nbd_completion_callback done = {.callback = op_done, .user_data = op};

    switch (op->kind) {
    case KIND_READ: return nbd_aio_pread(handle, op->data, length, offset, done, 0);
    case KIND_WRITE: return nbd_aio_pwrite(handle, op->data, length, offset, done, fua);
    case KIND_ZERO: {
        uint32_t keep = draw(load, 2) ? LIBNBD_CMD_FLAG_NO_HOLE : 0;
        return nbd_aio_zero(handle, length, offset, done, fua | keep);
    }
    case KIND_TRIM: return nbd_aio_trim(handle, length, offset, done, fua);
    case KIND_FLUSH:
    default: return nbd_aio_flush(handle, done, 0);
    }
}

/* False: nothing could be sent now. */
static bool start(struct load *load, struct op *op, struct nbd_handle *handle)
{
    op->load = load;
    op->kind = draw_kind(load);
    op->fua = false;
    if (op->kind == KIND_FLUSH) {
        op->block = op->blocks = 0;
        op->flushing = load->model->acknowledged;
    } else {
        if (!draw_place(load, op))
            return false;
        op->fua = op->kind != KIND_READ && draw(load, 100) < load->options->fua_percent;
        prepare(load, op);
    }
    op->busy = true;
    load->flying++;
    if (submit(load, op, handle) >= 0)
        return true;
    /* Not sent. The model takes it for a write in doubt, which does no harm. */
    if (op->busy) {
        op->busy = false;
        load->flying--;
    }
    if (!load->ended)
        snprintf(load->report->sentence, sizeof load->report->sentence, "%s", nbd_get_error());
    load->ended = true;
    return false;
}

static void fill(struct load *load, struct op *ops)
{
    const unsigned depth = load->options->depth;

    for (unsigned i = 0; i < load->client->count * depth; i++) {
        if (load->ended || load->report->violated)
            return;
        if (!ops[i].busy)
            start(load, &ops[i], load->client->handles[i / depth]);
    }
}

enum verdict load(struct client *client, struct model *model, const struct load_options *options,
                  struct load_counts *ret_counts, struct report *report)
{
    struct load load = {.client = client,
                        .model = model,
                        .options = options,
                        .report = report,
                        .random = options->seed};
    const unsigned count_max = client->count * options->depth;
    const double end_s = now_s() + options->seconds;
    struct op *ops = calloc(count_max, sizeof *ops);

    if (ops == NULL)
        abort();
    for (unsigned i = 0; i < count_max; i++)
        if ((ops[i].data = malloc(IO_BLOCKS_MAX * BLOCK_BYTES)) == NULL)
            abort();
    while (!report->violated && !client_dead(client)) {
        bool over = load.ended || now_s() >= end_s;
        if (over && load.flying == 0)
            break;
        if (!over)
            fill(&load, ops);
        client_turn(client, 100);
        if (load.ended && !client_dead(client) && !options->errors_end)
            report->violated = true;
    }
    bool died = load.ended || client_dead(client);
    client_close(client); /* Completes what is outstanding, as errors. */
    for (unsigned i = 0; i < count_max; i++)
        free(ops[i].data);
    free(ops);
    *ret_counts = load.counts;
    if (report->violated)
        return VERDICT_VIOLATION;
    return died ? VERDICT_SERVER_DIED : VERDICT_FINE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <stdio.h>

struct bench bench;
struct request requests[BENCH_REQUESTS];

static void note_ended(void *context, int result)
{
    (void)context;
    bench.waiting = false;
    bench.ended = result;
}

static bool turn_needed(void)
{
    return store_turn_needed(bench.store) ||
           (bench.engine != NULL && volume_engine_turn_needed(bench.engine));
}

/* One event, and what is to be done before the next. */
void bench_turn(void)
{
    bool waited = bench.waiting;
    (void)world_step(&bench.world);
    do {
        if (bench.engine != NULL)
            volume_engine_turn(bench.engine);
        store_turn(bench.store);
    } while (bench.waiting == waited && turn_needed());
}

void bench_wait(const bool *busy)
{
    for (unsigned turns = 0; *busy; turns++) {
        cr_assert_lt(turns, 200000u, "it does not end");
        bench_turn();
    }
}

void bench_turns(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bench_turn();
}

static int wait_ended(void)
{
    bench_wait(&bench.waiting);
    return bench.ended;
}

static void engine_start(void)
{
    struct volume_engine_options options = {
        .store = bench.store, .op_count = 24, .bounce_count = 4};
    cr_assert_eq(volume_engine_open(&options, &bench.engine), 0);
}

static void open_blocks(uint64_t blocks, uint64_t reserve)
{
    world_open(&bench.world, 7);
    bench.disk = sim_disk_open(&bench.world, "disk", blocks * BLOCK_BYTES);
    bench.options = (struct store_options){
        .clock = &bench.world.clock,
        .devices = {{.disk = &bench.disk->disk, .class = DEVICE_SSD}},
        .device_count = 1,
        .journal_bytes = 256ull * BLOCK_BYTES,
        .reserve_bytes = reserve * BLOCK_BYTES,
        .segments_max = 64,
        .quarantine_max = 4096,
    };
    bench.waiting = true;
    cr_assert_eq(
        store_format(&bench.options, (const uint8_t[16]){1}, false, &bench.store, note_ended, NULL),
        0);
    cr_assert_eq(wait_ended(), 0);
    bench.waiting = true;
    cr_assert_eq(store_open(&bench.options, &bench.store, note_ended, NULL), 0);
    cr_assert_eq(wait_ended(), 0);
    engine_start();
}

void bench_open(void)
{
    open_blocks(16384, 320);
}

void bench_open_small(void)
{
    bench_close();
    open_blocks(2200, 320);
}

void bench_open_large(void)
{
    bench_close();
    open_blocks(65536, 4096);
}

static void store_stop(void)
{
    bench.waiting = true;
    store_close(bench.store, note_ended, NULL);
    (void)wait_ended();
}

void bench_reopen(uint32_t segments_max)
{
    volume_engine_close(bench.engine);
    bench.engine = NULL;
    store_stop();
    bench.options.segments_max = segments_max;
    bench.waiting = true;
    cr_assert_eq(store_open(&bench.options, &bench.store, note_ended, NULL), 0);
    cr_assert_eq(wait_ended(), 0);
    engine_start();
}

static void check_done(void *context, int result, const struct store_checked *checked)
{
    cr_assert_eq(checked->faults, 0);
    note_ended(context, result);
}

static void check_fault(void *context, const struct store_fault *fault)
{
    (void)context;
    cr_assert_fail("%s", fault->text);
}

/* Every block is reachable once, or free. */
static void store_prove(void)
{
    struct store_options options = bench.options;
    options.read_only = true;
    bench.waiting = true;
    cr_assert_eq(store_open(&options, &bench.store, note_ended, NULL), 0);
    cr_assert_eq(wait_ended(), 0);
    struct store_check check = {.fault = check_fault, .done = check_done, .data = true};
    bench.waiting = true;
    cr_assert_eq(store_check_start(bench.store, &check), 0);
    cr_assert_eq(wait_ended(), 0);
    store_stop();
}

void bench_close(void)
{
    volume_engine_close(bench.engine);
    bench.engine = NULL;
    bool failed = store_state(bench.store) == STORE_FAILED;
    store_stop();
    if (!failed)
        store_prove();
    world_close(&bench.world);
}

static void note_wanted(void *context)
{
    (void)context;
    bench.wants++;
}

struct volume *bench_volume(uint64_t id, const struct volume_parent *parents, uint32_t count)
{
    struct volume_options options = {
        .id = id,
        .view = VIEW_HEAD,
        .bytes = 1ull << 40,
        .sector_bytes = 512,
        .epoch = 1,
        .sequence = 1,
        .sequence_end = 1000000,
        .parents = parents,
        .parent_count = count,
        .want_sequences = note_wanted,
    };
    struct volume *volume = NULL;
    cr_assert_eq(volume_open(bench.engine, &options, &volume), 0);
    return volume;
}

struct volume *bench_view(uint64_t id, uint64_t cut, const struct volume_parent *parents,
                          uint32_t count)
{
    struct volume_options options = {
        .id = id,
        .view = cut,
        .bytes = 1ull << 40,
        .sector_bytes = 512,
        .parents = parents,
        .parent_count = count,
    };
    struct volume *volume = NULL;
    cr_assert_eq(volume_open(bench.engine, &options, &volume), 0);
    return volume;
}

static void request_done(struct volume_io *io, int result)
{
    struct request *request = CONTAINER_OF(io, struct request, io);
    cr_assert(request->busy, "told twice");
    request->busy = false;
    request->result = result;
}

void request_prepare(struct request *request, enum volume_io_kind kind, uint64_t offset,
                     uint64_t length)
{
    cr_assert(!request->busy);
    cr_assert((kind != VOLUME_READ && kind != VOLUME_WRITE) || length <= sizeof request->data);
    struct volume_io *io = &request->io;
    io->kind = kind;
    io->offset = offset;
    io->length = length;
    io->data = request->data;
    io->extents = request->extents;
    io->extent_max = COUNT_OF(request->extents);
    io->done = request_done;
    request->busy = true;
}

void request_start(struct request *request, struct volume *volume, enum volume_io_kind kind,
                   uint64_t offset, uint64_t length)
{
    request_prepare(request, kind, offset, length);
    volume_submit(volume, &request->io);
    cr_assert(request->busy, "told inside the call");
}

int request_run(struct volume *volume, enum volume_io_kind kind, uint32_t flags, uint64_t offset,
                uint64_t length)
{
    requests[0].io.flags = flags;
    request_start(&requests[0], volume, kind, offset, length);
    bench_wait(&requests[0].busy);
    return requests[0].result;
}

int write_bytes(struct volume *volume, uint64_t offset, uint64_t length, uint8_t byte)
{
    memset(requests[0].data, byte, length);
    return request_run(volume, VOLUME_WRITE, 0, offset, length);
}

int discard_bytes(struct volume *volume, uint64_t offset, uint64_t length)
{
    return request_run(volume, VOLUME_DISCARD, 0, offset, length);
}

bool reads_as(struct volume *volume, uint64_t offset, uint64_t length, uint8_t byte)
{
    memset(requests[0].data, ~byte, length);
    if (request_run(volume, VOLUME_READ, 0, offset, length) != 0)
        return false;
    for (uint64_t i = 0; i < length; i++) {
        if (requests[0].data[i] != byte)
            return false;
    }
    return true;
}

const char *extents_of(struct volume *volume, enum volume_io_kind kind, uint64_t since,
                       uint64_t offset, uint64_t length)
{
    static char text[4096];
    size_t at = 0;
    text[0] = '\0';
    requests[0].io.since = since;
    int result = request_run(volume, kind, 0, offset, length);
    if (result != 0)
        (void)snprintf(text, sizeof text, "error %d", result);
    for (uint32_t i = 0; i < requests[0].io.extent_count && result == 0; i++) {
        const struct volume_extent *extent = &requests[0].extents[i];
        bool changed = (extent->flags & VOLUME_EXTENT_CHANGED) != 0;
        bool hole = (extent->flags & VOLUME_EXTENT_HOLE) != 0;
        const char *word = kind == VOLUME_CHANGED && !changed ? "same" : hole ? "hole" : "data";
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s %llu", i == 0 ? "" : ", ", word,
                               (unsigned long long)(extent->bytes / KIB));
    }
    return text;
}

static void hold_told(struct volume_hold *hold)
{
    struct noted_hold *noted = CONTAINER_OF(hold, struct noted_hold, hold);
    cr_assert(noted->waits, "told twice");
    noted->waits = false;
    noted->overtook = requests[1].busy;
}

void hold_start(struct noted_hold *noted, struct volume *volume)
{
    *noted = (struct noted_hold){.hold.done = hold_told, .waits = true};
    volume_hold(volume, &noted->hold);
    cr_assert(noted->waits, "told inside the call");
}

uint64_t cut_now(struct volume *volume)
{
    struct noted_hold noted;
    hold_start(&noted, volume);
    bench_wait(&noted.waits);
    cr_assert_eq(noted.hold.result, 0);
    uint64_t cut = volume_take_cut(volume);
    volume_release(volume, &noted.hold);
    return cut;
}

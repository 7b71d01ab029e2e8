/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/store/parts_rig.h"

#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"

struct part_request request;
uint8_t *blocks;
uint32_t crcs[PART_BLOCKS_MAX];
struct part_version versions[PART_BLOCKS_MAX];
uint64_t epoch, watermark, settled = UINT64_MAX;
uint32_t generation;

static void request_done(struct part_request *which, int result)
{
    which->result = result;
    which->context = which;
}

void ask_begin(struct part_request *which, enum part_request_kind kind)
{
    struct part_port *port = store_port(store);
    cr_assert_not_null(port);
    which->kind = kind;
    which->volume = PARTS_VOLUME;
    which->group = PARTS_GROUP;
    if (which->epoch == 0)
        which->epoch = epoch;
    if (which->generation == 0)
        which->generation = generation;
    which->watermark = watermark;
    which->settled = MIN(watermark, settled);
    which->context = NULL;
    which->done = request_done;
    part_submit(port, which);
}

int ask_wait(struct part_request *which)
{
    while (which->context == NULL) {
        while (which->context == NULL && store_turn_needed(store))
            store_turn(store);
        if (which->context == NULL) {
            cr_assert(world_step(&world));
            store_turn(store);
        }
    }
    return which->result;
}

int ask(enum part_request_kind kind)
{
    ask_begin(&request, kind);
    return ask_wait(&request);
}

static void begin_anew(void)
{
    memset(&request, 0, sizeof request);
}

int fence(uint64_t to)
{
    begin_anew();
    request.epoch = to;
    int result = ask(PART_FENCE);
    if (result == 0)
        epoch = to;
    return result;
}

int role(uint8_t which, uint32_t of_generation)
{
    static const struct part_run all = {.first = 0, .count = 4};
    begin_anew();
    request.role = which;
    request.generation = of_generation;
    request.runs = &all;
    request.run_count = 1;
    int result = ask(PART_ROLE);
    if (result == 0)
        generation = of_generation;
    return result;
}

static void fill(uint8_t *to, uint64_t block, uint64_t sequence)
{
    memset(to, (int)(sequence + block), BLOCK_BYTES);
    put64(to, block);
    put64(to + 8, sequence);
}

int put_blocks(uint64_t block, uint32_t count, uint64_t sequence, uint64_t cut)
{
    begin_anew();
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *to = blocks + (size_t)i * BLOCK_BYTES;
        fill(to, block + i, sequence);
        crcs[i] = crc32c(to, BLOCK_BYTES);
    }
    request.block = block;
    request.count = count;
    request.sequence = sequence;
    request.cut = cut;
    request.views = cut != 0;
    request.data = blocks;
    request.crcs = crcs;
    return ask(PART_WRITE);
}

bool is_written_by(uint32_t index, uint64_t block, uint64_t sequence)
{
    uint8_t expected[BLOCK_BYTES];
    fill(expected, block, sequence);
    return memcmp(blocks + (size_t)index * BLOCK_BYTES, expected, BLOCK_BYTES) == 0;
}

int get_block(uint64_t block, uint64_t view)
{
    begin_anew();
    request.block = block;
    request.count = 1;
    request.view = view;
    request.data = blocks;
    request.crcs = crcs;
    request.versions = versions;
    return ask(PART_READ);
}

struct part_state state_now(void)
{
    begin_anew();
    cr_assert_eq(ask(PART_STATE), 0);
    return request.state;
}

struct part_version version_at(uint64_t block, uint64_t view)
{
    begin_anew();
    request.block = block;
    request.count = 1;
    request.view = view;
    request.versions = versions;
    cr_assert_eq(ask(PART_MAP), 0);
    return versions[0];
}

void parts_open(uint64_t disk_blocks, uint8_t boot)
{
#ifdef IOMESH_MUTANTS
    const char *number = getenv("IOMESH_MUTANT");
    mutant_active = number != NULL ? (int)strtoul(number, NULL, 10) : 0;
#endif
    epoch = watermark = 0;
    generation = 0;
    blocks = aligned_alloc(BLOCK_BYTES, (size_t)PART_BLOCKS_MAX * BLOCK_BYTES);
    cr_assert_not_null(blocks);
    open_world(disk_blocks);
    options.boot_id[0] = boot;
    format_store();
    start_store();
}

void parts_shut(void)
{
    stop_store();
    world_close(&world);
    free(blocks);
}

void parts_down(bool power, uint8_t boot)
{
    static struct store *crashed[64];
    static unsigned count;
    assert(count < COUNT_OF(crashed));
    crashed[count++] = store; /* Where a leak checker finds it. */
    if (power)
        world_restart(&world);
    else
        world_kill(&world);
    options.boot_id[0] = boot;
    start_store();
}

static void check_fault(void *context, const struct store_fault *fault)
{
    (void)context;
    cr_log_info("%s", fault->text);
}

static uint64_t faults;

static void check_done(void *context, int result, const struct store_checked *checked)
{
    faults = checked->faults;
    done(context, result);
}

uint64_t parts_check(void)
{
    stop_store();
    options.read_only = true;
    start_store();
    struct store_check check = {.fault = check_fault, .done = check_done, .data = true};
    cr_assert_eq(store_check_start(store, &check), 0);
    cr_assert_eq(wait_for_it(), 0);
    stop_store();
    options.read_only = false;
    start_store();
    return faults;
}

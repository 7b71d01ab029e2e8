/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/part_copies.h"

#include <string.h>

#define TURNS_MAX 2000000u

uint64_t storm_seed;
const char *storm_doing = "";
struct copy copies[COPIES];
struct prng dice;
bool damage_expected;
static struct ask asks[ASKS_MAX];

static void copy_done(void *context, int result)
{
    struct copy *copy = context;
    copy->waiting = false;
    copy->ended = result;
}

static void copy_step(struct copy *copy)
{
    (void)world_step(&copy->world);
    for (unsigned i = 0; i < 1000 && copy->store != NULL; i++) {
        store_turn(copy->store);
        if (copy->store == NULL || !store_turn_needed(copy->store))
            return;
    }
}

/* Until what it was asked itself (open, close, check) has ended. */
static int copy_wait(struct copy *copy)
{
    for (unsigned i = 0; copy->waiting; i++) {
        REQUIRE(i < TURNS_MAX, "a store is silent");
        (void)world_step(&copy->world);
        do
            store_turn(copy->store);
        while (copy->waiting && store_turn_needed(copy->store));
    }
    return copy->ended;
}

static void asks_reset(struct copy *copy)
{
    for (unsigned i = 0; i < ASKS_MAX; i++) {
        struct ask *ask = &asks[i];
        if (!ask->busy || ask->copy != copy || ask->ended)
            continue;
        ask->ended = true;
        ask->request.result = -ECONNRESET;
        if (ask->request.context == NULL)
            ask->busy = false;
    }
}

void copy_down(struct copy *copy, bool power)
{
    /* No destructor runs: the memory goes with the process of this seed. */
    copy->store = NULL;
    copy->up = false;
    copy->goes_down_after = 0;
    if (power) {
        world_restart(&copy->world);
        copy->options.boot_id[0]++;
    } else {
        world_kill(&copy->world);
    }
    asks_reset(copy);
}

void copy_up(struct copy *copy)
{
    copy->waiting = true;
    REQUIRE(store_open(&copy->options, &copy->store, copy_done, copy) == 0, "open");
    REQUIRE(copy_wait(copy) == 0, "a store does not open: %s", base_last_error());
    REQUIRE(store_state(copy->store) == STORE_READY, "a store opens for reading only");
    copy->up = true;
    REQUIRE(store_port(copy->store) != NULL, "port");
}

void copies_turn(void)
{
    struct copy *copy = &copies[prng_below(&dice, COPIES)];
    if (!copy->up)
        return;
    if (copy->goes_down_after != 0 && copy->world.moments >= copy->goes_down_after) {
        copy_down(copy, copy->by_power);
        return;
    }
    copy_step(copy);
}

static void copy_event(void *context, const struct store_event *event)
{
    (void)context;
    REQUIRE(event->kind != STORE_DAMAGE || damage_expected, "damage: %s", event->text);
}

static void copy_open(struct copy *copy, uint64_t seed)
{
    world_open(&copy->world, seed);
    copy->disk = sim_disk_open(&copy->world, "copy", COPY_DISK_BLOCKS * BLOCK_BYTES);
    copy->options = (struct store_options){
        .clock = &copy->world.clock,
        .devices = {{.disk = &copy->disk->disk}},
        .device_count = 1,
        .journal_bytes = 96 * BLOCK_BYTES,
        .batch_blocks_max = 4,
        .segments_max = 64,
        .quarantine_max = 320,
        .cache_bytes = 256 * BLOCK_BYTES,
        .event = copy_event,
        .boot_id = {1},
    };
    copy->waiting = true;
    REQUIRE(store_format(&copy->options, (const uint8_t[16]){1}, false, &copy->store, copy_done,
                         copy) == 0,
            "format: %s", base_last_error());
    REQUIRE(copy_wait(copy) == 0, "format");
    copy_up(copy);
}

void copies_open(uint64_t seed)
{
    storm_seed = seed;
    dice = (struct prng){.state = seed};
    for (unsigned i = 0; i < ASKS_MAX; i++)
        asks[i].data = aligned_alloc(BLOCK_BYTES, (size_t)HALF * BLOCK_BYTES);
    for (unsigned i = 0; i < COPIES; i++)
        copy_open(&copies[i], seed * COPIES + i);
}

static void fault_told(void *context, const struct store_fault *fault)
{
    (void)context;
    (void)fprintf(stderr, "seed %llu: %s\n", (unsigned long long)storm_seed, fault->text);
}

static uint64_t faults;

static void checked(void *context, int result, const struct store_checked *what)
{
    faults = what->faults;
    copy_done(context, result);
}

static void copy_close(struct copy *copy)
{
    copy->waiting = true;
    store_close(copy->store, copy_done, copy);
    REQUIRE(copy_wait(copy) == 0, "close");
    copy->store = NULL;
}

uint64_t copy_check(struct copy *copy)
{
    struct store_check check = {
        .fault = fault_told, .done = checked, .context = copy, .data = true};
    copy_close(copy);
    copy->options.read_only = true;
    copy->waiting = true;
    REQUIRE(store_open(&copy->options, &copy->store, copy_done, copy) == 0, "open");
    REQUIRE(copy_wait(copy) == 0, "open to check");
    copy->waiting = true;
    REQUIRE(store_check_start(copy->store, &check) == 0, "check");
    REQUIRE(copy_wait(copy) == 0, "check");
    copy_close(copy);
    copy->options.read_only = false;
    copy_up(copy);
    return faults;
}

void copy_checkpoint(struct copy *copy)
{
    struct checkpoint_waiter waiter = {.done = copy_done, .context = copy};
    copy->waiting = true;
    store_checkpoint(copy->store, &waiter);
    REQUIRE(copy_wait(copy) == 0, "checkpoint");
}

/* --- Asking --------------------------------------------------------------------------------- */

struct ask *ask_get(void)
{
    for (unsigned i = 0; i < ASKS_MAX; i++) {
        struct ask *ask = &asks[i];
        if (ask->busy)
            continue;
        uint8_t *data = ask->data;
        memset(ask, 0, sizeof *ask);
        ask->data = data;
        ask->busy = true;
        return ask;
    }
    REQUIRE(false, "too much is asked at once");
    return NULL;
}

/* Nobody waits for it: it may still be under way. */
void ask_put(struct ask *ask)
{
    ask->busy = !ask->ended;
    ask->request.context = NULL;
}

static void ask_done(struct part_request *request, int result)
{
    struct ask *ask = CONTAINER_OF(request, struct ask, request);
    ask->request.result = result;
    ask->ended = true;
    if (request->context == NULL)
        ask->busy = false; /* Left behind. */
}

void ask_send(struct ask *ask, struct copy *copy, uint64_t epoch, uint32_t generation)
{
    struct part_request *request = &ask->request;
    ask->copy = copy;
    request->volume = VOLUME;
    request->group = GROUP;
    request->epoch = epoch;
    request->generation = generation;
    request->done = ask_done;
    request->context = ask;
    if (!copy->up) {
        ask->ended = true;
        request->result = -ECONNRESET;
        return;
    }
    part_submit(store_port(copy->store), request);
}

int ask_wait(struct ask *ask)
{
    for (unsigned i = 0; !ask->ended; i++) {
        REQUIRE(i < TURNS_MAX, "no answer to request %d", (int)ask->request.kind);
        copies_turn();
    }
    return ask->request.result;
}

void block_fill(uint8_t *to, uint64_t block, uint64_t sequence)
{
    memset(to, (int)(sequence * 7 + block), BLOCK_BYTES);
    put64(to, block);
    put64(to + 8, sequence);
}

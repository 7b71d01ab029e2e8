/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/store/rig.h"

struct world world;
struct sim_disk *disk;
struct store_options options;
struct store *store;
struct store_op op;
uint8_t *data;
bool waiting;
int ended;

void done(void *context, int result)
{
    (void)context;
    waiting = false;
    ended = result;
}

void op_done(struct store_op *which, int result)
{
    (void)which;
    done(NULL, result);
}

int wait_for_it(void)
{
    for (waiting = true; waiting;) {
        cr_assert(world_step(&world));
        do
            store_turn(store);
        while (waiting && store_turn_needed(store));
    }
    return ended;
}

void open_world(uint64_t blocks)
{
    world_open(&world, 1);
    disk = sim_disk_open(&world, "disk", blocks * BLOCK_BYTES);
    options = (struct store_options){
        .clock = &world.clock,
        .devices = {{.disk = &disk->disk}},
        .device_count = 1,
    };
}

void format_store(void)
{
    cr_assert_eq(store_format(&options, (const uint8_t[16]){1}, false, &store, done, NULL), 0);
    cr_assert_eq(wait_for_it(), 0);
}

void start_store(void)
{
    cr_assert_eq(store_open(&options, &store, done, NULL), 0);
    cr_assert_eq(wait_for_it(), 0);
}

void stop_store(void)
{
    store_close(store, done, NULL);
    cr_assert_eq(wait_for_it(), 0);
    store = NULL;
}

void checkpoint(void)
{
    struct checkpoint_waiter waiter = {.done = done};
    store_checkpoint(store, &waiter);
    cr_assert_eq(wait_for_it(), 0);
}

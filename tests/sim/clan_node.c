/* SPDX-License-Identifier: Apache-2.0 */
/* A machine with a disk and a store on it. */
#include <stdio.h>
#include <string.h>

#include "sim/clan.h"

#define STEPS_MAX 400000u
#define TURNS_MAX 20000u
#define DISK_BLOCKS 12000u

static void node_event(void *context, const struct store_event *event)
{
    struct clan_node *node = context;
    if (event->kind == STORE_DAMAGE || event->kind == STORE_DEVICE_FAILED)
        (void)clan_wrong(node->clan, "store %u: %s", node->number + 1, event->text);
}

static void node_boot(struct clan_node *node)
{
    node->boots++;
    node->options.boot_id[0] = (uint8_t)(node->number + 1);
    node->options.boot_id[1] = (uint8_t)node->boots;
}

static void node_opened(void *context, int result)
{
    struct clan_node *node = context;
    node->waiting = false;
    if (result != 0) {
        node->store = NULL;
        (void)clan_wrong(node->clan, "store %u does not open: %s", node->number + 1,
                         base_last_error());
        return;
    }
    node->ready = true;
    node->incarnation = store_incarnation(node->store);
    for (unsigned i = 0; i < CLAN_USERS; i++) {
        if (node->clan->users[i].clan != NULL)
            road_far_lives(&node->clan->users[i].roads[node->number], store_port(node->store),
                           node->incarnation);
    }
}

static void node_gone(void *context, int result)
{
    struct clan_node *node = context;
    node->waiting = false;
    node->store = NULL;
    if (result != 0)
        (void)clan_wrong(node->clan, "store %u: %s", node->number + 1, base_last_error());
}

void clan_node_start(struct clan_node *node)
{
    node->runs = true;
    node->waiting = true;
    node->options.incarnation_min = node->incarnation;
    if (store_open(&node->options, &node->store, node_opened, node) != 0)
        (void)clan_wrong(node->clan, "store %u: open refused: %s", node->number + 1,
                         base_last_error());
}

void clan_node_turn(struct clan_node *node)
{
    for (unsigned turns = 0; node->store != NULL; turns++) {
        store_turn(node->store);
        if (node->store == NULL || !store_turn_needed(node->store))
            return;
        if (turns > TURNS_MAX) {
            (void)clan_wrong(node->clan, "store %u turns and turns", node->number + 1);
            return;
        }
    }
}

/* Nobody else moves. */
static void node_wait(struct clan_node *node)
{
    clan_node_turn(node);
    for (unsigned steps = 0; node->waiting && node->clan->wrong[0] == '\0'; steps++) {
        if (steps > STEPS_MAX || !world_step(&node->world))
            (void)clan_wrong(node->clan, "store %u: it does not end", node->number + 1);
        clan_node_turn(node);
    }
}

void clan_node_open(struct clan *clan, unsigned number)
{
    struct clan_node *node = &clan->nodes[number];
    uint8_t uuid[16] = {(uint8_t)(number + 1), 1};
    node->clan = clan;
    node->number = number;
    world_open(&node->world, prng_next(&clan->prng));
    node->disk = sim_disk_open(&node->world, "disk", (uint64_t)DISK_BLOCKS * BLOCK_BYTES);
    node->options = (struct store_options){
        .clock = &node->world.clock,
        .devices = {{.disk = &node->disk->disk, .class = DEVICE_SSD}},
        .device_count = 1,
        .cache_bytes = 256ull * BLOCK_BYTES,
        .batch_blocks_max = 4,
        .journal_bytes = 64ull * BLOCK_BYTES,
        .reserve_bytes = 320ull * BLOCK_BYTES,
        .segments_max = 64,
        .parts_max = 256,
        .event = node_event,
        .context = node,
    };
    node_boot(node);
    node->waiting = true;
    if (store_format(&node->options, uuid, false, &node->store, node_gone, node) != 0)
        (void)clan_wrong(clan, "format refused: %s", base_last_error());
    node_wait(node);
    clan_node_start(node);
    node_wait(node);
}

void clan_node_die(struct clan_node *node, bool power)
{
    node->runs = node->ready = node->waiting = false;
    node->store = NULL; /* The memory goes with the process of this seed. */
    if (power) {
        world_restart(&node->world);
        node_boot(node);
    } else {
        world_kill(&node->world);
    }
    for (unsigned i = 0; i < CLAN_USERS; i++)
        road_far_died(&node->clan->users[i].roads[node->number], power);
}

/* --- Asking it -------------------------------------------------------------------------------- */

struct ask {
    bool waiting;
    int result;
};

static void asked(struct part_request *request, int result)
{
    struct ask *ask = request->context;
    ask->waiting = false;
    ask->result = result;
}

int clan_node_ask(struct clan_node *node, struct part_request *request)
{
    struct ask ask = {.waiting = true};
    request->done = asked;
    request->context = &ask;
    part_submit(store_port(node->store), request);
    clan_node_turn(node);
    while (ask.waiting && node->clan->wrong[0] == '\0')
        clan_step(node->clan, node->clan->worlds.now_ns + NS_PER_S);
    return ask.result;
}

/* --- Proof ------------------------------------------------------------------------------------ */

static void prove_fault(void *context, const struct store_fault *fault)
{
    const struct clan_node *node = context;
    (void)clan_wrong(node->clan, "store %u: pool check: %s", node->number + 1, fault->text);
}

static void prove_volume(void *context, uint64_t volume)
{
    const struct clan_node *node = context;
    if (volume < CLAN_VOLUMES)
        (void)clan_wrong(node->clan, "all is deleted, and store %u has something of volume %llu",
                         node->number + 1, (unsigned long long)volume);
}

static void prove_done(void *context, int result, const struct store_checked *checked)
{
    struct clan_node *node = context;
    (void)checked;
    node->waiting = false;
    if (result != 0)
        (void)clan_wrong(node->clan, "store %u: check: %s", node->number + 1, base_last_error());
}

void clan_node_prove(struct clan_node *node, bool empty)
{
    struct store_options options = node->options;
    struct store_check check = {
        .fault = prove_fault, .done = prove_done, .context = node, .data = true};
    check.volume = empty ? prove_volume : NULL;
    node->waiting = true;
    store_close(node->store, node_gone, node);
    node_wait(node);
    options.read_only = true;
    options.cache_bytes = 1024ull * BLOCK_BYTES;
    node->waiting = true;
    if (store_open(&options, &node->store, node_opened, node) != 0)
        (void)clan_wrong(node->clan, "check: open refused: %s", base_last_error());
    node_wait(node);
    node->waiting = true;
    if (node->clan->wrong[0] == '\0' && store_check_start(node->store, &check) != 0)
        (void)clan_wrong(node->clan, "check: %s", base_last_error());
    node_wait(node);
}

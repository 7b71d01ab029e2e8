/* SPDX-License-Identifier: Apache-2.0 */
/* A machine with a disk and a store on it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cluster.h"

#define STEPS_MAX 200000u

static void node_roads(struct cluster_node *node, struct part_port *port)
{
    struct cluster *cluster = node->cluster;
    for (unsigned i = 0; i < cluster->owner_count; i++) {
        struct road *road = &cluster->owners[i].roads[node->number];
        if (port != NULL)
            road_far_lives(road, port, node->incarnation);
    }
}

static void node_event(void *context, const struct store_event *event)
{
    struct cluster_node *node = context;
    if (event->kind == STORE_DEVICE_FAILED) {
        node->failed = node->options.failed = true; /* Its record says so at once. */
        node->back_ns = node->cluster->worlds.now_ns + prng_below(&node->cluster->prng, NS_PER_S);
        node->cluster->counts.disks_failed++;
        cluster_power_goes(node->cluster, 1u << node->number); /* What it flushed is not sure. */
    }
    const struct sim_faults *faults = &node->disk->faults;
    bool fails = faults->write_error_one_in != 0 || faults->flush_error_one_in != 0;
    if (event->kind == STORE_DAMAGE && node->cluster->rot_count == 0 && !fails)
        (void)cluster_wrong(node->cluster, "damage, and no disk has a fault: %s", event->text);
    if (node->cluster->verbose && event->severity >= STORE_WARNING)
        (void)fprintf(stderr, "      node %u: %s\n", node->number, event->text);
}

static void node_boot(struct cluster_node *node)
{
    node->boots++;
    memset(node->options.boot_id, 0, sizeof node->options.boot_id);
    node->options.boot_id[0] = (uint8_t)(node->number + 1);
    node->options.boot_id[1] = (uint8_t)node->boots;
    node->options.boot_id[2] = (uint8_t)(node->boots >> 8);
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static void node_opened(void *context, int result)
{
    struct cluster_node *node = context;
    node->waiting = false;
    node->ended = result;
    if (result != 0) {
        node->store = NULL;
        (void)cluster_wrong(node->cluster, "node %u does not open: %s", node->number,
                            base_last_error());
        return;
    }
    node->ready = true;
    node->options.failed = false; /* It is registered. */
    cluster_say(node->cluster, "node %u is back", node->number);
    if (store_incarnation(node->store) <= node->incarnation)
        (void)cluster_wrong(node->cluster, "an incarnation was used twice");
    node->incarnation = store_incarnation(node->store);
    node_roads(node, store_port(node->store));
}

static void node_gone(void *context, int result)
{
    struct cluster_node *node = context;
    node->waiting = false;
    node->ended = result;
    node->store = NULL;
}

void cluster_node_start(struct cluster_node *node)
{
    node->runs = true;
    node->options.incarnation_min = node->incarnation;
    if (store_open(&node->options, &node->store, node_opened, node) != 0)
        (void)cluster_wrong(node->cluster, "node %u: open refused: %s", node->number,
                            base_last_error());
}

void cluster_node_turn(struct cluster_node *node)
{
    for (unsigned turns = 0; node->store != NULL; turns++) {
        store_turn(node->store);
        if (node->store == NULL || !store_turn_needed(node->store))
            return;
        if (turns > 20000) {
            (void)cluster_wrong(node->cluster, "node %u turns and turns", node->number);
            return;
        }
    }
}

static bool node_wait(struct cluster_node *node, const char *what)
{
    cluster_node_turn(node);
    for (unsigned steps = 0; node->waiting; steps++) {
        if (steps > STEPS_MAX || !world_step(&node->world))
            return cluster_wrong(node->cluster, "node %u: %s does not end", node->number, what);
        cluster_node_turn(node);
    }
    return node->cluster->wrong[0] == '\0';
}

static void node_draw(struct cluster_node *node)
{
    struct prng alike = {.state = node->cluster->node_seed};
    struct prng *prng = node->cluster->node_seed != 0 ? &alike : &node->cluster->prng;
    struct store_options *options = &node->options;
    options->clock = &node->world.clock;
    options->device_count = 1;
    options->devices[0].disk = &node->disk->disk;
    options->devices[0].class = DEVICE_SSD;
    options->cache_bytes = (128 + prng_below(prng, 300)) * BLOCK_BYTES;
    options->batch_blocks_max = 2 + (uint32_t)prng_below(prng, 5);
    options->journal_bytes = (6 + prng_below(prng, 12)) * options->batch_blocks_max * BLOCK_BYTES;
    options->reserve_bytes = (64 + prng_below(prng, 300)) * BLOCK_BYTES;
    if (node->cluster->full) {
        options->batch_blocks_max = 2;
        options->journal_bytes = 24ull * BLOCK_BYTES;
        options->reserve_bytes = (64 + prng_below(prng, 64)) * BLOCK_BYTES;
    }
    options->segments_max = 64;
    options->parts_max = 64;
    options->event = node_event;
    options->context = node;
}

void cluster_node_open(struct cluster *cluster, unsigned number)
{
    struct cluster_node *node = &cluster->nodes[number];
    node->cluster = cluster;
    node->number = number;
    world_open(&node->world, prng_next(&cluster->prng));
    node->machine = worlds_add(&cluster->worlds, &node->world);
    bool small = number == 0 && cluster->small_blocks != 0;
    uint64_t blocks = small ? cluster->small_blocks : cluster->disk_blocks;
    node->disk = sim_disk_open(&node->world, "disk", blocks * BLOCK_BYTES);
    node_draw(node);
    node_boot(node);
    uint8_t uuid[16] = {(uint8_t)(number + 1), 1};
    node->waiting = true;
    if (store_format(&node->options, uuid, false, &node->store, node_gone, node) != 0)
        (void)cluster_wrong(cluster, "format refused: %s", base_last_error());
    else if (node_wait(node, "format") && node->ended != 0)
        (void)cluster_wrong(cluster, "format: %s", base_last_error());
    else
        cluster_node_start(node);
}

void cluster_node_die(struct cluster_node *node, bool power, bool silent)
{
    if (!node->runs)
        return;
    node->runs = node->ready = node->failed = false;
    node->store = NULL; /* The memory goes with the process of this seed. */
    node->died_ns = node->cluster->worlds.now_ns;
    cluster_rot_spares(node->cluster, node->number);
    if (power) {
        node->disk->faults.write_error_one_in = node->disk->faults.flush_error_one_in = 0;
        world_restart(&node->world);
        node_boot(node);
    } else {
        world_kill(&node->world);
    }
    for (unsigned i = 0; i < node->cluster->owner_count; i++)
        road_far_died(&node->cluster->owners[i].roads[node->number], silent);
}

/* --- Proof ------------------------------------------------------------------------------------ */

static void prove_fault(void *context, const struct store_fault *fault)
{
    struct cluster_node *node = context;
    if (node->cluster->rot_count > 0 && strstr(fault->text, "damage") != NULL)
        return;
    (void)cluster_wrong(node->cluster, "node %u: pool check: %s", node->number, fault->text);
}

static void prove_done(void *context, int result, const struct store_checked *checked)
{
    struct cluster_node *node = context;
    (void)checked;
    node_opened(node, result);
}

bool cluster_node_prove(struct cluster_node *node)
{
    node->waiting = true;
    store_close(node->store, node_gone, node);
    if (!node_wait(node, "close"))
        return false;
    struct store_options options = node->options;
    options.read_only = true;
    options.cache_bytes = 1024ull * BLOCK_BYTES;
    node->waiting = true;
    node->incarnation = 0;
    if (store_open(&options, &node->store, node_opened, node) != 0)
        return cluster_wrong(node->cluster, "check: open refused: %s", base_last_error());
    if (!node_wait(node, "check: open"))
        return false;
    struct store_check check = {.fault = prove_fault, .done = prove_done, .context = node};
    check.data = node->cluster->rot_count == 0; /* What nobody read is still bad. */
    node->waiting = true;
    node->incarnation = 0;
    if (store_check_start(node->store, &check) != 0)
        return cluster_wrong(node->cluster, "check: %s", base_last_error());
    return node_wait(node, "check");
}

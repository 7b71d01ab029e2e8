/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/keeper_life.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 200000u
#define DISK_BLOCKS 6000u
#define TTL_NS (2 * NS_PER_S)
#define OUT_AFTER_MS 6000u

bool life_wrong(struct life *life, const char *format, ...)
{
    va_list arguments;
    if (life->wrong[0] != '\0')
        return false;
    va_start(arguments, format);
    (void)vsnprintf(life->wrong, sizeof life->wrong, format, arguments);
    va_end(arguments);
    return false;
}

static void no_wakeup(void *context)
{
    (void)context;
}

static struct meta *meta_new(struct life *life)
{
    struct truth_options options = {.wait_ns = NS_PER_S,
                                    .delay_ns_max = 3 * NS_PER_MS,
                                    .late_ns_max = 4 * NS_PER_S,
                                    .wakeup = no_wakeup};
    struct meta *meta = truth_open(&life->truth, &options);
    assert(meta != NULL);
    return meta;
}

/* --- Stores ----------------------------------------------------------------------------------- */

static void node_told(void *context, int result)
{
    struct life_node *node = context;
    node->waiting = false;
    if (result != 0)
        (void)life_wrong(node->life, "store %u: %s", node->number + 1, base_last_error());
}

static void node_formatted(void *context, int result)
{
    node_told(context, result);
    ((struct life_node *)context)->store = NULL; /* It was closed. */
}

static void node_turn(struct life_node *node)
{
    for (unsigned turns = 0; node->store != NULL && turns < 20000; turns++) {
        store_turn(node->store);
        if (node->store == NULL || !store_turn_needed(node->store))
            return;
    }
}

static void node_wait(struct life_node *node)
{
    node_turn(node);
    for (unsigned steps = 0; node->waiting && steps < STEPS_MAX; steps++) {
        (void)world_step(&node->world);
        node_turn(node);
    }
}

static void node_open(struct life *life, unsigned number)
{
    struct life_node *node = &life->nodes[number];
    uint8_t uuid[16] = {(uint8_t)(number + 1), 1};
    node->life = life;
    node->number = number;
    world_open(&node->world, prng_next(&life->prng));
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
        .parts_max = 64,
        .boot_id = {(uint8_t)(number + 1)},
    };
    node->waiting = true;
    if (store_format(&node->options, uuid, false, &node->store, node_formatted, node) != 0)
        (void)life_wrong(life, "format refused: %s", base_last_error());
    node_wait(node);
    node->waiting = true;
    if (store_open(&node->options, &node->store, node_told, node) != 0)
        (void)life_wrong(life, "open refused: %s", base_last_error());
    node_wait(node);
}

/* --- The truth -------------------------------------------------------------------------------- */

static void told(struct meta_request *request, int result)
{
    struct life *life = CONTAINER_OF(request, struct life, request);
    life->waiting = false;
    life->ended = result;
}

void life_commit(struct life *life)
{
    life->waiting = true;
    if (meta_commit(life->watcher, &life->request, told) != 0) {
        (void)life_wrong(life, "refused: %s", base_last_error());
        return;
    }
    while (life->waiting && life->wrong[0] == '\0')
        life_step(life, life->worlds.now_ns + NS_PER_S);
}

static void value_put(struct life *life, struct metadata_key key, struct metadata_bytes *value)
{
    meta_request_reset(&life->request);
    meta_put(&life->request, META_SLICE(key), META_SLICE(*value), 0);
    metadata_bytes_done(value);
    life_commit(life);
}

void life_store_put(struct life *life, const struct metadata_store *record)
{
    struct metadata_bytes value = {0};
    (void)metadata_store_encode(record, &value);
    value_put(life, metadata_store_key(record->id), &value);
    life->operator_revision = life->request.revision;
}

static void formatted(void *context, int result)
{
    struct life *life = context;
    life->waiting = false;
    if (result != 0)
        (void)life_wrong(life, "format: %s", base_last_error());
}

static void pool_make(struct life *life)
{
    static const uint8_t uuid[16] = {3, 1, 4};
    struct metadata_cluster cluster = {.format = 1, .out_after_ms = OUT_AFTER_MS};
    struct metadata_bytes value = {0};
    life->waiting = true;
    (void)catalog_format_cluster(life->watcher, uuid, formatted, life);
    while (life->waiting && life->wrong[0] == '\0')
        life_step(life, life->worlds.now_ns + NS_PER_S);
    memcpy(cluster.uuid, uuid, sizeof uuid);
    (void)metadata_cluster_encode(&cluster, &value);
    value_put(life, metadata_cluster_key(), &value);
    for (unsigned i = 0; i < LIFE_NODES; i++) {
        struct metadata_store record = {
            .id = i + 1, .bytes = 1ull << 40, .media = METADATA_SSD, .uuid = {(uint8_t)(i + 1)}};
        (void)snprintf(record.node, sizeof record.node, "n%u", i + 1);
        (void)snprintf(record.address, sizeof record.address, "tcp:n%u:1", i + 1);
        life_store_put(life, &record);
    }
}

/* --- Processes -------------------------------------------------------------------------------- */

static struct part_port *user_port(void *context, uint64_t store)
{
    struct life_user *user = context;
    return store >= 1 && store <= LIFE_NODES ? &user->roads[store - 1].port : NULL;
}

static void user_port_changed(void *context, struct part_port *port)
{
    const struct life_user *user = context;
    if (user->ready)
        catalog_port_changed(user->catalog, port);
}

static void user_event(void *context, const struct catalog_event *event)
{
    const struct life_user *user = context;
    if (user->life->verbose)
        (void)fprintf(stderr, "%9.3f user %u: %s\n", (double)user->life->worlds.now_ns / 1e9,
                      user->number, event->text);
}

static void user_opened(void *context, int result)
{
    struct life_user *user = context;
    if (result != 0) {
        user->catalog = NULL; /* It is gone; tried again when the user is started again. */
        user->back_ns = user->life->worlds.now_ns + NS_PER_S;
        user->dead = true;
        return;
    }
    user->ready = true;
    if (user->number >= LIFE_KEEPERS)
        return;
    struct keeper_options options = {.meta = user->meta,
                                     .clock = &user->world.clock,
                                     .catalog = user->catalog,
                                     .busy_ns = NS_PER_S,
                                     .idle_ns = 5 * NS_PER_S,
                                     .soon_ns = 50 * NS_PER_MS,
                                     .least_ns = 100 * NS_PER_MS,
                                     .event = user_event,
                                     .context = user};
    if (keeper_open(&options, &user->keeper) != 0)
        (void)life_wrong(user->life, "keeper: %s", base_last_error());
}

void life_user_start(struct life_user *user)
{
    struct life *life = user->life;
    struct copies_engine_options copies = {
        .clock = &user->world.clock, .op_count = 32, .lane_count = 3};
    struct volume_engine_options volumes = {.op_count = 24, .bounce_count = 2};
    user->dead = user->ready = false;
    user->keeper = NULL;
    user->meta = meta_new(life);
    if (copies_engine_open(&copies, &user->copies) != 0 ||
        volume_engine_open(&volumes, &user->volumes) != 0)
        (void)life_wrong(life, "engines: %s", base_last_error());
    (void)snprintf(user->address, sizeof user->address, "user-%u-%llu", user->number,
                   (unsigned long long)prng_below(&life->prng, 1000000));
    user->cluster = (struct catalog_cluster){.node = "users",
                                             .address = user->address,
                                             .session_ttl_ns = TTL_NS,
                                             .copies = user->copies,
                                             .port = user_port,
                                             .context = user};
    struct catalog_options options = {.meta = user->meta,
                                      .cluster = &user->cluster,
                                      .volumes = user->volumes,
                                      .clock = &user->world.clock,
                                      .id_lot = 4,
                                      .sequence_lot = 64,
                                      .event = user_event,
                                      .context = user};
    if (catalog_open(&options, &user->catalog, user_opened, user) != 0)
        (void)life_wrong(life, "catalog: %s", base_last_error());
}

/* What it had in memory goes with the process of this seed. */
void life_user_die(struct life_user *user)
{
    world_kill(&user->world);
    truth_reach(user->meta, false);
    for (unsigned i = 0; i < LIFE_NODES; i++)
        road_near_died(&user->roads[i]);
    user->dead = true;
    user->ready = false;
    user->catalog = NULL;
    user->keeper = NULL;
    life_client_forget(&user->client);
}

static void user_open(struct life *life, unsigned number)
{
    struct life_user *user = &life->users[number];
    user->life = life;
    user->number = number;
    world_open(&user->world, prng_next(&life->prng));
    user->machine = worlds_add(&life->worlds, &user->world);
    worlds_drift(&life->worlds, user->machine, (int32_t)prng_below(&life->prng, 20000) - 10000);
    for (unsigned i = 0; i < LIFE_NODES; i++) {
        struct life_node *node = &life->nodes[i];
        struct road *road = &user->roads[i];
        road_open(road, &life->worlds, &user->world, &node->world, i + 1, prng_next(&life->prng));
        road->port.changed = user_port_changed;
        road->port.context = user;
        road->silent_ns = 200 * NS_PER_MS;
        road->faults.delay_ns_min = 20000;
        road->faults.delay_ns_max = 500000;
        road_far_lives(road, store_port(node->store), store_incarnation(node->store));
    }
    life_user_start(user);
}

static void user_turn(struct life_user *user)
{
    if (user->dead || user->stands)
        return;
    (void)meta_poll(user->meta);
    if (user->dead || user->catalog == NULL)
        return;
    volume_engine_turn(user->volumes);
    copies_engine_turn(user->copies);
    if (user->keeper != NULL)
        keeper_turn(user->keeper);
    (void)catalog_turn(user->catalog);
    if (user->ready)
        life_client_turn(user);
}

/* --- Time ------------------------------------------------------------------------------------- */

void life_step(struct life *life, uint64_t until_ns)
{
    int went = worlds_step(&life->worlds, until_ns);
    for (unsigned i = 0; i < LIFE_NODES; i++) {
        if (went < 0 || went == (int)life->nodes[i].machine)
            node_turn(&life->nodes[i]);
    }
    for (unsigned i = 0; i < LIFE_USERS; i++) {
        if (life->users[i].life != NULL &&
            (went < 0 || went == (int)life->users[i].machine || went == (int)life->truth_machine))
            user_turn(&life->users[i]);
    }
    (void)meta_poll(life->watcher);
    life_look(life);
}

static const struct catalog_create small = {
    .bytes = 2 * LIFE_SEGMENT, .sector_bytes = 4096, .copies = 3};

static void life_wait(struct life *life, int error)
{
    if (error != 0)
        (void)life_wrong(life, "refused: %s", base_last_error());
    while (life->waiting && life->wrong[0] == '\0')
        life_step(life, life->worlds.now_ns + NS_PER_S);
}

/* The keeper may have been first. */
static void changed(void *context, int result)
{
    struct life *life = context;
    life->ended = result;
    formatted(context, result == IOMESH_CONFLICT ? 0 : result);
}

static struct catalog_handle *opened_handle;

static void parent_opened(void *context, int result, struct catalog_handle *handle)
{
    opened_handle = handle;
    changed(context, result);
}

/* Again, where something else changed first. */
static bool again(struct life *life)
{
    bool conflict = life->ended == IOMESH_CONFLICT && life->wrong[0] == '\0';
    life->ended = 0;
    life->waiting = true;
    return conflict;
}

/* Of what was written first a clone is taken, then the volume is deleted. */
static void parent_make(struct life *life)
{
    struct life_user *user = &life->users[3];
    struct catalog *catalog = life->users[2].catalog;
    char name[8];
    (void)snprintf(name, sizeof name, "v%u", LIFE_VOLUMES);
    (void)again(life);
    do
        life_wait(life, catalog_create(user->catalog, "old", &small, changed, life));
    while (again(life));
    do
        life_wait(life, catalog_handle_open(user->catalog, "old", false, parent_opened, life));
    while (again(life));
    if (life->wrong[0] != '\0')
        return;
    life_client_fill(user, opened_handle, LIFE_VOLUMES - 1);
    catalog_handle_close(opened_handle, changed, life);
    life_wait(life, 0);
    (void)again(life);
    do
        life_wait(life, catalog_clone(catalog, "old", NULL, name, changed, life));
    while (again(life));
    do
        life_wait(life, catalog_delete(catalog, "old", changed, life));
    while (again(life));
    life->waiting = false;
}

static void volumes_make(struct life *life)
{
    for (unsigned i = 0; i + 1 < LIFE_VOLUMES; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "v%u", i + 1);
        life->waiting = true;
        life_wait(life, catalog_create(life->users[2].catalog, name, &small, formatted, life));
    }
    if (life->wrong[0] == '\0')
        parent_make(life);
}

void life_open(struct life *life, uint64_t seed)
{
    memset(life, 0, sizeof *life);
    life->seed = seed;
    life->prng.state = seed;
    worlds_open(&life->worlds);
    world_open(&life->truth_world, prng_next(&life->prng));
    life->truth_machine = worlds_add(&life->worlds, &life->truth_world);
    truth_init(&life->truth, &life->truth_world.clock, prng_next(&life->prng));
    life->watcher = meta_new(life);
    life_watch(life);
    for (unsigned i = 0; i < LIFE_NODES; i++)
        node_open(life, i);
    for (unsigned i = 0; i < LIFE_NODES; i++)
        life->nodes[i].machine = worlds_add(&life->worlds, &life->nodes[i].world);
    pool_make(life);
    for (unsigned i = 0; i < LIFE_USERS && life->wrong[0] == '\0'; i++)
        user_open(life, i);
    while ((!life->users[2].ready || !life->users[3].ready) && life->wrong[0] == '\0')
        life_step(life, life->worlds.now_ns + NS_PER_S);
    if (life->wrong[0] == '\0')
        volumes_make(life);
    life->began = true;
}

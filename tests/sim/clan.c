/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/clan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TTL_NS (2 * NS_PER_S)

const char *const clan_names[CLAN_NAMES] = {"a", "b", "c", "d", "e"};
const char *const clan_snaps[CLAN_SNAPS] = {"s", "t", "u", "g", "h"};
const uint64_t clan_offsets[CLAN_REGISTERS] = {0, 3 * BLOCK_BYTES, 2ull << 20, CLAN_SEGMENT};

bool clan_wrong(struct clan *clan, const char *format, ...)
{
    va_list arguments;
    if (clan->wrong[0] != '\0')
        return false;
    va_start(arguments, format);
    (void)vsnprintf(clan->wrong, sizeof clan->wrong, format, arguments);
    va_end(arguments);
    return false;
}

void clan_say(const struct clan *clan, const char *format, ...)
{
    va_list arguments;
    if (!clan->verbose)
        return;
    (void)fprintf(stderr, "%9.3f ", (double)clan->worlds.now_ns / 1e9);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
}

static void no_wakeup(void *context)
{
    (void)context;
}

static struct meta *meta_new(struct clan *clan)
{
    struct truth_options options = {.wait_ns = NS_PER_S,
                                    .delay_ns_max = 3 * NS_PER_MS,
                                    .late_ns_max = 4 * NS_PER_S,
                                    .wakeup = no_wakeup};
    struct meta *meta = truth_open(&clan->truth, &options);
    assert(meta != NULL);
    return meta;
}

/* --- The pool --------------------------------------------------------------------------------- */

static void told(void *context, int result)
{
    struct clan *clan = context;
    clan->waiting = false;
    if (result != 0)
        (void)clan_wrong(clan, "format: %s", base_last_error());
}

static void put(struct meta_request *request, int result)
{
    told(CONTAINER_OF(request, struct clan, request), result);
}

static void wait_told(struct clan *clan)
{
    while (clan->waiting && clan->wrong[0] == '\0')
        clan_step(clan, clan->worlds.now_ns + NS_PER_S);
}

static void value_put(struct clan *clan, struct metadata_key key, struct metadata_bytes *value)
{
    meta_request_reset(&clan->request);
    meta_put(&clan->request, META_SLICE(key), META_SLICE(*value), 0);
    metadata_bytes_done(value);
    clan->waiting = true;
    if (meta_commit(clan->meta, &clan->request, put) != 0)
        (void)clan_wrong(clan, "refused: %s", base_last_error());
    wait_told(clan);
}

static void pool_make(struct clan *clan)
{
    static const uint8_t uuid[16] = {3, 1, 4};
    struct metadata_bytes value = {0};
    clan->waiting = true;
    (void)catalog_format_cluster(clan->meta, uuid, told, clan);
    wait_told(clan);
    for (unsigned i = 0; i < CLAN_NODES; i++) {
        struct metadata_store record = {
            .id = i + 1, .bytes = 1ull << 40, .media = METADATA_SSD, .uuid = {(uint8_t)(i + 1)}};
        (void)snprintf(record.node, sizeof record.node, "n%u", i + 1);
        (void)snprintf(record.address, sizeof record.address, "tcp:n%u:1", i + 1);
        (void)metadata_store_encode(&record, &value);
        value_put(clan, metadata_store_key(record.id), &value);
    }
}

/* --- Processes -------------------------------------------------------------------------------- */

static struct part_port *user_port(void *context, uint64_t store)
{
    struct clan_user *user = context;
    return store >= 1 && store <= CLAN_NODES ? &user->roads[store - 1].port : NULL;
}

static void user_port_changed(void *context, struct part_port *port)
{
    const struct clan_user *user = context;
    if (user->ready)
        catalog_port_changed(user->catalog, port);
}

static void user_event(void *context, const struct catalog_event *event)
{
    const struct clan_user *user = context;
    clan_say(user->clan, "user %u: %s", user->number, event->text);
}

static void user_keeper(struct clan_user *user)
{
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
        (void)clan_wrong(user->clan, "keeper: %s", base_last_error());
}

static void user_opened(void *context, int result)
{
    struct clan_user *user = context;
    if (result != 0) {
        user->catalog = NULL; /* It is gone; tried again when the user is started again. */
        user->back_ns = user->clan->worlds.now_ns + NS_PER_S;
        user->dead = true;
        return;
    }
    user->ready = true;
    if (user->number == 0)
        user_keeper(user);
}

void clan_user_start(struct clan_user *user)
{
    struct clan *clan = user->clan;
    struct copies_engine_options copies = {
        .clock = &user->world.clock, .op_count = 32, .lane_count = 3};
    struct volume_engine_options volumes = {.op_count = 24, .bounce_count = 2};
    user->dead = user->ready = false;
    user->keeper = NULL;
    user->meta = meta_new(clan);
    if (copies_engine_open(&copies, &user->copies) != 0 ||
        volume_engine_open(&volumes, &user->volumes) != 0)
        (void)clan_wrong(clan, "engines: %s", base_last_error());
    /* Now and then it is known as who it was. */
    if (user->address[0] == '\0' || prng_one_in(&clan->prng, 2))
        (void)snprintf(user->address, sizeof user->address, "user-%u-%llu", user->number,
                       (unsigned long long)prng_below(&clan->prng, 1000000));
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
        (void)clan_wrong(clan, "catalog: %s", base_last_error());
}

/* What it had in memory goes with the process of this seed. */
void clan_user_die(struct clan_user *user)
{
    world_kill(&user->world);
    truth_reach(user->meta, false);
    for (unsigned i = 0; i < CLAN_NODES; i++)
        road_near_died(&user->roads[i]);
    user->dead = true;
    user->ready = false;
    user->catalog = NULL;
    user->keeper = NULL;
    for (unsigned i = 0; i < CLAN_LANES; i++)
        clan_lane_forget(&user->lanes[i]);
}

static void user_open(struct clan *clan, unsigned number)
{
    struct clan_user *user = &clan->users[number];
    user->clan = clan;
    user->number = number;
    world_open(&user->world, prng_next(&clan->prng));
    user->machine = worlds_add(&clan->worlds, &user->world);
    worlds_drift(&clan->worlds, user->machine, (int32_t)prng_below(&clan->prng, 20000) - 10000);
    for (unsigned i = 0; i < CLAN_NODES; i++) {
        struct clan_node *node = &clan->nodes[i];
        struct road *road = &user->roads[i];
        road_open(road, &clan->worlds, &user->world, &node->world, i + 1, prng_next(&clan->prng));
        road->port.changed = user_port_changed;
        road->port.context = user;
        road->silent_ns = 200 * NS_PER_MS;
        road->faults.delay_ns_min = 20000;
        road->faults.delay_ns_max = 500000;
        road_far_lives(road, store_port(node->store), store_incarnation(node->store));
    }
    for (unsigned i = 0; i < CLAN_LANES; i++)
        user->lanes[i].user = user;
    clan_user_start(user);
}

static void user_turn(struct clan_user *user)
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
    for (unsigned i = 0; user->ready && i < CLAN_LANES; i++)
        clan_lane_turn(&user->lanes[i]);
}

/* --- Time ------------------------------------------------------------------------------------- */

void clan_step(struct clan *clan, uint64_t until_ns)
{
    int went = worlds_step(&clan->worlds, until_ns);
    clan_truth_look(clan);
    for (unsigned i = 0; i < CLAN_NODES; i++) {
        if (went < 0 || went == (int)clan->nodes[i].machine)
            clan_node_turn(&clan->nodes[i]);
    }
    for (unsigned i = 0; i < CLAN_USERS; i++) {
        if (clan->users[i].clan != NULL &&
            (went < 0 || went == (int)clan->users[i].machine || went == (int)clan->truth_machine))
            user_turn(&clan->users[i]);
    }
    (void)meta_poll(clan->meta);
}

void clan_run(struct clan *clan, uint64_t ns)
{
    uint64_t until_ns = clan->worlds.now_ns + ns;
    while (clan->worlds.now_ns < until_ns && clan->wrong[0] == '\0')
        clan_step(clan, until_ns);
}

void clan_open(struct clan *clan, uint64_t seed)
{
    memset(clan, 0, sizeof *clan);
    clan->seed = seed;
    clan->prng.state = seed;
    clan->number = 1;
    worlds_open(&clan->worlds);
    world_open(&clan->truth_world, prng_next(&clan->prng));
    clan->truth_machine = worlds_add(&clan->worlds, &clan->truth_world);
    truth_init(&clan->truth, &clan->truth_world.clock, prng_next(&clan->prng));
    clan->meta = meta_new(clan);
    for (unsigned i = 0; i < CLAN_NODES; i++)
        clan_node_open(clan, i);
    for (unsigned i = 0; i < CLAN_NODES; i++)
        clan->nodes[i].machine = worlds_add(&clan->worlds, &clan->nodes[i].world);
    pool_make(clan);
    for (unsigned i = 0; i < CLAN_USERS && clan->wrong[0] == '\0'; i++)
        user_open(clan, i);
}

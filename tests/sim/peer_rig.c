/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/peer_rig.h"

#include <string.h>

/* --- Memory of the server ------------------------------------------------------------------ */

static void *buffers_get(struct peer_buffers *base, uint64_t bytes)
{
    struct rig_buffers *buffers = CONTAINER_OF(base, struct rig_buffers, buffers);
    if (buffers->out_bytes + bytes > buffers->limit_bytes) {
        buffers->refused++;
        return NULL;
    }
    buffers->out_bytes += bytes;
    uint64_t *memory = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES + ROUND_UP(bytes, BLOCK_BYTES));
    if (memory == NULL)
        abort();
    memory[0] = bytes;
    return (uint8_t *)memory + BLOCK_BYTES;
}

static void rest_over(struct rig_buffers *buffers, uint32_t index)
{
    uint8_t *memory = buffers->resting[index].memory;
    for (uint64_t i = 0; memory != NULL && i < buffers->resting[index].bytes; i++)
        REQUIRE(memory[BLOCK_BYTES + i] == 0xa7);
    free(memory);
    buffers->resting[index].memory = NULL;
}

/* What comes back stays a while, and nobody may write to it. */
static void buffers_put(struct peer_buffers *base, void *data)
{
    struct rig_buffers *buffers = CONTAINER_OF(base, struct rig_buffers, buffers);
    uint8_t *memory = (uint8_t *)data - BLOCK_BYTES;
    uint64_t bytes = *(uint64_t *)(void *)memory;
    buffers->out_bytes -= bytes;
    memset(data, 0xa7, bytes);
    uint32_t index = buffers->rest_next++ % RIG_QUARANTINE;
    rest_over(buffers, index);
    buffers->resting[index].memory = memory;
    buffers->resting[index].bytes = bytes;
}

/* --- Servers and ports --------------------------------------------------------------------- */

void rig_server_open(struct rig *rig)
{
    struct peer_server_options options = {
        .net = &rig->store_host->net,
        .clock = &rig->world.clock,
        .buffers = &rig->buffers.buffers,
        .pool = "the pool of all",
        .seed = prng_next(&rig->prng),
        .requests_max = rig->requests_max,
        .bytes_max = rig->bytes_max,
        .hello_ns = NS_PER_S,
        .silence_ns = 3 * NS_PER_S,
        .stall_ns = 2 * NS_PER_S,
        .starve_ns = 200 * NS_PER_MS,
    };
    REQUIRE(peer_server_open(&options, &rig->server) == 0);
    for (uint32_t i = 0; i < rig->stores; i++) {
        struct part_port *port = &rig->mirrors[i].port;
        memcpy(port->boot_id, "a boot, so far.", sizeof port->boot_id);
        REQUIRE(peer_server_add(rig->server, i + 1, 5, port) == 0);
    }
    REQUIRE(peer_server_listen(rig->server, "stores:7000", NULL) == 0);
}

static void server_closed(void *context)
{
    struct rig *rig = context;
    rig->server = NULL;
    rig->server_closing = false;
}

void rig_server_close(struct rig *rig)
{
    if (rig->server == NULL || rig->server_closing)
        return;
    struct peer_server_counts counts = peer_server_counts(rig->server);
    rig->counts.replaced += counts.replaced;
    rig->counts.stalled += counts.stalled;
    rig->counts.strays += counts.strays;
    rig->counts.damaged += counts.broken;
    rig->server_closing = true;
    peer_server_close(rig->server, server_closed, rig);
}

static void port_changed(void *context, struct part_port *part)
{
    struct rig_port *port = context;
    if (part->state == PART_PORT_UP) {
        REQUIRE(part->session != port->session && part->session != 0);
        REQUIRE(part->incarnation == 5 && memcmp(part->boot_id, "a boot, so far.", 16) == 0);
        port->session = part->session;
        port->rig->counts.ups++;
    }
}

void rig_port_open(struct rig *rig, struct rig_port *port)
{
    struct peer_port_options options = {
        .net = &rig->engine_hosts[port->engine]->net,
        .clock = &rig->world.clock,
        .address = "stores:7000",
        .pool = "the pool of all",
        .store = port->store + 1,
        .engine = port->engine + 1000,
        .seed = prng_next(&rig->prng),
        .requests_max = 1u << prng_below(&rig->prng, 7),
        .bytes_max = 1u << (13 + prng_below(&rig->prng, 10)),
        .heartbeat_ns = 100 * NS_PER_MS,
        .silence_ns = NS_PER_S,
        .connect_ns = 500 * NS_PER_MS,
        .backoff_ns_max = 300 * NS_PER_MS,
    };
    REQUIRE(peer_port_open(&options, &port->port) == 0);
    struct part_port *part = peer_port_part(port->port);
    part->changed = port_changed;
    part->context = port;
}

static void port_closed(void *context)
{
    struct rig_port *port = context;
    port->port = NULL;
    port->closing = false;
}

void rig_port_close(struct rig_port *port)
{
    if (port->port == NULL || port->closing)
        return;
    struct peer_port_counts counts = peer_port_counts(port->port);
    port->rig->counts.breaks += counts.breaks;
    port->rig->counts.strays += counts.strays;
    port->rig->counts.damaged += counts.damaged;
    port->closing = true;
    peer_port_close(port->port, port_closed, port);
}

/* --- Requests ------------------------------------------------------------------------------ */

static struct rig_op *op_free(struct rig *rig)
{
    uint64_t first = prng_below(&rig->prng, RIG_OPS);
    for (uint32_t i = 0; i < RIG_OPS; i++) {
        struct rig_op *op = &rig->ops[(first + i) % RIG_OPS];
        if (!op->flying && op->rest_until_ns <= rig->world.now_ns)
            return op;
    }
    return NULL;
}

void rig_ask(struct rig *rig)
{
    struct rig_port *port = &rig->ports[prng_below(&rig->prng, rig->engines * rig->stores)];
    struct rig_op *op = op_free(rig);
    if (op == NULL || port->port == NULL || port->closing)
        return;
    rig_op_check_poison(op);
    rig_op_fill(op, port);
    op->flying = true;
    op->canceled = false;
    part_submit(peer_port_part(port->port), &op->request);
    REQUIRE(op->flying);
}

void rig_cancel_one(struct rig *rig)
{
    struct rig_op *op = &rig->ops[prng_below(&rig->prng, RIG_OPS)];
    if (!op->flying || op->canceled)
        return;
    op->canceled = true;
    part_cancel(&op->request);
    REQUIRE(op->flying);
}

bool rig_is_idle(const struct rig *rig)
{
    for (uint32_t i = 0; i < RIG_OPS; i++)
        if (rig->ops[i].flying)
            return false;
    return true;
}

bool rig_is_up(const struct rig *rig)
{
    for (uint32_t i = 0; i < rig->engines * rig->stores; i++)
        if (rig->ports[i].port == NULL || peer_port_part(rig->ports[i].port)->state != PART_PORT_UP)
            return false;
    return true;
}

void rig_read_all(struct rig *rig, struct rig_port *port)
{
    struct rig_op *op = &rig->ops[0];
    uint64_t end_ns = rig->world.now_ns + 30 * NS_PER_S;
    for (uint32_t volume = 0; volume < MIRROR_VOLUMES; volume++) {
        for (uint32_t block = 0; block < MIRROR_BLOCKS; block += PART_BLOCKS_MAX) {
            rig_op_check_poison(op);
            op->store = port->store;
            op->request = (struct part_request){
                .kind = PART_READ,
                .volume = volume,
                .block = block,
                .count = PART_BLOCKS_MAX,
                .epoch = rig->epoch_next++,
                .data = op->data,
                .versions = op->versions,
                .done = rig_op_done,
            };
            memcpy(op->floor, rig->acked[port->store][volume] + block, sizeof op->floor);
            op->flying = true;
            op->canceled = false;
            part_submit(peer_port_part(port->port), &op->request);
            uint64_t right = rig->counts.right;
            while (op->flying || !rig_is_up(rig))
                REQUIRE(world_step(&rig->world));
            /* A stream that had gone silent before may end now. */
            if (rig->counts.right == right)
                block -= PART_BLOCKS_MAX;
            REQUIRE(rig->world.now_ns < end_ns);
        }
    }
}

/* --- Life ---------------------------------------------------------------------------------- */

void rig_open(struct rig *rig, uint64_t seed)
{
    mirror_seed = seed;
    memset(rig, 0, sizeof *rig);
    world_open(&rig->world, seed);
    rig->prng = prng_fork(&rig->world.prng);
    rig->net = sim_net_open(&rig->world);
    rig->engines = 1 + (uint32_t)prng_below(&rig->prng, RIG_ENGINES_MAX);
    rig->stores = 1 + (uint32_t)prng_below(&rig->prng, RIG_STORES_MAX);
    rig->requests_max = 1u << prng_below(&rig->prng, 6);
    rig->bytes_max = 1u << (13 + prng_below(&rig->prng, 9));
    rig->buffers.buffers = (struct peer_buffers){.get = buffers_get, .put = buffers_put};
    /* The largest request fits, alone. */
    rig->buffers.limit_bytes = (1u << 20) + (64u << 10) + prng_below(&rig->prng, 64u << 10);
    rig->sequence_next = 1;
    rig->epoch_next = 1;
    rig->store_host = sim_host_open(rig->net, "stores");
    char name[24];
    for (uint32_t i = 0; i < rig->engines; i++) {
        (void)snprintf(name, sizeof name, "engine%u", i);
        rig->engine_hosts[i] = sim_host_open(rig->net, name);
    }
    for (uint32_t i = 0; i < rig->stores; i++)
        mirror_open(&rig->mirrors[i], &rig->world.clock, prng_next(&rig->prng),
                    prng_below(&rig->prng, 3 * NS_PER_MS));
    for (uint32_t i = 0; i < RIG_OPS; i++) {
        struct rig_op *op = &rig->ops[i];
        op->rig = rig;
        op->blocks_max = i < RIG_OPS_LARGE ? PART_BLOCKS_MAX : RIG_OP_BLOCKS;
        op->data = aligned_alloc(BLOCK_BYTES, op->blocks_max * BLOCK_BYTES);
        if (op->data == NULL)
            abort();
        rig_op_poison(op);
    }
    rig_server_open(rig);
    for (uint32_t i = 0; i < rig->engines * rig->stores; i++) {
        rig->ports[i] =
            (struct rig_port){.rig = rig, .engine = i / rig->stores, .store = i % rig->stores};
        rig_port_open(rig, &rig->ports[i]);
    }
}

void rig_close(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->engines * rig->stores; i++)
        rig_port_close(&rig->ports[i]);
    rig_server_close(rig);
    while (world_step(&rig->world))
        ;
    REQUIRE(rig->server == NULL && rig_is_idle(rig));
    for (uint32_t i = 0; i < rig->engines * rig->stores; i++)
        REQUIRE(rig->ports[i].port == NULL);
    REQUIRE(sim_net_streams(rig->net) == 0 && rig->buffers.out_bytes == 0);
    for (uint32_t i = 0; i < rig->stores; i++)
        REQUIRE(mirror_is_idle(&rig->mirrors[i]));
    for (uint32_t i = 0; i < RIG_QUARANTINE; i++)
        rest_over(&rig->buffers, i);
    for (uint32_t i = 0; i < RIG_OPS; i++) {
        rig_op_check_poison(&rig->ops[i]);
        free(rig->ops[i].data);
    }
    rig->counts.hungry += rig->buffers.refused;
    sim_net_close(rig->net);
    world_close(&rig->world);
}

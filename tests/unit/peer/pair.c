/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/peer/pair.h"

#include "codec/codec.h"

static void *pair_get(struct peer_buffers *buffers, uint64_t bytes)
{
    struct pair *pair = CONTAINER_OF(buffers, struct pair, buffers);
    if (pair->out + bytes > pair->out_max)
        return NULL;
    uint64_t *memory = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES + ROUND_UP(bytes, BLOCK_BYTES));
    memory[0] = bytes;
    pair->out += bytes;
    return (uint8_t *)memory + BLOCK_BYTES;
}

static void pair_put(struct peer_buffers *buffers, void *data)
{
    struct pair *pair = CONTAINER_OF(buffers, struct pair, buffers);
    uint64_t *memory = (uint64_t *)(void *)((uint8_t *)data - BLOCK_BYTES);
    pair->out -= memory[0];
    free(memory);
}

void pair_server_open(struct pair *pair)
{
    struct peer_server_options options = {.net = &pair->there->net,
                                          .clock = &pair->world.clock,
                                          .buffers = &pair->buffers,
                                          .pool = PAIR_POOL,
                                          .seed = 1};
    cr_assert_eq(peer_server_open(&options, &pair->server), 0);
    memcpy(pair->mirror.port.boot_id, "a boot, so far.", sizeof pair->mirror.port.boot_id);
    cr_assert_eq(peer_server_add(pair->server, 1, 5, &pair->mirror.port), 0);
    cr_assert_eq(peer_server_listen(pair->server, "there:7", NULL), 0);
}

static void closed(void *context)
{
    *(bool *)context = true;
}

void pair_server_close(struct pair *pair)
{
    pair->closed = false;
    peer_server_close(pair->server, closed, &pair->closed);
    while (!pair->closed)
        cr_assert(world_step(&pair->world));
    pair->server = NULL;
}

void pair_open(struct pair *pair)
{
    *pair = (struct pair){.out_max = 16u << 20, .epoch = 1};
    world_open(&pair->world, 1);
    pair->net = sim_net_open(&pair->world);
    pair->there = sim_host_open(pair->net, "there");
    for (unsigned i = 0; i < PAIR_PORTS; i++)
        pair->here[i] = sim_host_open(pair->net, "here");
    pair->buffers = (struct peer_buffers){.get = pair_get, .put = pair_put};
    mirror_open(&pair->mirror, &pair->world.clock, 1, 100000);
    pair_server_open(pair);
}

struct peer_port_options pair_options(struct pair *pair, unsigned index)
{
    return (struct peer_port_options){.net = &pair->here[index]->net,
                                      .clock = &pair->world.clock,
                                      .address = "there:7",
                                      .pool = PAIR_POOL,
                                      .store = 1,
                                      .engine = 100 + index,
                                      .seed = 7 + index};
}

static void pair_changed(void *context, struct part_port *part)
{
    (void)part;
    ((struct pair *)context)->changes++;
}

void pair_connect(struct pair *pair, unsigned index, const struct peer_port_options *options)
{
    struct peer_port_options usual = pair_options(pair, index);
    cr_assert_eq(peer_port_open(options != NULL ? options : &usual, &pair->ports[index]), 0);
    pair_part(pair, index)->changed = pair_changed;
    pair_part(pair, index)->context = pair;
}

struct part_port *pair_part(struct pair *pair, unsigned index)
{
    return peer_port_part(pair->ports[index]);
}

bool pair_run_until_up(struct pair *pair, unsigned index, uint64_t limit_ns)
{
    uint64_t end_ns = pair->world.now_ns + limit_ns;
    while (pair_part(pair, index)->state != PART_PORT_UP && pair->world.now_ns < end_ns)
        cr_assert(world_step(&pair->world));
    return pair_part(pair, index)->state == PART_PORT_UP;
}

static void ring_bell(struct timer *timer)
{
    (void)timer;
}

void pair_run(struct pair *pair, uint64_t ns)
{
    struct timer bell = {.fire = ring_bell};
    clock_set_after(&pair->world.clock, &bell, ns);
    while (bell.set)
        cr_assert(world_step(&pair->world));
}

void pair_close(struct pair *pair)
{
    for (unsigned i = 0; i < PAIR_PORTS; i++) {
        bool gone = pair->ports[i] == NULL;
        if (!gone)
            peer_port_close(pair->ports[i], closed, &gone);
        while (!gone)
            cr_assert(world_step(&pair->world));
    }
    if (pair->server != NULL)
        pair_server_close(pair);
    while (world_step(&pair->world))
        ;
    cr_expect_eq(pair->out, 0, "buffers are back");
    cr_expect_eq(sim_net_streams(pair->net), 0);
    sim_net_close(pair->net);
    world_close(&pair->world);
}

/* --- Questions ----------------------------------------------------------------------------- */

static void question_done(struct part_request *request, int result)
{
    struct question *question = CONTAINER_OF(request, struct question, request);
    question->ended++;
    question->result = result;
    question->ended_ns = question->pair->world.now_ns;
}

struct question *question_new(struct pair *pair, enum part_request_kind kind)
{
    struct question *question = aligned_alloc(4096, ROUND_UP(sizeof *question, 4096u));
    *question = (struct question){.pair = pair};
    question->request =
        (struct part_request){.kind = kind, .volume = 1, .generation = 3, .done = question_done};
    /* One that the mirror answers with 0. */
    do
        question->request.epoch = pair->epoch++;
    while (mirror_result(&question->request, mirror_sum(&question->request)) != 0);
    return question;
}

void question_blocks(struct question *question, uint32_t count)
{
    struct part_request *request = &question->request;
    request->count = count;
    request->data = question->data;
    request->crcs = question->crcs;
    if (request->kind == PART_WRITE)
        request->sequence = 9;
    while (mirror_result(request, mirror_sum(request)) != 0)
        request->epoch = question->pair->epoch++;
    for (uint32_t i = 0; request->kind == PART_WRITE && i < count; i++) {
        mirror_block(question->data + (size_t)i * BLOCK_BYTES, 1, i, 9);
        question->crcs[i] = crc32c(question->data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES);
    }
}

void question_ask(struct question *question, unsigned port)
{
    part_submit(pair_part(question->pair, port), &question->request);
    cr_assert_eq(question->ended, 0, "never inside the call");
}

void question_wait(struct question *question, uint64_t limit_ns)
{
    uint64_t end_ns = question->pair->world.now_ns + limit_ns;
    while (question->ended == 0 && question->pair->world.now_ns < end_ns)
        cr_assert(world_step(&question->pair->world));
    cr_assert_eq(question->ended, 1);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Stores that a daemon serves, asked over the wire: without metadata nobody knows which it has. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/rebuild_read.h"

#define FAR_PATIENCE_NS (10 * NS_PER_S)
#define FAR_TURN_NS (20 * NS_PER_MS)

static int far_open(struct reading *reading, struct reading_store *opened, const char *address,
                    uint64_t from)
{
    uint64_t random[2];
    int result = uring_random(random, sizeof random);
    if (result != 0)
        return FAIL(result, "random bytes: %s", base_error_text(result));
    struct peer_port_options options = {
        .net = reading->net,
        .clock = reading->engine->world.clock,
        .address = address,
        .store = from,
        .any = true,
        .engine = random[0] | 1, /* 0 is nobody. */
        .seed = random[1],
        .requests_max = 1,
        .silence_ns = FAR_PATIENCE_NS,
    };
    result = peer_port_open(&options, &opened->peer);
    if (result == 0)
        opened->port = peer_port_part(opened->peer);
    return result;
}

/* 0; -ENXIO: no more stores there; or with a sentence why nobody answers. */
static int far_wait(struct reading *reading, const struct reading_store *opened)
{
    struct clock *clock = reading->engine->world.clock;
    uint64_t until_ns = clock_now_ns(clock) + FAR_PATIENCE_NS;
    while (opened->port->state != PART_PORT_UP) {
        bool refused = peer_port_counts(opened->peer).refusals > 0;
        int reason = opened->port->down_reason;
        if (refused && reason == -ENXIO)
            return -ENXIO;
        if (refused || clock_now_ns(clock) >= until_ns)
            return FAIL(reason < 0 ? reason : -ETIMEDOUT, "%s", peer_port_sentence(opened->peer));
        engine_touch(reading->engine->engine);
        int result = iomesh_wait(reading->engine, FAR_TURN_NS);
        if (result < 0)
            return result;
    }
    return 0;
}

static void far_left(void *context)
{
    struct reading *reading = context;
    api_waiter_done(&reading->waiter, 0);
}

/* The last that was begun is no store. */
static void far_drop(struct reading *reading, struct rebuild *rebuild)
{
    struct reading_store *opened = reading->opened[reading->count - 1];
    reading->waiter.pending = true;
    peer_port_close(opened->peer, far_left, reading);
    (void)reading_wait(reading, 0);
    rebuild_store_drop(rebuild);
    reading->count--;
    free(opened->data);
    free(opened);
}

/* The first from that number on; the one it was. */
static int far_read(struct reading *reading, struct rebuild *rebuild, const char *address,
                    uint64_t *from)
{
    struct reading_store *opened = reading_store_new(reading, rebuild, address);
    int result = opened != NULL ? far_open(reading, opened, address, *from) : -ENOMEM;
    if (result == 0)
        result = far_wait(reading, opened);
    if (result == -ENXIO && opened != NULL && opened->peer != NULL)
        far_drop(reading, rebuild);
    if (result != 0)
        return result;
    char path[NET_ADDRESS_BYTES + 32];
    (void)snprintf(path, sizeof path, "%s, store %llu", address,
                   (unsigned long long)opened->port->store);
    char *named = strdup(path);
    if (named == NULL)
        return FAIL(-ENOMEM, "%s: no memory", path);
    free(opened->rebuild->path);
    opened->rebuild->path = named;
    opened->rebuild->id = *from = opened->port->store;
    opened->rebuild->incarnation = opened->port->incarnation;
    return reading_copies(reading, rebuild, opened);
}

int reading_far(struct reading *reading, struct rebuild *rebuild, const char *address)
{
    uint32_t before = reading->count;
    int result = 0;
    for (uint64_t from = 0; result == 0; from++)
        result = far_read(reading, rebuild, address, &from);
    if (result != -ENXIO)
        return result;
    return reading->count > before ? 0 : FAIL(-ENOENT, "%s: no store is served there", address);
}

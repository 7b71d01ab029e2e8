/* SPDX-License-Identifier: Apache-2.0 */
/* A part port without a store: it says yes to everything in the next turn, and has nothing but
 * zeros. Careful: it looks at all that it is given, so that a sanitizer sees what is not there. */
#ifndef SIM_NULL_PORT_H
#define SIM_NULL_PORT_H

#include <string.h>

#include "codec/codec.h"
#include "host/host.h"
#include "part/part.h"

struct null_port {
    struct part_port port;
    struct clock *clock;
    struct timer timer;
    struct list waiting; /* struct part_request */
    uint64_t answered;
    bool careful;
    uint64_t seen; /* So that looking has an effect. */
};

static void null_port_look(struct null_port *null, const void *memory, size_t length)
{
    if (null->careful && length > 0)
        null->seen += crc32c(memory, length);
}

static void null_port_look_at_all(struct null_port *null, struct part_request *request)
{
    bool data =
        request->kind == PART_WRITE || request->kind == PART_RESYNC || request->kind == PART_REPAIR;
    if (data)
        null_port_look(null, request->data, (size_t)request->count * BLOCK_BYTES);
    if (request->kind == PART_WRITE)
        null_port_look(null, request->crcs, request->count * sizeof *request->crcs);
    else if (data)
        null_port_look(null, request->versions, request->count * sizeof *request->versions);
    null_port_look(null, request->cuts, request->cut_count * sizeof *request->cuts);
    null_port_look(null, request->runs, request->run_count * sizeof *request->runs);
    if (request->kind == PART_RECORD) {
        null_port_look(null, request->data, request->bytes);
        null_port_look(null, request->key, strlen(request->key));
    }
}

static void null_port_answer(struct null_port *null, struct part_request *request)
{
    null_port_look_at_all(null, request);
    switch (request->kind) {
    case PART_READ:
        memset(request->data, 0, (size_t)request->count * BLOCK_BYTES);
        for (uint32_t i = 0; i < request->count; i++)
            request->crcs[i] = CRC32C_ZERO_BLOCK;
        if (request->versions != NULL)
            memset(request->versions, 0, request->count * sizeof *request->versions);
        break;
    case PART_MAP: memset(request->versions, 0, request->count * sizeof *request->versions); break;
    case PART_CHANGED:
        memset(request->versions, 0, PART_BLOCKS_MAX * sizeof *request->versions);
        break;
    case PART_VIEW_SPACE:
        if (request->cut_count > 0)
            memset(request->data, 0, request->cut_count * sizeof(struct part_view_space));
        break;
    default: break;
    }
    null->answered++;
    request->done(request, 0);
}

static void null_port_fire(struct timer *timer)
{
    struct null_port *null = CONTAINER_OF(timer, struct null_port, timer);
    struct list now;
    list_init(&now);
    list_splice_back(&now, &null->waiting);
    for (struct list *node; (node = list_pop_front(&now)) != NULL;)
        null_port_answer(null, LIST_ENTRY(node, struct part_request, node));
}

static void null_port_submit(struct part_port *port, struct part_request *request)
{
    struct null_port *null = CONTAINER_OF(port, struct null_port, port);
    list_push_back(&null->waiting, &request->node);
    if (!null->timer.set)
        clock_set_after(null->clock, &null->timer, 0);
}

static void null_port_cancel(struct part_port *port, struct part_request *request)
{
    (void)port;
    (void)request;
}

static inline void null_port_open(struct null_port *null, struct clock *clock, bool careful)
{
    static const struct part_port_ops ops = {.submit = null_port_submit,
                                             .cancel = null_port_cancel};
    *null = (struct null_port){.port = {.ops = &ops, .state = PART_PORT_UP},
                               .clock = clock,
                               .timer.fire = null_port_fire,
                               .careful = careful};
    list_init(&null->waiting);
}

#endif

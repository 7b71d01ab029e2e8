/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on the volume, and what is remembered of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cluster.h"

#define CALM_ASK_NS (5 * NS_PER_MS)
#define DATA_BYTES ((size_t)CLUSTER_REGISTERS * BLOCK_BYTES)

/* Registers lie in runs of 16, on pages of their own, in all segments. */
uint64_t cluster_block(uint32_t index)
{
    uint32_t run = index / 16;
    return (uint64_t)(run % CLUSTER_SEGMENTS) * SEGMENT_BLOCKS + run / CLUSTER_SEGMENTS * 1024ull +
           248 + index % 16; /* Over the boundary of a mebibyte. */
}

static void value_put(uint8_t *block, uint64_t value)
{
    for (unsigned i = 0; i < BLOCK_BYTES; i += 8)
        memcpy(block + i, &value, sizeof value);
}

/* --- Ends ------------------------------------------------------------------------------------- */

static void request_read(struct cluster_request *request)
{
    struct cluster *cluster = request->owner->cluster;
    cluster->counts.reads++;
    if (request->doomed)
        return; /* It may be of what is gone. */
    for (uint32_t i = 0; i < request->count; i++) {
        struct history_op op = {
            .cell = request->cells[i], .begun = request->begun, .ended = cluster->worlds.now_ns};
        if (cluster_value(cluster, request->data + (size_t)i * BLOCK_BYTES, &op.value))
            (void)cluster_note(cluster, &op);
    }
}

static bool request_changes(const struct cluster_request *request)
{
    return request->io.kind == VOLUME_WRITE || request->io.kind == VOLUME_ZERO ||
           request->io.kind == VOLUME_DISCARD;
}

static void request_failed(struct cluster_request *request, int result)
{
    struct cluster *cluster = request->owner->cluster;
    bool full = result == -ENOSPC && cluster->full && request_changes(request);
    bool corrupt = cluster_disk_is_bad(cluster);
    for (uint32_t i = 0; result == IOMESH_CORRUPT && i < request->count; i++)
        corrupt = corrupt || cluster_may_be_bad(cluster, request->cells[i]);
    cluster->counts.failed++;
    cluster->counts.full += full ? 1 : 0;
    cluster->counts.corrupt += corrupt ? 1 : 0;
    corrupt = corrupt && result == IOMESH_CORRUPT;
    if (result != IOMESH_FENCED && result != -EIO && !full && !corrupt)
        (void)cluster_wrong(cluster, "a request ended with %d", result);
}

static void request_done(struct volume_io *io, int result)
{
    struct cluster_request *request = CONTAINER_OF(io, struct cluster_request, io);
    struct cluster *cluster = request->owner->cluster;
    request->busy = false;
    request->result = result;
    if (result != 0) {
        request_failed(request, result);
    } else if (io->kind == VOLUME_READ) {
        request_read(request);
    } else if (request_changes(request)) {
        cluster->counts.writes++;
        cluster->counts.zeros += io->kind != VOLUME_WRITE ? 1 : 0;
        for (uint32_t i = 0; !request->doomed && i < request->count; i++) {
            struct history_op *op = &cluster->history[request->ops[i]];
            op->ended = cluster->worlds.now_ns;
            op->durable = (io->flags & VOLUME_FUA) != 0;
        }
    } else {
        cluster->counts.flushes++;
        cluster->flushed_ns = MAX(cluster->flushed_ns, request->begun);
    }
}

/* --- Beginning -------------------------------------------------------------------------------- */

static void request_write(struct cluster_request *request)
{
    struct cluster *cluster = request->owner->cluster;
    for (uint32_t i = 0; i < request->count; i++) {
        struct history_op op = {.cell = request->cells[i],
                                .write = true,
                                .zero = request->io.kind != VOLUME_WRITE,
                                .value = ++cluster->next_value,
                                .begun = request->begun,
                                .ended = HISTORY_NEVER};
        if (!op.zero)
            value_put(request->data + (size_t)i * BLOCK_BYTES, op.value);
        request->ops[i] = (uint32_t)cluster_note(cluster, &op);
    }
}

/* All registers of a segment. */
static void request_segment(struct cluster_request *request, uint32_t first)
{
    uint64_t segment = cluster_block(first) / SEGMENT_BLOCKS;
    request->count = 0;
    for (uint32_t cell = 0; cell < CLUSTER_REGISTERS; cell++) {
        if (cluster_block(cell) / SEGMENT_BLOCKS == segment)
            request->cells[request->count++] = cell;
    }
    request->io.offset = segment * SEGMENT_BLOCKS * BLOCK_BYTES;
    request->io.length = SEGMENT_BLOCKS * BLOCK_BYTES;
}

void cluster_request_start(struct cluster_owner *owner, struct cluster_request *request,
                           enum volume_io_kind kind, uint32_t flags, uint32_t first, uint32_t count)
{
    struct volume_io *io = &request->io;
    request->owner = owner;
    request->busy = true;
    request->doomed = false;
    request->begun = owner->cluster->worlds.now_ns;
    if (request->data == NULL)
        request->data = aligned_alloc(BLOCK_BYTES, DATA_BYTES);
    if (request->data == NULL)
        abort();
    io->kind = kind;
    io->flags = flags;
    io->data = request->data;
    io->done = request_done;
    io->offset = cluster_block(first) * BLOCK_BYTES;
    io->length = kind == VOLUME_FLUSH ? 0 : (uint64_t)count * BLOCK_BYTES;
    request->count = kind == VOLUME_FLUSH ? 0 : count;
    for (uint32_t i = 0; i < request->count; i++)
        request->cells[i] = first + i;
    if (count == 0 && kind != VOLUME_FLUSH)
        request_segment(request, first);
    if (request_changes(request))
        request_write(request);
    volume_submit(owner->volume, io);
}

static void request_draw(struct cluster_owner *owner, struct cluster_request *request)
{
    struct cluster *cluster = owner->cluster;
    struct prng *prng = &cluster->prng;
    uint32_t draw = (uint32_t)prng_below(prng, 100);
    uint32_t first = (uint32_t)prng_below(prng, CLUSTER_REGISTERS);
    uint32_t count = 1 + (uint32_t)prng_below(prng, prng_one_in(prng, 4) ? 12 : 2);
    count = MIN(count, 16 - first % 16);
    enum volume_io_kind kind = VOLUME_READ;
    bool makes_room = cluster->calm && cluster->full && draw < 30;
    if (draw < 3)
        kind = VOLUME_FLUSH;
    else if (draw < (cluster->full ? 15 : 7) && !cluster->calm)
        kind = draw < 5 || draw > 9 ? VOLUME_ZERO : VOLUME_DISCARD;
    else if (draw < 60 && !cluster->calm)
        kind = VOLUME_WRITE;
    uint32_t flags = kind == VOLUME_WRITE && prng_one_in(prng, 10) ? VOLUME_FUA : 0;
    if (kind == VOLUME_ZERO && prng_one_in(prng, 2))
        flags = VOLUME_NO_HOLE;
    if (makes_room)
        kind = VOLUME_DISCARD;
    if (kind == VOLUME_DISCARD && (makes_room || prng_one_in(prng, 6)))
        count = 0;
    cluster_request_start(owner, request, kind, flags, first, count);
}

/* Once it is calm a few are enough, however much there is to do for them. Where there is little
 * space, somebody makes some: a copy that was away may need a little more than the others have. */
void cluster_client_turn(struct cluster_owner *owner)
{
    struct cluster *cluster = owner->cluster;
    if (owner->state != OWNER_OPEN || cluster->quiet || cluster->by_hand)
        return;
    if (cluster->calm && cluster->worlds.now_ns < owner->calm_ask_ns)
        return;
    owner->calm_ask_ns = cluster->worlds.now_ns + CALM_ASK_NS;
    if (cluster->calm && cluster->full)
        cluster_owner_drop_cut(owner);
    /* One is left for that. */
    unsigned count = cluster->full && !cluster->calm ? CLUSTER_REQUESTS - 1 : CLUSTER_REQUESTS;
    for (unsigned i = 0; i < count; i++) {
        if (!owner->requests[i].busy && prng_one_in(&cluster->prng, cluster->calm ? 20 : 4))
            request_draw(owner, &owner->requests[i]);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on the volume, and what is remembered of them. */
#include <stdlib.h>
#include <string.h>

#include "sim/cluster.h"

#define DATA_BYTES ((size_t)CLUSTER_REGISTERS * BLOCK_BYTES)

size_t cluster_note(struct cluster *cluster, const struct history_op *op)
{
    if (cluster->history_count == cluster->history_capacity) {
        cluster->history_capacity = MAX((size_t)1024, 2 * cluster->history_capacity);
        cluster->history =
            realloc(cluster->history, cluster->history_capacity * sizeof *cluster->history);
        if (cluster->history == NULL)
            abort();
    }
    cluster->history[cluster->history_count] = *op;
    return cluster->history_count++;
}

static bool history_lost(const struct cluster *cluster, const struct history_op *write)
{
    return write->ended > cluster->flushed_ns && !write->durable;
}

void cluster_lose(struct cluster *cluster)
{
    size_t kept = 0;
    uint32_t *moved = calloc(cluster->history_count + 1, sizeof *moved);
    bool *lost = calloc(cluster->next_value + 1, sizeof *lost); /* By value. */
    if (moved == NULL || lost == NULL)
        abort();
    for (size_t i = 0; i < cluster->history_count; i++) {
        struct history_op *op = &cluster->history[i];
        if (!op->write || !history_lost(cluster, op))
            continue;
        lost[op->value] = true;
        op->ended = HISTORY_NEVER;
    }
    for (size_t i = 0; i < cluster->history_count; i++) {
        struct history_op op = cluster->history[i];
        if (!op.write && lost[op.value])
            continue;
        moved[i] = (uint32_t)kept;
        cluster->history[kept++] = op;
    }
    cluster->history_count = kept;
    for (unsigned o = 0; o < cluster->owner_count; o++) {
        for (unsigned r = 0; r < CLUSTER_REQUESTS; r++) {
            struct cluster_request *request = &cluster->owners[o].requests[r];
            bool writes = request->busy && request->io.kind == VOLUME_WRITE;
            request->doomed = request->doomed || request->busy;
            for (uint32_t i = 0; writes && i < request->count; i++)
                request->ops[i] = moved[request->ops[i]];
        }
    }
    free(moved);
    free(lost);
    cluster->losses++;
}

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

bool cluster_value(struct cluster *cluster, const uint8_t *block, uint64_t *ret_value)
{
    memcpy(ret_value, block, sizeof *ret_value);
    for (unsigned i = 0; i < BLOCK_BYTES; i += 8) {
        if (memcmp(block + i, block, 8) != 0)
            return cluster_wrong(cluster, "a block is a mixture");
    }
    return true;
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
            .cell = request->first + i, .begun = request->begun, .ended = cluster->worlds.now_ns};
        if (cluster_value(cluster, request->data + (size_t)i * BLOCK_BYTES, &op.value))
            (void)cluster_note(cluster, &op);
    }
}

static void request_done(struct volume_io *io, int result)
{
    struct cluster_request *request = CONTAINER_OF(io, struct cluster_request, io);
    struct cluster *cluster = request->owner->cluster;
    request->busy = false;
    if (result != 0) {
        cluster->counts.failed++;
        if (result != IOMESH_FENCED && result != -EIO)
            (void)cluster_wrong(cluster, "a request ended with %d", result);
    } else if (io->kind == VOLUME_READ) {
        request_read(request);
    } else if (io->kind == VOLUME_WRITE) {
        cluster->counts.writes++;
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
        struct history_op op = {.cell = request->first + i,
                                .write = true,
                                .value = ++cluster->next_value,
                                .begun = request->begun,
                                .ended = HISTORY_NEVER};
        value_put(request->data + (size_t)i * BLOCK_BYTES, op.value);
        request->ops[i] = (uint32_t)cluster_note(cluster, &op);
    }
}

static void request_begin(struct cluster_owner *owner, struct cluster_request *request)
{
    struct cluster *cluster = owner->cluster;
    struct prng *prng = &cluster->prng;
    uint32_t kind = (uint32_t)prng_below(prng, 100);
    request->owner = owner;
    request->busy = true;
    request->doomed = false;
    request->begun = cluster->worlds.now_ns;
    request->first = (uint32_t)prng_below(prng, CLUSTER_REGISTERS);
    request->count = 1 + (uint32_t)prng_below(prng, prng_one_in(prng, 4) ? 12 : 2);
    request->count = MIN(request->count, 16 - request->first % 16);
    if (request->data == NULL)
        request->data = aligned_alloc(BLOCK_BYTES, DATA_BYTES);
    if (request->data == NULL)
        abort();
    struct volume_io *io = &request->io;
    io->kind = kind < 3 ? VOLUME_FLUSH : kind < 60 && !cluster->calm ? VOLUME_WRITE : VOLUME_READ;
    io->flags = io->kind == VOLUME_WRITE && prng_one_in(prng, 10) ? VOLUME_FUA : 0;
    io->offset = cluster_block(request->first) * BLOCK_BYTES;
    io->length = io->kind == VOLUME_FLUSH ? 0 : (uint64_t)request->count * BLOCK_BYTES;
    io->data = request->data;
    io->done = request_done;
    if (io->kind == VOLUME_WRITE)
        request_write(request);
    volume_submit(owner->volume, io);
}

void cluster_client_turn(struct cluster_owner *owner)
{
    struct cluster *cluster = owner->cluster;
    if (owner->state != OWNER_OPEN || cluster->quiet)
        return;
    for (unsigned i = 0; i < CLUSTER_REQUESTS; i++) {
        if (!owner->requests[i].busy && prng_one_in(&cluster->prng, 4))
            request_begin(owner, &owner->requests[i]);
    }
}

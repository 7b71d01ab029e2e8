/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was asked and answered.
 *
 * Each write has a value of its own, but zeros are all the same. A read of zeros is of the one
 * write of zeros (or of the beginning) that it may have seen: one that began before the read ended,
 * and that nothing surely replaced before the read began. If there are several, it is left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cluster.h"

#define LEFT_OUT UINT64_MAX

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

bool cluster_value(struct cluster *cluster, const uint8_t *block, uint64_t *ret_value)
{
    memcpy(ret_value, block, sizeof *ret_value);
    for (unsigned i = 0; i < BLOCK_BYTES; i += 8) {
        if (memcmp(block + i, block, 8) != 0)
            return cluster_wrong(cluster, "a block is a mixture");
    }
    return true;
}

static void history_tell(const struct cluster *cluster, uint32_t cell)
{
    for (size_t i = 0; cluster->verbose && i < cluster->history_count; i++) {
        const struct history_op *op = &cluster->history[i];
        if (op->cell == cell)
            (void)fprintf(stderr, "      %s %6llu%s  %llu .. %llu\n", op->write ? "write" : "read ",
                          (unsigned long long)op->value, op->write && op->zero ? " (zeros)" : "",
                          (unsigned long long)op->begun, (unsigned long long)op->ended);
    }
}

/* --- Zeros ------------------------------------------------------------------------------------ */

/* The writes of each register, as indexes into the history. */
struct writes {
    uint32_t *of[CLUSTER_REGISTERS];
    uint32_t count[CLUSTER_REGISTERS];
};

static void writes_make(const struct cluster *cluster, struct writes *writes)
{
    memset(writes, 0, sizeof *writes);
    for (size_t i = 0; i < cluster->history_count; i++)
        writes->count[cluster->history[i].cell] += cluster->history[i].write ? 1 : 0;
    for (uint32_t cell = 0; cell < CLUSTER_REGISTERS; cell++) {
        writes->of[cell] = calloc(writes->count[cell] + 1, sizeof *writes->of[cell]);
        if (writes->of[cell] == NULL)
            abort();
        writes->count[cell] = 0;
    }
    for (size_t i = 0; i < cluster->history_count; i++) {
        uint32_t cell = cluster->history[i].cell;
        if (cluster->history[i].write)
            writes->of[cell][writes->count[cell]++] = (uint32_t)i;
    }
}

static void writes_free(struct writes *writes)
{
    for (uint32_t cell = 0; cell < CLUSTER_REGISTERS; cell++)
        free(writes->of[cell]);
}

/* May a read have seen what ended (or was there) at `ended`? */
static bool zero_lives(const struct cluster *cluster, const struct writes *writes,
                       const struct history_op *read, uint64_t ended)
{
    for (uint32_t i = 0; i < writes->count[read->cell]; i++) {
        const struct history_op *over = &cluster->history[writes->of[read->cell][i]];
        if (over->begun > ended && over->ended < read->begun)
            return false;
    }
    return true;
}

static void zero_resolve(struct cluster *cluster, const struct writes *writes,
                         struct history_op *read)
{
    uint32_t found = zero_lives(cluster, writes, read, 0) ? 1 : 0;
    uint64_t value = 0;
    for (uint32_t i = 0; i < writes->count[read->cell] && found < 2; i++) {
        const struct history_op *write = &cluster->history[writes->of[read->cell][i]];
        if (!write->zero || write->begun >= read->ended ||
            !zero_lives(cluster, writes, read, write->ended))
            continue;
        found++;
        value = write->value;
    }
    if (found == 0 && cluster->wrong[0] == '\0') {
        (void)cluster_wrong(cluster, "register %u: zeros that were overwritten, read %llu .. %llu",
                            read->cell, (unsigned long long)read->begun,
                            (unsigned long long)read->ended);
        history_tell(cluster, read->cell);
    }
    read->value = found == 1 ? value : LEFT_OUT;
}

static void zeros_resolve(struct cluster *cluster)
{
    struct writes writes;
    writes_make(cluster, &writes);
    for (size_t i = 0; i < cluster->history_count; i++) {
        struct history_op *op = &cluster->history[i];
        if (!op->write && op->value == 0 && !op->zero)
            zero_resolve(cluster, &writes, op);
        op->zero = op->write ? op->zero : true; /* A read: dealt with. */
    }
    writes_free(&writes);
}

/* --- What power takes ------------------------------------------------------------------------- */

bool cluster_may_lose(const struct cluster *cluster, const struct history_op *write)
{
    return write->ended > cluster->flushed_ns && !write->durable;
}

static void requests_move(struct cluster *cluster, const uint32_t *moved)
{
    for (unsigned o = 0; o < cluster->owner_count; o++) {
        for (unsigned r = 0; r < CLUSTER_REQUESTS; r++) {
            struct cluster_request *request = &cluster->owners[o].requests[r];
            bool writes = request->busy && request->io.kind != VOLUME_READ;
            request->doomed = request->doomed || request->busy;
            for (uint32_t i = 0; writes && i < request->count; i++)
                request->ops[i] = moved[request->ops[i]];
        }
    }
}

/* Reads of what is gone, and those that may be of anything, go. */
static void history_sift(struct cluster *cluster, const bool *lost, uint32_t *moved)
{
    size_t kept = 0;
    for (size_t i = 0; i < cluster->history_count; i++) {
        struct history_op op = cluster->history[i];
        if (!op.write && (op.value == LEFT_OUT || (lost != NULL && lost[op.value])))
            continue;
        if (moved != NULL)
            moved[i] = (uint32_t)kept;
        cluster->history[kept++] = op;
    }
    cluster->history_count = kept;
}

void cluster_lose(struct cluster *cluster)
{
    zeros_resolve(cluster);
    uint32_t *moved = calloc(cluster->history_count + 1, sizeof *moved);
    bool *lost = calloc(cluster->next_value + 1, sizeof *lost); /* By value. */
    if (moved == NULL || lost == NULL)
        abort();
    for (size_t i = 0; i < cluster->history_count; i++) {
        struct history_op *op = &cluster->history[i];
        if (!op->write || !cluster_may_lose(cluster, op))
            continue;
        lost[op->value] = true;
        op->ended = HISTORY_NEVER;
    }
    history_sift(cluster, lost, moved);
    requests_move(cluster, moved);
    free(moved);
    free(lost);
    cluster->losses++;
    cluster->counts.losses++;
}

/* --- Judgement -------------------------------------------------------------------------------- */

bool cluster_judge_history(struct cluster *cluster)
{
    const struct history_op *at = NULL;
    zeros_resolve(cluster);
    history_sift(cluster, NULL, NULL);
    enum history_fault fault = history_check(cluster->history, cluster->history_count, &at);
    if (fault == HISTORY_FINE)
        return cluster->wrong[0] == '\0';
    history_tell(cluster, at->cell);
    return cluster_wrong(cluster, "register %u, value %llu: %s", at->cell,
                         (unsigned long long)at->value, history_fault_text(fault));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#define READ_BLOCKS 32u
#define READS_MAX 16u

struct sweep {
    struct client *client;
    struct model *model;
    struct report *report;
    enum model_mode mode;
    uint64_t next; /* The first block not asked for. */
    bool refused;  /* A read failed: a violation, unless the connection has ended. */
    unsigned flying;
};

struct sweep_read {
    struct sweep *sweep;
    uint64_t block;
    unsigned blocks;
    bool busy;
    uint8_t data[READ_BLOCKS * BLOCK_BYTES];
};

static void compare(struct sweep *sweep, const struct sweep_read *read)
{
    for (unsigned i = 0; i < read->blocks && !sweep->report->violated; i++) {
        const uint8_t *bytes = read->data + i * BLOCK_BYTES;
        uint64_t block = read->block + i;
        uint64_t floor = model_floor(sweep->model, block, sweep->mode);
        uint64_t write;
        if (model_check(sweep->model, block, floor, bytes, &write, sweep->report->sentence,
                        sizeof sweep->report->sentence)) {
            model_settle(sweep->model, block, write, bytes);
        } else {
            sweep->report->violated = true;
            sweep->report->block = block;
        }
    }
}

static int sweep_read_done(void *context, int *error)
{
    struct sweep_read *read = context;
    struct sweep *sweep = read->sweep;

    read->busy = false;
    sweep->flying--;
    if (sweep->report->violated)
        return 1;
    if (*error == 0) {
        compare(sweep, read);
    } else {
        sweep->refused = true;
        sweep->report->block = read->block;
        snprintf(sweep->report->sentence, sizeof sweep->report->sentence,
                 "reading %u blocks from block %llu after the crash failed with error %d",
                 read->blocks, (unsigned long long)read->block, *error);
    }
    return 1;
}

/* Asks for the next blocks; false if the connection refused. */
static bool ask(struct sweep *sweep, struct sweep_read *read, struct nbd_handle *handle)
{
    const uint64_t left_in_extent = EXTENT_BLOCKS - sweep->next % EXTENT_BLOCKS;
    const uint64_t left = sweep->model->block_count - sweep->next;
    uint64_t blocks = READ_BLOCKS;

    blocks = blocks < left_in_extent ? blocks : left_in_extent;
    blocks = blocks < left ? blocks : left;
    read->sweep = sweep;
    read->block = sweep->next;
    read->blocks = (unsigned)blocks;
    nbd_completion_callback done = {.callback = sweep_read_done, .user_data = read};
    if (nbd_aio_pread(handle, read->data, blocks * BLOCK_BYTES,
                      model_offset(sweep->model, read->block), done, 0) < 0)
        return false;
    read->busy = true;
    sweep->next += blocks;
    sweep->flying++;
    return true;
}

enum verdict sweep(struct client *client, struct model *model, enum model_mode mode,
                   struct report *report)
{
    struct sweep sweep = {.client = client, .model = model, .report = report, .mode = mode};
    struct sweep_read *reads = calloc(READS_MAX, sizeof *reads);

    if (reads == NULL)
        abort();
    while (!report->violated && !client_dead(client) &&
           (sweep.next < model->block_count || sweep.flying > 0)) {
        for (unsigned i = 0; i < READS_MAX && sweep.next < model->block_count; i++)
            if (!reads[i].busy && !ask(&sweep, &reads[i], client->handles[i % client->count]))
                break;
        client_turn(client, 1000);
        if (sweep.refused && !client_dead(client))
            report->violated = true;
    }
    bool whole = sweep.next == model->block_count && sweep.flying == 0;
    if (!whole)
        client_close(client); /* No completion may find `reads` gone. */
    free(reads);
    if (report->violated)
        return VERDICT_VIOLATION;
    return whole ? VERDICT_FINE : VERDICT_SERVER_DIED;
}

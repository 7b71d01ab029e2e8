/* SPDX-License-Identifier: Apache-2.0 */
#include "store/part_aside.h"

#include <stdlib.h>

/* MiBs that one step deals with. */
#define ASIDE_STEPS 32u

static void aside_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct part_aside, path)->waits = false;
}

static void aside_checkpointed(void *context, int result)
{
    struct part_aside *aside = context;
    aside->waits = false;
    if (result != 0)
        aside->result = result;
    else if (aside->state == ASIDE_SEAL)
        aside->state = ASIDE_DONE;
    else if (aside->store->super.replay_batch > aside->batch)
        aside->state = ASIDE_WALK;
    else
        REACH(part_aside_clears_again);
}

static int aside_checkpoint(struct part_aside *aside)
{
    aside->waits = true;
    aside->checkpoint.done = aside_checkpointed;
    aside->checkpoint.context = aside;
    store_checkpoint(aside->store, &aside->checkpoint);
    return -EAGAIN;
}

/* The next MiB of the part that has something newer: 0, -ENOENT, -EAGAIN, an error. */
static int aside_next(struct part_aside *aside)
{
    while (aside->run < aside->run_count) {
        const struct part_run *run = &aside->runs[aside->run];
        uint64_t first = (uint64_t)run->first * SEGMENT_BLOCKS;
        uint64_t last = first + (uint64_t)run->count * SEGMENT_BLOCKS - 1;
        aside->block = MAX(aside->block, first);
        int error = -ENOENT;
        if (aside->block <= last)
            error = tree_changed_next(&aside->path, aside->part->volume, VIEW_HEAD, aside->since,
                                      last, &aside->block);
        if (error != -ENOENT) {
            if (error == 0)
                tree_path_close(&aside->path);
            return error;
        }
        aside->run++;
        aside->block = 0;
    }
    return -ENOENT;
}

static void aside_rewind(struct part_aside *aside)
{
    aside->run = 0;
    aside->block = 0;
}

void part_aside_clear(struct part_aside *aside)
{
    aside->state = ASIDE_CLEAR;
    aside->batch = journal_applied_through(aside->store->journal);
}

/* Whether there is anything at all. */
static int aside_seek(struct part_aside *aside)
{
    int error = aside_next(aside);
    if (error == -ENOENT)
        aside->state = ASIDE_DONE;
    if (error != 0)
        return error == -ENOENT ? 0 : error;
    aside_rewind(aside);
    part_aside_clear(aside);
    return 0;
}

static int aside_enter(struct part_aside *aside)
{
    struct store *store = aside->store;
    uint32_t none = 0;
    store->applying_reserved = &none; /* What comes free does so by a checkpoint. */
    int error = -EINPROGRESS;
    while (error == -EINPROGRESS)
        error = tree_enter(&aside->path, &aside->enter);
    store->applying_reserved = NULL;
    if (error != 0)
        return error;
    aside->asides += aside->enter.asides;
    aside->entering = false;
    aside->block += MAP_BLOCKS;
    return 0;
}

static int aside_walk(struct part_aside *aside)
{
    for (unsigned steps = 0; steps < ASIDE_STEPS; steps++) {
        int error = 0;
        if (!aside->entering) {
            if (store_must_throttle_pages(aside->store))
                return -EINPROGRESS; /* In a later turn. */
            error = aside_next(aside);
            if (error == -ENOENT) {
                aside->state = aside->counts ? ASIDE_DONE : ASIDE_SEAL;
                return 0;
            }
            if (error != 0)
                return error;
            aside->entering = true;
            aside->enter = (struct tree_enter){
                .how = TREE_ASIDE,
                .volume = aside->part->volume,
                .mebibyte = (uint32_t)(aside->block / MAP_BLOCKS),
                .above = aside->above,
                .count = MAP_BLOCKS,
            };
        }
        error = aside_enter(aside);
        if (error != 0)
            return error;
    }
    return -EINPROGRESS;
}

static void aside_count(struct part_aside *aside)
{
    struct part *part = aside->part;
    part->state.aside = (uint32_t)MIN(aside->asides, UINT32_MAX - 1);
    part->counted = !part->disturbed; /* Else they are counted again, when somebody asks. */
}

int part_aside_step(struct part_aside *aside)
{
    while (!aside->waits && aside->result == 0) {
        int error = 0;
        switch (aside->state) {
        case ASIDE_SEEK: error = aside_seek(aside); break;
        case ASIDE_CLEAR:
        case ASIDE_SEAL: error = aside_checkpoint(aside); break;
        case ASIDE_WALK: error = aside_walk(aside); break;
        case ASIDE_DONE: aside_count(aside); return 0;
        }
        if (error == -EAGAIN)
            aside->waits = true;
        else if (error == -EINPROGRESS)
            return -EAGAIN;
        else if (error != 0)
            aside->result = error;
    }
    return aside->waits ? -EAGAIN : aside->result;
}

bool part_aside_may_end(const struct part_aside *aside)
{
    return !aside->waits || (aside->state != ASIDE_CLEAR && aside->state != ASIDE_SEAL);
}

struct part_aside *part_aside_begin(struct parts *parts, struct part *part,
                                    const struct part_run *runs, uint32_t run_count, bool counts)
{
    struct part_aside *aside = calloc(1, sizeof *aside);
    if (aside == NULL)
        return NULL;
    const struct part_state *state = &part->state;
    aside->store = parts->store;
    aside->part = part;
    part->disturbed = false;
    aside->runs = runs;
    aside->run_count = run_count;
    aside->since = state->watermark;
    aside->above = counts ? UINT64_MAX : MAX(state->watermark, state->heard);
    aside->counts = counts;
    aside->state = counts ? ASIDE_WALK : ASIDE_SEEK;
    tree_path_init(&aside->path, parts->store->tree, aside_woken);
    return aside;
}

void part_aside_end(struct part_aside *aside)
{
    if (aside == NULL)
        return;
    tree_path_close(&aside->path);
    free(aside);
}

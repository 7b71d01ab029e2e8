/* SPDX-License-Identifier: Apache-2.0 */
/*
 * States of parts on their way to the log: a block of them at a time, as any write, a few at once.
 *
 *   clean ──▶ stale (a checkpoint comes) ──▶ dirty ──▶ written ──▶ clean, or dirty again
 */
#include <stdlib.h>
#include <string.h>

#include "store/parts.h"

static void block_queue(struct parts *parts, struct part_block *block)
{
    list_remove(&block->node);
    if (!block->writing)
        list_push_back(&parts->dirty, &block->node);
}

void part_changed(struct parts *parts, struct part *part)
{
    struct part_block *block = part->home;
    block->version++;
    block->error = 0;
    block_queue(parts, block);
}

void part_keep_settled(struct parts *parts, struct part *part)
{
    if (part->home != NULL && part->state.settled > part->settled_kept)
        part_changed(parts, part);
}

void part_stale(struct parts *parts, struct part *part)
{
    struct part_block *block = part->home;
    if (!list_empty(&block->node))
        return;
    list_push_back(&parts->stale, &block->node);
}

void parts_save(struct parts *parts)
{
    for (struct list *node; (node = list_pop_front(&parts->stale)) != NULL;) {
        struct part_block *block = LIST_ENTRY(node, struct part_block, node);
        block->version++;
        block->error = 0;
        block_queue(parts, block);
    }
}

bool parts_saved(const struct parts *parts)
{
    return list_empty(&parts->dirty) && parts->dirty_count == 0;
}

static void block_encode(const struct part_block *block, uint8_t *bytes)
{
    for (unsigned i = 0; i < PART_STATES_PER_BLOCK; i++) {
        struct part *part = block->parts[i];
        struct part_saved saved = {.used = part != NULL && !part->gone};
        if (saved.used) {
            const struct part_state *state = &part->state;
            saved.role = state->role;
            saved.retired = part->retired;
            saved.counted = part->counted;
            saved.group = part->group;
            saved.volume = part->volume;
            saved.epoch = state->epoch;
            saved.watermark = state->watermark;
            saved.heard = state->heard;
            saved.settled = part->settled_kept = state->settled;
            saved.flushed = state->flushed;
            saved.generation = state->generation;
            saved.role_generation = state->role_generation;
            saved.aside = state->aside;
            saved.boot = part->boot;
        }
        part_state_put(bytes + (size_t)i * PART_STATE_BYTES, &saved);
    }
}

static void save_done(struct store_op *op, int result)
{
    struct part_save *save = CONTAINER_OF(op, struct part_save, op);
    struct parts *parts = save->parts;
    struct part_block *block = save->block;
    save->block = NULL;
    block->writing = false;
    parts->dirty_count--;
    if (result == 0)
        block->saved = save->version;
    else
        block->error = result;
    if (block->version > save->version) {
        block->error = 0;
        block_queue(parts, block);
    }
}

static void save_begin(struct part_save *save, struct part_block *block)
{
    struct parts *parts = save->parts;
    save->block = block;
    save->version = block->version;
    block->writing = true;
    parts->dirty_count++;
    block_encode(block, save->bytes);
    struct store_op *op = &save->op;
    op->kind = STORE_WRITE;
    op->volume = VOLUME_PARTS;
    op->view = VIEW_HEAD;
    op->block = block->number;
    op->count = 1;
    op->data = save->bytes;
    op->sequence = ++parts->sequence;
    op->system = true;
    op->unlogged = parts->unlogged && !MUTANT(380);
    op->done = save_done;
    store_submit(parts->store, op);
}

static int saves_open(struct parts *parts)
{
    struct part_save *saves = calloc(PART_SAVES, sizeof *saves);
    uint8_t *bytes = aligned_alloc(BLOCK_BYTES, (size_t)PART_SAVES * BLOCK_BYTES);
    if (saves == NULL || bytes == NULL) {
        free(saves);
        free(bytes);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < PART_SAVES; i++) {
        saves[i].parts = parts;
        saves[i].bytes = bytes + (size_t)i * BLOCK_BYTES;
    }
    parts->saves = saves;
    return 0;
}

void parts_save_turn(struct parts *parts)
{
    if (list_empty(&parts->dirty))
        return;
    if (parts->saves == NULL && saves_open(parts) != 0) {
        for (struct list *node; (node = list_pop_front(&parts->dirty)) != NULL;)
            LIST_ENTRY(node, struct part_block, node)->error = -ENOMEM;
        return;
    }
    for (unsigned i = 0; i < PART_SAVES && !list_empty(&parts->dirty); i++) {
        struct part_save *save = &parts->saves[i];
        if (save->block == NULL) {
            struct list *node = list_pop_front(&parts->dirty);
            save_begin(save, LIST_ENTRY(node, struct part_block, node));
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Parts in memory: by their names, and by their places on disk. */
#include <stdlib.h>

#include "store/records.h"

#define ROWS_MIN 64u

static uint32_t row_of(const struct parts *parts, uint64_t volume, uint32_t group)
{
    uint64_t mixed = (volume ^ (uint64_t)group << 40) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(mixed >> 32) & (parts->row_count - 1);
}

struct part *part_find(const struct parts *parts, uint64_t volume, uint32_t group)
{
    if (parts->count == 0)
        return NULL;
    struct part *part = parts->rows[row_of(parts, volume, group)];
    while (part != NULL && (part->volume != volume || part->group != group))
        part = part->next;
    return part;
}

/* Twice as many rows, when there are as many parts. */
static int rows_grow(struct parts *parts)
{
    uint32_t before = parts->row_count;
    struct part **old = parts->rows;
    uint32_t count = before == 0 ? ROWS_MIN : 2 * before;
    struct part **rows = calloc(count, sizeof *rows);
    if (rows == NULL)
        return -ENOMEM;
    parts->rows = rows;
    parts->row_count = count;
    for (uint32_t i = 0; i < before; i++) {
        for (struct part *part = old[i], *next; part != NULL; part = next) {
            next = part->next;
            uint32_t row = row_of(parts, part->volume, part->group);
            part->next = rows[row];
            rows[row] = part;
        }
    }
    free(old);
    return 0;
}

struct part *part_make(struct parts *parts, uint64_t volume, uint32_t group)
{
    struct part *part = part_find(parts, volume, group);
    uint32_t most = parts->store->options.parts_max;
    if (part != NULL)
        return part;
    if (parts->count >= (most == 0 ? PARTS_MAX : most) ||
        (parts->count == parts->row_count && rows_grow(parts) != 0))
        return NULL;
    part = calloc(1, sizeof *part);
    if (part == NULL)
        return NULL;
    uint32_t row = row_of(parts, volume, group);
    part->volume = volume;
    part->group = group;
    part->boot = parts->store->super.boot;
    part->counted = true;
    list_init(&part->entered);
    part->next = parts->rows[row];
    parts->rows[row] = part;
    parts->count++;
    return part;
}

static void row_remove(struct parts *parts, struct part *part)
{
    struct part **at = &parts->rows[row_of(parts, part->volume, part->group)];
    while (*at != part)
        at = &(*at)->next;
    *at = part->next;
    parts->count--;
}

struct part *part_next(const struct parts *parts, const struct part *part, uint64_t volume)
{
    if (parts->count == 0)
        return NULL;
    uint32_t row = part != NULL ? row_of(parts, part->volume, part->group) : 0;
    struct part *next = part != NULL ? part->next : parts->rows[0];
    for (;;) {
        for (; next != NULL; next = next->next) {
            if (volume == 0 || next->volume == volume)
                return next;
        }
        if (++row >= parts->row_count)
            return NULL;
        next = parts->rows[row];
    }
}

/* --- Places --------------------------------------------------------------------------------- */

static int blocks_grow(struct parts *parts, uint32_t count)
{
    if (count > parts->block_room) {
        uint32_t room = MAX(count, MAX(16u, 2 * parts->block_room));
        struct part_block **blocks = realloc(parts->blocks, room * sizeof *blocks);
        if (blocks == NULL)
            return -ENOMEM;
        parts->blocks = blocks;
        parts->block_room = room;
    }
    while (parts->block_count < count) {
        struct part_block *block = calloc(1, sizeof *block);
        if (block == NULL)
            return -ENOMEM;
        block->number = parts->block_count;
        list_init(&block->node);
        parts->blocks[parts->block_count++] = block;
    }
    return 0;
}

int part_settle_at(struct parts *parts, struct part *part, uint32_t number, uint32_t index)
{
    int error = blocks_grow(parts, number + 1);
    if (error != 0)
        return error;
    struct part_block *block = parts->blocks[number];
    if (block->parts[index] != NULL || part->home != NULL)
        return IOMESH_CORRUPT; /* Two claim one place, or one claims two. */
    block->parts[index] = part;
    block->used++;
    part->home = block;
    parts->store->super.parts = true;
    part->index = index;
    return 0;
}

int part_settle(struct parts *parts, struct part *part)
{
    uint32_t number = 0, index = 0;
    while (number < parts->block_count && parts->blocks[number]->used == PART_STATES_PER_BLOCK)
        number++;
    if (number < parts->block_count) {
        while (parts->blocks[number]->parts[index] != NULL)
            index++;
    }
    return part_settle_at(parts, part, number, index);
}

static void part_free(struct parts *parts, struct part *part)
{
    if (part->home != NULL) {
        part->home->parts[part->index] = NULL;
        part->home->used--;
    }
    row_remove(parts, part);
    free(part->runs);
    free(part);
}

void part_drop(struct parts *parts, struct part *part)
{
    part->gone = true;
    if (part->home != NULL)
        part_changed(parts, part);
    if (part->refs == 0)
        part_free(parts, part);
}

void part_let_go(struct parts *parts, struct part *part)
{
    assert(part->refs > 0);
    part->refs--;
    if (part->refs == 0 && part->gone)
        part_free(parts, part);
}

/* --- Life ----------------------------------------------------------------------------------- */

int store_parts_open(struct store *store)
{
    struct parts *parts = calloc(1, sizeof *parts);
    if (parts == NULL)
        return FAIL(-ENOMEM, "opening a store: no memory");
    parts->store = store;
    parts->uncertain_from = UINT64_MAX;
    list_init(&parts->dirty);
    list_init(&parts->stale);
    list_init(&parts->free_calls);
    list_init(&parts->queued);
    list_init(&parts->held);
    list_init(&parts->ended);
    list_init(&parts->controls);
    store->parts = parts;
    return 0;
}

void store_parts_reset(struct store *store)
{
    struct parts *parts = store->parts;
    for (uint32_t i = 0; i < parts->row_count; i++) {
        for (struct part *part = parts->rows[i], *next; part != NULL; part = next) {
            next = part->next;
            free(part->runs);
            free(part);
        }
        parts->rows[i] = NULL;
    }
    for (uint32_t i = 0; i < parts->block_count; i++)
        free(parts->blocks[i]);
    parts->count = parts->block_count = parts->dirty_count = 0;
    parts->uncertain_from = UINT64_MAX;
    parts->sequence = 0;
    list_init(&parts->dirty);
    list_init(&parts->stale);
}

void store_parts_close(struct store *store)
{
    struct parts *parts = store->parts;
    if (parts == NULL)
        return;
    store_parts_reset(store);
    records_free(parts);
    free(parts->rows);
    free(parts->blocks);
    if (parts->saves != NULL)
        free(parts->saves[0].bytes);
    free(parts->saves);
    free(parts->calls);
    if (parts->repair != NULL)
        free(parts->repair->bytes);
    free(parts->repair);
    free(parts->load);
    free(parts);
    store->parts = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which copies of metadata records there are: every half that has a head is read once. */
#include <stdlib.h>
#include <string.h>

#include "store/records.h"

#define LAST_BLOCK ((uint64_t)RECORDS_MAX * METADATA_COPY_SLOT_BLOCKS - 1)

int records_make_room(struct records *records)
{
    if (records->count < records->room)
        return 0;
    uint32_t room = MAX(2 * records->room, 64u);
    struct record_copy **copies = realloc(records->copies, room * sizeof *copies);
    if (copies == NULL)
        return -ENOMEM;
    records->copies = copies;
    records->room = room;
    return 0;
}

void records_forget_all(struct records *records)
{
    for (uint32_t i = 0; i < records->count; i++)
        free(records->copies[i]);
    records->count = 0;
    records->free_from = 0;
    memset(records->used, 0, sizeof records->used);
}

uint32_t records_position(const struct records *records, const char *key, bool *ret_there)
{
    uint32_t low = 0, high = records->count;
    *ret_there = false;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(records->copies[middle]->key, key);
        if (order == 0) {
            *ret_there = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- One half ------------------------------------------------------------------------------- */

static uint32_t half_slot(const struct records *records)
{
    uint64_t block = records->page + (uint64_t)records->half * METADATA_COPY_HALF_BLOCKS;
    return (uint32_t)(block / METADATA_COPY_SLOT_BLOCKS);
}

static int copy_load(struct records *records, const struct metadata_copy *found)
{
    uint32_t slot = half_slot(records);
    struct record_copy *last = records->count > 0 ? records->copies[records->count - 1] : NULL;
    if (last != NULL && last->slot == slot) {
        if (last->number > found->number)
            return 0;
        free(last);
        records->count--;
    }
    struct record_copy *copy = malloc(sizeof *copy + found->key_length + 1);
    if (copy == NULL || records_make_room(records) != 0) {
        free(copy);
        return -ENOMEM;
    }
    copy->number = found->number;
    copy->slot = slot;
    copy->bytes = found->bytes;
    copy->half = records->half % 2;
    memcpy(copy->key, found->key, found->key_length + 1);
    records->copies[records->count++] = copy;
    records_mark(records, slot, true);
    return 0;
}

/* What is damaged is told by whoever read it. Its slot is left alone. */
static int half_read(struct records *records)
{
    struct metadata_copy found;
    int error = records->result;
    if (error == IOMESH_FAILED || error == -ESHUTDOWN)
        return error;
    if (error != 0) {
        records_mark(records, half_slot(records), true);
        return 0;
    }
    error = metadata_copy_get(records->bytes, records->length * BLOCK_BYTES, &found);
    if (error != 0) /* Not all of it arrived before a crash. */
        return 0;
    return copy_load(records, &found);
}

/* Sends for the next half of the page that has a head. False: there is none. */
static bool half_next(struct records *records)
{
    for (; records->half < RECORDS_HALVES; records->half++) {
        uint32_t from = records->half * METADATA_COPY_HALF_BLOCKS;
        if (records->versions[from].kind == POINTER_BAD)
            records_mark(records, half_slot(records), true);
        if (records->versions[from].kind != POINTER_RAW)
            continue;
        uint32_t length = 1;
        while (length < METADATA_COPY_BLOCKS_MAX &&
               records->versions[from + length].kind == POINTER_RAW)
            length++;
        records->length = length;
        records->state = RECORDS_HALF;
        records_send(records, STORE_READ, records->page + from, length);
        return true;
    }
    return false;
}

/* --- All of them ---------------------------------------------------------------------------- */

static int copy_order(const void *left, const void *right)
{
    const struct record_copy *const *a = left, *const *b = right;
    int order = strcmp((*a)->key, (*b)->key);
    return order != 0 ? order : (*a)->number < (*b)->number ? -1 : 1;
}

/* One that could not be read once may have been kept again elsewhere: the newer counts, and the
 * other's slot is left alone. */
static void find_end(struct records *records)
{
    if (records->count > 0)
        qsort(records->copies, records->count, sizeof *records->copies, copy_order);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < records->count; i++) {
        struct record_copy *copy = records->copies[i];
        if (kept > 0 && strcmp(records->copies[kept - 1]->key, copy->key) == 0)
            free(records->copies[--kept]);
        records->copies[kept++] = copy;
    }
    records->count = kept;
    records->known = true;
}

static void find_page(struct records *records, uint64_t from)
{
    records->state = RECORDS_FIND;
    records_send(records, STORE_CHANGED, from, 1);
}

void records_find_begin(struct records *records)
{
    records_forget_all(records);
    find_page(records, 0);
}

int records_find_step(struct records *records)
{
    int error = 0;
    if (records->state == RECORDS_HALF) {
        error = half_read(records);
        records->half++;
    } else if (records->result == 0) {
        records->page = records->op.found;
        records->half = 0;
        for (uint32_t i = 0; i < MAP_BLOCKS; i++)
            records->number = MAX(records->number, records->versions[i].sequence);
    } else if (records->result == -ENOENT) {
        find_end(records);
        return 0;
    } else {
        error = records->result;
    }
    if (error != 0)
        return error;
    if (half_next(records))
        return -EAGAIN;
    if (records->page + MAP_BLOCKS > LAST_BLOCK) {
        find_end(records);
        return 0;
    }
    find_page(records, records->page + MAP_BLOCKS);
    return -EAGAIN;
}

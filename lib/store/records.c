/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of metadata records: keeping, forgetting, listing. */
#include "store/records.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(PART_RECORD_BYTES_MAX == METADATA_COPY_BYTES_MAX &&
                   PART_RECORD_KEY_BYTES_MAX == METADATA_COPY_KEY_BYTES_MAX &&
                   METADATA_COPY_ENTRY_BYTES + METADATA_COPY_KEY_BYTES_MAX +
                           METADATA_COPY_BYTES_MAX <=
                       PART_RECORDS_BLOCKS_MIN * BLOCK_BYTES,
               "what part.h promises");

/* --- Asking the store ----------------------------------------------------------------------- */

static void records_op_done(struct store_op *op, int result)
{
    struct records *records = CONTAINER_OF(op, struct records, op);
    records->waits = false;
    records->result = result;
}

void records_send(struct records *records, enum store_op_kind kind, uint64_t block, uint32_t count)
{
    struct store_op *op = &records->op;
    bool changes = kind == STORE_WRITE || kind == STORE_ZERO;
    op->kind = kind;
    op->volume = VOLUME_RECORDS;
    op->view = VIEW_HEAD;
    op->block = block;
    op->count = count;
    op->data = kind == STORE_WRITE || kind == STORE_READ ? records->bytes : NULL;
    op->sequence = changes ? ++records->number : 0;
    op->since = 0;
    op->last = (uint64_t)RECORDS_MAX * METADATA_COPY_SLOT_BLOCKS - 1;
    op->versions = kind == STORE_CHANGED ? records->versions : NULL;
    op->system = true;
    op->done = records_op_done;
    records->waits = true;
    store_submit(records->parts->store, op);
}

static void records_flushed(struct store_flush *flush, int result)
{
    struct records *records = CONTAINER_OF(flush, struct records, flush);
    records->waits = false;
    records->result = result;
}

static void records_flush(struct records *records)
{
    records->waits = true;
    records->flush.done = records_flushed;
    store_flush(records->parts->store, &records->flush);
}

static void records_end(struct records *records, int result)
{
    struct part_request *request = records->request;
    if (records->fresh)
        free(records->copy);
    records->copy = NULL;
    records->fresh = false;
    records->request = NULL;
    records->state = RECORDS_IDLE;
    part_end(records->parts, request, NULL, result == -ESHUTDOWN ? -ECONNRESET : result);
}

/* --- Keeping -------------------------------------------------------------------------------- */

static int slot_take(struct records *records, uint32_t *ret_slot)
{
    for (uint32_t slot = records->free_from; slot < RECORDS_MAX; slot++) {
        if (records->used[slot / 8] >> slot % 8 & 1)
            continue;
        records->free_from = slot;
        *ret_slot = slot;
        return 0;
    }
    return -ENOSPC;
}

static int copy_make(struct records *records)
{
    const char *key = records->request->key;
    uint32_t slot;
    assert(key != NULL);
    int error = slot_take(records, &slot);
    if (error == 0)
        error = records_make_room(records);
    if (error != 0)
        return error;
    size_t length = strlen(key);
    struct record_copy *copy = calloc(1, sizeof *copy + length + 1);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy->key, key, length + 1);
    copy->slot = slot;
    records->copy = copy;
    records->fresh = true;
    return 0;
}

static void keep_begin(struct records *records)
{
    const struct part_request *request = records->request;
    uint32_t count = metadata_copy_blocks(request->bytes);
    assert(request->key != NULL && request->data != NULL);
    if (records->copy == NULL) {
        int error = copy_make(records);
        if (error != 0) {
            records_end(records, error);
            return;
        }
    }
    struct record_copy *copy = records->copy;
    records->old_half = copy->half;
    bool over = records->fresh || (count == 1 && metadata_copy_blocks(copy->bytes) == 1);
    uint32_t half = over ? copy->half : 1u - copy->half;
    struct metadata_copy next = {.number = records->number + 1,
                                 .bytes = request->bytes,
                                 .key_length = (uint32_t)strlen(request->key),
                                 .data = request->data};
    memcpy(next.key, request->key, next.key_length);
    metadata_copy_put(records->bytes, &next);
    records->half = half;
    records->state = RECORDS_WRITE;
    records_send(records, STORE_WRITE, records_block(copy->slot, half), count);
}

static void keep_written(struct records *records)
{
    struct record_copy *copy = records->copy;
    copy->half = (uint8_t)records->half;
    copy->bytes = records->request->bytes;
    copy->number = records->number;
    if (records->fresh) {
        bool there;
        uint32_t at = records_position(records, copy->key, &there);
        assert(!there);
        memmove(&records->copies[at + 1], &records->copies[at],
                (records->count - at) * sizeof(struct record_copy *));
        records->copies[at] = copy;
        records->count++;
        records_mark(records, copy->slot, true);
        records->fresh = false;
    }
    if (copy->half == records->old_half) {
        records_end(records, 0);
        return;
    }
    records->state = RECORDS_FLUSH;
    records_flush(records);
}

/* --- Forgetting ----------------------------------------------------------------------------- */

static void forget_half(struct records *records, enum records_state state, uint32_t half)
{
    records->state = state;
    records_send(records, STORE_ZERO, records_block(records->copy->slot, half),
                 METADATA_COPY_HALF_BLOCKS);
}

static void forget_ended(struct records *records)
{
    struct record_copy *copy = records->copy;
    bool there;
    uint32_t at = records_position(records, copy->key, &there);
    assert(there);
    memmove(&records->copies[at], &records->copies[at + 1],
            (records->count - at - 1) * sizeof(struct record_copy *));
    records->count--;
    records_mark(records, copy->slot, false);
    records->free_from = MIN(records->free_from, copy->slot);
    free(copy);
    records_end(records, 0);
}

/* --- Listing -------------------------------------------------------------------------------- */

static void list_next(struct records *records)
{
    const struct part_request *request = records->request;
    if (records->at == records->count) {
        records_end(records, 0);
        return;
    }
    const struct record_copy *copy = records->copies[records->at];
    if (request->key != NULL && strncmp(copy->key, request->key, request->group) != 0) {
        records_end(records, 0);
        return;
    }
    uint64_t length = METADATA_COPY_ENTRY_BYTES + strlen(copy->key) + copy->bytes;
    if (request->bytes + length > (uint64_t)request->count * BLOCK_BYTES) {
        records_end(records, 0);
        return;
    }
    records->state = RECORDS_LIST;
    records->length = metadata_copy_blocks(copy->bytes);
    records_send(records, STORE_READ, records_block(copy->slot, copy->half), records->length);
}

static void list_read(struct records *records)
{
    struct part_request *request = records->request;
    struct metadata_copy copy;
    bool whole = records->result == 0 &&
                 metadata_copy_get(records->bytes, records->length * BLOCK_BYTES, &copy) == 0;
    if (records->result == IOMESH_FAILED || records->result == -ESHUTDOWN) {
        records_end(records, records->result);
        return;
    }
    records->at++;
    if (whole) {
        uint8_t *to = (uint8_t *)request->data + request->bytes;
        request->bytes +=
            metadata_copy_list(to, request->count * BLOCK_BYTES - request->bytes, &copy);
        request->found++;
    }
    list_next(records);
}

/* --- Steps ---------------------------------------------------------------------------------- */

static void request_begin(struct records *records)
{
    struct part_request *request = records->request;
    bool there = false;
    uint32_t at = request->key == NULL ? 0 : records_position(records, request->key, &there);
    if (request->kind == PART_RECORDS) {
        records->at = there ? at + 1 : at;
        request->bytes = 0;
        request->found = 0;
        list_next(records);
        return;
    }
    records->copy = there ? records->copies[at] : NULL;
    if (request->bytes > 0)
        keep_begin(records);
    else if (there)
        forget_half(records, RECORDS_FORGET, 1u - records->copy->half);
    else
        records_end(records, 0);
}

static void records_search(struct records *records)
{
    int error = records_find_step(records);
    if (error == 0)
        request_begin(records);
    else if (error != -EAGAIN)
        records_end(records, error);
}

static void records_changed(struct records *records)
{
    if (records->result != 0) {
        records_end(records, records->result);
        return;
    }
    switch (records->state) {
    case RECORDS_WRITE: keep_written(records); break;
    case RECORDS_FLUSH: forget_half(records, RECORDS_TRIM, records->old_half); break;
    case RECORDS_TRIM: records_end(records, 0); break;
    case RECORDS_FORGET: forget_half(records, RECORDS_FORGET_REST, records->copy->half); break;
    default: forget_ended(records); break;
    }
}

static void records_step(struct records *records)
{
    switch (records->state) {
    case RECORDS_IDLE:
        if (records->known)
            request_begin(records);
        else
            records_find_begin(records);
        break;
    case RECORDS_FIND:
    case RECORDS_HALF: records_search(records); break;
    case RECORDS_LIST: list_read(records); break;
    default: records_changed(records); break;
    }
}

void records_turn(struct parts *parts)
{
    struct records *records = parts->records;
    while (records != NULL && !records->waits) {
        if (records->request == NULL) {
            struct list *node = list_pop_front(&records->queue);
            if (node == NULL)
                return;
            records->request = LIST_ENTRY(node, struct part_request, node);
        }
        records_step(records);
    }
}

bool records_need_turn(const struct parts *parts)
{
    return !records_idle(parts) && !parts->records->waits;
}

bool records_idle(const struct parts *parts)
{
    const struct records *records = parts->records;
    return records == NULL || (records->request == NULL && list_empty(&records->queue));
}

/* --- Coming and going ----------------------------------------------------------------------- */

static struct records *records_open(struct parts *parts)
{
    struct records *records = calloc(1, sizeof *records);
    uint8_t *bytes = aligned_alloc(BLOCK_BYTES, METADATA_COPY_BLOCKS_MAX * BLOCK_BYTES);
    if (records == NULL || bytes == NULL) {
        free(records);
        free(bytes);
        return NULL;
    }
    records->parts = parts;
    records->bytes = bytes;
    list_init(&records->queue);
    return records;
}

void records_begin(struct parts *parts, struct part_request *request)
{
    if (request->kind == PART_RECORD && request->bytes > PART_RECORD_BYTES_MAX) {
        part_end(parts, request, NULL, -E2BIG);
        return;
    }
    if (parts->records == NULL)
        parts->records = records_open(parts);
    if (parts->records == NULL)
        part_end(parts, request, NULL, -ENOMEM);
    else
        list_push_back(&parts->records->queue, &request->node);
}

bool records_cancel(struct parts *parts, struct part_request *request)
{
    if (parts->records == NULL)
        return false;
    LIST_EACH (&parts->records->queue, node) {
        if (node == &request->node) {
            part_end(parts, request, NULL, -ECANCELED);
            return true;
        }
    }
    return false;
}

void records_free(struct parts *parts)
{
    struct records *records = parts->records;
    if (records == NULL)
        return;
    records_forget_all(records);
    free(records->copies);
    free(records->bytes);
    free(records);
    parts->records = NULL;
}

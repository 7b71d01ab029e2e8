/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that are one operation of the store: writing, zeroing, reading, and what is where. */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "store/part_resync.h"

static void call_free(struct part_call *call)
{
    struct parts *parts = call->parts;
    part_let_go(parts, call->part);
    call->part = NULL;
    call->request = NULL;
    list_remove(&call->node);
    list_push_front(&parts->free_calls, &call->node);
}

void part_call_end(struct part_call *call, int result)
{
    result = result == -ESHUTDOWN ? -ECONNRESET : result;
    part_end(call->parts, call->request, call->part, result);
    call_free(call);
}

static void call_flushed(struct store_flush *flush, int result)
{
    part_call_end(CONTAINER_OF(flush, struct part_call, flush), result);
}

/* CRCs of what was read; those of zeros are known. */
static void call_sums(const struct part_call *call)
{
    static const uint8_t zeros[BLOCK_BYTES];
    const struct part_request *request = call->request;
    uint32_t none = crc32c(zeros, sizeof zeros);
    for (uint32_t i = 0; request->crcs != NULL && i < request->count; i++)
        request->crcs[i] = call->op.kinds[i] == POINTER_RAW ? call->op.crcs[i] : none;
}

static int call_read(const struct part_call *call, int result)
{
    struct part_request *request = call->request;
    call_sums(call);
    memcpy(request->bad, call->op.bad, sizeof request->bad);
    for (uint32_t i = 0; i < request->count; i++) {
        if (call->op.kinds[i] == POINTER_SET_ASIDE)
            return -EAGAIN;
    }
    return result == -EIO ? IOMESH_CORRUPT : result;
}

static void call_done(struct store_op *op, int result)
{
    struct part_call *call = CONTAINER_OF(op, struct part_call, op);
    struct part_request *request = call->request;
    if (request->kind == PART_READ && result != IOMESH_FAILED) {
        result = call_read(call, result);
    } else if (request->kind == PART_CHANGED && result == 0) {
        request->found = op->found;
        memcpy(request->changed, op->changed, sizeof request->changed);
    }
    bool changes = request->kind == PART_WRITE || request->kind == PART_ZERO;
    if (result == 0 && changes && request->fua) {
        call->flush.done = call_flushed;
        store_flush(call->parts->store, &call->flush);
        return;
    }
    part_call_end(call, result);
}

static void call_fill(struct part_call *call)
{
    static const enum store_op_kind kinds[] = {
        [PART_WRITE] = STORE_WRITE, [PART_ZERO] = STORE_ZERO,       [PART_READ] = STORE_READ,
        [PART_MAP] = STORE_MAP,     [PART_CHANGED] = STORE_CHANGED,
    };
    const struct part_request *request = call->request;
    struct store_op *op = &call->op;
    op->kind = kinds[request->kind];
    op->volume = request->volume;
    op->view =
        request->kind == PART_WRITE || request->kind == PART_ZERO ? VIEW_HEAD : request->view;
    op->block = request->block;
    op->count = request->kind == PART_CHANGED ? 1 : request->count;
    op->data = request->data;
    op->sequence = request->sequence;
    op->epoch = request->epoch;
    op->cut = request->cut;
    op->views = request->views;
    op->parent = request->parent;
    /* What is copied to one that catches up may be older than these zeros, and come later. */
    op->exact = call->part->state.role != PART_IN_SYNC && !MUTANT(334);
    op->since = request->since;
    op->last = request->last;
    op->group = (uint16_t)request->group;
    op->versions = request->versions;
    op->guarded = request->kind == PART_WRITE || request->kind == PART_ZERO;
    op->summed = request->kind == PART_WRITE;
    op->done = call_done;
}

/* What came is what was sent. */
static bool call_sums_right(struct part_call *call)
{
    const struct part_request *request = call->request;
    const uint8_t *data = request->data;
    for (uint32_t i = 0; request->kind == PART_WRITE && i < request->count; i++) {
        call->op.crcs[i] = crc32c(data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES);
        if (call->op.crcs[i] != request->crcs[i])
            return false;
    }
    return true;
}

static bool call_walks(const struct part_request *request)
{
    return request->kind == PART_RESYNC || request->kind == PART_REPAIR;
}

static int repair_open(struct parts *parts)
{
    if (parts->repair != NULL)
        return 0;
    struct part_repair *repair = calloc(1, sizeof *repair);
    uint8_t *bytes = aligned_alloc(BLOCK_BYTES, (size_t)RECORD_REPAIR_BLOCKS * BLOCK_BYTES);
    if (repair == NULL || bytes == NULL) {
        free(repair);
        free(bytes);
        return -ENOMEM;
    }
    repair->bytes = bytes;
    parts->repair = repair;
    return 0;
}

/* Another walks in the same MiB, or repairs as this one wants to. */
static bool call_must_wait(const struct parts *parts, const struct part_request *request)
{
    for (uint32_t i = 0; i < PART_CALLS && call_walks(request); i++) {
        const struct part_request *other = parts->calls[i].request;
        if (other == NULL || !call_walks(other))
            continue;
        bool same = other->volume == request->volume &&
                    other->block / MAP_BLOCKS == request->block / MAP_BLOCKS;
        if (same || (other->kind == PART_REPAIR && request->kind == PART_REPAIR))
            return true;
    }
    return false;
}

static void call_start(struct parts *parts, struct part_request *request, struct part *part,
                       uint64_t turn)
{
    struct part_call *call = LIST_ENTRY(list_pop_front(&parts->free_calls), struct part_call, node);
    call->request = request;
    call->part = part;
    call->turn = turn;
    call->canceled = false;
    part->refs++;
    if (call_walks(request)) {
        int error = part_resync_check(request);
        if (error != 0)
            part_call_end(call, error);
        else
            part_resync_begin(call);
        return;
    }
    if (!call_sums_right(call)) {
        part_call_end(call, IOMESH_CORRUPT);
        return;
    }
    if (request->kind == PART_WRITE || request->kind == PART_ZERO)
        part_hears(parts, part, request);
    call_fill(call);
    store_submit(parts->store, &call->op);
}

void part_call_begin(struct parts *parts, struct part_request *request, struct part *part)
{
    bool whole = part->state.role == PART_IN_SYNC || (MUTANT(360) && request->epoch == 0);
    if (request->kind == PART_READ && !request->settle && !whole) {
        part_end(parts, request, part, IOMESH_CONFLICT);
        return;
    }
    if (request->kind == PART_REPAIR && repair_open(parts) != 0) {
        part_end(parts, request, part, -ENOMEM);
        return;
    }
    request->number = part->turn;
    if (list_empty(&parts->free_calls)) {
        REACH(part_waits_for_a_call);
        list_push_back(&parts->queued, &request->node);
    } else if (call_must_wait(parts, request)) {
        REACH(part_waits_for_a_walk);
        list_push_back(&parts->held, &request->node);
    } else {
        call_start(parts, request, part, part->turn);
    }
}

/* It waited: does it still count? */
static void call_resume(struct parts *parts, struct part_request *request)
{
    struct part *part = part_find(parts, request->volume, request->group);
    list_remove(&request->node);
    int result = part == NULL ? IOMESH_FENCED : part_obeys(parts, part, request);
    if (result == 0 && request->number != part->turn)
        result = IOMESH_FENCED;
    if (result != 0)
        part_end(parts, request, part, result);
    else if (call_must_wait(parts, request))
        list_push_back(&parts->held, &request->node);
    else
        call_start(parts, request, part, request->number);
}

void part_calls_turn(struct parts *parts)
{
    struct list held;
    list_init(&held);
    list_splice_back(&held, &parts->held);
    while (!list_empty(&held) && !list_empty(&parts->free_calls))
        call_resume(parts, LIST_ENTRY(list_pop_front(&held), struct part_request, node));
    list_splice_back(&parts->held, &held);
    while (!list_empty(&parts->queued) && !list_empty(&parts->free_calls))
        call_resume(parts, LIST_ENTRY(list_pop_front(&parts->queued), struct part_request, node));
}

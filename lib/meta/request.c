/* SPDX-License-Identifier: Apache-2.0 */
/* What a request holds: the transaction being built, and the memory of its answer. */
#include <stdlib.h>

#include "meta/implement.h"

#define CHUNK_BYTES 2048u

struct meta_chunk {
    struct meta_chunk *next;
    size_t used;
    size_t size;
    _Alignas(8) uint8_t bytes[];
};

static void *arena_allocate(struct meta_arena *arena, size_t bytes)
{
    bytes = ROUND_UP(bytes, 8);
    struct meta_chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->size - chunk->used < bytes) {
        size_t size = MAX(bytes, CHUNK_BYTES);
        chunk = malloc(sizeof *chunk + size);
        if (chunk == NULL)
            return NULL;
        *chunk = (struct meta_chunk){.next = arena->chunks, .size = size};
        arena->chunks = chunk;
    }
    void *memory = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return memory;
}

static int arena_copy(struct meta_arena *arena, struct meta_slice from, struct meta_slice *ret_copy)
{
    void *copy = arena_allocate(arena, from.length);
    if (copy == NULL)
        return -ENOMEM;
    if (from.length > 0)
        memcpy(copy, from.data, from.length);
    *ret_copy = (struct meta_slice){.data = copy, .length = from.length};
    return 0;
}

/* Keeps one chunk of the usual size for the next use. */
static void arena_reset(struct meta_arena *arena, bool keep)
{
    struct meta_chunk *kept = NULL;
    while (arena->chunks != NULL) {
        struct meta_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        if (keep && kept == NULL && chunk->size == CHUNK_BYTES) {
            *chunk = (struct meta_chunk){.size = CHUNK_BYTES};
            kept = chunk;
        } else {
            free(chunk);
        }
    }
    arena->chunks = kept;
}

void meta_request_init(struct meta_request *request)
{
    *request = (struct meta_request){0};
}

void meta_request_done(struct meta_request *request)
{
    assert(!request->flying);
    struct meta_body *body = request->body;
    if (body != NULL) {
        arena_reset(&body->built, false);
        arena_reset(&body->answers, false);
        free(body->compares);
        free(body->branches[0].ops);
        free(body->branches[1].ops);
        free(body);
    }
    meta_request_init(request);
}

void meta_answer_reset(struct meta_request *request)
{
    request->succeeded = false;
    request->revision = 0;
    request->response_count = 0;
    request->responses = NULL;
    arena_reset(&request->body->answers, true);
}

void meta_request_reset(struct meta_request *request)
{
    assert(!request->flying);
    struct meta_body *body = request->body;
    if (body == NULL)
        return;
    meta_answer_reset(request);
    arena_reset(&body->built, true);
    body->kind = META_TRANSACTION;
    body->compare_count = 0;
    body->branches[0].count = 0;
    body->branches[1].count = 0;
    body->in_else = false;
    body->error = 0;
    body->error_text = NULL;
    body->bytes = 0;
}

int meta_answer_begin(struct meta_request *request, uint32_t count)
{
    request->response_count = 0;
    request->responses =
        arena_allocate(&request->body->answers, count * sizeof *request->responses);
    if (request->responses == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        request->responses[i] = (struct meta_response){0};
    request->response_count = count;
    return 0;
}

void *meta_answer_allocate(struct meta_request *request, size_t bytes)
{
    return arena_allocate(&request->body->answers, bytes);
}

int meta_answer_copy(struct meta_request *request, struct meta_slice from,
                     struct meta_slice *ret_copy)
{
    return arena_copy(&request->body->answers, from, ret_copy);
}

bool meta_request_changes(const struct meta_request *request)
{
    const struct meta_body *body = request->body;
    for (unsigned b = 0; b < COUNT_OF(body->branches); b++)
        for (uint32_t i = 0; i < body->branches[b].count; i++)
            if (body->branches[b].ops[i].kind <= META_DELETE_PREFIX)
                return true;
    return false;
}

/* Only the first mistake is remembered: what follows it may be its consequence. */
static void built_wrong(struct meta_request *request, int error, const char *text)
{
    if (request->body->error == 0) {
        request->body->error = error;
        request->body->error_text = text;
    }
}

static bool body_ready(struct meta_request *request)
{
    assert(!request->flying);
    /* Without memory there is nowhere to remember that: meta_commit() sees no body. */
    if (request->body == NULL)
        request->body = calloc(1, sizeof *request->body);
    return request->body != NULL && request->body->error == 0;
}

static bool slice_take(struct meta_request *request, struct meta_slice from,
                       struct meta_slice *ret_copy)
{
    struct meta_body *body = request->body;
    body->bytes += from.length;
    if (body->bytes > META_REQUEST_BYTES_MAX)
        built_wrong(request, -E2BIG, "a transaction holds more than 1 MiB of keys and values");
    else if (arena_copy(&body->built, from, ret_copy) != 0)
        built_wrong(request, -ENOMEM, "no memory for a transaction");
    return body->error == 0;
}

static bool key_take(struct meta_request *request, struct meta_slice from,
                     struct meta_slice *ret_copy)
{
    if (from.length == 0)
        built_wrong(request, -EINVAL, "a key is empty");
    else if (from.length > META_KEY_BYTES_MAX)
        built_wrong(request, -E2BIG, "a key is longer than 512 bytes");
    return request->body->error == 0 && slice_take(request, from, ret_copy);
}

static bool value_take(struct meta_request *request, struct meta_slice from,
                       struct meta_slice *ret_copy)
{
    if (from.length > META_VALUE_BYTES_MAX)
        built_wrong(request, -E2BIG, "a value is longer than 512 KiB");
    return request->body->error == 0 && slice_take(request, from, ret_copy);
}

/* Doubles an array that is full. */
static bool array_grow(void **array, uint32_t count, uint32_t *capacity, size_t item_bytes)
{
    if (count < *capacity)
        return true;
    uint32_t larger = *capacity == 0 ? 4 : *capacity * 2;
    void *moved = realloc(*array, larger * item_bytes);
    if (moved == NULL)
        return false;
    *array = moved;
    *capacity = larger;
    return true;
}

static void compare_add(struct meta_request *request, struct meta_compare compare)
{
    if (!body_ready(request) || !key_take(request, compare.key, &compare.key) ||
        !value_take(request, compare.value, &compare.value))
        return;
    struct meta_body *body = request->body;
    if (body->compare_count == META_COMPARES_MAX) {
        built_wrong(request, -E2BIG, "a transaction has more than 256 compares");
        return;
    }
    void *compares = body->compares;
    if (array_grow(&compares, body->compare_count, &body->compare_capacity, sizeof compare)) {
        body->compares = compares;
        body->compares[body->compare_count++] = compare;
    } else {
        built_wrong(request, -ENOMEM, "no memory for a transaction");
    }
}

void meta_if_absent(struct meta_request *request, struct meta_slice key)
{
    compare_add(request, (struct meta_compare){.kind = META_IF_ABSENT, .key = key});
}

void meta_if_present(struct meta_request *request, struct meta_slice key)
{
    compare_add(request, (struct meta_compare){.kind = META_IF_PRESENT, .key = key});
}

void meta_if_modified(struct meta_request *request, struct meta_slice key, uint64_t revision)
{
    compare_add(request,
                (struct meta_compare){.kind = META_IF_MODIFIED, .key = key, .revision = revision});
}

void meta_if_created(struct meta_request *request, struct meta_slice key, uint64_t revision)
{
    compare_add(request,
                (struct meta_compare){.kind = META_IF_CREATED, .key = key, .revision = revision});
}

void meta_if_value(struct meta_request *request, struct meta_slice key, struct meta_slice value)
{
    compare_add(request, (struct meta_compare){.kind = META_IF_VALUE, .key = key, .value = value});
}

/* Does operation `a` change a key that `b` changes too? Keys and prefixes of one branch. */
static bool ops_collide(const struct meta_op *a, const struct meta_op *b)
{
    if (a->kind > META_DELETE_PREFIX || b->kind > META_DELETE_PREFIX)
        return false;
    if (a->kind == META_DELETE_PREFIX && meta_slice_begins(b->key, a->key))
        return true;
    if (b->kind == META_DELETE_PREFIX && meta_slice_begins(a->key, b->key))
        return true;
    return meta_slice_equal(a->key, b->key);
}

static void op_add(struct meta_request *request, struct meta_op op)
{
    struct meta_body *body = request->body;
    struct meta_branch *branch = &body->branches[body->in_else];
    for (uint32_t i = 0; i < branch->count; i++)
        if (ops_collide(&branch->ops[i], &op))
            built_wrong(request, -EINVAL, "a transaction changes one key twice");
    if (branch->count == META_OPS_MAX)
        built_wrong(request, -E2BIG, "a transaction has more than 256 operations");
    if (body->error != 0)
        return;
    void *ops = branch->ops;
    if (array_grow(&ops, branch->count, &branch->capacity, sizeof op)) {
        branch->ops = ops;
        branch->ops[branch->count++] = op;
    } else {
        built_wrong(request, -ENOMEM, "no memory for a transaction");
    }
}

void meta_put(struct meta_request *request, struct meta_slice key, struct meta_slice value,
              uint64_t lease)
{
    struct meta_op op = {.kind = META_PUT, .lease = lease};
    if (body_ready(request) && key_take(request, key, &op.key) &&
        value_take(request, value, &op.value))
        op_add(request, op);
}

void meta_delete(struct meta_request *request, struct meta_slice key)
{
    struct meta_op op = {.kind = META_DELETE};
    if (body_ready(request) && key_take(request, key, &op.key))
        op_add(request, op);
}

void meta_delete_prefix(struct meta_request *request, struct meta_slice prefix)
{
    struct meta_op op = {.kind = META_DELETE_PREFIX};
    if (body_ready(request) && key_take(request, prefix, &op.key))
        op_add(request, op);
}

void meta_get(struct meta_request *request, struct meta_slice key)
{
    struct meta_op op = {.kind = META_GET};
    if (body_ready(request) && key_take(request, key, &op.key))
        op_add(request, op);
}

void meta_list(struct meta_request *request, struct meta_slice prefix, struct meta_slice after,
               uint32_t limit)
{
    struct meta_op op = {.kind = META_LIST, .limit = limit};
    if (!body_ready(request))
        return;
    if (limit == 0 || limit > META_LIST_ENTRIES_MAX)
        built_wrong(request, -EINVAL, "a page of a list holds 1 to 1000 entries");
    if (prefix.length > META_KEY_BYTES_MAX || after.length > META_KEY_BYTES_MAX)
        built_wrong(request, -E2BIG, "a key is longer than 512 bytes");
    if (request->body->error == 0 && slice_take(request, prefix, &op.key) &&
        slice_take(request, after, &op.value))
        op_add(request, op);
}

void meta_else(struct meta_request *request)
{
    if (body_ready(request))
        request->body->in_else = true;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/meta_model.h"

#include <stdio.h>

void model_init(struct model *model)
{
    *model = (struct model){.revision = 1};
}

struct model_name {
    uint8_t bytes[4];
    size_t length;
};

static struct model_name key_name(unsigned key)
{
    unsigned half = MODEL_KEYS / 2;
    struct model_name name = {.length = 3};
    name.bytes[0] = key < half ? 'a' : 'b';
    name.bytes[1] = '/';
    name.bytes[2] = (uint8_t)('0' + key % half);
    return name;
}

static struct model_name prefix_name(unsigned prefix)
{
    return (struct model_name){.bytes = {prefix == 0 ? 'a' : 'b', '/'}, .length = 2};
}

static struct meta_slice cell_value(const struct model_cell *cell,
                                    uint8_t room[MODEL_VALUE_BYTES_MAX])
{
    struct prng bytes = {.state = cell->tag};
    put64(room, cell->tag);
    for (size_t i = 8; i < cell->length; i += 8)
        put64(room + i, prng_next(&bytes));
    return (struct meta_slice){.data = room, .length = cell->length};
}

bool model_read(const struct meta_entry *entry, unsigned *ret_key, struct model_cell *ret_cell)
{
    uint8_t room[MODEL_VALUE_BYTES_MAX];
    for (unsigned key = 0; key < MODEL_KEYS; key++) {
        struct model_name name = key_name(key);
        if (entry->key.length != name.length ||
            memcmp(entry->key.data, name.bytes, name.length) != 0)
            continue;
        if (entry->value.length < 8 || entry->value.length > MODEL_VALUE_BYTES_MAX ||
            entry->value.length % 8 != 0)
            return false;
        *ret_key = key;
        *ret_cell = (struct model_cell){
            .tag = get64(entry->value.data),
            .length = entry->value.length,
            .created = entry->created_revision,
            .modified = entry->modified_revision,
            .lease = entry->lease,
        };
        return memcmp(cell_value(ret_cell, room).data, entry->value.data, ret_cell->length) == 0;
    }
    return false;
}

static void draw_compare(const struct model *model, struct prng *prng,
                         struct model_compare *ret_compare)
{
    struct model_compare compare = {
        .kind = (enum model_compare_kind)prng_below(prng, 5),
        .key = (unsigned)prng_below(prng, MODEL_KEYS),
    };
    const struct model_cell *cell = &model->cells[compare.key];
    compare.with = *cell;
    if (cell->tag == 0)
        compare.with.length = 8;
    else if (compare.kind == MODEL_ABSENT && prng_one_in(prng, 2))
        compare.kind = MODEL_PRESENT;
    if (prng_one_in(prng, 4)) {
        compare.with.tag++;
        compare.with.modified++;
        compare.with.created++;
    }
    *ret_compare = compare;
}

static void draw_op(struct prng *prng, uint64_t lease, uint64_t *tag, struct model_op *ret_op)
{
    static const enum meta_op_kind kinds[] = {META_PUT,    META_PUT, META_PUT,  META_PUT,
                                              META_DELETE, META_GET, META_LIST, META_DELETE_PREFIX};
    struct model_op op = {.kind = kinds[prng_below(prng, COUNT_OF(kinds))]};
    bool prefix = op.kind == META_LIST || op.kind == META_DELETE_PREFIX;
    op.key = (unsigned)prng_below(prng, prefix ? 2 : MODEL_KEYS);
    op.put.tag = ++*tag;
    op.put.length = 8 * (1 + prng_below(prng, 6));
    if (prng_one_in(prng, 8))
        op.put.length = 8 * (1 + prng_below(prng, MODEL_VALUE_BYTES_MAX / 8));
    op.put.lease = prng_one_in(prng, 5) ? lease : 0;
    *ret_op = op;
}

/* Two changes of one key in a branch are refused at the seam, so none is drawn. */
static bool op_collides(const struct model_op *ops, unsigned count, const struct model_op *op)
{
    unsigned half = MODEL_KEYS / 2;
    for (unsigned i = 0; i < count; i++) {
        unsigned a = ops[i].kind == META_DELETE_PREFIX ? ops[i].key : ops[i].key / half;
        unsigned b = op->kind == META_DELETE_PREFIX ? op->key : op->key / half;
        bool prefixes = ops[i].kind == META_DELETE_PREFIX || op->kind == META_DELETE_PREFIX;
        if (ops[i].kind <= META_DELETE_PREFIX && op->kind <= META_DELETE_PREFIX &&
            (prefixes ? a == b : ops[i].key == op->key))
            return true;
    }
    return false;
}

void model_draw(const struct model *model, struct prng *prng, uint64_t lease, uint64_t *tag,
                struct model_transaction *ret_transaction)
{
    struct model_transaction transaction = {
        .compare_count = (unsigned)prng_below(prng, MODEL_COMPARES_MAX + 1),
    };
    for (unsigned i = 0; i < transaction.compare_count; i++)
        draw_compare(model, prng, &transaction.compares[i]);
    for (unsigned b = 0; b < 2; b++) {
        unsigned wanted = (unsigned)prng_below(prng, MODEL_OPS_MAX + 1);
        for (unsigned i = 0; i < wanted; i++) {
            struct model_op op;
            draw_op(prng, lease, tag, &op);
            if (!op_collides(transaction.ops[b], transaction.op_count[b], &op))
                transaction.ops[b][transaction.op_count[b]++] = op;
        }
    }
    *ret_transaction = transaction;
}

static void build_compare(const struct model_compare *compare, struct meta_request *request)
{
    uint8_t room[MODEL_VALUE_BYTES_MAX];
    struct model_name name = key_name(compare->key);
    struct meta_slice key = META_SLICE(name);
    switch (compare->kind) {
    case MODEL_ABSENT: meta_if_absent(request, key); break;
    case MODEL_PRESENT: meta_if_present(request, key); break;
    case MODEL_MODIFIED: meta_if_modified(request, key, compare->with.modified); break;
    case MODEL_CREATED: meta_if_created(request, key, compare->with.created); break;
    case MODEL_VALUE: meta_if_value(request, key, cell_value(&compare->with, room)); break;
    }
}

static void build_op(const struct model_op *op, struct meta_request *request)
{
    uint8_t room[MODEL_VALUE_BYTES_MAX];
    struct model_name key = key_name(op->key);
    struct model_name prefix = prefix_name(op->key);
    switch (op->kind) {
    case META_PUT:
        meta_put(request, META_SLICE(key), cell_value(&op->put, room), op->put.lease);
        break;
    case META_DELETE: meta_delete(request, META_SLICE(key)); break;
    case META_DELETE_PREFIX: meta_delete_prefix(request, META_SLICE(prefix)); break;
    case META_GET: meta_get(request, META_SLICE(key)); break;
    case META_LIST: meta_list(request, META_SLICE(prefix), (struct meta_slice){0}, 4); break;
    }
}

void model_build(const struct model_transaction *transaction, struct meta_request *request)
{
    meta_request_reset(request);
    for (unsigned i = 0; i < transaction->compare_count; i++)
        build_compare(&transaction->compares[i], request);
    for (unsigned i = 0; i < transaction->op_count[0]; i++)
        build_op(&transaction->ops[0][i], request);
    meta_else(request);
    for (unsigned i = 0; i < transaction->op_count[1]; i++)
        build_op(&transaction->ops[1][i], request);
}

static bool compare_holds(const struct model *model, const struct model_compare *compare)
{
    const struct model_cell *cell = &model->cells[compare->key];
    switch (compare->kind) {
    case MODEL_ABSENT: return cell->tag == 0;
    case MODEL_PRESENT: return cell->tag != 0;
    case MODEL_MODIFIED: return cell->modified == compare->with.modified;
    case MODEL_CREATED: return cell->created == compare->with.created;
    case MODEL_VALUE:
        return cell->tag != 0 && cell->tag == compare->with.tag &&
               cell->length == compare->with.length;
    }
    return false;
}

static bool entry_is(const struct meta_entry *entry, unsigned key, const struct model_cell *cell)
{
    unsigned read_key;
    struct model_cell read;
    return model_read(entry, &read_key, &read) && read_key == key && read.tag == cell->tag &&
           read.length == cell->length && read.created == cell->created &&
           read.modified == cell->modified && read.lease == cell->lease;
}

static const char *apply_list(const struct model *model, unsigned prefix,
                              const struct meta_response *response)
{
    unsigned half = MODEL_KEYS / 2;
    unsigned found = 0;
    bool more = false;
    for (unsigned key = prefix * half; key < (prefix + 1) * half; key++) {
        if (model->cells[key].tag == 0)
            continue;
        if (found == 4) {
            more = true;
            break;
        }
        if (found >= response->entry_count ||
            !entry_is(&response->entries[found], key, &model->cells[key]))
            return "a list answered another entry";
        found++;
    }
    return found != response->entry_count || more != response->more ? "a list has another length"
                                                                    : NULL;
}

static unsigned apply_delete(struct model *model, unsigned from, unsigned count)
{
    unsigned deleted = 0;
    for (unsigned key = from; key < from + count; key++) {
        deleted += model->cells[key].tag != 0;
        model->cells[key] = (struct model_cell){0};
    }
    return deleted;
}

static void apply_put(struct model *model, const struct model_op *op, uint64_t revision)
{
    struct model_cell *cell = &model->cells[op->key];
    uint64_t created = cell->tag == 0 ? revision : cell->created;
    *cell = op->put;
    cell->created = created;
    cell->modified = revision;
}

static const char *apply_op(struct model *model, const struct model_op *op, uint64_t revision,
                            const struct meta_response *response, bool *changed)
{
    unsigned half = MODEL_KEYS / 2;
    unsigned deleted = 0;
    switch (op->kind) {
    case META_PUT:
        apply_put(model, op, revision);
        *changed = true;
        break;
    case META_DELETE: deleted = apply_delete(model, op->key, 1); break;
    case META_DELETE_PREFIX: deleted = apply_delete(model, op->key * half, half); break;
    case META_GET:
        if (response == NULL)
            return NULL;
        if (response->entry_count != (model->cells[op->key].tag != 0))
            return "a get found what is not there, or not what is";
        if (response->entry_count == 1 &&
            !entry_is(response->entries, op->key, &model->cells[op->key]))
            return "a get answered another entry";
        break;
    case META_LIST: return response == NULL ? NULL : apply_list(model, op->key, response);
    }
    *changed |= deleted > 0;
    return response != NULL && response->deleted_count != deleted ? "another number was deleted"
                                                                  : NULL;
}

const char *model_apply(struct model *model, const struct model_transaction *transaction,
                        const struct meta_request *request)
{
    bool holds = true;
    bool changed = false;
    for (unsigned i = 0; i < transaction->compare_count; i++)
        holds &= compare_holds(model, &transaction->compares[i]);
    if (request != NULL && request->succeeded != holds)
        return "a compare held that does not, or the reverse";
    unsigned branch = holds ? 0 : 1;
    unsigned count = transaction->op_count[branch];
    if (request != NULL && request->response_count != count)
        return "another number of responses";
    for (unsigned i = 0; i < count; i++) {
        const char *wrong = apply_op(model, &transaction->ops[branch][i], model->revision + 1,
                                     request == NULL ? NULL : &request->responses[i], &changed);
        if (wrong != NULL)
            return wrong;
    }
    model->revision += changed;
    return request != NULL && request->revision != model->revision ? "another revision" : NULL;
}

void model_end_lease(struct model *model, uint64_t lease)
{
    bool changed = false;
    for (unsigned key = 0; key < MODEL_KEYS; key++) {
        struct model_cell *cell = &model->cells[key];
        if (cell->lease == 0 || (lease != 0 && cell->lease != lease))
            continue;
        *cell = (struct model_cell){0};
        changed = true;
    }
    model->revision += changed;
}

bool model_equal(const struct model *a, const struct model *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

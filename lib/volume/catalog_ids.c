/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers of volumes. The counter in the metadata is above every number that may be in use: it is
 * raised by a lot, and only when that is known do the numbers of the lot go out. A crash loses what
 * is left of a lot, and nothing else.
 *
 *   read the counter ──▶ raise it ──▶ hand out ──▶ (half is left) raise it ...
 */
#include "volume/catalog_inside.h"

static void ids_reserve(struct catalog *catalog);

static void ids_taken(struct catalog *catalog, struct catalog_op *op)
{
    op->id = catalog->ids.next++;
    op->next(op, 0);
}

/* Those that wait get a number each; or all of them the error, in a turn. */
static void ids_serve(struct catalog *catalog, int result)
{
    struct catalog_ids *ids = &catalog->ids;
    struct list waiting;
    list_init(&waiting);
    list_splice_back(&waiting, &ids->waiting);
    for (struct list *node; (node = list_pop_front(&waiting)) != NULL;) {
        struct catalog_op *op = LIST_ENTRY(node, struct catalog_op, later);
        op->result = result;
        if (result != 0)
            list_push_back(&catalog->later, &op->later);
        else if (ids->next < ids->end)
            ids_taken(catalog, op);
        else
            list_push_back(&ids->waiting, &op->later);
    }
    if (result == 0)
        ids_reserve(catalog);
}

static void ids_commit(struct catalog *catalog, meta_done_fn *done)
{
    struct catalog_ids *ids = &catalog->ids;
    int error = meta_commit(catalog->options.meta, &ids->request, done);
    ids->flying = error == 0;
    ids->again = error != 0;
}

static void ids_raised(struct meta_request *request, int result)
{
    struct catalog *catalog = CONTAINER_OF(request, struct catalog, ids.request);
    struct catalog_ids *ids = &catalog->ids;
    ids->flying = false;
    if (result == 0 && !request->succeeded)
        result = IOMESH_CONFLICT;
    if (result != 0) {
        ids->revision = 0; /* Whatever it is now is read before the next try. */
        ids_serve(catalog, result);
        return;
    }
    if (ids->end != ids->counter || ids->next == ids->end)
        ids->next = ids->counter;
    ids->counter += catalog->options.id_lot;
    ids->end = ids->counter;
    ids->revision = request->revision;
    ids_serve(catalog, 0);
}

static int ids_build(struct catalog *catalog, uint64_t next)
{
    struct catalog_ids *ids = &catalog->ids;
    struct metadata_counter counter = {.next = next};
    struct metadata_bytes value = {0};
    struct metadata_key key = metadata_counter_key(CATALOG_COUNTER);
    int result = metadata_counter_encode(&counter, &value);
    if (result != 0)
        return result;
    meta_request_reset(&ids->request);
    meta_if_modified(&ids->request, META_SLICE(key), ids->revision);
    meta_put(&ids->request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return 0;
}

static void ids_raise(struct catalog *catalog)
{
    struct catalog_ids *ids = &catalog->ids;
    uint64_t next = ids->counter + (MUTANT(102) ? 0 : catalog->options.id_lot);
    int result = ids_build(catalog, next);
    if (result != 0)
        ids_serve(catalog, result);
    else
        ids_commit(catalog, ids_raised);
}

static void ids_read(struct meta_request *request, int result)
{
    struct catalog *catalog = CONTAINER_OF(request, struct catalog, ids.request);
    struct catalog_ids *ids = &catalog->ids;
    ids->flying = false;
    struct metadata_counter counter = {0};
    if (result == 0 && request->responses[0].entry_count == 0)
        result = IOMESH_CORRUPT;
    if (result == 0) {
        const struct meta_entry *entry = &request->responses[0].entries[0];
        result = metadata_counter_decode(entry->value.data, entry->value.length, &counter);
        ids->revision = entry->modified_revision;
    }
    if (result != 0) {
        ids->revision = 0;
        ids_serve(catalog, result);
        return;
    }
    ids->counter = counter.next;
    metadata_counter_done(&counter);
    ids_raise(catalog);
}

/* Enough left for those that wait, and half a lot: nothing to do. */
static void ids_reserve(struct catalog *catalog)
{
    struct catalog_ids *ids = &catalog->ids;
    bool enough = ids->end - ids->next > catalog->options.id_lot / 2 && list_empty(&ids->waiting);
    if (enough || ids->flying || ids->again)
        return;
    if (ids->revision != 0) {
        ids_raise(catalog);
        return;
    }
    struct metadata_key key = metadata_counter_key(CATALOG_COUNTER);
    meta_request_reset(&ids->request);
    meta_get(&ids->request, META_SLICE(key));
    ids_commit(catalog, ids_read);
}

void catalog_op_take_id(struct catalog_op *op, catalog_step_fn *taken)
{
    struct catalog *catalog = op->catalog;
    struct catalog_ids *ids = &catalog->ids;
    op->next = taken;
    if (ids->next < ids->end && list_empty(&ids->waiting)) {
        ids_taken(catalog, op);
    } else {
        REACH(catalog_ids_waited);
        list_push_back(&ids->waiting, &op->later);
    }
    ids_reserve(catalog);
}

void catalog_ids_turn(struct catalog *catalog)
{
    if (!catalog->ids.again)
        return;
    catalog->ids.again = false;
    ids_reserve(catalog);
}

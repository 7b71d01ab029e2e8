/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listing and showing.
 *
 *   names of a page ──▶ their records ──▶ told ─┐
 *        ▲                                      │ more are wanted
 *        └──────────────────────────────────────┘
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_inside.h"

#define LIST_PAGE META_OPS_MAX /* A transaction reads so many records. */

struct catalog_query {
    struct catalog_op op;
    catalog_info_fn *each;
    uint32_t left;
    bool more;
    size_t after_length;
    char after[METADATA_KEY_BYTES_MAX]; /* The key of the last name read. */
};

static struct catalog_query *query_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct catalog_query, op);
}

static void query_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(query_of(op));
    done(context, result);
}

static void query_tell(struct catalog_query *query, const struct metadata_volume *record)
{
    const struct catalog_slot *slot = catalog_slot_find(query->op.catalog, record->name);
    struct catalog_info info = {
        .name = record->name,
        .id = record->id,
        .bytes = record->bytes,
        .created_ns = record->created_ns,
        .epoch = record->epoch,
        .sector_bytes = record->sector_bytes,
    };
    if (slot != NULL && slot->open != NULL) {
        LIST_EACH (&slot->open->handles, node)
            info.handle_count++;
    }
    query->each(query->op.context, &info);
}

/* --- A page --------------------------------------------------------------------------------- */

static void list_names(struct catalog_op *op);

/* True: it could be told, or is gone since its name was read. */
static int list_record(struct catalog_query *query, const struct meta_response *response)
{
    if (response->entry_count == 0)
        return 0;
    struct metadata_volume record = {0};
    int result = metadata_volume_decode(response->entries[0].value.data,
                                        response->entries[0].value.length, &record);
    if (result != 0)
        return result;
    if (record.state == METADATA_VOLUME_LIVE)
        query_tell(query, &record);
    metadata_volume_done(&record);
    return 0;
}

static void list_records_read(struct catalog_op *op, int result)
{
    struct catalog_query *query = query_of(op);
    uint32_t count = result == 0 ? op->request.response_count : 0;
    for (uint32_t i = 0; i < count && result == 0; i++)
        result = list_record(query, &op->request.responses[i]);
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    query->left -= count;
    if (query->left > 0 && query->more)
        list_names(op);
    else
        catalog_op_end(op, query->more ? 1 : 0);
}

static void list_names_read(struct catalog_op *op, int result)
{
    struct catalog_query *query = query_of(op);
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    const struct meta_response *response = &op->request.responses[0];
    uint64_t ids[LIST_PAGE];
    uint32_t count = response->entry_count;
    assert(count <= LIST_PAGE);
    for (uint32_t i = 0; i < count && result == 0; i++) {
        struct metadata_name name = {0};
        result = metadata_name_decode(response->entries[i].value.data,
                                      response->entries[i].value.length, &name);
        ids[i] = name.volume;
        if (result == 0)
            metadata_name_done(&name);
    }
    /* No name of ours is so long; keys of the metadata may be. */
    if (result == 0 && count > 0 && response->entries[count - 1].key.length > sizeof query->after)
        result = IOMESH_CORRUPT;
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    query->more = response->more;
    if (count == 0) {
        catalog_op_end(op, 0);
        return;
    }
    query->after_length = response->entries[count - 1].key.length;
    memcpy(query->after, response->entries[count - 1].key.data, query->after_length);
    meta_request_reset(&op->request);
    for (uint32_t i = 0; i < count; i++) {
        struct metadata_key key = metadata_volume_key(ids[i]);
        meta_get(&op->request, META_SLICE(key));
    }
    catalog_op_commit(op, list_records_read);
}

static void list_names(struct catalog_op *op)
{
    struct catalog_query *query = query_of(op);
    struct metadata_key prefix = metadata_prefix(METADATA_NAME);
    struct meta_slice after = {.data = query->after, .length = query->after_length};
    meta_request_reset(&op->request);
    meta_list(&op->request, META_SLICE(prefix), after, MIN(query->left, LIST_PAGE));
    catalog_op_commit(op, list_names_read);
}

static void list_begin(struct catalog_op *op, int result)
{
    (void)result;
    list_names(op);
}

static void query_after(struct catalog_query *query, const char *after)
{
    struct metadata_key prefix = metadata_prefix(METADATA_NAME);
    size_t length = strlen(after);
    memcpy(query->after, prefix.bytes, prefix.length);
    memcpy(query->after + prefix.length, after, length);
    query->after_length = prefix.length + length;
}

int catalog_list(struct catalog *catalog, const char *after, uint32_t limit, catalog_info_fn *each,
                 catalog_done_fn *done, void *context)
{
    int error = catalog_may_start(catalog, NULL, false);
    if (error != 0)
        return error;
    if (limit == 0 || limit > CATALOG_LIST_MAX)
        return FAIL(-EINVAL, "a page of %u volumes: it is 1 to %u", limit, CATALOG_LIST_MAX);
    if (after != NULL && strlen(after) > CATALOG_NAME_BYTES_MAX)
        return FAIL(-EINVAL, "the name to go on after has more than %u bytes",
                    CATALOG_NAME_BYTES_MAX);
    struct catalog_query *query = calloc(1, sizeof *query);
    if (query == NULL)
        return FAIL(-ENOMEM, "listing volumes: no memory");
    query->each = each;
    query->left = limit;
    if (after != NULL && after[0] != '\0')
        query_after(query, after);
    query->op.done = done;
    query->op.context = context;
    return catalog_op_start(&query->op, catalog, NULL, list_begin, query_end);
}

/* --- One ------------------------------------------------------------------------------------ */

static void show_loaded(struct catalog_op *op, int result)
{
    (void)result;
    query_tell(query_of(op), &op->record);
    catalog_op_end(op, 0);
}

static void show_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_load(op, show_loaded);
}

int catalog_show(struct catalog *catalog, const char *name, catalog_info_fn *each,
                 catalog_done_fn *done, void *context)
{
    int error = catalog_may_start(catalog, name, false);
    if (error != 0)
        return error;
    struct catalog_query *query = calloc(1, sizeof *query);
    if (query == NULL)
        return FAIL(-ENOMEM, "volume \"%s\": no memory", name);
    query->each = each;
    query->op.done = done;
    query->op.context = context;
    error = catalog_op_start(&query->op, catalog, name, show_begin, query_end);
    if (error != 0)
        free(query);
    return error;
}

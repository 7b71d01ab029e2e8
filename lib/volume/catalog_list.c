/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listing and showing.
 *
 *   names of a page ──▶ their records ──▶ of clones: the parents ──▶ told ─┐
 *        ▲                                                                  │ more are wanted
 *        └──────────────────────────────────────────────────────────────────┘
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_inside.h"

#define LIST_PAGE (META_OPS_MAX / 2) /* A transaction reads so many parents and their snapshots. */

struct catalog_query {
    struct catalog_op op;
    catalog_info_fn *each;
    uint32_t left;
    bool more;
    uint32_t count; /* Records of this page. */
    catalog_step_fn *told;
    struct metadata_session owner; /* Of the one that is shown. */
    struct metadata_volume records[LIST_PAGE];
    size_t after_length;
    char after[METADATA_KEY_BYTES_MAX]; /* The key of the last name read. */
};

static struct catalog_query *query_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct catalog_query, op);
}

static void query_forget(struct catalog_query *query)
{
    for (uint32_t i = 0; i < query->count; i++)
        metadata_volume_done(&query->records[i]);
    query->count = 0;
}

static void query_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    query_forget(query_of(op));
    metadata_session_done(&query_of(op)->owner);
    free(query_of(op));
    done(context, result);
}

/* --- Telling -------------------------------------------------------------------------------- */

static uint32_t flags_of(const struct metadata_volume *record)
{
    return (record->incomplete ? CATALOG_INCOMPLETE : 0) |
           (record->rollback_cut != 0 ? CATALOG_ROLLING_BACK : 0) |
           (record->flattened != 0 ? CATALOG_FLATTENED : 0);
}

static void query_tell(const struct catalog_query *query, const struct metadata_volume *record,
                       const struct metadata_volume *parent, const struct metadata_snapshot *cut)
{
    const struct catalog_slot *slot = catalog_slot_find(query->op.catalog, record->name);
    struct catalog_info info = {
        .name = record->name,
        .id = record->id,
        .bytes = record->bytes,
        .created_ns = record->created_ns,
        .epoch = record->epoch,
        .sector_bytes = record->sector_bytes,
        .snapshot_count = record->snapshots,
        .flags = flags_of(record),
        .copies = record->policy.copies,
        .copies_min = record->policy.copies_min,
        .owner_node = query->owner.node,
        .owner_address = query->owner.address,
    };
    if (parent != NULL) {
        info.parent = parent->name;
        info.parent_snapshot = catalog_cut_name(cut);
        info.flags |= parent->state != METADATA_VOLUME_LIVE ? CATALOG_PARENT_DELETED : 0;
        info.flags |= cut->state != METADATA_SNAPSHOT_LIVE ? CATALOG_PARENT_HIDDEN : 0;
    }
    if (slot != NULL && slot->open != NULL) {
        LIST_EACH (&slot->open->handles, node)
            info.handle_count++;
    }
    query->each(query->op.context, &info);
}

/* Two answers for each clone: its parent, and the snapshot. Gone since: it is none any more. */
static int tell_clone(const struct catalog_query *query, const struct metadata_volume *record,
                      const struct meta_response *answers)
{
    struct metadata_volume parent = {0};
    struct metadata_snapshot cut = {0};
    if (answers[0].entry_count == 0 || answers[1].entry_count == 0) {
        query_tell(query, record, NULL, NULL);
        return 0;
    }
    const struct meta_slice *value = &answers[0].entries[0].value;
    int result = metadata_volume_decode(value->data, value->length, &parent);
    value = &answers[1].entries[0].value;
    if (result == 0)
        result = metadata_snapshot_decode(value->data, value->length, &cut);
    if (result == 0)
        query_tell(query, record, &parent, &cut);
    metadata_volume_done(&parent);
    metadata_snapshot_done(&cut);
    return result;
}

static void parents_read(struct catalog_op *op, int result)
{
    struct catalog_query *query = query_of(op);
    const struct meta_response *answers = op->request.responses;
    for (uint32_t i = 0; i < query->count && result == 0; i++) {
        const struct metadata_volume *record = &query->records[i];
        if (record->parent_volume == 0) {
            query_tell(query, record, NULL, NULL);
        } else {
            result = tell_clone(query, record, answers);
            answers += 2;
        }
    }
    query_forget(query);
    if (result != 0)
        catalog_op_fail(op, result);
    else
        query->told(op, 0);
}

/* query->records, with the names of their parents. */
static void query_tell_all(struct catalog_query *query, catalog_step_fn *told)
{
    struct catalog_op *op = &query->op;
    bool any = false;
    query->told = told;
    meta_request_reset(&op->request);
    for (uint32_t i = 0; i < query->count; i++) {
        const struct metadata_volume *record = &query->records[i];
        if (record->parent_volume == 0)
            continue;
        struct metadata_key parent = metadata_volume_key(record->parent_volume);
        struct metadata_key cut = metadata_snapshot_key(record->parent_volume, record->parent_cut);
        meta_get(&op->request, META_SLICE(parent));
        meta_get(&op->request, META_SLICE(cut));
        any = true;
    }
    if (any)
        catalog_op_commit(op, parents_read);
    else
        parents_read(op, 0);
}

/* --- A page --------------------------------------------------------------------------------- */

static void list_names(struct catalog_op *op);

/* One that is gone since its name was read is not told. */
static int list_record(struct catalog_query *query, const struct meta_response *response)
{
    if (response->entry_count == 0)
        return 0;
    struct metadata_volume *record = &query->records[query->count];
    int result = metadata_volume_decode(response->entries[0].value.data,
                                        response->entries[0].value.length, record);
    if (result != 0)
        return result;
    if (record->state == METADATA_VOLUME_LIVE)
        query->count++;
    else
        metadata_volume_done(record);
    return 0;
}

static void list_told(struct catalog_op *op, int result)
{
    struct catalog_query *query = query_of(op);
    (void)result;
    if (query->left > 0 && query->more)
        list_names(op);
    else
        catalog_op_end(op, query->more ? 1 : 0);
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
    query_tell_all(query, list_told);
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

static void show_tell(struct catalog_op *op)
{
    struct catalog_query *query = query_of(op);
    query->records[0] = op->record;
    /* Its memory stays the operation's. */
    query->records[0].labels = NULL;
    query->records[0].label_count = 0;
    query->records[0].unknown = (struct metadata_bytes){0};
    query->count = 1;
    query_tell_all(query, catalog_op_end);
}

/* A session that is over has no key: nobody has the volume. */
static void show_owner(struct catalog_op *op, int result)
{
    if (result == 0 && op->request.responses[0].entry_count > 0) {
        const struct meta_slice *value = &op->request.responses[0].entries[0].value;
        result = metadata_session_decode(value->data, value->length, &query_of(op)->owner);
    }
    if (result != 0)
        catalog_op_fail(op, result);
    else
        show_tell(op);
}

static void show_loaded(struct catalog_op *op, int result)
{
    (void)result;
    if (!catalog_is_cluster(op->catalog) || op->record.owner_session == 0) {
        show_tell(op);
        return;
    }
    struct metadata_key key = metadata_session_key(op->record.owner_session);
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(key));
    catalog_op_commit(op, show_owner);
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

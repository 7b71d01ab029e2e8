/* SPDX-License-Identifier: Apache-2.0 */
/* Where a volume of a cluster is, and how its copies are. */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

/* A volume has a few groups; of more the progress of the rest is not told. */
#define QUERY_PROGRESS_MAX 64u

struct copies_query {
    struct catalog_op op;
    catalog_copy_fn *each;
    struct metadata_progress progress[QUERY_PROGRESS_MAX]; /* As coordinators said. */
    uint32_t progress_count;
    struct metadata_key after;
    char name[CATALOG_NAME_BYTES_MAX + 1];
};

static struct copies_query *query_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct copies_query, op);
}

static void query_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    for (uint32_t i = 0; i < query_of(op)->progress_count; i++)
        metadata_progress_done(&query_of(op)->progress[i]);
    free(query_of(op));
    done(context, result);
}

/* What its coordinator knows: whoever that is, as it said; ourselves, as it is. */
static void query_progress(const struct copies_query *query, struct catalog_copy *copy)
{
    for (uint32_t i = 0; i < query->progress_count; i++) {
        const struct metadata_progress *progress = &query->progress[i];
        if (progress->group != copy->group || copy->state != METADATA_CATCHING_UP)
            continue;
        copy->copied_bytes = progress->copied_bytes;
        copy->segments_done = progress->segments_done;
        copy->segments_total = progress->segments_total;
        copy->bytes_second = progress->bytes_second;
    }
    const struct catalog_volume *volume = catalog_volume_find(query->op.catalog, &query->op.record);
    struct copies_look look;
    if (volume == NULL || volume->owned == NULL || volume->owned->copies == NULL ||
        copy->state != METADATA_CATCHING_UP ||
        !copies_look(volume->owned->copies, copy->group, &look))
        return;
    copy->copied_bytes = look.resync_copied_bytes;
    copy->segments_done = look.resync_done_segments;
    copy->segments_total = look.resync_total_segments;
}

static int query_group(const struct copies_query *query, const struct meta_entry *entry)
{
    struct metadata_group group;
    int result = metadata_group_decode(entry->value.data, entry->value.length, &group);
    if (result != 0)
        return result;
    for (uint32_t i = 0; i < group.member_count; i++) {
        const struct metadata_member *member = &group.members[i];
        struct catalog_copy copy = {
            .group = group.id,
            .generation = group.generation,
            .store = member->store,
            .state = member->state,
            .reason = member->reason,
            .since_ns = member->since_ns,
        };
        query_progress(query, &copy);
        query->each(query->op.context, &copy);
    }
    metadata_group_done(&group);
    return 0;
}

static void query_read(struct catalog_op *op, int result);

static void query_page(struct catalog_op *op)
{
    struct metadata_key prefix = metadata_volume_prefix(METADATA_GROUP, op->record.id);
    meta_request_reset(&op->request);
    meta_list(&op->request, META_SLICE(prefix), META_SLICE(query_of(op)->after),
              META_LIST_ENTRIES_MAX);
    catalog_op_commit(op, query_read);
}

static void query_read(struct catalog_op *op, int result)
{
    struct copies_query *query = query_of(op);
    const struct meta_response *response = &op->request.responses[0];
    uint32_t count = result == 0 ? response->entry_count : 0;
    for (uint32_t i = 0; i < count && result == 0; i++)
        result = query_group(query, &response->entries[i]);
    if (result != 0) {
        catalog_op_fail(op, result);
    } else if (count > 0 && response->more) {
        const struct meta_slice *last = &response->entries[count - 1].key;
        query->after.length = MIN(last->length, sizeof query->after.bytes);
        memcpy(query->after.bytes, last->data, query->after.length);
        query_page(op);
    } else {
        catalog_op_end(op, 0);
    }
}

static void query_progress_read(struct catalog_op *op, int result)
{
    struct copies_query *query = query_of(op);
    const struct meta_response *response = &op->request.responses[0];
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    /* What cannot be read is not known, no more. */
    for (uint32_t i = 0; i < response->entry_count && query->progress_count < QUERY_PROGRESS_MAX;
         i++) {
        const struct meta_slice *value = &response->entries[i].value;
        if (metadata_progress_decode(value->data, value->length,
                                     &query->progress[query->progress_count]) == 0)
            query->progress_count++;
    }
    query_page(op);
}

static void query_loaded(struct catalog_op *op, int result)
{
    (void)result;
    struct metadata_key prefix = metadata_volume_prefix(METADATA_PROGRESS, op->record.id);
    meta_request_reset(&op->request);
    meta_list(&op->request, META_SLICE(prefix), META_SLICE(query_of(op)->after),
              QUERY_PROGRESS_MAX);
    catalog_op_commit(op, query_progress_read);
}

static void query_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_load(op, query_loaded);
}

int catalog_copies(struct catalog *catalog, const char *name, catalog_copy_fn *each,
                   catalog_done_fn *done, void *context)
{
    int error = catalog_may_start(catalog, name, false);
    if (error != 0)
        return error;
    struct copies_query *query = calloc(1, sizeof *query);
    if (query == NULL)
        return FAIL(-ENOMEM, "the copies of volume \"%s\": no memory", name);
    query->each = each;
    memcpy(query->name, name, strlen(name) + 1);
    query->op.name = query->name; /* Without its slot: whoever has that may wait for copies. */
    query->op.done = done;
    query->op.context = context;
    return catalog_op_start(&query->op, catalog, NULL, query_begin, query_end);
}

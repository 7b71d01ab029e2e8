/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deleting, and what goes on behind it.
 *
 *   name and record there ──▶ no name, record `deleting` ──▶ (the store frees) ──▶ no record
 *           │                                                                        ▲
 *           └── never opened for writing: the store has nothing of it ────────────────┘
 *
 * Each arrow between records is one transaction. Whoever opens the pool looks for records that are
 * `deleting` and goes on. The store may be asked any number of times, also for what it never had.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_inside.h"

/* --- In the background ---------------------------------------------------------------------- */

static void deletion_end(struct catalog_deletion *deletion)
{
    if (deletion->catalog != NULL)
        deletion->catalog->deletion_count--;
    list_remove(&deletion->node);
    list_remove(&deletion->later);
    meta_request_done(&deletion->request);
    free(deletion);
}

static void deletion_stopped(struct catalog_deletion *deletion, int result)
{
    if (deletion->catalog->state == CATALOG_READY)
        catalog_tell(deletion->catalog, STORE_WARNING, deletion->id, 0,
                     "the space of deleted volume %llu comes back when the pool is opened next: %s",
                     (unsigned long long)deletion->id, base_error_text(result));
    deletion_end(deletion);
}

static void deletion_forgotten(struct meta_request *request, int result)
{
    struct catalog_deletion *deletion = CONTAINER_OF(request, struct catalog_deletion, request);
    deletion->flying = false;
    if (result != 0) {
        deletion_stopped(deletion, result);
        return;
    }
    catalog_tell(deletion->catalog, STORE_DEBUG, deletion->id, 0,
                 "the space of deleted volume %llu has come back",
                 (unsigned long long)deletion->id);
    deletion_end(deletion);
}

static void deletion_forget(struct catalog_deletion *deletion)
{
    struct metadata_key key = metadata_volume_key(deletion->id);
    meta_request_reset(&deletion->request);
    meta_delete(&deletion->request, META_SLICE(key));
    struct catalog *catalog = deletion->catalog;
    if (meta_commit(catalog->options.meta, &deletion->request, deletion_forgotten) == 0)
        deletion->flying = true;
    else
        list_push_back(&catalog->deletions_later, &deletion->later);
}

/* The store has nothing of it any more, or gives up for now. */
static void deletion_gone(void *context, int result)
{
    struct catalog_deletion *deletion = context;
    if (deletion->catalog == NULL)
        deletion_end(deletion);
    else if (result != 0)
        deletion_stopped(deletion, result);
    else
        deletion_forget(deletion);
}

/* Asked for since the pool was opened, while the scan was on its way: those are in front. */
static bool deletion_runs(const struct catalog *catalog, uint64_t id)
{
    LIST_EACH (&catalog->deletions, node) {
        const struct catalog_deletion *deletion = LIST_ENTRY(node, struct catalog_deletion, node);
        if (deletion->found)
            return false;
        if (deletion->id == id)
            return true;
    }
    return false;
}

static void deletion_start(struct catalog *catalog, uint64_t id, bool found)
{
    struct catalog_deletion *deletion = calloc(1, sizeof *deletion);
    int result = deletion == NULL ? -ENOMEM : 0;
    if (result == 0 && !MUTANT(106))
        result = store_delete_volume(catalog->options.store, id, deletion_gone, deletion);
    if (result != 0) {
        catalog_tell(catalog, STORE_WARNING, id, 0,
                     "the space of deleted volume %llu comes back when the pool is opened next: %s",
                     (unsigned long long)id, base_error_text(result));
        free(deletion);
        return;
    }
    deletion->catalog = catalog;
    deletion->id = id;
    deletion->found = found;
    list_init(&deletion->later);
    if (found)
        list_push_back(&catalog->deletions, &deletion->node);
    else
        list_push_front(&catalog->deletions, &deletion->node);
    catalog->deletion_count++;
    if (MUTANT(106))
        deletion_forget(deletion);
}

void catalog_deletions_leave(struct catalog *catalog)
{
    LIST_EACH_SAFE (&catalog->deletions, node, after) {
        struct catalog_deletion *deletion = LIST_ENTRY(node, struct catalog_deletion, node);
        if (deletion->flying)
            continue;
        if (!list_empty(&deletion->later)) {
            deletion_end(deletion);
            continue;
        }
        list_remove(node);
        deletion->catalog = NULL;
        catalog->deletion_count--;
    }
}

void catalog_deletions_abandon(struct catalog *catalog)
{
    for (struct list *node; (node = list_first(&catalog->deletions)) != NULL;)
        deletion_end(LIST_ENTRY(node, struct catalog_deletion, node));
}

/* --- What was interrupted ------------------------------------------------------------------- */

static void scan_next(struct catalog *catalog);

static void scan_entry(struct catalog *catalog, const struct meta_entry *entry)
{
    struct metadata_volume record = {0};
    int result = metadata_volume_decode(entry->value.data, entry->value.length, &record);
    if (result != 0) {
        catalog_tell(catalog, STORE_ERROR, 0, 0, "the record \"%.*s\" in the metadata: %s",
                     (int)entry->key.length, (const char *)entry->key.data,
                     base_error_text(result));
        return;
    }
    if (record.state == METADATA_VOLUME_DELETING && !deletion_runs(catalog, record.id) &&
        !MUTANT(107)) {
        REACH(catalog_deletion_resumed);
        deletion_start(catalog, record.id, true);
    }
    metadata_volume_done(&record);
}

static void scan_read(struct meta_request *request, int result)
{
    struct catalog *catalog = CONTAINER_OF(request, struct catalog, scan.request);
    catalog->scan.flying = false;
    if (catalog->state != CATALOG_READY)
        return;
    if (result != 0) {
        catalog_tell(catalog, STORE_WARNING, 0, 0,
                     "deletions that were interrupted cannot be looked for: %s",
                     base_error_text(result));
        return;
    }
    const struct meta_response *response = &request->responses[0];
    for (uint32_t i = 0; i < response->entry_count; i++)
        scan_entry(catalog, &response->entries[i]);
    if (!response->more || response->entry_count == 0)
        return;
    const struct meta_slice *last = &response->entries[response->entry_count - 1].key;
    if (last->length > sizeof catalog->scan.after.bytes) {
        catalog_tell(catalog, STORE_ERROR, 0, 0,
                     "deletions that were interrupted cannot be looked for behind a key of %zu "
                     "bytes in the metadata, which is not ours",
                     last->length);
        return;
    }
    memcpy(catalog->scan.after.bytes, last->data, last->length);
    catalog->scan.after.length = last->length;
    scan_next(catalog);
}

static void scan_next(struct catalog *catalog)
{
    struct catalog_scan *scan = &catalog->scan;
    struct metadata_key prefix = metadata_prefix(METADATA_VOLUME);
    meta_request_reset(&scan->request);
    meta_list(&scan->request, META_SLICE(prefix), META_SLICE(scan->after), META_LIST_ENTRIES_MAX);
    int error = meta_commit(catalog->options.meta, &scan->request, scan_read);
    scan->flying = error == 0;
    scan->again = error != 0;
}

void catalog_scan_start(struct catalog *catalog)
{
    scan_next(catalog);
}

void catalog_deletions_turn(struct catalog *catalog)
{
    struct list later;
    list_init(&later);
    list_splice_back(&later, &catalog->deletions_later);
    for (struct list *node; (node = list_pop_front(&later)) != NULL;)
        deletion_forget(LIST_ENTRY(node, struct catalog_deletion, later));
    if (catalog->scan.again && catalog->state == CATALOG_READY)
        scan_next(catalog);
}

/* --- By name -------------------------------------------------------------------------------- */

static void delete_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(op);
    done(context, result);
}

static void delete_committed(struct catalog_op *op, int result)
{
    if (catalog_op_failed(op, result))
        return;
    struct catalog *catalog = op->catalog;
    catalog_tell(catalog, STORE_INFO, op->record.id, op->record.bytes, "volume \"%s\": deleted",
                 op->slot->name);
    if (op->record.state == METADATA_VOLUME_DELETING)
        deletion_start(catalog, op->record.id, false);
    catalog_op_end(op, 0);
}

static void delete_loaded(struct catalog_op *op, int result)
{
    struct metadata_key name = metadata_name_key(op->slot->name, strlen(op->slot->name));
    struct metadata_key key = metadata_volume_key(op->record.id);
    meta_request_reset(&op->request);
    meta_delete(&op->request, META_SLICE(name));
    if (op->record.epoch == 0 || MUTANT(100)) {
        meta_if_modified(&op->request, META_SLICE(key), op->revision);
        meta_delete(&op->request, META_SLICE(key));
    } else {
        op->record.state = METADATA_VOLUME_DELETING;
        result = catalog_put_record(&op->request, &op->record, op->revision);
    }
    if (result == 0)
        catalog_op_commit(op, delete_committed);
    else
        catalog_op_later(op, result, delete_committed);
}

static void delete_busy(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_end(op, FAIL(-EBUSY, "volume \"%s\" is open", op->slot->name));
}

static void delete_begin(struct catalog_op *op, int result)
{
    (void)result;
    if (op->slot->open != NULL)
        catalog_op_later(op, 0, delete_busy);
    else
        catalog_op_load(op, delete_loaded);
}

int catalog_delete(struct catalog *catalog, const char *name, catalog_done_fn *done, void *context)
{
    int error = catalog_may_start(catalog, name, true);
    if (error != 0)
        return error;
    struct catalog_op *op = calloc(1, sizeof *op);
    if (op == NULL)
        return FAIL(-ENOMEM, "deleting volume \"%s\": no memory", name);
    op->done = done;
    op->context = context;
    error = catalog_op_start(op, catalog, name, delete_begin, delete_end);
    if (error != 0)
        free(op);
    return error;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Whoever opens the pool looks at every volume and every snapshot for what was interrupted. */
#include <string.h>

#include "volume/catalog_inside.h"

static void scan_next(struct catalog *catalog);

static void scan_volume(struct catalog *catalog, const struct metadata_volume *record)
{
    if (record->state != METADATA_VOLUME_LIVE) {
        if (MUTANT(107) || (record->state == METADATA_VOLUME_DELETING && catalog->scan.keeper))
            return;
        REACH(catalog_deletion_resumed);
        catalog_chore_wake(catalog, record->id);
        return;
    }
    if (record->flattened != 0)
        catalog_chore_wake(catalog, record->id);
    if (record->rollback_cut != 0 && !MUTANT(115)) {
        REACH(catalog_rollback_resumed);
        catalog_rollback_resume(catalog, record);
    }
}

static void scan_snapshot(struct catalog *catalog, const struct metadata_snapshot *record)
{
    bool unused = record->state == METADATA_SNAPSHOT_HIDDEN && record->clones == 0;
    if (record->state != METADATA_SNAPSHOT_DELETING && !unused)
        return;
    REACH(catalog_snapshot_resumed);
    catalog_chore_wake(catalog, record->volume);
}

static void scan_entry(struct catalog *catalog, const struct meta_entry *entry)
{
    struct metadata_volume volume = {0};
    struct metadata_snapshot snapshot = {0};
    const struct meta_slice *value = &entry->value;
    int result = catalog->scan.snapshots
                     ? metadata_snapshot_decode(value->data, value->length, &snapshot)
                     : metadata_volume_decode(value->data, value->length, &volume);
    if (result != 0)
        catalog_tell(catalog, STORE_ERROR, 0, 0, "the record \"%.*s\" in the metadata: %s",
                     (int)entry->key.length, (const char *)entry->key.data,
                     base_error_text(result));
    else if (catalog->scan.snapshots)
        scan_snapshot(catalog, &snapshot);
    else
        scan_volume(catalog, &volume);
    metadata_volume_done(&volume);
    metadata_snapshot_done(&snapshot);
}

static void scan_read(struct meta_request *request, int result)
{
    struct catalog *catalog = CONTAINER_OF(request, struct catalog, scan.request);
    struct catalog_scan *scan = &catalog->scan;
    scan->flying = false;
    if (catalog->state != CATALOG_READY)
        return;
    if (result != 0) {
        catalog_tell(catalog, STORE_WARNING, 0, 0,
                     "deletions that were interrupted cannot be looked for: %s",
                     base_error_text(result));
        return;
    }
    const struct meta_response *response = &request->responses[0];
    if (request->response_count > 1)
        scan->keeper = request->responses[1].entry_count > 0;
    for (uint32_t i = 0; i < response->entry_count; i++)
        scan_entry(catalog, &response->entries[i]);
    if (!response->more || response->entry_count == 0) {
        if (scan->snapshots)
            return;
        scan->snapshots = true;
        scan->after.length = 0;
        scan_next(catalog);
        return;
    }
    const struct meta_slice *last = &response->entries[response->entry_count - 1].key;
    if (last->length > sizeof scan->after.bytes) {
        catalog_tell(catalog, STORE_ERROR, 0, 0,
                     "deletions that were interrupted cannot be looked for behind a key of %zu "
                     "bytes in the metadata, which is not ours",
                     last->length);
        return;
    }
    memcpy(scan->after.bytes, last->data, last->length);
    scan->after.length = last->length;
    scan_next(catalog);
}

static void scan_next(struct catalog *catalog)
{
    struct catalog_scan *scan = &catalog->scan;
    struct metadata_key prefix =
        metadata_prefix(scan->snapshots ? METADATA_SNAPSHOT : METADATA_VOLUME);
    meta_request_reset(&scan->request);
    meta_list(&scan->request, META_SLICE(prefix), META_SLICE(scan->after), META_LIST_ENTRIES_MAX);
    struct metadata_key keeper = metadata_keeper_key();
    if (catalog_is_cluster(catalog) && !scan->snapshots && scan->after.length == 0)
        meta_get(&scan->request, META_SLICE(keeper));
    int error = meta_commit(catalog->options.meta, &scan->request, scan_read);
    scan->flying = error == 0;
    scan->again = error != 0;
}

void catalog_scan_start(struct catalog *catalog)
{
    scan_next(catalog);
}

void catalog_scan_turn(struct catalog *catalog)
{
    if (catalog->scan.again && catalog->state == CATALOG_READY)
        scan_next(catalog);
}

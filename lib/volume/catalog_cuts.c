/* SPDX-License-Identifier: Apache-2.0 */
/* The snapshots of a volume, as the metadata has them, and whose a clone is. */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_inside.h"

/* --- A list --------------------------------------------------------------------------------- */

void catalog_cuts_done(struct catalog_cuts *cuts)
{
    for (uint32_t i = 0; i < cuts->count; i++)
        metadata_snapshot_done(&cuts->items[i].record);
    free(cuts->items);
    *cuts = (struct catalog_cuts){0};
}

static int cuts_add(struct catalog_cuts *cuts, const struct meta_entry *entry, uint64_t volume)
{
    if (cuts->count == cuts->capacity) {
        uint32_t capacity = MAX(2 * cuts->capacity, 16u);
        struct catalog_cut *items = realloc(cuts->items, capacity * sizeof *items);
        if (items == NULL)
            return -ENOMEM;
        cuts->items = items;
        cuts->capacity = capacity;
    }
    struct catalog_cut *cut = &cuts->items[cuts->count];
    *cut = (struct catalog_cut){.revision = entry->modified_revision};
    int result = metadata_snapshot_decode(entry->value.data, entry->value.length, &cut->record);
    if (result != 0)
        return result;
    cuts->count++;
    uint64_t before = cuts->count > 1 ? cut[-1].record.cut : 0;
    return cut->record.volume == volume && cut->record.cut > before ? 0 : IOMESH_CORRUPT;
}

bool catalog_cut_kept(const struct catalog_cut *cut)
{
    return cut->record.state != METADATA_SNAPSHOT_DELETING;
}

const char *catalog_cut_name(const struct metadata_snapshot *record)
{
    static const uint8_t none[sizeof record->uuid];
    bool never =
        record->state != METADATA_SNAPSHOT_LIVE && memcmp(record->uuid, none, sizeof none) == 0;
    return never ? "" : record->name;
}

struct catalog_cut *catalog_cuts_named(const struct catalog_cuts *cuts, const char *name)
{
    for (uint32_t i = 0; i < cuts->count; i++) {
        struct catalog_cut *cut = &cuts->items[i];
        if (cut->record.state == METADATA_SNAPSHOT_LIVE && strcmp(cut->record.name, name) == 0)
            return cut;
    }
    return NULL;
}

struct catalog_cut *catalog_cuts_at(const struct catalog_cuts *cuts, uint64_t at)
{
    for (uint32_t i = 0; i < cuts->count; i++) {
        if (cuts->items[i].record.cut == at)
            return &cuts->items[i];
    }
    return NULL;
}

uint64_t catalog_cuts_newest(const struct catalog_cuts *cuts)
{
    return cuts->count == 0 ? 0 : cuts->items[cuts->count - 1].record.cut;
}

uint64_t catalog_cuts_kept_below(const struct catalog_cuts *cuts, uint64_t below)
{
    uint64_t kept = 0;
    for (uint32_t i = 0; i < cuts->count && cuts->items[i].record.cut < below; i++) {
        if (catalog_cut_kept(&cuts->items[i]))
            kept = cuts->items[i].record.cut;
    }
    return kept;
}

uint32_t catalog_cuts_kept(const struct catalog_cuts *cuts)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cuts->count; i++)
        count += catalog_cut_kept(&cuts->items[i]) ? 1 : 0;
    return count;
}

bool catalog_needs_parent(const struct metadata_volume *record, const struct catalog_cuts *cuts)
{
    if (record->parent_volume == 0 || record->flattened == 0)
        return record->parent_volume != 0;
    if (MUTANT(111))
        return false;
    for (uint32_t i = 0; i < cuts->count && cuts->items[i].record.cut < record->flattened; i++) {
        if (catalog_cut_kept(&cuts->items[i]))
            return true;
    }
    return false;
}

/* --- Reading it ----------------------------------------------------------------------------- */

static void list_page(struct catalog_op *op);

static void list_read(struct catalog_op *op, int result)
{
    const struct meta_response *response = &op->request.responses[0];
    for (uint32_t i = 0; result == 0 && i < response->entry_count; i++)
        result = cuts_add(&op->cuts, &response->entries[i], op->cuts_volume);
    if (result != 0)
        catalog_op_end(op, FAIL(result, "the snapshots of volume %llu: %s",
                                (unsigned long long)op->cuts_volume, base_error_text(result)));
    else if (response->more && response->entry_count > 0)
        list_page(op);
    else
        op->listed(op, 0);
}

static void list_page(struct catalog_op *op)
{
    struct metadata_key prefix = metadata_volume_prefix(METADATA_SNAPSHOT, op->cuts_volume);
    struct metadata_key after = {0};
    if (op->cuts.count > 0)
        after = metadata_snapshot_key(op->cuts_volume, catalog_cuts_newest(&op->cuts));
    meta_request_reset(&op->request);
    meta_list(&op->request, META_SLICE(prefix), META_SLICE(after), META_LIST_ENTRIES_MAX);
    catalog_op_commit(op, list_read);
}

void catalog_op_list(struct catalog_op *op, uint64_t volume, catalog_step_fn *listed)
{
    catalog_cuts_done(&op->cuts);
    op->cuts_volume = volume;
    op->listed = listed;
    list_page(op);
}

/* --- The family ----------------------------------------------------------------------------- */

static void resolve_read(struct catalog_op *op, int result);

static int resolve_push(struct catalog_op *op, uint64_t volume, uint64_t cut)
{
    if (op->parent_count == VOLUME_PARENTS_MAX)
        return FAIL(-EMLINK, "a clone of a clone of ...: more than %u deep: flatten one of them",
                    VOLUME_PARENTS_MAX);
    if (op->parent_count == op->parent_capacity) {
        uint32_t capacity = MAX(2 * op->parent_capacity, 4u);
        struct volume_parent *parents = realloc(op->parents, capacity * sizeof *parents);
        if (parents == NULL)
            return FAIL(-ENOMEM, "the parents of a clone: no memory");
        op->parents = parents;
        op->parent_capacity = capacity;
    }
    op->parents[op->parent_count++] = (struct volume_parent){.volume = volume, .view = cut};
    return 0;
}

/* The next one is of the last one found. */
static void resolve_next(struct catalog_op *op)
{
    struct metadata_key key = metadata_volume_key(op->parents[op->parent_count - 1].volume);
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(key));
    catalog_op_commit(op, resolve_read);
}

static void resolve_read(struct catalog_op *op, int result)
{
    struct metadata_volume record = {0};
    const struct volume_parent *last = &op->parents[op->parent_count - 1];
    if (result == 0 && op->request.responses[0].entry_count == 0)
        result = IOMESH_CORRUPT;
    if (result == 0) {
        const struct meta_slice *value = &op->request.responses[0].entries[0].value;
        result = metadata_volume_decode(value->data, value->length, &record);
    }
    if (result == 0 && record.state == METADATA_VOLUME_DELETING)
        result = IOMESH_CORRUPT;
    if (result != 0) {
        catalog_op_end(op, FAIL(result, "volume %llu, the parent of a clone: its record: %s",
                                (unsigned long long)last->volume, base_error_text(result)));
        metadata_volume_done(&record);
        return;
    }
    bool further =
        record.parent_volume != 0 && (record.flattened == 0 || last->view < record.flattened);
    if (further)
        result = resolve_push(op, record.parent_volume, record.parent_cut);
    metadata_volume_done(&record);
    if (result != 0)
        catalog_op_end(op, result);
    else if (further)
        resolve_next(op);
    else
        op->resolved(op, 0);
}

void catalog_op_resolve(struct catalog_op *op, uint64_t volume, uint64_t cut,
                        catalog_step_fn *resolved)
{
    op->resolved = resolved;
    op->parent_count = 0;
    int result = volume != 0 ? resolve_push(op, volume, cut) : 0;
    if (volume == 0 || result != 0)
        catalog_op_later(op, result, result != 0 ? catalog_op_end : resolved);
    else
        resolve_next(op);
}

/* --- Putting -------------------------------------------------------------------------------- */

int catalog_put_snapshot(struct meta_request *request, const struct metadata_snapshot *record,
                         uint64_t revision)
{
    struct metadata_bytes value = {0};
    int result = metadata_snapshot_encode(record, &value);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_snapshot_key(record->volume, record->cut);
    meta_if_modified(request, META_SLICE(key), revision);
    meta_put(request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return 0;
}

int catalog_put_sweep(struct meta_request *request, uint64_t volume, uint64_t first, uint64_t last)
{
    struct metadata_snapshot record = {
        .volume = volume,
        .cut = last,
        .first = first,
        .name = "dropped",
        .state = METADATA_SNAPSHOT_DELETING,
    };
    return catalog_put_snapshot(request, &record, 0);
}

int catalog_put_sweep_unclean(struct meta_request *request, const struct metadata_volume *record,
                              uint64_t newest, bool *ret_put)
{
    uint64_t last = record->sequence_end - 1;
    *ret_put = record->unclean && last > newest && !MUTANT(112);
    return *ret_put ? catalog_put_sweep(request, record->id, newest + 1, last) : 0;
}

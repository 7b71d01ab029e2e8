/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What became unnecessary in a volume that has a name:
 *
 *   hidden snapshots without a clone ──▶ deleting
 *   the parent of a clone that was flattened, when no snapshot needs it ──▶ the tie is cut
 *
 * The tie is cut only when whatever was being read through it has ended: what the parent shows may
 * change from then on.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

struct settle {
    struct catalog_op op;
    uint64_t id;
    uint64_t parent;
    bool changed;
    bool late; /* Cuts are kept in memory that are not kept in the metadata. */
    struct volume_io io;
};

static struct settle *settle_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct settle, op);
}

/* --- The tie -------------------------------------------------------------------------------- */

static void tie_read_done(struct catalog_op *op, int result)
{
    const struct meta_response *response = &op->request.responses[0];
    op->tie_revision = 0;
    if (result == 0 && response->entry_count > 0) {
        const struct meta_entry *entry = &response->entries[0];
        metadata_snapshot_done(&op->tie);
        result = metadata_snapshot_decode(entry->value.data, entry->value.length, &op->tie);
        op->tie_revision = result == 0 ? entry->modified_revision : 0;
    }
    op->read(op, result);
}

void catalog_op_read_tie(struct catalog_op *op, catalog_step_fn *read)
{
    struct metadata_key key =
        metadata_snapshot_key(op->record.parent_volume, op->record.parent_cut);
    op->read = read;
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(key));
    catalog_op_commit(op, tie_read_done);
}

int catalog_untie_build(struct catalog_op *op, uint64_t *ret_parent)
{
    int result = 0;
    *ret_parent = op->record.parent_volume;
    op->record.parent_volume = op->record.parent_cut = op->record.flattened = 0;
    meta_request_reset(&op->request);
    if (op->tie_revision != 0) {
        op->tie.clones -= op->tie.clones > 0 ? 1 : 0;
        result = catalog_put_snapshot(&op->request, &op->tie, op->tie_revision);
    }
    return result != 0 ? result : catalog_put_record(&op->request, &op->record, op->revision);
}

static void untie_committed(struct catalog_op *op, int result)
{
    struct settle *settle = settle_of(op);
    struct metadata_volume record = op->record;
    bool committed = result == 0 && op->request.succeeded;
    if (op->slot->open != NULL)
        catalog_volume_changed(op->slot->open, committed ? &record : NULL, op->request.revision);
    if (committed) {
        REACH(catalog_tie_cut);
        settle->changed = true;
        catalog_chore_wake(op->catalog, settle->parent);
        catalog_tell(op->catalog, STORE_INFO, op->record.id, op->record.bytes,
                     "volume \"%s\": does not need its parent any more", op->slot->name);
    } else if (result == 0) {
        /* Another clone of the same snapshot was first. */
        REACH(catalog_tie_again);
        settle->changed = true;
    }
    catalog_op_end(op, result);
}

static void untie_read(struct catalog_op *op, int result)
{
    if (result == 0)
        result = catalog_untie_build(op, &settle_of(op)->parent);
    if (result == 0)
        catalog_op_commit(op, untie_committed);
    else
        catalog_op_later(op, result, untie_committed);
}

static void untie_held(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_read_tie(op, untie_read);
}

static void untie_start(struct catalog_op *op, int result)
{
    (void)result;
    if (op->slot->open != NULL)
        catalog_op_hold_record(op, untie_held);
    else
        untie_held(op, 0);
}

/* Until nothing is read through it any more. */
static void untie_quiet(struct catalog_op *op, int result)
{
    const struct catalog_volume *volume = op->slot->open;
    if (volume == NULL || volume_parents_quiet(volume->volume)) {
        untie_start(op, result);
        return;
    }
    REACH(catalog_tie_waited);
    catalog_op_later(op, 0, untie_quiet);
}

/* --- Looking -------------------------------------------------------------------------------- */

static uint32_t hidden_unused(const struct catalog_cuts *cuts)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cuts->count; i++) {
        const struct metadata_snapshot *record = &cuts->items[i].record;
        count += record->state == METADATA_SNAPSHOT_HIDDEN && record->clones == 0 ? 1 : 0;
    }
    return count;
}

static void settle_rest(struct catalog_op *op)
{
    struct catalog_volume *volume = op->slot->open;
    if (volume != NULL)
        catalog_volume_listed(volume, &op->cuts);
    if (op->record.parent_volume == 0 || catalog_needs_parent(&op->record, &op->cuts))
        catalog_op_end(op, 0);
    else
        untie_quiet(op, 0);
}

static void settle_marked(struct catalog_op *op, int result)
{
    if (result == 0 && op->request.succeeded)
        settle_rest(op);
    else
        catalog_op_end(op, result);
    /* Its compares did not hold: it has a clone since. The chore looks again. */
}

static void settle_listed(struct catalog_op *op, int result)
{
    struct settle *settle = settle_of(op);
    uint32_t count = 0;
    meta_request_reset(&op->request);
    result = 0;
    for (uint32_t i = 0; i < op->cuts.count && count < META_OPS_MAX && result == 0; i++) {
        struct catalog_cut *cut = &op->cuts.items[i];
        if (cut->record.state != METADATA_SNAPSHOT_HIDDEN || cut->record.clones != 0)
            continue;
        cut->record.state = METADATA_SNAPSHOT_DELETING;
        result = catalog_put_snapshot(&op->request, &cut->record, cut->revision);
        count++;
    }
    settle->changed = count > 0 || settle->late;
    if (result != 0) {
        catalog_op_later(op, result, settle_marked);
    } else if (count > 0) {
        REACH(catalog_hidden_ended);
        catalog_op_commit(op, settle_marked);
    } else {
        settle_rest(op);
    }
}

/* Nobody else has it: its owner does it. */
static void settle_ours(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_list(op, op->record.id, settle_listed);
}

static void settle_loaded(struct catalog_op *op, int result)
{
    (void)result;
    if (op->record.id != settle_of(op)->id)
        catalog_op_end(op, 0); /* Deleted, and another one made. */
    else
        catalog_op_owner(op, settle_ours);
}

static void settle_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_load(op, settle_loaded);
}

static void settle_end(struct catalog_op *op, int result)
{
    struct settle *settle = settle_of(op);
    if (result == -EBUSY && catalog_is_cluster(op->catalog))
        result = 0; /* Its owner will. */
    if (result != 0 && result != -ENOENT)
        catalog_tell(op->catalog, STORE_WARNING, settle->id, 0,
                     "volume %llu: what it does not need any more stays for now: %s",
                     (unsigned long long)settle->id, base_error_text(result));
    if (result != 0 && result != -ENOENT)
        catalog_chore_wait(op->catalog, settle->id);
    if (result == 0 && settle->changed)
        catalog_chore_wake(op->catalog, settle->id);
    free(settle);
}

/* Somebody else said that a snapshot goes, and the copies of the open volume keep its cut yet. */
static bool keeps_deleted(const struct catalog_volume *volume, const struct catalog_cuts *cuts)
{
    const struct catalog_owned *owned = volume != NULL ? volume->owned : NULL;
    for (uint32_t i = 0; owned != NULL && i < owned->cut_count; i++) {
        const struct catalog_cut *cut = catalog_cuts_at(cuts, owned->cuts[i]);
        if (cut != NULL && !catalog_cut_kept(cut))
            return true;
    }
    return false;
}

bool catalog_settle_wake(struct catalog_op *op)
{
    const struct catalog_volume *volume = catalog_volume_find(op->catalog, &op->record);
    bool late = keeps_deleted(volume, &op->cuts);
    bool tie = op->record.parent_volume != 0 && !catalog_needs_parent(&op->record, &op->cuts);
    bool views = volume != NULL && volume->views && op->cuts.count == 0 && volume->riding == 0;
    if (!tie && !views && !late && hidden_unused(&op->cuts) == 0)
        return false;
    struct settle *settle = calloc(1, sizeof *settle);
    int result = settle == NULL ? -ENOMEM : 0;
    if (result == 0) {
        settle->id = op->record.id;
        settle->late = late;
        result =
            catalog_op_start(&settle->op, op->catalog, op->record.name, settle_begin, settle_end);
    }
    if (result != 0) {
        free(settle);
        catalog_tell(op->catalog, STORE_WARNING, op->record.id, 0,
                     "volume \"%s\": what it does not need any more stays for now: %s",
                     op->record.name, base_error_text(result));
    }
    return late;
}

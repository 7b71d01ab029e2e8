/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking snapshots: of one volume, or of several at one instant.
 *
 *   HOLD those open for writing ──▶ all are held: a cut of each, and all go on, carrying it
 *     ──▶ FLUSH the store ──▶ the record of each is ours ──▶ one TRANSACTION ──▶ taken
 *
 * A volume that nobody writes has its cut in the transaction alone: the next sequence of its record
 * is used up. I/O waits for what was under way at the hold, and for nothing after it. If the
 * transaction does not come about, the cuts are orphans: what the store keeps for them is dropped
 * like a deleted snapshot. Until it is, the record of the next snapshot, or of the volume as not
 * closed, tells of them.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

static struct catalog_gang *gang_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct catalog_gang, op);
}

int catalog_take_check(const struct catalog_op *op, const char *snapshot)
{
    const char *volume = op->slot->name;
    if (snapshot != NULL && catalog_cuts_named(&op->cuts, snapshot) != NULL)
        return FAIL(-EEXIST, "volume \"%s\" has a snapshot \"%s\" already", volume, snapshot);
    if (catalog_cuts_kept(&op->cuts) >= CATALOG_SNAPSHOTS_MAX)
        return FAIL(-EMLINK, "volume \"%s\" has %u snapshots, the most there can be: delete some",
                    volume, CATALOG_SNAPSHOTS_MAX);
    if (op->record.rollback_cut != 0)
        return FAIL(-EBUSY,
                    "volume \"%s\": a rollback of it was interrupted; open it to have it finished",
                    volume);
    return 0;
}

/* --- The end -------------------------------------------------------------------------------- */

/* Cuts may be dropped again. */
static void take_over(const struct catalog_volume *volume)
{
    if (volume != NULL && volume->owned != NULL)
        volume->owned->taking = false;
}

/* The cut of a member is one that nobody will know. But if that is not sure it is kept, for as long
 * as this process has the volume: the metadata takes nothing any more, so it is not closed. */
static void take_orphan(struct catalog_member *member, int result)
{
    struct catalog_volume *volume = member->op.slot->open;
    uint64_t cut = member->snapshot.cut;
    volume->riding = 0;
    if (result == IOMESH_UNKNOWN) {
        volume->cut = cut;
        volume->views = true;
        if (volume->owned != NULL) {
            catalog_owned_cut_add(volume->owned, cut);
            catalog_owned_doubt_one(volume->owned);
        }
        catalog_volume_views(volume);
        return;
    }
    REACH(catalog_orphan);
    if (volume->orphan_first == 0)
        volume->orphan_first = catalog_cuts_newest(&member->op.cuts) + 1;
    volume->orphan_last = cut;
    catalog_volume_views(volume);
    catalog_chore_wake(volume->catalog, volume->record.id);
}

static void take_end(struct catalog_gang *gang, int result)
{
    for (uint32_t i = 0; i < gang->count; i++) {
        struct catalog_member *member = gang->members[i];
        struct catalog_volume *volume = member->op.slot->open;
        if (member->changing)
            catalog_volume_changed(volume, NULL, 0);
        member->changing = false;
        if (member->riding)
            take_orphan(member, result);
        take_over(volume);
        member->riding = false;
    }
    gang->taken(&gang->op, result);
}

static void take_committed_one(struct catalog_gang *gang, struct catalog_member *member)
{
    struct catalog_volume *volume = member->op.slot->open;
    if (volume != NULL) {
        struct metadata_volume record = member->op.record;
        if (volume->orphan_last != 0 && member->swept)
            volume->orphan_first = volume->orphan_last = 0;
        volume->riding = 0;
        volume->cut = member->snapshot.cut;
        volume->views = true;
        if (volume->owned != NULL)
            catalog_owned_cut_add(volume->owned, volume->cut);
        take_over(volume);
        catalog_volume_views(volume);
        catalog_volume_changed(volume, &record, gang->op.request.revision);
    }
    member->changing = member->riding = false;
    if (member->swept)
        catalog_chore_wake(gang->op.catalog, member->op.record.id);
}

static void take_committed(struct catalog_op *op, int result)
{
    struct catalog_gang *gang = gang_of(op);
    if (result == 0 && !op->request.succeeded)
        result = IOMESH_CONFLICT;
    if (result != 0) {
        take_end(gang, FAIL(result, "a snapshot: its record in the metadata: %s",
                            base_error_text(result)));
        return;
    }
    for (uint32_t i = 0; i < gang->count; i++) {
        if (!gang->members[i]->bare)
            take_committed_one(gang, gang->members[i]);
    }
    gang->taken(op, 0);
}

/* --- The transaction ------------------------------------------------------------------------ */

/* What was dropped, or is being dropped, behind the newest record: it is below the new one, so it
 * needs a record of its own. */
static int put_sweep(struct catalog_gang *gang, struct catalog_member *member)
{
    const struct catalog_volume *volume = member->op.slot->open;
    struct metadata_volume *record = &member->op.record;
    struct meta_request *request = &gang->op.request;
    uint64_t newest = catalog_cuts_newest(&member->op.cuts);
    if (volume != NULL && volume->writable) {
        member->swept = volume->orphan_last != 0;
        return !member->swept
                   ? 0
                   : catalog_put_sweep(request, record->id, newest + 1, volume->orphan_last);
    }
    int result = catalog_put_sweep_unclean(request, record, newest, &member->swept);
    record->unclean = false;
    return result;
}

static int put_one(struct catalog_gang *gang, struct catalog_member *member)
{
    struct catalog_op *op = &member->op;
    struct metadata_snapshot *snapshot = &member->snapshot;
    const struct catalog_volume *volume = op->slot->open;
    int result = put_sweep(gang, member);
    if (volume == NULL || !volume->writable) {
        snapshot->cut = op->record.sequence_end;
        op->record.sequence_end += MUTANT(117) ? 0 : 1;
        if (op->record.sequence_end > SEQUENCE_MAX)
            return -EOVERFLOW;
    }
    if (member->adjust != NULL)
        member->adjust(member);
    snapshot->volume = op->record.id;
    snapshot->bytes = member->bytes != 0 ? member->bytes : op->record.bytes;
    snapshot->created_ns = clock_wall_ns(op->catalog->options.clock);
    op->record.snapshots += snapshot->state == METADATA_SNAPSHOT_LIVE ? 1 : 0;
    if (result == 0)
        result = catalog_put_snapshot(&gang->op.request, snapshot, 0);
    if (result == 0)
        result = catalog_put_record(&gang->op.request, &op->record, op->revision);
    return result;
}

static void put_all(struct catalog_gang *gang)
{
    struct catalog_op *op = &gang->op;
    int result = 0;
    meta_request_reset(&op->request);
    for (uint32_t i = 0; i < gang->count && result == 0; i++) {
        if (!gang->members[i]->bare)
            result = put_one(gang, gang->members[i]);
    }
    if (result == 0 && gang->build != NULL)
        result = gang->build(gang);
    if (result == 0)
        catalog_op_commit(op, take_committed);
    else
        catalog_op_later(op, result, take_committed);
}

static void change_next(struct catalog_gang *gang);

static void change_held(struct catalog_op *op, int result)
{
    struct catalog_member *member = CONTAINER_OF(op, struct catalog_member, op);
    (void)result;
    member->changing = true;
    change_next(member->gang);
}

/* The record of each that is open is ours until the transaction has ended. */
static void change_next(struct catalog_gang *gang)
{
    while (gang->at < gang->count) {
        struct catalog_op *op = &gang->members[gang->at]->op;
        gang->at++;
        if (gang->members[gang->at - 1]->bare || op->slot->open == NULL)
            continue;
        catalog_op_hold_record(op, change_held);
        return;
    }
    put_all(gang);
}

static void change_start(struct catalog_op *op, int result)
{
    struct catalog_gang *gang = gang_of(op);
    gang->at = 0;
    if (result != 0)
        take_end(gang,
                 FAIL(result, "a snapshot: flushing what it shows: %s", base_error_text(result)));
    else
        change_next(gang);
}

/* --- The instant ---------------------------------------------------------------------------- */

static void take_flushed(struct store_flush *flush, int result)
{
    struct catalog_gang *gang = CONTAINER_OF(flush, struct catalog_gang, flush);
    catalog_op_later(&gang->op, result, change_start);
}

/* Of the copies of one. */
static void one_flushed(struct store_flush *flush, int result)
{
    struct catalog_gang *gang = CONTAINER_OF(flush, struct catalog_member, flush)->gang;
    if (gang->take_result == 0)
        gang->take_result = result;
    if (--gang->waiting == 0)
        catalog_op_later(&gang->op, gang->take_result, change_start);
}

static void take_flush_copies(struct catalog_gang *gang)
{
    for (uint32_t i = 0; i < gang->count; i++)
        gang->waiting += gang->members[i]->bare ? 0 : 1;
    for (uint32_t i = 0; i < gang->count; i++) {
        struct catalog_member *member = gang->members[i];
        if (member->bare)
            continue;
        assert(member->op.slot->open != NULL && member->op.slot->open->owned != NULL);
        member->flush.done = one_flushed;
        copies_flush(member->op.slot->open->owned->copies, &member->flush);
    }
}

/* Also for what nobody has open: it may have been written, and closed, a moment ago. */
static void take_flush(struct catalog_gang *gang)
{
    if (catalog_is_cluster(gang->op.catalog)) {
        take_flush_copies(gang);
        return;
    }
    gang->flush.done = take_flushed;
    store_flush(gang->op.catalog->options.store, &gang->flush);
}

static void hold_release(struct catalog_member *member)
{
    struct catalog_volume *volume = member->op.slot->open;
    volume_release(volume->volume, &member->hold);
    volume->hold = NULL;
    member->holding = false;
}

static void take_cut(struct catalog_member *member)
{
    struct catalog_volume *volume = member->op.slot->open;
    member->snapshot.cut = volume->riding = volume_take_cut(volume->volume);
    member->riding = true;
    catalog_volume_views(volume);
}

static void take_cuts(struct catalog_gang *gang)
{
    for (uint32_t i = 0; i < gang->count; i++) {
        if (gang->members[i]->holding)
            take_cut(gang->members[i]);
    }
    for (uint32_t i = 0; i < gang->count; i++) {
        if (gang->members[i]->holding)
            hold_release(gang->members[i]);
    }
}

/* The last one is held; or one cannot be. */
static void all_held(struct catalog_gang *gang)
{
    struct catalog_op *op = &gang->op;
    if (gang->take_result != 0) {
        for (uint32_t i = 0; i < gang->count; i++) {
            if (gang->members[i]->holding)
                hold_release(gang->members[i]);
        }
        catalog_op_later(op, gang->take_result, change_start);
        return;
    }
    take_cuts(gang);
    take_flush(gang);
}

static void one_held(struct volume_hold *hold)
{
    struct catalog_member *member = CONTAINER_OF(hold, struct catalog_member, hold);
    struct catalog_gang *gang = member->gang;
    if (hold->result != 0) {
        gang->take_result = hold->result;
        member->op.slot->open->hold = NULL;
        member->holding = false;
    }
    if (--gang->waiting == 0)
        all_held(gang);
}

/* None changes any more from here on, so the order in which they are drained does not matter. */
static void hold_all(struct catalog_gang *gang)
{
    for (uint32_t i = 0; i < gang->count; i++) {
        struct catalog_member *member = gang->members[i];
        if (!member->holding)
            continue;
        member->op.slot->open->hold = &member->hold;
        member->hold.done = one_held;
        volume_hold(member->op.slot->open->volume, &member->hold);
    }
}

void catalog_gang_take(struct catalog_gang *gang, int (*build)(struct catalog_gang *gang),
                       catalog_step_fn *taken)
{
    gang->build = build;
    gang->taken = taken;
    gang->waiting = 0;
    gang->take_result = 0;
    for (uint32_t i = 0; i < gang->count; i++) {
        struct catalog_member *member = gang->members[i];
        struct catalog_volume *volume = member->op.slot->open;
        member->holding = !member->bare && volume != NULL && volume->writable;
        gang->waiting += member->holding ? 1 : 0;
        if (volume == NULL || volume->owned == NULL)
            continue;
        volume->owned->taking = true;
        if (catalog_owned_cut_room(volume->owned) != 0)
            gang->take_result = -ENOMEM; /* Told once it is held. */
    }
    if (gang->waiting == 0)
        take_flush(gang);
    else
        hold_all(gang);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a volume, or a snapshot of one.
 *
 *   LOAD ──▶ (a rollback is finished) ──▶ LIST its snapshots ──▶ RESOLVE its parents ─┬─▶ open
 *                  │ it cannot be, now                                                └─▶ CLAIM
 *                  └─▶ for reading: the snapshot, which is what it will show
 *
 *   CLAIM: a new epoch and the first lot of sequences, in one transaction. A volume that was not
 *   closed may have cuts in the store that nobody knows: what drops them goes into it too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

/* --- A volume in memory --------------------------------------------------------------------- */

int catalog_volume_new(struct catalog_op *op, const char *snapshot, uint64_t view,
                       struct catalog_volume **ret_volume)
{
    struct catalog_volume *volume = calloc(1, sizeof *volume);
    size_t room = strlen(op->slot->name) + 1 + strlen(snapshot) + 1;
    char *shown_name = malloc(room);
    if (volume == NULL || shown_name == NULL) {
        free(volume);
        free(shown_name);
        return FAIL(-ENOMEM, "opening volume \"%s\": %s", op->slot->name, base_error_text(-ENOMEM));
    }
    (void)snprintf(shown_name, room, "%s%s%s", op->slot->name, snapshot[0] != '\0' ? "@" : "",
                   snapshot);
    volume->shown_name = shown_name;
    volume->catalog = op->catalog;
    volume->slot = op->slot;
    volume->view = view;
    list_init(&volume->handles);
    list_init(&volume->lot_later);
    list_init(&volume->node);
    op->catalog->volume_count++;
    *ret_volume = volume;
    return 0;
}

/* What was loaded, listed and resolved becomes an open volume. Its record is not set yet. */
static int volume_make(struct catalog_op *op, struct volume_options *options, const char *snapshot,
                       struct catalog_volume **ret_volume)
{
    struct catalog_volume *volume;
    int error = catalog_volume_new(op, snapshot, options->view, &volume);
    if (error != 0)
        return error;
    options->parents = op->parents;
    options->parent_count = op->parent_count;
    options->want_sequences = catalog_volume_want_lot;
    options->context = volume;
    error = volume_open(op->catalog->options.volumes, options, &volume->volume);
    if (error != 0) {
        catalog_volume_free(volume);
        return FAIL(error, "opening volume \"%s\": %s", op->slot->name, base_error_text(error));
    }
    *ret_volume = volume;
    return 0;
}

/* With sequences from `sequence` to the record's end. */
static int head_make(struct catalog_op *op, uint64_t sequence)
{
    struct catalog_volume *volume;
    uint64_t cut = catalog_cuts_kept_below(&op->cuts, UINT64_MAX);
    bool views = op->cuts.count > 0 || op->swept;
    struct volume_options options = {
        .id = op->record.id,
        .view = VIEW_HEAD,
        .bytes = op->record.bytes,
        .sector_bytes = op->record.sector_bytes,
        .epoch = op->record.epoch,
        .sequence = sequence,
        .sequence_end = op->record.sequence_end,
        .cut = cut,
        .views = views,
    };
    int error = volume_make(op, &options, "", &volume);
    if (error != 0)
        return error;
    volume->record = op->record; /* Its memory too. */
    volume->revision = op->revision;
    volume->writable = op->writes;
    volume->cut = cut;
    volume->views = views;
    op->record_lent = true;
    op->slot->open = volume;
    return 0;
}

/* --- For writing ---------------------------------------------------------------------------- */

static void claim_committed(struct catalog_op *op, int result)
{
    struct catalog_volume *volume = op->slot->open;
    uint64_t sequence = op->record.sequence_end - op->catalog->options.sequence_lot;
    bool committed = result == 0 && op->request.succeeded;
    if (volume != NULL) {
        if (committed) {
            volume->writable = true;
            volume->views = volume->views || op->swept;
            catalog_volume_views(volume);
            volume_make_writable(volume->volume, op->record.epoch, sequence,
                                 op->record.sequence_end);
        }
        struct metadata_volume record = op->record;
        catalog_volume_changed(volume, committed ? &record : NULL, op->request.revision);
    }
    if (catalog_op_failed(op, result))
        return;
    if (op->swept) {
        REACH(catalog_swept);
        catalog_chore_wake(op->catalog, op->record.id);
    }
    op->revision = op->request.revision;
    result = volume == NULL ? head_make(op, sequence) : 0;
    if (result != 0)
        catalog_op_end(op, result);
    else
        op->opened(op, 0);
}

static void claim_refused(struct catalog_op *op, int result)
{
    (void)result;
    if (op->slot->open != NULL)
        catalog_volume_changed(op->slot->open, NULL, 0);
    catalog_op_end(op,
                   FAIL(-EROFS, "volume \"%s\": the store takes no writes now", op->slot->name));
}

static int claim_build(struct catalog_op *op)
{
    struct metadata_volume *record = &op->record;
    meta_request_reset(&op->request);
    int result =
        catalog_put_sweep_unclean(&op->request, record, catalog_cuts_newest(&op->cuts), &op->swept);
    record->epoch += MUTANT(108) ? 0 : 1;
    record->owner_session = op->catalog->session.id;
    record->sequence_end += op->catalog->options.sequence_lot;
    record->unclean = true;
    if (result == 0 && record->sequence_end > SEQUENCE_MAX)
        result = -EOVERFLOW;
    return result != 0 ? result : catalog_put_record(&op->request, record, op->revision);
}

static void claim_start(struct catalog_op *op, int result)
{
    if (!catalog_may_write(op->catalog)) {
        catalog_op_later(op, 0, claim_refused);
        return;
    }
    result = claim_build(op);
    if (result == 0)
        catalog_op_commit(op, claim_committed);
    else
        catalog_op_later(op, result, claim_committed);
}

/* --- The head ------------------------------------------------------------------------------- */

static void open_resolved(struct catalog_op *op, int result)
{
    if (catalog_is_cluster(op->catalog)) {
        catalog_op_claim(op);
    } else if (op->slot->open != NULL) {
        catalog_op_hold_record(op, claim_start);
    } else if (op->writes) {
        claim_start(op, result);
    } else {
        result = head_make(op, op->record.sequence_end);
        if (result != 0)
            catalog_op_end(op, result);
        else
            op->opened(op, 0);
    }
}

static void open_listed(struct catalog_op *op, int result)
{
    const struct metadata_volume *record = &op->record;
    /* A rollback reads what a cut shows; the head of a flattened clone has holes where that shows
     * zeros, whoever fills them. */
    uint64_t reads = record->rollback_cut != 0 ? record->rollback_cut : UINT64_MAX;
    bool parents =
        record->parent_volume != 0 && (record->flattened == 0 || reads < record->flattened);
    (void)result;
    catalog_op_resolve(op, parents ? record->parent_volume : 0, record->parent_cut, open_resolved);
}

static void open_again(struct catalog_op *op, int result);
static void view_loaded(struct catalog_op *op, int result);

static void open_incomplete(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_end(op, FAIL(-EBUSY,
                            "volume \"%s\" is incomplete: an import into it has not ended; "
                            "abandon it before the volume is used",
                            op->slot->name));
}

static bool open_may_finish(const struct catalog_op *op)
{
    return !op->catalog->options.read_only && catalog_may_write(op->catalog);
}

static void open_loaded(struct catalog_op *op, int result)
{
    const struct metadata_volume *record = &op->record;
    (void)result;
    bool rolling = record->rollback_cut != 0 && !op->inside && !MUTANT(115);
    if (record->incomplete && op->writes && !op->inside && !rolling && !MUTANT(118)) {
        open_incomplete(op, 0);
    } else if (!rolling) {
        catalog_op_list(op, record->id, open_listed);
    } else if (!op->writes && (op->as_rolled || !open_may_finish(op))) {
        REACH(catalog_rollback_read);
        view_loaded(op, 0);
    } else if (!open_may_finish(op)) {
        catalog_op_end(op, FAIL(-EROFS,
                                "volume \"%s\": a rollback of it was interrupted, and cannot be "
                                "finished while nothing may be written",
                                op->slot->name));
    } else {
        REACH(catalog_rollback_before_open);
        catalog_op_finish_rollback(op, open_again);
    }
}

static void open_again(struct catalog_op *op, int result)
{
    /* What a reader is to see is known all the same. */
    bool stuck = result == -ENOSPC || result == -EIO || result == IOMESH_CORRUPT;
    op->as_rolled = stuck && !op->writes;
    if (result != 0 && !op->as_rolled)
        catalog_op_fail(op, result);
    else
        catalog_op_load(op, open_loaded);
}

void catalog_op_open_again(struct catalog_op *op)
{
    catalog_op_load(op, open_loaded);
}

static void open_full(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_end(op, FAIL(-EMFILE, "volume \"%s\": %u volumes are open already", op->slot->name,
                            op->catalog->volume_count));
}

int catalog_may_claim(const struct catalog_op *op)
{
    const struct catalog *catalog = op->catalog;
    if (catalog->volume_count >= catalog->options.volumes_max)
        return FAIL(-EMFILE, "volume \"%s\": %u volumes are open already", op->slot->name,
                    catalog->volume_count);
    if (!catalog_may_write(catalog))
        return FAIL(-EROFS, "volume \"%s\": the store takes no writes now", op->slot->name);
    return 0;
}

void catalog_op_open_volume(struct catalog_op *op, catalog_step_fn *opened)
{
    struct catalog_volume *volume = op->slot->open;
    op->opened = opened;
    op->swept = false;
    op->writes = op->writes || catalog_is_cluster(op->catalog);
    if (volume != NULL && volume->writable && volume->record.incomplete && op->writes &&
        !op->inside)
        catalog_op_later(op, 0, open_incomplete); /* The import has it open. */
    else if (volume != NULL && (volume->writable || !op->writes))
        catalog_op_later(op, 0, opened);
    else if (volume == NULL && op->catalog->volume_count >= op->catalog->options.volumes_max)
        catalog_op_later(op, 0, open_full);
    else
        catalog_op_load(op, open_loaded);
}

/* --- A snapshot ----------------------------------------------------------------------------- */

struct catalog_volume *catalog_slot_view(const struct catalog_slot *slot, uint64_t cut)
{
    LIST_EACH (&slot->views, node) {
        struct catalog_volume *volume = LIST_ENTRY(node, struct catalog_volume, node);
        if (volume->view == cut)
            return volume;
    }
    return NULL;
}

/* Which cut is opened, and how large that is. Without a name it is what the volume is being rolled
 * back to, in place of the volume: with the volume's size to be. 0: there is none. */
static uint64_t view_cut(const struct catalog_op *op, uint64_t *ret_bytes)
{
    if (op->snapshot == NULL) {
        *ret_bytes = op->record.rollback_bytes;
        return op->record.rollback_cut;
    }
    const struct catalog_cut *cut = catalog_cuts_named(&op->cuts, op->snapshot);
    *ret_bytes = cut != NULL ? cut->record.bytes : 0;
    return cut != NULL ? cut->record.cut : 0;
}

static struct catalog_volume *view_open(const struct catalog_op *op, uint64_t cut)
{
    LIST_EACH (&op->slot->views, node) {
        struct catalog_volume *volume = LIST_ENTRY(node, struct catalog_volume, node);
        if (volume->view == cut && volume->as_rolled == (op->snapshot == NULL))
            return volume;
    }
    return NULL;
}

static void view_resolved(struct catalog_op *op, int result)
{
    struct catalog_volume *volume;
    if (catalog_is_cluster(op->catalog)) {
        catalog_op_read_view(op, catalog_cuts_named(&op->cuts, op->snapshot));
        return;
    }
    struct volume_options options = {.id = op->record.id, .sector_bytes = op->record.sector_bytes};
    options.view = view_cut(op, &options.bytes);
    result = volume_make(op, &options, op->snapshot != NULL ? op->snapshot : "", &volume);
    if (result != 0) {
        catalog_op_end(op, result);
        return;
    }
    volume->record.id = op->record.id;
    volume->as_rolled = op->snapshot == NULL;
    list_push_back(&op->slot->views, &volume->node);
    op->view = volume;
    op->opened(op, 0);
}

static void view_listed(struct catalog_op *op, int result)
{
    const struct metadata_volume *record = &op->record;
    uint64_t bytes;
    uint64_t cut = view_cut(op, &bytes);
    (void)result;
    if (cut == 0) {
        catalog_op_end(op, FAIL(-ENOENT, "volume \"%s\" has no snapshot \"%s\"", op->slot->name,
                                op->snapshot));
        return;
    }
    op->view = view_open(op, cut);
    bool parents =
        record->parent_volume != 0 && (record->flattened == 0 || cut < record->flattened);
    if (op->view != NULL)
        catalog_op_later(op, 0, op->opened);
    else if (op->catalog->volume_count >= op->catalog->options.volumes_max)
        catalog_op_later(op, 0, open_full);
    else
        catalog_op_resolve(op, parents ? record->parent_volume : 0, record->parent_cut,
                           view_resolved);
}

static void view_loaded(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_list(op, op->record.id, view_listed);
}

void catalog_op_open_view(struct catalog_op *op, const char *snapshot, catalog_step_fn *opened)
{
    op->opened = opened;
    op->snapshot = snapshot;
    catalog_op_load(op, view_loaded);
}

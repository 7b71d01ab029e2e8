/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of volumes of a cluster, open by themselves: nobody need own the volume.
 *
 *   LIST ──▶ the key of a READER, and the snapshot's record anew, in one transaction ──▶ open
 *     ▲       │ it changed: from the beginning
 *     └───────┘                                        closed, or the session ran out ──▶ no key
 *
 * Stores do not know which cuts are kept. So who deletes a snapshot looks for keys of readers
 * first; and each of them put the snapshot's record anew, so what was looked at before one came
 * does not hold any more. A key goes with its session, whose I/O ends before.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

#define PIN_TRIES 8u

/* --- Opening ---------------------------------------------------------------------------------- */

static int view_copies(struct catalog_op *op, struct catalog_volume *volume, uint64_t id)
{
    struct catalog *catalog = op->catalog;
    struct copies_options options = {
        .bound_ns = catalog->session.bound_ns,
        .replica = catalog->cluster.replica,
    };
    int result = catalog_owned_new(volume, &volume->owned);
    if (result != 0)
        return result;
    list_remove(&volume->owned->node);
    list_push_back(&catalog->views, &volume->owned->node); /* Owned by whom it may. */
    volume->owned->reader = op->reader;
    volume->owned->reader_revision = op->request.revision;
    options.calls = catalog_owned_calls(volume->owned);
    result = copies_open(catalog->cluster.copies, &options, &volume->owned->copies);
    if (result == 0)
        result = copies_kin_open(volume->owned->copies, id);
    return result != 0 ? result : catalog_kin_add(volume->owned, op);
}

static int view_volume(struct catalog_op *op, struct catalog_volume *volume,
                       const struct catalog_cut *cut)
{
    struct volume_options options = {
        .copies = volume->owned->copies,
        .id = op->record.id,
        .view = cut->record.cut,
        .bytes = cut->record.bytes,
        .sector_bytes = op->record.sector_bytes,
        .parents = op->parents,
        .parent_count = op->parent_count,
    };
    return volume_open(op->catalog->options.volumes, &options, &volume->volume);
}

static void view_gone(struct catalog_op *op, int result)
{
    int why = op->why;
    (void)result;
    op->record_lent = true; /* And what was lent is gone. */
    catalog_op_fail(op, why);
}

/* Nobody reads it, and the key is there, or may be. */
static void pin_left(const struct catalog_op *op)
{
    const struct catalog_cut *cut = catalog_cuts_named(&op->cuts, op->snapshot);
    if (cut != NULL)
        catalog_release_reader(op->catalog, op->slot->name, op->record.id, cut->record.cut,
                               op->reader);
}

static void view_made(struct catalog_op *op)
{
    const struct catalog_cut *cut = catalog_cuts_named(&op->cuts, op->snapshot);
    struct catalog_volume *volume;
    int result = catalog_volume_new(op, op->snapshot, cut->record.cut, &volume);
    if (result != 0) {
        pin_left(op);
        catalog_op_end(op, result);
        return;
    }
    volume->record.id = op->record.id;
    list_push_back(&op->slot->views, &volume->node);
    result = view_copies(op, volume, op->record.id);
    if (result == 0)
        result = view_volume(op, volume, cut);
    if (result == 0) {
        op->view = volume;
        op->opened(op, 0);
    } else if (volume->owned == NULL) {
        catalog_volume_free(volume);
        pin_left(op);
        catalog_op_fail(op, result);
    } else {
        op->why = result;
        catalog_op_close(op, volume, view_gone);
    }
}

/* --- The key ---------------------------------------------------------------------------------- */

static void pin_again(struct catalog_op *op, int result)
{
    if (result != 0)
        catalog_op_fail(op, result);
    else
        catalog_op_open_view(op, op->snapshot, op->opened);
}

static void pin_committed(struct catalog_op *op, int result)
{
    if (result != 0) {
        pin_left(op);
        catalog_op_fail(op, result);
    } else if (op->request.succeeded && op->reader == op->catalog->session.lease) {
        view_made(op);
    } else if (++op->tries < PIN_TRIES) {
        REACH(catalog_reader_again);
        pin_again(op, 0);
    } else {
        catalog_op_fail(op, IOMESH_CONFLICT);
    }
}

void catalog_op_read_view(struct catalog_op *op, struct catalog_cut *cut)
{
    uint64_t lease = op->reader = op->catalog->session.lease;
    struct metadata_key session = metadata_session_key(op->catalog->session.id);
    struct metadata_key key = metadata_reader_key(op->record.id, cut->record.cut, lease);
    struct metadata_bytes value = {0};
    meta_request_reset(&op->request);
    meta_if_present(&op->request, META_SLICE(session));
    int result = catalog_session_encode(op->catalog, &value);
    if (result == 0)
        meta_put(&op->request, META_SLICE(key), META_SLICE(value), lease);
    metadata_bytes_done(&value);
    if (result == 0 && !MUTANT(363))
        result = catalog_put_snapshot(&op->request, &cut->record, cut->revision);
    if (result == 0)
        catalog_op_commit(op, pin_committed);
    else
        catalog_op_later(op, result, pin_committed);
}

void catalog_view_unpin(const struct catalog_volume *volume, struct meta_request *request)
{
    uint64_t reader = MUTANT(368) ? volume->catalog->session.lease : volume->owned->reader;
    struct metadata_key key = metadata_reader_key(volume->record.id, volume->view, reader);
    meta_request_reset(request);
    /* Not one that was put since, should this happen late. */
    if (!MUTANT(368) && !MUTANT(374))
        meta_if_modified(request, META_SLICE(key), volume->owned->reader_revision);
    meta_delete(request, META_SLICE(key));
}

/* --- Who reads it ----------------------------------------------------------------------------- */

static void readers_listed(struct catalog_op *op, int result)
{
    const struct meta_response *response = &op->request.responses[0];
    struct metadata_session session = {0};
    if (result == 0 && response->entry_count == 0) {
        op->read(op, 0);
        return;
    }
    if (result == 0) {
        const struct meta_slice *value = &response->entries[0].value;
        result = metadata_session_decode(value->data, value->length, &session);
    }
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    FAIL(-EBUSY,
         "a snapshot of volume \"%s\" is open on node \"%s\" (%s): disconnect whoever reads it "
         "there, then try again",
         op->slot->name, session.node[0] != '\0' ? session.node : "?",
         session.address[0] != '\0' ? session.address : "no address");
    metadata_session_done(&session);
    catalog_op_end(op, -EBUSY);
}

void catalog_op_readers(struct catalog_op *op, uint64_t cut, catalog_step_fn *next)
{
    if (!catalog_is_cluster(op->catalog)) {
        next(op, 0);
        return;
    }
    struct metadata_key prefix = metadata_reader_prefix(op->record.id, cut);
    struct meta_slice none = {0};
    op->read = next;
    meta_request_reset(&op->request);
    meta_list(&op->request, META_SLICE(prefix), none, 1);
    catalog_op_commit(op, readers_listed);
}

/* --- The session ------------------------------------------------------------------------------ */

void catalog_views_lease(struct catalog *catalog)
{
    LIST_EACH (&catalog->views, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->copies != NULL && owned->ended == 0)
            copies_lease(owned->copies, catalog->session.bound_ns);
    }
}

void catalog_views_end(struct catalog *catalog)
{
    LIST_EACH (&catalog->views, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        owned->ended = IOMESH_FENCED;
        if (owned->copies != NULL)
            copies_end(owned->copies, IOMESH_FENCED);
    }
}

void catalog_views_port(struct catalog *catalog, struct part_port *port)
{
    LIST_EACH (&catalog->views, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->copies != NULL)
            copies_port_changed(owned->copies, port);
    }
}

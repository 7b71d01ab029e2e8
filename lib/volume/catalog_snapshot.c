/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One snapshot: created, deleted, and what a handle is told changed since it.
 *
 *   live ──▶ deleting ──▶ no record
 *     └──▶ hidden ──┘ when no clone needs it
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

int catalog_may_snapshot(struct catalog *catalog, const char *volume, const char *snapshot)
{
    int error = catalog_may_start(catalog, volume, true);
    return error != 0 ? error : name_check("snapshot", snapshot, strlen(snapshot));
}

/* --- Creating ------------------------------------------------------------------------------- */

struct snapshot_create {
    struct catalog_gang gang;
    char name[CATALOG_NAME_BYTES_MAX + 1];
};

static void create_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(op);
    done(context, result);
}

static void create_taken(struct catalog_op *op, int result)
{
    struct catalog_gang *gang = CONTAINER_OF(op, struct catalog_gang, op);
    struct catalog_member *member = gang->members[0];
    if (result == 0)
        catalog_tell(op->catalog, STORE_INFO, member->op.record.id, member->snapshot.bytes,
                     "volume \"%s\": snapshot \"%s\" taken, cut %llu", member->name,
                     member->snapshot.name, (unsigned long long)member->snapshot.cut);
    catalog_gang_finish(gang, result);
}

static void create_ready(struct catalog_op *op, int result)
{
    struct catalog_gang *gang = CONTAINER_OF(op, struct catalog_gang, op);
    struct catalog_member *member = gang->members[0];
    if (catalog_gang_prepare(gang))
        return;
    result = catalog_take_check(&member->op, member->snapshot.name);
    if (result == 0 && member->op.record.incomplete)
        result = FAIL(-EBUSY, "volume \"%s\" is incomplete: an import into it has not ended",
                      member->name);
    if (result != 0)
        create_taken(op, result);
    else
        catalog_gang_take(gang, NULL, create_taken);
}

static void create_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_gang_gather(CONTAINER_OF(op, struct catalog_gang, op), create_ready);
}

int catalog_snapshot_create(struct catalog *catalog, const char *volume, const char *snapshot,
                            const uint8_t uuid[16], catalog_done_fn *done, void *context)
{
    int error = catalog_may_snapshot(catalog, volume, snapshot);
    if (error != 0)
        return error;
    struct catalog_gang *gang = calloc(1, sizeof *gang);
    struct catalog_member *member = gang == NULL ? NULL : catalog_gang_add(gang, volume);
    if (member == NULL) {
        free(gang);
        return FAIL(-ENOMEM, "a snapshot of volume \"%s\": no memory", volume);
    }
    memcpy(member->snapshot.name, snapshot, strlen(snapshot) + 1);
    memcpy(member->snapshot.uuid, uuid, sizeof member->snapshot.uuid);
    gang->op.done = done;
    gang->op.context = context;
    return catalog_gang_start(gang, catalog, create_begin, create_end);
}

/* --- Deleting ------------------------------------------------------------------------------- */

int catalog_drop_check(const struct catalog_op *op, const struct catalog_cut *cut)
{
    const char *volume = op->slot->name;
    const char *name = cut->record.name;
    if (catalog_slot_view(op->slot, cut->record.cut) != NULL)
        return FAIL(-EBUSY,
                    "snapshot \"%s@%s\" is open: disconnect whoever reads it, then try again",
                    volume, name);
    if (op->record.rollback_cut == cut->record.cut)
        return FAIL(-EBUSY, "volume \"%s\" is being rolled back to its snapshot \"%s\"", volume,
                    name);
    if (op->record.incomplete && op->record.import_base == cut->record.cut)
        return FAIL(-EBUSY,
                    "an import into volume \"%s\" began from its snapshot \"%s\", and has not "
                    "ended",
                    volume, name);
    return 0;
}

int catalog_drop_build(struct catalog_op *op, struct catalog_cut *cut, struct meta_request *request)
{
    bool clones = cut->record.clones > 0;
    if (clones)
        REACH(catalog_snapshot_hidden);
    cut->record.state = clones ? METADATA_SNAPSHOT_HIDDEN : METADATA_SNAPSHOT_DELETING;
    cut->record.group[0] = '\0';
    op->record.snapshots -= op->record.snapshots > 0 ? 1 : 0;
    int result = catalog_put_snapshot(request, &cut->record, cut->revision);
    return result != 0 ? result : catalog_put_record(request, &op->record, op->revision);
}

void catalog_drop_committed(struct catalog_op *op, uint64_t revision)
{
    struct catalog_volume *volume = op->slot->open;
    if (volume != NULL) {
        struct metadata_volume record = op->record;
        catalog_volume_listed(volume, &op->cuts);
        catalog_volume_changed(volume, &record, revision);
    }
    catalog_chore_wake(op->catalog, op->record.id);
}

struct snapshot_delete {
    struct catalog_op op;
    char name[CATALOG_NAME_BYTES_MAX + 1];
};

static void delete_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(op);
    done(context, result);
}

static void delete_begin(struct catalog_op *op, int result);

static void delete_committed(struct catalog_op *op, int result)
{
    const char *name = CONTAINER_OF(op, struct snapshot_delete, op)->name;
    if (result == 0 && op->request.succeeded) {
        catalog_drop_committed(op, op->request.revision);
        catalog_tell(op->catalog, STORE_INFO, op->record.id, op->record.bytes,
                     "volume \"%s\": snapshot \"%s\" deleted", op->slot->name, name);
    } else if (op->slot->open != NULL) {
        catalog_volume_changed(op->slot->open, NULL, 0);
    }
    if (result != 0)
        catalog_op_fail(op, result);
    else if (!op->request.succeeded)
        delete_begin(op, 0); /* One clone less than was read. */
    else
        catalog_op_end(op, 0);
}

static void delete_held(struct catalog_op *op, int result)
{
    struct snapshot_delete *delete = CONTAINER_OF(op, struct snapshot_delete, op);
    meta_request_reset(&op->request);
    result = catalog_drop_build(op, catalog_cuts_named(&op->cuts, delete->name), &op->request);
    if (result == 0)
        catalog_op_commit(op, delete_committed);
    else
        catalog_op_later(op, result, delete_committed);
}

static void delete_unread(struct catalog_op *op, int result)
{
    (void)result;
    if (op->slot->open != NULL)
        catalog_op_hold_record(op, delete_held);
    else
        catalog_op_owner(op, delete_held);
}

static void delete_listed(struct catalog_op *op, int result)
{
    const char *name = CONTAINER_OF(op, struct snapshot_delete, op)->name;
    const struct catalog_cut *cut = catalog_cuts_named(&op->cuts, name);
    (void)result;
    if (cut == NULL)
        result = FAIL(-ENOENT, "volume \"%s\" has no snapshot \"%s\"", op->slot->name, name);
    else if (cut->record.group[0] != '\0' && !MUTANT(119))
        result = FAIL(-EBUSY, "snapshot \"%s@%s\" is one of the group \"%s\": delete the group",
                      op->slot->name, name, cut->record.group);
    else
        result = catalog_drop_check(op, cut);
    if (result != 0)
        catalog_op_end(op, result);
    else
        catalog_op_readers(op, cut->record.cut, delete_unread);
}

static void delete_loaded(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_list(op, op->record.id, delete_listed);
}

static void delete_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_load(op, delete_loaded);
}

int catalog_snapshot_delete(struct catalog *catalog, const char *volume, const char *snapshot,
                            catalog_done_fn *done, void *context)
{
    int error = catalog_may_snapshot(catalog, volume, snapshot);
    if (error != 0)
        return error;
    struct snapshot_delete *delete = calloc(1, sizeof *delete);
    if (delete == NULL)
        return FAIL(-ENOMEM, "deleting a snapshot of volume \"%s\": no memory", volume);
    memcpy(delete->name, snapshot, strlen(snapshot) + 1);
    delete->op.done = done;
    delete->op.context = context;
    error = catalog_op_start(&delete->op, catalog, volume, delete_begin, delete_end);
    if (error != 0)
        free(delete);
    return error;
}

/* --- What changed since one ----------------------------------------------------------------- */

struct since {
    struct catalog_op op;
    uint64_t view; /* What the handle shows. */
    uint64_t cut;
    catalog_cut_fn *done;
    char name[CATALOG_NAME_BYTES_MAX + 1];
};

static void since_end(struct catalog_op *op, int result)
{
    struct since *since = CONTAINER_OF(op, struct since, op);
    catalog_cut_fn *done = since->done;
    void *context = op->context;
    uint64_t cut = since->cut;
    free(since);
    done(context, result, cut);
}

static void since_listed(struct catalog_op *op, int result)
{
    struct since *since = CONTAINER_OF(op, struct since, op);
    const struct catalog_cut *cut = catalog_cuts_named(&op->cuts, since->name);
    if (cut == NULL) {
        result = FAIL(-ENOENT, "volume \"%s\" has no snapshot \"%s\"", op->slot->name, since->name);
    } else if (cut->record.cut >= since->view) {
        result =
            FAIL(-EINVAL, "snapshot \"%s@%s\" is not older than what is to be compared with it",
                 op->slot->name, since->name);
    } else {
        since->cut = cut->record.cut;
    }
    catalog_op_end(op, result);
}

static void since_loaded(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_list(op, op->record.id, since_listed);
}

static void since_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_load(op, since_loaded);
}

int catalog_changed_since(struct catalog_handle *handle, const char *snapshot, catalog_cut_fn *done,
                          void *context)
{
    struct catalog *catalog = handle->volume->catalog;
    const char *volume = handle->volume->slot->name;
    int error = catalog_may_start(catalog, volume, false);
    if (error == 0)
        error = name_check("snapshot", snapshot, strlen(snapshot));
    if (error != 0)
        return error;
    struct since *since = calloc(1, sizeof *since);
    if (since == NULL)
        return FAIL(-ENOMEM, "volume \"%s\": no memory", volume);
    memcpy(since->name, snapshot, strlen(snapshot) + 1);
    since->view = handle->volume->view;
    since->done = done;
    since->op.context = context;
    error = catalog_op_start(&since->op, catalog, volume, since_begin, since_end);
    if (error != 0)
        free(since);
    return error;
}

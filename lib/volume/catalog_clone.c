/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cloning: the name and the record of a new volume, and one clone more in the record of the
 * snapshot that it reads from, in one transaction. Without a snapshot a hidden one is taken, in the
 * same transaction.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

struct clone {
    struct catalog_gang gang;
    struct catalog_member *source, *target;
    uint64_t cut;                              /* Of the parent. */
    struct catalog_birth birth;                /* In a cluster. */
    char snapshot[CATALOG_NAME_BYTES_MAX + 1]; /* "": of the volume as it is. */
};

static struct clone *clone_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct clone, gang.op);
}

static void clone_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    catalog_birth_end(op->catalog, &clone_of(op)->birth, op->id, result);
    free(clone_of(op));
    done(context, result);
}

/* The new volume, as large as what it reads from. */
static struct metadata_volume clone_record(const struct clone *clone, uint64_t bytes)
{
    const struct metadata_volume *parent = &clone->source->op.record;
    const struct catalog_op *op = &clone->gang.op;
    struct metadata_volume record = {
        .id = op->id,
        .bytes = bytes,
        .sector_bytes = parent->sector_bytes,
        .state = METADATA_VOLUME_LIVE,
        .sequence_end = 1, /* 0 is what was never written. */
        .created_ns = clock_wall_ns(op->catalog->options.clock),
        .policy = parent->policy,
        .parent_volume = parent->id,
        .parent_cut = clone->cut,
    };
    memcpy(record.name, clone->target->name, sizeof record.name);
    return record;
}

static int clone_put(struct clone *clone, uint64_t bytes)
{
    struct catalog_op *op = &clone->gang.op;
    struct metadata_volume record = clone_record(clone, bytes);
    int result = catalog_put_name(&op->request, &record);
    return result != 0 ? result : catalog_birth_put(&clone->birth, &record, &op->request);
}

static void clone_told(struct clone *clone, int result)
{
    struct catalog_op *op = &clone->gang.op;
    if (result == 0)
        catalog_tell(op->catalog, STORE_INFO, op->id, 0,
                     "volume \"%s\": created, number %llu, a clone of volume \"%s\"",
                     clone->target->name, (unsigned long long)op->id, clone->source->name);
    catalog_gang_finish(&clone->gang, result);
}

/* --- Of a snapshot -------------------------------------------------------------------------- */

static void snapshot_start(struct catalog_op *op, int result);

static void snapshot_committed(struct catalog_op *op, int result)
{
    struct clone *clone = clone_of(op);
    if (result == 0 && !op->request.succeeded) {
        /* The snapshot lost a clone since it was read, or there is a volume of that name. */
        catalog_op_list(&clone->source->op, clone->source->op.record.id, snapshot_start);
        return;
    }
    if (result != 0)
        FAIL(result, "volume \"%s\": cloning it: %s", clone->source->name, base_error_text(result));
    clone_told(clone, result);
}

static void snapshot_put(struct clone *clone)
{
    struct catalog_op *op = &clone->gang.op;
    struct catalog_cut *cut = catalog_cuts_named(&clone->source->op.cuts, clone->snapshot);
    int result;
    clone->cut = cut->record.cut;
    cut->record.clones++;
    meta_request_reset(&op->request);
    result = MUTANT(116) ? 0 : catalog_put_snapshot(&op->request, &cut->record, cut->revision);
    if (result == 0)
        result = clone_put(clone, cut->record.bytes);
    if (result == 0)
        catalog_op_commit(op, snapshot_committed);
    else
        catalog_op_later(op, result, snapshot_committed);
}

/* Is there a volume of the new name? Then nothing has to be held for that to be found out. */
static void target_looked(struct catalog_op *op, int result);

static void snapshot_start(struct catalog_op *op, int result)
{
    struct catalog_member *source = CONTAINER_OF(op, struct catalog_member, op);
    struct clone *clone = clone_of(&source->gang->op);
    struct catalog_op *leader = &clone->gang.op;
    struct metadata_key key = metadata_name_key(clone->target->name, strlen(clone->target->name));
    (void)result;
    meta_request_reset(&leader->request);
    meta_get(&leader->request, META_SLICE(key));
    catalog_op_commit(leader, target_looked);
}

/* --- Of a volume as it is ------------------------------------------------------------------- */

static int volume_build(struct catalog_gang *gang)
{
    struct clone *clone = clone_of(&gang->op);
    clone->cut = clone->source->snapshot.cut;
    return clone_put(clone, clone->source->snapshot.bytes);
}

static void volume_taken(struct catalog_op *op, int result)
{
    clone_told(clone_of(op), result);
}

static int volume_check(const struct catalog_member *source)
{
    int result = catalog_take_check(&source->op, NULL);
    if (result == 0 && source->op.record.incomplete)
        result = FAIL(-EBUSY, "volume \"%s\" is incomplete: an import into it has not ended",
                      source->name);
    return result;
}

/* --- Beginning ------------------------------------------------------------------------------ */

static void clone_placed(struct catalog_op *op, int result)
{
    struct clone *clone = clone_of(op);
    if (result != 0)
        catalog_gang_finish(&clone->gang, result);
    else if (clone->snapshot[0] != '\0')
        snapshot_put(clone);
    else
        catalog_gang_take(&clone->gang, volume_build, volume_taken);
}

static void clone_resolved(struct catalog_op *op, int result)
{
    struct clone *clone = clone_of(op);
    (void)result;
    const struct catalog_op *source = &clone->source->op;
    const struct catalog_cut *cut = catalog_cuts_named(&source->cuts, clone->snapshot);
    struct metadata_volume record =
        clone_record(clone, cut != NULL ? cut->record.bytes : source->record.bytes);
    catalog_birth_start(op, &clone->birth, &record, clone_placed);
}

static void clone_numbered(struct catalog_op *op, int result)
{
    struct clone *clone = clone_of(op);
    const struct catalog_op *source = &clone->source->op;
    const struct catalog_cut *cut = catalog_cuts_named(&source->cuts, clone->snapshot);
    if (result != 0) {
        FAIL(result, "volume \"%s\": cloning it: %s", clone->source->name, base_error_text(result));
        catalog_gang_finish(&clone->gang, result);
        return;
    }
    /* How deep it is: more than a volume can be opened with is refused here. */
    catalog_op_resolve(op, source->record.id, cut != NULL ? cut->record.cut : VIEW_HEAD,
                       clone_resolved);
}

static void target_looked(struct catalog_op *op, int result)
{
    struct clone *clone = clone_of(op);
    const char *name = clone->snapshot;
    const struct catalog_op *source = &clone->source->op;
    if (result != 0)
        FAIL(result, "volume \"%s\": %s", clone->target->name, base_error_text(result));
    else if (op->request.responses[0].entry_count > 0)
        result = FAIL(-EEXIST, "there is a volume \"%s\" already", clone->target->name);
    else if (name[0] == '\0')
        result = volume_check(clone->source);
    else if (catalog_cuts_named(&source->cuts, name) == NULL)
        result = FAIL(-ENOENT, "volume \"%s\" has no snapshot \"%s\"", clone->source->name, name);
    if (result != 0)
        catalog_gang_finish(&clone->gang, result);
    else if (op->id != 0)
        clone_numbered(op, 0);
    else
        catalog_op_take_id(op, clone_numbered);
}

static void clone_ready(struct catalog_op *op, int result)
{
    /* Of a snapshot nobody need own the volume. */
    if (clone_of(op)->snapshot[0] == '\0' && catalog_gang_prepare(&clone_of(op)->gang))
        return;
    snapshot_start(&clone_of(op)->source->op, result);
}

static void clone_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_gang_gather(&clone_of(op)->gang, clone_ready);
}

static struct clone *clone_new(const char *volume, const char *new_name)
{
    struct clone *clone = calloc(1, sizeof *clone);
    if (clone == NULL)
        return NULL;
    clone->source = catalog_gang_add(&clone->gang, volume);
    clone->target = catalog_gang_add(&clone->gang, new_name);
    if (clone->source != NULL && clone->target != NULL)
        return clone;
    catalog_gang_forget(&clone->gang);
    free(clone);
    return NULL;
}

int catalog_clone(struct catalog *catalog, const char *volume, const char *snapshot,
                  const char *new_name, catalog_done_fn *done, void *context)
{
    int error = catalog_may_start(catalog, volume, true);
    if (error == 0)
        error = catalog_check_name(new_name);
    if (error == 0 && snapshot != NULL)
        error = name_check("snapshot", snapshot, strlen(snapshot));
    if (error == 0 && strcmp(volume, new_name) == 0)
        error = FAIL(-EEXIST, "there is a volume \"%s\" already", new_name);
    if (error != 0)
        return error;
    struct clone *clone = clone_new(volume, new_name);
    if (clone == NULL)
        return FAIL(-ENOMEM, "cloning volume \"%s\": no memory", volume);
    struct metadata_snapshot *hidden = &clone->source->snapshot;
    clone->target->bare = true;
    hidden->state = METADATA_SNAPSHOT_HIDDEN;
    hidden->clones = 1;
    (void)snprintf(hidden->name, sizeof hidden->name, "clone");
    if (snapshot != NULL)
        memcpy(clone->snapshot, snapshot, strlen(snapshot) + 1);
    clone->gang.op.done = done;
    clone->gang.op.context = context;
    return catalog_gang_start(&clone->gang, catalog, clone_begin, clone_end);
}

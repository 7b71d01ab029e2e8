/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Imports.
 *
 *   a new volume, marked ─────────────┐
 *                                     ├──▶ a handle ──▶ the snapshot, and no mark: one transaction
 *   its base is there, nothing has ───┘        │
 *   changed since: marked                      └──▶ abandoned: deleted, or rolled back to the base
 *
 * A volume that is marked can be opened for writing by its import only, and has no snapshot taken.
 * The base is known by its uuid: names are given anew, and the same data may have two histories.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

#define EXTENTS 16u

void catalog_import_clear(struct metadata_volume *record)
{
    record->incomplete = false;
    record->import_base = record->import_bytes = 0;
    memset(record->import_uuid, 0, sizeof record->import_uuid);
    memset(record->import_name, 0, sizeof record->import_name);
}

/* Becomes the handle that it opens. */
struct import {
    struct catalog_handle handle;
    struct catalog_import what;
    char snapshot[CATALOG_NAME_BYTES_MAX + 1];
    char base_name[CATALOG_NAME_BYTES_MAX + 1];
    uint64_t base, since;
    struct metadata_volume record; /* Of a new one. */
    struct catalog_birth birth;    /* In a cluster. */
    bool born;
    int result;
    struct volume_io io;
    struct volume_extent extents[EXTENTS];
};

static struct import *import_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct import, handle.op);
}

static void import_end(struct catalog_op *op, int result)
{
    struct import *import = import_of(op);
    catalog_opened_fn *opened = import->handle.opened;
    void *context = op->context;
    catalog_birth_end(op->catalog, &import->birth, op->id, import->born ? 0 : result);
    if (result != 0)
        free(import);
    opened(context, result, result == 0 ? &import->handle : NULL);
}

static void import_mark(const struct import *import, struct metadata_volume *record)
{
    record->incomplete = true;
    record->import_base = import->base;
    record->import_bytes = import->base != 0 ? record->bytes : 0;
    memcpy(record->import_uuid, import->what.uuid, sizeof record->import_uuid);
    memcpy(record->import_name, import->snapshot, sizeof record->import_name);
}

/* --- The handle ----------------------------------------------------------------------------- */

static void import_opened(struct catalog_op *op, int result)
{
    struct import *import = import_of(op);
    (void)result;
    import->handle.volume = op->slot->open;
    list_push_back(&import->handle.volume->handles, &import->handle.node);
    op->catalog->handle_count++;
    catalog_op_end(op, 0);
}

static void import_closed(struct catalog_op *op, int result)
{
    struct import *import = import_of(op);
    (void)result;
    if (import->result == -ESTALE)
        FAIL(-ESTALE,
             "volume \"%s\" has changed since its snapshot \"%s\", which the increment was made "
             "against: roll it back to %s@%s, or import into another volume",
             op->slot->name, import->base_name, op->slot->name, import->base_name);
    else
        FAIL(import->result, "volume \"%s\": an import into it: %s", op->slot->name,
             base_error_text(import->result));
    catalog_op_end(op, import->result);
}

/* It was opened for this, by us alone. */
static void import_fail(struct import *import, int result)
{
    import->result = result;
    catalog_op_close_volume(&import->handle.op, import_closed);
}

/* --- An increment --------------------------------------------------------------------------- */

static void cut_done(struct catalog_op *op, int result)
{
    const struct catalog_volume *volume = op->slot->open;
    if (result != 0) {
        import_fail(import_of(op), result);
        return;
    }
    volume_set_bytes(volume->volume, volume->record.bytes);
    import_opened(op, 0);
}

static void cut_off(struct volume_io *io, int result)
{
    catalog_op_later(&CONTAINER_OF(io, struct import, io)->handle.op, result, cut_done);
}

/* What is behind a smaller size goes: it never comes back. */
static void import_cut(struct catalog_op *op)
{
    struct volume_io *io = &import_of(op)->io;
    const struct catalog_volume *volume = op->slot->open;
    uint64_t bytes = volume_bytes(volume->volume);
    if (bytes <= volume->record.bytes) {
        cut_done(op, 0);
        return;
    }
    io->kind = VOLUME_DISCARD;
    io->offset = volume->record.bytes;
    io->length = bytes - volume->record.bytes;
    io->done = cut_off;
    volume_submit(volume->volume, io);
}

static void mark_committed(struct catalog_op *op, int result)
{
    struct catalog_volume *volume = op->slot->open;
    struct metadata_volume record = op->record;
    if (result == 0 && !op->request.succeeded)
        result = IOMESH_CONFLICT;
    catalog_volume_changed(volume, result == 0 ? &record : NULL, op->request.revision);
    if (result != 0) {
        import_fail(import_of(op), result);
        return;
    }
    import_cut(op);
}

static void mark_held(struct catalog_op *op, int result)
{
    const struct import *import = import_of(op);
    import_mark(import, &op->record);
    if (import->what.force || import->what.bytes > op->record.bytes)
        op->record.bytes = import->what.bytes;
    meta_request_reset(&op->request);
    result = catalog_put_record(&op->request, &op->record, op->revision);
    if (result == 0)
        catalog_op_commit(op, mark_committed);
    else
        catalog_op_later(op, result, mark_committed);
}

static void compare_next(struct catalog_op *op, int result);

static void compare_done(struct volume_io *io, int result)
{
    struct import *import = CONTAINER_OF(io, struct import, io);
    for (uint32_t i = 0; i < io->extent_count && result == 0; i++) {
        result = (io->extents[i].flags & VOLUME_EXTENT_CHANGED) != 0 ? -ESTALE : 0;
        io->offset += io->extents[i].bytes;
        io->length -= io->extents[i].bytes;
    }
    catalog_op_later(&import->handle.op, result, compare_next);
}

static void compare_next(struct catalog_op *op, int result)
{
    struct import *import = import_of(op);
    if (result != 0)
        import_fail(import, result);
    else if (import->io.length == 0)
        catalog_op_hold_record(op, mark_held);
    else
        volume_submit(op->slot->open->volume, &import->io);
}

static const struct catalog_cut *base_find(const struct catalog_op *op, const uint8_t uuid[16])
{
    for (uint32_t i = 0; i < op->cuts.count; i++) {
        const struct metadata_snapshot *record = &op->cuts.items[i].record;
        if (record->state == METADATA_SNAPSHOT_LIVE &&
            memcmp(record->uuid, uuid, sizeof record->uuid) == 0)
            return &op->cuts.items[i];
    }
    return NULL;
}

/* Has the head anything that the base has not? Rolling back to it leaves newer sequences. */
static void compare_start(struct catalog_op *op, int result)
{
    struct import *import = import_of(op);
    const struct metadata_volume *record = &op->slot->open->record;
    bool equal = record->equal_cut == import->base && record->equal_sequence != 0;
    const struct catalog_cut *base = base_find(op, import->what.base_uuid);
    /* Another process may have been first, between the looking and the owning. */
    if (record->id != import->record.id || record->incomplete || base == NULL) {
        import_fail(import, IOMESH_CONFLICT);
        return;
    }
    import->io.kind = VOLUME_CHANGED;
    import->io.length = volume_bytes(op->slot->open->volume);
    import->io.since = equal ? record->equal_sequence - 1 : import->base;
    import->io.extents = import->extents;
    import->io.extent_max = EXTENTS;
    import->io.done = compare_done;
    compare_next(op, result);
}

static int increment_check(const struct import *import, const struct catalog_op *op,
                           const struct catalog_cut *base)
{
    const char *name = op->slot->name;
    const struct catalog_import *what = &import->what;
    if (base == NULL)
        return FAIL(-ENOENT,
                    "volume \"%s\" does not have the snapshot that the increment was made against",
                    name);
    int result = catalog_take_check(op, import->snapshot);
    if (result != 0)
        return result;
    const struct catalog_cut *same = base_find(op, what->uuid);
    if (same != NULL)
        return FAIL(-EEXIST, "volume \"%s\" has what the increment leads to: its snapshot \"%s\"",
                    name, same->record.name);
    if (op->record.bytes < base->record.bytes)
        return FAIL(-ESTALE,
                    "volume \"%s\" has %llu bytes, but %llu in its snapshot \"%s\", which the "
                    "increment was made against: roll it back to %s@%s and that size",
                    name, (unsigned long long)op->record.bytes,
                    (unsigned long long)base->record.bytes, base->record.name, name,
                    base->record.name);
    if (what->sector_bytes != op->record.sector_bytes)
        return FAIL(-EINVAL,
                    "volume \"%s\" has sectors of %u bytes, the increment of %u: import the whole "
                    "snapshot instead",
                    name, op->record.sector_bytes, what->sector_bytes);
    if (what->bytes < base->record.bytes && !what->force)
        return FAIL(-EPERM,
                    "volume \"%s\" has %llu bytes, and what was exported was made smaller, to "
                    "%llu: importing that would lose what is beyond, and that is not forced",
                    name, (unsigned long long)op->record.bytes, (unsigned long long)what->bytes);
    return 0;
}

/* What it grows by has a place. */
static void increment_grown(struct catalog_op *op, int result)
{
    if (result == -ENOSPC)
        catalog_op_end(op, result); /* It has a sentence. */
    else if (result != 0)
        catalog_op_fail(op, result);
    else
        catalog_op_open_volume(op, compare_start);
}

static void increment_listed(struct catalog_op *op, int result)
{
    struct import *import = import_of(op);
    const struct catalog_cut *base = base_find(op, import->what.base_uuid);
    result = increment_check(import, op, base);
    if (result != 0) {
        catalog_op_end(op, result);
        return;
    }
    import->record.id = op->record.id;
    import->base = base->record.cut;
    memcpy(import->base_name, base->record.name, sizeof base->record.name);
    if (catalog_is_cluster(op->catalog) && import->what.bytes > op->record.bytes)
        catalog_op_grow(op, import->what.bytes, increment_grown);
    else
        catalog_op_open_volume(op, compare_start);
}

static void increment_again(struct catalog_op *op, int result);

static void increment_loaded(struct catalog_op *op, int result)
{
    (void)result;
    if (op->record.incomplete)
        catalog_op_end(op, FAIL(-EBUSY,
                                "volume \"%s\" is incomplete: another import into it has not "
                                "ended; abandon that first",
                                op->slot->name));
    else if (op->record.rollback_cut != 0)
        catalog_op_finish_rollback(op, increment_again);
    else
        catalog_op_list(op, op->record.id, increment_listed);
}

static void increment_again(struct catalog_op *op, int result)
{
    if (result != 0)
        catalog_op_fail(op, result);
    else
        catalog_op_load(op, increment_loaded);
}

/* --- A new volume --------------------------------------------------------------------------- */

/* Between making and owning it another process may have abandoned it, and given its name to another
 * volume. */
static void new_opened(struct catalog_op *op, int result)
{
    struct import *import = import_of(op);
    const struct metadata_volume *record = &op->slot->open->record;
    if ((record->id != import->record.id || !record->incomplete) && !MUTANT(379)) {
        REACH(catalog_import_overtaken);
        import_fail(import, IOMESH_CONFLICT);
    } else {
        import_opened(op, result);
    }
}

static void new_committed(struct catalog_op *op, int result)
{
    import_of(op)->born = result == 0 && op->request.succeeded;
    if (result != 0)
        catalog_op_fail(op, result);
    else if (!op->request.succeeded)
        catalog_op_end(op, FAIL(-EEXIST, "there is a volume \"%s\" already", op->slot->name));
    else
        catalog_op_open_volume(op, new_opened);
}

static int new_policy(struct import *import, struct metadata_volume *record)
{
    const struct catalog_import *what = &import->what;
    struct catalog_create create = {
        .bytes = record->bytes,
        .copies = what->copies,
        .copies_min = what->copies_min,
        .domain = what->domain,
        .media = what->media,
    };
    int result = catalog_create_check(import->handle.op.catalog, record->name, &create);
    record->policy = (struct metadata_policy){
        .copies = create.copies,
        .copies_min = create.copies_min,
        .domain = create.domain,
        .media = create.media,
    };
    return result;
}

static void new_placed(struct catalog_op *op, int result)
{
    struct import *import = import_of(op);
    if (result != 0) {
        catalog_op_end(op, result);
        return;
    }
    meta_request_reset(&op->request);
    result = catalog_put_name(&op->request, &import->record);
    if (result == 0)
        result = catalog_birth_put(&import->birth, &import->record, &op->request);
    if (result == 0)
        catalog_op_commit(op, new_committed);
    else
        catalog_op_later(op, result, new_committed);
}

static void new_numbered(struct catalog_op *op, int result)
{
    struct import *import = import_of(op);
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    struct metadata_volume record = {
        .id = op->id,
        .bytes = import->what.bytes,
        .sector_bytes = import->what.sector_bytes,
        .state = METADATA_VOLUME_LIVE,
        .sequence_end = 1, /* 0 is what was never written. */
        .created_ns = clock_wall_ns(op->catalog->options.clock),
    };
    memcpy(record.name, op->slot->name, strlen(op->slot->name) + 1);
    import_mark(import, &record);
    result = new_policy(import, &record);
    import->record = record;
    if (result != 0)
        catalog_op_end(op, result);
    else
        catalog_birth_start(op, &import->birth, &import->record, new_placed);
}

/* Nothing is made that could not be opened then. */
static void new_begin(struct catalog_op *op, int result)
{
    result = catalog_may_claim(op);
    if (result != 0)
        catalog_op_end(op, result);
    else
        catalog_op_take_id(op, new_numbered);
}

/* --- Beginning ------------------------------------------------------------------------------ */

static void begin_busy(struct catalog_op *op, int result)
{
    (void)result;
    if (import_of(op)->what.increment)
        catalog_op_end(
            op, FAIL(-EBUSY,
                     "volume \"%s\" is open, and an increment is imported when nobody uses it: "
                     "disconnect whoever does, then try again",
                     op->slot->name));
    else
        catalog_op_end(op, FAIL(-EEXIST, "there is a volume \"%s\" already", op->slot->name));
}

static void import_begin(struct catalog_op *op, int result)
{
    (void)result;
    if (op->slot->open != NULL)
        catalog_op_later(op, 0, begin_busy);
    else if (import_of(op)->what.increment)
        catalog_op_load(op, increment_loaded);
    else
        catalog_op_later(op, 0, new_begin);
}

int catalog_import_begin(struct catalog *catalog, const char *name,
                         const struct catalog_import *what, catalog_opened_fn *opened,
                         void *context)
{
    int error = catalog_may_snapshot(catalog, name, what->snapshot);
    if (error == 0)
        error = catalog_check_size(name, what->bytes);
    if (error == 0 && what->sector_bytes != 512 && what->sector_bytes != 4096)
        error = FAIL(-EINVAL, "volume \"%s\": a sector of %u bytes: it is 512 or 4096", name,
                     what->sector_bytes);
    if (error != 0)
        return error;
    struct import *import = calloc(1, sizeof *import);
    if (import == NULL)
        return FAIL(-ENOMEM, "an import into volume \"%s\": no memory", name);
    import->what = *what;
    memcpy(import->snapshot, what->snapshot, strlen(what->snapshot) + 1);
    import->handle.importing = true;
    import->handle.opened = opened;
    import->handle.op.writes = import->handle.op.inside = true;
    import->handle.op.context = context;
    error = catalog_op_start(&import->handle.op, catalog, name, import_begin, import_end);
    if (error != 0)
        free(import);
    return error;
}

/* --- Ending --------------------------------------------------------------------------------- */

struct import_last {
    struct catalog_gang gang;
    struct catalog_handle *handle;
    uint64_t bytes; /* Of what was exported: the snapshot's. */
};

static void last_end(struct catalog_op *op, int result)
{
    struct import_last *last = CONTAINER_OF(op, struct import_last, gang.op);
    catalog_done_fn *done = op->done;
    void *context = op->context;
    if (result == 0)
        last->handle->importing = false;
    free(last);
    done(context, result);
}

static void last_taken(struct catalog_op *op, int result)
{
    catalog_gang_end(CONTAINER_OF(op, struct catalog_gang, op), result);
}

static void last_adjust(struct catalog_member *member)
{
    catalog_import_clear(&member->op.record);
}

static void last_ready(struct catalog_op *op, int result)
{
    struct catalog_gang *gang = CONTAINER_OF(op, struct catalog_gang, op);
    struct catalog_member *member = gang->members[0];
    const struct metadata_volume *record = &member->op.record;
    const struct import_last *last = CONTAINER_OF(gang, struct import_last, gang);
    if (member->op.slot->open != last->handle->volume) {
        FAIL(IOMESH_FENCED, "volume \"%s\": an import into it: %s", member->name,
             base_error_text(IOMESH_FENCED));
        catalog_gang_end(gang, IOMESH_FENCED);
        return;
    }
    memcpy(member->snapshot.name, record->import_name, sizeof record->import_name);
    memcpy(member->snapshot.uuid, record->import_uuid, sizeof record->import_uuid);
    member->adjust = last_adjust;
    member->bytes = last->bytes;
    result = catalog_take_check(&member->op, member->snapshot.name);
    if (result != 0)
        catalog_gang_end(gang, result);
    else
        catalog_gang_take(gang, NULL, last_taken);
}

static void last_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_gang_gather(CONTAINER_OF(op, struct catalog_gang, op), last_ready);
}

int catalog_import_end(struct catalog_handle *handle, catalog_done_fn *done, void *context)
{
    struct catalog *catalog = handle->volume->catalog;
    const char *name = handle->volume->slot->name;
    int error = catalog_may_start(catalog, name, true);
    if (error != 0)
        return error;
    if (!handle->importing)
        return FAIL(-EINVAL, "volume \"%s\": no import into it was begun with this handle", name);
    struct import_last *last = calloc(1, sizeof *last);
    if (last == NULL || catalog_gang_add(&last->gang, name) == NULL) {
        free(last);
        return FAIL(-ENOMEM, "an import into volume \"%s\": no memory", name);
    }
    last->handle = handle;
    last->bytes = CONTAINER_OF(handle, struct import, handle)->what.bytes;
    last->gang.op.done = done;
    last->gang.op.context = context;
    return catalog_gang_start(&last->gang, catalog, last_begin, last_end);
}

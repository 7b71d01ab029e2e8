/* SPDX-License-Identifier: Apache-2.0 */
/* What is there against what may be there. */
#include <stdio.h>
#include <string.h>

#include "sim/family.h"
#include "store/internal.h"

/* --- Looking -------------------------------------------------------------------------------- */

/* Context of everything here: the rig, which a cut leaves waiting. */
static struct family *family_of(void *context)
{
    return CONTAINER_OF((struct catalog_rig *)context, struct family, rig);
}

static bool look_end(struct family *family, int accepted, const char *what)
{
    struct catalog_rig *rig = &family->rig;
    if (accepted != 0)
        return catalog_rig_wrong(rig, "%s: refused: %s", what, base_last_error());
    return catalog_rig_wait(rig, &rig->waiting, what);
}

static void look_info(void *context, const struct catalog_info *info)
{
    struct family_volume *volume = family_of(context)->seen_volume;
    volume->exists = true;
    volume->bytes = info->bytes;
    volume->incomplete = (info->flags & CATALOG_INCOMPLETE) != 0;
}

static void look_snapshot(void *context, const struct catalog_snapshot *snapshot)
{
    struct family *family = family_of(context);
    if (snapshot->hidden || snapshot->deleting)
        return;
    for (unsigned i = 0; i < FAMILY_SNAPS; i++) {
        if (strcmp(snapshot->name, family_snap_names[i]) != 0)
            continue;
        struct family_snap *snap = &family->seen_volume->snaps[i];
        const char *group = i >= FAMILY_SINGLES ? family_snap_names[i] : "";
        if (snap->exists || strcmp(snapshot->group, group) != 0)
            (void)catalog_rig_wrong(&family->rig, "snapshot %s@%s: twice, or of group \"%s\"",
                                    snapshot->volume, snapshot->name, snapshot->group);
        snap->exists = true;
        snap->bytes = snapshot->bytes;
    }
}

static void look_opened(void *context, int result, struct catalog_handle *handle)
{
    family_of(context)->opened = handle;
    catalog_rig_ended(context, result);
}

static void look_read(struct volume_io *io, int result)
{
    catalog_rig_ended(&CONTAINER_OF(io, struct family, look_io)->rig, result);
}

static bool look_block(struct family *family, const char *name, unsigned block, uint64_t *ret_tag)
{
    struct volume_io *io = &family->look_io;
    uint64_t tag;
    io->kind = VOLUME_READ;
    io->offset = family_offsets[block];
    io->length = BLOCK_BYTES;
    io->data = family->look_data;
    io->done = look_read;
    family->rig.waiting = true;
    volume_submit(catalog_handle_volume(family->opened), io);
    if (!look_end(family, 0, "reading"))
        return false;
    if (family->rig.ended != 0)
        return catalog_rig_wrong(&family->rig, "%s: reading: %d", name, family->rig.ended);
    memcpy(&tag, family->look_data, sizeof tag);
    for (size_t i = 0; i < BLOCK_BYTES; i += sizeof tag) {
        if (memcmp(family->look_data + i, &tag, sizeof tag) != 0)
            return catalog_rig_wrong(&family->rig, "%s: a block is a mixture", name);
    }
    *ret_tag = tag;
    return true;
}

static bool look_data(struct family *family, const char *name, uint64_t bytes,
                      uint64_t tags[FAMILY_BLOCKS])
{
    struct catalog_rig *rig = &family->rig;
    rig->waiting = true;
    if (!look_end(family, catalog_handle_open(rig->catalog, name, true, look_opened, rig), name))
        return false;
    if (rig->ended != 0)
        return catalog_rig_wrong(rig, "%s cannot be opened: %s", name, base_last_error());
    bool right = true;
    for (unsigned i = 0; i < FAMILY_BLOCKS && right; i++)
        right = family_offsets[i] >= bytes || look_block(family, name, i, &tags[i]);
    if (!right)
        return false;
    rig->waiting = true;
    catalog_handle_close(family->opened, catalog_rig_ended, rig);
    return look_end(family, 0, "closing");
}

static bool look_volume(struct family *family, uint32_t number)
{
    struct catalog_rig *rig = &family->rig;
    const char *name = family_volume_names[number];
    struct family_volume *volume = &family->seen.volumes[number];
    family->seen_volume = volume;
    /* Opening ends a rollback that was interrupted, so the size is looked at behind it. */
    rig->waiting = true;
    if (!look_end(family, catalog_handle_open(rig->catalog, name, true, look_opened, rig), name))
        return false;
    if (rig->ended == -ENOENT)
        return true;
    if (rig->ended != 0)
        return catalog_rig_wrong(rig, "%s cannot be opened: %s", name, base_last_error());
    rig->waiting = true;
    catalog_handle_close(family->opened, catalog_rig_ended, rig);
    if (!look_end(family, 0, "closing"))
        return false;
    rig->waiting = true;
    if (!look_end(family, catalog_show(rig->catalog, name, look_info, catalog_rig_ended, rig),
                  "showing"))
        return false;
    rig->waiting = true;
    if (!look_end(
            family,
            catalog_snapshot_list(rig->catalog, name, false, look_snapshot, catalog_rig_ended, rig),
            "listing"))
        return false;
    if (!look_data(family, name, volume->bytes, volume->tags))
        return false;
    for (unsigned i = 0; i < FAMILY_SNAPS; i++) {
        char full[64];
        (void)snprintf(full, sizeof full, "%s@%s", name, family_snap_names[i]);
        struct family_snap *snap = &volume->snaps[i];
        if (snap->exists && !look_data(family, full, snap->bytes, snap->tags))
            return false;
    }
    return true;
}

/* --- Comparing ------------------------------------------------------------------------------ */

/* The write under way may be there or not; so may zeros where a resize was under way. */
static bool head_equal(const struct family *family, uint32_t number,
                       const struct family_volume *may, const struct family_volume *is)
{
    const struct family_op *op = &family->op;
    bool cutting = op->kind == FAMILY_RESIZE && op->volume == number;
    for (uint32_t i = 0; i < FAMILY_BLOCKS; i++) {
        bool written = family->writing && family->write.volume == number &&
                       family->write.block == i && is->tags[i] == family->write.tag;
        bool cut = cutting && family_offsets[i] >= op->bytes && is->tags[i] == 0;
        if (is->tags[i] != may->tags[i] && !written && !cut)
            return false;
    }
    return true;
}

static bool equal(const struct family *family, const struct family_state *may, char what[128])
{
    for (uint32_t v = 0; v < FAMILY_VOLUMES; v++) {
        const struct family_volume *a = &may->volumes[v];
        const struct family_volume *b = &family->seen.volumes[v];
        (void)snprintf(what, 128, "v%u: there %d or %d, %llu or %llu bytes, head %s", v, a->exists,
                       b->exists, (unsigned long long)a->bytes, (unsigned long long)b->bytes,
                       head_equal(family, v, a, b) ? "right" : "wrong");
        if (a->incomplete != b->incomplete)
            (void)snprintf(what, 128, "v%u: incomplete %d or %d", v, a->incomplete, b->incomplete);
        if (a->exists != b->exists || a->incomplete != b->incomplete || a->bytes != b->bytes ||
            !head_equal(family, v, a, b))
            return false;
        for (uint32_t s = 0; s < FAMILY_SNAPS; s++) {
            const struct family_snap *c = &a->snaps[s];
            const struct family_snap *d = &b->snaps[s];
            (void)snprintf(what, 128, "v%u@%s: there %d or %d, %llu or %llu bytes", v,
                           family_snap_names[s], c->exists, d->exists, (unsigned long long)c->bytes,
                           (unsigned long long)d->bytes);
            if (c->exists != d->exists || c->bytes != d->bytes ||
                memcmp(c->tags, d->tags, sizeof c->tags) != 0)
                return false;
        }
    }
    return true;
}

static bool compare(struct family *family)
{
    const struct family_op *op = &family->op;
    char what[128];
    char last[128] = "";
    bool before = !op->done || op->doubt;
    if (before && equal(family, &family->state, what))
        return true;
    if (before)
        memcpy(last, what, sizeof last);
    for (uint32_t writes = 0; writes <= family->write_count && op->kind != FAMILY_NOTHING;
         writes++) {
        struct family_state after = family->state;
        family_apply(family, op, writes, &after);
        if (equal(family, &after, what))
            return true;
    }
    return catalog_rig_wrong(&family->rig,
                             "not what it may be: before the operation: %s; after it: %s; kind %d, "
                             "volume %u, snapshot %d, target %u, %u writes beside it",
                             last, op->kind == FAMILY_NOTHING ? "none" : what, (int)op->kind,
                             op->volume, (int)op->snap, op->target, family->write_count);
}

bool family_verify(struct family *family)
{
    memset(&family->seen, 0, sizeof family->seen);
    for (uint32_t i = 0; i < FAMILY_VOLUMES; i++) {
        if (!look_volume(family, i))
            return false;
    }
    if (family->rig.wrong[0] != '\0' || !compare(family))
        return false;
    family->counts.verified++;
    /* Its volume was made, and could not be opened. */
    if (family->op.kind == FAMILY_IMPORT && family->op.doubt &&
        family->seen.volumes[family->op.volume].incomplete)
        family->counts.half_begun++;
    family->state = family->seen;
    family->op = (struct family_op){.kind = FAMILY_NOTHING};
    family->writing = false;
    return true;
}

/* --- Views of nobody -------------------------------------------------------------------------- */

struct views_look {
    struct tree_path path;
    bool waits;
};

static void views_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct views_look, path)->waits = false;
}

bool family_viewless(struct family *family)
{
    static struct views_look look;
    struct tree *tree = family->rig.store->tree;
    memset(&look, 0, sizeof look);
    tree_path_init(&look.path, tree, views_woken);
    /* Numbers begin with 1, and are given out in lots of a few. */
    for (uint64_t volume = 1; volume < 4096; volume++) {
        uint32_t mebibyte = 0;
        uint64_t cut = 0;
        int result;
        while ((result = tree_view_next(&look.path, volume, 1, SEQUENCE_MAX - 1, &mebibyte,
                                        &cut)) == -EAGAIN) {
            look.waits = true;
            if (!catalog_rig_wait(&family->rig, &look.waits, "looking for views"))
                return false;
        }
        if (result != -ENOENT)
            return catalog_rig_wrong(&family->rig,
                                     "no snapshot is left, but volume %llu has one of cut %llu at "
                                     "MiB %u (%d)",
                                     (unsigned long long)volume, (unsigned long long)cut, mebibyte,
                                     result);
    }
    tree_path_close(&look.path);
    return true;
}

/* --- The end -------------------------------------------------------------------------------- */

struct empty {
    struct meta_request request;
    struct family *family;
};

static void empty_read(struct meta_request *request, int result)
{
    catalog_rig_ended(&CONTAINER_OF(request, struct empty, request)->family->rig, result);
}

bool family_empty(struct family *family)
{
    static struct empty empty;
    struct catalog_rig *rig = &family->rig;
    empty.family = family;
    meta_request_reset(&empty.request);
    meta_list(&empty.request, META_TEXT("volume/"), META_TEXT(""), 10);
    meta_list(&empty.request, META_TEXT("snap/"), META_TEXT(""), 10);
    meta_list(&empty.request, META_TEXT("snapgroup/"), META_TEXT(""), 10);
    meta_list(&empty.request, META_TEXT("name/"), META_TEXT(""), 10);
    rig->waiting = true;
    if (meta_commit(rig->meta, &empty.request, empty_read) != 0 ||
        !look_end(family, 0, "reading the metadata") || rig->ended != 0)
        return catalog_rig_wrong(rig, "the metadata cannot be read: %d", rig->ended);
    for (uint32_t i = 0; i < empty.request.response_count; i++) {
        const struct meta_response *response = &empty.request.responses[i];
        if (response->entry_count > 0)
            return catalog_rig_wrong(rig, "everything was deleted, but there is a record %.*s",
                                     (int)response->entries[0].key.length,
                                     (const char *)response->entries[0].key.data);
    }
    meta_request_done(&empty.request);
    return true;
}

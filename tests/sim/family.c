/* SPDX-License-Identifier: Apache-2.0 */
/* Operations, what they leave, crashes. Comparing: family_look.c. */
#include "sim/family.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)
#define TURNS_MAX 2000000u

const uint64_t family_offsets[FAMILY_BLOCKS] = {0, 4096, MIB, 3 * MIB, 256 * MIB};
const char *const family_volume_names[FAMILY_VOLUMES] = {"v0", "v1", "v2", "v3"};
const char *const family_snap_names[FAMILY_SNAPS] = {"s0", "s1", "s2", "g0", "g1"};

static void family_event(void *context, const struct catalog_event *event)
{
    const struct catalog_rig *rig = context;
    if (rig->verbose)
        (void)fprintf(stderr, "      catalog %d: %s\n", (int)event->severity, event->text);
}

void family_open(struct family *family, uint64_t seed)
{
    memset(family, 0, sizeof *family);
    catalog_rig_open(&family->rig, seed, NULL);
    family->rig.catalog_options.event = family_event;
    family->prng = (struct prng){.state = seed ^ 0x6a09e667f3bcc908u};
    family->rig.catalog_options.id_lot = 1 + (uint32_t)prng_below(&family->prng, 4);
    family->rig.catalog_options.sequence_lot = 4 + prng_below(&family->prng, 60);
    family->rig.meta_one_in = 1 + (uint32_t)prng_below(&family->prng, 8);
    family->flattening = FAMILY_NONE;
    family->data = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    family->look_data = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    if (family->data == NULL || family->look_data == NULL)
        abort();
}

void family_close(struct family *family)
{
    free(family->data);
    free(family->look_data);
    catalog_rig_close(&family->rig);
}

bool family_wrong(struct family *family, const char *what, int result)
{
    const struct family_op *op = &family->op;
    return catalog_rig_wrong(
        &family->rig,
        "%s, result %d (%s); operation %d of volume %u, snapshot %d, target %u, "
        "mask %u",
        what, result, base_last_error(), (int)op->kind, op->volume, (int)op->snap, op->target,
        op->mask);
}

/* --- What they leave ------------------------------------------------------------------------ */

/* The head of a volume when the operation began, and so many of the writes since. */
static void head_then(const struct family *family, uint32_t volume, uint32_t writes,
                      uint64_t tags[FAMILY_BLOCKS])
{
    memcpy(tags, family->heads[volume], sizeof family->heads[volume]);
    for (uint32_t i = 0; i < writes; i++) {
        if (family->writes[i].volume == volume)
            tags[family->writes[i].block] = family->writes[i].tag;
    }
}

static void apply_snap(const struct family *family, struct family_volume *volume, uint32_t number,
                       uint32_t snap, uint32_t writes)
{
    volume->snaps[snap].exists = true;
    volume->snaps[snap].bytes = volume->bytes;
    head_then(family, number, writes, volume->snaps[snap].tags);
}

static void apply_clone(const struct family *family, const struct family_op *op, uint32_t writes,
                        struct family_state *state)
{
    struct family_volume *source = &state->volumes[op->volume];
    struct family_volume clone = {.exists = true, .bytes = source->bytes};
    if (op->snap == FAMILY_NONE) {
        head_then(family, op->volume, writes, clone.tags);
    } else {
        clone.bytes = source->snaps[op->snap].bytes;
        memcpy(clone.tags, source->snaps[op->snap].tags, sizeof clone.tags);
    }
    state->volumes[op->target] = clone;
}

static void apply_size(struct family_volume *volume, uint64_t bytes)
{
    volume->bytes = bytes;
    for (unsigned i = 0; i < FAMILY_BLOCKS; i++) {
        if (family_offsets[i] >= bytes)
            volume->tags[i] = 0;
    }
}

void family_apply(const struct family *family, const struct family_op *op, uint32_t writes,
                  struct family_state *state)
{
    struct family_volume *volume = &state->volumes[op->volume];
    switch (op->kind) {
    case FAMILY_CREATE: *volume = (struct family_volume){.exists = true, .bytes = op->bytes}; break;
    case FAMILY_DELETE: *volume = (struct family_volume){.exists = false}; break;
    case FAMILY_RESIZE: apply_size(volume, op->bytes); break;
    case FAMILY_SNAP: apply_snap(family, volume, op->volume, op->snap, writes); break;
    case FAMILY_DROP: volume->snaps[op->snap] = (struct family_snap){.exists = false}; break;
    case FAMILY_GROUP:
    case FAMILY_UNGROUP:
        for (uint32_t i = 0; i < FAMILY_VOLUMES; i++) {
            uint32_t snap = FAMILY_SINGLES + op->group;
            if (op->kind == FAMILY_UNGROUP)
                state->volumes[i].snaps[snap] = (struct family_snap){.exists = false};
            else if ((op->mask & 1u << i) != 0)
                apply_snap(family, &state->volumes[i], i, snap, writes);
        }
        break;
    case FAMILY_CLONE: apply_clone(family, op, writes, state); break;
    case FAMILY_IMPORT:
        *volume = (struct family_volume){.exists = true, .incomplete = true, .bytes = op->bytes};
        break;
    case FAMILY_IMPORTED:
        volume->incomplete = false;
        apply_snap(family, volume, op->volume, op->snap, writes);
        break;
    case FAMILY_ABANDON: *volume = (struct family_volume){.exists = false}; break;
    case FAMILY_ROLLBACK:
        memcpy(volume->tags, volume->snaps[op->snap].tags, sizeof volume->tags);
        apply_size(volume, op->force ? volume->snaps[op->snap].bytes : volume->bytes);
        break;
    default: break;
    }
}

/* --- What is refused ------------------------------------------------------------------------ */

static bool any_snap(const struct family_volume *volume)
{
    for (unsigned i = 0; i < FAMILY_SNAPS; i++) {
        if (volume->snaps[i].exists)
            return true;
    }
    return false;
}

static int refused_group(const struct family *family, const struct family_op *op)
{
    bool there = false;
    bool incomplete = false;
    for (uint32_t i = 0; i < FAMILY_VOLUMES; i++) {
        const struct family_volume *volume = &family->state.volumes[i];
        there = there || volume->snaps[FAMILY_SINGLES + op->group].exists;
        if (op->kind == FAMILY_GROUP && (op->mask & 1u << i) != 0 && !volume->exists)
            return -ENOENT;
        incomplete = incomplete || ((op->mask & 1u << i) != 0 && volume->incomplete);
    }
    if (op->kind == FAMILY_GROUP && !there && incomplete)
        return -EBUSY;
    if (op->kind == FAMILY_GROUP)
        return there ? -EEXIST : 0;
    return there ? 0 : -ENOENT;
}

static int refused_snap(const struct family *family, const struct family_op *op)
{
    const struct family_volume *volume = &family->state.volumes[op->volume];
    bool there = op->snap == FAMILY_NONE || volume->snaps[op->snap].exists;
    bool exists = op->kind == FAMILY_CLONE && family->state.volumes[op->target].exists;
    /* One that is being imported has no snapshot yet. */
    if (volume->incomplete && !exists && (op->kind == FAMILY_SNAP || op->snap == FAMILY_NONE))
        return -EBUSY;
    switch (op->kind) {
    case FAMILY_SNAP: return there ? -EEXIST : 0;
    case FAMILY_DROP: return !there ? -ENOENT : op->snap >= FAMILY_SINGLES ? -EBUSY : 0;
    case FAMILY_CLONE: return exists ? -EEXIST : there ? 0 : -ENOENT;
    default:
        if (!there)
            return -ENOENT;
        return !op->force && volume->snaps[op->snap].bytes > volume->bytes ? -EPERM : 0;
    }
}

/* How the operation must end. */
static int refused(const struct family *family, const struct family_op *op)
{
    const struct family_volume *volume = &family->state.volumes[op->volume];
    bool open = family->handles[op->volume] != NULL;
    if (op->kind == FAMILY_GROUP || op->kind == FAMILY_UNGROUP)
        return refused_group(family, op);
    if (op->kind == FAMILY_CREATE || op->kind == FAMILY_IMPORT)
        return volume->exists ? -EEXIST : 0;
    if (op->kind == FAMILY_CLONE && op->target == op->volume)
        return -EEXIST;
    if (!volume->exists)
        return -ENOENT;
    switch (op->kind) {
    case FAMILY_DELETE: return open || any_snap(volume) ? -EBUSY : 0;
    case FAMILY_ROLLBACK: return open || volume->incomplete ? -EBUSY : refused_snap(family, op);
    case FAMILY_OPEN:
    case FAMILY_RESIZE: return volume->incomplete ? -EBUSY : 0;
    case FAMILY_ABANDON: return open ? -EBUSY : volume->incomplete ? 0 : -EINVAL;
    case FAMILY_SNAP:
    case FAMILY_DROP:
    case FAMILY_CLONE: return refused_snap(family, op);
    default: return 0;
    }
}

/* --- Operations ----------------------------------------------------------------------------- */

static bool covers_writes(const struct family_op *op)
{
    return op->kind == FAMILY_SNAP || op->kind == FAMILY_GROUP ||
           (op->kind == FAMILY_CLONE && op->snap == FAMILY_NONE);
}

/* When it fails without space: some of it may have happened. */
static bool leaves_some(enum family_kind kind)
{
    return kind == FAMILY_ROLLBACK || kind == FAMILY_RESIZE || kind == FAMILY_IMPORT;
}

static void op_done(void *context, int result)
{
    struct family *family = context;
    struct family_op *op = &family->op;
    int expected = refused(family, op);
    if (family->power_went && result != 0)
        return; /* In doubt. */
    bool beside =
        family->flattened_beside && result == -EBUSY &&
        (op->kind == FAMILY_DELETE || op->kind == FAMILY_ROLLBACK || op->kind == FAMILY_ABANDON);
    bool full = family->full && (result == -ENOSPC || op->kind == FAMILY_CLOSE);
    if (full && result != 0 && leaves_some(op->kind)) {
        family->rig.vfs.fail_first = family->rig.vfs.fail_last = 0;
        op->done = op->doubt = true;
        return;
    }
    if (result != expected && !beside && !full) {
        (void)family_wrong(family, expected != 0 ? "not refused as it must be" : "failed", result);
    } else if (result == 0 && !covers_writes(op)) {
        family_apply(family, op, 0, &family->state);
    } else if (result == 0) {
        op->done = true;
        return;
    }
    family->counts.refused += result != 0 ? 1 : 0;
    family->counts.imports += result == 0 && op->kind == FAMILY_IMPORT ? 1 : 0;
    family->counts.imported += result == 0 && op->kind == FAMILY_IMPORTED ? 1 : 0;
    family->counts.abandoned += result == 0 && op->kind == FAMILY_ABANDON ? 1 : 0;
    op->kind = FAMILY_NOTHING;
}

static void op_opened(void *context, int result, struct catalog_handle *handle)
{
    struct family *family = context;
    if (result == 0)
        family->handles[family->op.volume] = handle;
    if (result == 0 && family->op.kind == FAMILY_IMPORT) {
        family->importing[family->op.volume] = true;
        family->imports[family->op.volume] = family->op.snap;
    }
    op_done(context, result);
}

static void op_imported(void *context, int result)
{
    struct family *family = context;
    if (result == 0)
        family->importing[family->op.volume] = false;
    op_done(context, result);
}

static int start_import(struct family *family, const struct family_op *op)
{
    struct catalog_import import = {
        .bytes = op->bytes,
        .sector_bytes = 4096,
        .uuid = {1 + (uint8_t)op->volume, (uint8_t)family->counts.operations},
        .snapshot = family_snap_names[op->snap],
    };
    return catalog_import_begin(family->rig.catalog, family_volume_names[op->volume], &import,
                                op_opened, family);
}

static int start_group(struct family *family, const struct family_op *op)
{
    const char *volumes[FAMILY_VOLUMES];
    uint8_t uuids[FAMILY_VOLUMES][16] = {0};
    unsigned count = 0;
    for (uint32_t i = 0; i < FAMILY_VOLUMES; i++) {
        if ((op->mask & 1u << i) != 0)
            volumes[count++] = family_volume_names[i];
    }
    return catalog_group_create(family->rig.catalog, family_snap_names[FAMILY_SINGLES + op->group],
                                volumes, count, (const uint8_t(*)[16])uuids, op_done, family);
}

static int op_call(struct family *family, const struct family_op *op)
{
    struct catalog *catalog = family->rig.catalog;
    const char *volume = family_volume_names[op->volume];
    const char *snap = op->snap == FAMILY_NONE ? NULL : family_snap_names[op->snap];
    struct catalog_create create = {.bytes = op->bytes, .sector_bytes = 4096};
    struct catalog_handle *handle = family->handles[op->volume];
    static const uint8_t uuid[16];
    switch (op->kind) {
    case FAMILY_CREATE: return catalog_create(catalog, volume, &create, op_done, family);
    case FAMILY_DELETE: return catalog_delete(catalog, volume, op_done, family);
    case FAMILY_RESIZE: return catalog_resize(catalog, volume, op->bytes, true, op_done, family);
    case FAMILY_OPEN: return catalog_handle_open(catalog, volume, false, op_opened, family);
    case FAMILY_IMPORT: return start_import(family, op);
    case FAMILY_IMPORTED: return catalog_import_end(handle, op_imported, family);
    case FAMILY_ABANDON: return catalog_import_abandon(catalog, volume, NULL, op_done, family);
    case FAMILY_CLOSE:
        family->importing[op->volume] = false;
        family->handles[op->volume] = NULL;
        catalog_handle_close(handle, op_done, family);
        return 0;
    case FAMILY_SNAP: return catalog_snapshot_create(catalog, volume, snap, uuid, op_done, family);
    case FAMILY_DROP: return catalog_snapshot_delete(catalog, volume, snap, op_done, family);
    case FAMILY_GROUP: return start_group(family, op);
    case FAMILY_UNGROUP:
        return catalog_group_delete(catalog, family_snap_names[FAMILY_SINGLES + op->group], op_done,
                                    family);
    case FAMILY_CLONE:
        return catalog_clone(catalog, volume, snap, family_volume_names[op->target], op_done,
                             family);
    default:
        return catalog_snapshot_rollback(catalog, volume, snap, op->force, NULL, op_done, family);
    }
}

void family_start(struct family *family, const struct family_op *op)
{
    assert(family->op.kind == FAMILY_NOTHING);
    family->op = *op;
    family->op.done = family->op.doubt = false;
    family->counts.operations++;
    family->write_count = 0;
    family->flattened_beside = family->flattening != FAMILY_NONE;
    for (uint32_t i = 0; i < FAMILY_VOLUMES; i++)
        memcpy(family->heads[i], family->state.volumes[i].tags, sizeof family->heads[i]);
    if (family->writing)
        family->writes[family->write_count++] = family->write;
    int accepted = op_call(family, op);
    if (accepted != 0)
        op_done(family, accepted);
}

static void flatten_done(void *context, int result)
{
    struct family *family = context;
    if (family->power_went)
        return;
    bool legal = result == 0 || (family->full && result == -ENOSPC);
    if (!legal)
        (void)family_wrong(family, "flattening", result);
    family->flattening = FAMILY_NONE;
}

void family_flatten(struct family *family, uint32_t volume)
{
    assert(family->flattening == FAMILY_NONE);
    family->flattening = volume;
    family->flattened_beside = true;
    int accepted = catalog_flatten(family->rig.catalog, family_volume_names[volume], NULL,
                                   flatten_done, family);
    if (accepted != 0)
        (void)family_wrong(family, "flattening was refused", accepted);
}

/* --- Writing -------------------------------------------------------------------------------- */

static void write_done(struct volume_io *io, int result)
{
    struct family *family = CONTAINER_OF(io, struct family, io);
    if (family->power_went && result != 0)
        return; /* In doubt. */
    if (result != 0)
        (void)family_wrong(family, "writing", result);
    family->state.volumes[family->write.volume].tags[family->write.block] = family->write.tag;
    family->writing = false;
}

static bool may_write(const struct family *family)
{
    enum family_kind kind = family->op.kind;
    return !family->writing && kind != FAMILY_RESIZE && kind != FAMILY_CLOSE &&
           kind != FAMILY_IMPORTED && family->write_count < FAMILY_WRITES;
}

void family_write_some(struct family *family)
{
    uint32_t volume = (uint32_t)prng_below(&family->prng, FAMILY_VOLUMES);
    uint32_t block = (uint32_t)prng_below(&family->prng, FAMILY_BLOCKS);
    struct catalog_handle *handle = family->handles[volume];
    if (handle == NULL || !may_write(family) ||
        family_offsets[block] >= volume_bytes(catalog_handle_volume(handle)))
        return;
    family->writing = true;
    family->counts.writes++;
    bool zero = prng_one_in(&family->prng, 8);
    family->write =
        (struct family_write){.volume = volume, .block = block, .tag = zero ? 0 : ++family->tag};
    if (family->op.kind != FAMILY_NOTHING)
        family->writes[family->write_count++] = family->write;
    for (size_t i = 0; i < BLOCK_BYTES / sizeof family->tag; i++)
        memcpy(family->data + i * sizeof family->tag, &family->write.tag, sizeof family->tag);
    struct volume_io *io = &family->io;
    io->kind = zero ? VOLUME_DISCARD : VOLUME_WRITE;
    io->flags = VOLUME_FUA;
    io->offset = family_offsets[block];
    io->length = BLOCK_BYTES;
    io->data = family->data;
    io->done = write_done;
    volume_submit(catalog_handle_volume(handle), io);
}

/* --- Turning -------------------------------------------------------------------------------- */

bool family_turn(struct family *family)
{
    if (prng_one_in(&family->prng, 3))
        family_write_some(family);
    return catalog_rig_turn(&family->rig) && family->rig.wrong[0] == '\0';
}

bool family_wait(struct family *family)
{
    for (unsigned turns = 0;
         (family->op.kind != FAMILY_NOTHING && !family->op.done) || family->writing; turns++) {
        bool on = family->op.kind != FAMILY_NOTHING && !family->op.done
                      ? family_turn(family)
                      : catalog_rig_turn(&family->rig) && family->rig.wrong[0] == '\0';
        if (!on)
            return false;
        if (turns > TURNS_MAX)
            return family_wrong(family, "an operation does not end", 0);
    }
    return family->op.kind == FAMILY_NOTHING || family_verify(family);
}

/* --- Crashes -------------------------------------------------------------------------------- */

bool family_crash(struct family *family, bool power_cut)
{
    struct catalog_rig *rig = &family->rig;
    for (unsigned tries = 0;; tries++) {
        family->power_went = true;
        catalog_rig_crash(rig, power_cut);
        memset(family->handles, 0, sizeof family->handles);
        memset(family->importing, 0, sizeof family->importing);
        family->flattening = FAMILY_NONE;
        family->power_went = false;
        family->counts.cuts += power_cut ? 1 : 0;
        family->counts.kills += power_cut ? 0 : 1;
        if (tries < 3 && prng_one_in(&family->prng, 4))
            world_cut_after(&rig->world, 1 + prng_below(&family->prng, 300));
        else if (tries < 3 && prng_one_in(&family->prng, 4))
            rig->vfs.cut_after = rig->vfs.operations + 1 + prng_below(&family->prng, 60);
        bool up =
            catalog_rig_open_meta(rig, false) && catalog_rig_start(rig) && family_verify(family);
        if (up) {
            world_cut_after(&rig->world, 0);
            rig->vfs.cut_after = 0;
        }
        if (up || rig->wrong[0] != '\0')
            return up;
        power_cut = true;
    }
}

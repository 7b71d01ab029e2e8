/* SPDX-License-Identifier: Apache-2.0 */
/* What snapshots show, what they take, and what changed between them, against the model. */
#include <stdlib.h>
#include <string.h>

#include "sim/store_inside.h"
#include "sim/store_views.h"

#define LOOK_BLOCKS 128u /* At once. */

bool snap_open(struct rig_snap *snap)
{
    struct rig *rig = snap->volume->rig;
    if (snap->open != NULL)
        return true;
    struct volume_parent parents[RIG_SNAPS];
    struct volume_options options = {
        .id = snap->volume->id,
        .view = snap->cut,
        .bytes = rig_volume_bytes(),
        .sector_bytes = snap->volume->sector_bytes,
        .parents = parents,
        .parent_count = snap_parents(snap->parent, parents),
    };
    if (volume_open(rig->engine, &options, &snap->open) == 0)
        return true;
    return rig_wrong(rig, "opening a snapshot: %s", base_last_error());
}

/* --- Every byte ----------------------------------------------------------------------------- */

struct look {
    struct volume_io io;
    bool waiting;
    int result;
    struct volume_extent extents[512];
    uint8_t data[LOOK_BLOCKS * BLOCK_BYTES];
};

static void look_done(struct volume_io *io, int result)
{
    struct look *look = CONTAINER_OF(io, struct look, io);
    look->waiting = false;
    look->result = result;
}

/* A crash may have left the last one flying: it is never used again. */
static struct look *look_make(void)
{
    struct look *look = calloc(1, sizeof *look);
    if (look == NULL)
        abort();
    look->io.done = look_done;
    look->io.data = look->data;
    look->waiting = true;
    return look;
}

static bool look_wait(struct rig *rig, struct volume *volume, struct look *look)
{
    volume_submit(volume, &look->io);
    return rig_wait(rig, &look->waiting, "looking at a volume");
}

static uint32_t look_blocks(uint32_t index)
{
    return index < MODEL_NEAR ? LOOK_BLOCKS : 1;
}

static bool snap_wrong(struct rig_snap *snap, uint32_t index, const char *wrong)
{
    return rig_wrong(snap->volume->rig, "snapshot %llu of volume %llu, block %llu: %s",
                     (unsigned long long)snap->cut, (unsigned long long)snap->volume->id,
                     (unsigned long long)model_block_of(index), wrong);
}

/* A crash frees what it held with the process. */
static bool snap_settle_part(struct rig_snap *snap, uint32_t index)
{
    struct rig *rig = snap->volume->rig;
    struct look *look = look_make();
    look->io.kind = VOLUME_READ;
    look->io.offset = model_block_of(index) * BLOCK_BYTES;
    look->io.length = (uint64_t)look_blocks(index) * BLOCK_BYTES;
    if (!look_wait(rig, snap->open, look))
        return false;
    if (look->result != 0 && !rig->faulty)
        return rig_wrong(rig, "snapshot %llu of volume %llu cannot be read: %d",
                         (unsigned long long)snap->cut, (unsigned long long)snap->volume->id,
                         look->result);
    for (uint32_t i = 0; i < look_blocks(index) && look->result == 0 && !rig->media; i++) {
        const char *wrong = frozen_check(snap->frozen, index + i, 0, MODEL_SECTORS,
                                         look->data + (size_t)i * BLOCK_BYTES);
        if (wrong != NULL)
            return snap_wrong(snap, index + i, wrong);
        rig->counts.settled++;
    }
    free(look);
    return true;
}

/* --- What changed, what is there ------------------------------------------------------------ */

/* Notes the blocks of the model that an extent covers. */
static bool extent_note(struct rig *rig, uint64_t block, uint64_t count, bool told[MODEL_BLOCKS],
                        const char *what)
{
    uint64_t found = 0;
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++) {
        bool inside = model_block_of(i) >= block && model_block_of(i) < block + count;
        told[i] = told[i] || inside;
        found += inside ? 1 : 0;
    }
    return found == count ? true
                          : rig_wrong(rig, "blocks %llu to %llu: %s, and nobody wrote there",
                                      (unsigned long long)block,
                                      (unsigned long long)(block + count - 1), what);
}

/* Zeros may have been written where nothing is modelled. */
static void extent_note_zeros(uint64_t block, uint64_t count, bool note, bool told[MODEL_BLOCKS])
{
    for (uint32_t i = 0; note && i < MODEL_BLOCKS; i++)
        told[i] = told[i] || (model_block_of(i) >= block && model_block_of(i) < block + count);
}

/* Of a whole volume: what changed, or where something is. */
static bool look_extents(struct rig *rig, struct volume *volume, enum volume_io_kind kind,
                         uint64_t since, bool told[MODEL_BLOCKS])
{
    uint64_t end = volume_bytes(volume);
    for (uint64_t at = 0; at < end;) {
        struct look *look = look_make();
        look->io.kind = kind;
        look->io.since = since;
        look->io.offset = at;
        look->io.length = end - at;
        look->io.extents = look->extents;
        look->io.extent_max = COUNT_OF(look->extents);
        if (!look_wait(rig, volume, look))
            return false;
        if (look->result != 0)
            return rig->faulty ? true : rig_wrong(rig, "asking what is there: %d", look->result);
        for (uint32_t i = 0; i < look->io.extent_count; i++) {
            const struct volume_extent *extent = &look->extents[i];
            bool note = kind == VOLUME_CHANGED
                            ? (extent->flags & VOLUME_EXTENT_CHANGED) != 0
                            : (extent->flags & (VOLUME_EXTENT_HOLE | VOLUME_EXTENT_ZERO)) == 0;
            if (rig->views->zeros_beyond && (extent->flags & VOLUME_EXTENT_ZERO) != 0)
                extent_note_zeros(at / BLOCK_BYTES, extent->bytes / BLOCK_BYTES, note, told);
            /* What the media lost is told as data that is bad. */
            else if (note && !rig->media &&
                     !extent_note(rig, at / BLOCK_BYTES, extent->bytes / BLOCK_BYTES, told,
                                  kind == VOLUME_MAP         ? "data"
                                  : (extent->flags & 2) != 0 ? "changed to zeros"
                                                             : "changed"))
                return false;
            at += extent->bytes;
        }
        if (look->io.extent_count == 0)
            return rig_wrong(rig, "asking what is there gives nothing");
        free(look);
    }
    return true;
}

static bool changed_compare(struct rig_volume *volume, const struct rig_snap *since,
                            const struct rig_snap *view, const bool told[MODEL_BLOCKS], bool map)
{
    struct rig *rig = volume->rig;
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++) {
        enum frozen_change change =
            frozen_changed(since == NULL ? NULL : since->frozen, view == NULL ? NULL : view->frozen,
                           &volume->model, i);
        if (change != FROZEN_EITHER && (change == FROZEN_CHANGED) != told[i])
            return rig_wrong(rig, "volume %llu block %llu, from cut %llu to %llu: %s as %s",
                             (unsigned long long)volume->id, (unsigned long long)model_block_of(i),
                             since == NULL ? 0ull : (unsigned long long)since->cut,
                             view == NULL ? 0ull : (unsigned long long)view->cut,
                             map ? "mapped" : "told",
                             told[i] ? "changed, and it is not" : "unchanged, and it is");
    }
    rig->counts.compared++;
    return true;
}

/* From a drawn cut, or from nothing, to a drawn view, or to the head; nothing is under way. */
static bool changed_look(struct rig_volume *volume)
{
    struct rig *rig = volume->rig;
    struct rig_snap *since = snap_draw(rig, volume);
    struct rig_snap *view = snap_draw(rig, volume);
    if (since != NULL && view != NULL && since->cut >= view->cut)
        view = NULL;
    if (volume->volume == NULL || (view != NULL && !snap_open(view)))
        return rig->wrong[0] == '\0';
    struct volume *of = view == NULL ? volume->volume : view->open;
    rig_views_tell(rig, "looked at since", volume, since == NULL ? 0 : since->cut);
    rig_views_tell(rig, "looked at", volume, view == NULL ? 0 : view->cut);
    bool told[MODEL_BLOCKS] = {false};
    bool map[MODEL_BLOCKS] = {false};
    if (!look_extents(rig, of, VOLUME_CHANGED, since == NULL ? 0 : since->cut, told))
        return false;
    if (!rig->faulty && !changed_compare(volume, since, view, told, false))
        return false;
    if (!look_extents(rig, of, VOLUME_MAP, 0, map))
        return false;
    return rig->faulty || since != NULL || changed_compare(volume, NULL, view, map, true);
}

static bool snap_settle(struct rig_snap *snap)
{
    if (!snap_open(snap))
        return false;
    for (uint32_t index = 0; index < MODEL_BLOCKS; index += look_blocks(index)) {
        if (!snap_settle_part(snap, index))
            return false;
    }
    return true;
}

bool rig_views_settle(struct rig *rig, bool all)
{
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        struct rig_snap *snap = &rig->views->snaps[i];
        if (snap->state == SNAP_KEPT && (all || prng_one_in(&rig->views->prng, 3)) &&
            !snap_settle(snap))
            return false;
    }
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        if ((all || prng_one_in(&rig->views->prng, 4)) && !changed_look(&rig->volumes[i]))
            return false;
    }
    return true;
}

/* --- Space ---------------------------------------------------------------------------------- */

bool rig_views_alone(const struct rig_volume *volume, uint32_t index)
{
    struct model_shown head;
    bool alone = model_holds_data(&volume->model, index) &&
                 model_now(&volume->model, index, &head) && head.own && head.sure &&
                 !view_volume(volume)->orphans;
    for (unsigned i = 0; alone && i < RIG_SNAPS; i++) {
        const struct rig_snap *snap = &volume->rig->views->snaps[i];
        if (snap->volume != volume || snap->state == SNAP_FREE)
            continue;
        const struct model_shown *shown = &snap->frozen->shown[index];
        alone = snap->frozen->doubts[index] == NULL && shown->sure && shown->stamp != head.stamp;
    }
    return alone;
}

static bool space_near(uint64_t told, uint64_t model, uint64_t slack)
{
    return told + slack >= model && told <= model + slack;
}

static void space_compare(struct rig_space *space)
{
    struct rig *rig = space->volume->rig;
    struct model_space models[RIG_SNAPS];
    frozen_space(space->frozen, space->count, &space->volume->model, models);
    for (uint32_t i = 0; i < space->count; i++) {
        const struct store_view_space *told = &space->spaces[i];
        if (!space_near(told->unique_blocks, models[i].unique, models[i].slack) ||
            !space_near(told->shared_blocks, models[i].shared, models[i].slack))
            (void)rig_wrong(
                rig,
                "snapshot %llu of volume %llu: %llu blocks of its own and %llu shared, but it "
                "should be %llu and %llu (%llu unsure)",
                (unsigned long long)told->cut, (unsigned long long)space->volume->id,
                (unsigned long long)told->unique_blocks, (unsigned long long)told->shared_blocks,
                (unsigned long long)models[i].unique, (unsigned long long)models[i].shared,
                (unsigned long long)models[i].slack);
    }
    rig->counts.counted++;
}

static void space_done(void *context, int result)
{
    struct rig_space *space = context;
    struct rig *rig = space->volume->rig;
    space->busy = false;
    view_volume(space->volume)->blocked = false;
    if (result != 0 && !rig->faulty)
        (void)rig_wrong(rig, "counting the space of snapshots ended with %d", result);
    if (result == 0 && !rig->media)
        space_compare(space);
}

/* Nothing of the volume is under way, and nothing begins. */
static bool space_calm(const struct rig_volume *volume)
{
    const struct rig *rig = volume->rig;
    const struct rig_view_volume *mine = view_volume(volume);
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        const struct rig_snap *snap = &rig->views->snaps[i];
        if (snap->volume == volume && snap->state != SNAP_FREE && snap->state != SNAP_KEPT)
            return false;
    }
    return volume->volume != NULL && volume_io_count(volume->volume) == 0 && !mine->blocked &&
           !mine->orphans && !rig->views->cut.wanted[volume - rig->volumes] &&
           rig->views->flatten.volume != volume;
}

void rig_count_space(struct rig *rig)
{
    struct rig_space *space = &rig->views->space;
    struct rig_volume *volume = &rig->volumes[prng_below(&rig->views->prng, RIG_VOLUMES)];
    if (space->busy || !space_calm(volume))
        return;
    memset(space, 0, sizeof *space);
    for (struct rig_snap *snap = snap_after(volume, 0); snap != NULL;
         snap = snap_after(volume, snap->cut)) {
        space->frozen[space->count] = snap->frozen;
        space->spaces[space->count++].cut = snap->cut;
    }
    space->volume = volume;
    if (space->count == 0)
        return;
    space->busy = true;
    view_volume(volume)->blocked = true;
    if (store_view_space(rig->store, volume->id, space->spaces, space->count, space_done, space) !=
        0)
        (void)rig_wrong(rig, "counting the space of snapshots was refused");
}

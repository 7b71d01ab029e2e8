/* SPDX-License-Identifier: Apache-2.0 */
/* Rollbacks and flattenings of a rig's volumes, through crashes. */
#include <string.h>

#include "sim/store_inside.h"
#include "sim/store_views.h"

/* --- Rollback ------------------------------------------------------------------------------- */

static void roll_back_done(struct volume_job *job, int result)
{
    struct rig_copy *copy = job->context;
    struct rig_volume *volume = copy->volume;
    struct rig *rig = volume->rig;
    bool legal = result == 0 || result == -ENOSPC || result == -ECANCELED || rig->faulty;
    if (!legal)
        (void)rig_wrong(rig, "a rollback ended with %d", result);
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++) {
        if (copy->versions[i] == 0)
            continue;
        if (result == 0)
            model_acked(&volume->model, i, copy->versions[i], true);
        else
            model_failed(&volume->model, i, copy->versions[i]);
    }
    /* Given up with some of it done, as well as ended. */
    struct rig_view_volume *views = view_volume(volume);
    views->rolling = NULL;
    views->blocked = false;
    copy->busy = false;
    rig->counts.rollbacks += result == 0 ? 1 : 0;
}

static void roll_back_start(struct rig *rig, struct rig_volume *volume)
{
    struct rig_copy *copy = &rig->views->rollback;
    struct rig_view_volume *views = view_volume(volume);
    memset(copy, 0, sizeof *copy);
    copy->volume = volume;
    copy->snap = views->rolling;
    copy->busy = true;
    copy->job.done = roll_back_done;
    copy->job.context = copy;
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++) {
        if (!frozen_roll_back(copy->snap->frozen, &volume->model, i, &copy->versions[i]))
            copy->versions[i] = 0;
    }
    rig_views_tell(rig, "rolled back", volume, copy->snap->cut);
    struct volume_parent parents[RIG_SNAPS];
    struct volume_rollback rollback = {.cut = copy->snap->cut,
                                       .from = views->rolling_from,
                                       .parents = parents,
                                       .parent_count = snap_parents(copy->snap->parent, parents)};
    if (volume_rollback_start(volume->volume, &rollback, &copy->job) != 0)
        (void)rig_wrong(rig, "a rollback was refused: %s", base_last_error());
}

void snap_roll_back(struct rig_snap *snap)
{
    struct rig_volume *volume = snap->volume;
    struct rig *rig = volume->rig;
    struct rig_view_volume *mine = view_volume(volume);
    if (rig->views->rollback.busy || frozen_in_doubt(snap->frozen) || volume->volume == NULL ||
        mine->blocked || volume_io_count(volume->volume) > 0 ||
        rig->views->cut.wanted[volume - rig->volumes])
        return;
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++) {
        if (!model_room(&volume->model, i))
            return;
    }
    mine->blocked = true;
    mine->rolling = snap;
    mine->rolling_from = volume_sequence(volume->volume) - 1;
    roll_back_start(rig, volume);
}

void rig_roll_back(struct rig *rig)
{
    struct rig_snap *snap = snap_draw(rig, NULL);
    if (snap != NULL)
        snap_roll_back(snap);
}

/* --- Flatten -------------------------------------------------------------------------------- */

static void flatten_done(struct volume_job *job, int result)
{
    struct rig_copy *copy = job->context;
    struct rig_volume *volume = copy->volume;
    struct rig *rig = volume->rig;
    struct rig_view_volume *mine = view_volume(volume);
    copy->busy = false;
    copy->volume = NULL;
    if (result != 0) {
        if (result != -ENOSPC && result != -ECANCELED && !rig->faulty)
            (void)rig_wrong(rig, "a flatten ended with %d", result);
        return;
    }
    /* The metadata forgets the parent; snapshots from before need it as ever. */
    frozen_flatten(&volume->model, true);
    mine->leaving = mine->parent;
    mine->parent = NULL;
    (void)volume_set_parents(volume->volume, NULL, 0);
    rig->counts.flattened++;
}

void rig_flatten(struct rig *rig)
{
    struct rig_views *views = rig->views;
    struct rig_copy *copy = &views->flatten;
    if (copy->busy) {
        if (prng_one_in(&views->prng, 4))
            volume_job_stop(&copy->job);
        return;
    }
    struct rig_volume *volume = &rig->volumes[prng_below(&views->prng, RIG_VOLUMES)];
    if (volume->volume == NULL || view_volume(volume)->parent == NULL ||
        view_volume(volume)->leaving != NULL || view_volume(volume)->blocked)
        return;
    memset(copy, 0, sizeof *copy);
    copy->volume = volume;
    copy->busy = true;
    copy->job.done = flatten_done;
    copy->job.context = copy;
    frozen_flatten(&volume->model, false);
    rig_views_tell(rig, "flattened", volume, 0);
    if (volume_flatten_start(volume->volume, &copy->job) != 0)
        (void)rig_wrong(rig, "a flatten was refused: %s", base_last_error());
}

/* The parent is let go when nobody reads from it any more. */
void rig_flatten_advance(struct rig *rig)
{
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        const struct rig_volume *volume = &rig->volumes[i];
        struct rig_view_volume *mine = view_volume(volume);
        if (mine->leaving == NULL ||
            (volume->volume != NULL && !volume_parents_quiet(volume->volume)))
            continue;
        mine->leaving->users--;
        mine->leaving = NULL;
    }
}

/* --- After a crash -------------------------------------------------------------------------- */

/* Nobody writes to a volume before it is rolled back whole. One at a time. */
void rig_copies_resume(struct rig *rig)
{
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        struct rig_volume *volume = &rig->volumes[i];
        if (view_volume(volume)->rolling != NULL && !rig->views->rollback.busy &&
            volume->volume != NULL)
            roll_back_start(rig, volume);
    }
}

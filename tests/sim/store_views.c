/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of a rig: taken, kept or not, deleted, and what a crash makes of that. */
#include "sim/store_views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/store_inside.h"

static unsigned number_of(const struct rig_volume *volume)
{
    return (unsigned)(volume - volume->rig->volumes);
}

struct rig_view_volume *view_volume(const struct rig_volume *volume)
{
    return &volume->rig->views->volumes[number_of(volume)];
}

void rig_views_open(struct rig *rig)
{
    rig->views = calloc(1, sizeof *rig->views);
    if (rig->views == NULL)
        abort();
    struct rig_views *views = rig->views;
    views->prng = (struct prng){.state = rig->world.seed ^ 0x2545f4914f6cdd1du};
    views->often = 5 + (unsigned)prng_below(&views->prng, 60);
    views->most = 1 + (unsigned)prng_below(&views->prng, 6);
}

void rig_views_close(struct rig *rig)
{
    for (unsigned i = 0; rig->views != NULL && i < RIG_SNAPS; i++)
        frozen_free(rig->views->snaps[i].frozen);
    free(rig->views);
    rig->views = NULL;
}

/* --- Which there are ------------------------------------------------------------------------ */

uint64_t snap_newest(const struct rig_volume *volume, uint64_t below)
{
    const struct rig_views *views = volume->rig->views;
    uint64_t newest = 0;
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        const struct rig_snap *snap = &views->snaps[i];
        if (snap->volume == volume && snap->state == SNAP_KEPT && snap->cut < below)
            newest = MAX(newest, snap->cut);
    }
    return newest;
}

struct rig_snap *snap_after(const struct rig_volume *volume, uint64_t cut)
{
    struct rig_snap *oldest = NULL;
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        struct rig_snap *snap = &volume->rig->views->snaps[i];
        if (snap->volume == volume && snap->state == SNAP_KEPT && snap->cut > cut &&
            (oldest == NULL || snap->cut < oldest->cut))
            oldest = snap;
    }
    return oldest;
}

static unsigned snap_count(const struct rig_volume *volume)
{
    unsigned count = 0;
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        const struct rig_snap *snap = &volume->rig->views->snaps[i];
        count += snap->volume == volume && snap->state != SNAP_FREE ? 1 : 0;
    }
    return count;
}

void rig_views_tell(const struct rig *rig, const char *what, const struct rig_volume *volume,
                    uint64_t cut)
{
    if (rig->verbose)
        (void)fprintf(stderr, "      views: %s, volume %llu, cut %llu\n", what,
                      (unsigned long long)volume->id, (unsigned long long)cut);
}

static struct rig_snap *snap_make(struct rig_volume *volume, uint64_t cut)
{
    struct rig_snap *snap = volume->rig->views->snaps;
    while (snap->state != SNAP_FREE)
        snap++;
    *snap = (struct rig_snap){.state = SNAP_TAKEN,
                              .volume = volume,
                              .cut = cut,
                              .parent = view_volume(volume)->parent,
                              .frozen = frozen_take(&volume->model)};
    if (snap->parent != NULL)
        snap->parent->users++;
    return snap;
}

static void snap_forget(struct rig_snap *snap)
{
    if (snap->parent != NULL)
        snap->parent->users--;
    frozen_free(snap->frozen);
    memset(snap, 0, sizeof *snap);
}

struct rig_snap *snap_draw_shown(struct rig *rig)
{
    struct rig_snap *snap = &rig->views->snaps[prng_below(&rig->views->prng, RIG_SNAPS)];
    return snap->state == SNAP_KEPT || snap->state == SNAP_TAKEN ? snap : NULL;
}

struct rig_snap *snap_draw(struct rig *rig, const struct rig_volume *volume)
{
    struct rig_snap *snap = &rig->views->snaps[prng_below(&rig->views->prng, RIG_SNAPS)];
    bool of = volume == NULL || snap->volume == volume;
    return snap->state == SNAP_KEPT && of ? snap : NULL;
}

void snap_close(struct rig_snap *snap)
{
    if (snap->open != NULL)
        volume_close(snap->open);
    snap->open = NULL;
}

uint32_t snap_parents(const struct rig_snap *parent, struct volume_parent to[RIG_SNAPS])
{
    uint32_t count = 0;
    for (; parent != NULL; parent = parent->parent)
        to[count++] = (struct volume_parent){.volume = parent->volume->id, .view = parent->cut};
    return count;
}

/* --- Deletion ------------------------------------------------------------------------------- */

/* What its writes carry, after a change: also a cut of which the transaction has not ended. Where
 * nothing is left they need not tell of views. */
static void set_cut(struct rig_volume *volume)
{
    struct rig_view_volume *views = view_volume(volume);
    views->cut = snap_newest(volume, UINT64_MAX);
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        const struct rig_snap *snap = &volume->rig->views->snaps[i];
        if (snap->volume == volume && snap->state == SNAP_TAKEN)
            views->cut = MAX(views->cut, snap->cut);
    }
    views->may_have = snap_count(volume) > 0 || views->orphans;
    if (volume->volume != NULL)
        volume_set_views(volume->volume, views->cut, views->may_have);
}

static void snap_gone(void *context, int result)
{
    struct rig_snap *snap = context;
    struct rig_volume *volume = snap->volume;
    struct rig *rig = volume->rig;
    snap->asked = false;
    if (result == 0) {
        rig->counts.snaps_deleted++;
        rig->views->gone = true;
        rig_views_tell(rig, "gone", volume, snap->cut);
        snap_forget(snap);
        set_cut(volume);
    } else if (result != -ESHUTDOWN && !rig->faulty) {
        (void)rig_wrong(rig, "deleting a snapshot ended with %d", result);
    }
}

static void snap_ask(struct rig_snap *snap)
{
    struct rig_volume *volume = snap->volume;
    struct rig *rig = volume->rig;
    snap->asked = true;
    rig_views_tell(rig, "to be deleted", volume, snap->cut);
    int error = store_delete_views(rig->store, volume->id, snap->cut, snap->cut,
                                   snap_newest(volume, snap->cut), snap_gone, snap);
    if (error != 0)
        snap->asked = false;
    if (error != 0 && !rig->faulty)
        (void)rig_wrong(rig, "deleting a snapshot was refused: %s", base_last_error());
}

void snap_delete(struct rig_snap *snap)
{
    snap_close(snap);
    snap->state = SNAP_DELETING;
    set_cut(snap->volume);
    snap_ask(snap);
}

static bool snap_free_to_go(const struct rig_snap *snap)
{
    const struct rig_view_volume *views = view_volume(snap->volume);
    return snap->users == 0 && snap->readers == 0 && !views->blocked && views->rolling != snap;
}

static void delete_some(struct rig *rig)
{
    for (uint64_t tries = 1 + prng_below(&rig->views->prng, 8); tries > 0; tries--) {
        struct rig_snap *snap = snap_draw(rig, NULL);
        if (snap != NULL && snap_free_to_go(snap))
            snap_delete(snap);
    }
}

/* --- A cut ---------------------------------------------------------------------------------- */

static void cut_flushed(struct store_flush *flush, int result)
{
    struct rig *rig = flush->context;
    struct rig_cut *cut = &rig->views->cut;
    cut->flushed = true;
    /* What is not durable is not committed; a failed store commits nothing any more. */
    if (result != 0)
        cut->steps = UINT32_MAX;
}

/* In one instant for all of them. */
static void cut_take(struct rig *rig)
{
    struct rig_cut *cut = &rig->views->cut;
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        struct rig_volume *volume = &rig->volumes[i];
        if (!cut->wanted[i])
            continue;
        uint64_t at = volume_take_cut(volume->volume);
        cut->snaps[i] = snap_make(volume, at);
        view_volume(volume)->cut = at;
        view_volume(volume)->may_have = true;
        rig->counts.snaps_taken++;
        rig_views_tell(rig, "taken", volume, at);
    }
    /* What waits is about to write over what the snapshots show. */
    for (unsigned i = 0; i < RIG_REQUESTS; i++) {
        struct rig_request *request = &rig->requests[i];
        if (request->busy && cut->wanted[number_of(request->volume)])
            request->overwrites = false;
    }
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        if (cut->wanted[i])
            volume_release(rig->volumes[i].volume, &cut->holds[i]);
    }
    cut->flush.done = cut_flushed;
    cut->flush.context = rig;
    store_flush(rig->store, &cut->flush);
}

static void cut_held(struct volume_hold *hold)
{
    struct rig *rig = hold->context;
    if (hold->result != 0) {
        (void)rig_wrong(rig, "a volume cannot be held: %d", hold->result);
        return;
    }
    if (--rig->views->cut.holding == 0)
        cut_take(rig);
}

static bool cut_can(const struct rig_volume *volume)
{
    const struct rig_views *views = volume->rig->views;
    return volume->volume != NULL && !view_volume(volume)->blocked &&
           snap_count(volume) < views->most;
}

void rig_cut(struct rig *rig, uint64_t mask, uint32_t steps)
{
    struct rig_cut *cut = &rig->views->cut;
    if (cut->busy)
        return;
    memset(cut, 0, sizeof *cut);
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        cut->wanted[i] = (mask & 1u << i) != 0 && cut_can(&rig->volumes[i]);
        cut->holding += cut->wanted[i] ? 1 : 0;
    }
    cut->busy = cut->holding > 0;
    cut->steps = steps;
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        cut->holds[i].done = cut_held;
        cut->holds[i].context = rig;
        if (cut->wanted[i])
            volume_hold(rig->volumes[i].volume, &cut->holds[i]);
    }
}

static void cut_begin(struct rig *rig)
{
    struct prng *prng = &rig->views->prng;
    uint64_t mask = 1 + prng_below(prng, (1u << RIG_VOLUMES) - 1);
    rig_cut(rig, mask, prng_one_in(prng, 2) ? 0 : (uint32_t)prng_below(prng, 200));
}

bool rig_cut_now(struct rig *rig, uint64_t mask)
{
    rig_cut(rig, mask, 0);
    for (uint64_t steps = 0; rig->views->cut.busy; steps++) {
        rig_views_advance(rig);
        if (!rig_turn(rig))
            return false;
        if (steps > 200000)
            return rig_wrong(rig, "a cut does not end");
    }
    return rig->wrong[0] == '\0';
}

bool rig_views_busy(const struct rig *rig)
{
    const struct rig_views *views = rig->views;
    if (views == NULL)
        return false;
    bool busy = views->cut.busy || views->rollback.busy || views->flatten.busy || views->space.busy;
    for (unsigned i = 0; i < RIG_SNAPS; i++)
        busy = busy || views->snaps[i].asked;
    for (unsigned i = 0; i < RIG_VOLUMES; i++)
        busy = busy || views->volumes[i].orphans_asked;
    return busy;
}

/* The transaction: kept, or never heard of. */
static void cut_commit(struct rig *rig)
{
    struct rig_cut *cut = &rig->views->cut;
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        if (cut->snaps[i] != NULL && cut->snaps[i]->readers > 0)
            return;
    }
    bool keep = cut->steps != UINT32_MAX && !prng_one_in(&rig->views->prng, 6);
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        struct rig_snap *snap = cut->snaps[i];
        if (snap == NULL)
            continue;
        rig_views_tell(rig, keep ? "kept" : "not kept", snap->volume, snap->cut);
        if (keep)
            snap->state = SNAP_KEPT;
        else
            snap_delete(snap);
    }
    memset(cut, 0, sizeof *cut);
}

void rig_views_advance(struct rig *rig)
{
    struct rig_cut *cut = &rig->views->cut;
    rig_flatten_advance(rig);
    if (!cut->busy || !cut->flushed)
        return;
    if (cut->steps == 0 || cut->steps == UINT32_MAX)
        cut_commit(rig);
    else
        cut->steps--;
}

/* --- A life --------------------------------------------------------------------------------- */

/* Words of the catalog for a volume that is opened. */
void rig_views_options(struct rig_volume *volume, struct volume_options *options,
                       struct volume_parent parents[RIG_SNAPS])
{
    struct rig_view_volume *views = view_volume(volume);
    views->cut = snap_newest(volume, UINT64_MAX);
    options->cut = views->cut;
    options->views = views->may_have;
    options->parents = parents;
    options->parent_count = snap_parents(views->parent, parents);
    views->orphans_last = options->sequence - 1;
}

static void orphans_gone(void *context, int result)
{
    struct rig_volume *volume = context;
    struct rig *rig = volume->rig;
    struct rig_view_volume *views = view_volume(volume);
    if (result != 0 && result != -ESHUTDOWN && !rig->faulty)
        (void)rig_wrong(rig, "deleting what a crash left of snapshots ended with %d", result);
    if (result != 0)
        return;
    views->orphans = views->orphans_asked = false;
    set_cut(volume);
}

/* After an opening: what was under way goes on, what was not committed is deleted. */
void rig_views_resume(struct rig *rig)
{
    struct rig_views *views = rig->views;
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        struct rig_volume *volume = &rig->volumes[i];
        struct rig_view_volume *mine = &views->volumes[i];
        if (volume->deleting || !mine->orphans || mine->orphans_asked)
            continue;
        mine->orphans_asked = true;
        uint64_t newest = snap_newest(volume, UINT64_MAX);
        int error = store_delete_views(rig->store, volume->id, newest + 1, mine->orphans_last,
                                       newest, orphans_gone, volume);
        if (error != 0 && !rig->faulty)
            (void)rig_wrong(rig, "deleting orphans was refused: %s", base_last_error());
    }
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        struct rig_snap *snap = &views->snaps[i];
        if (snap->state == SNAP_DELETING && !snap->asked && !snap->volume->deleting)
            snap_ask(snap);
    }
    rig_copies_resume(rig);
}

/* What was not committed has never been. Its memory went with the process. */
void rig_views_crash(struct rig *rig)
{
    struct rig_views *views = rig->views;
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        struct rig_snap *snap = &views->snaps[i];
        snap->open = NULL;
        snap->asked = false;
        snap->readers = 0;
        if (snap->state == SNAP_TAKEN)
            snap_forget(snap);
    }
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        views->volumes[i].orphans = views->volumes[i].may_have;
        views->volumes[i].orphans_asked = false;
        views->volumes[i].blocked = views->volumes[i].rolling != NULL;
    }
    memset(&views->cut, 0, sizeof views->cut);
    memset(&views->rollback, 0, sizeof views->rollback);
    memset(&views->flatten, 0, sizeof views->flatten);
    memset(&views->space, 0, sizeof views->space);
}

/* Before a clean close: what cannot be interrupted has ended. */
bool rig_views_stop(struct rig *rig)
{
    struct rig_views *views = rig->views;
    for (uint64_t steps = 0;
         views->cut.busy || views->rollback.busy || views->flatten.busy || views->space.busy;
         steps++) {
        rig_views_advance(rig);
        if (!rig_turn(rig))
            return rig->world.off || rig->wrong[0] != '\0'
                       ? false
                       : rig_wrong(rig, "work on snapshots does not go on");
        if (steps > 200000)
            return rig_wrong(rig, "work on snapshots does not end");
    }
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        snap_close(&views->snaps[i]);
        views->snaps[i].asked = false;
    }
    for (unsigned i = 0; i < RIG_VOLUMES; i++)
        views->volumes[i].orphans_asked = false;
    return rig->wrong[0] == '\0';
}

/* All of a volume goes at once, views and all. */
bool rig_views_can_delete(struct rig_volume *volume)
{
    struct rig_views *views = volume->rig->views;
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        const struct rig_snap *snap = &views->snaps[i];
        if (snap->volume == volume && snap->state != SNAP_FREE &&
            (snap->state != SNAP_KEPT || !snap_free_to_go(snap)))
            return false;
    }
    return !view_volume(volume)->blocked && !view_volume(volume)->orphans &&
           !views->cut.wanted[number_of(volume)] && views->flatten.volume != volume;
}

void rig_views_deleting(struct rig_volume *volume)
{
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        struct rig_snap *snap = &volume->rig->views->snaps[i];
        if (snap->volume == volume && snap->state != SNAP_FREE) {
            snap_close(snap);
            snap_forget(snap);
        }
    }
}

/* A new volume takes its place: often a clone. */
void rig_views_replaced(struct rig_volume *volume)
{
    struct rig *rig = volume->rig;
    struct rig_view_volume *mine = view_volume(volume);
    if (mine->parent != NULL)
        mine->parent->users--;
    if (mine->leaving != NULL)
        mine->leaving->users--;
    memset(mine, 0, sizeof *mine);
    for (unsigned tries = 0; tries < 2 * RIG_SNAPS && mine->parent == NULL && !rig->views->ending;
         tries++)
        mine->parent = snap_draw(rig, NULL);
    if (mine->parent == NULL || frozen_in_doubt(mine->parent->frozen)) {
        mine->parent = NULL;
        return;
    }
    mine->parent->users++;
    frozen_clone(mine->parent->frozen, &volume->model);
    rig_views_tell(rig, "cloned from", mine->parent->volume, mine->parent->cut);
    rig_views_tell(rig, "a clone", volume, 0);
    rig->counts.clones++;
}

void rig_views_step(struct rig *rig)
{
    struct rig_views *views = rig->views;
    rig_views_advance(rig);
    /* What is told gone is gone, whatever happens next. */
    if (views->gone && prng_one_in(&views->prng, 16))
        world_cut_after(&rig->world, 1 + prng_below(&views->prng, 8));
    views->gone = false;
    if (!prng_one_in(&views->prng, views->often))
        return;
    switch (prng_below(&views->prng, 8)) {
    case 0:
    case 1:
    case 2: cut_begin(rig); break;
    case 3:
    case 4: delete_some(rig); break;
    case 5: rig_roll_back(rig); break;
    case 6: rig_flatten(rig); break;
    default: rig_count_space(rig); break;
    }
}

/* --- The end of everything ------------------------------------------------------------------ */

/* How much is left; what nothing needs any more goes. */
static unsigned end_step(struct rig *rig)
{
    struct rig_views *views = rig->views;
    unsigned left = 0;
    rig_views_advance(rig);
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        struct rig_volume *volume = &rig->volumes[i];
        left += volume->deleting || volume->volume != NULL ? 1 : 0;
        if (volume->volume != NULL && views->volumes[i].rolling == NULL &&
            rig_views_can_delete(volume) && prng_one_in(&views->prng, 40))
            rig_delete(rig, volume);
    }
    for (unsigned i = 0; i < RIG_SNAPS; i++) {
        struct rig_snap *snap = &views->snaps[i];
        left += snap->state != SNAP_FREE ? 1 : 0;
        if (snap->state == SNAP_KEPT && snap_free_to_go(snap) && prng_one_in(&views->prng, 20))
            snap_delete(snap);
    }
    return left;
}

static void end_soon(struct world_event *event)
{
    CONTAINER_OF(event, struct rig_views, soon)->asleep = false;
}

bool rig_views_end(struct rig *rig)
{
    struct rig_views *views = rig->views;
    views->ending = true;
    views->asleep = false;
    rig_resume(rig);
    for (uint64_t steps = 0; end_step(rig) > 0; steps++) {
        if (!views->asleep) {
            views->asleep = true;
            views->soon.fire = end_soon;
            world_at(&rig->world, &views->soon, NS_PER_MS);
        }
        if (!rig_turn(rig))
            return false;
        if (steps > 200000)
            return rig_wrong(rig, "deletions do not end");
    }
    if (!rig_stop(rig) || !rig_check(rig))
        return false;
    return rig->checked.blocks == 0
               ? true
               : rig_wrong(rig, "all is deleted, and %llu blocks of data are left",
                           (unsigned long long)rig->checked.blocks);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One page after the other, oldest owner first, the head's last: see enter.h. */
#include "tree/enter.h"
#include "tree/internal.h"

/* The page that is being dealt with: the owner's, and who is before. */
struct spot {
    uint64_t owner; /* VIEW_HEAD: the head's. */
    uint64_t before;
};

static void let_go(struct tree_path *path, struct tree_enter *enter, unsigned index)
{
    uint64_t place = enter->pending[index];
    enter->pending[index] = 0;
    if (place != 0)
        path->tree->freed(path->tree->context, place, 1);
}

/* --- One slot ------------------------------------------------------------------------------- */

/* Block i of a resync: does this page take it? */
static bool resync_takes(struct tree_enter *enter, const struct spot *spot, unsigned i,
                         const struct pointer *old)
{
    uint64_t sequence = enter->sequences[i];
    /* A later view shows the same, if it did not change between. */
    bool same = spot->before < enter->view || (old->sequence <= enter->view && !MUTANT(328));
    bool aside = old->kind == POINTER_SET_ASIDE && same;
    if (enter->kind == POINTER_HOLE)
        return aside && spot->owner >= enter->view && !MUTANT(276);
    bool good = enter->kind != POINTER_BAD || enter->existing[i] != 0;
    bool heals = old->kind == POINTER_BAD && good;
    if (old->sequence < sequence || (heals && old->sequence == sequence))
        return !(MUTANT(277) && spot->owner != VIEW_HEAD);
    if (!aside)
        return false;
    if (spot->before <= sequence || enter->before[i] == sequence)
        return true;
    enter->refused++;
    return false;
}

/* A page that is above the version shows it, or what is newer: but where it is replayed, and the
 * write before it was found to have no data, for that was damaged. */
static bool repair_takes(const struct tree_enter *enter, unsigned i, const struct pointer *old)
{
    if (MUTANT(278))
        return pointer_has_place(old);
    if (old->sequence != enter->sequences[i])
        return old->sequence < enter->sequences[i];
    return old->kind == POINTER_BAD ||
           (old->kind == POINTER_RAW && old->place == enter->damaged[i]);
}

static bool takes(struct tree_enter *enter, const struct spot *spot, unsigned index,
                  const struct pointer *old)
{
    if (enter->how == TREE_ASIDE)
        return old->sequence > enter->above && old->kind != POINTER_SET_ASIDE &&
               old->kind != POINTER_HOLE && !MUTANT(383);
    unsigned i = index - enter->index;
    bool above = spot->owner > enter->sequences[i];
    if (enter->skip[i] || !above)
        return false;
    return enter->how == TREE_REPAIR ? repair_takes(enter, i, old)
                                     : resync_takes(enter, spot, i, old);
}

static struct pointer version_of(const struct tree_enter *enter, unsigned index,
                                 const struct pointer *old)
{
    unsigned i = index - enter->index;
    if (enter->how == TREE_ASIDE)
        return (struct pointer){.kind = POINTER_SET_ASIDE, .sequence = old->sequence};
    struct pointer version = {.kind = enter->kind, .sequence = enter->sequences[i]};
    if (enter->existing[i] != 0)
        version.kind = POINTER_RAW; /* Bad there, good here: so it stays. */
    if (version.kind == POINTER_RAW) {
        version.place = enter->existing[i] != 0 ? enter->existing[i] : enter->places[i];
        version.crc = enter->crcs[i];
    }
    return version;
}

/* --- One page ------------------------------------------------------------------------------- */

static struct pointer slot_of(const struct tree_path *path, unsigned index)
{
    return path->page != NULL ? page_slot(path->page, index) : path->above;
}

static bool page_takes(const struct tree_path *path, struct tree_enter *enter,
                       const struct spot *spot)
{
    uint32_t refused = enter->refused;
    bool any = false;
    for (unsigned i = enter->index; i < enter->index + enter->count && !any; i++) {
        struct pointer old = slot_of(path, i);
        any = takes(enter, spot, i, &old);
    }
    enter->refused = refused;
    return any;
}

/* The page shows something newer than the cut that would become its owner: what that showed is lost
 * here, and it is not kept any more, or will be told what it is. */
static bool cut_is_passed(const struct tree_path *path, uint64_t cut)
{
    for (unsigned i = 0; i < (path->page != NULL ? MAP_BLOCKS : 1); i++) {
        if (slot_of(path, i).sequence > cut)
            return true;
    }
    return false;
}

static void slot_change(struct tree_path *path, struct tree_enter *enter, const struct spot *spot,
                        unsigned index)
{
    struct pointer old = page_slot(path->page, index);
    if (!takes(enter, spot, index, &old)) {
        if (old.kind != POINTER_RAW || old.place != enter->pending[index])
            let_go(path, enter, index);
        return;
    }
    struct pointer version = version_of(enter, index, &old);
    path->tree->asides += (version.kind == POINTER_SET_ASIDE) - (old.kind == POINTER_SET_ASIDE);
    page_set_slot(path->page, index, &version);
    bool same = old.kind == POINTER_RAW && old.place == enter->pending[index];
    if (same)
        return;
    let_go(path, enter, index);
    if (old.kind == POINTER_RAW && old.sequence > spot->before)
        enter->pending[index] = old.place;
}

static void page_note_shown(const struct tree_path *path, struct tree_enter *enter,
                            const struct spot *spot)
{
    for (unsigned i = 0; i < enter->count; i++) {
        struct pointer now = slot_of(path, enter->index + i);
        if (enter->how == TREE_ASIDE) {
            enter->asides += now.kind == POINTER_SET_ASIDE;
            continue;
        }
        if (spot->owner <= enter->sequences[i])
            continue;
        enter->before[i] = now.sequence;
        enter->shown[i] |= now.kind == POINTER_RAW && now.place == enter->places[i];
    }
}

/* The path is open for change, all is in hand. */
static void page_enter(struct tree_path *path, struct tree_enter *enter, const struct spot *spot)
{
    if (page_takes(path, enter, spot)) {
        if (path->cut != 0 && !cut_is_passed(path, path->cut)) {
            view_make_owner(path);
            path->owner = path->cut;
        }
        struct spot now = {.owner = spot->owner, .before = path->owner};
        path_make_page(path);
        for (unsigned i = enter->index; i < enter->index + enter->count; i++)
            slot_change(path, enter, &now, i);
    } else {
        for (unsigned i = enter->index; i < enter->index + enter->count; i++) {
            struct pointer old = slot_of(path, i);
            if (old.kind != POINTER_RAW || old.place != enter->pending[i])
                let_go(path, enter, i);
            if (enter->how == TREE_RESYNC)
                (void)takes(enter, spot, i, &old); /* Counts what it refuses. */
        }
    }
    page_note_shown(path, enter, spot);
}

/* --- The walk ------------------------------------------------------------------------------- */

static uint64_t sequence_min(const struct tree_enter *enter)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < enter->count && enter->how != TREE_ASIDE; i++)
        least = MIN(least, enter->sequences[i]);
    return least == UINT64_MAX ? 0 : least;
}

/* The next owner's page, or the head's. */
static int find_spot(struct tree_path *path, const struct tree_enter *enter, struct spot *ret_spot)
{
    struct owner owner, before = {.cut = 0};
    int result = owner_from(path->tree, enter->volume, enter->mebibyte, enter->at + 1,
                            &path->waiter, &owner);
    if (result == -ENOENT)
        owner.cut = VIEW_HEAD;
    else if (result != 0)
        return result;
    result =
        owner_before(path->tree, enter->volume, enter->mebibyte, owner.cut, &path->waiter, &before);
    if (result != 0 && result != -ENOENT)
        return result;
    *ret_spot = (struct spot){.owner = owner.cut, .before = result == 0 ? before.cut : 0};
    return 0;
}

static int open_spot(struct tree_path *path, const struct tree_enter *enter,
                     const struct spot *spot, bool change)
{
    uint64_t block = (uint64_t)enter->mebibyte * MAP_BLOCKS;
    struct segment_key key = spot->owner == VIEW_HEAD
                                 ? head_key(enter->volume, block)
                                 : view_key(enter->volume, enter->mebibyte, spot->owner);
    struct segment_key beside = view_key(enter->volume, enter->mebibyte, enter->cut);
    bool splits = change && enter->cut > spot->before && enter->cut < spot->owner;
    path->map = enter->mebibyte % POINTERS_PER_PAGE;
    path->view = spot->owner;
    path->owner = spot->before;
    path->cut = splits ? enter->cut : 0;
    return path_open(path, &key, splits ? &beside : NULL, change);
}

/* Whoever waits keeps what it holds; else the path is closed. */
static int stop(struct tree_path *path, int result)
{
    if (result != -EAGAIN)
        tree_path_close(path);
    return result;
}

/* Does some page show a version already? -ENOENT: all have been asked. */
static int look_step(struct tree_path *path, struct tree_enter *enter)
{
    struct spot spot;
    int result = find_spot(path, enter, &spot);
    if (result == 0)
        result = open_spot(path, enter, &spot, false);
    if (result != 0)
        return result;
    for (unsigned i = 0; i < enter->count; i++) {
        struct pointer now = slot_of(path, enter->index + i);
        bool above = spot.owner > enter->sequences[i];
        if (above && now.kind == POINTER_RAW && now.sequence == enter->sequences[i] &&
            !MUTANT(280)) {
            enter->existing[i] = now.place;
            enter->crcs[i] = now.crc;
        }
    }
    tree_path_close(path);
    enter->at = spot.owner;
    return spot.owner == VIEW_HEAD ? -ENOENT : 0;
}

static int enter_step(struct tree_path *path, struct tree_enter *enter)
{
    struct spot spot;
    int result = find_spot(path, enter, &spot);
    if (result == 0)
        result = open_spot(path, enter, &spot, true);
    if (result != 0)
        return result;
    page_enter(path, enter, &spot);
    tree_path_close(path);
    enter->at = spot.owner;
    return spot.owner == VIEW_HEAD ? -ENOENT : 0;
}

int tree_enter(struct tree_path *path, struct tree_enter *enter)
{
    assert(!path->open && enter->mebibyte < VIEW_MEBIBYTES);
    assert(enter->count > 0 && enter->index + enter->count <= MAP_BLOCKS);
    int result = 0;
    if (!enter->begun) {
        enter->begun = true;
        enter->looked =
            enter->how != TREE_RESYNC || (enter->kind != POINTER_RAW && enter->kind != POINTER_BAD);
        enter->at = sequence_min(enter);
    }
    while (result == 0 && !enter->looked) {
        result = look_step(path, enter);
        if (result == -ENOENT) {
            enter->looked = true;
            enter->at = sequence_min(enter);
            result = 0;
        }
    }
    if (result == 0)
        result = enter_step(path, enter);
    if (result == 0)
        return -EINPROGRESS;
    if (result != -ENOENT)
        return stop(path, result);
    for (unsigned i = 0; i < MAP_BLOCKS; i++)
        let_go(path, enter, i);
    return stop(path, 0);
}

int64_t tree_asides(const struct tree *tree)
{
    return tree->asides;
}

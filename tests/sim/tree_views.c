/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume with snapshots beside arrays of what each of them shows. Writes carry the newest cut
 * that is kept; a cut is taken when none is under way; one that is deleted goes mebibyte by
 * mebibyte, several at a time, while the head goes on.
 */
#include "sim/tree_model.h"

#define MEBIBYTES (VIEW_SEGMENTS * MAPS)

static struct cell *head_at(struct run *run, struct spot spot)
{
    return run->views.head.cells[spot.segment][spot.map];
}

static const struct cell *shown_at(const struct run *run, const struct cut *cut, struct spot spot)
{
    const struct viewed_cells *cells = cut == NULL ? &run->views.head : &cut->shows;
    return cells->cells[spot.segment][spot.map];
}

static struct spot spot_number(unsigned number)
{
    return (struct spot){VIEWED, number / MAPS, number % MAPS};
}

static struct spot draw(struct run *run)
{
    unsigned segments = prng_one_in(&run->prng, 2) ? 2 : VIEW_SEGMENTS;
    return (struct spot){VIEWED, run_below(run, segments), run_below(run, MAPS)};
}

static uint32_t mebibyte_of(struct spot spot)
{
    return (uint32_t)(spot_block(spot) / MAP_BLOCKS);
}

/* The newest that is kept and older than `before`; 0: none. */
static uint64_t newest_kept(const struct run *run, uint64_t before)
{
    for (unsigned i = run->views.count; i-- > 0;) {
        if (run->views.cuts[i].kept && run->views.cuts[i].at < before)
            return run->views.cuts[i].at;
    }
    return 0;
}

static struct cut *draw_kept(struct run *run)
{
    struct cut *cut = &run->views.cuts[run_below(run, CUTS)];
    bool any = cut < run->views.cuts + run->views.count && cut->kept;
    return any ? cut : NULL;
}

static struct cut *cut_find(struct run *run, uint64_t at)
{
    for (unsigned i = 0; i < run->views.count; i++) {
        if (run->views.cuts[i].at == at)
            return &run->views.cuts[i];
    }
    return NULL;
}

/* --- Owners ----------------------------------------------------------------------------------- */

static uint64_t owner_newest(const struct run *run, struct spot spot)
{
    unsigned count = run->views.owner_count[spot.segment][spot.map];
    return count == 0 ? 0 : run->views.owners[spot.segment][spot.map][count - 1];
}

/* Something changes under a cut. */
static void owner_made(struct run *run, struct spot spot, uint64_t cut)
{
    if (cut <= owner_newest(run, spot))
        return;
    uint8_t *count = &run->views.owner_count[spot.segment][spot.map];
    REQUIRE(*count < OWNERS);
    run->views.owners[spot.segment][spot.map][(*count)++] = cut;
}

static void owner_dropped(struct run *run, struct spot spot, uint64_t cut, uint64_t previous)
{
    uint64_t *owners = run->views.owners[spot.segment][spot.map];
    uint8_t *count = &run->views.owner_count[spot.segment][spot.map];
    unsigned i = 0;
    while (i < *count && owners[i] != cut)
        i++;
    if (i == *count)
        return;
    if (previous > (i == 0 ? 0 : owners[i - 1])) {
        owners[i] = previous;
        return;
    }
    memmove(&owners[i], &owners[i + 1], (*count - i - 1u) * sizeof owners[0]);
    (*count)--;
}

static bool owners_many(const struct run *run)
{
    for (unsigned i = 0; i < MEBIBYTES; i++) {
        if (run->views.owner_count[i / MAPS][i % MAPS] > CUTS)
            return true;
    }
    return false;
}

/* --- Changes ---------------------------------------------------------------------------------- */

/* Newer than every cut, or it would belong to one. */
static uint64_t draw_sequence(struct run *run)
{
    uint64_t since = run->sequence - run->views.newest;
    if (since > 0 && prng_one_in(&run->prng, 5))
        return run->views.newest + 1 + prng_below(&run->prng, since);
    return ++run->sequence;
}

static void do_set(struct run *run, struct tree_path *path, struct spot spot, uint64_t cut)
{
    unsigned index = run_below(run, MAP_BLOCKS);
    struct cell *cell = &head_at(run, spot)[index];
    bool again = cell->sequence > 0 && prng_one_in(&run->prng, 6);
    uint64_t sequence = again ? 1 + prng_below(&run->prng, cell->sequence) : draw_sequence(run);
    struct pointer pointer = forest_raw(forest_take(run->forest), sequence);
    bool newer = sequence > cell->sequence;
    REQUIRE(tree_set(path, index, &pointer) == newer);
    if (newer) {
        owner_made(run, spot, cut);
        *cell = (struct cell){sequence, pointer.place, POINTER_RAW};
    } else {
        forest_give_back(run->forest, pointer.place);
    }
    REQUIRE(path->owner == owner_newest(run, spot));
}

static void do_zero(struct run *run, struct tree_path *path, struct spot spot, uint64_t cut)
{
    unsigned count = prng_one_in(&run->prng, 2) ? MAP_BLOCKS : 1 + run_below(run, MAP_BLOCKS);
    unsigned index = run_below(run, MAP_BLOCKS - count + 1);
    uint64_t sequence = draw_sequence(run);
    struct cell *cells = head_at(run, spot);
    tree_zero(path, index, count, sequence);
    for (unsigned i = index; i < index + count; i++) {
        if (cells[i].sequence >= sequence)
            continue;
        owner_made(run, spot, cut);
        cells[i] = (struct cell){sequence, 0, POINTER_ZERO};
    }
    REQUIRE(path->owner == owner_newest(run, spot));
}

static void change(struct run *run, struct tree_path *path, struct spot spot, uint64_t cut)
{
    if (prng_one_in(&run->prng, 8)) {
        do_zero(run, path, spot, cut);
        return;
    }
    for (unsigned i = prng_one_in(&run->prng, 4) ? 1 + run_below(run, 40) : 1; i > 0; i--)
        do_set(run, path, spot, cut);
}

static void step_change(struct run *run)
{
    struct spot spot = draw(run);
    uint64_t cut = newest_kept(run, VIEW_HEAD);
    struct tree_path *path = forest_under(run->forest, VIEWED, spot_block(spot), cut);
    change(run, path, spot, cut);
    tree_path_close(path);
}

static void guest_try(struct guest *guest)
{
    int result = tree_path_open_under(&guest->path, VIEWED, spot_block(guest->spot), guest->cut);
    if (result == -EAGAIN)
        return;
    bool failed = guest->run->forest->devices.failed != 0;
    REQUIRE(result == 0 || (result == IOMESH_FAILED && failed));
    if (result == 0)
        change(guest->run, &guest->path, guest->spot, guest->cut);
    tree_path_close(&guest->path);
    guest->busy = false;
}

static void guest_woken(struct tree_path *path)
{
    guest_try(CONTAINER_OF(path, struct guest, path));
}

static void step_crowd(struct run *run)
{
    if (!prng_one_in(&run->prng, 3))
        return;
    for (unsigned i = 0; i < COUNT_OF(run->view_crowd); i++) {
        struct guest *guest = &run->view_crowd[i];
        if (guest->busy)
            continue;
        guest->busy = true;
        guest->spot = draw(run);
        guest->cut = newest_kept(run, VIEW_HEAD);
        guest_try(guest);
    }
}

/* --- Looks ------------------------------------------------------------------------------------ */

static void cells_compare(struct run *run, const struct tree_path *path, const struct cell *cells,
                          unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        struct pointer pointer = tree_get(path, i);
        cell_check(&cells[i], &pointer);
        if (pointer_has_place(&pointer))
            REQUIRE(run->forest->state[pointer.place] == PLACE_OUT);
    }
}

static void view_compare(struct run *run, const struct cut *cut, struct spot spot)
{
    struct tree_path *path = &run->forest->path;
    int result;
    while ((result = tree_path_open(path, VIEWED, cut == NULL ? VIEW_HEAD : cut->at,
                                    spot_block(spot), false)) == -EAGAIN)
        forest_turn(run->forest);
    REQUIRE(result == 0);
    cells_compare(run, path, shown_at(run, cut, spot), 0, MAP_BLOCKS);
    tree_path_close(path);
}

static void step_look(struct run *run)
{
    view_compare(run, draw_kept(run), draw(run));
}

/* A path stays open on a cut, or for a change, while others change and delete. */
static void step_held(struct run *run)
{
    struct reader *reader = &run->readers[run_below(run, READERS)];
    struct tree_path *path = &reader->path;
    unsigned index = run_below(run, MAP_BLOCKS);
    if (path->open && path->change) {
        REQUIRE(path->owner == owner_newest(run, reader->spot));
        change(run, path, reader->spot, reader->view);
        if (prng_one_in(&run->prng, 2))
            tree_path_close(path);
        return;
    }
    if (path->open) {
        cells_compare(run, path, shown_at(run, cut_find(run, reader->view), reader->spot), index,
                      1);
        if (prng_one_in(&run->prng, 3))
            tree_path_close(path);
        return;
    }
    tree_path_close(path);
    const struct cut *cut = draw_kept(run);
    reader->spot = draw(run);
    int result;
    /* Few hold reservations for long: those who want one wait for them in vain. */
    bool reads = reader != run->readers;
    if (reads && cut == NULL)
        return;
    if (reads) {
        reader->view = cut->at;
        result = tree_path_open(path, VIEWED, cut->at, spot_block(reader->spot), false);
    } else {
        reader->view = newest_kept(run, VIEW_HEAD);
        result = tree_path_open_under(path, VIEWED, spot_block(reader->spot), reader->view);
    }
    REQUIRE(result == 0 || result == -EAGAIN);
    if (result != 0)
        tree_path_close(path);
}

static void readers_close(struct run *run, uint64_t view, bool changing)
{
    for (unsigned i = 0; i < READERS; i++) {
        struct reader *reader = &run->readers[i];
        if (reader->view == view || (changing && reader->path.change))
            tree_path_close(&reader->path);
    }
}

/* Nothing that is newer is passed over. */
static void step_changed(struct run *run)
{
    const struct cut *cut = draw_kept(run);
    uint64_t view = cut == NULL ? VIEW_HEAD : cut->at;
    uint64_t since = prng_below(&run->prng, run->sequence + 1);
    bool newer[MEBIBYTES] = {false}, told[MEBIBYTES] = {false};
    for (unsigned i = 0; i < MEBIBYTES * MAP_BLOCKS; i++) {
        const struct cell *cells = shown_at(run, cut, spot_number(i / MAP_BLOCKS));
        newer[i / MAP_BLOCKS] |= cells[i % MAP_BLOCKS].sequence > since;
    }
    struct tree_path *path = &run->forest->path;
    uint64_t block = 0, last = UINT64_MAX;
    for (;;) {
        int result = tree_changed_next(path, VIEWED, view, since, last, &block);
        if (result == -ENOENT)
            break;
        if (result == -EAGAIN) {
            forest_turn(run->forest);
            continue;
        }
        REQUIRE(result == 0 && path->open);
        tree_path_close(path);
        unsigned map = (unsigned)(block % SEGMENT_BLOCKS / MAP_BLOCKS);
        if (map == map_index[0] || map == map_index[1])
            told[block / SEGMENT_BLOCKS * MAPS + (map == map_index[1])] = true;
        block += MAP_BLOCKS;
    }
    tree_path_close(path);
    for (unsigned i = 0; i < MEBIBYTES; i++)
        REQUIRE(told[i] || !newer[i]);
}

/* The owner that comes next among some, and the newest of all, as the model has them. */
static void step_next(struct run *run)
{
    struct tree_path *path = &run->forest->path;
    unsigned number = run_below(run, MEBIBYTES);
    uint64_t first = 1 + prng_below(&run->prng, run->sequence);
    uint64_t last = MIN(first + prng_below(&run->prng, 3000), VIEW_HEAD - 1), cut = 0;
    uint32_t mebibyte = mebibyte_of(spot_number(number));
    int result;
    while ((result = tree_view_next(path, VIEWED, first, last, &mebibyte, &cut)) == -EAGAIN)
        forest_turn(run->forest);
    tree_path_close(path);
    for (; number < MEBIBYTES; number++) {
        struct spot spot = spot_number(number);
        for (unsigned i = 0; i < run->views.owner_count[spot.segment][spot.map]; i++) {
            uint64_t owner = run->views.owners[spot.segment][spot.map][i];
            if (owner < first || owner > last)
                continue;
            REQUIRE(result == 0 && mebibyte == mebibyte_of(spot) && cut == owner);
            return;
        }
    }
    REQUIRE(result == -ENOENT);
}

/* --- Cuts ------------------------------------------------------------------------------------- */

static bool under_way(const struct run *run, uint64_t cut, bool any)
{
    for (unsigned i = 0; i < COUNT_OF(run->view_crowd); i++) {
        if (run->view_crowd[i].busy && (any || run->view_crowd[i].cut == cut))
            return true;
    }
    return false;
}

static void take_cut(struct run *run)
{
    struct views *views = &run->views;
    struct cut *cut = &views->cuts[views->count++];
    views->newest = ++run->sequence;
    cut->at = views->newest;
    cut->kept = true;
    cut->shows = views->head;
}

/* Two at a time, now and then: the older one relies on the other. */
static void step_cut(struct run *run)
{
    if (under_way(run, 0, true) || owners_many(run))
        return;
    readers_close(run, 0, true);
    for (unsigned i = 1 + run_below(run, 2); i > 0 && run->views.count < CUTS; i--)
        take_cut(run);
}

static void cutting_begin(struct run *run, struct cutting *cutting, const struct cut *cut)
{
    *cutting = (struct cutting){
        .at = cut->at,
        .previous = newest_kept(run, cut->at),
        .first = run_below(run, MEBIBYTES),
        .active = true,
    };
}

/* Nobody goes while another deletion makes pages his own. */
static void step_delete(struct run *run)
{
    struct cut *newest = cut_find(run, newest_kept(run, VIEW_HEAD));
    struct cut *cut = prng_one_in(&run->prng, 2) ? newest : draw_kept(run);
    struct cutting *idle = NULL;
    for (unsigned i = 0; i < COUNT_OF(run->cuttings); i++) {
        struct cutting *cutting = &run->cuttings[i];
        if (!cutting->active)
            idle = cutting;
        else if (cut != NULL && cutting->previous == cut->at)
            return;
    }
    if (cut == NULL || idle == NULL)
        return;
    readers_close(run, cut->at, false);
    cut->kept = false;
    cutting_begin(run, idle, cut);
    /* While its pages are on their way to the disk. */
    if (run->forest->phase == FOREST_IDLE && prng_one_in(&run->prng, 3))
        forest_freeze(run->forest);
}

static void dropper_try(struct dropper *dropper)
{
    int result = tree_view_drop(&dropper->path, &dropper->beside, VIEWED,
                                mebibyte_of(dropper->spot), dropper->cut, dropper->previous);
    if (result == -EAGAIN)
        return;
    bool failed = dropper->run->forest->devices.failed != 0;
    REQUIRE(result == 0 || (result == IOMESH_FAILED && failed));
    REQUIRE(dropper->path.segment == NULL && dropper->beside.segment == NULL);
    if (result == 0)
        owner_dropped(dropper->run, dropper->spot, dropper->cut, dropper->previous);
    dropper->busy = false;
}

static void dropper_woken(struct tree_path *path)
{
    dropper_try(CONTAINER_OF(path, struct dropper, path));
}

static void dropper_woken_beside(struct tree_path *path)
{
    dropper_try(CONTAINER_OF(path, struct dropper, beside));
}

static void cutting_end(struct run *run, struct cutting *cutting)
{
    struct views *views = &run->views;
    struct cut *cut = cut_find(run, cutting->at);
    for (unsigned i = 0; i < DROPPERS; i++) {
        if (run->droppers[i].busy && run->droppers[i].cut == cutting->at)
            return;
    }
    for (unsigned i = 0; i < MEBIBYTES * OWNERS; i++) {
        unsigned number = i / OWNERS;
        bool counts = i % OWNERS < views->owner_count[number / MAPS][number % MAPS];
        REQUIRE(!counts || views->owners[number / MAPS][number % MAPS][i % OWNERS] != cutting->at);
    }
    cutting->active = false;
    views->count--;
    memmove(cut, cut + 1, (size_t)(views->cuts + views->count - cut) * sizeof *cut);
}

static void step_drop(struct run *run)
{
    struct cutting *cutting = &run->cuttings[run_below(run, COUNT_OF(run->cuttings))];
    if (!cutting->active || under_way(run, cutting->at, false))
        return;
    readers_close(run, 0, true);
    for (unsigned i = 0; i < DROPPERS; i++) {
        struct dropper *dropper = &run->droppers[i];
        if (dropper->busy)
            continue;
        if (cutting->done == MEBIBYTES) {
            cutting_end(run, cutting);
            return;
        }
        dropper->busy = true;
        dropper->cut = cutting->at;
        dropper->previous = cutting->previous;
        dropper->spot = spot_number((cutting->first + cutting->done++) % MEBIBYTES);
        dropper_try(dropper);
    }
}

/* --- The end of the volume -------------------------------------------------------------------- */

static void drop_head(struct run *run, struct spot spot)
{
    struct tree_path *path = forest_under(run->forest, VIEWED, spot_block(spot), 0);
    bool directory = path->directory != NULL;
    tree_drop_map(path);
    tree_path_close(path);
    if (directory)
        memset(head_at(run, spot), 0, MAP_BLOCKS * sizeof(struct cell));
}

static void drop_owners(struct run *run, struct spot spot)
{
    int result;
    while ((result = tree_views_drop_newest(&run->forest->path, VIEWED, mebibyte_of(spot))) != 0) {
        REQUIRE(result == -EAGAIN || result == -EINPROGRESS);
        if (result == -EINPROGRESS)
            owner_dropped(run, spot, owner_newest(run, spot), 0);
        else
            forest_turn(run->forest);
    }
    REQUIRE(owner_newest(run, spot) == 0);
}

static void step_drop_volume(struct run *run)
{
    if (!prng_one_in(&run->prng, 20))
        return;
    views_quiet(run);
    run->views.count = 0;
    for (unsigned i = 0; i < COUNT_OF(run->cuttings); i++)
        run->cuttings[i].active = false;
    for (unsigned i = 0; i < MEBIBYTES; i++)
        drop_head(run, spot_number(i));
    for (unsigned i = 0; i < MEBIBYTES; i++)
        drop_owners(run, spot_number(i));
}

/* --- All together ----------------------------------------------------------------------------- */

void views_init(struct run *run)
{
    struct tree *tree = run->forest->tree;
    for (unsigned i = 0; i < READERS; i++)
        tree_path_init(&run->readers[i].path, tree, forest_woken);
    for (unsigned i = 0; i < DROPPERS; i++) {
        struct dropper *dropper = &run->droppers[i];
        tree_path_init(&dropper->path, tree, dropper_woken);
        tree_path_init(&dropper->beside, tree, dropper_woken_beside);
        dropper->run = run;
        dropper->busy = false;
    }
    for (unsigned i = 0; i < COUNT_OF(run->view_crowd); i++) {
        tree_path_init(&run->view_crowd[i].path, tree, guest_woken);
        run->view_crowd[i].run = run;
        run->view_crowd[i].busy = false;
    }
}

void views_crashed(struct run *run)
{
    struct cutting *cutting = run->cuttings;
    for (unsigned i = 0; i < COUNT_OF(run->cuttings); i++)
        run->cuttings[i].active = false;
    for (unsigned i = 0; i < run->views.count; i++) {
        if (!run->views.cuts[i].kept)
            cutting_begin(run, cutting++, &run->views.cuts[i]);
    }
}

void views_quiet(struct run *run)
{
    for (unsigned i = 0; i < READERS; i++)
        tree_path_close(&run->readers[i].path);
    forest_settle(run->forest);
    for (unsigned i = 0; i < DROPPERS; i++)
        REQUIRE(!run->droppers[i].busy); /* Or it would wait for ever. */
    REQUIRE(!under_way(run, 0, true));
}

void views_compare(struct run *run)
{
    for (unsigned number = 0; number < MEBIBYTES; number++) {
        view_compare(run, NULL, spot_number(number));
        for (unsigned i = 0; i < run->views.count; i++) {
            if (run->views.cuts[i].kept)
                view_compare(run, &run->views.cuts[i], spot_number(number));
        }
    }
}

void views_step(struct run *run)
{
    static void (*const steps[])(struct run * run) = {
        step_change, step_change, step_change, step_change, step_change,      step_crowd,
        step_look,   step_look,   step_held,   step_held,   step_held,        step_changed,
        step_next,   step_cut,    step_delete, step_drop,   step_drop,        step_drop,
        step_drop,   step_drop,   step_drop,   step_drop,   step_drop_volume,
    };
    steps[run_below(run, COUNT_OF(steps))](run);
}

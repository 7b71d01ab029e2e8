/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/tree_model.h"

const unsigned map_index[MAPS] = {0, 7};

uint64_t spot_block(struct spot spot)
{
    return (uint64_t)spot.segment * SEGMENT_BLOCKS + map_index[spot.map] * MAP_BLOCKS;
}

unsigned run_below(struct run *run, unsigned limit)
{
    return (unsigned)prng_below(&run->prng, limit);
}

static struct spot draw_spot(struct run *run)
{
    /* Some segments are much more in demand than others. */
    const struct held *held = &run->held[run_below(run, HELD)];
    if (held->path.open && prng_one_in(&run->prng, 4))
        return held->spot;
    unsigned segments = prng_one_in(&run->prng, 2) ? 6 : SEGMENTS;
    return (struct spot){run_below(run, VOLUMES), run_below(run, segments), run_below(run, MAPS)};
}

struct cell *cells_at(struct model *model, struct spot spot)
{
    return model->cells[spot.volume][spot.segment][spot.map];
}

void cell_check(const struct cell *cell, const struct pointer *pointer)
{
    REQUIRE(pointer->kind == cell->kind);
    REQUIRE(pointer->sequence == cell->sequence);
    if (cell->kind == POINTER_RAW)
        REQUIRE(pointer->place == cell->place);
}

void run_frozen(struct forest *forest)
{
    struct run *run = forest->context;
    run->frozen = run->live;
    run->views_frozen = run->views;
}

void run_durable(struct forest *forest)
{
    struct run *run = forest->context;
    run->durable = run->frozen;
    run->views_durable = run->views_frozen;
}

/* --- Steps ------------------------------------------------------------------------------------ */

static void do_set(struct run *run, struct tree_path *path, struct spot spot, unsigned index)
{
    struct cell *cell = &cells_at(&run->live, spot)[index];
    bool late = prng_one_in(&run->prng, 5);
    uint64_t sequence = late ? 1 + prng_below(&run->prng, run->sequence) : ++run->sequence;
    struct pointer pointer = forest_raw(forest_take(run->forest), sequence);
    bool newer = sequence > cell->sequence;
    REQUIRE(tree_set(path, index, &pointer) == newer);
    if (newer)
        *cell = (struct cell){sequence, pointer.place, POINTER_RAW};
    else
        forest_give_back(run->forest, pointer.place);
}

static void step_set(struct run *run)
{
    struct spot spot = draw_spot(run);
    struct tree_path *path = forest_at(run->forest, spot.volume, spot_block(spot), true);
    unsigned count = prng_one_in(&run->prng, 4) ? 1 + run_below(run, 32) : 1;
    unsigned index = run_below(run, MAP_BLOCKS - count + 1);
    for (unsigned i = 0; i < count; i++)
        do_set(run, path, spot, index + i);
    tree_path_close(path);
}

static void do_zero(struct run *run, struct tree_path *path, struct spot spot)
{
    unsigned count = prng_one_in(&run->prng, 2) ? MAP_BLOCKS : 1 + run_below(run, MAP_BLOCKS);
    unsigned index = run_below(run, MAP_BLOCKS - count + 1);
    bool late = prng_one_in(&run->prng, 4);
    uint64_t sequence = late ? 1 + prng_below(&run->prng, run->sequence) : ++run->sequence;
    tree_zero(path, index, count, sequence);
    struct cell *cells = cells_at(&run->live, spot);
    for (unsigned i = index; i < index + count; i++) {
        if (cells[i].sequence < sequence)
            cells[i] = (struct cell){sequence, 0, POINTER_ZERO};
    }
}

static void step_zero(struct run *run)
{
    struct spot spot = draw_spot(run);
    struct tree_path *path = forest_at(run->forest, spot.volume, spot_block(spot), true);
    do_zero(run, path, spot);
    tree_path_close(path);
}

static void do_drop_map(struct run *run, struct spot spot)
{
    struct tree_path *path = forest_at(run->forest, spot.volume, spot_block(spot), true);
    bool directory = path->directory != NULL;
    tree_drop_map(path);
    tree_path_close(path);
    if (directory) /* Else the whole segment is hole or zero, and stays so. */
        memset(cells_at(&run->live, spot), 0, sizeof run->live.cells[0][0][0]);
}

static void step_drop_map(struct run *run)
{
    do_drop_map(run, draw_spot(run));
}

static void step_zero_segment(struct run *run)
{
    struct spot spot = draw_spot(run);
    uint64_t sequence = ++run->sequence;
    int result;
    while ((result = tree_zero_segment(&run->forest->path, spot.volume, spot.segment, sequence)) ==
           -EAGAIN)
        forest_turn(run->forest);
    if (result == -ENOENT)
        return;
    REQUIRE(result == 0);
    for (unsigned i = 0; i < MAPS * MAP_BLOCKS; i++)
        run->live.cells[spot.volume][spot.segment][i / MAP_BLOCKS][i % MAP_BLOCKS] =
            (struct cell){sequence, 0, POINTER_ZERO};
}

static bool segment_is_bare(const struct run *run, struct spot spot)
{
    const struct cell(*cells)[MAP_BLOCKS] = run->live.cells[spot.volume][spot.segment];
    for (unsigned i = 0; i < MAPS * MAP_BLOCKS; i++) {
        if (cells[i / MAP_BLOCKS][i % MAP_BLOCKS].kind == POINTER_RAW)
            return false;
    }
    return true;
}

static void drop_segment(struct run *run, struct spot spot)
{
    if (!prng_one_in(&run->prng, 4)) {
        for (spot.map = 0; spot.map < MAPS; spot.map++)
            do_drop_map(run, spot);
    }
    bool bare = segment_is_bare(run, spot);
    struct segment_key key = {spot.volume, spot.segment, VIEW_HEAD};
    int result;
    while ((result = tree_drop_segment(&run->forest->path, &key)) == -EAGAIN)
        forest_turn(run->forest);
    if (result == -EBUSY)
        return; /* Something is left: at least a page that shows zeros. */
    REQUIRE(result == 0);
    REQUIRE(bare);
    memset(run->live.cells[spot.volume][spot.segment], 0,
           sizeof run->live.cells[spot.volume][spot.segment]);
}

static void step_drop_segment(struct run *run)
{
    struct spot spot = draw_spot(run);
    unsigned count = prng_one_in(&run->prng, 12) ? SEGMENTS / 2 : 1;
    for (unsigned i = 0; i < count; i++, spot.segment = (spot.segment + 1) % SEGMENTS)
        drop_segment(run, spot);
}

static void step_record(struct run *run)
{
    struct forest *forest = run->forest;
    unsigned volume = run_below(run, VOLUMES);
    bool change = !prng_one_in(&run->prng, 3);
    uint8_t *record = &run->live.records[volume];
    int result;
    while ((result = tree_record_open(&forest->path, volume, change)) == -EAGAIN)
        forest_turn(forest);
    if (!change && *record == 0) {
        REQUIRE(result == -ENOENT);
        return;
    }
    REQUIRE(result == 0);
    REQUIRE(page_bytes(forest->path.page)[100] == *record);
    if (change && prng_one_in(&run->prng, 3)) {
        tree_record_drop(&forest->path);
        *record = 0;
        return;
    }
    if (change) {
        *record = (uint8_t)(1 + run_below(run, 255));
        page_change(forest->path.page)[100] = *record;
    }
    tree_path_close(&forest->path);
}

/* A path stays open while others change what it shows; what it says is true all the same. */
static void step_held(struct run *run)
{
    struct held *held = &run->held[run_below(run, HELD)];
    if (!held->path.open) {
        held->spot = draw_spot(run);
        int result = tree_path_open(&held->path, held->spot.volume, VIEW_HEAD,
                                    spot_block(held->spot), prng_one_in(&run->prng, 2));
        REQUIRE(result == 0 || result == -EAGAIN);
        return;
    }
    unsigned index = run_below(run, MAP_BLOCKS);
    struct pointer pointer = tree_get(&held->path, index);
    cell_check(&cells_at(&run->live, held->spot)[index], &pointer);
    if (held->path.change && prng_one_in(&run->prng, 2))
        do_set(run, &held->path, held->spot, index);
    else if (held->path.change)
        do_zero(run, &held->path, held->spot);
    if (held->path.change || prng_one_in(&run->prng, 3))
        tree_path_close(&held->path);
}

static void step_get(struct run *run)
{
    struct spot spot = draw_spot(run);
    unsigned index = run_below(run, MAP_BLOCKS);
    struct pointer pointer = forest_get(run->forest, spot.volume, spot_block(spot) + index);
    cell_check(&cells_at(&run->live, spot)[index], &pointer);
}

static void guest_try(struct guest *guest)
{
    struct run *run = guest->run;
    int result =
        tree_path_open(&guest->path, guest->spot.volume, VIEW_HEAD, spot_block(guest->spot), true);
    if (result == -EAGAIN)
        return;
    REQUIRE(result == 0 || (result == IOMESH_FAILED && run->forest->devices.failed != 0));
    if (result == 0 && guest->zeroes)
        do_zero(run, &guest->path, guest->spot);
    else if (result == 0)
        do_set(run, &guest->path, guest->spot, run_below(run, MAP_BLOCKS));
    tree_path_close(&guest->path);
    guest->busy = false;
}

static void guest_woken(struct tree_path *path)
{
    guest_try(CONTAINER_OF(path, struct guest, path));
}

/* All who are idle begin something at once: frames, reservations and segments run out. */
static void step_crowd(struct run *run)
{
    if (!prng_one_in(&run->prng, 4))
        return;
    for (unsigned i = 0; i < CROWD; i++) {
        struct guest *guest = &run->crowd[i];
        if (guest->busy)
            continue;
        guest->busy = true;
        guest->spot = draw_spot(run);
        guest->zeroes = prng_one_in(&run->prng, 3);
        guest_try(guest);
    }
}

void run_paths_init(struct run *run)
{
    for (unsigned i = 0; i < HELD; i++)
        tree_path_init(&run->held[i].path, run->forest->tree, forest_woken);
    for (unsigned i = 0; i < CROWD; i++) {
        tree_path_init(&run->crowd[i].path, run->forest->tree, guest_woken);
        run->crowd[i].run = run;
        run->crowd[i].busy = false;
    }
    views_init(run);
}

/* Many segments in a row: those that were in memory must make room. */
static void step_scan(struct run *run)
{
    struct spot spot = draw_spot(run);
    for (unsigned i = 0; i < 40; i++, spot.segment = (spot.segment + 1) % SEGMENTS) {
        unsigned index = run_below(run, MAP_BLOCKS);
        struct pointer pointer = forest_get(run->forest, spot.volume, spot_block(spot) + index);
        cell_check(&cells_at(&run->live, spot)[index], &pointer);
    }
}

static bool model_has(const struct run *run, unsigned volume, unsigned segment)
{
    const struct cell(*cells)[MAP_BLOCKS] = run->live.cells[volume][segment];
    for (unsigned i = 0; i < MAPS * MAP_BLOCKS; i++) {
        if (cells[i / MAP_BLOCKS][i % MAP_BLOCKS].kind != POINTER_HOLE)
            return true;
    }
    return false;
}

/* Nothing that has something may be passed over. */
static void step_next(struct run *run)
{
    struct spot spot = draw_spot(run);
    struct segment_key key = {spot.volume, spot.segment, VIEW_HEAD}, found;
    int result = forest_next(run->forest, &key, &found);
    if (result == -ENOENT)
        found = (struct segment_key){spot.volume, SEGMENTS, 0};
    else
        REQUIRE(segment_key_compare(&found, &key) >= 0);
    unsigned end =
        found.volume == spot.volume && found.segment < SEGMENTS ? found.segment : SEGMENTS;
    for (unsigned segment = spot.segment; segment < end; segment++)
        REQUIRE(!model_has(run, spot.volume, segment));
}

void model_step(struct run *run)
{
    static void (*const steps[])(struct run * run) = {
        step_set,          step_set,    step_set,  step_set,      step_set,
        step_set,          step_set,    step_zero, step_zero,     step_held,
        step_get,          step_held,   step_next, step_drop_map, step_zero_segment,
        step_drop_segment, step_record, step_scan, step_crowd};
    if (prng_one_in(&run->prng, 2)) {
        views_step(run);
        return;
    }
    steps[run_below(run, COUNT_OF(steps))](run);
}

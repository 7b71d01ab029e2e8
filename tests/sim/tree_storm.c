/* SPDX-License-Identifier: Apache-2.0 */
/* A tree in tiny caches against plain arrays, through freezes, crashes and reopenings. */
#include <inttypes.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/forest.h"
#include "sim/mutants.h"

#define VOLUMES 3u
#define SEGMENTS 90u
#define MAPS 2u
#define HELD 4u
#define CROWD 40u

struct cell {
    uint64_t sequence, place;
    uint8_t kind;
};

struct model {
    struct cell cells[VOLUMES][SEGMENTS][MAPS][MAP_BLOCKS];
    uint8_t records[VOLUMES]; /* 0: none. */
};

struct spot {
    unsigned volume, segment, map;
};

struct held {
    struct tree_path path;
    struct spot spot;
};

struct run;

/* A change that waits as often as it must, beside others. */
struct guest {
    struct tree_path path;
    struct spot spot;
    struct run *run;
    bool busy, zeroes;
};

struct run {
    struct forest *forest;
    struct prng prng;
    struct model live, frozen, durable;
    uint64_t sequence;
    struct held held[HELD];
    struct guest crowd[CROWD];
};

static const unsigned map_index[MAPS] = {0, 7};

static uint64_t spot_block(struct spot spot)
{
    return (uint64_t)spot.segment * SEGMENT_BLOCKS + map_index[spot.map] * MAP_BLOCKS;
}

static unsigned below(struct run *run, unsigned limit)
{
    return (unsigned)prng_below(&run->prng, limit);
}

static struct spot draw_spot(struct run *run)
{
    /* Some segments are much more in demand than others. */
    const struct held *held = &run->held[below(run, HELD)];
    if (held->path.open && prng_one_in(&run->prng, 4))
        return held->spot;
    unsigned segments = prng_one_in(&run->prng, 2) ? 6 : SEGMENTS;
    return (struct spot){below(run, VOLUMES), below(run, segments), below(run, MAPS)};
}

static struct cell *cells_at(struct model *model, struct spot spot)
{
    return model->cells[spot.volume][spot.segment][spot.map];
}

static void cell_check(const struct cell *cell, const struct pointer *pointer)
{
    REQUIRE(pointer->kind == cell->kind);
    REQUIRE(pointer->sequence == cell->sequence);
    if (cell->kind == POINTER_RAW)
        REQUIRE(pointer->place == cell->place);
}

static void run_frozen(struct forest *forest)
{
    struct run *run = forest->context;
    run->frozen = run->live;
}

static void run_durable(struct forest *forest)
{
    struct run *run = forest->context;
    run->durable = run->frozen;
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
    unsigned count = prng_one_in(&run->prng, 4) ? 1 + below(run, 32) : 1;
    unsigned index = below(run, MAP_BLOCKS - count + 1);
    for (unsigned i = 0; i < count; i++)
        do_set(run, path, spot, index + i);
    tree_path_close(path);
}

static void do_zero(struct run *run, struct tree_path *path, struct spot spot)
{
    unsigned count = prng_one_in(&run->prng, 2) ? MAP_BLOCKS : 1 + below(run, MAP_BLOCKS);
    unsigned index = below(run, MAP_BLOCKS - count + 1);
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
    unsigned volume = below(run, VOLUMES);
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
        *record = (uint8_t)(1 + below(run, 255));
        page_change(forest->path.page)[100] = *record;
    }
    tree_path_close(&forest->path);
}

/* A path stays open while others change what it shows; what it says is true all the same. */
static void step_held(struct run *run)
{
    struct held *held = &run->held[below(run, HELD)];
    if (!held->path.open) {
        held->spot = draw_spot(run);
        int result = tree_path_open(&held->path, held->spot.volume, VIEW_HEAD,
                                    spot_block(held->spot), prng_one_in(&run->prng, 2));
        REQUIRE(result == 0 || result == -EAGAIN);
        return;
    }
    unsigned index = below(run, MAP_BLOCKS);
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
    unsigned index = below(run, MAP_BLOCKS);
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
    REQUIRE(result == 0);
    if (guest->zeroes)
        do_zero(run, &guest->path, guest->spot);
    else
        do_set(run, &guest->path, guest->spot, below(run, MAP_BLOCKS));
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

static void paths_init(struct run *run)
{
    for (unsigned i = 0; i < HELD; i++)
        tree_path_init(&run->held[i].path, run->forest->tree, forest_woken);
    for (unsigned i = 0; i < CROWD; i++) {
        tree_path_init(&run->crowd[i].path, run->forest->tree, guest_woken);
        run->crowd[i].run = run;
        run->crowd[i].busy = false;
    }
}

/* Many segments in a row: those that were in memory must make room. */
static void step_scan(struct run *run)
{
    struct spot spot = draw_spot(run);
    for (unsigned i = 0; i < 40; i++, spot.segment = (spot.segment + 1) % SEGMENTS) {
        unsigned index = below(run, MAP_BLOCKS);
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

/* --- Proofs ----------------------------------------------------------------------------------- */

static void model_look(struct survey *survey, const struct tree_visit *visit)
{
    struct run *run = survey->context;
    if (visit->key.segment == SEGMENT_RECORD || visit->what != TREE_VISIT_BLOCK)
        return;
    struct spot spot = {(unsigned)visit->key.volume, visit->key.segment, 0};
    unsigned map = (unsigned)(visit->block % SEGMENT_BLOCKS / MAP_BLOCKS);
    REQUIRE(map == map_index[0] || map == map_index[1]);
    spot.map = map == map_index[1];
    cell_check(&cells_at(&run->live, spot)[visit->block % MAP_BLOCKS], &visit->pointer);
}

static void compare_all(struct run *run)
{
    for (struct spot spot = {0}; spot.volume < VOLUMES; spot.volume++) {
        for (spot.segment = 0; spot.segment < SEGMENTS; spot.segment++) {
            for (spot.map = 0; spot.map < MAPS; spot.map++) {
                struct tree_path *path =
                    forest_at(run->forest, spot.volume, spot_block(spot), false);
                for (unsigned i = 0; i < MAP_BLOCKS; i++) {
                    struct pointer pointer = tree_get(path, i);
                    cell_check(&cells_at(&run->live, spot)[i], &pointer);
                }
                tree_path_close(path);
            }
        }
    }
}

static void prove(struct run *run)
{
    struct forest *forest = run->forest;
    for (unsigned i = 0; i < HELD; i++)
        tree_path_close(&run->held[i].path);
    forest_settle(forest);
    for (unsigned i = 0; i < CROWD; i++)
        REQUIRE(!run->crowd[i].busy); /* Or it would wait for ever. */
    struct survey *survey = calloc(1, sizeof *survey);
    survey->look = model_look;
    survey->context = run;
    survey->pause_every = below(run, 5);
    survey_run(survey, forest);
    forest_settle(forest);
    survey_check(survey, forest);
    free(survey);
    compare_all(run);
    forest_settle(forest);
}

static void step_crash(struct run *run)
{
    forest_reopen(run->forest);
    paths_init(run);
    run->live = run->durable;
    prove(run);
}

/* A write fails, and with it the store: the last checkpoint stays true. */
static void fail(struct run *run)
{
    struct forest *forest = run->forest;
    forest->disk->faults.write_error_at = forest->disk->counts.writes + 1 + below(run, 30);
    forest_settle(forest);
    if (forest->phase == FOREST_IDLE && forest->failed == 0)
        forest_freeze(forest);
    forest_settle(forest);
    forest->disk->faults.write_error_at = 0;
    forest->devices.failed = 0;
    forest->failed = 0;
    step_crash(run);
}

static void step(struct run *run)
{
    static void (*const steps[])(struct run * run) = {
        step_set,          step_set,    step_set,  step_set,      step_set,
        step_set,          step_set,    step_zero, step_zero,     step_held,
        step_get,          step_held,   step_next, step_drop_map, step_zero_segment,
        step_drop_segment, step_record, step_scan, step_crowd};
    steps[below(run, COUNT_OF(steps))](run);
    for (unsigned turns = below(run, 4); turns > 0; turns--)
        forest_turn(run->forest);
    if (prng_one_in(&run->prng, 150) && run->forest->phase == FOREST_IDLE)
        forest_freeze(run->forest);
    if (prng_one_in(&run->prng, 700))
        step_crash(run);
    else if (prng_one_in(&run->prng, 1200))
        fail(run);
    else if (prng_one_in(&run->prng, 1000))
        prove(run);
}

static struct run *run_open(uint64_t seed, uint32_t frames)
{
    struct run *run = calloc(1, sizeof *run);
    REQUIRE(run != NULL);
    run->forest = forest_open(seed, frames, 64);
    run->prng.state = seed;
    run->sequence = 1;
    run->forest->context = run;
    run->forest->frozen = run_frozen;
    run->forest->durable = run_durable;
    paths_init(run);
    return run;
}

static void storm(uint64_t seed, uint32_t frames, unsigned steps)
{
    struct run *run = run_open(seed, frames);
    for (unsigned i = 0; i < steps; i++)
        step(run);
    prove(run);
    forest_checkpoint(run->forest);
    run->durable = run->live;
    step_crash(run);
    REQUIRE(run->forest->checkpoints > 10);
    forest_close(run->forest);
    free(run);
}

/* --- Damage ----------------------------------------------------------------------------------- */

static uint64_t draw_page(struct run *run, const struct survey *survey)
{
    uint64_t place;
    do {
        place = 1 + prng_below(&run->prng, FOREST_BLOCKS - 1);
    } while (!survey->page_at[place]);
    return place;
}

/* One flipped bit in one page is told as just that page; it never becomes data. */
static void rot(uint64_t seed)
{
    struct run *run = run_open(seed, 64);
    for (unsigned i = 0; i < 2000; i++)
        step(run);
    prove(run);
    forest_checkpoint(run->forest);
    forest_reopen(run->forest);
    struct survey *whole = calloc(1, sizeof *whole);
    survey_run(whole, run->forest);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t place = draw_page(run, whole);
        uint8_t before[BLOCK_BYTES];
        sim_disk_peek(run->forest->disk, place * BLOCK_BYTES, BLOCK_BYTES, before);
        sim_disk_rot(run->forest->disk, place * BLOCK_BYTES, BLOCK_BYTES);
        forest_reopen(run->forest);
        struct survey *survey = calloc(1, sizeof *survey);
        survey_run(survey, run->forest);
        REQUIRE(survey->errors == 1);
        REQUIRE(survey->blocks <= whole->blocks);
        free(survey);
        sim_disk_poke(run->forest->disk, place * BLOCK_BYTES, BLOCK_BYTES, before);
    }
    free(whole);
    forest_close(run->forest);
    free(run);
}

/* --- The storm -------------------------------------------------------------------------------- */

static void everything(unsigned seeds)
{
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        storm(seed, 64, 4000);
        storm(100 + seed, seed % 2 == 0 ? 96 : 512, 4000);
    }
    rot(1000);
}

/* True if a process with the bug planted ends badly. */
static bool mutant_is_caught(int number)
{
    fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        mutant_active = number;
        /* What it says is what was to be expected. */
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(0);
        alarm(60);
        everything(4);
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static const struct {
    int number;
    const char *what;
} mutants[] = {
#define MUTANT_ROW(number, what) {number, what},
    TREE_MUTANTS(MUTANT_ROW)
#undef MUTANT_ROW
};

static const char *const branches[] = {
    "page_cloned",
    "page_ghost",
    "page_crc_wrong",
    "page_reserve_waits",
    "tree_segments_exhausted",
    "tree_zero_collapsed",
    "tree_table_absorbs",
    "page_write_failed",
};
static uint64_t branches_seen[COUNT_OF(branches)];

static void branch_reached(void *context, const char *name, uint64_t count)
{
    (void)context;
    for (unsigned i = 0; i < COUNT_OF(branches); i++) {
        if (strcmp(branches[i], name) == 0)
            branches_seen[i] = count;
    }
}

static int branches_missed(void)
{
    int missed = 0;
    reach_each(branch_reached, NULL);
    for (unsigned i = 0; i < COUNT_OF(branches); i++) {
        printf("%-24s %" PRIu64 "\n", branches[i], branches_seen[i]);
        missed += branches_seen[i] == 0;
    }
    return missed;
}

int main(int count, char **arguments)
{
    unsigned seeds = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 6;
    everything(seeds);
    int missed = branches_missed();
    for (unsigned i = 0; i < COUNT_OF(mutants); i++) {
        bool caught = mutant_is_caught(mutants[i].number);
        printf("%-6s %d: %s\n", caught ? "caught" : "MISSED", mutants[i].number, mutants[i].what);
        missed += !caught;
    }
    return missed == 0 ? 0 : 1;
}

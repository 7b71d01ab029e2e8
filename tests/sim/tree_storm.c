/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree in tiny caches against plain arrays, through freezes, crashes, failures and damage.
 *
 *     tree_storm [SEEDS [FIRST]]
 */
#include <inttypes.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/mutants.h"
#include "sim/tree_model.h"

/* --- Proofs ----------------------------------------------------------------------------------- */

static void model_look(struct survey *survey, const struct tree_visit *visit)
{
    struct run *run = survey->context;
    if (visit->key.segment == SEGMENT_RECORD || visit->what != TREE_VISIT_BLOCK ||
        visit->key.volume == VIEWED)
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
    views_quiet(run);
    for (unsigned i = 0; i < CROWD; i++)
        REQUIRE(!run->crowd[i].busy); /* Or it would wait for ever. */
    struct survey *survey = calloc(1, sizeof *survey);
    survey->look = model_look;
    survey->context = run;
    survey->pause_every = run_below(run, 5);
    survey_run(survey, forest);
    forest_settle(forest);
    survey_check(survey, forest);
    free(survey);
    compare_all(run);
    views_compare(run);
    forest_settle(forest);
}

static void step_crash(struct run *run)
{
    forest_reopen(run->forest);
    run_paths_init(run);
    run->live = run->durable;
    run->views = run->views_durable;
    views_crashed(run);
    prove(run);
}

/* A write fails, and with it the store: the last checkpoint stays true. */
static void fail(struct run *run)
{
    struct forest *forest = run->forest;
    forest->disk->faults.write_error_at = forest->disk->counts.writes + 1 + run_below(run, 30);
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
    model_step(run);
    for (unsigned turns = run_below(run, 4); turns > 0; turns--)
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
    run_paths_init(run);
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
    run->views_durable = run->views;
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

static void everything(uint64_t first, unsigned seeds)
{
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        storm(seed, 64, 6000);
        storm(100 + seed, seed % 2 == 0 ? 96 : 512, 6000);
    }
    rot(first + 999);
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
        /* Of a processor: how busy the machine is must not decide. */
        struct rlimit most = {.rlim_cur = 60, .rlim_max = 60};
        (void)setrlimit(RLIMIT_CPU, &most);
        everything(1, 4);
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
    "tree_owner_of_nothing",
    "tree_owner_takes_over",
    "tree_owner_copies",
    "tree_owner_renamed_frozen",
    "tree_segment_let_go",
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
        printf("%-26s %" PRIu64 "\n", branches[i], branches_seen[i]);
        missed += branches_seen[i] == 0;
    }
    return missed;
}

int main(int count, char **arguments)
{
    unsigned seeds = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 6;
    uint64_t first = count > 2 ? strtoull(arguments[2], NULL, 10) : 1;
    everything(first, seeds);
    if (first != 1)
        return 0; /* More seeds, and nothing but them. */
    int missed = branches_missed();
    for (unsigned i = 0; i < COUNT_OF(mutants); i++) {
        bool caught = mutant_is_caught(mutants[i].number);
        printf("%-6s %d: %s\n", caught ? "caught" : "MISSED", mutants[i].number, mutants[i].what);
        missed += !caught;
    }
    return missed == 0 ? 0 : 1;
}

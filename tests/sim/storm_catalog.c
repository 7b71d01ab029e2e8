/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of the catalog: metadata and store in one world, one power for both.
 *
 * First every script of up to three operations on one name, with the power cut after each operation
 * of SQLite's files and at each moment of the store's disk, in turn: so between every metadata
 * transaction and the store operation beside it. Then seeds: operations on several names at once,
 * cuts and kills anywhere, recovery too. After each crash: every name is there or not as it must
 * be, with its number, size and data; no number and no sequence is used twice; names and records
 * agree; the store holds nothing of volumes that are gone; pool check finds nothing.
 *
 *     storm_catalog [--seeds FIRST COUNT] [--mutant N] [--no-scripts] [--verbose]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/catalog_drill.h"
#include "sim/mutants.h"

#define SEEDS 300u
#define MUTANT_SEEDS 400u
#define RUNS_PER_CHILD 25u
#define SCRIPT_LENGTH 3u

/* Each must be reached. */
static const char *const branches[] = {
    "catalog_deletion_resumed", "catalog_lot_reserved",    "catalog_record_waited",
    "catalog_ids_waited",       "catalog_name_waited",     "catalog_volume_closed",
    "catalog_zeroed",           "catalog_session_ran_out",
};
#define BRANCHES COUNT_OF(branches)

struct storm {
    uint64_t first, count;
    int mutant;
    bool no_scripts, verbose;
};

/* Shared with the children. */
static struct results {
    struct drill_counts counts;
    uint64_t scripts, runs;
    uint64_t reached[BRANCHES];
    char wrong[600];
} * results;

static struct drill drill;

/* --- Seeds ---------------------------------------------------------------------------------- */

static uint64_t draw_size(void)
{
    return drill_sizes[prng_below(&drill.prng, DRILL_SIZES)];
}

/* Mostly what is possible; sometimes what must be refused. */
static void draw_operation(struct drill_name *name)
{
    struct prng *prng = &drill.prng;
    bool odd = prng_one_in(prng, 8);
    if (odd || !name->exists) {
        if (name->handle == NULL && prng_one_in(prng, 2))
            drill_start(name, name->exists ? DRILL_DELETE : DRILL_CREATE, draw_size());
        else
            drill_start(name, name->handle != NULL ? DRILL_DELETE : DRILL_CREATE, draw_size());
    } else if (prng_one_in(prng, 4)) {
        drill_start(name, DRILL_RESIZE, draw_size());
    } else if (name->handle == NULL) {
        drill_start(name, prng_one_in(prng, 4) ? DRILL_DELETE : DRILL_OPEN, 0);
    } else if (prng_one_in(prng, 3) && !name->writing) {
        drill_start(name, DRILL_CLOSE, 0);
    }
}

static void draw_step(void)
{
    struct drill_name *name = &drill.names[prng_below(&drill.prng, DRILL_NAMES)];
    if (prng_one_in(&drill.prng, 16))
        drill_peek(name);
    if (name->handle != NULL && !name->writing) {
        unsigned block = (unsigned)prng_below(&drill.prng, DRILL_BLOCKS);
        if (drill_offsets[block] < volume_bytes(catalog_handle_volume(name->handle)))
            drill_write(name, block);
    }
    if (name->doing == DRILL_NONE && prng_one_in(&drill.prng, 3))
        draw_operation(name);
}

static bool seed_round(void)
{
    struct catalog_rig *rig = &drill.rig;
    unsigned fate = (unsigned)prng_below(&drill.prng, 5);
    if (fate < 2)
        world_cut_after(&rig->world, 1 + prng_below(&drill.prng, 600));
    else if (fate < 4)
        rig->vfs.cut_after = rig->vfs.operations + 1 + prng_below(&drill.prng, 150);
    uint64_t steps = 50 + prng_below(&drill.prng, 600);
    bool on = true;
    for (uint64_t i = 0; i < steps && on; i++) {
        draw_step();
        on = drill_turn(&drill);
    }
    if (rig->wrong[0] != '\0')
        return false;
    if (!on || rig->world.off)
        return drill_crash(&drill, true);
    world_cut_after(&rig->world, 0);
    rig->vfs.cut_after = 0;
    if (prng_one_in(&drill.prng, 2))
        return drill_crash(&drill, prng_one_in(&drill.prng, 2));
    return drill_wait(&drill);
}

static void seed_run(uint64_t seed, bool verbose)
{
    drill_open(&drill, seed);
    drill.rig.verbose = verbose;
    bool right = catalog_rig_format(&drill.rig);
    if (prng_one_in(&drill.prng, 3))
        drill.rig.world.jump_one_in = 4 + (uint32_t)prng_below(&drill.prng, 200);
    right = right && catalog_rig_start(&drill.rig);
    unsigned rounds = 1 + (unsigned)prng_below(&drill.prng, 4);
    for (unsigned i = 0; i < rounds && right; i++)
        right = seed_round();
    right = right && drill_end(&drill);
    assert(right || drill.rig.wrong[0] != '\0');
}

/* --- Scripts -------------------------------------------------------------------------------- */

struct script {
    enum drill_kind kinds[SCRIPT_LENGTH];
    uint64_t bytes[SCRIPT_LENGTH];
    unsigned length;
    bool written_before; /* It begins with a volume that holds data and is closed. */
};

/* `after` operations, then power goes: of the disk's moments, or of SQLite's files. */
struct cut {
    bool of_metadata;
    uint64_t after; /* 0: never. */
};

static bool script_step(struct drill_name *name, enum drill_kind kind, uint64_t bytes)
{
    if (kind == DRILL_WRITE) {
        /* The last block that it has, so that a smaller size cuts it off. */
        unsigned block = 0;
        while (block + 1 < DRILL_BLOCKS && drill_offsets[block + 1] < name->bytes)
            block++;
        drill_write(name, block);
    } else {
        drill_start(name, kind, bytes);
    }
    return drill_wait(&drill);
}

static bool script_prepare(const struct script *script)
{
    struct drill_name *name = &drill.names[0];
    if (!catalog_rig_format(&drill.rig) || !catalog_rig_start(&drill.rig))
        return false;
    if (!script->written_before)
        return true;
    return script_step(name, DRILL_CREATE, drill_sizes[2]) && script_step(name, DRILL_OPEN, 0) &&
           script_step(name, DRILL_WRITE, 0) && script_step(name, DRILL_CLOSE, 0);
}

/* Runs it with a cut. Without one: how many operations of each kind there are to cut after. */
static bool script_run(const struct script *script, uint64_t seed, struct cut cut,
                       uint64_t *ret_moments, uint64_t *ret_operations)
{
    drill_open(&drill, seed);
    struct catalog_rig *rig = &drill.rig;
    rig->meta_one_in = 1;
    if (!script_prepare(script))
        return false;
    uint64_t moments = rig->world.moments;
    uint64_t operations = rig->vfs.operations;
    if (cut.after != 0 && cut.of_metadata)
        rig->vfs.cut_after = operations + cut.after;
    else
        world_cut_after(&rig->world, cut.after);
    bool right = true;
    for (unsigned i = 0; i < script->length && right; i++)
        right = script_step(&drill.names[0], script->kinds[i], script->bytes[i]);
    right = right && catalog_rig_settle(rig);
    *ret_moments = rig->world.moments - moments;
    *ret_operations = rig->vfs.operations - operations;
    world_cut_after(&rig->world, 0);
    rig->vfs.cut_after = 0;
    if (rig->wrong[0] != '\0' || (!right && !drill_crash(&drill, true)))
        return false;
    right = drill_end(&drill);
    assert(right || rig->wrong[0] != '\0');
    return right;
}

/* What a script's operations leave, if they are possible at all. */
static bool script_possible(const struct script *script)
{
    bool exists = script->written_before;
    bool open = false;
    for (unsigned i = 0; i < script->length; i++) {
        switch (script->kinds[i]) {
        case DRILL_CREATE:
            if (exists)
                return false;
            exists = true;
            break;
        case DRILL_DELETE:
            if (!exists || open)
                return false;
            exists = false;
            break;
        case DRILL_OPEN:
            if (!exists || open)
                return false;
            open = true;
            break;
        case DRILL_CLOSE:
        case DRILL_WRITE:
            if (!open)
                return false;
            open = script->kinds[i] == DRILL_WRITE;
            break;
        default:
            if (!exists)
                return false;
        }
    }
    return true;
}

/* The number-th script; 7 kinds of operation: a resize is to less or to more. */
static bool script_make(unsigned number, struct script *ret_script)
{
    static const struct {
        enum drill_kind kind;
        uint64_t bytes;
    } operations[] = {
        {DRILL_CREATE, 257ull << 20},
        {DRILL_DELETE, 0},
        {DRILL_OPEN, 0},
        {DRILL_CLOSE, 0},
        {DRILL_WRITE, 0},
        {DRILL_RESIZE, 1ull << 20},
        {DRILL_RESIZE, 320ull << 20},
    };
    struct script script = {.written_before = number % 2 == 1};
    number /= 2;
    for (; number > 0; number /= COUNT_OF(operations) + 1) {
        unsigned digit = number % (COUNT_OF(operations) + 1);
        if (digit == 0)
            return false;
        script.kinds[script.length] = operations[digit - 1].kind;
        script.bytes[script.length++] = operations[digit - 1].bytes;
    }
    *ret_script = script;
    return script.length > 0 && script_possible(&script);
}

/* --- Children ------------------------------------------------------------------------------- */

static void drill_note(const char *what, uint64_t number)
{
    uint64_t *sums = (uint64_t *)&results->counts;
    const uint64_t *values = (const uint64_t *)&drill.counts;
    for (size_t i = 0; i < sizeof drill.counts / sizeof *sums; i++)
        sums[i] += values[i];
    if (drill.rig.wrong[0] != '\0') {
        (void)snprintf(results->wrong, sizeof results->wrong, "%s %llu: %s", what,
                       (unsigned long long)number, drill.rig.wrong);
        _exit(1);
    }
    drill_close(&drill);
}

static void note_reach(void *context, const char *name, uint64_t count)
{
    (void)context;
    for (size_t i = 0; i < BRANCHES; i++) {
        if (strcmp(branches[i], name) == 0)
            results->reached[i] += count;
    }
}

/* Runs `run` over some numbers in a process of its own: what a crash leaves in memory goes with it.
 * False: something was wrong. */
static bool child(void (*run)(const struct storm *, uint64_t), const struct storm *storm,
                  uint64_t first, uint64_t count)
{
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        mutant_active = storm->mutant;
        if (storm->mutant != 0 && freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        for (uint64_t number = first; number < first + count; number++)
            run(storm, number);
        reach_each(note_reach, NULL);
        _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid)
        abort();
    if (WIFSIGNALED(status))
        (void)snprintf(results->wrong, sizeof results->wrong, "from %llu on: died of signal %d",
                       (unsigned long long)first, WTERMSIG(status));
    return status == 0;
}

static void run_seed(const struct storm *storm, uint64_t seed)
{
    seed_run(seed, storm->verbose);
    drill_note("seed", seed);
}

static void run_script(const struct storm *storm, uint64_t number)
{
    struct script script;
    if (!script_make((unsigned)number, &script))
        return;
    (void)storm;
    uint64_t totals[2] = {0};
    uint64_t ignored[2];
    (void)script_run(&script, number, (struct cut){0}, &totals[0], &totals[1]);
    drill_note("script", number);
    results->scripts++;
    for (unsigned of_metadata = 0; of_metadata < 2; of_metadata++) {
        for (uint64_t after = 1; after <= totals[of_metadata]; after++) {
            struct cut cut = {.of_metadata = of_metadata == 1, .after = after};
            (void)script_run(&script, number, cut, &ignored[0], &ignored[1]);
            drill_note(of_metadata == 1 ? "script, cut in the metadata," : "script, cut on disk,",
                       number);
            results->runs++;
        }
    }
}

static bool storm_scripts(const struct storm *storm)
{
    unsigned end = 2;
    for (unsigned i = 0; i < SCRIPT_LENGTH; i++)
        end *= 8;
    for (unsigned number = 0; number < end; number++) {
        struct script script;
        if (script_make(number, &script) && !child(run_script, storm, number, 1))
            return false;
    }
    return true;
}

static bool storm_seeds(const struct storm *storm)
{
    uint64_t end = storm->first + storm->count;
    for (uint64_t seed = storm->first; seed < end; seed += RUNS_PER_CHILD) {
        if (!child(run_seed, storm, seed, MIN(RUNS_PER_CHILD, end - seed)))
            return false;
    }
    return true;
}

/* --- Telling -------------------------------------------------------------------------------- */

/* 1 if it is not caught. */
static int storm_mutant(int number, const char *sentence)
{
    struct storm storm = {.first = 1, .count = MUTANT_SEEDS, .mutant = number};
    results->wrong[0] = '\0';
    bool caught = !storm_seeds(&storm);
    printf("planted %d, %s: %s\n", number, sentence, caught ? results->wrong : "NOT CAUGHT");
    return caught ? 0 : 1;
}

static int storm_mutants(int only)
{
    int missed = 0;
#define RUN(number, sentence)          \
    if (only == 0 || only == (number)) \
        missed += storm_mutant(number, sentence);
    CATALOG_MUTANTS(RUN)
#undef RUN
    return missed;
}

static void storm_print(const struct storm *storm)
{
    const struct drill_counts *counts = &results->counts;
#define N(number) (unsigned long long)(number)
    printf("catalog: %llu scripts cut in %llu ways, %llu seeds: %llu cuts, %llu kills, "
           "%llu operations (%llu refused), %llu writes, %llu names verified, "
           "%llu in doubt of which %llu had happened\n",
           N(results->scripts), N(results->runs), N(storm->count), N(counts->cuts),
           N(counts->kills), N(counts->operations), N(counts->refused), N(counts->writes),
           N(counts->verified), N(counts->in_doubt), N(counts->happened));
#undef N
}

/* How many branches were never reached. */
static int storm_unreached(void)
{
    int missed = 0;
    printf("branches:");
    for (size_t i = 0; i < BRANCHES; i++) {
        printf(" %s %llu%s", branches[i], (unsigned long long)results->reached[i],
               i + 1 < BRANCHES ? "," : "\n");
        missed += results->reached[i] == 0 ? 1 : 0;
    }
    if (missed > 0)
        printf("FAILED: %d branches were never reached\n", missed);
    return missed;
}

static int storm_parse(struct storm *storm, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            storm->verbose = true;
        } else if (strcmp(argv[i], "--no-scripts") == 0) {
            storm->no_scripts = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 2 < argc) {
            storm->first = strtoull(argv[++i], NULL, 10);
            storm->count = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--mutant") == 0 && i + 1 < argc) {
            storm->mutant = (int)strtol(argv[++i], NULL, 10);
        } else {
            return -EINVAL;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct storm storm = {.first = 1, .count = SEEDS};
    if (storm_parse(&storm, argc, argv) != 0) {
        (void)fprintf(stderr,
                      "usage: %s [--seeds FIRST COUNT] [--mutant N] [--no-scripts] [--verbose]\n",
                      argv[0]);
        return 2;
    }
    results =
        mmap(NULL, sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (results == MAP_FAILED)
        return 2;
    if (storm.mutant != 0)
        return storm_mutants(storm.mutant);
    bool right = (storm.no_scripts || storm_scripts(&storm)) && storm_seeds(&storm);
    storm_print(&storm);
    if (!right)
        printf("FAILED: %s\n", results->wrong);
    /* A short run is for looking at one seed. */
    if (right && storm.count >= SEEDS)
        right = storm_unreached() + storm_mutants(0) == 0;
    return right ? 0 : 1;
}

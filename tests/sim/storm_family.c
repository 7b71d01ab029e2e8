/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of families: snapshots, groups, clones, rollbacks and flattenings of a few volumes,
 * metadata and store under one power, which goes anywhere, in recovery too; now and then the
 * metadata has no space. After each crash every volume and snapshot is read and compared; at the
 * end all is deleted, and space and metadata are what they were at the beginning.
 *
 *     storm_family [--seeds FIRST COUNT] [--mutant N] [--verbose]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/family.h"
#include "sim/mutants.h"

#define SEEDS 250u
#define MUTANT_SEEDS 600u
#define RUNS_PER_CHILD 10u

/* Each must be reached. */
static const char *const branches[] = {
    "catalog_swept",
    "catalog_orphan",
    "catalog_orphans_dropped",
    "catalog_tie_cut",
    "catalog_hidden_ended",
    "catalog_snapshot_hidden",
    "catalog_volume_kept",
    "catalog_kept_ended",
    "catalog_head_emptied",
    "catalog_rollback_before_open",
    "catalog_rollback_resumed",
    "catalog_snapshot_resumed",
};
#define BRANCHES COUNT_OF(branches)

struct storm {
    uint64_t first, count;
    int mutant;
    bool verbose;
};

/* Shared with the children. */
static struct results {
    struct family_counts counts;
    uint64_t reached[BRANCHES];
    char wrong[700];
} * results;

static struct family family;

/* --- One seed ------------------------------------------------------------------------------- */

static uint64_t draw_size(void)
{
    static const uint64_t sizes[] = {2ull << 20, 4ull << 20, 257ull << 20};
    return sizes[prng_below(&family.prng, COUNT_OF(sizes))];
}

static bool draw_possible(const struct family_op *op)
{
    bool writing = family.writing && family.write.volume == op->volume;
    switch (op->kind) {
    case FAMILY_OPEN: return family.handles[op->volume] == NULL;
    case FAMILY_CLOSE: return family.handles[op->volume] != NULL && !writing;
    case FAMILY_RESIZE: return !family.writing;
    case FAMILY_IMPORTED: return family.importing[op->volume] && !writing;
    default: return true;
    }
}

/* Was cloned, and is to be deleted: it is kept. */
static uint32_t doomed;

/* One that is written and has no snapshots, if there is any. */
static void draw_bare(uint32_t *volume)
{
    for (uint32_t i = 0; i < FAMILY_VOLUMES; i++) {
        uint32_t at = (*volume + i) % FAMILY_VOLUMES;
        bool bare = family.state.volumes[at].exists && family.handles[at] != NULL;
        for (uint32_t s = 0; s < FAMILY_SNAPS; s++)
            bare = bare && !family.state.volumes[at].snaps[s].exists;
        if (bare) {
            *volume = at;
            return;
        }
    }
}

/* What was cloned is closed, and deleted. */
static bool draw_doomed(struct family_op *op)
{
    uint32_t volume = doomed;
    if (volume == FAMILY_NONE || !family.state.volumes[volume].exists)
        return false;
    op->volume = volume;
    op->kind = family.handles[volume] != NULL ? FAMILY_CLOSE : FAMILY_DELETE;
    return true;
}

/* The metadata has no space for a while, which begins before so many operations of its files. */
static void draw_full(uint64_t before)
{
    struct meta_vfs *vfs = &family.rig.vfs;
    family.full = true;
    family.counts.full++;
    vfs->fail_first = vfs->operations + 1 + prng_below(&family.prng, before);
    vfs->fail_last = vfs->fail_first + prng_below(&family.prng, 20);
    vfs->fail_code = SQLITE_FULL;
}

/* An import goes on, in one way or the other. */
static void draw_import(struct family_op *op)
{
    if (!family.state.volumes[op->volume].incomplete || prng_one_in(&family.prng, 3))
        return;
    op->kind = family.importing[op->volume]         ? FAMILY_IMPORTED
               : family.handles[op->volume] != NULL ? FAMILY_CLOSE
                                                    : FAMILY_ABANDON;
    op->snap = family.imports[op->volume];
}

static void draw_operation(void)
{
    static const enum family_kind kinds[] = {
        FAMILY_CREATE, FAMILY_DELETE, FAMILY_RESIZE,   FAMILY_OPEN,     FAMILY_OPEN,
        FAMILY_OPEN,   FAMILY_CLOSE,  FAMILY_SNAP,     FAMILY_SNAP,     FAMILY_SNAP,
        FAMILY_DROP,   FAMILY_DROP,   FAMILY_GROUP,    FAMILY_UNGROUP,  FAMILY_CLONE,
        FAMILY_CLONE,  FAMILY_CLONE,  FAMILY_ROLLBACK, FAMILY_ROLLBACK, FAMILY_DROP,
        FAMILY_IMPORT, FAMILY_IMPORT, FAMILY_IMPORTED, FAMILY_ABANDON,
    };
    struct prng *prng = &family.prng;
    struct family_op op = {
        .kind = kinds[prng_below(prng, COUNT_OF(kinds))],
        .volume = (uint32_t)prng_below(prng, FAMILY_VOLUMES),
        .target = (uint32_t)prng_below(prng, FAMILY_VOLUMES),
        .group = (uint32_t)prng_below(prng, FAMILY_GROUPS),
        .mask = 1 + (uint32_t)prng_below(prng, (1u << FAMILY_VOLUMES) - 1),
        .bytes = draw_size(),
        .force = prng_one_in(prng, 2),
    };
    bool single = op.kind == FAMILY_SNAP || op.kind == FAMILY_IMPORT;
    op.snap = (uint32_t)prng_below(prng, single ? FAMILY_SINGLES : FAMILY_SNAPS);
    if (op.kind == FAMILY_CLONE && prng_one_in(prng, 3))
        op.snap = FAMILY_NONE;
    bool dooms = op.snap == FAMILY_NONE && prng_one_in(prng, 2);
    if (dooms)
        draw_bare(&op.volume);
    if (!family.state.volumes[op.volume].exists && prng_one_in(prng, 2)) {
        op.kind = prng_one_in(prng, 3) ? FAMILY_IMPORT : FAMILY_CREATE;
        op.snap = (uint32_t)prng_below(prng, FAMILY_SINGLES);
    }
    draw_import(&op);
    if (op.kind == FAMILY_GROUP) { /* Mostly of what there is. */
        for (uint32_t i = 0; i < FAMILY_VOLUMES && !prng_one_in(prng, 8); i++)
            op.mask &= family.state.volumes[i].exists ? ~0u : ~(1u << i);
    }
    if (op.kind == FAMILY_IMPORTED)
        op.snap = family.imports[op.volume];
    bool goes = !dooms && draw_doomed(&op);
    if (op.mask == 0 || !draw_possible(&op))
        return;
    /* Between the transaction that makes the volume and the one that opens it, too. */
    if (op.kind == FAMILY_IMPORT && prng_one_in(prng, 6))
        draw_full(24);
    if (dooms && op.kind == FAMILY_CLONE)
        doomed = op.volume;
    if (goes && op.kind == FAMILY_DELETE)
        doomed = FAMILY_NONE;
    family_start(&family, &op);
}

static bool draw_step(void)
{
    uint32_t volume = (uint32_t)prng_below(&family.prng, FAMILY_VOLUMES);
    if (family.op.kind == FAMILY_NOTHING && family.flattening == FAMILY_NONE &&
        family.state.volumes[volume].exists && !family.state.volumes[volume].incomplete &&
        prng_one_in(&family.prng, 40))
        family_flatten(&family, volume);
    if (family.op.kind == FAMILY_NOTHING && prng_one_in(&family.prng, 4))
        draw_operation();
    if (family.op.done && !family_wait(&family))
        return false;
    return family_turn(&family);
}

static bool seed_round(void)
{
    struct catalog_rig *rig = &family.rig;
    unsigned fate = (unsigned)prng_below(&family.prng, 5);
    if (fate < 2)
        world_cut_after(&rig->world, 1 + prng_below(&family.prng, 1500));
    else if (fate < 4)
        rig->vfs.cut_after = rig->vfs.operations + 1 + prng_below(&family.prng, 400);
    else if (prng_one_in(&family.prng, 4))
        draw_full(200);
    uint64_t steps = 200 + prng_below(&family.prng, 3000);
    bool on = true;
    for (uint64_t i = 0; i < steps && on; i++)
        on = draw_step();
    rig->vfs.fail_first = rig->vfs.fail_last = 0;
    if (rig->wrong[0] != '\0')
        return false;
    if (!on || rig->world.off)
        return family_crash(&family, true);
    world_cut_after(&rig->world, 0);
    rig->vfs.cut_after = 0;
    if (family.full || prng_one_in(&family.prng, 2)) {
        family.full = false;
        return family_crash(&family, prng_one_in(&family.prng, 2));
    }
    return family_wait(&family) && family_verify(&family);
}

static bool do_and_wait(struct family_op op)
{
    family_start(&family, &op);
    return family_wait(&family);
}

static bool end_each(void)
{
    for (uint32_t v = 0; v < FAMILY_VOLUMES; v++) {
        if (family.handles[v] != NULL &&
            !do_and_wait((struct family_op){.kind = FAMILY_CLOSE, .volume = v}))
            return false;
    }
    return true;
}

static bool end_snapshots(void)
{
    for (uint32_t g = 0; g < FAMILY_GROUPS; g++) {
        if (!do_and_wait((struct family_op){.kind = FAMILY_UNGROUP, .group = g}))
            return false;
    }
    for (uint32_t v = 0; v < FAMILY_VOLUMES; v++) {
        for (uint32_t s = 0; s < FAMILY_SNAPS; s++) {
            if (family.state.volumes[v].snaps[s].exists &&
                !do_and_wait((struct family_op){.kind = FAMILY_DROP, .volume = v, .snap = s}))
                return false;
        }
    }
    return true;
}

static bool end_again(uint64_t *ret_used)
{
    struct catalog_rig *rig = &family.rig;
    struct store_stats stats;
    if (!catalog_rig_settle(rig) || !catalog_rig_stop(rig) || !catalog_rig_check(rig) ||
        !catalog_rig_start(rig) || !catalog_rig_settle(rig))
        return false;
    store_stats(rig->store, &stats);
    *ret_used = stats.space.used_blocks;
    return true;
}

/* No clone needs a parent, and what a crash left is swept by opening. */
static bool end_viewless(void)
{
    for (uint32_t v = 0; v < FAMILY_VOLUMES; v++) {
        if (!family.state.volumes[v].exists || family.state.volumes[v].incomplete)
            continue;
        family_flatten(&family, v);
        while (family.flattening != FAMILY_NONE) {
            if (!family_turn(&family))
                return false;
        }
    }
    return catalog_rig_settle(&family.rig) && family_viewless(&family);
}

static bool seed_end(uint64_t used_first)
{
    uint64_t used;
    if (!family_wait(&family) || !end_each() || !end_again(&used) || !family_verify(&family) ||
        !end_snapshots() || !end_viewless())
        return false;
    for (uint32_t v = 0; v < FAMILY_VOLUMES; v++) {
        bool imported = family.state.volumes[v].incomplete && prng_one_in(&family.prng, 2);
        enum family_kind kind = imported ? FAMILY_ABANDON : FAMILY_DELETE;
        if (family.state.volumes[v].exists &&
            !do_and_wait((struct family_op){.kind = kind, .volume = v}))
            return false;
    }
    if (!end_again(&used) || !end_again(&used) || !family_empty(&family))
        return false;
    if (used != used_first)
        return catalog_rig_wrong(&family.rig, "all is deleted: %llu blocks are used, before %llu",
                                 (unsigned long long)used, (unsigned long long)used_first);
    return catalog_rig_stop(&family.rig);
}

static void seed_run(uint64_t seed, bool verbose)
{
    uint64_t used_first;
    doomed = FAMILY_NONE;
    family_open(&family, seed);
    family.rig.verbose = verbose;
    bool right =
        catalog_rig_format(&family.rig) && catalog_rig_start(&family.rig) && end_again(&used_first);
    unsigned rounds = 1 + (unsigned)prng_below(&family.prng, 4);
    for (unsigned i = 0; i < rounds && right; i++)
        right = seed_round();
    right = right && seed_end(used_first);
    assert(right || family.rig.wrong[0] != '\0');
}

/* --- Children ------------------------------------------------------------------------------- */

static void note(uint64_t seed)
{
    uint64_t *sums = (uint64_t *)&results->counts;
    const uint64_t *values = (const uint64_t *)&family.counts;
    for (size_t i = 0; i < sizeof family.counts / sizeof *sums; i++)
        sums[i] += values[i];
    if (family.rig.wrong[0] != '\0') {
        (void)snprintf(results->wrong, sizeof results->wrong, "seed %llu: %s",
                       (unsigned long long)seed, family.rig.wrong);
        _exit(1);
    }
    family_close(&family);
}

static void note_reach(void *context, const char *name, uint64_t count)
{
    (void)context;
    for (size_t i = 0; i < BRANCHES; i++) {
        if (strcmp(branches[i], name) == 0)
            results->reached[i] += count;
    }
}

/* In a process of its own: what a crash leaves in memory goes with it. */
static bool child(const struct storm *storm, uint64_t first, uint64_t count)
{
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        mutant_active = storm->mutant;
        if (storm->mutant != 0 && freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        for (uint64_t seed = first; seed < first + count; seed++) {
            seed_run(seed, storm->verbose);
            note(seed);
        }
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

static bool storm_seeds(const struct storm *storm)
{
    uint64_t end = storm->first + storm->count;
    for (uint64_t seed = storm->first; seed < end; seed += RUNS_PER_CHILD) {
        if (!child(storm, seed, MIN(RUNS_PER_CHILD, end - seed)))
            return false;
    }
    return true;
}

/* --- Telling -------------------------------------------------------------------------------- */

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
    FAMILY_MUTANTS(RUN)
#undef RUN
    return missed;
}

static void storm_print(const struct storm *storm)
{
    const struct family_counts *counts = &results->counts;
#define N(number) (unsigned long long)(number)
    printf(
        "families: %llu seeds: %llu cuts, %llu kills, %llu rounds without space, %llu operations "
        "(%llu refused), %llu writes, %llu times verified; %llu imports (%llu more made a "
        "volume that could not be opened), %llu ended, %llu abandoned\n",
        N(storm->count), N(counts->cuts), N(counts->kills), N(counts->full), N(counts->operations),
        N(counts->refused), N(counts->writes), N(counts->verified), N(counts->imports),
        N(counts->half_begun), N(counts->imported), N(counts->abandoned));
#undef N
}

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
        (void)fprintf(stderr, "usage: %s [--seeds FIRST COUNT] [--mutant N] [--verbose]\n",
                      argv[0]);
        return 2;
    }
    results =
        mmap(NULL, sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (results == MAP_FAILED)
        return 2;
    if (storm.mutant != 0)
        return storm_mutants(storm.mutant);
    bool right = storm_seeds(&storm);
    storm_print(&storm);
    if (!right)
        printf("FAILED: %s\n", results->wrong);
    /* A short run is for looking at one seed. */
    if (right && storm.count >= SEEDS)
        right = storm_unreached() + storm_mutants(0) == 0;
    return right ? 0 : 1;
}

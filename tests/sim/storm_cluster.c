/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of the cluster: stores, coordinators and the truth, from one seed. Processes and
 * machines die, one or all at once, roads break and are cut one way or both, clocks run apart,
 * transactions get lost, coordinators stand still and wake up; snapshots are taken throughout.
 * After the calm all copies are equal, block by block and view by view, the history of each block
 * is linearizable, and space is exact.
 *
 *     storm_cluster [--stories] [--seeds FIRST COUNT] [--all] [--story NAME] [--mutant N]
 *                   [--mutants] [--verbose]
 *
 * With --stories, and without arguments, stories come first: what chance does not find
 * (cluster_story.c).
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/cluster.h"
#include "sim/mutants.h"

#define SEEDS 200u
#define RUNS_PER_CHILD 10u

struct storm {
    uint64_t first, count;
    int mutant;
    const char *story;
    bool verbose;
    bool mutants;
    bool told; /* Stories first. */
    bool all;  /* Goes on after a seed that failed. */
};

/* Shared with the children. */
static struct results {
    struct cluster_counts counts;
    char wrong[700];
} * results;

static struct cluster cluster;

static void seed_run(uint64_t seed, bool verbose)
{
    cluster_open(&cluster, seed);
    cluster.verbose = verbose;
    uint64_t until = cluster.worlds.now_ns + NS_PER_S + prng_below(&cluster.prng, 4 * NS_PER_S);
    bool right = cluster.wrong[0] == '\0';
    while (right && cluster.worlds.now_ns < until)
        right = cluster_step(&cluster);
    if (right)
        cluster_calm(&cluster);
    right = right && cluster_judge(&cluster);
    assert(right || cluster.wrong[0] != '\0');
}

static const struct cluster_story *story_of(const char *name)
{
    for (uint32_t i = 0; i < cluster_story_count; i++) {
        if (strcmp(cluster_stories[i].name, name) == 0)
            return &cluster_stories[i];
    }
    return NULL;
}

static void story_run(const char *name, bool verbose)
{
    const struct cluster_story *story = story_of(name);
    if (story == NULL)
        _exit(2);
    cluster.verbose = verbose;
    story->tell(&cluster);
    if (cluster.wrong[0] == '\0') {
        cluster_calm(&cluster);
        (void)cluster_judge(&cluster);
    }
}

static void note(const char *what, uint64_t seed)
{
    uint64_t *sums = (uint64_t *)&results->counts;
    const uint64_t *values = (const uint64_t *)&cluster.counts;
    for (size_t i = 0; i < sizeof cluster.counts / sizeof *sums; i++)
        sums[i] += values[i];
    if (cluster.wrong[0] != '\0') {
        (void)snprintf(results->wrong, sizeof results->wrong, "%s %llu: %s", what,
                       (unsigned long long)seed, cluster.wrong);
        _exit(1);
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
        if (storm->story != NULL)
            (void)mallopt(M_PERTURB, 0xa5); /* What was freed is not what it was. */
        if (storm->mutant != 0 && freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        if (storm->story != NULL) {
            story_run(storm->story, storm->verbose);
            note(storm->story, 0);
            _exit(0);
        }
        for (uint64_t seed = first; seed < first + count; seed++) {
            seed_run(seed, storm->verbose);
            note("seed", seed);
        }
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

static bool storm_stories(const struct storm *storm)
{
    for (uint32_t i = 0; i < cluster_story_count; i++) {
        struct storm one = *storm;
        one.story = cluster_stories[i].name;
        if (!child(&one, 0, 0))
            return false;
    }
    return true;
}

static bool storm_seeds(const struct storm *storm)
{
    if (storm->story != NULL)
        return child(storm, 0, 0);
    uint64_t end = storm->first + storm->count;
    bool right = true;
    for (uint64_t seed = storm->first; seed < end; seed += RUNS_PER_CHILD) {
        if (child(storm, seed, MIN(RUNS_PER_CHILD, end - seed)))
            continue;
        right = false;
        if (!storm->all)
            return false;
        printf("%s\n", results->wrong);
        results->wrong[0] = '\0';
    }
    return right;
}

static void storm_print(const struct storm *storm)
{
    const struct cluster_counts *counts = &results->counts;
#define N(number) (unsigned long long)(number)
    printf("%llu of zeros, %llu did not fit; %llu cuts dropped; %llu copies added, %llu dropped; "
           "%llu disks failed, %llu blocks rotten, %llu reads of what nobody had; %llu jumps\n",
           N(counts->zeros), N(counts->full), N(counts->cuts_dropped), N(counts->added),
           N(counts->dropped), N(counts->disks_failed), N(counts->rotten), N(counts->corrupt),
           N(counts->jumps));
    printf("cluster: %llu seeds: %llu writes, %llu reads, %llu flushes, %llu failed; %llu "
           "sessions (%llu forced), %llu transactions (%llu refused, %llu unknown); %llu processes "
           "and %llu machines of stores died, %llu coordinators, %llu stood still; %llu cuts\n",
           N(storm->count), N(counts->writes), N(counts->reads), N(counts->flushes),
           N(counts->failed), N(counts->acquired), N(counts->forced), N(counts->transactions),
           N(counts->refused), N(counts->unknown), N(counts->node_kills), N(counts->node_cuts),
           N(counts->owner_kills), N(counts->owner_stops), N(counts->cuts_taken));
#undef N
}

static int storm_mutant(const struct storm *of, int number, const char *sentence, const char *story)
{
    struct storm storm = {.first = of->first, .count = of->count, .mutant = number, .story = story};
    results->wrong[0] = '\0';
    bool caught = !storm_seeds(&storm);
    bool lost = strstr(results->wrong, "the story does not get there") != NULL;
    printf("planted %d, %s: %s\n", number, sentence, caught ? results->wrong : "NOT CAUGHT");
    return caught && !lost ? 0 : 1;
}

static int storm_mutants(const struct storm *storm)
{
    int missed = 0;
#define RUN(number, sentence, story) missed += storm_mutant(storm, number, sentence, story);
    CLUSTER_MUTANTS(RUN)
#undef RUN
    return missed;
}

static int storm_parse(struct storm *storm, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            storm->verbose = true;
        } else if (strcmp(argv[i], "--mutants") == 0) {
            storm->mutants = true;
        } else if (strcmp(argv[i], "--stories") == 0) {
            storm->told = true;
        } else if (strcmp(argv[i], "--all") == 0) {
            storm->all = true;
        } else if (strcmp(argv[i], "--story") == 0 && i + 1 < argc) {
            storm->story = argv[++i];
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
    struct storm storm = {.first = 1, .count = SEEDS, .told = argc == 1};
    if (storm_parse(&storm, argc, argv) != 0) {
        (void)fprintf(stderr, "usage: storm_cluster [--stories] [--seeds FIRST COUNT] [--all] "
                              "[--story NAME] [--mutant N] "
                              "[--mutants] [--verbose]\n");
        return 2;
    }
    results =
        mmap(NULL, sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (results == MAP_FAILED)
        abort();
    if (storm.mutants)
        return storm_mutants(&storm) == 0 ? 0 : 1;
    bool right = (!storm.told || storm_stories(&storm)) && storm_seeds(&storm);
    storm_print(&storm);
    if (!right)
        printf("FAILED: %s\n", results->wrong);
    return right ? 0 : 1;
}

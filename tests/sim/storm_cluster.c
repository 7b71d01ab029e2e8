/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of the cluster: stores, coordinators and the truth, from one seed. Processes and
 * machines die, one or all at once, roads break and are cut one way or both, clocks run apart,
 * transactions get lost, coordinators stand still and wake up; snapshots are taken throughout.
 * After the calm all copies are equal, block by block and view by view, the history of each block
 * is linearizable, and space is exact.
 *
 *     storm_cluster [--stories] [--seeds FIRST COUNT] [--all] [--story NAME] [--mutant N]
 *                   [--mutants] [--verbose] [--jobs N] [--branches] [--reach FILE]
 *                   [--but SEED]...
 *
 * With --stories, and without arguments, stories come first: what chance does not find
 * (cluster_story.c, cluster_rules.c). --mutants: each planted bug must fail its story; with
 * --seeds, seeds are run with each instead. --reach: a file with a branch per line; one that no
 * seed and no story reached is a failure, and so is a situation (CLUSTER_COUNTS) that there never
 * was. --branches shows them. --but: this seed is left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/cluster.h"
#include "sim/heap.h"
#include "sim/mutants.h"

#define SEEDS 200u
#define RUNS_PER_CHILD 50u
#define JOBS_MAX 16u
#define REACHED_MAX 512u
#define BUT_MAX 8u

struct storm {
    uint64_t first, count;
    int mutant;
    const char *story;
    bool verbose;
    bool mutants;
    bool hunts;    /* Seeds were asked for. */
    bool told;     /* Stories first. */
    bool all;      /* Goes on after a seed that failed. */
    bool branches; /* Prints which were reached. */
    unsigned jobs;
    const char *reach; /* A file of names. */
    uint64_t but[BUT_MAX];
    unsigned but_count;
};

struct reached {
    char name[48];
    uint64_t count;
};

/* What a child that runs has to say, shared with it. */
struct report {
    struct cluster_counts counts;
    struct reached reached[REACHED_MAX];
    uint64_t at; /* The seed that runs, or failed. */
    char wrong[700];
    pid_t pid;
    uint64_t end; /* Its seeds end before this. */
};

static struct report *reports; /* Of each job, and one of all. */
static struct report *results;

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

/* Those of cluster_story.c, then those of cluster_rules.c. */
static const struct cluster_story *story_at(uint32_t index)
{
    if (index < cluster_story_count)
        return &cluster_stories[index];
    index -= cluster_story_count;
    return index < cluster_rule_count ? &cluster_rules[index] : NULL;
}

static const struct cluster_story *story_of(const char *name)
{
    const struct cluster_story *story;
    for (uint32_t i = 0; (story = story_at(i)) != NULL; i++) {
        if (strcmp(story->name, name) == 0)
            return story;
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

static void reached_add(void *context, const char *name, uint64_t count)
{
    struct reached *rows = context;
    for (unsigned i = 0; i < REACHED_MAX; i++) {
        if (rows[i].name[0] == '\0')
            (void)snprintf(rows[i].name, sizeof rows[i].name, "%s", name);
        if (strcmp(rows[i].name, name) == 0) {
            rows[i].count += count;
            return;
        }
    }
    abort();
}

static void counts_add(struct cluster_counts *to, const struct cluster_counts *from)
{
    uint64_t *sums = (uint64_t *)to;
    const uint64_t *values = (const uint64_t *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *sums; i++)
        sums[i] += values[i];
}

static void note(struct report *report, const char *what)
{
    counts_add(&report->counts, &cluster.counts);
    if (cluster.wrong[0] == '\0')
        return;
    (void)snprintf(report->wrong, sizeof report->wrong, "%s %llu: %s", what,
                   (unsigned long long)report->at, cluster.wrong);
    reach_each(reached_add, report->reached);
    _exit(1);
}

static bool is_left_out(const struct storm *storm, uint64_t seed)
{
    for (unsigned i = 0; i < storm->but_count; i++) {
        if (storm->but[i] == seed)
            return true;
    }
    return false;
}

/* In a process of its own: what a crash leaves in memory goes with it, or with the next seed. */
static void child_run(const struct storm *storm, struct report *report)
{
    mutant_active = storm->mutant;
    if (storm->mutant != 0 && freopen("/dev/null", "w", stderr) == NULL)
        _exit(1);
    (void)setvbuf(stdout, NULL, _IONBF, 0);
    heap_mark();
    if (storm->story != NULL) {
        heap_perturb(true); /* What was freed is not what it was. */
        story_run(storm->story, storm->verbose);
        note(report, storm->story);
    }
    for (; storm->story == NULL && report->at < report->end; report->at++) {
        if (is_left_out(storm, report->at))
            continue;
        heap_reset();
        seed_run(report->at, storm->verbose);
        note(report, "seed");
    }
    reach_each(reached_add, report->reached);
    _exit(0);
}

static void child_start(const struct storm *storm, struct report *report, uint64_t first,
                        uint64_t end)
{
    memset(report, 0, sizeof *report);
    report->at = first;
    report->end = end;
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0)
        child_run(storm, report);
    report->pid = pid; /* The child shares it. */
}

/* The child of a report has ended: all of it goes into the results. */
static bool child_ended(const struct storm *storm, struct report *report, int status)
{
    report->pid = 0;
    counts_add(&results->counts, &report->counts);
    for (unsigned i = 0; i < REACHED_MAX && report->reached[i].name[0] != '\0'; i++)
        reached_add(results->reached, report->reached[i].name, report->reached[i].count);
    if (WIFSIGNALED(status))
        (void)snprintf(report->wrong, sizeof report->wrong, "%s %llu: died of signal %d",
                       storm->story != NULL ? storm->story : "seed", (unsigned long long)report->at,
                       WTERMSIG(status));
    if (status == 0)
        return true;
    if (results->wrong[0] == '\0' || report->at < results->at) {
        (void)snprintf(results->wrong, sizeof results->wrong, "%s", report->wrong);
        results->at = report->at;
    }
    return false;
}

static struct report *child_wait(int *ret_status)
{
    pid_t pid = wait(ret_status);
    for (unsigned i = 0; i < JOBS_MAX; i++) {
        if (reports[i].pid == pid)
            return &reports[i];
    }
    abort();
}

static bool child(const struct storm *storm)
{
    int status;
    child_start(storm, &reports[0], 0, 1);
    struct report *report = child_wait(&status);
    return child_ended(storm, report, status);
}

static bool storm_stories(const struct storm *storm)
{
    const struct cluster_story *story;
    for (uint32_t i = 0; (story = story_at(i)) != NULL; i++) {
        struct storm one = *storm;
        one.story = story->name;
        if (!child(&one))
            return false;
    }
    return true;
}

static struct report *report_idle(const struct storm *storm)
{
    for (unsigned i = 0; i < storm->jobs; i++) {
        if (reports[i].pid == 0)
            return &reports[i];
    }
    return NULL;
}

/* Of all seeds that fail the lowest is told, however many run at a time. */
static bool storm_seeds(const struct storm *storm)
{
    if (storm->story != NULL)
        return child(storm);
    uint64_t next = storm->first, end = storm->first + storm->count;
    bool right = true;
    for (unsigned running = 0;;) {
        struct report *report = report_idle(storm);
        if (report != NULL && next < end && (right || storm->all)) {
            uint64_t to = MIN(next + RUNS_PER_CHILD, end);
            child_start(storm, report, next, to);
            next = to;
            running++;
            continue;
        }
        if (running == 0)
            return right;
        int status;
        report = child_wait(&status);
        running--;
        if (child_ended(storm, report, status))
            continue;
        right = false;
        if (!storm->all)
            continue;
        printf("%s\n", report->wrong);
        if (report->at + 1 < report->end) {
            child_start(storm, report, report->at + 1, report->end);
            running++;
        }
    }
}

/* --- What was reached ------------------------------------------------------------------------- */

static bool is_reached(const char *name)
{
    for (unsigned i = 0; i < REACHED_MAX; i++) {
        if (strcmp(results->reached[i].name, name) == 0)
            return results->reached[i].count > 0;
    }
    return false;
}

/* Branches, a line each, and situations: of each there was one. */
static bool storm_reached(const char *path)
{
    char line[sizeof results->reached[0].name];
    bool all = true;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
        return false;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (is_reached(line))
            continue;
        printf("never reached: %s\n", line);
        all = false;
    }
    (void)fclose(file);
#define LOOK(name)                         \
    if (results->counts.name == 0) {       \
        printf("never seen: %s\n", #name); \
        all = false;                       \
    }
    CLUSTER_COUNTS(LOOK)
#undef LOOK
    return all;
}

static void storm_print(const struct storm *storm)
{
    printf("cluster: %llu seeds:", (unsigned long long)storm->count);
#define TELL(name) printf(" " #name " %llu", (unsigned long long)results->counts.name);
    CLUSTER_COUNTS(TELL)
#undef TELL
    printf("\n");
    for (unsigned i = 0; storm->branches && i < REACHED_MAX; i++) {
        if (results->reached[i].count > 0)
            printf("  %12llu %s\n", (unsigned long long)results->reached[i].count,
                   results->reached[i].name);
    }
}

struct planted {
    int number;
    const char *sentence;
    const char *story; /* NULL: seeds alone catch it. */
};

static bool storm_catches(const struct storm *of, const struct planted *planted, const char *story)
{
    struct storm storm = *of;
    storm.mutant = planted->number;
    storm.story = story;
    results->wrong[0] = '\0';
    bool caught = !storm_seeds(&storm);
    bool lost = strstr(results->wrong, "the story does not get there") != NULL;
    printf("planted %d, %s: %s\n", planted->number, planted->sentence,
           caught ? results->wrong : "NOT CAUGHT");
    return caught && !lost;
}

/* Each by its story. With --seeds each by seeds alone: those that have a story need not be caught
 * so, and those that have none must be. */
static int storm_mutants(const struct storm *storm)
{
    int missed = 0;
#define PLANT(number, sentence, story) {number, sentence, story},
    static const struct planted all[] = {CLUSTER_RULE_MUTANTS(PLANT) CLUSTER_MUTANTS(PLANT)};
#undef PLANT
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        if (storm->hunts)
            missed += storm_catches(storm, &all[i], NULL) || all[i].story != NULL ? 0 : 1;
        else if (all[i].story != NULL)
            missed += storm_catches(storm, &all[i], all[i].story) ? 0 : 1;
    }
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
        } else if (strcmp(argv[i], "--branches") == 0) {
            storm->branches = true;
        } else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc) {
            storm->jobs = (unsigned)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--but") == 0 && i + 1 < argc && storm->but_count < BUT_MAX) {
            storm->but[storm->but_count++] = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--reach") == 0 && i + 1 < argc) {
            storm->reach = argv[++i];
        } else if (strcmp(argv[i], "--story") == 0 && i + 1 < argc) {
            storm->story = argv[++i];
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 2 < argc) {
            storm->first = strtoull(argv[++i], NULL, 10);
            storm->count = strtoull(argv[++i], NULL, 10);
            storm->hunts = true;
        } else if (strcmp(argv[i], "--mutant") == 0 && i + 1 < argc) {
            storm->mutant = (int)strtol(argv[++i], NULL, 10);
        } else {
            return -EINVAL;
        }
    }
    return storm->jobs >= 1 && storm->jobs <= JOBS_MAX ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
    struct storm storm = {.first = 1, .count = SEEDS, .told = argc == 1, .jobs = 1};
    if (storm_parse(&storm, argc, argv) != 0) {
        (void)fprintf(stderr, "usage: storm_cluster [--stories] [--seeds FIRST COUNT] [--all] "
                              "[--story NAME] [--mutant N] "
                              "[--mutants] [--verbose] [--jobs N] [--branches] [--reach FILE] "
                              "[--but SEED]...\n");
        return 2;
    }
    reports = mmap(NULL, (JOBS_MAX + 1) * sizeof *reports, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reports == MAP_FAILED)
        abort();
    results = &reports[JOBS_MAX];
    if (storm.mutants)
        return storm_mutants(&storm) == 0 ? 0 : 1;
    bool right = (!storm.told || storm_stories(&storm)) && storm_seeds(&storm);
    storm_print(&storm);
    if (right && storm.reach != NULL && !storm_reached(storm.reach))
        return 1;
    if (!right)
        printf("FAILED: %s\n", results->wrong);
    return right ? 0 : 1;
}

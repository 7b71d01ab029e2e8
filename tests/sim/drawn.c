/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/drawn.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Shared with the children. */
static struct results {
    uint64_t counts[DRAWN_COUNTS_MAX];
    uint64_t reached[DRAWN_BRANCHES_MAX];
    char wrong[800];
} * results;

static const struct drawn *drawn;

/* What was asked for. */
static struct {
    uint64_t first, count;
    int mutant;
    const char *story;
    bool mutants, verbose, all;
} asked;

/* --- Children --------------------------------------------------------------------------------- */

void drawn_note(const char *what, uint64_t number)
{
    for (size_t i = 0; i < drawn->count_count; i++)
        results->counts[i] += drawn->counts[i];
    if (drawn->wrong[0] != '\0') {
        (void)snprintf(results->wrong, sizeof results->wrong, "%s %llu: %s", what,
                       (unsigned long long)number, drawn->wrong);
        _exit(1);
    }
    if (drawn->ended != NULL)
        drawn->ended();
}

static void note_reach(void *context, const char *name, uint64_t count)
{
    (void)context;
    for (size_t i = 0; i < drawn->branch_count; i++) {
        if (strcmp(drawn->branches[i], name) == 0)
            results->reached[i] += count;
    }
}

/* What a child does. */
struct job {
    const char *story;
    void (*run)(uint64_t number);
    uint64_t first, count;
};

static void job_do(const struct job *job)
{
    if (job->story != NULL) {
        (void)mallopt(M_PERTURB, 0xa5); /* What was freed is not what it was. */
        if (drawn->story == NULL || !drawn->story(job->story, asked.verbose))
            _exit(2);
        drawn_note(job->story, 0);
    }
    for (uint64_t number = job->first; number < job->first + job->count; number++) {
        if (job->run != NULL) {
            job->run(number);
        } else {
            drawn->life(number, asked.verbose);
            drawn_note("seed", number);
        }
    }
    reach_each(note_reach, NULL);
}

static bool child(int mutant, const struct job *job)
{
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        mutant_active = mutant;
        if (mutant != 0 && !asked.verbose && freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        job_do(job);
        _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid)
        abort();
    if (WIFSIGNALED(status))
        (void)snprintf(results->wrong, sizeof results->wrong, "%s, from %llu on: died of signal %d",
                       job->story != NULL ? job->story : "seeds", (unsigned long long)job->first,
                       WTERMSIG(status));
    else if (WEXITSTATUS(status) == 2)
        (void)snprintf(results->wrong, sizeof results->wrong, "there is no story \"%s\"",
                       job->story);
    return status == 0;
}

bool drawn_child(const struct drawn *of, void (*run)(uint64_t number), uint64_t number)
{
    assert(of == drawn);
    struct job job = {.run = run, .first = number, .count = 1};
    return child(0, &job);
}

static bool seeds_run(int mutant, uint64_t first, uint64_t count)
{
    bool right = true;
    for (uint64_t seed = first; seed < first + count; seed += drawn->per_child) {
        struct job job = {.first = seed, .count = MIN(drawn->per_child, first + count - seed)};
        if (child(mutant, &job))
            continue;
        right = false;
        if (!asked.all)
            return false;
        printf("%s\n", results->wrong);
        results->wrong[0] = '\0';
    }
    return right;
}

/* --- Telling ---------------------------------------------------------------------------------- */

static int mutant_look(const struct drawn_mutant *mutant)
{
    struct job story = {.story = mutant->story};
    uint64_t count = asked.count != 0 ? asked.count : drawn->mutant_seeds;
    results->wrong[0] = '\0';
    bool caught = mutant->story != NULL ? !child(mutant->number, &story)
                                        : !seeds_run(mutant->number, asked.first, count);
    bool lost = strstr(results->wrong, "the story does not get there") != NULL;
    printf("planted %d, %s: %s\n", mutant->number, mutant->sentence,
           caught ? results->wrong : "NOT CAUGHT");
    return caught && !lost ? 0 : 1;
}

static int mutants_look(int only)
{
    int missed = 0;
    unsigned looked = 0;
    for (size_t i = 0; i < drawn->mutant_count; i++) {
        if (only != 0 && drawn->mutants[i].number != only)
            continue;
        missed += mutant_look(&drawn->mutants[i]);
        looked++;
    }
    if (looked == 0) { /* One of another table. */
        struct drawn_mutant mutant = {.number = only, .sentence = "of another table"};
        missed = mutant_look(&mutant);
    }
    return missed;
}

static int branches_missed(void)
{
    int missed = 0;
    for (size_t i = 0; i < drawn->branch_count; i++) {
        printf("%s %s %llu%s", i == 0 ? "branches:" : "", drawn->branches[i],
               (unsigned long long)results->reached[i], i + 1 < drawn->branch_count ? "," : "\n");
        missed += results->reached[i] == 0 ? 1 : 0;
    }
    if (missed > 0)
        printf("FAILED: %d branches were never reached\n", missed);
    return missed;
}

static bool parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            asked.verbose = true;
        } else if (strcmp(argv[i], "--mutants") == 0) {
            asked.mutants = true;
        } else if (strcmp(argv[i], "--all") == 0) {
            asked.all = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 2 < argc) {
            asked.first = strtoull(argv[++i], NULL, 10);
            asked.count = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--mutant") == 0 && i + 1 < argc) {
            asked.mutant = (int)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--story") == 0 && i + 1 < argc) {
            asked.story = argv[++i];
        } else if (drawn->argument == NULL || !drawn->argument(argv[i])) {
            return false;
        }
    }
    return true;
}

static bool all_run(void)
{
    struct job story = {.story = asked.story};
    if (asked.story != NULL)
        return child(asked.mutant, &story);
    uint64_t count = asked.count != 0 ? asked.count : drawn->seeds;
    bool right = (drawn->before == NULL || drawn->before(drawn)) &&
                 seeds_run(asked.mutant, asked.first, count);
    drawn->print(count, results->counts);
    /* A short run is for looking at one seed. */
    if (right && drawn->whole && count >= drawn->seeds) {
        asked.first = 1;
        asked.count = 0;
        right = branches_missed() + mutants_look(0) == 0;
    }
    return right;
}

int drawn_main(const struct drawn *of, int argc, char **argv)
{
    drawn = of;
    asked.first = 1;
    assert(of->count_count <= DRAWN_COUNTS_MAX && of->branch_count <= DRAWN_BRANCHES_MAX);
    if (!parse(argc, argv)) {
        (void)fprintf(stderr,
                      "usage: %s [--seeds FIRST COUNT] [--mutant N] [--mutants] [--story NAME] "
                      "[--all] [--verbose]%s%s\n",
                      of->name, of->usage != NULL ? " " : "", of->usage != NULL ? of->usage : "");
        return 2;
    }
    results =
        mmap(NULL, sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (results == MAP_FAILED)
        return 2;
    if (asked.mutants || (asked.mutant != 0 && asked.story == NULL))
        return mutants_look(asked.mutant) == 0 ? 0 : 1;
    bool right = all_run();
    if (!right && results->wrong[0] != '\0')
        printf("FAILED: %s\n", results->wrong);
    return right ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of one group's copies: see replica_rig.h.
 *
 *   storm_replica --seeds FIRST COUNT [--reach FILE]   without more: 2,000 from 1 on, and stories
 *   storm_replica --seed N                             one, and all that happens in it
 *   storm_replica --stories | --story NAME             what is told by hand
 *   storm_replica --mutants [--known] --seeds 1 COUNT  every planted bug, until it is caught
 *   storm_replica --mutant N ...                       with that one
 *
 * --known: a planted bug that has a story is caught by that, and not hunted. --reach: a name of a
 * branch per line; one that no seed and no story reached is a failure.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/mutants.h"
#include "sim/replica_rig.h"

#define TWICE_SEEDS 20u

static bool run_seed(uint64_t seed)
{
    rig_start(seed);
    rig_run(rig.ends);
    if (rig.fault[0] == '\0')
        check_history();
    if (rig.fault[0] == '\0')
        check_end();
    rig.counts.seeds++;
    return rig.fault[0] == '\0';
}

/* The first that fails; 0: none does. */
static uint64_t run_seeds(uint64_t first, uint64_t count)
{
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (!run_seed(seed))
            return seed;
    }
    return 0;
}

static void print_counts(void)
{
#define N(field) (unsigned long long)rig.counts.field
    printf("replica: %llu seeds, %llu events, %llu writes acknowledged, %llu reads checked, "
           "%llu flushes, %llu converged\n",
           N(seeds), N(events), N(acked), N(reads), N(flushes), N(converged));
    printf("         %llu epochs, %llu generations, %llu kills, %llu power cuts, %llu moves, "
           "%llu wipes, %llu EIO, %llu sessions ended by a loss, %llu blocks lost unflushed\n",
           N(epochs), N(generations), N(kills), N(power_cuts), N(moves), N(wipes), N(eio),
           N(lost_sessions), N(eras));
#undef N
}

/* The laws that make a seed mean something: twice the same. */
static bool run_twice(uint64_t seeds)
{
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        run_seed(seed);
        uint64_t chance = rig.prng.state;
        uint64_t acked = rig.history_count;
        run_seed(seed);
        if (chance == rig.prng.state && acked == rig.history_count)
            continue;
        printf("seed %llu goes two ways\n", (unsigned long long)seed);
        return false;
    }
    return true;
}

static bool tell(const char *name)
{
    bool fine = true;
    bool told = false;
    for (uint32_t i = 0; i < story_count; i++) {
        if (name != NULL && strcmp(name, stories[i].name) != 0)
            continue;
        told = true;
        stories[i].tell();
        if (rig.fault[0] == '\0')
            continue;
        fine = false;
        printf("story %s: at %llu: %s\n", stories[i].name, (unsigned long long)rig.now, rig.fault);
    }
    return fine && told;
}

/* --- Planted bugs ----------------------------------------------------------------------------- */

/* In a process of its own: a planted bug may end it in any way. */
static bool catch_one(int number, const char *sentence, const char *story, bool known,
                      uint64_t seeds)
{
    printf("planted %d, %s: ", number, sentence);
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0) {
        mutant_active = number;
        if (freopen("/dev/null", "w", stderr) == NULL)
            exit(2);
        uint64_t seed = story != NULL && known ? 0 : run_seeds(1, seeds);
        if (seed != 0)
            printf("caught by seed %llu: %s\n", (unsigned long long)seed, rig.fault);
        else if (story != NULL && !tell(story))
            seed = 1;
        fflush(stdout);
        _exit(seed != 0 ? 1 : 0);
    }
    int status;
    if (waitpid(child, &status, 0) != child)
        abort();
    if (WIFSIGNALED(status))
        printf("stopped by an assertion\n");
    else if (WEXITSTATUS(status) == 0)
        printf("NOT CAUGHT in %llu seeds\n", (unsigned long long)seeds);
    return WIFSIGNALED(status) || WEXITSTATUS(status) == 1;
}

static int catch_all(bool known, uint64_t seeds)
{
    int missed = 0;
    int count = 0;
#define CATCH(number, sentence, story)                           \
    missed += !catch_one(number, sentence, story, known, seeds); \
    count++;
    REPLICA_MUTANTS(CATCH)
#undef CATCH
    printf("%d planted bugs, %d not caught\n", count, missed);
    return missed;
}

/* --- Branches --------------------------------------------------------------------------------- */

static const char *sought;
static bool found;

static void seek(void *context, const char *name, uint64_t count)
{
    (void)context;
    found = found || (count > 0 && strcmp(name, sought) == 0);
}

static int unreached(const char *path)
{
    FILE *file = fopen(path, "r");
    char line[100];
    int missing = 0;
    if (file == NULL) {
        perror(path);
        return 1;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        sought = line;
        found = false;
        reach_each(seek, NULL);
        if (!found)
            printf("never reached: %s\n", line);
        missing += !found;
    }
    fclose(file);
    return missing;
}

/* --- All of it -------------------------------------------------------------------------------- */

struct wish {
    uint64_t first, seeds;
    const char *story, *reach;
    bool stories, mutants, known, one;
};

static struct wish read_wish(int count, char **arguments)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, '1'},
        {"mutant", required_argument, NULL, 'm'},
        {"mutants", no_argument, NULL, 'M'},
        {"known", no_argument, NULL, 'k'},
        {"stories", no_argument, NULL, 't'},
        {"story", required_argument, NULL, 'T'},
        {"reach", required_argument, NULL, 'r'},
        {0},
    };
    struct wish wish = {.first = 1, .seeds = 2000};
    for (int option; (option = getopt_long(count, arguments, "", options, NULL)) != -1;) {
        switch (option) {
        case 'n':
            wish.first = strtoull(optarg, NULL, 10);
            if (optind < count)
                wish.seeds = strtoull(arguments[optind++], NULL, 10);
            break;
        case '1':
            wish.first = strtoull(optarg, NULL, 10);
            wish.seeds = 1;
            rig.verbose = wish.one = true;
            break;
        case 'm': mutant_active = (int)strtol(optarg, NULL, 10); break;
        case 'M': wish.mutants = true; break;
        case 'k': wish.known = true; break;
        case 't': wish.stories = true; break;
        case 'T':
            wish.story = optarg;
            wish.stories = rig.verbose = true;
            break;
        case 'r': wish.reach = optarg; break;
        default: exit(2);
        }
    }
    return wish;
}

int main(int count, char **arguments)
{
    struct wish wish = read_wish(count, arguments);
    if (wish.mutants)
        return catch_all(wish.known, wish.seeds) == 0 ? 0 : 1;
    if (wish.stories)
        return tell(wish.story) ? 0 : 1;
    bool fine = true;
    uint64_t seed = run_seeds(wish.first, wish.seeds);
    if (seed != 0) {
        printf("seed %llu: at %llu: %s\n", (unsigned long long)seed, (unsigned long long)rig.now,
               rig.fault);
        fine = false;
    }
    print_counts();
    if (wish.one || mutant_active != 0)
        return fine ? 0 : 1;
    fine = fine && tell(NULL) && run_twice(TWICE_SEEDS);
    if (fine && wish.reach != NULL)
        fine = unreached(wish.reach) == 0;
    return fine ? 0 : 1;
}

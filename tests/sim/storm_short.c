/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Short workloads of one store, cut at every moment.
 *
 *   storm_short [--seed S] [--pairs N] [--triples N] [--draws N] [--again N] [--ways N] [--jobs N]
 *               [--first N] [--count N] [--mutant N] [--verbose]
 *   storm_short --schedule FILE
 *
 * For every workload of one, of two (every N-th of them: --pairs) and of (N drawn, or all with
 * `--triples all`) three operations:
 * power goes after the n-th moment, for every n until the workload ends uncut. Every N-th workload
 * (--ways) is cut in three other ways too: its operations under way all at once, and the process
 * killed instead. What is left is proved, recovered, settled, written, closed and proved again. Of
 * every N-th cut (--again, 0: none) recovery is cut at its every moment.
 *
 * The store is prepared once for each workload; every cut is a fork of that process, which makes a
 * crash real: no destructor runs, and the memory is gone.
 *
 * --first and --count: only so many workloads, from that one on (0 ..). What takes hours is run in
 * parts.
 *
 * A failure prints its schedule: what --schedule takes, kept in schedules/ with a sentence.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/short_work.h"
#include "sim/store_views.h"

#define WORKLOADS (SHORT_KINDS + SHORT_KINDS * SHORT_KINDS)
#define TRIPLES (SHORT_KINDS * SHORT_KINDS * SHORT_KINDS)
#define MOMENTS_MAX 20000u
#define ENDED_UNCUT 3
#define PROGRESS_EVERY 16u

/* All that a failure needs to come back. Of a workload in which there is an operation on snapshots
 * each volume has one from before. */
struct schedule {
    uint64_t seed;
    uint64_t draw;    /* Another draw of what the cut leaves. */
    uint64_t journal; /* Blocks; 0: drawn. */
    enum short_op ops[SHORT_OPS_MAX];
    uint32_t count;
    bool at_once, kill;
    uint64_t cut;   /* After this moment; 0: at the end. */
    uint64_t again; /* In recovery, after this moment; 0: not. */
};

static bool schedule_views(const struct schedule *schedule)
{
    bool views = false;
    for (uint32_t i = 0; i < schedule->count; i++)
        views = views || short_of_views(schedule->ops[i]);
    return views;
}

struct results {
    uint64_t workloads, cuts, kills, again, uncut, settled;
    bool failed;
    char text[600];
    struct schedule schedule;
};

struct storm {
    uint64_t seed, pairs_one_in, triples, draws, again_one_in, ways_one_in;
    uint64_t first, count; /* Workloads; count 0: all the rest. */
    unsigned jobs;
    int mutant;
    bool verbose;
    const char *schedule_file;
    struct results *results; /* Shared with the children. */
};

static struct rig rig;
static struct short_work work;

/* --- One cut -------------------------------------------------------------------------------- */

/* Closed well, proved, opened once more and read. */
static bool prove_end(void)
{
    if (!rig_stop(&rig) || !rig_check(&rig) || !rig_start(&rig) || !short_settle(&rig, false))
        return false;
    return rig.views != NULL ? rig_views_end(&rig) : rig_stop(&rig);
}

/* What is left is whole, and the store is of use. */
static bool prove(bool power_cut)
{
    static const enum short_op after[] = {SHORT_WRITE_CROSSING, SHORT_FLUSH};
    if (!rig_check(&rig) || !rig_start(&rig) || !short_settle(&rig, power_cut) ||
        !short_delete_again(&rig))
        return false;
    unsigned volume = 0;
    while (volume < RIG_VOLUMES && rig.volumes[volume].volume == NULL)
        volume++;
    work = (struct short_work){.ops = after, .count = COUNT_OF(after), .volume = volume};
    if (volume < RIG_VOLUMES && !short_run(&work, &rig))
        return false;
    return prove_end();
}

static void crash(bool power_cut)
{
    rig.world.off = rig.world.off && power_cut;
    rig_crash(&rig, power_cut);
}

static int run_cut(const struct schedule *schedule)
{
    for (unsigned i = 0; i < rig.disk_count; i++)
        rig.disks[i]->chance.state ^= schedule->draw * 0x9e3779b97f4a7c15u;
    work = (struct short_work){
        .ops = schedule->ops, .count = schedule->count, .at_once = schedule->at_once};
    world_cut_after(&rig.world, schedule->cut);
    (void)short_run(&work, &rig);
    if (rig.wrong[0] != '\0')
        return 1;
    return rig.world.off ? 0 : ENDED_UNCUT;
}

/* --- Every cut ------------------------------------------------------------------------------ */

static void fail_note(struct storm *storm, const struct schedule *schedule, const char *text)
{
    if (storm->results->failed)
        return;
    storm->results->failed = true;
    storm->results->schedule = *schedule;
    (void)snprintf(storm->results->text, sizeof storm->results->text, "%s", text);
}

/* Waits for a fork of this process: its status, or 1 if it failed. */
static int child_wait(struct storm *storm, pid_t child, const struct schedule *schedule)
{
    int status = 0;
    (void)waitpid(child, &status, 0);
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    char text[64];
    (void)snprintf(text, sizeof text, "died of signal %d", WTERMSIG(status));
    fail_note(storm, schedule, text);
    return 1;
}

static void child_end(struct storm *storm, const struct schedule *schedule, int status)
{
    if (rig.wrong[0] != '\0') {
        fail_note(storm, schedule, rig.wrong);
        status = 1;
    }
    __atomic_fetch_add(&storm->results->settled, rig.counts.settled, __ATOMIC_RELAXED);
    _exit(status);
}

static void count(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* Recovery is cut once; then it is let through. */
static int run_again(const struct schedule *schedule)
{
    world_cut_after(&rig.world, schedule->again);
    bool through = rig_start(&rig) && short_settle(&rig, !schedule->kill);
    if (!rig.world.off)
        return through ? ENDED_UNCUT : 1;
    rig_crash(&rig, true);
    return prove(true) ? 0 : 1;
}

/* Here the crash has happened: from it recovery is cut at every moment. */
static bool each_again(struct storm *storm, struct schedule *schedule)
{
    int status = 0;
    for (schedule->again = 1; schedule->again < MOMENTS_MAX && status == 0; schedule->again++) {
        pid_t child = fork();
        if (child == 0)
            child_end(storm, schedule, run_again(schedule));
        status = child_wait(storm, child, schedule);
        count(&storm->results->again);
    }
    schedule->again = 0;
    return status == ENDED_UNCUT;
}

/* A fork of the prepared process. */
static int cut_child(struct storm *storm, struct schedule *schedule, bool again)
{
    int status = run_cut(schedule);
    if (status == 1)
        return 1;
    crash(!schedule->kill);
    if (again && status == 0 && !each_again(storm, schedule))
        return 1;
    return prove(!schedule->kill) ? status : 1;
}

/* True if nothing was false. */
static bool each_cut(struct storm *storm, struct schedule *schedule)
{
    int status = 0;
    for (schedule->cut = 1; schedule->cut < MOMENTS_MAX && status == 0; schedule->cut++) {
        /* Spread over the workloads: most have fewer moments than that. */
        uint64_t number = schedule->seed + schedule->cut + 37 * schedule->draw;
        bool again = storm->again_one_in != 0 && number % storm->again_one_in == 0;
        pid_t child = fork();
        if (child == 0)
            child_end(storm, schedule, cut_child(storm, schedule, again));
        status = child_wait(storm, child, schedule);
        count(schedule->kill ? &storm->results->kills : &storm->results->cuts);
    }
    if (status == ENDED_UNCUT)
        count(&storm->results->uncut);
    return status == ENDED_UNCUT;
}

/* One workload, in a process of its own. */
static void workload_child(struct storm *storm, struct schedule *schedule)
{
    mutant_active = storm->mutant;
    if (!short_prepare(&rig, schedule->seed, schedule->journal, schedule_views(schedule)))
        child_end(storm, schedule, 1);
    rig.verbose = storm->verbose;
    bool good = true;
    for (unsigned way = 0; way < 4 && good; way++) {
        schedule->at_once = (way & 1) != 0;
        schedule->kill = (way & 2) != 0;
        bool wanted = schedule->count == 1 || schedule->seed % storm->ways_one_in == 0;
        if (way != 0 && (!wanted || (schedule->at_once && schedule->count == 1)))
            continue;
        for (schedule->draw = 0; schedule->draw < storm->draws && good; schedule->draw++)
            good = each_cut(storm, schedule);
    }
    _exit(good ? 0 : 1);
}

/* --- Which workloads ------------------------------------------------------------------------ */

/* 0 ..: those of one operation, those of two, then those of three. */
static void workload_number(uint64_t number, struct schedule *schedule)
{
    uint32_t length = number < SHORT_KINDS ? 1 : number < WORKLOADS ? 2 : 3;
    uint64_t rest = number - (length == 1 ? 0 : length == 2 ? SHORT_KINDS : WORKLOADS);
    schedule->count = length;
    for (uint32_t i = 0; i < length; i++, rest /= SHORT_KINDS)
        schedule->ops[i] = (enum short_op)(rest % SHORT_KINDS);
}

/* One of the pairs that are left out: each operation comes first and second as often as others. */
static bool workload_skipped(const struct storm *storm, uint64_t number)
{
    uint64_t pair = number - SHORT_KINDS;
    if (number < SHORT_KINDS || number >= WORKLOADS)
        return false;
    return (pair % SHORT_KINDS + pair / SHORT_KINDS) % storm->pairs_one_in != 0;
}

static uint64_t workload_draw(struct storm *storm, struct prng *prng, uint64_t i)
{
    if (i < WORKLOADS || storm->triples >= TRIPLES)
        return i;
    return WORKLOADS + prng_below(prng, TRIPLES);
}

static void storm_progress(const struct storm *storm, uint64_t ended, uint64_t total)
{
    const struct results *results = storm->results;
    (void)fprintf(stderr, "%llu of %llu workloads: %llu power cuts, %llu kills, %llu in recovery\n",
                  (unsigned long long)ended, (unsigned long long)total,
                  (unsigned long long)results->cuts, (unsigned long long)results->kills,
                  (unsigned long long)results->again);
}

static void storm_run(struct storm *storm)
{
    struct prng prng = {.state = storm->seed};
    uint64_t total = WORKLOADS + MIN(storm->triples, (uint64_t)TRIPLES);
    uint64_t next = 0;
    uint64_t ended = 0;
    unsigned busy = 0;
    if (storm->count != 0)
        total = MIN(total, storm->first + storm->count);
    while (busy > 0 || (next < total && !storm->results->failed)) {
        while (busy < storm->jobs && next < total && !storm->results->failed) {
            struct schedule schedule = {.seed = storm->seed + next};
            workload_number(workload_draw(storm, &prng, next), &schedule);
            bool skipped = workload_skipped(storm, next);
            if (next++ < storm->first || skipped)
                continue;
            count(&storm->results->workloads);
            (void)fflush(stdout);
            pid_t child = fork();
            if (child == 0)
                workload_child(storm, &schedule);
            busy++;
        }
        int status = 0;
        (void)wait(&status);
        busy--;
        if (++ended % PROGRESS_EVERY == 0)
            storm_progress(storm, ended, total - storm->first);
        if (status != 0 && !storm->results->failed)
            fail_note(storm, &(struct schedule){.seed = storm->seed}, "a workload's process died");
    }
}

/* --- Schedules ------------------------------------------------------------------------------ */

static void schedule_print(const struct schedule *schedule)
{
    printf("seed %llu\ndraw %llu\nops", (unsigned long long)schedule->seed,
           (unsigned long long)schedule->draw);
    for (uint32_t i = 0; i < schedule->count; i++)
        printf(" %s", short_op_names[schedule->ops[i]]);
    printf("\n%s%scut %llu\nagain %llu\n", schedule->at_once ? "at-once 1\n" : "",
           schedule->kill ? "kill 1\n" : "", (unsigned long long)schedule->cut,
           (unsigned long long)schedule->again);
}

/* "write-one", or "70*write-one". */
static bool schedule_op(struct schedule *schedule, const char *word)
{
    char *star = NULL;
    unsigned long times = strtoul(word, &star, 10);
    const char *name = *star == '*' ? star + 1 : word;
    times = *star == '*' ? times : 1;
    for (unsigned kind = 0; kind < SHORT_KINDS; kind++) {
        if (strcmp(short_op_names[kind], name) != 0)
            continue;
        for (; times > 0 && schedule->count < SHORT_OPS_MAX; times--)
            schedule->ops[schedule->count++] = (enum short_op)kind;
        return times == 0;
    }
    return false;
}

static bool schedule_line(struct schedule *schedule, char *line)
{
    char *rest = NULL;
    const char *key = strtok_r(line, " \n", &rest);
    if (key == NULL || key[0] == '#')
        return true;
    if (strcmp(key, "ops") == 0) {
        for (const char *word; (word = strtok_r(NULL, " \n", &rest)) != NULL;) {
            if (!schedule_op(schedule, word))
                return false;
        }
        return true;
    }
    const char *word = strtok_r(NULL, " \n", &rest);
    uint64_t value = word != NULL ? strtoull(word, NULL, 10) : 0;
    if (strcmp(key, "seed") == 0)
        schedule->seed = value;
    else if (strcmp(key, "draw") == 0)
        schedule->draw = value;
    else if (strcmp(key, "journal") == 0)
        schedule->journal = value;
    else if (strcmp(key, "at-once") == 0)
        schedule->at_once = value != 0;
    else if (strcmp(key, "kill") == 0)
        schedule->kill = value != 0;
    else if (strcmp(key, "cut") == 0)
        schedule->cut = value;
    else if (strcmp(key, "again") == 0)
        schedule->again = value;
    else
        return false;
    return word != NULL;
}

/* Exit status. */
static int schedule_run(const struct storm *storm)
{
    FILE *file = fopen(storm->schedule_file, "r");
    if (file == NULL) {
        perror(storm->schedule_file);
        return 2;
    }
    struct schedule schedule = {.seed = 1};
    char line[1024];
    bool good = true;
    while (good && fgets(line, sizeof line, file) != NULL)
        good = schedule_line(&schedule, line);
    (void)fclose(file);
    if (!good || schedule.count == 0) {
        (void)fprintf(stderr, "%s: not a schedule\n", storm->schedule_file);
        return 2;
    }
    mutant_active = storm->mutant;
    bool held = short_prepare(&rig, schedule.seed, schedule.journal, schedule_views(&schedule));
    rig.verbose = storm->verbose;
    int status = held ? run_cut(&schedule) : 1;
    if (status != 1) {
        crash(!schedule.kill);
        if (schedule.again != 0)
            (void)run_again(&schedule);
        else
            (void)prove(!schedule.kill);
    }
    printf("%s: %s\n", storm->schedule_file, rig.wrong[0] != '\0' ? rig.wrong : "held");
    (void)fflush(stdout);
    _exit(rig.wrong[0] != '\0' ? 1 : 0);
}

/* --- The program ---------------------------------------------------------------------------- */

static int storm_parse(struct storm *storm, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            storm->verbose = true;
            continue;
        }
        if (i + 1 >= argc)
            return -EINVAL;
        const char *key = argv[i++];
        uint64_t value = strcmp(argv[i], "all") == 0 ? TRIPLES : strtoull(argv[i], NULL, 10);
        if (strcmp(key, "--schedule") == 0)
            storm->schedule_file = argv[i];
        else if (strcmp(key, "--seed") == 0)
            storm->seed = value;
        else if (strcmp(key, "--pairs") == 0)
            storm->pairs_one_in = value;
        else if (strcmp(key, "--triples") == 0)
            storm->triples = value;
        else if (strcmp(key, "--draws") == 0)
            storm->draws = value;
        else if (strcmp(key, "--again") == 0)
            storm->again_one_in = value;
        else if (strcmp(key, "--ways") == 0)
            storm->ways_one_in = value;
        else if (strcmp(key, "--first") == 0)
            storm->first = value;
        else if (strcmp(key, "--count") == 0)
            storm->count = value;
        else if (strcmp(key, "--jobs") == 0)
            storm->jobs = (unsigned)value;
        else if (strcmp(key, "--mutant") == 0)
            storm->mutant = (int)value;
        else
            return -EINVAL;
    }
    bool sane = storm->jobs >= 1 && storm->jobs <= 64 && storm->draws >= 1 &&
                storm->ways_one_in >= 1 && storm->pairs_one_in >= 1;
    return sane ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
    struct storm storm = {.seed = 1,
                          .pairs_one_in = 3,
                          .triples = 16,
                          .draws = 1,
                          .again_one_in = 96,
                          .ways_one_in = 6,
                          .jobs = 2};
    if (storm_parse(&storm, argc, argv) != 0) {
        (void)fprintf(
            stderr,
            "usage: %s [--seed S] [--pairs N] [--triples N|all] [--draws N] [--again N] [--ways N] "
            "[--jobs N] [--first N] [--count N] [--mutant N] [--verbose] | --schedule FILE\n",
            argv[0]);
        return 2;
    }
    if (storm.schedule_file != NULL)
        return schedule_run(&storm);
    storm.results = mmap(NULL, sizeof *storm.results, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (storm.results == MAP_FAILED)
        return 2;
    storm_run(&storm);
    const struct results *results = storm.results;
    if (storm.mutant != 0) {
        printf("mutant %d: %s%s\n", storm.mutant, results->failed ? "caught, " : "NOT CAUGHT",
               results->text);
        return results->failed ? 0 : 1;
    }
    printf("%llu workloads, each cut at every moment: %llu power cuts, %llu kills, %llu cuts in "
           "recovery, %llu ends uncut, %llu blocks settled\n",
           (unsigned long long)results->workloads, (unsigned long long)results->cuts,
           (unsigned long long)results->kills, (unsigned long long)results->again,
           (unsigned long long)results->uncut, (unsigned long long)results->settled);
    if (!results->failed)
        return 0;
    printf("FAILED: %s\n", results->text);
    schedule_print(&results->schedule);
    return 1;
}

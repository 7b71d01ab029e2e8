/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal's storm: lives that end in a power cut, a kill, a failed device or rest; after each,
 * what was promised must be there and nothing that never was.
 *
 *     journal_storm [--seeds N] [--short N] [--first N] [--seed N] [--mutant N]
 *
 * Without arguments: 12,000 seeds; short ones cut after every moment; some run twice to compare
 * their traces; each planted bug, which must be caught; each branch of recovery, which must be
 * reached. --first N: seeds from N on, and nothing but them.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/journal_model.h"
#include "sim/mutants.h"

#define SEEDS 12000u
#define SHORT_SEEDS 150u
#define TWICE_SEEDS 200u
#define MUTANT_SEEDS 3000u
#define STEPS_MAX 40000u

enum life_end { LIFE_CUT, LIFE_KILL, LIFE_REST };

/* --- One life -------------------------------------------------------------------------------- */

/* A cut loses what was only acknowledged, and what survived it is on the platter. */
static void power_cycle(struct model *model)
{
    if (!model->world.off)
        world_cut(&model->world);
    counts.cuts++;
    world_restart(&model->world);
    for (unsigned i = 0; i < model->record_count; i++)
        model->records[i].acknowledged = false;
}

/* What was acknowledged is still there, unless the drive lost it in a flush that failed. */
static void kill_process(struct model *model)
{
    counts.kills++;
    world_kill(&model->world);
    for (unsigned i = 0; i < model->record_count; i++)
        model->records[i].acknowledged =
            model->records[i].applied && model->disk->counts.flush_errors == 0;
}

/* A bug of the world, not of ours: a drive whose flush does nothing must show. */
static bool flush_lies;

static void draw_write_faults(struct model *model)
{
    struct sim_faults *faults = &model->disk->faults;
    const struct sim_disk_counts *done = &model->disk->counts;
    uint64_t soon = 1 + prng_below(&model->prng, 30);
    *faults = (struct sim_faults){
        .slow_one_in = 20,
        .flush_lies = flush_lies,
        .media_from = JOURNAL_PLACE * BLOCK_BYTES,
        .media_to = (JOURNAL_PLACE + model->options.blocks) * BLOCK_BYTES,
    };
    switch (prng_below(&model->prng, 24)) {
    case 0: faults->write_error_at = done->writes + soon; break;
    case 1: faults->flush_error_at = done->flushes + 1 + soon / 8; break;
    case 2: faults->short_at = done->writes + done->reads + soon; break;
    case 3: faults->full_at = done->writes + soon; break;
    case 4: faults->lost_at = done->writes + soon; break;
    case 5: faults->misdirect_at = done->writes + soon; break;
    default: break;
    }
}

/* After a failure everything that was taken ends, and then it is quiet. */
static void check_all_ended(const struct model *model)
{
    counts.failures++;
    for (unsigned i = 0; i < model->record_count; i++) {
        const struct record *record = &model->records[i];
        if (record->incarnation == model->options.incarnation && !record->ended)
            broken(model, "record %u was taken and never ended", i);
    }
}

static void check_rest(struct model *model)
{
    uint64_t newest = 0;
    counts.rests++;
    for (unsigned i = 0; i < model->record_count; i++) {
        if (model->records[i].incarnation == model->options.incarnation)
            newest = MAX(newest, model->records[i].batch);
    }
    if (!model->media_faults && newest > 0 && named_on_disk(model) < newest)
        broken(model, "at rest no batch names %llu as durable", (unsigned long long)newest);
}

static void note_media_faults(struct model *model, const struct sim_disk_counts *before)
{
    const struct sim_disk_counts *now = &model->disk->counts;
    if (now->lost == before->lost && now->misdirected == before->misdirected)
        return;
    model->media_faults = true;
    counts.media++;
}

/* Lives until the power goes, `steps` are over (0: never), it rests, or it failed and is quiet. */
static void live(struct model *model, enum life_end end, uint64_t steps)
{
    const struct sim_disk_counts before = model->disk->counts;
    bool resting = false;
    for (uint64_t step = 0; !resting; step++) {
        if (step > STEPS_MAX)
            broken(model, "does not come to rest");
        if (end == LIFE_KILL && step == steps)
            break;
        bool stepped = world_step(&model->world);
        if (model->world.off)
            break;
        model_turn(model);
        if (!stepped && model->world.event_count == 0 && list_empty(&model->devices.ended)) {
            if (!model->failed)
                broken(model, "nothing is to come");
            check_all_ended(model);
            break;
        }
        resting = !model->failed && model_at_rest(model);
    }
    if (model->verbose)
        printf("life %llu: %s, %s, %u records made, durable through %llu\n",
               (unsigned long long)model->options.incarnation,
               model->world.off ? "power off" : "power on",
               resting         ? "at rest"
               : model->failed ? "failed"
                               : "busy",
               model->record_count, (unsigned long long)journal_durable(model->journal));
    note_media_faults(model, &before);
    if (resting)
        check_rest(model);
    counts.moments += model->world.moments;
}

/* Sometimes a bit of the journal rots while nobody looks. */
static void rot(struct model *model)
{
    if (!prng_one_in(&model->prng, 12))
        return;
    uint64_t block = prng_below(&model->prng, model->options.blocks);
    counts.media++;
    model->media_faults = true;
    uint32_t length = prng_one_in(&model->prng, 2) ? 64 : BLOCK_BYTES;
    sim_disk_rot(model->disk, (JOURNAL_PLACE + block) * BLOCK_BYTES, length);
}

/* --- One seed -------------------------------------------------------------------------------- */

/* Recovers, through power cuts during recovery if `rough`. False: damage ended the story. */
static bool recover(struct model *model, bool rough)
{
    for (;;) {
        if (rough && prng_one_in(&model->prng, 4))
            world_cut_after(&model->world, 1 + prng_below(&model->prng, 40));
        enum recovery recovery = model_recover(model);
        world_cut_after(&model->world, 0);
        if (recovery != RECOVERY_CUT)
            return recovery == RECOVERED;
        counts.cuts_in_recovery++;
        power_cycle(model);
    }
}

static uint64_t run_seed(uint64_t seed, bool verbose)
{
    struct model model;
    model_open(&model, seed, verbose);
    counts.seeds++;
    bool alive = recover(&model, true);
    for (uint64_t lives = 1 + prng_below(&model.prng, 4); lives > 0 && alive; lives--) {
        enum life_end end = (enum life_end)prng_below(&model.prng, 3);
        draw_write_faults(&model);
        model_begin(&model, 1 + (unsigned)prng_below(&model.prng, 60));
        if (end == LIFE_CUT)
            world_cut_after(&model.world, 1 + prng_below(&model.prng, 150));
        live(&model, end, prng_below(&model.prng, 200));
        if (model.world.off || prng_one_in(&model.prng, 2))
            power_cycle(&model);
        else
            kill_process(&model);
        rot(&model);
        alive = recover(&model, true);
    }
    uint64_t trace = model.world.trace;
    model_close(&model);
    return trace;
}

/* A short life, cut after `moments`. False: it came to rest before. */
static bool run_short(uint64_t seed, uint64_t moments)
{
    struct model model;
    model_open(&model, seed, false);
    counts.seeds++;
    bool cut = false;
    if (recover(&model, false)) {
        model.disk->faults = (struct sim_faults){0};
        model_begin(&model, 1 + (unsigned)(seed % 3));
        world_cut_after(&model.world, moments);
        live(&model, LIFE_CUT, 0);
        cut = model.world.off;
        power_cycle(&model);
        recover(&model, false);
    }
    model_close(&model);
    return cut;
}

/* --- All of it ------------------------------------------------------------------------------- */

static const char *const branches[] = {
    "journal_write_failed",   "journal_out_of_order",   "journal_wrapped",
    "journal_append_refused", "journal_mark_sent",      "journal_block_unreadable",
    "journal_read_again",     "journal_carried",        "journal_old_incarnation",
    "journal_batch_torn",     "journal_beyond",         "journal_chain_fills_region",
    "journal_damaged",        "journal_end_unreadable", "journal_replay_corrupt",
    "journal_replay_paused",
};

static uint64_t reached[COUNT_OF(branches)];

static void on_reach(void *context, const char *name, uint64_t count)
{
    (void)context;
    for (size_t i = 0; i < COUNT_OF(branches); i++) {
        if (strcmp(branches[i], name) == 0)
            reached[i] = count;
    }
}

static int check_branches(void)
{
    int missed = 0;
    reach_each(on_reach, NULL);
    printf("branches:");
    for (size_t i = 0; i < COUNT_OF(branches); i++) {
        uint64_t seen = reached[i];
        printf(" %s %llu%s", branches[i], (unsigned long long)seen,
               i + 1 < COUNT_OF(branches) ? "," : "\n");
        missed += seen == 0;
    }
    if (missed > 0)
        printf("FAILED: %d branches were never reached\n", missed);
    return missed;
}

static void print_counts(void)
{
#define N(field) (unsigned long long)counts.field
    printf("journal: %llu seeds, %llu recoveries, %llu cuts (%llu in recovery), %llu kills, "
           "%llu failures, %llu rests\n",
           N(seeds), N(lives), N(cuts), N(cuts_in_recovery), N(kills), N(failures), N(rests));
    printf("         %llu records, %llu replayed, %llu without their data, %llu flushes, "
           "%llu checkpoints, %llu damaged, %llu media faults, %llu moments\n",
           N(records), N(replayed), N(data_missing), N(flushes), N(checkpoints), N(damaged),
           N(media), N(moments));
#undef N
}

static void run_twice(uint64_t seeds)
{
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        if (run_seed(seed, false) == run_seed(seed, false))
            continue;
        printf("seed %llu gives two traces\n", (unsigned long long)seed);
        exit(1);
    }
}

static void run_all_short(uint64_t seeds)
{
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        uint64_t moments = 1;
        while (run_short(seed, moments))
            moments++;
    }
}

/* In a process of its own: a planted bug may end it in any way. */
static int run_mutant(int number, const char *sentence)
{
    fflush(stdout);
    printf("planted %d, %s: ", number, sentence);
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0) {
        mutant_active = number;
        flush_lies = number == 0;
        if (freopen("/dev/null", "w", stderr) == NULL)
            exit(0);
        for (uint64_t seed = 1; seed <= MUTANT_SEEDS; seed++)
            run_seed(seed, false);
        exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child)
        abort();
    if (WIFSIGNALED(status))
        printf("an assertion stopped it\n");
    else if (WEXITSTATUS(status) == 0)
        printf("NOT CAUGHT in %u seeds\n", MUTANT_SEEDS);
    return WIFSIGNALED(status) || WEXITSTATUS(status) == 1 ? 0 : 1;
}

static int run_mutants(int only)
{
    int missed = only == 0 ? run_mutant(0, "the drive's flush does nothing") : 0;
#define RUN(number, sentence)          \
    if (only == 0 || only == (number)) \
        missed += run_mutant(number, sentence);
    DEVICE_MUTANTS(RUN)
    JOURNAL_MUTANTS(RUN)
#undef RUN
    return missed;
}

int main(int count, char **arguments)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'},  {"short", required_argument, NULL, 's'},
        {"first", required_argument, NULL, 'f'},  {"seed", required_argument, NULL, '1'},
        {"mutant", required_argument, NULL, 'm'}, {0},
    };
    uint64_t seeds = SEEDS, shorts = SHORT_SEEDS, first = 1;
    for (int option; (option = getopt_long(count, arguments, "", options, NULL)) != -1;) {
        switch (option) {
        case 'n': seeds = strtoull(optarg, NULL, 10); break;
        case 's': shorts = strtoull(optarg, NULL, 10); break;
        case 'f': first = strtoull(optarg, NULL, 10); break;
        case '1': run_seed(strtoull(optarg, NULL, 10), true); return 0;
        case 'm': return run_mutants((int)strtol(optarg, NULL, 10));
        default: return 2;
        }
    }
    for (uint64_t seed = first; seed < first + seeds; seed++)
        run_seed(seed, false);
    if (first != 1) {
        print_counts();
        return 0;
    }
    run_all_short(shorts);
    run_twice(MIN(seeds, TWICE_SEEDS));
    print_counts();
    int missed = check_branches();
    missed += run_mutants(0);
    if (missed > 0)
        printf("FAILED: %d planted bugs or branches missed\n", missed);
    return missed > 0;
}

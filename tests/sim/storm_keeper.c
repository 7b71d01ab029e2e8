/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of the keeper: pools with two who may be it. Processes die, stand still, lose the
 * metadata in the middle of what they do; stores go away and come back, are drained and put back;
 * volumes are opened, used and closed meanwhile, where the keeper is too. No copy goes that is
 * needed, no two lead, what is read was written; after the calm everything is whole, and given
 * back.
 *
 *     storm_keeper [--seeds FIRST COUNT] [--mutant N] [--mutants] [--verbose]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/keeper_inside.h"
#include "sim/keeper_life.h"
#include "sim/mutants.h"

#define SEEDS 150u
#define MUTANT_SEEDS 1000u
#define RUNS_PER_CHILD 5u
#define MOMENT_NS (20 * NS_PER_MS)
#define CALM_NS (240 * NS_PER_S)

struct storm {
    uint64_t first, count;
    int mutant;
    bool verbose, mutants;
};

/* Shared with the children. */
static struct results {
    struct life_counts counts;
    char wrong[700];
} * results;

static struct life life;

/* --- What goes wrong -------------------------------------------------------------------------- */

static void say(const char *what, unsigned number)
{
    if (life.verbose)
        (void)fprintf(stderr, "%9.3f %s %u\n", (double)life.worlds.now_ns / 1e9, what, number);
}

static void node_away(struct life_node *node, bool away)
{
    node->away = away;
    say(away ? "away: store" : "back: store", node->number + 1);
    for (unsigned i = 0; i < LIFE_USERS; i++)
        road_cut(&life.users[i].roads[node->number], away, away);
}

static void user_back(struct life_user *user)
{
    if (user->stands)
        life.worlds.stopped[user->machine] = false;
    if (user->cut)
        truth_reach(user->meta, true);
    if (user->dead)
        life_user_start(user);
    say("back: user", user->number);
    user->stands = user->cut = false;
    user->back_ns = 0;
}

static void user_fault(struct life_user *user)
{
    struct prng *prng = &life.prng;
    user->back_ns = life.worlds.now_ns + NS_PER_MS * (200 + prng_below(prng, 5000));
    switch (prng_below(prng, 3)) {
    case 0:
        life.counts.kills++;
        say("dies: user", user->number);
        life_user_die(user);
        break;
    case 1:
        life.counts.stands++;
        say("stands still: user", user->number);
        user->stands = true;
        life.worlds.stopped[user->machine] = true;
        break;
    default:
        life.counts.cuts++;
        say("cut off: user", user->number);
        user->cut = true;
        truth_reach(user->meta, false);
        break;
    }
}

static void operator_acts(void)
{
    unsigned id = 1 + (unsigned)prng_below(&life.prng, LIFE_NODES);
    struct metadata_store record = life.stores[id];
    unsigned draining = 0;
    for (unsigned i = 1; i <= LIFE_NODES; i++)
        draining += life.stores[i].state == METADATA_STORE_DRAINING ? 1 : 0;
    if (record.state == METADATA_STORE_OUT || record.id == 0)
        return;
    if (record.state == METADATA_STORE_UP && draining > 0)
        return;
    record.state = record.state == METADATA_STORE_UP ? METADATA_STORE_DRAINING : METADATA_STORE_UP;
    life.counts.drains += record.state == METADATA_STORE_DRAINING ? 1 : 0;
    say(record.state == METADATA_STORE_UP ? "up: store" : "drained: store", id);
    life_store_put(&life, &record);
}

/* What the keeper wished once, when enough were in sync. */
static void wish_late(void)
{
    unsigned volume = 1 + (unsigned)prng_below(&life.prng, LIFE_PARENT);
    const struct metadata_group *group = &life.groups[volume];
    struct metadata_wish wish = {.volume = group->volume,
                                 .kind = METADATA_WISH_DROP,
                                 .source = group->members[0].store,
                                 .session = life.keeper_session};
    struct metadata_key key = metadata_wish_key(group->volume, 0);
    struct metadata_key keeper = metadata_keeper_key();
    struct metadata_bytes value = {0};
    if (life.keeper_session == 0 || metadata_wish_encode(&wish, &value) != 0)
        return;
    say("a late wish for volume", volume);
    meta_request_reset(&life.request);
    meta_if_modified(&life.request, META_SLICE(keeper), life.keeper_revision);
    meta_put(&life.request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    life_commit(&life);
}

/* In the middle of what a pass decided, which may happen yet, when another leads. */
static void cut_off_in_the_middle(void)
{
    for (unsigned i = 0; i < LIFE_KEEPERS; i++) {
        struct life_user *user = &life.users[i];
        if (user->back_ns != 0 || user->keeper == NULL || !user->keeper->act.flying ||
            !prng_one_in(&life.prng, 40))
            continue;
        life.counts.cuts++;
        say("cut off in the middle: user", i);
        user->back_ns = life.worlds.now_ns + (3 + prng_below(&life.prng, 5)) * NS_PER_S;
        user->cut = true;
        truth_reach(user->meta, false);
    }
}

static void moment(void)
{
    struct prng *prng = &life.prng;
    struct life_node *node = &life.nodes[prng_below(prng, LIFE_NODES)];
    struct life_user *user = &life.users[prng_below(prng, LIFE_USERS)];
    unsigned away = 0;
    for (unsigned i = 0; i < LIFE_NODES; i++)
        away += life.nodes[i].away ? 1 : 0;
    if (prng_one_in(prng, 60) && !node->away && away < 1) {
        life.counts.aways++;
        node->back_ns = life.worlds.now_ns + (prng_one_in(prng, 2) ? NS_PER_S : 12 * NS_PER_S) *
                                                 (1 + prng_below(prng, 2));
        node_away(node, true);
    }
    if (prng_one_in(prng, 60) && user->back_ns == 0 && user->ready)
        user_fault(user);
    if (prng_one_in(prng, 30))
        road_reset(&user->roads[node->number]);
    if (prng_one_in(prng, 150))
        operator_acts();
    if (prng_one_in(prng, 200))
        wish_late();
}

static void come_back(bool all)
{
    for (unsigned i = 0; i < LIFE_NODES; i++) {
        if (life.nodes[i].away && (all || life.nodes[i].back_ns < life.worlds.now_ns))
            node_away(&life.nodes[i], false);
    }
    for (unsigned i = 0; i < LIFE_USERS; i++) {
        if (life.users[i].back_ns != 0 && (all || life.users[i].back_ns < life.worlds.now_ns))
            user_back(&life.users[i]);
    }
}

/* --- A life ----------------------------------------------------------------------------------- */

static void run_until(uint64_t until_ns, bool faults)
{
    while (life.worlds.now_ns < until_ns && life.wrong[0] == '\0') {
        uint64_t next_ns = (life.worlds.now_ns / MOMENT_NS + 1) * MOMENT_NS;
        while (life.worlds.now_ns < next_ns && life.wrong[0] == '\0') {
            life_step(&life, next_ns);
            if (faults)
                cut_off_in_the_middle();
        }
        if (faults)
            moment();
        come_back(!faults);
    }
}

static void calm(void)
{
    char text[256] = "";
    uint64_t until_ns = life.worlds.now_ns + CALM_NS;
    life.calm = true;
    come_back(true);
    while (life.wrong[0] == '\0' && !life_is_well(&life, text)) {
        run_until(life.worlds.now_ns + NS_PER_S, false);
        if (life.worlds.now_ns > until_ns)
            (void)life_wrong(&life, "it does not become well: %s", text);
    }
    /* And it stays so. */
    run_until(life.worlds.now_ns + 20 * NS_PER_S, false);
    if (life.wrong[0] == '\0' && !life_is_well(&life, text))
        (void)life_wrong(&life, "it was well, and is not any more: %s", text);
}

static void seed_run(uint64_t seed, bool verbose)
{
    life_open(&life, seed);
    life.verbose = verbose;
    run_until(life.worlds.now_ns + (10 + prng_below(&life.prng, 40)) * NS_PER_S, true);
    calm();
}

static void note(uint64_t seed)
{
    uint64_t *sums = (uint64_t *)&results->counts;
    const uint64_t *values = (const uint64_t *)&life.counts;
    for (size_t i = 0; i < sizeof life.counts / sizeof *sums; i++)
        sums[i] += values[i];
    if (life.wrong[0] != '\0') {
        (void)snprintf(results->wrong, sizeof results->wrong, "seed %llu: %s",
                       (unsigned long long)seed, life.wrong);
        _exit(1);
    }
}

/* In a process of its own: what is left in memory goes with it. */
static bool child(const struct storm *storm, uint64_t first, uint64_t count)
{
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        mutant_active = storm->mutant;
        if (storm->mutant != 0 && !storm->verbose && freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        for (uint64_t seed = first; seed < first + count; seed++) {
            seed_run(seed, storm->verbose);
            note(seed);
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

static bool storm_seeds(const struct storm *storm)
{
    uint64_t end = storm->first + storm->count;
    for (uint64_t seed = storm->first; seed < end; seed += RUNS_PER_CHILD) {
        if (!child(storm, seed, MIN(RUNS_PER_CHILD, end - seed)))
            return false;
    }
    return true;
}

static void storm_print(const struct storm *storm)
{
    const struct life_counts *counts = &results->counts;
#define N(number) (unsigned long long)(number)
    printf("keeper: %llu seeds: %llu keepers, %llu copies added, %llu dropped, %llu times a store "
           "out; %llu opened (%llu from the keeper), %llu refused, %llu writes, %llu reads, %llu "
           "fenced; %llu processes died, %llu stood still, %llu cut off; %llu stores away, %llu "
           "drained\n",
           N(storm->count), N(counts->led), N(counts->adds), N(counts->drops), N(counts->outs),
           N(counts->opened), N(counts->taken), N(counts->refused), N(counts->writes),
           N(counts->reads), N(counts->fenced), N(counts->kills), N(counts->stands),
           N(counts->cuts), N(counts->aways), N(counts->drains));
#undef N
}

static int storm_mutant(int number, const char *sentence)
{
    struct storm storm = {.first = 1, .count = MUTANT_SEEDS, .mutant = number};
    results->wrong[0] = '\0';
    bool caught = !storm_seeds(&storm);
    printf("planted %d, %s: %s\n", number, sentence, caught ? results->wrong : "NOT CAUGHT");
    return caught ? 0 : 1;
}

static int storm_mutants(void)
{
    int missed = 0;
#define RUN(number, sentence) missed += storm_mutant(number, sentence);
    KEEPER_MUTANTS(RUN)
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
        (void)fprintf(
            stderr,
            "usage: storm_keeper [--seeds FIRST COUNT] [--mutant N] [--mutants] [--verbose]\n");
        return 2;
    }
    results =
        mmap(NULL, sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (results == MAP_FAILED)
        abort();
    if (storm.mutants)
        return storm_mutants() == 0 ? 0 : 1;
    bool right = storm_seeds(&storm);
    storm_print(&storm);
    if (!right)
        printf("FAILED: %s\n", results->wrong);
    return right ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of one group's copies: see replica_rig.h.
 *
 *   storm_replica --seeds 1 2000          from seed 1, so many
 *   storm_replica --seed 17               one, with all that happens
 *   storm_replica --mutants --seeds 1 N   every planted bug until it is caught, at most N seeds
 *   storm_replica --mutants --known       each by the seed or story that is known to catch it
 *   storm_replica --stories               what is told by hand
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/mutants.h"
#include "sim/replica_rig.h"

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

static void print_counts(void)
{
#define N(field) (unsigned long long)rig.counts.field
    printf("replica: %llu seeds, %llu events, %llu writes acknowledged, %llu reads checked, "
           "%llu flushes, %llu converged\n",
           N(seeds), N(events), N(acked), N(reads), N(flushes), N(converged));
    printf(
        "         %llu epochs, %llu generations, %llu kills, %llu power cuts, %llu moves, "
        "%llu wipes, %llu blocks EIO, %llu sessions ended by a loss, %llu blocks lost unflushed\n",
        N(epochs), N(generations), N(kills), N(power_cuts), N(moves), N(wipes), N(eio),
        N(lost_sessions), N(eras));
#undef N
}

static bool run_seeds(uint64_t first, uint64_t count)
{
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (run_seed(seed))
            continue;
        printf("seed %llu: at %llu: %s\n", (unsigned long long)seed, (unsigned long long)rig.now,
               rig.fault);
        return false;
    }
    return true;
}

int main(int count, char **arguments)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, '1'},
        {"mutant", required_argument, NULL, 'm'},
        {0},
    };
    uint64_t first = 1, seeds = 2000;
    for (int option; (option = getopt_long(count, arguments, "", options, NULL)) != -1;) {
        switch (option) {
        case 'n':
            first = strtoull(optarg, NULL, 10);
            if (optind < count)
                seeds = strtoull(arguments[optind++], NULL, 10);
            break;
        case '1':
            rig.verbose = true;
            first = strtoull(optarg, NULL, 10);
            seeds = 1;
            break;
        case 'm': mutant_active = (int)strtol(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    bool fine = run_seeds(first, seeds);
    print_counts();
    return fine ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of families in a cluster: volumes, snapshots, groups of them, clones, rollbacks,
 * flattenings, imports, asked for by several processes at once over one set of names. Processes die
 * at any moment, stand still, are cut off from the metadata in the middle of a transaction (it
 * happens, or not, or later); stores die, lose their power, go away and come back; watches find
 * that they are too late. Every change of the metadata is judged, and every block that is read;
 * after the calm names and records agree, stores know the records of what is open, and when all is
 * deleted nothing is left anywhere.
 *
 *     storm_clan [--seeds FIRST COUNT] [--mutant N] [--mutants] [--all] [--verbose]
 */
#include <stdio.h>

#include "sim/clan.h"
#include "sim/drawn.h"
#include "sim/meta_truth_inside.h"
#include "sim/mutants.h"

#define MOMENT_NS (20 * NS_PER_MS)

static struct clan clan;

/* --- What goes wrong -------------------------------------------------------------------------- */

static void node_away(struct clan_node *node, bool away)
{
    node->away = away;
    clan_say(&clan, "store %u is %s", node->number + 1, away ? "away" : "back");
    for (unsigned i = 0; i < CLAN_USERS; i++)
        road_cut(&clan.users[i].roads[node->number], away, away);
}

static void node_fault(struct clan_node *node)
{
    struct prng *prng = &clan.prng;
    bool shortly = prng_one_in(prng, 2);
    node->back_ns =
        clan.worlds.now_ns + prng_below(prng, shortly ? NS_PER_S / 2 : 8 * NS_PER_S) + NS_PER_MS;
    if (prng_one_in(prng, 3)) {
        clan.counts.aways++;
        node_away(node, true);
        return;
    }
    bool power = prng_one_in(prng, 2);
    clan_say(&clan, "store %u: %s", node->number + 1, power ? "its power goes" : "it dies");
    clan.counts.node_cuts += power ? 1 : 0;
    clan.counts.node_kills += power ? 0 : 1;
    clan_node_die(node, power);
}

static void node_back(struct clan_node *node)
{
    if (node->away)
        node_away(node, false);
    if (!node->runs)
        clan_node_start(node);
    node->back_ns = 0;
}

static void user_cut(struct clan_user *user)
{
    clan.counts.cuts++;
    clan_say(&clan, "user %u is cut off", user->number);
    user->cut = true;
    truth_reach(user->meta, false);
}

static void user_fault(struct clan_user *user)
{
    struct prng *prng = &clan.prng;
    user->back_ns = clan.worlds.now_ns + NS_PER_MS * (1 + prng_below(prng, 5000));
    switch (prng_below(prng, 3)) {
    case 0:
        clan.counts.kills++;
        clan_say(&clan, "user %u dies", user->number);
        clan_user_die(user);
        break;
    case 1:
        clan.counts.stands++;
        clan_say(&clan, "user %u stands still", user->number);
        user->stands = true;
        clan.worlds.stopped[user->machine] = true;
        break;
    default: user_cut(user); break;
    }
}

static void user_back(struct clan_user *user)
{
    clan_say(&clan, "user %u is back", user->number);
    if (user->stands)
        clan.worlds.stopped[user->machine] = false;
    if (user->cut)
        truth_reach(user->meta, true);
    if (user->dead)
        clan_user_start(user);
    user->stands = user->cut = false;
    user->back_ns = user->dead ? user->back_ns : 0;
}

/* What its watches have not been told yet is forgotten. */
static void watches_late(struct clan_user *user)
{
    struct truth_handle *handle = CONTAINER_OF(user->meta, struct truth_handle, meta);
    clan.counts.compacted++;
    meta_history_lose(&handle->history, clan.truth.revision);
}

/* An answer, or the question, is lost: its process has one on its way. */
static void answer_lost(void)
{
    struct clan_user *user = &clan.users[prng_below(&clan.prng, CLAN_USERS)];
    if (user->back_ns != 0 || !user->ready || meta_flying(user->meta) == 0)
        return;
    clan.counts.cuts++;
    truth_reach(user->meta, false);
    truth_reach(user->meta, true);
}

static void moment(void)
{
    struct prng *prng = &clan.prng;
    struct clan_node *node = &clan.nodes[prng_below(prng, CLAN_NODES)];
    struct clan_user *user = &clan.users[prng_below(prng, CLAN_USERS)];
    unsigned gone = 0;
    for (unsigned i = 0; i < CLAN_NODES; i++)
        gone += clan.nodes[i].ready && !clan.nodes[i].away ? 0 : 1;
    if (prng_one_in(prng, 80) && node->ready && !node->away && gone < 2)
        node_fault(node);
    if (prng_one_in(prng, 80) && user->back_ns == 0 && user->ready)
        user_fault(user);
    if (prng_one_in(prng, 100))
        road_reset(&user->roads[node->number]);
    if (prng_one_in(prng, 200) && user->ready)
        watches_late(user);
}

static void come_back(bool all)
{
    for (unsigned i = 0; i < CLAN_NODES; i++) {
        struct clan_node *node = &clan.nodes[i];
        if (node->back_ns != 0 && (all || node->back_ns < clan.worlds.now_ns))
            node_back(node);
    }
    for (unsigned i = 0; i < CLAN_USERS; i++) {
        struct clan_user *user = &clan.users[i];
        if (user->back_ns != 0 && (all || user->back_ns < clan.worlds.now_ns))
            user_back(user);
    }
}

/* --- A life ----------------------------------------------------------------------------------- */

static void run_until(uint64_t until_ns)
{
    while (clan.worlds.now_ns < until_ns && clan.wrong[0] == '\0') {
        uint64_t next_ns = (clan.worlds.now_ns / MOMENT_NS + 1) * MOMENT_NS;
        while (clan.worlds.now_ns < next_ns && clan.wrong[0] == '\0') {
            clan_step(&clan, next_ns);
            if (prng_one_in(&clan.prng, 4000))
                answer_lost();
        }
        moment();
        come_back(false);
    }
}

static void life(uint64_t seed, bool verbose)
{
    clan_open(&clan, seed);
    clan.verbose = verbose;
    run_until(clan.worlds.now_ns + (5 + prng_below(&clan.prng, 25)) * NS_PER_S);
    come_back(true);
    if (clan.wrong[0] == '\0')
        clan_judge(&clan);
}

static void print(uint64_t seeds, const uint64_t *sums)
{
    const struct clan_counts *counts = (const struct clan_counts *)sums;
#define N(number) (unsigned long long)(counts->number)
    printf("clan: %llu seeds: %llu asked, %llu done, %llu refused (%llu unknown); %llu used (%llu "
           "forced, %llu fenced): %llu writes, %llu reads, %llu of snapshots; %llu clones, %llu "
           "flattened, %llu rollbacks, %llu groups, %llu imports (%llu abandoned), %llu resized, "
           "%llu deleted\n",
           (unsigned long long)seeds, N(asked), N(done), N(refused), N(unknown), N(used), N(forced),
           N(fenced), N(writes), N(reads), N(views_read), N(clones), N(flattened), N(rollbacks),
           N(groups), N(imports), N(abandoned), N(resized), N(deleted));
    printf("      %llu processes died, %llu stood still, %llu cut off, %llu watches too late; %llu "
           "stores died, %llu lost their power, %llu were away; records on %llu stores compared\n",
           N(kills), N(stands), N(cuts), N(compacted), N(node_kills), N(node_cuts), N(aways),
           N(copies_compared));
#undef N
}

static const struct drawn_mutant mutants[] = {CLAN_MUTANTS(DRAWN_MUTANT)};

static const struct drawn drawn = {
    .name = "storm_clan",
    .seeds = 150,
    .mutant_seeds = 1000,
    .per_child = 5,
    .life = life,
    .wrong = clan.wrong,
    .counts = (const uint64_t *)&clan.counts,
    .count_count = sizeof clan.counts / sizeof(uint64_t),
    .print = print,
    .mutants = mutants,
    .mutant_count = COUNT_OF(mutants),
};

int main(int argc, char **argv)
{
    return drawn_main(&drawn, argc, argv);
}

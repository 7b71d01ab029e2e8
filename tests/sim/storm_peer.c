/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of the wire: engines and stores on a false net that delays, loses, stalls, cuts,
 * corrupts, repeats and resets; servers and ports that come and go. peer_rig.h says what must hold.
 *
 *   storm_peer [--seeds FIRST COUNT] [--mutants] [--mutant N] [--say]
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/mutants.h"
#include "sim/peer_rig.h"

#define REQUESTS 260u
#define MUTANT_SEEDS 400u

extern int mutant_active;
static struct rig_counts total;
static struct sim_net_counts net_total;
static struct rig rig;

/* --- What goes wrong ----------------------------------------------------------------------- */

static uint32_t chance(struct prng *prng, uint32_t on_one_in, uint32_t least, uint32_t most)
{
    return prng_one_in(prng, on_one_in) ? least + (uint32_t)prng_below(prng, most - least) : 0;
}

static void draw_faults(void)
{
    struct prng *prng = &rig.prng;
    struct sim_net_faults *faults = &rig.net->faults;
    faults->delay_ns_max = 10000 + prng_below(prng, prng_one_in(prng, 3) ? 20000000 : 200000);
    faults->bytes_per_s = prng_one_in(prng, 4) ? 1000000 + prng_below(prng, 50000000) : 0;
    faults->window_min = 1024;
    faults->window_max = 2048 + (uint32_t)prng_below(prng, prng_one_in(prng, 2) ? 4096 : 300000);
    faults->lost_one_in = chance(prng, 3, 10, 300);
    faults->slow_one_in = chance(prng, 3, 10, 300);
    faults->corrupt_one_in = chance(prng, 3, 20, 400);
    faults->reset_one_in = chance(prng, 3, 20, 400);
    faults->silent_one_in = chance(prng, 3, 50, 800);
    faults->repeat_one_in = chance(prng, 3, 3, 60);
    faults->refuse_one_in = chance(prng, 3, 2, 6);
    faults->give_up_ns = NS_PER_S + prng_below(prng, 10 * NS_PER_S);
    rig.corrupts = faults->corrupt_one_in != 0;
}

static struct sim_host *any_engine(void)
{
    return rig.engine_hosts[prng_below(&rig.prng, rig.engines)];
}

static struct rig_port *any_port(void)
{
    return &rig.ports[prng_below(&rig.prng, rig.engines * rig.stores)];
}

static void something_happens(void)
{
    struct prng *prng = &rig.prng;
    struct sim_host *engine = any_engine();
    struct rig_port *port = any_port();
    bool on = prng_one_in(prng, 2);
    switch (prng_below(prng, 12)) {
    case 0: sim_net_cut(rig.net, engine, rig.store_host, on); break;
    case 1: sim_net_cut(rig.net, rig.store_host, engine, on); break;
    case 2:
        sim_net_cut(rig.net, engine, rig.store_host, on);
        sim_net_cut(rig.net, rig.store_host, engine, on);
        break;
    case 3: sim_host_pause(engine, on); break;
    case 4: sim_host_pause(rig.store_host, on); break;
    case 5: sim_net_reset(rig.net, engine, rig.store_host); break;
    case 6: rig_port_close(port); break;
    case 7: rig_server_close(&rig); break;
    case 8:
        if (port->port != NULL && !port->closing)
            peer_port_retry(port->port);
        break;
    default: rig_cancel_one(&rig); break;
    }
}

/* Whoever was closed comes back. */
static void come_back(bool now)
{
    if (rig.server == NULL && (now || prng_one_in(&rig.prng, 50)))
        rig_server_open(&rig);
    for (uint32_t i = 0; i < rig.engines * rig.stores; i++)
        if (rig.ports[i].port == NULL && (now || prng_one_in(&rig.prng, 50)))
            rig_port_open(&rig, &rig.ports[i]);
}

/* --- A seed -------------------------------------------------------------------------------- */

static void chaos(void)
{
    uint64_t asked = 0;
    uint32_t quiet = (uint32_t)prng_below(&rig.prng, 4) * 100;
    draw_faults();
    while (asked < REQUESTS) {
        if (prng_one_in(&rig.prng, 4)) {
            asked++;
            rig_ask(&rig);
        }
        if (prng_one_in(&rig.prng, 20))
            rig_cancel_one(&rig);
        if (prng_one_in(&rig.prng, 60 + quiet))
            something_happens();
        come_back(false);
        for (uint64_t i = prng_below(&rig.prng, 12); i > 0; i--)
            (void)world_step(&rig.world);
    }
}

/* Faults end; then everything must be well within a time. */
static void calm(void)
{
    sim_net_calm(rig.net);
    uint64_t end_ns = rig.world.now_ns + 30 * NS_PER_S;
    while (!rig_is_idle(&rig) || !rig_is_up(&rig) || rig.server_closing) {
        come_back(true);
        REQUIRE(world_step(&rig.world));
        REQUIRE(rig.world.now_ns < end_ns);
    }
    rig.corrupts = false;
    for (uint32_t i = 0; i < rig.engines * rig.stores; i++)
        rig_read_all(&rig, &rig.ports[i]);
}

static void add(uint64_t *sum, const uint64_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sum[i] += from[i];
}

static uint64_t run(uint64_t seed)
{
    rig_open(&rig, seed);
    chaos();
    calm();
    net_total.held += rig.net->counts.held;
    add((uint64_t *)&net_total, (uint64_t *)&rig.net->counts, sizeof net_total / 8 - 1);
    rig_close(&rig);
    add((uint64_t *)&total, (uint64_t *)&rig.counts, sizeof total / 8);
    return rig.world.trace;
}

static void run_seeds(uint64_t first, uint64_t count, volatile uint64_t *at)
{
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (at != NULL)
            *at = seed;
        uint64_t trace = run(seed);
        /* The laws that make it possible: the same seed is the same storm. */
        if (seed % 50 == 0)
            REQUIRE(run(seed) == trace);
    }
}

/* --- Planted bugs -------------------------------------------------------------------------- */

/* The seed that caught it; 0: none did. */
static uint64_t caught_at(int number)
{
    volatile uint64_t *at =
        mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(at != MAP_FAILED);
    (void)fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        mutant_active = number;
        /* What it says is what was to be expected. */
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(0);
        struct rlimit most = {.rlim_cur = 120, .rlim_max = 120};
        (void)setrlimit(RLIMIT_CPU, &most);
        run_seeds(1, MUTANT_SEEDS, at);
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    uint64_t seed = *at;
    (void)munmap((void *)(uintptr_t)at, sizeof *at);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0 ? seed : 0;
}

static const struct {
    int number;
    const char *what;
} mutants[] = {
#define MUTANT_ROW(number, what) {number, what},
    PEER_MUTANTS(MUTANT_ROW)
#undef MUTANT_ROW
};

static int hunt(void)
{
    int missed = 0;
    for (unsigned i = 0; i < COUNT_OF(mutants); i++) {
        uint64_t seed = caught_at(mutants[i].number);
        printf("%-8s %d (%llu seeds): %s\n", seed != 0 ? "caught" : "MISSED", mutants[i].number,
               (unsigned long long)seed, mutants[i].what);
        missed += seed == 0;
    }
    return missed;
}

/* A storm in which something never happened proves nothing of it. */
static int tell(void)
{
    const struct {
        const char *what;
        uint64_t count;
    } rows[] = {
        {"requests ended", total.done},
        {"with their answer", total.right},
        {"of those failed", total.failed},
        {"by a reset", total.reset},
        {"canceled", total.canceled},
        {"damaged on the way in", total.corrupt},
        {"reads looked at", total.reads},
        {"connections that agreed", total.ups},
        {"and broke", total.breaks},
        {"frames of nobody", total.strays},
        {"frames that made no sense", total.damaged},
        {"connections replaced", total.replaced},
        {"and ended as stalled", total.stalled},
        {"times without memory", total.hungry},
        {"pieces", net_total.pieces},
        {"lost", net_total.lost},
        {"corrupted", net_total.corrupted},
        {"resets", net_total.resets},
        {"streams gone silent", net_total.silenced},
        {"sends repeated", net_total.repeated},
        {"connects refused", net_total.refused},
        {"senders that gave up", net_total.given_up},
        {"pieces held", net_total.held},
    };
    int never = 0;
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        printf("%12llu %s\n", (unsigned long long)rows[i].count, rows[i].what);
        never += rows[i].count == 0;
    }
    return never;
}

int main(int count, char **arguments)
{
    uint64_t first = 1, seeds = 300;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--seeds") == 0 && i + 2 < count) {
            first = strtoull(arguments[++i], NULL, 10);
            seeds = strtoull(arguments[++i], NULL, 10);
        } else if (strcmp(arguments[i], "--mutant") == 0 && i + 1 < count) {
            mutant_active = (int)strtol(arguments[++i], NULL, 10);
        } else if (strcmp(arguments[i], "--mutants") == 0) {
            return hunt() == 0 ? 0 : 1;
        } else {
            (void)fprintf(stderr, "usage: storm_peer [--seeds FIRST COUNT] [--mutant N] "
                                  "[--mutants]\n");
            return 2;
        }
    }
    run_seeds(first, seeds, NULL);
    int never = tell();
    return seeds >= 300 && never > 0 ? 1 : 0;
}

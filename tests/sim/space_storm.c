/* SPDX-License-Identifier: Apache-2.0 */
/* Thousands of drawn steps against the model: nothing is given out twice or too early, every number
 * is exact after each step, and what is reopened is the checkpoint without what it deferred.
 *
 *     space_storm [SEEDS [FIRST]]
 */
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/mutants.h"
#include "sim/plot.h"

static void step_take(struct plot *plot)
{
    if (plot->taken_count >= 32 || plot->linked_count > PLOT_EXTENTS - 600)
        return;
    enum space_purpose purpose = prng_one_in(&plot->prng, 3) ? SPACE_OVERWRITE : SPACE_NEW;
    enum device_class class = (enum device_class)prng_below(&plot->prng, DEVICE_CLASSES);
    uint32_t most = prng_one_in(&plot->prng, 4) ? 256 : 16;
    int result = plot_take(plot, class, purpose, 1 + (uint32_t)prng_below(&plot->prng, most));
    REQUIRE_SAYING(result == 0 || result == -EAGAIN || result == -ENOSPC, "take: %d", result);
}

static void step_free(struct plot *plot)
{
    if (plot->linked_count == 0)
        return;
    unsigned index = (unsigned)prng_below(&plot->prng, plot->linked_count);
    uint32_t blocks = plot->linked[index].blocks;
    if (prng_one_in(&plot->prng, 3))
        blocks = 1 + (uint32_t)prng_below(&plot->prng, blocks);
    blocks = MIN(blocks, plot->options.quarantine_max);
    int result = plot_free(plot, index, blocks);
    REQUIRE(result == 0 || result == -EAGAIN);
}

static void step_crash(struct plot *plot)
{
    uint64_t batch = plot->durable + prng_below(&plot->prng, plot->batch - plot->durable + 1);
    plot_crash(plot, prng_one_in(&plot->prng, 2), batch);
    plot_check(plot);
    if (prng_one_in(&plot->prng, 2))
        plot_check_blocks(plot);
}

static void step(struct plot *plot)
{
    struct prng *prng = &plot->prng;
    uint64_t draw = prng_below(prng, 100);
    if (draw < 30) {
        step_take(plot);
    } else if (draw < 50) {
        if (plot->taken_count > 0)
            plot_link(plot, (unsigned)prng_below(prng, plot->taken_count));
    } else if (draw < 52) {
        if (plot->taken_count > 0)
            plot_give_back(plot, (unsigned)prng_below(prng, plot->taken_count));
    } else if (draw < 68) {
        step_free(plot);
    } else if (draw < 70) {
        if (plot->page_count > 2 && plot->checkpoint == PLOT_IDLE)
            plot_free_page(plot, (unsigned)prng_below(prng, plot->page_count));
    } else if (draw < 73) {
        if (plot->read_count < PLOT_READS)
            plot_read_enter(plot);
    } else if (draw < 77) {
        if (plot->read_count > 0)
            plot_read_leave(plot, (unsigned)prng_below(prng, plot->read_count));
    } else if (draw < 80) {
        plot->batch++;
    } else if (draw < 82 || plot->want_flush) {
        plot_durable(plot);
    } else if (draw < 97) {
        (void)plot_turn(plot);
    }
    if (plot->checkpoint == PLOT_IDLE &&
        (plot->want_checkpoint || page_wants_checkpoint(plot->cache) || prng_one_in(prng, 150)))
        plot_checkpoint_begin(plot);
    else if (prng_one_in(prng, 2))
        plot_checkpoint_step(plot, !prng_one_in(prng, 8));
    if (prng_one_in(prng, 700))
        step_crash(plot);
}

static void run(const struct plot_options *options, unsigned steps)
{
    struct plot *plot = plot_open(options);
    for (unsigned i = 0; i < steps; i++) {
        step(plot);
        plot_check(plot);
    }
    while (plot->read_count > 0)
        plot_read_leave(plot, 0);
    plot_check_all(plot);
    plot_close(plot);
}

static void one_tiny_device(uint64_t seed)
{
    struct plot_options options = {
        .devices = 1,
        .device[0] = {.blocks = 768 + seed % 7 * 100, .class = DEVICE_NVME, .prepares = seed % 2},
        .reserve_blocks = 128,
        .quarantine_max = 300,
        .frames = 64,
        .fixed_blocks = 20,
        .discard = seed % 3 == 0,
        .no_want_checkpoint = seed % 5 == 4,
        .seed = seed,
    };
    run(&options, 5000);
}

static void tiny_devices_of_three_classes(uint64_t seed)
{
    struct plot_options options = {
        .devices = 4,
        .device =
            {
                {.blocks = 1000, .class = DEVICE_SSD, .prepares = true},
                {.base = 2 * REGION_BLOCKS, .blocks = 800, .class = DEVICE_HDD},
                {.base = 3 * REGION_BLOCKS, .blocks = 2000, .class = DEVICE_NVME, .prepares = true},
                {.base = 4 * REGION_BLOCKS,
                 .blocks = 700,
                 .class = DEVICE_HDD,
                 .prepares = seed % 2},
            },
        .reserve_blocks = 200,
        .quarantine_max = 500,
        .frames = 64,
        .fixed_blocks = 7,
        .discard = seed % 2,
        .seed = seed,
    };
    run(&options, 5000);
}

static void many_regions(uint64_t seed)
{
    struct plot_options options = {
        .devices = 2,
        .device =
            {
                {.blocks = 12 * REGION_BLOCKS + 77, .class = DEVICE_NVME, .prepares = true},
                {.base = 300 * REGION_BLOCKS, .blocks = 3 * REGION_BLOCKS - 5, .class = DEVICE_SSD},
            },
        .reserve_blocks = 1000,
        .quarantine_max = 3000,
        .frames = 96,
        .fixed_blocks = 1000,
        .discard = true,
        .seed = seed,
    };
    run(&options, 3000);
}

/* What the deferred list frees is used again by the records behind it: recovery has both. */
static void used_again_and_crashed(uint64_t seed)
{
    struct plot_options options = {
        .devices = 1,
        .device[0] = {.blocks = 1500, .class = DEVICE_NVME, .prepares = seed % 2},
        .reserve_blocks = 100,
        .quarantine_max = 1100,
        .frames = 64,
        .fixed_blocks = 10,
        .discard = true,
        .seed = seed,
    };
    struct plot *plot = plot_open(&options);
    plot_fill(plot, SPACE_NEW, 1000);
    plot_durable(plot);
    while (plot->linked_count > 0)
        REQUIRE(plot_free(plot, 0, plot->linked[0].blocks) == 0);
    plot_checkpoint_run(plot);
    plot_durable(plot);
    plot_settle(plot);
    for (unsigned i = 0; i < 30; i++)
        plot_fill(plot, SPACE_NEW, 30);
    plot_durable(plot);
    plot_crash(plot, seed % 3 == 0, plot->durable);
    plot_check(plot);
    plot_settle(plot);
    plot_crash(plot, false, plot->durable);
    plot_check_all(plot);
    plot_close(plot);
}

static void everything(uint64_t first, unsigned seeds)
{
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        used_again_and_crashed(300 + seed);
        one_tiny_device(seed);
        tiny_devices_of_three_classes(100 + seed);
        if (seed % 4 == 1)
            many_regions(200 + seed);
    }
}

/* --- Planted bugs, and branches that must have been reached ----------------------------------- */

static bool mutant_is_caught(int number)
{
    (void)fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        mutant_active = number;
        /* What it says is what was to be expected. */
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(0);
        /* Of a processor: how busy the machine is must not decide. */
        struct rlimit most = {.rlim_cur = 60, .rlim_max = 60};
        (void)setrlimit(RLIMIT_CPU, &most);
        everything(1, 8);
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static const struct {
    int number;
    const char *what;
} mutants[] = {
#define MUTANT_ROW(number, what) {number, what},
    SPACE_MUTANTS(MUTANT_ROW)
#undef MUTANT_ROW
};

/* Those that need damage, a full file system or a long queue are reached by the unit tests. */
static const char *const branches[] = {
    "space_checkpoint_not_durable",    "space_discard_too_late",
    "space_pages_unprepared",          "space_quarantine_full",
    "space_take_waits_for_checkpoint", "space_take_waits_for_quarantine",
};

static void branch_seen(void *context, const char *name, uint64_t count)
{
    bool *seen = context;
    for (unsigned i = 0; i < COUNT_OF(branches); i++)
        seen[i] = seen[i] || (count > 0 && strcmp(name, branches[i]) == 0);
}

int main(int count, char **arguments)
{
    unsigned seeds = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 12;
    uint64_t first = count > 2 ? strtoull(arguments[2], NULL, 10) : 1;
    everything(first, seeds);
    if (first != 1)
        return 0; /* More seeds, and nothing but them. */
    bool seen[COUNT_OF(branches)] = {false};
    reach_each(branch_seen, seen);
    int missed = 0;
    for (unsigned i = 0; i < COUNT_OF(branches); i++) {
        printf("%-8s %s\n", seen[i] ? "reached" : "NEVER", branches[i]);
        missed += !seen[i];
    }
    for (unsigned i = 0; i < COUNT_OF(mutants); i++) {
        bool caught = mutant_is_caught(mutants[i].number);
        printf("%-8s %d: %s\n", caught ? "caught" : "MISSED", mutants[i].number, mutants[i].what);
        missed += !caught;
    }
    return missed == 0 ? 0 : 1;
}

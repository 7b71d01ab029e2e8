/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of one store: the shipped objects, a false world, power cuts and worse, from a seed.
 *
 *   storm_store [--seeds FIRST COUNT] [--mutant N | --mutants] [--jobs N] [--reach FILE]
 *               [--views] [--verbose]
 *
 * Seeds run in child processes, a few dozen each: a crash of the store forgets its memory, as a
 * real one does. Exit status 0: nothing was false (with --mutant: the planted bug was caught).
 * --views: every seed has snapshots, clones and rollbacks, not one in three.
 * --reach FILE: one name of a branch per line; one that no seed reached is a failure.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/mutants.h"
#include "sim/store_inside.h"
#include "sim/store_rig.h"
#include "sim/store_views.h"

#define SEEDS_PER_CHILD 20u
#define REACH_MAX 256u

struct reach_row {
    char name[64];
    uint64_t count;
};

/* Shared with the children. */
struct results {
    struct rig_counts counts[8];
    struct reach_row reach[8][REACH_MAX];
    uint64_t failed_seed;
    char failed[600];
    volatile int failures;
};

struct storm {
    uint64_t first, count;
    int mutant;
    unsigned jobs;
    const char *reach_file;
    bool verbose;
    bool views;
    bool mutants; /* All that the table names. */
    struct results *results;
};

/* --- One seed ------------------------------------------------------------------------------- */

/* Errors are legal then, wrong data never is. What the media lose is lost: then any version may be
 * back. Otherwise every promise holds, and once the disks work again so does the store. */
static void seed_faults(struct rig *rig)
{
    rig->faulty = true;
    rig->media = prng_one_in(&rig->prng, 2);
    for (unsigned i = 0; i < rig->disk_count; i++) {
        struct sim_faults *faults = &rig->disks[i]->faults;
        switch (prng_below(&rig->prng, rig->media ? 8 : 6)) {
        case 0: faults->read_error_one_in = prng_one_in(&rig->prng, 2) ? 50 : 8; break;
        case 1: faults->write_error_at = 100 + prng_below(&rig->prng, 2000); break;
        case 2: faults->flush_error_at = 3 + prng_below(&rig->prng, 60); break;
        case 3: faults->short_at = 100 + prng_below(&rig->prng, 3000); break;
        case 4: faults->full_one_in = 60; break;
        case 5: faults->slow_one_in = 20; break;
        case 6: faults->lost_one_in = 200; break;
        default: faults->misdirect_one_in = 300; break;
        }
    }
}

static void seed_rot(struct rig *rig)
{
    for (uint64_t flips = prng_below(&rig->prng, 12); flips > 0; flips--) {
        struct sim_disk *disk = rig->disks[prng_below(&rig->prng, rig->disk_count)];
        uint64_t block = 64 + prng_below(&rig->prng, disk->disk.size_bytes / BLOCK_BYTES - 64);
        (void)sim_disk_rot(disk, block * BLOCK_BYTES, BLOCK_BYTES);
    }
}

/* Where the first slot leads that leads anywhere; 0: it is no page of pointers. */
static uint64_t page_shows(const uint8_t bytes[BLOCK_BYTES])
{
    uint64_t place = 0;
    for (unsigned i = 0; i < POINTERS_PER_PAGE; i++) {
        struct pointer pointer;
        if (pointer_get(bytes + i * POINTER_BYTES, &pointer) != 0)
            return 0;
        if (place == 0 && pointer.kind == POINTER_RAW)
            place = pointer.place;
    }
    return place;
}

/* A map page, or what was one; not a directory, which ends the seed. */
static bool is_map(const struct sim_disk *disk, uint64_t block)
{
    uint8_t bytes[BLOCK_BYTES];
    sim_disk_peek(disk, block * BLOCK_BYTES, BLOCK_BYTES, bytes);
    uint64_t place = page_shows(bytes);
    if (place == 0 || place >= disk->disk.size_bytes / BLOCK_BYTES)
        return false;
    sim_disk_peek(disk, place * BLOCK_BYTES, BLOCK_BYTES, bytes);
    return page_shows(bytes) == 0;
}

/* The next map page behind a drawn block, a few times. */
static void seed_rot_maps(struct rig *rig)
{
    struct sim_disk *disk = rig->disks[0];
    uint64_t blocks = disk->disk.size_bytes / BLOCK_BYTES;
    for (uint64_t pages = 1 + prng_below(&rig->prng, 8); pages > 0; pages--) {
        uint64_t block = 64 + prng_below(&rig->prng, blocks - 64);
        while (block < blocks && !is_map(disk, block))
            block++;
        if (block < blocks)
            (void)sim_disk_rot(disk, block * BLOCK_BYTES, BLOCK_BYTES);
    }
}

/* After a crash: prove what is there, open it, compare. Power may go again meanwhile. */
static bool seed_recover(struct rig *rig, bool power_cut)
{
    if (rig->media && prng_one_in(&rig->prng, 2))
        seed_rot(rig);
    if (rig->media && prng_one_in(&rig->prng, 2))
        seed_rot_maps(rig);
    /* With less memory than what crashed: then recovery has to write checkpoints on its way. */
    if (prng_one_in(&rig->prng, 4))
        rig->options.cache_bytes = 96ull * BLOCK_BYTES;
    for (unsigned tries = 0;; tries++) {
        if (!rig->faulty && prng_one_in(&rig->prng, 4) && !rig_check(rig))
            return false;
        if (tries < 3 && prng_one_in(&rig->prng, 4))
            world_cut_after(&rig->world, 1 + prng_below(&rig->prng, 150));
        bool open = rig_start(rig);
        bool settled = open && rig_settle(rig, power_cut);
        if (settled)
            world_cut_after(&rig->world, 0);
        if (settled || rig->wrong[0] != '\0' || rig->gave_up)
            return settled;
        power_cut = true;
        rig_crash(rig, true);
    }
}

static bool seed_round(struct rig *rig)
{
    if (!prng_one_in(&rig->prng, 5))
        world_cut_after(&rig->world, 1 + prng_below(&rig->prng, 1500));
    rig_run(rig, 20 + prng_below(&rig->prng, 300));
    if (rig->wrong[0] != '\0')
        return false;
    if (rig->world.off) {
        rig_crash(rig, true);
        return seed_recover(rig, true);
    }
    world_cut_after(&rig->world, 0);
    if (prng_one_in(&rig->prng, 2)) {
        rig_crash(rig, false);
        return seed_recover(rig, false);
    }
    return true;
}

/* An older image than the pool has seen is refused. */
static bool seed_old_image(struct rig *rig)
{
    uint64_t incarnation = rig->incarnation;
    rig->incarnation += 5;
    bool open = rig_start(rig);
    bool refused = !open && strstr(rig->wrong, "an old image was put back") != NULL;
    rig->incarnation = incarnation;
    if (!refused)
        return rig_wrong(rig, "an old image was taken");
    rig->wrong[0] = '\0';
    return true;
}

/* Some of it rots while nobody asks, and some cannot be read at the first try: scrub finds that,
 * and nothing else changes. Closed on its way it goes on at the next open. */
static bool seed_scrub(struct rig *rig)
{
    rig->faulty = rig->media = true;
    rig->options.scrub_bytes_per_s = 0;
    for (unsigned i = 0; i < 4; i++)
        seed_rot(rig);
    rig->disks[0]->faults.read_error_one_in = prng_one_in(&rig->prng, 2) ? 10 : 0;
    bool whole = false;
    for (unsigned opens = 0; !whole; opens++) {
        if (!rig_start(rig))
            return rig->gave_up;
        (void)store_scrub_start(rig->store, (opens < 2 ? 1ull : 256ull) << 20);
        uint64_t most = opens < 2 ? prng_below(&rig->prng, 400) : 20000;
        for (uint64_t turns = 0; !whole && turns < most; turns++) {
            if (opens == 0)
                seed_rot(rig); /* Of pages that are in memory, too. */
            if (!rig_turn(rig))
                return false;
            struct store_stats stats;
            store_stats(rig->store, &stats);
            whole = stats.scrub_passes > 0 || store_state(rig->store) == STORE_FAILED;
        }
        if (opens == 2 && !whole)
            return rig_wrong(rig, "a scrub does not end");
        if (!rig_stop(rig))
            return false;
    }
    return true;
}

/* Ends well: drained, closed, proved, opened once more and read. */
static bool seed_end(struct rig *rig)
{
    if (!rig_drain(rig) || !rig_stop(rig) || !rig_check(rig))
        return false;
    if (prng_one_in(&rig->prng, 8) && !seed_old_image(rig))
        return false;
    if (!rig_start(rig) || !rig_settle(rig, false))
        return false;
    if (rig->views != NULL && (!rig_views_settle(rig, true) || !rig_views_end(rig)))
        return false;
    if (rig->views == NULL && !rig_stop(rig))
        return false;
    return prng_one_in(&rig->prng, 4) ? seed_scrub(rig) : true;
}

/* Disks that refused work again: what was promised is there, and the store is as good as any. */
static bool seed_heal(struct rig *rig)
{
    world_cut_after(&rig->world, 0);
    for (unsigned i = 0; i < rig->disk_count; i++)
        rig->disks[i]->faults = (struct sim_faults){.read_error_one_in = 0};
    rig_crash(rig, true);
    rig->faulty = rig->gave_up = false;
    return seed_recover(rig, true) && seed_end(rig);
}

static void seed_run(struct rig *rig, bool views)
{
    static const struct {
        bool (*run)(struct rig *rig);
        bool views;
    } shapes[] = {
        {shape_retired, false}, {shape_quarantine, false}, {shape_full, false},
        {shape_held, true},     {shape_late, true},        {shape_unread, false},
        {shape_rotten, false},
    };
    uint64_t shape = prng_below(&rig->prng, 28);
    /* Of a stream of its own: other seeds are what they were before there were snapshots. */
    struct prng chance = {.state = rig->world.seed ^ 0x9e6c63d0876a9a47u};
    bool shaped = shape < COUNT_OF(shapes);
    if (shaped ? shapes[shape].views : views || prng_one_in(&chance, 3))
        rig_views_open(rig);
    if (!(shaped ? shapes[shape].run(rig) : rig_format(rig) && rig_start(rig)))
        return;
    if (!rig->faulty && prng_one_in(&rig->prng, 6))
        seed_faults(rig);
    /* Slowness is no fault: it leaves records unapplied while much goes on behind them. */
    for (unsigned i = 0; !rig->faulty && prng_one_in(&rig->prng, 2) && i < rig->disk_count; i++)
        rig->disks[i]->faults.slow_one_in = 6;
    if (prng_one_in(&rig->prng, 4))
        rig->world.jump_one_in = 20 + (uint32_t)prng_below(&rig->prng, 400);
    unsigned rounds = 1 + (unsigned)prng_below(&rig->prng, 4);
    bool good = true;
    for (unsigned i = 0; i < rounds && good; i++)
        good = seed_round(rig);
    if (rig->wrong[0] != '\0')
        return;
    if (rig->faulty && !rig->media)
        (void)seed_heal(rig);
    else if (!rig->faulty && good)
        (void)seed_end(rig);
}

/* --- Children ------------------------------------------------------------------------------- */

static void counts_add(struct rig_counts *to, const struct rig_counts *from)
{
    uint64_t *sums = (uint64_t *)to;
    const uint64_t *values = (const uint64_t *)from;
    for (size_t i = 0; i < sizeof *to / sizeof(uint64_t); i++)
        sums[i] += values[i];
}

static void reach_add(void *context, const char *name, uint64_t count)
{
    struct reach_row *rows = context;
    for (unsigned i = 0; i < REACH_MAX; i++) {
        if (rows[i].name[0] == '\0')
            (void)snprintf(rows[i].name, sizeof rows[i].name, "%s", name);
        if (strcmp(rows[i].name, name) == 0) {
            rows[i].count += count;
            return;
        }
    }
}

static void child_run(struct storm *storm, unsigned job, uint64_t first, uint64_t count)
{
    static struct rig rig;
    mutant_active = storm->mutant;
    for (uint64_t seed = first; seed < first + count; seed++) {
        storm->results->failed_seed = seed;
        rig_open(&rig, seed);
        rig.verbose = storm->verbose;
        seed_run(&rig, storm->views);
        counts_add(&storm->results->counts[job], &rig.counts);
        if (rig.wrong[0] != '\0') {
            (void)snprintf(storm->results->failed, sizeof storm->results->failed, "seed %llu: %s",
                           (unsigned long long)seed, rig.wrong);
            _exit(1);
        }
        rig_close(&rig);
    }
    reach_each(reach_add, storm->results->reach[job]);
    _exit(0);
}

/* Runs all seeds. True if something was false. */
static bool storm_run(struct storm *storm)
{
    pid_t children[8] = {0};
    uint64_t next = storm->first;
    uint64_t end = storm->first + storm->count;
    bool failed = false;
    unsigned running = 0;
    while ((next < end && !failed) || running > 0) {
        for (unsigned job = 0; job < storm->jobs && next < end && !failed; job++) {
            if (children[job] != 0)
                continue;
            uint64_t count = MIN(SEEDS_PER_CHILD, end - next);
            (void)fflush(stdout);
            children[job] = fork();
            if (children[job] == 0)
                child_run(storm, job, next, count);
            next += count;
            running++;
        }
        int status = 0;
        pid_t ended = wait(&status);
        for (unsigned job = 0; job < storm->jobs; job++) {
            if (children[job] == ended)
                children[job] = 0;
        }
        running--;
        if (WIFSIGNALED(status) && !failed)
            (void)snprintf(storm->results->failed, sizeof storm->results->failed,
                           "about seed %llu: died of signal %d",
                           (unsigned long long)storm->results->failed_seed, WTERMSIG(status));
        failed = failed || status != 0;
    }
    return failed;
}

/* --- Telling -------------------------------------------------------------------------------- */

static struct reach_row *storm_reach_sum(struct storm *storm)
{
    static struct reach_row rows[REACH_MAX];
    for (unsigned job = 0; job < storm->jobs; job++) {
        for (unsigned i = 0; i < REACH_MAX && storm->results->reach[job][i].name[0] != '\0'; i++)
            reach_add(rows, storm->results->reach[job][i].name,
                      storm->results->reach[job][i].count);
    }
    return rows;
}

/* How many names of the file no seed reached. */
static unsigned storm_unreached(struct storm *storm)
{
    FILE *file = fopen(storm->reach_file, "r");
    if (file == NULL) {
        perror(storm->reach_file);
        return 1;
    }
    const struct reach_row *rows = storm_reach_sum(storm);
    unsigned missing = 0;
    char name[64];
    while (fscanf(file, "%63s", name) == 1) {
        uint64_t count = 0;
        for (unsigned i = 0; i < REACH_MAX && rows[i].name[0] != '\0'; i++)
            count = strcmp(rows[i].name, name) == 0 ? rows[i].count : count;
        printf("  branch %-36s %llu\n", name, (unsigned long long)count);
        missing += count == 0 ? 1 : 0;
    }
    (void)fclose(file);
    if (missing > 0)
        printf("%u branches were never reached\n", missing);
    return missing;
}

static void storm_print(const struct storm *storm)
{
    struct rig_counts sum = {0};
    for (unsigned job = 0; job < storm->jobs; job++)
        counts_add(&sum, &storm->results->counts[job]);
    printf(
        "%llu seeds: %llu requests, %llu cuts, %llu kills, %llu clean closes, %llu reads checked, "
        "%llu blocks settled, %llu full, %llu errors, %llu deletions\n",
        (unsigned long long)storm->count, (unsigned long long)sum.requests,
        (unsigned long long)sum.cuts, (unsigned long long)sum.kills,
        (unsigned long long)sum.clean_closes, (unsigned long long)sum.reads_checked,
        (unsigned long long)sum.settled, (unsigned long long)sum.no_space,
        (unsigned long long)sum.errors, (unsigned long long)sum.deletions);
    printf("views: %llu snapshots taken, %llu deleted, %llu clones, %llu rolled back, %llu "
           "flattened, %llu times counted, %llu times compared\n",
           (unsigned long long)sum.snaps_taken, (unsigned long long)sum.snaps_deleted,
           (unsigned long long)sum.clones, (unsigned long long)sum.rollbacks,
           (unsigned long long)sum.flattened, (unsigned long long)sum.counted,
           (unsigned long long)sum.compared);
}

static int storm_parse(struct storm *storm, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            storm->verbose = true;
        } else if (strcmp(argv[i], "--views") == 0) {
            storm->views = true;
        } else if (strcmp(argv[i], "--mutants") == 0) {
            storm->mutants = true;
        } else if (i + 1 >= argc) {
            return -EINVAL;
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 2 < argc) {
            storm->first = strtoull(argv[++i], NULL, 10);
            storm->count = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--mutant") == 0) {
            storm->mutant = (int)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--jobs") == 0) {
            storm->jobs = (unsigned)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--reach") == 0) {
            storm->reach_file = argv[++i];
        } else {
            return -EINVAL;
        }
    }
    return storm->jobs >= 1 && storm->jobs <= 8 ? 0 : -EINVAL;
}

struct planted {
    int number;
    bool views; /* Every seed has some. */
    const char *what;
};

static bool storm_planted(struct storm *storm, const struct planted *planted)
{
    storm->mutant = planted->number;
    storm->views = planted->views;
    storm->results->failed[0] = '\0';
    bool caught = storm_run(storm);
    printf("planted %d, %s: %s%s\n", planted->number, planted->what,
           caught ? "caught, " : "NOT CAUGHT", storm->results->failed);
    (void)fflush(stdout);
    return caught;
}

/* Every planted bug of the tables in turn. How many were not caught. */
static unsigned storm_mutants(struct storm *storm)
{
    static const struct planted table[] = {
#define STORE_ROW(number, what) {number, false, what},
#define VIEW_ROW(number, what) {number, true, what},
        STORE_MUTANTS(STORE_ROW) VIEW_MUTANTS(VIEW_ROW) VOLUME_MUTANTS(VIEW_ROW)
#undef STORE_ROW
#undef VIEW_ROW
    };
    unsigned missed = 0;
    /* What a planted bug says while it dies is not news. */
    if (freopen("/dev/null", "w", stderr) == NULL)
        return 1;
    for (size_t i = 0; i < COUNT_OF(table); i++)
        missed += storm_planted(storm, &table[i]) ? 0 : 1;
    return missed;
}

int main(int argc, char **argv)
{
    struct storm storm = {.first = 1, .count = 500, .jobs = 2};
    if (storm_parse(&storm, argc, argv) != 0) {
        (void)fprintf(stderr,
                      "usage: %s [--seeds FIRST COUNT] [--mutant N] [--jobs N] "
                      "[--reach FILE] [--views] [--verbose]\n",
                      argv[0]);
        return 2;
    }
    storm.results = mmap(NULL, sizeof *storm.results, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (storm.results == MAP_FAILED)
        return 2;
    if (storm.mutants)
        return storm_mutants(&storm) == 0 ? 0 : 1;
    bool failed = storm_run(&storm);
    if (storm.mutant != 0) {
        printf("mutant %d: %s%s\n", storm.mutant, failed ? "caught, " : "NOT CAUGHT",
               storm.results->failed);
        return failed ? 0 : 1;
    }
    storm_print(&storm);
    if (failed)
        printf("FAILED: %s\n", storm.results->failed);
    if (!failed && storm.reach_file != NULL && storm_unreached(&storm) > 0)
        failed = true;
    return failed ? 1 : 0;
}

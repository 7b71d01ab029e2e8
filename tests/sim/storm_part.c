/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One coordinator's model and three stores' parts: writes, cuts, takeovers with older writes under
 * way, processes and machines that die, copies that come back and are resynced view by view. What
 * is acknowledged stays; what a part says that it has it has; in the end all copies show the same
 * in every view, and each is whole.
 *
 *   storm_part [--seeds FIRST COUNT] [--mutants COUNT] [--mutant NUMBER]
 *
 * Each seed is a process: a crash forgets its memory.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codec/codec.h"
#include "sim/mutants.h"
#include "sim/part_storm.h"

/* --- Coming back ---------------------------------------------------------------------------- */

static bool is_there(const struct part_version *version, const struct truth *truth)
{
    return version->sequence == truth->sequence && version->kind == truth->kind;
}

/* It has all that it says it has. */
static void expect_honest(struct copy *copy, const struct part_state *state)
{
    static struct part_version map[BLOCKS];
    uint64_t trusts = state->watermark;
    for (uint32_t v = 0; v <= c.cut_count; v++) {
        const struct truth *truth = v < c.cut_count ? c.views[v] : c.head;
        if (!map_of(copy, v < c.cut_count ? c.cuts[v] : VIEW_HEAD, map))
            return;
        for (uint32_t b = 0; b < BLOCKS; b++) {
            bool ahead = map[b].sequence > trusts || map[b].kind == POINTER_SET_ASIDE;
            REQUIRE(truth[b].sequence > trusts || ahead || is_there(&map[b], &truth[b]),
                    "copy %d trusts %llu, but block %u of view %u is %llu, not %llu",
                    (int)(copy - copies), (unsigned long long)trusts, b, v,
                    (unsigned long long)map[b].sequence, (unsigned long long)truth[b].sequence);
        }
    }
}

static bool calm; /* Nothing goes wrong any more. */

static void foreground(void)
{
    if (calm)
        return;
    if (prng_one_in(&dice, 3))
        write_one();
    else if (prng_one_in(&dice, 30))
        cut_take();
    else if (prng_one_in(&dice, 40))
        draw_down();
    storm_doing = "resync";
}

/* One view: false: it broke off. */
static bool resync_view(struct copy *copy, uint64_t view, uint64_t since, uint32_t told)
{
    static struct part_version there[BLOCKS], here[BLOCKS];
    struct copy *from = source_of();
    if (!map_of(from, view, there) || !map_of(copy, view, here))
        return false;
    for (uint32_t b = 0; b < BLOCKS; b++) {
        bool lacks = there[b].sequence > since || here[b].kind == POINTER_SET_ASIDE;
        bool same = here[b].kind == there[b].kind && here[b].sequence == there[b].sequence;
        if (!lacks || same)
            continue;
        foreground();
        if (from->role != COPY_IN_SYNC)
            from = source_of();
        uint32_t most = MIN(HALF - b % HALF, 1 + (uint32_t)prng_below(&dice, 4));
        if (copy->role != COPY_CATCHING_UP || !carry(from, copy, view, b, most))
            return false;
        if (prng_one_in(&dice, 12) && c.generation == told)
            role_tell(copy, PART_CATCHING_UP); /* The same, once more. */
    }
    return true;
}

/* Views, then the head; and views that were cut meanwhile, for what they show may have left the
 * head before it was the head's turn. */
static bool catch_up(struct copy *copy, uint64_t watermark)
{
    uint64_t previous = watermark;
    uint32_t told = c.generation;
    bool head = false;
    for (uint32_t v = 0; v < c.cut_count || !head;) {
        bool whole = false;
        if (v < c.cut_count) {
            whole = resync_view(copy, c.cuts[v], MAX(watermark, previous), told);
            previous = c.cuts[v++];
        } else {
            whole = head = resync_view(copy, VIEW_HEAD, MAX(watermark, previous), told);
        }
        if (!whole)
            return false;
    }
    return copy->role == COPY_CATCHING_UP;
}

/* What was sent before it was told to catch up, and comes late, is refused. */
static void expect_conflict(struct copy *copy)
{
    struct ask *ask = ask_get();
    struct part_request *request = &ask->request;
    request->kind = PART_ZERO;
    request->block = block_of((uint32_t)prng_below(&dice, BLOCKS));
    request->count = 1;
    request->sequence = c.sequence;
    request->views = c.views_ever;
    ask_send(ask, copy, c.epoch, c.generation - 1);
    int result = ask_wait(ask);
    REQUIRE(result == IOMESH_CONFLICT || result == -ECONNRESET, "an old member writes: %s",
            base_error_text(result));
    ask_put(ask);
}

static void rejoin(struct copy *copy)
{
    struct part_state state;
    storm_doing = "rejoin";
    if (!copy->up)
        copy_up(copy);
    state = state_of(copy);
    REQUIRE(!copy->up || state.epoch >= c.fenced[copy - copies], "a fence is forgotten");
    if (!fence_tell(copy, &state))
        return;
    REQUIRE(!state.restarted || state.watermark == state.flushed, "another boot");
    uint64_t floor = c.floor[copy - copies];
    if (floor != 0)
        state.watermark = MIN(state.watermark, floor);
    expect_honest(copy, &state);
    if (!copy->up)
        return;
    c.generation++;
    copy->role = COPY_CATCHING_UP;
    role_tell(copy, PART_CATCHING_UP);
    expect_conflict(copy);
    if (copy->role == COPY_CATCHING_UP)
        views_tell(copy);
    if (copy->role != COPY_CATCHING_UP || !catch_up(copy, state.watermark)) {
        counts.broken_off++;
        return;
    }
    storm_doing = "in sync again";
    c.generation++;
    role_tell(copy, PART_IN_SYNC);
    if (copy->role == COPY_CATCHING_UP)
        copy->role = COPY_IN_SYNC;
    if (copy->role != COPY_IN_SYNC)
        return;
    c.floor[copy - copies] = 0;
    counts.rejoins++;
}

/* --- Damage --------------------------------------------------------------------------------- */

/* What a block was written as is damaged wherever it lies. */
static void rot(struct copy *copy, uint64_t block, uint64_t sequence)
{
    uint8_t wanted[BLOCK_BYTES], bytes[BLOCK_BYTES];
    block_fill(wanted, block, sequence);
    for (uint64_t place = 0; place < COPY_DISK_BLOCKS; place++) {
        sim_disk_peek(copy->disk, place * BLOCK_BYTES, BLOCK_BYTES, bytes);
        if (memcmp(bytes, wanted, BLOCK_BYTES) == 0)
            (void)sim_disk_rot(copy->disk, place * BLOCK_BYTES, BLOCK_BYTES);
    }
}

static struct ask *read_ask(struct copy *copy, uint32_t index)
{
    struct ask *ask = ask_get();
    struct part_request *request = &ask->request;
    request->kind = PART_READ;
    request->view = VIEW_HEAD;
    request->block = block_of(index);
    request->count = 1;
    request->data = ask->data;
    request->crcs = ask->crcs;
    request->versions = ask->versions;
    request->result = say(ask, copy);
    return ask;
}

static int repair_ask(struct copy *copy, uint32_t index, uint64_t sequence)
{
    struct ask *ask = ask_get();
    struct part_request *request = &ask->request;
    request->kind = PART_REPAIR;
    request->view = VIEW_HEAD;
    request->block = block_of(index);
    request->count = 1;
    request->data = ask->data;
    request->versions = ask->versions;
    request->cuts = c.cuts;
    request->cut_count = c.cut_count;
    block_fill(ask->data, block_of(index), sequence);
    ask->versions[0] = (struct part_version){
        .kind = POINTER_RAW, .sequence = sequence, .crc = crc32c(ask->data, BLOCK_BYTES)};
    int result = say(ask, copy);
    ask_put(ask);
    return result;
}

static void rot_and_repair(void)
{
    uint32_t index = (uint32_t)prng_below(&dice, BLOCKS);
    struct copy *copy = source_of();
    const struct truth *truth = &c.head[index];
    storm_doing = "repair";
    if (truth->kind != POINTER_RAW || truth->sequence < 2 || copy->goes_down_after != 0 ||
        !copy->up)
        return;
    damage_expected = true;
    rot(copy, block_of(index), truth->sequence);
    struct ask *ask = read_ask(copy, index);
    REQUIRE(ask->request.result == IOMESH_CORRUPT && (ask->request.bad[0] & 1) != 0,
            "damage is read as data: %d", ask->request.result);
    ask_put(ask);
    REQUIRE(repair_ask(copy, index, truth->sequence - 1) == 0, "repair");
    ask = read_ask(copy, index);
    REQUIRE(ask->request.result == IOMESH_CORRUPT, "an older version repaired a newer one");
    ask_put(ask);
    REQUIRE(repair_ask(copy, index, truth->sequence) == 0, "repair");
    ask = read_ask(copy, index);
    REQUIRE(ask->request.result == 0, "a repaired block: %d", ask->request.result);
    ask_put(ask);
    damage_expected = false;
    flush_all(); /* Or a power cut brings the damage back. */
    counts.repaired++;
}

/* --- The story ------------------------------------------------------------------------------ */

/* Everybody's power goes: what was flushed is left. */
static void power_goes(void)
{
    storm_doing = "power";
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].role == COPY_CATCHING_UP)
            copies[i].role = COPY_STALE;
        if (copies[i].role == COPY_IN_SYNC && copies[i].up)
            copy_down(&copies[i], true);
        else if (copies[i].role == COPY_IN_SYNC)
            copies[i].role = COPY_STALE;
        if (copies[i].role == COPY_STALE && (c.floor[i] == 0 || c.floor[i] > c.durable))
            c.floor[i] = MAX(c.durable, 1);
    }
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].role == COPY_IN_SYNC)
            copy_up(&copies[i]);
    }
    c.generation++;
    take_over(c.durable);
}

static void rejoin_one(void)
{
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].role == COPY_STALE) {
            rejoin(&copies[i]);
            return;
        }
    }
}

static void begin(void)
{
    struct part_state state;
    c.epoch = 1;
    c.generation = 1;
    for (unsigned i = 0; i < COPIES; i++) {
        REQUIRE(fence_tell(&copies[i], &state), "fence");
        copies[i].role = COPY_IN_SYNC;
        role_tell(&copies[i], PART_IN_SYNC);
    }
}

static void one_thing(void)
{
    uint64_t what = prng_below(&dice, 100);
    if (what < 52)
        write_one();
    else if (what < 58)
        cut_take();
    else if (what < 62)
        cut_drop();
    else if (what < 67)
        flush_all();
    else if (what < 77)
        draw_down();
    else if (what < 84)
        coordinator_dies();
    else if (what < 93)
        rejoin_one();
    else if (what < 95)
        rot_and_repair();
    else if (what < 97)
        power_goes();
    else
        copies_turn();
}

static void expect_block(struct copy *copy, uint64_t view, uint32_t index,
                         const struct truth *truth)
{
    uint8_t wanted[BLOCK_BYTES] = {0};
    struct ask *ask = ask_get();
    struct part_request *request = &ask->request;
    request->kind = PART_READ;
    request->view = view;
    request->block = block_of(index);
    request->count = 1;
    request->data = ask->data;
    request->crcs = ask->crcs;
    request->versions = ask->versions;
    int result = say(ask, copy);
    if (truth->kind == POINTER_RAW)
        block_fill(wanted, block_of(index), truth->sequence);
    REQUIRE(result == 0 && memcmp(ask->data, wanted, BLOCK_BYTES) == 0 &&
                ask->versions[0].sequence == truth->sequence,
            "copy %d, view %llu, block %u: %llu (%d), not %llu", (int)(copy - copies),
            (unsigned long long)view, index, (unsigned long long)ask->versions[0].sequence, result,
            (unsigned long long)truth->sequence);
    ask_put(ask);
}

static void the_end(void)
{
    for (unsigned i = 0; i < COPIES; i++)
        copies[i].goes_down_after = 0;
    take_over(UINT64_MAX);
    calm = true;
    for (unsigned i = 0; i < 4; i++)
        rejoin_one();
    storm_doing = "the end";
    for (unsigned i = 0; i < COPIES; i++) {
        struct copy *copy = &copies[i];
        REQUIRE(copy->role == COPY_IN_SYNC, "copy %u is not in sync", i);
        REQUIRE(state_of(copy).aside == 0, "set aside");
        for (uint32_t v = 0; v <= c.cut_count; v++) {
            for (uint32_t b = 0; b < BLOCKS; b++)
                expect_block(copy, v < c.cut_count ? c.cuts[v] : VIEW_HEAD, b,
                             v < c.cut_count ? &c.views[v][b] : &c.head[b]);
        }
        REQUIRE(copy_check(copy) == 0, "copy %u has faults", i);
    }
}

static void story(uint64_t seed)
{
    copies_open(seed);
    begin();
    for (uint64_t things = 40 + prng_below(&dice, 120); things > 0; things--)
        one_thing();
    the_end();
}

/* --- Seeds ---------------------------------------------------------------------------------- */

/* 0: it went well. Its counts are added. */
static int seed_run(uint64_t seed, bool quiet)
{
    int ends[2];
    struct part_counts more;
    if (pipe(ends) != 0)
        return -1;
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (quiet && freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        (void)alarm(60);
        memset(&counts, 0, sizeof counts);
        story(seed);
        _exit(write(ends[1], &counts, sizeof counts) == sizeof counts ? 0 : 2);
    }
    int status = -1;
    close(ends[1]);
    bool told = read(ends[0], &more, sizeof more) == sizeof more;
    close(ends[0]);
    (void)waitpid(child, &status, 0);
#define PART_ADD(name) counts.name += more.name;
    if (told) {
        PART_COUNTS(PART_ADD)
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int seeds_run(uint64_t first, uint64_t count)
{
    int failed = 0;
    for (uint64_t seed = first; seed < first + count && failed < 5; seed++) {
        int result = seed_run(seed, false);
        if (result != 0)
            printf("seed %llu: failed (%d)\n", (unsigned long long)seed, result);
        failed += result != 0;
    }
    printf("%llu seeds:", (unsigned long long)count);
#define PART_SHOW(name) printf(" " #name " %llu", (unsigned long long)counts.name);
    PART_COUNTS(PART_SHOW)
    printf("\n");
    return failed;
}

static int mutant_run(int number, const char *what, uint64_t most)
{
    mutant_active = number;
    for (uint64_t seed = 1; seed <= most; seed++) {
        if (seed_run(seed, true) != 0) {
            printf("caught %d after %llu seeds: %s\n", number, (unsigned long long)seed, what);
            return 0;
        }
    }
    printf("MISSED %d in %llu seeds: %s\n", number, (unsigned long long)most, what);
    return 1;
}

static int mutants_run(uint64_t most)
{
    int missed = 0;
#define MUTANT_RUN(number, what) missed += mutant_run(number, what, most);
    PART_MUTANTS(MUTANT_RUN)
    mutant_active = 0;
    return missed;
}

int main(int count, char **arguments)
{
    uint64_t first = 1, seeds = 300;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--seeds") == 0 && i + 2 < count) {
            first = strtoull(arguments[i + 1], NULL, 10);
            seeds = strtoull(arguments[i + 2], NULL, 10);
            i += 2;
        } else if (strcmp(arguments[i], "--mutants") == 0 && i + 1 < count) {
            return mutants_run(strtoull(arguments[i + 1], NULL, 10)) == 0 ? 0 : 1;
        } else if (strcmp(arguments[i], "--mutant") == 0 && i + 1 < count) {
            mutant_active = (int)strtol(arguments[++i], NULL, 10);
        } else {
            (void)fprintf(stderr, "usage: storm_part [--seeds FIRST COUNT] [--mutants COUNT] "
                                  "[--mutant NUMBER]\n");
            return 2;
        }
    }
    return seeds_run(first, seeds) == 0 ? 0 : 1;
}

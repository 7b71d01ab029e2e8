/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What copies cost: three stores in processes of their own, against one copy and against none.
 *
 *   bench-copies numbers SECONDS DIRECTORY [unix|tcp [KINDS [CERTIFICATES]]]
 *   bench-copies pauses | resync DIRECTORY [small]
 *
 * KINDS: 0 embedded, 1 one copy in this process, 2 one in another, 3 three in others; all: 0123.
 * numbers: a line for each work: requests a second, microseconds, processor time for one, of who
 * asks and of all the stores. pauses, resync: fail if it takes longer than is promised.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "far.h"

#define MIB (1ull << 20)

static const char *const kinds[] = {"embedded", "1 local", "1 far", "3 far"};

static void fill(uint64_t span)
{
    struct far_load load = {.kind = VOLUME_WRITE,
                            .depth = 4,
                            .bytes = MIB,
                            .span = span,
                            .in_order = true,
                            .count_max = span / MIB};
    far_load_start(&load);
    far_load_stop(&load);
}

/* --- Numbers ------------------------------------------------------------------------------ */

struct task {
    const char *name;
    enum volume_io_kind kind;
    uint32_t depth;
};

static void measure(const struct far_options *options, const struct task *work, double seconds)
{
    struct far_load load = {.kind = work->kind,
                            .depth = work->depth,
                            .bytes = BLOCK_BYTES,
                            .span = options->volume_bytes};
    far_load_start(&load);
    far_run(300 * NS_PER_MS);
    uint64_t count = load.ended, begin_ns = far_now_ns(), mine = far_cpu_ns(0);
    uint64_t theirs = far_cpu_ns(1), slept = far_sleeps(0), they_slept = far_sleeps(1);
    far_run((uint64_t)(seconds * 1e9));
    double n = (double)(load.ended - count);
    double ns = (double)(far_now_ns() - begin_ns);
    double asks = (double)(far_cpu_ns(0) - mine) / n / 1e3;
    double serve = (double)(far_cpu_ns(1) - theirs) / n / 1e3;
    double sleeps = (double)(far_sleeps(0) - slept) / n;
    double their_sleeps = (double)(far_sleeps(1) - they_slept) / n;
    far_load_stop(&load);
    printf("%-8s %-9s QD%-2u %8.0f/s %7.1f us %6.2f us CPU (asks %.2f, stores %.2f), slept %.2f + "
           "%.2f%s\n",
           kinds[options->kind], work->name, work->depth, n * 1e9 / ns, ns * work->depth / n / 1e3,
           asks + serve, asks, serve, sleeps, their_sleeps, load.failed ? " FAILED" : "");
    (void)fflush(stdout);
}

static void numbers(const struct far_options *base, double seconds, const char *which)
{
    static const struct task works[] = {{"randwrite", VOLUME_WRITE, 1},
                                        {"randwrite", VOLUME_WRITE, 32},
                                        {"randread", VOLUME_READ, 1},
                                        {"randread", VOLUME_READ, 32}};
    for (; *which != '\0'; which++) {
        if (*which < '0' || *which > '3')
            continue;
        struct far_options options = *base;
        options.kind = (enum far_kind)(*which - '0');
        (void)fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            far_begin(&options);
            fill(options.volume_bytes);
            for (unsigned i = 0; i < COUNT_OF(works); i++)
                measure(&options, &works[i], seconds);
            far_end();
            exit(0);
        }
        (void)waitpid(child, NULL, 0);
    }
}

/* --- Pauses ------------------------------------------------------------------------------- */

static bool in_sync(void)
{
    struct copies_look look;
    return copies_look(far_copies, 0, &look) && replica_in_sync(look.replica) == 7;
}

static void until_in_sync(void)
{
    uint64_t end_ns = far_now_ns() + 60 * NS_PER_S;
    while (!in_sync()) {
        far_turn();
        if (far_now_ns() > end_ns)
            far_must(-ETIMEDOUT, "a copy does not come back");
    }
}

static bool told(const char *what, double seconds, double limit)
{
    printf("%-40s %6.3f s (at most %.1f)%s\n", what, seconds, limit,
           seconds < limit ? "" : "  TOO LONG");
    (void)fflush(stdout);
    return seconds < limit;
}

static bool paused(const char *what, bool stop, double limit)
{
    struct far_load load = {
        .kind = VOLUME_WRITE, .depth = 4, .bytes = BLOCK_BYTES, .span = 64 * MIB};
    far_load_start(&load);
    far_run(500 * NS_PER_MS);
    load.longest_ns = 0;
    if (stop)
        far_stop(1, true);
    else
        far_kill(1);
    far_run(5 * NS_PER_S);
    double longest = (double)load.longest_ns / 1e9;
    if (stop)
        far_stop(1, false);
    else
        far_start(1);
    load.longest_ns = 0;
    until_in_sync();
    far_run(100 * NS_PER_MS);
    double back = (double)load.longest_ns / 1e9;
    far_load_stop(&load);
    if (load.failed > 0)
        far_must(-EIO, what);
    bool well = told(what, longest, limit);
    return told("  while it comes back", back, 1) && well;
}

/*
 * A busy machine makes pauses longer and never shorter: what took too long is done again. What we
 * ourselves take too long for, we take too long for each time.
 */
static bool pause_of(const char *what, bool stop, double limit)
{
    for (unsigned tries = 0; tries < 3; tries++)
        if (paused(what, stop, limit))
            return true;
    return false;
}

static bool pauses(const struct far_options *options)
{
    far_begin(options);
    fill(64 * MIB);
    bool well = pause_of("a store is killed: longest pause", false, 0.5);
    well = pause_of("a store stands still: longest pause", true, 3) && well;
    far_end();
    return well;
}

/* --- Catching up -------------------------------------------------------------------------- */

static bool resync_of(const char *what, uint64_t bytes, uint64_t span, uint64_t changed)
{
    far_run(1500 * NS_PER_MS); /* What was written is flushed, and the copies were told so. */
    far_kill(2);
    far_run(400 * NS_PER_MS);
    struct far_load load = {.kind = VOLUME_WRITE,
                            .depth = bytes == MIB ? 4 : 32,
                            .bytes = bytes,
                            .span = span,
                            .in_order = bytes == MIB,
                            .count_max = changed / bytes};
    far_load_start(&load);
    far_load_stop(&load);
    struct copies_look look;
    uint64_t copied = 0, begin_ns = far_now_ns(), up_ns = 0, connected_ns = 0;
    uint64_t cpu = far_cpu_ns(0) + far_cpu_ns(1);
    far_start(2);
    while (!in_sync()) {
        far_turn();
        far_must(copies_look(far_copies, 0, &look) ? 0 : -ENOENT, "look");
        copied = MAX(copied, look.resync_copied_bytes);
        if (connected_ns == 0 && look.replica->copies[2].connected)
            connected_ns = far_now_ns();
        if (up_ns == 0 && look.replica->copies[2].catches != REPLICA_NOT_CATCHING)
            up_ns = far_now_ns();
        if (far_now_ns() - begin_ns > 60 * NS_PER_S)
            far_must(-ETIMEDOUT, what);
    }
    double seconds = (double)(far_now_ns() - up_ns) / 1e9;
    double part = (double)copied / (double)changed;
    printf("%llu MiB, %s: connected in %.2f s, asked in %.2f s, copied %.0f MiB, %.2f of what was "
           "written, "
           "%.2f s of CPU\n",
           (unsigned long long)(changed / MIB), what, (double)(connected_ns - begin_ns) / 1e9,
           (double)(up_ns - begin_ns) / 1e9, (double)copied / (double)MIB, part,
           (double)(far_cpu_ns(0) + far_cpu_ns(1) - cpu) / 1e9);
    return told("  until it is in sync", seconds, 2) && part < 1.1;
}

/* While a copy catches up the volume is used: how long operations take, and how long it does. */
static bool resync_beside(void)
{
    struct far_load before = {
        .kind = VOLUME_WRITE, .depth = 1, .bytes = BLOCK_BYTES, .span = 64 * MIB};
    struct far_load during = before;
    far_load_start(&before);
    far_run(NS_PER_S);
    far_load_stop(&before);
    far_run(1500 * NS_PER_MS);
    far_kill(2);
    far_run(400 * NS_PER_MS);
    fill(volume_bytes(far_volume) / 2);
    far_start(2);
    struct copies_look look;
    uint64_t begin_ns = 0, count = 0;
    far_load_start(&during);
    while (!in_sync()) {
        far_turn();
        far_must(copies_look(far_copies, 0, &look) ? 0 : -ENOENT, "look");
        if (begin_ns == 0 && look.replica->copies[2].catches == REPLICA_COPYING) {
            begin_ns = far_now_ns();
            count = during.ended;
            during.longest_ns = 0;
        }
    }
    double seconds = (double)(far_now_ns() - begin_ns) / 1e9;
    double rate = (double)(during.ended - count) / seconds;
    printf("%llu MiB beside writes of 4 KiB, QD1: %.2f s; %.0f writes a second (%llu before), "
           "the longest %.1f ms\n",
           (unsigned long long)(volume_bytes(far_volume) / 2 / MIB), seconds, rate,
           (unsigned long long)before.ended, (double)during.longest_ns / 1e6);
    double longest = (double)during.longest_ns / 1e9;
    far_load_stop(&during);
    return told("  longest write", longest, 0.5);
}

static bool resync(const struct far_options *options)
{
    far_begin(options);
    uint64_t span = options->volume_bytes;
    fill(span);
    bool well = resync_of("1 MiB each", MIB, span / 4, span / 4);
    well = resync_of("4 KiB each, scattered", BLOCK_BYTES, span, span / 4) && well;
    well = resync_beside() && well;
    far_end();
    return well;
}

int main(int count, char **arguments)
{
    struct far_options options = {
        .kind = FAR_THREE, .store_bytes = 4096 * MIB, .volume_bytes = 1024 * MIB};
    bool speed = count > 3 && strcmp(arguments[1], "numbers") == 0;
    if (count < 3) {
        (void)fprintf(
            stderr,
            "usage: bench-copies numbers SECONDS DIRECTORY [unix|tcp [KINDS [CERTIFICATES]]]\n"
            "       bench-copies pauses|resync DIRECTORY [small]\n");
        return 2;
    }
    options.directory = arguments[speed ? 3 : 2];
    options.tcp = count > 4 && strcmp(arguments[4], "tcp") == 0;
    options.certificates = count > 6 ? arguments[6] : NULL;
    if (speed) {
        options.volume_bytes = 256 * MIB;
        numbers(&options, strtod(arguments[2], NULL), count > 5 ? arguments[5] : "0123");
        return 0;
    }
    if (count > 3 && strcmp(arguments[3], "small") == 0) {
        options.store_bytes = 1536 * MIB;
        options.volume_bytes = 256 * MIB;
    }
    bool well = strcmp(arguments[1], "resync") == 0 ? resync(&options) : pauses(&options);
    return well ? 0 : 1;
}

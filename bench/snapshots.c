/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-snapshots: what snapshots cost, through the public API. Makes a pool, measures, prints one
 * JSON object.
 *
 *   bench-snapshots --pool URL --what pause  [--size BYTES] [--snapshots N]
 *       writes at QD32 for N + 1 half seconds, a snapshot between each two
 *   bench-snapshots --pool URL --what writes [--size BYTES] [--seconds S] [--rounds N]
 *       writes at QD32 before and after a snapshot
 *   bench-snapshots --pool URL --what reads  [--size BYTES] [--seconds S] [--rounds N]
 *                   [--snapshots N]
 *       reads at QD32 of two volumes alike, one of which has N snapshots
 *   bench-snapshots --pool URL --what large  [--size BYTES] [--written BYTES] [--snapshots N]
 *                   [--blocks N]
 *       creating, cloning and comparing, on a large volume
 *   bench-snapshots --pool URL --what delete [--size BYTES] [--snapshots N] [--blocks N]
 *       the middle one of many, each with blocks of its own
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshots.h"

static const struct measurement {
    const char *name;
    void (*measure)(struct bench *bench, const struct snapshot_options *options);
    struct snapshot_options usual;
} measurements[] = {
    {"pause", bench_pause, {.size = 4ull << 30, .snapshots = 20}},
    {"writes", bench_writes, {.size = 4ull << 30, .seconds = 2, .rounds = 5}},
    {"reads", bench_reads, {.size = 4ull << 30, .seconds = 2, .rounds = 5, .snapshots = 1000}},
    {"large",
     bench_large,
     {.size = 1ull << 40, .written = 16ull << 30, .snapshots = 100, .blocks = 1000}},
    {"delete", bench_delete, {.size = 1ull << 30, .snapshots = 100, .blocks = 10000}},
};

static const struct measurement *find(const char *name)
{
    for (size_t index = 0; index < sizeof measurements / sizeof *measurements; index++)
        if (name != NULL && strcmp(measurements[index].name, name) == 0)
            return &measurements[index];
    return NULL;
}

static uint64_t either(uint64_t given, uint64_t usual)
{
    return given != 0 ? given : usual;
}

int main(int count, char **arguments)
{
    static const struct option known[] = {{"pool", required_argument, NULL, 'p'},
                                          {"what", required_argument, NULL, 'w'},
                                          {"size", required_argument, NULL, 's'},
                                          {"written", required_argument, NULL, 'g'},
                                          {"seconds", required_argument, NULL, 't'},
                                          {"rounds", required_argument, NULL, 'r'},
                                          {"snapshots", required_argument, NULL, 'n'},
                                          {"blocks", required_argument, NULL, 'b'},
                                          {NULL, 0, NULL, 0}};
    struct bench bench = {0};
    struct snapshot_options given = {0};
    const struct measurement *measurement = NULL;
    int word;
    while ((word = getopt_long(count, arguments, "", known, NULL)) != -1) {
        switch (word) {
        case 'p': bench.url = optarg; break;
        case 'w': measurement = find(optarg); break;
        case 's': given.size = strtoull(optarg, NULL, 10); break;
        case 'g': given.written = strtoull(optarg, NULL, 10); break;
        case 't': given.seconds = strtod(optarg, NULL); break;
        case 'r': given.rounds = strtoull(optarg, NULL, 10); break;
        case 'n': given.snapshots = strtoull(optarg, NULL, 10); break;
        case 'b': given.blocks = strtoull(optarg, NULL, 10); break;
        default: exit(2);
        }
    }
    if (bench.url == NULL || measurement == NULL) {
        fprintf(stderr, "usage: bench-snapshots --pool URL --what "
                        "pause|writes|reads|large|delete\n");
        exit(2);
    }
    const struct snapshot_options *usual = &measurement->usual;
    const struct snapshot_options options = {
        .size = either(given.size, usual->size),
        .written = either(given.written, usual->written),
        .seconds = given.seconds > 0 ? given.seconds : usual->seconds,
        .rounds = either(given.rounds, usual->rounds),
        .snapshots = either(given.snapshots, usual->snapshots),
        .blocks = either(given.blocks, usual->blocks),
    };
    printf("{\"what\": \"%s\", \"size\": %llu", measurement->name,
           (unsigned long long)options.size);
    measurement->measure(&bench, &options);
    printf("}\n");
    bench_close(&bench);
    return iomesh_engine_close(bench.engine) == 0 ? 0 : 1;
}

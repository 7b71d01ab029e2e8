/* SPDX-License-Identifier: Apache-2.0 */
/* What a volume in use feels of its snapshots. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshots.h"

enum { DEPTH = 32, BLOCK = 4096 };

void print_list(const char *name, const double *values, uint64_t count)
{
    printf(", \"%s\": [", name);
    for (uint64_t index = 0; index < count; index++)
        printf("%s%.3f", index == 0 ? "" : ", ", values[index]);
    printf("]");
}

void print_number(const char *name, double value)
{
    printf(", \"%s\": %.3f", name, value);
}

const char *snapshot_name(const char *volume, uint64_t number)
{
    static char name[64];
    snprintf(name, sizeof name, "%s@%llu", volume, (unsigned long long)number);
    return name;
}

double snapshot_take(struct bench *bench, const char *name)
{
    const uint64_t start_ns = now_ns();
    must(name, iomesh_snapshot_create_sync(bench->pool, name));
    return (double)(now_ns() - start_ns) / 1e6;
}

static void count_deleting(void *context, const struct iomesh_snapshot_info *info)
{
    if ((info->flags & IOMESH_SNAPSHOT_DELETING) != 0)
        ++*(int *)context;
}

double snapshot_drop(struct bench *bench, const char *name, double *ret_gone_ms)
{
    const uint64_t start_ns = now_ns();
    must(name, iomesh_snapshot_delete_sync(bench->pool, name));
    const double ended_ms = (double)(now_ns() - start_ns) / 1e6;
    char volume[64];
    snprintf(volume, sizeof volume, "%.*s", (int)strcspn(name, "@"), name);
    for (int deleting = 1; deleting > 0;) {
        bench_wait(bench, 1000000);
        deleting = 0;
        must(volume, iomesh_snapshot_list_sync(bench->pool, volume, IOMESH_SNAPSHOT_ALL,
                                               count_deleting, &deleting));
    }
    *ret_gone_ms = (double)(now_ns() - start_ns) / 1e6;
    return ended_ms;
}

/* --- The longest pause --------------------------------------------------------------------- */

struct moment {
    uint64_t asked_ns, done_ns;
};

static void taken(void *context, int result)
{
    must("snapshot", result);
    ((struct moment *)context)->done_ns = now_ns();
}

static int by_latency(const void *one, const void *other)
{
    const uint64_t a = ((const struct load_sample *)one)->latency_ns;
    const uint64_t b = ((const struct load_sample *)other)->latency_ns;
    return (a > b) - (a < b);
}

/* The longest of the requests that a moment fell into, or that ended just after it, in ms. */
static double longest_around(const struct load *load, const struct moment *moment)
{
    enum { AFTER_NS = 20000000 };
    uint64_t longest = 0;
    for (uint64_t index = 0; index < load->ended && index < load->sample_max; index++) {
        const struct load_sample *sample = &load->samples[index];
        if (sample->end_ns >= moment->asked_ns &&
            sample->end_ns - sample->latency_ns <= moment->done_ns + AFTER_NS &&
            sample->latency_ns > longest)
            longest = sample->latency_ns;
    }
    return (double)longest / 1e6;
}

static void report_pauses(struct load *load, const struct moment *moments, uint64_t count)
{
    double *around = calloc(count, sizeof *around);
    double *took = calloc(count, sizeof *took);
    for (uint64_t index = 0; index < count; index++) {
        around[index] = longest_around(load, &moments[index]);
        took[index] = (double)(moments[index].done_ns - moments[index].asked_ns) / 1e6;
    }
    print_list("around_ms", around, count);
    print_list("took_ms", took, count);
    free(around);
    free(took);
    const uint64_t kept = load->ended < load->sample_max ? load->ended : load->sample_max;
    qsort(load->samples, kept, sizeof *load->samples, by_latency);
    const uint64_t places[] = {kept / 2, kept - 1 - kept / 1000, kept - 1};
    static const char *const names[] = {"p50_ms", "p999_ms", "longest_ms"};
    for (size_t index = 0; index < 3; index++)
        print_number(names[index], (double)load->samples[places[index]].latency_ns / 1e6);
    print_number("iops", (double)load->ended * 1e9 / (double)load->took_ns);
}

void bench_pause(struct bench *bench, const struct snapshot_options *options)
{
    enum { APART_NS = 500000000, SAMPLES_PER_S = 400000 };
    bench_init(bench, options->size * 3 + (4ull << 30));
    bench_create(bench, "v", options->size);
    load_fill(bench, "v");
    struct moment *moments = calloc(options->snapshots, sizeof *moments);
    struct load load = {.bench = bench, .block = BLOCK, .depth = DEPTH, .seed = 7};
    load.volume = bench_volume(bench, "v");
    load.bytes = options->size;
    load.sample_max = (options->snapshots + 1) * SAMPLES_PER_S / 2;
    load.samples = calloc(load.sample_max, sizeof *load.samples);
    const uint64_t start_ns = now_ns();
    load.end_ns = start_ns + (options->snapshots + 1) * APART_NS;
    load_start(&load);
    for (uint64_t begun = 0; !load_is_over(&load);) {
        must("the ring", iomesh_wait(bench->engine, APART_NS));
        const uint64_t now = now_ns();
        if (begun == options->snapshots || now < start_ns + (begun + 1) * APART_NS)
            continue;
        /* Each goes before the next comes: what is overwritten must not fill the disk. */
        if (begun > 0 && moments[begun - 1].done_ns == 0)
            continue;
        moments[begun].asked_ns = now;
        must("snapshot", iomesh_snapshot_create(bench->pool, snapshot_name("v", begun), taken,
                                                &moments[begun]));
        begun++;
    }
    load_finish(&load);
    must("close", iomesh_volume_close_sync(load.volume));
    report_pauses(&load, moments, options->snapshots);
    free(load.samples);
    free(moments);
}

/* --- Before and after ---------------------------------------------------------------------- */

static double rate(struct bench *bench, const char *volume, bool reads, uint64_t seed,
                   double seconds)
{
    struct load load = {.bench = bench, .block = BLOCK, .depth = DEPTH, .seed = seed};
    load.volume = bench_volume(bench, volume);
    load.bytes = iomesh_volume_bytes(load.volume);
    load.reads = reads;
    load.end_ns = now_ns() + (uint64_t)(seconds * 1e9);
    const double per_s = load_run(&load);
    must("close", iomesh_volume_close_sync(load.volume));
    return per_s;
}

void bench_writes(struct bench *bench, const struct snapshot_options *options)
{
    bench_init(bench, options->size * 3 + (4ull << 30));
    bench_create(bench, "v", options->size);
    load_fill(bench, "v");
    double *before = calloc(options->rounds, sizeof *before);
    double *after = calloc(options->rounds, sizeof *after);
    double gone_ms;
    for (uint64_t round = 0; round < options->rounds; round++) {
        before[round] = rate(bench, "v", false, round * 2 + 1, options->seconds);
        snapshot_take(bench, "v@s");
        after[round] = rate(bench, "v", false, round * 2 + 2, options->seconds);
        snapshot_drop(bench, "v@s", &gone_ms);
    }
    print_list("before_iops", before, options->rounds);
    print_list("after_iops", after, options->rounds);
    free(before);
    free(after);
}

/* --- Reads --------------------------------------------------------------------------------- */

static void write_some(struct bench *bench, const char *volume, uint64_t seed, uint64_t count)
{
    struct load load = {.bench = bench, .block = BLOCK, .depth = DEPTH, .seed = seed};
    load.volume = bench_volume(bench, volume);
    load.bytes = iomesh_volume_bytes(load.volume);
    load.count_max = count;
    load_run(&load);
    must("close", iomesh_volume_close_sync(load.volume));
}

void bench_reads(struct bench *bench, const struct snapshot_options *options)
{
    enum { BETWEEN = 100 };
    bench_init(bench, options->size * 2 + options->snapshots * BETWEEN * 3 * BLOCK + (4ull << 30));
    bench_create(bench, "none", options->size);
    bench_create(bench, "many", options->size);
    load_fill(bench, "none");
    load_fill(bench, "many");
    for (uint64_t number = 0; number < options->snapshots; number++) {
        write_some(bench, "none", number + 1, BETWEEN);
        write_some(bench, "many", number + 1, BETWEEN);
        snapshot_take(bench, snapshot_name("many", number));
    }
    double *none = calloc(options->rounds, sizeof *none);
    double *many = calloc(options->rounds, sizeof *many);
    for (uint64_t round = 0; round < options->rounds * 2; round++) {
        /* ABBA: the disk's speed wanders. */
        const bool first = (round & 1) == (round >> 1 & 1);
        if (first)
            none[round / 2] = rate(bench, "none", true, round + 3, options->seconds);
        else
            many[round / 2] = rate(bench, "many", true, round + 3, options->seconds);
    }
    print_list("none_iops", none, options->rounds);
    print_list("many_iops", many, options->rounds);
    free(none);
    free(many);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a snapshot, a clone, a comparison and a deletion take: time, space, metadata. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "snapshots.h"

enum { BLOCK = 4096, DEPTH = 32 };

static uint64_t used_bytes(struct bench *bench)
{
    struct iomesh_pool_status status;
    bench_status(bench, &status);
    return status.used_bytes + status.waiting_bytes;
}

/* What the metadata takes in the pool's directory; the pool is closed. */
static uint64_t metadata_bytes(const struct bench *bench)
{
    const char *path = bench->url + strlen("file:");
    DIR *directory = opendir(path);
    uint64_t bytes = 0;
    const struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        char name[4096];
        struct stat found;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (strcmp(entry->d_name, "store") != 0 && stat(name, &found) == 0 &&
            S_ISREG(found.st_mode))
            bytes += (uint64_t)found.st_size;
    }
    if (directory != NULL)
        closedir(directory);
    return bytes;
}

static void reopen(struct bench *bench)
{
    bench_close(bench);
    bench_open(bench);
}

/* A close writes pages, and an open finds what these replaced free again: nothing moves then. */
static void settle(struct bench *bench)
{
    reopen(bench);
    reopen(bench);
}

/* Random requests of `block` bytes all over a volume, and a flush. */
static void scatter(struct bench *bench, uint32_t block, uint64_t count, uint64_t seed)
{
    struct load load = {.bench = bench, .block = block, .depth = DEPTH, .seed = seed};
    load.volume = bench_volume(bench, "v");
    load.bytes = iomesh_volume_bytes(load.volume);
    load.count_max = count;
    load_run(&load);
    must("flush", iomesh_flush_sync(load.volume));
    must("close", iomesh_volume_close_sync(load.volume));
}

static void measure_creating(struct bench *bench, uint64_t count)
{
    double *took = calloc(count, sizeof *took);
    settle(bench);
    bench_close(bench);
    const uint64_t metadata_before = metadata_bytes(bench);
    bench_open(bench);
    const uint64_t used_before = used_bytes(bench);
    /* Open for writing, as a volume in use is. */
    struct iomesh_volume *volume = bench_volume(bench, "v");
    for (uint64_t number = 0; number < count; number++)
        took[number] = snapshot_take(bench, snapshot_name("v", number));
    must("close", iomesh_volume_close_sync(volume));
    bench_close(bench);
    const uint64_t metadata = metadata_bytes(bench) - metadata_before;
    bench_open(bench);
    settle(bench);
    print_list("create_ms", took, count);
    print_number("create_metadata_bytes", (double)metadata / (double)count);
    print_number("create_space_bytes",
                 ((double)used_bytes(bench) - (double)used_before) / (double)count);
    free(took);
}

static void measure_cloning(struct bench *bench)
{
    enum { TIMES = 10 };
    double took[TIMES], used[TIMES];
    char name[32];
    unsigned char data[BLOCK];
    const uint64_t used_before = used_bytes(bench);
    for (int time = 0; time < TIMES; time++) {
        snprintf(name, sizeof name, "clone-%d", time);
        memset(data, time + 1, sizeof data);
        const uint64_t before = used_bytes(bench);
        const uint64_t start_ns = now_ns();
        must(name, iomesh_volume_clone_sync(bench->pool, "v@0", name));
        struct iomesh_volume *clone = bench_volume(bench, name);
        must("write", iomesh_write_sync(clone, (uint64_t)time * 12345 * BLOCK, BLOCK, data, 0));
        took[time] = (double)(now_ns() - start_ns) / 1e6;
        used[time] = (double)used_bytes(bench) - (double)before;
        must("close", iomesh_volume_close_sync(clone));
    }
    settle(bench);
    print_list("clone_ms", took, TIMES);
    print_list("clone_written_bytes", used, TIMES);
    print_number("clone_space_bytes",
                 ((double)used_bytes(bench) - (double)used_before) / (double)TIMES);
}

/* ms; *ret_bytes: how much has changed. */
static double compare(struct bench *bench, const char *name, uint64_t since, uint64_t *ret_bytes)
{
    enum { EXTENTS = 4096 };
    static struct iomesh_extent extents[EXTENTS];
    const uint64_t start_ns = now_ns();
    struct iomesh_volume *volume = bench_volume(bench, name);
    const uint64_t size = iomesh_volume_bytes(volume);
    *ret_bytes = 0;
    for (uint64_t at = 0; at < size;) {
        const int count = iomesh_changed_sync(volume, since, at, size - at, extents, EXTENTS);
        must("changed", count);
        for (int index = 0; index < count; index++) {
            at += extents[index].bytes;
            if ((extents[index].flags & IOMESH_EXTENT_CHANGED) != 0)
                *ret_bytes += extents[index].bytes;
        }
    }
    must("close", iomesh_volume_close_sync(volume));
    return (double)(now_ns() - start_ns) / 1e6;
}

static void measure_comparing(struct bench *bench, uint64_t blocks)
{
    enum { TIMES = 5 };
    double cold[TIMES], warm[TIMES];
    struct iomesh_snapshot_info info = {.size = sizeof info};
    uint64_t bytes = 0;
    snapshot_take(bench, "v@a");
    scatter(bench, BLOCK, blocks, 99);
    snapshot_take(bench, "v@b");
    must("v@a", iomesh_snapshot_show_sync(bench->pool, "v@a", 0, &info));
    for (int time = 0; time < TIMES; time++) {
        reopen(bench);
        cold[time] = compare(bench, "v@b", info.cut, &bytes);
        warm[time] = compare(bench, "v@b", info.cut, &bytes);
    }
    print_list("diff_cold_ms", cold, TIMES);
    print_list("diff_ms", warm, TIMES);
    print_number("diff_blocks", (double)bytes / BLOCK);
}

void bench_large(struct bench *bench, const struct snapshot_options *options)
{
    enum { PIECE = 65536 };
    bench_init(bench, options->written * 2 + (8ull << 30));
    bench_create(bench, "v", options->size);
    scatter(bench, PIECE, options->written / PIECE, 5);
    measure_creating(bench, options->snapshots);
    measure_cloning(bench);
    measure_comparing(bench, options->blocks);
}

/* --- Deleting ------------------------------------------------------------------------------ */

static double cpu_ms(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

/* The same blocks each time, spread over the volume. */
static void overwrite(struct bench *bench, uint64_t blocks, uint64_t seed)
{
    struct load load = {.bench = bench, .block = BLOCK, .depth = DEPTH, .seed = seed};
    load.volume = bench_volume(bench, "v");
    load.bytes = iomesh_volume_bytes(load.volume);
    load.stride = load.bytes / BLOCK / blocks;
    load.count_max = blocks;
    load_run(&load);
    must("flush", iomesh_flush_sync(load.volume));
    must("close", iomesh_volume_close_sync(load.volume));
}

static void check(struct bench *bench)
{
    struct iomesh_check_result result = IOMESH_CHECK_RESULT_INIT;
    bench_close(bench);
    must("check", iomesh_pool_check(bench->url, IOMESH_CHECK_NO_DATA, NULL, NULL, NULL, &result));
    bench_open(bench);
    settle(bench);
    print_number("faults", (double)result.faults);
}

void bench_delete(struct bench *bench, const struct snapshot_options *options)
{
    const uint64_t own = options->blocks * BLOCK;
    bench_init(bench,
               options->size * 2 + (own + options->size / 256) * options->snapshots + (4ull << 30));
    bench_create(bench, "v", options->size);
    load_fill(bench, "v");
    for (uint64_t number = 0; number < options->snapshots; number++) {
        overwrite(bench, options->blocks, number + 1);
        snapshot_take(bench, snapshot_name("v", number));
    }
    overwrite(bench, options->blocks, 77);
    settle(bench);
    const char *middle = snapshot_name("v", options->snapshots / 2);
    struct iomesh_snapshot_info info = {.size = sizeof info};
    const uint64_t start_ns = now_ns();
    must(middle, iomesh_snapshot_show_sync(bench->pool, middle, IOMESH_SNAPSHOT_SPACE, &info));
    print_number("space_ms", (double)(now_ns() - start_ns) / 1e6);
    const uint64_t used_before = used_bytes(bench);
    const double cpu_before = cpu_ms();
    double gone_ms;
    print_number("delete_ms", snapshot_drop(bench, middle, &gone_ms));
    print_number("gone_ms", gone_ms);
    print_number("cpu_ms", cpu_ms() - cpu_before);
    check(bench);
    print_number("own_bytes", (double)own);
    print_number("unique_bytes", (double)info.unique_bytes);
    print_number("freed_bytes", (double)used_before - (double)used_bytes(bench));
}

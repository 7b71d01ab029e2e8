/* SPDX-License-Identifier: Apache-2.0 */
/* A pool in a directory of its own, for the tests of this directory. */
#ifndef UNIT_API_POOL_H
#define UNIT_API_POOL_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <iomesh/iomesh.h>

#define MIB (1ull << 20)

static char place[] = "out/api-XXXXXX";
static char directory[64];
static char url[80];
static struct iomesh_engine *engine;
static struct iomesh_pool *pool;

#define OK(call) cr_assert_eq((call), 0, "%s: %s", #call, iomesh_last_error())

static inline void place_make(void)
{
    (void)mkdir("out", 0777);
    cr_assert_not_null(mkdtemp(place));
    (void)snprintf(directory, sizeof directory, "%s/pool", place);
    (void)snprintf(url, sizeof url, "file:%s", directory);
}

static inline int remove_one(const char *path, const struct stat *what, int kind, struct FTW *at)
{
    (void)what;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline void place_remove(void)
{
    cr_assert_eq(nftw(place, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* How many entries a directory has; -1: it is not there. */
static inline int entries_of(const char *path)
{
    DIR *opened = opendir(path);
    if (opened == NULL)
        return -1;
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(opened)) != NULL;)
        count += entry->d_name[0] != '.';
    (void)closedir(opened);
    return count;
}

static inline void pool_init(uint64_t bytes)
{
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.bytes = bytes;
    OK(iomesh_pool_init(url, &init));
}

static inline void engine_start(void)
{
    struct iomesh_engine_options options = IOMESH_ENGINE_OPTIONS_INIT;
    options.buffer_bytes = 4 * MIB;
    OK(iomesh_engine_open(&options, &engine));
}

static inline void pool_start(uint32_t flags)
{
    struct iomesh_pool_options options = IOMESH_POOL_OPTIONS_INIT;
    options.flags = flags;
    options.requests_max = 64;
    OK(iomesh_pool_open_sync(engine, url, &options, &pool));
}

static inline void pool_stop(void)
{
    OK(iomesh_pool_close_sync(pool));
    pool = NULL;
}

/* A pool of 64 MiB, open. */
static inline void pool_setup(void)
{
    place_make();
    pool_init(64 * MIB);
    engine_start();
    pool_start(0);
}

static inline void pool_teardown(void)
{
    if (pool != NULL)
        pool_stop();
    OK(iomesh_engine_close(engine));
    place_remove();
}

static inline void volume_make(const char *name, uint64_t bytes, uint32_t sector)
{
    struct iomesh_volume_create_options options = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    options.bytes = bytes;
    options.sector_bytes = sector;
    OK(iomesh_volume_create_sync(pool, name, &options));
}

static inline struct iomesh_volume *volume_start(const char *name)
{
    struct iomesh_volume *volume = NULL;
    OK(iomesh_volume_open_sync(pool, name, NULL, &volume));
    return volume;
}

static inline void check_clean(void)
{
    struct iomesh_check_result result = IOMESH_CHECK_RESULT_INIT;
    OK(iomesh_pool_check(url, 0, NULL, NULL, NULL, &result));
    cr_assert_eq(result.faults, 0);
}

/* A refusal has its code and a sentence. */
#define REFUSED(call, code)                                                      \
    do {                                                                         \
        cr_expect_eq((call), (code), "%s: %s", #call, iomesh_last_error());      \
        cr_expect_gt(strlen(iomesh_last_error()), 10, "%s: no sentence", #call); \
    } while (0)

#endif

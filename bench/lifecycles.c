/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many volumes a second a pool makes, opens, writes, closes and deletes, so many at once.
 *
 *   bench-lifecycles URL COUNT AT-ONCE
 *
 * One line: lifecycles a second, and the median of each step in milliseconds.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <iomesh/iomesh.h>

enum step { STEP_CREATE, STEP_OPEN, STEP_WRITE, STEP_CLOSE, STEP_DELETE, STEPS };
static const char *const words[STEPS] = {"create", "open", "write", "close", "delete"};

struct life {
    unsigned number;
    enum step step;
    uint64_t since_ns;
    struct iomesh_volume *volume;
    char name[32];
};

static struct iomesh_engine *engine;
static struct iomesh_pool *pool;
static unsigned begun, ended, wanted;
static uint32_t *took_us[STEPS];
static unsigned took_count[STEPS];
static uint8_t data[4096] __attribute__((aligned(4096)));

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void give_up(const char *what, int result)
{
    fprintf(stderr, "%s: %s: %s\n", what, iomesh_error_text(result), iomesh_last_error());
    exit(1);
}

static void go_on(struct life *life);

static void stepped(struct life *life, int result)
{
    if (result != 0)
        give_up(words[life->step], result);
    took_us[life->step][took_count[life->step]++] = (uint32_t)((now_ns() - life->since_ns) / 1000);
    life->step++;
    go_on(life);
}

static void done(void *context, int result)
{
    stepped(context, result);
}

static void opened(void *context, int result, struct iomesh_volume *volume)
{
    struct life *life = context;
    life->volume = volume;
    stepped(life, result);
}

static int ask(struct life *life)
{
    struct iomesh_volume_create_options options = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    switch (life->step) {
    case STEP_CREATE:
        options.bytes = 1ull << 30;
        return iomesh_volume_create(pool, life->name, &options, done, life);
    case STEP_OPEN: return iomesh_volume_open(pool, life->name, NULL, opened, life);
    case STEP_WRITE: return iomesh_write(life->volume, 0, sizeof data, data, 0, done, life);
    case STEP_CLOSE: return iomesh_volume_close(life->volume, done, life);
    default: return iomesh_volume_delete(pool, life->name, done, life);
    }
}

static void go_on(struct life *life)
{
    if (life->step == STEPS) {
        ended++;
        if (begun == wanted)
            return;
        life->step = STEP_CREATE;
        life->number = begun++;
        snprintf(life->name, sizeof life->name, "life-%u", life->number);
    }
    life->since_ns = now_ns();
    const int result = ask(life);
    if (result != 0)
        give_up(words[life->step], result);
}

static int compare(const void *one, const void *other)
{
    const uint32_t a = *(const uint32_t *)one;
    const uint32_t b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bench-lifecycles URL COUNT AT-ONCE\n");
        return 2;
    }
    wanted = (unsigned)strtoul(argv[2], NULL, 10);
    const unsigned lives = (unsigned)strtoul(argv[3], NULL, 10);
    struct life *all = calloc(lives, sizeof *all);
    for (unsigned i = 0; i < STEPS; i++)
        took_us[i] = calloc(wanted + lives, sizeof **took_us);
    memset(data, 'x', sizeof data);
    int result = iomesh_engine_open(NULL, &engine);
    if (result == 0)
        result = iomesh_pool_open_sync(engine, argv[1], NULL, &pool);
    if (result != 0)
        give_up(argv[1], result);
    const uint64_t began_ns = now_ns();
    for (unsigned i = 0; i < lives && i < wanted; i++) {
        all[i].step = STEPS;
        go_on(&all[i]);
    }
    const unsigned first = ended; /* Those that had not begun. */
    while (ended - first < wanted && iomesh_wait(engine, IOMESH_NEVER) >= 0)
        ;
    const double seconds = (double)(now_ns() - began_ns) / 1e9;
    printf("%u lifecycles, %u at once: %.1f a second;", wanted, lives, wanted / seconds);
    for (unsigned i = 0; i < STEPS; i++) {
        qsort(took_us[i], took_count[i], sizeof **took_us, compare);
        const unsigned middle = took_count[i] / 2;
        printf(" %s %.1f ms", words[i], took_us[i][middle] / 1e3);
    }
    printf("\n");
    result = iomesh_pool_close_sync(pool);
    if (result == 0)
        result = iomesh_engine_close(engine);
    if (result != 0)
        give_up("closing", result);
    return 0;
}

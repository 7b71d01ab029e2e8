/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two volumes on two engines: a thread each, nothing shared, and iomesh_post() between them. A
 * block that one writes is handed to the other, which writes it into its own volume.
 *
 *     cc two_engines.c -o two_engines $(pkg-config --cflags --libs iomesh) -pthread
 *
 * Links: -lpthread
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <iomesh/iomesh.h>

enum { BLOCKS = 500, BLOCK = 4096 };

static struct side {
    char url[1024];
    struct iomesh_engine *engine;
    struct iomesh_pool *pool;
    struct iomesh_volume *volume;
    unsigned written; /* Each side's own thread only. */
    int wrong;
} left, right;

static struct parcel {
    unsigned number;
    unsigned char bytes[BLOCK];
} parcels[BLOCKS];

static int open_side(struct side *side, const char *directory, const char *name)
{
    snprintf(side->url, sizeof side->url, "file:%s.%s", directory, name);
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.bytes = 128u << 20;
    struct iomesh_volume_create_options create = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    create.bytes = BLOCKS * BLOCK;
    if (iomesh_pool_init(side->url, &init) != 0 || iomesh_engine_open(NULL, &side->engine) != 0 ||
        iomesh_pool_open_sync(side->engine, side->url, NULL, &side->pool) != 0 ||
        iomesh_volume_create_sync(side->pool, "volume", &create) != 0 ||
        iomesh_volume_open_sync(side->pool, "volume", NULL, &side->volume) != 0) {
        fprintf(stderr, "%s: %s\n", side->url, iomesh_last_error());
        return -1;
    }
    return 0;
}

static int close_side(struct side *side)
{
    if (iomesh_volume_close_sync(side->volume) == 0 && iomesh_pool_close_sync(side->pool) == 0 &&
        iomesh_engine_close(side->engine) == 0)
        return 0;
    fprintf(stderr, "%s: %s\n", side->url, iomesh_last_error());
    return -1;
}

/* --- The right side's thread ---------------------------------------------------------------- */

static void right_written(void *context, int result)
{
    (void)context;
    right.written++;
    if (result != 0)
        right.wrong = result;
}

static void right_takes(void *context)
{
    struct parcel *parcel = context;
    int code = iomesh_write(right.volume, (uint64_t)parcel->number * BLOCK, BLOCK, parcel->bytes, 0,
                            right_written, parcel);
    if (code != 0)
        right_written(parcel, code);
}

/* An engine belongs to the thread that opens it; the other waits until it is there. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int right_is_open;

static void right_tell(void)
{
    pthread_mutex_lock(&lock);
    right_is_open = 1;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void right_await(void)
{
    pthread_mutex_lock(&lock);
    while (!right_is_open)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void *right_thread(void *directory)
{
    right.wrong = open_side(&right, directory, "right");
    right_tell();
    if (right.wrong != 0)
        return NULL;
    /* All of them, also after an error: the other side posts to this engine until the last. */
    while (right.written < BLOCKS)
        iomesh_wait(right.engine, IOMESH_NEVER);
    unsigned char back[BLOCK];
    for (unsigned i = 0; i < BLOCKS && right.wrong == 0; i++) {
        right.wrong = iomesh_read_sync(right.volume, (uint64_t)i * BLOCK, BLOCK, back);
        if (right.wrong == 0 && memcmp(back, parcels[i].bytes, BLOCK) != 0)
            right.wrong = IOMESH_CORRUPT;
    }
    if (close_side(&right) != 0)
        right.wrong = -1;
    return NULL;
}

/* --- The left side's thread ----------------------------------------------------------------- */

static void left_written(void *context, int result)
{
    struct parcel *parcel = context;
    left.written++;
    if (result != 0)
        left.wrong = result;
    while (iomesh_post(right.engine, right_takes, parcel) != 0)
        continue; /* Too many wait: its thread is emptying them. */
}

static void left_run(void)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        parcels[i].number = i;
        memset(parcels[i].bytes, (int)(i % 251), BLOCK);
        int code = iomesh_write(left.volume, (uint64_t)i * BLOCK, BLOCK, parcels[i].bytes, 0,
                                left_written, &parcels[i]);
        if (code != 0)
            left_written(&parcels[i], code);
    }
    while (left.written < BLOCKS)
        iomesh_wait(left.engine, IOMESH_NEVER);
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", arguments[0]);
        return 2;
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, right_thread, arguments[1]) != 0)
        return 1;
    left.wrong = open_side(&left, arguments[1], "left");
    right_await();
    if (left.wrong != 0 || right.wrong != 0)
        return 1;
    left_run();
    pthread_join(thread, NULL);
    if (close_side(&left) != 0)
        left.wrong = -1;
    printf("%u blocks written on the left, %u on the right\n", left.written, right.written);
    return left.wrong == 0 && right.wrong == 0 ? 0 : 1;
}

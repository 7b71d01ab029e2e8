/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine in a libev loop: 64 writes in flight at once, then as many reads that compare.
 *
 *     cc libev.c -o libev $(pkg-config --cflags --libs iomesh) -lev
 *
 * Links: -lev
 */
#include <ev.h>
#include <stdio.h>
#include <string.h>

#include <iomesh/iomesh.h>

enum { DEPTH = 64, ROUNDS = 2000, BLOCK = 4096 };

static struct iomesh_engine *engine;
static struct iomesh_volume *volume;
static struct ev_loop *loop;
static struct slot {
    unsigned char *buffer;
    unsigned number; /* Of the block that is under way. */
} slots[DEPTH];
static unsigned started, ended, wrong;
static int reading;

/* --- Twenty lines that put an engine into libev. ------------------------------------------- */

static ev_io readable;
static ev_prepare before_sleep;
static ev_timer deadline;

static void turn_readable(struct ev_loop *unused, ev_io *watcher, int events)
{
    (void)unused, (void)watcher, (void)events;
    iomesh_turn(engine);
}

static void turn_due(struct ev_loop *unused, ev_timer *watcher, int events)
{
    (void)unused, (void)watcher, (void)events;
    iomesh_turn(engine);
}

/* Before libev sleeps: send what was asked, and say how long it may sleep. One turn only, so that
 * I/O without end leaves other watchers their time: if the next is due, libev does not sleep. */
static void prepare(struct ev_loop *unused, ev_prepare *watcher, int events)
{
    (void)unused, (void)watcher, (void)events;
    uint64_t wait_ns = iomesh_deadline(engine);
    if (wait_ns == 0) {
        iomesh_turn(engine);
        wait_ns = iomesh_deadline(engine);
    }
    ev_timer_stop(loop, &deadline);
    if (wait_ns != IOMESH_NEVER) {
        ev_timer_set(&deadline, (double)wait_ns / 1e9, 0.);
        ev_timer_start(loop, &deadline);
    }
}

/* --- What the program does. ---------------------------------------------------------------- */

static void next(struct slot *slot);

static void done(void *context, int result)
{
    struct slot *slot = context;
    ended++;
    if (result != 0)
        wrong++;
    for (unsigned i = 0; reading && i < BLOCK; i++)
        if (slot->buffer[i] != (unsigned char)(slot->number + i)) {
            wrong++;
            break;
        }
    if (started < ROUNDS)
        next(slot);
    else if (ended == ROUNDS)
        ev_break(loop, EVBREAK_ALL);
}

static void next(struct slot *slot)
{
    slot->number = started++;
    for (unsigned i = 0; !reading && i < BLOCK; i++)
        slot->buffer[i] = (unsigned char)(slot->number + i);
    uint64_t offset = (uint64_t)slot->number * BLOCK;
    int code = reading ? iomesh_read(volume, offset, BLOCK, slot->buffer, done, slot)
                       : iomesh_write(volume, offset, BLOCK, slot->buffer, 0, done, slot);
    if (code != 0) {
        fprintf(stderr, "refused: %s\n", iomesh_last_error());
        wrong++;
        ev_break(loop, EVBREAK_ALL);
    }
}

static void run(int read_back)
{
    reading = read_back;
    started = ended = 0;
    for (unsigned i = 0; i < DEPTH; i++)
        next(&slots[i]);
    ev_run(loop, 0);
    printf("%u blocks %s\n", ended, read_back ? "read and compared" : "written");
}

static int setup(const char *directory, struct iomesh_pool **ret_pool)
{
    char url[1024];
    snprintf(url, sizeof url, "file:%s", directory);
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.bytes = 256u << 20;
    struct iomesh_volume_create_options create = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    create.bytes = (uint64_t)ROUNDS * BLOCK;
    if (iomesh_pool_init(url, &init) != 0 || iomesh_engine_open(NULL, &engine) != 0 ||
        iomesh_pool_open_sync(engine, url, NULL, ret_pool) != 0 ||
        iomesh_volume_create_sync(*ret_pool, "blocks", &create) != 0 ||
        iomesh_volume_open_sync(*ret_pool, "blocks", NULL, &volume) != 0) {
        fprintf(stderr, "%s: %s\n", url, iomesh_last_error());
        return -1;
    }
    for (unsigned i = 0; i < DEPTH; i++)
        slots[i].buffer = iomesh_buffer_get(engine, BLOCK);
    return 0;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", arguments[0]);
        return 2;
    }
    struct iomesh_pool *pool = NULL;
    if (setup(arguments[1], &pool) != 0)
        return 1;
    loop = ev_default_loop(0);
    ev_io_init(&readable, turn_readable, iomesh_fd(engine), EV_READ);
    ev_io_start(loop, &readable);
    ev_timer_init(&deadline, turn_due, 0., 0.);
    ev_prepare_init(&before_sleep, prepare);
    ev_prepare_start(loop, &before_sleep);
    run(0);
    run(1);
    for (unsigned i = 0; i < DEPTH; i++)
        iomesh_buffer_put(engine, slots[i].buffer);
    if (iomesh_volume_close_sync(volume) != 0 || iomesh_pool_close_sync(pool) != 0 ||
        iomesh_engine_close(engine) != 0)
        wrong++;
    return wrong == 0 ? 0 : 1;
}

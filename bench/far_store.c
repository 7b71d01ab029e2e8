/* SPDX-License-Identifier: Apache-2.0 */
/* A store, in whichever process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "far.h"
#include "peer/peer.h"

struct store *far_store;

static bool waiting;

static void opened(void *context, int result)
{
    (void)context;
    far_must(result, "store");
    waiting = false;
}

static void event(void *context, const struct store_event *what)
{
    if (what->severity >= STORE_WARNING)
        (void)fprintf(stderr, "store %u: %s\n", *(unsigned *)context, what->text);
}

bool far_store_turn(void)
{
    if (far_store == NULL)
        return false;
    store_turn(far_store);
    return far_store != NULL && store_turn_needed(far_store);
}

static void wait_for(void)
{
    while (waiting) {
        bool more = far_store_turn();
        unsigned count = uring_collect(far_ring) + clock_run(uring_clock(far_ring));
        far_must(more || count > 0
                     ? uring_submit(far_ring)
                     : uring_wait(far_ring, MIN(clock_deadline_ns(uring_clock(far_ring)),
                                                far_now_ns() + NS_PER_MS)),
                 "turn");
    }
}

struct store *far_store_open(const char *path, uint64_t bytes, unsigned number, bool format)
{
    static struct disk *disk;
    static unsigned of;
    int result;
    of = number;
    if (format)
        (void)unlink(path);
    /* A process that was killed holds its claim until its requests have ended. */
    for (unsigned tries = 0;; tries++) {
        result = uring_disk_open(far_ring, path, bytes, URING_DISK_CREATE, &disk);
        if (result != IOMESH_IN_USE || tries == 5000)
            break;
        (void)usleep(1000);
    }
    far_must(result, path);
    struct store_options options = {.clock = uring_clock(far_ring),
                                    .device_count = 1,
                                    .devices = {{.disk = disk, .class = DEVICE_SSD}},
                                    .boot_id = {(uint8_t)(number + 1), 1},
                                    .event = event,
                                    .context = &of};
    uint8_t uuid[16] = {(uint8_t)(number + 1), 9};
    if (format) {
        waiting = true;
        far_must(store_format(&options, uuid, true, &far_store, opened, NULL), "format");
        wait_for();
    }
    waiting = true;
    far_must(store_open(&options, &far_store, opened, NULL), "open");
    wait_for();
    return far_store;
}

static void *take(struct peer_buffers *buffers, uint64_t bytes)
{
    (void)buffers;
    return uring_buffer_get(far_ring, bytes);
}

static void give(struct peer_buffers *buffers, void *memory)
{
    (void)buffers;
    uring_buffer_put(far_ring, memory);
}

void far_store_serve(const char *path, uint64_t bytes, unsigned number, bool format,
                     const char *address, const char *certificates, int ready)
{
    static struct peer_buffers buffers = {.get = take, .put = give};
    struct peer_server *server;
    struct net *net = uring_net(far_ring);
    if (certificates != NULL)
        net = far_sealed(certificates);
    (void)far_store_open(path, bytes, number, format);
    struct peer_server_options options = {.net = net,
                                          .clock = uring_clock(far_ring),
                                          .buffers = &buffers,
                                          .seed = (uint64_t)getpid()};
    far_must(peer_server_open(&options, &server), "server");
    far_must(
        peer_server_add(server, number + 1, store_incarnation(far_store), store_port(far_store)),
        "serve");
    far_must(peer_server_listen(server, address, NULL), "listen");
    if (write(ready, "r", 1) != 1)
        exit(1);
    for (;;)
        far_turn();
}

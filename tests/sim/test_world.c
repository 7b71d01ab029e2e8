/* SPDX-License-Identifier: Apache-2.0 */
/* The other world keeps its own promises; a storm proves nothing in a world that is too kind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/disk.h"

#define DISK_BYTES (1u << 20)
#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                \
        }                                                                           \
    } while (0)

struct request {
    struct disk_io io;
    int result;
    bool ended;
};

static uint8_t ones[BLOCK_BYTES * 4] __attribute__((aligned(4096)));
static uint8_t back[BLOCK_BYTES * 4] __attribute__((aligned(4096)));

static void ended(struct disk_io *io, int result)
{
    struct request *request = CONTAINER_OF(io, struct request, io);
    CHECK(!request->ended);
    request->result = result;
    request->ended = true;
}

static void start(struct request *request, struct sim_disk *disk, enum disk_io_kind kind,
                  uint64_t offset, uint32_t length, void *data)
{
    *request = (struct request){.io = {.kind = kind,
                                       .offset_bytes = offset,
                                       .length_bytes = length,
                                       .data = data,
                                       .done = ended}};
    disk_submit(&disk->disk, &request->io);
    CHECK(!request->ended);
}

static int run(struct sim_disk *disk, enum disk_io_kind kind, uint64_t offset, uint32_t length,
               void *data)
{
    struct request request;
    start(&request, disk, kind, offset, length, data);
    while (world_step(disk->world)) {
    }
    CHECK(request.ended);
    return request.result;
}

/* How many sectors of the first `length` bytes hold ones. */
static unsigned sectors(const struct sim_disk *disk, uint32_t length)
{
    unsigned count = 0;
    for (uint32_t at = 0; at < length; at += SECTOR_BYTES) {
        sim_disk_peek(disk, at, SECTOR_BYTES, back);
        bool is_one = memcmp(back, ones, SECTOR_BYTES) == 0;
        CHECK(is_one || (back[0] == 0 && memcmp(back, back + 1, SECTOR_BYTES - 1) == 0));
        count += is_one;
    }
    return count;
}

/* Which fates a write meets at a cut, over many seeds: bits of none, torn, whole. */
static unsigned fates(bool complete, bool flush, bool lies)
{
    unsigned seen = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world world;
        world_open(&world, seed);
        struct sim_disk *disk = sim_disk_open(&world, "a", DISK_BYTES);
        disk->faults.flush_lies = lies;
        struct request write, flushed;
        start(&write, disk, DISK_WRITE, 0, BLOCK_BYTES, ones);
        while (complete && world_step(&world)) {
        }
        if (flush)
            start(&flushed, disk, DISK_FLUSH, 0, 0, NULL);
        while (complete && world_step(&world)) {
        }
        CHECK(!complete || sectors(disk, BLOCK_BYTES) == 8);
        world_cut(&world);
        CHECK(!world_step(&world));
        world_restart(&world);
        unsigned count = sectors(disk, BLOCK_BYTES);
        seen |= count == 0 ? 1u : count < 8 ? 2u : 4u;
        CHECK(write.ended == complete);
        world_close(&world);
    }
    return seen;
}

static void a_flush_covers_what_completed_before_it(void)
{
    CHECK(fates(false, false, false) == 7);
    CHECK(fates(true, false, false) == 7);
    CHECK(fates(true, true, false) == 4);
    CHECK(fates(true, true, true) == 7);
    /* Submitted while the write flew: the flush promises nothing about it. */
    CHECK(fates(false, true, false) == 7);
}

static void faults_happen_when_asked(void)
{
    struct world world;
    world_open(&world, 1);
    struct sim_disk *disk = sim_disk_open(&world, "a", DISK_BYTES);
    disk->faults = (struct sim_faults){
        .write_error_at = 1, .full_at = 2, .lost_at = 3, .read_error_at = 1, .flush_error_at = 2};
    CHECK(run(disk, DISK_WRITE, 0, BLOCK_BYTES, ones) == -EIO);
    CHECK(run(disk, DISK_WRITE, 65536, BLOCK_BYTES, ones) == -ENOSPC);
    CHECK(run(disk, DISK_WRITE, 65536, BLOCK_BYTES, ones) == 0);
    CHECK(run(disk, DISK_READ, 65536, BLOCK_BYTES, back) == -EIO);
    CHECK(run(disk, DISK_READ, 65536, BLOCK_BYTES, back) == 0 && back[0] == 0);
    CHECK(run(disk, DISK_WRITE, 0, BLOCK_BYTES, ones) == 0);
    CHECK(run(disk, DISK_FLUSH, 0, 0, NULL) == 0 && run(disk, DISK_FLUSH, 0, 0, NULL) == -EIO);
    CHECK(run(disk, DISK_WRITE, 0, BLOCK_BYTES, ones) == 0);
    CHECK(run(disk, DISK_READ, 0, BLOCK_BYTES, back) == 0 && memcmp(back, ones, BLOCK_BYTES) == 0);
    uint64_t bit = sim_disk_rot(disk, 0, BLOCK_BYTES);
    CHECK(run(disk, DISK_READ, 0, BLOCK_BYTES, back) == 0);
    CHECK(back[bit / 8] == (ones[bit / 8] ^ 1u << bit % 8));
    disk->faults =
        (struct sim_faults){.misdirect_one_in = 1, .media_from = 8192, .media_to = 12288};
    CHECK(run(disk, DISK_WRITE, 8192, BLOCK_BYTES, ones) == 0);
    CHECK(run(disk, DISK_WRITE, 131072, BLOCK_BYTES, ones) == 0);
    CHECK(disk->counts.misdirected == 1);
    disk->faults = (struct sim_faults){.short_one_in = 1};
    CHECK(run(disk, DISK_WRITE, 131072, BLOCK_BYTES, ones) == -EIO);
    sim_disk_peek(disk, 8192, BLOCK_BYTES, back);
    CHECK(memcmp(back, ones, BLOCK_BYTES) == 0);
    disk->faults = (struct sim_faults){.unreadable_offset = 4096, .unreadable_length = 512};
    CHECK(run(disk, DISK_READ, 4096, BLOCK_BYTES, back) == -EIO);
    CHECK(run(disk, DISK_READ, 8192, BLOCK_BYTES, back) == 0);
    world_close(&world);
}

static void zeros_are_zeros_and_what_is_discarded_is_anything(void)
{
    unsigned seen = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct world world;
        world_open(&world, seed);
        struct sim_disk *disk = sim_disk_open(&world, "a", DISK_BYTES);
        CHECK(run(disk, DISK_WRITE, 0, BLOCK_BYTES, ones) == 0);
        CHECK(run(disk, DISK_DISCARD, 0, BLOCK_BYTES, NULL) == 0);
        sim_disk_peek(disk, 0, BLOCK_BYTES, back);
        seen |= memcmp(back, ones, BLOCK_BYTES) == 0 ? 1u : get64(back) == 0 ? 2u : 4u;
        CHECK(run(disk, DISK_ZERO, 0, BLOCK_BYTES, NULL) == 0 && sectors(disk, BLOCK_BYTES) == 0);
        world_close(&world);
    }
    CHECK(seen == 7);
}

/* The same seed gives the same trace and the same survivors; another seed another. */
static uint64_t trace(uint64_t seed, struct sim_disk **ret_disk, struct world *world)
{
    world_open(world, seed);
    struct sim_disk *disk = sim_disk_open(world, "a", DISK_BYTES);
    struct request requests[32];
    for (unsigned i = 0; i < 32; i++)
        start(&requests[i], disk, DISK_WRITE, i * 16384ull, 16384, ones);
    world_cut_after(world, 20);
    while (world_step(world)) {
    }
    CHECK(world->off && world->moments == 32 + 20);
    world_restart(world);
    *ret_disk = disk;
    return world->trace;
}

static void a_seed_is_the_whole_story(void)
{
    struct world one, two, three;
    struct sim_disk *first, *second, *third;
    uint64_t offset;
    uint64_t first_trace = trace(7, &first, &one);
    CHECK(trace(7, &second, &two) == first_trace);
    CHECK(trace(8, &third, &three) != first_trace);
    CHECK(image_equal(&first->seen, &second->seen, &offset));
    CHECK(!image_equal(&first->seen, &third->seen, &offset));
    struct sim_disk *clone = sim_disk_clone(&one, "b", first);
    CHECK(image_equal(&clone->platter, &first->seen, &offset));
    sim_disk_poke(clone, 4096 + 77, 1, ones);
    sim_disk_poke(first, 4096 + 77, 1, &(uint8_t){0});
    CHECK(!image_equal(&clone->platter, &first->seen, &offset) && offset == 4096 + 77);
    world_close(&one);
    world_close(&two);
    world_close(&three);
}

static void an_image_survives_a_file(void)
{
    struct world world;
    world_open(&world, 3);
    struct sim_disk *disk = sim_disk_open(&world, "a", DISK_BYTES);
    CHECK(run(disk, DISK_WRITE, 40960, 16384, ones) == 0);
    char path[64];
    snprintf(path, sizeof path, "/tmp/sim_image_%ld", (long)getpid());
    CHECK(image_dump(&disk->seen, path) == 0);
    struct sim_disk *other = sim_disk_open(&world, "b", DISK_BYTES);
    CHECK(image_load(&other->seen, path) == 0);
    uint64_t offset;
    CHECK(image_equal(&disk->seen, &other->seen, &offset));
    CHECK(image_load(&other->seen, "/nowhere") == -ENOENT);
    remove(path);
    world_close(&world);
}

static unsigned fired;

static void timer_fired(struct timer *timer)
{
    (void)timer;
    fired++;
}

static void job_run(struct work_job *job)
{
    (void)job;
    fired += 10;
}

static void job_done(struct work_job *job)
{
    (void)job;
    fired += 100;
}

static void time_stands_still_between_events(void)
{
    struct world world;
    world_open(&world, 1);
    struct timer timer = {.fire = timer_fired};
    struct work_job job = {.run = job_run, .done = job_done};
    clock_set_after(&world.clock, &timer, 5 * NS_PER_S);
    work_submit(&world.work, &job);
    CHECK(fired == 0 && clock_now_ns(&world.clock) == 0);
    CHECK(world_step(&world) && fired == 110);
    CHECK(world_step(&world) && fired == 111 && clock_now_ns(&world.clock) == 5 * NS_PER_S);
    CHECK(!world_step(&world));
    world_close(&world);
}

int main(void)
{
    memset(ones, 0x11, sizeof ones);
    a_flush_covers_what_completed_before_it();
    faults_happen_when_asked();
    zeros_are_zeros_and_what_is_discarded_is_anything();
    a_seed_is_the_whole_story();
    an_image_survives_a_file();
    time_stands_still_between_events();
    return 0;
}

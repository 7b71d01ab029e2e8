/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include "unit/uring/real.h"

TestSuite(uring_disk, .init = real_open, .fini = real_close);

#define DISK_BYTES (8u << 20)

struct request {
    struct disk_io io;
    int result;
    int *pending;
};

static void request_done(struct disk_io *io, int result)
{
    struct request *request = CONTAINER_OF(io, struct request, io);
    request->result = result;
    --*request->pending;
}

static int do_one(struct disk *disk, enum disk_io_kind kind, uint64_t offset, uint32_t length,
                  void *data)
{
    int pending = 1;
    struct request request = {.io = {.kind = kind,
                                     .offset_bytes = offset,
                                     .length_bytes = length,
                                     .data = data,
                                     .done = request_done},
                              .pending = &pending};
    disk_submit(disk, &request.io);
    cr_assert_eq(pending, 1, "completed inside the call");
    real_run(&pending);
    return request.result;
}

static struct disk *open_disk(void)
{
    struct disk *disk = NULL;
    cr_assert_eq(uring_disk_open(ring, file, DISK_BYTES, URING_DISK_CREATE, &disk), 0, "%s",
                 base_last_error());
    return disk;
}

static bool all_are(const uint8_t *data, size_t length, uint8_t value)
{
    for (size_t i = 0; i < length; i++) {
        if (data[i] != value)
            return false;
    }
    return true;
}

Test(uring_disk, what_is_written_is_read_from_registered_and_from_other_memory)
{
    struct disk *disk = open_disk();
    cr_expect_eq(disk->size_bytes, DISK_BYTES);
    cr_expect(disk->prepares);
    uint8_t *known = uring_buffer_get(ring, 8192);
    uint8_t *other = aligned_alloc(4096, 8192);
    cr_assert(known != NULL && other != NULL);
    memset(known, 0x5a, 8192);
    cr_expect_eq(do_one(disk, DISK_WRITE, 4096, 8192, known), 0);
    memset(other, 0, 8192);
    cr_expect_eq(do_one(disk, DISK_READ, 4096, 8192, other), 0);
    cr_expect(all_are(other, 8192, 0x5a));
    memset(other, 0x33, 8192);
    cr_expect_eq(do_one(disk, DISK_WRITE, 0, 4096, other), 0);
    cr_expect_eq(do_one(disk, DISK_READ, 0, 8192, known), 0);
    cr_expect(all_are(known, 4096, 0x33) && all_are(known + 4096, 4096, 0x5a));
    cr_expect_eq(do_one(disk, DISK_FLUSH, 0, 0, NULL), 0);
    free(other);
    uring_buffer_put(ring, known);
    uring_disk_close(disk);
}

Test(uring_disk, zeroing_allocates_and_discarding_gives_back)
{
    struct disk *disk = open_disk();
    uint8_t *data = uring_buffer_get(ring, 4096);
    struct stat before, zeroed, given_back;
    cr_assert_eq(stat(file, &before), 0);
    memset(data, 0x77, 4096);
    cr_expect_eq(do_one(disk, DISK_WRITE, 2u << 20, 4096, data), 0);
    /* Longer than the buffer of zeros: several pieces. */
    cr_expect_eq(do_one(disk, DISK_ZERO, 1u << 20, 5u << 19, NULL), 0);
    cr_expect_eq(do_one(disk, DISK_READ, 2u << 20, 4096, data), 0);
    cr_expect(all_are(data, 4096, 0));
    cr_expect_eq(do_one(disk, DISK_FLUSH, 0, 0, NULL), 0);
    cr_assert_eq(stat(file, &zeroed), 0);
    cr_expect_geq(zeroed.st_blocks - before.st_blocks, (5 << 19) / 512);
    cr_expect_eq(do_one(disk, DISK_DISCARD, 1u << 20, 1u << 20, NULL), 0);
    cr_assert_eq(stat(file, &given_back), 0);
    cr_expect_leq(given_back.st_blocks, zeroed.st_blocks - (1 << 20) / 512);
    cr_expect_eq((uint64_t)given_back.st_size, DISK_BYTES);
    uring_buffer_put(ring, data);
    uring_disk_close(disk);
}

Test(uring_disk, more_requests_than_the_ring_holds_all_complete)
{
    enum { COUNT = 1000 }; /* The ring has 64 entries. */
    struct disk *disk = open_disk();
    uint8_t *data = uring_buffer_get(ring, 4096);
    struct request *requests = calloc(COUNT, sizeof *requests);
    int pending = COUNT;
    for (unsigned i = 0; i < COUNT; i++) {
        requests[i] = (struct request){.io = {.kind = DISK_READ,
                                              .offset_bytes = i * 4096ull,
                                              .length_bytes = 4096,
                                              .data = data,
                                              .done = request_done},
                                       .result = 1,
                                       .pending = &pending};
        disk_submit(disk, &requests[i].io);
    }
    real_run(&pending);
    for (unsigned i = 0; i < COUNT; i++)
        cr_expect_eq(requests[i].result, 0);
    free(requests);
    uring_buffer_put(ring, data);
    uring_disk_close(disk);
}

Test(uring_disk, a_file_that_shrank_is_an_error_and_not_short_data)
{
    struct disk *disk = open_disk();
    uint8_t *data = uring_buffer_get(ring, 8192);
    cr_assert_eq(truncate(file, 4096), 0);
    cr_expect_eq(do_one(disk, DISK_READ, 0, 8192, data), -EIO);
    cr_expect_eq(do_one(disk, DISK_READ, 8192, 4096, data), -EIO);
    uring_buffer_put(ring, data);
    uring_disk_close(disk);
}

Test(uring_disk, a_claimed_disk_is_refused_and_free_again_once_closed)
{
    struct disk *disk = open_disk();
    struct uring *other = NULL;
    struct disk *second = NULL;
    struct uring_options options = {.entries = 64, .buffer_bytes = 1u << 20};
    cr_assert_eq(uring_open(&options, &other), 0);
    cr_expect_eq(uring_disk_open(other, file, 0, 0, &second), IOMESH_IN_USE);
    cr_expect(strstr(base_last_error(), "in use") != NULL);
    cr_expect_eq(uring_disk_open(other, file, 0, URING_DISK_READ_ONLY, &second), IOMESH_IN_USE);
    uring_disk_close(disk);
    cr_expect_eq(uring_disk_open(other, file, 0, 0, &second), 0);
    uring_disk_close(second);
    uring_close(other);
}

Test(uring_disk, what_cannot_be_opened_says_why)
{
    struct disk *disk = NULL;
    cr_expect_eq(uring_disk_open(ring, "no/such/disk", 0, 0, &disk), -ENOENT);
    cr_expect(strstr(base_last_error(), "no/such/disk") != NULL);
    cr_expect_eq(uring_disk_open(ring, "/dev/null", 0, 0, &disk), -ENOTBLK);
    cr_expect_eq(uring_disk_open(ring, "/proc/self/status", 0, 0, &disk), -ENOTSUP);
    disk = open_disk();
    uring_disk_close(disk);
    cr_expect_eq(uring_disk_open(ring, file, 2 * DISK_BYTES, 0, &disk), -ENXIO);
    cr_expect(strstr(base_last_error(), "are needed") != NULL);
}

Test(uring_disk, a_read_only_disk_refuses_writes_below)
{
    struct disk *disk = open_disk();
    uring_disk_close(disk);
    cr_assert_eq(uring_disk_open(ring, file, 0, URING_DISK_READ_ONLY, &disk), 0);
    uint8_t *data = uring_buffer_get(ring, 4096);
    cr_expect_eq(do_one(disk, DISK_READ, 0, 4096, data), 0);
    cr_expect_eq(do_one(disk, DISK_WRITE, 0, 4096, data), -EBADF);
    uring_buffer_put(ring, data);
    uring_disk_close(disk);
}

/* All of them done at once would hold back the replies to the first, and what those lead to. */
Test(uring_disk, requests_that_ended_together_are_told_a_lot_at_a_time)
{
    enum { COUNT = 20, LOT = 8 };
    struct disk *disk = open_disk();
    uint8_t *data = uring_buffer_get(ring, COUNT * 4096);
    int pending = COUNT;
    struct request requests[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        requests[i] = (struct request){.io = {.kind = DISK_READ,
                                              .offset_bytes = i * 4096,
                                              .length_bytes = 4096,
                                              .data = data + i * 4096,
                                              .done = request_done},
                                       .result = 1,
                                       .pending = &pending};
        disk_submit(disk, &requests[i].io);
    }
    cr_assert_eq(uring_submit(ring), 0);
    (void)usleep(200000); /* All have ended, as far as the kernel is concerned. */
    while (pending > 0) {
        int before = pending;
        (void)uring_collect(ring);
        cr_expect_leq(before - pending, LOT);
        if (pending > 0 && before > pending)
            cr_expect(uring_ready(ring), "what is left would wait for something else to happen");
        cr_assert_eq(uring_submit(ring), 0);
    }
    for (unsigned i = 0; i < COUNT; i++)
        cr_expect_eq(requests[i].result, 0);
    uring_buffer_put(ring, data);
    uring_disk_close(disk);
}

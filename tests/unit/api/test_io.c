/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "unit/api/pool.h"

static struct iomesh_volume *volume; /* 32 MiB, sectors of 512. */

static void io_setup(void)
{
    pool_setup();
    volume_make("v", 32 * MIB, 512);
    volume = volume_start("v");
}

static void io_teardown(void)
{
    OK(iomesh_volume_close_sync(volume));
    pool_stop();
    check_clean();
    pool_teardown();
}

TestSuite(api_io, .init = io_setup, .fini = io_teardown);

static void never(void *context, int result)
{
    (void)context;
    cr_assert_fail("a refused call completed with %d", result);
}

static void never_extents(void *context, int result, uint32_t count)
{
    (void)count;
    never(context, result);
}

Test(api_io, what_is_misaligned_or_out_of_range_is_refused_and_never_completes)
{
    static uint8_t data[4096];
    struct iomesh_extent extent;
    REFUSED(iomesh_read(volume, 1, 512, data, never, NULL), -EINVAL);
    REFUSED(iomesh_read(volume, 0, 100, data, never, NULL), -EINVAL);
    REFUSED(iomesh_read(volume, 0, 0, data, never, NULL), -EINVAL);
    REFUSED(iomesh_read(volume, 32 * MIB, 512, data, never, NULL), -EINVAL);
    REFUSED(iomesh_read(volume, 32 * MIB - 512, 1024, data, never, NULL), -EINVAL);
    REFUSED(iomesh_read(volume, UINT64_MAX - 511, 512, data, never, NULL), -EINVAL);
    REFUSED(iomesh_read(volume, 0, 512, NULL, never, NULL), -EINVAL);
    REFUSED(iomesh_read(volume, 0, 512, data, NULL, NULL), -EINVAL);
    REFUSED(iomesh_read(volume, 0, IOMESH_IO_BYTES_MAX + 512, data, never, NULL), -EINVAL);
    REFUSED(iomesh_write(volume, 0, 512, data, 1u << 9, never, NULL), -EINVAL);
    REFUSED(iomesh_write(volume, 0, 512, data, IOMESH_NO_HOLE, never, NULL), -EINVAL);
    REFUSED(iomesh_discard(volume, 0, 33 * MIB, 0, never, NULL), -EINVAL);
    REFUSED(iomesh_write_zeroes(volume, 100, 512, 0, never, NULL), -EINVAL);
    REFUSED(iomesh_write_zeroes(volume, 0, 512, IOMESH_FAST | IOMESH_NO_HOLE, never, NULL),
            -ENOTSUP);
    REFUSED(iomesh_block_status(volume, 0, 512, &extent, 0, never_extents, NULL), -EINVAL);
    for (unsigned i = 0; i < 10; i++)
        (void)iomesh_wait(engine, 1000000);
}

static unsigned order_count;
static int in_call;

static void count_done(void *context, int result)
{
    cr_assert(!in_call, "completed inside the call");
    cr_assert_eq(result, 0);
    order_count++;
    (void)context;
}

Test(api_io, accepted_requests_complete_once_from_a_turn_and_too_many_are_told_to_wait)
{
    static uint8_t data[4096];
    unsigned accepted = 0;
    in_call = 1;
    int code;
    while ((code = iomesh_write(volume, accepted * 4096ull, 4096, data, 0, count_done, NULL)) == 0)
        accepted++;
    in_call = 0;
    cr_expect_eq(code, -EAGAIN);
    cr_expect_eq(accepted, 64, "requests_max");
    cr_expect_eq(iomesh_volume_close(volume, never, NULL), -EBUSY);
    while (order_count < accepted)
        cr_assert_geq(iomesh_wait(engine, IOMESH_NEVER), 0);
    for (unsigned i = 0; i < 10; i++)
        (void)iomesh_wait(engine, 1000000);
    cr_expect_eq(order_count, accepted);
}

static void wait_inside(void *context, int result)
{
    char block[512];
    cr_expect_eq(result, 0);
    cr_expect_eq(iomesh_read_sync(volume, 0, sizeof block, block), -EDEADLK);
    cr_expect_eq(iomesh_flush_sync(volume), -EDEADLK);
    cr_expect_eq(iomesh_turn(engine), -EDEADLK);
    cr_expect_eq(iomesh_wait(engine, 0), -EDEADLK);
    cr_expect_eq(iomesh_pool_close_sync(pool), -EDEADLK);
    cr_expect_eq(iomesh_engine_close(engine), -EDEADLK);
    cr_expect_eq(iomesh_volume_delete_sync(pool, "v"), -EDEADLK);
    *(int *)context = 1;
}

Test(api_io, a_callback_that_waits_is_told_that_it_must_not)
{
    int done = 0;
    OK(iomesh_flush(volume, wait_inside, &done));
    while (!done)
        cr_assert_geq(iomesh_wait(engine, IOMESH_NEVER), 0);
}

static uint64_t seed = 12345;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33) % below;
}

Test(api_io, any_sectors_any_memory_and_every_kind_agree_with_a_plain_array)
{
    enum { BYTES = 8 << 20, LENGTH_MAX = 200 };
    uint8_t *truth = calloc(1, BYTES);
    uint8_t *memory = malloc(LENGTH_MAX * 512 + 64);
    for (unsigned i = 0; i < 2000; i++) {
        uint32_t length = (1 + draw(i % 10 == 0 ? LENGTH_MAX : 16)) * 512;
        uint64_t offset = (uint64_t)draw((BYTES - length) / 512 + 1) * 512;
        uint8_t *data = memory + draw(64); /* Aligned to nothing. */
        switch (draw(6)) {
        case 0:
        case 1:
            for (uint32_t at = 0; at < length; at++)
                data[at] = (uint8_t)(seed >> at % 57);
            memcpy(truth + offset, data, length);
            OK(iomesh_write_sync(volume, offset, length, data, i % 7 == 0 ? IOMESH_FUA : 0));
            break;
        case 2:
            memset(truth + offset, 0, length);
            OK(iomesh_discard_sync(volume, offset, length, 0));
            break;
        case 3:
            memset(truth + offset, 0, length);
            OK(iomesh_write_zeroes_sync(volume, offset, length,
                                        i % 2 == 0 ? IOMESH_NO_HOLE : IOMESH_FAST));
            break;
        default:
            OK(iomesh_read_sync(volume, offset, length, data));
            cr_assert_eq(memcmp(truth + offset, data, length), 0, "step %u", i);
        }
    }
    uint8_t *all = malloc(BYTES);
    OK(iomesh_read_sync(volume, 0, BYTES, all));
    cr_expect_eq(memcmp(truth, all, BYTES), 0);
    free(all);
    free(memory);
    free(truth);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

Test(api_io, what_needs_no_device_does_not_wait_for_a_timer)
{
    static uint8_t data[4096];
    uint64_t quickest_ns = UINT64_MAX;
    for (unsigned i = 0; i < 200; i++) {
        uint64_t start_ns = now_ns();
        OK(iomesh_read_sync(volume, i * 4096ull, sizeof data, data));
        uint64_t took_ns = now_ns() - start_ns;
        quickest_ns = took_ns < quickest_ns ? took_ns : quickest_ns;
    }
    cr_expect_lt(quickest_ns, 10000000u, "each read of a hole took 10 ms or more");
}

Test(api_io, a_request_of_the_largest_size_is_whole)
{
    uint8_t *data = malloc(IOMESH_IO_BYTES_MAX);
    for (size_t i = 0; i < IOMESH_IO_BYTES_MAX; i++)
        data[i] = (uint8_t)(i / 4096 + i);
    OK(iomesh_write_sync(volume, 0, IOMESH_IO_BYTES_MAX, data, 0));
    memset(data, 0, IOMESH_IO_BYTES_MAX);
    OK(iomesh_read_sync(volume, 0, IOMESH_IO_BYTES_MAX, data));
    for (size_t i = 0; i < IOMESH_IO_BYTES_MAX; i++)
        cr_assert_eq(data[i], (uint8_t)(i / 4096 + i), "byte %zu", i);
    free(data);
}

Test(api_io, the_allocation_map_tells_data_from_holes_and_discard_gives_space_back)
{
    static uint8_t data[MIB];
    memset(data, 1, sizeof data);
    struct iomesh_extent extents[8];
    cr_assert_eq(iomesh_block_status_sync(volume, 0, 32 * MIB, extents, 8), 1);
    cr_expect_eq(extents[0].bytes, 32 * MIB);
    cr_expect_eq(extents[0].flags, IOMESH_EXTENT_HOLE | IOMESH_EXTENT_ZERO);
    OK(iomesh_write_sync(volume, 4 * MIB, MIB, data, 0));
    cr_assert_eq(iomesh_block_status_sync(volume, 0, 32 * MIB, extents, 8), 3);
    cr_expect(extents[0].bytes == 4 * MIB && extents[1].bytes == MIB && extents[1].flags == 0);
    cr_assert_eq(iomesh_block_status_sync(volume, 0, 32 * MIB, extents, 2), 2);
    /* From the middle of a block to the middle of another. */
    cr_assert_eq(iomesh_block_status_sync(volume, 4 * MIB - 512, 1024, extents, 8), 2);
    cr_expect(extents[0].bytes == 512 && extents[1].bytes == 512);
    OK(iomesh_write_zeroes_sync(volume, 8 * MIB, MIB, IOMESH_NO_HOLE));
    cr_assert_geq(iomesh_block_status_sync(volume, 8 * MIB, MIB, extents, 8), 1);
    cr_expect_eq(extents[0].flags & IOMESH_EXTENT_HOLE, 0);
    OK(iomesh_discard_sync(volume, 0, 32 * MIB, 0));
    cr_assert_eq(iomesh_block_status_sync(volume, 0, 32 * MIB, extents, 8), 1);
    cr_expect_eq(extents[0].flags, IOMESH_EXTENT_HOLE | IOMESH_EXTENT_ZERO);
}

Test(api_io, a_full_store_says_so_harms_nothing_and_takes_data_again_after_a_discard)
{
    volume_make("large", 256 * MIB, 0);
    struct iomesh_volume *large = volume_start("large");
    static uint8_t data[MIB], back[MIB];
    unsigned written = 0;
    int code;
    for (;;) {
        memset(data, (int)written + 1, sizeof data);
        code = iomesh_write_sync(large, written * MIB, MIB, data, 0);
        if (code != 0)
            break;
        written++;
    }
    cr_expect_eq(code, -ENOSPC);
    cr_expect_gt(written, 40);
    /* Overwriting goes on. */
    memset(data, 1, sizeof data);
    OK(iomesh_write_sync(large, 0, MIB, data, 0));
    for (unsigned i = 0; i < written; i++) {
        memset(data, (int)i + 1, sizeof data);
        OK(iomesh_read_sync(large, i * MIB, MIB, back));
        cr_assert_eq(memcmp(data, back, MIB), 0, "mebibyte %u", i);
    }
    OK(iomesh_discard_sync(large, 0, 16 * MIB, 0));
    OK(iomesh_flush_sync(large));
    memset(data, 99, sizeof data);
    code = -ENOSPC;
    for (unsigned i = 0; i < 200 && code == -ENOSPC; i++) {
        code = iomesh_write_sync(large, 200 * MIB, MIB, data, 0);
        (void)iomesh_wait(engine, 10000000);
    }
    cr_expect_eq(code, 0);
    OK(iomesh_volume_close_sync(large));
}

Test(api_io, statistics_count_what_was_done)
{
    static uint8_t data[8192];
    OK(iomesh_write_sync(volume, 0, 8192, data, 0));
    OK(iomesh_write_sync(volume, 512, 512, data, 0));
    OK(iomesh_read_sync(volume, 0, 4096, data));
    OK(iomesh_flush_sync(volume));
    OK(iomesh_discard_sync(volume, 0, 4096, 0));
    OK(iomesh_write_zeroes_sync(volume, 4096, 4096, 0));
    struct iomesh_volume_stats stats = {.size = sizeof stats};
    OK(iomesh_volume_stats(volume, &stats));
    cr_expect(stats.writes == 2 && stats.reads == 1 && stats.flushes == 1);
    cr_expect(stats.discards == 1 && stats.zeroes == 1 && stats.unaligned == 1);
    cr_expect(stats.written_bytes == 8704 && stats.read_bytes == 4096);
    cr_expect(stats.discarded_bytes == 4096 && stats.zeroed_bytes == 4096);
    cr_expect(stats.write_ns.count == 2 && stats.read_ns.count == 1 && stats.flush_ns.count == 1);
    cr_expect(stats.in_flight == 0 && stats.in_flight_max == 1 && stats.errors == 0);
    uint64_t middle = iomesh_histogram_quantile_ns(&stats.write_ns, 500);
    cr_expect(middle >= 1024 && middle < 10000000000ull);
    /* Only as much as the caller knows of is written. */
    struct iomesh_volume_stats small = {.size = 16, .reads = 77};
    OK(iomesh_volume_stats(volume, &small));
    cr_expect_eq(small.reads, 77);
    small.size = 0;
    REFUSED(iomesh_volume_stats(volume, &small), -EINVAL);
}

Test(api_io, buckets_of_a_histogram_are_in_order_and_within_a_quarter)
{
    uint64_t before = 0;
    for (uint32_t i = 0; i < IOMESH_HISTOGRAM_BUCKETS; i++) {
        uint64_t bound = iomesh_histogram_bound_ns(i);
        cr_expect_gt(bound, before);
        if (i > 0 && i < IOMESH_HISTOGRAM_BUCKETS - 1)
            cr_expect_leq(bound - before, before / 4);
        before = bound;
    }
    cr_expect_eq(before, UINT64_MAX);
}

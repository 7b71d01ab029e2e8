/* SPDX-License-Identifier: Apache-2.0 */
/* Clones: what was never written to them is their parents'. */
#include "bench.h"

TestSuite(family, .init = bench_open, .fini = bench_close);

/* 1 <- 2 <- 3: volumes that nobody writes to any more are as good as snapshots. */
static struct volume *volumes[4];

static const struct volume_parent line[] = {{2, VIEW_HEAD}, {1, VIEW_HEAD}};

static void make_line(void)
{
    volumes[1] = bench_volume(1, NULL, 0);
    volumes[2] = bench_volume(2, line + 1, 1);
    volumes[3] = bench_volume(3, line, 2);
}

static void close_line(void)
{
    for (unsigned i = 1; i < 4; i++)
        volume_close(volumes[i]);
}

Test(family, the_nearest_that_has_it_is_read)
{
    make_line();
    cr_assert_eq(write_bytes(volumes[1], 0, 64 * KIB, 1), 0);
    cr_assert_eq(write_bytes(volumes[2], 8 * KIB, 4 * KIB, 2), 0);
    cr_assert_eq(write_bytes(volumes[2], 24 * KIB, 8 * KIB, 2), 0);
    cr_assert_eq(write_bytes(volumes[3], 28 * KIB, 8 * KIB, 3), 0);
    static const uint8_t bytes[] = {1, 1, 2, 1, 1, 1, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0};
    cr_assert_eq(request_run(volumes[3], VOLUME_READ, 0, 0, sizeof bytes * 4096), 0);
    for (size_t i = 0; i < sizeof bytes * 4096; i++)
        cr_assert_eq(requests[0].data[i], bytes[i / 4096], "byte %zu", i);
    cr_assert(reads_as(volumes[2], 28 * KIB, 4096, 2));
    cr_assert(reads_as(volumes[2], 64 * KIB, 4096, 0));
    /* Parts of blocks, and memory that is not aligned, go through a buffer. */
    cr_assert(reads_as(volumes[3], 1024, 512, 1));
    cr_assert(reads_as(volumes[3], 24 * KIB + 512, 1024, 2));
    request_start(&requests[1], volumes[3], VOLUME_READ, 24 * KIB, 8 * KIB);
    bench_wait(&requests[1].busy);
    cr_assert(requests[1].data[0] == 2 && requests[1].data[4096] == 3);
    close_line();
}

Test(family, a_part_of_a_block_is_written_into_what_the_family_shows)
{
    make_line();
    cr_assert_eq(write_bytes(volumes[1], 0, 16 * KIB, 1), 0);
    cr_assert_eq(write_bytes(volumes[3], 512, 512, 3), 0);
    cr_assert(reads_as(volumes[3], 0, 512, 1));
    cr_assert(reads_as(volumes[3], 512, 512, 3));
    cr_assert(reads_as(volumes[3], 1024, 3072, 1));
    cr_assert_eq(discard_bytes(volumes[3], 4096 + 512, 512), 0);
    cr_assert(reads_as(volumes[3], 4096, 512, 1));
    cr_assert(reads_as(volumes[3], 4096 + 512, 512, 0));
    cr_assert(reads_as(volumes[3], 4096 + 1024, 3072, 1));
    /* Whose family shows nothing there: nothing to write. */
    uint64_t sequence = volume_sequence(volumes[3]);
    cr_assert_eq(discard_bytes(volumes[3], MIB + 512, 512), 0);
    cr_assert_eq(volume_sequence(volumes[3]), sequence);
    cr_assert(reads_as(volumes[1], 0, 16 * KIB, 1));
    close_line();
}

Test(family, a_whole_block_written_copies_nothing_up)
{
    make_line();
    struct store_stats before;
    struct store_stats after;
    cr_assert_eq(write_bytes(volumes[1], 0, MIB, 1), 0);
    store_stats(bench.store, &before);
    cr_assert_eq(write_bytes(volumes[3], 8 * KIB, 4096, 3), 0);
    store_stats(bench.store, &after);
    cr_assert_eq(after.written_blocks, before.written_blocks + 1);
    cr_assert_eq(after.read_blocks, before.read_blocks);
    cr_assert(reads_as(volumes[3], 0, 8 * KIB, 1));
    cr_assert(reads_as(volumes[3], 12 * KIB, 4096, 1));
    close_line();
}

Test(family, zeros_let_nothing_shine_through)
{
    make_line();
    cr_assert_eq(write_bytes(volumes[1], 0, 8 * MIB, 1), 0);
    cr_assert_eq(discard_bytes(volumes[3], 4 * KIB, 8 * KIB), 0);
    cr_assert(reads_as(volumes[3], 0, 4 * KIB, 1));
    cr_assert(reads_as(volumes[3], 4 * KIB, 8 * KIB, 0));
    cr_assert(reads_as(volumes[3], 12 * KIB, 4 * KIB, 1));
    cr_assert_eq(request_run(volumes[3], VOLUME_ZERO, 0, 64 * KIB, 4096), 0);
    cr_assert(reads_as(volumes[3], 64 * KIB, 4096, 0));
    cr_assert_eq(discard_bytes(volumes[2], 0, 256 * MIB), 0);
    cr_assert(reads_as(volumes[3], 0, 8 * MIB, 0));
    cr_assert(reads_as(volumes[2], 0, 8 * MIB, 0));
    cr_assert(reads_as(volumes[1], 0, 8 * MIB, 1));
    close_line();
}

/* Of a clone that has a snapshot too. */
Test(family, zeros_after_a_cut_let_nothing_shine_through)
{
    make_line();
    cr_assert_eq(write_bytes(volumes[1], 0, MIB, 1), 0);
    cr_assert_eq(write_bytes(volumes[1], 300 * MIB, 4 * KIB, 1), 0);
    uint64_t cut = cut_now(volumes[3]);
    cr_assert_eq(discard_bytes(volumes[3], 0, 64 * KIB), 0);
    cr_assert_eq(discard_bytes(volumes[3], 256 * MIB, 256 * MIB), 0);
    cr_assert(reads_as(volumes[3], 0, 64 * KIB, 0));
    cr_assert(reads_as(volumes[3], 300 * MIB, 4 * KIB, 0));
    struct volume *view = bench_view(3, cut, line, 2);
    cr_assert(reads_as(view, 0, 64 * KIB, 1));
    cr_assert(reads_as(view, 300 * MIB, 4 * KIB, 1));
    volume_close(view);
    close_line();
}

/* No space to say that something is not there: told, and never a hole that shows the parent. */
Test(family, zeros_on_a_full_store_let_nothing_shine_through, .init = bench_open_small)
{
    make_line();
    struct volume *other = bench_volume(9, NULL, 0);
    for (uint64_t i = 0; i < 8; i++)
        cr_assert_eq(write_bytes(volumes[1], i * 256 * MIB, 4 * KIB, 1), 0);
    int result = 0;
    for (uint64_t filled = 0; result == 0; filled += 4 * KIB)
        result = write_bytes(other, filled, 4 * KIB, 7);
    cr_assert_eq(result, -ENOSPC);
    unsigned refused = 0;
    for (uint64_t i = 0; i < 8; i++) {
        result = discard_bytes(volumes[3], i * 256 * MIB, i % 2 == 0 ? 4 * KIB : 256 * MIB);
        cr_assert(result == 0 || result == -ENOSPC);
        refused += result != 0 ? 1 : 0;
        cr_assert(reads_as(volumes[3], i * 256 * MIB, 4 * KIB, result == 0 ? 0 : 1));
    }
    cr_assert_gt(refused, 0u);
    volume_close(other);
    close_line();
}

Test(family, a_hole_that_the_family_fills_is_data)
{
    make_line();
    cr_assert_eq(write_bytes(volumes[1], 16 * KIB, 16 * KIB, 1), 0);
    cr_assert_eq(write_bytes(volumes[1], 2 * MIB, 4 * KIB, 1), 0);
    cr_assert_eq(write_bytes(volumes[2], 4 * KIB, 4 * KIB, 2), 0);
    cr_assert_eq(discard_bytes(volumes[3], 20 * KIB, 4 * KIB), 0);
    cr_assert_str_eq(
        extents_of(volumes[3], VOLUME_MAP, 0, 0, 4 * MIB),
        "hole 4, data 4, hole 8, data 4, hole 4, data 8, hole 2016, data 4, hole 2044");
    cr_assert_str_eq(extents_of(volumes[2], VOLUME_MAP, 0, 4 * KIB, 16 * KIB),
                     "data 4, hole 8, data 4");
    close_line();
}

/* Flattened while it is read: the read ends with the family that it began with. */
Test(family, a_read_under_way_keeps_its_family)
{
    make_line();
    cr_assert_eq(write_bytes(volumes[1], 0, MIB, 1), 0);
    request_start(&requests[1], volumes[3], VOLUME_READ, 0, MIB);
    cr_assert_eq(volume_set_parents(volumes[3], NULL, 0), 0);
    bench_wait(&requests[1].busy);
    cr_assert_eq(requests[1].result, 0);
    for (size_t i = 0; i < MIB; i++)
        cr_assert_eq(requests[1].data[i], 1);
    cr_assert(reads_as(volumes[3], 0, MIB, 0));
    cr_assert_eq(volume_set_parents(volumes[3], line, 2), 0);
    cr_assert(reads_as(volumes[3], 0, MIB, 1));
    close_line();
}

Test(family, a_parent_that_cannot_be_read_is_an_error_and_no_zeros)
{
    make_line();
    cr_assert_eq(write_bytes(volumes[1], 0, 8 * KIB, 1), 0);
    bench.disk->faults.read_error_one_in = 1;
    cr_assert_eq(request_run(volumes[3], VOLUME_READ, 0, 0, 4096), -EIO);
    cr_assert_eq(write_bytes(volumes[3], 512, 512, 3), -EIO);
    bench.disk->faults.read_error_one_in = 0;
    cr_assert(reads_as(volumes[3], 0, 8 * KIB, 1));
    close_line();
}

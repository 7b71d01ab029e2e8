/* SPDX-License-Identifier: Apache-2.0 */
/* One instant without changes, and what goes on meanwhile. */
#include "bench.h"

TestSuite(hold, .init = bench_open, .fini = bench_close);

static unsigned busy_count(unsigned first, unsigned last)
{
    unsigned count = 0;
    for (unsigned i = first; i <= last; i++)
        count += requests[i].busy ? 1 : 0;
    return count;
}

static void writes_start(struct volume *volume, unsigned first, unsigned last, uint8_t byte)
{
    for (unsigned i = first; i <= last; i++) {
        memset(requests[i].data, byte, 4096);
        request_start(&requests[i], volume, VOLUME_WRITE, i * 64 * KIB, 4096);
    }
}

static void wait_all(void)
{
    for (unsigned i = 0; i < BENCH_REQUESTS; i++)
        bench_wait(&requests[i].busy);
}

Test(hold, waits_for_what_is_under_way_and_lets_nothing_begin)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    struct noted_hold noted;
    writes_start(volume, 0, 7, 1);
    hold_start(&noted, volume);
    writes_start(volume, 8, 15, 2);
    bench_wait(&noted.waits);
    cr_assert_eq(noted.hold.result, 0);
    cr_assert_eq(busy_count(0, 7), 0);
    cr_assert_eq(busy_count(8, 15), 8);
    uint64_t sequence = volume_sequence(volume);
    bench_turns(200);
    cr_assert_eq(busy_count(8, 15), 8);
    cr_assert_eq(volume_sequence(volume), sequence);
    cr_assert_eq(volume_take_cut(volume), sequence);
    cr_assert_eq(volume_sequence(volume), sequence + 1);
    volume_release(volume, &noted.hold);
    wait_all();
    cr_assert_eq(volume_sequence(volume), sequence + 9);
    for (unsigned i = 1; i < 16; i++)
        cr_assert(reads_as(volume, i * 64 * KIB, 4096, i < 8 ? 1 : 2));
    volume_close(volume);
}

Test(hold, reads_and_flushes_go_on)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    struct noted_hold noted;
    cr_assert_eq(write_bytes(volume, 0, 8192, 5), 0);
    hold_start(&noted, volume);
    bench_wait(&noted.waits);
    cr_assert(reads_as(volume, 0, 8192, 5));
    cr_assert_eq(request_run(volume, VOLUME_FLUSH, 0, 0, 0), 0);
    cr_assert_str_eq(extents_of(volume, VOLUME_MAP, 0, 0, 16384), "data 8, hole 8");
    volume_release(volume, &noted.hold);
    volume_close(volume);
}

/* Ten pieces, eight at once: the hold does not wait for all of them. */
Test(hold, a_large_write_stops_between_two_pieces)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    struct noted_hold noted;
    struct volume_io *io = &requests[1].io;
    memset(requests[1].data, 9, sizeof requests[1].data);
    request_start(&requests[1], volume, VOLUME_WRITE, 512, 8 * MIB);
    hold_start(&noted, volume);
    bench_wait(&noted.waits);
    cr_assert(requests[1].busy);
    cr_assert_eq(io->pieces, 0);
    cr_assert_lt(io->next, io->offset + io->length);
    (void)volume_take_cut(volume);
    volume_release(volume, &noted.hold);
    wait_all();
    cr_assert_eq(requests[1].result, 0);
    cr_assert(reads_as(volume, 0, 512, 0));
    cr_assert(reads_as(volume, 512, 8 * MIB, 9));
    volume_close(volume);
}

Test(hold, does_not_wait_for_a_flush)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    struct noted_hold noted;
    bool overtook = false;
    for (unsigned i = 0; i < 50; i++) {
        requests[1].io.flags = VOLUME_FUA;
        request_start(&requests[1], volume, VOLUME_WRITE, 0, 4096);
        hold_start(&noted, volume);
        bench_wait(&noted.waits);
        cr_assert_eq(requests[1].io.pieces, 0);
        overtook = overtook || noted.overtook;
        volume_release(volume, &noted.hold);
        bench_wait(&requests[1].busy);
    }
    cr_assert(overtook);
    volume_close(volume);
}

Test(hold, several_volumes_are_cut_in_one_instant)
{
    struct volume *volumes[3];
    struct noted_hold holds[3];
    uint64_t before[3];
    for (unsigned i = 0; i < 3; i++) {
        volumes[i] = bench_volume(i + 1, NULL, 0);
        writes_start(volumes[i], i * 8, i * 8 + 4, 1);
    }
    for (unsigned i = 0; i < 3; i++)
        hold_start(&holds[i], volumes[i]);
    for (unsigned i = 0; i < 3; i++)
        writes_start(volumes[i], i * 8 + 5, i * 8 + 7, 2);
    for (unsigned i = 0; i < 3; i++)
        bench_wait(&holds[i].waits);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(busy_count(i * 8, i * 8 + 4), 0);
        cr_assert_eq(busy_count(i * 8 + 5, i * 8 + 7), 3);
        before[i] = volume_sequence(volumes[i]);
        cr_assert_eq(volume_take_cut(volumes[i]), before[i]);
    }
    for (unsigned i = 0; i < 3; i++)
        volume_release(volumes[i], &holds[i].hold);
    wait_all();
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(volume_sequence(volumes[i]), before[i] + 4);
        volume_close(volumes[i]);
    }
}

Test(hold, holds_of_one_volume_take_turns_and_starve_no_write)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    struct noted_hold holds[4];
    for (unsigned i = 0; i < 4; i++)
        hold_start(&holds[i], volume);
    for (unsigned i = 0; i < 4; i++) {
        if (!requests[1].busy)
            writes_start(volume, 1, 1, 1);
        bench_wait(&holds[i].waits);
        cr_assert(i == 3 || holds[i + 1].waits);
        (void)volume_take_cut(volume);
        uint64_t sequence = volume_sequence(volume);
        volume_release(volume, &holds[i].hold);
        /* What waited begins before the next holds. */
        cr_assert(requests[1].busy);
        bench_wait(&requests[1].busy);
        cr_assert_eq(volume_sequence(volume), sequence + 1);
    }
    volume_close(volume);
}

Test(hold, who_gives_up_is_never_told)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    struct noted_hold first;
    struct noted_hold second;
    struct noted_hold third;
    writes_start(volume, 1, 4, 1);
    hold_start(&first, volume);
    hold_start(&second, volume);
    hold_start(&third, volume);
    writes_start(volume, 5, 8, 1);
    volume_release(volume, &second.hold);
    volume_release(volume, &first.hold);
    bench_wait(&third.waits);
    cr_assert(first.waits && second.waits);
    volume_release(volume, &third.hold);
    wait_all();
    cr_assert(first.waits && second.waits);
    volume_close(volume);
}

static struct volume *volume_with_lot(uint64_t lot)
{
    struct volume_options options = {
        .id = 1,
        .view = VIEW_HEAD,
        .bytes = MIB,
        .sector_bytes = 512,
        .sequence = 1,
        .sequence_end = 1 + lot,
    };
    struct volume *volume = NULL;
    cr_assert_eq(volume_open(bench.engine, &options, &volume), 0);
    return volume;
}

/* The last sequence of the lot is the cut's: writes do not take it, nor does the hold stop them
 * before it has one. */
Test(hold, a_cut_has_its_sequence_before_anything_stops)
{
    struct volume *volume = volume_with_lot(3);
    struct noted_hold noted;
    cr_assert_eq(write_bytes(volume, 0, 4096, 1), 0);
    cr_assert_eq(write_bytes(volume, 0, 4096, 2), 0);
    cr_assert_eq(write_bytes(volume, 0, 4096, 3), 0);
    hold_start(&noted, volume);
    writes_start(volume, 1, 1, 4);
    bench_turns(100);
    cr_assert(noted.waits && requests[1].busy);
    volume_extend_sequences(volume, 5);
    bench_wait(&noted.waits);
    cr_assert_eq(noted.hold.result, 0);
    cr_assert_eq(volume_take_cut(volume), 4);
    volume_release(volume, &noted.hold);
    bench_turns(100);
    cr_assert(requests[1].busy);
    volume_extend_sequences(volume, 6);
    bench_wait(&requests[1].busy);
    cr_assert_eq(requests[1].result, 0);
    cr_assert_eq(volume_sequence(volume), 6);
    volume_close(volume);
}

Test(hold, is_refused_where_there_will_be_no_sequence)
{
    struct volume *volume = volume_with_lot(1);
    struct noted_hold noted;
    cr_assert_eq(write_bytes(volume, 0, 4096, 1), 0);
    hold_start(&noted, volume);
    writes_start(volume, 1, 1, 1);
    bench_turns(10);
    cr_assert(noted.waits);
    volume_refuse_sequences(volume, -EOVERFLOW);
    bench_wait(&noted.waits);
    cr_assert_eq(noted.hold.result, -EOVERFLOW);
    bench_wait(&requests[1].busy);
    cr_assert_eq(requests[1].result, -EOVERFLOW);
    hold_start(&noted, volume);
    bench_wait(&noted.waits);
    cr_assert_eq(noted.hold.result, -EOVERFLOW);
    volume_close(volume);

    struct volume *view = bench_view(1, 1, NULL, 0);
    hold_start(&noted, view);
    bench_wait(&noted.waits);
    cr_assert_eq(noted.hold.result, -EROFS);
    volume_close(view);
}

/* The device fails under the writes: they end, and so does the hold. */
Test(hold, ends_when_the_store_fails)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    struct noted_hold noted;
    writes_start(volume, 1, 8, 1);
    hold_start(&noted, volume);
    writes_start(volume, 9, 16, 1);
    bench.disk->faults.write_error_one_in = 1;
    bench_wait(&noted.waits);
    cr_assert_eq(busy_count(1, 8), 0);
    cr_assert_eq(busy_count(9, 16), 8);
    (void)volume_take_cut(volume);
    volume_release(volume, &noted.hold);
    wait_all();
    for (unsigned i = 1; i <= 16; i++)
        cr_assert_lt(requests[i].result, 0);
    cr_assert_neq(request_run(volume, VOLUME_FLUSH, 0, 0, 0), 0);
    volume_close(volume);
}

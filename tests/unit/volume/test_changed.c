/* SPDX-License-Identifier: Apache-2.0 */
/* What changed since a cut. */
#include "bench.h"

TestSuite(changed, .init = bench_open, .fini = bench_close);

Test(changed, what_was_written_after_a_cut)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    cr_assert_eq(write_bytes(volume, 0, 64 * KIB, 1), 0);
    uint64_t cut = cut_now(volume);
    cr_assert_str_eq(extents_of(volume, VOLUME_CHANGED, cut, 0, 64 * KIB), "same 64");
    cr_assert_eq(write_bytes(volume, 16 * KIB, 8 * KIB, 2), 0);
    cr_assert_eq(write_bytes(volume, 28 * KIB + 512, 512, 2), 0);
    cr_assert_eq(discard_bytes(volume, 32 * KIB, 4 * KIB), 0);
    uint64_t second = cut_now(volume);
    cr_assert_eq(write_bytes(volume, 0, 4 * KIB, 3), 0);
    cr_assert_str_eq(extents_of(volume, VOLUME_CHANGED, cut, 0, 64 * KIB),
                     "data 4, same 12, data 8, same 4, data 4, hole 4, same 28");
    cr_assert_str_eq(extents_of(volume, VOLUME_CHANGED, second, 0, 64 * KIB), "data 4, same 60");
    cr_assert_str_eq(extents_of(volume, VOLUME_CHANGED, cut, 20 * KIB, 10 * KIB),
                     "data 4, same 4, data 2");
    cr_assert_str_eq(extents_of(volume, VOLUME_CHANGED, 0, 0, 128 * KIB),
                     "data 32, hole 4, data 28, same 64");
    /* Between two cuts: of the view of the second. */
    struct volume *view = bench_view(1, second, NULL, 0);
    cr_assert_str_eq(extents_of(view, VOLUME_CHANGED, cut, 0, 64 * KIB),
                     "same 16, data 8, same 4, data 4, hole 4, same 28");
    cr_assert(reads_as(view, 0, 4 * KIB, 1));
    cr_assert(reads_as(volume, 0, 4 * KIB, 3));
    volume_close(view);
    volume_close(volume);
}

/* A few blocks in a TiB: found without looking at what lies between. */
Test(changed, what_did_not_change_costs_nothing)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    uint64_t tebibyte = 1ull << 40;
    cr_assert_eq(write_bytes(volume, 0, 64 * KIB, 1), 0);
    cr_assert_eq(write_bytes(volume, 300 * MIB, 64 * KIB, 1), 0);
    uint64_t cut = cut_now(volume);
    cr_assert_eq(write_bytes(volume, 300 * MIB, 4 * KIB, 2), 0);
    cr_assert_eq(write_bytes(volume, tebibyte - 4 * KIB, 4 * KIB, 2), 0);
    requests[0].io.since = cut;
    uint64_t steps = bench.world.steps;
    cr_assert_str_eq(extents_of(volume, VOLUME_CHANGED, cut, 0, tebibyte),
                     "same 307200, data 4, same 1073434616, data 4");
    cr_assert_lt(bench.world.steps - steps, 40u);
    cr_assert_str_eq(extents_of(volume, VOLUME_MAP, 0, 0, tebibyte),
                     "data 64, hole 307136, data 64, hole 1073434556, data 4");
    cr_assert_lt(bench.world.steps - steps, 80u);
    volume_close(volume);
}

Test(changed, an_answer_that_is_full_goes_on_where_it_ended)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    uint64_t cut = cut_now(volume);
    for (unsigned i = 0; i < 100; i++)
        cr_assert_eq(write_bytes(volume, i * 8ull * KIB, 4 * KIB, 1), 0);
    uint64_t changed = 0;
    unsigned answers = 0;
    for (uint64_t offset = 0; offset < MIB; answers++) {
        requests[0].io.since = cut;
        cr_assert_eq(request_run(volume, VOLUME_CHANGED, 0, offset, MIB - offset), 0);
        cr_assert_gt(requests[0].io.extent_count, 0);
        for (uint32_t i = 0; i < requests[0].io.extent_count; i++) {
            const struct volume_extent *extent = &requests[0].extents[i];
            changed += extent->flags == VOLUME_EXTENT_CHANGED ? extent->bytes : 0;
            offset += extent->bytes;
        }
    }
    cr_assert_eq(changed, 400 * KIB);
    cr_assert_eq(answers, 4u);
    volume_close(volume);
}

/* Asked of all of a volume in use: no write waits for it, and it waits for none. */
Test(changed, holds_no_range)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    struct noted_hold noted;
    cr_assert_eq(write_bytes(volume, 0, 4 * KIB, 1), 0);
    uint64_t cut = cut_now(volume);
    hold_start(&noted, volume);
    request_start(&requests[1], volume, VOLUME_WRITE, 0, 4 * KIB);
    bench_wait(&noted.waits);
    cr_assert(requests[1].busy);
    cr_assert_str_eq(extents_of(volume, VOLUME_CHANGED, cut, 0, MIB), "same 1024");
    volume_release(volume, &noted.hold);
    bench_wait(&requests[1].busy);
    cr_assert_str_eq(extents_of(volume, VOLUME_CHANGED, cut, 0, MIB), "data 4, same 1020");
    volume_close(volume);
}

Test(changed, since_nothing_the_family_counts)
{
    static const struct volume_parent line[] = {{2, VIEW_HEAD}, {1, VIEW_HEAD}};
    struct volume *first = bench_volume(1, NULL, 0);
    struct volume *second = bench_volume(2, line + 1, 1);
    struct volume *third = bench_volume(3, line, 2);
    cr_assert_eq(write_bytes(first, 0, 8 * KIB, 1), 0);
    cr_assert_eq(write_bytes(first, 3 * MIB, 4 * KIB, 1), 0);
    cr_assert_eq(write_bytes(second, 2 * MIB, 4 * KIB, 2), 0);
    cr_assert_eq(discard_bytes(second, 4 * KIB, 4 * KIB), 0);
    cr_assert_eq(write_bytes(third, 16 * KIB, 4 * KIB, 3), 0);
    cr_assert_eq(write_bytes(third, 600 * MIB, 4 * KIB, 3), 0);
    cr_assert_str_eq(extents_of(third, VOLUME_CHANGED, 0, 0, 601 * MIB),
                     "data 4, hole 4, same 8, data 4, same 2028, data 4, same 1020, data 4, "
                     "same 611324, data 4, same 1020");
    cr_assert_str_eq(extents_of(third, VOLUME_MAP, 0, 0, 601 * MIB),
                     "data 4, hole 12, data 4, hole 2028, data 4, hole 1020, data 4, "
                     "hole 611324, data 4, hole 1020");
    /* Since a cut of its own: what is in its own head. */
    uint64_t cut = cut_now(third);
    cr_assert_eq(write_bytes(third, 0, 4 * KIB, 4), 0);
    cr_assert_str_eq(extents_of(third, VOLUME_CHANGED, cut, 0, 4 * MIB), "data 4, same 4092");
    volume_close(first);
    volume_close(second);
    volume_close(third);
}

#define SPREAD 300u

/* Nanoseconds to find what changed, in a store that was just opened. */
static uint64_t find_spread(uint32_t segments_max, uint64_t since, uint64_t cut)
{
    static struct volume_extent extents[4 * SPREAD];
    bench_reopen(segments_max);
    struct volume *view = bench_view(1, cut, NULL, 0);
    struct request *request = &requests[0];
    uint64_t begun = bench.world.now_ns;
    request_prepare(request, VOLUME_CHANGED, 0, (uint64_t)SPREAD * 256 * MIB);
    request->io.since = since;
    request->io.extents = extents;
    request->io.extent_max = COUNT_OF(extents);
    volume_submit(view, &request->io);
    bench_wait(&request->busy);
    cr_assert_eq(request->result, 0);
    unsigned found = 0;
    for (uint32_t i = 0; i < request->io.extent_count; i++)
        found += (extents[i].flags & VOLUME_EXTENT_CHANGED) != 0;
    cr_assert_eq(found, SPREAD);
    volume_close(view);
    return bench.world.now_ns - begun;
}

/* Scouts go on looking from one page that is found to the next. With few segments in memory there
 * are none. */
Test(changed, many_changes_far_apart_are_looked_for_at_once, .init = bench_open_large)
{
    struct volume *volume = bench_volume(1, NULL, 0);
    uint64_t since = cut_now(volume);
    for (unsigned i = 0; i < SPREAD; i++)
        cr_assert_eq(write_bytes(volume, (i * 256ull + i % 256) * MIB, 4 * KIB, 1), 0);
    uint64_t cut = cut_now(volume);
    volume_close(volume);
    uint64_t alone = find_spread(64, since, cut);
    uint64_t scouted = find_spread(2048, since, cut);
    cr_assert_lt(scouted * 14, alone, "%llu of %llu ns", (unsigned long long)scouted,
                 (unsigned long long)alone);
}

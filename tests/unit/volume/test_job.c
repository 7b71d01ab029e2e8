/* SPDX-License-Identifier: Apache-2.0 */
/* Flattening and rolling back, while volumes are in use. */
#include "bench.h"

TestSuite(job, .init = bench_open, .fini = bench_close);

static uint64_t written_blocks(void)
{
    struct store_stats stats;
    store_stats(bench.store, &stats);
    return stats.written_blocks;
}

/* --- Flattening ----------------------------------------------------------------------------- */

/* Volumes that nobody writes to any more are as good as snapshots. */
static const struct volume_parent line[] = {{2, VIEW_HEAD}, {1, VIEW_HEAD}};
static struct volume *volumes[4];
static struct picture shown;

static void make_line(void)
{
    volumes[1] = bench_volume(1, NULL, 0);
    volumes[2] = bench_volume(2, line + 1, 1);
    volumes[3] = bench_volume(3, line, 2);
    for (unsigned i = 1; i < 4; i++)
        change_some(volumes[i], &shown, 30);
    must_show(volumes[3], &shown);
}

static void close_line(void)
{
    for (unsigned i = 1; i < 4; i++)
        volume_close(volumes[i]);
}

Test(job, a_flattened_volume_shows_the_same_without_its_parents)
{
    make_line();
    cr_assert_eq(write_bytes(volumes[1], 700 * MIB, 4096, 9), 0);
    struct noted_job noted;
    flatten_start(&noted, volumes[3], 0);
    bench_wait(&noted.runs);
    cr_assert_eq(noted.result, 0);
    cr_assert_eq(noted.total_bytes, 1ull << 40);
    cr_assert_eq(noted.progressed, 7u);
    cr_assert_eq(volume_set_parents(volumes[3], NULL, 0), 0);
    must_show(volumes[3], &shown);
    cr_assert(reads_as(volumes[3], 700 * MIB, 4096, 9));
    /* All of it is there: nothing is written a second time. */
    uint64_t before = written_blocks();
    cr_assert_eq(volume_set_parents(volumes[3], line, 2), 0);
    cr_assert_eq(flatten_now(volumes[3]), 0);
    cr_assert_eq(written_blocks(), before);
    cr_assert_eq(volume_io_count(volumes[3]), 0u);
    close_line();
}

Test(job, zeros_of_the_family_stay_holes)
{
    volumes[1] = bench_volume(1, NULL, 0);
    volumes[2] = bench_volume(2, line + 1, 1);
    volumes[3] = bench_volume(3, line, 2);
    cr_assert_eq(write_bytes(volumes[1], 0, 64 * KIB, 1), 0);
    cr_assert_eq(discard_bytes(volumes[2], 8 * KIB, 8 * KIB), 0);
    uint64_t before = written_blocks();
    cr_assert_eq(flatten_now(volumes[3]), 0);
    cr_assert_eq(written_blocks(), before + 14);
    cr_assert_eq(volume_set_parents(volumes[3], NULL, 0), 0);
    cr_assert_str_eq(extents_of(volumes[3], VOLUME_MAP, 0, 0, 128 * KIB),
                     "data 8, hole 8, data 48, hole 64");
    close_line();
}

/* Writes and discards all over it while it is flattened, eight at once. What overlaps goes in the
 * order of asking. */
Test(job, writes_meanwhile_win)
{
    make_line();
    struct noted_job noted;
    flatten_start(&noted, volumes[3], 0);
    unsigned changes = 0;
    while (noted.runs) {
        for (unsigned i = 2; i < 10; i++) {
            if (requests[i].busy)
                continue;
            change_start(&requests[i], volumes[3], &shown);
            changes++;
        }
        bench_turn();
    }
    for (unsigned i = 2; i < 10; i++)
        bench_wait(&requests[i].busy);
    cr_assert_gt(changes, 20u);
    cr_assert_eq(noted.result, 0);
    must_show(volumes[3], &shown);
    cr_assert_eq(volume_set_parents(volumes[3], NULL, 0), 0);
    must_show(volumes[3], &shown);
    close_line();
}

Test(job, a_job_that_is_stopped_goes_on_later)
{
    make_line();
    struct noted_job noted;
    unsigned runs = 0;
    do {
        flatten_start(&noted, volumes[3], 1);
        bench_wait(&noted.runs);
        cr_assert(noted.result == 0 || noted.result == -ECANCELED);
        must_show(volumes[3], &shown);
        runs++;
        /* What is done is looked at again. */
        if (runs == 3)
            break;
    } while (noted.result != 0);
    cr_assert_eq(flatten_now(volumes[3]), 0);
    cr_assert_eq(volume_set_parents(volumes[3], NULL, 0), 0);
    must_show(volumes[3], &shown);
    close_line();
}

/* A cut in the middle: what the clone showed then its snapshot shows, with the family. */
Test(job, a_cut_falls_into_a_flattening)
{
    static struct picture then;
    make_line();
    struct noted_job noted;
    flatten_start(&noted, volumes[3], 0);
    bench_turns(40);
    uint64_t cut = cut_now(volumes[3]);
    then = shown;
    cr_assert(noted.runs);
    bench_wait(&noted.runs);
    cr_assert_eq(noted.result, 0);
    cr_assert_eq(volume_set_parents(volumes[3], NULL, 0), 0);
    change_some(volumes[3], &shown, 20);
    must_show(volumes[3], &shown);
    struct volume *view = bench_view(3, cut, line, 2);
    must_show(view, &then);
    volume_close(view);
    close_line();
}

Test(job, a_parent_that_cannot_be_read_is_told_and_harms_nothing)
{
    make_line();
    struct noted_job noted;
    bench.disk->faults.read_error_one_in = 1;
    flatten_start(&noted, volumes[3], 0);
    bench_wait(&noted.runs);
    cr_assert_eq(noted.result, -EIO);
    bench.disk->faults.read_error_one_in = 0;
    must_show(volumes[3], &shown);
    cr_assert_eq(flatten_now(volumes[3]), 0);
    cr_assert_eq(volume_set_parents(volumes[3], NULL, 0), 0);
    must_show(volumes[3], &shown);
    close_line();
}

Test(job, ends_when_the_store_fails)
{
    make_line();
    struct noted_job noted;
    flatten_start(&noted, volumes[3], 0);
    bench_turns(20);
    bench.disk->faults.write_error_one_in = 1;
    bench_wait(&noted.runs);
    cr_assert_lt(noted.result, 0);
    close_line();
}

/* A full store in the middle. */
Test(job, without_space_it_says_so_and_goes_on_when_there_is, .init = bench_open_small)
{
    struct volume *other = bench_volume(9, NULL, 0);
    struct volume *parent = bench_volume(1, NULL, 0);
    struct volume *clone = bench_volume(2, line + 1, 1);
    cr_assert_eq(write_bytes(parent, 0, 2 * MIB, 1), 0);
    int result = 0;
    uint64_t filled = 0;
    for (; result == 0 && filled < 8 * MIB; filled += 64 * KIB)
        result = write_bytes(other, filled, 64 * KIB, 7);
    cr_assert_eq(result, -ENOSPC);
    cr_assert_eq(discard_bytes(other, 0, MIB), 0);
    cr_assert_eq(request_run(other, VOLUME_FLUSH, 0, 0, 0), 0);
    cr_assert_eq(flatten_now(clone), -ENOSPC);
    cr_assert(reads_as(clone, 0, 2 * MIB, 1));
    cr_assert_eq(discard_bytes(other, 0, 8 * MIB), 0);
    cr_assert_eq(request_run(other, VOLUME_FLUSH, 0, 0, 0), 0);
    cr_assert_eq(flatten_now(clone), 0);
    cr_assert_eq(volume_set_parents(clone, NULL, 0), 0);
    cr_assert(reads_as(clone, 0, 2 * MIB, 1));
    volume_close(other);
    volume_close(parent);
    volume_close(clone);
}

/* --- Rolling back --------------------------------------------------------------------------- */

Test(job, a_volume_that_is_rolled_back_shows_what_its_snapshot_shows)
{
    static struct picture then;
    struct volume *volume = bench_volume(1, NULL, 0);
    change_some(volume, &then, 40);
    uint64_t cut = cut_now(volume);
    shown = then;
    change_some(volume, &shown, 20);
    uint64_t second = cut_now(volume);
    static struct picture later;
    later = shown;
    change_some(volume, &shown, 20);
    uint64_t from = volume_sequence(volume) - 1;
    cr_assert_eq(roll_back_now(volume, cut, from, NULL, 0, 0), 0);
    must_show(volume, &then);
    struct volume *view = bench_view(1, cut, NULL, 0);
    struct volume *other = bench_view(1, second, NULL, 0);
    must_show(view, &then);
    must_show(other, &later);
    /* Nothing is shared by place: what is written now only the head shows. */
    cr_assert_str_eq(extents_of(volume, VOLUME_CHANGED, from, 64 * MIB, MIB), "same 1024");
    shown = then;
    change_some(volume, &shown, 40);
    must_show(volume, &shown);
    must_show(view, &then);
    must_show(other, &later);
    volume_close(view);
    volume_close(other);
    volume_close(volume);
}

/* As after a crash in the middle: what was rolled back has newer sequences, and is left alone. */
Test(job, a_rollback_goes_on_where_it_was)
{
    static struct picture then;
    struct volume *volume = bench_volume(1, NULL, 0);
    change_some(volume, &then, 40);
    uint64_t cut = cut_now(volume);
    shown = then;
    change_some(volume, &shown, 60);
    uint64_t from = volume_sequence(volume) - 1;
    cr_assert_eq(roll_back_now(volume, cut, from, NULL, 0, 1), -ECANCELED);
    cr_assert_eq(roll_back_now(volume, cut, from, NULL, 0, 0), 0);
    must_show(volume, &then);
    uint64_t sequence = volume_sequence(volume);
    cr_assert_eq(roll_back_now(volume, cut, from, NULL, 0, 0), 0);
    cr_assert_eq(volume_sequence(volume), sequence);
    must_show(volume, &then);
    volume_close(volume);
}

/* The cut was taken before the clone was flattened: what it showed of the family comes back. */
Test(job, a_rollback_to_before_a_flattening)
{
    static struct picture then;
    make_line();
    uint64_t cut = cut_now(volumes[3]);
    then = shown;
    cr_assert_eq(flatten_now(volumes[3]), 0);
    cr_assert_eq(volume_set_parents(volumes[3], NULL, 0), 0);
    change_some(volumes[3], &shown, 30);
    must_show(volumes[3], &shown);
    uint64_t from = volume_sequence(volumes[3]) - 1;
    cr_assert_eq(roll_back_now(volumes[3], cut, from, line, 2, 0), 0);
    must_show(volumes[3], &then);
    close_line();
}

/* And of a clone that is one still: where its snapshot shows its parents, it is data of its own. */
Test(job, a_rollback_of_a_clone)
{
    static struct picture then;
    make_line();
    uint64_t cut = cut_now(volumes[3]);
    then = shown;
    change_some(volumes[3], &shown, 60);
    uint64_t from = volume_sequence(volumes[3]) - 1;
    cr_assert_eq(roll_back_now(volumes[3], cut, from, line, 2, 0), 0);
    must_show(volumes[3], &then);
    close_line();
}

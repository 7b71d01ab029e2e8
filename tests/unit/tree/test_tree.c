/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "sim/forest.h"

static void close_after(struct forest *forest)
{
    forest_checkpoint(forest);
    struct survey *survey = calloc(1, sizeof *survey);
    survey_run(survey, forest);
    survey_check(survey, forest);
    free(survey);
    forest_close(forest);
}

static unsigned out_count(const struct forest *forest)
{
    unsigned count = 0;
    for (uint32_t i = FOREST_PAGE_BLOCKS; i < FOREST_BLOCKS; i++)
        count += forest->state[i] == PLACE_OUT;
    return count;
}

Test(tree, a_pointer_moves_only_to_a_newer_sequence)
{
    struct forest *forest = forest_open(1, 64, 64);
    cr_assert(forest_set(forest, 1, 5, 10));
    cr_assert(!forest_set(forest, 1, 5, 10));
    cr_assert(!forest_set(forest, 1, 5, 9));
    cr_assert_eq(forest_get(forest, 1, 5).sequence, 10);
    cr_assert_eq(forest->freed_calls, 0);
    cr_assert(forest_set(forest, 1, 5, 11));
    cr_assert_eq(forest->freed_calls, 1);
    cr_assert_eq(out_count(forest), 1);
    cr_assert_eq(forest_get(forest, 1, 6).kind, POINTER_HOLE);
    cr_assert_eq(forest_get(forest, 2, 5).kind, POINTER_HOLE);
    close_after(forest);
}

Test(tree, a_repair_replaces_whatever_the_sequence)
{
    struct forest *forest = forest_open(1, 64, 64);
    forest_set(forest, 1, 5, 10);
    struct tree_path *path = forest_at(forest, 1, 5, true);
    struct pointer pointer = forest_raw(forest_take(forest), 10);
    tree_replace(path, 5, &pointer);
    cr_assert_eq(tree_get(path, 5).place, pointer.place);
    tree_path_close(path);
    cr_assert_eq(out_count(forest), 1);
    close_after(forest);
}

Test(tree, a_block_that_was_not_zeroed_keeps_its_sequence)
{
    struct forest *forest = forest_open(1, 64, 64);
    forest_set(forest, 1, 0, 10);
    forest_zero(forest, 1, 1, 255, 20); /* All but block 0, which is older. */
    cr_assert_eq(forest_get(forest, 1, 0).sequence, 10);
    cr_assert_eq(forest_get(forest, 1, 1).sequence, 20);
    forest_zero(forest, 1, 256, 128, 20); /* Half of a map page of holes. */
    cr_assert_eq(forest_get(forest, 1, 256 + 127).sequence, 20);
    cr_assert_eq(forest_get(forest, 1, 256 + 128).sequence, 0);
    cr_assert_eq(forest_get(forest, 1, 256 + 128).kind, POINTER_HOLE);
    close_after(forest);
}

Test(tree, zeroing_a_whole_map_page_gives_the_page_and_its_blocks_back)
{
    struct forest *forest = forest_open(1, 64, 64);
    for (unsigned i = 0; i < 100; i++)
        forest_set(forest, 1, i, 1 + i);
    cr_assert_eq(forest_pages_used(forest), 2);
    forest_zero(forest, 1, 0, 256, 200);
    cr_assert_eq(forest_pages_used(forest), 1);
    cr_assert_eq(out_count(forest), 0);
    cr_assert_eq(forest->freed_calls, 1); /* Neighbours are told as one run. */
    cr_assert_eq(forest_get(forest, 1, 255).sequence, 200);
    forest_zero(forest, 1, 0, 256, 150); /* Late: no effect. */
    cr_assert_eq(forest_get(forest, 1, 7).sequence, 200);
    close_after(forest);
}

Test(tree, a_newer_block_keeps_the_page)
{
    struct forest *forest = forest_open(1, 64, 64);
    forest_set(forest, 1, 3, 300);
    forest_set(forest, 1, 4, 100);
    forest_zero(forest, 1, 0, 256, 200);
    cr_assert_eq(forest_get(forest, 1, 3).kind, POINTER_RAW);
    cr_assert_eq(forest_get(forest, 1, 4).sequence, 200);
    cr_assert_eq(forest_pages_used(forest), 2);
    close_after(forest);
}

Test(tree, two_halves_zeroed_by_one_write_collapse)
{
    struct forest *forest = forest_open(1, 64, 64);
    forest_set(forest, 1, 3, 10);
    forest_zero(forest, 1, 0, 128, 20);
    cr_assert_eq(forest_pages_used(forest), 2);
    forest_zero(forest, 1, 128, 128, 20);
    cr_assert_eq(forest_pages_used(forest), 1);
    cr_assert_eq(forest_get(forest, 1, 200).sequence, 20);
    close_after(forest);
}

Test(tree, a_change_beneath_a_zero_expands_it)
{
    struct forest *forest = forest_open(1, 64, 64);
    cr_assert_eq(tree_zero_segment(&forest->path, 1, 2, 50), 0);
    cr_assert_eq(forest_pages_used(forest), 0);
    uint64_t base = 2 * SEGMENT_BLOCKS;
    cr_assert(!forest_set(forest, 1, base + 9, 50));
    cr_assert(forest_set(forest, 1, base + 9, 51));
    cr_assert_eq(forest_get(forest, 1, base + 10).sequence, 50);
    cr_assert_eq(forest_get(forest, 1, base + 60000).kind, POINTER_ZERO);
    cr_assert_eq(tree_zero_segment(&forest->path, 1, 2, 60), -ENOENT);
    cr_assert_eq(forest_pages_used(forest), 2);
    close_after(forest);
}

Test(tree, a_compressed_run_goes_with_its_last_pointer)
{
    struct forest *forest = forest_open(1, 64, 64);
    struct tree_path *path = forest_at(forest, 1, 0, true);
    uint64_t place = forest_take(forest);
    cr_assert_eq(forest_take(forest), place + 1);
    for (unsigned i = 0; i < 8; i++) {
        struct pointer pointer = {
            .kind = (uint16_t)(POINTER_RUN | i << 5 | 1u), .place = place, .sequence = 5};
        cr_assert(tree_set(path, i, &pointer));
    }
    tree_zero(path, 0, 4, 6);
    tree_zero(path, 5, 3, 6);
    cr_assert_eq(forest->freed_calls, 0);
    struct pointer raw = forest_raw(forest_take(forest), 7);
    cr_assert(tree_set(path, 4, &raw));
    cr_assert_eq(forest->freed_calls, 1);
    cr_assert_eq(out_count(forest), 1);
    tree_path_close(path);
    close_after(forest);
}

Test(tree, a_deleted_segment_leaves_nothing_behind)
{
    struct forest *forest = forest_open(1, 64, 64);
    forest_set(forest, 1, 5, 10);
    forest_set(forest, 1, 600, 11);
    forest_zero(forest, 1, 1024, 256, 12);
    forest_checkpoint(forest);
    cr_assert_eq(forest_pages_used(forest), 4);
    struct segment_key key = {1, 0, VIEW_HEAD}, found;
    cr_assert_eq(tree_drop_segment(&forest->path, &key), -EBUSY);
    for (uint64_t block = 0; block < 1024; block += 256) {
        tree_drop_map(forest_at(forest, 1, block, true));
        tree_path_close(&forest->path);
    }
    cr_assert_eq(tree_drop_segment(&forest->path, &key), 0);
    cr_assert_eq(forest_next(forest, &(struct segment_key){0}, &found), -ENOENT);
    forest_checkpoint(forest);
    cr_assert_eq(forest_pages_used(forest), 0);
    cr_assert_eq(forest->root.kind, POINTER_HOLE);
    forest_reopen(forest);
    cr_assert_eq(forest_next(forest, &(struct segment_key){0}, &found), -ENOENT);
    cr_assert_eq(out_count(forest), 0);
    close_after(forest);
}

Test(tree, a_record_is_kept_and_dropped)
{
    struct forest *forest = forest_open(1, 64, 64);
    struct tree_path *path = &forest->path;
    cr_assert_eq(tree_record_open(path, 7, false), -ENOENT);
    cr_assert_eq(tree_record_open(path, 7, true), 0);
    memset(page_change(path->page), 0xab, BLOCK_BYTES);
    tree_path_close(path);
    forest_checkpoint(forest);
    forest_reopen(forest);
    int result;
    while ((result = tree_record_open(path, 7, true)) == -EAGAIN)
        forest_turn(forest);
    cr_assert_eq(result, 0);
    cr_assert_eq(page_bytes(path->page)[4095], 0xab);
    tree_record_drop(path);
    cr_assert_eq(tree_record_open(path, 7, false), -ENOENT);
    close_after(forest);
}

static void zero_segment(struct forest *forest, uint64_t volume, uint32_t segment,
                         uint64_t sequence)
{
    int result;
    while ((result = tree_zero_segment(&forest->path, volume, segment, sequence)) == -EAGAIN)
        forest_turn(forest);
    cr_assert_eq(result, 0);
}

static void drop_segment(struct forest *forest, uint64_t volume, uint32_t segment)
{
    struct segment_key key = {volume, segment, VIEW_HEAD};
    int result;
    while ((result = tree_drop_segment(&forest->path, &key)) == -EAGAIN)
        forest_turn(forest);
    cr_assert_eq(result, 0);
}

static unsigned count_in_order(struct forest *forest)
{
    struct segment_key key = {0}, found;
    unsigned count = 0;
    while (forest_next(forest, &key, &found) == 0) {
        cr_assert(count == 0 || segment_key_compare(&found, &key) >= 0);
        key = found;
        key.segment++;
        key.view = 0;
        count++;
    }
    return count;
}

/* 20,000 segments need 167 full leaves and two levels above them. */
Test(tree, the_table_grows_by_levels_and_shrinks_to_nothing)
{
    struct forest *forest = forest_open(1, 256, 256);
    struct prng prng = {.state = 5};
    const uint32_t count = 20000;
    for (uint32_t i = 0; i < count; i++)
        zero_segment(forest, 1 + i % 2, (uint32_t)(i * 7919ull % count), 1 + i);
    forest_checkpoint(forest);
    cr_assert_leq(forest_pages_used(forest), count / 40);
    forest_reopen(forest);
    cr_assert_eq(count_in_order(forest), count);
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t at = (uint32_t)prng_below(&prng, count);
        uint64_t block = i * 7919ull % count * SEGMENT_BLOCKS + at;
        cr_assert_eq(forest_get(forest, 1 + i % 2, block).sequence, 1 + i);
    }

    /* All but one in a hundred go: what is left is not spread thinly over old nodes. */
    for (uint32_t i = 0; i < count; i++) {
        if (i % 100 != 0)
            drop_segment(forest, 1 + i % 2, (uint32_t)(i * 7919ull % count));
    }
    forest_checkpoint(forest);
    cr_assert_eq(count_in_order(forest), count / 100);
    cr_assert_leq(forest_pages_used(forest), 24, "%lu pages for %u entries",
                  forest_pages_used(forest), count / 100);
    for (uint32_t i = 0; i < count; i += 100)
        drop_segment(forest, 1 + i % 2, (uint32_t)(i * 7919ull % count));
    forest_checkpoint(forest);
    cr_assert_eq(forest_pages_used(forest), 0);
    close_after(forest);
}

/* What may be changed meanwhile was let in by what was known of the table before. */
Test(tree, a_table_that_lost_a_level_asks_for_no_more_pages)
{
    struct forest *forest = forest_open(1, 256, 256);
    const uint32_t count = 300;
    for (uint32_t i = 0; i < count; i++)
        zero_segment(forest, 1, i, 1 + i);
    forest_checkpoint(forest);
    for (uint32_t i = 40; i < count; i++)
        drop_segment(forest, 1, i);
    forest_settle(forest);
    forest_freeze(forest);
    for (uint32_t i = 0; i < 12; i++)
        zero_segment(forest, 1, i, count + i);
    uint32_t before = tree_table_pages_max(forest->tree);
    forest_settle(forest);
    cr_assert_leq(tree_table_pages_max(forest->tree), before);
    forest_checkpoint(forest);
    close_after(forest);
}

Test(tree, a_pool_full_of_changes_waits_for_a_checkpoint)
{
    struct forest *forest = forest_open(1, 512, 64);
    forest->still = true;
    for (uint32_t i = 0; i < 64; i++)
        zero_segment(forest, 1, i, 1);
    cr_assert(tree_wants_checkpoint(forest->tree));
    cr_assert_eq(tree_path_open(&forest->path, 1, VIEW_HEAD, 64ull * SEGMENT_BLOCKS, false),
                 -EAGAIN);
    forest_settle(forest);
    cr_assert_eq(tree_path_open(&forest->path, 1, VIEW_HEAD, 64ull * SEGMENT_BLOCKS, false),
                 -EAGAIN);
    forest_checkpoint(forest);
    cr_assert_eq(forest_get(forest, 1, 64ull * SEGMENT_BLOCKS).kind, POINTER_HOLE);
    close_after(forest);
}

Test(tree, a_segment_leaves_memory_with_its_pages)
{
    struct forest *forest = forest_open(1, 512, 64);
    for (uint32_t i = 0; i < 200; i++) /* The cache could hold all of them. */
        forest_set(forest, 1, (uint64_t)i * SEGMENT_BLOCKS, 1 + i);
    for (uint32_t i = 0; i < 200; i++)
        cr_assert_eq(forest_get(forest, 1, (uint64_t)i * SEGMENT_BLOCKS).sequence, 1 + i);
    close_after(forest);
}

static void spoil(struct forest *forest, uint64_t place)
{
    uint8_t byte;
    sim_disk_peek(forest->disk, place * BLOCK_BYTES + 50, 1, &byte);
    byte ^= 4;
    sim_disk_poke(forest->disk, place * BLOCK_BYTES + 50, 1, &byte);
}

static int open_until(struct forest *forest, uint64_t block, bool change)
{
    int result;
    while ((result = tree_path_open(&forest->path, 1, VIEW_HEAD, block, change)) == -EAGAIN)
        forest_turn(forest);
    return result;
}

Test(tree, a_broken_map_page_is_an_error_for_its_own_blocks_alone)
{
    struct forest *forest = forest_open(1, 64, 64);
    forest_set(forest, 1, 5, 10);
    forest_set(forest, 1, 300, 11);
    forest_checkpoint(forest);
    struct tree_path *path = forest_at(forest, 1, 5, false);
    struct pointer map = page_slot(path->directory, 0);
    tree_path_close(path);
    spoil(forest, map.place);
    forest_reopen(forest);
    cr_assert_eq(open_until(forest, 5, false), IOMESH_CORRUPT);
    cr_assert_eq(open_until(forest, 5, true), IOMESH_CORRUPT);
    cr_assert_eq(forest_get(forest, 1, 300).sequence, 11);
    spoil(forest, map.place); /* Back as it was: nothing was written over it. */
    cr_assert_eq(forest_get(forest, 1, 5).sequence, 10);
    close_after(forest);
}

struct seen {
    struct tree_visit broken;
};

static void see_broken(struct survey *survey, const struct tree_visit *visit)
{
    struct seen *seen = survey->context;
    if (visit->error != 0)
        seen->broken = *visit;
}

Test(tree, a_walk_tells_what_is_broken_and_goes_on)
{
    struct forest *forest = forest_open(1, 256, 64);
    for (uint32_t i = 0; i < 400; i++) /* Several leaves, and few pages beneath. */
        zero_segment(forest, 1, i, 1);
    for (uint32_t i = 0; i < 400; i += 20)
        forest_set(forest, 1, (uint64_t)i * SEGMENT_BLOCKS + i, 2 + i);
    forest_checkpoint(forest);
    struct survey *whole = calloc(1, sizeof *whole);
    survey_run(whole, forest);
    cr_assert_eq(whole->blocks, 20 * 256);
    uint64_t leaf = 0;
    uint64_t pages = 0;
    for (uint64_t place = 1; place < FOREST_PAGE_BLOCKS; place++) {
        if (!whole->page_at[place])
            continue;
        spoil(forest, place);
        forest_reopen(forest);
        struct survey *survey = calloc(1, sizeof *survey);
        struct seen seen = {0};
        survey->look = see_broken;
        survey->context = &seen;
        survey_run(survey, forest);
        cr_assert_eq(survey->errors, 1);
        cr_assert_eq(seen.broken.error, IOMESH_CORRUPT);
        cr_assert_eq(seen.broken.pointer.place, place);
        bool table = seen.broken.what == TREE_VISIT_TABLE;
        leaf += table && seen.broken.level == 0;
        /* One segment is lost at most, or what one leaf has; with the root, all. */
        uint64_t lost = !table ? 1 : seen.broken.level == 0 ? 6 : 20;
        cr_assert_geq(survey->blocks + lost * 256, 20 * 256);
        free(survey);
        spoil(forest, place);
        pages++;
    }
    cr_assert_eq(pages, whole->pages);
    cr_assert_geq(leaf, 4);
    free(whole);
    forest_reopen(forest);
    close_after(forest);
}

Test(tree, a_table_that_cannot_be_written_fails_the_checkpoint_once)
{
    struct forest *forest = forest_open(1, 64, 64);
    forest_set(forest, 1, 5, 10);
    forest_checkpoint(forest);
    forest_set(forest, 1, 5, 11);
    forest->disk->faults.write_error_at =
        forest->disk->counts.writes + 3; /* Map, directory, table. */
    forest_freeze(forest);
    forest_settle(forest);
    cr_assert_eq(forest->failed, IOMESH_FAILED);
    cr_assert_eq(forest->checkpoints, 1);
    cr_assert_eq(forest_get(forest, 1, 5).sequence, 11);
    forest->failed = 0;
    forest->devices.failed = 0;
    forest_reopen(forest);
    cr_assert_eq(forest_get(forest, 1, 5).sequence, 10);
    forest_close(forest);
}

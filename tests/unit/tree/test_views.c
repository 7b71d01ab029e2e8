/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "sim/forest.h"

#define VOLUME 1u
#define FRAMES 64u
#define SEGMENTS 64u

static struct forest *forest;

static void begin(void)
{
    forest = forest_open(1, FRAMES, SEGMENTS);
}

/* Nothing leaks, nothing is freed that is shown, the count of pages is right; now and after. */
static void prove(void)
{
    forest_settle(forest);
    struct survey *survey = calloc(1, sizeof *survey);
    survey_run(survey, forest);
    survey_check(survey, forest);
    free(survey);
}

static void end(void)
{
    prove();
    forest_checkpoint(forest);
    prove();
    forest_reopen(forest);
    prove();
    forest_close(forest);
}

static unsigned out_count(void)
{
    unsigned count = 0;
    for (uint32_t i = FOREST_PAGE_BLOCKS; i < FOREST_BLOCKS; i++)
        count += forest->state[i] == PLACE_OUT;
    return count;
}

static void set(uint64_t block, uint64_t sequence, uint64_t cut)
{
    cr_assert(forest_set_under(forest, VOLUME, block, sequence, cut));
}

static uint64_t shows(uint64_t view, uint64_t block)
{
    return forest_get_view(forest, VOLUME, view, block).sequence;
}

static void drop(uint64_t cut, uint64_t previous)
{
    cr_assert_eq(forest_drop_view(forest, VOLUME, 0, cut, previous), 0);
}

TestSuite(views, .init = begin, .fini = end);

Test(views, a_cut_shows_what_the_head_showed_and_the_head_goes_on)
{
    set(3, 10, 0);
    set(4, 11, 0);
    set(3, 21, 20);
    cr_assert_eq(shows(VIEW_HEAD, 3), 21);
    cr_assert_eq(shows(20, 3), 10);
    cr_assert_eq(shows(20, 4), 11);
    cr_assert_eq(shows(15, 3), 10); /* An older cut without a page of its own. */
    cr_assert_eq(shows(30, 3), 21); /* A newer one shows the head. */
    cr_assert_eq(out_count(), 3);
}

Test(views, the_view_takes_over_the_written_version_of_the_page)
{
    set(3, 10, 0);
    forest_checkpoint(forest);
    uint64_t before = forest_pages_used(forest);
    struct tree_path *path = forest_at(forest, VOLUME, 3, false);
    uint64_t place = page_pointer(path->page).place;
    tree_path_close(path);
    set(3, 21, 20);
    cr_assert_eq(forest_pages_used(forest), before + 1);
    int result;
    while ((result = tree_path_open(path, VOLUME, 20, 3, false)) == -EAGAIN)
        forest_turn(forest);
    cr_assert_eq(result, 0);
    cr_assert_eq(page_pointer(path->page).place, place);
    cr_assert_eq(path->owner, 20);
    tree_path_close(path);
    prove();
    forest_checkpoint(forest);
    forest_reopen(forest);
    cr_assert_eq(shows(20, 3), 10);
    cr_assert_eq(shows(VIEW_HEAD, 3), 21);
}

Test(views, what_was_never_written_is_a_hole_of_the_view)
{
    set(3, 21, 20);
    cr_assert_eq(shows(20, 3), 0);
    cr_assert_eq(forest_get_view(forest, VOLUME, 20, 3).kind, POINTER_HOLE);
    forest_checkpoint(forest);
    forest_reopen(forest);
    cr_assert_eq(forest_get_view(forest, VOLUME, 20, 3).kind, POINTER_HOLE);
    set(3, 31, 30);
    cr_assert_eq(shows(20, 3), 0);
    cr_assert_eq(shows(30, 3), 21);
}

Test(views, zeros_over_the_whole_page_leave_the_view_its_blocks)
{
    for (unsigned i = 0; i < MAP_BLOCKS; i++)
        set(i, 10 + i, 0);
    struct tree_path *path = forest_under(forest, VOLUME, 0, 1000);
    tree_zero(path, 0, MAP_BLOCKS, 1001);
    cr_assert_eq(path->owner, 1000);
    tree_path_close(path);
    cr_assert_eq(out_count(), MAP_BLOCKS);
    cr_assert_eq(forest_get(forest, VOLUME, 7).kind, POINTER_ZERO);
    cr_assert_eq(shows(1000, 7), 17);
    drop(1000, 0);
    cr_assert_eq(out_count(), 0);
}

Test(views, a_change_that_is_not_newer_makes_no_owner)
{
    set(3, 10, 0);
    cr_assert(!forest_set_under(forest, VOLUME, 3, 9, 20));
    struct tree_path *path = forest_under(forest, VOLUME, 3, 20);
    tree_zero(path, 3, 1, 10);
    cr_assert_eq(path->owner, 0);
    tree_path_close(path);
    uint64_t owner;
    cr_assert_eq(tree_view_before(&forest->path, VOLUME, 0, VIEW_HEAD, &owner), 0);
    cr_assert_eq(owner, 0);
}

/* The storm, seed 4397: a write was under way with a cut when that was deleted, and another without
 * it was applied first. The cut was given a block newer than itself, which then went twice. */
Test(views, a_late_write_under_a_cut_that_the_head_has_passed_makes_no_owner)
{
    set(0, 10, 0);
    set(1, 11, 0);
    set(0, 22, 0);
    set(1, 21, 20);
    set(0, 23, 0);
    prove();
    cr_assert_eq(shows(20, 0), 23, "cut 20 is no owner");
    drop(20, 0);
    cr_assert_eq(shows(VIEW_HEAD, 0), 23);
    cr_assert_eq(shows(VIEW_HEAD, 1), 21);
    cr_assert_eq(out_count(), 2);
}

Test(views, a_block_goes_with_the_last_view_that_shows_it)
{
    set(3, 10, 0);
    set(4, 21, 20); /* 20 shows 3 only. */
    set(4, 31, 30); /* 30 shows 3, and 4 as of 21. */
    set(3, 41, 40); /* 40 shows 3 as of 10, and 4 as of 31. */
    cr_assert_eq(out_count(), 4);
    drop(30, 20);
    cr_assert_eq(out_count(), 3); /* 21 was in nobody else's. */
    cr_assert_eq(shows(20, 3), 10);
    cr_assert_eq(shows(40, 3), 10);
    drop(20, 0);
    cr_assert_eq(out_count(), 3);
    cr_assert_eq(shows(40, 4), 31);
    drop(40, 0);
    cr_assert_eq(out_count(), 2);
    cr_assert_eq(shows(VIEW_HEAD, 3), 41);
}

Test(views, an_older_cut_takes_over_the_page_it_relies_on)
{
    for (unsigned frozen = 0; frozen < 2; frozen++) {
        uint64_t base = 1000 * frozen;
        set(3, base + 10, 0);
        if (frozen == 0)
            forest_checkpoint(forest);
        set(3, base + 41, base + 40); /* 20 and 30 are cuts too, and rely on 40. */
        if (frozen == 1)
            forest_freeze(forest);
        drop(base + 40, base + 30);
        cr_assert_eq(shows(base + 20, 3), base + 10);
        cr_assert_eq(shows(base + 30, 3), base + 10);
        uint64_t owner;
        cr_assert_eq(tree_view_before(&forest->path, VOLUME, 0, VIEW_HEAD, &owner), 0);
        cr_assert_eq(owner, base + 30);
        forest_checkpoint(forest);
        prove();
        drop(base + 30, base + 20);
        drop(base + 20, 0);
        cr_assert_eq(out_count(), 1);
    }
}

Test(views, dropping_what_is_not_there_does_nothing)
{
    set(3, 10, 0);
    drop(20, 10);
    set(3, 31, 30);
    drop(30, 0);
    drop(30, 0);
    cr_assert_eq(out_count(), 1);
}

Test(views, an_open_path_hears_of_owners_that_come_and_go)
{
    set(3, 10, 0);
    struct tree_path one = {0}, two = {0}, reader = {0};
    tree_path_init(&one, forest->tree, forest_woken);
    tree_path_init(&two, forest->tree, forest_woken);
    tree_path_init(&reader, forest->tree, forest_woken);
    cr_assert_eq(tree_path_open_under(&one, VOLUME, 3, 20), 0);
    cr_assert_eq(tree_path_open_under(&two, VOLUME, 4, 20), 0);
    cr_assert_eq(tree_path_open(&reader, VOLUME, 15, 3, false), 0);
    cr_assert_eq(reader.owner, VIEW_HEAD);
    struct pointer pointer = forest_raw(forest_take(forest), 21);
    cr_assert(tree_set(&one, 3, &pointer));
    cr_assert_eq(two.owner, 20);
    cr_assert_eq(reader.owner, 20);
    cr_assert_eq(tree_get(&reader, 3).sequence, 10);
    pointer = forest_raw(forest_take(forest), 22);
    cr_assert(tree_set(&two, 4, &pointer));
    cr_assert_eq(tree_get(&reader, 4).kind, POINTER_HOLE);
    tree_path_close(&one);
    drop(20, 16);
    cr_assert_eq(two.owner, 16);
    cr_assert_eq(reader.owner, 16);
    cr_assert_eq(tree_get(&reader, 3).sequence, 10);
    drop(16, 0);
    cr_assert_eq(two.owner, 0);
    tree_path_close(&two);
    tree_path_close(&reader);
}

Test(views, many_views_at_one_mebibyte_are_found_in_the_table)
{
    enum { CUTS = 400 };
    for (uint64_t i = 0; i < CUTS; i++)
        set(3, 10 * i + 5, 10 * i);
    for (uint64_t i = 1; i < CUTS; i++) {
        cr_assert_eq(shows(10 * i, 3), 10 * (i - 1) + 5);
        cr_assert_eq(shows(10 * i - 9, 3), 10 * (i - 1) + 5);
    }
    uint32_t mebibyte = 0;
    uint64_t cut;
    int result;
    while ((result = tree_view_next(&forest->path, VOLUME, 2001, 2019, &mebibyte, &cut)) == -EAGAIN)
        forest_turn(forest);
    cr_assert_eq(result, 0);
    cr_assert_eq(cut, 2010);
    mebibyte = 0;
    while ((result = tree_view_next(&forest->path, VOLUME, 2001, 2009, &mebibyte, &cut)) == -EAGAIN)
        forest_turn(forest);
    cr_assert_eq(result, -ENOENT);
    for (uint64_t i = 1; i < CUTS; i += 2)
        drop(10 * i, i == 1 ? 0 : 10 * (i - 1));
    cr_assert_eq(out_count(), CUTS / 2);
    for (uint64_t i = 2; i < CUTS; i += 2)
        cr_assert_eq(shows(10 * i, 3), 10 * (i - 1) + 5);
}

Test(views, a_volume_goes_newest_owner_first)
{
    for (uint64_t i = 0; i < 20; i++) {
        set(i, 10 * i + 5, 10 * i);
        set(7, 10 * i + 6, 10 * i);
    }
    struct tree_path *path = forest_under(forest, VOLUME, 0, 0);
    tree_drop_map(path);
    tree_path_close(path);
    unsigned pages = 0;
    int result;
    while ((result = tree_views_drop_newest(path, VOLUME, 0)) != 0) {
        cr_assert(result == -EAGAIN || result == -EINPROGRESS);
        pages += result == -EINPROGRESS;
        if (result == -EAGAIN)
            forest_turn(forest);
    }
    cr_assert_eq(pages, 19);
    cr_assert_eq(out_count(), 0);
}

Test(views, what_changed_is_found_by_sequence_alone)
{
    for (uint64_t i = 0; i < 600; i++)
        set(i * MAP_BLOCKS, 10 + i, 0);
    set(5 * MAP_BLOCKS, 1001, 1000);
    set(300 * MAP_BLOCKS + 3, 1002, 1000);
    set(301 * MAP_BLOCKS + 3, 2001, 2000);
    for (unsigned written = 0; written < 2; written++) {
        static const struct {
            uint64_t view, since, mebibytes[3];
        } asked[] = {
            {VIEW_HEAD, 1000, {5, 300, 301}},
            {2000, 1000, {5, 300}},
            {VIEW_HEAD, 2000, {301}},
        };
        for (unsigned i = 0; i < COUNT_OF(asked) && written == 1; i++) {
            uint64_t block = 0;
            for (unsigned j = 0; j <= 3; j++) {
                uint64_t last = (uint64_t)600 * MAP_BLOCKS;
                int result;
                while ((result = tree_changed_next(&forest->path, VOLUME, asked[i].view,
                                                   asked[i].since, last, &block)) == -EAGAIN)
                    forest_turn(forest);
                if (j == 3 || asked[i].mebibytes[j] == 0) {
                    cr_assert_eq(result, -ENOENT);
                    break;
                }
                cr_assert_eq(result, 0);
                cr_assert_eq(block, asked[i].mebibytes[j] * MAP_BLOCKS);
                tree_path_close(&forest->path);
                block += MAP_BLOCKS;
            }
        }
        forest_checkpoint(forest);
        forest_reopen(forest);
    }
}

/* Each waits for two objects; all of them hold one at most, or nobody would ever have two. */
Test(views, few_segment_objects_are_enough_for_many_who_want_two)
{
    enum { MANY = 100 };
    static struct tree_path paths[MANY];
    for (uint64_t i = 0; i < MANY; i++)
        set(i * SEGMENT_BLOCKS, 10 + i, 0);
    for (unsigned i = 0; i < MANY; i++)
        tree_path_init(&paths[i], forest->tree, forest_woken);
    unsigned left = MANY;
    for (unsigned turns = 0; left > 0; turns++) {
        cr_assert(turns < 100000);
        for (unsigned i = 0; i < MANY; i++) {
            if (paths[i].context != NULL)
                continue;
            int result =
                tree_path_open_under(&paths[i], VOLUME, (uint64_t)i * SEGMENT_BLOCKS, 1000);
            if (result == -EAGAIN)
                continue;
            cr_assert_eq(result, 0);
            struct pointer pointer = forest_raw(forest_take(forest), 1001 + i);
            cr_assert(tree_set(&paths[i], 0, &pointer));
            tree_path_close(&paths[i]);
            paths[i].context = forest;
            left--;
        }
        forest_turn(forest);
    }
    for (unsigned i = 0; i < MANY; i++)
        cr_assert_eq(shows(1000, (uint64_t)i * SEGMENT_BLOCKS), 10 + i);
}

/* --- Damage ----------------------------------------------------------------------------------- */

/* 20 owns 3 as of 10 and 4 as of 11, 40 owns 3 as of 21 and 4 as of 11; the head has them newer. */
static void two_owners(void)
{
    set(3, 10, 0);
    set(4, 11, 0);
    set(3, 21, 20);
    set(3, 41, 40);
    set(4, 42, 40);
    forest_checkpoint(forest);
}

/* The page of the owner that a view shows, broken; as it stood. */
static uint64_t rot(uint64_t view)
{
    struct tree_path *path = &forest->path;
    int result;
    while ((result = tree_path_open(path, VOLUME, view, 0, false)) == -EAGAIN)
        forest_turn(forest);
    cr_assert_eq(result, 0);
    uint64_t place = page_pointer(path->page).place;
    tree_path_close(path);
    sim_disk_rot(forest->disk, place * BLOCK_BYTES, BLOCK_BYTES);
    forest_reopen(forest);
    return place;
}

static int view_error(uint64_t view)
{
    int result;
    while ((result = tree_path_open(&forest->path, VOLUME, view, 0, false)) == -EAGAIN)
        forest_turn(forest);
    if (result == 0)
        tree_path_close(&forest->path);
    return result;
}

static void give_up(uint64_t cut)
{
    int result;
    while ((result = tree_view_give_up(&forest->path, VOLUME, 0, cut)) == -EAGAIN)
        forest_turn(forest);
    cr_assert_eq(result, 0);
}

/* What nobody can name stays in use: here it is, so that the rest may be proved. */
static void lost(unsigned blocks)
{
    unsigned found = 0;
    struct survey *survey = calloc(1, sizeof *survey);
    forest_settle(forest);
    survey_run(survey, forest);
    for (uint32_t i = FOREST_PAGE_BLOCKS; i < FOREST_BLOCKS; i++) {
        if (forest->state[i] != PLACE_OUT || survey->reached[i])
            continue;
        forest->state[i] = PLACE_FREE;
        forest->in_durable[i] = false;
        found++;
    }
    free(survey);
    cr_assert_eq(found, blocks);
}

Test(views, a_damaged_page_is_told_to_those_who_read_that_view_alone)
{
    two_owners();
    rot(40);
    cr_assert_eq(view_error(40), IOMESH_CORRUPT);
    cr_assert_eq(shows(20, 3), 10);
    cr_assert_eq(shows(VIEW_HEAD, 3), 41);
    cr_assert_eq(forest_drop_view(forest, VOLUME, 0, 40, 20), IOMESH_CORRUPT);
    cr_assert_eq(view_error(40), IOMESH_CORRUPT); /* It is still there. */
    give_up(40);
    give_up(40); /* Twice does no harm. */
    lost(1);     /* 3 as of 21. */
    cr_assert_eq(shows(20, 3), 10);
    drop(20, 0);
    cr_assert_eq(out_count(), 2);
}

Test(views, a_page_goes_without_the_damaged_one_behind_it)
{
    two_owners();
    rot(40);
    cr_assert_eq(forest_drop_view(forest, VOLUME, 0, 20, 0), IOMESH_CORRUPT);
    give_up(20);
    give_up(40);
    lost(3); /* 3 as of 10 and 21, 4 as of 11. */
    cr_assert_eq(shows(VIEW_HEAD, 4), 42);
}

Test(views, what_is_given_up_in_memory_is_written_no_more)
{
    set(3, 10, 0);
    set(3, 21, 20);
    give_up(20);
    lost(1);
    prove();
}

Test(views, a_damaged_page_moves_to_the_cut_that_relies_on_it)
{
    two_owners();
    rot(20);
    drop(20, 15);
    cr_assert_eq(view_error(15), IOMESH_CORRUPT);
    uint64_t owner;
    cr_assert_eq(tree_view_before(&forest->path, VOLUME, 0, 40, &owner), 0);
    cr_assert_eq(owner, 15);
    give_up(15);
    lost(1); /* 3 as of 10; 40 shows the other. */
}

/* --- Walks ------------------------------------------------------------------------------------ */

static unsigned shared_told, pages_told;

static void count_shared(struct survey *survey, const struct tree_visit *visit)
{
    (void)survey;
    shared_told += visit->shared;
    pages_told += visit->what == TREE_VISIT_MAP && segment_is_view(visit->key.segment);
    if (segment_is_view(visit->key.segment))
        cr_assert_eq(visit->block / MAP_BLOCKS, 300);
}

Test(views, a_walk_tells_a_block_once_as_its_own)
{
    const uint64_t base = 300 * MAP_BLOCKS;
    for (unsigned i = 0; i < 10; i++)
        set(base + i, 10 + i, 0);
    set(base + 0, 31, 30);
    set(base + 1, 41, 40);
    struct survey *survey = calloc(1, sizeof *survey);
    survey->look = count_shared;
    survey->pause_every = 3;
    survey_run(survey, forest);
    survey_check(survey, forest);
    cr_assert_eq(survey->blocks, 30);
    cr_assert_eq(pages_told, 2);
    cr_assert_eq(shared_told, 9 + 9); /* 40 has 9 of those of 30, the head 9 of those of 40. */
    free(survey);
}

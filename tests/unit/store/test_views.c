/* SPDX-License-Identifier: Apache-2.0 */
/* What a snapshot shows stays, and what it alone held comes back. */
#include "base/prng.h"
#include "unit/store/views_rig.h"

Test(views, a_view_shows_what_was_there_when_it_was_cut)
{
    views_open(8192);
    views_write(0, 200);
    views_write(768, 3);
    views_cut();
    views_write(10, 20);
    views_zero(100, 50);
    views_write(600, 8);
    views_cut();
    views_write(15, 3);
    views_zero(768, 1);
    views_verify();
    cr_assert_eq(views_check(), 0);
    views_verify();
    views_close();
}

/* However they go, what is left shows what it did, and all that only they held comes back. */
static void delete_in_order(const unsigned *order)
{
    views_open(8192);
    views_write(0, 100);
    uint64_t used = views_used();
    for (unsigned i = 0; i < 4; i++) {
        views_cut();
        views_write(10 * i, 25);
    }
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(views_delete(order[i], order[i]), 0);
        views_verify();
    }
    cr_assert_eq(views_used(), used);
    views_none_left();
    cr_assert_eq(views_check(), 0);
    cr_assert_eq(views_delete_volume(), 0);
    cr_assert_eq(views_used(), views.used_empty);
    views_close();
}

Test(views, deleted_in_any_order_they_give_back_what_they_held)
{
    delete_in_order((const unsigned[]){0, 0, 0, 0});
    delete_in_order((const unsigned[]){3, 2, 1, 0});
    delete_in_order((const unsigned[]){1, 1, 0, 0});
    delete_in_order((const unsigned[]){2, 0, 1, 0});
}

Test(views, several_are_deleted_at_once)
{
    views_open(8192);
    views_write(0, 100);
    uint64_t used = views_used();
    for (unsigned i = 0; i < 6; i++) {
        views_cut();
        views_write(10 * i, 25);
        views_write(700, 1 + i);
    }
    cr_assert_eq(views_delete(2, 4), 0);
    views_verify();
    cr_assert_eq(views_delete(0, views.count - 1), 0);
    views_verify();
    cr_assert_eq(views_used() - 6 - 1, used); /* What was written to block 700, and its map page. */
    cr_assert_eq(views_check(), 0);
    views_close();
}

Test(views, zeros_over_whole_segments_leave_views_alone)
{
    views_open(8192);
    views_write(0, 256);
    views_write(300, 4);
    views_write(768, 9);
    views_cut();
    cr_assert_eq(views_zero_segment(0), 0);
    cr_assert_eq(views_zero_segment(1), 0);
    views_verify();
    views_cut();
    views_write(768, 2);
    cr_assert_eq(views_zero_segment(1), 0);
    views_verify();
    cr_assert_eq(views_check(), 0);
    cr_assert_eq(views_delete(0, 1), 0);
    views_verify();
    cr_assert_eq(views_check(), 0);
    views_close();
}

Test(views, a_volume_takes_its_views_with_it)
{
    views_open(8192);
    for (unsigned i = 0; i < 8; i++) {
        views_write(64 * i, 50);
        views_write(768 + 10 * i, 50);
        views_cut();
    }
    cr_assert_eq(views_delete_volume(), 0);
    cr_assert_eq(views_used(), views.used_empty);
    cr_assert_eq(views_check(), 0);
    views_close();
}

static int gone_result;

static void gone_done(void *context, int result)
{
    (void)context;
    gone_result = result;
}

/* And what looks at them. */
Test(views, a_store_that_closes_ends_their_deletion)
{
    unsigned interrupted = 0;
    for (unsigned steps = 0; steps < 40; steps++) {
        views_open(8192);
        for (uint32_t first = 0; first < VIEWS_BLOCKS; first += MAP_BLOCKS)
            cr_assert_eq(views_write(first, 20), 0);
        views_cut();
        for (uint32_t first = 0; first < VIEWS_BLOCKS; first += MAP_BLOCKS)
            cr_assert_eq(views_write(first + 10, 20), 0);
        uint64_t cut = views.views[0].cut;
        struct store_view_space space = {.cut = cut};
        gone_result = 1;
        cr_assert_eq(store_delete_views(store, VIEWS_VOLUME, cut, cut, 0, gone_done, NULL), 0);
        cr_assert_eq(store_view_space(store, VIEWS_VOLUME, &space, 1, gone_done, NULL), 0);
        for (unsigned i = 0; i < steps; i++) {
            cr_assert(world_step(&world));
            store_turn(store);
        }
        stop_store();
        cr_assert(gone_result == 0 || gone_result == -ESHUTDOWN);
        interrupted += gone_result != 0;
        start_store();
        cr_assert_eq(views_delete(0, 0), 0);
        views_none_left();
        views_verify();
        views_close();
    }
    cr_assert_gt(interrupted, 0);
}

/* --- Anything at any time --------------------------------------------------------------------- */

static void any_step(struct prng *prng)
{
    uint32_t first = (uint32_t)prng_below(prng, VIEWS_BLOCKS);
    uint32_t most = 1 + (uint32_t)prng_below(prng, 60);
    most = MIN(most, MAP_BLOCKS - first % MAP_BLOCKS);
    unsigned one = views.count == 0 ? 0 : (unsigned)prng_below(prng, views.count);
    switch (prng_below(prng, 12)) {
    case 0:
    case 1:
        if (views.count < VIEWS_MAX)
            views_cut();
        break;
    case 2:
        if (views.count > 0)
            cr_assert_eq(views_delete(one, one), 0);
        break;
    case 3:
        if (views.count > 0)
            cr_assert_eq(views_delete(one, MIN(one + 2, views.count - 1)), 0);
        break;
    case 4: cr_assert_eq(views_zero(first, most), 0); break;
    case 5: cr_assert_eq(views_zero(first - first % MAP_BLOCKS, MAP_BLOCKS), 0); break;
    case 6: cr_assert_eq(views_zero_segment(first / 768), 0); break;
    case 7: views_checkpoint(); break;
    default: cr_assert_eq(views_write(first, most), 0); break;
    }
}

static void any_scenario(uint64_t seed, unsigned steps, uint64_t down, bool power)
{
    struct prng prng = {.state = seed};
    views_open(16384);
    if (down != 0)
        views_down_after(down, power);
    for (unsigned i = 0; i < steps; i++) {
        any_step(&prng);
        if (down == 0 && i % 16 == 15)
            views_verify();
    }
    views_verify();
    while (views.count > 0)
        cr_assert_eq(views_delete((unsigned)prng_below(&prng, views.count), views.count - 1), 0);
    views_verify();
    views_none_left();
    cr_assert_eq(views_check(), 0);
    cr_assert_eq(views_delete_volume(), 0);
    cr_assert_eq(views_used(), views.used_empty);
    views_close();
}

Test(views, what_was_told_to_be_gone_is_gone_when_the_power_goes)
{
    views_open(8192);
    for (unsigned i = 0; i < 20; i++) {
        cr_assert_eq(views_write(0, 20), 0);
        cr_assert_eq(views_write(800, 20), 0);
        views_cut();
        cr_assert_eq(views_write(10, 20), 0);
        cr_assert_eq(views_write(800, 5), 0);
        cr_assert_eq(views_delete(0, 0), 0);
        views_down_now(true);
        views_verify();
        views_none_left();
    }
    views_close();
}

Test(views, whatever_is_done_each_view_shows_its_own)
{
    for (uint64_t seed = 1; seed <= 12; seed++)
        any_scenario(seed, 150, 0, false);
}

Test(views, small_pools_of_pages_and_segments_are_enough)
{
    for (uint64_t seed = 100; seed < 106; seed++) {
        options.segments_max = 64;
        options.cache_bytes = 64 * BLOCK_BYTES;
        options.quarantine_max = 300;
        any_scenario(seed, 150, 0, false);
    }
}

Test(views, a_crash_at_any_moment_loses_nothing, .timeout = 240)
{
    for (uint64_t down = 20; down < 1600; down += 17)
        any_scenario(down % 5, 30, down, down % 2 == 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A full store: what views show is no space for what is overwritten, and they can be deleted. */
#include "base/prng.h"
#include "unit/store/views_rig.h"

/* So many blocks of data fit, about. */
#define FULL_DISK 2048u

static uint32_t written;

/* Writes on until nothing fits any more. */
static void fill_up(uint32_t piece)
{
    for (written = 0; written + piece <= VIEWS_BLOCKS; written += piece) {
        int result = views_write(written, piece);
        if (result == -ENOSPC)
            return;
        cr_assert_eq(result, 0);
    }
    cr_assert_fail("it never was full");
}

static uint64_t reserve_left(void)
{
    struct store_stats stats;
    (void)views_used();
    store_stats(store, &stats);
    return stats.space.reserve_blocks;
}

Test(view_full, what_a_view_shows_gives_no_space_to_its_overwriting)
{
    views_open(FULL_DISK);
    fill_up(32);
    cr_assert_eq(views_write(0, 32), 0); /* Nobody else shows it: it gives back what it takes. */
    views_cut();
    uint64_t reserve = reserve_left();
    unsigned refused = 0;
    for (uint32_t i = 0; i < written; i += 32) {
        int result = views_write(i, 32);
        cr_assert(result == 0 || result == -ENOSPC);
        refused += result == -ENOSPC;
    }
    cr_assert_gt(refused, written / 32 / 2);
    cr_assert_eq(reserve_left(), reserve); /* None of them took of it. */
    views_verify();
    cr_assert_eq(views_delete(0, 0), 0);
    for (uint32_t i = 0; i < written; i += 32)
        cr_assert_eq(views_write(i, 32), 0);
    views_verify();
    cr_assert_eq(views_check(), 0);
    views_close();
}

/* What was written since the cut is nobody else's. */
Test(view_full, what_is_newer_than_every_view_is_overwritten_on_a_full_store)
{
    views_open(FULL_DISK);
    cr_assert_eq(views_write(0, 8), 0);
    views_cut();
    for (uint32_t i = 0; i + 32 <= VIEWS_BLOCKS && views_write(i, 32) == 0; i += 32)
        written = i + 32;
    cr_assert_gt(written, 0);
    for (uint32_t i = 0; i < written; i += 32)
        cr_assert_eq(views_write(i, 32), 0);
    views_verify();
    cr_assert_eq(views_delete(0, 0), 0);
    views_verify();
    cr_assert_eq(views_check(), 0);
    views_close();
}

static void any_step(struct prng *prng)
{
    uint32_t first = (uint32_t)prng_below(prng, VIEWS_BLOCKS);
    uint32_t count = 1 + (uint32_t)prng_below(prng, 80);
    unsigned one = views.count == 0 ? 0 : (unsigned)prng_below(prng, views.count);
    int result = 0;
    count = MIN(count, MAP_BLOCKS - first % MAP_BLOCKS);
    switch (prng_below(prng, 30)) {
    case 0:
        if (views.count < VIEWS_MAX)
            views_cut();
        break;
    case 1:
        if (views.count > 0)
            cr_assert_eq(views_delete(one, one), 0);
        break;
    case 2: result = views_zero_segment(first / 768); break;
    case 3: views_checkpoint(); break;
    case 4:
    case 5: result = views_zero(first, count); break;
    default: result = views_write(first, count);
    }
    cr_assert(result == 0 || result == -ENOSPC, "%d", result);
}

static void any_scenario(uint64_t seed)
{
    struct prng prng = {.state = seed};
    views_open(FULL_DISK + 64 * (seed % 4));
    if (seed % 2 == 0)
        views_down_after(500 + prng_below(&prng, 3000), false);
    for (unsigned i = 0; i < 250; i++)
        any_step(&prng);
    views_verify();
    while (views.count > 0)
        cr_assert_eq(views_delete((unsigned)prng_below(&prng, views.count), views.count - 1), 0);
    views_verify();
    cr_assert_eq(views_check(), 0);
    cr_assert_eq(views_delete_volume(), 0);
    cr_assert_eq(views_used(), views.used_empty);
    views_close();
}

Test(view_full, no_checkpoint_fails_and_all_comes_back, .timeout = 240)
{
    for (uint64_t seed = 1; seed <= 40; seed++)
        any_scenario(seed);
}

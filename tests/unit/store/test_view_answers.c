/* SPDX-License-Identifier: Apache-2.0 */
/* What changed since a cut, and how much each view holds: against what the model says. */
#include <string.h>

#include "base/prng.h"
#include "unit/store/views_rig.h"

static void any_changes(struct prng *prng, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint32_t first = (uint32_t)prng_below(prng, VIEWS_BLOCKS);
        uint32_t most = 1 + (uint32_t)prng_below(prng, 40);
        most = MIN(most, MAP_BLOCKS - first % MAP_BLOCKS);
        switch (prng_below(prng, 8)) {
        case 0: cr_assert_eq(views_zero(first, most), 0); break;
        case 1: views_checkpoint(); break;
        case 2:
            if (views.count < VIEWS_MAX)
                views_cut();
            break;
        case 3: {
            unsigned one = views.count == 0 ? 0 : (unsigned)prng_below(prng, views.count);
            if (views.count > 3)
                cr_assert_eq(views_delete(one, one), 0);
            break;
        }
        default: cr_assert_eq(views_write(first, most), 0);
        }
    }
}

/* --- What changed ----------------------------------------------------------------------------- */

/* The number of the block in the model, or VIEWS_BLOCKS if it is not in it. */
static uint32_t index_of(uint64_t block)
{
    for (uint32_t i = 0; i < VIEWS_BLOCKS; i++) {
        if (VIEWS_BLOCK(i) == block)
            return i;
    }
    return VIEWS_BLOCKS;
}

static bool told_changed[VIEWS_BLOCKS];

/* Notes all that is told as changed in a range. */
static void ask_changed(uint64_t view, uint64_t since, uint64_t block, uint64_t last)
{
    memset(told_changed, 0, sizeof told_changed);
    for (int result = 0; result == 0 && block <= last; block = op.found + MAP_BLOCKS) {
        op.kind = STORE_CHANGED;
        op.volume = VIEWS_VOLUME;
        op.view = view;
        op.since = since;
        op.block = block;
        op.last = last;
        op.done = op_done;
        store_submit(store, &op);
        result = wait_for_it();
        if (result == -ENOENT)
            return;
        cr_assert_eq(result, 0);
        cr_assert_eq(op.found % MAP_BLOCKS, 0);
        bool any = false;
        for (unsigned i = 0; i < MAP_BLOCKS; i++) {
            if ((op.changed[i / 8] & 1u << i % 8) == 0)
                continue;
            any = true;
            uint32_t index = index_of(op.found + i);
            cr_assert(op.found + i >= block && op.found + i <= last);
            cr_assert_lt(index, VIEWS_BLOCKS);
            told_changed[index] = true;
        }
        cr_assert(any);
    }
}

/* `newer` may be the head: NULL; `older` too: then all that was ever written. */
static void expect_changed(const struct views_view *newer, const struct views_view *older,
                           uint64_t first, uint64_t last)
{
    static const struct views_view nothing;
    const uint32_t *tags = newer != NULL ? newer->tags : views.head;
    const uint64_t *touched = newer != NULL ? newer->touched : views.touched;
    const struct views_view *base = older != NULL ? older : &nothing;
    ask_changed(newer != NULL ? newer->cut : VIEW_HEAD, base->cut, first, last);
    for (uint32_t i = 0; i < VIEWS_BLOCKS; i++) {
        bool within = VIEWS_BLOCK(i) >= first && VIEWS_BLOCK(i) <= last;
        if (within && tags[i] != base->tags[i])
            cr_assert(told_changed[i], "block %u changed, and nobody says so", i);
        if (!within || touched[i] <= base->cut)
            cr_assert_not(told_changed[i], "block %u did not change", i);
    }
}

Test(view_answers, what_changed_between_any_two_of_them_is_told)
{
    struct prng prng = {.state = 5};
    views_open(16384);
    for (unsigned round = 0; round < 12; round++) {
        any_changes(&prng, 30);
        uint64_t first = prng_below(&prng, 65536ull * 4);
        for (unsigned i = 0; i < views.count; i++) {
            expect_changed(NULL, &views.views[i], 0, (1ull << 34) - 1);
            expect_changed(NULL, &views.views[i], first, first + 70000);
            expect_changed(&views.views[i], NULL, 0, (1ull << 34) - 1);
            for (unsigned j = 0; j < i; j++)
                expect_changed(&views.views[i], &views.views[j], 0, (1ull << 34) - 1);
        }
        if (round == 5)
            views_down_now(false);
    }
    views_close();
}

/* --- How much they hold ----------------------------------------------------------------------- */

static void expect_space(void)
{
    struct store_view_space spaces[VIEWS_MAX];
    for (unsigned i = 0; i < views.count; i++)
        spaces[i] = (struct store_view_space){.cut = views.views[i].cut};
    cr_assert_eq(store_view_space(store, VIEWS_VOLUME, spaces, views.count, done, NULL), 0);
    cr_assert_eq(wait_for_it(), 0);
    for (unsigned i = 0; i < views.count; i++) {
        const uint32_t *tags = views.views[i].tags;
        const uint32_t *after = i + 1 < views.count ? views.views[i + 1].tags : views.head;
        uint64_t unique = 0, shown = 0;
        for (unsigned j = 0; j < VIEWS_BLOCKS; j++) {
            bool before = i > 0 && views.views[i - 1].tags[j] == tags[j];
            shown += tags[j] != 0;
            unique += tags[j] != 0 && after[j] != tags[j] && !before;
        }
        cr_assert_eq(spaces[i].unique_blocks, unique, "view %u: %llu, not %llu", i,
                     (unsigned long long)spaces[i].unique_blocks, (unsigned long long)unique);
        cr_assert_eq(spaces[i].shared_blocks, shown - unique);
    }
}

Test(view_answers, what_only_one_holds_is_told)
{
    struct prng prng = {.state = 9};
    views_open(16384);
    expect_space();
    for (unsigned round = 0; round < 20; round++) {
        any_changes(&prng, 20);
        expect_space();
    }
    views_close();
}

/* Nobody else wrote meanwhile: just so much comes back. */
Test(view_answers, what_only_one_holds_comes_back_when_it_goes)
{
    struct prng prng = {.state = 11};
    views_open(16384);
    any_changes(&prng, 80);
    for (unsigned round = 0; views.count > 0; round++) {
        unsigned one = (unsigned)prng_below(&prng, views.count);
        struct store_view_space spaces[VIEWS_MAX];
        struct store_stats stats;
        for (unsigned i = 0; i < views.count; i++)
            spaces[i] = (struct store_view_space){.cut = views.views[i].cut};
        cr_assert_eq(store_view_space(store, VIEWS_VOLUME, spaces, views.count, done, NULL), 0);
        cr_assert_eq(wait_for_it(), 0);
        uint64_t used = views_used();
        store_stats(store, &stats);
        uint64_t pages = stats.tree.pages_used;
        cr_assert_eq(views_delete(one, one), 0);
        uint64_t left = views_used();
        store_stats(store, &stats);
        cr_assert_eq(used - left, spaces[one].unique_blocks + pages - stats.tree.pages_used);
    }
    views_close();
}

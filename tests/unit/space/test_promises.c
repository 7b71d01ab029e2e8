/* SPDX-License-Identifier: Apache-2.0 */
/* One test for each promise of space/space.h, told by hand; the storm draws the rest. */
#include <criterion/criterion.h>

#include "sim/plot.h"

static struct plot *small_asking(bool for_checkpoints)
{
    struct plot_options options = {
        .devices = 1,
        .device[0] = {.blocks = 1000, .class = DEVICE_NVME},
        .reserve_blocks = 100,
        .quarantine_max = 400,
        .frames = 64,
        .fixed_blocks = 10,
        .no_want_checkpoint = !for_checkpoints,
        .seed = 1,
    };
    return plot_open(&options);
}

static struct plot *small(void)
{
    return small_asking(true);
}

static struct plot *prepared(uint64_t blocks, bool discard)
{
    struct plot_options options = {
        .devices = 1,
        .device[0] = {.blocks = blocks, .class = DEVICE_NVME, .prepares = true},
        .reserve_blocks = 200,
        .quarantine_max = 4000,
        .frames = 64,
        .fixed_blocks = 10,
        .discard = discard,
        .seed = 2,
    };
    return plot_open(&options);
}

/* Until the class gives a block: its first region may still be fetched or prepared. */
static void take_one(struct plot *plot, enum space_purpose purpose, uint32_t blocks)
{
    int result;
    while ((result = plot_take(plot, DEVICE_NVME, purpose, blocks)) == -EAGAIN)
        cr_assert(plot_turn(plot));
    cr_assert_eq(result, 0);
}

Test(space, new_data_leaves_the_reserve_and_overwrites_leave_half)
{
    struct plot *plot = small();
    plot_fill(plot, SPACE_NEW, space_new_room(plot->space));
    cr_assert_eq(space_new_room(plot->space), 0);
    cr_assert_eq(plot_stats(plot).free_blocks, 0);
    cr_assert_eq(plot_take(plot, DEVICE_NVME, SPACE_NEW, 1), -ENOSPC);
    plot_fill(plot, SPACE_OVERWRITE, 50);
    cr_assert_eq(plot_take(plot, DEVICE_NVME, SPACE_OVERWRITE, 1), -ENOSPC);
    plot_checkpoint_run(plot); /* The rest is for it. */
    plot_check_all(plot);
    plot_close(plot);
}

Test(space, what_only_waits_for_a_flush_is_not_no_space)
{
    struct plot *plot = small();
    plot_fill(plot, SPACE_NEW, space_new_room(plot->space));
    plot->want_flush = false;
    cr_assert_eq(plot_free(plot, 0, 5), 0);
    cr_assert_eq(space_new_room(plot->space), 5);
    plot->want_flush = false;
    cr_assert_eq(plot_take(plot, DEVICE_NVME, SPACE_NEW, 1), -EAGAIN);
    plot_settle(plot);
    cr_assert_eq(plot_take(plot, DEVICE_NVME, SPACE_NEW, 1), -EAGAIN);
    plot->woken = 0;
    plot_durable(plot);
    plot_settle(plot);
    cr_assert_eq(plot->woken, 1);
    cr_assert_eq(plot_take(plot, DEVICE_NVME, SPACE_NEW, 9), 0);
    cr_assert_eq(plot->taken[0].blocks, 5);
    plot_close(plot);
}

Test(space, who_waits_for_quarantined_blocks_asks_for_a_flush)
{
    struct plot *plot = small();
    plot_fill(plot, SPACE_NEW, space_new_room(plot->space));
    plot_durable(plot);
    cr_assert_eq(plot_free(plot, 0, 1), 0);
    cr_assert_not(plot->want_flush);
    cr_assert_eq(plot_take(plot, DEVICE_NVME, SPACE_NEW, 1), -EAGAIN);
    cr_assert(plot->want_flush);
    plot_close(plot);
}

Test(space, pages_that_wait_for_a_checkpoint_ask_for_one_if_it_may_begin)
{
    for (unsigned may = 0; may < 2; may++) {
        struct plot *plot = small_asking(may == 1);
        for (unsigned i = 0; i < 6; i++)
            plot_checkpoint_run(plot);
        plot_settle(plot);
        plot_fill(plot, SPACE_NEW, space_new_room(plot->space));
        plot_free_page(plot, 0);
        plot_free_page(plot, 0);
        plot->want_checkpoint = false;
        cr_assert_eq(space_new_room(plot->space), may ? 2 : 0);
        cr_assert_eq(plot_take(plot, DEVICE_NVME, SPACE_NEW, 1), may ? -EAGAIN : -ENOSPC);
        cr_assert_eq(plot->want_checkpoint, may == 1);
        plot_close(plot);
    }
}

Test(space, a_freed_block_waits_for_its_batch_and_for_those_who_read)
{
    struct plot *plot = small();
    take_one(plot, SPACE_NEW, 4);
    plot_link(plot, 0);
    plot_settle(plot);
    plot_read_enter(plot);
    cr_assert_eq(plot_free(plot, 0, 4), 0);
    uint64_t waiting = plot_stats(plot).quarantine_blocks;
    plot_settle(plot);
    cr_assert_eq(plot_stats(plot).quarantine_blocks, waiting);
    plot_durable(plot);
    plot_settle(plot);
    cr_assert_eq(plot_stats(plot).quarantine_blocks, waiting, "it is still read");
    plot_read_leave(plot, 0);
    plot_settle(plot);
    cr_assert_eq(plot_stats(plot).quarantine_blocks, waiting - 4);
    plot_close(plot);
}

Test(space, a_read_that_began_after_the_free_holds_nothing_up)
{
    struct plot *plot = small();
    take_one(plot, SPACE_NEW, 4);
    plot_link(plot, 0);
    plot_settle(plot);
    cr_assert_eq(plot_free(plot, 0, 4), 0);
    uint64_t waiting = plot_stats(plot).quarantine_blocks;
    plot_settle(plot);
    (void)plot_turn(plot);
    plot_read_enter(plot);
    plot_durable(plot);
    plot_settle(plot);
    cr_assert_eq(plot_stats(plot).quarantine_blocks, waiting - 4);
    plot_read_leave(plot, 0);
    plot_close(plot);
}

Test(space, quarantine_is_bounded_and_says_so)
{
    struct plot *plot = small();
    plot_fill(plot, SPACE_NEW, 600);
    cr_assert_eq(space_quarantine_reserve(plot->space, 400, &plot->waiter), 0);
    plot->want_flush = false;
    plot_durable(plot);
    cr_assert_eq(space_quarantine_reserve(plot->space, 1, &plot->waiter), -EAGAIN);
    cr_assert(plot->want_flush);
    space_quarantine_unreserve(plot->space, 1);
    plot_settle(plot);
    cr_assert_eq(plot->woken, 1);
    cr_assert_eq(space_quarantine_reserve(plot->space, 1, &plot->waiter), 0);
    plot_close(plot);
}

Test(space, what_is_given_back_is_free_again)
{
    struct plot *plot = small();
    uint64_t room = space_new_room(plot->space);
    take_one(plot, SPACE_NEW, 64);
    cr_assert_lt(space_new_room(plot->space), room);
    plot_give_back(plot, 0);
    cr_assert_eq(space_new_room(plot->space), room);
    plot_settle(plot);
    cr_assert_eq(plot_stats(plot).quarantine_blocks, 0);
    plot_check_all(plot);
    plot_close(plot);
}

Test(space, taken_and_never_linked_is_free_after_a_crash)
{
    struct plot *plot = small();
    take_one(plot, SPACE_NEW, 64);
    take_one(plot, SPACE_NEW, 64);
    plot_link(plot, 0);
    plot_checkpoint_run(plot);
    plot_crash(plot, true, plot->batch);
    plot_check(plot);
    plot_check_all(plot);
    cr_assert_eq(plot_count(plot, PLOT_LINKED), 64);
    plot_close(plot);
}

Test(space, nothing_is_zeroed_or_discarded_before_new_data_is_asked_for)
{
    struct plot *plot = prepared(REGION_BLOCKS, true);
    plot_settle(plot);
    cr_assert_eq(plot->disks[0]->counts.zeros, 0);
    take_one(plot, SPACE_NEW, 1);
    cr_assert_gt(plot->disks[0]->counts.zeros, 0);
    plot_close(plot);
}

Test(space, what_is_free_is_prepared_once_recovery_is_over_and_nobody_takes)
{
    struct plot *plot = prepared(12 * REGION_BLOCKS, false);
    plot_settle(plot);
    cr_assert_eq(plot->disks[0]->counts.zeros, 0);
    space_begin(plot->space);
    (void)plot_turn(plot);
    cr_assert_eq(plot->disks[0]->counts.zeros, 0); /* Not at once: it may be about to close. */
    plot_settle(plot);
    cr_assert_eq(plot_stats(plot).regions_prepared, 9); /* 8 and the one that lacks a few. */
    plot_check_all(plot);
    plot_close(plot);
}

Test(space, a_region_is_given_out_while_the_rest_of_it_is_prepared)
{
    struct plot *plot = prepared(REGION_BLOCKS, false);
    take_one(plot, SPACE_NEW, 64);
    struct space_stats stats = plot_stats(plot);
    cr_assert_eq(stats.regions_prepared, 0);
    cr_assert_leq(stats.prepared_bytes, 4ull << 20);
    plot_settle(plot);
    stats = plot_stats(plot);
    cr_assert_eq(stats.regions_prepared, 1);
    plot_check_all(plot);
    plot_close(plot);
}

Test(space, what_was_prepared_stays_so_when_reopened)
{
    struct plot *plot = prepared(REGION_BLOCKS, false);
    plot_fill(plot, SPACE_NEW, 100);
    plot_settle(plot);
    plot_durable(plot);
    plot_checkpoint_run(plot);
    plot_crash(plot, false, plot->batch);
    cr_assert_eq(plot_stats(plot).regions_prepared, 1);
    uint64_t zeros = plot->disks[0]->counts.zeros;
    plot_fill(plot, SPACE_NEW, 1000);
    plot_settle(plot);
    cr_assert_eq(plot->disks[0]->counts.zeros, zeros);
    plot_close(plot);
}

Test(space, a_full_file_system_below_is_no_space_and_passes)
{
    struct plot *plot = prepared(REGION_BLOCKS, false);
    plot->disks[0]->faults.full_one_in = 1;
    plot->full_below = true;
    while (plot_take(plot, DEVICE_NVME, SPACE_NEW, 1) == -EAGAIN && plot->taken_count == 0)
        if (!plot_turn(plot))
            break;
    cr_assert_eq(plot->taken_count, 0);
    cr_assert_eq(plot->devices.failed, 0, "full is not failed");
    plot->disks[0]->faults.full_one_in = 0;
    plot->full_below = false;
    plot_checkpoint_run(plot); /* Pages may have what is not prepared. */
    plot_settle(plot);
    take_one(plot, SPACE_NEW, 10);
    plot_close(plot);
}

Test(space, a_failed_store_says_so_to_those_who_wait)
{
    struct plot *plot = small();
    plot_fill(plot, SPACE_NEW, space_new_room(plot->space));
    cr_assert_eq(plot_free(plot, 0, 1), 0);
    cr_assert_eq(plot_take(plot, DEVICE_NVME, SPACE_NEW, 1), -EAGAIN);
    plot->woken = 0;
    device_fail(&plot->devices, &plot->devices.devices[0], -EIO);
    space_turn(plot->space);
    plot_settle(plot);
    cr_assert_eq(plot->woken, 1);
    cr_assert_eq(plot_take(plot, DEVICE_NVME, SPACE_NEW, 1), IOMESH_FAILED);
    cr_assert_eq(space_quarantine_reserve(plot->space, 1, &plot->waiter), IOMESH_FAILED);
    plot_close(plot);
}

Test(space, freed_chunks_are_given_back_to_the_device_once_elsewhere)
{
    struct plot *plot = prepared(3 * REGION_BLOCKS, true);
    plot_fill(plot, SPACE_NEW, REGION_BLOCKS + 5000);
    plot_settle(plot); /* The next region is another one than the first. */
    cr_assert_eq(plot->disks[0]->counts.discards, 0);
    for (unsigned i = 0; i < plot->linked_count;) {
        if (plot->linked[i].place >= 8192 || plot->linked[i].place < 256) {
            i++;
            continue;
        }
        while (plot_free(plot, i, MIN(plot->linked[i].blocks, 512)) == -EAGAIN) {
            plot_durable(plot);
            cr_assert(plot_turn(plot));
        }
        i = 0;
    }
    plot_durable(plot);
    plot_settle(plot);
    struct space_stats stats = plot_stats(plot);
    cr_assert_geq(stats.discarded_bytes, 20ull << 20, "%lu", stats.discarded_bytes);
    plot_check_all(plot);
    plot_close(plot);
}

/* Nothing of it is in use. */
static uint64_t unused(struct plot *plot)
{
    struct space_stats stats = plot_stats(plot);
    return stats.free_blocks + stats.reserve_blocks + stats.quarantine_blocks;
}

Test(space, damage_is_told_and_costs_one_region)
{
    struct plot_options options = {
        .devices = 1,
        .device[0] = {.blocks = 3 * REGION_BLOCKS, .class = DEVICE_NVME},
        .reserve_blocks = 100,
        .quarantine_max = 1000,
        .frames = 64,
        .fixed_blocks = 10,
        .seed = 3,
    };
    struct plot *plot = plot_open(&options);
    plot_fill(plot, SPACE_NEW, REGION_BLOCKS + 100);
    plot_durable(plot);
    plot_checkpoint_run(plot);
    plot_settle(plot);
    /* Every page of the second region's map, by its looks: the one with its first bits set. */
    plot_space_close(plot);
    plot_space_open(plot);
    cr_assert_eq(plot_load(plot), 0);
    struct page *page = NULL;
    struct page_root *root = space_index_root(plot->space);
    while (page_open_root(plot->cache, root, &plot->waiter, &page) == -EAGAIN)
        (void)plot_turn(plot);
    for (unsigned level = 3; level > 1; level--) {
        struct page *child = NULL;
        while (page_open(plot->cache, page, 0, &plot->waiter, &child) == -EAGAIN)
            (void)plot_turn(plot);
        page_unpin(page);
        page = child;
    }
    struct pointer pointer = page_slot(page, 1);
    page_unpin(page);
    sim_disk_rot(plot->disks[0], pointer.place * BLOCK_BYTES, BLOCK_BYTES);
    uint64_t free = unused(plot);
    struct extent extent;
    uint64_t got = 0;
    int result;
    while ((result = space_take(plot->space, DEVICE_NVME, SPACE_NEW, 1024, &plot->waiter,
                                &extent)) != -ENOSPC) {
        if (result == -EAGAIN) {
            cr_assert(plot_turn(plot));
            continue;
        }
        cr_assert_eq(result, 0);
        cr_assert_neq(extent.place / REGION_BLOCKS, 1, "a region without a map gave a block");
        space_link(plot->space, extent);
        got += extent.blocks;
    }
    struct space_stats stats = plot_stats(plot);
    cr_assert_gt(stats.lost_blocks, 30000);
    cr_assert_eq(got + stats.lost_blocks + unused(plot), free);
    bool used;
    while ((result = space_probe(plot->space, REGION_BLOCKS, &plot->waiter, &used)) == -EAGAIN)
        (void)plot_turn(plot);
    cr_assert_eq(result, IOMESH_CORRUPT);
    plot_close(plot);
}

Test(space, a_deferred_list_that_fails_its_sum_is_refused)
{
    struct plot *plot = small();
    take_one(plot, SPACE_NEW, 10);
    plot_link(plot, 0);
    plot_checkpoint_run(plot);
    cr_assert_neq(plot->deferred_place, 0);
    plot_space_close(plot);
    for (unsigned i = 0; i < 50; i++) {
        uint64_t bit =
            sim_disk_rot(plot->disks[0], plot->deferred_place * BLOCK_BYTES, BLOCK_BYTES);
        plot_space_open(plot);
        cr_assert_eq(plot_load(plot), IOMESH_CORRUPT);
        plot_space_close(plot);
        uint8_t byte;
        sim_disk_peek(plot->disks[0], bit / 8, 1, &byte);
        byte ^= (uint8_t)(1u << bit % 8);
        sim_disk_poke(plot->disks[0], bit / 8, 1, &byte);
    }
    plot_space_open(plot);
    cr_assert_eq(plot_load(plot), 0);
    plot_close(plot);
}

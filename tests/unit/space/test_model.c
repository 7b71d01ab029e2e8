/* SPDX-License-Identifier: Apache-2.0 */
/* Thousands of drawn steps against the model: nothing is given out twice or too early, every number
 * is exact after each step, and what is reopened is the checkpoint without what it deferred. */
#include "rig.h"

static void step_take(struct rig *rig)
{
    if (rig->taken_count >= 32 || rig->linked_count > RIG_EXTENTS - 600)
        return;
    enum space_purpose purpose = prng_one_in(&rig->prng, 3) ? SPACE_OVERWRITE : SPACE_NEW;
    enum device_class class = (enum device_class)prng_below(&rig->prng, DEVICE_CLASSES);
    uint32_t most = prng_one_in(&rig->prng, 4) ? 256 : 16;
    int result = rig_take(rig, class, purpose, 1 + (uint32_t)prng_below(&rig->prng, most));
    cr_assert(result == 0 || result == -EAGAIN || result == -ENOSPC, "take: %d", result);
}

static void step_free(struct rig *rig)
{
    if (rig->linked_count == 0)
        return;
    unsigned index = (unsigned)prng_below(&rig->prng, rig->linked_count);
    uint32_t blocks = rig->linked[index].blocks;
    if (prng_one_in(&rig->prng, 3))
        blocks = 1 + (uint32_t)prng_below(&rig->prng, blocks);
    blocks = MIN(blocks, rig->options.quarantine_max);
    int result = rig_free(rig, index, blocks);
    cr_assert(result == 0 || result == -EAGAIN);
}

static void step_crash(struct rig *rig)
{
    uint64_t batch = rig->durable + prng_below(&rig->prng, rig->batch - rig->durable + 1);
    rig_crash(rig, prng_one_in(&rig->prng, 2), batch);
    rig_check(rig);
    if (prng_one_in(&rig->prng, 2))
        rig_check_blocks(rig);
}

static void step(struct rig *rig)
{
    struct prng *prng = &rig->prng;
    uint64_t draw = prng_below(prng, 100);
    if (draw < 30) {
        step_take(rig);
    } else if (draw < 50) {
        if (rig->taken_count > 0)
            rig_link(rig, (unsigned)prng_below(prng, rig->taken_count));
    } else if (draw < 52) {
        if (rig->taken_count > 0)
            rig_give_back(rig, (unsigned)prng_below(prng, rig->taken_count));
    } else if (draw < 68) {
        step_free(rig);
    } else if (draw < 70) {
        if (rig->page_count > 2 && rig->checkpoint == RIG_IDLE)
            rig_free_page(rig, (unsigned)prng_below(prng, rig->page_count));
    } else if (draw < 73) {
        if (rig->read_count < RIG_READS)
            rig_read_enter(rig);
    } else if (draw < 77) {
        if (rig->read_count > 0)
            rig_read_leave(rig, (unsigned)prng_below(prng, rig->read_count));
    } else if (draw < 80) {
        rig->batch++;
    } else if (draw < 82 || rig->want_flush) {
        rig_durable(rig);
    } else if (draw < 97) {
        (void)rig_turn(rig);
    }
    if (rig->checkpoint == RIG_IDLE &&
        (rig->want_checkpoint || page_wants_checkpoint(rig->cache) || prng_one_in(prng, 150)))
        rig_checkpoint_begin(rig);
    else if (prng_one_in(prng, 2))
        rig_checkpoint_step(rig, !prng_one_in(prng, 8));
    if (prng_one_in(prng, 700))
        step_crash(rig);
}

static void run(const struct rig_options *options, unsigned steps)
{
    struct rig *rig = rig_open(options);
    for (unsigned i = 0; i < steps; i++) {
        step(rig);
        rig_check(rig);
    }
    while (rig->read_count > 0)
        rig_read_leave(rig, 0);
    rig_check_all(rig);
    rig_close(rig);
}

Test(space_model, one_tiny_device)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct rig_options options = {
            .devices = 1,
            .device[0] = {.blocks = 768 + seed * 100, .class = DEVICE_NVME, .prepares = seed % 2},
            .reserve_blocks = 128,
            .quarantine_max = 300,
            .frames = 64,
            .fixed_blocks = 20,
            .discard = seed % 3 == 0,
            .no_want_checkpoint = seed == 4,
            .seed = seed,
        };
        run(&options, 5000);
    }
}

Test(space_model, tiny_devices_of_three_classes)
{
    for (uint64_t seed = 11; seed <= 14; seed++) {
        struct rig_options options = {
            .devices = 4,
            .device =
                {
                    {.blocks = 1000, .class = DEVICE_SSD, .prepares = true},
                    {.base = 2 * REGION_BLOCKS, .blocks = 800, .class = DEVICE_HDD},
                    {.base = 3 * REGION_BLOCKS,
                     .blocks = 2000,
                     .class = DEVICE_NVME,
                     .prepares = true},
                    {.base = 4 * REGION_BLOCKS,
                     .blocks = 700,
                     .class = DEVICE_HDD,
                     .prepares = seed % 2},
                },
            .reserve_blocks = 200,
            .quarantine_max = 500,
            .frames = 64,
            .fixed_blocks = 7,
            .discard = seed % 2,
            .seed = seed,
        };
        run(&options, 5000);
    }
}

Test(space_model, many_regions)
{
    for (uint64_t seed = 21; seed <= 22; seed++) {
        struct rig_options options = {
            .devices = 2,
            .device =
                {
                    {.blocks = 20 * REGION_BLOCKS + 77, .class = DEVICE_NVME, .prepares = true},
                    {.base = 300 * REGION_BLOCKS,
                     .blocks = 3 * REGION_BLOCKS - 5,
                     .class = DEVICE_SSD},
                },
            .reserve_blocks = 1000,
            .quarantine_max = 3000,
            .frames = 96,
            .fixed_blocks = 1000,
            .discard = true,
            .seed = seed,
        };
        run(&options, 4000);
    }
}

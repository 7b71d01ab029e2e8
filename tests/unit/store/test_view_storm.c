/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes and zeros under way side by side in the same few MiB, cuts between them, views that are
 * deleted while they go on, and the process dying in the middle of all of it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "unit/store/views_rig.h"

#define SLOTS 12u

struct slot {
    struct store_op op;
    uint32_t first, count, tag;
    bool busy;
    uint8_t *data;
};

/* A deletion that is under way. */
struct gone {
    uint64_t first, last, previous;
    bool busy;
};

static struct slot slots[SLOTS];
static struct gone gones[2];
static bool locked[VIEWS_BLOCKS];
static struct prng prng;

static void slot_free(struct slot *slot)
{
    for (uint32_t i = slot->first; i < slot->first + slot->count; i++)
        locked[i] = false;
    slot->busy = false;
}

static void slot_done(struct store_op *which, int result)
{
    struct slot *slot = CONTAINER_OF(which, struct slot, op);
    cr_assert_eq(result, 0);
    for (uint32_t i = slot->first; i < slot->first + slot->count; i++)
        views.head[i] = slot->tag;
    slot_free(slot);
}

static void turn(void)
{
    cr_assert(world_step(&world));
    do
        store_turn(store);
    while (store_turn_needed(store));
}

static bool any_busy(void)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (slots[i].busy)
            return true;
    }
    return false;
}

static void start(struct slot *slot)
{
    uint32_t first = (uint32_t)prng_below(&prng, VIEWS_BLOCKS);
    uint32_t count = 1 + (uint32_t)prng_below(&prng, prng_one_in(&prng, 5) ? 256 : 20);
    bool zero = prng_one_in(&prng, 4);
    count = MIN(count, MAP_BLOCKS - first % MAP_BLOCKS);
    for (uint32_t i = first; i < first + count; i++) {
        if (locked[i])
            return;
    }
    memset(locked + first, true, count);
    slot->first = first;
    slot->count = count;
    slot->tag = zero ? 0 : ++views.tag;
    slot->busy = true;
    for (uint32_t i = 0; !zero && i < count; i++)
        views_fill(slot->data + (size_t)i * BLOCK_BYTES, slot->tag, first + i);
    slot->op.kind = zero ? STORE_ZERO : STORE_WRITE;
    slot->op.volume = VIEWS_VOLUME;
    slot->op.block = VIEWS_BLOCK(first);
    slot->op.count = count;
    slot->op.data = slot->data;
    slot->op.epoch = 1;
    slot->op.sequence = ++views.sequence;
    slot->op.cut = views.count == 0 ? 0 : views.views[views.count - 1].cut;
    slot->op.views = true;
    slot->op.done = slot_done;
    store_submit(store, &slot->op);
}

static void gone_done(void *context, int result)
{
    struct gone *gone = context;
    cr_assert_eq(result, 0);
    gone->busy = false;
}

static void gone_start(struct gone *gone)
{
    gone->busy = true;
    cr_assert_eq(store_delete_views(store, VIEWS_VOLUME, gone->first, gone->last, gone->previous,
                                    gone_done, gone),
                 0);
}

/* Writes carry the cut before it from here on; those that carry it are still under way. */
static void forget(struct gone *gone)
{
    if (views.count == 0 || gone->busy)
        return;
    unsigned first = (unsigned)prng_below(&prng, views.count);
    unsigned last = first + (prng_one_in(&prng, 2) && first + 1 < views.count ? 1 : 0);
    gone->first = views.views[first].cut;
    gone->last = views.views[last].cut;
    gone->previous = first == 0 ? 0 : views.views[first - 1].cut;
    memmove(&views.views[first], &views.views[last + 1],
            (views.count - last - 1) * sizeof views.views[0]);
    views.count -= last + 1 - first;
    gone_start(gone);
}

static void die(void)
{
    views_down_now(false);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &slots[i];
        memset(&slot->op, 0, sizeof slot->op);
        if (!slot->busy)
            continue;
        for (uint32_t j = slot->first; j < slot->first + slot->count; j++)
            views_settle(j, slot->tag);
        slot_free(slot);
    }
    for (unsigned i = 0; i < COUNT_OF(gones); i++) {
        if (gones[i].busy)
            gone_start(&gones[i]);
    }
}

static void any_action(struct slot *slot)
{
    switch (prng_below(&prng, 40)) {
    case 0:
        while (any_busy())
            turn();
        if (views.count < VIEWS_MAX)
            views_cut();
        break;
    case 1: forget(&gones[prng_below(&prng, COUNT_OF(gones))]); break;
    case 2:
        if (prng_one_in(&prng, 4))
            die();
        break;
    default: start(slot);
    }
}

static void end(void)
{
    while (any_busy() || gones[0].busy || gones[1].busy)
        turn();
    views_verify();
    cr_assert_eq(views_check(), 0);
    while (views.count > 0)
        cr_assert_eq(views_delete(0, views.count - 1), 0);
    views_verify();
    views_none_left();
    cr_assert_eq(views_check(), 0);
    cr_assert_eq(views_delete_volume(), 0);
    cr_assert_eq(views_used(), views.used_empty);
    views_close();
}

static void storm(uint64_t seed)
{
    prng = (struct prng){.state = seed};
    memset(locked, 0, sizeof locked);
    memset(gones, 0, sizeof gones);
    for (unsigned i = 0; i < SLOTS; i++) {
        uint8_t *bytes = slots[i].data;
        if (bytes == NULL)
            bytes = aligned_alloc(BLOCK_BYTES, (size_t)MAP_BLOCKS * BLOCK_BYTES);
        slots[i] = (struct slot){.data = bytes};
    }
    if (seed % 3 == 0) {
        options.segments_max = 64;
        options.cache_bytes = 96 * BLOCK_BYTES;
        options.quarantine_max = 600;
    }
    views_open(24576);
    for (unsigned i = 0; i < 2500; i++) {
        struct slot *slot = &slots[prng_below(&prng, SLOTS)];
        if (!slot->busy && prng_one_in(&prng, 2))
            any_action(slot);
        turn();
    }
    end();
}

Test(view_storm, many_writes_and_deletions_at_once, .timeout = 240)
{
    for (uint64_t seed = 1; seed <= 24; seed++)
        storm(seed);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Release: what has waited long enough is sorted by place, and its bits are cleared region by
 * region; the bitmaps of several regions are fetched at a time, and a turn does a bounded part.
 */
#include "space/internal.h"

static uint32_t batch_region(const struct space_release *release, size_t index)
{
    return space_region_of(deferred_place(release->batch.items[index]));
}

/* Clears what one slot of the batch says. 0, or -EAGAIN. */
static int release_one(struct space *space, size_t index, uint32_t region, struct page *page,
                       struct page_waiter *waiter)
{
    struct space_release *release = &space->release;
    uint64_t packed = release->batch.items[index];
    uint32_t from = (uint32_t)(deferred_place(packed) % REGION_BLOCKS);
    uint32_t blocks = deferred_blocks(packed);
    int changed = space_region_change(space, region, page, from, blocks, false, waiter);
    if (changed < 0)
        return changed;
    /* Freed twice is our bug; a map that disagrees with its deferred list came from outside. */
    assert((uint32_t)changed == blocks || release->loaded);
    release->batch.items[index] |= RELEASED;
    release->left--;
    space->waiting -= blocks;
    space->progress = true;
    space_discard_note(space, page_bytes(page), region, from, blocks);
    return 0;
}

int space_release_region(struct space *space, uint32_t region, struct page *page,
                         struct page_waiter *waiter)
{
    struct space_release *release = &space->release;
    size_t i = space_extents_find(&release->batch, (uint64_t)region * REGION_BLOCKS);
    for (; i < release->batch.count && batch_region(release, i) == region; i++) {
        if ((release->batch.items[i] & RELEASED) != 0)
            continue;
        int result = release_one(space, i, region, page, waiter);
        if (result != 0)
            return result;
    }
    return 0;
}

static void release_begin(struct space *space)
{
    struct space_release *release = &space->release;
    release->next = 0;
    release->left = release->batch.count;
}

void space_release_loaded(struct space *space)
{
    space->release.loaded = true;
    release_begin(space);
}

static void release_gather(struct space *space)
{
    struct space_release *release = &space->release;
    space_extents_clear(&release->batch);
    release->loaded = false;
    space_quarantine_gather(space, &release->batch);
    space_extents_sort(&release->batch, &space->scratch);
    release_begin(space);
}

/* Gives a slot the next region's part of the batch. False: there is none. */
static bool release_assign(struct space *space, struct release_slot *slot)
{
    struct space_release *release = &space->release;
    const uint64_t *items = release->batch.items;
    size_t count = release->batch.count;
    while (release->next < count && (items[release->next] & RELEASED) != 0)
        release->next++;
    if (release->next == count)
        return false;
    uint32_t region = batch_region(release, release->next);
    slot->from = release->next;
    while (release->next < count && batch_region(release, release->next) == region)
        release->next++;
    slot->to = release->next;
    space_fetch_begin(&slot->fetch, region);
    return true;
}

/* The map of the slot's region cannot be read: until the store is opened again, if it can be then,
 * nobody will know what is free in it. */
static void release_lose(struct space *space, struct release_slot *slot)
{
    REACH(space_release_lost);
    for (size_t i = slot->from; i < slot->to; i++) {
        uint64_t packed = space->release.batch.items[i];
        if ((packed & RELEASED) != 0)
            continue;
        space->waiting -= deferred_blocks(packed);
        space->lost += deferred_blocks(packed);
        if (!MUTANT(98))
            space_extents_push(&space->release.lost, packed);
        space->release.batch.items[i] |= RELEASED;
        space->release.left--;
    }
}

/* Returns how many extents it released. */
static uint32_t release_slot_turn(struct space *space, struct release_slot *slot, uint32_t work)
{
    uint32_t region = slot->fetch.region;
    int result = space_fetch_poll(&slot->fetch);
    if (result == -EAGAIN)
        return 0;
    if (result != 0) {
        release_lose(space, slot);
        return 1;
    }
    uint32_t done = 0;
    for (; slot->from < slot->to && done < work; slot->from++) {
        if ((space->release.batch.items[slot->from] & RELEASED) != 0)
            continue;
        result = release_one(space, slot->from, region, slot->fetch.page, &slot->fetch.waiter);
        if (result != 0) {
            slot->fetch.waiting = true;
            return done;
        }
        done++;
    }
    if (slot->from == slot->to)
        space_fetch_end(&slot->fetch);
    return MAX(done, 1u);
}

static bool slots_idle(const struct space_release *release)
{
    for (unsigned i = 0; i < SPACE_RELEASE_SLOTS; i++) {
        if (release->slots[i].fetch.region != SPACE_REGION_NONE)
            return false;
    }
    return true;
}

static bool slot_waits(const struct release_slot *slot)
{
    return slot->fetch.region != SPACE_REGION_NONE && slot->fetch.waiting;
}

void space_release_turn(struct space *space)
{
    if (!space->releasing)
        return;
    uint32_t work = SPACE_RELEASE_WORK;
    /* A slot that still waits speaks of the old batch. */
    if (space->release.left == 0 && slots_idle(&space->release))
        release_gather(space);
    /* Each slot pins a page: few where there are few. */
    unsigned slots = page_frame_count(space->cache) / 16;
    for (unsigned i = 0; i < MIN(slots, SPACE_RELEASE_SLOTS) && work > 0; i++) {
        struct release_slot *slot = &space->release.slots[i];
        while (work > 0 && !slot_waits(slot)) {
            if (slot->fetch.region == SPACE_REGION_NONE && !release_assign(space, slot))
                break;
            uint32_t done = release_slot_turn(space, slot, work);
            if (done == 0)
                break;
            work -= MIN(work, done);
        }
    }
    /* Out of work for this turn, or a new batch may be had: soon, but not now. */
    if (work == 0 ||
        (space->release.left == 0 && space_coming(space) > 0 && work < SPACE_RELEASE_WORK))
        space_again(space);
}

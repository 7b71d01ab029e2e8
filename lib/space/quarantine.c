/* SPDX-License-Identifier: Apache-2.0 */
/* What was freed and may not be used again yet: by batch, by read, by checkpoint. */
#include "space/internal.h"

uint64_t space_coming(const struct space *space)
{
    return space->waiting - space->pages_live.blocks - space->pages_frozen.blocks;
}

void space_want_flush(struct space *space)
{
    if (space->flush_wanted)
        return;
    space->flush_wanted = true;
    space->options.want_flush(space->options.context);
}

static struct space_waiting *ring_at(const struct space *space, uint32_t index)
{
    return &space->ring[(space->ring_head + index) % space->options.quarantine_max];
}

/* --- Reads ------------------------------------------------------------------------------- */

/*
 * A read belongs to the epoch in which it began. An epoch that stamped something ends at the next
 * turn; it is over when it and all before it have no reads left. If one read outlasts all the
 * counters, the epochs after it grow longer: nothing comes free too early.
 */
uint64_t space_read_enter(struct space *space)
{
    space->readers[space->epoch % SPACE_READ_EPOCHS]++;
    return space->epoch;
}

void space_read_leave(struct space *space, uint64_t ticket)
{
    assert(ticket >= space->epoch_oldest && ticket <= space->epoch);
    uint32_t *readers = &space->readers[ticket % SPACE_READ_EPOCHS];
    assert(*readers > 0);
    if (--*readers > 0 || ticket != space->epoch_oldest)
        return;
    bool durable = space->ring_count > 0 && ring_at(space, 0)->batch <= space->durable;
    if (durable || space->pages_done.count > 0)
        space_again(space);
}

uint64_t space_epoch_stamp(struct space *space)
{
    space->epoch_used = true;
    return space->epoch;
}

bool space_epoch_over(const struct space *space, uint64_t epoch)
{
    return epoch < space->epoch_oldest || MUTANT(61);
}

void space_epoch_turn(struct space *space)
{
    if (space->epoch_used && space->epoch - space->epoch_oldest + 1 < SPACE_READ_EPOCHS) {
        space->epoch++;
        space->epoch_used = false;
    }
    while (space->epoch_oldest < space->epoch &&
           space->readers[space->epoch_oldest % SPACE_READ_EPOCHS] == 0)
        space->epoch_oldest++;
}

/* --- The ring ---------------------------------------------------------------------------- */

/* So much was freed since the last flush that the next should not wait for its time. */
static bool quarantine_presses(const struct space *space)
{
    return space->freed_since >= space->options.quarantine_max / 2 ||
           space->freed_since > space->reserve / 4;
}

bool space_quarantine_fits(const struct space *space, uint32_t blocks)
{
    return space->ring_blocks + space->ring_reserved + blocks <= space->options.quarantine_max;
}

int space_quarantine_reserve(struct space *space, uint32_t blocks, struct page_waiter *waiter)
{
    assert(blocks <= space->options.quarantine_max);
    if (space->options.devices->failed != 0)
        return IOMESH_FAILED;
    if (!space_quarantine_fits(space, blocks)) {
        REACH(space_quarantine_full);
        space_want_flush(space);
        return space_wait(space, waiter);
    }
    space->ring_reserved += blocks;
    return 0;
}

void space_quarantine_unreserve(struct space *space, uint32_t blocks)
{
    assert(space->ring_reserved >= blocks);
    space->ring_reserved -= blocks;
    if (blocks > 0 && !list_empty(&space->waiters)) {
        space->progress = true;
        space_again(space);
    }
}

static void ring_push(struct space *space, uint64_t place, uint32_t blocks, uint64_t batch)
{
    uint64_t stamp = space_epoch_stamp(space);
    if (space->ring_count > 0) {
        struct space_waiting *last = ring_at(space, space->ring_count - 1);
        uint64_t end = deferred_place(last->packed) + deferred_blocks(last->packed);
        if (last->batch == batch && last->stamp == stamp && end == place &&
            place % REGION_BLOCKS != 0) {
            last->packed =
                deferred_pack(deferred_place(last->packed), deferred_blocks(last->packed) + blocks);
            return;
        }
    }
    assert(space->ring_count < space->options.quarantine_max);
    *ring_at(space, space->ring_count++) = (struct space_waiting){
        .packed = deferred_pack(place, blocks),
        .batch = batch,
        .stamp = stamp,
    };
}

/*
 * Not before the batch counts as durable, so that whoever is given the block names it as durable in
 * his own record. It is not enough that a later flush ended: replay would still doubt the write
 * that freed the block, may find that its data was overwritten since, pass it over, and let the
 * next write of the same place free a block that is somebody else's by then.
 */
void space_free(struct space *space, struct extent extent, uint64_t batch)
{
    assert(extent.blocks > 0 && space->ring_reserved >= extent.blocks);
    space->ring_reserved -= extent.blocks;
    space->ring_blocks += extent.blocks;
    space->waiting += extent.blocks;
    space->freed_since += extent.blocks;
    space->barren = 0;
    while (extent.blocks > 0) {
        uint32_t room = REGION_BLOCKS - (uint32_t)(extent.place % REGION_BLOCKS);
        uint32_t part = MIN(extent.blocks, room);
        ring_push(space, extent.place, part, batch);
        extent.place += part;
        extent.blocks -= part;
    }
    if (quarantine_presses(space))
        space_want_flush(space);
    if (batch <= space->durable)
        space_again(space);
}

void space_free_page(struct space *space, uint64_t place)
{
    space_extents_push(&space->pages_live, deferred_pack(place, 1));
    space->waiting++;
    space->barren = 0;
}

void space_durable(struct space *space, uint64_t batch)
{
    space->durable = MAX(space->durable, batch);
    space->flush_wanted = false;
    space->freed_since = 0;
    /* Also if nothing came free by it: who waits must be heard to ask again. */
    space->progress = true;
    space_again(space);
}

static bool ring_head_over(const struct space *space)
{
    if (space->ring_count == 0)
        return false;
    const struct space_waiting *head = ring_at(space, 0);
    if (head->batch > space->durable && !MUTANT(60))
        return false;
    return space_epoch_over(space, head->stamp);
}

void space_quarantine_gather(struct space *space, struct extents *batch)
{
    while (batch->count < SPACE_RELEASE_BATCH && ring_head_over(space)) {
        uint64_t packed = ring_at(space, 0)->packed;
        space_extents_push(batch, packed);
        space->ring_blocks -= deferred_blocks(packed);
        space->ring_head = (space->ring_head + 1) % space->options.quarantine_max;
        space->ring_count--;
        space->progress = true;
    }
    space_extents_move(batch, &space->returned);
    if (MUTANT(62))
        space_extents_move(batch, &space->pages_live);
    if (space->pages_done.count > 0 && space_epoch_over(space, space->pages_stamp))
        space_extents_move(batch, &space->pages_done);
}

void space_quarantine_list(const struct space *space, struct extents *to)
{
    for (uint32_t i = 0; i < space->ring_count; i++)
        space_extents_push(to, ring_at(space, i)->packed);
    for (size_t i = 0; i < space->release.batch.count; i++) {
        if ((space->release.batch.items[i] & RELEASED) == 0)
            space_extents_push(to, space->release.batch.items[i]);
    }
    space_extents_copy(to, &space->release.lost);
    space_extents_copy(to, &space->returned);
    space_extents_copy(to, &space->pages_done);
}

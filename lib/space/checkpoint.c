/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The free map's part of a checkpoint.
 *
 *   reserve (a run for every page) ──▶ freeze ──▶ take, replaced … ──▶ deferred list ──▶ done
 *
 * After the freeze the checkpoint changes no bit: what it needs is reserved already, and what it
 * replaces or leaves over is named by the deferred list.
 */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "space/internal.h"

static void deferred_send(struct space *space);

uint64_t space_deferred_pages_max(const struct space *space, uint64_t written, uint64_t more)
{
    const struct space_checkpoint *checkpoint = &space->checkpoint;
    /* Each page written may replace one, and each block of the run may be left over alone. */
    uint64_t extents = space->ring_count + space->release.left + space->release.lost.count +
                       space->returned.count + space->pages_live.count + space->pages_done.count +
                       space->deferred_pages.count + space->reserved.count + 2 * written + more;
    if (checkpoint->frozen)
        extents += space->pages_frozen.count + 2 * checkpoint->run_left;
    return DIV_CEIL(extents, DEFERRED_EXTENTS) + 1;
}

uint32_t space_checkpoint_pages_max(const struct space *space)
{
    uint64_t written = MAX(page_dirty_count(space->cache), space->checkpoint.promised);
    return (uint32_t)space_deferred_pages_max(space, written, 0);
}

int space_checkpoint_reserve(struct space *space, uint32_t blocks, struct page_waiter *waiter)
{
    struct space_checkpoint *checkpoint = &space->checkpoint;
    assert(!checkpoint->frozen);
    space->releasing = true;
    while (checkpoint->taken < checkpoint->promised + blocks) {
        uint64_t lacks = checkpoint->promised + blocks - checkpoint->taken;
        struct extent extent;
        int result =
            space_take_run(space, DEVICE_NVME, SPACE_PAGES, (uint32_t)lacks, waiter, &extent);
        if (result != 0)
            return result;
        space_extents_push(&checkpoint->run, deferred_pack(extent.place, extent.blocks));
        checkpoint->taken += extent.blocks;
        checkpoint->run_left += extent.blocks;
    }
    checkpoint->promised += blocks;
    return 0;
}

void space_freeze(struct space *space)
{
    struct space_checkpoint *checkpoint = &space->checkpoint;
    assert(!checkpoint->frozen);
    checkpoint->frozen = true;
    space_extents_clear(&checkpoint->list);
    space_quarantine_list(space, &checkpoint->list);
    if (!MUTANT(68))
        space_reserved_list(&space->reserved, &checkpoint->list);
    /* The list of the checkpoint before this one goes with it. */
    if (!MUTANT(73)) {
        space->waiting += space->deferred_pages.blocks;
        space_extents_move(&space->pages_live, &space->deferred_pages);
    }
    space_extents_clear(&space->deferred_pages);
    space_extents_move(&space->pages_frozen, &space->pages_live);
    /* Each dirty page that has a place gives it back for the one that it takes. */
    checkpoint->leaves = space->pages_frozen.blocks + page_dirty_count(space->cache) -
                         page_unplaced_count(space->cache);
}

uint64_t space_checkpoint_take(void *context)
{
    struct space *space = context;
    struct space_checkpoint *checkpoint = &space->checkpoint;
    assert(checkpoint->frozen && checkpoint->run_left > 0);
    uint64_t *packed = &checkpoint->run.items[checkpoint->run_next];
    uint64_t place = deferred_place(*packed);
    uint32_t blocks = deferred_blocks(*packed);
    if (blocks > 1)
        *packed = deferred_pack(place + 1, blocks - 1);
    else
        checkpoint->run_next++;
    checkpoint->run_left--;
    return place;
}

void space_checkpoint_replaced(void *context, uint64_t place)
{
    struct space *space = context;
    assert(space->checkpoint.frozen);
    space_extents_push(&space->pages_frozen, deferred_pack(place, 1));
    space->waiting++;
}

/* --- The deferred list ------------------------------------------------------------------- */

static void run_left_copy(const struct space_checkpoint *checkpoint, struct extents *to)
{
    for (size_t i = checkpoint->run_next; i < checkpoint->run.count; i++)
        space_extents_push(to, checkpoint->run.items[i]);
}

static void deferred_sent(struct device_io *io, int result)
{
    struct space *space = CONTAINER_OF(io, struct space, checkpoint.io);
    struct space_checkpoint *checkpoint = &space->checkpoint;
    struct space_deferred *deferred = checkpoint->deferred;
    if (result == 0 && checkpoint->page_next > 0) {
        deferred_send(space);
        return;
    }
    checkpoint->deferred = NULL;
    if (result == 0) {
        deferred->place = deferred_place(checkpoint->pages.items[0]);
        deferred->crc = checkpoint->crc;
    }
    deferred->done(deferred, result);
}

/* The page before the one written last; the first written is the tail of the chain. */
static void deferred_send(struct space *space)
{
    struct space_checkpoint *checkpoint = &space->checkpoint;
    const struct extents *list = &checkpoint->list;
    size_t number = --checkpoint->page_next;
    bool tail = number + 1 == checkpoint->pages.count;
    struct deferred_page page = {
        .next_place = tail ? 0 : deferred_place(checkpoint->pages.items[number + 1]),
        .next_crc = tail ? 0 : checkpoint->crc,
    };
    size_t from = MIN(number * DEFERRED_EXTENTS, list->count);
    page.count = (uint32_t)MIN(list->count - from, DEFERRED_EXTENTS);
    if (page.count > 0)
        memcpy(page.extents, list->items + from, page.count * sizeof page.extents[0]);
    deferred_put(checkpoint->bytes, &page);
    checkpoint->crc = crc32c(checkpoint->bytes, BLOCK_BYTES);
    device_submit(space->options.devices, &checkpoint->io, DISK_WRITE,
                  deferred_place(checkpoint->pages.items[number]), 1, checkpoint->bytes,
                  deferred_sent);
}

static void deferred_none(struct page_waiter *waiter)
{
    struct space *space = CONTAINER_OF(waiter, struct space, checkpoint.waiter);
    struct space_deferred *deferred = space->checkpoint.deferred;
    space->checkpoint.deferred = NULL;
    deferred->place = 0;
    deferred->crc = 0;
    deferred->done(deferred, 0);
}

void space_deferred_write(struct space *space, struct space_deferred *deferred)
{
    struct space_checkpoint *checkpoint = &space->checkpoint;
    assert(checkpoint->frozen && checkpoint->deferred == NULL);
    checkpoint->deferred = deferred;
    struct extents *list = &checkpoint->list;
    space_extents_copy(list, &space->pages_frozen);
    /* Its own pages come from the run first; the count can only shrink by merging. */
    size_t count = list->count + (checkpoint->run.count - checkpoint->run_next);
    space_extents_clear(&checkpoint->pages);
    for (size_t i = 0; i < DIV_CEIL(count, DEFERRED_EXTENTS); i++)
        space_extents_push(&checkpoint->pages, deferred_pack(space_checkpoint_take(space), 1));
    if (!MUTANT(65))
        run_left_copy(checkpoint, list);
    space_extents_sort(list, &space->scratch);
    space_extents_merge(list, REGION_BLOCKS);
    checkpoint->page_next = checkpoint->pages.count;
    if (checkpoint->page_next == 0)
        page_wake(space->cache, &checkpoint->waiter);
    else
        deferred_send(space);
}

/* --- The end ----------------------------------------------------------------------------- */

void space_checkpoint_done(struct space *space, bool durable)
{
    struct space_checkpoint *checkpoint = &space->checkpoint;
    assert(checkpoint->frozen && checkpoint->deferred == NULL);
    checkpoint->frozen = false;
    checkpoint->promised = 0;
    checkpoint->taken = 0;
    if (durable) {
        space_extents_move(&space->pages_done, &space->pages_frozen);
        space->pages_stamp = space_epoch_stamp(space);
        if (!MUTANT(75)) {
            space->waiting += checkpoint->run_left;
            run_left_copy(checkpoint, &space->returned);
        }
        space_extents_clear(&checkpoint->run);
        checkpoint->run_next = 0;
        checkpoint->run_left = 0;
        space_extents_move(&space->deferred_pages, &checkpoint->pages);
    } else {
        REACH(space_checkpoint_not_durable);
        /* It may be what a reopened store finds, or the one before it may: until a later one is
         * durable neither gives anything up. What is left of the run goes to the next. */
        space->waiting += checkpoint->pages.blocks;
        space_extents_move(&space->pages_live, &checkpoint->pages);
        space_extents_move(&space->pages_live, &space->pages_frozen);
        checkpoint->taken = checkpoint->run_left;
    }
    space->barren = (uint8_t)MIN(space->barren + 1, 2);
    space->progress = true;
    space_again(space);
}

struct page_root *space_index_root(struct space *space)
{
    return &space->root;
}

void space_checkpoint_init(struct space *space)
{
    list_init(&space->checkpoint.waiter.node);
    space->checkpoint.waiter.wake = deferred_none;
}

void space_checkpoint_close(struct space *space)
{
    struct space_checkpoint *checkpoint = &space->checkpoint;
    space_extents_done(&checkpoint->run);
    space_extents_done(&checkpoint->list);
    space_extents_done(&checkpoint->pages);
    free(checkpoint->bytes);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Beginning: a fresh map, or the index and the deferred list of the last checkpoint; then marks. */
#include <stdlib.h>

#include "codec/codec.h"
#include "space/internal.h"

static void load_step(struct space *space);

void space_format(struct space *space)
{
    assert(!space->loaded);
    for (uint32_t region = 0; region < space->region_count; region++) {
        uint32_t blocks = space_region_blocks(space, region);
        if (blocks > 0)
            space_region_enter(space, region, blocks, false);
    }
    space->loaded = true;
}

static void load_finish(struct space *space, int result)
{
    if (result == 0) {
        space->loaded = true;
        space_release_loaded(space);
    }
    space->load.done(space->load.context, result);
}

/* --- The index --------------------------------------------------------------------------- */

static int load_slot(struct space *space, uint32_t region, const struct pointer *pointer)
{
    uint32_t blocks = space_region_blocks(space, region);
    if (blocks == 0) /* Between two devices. */
        return pointer->kind == POINTER_HOLE ? 0 : IOMESH_CORRUPT;
    if (pointer->kind == POINTER_HOLE) {
        space_region_enter(space, region, blocks, false);
        return 0;
    }
    uint64_t free = pointer->sequence & UINT32_MAX;
    if (pointer->kind != POINTER_RAW || free > blocks || pointer->sequence >> 33 != 0)
        return IOMESH_CORRUPT;
    space_region_enter(space, region, (uint32_t)free, pointer->sequence >> 32 != 0);
    return 0;
}

/* All regions under one index page. */
static int load_index(struct space *space)
{
    struct page *page = NULL;
    uint32_t first = space->load.region;
    int result = space_index_open(space, first, &space->load.waiter, &page);
    if (result != 0 && result != -ENOENT)
        return result;
    result = 0;
    uint32_t end = MIN(first + POINTERS_PER_PAGE, space->region_count);
    for (uint32_t region = first; region < end && result == 0; region++) {
        struct pointer pointer = {.kind = POINTER_HOLE};
        if (page != NULL)
            pointer = page_slot(page, region % POINTERS_PER_PAGE);
        result = load_slot(space, region, &pointer);
    }
    if (page != NULL)
        page_unpin(page);
    space->load.region = end;
    return result;
}

/* --- The deferred list ------------------------------------------------------------------- */

static int load_deferred(struct space *space)
{
    struct space_load *load = &space->load;
    const uint8_t *bytes = space->checkpoint.bytes;
    if (crc32c(bytes, BLOCK_BYTES) != load->crc)
        return IOMESH_CORRUPT;
    struct deferred_page page;
    int result = deferred_get(bytes, &page);
    if (result != 0)
        return result;
    for (uint32_t i = 0; i < page.count && !MUTANT(63); i++) {
        uint64_t place = deferred_place(page.extents[i]);
        uint32_t blocks = deferred_blocks(page.extents[i]);
        if (place < load->last_end || !device_holds(space->options.devices, place, blocks) ||
            space_region_of(place) != space_region_of(place + blocks - 1))
            return IOMESH_CORRUPT;
        load->last_end = place + blocks;
        space_extents_push(&space->release.batch, page.extents[i]);
        space->waiting += blocks;
    }
    /* A chain cannot be longer than the store. */
    if (space->deferred_pages.count > space->total)
        return IOMESH_CORRUPT;
    space_extents_push(&space->deferred_pages, deferred_pack(load->place, 1));
    load->place = page.next_place;
    load->crc = page.next_crc;
    return 0;
}

static void load_deferred_read(struct device_io *io, int result)
{
    struct space *space = CONTAINER_OF(io, struct space, checkpoint.io);
    if (result == 0)
        result = load_deferred(space);
    if (result != 0)
        load_finish(space, result);
    else
        load_step(space);
}

static void load_step(struct space *space)
{
    struct space_load *load = &space->load;
    while (load->region < space->region_count) {
        int result = load_index(space);
        if (result == -EAGAIN)
            return;
        if (result != 0) {
            load_finish(space, result);
            return;
        }
    }
    if (load->place == 0) {
        load_finish(space, 0);
        return;
    }
    if (!device_holds(space->options.devices, load->place, 1)) {
        load_finish(space, IOMESH_CORRUPT);
        return;
    }
    device_submit(space->options.devices, &space->checkpoint.io, DISK_READ, load->place, 1,
                  space->checkpoint.bytes, load_deferred_read);
}

static void load_woken(struct page_waiter *waiter)
{
    load_step(CONTAINER_OF(waiter, struct space, load.waiter));
}

void space_load_init(struct space *space)
{
    list_init(&space->load.waiter.node);
    space->load.waiter.wake = load_woken;
}

void space_load_start(struct space *space, void (*done)(void *context, int result), void *context)
{
    assert(!space->loaded && space->load.done == NULL);
    space->load.done = done;
    space->load.context = context;
    space->load.place = space->options.deferred_place;
    space->load.crc = space->options.deferred_crc;
    /* Its steps run from wakes alone, the first one too. */
    page_wake(space->cache, &space->load.waiter);
}

/* --- Marks and probes -------------------------------------------------------------------- */

static int mark_part(struct space *space, uint64_t place, uint32_t blocks, bool used,
                     struct page_waiter *waiter)
{
    uint32_t region = space_region_of(place);
    struct page *page = NULL;
    int result = space_region_open(space, region, waiter, &page);
    if (result != 0)
        return result;
    /* What the checkpoint deferred comes first: it must not undo the mark later. */
    result = space_release_region(space, region, page, waiter);
    if (result == 0 && !(used && MUTANT(74)))
        result = space_region_change(space, region, page, (uint32_t)(place % REGION_BLOCKS), blocks,
                                     used, waiter);
    page_unpin(page);
    return MIN(result, 0);
}

int space_mark(struct space *space, struct extent extent, bool used, struct page_waiter *waiter)
{
    assert(space->loaded && !space->started);
    if (!device_holds(space->options.devices, extent.place, extent.blocks))
        return IOMESH_CORRUPT;
    while (extent.blocks > 0) {
        uint32_t room = REGION_BLOCKS - (uint32_t)(extent.place % REGION_BLOCKS);
        uint32_t part = MIN(extent.blocks, room);
        int result = mark_part(space, extent.place, part, used, waiter);
        if (result != 0)
            return result;
        extent.place += part;
        extent.blocks -= part;
    }
    return 0;
}

/* Whether the batch has the block and did not release it yet. */
static bool probe_waits(const struct space *space, uint64_t place)
{
    const struct extents *batch = &space->release.batch;
    size_t at = space_extents_find(batch, place + 1);
    if (at == 0)
        return false;
    uint64_t packed = batch->items[at - 1];
    return (packed & RELEASED) == 0 && place - deferred_place(packed) < deferred_blocks(packed);
}

static bool extents_hold(const struct extents *extents, uint64_t place)
{
    for (size_t i = 0; i < extents->count; i++) {
        uint64_t packed = extents->items[i];
        if (place - deferred_place(packed) < deferred_blocks(packed))
            return true;
    }
    return false;
}

bool space_is_deferred_page(const struct space *space, uint64_t place)
{
    return extents_hold(&space->deferred_pages, place);
}

int space_probe(struct space *space, uint64_t place, struct page_waiter *waiter, bool *ret_used)
{
    if (!device_holds(space->options.devices, place, 1))
        return IOMESH_CORRUPT;
    struct page *page = NULL;
    int result = space_region_peek(space, space_region_of(place), waiter, &page);
    if (result != 0 && result != -ENOENT)
        return result;
    *ret_used = false;
    if (page != NULL) {
        bool set = space_bitmap_get(page_bytes(page), (uint32_t)(place % REGION_BLOCKS));
        /* Replay may have dropped pages: the checkpoint that frees them was not taken. */
        *ret_used = set && !probe_waits(space, place) && !extents_hold(&space->pages_live, place);
        page_unpin(page);
    }
    return 0;
}

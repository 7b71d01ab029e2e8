/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: their summaries, the way to their bitmaps, and changing both together. */
#include "space/internal.h"

uint32_t space_region_blocks(const struct space *space, uint32_t region)
{
    const struct device *device = space_region_device(space, region);
    if (device == NULL)
        return 0;
    uint64_t begin = (uint64_t)region * REGION_BLOCKS - device->base;
    return (uint32_t)MIN(device->blocks - begin, REGION_BLOCKS);
}

struct device *space_region_device(const struct space *space, uint32_t region)
{
    uint32_t number = space->regions[region] >> 24;
    return number == SUMMARY_NO_DEVICE ? NULL : &space->options.devices->devices[number];
}

struct space_class *space_region_class(struct space *space, uint32_t region)
{
    const struct device *device = space_region_device(space, region);
    return device == NULL ? NULL : &space->classes[device->class];
}

bool space_region_ready(const struct space *space, uint32_t region)
{
    const struct device *device = space_region_device(space, region);
    if (device == NULL || (space->regions[region] & SUMMARY_BAD) != 0)
        return false;
    return !device->disk->prepares || (space->regions[region] & SUMMARY_PREPARED) != 0;
}

/* Counts the region in (or out of) the sums over all of them. */
static void region_count(struct space *space, uint32_t region, bool in)
{
    struct space_class *class = space_region_class(space, region);
    uint64_t free = space_region_free(space, region);
    bool ready = space_region_ready(space, region);
    space->free += in ? free : -free;
    class->free += in ? free : -free;
    class->regions += in ? 1u : -1u;
    if (ready) {
        class->prepared_free += in ? free : -free;
        class->regions_ready += in ? 1u : -1u;
    }
}

static void region_set_free(struct space *space, uint32_t region, uint32_t free)
{
    assert(free <= space_region_blocks(space, region));
    space->regions[region] = (space->regions[region] & ~0xffffu) | free;
}

static void region_set_prepared(struct space *space, uint32_t region, bool prepared)
{
    if (((space->regions[region] & SUMMARY_PREPARED) != 0) == prepared)
        return;
    space->regions[region] ^= SUMMARY_PREPARED;
    space->regions_prepared += prepared ? 1u : -1u;
}

void space_region_enter(struct space *space, uint32_t region, uint32_t free, bool prepared)
{
    region_set_free(space, region, free);
    if (prepared)
        region_set_prepared(space, region, true);
    region_count(space, region, true);
    space_runs_assume(space, region);
}

void space_region_lose(struct space *space, uint32_t region)
{
    if ((space->regions[region] & SUMMARY_BAD) != 0)
        return;
    REACH(space_region_lost);
    space->lost += space_region_free(space, region);
    region_count(space, region, false);
    region_set_free(space, region, 0);
    space->regions[region] |= SUMMARY_BAD;
    space->progress = true;
}

/* --- The way to a bitmap ----------------------------------------------------------------- */

/* The page of `level` over a region. `make`: pages that are not there are made. */
static int tree_open_at(struct space *space, uint32_t region, unsigned level, bool make,
                        struct page_waiter *waiter, struct page **ret_page)
{
    struct page *page = NULL;
    int result = page_open_root(space->cache, &space->root, waiter, &page);
    if (result == -ENOENT && make) {
        page = page_create_root(space->cache, &space->root, NULL);
        result = 0;
    }
    for (unsigned above = SPACE_INDEX_LEVEL; result == 0 && above > level; above--) {
        unsigned slot = region >> 8 * (above - 1) & 255u;
        struct page *child = NULL;
        result = page_open(space->cache, page, slot, waiter, &child);
        if (result == -ENOENT && make) {
            child = page_create(space->cache, page, slot, NULL);
            result = 0;
        }
        page_unpin(page);
        page = child;
    }
    if (result == 0)
        *ret_page = page;
    return result;
}

int space_index_open(struct space *space, uint32_t region, struct page_waiter *waiter,
                     struct page **ret_page)
{
    return tree_open_at(space, region, 1, false, waiter, ret_page);
}

int space_region_peek(struct space *space, uint32_t region, struct page_waiter *waiter,
                      struct page **ret_page)
{
    return tree_open_at(space, region, 0, false, waiter, ret_page);
}

static uint64_t region_note(const struct space *space, uint32_t region)
{
    uint64_t prepared = (space->regions[region] & SUMMARY_PREPARED) != 0;
    return space_region_free(space, region) | prepared << 32;
}

int space_region_open(struct space *space, uint32_t region, struct page_waiter *waiter,
                      struct page **ret_page)
{
    if ((space->regions[region] & SUMMARY_BAD) != 0)
        return IOMESH_CORRUPT;
    int result = tree_open_at(space, region, 0, false, waiter, ret_page);
    if (result != -ENOENT)
        return result;
    result = page_reserve(space->cache, SPACE_CHANGE_FRAMES, waiter);
    if (result != 0)
        return result;
    struct page *page = NULL;
    result = tree_open_at(space, region, 0, true, waiter, &page);
    if (result == 0) {
        uint32_t blocks = space_region_blocks(space, region);
        uint8_t *bits = page_change(page);
        if (!MUTANT(72))
            (void)space_bitmap_set(bits, blocks, REGION_BLOCKS - blocks);
        page_annotate(page, region_note(space, region));
        *ret_page = page;
    }
    page_unreserve(space->cache, SPACE_CHANGE_FRAMES);
    return result;
}

int space_region_change(struct space *space, uint32_t region, struct page *page, uint32_t from,
                        uint32_t count, bool used, struct page_waiter *waiter)
{
    assert(count > 0 && from + count <= space_region_blocks(space, region));
    int result = page_reserve(space->cache, SPACE_CHANGE_FRAMES, waiter);
    if (result != 0)
        return result;
    uint8_t *bits = page_change(page);
    uint32_t changed =
        used ? space_bitmap_set(bits, from, count) : space_bitmap_clear(bits, from, count);
    region_count(space, region, false);
    uint32_t free = space_region_free(space, region);
    region_set_free(space, region, used ? free - changed : free + changed);
    region_count(space, region, true);
    if (!used) {
        if (!space_region_ready(space, region))
            space_region_class(space, region)->prepare.none = false;
        space_runs_freed(space, region, bits, from, count);
    }
    if (!MUTANT(69))
        page_annotate(page, region_note(space, region));
    page_unreserve(space->cache, SPACE_CHANGE_FRAMES);
    return (int)changed;
}

int space_region_prepared(struct space *space, uint32_t region, struct page *page, bool prepared,
                          struct page_waiter *waiter)
{
    int result = page_reserve(space->cache, SPACE_CHANGE_FRAMES, waiter);
    if (result != 0)
        return result;
    (void)page_change(page);
    region_count(space, region, false);
    region_set_prepared(space, region, prepared);
    space_region_class(space, region)->prepare.none = false;
    region_count(space, region, true);
    space_runs_offer(space, region);
    page_annotate(page, region_note(space, region));
    page_unreserve(space->cache, SPACE_CHANGE_FRAMES);
    return 0;
}

/* --- Fetching ---------------------------------------------------------------------------- */

static void fetch_woken(struct page_waiter *waiter)
{
    struct region_fetch *fetch = CONTAINER_OF(waiter, struct region_fetch, waiter);
    fetch->waiting = false;
    fetch->space->progress = true;
    space_again(fetch->space);
}

void space_fetch_init(struct region_fetch *fetch, struct space *space)
{
    *fetch = (struct region_fetch){.space = space, .region = SPACE_REGION_NONE};
    list_init(&fetch->waiter.node);
    fetch->waiter.wake = fetch_woken;
}

void space_fetch_begin(struct region_fetch *fetch, uint32_t region)
{
    assert(fetch->region == SPACE_REGION_NONE);
    fetch->region = region;
}

int space_fetch_poll(struct region_fetch *fetch)
{
    assert(fetch->region != SPACE_REGION_NONE);
    if (fetch->page != NULL)
        return 0;
    if (fetch->waiting)
        return -EAGAIN;
    int result = space_region_open(fetch->space, fetch->region, &fetch->waiter, &fetch->page);
    if (result == IOMESH_FAILED)
        return -EAGAIN; /* The store has failed: nobody is served any more, nothing is lost. */
    if (result == -EAGAIN) {
        fetch->waiting = true;
    } else if (result != 0) {
        space_region_lose(fetch->space, fetch->region);
        fetch->region = SPACE_REGION_NONE;
    }
    return result;
}

void space_fetch_end(struct region_fetch *fetch)
{
    if (fetch->page != NULL)
        page_unpin(fetch->page);
    if (fetch->waiting)
        page_waiter_cancel(&fetch->waiter);
    fetch->page = NULL;
    fetch->waiting = false;
    fetch->region = SPACE_REGION_NONE;
}

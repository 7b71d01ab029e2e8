/* SPDX-License-Identifier: Apache-2.0 */
/* A page cache over a false disk, and an account of every place that was handed out. */
#ifndef UNIT_PAGE_PAGES_H
#define UNIT_PAGE_PAGES_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "page/page.h"
#include "sim/disk.h"

#define PAGES_BLOCKS 65536u

struct pages {
    struct world world;
    struct sim_disk *disk;
    struct device_set devices;
    struct page_cache *cache;
    struct page_write write;
    uint64_t next;               /* Place to be handed out. */
    uint8_t state[PAGES_BLOCKS]; /* 0 never, 1 out, 2 freed, 3 replaced. */
    uint64_t taken, freed, replaced;
    int write_result;
    bool write_over;
    unsigned woken;
    struct page_waiter waiter;
};

static inline struct pages *pages_of_waiter(struct page_waiter *waiter)
{
    return CONTAINER_OF(waiter, struct pages, waiter);
}

static inline void pages_woken(struct page_waiter *waiter)
{
    pages_of_waiter(waiter)->woken++;
}

static inline uint64_t pages_take(void *context)
{
    struct pages *pages = context;
    cr_assert_lt(pages->next, PAGES_BLOCKS);
    pages->taken++;
    pages->state[pages->next] = 1;
    return pages->next++;
}

static inline void pages_freed(void *context, uint64_t place)
{
    struct pages *pages = context;
    cr_assert_eq(pages->state[place], 1, "place %lu freed twice or never taken", place);
    pages->state[place] = 2;
    pages->freed++;
}

static inline void pages_replaced(void *context, uint64_t place)
{
    struct pages *pages = context;
    cr_assert_eq(pages->state[place], 1, "place %lu replaced twice or never taken", place);
    pages->state[place] = 3;
    pages->replaced++;
}

static inline void pages_cache_open(struct pages *pages, uint32_t frames)
{
    struct page_cache_options options = {
        .devices = &pages->devices,
        .frame_count = frames,
        .reserve_frames = frames / 4,
        .freed = pages_freed,
        .context = pages,
    };
    cr_assert_eq(page_cache_open(&options, &pages->cache), 0);
}

static inline struct pages *pages_open(uint64_t seed, uint32_t frames)
{
    struct pages *pages = calloc(1, sizeof *pages);
    cr_assert_not_null(pages);
    world_open(&pages->world, seed);
    pages->disk = sim_disk_open(&pages->world, "d", (uint64_t)PAGES_BLOCKS * BLOCK_BYTES);
    pages->devices.devices[0] = (struct device){.disk = &pages->disk->disk, .blocks = PAGES_BLOCKS};
    pages->devices.count = 1;
    device_set_init(&pages->devices);
    pages->next = 1;
    list_init(&pages->waiter.node);
    pages->waiter.wake = pages_woken;
    pages_cache_open(pages, frames);
    return pages;
}

static inline void pages_close(struct pages *pages)
{
    page_cache_close(pages->cache);
    world_close(&pages->world);
    free(pages);
}

/* One turn of the engine. */
static inline void pages_turn(struct pages *pages)
{
    (void)world_step(&pages->world);
    (void)device_turn(&pages->devices);
    (void)page_turn(pages->cache);
    page_write_turn(&pages->write);
}

static inline void pages_settle(struct pages *pages)
{
    while (world_step(&pages->world) || page_turn_needed(pages->cache) || pages->write.active ||
           !list_empty(&pages->devices.ended))
        pages_turn(pages);
}

/* A fresh cache over the same disk: what a reopened store sees. */
static inline void pages_reopen(struct pages *pages, uint32_t frames)
{
    pages_settle(pages);
    page_cache_close(pages->cache);
    pages_cache_open(pages, frames);
}

static inline void pages_write_done(struct page_write *write, int result)
{
    struct pages *pages = write->context;
    pages->write_result = result;
    pages->write_over = true;
}

static inline void pages_write_start(struct pages *pages)
{
    pages->write_over = false;
    pages->write = (struct page_write){
        .take = pages_take,
        .replaced = pages_replaced,
        .context = pages,
        .done = pages_write_done,
    };
    page_write_start(pages->cache, &pages->write, 4);
    cr_assert(!pages->write_over);
}

static inline void pages_checkpoint(struct pages *pages)
{
    page_freeze(pages->cache);
    pages_write_start(pages);
    pages_settle(pages);
    cr_assert(pages->write_over);
    cr_assert_eq(pages->write_result, 0);
    page_thaw(pages->cache);
}

static inline struct page *pages_root(struct pages *pages, struct page_root *root)
{
    struct page *page = NULL;
    int result;
    while ((result = page_open_root(pages->cache, root, &pages->waiter, &page)) == -EAGAIN)
        pages_turn(pages);
    cr_assert_eq(result, 0, "root: %d", result);
    return page;
}

/* NULL if there is none. */
static inline struct page *pages_child(struct pages *pages, struct page *parent, unsigned slot)
{
    struct page *page = NULL;
    int result;
    while ((result = page_open(pages->cache, parent, slot, &pages->waiter, &page)) == -EAGAIN)
        pages_turn(pages);
    cr_assert(result == 0 || result == -ENOENT, "child: %d", result);
    return page;
}

static inline struct pointer pages_data(uint64_t place, uint64_t sequence)
{
    return (struct pointer){.kind = POINTER_RAW, .place = place, .sequence = sequence, .crc = 7};
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of 4 KiB times a power of two, out of one stretch of memory: a buddy system. */
#include <stdlib.h>
#include <sys/mman.h>

#include "uring/ring.h"

#define NONE UINT32_MAX
#define FREE 0x80u
#define ORDERS 32u
#define HUGE_BYTES (2ull << 20)

static void arena_link(struct arena *arena, uint32_t page, unsigned order)
{
    arena->state[page] = (uint8_t)(order | FREE);
    arena->next[page] = arena->free[order];
    arena->previous[page] = NONE;
    if (arena->free[order] != NONE)
        arena->previous[arena->free[order]] = page;
    arena->free[order] = page;
}

static void arena_unlink(struct arena *arena, uint32_t page, unsigned order)
{
    uint32_t next = arena->next[page];
    uint32_t previous = arena->previous[page];
    if (next != NONE)
        arena->previous[next] = previous;
    if (previous != NONE)
        arena->next[previous] = next;
    else
        arena->free[order] = next;
    arena->state[page] = (uint8_t)order;
}

/*
 * In huge pages, if the kernel has some: a buffer is then one stretch of memory for the disk too,
 * one descriptor of its queue and not one for each 4 KiB (a queue of 256 holds only seven
 * requests of 128 KiB otherwise). What the alignment cost is given back.
 */
static void *arena_map(uint64_t bytes)
{
    uint64_t huge = bytes >= HUGE_BYTES ? HUGE_BYTES : BLOCK_BYTES;
    uint8_t *all =
        mmap(NULL, bytes + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    uint64_t before = (huge - (uintptr_t)all % huge) % huge;
    if (before > 0)
        (void)munmap(all, before);
    (void)munmap(all + before + bytes, huge - before);
    (void)madvise(all + before, bytes, MADV_HUGEPAGE);
    return all + before;
}

int arena_open(struct arena *arena, uint64_t bytes)
{
    arena->bytes = ROUND_UP(bytes, BLOCK_BYTES);
    arena->page_count = (uint32_t)(arena->bytes / BLOCK_BYTES);
    arena->memory = arena_map(arena->bytes);
    arena->next = calloc(arena->page_count, sizeof *arena->next);
    arena->previous = calloc(arena->page_count, sizeof *arena->previous);
    arena->state = calloc(arena->page_count, sizeof *arena->state);
    if (arena->memory == NULL || arena->next == NULL || arena->previous == NULL ||
        arena->state == NULL)
        return -ENOMEM;
    for (unsigned order = 0; order < ORDERS; order++)
        arena->free[order] = NONE;
    /* As large as alignment and the end allow, from the end, so that low addresses go first. */
    for (uint32_t end = arena->page_count; end > 0;) {
        unsigned order = 0;
        while (order + 1 < ORDERS && end % (2u << order) == 0)
            order++;
        end -= 1u << order;
        arena_link(arena, end, order);
    }
    return 0;
}

void arena_close(struct arena *arena)
{
    if (arena->memory != NULL)
        munmap(arena->memory, arena->bytes);
    free(arena->next);
    free(arena->previous);
    free(arena->state);
}

void *arena_get(struct arena *arena, uint64_t bytes)
{
    if (bytes == 0 || bytes > arena->bytes)
        return NULL;
    unsigned order = 0;
    while ((uint64_t)BLOCK_BYTES << order < bytes)
        order++;
    unsigned found = order;
    while (found < ORDERS && arena->free[found] == NONE)
        found++;
    if (found == ORDERS)
        return NULL;
    uint32_t page = arena->free[found];
    arena_unlink(arena, page, found);
    while (found > order) {
        found--;
        arena_link(arena, page + (1u << found), found);
    }
    arena->state[page] = (uint8_t)order;
    return arena->memory + (uint64_t)page * BLOCK_BYTES;
}

void arena_put(struct arena *arena, void *buffer)
{
    uint64_t offset = (uint64_t)((uint8_t *)buffer - arena->memory);
    assert(offset < arena->bytes && offset % BLOCK_BYTES == 0);
    uint32_t page = (uint32_t)(offset / BLOCK_BYTES);
    assert(!(arena->state[page] & FREE));
    unsigned order = arena->state[page];
    while (order + 1 < ORDERS) {
        uint32_t buddy = page ^ (1u << order);
        if (buddy >= arena->page_count || arena->state[buddy] != (order | FREE))
            break;
        arena_unlink(arena, buddy, order);
        page = MIN(page, buddy);
        order++;
    }
    arena_link(arena, page, order);
}

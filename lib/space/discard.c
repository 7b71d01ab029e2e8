/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving back: whole free MiB that left quarantine go to the file system or device below, one
 * request at a time. A region of a file is then no longer prepared. Advice: what finds no place in
 * the ring of chunks, or lies where blocks are being given out, is forgotten or put off.
 */
#include "space/internal.h"

void space_discard_note(struct space *space, const uint8_t *bits, uint32_t region, uint32_t from,
                        uint32_t count)
{
    struct space_discard *discard = &space->discard;
    if (!space->options.discard)
        return;
    uint32_t first = from / SPACE_CHUNK_BLOCKS * SPACE_CHUNK_BLOCKS;
    for (uint32_t at = first; at < from + count; at += SPACE_CHUNK_BLOCKS) {
        if (!space_bitmap_all_clear(bits, at, SPACE_CHUNK_BLOCKS) ||
            discard->count == SPACE_CHUNKS_MAX)
            continue;
        uint32_t tail = (discard->head + discard->count++) % SPACE_CHUNKS_MAX;
        discard->chunks[tail] = (uint64_t)region * REGION_BLOCKS + at;
    }
}

static uint64_t chunk_at(const struct space_discard *discard, uint32_t index)
{
    return discard->chunks[(discard->head + index) % SPACE_CHUNKS_MAX];
}

static void chunks_pop(struct space_discard *discard, uint32_t count)
{
    discard->head = (discard->head + count) % SPACE_CHUNKS_MAX;
    discard->count -= count;
}

static bool region_given_out(struct space *space, uint32_t region)
{
    const struct space_class *class = space_region_class(space, region);
    return class->current.region == region || class->next.region == region ||
           class->prepare.fetch.region == region;
}

/* Lets the region go; who looked for something to prepare meanwhile passed it over. */
static void discard_end(struct space *space)
{
    struct region_fetch *fetch = &space->discard.fetch;
    if (fetch->region == SPACE_REGION_NONE)
        return;
    uint32_t region = fetch->region;
    space_region_class(space, region)->prepare.none = false;
    space_fetch_end(fetch);
    space_runs_offer(space, region);
    space->progress = true;
}

static void discard_done(struct device_io *io, int result)
{
    struct space *space = CONTAINER_OF(io, struct space, discard.io);
    struct space_discard *discard = &space->discard;
    discard->flying = false;
    if (result == 0)
        space->discarded_bytes += io->io.length_bytes;
    discard_end(space);
    clock_set_after(space->options.clock, &discard->timer, SPACE_DISCARD_NS);
    space->progress = true;
    space_again(space);
}

/* How many chunks at the head of the ring follow each other and are free still. */
static uint32_t chunks_together(const struct space_discard *discard)
{
    const uint8_t *bits = page_bytes(discard->fetch.page);
    uint64_t base = (uint64_t)discard->fetch.region * REGION_BLOCKS;
    uint32_t from = (uint32_t)(chunk_at(discard, 0) - base);
    uint32_t count = 0;
    while (count < discard->count && count < SPACE_DISCARD_BLOCKS / SPACE_CHUNK_BLOCKS) {
        uint32_t at = from + count * SPACE_CHUNK_BLOCKS;
        bool free = at < REGION_BLOCKS &&
                    (space_bitmap_all_clear(bits, at, SPACE_CHUNK_BLOCKS) || MUTANT(67));
        if (chunk_at(discard, count) != base + at || !free)
            break;
        count++;
    }
    return count;
}

static void discard_send(struct space *space)
{
    struct space_discard *discard = &space->discard;
    uint32_t region = discard->fetch.region;
    uint32_t chunks = chunks_together(discard);
    if (chunks == 0) {
        REACH(space_discard_too_late);
        chunks_pop(discard, 1);
        discard_end(space);
        space_again(space);
        return;
    }
    if (space_region_device(space, region)->disk->prepares) {
        int result = space_region_prepared(space, region, discard->fetch.page, false,
                                           &discard->fetch.waiter);
        if (result != 0) {
            discard->fetch.waiting = true;
            return;
        }
    }
    uint64_t place = chunk_at(discard, 0);
    chunks_pop(discard, chunks);
    discard->flying = true;
    device_submit(space->options.devices, &discard->io, DISK_DISCARD, place,
                  chunks * SPACE_CHUNK_BLOCKS, NULL, discard_done);
}

/* Brings a chunk to the head whose region gives nothing out. False: none was found. */
static bool chunks_rotate(struct space *space)
{
    struct space_discard *discard = &space->discard;
    for (uint32_t i = 0; i < MIN(discard->count, SPACE_DISCARD_LOOK); i++) {
        uint64_t chunk = chunk_at(discard, 0);
        if (!region_given_out(space, space_region_of(chunk)))
            return true;
        chunks_pop(discard, 1);
        discard->chunks[(discard->head + discard->count++) % SPACE_CHUNKS_MAX] = chunk;
    }
    return false;
}

static void discard_due(struct timer *timer)
{
    space_again(CONTAINER_OF(timer, struct space, discard.timer));
}

void space_discard_init(struct space *space)
{
    space_fetch_init(&space->discard.fetch, space);
    space->discard.timer.fire = discard_due;
}

void space_discard_close(struct space *space)
{
    space_fetch_end(&space->discard.fetch);
    clock_cancel(space->options.clock, &space->discard.timer);
}

void space_discard_turn(struct space *space)
{
    struct space_discard *discard = &space->discard;
    if (discard->flying)
        return;
    if (space->stopped || space->options.devices->failed != 0) {
        discard_end(space);
        return;
    }
    /* What recovery has not marked yet looks free. */
    if (!space->started && !MUTANT(71))
        return;
    if (discard->count == 0 || discard->timer.set)
        return;
    if (discard->fetch.region == SPACE_REGION_NONE) {
        if (!chunks_rotate(space))
            return;
        uint32_t region = space_region_of(chunk_at(discard, 0));
        space_runs_leave(space, region);
        space_fetch_begin(&discard->fetch, region);
    }
    if (discard->fetch.waiting)
        return;
    int result = space_fetch_poll(&discard->fetch);
    if (result == 0)
        discard_send(space);
    else if (result != -EAGAIN)
        chunks_pop(discard, 1);
}

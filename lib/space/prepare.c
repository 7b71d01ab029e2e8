/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preparing: zeros are written to the free runs of the next region before it is given out, so that
 * a first write does not pay the file system's allocation.
 *
 *   region   [ prepared, may be taken | piece flying | piece flying | not yet            ]
 *                                     ▲ limit                       ▲ position
 *
 * One region of a class at a time; bits only ever become clear in it beyond the limit, so a
 * piece in flight never meets data.
 */
#include "space/internal.h"

void space_prepare_busy(struct space *space)
{
    space->takes++;
    space->idle_now = false;
}

bool space_prepare_flying(const struct space_class *class)
{
    for (unsigned i = 0; i < SPACE_PIECES; i++) {
        if (class->prepare.pieces[i].flying)
            return true;
    }
    return false;
}

bool space_prepare_over(const struct space *space, const struct space_class *class)
{
    return !space->started || space->stopped || class->prepare.full;
}

bool space_prepare_spares(const struct space *space, const struct space_class *class)
{
    return space_prepare_over(space, class) || class->prepare.none;
}

bool space_prepare_coming(const struct space *space, const struct space_class *class)
{
    if (class->prepare.fetch.region != SPACE_REGION_NONE)
        return true;
    return class->free > class->prepared_free && !space_prepare_over(space, class);
}

uint64_t space_prepare_lacks(const struct space *space)
{
    uint64_t lacks = 0;
    for (unsigned i = 0; i < DEVICE_CLASSES; i++) {
        const struct space_class *class = &space->classes[i];
        /* Where no region is ready, what is given out is the front of the one being prepared. */
        if (class->prepare.tight && class->regions_ready > 0)
            lacks += class->free - class->prepared_free;
    }
    return lacks;
}

uint32_t space_prepare_limit(const struct space *space, const struct space_class *class,
                             uint32_t region, enum space_purpose purpose)
{
    const struct space_prepare *prepare = &class->prepare;
    if (region == space->discard.fetch.region)
        return 0;
    if (region == prepare->fetch.region) {
        uint32_t limit = prepare->position;
        for (unsigned i = 0; i < SPACE_PIECES && !MUTANT(66); i++) {
            if (prepare->pieces[i].flying)
                limit = MIN(limit, prepare->pieces[i].start);
        }
        return limit;
    }
    bool may = space_region_ready(space, region) ||
               (purpose == SPACE_PAGES && space_prepare_spares(space, class));
    return may ? REGION_BLOCKS : 0;
}

/*
 * Whether blocks of a region that count as in use were perhaps never written, and come free by and
 * by: what was left of the run of a checkpoint that took what was not prepared, at format or in
 * recovery. Prepared now, the region would be given out with holes in it.
 */
static bool comes_free_unwritten(const struct space *space, uint32_t region)
{
    const struct extents *batch = &space->release.batch;
    uint64_t from = (uint64_t)region * REGION_BLOCKS;
    size_t at = space_extents_find(batch, from);
    for (; at < batch->count && space_region_of(deferred_place(batch->items[at])) == region; at++) {
        if ((batch->items[at] & RELEASED) == 0)
            return true;
    }
    for (size_t i = 0; i < space->returned.count; i++) {
        if (space_region_of(deferred_place(space->returned.items[i])) == region)
            return true;
    }
    return false;
}

/* The next region after the current one that has something to prepare; worthwhile ones first. */
static uint32_t prepare_pick(struct space *space, struct space_class *class)
{
    uint32_t begin = class->current.region == SPACE_REGION_NONE ? 0 : class->current.region;
    uint32_t second = SPACE_REGION_NONE;
    for (uint32_t i = 0; i < space->region_count; i++) {
        uint32_t region = (begin + i) % space->region_count;
        uint32_t free = space_region_free(space, region);
        if (free == 0 || space_region_class(space, region) != class ||
            space_region_ready(space, region) || (space->regions[region] & SUMMARY_BAD) != 0 ||
            region == space->discard.fetch.region || comes_free_unwritten(space, region))
            continue;
        if (free >= SPACE_PIECE_BLOCKS)
            return region;
        if (second == SPACE_REGION_NONE)
            second = region;
    }
    return second;
}

/*
 * How far ahead when nobody takes: the more is free, the longer the runs in it. Measured after
 * random overwrites: with a fifth of what is prepared free, a write of 128 KiB was cut into 12 to
 * 21 pieces; with half of it free, into 1 to 3. Less where free space is given back below.
 */
static uint64_t prepare_ahead(const struct space *space, const struct space_class *class)
{
    uint64_t used = (uint64_t) class->regions * REGION_BLOCKS - class->free;
    return space->options.discard ? SPACE_AHEAD_IDLE : MAX(SPACE_AHEAD_IDLE, used);
}

/* How many pieces may fly: as little as keeps the takers from waiting. */
static unsigned prepare_depth(struct space *space, const struct space_class *class)
{
    if (space_prepare_over(space, class) || space->options.devices->failed != 0)
        return 0;
    if (class->starved)
        return SPACE_PIECES;
    if (space->taken && class->prepared_free < SPACE_AHEAD_LOW)
        return SPACE_PIECES;
    if (space->taken && class->prepared_free < SPACE_AHEAD_BUSY)
        return 1;
    if (class->prepared_free >= prepare_ahead(space, class))
        return 0;
    if (!space->idle_now && !space->idle.set)
        clock_set_after(space->options.clock, &space->idle, SPACE_IDLE_NS);
    return space->idle_now ? 2 : 0;
}

static void full_over(struct timer *timer)
{
    struct space_prepare *prepare = CONTAINER_OF(timer, struct space_prepare, full_timer);
    prepare->full = false;
    prepare->fetch.space->progress = true;
    space_again(prepare->fetch.space);
}

static void piece_done(struct device_io *io, int result)
{
    struct space_piece *piece = CONTAINER_OF(io, struct space_piece, io);
    struct space_class *class = piece->class;
    struct space *space = class->space;
    piece->flying = false;
    class->starved = false;
    space->progress = true;
    space_again(space);
    if (result == 0) {
        space->prepared_bytes += (uint64_t)piece->blocks * BLOCK_BYTES;
        return;
    }
    class->prepare.position = MIN(class->prepare.position, piece->start);
    if (result == -ENOSPC) {
        REACH(space_full_while_preparing);
        class->prepare.full = class->prepare.tight = true;
        clock_set_after(space->options.clock, &class->prepare.full_timer, SPACE_FULL_NS);
    }
}

static struct space_piece *piece_free(struct space_prepare *prepare, unsigned depth)
{
    struct space_piece *free = NULL;
    unsigned flying = 0;
    for (unsigned i = 0; i < SPACE_PIECES; i++) {
        if (prepare->pieces[i].flying)
            flying++;
        else
            free = &prepare->pieces[i];
    }
    return flying < depth ? free : NULL;
}

static void pieces_send(struct space *space, struct space_class *class, unsigned depth)
{
    struct space_prepare *prepare = &class->prepare;
    const uint8_t *bits = page_bytes(prepare->fetch.page);
    struct space_piece *piece;
    while (prepare->position < REGION_BLOCKS && (piece = piece_free(prepare, depth)) != NULL) {
        if (!space_bitmap_find(bits, prepare->position, REGION_BLOCKS, SPACE_PIECE_BLOCKS,
                               &piece->start, &piece->blocks)) {
            prepare->position = REGION_BLOCKS;
            return;
        }
        prepare->position = piece->start + piece->blocks;
        piece->flying = true;
        uint64_t place = (uint64_t)prepare->fetch.region * REGION_BLOCKS + piece->start;
        device_submit(space->options.devices, &piece->io, DISK_ZERO, place, piece->blocks, NULL,
                      piece_done);
    }
}

/* The whole region is done: it is one to be given out. */
static void prepare_finish(struct space *space, struct space_class *class)
{
    struct region_fetch *fetch = &class->prepare.fetch;
    int result = space_region_prepared(space, fetch->region, fetch->page, true, &fetch->waiter);
    if (result != 0) {
        fetch->waiting = true;
        return;
    }
    space_fetch_end(fetch);
    class->starved = class->prepare.tight = false;
    space->progress = true;
    space_again(space);
}

static void prepare_class(struct space *space, struct space_class *class)
{
    struct space_prepare *prepare = &class->prepare;
    if (space_prepare_over(space, class) && !space_prepare_flying(class))
        space_fetch_end(&prepare->fetch);
    bool idle = prepare->fetch.region == SPACE_REGION_NONE;
    if (idle && (prepare->none || class->free == class->prepared_free))
        return;
    unsigned depth = prepare_depth(space, class);
    if (idle) {
        if (depth == 0)
            return;
        uint32_t region = prepare_pick(space, class);
        prepare->none = region == SPACE_REGION_NONE;
        if (prepare->none) {
            /* Pages may be had without it. */
            space->progress = true;
            space_again(space);
            return;
        }
        prepare->position = 0;
        space_fetch_begin(&prepare->fetch, region);
    }
    if (prepare->fetch.waiting || space_fetch_poll(&prepare->fetch) != 0)
        return;
    pieces_send(space, class, depth);
    if (prepare->position == REGION_BLOCKS && !space_prepare_flying(class))
        prepare_finish(space, class);
}

void space_prepare_turn(struct space *space)
{
    for (unsigned i = 0; i < DEVICE_CLASSES; i++)
        prepare_class(space, &space->classes[i]);
}

void space_prepare_init(struct space_class *class)
{
    space_fetch_init(&class->prepare.fetch, class->space);
    class->prepare.full_timer.fire = full_over;
    for (unsigned i = 0; i < SPACE_PIECES; i++)
        class->prepare.pieces[i].class = class;
}

void space_prepare_close(struct space_class *class)
{
    clock_cancel(class->space->options.clock, &class->prepare.full_timer);
    space_fetch_end(&class->prepare.fetch);
}

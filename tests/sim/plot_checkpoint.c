/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints and crashes of the plot, and what must hold. */
#include <string.h>

#include "format/deferred.h"
#include "sim/plot.h"

static void model_become(struct plot *plot, uint64_t place, enum plot_state state)
{
    bool was = plot->state[place] == PLOT_FIXED || plot->state[place] == PLOT_LINKED ||
               plot->state[place] == PLOT_PAGE;
    bool is = state == PLOT_FIXED || state == PLOT_LINKED || state == PLOT_PAGE;
    plot->used += (uint64_t)is - (uint64_t)was;
    plot->state[place] = (uint8_t)state;
}

static uint64_t checkpoint_take(void *context)
{
    struct plot *plot = context;
    uint64_t place = space_checkpoint_take(plot->space);
    uint8_t state = plot->state[place];
    REQUIRE_SAYING(state == PLOT_FREE || state == PLOT_WAITS || state == PLOT_PAGE_DONE,
                   "page %lu of a checkpoint is in state %u", place, state);
    model_become(plot, place, PLOT_PAGE);
    plot->next_snap[place] = PLOT_PAGE;
    return place;
}

static void page_replaced(void *context, uint64_t place)
{
    struct plot *plot = context;
    REQUIRE(plot->state[place] == PLOT_PAGE);
    space_checkpoint_replaced(plot->space, place);
    model_become(plot, place, PLOT_PAGE_FROZEN);
    plot->next_snap[place] = PLOT_FREE;
}

static void written(struct page_write *write, int result)
{
    struct plot *plot = write->context;
    REQUIRE_SAYING(result == 0, "pages: %d", result);
    plot->checkpoint = PLOT_DEFERRED;
}

static void deferred_written(struct space_deferred *deferred, int result)
{
    struct plot *plot = deferred->private;
    REQUIRE_SAYING(result == 0, "deferred list: %d", result);
    plot->checkpoint = PLOT_FLUSHING;
}

static void flushed(struct device_flush *flush, int result)
{
    struct plot *plot = CONTAINER_OF(flush, struct plot, flush);
    REQUIRE(result == 0);
    plot->checkpoint = PLOT_NAMED;
}

/* Some pages of the pretended tree are written anew, one more is made. */
static void tree_pages(struct plot *plot)
{
    for (unsigned i = 0; i < plot->page_count; i++) {
        if (!prng_one_in(&plot->prng, 3))
            continue;
        page_replaced(plot, plot->pages[i]);
        plot->pages[i] = checkpoint_take(plot);
    }
    if (plot->page_count < 8)
        plot->pages[plot->page_count++] = checkpoint_take(plot);
    for (unsigned i = 0; i < plot->page_count; i++) {
        uint64_t place = plot->pages[i];
        struct device *device = device_at(&plot->devices, place);
        sim_disk_poke(plot->disks[device - plot->devices.devices],
                      (place - device->base) * BLOCK_BYTES, 8, &place);
        plot->tags[place] = place;
    }
}

/* The pages of a deferred list, by reading it. */
static void deferred_pages(struct plot *plot, uint64_t place, enum plot_state state, uint8_t *snap)
{
    while (place != 0) {
        struct device *device = device_at(&plot->devices, place);
        uint8_t bytes[BLOCK_BYTES];
        sim_disk_peek(plot->disks[device - plot->devices.devices],
                      (place - device->base) * BLOCK_BYTES, BLOCK_BYTES, bytes);
        struct deferred_page page;
        REQUIRE(deferred_get(bytes, &page) == 0);
        if (snap != NULL)
            snap[place] = PLOT_PAGE;
        else
            model_become(plot, place, state);
        place = page.next_place;
    }
}

static void plot_freeze(struct plot *plot)
{
    deferred_pages(plot, plot->deferred_place, PLOT_PAGE_FROZEN, NULL);
    for (uint64_t place = 0; place < plot->end; place++) {
        uint8_t state = plot->state[place];
        if (state == PLOT_PAGE_LIVE)
            plot->state[place] = PLOT_PAGE_FROZEN;
        bool kept = state == PLOT_FIXED || state == PLOT_LINKED || state == PLOT_PAGE;
        plot->next_snap[place] = kept ? state : PLOT_FREE;
    }
    plot->next_log_count = 0;
    space_freeze(plot->space);
    page_freeze(plot->cache);
    tree_pages(plot);
    memcpy(plot->next_pages, plot->pages, sizeof plot->pages);
    plot->next_page_count = plot->page_count;
    plot->write = (struct page_write){
        .take = checkpoint_take,
        .replaced = page_replaced,
        .context = plot,
        .done = written,
    };
    plot->checkpoint = PLOT_PAGES;
    page_write_start(plot->cache, &plot->write, 4);
}

static void plot_reserve(struct plot *plot)
{
    for (;;) {
        uint32_t need = page_dirty_count(plot->cache) + plot->page_count + 1 +
                        space_checkpoint_pages_max(plot->space);
        if (need <= plot->checkpoint_reserved)
            break;
        int result = space_checkpoint_reserve(plot->space, need - plot->checkpoint_reserved,
                                              &plot->checkpoint_waiter);
        if (result == -EAGAIN) {
            plot->checkpoint_waits = true;
            return;
        }
        REQUIRE_SAYING(result == 0, "no space for a checkpoint: %d", result);
        plot->checkpoint_reserved = need;
    }
    plot_freeze(plot);
}

void plot_checkpoint_begin(struct plot *plot)
{
    REQUIRE(plot->checkpoint == PLOT_IDLE);
    plot->want_checkpoint = false;
    plot->checkpoint = PLOT_RESERVING;
    plot->checkpoint_reserved = 0;
    plot->checkpoint_waits = false;
}

static void plot_sealed(struct plot *plot, bool durable)
{
    plot->checkpoint = PLOT_IDLE;
    page_thaw(plot->cache);
    space_checkpoint_done(plot->space, durable);
    for (uint64_t place = 0; place < plot->end; place++) {
        if (plot->state[place] == PLOT_PAGE_FROZEN) {
            plot->state[place] = (uint8_t)(durable ? PLOT_PAGE_DONE : PLOT_PAGE_LIVE);
            plot->waits[place].time = plot->time;
        }
    }
    plot->run_left = !durable;
    if (!durable)
        deferred_pages(plot, plot->deferred.place, PLOT_PAGE_LIVE, NULL);
    plot->checkpoints++;
}

/* A superblock that is not known to be durable may be the one that a crash finds: the model
 * lets it be the old one. */
void plot_checkpoint_step(struct plot *plot, bool durable)
{
    switch (plot->checkpoint) {
    case PLOT_RESERVING:
        if (!plot->checkpoint_waits)
            plot_reserve(plot);
        break;
    case PLOT_DEFERRED:
        if (plot->deferred.private == NULL) {
            plot->deferred = (struct space_deferred){.done = deferred_written, .private = plot};
            space_deferred_write(plot->space, &plot->deferred);
            REQUIRE_SAYING(plot->checkpoint == PLOT_DEFERRED, "done inside the call");
        }
        break;
    case PLOT_FLUSHING:
        if (plot->deferred.private != NULL) {
            plot->deferred.private = NULL;
            deferred_pages(plot, plot->deferred.place, PLOT_PAGE, plot->next_snap);
            deferred_pages(plot, plot->deferred.place, PLOT_PAGE, NULL);
            plot->flush = (struct device_flush){0};
            device_flush(&plot->devices, &plot->flush, flushed);
        }
        break;
    case PLOT_NAMED:
        if (durable) {
            plot->index = space_index_root(plot->space)->frozen_pointer;
            plot->deferred_place = plot->deferred.place;
            plot->deferred_crc = plot->deferred.crc;
            memcpy(plot->snap, plot->next_snap, plot->end);
            memcpy(plot->log, plot->next_log, plot->next_log_count * sizeof *plot->log);
            plot->log_count = plot->next_log_count;
            memcpy(plot->snap_pages, plot->next_pages, sizeof plot->pages);
            plot->snap_page_count = plot->next_page_count;
        }
        plot_sealed(plot, durable);
        break;
    default: break;
    }
}

void plot_checkpoint_run(struct plot *plot)
{
    if (plot->checkpoint == PLOT_IDLE)
        plot_checkpoint_begin(plot);
    unsigned turns = 0;
    while (plot->checkpoint != PLOT_IDLE) {
        plot_checkpoint_step(plot, true);
        if (plot->checkpoint != PLOT_IDLE)
            (void)plot_turn(plot);
        REQUIRE_SAYING(++turns < 100000, "a checkpoint that never ends");
    }
}

/* --- Crashes ----------------------------------------------------------------------------- */

void plot_space_close(struct plot *plot)
{
    /* What flies lands, and nobody sends more; the cache must not be closed before. */
    space_stop(plot->space);
    while (world_step(&plot->world) || device_turn(&plot->devices) > 0)
        continue;
    space_close(plot->space);
    page_cache_close(plot->cache);
    plot->write = (struct page_write){0};
    plot->deferred.private = NULL;
    plot->checkpoint = PLOT_IDLE;
}

/* What the durable checkpoint reaches, and what the journal says since. */
static void model_recover(struct plot *plot, uint64_t batch)
{
    memcpy(plot->state, plot->snap, plot->end);
    size_t kept = 0;
    for (size_t i = 0; i < plot->log_count; i++) {
        if (plot->log[i].batch > batch)
            continue;
        const struct plot_log entry = plot->log[kept++] = plot->log[i];
        for (uint32_t j = 0; j < entry.extent.blocks; j++)
            plot->state[entry.extent.place + j] = entry.used ? PLOT_LINKED : PLOT_FREE;
    }
    plot->log_count = kept;
    memcpy(plot->pages, plot->snap_pages, sizeof plot->pages);
    plot->page_count = plot->snap_page_count;
    plot->used = 0;
    plot->linked_count = 0;
    for (uint64_t place = 0; place < plot->end; place++) {
        uint8_t state = plot->state[place];
        plot->used += state == PLOT_FIXED || state == PLOT_LINKED || state == PLOT_PAGE;
        if (state != PLOT_LINKED)
            continue;
        struct extent *last = &plot->linked[plot->linked_count - (plot->linked_count > 0)];
        if (plot->linked_count > 0 && last->place + last->blocks == place && last->blocks < 64) {
            last->blocks++;
        } else {
            REQUIRE(plot->linked_count < PLOT_EXTENTS);
            plot->linked[plot->linked_count++] = (struct extent){.place = place, .blocks = 1};
        }
    }
}

static void tags_each(struct plot *plot, void (*visit)(struct plot *plot, uint64_t place))
{
    for (unsigned i = 0; i < plot->linked_count; i++) {
        for (uint32_t j = 0; j < plot->linked[i].blocks; j++)
            visit(plot, plot->linked[i].place + j);
    }
    for (unsigned i = 0; i < plot->page_count; i++)
        visit(plot, plot->pages[i]);
}

static void plot_loaded(void *context, int result)
{
    struct plot *plot = context;
    plot->loaded = true;
    plot->load_result = result;
}

int plot_load(struct plot *plot)
{
    plot->loaded = false;
    space_load_start(plot->space, plot_loaded, plot);
    REQUIRE_SAYING(!plot->loaded, "done inside the call");
    while (!plot->loaded)
        REQUIRE_SAYING(plot_turn(plot) || plot->loaded, "the load never ends");
    return plot->load_result;
}

/* A checkpoint that comes amid the marks: its run must spare what is still to be marked, or the
 * books will not close. */
static void reserve_amid(struct plot *plot)
{
    int result;
    while ((result = space_checkpoint_reserve(plot->space, 20, &plot->waiter)) == -EAGAIN)
        REQUIRE_SAYING(plot_turn(plot), "a checkpoint amid recovery waits for ever");
    REQUIRE(result == 0 || result == -ENOSPC);
    plot->run_left = true;
}

void plot_crash(struct plot *plot, bool power, uint64_t batch)
{
    REQUIRE(batch >= plot->durable);
    plot_space_close(plot);
    plot->taken_count = 0;
    plot->read_count = 0;
    plot->durable = batch;
    plot->batch = batch + 1;
    model_recover(plot, batch);
    /* The tags are data that was flushed; they must not have been written over before the cut. */
    tags_each(plot, plot_tag_check);
    if (power)
        world_restart(&plot->world);
    else
        world_kill(&plot->world);
    tags_each(plot, plot_tag_again);
    plot_space_open(plot);
    REQUIRE(plot_load(plot) == 0);
    for (size_t i = 0; i < plot->log_count; i++) {
        if (plot->log[i].used)
            space_avoid(plot->space, plot->log[i].extent);
    }
    size_t middle = prng_below(&plot->prng, plot->log_count + 1);
    for (size_t i = 0; i < plot->log_count; i++) {
        const struct plot_log *entry = &plot->log[i];
        int result;
        if (i == middle)
            reserve_amid(plot);
        while ((result = space_mark(plot->space, entry->extent, entry->used, &plot->waiter)) ==
               -EAGAIN)
            REQUIRE_SAYING(plot_turn(plot), "a mark waits for ever");
        REQUIRE(result == 0);
        /* Something else may want its turn amid the marks. */
        for (uint64_t turns = prng_below(&plot->prng, 4); turns > 0; turns--)
            (void)plot_turn(plot);
    }
    space_avoid_over(plot->space);
    if (prng_one_in(&plot->prng, 2))
        space_begin(plot->space);
}

/* --- What must hold ---------------------------------------------------------------------- */

struct space_stats plot_stats(const struct plot *plot)
{
    struct space_stats stats;
    space_stats(plot->space, &stats);
    return stats;
}

uint64_t plot_count(const struct plot *plot, enum plot_state state)
{
    uint64_t count = 0;
    for (uint64_t place = 0; place < plot->end; place++)
        count += plot->state[place] == state;
    return count;
}

static uint64_t taken_blocks(const struct plot *plot)
{
    uint64_t blocks = 0;
    for (unsigned i = 0; i < plot->taken_count; i++)
        blocks += plot->taken[i].blocks;
    return blocks;
}

void plot_check(struct plot *plot)
{
    struct space_stats stats = plot_stats(plot);
    uint64_t sum = stats.free_blocks + stats.reserve_blocks + stats.used_blocks +
                   stats.quarantine_blocks + stats.reserved_blocks;
    REQUIRE(stats.total_blocks == plot->total);
    REQUIRE_SAYING(sum == plot->total, "%lu of %lu blocks", sum, plot->total);
    /* While the deferred list is written the model has not seen its pages. */
    if (plot->deferred.private == NULL)
        REQUIRE_SAYING(stats.used_blocks == plot->used, "used %lu, not %lu", stats.used_blocks,
                       plot->used);
    uint64_t taken = taken_blocks(plot);
    REQUIRE(stats.reserved_blocks >= taken);
    if (plot->checkpoint == PLOT_IDLE && !plot->run_left)
        REQUIRE(stats.reserved_blocks == taken);
    REQUIRE(stats.reserve_blocks <= plot->options.reserve_blocks);
}

static void check_block(struct plot *plot, uint64_t place)
{
    uint8_t state = plot->state[place];
    bool used = false;
    int result;
    while ((result = space_probe(plot->space, place, &plot->waiter, &used)) == -EAGAIN)
        REQUIRE_SAYING(plot_turn(plot), "a probe waits for ever");
    REQUIRE(result == 0);
    bool expected =
        state == PLOT_FIXED || state == PLOT_LINKED || state == PLOT_PAGE || state == PLOT_TAKEN;
    /* A run that waits for its checkpoint is nobody's yet. */
    if (plot->run_left && used && state == PLOT_FREE)
        return;
    REQUIRE_SAYING(used == expected, "block %lu: used is %d, its state %u", place, used, state);
    if (state == PLOT_LINKED || state == PLOT_TAKEN)
        plot_tag_check(plot, place);
}

void plot_check_blocks(struct plot *plot)
{
    bool all = plot->end < 100000;
    for (unsigned i = 0; i < plot->options.devices; i++) {
        uint64_t base = plot->options.device[i].base;
        uint64_t blocks = plot->options.device[i].blocks;
        for (uint64_t j = 0; j < (all ? blocks : 3000); j++)
            check_block(plot, base + (all ? j : prng_below(&plot->prng, blocks)));
    }
    for (unsigned i = 0; i < plot->linked_count; i++)
        check_block(plot, plot->linked[i].place);
    for (unsigned i = 0; i < plot->page_count; i++)
        plot_tag_check(plot, plot->pages[i]);
}

void plot_check_all(struct plot *plot)
{
    REQUIRE(plot->read_count == 0);
    plot_durable(plot);
    plot_checkpoint_run(plot);
    plot->run_left = false;
    plot_settle(plot);
    plot_check(plot);
    struct space_stats stats = plot_stats(plot);
    REQUIRE_SAYING(stats.quarantine_blocks == 0, "%lu blocks never leave quarantine",
                   stats.quarantine_blocks);
    plot_check_blocks(plot);
}

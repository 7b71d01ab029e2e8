/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints and crashes of the rig, and what must hold. */
#include <string.h>

#include "format/deferred.h"
#include "rig.h"

static void model_become(struct rig *rig, uint64_t place, enum rig_state state)
{
    bool was = rig->state[place] == RIG_FIXED || rig->state[place] == RIG_LINKED ||
               rig->state[place] == RIG_PAGE;
    bool is = state == RIG_FIXED || state == RIG_LINKED || state == RIG_PAGE;
    rig->used += (uint64_t)is - (uint64_t)was;
    rig->state[place] = (uint8_t)state;
}

static uint64_t checkpoint_take(void *context)
{
    struct rig *rig = context;
    uint64_t place = space_checkpoint_take(rig->space);
    uint8_t state = rig->state[place];
    cr_assert(state == RIG_FREE || state == RIG_WAITS || state == RIG_PAGE_DONE,
              "page %lu of a checkpoint is in state %u", place, state);
    model_become(rig, place, RIG_PAGE);
    rig->next_snap[place] = RIG_PAGE;
    return place;
}

static void page_replaced(void *context, uint64_t place)
{
    struct rig *rig = context;
    cr_assert_eq(rig->state[place], RIG_PAGE);
    space_checkpoint_replaced(rig->space, place);
    model_become(rig, place, RIG_PAGE_FROZEN);
    rig->next_snap[place] = RIG_FREE;
}

static void written(struct page_write *write, int result)
{
    struct rig *rig = write->context;
    cr_assert(result == 0, "pages: %d", result);
    rig->checkpoint = RIG_DEFERRED;
}

static void deferred_written(struct space_deferred *deferred, int result)
{
    struct rig *rig = deferred->private;
    cr_assert(result == 0, "deferred list: %d", result);
    rig->checkpoint = RIG_FLUSHING;
}

static void flushed(struct device_flush *flush, int result)
{
    struct rig *rig = CONTAINER_OF(flush, struct rig, flush);
    cr_assert_eq(result, 0);
    rig->checkpoint = RIG_NAMED;
}

/* Some pages of the pretended tree are written anew, one more is made. */
static void tree_pages(struct rig *rig)
{
    for (unsigned i = 0; i < rig->page_count; i++) {
        if (!prng_one_in(&rig->prng, 3))
            continue;
        page_replaced(rig, rig->pages[i]);
        rig->pages[i] = checkpoint_take(rig);
    }
    if (rig->page_count < 8)
        rig->pages[rig->page_count++] = checkpoint_take(rig);
    for (unsigned i = 0; i < rig->page_count; i++) {
        uint64_t place = rig->pages[i];
        struct device *device = device_at(&rig->devices, place);
        sim_disk_poke(rig->disks[device - rig->devices.devices],
                      (place - device->base) * BLOCK_BYTES, 8, &place);
        rig->tags[place] = place;
    }
}

/* The pages of a deferred list, by reading it. */
static void deferred_pages(struct rig *rig, uint64_t place, enum rig_state state, uint8_t *snap)
{
    while (place != 0) {
        struct device *device = device_at(&rig->devices, place);
        uint8_t bytes[BLOCK_BYTES];
        sim_disk_peek(rig->disks[device - rig->devices.devices],
                      (place - device->base) * BLOCK_BYTES, BLOCK_BYTES, bytes);
        struct deferred_page page;
        cr_assert_eq(deferred_get(bytes, &page), 0);
        if (snap != NULL)
            snap[place] = RIG_PAGE;
        else
            model_become(rig, place, state);
        place = page.next_place;
    }
}

static void rig_freeze(struct rig *rig)
{
    deferred_pages(rig, rig->deferred_place, RIG_PAGE_FROZEN, NULL);
    for (uint64_t place = 0; place < rig->end; place++) {
        uint8_t state = rig->state[place];
        if (state == RIG_PAGE_LIVE)
            rig->state[place] = RIG_PAGE_FROZEN;
        bool kept = state == RIG_FIXED || state == RIG_LINKED || state == RIG_PAGE;
        rig->next_snap[place] = kept ? state : RIG_FREE;
    }
    rig->next_log_count = 0;
    space_freeze(rig->space);
    page_freeze(rig->cache);
    tree_pages(rig);
    memcpy(rig->next_pages, rig->pages, sizeof rig->pages);
    rig->next_page_count = rig->page_count;
    rig->write = (struct page_write){
        .take = checkpoint_take,
        .replaced = page_replaced,
        .context = rig,
        .done = written,
    };
    rig->checkpoint = RIG_PAGES;
    page_write_start(rig->cache, &rig->write, 4);
}

static void rig_reserve(struct rig *rig)
{
    for (;;) {
        uint32_t need = page_dirty_count(rig->cache) + rig->page_count + 1 +
                        space_checkpoint_pages_max(rig->space);
        if (need <= rig->checkpoint_reserved)
            break;
        int result = space_checkpoint_reserve(rig->space, need - rig->checkpoint_reserved,
                                              &rig->checkpoint_waiter);
        if (result == -EAGAIN)
            return;
        cr_assert_eq(result, 0, "no space for a checkpoint: %d", result);
        rig->checkpoint_reserved = need;
    }
    rig_freeze(rig);
}

void rig_checkpoint_begin(struct rig *rig)
{
    cr_assert_eq(rig->checkpoint, RIG_IDLE);
    rig->want_checkpoint = false;
    rig->checkpoint = RIG_RESERVING;
    rig->checkpoint_reserved = 0;
}

static void rig_sealed(struct rig *rig, bool durable)
{
    rig->checkpoint = RIG_IDLE;
    page_thaw(rig->cache);
    space_checkpoint_done(rig->space, durable);
    for (uint64_t place = 0; place < rig->end; place++) {
        if (rig->state[place] == RIG_PAGE_FROZEN) {
            rig->state[place] = (uint8_t)(durable ? RIG_PAGE_DONE : RIG_PAGE_LIVE);
            rig->waits[place].time = rig->time;
        }
    }
    rig->run_left = !durable;
    if (!durable)
        deferred_pages(rig, rig->deferred.place, RIG_PAGE_LIVE, NULL);
    rig->checkpoints++;
}

/* A superblock that is not known to be durable may be the one that a crash finds: the model
 * lets it be the old one. */
void rig_checkpoint_step(struct rig *rig, bool durable)
{
    switch (rig->checkpoint) {
    case RIG_RESERVING: rig_reserve(rig); break;
    case RIG_DEFERRED:
        if (rig->deferred.private == NULL) {
            rig->deferred = (struct space_deferred){.done = deferred_written, .private = rig};
            space_deferred_write(rig->space, &rig->deferred);
            cr_assert_eq(rig->checkpoint, RIG_DEFERRED, "done inside the call");
        }
        break;
    case RIG_FLUSHING:
        if (rig->deferred.private != NULL) {
            rig->deferred.private = NULL;
            deferred_pages(rig, rig->deferred.place, RIG_PAGE, rig->next_snap);
            deferred_pages(rig, rig->deferred.place, RIG_PAGE, NULL);
            rig->flush = (struct device_flush){0};
            device_flush(&rig->devices, &rig->flush, flushed);
        }
        break;
    case RIG_NAMED:
        if (durable) {
            rig->index = space_index_root(rig->space)->frozen_pointer;
            rig->deferred_place = rig->deferred.place;
            rig->deferred_crc = rig->deferred.crc;
            memcpy(rig->snap, rig->next_snap, rig->end);
            memcpy(rig->log, rig->next_log, rig->next_log_count * sizeof *rig->log);
            rig->log_count = rig->next_log_count;
            memcpy(rig->snap_pages, rig->next_pages, sizeof rig->pages);
            rig->snap_page_count = rig->next_page_count;
        }
        rig_sealed(rig, durable);
        break;
    default: break;
    }
}

void rig_checkpoint_run(struct rig *rig)
{
    if (rig->checkpoint == RIG_IDLE)
        rig_checkpoint_begin(rig);
    while (rig->checkpoint != RIG_IDLE) {
        rig_checkpoint_step(rig, true);
        if (rig->checkpoint != RIG_IDLE)
            cr_assert(rig_turn(rig) || rig->checkpoint != RIG_RESERVING,
                      "the checkpoint waits for ever");
    }
}

/* --- Crashes ----------------------------------------------------------------------------- */

void rig_space_close(struct rig *rig)
{
    /* What flies lands, and nobody sends more; the cache must not be closed before. */
    space_stop(rig->space);
    while (world_step(&rig->world) || device_turn(&rig->devices) > 0)
        continue;
    space_close(rig->space);
    page_cache_close(rig->cache);
    rig->write = (struct page_write){0};
    rig->deferred.private = NULL;
    rig->checkpoint = RIG_IDLE;
}

/* What the durable checkpoint reaches, and what the journal says since. */
static void model_recover(struct rig *rig, uint64_t batch)
{
    memcpy(rig->state, rig->snap, rig->end);
    size_t kept = 0;
    for (size_t i = 0; i < rig->log_count; i++) {
        if (rig->log[i].batch > batch)
            continue;
        const struct rig_log entry = rig->log[kept++] = rig->log[i];
        for (uint32_t j = 0; j < entry.extent.blocks; j++)
            rig->state[entry.extent.place + j] = entry.used ? RIG_LINKED : RIG_FREE;
    }
    rig->log_count = kept;
    memcpy(rig->pages, rig->snap_pages, sizeof rig->pages);
    rig->page_count = rig->snap_page_count;
    rig->used = 0;
    rig->linked_count = 0;
    for (uint64_t place = 0; place < rig->end; place++) {
        uint8_t state = rig->state[place];
        rig->used += state == RIG_FIXED || state == RIG_LINKED || state == RIG_PAGE;
        if (state != RIG_LINKED)
            continue;
        struct extent *last = &rig->linked[rig->linked_count - (rig->linked_count > 0)];
        if (rig->linked_count > 0 && last->place + last->blocks == place && last->blocks < 64) {
            last->blocks++;
        } else {
            cr_assert_lt(rig->linked_count, RIG_EXTENTS);
            rig->linked[rig->linked_count++] = (struct extent){.place = place, .blocks = 1};
        }
    }
}

static void tags_each(struct rig *rig, void (*visit)(struct rig *rig, uint64_t place))
{
    for (unsigned i = 0; i < rig->linked_count; i++) {
        for (uint32_t j = 0; j < rig->linked[i].blocks; j++)
            visit(rig, rig->linked[i].place + j);
    }
    for (unsigned i = 0; i < rig->page_count; i++)
        visit(rig, rig->pages[i]);
}

static void rig_loaded(void *context, int result)
{
    struct rig *rig = context;
    rig->loaded = true;
    rig->load_result = result;
}

int rig_load(struct rig *rig)
{
    rig->loaded = false;
    space_load_start(rig->space, rig_loaded, rig);
    cr_assert(!rig->loaded, "done inside the call");
    while (!rig->loaded)
        cr_assert(rig_turn(rig) || rig->loaded, "the load never ends");
    return rig->load_result;
}

void rig_crash(struct rig *rig, bool power, uint64_t batch)
{
    cr_assert_geq(batch, rig->durable);
    rig_space_close(rig);
    rig->taken_count = 0;
    rig->read_count = 0;
    rig->durable = batch;
    rig->batch = batch + 1;
    model_recover(rig, batch);
    /* The tags are data that was flushed; they must not have been written over before the cut. */
    tags_each(rig, rig_tag_check);
    if (power)
        world_restart(&rig->world);
    else
        world_kill(&rig->world);
    tags_each(rig, rig_tag_again);
    rig_space_open(rig);
    cr_assert_eq(rig_load(rig), 0);
    for (size_t i = 0; i < rig->log_count; i++) {
        const struct rig_log *entry = &rig->log[i];
        int result;
        while ((result = space_mark(rig->space, entry->extent, entry->used, &rig->waiter)) ==
               -EAGAIN)
            cr_assert(rig_turn(rig), "a mark waits for ever");
        cr_assert_eq(result, 0);
    }
}

/* --- What must hold ---------------------------------------------------------------------- */

struct space_stats rig_stats(const struct rig *rig)
{
    struct space_stats stats;
    space_stats(rig->space, &stats);
    return stats;
}

uint64_t rig_count(const struct rig *rig, enum rig_state state)
{
    uint64_t count = 0;
    for (uint64_t place = 0; place < rig->end; place++)
        count += rig->state[place] == state;
    return count;
}

static uint64_t taken_blocks(const struct rig *rig)
{
    uint64_t blocks = 0;
    for (unsigned i = 0; i < rig->taken_count; i++)
        blocks += rig->taken[i].blocks;
    return blocks;
}

void rig_check(struct rig *rig)
{
    struct space_stats stats = rig_stats(rig);
    uint64_t sum = stats.free_blocks + stats.reserve_blocks + stats.used_blocks +
                   stats.quarantine_blocks + stats.reserved_blocks;
    cr_assert_eq(stats.total_blocks, rig->total);
    cr_assert_eq(sum, rig->total, "%lu of %lu blocks", sum, rig->total);
    /* While the deferred list is written the model has not seen its pages. */
    if (rig->deferred.private == NULL)
        cr_assert_eq(stats.used_blocks, rig->used, "used %lu, not %lu", stats.used_blocks,
                     rig->used);
    uint64_t taken = taken_blocks(rig);
    cr_assert_geq(stats.reserved_blocks, taken);
    if (rig->checkpoint == RIG_IDLE && !rig->run_left)
        cr_assert_eq(stats.reserved_blocks, taken);
    cr_assert_leq(stats.reserve_blocks, rig->options.reserve_blocks);
}

static void check_block(struct rig *rig, uint64_t place)
{
    uint8_t state = rig->state[place];
    bool used = false;
    int result;
    while ((result = space_probe(rig->space, place, &rig->waiter, &used)) == -EAGAIN)
        cr_assert(rig_turn(rig), "a probe waits for ever");
    cr_assert_eq(result, 0);
    bool expected =
        state == RIG_FIXED || state == RIG_LINKED || state == RIG_PAGE || state == RIG_TAKEN;
    cr_assert_eq(used, expected, "block %lu: used is %d, its state %u", place, used, state);
    if (state == RIG_LINKED || state == RIG_TAKEN)
        rig_tag_check(rig, place);
}

void rig_check_blocks(struct rig *rig)
{
    bool all = rig->end < 100000;
    for (unsigned i = 0; i < rig->options.devices; i++) {
        uint64_t base = rig->options.device[i].base;
        uint64_t blocks = rig->options.device[i].blocks;
        for (uint64_t j = 0; j < (all ? blocks : 3000); j++)
            check_block(rig, base + (all ? j : prng_below(&rig->prng, blocks)));
    }
    for (unsigned i = 0; i < rig->linked_count; i++)
        check_block(rig, rig->linked[i].place);
    for (unsigned i = 0; i < rig->page_count; i++)
        rig_tag_check(rig, rig->pages[i]);
}

void rig_check_all(struct rig *rig)
{
    cr_assert_eq(rig->read_count, 0);
    rig_durable(rig);
    rig_checkpoint_run(rig);
    rig->run_left = false;
    rig_settle(rig);
    rig_check(rig);
    struct space_stats stats = rig_stats(rig);
    cr_assert_eq(stats.quarantine_blocks, 0, "%lu blocks never leave quarantine",
                 stats.quarantine_blocks);
    rig_check_blocks(rig);
}

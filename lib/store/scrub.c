/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scrub: reads everything now and then, slowly, so that damage is found while another copy is
 * still good: data, and the written version of each page of the tree, in memory or not.
 *
 *   RESTS ──▶ WALKS ──▶ (its last reads) ──▶ RESTS
 *     ▲ the calendar, or somebody asks
 *
 * Ten times a second it may read a tenth of its rate. Foreground requests go first: where there are
 * any it has one request under way, and where there are many it leaves most of its rate to them.
 *
 * When the last pass ended, and where one that is under way stands, is in the superblock: each
 * checkpoint writes what is true then, and a pass asks for one now and then. So a pass goes on
 * after a restart, and a store that is opened every day is not read every day.
 */
#include <stdlib.h>

#include "store/verify.h"

#define SCRUB_TICKS_PER_S 10u
#define SCRUB_INTERVAL_NS (7 * 86400 * NS_PER_S)
#define SCRUB_LOOK_NS (3600 * NS_PER_S) /* How often the calendar is looked at. */
#define SCRUB_SAVE_NS (600 * NS_PER_S)  /* How much of a pass a crash may undo. */
#define SCRUB_BUSY_OPERATIONS 64u
/* What a request costs the others, in blocks: as in read.c. */
#define SCRUB_REQUEST_BLOCKS 3u
#define SCRUB_BUSY_PART 8u /* Of its rate, while so many are under way. */

struct scrub {
    struct store *store;
    struct tree_walk walk;
    struct verify verify;
    struct timer timer;                /* Of the next tick of a pass, or look at the calendar. */
    uint64_t rate;                     /* Bytes a second, of this pass. */
    uint64_t credit_blocks;            /* May be read before the next tick. */
    uint64_t blocks;                   /* Of data, of this pass, with what is under way. */
    uint64_t total_blocks;             /* What the pass is expected to read. */
    uint64_t requests;                 /* Of the foreground, up to the last tick. */
    uint64_t own_requests, own_blocks; /* Up to then. */
    uint64_t opened_ns, saved_ns;
    bool walking; /* A pass is under way. */
    bool walked;  /* Its walk has ended; its last reads may have not. */
    bool paused;
    bool calendar; /* Passes begin by themselves. */

    /* A page whose written version is damaged and that is in memory: it is written anew. */
    bool mending;
    struct verify_block broken;
    struct tree_path path;
};

static struct superblock_scrub *scrub_note(const struct scrub *scrub)
{
    return &scrub->store->super.scrub;
}

/* --- Damage --------------------------------------------------------------------------------- */

static void scrub_told(struct scrub *scrub, const char *what, const struct segment_key *key,
                       uint64_t block, int error)
{
    struct store *store = scrub->store;
    store->stats.scrub_faults++;
    store->stats.corrupt_blocks++;
    scrub_note(scrub)->faults++;
    store_damage(store, key->volume, block, 1, "scrub: volume %llu block %llu: %s: %s",
                 (unsigned long long)key->volume, (unsigned long long)block, what,
                 base_error_text(error));
}

static void scrub_mend(struct scrub *scrub)
{
    const struct verify_block *broken = &scrub->broken;
    struct tree_path *path = &scrub->path;
    int error = tree_path_open(path, broken->key.volume, broken->key.view, broken->block, true);
    if (error == -EAGAIN)
        return;
    scrub->mending = false;
    if (error != 0)
        return; /* It left memory meanwhile: the next pass tells. */
    struct page *page = broken->what == TREE_VISIT_MAP ? path->page : path->directory;
    struct pointer written = page != NULL ? page_pointer(page) : (struct pointer){0};
    if (written.kind == POINTER_RAW && written.place == broken->place) {
        REACH(scrub_mends_page);
        (void)page_change(page);
        store_event(scrub->store, STORE_WARNING,
                    "scrub: volume %llu block %llu: the next checkpoint writes that page of its "
                    "map anew, from memory",
                    (unsigned long long)broken->key.volume, (unsigned long long)broken->block);
    }
    tree_path_close(path);
}

static void scrub_path_woken(struct tree_path *path)
{
    scrub_mend(CONTAINER_OF(path, struct scrub, path));
}

static void scrub_bad(struct verify *verify, const struct verify_block *block, int error)
{
    struct scrub *scrub = CONTAINER_OF(verify, struct scrub, verify);
    if (error == IOMESH_FAILED)
        return;
    if (block->what == TREE_VISIT_BLOCK) {
        REACH(scrub_finds_damage);
        scrub_told(scrub, "its data", &block->key, block->block, error);
        return;
    }
    scrub_told(scrub, "a page of its map, as it is written", &block->key, block->block, error);
    bool in_map = block->what == TREE_VISIT_MAP || block->what == TREE_VISIT_DIRECTORY;
    in_map = in_map && !segment_is_view(block->key.segment); /* Pages of views never change. */
    if (!in_map || scrub->mending || scrub->store->state != STORE_READY)
        return;
    scrub->mending = true;
    scrub->broken = *block;
    tree_path_init(&scrub->path, scrub->store->tree, scrub_path_woken);
    scrub_mend(scrub);
}

/* --- A pass --------------------------------------------------------------------------------- */

static bool scrub_may_read(const struct scrub *scrub)
{
    return scrub->credit_blocks > 0 && !verify_full(&scrub->verify);
}

static void scrub_continue(struct scrub *scrub)
{
    if (!scrub->paused || !scrub_may_read(scrub))
        return;
    scrub->paused = false;
    tree_walk_continue(&scrub->walk);
}

static void scrub_room(struct verify *verify)
{
    scrub_continue(CONTAINER_OF(verify, struct scrub, verify));
}

static enum tree_walk_answer scrub_visit(struct tree_walk *walk, const struct tree_visit *visit)
{
    struct scrub *scrub = CONTAINER_OF(walk, struct scrub, walk);
    struct store *store = scrub->store;
    if (visit->error != 0 && visit->error != IOMESH_FAILED)
        scrub_told(scrub, "a page of its map", &visit->key, visit->block, visit->error);
    /* What views share is read once, with the oldest. */
    if (visit->error == 0 && visit->pointer.kind == POINTER_RAW && !visit->shared &&
        device_holds(&store->devices, visit->pointer.place, 1)) {
        verify_add(&scrub->verify, visit);
        scrub->credit_blocks--;
        if (visit->what == TREE_VISIT_BLOCK) {
            store->stats.scrub_blocks++;
            scrub->blocks++;
        }
    }
    scrub->paused = !scrub_may_read(scrub);
    return scrub->paused ? TREE_WALK_PAUSE : TREE_WALK_ON;
}

static void scrub_walked(struct tree_walk *walk)
{
    CONTAINER_OF(walk, struct scrub, walk)->walked = true;
}

static uint64_t scrub_interval_ns(const struct store *store)
{
    uint64_t interval_ns = store->options.scrub_interval_ns;
    return interval_ns != 0 ? interval_ns : SCRUB_INTERVAL_NS;
}

/* The clock on the wall may be put back, or not be set yet: then it is given an hour. */
static bool scrub_is_due(const struct scrub *scrub)
{
    const struct superblock_scrub *note = scrub_note(scrub);
    struct clock *clock = scrub->store->clock;
    if (note->running || note->ended_ns == 0)
        return true;
    uint64_t wall_ns = clock_wall_ns(clock);
    if (wall_ns < note->ended_ns)
        return clock_now_ns(clock) - scrub->opened_ns >= SCRUB_LOOK_NS;
    return wall_ns - note->ended_ns >= scrub_interval_ns(scrub->store);
}

/* When to look at the calendar. */
static void scrub_rest(struct scrub *scrub)
{
    struct clock *clock = scrub->store->clock;
    uint64_t wall_ns = clock_wall_ns(clock);
    uint64_t passed_ns = wall_ns - MIN(wall_ns, scrub_note(scrub)->ended_ns);
    uint64_t interval_ns = scrub_interval_ns(scrub->store);
    uint64_t left_ns = interval_ns - MIN(interval_ns, passed_ns);
    if (scrub->calendar)
        clock_set_after(clock, &scrub->timer, MIN(MAX(left_ns, NS_PER_S), SCRUB_LOOK_NS));
}

static void scrub_end(struct scrub *scrub)
{
    struct store *store = scrub->store;
    struct superblock_scrub *note = scrub_note(scrub);
    struct store_event event = {
        .severity = STORE_INFO,
        .kind = STORE_SCRUB,
        .number_count = 2,
        .numbers = {scrub->blocks, note->faults},
    };
    scrub->walking = scrub->walked = false;
    store->stats.scrub_passes++;
    *note = (struct superblock_scrub){
        .ended_ns = clock_wall_ns(store->clock),
        .ended_blocks = scrub->blocks,
        .ended_faults = note->faults,
    };
    store_want_checkpoint(store);
    store_tell(store, event, "scrub: a pass over %llu blocks has ended, %llu faults",
               (unsigned long long)note->ended_blocks, (unsigned long long)note->ended_faults);
    scrub_rest(scrub);
}

/* What a pass will read: what is in use, but for what is at fixed places. */
static uint64_t scrub_expects(const struct store *store)
{
    struct space_stats space;
    space_stats(store->space, &space);
    uint64_t fixed = SUPERBLOCK_AREA_BLOCKS + store->super.journal_blocks +
                     (store->devices.count - 1) * LABEL_AREA_BLOCKS;
    return space.used_blocks - MIN(fixed, space.used_blocks);
}

static void scrub_begin(struct scrub *scrub)
{
    struct store *store = scrub->store;
    struct superblock_scrub *note = scrub_note(scrub);
    scrub->total_blocks = scrub_expects(store);
    scrub->saved_ns = clock_now_ns(store->clock);
    store_tell(store, (struct store_event){.severity = STORE_INFO, .kind = STORE_SCRUB},
               note->running ? "scrub: a pass goes on behind %llu blocks" : "scrub: a pass begins",
               (unsigned long long)note->blocks);
    scrub->blocks = note->blocks;
    scrub->walking = true;
    scrub->walked = scrub->paused = false;
    scrub->walk = (struct tree_walk){.visit = scrub_visit, .done = scrub_walked};
    if (note->running && note->key.volume != 0) {
        REACH(scrub_goes_on);
        tree_walk_start_at(&scrub->walk, store->tree, &note->key, note->block);
    } else {
        tree_walk_start(&scrub->walk, store->tree);
    }
    note->running = true;
}

/* What may be read until the next tick. */
static void scrub_give(struct scrub *scrub)
{
    struct store *store = scrub->store;
    const struct store_stats *stats = &store->stats;
    uint64_t requests = stats->reads + stats->writes + stats->zeroes + stats->flushes;
    bool alone = requests == scrub->requests && store->active == 0;
    uint64_t rate = scrub->rate / BLOCK_BYTES / SCRUB_TICKS_PER_S;
    uint64_t own_requests = scrub->verify.requests - scrub->own_requests;
    uint64_t own_blocks = scrub->verify.requested_blocks - scrub->own_blocks;
    /* Where blocks lie apart the same bytes take many more requests. */
    if (!alone && own_blocks > 0)
        rate = rate * own_blocks / (own_blocks + SCRUB_REQUEST_BLOCKS * own_requests);
    if (store->active >= SCRUB_BUSY_OPERATIONS)
        rate /= SCRUB_BUSY_PART;
    scrub->requests = requests;
    scrub->own_requests = scrub->verify.requests;
    scrub->own_blocks = scrub->verify.requested_blocks;
    scrub->verify.depth = alone ? VERIFY_SLOTS : 1;
    scrub->credit_blocks = MAX(rate, 1);
}

static void scrub_fire(struct timer *timer)
{
    struct scrub *scrub = CONTAINER_OF(timer, struct scrub, timer);
    struct store *store = scrub->store;
    if (store->state != STORE_READY && store->state != STORE_READ_ONLY)
        return;
    if (!scrub->walking && !scrub_is_due(scrub)) {
        scrub_rest(scrub);
        return;
    }
    scrub_give(scrub);
    clock_set_after(store->clock, timer, NS_PER_S / SCRUB_TICKS_PER_S);
    if (scrub->walking)
        scrub_continue(scrub);
    else if (verify_idle(&scrub->verify)) /* Of a pass that was stopped just now. */
        scrub_begin(scrub);
    if (clock_now_ns(store->clock) - scrub->saved_ns < SCRUB_SAVE_NS)
        return;
    scrub->saved_ns = clock_now_ns(store->clock);
    store_want_checkpoint(store);
}

void store_scrub_turn(struct store *store)
{
    struct scrub *scrub = store->scrub;
    if (scrub == NULL)
        return;
    verify_send(&scrub->verify);
    if (scrub->walked && verify_idle(&scrub->verify)) {
        clock_cancel(store->clock, &scrub->timer);
        scrub_end(scrub);
    }
}

/* --- From outside --------------------------------------------------------------------------- */

void store_scrub_save(struct store *store)
{
    const struct scrub *scrub = store->scrub;
    if (scrub == NULL || !scrub->walking)
        return;
    struct superblock_scrub *note = scrub_note(scrub);
    const struct verify_block *oldest = verify_oldest(&scrub->verify);
    note->blocks = scrub->blocks - verify_pending(&scrub->verify);
    tree_walk_where(&scrub->walk, &note->key, &note->block);
    if (oldest == NULL)
        return;
    bool table = oldest->what == TREE_VISIT_TABLE;
    note->key = table ? (struct segment_key){0} : oldest->key;
    note->block = (uint32_t)(oldest->block % SEGMENT_BLOCKS);
}

static int scrub_open(struct store *store)
{
    if (store->scrub != NULL)
        return 0;
    struct scrub *scrub = calloc(1, sizeof *scrub);
    if (scrub == NULL)
        return FAIL(-ENOMEM, "scrub: no memory");
    int error = verify_open(&scrub->verify, store);
    if (error != 0) {
        free(scrub);
        return error;
    }
    scrub->store = store;
    scrub->rate = store->options.scrub_bytes_per_s;
    scrub->opened_ns = clock_now_ns(store->clock);
    scrub->verify.bad = scrub_bad;
    scrub->verify.room = scrub_room;
    scrub->timer.fire = scrub_fire;
    store->scrub = scrub;
    return 0;
}

int store_scrub_open(struct store *store)
{
    if (store->options.scrub_bytes_per_s == 0)
        return 0;
    int error = scrub_open(store);
    if (error != 0)
        return error;
    store->scrub->calendar = true;
    clock_set_after(store->clock, &store->scrub->timer, NS_PER_S / SCRUB_TICKS_PER_S);
    return 0;
}

bool store_scrub_halt(struct store *store)
{
    struct scrub *scrub = store->scrub;
    if (scrub == NULL)
        return true;
    store_scrub_save(store);
    clock_cancel(store->clock, &scrub->timer);
    if (scrub->walking)
        tree_walk_stop(&scrub->walk);
    if (scrub->mending)
        tree_path_close(&scrub->path);
    scrub->walking = scrub->walked = scrub->paused = scrub->mending = false;
    scrub->calendar = false;
    return verify_idle(&scrub->verify);
}

void store_scrub_close(struct store *store)
{
    struct scrub *scrub = store->scrub;
    if (scrub == NULL)
        return;
    verify_close(&scrub->verify);
    free(scrub);
    store->scrub = NULL;
}

int store_scrub_start(struct store *store, uint64_t bytes_per_s)
{
    int error = scrub_open(store);
    if (error != 0)
        return error;
    struct scrub *scrub = store->scrub;
    scrub->rate = MAX(bytes_per_s, BLOCK_BYTES * SCRUB_TICKS_PER_S);
    scrub->calendar = store->options.scrub_bytes_per_s != 0;
    if (scrub->walking)
        return 0;
    scrub_note(scrub)->running = true; /* Now, whatever the calendar says. */
    clock_set_after(store->clock, &scrub->timer, 0);
    return 0;
}

void store_scrub_stop(struct store *store)
{
    struct superblock_scrub *note = &store->super.scrub;
    (void)store_scrub_halt(store);
    *note = (struct superblock_scrub){
        .ended_ns = note->ended_ns,
        .ended_blocks = note->ended_blocks,
        .ended_faults = note->ended_faults,
    };
}

void store_scrub_stats(const struct store *store, struct store_stats *stats)
{
    const struct superblock_scrub *note = &store->super.scrub;
    const struct scrub *scrub = store->scrub;
    stats->scrub_interval_ns = scrub != NULL && scrub->calendar ? scrub_interval_ns(store) : 0;
    stats->scrub_ended_ns = note->ended_ns;
    stats->scrub_ended_blocks = note->ended_blocks;
    stats->scrub_ended_faults = note->ended_faults;
    stats->scrub_pass_blocks = note->blocks;
    stats->scrub_pass_faults = note->faults;
    if (scrub == NULL || !scrub->walking)
        return;
    stats->scrub_rate = scrub->rate;
    stats->scrub_pass_blocks = scrub->blocks;
    stats->scrub_total_blocks = MAX(scrub->total_blocks, scrub->blocks);
    if (stats->scrub_total_blocks > 0)
        stats->scrub_position_permille = scrub->blocks * 1000 / stats->scrub_total_blocks;
}

bool store_scrub_running(const struct store *store)
{
    return store->scrub != NULL && store->scrub->walking;
}

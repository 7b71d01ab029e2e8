/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scrub: reads everything, all the time, slowly, so that damage is found while another copy is
 * still
 * good. Ten times a second it may read a tenth of its rate; foreground requests go first: while
 * many are under way it leaves the disk to them.
 */
#include <stdlib.h>

#include "store/verify.h"

#define SCRUB_TICKS_PER_S 10u
#define SCRUB_REST_NS (60 * NS_PER_S) /* Between two passes. */
#define SCRUB_BUSY_OPERATIONS 64u

struct scrub {
    struct store *store;
    struct tree_walk walk;
    struct verify verify;
    struct timer timer;
    uint64_t credit_blocks; /* May be read before the next tick. */
    uint64_t pass_blocks;   /* Of this pass. */
    uint64_t faults_before; /* It. */
    uint64_t total_blocks;  /* What the pass is expected to read. */
    bool walking;
    bool paused;
};

static void scrub_told(struct store *store, const char *what, const struct segment_key *key,
                       uint64_t block, int error)
{
    store->stats.scrub_faults++;
    store->stats.corrupt_blocks++;
    store_damage(store, key->volume, block, 1, "scrub: volume %llu block %llu: %s: %s",
                 (unsigned long long)key->volume, (unsigned long long)block, what,
                 base_error_text(error));
}

static void scrub_bad(struct verify *verify, const struct verify_slot *slot, int error)
{
    REACH(scrub_finds_damage);
    scrub_told(verify->store, "its data", &slot->key, slot->block, error);
}

static bool scrub_may_read(const struct scrub *scrub)
{
    return scrub->credit_blocks > 0 && !verify_full(&scrub->verify) &&
           scrub->store->active < SCRUB_BUSY_OPERATIONS;
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
        scrub_told(store, "a page of its map", &visit->key, visit->block, visit->error);
    if (visit->what == TREE_VISIT_BLOCK && visit->pointer.kind == POINTER_RAW) {
        verify_submit(&scrub->verify, visit);
        store->stats.scrub_blocks++;
        scrub->pass_blocks++;
    }
    if (scrub->credit_blocks > 0)
        scrub->credit_blocks--;
    scrub->paused = !scrub_may_read(scrub);
    return scrub->paused ? TREE_WALK_PAUSE : TREE_WALK_ON;
}

static void scrub_walked(struct tree_walk *walk)
{
    struct scrub *scrub = CONTAINER_OF(walk, struct scrub, walk);
    scrub->walking = false;
    scrub->store->stats.scrub_passes++;
    scrub->store->stats.scrub_ended_ns = clock_wall_ns(scrub->store->clock);
    struct store_event event = {
        .severity = STORE_DEBUG,
        .kind = STORE_SCRUB,
        .number_count = 2,
        .numbers = {scrub->pass_blocks, scrub->store->stats.scrub_faults - scrub->faults_before},
    };
    store_tell(scrub->store, event, "scrub: pass %llu over %llu blocks has ended",
               (unsigned long long)scrub->store->stats.scrub_passes,
               (unsigned long long)scrub->pass_blocks);
    clock_set_after(scrub->store->clock, &scrub->timer, SCRUB_REST_NS);
}

static void scrub_begin(struct scrub *scrub)
{
    struct space_stats space;
    space_stats(scrub->store->space, &space);
    scrub->total_blocks = space.used_blocks;
    scrub->pass_blocks = 0;
    scrub->faults_before = scrub->store->stats.scrub_faults;
    store_tell(scrub->store, (struct store_event){.severity = STORE_DEBUG, .kind = STORE_SCRUB},
               "scrub: a pass begins");
    scrub->walking = true;
    scrub->paused = false;
    scrub->walk = (struct tree_walk){.visit = scrub_visit, .done = scrub_walked};
    tree_walk_start(&scrub->walk, scrub->store->tree);
}

static void scrub_tick(struct timer *timer)
{
    struct scrub *scrub = CONTAINER_OF(timer, struct scrub, timer);
    struct store *store = scrub->store;
    if (store->state != STORE_READY && store->state != STORE_READ_ONLY)
        return;
    uint64_t rate = store->options.scrub_bytes_per_s / BLOCK_BYTES / SCRUB_TICKS_PER_S;
    scrub->credit_blocks = MAX(rate, 1);
    /* Set before the walk goes on: one that ends at once sets its rest over this. */
    clock_set_after(store->clock, timer, NS_PER_S / SCRUB_TICKS_PER_S);
    if (!scrub->walking)
        scrub_begin(scrub);
    else
        scrub_continue(scrub);
    if (scrub->total_blocks > 0)
        store->stats.scrub_position_permille =
            MIN(1000, scrub->pass_blocks * 1000 / scrub->total_blocks);
}

int store_scrub_open(struct store *store)
{
    if (store->options.scrub_bytes_per_s == 0)
        return 0;
    struct scrub *scrub = calloc(1, sizeof *scrub);
    if (scrub == NULL)
        return FAIL(-ENOMEM, "scrub: no memory");
    scrub->store = store;
    int error = verify_open(&scrub->verify, store);
    if (error != 0) {
        free(scrub);
        return error;
    }
    scrub->verify.bad = scrub_bad;
    scrub->verify.room = scrub_room;
    scrub->timer.fire = scrub_tick;
    clock_set_after(store->clock, &scrub->timer, NS_PER_S / SCRUB_TICKS_PER_S);
    store->scrub = scrub;
    return 0;
}

/* Ends the walk; false while reads of it are under way. */
bool store_scrub_stop(struct store *store)
{
    struct scrub *scrub = store->scrub;
    if (scrub == NULL)
        return true;
    clock_cancel(store->clock, &scrub->timer);
    if (scrub->walking)
        tree_walk_stop(&scrub->walk);
    scrub->walking = scrub->paused = false;
    return scrub->verify.busy == 0;
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
    store->options.scrub_bytes_per_s = MAX(bytes_per_s, BLOCK_BYTES * SCRUB_TICKS_PER_S);
    if (store->scrub == NULL)
        return store_scrub_open(store);
    if (!store->scrub->walking)
        clock_set_after(store->clock, &store->scrub->timer, 0);
    return 0;
}

bool store_scrub_running(const struct store *store)
{
    return store->scrub != NULL && store->scrub->walking;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast lanes copy: what they move for catching up and repairing has limits in bytes a second,
 * of the volume and of the engine, and gives way to whoever uses the volumes meanwhile: then only
 * little of it is under way at a time.
 *
 *   a lane:  take ──▶ it may go at once
 *              └────▶ PACED, in order ──▶ there is credit, and room ──▶ `go`
 *
 * Reconciling is counted and never waits, for the volume waits for it.
 */
#include "volume/copies_inside.h"

/* An operation so long ago is not under way any more, for all that matters here. */
#define FOREGROUND_NS (20 * NS_PER_MS)
/* Under way beside operations. Two lanes' worth of a map page in pieces of COPIES_YIELD_BLOCKS. */
#define YIELD_BYTES ((uint64_t)4 * COPIES_YIELD_BLOCKS * BLOCK_BYTES)
/* Credit that may gather. */
#define BURST_NS (100 * NS_PER_MS)
#define BURST_BYTES_MIN ((int64_t)MAP_BLOCKS * BLOCK_BYTES)
#define RATE_MAX (1ull << 40)
#define WINDOW_NS (500 * NS_PER_MS)

/* --- Limits ----------------------------------------------------------------------------------- */

void copies_pace_set(struct copies_pace *pace, uint64_t bytes_per_s, uint64_t now)
{
    pace->rate = MIN(bytes_per_s, RATE_MAX);
    pace->at_ns = now;
    pace->credit = BURST_BYTES_MIN;
}

static void pace_fill(struct copies_pace *pace, uint64_t now)
{
    uint64_t us = MIN(now - MIN(now, pace->at_ns), NS_PER_S) / 1000;
    int64_t more = (int64_t)(pace->rate * us / 1000000);
    if (more == 0)
        return;
    int64_t burst = (int64_t)(pace->rate / (NS_PER_S / BURST_NS));
    pace->credit = MIN(pace->credit + more, MAX(burst, BURST_BYTES_MIN));
    pace->at_ns = now;
}

/* 0: something may go now. */
static uint64_t pace_wait_ns(struct copies_pace *pace, uint64_t now)
{
    if (pace->rate == 0)
        return 0;
    pace_fill(pace, now);
    if (pace->credit > 0)
        return 0;
    return (uint64_t)(1 - pace->credit) * 1000000 / pace->rate * 1000 + 1000;
}

/* It may be more than there is: who comes next waits for it. */
static void pace_spend(struct copies_pace *pace, uint64_t bytes)
{
    if (pace->rate != 0)
        pace->credit -= (int64_t)bytes;
}

void copies_pace_spend(struct copies_group *group, uint64_t bytes)
{
    uint64_t now = copies_now(group);
    pace_spend(&group->copies->pace, bytes);
    pace_spend(&group->copies->engine->pace, bytes);
    if (now - group->window_ns >= WINDOW_NS) {
        group->window_rate = group->window_bytes * NS_PER_S / MAX(now - group->window_ns, 1u);
        group->window_ns = now;
        group->window_bytes = 0;
    }
    group->window_bytes += bytes;
}

uint64_t copies_pace_seen(const struct copies_group *group)
{
    return copies_now(group) - group->window_ns > 4 * WINDOW_NS ? 0 : group->window_rate;
}

/* --- Giving way ------------------------------------------------------------------------------- */

void copies_pace_foreground(struct copies_engine *engine)
{
    engine->foreground_ns = clock_now_ns(engine->clock);
}

bool copies_pace_yields(const struct copies_engine *engine)
{
    return engine->foreground_ns != 0 &&
           clock_now_ns(engine->clock) - engine->foreground_ns < FOREGROUND_NS;
}

/* --- Lanes ------------------------------------------------------------------------------------ */

/* UINT64_MAX: when another one is done, or nobody uses the volumes any more. */
static uint64_t lane_wait_ns(struct copies_lane *lane, uint64_t now)
{
    struct copies *copies = lane->group->copies;
    struct copies_engine *engine = lane->engine;
    if (copies->ended != 0)
        return 0;
    if (engine->moving_bytes > 0 && engine->moving_bytes + lane->pace_bytes > YIELD_BYTES &&
        copies_pace_yields(engine))
        return FOREGROUND_NS;
    uint64_t wait_ns = pace_wait_ns(&copies->pace, now);
    return MAX(wait_ns, pace_wait_ns(&engine->pace, now));
}

static void lane_go(struct copies_lane *lane)
{
    lane->pace_moves = true;
    lane->engine->moving_bytes += lane->pace_bytes;
    copies_pace_spend(lane->group, lane->pace_bytes);
    lane->pace_go(lane);
}

static void pace_later(struct copies_engine *engine, uint64_t wait_ns)
{
    if (!engine->pace_timer.set || engine->pace_timer.at_ns > clock_now_ns(engine->clock) + wait_ns)
        clock_set_after(engine->clock, &engine->pace_timer, wait_ns);
}

void copies_pace_turn(struct timer *timer)
{
    struct copies_engine *engine = CONTAINER_OF(timer, struct copies_engine, pace_timer);
    uint64_t now = clock_now_ns(engine->clock);
    uint64_t first_ns = UINT64_MAX;
    struct list waited;
    list_init(&waited);
    list_splice_back(&waited, &engine->paced);
    /* What one of them does may end others: each is in one list or none. */
    for (struct list *node; (node = list_pop_front(&waited)) != NULL;) {
        struct copies_lane *lane = LIST_ENTRY(node, struct copies_lane, pace);
        uint64_t wait_ns = lane_wait_ns(lane, now);
        if (wait_ns == 0) {
            lane_go(lane);
            continue;
        }
        list_push_back(&engine->paced, &lane->pace);
        first_ns = MIN(first_ns, wait_ns);
    }
    if (first_ns != UINT64_MAX)
        pace_later(engine, first_ns);
}

void copies_pace_take(struct copies_lane *lane, uint64_t bytes,
                      void (*go)(struct copies_lane *lane))
{
    struct copies_engine *engine = lane->engine;
    lane->pace_bytes = bytes;
    lane->pace_go = go;
    bool first = list_empty(&engine->paced);
    uint64_t wait_ns = first ? lane_wait_ns(lane, clock_now_ns(engine->clock)) : 0;
    if (first && wait_ns == 0) {
        lane_go(lane);
        return;
    }
    lane->state = LANE_PACED;
    list_push_back(&engine->paced, &lane->pace);
    pace_later(engine, wait_ns);
}

void copies_pace_release(struct copies_lane *lane)
{
    struct copies_engine *engine = lane->engine;
    list_remove(&lane->pace);
    if (!lane->pace_moves)
        return;
    lane->pace_moves = false;
    engine->moving_bytes -= lane->pace_bytes;
    if (!list_empty(&engine->paced))
        pace_later(engine, 0);
}

/* --- What is set ------------------------------------------------------------------------------ */

void copies_rate(struct copies *copies, uint64_t bytes_per_s)
{
    copies->options.resync_bytes_per_s = bytes_per_s;
    copies_pace_set(&copies->pace, bytes_per_s, clock_now_ns(copies->engine->clock));
    pace_later(copies->engine, 0);
}

static void patience_set(struct copies *copies, const struct replica_options *replica)
{
    struct replica_options *kept = &copies->options.replica;
    kept->grace_ns = replica->grace_ns;
    kept->copy_timeout_ns = replica->copy_timeout_ns;
    kept->slow_ns = replica->slow_ns;
    for (uint32_t i = 0; i < copies->options.group_count; i++) {
        replica_set(&copies->groups[i].replica, replica);
        copies_group_ready(&copies->groups[i]);
    }
}

void copies_patience(struct copies *copies, const struct replica_options *replica)
{
    LIST_EACH (&copies->engine->volumes, node) {
        struct copies *one = LIST_ENTRY(node, struct copies, node);
        if (one == copies || (one->of != NULL && one->of->root == copies))
            patience_set(one, replica);
    }
}

void copies_engine_rate(struct copies_engine *engine, uint64_t bytes_per_s)
{
    copies_pace_set(&engine->pace, bytes_per_s, clock_now_ns(engine->clock));
    pace_later(engine, 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong, gathered: one fact for each node and reason, whatever it touches. */
#include <stdlib.h>

#include "keeper/plan_inside.h"

uint32_t plan_fact_of(struct plan *plan, enum plan_fact_kind kind, uint32_t store, uint32_t reason)
{
    bool out = store != PLAN_NONE && plan->seen[store].out;
    for (uint32_t i = 0; i < plan->fact_count; i++) {
        const struct plan_fact *fact = &plan->facts[i];
        if (fact->kind != kind || fact->reason != reason || fact->out != out)
            continue;
        /* Until the facts are sorted, `store` is place's index. */
        if (fact->store == store ||
            (kind != PLAN_FACT_DRAINING && kind != PLAN_FACT_FAILED && store != PLAN_NONE &&
             fact->store != PLAN_NONE && plan->seen[fact->store].node == plan->seen[store].node))
            return i;
    }
    if (plan->fact_count == PLAN_FACTS_MAX)
        return PLAN_NONE;
    plan->fact_volume[plan->fact_count] = 0;
    plan->facts[plan->fact_count] = (struct plan_fact){
        .kind = kind, .store = store, .reason = reason, .out = out, .seconds_left = UINT64_MAX};
    return plan->fact_count++;
}

void plan_fact_count(struct plan *plan, uint32_t at, uint32_t missing, uint32_t copies)
{
    struct plan_fact *fact = &plan->facts[at];
    if (plan->fact_volume[at] != plan->volume.id) {
        plan->fact_volume[at] = plan->volume.id;
        if (fact->volumes++ == 0)
            fact->volume = plan->volume.id;
    }
    fact->groups++;
    if (missing > fact->missing || fact->copies == 0) {
        fact->missing = missing;
        fact->copies = copies;
    }
}

static void silent_stores(struct plan *plan)
{
    uint32_t count = place_count(plan->place);
    for (uint32_t i = 0; i < count; i++) {
        const struct plan_store *store = plan_told(plan, i);
        bool told = store->state_reason == METADATA_REASON_FAILED;
        if (store->answers || told || plan->seen[i].out || plan->seen[i].copies > 0)
            continue;
        uint32_t at = plan_fact_of(plan, PLAN_FACT_SILENT, i, METADATA_REASON_SILENT);
        if (at == PLAN_NONE)
            return;
        struct plan_fact *fact = &plan->facts[at];
        fact->stores++;
        fact->since_ns = fact->since_ns == 0 ? store->silent_since_ns
                                             : MIN(fact->since_ns, store->silent_since_ns);
    }
}

static void failed_stores(struct plan *plan)
{
    uint32_t count = place_count(plan->place);
    for (uint32_t i = 0; i < count; i++)
        if (plan_told(plan, i)->state_reason == METADATA_REASON_FAILED)
            (void)plan_fact_of(plan, PLAN_FACT_FAILED, i, METADATA_REASON_FAILED);
}

static void draining_stores(struct plan *plan)
{
    uint32_t count = place_count(plan->place);
    for (uint32_t i = 0; i < count; i++)
        if (plan_told(plan, i)->record.state == METADATA_STORE_DRAINING && !plan->seen[i].out)
            (void)plan_fact_of(plan, PLAN_FACT_DRAINING, i, METADATA_REASON_NONE);
}

static void full_stores(struct plan *plan)
{
    uint32_t count = place_count(plan->place);
    uint32_t at = PLAN_NONE;
    for (uint32_t i = 0; i < count; i++) {
        const struct place_store *record = &plan_told(plan, i)->record;
        uint64_t ppm = record->bytes_used / (record->bytes / 1000000 + 1);
        if (plan->seen[i].out || ppm < PLAN_FULL_PPM)
            continue;
        if (at == PLAN_NONE)
            at = plan_fact_of(plan, PLAN_FACT_FULL, PLAN_NONE, METADATA_REASON_FULL);
        if (at == PLAN_NONE)
            return;
        struct plan_fact *fact = &plan->facts[at];
        fact->stores++;
        if (ppm > fact->ppm) {
            fact->ppm = (uint32_t)MIN(ppm, 1000000);
            fact->store = i;
        }
    }
}

static void held(struct plan *plan)
{
    uint32_t at = plan->held ? plan_fact_of(plan, PLAN_FACT_HELD, PLAN_NONE, 0) : PLAN_NONE;
    for (uint32_t i = 0; at != PLAN_NONE && i < plan->store_count; i++)
        plan->facts[at].stores +=
            !plan->stores[i].answers && plan->stores[i].record.state != METADATA_STORE_OUT;
}

static void balancing(struct plan *plan)
{
    uint32_t at = PLAN_NONE;
    if (plan->balancing)
        at = plan_fact_of(plan, PLAN_FACT_BALANCING, PLAN_NONE, 0);
    if (at == PLAN_NONE)
        return;
    struct plan_fact *fact = &plan->facts[at];
    for (uint32_t i = 0; i < COUNT_OF(plan->even); i++)
        fact->ppm = MAX(fact->ppm, plan->even[i].off_ppm);
    fact->doing.running = plan->balance_moves;
    for (uint32_t i = 0; i < plan->action_count; i++)
        if (plan->actions[i].why == PLAN_WHY_BALANCE && plan->actions[i].kind == PLAN_ADD) {
            fact->doing.running++;
            fact->doing.bytes_left += plan->actions[i].bytes;
        }
    uint32_t count = place_count(plan->place);
    for (uint32_t i = 0; i < count; i++) {
        int64_t excess = plan->seen[i].may_take ? plan_excess(plan, i) : 0;
        uint64_t allowed = plan->seen[i].weight / 1000000 * plan->settings.balance_stop_ppm;
        if (excess > 0 && (uint64_t)excess > allowed)
            fact->doing.bytes_left += (uint64_t)excess - allowed;
    }
}

static int fact_order(const void *a, const void *b)
{
    const struct plan_fact *left = a;
    const struct plan_fact *right = b;
    if (left->kind != right->kind)
        return left->kind < right->kind ? -1 : 1;
    if (left->volumes != right->volumes)
        return left->volumes > right->volumes ? -1 : 1;
    if (left->store != right->store)
        return left->store < right->store ? -1 : 1;
    return (left->reason > right->reason) - (left->reason < right->reason);
}

/* The most severe first, so each also waits for those before it. */
static void times_left(struct plan *plan)
{
    uint32_t busiest = 1;
    uint64_t before = 0;
    uint32_t count = place_count(plan->place);
    for (uint32_t i = 0; i < count; i++)
        busiest = MAX(busiest, plan->seen[i].moves);
    uint64_t second =
        MIN(plan->settings.pool_bytes_max, plan->settings.store_bytes_max / busiest * plan->moves);
    for (uint32_t i = 0; i < plan->fact_count; i++) {
        struct plan_fact *fact = &plan->facts[i];
        before += fact->doing.bytes_left;
        if (second > 0 && fact->doing.running > 0)
            fact->seconds_left = DIV_CEIL(before, second);
        uint64_t one = MIN(second, plan->settings.store_bytes_max / busiest);
        if (one > 0 && fact->doing.running > 0)
            fact->seconds_left = MAX(fact->seconds_left, DIV_CEIL(fact->doing.bytes_most, one));
    }
}

void plan_facts_end(struct plan *plan)
{
    held(plan);
    silent_stores(plan);
    draining_stores(plan);
    failed_stores(plan);
    full_stores(plan);
    balancing(plan);
    for (uint32_t i = 0; i < plan->fact_count; i++)
        if (plan->facts[i].store != PLAN_NONE)
            plan->facts[i].store = plan->told_at[plan->facts[i].store];
    qsort(plan->facts, plan->fact_count, sizeof *plan->facts, fact_order);
    times_left(plan);
}

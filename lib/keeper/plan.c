/* SPDX-License-Identifier: Apache-2.0 */
/* A pass from its beginning to its end: the stores, and what is decided about them. */
#include "keeper/plan.h"

#include <stdlib.h>
#include <string.h>

#include "keeper/plan_inside.h"

#define OUT_AFTER_NS (600 * NS_PER_S)
#define MOVES_PER_STORE 2u
#define MOVES_PER_POOL 16u /* And one for each four stores. */
#define STORE_BYTES (100ull << 20)
#define BALANCE_PERCENT 5u
#define DELETES 16u
#define RESYNCS 64u

struct plan_settings plan_settings_of(const struct metadata_cluster *cluster, size_t store_count)
{
    uint32_t percent = cluster->balance_percent == 0 ? BALANCE_PERCENT : cluster->balance_percent;
    uint32_t moves = MOVES_PER_POOL + (uint32_t)(store_count / 4);
    struct plan_settings settings = {
        .out_after_ns = OUT_AFTER_NS,
        .moves_per_store_max = MOVES_PER_STORE,
        .moves_per_pool_max = moves,
        .store_bytes_max = STORE_BYTES,
        .pool_bytes_max = STORE_BYTES * moves,
        .balance_start_ppm = MIN(percent, 100) * 10000,
        .balance_stop_ppm = MIN(percent, 100) * 5000,
        .deletes_max = DELETES,
        .resyncs_max = RESYNCS,
    };
    if (cluster->out_after_ms > 0)
        settings.out_after_ns = MIN(cluster->out_after_ms, UINT64_MAX / NS_PER_MS) * NS_PER_MS;
    if (cluster->moves_per_store_max > 0)
        settings.moves_per_store_max = cluster->moves_per_store_max;
    if (cluster->moves_per_pool_max > 0)
        settings.moves_per_pool_max = cluster->moves_per_pool_max;
    if (cluster->move_store_bytes_max > 0)
        settings.store_bytes_max = cluster->move_store_bytes_max;
    if (cluster->move_pool_bytes_max > 0)
        settings.pool_bytes_max = cluster->move_pool_bytes_max;
    return settings;
}

struct plan_action *plan_action_new(struct plan *plan, enum plan_action_kind kind)
{
    if (plan->action_count == PLAN_ACTIONS_MAX)
        return NULL;
    struct plan_action *action = &plan->actions[plan->action_count++];
    *action = (struct plan_action){.kind = kind};
    return action;
}

/* --- Who is out ------------------------------------------------------------------------------- */

static bool out_is_due(const struct plan *plan, const struct plan_store *store)
{
    return store->record.state != METADATA_STORE_OUT && !store->answers &&
           store->silent_since_ns <= plan->now_ns &&
           plan->now_ns - store->silent_since_ns >= plan->settings.out_after_ns;
}

/* Of the nodes that have a store which is not out: are so many silent, each as a whole, that the
 * network is the likelier cause? One may always be. */
static bool too_many_silent(const struct plan *plan)
{
    uint32_t count = place_count(plan->place);
    uint32_t nodes = 0;
    uint32_t silent = 0;
    /* By node: 1, it has a store; 2, and one that answers. */
    uint8_t *seen = calloc((size_t)PLACE_LEVELS * count + 1, sizeof *seen);
    if (seen == NULL)
        return true;
    for (uint32_t i = 0; i < count; i++) {
        const struct plan_store *store = plan_told(plan, i);
        uint32_t node = plan->seen[i].node;
        if (store->record.state == METADATA_STORE_OUT)
            continue;
        if (seen[node] == 0) {
            nodes++;
            silent++;
            seen[node] = 1;
        }
        if (seen[node] == 1 && store->answers) {
            silent--;
            seen[node] = 2;
        }
    }
    free(seen);
    return silent > 1 && silent * 3 > nodes && !MUTANT(261);
}

static void stores_judge(struct plan *plan)
{
    bool due = false;
    uint32_t count = place_count(plan->place);
    for (uint32_t i = 0; i < count; i++)
        due = due || out_is_due(plan, plan_told(plan, i));
    plan->held = due && too_many_silent(plan);
    for (uint32_t i = 0; i < count; i++) {
        const struct plan_store *store = plan_told(plan, i);
        struct plan_action *action = NULL;
        bool out = store->record.state == METADATA_STORE_OUT;
        bool back = out && store->answers && store->state_reason == METADATA_REASON_SILENT;
        if (out_is_due(plan, store) && !plan->held &&
            (action = plan_action_new(plan, PLAN_STORE_OUT)) != NULL)
            out = true;
        else if (back && (action = plan_action_new(plan, PLAN_STORE_UP)) != NULL)
            out = false;
        if (action != NULL)
            action->source = store->record.id;
        plan->seen[i].out = out;
        plan->seen[i].may_take = !out && (store->answers || MUTANT(267)) &&
                                 store->record.state != METADATA_STORE_DRAINING && !store->drains;
        place_set_state(plan->place, i,
                        plan->seen[i].may_take ? METADATA_STORE_UP : METADATA_STORE_OUT);
    }
}

/* --- How even --------------------------------------------------------------------------------- */

void plan_evenness(struct plan *plan)
{
    uint32_t count = place_count(plan->place);
    memset(plan->even, 0, sizeof plan->even);
    for (uint32_t i = 0; i < count; i++)
        if (plan->seen[i].may_take) {
            struct evenness *even = &plan->even[plan_told(plan, i)->record.media];
            even->load += place_load_bytes(plan->place, i) >> 20;
            even->weight += plan->seen[i].weight >> 20;
        }
    for (uint32_t i = 0; i < count; i++) {
        struct evenness *even = &plan->even[plan_told(plan, i)->record.media];
        uint64_t weight = plan->seen[i].weight;
        if (!plan->seen[i].may_take || weight == 0)
            continue;
        int64_t excess = plan_excess(plan, i);
        uint64_t off = excess < 0 ? 0 - (uint64_t)excess : (uint64_t)excess;
        even->off_ppm = MAX(even->off_ppm, (uint32_t)MIN(off / (weight / 1000000 + 1), 1000000));
    }
}

int64_t plan_excess(const struct plan *plan, uint32_t index)
{
    const struct evenness *even = &plan->even[plan_told(plan, index)->record.media];
    if (even->weight == 0)
        return 0;
    __extension__ unsigned __int128 share = plan->seen[index].weight;
    share = share * even->load / even->weight;
    uint64_t load = place_load_bytes(plan->place, index);
    return (int64_t)(MIN(load, INT64_MAX)) - (int64_t)MIN(share, (uint64_t)INT64_MAX);
}

static void balance_judge(struct plan *plan, bool before)
{
    uint32_t off = 0;
    plan_evenness(plan);
    for (uint32_t media = 0; media < COUNT_OF(plan->even); media++)
        off = MAX(off, plan->even[media].off_ppm);
    bool go_on = before && !MUTANT(264);
    plan->balancing =
        off > (go_on ? plan->settings.balance_stop_ppm : plan->settings.balance_start_ppm);
}

/* --- Life ------------------------------------------------------------------------------------- */

static int tree_open(struct plan *plan)
{
    size_t count = plan->store_count;
    struct place_store *records = calloc(count + 1, sizeof *records);
    if (records == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        records[i] = plan->stores[i].record;
    void *memory = malloc(place_bytes(count));
    int result = -ENOMEM;
    if (memory != NULL)
        result = place_init(memory, records, count, &plan->place);
    free(records);
    if (result != 0) {
        free(memory);
        return result;
    }
    for (uint32_t i = 0; i < count; i++)
        plan->told_at[place_index(plan->place, plan->stores[i].record.id)] = i;
    for (uint32_t i = 0; i < count; i++)
        plan->seen[i] = (struct seen){
            .node = place_domain(plan->place, i, PLACE_NODE),
            .weight = place_weight_bytes(plan->place, i),
            .fact = PLAN_NONE,
        };
    return 0;
}

int plan_open(const struct plan_settings *settings, const struct plan_store *stores, size_t count,
              uint64_t now_ns, bool balancing, struct plan **ret_plan)
{
    if (count > PLACE_STORES_MAX)
        return FAIL(-EINVAL, "%zu stores: a pool has at most %u", count, PLACE_STORES_MAX);
    struct plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        return -ENOMEM;
    plan->settings = *settings;
    plan->stores = stores;
    plan->store_count = (uint32_t)count;
    plan->now_ns = now_ns;
    plan->told_at = calloc(count + 1, sizeof *plan->told_at);
    plan->seen = calloc(count + 1, sizeof *plan->seen);
    plan->candidates = calloc(PLAN_CANDIDATES_MAX, sizeof *plan->candidates);
    plan->actions = calloc(PLAN_ACTIONS_MAX, sizeof *plan->actions);
    int result = -ENOMEM;
    if (plan->told_at != NULL && plan->seen != NULL && plan->candidates != NULL &&
        plan->actions != NULL)
        result = tree_open(plan);
    if (result != 0) {
        plan_close(plan);
        return result;
    }
    stores_judge(plan);
    balance_judge(plan, balancing);
    *ret_plan = plan;
    return 0;
}

void plan_close(struct plan *plan)
{
    if (plan == NULL)
        return;
    free(plan->place);
    free(plan->told_at);
    free(plan->seen);
    free(plan->candidates);
    free(plan->actions);
    free(plan);
}

const struct plan_action *plan_actions(const struct plan *plan, size_t *ret_count)
{
    *ret_count = plan->action_count;
    return plan->actions;
}

const struct plan_fact *plan_facts(const struct plan *plan, size_t *ret_count)
{
    *ret_count = plan->fact_count;
    return plan->facts;
}

bool plan_balancing(const struct plan *plan)
{
    return plan->balancing;
}

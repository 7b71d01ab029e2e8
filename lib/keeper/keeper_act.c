/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pass decided is done: stores by a transaction each, wishes by the batch. Each compares the
 * keeper's key. What fails is not tried again: the next pass sees what there is.
 */
#include <stdlib.h>

#include "keeper/keeper_inside.h"

#define WISH_OLD_NS (600 * NS_PER_S) /* A copy that nobody begins to make is chosen anew. */

/* --- What is to be changed -------------------------------------------------------------------- */

static void change_add(struct keeper *keeper, const struct keeper_change *change)
{
    if (keeper->change_count == keeper->change_capacity) {
        uint32_t capacity = MAX(2 * keeper->change_capacity, 64u);
        struct keeper_change *changes = realloc(keeper->changes, capacity * sizeof *changes);
        if (changes == NULL)
            return; /* The next pass decides it again. */
        keeper->changes = changes;
        keeper->change_capacity = capacity;
    }
    keeper->changes[keeper->change_count++] = *change;
}

static struct survey_wish *wish_find(struct keeper *keeper, uint64_t volume, uint32_t group)
{
    struct survey *survey = &keeper->survey;
    uint32_t low = 0;
    uint32_t high = survey->wish_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct metadata_wish *wish = &survey->wishes[middle].wish;
        if (wish->volume == volume && wish->group == group)
            return &survey->wishes[middle];
        if (wish->volume < volume || (wish->volume == volume && wish->group < group))
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static void want_owner(struct keeper *keeper, uint64_t volume)
{
    if (survey_idle(&keeper->survey, volume))
        keeper_kept_want(keeper, volume);
}

/* `before`: the one that there is. */
static void wish_change(struct keeper *keeper, const struct plan_action *action,
                        struct survey_wish *before)
{
    bool adds = action->kind == PLAN_ADD;
    struct metadata_wish wish = {
        .volume = action->volume,
        .group = action->group,
        .kind = adds ? METADATA_WISH_ADD : METADATA_WISH_DROP,
        .target = adds ? action->target : 0,
        .source = action->source,
        .bytes_second = adds ? action->bytes_second : 0,
        .since_ns = clock_wall_ns(keeper->options.clock),
    };
    want_owner(keeper, action->volume);
    if (before != NULL) {
        before->decided = true;
        if (before->wish.kind == wish.kind && before->wish.target == wish.target &&
            before->wish.source == wish.source)
            return;
    }
    keeper->look.adds += adds ? 1 : 0;
    keeper->look.drops += adds ? 0 : 1;
    change_add(keeper, &(struct keeper_change){.kind = KEEPER_WISH, .wish = wish});
}

static void store_change(struct keeper *keeper, const struct plan_action *action)
{
    bool out = action->kind == PLAN_STORE_OUT;
    uint32_t index = survey_store(&keeper->survey, action->source);
    struct keeper_change change = {
        .kind = KEEPER_STORE,
        .store = action->source,
        .state = out                                   ? METADATA_STORE_OUT
                 : keeper->survey.stores[index].drains ? METADATA_STORE_DRAINING
                                                       : METADATA_STORE_UP,
        .revision = keeper->survey.revisions[index],
    };
    keeper->look.stores_out += out ? 1 : 0;
    keeper->look.stores_up += out ? 0 : 1;
    change_add(keeper, &change);
}

static void act_on(struct keeper *keeper, const struct plan_action *action)
{
    switch (action->kind) {
    case PLAN_STORE_OUT:
    case PLAN_STORE_UP: store_change(keeper, action); break;
    case PLAN_ADD:
    case PLAN_DROP:
        wish_change(keeper, action, wish_find(keeper, action->volume, action->group));
        break;
    case PLAN_RESYNC: keeper_kept_want(keeper, action->volume); break;
    case PLAN_DELETE:
        keeper->look.deletes++;
        catalog_delete_go_on(keeper->options.catalog, action->volume);
        break;
    }
}

/* One that no action was about. */
static void wish_review(struct keeper *keeper, const struct survey_wish *of)
{
    const struct metadata_wish *wish = &of->wish;
    bool adds = wish->kind == METADATA_WISH_ADD;
    uint64_t now_ns = clock_wall_ns(keeper->options.clock);
    /* One of the future is of another keeper, whose clock was wrong. */
    bool old = !of->member &&
               (now_ns > wish->since_ns + WISH_OLD_NS || wish->since_ns > now_ns + WISH_OLD_NS);
    /* One that is to go is told so by each pass, for as long as enough others are in sync. */
    bool over = adds ? of->done || of->lost || old : !MUTANT(345);
    if (!of->seen || over) {
        change_add(keeper, &(struct keeper_change){.kind = KEEPER_FORGET, .wish = *wish});
        return;
    }
    want_owner(keeper, wish->volume);
    uint64_t rate = plan_bytes_second(keeper->survey.plan, wish->source, wish->target);
    if (rate == 0 || (rate >= wish->bytes_second / 4 * 3 && rate <= wish->bytes_second / 4 * 5))
        return;
    struct keeper_change change = {.kind = KEEPER_WISH, .wish = *wish};
    change.wish.bytes_second = rate;
    change_add(keeper, &change);
}

/* --- Transactions ----------------------------------------------------------------------------- */

static void act_next(struct keeper *keeper);

static void act_done(struct meta_request *request, int result)
{
    struct keeper *keeper = CONTAINER_OF(request, struct keeper, act);
    const struct keeper_change *change = &keeper->changes[keeper->change_at];
    bool of_store = change->kind <= KEEPER_SILENT;
    if (result == 0 && request->succeeded && change->kind == KEEPER_STORE)
        keeper_tell(keeper, STORE_WARNING, "store %llu is %s", (unsigned long long)change->store,
                    change->state == METADATA_STORE_OUT
                        ? "out: it has been silent for too long, and its copies are made elsewhere"
                    : change->state == METADATA_STORE_DRAINING ? "back, and is emptied further"
                                                               : "up again");
    if (result == 0 && !request->succeeded && !of_store)
        keeper_resign(keeper); /* The key alone was compared. */
    if (result != 0)
        keeper_pass_soon(keeper);
    keeper->change_at = result == 0 ? keeper->change_end : keeper->change_count;
    act_next(keeper);
}

static void build_state(const struct keeper *keeper, const struct keeper_change *change,
                        struct metadata_store *changed)
{
    bool failed = changed->state_reason == METADATA_REASON_FAILED ||
                  changed->state_reason == METADATA_REASON_DAMAGED;
    changed->drains = change->state == METADATA_STORE_OUT &&
                      (changed->drains || changed->state == METADATA_STORE_DRAINING) &&
                      !MUTANT(354);
    changed->silent_ms = changed->silent_told_ns = 0;
    changed->state = change->state;
    changed->state_since_ns = clock_wall_ns(keeper->options.clock);
    changed->state_reason = change->state != METADATA_STORE_OUT ? METADATA_REASON_NONE
                            : failed                            ? changed->state_reason
                                                                : METADATA_REASON_SILENT;
}

static void build_silence(const struct keeper *keeper, const struct keeper_change *change,
                          struct metadata_store *changed)
{
    changed->silent_ms = change->silent_ms;
    changed->silent_told_ns = change->silent_ms == 0 ? 0 : clock_wall_ns(keeper->options.clock);
}

static int build_store(struct keeper *keeper, const struct keeper_change *change)
{
    const struct metadata_store *record =
        stores_find(catalog_stores(keeper->options.catalog), change->store);
    struct metadata_bytes value = {0};
    if (record == NULL)
        return -ENOENT;
    struct metadata_store changed = *record; /* What it holds is lent. */
    if (change->kind == KEEPER_STORE)
        build_state(keeper, change, &changed);
    else if (change->kind == KEEPER_PROMISED)
        changed.bytes_promised = change->promised;
    else
        build_silence(keeper, change, &changed);
    int result = metadata_store_encode(&changed, &value);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_store_key(change->store);
    meta_if_modified(&keeper->act, META_SLICE(key), change->revision);
    meta_put(&keeper->act, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return 0;
}

static int build_wish(struct keeper *keeper, const struct keeper_change *change)
{
    struct metadata_wish record = change->wish;
    const struct metadata_wish *wish = &record;
    struct metadata_key key = metadata_wish_key(wish->volume, wish->group);
    struct metadata_bytes value = {0};
    if (change->kind == KEEPER_FORGET) {
        meta_delete(&keeper->act, META_SLICE(key));
        return 0;
    }
    record.session = keeper->lease;
    int result = metadata_wish_encode(wish, &value);
    if (result == 0)
        meta_put(&keeper->act, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return result;
}

/* As many as go into one. */
static int act_build(struct keeper *keeper)
{
    const struct keeper_change *first = &keeper->changes[keeper->change_at];
    keeper->change_end = keeper->change_at + 1;
    meta_request_reset(&keeper->act);
    keeper_if_leads(keeper, &keeper->act);
    if (first->kind <= KEEPER_SILENT)
        return build_store(keeper, first);
    int result = build_wish(keeper, first);
    while (result == 0 && keeper->change_end < keeper->change_count &&
           keeper->change_end - keeper->change_at < KEEPER_BATCH &&
           keeper->changes[keeper->change_end].kind > KEEPER_SILENT)
        result = build_wish(keeper, &keeper->changes[keeper->change_end++]);
    return result;
}

static void act_next(struct keeper *keeper)
{
    while (keeper->change_at < keeper->change_count && keeper_leads(keeper)) {
        int result = act_build(keeper);
        if (result == 0)
            result = meta_commit(keeper->options.meta, &keeper->act, act_done);
        if (result == 0)
            return;
        keeper->change_at = keeper->change_end;
    }
    keeper_acted(keeper);
}

/* What placing looks at. Not for each volume that comes or goes: a hundredth of a store is news. */
static void promises_review(struct keeper *keeper)
{
    const struct survey *survey = &keeper->survey;
    for (uint32_t i = 0; i < survey->store_count; i++) {
        uint64_t told = survey->stores[i].record.bytes_promised;
        uint64_t is = survey->promised[i];
        uint64_t moved = is > told ? is - told : told - is;
        if (moved == 0 || (moved < survey->stores[i].record.bytes / 100 && is != 0 && told != 0))
            continue;
        struct keeper_change change = {.kind = KEEPER_PROMISED,
                                       .store = survey->stores[i].record.id,
                                       .revision = survey->revisions[i],
                                       .promised = is};
        change_add(keeper, &change);
    }
}

/* For the keeper after this one: when it begins, by each further part, and when it is over. */
static void silences_review(struct keeper *keeper)
{
    const struct survey *survey = &keeper->survey;
    uint64_t part_ms = survey_told_part_ns(survey) / NS_PER_MS;
    for (uint32_t i = 0; i < survey->store_count; i++) {
        const struct place_store *store = &survey->stores[i].record;
        const struct metadata_store *record =
            stores_find(catalog_stores(keeper->options.catalog), store->id);
        uint64_t is = survey->silent_ms[i];
        uint64_t told = record == NULL ? is : record->silent_ms;
        bool news = is == 0 || told == 0 ? is != told : is >= told + MAX(part_ms, 1);
        if (!news || store->state == METADATA_STORE_OUT)
            continue;
        struct keeper_change change = {.kind = KEEPER_SILENT,
                                       .store = store->id,
                                       .revision = survey->revisions[i],
                                       .silent_ms = is};
        change_add(keeper, &change);
    }
}

void keeper_act(struct keeper *keeper)
{
    size_t count;
    const struct plan_action *actions = plan_actions(keeper->survey.plan, &count);
    keeper->change_count = keeper->change_at = 0;
    keeper_kept_begin(keeper);
    for (size_t i = 0; i < count; i++)
        act_on(keeper, &actions[i]);
    for (uint32_t i = 0; i < keeper->survey.wish_count; i++) {
        if (!keeper->survey.wishes[i].decided)
            wish_review(keeper, &keeper->survey.wishes[i]);
    }
    keeper_kept_end(keeper);
    promises_review(keeper);
    silences_review(keeper);
    act_next(keeper);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/plan_model.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

static void *grown(void *array, uint32_t *room, uint32_t count, size_t size)
{
    if (count <= *room)
        return array;
    *room = MAX(2 * *room, MAX(count, 64));
    array = realloc(array, *room * size);
    if (array == NULL)
        abort();
    return array;
}

static void stores_take(struct plan_model *model, uint32_t before)
{
    struct crowd *crowd = &model->crowd;
    model->stores =
        grown(model->stores, &model->store_room, crowd->store_count, sizeof *model->stores);
    for (uint32_t i = 0; i < crowd->store_count; i++) {
        if (i >= before)
            model->stores[i] = (struct plan_store){.answers = true};
        enum metadata_store_state state = model->stores[i].record.state;
        model->stores[i].record = crowd->stores[i];
        if (i < before)
            model->stores[i].record.state = state;
    }
}

static uint32_t group_new(struct plan_model *model, uint64_t volume)
{
    struct model_volume *owner = &model->volumes[volume - 1];
    uint32_t at = model->group_count++;
    model->groups =
        grown(model->groups, &model->group_room, model->group_count, sizeof *model->groups);
    model->groups[at] = (struct model_group){.volume = volume, .next = NONE};
    model->groups[at].told.id = owner->told.groups++;
    if (owner->first == NONE)
        owner->first = at;
    else
        model->groups[owner->last].next = at;
    owner->last = at;
    return at;
}

void plan_model_init(struct plan_model *model, uint64_t seed, const struct crowd_shape *shape,
                     uint32_t volumes, uint64_t segments, uint32_t copies, enum place_level level)
{
    static const enum metadata_domain domains[] = {METADATA_DOMAIN_ZONE, METADATA_DOMAIN_RACK,
                                                   METADATA_DOMAIN_NODE, METADATA_DOMAIN_STORE};
    *model = (struct plan_model){.now_ns = 3600 * NS_PER_S, .level = level};
    crowd_init(&model->crowd, seed, shape);
    for (uint32_t i = 0; i < volumes; i++)
        if (!crowd_create(&model->crowd, segments, copies, level, 0))
            abort();
    model->settings =
        plan_settings_of(&(struct metadata_cluster){.format = 1}, model->crowd.store_count);
    stores_take(model, 0);
    model->volumes = grown(NULL, &model->volume_room, volumes, sizeof *model->volumes);
    model->volume_count = volumes;
    for (uint32_t i = 0; i < volumes; i++)
        model->volumes[i] = (struct model_volume){
            .told = {.id = i + 1,
                     .policy = {.copies = copies,
                                .copies_min = copies == 1 ? 1 : copies - 1,
                                .domain = domains[level]}},
            .first = NONE,
        };
    for (uint32_t i = 0; i < model->crowd.group_count; i++) {
        const struct crowd_group *from = &model->crowd.groups[i];
        uint32_t at = group_new(model, from->volume);
        struct plan_group *to = &model->groups[at].told;
        to->segments = from->segments;
        to->bytes = from->segments * PLACE_SEGMENT_BYTES;
        to->member_count = from->member_count;
        for (uint32_t m = 0; m < from->member_count; m++)
            to->members[m] = (struct plan_member){.store = from->members[m]};
    }
}

void plan_model_done(struct plan_model *model)
{
    crowd_done(&model->crowd);
    free(model->stores);
    free(model->volumes);
    free(model->groups);
}

void plan_model_add_stores(struct plan_model *model, const struct crowd_shape *shape,
                           uint32_t nodes)
{
    uint32_t before = model->crowd.store_count;
    crowd_add_stores(&model->crowd, shape, nodes);
    stores_take(model, before);
}

void plan_model_silent(struct plan_model *model, uint32_t at, bool silent)
{
    for (uint32_t i = 0; i < model->crowd.store_count; i++) {
        struct plan_store *store = &model->stores[i];
        if (strcmp(store->record.node, model->stores[at].record.node) != 0)
            continue;
        if (store->answers && silent)
            store->silent_since_ns = model->now_ns;
        store->answers = !silent;
    }
}

static struct plan_store *store_of(struct plan_model *model, uint64_t id)
{
    return &model->stores[id - 1];
}

static bool is_alive(struct plan_model *model, const struct plan_member *member)
{
    const struct plan_store *store = store_of(model, member->store);
    return member->state == METADATA_IN_SYNC && store->answers &&
           store->record.state != METADATA_STORE_OUT;
}

static uint32_t alive(struct plan_model *model, const struct plan_group *group)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < group->member_count; i++)
        count += is_alive(model, &group->members[i]);
    return count;
}

void plan_model_notice(struct plan_model *model)
{
    for (uint32_t g = 0; g < model->group_count; g++) {
        struct plan_group *group = &model->groups[g].told;
        for (uint32_t i = 0; i < group->member_count; i++) {
            struct plan_member *member = &group->members[i];
            bool answers = store_of(model, member->store)->answers;
            if (member->state != METADATA_STALE && !answers &&
                (member->state == METADATA_CATCHING_UP || alive(model, group) > 0)) {
                member->state = METADATA_STALE;
                member->reason = METADATA_REASON_SILENT;
                member->since_ns = model->now_ns;
            }
        }
    }
}

/* --- A pass ----------------------------------------------------------------------------------- */

static void judge(struct plan_model *model, bool right, const char *wrong)
{
    if (!right && model->wrong == NULL)
        model->wrong = wrong;
}

static struct model_group *group_of(struct plan_model *model, uint64_t volume, uint32_t id)
{
    uint32_t at = model->volumes[volume - 1].first;
    while (model->groups[at].told.id != id)
        at = model->groups[at].next;
    return &model->groups[at];
}

static void do_drop(struct plan_model *model, const struct plan_action *action)
{
    struct model_group *group = group_of(model, action->volume, action->group);
    struct plan_group *told = &group->told;
    uint32_t others = 0;
    uint32_t at = NONE;
    for (uint32_t i = 0; i < told->member_count; i++)
        if (told->members[i].store == action->source)
            at = i;
        else
            others += is_alive(model, &told->members[i]);
    judge(model, at != NONE, "a copy is dropped that is not there");
    judge(model, others >= model->volumes[action->volume - 1].told.policy.copies,
          "a copy is dropped though too few others are in sync");
    if (at == NONE)
        return;
    told->member_count--;
    memmove(&told->members[at], &told->members[at + 1],
            (told->member_count - at) * sizeof told->members[0]);
    memmove(&group->second[at], &group->second[at + 1],
            (told->member_count - at) * sizeof group->second[0]);
}

static void judge_target(struct plan_model *model, const struct plan_action *action,
                         const struct plan_group *group)
{
    const struct plan_store *target = store_of(model, action->target);
    uint64_t before[METADATA_MEMBERS_MAX];
    uint64_t after[METADATA_MEMBERS_MAX];
    uint32_t stay = 0;
    judge(model, target->answers && target->record.state == METADATA_STORE_UP,
          "a copy is made on a store that is not up or does not answer");
    judge(model, alive(model, group) > 0, "a copy is made of a group that nobody has");
    for (uint32_t i = 0; i < group->member_count; i++) {
        judge(model, group->members[i].store != action->target, "a store gets a copy that it has");
        const struct plan_store *store = store_of(model, group->members[i].store);
        if (group->members[i].store != action->source && store->record.state == METADATA_STORE_UP)
            before[stay] = after[stay] = group->members[i].store, stay++;
    }
    before[stay] = action->source;
    after[stay] = action->target;
    struct place_spread now = place_spread(model->crowd.place, after, stay + 1);
    struct place_spread old = place_spread(model->crowd.place, after, stay);
    judge(model, now.shared[model->level] == old.shared[model->level], "two copies in one domain");
    if (action->why != PLAN_WHY_BALANCE)
        return;
    struct place_spread then = place_spread(model->crowd.place, before, stay + 1);
    judge(model, place_spread_compare(&now, &then) <= 0, "copies come nearer for evenness");
}

static void do_add(struct plan_model *model, const struct plan_action *action)
{
    struct model_group *group = group_of(model, action->volume, action->group);
    judge_target(model, action, &group->told);
    for (uint32_t i = 0; i < group->told.member_count; i++)
        if (group->told.members[i].store == action->source)
            group->told.members[i].leaving = true;
    uint32_t at = group->told.member_count++;
    group->told.members[at] = (struct plan_member){
        .store = action->target,
        .state = METADATA_CATCHING_UP,
        .since_ns = model->now_ns,
        .bytes_left = group->told.bytes,
    };
    group->second[at] = action->bytes_second;
    if (action->why == PLAN_WHY_BALANCE)
        model->balanced_bytes += action->bytes;
    else
        model->rebuilt_bytes += action->bytes;
}

static void do_resync(struct plan_model *model, uint64_t volume)
{
    for (uint32_t at = model->volumes[volume - 1].first; at != NONE; at = model->groups[at].next) {
        struct model_group *group = &model->groups[at];
        for (uint32_t i = 0; i < group->told.member_count; i++) {
            struct plan_member *member = &group->told.members[i];
            if (member->state == METADATA_STALE && store_of(model, member->store)->answers &&
                alive(model, &group->told) > 0) {
                member->state = METADATA_CATCHING_UP;
                member->bytes_left = group->told.bytes / 100;
                group->second[i] = model->settings.store_bytes_max;
            }
        }
    }
}

static void act(struct plan_model *model, const struct plan_action *action)
{
    switch (action->kind) {
    case PLAN_STORE_OUT:
        store_of(model, action->source)->record.state = METADATA_STORE_OUT;
        store_of(model, action->source)->state_reason = METADATA_REASON_SILENT;
        break;
    case PLAN_STORE_UP: store_of(model, action->source)->record.state = METADATA_STORE_UP; break;
    case PLAN_ADD: do_add(model, action); break;
    case PLAN_DROP: do_drop(model, action); break;
    case PLAN_RESYNC: do_resync(model, action->volume); break;
    case PLAN_DELETE: model->volumes[action->volume - 1].deleted = true; break;
    }
}

/* Copies of a group that were begun and go on; counted at both ends. */
static uint32_t running(struct plan_model *model, const struct plan_group *group, uint32_t *moves)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < group->member_count; i++) {
        const struct plan_member *member = &group->members[i];
        if (member->state != METADATA_CATCHING_UP || member->reason != METADATA_REASON_NONE ||
            member->leaving || !store_of(model, member->store)->answers)
            continue;
        count++;
        moves[member->store]++;
    }
    for (uint32_t i = 0; count > 0 && i < group->member_count; i++)
        if (group->members[i].leaving &&
            store_of(model, group->members[i].store)->record.state != METADATA_STORE_OUT)
            moves[group->members[i].store]++;
    return count;
}

/* Lost copies in order of how few are left; moves at each store and in the pool within limits. */
static void judge_all(struct plan_model *model, const struct plan_action *actions, size_t count)
{
    uint32_t least = 0;
    uint32_t begun = 0;
    uint32_t *moves = calloc(model->crowd.store_count + 1, sizeof *moves);
    for (uint32_t g = 0; moves != NULL && g < model->group_count; g++)
        if (model->volumes[model->groups[g].volume - 1].told.state == METADATA_VOLUME_LIVE)
            begun += running(model, &model->groups[g].told, moves);
    uint32_t before = begun;
    for (size_t i = 0; moves != NULL && i < count; i++) {
        const struct plan_action *action = &actions[i];
        if (action->kind != PLAN_ADD)
            continue;
        begun++;
        moves[action->target]++;
        if (action->source != 0 &&
            store_of(model, action->source)->record.state != METADATA_STORE_OUT)
            moves[action->source]++;
        judge(model,
              moves[action->target] <= model->settings.moves_per_store_max &&
                  moves[action->source] <= model->settings.moves_per_store_max,
              "too many copies at one store at a time");
        if (action->why != PLAN_WHY_LOST)
            continue;
        uint32_t left = alive(model, &group_of(model, action->volume, action->group)->told);
        judge(model, left >= least, "who has more copies left comes first");
        least = left;
    }
    judge(model, begun == before || begun <= model->settings.moves_per_pool_max,
          "too many copies at a time");
    free(moves);
}

static void stores_count(struct plan_model *model)
{
    for (uint32_t i = 0; i < model->crowd.store_count; i++)
        model->stores[i].record.bytes_used = model->stores[i].record.bytes_promised = 0;
    for (uint32_t g = 0; g < model->group_count; g++) {
        const struct plan_group *group = &model->groups[g].told;
        if (model->volumes[model->groups[g].volume - 1].deleted)
            continue;
        for (uint32_t i = 0; i < group->member_count; i++) {
            const struct plan_member *member = &group->members[i];
            struct place_store *record = &store_of(model, member->store)->record;
            record->bytes_promised += group->segments * PLACE_SEGMENT_BYTES;
            record->bytes_used += group->bytes;
            if (member->state == METADATA_CATCHING_UP)
                record->bytes_used -= MIN(group->bytes, member->bytes_left);
        }
    }
}

static void judge_removal(struct plan_model *model, const struct plan *plan)
{
    char text[PLAN_TEXT_BYTES];
    uint64_t id = 1 + model->now_ns / NS_PER_S % model->crowd.store_count;
    bool holds = false;
    for (uint32_t g = 0; g < model->group_count; g++)
        for (uint32_t i = 0; i < model->groups[g].told.member_count; i++)
            holds = holds || (model->groups[g].told.members[i].store == id &&
                              !model->volumes[model->groups[g].volume - 1].deleted);
    judge(model, !(plan_removal(plan, id, text) && holds), "a store with copies may be removed");
}

/* Of the nodes that are not out, more than a third, and more than one, are silent. */
static bool mostly_silent(struct plan_model *model)
{
    uint32_t nodes = 0;
    uint32_t silent = 0;
    for (uint32_t i = 0; i < model->crowd.store_count; i++) {
        bool answers = false;
        bool up = false;
        bool first = true;
        for (uint32_t j = 0; j < model->crowd.store_count; j++) {
            const struct plan_store *store = &model->stores[j];
            if (strcmp(store->record.node, model->stores[i].record.node) != 0)
                continue;
            first = first && j >= i;
            up = up || store->record.state != METADATA_STORE_OUT;
            answers = answers || (store->answers && store->record.state != METADATA_STORE_OUT);
        }
        nodes += first && up;
        silent += first && up && !answers;
    }
    return silent > 1 && silent * 3 > nodes;
}

void plan_model_pass(struct plan_model *model)
{
    struct plan *plan;
    size_t count;
    size_t facts;
    stores_count(model);
    uint64_t begin = crowd_cpu_us();
    if (plan_open(&model->settings, model->stores, model->crowd.store_count, model->now_ns,
                  model->balancing, &plan) != 0)
        abort();
    for (uint32_t v = 0; v < model->volume_count; v++) {
        if (model->volumes[v].deleted)
            continue;
        plan_volume(plan, &model->volumes[v].told);
        for (uint32_t at = model->volumes[v].first; at != NONE; at = model->groups[at].next)
            plan_group(plan, &model->groups[at].told);
    }
    plan_decide(plan);
    model->pass_us = crowd_cpu_us() - begin;
    const struct plan_action *actions = plan_actions(plan, &count);
    const struct plan_fact *fact = plan_facts(plan, &facts);
    model->actions = (uint32_t)count;
    model->facts = (uint32_t)facts;
    model->worst[0] = '\0';
    for (size_t i = facts; i-- > 0;)
        (void)plan_fact_text(plan, &fact[i], model->worst);
    model->balancing = plan_balancing(plan);
    if (model->crowd.store_count <= 1000) {
        judge_removal(model, plan);
        bool mostly = mostly_silent(model);
        for (size_t i = 0; i < count; i++)
            judge(model, actions[i].kind != PLAN_STORE_OUT || !mostly,
                  "stores are put out though most are silent");
    }
    for (size_t i = 0; i < count; i++)
        if (actions[i].kind == PLAN_STORE_OUT || actions[i].kind == PLAN_STORE_UP)
            act(model, &actions[i]);
    judge_all(model, actions, count);
    for (size_t i = 0; i < count; i++)
        if (actions[i].kind != PLAN_STORE_OUT && actions[i].kind != PLAN_STORE_UP)
            act(model, &actions[i]);
    plan_close(plan);
}

/* --- Time ------------------------------------------------------------------------------------- */

void plan_model_advance(struct plan_model *model, uint64_t ns)
{
    model->now_ns += ns;
    for (uint32_t g = 0; g < model->group_count; g++) {
        struct model_group *group = &model->groups[g];
        for (uint32_t i = 0; i < group->told.member_count; i++) {
            struct plan_member *member = &group->told.members[i];
            if (member->state != METADATA_CATCHING_UP || !store_of(model, member->store)->answers ||
                alive(model, &group->told) == 0)
                continue;
            uint64_t done = group->second[i] * (ns / NS_PER_MS) / 1000;
            member->bytes_left -= MIN(done, member->bytes_left);
            if (member->bytes_left == 0) {
                member->state = METADATA_IN_SYNC;
                member->reason = METADATA_REASON_NONE;
            }
        }
    }
}

struct crowd_fullness plan_model_fullness(const struct plan_model *model)
{
    struct crowd_fullness fullness = {.least_ppm = UINT64_MAX};
    uint64_t load = 0;
    uint64_t weight = 0;
    for (uint32_t i = 0; i < model->crowd.store_count; i++) {
        const struct place_store *record = &model->stores[i].record;
        uint64_t ppm = record->bytes_used / (record->bytes / 1000000);
        if (record->state != METADATA_STORE_UP || !model->stores[i].answers)
            continue;
        load += record->bytes_used >> 20;
        weight += record->bytes >> 20;
        fullness.least_ppm = MIN(fullness.least_ppm, ppm);
        fullness.most_ppm = MAX(fullness.most_ppm, ppm);
    }
    fullness.mean_ppm = weight == 0 ? 0 : load * 1000 / (weight / 1000);
    return fullness;
}

uint64_t plan_model_bytes(const struct plan_model *model, uint32_t store)
{
    uint64_t bytes = 0;
    for (uint32_t g = 0; g < model->group_count; g++)
        for (uint32_t i = 0; i < model->groups[g].told.member_count; i++)
            if (model->groups[g].told.members[i].store == store + 1)
                bytes += model->groups[g].told.bytes;
    return bytes;
}

uint32_t plan_model_unwell(const struct plan_model *model)
{
    uint32_t count = 0;
    for (uint32_t g = 0; g < model->group_count; g++) {
        const struct plan_group *group = &model->groups[g].told;
        if (model->volumes[model->groups[g].volume - 1].deleted)
            continue;
        bool well =
            group->member_count == model->volumes[model->groups[g].volume - 1].told.policy.copies;
        for (uint32_t i = 0; i < group->member_count; i++)
            well = well && group->members[i].state == METADATA_IN_SYNC &&
                   model->stores[group->members[i].store - 1].record.state == METADATA_STORE_UP;
        count += !well;
    }
    return count;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Groups, one after the other: who holds them, what they lack, what would be to be done. */
#include "keeper/plan_inside.h"

/* Urgencies, the least first; those of lost copies by how many are left. */
#define ORDER_UNIT 0x0100000000000000u
#define ORDER_DRAIN 100u
#define ORDER_BALANCE 200u

/* A group, looked at. */
struct look {
    const struct plan_group *group;
    uint32_t index[METADATA_MEMBERS_MAX]; /* Of the store; PLAN_NONE: there is none. */
    bool gone[METADATA_MEMBERS_MAX];      /* The store is out, or not in the pool. */
    bool answers[METADATA_MEMBERS_MAX];
    bool stays[METADATA_MEMBERS_MAX];
    uint32_t alive; /* In sync, and the store answers. */
    uint32_t safe;  /* Of those, that stay. */
    uint32_t stay_count;
    uint32_t coming; /* Catching up, and the store answers. */
    uint64_t coming_bytes;
};

static uint32_t copies_wanted(const struct metadata_policy *policy)
{
    uint32_t copies = policy->copies > 0 ? policy->copies : policy->ec_data + policy->ec_parity;
    return MAX(1, MIN(copies, METADATA_MEMBERS_MAX));
}

static uint64_t bytes_left(const struct plan_group *group, const struct plan_member *member)
{
    return member->bytes_left == UINT64_MAX ? group->bytes : member->bytes_left;
}

static void look_at_member(struct plan *plan, struct look *look, uint32_t i)
{
    const struct plan_member *member = &look->group->members[i];
    uint32_t index = place_index(plan->place, member->store);
    look->index[i] = index;
    look->gone[i] = index == PLAN_NONE || plan->seen[index].out;
    look->answers[i] = !look->gone[i] && plan_told(plan, index)->answers;
    bool drains = !look->gone[i] && plan_told(plan, index)->record.state == METADATA_STORE_DRAINING;
    look->stays[i] = !look->gone[i] && !drains && !member->leaving;
    look->stay_count += look->stays[i];
    if (index != PLAN_NONE) {
        plan->seen[index].copies++;
        plan->seen[index].copy_bytes += look->group->bytes;
    }
    bool alive = member->state == METADATA_IN_SYNC && look->answers[i];
    look->alive += alive;
    look->safe += alive && look->stays[i];
    if (member->state == METADATA_CATCHING_UP && look->answers[i] && !member->leaving) {
        look->coming++;
        look->coming_bytes += bytes_left(look->group, member);
    }
}

/* Who was to leave stays after all, if that is no worse than making another: what was to come in
 * its place did not, and its store is well. */
static void take_back(struct plan *plan, struct look *look, uint32_t wanted)
{
    for (uint32_t i = 0; i < look->group->member_count && look->stay_count < wanted; i++) {
        const struct plan_member *member = &look->group->members[i];
        if (!member->leaving || member->state != METADATA_IN_SYNC || look->index[i] == PLAN_NONE ||
            !look->answers[i] || !plan->seen[look->index[i]].may_take)
            continue;
        look->stays[i] = true;
        look->stay_count++;
        look->safe++;
    }
}

/* What is on its way counts where it goes and where it comes from, as if it were done. */
static void count_moves(struct plan *plan, const struct look *look)
{
    const struct plan_group *group = look->group;
    plan->moves += look->coming;
    plan->bytes_left += look->coming_bytes;
    for (uint32_t i = 0; i < group->member_count; i++) {
        uint32_t index = look->index[i];
        if (index == PLAN_NONE)
            continue;
        if (group->members[i].leaving) {
            if (!look->stays[i])
                place_charge(plan->place, index, -(int64_t)group->bytes,
                             -(int64_t)(group->segments * PLACE_SEGMENT_BYTES));
            plan->seen[index].moves += look->coming > 0;
            plan->balance_moves += look->coming > 0 && plan->seen[index].may_take;
        } else if (group->members[i].state == METADATA_CATCHING_UP && look->answers[i]) {
            plan->seen[index].moves++;
            place_charge(plan->place, index, (int64_t)bytes_left(group, &group->members[i]), 0);
        }
    }
}

/* --- Facts ------------------------------------------------------------------------------------ */

static void fault_doing(struct plan *plan, const struct look *look, uint32_t i,
                        struct plan_fact *fact)
{
    const struct plan_member *member = &look->group->members[i];
    struct plan_doing *doing = &fact->doing;
    if (look->gone[i]) {
        if (look->coming > 0) {
            doing->running++;
            doing->bytes_left += look->coming_bytes;
            doing->bytes_most = MAX(doing->bytes_most, look->coming_bytes);
        }
    } else if (!look->answers[i]) {
        const struct plan_store *store = plan_told(plan, look->index[i]);
        uint64_t silent = plan->now_ns - MIN(plan->now_ns, store->silent_since_ns);
        uint64_t out_in = plan->settings.out_after_ns - MIN(plan->settings.out_after_ns, silent);
        fact->out_in_ns = doing->waiting == 0 ? out_in : MIN(fact->out_in_ns, out_in);
        doing->waiting++;
    } else if (member->state == METADATA_CATCHING_UP) {
        doing->running++;
        doing->bytes_left += bytes_left(look->group, member);
        doing->bytes_most = MAX(doing->bytes_most, bytes_left(look->group, member));
    } else
        doing->owner++;
}

/* Returns the fact of a copy that is gone, which is to be made elsewhere; PLAN_NONE. */
static uint32_t count_faults(struct plan *plan, const struct look *look, uint32_t wanted)
{
    uint32_t of_gone = PLAN_NONE;
    uint32_t missing = wanted - MIN(wanted, look->alive);
    bool told = false;
    for (uint32_t i = 0; missing > 0 && i < look->group->member_count; i++) {
        const struct plan_member *member = &look->group->members[i];
        bool new =
            member->reason == METADATA_REASON_NONE || member->reason == METADATA_REASON_MOVED;
        if (look->answers[i] && (member->state == METADATA_IN_SYNC || new))
            continue;
        uint32_t reason = member->reason;
        uint64_t since = member->since_ns;
        if (look->index[i] != PLAN_NONE && !plan_told(plan, look->index[i])->answers) {
            reason = METADATA_REASON_SILENT;
            since = plan_told(plan, look->index[i])->silent_since_ns;
        } else if (look->gone[i] && look->index[i] != PLAN_NONE)
            reason = plan_told(plan, look->index[i])->state_reason;
        uint32_t at = plan_fact_of(plan, PLAN_FACT_STALE, look->index[i], reason);
        told = true;
        if (at == PLAN_NONE)
            continue;
        struct plan_fact *fact = &plan->facts[at];
        plan_fact_count(plan, at, missing, wanted);
        if (since != 0)
            fact->since_ns = fact->since_ns == 0 ? since : MIN(fact->since_ns, since);
        fault_doing(plan, look, i, fact);
        if (look->gone[i])
            of_gone = at;
    }
    if (missing > 0 && !told) {
        of_gone = plan_fact_of(plan, PLAN_FACT_SHORT, PLAN_NONE, METADATA_REASON_NONE);
        if (of_gone != PLAN_NONE) {
            plan_fact_count(plan, of_gone, missing, wanted);
            plan->facts[of_gone].doing.running += look->coming;
            plan->facts[of_gone].doing.bytes_left += look->coming_bytes;
        }
    }
    return of_gone;
}

static void count_draining(struct plan *plan, const struct look *look)
{
    for (uint32_t i = 0; i < look->group->member_count; i++) {
        uint32_t index = look->index[i];
        if (look->gone[i] || plan_told(plan, index)->record.state != METADATA_STORE_DRAINING)
            continue;
        uint32_t at = plan->seen[index].fact =
            plan_fact_of(plan, PLAN_FACT_DRAINING, index, METADATA_REASON_NONE);
        if (at == PLAN_NONE)
            continue;
        plan_fact_count(plan, at, 0, 0);
        plan->facts[at].doing.running += look->coming > 0;
        plan->facts[at].doing.bytes_left += look->coming_bytes;
    }
}

/* --- What would be to be done ----------------------------------------------------------------- */

/* How much better it is without a copy: what is lost or leaves goes first, then what is not in
 * sync, then what is nearest to others, then what is on the fullest store. */
static bool goes_rather(const struct plan *plan, const struct look *look, uint32_t a, uint32_t b)
{
    const struct plan_group *group = look->group;
    bool a_leaves = look->gone[a] || group->members[a].leaving;
    bool b_leaves = look->gone[b] || group->members[b].leaving;
    if (a_leaves != b_leaves)
        return a_leaves;
    if (look->stays[a] != look->stays[b])
        return look->stays[b];
    bool a_alive = look->answers[a] && group->members[a].state == METADATA_IN_SYNC;
    bool b_alive = look->answers[b] && group->members[b].state == METADATA_IN_SYNC;
    if (a_alive != b_alive)
        return b_alive;
    if (look->gone[a] || look->gone[b])
        return false;
    uint64_t without[2][METADATA_MEMBERS_MAX];
    uint32_t counts[2] = {0};
    for (uint32_t i = 0; i < group->member_count; i++) {
        if (i != a)
            without[0][counts[0]++] = group->members[i].store;
        if (i != b)
            without[1][counts[1]++] = group->members[i].store;
    }
    struct place_spread without_a = place_spread(plan->place, without[0], counts[0]);
    struct place_spread without_b = place_spread(plan->place, without[1], counts[1]);
    int nearer = place_spread_compare(&without_a, &without_b);
    if (nearer != 0)
        return nearer < 0;
    return plan_excess(plan, look->index[a]) > plan_excess(plan, look->index[b]);
}

/* One copy that may go because enough others are in sync where they may stay. */
static void drop_one(struct plan *plan, const struct look *look, uint32_t wanted)
{
    uint32_t goes = PLAN_NONE;
    for (uint32_t i = 0; i < look->group->member_count; i++) {
        bool alive = look->answers[i] && look->group->members[i].state == METADATA_IN_SYNC;
        uint32_t others = look->safe - (alive && look->stays[i]);
        if (MUTANT(260))
            others += look->coming;
        if (others >= wanted && (goes == PLAN_NONE || goes_rather(plan, look, i, goes)))
            goes = i;
    }
    struct plan_action *action = goes == PLAN_NONE ? NULL : plan_action_new(plan, PLAN_DROP);
    if (action == NULL)
        return;
    action->volume = plan->volume.id;
    action->group = look->group->id;
    action->source = look->group->members[goes].store;
}

static struct candidate candidate_of(const struct plan *plan, const struct look *look,
                                     enum plan_why why, uint64_t urgency)
{
    struct candidate candidate = {
        .why = why,
        .volume = plan->volume.id,
        .group = look->group->id,
        .source = PLAN_NONE,
        .segments = look->group->segments,
        .bytes = look->group->bytes,
        .domain = plan->volume.policy.domain,
        .media = plan->volume.policy.media,
        .fact = PLAN_NONE,
    };
    /* Volumes take turns, and the order is the same in each pass. */
    uint64_t turn =
        (candidate.volume * 0x9e3779b97f4a7c15u + candidate.group) * 0xbf58476d1ce4e5b9u;
    candidate.order = urgency * ORDER_UNIT | turn >> 8;
    return candidate;
}

/* All that the new copy must not be beside; what drains is not chosen anyhow. */
static void stay_fill(const struct plan *plan, const struct look *look, struct candidate *candidate,
                      uint32_t but)
{
    for (uint32_t i = 0; i < look->group->member_count; i++)
        if (i != but && !look->gone[i] && (look->stays[i] || plan->seen[look->index[i]].may_take))
            candidate->stay[candidate->stay_count++] = look->group->members[i].store;
}

/* Fewer copies than wanted are where they may stay. */
static void make_one(struct plan *plan, const struct look *look, uint32_t fact_of_gone)
{
    const struct plan_group *group = look->group;
    uint32_t gone = PLAN_NONE;
    uint32_t goes = PLAN_NONE;
    for (uint32_t i = 0; i < group->member_count; i++) {
        if (look->gone[i] && gone == PLAN_NONE)
            gone = i;
        else if (!look->gone[i] && !look->stays[i] && goes == PLAN_NONE)
            goes = i;
    }
    bool drains = gone == PLAN_NONE && goes != PLAN_NONE;
    uint32_t source = gone != PLAN_NONE ? gone : goes;
    enum plan_why why = gone != PLAN_NONE ? PLAN_WHY_LOST
                        : drains          ? PLAN_WHY_DRAIN
                                          : PLAN_WHY_SHORT;
    uint32_t urgency = MIN(look->alive, ORDER_DRAIN - 1);
    if (MUTANT(262))
        urgency = ORDER_DRAIN - urgency;
    struct candidate candidate =
        candidate_of(plan, look, why, why == PLAN_WHY_DRAIN ? ORDER_DRAIN : urgency);
    candidate.fact = fact_of_gone;
    if (source != PLAN_NONE)
        candidate.source = look->index[source];
    if (why == PLAN_WHY_DRAIN && candidate.source != PLAN_NONE)
        candidate.fact = plan->seen[candidate.source].fact;
    stay_fill(plan, look, &candidate, source);
    plan_candidate_add(plan, &candidate);
}

/* All is well with it: would it be better for the pool if a copy were elsewhere? */
static void balance_one(struct plan *plan, const struct look *look)
{
    uint32_t worst = PLAN_NONE;
    uint64_t worst_ppm = 0;
    for (uint32_t i = 0; i < look->group->member_count; i++) {
        uint32_t index = look->index[i];
        int64_t excess = plan_excess(plan, index);
        if (excess <= 0 || plan->seen[index].candidates >= 4 * plan->settings.moves_per_store_max)
            continue;
        uint64_t ppm = (uint64_t)excess / (plan->seen[index].weight / 1000000 + 1);
        if (ppm > worst_ppm) {
            worst = i;
            worst_ppm = ppm;
        }
    }
    if (worst == PLAN_NONE || look->group->bytes == 0)
        return;
    struct candidate candidate = candidate_of(plan, look, PLAN_WHY_BALANCE, ORDER_BALANCE);
    uint64_t even_ppm = 1000000 - MIN(worst_ppm, 1000000);
    /* In each pass others of those that are alike, for one may find no place. */
    uint64_t turn = (candidate.order << 8) ^ plan->now_ns * 0x9e3779b97f4a7c15u;
    candidate.order = ORDER_BALANCE * ORDER_UNIT | even_ppm << 32 | turn >> 32;
    candidate.source = look->index[worst];
    stay_fill(plan, look, &candidate, worst);
    plan->seen[candidate.source].candidates++;
    plan_candidate_add(plan, &candidate);
}

void plan_group(struct plan *plan, const struct plan_group *group)
{
    struct look look = {.group = group};
    const struct plan_volume *volume = &plan->volume;
    uint32_t wanted = copies_wanted(&volume->policy);
    assert(group->member_count <= METADATA_MEMBERS_MAX);
    for (uint32_t i = 0; i < group->member_count; i++)
        look_at_member(plan, &look, i);
    if (volume->state == METADATA_VOLUME_DELETING)
        return;
    take_back(plan, &look, wanted);
    count_moves(plan, &look);
    plan->volume_least = MIN(plan->volume_least, look.alive);
    uint32_t fact_of_gone = count_faults(plan, &look, wanted);
    count_draining(plan, &look);
    for (uint32_t i = 0; i < group->member_count; i++)
        plan->volume_resync = plan->volume_resync ||
                              (look.answers[i] && group->members[i].state != METADATA_IN_SYNC &&
                               !group->members[i].leaving && look.alive > 0);
    drop_one(plan, &look, wanted);
    if (look.coming > 0 || (look.alive == 0 && !MUTANT(269)))
        return; /* One change at a time; and there must be somebody to copy from. */
    if (look.stay_count < wanted)
        make_one(plan, &look, fact_of_gone);
    else if (plan->balancing && look.safe == wanted && group->member_count == wanted)
        balance_one(plan, &look);
}

/* --- Volumes ---------------------------------------------------------------------------------- */

static void volume_end(struct plan *plan)
{
    const struct plan_volume *volume = &plan->volume;
    if (volume->id == 0 || volume->state == METADATA_VOLUME_DELETING)
        return;
    uint32_t least = plan->volume_least;
    if (least != UINT32_MAX && least < MAX(1, volume->policy.copies_min)) {
        uint32_t fact =
            plan_fact_of(plan, least == 0 ? PLAN_FACT_UNREACHABLE : PLAN_FACT_PAUSED, PLAN_NONE, 0);
        if (fact != PLAN_NONE)
            plan_fact_count(plan, fact, least, copies_wanted(&volume->policy));
    }
    if (plan->volume_resync && !volume->owned && plan->resyncs < plan->settings.resyncs_max) {
        struct plan_action *action = plan_action_new(plan, PLAN_RESYNC);
        if (action != NULL) {
            action->volume = volume->id;
            plan->resyncs++;
        }
    }
}

static void delete_volume(struct plan *plan)
{
    uint32_t fact = plan_fact_of(plan, PLAN_FACT_DELETING, PLAN_NONE, 0);
    if (fact != PLAN_NONE)
        plan_fact_count(plan, fact, 0, 0);
    if (plan->volume.owned || plan->deletes >= plan->settings.deletes_max)
        return;
    struct plan_action *action = plan_action_new(plan, PLAN_DELETE);
    if (action != NULL) {
        action->volume = plan->volume.id;
        plan->deletes++;
    }
}

void plan_volume(struct plan *plan, const struct plan_volume *volume)
{
    volume_end(plan);
    plan->volume = *volume;
    plan->volume_least = UINT32_MAX;
    plan->volume_resync = false;
    if (volume->id != 0 && volume->state == METADATA_VOLUME_DELETING)
        delete_volume(plan);
}

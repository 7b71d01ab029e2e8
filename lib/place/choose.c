/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing. The widest level of domains that is enough for all copies keeps them apart; if none is,
 * the level that was asked for says how many are short.
 *
 * Then from the top of the tree down, one copy after the other. At a domain, of the children with
 * room those are looked at that hold the fewest copies already; the hash proposes some of them, and
 * of those the least full are taken.
 *
 * Room is counted, not guessed: a domain has room while it has more domains of that level that fit
 * than it has such ones that hold a copy. So going down never ends where nothing is, and what the
 * root has room for can be placed.
 */
#include <string.h>

#include "place/internal.h"

/* How many are proposed for each copy: few, so that a domain that is new and empty does not get
 * every new copy; more where each is a small part. Within a node evenness matters more. */
#define CHOICES_MIN 2u
#define CHOICES_MAX 8u
#define CHOICES_SHARE 8u
#define CHOICES_IN_NODE 6u
#define PROPOSED_MAX 128u

struct choice {
    struct place *place;
    uint64_t seed;
    uint64_t load; /* Blocks that a copy adds. */
    uint32_t mask;
    enum place_level level; /* At which copies are kept apart. */
    uint32_t member_count;
    uint32_t members[2 * METADATA_MEMBERS_MAX]; /* Domains of the stores that hold copies. */
};

struct proposed {
    uint32_t at;
    uint64_t neglog;
    uint64_t weight;
};

struct proposal {
    uint32_t count, limit;
    uint32_t least_taken; /* Copies in each of those that were looked at last. */
    uint32_t of;          /* So many there were. */
    struct proposed best[PROPOSED_MAX + 1];
};

/* --- Who holds what ------------------------------------------------------------------------- */

/* Domains of the level that fit, in a domain at or above it; below it, that it fits. */
static uint32_t domain_fits(const struct choice *choice, const struct domain *domain)
{
    uint32_t level = domain->level == PLACE_ROOT ? 0 : domain->level;
    return domain->fit[MAX(level, (uint32_t)choice->level)][choice->mask];
}

static void member_mark(struct choice *choice, uint32_t store_domain)
{
    struct place *place = choice->place;
    uint32_t busy = 0;
    for (uint32_t at = store_domain; at != PLACE_ROOT; at = place->domains[at].parent) {
        struct domain *domain = &place->domains[at];
        bool first = place->taken[at]++ == 0;
        if (domain->level != PLACE_ROOT && domain->level > (uint32_t)choice->level)
            place->busy[at] = domain_fits(choice, domain) > 0;
        else {
            if (domain->level == (uint32_t)choice->level)
                busy = first && domain_fits(choice, domain) > 0;
            place->busy[at] = (uint16_t)(place->busy[at] + busy);
        }
    }
    assert(choice->member_count < COUNT_OF(choice->members));
    choice->members[choice->member_count++] = store_domain;
}

static void members_clear(struct choice *choice)
{
    struct place *place = choice->place;
    for (uint32_t i = 0; i < choice->member_count; i++)
        for (uint32_t at = choice->members[i]; at != PLACE_ROOT; at = place->domains[at].parent) {
            place->taken[at] = 0;
            place->busy[at] = 0;
        }
    choice->member_count = 0;
}

/* Below the level a domain has room if it fits: the one above it holds no copy, or nobody
 * would have come here. */
static uint32_t domain_room(const struct choice *choice, uint32_t at)
{
    const struct domain *domain = &choice->place->domains[at];
    uint32_t fits = domain_fits(choice, domain);
    if (MUTANT(250))
        return fits;
    if (domain->level != PLACE_ROOT && domain->level > (uint32_t)choice->level)
        return choice->place->taken[at] == 0 ? fits : 0;
    return fits - MIN(fits, choice->place->busy[at]);
}

/* --- Drawing -------------------------------------------------------------------------------- */

/* a's cost is below b's: neglog / weight, without dividing. */
static bool cheaper(const struct proposed *a, const struct proposed *b)
{
    return (place_wide)a->neglog * b->weight < (place_wide)b->neglog * a->weight;
}

static void propose(const struct choice *choice, struct proposal *proposal, uint32_t at,
                    uint64_t weight)
{
    uint64_t hash = place_mix(choice->seed ^ choice->place->odds[at].key);
    struct proposed new = {
        .at = at, .neglog = place_neglog_least(hash), .weight = MUTANT(251) ? 1 : weight};
    bool full = proposal->count == proposal->limit;
    if (full && !cheaper(&new, &proposal->best[proposal->count - 1]))
        return;
    new.neglog = place_neglog(choice->place->logs, hash);
    if (full && !cheaper(&new, &proposal->best[proposal->count - 1]))
        return;
    uint32_t i = full ? proposal->count - 1 : proposal->count++;
    for (; i > 0 && cheaper(&new, &proposal->best[i - 1]); i--)
        proposal->best[i] = proposal->best[i - 1];
    proposal->best[i] = new;
}

static uint32_t choices(const struct domain *parent)
{
    if (parent->level == PLACE_NODE)
        return CHOICES_IN_NODE;
    return MAX(CHOICES_MIN, MIN(CHOICES_MAX, parent->count / CHOICES_SHARE));
}

/* Of the children that have room and hold the fewest copies: those with the least costs. */
static void propose_children(const struct choice *choice, uint32_t parent, uint32_t limit,
                             struct proposal *proposal)
{
    const struct domain *domain = &choice->place->domains[parent];
    proposal->count = 0;
    proposal->of = 0;
    proposal->limit = MIN(limit, PROPOSED_MAX);
    proposal->least_taken = UINT32_MAX;
    for (uint32_t at = domain->first; at < domain->first + domain->count; at++) {
        uint64_t weight = odds_weight(&choice->place->odds[at], choice->mask);
        uint32_t taken = MUTANT(252) ? 0 : choice->place->taken[at];
        if (weight == 0 || taken > proposal->least_taken ||
            (choice->place->taken[at] > 0 && domain_room(choice, at) == 0))
            continue;
        if (taken < proposal->least_taken) {
            proposal->least_taken = taken;
            proposal->count = 0;
            proposal->of = 0;
        }
        proposal->of++;
        propose(choice, proposal, at, weight);
    }
}

/* Full as they will be with the copy; the cheaper first if they are equal. */
static bool emptier(const struct choice *choice, const struct proposed *a, const struct proposed *b)
{
    const struct domain *domains = choice->place->domains;
    place_wide left = domain_load(&domains[a->at], choice->mask) + choice->load;
    place_wide right = domain_load(&domains[b->at], choice->mask) + choice->load;
    left *= b->weight;
    right *= a->weight;
    return left != right ? left < right : cheaper(a, b);
}

/* The `count` least full of the proposed to the front. */
static void take_emptiest(const struct choice *choice, struct proposal *proposal, uint32_t count)
{
    if (MUTANT(253))
        return;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t least = i;
        for (uint32_t j = i + 1; j < proposal->count; j++)
            if (emptier(choice, &proposal->best[j], &proposal->best[least]))
                least = j;
        struct proposed best = proposal->best[least];
        proposal->best[least] = proposal->best[i];
        proposal->best[i] = best;
    }
}

/* --- Going down ----------------------------------------------------------------------------- */

/* One copy beneath a domain that has room. Returns the store's domain. */
static uint32_t descend(struct choice *choice, uint32_t at, struct proposal *proposal)
{
    const struct domain *domains = choice->place->domains;
    while (domains[at].level != PLACE_STORE) {
        if (domains[at].count == 1) {
            at = domains[at].first;
            continue;
        }
        propose_children(choice, at, choices(&domains[at]), proposal);
        assert(proposal->count > 0);
        take_emptiest(choice, proposal, 1);
        at = proposal->best[0].at;
    }
    member_mark(choice, at);
    return at;
}

/* `count` copies beneath the root, which has room for them. */
static void descend_all(struct choice *choice, uint32_t count)
{
    const struct domain *domains = choice->place->domains;
    struct proposal proposal;
    struct proposal below;
    while (count > 0) {
        uint32_t at = 0;
        /* Levels that nobody named are no choice, and are not drawn again for each copy. */
        while (domains[at].count == 1 && domains[domains[at].first].level < (uint32_t)choice->level)
            at = domains[at].first;
        propose_children(choice, at, choices(&domains[at]) * count, &proposal);
        assert(proposal.count > 0);
        uint32_t some = MIN(count, proposal.of);
        take_emptiest(choice, &proposal, some);
        for (uint32_t i = 0; i < some; i++)
            (void)descend(choice, proposal.best[i].at, &below);
        count -= some;
    }
}

/* The deepest domain of the tree that is where the hint says, and has room; 0 if none is. */
static uint32_t hinted(const struct choice *choice, const struct place_hint *hint)
{
    const struct place *place = choice->place;
    uint64_t zone = place_key(0, hint->zone == NULL ? "" : hint->zone);
    uint64_t rack = place_key(zone, hint->rack == NULL ? "" : hint->rack);
    uint64_t node = hint->node == NULL ? 0 : place_node_key(hint->node);
    const uint64_t keys[] = {[PLACE_ZONE] = zone, [PLACE_RACK] = rack, [PLACE_NODE] = node};
    const bool given[] = {
        [PLACE_ZONE] = hint->zone != NULL && hint->zone[0] != '\0',
        [PLACE_RACK] = hint->rack != NULL && hint->rack[0] != '\0',
        [PLACE_NODE] = hint->node != NULL && hint->node[0] != '\0',
    };
    for (uint32_t level = PLACE_STORE; level-- > 0;) {
        if (!given[level])
            continue;
        for (uint32_t at = place->level_first[level]; at < place->level_first[level + 1]; at++)
            if (place->odds[at].key == keys[level] && domain_room(choice, at) > 0)
                return at;
    }
    return 0;
}

/* Keeps the copies apart at the widest level that has room for `more` beside those on `members`,
 * which are marked. False if not even the level that was asked for has. */
static bool choice_init(struct choice *choice, struct place *place,
                        const struct place_request *request, const uint64_t *members,
                        uint32_t member_count, uint32_t more)
{
    *choice = (struct choice){
        .place = place,
        .seed = place_seed(request->volume, request->group),
        .load = place_load_of(0, request->bytes) / BLOCK_BYTES,
        .mask = place_mask(request->media),
    };
    for (uint32_t level = MUTANT(252) ? request->domain : PLACE_ZONE;; level++) {
        choice->level = (enum place_level)level;
        for (uint32_t i = 0; i < member_count; i++) {
            uint32_t index = place_index(place, members[i]);
            if (index != UINT32_MAX)
                member_mark(choice, place->leaves[index].domain);
        }
        if (domain_room(choice, 0) >= more)
            return true;
        if (level == (uint32_t)request->domain)
            return false;
        members_clear(choice);
    }
}

static int refuse(const struct choice *choice, uint32_t copies, struct place_refusal *ret_refusal)
{
    char text[PLACE_TEXT_BYTES];
    struct place_refusal refusal = place_refusal_of(choice->place, choice->level, choice->mask);
    refusal.held = choice->place->busy[0];
    refusal.wanted = copies;
    if (ret_refusal != NULL)
        *ret_refusal = refusal;
    return FAIL(-ENOSPC, "%s", place_refusal_text(&refusal, text));
}

int place_choose(struct place *place, const struct place_request *request, uint64_t *ret_stores,
                 struct place_refusal *ret_refusal)
{
    struct choice choice;
    struct proposal proposal;
    uint32_t copies = request->copies;
    assert(copies >= 1 && copies <= METADATA_MEMBERS_MAX);
    if (!choice_init(&choice, place, request, NULL, 0, copies))
        return refuse(&choice, copies, ret_refusal);
    uint32_t near = hinted(&choice, &request->hint);
    if (near != 0)
        (void)descend(&choice, near, &proposal);
    descend_all(&choice, copies - choice.member_count);
    for (uint32_t i = 0; i < copies; i++)
        ret_stores[i] = place->leaves[place->leaf_of[choice.members[i]]].id;
    members_clear(&choice);
    return 0;
}

int place_another(struct place *place, const struct place_request *request, const uint64_t *members,
                  uint32_t member_count, uint64_t *ret_store, struct place_refusal *ret_refusal)
{
    struct choice choice;
    struct proposal proposal;
    int result = 0;
    assert(member_count <= METADATA_MEMBERS_MAX);
    if (choice_init(&choice, place, request, members, member_count, 1))
        *ret_store = place->leaves[place->leaf_of[descend(&choice, 0, &proposal)]].id;
    else
        result = refuse(&choice, choice.member_count + 1, ret_refusal);
    members_clear(&choice);
    return result;
}

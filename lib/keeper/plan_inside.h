/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of plan share. */
#ifndef KEEPER_PLAN_INSIDE_H
#define KEEPER_PLAN_INSIDE_H

#include "keeper/plan.h"

#define PLAN_CANDIDATES_MAX 4096u
#define PLAN_FULL_PPM 850000u
#define PLAN_NONE UINT32_MAX

struct seen {
    bool out;            /* Is, or is from now on. */
    bool may_take;       /* Up, and answers. */
    uint32_t node;       /* place's index of its node. */
    uint64_t weight;     /* Bytes; place's own may be set to something else meanwhile. */
    uint32_t moves;      /* On their way, in or out. */
    uint32_t candidates; /* To balance, that are kept. */
    uint32_t copies;     /* It holds, by the metadata. */
    uint64_t copy_bytes; /* Of those. */
    uint32_t fact;       /* PLAN_FACT_DRAINING of it; PLAN_NONE. */
};

/* A copy that is to be made. */
struct candidate {
    uint64_t order; /* The least is the most urgent. */
    enum plan_why why;
    bool done;
    uint64_t volume;
    uint32_t group;
    uint32_t source; /* Store's index; PLAN_NONE. */
    uint32_t segments;
    uint64_t bytes;
    enum metadata_domain domain;
    uint32_t media;
    uint32_t fact;
    uint32_t stay_count; /* Members but the source. */
    uint64_t stay[METADATA_MEMBERS_MAX];
};

/* Fullness of the stores of one medium. */
struct evenness {
    uint64_t load, weight; /* MiB, of those that may take. */
    uint32_t off_ppm;      /* The farthest from even. */
};

struct plan {
    struct plan_settings settings;
    const struct plan_store *stores; /* The caller's, in the caller's order. */
    uint32_t store_count;
    uint32_t *told_at; /* Of each store of `place`, its index in `stores`. */
    uint64_t now_ns;
    bool held;
    bool balancing_before, balancing;
    struct place *place;
    struct seen *seen; /* By place's index, as all indices but plan_fact.store. */
    struct evenness even[3];

    struct plan_volume volume;
    bool volume_resync;
    uint32_t volume_least; /* Fewest copies in sync that answer, of its groups. */
    uint32_t volume_copies;
    uint32_t resyncs, deletes;
    uint32_t moves;         /* On their way in the pool. */
    uint32_t balance_moves; /* Of those, from stores that are up. */
    uint64_t bytes_left;

    uint32_t candidate_count;
    struct candidate *candidates; /* A heap while groups are told, the least urgent first. */
    uint32_t action_count;
    struct plan_action *actions;
    uint32_t fact_count;
    struct plan_fact facts[PLAN_FACTS_MAX];
    uint64_t fact_volume[PLAN_FACTS_MAX]; /* That was counted last. */
};

static inline const struct plan_store *plan_told(const struct plan *plan, uint32_t index)
{
    return &plan->stores[plan->told_at[index]];
}

/* NULL: there is no room for more. */
struct plan_action *plan_action_new(struct plan *plan, enum plan_action_kind kind);

void plan_candidate_add(struct plan *plan, const struct candidate *candidate);

/* Finds a fact of that kind, store (place's index) and reason, or makes it. PLAN_NONE: full. */
uint32_t plan_fact_of(struct plan *plan, enum plan_fact_kind kind, uint32_t store, uint32_t reason);
/* Counts the volume that is told now. */
void plan_fact_count(struct plan *plan, uint32_t fact, uint32_t missing, uint32_t copies);
/* What groups do not say; sorts. */
void plan_facts_end(struct plan *plan);

/* By medium, of what the tree says now. */
void plan_evenness(struct plan *plan);
/* Bytes that a store has more than even; below 0: fewer. */
int64_t plan_excess(const struct plan *plan, uint32_t index);
void plan_balance(struct plan *plan);
bool plan_move_fits(const struct plan *plan, uint32_t source, uint32_t target);
void plan_move_begin(struct plan *plan, const struct candidate *candidate, uint32_t target);

#endif

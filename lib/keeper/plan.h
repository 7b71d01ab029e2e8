/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan: what the keeper should do, and what is wrong with the pool, from one look at its metadata.
 *
 * Owns a picture of the stores and sums over the groups; the groups themselves are told one by one
 * and not kept, so a pass over 100,000 of them needs a few megabytes.
 *
 * Promises:
 *   - The same picture and time give the same plan.
 *   - Nothing is decided that could lose data: no copy goes before as many as the policy wants are
 *     in sync elsewhere, and what no copy in sync answers for is left alone.
 *   - A store that does not answer is out after a time, but not when so many are silent at once
 *     that the network is the likelier cause.
 *   - Moves stay within the limits, the most urgent first; those that run already count.
 *   - Groups move whole. One that is more than twice what a store has too much, or another lacks,
 *     stays for balance: a group is not split (lib/README.md says why).
 *
 * One pass:  plan_open()  { plan_volume() { plan_group() } }  plan_decide()
 *            then plan_actions(), plan_facts() and what follows them, plan_close().
 *
 * Pure: time is a number; memory is taken at plan_open(), nowhere else. One thread.
 */
#ifndef KEEPER_PLAN_H
#define KEEPER_PLAN_H

#include "base/base.h"
#include "format/metadata.h"
#include "place/place.h"

#define PLAN_ACTIONS_MAX 16384u /* In one pass; the next goes on. */
#define PLAN_FACTS_MAX 256u     /* More are not told apart. */
#define PLAN_TEXT_BYTES 640u

/* --- What is told ----------------------------------------------------------------------------- */

struct plan_settings {
    uint64_t out_after_ns;
    uint32_t moves_per_store_max; /* Copies on their way into or out of one store. */
    uint32_t moves_per_pool_max;
    uint64_t store_bytes_max; /* A second, into or out of one store. */
    uint64_t pool_bytes_max;  /* A second. */
    /* How far from even fullness may be before balancing begins, and where it ends; in parts of a
     * million of capacity. */
    uint32_t balance_start_ppm, balance_stop_ppm;
    uint32_t deletes_max; /* Volumes deleted at a time. */
    uint32_t resyncs_max; /* Volumes without a coordinator brought up to date at a time. */
};

/* As the pool's record says, or as built where it says nothing. */
struct plan_settings plan_settings_of(const struct metadata_cluster *cluster, size_t store_count);

struct plan_store {
    struct place_store record; /* Its names are borrowed until plan_close(). */
    uint32_t state_reason;     /* enum metadata_reason. */
    bool answers;
    bool drains;              /* It is out, and is to be emptied when it is back. */
    uint64_t silent_since_ns; /* If it does not. */
};

struct plan_volume {
    uint64_t id;
    enum metadata_volume_state state;
    bool owned; /* It has a coordinator. */
    struct metadata_policy policy;
    uint32_t groups;
};

struct plan_member {
    uint64_t store;
    enum metadata_member_state state;
    uint32_t reason; /* enum metadata_reason. */
    uint64_t since_ns;
    bool leaving;
    uint64_t bytes_left; /* While it catches up; UINT64_MAX: not known, and is all of it. */
};

struct plan_group {
    uint32_t id;
    uint32_t segments;
    uint64_t bytes; /* That a copy has, as stores say; of a thin volume less than its segments. */
    uint32_t member_count;
    struct plan_member members[METADATA_MEMBERS_MAX];
};

/* --- What is decided -------------------------------------------------------------------------- */

enum plan_action_kind {
    PLAN_STORE_OUT, /* `source` has been silent too long. */
    PLAN_STORE_UP,  /* `source` was out for being silent, and answers: up, or draining again. */
    PLAN_ADD,       /* A copy on `target`; `source`, if not 0, leaves once it is in sync. */
    PLAN_DROP,      /* The copy on `source`: enough others are in sync. */
    PLAN_RESYNC,    /* A volume that has no coordinator: become it, until a client wants it. */
    PLAN_DELETE,    /* A volume's data, then its records. */
};

enum plan_why {
    PLAN_WHY_LOST,    /* A copy was on a store that is out or gone. */
    PLAN_WHY_SHORT,   /* There are fewer copies than the policy wants. */
    PLAN_WHY_DRAIN,   /* The store is to be emptied. */
    PLAN_WHY_BALANCE, /* The store is fuller than others. */
};

struct plan_action {
    enum plan_action_kind kind;
    enum plan_why why; /* Of PLAN_ADD. */
    uint64_t volume;
    uint32_t group;
    uint64_t source, target; /* Stores; 0: none. */
    uint64_t bytes;          /* To copy. */
    uint64_t bytes_second;   /* That this move may take. */
};

struct plan;

/*
 * @stores     borrowed until plan_close(), as are the names in them
 * @now_ns     of the clock of silent_since_ns and since_ns
 * @balancing  what plan_balancing() said after the pass before; false for the first
 *
 * 0, -ENOMEM, or -EINVAL with a sentence as place_init() says.
 */
int plan_open(const struct plan_settings *settings, const struct plan_store *stores, size_t count,
              uint64_t now_ns, bool balancing, struct plan **ret_plan);
void plan_close(struct plan *plan); /* NULL is fine. */

/* A volume, then each of its groups. */
void plan_volume(struct plan *plan, const struct plan_volume *volume);
void plan_group(struct plan *plan, const struct plan_group *group);
void plan_decide(struct plan *plan);

/* In the order in which they are to be done. Until plan_close(). */
const struct plan_action *plan_actions(const struct plan *plan, size_t *ret_count);
bool plan_balancing(const struct plan *plan);
/* What a copy that is on its way may take a second, now that others begin. 0: of such stores none
 * is on its way. */
uint64_t plan_bytes_second(const struct plan *plan, uint64_t source, uint64_t target);

/* May a store be removed from the pool? `text` says why not, or that it may. */
bool plan_removal(const struct plan *plan, uint64_t store, char text[PLAN_TEXT_BYTES]);

/* --- What is wrong ---------------------------------------------------------------------------- */

/* The most severe first. */
enum plan_fact_kind {
    PLAN_FACT_UNREACHABLE, /* No copy in sync answers: I/O waits. */
    PLAN_FACT_PAUSED,      /* Fewer than copies_min are in sync: writes wait. */
    PLAN_FACT_HELD,        /* So many stores are silent that nothing is replaced. */
    PLAN_FACT_STALE,       /* Copies are not in sync because of a node. */
    PLAN_FACT_SHORT,       /* Fewer copies than the policy wants, for no store's sake. */
    PLAN_FACT_SILENT,      /* A node's stores do not answer, and hold no copy. */
    PLAN_FACT_FULL,
    PLAN_FACT_DRAINING,
    PLAN_FACT_BALANCING,
    PLAN_FACT_DELETING,
    PLAN_FACT_FAILED, /* A device failed under a store: somebody must say what becomes of it. */
};

/* What is done about it, and to how many copies. */
struct plan_doing {
    uint32_t running; /* Being copied, those that begin now included. */
    uint32_t queued;  /* Wait for their turn. */
    uint32_t waiting; /* For the store to come back, or to be out. */
    uint32_t nowhere; /* Have no place to go: plan_fact.refusal. */
    uint32_t owner;   /* Up to the coordinator, or to the keeper as one. */
    uint64_t bytes_left;
    uint64_t bytes_most; /* Of one copy: no limit of the pool makes that faster. */
};

struct plan_fact {
    enum plan_fact_kind kind;
    uint32_t store;  /* Index into the stores: of the node, or the one; UINT32_MAX: of none. */
    uint32_t reason; /* enum metadata_reason. */
    bool out;        /* The store is. */
    uint64_t since_ns;
    uint64_t volume; /* The first one; the only one if `volumes` is 1. */
    uint32_t volumes;
    uint32_t groups;
    uint32_t missing, copies; /* Copies missing of those wanted, where it is worst. */
    uint32_t stores;          /* HELD, FULL. */
    uint32_t ppm;             /* FULL: of the fullest; BALANCING: how far from even. */
    struct plan_doing doing;
    uint64_t out_in_ns;    /* Waiting: until the store is out. */
    uint64_t seconds_left; /* UINT64_MAX: not known. */
    struct place_refusal refusal;
};

/* Sorted. Until plan_close(). None: all is well. */
const struct plan_fact *plan_facts(const struct plan *plan, size_t *ret_count);

/* "1 of 3 copies of 14 volumes are out of date because node b has not answered for 3 minutes; they
 * are copied to other stores, 12 minutes left". Returns `text`. */
const char *plan_fact_text(const struct plan *plan, const struct plan_fact *fact,
                           char text[PLAN_TEXT_BYTES]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper: repairs, balances and empties the stores of a pool, deletes what is deleted, and brings
 * volumes up to date that nobody has open.
 *
 *   WAIT for the key ──▶ LEAD: every few seconds, and soon after something changed, a pass:
 *     ▲                          SURVEY (one look at the metadata) ──▶ plan ──▶ its actions ──┐
 *     └── the key or the session is gone, or may be: it stops at once ◀───────────────────────┘
 *
 * One keeper at a time in a pool: whoever has put the key `keeper`, which goes with its session.
 * Every change that it makes compares that key, so one that was replaced changes nothing.
 *
 * What it wants of a group of a volume it writes down (wish/<volume>/<group>), and whoever owns the
 * volume does it. Of a volume without an owner it becomes one, as such that yields: whoever wants
 * the volume takes it as if nobody had it, and the keeper is fenced.
 *
 * Owns nothing between two passes but since when each store is silent, and tells that in their
 * records for the keeper after it. A pass needs a few megabytes, whatever the pool.
 *
 * Thread: the engine's. Nothing blocks. Allocates: yes.
 */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include "keeper/plan.h"
#include "volume/catalog.h"

struct keeper;

struct keeper_options {
    struct meta *meta;
    struct clock *clock;
    struct catalog *catalog; /* Of a cluster, open, not read-only; it outlives the keeper. */
    /* 0: 5 s between passes while something is going on or waits, 60 s else; 250 ms after a change,
     * and no more often than every second. */
    uint64_t busy_ns, idle_ns, soon_ns, least_ns;
    void (*event)(void *context, const struct catalog_event *event); /* NULL is fine. */
    void *context;
};

/* 0 or -ENOMEM. It begins to wait for the key. */
int keeper_open(const struct keeper_options *options, struct keeper **ret_keeper);
/* Gives the key back, lets go of volumes; `done` when nothing of it is under way: it is gone then.
 * Close the catalog after it. */
void keeper_close(struct keeper *keeper, void (*done)(void *context), void *context);
/* Once per engine turn, before catalog_turn(). */
void keeper_turn(struct keeper *keeper);

struct keeper_look {
    bool leads;
    uint64_t passes;  /* Since it leads. */
    uint64_t pass_ns; /* The last one took, from its beginning to its end. */
    uint32_t kept;    /* Volumes that it has open. */
    uint32_t wishes;  /* That wait for an owner, or are being done. */
    uint32_t facts;   /* Things that are wrong, by the last pass. */
    uint64_t stores_out, stores_up, adds, drops, deletes; /* Begun since it leads. */
};
void keeper_look(const struct keeper *keeper, struct keeper_look *ret_look);

#endif

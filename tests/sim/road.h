/* SPDX-License-Identifier: Apache-2.0 */
/*
 * road: a port to a part that is on another machine, as a coordinator sees it through a bad net.
 *
 *   request ──(delay, lost)──▶ the store's own port ──▶ answer ──(delay, lost)──▶ done
 *
 * A request travels as a copy of all that it points to, so that the coordinator's memory is free as
 * soon as it was told. A session that breaks ends what is under way with -ECONNRESET at the near
 * end; at the far end what was on its way may still arrive, or not.
 */
#ifndef SIM_ROAD_H
#define SIM_ROAD_H

#include "part/part.h"
#include "sim/worlds.h"

struct road_faults {
    uint64_t delay_ns_min, delay_ns_max; /* Each way. */
    uint32_t slow_one_in;                /* 50 times that. */
    uint32_t lost_one_in;                /* The session stalls: nothing comes until it breaks. */
    uint32_t reset_one_in;               /* The session breaks at once. */
    uint32_t twice_one_in;               /* It comes once more, later; that is not answered. */
};

struct road_counts {
    uint64_t requests, answers, resets, stalls, cancelled, late;
};

struct road {
    struct part_port port; /* What the coordinator sees. */
    struct worlds *worlds;
    struct world *near, *far; /* Where the coordinator and the store are. */
    struct part_port *to;     /* The store's own; NULL: its process does not run. */
    struct prng prng;
    struct road_faults faults;
    struct road_counts counts;
    bool cut_there, cut_back;  /* What is sent that way waits. */
    bool orphaned;             /* The process that had the session at the far end is gone. */
    bool stalled;              /* Nothing comes through until the session breaks. */
    uint32_t held_there;       /* Kinds of requests that wait on their way, a bit each, */
    uint32_t held_back;        /* and of answers. */
    uint64_t silent_ns;        /* A silent session breaks after so long. */
    uint64_t last_ns;          /* What is sent comes in order, */
    uint64_t last_back_ns;     /* either way. */
    struct world_event change; /* In the near world's queue: it breaks, or connects. */
    bool changing;
    struct list requests; /* struct road_request: all there are. */
};

/* `changed` and `context` of road->port are the caller's to set. */
void road_close(struct road *road);
void road_open(struct road *road, struct worlds *worlds, struct world *near, struct world *far,
               uint64_t store, uint64_t seed);
/* The coordinator's process died: nothing more is told it. */
void road_near_died(struct road *road);
/* The store's process died, or its machine (silent): its port is gone; what it was doing is never
 * answered. */
void road_far_died(struct road *road, bool silent);
/* The store's process runs: it can be connected to. */
void road_far_lives(struct road *road, struct part_port *to, uint64_t incarnation);
/* The session breaks soon, if there is one. It connects again by itself. */
void road_reset(struct road *road);
/* At once. */
void road_break(struct road *road);
/* What waited because it was cut goes on when it is not any more. */
void road_cut(struct road *road, bool there, bool back);
/* From now on requests of these kinds (1u << kind) wait on their way there, and answers back; none:
 * what comes from now on passes those that wait. Whatever breaks or dies, a request that waits is
 * still on its way. */
void road_hold(struct road *road, uint32_t there, uint32_t back);
/* They go on, and nothing is held any more. */
void road_release(struct road *road);

#endif

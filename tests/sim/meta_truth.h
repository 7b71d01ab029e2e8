/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata of a simulated cluster: one truth in memory, and a handle for each engine.
 *
 * What meta/etcd promises is promised here, and what it leaves open is drawn: how long a request
 * travels, when the answer comes. A handle may be cut off. What it then asks waits, and ends as
 * -ETIMEDOUT; a change that was on its way is IOMESH_UNKNOWN: it happened, or never does, or
 * happens later, after its owner was told and has perhaps read that it did not.
 *
 * One thread; time is the clock's; everything comes from the seed.
 */
#ifndef SIM_META_TRUTH_H
#define SIM_META_TRUTH_H

#include "host/clock.h"
#include "meta/history.h"

struct truth_key {
    uint8_t *bytes; /* The key, then its value. */
    size_t key_length;
    size_t value_length;
    uint64_t created;
    uint64_t modified;
    uint64_t lease;
};

struct truth {
    struct clock *clock;
    struct prng prng;
    struct truth_key *keys; /* In order. */
    uint32_t key_count;
    uint32_t key_capacity;
    uint64_t revision;
    uint64_t lease_next;
    struct list leases;  /* struct truth_lease. */
    struct list handles; /* struct truth_handle. */
    struct list ghosts;  /* struct truth_flight: told as unknown, and yet to happen. */
    uint64_t late;       /* Ghosts that happened. */
};

struct truth_options {
    uint64_t wait_ns;      /* As meta_etcd_options has it. */
    uint64_t delay_ns_max; /* Of each way. */
    uint64_t late_ns_max;  /* How much later a ghost may come. */
    void (*wakeup)(void *context);
    void *wakeup_context;
};

void truth_init(struct truth *truth, struct clock *clock, uint64_t seed);
/* Every handle is closed. */
void truth_done(struct truth *truth);
/* A handle, or NULL if there is no memory. meta_close() ends it; leases live on. */
struct meta *truth_open(struct truth *truth, const struct truth_options *options);
/* Cuts a handle off, or lets it reach the truth again. */
void truth_reach(struct meta *meta, bool reachable);

#endif

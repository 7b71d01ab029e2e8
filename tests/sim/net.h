/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_net: a net that is a queue, with faults laid over it.
 *
 *   net_send() ──▶ taken in pieces, when the pipe has room ──▶ under way ──▶ arrived ──▶ read
 *                  (the sender's memory is read only then)        │
 *                                   a cut or a pause holds it here: in order, nothing overtakes
 *
 * A stream is a stream: what is lost comes late, or the stream breaks. Bytes may change on the way,
 * and whole sends of an earlier time may come again between two others: whoever reads must notice.
 * The memory of a receive holds garbage until it is filled.
 *
 * Hosts have names; addresses are "HOST:PORT". Each host has a `struct net` to hand to the shipped
 * objects that live there.
 */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "sim/world.h"

#define SIM_HOSTS_MAX 16u
#define SIM_OLD_SENDS 16u

/* Chances are one in so many pieces, or sends; 0: never. All may be changed at any time. */
struct sim_net_faults {
    uint64_t delay_ns_min, delay_ns_max; /* Of a piece. */
    uint64_t bytes_per_s;                /* 0: no limit. */
    uint32_t window_min, window_max;     /* Of new streams: bytes between sender and reader. */
    uint32_t lost_one_in;                /* It is sent again, and comes lost_ns later. */
    uint64_t lost_ns;
    uint32_t slow_one_in; /* 20 times the delay. */
    uint32_t corrupt_one_in;
    uint32_t reset_one_in;   /* A part of the piece comes, then both ends break. */
    uint32_t silent_one_in;  /* From this piece on nothing comes through, in either direction. */
    uint32_t repeat_one_in;  /* Before this send an old one comes again: of an earlier stream of */
    uint32_t refuse_one_in;  /* the same hosts, or of this one. Connecting: refused. */
    uint64_t give_up_ns;     /* A sender whose bytes do not arrive breaks after so long. */
    uint64_t connect_ns_max; /* Connecting to who does not answer ends after so long. */
};

struct sim_net_counts {
    uint64_t streams, pieces, bytes;
    uint64_t lost, corrupted, resets, silenced, repeated, refused, given_up, held;
};

struct sim_net;

struct sim_host {
    struct net net;
    struct sim_net *owner;
    char name[16];
    unsigned index;
    bool paused;
};

struct sim_old_send {
    uint8_t *bytes;
    size_t length;
    unsigned from, to;
};

struct sim_net {
    struct world *world;
    struct prng latency, chance;
    struct sim_net_faults faults;
    struct sim_net_counts counts;
    struct sim_host hosts[SIM_HOSTS_MAX];
    unsigned host_count;
    bool cut[SIM_HOSTS_MAX][SIM_HOSTS_MAX]; /* From, to. */
    struct list listeners;
    struct list flows;
    struct sim_old_send old[SIM_OLD_SENDS];
    unsigned old_next;
};

struct sim_net *sim_net_open(struct world *world);
/* Everything on it was closed, and the world has come to rest. */
void sim_net_close(struct sim_net *net);
/* No fault at all, and what is held goes on. */
void sim_net_calm(struct sim_net *net);
struct sim_host *sim_host_open(struct sim_net *net, const char *name);
/* Nothing goes from one host to the other; what is under way waits. */
void sim_net_cut(struct sim_net *net, const struct sim_host *from, const struct sim_host *to,
                 bool cut);
/* Its end of every stream stands still: takes nothing, reads nothing. */
void sim_host_pause(struct sim_host *host, bool paused);
/* Both ends of every stream between two hosts break. */
void sim_net_reset(struct sim_net *net, const struct sim_host *one, const struct sim_host *other);
/* Streams of which an end is open. */
unsigned sim_net_streams(const struct sim_net *net);

#endif

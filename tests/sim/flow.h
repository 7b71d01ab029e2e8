/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of the false net, for its own files only. */
#ifndef SIM_FLOW_H
#define SIM_FLOW_H

#include "sim/net.h"

#define PIECE_BYTES_MAX (128u << 10)

struct sim_piece {
    struct list node;
    uint64_t at_ns;
    uint32_t length, read;
    bool last; /* The sender closed behind it. */
    uint8_t bytes[];
};

struct sim_flow;

/* One end of a stream, and the way from here to the other end. */
struct sim_end {
    struct net_stream net;
    struct sim_flow *flow;
    struct sim_host *host;
    struct sim_end *other;
    int error; /* Once set it stays. */
    bool open, closing;
    bool wanted;                                    /* A fill or receive is under way. */
    bool take_set, arrive_set, read_set, close_set; /* The events below. */

    struct list sends; /* struct iomesh_send */
    uint32_t sent_parts;
    size_t sent_bytes;
    struct world_event take;

    struct list under_way, arrived; /* struct sim_piece: from here to the other end. */
    uint32_t piped;                 /* Bytes in both. */
    uint64_t free_ns;               /* The line is free for the next piece then. */
    uint64_t held_ns;               /* Since when nothing gets through; 0: it does. */
    struct world_event arrive;

    uint8_t *buffer;
    uint32_t buffer_bytes, begin, end;
    uint8_t *target;
    uint32_t target_left, fill_bytes;
    net_done_fn *done;
    void *context;
    struct world_event read;

    net_done_fn *closed;
    void *closed_context;
    struct world_event close;
    char name[64];
};

struct sim_flow {
    struct sim_net *owner;
    struct list node; /* In net->flows. */
    struct sim_end ends[2];
    uint32_t window;
    uint32_t events; /* Set, or running. */
    bool silent;
};

struct sim_flow *flow_open(struct sim_host *from, struct sim_host *to,
                           const struct net_options *from_options,
                           const struct net_options *to_options);
/* Frees it once nobody uses it any more. */
void flow_check(struct sim_flow *flow);
void flow_free(struct sim_flow *flow);
/* It breaks for this end: now or, if the other end said so, once what came before was read. */
void flow_break(struct sim_end *end, int error);
/* A cut or a pause may be over. */
void flow_wake(struct sim_flow *flow);

#endif

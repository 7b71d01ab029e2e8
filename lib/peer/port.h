/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer port, for the files of this room only.
 *
 *             ┌────────────────────── back-off ─────────────────────┐
 *             ▼                                                     │
 *      DOWN ──▶ CONNECTING (stream, HELLO, WELCOME) ──▶ UP ──▶ DOWN (the stream closes; then all
 *                     │                                  requests end)   ▲
 *                     └──────────────────────────────────────────────────┘
 *
 * A request waits in `waiting`, flies in a slot, or waits in `ending` for its `done`:
 *
 *      WAITING ──▶ FLYING ──▶ done          answered, and its memory is not being sent
 *         │           │  └──▶ ENDING        canceled, and its memory is neither sent nor received
 *         └───────────┴─────▶ ENDING        the session ended, the stream is closed
 */
#ifndef PEER_PORT_H
#define PEER_PORT_H

#include "peer/link.h"
#include "peer/peer.h"

/* RESYNC has pieces of data between blocks that are no data: header, aside, and those. */
#define SLOT_PARTS_MAX (2 + PART_BLOCKS_MAX / 2)
#define SLOT_ASIDE_BYTES (PART_BLOCKS_MAX * WIRE_VERSION_BYTES + 512)

enum request_where { REQUEST_WAITING = 1, REQUEST_FLYING, REQUEST_ENDING };

struct slot {
    struct peer_port *port;
    struct part_request *request; /* NULL: free, or canceled and the answer is not here. */
    uint64_t number;
    uint64_t bytes;       /* Of data, in the window. */
    uint64_t canceled_ns; /* When it was; its memory is still in use. 0: it was not. */
    struct list node;     /* In `free`, if not busy. */
    struct iomesh_send send;
    int result;
    uint32_t generation;
    uint16_t count;
    uint8_t kind;
    bool busy;
    bool sending;
    bool answered;
    bool large; /* It has the port's large aside. */
    uint8_t header[WIRE_HEADER_BYTES];
    struct iovec parts[SLOT_PARTS_MAX];
    uint32_t crcs[PART_BLOCKS_MAX]; /* Of an answer whose request does not ask for them. */
    uint64_t aside[SLOT_ASIDE_BYTES / 8];
};

struct peer_port {
    struct part_port part;
    struct peer_port_options options;
    char address[NET_ADDRESS_BYTES];
    char sentence[PEER_SENTENCE_BYTES];
    struct prng prng;

    struct net_attempt *attempt;
    struct link link;
    bool linked;  /* The link is open, or closing. */
    bool agreed;  /* WELCOME has come. */
    bool closing; /* The port. */
    void (*closed)(void *context);
    void *closed_context;
    uint32_t half;
    uint64_t backoff_ns;
    uint64_t heartbeat_ns; /* As it was asked for; options.heartbeat_ns is what is done. */
    struct timer retry;    /* Down: when to try. Connecting: when to give up. */
    struct timer tick;     /* Up. */
    struct timer later;    /* Ends what is in `ending`. */
    struct timer flights;  /* After a cancel that has to wait. */
    uint64_t heard_before; /* link.heard at the last tick. */
    uint64_t ticked_ns;
    bool hello_sending, pinging;
    uint8_t frame[WIRE_HEADER_BYTES + WIRE_MESSAGE_BYTES_MAX]; /* HELLO, PING. */
    struct iovec frame_part;
    struct iomesh_send frame_send;

    struct list waiting; /* struct part_request. Bounded by those who own them. */
    struct list ending;  /* struct part_request */
    struct slot *slots;  /* requests_max */
    uint32_t slot_mask;
    struct list free;
    uint64_t number_next;
    uint32_t requests_max, requests; /* As the store allows; in flight. */
    uint64_t bytes_max, bytes;
    struct slot *receiving; /* Whose data is on its way in. */
    bool large_used;
    uint8_t *large; /* WIRE_ASIDE_BYTES_MAX: one request at a time has so many cuts. */
    struct peer_port_counts counts;
};

/* Of flight.c. */
extern const struct part_port_ops flight_ops;
/* Fills free slots with what waits. */
void flight_pump(struct peer_port *port);
/* What the store says is here; the slot's memory may still be being sent. */
void flight_answered(struct peer_port *port, struct slot *slot, int result);
/* Of answer.c: an answer, and its data. */
int answer_frame(struct peer_port *port, const struct wire_header *header, const uint8_t *aside);
int answer_data(struct peer_port *port);
/* The stream is closed: all that flew and waited ends. */
void flight_end_all(struct peer_port *port);
/* Ends `ending`. */
void flight_run_later(struct timer *timer);
/* A canceled request waits for its memory. */
void flight_run_canceled(struct timer *timer);

/* Of port.c: the connection is given up. */
void port_break(struct peer_port *port, int reason, const char *sentence);

#endif

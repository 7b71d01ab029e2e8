/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer server, for the files of this room only.
 *
 *      connection:  HELLO ──▶ UP ──▶ ENDING (the stream closes, the store's answers come) ──▶ gone
 *                     └────────────────▲
 *
 *      task (one request):
 *
 *      free ──▶ RECEIVING its data ──▶ STORE has it ──▶ SENDING the answer ──▶ free
 *                     │                                      ▲
 *                     └── it makes no sense ─────────────────┘
 *
 * Who has no task left, or no memory for data, is not read from until there is some: its link is
 * held. Nobody else notices.
 */
#ifndef PEER_SERVER_H
#define PEER_SERVER_H

#include "peer/link.h"
#include "peer/peer.h"

#define TASK_CUTS_MAX 64u /* More of them take a buffer. */
#define TASK_ASIDE_BYTES                                                                 \
    (PART_BLOCKS_MAX * (WIRE_VERSION_BYTES + 4) + TASK_CUTS_MAX * 8 + WIRE_STATE_BYTES + \
     WIRE_BITMAP_BYTES)

enum task_state { TASK_FREE, TASK_RECEIVING, TASK_STORE, TASK_SENDING };

struct connection;

struct task {
    struct connection *connection;
    enum task_state state;
    struct list node; /* In `free`. */
    struct part_request request;
    struct wire_header header; /* Of the request; then of the answer. */
    int refused;               /* Found while its data was on the way. */
    uint32_t data_crc;         /* RECORD. */
    uint64_t bytes;            /* Of `data`: what counts for the window. */
    uint8_t *data;             /* Of the buffers; NULL: none. */
    void *more;                /* Of the buffers: a message, or many cuts. */
    struct iomesh_send send;
    struct iovec parts[3];
    uint8_t head[WIRE_HEADER_BYTES];
    /* RESYNC: versions, cuts. WRITE: crcs. Answers: as the wire has them. */
    uint64_t aside[TASK_ASIDE_BYTES / 8];
};

enum connection_state { CONNECTION_HELLO, CONNECTION_UP, CONNECTION_ENDING };

struct served {
    struct list node; /* In server->stores. */
    uint64_t store, incarnation;
    struct part_port *port;
    bool removing;
    void (*removed)(void *context);
    void *removed_context;
};

struct connection {
    struct peer_server *server;
    struct list node;   /* In server->connections. */
    struct list hungry; /* In server->hungry: it waits for buffers. */
    struct link link;
    enum connection_state state;
    bool linked; /* The stream is not closed yet. */
    bool refusing;
    bool looks; /* It does not know the pool: it may look, and change nothing. */
    struct served *served;
    uint64_t engine, session, number_last;
    struct timer timer;
    uint64_t heard_before, heard_ns, sent_ns;
    uint32_t sending; /* Answers. */
    uint64_t bytes;   /* In buffers. */
    struct task *receiving;
    struct task *tasks;
    uint32_t busy;
    struct list free;
    bool frame_sending;
    uint8_t frame[WIRE_HEADER_BYTES + WIRE_MESSAGE_BYTES_MAX]; /* WELCOME, REFUSED, PONG. */
    struct iovec frame_part;
    struct iomesh_send frame_send;
};

struct door {
    struct list node;
    struct peer_server *server;
    struct net_listener *listener;
    bool locked;
};

struct peer_server {
    struct peer_server_options options;
    struct prng prng;
    struct list stores, connections, hungry, listeners;
    struct timer feed;   /* Buffers came back. */
    struct timer starve; /* Somebody waits for buffers. */
    bool draining;
    bool closing;
    bool closed_listeners;
    void (*closed)(void *context);
    void *closed_context;
    struct timer later;
    struct peer_server_counts counts;
};

/* Of server.c */
void server_notice(struct peer_server *server, const struct connection *connection,
                   const char *sentence);
/* NULL: it is not here, or leaves. */
struct served *server_find(const struct peer_server *server, uint64_t store);
/* The first from that one on. */
struct served *server_find_from(const struct peer_server *server, uint64_t store);
/* A connection is gone. */
void server_check(struct peer_server *server);
/* Somebody waits for buffers: who holds most of them, and takes no answers, may have to go. */
void server_starve(struct peer_server *server);

/* Of connection.c */
void connection_open(struct peer_server *server, struct net_stream *stream);
void connection_end(struct connection *connection);
/* Frees what is over. */
void connection_check(struct connection *connection);
void connection_frame_send(struct connection *connection, uint32_t bytes);

/* Of task.c */
int task_open(struct connection *connection);
int task_frame(struct connection *connection, const struct wire_header *header,
               const uint8_t *aside);
int task_data(struct connection *connection);
/* The connection ends: what the store has is taken back. */
void task_end_all(struct connection *connection);
void task_free(struct task *task);
/* Of reply.c: what the store said. */
void task_reply(struct task *task, int result);

#endif

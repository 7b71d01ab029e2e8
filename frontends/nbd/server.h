/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iomesh-nbd: volumes of one pool, served over NBD from one engine and one thread.
 *
 *   main, settings        what was asked for
 *   server                listeners, limits, timers, the way out
 *   export                a volume opened for its clients: on first use, closed after the last
 *   connection, handshake one client: its bytes through the codec (nbd/proto.h)
 *   names                 which exports, snapshots and contexts there are
 *   io, read, status      one request: memory, the engine's call, the reply
 *   transport, tls        plain or sealed bytes
 *   metrics               the pages over HTTP
 *
 * Bounded: connections, handshakes, requests (each connection's and all), bytes of payload (each
 * connection's and all). What exceeds a bound is not received: the client's socket fills up.
 */
#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include <iomesh/iomesh.h>
#include <iomesh/sys/stream.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "nbd/proto.h"
#include "nbd/transport.h"

/* Larger requests are done in pieces of this size, one after the other. */
#define IO_PIECE_BYTES (1u << 20)

struct connection;
struct export;
struct server;

enum { IO_PARTS_MAX = 8 };

/* One request from its header to the last byte of its reply. */
struct io {
    TAILQ_ENTRY(io) link; /* The server's free or retry list, server->hungry or connection->held. */
    struct connection *connection;
    struct nbd_request request;
    void *buffer; /* Of the engine's arena. */
    uint32_t buffer_bytes;
    uint32_t piece_bytes; /* Under way now. */
    uint64_t done_bytes;  /* Of the request, in earlier pieces. */
    bool unfinished;      /* A simple reply of which pieces come after those in parts[]. */
    struct iomesh_send send;
    struct iovec parts[IO_PARTS_MAX];
    uint8_t head[NBD_REPLY_BYTES_MAX];
};
TAILQ_HEAD(io_list, io);

enum connection_state {
    CONNECTION_HANDSHAKE,
    CONNECTION_REQUESTS,
    CONNECTION_ENDING,  /* Nothing more is received; closes when the last reply is out. */
    CONNECTION_CLOSING, /* The stream is being closed; freed when everything came back. */
};

/* What is being listed, a bufferful at a time. */
enum names_stage { NAMES_NONE, NAMES_VOLUMES, NAMES_SNAPSHOTS, NAMES_CONTEXTS };

struct connection {
    TAILQ_ENTRY(connection) link;    /* server->connections */
    TAILQ_ENTRY(connection) queue;   /* server->queue */
    TAILQ_ENTRY(connection) waiting; /* export->waiters */
    struct server *server;
    enum connection_state state;
    struct transport transport;
    struct nbd_session session;
    struct export *export; /* Held. */
    bool stream_open;
    bool filling;    /* A fill or a receive is under way. */
    bool out_flying; /* session.out is being sent. */
    bool asking;     /* A lookup, listing or opening is under way. */
    bool awaiting;   /* Among export->waiters. */
    bool comparing;  /* The lookup is for contexts of snapshots. */
    bool tls_next;   /* Start TLS once out is sent. */
    bool end_next;   /* Close once out is sent. */
    bool throttled;  /* At a limit of its own; goes on after a reply. */
    bool queueing;   /* On server->queue. */
    bool accepted;   /* Counted as a handshake until it has an export. */
    bool has_written;
    struct io *receiving; /* A WRITE whose payload is still to come, wholly or in part. */
    struct io *hungry;    /* Waits for memory, on server->hungry. */
    uint32_t in_flight;   /* Requests. */
    uint64_t bytes;       /* Of the arena. */
    uint64_t since_ns;    /* Connected. */
    uint64_t progress_ns; /* Last reply that went out, or last time that none waited. */
    uint32_t sending;     /* Replies waiting for the socket. */
    struct io *half_told; /* Its simple reply has begun: nothing may come between its pieces. */
    struct io_list held;  /* Replies that wait for the end of that. */
    uint64_t number;
    struct iomesh_send out_send;
    struct iovec out_part;
    /* names.c: what is being listed or looked up. */
    enum names_stage stage;  /* Goes on with it once out is sent. */
    uint64_t list_snapshots; /* That the volume of this name has; 0: on to the next volume. */
    uint32_t list_index;     /* Snapshots told by the engine in this round. */
    bool list_full;          /* `out` is. */
    uint64_t list_cut;       /* Snapshots up to this one have been named. */
    uint64_t view_cut;       /* Of the snapshot that the export is; UINT64_MAX: none. */
    uint64_t since_volume;   /* Id of the volume whose snapshots were chosen as contexts. */
    uint32_t confirmed;      /* Bits of the contexts that are still there. */
    char list_name[IOMESH_NAME_BYTES_MAX + 1];
    struct nbd_export found; /* Filled in by a lookup. */
};
TAILQ_HEAD(connection_list, connection);

enum export_state { EXPORT_OPENING, EXPORT_OPEN, EXPORT_FLUSHING, EXPORT_CLOSING };

struct export
{
    TAILQ_ENTRY(export) link;
    struct server *server;
    enum export_state state;
    struct iomesh_volume *volume;
    uint32_t users;
    bool ended; /* Its volume was taken from this process: for those who have it, errors. */
    struct connection_list waiters;
    char name[NBD_NAME_BYTES_MAX + 1]; /* VOLUME or VOLUME@SNAPSHOT. */
};
TAILQ_HEAD(export_list, export);

struct server_limits {
    uint32_t connections_max;
    uint32_t handshakes_max;
    uint64_t handshake_ns_max;
    uint64_t stall_ns_max;
    uint32_t requests_max;
    uint32_t connection_requests_max;
    uint64_t connection_bytes_max;
    uint32_t payload_bytes_max;
};

/* Since the start. */
struct server_counts {
    uint64_t connections, connections_refused;
    uint64_t handshakes_failed, handshakes_timed_out;
    uint64_t connections_stalled, connections_broken;
    uint64_t tls_failed;
    uint64_t requests[NBD_CMD_BLOCK_STATUS + 1];
    uint64_t requests_refused; /* By the codec: flags, bounds, alignment. */
    uint64_t errors;           /* Replies with an error from the engine. */
    uint64_t starved;          /* Times that a request waited for memory or its turn. */
    uint64_t throttled;        /* Times that a connection reached a limit of its own. */
};

enum { SERVER_LISTENERS_MAX = 16 };

struct server {
    struct iomesh_engine *engine;
    struct iomesh_pool *pool;
    struct tls_context *tls;
    bool read_only;
    bool rotational; /* Every device of the pool turns. */
    char default_export[NBD_NAME_BYTES_MAX + 1];
    struct server_limits limits;
    struct server_counts counts;
    struct iomesh_listener *listeners[SERVER_LISTENERS_MAX];
    uint32_t listener_count;
    uint32_t listeners_open;
    struct connection_list connections; /* Oldest first. */
    uint32_t connection_count;
    uint32_t handshake_count;
    struct connection_list queue; /* They wait for a free io. */
    struct io_list hungry;        /* They are one, and wait for memory. */
    struct export_list exports;
    struct io *ios;
    struct io_list ios_free;
    struct io_list ios_retry; /* The engine said -EAGAIN. */
    uint32_t ios_used;
    bool draining;
    int flush_error; /* First flush at closing that failed. */
    void (*drained)(void *context);
    void *drained_context;
};

uint64_t server_now_ns(void);

/* server.c */
int server_init(struct server *server);
void server_done(struct server *server);
/* At most SERVER_LISTENERS_MAX times. As iomesh_listen(), with its sentence. */
int server_listen(struct server *server, const char *address, uint32_t mode);
/* Timeouts; every quarter of a second is right. */
void server_tick(struct server *server);
/* Requests that the engine had no room for; after each turn. */
void server_turned(struct server *server);
/* No new clients or requests; `drained` runs when the last connection and volume are closed. */
void server_drain(struct server *server, void (*drained)(void *), void *context);
/* Close what a drain still waits for. */
void server_cut(struct server *server);
/* Something went away: is the drain over? */
void server_check_drained(struct server *server);

/* connection.c */
void connection_accept(struct server *server, struct iomesh_stream *stream);
/* Go on: look at what was received, ask for more. Safe to call at any time. */
void connection_pump(struct connection *connection);
/* Close at once, for a reason that is worth a line at this level (NULL: none). */
void connection_cut(struct connection *connection, int level, const char *reason);
/* Let the replies that are due go out, then close. */
void connection_end(struct connection *connection);
/* It has an export, or never will: no handshake any more. */
void connection_handshaken(struct connection *connection);
/* A request is done, a lookup came back, …: close or free it if that was the last thing. */
void connection_settle(struct connection *connection);

/* handshake.c */
/* Acts on an event of the codec. False: stop pumping, something is awaited. */
bool handshake_event(struct connection *connection, const struct nbd_event *event);
/* Sends session.out, which is not empty. The connection goes on, or closes, from a turn. */
void handshake_send(struct connection *connection);
void handshake_opened(struct connection *connection, int result);
/* The export is open and what was chosen for it is there: on to transmission. */
void handshake_go(struct connection *connection);
/* The codec has an answer or lost its patience. */
void handshake_answered(struct connection *connection, bool alive, const char *reason);
void handshake_refuse(struct connection *connection, int error);
bool handshake_gone(const struct connection *connection);
void handshake_facts(const struct connection *connection, uint64_t bytes, uint32_t sector_bytes,
                     bool read_only, struct nbd_export *ret_export);

/* names.c */
/* The export that the client means. */
const char *names_wanted(const struct connection *connection);
void names_list(struct connection *connection);
/* Facts about an export, which stays closed if it is; and its contexts of snapshots. */
void names_look_up(struct connection *connection, bool comparing);
/* A bufferful was sent. */
void names_go_on(struct connection *connection);
/* Are the snapshots that were chosen still there, now that the export is held? */
void names_confirm(struct connection *connection);

/* export.c */
/* Open a volume or join those who use it: handshake_opened() runs, from a turn or at once. */
void export_open(struct connection *connection, const char *name);
void export_leave(struct export *export);
/* The connection does not wait for its export any more. Harmless if it does not wait. */
void export_forget(struct connection *connection);
/* There is nothing but volumes that wait until they are open: closing the pool ends them. */
bool exports_are_idle(const struct server *server);

/* io.c */
/* A request of the client; its payload, if any, is next in the stream. */
void io_start(struct connection *connection, const struct nbd_request *request);
void io_retry(struct io *io);
void io_reply(struct io *io, int error);
void io_refuse(struct io *io, uint32_t error, const char *sentence);
/* Sends parts[]; `done` runs io_sent() first. */
void io_send(struct io *io, uint32_t part_count, iomesh_done_fn *done);
/* A send came back. False: the connection is going, and io is freed. */
bool io_sent(struct io *io, int result);
/* The connection may be gone after this. */
void io_free(struct io *io);
/* Drops the replies that wait for the end of another, of a connection that is being closed. */
void io_free_held(struct connection *connection);
/* What the engine answered to a call: -EAGAIN is put aside to be tried again. */
void io_asked(struct io *io, int result);

/* read.c */
void read_submit(struct io *io);

/* status.c */
void status_submit(struct io *io);
void cache_submit(struct io *io);
/* The memory that a request needs. */
uint32_t status_buffer_bytes(const struct io *io);

#endif

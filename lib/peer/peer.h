/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer: a store on another node. The wire of format/wire.h, both of its ends.
 *
 * A *peer port* is a part_port over a connection: it connects, agrees, sends, matches answers to
 * requests by number, and connects again when the connection breaks. A *peer server* takes
 * connections and hands what they ask to the part_port of a store in this process: a bridge, the
 * same words on both sides.
 *
 * Promises:
 *   - a request ends exactly once, later; with the store's answer to it, or -ECONNRESET. Its memory
 *     is not touched after that, by a canceled one neither: what is being sent or received is
 *     waited for, and if that takes long the connection is given up for it;
 *   - an answer counts only on the connection, and to the number, it was asked with;
 *   - damage on the way is found (header, aside and each block have sums): it ends the connection,
 *     or is answered with IOMESH_CORRUPT for the data of a WRITE;
 *   - nothing that comes over the wire can crash an end, hold it for ever, or make it use more than
 *     its limits; who does not read what he asked for holds nobody else;
 *   - data is received where it will be written from, and sent from where it lies. Only what came
 *     with a header in one receive is copied: that costs less than to ask twice;
 *   - nothing is allocated for a request: a port and a connection have what they need from when
 *     they were opened.
 */
#ifndef PEER_PEER_H
#define PEER_PEER_H

#include "host/host.h"
#include "part/part.h"

#define PEER_UUID_BYTES 16u
#define PEER_REQUESTS_MAX 4096u
#define PEER_SENTENCE_BYTES 520u /* An address and what was said there. */

/* --- Who asks ------------------------------------------------------------------------------ */

struct peer_port;

struct peer_port_options {
    struct net *net;
    struct clock *clock;
    const char *address; /* Copied. */
    uint8_t pool[PEER_UUID_BYTES];
    uint64_t store;  /* Its id. */
    bool any;        /* To look only: of any pool, the first that is there from `store` on. */
    uint64_t engine; /* The session in the metadata, of who asks. */
    uint64_t seed;   /* Something that others do not have. */
    /* 0: the default. */
    uint32_t requests_max;   /* In flight; 128. The store may allow fewer. */
    uint64_t bytes_max;      /* Of their data; 8 MiB. One larger request goes alone. */
    uint64_t heartbeat_ns;   /* Nothing heard for so long: ask; 250 ms. At most silence_ns / 4. */
    uint64_t silence_ns;     /* Nothing heard for so long: the connection is given up; 4 s. */
    uint64_t connect_ns;     /* For connecting and agreeing; 2 s. */
    uint64_t backoff_ns_min; /* Before trying again: doubled each time, 10 ms ... */
    uint64_t backoff_ns_max; /* ... to 300 ms. */
    uint64_t cancel_ns;      /* How long a canceled request may wait for its memory; 50 ms. */
};

struct peer_port_counts {
    uint64_t connects;  /* Times that it came up. */
    uint64_t refusals;  /* Times that the store did not want us. */
    uint64_t breaks;    /* Times that it went down. */
    uint64_t requests;  /* Sent. */
    uint64_t strays;    /* Answers that nobody waits for. */
    uint64_t damaged;   /* Frames whose sums were wrong. */
    uint64_t waits;     /* Requests that had to wait for others. */
    uint64_t bytes_out; /* Data. */
    uint64_t bytes_in;
};

/* 0 or -ENOMEM, -EINVAL with a sentence. It begins to connect in the next turn. */
int peer_port_open(const struct peer_port_options *options, struct peer_port **ret_port);
/* Ends its requests with -ECONNRESET; then `closed` runs and the port is gone. Nothing is submitted
 * from here on. */
void peer_port_close(struct peer_port *port, void (*closed)(void *context), void *context);
/* What others see of it: `changed` and `context` are theirs to set. */
struct part_port *peer_port_part(struct peer_port *port);
/* Somebody knows that the store is back: do not wait with connecting. */
void peer_port_retry(struct peer_port *port);
/* As `silence_ns` of the options, from now on. */
void peer_port_silence(struct peer_port *port, uint64_t ns);
/* It moved. Counts from the next connecting on. */
int peer_port_move(struct peer_port *port, const char *address);
/* Why it is down, for people's eyes; "" if nothing is known. */
const char *peer_port_sentence(const struct peer_port *port);
struct peer_port_counts peer_port_counts(const struct peer_port *port);

/* --- Who is asked -------------------------------------------------------------------------- */

struct peer_server;

/* Where data lies while the store has it: 4 KiB-aligned, of an engine's arena. */
struct peer_buffers {
    void *(*get)(struct peer_buffers *buffers, uint64_t bytes); /* NULL: none now. */
    void (*put)(struct peer_buffers *buffers, void *memory);
};

struct peer_server_options {
    struct net *net;
    struct clock *clock;
    struct peer_buffers *buffers;
    uint8_t pool[PEER_UUID_BYTES];
    uint64_t seed; /* Something that others do not have. */
    /* 0: the default. */
    uint32_t connections_max; /* 256. */
    uint32_t requests_max;    /* Of a connection, in flight; 128. */
    uint64_t bytes_max;       /* Of a connection, their data; 8 MiB. Long lists take up to 48 KiB
                               * for a request beside it. */
    uint64_t hello_ns;        /* To say who one is; 5 s. */
    uint64_t silence_ns;      /* Nothing heard for so long: the connection ends; 10 s. */
    uint64_t stall_ns;        /* Answers not taken for so long: the connection ends; 10 s, */
    uint64_t starve_ns;       /* or so long if others wait for its memory; 1 s. */
    void (*notice)(void *context, const char *sentence); /* NULL: nobody listens. */
    void *context;
};

struct peer_server_counts {
    uint32_t connections; /* Now. */
    uint32_t busy;        /* Requests that are received, worked on, answered. */
    uint64_t accepted;
    uint64_t refused;  /* With a sentence. */
    uint64_t broken;   /* Ended because of what they sent. */
    uint64_t stalled;  /* Ended because they took nothing. */
    uint64_t replaced; /* Ended by a newer one of the same engine. */
    uint64_t requests;
    uint64_t strays; /* Requests of another session. */
    uint64_t waits;  /* Requests that had to wait for memory. */
};

/* 0, -ENOMEM or -EINVAL with a sentence. */
int peer_server_open(const struct peer_server_options *options, struct peer_server **ret_server);
/* `port` of a store in this process, borrowed until it is removed. -EEXIST, -ENOMEM. */
int peer_server_add(struct peer_server *server, uint64_t store, uint64_t incarnation,
                    struct part_port *port);
/* Ends its connections; `removed` runs when nothing is asked of the port any more. */
void peer_server_remove(struct peer_server *server, uint64_t store, void (*removed)(void *context),
                        void *context);
/* Several are fine. *ret_address is valid until the server is closed; NULL if it does not matter.
 * 0 or as net_listen(). */
int peer_server_listen(struct peer_server *server, const char *address, const char **ret_address);
/* What was received is answered; nothing more is. For who will close it: ends nothing by itself. */
void peer_server_drain(struct peer_server *server);
/* Ends all connections; `closed` runs when nothing is asked of any port, and the server is gone. */
void peer_server_close(struct peer_server *server, void (*closed)(void *context), void *context);
struct peer_server_counts peer_server_counts(const struct peer_server *server);

#endif

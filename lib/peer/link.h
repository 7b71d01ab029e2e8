/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link: frames out of a stream, for both ends. For the files of this room only.
 *
 *            ┌──────────────── a frame without data ──────────────────┐
 *            ▼                                                        │
 *      HEAD ──▶ header and aside are here: frame() ──▶ DATA ──▶ data() ┘
 *                    │        ▲
 *                    ▼        │ link_go_on()
 *                   HELD: whoever should take it has no room
 *
 * Anything wrong, here or in a callback's answer: ended(), once, and nothing more is read.
 */
#ifndef PEER_LINK_H
#define PEER_LINK_H

#include "format/wire.h"
#include "host/host.h"

#define LINK_HOLD 1 /* Of frame(): not now. */

/* An option that was left at 0. */
#define LINK_DEFAULT(field, value)    \
    do {                              \
        if (options->field == 0)      \
            options->field = (value); \
    } while (0)

struct link;

struct link_ops {
    /*
     * A frame came. The aside is there during the call only. Sets link->target to where its data
     * shall go; NULL: nobody wants it. 0, LINK_HOLD (the same frame comes again), or a negative
     * code: the link ends.
     */
    int (*frame)(struct link *link, const struct wire_header *header, const uint8_t *aside);
    /* Its data came. As frame(), but for LINK_HOLD. */
    int (*data)(struct link *link);
    void (*ended)(struct link *link, int reason);
    /* Of link_close(): nothing of the stream is used any more. */
    void (*closed)(struct link *link);
};

struct link {
    const struct link_ops *ops;
    struct net_stream *stream; /* NULL: not open. */
    uint8_t *target;
    uint32_t data_left;
    bool in_data;
    bool waiting; /* For the stream. */
    bool held;
    bool ended;
    bool closing;
    bool running;   /* In link_run(): callbacks may ask to go on. */
    uint64_t heard; /* Frames so far, and pieces of data. */
};

void link_open(struct link *link, const struct link_ops *ops, struct net_stream *stream);
/* After LINK_HOLD. Never inside frame(). */
void link_go_on(struct link *link);
/* Ends it, if it has not: ended() runs inside. */
void link_break(struct link *link, int reason);
/* Once. closed() runs later. */
void link_close(struct link *link);
/* Puts a header and an aside (already behind the header in memory, or elsewhere) into a send. */
void link_sum(struct wire_header *header, const uint8_t *aside);

#endif

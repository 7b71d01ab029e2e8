/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream for the ends of the wire, out of fuzzed bytes. The input is a list of pieces:
 *
 *    0  how     u8    bits 0..1: 0, 1 bytes as they are; 2 a frame whose sums are made right; 3 so,
 *                     with the session's number and the next number too
 *    1  length  u16   of what follows, as far as there is so much
 *
 * A frame without enough bytes for what its header promises is filled up with zeros.
 */
#ifndef FUZZ_PEER_FEED_H
#define FUZZ_PEER_FEED_H

#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/wire.h"
#include "peer/peer.h"
#include "sim/net.h"
#include "sim/null_port.h"

#define FEED_BYTES_MAX (WIRE_HEADER_BYTES + WIRE_ASIDE_BYTES_MAX + WIRE_DATA_BYTES_MAX)

struct feed {
    struct world world;
    struct sim_net *net;
    struct sim_host *engine, *store;
    struct net_stream *stream;
    bool connected, closed, over;
    uint64_t session, number;
    const uint8_t *data;
    size_t size;
    uint8_t *bytes; /* FEED_BYTES_MAX */
    struct iomesh_send send;
    struct iovec part;
    uint8_t in[4096];
};

static void feed_drain(struct feed *feed);

static void feed_came(void *context, int result)
{
    struct feed *feed = context;
    const void *data;
    if (result != 0) {
        feed->over = true;
        return;
    }
    net_consume(feed->stream, net_peek(feed->stream, &data));
    feed_drain(feed);
}

/* What the other end says is read and forgotten. */
static void feed_drain(struct feed *feed)
{
    if (!feed->closed)
        (void)net_fill(feed->stream, 1, feed_came, feed);
}

static void feed_sent(void *context, int result)
{
    (void)result;
    ((struct feed *)context)->part.iov_len = 0;
}

static void feed_gone(void *context, int result)
{
    (void)result;
    *(bool *)context = true;
}

static inline void feed_steps(struct feed *feed, unsigned count)
{
    while (count-- > 0 && world_step(&feed->world))
        ;
}

static inline void feed_open(struct feed *feed, const uint8_t *data, size_t size)
{
    *feed = (struct feed){.data = data, .size = size};
    feed->bytes = malloc(FEED_BYTES_MAX);
    world_open(&feed->world, 1);
    feed->net = sim_net_open(&feed->world);
    feed->engine = sim_host_open(feed->net, "engine");
    feed->store = sim_host_open(feed->net, "store");
    feed->net->faults.window_min = feed->net->faults.window_max = 4u << 20;
}

/* Everything else is closed. */
static inline void feed_close(struct feed *feed)
{
    while (world_step(&feed->world))
        ;
    if (sim_net_streams(feed->net) != 0)
        abort();
    sim_net_close(feed->net);
    world_close(&feed->world);
    free(feed->bytes);
}

static inline void feed_stream_close(struct feed *feed)
{
    bool gone = false;
    if (feed->stream == NULL)
        return;
    feed->closed = true;
    net_close(feed->stream, feed_gone, &gone);
    while (!gone && world_step(&feed->world))
        ;
}

/* How many bytes of feed->bytes are a frame now. */
static inline size_t feed_frame(struct feed *feed, size_t length, bool session)
{
    uint8_t *bytes = feed->bytes;
    if (length < WIRE_HEADER_BYTES)
        memset(bytes + length, 0, WIRE_HEADER_BYTES - length);
    memcpy(bytes + 4, "IMW1", 4);
    if (session) {
        put64(bytes + 24, feed->session);
        put64(bytes + 32, bytes[8] & WIRE_ANSWER ? get64(bytes + 32) : ++feed->number);
    }
    size_t aside = get32(bytes + 12), data = get32(bytes + 16);
    if (aside > WIRE_ASIDE_BYTES_MAX || data > 65536)
        aside = data = 0;
    size_t whole = WIRE_HEADER_BYTES + aside + data;
    if (length < whole)
        memset(bytes + MAX(length, WIRE_HEADER_BYTES), 0,
               whole - MAX(length, (size_t)WIRE_HEADER_BYTES));
    put32(bytes + 20, aside > 0 ? crc32c(bytes + WIRE_HEADER_BYTES, aside) : 0);
    put32(bytes, crc32c(bytes + 4, WIRE_HEADER_BYTES - 4));
    return whole;
}

/* Sends the next piece; false at the end. */
static inline bool feed_next(struct feed *feed)
{
    if (feed->size < 3 || feed->over)
        return false;
    unsigned how = feed->data[0] & 3;
    size_t length = MIN((size_t)get16(feed->data + 1), feed->size - 3);
    memcpy(feed->bytes, feed->data + 3, length);
    feed->data += 3 + length;
    feed->size -= 3 + length;
    if (how >= 2)
        length = feed_frame(feed, length, how == 3);
    if (length == 0)
        return true;
    feed->part = (struct iovec){feed->bytes, length};
    feed->send = (struct iomesh_send){
        .parts = &feed->part, .part_count = 1, .done = feed_sent, .context = feed};
    if (net_send(feed->stream, &feed->send) != 0)
        return false;
    for (unsigned i = 0; i < 2000 && feed->part.iov_len != 0 && !feed->over; i++)
        feed_steps(feed, 1);
    feed_steps(feed, 30);
    return feed->part.iov_len == 0;
}

#endif

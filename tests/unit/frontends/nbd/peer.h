/* SPDX-License-Identifier: Apache-2.0 */
/* A client in memory: writes bytes, steps the session, reads what it answers. */
#ifndef TEST_NBD_PEER_H
#define TEST_NBD_PEER_H

#include <criterion/criterion.h>
#include <string.h>

#include "nbd/proto.h"

struct peer {
    struct nbd_session session;
    uint8_t bytes[1 << 16];
    size_t length;
    struct nbd_event event;
};

static const struct nbd_export peer_export = {
    .size_bytes = UINT64_C(1) << 30,
    .block_bytes_min = 512,
    .block_bytes_preferred = 4096,
    .payload_bytes_max = NBD_PAYLOAD_BYTES_MAX,
};

static inline void peer_put(struct peer *peer, const void *bytes, size_t length)
{
    memcpy(peer->bytes + peer->length, bytes, length);
    peer->length += length;
}

static inline void peer_put32(struct peer *peer, uint32_t value)
{
    uint8_t bytes[4];
    nbd_put32(bytes, value);
    peer_put(peer, bytes, sizeof bytes);
}

static inline void peer_put64(struct peer *peer, uint64_t value)
{
    uint8_t bytes[8];
    nbd_put64(bytes, value);
    peer_put(peer, bytes, sizeof bytes);
}

/* One step; what was used is gone from the peer's bytes. */
static inline enum nbd_event_kind peer_step(struct peer *peer)
{
    nbd_out_taken(&peer->session);
    nbd_step(&peer->session, peer->bytes, peer->length, &peer->event);
    cr_assert_leq(peer->event.used, peer->length);
    peer->length -= peer->event.used;
    memmove(peer->bytes, peer->bytes + peer->event.used, peer->length);
    return peer->event.kind;
}

static inline void peer_open(struct peer *peer, uint32_t flags, bool tls)
{
    nbd_session_init(&peer->session, tls, tls);
    peer->length = 0;
    nbd_out_taken(&peer->session);
    peer_put32(peer, flags);
    cr_assert_eq(peer_step(peer), NBD_EVENT_SEND);
}

static inline enum nbd_event_kind peer_option(struct peer *peer, uint32_t option, const void *data,
                                              uint32_t length)
{
    peer_put64(peer, NBD_OPTION_MAGIC);
    peer_put32(peer, option);
    peer_put32(peer, length);
    peer_put(peer, data, length);
    return peer_step(peer);
}

/* The type of the n-th answer in `out`, 0 if there are fewer. */
static inline uint32_t peer_answer(const struct peer *peer, size_t wanted)
{
    const uint8_t *at = peer->session.out;
    const uint8_t *end = at + peer->session.out_bytes;
    for (size_t index = 0; end - at >= 20; index++) {
        cr_assert_eq(nbd_get64(at), NBD_OPTION_REPLY_MAGIC);
        if (index == wanted)
            return nbd_get32(at + 12);
        at += 20 + nbd_get32(at + 16);
    }
    return 0;
}

/* INFO or GO for a name, asking for nothing more. */
static inline enum nbd_event_kind peer_info(struct peer *peer, uint32_t option, const char *name)
{
    uint8_t data[600];
    const size_t length = strlen(name);
    uint8_t *to = nbd_put32(data, (uint32_t)length);
    memcpy(to, name, length);
    to = nbd_put16(to + length, 0);
    return peer_option(peer, option, data, (uint32_t)(to - data));
}

/* A meta context option with some queries, the last one NULL. */
static inline enum nbd_event_kind peer_queries(struct peer *peer, uint32_t option, const char *name,
                                               const char *const *queries)
{
    uint8_t data[NBD_OPTION_BYTES_MAX];
    uint8_t *to = nbd_put32(data, (uint32_t)strlen(name));
    memcpy(to, name, strlen(name));
    uint8_t *count_at = to + strlen(name);
    to = count_at + 4;
    uint32_t count = 0;
    for (; queries[count] != NULL; count++) {
        to = nbd_put32(to, (uint32_t)strlen(queries[count]));
        memcpy(to, queries[count], strlen(queries[count]));
        to += strlen(queries[count]);
    }
    nbd_put32(count_at, count);
    return peer_option(peer, option, data, (uint32_t)(to - data));
}

static inline enum nbd_event_kind peer_meta(struct peer *peer, uint32_t option, const char *name,
                                            const char *query)
{
    const char *const queries[] = {query, NULL};
    return peer_queries(peer, option, name, queries);
}

/* Transmission in a mode, with or without base:allocation. */
static inline void peer_go(struct peer *peer, enum nbd_mode mode, bool context,
                           const struct nbd_export *export)
{
    peer_open(peer, 3, false);
    if (mode == NBD_STRUCTURED)
        cr_assert_eq(peer_option(peer, NBD_OPT_STRUCTURED_REPLY, "", 0), NBD_EVENT_SEND);
    if (mode == NBD_EXTENDED)
        cr_assert_eq(peer_option(peer, NBD_OPT_EXTENDED_HEADERS, "", 0), NBD_EVENT_SEND);
    if (context) {
        cr_assert_eq(peer_meta(peer, NBD_OPT_SET_META_CONTEXT, "disk", "base:allocation"),
                     NBD_EVENT_EXPORT);
        nbd_export_found(&peer->session, export);
    }
    nbd_out_taken(&peer->session);
    cr_assert_eq(peer_info(peer, NBD_OPT_GO, "disk"), NBD_EVENT_EXPORT);
    cr_assert(peer->event.opening);
    nbd_export_found(&peer->session, export);
    cr_assert_eq(peer->session.state, NBD_STATE_REQUESTS);
}

static inline enum nbd_event_kind peer_request(struct peer *peer, uint16_t type, uint16_t flags,
                                               uint64_t offset, uint64_t length)
{
    const bool extended = peer->session.mode == NBD_EXTENDED;
    peer_put32(peer, extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC);
    peer_put32(peer, (uint32_t)flags << 16 | type);
    peer_put64(peer, 0x1122334455667788);
    peer_put64(peer, offset);
    if (extended)
        peer_put64(peer, length);
    else
        peer_put32(peer, (uint32_t)length);
    return peer_step(peer);
}

#endif

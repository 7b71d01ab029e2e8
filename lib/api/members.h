/* SPDX-License-Identifier: Apache-2.0 */
/*
 * members: which members of etcd answer, each asked by itself.
 *
 * The metadata answers as long as more than half of them do, and says nothing of the others: who
 * looks after the pool wants to know before it is half.
 *
 * Owns a handle (and a thread) for each endpoint of the URL for as long as that takes: at most
 * META_ETCD_ENDPOINTS_MAX, MEMBERS_WAIT_NS; once one has answered, the others have not so long.
 */
#ifndef API_MEMBERS_H
#define API_MEMBERS_H

#include "api/engine.h"
#include "meta/etcd/etcd.h"

#define MEMBERS_WAIT_NS (2 * NS_PER_S)
#define MEMBERS_MORE_NS (300 * NS_PER_MS) /* And thrice what the first took, from its answer. */

struct member {
    struct members *members;
    struct meta *meta; /* NULL: it could not even be begun. */
    struct meta_request request;
    bool asking;
    bool answers;
    char endpoint[META_ETCD_NAME_BYTES_MAX + 10];
    char trouble[256]; /* If it does not. */
};

/* Lives in whatever waits for it. */
struct members {
    struct iomesh_engine *engine;
    struct engine_hook hook;
    uint64_t began_ns;
    bool stale;   /* That it has something is enough: it need not know of a majority. */
    bool hurried; /* One has answered. */
    uint32_t count, asking;
    struct member items[META_ETCD_ENDPOINTS_MAX];
    void (*done)(struct members *members);
};

/* `done` once, from a turn: each of the items says whether it answers. 0, or as
 * meta_etcd_place_parse(). */
int members_start(struct members *members, struct iomesh_engine *engine, const char *url,
                  bool stale, void (*done)(struct members *members));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: the process's own, in memory; only what is attached to them is in the file.
 *
 *   grant ──▶ ALIVE ──ran out, or revoked──▶ ENDING ──keys deleted──▶ gone
 *               ▲                              │
 *               └──────── no space ────────────┘   (and again a second later, if it ran out)
 *
 * An ENDING lease takes no more puts. Those that were queued before it ended are executed before
 * its keys are deleted: the queue keeps the order.
 */
#include <stdlib.h>

#include "meta/sqlite/inside.h"

struct meta_sqlite_lease *meta_sqlite_lease_find(struct meta_sqlite *sqlite, uint64_t id)
{
    LIST_EACH (&sqlite->leases, node) {
        struct meta_sqlite_lease *lease = LIST_ENTRY(node, struct meta_sqlite_lease, node);
        if (lease->id == id)
            return lease;
    }
    return NULL;
}

static void lease_free(struct meta_sqlite *sqlite, struct meta_sqlite_lease *lease)
{
    clock_cancel(sqlite->clock, &lease->timer);
    list_remove(&lease->node);
    sqlite->lease_count--;
    meta_request_done(&lease->ending);
    free(lease);
}

void meta_sqlite_lease_ended(struct meta_request *request, int result)
{
    struct meta_sqlite_lease *lease = CONTAINER_OF(request, struct meta_sqlite_lease, ending);
    /* Otherwise its keys are still there: no lease that has keys is forgotten. */
    if (result == 0)
        lease_free(lease->sqlite, lease);
    else if (result == -ENOSPC || result == -ENOMEM)
        clock_set_after(lease->sqlite->clock, &lease->timer, NS_PER_S);
}

/* It ran out. */
static void lease_expired(struct timer *timer)
{
    struct meta_sqlite_lease *lease = CONTAINER_OF(timer, struct meta_sqlite_lease, timer);
    struct meta_sqlite *sqlite = lease->sqlite;
    lease->state = LEASE_ENDING;
    int result =
        meta_lease_revoke(&sqlite->meta, &lease->ending, lease->id, meta_sqlite_lease_ended);
    if (result != 0)
        clock_set_after(sqlite->clock, timer, NS_PER_S);
}

int meta_sqlite_lease_grant(struct meta_sqlite *sqlite, struct meta_request *request)
{
    if (sqlite->lease_count == META_LEASES_MAX || sqlite->lease_next == UINT32_MAX)
        return -EAGAIN;
    struct meta_sqlite_lease *lease = calloc(1, sizeof *lease);
    if (lease == NULL)
        return -ENOMEM;
    *lease = (struct meta_sqlite_lease){
        .sqlite = sqlite,
        .id = sqlite->file.opens << 32 | ++sqlite->lease_next,
        .ttl_ns = request->ttl_ns,
        .timer = {.fire = lease_expired},
    };
    list_push_back(&sqlite->leases, &lease->node);
    sqlite->lease_count++;
    clock_set_after(sqlite->clock, &lease->timer, lease->ttl_ns);
    request->lease = lease->id;
    return 0;
}

int meta_sqlite_lease_keep(struct meta_sqlite *sqlite, struct meta_request *request)
{
    struct meta_sqlite_lease *lease = meta_sqlite_lease_find(sqlite, request->lease);
    if (lease == NULL || lease->state == LEASE_ENDING)
        return -ENOENT;
    clock_set_after(sqlite->clock, &lease->timer, lease->ttl_ns);
    request->ttl_ns = lease->ttl_ns;
    return 0;
}

int meta_sqlite_lease_revoke(struct meta_sqlite *sqlite, struct meta_request *request)
{
    struct meta_sqlite_lease *lease = meta_sqlite_lease_find(sqlite, request->lease);
    if (lease == NULL || (lease->state == LEASE_ENDING && request != &lease->ending))
        return -ENOENT;
    lease->state = LEASE_ENDING;
    clock_cancel(sqlite->clock, &lease->timer);
    return 0;
}

void meta_sqlite_lease_revoked(struct meta_sqlite *sqlite, struct meta_request *request, int result)
{
    struct meta_sqlite_lease *lease = meta_sqlite_lease_find(sqlite, request->lease);
    if (lease == NULL || request == &lease->ending)
        return; /* Ours: meta_sqlite_lease_ended() does the rest. */
    if (result == 0) {
        lease_free(sqlite, lease);
    } else {
        lease->state = LEASE_ALIVE;
        clock_set_after(sqlite->clock, &lease->timer, lease->ttl_ns);
    }
}

void meta_sqlite_leases_done(struct meta_sqlite *sqlite)
{
    struct list *node;
    while ((node = list_first(&sqlite->leases)) != NULL)
        lease_free(sqlite, LIST_ENTRY(node, struct meta_sqlite_lease, node));
}

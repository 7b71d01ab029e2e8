/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This process among those that use the pool: a leased key, kept alive.
 *
 * The lease is lost if the process slept longer than it lasts, or could not reach the metadata. An
 * embedded pool has one process, so nobody took anything meanwhile: it gets a new session. In a
 * cluster the same session is put under a new lease: volumes name it still, unless somebody took
 * them. So each is looked at after the key is there, for from then on nobody takes any, and before
 * the new bound counts for it. Their I/O waited since the old bound, and goes on.
 *
 *   WAIT ──▶ KEEP the lease ──▶ (a cluster: LOOK at the key) ──▶ WAIT: the bound has moved
 *    ▲         └──────────────────┴─ it is gone ──▶ GRANT ──▶ PUT the key ─┐
 *    └────────────────────────── (a cluster: volumes are looked at) ───────┘
 */
#include <stdio.h>

#include "volume/catalog_cluster.h"

#define SESSION_BOUND(ttl_ns) ((ttl_ns) / 5 * 4)

int catalog_session_encode(const struct catalog *catalog, struct metadata_bytes *ret_value)
{
    struct metadata_session session = {
        .id = catalog->session.id,
        .started_ns = clock_wall_ns(catalog->options.clock),
    };
    const struct catalog_cluster *cluster = &catalog->cluster;
    if (cluster->node != NULL)
        (void)snprintf(session.node, sizeof session.node, "%s", cluster->node);
    if (cluster->address != NULL)
        (void)snprintf(session.address, sizeof session.address, "%s", cluster->address);
    return metadata_session_encode(&session, ret_value);
}

int catalog_session_put(struct catalog *catalog, struct meta_request *request)
{
    struct metadata_bytes value = {0};
    int result = catalog_session_encode(catalog, &value);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_session_key(catalog->session.id);
    meta_put(request, META_SLICE(key), META_SLICE(value), catalog->session.lease);
    metadata_bytes_done(&value);
    return 0;
}

void catalog_session_granted(struct catalog *catalog, const struct meta_request *request)
{
    uint64_t wanted = catalog->cluster.session_ttl_ns;
    catalog->session.lease = request->lease;
    if (catalog->session.id == 0 || !catalog_is_cluster(catalog))
        catalog->session.id = request->lease;
    catalog->session.ttl_ns =
        MIN(request->ttl_ns, wanted != 0 ? wanted : (uint64_t)CATALOG_SESSION_TTL_NS);
}

void catalog_session_confirmed(struct catalog *catalog)
{
    struct catalog_session *session = &catalog->session;
    session->bound_ns = session->sent_ns + SESSION_BOUND(session->ttl_ns);
    catalog_owned_lease(catalog);
}

static void session_wait_for(struct catalog *catalog, uint64_t delay_ns)
{
    catalog->session.flying = false;
    if (catalog->state == CATALOG_CLOSING)
        return;
    clock_set_after(catalog->options.clock, &catalog->session.timer, delay_ns);
}

static void session_wait(struct catalog *catalog)
{
    session_wait_for(catalog, catalog->session.ttl_ns / 4);
}

/* It did not work out; in a cluster the bound comes near. */
static void session_wait_less(struct catalog *catalog)
{
    session_wait_for(catalog, catalog->session.ttl_ns / (catalog_is_cluster(catalog) ? 16 : 4));
}

static struct catalog *session_catalog(struct meta_request *request)
{
    return CONTAINER_OF(request, struct catalog, session.request);
}

static void session_put(struct meta_request *request, int result)
{
    struct catalog *catalog = session_catalog(request);
    if (result != 0) {
        session_wait_less(catalog); /* Gone or failed: the next keeping alive finds out. */
        return;
    }
    catalog->session.revision = request->revision;
    if (!MUTANT(430))
        catalog_owned_doubt(catalog);
    catalog_session_confirmed(catalog);
    session_wait(catalog);
}

static void session_granted(struct meta_request *request, int result)
{
    struct catalog *catalog = session_catalog(request);
    if (result == 0) {
        catalog_session_granted(catalog, request);
        meta_request_reset(request);
        if (catalog_session_put(catalog, request) == 0 &&
            meta_commit(catalog->options.meta, request, session_put) == 0)
            return;
    }
    session_wait_less(catalog);
}

static void session_lost(struct catalog *catalog)
{
    uint64_t ttl_ns = catalog->cluster.session_ttl_ns;
    catalog_tell(catalog, STORE_WARNING, 0, 0,
                 "the session of this process ran out: it was stopped, or cut off from the "
                 "metadata, for longer than that lasts; it begins anew");
    catalog_views_end(catalog);
    catalog->session.sent_ns = clock_now_ns(catalog->options.clock);
    if (meta_lease_grant(catalog->options.meta, &catalog->session.request,
                         ttl_ns != 0 ? ttl_ns : CATALOG_SESSION_TTL_NS, session_granted) != 0)
        session_wait_less(catalog);
}

static void session_looked(struct meta_request *request, int result)
{
    struct catalog *catalog = session_catalog(request);
    const struct meta_response *response = &request->responses[0];
    if (result != 0 || catalog->state != CATALOG_READY) {
        session_wait_less(catalog);
    } else if (response->entry_count == 0) {
        session_lost(catalog);
    } else if (response->entries[0].modified_revision != catalog->session.revision) {
        REACH(catalog_session_touched);
        catalog->session.revision = response->entries[0].modified_revision;
        catalog_owned_doubt(catalog);
        session_wait_less(catalog);
    } else {
        catalog_session_confirmed(catalog);
        session_wait(catalog);
    }
}

static void session_look(struct catalog *catalog)
{
    struct meta_request *request = &catalog->session.request;
    struct metadata_key key = metadata_session_key(catalog->session.id);
    meta_request_reset(request);
    meta_get(request, META_SLICE(key));
    if (meta_commit(catalog->options.meta, request, session_looked) != 0)
        session_wait_less(catalog);
}

static void session_kept(struct meta_request *request, int result)
{
    struct catalog *catalog = session_catalog(request);
    if (result == -ENOENT && catalog->state == CATALOG_READY)
        session_lost(catalog);
    else if (result == 0 && catalog_is_cluster(catalog) && catalog->state == CATALOG_READY)
        session_look(catalog);
    else if (result == 0)
        session_wait(catalog);
    else
        session_wait_less(catalog);
}

static void session_keep(struct timer *timer)
{
    struct catalog *catalog = CONTAINER_OF(timer, struct catalog, session.timer);
    catalog->session.sent_ns = clock_now_ns(catalog->options.clock);
    int error = meta_lease_keep(catalog->options.meta, &catalog->session.request,
                                catalog->session.lease, session_kept);
    if (error != 0)
        session_wait_less(catalog);
    else
        catalog->session.flying = true;
}

void catalog_session_start(struct catalog *catalog)
{
    catalog->session.timer.fire = session_keep;
    session_wait(catalog);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This process among those that use the pool: a leased key, kept alive.
 *
 * The lease is lost only if the process slept longer than it lasts. An embedded pool has one
 * process, so nobody took anything meanwhile: it gets a new one.
 */
#include "volume/catalog_inside.h"

int catalog_session_put(struct catalog *catalog, struct meta_request *request)
{
    struct metadata_session session = {
        .id = catalog->session.lease,
        .started_ns = clock_wall_ns(catalog->options.clock),
    };
    struct metadata_bytes value = {0};
    int result = metadata_session_encode(&session, &value);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_session_key(session.id);
    meta_put(request, META_SLICE(key), META_SLICE(value), catalog->session.lease);
    metadata_bytes_done(&value);
    return 0;
}

static void session_wait(struct catalog *catalog)
{
    catalog->session.flying = false;
    if (catalog->state == CATALOG_CLOSING)
        return;
    clock_set_after(catalog->options.clock, &catalog->session.timer, CATALOG_SESSION_TTL_NS / 4);
}

static struct catalog *session_catalog(struct meta_request *request)
{
    return CONTAINER_OF(request, struct catalog, session.request);
}

static void session_put(struct meta_request *request, int result)
{
    (void)result; /* Gone or failed: the next keeping alive finds out. */
    session_wait(session_catalog(request));
}

static void session_granted(struct meta_request *request, int result)
{
    struct catalog *catalog = session_catalog(request);
    if (result == 0) {
        catalog->session.lease = request->lease;
        meta_request_reset(request);
        if (catalog_session_put(catalog, request) == 0 &&
            meta_commit(catalog->options.meta, request, session_put) == 0)
            return;
    }
    session_wait(catalog);
}

static void session_kept(struct meta_request *request, int result)
{
    struct catalog *catalog = session_catalog(request);
    if (result == -ENOENT && catalog->state == CATALOG_READY) {
        catalog_tell(catalog, STORE_WARNING, 0, 0,
                     "the session of this process ran out; it begins a new one");
        if (meta_lease_grant(catalog->options.meta, request, CATALOG_SESSION_TTL_NS,
                             session_granted) == 0)
            return;
    }
    session_wait(catalog);
}

static void session_keep(struct timer *timer)
{
    struct catalog *catalog = CONTAINER_OF(timer, struct catalog, session.timer);
    int error = meta_lease_keep(catalog->options.meta, &catalog->session.request,
                                catalog->session.lease, session_kept);
    if (error != 0)
        session_wait(catalog);
    else
        catalog->session.flying = true;
}

void catalog_session_start(struct catalog *catalog)
{
    catalog->session.timer.fire = session_keep;
    session_wait(catalog);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening, turning, closing.
 *
 *   LOOK ──▶ GRANT (a lease) ──▶ RECORD (incarnation, session) ──▶ ready ──▶ REVOKE ──▶ gone
 *     │        ▲                   │
 *     │        └── it ran out ─────┘
 *     └──────── read-only ───────────────────────────────────────▶ ready ──────────────▶ gone
 *
 * In a cluster LOOK is followed by a list of its stores, and RECORD is of the session alone.
 */
#include "volume/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

/* --- Memory --------------------------------------------------------------------------------- */

static void catalog_free(struct catalog *catalog)
{
    clock_cancel(catalog->options.clock, &catalog->session.timer);
    meta_request_done(&catalog->ids.request);
    meta_request_done(&catalog->session.request);
    meta_request_done(&catalog->scan.request);
    meta_request_done(&catalog->request);
    metadata_store_done(&catalog->store_record);
    stores_done(&catalog->stores);
    catalog_wishes_done(catalog);
    free(catalog);
}

void catalog_abandon(struct catalog *catalog)
{
    catalog_chores_abandon(catalog);
    catalog_ops_abandon(catalog);
    catalog_free(catalog);
}

static struct catalog *catalog_new(const struct catalog_options *options)
{
    struct catalog *catalog = calloc(1, sizeof *catalog);
    if (catalog == NULL)
        return NULL;
    struct catalog_options *own = &catalog->options;
    *own = *options;
    own->operations_max = own->operations_max != 0 ? own->operations_max : 1024;
    own->volumes_max = own->volumes_max != 0 ? own->volumes_max : 4096;
    own->id_lot = own->id_lot != 0 ? own->id_lot : 1024;
    own->sequence_lot = own->sequence_lot != 0 ? own->sequence_lot : 1ull << 26;
    if (own->cluster != NULL) {
        catalog->cluster = *own->cluster;
        own->cluster = &catalog->cluster;
    }
    for (unsigned i = 0; i < CATALOG_BUCKETS; i++)
        list_init(&catalog->buckets[i]);
    list_init(&catalog->ops);
    list_init(&catalog->later);
    list_init(&catalog->lots_later);
    list_init(&catalog->chores);
    list_init(&catalog->chores_ready);
    list_init(&catalog->rollings);
    list_init(&catalog->flattens);
    list_init(&catalog->ids.waiting);
    list_init(&catalog->owned);
    list_init(&catalog->views);
    list_init(&catalog->owned_later);
    list_init(&catalog->owned_wishful);
    list_init(&catalog->releases);
    return catalog;
}

/* --- Opening -------------------------------------------------------------------------------- */

static void open_end(struct catalog *catalog, int result)
{
    catalog_done_fn *done = catalog->done;
    void *context = catalog->context;
    if (result != 0) {
        catalog_free(catalog);
        done(context, result);
        return;
    }
    catalog->state = CATALOG_READY;
    if (!catalog->options.read_only) {
        catalog_session_start(catalog);
        if (catalog_is_cluster(catalog))
            catalog_wishes_start(catalog);
        if (catalog_may_write(catalog))
            catalog_scan_start(catalog);
    }
    done(context, 0);
}

static int open_record(struct catalog *catalog)
{
    if (catalog_is_cluster(catalog)) {
        meta_request_reset(&catalog->request);
        return catalog_session_put(catalog, &catalog->request);
    }
    struct metadata_store *record = &catalog->store_record;
    struct metadata_key key = metadata_store_key(CATALOG_STORE_ID);
    struct metadata_bytes value = {0};
    record->incarnation = store_incarnation(catalog->options.store);
    int result = metadata_store_encode(record, &value);
    if (result != 0)
        return result;
    meta_request_reset(&catalog->request);
    meta_if_modified(&catalog->request, META_SLICE(key), catalog->store_revision);
    meta_put(&catalog->request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return catalog_session_put(catalog, &catalog->request);
}

static void open_grant(struct catalog *catalog);

static void open_recorded(struct meta_request *request, int result)
{
    struct catalog *catalog = CONTAINER_OF(request, struct catalog, request);
    if (result == 0 && !request->succeeded)
        result = IOMESH_CONFLICT;
    /* The machine stood still for longer than the lease lasts, and nothing was recorded. */
    if (result == -ENOENT && !MUTANT(110)) {
        REACH(catalog_session_ran_out);
        open_grant(catalog);
        return;
    }
    if (result != 0) {
        FAIL(result, "recording that the store is open: %s", base_error_text(result));
    } else {
        catalog->session.revision = request->revision;
        catalog_session_confirmed(catalog);
    }
    open_end(catalog, result);
}

static void open_granted(struct meta_request *request, int result)
{
    struct catalog *catalog = CONTAINER_OF(request, struct catalog, request);
    if (result == 0) {
        catalog_session_granted(catalog, request);
        result = open_record(catalog);
    }
    if (result == 0)
        result = meta_commit(catalog->options.meta, request, open_recorded);
    if (result != 0)
        open_end(catalog, FAIL(result, "a session in the metadata: %s", base_error_text(result)));
}

static void open_grant(struct catalog *catalog)
{
    uint64_t ttl_ns = catalog->cluster.session_ttl_ns;
    catalog->session.sent_ns = clock_now_ns(catalog->options.clock);
    int result = meta_lease_grant(catalog->options.meta, &catalog->request,
                                  ttl_ns != 0 ? ttl_ns : CATALOG_SESSION_TTL_NS, open_granted);
    if (result != 0)
        open_end(catalog, result);
}

static int open_check(struct catalog *catalog, const struct catalog_look *look)
{
    struct store *store = catalog->options.store;
    if (memcmp(look->store_uuid, store_uuid(store), sizeof look->store_uuid) != 0)
        return FAIL(-EINVAL, "the metadata is of another pool: its store is another one");
    /* The store has a new incarnation whenever it opens, unless nothing may be written. */
    bool newer = store_state(store) == STORE_READY && !catalog->options.read_only;
    if (store_incarnation(store) < look->incarnation + (newer ? 1 : 0))
        return FAIL(IOMESH_FORMAT,
                    "the store has incarnation %llu, but the pool has seen %llu: an old image was "
                    "put back",
                    (unsigned long long)store_incarnation(store),
                    (unsigned long long)look->incarnation);
    return 0;
}

/* --- Opening: a cluster --------------------------------------------------------------------- */

static void open_listed(void *context, int result)
{
    struct catalog *catalog = context;
    if (result != 0)
        open_end(catalog,
                 FAIL(result, "reading which stores the pool has: %s", base_error_text(result)));
    else if (catalog->options.read_only)
        open_end(catalog, 0);
    else
        open_grant(catalog);
}

static void open_store_changed(void *context, uint64_t store, const struct metadata_store *record)
{
    const struct catalog *catalog = context;
    if (catalog->cluster.store_changed != NULL)
        catalog->cluster.store_changed(catalog->cluster.context, store, record);
}

static void open_store_fault(void *context, const char *text)
{
    catalog_tell(context, STORE_ERROR, 0, 0, "%s", text);
}

static void open_cluster_looked(struct meta_request *request, int result)
{
    struct catalog *catalog = CONTAINER_OF(request, struct catalog, request);
    struct stores_options stores = {
        .meta = catalog->options.meta,
        .clock = catalog->options.clock,
        .changed = open_store_changed,
        .fault = open_store_fault,
        .context = catalog,
    };
    if (result != 0)
        FAIL(result, "reading the metadata of the pool: %s", base_error_text(result));
    else
        result = catalog_look_pool(request, catalog->pool_uuid);
    if (result == 0)
        result = stores_start(&catalog->stores, &stores, open_listed);
    if (result != 0)
        open_end(catalog, result);
}

/* --- Opening: a store ----------------------------------------------------------------------- */

static void open_looked(struct meta_request *request, int result)
{
    struct catalog *catalog = CONTAINER_OF(request, struct catalog, request);
    struct catalog_look look;
    if (result != 0)
        FAIL(result, "reading the metadata of the pool: %s", base_error_text(result));
    else
        result =
            catalog_look_read(request, &look, &catalog->store_record, &catalog->store_revision);
    if (result == 0) {
        memcpy(catalog->pool_uuid, look.pool_uuid, sizeof catalog->pool_uuid);
        result = open_check(catalog, &look);
    }
    if (result != 0 || catalog->options.read_only)
        open_end(catalog, result);
    else
        open_grant(catalog);
}

int catalog_open(const struct catalog_options *options, struct catalog **ret_catalog,
                 catalog_done_fn *done, void *context)
{
    assert((options->store == NULL) == (options->cluster != NULL));
    struct catalog *catalog = catalog_new(options);
    if (catalog == NULL)
        return FAIL(-ENOMEM, "opening the volumes of a pool: no memory");
    catalog->done = done;
    catalog->context = context;
    catalog_look_build(&catalog->request);
    int result = meta_commit(options->meta, &catalog->request,
                             catalog_is_cluster(catalog) ? open_cluster_looked : open_looked);
    if (result != 0) {
        catalog_free(catalog);
        return result;
    }
    *ret_catalog = catalog;
    return 0;
}

/* --- Closing -------------------------------------------------------------------------------- */

void catalog_close(struct catalog *catalog, catalog_done_fn *done, void *context)
{
    assert(catalog->state == CATALOG_READY);
    assert(catalog->handle_count == 0);
    catalog->state = CATALOG_CLOSING;
    catalog->done = done;
    catalog->context = context;
    clock_cancel(catalog->options.clock, &catalog->session.timer);
    stores_stop(&catalog->stores);
    catalog_wishes_stop(catalog);
    catalog_owned_stop(catalog);
    catalog_records_stop(catalog);
    catalog_rollings_stop(catalog);
    catalog_flattens_stop(catalog);
}

static void close_end(struct catalog *catalog, int result)
{
    catalog_done_fn *done = catalog->done;
    void *context = catalog->context;
    assert(catalog->volume_count == 0);
    catalog_free(catalog);
    done(context, result);
}

static void close_revoked(struct meta_request *request, int result)
{
    /* The lease is forgotten anyway when the metadata is closed. */
    (void)result;
    close_end(CONTAINER_OF(request, struct catalog, request), 0);
}

/* True: the catalog may be gone. */
static bool close_step(struct catalog *catalog)
{
    catalog_chores_leave(catalog);
    catalog_releases_leave(catalog);
    if (!list_empty(&catalog->ops) || !list_empty(&catalog->chores) || catalog->ids.flying ||
        catalog->scan.flying || catalog->session.flying || catalog->request.flying ||
        stores_flying(&catalog->stores) || catalog->wishes.request.flying)
        return false;
    int result = catalog->options.read_only
                     ? -ENOENT
                     : meta_lease_revoke(catalog->options.meta, &catalog->request,
                                         catalog->session.lease, close_revoked);
    if (result != 0 && result != -EAGAIN)
        close_end(catalog, 0);
    return true;
}

/* --- Turning -------------------------------------------------------------------------------- */

unsigned catalog_turn(struct catalog *catalog)
{
    if (catalog->state == CATALOG_OPENING)
        return 0;
    catalog_ids_turn(catalog);
    unsigned ran = catalog_ops_turn(catalog);
    catalog_lots_turn(catalog);
    catalog_wishes_turn(catalog);
    catalog_owned_turn(catalog);
    catalog_scan_turn(catalog);
    ran += catalog_chores_turn(catalog);
    if (catalog->state == CATALOG_CLOSING && close_step(catalog))
        return ran + 1;
    return ran;
}

void catalog_pool_uuid(const struct catalog *catalog, uint8_t ret_uuid[16])
{
    memcpy(ret_uuid, catalog->pool_uuid, sizeof catalog->pool_uuid);
}

const struct stores *catalog_stores(const struct catalog *catalog)
{
    return &catalog->stores;
}

uint64_t catalog_session(const struct catalog *catalog)
{
    return catalog->session.lease;
}

void catalog_set_replica(struct catalog *catalog, const struct replica_options *replica)
{
    catalog->cluster.replica = *replica;
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->copies != NULL)
            copies_patience(owned->copies, replica);
    }
}

void catalog_set_resync(struct catalog *catalog, uint64_t bytes_per_s)
{
    catalog->cluster.resync_bytes_per_s = bytes_per_s;
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->copies != NULL)
            catalog_owned_rate(owned);
    }
}

void catalog_counts(const struct catalog *catalog, struct catalog_counts *ret_counts)
{
    *ret_counts = (struct catalog_counts){
        .operations = catalog->op_count,
        .volumes_open = catalog->volume_count,
        .handles = catalog->handle_count,
        .deletions = catalog->chore_count,
        .looked =
            catalog->state != CATALOG_OPENING && !catalog->scan.flying && !catalog->scan.again,
    };
}

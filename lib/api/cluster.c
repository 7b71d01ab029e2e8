/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster's pool: opening, its record, closing.
 *
 *   READ the record ──▶ engines, catalog ──▶ open, WATCH the record ──┐
 *     ▲                                                               │ it ended
 *     └──────────── after a second ◀──────────────────────────────────┘
 */
#include "api/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "meta/etcd/etcd.h"
#include "tls/tls.h"

#define RECORD_AGAIN_NS NS_PER_S

int cluster_refuse_embedded(const struct iomesh_pool *pool, const char *what)
{
    if (pool->cluster != NULL)
        return 0;
    return FAIL(-ENOTSUP, "%s: %s is of a cluster's pool, etcd://…: this one is a directory",
                pool->url, what);
}

const struct stores *cluster_stores(const struct cluster *cluster)
{
    return catalog_stores(cluster->pool->catalog);
}

const struct metadata_cluster *cluster_settings(const struct cluster *cluster)
{
    return &cluster->record;
}

/* --- The record ----------------------------------------------------------------------------- */

static struct replica_options replica_of(const struct metadata_cluster *record)
{
    return (struct replica_options){
        .grace_ns = record->grace_ms * NS_PER_MS,
        .copy_timeout_ns = record->copy_timeout_ms * NS_PER_MS,
        .slow_ns = record->slow_ms * NS_PER_MS,
    };
}

/* The newer one counts, whoever tells of it. */
static int record_take(struct cluster *cluster, const struct meta_entry *entry)
{
    struct metadata_cluster record;
    if (entry->modified_revision <= cluster->revision)
        return 0;
    int result = metadata_cluster_decode(entry->value.data, entry->value.length, &record);
    if (result == IOMESH_FORMAT)
        return result; /* With a sentence. */
    if (result != 0)
        return FAIL(result, "%s: the record of the pool: %s", cluster->pool->url,
                    base_error_text(result));
    metadata_cluster_done(&cluster->record);
    cluster->record = record;
    cluster->revision = entry->modified_revision;
    return 0;
}

static void record_tell(struct cluster *cluster)
{
    struct replica_options replica = replica_of(&cluster->record);
    if (cluster->pool->catalog != NULL) {
        catalog_set_replica(cluster->pool->catalog, &replica);
        catalog_set_resync(cluster->pool->catalog, cluster->record.resync_volume_bytes_max);
        copies_engine_rate(cluster->copies, cluster->record.resync_engine_bytes_max);
        cluster_ports_silence(cluster);
    }
    LIST_EACH_SAFE (&cluster->watches, node, next) {
        struct cluster_watch *watch = LIST_ENTRY(node, struct cluster_watch, node);
        if (watch->settings != NULL)
            watch->settings(watch);
    }
}

static void record_fault(struct cluster *cluster)
{
    api_trace(cluster->pool->engine, IOMESH_SEVERITY_CRITICAL, IOMESH_EVENT_POOL, base_last_error(),
              NULL, 0);
}

static void record_event(struct meta_watch *watch, const struct meta_event *event)
{
    struct cluster *cluster = CONTAINER_OF(watch, struct cluster, watch);
    struct metadata_key key = metadata_cluster_key();
    uint64_t before = cluster->revision;
    if (event->kind != META_EVENT_PUT || event->entry.key.length != key.length)
        return;
    if (record_take(cluster, &event->entry) != 0)
        record_fault(cluster);
    else if (cluster->revision != before)
        record_tell(cluster);
}

static void record_later(struct cluster *cluster)
{
    if (!cluster->closing)
        clock_set_after(cluster->pool->clock, &cluster->timer, RECORD_AGAIN_NS);
}

static void record_ended(struct meta_watch *watch, int result)
{
    struct cluster *cluster = CONTAINER_OF(watch, struct cluster, watch);
    (void)result;
    cluster->watching = false;
    record_later(cluster);
}

static void record_watch(struct cluster *cluster, uint64_t from)
{
    struct metadata_key key = metadata_cluster_key();
    cluster->watching = meta_watch_start(cluster->pool->meta, &cluster->watch, META_SLICE(key),
                                         from, record_event, record_ended) == 0;
    if (!cluster->watching)
        record_later(cluster);
}

static int record_ask(struct cluster *cluster, meta_done_fn *done)
{
    struct metadata_key key = metadata_cluster_key();
    meta_request_reset(&cluster->request);
    meta_get(&cluster->request, META_SLICE(key));
    return meta_commit(cluster->pool->meta, &cluster->request, done);
}

/* What the answer says, with a sentence. */
static int record_read(struct cluster *cluster, int result)
{
    const char *url = cluster->pool->url;
    if (result != 0) {
        struct meta_etcd_state state;
        meta_etcd_state(cluster->pool->meta, &state);
        return FAIL(result, "%s: the metadata: %s%s%s", url, base_error_text(result),
                    state.trouble[0] != '\0' ? ": " : "", state.trouble);
    }
    const struct meta_response *response = &cluster->request.responses[0];
    if (response->entry_count == 0)
        return FAIL(-ENOENT, "%s: no pool there: make one with pool init", url);
    return record_take(cluster, &response->entries[0]);
}

static void record_read_again(struct meta_request *request, int result)
{
    struct cluster *cluster = CONTAINER_OF(request, struct cluster, request);
    uint64_t before = cluster->revision;
    if (cluster->closing)
        return;
    result = record_read(cluster, result);
    if (result != 0) {
        record_later(cluster);
        return;
    }
    record_watch(cluster, request->revision + 1);
    if (cluster->revision != before)
        record_tell(cluster);
}

static void record_fire(struct timer *timer)
{
    struct cluster *cluster = CONTAINER_OF(timer, struct cluster, timer);
    if (record_ask(cluster, record_read_again) != 0)
        record_later(cluster);
}

/* --- Opening -------------------------------------------------------------------------------- */

static struct part_port *open_port(void *context, uint64_t store)
{
    return cluster_port(context, store);
}

static int open_engines(struct cluster *cluster)
{
    struct iomesh_pool *pool = cluster->pool;
    struct copies_engine_options copies = {
        .clock = pool->clock, .resync_bytes_per_s = cluster->record.resync_engine_bytes_max};
    struct volume_engine_options volumes = {.op_count = pool->options.requests_max};
    int result = copies_engine_open(&copies, &cluster->copies);
    return result != 0 ? result : volume_engine_open(&volumes, &pool->volume_engine);
}

static int open_catalog(struct cluster *cluster)
{
    struct iomesh_pool *pool = cluster->pool;
    struct catalog_cluster with = {
        .node = cluster->node,
        .address = cluster->address,
        .zone = cluster->zone,
        .rack = cluster->rack,
        .copies = cluster->copies,
        .replica = replica_of(&cluster->record),
        .resync_bytes_per_s = cluster->record.resync_volume_bytes_max,
        .port = open_port,
        .store_changed = cluster_store_changed,
        .context = cluster,
    };
    struct catalog_options options = {
        .meta = pool->meta,
        .cluster = &with,
        .volumes = pool->volume_engine,
        .clock = pool->clock,
        .read_only = pool->options.flags & IOMESH_POOL_READ_ONLY,
        .volumes_max = pool->options.volumes_max,
        .event = pool_catalog_event,
        .context = pool,
    };
    return catalog_open(&options, &pool->catalog, cluster->opened, pool);
}

static void open_read(struct meta_request *request, int result)
{
    struct cluster *cluster = CONTAINER_OF(request, struct cluster, request);
    struct iomesh_pool *pool = cluster->pool;
    result = record_read(cluster, result);
    if (result == 0) {
        memcpy(pool->uuid, cluster->record.uuid, sizeof pool->uuid);
        memcpy(cluster->uuid, cluster->record.uuid, sizeof cluster->uuid);
        pool->state = POOL_CATALOG;
        result = open_engines(cluster);
    }
    if (result == 0)
        result = open_catalog(cluster);
    if (result != 0)
        cluster->opened(pool, result);
    else
        record_watch(cluster, request->revision + 1);
}

int cluster_open(struct iomesh_pool *pool, catalog_done_fn *opened)
{
    struct cluster *cluster = pool->cluster;
    cluster->opened = opened;
    cluster->timer.fire = record_fire;
    return record_ask(cluster, open_read);
}

/* --- Turning, closing ----------------------------------------------------------------------- */

bool cluster_turn(struct cluster *cluster)
{
    if (cluster->copies == NULL)
        return false;
    copies_engine_turn(cluster->copies);
    return copies_engine_turn_needed(cluster->copies);
}

void cluster_close(struct cluster *cluster)
{
    if (cluster->closing)
        return;
    cluster->closing = true;
    clock_cancel(cluster->pool->clock, &cluster->timer);
    if (cluster->watching)
        meta_watch_cancel(cluster->pool->meta, &cluster->watch);
    cluster->watching = false;
    cluster_stores_close(cluster);
}

bool cluster_quiet(const struct cluster *cluster)
{
    return cluster == NULL || (cluster->ports == 0 && !cluster->request.flying);
}

void cluster_free(struct cluster *cluster)
{
    if (cluster == NULL)
        return;
    cluster_stores_free(cluster);
    tls_net_close(cluster->tls);
    copies_engine_close(cluster->copies);
    meta_request_done(&cluster->request);
    metadata_cluster_done(&cluster->record);
    free(cluster);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The stores of a cluster: a port for each, made when it is first asked for; who hears of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cluster.h"

/* Refuses at once, whoever connects to it. */
#define NOWHERE "unix:/"
#define SILENCE_NS (2 * NS_PER_S) /* As copy_timeout_ns of struct replica_options. */

/* --- Watches -------------------------------------------------------------------------------- */

void cluster_watch_add(struct cluster *cluster, struct cluster_watch *watch)
{
    list_push_back(&cluster->watches, &watch->node);
}

void cluster_watch_remove(struct cluster_watch *watch)
{
    if (watch->node.next != NULL)
        list_remove(&watch->node);
}

static void tell_port(struct cluster *cluster, const struct part_port *port)
{
    LIST_EACH_SAFE (&cluster->watches, node, next) {
        struct cluster_watch *watch = LIST_ENTRY(node, struct cluster_watch, node);
        if (watch->port != NULL)
            watch->port(watch, port);
    }
}

static void tell_store(struct cluster *cluster, uint64_t store, const struct metadata_store *record)
{
    LIST_EACH_SAFE (&cluster->watches, node, next) {
        struct cluster_watch *watch = LIST_ENTRY(node, struct cluster_watch, node);
        if (watch->store != NULL)
            watch->store(watch, store, record);
    }
}

/* --- Stores --------------------------------------------------------------------------------- */

static struct cluster_store *store_find(const struct cluster *cluster, uint64_t id)
{
    LIST_EACH (&cluster->stores[id % CLUSTER_BUCKETS], node) {
        struct cluster_store *store = LIST_ENTRY(node, struct cluster_store, node);
        if (store->id == id)
            return store;
    }
    return NULL;
}

/* NULL: no memory. */
static struct cluster_store *store_take(struct cluster *cluster, uint64_t id)
{
    struct cluster_store *store = store_find(cluster, id);
    if (store != NULL)
        return store;
    store = calloc(1, sizeof *store);
    if (store == NULL)
        return NULL;
    store->cluster = cluster;
    store->id = id;
    list_push_back(&cluster->stores[id % CLUSTER_BUCKETS], &store->node);
    return store;
}

static void store_moved(struct cluster_store *store, const struct metadata_store *record)
{
    bool moved = strcmp(store->address, record->address) != 0;
    bool back = store->incarnation != record->incarnation;
    store->incarnation = record->incarnation;
    (void)snprintf(store->address, sizeof store->address, "%s", record->address);
    if (store->peer == NULL)
        return;
    if (moved)
        (void)peer_port_move(store->peer, store->address[0] != '\0' ? store->address : NOWHERE);
    if (moved || back)
        peer_port_retry(store->peer);
}

void cluster_store_changed(void *context, uint64_t id, const struct metadata_store *record)
{
    struct cluster *cluster = context;
    struct cluster_store *store =
        record != NULL ? store_take(cluster, id) : store_find(cluster, id);
    if (store != NULL) {
        store->listed = record != NULL;
        if (record != NULL)
            store_moved(store, record);
    }
    tell_store(cluster, id, record);
}

/* --- Ports ---------------------------------------------------------------------------------- */

static void port_told(struct cluster *cluster, struct part_port *port)
{
    if (cluster->pool->catalog != NULL && !cluster->closing)
        catalog_port_changed(cluster->pool->catalog, port);
    tell_port(cluster, port);
    engine_touch(cluster->pool->engine->engine);
}

static void port_changed(void *context, struct part_port *port)
{
    const struct cluster_store *store = context;
    if (store->local == NULL)
        port_told(store->cluster, port);
}

/* A store that says nothing for so long is away, whether something is asked of it or not. */
static uint64_t silence_ns(const struct cluster *cluster)
{
    uint64_t ms = cluster->record.copy_timeout_ms;
    return ms != 0 ? ms * NS_PER_MS : SILENCE_NS;
}

void cluster_ports_silence(struct cluster *cluster)
{
    for (uint32_t i = 0; i < CLUSTER_BUCKETS; i++) {
        LIST_EACH (&cluster->stores[i], node) {
            const struct cluster_store *store = LIST_ENTRY(node, struct cluster_store, node);
            if (store->peer != NULL)
                peer_port_silence(store->peer, silence_ns(cluster));
        }
    }
}

static struct part_port *store_connect(struct cluster_store *store)
{
    struct cluster *cluster = store->cluster;
    struct peer_port_options options = {
        .net = cluster->net,
        .clock = cluster->pool->clock,
        .address = store->address[0] != '\0' ? store->address : NOWHERE,
        .store = store->id,
        .engine = cluster->engine,
        .silence_ns = silence_ns(cluster),
        .seed = cluster->seed ^ store->id,
    };
    memcpy(options.pool, cluster->uuid, sizeof options.pool);
    if (cluster->closing || peer_port_open(&options, &store->peer) != 0)
        return NULL;
    cluster->ports++;
    struct part_port *port = peer_port_part(store->peer);
    port->changed = port_changed;
    port->context = store;
    engine_touch(cluster->pool->engine->engine);
    return port;
}

static struct part_port *store_port_now(struct cluster_store *store)
{
    if (store->local != NULL)
        return store->local;
    return store->peer != NULL ? peer_port_part(store->peer) : store_connect(store);
}

struct part_port *cluster_port(struct cluster *cluster, uint64_t id)
{
    struct cluster_store *store = store_find(cluster, id);
    return store != NULL ? store_port_now(store) : NULL;
}

const char *cluster_port_sentence(const struct cluster *cluster, uint64_t id)
{
    const struct cluster_store *store = store_find(cluster, id);
    if (store == NULL || store->local != NULL)
        return "";
    if (store->address[0] == '\0')
        return "no program has served it yet";
    return store->peer != NULL ? peer_port_sentence(store->peer) : "";
}

int cluster_serve(struct cluster *cluster, uint64_t id, struct part_port *port)
{
    struct cluster_store *store = store_take(cluster, id);
    if (store == NULL)
        return FAIL(-ENOMEM, "store %llu: no memory", (unsigned long long)id);
    store->local = port;
    port_told(cluster, port);
    return 0;
}

void cluster_unserve(struct cluster *cluster, uint64_t id)
{
    struct cluster_store *store = store_find(cluster, id);
    if (store == NULL || store->local == NULL)
        return;
    store->local = NULL;
    struct part_port *port = store_port_now(store);
    if (port != NULL)
        port_told(cluster, port);
}

/* --- The end -------------------------------------------------------------------------------- */

static void store_closed(void *context)
{
    struct cluster *cluster = context;
    cluster->ports--;
    engine_touch(cluster->pool->engine->engine);
}

void cluster_stores_close(struct cluster *cluster)
{
    for (unsigned i = 0; i < CLUSTER_BUCKETS; i++) {
        LIST_EACH (&cluster->stores[i], node) {
            struct cluster_store *store = LIST_ENTRY(node, struct cluster_store, node);
            if (store->peer != NULL)
                peer_port_close(store->peer, store_closed, cluster);
            store->peer = NULL;
        }
    }
}

void cluster_stores_free(struct cluster *cluster)
{
    for (unsigned i = 0; i < CLUSTER_BUCKETS; i++) {
        LIST_EACH_SAFE (&cluster->stores[i], node, next) {
            list_remove(node);
            free(LIST_ENTRY(node, struct cluster_store, node));
        }
    }
}

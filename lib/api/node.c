/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/sys/serve.h>: a node, from its first listener to its last store. */
#include "api/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"

#define NODE_CONNECTIONS 1024u
#define NODE_KEEPER_NS (5 * NS_PER_S)
#define NODE_DRAIN_NS NS_PER_S

static struct iomesh_node *node_of(struct engine_hook *hook)
{
    return CONTAINER_OF(hook, struct iomesh_node, hook);
}

/* --- What it says --------------------------------------------------------------------------- */

void node_tell(const struct iomesh_node_store *store, uint32_t severity, const char *text)
{
    char line[640];
    (void)snprintf(line, sizeof line, "%s: %s", store->path, text);
    api_trace(store->node->pool->engine, severity, IOMESH_EVENT_POOL, line, NULL, 0);
}

void node_store_event(void *context, const struct store_event *event)
{
    static const uint32_t severities[] = {
        [STORE_DEBUG] = IOMESH_SEVERITY_DEBUG,
        [STORE_INFO] = IOMESH_SEVERITY_INFO,
        [STORE_WARNING] = IOMESH_SEVERITY_WARNING,
        [STORE_ERROR] = IOMESH_SEVERITY_CRITICAL,
    };
    struct iomesh_node_store *store = context;
    store->device_failed = store->device_failed || event->kind == STORE_DEVICE_FAILED;
    node_tell(store, severities[event->severity], event->text);
}

static void node_notice(void *context, const char *sentence)
{
    const struct iomesh_node *node = context;
    api_trace(node->pool->engine, IOMESH_SEVERITY_NOTICE, IOMESH_EVENT_POOL, sentence, NULL, 0);
}

/* --- What others change --------------------------------------------------------------------- */

static void node_record_changed(struct cluster_watch *watch, uint64_t id,
                                const struct metadata_store *record)
{
    struct iomesh_node *node = CONTAINER_OF(watch, struct iomesh_node, watch);
    LIST_EACH (&node->stores, entry) {
        struct iomesh_node_store *store = LIST_ENTRY(entry, struct iomesh_node_store, entry);
        if (store->state == NODE_STORE_SERVED && store->record.record.id == id &&
            (record == NULL || record->incarnation != store_incarnation(store->store)))
            node_store_refresh(store);
    }
}

/* --- Memory for what comes over connections ------------------------------------------------- */

static void *node_buffer_get(struct peer_buffers *buffers, uint64_t bytes)
{
    const struct iomesh_node *node = CONTAINER_OF(buffers, struct iomesh_node, buffers);
    return uring_buffer_get(node->pool->engine->uring, bytes);
}

static void node_buffer_put(struct peer_buffers *buffers, void *memory)
{
    const struct iomesh_node *node = CONTAINER_OF(buffers, struct iomesh_node, buffers);
    uring_buffer_put(node->pool->engine->uring, memory);
}

/* --- The keeper of the pool, perhaps --------------------------------------------------------- */

static void node_keeper_event(void *context, const struct catalog_event *event)
{
    static const uint32_t severities[] = {
        [STORE_DEBUG] = IOMESH_SEVERITY_DEBUG,
        [STORE_INFO] = IOMESH_SEVERITY_INFO,
        [STORE_WARNING] = IOMESH_SEVERITY_WARNING,
        [STORE_ERROR] = IOMESH_SEVERITY_CRITICAL,
    };
    const struct iomesh_node *node = context;
    api_trace(node->pool->engine, severities[event->severity], IOMESH_EVENT_POOL, event->text, NULL,
              0);
}

static int node_keeper_open(struct iomesh_node *node)
{
    const struct keeper_options options = {
        .meta = node->pool->meta,
        .clock = node->clock,
        .catalog = node->pool->catalog,
        .event = node_keeper_event,
        .context = node,
    };
    return (node->options.flags & IOMESH_NODE_NO_KEEPER) != 0
               ? 0
               : keeper_open(&options, &node->keeper);
}

static void node_keeper_closed(void *context)
{
    struct iomesh_node *node = context;
    node->keeper = NULL;
}

/* --- Its end -------------------------------------------------------------------------------- */

static void node_free(struct iomesh_node *node)
{
    cluster_watch_remove(&node->watch);
    engine_hook_remove(node->pool->engine->engine, &node->hook);
    node->pool->nodes--;
    free(node);
}

static void node_gone(struct iomesh_node *node)
{
    iomesh_done_fn *closed = node->closed;
    void *context = node->context;
    int result = node->result;
    if (result != 0)
        (void)FAIL(result, "%s", node->sentence);
    node_free(node);
    closed(context, result);
}

static void node_server_closed(void *context)
{
    struct iomesh_node *node = context;
    node->server = NULL;
    node->state = NODE_CLOSE_STORES;
    LIST_EACH (&node->stores, entry) {
        struct iomesh_node_store *store = LIST_ENTRY(entry, struct iomesh_node_store, entry);
        store->in_server = false; /* It went with the server. */
        iomesh_node_store_stop(store);
    }
}

static void node_patience(struct iomesh_node *node, enum node_state state, uint64_t delay_ns)
{
    node->state = state;
    clock_set_after(node->clock, &node->patience, delay_ns);
}

/* The next state; of those that wait no longer than for so long. */
static void node_wind(struct iomesh_node *node)
{
    clock_cancel(node->clock, &node->patience);
    if (node->state == NODE_OPEN && node->keeper != NULL) {
        node_patience(node, NODE_CLOSE_KEEPER, NODE_KEEPER_NS);
        keeper_close(node->keeper, node_keeper_closed, node);
    } else if (node->state < NODE_DRAIN) {
        node_patience(node, NODE_DRAIN, NODE_DRAIN_NS);
        peer_server_drain(node->server);
    } else if (node->state == NODE_DRAIN) {
        node->state = NODE_CLOSE_SERVER;
        peer_server_close(node->server, node_server_closed, node);
    }
}

static void node_wind_on(struct timer *timer)
{
    node_wind(CONTAINER_OF(timer, struct iomesh_node, patience));
}

int iomesh_node_close(struct iomesh_node *node, iomesh_done_fn *done, void *context)
{
    if (done == NULL)
        return FAIL(-EINVAL, "closing a node needs a callback");
    assert(node->state == NODE_OPEN);
    node->closed = done;
    node->context = context;
    cluster_watch_remove(&node->watch);
    node_wind(node);
    engine_touch(node->pool->engine->engine);
    return 0;
}

int iomesh_node_close_sync(struct iomesh_node *node)
{
    if (node == NULL)
        return 0;
    struct iomesh_engine *engine = node->pool->engine;
    REFUSE_IN_CALLBACK(engine);
    struct api_waiter waiter;
    return api_waiter_end(engine, &waiter, iomesh_node_close(node, api_waiter_done, &waiter));
}

/* --- Its turns ------------------------------------------------------------------------------ */

static void node_store_ended(struct iomesh_node *node, struct iomesh_node_store *store)
{
    if (node->state != NODE_OPEN && store->was_served && store->result != 0 && node->result == 0) {
        node->result = store->result;
        (void)snprintf(node->sentence, sizeof node->sentence, "%s", store->sentence);
    }
    node_store_gone(store);
}

static unsigned node_turn(struct engine_hook *hook)
{
    struct iomesh_node *node = node_of(hook);
    unsigned count = 0;
    LIST_EACH_SAFE (&node->stores, entry, after)
        count += node_store_turn(LIST_ENTRY(entry, struct iomesh_node_store, entry));
    LIST_EACH_SAFE (&node->stores, entry, after) {
        struct iomesh_node_store *store = LIST_ENTRY(entry, struct iomesh_node_store, entry);
        if (!node_store_is_over(store))
            continue;
        node_store_ended(node, store);
        return count + 1; /* What ran may have changed the list. */
    }
    if (node->keeper != NULL)
        keeper_turn(node->keeper);
    if (node->state == NODE_CLOSE_KEEPER && node->keeper == NULL)
        node_wind(node);
    if (node->state == NODE_DRAIN && peer_server_counts(node->server).busy == 0)
        node_wind(node);
    if (node->state == NODE_CLOSE_STORES && list_empty(&node->stores) && node->keeper == NULL) {
        node_gone(node);
        count++;
    }
    return count;
}

/* --- Its beginning -------------------------------------------------------------------------- */

static int node_options_check(const struct iomesh_node_options *options)
{
    const uint32_t known = IOMESH_NODE_NO_KEEPER | IOMESH_NODE_NO_SCRUB | IOMESH_NODE_DISCARD;
    if (options->flags & ~known)
        return FAIL(-EINVAL, "node options: flags %#x are not known", options->flags & ~known);
    if (options->listen_count == 0 || options->listen == NULL)
        return FAIL(-EINVAL, "a node needs an address to listen on");
    if (options->listen_count > IOMESH_NODE_LISTENERS_MAX)
        return FAIL(-EINVAL, "a node listens on at most %u addresses, not %u",
                    IOMESH_NODE_LISTENERS_MAX, options->listen_count);
    if (options->connections_max > 65536)
        return FAIL(-EINVAL, "connections_max is 1 to 65536, not %u", options->connections_max);
    if (options->cache_bytes != 0 && options->cache_bytes < 1u << 20)
        return FAIL(-EINVAL, "a page cache has 1 MiB or more, not %llu bytes",
                    (unsigned long long)options->cache_bytes);
    return 0;
}

static int node_boot_id(struct iomesh_node *node, const char *text)
{
    if (text == NULL)
        return uring_boot_id(node->boot_id);
    if (!uuid_parse(text, node->boot_id) || uuid_is_none(node->boot_id))
        return FAIL(-EINVAL, "%s: is no boot id: a UUID that is not all zeros", text);
    return 0;
}

static int node_server_open(struct iomesh_node *node)
{
    struct iomesh_pool *pool = node->pool;
    uint32_t connections = node->options.connections_max;
    struct peer_server_options options = {
        .net = pool->cluster->net,
        .clock = node->clock,
        .buffers = &node->buffers,
        .connections_max = connections != 0 ? connections : NODE_CONNECTIONS,
        .notice = node_notice,
        .context = node,
    };
    memcpy(options.pool, pool->uuid, sizeof options.pool);
    int result = uring_random(&options.seed, sizeof options.seed);
    return result != 0 ? result : peer_server_open(&options, &node->server);
}

static int node_listen(struct iomesh_node *node, const struct iomesh_node_options *options)
{
    for (uint32_t i = 0; i < options->listen_count; i++) {
        int result = peer_server_listen(node->server, options->listen[i], &node->addresses[i]);
        if (result != 0)
            return result;
        node->address_count++;
    }
    return 0;
}

static void node_server_failed(void *context)
{
    struct iomesh_node *node = context;
    bool *pending = node->context;
    node_free(node);
    if (pending != NULL)
        *pending = false;
}

/* Opening failed behind the server's: it goes by itself, and is waited for outside of a turn. */
static int node_open_failed(struct iomesh_node *node, int result)
{
    struct iomesh_engine *engine = node->pool->engine;
    bool pending = true;
    char sentence[400];
    (void)snprintf(sentence, sizeof sentence, "%s", base_last_error());
    bool waits = !engine_turning(engine->engine);
    node->context = waits ? &pending : NULL;
    peer_server_close(node->server, node_server_failed, node);
    if (waits)
        (void)api_wait(engine, &pending);
    return FAIL(result, "%s", sentence);
}

int iomesh_node_open(struct iomesh_pool *pool, const struct iomesh_node_options *given,
                     struct iomesh_node **ret_node)
{
    struct iomesh_node_options options = IOMESH_NODE_OPTIONS_INIT;
    int result = api_options("node", given, &options, sizeof options);
    if (result == 0)
        result = cluster_refuse_embedded(pool, "serving stores");
    if (result == 0)
        result = node_options_check(&options);
    if (result == 0 && pool->nodes > 0)
        result = FAIL(-EBUSY, "%s: stores of it are served here already", pool->url);
    if (result != 0)
        return result;
    struct iomesh_node *node = calloc(1, sizeof *node);
    if (node == NULL)
        return FAIL(-ENOMEM, "%s: no memory for a node", pool->url);
    node->pool = pool;
    node->clock = pool->clock;
    node->options = options;
    node->buffers = (struct peer_buffers){.get = node_buffer_get, .put = node_buffer_put};
    list_init(&node->stores);
    result = node_boot_id(node, options.boot_id);
    if (result == 0)
        result = node_server_open(node);
    if (result != 0) {
        free(node);
        return result;
    }
    node->hook.turn = node_turn;
    node->patience.fire = node_wind_on;
    node->watch.store = node_record_changed;
    engine_hook_add(pool->engine->engine, &node->hook);
    cluster_watch_add(pool->cluster, &node->watch);
    pool->nodes++;
    result = node_listen(node, &options);
    if (result == 0)
        result = node_keeper_open(node);
    if (result != 0)
        return node_open_failed(node, result);
    *ret_node = node;
    return 0;
}

/* --- From outside --------------------------------------------------------------------------- */

const char *iomesh_node_address(const struct iomesh_node *node, uint32_t index)
{
    return index < node->address_count ? node->addresses[index] : NULL;
}

static void node_keeper_status(const struct keeper *keeper, struct iomesh_node_status *status)
{
    struct keeper_look look;
    keeper_look(keeper, &look);
    if (!look.leads)
        return;
    status->keeper = 1;
    status->keeper_facts = look.facts;
    status->keeper_volumes = look.kept;
    status->keeper_wishes = look.wishes;
    status->keeper_passes = look.passes;
    status->keeper_pass_ns = look.pass_ns;
    status->keeper_stores_out = look.stores_out;
    status->keeper_stores_up = look.stores_up;
    status->keeper_adds = look.adds;
    status->keeper_drops = look.drops;
    status->keeper_deletes = look.deletes;
}

int iomesh_node_status(const struct iomesh_node *node, struct iomesh_node_status *ret_status)
{
    struct iomesh_node_status status = {.size = sizeof status, .stores = node->store_count};
    if (node->server != NULL) {
        struct peer_server_counts counts = peer_server_counts(node->server);
        status.connections = counts.connections;
        status.requests = counts.busy;
        status.connections_accepted = counts.accepted;
        status.connections_refused = counts.refused;
        status.connections_broken = counts.broken;
        status.connections_stalled = counts.stalled;
        status.connections_replaced = counts.replaced;
        status.requests_total = counts.requests;
        status.waits = counts.waits;
    }
    if (node->keeper != NULL)
        node_keeper_status(node->keeper, &status);
    return api_give(ret_status, ret_status->size, &status, sizeof status);
}

/* --- Making stores -------------------------------------------------------------------------- */

struct store_add {
    iomesh_store_added_fn *added;
    void *context;
};

static void add_made(void *context, int result, const struct metadata_store *record)
{
    struct store_add add = *(struct store_add *)context;
    free(context);
    add.added(add.context, result, result == 0 ? record->id : 0);
}

int iomesh_store_add(struct iomesh_pool *pool, const struct iomesh_store_add_options *given,
                     iomesh_store_added_fn *added, void *context)
{
    struct iomesh_store_add_options options = IOMESH_STORE_ADD_OPTIONS_INIT;
    int result = api_options("store add", given, &options, sizeof options);
    if (result == 0)
        result = cluster_refuse_embedded(pool, "adding stores");
    if (result != 0)
        return result;
    if (options.path == NULL || options.path[0] == '\0')
        return FAIL(-EINVAL, "a store needs a path");
    if (options.flags & ~IOMESH_POOL_OVERWRITE)
        return FAIL(-EINVAL, "store add: flags %#x are not known", options.flags);
    if (options.device_class > IOMESH_CLASS_HDD || options.journal_bytes % BLOCK_BYTES != 0)
        return FAIL(-EINVAL, "%s: no such class, or a journal that is not a multiple of 4 KiB",
                    options.path);
    struct store_add *add = malloc(sizeof *add);
    if (add == NULL)
        return FAIL(-ENOMEM, "%s: no memory", options.path);
    *add = (struct store_add){.added = added, .context = context};
    result = store_make_start(pool, &options, add_made, add);
    if (result != 0)
        free(add);
    return result;
}

struct add_waiter {
    struct api_waiter waiter;
    uint64_t store;
};

static void add_waited(void *context, int result, uint64_t store)
{
    struct add_waiter *waiter = context;
    waiter->store = store;
    api_waiter_done(&waiter->waiter, result);
}

int iomesh_store_add_sync(struct iomesh_pool *pool, const struct iomesh_store_add_options *options,
                          uint64_t *ret_store)
{
    REFUSE_IN_CALLBACK(pool->engine);
    struct add_waiter waiter = {.store = 0};
    int result = api_waiter_end(pool->engine, &waiter.waiter,
                                iomesh_store_add(pool, options, add_waited, &waiter));
    if (result == 0)
        *ret_store = waiter.store;
    return result;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A store of a node: its turns, its end, what it says of itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/node.h"

void node_store_note(struct iomesh_node_store *store, int result)
{
    if (store->result != 0 || result == 0)
        return;
    store->result = result;
    (void)snprintf(store->sentence, sizeof store->sentence, "%s", base_last_error());
}

/* --- Its end -------------------------------------------------------------------------------- */

static void wind_removed(void *context)
{
    struct iomesh_node_store *store = context;
    store->in_server = false;
    node_store_wind(store);
}

static void wind_closed(void *context, int result)
{
    struct iomesh_node_store *store = context;
    store->store = NULL;
    node_store_note(store, result);
    node_store_tell_failed(store);
}

/* What comes next, of what is left to be done. Each step comes here when it has ended. */
void node_store_wind(struct iomesh_node_store *store)
{
    struct iomesh_node *node = store->node;
    clock_cancel(node->clock, &store->timer);
    if (store->in_server) {
        store->state = NODE_STORE_LEAVE;
        peer_server_remove(node->server, store->record.record.id, wind_removed, store);
    } else if (store->putting || store_record_flying(&store->record)) {
        store->state = NODE_STORE_LEAVE;
    } else if (store->was_served && !store->not_ours && node->state == NODE_OPEN) {
        node_store_forget(store);
    } else if (store->store != NULL) {
        store->state = NODE_STORE_CLOSE;
        store_close(store->store, wind_closed, store);
    } else {
        node_store_close_disks(store);
        store->state = NODE_STORE_END;
    }
}

void iomesh_node_store_stop(struct iomesh_node_store *store)
{
    store->stopping = true;
    engine_touch(store->node->pool->engine->engine);
    /* What has a callback to come ends there. */
    if (store->state == NODE_STORE_BEGIN || store->state == NODE_STORE_CLAIM ||
        store->state == NODE_STORE_WAIT || store->state == NODE_STORE_SERVED)
        node_store_wind(store);
}

bool node_store_is_over(const struct iomesh_node_store *store)
{
    return store->state == NODE_STORE_END;
}

void node_store_gone(struct iomesh_node_store *store)
{
    iomesh_node_store_fn *tell = store->was_served ? store->stopped : store->served;
    void *context = store->context;
    int result = store->result;
    if (!store->was_served && result == 0)
        result = FAIL(-ECANCELED, "%s: is not to be served any more", store->path);
    else if (result != 0)
        (void)FAIL(result, "%s", store->sentence);
    list_remove(&store->entry);
    store->node->store_count--;
    store_record_done(&store->record);
    place_done(&store->place);
    free(store->path);
    free(store);
    tell(context, result);
}

/* --- Its turns ------------------------------------------------------------------------------ */

unsigned node_store_turn(struct iomesh_node_store *store)
{
    if (store->state == NODE_STORE_BEGIN) {
        node_store_begin(store);
        return 1;
    }
    if (store->store == NULL)
        return 0;
    store_turn(store->store);
    if (store->state == NODE_STORE_SERVED)
        node_store_trouble(store);
    /* While it opens and closes steps may follow each other without a completion between. */
    bool busy = store->state == NODE_STORE_LOOK || store->state == NODE_STORE_OPEN ||
                store->state == NODE_STORE_CLOSE;
    return busy || (store->store != NULL && store_turn_needed(store->store));
}

static void store_fire(struct timer *timer)
{
    struct iomesh_node_store *store = CONTAINER_OF(timer, struct iomesh_node_store, timer);
    if (store->state == NODE_STORE_SERVED)
        node_store_tick(store);
    else
        node_store_again(store);
}

/* --- From outside --------------------------------------------------------------------------- */

static int store_options_check(const struct iomesh_node_store_options *options)
{
    if (options->path == NULL || options->path[0] == '\0')
        return FAIL(-EINVAL, "a store needs a path");
    if (options->device_class > IOMESH_CLASS_HDD)
        return FAIL(-EINVAL, "%s: its class is none of nvme, ssd, hdd", options->path);
    return 0;
}

int iomesh_node_store(struct iomesh_node *node, const struct iomesh_node_store_options *given,
                      iomesh_node_store_fn *served, iomesh_node_store_fn *stopped, void *context,
                      struct iomesh_node_store **ret_store)
{
    struct iomesh_node_store_options options = IOMESH_NODE_STORE_OPTIONS_INIT;
    int result = api_options("node store", given, &options, sizeof options);
    if (result == 0)
        result = store_options_check(&options);
    if (result != 0)
        return result;
    if (served == NULL || stopped == NULL)
        return FAIL(-EINVAL, "%s: serving a store needs two callbacks", options.path);
    if (node->state != NODE_OPEN)
        return FAIL(-ESHUTDOWN, "%s: the node is being closed", options.path);
    struct iomesh_node_store *store = calloc(1, sizeof *store);
    char *path = strdup(options.path);
    if (store == NULL || path == NULL) {
        free(store);
        free(path);
        return FAIL(-ENOMEM, "%s: no memory", options.path);
    }
    store->node = node;
    store->path = path;
    store->device_class = options.device_class;
    store->bytes = options.bytes;
    store->served = served;
    store->stopped = stopped;
    store->context = context;
    store->record.pool = node->pool;
    store->timer.fire = store_fire;
    store->began_ns = clock_now_ns(node->clock);
    list_push_back(&node->stores, &store->entry);
    node->store_count++;
    engine_touch(node->pool->engine->engine);
    *ret_store = store;
    return 0;
}

int iomesh_node_store_status(const struct iomesh_node_store *store,
                             struct iomesh_node_store_status *ret_status)
{
    static const char *const doing[] = {
        [NODE_STORE_BEGIN] = "it is about to be opened",
        [NODE_STORE_MAKE] = "it is being made",
        [NODE_STORE_CLAIM] = "it waits for another process to let go of its devices",
        [NODE_STORE_LOOK] = "its superblock is being read",
        [NODE_STORE_FIND] = "it waits for the metadata",
        [NODE_STORE_OWNER] = "it waits for the metadata",
        [NODE_STORE_WAIT] = "it waits for the metadata, or for who served it last to be gone",
        [NODE_STORE_OPEN] = "it recovers",
        [NODE_STORE_REGISTER] = "it waits for the metadata",
        [NODE_STORE_SERVED] = "",
        [NODE_STORE_LEAVE] = "what was asked of it ends",
        [NODE_STORE_FORGET] = "the metadata is told that it is gone",
        [NODE_STORE_CLOSE] = "its last checkpoint is written",
        [NODE_STORE_END] = "it is closed",
    };
    bool opening = store->state < NODE_STORE_SERVED;
    struct iomesh_node_store_status status = {
        .size = sizeof status,
        .state = opening                             ? IOMESH_NODE_STORE_OPENING
                 : store->state == NODE_STORE_SERVED ? IOMESH_NODE_STORE_SERVED
                                                     : IOMESH_NODE_STORE_CLOSING,
        .id = store->record.revision != 0 ? store->record.record.id : 0,
        .path = store->path,
        .doing = doing[store->state],
        .open_ns = store->was_served ? store->served_ns - store->began_ns : 0,
    };
    memcpy(status.uuid, store->look.uuid, sizeof status.uuid);
    if (store->was_served && store->store != NULL)
        status.incarnation = store_incarnation(store->store);
    return api_give(ret_status, ret_status->size, &status, sizeof status);
}

int iomesh_node_store_numbers(const struct iomesh_node_store *store,
                              struct iomesh_pool_status *ret_status)
{
    if (!store->was_served || store->store == NULL)
        return FAIL(-EAGAIN, "%s: is not open", store->path);
    struct iomesh_pool_status status = {.size = sizeof status, .device_count = store->disk_count};
    memcpy(status.uuid, store->look.uuid, sizeof status.uuid);
    api_store_status(store->store, &status);
    status.opened_ns_ago = clock_now_ns(store->node->clock) - store->served_ns;
    return api_give(ret_status, ret_status->size, &status, sizeof status);
}

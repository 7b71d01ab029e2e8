/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/stores.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iomesh/iomesh.h>

static const double soon_seconds = 1.;
static const double later_seconds = 10.;

int stores_init(struct stores *stores, const struct settings *settings)
{
    stores->count = settings->store_count;
    stores->items = calloc(settings->store_count, sizeof *stores->items);
    if (stores->items == NULL)
        return -1;
    for (uint32_t index = 0; index < stores->count; index++) {
        stores->items[index].stores = stores;
        stores->items[index].wanted = &settings->stores[index];
        stores->items[index].state = STORE_DOWN;
    }
    return 0;
}

void stores_done(struct stores *stores)
{
    free(stores->items);
    stores->items = NULL;
    stores->count = 0;
}

uint32_t stores_in(const struct stores *stores, enum store_state state)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < stores->count; index++)
        count += stores->items[index].state == state;
    return count;
}

bool stores_all_tried(const struct stores *stores)
{
    for (uint32_t index = 0; index < stores->count; index++)
        if (!stores->items[index].tried)
            return false;
    return true;
}

/* What will not go away by itself, or must not be tried again without somebody who knows. */
static bool is_final(int result)
{
    return result == -EXDEV || result == -EEXIST || result == -EINVAL || result == IOMESH_CORRUPT ||
           result == IOMESH_FORMAT || result == IOMESH_FENCED || result == IOMESH_FAILED;
}

static bool is_brief(int result)
{
    return result == IOMESH_IN_USE || result == -ETIMEDOUT || result == IOMESH_UNKNOWN ||
           result == -EAGAIN;
}

/* The same sentence again and again is told once. */
static void tell_down(struct store *store, int result, bool final)
{
    const char *sentence = iomesh_last_error();
    char line[sizeof store->sentence];
    snprintf(line, sizeof line, "%s", sentence[0] != '\0' ? sentence : iomesh_error_text(result));
    if (strcmp(line, store->sentence) == 0)
        return;
    memcpy(store->sentence, line, sizeof line);
    log_line(LOG_LEVEL_ERROR, "store %s is not served: %s%s", store->wanted->path, line,
             final ? "" : "; it is tried again");
}

static void is_down(struct store *store, int result)
{
    const bool final = is_final(result);
    store->handle = NULL;
    store->state = final ? STORE_OVER : STORE_DOWN;
    store->result = result;
    store->tried = true;
    store->again += is_brief(result) ? soon_seconds : later_seconds;
    if (!store->stores->draining)
        tell_down(store, result, final);
}

static void on_served(void *context, int result)
{
    struct store *store = context;
    if (result != 0) {
        is_down(store, result);
    } else {
        struct iomesh_node_store_status status = {.size = sizeof status};
        store->state = STORE_SERVED;
        store->tried = true;
        store->result = 0;
        store->sentence[0] = '\0';
        (void)iomesh_node_store_status(store->handle, &status);
        log_line(LOG_LEVEL_NOTICE, "store %llu is served: %s, opened in %.3f s",
                 (unsigned long long)status.id, status.path, (double)status.open_ns / 1e9);
    }
    store->stores->changed(store->stores->context);
}

static void on_stopped(void *context, int result)
{
    struct store *store = context;
    if (is_brief(result) && !store->stores->draining) {
        is_down(store, result); /* A device failed, and it may be used again. */
    } else {
        store->handle = NULL;
        store->state = STORE_OVER;
        store->result = result;
        if (result != 0)
            tell_down(store, result, true);
    }
    store->stores->changed(store->stores->context);
}

static void try_store(struct store *store)
{
    struct iomesh_node_store_options options = IOMESH_NODE_STORE_OPTIONS_INIT;
    options.path = store->wanted->path;
    options.bytes = store->wanted->bytes;
    options.device_class = store->wanted->device_class;
    const int result = iomesh_node_store(store->stores->node, &options, on_served, on_stopped,
                                         store, &store->handle);
    if (result == 0)
        store->state = STORE_TRYING;
    else
        is_down(store, result);
}

void stores_tick(struct stores *stores, double now)
{
    for (uint32_t index = 0; index < stores->count && !stores->draining; index++) {
        struct store *store = &stores->items[index];
        if (store->state == STORE_DOWN && store->again <= now) {
            store->again = now;
            try_store(store);
        }
    }
}

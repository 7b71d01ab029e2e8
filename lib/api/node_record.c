/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a store that a node serves: written when it is opened, then kept true.
 *
 *   REGISTER: PUT ──▶ served
 *              ▲ └──▶ somebody changed it, or nobody knows ──▶ READ ──▶ still of the same opening?
 *              └──────────────────────────────────────────────────────────────┘
 *   SERVED: (it changed, or what it says) ──▶ READ ──▶ ours? ──▶ PUT, if it is not true
 */
#include "api/node.h"

#include <stdio.h>
#include <string.h>

#define RECORD_TICK_NS NS_PER_S
#define RECORD_TELL_NS (30 * NS_PER_S)
#define RECORD_RETRY_NS (100 * NS_PER_MS)
#define TELLS_MAX 4u

static struct iomesh_node_store *store_of(struct store_record *record)
{
    return CONTAINER_OF(record, struct iomesh_node_store, record);
}

static uint64_t record_used(const struct iomesh_node_store *store, uint64_t *ret_bytes)
{
    struct store_stats stats = {0};
    store_stats(store->store, &stats);
    if (ret_bytes != NULL)
        *ret_bytes = stats.space.total_blocks * BLOCK_BYTES;
    return (stats.space.used_blocks + stats.space.quarantine_blocks + stats.space.reserved_blocks) *
           BLOCK_BYTES;
}

static bool text_put(char to[METADATA_TEXT_ROOM], const char *from)
{
    if (strcmp(to, from) == 0)
        return false;
    (void)snprintf(to, METADATA_TEXT_ROOM, "%s", from);
    return true;
}

/* Why it takes no writes; METADATA_REASON_NONE: it does. */
static enum metadata_reason record_trouble(const struct iomesh_node_store *store)
{
    switch (store_state(store->store)) {
    case STORE_FAILED: return METADATA_REASON_FAILED;
    case STORE_READ_ONLY: return METADATA_REASON_DAMAGED;
    default: return METADATA_REASON_NONE;
    }
}

/* It is in trouble, or was before it was opened anew. */
static bool record_fill_reason(struct iomesh_node_store *store)
{
    struct metadata_store *record = &store->record.record;
    bool told = record->state_reason == METADATA_REASON_FAILED ||
                record->state_reason == METADATA_REASON_DAMAGED;
    bool failed = record->failed;
    store->trouble_told = record_trouble(store);
    /* What was not to be trusted is behind the checkpoint that ended its recovery, if it wrote one.
     */
    if (store->trouble_told != METADATA_REASON_DAMAGED)
        record->failed = store->trouble_told == METADATA_REASON_FAILED;
    if (store->trouble_told == (told ? record->state_reason : METADATA_REASON_NONE))
        return record->failed != failed;
    /* One that is out, and works again, is treated as one that was silent. */
    if (store->trouble_told != METADATA_REASON_NONE)
        record->state_reason = store->trouble_told;
    else
        record->state_reason =
            record->state == METADATA_STORE_OUT ? METADATA_REASON_SILENT : METADATA_REASON_NONE;
    if (store->trouble_told != METADATA_REASON_NONE && record->state == METADATA_STORE_UP)
        record->state_since_ns = clock_wall_ns(store->node->clock);
    return true;
}

/* What is true. Whether that is news. */
static bool record_fill(struct iomesh_node_store *store)
{
    const struct cluster *cluster = store->node->pool->cluster;
    struct metadata_store *record = &store->record.record;
    uint64_t bytes;
    uint64_t used = record_used(store, &bytes);
    bool news = text_put(record->node, cluster->node);
    news |= text_put(record->address, cluster->address);
    news |= text_put(record->zone, cluster->zone);
    news |= text_put(record->rack, cluster->rack);
    news |= text_put(record->path, store->where);
    news |= record->bytes != bytes || record->bytes_used != used ||
            record->incarnation != store_incarnation(store->store);
    record->bytes = bytes;
    record->bytes_used = used;
    if (record->incarnation != store_incarnation(store->store))
        record->silent_ms = record->silent_told_ns = 0;
    record->incarnation = store_incarnation(store->store);
    news |= record_fill_reason(store);
    store->used_told = used;
    store->told_ns = clock_now_ns(store->node->clock);
    return news;
}

/* --- It is opened --------------------------------------------------------------------------- */

static void register_put(struct iomesh_node_store *store);

static void register_later(struct iomesh_node_store *store)
{
    store->state = NODE_STORE_WAIT;
    clock_set_after(store->node->clock, &store->timer, RECORD_RETRY_NS);
}

static void register_fail(struct iomesh_node_store *store, int result)
{
    node_store_note(store, result);
    node_store_wind(store);
}

static void register_ended(struct iomesh_node_store *store)
{
    struct iomesh_node *node = store->node;
    uint64_t id = store->record.record.id;
    int result = -ENOMEM;
    struct part_port *port = store_port(store->store);
    if (port != NULL)
        result = peer_server_add(node->server, id, store_incarnation(store->store), port);
    if (result != 0) {
        register_fail(
            store, FAIL(result, "%s: cannot be served: %s", store->path, base_error_text(result)));
        return;
    }
    port->store = id;
    store->in_server = true;
    store->state = NODE_STORE_SERVED;
    store->was_served = true;
    store->served_ns = clock_now_ns(node->clock);
    clock_set_after(node->clock, &store->timer, RECORD_TICK_NS);
    store->served(store->context, 0);
}

static void register_read(struct store_record *record, int result)
{
    struct iomesh_node_store *store = store_of(record);
    uint64_t ours = store_incarnation(store->store);
    if (store->stopping) {
        node_store_wind(store);
    } else if (result == -ENOENT) {
        register_fail(store, result);
    } else if (result != 0) {
        register_later(store);
    } else if (record->record.incarnation == ours &&
               strcmp(record->record.address, store->node->pool->cluster->address) == 0) {
        register_ended(store); /* What nobody knew of. */
    } else if (record->record.incarnation != store->judged) {
        register_fail(store, FAIL(IOMESH_FENCED,
                                  "%s: node %s on %s has begun to serve store %llu: one is a copy "
                                  "of the other",
                                  store->path, record->record.node, record->record.address,
                                  (unsigned long long)record->record.id));
    } else {
        register_put(store);
    }
}

static void register_was_put(struct store_record *record, int result)
{
    struct iomesh_node_store *store = store_of(record);
    if (store->stopping)
        node_store_wind(store);
    else if (result == 0)
        register_ended(store);
    else
        register_later(store);
}

static void register_put(struct iomesh_node_store *store)
{
    store->state = NODE_STORE_REGISTER;
    (void)record_fill(store);
    if (store_record_put(&store->record, register_was_put) != 0)
        register_later(store);
}

/* The first time as it was judged; then as it is now. */
void node_store_register(struct iomesh_node_store *store)
{
    if (store->state == NODE_STORE_OPEN) {
        store->judged = store->record.record.incarnation;
        register_put(store);
        return;
    }
    store->state = NODE_STORE_REGISTER;
    if (store_record_read(&store->record, register_read) != 0)
        register_later(store);
}

/* --- It is served --------------------------------------------------------------------------- */

static void refresh_ended(struct iomesh_node_store *store)
{
    store->putting = false;
    if (store->state != NODE_STORE_SERVED) {
        node_store_wind(store); /* It waited for this. */
    } else if (store->look_again) {
        store->look_again = false;
        node_store_refresh(store);
    }
}

static void refresh_lost(struct iomesh_node_store *store, int result)
{
    store->putting = false;
    store->not_ours = true;
    store->tells = TELLS_MAX; /* Whatever becomes of ours, it is not that record's. */
    node_store_note(store, result);
    node_store_wind(store);
}

/* Somebody said that it may be used again: it is opened anew. */
static bool refresh_is_mended(const struct iomesh_node_store *store)
{
    const struct metadata_store *record = &store->record.record;
    return record_trouble(store) == METADATA_REASON_FAILED && record->failed &&
           record->state == METADATA_STORE_UP && record->state_reason == METADATA_REASON_NONE;
}

static void refresh_reopen(struct iomesh_node_store *store)
{
    store->putting = false;
    node_store_note(store, FAIL(-EAGAIN, "%s: store %llu may be used again, and is opened anew",
                                store->path, (unsigned long long)store->record.record.id));
    node_store_wind(store);
}

static void refresh_put(struct store_record *record, int result)
{
    struct iomesh_node_store *store = store_of(record);
    /* Whatever went wrong, it is looked at again, soon. */
    if (result != 0)
        store->told_ns = 0;
    if (result == IOMESH_CONFLICT)
        store->look_again = true;
    refresh_ended(store);
}

static void refresh_read(struct store_record *record, int result)
{
    struct iomesh_node_store *store = store_of(record);
    if (store->state != NODE_STORE_SERVED) {
        refresh_ended(store);
    } else if (result == -ENOENT) {
        refresh_lost(store, result);
    } else if (result != 0) {
        refresh_ended(store);
    } else if (record->record.incarnation != store_incarnation(store->store)) {
        refresh_lost(store, FAIL(IOMESH_FENCED,
                                 "%s: node %s on %s serves store %llu now: one is a copy of the "
                                 "other",
                                 store->path, record->record.node, record->record.address,
                                 (unsigned long long)record->record.id));
    } else if (refresh_is_mended(store)) {
        refresh_reopen(store);
    } else if (!record_fill(store) || store_record_put(record, refresh_put) != 0) {
        refresh_ended(store);
    }
}

void node_store_refresh(struct iomesh_node_store *store)
{
    if (store->putting) {
        store->look_again = true;
        return;
    }
    store->putting = store_record_read(&store->record, refresh_read) == 0;
}

/* Without reading it first: if this process dies in a moment, whoever is next must know. */
void node_store_trouble(struct iomesh_node_store *store)
{
    if (store->hurried || record_trouble(store) != METADATA_REASON_FAILED)
        return;
    store->hurried = true;
    if (store->putting) {
        store->look_again = true;
        return;
    }
    (void)record_fill(store);
    store->putting = store_record_put(&store->record, refresh_put) == 0;
}

void node_store_tick(struct iomesh_node_store *store)
{
    uint64_t bytes;
    uint64_t used = record_used(store, &bytes);
    uint64_t moved = used > store->used_told ? used - store->used_told : store->used_told - used;
    clock_set_after(store->node->clock, &store->timer, RECORD_TICK_NS);
    if (record_trouble(store) != store->trouble_told || moved >= MAX(bytes / 100, 1u) ||
        clock_now_ns(store->node->clock) - store->told_ns >= RECORD_TELL_NS)
        node_store_refresh(store);
}

/* --- It is not any more, and the node goes on ----------------------------------------------- */

static void forget_put(struct store_record *record, int result)
{
    (void)result; /* Who looks for it there finds out. */
    struct iomesh_node_store *store = store_of(record);
    store->not_ours = true;
    node_store_wind(store);
}

void node_store_forget(struct iomesh_node_store *store)
{
    store->state = NODE_STORE_FORGET;
    store->record.record.address[0] = '\0';
    if (store_record_put(&store->record, forget_put) == 0)
        return;
    store->not_ours = true;
    node_store_wind(store);
}

/* --- A device failed while it was opened, or closed ----------------------------------------- */

static void tell_put(struct iomesh_node_store *store);

static void tell_read(struct store_record *record, int result)
{
    struct iomesh_node_store *store = store_of(record);
    if (result == 0 && record->record.incarnation == store->judged)
        tell_put(store);
    else
        node_store_wind(store);
}

static void tell_was_put(struct store_record *record, int result)
{
    struct iomesh_node_store *store = store_of(record);
    if (result != IOMESH_CONFLICT || store->tells == TELLS_MAX ||
        store_record_read(record, tell_read) != 0)
        node_store_wind(store);
}

static void tell_put(struct iomesh_node_store *store)
{
    struct metadata_store *record = &store->record.record;
    record->failed = true;
    record->state_reason = METADATA_REASON_FAILED;
    if (record->state == METADATA_STORE_UP)
        record->state_since_ns = clock_wall_ns(store->node->clock);
    store->tells++;
    if (store_record_put(&store->record, tell_was_put) != 0)
        node_store_wind(store);
}

void node_store_tell_failed(struct iomesh_node_store *store)
{
    bool told = store->trouble_told == METADATA_REASON_FAILED && store->told_ns != 0;
    if (!store->device_failed || told || store->tells > 0) {
        node_store_wind(store);
        return;
    }
    store->state = NODE_STORE_LEAVE;
    store->judged = store->record.record.incarnation;
    tell_put(store);
}

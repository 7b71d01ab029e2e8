/* SPDX-License-Identifier: Apache-2.0 */
/* A store of a node, from its path until it is open: the drawing is in node.h. */
#include "api/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"

#define CLAIM_RETRY_NS (20 * NS_PER_MS)
#define CLAIM_WAIT_NS (10 * NS_PER_S)
#define WAIT_RETRY_NS (200 * NS_PER_MS)
/* Who served it may have ended without a word: its session ends after its time. */
#define OWNER_WAIT_NS (3 * CATALOG_SESSION_TTL_NS)

void node_store_close_disks(struct iomesh_node_store *store)
{
    while (store->disk_count > 0)
        uring_disk_close(store->disks[--store->disk_count]);
}

static void open_fail(struct iomesh_node_store *store, int result)
{
    node_store_note(store, result);
    node_store_wind(store);
}

/* Nothing that was asked matters any more. */
static bool open_is_over(struct iomesh_node_store *store)
{
    if (store->stopping)
        node_store_wind(store);
    return store->stopping;
}

/* --- Made, if it is not there --------------------------------------------------------------- */

static void open_made(void *context, int result, const struct metadata_store *record)
{
    struct iomesh_node_store *store = context;
    (void)record;
    if (result != 0) {
        open_fail(store, result);
        return;
    }
    store->made = true;
    if (!open_is_over(store))
        node_store_begin(store);
}

static void open_make(struct iomesh_node_store *store)
{
    struct iomesh_store_add_options options = IOMESH_STORE_ADD_OPTIONS_INIT;
    options.path = store->path;
    options.bytes = store->bytes;
    options.device_class = store->device_class;
    store->state = NODE_STORE_MAKE;
    node_store_close_disks(store);
    place_done(&store->place);
    int result = store_make_start(store->node->pool, &options, open_made, store);
    if (result != 0)
        open_fail(store, result);
}

/* There is nothing: a store is made, unless this node had one there. What is not mounted looks just
 * like what is new. */
static int begin_nothing(const struct iomesh_node_store *store)
{
    const struct cluster *cluster = store->node->pool->cluster;
    const struct stores *stores = cluster_stores(cluster);
    for (uint32_t i = 0; i < stores->count; i++) {
        const struct metadata_store *record = &stores->entries[i]->record;
        if (strcmp(record->node, cluster->node) == 0 && strcmp(record->path, store->where) == 0)
            return FAIL(-ENOENT,
                        "%s: nothing is there, but store %llu of this node was: is something not "
                        "mounted? If it is lost, make another one there with store add",
                        store->path, (unsigned long long)record->id);
    }
    return 0;
}

/* --- Its record ----------------------------------------------------------------------------- */

static void open_store(struct iomesh_node_store *store);
static void open_find(struct iomesh_node_store *store);

static void open_wait(struct iomesh_node_store *store)
{
    store->state = NODE_STORE_WAIT;
    clock_set_after(store->node->clock, &store->timer, WAIT_RETRY_NS);
}

/* The metadata did not answer: not the store's fault, unless it takes too long. */
static void open_meta_failed(struct iomesh_node_store *store, int result)
{
    if ((result == -ETIMEDOUT || result == IOMESH_UNKNOWN || result == -EAGAIN) &&
        clock_now_ns(store->node->clock) < store->wait_until_ns)
        open_wait(store);
    else
        open_fail(store, result);
}

static bool open_is_ours(const struct iomesh_node_store *store)
{
    const struct metadata_store *record = &store->record.record;
    const struct cluster *cluster = store->node->pool->cluster;
    return record->address[0] == '\0' || (strcmp(record->node, cluster->node) == 0 &&
                                          strcmp(record->address, cluster->address) == 0);
}

static void open_owner_known(struct store_record *record, int result)
{
    struct iomesh_node_store *store = CONTAINER_OF(record, struct iomesh_node_store, record);
    if (open_is_over(store))
        return;
    if (result < 0)
        open_meta_failed(store, result);
    else if (result == 0)
        open_store(store);
    else if (clock_now_ns(store->node->clock) < store->wait_until_ns)
        open_wait(store);
    else
        open_fail(store, FAIL(IOMESH_IN_USE,
                              "%s: store %llu is served by node %s on %s: this is a copy of it, or "
                              "it was moved here while that still runs",
                              store->path, (unsigned long long)record->record.id,
                              record->record.node, record->record.address));
}

static void open_found(struct store_record *record, int result)
{
    struct iomesh_node_store *store = CONTAINER_OF(record, struct iomesh_node_store, record);
    if (open_is_over(store))
        return;
    if (result == -ENOENT) {
        open_fail(store, FAIL(-ENOENT, "%s: the pool has no record of this store: it was removed",
                              store->path));
        return;
    }
    if (result != 0) {
        open_meta_failed(store, result);
        return;
    }
    if (record->record.incarnation > store->look.incarnation) {
        open_fail(store, FAIL(IOMESH_CORRUPT,
                              "%s: an old image of store %llu was put back: it was opened %llu "
                              "times, and the pool has seen %llu; remove it from the pool, and "
                              "make a new store here",
                              store->path, (unsigned long long)record->record.id,
                              (unsigned long long)store->look.incarnation,
                              (unsigned long long)record->record.incarnation));
        return;
    }
    if (record->record.state_reason == METADATA_REASON_FAILED) {
        open_fail(
            store,
            FAIL(-EIO,
                 "%s: a device failed under store %llu, and nobody has said since that it may "
                 "be used again: look at the device, then say store undrain %llu",
                 store->path, (unsigned long long)record->record.id,
                 (unsigned long long)record->record.id));
        return;
    }
    if (open_is_ours(store)) {
        open_store(store);
        return;
    }
    store->state = NODE_STORE_OWNER;
    result = store_record_owner(record, open_owner_known);
    if (result != 0)
        open_meta_failed(store, result);
}

static void open_recorded(struct store_record *record, int result)
{
    struct iomesh_node_store *store = CONTAINER_OF(record, struct iomesh_node_store, record);
    if (open_is_over(store))
        return;
    if (result == 0)
        open_store(store);
    else if (result == -EEXIST)
        open_find(store);
    else
        open_meta_failed(store, result);
}

/* Never opened: its making was interrupted before the metadata heard of it. */
static void open_record(struct iomesh_node_store *store)
{
    uint64_t bytes = 0;
    uint32_t media = METADATA_HDD;
    for (unsigned i = 0; i < store->disk_count; i++) {
        bytes += store->disks[i]->size_bytes;
        media = MIN(media, store->place.devices[i].device_class);
    }
    metadata_store_done(&store->record.record);
    store_make_record(store->node->pool, store->look.uuid, media, bytes, &store->record.record);
    int result = store_record_make(&store->record, open_recorded);
    if (result != 0)
        open_meta_failed(store, result);
}

static void open_find(struct iomesh_node_store *store)
{
    store->state = NODE_STORE_FIND;
    int result = store_record_find(&store->record, store->look.uuid, open_found);
    if (result != 0)
        open_meta_failed(store, result);
}

static void open_first_found(struct store_record *record, int result)
{
    struct iomesh_node_store *store = CONTAINER_OF(record, struct iomesh_node_store, record);
    bool never_opened = store->look.incarnation == 1 && !uuid_is_none(store->look.pool_uuid);
    if (result == -ENOENT && never_opened && !store->stopping)
        open_record(store);
    else
        open_found(record, result);
}

/* --- What is on its devices ----------------------------------------------------------------- */

static const struct iomesh_node_store *open_twin(const struct iomesh_node_store *store)
{
    LIST_EACH (&store->node->stores, entry) {
        const struct iomesh_node_store *other = LIST_ENTRY(entry, struct iomesh_node_store, entry);
        if (other != store && other->state > NODE_STORE_LOOK && other->state < NODE_STORE_END &&
            memcmp(other->look.uuid, store->look.uuid, sizeof store->look.uuid) == 0)
            return other;
    }
    return NULL;
}

static int open_judge(struct iomesh_node_store *store)
{
    const struct store_identity *look = &store->look;
    const struct iomesh_node_store *twin = open_twin(store);
    if (!uuid_is_none(look->pool_uuid) &&
        memcmp(look->pool_uuid, store->node->pool->uuid, sizeof look->pool_uuid) != 0) {
        char theirs[UUID_TEXT_BYTES], ours[UUID_TEXT_BYTES];
        uuid_print(look->pool_uuid, theirs);
        uuid_print(store->node->pool->uuid, ours);
        return FAIL(-EXDEV, "%s: a store of another pool, %s; this one is %s", store->path, theirs,
                    ours);
    }
    if (twin != NULL)
        return FAIL(-EEXIST, "%s and %s are the same store: one is a copy of the other",
                    store->path, twin->path);
    return 0;
}

static void open_looked(void *context, int result)
{
    struct iomesh_node_store *store = context;
    store->store = NULL;
    if (open_is_over(store))
        return;
    if (result == IOMESH_FORMAT && store->is_device && !store->made) {
        result = begin_nothing(store);
        if (result == 0) {
            open_make(store);
            return;
        }
    }
    if (result == 0)
        result = open_judge(store);
    if (result != 0) {
        open_fail(store, result);
        return;
    }
    store->state = NODE_STORE_FIND;
    result = store_record_find(&store->record, store->look.uuid, open_first_found);
    if (result != 0)
        open_meta_failed(store, result);
}

static void open_options(const struct iomesh_node_store *store, struct store_options *ret_options)
{
    const struct iomesh_node *node = store->node;
    const struct iomesh_node_options *options = &node->options;
    *ret_options = (struct store_options){
        .clock = node->clock,
        .device_count = store->disk_count,
        .cache_bytes = options->cache_bytes,
        .discard = options->flags & IOMESH_NODE_DISCARD,
        .scrub_interval_ns = options->scrub_interval_ns,
        .failed = store->record.record.failed,
        .incarnation_min = store->record.record.incarnation,
        .event = node_store_event,
        .context = (void *)(uintptr_t)store,
    };
    if (!(options->flags & IOMESH_NODE_NO_SCRUB))
        ret_options->scrub_bytes_per_s =
            options->scrub_rate != 0 ? options->scrub_rate : POOL_SCRUB_RATE;
    memcpy(ret_options->boot_id, node->boot_id, sizeof ret_options->boot_id);
    for (unsigned i = 0; i < store->disk_count; i++)
        ret_options->devices[i] =
            (struct store_device){.disk = store->disks[i],
                                  .class = (enum device_class)store->place.devices[i].device_class};
}

static int open_claim_disks(struct iomesh_node_store *store)
{
    while (store->disk_count < store->place.device_count) {
        int result = uring_disk_open(store->node->pool->engine->uring,
                                     store->place.devices[store->disk_count].path, 0, 0,
                                     &store->disks[store->disk_count]);
        if (result != 0)
            return result;
        store->disk_count++;
    }
    return 0;
}

void node_store_claim(struct iomesh_node_store *store)
{
    store->state = NODE_STORE_CLAIM;
    int result = open_claim_disks(store);
    if (result == IOMESH_IN_USE && clock_now_ns(store->node->clock) < store->wait_until_ns) {
        /* It may be a killed process whose last requests still drain. */
        clock_set_after(store->node->clock, &store->timer, CLAIM_RETRY_NS);
        return;
    }
    if (result == 0) {
        struct store_options options;
        open_options(store, &options);
        options.incarnation_min = 0;
        store->state = NODE_STORE_LOOK;
        result = store_identify(&options, &store->look, &store->store, open_looked, store);
    }
    if (result != 0)
        open_fail(store, result);
}

/* --- Open ----------------------------------------------------------------------------------- */

static void open_opened(void *context, int result)
{
    struct iomesh_node_store *store = context;
    if (result != 0)
        store->store = NULL;
    if (result != 0) {
        node_store_note(store, result);
        node_store_tell_failed(store);
    } else if (!open_is_over(store)) {
        node_store_register(store);
    }
}

static void open_store(struct iomesh_node_store *store)
{
    struct store_options options;
    open_options(store, &options);
    store->state = NODE_STORE_OPEN;
    int result = store_open(&options, &store->store, open_opened, store);
    if (result != 0)
        open_fail(store, result);
}

/* --- From the path -------------------------------------------------------------------------- */

void node_store_again(struct iomesh_node_store *store)
{
    if (store->state == NODE_STORE_CLAIM)
        node_store_claim(store);
    else if (store->store == NULL)
        open_find(store);
    else
        node_store_register(store);
}

static void begin_where(struct iomesh_node_store *store)
{
    char *where = place_absolute(store->path);
    (void)snprintf(store->where, sizeof store->where, "%s", where != NULL ? where : store->path);
    free(where);
}

void node_store_begin(struct iomesh_node_store *store)
{
    const struct iomesh_node *node = store->node;
    enum store_place_what what = STORE_PLACE_OTHER;
    uint64_t wait_ns =
        node->options.claim_wait_ns != 0 ? node->options.claim_wait_ns : CLAIM_WAIT_NS;
    store->wait_until_ns = clock_now_ns(node->clock) + MAX(wait_ns, OWNER_WAIT_NS);
    begin_where(store);
    int result = store_place_look(store->path, &what);
    bool nothing = what == STORE_PLACE_NOTHING || what == STORE_PLACE_EMPTY;
    if (result == 0 && nothing)
        result = store->made ? FAIL(-ENOENT, "%s: what was made there is gone", store->path)
                             : begin_nothing(store);
    if (result == 0 && nothing) {
        open_make(store);
        return;
    }
    if (result == 0 && what == STORE_PLACE_OTHER)
        result = FAIL(-ENOENT, "%s: holds other things, but no store", store->path);
    else if (result == 0 && what == STORE_PLACE_POOL)
        result = FAIL(-EINVAL, "%s: is an embedded pool, no store of a cluster", store->path);
    store->is_device = what == STORE_PLACE_DEVICE;
    if (result == 0)
        result = store_place_find(store->path, what, store->device_class, &store->place);
    if (result == 0)
        node_store_claim(store);
    else
        open_fail(store, result);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/store.h>: stores by id, and the copies of a volume. */
#include <stdlib.h>
#include <string.h>

#include "api/cluster.h"
#include "api/look.h"
#include "api/operation.h"

#define CHANGE_TRIES 16u
/* Whoever places volumes hears of a store's state within this time, or has lost its session. */
#define REMOVE_AFTER_NS (10 * NS_PER_S)

/* One meaning for both. */
_Static_assert(IOMESH_STORE_UP == METADATA_STORE_UP, "a state of a store");
_Static_assert(IOMESH_STORE_DRAINING == METADATA_STORE_DRAINING, "a state of a store");
_Static_assert(IOMESH_STORE_OUT == METADATA_STORE_OUT, "a state of a store");
_Static_assert(IOMESH_REASON_SILENT == METADATA_REASON_SILENT, "a reason");
_Static_assert(IOMESH_REASON_OPERATOR == METADATA_REASON_OPERATOR, "a reason");
_Static_assert(IOMESH_REASON_MOVED == METADATA_REASON_MOVED, "a reason");
_Static_assert(IOMESH_COPY_IN_SYNC == METADATA_IN_SYNC, "a state of a copy");
_Static_assert(IOMESH_COPY_STALE == METADATA_STALE, "a state of a copy");
_Static_assert(IOMESH_COPY_CATCHING_UP == METADATA_CATCHING_UP, "a state of a copy");
_Static_assert(IOMESH_TEXT_BYTES_MAX == METADATA_TEXT_BYTES_MAX, "a name");

static int refuse(const struct iomesh_pool *pool, const char *what, bool callback, bool changes)
{
    int result = api_operation_refuse(pool, "", callback);
    if (result == 0)
        result = cluster_refuse_embedded(pool, what);
    if (result == 0 && changes && pool->options.flags & IOMESH_POOL_READ_ONLY)
        result = FAIL(-EROFS, "%s: the pool is open for reading only", pool->url);
    return result;
}

/* --- Listing -------------------------------------------------------------------------------- */

struct listing {
    struct api_operation *operation;
    iomesh_store_info_fn *each;
};

static void store_tell(const struct listing *listing, const struct look_store *store)
{
    static const uint32_t classes[] = {[METADATA_NVME] = IOMESH_CLASS_NVME,
                                       [METADATA_SSD] = IOMESH_CLASS_SSD,
                                       [METADATA_HDD] = IOMESH_CLASS_HDD};
    const struct metadata_store *record = &store->record;
    struct iomesh_store_info info = {
        .size = sizeof info,
        .state = record->state,
        .id = record->id,
        .device_class = classes[record->media],
        .reason = record->state_reason,
        .state_since_ns = record->state_since_ns,
        .answers = store->answers,
        .weight_percent = record->weight_percent != 0 ? record->weight_percent : 100,
        .bytes = record->bytes,
        .used_bytes = record->bytes_used,
        .promised_bytes = record->bytes_promised,
        .incarnation = record->incarnation,
    };
    memcpy(info.uuid, record->uuid, sizeof info.uuid);
    memcpy(info.node, record->node, sizeof info.node);
    memcpy(info.address, record->address, sizeof info.address);
    memcpy(info.zone, record->zone, sizeof info.zone);
    memcpy(info.rack, record->rack, sizeof info.rack);
    listing->each(listing->operation->context, &info);
}

static void list_looked(void *context, int result, struct look *look)
{
    struct listing *listing = context;
    struct api_operation *operation = listing->operation;
    for (size_t i = 0; look != NULL && i < look->store_count; i++)
        store_tell(listing, &look->stores[i]);
    look_free(look);
    free(listing);
    api_operation_done(operation, result);
}

int iomesh_store_list(struct iomesh_pool *pool, iomesh_store_info_fn *each, iomesh_done_fn *done,
                      void *context)
{
    int result = refuse(pool, "listing stores", each != NULL && done != NULL, false);
    if (result != 0)
        return result;
    struct listing *listing = calloc(1, sizeof *listing);
    if (listing == NULL)
        return FAIL(-ENOMEM, "%s: no memory", pool->url);
    listing->operation = api_operation_begin(pool, context);
    if (listing->operation == NULL) {
        free(listing);
        return -ENOMEM;
    }
    listing->operation->done = done;
    listing->each = each;
    result = look_start(pool->meta, pool->clock, false, list_looked, listing);
    if (result != 0) {
        api_operation_end(listing->operation);
        free(listing);
    }
    return result;
}

/* --- Changing a record ---------------------------------------------------------------------- */

struct change {
    struct api_operation *operation;
    uint64_t store;
    enum metadata_store_state state;
    bool remove;
    unsigned tries;
    uint64_t revision;
    struct meta_request request;
};

static void change_end(struct change *change, int result)
{
    struct api_operation *operation = change->operation;
    meta_request_done(&change->request);
    free(change);
    api_operation_done(operation, result);
}

/* A result of the metadata, with a sentence. */
static void change_fail(struct change *change, int result)
{
    change_end(change, FAIL(result, "store %llu: its record in the metadata: %s",
                            (unsigned long long)change->store, base_error_text(result)));
}

static void change_none(struct change *change)
{
    change_end(change, FAIL(-ENOENT, "there is no store %llu: store list tells which there are",
                            (unsigned long long)change->store));
}

static int change_commit(struct change *change, meta_done_fn *done)
{
    return meta_commit(change->operation->pool->meta, &change->request, done);
}

static void change_read(struct meta_request *request, int result);

static int change_begin(struct change *change)
{
    struct metadata_key key = metadata_store_key(change->store);
    meta_request_reset(&change->request);
    meta_get(&change->request, META_SLICE(key));
    return change_commit(change, change_read);
}

static void change_put(struct meta_request *request, int result)
{
    struct change *change = CONTAINER_OF(request, struct change, request);
    if (result == 0 && !request->succeeded) {
        /* Its daemon told how full it is, just then. */
        result = ++change->tries < CHANGE_TRIES ? change_begin(change) : IOMESH_CONFLICT;
        if (result == 0)
            return;
    }
    if (result != 0)
        change_fail(change, result);
    else
        change_end(change, 0);
}

/* Why it is so from now on. That a device failed is forgotten when somebody says that it may be
 * used again, or never. */
static uint32_t change_reason(const struct change *change, const struct metadata_store *record)
{
    if (change->state == METADATA_STORE_UP)
        return METADATA_REASON_NONE;
    bool failed = record->state_reason == METADATA_REASON_FAILED;
    return failed && change->state == METADATA_STORE_DRAINING ? METADATA_REASON_FAILED
                                                              : METADATA_REASON_OPERATOR;
}

static bool change_is_made(const struct change *change, const struct metadata_store *record)
{
    if (record->state != change->state)
        return false;
    switch (change->state) {
    case METADATA_STORE_UP: return record->state_reason != METADATA_REASON_FAILED;
    case METADATA_STORE_OUT: return record->state_reason == METADATA_REASON_OPERATOR;
    default: return true;
    }
}

static int change_build(struct change *change, struct metadata_store *record)
{
    if (change_is_made(change, record))
        return 1;
    struct metadata_bytes value = {0};
    struct metadata_key key = metadata_store_key(change->store);
    record->state_reason = change_reason(change, record);
    record->state = change->state;
    record->drains = false; /* What the operator says now counts. */
    record->state_since_ns = clock_wall_ns(change->operation->pool->clock);
    int result = metadata_store_encode(record, &value);
    if (result != 0)
        return result;
    meta_request_reset(&change->request);
    meta_if_modified(&change->request, META_SLICE(key), change->revision);
    meta_put(&change->request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return change_commit(change, change_put);
}

static void change_read(struct meta_request *request, int result)
{
    struct change *change = CONTAINER_OF(request, struct change, request);
    struct metadata_store record;
    if (result == 0 && request->responses[0].entry_count == 0) {
        change_none(change);
        return;
    }
    if (result == 0) {
        const struct meta_entry *entry = &request->responses[0].entries[0];
        change->revision = entry->modified_revision;
        result = metadata_store_decode(entry->value.data, entry->value.length, &record);
    }
    if (result == 0) {
        result = change_build(change, &record);
        metadata_store_done(&record);
    }
    if (result == 1) /* It is so already. */
        change_end(change, 0);
    else if (result != 0)
        change_fail(change, result);
}

static int change_make(struct iomesh_pool *pool, const char *what, uint64_t store,
                       iomesh_done_fn *done, void *context, struct change **ret_change)
{
    int result = refuse(pool, what, done != NULL, true);
    if (result != 0)
        return result;
    struct change *change = calloc(1, sizeof *change);
    if (change == NULL)
        return FAIL(-ENOMEM, "%s: no memory", pool->url);
    change->operation = api_operation_begin(pool, context);
    if (change->operation == NULL) {
        free(change);
        return -ENOMEM;
    }
    change->operation->done = done;
    change->store = store;
    *ret_change = change;
    return 0;
}

static int change_started(struct change *change, int result)
{
    if (result == 0)
        return 0;
    api_operation_end(change->operation);
    meta_request_done(&change->request);
    free(change);
    return result;
}

static int change_state(struct iomesh_pool *pool, const char *what, uint64_t store,
                        enum metadata_store_state state, iomesh_done_fn *done, void *context)
{
    struct change *change;
    int result = change_make(pool, what, store, done, context, &change);
    if (result != 0)
        return result;
    change->state = state;
    return change_started(change, change_begin(change));
}

int iomesh_store_drain(struct iomesh_pool *pool, uint64_t store, uint32_t flags,
                       iomesh_done_fn *done, void *context)
{
    if (flags & ~IOMESH_STORE_LOST)
        return FAIL(-EINVAL, "draining a store: flags %#x are not known", flags);
    return change_state(pool, "draining a store", store,
                        flags & IOMESH_STORE_LOST ? METADATA_STORE_OUT : METADATA_STORE_DRAINING,
                        done, context);
}

int iomesh_store_undrain(struct iomesh_pool *pool, uint64_t store, iomesh_done_fn *done,
                         void *context)
{
    return change_state(pool, "taking a store into use", store, METADATA_STORE_UP, done, context);
}

/* --- Removing ------------------------------------------------------------------------------- */

static void remove_put(struct meta_request *request, int result)
{
    struct change *change = CONTAINER_OF(request, struct change, request);
    if (result != 0)
        change_fail(change, result);
    else if (!request->succeeded)
        change_end(change, FAIL(-EBUSY, "store %llu: its record changed meanwhile: try again",
                                (unsigned long long)change->store));
    else
        change_end(change, 0);
}

/* 0, or why not with a sentence. */
static int remove_allowed(const struct change *change, struct look *look,
                          const struct look_store *store)
{
    struct look_plan plan;
    char text[PLAN_TEXT_BYTES];
    int result = look_plan_open(look, &plan);
    if (result != 0)
        return result;
    if (!plan_removal(plan.plan, change->store, text))
        result = FAIL(-EBUSY, "%s", text);
    look_plan_close(&plan);
    uint64_t age_ns = look->wall_ns - MIN(look->wall_ns, store->record.state_since_ns);
    if (store->record.state_since_ns > look->wall_ns + REMOVE_AFTER_NS)
        age_ns = REMOVE_AFTER_NS; /* By a clock that is wrong: there is no waiting for it. */
    if (result == 0 && look->unreadable > 0)
        result = FAIL(IOMESH_CORRUPT,
                      "%llu records of the metadata cannot be read: whether store %llu holds "
                      "something is not known",
                      (unsigned long long)look->unreadable, (unsigned long long)change->store);
    else if (result == 0 && age_ns < REMOVE_AFTER_NS)
        result = FAIL(-EBUSY,
                      "store %llu was taken out of use just now, and somebody may not know yet: "
                      "try again in %llu seconds",
                      (unsigned long long)change->store,
                      (unsigned long long)DIV_CEIL(REMOVE_AFTER_NS - age_ns, NS_PER_S));
    return result;
}

static void remove_looked(void *context, int result, struct look *look)
{
    struct change *change = context;
    if (result != 0) {
        change_end(change, result);
        return;
    }
    const struct look_store *store = look_store(look, change->store);
    if (store == NULL) {
        look_free(look);
        change_none(change);
        return;
    }
    result = remove_allowed(change, look, store);
    if (result == 0) {
        struct metadata_key key = metadata_store_key(change->store);
        meta_if_modified(&change->request, META_SLICE(key), store->revision);
        meta_delete(&change->request, META_SLICE(key));
        result = change_commit(change, remove_put);
    }
    look_free(look);
    if (result != 0)
        change_end(change, result);
}

int iomesh_store_remove(struct iomesh_pool *pool, uint64_t store, iomesh_done_fn *done,
                        void *context)
{
    struct change *change;
    int result = change_make(pool, "removing a store", store, done, context, &change);
    if (result != 0)
        return result;
    return change_started(change, look_start(pool->meta, pool->clock, true, remove_looked, change));
}

/* --- Copies --------------------------------------------------------------------------------- */

struct copies_query {
    struct api_operation *operation;
    iomesh_copy_info_fn *each;
};

static void copies_each(void *context, const struct catalog_copy *copy)
{
    const struct copies_query *query = context;
    struct iomesh_copy_info info = {
        .size = sizeof info,
        .state = copy->state,
        .group = copy->group,
        .reason = copy->reason,
        .store = copy->store,
        .since_ns = copy->since_ns,
        .generation = copy->generation,
        .copied_bytes = copy->copied_bytes,
        .segments_done = copy->segments_done,
        .segments_total = copy->segments_total,
        .second_bytes = copy->bytes_second,
    };
    query->each(query->operation->context, &info);
}

static void copies_done(void *context, int result)
{
    struct copies_query *query = context;
    struct api_operation *operation = query->operation;
    free(query);
    api_operation_done(operation, result);
}

int iomesh_volume_copies(struct iomesh_pool *pool, const char *name, iomesh_copy_info_fn *each,
                         iomesh_done_fn *done, void *context)
{
    int result = api_operation_refuse(pool, name, each != NULL && done != NULL);
    if (result == 0)
        result = cluster_refuse_embedded(pool, "listing copies");
    if (result != 0)
        return result;
    struct copies_query *query = calloc(1, sizeof *query);
    if (query == NULL)
        return FAIL(-ENOMEM, "%s: no memory", pool->url);
    query->operation = api_operation_begin(pool, context);
    if (query->operation == NULL) {
        free(query);
        return -ENOMEM;
    }
    query->operation->done = done;
    query->each = each;
    result = catalog_copies(pool->catalog, name, copies_each, copies_done, query);
    if (result != 0) {
        api_operation_end(query->operation);
        free(query);
    }
    return result;
}

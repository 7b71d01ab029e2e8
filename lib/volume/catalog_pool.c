/* SPDX-License-Identifier: Apache-2.0 */
/* The records of the pool as a whole: made once, and looked at before anything is opened. */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_inside.h"

/* --- Making --------------------------------------------------------------------------------- */

struct pool_format {
    struct meta_request request;
    catalog_done_fn *done;
    void *context;
};

static void format_committed(struct meta_request *request, int result)
{
    struct pool_format *format = CONTAINER_OF(request, struct pool_format, request);
    if (result == 0 && !request->succeeded)
        result = FAIL(-EEXIST, "the metadata is a pool's already");
    else if (result != 0)
        FAIL(result, "making the metadata of a pool: %s", base_error_text(result));
    catalog_done_fn *done = format->done;
    void *context = format->context;
    meta_request_done(&format->request);
    free(format);
    done(context, result);
}

static void format_put(struct meta_request *request, const struct metadata_key *key,
                       struct metadata_bytes *value)
{
    meta_put(request, META_SLICE(*key), META_SLICE(*value), 0);
    metadata_bytes_done(value);
}

/* store_uuid: NULL: without a store. */
static int format_build(struct meta_request *request, const uint8_t pool_uuid[16],
                        const uint8_t *store_uuid)
{
    struct metadata_cluster cluster = {.format = CATALOG_FORMAT_VERSION};
    struct metadata_counter counter = {.next = 1};
    struct metadata_store store = {.id = CATALOG_STORE_ID};
    struct metadata_bytes value = {0};
    memcpy(cluster.uuid, pool_uuid, sizeof cluster.uuid);
    if (store_uuid != NULL)
        memcpy(store.uuid, store_uuid, sizeof store.uuid);
    struct metadata_key key = metadata_cluster_key();
    meta_if_absent(request, META_SLICE(key));
    int result = metadata_cluster_encode(&cluster, &value);
    if (result == 0) {
        format_put(request, &key, &value);
        key = metadata_counter_key(CATALOG_COUNTER);
        result = metadata_counter_encode(&counter, &value);
    }
    if (result == 0)
        format_put(request, &key, &value);
    if (result != 0 || store_uuid == NULL)
        return result;
    key = metadata_store_key(CATALOG_STORE_ID);
    result = metadata_store_encode(&store, &value);
    if (result == 0)
        format_put(request, &key, &value);
    return result;
}

static int format_start(struct meta *meta, const uint8_t pool_uuid[16], const uint8_t *store_uuid,
                        catalog_done_fn *done, void *context)
{
    struct pool_format *format = calloc(1, sizeof *format);
    if (format == NULL)
        return FAIL(-ENOMEM, "making the metadata of a pool: no memory");
    format->done = done;
    format->context = context;
    int result = format_build(&format->request, pool_uuid, store_uuid);
    if (result == 0)
        result = meta_commit(meta, &format->request, format_committed);
    if (result != 0) {
        meta_request_done(&format->request);
        free(format);
    }
    return result;
}

int catalog_format(struct meta *meta, const uint8_t pool_uuid[16], const uint8_t store_uuid[16],
                   catalog_done_fn *done, void *context)
{
    return format_start(meta, pool_uuid, store_uuid, done, context);
}

int catalog_format_cluster(struct meta *meta, const uint8_t pool_uuid[16], catalog_done_fn *done,
                           void *context)
{
    return format_start(meta, pool_uuid, NULL, done, context);
}

/* --- Looking -------------------------------------------------------------------------------- */

void catalog_look_build(struct meta_request *request)
{
    struct metadata_key cluster = metadata_cluster_key();
    struct metadata_key store = metadata_store_key(CATALOG_STORE_ID);
    meta_request_reset(request);
    meta_get(request, META_SLICE(cluster));
    meta_get(request, META_SLICE(store));
}

static int look_cluster(const struct meta_response *response, uint8_t ret_uuid[16])
{
    if (response->entry_count == 0)
        return FAIL(-ENOENT, "the metadata is there, but no pool was ever completed in it");
    struct metadata_cluster cluster = {0};
    int result = metadata_cluster_decode(response->entries[0].value.data,
                                         response->entries[0].value.length, &cluster);
    if (result == IOMESH_FORMAT)
        return result; /* With a sentence. */
    if (result != 0)
        return FAIL(result, "the record of the pool: %s", base_error_text(result));
    memcpy(ret_uuid, cluster.uuid, sizeof cluster.uuid);
    uint32_t format = cluster.format;
    metadata_cluster_done(&cluster);
    if (format > CATALOG_FORMAT_VERSION)
        return FAIL(IOMESH_FORMAT,
                    "the pool has format %u; this program knows formats up to %u: use a newer one",
                    format, CATALOG_FORMAT_VERSION);
    return 0;
}

int catalog_look_pool(const struct meta_request *request, uint8_t ret_uuid[16])
{
    return look_cluster(&request->responses[0], ret_uuid);
}

int catalog_look_read(const struct meta_request *request, struct catalog_look *ret_look,
                      struct metadata_store *ret_store, uint64_t *ret_revision)
{
    struct catalog_look look;
    int result = look_cluster(&request->responses[0], look.pool_uuid);
    if (result != 0)
        return result;
    const struct meta_response *response = &request->responses[1];
    if (response->entry_count == 0)
        return FAIL(IOMESH_CORRUPT, "the metadata has a pool, but no record of its store");
    const struct meta_entry *entry = &response->entries[0];
    result = metadata_store_decode(entry->value.data, entry->value.length, ret_store);
    if (result != 0)
        return FAIL(result, "the record of the store: %s", base_error_text(result));
    memcpy(look.store_uuid, ret_store->uuid, sizeof look.store_uuid);
    look.incarnation = ret_store->incarnation;
    *ret_revision = entry->modified_revision;
    *ret_look = look;
    return 0;
}

struct pool_look {
    struct meta_request request;
    catalog_look_fn *done;
    void *context;
};

static void look_read(struct meta_request *request, int result)
{
    struct pool_look *reading = CONTAINER_OF(request, struct pool_look, request);
    struct catalog_look look;
    struct metadata_store store = {0};
    uint64_t revision;
    if (result != 0)
        FAIL(result, "reading the metadata of the pool: %s", base_error_text(result));
    else
        result = catalog_look_read(request, &look, &store, &revision);
    if (result == 0)
        metadata_store_done(&store);
    catalog_look_fn *done = reading->done;
    void *context = reading->context;
    meta_request_done(&reading->request);
    free(reading);
    done(context, result, result == 0 ? &look : NULL);
}

int catalog_look(struct meta *meta, catalog_look_fn *done, void *context)
{
    struct pool_look *reading = calloc(1, sizeof *reading);
    if (reading == NULL)
        return FAIL(-ENOMEM, "reading the metadata of the pool: no memory");
    reading->done = done;
    reading->context = context;
    catalog_look_build(&reading->request);
    int result = meta_commit(meta, &reading->request, look_read);
    if (result != 0) {
        meta_request_done(&reading->request);
        free(reading);
    }
    return result;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/store.h>: metadata of a cluster's pool, made anew of what its stores have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/rebuild_read.h"
#include "api/store_record.h"
#include "meta/etcd/etcd.h"
#include "volume/catalog_inside.h"

#define PUTS 64u
#define PUT_BYTES (512u << 10)

struct making {
    struct reading reading;
    struct rebuild rebuild;
    const char *url;
    struct meta_request request;
    struct iomesh_rebuild_options options;
};

static void making_wakeup(void *context)
{
    uring_wake(((struct making *)context)->reading.engine->uring);
}

static void making_tell(void *context, uint32_t severity, const char *text)
{
    const struct making *making = context;
    if (making->options.tell != NULL)
        making->options.tell(making->options.context, severity, text);
}

/* --- The metadata --------------------------------------------------------------------------- */

static void making_committed(struct meta_request *request, int result)
{
    struct making *making = CONTAINER_OF(request, struct making, request);
    api_waiter_done(&making->reading.waiter, result);
}

static int making_commit(struct making *making)
{
    struct meta_etcd_state state;
    making->reading.waiter.pending = true;
    int result = reading_wait(
        &making->reading, meta_commit(making->reading.meta, &making->request, making_committed));
    if (result == 0)
        return making->request.succeeded
                   ? 0
                   : FAIL(-EEXIST, "%s: somebody else made a pool there meanwhile", making->url);
    meta_etcd_state(making->reading.meta, &state);
    return FAIL(result, "%s: the metadata: %s%s%s", making->url, base_error_text(result),
                state.trouble[0] != '\0' ? ": " : "", state.trouble);
}

static int meta_begin(struct making *making)
{
    struct meta_etcd_options options = {
        .url = making->url, .wakeup = making_wakeup, .wakeup_context = making};
    int result = meta_etcd_open(&options, &making->reading.meta);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_cluster_key();
    meta_get(&making->request, META_SLICE(key));
    result = making_commit(making);
    if (result == 0 && making->request.responses[0].entry_count > 0)
        result = FAIL(-EEXIST, "%s: there is a pool: nothing is rebuilt over it", making->url);
    return result;
}

static void put_begin(struct making *making)
{
    struct metadata_key key = metadata_cluster_key();
    meta_request_reset(&making->request);
    meta_if_absent(&making->request, META_SLICE(key));
}

/* What an interrupted rebuilding left: there is no pool without its own record. */
static int put_clear(struct making *making)
{
    put_begin(making);
    for (enum metadata_kind kind = METADATA_STORE; kind <= METADATA_TOGETHER; kind++) {
        struct metadata_key prefix = metadata_prefix(kind);
        meta_delete_prefix(&making->request, META_SLICE(prefix));
    }
    return making_commit(making);
}

static int put_records(struct making *making)
{
    const struct rebuild_record *record = making->rebuild.records;
    while (record != NULL) {
        size_t bytes = 0;
        put_begin(making);
        for (unsigned i = 0; record != NULL && i < PUTS && bytes < PUT_BYTES; i++) {
            meta_put(&making->request, META_SLICE(record->key), META_SLICE(record->value), 0);
            bytes += record->value.length;
            record = record->next;
        }
        int result = making_commit(making);
        if (result != 0)
            return result;
    }
    return 0;
}

static int put_counter(struct making *making, const char *name, uint64_t next)
{
    struct metadata_counter counter = {.next = next};
    struct metadata_bytes value = {0};
    struct metadata_key key = metadata_counter_key(name);
    int result = metadata_counter_encode(&counter, &value);
    if (result == 0)
        meta_put(&making->request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return result;
}

/* With this it is a pool. */
static int put_end(struct making *making)
{
    const struct rebuild *rebuild = &making->rebuild;
    struct metadata_bytes value = {0};
    struct metadata_key key = metadata_cluster_key();
    put_begin(making);
    int result = metadata_cluster_encode(&rebuild->cluster, &value);
    if (result == 0)
        meta_put(&making->request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    if (result == 0)
        result = put_counter(making, CATALOG_COUNTER, rebuild->id_last + 1 + REBUILD_NUMBERS);
    if (result == 0)
        result = put_counter(making, STORE_RECORD_COUNTER, rebuild->store_last + 1 + 1024);
    return result != 0 ? result : making_commit(making);
}

/* --- All of it ------------------------------------------------------------------------------ */

static int making_read(struct making *making)
{
    int result = 0;
    for (uint32_t i = 0; i < making->options.store_count && result == 0; i++)
        result = reading_store(&making->reading, &making->rebuild, making->options.stores[i]);
    for (uint32_t i = 0; i < making->options.address_count && result == 0; i++)
        result = reading_far(&making->reading, &making->rebuild, making->options.addresses[i]);
    if (result == 0)
        result = reading_parts(&making->reading, &making->rebuild);
    for (uint32_t i = 0; i < making->options.file_count && result == 0; i++)
        result = rebuild_load(&making->rebuild, making->options.files[i]);
    if (result == 0 && making->options.save != NULL)
        result = rebuild_save(&making->rebuild, making->options.save);
    else if (result == 0)
        result = rebuild_merge(&making->rebuild);
    if (result == -ENOMEM)
        result = FAIL(-ENOMEM, "%s: no memory for what the stores say", making->url);
    return result;
}

static int making_steps(struct making *making)
{
    int result = making->options.save == NULL ? meta_begin(making) : 0;
    if (result == 0)
        result = making_read(making);
    if (result == 0 && making->rebuild.losses > 0 &&
        !(making->options.flags & IOMESH_REBUILD_ACCEPT_LOSS))
        result = FAIL(-EPERM,
                      "%llu groups of volumes may lack acknowledged writes: name all stores that "
                      "are left",
                      (unsigned long long)making->rebuild.losses);
    if (result != 0 || making->options.save != NULL || making->options.flags & IOMESH_REBUILD_LOOK)
        return result;
    result = put_clear(making);
    if (result == 0)
        result = put_records(making);
    return result == 0 ? put_end(making) : result;
}

static int making_check(const struct iomesh_rebuild_options *options)
{
    if (options->flags & ~(IOMESH_REBUILD_ACCEPT_LOSS | IOMESH_REBUILD_LOOK))
        return FAIL(-EINVAL, "rebuilding: flags %#x are not known", options->flags);
    if ((options->store_count > 0 && options->stores == NULL) ||
        (options->file_count > 0 && options->files == NULL) ||
        (options->address_count > 0 && options->addresses == NULL) ||
        options->store_count + options->file_count + options->address_count == 0)
        return FAIL(-EINVAL, "rebuilding needs the stores of the pool, all that are left");
    if (options->store_count > REBUILD_STORES_MAX || options->file_count > REBUILD_STORES_MAX ||
        options->address_count > REBUILD_STORES_MAX)
        return FAIL(-EINVAL, "rebuilding takes at most %u stores", REBUILD_STORES_MAX);
    return 0;
}

int iomesh_pool_rebuild(const char *url, const struct iomesh_rebuild_options *given,
                        struct iomesh_rebuild_result *ret_result)
{
    struct iomesh_rebuild_options options = IOMESH_REBUILD_OPTIONS_INIT;
    int result = api_options("rebuild", given, &options, sizeof options);
    if (result == 0)
        result = making_check(&options);
    if (result == 0 && (url == NULL || strncmp(url, "etcd:", 5) != 0))
        result = FAIL(-ENOTSUP, "the metadata of a cluster, etcd://…, can be rebuilt; that of a "
                                "directory is in it");
    struct making *making = result == 0 ? calloc(1, sizeof *making) : NULL;
    if (result != 0 || making == NULL)
        return result != 0 ? result : FAIL(-ENOMEM, "%s: no memory", url);
    making->url = url;
    making->options = options;
    making->rebuild.tell = making_tell;
    making->rebuild.context = making;
    result = reading_begin(&making->reading, options.tls_directory);
    if (result == 0) {
        char sentence[400];
        result = making_steps(making);
        (void)snprintf(sentence, sizeof sentence, "%s", base_last_error());
        meta_request_done(&making->request);
        reading_end(&making->reading);
        if (result != 0)
            (void)FAIL(result, "%s", sentence);
    }
    struct iomesh_rebuild_result told = {
        .size = sizeof told,
        .stores = making->rebuild.store_count,
        .volumes = making->rebuild.volume_count,
        .snapshots = making->rebuild.snapshot_count,
        .groups = making->rebuild.group_count,
        .losses = making->rebuild.losses,
        .faults = making->rebuild.faults,
    };
    rebuild_done(&making->rebuild);
    free(making);
    if (ret_result != NULL && ret_result->size >= sizeof ret_result->size)
        (void)api_give(ret_result, ret_result->size, &told, sizeof told);
    return result;
}

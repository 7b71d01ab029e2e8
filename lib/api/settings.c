/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/store.h>: what everybody who uses a pool is held to. */
#include <stdlib.h>

#include "api/cluster.h"
#include "api/operation.h"
#include "keeper/plan.h"

#define SETTINGS_TRIES 16u
#define GRACE_NS (250 * NS_PER_MS) /* As struct replica_options says. */
#define COPY_TIMEOUT_NS (2 * NS_PER_S)
#define SLOW_NS (50 * NS_PER_MS)

/* --- Telling -------------------------------------------------------------------------------- */

static struct iomesh_settings settings_set(const struct metadata_cluster *record)
{
    return (struct iomesh_settings){
        .size = sizeof(struct iomesh_settings),
        .balance_percent = record->balance_percent,
        .out_after_ns = record->out_after_ms * NS_PER_MS,
        .grace_ns = record->grace_ms * NS_PER_MS,
        .copy_timeout_ns = record->copy_timeout_ms * NS_PER_MS,
        .moves_per_store = record->moves_per_store_max,
        .moves_per_pool = record->moves_per_pool_max,
        .move_store_bytes = record->move_store_bytes_max,
        .move_pool_bytes = record->move_pool_bytes_max,
        .slow_ns = record->slow_ms * NS_PER_MS,
        .resync_volume_bytes = record->resync_volume_bytes_max,
        .resync_process_bytes = record->resync_engine_bytes_max,
    };
}

int iomesh_settings_get(struct iomesh_pool *pool, struct iomesh_settings *ret_set,
                        struct iomesh_settings *ret_used)
{
    int result = api_operation_refuse(pool, "", true);
    if (result == 0)
        result = cluster_refuse_embedded(pool, "telling settings");
    if (result != 0)
        return result;
    const struct metadata_cluster *record = cluster_settings(pool_cluster(pool));
    struct plan_settings plan = plan_settings_of(record, cluster_stores(pool_cluster(pool))->count);
    struct iomesh_settings set = settings_set(record);
    struct iomesh_settings used = {
        .size = sizeof used,
        .balance_percent = plan.balance_start_ppm / 10000,
        .out_after_ns = plan.out_after_ns,
        .grace_ns = set.grace_ns != 0 ? set.grace_ns : GRACE_NS,
        .copy_timeout_ns = set.copy_timeout_ns != 0 ? set.copy_timeout_ns : COPY_TIMEOUT_NS,
        .moves_per_store = plan.moves_per_store_max,
        .moves_per_pool = plan.moves_per_pool_max,
        .move_store_bytes = plan.store_bytes_max,
        .move_pool_bytes = plan.pool_bytes_max,
        .slow_ns = set.slow_ns != 0 ? set.slow_ns : SLOW_NS,
        .resync_volume_bytes = set.resync_volume_bytes,
        .resync_process_bytes = set.resync_process_bytes,
    };
    if (ret_set != NULL)
        result = api_give(ret_set, ret_set->size, &set, sizeof set);
    if (result == 0 && ret_used != NULL)
        result = api_give(ret_used, ret_used->size, &used, sizeof used);
    return result;
}

/* --- Changing ------------------------------------------------------------------------------- */

/* 0 is always fine: as it is built. */
static int within(const char *what, uint64_t value, uint64_t low, uint64_t high, const char *range)
{
    return value == 0 || (value >= low && value <= high)
               ? 0
               : FAIL(-EINVAL, "%s is %s, or 0: as it is built", what, range);
}

static int settings_check(const struct iomesh_settings *settings, uint32_t which)
{
    const struct {
        uint32_t which;
        const char *what;
        uint64_t value, low, high;
        const char *range;
    } rules[] = {
        {IOMESH_SETTING_BALANCE_PERCENT, "balance_percent", settings->balance_percent, 1, 50,
         "1 to 50"},
        {IOMESH_SETTING_OUT_AFTER, "out_after", settings->out_after_ns, 10 * NS_PER_S,
         30 * 86400 * NS_PER_S, "10 seconds to 30 days"},
        {IOMESH_SETTING_GRACE, "grace", settings->grace_ns, 10 * NS_PER_MS, 10 * NS_PER_S,
         "10 milliseconds to 10 seconds"},
        {IOMESH_SETTING_COPY_TIMEOUT, "copy_timeout", settings->copy_timeout_ns, 100 * NS_PER_MS,
         60 * NS_PER_S, "100 milliseconds to 60 seconds"},
        {IOMESH_SETTING_MOVES_PER_STORE, "moves_per_store", settings->moves_per_store, 1, 64,
         "1 to 64"},
        {IOMESH_SETTING_MOVES_PER_POOL, "moves_per_pool", settings->moves_per_pool, 1, 10000,
         "1 to 10,000"},
        {IOMESH_SETTING_MOVE_STORE_BYTES, "move_store_bytes", settings->move_store_bytes, 1u << 20,
         UINT64_MAX, "1 MiB a second or more"},
        {IOMESH_SETTING_MOVE_POOL_BYTES, "move_pool_bytes", settings->move_pool_bytes, 1u << 20,
         UINT64_MAX, "1 MiB a second or more"},
        {IOMESH_SETTING_SLOW, "slow", settings->slow_ns, NS_PER_MS, 60 * NS_PER_S,
         "1 millisecond to 60 seconds"},
        {IOMESH_SETTING_RESYNC_VOLUME_BYTES, "resync_volume_bytes", settings->resync_volume_bytes,
         1u << 20, UINT64_MAX, "1 MiB a second or more"},
        {IOMESH_SETTING_RESYNC_PROCESS_BYTES, "resync_process_bytes",
         settings->resync_process_bytes, 1u << 20, UINT64_MAX, "1 MiB a second or more"},
    };
    uint32_t known = 0;
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        known |= rules[i].which;
        int result = 0;
        if (which & rules[i].which)
            result =
                within(rules[i].what, rules[i].value, rules[i].low, rules[i].high, rules[i].range);
        if (result != 0)
            return result;
    }
    if (which == 0 || which & ~known)
        return FAIL(-EINVAL, "settings: %#x names none, or some that are not known", which);
    return 0;
}

struct setting {
    struct api_operation *operation;
    struct iomesh_settings settings;
    uint32_t which;
    unsigned tries;
    uint64_t revision;
    struct meta_request request;
};

static void setting_end(struct setting *setting, int result)
{
    struct api_operation *operation = setting->operation;
    meta_request_done(&setting->request);
    free(setting);
    if (result != 0)
        (void)FAIL(result, "%s: its record in the metadata: %s", operation->pool->url,
                   base_error_text(result));
    api_operation_done(operation, result);
}

static void setting_apply(const struct setting *setting, struct metadata_cluster *record)
{
    const struct iomesh_settings *from = &setting->settings;
    uint32_t which = setting->which;
    if (which & IOMESH_SETTING_BALANCE_PERCENT)
        record->balance_percent = from->balance_percent;
    if (which & IOMESH_SETTING_OUT_AFTER)
        record->out_after_ms = from->out_after_ns / NS_PER_MS;
    if (which & IOMESH_SETTING_GRACE)
        record->grace_ms = from->grace_ns / NS_PER_MS;
    if (which & IOMESH_SETTING_COPY_TIMEOUT)
        record->copy_timeout_ms = from->copy_timeout_ns / NS_PER_MS;
    if (which & IOMESH_SETTING_MOVES_PER_STORE)
        record->moves_per_store_max = from->moves_per_store;
    if (which & IOMESH_SETTING_MOVES_PER_POOL)
        record->moves_per_pool_max = from->moves_per_pool;
    if (which & IOMESH_SETTING_MOVE_STORE_BYTES)
        record->move_store_bytes_max = from->move_store_bytes;
    if (which & IOMESH_SETTING_MOVE_POOL_BYTES)
        record->move_pool_bytes_max = from->move_pool_bytes;
    if (which & IOMESH_SETTING_SLOW)
        record->slow_ms = from->slow_ns / NS_PER_MS;
    if (which & IOMESH_SETTING_RESYNC_VOLUME_BYTES)
        record->resync_volume_bytes_max = from->resync_volume_bytes;
    if (which & IOMESH_SETTING_RESYNC_PROCESS_BYTES)
        record->resync_engine_bytes_max = from->resync_process_bytes;
}

static void setting_read(struct meta_request *request, int result);

static int setting_begin(struct setting *setting)
{
    struct metadata_key key = metadata_cluster_key();
    meta_request_reset(&setting->request);
    meta_get(&setting->request, META_SLICE(key));
    return meta_commit(setting->operation->pool->meta, &setting->request, setting_read);
}

static void setting_put(struct meta_request *request, int result)
{
    struct setting *setting = CONTAINER_OF(request, struct setting, request);
    if (result == 0 && !request->succeeded) {
        result = ++setting->tries < SETTINGS_TRIES ? setting_begin(setting) : IOMESH_CONFLICT;
        if (result == 0)
            return;
    }
    setting_end(setting, result);
}

static int setting_build(struct setting *setting, const struct meta_entry *entry)
{
    struct metadata_cluster record;
    struct metadata_bytes value = {0};
    struct metadata_key key = metadata_cluster_key();
    int result = metadata_cluster_decode(entry->value.data, entry->value.length, &record);
    if (result != 0)
        return result;
    setting_apply(setting, &record);
    setting->revision = entry->modified_revision;
    result = metadata_cluster_encode(&record, &value);
    metadata_cluster_done(&record);
    if (result != 0)
        return result;
    meta_request_reset(&setting->request);
    meta_if_modified(&setting->request, META_SLICE(key), setting->revision);
    meta_put(&setting->request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return meta_commit(setting->operation->pool->meta, &setting->request, setting_put);
}

static void setting_read(struct meta_request *request, int result)
{
    struct setting *setting = CONTAINER_OF(request, struct setting, request);
    if (result == 0 && request->responses[0].entry_count == 0)
        result = -ENOENT;
    if (result == 0)
        result = setting_build(setting, &request->responses[0].entries[0]);
    if (result != 0)
        setting_end(setting, result);
}

int iomesh_settings_set(struct iomesh_pool *pool, const struct iomesh_settings *given,
                        uint32_t which, iomesh_done_fn *done, void *context)
{
    struct iomesh_settings settings = IOMESH_SETTINGS_INIT;
    int result = api_operation_refuse(pool, "", done != NULL);
    if (result == 0)
        result = cluster_refuse_embedded(pool, "changing settings");
    if (result == 0 && pool->options.flags & IOMESH_POOL_READ_ONLY)
        result = FAIL(-EROFS, "%s: the pool is open for reading only", pool->url);
    if (result == 0)
        result = api_options("settings", given, &settings, sizeof settings);
    if (result == 0)
        result = settings_check(&settings, which);
    if (result != 0)
        return result;
    struct setting *setting = calloc(1, sizeof *setting);
    if (setting == NULL)
        return FAIL(-ENOMEM, "%s: no memory", pool->url);
    setting->operation = api_operation_begin(pool, context);
    if (setting->operation == NULL) {
        free(setting);
        return -ENOMEM;
    }
    setting->operation->done = done;
    setting->settings = settings;
    setting->which = which;
    result = setting_begin(setting);
    if (result != 0) {
        api_operation_end(setting->operation);
        meta_request_done(&setting->request);
        free(setting);
    }
    return result;
}

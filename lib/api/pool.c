/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a pool, turning its machines, closing it. */
#include "api/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cluster.h"
#include "api/control.h"
#include "meta/etcd/etcd.h"
#include "meta/sqlite/sqlite.h"

#define CLAIM_RETRY_NS (50 * NS_PER_MS)
#define CLAIM_WAIT_NS (10 * NS_PER_S)
#define SLOW_NS (2 * NS_PER_S)
#define SLOW_AGAIN_NS (10 * NS_PER_S)

void pool_note(struct iomesh_pool *pool, int result)
{
    if (pool->result != 0 || result == 0)
        return;
    pool->result = result;
    (void)snprintf(pool->sentence, sizeof pool->sentence, "%s", base_last_error());
}

/* --- Closing: top down --------------------------------------------------------------------- */

static void pool_free(struct iomesh_pool *pool)
{
    for (unsigned i = 0; i < pool->disk_count; i++)
        uring_disk_close(pool->disks[i]);
    cluster_free(pool->cluster);
    api_requests_close(&pool->requests);
    place_done(&pool->place);
    free(pool->url);
    free(pool);
}

/* The last step: nothing of it is used any more, and whoever asked is told. */
static void pool_gone(struct iomesh_pool *pool)
{
    iomesh_pool_opened_fn *opened = pool->opened;
    iomesh_done_fn *closed = pool->closed;
    void *context = pool->context;
    int result = pool->result;
    volume_engine_close(pool->volume_engine);
    cluster_free(pool->cluster);
    pool->cluster = NULL;
    meta_close(pool->meta);
    clock_cancel(pool->clock, &pool->claim_retry);
    clock_cancel(pool->clock, &pool->slow);
    engine_hook_remove(pool->engine->engine, &pool->hook);
    pool->engine->pool_count--;
    if (result != 0)
        (void)FAIL(result, "%s", pool->sentence);
    pool_free(pool);
    if (opened != NULL)
        opened(context, result, NULL);
    else
        closed(context, result);
}

static void pool_store_closed(void *context, int result)
{
    struct iomesh_pool *pool = context;
    pool_note(pool, result);
    pool->store = NULL;
    pool->state = POOL_CLOSE_REST;
}

static void pool_catalog_closed(void *context, int result)
{
    struct iomesh_pool *pool = context;
    pool_note(pool, result);
    pool->catalog = NULL;
    pool_shut(pool);
}

void pool_control_closed(struct iomesh_pool *pool)
{
    pool_shut(pool);
}

void pool_shut(struct iomesh_pool *pool)
{
    if (pool->control != NULL && !pool->control->quiet) {
        pool->state = POOL_CLOSE_CONTROL;
        pool_control_close(pool->control);
    } else if (pool->catalog != NULL) {
        pool->state = POOL_CLOSE_CATALOG;
        catalog_close(pool->catalog, pool_catalog_closed, pool);
    } else if (pool->store != NULL) {
        pool->state = POOL_CLOSE_STORE;
        store_close(pool->store, pool_store_closed, pool);
    } else {
        if (pool->cluster != NULL)
            cluster_close(pool->cluster);
        pool->state = POOL_CLOSE_REST;
    }
}

/* --- Opening: bottom up -------------------------------------------------------------------- */

static void pool_fail(struct iomesh_pool *pool, int result)
{
    pool_note(pool, result);
    pool_shut(pool);
}

static void pool_catalog_opened(void *context, int result)
{
    struct iomesh_pool *pool = context;
    if (result != 0) {
        pool->catalog = NULL;
        pool_fail(pool, result);
        return;
    }
    pool->state = POOL_OPEN;
    clock_cancel(pool->clock, &pool->slow);
    engine_count(pool->engine->engine);
    pool->opened_ns = clock_now_ns(pool->clock);
    pool_tell_open(pool);
    if (pool->cluster == NULL &&
        !(pool->options.flags & (IOMESH_POOL_NO_CONTROL | IOMESH_POOL_READ_ONLY)))
        pool_control_open(pool);
    iomesh_pool_opened_fn *opened = pool->opened;
    pool->opened = NULL;
    opened(pool->context, 0, pool);
}

static void pool_store_opened(void *context, int result)
{
    struct iomesh_pool *pool = context;
    if (result != 0) {
        pool->store = NULL;
        pool_fail(pool, result);
        return;
    }
    pool->state = POOL_CATALOG;
    struct volume_engine_options volumes = {.store = pool->store,
                                            .op_count = pool->options.requests_max};
    result = volume_engine_open(&volumes, &pool->volume_engine);
    if (result == 0) {
        struct catalog_options catalog = {
            .meta = pool->meta,
            .store = pool->store,
            .volumes = pool->volume_engine,
            .clock = pool->clock,
            .read_only = store_state(pool->store) != STORE_READY,
            .volumes_max = pool->options.volumes_max,
            .event = pool_catalog_event,
            .context = pool,
        };
        result = catalog_open(&catalog, &pool->catalog, pool_catalog_opened, pool);
    }
    if (result != 0)
        pool_fail(pool, result);
}

static const enum device_class pool_classes[] = {
    [IOMESH_CLASS_NVME] = DEVICE_NVME,
    [IOMESH_CLASS_SSD] = DEVICE_SSD,
    [IOMESH_CLASS_HDD] = DEVICE_HDD,
};

static void pool_looked(void *context, int result, const struct catalog_look *look)
{
    struct iomesh_pool *pool = context;
    if (result != 0) {
        pool_fail(pool, result);
        return;
    }
    pool->state = POOL_STORE;
    memcpy(pool->uuid, look->pool_uuid, sizeof pool->uuid);
    if (!(pool->options.flags & (IOMESH_POOL_NO_SCRUB | IOMESH_POOL_READ_ONLY)))
        pool->scrub_rate =
            pool->options.scrub_rate != 0 ? pool->options.scrub_rate : POOL_SCRUB_RATE;
    struct store_options store = {
        .clock = pool->clock,
        .device_count = pool->disk_count,
        .cache_bytes = pool->options.cache_bytes,
        .discard = pool->options.flags & IOMESH_POOL_DISCARD,
        .read_only = pool->options.flags & IOMESH_POOL_READ_ONLY,
        .scrub_bytes_per_s = pool->scrub_rate,
        .scrub_interval_ns = pool->options.scrub_interval_ns,
        .incarnation_min = look->incarnation,
        .event = pool_store_event,
        .context = pool,
    };
    for (unsigned i = 0; i < pool->disk_count; i++)
        store.devices[i] = (struct store_device){
            .disk = pool->disks[i], .class = pool_classes[pool->place.devices[i].device_class]};
    result = store_open(&store, &pool->store, pool_store_opened, pool);
    if (result != 0)
        pool_fail(pool, result);
}

static void pool_meta_wakeup(void *context)
{
    uring_wake(((struct iomesh_pool *)context)->engine->uring);
}

static int pool_claim_disks(struct iomesh_pool *pool)
{
    unsigned flags = pool->options.flags & IOMESH_POOL_READ_ONLY ? URING_DISK_READ_ONLY : 0;
    while (pool->disk_count < pool->place.device_count) {
        int result =
            uring_disk_open(pool->engine->uring, pool->place.devices[pool->disk_count].path, 0,
                            flags, &pool->disks[pool->disk_count]);
        if (result != 0)
            return result;
        pool->disk_count++;
    }
    return 0;
}

static void pool_begin_cluster(struct iomesh_pool *pool)
{
    struct meta_etcd_options options = {
        .url = pool->url,
        .wait_ns = pool->options.metadata_wait_ns,
        .seed = pool->cluster->seed,
        .stale = pool->options.flags & IOMESH_POOL_STALE,
        .wakeup = pool_meta_wakeup,
        .wakeup_context = pool,
    };
    pool->state = POOL_LOOK;
    int result = meta_etcd_open(&options, &pool->meta);
    if (result == 0)
        result = cluster_open(pool, pool_catalog_opened);
    if (result != 0)
        pool_fail(pool, result);
}

static void pool_claim(struct iomesh_pool *pool)
{
    int result = pool_claim_disks(pool);
    if (result == 0 && pool->meta == NULL) {
        struct meta_sqlite_options options = {
            .path = pool->place.metadata,
            .read_only = pool->options.flags & IOMESH_POOL_READ_ONLY,
            .threaded = true,
            .clock = pool->clock,
            .wakeup = pool_meta_wakeup,
            .wakeup_context = pool,
        };
        result = meta_sqlite_open(&options, &pool->meta);
    }
    if (result == IOMESH_IN_USE && clock_now_ns(pool->clock) < pool->claim_until_ns) {
        /* It may be a killed process whose last requests still drain. */
        clock_set_after(pool->clock, &pool->claim_retry, CLAIM_RETRY_NS);
        return;
    }
    if (result == 0) {
        pool->state = POOL_LOOK;
        result = catalog_look(pool->meta, pool_looked, pool);
    }
    if (result != 0)
        pool_fail(pool, result);
}

static void pool_claim_fire(struct timer *timer)
{
    struct iomesh_pool *pool = CONTAINER_OF(timer, struct iomesh_pool, claim_retry);
    if (pool->cluster != NULL)
        pool_begin_cluster(pool);
    else
        pool_claim(pool);
}

static void pool_slow_fire(struct timer *timer)
{
    struct iomesh_pool *pool = CONTAINER_OF(timer, struct iomesh_pool, slow);
    pool_tell_slow(pool);
    clock_set_after(pool->clock, timer, SLOW_AGAIN_NS);
}

/* --- Turning ------------------------------------------------------------------------------- */

static unsigned pool_turn(struct engine_hook *hook)
{
    struct iomesh_pool *pool = CONTAINER_OF(hook, struct iomesh_pool, hook);
    unsigned count = pool->meta != NULL ? meta_poll(pool->meta) : 0;
    if (pool->volume_engine != NULL)
        volume_engine_turn(pool->volume_engine);
    if (pool->store != NULL) {
        store_turn(pool->store);
        /* What it finished by itself is told in the next turn: no completion will announce it.
         * It may have been closed just now. */
        count += pool->store != NULL && store_turn_needed(pool->store) ? 1 : 0;
    }
    if (pool->cluster != NULL && cluster_turn(pool->cluster))
        count++;
    if (pool->catalog != NULL)
        count += catalog_turn(pool->catalog);
    if (pool->volume_engine != NULL && volume_engine_turn_needed(pool->volume_engine))
        count++;
    if (pool->state == POOL_OPEN) {
        pool_watch_space(pool);
        return count;
    }
    if (pool->state == POOL_CLOSE_REST && pool->control == NULL && cluster_quiet(pool->cluster) &&
        (pool->meta == NULL || meta_flying(pool->meta) == 0)) {
        pool_gone(pool);
        return count + 1;
    }
    /* While it opens and closes steps may follow each other without a completion between. */
    return count + (pool->state == POOL_STORE || pool->state == POOL_CLOSE_STORE ? 1 : 0);
}

/* --- Asking for it ------------------------------------------------------------------------- */

static int pool_options_check(const struct iomesh_pool_options *options)
{
    const uint32_t known = IOMESH_POOL_READ_ONLY | IOMESH_POOL_DISCARD | IOMESH_POOL_NO_SCRUB |
                           IOMESH_POOL_NO_CONTROL | IOMESH_POOL_STALE;
    if (options->flags & ~known)
        return FAIL(-EINVAL, "pool options: flags %#x are not known", options->flags & ~known);
    if ((options->flags & IOMESH_POOL_STALE) && !(options->flags & IOMESH_POOL_READ_ONLY))
        return FAIL(-EINVAL, "what may be old is enough for reading only: STALE needs READ_ONLY");
    if (options->requests_max > 65536)
        return FAIL(-EINVAL, "requests_max is 1 to 65536, not %u", options->requests_max);
    if (options->volumes_max > 65536)
        return FAIL(-EINVAL, "volumes_max is 1 to 65536, not %u", options->volumes_max);
    if (options->cache_bytes != 0 && options->cache_bytes < 1u << 20)
        return FAIL(-EINVAL, "a page cache has 1 MiB or more, not %llu bytes",
                    (unsigned long long)options->cache_bytes);
    return 0;
}

static int pool_prepare_cluster(struct iomesh_pool *pool)
{
    struct meta_etcd_place *place = malloc(sizeof *place);
    if (place == NULL)
        return FAIL(-ENOMEM, "%s: no memory", pool->url);
    int result = meta_etcd_place_parse(pool->url, place);
    free(place);
    return result != 0 ? result : cluster_new(pool, &pool->cluster);
}

static int pool_prepare_place(struct iomesh_pool *pool)
{
    int result = place_parse(pool->url, &pool->place);
    return result != 0 ? result : place_find_devices(&pool->place);
}

static int pool_prepare(struct iomesh_pool *pool, const char *url)
{
    if (url == NULL)
        return place_parse(url, &pool->place);
    pool->url = strdup(url);
    if (pool->url == NULL)
        return FAIL(-ENOMEM, "%s: no memory", url);
    int result = place_is_cluster(url) ? pool_prepare_cluster(pool) : pool_prepare_place(pool);
    if (result != 0)
        return result;
    if (pool->options.requests_max == 0)
        pool->options.requests_max = 1024;
    return api_requests_open(&pool->requests, pool->options.requests_max);
}

int iomesh_pool_open(struct iomesh_engine *engine, const char *url,
                     const struct iomesh_pool_options *given, iomesh_pool_opened_fn *opened,
                     void *context)
{
    struct iomesh_pool_options options = IOMESH_POOL_OPTIONS_INIT;
    int result = api_options("pool", given, &options, sizeof options);
    if (result == 0)
        result = pool_options_check(&options);
    if (result == 0 && opened == NULL)
        result = FAIL(-EINVAL, "opening a pool needs a callback");
    if (result != 0)
        return result;
    struct iomesh_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return FAIL(-ENOMEM, "%s: no memory", url);
    pool->engine = engine;
    pool->clock = engine->world.clock;
    pool->options = options;
    list_init(&pool->volumes);
    result = pool_prepare(pool, url);
    if (result != 0) {
        pool_free(pool);
        return result;
    }
    pool->opened = opened;
    pool->context = context;
    uint64_t wait_ns = options.claim_wait_ns != 0 ? options.claim_wait_ns : CLAIM_WAIT_NS;
    pool->began_ns = clock_now_ns(pool->clock);
    pool->claim_until_ns = pool->began_ns + wait_ns;
    pool->claim_retry.fire = pool_claim_fire;
    pool->slow.fire = pool_slow_fire;
    clock_set_after(pool->clock, &pool->slow, SLOW_NS);
    pool->hook.turn = pool_turn;
    engine_hook_add(engine->engine, &pool->hook);
    engine->pool_count++;
    /* From a turn, so that nothing is told inside this call. */
    clock_set_after(pool->clock, &pool->claim_retry, 0);
    return 0;
}

int iomesh_pool_close(struct iomesh_pool *pool, iomesh_done_fn *done, void *context)
{
    if (done == NULL)
        return FAIL(-EINVAL, "closing a pool needs a callback");
    const struct pool_control *control = pool->control;
    if (pool->nodes > 0)
        return FAIL(-EBUSY, "%s: stores of it are served here: close the node first", pool->url);
    if (pool->handles > (control != NULL ? control->handles : 0))
        return FAIL(-EBUSY, "%s: a volume is open: close it first", pool->url);
    uint32_t operations =
        pool->operations - pool->openings - (control != NULL ? control->operations : 0);
    if (operations > 0)
        return FAIL(-EBUSY, "%s: %u operations are under way: wait for them", pool->url,
                    operations);
    pool->closed = done;
    pool->context = context;
    engine_touch(pool->engine->engine);
    pool_shut(pool);
    return 0;
}

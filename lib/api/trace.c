/* SPDX-License-Identifier: Apache-2.0 */
/* What a pool has to say, told to the program's hook. */
#include "api/pool.h"

#include <stdio.h>

/* So much room makes a pool that was full not full: a whole operation of the store fits. */
#define ROOM_AGAIN_BLOCKS STORE_OP_BLOCKS_MAX
/* And so long without a refusal: what is full may be the file system below. */
#define ROOM_AGAIN_NS NS_PER_S

static const uint32_t severities[] = {
    [STORE_DEBUG] = IOMESH_SEVERITY_DEBUG,
    [STORE_INFO] = IOMESH_SEVERITY_INFO,
    [STORE_WARNING] = IOMESH_SEVERITY_WARNING,
    [STORE_ERROR] = IOMESH_SEVERITY_CRITICAL,
};

static const uint32_t kinds[] = {
    [STORE_SAYS] = IOMESH_EVENT_POOL,
    [STORE_DAMAGE] = IOMESH_EVENT_DAMAGE,
    [STORE_DEVICE_FAILED] = IOMESH_EVENT_DEVICE_FAILED,
    [STORE_CHECKPOINT] = IOMESH_EVENT_CHECKPOINT,
    [STORE_SCRUB] = IOMESH_EVENT_SCRUB,
};

void pool_store_event(void *context, const struct store_event *event)
{
    const struct iomesh_pool *pool = context;
    api_trace(pool->engine, severities[event->severity], kinds[event->kind], event->text,
              event->numbers, event->number_count);
}

void pool_catalog_event(void *context, const struct catalog_event *event)
{
    const struct iomesh_pool *pool = context;
    uint64_t numbers[] = {event->volume_id, event->bytes};
    api_trace(pool->engine, severities[event->severity], IOMESH_EVENT_VOLUME, event->text, numbers,
              COUNT_OF(numbers));
}

void pool_tell_open(struct iomesh_pool *pool)
{
    struct store_stats stats = {0};
    if (pool->store != NULL)
        store_stats(pool->store, &stats);
    uint64_t numbers[] = {stats.replayed_records, stats.recovery_ns};
    api_trace(pool->engine, IOMESH_SEVERITY_INFO, IOMESH_EVENT_POOL, "pool open", numbers,
              COUNT_OF(numbers));
}

void pool_tell_slow(struct iomesh_pool *pool)
{
    static const char *const waits_for[] = {
        [POOL_CLAIM] = "its devices",
        [POOL_LOOK] = "its metadata",
        [POOL_STORE] = "its store to recover",
        [POOL_CATALOG] = "its volumes",
    };
    if (pool->state > POOL_CATALOG)
        return; /* It failed, and closes. */
    char text[600];
    uint64_t seconds = (clock_now_ns(pool->clock) - pool->began_ns) / NS_PER_S;
    bool claims = pool->state == POOL_CLAIM; /* Every try leaves a sentence. */
    (void)snprintf(text, sizeof text, "%s: not open after %llu s, waiting for %s%s%s", pool->url,
                   (unsigned long long)seconds, waits_for[pool->state], claims ? ": " : "",
                   claims ? base_last_error() : "");
    api_trace(pool->engine, IOMESH_SEVERITY_NOTICE, IOMESH_EVENT_POOL, text, NULL, 0);
}

static void tell_space(struct iomesh_pool *pool, uint32_t severity, const char *what)
{
    struct store_stats stats;
    store_stats(pool->store, &stats);
    uint64_t numbers[] = {stats.space.free_blocks * BLOCK_BYTES,
                          stats.space.total_blocks * BLOCK_BYTES};
    char text[160];
    (void)snprintf(text, sizeof text, "%s: %llu of %llu bytes are free", what,
                   (unsigned long long)numbers[0], (unsigned long long)numbers[1]);
    api_trace(pool->engine, severity, IOMESH_EVENT_SPACE, text, numbers, COUNT_OF(numbers));
}

void pool_tell_full(struct iomesh_pool *pool)
{
    pool->full_ns = clock_now_ns(pool->clock);
    if (pool->full)
        return;
    pool->full = true;
    if (pool->store == NULL)
        api_trace(pool->engine, IOMESH_SEVERITY_WARNING, IOMESH_EVENT_SPACE,
                  "a store of the pool is full: delete or discard what is not needed, or add one",
                  NULL, 0);
    else
        tell_space(pool, IOMESH_SEVERITY_WARNING,
                   "the pool is full, or what is below it: delete or discard what is not needed");
}

void pool_watch_space(struct iomesh_pool *pool)
{
    if (!pool->full || clock_now_ns(pool->clock) - pool->full_ns < ROOM_AGAIN_NS ||
        (pool->store != NULL && store_room_blocks(pool->store) < ROOM_AGAIN_BLOCKS))
        return;
    pool->full = false;
    if (pool->store != NULL)
        tell_space(pool, IOMESH_SEVERITY_NOTICE, "the pool has room again");
}

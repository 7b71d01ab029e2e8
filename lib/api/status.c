/* SPDX-License-Identifier: Apache-2.0 */
/* What a pool holds, how it is, and what its volumes have done. */
#include <string.h>

#include "api/cluster.h"
#include "format/superblock.h"
#include "meta/sqlite/sqlite.h"

int api_give(void *to, uint32_t size_given, const void *from, uint32_t size)
{
    if (size_given < sizeof size_given)
        return FAIL(-EINVAL, "the answer's size is not set");
    uint32_t count = MIN(size_given, size);
    memcpy(to, from, count);
    memcpy(to, &size_given, sizeof size_given);
    return 0;
}

static uint32_t status_state(const struct store *store, const struct store_stats *stats)
{
    switch (store_state(store)) {
    case STORE_FAILED: return IOMESH_POOL_FAILED;
    case STORE_READ_ONLY: return IOMESH_POOL_IS_READ_ONLY;
    default:
        return stats->corrupt_blocks + stats->read_errors + stats->scrub_faults > 0
                   ? IOMESH_POOL_DAMAGED
                   : IOMESH_POOL_HEALTHY;
    }
}

static void status_space(struct iomesh_pool_status *status, const struct space_stats *space)
{
    status->total_bytes = space->total_blocks * BLOCK_BYTES;
    status->used_bytes = space->used_blocks * BLOCK_BYTES;
    status->waiting_bytes = (space->quarantine_blocks + space->reserved_blocks) * BLOCK_BYTES;
    status->free_bytes = space->free_blocks * BLOCK_BYTES;
    status->reserve_bytes = space->reserve_blocks * BLOCK_BYTES;
    status->prepared_bytes = space->prepared_bytes;
    status->discarded_bytes = space->discarded_bytes;
}

static void status_store(struct iomesh_pool_status *status, const struct store_stats *stats)
{
    status->journal_bytes = stats->journal_blocks * BLOCK_BYTES;
    status->journal_used_bytes = stats->journal_used_blocks * BLOCK_BYTES;
    status->journal_records = stats->journal_records;
    status->journal_batches = stats->journal_batches;
    status->recovered_records = stats->replayed_records;
    status->recovery_ns = stats->recovery_ns;
    status->checkpoints = stats->checkpoints;
    status->checkpoint_pages = stats->checkpoint_pages;
    status->checkpoint_last_ns = stats->checkpoint_ns_last;
    status->cache_bytes = (uint64_t)stats->cache.frames * BLOCK_BYTES;
    status->cache_used_bytes = (uint64_t)stats->cache.used * BLOCK_BYTES;
    status->cache_dirty_bytes = (uint64_t)stats->cache.dirty * BLOCK_BYTES;
    status->cache_hits = stats->cache.hits;
    status->cache_misses = stats->cache.misses;
    status->cache_evictions = stats->cache.evictions;
    status->cache_waits = stats->cache.waits;
    status->scrub_permille = (uint32_t)stats->scrub_position_permille;
    status->scrub_checked_blocks = stats->scrub_blocks;
    status->scrub_damaged_blocks = stats->scrub_faults;
    status->scrub_completed = stats->scrub_passes;
    status->scrub_last_ended_ns = stats->scrub_ended_ns;
    status->scrub_interval_ns = stats->scrub_interval_ns;
    status->scrub_pass_blocks = stats->scrub_pass_blocks;
    status->scrub_pass_total_blocks = stats->scrub_total_blocks;
    status->scrub_pass_damaged_blocks = stats->scrub_pass_faults;
    status->scrub_last_blocks = stats->scrub_ended_blocks;
    status->scrub_last_damaged_blocks = stats->scrub_ended_faults;
    status->device_read_bytes = stats->device_bytes_read;
    status->device_written_bytes = stats->device_bytes_written;
    status->device_flushes = stats->device_flushes;
    status->read_errors = stats->read_errors;
    status->checksum_errors = stats->corrupt_blocks;
}

void api_store_status(struct store *store, struct iomesh_pool_status *status)
{
    struct store_stats stats = {0};
    store_stats(store, &stats);
    status->state = status_state(store, &stats);
    status->format = STORE_FORMAT;
    status->scrub_rate = stats.scrub_rate;
    status->scrub_running = store_scrub_running(store);
    status_space(status, &stats.space);
    status_store(status, &stats);
}

static void status_embedded(struct iomesh_pool *pool, struct iomesh_pool_status *status)
{
    api_store_status(pool->store, status);
    status->device_count = pool->disk_count;
    if (status->scrub_rate == 0)
        status->scrub_rate = pool->scrub_rate;
    struct meta_sqlite_counts metadata = meta_sqlite_counts(pool->meta);
    status->metadata_requests = metadata.requests;
    status->metadata_commits = metadata.commits;
}

/* What the records of the stores say: each is as old as its store's last word. */
static void status_cluster(const struct iomesh_pool *pool, struct iomesh_pool_status *status)
{
    const struct stores *stores = cluster_stores(pool->cluster);
    status->state = pool->options.flags & IOMESH_POOL_READ_ONLY ? IOMESH_POOL_IS_READ_ONLY
                                                                : IOMESH_POOL_HEALTHY;
    for (uint32_t i = 0; i < stores->count; i++) {
        const struct metadata_store *record = &stores->entries[i]->record;
        status->total_bytes += record->bytes;
        status->used_bytes += MIN(record->bytes_used, record->bytes);
    }
    status->free_bytes = status->total_bytes - status->used_bytes;
}

int iomesh_pool_status(struct iomesh_pool *pool, struct iomesh_pool_status *ret_status)
{
    struct catalog_counts counts = {0};
    catalog_counts(pool->catalog, &counts);
    struct iomesh_pool_status status = {
        .size = sizeof status,
        .format = STORE_FORMAT,
        .volumes_open = counts.volumes_open,
        .requests = pool->requests.in_flight,
        .opened_ns_ago = clock_now_ns(pool->clock) - pool->opened_ns,
        .deleting_volumes = counts.deletions,
    };
    memcpy(status.uuid, pool->uuid, sizeof status.uuid);
    if (pool->cluster != NULL)
        status_cluster(pool, &status);
    else
        status_embedded(pool, &status);
    return api_give(ret_status, ret_status->size, &status, sizeof status);
}

/* 0, or -ENOTSUP: a cluster's stores are others' to work on. */
static int status_refuse_cluster(const struct iomesh_pool *pool, const char *what)
{
    if (pool->cluster == NULL)
        return 0;
    return FAIL(-ENOTSUP, "%s: %s is done by the program that serves a store, on its own",
                pool->url, what);
}

int iomesh_scrub_start(struct iomesh_pool *pool, uint64_t rate)
{
    int refused = status_refuse_cluster(pool, "scrubbing");
    if (refused != 0)
        return refused;
    if (store_state(pool->store) == STORE_FAILED)
        return FAIL(IOMESH_FAILED, "%s: a device failed: there is nothing to scrub", pool->url);
    if (rate == 0)
        rate = pool->scrub_rate != 0 ? pool->scrub_rate : POOL_SCRUB_RATE;
    int result = store_scrub_start(pool->store, rate);
    engine_touch(pool->engine->engine);
    return result;
}

void iomesh_scrub_stop(struct iomesh_pool *pool)
{
    if (pool->store != NULL)
        store_scrub_stop(pool->store);
}

int iomesh_pool_device(struct iomesh_pool *pool, uint32_t index,
                       struct iomesh_device_status *ret_status)
{
    if (index >= pool->disk_count)
        return FAIL(-ENOENT, "%s: has %u devices, no number %u", pool->url, pool->disk_count,
                    index);
    const struct disk *disk = pool->disks[index];
    struct iomesh_device_status status = {
        .size = sizeof status,
        .device_class = pool->place.devices[index].device_class,
        .bytes = disk->size_bytes,
        .failed = store_device_error(pool->store, index) != 0,
        .is_file = uring_disk_is_file(disk),
        .path = pool->place.devices[index].path,
    };
    return api_give(ret_status, ret_status->size, &status, sizeof status);
}

int iomesh_volume_stats(const struct iomesh_volume *volume, struct iomesh_volume_stats *ret_stats)
{
    return api_give(ret_stats, ret_stats->size, &volume->shared->stats,
                    sizeof volume->shared->stats);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers: what a pool holds, what a volume has done.
 *
 * Counters grow from the opening on and never go back. Each struct begins with its size: set it
 * to sizeof; only as much as it says is written.
 */
#ifndef IOMESH_STAT_H
#define IOMESH_STAT_H

#include <stdint.h>

#include <iomesh/pool.h>
#include <iomesh/version.h>
#include <iomesh/volume.h>

/* Log-linear: four buckets for each doubling, from 1,024 ns on; the last has no upper bound. */
#define IOMESH_HISTOGRAM_BUCKETS 98u

struct iomesh_histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t buckets[IOMESH_HISTOGRAM_BUCKETS]; /* How many fell in each. */
};

/**
 * The upper bound of a bucket in nanoseconds, exclusive; UINT64_MAX for the last.
 *
 * Thread: any. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API uint64_t iomesh_histogram_bound_ns(uint32_t bucket);

/**
 * The value below which @permille thousandths of what was counted lie (a bucket's upper bound).
 *
 * Thread: any. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API uint64_t iomesh_histogram_quantile_ns(const struct iomesh_histogram *histogram,
                                                 uint32_t permille);

struct iomesh_volume_stats {
    uint32_t size;
    uint32_t in_flight;     /* Requests now. */
    uint32_t in_flight_max; /* The most at once since opening. */
    uint32_t reserved;
    uint64_t reads, writes, flushes, discards, zeroes;
    uint64_t read_bytes, written_bytes, discarded_bytes, zeroed_bytes;
    uint64_t errors;    /* Requests that ended with an error. */
    uint64_t unaligned; /* Requests that had to read before they could write, or were copied. */
    struct iomesh_histogram read_ns, write_ns, flush_ns; /* From the call to just before `done`. */
};

/**
 * What the handles on a volume have done together since the first of them was opened.
 *
 * @ret_stats  set its size before
 *
 * Returns 0, or -EINVAL (size).
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_volume_stats(const struct iomesh_volume *volume,
                                   struct iomesh_volume_stats *ret_stats);

#define IOMESH_POOL_HEALTHY 0u
#define IOMESH_POOL_DAMAGED 1u      /* Some blocks read as errors; the rest goes on. */
#define IOMESH_POOL_IS_READ_ONLY 2u /* Opened so, or because of a hole in the journal. */
#define IOMESH_POOL_FAILED 3u       /* A device failed: nothing is written any more. */

struct iomesh_pool_status {
    uint32_t size;
    uint32_t state; /* IOMESH_POOL_… above. */
    uint8_t uuid[16];
    uint32_t format; /* Version of what is on the devices. */
    uint32_t device_count;
    uint32_t volumes_open;
    uint32_t requests; /* In flight. */
    uint64_t opened_ns_ago;

    /* Space, bytes. total = used + waiting + free + reserve. */
    uint64_t total_bytes;
    uint64_t used_bytes;    /* Data, pages and fixed areas. */
    uint64_t waiting_bytes; /* Freed and not free yet, or of writes under way. */
    uint64_t free_bytes;    /* What new data may take. */
    uint64_t reserve_bytes; /* Kept for overwrites, deletes and checkpoints. */
    uint64_t prepared_bytes, discarded_bytes;

    /* Journal. */
    uint64_t journal_bytes, journal_used_bytes;
    uint64_t journal_records, journal_batches;
    uint64_t recovered_records; /* At opening. */
    uint64_t recovery_ns;

    /* Checkpoints. */
    uint64_t checkpoints;
    uint64_t checkpoint_pages; /* Written by them, all together. */
    uint64_t checkpoint_last_ns;

    /* Page cache, bytes and counts. */
    uint64_t cache_bytes, cache_used_bytes, cache_dirty_bytes;
    uint64_t cache_hits, cache_misses, cache_evictions, cache_waits;

    /* Scrub. */
    uint32_t scrub_running;
    uint32_t scrub_permille; /* Of the one that runs. */
    uint64_t scrub_rate;     /* Of it, or of the next: bytes a second, at most. */
    uint64_t scrub_checked_blocks, scrub_damaged_blocks;
    uint64_t scrub_completed;     /* Rounds. */
    uint64_t scrub_last_ended_ns; /* Since 1970; 0: never. */

    /* Devices all together. */
    uint64_t device_read_bytes, device_written_bytes, device_flushes;
    uint64_t read_errors, checksum_errors;
    uint64_t deleting_volumes; /* Whose space is still coming back. */

    /* Metadata: transactions since opening, and the commits (a flush each) that they shared. */
    uint64_t metadata_requests, metadata_commits;

    /* Scrub: what outlives a restart. */
    uint64_t scrub_interval_ns; /* From the end of a round to the next; 0: none begins by itself. */
    uint64_t scrub_pass_blocks, scrub_pass_total_blocks; /* Of the one under way: read, to read. */
    uint64_t scrub_pass_damaged_blocks;
    uint64_t scrub_last_blocks, scrub_last_damaged_blocks; /* Of the one that ended last. */
};

/**
 * What a pool holds and how it is.
 *
 * @ret_status  set its size before
 *
 * Returns 0, or -EINVAL (size).
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_pool_status(struct iomesh_pool *pool, struct iomesh_pool_status *ret_status);

struct iomesh_device_status {
    uint32_t size;
    uint32_t device_class; /* IOMESH_CLASS_… */
    uint64_t bytes;
    uint32_t failed; /* 1: a write or flush failed; stays so until an operator says otherwise. */
    uint32_t is_file;
    const char *path; /* Valid until the pool is closed. */
};

/**
 * One device of a pool.
 *
 * @index       0 .. device_count - 1
 * @ret_status  set its size before
 *
 * Returns 0, or -EINVAL (size), -ENOENT (index).
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_pool_device(struct iomesh_pool *pool, uint32_t index,
                                  struct iomesh_device_status *ret_status);

#endif

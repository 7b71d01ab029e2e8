/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/prometheus.h"

struct number {
    const char *name;
    const char *type; /* Of Prometheus. */
    const char *help;
    uint64_t value;
};

static void print_numbers(struct http_page *page, const struct number *numbers, size_t count)
{
    for (size_t index = 0; index < count; index++) {
        prometheus_head(page, numbers[index].name, numbers[index].type, numbers[index].help);
        http_print(page, "%s %" PRIu64 "\n", numbers[index].name, numbers[index].value);
    }
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void server_numbers(const struct server *server, struct http_page *page)
{
    static const char *const commands[] = {"read", "write", "disc",         "flush",
                                           "trim", "cache", "write_zeroes", "block_status"};
    const struct server_counts *counts = &server->counts;
    const struct number numbers[] = {
        {"iomesh_nbd_connections", "gauge", "Clients now.", server->connection_count},
        {"iomesh_nbd_handshakes", "gauge", "Clients without an export yet.",
         server->handshake_count},
        {"iomesh_nbd_requests_in_flight", "gauge", "Requests now.", server->ios_used},
        {"iomesh_nbd_connections_total", "counter", "Clients accepted.", counts->connections},
        {"iomesh_nbd_connections_refused_total", "counter", "Clients over the limit.",
         counts->connections_refused},
        {"iomesh_nbd_handshakes_failed_total", "counter", "Handshakes that led nowhere.",
         counts->handshakes_failed},
        {"iomesh_nbd_handshakes_timed_out_total", "counter", "Handshakes that took too long.",
         counts->handshakes_timed_out},
        {"iomesh_nbd_tls_failed_total", "counter", "TLS handshakes that failed.",
         counts->tls_failed},
        {"iomesh_nbd_connections_broken_total", "counter", "Closed for breaking the protocol.",
         counts->connections_broken},
        {"iomesh_nbd_connections_stalled_total", "counter", "Closed for not taking replies.",
         counts->connections_stalled},
        {"iomesh_nbd_requests_refused_total", "counter", "Requests outside what is allowed.",
         counts->requests_refused},
        {"iomesh_nbd_errors_total", "counter", "Requests that failed.", counts->errors},
        {"iomesh_nbd_starved_total", "counter", "Waits for memory or a request slot.",
         counts->starved},
        {"iomesh_nbd_throttled_total", "counter", "Waits at a limit of the connection.",
         counts->throttled},
        {"iomesh_log_dropped_total", "counter", "Log lines dropped by the rate limit.",
         log_dropped()},
    };
    print_numbers(page, numbers, COUNT(numbers));
    prometheus_head(page, "iomesh_nbd_requests_total", "counter", "Requests by command.");
    for (size_t index = 0; index < COUNT(commands); index++)
        if (index != NBD_CMD_DISC)
            http_print(page, "iomesh_nbd_requests_total{command=\"%s\"} %" PRIu64 "\n",
                       commands[index], counts->requests[index]);
}

static void pool_space(const struct iomesh_pool_status *status, struct http_page *page)
{
    const struct number numbers[] = {
        {"iomesh_pool_state", "gauge", "0 healthy, 1 damaged, 2 read-only, 3 failed.",
         status->state},
        {"iomesh_pool_total_bytes", "gauge", "Space of the devices.", status->total_bytes},
        {"iomesh_pool_used_bytes", "gauge", "Data, pages and fixed areas.", status->used_bytes},
        {"iomesh_pool_waiting_bytes", "gauge", "Freed, not yet given out again.",
         status->waiting_bytes},
        {"iomesh_pool_free_bytes", "gauge", "What new data may take.", status->free_bytes},
        {"iomesh_pool_reserve_bytes", "gauge", "Kept for overwrites and deletes.",
         status->reserve_bytes},
        {"iomesh_pool_volumes_open", "gauge", "Volumes open.", status->volumes_open},
        {"iomesh_pool_volumes_deleting", "gauge", "Deleted, their space coming back.",
         status->deleting_volumes},
        {"iomesh_journal_bytes", "gauge", "Size of the journal.", status->journal_bytes},
        {"iomesh_journal_used_bytes", "gauge", "Of it in use.", status->journal_used_bytes},
        {"iomesh_journal_records_total", "counter", "Records written.", status->journal_records},
        {"iomesh_journal_batches_total", "counter", "Batches written.", status->journal_batches},
        {"iomesh_recovered_records", "gauge", "Records recovered at opening.",
         status->recovered_records},
        {"iomesh_recovery_nanoseconds", "gauge", "How long that took.", status->recovery_ns},
        {"iomesh_checkpoints_total", "counter", "Checkpoints.", status->checkpoints},
        {"iomesh_checkpoint_pages_total", "counter", "Pages they wrote.", status->checkpoint_pages},
        {"iomesh_checkpoint_last_nanoseconds", "gauge", "How long the last one took.",
         status->checkpoint_last_ns},
    };
    print_numbers(page, numbers, COUNT(numbers));
}

static void pool_scrub(const struct iomesh_pool_status *status, struct http_page *page)
{
    const struct number numbers[] = {
        {"iomesh_scrub_running", "gauge", "1 while a scrub runs.", status->scrub_running},
        {"iomesh_scrub_permille", "gauge", "How far it is.", status->scrub_permille},
        {"iomesh_scrub_pass_blocks", "gauge", "Blocks that it has read.",
         status->scrub_pass_blocks},
        {"iomesh_scrub_pass_total_blocks", "gauge", "Blocks that it will have read.",
         status->scrub_pass_total_blocks},
        {"iomesh_scrub_pass_damaged_blocks", "gauge", "Damaged blocks that it has found.",
         status->scrub_pass_damaged_blocks},
        {"iomesh_scrub_rate_bytes", "gauge", "Bytes a second, at most.", status->scrub_rate},
        {"iomesh_scrub_interval_nanoseconds", "gauge",
         "From the end of a scrub to the next; 0: none begins by itself.",
         status->scrub_interval_ns},
        {"iomesh_scrub_last_ended_nanoseconds", "gauge", "Since 1970; 0: none has ended.",
         status->scrub_last_ended_ns},
        {"iomesh_scrub_last_blocks", "gauge", "Blocks that the last whole scrub read.",
         status->scrub_last_blocks},
        {"iomesh_scrub_last_damaged_blocks", "gauge", "Damaged blocks that it found.",
         status->scrub_last_damaged_blocks},
        {"iomesh_scrub_checked_blocks_total", "counter", "Blocks scrubbed.",
         status->scrub_checked_blocks},
        {"iomesh_scrub_damaged_blocks_total", "counter", "Damaged blocks found.",
         status->scrub_damaged_blocks},
        {"iomesh_scrub_completed_total", "counter", "Scrubs completed.", status->scrub_completed},
    };
    print_numbers(page, numbers, COUNT(numbers));
}

static void pool_work(const struct iomesh_pool_status *status, struct http_page *page)
{
    const struct number numbers[] = {
        {"iomesh_cache_bytes", "gauge", "Size of the page cache.", status->cache_bytes},
        {"iomesh_cache_used_bytes", "gauge", "Of it in use.", status->cache_used_bytes},
        {"iomesh_cache_dirty_bytes", "gauge", "Of it not yet in a checkpoint.",
         status->cache_dirty_bytes},
        {"iomesh_cache_hits_total", "counter", "Pages found.", status->cache_hits},
        {"iomesh_cache_misses_total", "counter", "Pages read.", status->cache_misses},
        {"iomesh_cache_evictions_total", "counter", "Pages dropped.", status->cache_evictions},
        {"iomesh_cache_waits_total", "counter", "Waits for a free page.", status->cache_waits},
        {"iomesh_metadata_requests_total", "counter", "Transactions of the metadata.",
         status->metadata_requests},
        {"iomesh_metadata_commits_total", "counter", "Commits that they shared.",
         status->metadata_commits},
        {"iomesh_device_read_bytes_total", "counter", "Read from devices.",
         status->device_read_bytes},
        {"iomesh_device_written_bytes_total", "counter", "Written to devices.",
         status->device_written_bytes},
        {"iomesh_device_prepared_bytes_total", "counter", "Zero-filled ahead of the allocator.",
         status->prepared_bytes},
        {"iomesh_device_flushes_total", "counter", "Flushes of devices.", status->device_flushes},
        {"iomesh_device_read_errors_total", "counter", "Reads that devices refused.",
         status->read_errors},
        {"iomesh_checksum_errors_total", "counter", "Blocks that failed their checksum.",
         status->checksum_errors},
    };
    print_numbers(page, numbers, COUNT(numbers));
}

/* The engine's fine buckets in steps of four: one for each doubling. */
static void print_histogram(struct http_page *page, const char *volume, const char *operation,
                            const struct iomesh_histogram *histogram)
{
    uint64_t below = 0;
    for (uint32_t bucket = 0; bucket < IOMESH_HISTOGRAM_BUCKETS; bucket++) {
        below += histogram->buckets[bucket];
        const uint64_t bound = iomesh_histogram_bound_ns(bucket);
        if (bound == UINT64_MAX || bucket % 4 != 0)
            continue;
        http_print(page, "iomesh_volume_latency_seconds_bucket{volume=\"");
        prometheus_label(page, volume);
        http_print(page, "\",operation=\"%s\",le=\"%.9g\"} %" PRIu64 "\n", operation,
                   (double)bound / 1e9, below);
    }
    static const char *const ends[] = {"bucket", "sum", "count"};
    for (int end = 0; end < 3; end++) {
        http_print(page, "iomesh_volume_latency_seconds_%s{volume=\"", ends[end]);
        prometheus_label(page, volume);
        http_print(page, "\",operation=\"%s\"%s} ", operation, end == 0 ? ",le=\"+Inf\"" : "");
        if (end == 1)
            http_print(page, "%.9f\n", (double)histogram->sum_ns / 1e9);
        else
            http_print(page, "%" PRIu64 "\n", histogram->count);
    }
}

static void pool_devices(const struct server *server, uint32_t count, struct http_page *page)
{
    prometheus_head(page, "iomesh_device_failed", "gauge", "1: a write or flush of it failed.");
    for (uint32_t index = 0; index < count; index++) {
        struct iomesh_device_status device = {.size = sizeof device};
        if (iomesh_pool_device(server->pool, index, &device) != 0)
            continue;
        http_print(page, "iomesh_device_failed{device=\"%" PRIu32 "\",path=\"", index);
        prometheus_label(page, device.path);
        http_print(page, "\"} %" PRIu32 "\n", device.failed);
    }
}

static void print_volume_value(struct http_page *page, const char *name, const char *volume,
                               const char *operation, uint64_t value)
{
    http_print(page, "%s{volume=\"", name);
    prometheus_label(page, volume);
    if (operation != NULL)
        http_print(page, "\",operation=\"%s", operation);
    http_print(page, "\"} %" PRIu64 "\n", value);
}

enum family { FAMILY_OPERATIONS, FAMILY_BYTES, FAMILY_DEPTH, FAMILY_OTHER, FAMILY_LATENCY };

/* One family of one volume: Prometheus wants the lines of a family together. */
static void print_family(struct http_page *page, enum family family, const char *volume,
                         const struct iomesh_volume_stats *stats)
{
    switch (family) {
    case FAMILY_OPERATIONS: {
        static const char name[] = "iomesh_volume_operations_total";
        print_volume_value(page, name, volume, "read", stats->reads);
        print_volume_value(page, name, volume, "write", stats->writes);
        print_volume_value(page, name, volume, "flush", stats->flushes);
        print_volume_value(page, name, volume, "discard", stats->discards);
        print_volume_value(page, name, volume, "zero", stats->zeroes);
        break;
    }
    case FAMILY_BYTES: {
        static const char name[] = "iomesh_volume_bytes_total";
        print_volume_value(page, name, volume, "read", stats->read_bytes);
        print_volume_value(page, name, volume, "write", stats->written_bytes);
        print_volume_value(page, name, volume, "discard", stats->discarded_bytes);
        print_volume_value(page, name, volume, "zero", stats->zeroed_bytes);
        break;
    }
    case FAMILY_DEPTH:
        print_volume_value(page, "iomesh_volume_in_flight", volume, NULL, stats->in_flight);
        break;
    case FAMILY_OTHER:
        print_volume_value(page, "iomesh_volume_errors_total", volume, NULL, stats->errors);
        break;
    case FAMILY_LATENCY:
        print_histogram(page, volume, "read", &stats->read_ns);
        print_histogram(page, volume, "write", &stats->write_ns);
        print_histogram(page, volume, "flush", &stats->flush_ns);
        break;
    }
}

static void volume_numbers(const struct server *server, struct http_page *page)
{
    static const struct {
        const char *name, *type, *help;
    } families[] = {
        [FAMILY_OPERATIONS] = {"iomesh_volume_operations_total", "counter", "I/O completed."},
        [FAMILY_BYTES] = {"iomesh_volume_bytes_total", "counter", "Bytes of it."},
        [FAMILY_DEPTH] = {"iomesh_volume_in_flight", "gauge", "Requests now."},
        [FAMILY_OTHER] = {"iomesh_volume_errors_total", "counter", "I/O that failed."},
        [FAMILY_LATENCY] = {"iomesh_volume_latency_seconds", "histogram", "Inside the engine."},
    };
    for (size_t family = 0; family < COUNT(families); family++) {
        prometheus_head(page, families[family].name, families[family].type, families[family].help);
        struct export *export;
        TAILQ_FOREACH(export, &server->exports, link)
        {
            struct iomesh_volume_stats stats = {.size = sizeof stats};
            if (export->state == EXPORT_OPEN && iomesh_volume_stats(export->volume, &stats) == 0)
                print_family(page, (enum family)family, export->name, &stats);
        }
    }
}

void metrics_page(void *context, struct http_page *page)
{
    const struct server *server = context;
    http_print(page,
               "# HELP iomesh_build_info The program.\n# TYPE iomesh_build_info gauge\n"
               "iomesh_build_info{program=\"iomesh-nbd\",version=\"%s\"} 1\n",
               IOMESH_PROGRAM_VERSION);
    server_numbers(server, page);
    struct iomesh_pool_status status = {.size = sizeof status};
    if (server->pool != NULL && iomesh_pool_status(server->pool, &status) == 0) {
        pool_space(&status, page);
        pool_scrub(&status, page);
        pool_work(&status, page);
        pool_devices(server, status.device_count, page);
    }
    volume_numbers(server, page);
}

bool metrics_health(void *context, struct http_page *page)
{
    static const char *const states[] = {"healthy", "damaged", "read-only", "failed"};
    const struct server *server = context;
    struct iomesh_pool_status status = {.size = sizeof status};
    if (server->draining) {
        http_print(page, "shutting down\n");
        return false;
    }
    if (server->pool == NULL || iomesh_pool_status(server->pool, &status) != 0) {
        http_print(page, "no pool\n");
        return false;
    }
    http_print(page, "%s\n", status.state < COUNT(states) ? states[status.state] : "unknown");
    return status.state != IOMESH_POOL_FAILED;
}

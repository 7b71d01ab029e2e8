/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/metrics.h"

#include <inttypes.h>
#include <stddef.h>

#include "common/log.h"
#include "common/prometheus.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A number of struct iomesh_pool_status, and what it is called. */
struct number {
    const char *name, *type, *help;
    size_t offset;
    bool narrow; /* 32 bits. */
};

#define WIDE(name, type, help, field)                                       \
    {                                                                       \
        name, type, help, offsetof(struct iomesh_pool_status, field), false \
    }
#define NARROW(name, type, help, field)                                    \
    {                                                                      \
        name, type, help, offsetof(struct iomesh_pool_status, field), true \
    }

static const struct number numbers[] = {
    NARROW("iomesh_store_state", "gauge", "0 healthy, 1 damaged, 2 read-only, 3 failed.", state),
    WIDE("iomesh_store_total_bytes", "gauge", "Space of its devices.", total_bytes),
    WIDE("iomesh_store_used_bytes", "gauge", "Data, pages and fixed areas.", used_bytes),
    WIDE("iomesh_store_waiting_bytes", "gauge", "Freed, not yet given out again.", waiting_bytes),
    WIDE("iomesh_store_free_bytes", "gauge", "What new data may take.", free_bytes),
    WIDE("iomesh_store_reserve_bytes", "gauge", "Kept for overwrites and deletes.", reserve_bytes),
    WIDE("iomesh_journal_bytes", "gauge", "Size of the journal.", journal_bytes),
    WIDE("iomesh_journal_used_bytes", "gauge", "Of it in use.", journal_used_bytes),
    WIDE("iomesh_journal_records_total", "counter", "Records written.", journal_records),
    WIDE("iomesh_journal_batches_total", "counter", "Batches written.", journal_batches),
    WIDE("iomesh_recovered_records", "gauge", "Records recovered at opening.", recovered_records),
    WIDE("iomesh_recovery_nanoseconds", "gauge", "How long that took.", recovery_ns),
    WIDE("iomesh_checkpoints_total", "counter", "Checkpoints.", checkpoints),
    WIDE("iomesh_checkpoint_pages_total", "counter", "Pages they wrote.", checkpoint_pages),
    WIDE("iomesh_checkpoint_last_nanoseconds", "gauge", "How long the last one took.",
         checkpoint_last_ns),
    WIDE("iomesh_cache_bytes", "gauge", "Size of the page cache.", cache_bytes),
    WIDE("iomesh_cache_used_bytes", "gauge", "Of it in use.", cache_used_bytes),
    WIDE("iomesh_cache_dirty_bytes", "gauge", "Of it not yet in a checkpoint.", cache_dirty_bytes),
    WIDE("iomesh_cache_hits_total", "counter", "Pages found.", cache_hits),
    WIDE("iomesh_cache_misses_total", "counter", "Pages read.", cache_misses),
    WIDE("iomesh_cache_evictions_total", "counter", "Pages dropped.", cache_evictions),
    NARROW("iomesh_scrub_running", "gauge", "1 while a scrub runs.", scrub_running),
    NARROW("iomesh_scrub_permille", "gauge", "How far it is.", scrub_permille),
    WIDE("iomesh_scrub_last_ended_nanoseconds", "gauge", "Since 1970; 0: none has ended.",
         scrub_last_ended_ns),
    WIDE("iomesh_scrub_last_damaged_blocks", "gauge", "Damaged blocks that it found.",
         scrub_last_damaged_blocks),
    WIDE("iomesh_scrub_checked_blocks_total", "counter", "Blocks scrubbed.", scrub_checked_blocks),
    WIDE("iomesh_scrub_damaged_blocks_total", "counter", "Damaged blocks found.",
         scrub_damaged_blocks),
    WIDE("iomesh_device_read_bytes_total", "counter", "Read from devices.", device_read_bytes),
    WIDE("iomesh_device_written_bytes_total", "counter", "Written to devices.",
         device_written_bytes),
    WIDE("iomesh_device_flushes_total", "counter", "Flushes of devices.", device_flushes),
    WIDE("iomesh_device_read_errors_total", "counter", "Reads that devices refused.", read_errors),
    WIDE("iomesh_checksum_errors_total", "counter", "Blocks that failed their checksum.",
         checksum_errors),
};

static uint64_t value_of(const struct iomesh_pool_status *status, const struct number *number)
{
    const char *at = (const char *)status + number->offset;
    return number->narrow ? *(const uint32_t *)(const void *)at
                          : *(const uint64_t *)(const void *)at;
}

static void print_store(struct http_page *page, const char *name, const struct store *store,
                        uint64_t value)
{
    struct iomesh_node_store_status status = {.size = sizeof status};
    if (store->handle != NULL)
        (void)iomesh_node_store_status(store->handle, &status);
    http_print(page, "%s{store=\"%" PRIu64 "\",path=\"", name, status.id);
    prometheus_label(page, store->wanted->path);
    http_print(page, "\"} %" PRIu64 "\n", value);
}

static void stores_page(const struct stores *stores, struct http_page *page)
{
    prometheus_head(page, "iomesh_store_up", "gauge", "1: it is served.");
    for (uint32_t index = 0; index < stores->count; index++)
        print_store(page, "iomesh_store_up", &stores->items[index],
                    stores->items[index].state == STORE_SERVED);
    for (size_t which = 0; which < COUNT(numbers); which++) {
        prometheus_head(page, numbers[which].name, numbers[which].type, numbers[which].help);
        for (uint32_t index = 0; index < stores->count; index++) {
            const struct store *store = &stores->items[index];
            struct iomesh_pool_status status = {.size = sizeof status};
            if (store->state == STORE_SERVED &&
                iomesh_node_store_numbers(store->handle, &status) == 0)
                print_store(page, numbers[which].name, store, value_of(&status, &numbers[which]));
        }
    }
}

static void node_page(const struct stores *stores, struct http_page *page)
{
    struct iomesh_node_status node = {.size = sizeof node};
    if (stores->node == NULL || iomesh_node_status(stores->node, &node) != 0)
        return;
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } lines[] = {
        {"iomesh_node_connections", "gauge", "Connections now.", node.connections},
        {"iomesh_node_connections_total", "counter", "Connections accepted.",
         node.connections_accepted},
        {"iomesh_node_connections_refused_total", "counter", "Refused, with a sentence.",
         node.connections_refused},
        {"iomesh_node_connections_broken_total", "counter", "Ended because of what they sent.",
         node.connections_broken},
        {"iomesh_node_connections_stalled_total", "counter", "Ended for not taking answers.",
         node.connections_stalled},
        {"iomesh_node_connections_replaced_total", "counter", "Ended by newer ones.",
         node.connections_replaced},
        {"iomesh_node_requests_total", "counter", "Requests of others.", node.requests_total},
        {"iomesh_node_waits_total", "counter", "Waits for memory.", node.waits},
        {"iomesh_node_requests", "gauge", "Requests of others now.", node.requests},
        {"iomesh_keeper", "gauge", "1: this process takes care of the pool.", node.keeper},
        {"iomesh_keeper_facts", "gauge", "Things that are wrong with the pool.", node.keeper_facts},
        {"iomesh_keeper_volumes", "gauge", "Volumes that it brings up to date itself.",
         node.keeper_volumes},
        {"iomesh_keeper_wishes", "gauge", "Changes of copies under way, or waiting.",
         node.keeper_wishes},
        {"iomesh_keeper_passes_total", "counter", "Looks at the whole pool.", node.keeper_passes},
        {"iomesh_keeper_pass_nanoseconds", "gauge", "How long the last took.", node.keeper_pass_ns},
        {"iomesh_keeper_stores_out_total", "counter", "Stores that it put out.",
         node.keeper_stores_out},
        {"iomesh_keeper_stores_up_total", "counter", "And took in again.", node.keeper_stores_up},
        {"iomesh_keeper_adds_total", "counter", "Copies that it had made.", node.keeper_adds},
        {"iomesh_keeper_drops_total", "counter", "Copies that it had dropped.", node.keeper_drops},
        {"iomesh_keeper_deletes_total", "counter", "Volumes that it deleted.", node.keeper_deletes},
        {"iomesh_log_dropped_total", "counter", "Log lines dropped by the rate limit.",
         log_dropped()},
    };
    for (size_t index = 0; index < COUNT(lines); index++) {
        prometheus_head(page, lines[index].name, lines[index].type, lines[index].help);
        http_print(page, "%s %" PRIu64 "\n", lines[index].name, lines[index].value);
    }
}

void metrics_page(void *context, struct http_page *page)
{
    const struct stores *stores = context;
    prometheus_head(page, "iomesh_build_info", "gauge", "The program.");
    http_print(page, "iomesh_build_info{program=\"iomeshd\",version=\"%s\"} 1\n",
               IOMESH_PROGRAM_VERSION);
    node_page(stores, page);
    stores_page(stores, page);
}

bool metrics_health(void *context, struct http_page *page)
{
    static const char *const states[] = {"healthy", "damaged", "read-only", "failed"};
    const struct stores *stores = context;
    bool healthy = !stores->draining;
    if (stores->draining)
        http_print(page, "shutting down\n");
    for (uint32_t index = 0; index < stores->count; index++) {
        const struct store *store = &stores->items[index];
        struct iomesh_pool_status status = {.size = sizeof status};
        const char *is = "not served";
        if (store->state == STORE_SERVED && iomesh_node_store_numbers(store->handle, &status) == 0)
            is = status.state < COUNT(states) ? states[status.state] : "unknown";
        healthy = healthy && store->state == STORE_SERVED && status.state != IOMESH_POOL_FAILED;
        http_print(page, "%s: %s%s%s\n", store->wanted->path, is,
                   store->state != STORE_SERVED && store->sentence[0] != '\0' ? ": " : "",
                   store->state != STORE_SERVED ? store->sentence : "");
    }
    return healthy;
}

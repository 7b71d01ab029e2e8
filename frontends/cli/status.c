/* SPDX-License-Identifier: Apache-2.0 */
/* pool status */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/run.h"
#include "cli/target.h"
#include "cli/text.h"

enum { BLOCK_BYTES = 4096 };

/* X(section, name in the section, field): every number of a pool, in order. */
#define STATUS_NUMBERS(X)                                        \
    X("space", "total_bytes", total_bytes)                       \
    X("space", "used_bytes", used_bytes)                         \
    X("space", "waiting_bytes", waiting_bytes)                   \
    X("space", "free_bytes", free_bytes)                         \
    X("space", "reserve_bytes", reserve_bytes)                   \
    X("space", "prepared_bytes", prepared_bytes)                 \
    X("space", "discarded_bytes", discarded_bytes)               \
    X("space", "deleting_volumes", deleting_volumes)             \
    X("journal", "size_bytes", journal_bytes)                    \
    X("journal", "used_bytes", journal_used_bytes)               \
    X("journal", "records", journal_records)                     \
    X("journal", "batches", journal_batches)                     \
    X("journal", "recovered_records", recovered_records)         \
    X("journal", "recovery_ns", recovery_ns)                     \
    X("checkpoints", "count", checkpoints)                       \
    X("checkpoints", "pages", checkpoint_pages)                  \
    X("checkpoints", "last_ns", checkpoint_last_ns)              \
    X("cache", "size_bytes", cache_bytes)                        \
    X("cache", "used_bytes", cache_used_bytes)                   \
    X("cache", "dirty_bytes", cache_dirty_bytes)                 \
    X("cache", "hits", cache_hits)                               \
    X("cache", "misses", cache_misses)                           \
    X("cache", "evictions", cache_evictions)                     \
    X("cache", "waits", cache_waits)                             \
    X("scrub", "running", scrub_running)                         \
    X("scrub", "permille", scrub_permille)                       \
    X("scrub", "rate_bytes", scrub_rate)                         \
    X("scrub", "checked_blocks", scrub_checked_blocks)           \
    X("scrub", "damaged_blocks", scrub_damaged_blocks)           \
    X("scrub", "completed", scrub_completed)                     \
    X("scrub", "last_ended_ns", scrub_last_ended_ns)             \
    X("scrub", "interval_ns", scrub_interval_ns)                 \
    X("scrub", "pass_blocks", scrub_pass_blocks)                 \
    X("scrub", "pass_total_blocks", scrub_pass_total_blocks)     \
    X("scrub", "pass_damaged_blocks", scrub_pass_damaged_blocks) \
    X("scrub", "last_blocks", scrub_last_blocks)                 \
    X("scrub", "last_damaged_blocks", scrub_last_damaged_blocks) \
    X("metadata", "requests", metadata_requests)                 \
    X("metadata", "commits", metadata_commits)                   \
    X("io", "device_read_bytes", device_read_bytes)              \
    X("io", "device_written_bytes", device_written_bytes)        \
    X("io", "device_flushes", device_flushes)                    \
    X("io", "read_errors", read_errors)                          \
    X("io", "checksum_errors", checksum_errors)                  \
    X("io", "requests", requests)                                \
    X("io", "volumes_open", volumes_open)

struct all {
    struct iomesh_pool_status status;
    struct iomesh_device_status devices[IOMESH_DEVICES_MAX];
    char *paths[IOMESH_DEVICES_MAX];
    uint32_t device_count;
};

static void put(json_t *root, const char *section, const char *name, uint64_t number)
{
    if (json_object_get(root, section) == NULL)
        json_object_set_new(root, section, json_object());
    json_object_set_new(json_object_get(root, section), name, json_number(number));
}

static json_t *devices_json(const struct all *all)
{
    json_t *devices = json_array();
    for (uint32_t i = 0; i < all->device_count; i++) {
        const struct iomesh_device_status *device = &all->devices[i];
        json_array_append_new(
            devices,
            json_pack("{s:o, s:s, s:o, s:b, s:b}", "path", json_text(all->paths[i]), "class",
                      text_class(device->device_class), "size_bytes", json_number(device->bytes),
                      "is_file", device->is_file != 0, "failed", device->failed != 0));
    }
    return devices;
}

static json_t *all_json(const struct target *target, const struct all *all)
{
    const struct iomesh_pool_status *status = &all->status;
    char uuid[TEXT_BYTES];
    text_uuid(status->uuid, uuid);
    json_t *root =
        json_pack("{s:o, s:s, s:s, s:i, s:o, s:o}", "pool", json_text(target->command->pool),
                  "uuid", uuid, "state", text_state(status->state), "format", (int)status->format,
                  "opened_ns_ago", json_number(status->opened_ns_ago), "owner_process",
                  target->control != NULL ? json_number(iomesh_control_process(target->control))
                                          : json_null());
    if (root == NULL)
        return NULL;
    json_object_set_new(root, "devices", devices_json(all));
#define PUT(section, name, field) put(root, section, name, status->field);
    STATUS_NUMBERS(PUT)
#undef PUT
    return root;
}

/* A row: what, and a sentence about it. */
__attribute__((format(printf, 3, 4))) static void row(struct table *table, const char *what,
                                                      const char *format, ...)
{
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const char *const cells[] = {what, text};
    table_add(table, cells);
}

static void add_space(struct table *table, const struct iomesh_pool_status *status)
{
    char a[TEXT_BYTES], b[TEXT_BYTES], c[TEXT_BYTES], d[TEXT_BYTES], e[TEXT_BYTES];
    row(table, "space",
        "%s: %s used, %s free, %s freed and not given out again, %s kept in reserve",
        text_size(status->total_bytes, a), text_size(status->used_bytes, b),
        text_size(status->free_bytes, c), text_size(status->waiting_bytes, d),
        text_size(status->reserve_bytes, e));
    if (status->deleting_volumes > 0)
        row(table, "deleting", "%" PRIu64 " volumes, whose space is coming back",
            status->deleting_volumes);
    row(table, "journal", "%s, %s in use, %" PRIu64 " records recovered in %s",
        text_size(status->journal_bytes, a), text_size(status->journal_used_bytes, b),
        status->recovered_records, text_duration(status->recovery_ns, c));
    row(table, "checkpoints", "%" PRIu64 ", %" PRIu64 " pages, the last took %s",
        status->checkpoints, status->checkpoint_pages,
        text_duration(status->checkpoint_last_ns, a));
}

static void add_work(struct table *table, const struct iomesh_pool_status *status)
{
    char a[TEXT_BYTES], b[TEXT_BYTES], c[TEXT_BYTES];
    row(table, "cache", "%s, %s used, %s to be written; %" PRIu64 " hits, %" PRIu64 " misses",
        text_size(status->cache_bytes, a), text_size(status->cache_used_bytes, b),
        text_size(status->cache_dirty_bytes, c), status->cache_hits, status->cache_misses);
    row(table, "devices", "%s read, %s written, %" PRIu64 " flushes",
        text_size(status->device_read_bytes, a), text_size(status->device_written_bytes, b),
        status->device_flushes);
    row(table, "metadata", "%" PRIu64 " transactions in %" PRIu64 " commits",
        status->metadata_requests, status->metadata_commits);
    row(table, "errors", "%" PRIu64 " reads refused, %" PRIu64 " checksums wrong",
        status->read_errors, status->checksum_errors);
}

/* "2026-11-23 01:44:54Z (2 d 3 h ago), 9.8 GiB, 0 blocks damaged" */
static void add_last_scrub(struct table *table, const struct iomesh_pool_status *status,
                           uint64_t now_ns)
{
    char a[TEXT_BYTES], b[TEXT_BYTES], c[TEXT_BYTES];
    const uint64_t ended_ns = status->scrub_last_ended_ns;
    if (ended_ns == 0)
        row(table, "last scrub", "none");
    else
        row(table, "last scrub", "ended %s (%s ago): %s read, %" PRIu64 " blocks damaged",
            text_time(ended_ns, a), text_duration(now_ns > ended_ns ? now_ns - ended_ns : 0, b),
            text_size(status->scrub_last_blocks * BLOCK_BYTES, c),
            status->scrub_last_damaged_blocks);
}

static void add_scrub(struct table *table, const struct iomesh_pool_status *status)
{
    char a[TEXT_BYTES], b[TEXT_BYTES], c[TEXT_BYTES];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    const uint64_t due_ns = status->scrub_last_ended_ns + status->scrub_interval_ns;
    if (status->scrub_running)
        row(table, "scrub",
            "at %u.%u %%, %s of %s, up to %s a second, %" PRIu64 " blocks damaged so far",
            status->scrub_permille / 10, status->scrub_permille % 10,
            text_size(status->scrub_pass_blocks * BLOCK_BYTES, a),
            text_size(status->scrub_pass_total_blocks * BLOCK_BYTES, b),
            text_size(status->scrub_rate, c), status->scrub_pass_damaged_blocks);
    else if (status->scrub_interval_ns == 0)
        row(table, "scrub", "none runs, and none begins by itself%s",
            status->scrub_pass_blocks > 0 ? "; one that was interrupted can go on" : "");
    else
        row(table, "scrub", "none runs, the next begins in %s",
            text_duration(due_ns > now_ns ? due_ns - now_ns : 0, a));
    add_last_scrub(table, status, now_ns);
}

static int all_print(const struct target *target, const struct all *all)
{
    const struct iomesh_pool_status *status = &all->status;
    struct table table = {.column_count = 2};
    char a[TEXT_BYTES];
    text_uuid(status->uuid, a);
    row(&table, "pool", "%s", target->command->pool);
    row(&table, "uuid", "%s, format %u", a, status->format);
    row(&table, "state", "%s", text_state(status->state));
    if (target->control != NULL)
        row(&table, "owner", "process %u, for %s; %u volumes open, %u requests under way",
            iomesh_control_process(target->control), text_duration(status->opened_ns_ago, a),
            status->volumes_open, status->requests);
    for (uint32_t i = 0; i < all->device_count; i++)
        row(&table, "device", "%s, %s, %s%s", all->paths[i],
            text_class(all->devices[i].device_class), text_size(all->devices[i].bytes, a),
            all->devices[i].failed ? ", FAILED" : "");
    add_space(&table, status);
    add_work(&table, status);
    add_scrub(&table, status);
    const bool whole = !table.failed;
    if (whole)
        table_print(&table, stdout);
    table_done(&table);
    return whole ? 0 : target_fail(target, -ENOMEM);
}

static int ask_devices(struct target *target, struct all *all)
{
    while (all->device_count < all->status.device_count && all->device_count < IOMESH_DEVICES_MAX) {
        struct iomesh_device_status *device = &all->devices[all->device_count];
        device->size = sizeof *device;
        int result = target_device(target, all->device_count, device);
        if (result != 0)
            return result;
        char *path = strdup(device->path);
        if (path == NULL)
            return -ENOMEM;
        all->paths[all->device_count++] = path;
    }
    return 0;
}

int run_pool_status(struct target *target)
{
    const struct command *command = target->command;
    if (target_is_cluster(command))
        return cluster_status(target);
    struct all all = {.status = {.size = sizeof all.status}};
    int status;
    int result = target_status(target, &all.status);
    if (result == 0)
        result = ask_devices(target, &all);
    if (result != 0)
        status = target_fail(target, result);
    else if (command->json)
        status = json_out(command, all_json(target, &all));
    else
        status = all_print(target, &all);
    for (uint32_t i = 0; i < all.device_count; i++)
        free(all.paths[i]);
    return status;
}

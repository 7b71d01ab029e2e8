/* SPDX-License-Identifier: Apache-2.0 */
/* Answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/frame.h"

#define PATH_BYTES_MAX 4096u

/* The messages have the words of the public structs: every number of one, to the other. */
#define STATUS_COPY(to, from)                                                \
    do {                                                                     \
        (to)->state = (from)->state;                                         \
        (to)->format = (from)->format;                                       \
        (to)->device_count = (from)->device_count;                           \
        (to)->volumes_open = (from)->volumes_open;                           \
        (to)->requests = (from)->requests;                                   \
        (to)->opened_ns_ago = (from)->opened_ns_ago;                         \
        (to)->total_bytes = (from)->total_bytes;                             \
        (to)->used_bytes = (from)->used_bytes;                               \
        (to)->waiting_bytes = (from)->waiting_bytes;                         \
        (to)->free_bytes = (from)->free_bytes;                               \
        (to)->reserve_bytes = (from)->reserve_bytes;                         \
        (to)->prepared_bytes = (from)->prepared_bytes;                       \
        (to)->discarded_bytes = (from)->discarded_bytes;                     \
        (to)->journal_bytes = (from)->journal_bytes;                         \
        (to)->journal_used_bytes = (from)->journal_used_bytes;               \
        (to)->journal_records = (from)->journal_records;                     \
        (to)->journal_batches = (from)->journal_batches;                     \
        (to)->recovered_records = (from)->recovered_records;                 \
        (to)->recovery_ns = (from)->recovery_ns;                             \
        (to)->checkpoints = (from)->checkpoints;                             \
        (to)->checkpoint_pages = (from)->checkpoint_pages;                   \
        (to)->checkpoint_last_ns = (from)->checkpoint_last_ns;               \
        (to)->cache_bytes = (from)->cache_bytes;                             \
        (to)->cache_used_bytes = (from)->cache_used_bytes;                   \
        (to)->cache_dirty_bytes = (from)->cache_dirty_bytes;                 \
        (to)->cache_hits = (from)->cache_hits;                               \
        (to)->cache_misses = (from)->cache_misses;                           \
        (to)->cache_evictions = (from)->cache_evictions;                     \
        (to)->cache_waits = (from)->cache_waits;                             \
        (to)->scrub_running = (from)->scrub_running;                         \
        (to)->scrub_permille = (from)->scrub_permille;                       \
        (to)->scrub_rate = (from)->scrub_rate;                               \
        (to)->scrub_checked_blocks = (from)->scrub_checked_blocks;           \
        (to)->scrub_damaged_blocks = (from)->scrub_damaged_blocks;           \
        (to)->scrub_completed = (from)->scrub_completed;                     \
        (to)->scrub_last_ended_ns = (from)->scrub_last_ended_ns;             \
        (to)->device_read_bytes = (from)->device_read_bytes;                 \
        (to)->device_written_bytes = (from)->device_written_bytes;           \
        (to)->device_flushes = (from)->device_flushes;                       \
        (to)->read_errors = (from)->read_errors;                             \
        (to)->checksum_errors = (from)->checksum_errors;                     \
        (to)->deleting_volumes = (from)->deleting_volumes;                   \
        (to)->metadata_requests = (from)->metadata_requests;                 \
        (to)->metadata_commits = (from)->metadata_commits;                   \
        (to)->scrub_interval_ns = (from)->scrub_interval_ns;                 \
        (to)->scrub_pass_blocks = (from)->scrub_pass_blocks;                 \
        (to)->scrub_pass_total_blocks = (from)->scrub_pass_total_blocks;     \
        (to)->scrub_pass_damaged_blocks = (from)->scrub_pass_damaged_blocks; \
        (to)->scrub_last_blocks = (from)->scrub_last_blocks;                 \
        (to)->scrub_last_damaged_blocks = (from)->scrub_last_damaged_blocks; \
    } while (0)

#define DEVICE_COPY(to, from)                      \
    do {                                           \
        (to)->device_class = (from)->device_class; \
        (to)->bytes = (from)->bytes;               \
        (to)->failed = (from)->failed;             \
        (to)->is_file = (from)->is_file;           \
    } while (0)

/* --- Encoding ------------------------------------------------------------------------------ */

static void status_put(Control__Status *to, struct iomesh_pool_status *from)
{
    control__status__init(to);
    STATUS_COPY(to, from);
    to->uuid.data = from->uuid;
    to->uuid.len = sizeof from->uuid;
}

static void device_put(Control__Device *to, const struct iomesh_device_status *from, char *path)
{
    control__device__init(to);
    DEVICE_COPY(to, from);
    to->path.data = (uint8_t *)path;
    to->path.len = path != NULL ? strlen(path) : 0;
}

int control_response_encode(const struct control_response *response,
                            struct control_bytes *ret_bytes)
{
    struct iomesh_pool_status pool_status = response->status;
    Control__Response message = CONTROL__RESPONSE__INIT;
    Control__Status status;
    Control__Device device;
    struct control_rows rows;
    message.id = response->id;
    message.result = response->result;
    message.process = response->process;
    message.sentence = (char *)response->sentence;
    message.more = response->more;
    message.progress_done = response->progress_done;
    message.progress_total = response->progress_total;
    message.handle = response->handle;
    message.read_only = response->read_only;
    message.payload = response->payload;
    if (response->has_status) {
        status_put(&status, &pool_status);
        message.status = &status;
    }
    if (response->has_device) {
        device_put(&device, &response->device, response->device_path);
        message.device = &device;
    }
    int result = control_rows_put(&rows, response, &message);
    if (result == 0)
        result = control_frame_pack(&message.base, ret_bytes);
    control_rows_done(&rows);
    return result;
}

/* --- Decoding ------------------------------------------------------------------------------ */

static bool status_take(struct iomesh_pool_status *to, const Control__Status *from)
{
    if (from->uuid.len != 0 && from->uuid.len != sizeof to->uuid)
        return false;
    STATUS_COPY(to, from);
    to->size = sizeof *to;
    if (from->uuid.len != 0)
        memcpy(to->uuid, from->uuid.data, sizeof to->uuid);
    return true;
}

static int device_take(struct control_response *response, const Control__Device *from)
{
    if (from->path.len > PATH_BYTES_MAX)
        return -EPROTO;
    struct iomesh_device_status *to = &response->device;
    DEVICE_COPY(to, from);
    to->size = sizeof *to;
    response->device_path = calloc(1, from->path.len + 1);
    if (response->device_path == NULL)
        return -ENOMEM;
    if (from->path.len > 0)
        memcpy(response->device_path, from->path.data, from->path.len);
    to->path = response->device_path;
    return 0;
}

static int response_take(struct control_response *response, const Control__Response *message)
{
    response->id = message->id;
    response->result = message->result;
    response->process = message->process;
    (void)snprintf(response->sentence, sizeof response->sentence, "%s", message->sentence);
    if (message->more > 1 || message->read_only > 1 || message->payload > CONTROL_PAYLOAD_BYTES_MAX)
        return -EPROTO;
    response->more = message->more;
    response->read_only = message->read_only;
    response->payload = message->payload;
    response->handle = message->handle;
    response->progress_done = message->progress_done;
    response->progress_total = message->progress_total;
    response->has_status = message->status != NULL;
    response->has_device = message->device != NULL;
    if (response->has_status && !status_take(&response->status, message->status))
        return -EPROTO;
    int result = response->has_device ? device_take(response, message->device) : 0;
    return result != 0 ? result : control_rows_take(response, message);
}

int control_response_decode(const uint8_t *bytes, size_t length,
                            struct control_response *ret_response)
{
    Control__Response *message = control__response__unpack(NULL, length, bytes);
    if (message == NULL)
        return FAIL(-EPROTO, "an answer on the control socket cannot be read");
    struct control_response response = {0};
    int result = response_take(&response, message);
    control__response__free_unpacked(message, NULL);
    if (result != 0) {
        control_response_done(&response);
        return FAIL(result, "an answer on the control socket cannot be read");
    }
    *ret_response = response;
    return 0;
}

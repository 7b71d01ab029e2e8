/* SPDX-License-Identifier: Apache-2.0 */
/* Answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.pb-c.h"
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

#define VOLUME_COPY(to, from)                      \
    do {                                           \
        (to)->id = (from)->id;                     \
        (to)->bytes = (from)->bytes;               \
        (to)->sector_bytes = (from)->sector_bytes; \
        (to)->created_ns = (from)->created_ns;     \
        (to)->open_count = (from)->open_count;     \
        (to)->flags = (from)->flags;               \
    } while (0)

void control_response_done(struct control_response *response)
{
    free(response->device_path);
    free(response->volumes);
    *response = (struct control_response){0};
}

int control_response_add(struct control_response *response, const struct iomesh_volume_info *info)
{
    if (response->volume_count == CONTROL_LIST_MAX)
        return FAIL(-EMSGSIZE, "an answer has at most %u volumes", CONTROL_LIST_MAX);
    if (response->volume_count == response->volume_max) {
        uint32_t count = response->volume_max == 0 ? 1 : 2 * response->volume_max;
        void *volumes = realloc(response->volumes, count * sizeof *response->volumes);
        if (volumes == NULL)
            return FAIL(-ENOMEM, "the control socket: no memory");
        response->volumes = volumes;
        response->volume_max = count;
    }
    response->volumes[response->volume_count++] = *info;
    return 0;
}

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

static void volume_put(Control__Volume *to, struct iomesh_volume_info *from)
{
    control__volume__init(to);
    VOLUME_COPY(to, from);
    to->name = from->name;
}

int control_response_encode(const struct control_response *response,
                            struct control_bytes *ret_bytes)
{
    struct iomesh_pool_status pool_status = response->status;
    Control__Response message = CONTROL__RESPONSE__INIT;
    Control__Status status;
    Control__Device device;
    size_t count = response->volume_count;
    Control__Volume *volumes = calloc(count + 1, sizeof *volumes);
    Control__Volume **each = calloc(count + 1, sizeof *each);
    int result = -ENOMEM;
    if (volumes != NULL && each != NULL) {
        for (size_t i = 0; i < count; i++) {
            volume_put(&volumes[i], &response->volumes[i]);
            each[i] = &volumes[i];
        }
        message.n_volumes = count;
        message.volumes = each;
        message.id = response->id;
        message.result = response->result;
        message.process = response->process;
        message.sentence = (char *)response->sentence;
        if (response->has_status) {
            status_put(&status, &pool_status);
            message.status = &status;
        }
        if (response->has_device) {
            device_put(&device, &response->device, response->device_path);
            message.device = &device;
        }
        result = control_frame_pack(&message.base, ret_bytes);
    }
    free(volumes);
    free(each);
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

static int volume_take(struct control_response *response, const Control__Volume *from)
{
    struct iomesh_volume_info info = {.size = sizeof info};
    struct iomesh_volume_info *to = &info;
    size_t length = strlen(from->name);
    if (length > IOMESH_NAME_BYTES_MAX)
        return -EPROTO;
    memcpy(info.name, from->name, length + 1);
    VOLUME_COPY(to, from);
    return control_response_add(response, &info);
}

static int response_take(struct control_response *response, const Control__Response *message)
{
    response->id = message->id;
    response->result = message->result;
    response->process = message->process;
    (void)snprintf(response->sentence, sizeof response->sentence, "%s", message->sentence);
    response->has_status = message->status != NULL;
    response->has_device = message->device != NULL;
    if (response->has_status && !status_take(&response->status, message->status))
        return -EPROTO;
    int result = response->has_device ? device_take(response, message->device) : 0;
    if (message->n_volumes > CONTROL_LIST_MAX)
        result = -EPROTO;
    for (size_t i = 0; result == 0 && i < message->n_volumes; i++)
        result = volume_take(response, message->volumes[i]);
    return result;
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

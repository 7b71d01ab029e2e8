/* SPDX-License-Identifier: Apache-2.0 */
/* Answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.pb-c.h"
#include "control/frame.h"

#define PATH_BYTES_MAX 4096u

/* Every number of struct iomesh_pool_status: the message has the same words. */
#define STATUS_NUMBERS(X)                                                                          \
    X(state)                                                                                       \
    X(format)                                                                                      \
    X(device_count) X(volumes_open) X(requests) X(opened_ns_ago) X(total_bytes) X(used_bytes)      \
        X(waiting_bytes) X(free_bytes) X(reserve_bytes) X(prepared_bytes) X(discarded_bytes)       \
            X(journal_bytes) X(journal_used_bytes) X(journal_records) X(journal_batches)           \
                X(recovered_records) X(recovery_ns) X(checkpoints) X(checkpoint_pages)             \
                    X(checkpoint_last_ns) X(cache_bytes) X(cache_used_bytes) X(cache_dirty_bytes)  \
                        X(cache_hits) X(cache_misses) X(cache_evictions) X(cache_waits)            \
                            X(scrub_running) X(scrub_permille) X(scrub_rate)                       \
                                X(scrub_checked_blocks) X(scrub_damaged_blocks) X(scrub_completed) \
                                    X(scrub_last_ended_ns) X(device_read_bytes)                    \
                                        X(device_written_bytes) X(device_flushes) X(read_errors)   \
                                            X(checksum_errors) X(deleting_volumes)

#define DEVICE_NUMBERS(X) X(device_class) X(bytes) X(failed) X(is_file)
#define VOLUME_NUMBERS(X) X(id) X(bytes) X(sector_bytes) X(created_ns) X(open_count) X(flags)

#define COPY(name) to->name = from->name;

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
    STATUS_NUMBERS(COPY)
    to->uuid.data = from->uuid;
    to->uuid.len = sizeof from->uuid;
}

static void device_put(Control__Device *to, const struct iomesh_device_status *from, char *path)
{
    control__device__init(to);
    DEVICE_NUMBERS(COPY)
    to->path.data = (uint8_t *)path;
    to->path.len = path != NULL ? strlen(path) : 0;
}

static void volume_put(Control__Volume *to, struct iomesh_volume_info *from)
{
    control__volume__init(to);
    VOLUME_NUMBERS(COPY)
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
    STATUS_NUMBERS(COPY)
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
    DEVICE_NUMBERS(COPY)
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
    VOLUME_NUMBERS(COPY)
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

/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "control/frame.h"

#define VOLUME_COPY(to, from)                          \
    do {                                               \
        (to)->id = (from)->id;                         \
        (to)->bytes = (from)->bytes;                   \
        (to)->sector_bytes = (from)->sector_bytes;     \
        (to)->created_ns = (from)->created_ns;         \
        (to)->open_count = (from)->open_count;         \
        (to)->flags = (from)->flags;                   \
        (to)->snapshot_count = (from)->snapshot_count; \
    } while (0)

#define SNAPSHOT_COPY(to, from)                    \
    do {                                           \
        (to)->flags = (from)->flags;               \
        (to)->volume_id = (from)->volume_id;       \
        (to)->cut = (from)->cut;                   \
        (to)->bytes = (from)->bytes;               \
        (to)->created_ns = (from)->created_ns;     \
        (to)->unique_bytes = (from)->unique_bytes; \
        (to)->shared_bytes = (from)->shared_bytes; \
        (to)->clone_count = (from)->clone_count;   \
    } while (0)

/* --- Collecting ---------------------------------------------------------------------------- */

void control_response_done(struct control_response *response)
{
    for (uint32_t i = 0; i < response->group_count; i++)
        free((void *)(uintptr_t)response->groups[i].volumes);
    free(response->device_path);
    free(response->volumes);
    free(response->snapshots);
    free(response->groups);
    free(response->extents);
    *response = (struct control_response){0};
}

/* Room for one more. NULL: no memory. */
static void *rows_grow(void *rows, uint32_t count, uint32_t *max, size_t size)
{
    if (count < *max)
        return rows;
    uint32_t more = *max == 0 ? 1 : 2 * *max;
    void *grown = realloc(rows, more * size);
    if (grown == NULL) {
        (void)FAIL(-ENOMEM, "the control socket: no memory");
        return NULL;
    }
    *max = more;
    return grown;
}

int control_response_add(struct control_response *response, const struct iomesh_volume_info *info)
{
    if (response->volume_count == CONTROL_LIST_MAX)
        return FAIL(-EMSGSIZE, "an answer has at most %u volumes", CONTROL_LIST_MAX);
    void *volumes = rows_grow(response->volumes, response->volume_count, &response->volume_max,
                              sizeof *response->volumes);
    if (volumes == NULL)
        return -ENOMEM;
    response->volumes = volumes;
    response->volumes[response->volume_count++] = *info;
    return 0;
}

int control_response_add_snapshot(struct control_response *response,
                                  const struct iomesh_snapshot_info *info)
{
    if (response->snapshot_count == CONTROL_ROWS_MAX)
        return FAIL(-EMSGSIZE, "more than %u snapshots", CONTROL_ROWS_MAX);
    void *snapshots = rows_grow(response->snapshots, response->snapshot_count,
                                &response->snapshot_max, sizeof *response->snapshots);
    if (snapshots == NULL)
        return -ENOMEM;
    response->snapshots = snapshots;
    response->snapshots[response->snapshot_count++] = *info;
    return 0;
}

/* Names in one piece of memory: the pointers, then the text. NULL: no memory. */
static const char *const *names_copy(const char *const *names, uint32_t count)
{
    size_t length = 0;
    for (uint32_t i = 0; i < count; i++)
        length += strlen(names[i]) + 1;
    char **copy = malloc(count * sizeof *copy + length + 1);
    if (copy == NULL)
        return NULL;
    char *text = (char *)(copy + count);
    for (uint32_t i = 0; i < count; i++) {
        size_t bytes = strlen(names[i]) + 1;
        copy[i] = memcpy(text, names[i], bytes);
        text += bytes;
    }
    return (const char *const *)copy;
}

int control_response_add_group(struct control_response *response,
                               const struct iomesh_group_info *info)
{
    if (response->group_count == CONTROL_ROWS_MAX)
        return FAIL(-EMSGSIZE, "more than %u groups", CONTROL_ROWS_MAX);
    void *groups = rows_grow(response->groups, response->group_count, &response->group_max,
                             sizeof *response->groups);
    if (groups == NULL)
        return -ENOMEM;
    response->groups = groups;
    struct iomesh_group_info group = *info;
    group.volumes = names_copy(info->volumes, info->volume_count);
    if (group.volumes == NULL)
        return FAIL(-ENOMEM, "the control socket: no memory");
    response->groups[response->group_count++] = group;
    return 0;
}

/* --- Encoding ------------------------------------------------------------------------------ */

static void volume_put(Control__Volume *to, struct iomesh_volume_info *from)
{
    control__volume__init(to);
    VOLUME_COPY(to, from);
    to->name = from->name;
    to->parent = from->parent;
    to->parent_snapshot = from->parent_snapshot;
}

static void snapshot_put(Control__Snapshot *to, struct iomesh_snapshot_info *from)
{
    control__snapshot__init(to);
    SNAPSHOT_COPY(to, from);
    to->name = from->name;
    to->volume = from->volume;
    to->group = from->group;
    to->uuid.data = from->uuid;
    to->uuid.len = sizeof from->uuid;
}

static void group_put(Control__Group *to, struct iomesh_group_info *from)
{
    control__group__init(to);
    to->name = from->name;
    to->created_ns = from->created_ns;
    to->n_volumes = from->volume_count;
    to->volumes = (char **)(uintptr_t)from->volumes;
}

static bool rows_make(struct control_rows *rows, const struct control_response *response)
{
    size_t volumes = (size_t)response->volume_count + 1;
    size_t snapshots = (size_t)response->snapshot_count + 1;
    size_t groups = (size_t)response->group_count + 1;
    size_t extents = (size_t)response->extent_count + 1;
    *rows = (struct control_rows){
        .volumes = calloc(volumes, sizeof *rows->volumes),
        .each_volume = calloc(volumes, sizeof *rows->each_volume),
        .snapshots = calloc(snapshots, sizeof *rows->snapshots),
        .each_snapshot = calloc(snapshots, sizeof *rows->each_snapshot),
        .groups = calloc(groups, sizeof *rows->groups),
        .each_group = calloc(groups, sizeof *rows->each_group),
        .extent_bytes = calloc(extents, sizeof *rows->extent_bytes),
        .extent_flags = calloc(extents, sizeof *rows->extent_flags),
    };
    return rows->volumes != NULL && rows->each_volume != NULL && rows->snapshots != NULL &&
           rows->each_snapshot != NULL && rows->groups != NULL && rows->each_group != NULL &&
           rows->extent_bytes != NULL && rows->extent_flags != NULL;
}

int control_rows_put(struct control_rows *rows, const struct control_response *response,
                     Control__Response *message)
{
    if (!rows_make(rows, response))
        return FAIL(-ENOMEM, "the control socket: no memory");
    for (uint32_t i = 0; i < response->volume_count; i++) {
        volume_put(&rows->volumes[i], &response->volumes[i]);
        rows->each_volume[i] = &rows->volumes[i];
    }
    for (uint32_t i = 0; i < response->snapshot_count; i++) {
        snapshot_put(&rows->snapshots[i], &response->snapshots[i]);
        rows->each_snapshot[i] = &rows->snapshots[i];
    }
    for (uint32_t i = 0; i < response->group_count; i++) {
        group_put(&rows->groups[i], &response->groups[i]);
        rows->each_group[i] = &rows->groups[i];
    }
    for (uint32_t i = 0; i < response->extent_count; i++) {
        rows->extent_bytes[i] = response->extents[i].bytes;
        rows->extent_flags[i] = response->extents[i].flags;
    }
    message->n_volumes = response->volume_count;
    message->volumes = rows->each_volume;
    message->n_snapshots = response->snapshot_count;
    message->snapshots = rows->each_snapshot;
    message->n_groups = response->group_count;
    message->groups = rows->each_group;
    message->n_extent_bytes = message->n_extent_flags = response->extent_count;
    message->extent_bytes = rows->extent_bytes;
    message->extent_flags = rows->extent_flags;
    return 0;
}

void control_rows_done(struct control_rows *rows)
{
    free(rows->volumes);
    free(rows->each_volume);
    free(rows->snapshots);
    free(rows->each_snapshot);
    free(rows->groups);
    free(rows->each_group);
    free(rows->extent_bytes);
    free(rows->extent_flags);
}

/* --- Decoding ------------------------------------------------------------------------------ */

static bool name_take(char to[IOMESH_NAME_BYTES_MAX + 1], const char *from)
{
    size_t length = strlen(from);
    if (length > IOMESH_NAME_BYTES_MAX)
        return false;
    memcpy(to, from, length + 1);
    return true;
}

static int volume_take(struct control_response *response, const Control__Volume *from)
{
    struct iomesh_volume_info info = {.size = sizeof info};
    struct iomesh_volume_info *to = &info;
    VOLUME_COPY(to, from);
    if (!name_take(info.name, from->name) || !name_take(info.parent, from->parent) ||
        !name_take(info.parent_snapshot, from->parent_snapshot))
        return -EPROTO;
    return control_response_add(response, &info);
}

static int snapshot_take(struct control_response *response, const Control__Snapshot *from)
{
    struct iomesh_snapshot_info info = {.size = sizeof info};
    struct iomesh_snapshot_info *to = &info;
    SNAPSHOT_COPY(to, from);
    if (!name_take(info.name, from->name) || !name_take(info.volume, from->volume) ||
        !name_take(info.group, from->group) || from->uuid.len != sizeof info.uuid)
        return -EPROTO;
    memcpy(info.uuid, from->uuid.data, sizeof info.uuid);
    return control_response_add_snapshot(response, &info);
}

static int group_take(struct control_response *response, const Control__Group *from)
{
    struct iomesh_group_info info = {.size = sizeof info,
                                     .created_ns = from->created_ns,
                                     .volume_count = (uint32_t)from->n_volumes,
                                     .volumes = (const char *const *)from->volumes};
    if (!name_take(info.name, from->name) || from->n_volumes > IOMESH_GROUP_VOLUMES_MAX)
        return -EPROTO;
    for (size_t i = 0; i < from->n_volumes; i++) {
        if (strlen(from->volumes[i]) > IOMESH_NAME_BYTES_MAX)
            return -EPROTO;
    }
    return control_response_add_group(response, &info);
}

static int extents_take(struct control_response *response, const Control__Response *message)
{
    size_t count = message->n_extent_bytes;
    if (count != message->n_extent_flags || count > CONTROL_EXTENTS_MAX)
        return -EPROTO;
    if (count == 0)
        return 0;
    response->extents = calloc(count, sizeof *response->extents);
    if (response->extents == NULL)
        return -ENOMEM;
    response->extent_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        response->extents[i] = (struct iomesh_extent){.bytes = message->extent_bytes[i],
                                                      .flags = message->extent_flags[i]};
    return 0;
}

int control_rows_take(struct control_response *response, const Control__Response *message)
{
    if (message->n_volumes > CONTROL_LIST_MAX || message->n_snapshots > CONTROL_SNAPSHOTS_MAX ||
        message->n_groups > CONTROL_GROUPS_MAX)
        return -EPROTO;
    int result = extents_take(response, message);
    for (size_t i = 0; result == 0 && i < message->n_volumes; i++)
        result = volume_take(response, message->volumes[i]);
    for (size_t i = 0; result == 0 && i < message->n_snapshots; i++)
        result = snapshot_take(response, message->snapshots[i]);
    for (size_t i = 0; result == 0 && i < message->n_groups; i++)
        result = group_take(response, message->groups[i]);
    return result;
}

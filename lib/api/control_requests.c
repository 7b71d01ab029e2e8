/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/sys/control.h>: what is asked of the owner of a pool, waiting. */
#include <string.h>

#include "api/control_client.h"
#include "api/operation.h"

static int requests_give(void *to, uint32_t given, const void *from, uint32_t size, bool has)
{
    return has ? api_give(to, given, from, size)
               : FAIL(-EPROTO, "the owner of the pool left out the answer");
}

static int requests_ask_named(struct iomesh_control *control, uint32_t kind, const char *name,
                              bool at)
{
    struct control_request request = {.kind = kind};
    int result = control_named(name, at, &request);
    return result != 0 ? result : control_ask(control, &request, NULL);
}

/* --- The pool ------------------------------------------------------------------------------ */

int iomesh_control_status(struct iomesh_control *control, struct iomesh_pool_status *ret_status)
{
    struct control_request request = {.kind = CONTROL_STATUS};
    int result = control_ask(control, &request, NULL);
    return result != 0 ? result
                       : requests_give(ret_status, ret_status->size, &control->answer.status,
                                       sizeof control->answer.status, control->answer.has_status);
}

int iomesh_control_device(struct iomesh_control *control, uint32_t index,
                          struct iomesh_device_status *ret_status)
{
    struct control_request request = {.kind = CONTROL_DEVICE, .index = index};
    int result = control_ask(control, &request, NULL);
    return result != 0 ? result
                       : requests_give(ret_status, ret_status->size, &control->answer.device,
                                       sizeof control->answer.device, control->answer.has_device);
}

int iomesh_control_scrub_start(struct iomesh_control *control, uint64_t rate)
{
    struct control_request request = {.kind = CONTROL_SCRUB_START, .bytes = rate};
    return control_ask(control, &request, NULL);
}

int iomesh_control_scrub_stop(struct iomesh_control *control)
{
    struct control_request request = {.kind = CONTROL_SCRUB_STOP};
    return control_ask(control, &request, NULL);
}

/* --- Volumes ------------------------------------------------------------------------------- */

int iomesh_control_volume_create(struct iomesh_control *control, const char *name,
                                 const struct iomesh_volume_create_options *given)
{
    struct iomesh_volume_create_options options = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    struct control_request request = {.kind = CONTROL_VOLUME_CREATE};
    int result = api_options("volume create", given, &options, sizeof options);
    const struct api_copies copies = {options.copies, options.copies_min, options.domain,
                                      options.classes};
    if (result == 0)
        result = api_check_copies(NULL, name, &copies);
    if (result == 0)
        result = control_named(name, false, &request);
    request.bytes = options.bytes;
    request.sector_bytes = options.sector_bytes;
    request.flags = options.flags;
    return result != 0 ? result : control_ask(control, &request, NULL);
}

int iomesh_control_volume_delete(struct iomesh_control *control, const char *name)
{
    return requests_ask_named(control, CONTROL_VOLUME_DELETE, name, false);
}

int iomesh_control_volume_resize(struct iomesh_control *control, const char *name, uint64_t bytes,
                                 uint32_t flags)
{
    struct control_request request = {
        .kind = CONTROL_VOLUME_RESIZE, .bytes = bytes, .flags = flags};
    int result = control_named(name, false, &request);
    return result != 0 ? result : control_ask(control, &request, NULL);
}

int iomesh_control_volume_list(struct iomesh_control *control, iomesh_volume_info_fn *each,
                               void *context)
{
    if (each == NULL)
        return FAIL(-EINVAL, "a list needs a callback");
    struct control_request request = {.kind = CONTROL_VOLUME_LIST};
    int result;
    do {
        result = control_ask(control, &request, NULL);
        const struct control_response *answer = &control->answer;
        if (result >= 0 && answer->volume_count > 0)
            memcpy(request.name, answer->volumes[answer->volume_count - 1].name,
                   sizeof answer->volumes->name);
        else if (result == 1)
            result = FAIL(-EPROTO, "the owner of the pool sent an empty page");
        for (uint32_t i = 0; result >= 0 && i < answer->volume_count; i++)
            each(context, &answer->volumes[i]);
    } while (result == 1);
    return result;
}

int iomesh_control_volume_show(struct iomesh_control *control, const char *name,
                               struct iomesh_volume_info *ret_info)
{
    int result = requests_ask_named(control, CONTROL_VOLUME_SHOW, name, false);
    return result != 0 ? result
                       : requests_give(ret_info, ret_info->size, control->answer.volumes,
                                       sizeof *ret_info, control->answer.volume_count == 1);
}

/* --- Snapshots ----------------------------------------------------------------------------- */

int iomesh_control_snapshot_create(struct iomesh_control *control, const char *name)
{
    return requests_ask_named(control, CONTROL_SNAPSHOT_CREATE, name, true);
}

int iomesh_control_snapshot_delete(struct iomesh_control *control, const char *name)
{
    return requests_ask_named(control, CONTROL_SNAPSHOT_DELETE, name, true);
}

/* What tells how far it is. */
static int requests_ask_long(struct iomesh_control *control, uint32_t kind, const char *name,
                             uint32_t flags, iomesh_progress_fn *progress, void *context)
{
    struct control_request request = {.kind = kind, .flags = flags};
    struct control_ear ear = {.progress = progress, .context = context};
    int result = control_named(name, true, &request);
    return result != 0 ? result : control_ask(control, &request, &ear);
}

int iomesh_control_snapshot_rollback(struct iomesh_control *control, const char *name,
                                     uint32_t flags, iomesh_progress_fn *progress, void *context)
{
    return requests_ask_long(control, CONTROL_SNAPSHOT_ROLLBACK, name, flags, progress, context);
}

struct requests_rows {
    iomesh_snapshot_info_fn *each_snapshot;
    iomesh_group_info_fn *each_group;
    void *context;
};

static void requests_each(void *context, const struct control_response *response)
{
    const struct requests_rows *rows = context;
    for (uint32_t i = 0; rows->each_snapshot != NULL && i < response->snapshot_count; i++)
        rows->each_snapshot(rows->context, &response->snapshots[i]);
    for (uint32_t i = 0; rows->each_group != NULL && i < response->group_count; i++)
        rows->each_group(rows->context, &response->groups[i]);
}

int iomesh_control_snapshot_list(struct iomesh_control *control, const char *volume, uint32_t flags,
                                 iomesh_snapshot_info_fn *each, void *context)
{
    struct control_request request = {.kind = CONTROL_SNAPSHOT_LIST, .flags = flags};
    struct requests_rows rows = {.each_snapshot = each, .context = context};
    struct control_ear ear = {.rows = requests_each, .context = &rows};
    if (each == NULL)
        return FAIL(-EINVAL, "a list needs a callback");
    int result = control_named(volume, false, &request);
    return result != 0 ? result : control_ask(control, &request, &ear);
}

int iomesh_control_snapshot_show(struct iomesh_control *control, const char *name, uint32_t flags,
                                 struct iomesh_snapshot_info *ret_info)
{
    struct control_request request = {.kind = CONTROL_SNAPSHOT_SHOW, .flags = flags};
    int result = control_named(name, true, &request);
    if (result == 0)
        result = control_ask(control, &request, NULL);
    return result != 0 ? result
                       : requests_give(ret_info, ret_info->size, control->answer.snapshots,
                                       sizeof *ret_info, control->answer.snapshot_count == 1);
}

/* --- Groups -------------------------------------------------------------------------------- */

int iomesh_control_group_create(struct iomesh_control *control, const char *group,
                                const char *const *volumes, uint32_t volume_count)
{
    struct control_request request = {
        .kind = CONTROL_GROUP_CREATE, .names = volumes, .name_count = volume_count};
    struct control_request each = {0};
    int result = control_named(group, false, &request);
    if (result == 0 && volume_count > IOMESH_GROUP_VOLUMES_MAX)
        result = FAIL(-EINVAL, "%s: a group has 1 to %u volumes, not %u", group,
                      IOMESH_GROUP_VOLUMES_MAX, volume_count);
    for (uint32_t i = 0; result == 0 && i < volume_count; i++)
        result = control_named(volumes[i], false, &each);
    return result != 0 ? result : control_ask(control, &request, NULL);
}

int iomesh_control_group_delete(struct iomesh_control *control, const char *group)
{
    return requests_ask_named(control, CONTROL_GROUP_DELETE, group, false);
}

int iomesh_control_group_list(struct iomesh_control *control, iomesh_group_info_fn *each,
                              void *context)
{
    struct control_request request = {.kind = CONTROL_GROUP_LIST};
    struct requests_rows rows = {.each_group = each, .context = context};
    struct control_ear ear = {.rows = requests_each, .context = &rows};
    return each == NULL ? FAIL(-EINVAL, "a list needs a callback")
                        : control_ask(control, &request, &ear);
}

/* --- Clones and imports -------------------------------------------------------------------- */

int iomesh_control_volume_clone(struct iomesh_control *control, const char *source,
                                const char *name)
{
    struct control_request request = {.kind = CONTROL_VOLUME_CLONE};
    struct control_request target = {0};
    int result = control_named(source, true, &request);
    if (result == 0)
        result = control_named(name, false, &target);
    memcpy(request.target, target.name, sizeof request.target);
    return result != 0 ? result : control_ask(control, &request, NULL);
}

int iomesh_control_volume_flatten(struct iomesh_control *control, const char *name,
                                  iomesh_progress_fn *progress, void *context)
{
    return requests_ask_long(control, CONTROL_VOLUME_FLATTEN, name, 0, progress, context);
}

int iomesh_control_import_abandon(struct iomesh_control *control, const char *name,
                                  iomesh_progress_fn *progress, void *context)
{
    return requests_ask_long(control, CONTROL_IMPORT_ABANDON, name, 0, progress, context);
}

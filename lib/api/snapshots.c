/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/snapshot.h>: snapshots, groups of them and clones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/control_client.h"
#include "api/operation.h"

_Static_assert(IOMESH_SNAPSHOTS_MAX == CATALOG_SNAPSHOTS_MAX, "one limit");
_Static_assert(IOMESH_GROUP_VOLUMES_MAX == CATALOG_GROUP_VOLUMES_MAX, "one limit");

/* The operation on a name that is of a snapshot, or may be; NULL and *ret_result: refused. */
static struct api_operation *snapshots_begin(struct iomesh_pool *pool, const char *name,
                                             bool snapshot, iomesh_done_fn *done, void *context,
                                             struct api_name *ret_name, int *ret_result)
{
    int result = api_operation_refuse(pool, name, done != NULL);
    if (result == 0)
        result = api_name_split(name, snapshot, ret_name);
    struct api_operation *operation = result == 0 ? api_operation_begin(pool, context) : NULL;
    *ret_result = result == 0 ? -ENOMEM : result;
    if (operation != NULL)
        operation->done = done;
    return operation;
}

/* --- Snapshots ----------------------------------------------------------------------------- */

int iomesh_snapshot_create(struct iomesh_pool *pool, const char *name, iomesh_done_fn *done,
                           void *context)
{
    int result;
    struct api_name split;
    struct api_operation *operation =
        snapshots_begin(pool, name, true, done, context, &split, &result);
    if (operation == NULL)
        return result;
    uint8_t uuid[IOMESH_UUID_BYTES];
    result = uring_random(uuid, sizeof uuid);
    if (result == 0)
        result = catalog_snapshot_create(pool->catalog, split.volume, split.snapshot, uuid,
                                         api_operation_done, operation);
    return api_operation_started(operation, result);
}

int iomesh_snapshot_delete(struct iomesh_pool *pool, const char *name, iomesh_done_fn *done,
                           void *context)
{
    int result;
    struct api_name split;
    struct api_operation *operation =
        snapshots_begin(pool, name, true, done, context, &split, &result);
    if (operation == NULL)
        return result;
    return api_operation_started(operation, catalog_snapshot_delete(pool->catalog, split.volume,
                                                                    split.snapshot,
                                                                    api_operation_done, operation));
}

int iomesh_snapshot_rollback(struct iomesh_pool *pool, const char *name, uint32_t flags,
                             iomesh_progress_fn *progress, iomesh_done_fn *done, void *context)
{
    int result;
    struct api_name split;
    if (flags & ~IOMESH_ROLLBACK_FORCE)
        return FAIL(-EINVAL, "rollback: flags %#x are not known", flags);
    struct api_operation *operation =
        snapshots_begin(pool, name, true, done, context, &split, &result);
    if (operation == NULL)
        return result;
    operation->progress = progress;
    return api_operation_started(
        operation, catalog_snapshot_rollback(pool->catalog, split.volume, split.snapshot,
                                             flags & IOMESH_ROLLBACK_FORCE, api_operation_progress,
                                             api_operation_done, operation));
}

/* --- What there is ------------------------------------------------------------------------- */

static void text_copy(char to[IOMESH_NAME_BYTES_MAX + 1], const char *from)
{
    (void)snprintf(to, IOMESH_NAME_BYTES_MAX + 1, "%s", from != NULL ? from : "");
}

static void snapshots_each(void *context, const struct catalog_snapshot *from)
{
    struct api_operation *operation = context;
    bool visible = !from->hidden && !from->deleting;
    if (!visible && !(operation->flags & IOMESH_SNAPSHOT_ALL))
        return;
    if (operation->snapshot[0] != '\0' && strcmp(operation->snapshot, from->name) != 0)
        return;
    struct iomesh_snapshot_info info = {
        .size = sizeof info,
        .flags = (from->space ? IOMESH_SNAPSHOT_SPACE : 0) |
                 (from->hidden ? IOMESH_SNAPSHOT_HIDDEN : 0) |
                 (from->deleting ? IOMESH_SNAPSHOT_DELETING : 0),
        .volume_id = from->volume_id,
        .cut = from->cut,
        .bytes = from->bytes,
        .created_ns = from->created_ns,
        .unique_bytes = from->space ? from->unique_bytes : 0,
        .shared_bytes = from->space ? from->shared_bytes : 0,
        .clone_count = from->clones,
    };
    memcpy(info.uuid, from->uuid, sizeof info.uuid);
    text_copy(info.name, from->name);
    text_copy(info.volume, from->volume);
    text_copy(info.group, from->group);
    operation->found = true;
    operation->each_snapshot(operation->context, &info);
}

int iomesh_snapshot_list(struct iomesh_pool *pool, const char *volume, uint32_t flags,
                         iomesh_snapshot_info_fn *each, iomesh_done_fn *done, void *context)
{
    int result;
    struct api_name split;
    if (flags & ~(IOMESH_SNAPSHOT_SPACE | IOMESH_SNAPSHOT_ALL))
        return FAIL(-EINVAL, "snapshot list: flags %#x are not known", flags);
    struct api_operation *operation =
        snapshots_begin(pool, volume, false, each != NULL ? done : NULL, context, &split, &result);
    if (operation == NULL)
        return result;
    operation->flags = flags;
    operation->each_snapshot = each;
    if (split.snapshot[0] != '\0')
        result = FAIL(-EINVAL, "%s: is a snapshot, which has none of its own", volume);
    else
        result = catalog_snapshot_list(pool->catalog, split.volume, flags & IOMESH_SNAPSHOT_SPACE,
                                       snapshots_each, api_operation_done, operation);
    return api_operation_started(operation, result);
}

static void snapshots_shown(void *context, int result)
{
    struct api_operation *operation = context;
    if (result == 0 && !operation->found)
        result = FAIL(-ENOENT, "volume \"%s\" has no snapshot \"%s\"", operation->of,
                      operation->snapshot);
    api_operation_done(operation, result);
}

int iomesh_snapshot_show(struct iomesh_pool *pool, const char *name, uint32_t flags,
                         iomesh_snapshot_info_fn *each, iomesh_done_fn *done, void *context)
{
    int result;
    struct api_name split;
    if (flags & ~IOMESH_SNAPSHOT_SPACE)
        return FAIL(-EINVAL, "snapshot show: flags %#x are not known", flags);
    struct api_operation *operation =
        snapshots_begin(pool, name, true, each != NULL ? done : NULL, context, &split, &result);
    if (operation == NULL)
        return result;
    operation->flags = flags;
    operation->each_snapshot = each;
    memcpy(operation->of, split.volume, sizeof operation->of);
    memcpy(operation->snapshot, split.snapshot, sizeof operation->snapshot);
    return api_operation_started(
        operation, catalog_snapshot_list(pool->catalog, split.volume, flags & IOMESH_SNAPSHOT_SPACE,
                                         snapshots_each, snapshots_shown, operation));
}

/* --- Groups -------------------------------------------------------------------------------- */

int iomesh_group_create(struct iomesh_pool *pool, const char *group, const char *const *volumes,
                        uint32_t volume_count, iomesh_done_fn *done, void *context)
{
    uint8_t uuids[IOMESH_GROUP_VOLUMES_MAX][IOMESH_UUID_BYTES];
    int result = api_operation_refuse(pool, group, done != NULL);
    if (result == 0 && (volume_count == 0 || volume_count > IOMESH_GROUP_VOLUMES_MAX))
        result = FAIL(-EINVAL, "%s: a group has 1 to %u volumes, not %u", group,
                      IOMESH_GROUP_VOLUMES_MAX, volume_count);
    for (uint32_t i = 0; result == 0 && i < volume_count; i++)
        result = volumes == NULL || volumes[i] == NULL
                     ? FAIL(-EINVAL, "%s: the name of a volume is missing", group)
                     : 0;
    if (result == 0)
        result = uring_random(uuids, volume_count * IOMESH_UUID_BYTES);
    if (result != 0)
        return result;
    struct api_operation *operation = api_operation_begin(pool, context);
    if (operation == NULL)
        return -ENOMEM;
    operation->done = done;
    return api_operation_started(operation,
                                 catalog_group_create(pool->catalog, group, volumes, volume_count,
                                                      (const uint8_t(*)[IOMESH_UUID_BYTES])uuids,
                                                      api_operation_done, operation));
}

int iomesh_group_delete(struct iomesh_pool *pool, const char *group, iomesh_done_fn *done,
                        void *context)
{
    int result;
    struct api_operation *operation = api_operation_new(pool, group, done, context, &result);
    if (operation == NULL)
        return result;
    return api_operation_started(
        operation, catalog_group_delete(pool->catalog, group, api_operation_done, operation));
}

static void groups_each(void *context, const struct catalog_group_info *from)
{
    const struct api_operation *operation = context;
    struct iomesh_group_info info = {
        .size = sizeof info,
        .volume_count = from->volume_count,
        .created_ns = from->created_ns,
        .volumes = from->volumes,
    };
    text_copy(info.name, from->name);
    operation->each_group(operation->context, &info);
}

int iomesh_group_list(struct iomesh_pool *pool, iomesh_group_info_fn *each, iomesh_done_fn *done,
                      void *context)
{
    int result;
    struct api_operation *operation =
        api_operation_new(pool, "", each != NULL ? done : NULL, context, &result);
    if (operation == NULL)
        return result;
    operation->each_group = each;
    return api_operation_started(
        operation, catalog_group_list(pool->catalog, groups_each, api_operation_done, operation));
}

/* --- Clones -------------------------------------------------------------------------------- */

int iomesh_volume_clone(struct iomesh_pool *pool, const char *source, const char *name,
                        iomesh_done_fn *done, void *context)
{
    int result;
    struct api_name split;
    struct api_operation *operation =
        snapshots_begin(pool, source, false, name != NULL ? done : NULL, context, &split, &result);
    if (operation == NULL)
        return result;
    return api_operation_started(operation,
                                 catalog_clone(pool->catalog, split.volume,
                                               split.snapshot[0] != '\0' ? split.snapshot : NULL,
                                               name, api_operation_done, operation));
}

int iomesh_volume_flatten(struct iomesh_pool *pool, const char *name, iomesh_progress_fn *progress,
                          iomesh_done_fn *done, void *context)
{
    int result;
    struct api_operation *operation = api_operation_new(pool, name, done, context, &result);
    if (operation == NULL)
        return result;
    operation->progress = progress;
    return api_operation_started(operation,
                                 catalog_flatten(pool->catalog, name, api_operation_progress,
                                                 api_operation_done, operation));
}

/* --- Importing ----------------------------------------------------------------------------- */

static int import_check_copies(const struct iomesh_pool *pool, const char *name,
                               const struct iomesh_import_options *options)
{
    const struct api_copies copies = {options->copies, options->copies_min, options->domain,
                                      options->classes};
    if (options->base != NULL &&
        (copies.copies | copies.copies_min | copies.domain | copies.classes) != 0)
        return FAIL(-EINVAL,
                    "%s: an increment has the copies of the volume that it is imported into", name);
    return api_check_copies(pool, name, &copies);
}

int iomesh_import_begin(struct iomesh_pool *pool, const char *name,
                        const struct iomesh_import_options *given, iomesh_volume_opened_fn *opened,
                        void *context)
{
    struct iomesh_import_options options = IOMESH_IMPORT_OPTIONS_INIT;
    struct api_name split;
    int result = api_operation_refuse(pool, name, opened != NULL);
    if (result == 0)
        result = api_options("import", given, &options, sizeof options);
    if (result == 0)
        result = api_name_split(name, true, &split);
    uint32_t unknown = options.flags & ~IOMESH_IMPORT_FORCE;
    if (result == 0 && (unknown != 0 || options.uuid == NULL))
        result = FAIL(-EINVAL, "%s: %s", name,
                      unknown != 0 ? "flags are not known" : "the uuid is missing");
    if (result == 0)
        result = import_check_copies(pool, name, &options);
    if (result != 0)
        return result;
    struct api_operation *operation = api_operation_begin(pool, context);
    if (operation == NULL)
        return -ENOMEM;
    operation->opened = opened;
    operation->import = true;
    struct catalog_import import = {
        .bytes = options.bytes,
        .sector_bytes = options.sector_bytes != 0 ? options.sector_bytes : BLOCK_BYTES,
        .increment = options.base != NULL,
        .force = (options.flags & IOMESH_IMPORT_FORCE) != 0,
        .snapshot = split.snapshot,
        .copies = pool->cluster != NULL ? options.copies : 0,
        .copies_min = pool->cluster != NULL ? options.copies_min : 0,
        .domain = (enum metadata_domain)options.domain,
        .media = options.classes,
    };
    memcpy(import.uuid, options.uuid, sizeof import.uuid);
    if (options.base != NULL)
        memcpy(import.base_uuid, options.base, sizeof import.base_uuid);
    return api_operation_started(operation,
                                 catalog_import_begin(pool->catalog, split.volume, &import,
                                                      api_operation_opened, operation));
}

static void import_ended(void *context, int result)
{
    struct api_operation *operation = context;
    struct iomesh_volume *volume = operation->volume;
    volume->import = result != 0;
    volume->in_flight--;
    api_operation_done(operation, result);
}

int iomesh_import_end(struct iomesh_volume *volume, iomesh_done_fn *done, void *context)
{
    if (done == NULL)
        return FAIL(-EINVAL, "%s: an operation needs a callback", volume->name);
    if (!volume->import)
        return FAIL(-EINVAL, "%s: the handle is not of an import", volume->name);
    if (volume->in_flight > 0)
        return FAIL(-EBUSY, "%s: %u requests are in flight: wait for them", volume->name,
                    volume->in_flight);
    if (volume->remote != NULL)
        return api_remote_import_end(volume, done, context);
    struct api_operation *operation = api_operation_begin(volume->shared->pool, context);
    if (operation == NULL)
        return -ENOMEM;
    operation->done = done;
    operation->volume = volume;
    int result = catalog_import_end(volume->handle, import_ended, operation);
    if (result == 0)
        volume->in_flight++; /* It is not closed meanwhile. */
    return api_operation_started(operation, result);
}

int iomesh_import_abandon(struct iomesh_pool *pool, const char *name, iomesh_progress_fn *progress,
                          iomesh_done_fn *done, void *context)
{
    int result;
    struct api_operation *operation = api_operation_new(pool, name, done, context, &result);
    if (operation == NULL)
        return result;
    operation->progress = progress;
    return api_operation_started(operation,
                                 catalog_import_abandon(pool->catalog, name, api_operation_progress,
                                                        api_operation_done, operation));
}

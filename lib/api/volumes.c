/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/volume.h>: volumes by name, and their handles. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cluster.h"
#include "api/control_client.h"
#include "api/operation.h"
#include "volume/catalog_keep.h"

_Static_assert(IOMESH_DOMAIN_NODE == METADATA_DOMAIN_NODE, "a failure domain");
_Static_assert(IOMESH_DOMAIN_STORE == METADATA_DOMAIN_STORE, "a failure domain");
_Static_assert(IOMESH_DOMAIN_RACK == METADATA_DOMAIN_RACK, "a failure domain");
_Static_assert(IOMESH_DOMAIN_ZONE == METADATA_DOMAIN_ZONE, "a failure domain");
_Static_assert(1u << IOMESH_CLASS_HDD == 1u << METADATA_HDD, "a class");

int api_check_copies(const struct iomesh_pool *pool, const char *name,
                     const struct api_copies *what)
{
    if (what->domain > IOMESH_DOMAIN_ZONE)
        return FAIL(-EINVAL, "%s: domain %u is not known", name, what->domain);
    if (what->classes & ~METADATA_MEDIA_MASK)
        return FAIL(-EINVAL, "%s: classes %#x are not known", name, what->classes);
    if ((pool == NULL || pool->cluster == NULL) && (what->copies > 1 || what->copies_min > 1))
        return FAIL(-ENOTSUP,
                    "%s: an embedded pool has one store, and of each volume one copy: several are "
                    "of a cluster, etcd://…",
                    name);
    return 0;
}

int iomesh_volume_create(struct iomesh_pool *pool, const char *name,
                         const struct iomesh_volume_create_options *given, iomesh_done_fn *done,
                         void *context)
{
    struct iomesh_volume_create_options options = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    int result = api_operation_refuse(pool, name, done != NULL);
    if (result == 0)
        result = api_options("volume create", given, &options, sizeof options);
    if (result == 0 && options.flags != 0)
        result = FAIL(-EINVAL, "%s: flags %#x are not known", name, options.flags);
    const struct api_copies copies = {options.copies, options.copies_min, options.domain,
                                      options.classes};
    if (result == 0)
        result = api_check_copies(pool, name, &copies);
    if (result != 0)
        return result;
    struct api_operation *operation = api_operation_begin(pool, context);
    if (operation == NULL)
        return -ENOMEM;
    operation->done = done;
    struct catalog_create create = {
        .bytes = options.bytes,
        .sector_bytes = options.sector_bytes != 0 ? options.sector_bytes : BLOCK_BYTES,
        .copies = options.copies,
        .copies_min = options.copies_min,
        .domain = (enum metadata_domain)options.domain,
        .media = options.classes,
    };
    if (pool->cluster == NULL)
        create.copies = create.copies_min = 0;
    return api_operation_started(
        operation, catalog_create(pool->catalog, name, &create, api_operation_done, operation));
}

int iomesh_volume_delete(struct iomesh_pool *pool, const char *name, iomesh_done_fn *done,
                         void *context)
{
    int result;
    struct api_operation *operation = api_operation_new(pool, name, done, context, &result);
    if (operation == NULL)
        return result;
    return api_operation_started(
        operation, catalog_delete(pool->catalog, name, api_operation_done, operation));
}

int iomesh_volume_resize(struct iomesh_pool *pool, const char *name, uint64_t bytes, uint32_t flags,
                         iomesh_done_fn *done, void *context)
{
    int result = api_operation_refuse(pool, name, done != NULL);
    if (result == 0 && flags & ~IOMESH_RESIZE_FORCE)
        result = FAIL(-EINVAL, "%s: flags %#x are not known", name, flags);
    if (result != 0)
        return result;
    struct api_operation *operation = api_operation_begin(pool, context);
    if (operation == NULL)
        return -ENOMEM;
    operation->done = done;
    return api_operation_started(operation, catalog_resize(pool->catalog, name, bytes,
                                                           flags & IOMESH_RESIZE_FORCE,
                                                           api_operation_done, operation));
}

/* One meaning for both. */
_Static_assert(CATALOG_INCOMPLETE == IOMESH_VOLUME_INCOMPLETE, "a flag of a volume");
_Static_assert(CATALOG_ROLLING_BACK == IOMESH_VOLUME_ROLLING_BACK, "a flag of a volume");
_Static_assert(CATALOG_FLATTENED == IOMESH_VOLUME_FLATTENED, "a flag of a volume");
_Static_assert(CATALOG_PARENT_DELETED == IOMESH_VOLUME_PARENT_DELETED, "a flag of a volume");
_Static_assert(CATALOG_PARENT_HIDDEN == IOMESH_VOLUME_PARENT_HIDDEN, "a flag of a volume");

/* --- What there is ------------------------------------------------------------------------- */

static void operation_each(void *context, const struct catalog_info *from)
{
    const struct api_operation *operation = context;
    struct iomesh_volume_info info = {
        .size = sizeof info,
        .sector_bytes = from->sector_bytes,
        .id = from->id,
        .bytes = from->bytes,
        .created_ns = from->created_ns,
        .open_count = from->handle_count,
        .flags = from->flags,
        .snapshot_count = from->snapshot_count,
        .copies = from->copies,
        .copies_min = from->copies_min,
    };
    (void)snprintf(info.name, sizeof info.name, "%s", from->name);
    (void)snprintf(info.owner_node, sizeof info.owner_node, "%s", from->owner_node);
    (void)snprintf(info.owner_address, sizeof info.owner_address, "%s", from->owner_address);
    if (from->parent != NULL)
        (void)snprintf(info.parent, sizeof info.parent, "%s", from->parent);
    if (from->parent_snapshot != NULL)
        (void)snprintf(info.parent_snapshot, sizeof info.parent_snapshot, "%s",
                       from->parent_snapshot);
    operation->each(operation->context, &info);
}

int iomesh_volume_list(struct iomesh_pool *pool, const char *after, uint32_t limit,
                       iomesh_volume_info_fn *each, iomesh_done_fn *done, void *context)
{
    int result = api_operation_refuse(pool, "", done != NULL && each != NULL);
    if (result == 0 && (limit == 0 || limit > CATALOG_LIST_MAX))
        result = FAIL(-EINVAL, "a page of volumes has 1 to %u, not %u", CATALOG_LIST_MAX, limit);
    if (result != 0)
        return result;
    struct api_operation *operation = api_operation_begin(pool, context);
    if (operation == NULL)
        return -ENOMEM;
    operation->done = done;
    operation->each = each;
    return api_operation_started(
        operation,
        catalog_list(pool->catalog, after, limit, operation_each, api_operation_done, operation));
}

int iomesh_volume_show(struct iomesh_pool *pool, const char *name, iomesh_volume_info_fn *each,
                       iomesh_done_fn *done, void *context)
{
    int result;
    struct api_operation *operation =
        api_operation_new(pool, name, each != NULL ? done : NULL, context, &result);
    if (operation == NULL)
        return result;
    operation->each = each;
    return api_operation_started(operation, catalog_show(pool->catalog, name, operation_each,
                                                         api_operation_done, operation));
}

/* --- Handles ------------------------------------------------------------------------------- */

/* What the handles on one volume share: found by the volume below, or made. */
static struct api_volume *volume_share(struct iomesh_pool *pool, struct volume *volume)
{
    LIST_EACH (&pool->volumes, node) {
        struct api_volume *shared = LIST_ENTRY(node, struct api_volume, node);
        if (shared->volume == volume) {
            shared->handle_count++;
            return shared;
        }
    }
    struct api_volume *shared = calloc(1, sizeof *shared);
    if (shared == NULL)
        return NULL;
    shared->engine = pool->engine;
    shared->pool = pool;
    shared->volume = volume;
    shared->handle_count = 1;
    shared->stats.size = sizeof shared->stats;
    list_push_back(&pool->volumes, &shared->node);
    return shared;
}

static void volume_unshare(struct api_volume *shared)
{
    if (--shared->handle_count > 0)
        return;
    list_remove(&shared->node);
    free(shared);
}

static void handle_dropped(void *context, int result)
{
    (void)result;
    struct api_operation *operation = context;
    iomesh_volume_opened_fn *opened = operation->opened;
    void *caller = operation->context;
    api_operation_end(operation);
    (void)FAIL(-ENOMEM, "no memory for a handle");
    opened(caller, -ENOMEM, NULL);
}

void api_operation_opened(void *context, int result, struct catalog_handle *handle)
{
    struct api_operation *operation = context;
    struct iomesh_volume *volume = NULL;
    if (result == 0) {
        volume = calloc(1, sizeof *volume);
        if (volume != NULL)
            volume->shared = volume_share(operation->pool, catalog_handle_volume(handle));
        if (volume == NULL || volume->shared == NULL) {
            free(volume);
            catalog_handle_close(handle, handle_dropped, operation);
            return;
        }
        operation->pool->handles++;
        volume->handle = handle;
        volume->name = catalog_handle_name(handle);
        volume->read_only = operation->read_only;
        volume->import = operation->import;
    }
    iomesh_volume_opened_fn *opened = operation->opened;
    void *caller = operation->context;
    api_operation_end(operation);
    opened(caller, result, volume);
}

int iomesh_volume_open(struct iomesh_pool *pool, const char *name,
                       const struct iomesh_volume_options *given, iomesh_volume_opened_fn *opened,
                       void *context)
{
    struct iomesh_volume_options options = IOMESH_VOLUME_OPTIONS_INIT;
    int result = api_operation_refuse(pool, name, opened != NULL);
    if (result == 0)
        result = api_options("volume", given, &options, sizeof options);
    if (result == 0 && options.flags & ~IOMESH_VOLUME_READ_ONLY)
        result = FAIL(-EINVAL, "%s: flags %#x are not known", name, options.flags);
    if (result != 0)
        return result;
    struct api_operation *operation = api_operation_begin(pool, context);
    if (operation == NULL)
        return -ENOMEM;
    operation->opened = opened;
    if (pool->cluster != NULL)
        cluster_opening_begin(operation, name);
    /* What a snapshot shows never changes. */
    operation->read_only = options.flags & IOMESH_VOLUME_READ_ONLY || strchr(name, '@') != NULL;
    return api_operation_started(operation,
                                 catalog_handle_open(pool->catalog, name, operation->read_only,
                                                     api_operation_opened, operation));
}

int iomesh_volume_close(struct iomesh_volume *volume, iomesh_done_fn *done, void *context)
{
    if (done == NULL)
        return FAIL(-EINVAL, "%s: closing needs a callback", volume->name);
    if (volume->in_flight > 0)
        return FAIL(-EBUSY, "%s: %u requests are in flight: wait for them", volume->name,
                    volume->in_flight);
    if (volume->remote != NULL)
        return api_remote_close(volume, done, context);
    struct api_operation *operation = api_operation_begin(volume->shared->pool, context);
    if (operation == NULL)
        return -ENOMEM;
    operation->done = done;
    operation->pool->handles--;
    struct catalog_handle *handle = volume->handle;
    volume_unshare(volume->shared);
    free(volume);
    catalog_handle_close(handle, api_operation_done, operation);
    return 0;
}

uint64_t iomesh_volume_bytes(const struct iomesh_volume *volume)
{
    return volume->remote != NULL ? volume->shared->bytes : volume_bytes(volume->shared->volume);
}

uint32_t iomesh_volume_sector_bytes(const struct iomesh_volume *volume)
{
    return volume->remote != NULL ? volume->shared->sector_bytes
                                  : volume_sector_bytes(volume->shared->volume);
}

const char *iomesh_volume_name(const struct iomesh_volume *volume)
{
    return volume->name;
}

int iomesh_volume_ended(const struct iomesh_volume *volume)
{
    return volume->remote != NULL ? 0 : catalog_handle_ended(volume->handle);
}

int iomesh_volume_is_read_only(const struct iomesh_volume *volume)
{
    return volume->read_only ? 1 : 0;
}

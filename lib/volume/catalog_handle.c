/* SPDX-License-Identifier: Apache-2.0 */
/* Handles: what opening gives out. */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

static struct catalog_handle *handle_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct catalog_handle, op);
}

static void open_end(struct catalog_op *op, int result)
{
    struct catalog_handle *handle = handle_of(op);
    catalog_opened_fn *opened = handle->opened;
    void *context = op->context;
    if (result != 0) {
        free(handle);
        handle = NULL;
    }
    opened(context, result, handle);
}

static void open_opened(struct catalog_op *op, int result)
{
    struct catalog_handle *handle = handle_of(op);
    assert(result == 0);
    handle->volume = op->view != NULL ? op->view : op->slot->open;
    list_push_back(&handle->volume->handles, &handle->node);
    op->catalog->handle_count += handle->keeps ? 0 : 1;
    catalog_op_end(op, 0);
}

static void open_refused(struct catalog_op *op, int result)
{
    const struct catalog_handle *handle = handle_of(op);
    (void)result;
    if (handle->snapshot[0] != '\0')
        FAIL(-EROFS, "\"%s@%s\" is a snapshot: it can be opened for reading only; clone it",
             op->slot->name, handle->snapshot);
    else
        FAIL(-EROFS, "volume \"%s\": the pool is open for reading only", op->slot->name);
    catalog_op_end(op, -EROFS);
}

static void open_begin(struct catalog_op *op, int result)
{
    struct catalog_handle *handle = handle_of(op);
    (void)result;
    if (op->keeps && op->slot->open != NULL && !op->slot->open->record.owner_yields) {
        catalog_op_end(op, FAIL(-EBUSY, "volume \"%s\" is open", op->slot->name));
        return;
    }
    bool owns =
        catalog_is_cluster(op->catalog) && handle->snapshot[0] == '\0'; /* Who reads, too. */
    bool writes = op->writes || owns;
    if (op->catalog->state == CATALOG_CLOSING)
        catalog_op_later(op, -ECANCELED, catalog_op_fail);
    else if (writes && (op->catalog->options.read_only || handle->snapshot[0] != '\0'))
        catalog_op_later(op, 0, open_refused);
    else if (handle->snapshot[0] != '\0')
        catalog_op_open_view(op, handle->snapshot, open_opened);
    else
        catalog_op_open_volume(op, open_opened);
}

/* NAME, or NAME@SNAPSHOT. */
static int open_parse(const char *name, char volume[CATALOG_NAME_BYTES_MAX + 1],
                      char snapshot[CATALOG_NAME_BYTES_MAX + 1])
{
    const char *at = strchr(name, '@');
    size_t length = at != NULL ? (size_t)(at - name) : strlen(name);
    int error = name_check("volume", name, length);
    if (error == 0 && at != NULL)
        error = name_check("snapshot", at + 1, strlen(at + 1));
    if (error != 0)
        return error;
    memcpy(volume, name, length);
    volume[length] = '\0';
    memcpy(snapshot, at != NULL ? at + 1 : "", at != NULL ? strlen(at + 1) + 1 : 1);
    return 0;
}

static struct catalog_handle *handle_new(const char *name, catalog_opened_fn *opened, void *context)
{
    struct catalog_handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL) {
        FAIL(-ENOMEM, "opening volume \"%s\": no memory", name);
        return NULL;
    }
    handle->opened = opened;
    handle->op.context = context;
    return handle;
}

static int handle_start(struct catalog_handle *handle, struct catalog *catalog, const char *name)
{
    int error = catalog_op_start(&handle->op, catalog, name, open_begin, open_end);
    if (error != 0)
        free(handle);
    return error;
}

static int handle_open(struct catalog *catalog, const char *name, bool read_only, bool force,
                       catalog_opened_fn *opened, void *context)
{
    char volume[CATALOG_NAME_BYTES_MAX + 1];
    char snapshot[CATALOG_NAME_BYTES_MAX + 1];
    int error = open_parse(name, volume, snapshot);
    if (error == 0)
        error = catalog_may_start(catalog, volume, false);
    if (error != 0)
        return error;
    struct catalog_handle *handle = handle_new(name, opened, context);
    if (handle == NULL)
        return -ENOMEM;
    handle->read_only = read_only;
    handle->op.writes = !read_only;
    handle->op.force = force;
    memcpy(handle->snapshot, snapshot, sizeof snapshot);
    return handle_start(handle, catalog, volume);
}

int catalog_handle_open(struct catalog *catalog, const char *name, bool read_only,
                        catalog_opened_fn *opened, void *context)
{
    return handle_open(catalog, name, read_only, false, opened, context);
}

int catalog_handle_open_force(struct catalog *catalog, const char *name, catalog_opened_fn *opened,
                              void *context)
{
    return handle_open(catalog, name, false, true, opened, context);
}

int catalog_handle_keep(struct catalog *catalog, uint64_t volume, const char *name,
                        catalog_opened_fn *opened, void *context)
{
    char slot[CATALOG_NAME_BYTES_MAX + 1];
    int error = catalog_may_start(catalog, name, false);
    if (error != 0)
        return error;
    if (name != NULL)
        memcpy(slot, name, strlen(name) + 1);
    else
        catalog_nameless(volume, slot);
    struct catalog_handle *handle = handle_new(slot, opened, context);
    if (handle == NULL)
        return -ENOMEM;
    handle->op.writes = true;
    handle->op.keeps = handle->keeps = true;
    handle->op.nameless = name == NULL ? volume : 0;
    return handle_start(handle, catalog, slot);
}

static void close_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(handle_of(op));
    done(context, result);
}

static void close_closed(struct catalog_op *op, int result)
{
    if (result != 0)
        catalog_op_fail(op, result);
    else
        catalog_op_end(op, 0);
}

static void close_begin(struct catalog_op *op, int result)
{
    struct catalog_handle *handle = handle_of(op);
    (void)result;
    list_remove(&handle->node);
    op->catalog->handle_count -= handle->inner || handle->keeps ? 0 : 1;
    if (handle->volume->view == VIEW_HEAD || handle->volume->owned != NULL) {
        catalog_op_close(op, handle->volume, close_closed);
        return;
    }
    if (list_empty(&handle->volume->handles)) {
        volume_close(handle->volume->volume);
        catalog_volume_free(handle->volume);
    }
    catalog_op_later(op, 0, close_closed);
}

void catalog_handle_close(struct catalog_handle *handle, catalog_done_fn *done, void *context)
{
    struct catalog *catalog = handle->op.catalog;
    const char *name = handle->volume->slot->name;
    handle->op = (struct catalog_op){.done = done, .context = context, .keeps = handle->keeps};
    int error = catalog_op_start(&handle->op, catalog, name, close_begin, close_end);
    assert(error == 0); /* The name has a slot. */
    (void)error;
}

struct volume *catalog_handle_volume(const struct catalog_handle *handle)
{
    return handle->volume->volume;
}

bool catalog_handle_read_only(const struct catalog_handle *handle)
{
    return handle->read_only;
}

const char *catalog_handle_name(const struct catalog_handle *handle)
{
    return handle->volume->shown_name;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What may be asked for on the control socket, done with the calls that a program would make. */
#include <stdlib.h>
#include <string.h>

#include "api/control.h"

static void work_end(struct control_session *session, int result)
{
    session->control->operations--;
    control_answer(session, session->response.result < 0 ? session->response.result : result);
}

static void work_done(void *context, int result)
{
    work_end(context, result);
}

static void work_each(void *context, const struct iomesh_volume_info *info)
{
    struct control_session *session = context;
    int result = control_response_add(&session->response, info);
    if (result != 0)
        session->response.result = result;
}

static void work_each_snapshot(void *context, const struct iomesh_snapshot_info *info)
{
    struct control_session *session = context;
    int result = control_response_add_snapshot(&session->response, info);
    if (result != 0)
        session->response.result = result;
}

static void work_each_group(void *context, const struct iomesh_group_info *info)
{
    struct control_session *session = context;
    int result = control_response_add_group(&session->response, info);
    if (result != 0)
        session->response.result = result;
}

static void work_progress(void *context, uint64_t done, uint64_t total)
{
    control_progress(context, done, total);
}

bool control_takes_long(uint32_t kind)
{
    return kind == CONTROL_SNAPSHOT_ROLLBACK || kind == CONTROL_VOLUME_FLATTEN ||
           kind == CONTROL_IMPORT_ABANDON;
}

static int work_create(struct control_session *session)
{
    const struct control_request *request = &session->request;
    struct iomesh_volume_create_options options = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    options.bytes = request->bytes;
    options.sector_bytes = request->sector_bytes;
    options.flags = request->flags;
    return iomesh_volume_create(session->control->pool, request->name, &options, work_done,
                                session);
}

static int work_list(struct control_session *session)
{
    const struct control_request *request = &session->request;
    uint32_t limit = request->limit == 0 || request->limit > CONTROL_LIST_MAX ? CONTROL_LIST_MAX
                                                                              : request->limit;
    return iomesh_volume_list(session->control->pool, request->name, limit, work_each, work_done,
                              session);
}

static int work_unknown(const struct control_request *request)
{
    if (control_is_io(request->kind))
        return FAIL(-EBADF, "the connection has no volume open");
    return FAIL(-ENOTSUP,
                "the owner of the pool does not know request %u: use programs of one release",
                request->kind);
}

static int work_start_snapshots(struct control_session *session)
{
    const struct control_request *request = &session->request;
    const char *name = request->name;
    struct iomesh_pool *pool = session->control->pool;
    switch (request->kind) {
    case CONTROL_SNAPSHOT_CREATE: return iomesh_snapshot_create(pool, name, work_done, session);
    case CONTROL_SNAPSHOT_DELETE: return iomesh_snapshot_delete(pool, name, work_done, session);
    case CONTROL_SNAPSHOT_ROLLBACK:
        return iomesh_snapshot_rollback(pool, name, request->flags, work_progress, work_done,
                                        session);
    case CONTROL_SNAPSHOT_LIST:
        return iomesh_snapshot_list(pool, name, request->flags, work_each_snapshot, work_done,
                                    session);
    case CONTROL_SNAPSHOT_SHOW:
        return iomesh_snapshot_show(pool, name, request->flags, work_each_snapshot, work_done,
                                    session);
    case CONTROL_GROUP_CREATE:
        return iomesh_group_create(pool, name, request->names, request->name_count, work_done,
                                   session);
    case CONTROL_GROUP_DELETE: return iomesh_group_delete(pool, name, work_done, session);
    case CONTROL_GROUP_LIST: return iomesh_group_list(pool, work_each_group, work_done, session);
    case CONTROL_VOLUME_CLONE:
        return iomesh_volume_clone(pool, name, request->target, work_done, session);
    case CONTROL_VOLUME_FLATTEN:
        return iomesh_volume_flatten(pool, name, work_progress, work_done, session);
    case CONTROL_IMPORT_ABANDON:
        return iomesh_import_abandon(pool, name, work_progress, work_done, session);
    default: return work_unknown(request);
    }
}

/* What takes time: 0, and work_done() runs; or a negative code at once. */
static int work_start(struct control_session *session)
{
    const struct control_request *request = &session->request;
    struct iomesh_pool *pool = session->control->pool;
    switch (request->kind) {
    case CONTROL_VOLUME_CREATE: return work_create(session);
    case CONTROL_VOLUME_DELETE:
        return iomesh_volume_delete(pool, request->name, work_done, session);
    case CONTROL_VOLUME_RESIZE:
        return iomesh_volume_resize(pool, request->name, request->bytes, request->flags, work_done,
                                    session);
    case CONTROL_VOLUME_LIST: return work_list(session);
    case CONTROL_VOLUME_SHOW:
        return iomesh_volume_show(pool, request->name, work_each, work_done, session);
    case CONTROL_VOLUME_ATTACH:
    case CONTROL_VOLUME_DETACH: return FAIL(-ENOTSUP, "attaching volumes is not built yet");
    default: return work_start_snapshots(session);
    }
}

static int work_device(struct control_session *session)
{
    struct control_response *response = &session->response;
    response->device.size = sizeof response->device;
    int result =
        iomesh_pool_device(session->control->pool, session->request.index, &response->device);
    if (result != 0)
        return result;
    response->device_path = strdup(response->device.path);
    response->has_device = response->device_path != NULL;
    return response->has_device ? 0 : FAIL(-ENOMEM, "no memory");
}

static int work_status(struct control_session *session)
{
    session->response.status.size = sizeof session->response.status;
    session->response.has_status = true;
    return iomesh_pool_status(session->control->pool, &session->response.status);
}

void control_work(struct control_session *session)
{
    struct iomesh_pool *pool = session->control->pool;
    switch (session->request.kind) {
    case CONTROL_STATUS: control_answer(session, work_status(session)); return;
    case CONTROL_DEVICE: control_answer(session, work_device(session)); return;
    case CONTROL_SCRUB_START:
        control_answer(session, iomesh_scrub_start(pool, session->request.bytes));
        return;
    case CONTROL_SCRUB_STOP:
        iomesh_scrub_stop(pool);
        control_answer(session, 0);
        return;
    case CONTROL_OPEN:
    case CONTROL_IMPORT_BEGIN: control_io_open(session, pool); return;
    case CONTROL_IMPORT_END:
    case CONTROL_CLOSE: control_io_handle(session); return;
    default: break;
    }
    session->control->operations++;
    int result = work_start(session);
    if (result != 0)
        work_end(session, result);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A handle on a volume of a pool that another process owns: its I/O, through the control socket. */
#include <stdlib.h>
#include <string.h>

#include "api/control_client.h"
#include "api/operation.h"

_Static_assert(VOLUME_FUA == IOMESH_FUA, "one meaning");
_Static_assert(VOLUME_NO_HOLE == IOMESH_NO_HOLE, "one meaning");

/* Of one request under way at once. */
#define REMOTE_PIECES 4u

struct control_volume {
    struct iomesh_control *control;
    uint32_t number;
    struct iomesh_volume handle;
    struct api_volume shared;
    /* Of closing, once the connection is gone. */
    struct timer end;
    iomesh_done_fn *done;
    void *context;
    char name[CONTROL_NAME_BYTES_MAX + 1];
};

struct remote_io;

struct remote_piece {
    struct control_call call;
    struct remote_io *io; /* NULL: it is free. */
};

/* A request of the program. */
struct remote_io {
    struct iomesh_volume *volume;
    struct volume_io with;
    iomesh_done_fn *done;
    iomesh_extents_fn *extents_done;
    void *context;
    uint64_t start_ns;
    uint64_t asked; /* Bytes of it. */
    uint32_t under_way;
    int result;
    struct remote_piece pieces[REMOTE_PIECES];
};

static uint32_t remote_kind(const struct volume_io *with)
{
    static const uint32_t kinds[] = {
        [VOLUME_READ] = CONTROL_READ,       [VOLUME_WRITE] = CONTROL_WRITE,
        [VOLUME_FLUSH] = CONTROL_FLUSH,     [VOLUME_DISCARD] = CONTROL_DISCARD,
        [VOLUME_ZERO] = CONTROL_ZEROES,     [VOLUME_MAP] = CONTROL_BLOCK_STATUS,
        [VOLUME_CHANGED] = CONTROL_CHANGED,
    };
    return kinds[with->kind];
}

/* --- I/O ----------------------------------------------------------------------------------- */

static void remote_io_end(struct remote_io *io)
{
    struct iomesh_volume *volume = io->volume;
    struct iomesh_control *control = volume->remote->control;
    struct iomesh_engine *engine = control->engine;
    uint64_t took_ns = clock_now_ns(engine->world.clock) - io->start_ns;
    api_io_count(&volume->shared->stats, &io->with, io->result, took_ns);
    iomesh_done_fn *done = io->done;
    iomesh_extents_fn *extents_done = io->extents_done;
    void *context = io->context;
    int result = io->result;
    uint32_t extent_count = result == 0 ? io->with.extent_count : 0;
    volume->in_flight--;
    control->request_count--;
    engine_count(engine->engine);
    free(io);
    if (extents_done != NULL)
        extents_done(context, result, extent_count);
    else
        done(context, result);
}

/* They are of the range, from its beginning on. */
static int remote_take_extents(struct remote_io *io, const struct control_response *response)
{
    uint64_t left = io->with.length;
    if (response->extent_count == 0 || response->extent_count > io->with.extent_max)
        return -EPROTO;
    for (uint32_t i = 0; i < response->extent_count; i++) {
        const struct iomesh_extent *extent = &response->extents[i];
        if (extent->bytes == 0 || extent->bytes > left)
            return -EPROTO;
        left -= extent->bytes;
        io->with.extents[i] =
            (struct volume_extent){.bytes = extent->bytes, .flags = extent->flags};
    }
    io->with.extent_count = response->extent_count;
    return 0;
}

static void remote_go_on(struct remote_io *io);

static void remote_piece_done(struct control_call *call, int result,
                              struct control_response *response)
{
    struct remote_piece *piece = CONTAINER_OF(call, struct remote_piece, call);
    struct remote_io *io = piece->io;
    piece->io = NULL;
    io->under_way--;
    result = control_call_result(result, response);
    if (result == 0 && response->payload != call->data_bytes)
        result = -EPROTO;
    if (result == 0 && io->extents_done != NULL)
        result = remote_take_extents(io, response);
    if (io->result == 0)
        io->result = result;
    remote_go_on(io);
}

static int remote_ask(struct remote_io *io, struct remote_piece *piece)
{
    const struct volume_io *with = &io->with;
    bool moves = with->kind == VOLUME_READ || with->kind == VOLUME_WRITE;
    uint64_t length =
        moves ? MIN(with->length - io->asked, CONTROL_PAYLOAD_BYTES_MAX) : with->length;
    struct control_request request = {
        .kind = remote_kind(with),
        .handle = io->volume->remote->number,
        .offset = with->offset + io->asked,
        .length = length,
        .flags = with->flags,
        .since = with->since,
        .limit = with->extent_max,
        .payload = with->kind == VOLUME_WRITE ? (uint32_t)length : 0,
    };
    uint8_t *data = moves ? (uint8_t *)with->data + io->asked : NULL;
    piece->io = io;
    piece->call = (struct control_call){.done = remote_piece_done};
    if (with->kind == VOLUME_READ) {
        piece->call.data = data;
        piece->call.data_bytes = (uint32_t)length;
    }
    int result = control_call_start(io->volume->remote->control, &piece->call, &request, data);
    if (result != 0) {
        piece->io = NULL;
        return result;
    }
    io->under_way++;
    io->asked += length;
    return 0;
}

/* Asks for more of it, or ends it. */
static void remote_go_on(struct remote_io *io)
{
    for (unsigned i = 0; i < REMOTE_PIECES && io->result == 0 && io->asked < io->with.length; i++) {
        if (io->pieces[i].io == NULL)
            io->result = remote_ask(io, &io->pieces[i]);
    }
    if (io->under_way == 0)
        remote_io_end(io);
}

int api_remote_submit(struct iomesh_volume *volume, const struct volume_io *with,
                      iomesh_done_fn *done, iomesh_extents_fn *extents_done, void *context)
{
    struct iomesh_control *control = volume->remote->control;
    if (control->request_count == CONTROL_REQUESTS_MAX)
        return -EAGAIN;
    struct remote_io *io = calloc(1, sizeof *io);
    if (io == NULL)
        return FAIL(-ENOMEM, "%s: no memory for a request", volume->name);
    io->volume = volume;
    io->with = *with;
    io->done = done;
    io->extents_done = extents_done;
    io->context = context;
    io->start_ns = clock_now_ns(control->engine->world.clock);
    int result = remote_ask(io, &io->pieces[0]);
    if (result != 0) {
        free(io);
        return result;
    }
    struct iomesh_volume_stats *stats = &volume->shared->stats;
    stats->in_flight++;
    stats->in_flight_max = MAX(stats->in_flight_max, stats->in_flight);
    volume->in_flight++;
    control->request_count++;
    for (unsigned i = 1; i < REMOTE_PIECES && io->result == 0 && io->asked < with->length; i++)
        io->result = remote_ask(io, &io->pieces[i]);
    return 0;
}

/* --- Handles ------------------------------------------------------------------------------- */

/* Something else that is asked about one. */
struct remote_request {
    struct control_call call;
    struct iomesh_volume *volume;
    iomesh_done_fn *done;
    void *context;
};

static void remote_free(struct control_volume *remote)
{
    struct iomesh_control *control = remote->control;
    control->volume_count--;
    free(remote);
    control_client_release(control);
}

static int remote_request(struct iomesh_volume *volume, uint32_t kind,
                          void (*ended)(struct control_call *, int, struct control_response *),
                          iomesh_done_fn *done, void *context)
{
    struct remote_request *request = calloc(1, sizeof *request);
    if (request == NULL)
        return FAIL(-ENOMEM, "%s: no memory for a request", volume->name);
    struct control_request asked = {.kind = kind, .handle = volume->remote->number};
    request->call.done = ended;
    request->volume = volume;
    request->done = done;
    request->context = context;
    int result = control_call_start(volume->remote->control, &request->call, &asked, NULL);
    if (result != 0)
        free(request);
    return result;
}

static void remote_import_ended(struct control_call *call, int result,
                                struct control_response *response)
{
    struct remote_request *request = CONTAINER_OF(call, struct remote_request, call);
    iomesh_done_fn *done = request->done;
    void *context = request->context;
    result = control_call_result(result, response);
    request->volume->import = result != 0;
    request->volume->in_flight--;
    engine_count(call->control->engine->engine);
    free(request);
    done(context, result);
}

int api_remote_import_end(struct iomesh_volume *volume, iomesh_done_fn *done, void *context)
{
    int result = remote_request(volume, CONTROL_IMPORT_END, remote_import_ended, done, context);
    if (result == 0)
        volume->in_flight++;
    return result;
}

static void remote_closed(struct control_call *call, int result, struct control_response *response)
{
    struct remote_request *request = CONTAINER_OF(call, struct remote_request, call);
    iomesh_done_fn *done = request->done;
    void *context = request->context;
    /* An owner that is gone has closed it too. */
    result = response == NULL ? 0 : control_call_result(result, response);
    engine_count(call->control->engine->engine);
    remote_free(request->volume->remote);
    free(request);
    done(context, result);
}

/* The connection ended before. */
static void remote_gone(struct timer *timer)
{
    struct control_volume *remote = CONTAINER_OF(timer, struct control_volume, end);
    iomesh_done_fn *done = remote->done;
    void *context = remote->context;
    remote_free(remote);
    done(context, 0);
}

int api_remote_close(struct iomesh_volume *volume, iomesh_done_fn *done, void *context)
{
    struct control_volume *remote = volume->remote;
    int result = remote_request(volume, CONTROL_CLOSE, remote_closed, done, context);
    if (result != -ENOTCONN)
        return result;
    remote->done = done;
    remote->context = context;
    remote->end.fire = remote_gone;
    clock_set_after(remote->control->engine->world.clock, &remote->end, 0);
    return 0;
}

/* --- Opening ------------------------------------------------------------------------------- */

static int remote_open(struct iomesh_control *control, struct control_request *request,
                       struct iomesh_volume **ret_volume)
{
    struct control_volume *remote = calloc(1, sizeof *remote);
    if (remote == NULL)
        return FAIL(-ENOMEM, "%s: no memory for a handle", request->name);
    int result = control_ask(control, request, NULL);
    const struct control_response *answer = &control->answer;
    if (result == 0 && (answer->volume_count != 1 || answer->handle == 0))
        result = FAIL(-EPROTO, "the owner of the pool left out the answer");
    if (result != 0) {
        free(remote);
        return result;
    }
    memcpy(remote->name, request->name, sizeof remote->name);
    remote->control = control;
    remote->number = answer->handle;
    remote->shared = (struct api_volume){
        .engine = control->engine,
        .bytes = answer->volumes[0].bytes,
        .sector_bytes = answer->volumes[0].sector_bytes,
        .handle_count = 1,
        .stats = {.size = sizeof remote->shared.stats},
    };
    remote->handle = (struct iomesh_volume){
        .shared = &remote->shared,
        .remote = remote,
        .name = remote->name,
        .read_only = answer->read_only,
        .import = request->kind == CONTROL_IMPORT_BEGIN,
    };
    control->volume_count++;
    *ret_volume = &remote->handle;
    return 0;
}

int iomesh_control_volume_open(struct iomesh_control *control, const char *name,
                               const struct iomesh_volume_options *given,
                               struct iomesh_volume **ret_volume)
{
    struct iomesh_volume_options options = IOMESH_VOLUME_OPTIONS_INIT;
    struct control_request request = {.kind = CONTROL_OPEN};
    int result = api_options("volume", given, &options, sizeof options);
    if (result == 0)
        result = control_named(name, true, &request);
    request.flags = options.flags;
    return result != 0 ? result : remote_open(control, &request, ret_volume);
}

int iomesh_control_import_begin(struct iomesh_control *control, const char *name,
                                const struct iomesh_import_options *given,
                                struct iomesh_volume **ret_volume)
{
    struct iomesh_import_options options = IOMESH_IMPORT_OPTIONS_INIT;
    struct control_request request = {.kind = CONTROL_IMPORT_BEGIN};
    int result = api_options("import", given, &options, sizeof options);
    const struct api_copies copies = {options.copies, options.copies_min, options.domain,
                                      options.classes};
    if (result == 0)
        result = api_check_copies(NULL, name, &copies);
    if (result == 0)
        result = control_named(name, true, &request);
    if (result != 0)
        return result;
    request.bytes = options.bytes;
    request.sector_bytes = options.sector_bytes;
    request.flags = options.flags;
    request.has_uuid = options.uuid != NULL;
    request.has_base = options.base != NULL;
    if (request.has_uuid)
        memcpy(request.uuid, options.uuid, sizeof request.uuid);
    if (request.has_base)
        memcpy(request.base, options.base, sizeof request.base);
    return remote_open(control, &request, ret_volume);
}

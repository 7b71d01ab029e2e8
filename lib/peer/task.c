/* SPDX-License-Identifier: Apache-2.0 */
/* Who is asked: a request on its way in, its memory, and its end. */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/pointer.h"
#include "peer/server.h"

/* A message that is no longer finds room in the task's own memory. */
#define MESSAGE_BYTES_SMALL 1024u
/* The memory of a VIEW_SPACE is taken by the length of its message. */
#define TASK_SLACK_BYTES (128u << 10)

/* --- Memory -------------------------------------------------------------------------------- */

static uint64_t data_needed(const struct wire_header *header)
{
    switch (header->type) {
    case WIRE_WRITE:
    case WIRE_RESYNC:
    case WIRE_REPAIR:
    case WIRE_RECORDS:
    case WIRE_READ: return (uint64_t)header->count * BLOCK_BYTES;
    case WIRE_RECORD: return header->data_bytes;
    case WIRE_VIEW_SPACE: /* A cut of 8 bytes is answered with 24. */
        return header->aside_bytes == 0 ? 0 : 3ull * header->aside_bytes + WIRE_SPACE_BYTES;
    default: return 0;
    }
}

static uint64_t more_needed(const struct wire_header *header)
{
    if (wire_is_control(header->type))
        return header->aside_bytes > MESSAGE_BYTES_SMALL ? WIRE_CONTROL_MEMORY_BYTES : 0;
    return header->cut_count > TASK_CUTS_MAX ? header->cut_count * 8u : 0;
}

/* Whether there was any. */
static bool task_put(struct task *task)
{
    struct peer_buffers *buffers = task->connection->server->options.buffers;
    bool held = task->data != NULL || task->more != NULL;
    if (task->data != NULL)
        buffers->put(buffers, task->data);
    if (task->more != NULL)
        buffers->put(buffers, task->more);
    task->data = NULL;
    task->more = NULL;
    task->connection->bytes -= task->bytes;
    task->bytes = 0;
    return held;
}

/* All or nothing. What is given back here again helps nobody who waits. */
static bool task_get(struct task *task, uint64_t data_bytes, uint64_t more_bytes)
{
    struct peer_buffers *buffers = task->connection->server->options.buffers;
    task->bytes = data_bytes;
    task->connection->bytes += task->bytes;
    if (data_bytes > 0)
        task->data = buffers->get(buffers, data_bytes);
    if (more_bytes > 0)
        task->more = buffers->get(buffers, more_bytes);
    if ((data_bytes == 0 || task->data != NULL) && (more_bytes == 0 || task->more != NULL))
        return true;
    (void)task_put(task);
    return false;
}

void task_free(struct task *task)
{
    struct connection *connection = task->connection;
    struct peer_server *server = connection->server;
    assert(task->state != TASK_FREE);
    if (task_put(task) && !list_empty(&server->hungry) && !server->feed.set)
        clock_set_after(server->options.clock, &server->feed, 0);
    task->state = TASK_FREE;
    list_push_front(&connection->free, &task->node);
    connection->busy--;
    if (connection->state == CONNECTION_ENDING)
        connection_check(connection);
    else
        link_go_on(&connection->link);
}

int task_open(struct connection *connection)
{
    uint32_t count = connection->server->options.requests_max;
    connection->tasks = calloc(count, sizeof *connection->tasks);
    if (connection->tasks == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        connection->tasks[i].connection = connection;
        list_push_back(&connection->free, &connection->tasks[i].node);
    }
    return 0;
}

void task_end_all(struct connection *connection)
{
    if (connection->tasks == NULL)
        return;
    for (uint32_t i = 0; i < connection->server->options.requests_max; i++) {
        struct task *task = &connection->tasks[i];
        if (task->state != TASK_STORE)
            continue;
        if (MUTANT(306))
            (void)task_put(task);
        part_cancel(&task->request);
    }
}

/* --- What a request says ------------------------------------------------------------------- */

static void request_of_header(struct part_request *request, const struct wire_header *header)
{
    bool changed = header->type == WIRE_CHANGED;
    bool since = changed || header->type == WIRE_ROLE;
    bool view = wire_has_view(header->type);
    *request = (struct part_request){
        .kind = (enum part_request_kind)header->type,
        .group = header->group,
        .volume = header->volume,
        .epoch = header->epoch,
        .generation = header->generation,
        .count = header->count,
        .watermark = header->watermark,
        .settled = view ? 0 : header->view,
        .view = view ? header->view : 0,
        .block = header->block,
        .last = changed ? header->cut : 0,
        .since = since ? header->sequence : 0,
        .sequence = since ? 0 : header->sequence,
        .cut = changed ? 0 : header->cut,
        .views = header->flags & WIRE_VIEWS_MAY,
        .parent = header->flags & WIRE_PARENT,
        .fua = header->flags & WIRE_FUA,
        .settle = header->flags & WIRE_SETTLE,
    };
}

static int take_message(struct task *task, const struct wire_header *header, const uint8_t *aside)
{
    struct part_request *request = &task->request;
    struct wire_control control;
    void *memory = task->more != NULL ? task->more : task->aside;
    uint32_t bytes = task->more != NULL ? WIRE_CONTROL_MEMORY_BYTES : (uint32_t)sizeof task->aside;
    int result = wire_control_get(aside, header->aside_bytes, memory, bytes, &control);
    if (result != 0)
        return result;
    request->role = (uint8_t)control.role;
    request->runs = (const struct part_run *)(const void *)control.runs;
    request->run_count = control.run_count;
    request->cuts = control.cuts;
    request->cut_count = control.cut_count;
    request->key = control.key;
    request->bytes = header->data_bytes;
    task->data_crc = control.data_crc;
    return request->kind == PART_RECORD && request->key == NULL ? -EPROTO : 0;
}

static int take_versions(struct task *task, const struct wire_header *header, const uint8_t *aside)
{
    struct part_request *request = &task->request;
    struct wire_version *versions = (struct wire_version *)(void *)task->aside;
    uint64_t *cuts = task->more != NULL ? task->more : task->aside + 2 * (size_t)header->count;
    int result = wire_versions_get(aside, header->count, versions);
    if (result == 0)
        result = wire_cuts_get(aside + (size_t)header->count * WIRE_VERSION_BYTES,
                               header->cut_count, cuts);
    if (result != 0)
        return result;
    uint32_t raw = 0;
    for (uint32_t i = 0; i < header->count; i++)
        raw += versions[i].kind == POINTER_RAW;
    request->versions = (struct part_version *)(void *)versions;
    request->cuts = cuts;
    request->cut_count = header->cut_count;
    return header->data_bytes == raw * BLOCK_BYTES ? 0 : -EPROTO;
}

/* Where the store finds what it asks for, and where it puts its answers. */
static int task_take(struct task *task, const struct wire_header *header, const uint8_t *aside)
{
    struct part_request *request = &task->request;
    uint8_t *answers = (uint8_t *)task->aside;
    int result = wire_request_check(header);
    if (result != 0)
        return result;
    request->data = task->data;
    switch (request->kind) {
    case PART_WRITE:
        request->crcs = (uint32_t *)(void *)task->aside;
        wire_crcs_get(aside, header->count, request->crcs);
        return 0;
    case PART_RESYNC:
    case PART_REPAIR: return take_versions(task, header, aside);
    case PART_READ:
        if (header->flags & WIRE_WITH_VERSIONS) {
            request->versions = (struct part_version *)(void *)answers;
            answers += (size_t)header->count * WIRE_VERSION_BYTES;
        }
        request->crcs = (uint32_t *)(void *)answers;
        return 0;
    case PART_MAP:
    case PART_CHANGED: request->versions = (struct part_version *)(void *)answers; return 0;
    default: return wire_is_control(header->type) ? take_message(task, header, aside) : 0;
    }
}

/* --- Its data ------------------------------------------------------------------------------ */

/* They came without gaps: to their places, the last first. */
static void data_spread(struct task *task)
{
    const struct part_request *request = &task->request;
    uint32_t from = task->header.data_bytes / BLOCK_BYTES;
    for (uint32_t i = request->count; i > 0 && from < i; i--) {
        if (request->versions[i - 1].kind != POINTER_RAW)
            continue;
        from--;
        memmove(task->data + (size_t)(i - 1) * BLOCK_BYTES, task->data + (size_t)from * BLOCK_BYTES,
                BLOCK_BYTES);
    }
}

static int data_check(struct task *task)
{
    const struct part_request *request = &task->request;
    bool versions = request->kind == PART_RESYNC || request->kind == PART_REPAIR;
    if (request->kind == PART_RECORD)
        return crc32c(task->data, request->bytes) == task->data_crc ? 0 : IOMESH_CORRUPT;
    if (versions && !MUTANT(307))
        data_spread(task);
    for (uint32_t i = 0; i < request->count; i++) {
        if (versions && request->versions[i].kind != POINTER_RAW)
            continue;
        uint32_t crc = versions ? request->versions[i].crc : request->crcs[i];
        if (crc32c(task->data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES) != crc && !MUTANT(308))
            return IOMESH_CORRUPT;
    }
    return 0;
}

/* --- The way ------------------------------------------------------------------------------- */

static void task_done(struct part_request *request, int result)
{
    task_reply(CONTAINER_OF(request, struct task, request), result);
}

static void task_submit_part(struct task *task)
{
    if (task->refused != 0) {
        task_reply(task, task->refused);
        return;
    }
    task->state = TASK_STORE;
    task->request.done = task_done;
    part_submit(task->connection->served->port, &task->request);
}

static int task_hold(struct connection *connection, bool hungry)
{
    struct peer_server *server = connection->server;
    server->counts.waits++;
    if (hungry && list_empty(&connection->hungry)) {
        list_push_back(&server->hungry, &connection->hungry);
        server_starve(server);
    }
    return LINK_HOLD;
}

static int task_start(struct connection *connection, const struct wire_header *header,
                      const uint8_t *aside)
{
    struct task *task = LIST_ENTRY(connection->free.next, struct task, node);
    uint64_t data_bytes = data_needed(header), more_bytes = more_needed(header);
    /* Who keeps to the window is not held here: what is not data does not count, but for a few. */
    if (connection->bytes > 0 &&
        connection->bytes + data_bytes > connection->server->options.bytes_max + TASK_SLACK_BYTES)
        return task_hold(connection, false);
    if (!task_get(task, data_bytes, more_bytes))
        return task_hold(connection, true);
    list_remove(&task->node);
    connection->busy++;
    connection->server->counts.requests++;
    connection->number_last = header->number;
    task->state = TASK_RECEIVING;
    task->header = *header;
    request_of_header(&task->request, header);
    task->refused = task_take(task, header, aside);
    if (header->data_bytes == 0) {
        task_submit_part(task);
        return 0;
    }
    connection->receiving = task;
    connection->link.target = task->refused == 0 ? task->data : NULL;
    return 0;
}

/* Who does not know whose the store is. */
static bool only_looks(uint8_t type)
{
    return type == WIRE_STATE || type == WIRE_CHANGED || type == WIRE_RECORDS;
}

int task_frame(struct connection *connection, const struct wire_header *header,
               const uint8_t *aside)
{
    if (header->type < WIRE_FENCE || header->type > WIRE_REQUEST_LAST)
        return -EPROTO;
    if (connection->looks && !only_looks(header->type))
        return -EPROTO;
    connection->receiving = NULL;
    if (header->session != connection->session && !MUTANT(309)) {
        connection->server->counts.strays++;
        return 0;
    }
    if (header->number <= connection->number_last && !MUTANT(309))
        return -EPROTO;
    if (list_empty(&connection->free) || connection->server->draining)
        return task_hold(connection, false);
    return task_start(connection, header, aside);
}

int task_data(struct connection *connection)
{
    struct task *task = connection->receiving;
    connection->receiving = NULL;
    if (task == NULL)
        return 0;
    if (task->refused == 0)
        task->refused = data_check(task);
    task_submit_part(task);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Who is asked: what the store said goes back. */
#include <string.h>

#include "codec/codec.h"
#include "peer/server.h"

static void reply_sent(void *context, int result)
{
    struct task *task = context;
    struct connection *connection = task->connection;
    connection->sending--;
    connection->sent_ns = clock_now_ns(connection->server->options.clock);
    if (result != 0)
        connection_end(connection);
    task_free(task);
}

static bool reply_has_state(const struct part_request *request, int result)
{
    switch (request->kind) {
    case PART_FENCE:
    case PART_ROLE:
    case PART_STATE:
    case PART_FLUSH: return true;
    default: return result == IOMESH_FENCED || result == IOMESH_CONFLICT;
    }
}

static void reply_state(uint8_t *to, const struct part_state *state)
{
    struct wire_state wire = {
        .epoch = state->epoch,
        .watermark = state->watermark,
        .heard = state->heard,
        .flushed = state->flushed,
        .settled = state->settled,
        .generation = state->generation,
        .role_generation = state->role_generation,
        .aside = state->aside,
        .role = state->role,
        .restarted = state->restarted,
    };
    wire_state_put(to, &wire);
}

/* Whose blocks are bad, their memory has what was there before: not for everybody's eyes. */
static void reply_blank_bad(struct task *task)
{
    for (uint32_t i = 0; i < task->request.count; i++)
        if (task->request.bad[i / 8] >> i % 8 & 1)
            memset(task->data + (size_t)i * BLOCK_BYTES, 0, BLOCK_BYTES);
}

static void reply_space(struct task *task)
{
    uint8_t *to = task->data;
    for (uint32_t i = 0; i < task->request.cut_count; i++, to += WIRE_SPACE_BYTES) {
        struct part_view_space space;
        memcpy(&space, to, sizeof space);
        put64(to, space.cut);
        put64(to + 8, space.unique_blocks);
        put64(to + 16, space.shared_blocks);
    }
}

/* Versions and sums of an answer that has them, in place. Returns behind them. */
static uint8_t *reply_content(struct task *task, int result, struct wire_header *header)
{
    const struct part_request *request = &task->request;
    uint8_t *at = (uint8_t *)task->aside;
    bool versions =
        request->versions != NULL &&
        (request->kind == PART_READ || request->kind == PART_MAP || request->kind == PART_CHANGED);
    if (request->kind == PART_CHANGED)
        header->count = PART_BLOCKS_MAX;
    if (versions) {
        header->flags |= WIRE_WITH_VERSIONS;
        wire_versions_put(at, (const struct wire_version *)(const void *)request->versions,
                          header->count);
        at += (size_t)header->count * WIRE_VERSION_BYTES;
    }
    if (request->kind == PART_READ) {
        header->data_bytes = request->count * BLOCK_BYTES;
        wire_crcs_put(at, request->crcs, request->count);
        at += (size_t)request->count * 4;
        if (result != 0)
            reply_blank_bad(task);
    }
    if (request->kind == PART_VIEW_SPACE && request->cut_count > 0) {
        header->data_bytes = request->cut_count * WIRE_SPACE_BYTES;
        reply_space(task);
        put32(at, crc32c(task->data, header->data_bytes));
        at += 4;
    }
    if (request->kind == PART_RECORDS && request->bytes > 0) {
        header->data_bytes = request->bytes;
        put32(at, crc32c(task->data, header->data_bytes));
        at += 4;
    }
    return at;
}

static void reply_encode(struct task *task, int result, struct wire_header *header)
{
    const struct part_request *request = &task->request;
    bool full = result == 0 || (result == IOMESH_CORRUPT && request->kind == PART_READ);
    full = full && task->refused == 0;
    uint8_t *begin = (uint8_t *)task->aside;
    uint8_t *at = full ? reply_content(task, result, header) : begin;
    if (reply_has_state(request, result)) {
        header->flags |= WIRE_WITH_STATE;
        reply_state(at, &request->state);
        at += WIRE_STATE_BYTES;
    }
    if (full && (request->kind == PART_CHANGED || (request->kind == PART_READ && result != 0))) {
        header->flags |= WIRE_WITH_BITMAP;
        memcpy(at, request->kind == PART_READ ? request->bad : request->changed, WIRE_BITMAP_BYTES);
        at += WIRE_BITMAP_BYTES;
    }
    header->aside_bytes = (uint32_t)(at - begin);
    link_sum(header, begin);
}

static void reply_send(struct task *task, const struct wire_header *header)
{
    struct connection *connection = task->connection;
    wire_header_put(task->head, header);
    uint32_t count = 0;
    task->parts[count++] = (struct iovec){task->head, WIRE_HEADER_BYTES};
    if (header->aside_bytes > 0)
        task->parts[count++] = (struct iovec){task->aside, header->aside_bytes};
    if (header->data_bytes > 0)
        task->parts[count++] = (struct iovec){task->data, header->data_bytes};
    task->send = (struct iomesh_send){
        .parts = task->parts, .part_count = count, .done = reply_sent, .context = task};
    task->state = TASK_SENDING;
    if (connection->sending++ == 0)
        connection->sent_ns = clock_now_ns(connection->server->options.clock);
    int result = net_send(connection->link.stream, &task->send);
    if (result != 0)
        reply_sent(task, result);
}

void task_reply(struct task *task, int result)
{
    struct connection *connection = task->connection;
    assert(result <= 0);
    if (connection->state == CONNECTION_ENDING) {
        task_free(task);
        return;
    }
    const struct part_request *request = &task->request;
    struct wire_header header = {
        .type = task->header.type | WIRE_ANSWER,
        .count = task->header.count,
        .session = connection->session,
        .number = task->header.number,
        .group = task->header.group,
        .generation = task->header.generation,
        .volume = task->header.volume,
        .result = result,
        .found = request->found,
        .room_blocks = connection->served->port->room_blocks,
    };
    reply_encode(task, result, &header);
    reply_send(task, &header);
}

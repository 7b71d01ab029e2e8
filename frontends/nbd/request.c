/* SPDX-License-Identifier: Apache-2.0 */
/* The transmission phase: one request decoded and judged. */
#include <assert.h>

#include "nbd/plant.h"
#include "nbd/proto.h"

enum { COMPACT_BYTES = 28, EXTENDED_BYTES = 32 };

static void fail(struct nbd_request *request, uint32_t error, const char *reason)
{
    request->error = error;
    request->reason = reason;
}

static uint16_t flags_allowed(const struct nbd_session *session, uint16_t type)
{
    /* FUA goes with every command once it is advertised. */
    const int any = session->export.read_only ? 0 : NBD_CMD_FLAG_FUA;
    const int extended = session->mode == NBD_EXTENDED ? NBD_CMD_FLAG_PAYLOAD_LEN : 0;
    switch (type) {
    case NBD_CMD_READ: return (uint16_t)(any | (session->mode == NBD_SIMPLE ? 0 : NBD_CMD_FLAG_DF));
    case NBD_CMD_WRITE: return (uint16_t)(NBD_CMD_FLAG_FUA | extended);
    case NBD_CMD_WRITE_ZEROES:
        return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
    case NBD_CMD_TRIM: return NBD_CMD_FLAG_FUA;
    case NBD_CMD_BLOCK_STATUS: return (uint16_t)(any | NBD_CMD_FLAG_REQ_ONE | extended);
    default: return (uint16_t)any;
    }
}

static void judge_range(const struct nbd_session *session, struct nbd_request *request)
{
    const struct nbd_export *export = &session->export;
    const bool writes = request->type == NBD_CMD_WRITE || request->type == NBD_CMD_WRITE_ZEROES;
    const uint64_t mask = export->block_bytes_min - 1;
    if (request->offset > export->size_bytes ||
        request->length > export->size_bytes - request->offset)
        fail(request, writes ? NBD_ENOSPC : NBD_EINVAL, "beyond the end of the export");
    else if (((request->offset | request->length) & mask) != 0)
        fail(request, NBD_EINVAL, "not a multiple of the export's minimum block size");
    else if ((writes || request->type == NBD_CMD_TRIM) && export->read_only)
        fail(request, NBD_EPERM, "the export is read-only");
    else if (request->type == NBD_CMD_READ && request->length > export->payload_bytes_max)
        fail(request, NBD_EOVERFLOW, "longer than the export's maximum payload");
    else if (request->type == NBD_CMD_WRITE && request->length > export->payload_bytes_max)
        fail(request, NBD_EINVAL, "longer than the export's maximum payload");
}

static void judge(const struct nbd_session *session, struct nbd_request *request)
{
    if (request->type > NBD_CMD_BLOCK_STATUS) {
        fail(request, NBD_EINVAL, "unknown command");
    } else if ((request->flags & ~flags_allowed(session, request->type)) != 0) {
        fail(request, NBD_EINVAL, "a flag that does not go with this command");
    } else if (session->closing) {
        fail(request, NBD_ESHUTDOWN, "the server is shutting down");
    } else if (request->type == NBD_CMD_FLUSH) {
        if (request->offset != 0 || request->length != 0)
            fail(request, NBD_EINVAL, "FLUSH takes neither offset nor length");
    } else if (request->type == NBD_CMD_BLOCK_STATUS &&
               (session->contexts_active == 0 || request->length == 0)) {
        fail(request, NBD_EINVAL,
             session->contexts_active != 0 ? "BLOCK_STATUS needs a length"
                                           : "no metadata context was negotiated");
    } else {
        judge_range(session, request);
    }
}

/* The contexts that a list of ids names; 0 if one was not negotiated, or is there twice. */
static uint32_t contexts_listed(const struct nbd_session *session, const uint8_t *from,
                                uint32_t count)
{
    uint32_t bits = 0;
    for (uint32_t index = 0; index < count; index++) {
        const uint32_t id = nbd_get32(from + 4 * index);
        const uint32_t bit = id >= 1 && id <= NBD_CONTEXTS_MAX ? 1u << (id - 1) : 0;
        if ((session->contexts_active & bit) == 0 || (bits & bit) != 0)
            return 0;
        bits |= bit;
    }
    return bits;
}

/*
 * BLOCK_STATUS with a payload: u64 length, then the ids of the contexts that are wanted. Returns
 * false if its bytes are not all here yet.
 */
static bool status_payload(struct nbd_session *session, const uint8_t *from, size_t length,
                           struct nbd_request *request, struct nbd_event *event)
{
    const uint32_t bytes = (uint32_t)request->length;
    if (bytes < 12 || bytes > 8 + 4 * NBD_CONTEXTS_MAX || bytes % 4 != 0) {
        session->skip_bytes = bytes;
        fail(request, NBD_EINVAL, "a list of contexts that cannot be right");
        return true;
    }
    if (length < bytes) {
        event->needed = EXTENDED_BYTES + bytes;
        return false;
    }
    event->used += bytes;
    request->length = nbd_get64(from);
    request->contexts = contexts_listed(session, from + 8, (bytes - 8) / 4);
    if (PLANTED("status-payload"))
        request->contexts = session->contexts_active;
    if (request->contexts == 0)
        fail(request, NBD_EINVAL, "a context that was not negotiated, or one twice");
    else
        judge(session, request);
    return true;
}

/* An extended request whose length counts bytes of payload. */
static void payload_step(struct nbd_session *session, const uint8_t *from, size_t length,
                         struct nbd_event *event)
{
    struct nbd_request *request = &event->request;
    const size_t used_before = event->used;
    if (request->length > NBD_PAYLOAD_BYTES_MAX) {
        nbd_broken(session, event, "a payload of more than 32 MiB");
        return;
    }
    event->kind = NBD_EVENT_REQUEST;
    event->used += EXTENDED_BYTES;
    if (request->type == NBD_CMD_WRITE && request->length > 0) {
        judge(session, request);
        if (request->error == 0)
            request->payload_bytes = (uint32_t)request->length;
        else
            session->skip_bytes = request->length;
    } else if (request->type == NBD_CMD_BLOCK_STATUS && session->contexts_active != 0) {
        if (!status_payload(session, from + EXTENDED_BYTES, length - EXTENDED_BYTES, request,
                            event)) {
            event->kind = NBD_EVENT_MORE;
            event->used = used_before;
        }
    } else {
        session->skip_bytes = request->length;
        fail(request, NBD_EINVAL, "this command takes no payload, or an empty one was sent");
    }
}

static void compact_step(struct nbd_session *session, struct nbd_event *event)
{
    struct nbd_request *request = &event->request;
    if (request->type == NBD_CMD_WRITE && request->length > NBD_PAYLOAD_BYTES_MAX) {
        nbd_broken(session, event, "a payload of more than 32 MiB");
        return;
    }
    event->kind = NBD_EVENT_REQUEST;
    judge(session, request);
    if (request->type != NBD_CMD_WRITE)
        return;
    if (request->error == 0)
        request->payload_bytes = (uint32_t)request->length;
    else
        session->skip_bytes = request->length;
}

void nbd_request_step(struct nbd_session *session, const uint8_t *from, size_t length,
                      struct nbd_event *event)
{
    const bool extended = session->mode == NBD_EXTENDED;
    const size_t header_bytes = extended ? EXTENDED_BYTES : COMPACT_BYTES;
    if (length < header_bytes) {
        event->needed = header_bytes;
        return;
    }
    if (nbd_get32(from) != (extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC)) {
        nbd_broken(session, event, "a request does not start with the request magic");
        return;
    }
    struct nbd_request *request = &event->request;
    request->flags = nbd_get16(from + 4);
    request->type = nbd_get16(from + 6);
    request->cookie = nbd_get64(from + 8);
    request->offset = nbd_get64(from + 16);
    request->length = extended ? nbd_get64(from + 24) : nbd_get32(from + 24);
    if (request->type == NBD_CMD_BLOCK_STATUS)
        request->contexts = session->contexts_active;
    if (request->type == NBD_CMD_DISC) {
        event->used += header_bytes;
        session->state = NBD_STATE_CLOSED;
        event->kind = NBD_EVENT_END;
        return;
    }
    if (extended && (request->flags & NBD_CMD_FLAG_PAYLOAD_LEN) != 0) {
        payload_step(session, from, length, event);
        return;
    }
    event->used += header_bytes;
    if (extended && request->type == NBD_CMD_WRITE) {
        event->kind = NBD_EVENT_REQUEST;
        fail(request, NBD_EINVAL, "WRITE with extended headers needs PAYLOAD_LEN");
        return;
    }
    compact_step(session, event);
}

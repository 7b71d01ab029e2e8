/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes from a client that has its export. Byte 0: the mode (0 to 2), 4 base:allocation, 8 a
 * read-only export, 16 4 KiB sectors, 32 two snapshots. What is accepted must lie in the export, be
 * allowed there, and every verdict must have a reply that fits.
 */
#include <stdlib.h>

#include "nbd/proto.h"

static void check(int truth)
{
    if (!truth)
        abort();
}

static void look_at(const struct nbd_session *session, const struct nbd_request *request)
{
    const struct nbd_export *export = &session->export;
    uint8_t reply[NBD_REPLY_BYTES_MAX];
    if (request->error != 0) {
        check(request->payload_bytes == 0 && request->reason != NULL);
        check(nbd_put_error(session->mode, reply, request, request->error, request->reason) <=
              sizeof reply);
        return;
    }
    check(request->type <= NBD_CMD_BLOCK_STATUS && request->type != NBD_CMD_DISC);
    check(request->offset <= export->size_bytes);
    check(request->length <= export->size_bytes - request->offset);
    check((request->offset | request->length) % export->block_bytes_min == 0);
    check(request->payload_bytes == (request->type == NBD_CMD_WRITE ? request->length : 0));
    const bool changes = request->type == NBD_CMD_WRITE || request->type == NBD_CMD_TRIM ||
                         request->type == NBD_CMD_WRITE_ZEROES;
    check(!changes || !export->read_only);
    check((request->contexts & ~session->contexts_active) == 0);
    check((request->type == NBD_CMD_BLOCK_STATUS) == (request->contexts != 0));
    if (request->type == NBD_CMD_READ && request->length > 0)
        check(nbd_put_data(session->mode, reply, request, request->offset,
                           (uint32_t)request->length, true) <= sizeof reply);
    check(nbd_put_done(session->mode, reply, request) <= sizeof reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    static struct nbd_session session;
    nbd_session_init(&session, false, false);
    nbd_out_taken(&session);
    session.state = NBD_STATE_REQUESTS;
    session.mode = (enum nbd_mode)((data[0] & 3) % 3);
    if (session.mode != NBD_SIMPLE)
        session.contexts_active = ((data[0] & 4) != 0 ? 1 : 0) | ((data[0] & 32) != 0 ? 6 : 0);
    session.export = (struct nbd_export){
        .size_bytes = UINT64_C(1) << 40,
        .block_bytes_min = (data[0] & 16) != 0 ? 4096 : 512,
        .block_bytes_preferred = 4096,
        .payload_bytes_max = 1 << 20,
        .read_only = (data[0] & 8) != 0,
    };
    for (size_t at = 1; at < size;) {
        struct nbd_event event;
        nbd_step(&session, data + at, size - at, &event);
        check(event.used <= size - at);
        at += event.used;
        if (event.kind != NBD_EVENT_REQUEST)
            break;
        look_at(&session, &event.request);
        at += event.request.payload_bytes;
    }
    return 0;
}

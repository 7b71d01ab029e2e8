/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes from a client, from the first on. Byte 0: 1 TLS, 2 every second lookup fails; byte 1:
 * how many bytes arrive at a time. The session must make progress or ask for more, use no byte
 * that it was not given, and never ask for more than its input buffer holds.
 */
#include <stdlib.h>
#include <string.h>

#include "nbd/proto.h"

static const struct nbd_export fuzz_export = {
    .size_bytes = UINT64_C(1) << 40,
    .block_bytes_min = 512,
    .block_bytes_preferred = 4096,
    .payload_bytes_max = NBD_PAYLOAD_BYTES_MAX,
};

static void check(int truth)
{
    if (!truth)
        abort();
}

static void answer_request(const struct nbd_session *session, const struct nbd_request *request)
{
    uint8_t reply[NBD_REPLY_BYTES_MAX];
    size_t bytes;
    if (request->error != 0) {
        bytes = nbd_put_error(session->mode, reply, request, request->error, request->reason);
    } else {
        check(request->offset <= session->export.size_bytes);
        check(request->length <= session->export.size_bytes - request->offset);
        check(request->payload_bytes <= session->export.payload_bytes_max);
        bytes = nbd_put_done(session->mode, reply, request);
    }
    check(bytes >= 16 && bytes <= sizeof reply);
}

/* The snapshots "a", "b", … up to sixteen, and one of the longest name. */
static bool name_snapshots(struct nbd_session *session)
{
    static char longest[NBD_SNAPSHOT_BYTES_MAX + 1];
    memset(longest, 'z', NBD_SNAPSHOT_BYTES_MAX);
    static const char letters[] = "abcdefghijklmnop";
    for (size_t index = 0; letters[index] != '\0'; index++) {
        const char name[] = {letters[index], '\0'};
        check(nbd_context_add(session, name, index));
    }
    if (!nbd_context_add(session, longest, 1000)) {
        nbd_out_taken(session);
        check(nbd_context_add(session, longest, 1000));
    }
    const bool ended = nbd_context_end(session);
    if (!ended) {
        nbd_out_taken(session);
        check(nbd_context_end(session));
    }
    check(session->contexts.bits < 1u << NBD_CONTEXTS_MAX);
    return true;
}

/* Returns false when the connection is over. */
static bool answer(struct nbd_session *session, const struct nbd_event *event, bool fail,
                   size_t *payload)
{
    switch (event->kind) {
    case NBD_EVENT_EXPORT:
        check(strlen(session->name) == session->name_bytes);
        if (fail)
            return nbd_export_refused(session, NBD_REP_ERR_UNKNOWN, "no such volume");
        return nbd_export_found(session, &fuzz_export);
    case NBD_EVENT_CONTEXTS:
        if (fail)
            return nbd_export_refused(session, NBD_REP_ERR_UNKNOWN, "no such volume");
        return name_snapshots(session);
    case NBD_EVENT_LIST: check(nbd_list_add(session, "a volume")); return nbd_list_end(session);
    case NBD_EVENT_TLS: nbd_secured(session); return true;
    case NBD_EVENT_REQUEST:
        answer_request(session, &event->request);
        *payload = event->request.payload_bytes;
        return true;
    case NBD_EVENT_END:
    case NBD_EVENT_BROKEN: return false;
    default: return true;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    static struct nbd_session session;
    nbd_session_init(&session, (data[0] & 1) != 0, (data[0] & 1) != 0);
    const size_t arriving = data[1] == 0 ? size : data[1];
    bool fail = false;
    size_t arrived = 2;
    for (size_t at = 2, payload = 0; at <= size;) {
        const size_t skip = payload < arrived - at ? payload : arrived - at;
        at += skip;
        payload -= skip;
        nbd_out_taken(&session);
        struct nbd_event event = {.kind = NBD_EVENT_MORE, .needed = 1};
        if (payload == 0)
            nbd_step(&session, data + at, arrived - at, &event);
        check(event.used <= arrived - at);
        at += event.used;
        if (event.kind == NBD_EVENT_MORE) {
            check(event.needed > 0 && event.needed <= NBD_INPUT_BYTES_MIN);
            check(payload > 0 || event.needed > arrived - at);
            if (arrived == size)
                break;
            arrived = size - arrived > arriving ? arrived + arriving : size;
            continue;
        }
        check(event.used > 0 || event.kind == NBD_EVENT_BROKEN);
        fail = (data[0] & 2) != 0 && !fail;
        if (!answer(&session, &event, fail, &payload))
            break;
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/proto.h"

#include <assert.h>
#include <string.h>

enum { OPTION_HEADER_BYTES = 16 };

void nbd_broken(struct nbd_session *session, struct nbd_event *event, const char *reason)
{
    session->state = NBD_STATE_CLOSED;
    event->kind = NBD_EVENT_BROKEN;
    event->reason = reason;
}

void nbd_session_init(struct nbd_session *session, bool tls_offered, bool tls_required)
{
    assert(tls_offered || !tls_required);
    /* The name and out buffers need no clearing: their lengths say that they are empty. */
    memset(session, 0, offsetof(struct nbd_session, name));
    session->name[0] = '\0';
    session->contexts.bits = 0;
    session->context_name[0] = '\0';
    session->tls_offered = tls_offered;
    session->tls_required = tls_required;
    uint8_t *to = nbd_put64(session->out, NBD_MAGIC);
    to = nbd_put64(to, NBD_OPTION_MAGIC);
    to = nbd_put16(to, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    session->out_bytes = (uint16_t)(to - session->out);
    assert(session->out_bytes == NBD_GREETING_BYTES);
}

void nbd_out_taken(struct nbd_session *session)
{
    session->out_bytes = 0;
}

void nbd_secured(struct nbd_session *session)
{
    assert(session->state == NBD_STATE_OPTIONS && !session->secured);
    session->secured = true;
    session->mode = NBD_SIMPLE;
    session->contexts.bits = 0;
}

static void client_flags(struct nbd_session *session, const uint8_t *from, size_t length,
                         struct nbd_event *event)
{
    if (length < 4) {
        event->needed = 4;
        return;
    }
    event->used += 4;
    const uint32_t flags = nbd_get32(from);
    if ((flags & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) != 0) {
        nbd_broken(session, event, "the client sets handshake flags that do not exist");
        return;
    }
    session->fixed = (flags & NBD_FLAG_FIXED_NEWSTYLE) != 0;
    session->no_zeroes = (flags & NBD_FLAG_NO_ZEROES) != 0;
    session->state = NBD_STATE_OPTIONS;
    event->kind = NBD_EVENT_SEND; /* Nothing to send; the caller simply steps on. */
}

static void option_step(struct nbd_session *session, const uint8_t *from, size_t length,
                        struct nbd_event *event)
{
    if (length < OPTION_HEADER_BYTES) {
        event->needed = OPTION_HEADER_BYTES;
        return;
    }
    if (nbd_get64(from) != NBD_OPTION_MAGIC) {
        nbd_broken(session, event, "an option does not start with the option magic");
        return;
    }
    const uint32_t option = nbd_get32(from + 8);
    const uint32_t data_bytes = nbd_get32(from + 12);
    if (data_bytes > NBD_OPTION_BYTES_MAX) {
        event->used += OPTION_HEADER_BYTES;
        nbd_option_oversize(session, option, data_bytes, event);
        return;
    }
    if (length - OPTION_HEADER_BYTES < data_bytes) {
        event->needed = OPTION_HEADER_BYTES + data_bytes;
        return;
    }
    event->used += OPTION_HEADER_BYTES + data_bytes;
    if (++session->options_count > NBD_OPTIONS_MAX) {
        nbd_broken(session, event, "too many options without choosing an export");
        return;
    }
    nbd_option(session, option, from + OPTION_HEADER_BYTES, data_bytes, event);
}

void nbd_step(struct nbd_session *session, const uint8_t *from, size_t length,
              struct nbd_event *ret_event)
{
    assert(session->out_bytes == 0);
    assert(session->state != NBD_STATE_ASKING);
    *ret_event = (struct nbd_event){.kind = NBD_EVENT_MORE};
    if (session->skip_bytes > 0) {
        const size_t skip = length < session->skip_bytes ? length : (size_t)session->skip_bytes;
        session->skip_bytes -= skip;
        ret_event->used = skip;
        if (skip == length) {
            ret_event->needed = 1;
            return;
        }
        from += skip;
        length -= skip;
    }
    switch (session->state) {
    case NBD_STATE_FLAGS: client_flags(session, from, length, ret_event); break;
    case NBD_STATE_OPTIONS: option_step(session, from, length, ret_event); break;
    case NBD_STATE_REQUESTS: nbd_request_step(session, from, length, ret_event); break;
    case NBD_STATE_ASKING:
    case NBD_STATE_CLOSED: nbd_broken(session, ret_event, "the connection is over"); break;
    }
    assert(ret_event->kind != NBD_EVENT_MORE || ret_event->needed > 0);
}

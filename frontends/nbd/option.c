/* SPDX-License-Identifier: Apache-2.0 */
/* Option haggling: what a client may ask before it has an export. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "nbd/proto.h"

enum { ANSWER_HEADER_BYTES = 20 };

void nbd_answer(struct nbd_session *session, uint32_t option, uint32_t type, const void *data,
                size_t length)
{
    assert(session->out_bytes + ANSWER_HEADER_BYTES + length <= NBD_OUT_BYTES_MAX);
    uint8_t *to = session->out + session->out_bytes;
    to = nbd_put64(to, NBD_OPTION_REPLY_MAGIC);
    to = nbd_put32(to, option);
    to = nbd_put32(to, type);
    to = nbd_put32(to, (uint32_t)length);
    if (length > 0)
        memcpy(to, data, length);
    session->out_bytes = (uint16_t)(session->out_bytes + ANSWER_HEADER_BYTES + length);
}

bool nbd_answer_fits(const struct nbd_session *session, size_t length)
{
    return session->out_bytes + ANSWER_HEADER_BYTES + length <= NBD_OUT_BYTES_MAX;
}

void nbd_refuse(struct nbd_session *session, uint32_t option, uint32_t type, const char *sentence,
                struct nbd_event *event)
{
    nbd_answer(session, option, type, sentence, strlen(sentence));
    event->kind = NBD_EVENT_SEND;
}

static void accept_plainly(struct nbd_session *session, uint32_t option, struct nbd_event *event)
{
    nbd_answer(session, option, NBD_REP_ACK, NULL, 0);
    event->kind = NBD_EVENT_SEND;
}

uint16_t nbd_transmission_flags(const struct nbd_session *session, const struct nbd_export *export,
                                bool context)
{
    /* Multi-conn is honest: every connection ends in one engine, a flush covers all writes that
     * it has acknowledged, whoever sent them. */
    int flags =
        NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_CACHE | NBD_FLAG_CAN_MULTI_CONN;
    if (export->read_only)
        flags |= NBD_FLAG_READ_ONLY;
    else
        flags |= NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
                 NBD_FLAG_SEND_FAST_ZERO;
    if (export->rotational)
        flags |= NBD_FLAG_ROTATIONAL;
    if (session->mode != NBD_SIMPLE)
        flags |= NBD_FLAG_SEND_DF;
    if (session->mode == NBD_EXTENDED && context)
        flags |= NBD_FLAG_BLOCK_STATUS_PAYLOAD;
    return (uint16_t)flags;
}

bool nbd_ask(struct nbd_session *session, uint32_t option, const uint8_t *name, size_t length,
             struct nbd_event *event)
{
    if (length > NBD_NAME_BYTES_MAX || memchr(name, '\0', length) != NULL)
        return false;
    memcpy(session->name, name, length);
    session->name[length] = '\0';
    session->name_bytes = (uint16_t)length;
    session->asking_option = option;
    session->state = NBD_STATE_ASKING;
    event->kind = NBD_EVENT_EXPORT;
    event->opening = option == NBD_OPT_GO || option == NBD_OPT_EXPORT_NAME;
    return true;
}

static void option_export_name(struct nbd_session *session, const uint8_t *data, uint32_t length,
                               struct nbd_event *event)
{
    if (session->closing)
        nbd_broken(session, event, "the server is shutting down");
    else if (session->mode == NBD_EXTENDED)
        nbd_broken(session, event, "EXPORT_NAME cannot follow EXTENDED_HEADERS");
    else if (!nbd_ask(session, NBD_OPT_EXPORT_NAME, data, length, event))
        nbd_broken(session, event, "EXPORT_NAME with a name that no export can have");
}

static void option_list(struct nbd_session *session, uint32_t length, struct nbd_event *event)
{
    if (length != 0) {
        nbd_refuse(session, NBD_OPT_LIST, NBD_REP_ERR_INVALID, "LIST takes no data", event);
        return;
    }
    session->asking_option = NBD_OPT_LIST;
    session->state = NBD_STATE_ASKING;
    event->kind = NBD_EVENT_LIST;
}

static void option_starttls(struct nbd_session *session, uint32_t length, struct nbd_event *event)
{
    const uint32_t option = NBD_OPT_STARTTLS;
    if (length != 0)
        nbd_refuse(session, option, NBD_REP_ERR_INVALID, "STARTTLS takes no data", event);
    else if (session->secured)
        nbd_refuse(session, option, NBD_REP_ERR_INVALID, "TLS is already up", event);
    else if (!session->tls_offered)
        nbd_refuse(session, option, NBD_REP_ERR_POLICY, "this server is set up without TLS", event);
    else {
        nbd_answer(session, option, NBD_REP_ACK, NULL, 0);
        event->kind = NBD_EVENT_TLS;
    }
}

/* INFO and GO: u32 name length, name, u16 count, count times u16. */
static void option_info(struct nbd_session *session, uint32_t option, const uint8_t *data,
                        uint32_t length, struct nbd_event *event)
{
    const uint32_t name_bytes = length >= 6 ? nbd_get32(data) : 0;
    if (length < 6 || name_bytes > length - 6 || name_bytes > NBD_STRING_BYTES_MAX) {
        nbd_refuse(session, option, NBD_REP_ERR_INVALID, "the name does not fit the option", event);
        return;
    }
    const uint8_t *items = data + 4 + name_bytes;
    const uint32_t count = nbd_get16(items);
    if (length != 4 + name_bytes + 2 + 2 * count) {
        nbd_refuse(session, option, NBD_REP_ERR_INVALID,
                   "the list of requests does not fit the option", event);
        return;
    }
    session->info_name_wanted = false;
    for (uint32_t index = 0; index < count; index++)
        if (nbd_get16(items + 2 + 2 * index) == NBD_INFO_NAME)
            session->info_name_wanted = true;
    if (!nbd_ask(session, option, data + 4, name_bytes, event))
        nbd_refuse(session, option, NBD_REP_ERR_UNKNOWN, "no export can have this name", event);
}

/* Headers for the transmission phase: structured or extended replies. */
static void option_mode(struct nbd_session *session, uint32_t option, uint32_t length,
                        struct nbd_event *event)
{
    if (length != 0) {
        nbd_refuse(session, option, NBD_REP_ERR_INVALID, "this option takes no data", event);
    } else if (option == NBD_OPT_EXTENDED_HEADERS) {
        if (session->mode == NBD_EXTENDED) {
            nbd_refuse(session, option, NBD_REP_ERR_INVALID, "extended headers are already on",
                       event);
            return;
        }
        session->mode = NBD_EXTENDED;
        accept_plainly(session, option, event);
    } else if (session->mode == NBD_EXTENDED) {
        nbd_refuse(session, option, NBD_REP_ERR_EXT_HEADER_REQD,
                   "extended headers are on and include structured replies", event);
    } else {
        session->mode = NBD_STRUCTURED;
        accept_plainly(session, option, event);
    }
}

static void option_abort(struct nbd_session *session, struct nbd_event *event)
{
    nbd_answer(session, NBD_OPT_ABORT, NBD_REP_ACK, NULL, 0);
    session->state = NBD_STATE_CLOSED;
    event->kind = NBD_EVENT_END;
}

void nbd_option_oversize(struct nbd_session *session, uint32_t option, uint32_t length,
                         struct nbd_event *event)
{
    if (option == NBD_OPT_EXPORT_NAME || length > NBD_OPTION_SKIP_BYTES_MAX || !session->fixed) {
        nbd_broken(session, event, "an option is far too long");
        return;
    }
    session->skip_bytes = length;
    if (option == NBD_OPT_SET_META_CONTEXT)
        session->contexts.bits = 0;
    if (session->tls_required && !session->secured)
        nbd_refuse(session, option, NBD_REP_ERR_TLS_REQD, "start TLS first", event);
    else
        nbd_refuse(session, option, NBD_REP_ERR_TOO_BIG, "the option is too long", event);
}

void nbd_option(struct nbd_session *session, uint32_t option, const uint8_t *data, uint32_t length,
                struct nbd_event *event)
{
    if (!session->fixed && option != NBD_OPT_EXPORT_NAME) {
        nbd_broken(session, event, "only EXPORT_NAME may follow without fixed newstyle");
        return;
    }
    if (option == NBD_OPT_ABORT) {
        option_abort(session, event);
        return;
    }
    if (session->tls_required && !session->secured && option != NBD_OPT_STARTTLS) {
        if (option == NBD_OPT_EXPORT_NAME)
            nbd_broken(session, event, "this server requires TLS");
        else
            nbd_refuse(session, option, NBD_REP_ERR_TLS_REQD, "start TLS first", event);
        return;
    }
    if (session->closing && option != NBD_OPT_EXPORT_NAME) {
        nbd_refuse(session, option, NBD_REP_ERR_SHUTDOWN, "the server is shutting down", event);
        return;
    }
    switch (option) {
    case NBD_OPT_EXPORT_NAME: option_export_name(session, data, length, event); break;
    case NBD_OPT_LIST: option_list(session, length, event); break;
    case NBD_OPT_STARTTLS: option_starttls(session, length, event); break;
    case NBD_OPT_INFO:
    case NBD_OPT_GO: option_info(session, option, data, length, event); break;
    case NBD_OPT_STRUCTURED_REPLY:
    case NBD_OPT_EXTENDED_HEADERS: option_mode(session, option, length, event); break;
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT: nbd_option_contexts(session, option, data, length, event); break;
    default: nbd_refuse(session, option, NBD_REP_ERR_UNSUP, "unknown option", event); break;
    }
}

static void answer_info(struct nbd_session *session, const struct nbd_export *export)
{
    const uint32_t option = session->asking_option;
    const bool context = nbd_contexts_of(session, session->name) != 0;
    uint8_t info[2 + NBD_NAME_BYTES_MAX];
    uint8_t *to = nbd_put16(info, NBD_INFO_EXPORT);
    to = nbd_put64(to, export->size_bytes);
    to = nbd_put16(to, nbd_transmission_flags(session, export, context));
    nbd_answer(session, option, NBD_REP_INFO, info, (size_t)(to - info));
    /* Our limits are not the defaults, so they are told without being asked for. */
    to = nbd_put16(info, NBD_INFO_BLOCK_SIZE);
    to = nbd_put32(to, export->block_bytes_min);
    to = nbd_put32(to, export->block_bytes_preferred);
    to = nbd_put32(to, export->payload_bytes_max);
    nbd_answer(session, option, NBD_REP_INFO, info, (size_t)(to - info));
    if (session->info_name_wanted) {
        to = nbd_put16(info, NBD_INFO_NAME);
        memcpy(to, session->name, session->name_bytes);
        nbd_answer(session, option, NBD_REP_INFO, info, 2u + session->name_bytes);
    }
    nbd_answer(session, option, NBD_REP_ACK, NULL, 0);
}

static void answer_export_name(struct nbd_session *session, const struct nbd_export *export)
{
    enum { PADDING_BYTES = 124 };
    const bool context = nbd_contexts_of(session, session->name) != 0;
    uint8_t *to = nbd_put64(session->out + session->out_bytes, export->size_bytes);
    to = nbd_put16(to, nbd_transmission_flags(session, export, context));
    if (!session->no_zeroes) {
        memset(to, 0, PADDING_BYTES);
        to += PADDING_BYTES;
    }
    session->out_bytes = (uint16_t)(to - session->out);
}

static void enter_transmission(struct nbd_session *session, const struct nbd_export *export)
{
    session->export = *export;
    session->contexts_active = nbd_contexts_of(session, session->name);
    session->state = NBD_STATE_REQUESTS;
}

bool nbd_export_found(struct nbd_session *session, const struct nbd_export *export)
{
    assert(session->state == NBD_STATE_ASKING && session->asking_option != NBD_OPT_LIST);
    assert(export->payload_bytes_max <= NBD_PAYLOAD_BYTES_MAX);
    switch (session->asking_option) {
    case NBD_OPT_EXPORT_NAME:
        answer_export_name(session, export);
        enter_transmission(session, export);
        break;
    case NBD_OPT_GO:
        answer_info(session, export);
        enter_transmission(session, export);
        break;
    case NBD_OPT_INFO:
        answer_info(session, export);
        session->state = NBD_STATE_OPTIONS;
        break;
    default: nbd_context_end(session); break;
    }
    return true;
}

bool nbd_export_refused(struct nbd_session *session, uint32_t reply, const char *sentence)
{
    assert(session->state == NBD_STATE_ASKING);
    if (session->asking_option == NBD_OPT_EXPORT_NAME) {
        session->state = NBD_STATE_CLOSED;
        return false;
    }
    const size_t length = strnlen(sentence, NBD_OUT_BYTES_MAX / 4);
    session->state = NBD_STATE_OPTIONS;
    session->out_bytes = 0; /* A refused LIST forgets the names that were not sent yet. */
    nbd_answer(session, session->asking_option, reply, sentence, length);
    return true;
}

bool nbd_list_add(struct nbd_session *session, const char *name)
{
    assert(session->state == NBD_STATE_ASKING && session->asking_option == NBD_OPT_LIST);
    const size_t length = strnlen(name, NBD_NAME_BYTES_MAX);
    if (!nbd_answer_fits(session, 4u + length))
        return false;
    uint8_t entry[4 + NBD_NAME_BYTES_MAX];
    nbd_put32(entry, (uint32_t)length);
    memcpy(entry + 4, name, length);
    nbd_answer(session, NBD_OPT_LIST, NBD_REP_SERVER, entry, 4 + length);
    return true;
}

bool nbd_list_end(struct nbd_session *session)
{
    assert(session->state == NBD_STATE_ASKING && session->asking_option == NBD_OPT_LIST);
    if (!nbd_answer_fits(session, 0))
        return false;
    nbd_answer(session, NBD_OPT_LIST, NBD_REP_ACK, NULL, 0);
    session->state = NBD_STATE_OPTIONS;
    return true;
}

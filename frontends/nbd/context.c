/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata contexts: which there are, which a client has chosen.
 *
 *   base:allocation              holes and zeros
 *   iomesh:changed-since:SNAP    what was written after a snapshot of the volume was taken
 *
 * Who asks for snapshots waits for the caller to name them: it is an NBD_EVENT_CONTEXTS.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "nbd/proto.h"

static const char allocation[] = "base:allocation";
static const char since[] = "iomesh:changed-since:";

/* NBD_SINCE_MAX: it is not there. */
static uint32_t find(const struct nbd_contexts *contexts, const uint8_t *snapshot, size_t length)
{
    uint32_t index = 0;
    for (; index < contexts->snapshot_count; index++)
        if (strlen(contexts->snapshots[index]) == length &&
            memcmp(contexts->snapshots[index], snapshot, length) == 0)
            return index;
    return NBD_SINCE_MAX;
}

static bool is(const uint8_t *query, uint32_t length, const char *text)
{
    return length == strlen(text) && memcmp(query, text, length) == 0;
}

/* False: more snapshots than can be compared with at once. */
static bool take_query(struct nbd_session *session, uint32_t option, const uint8_t *query,
                       uint32_t length)
{
    struct nbd_contexts *asking = &session->asking;
    const size_t prefix = sizeof since - 1;
    /* What ends with a colon stands for all below it when listing, and for nothing when setting. */
    const bool listing = option == NBD_OPT_LIST_META_CONTEXT;
    if (is(query, length, allocation) || (listing && is(query, length, "base:")))
        asking->bits |= 1;
    if (listing && (is(query, length, "iomesh:") || is(query, length, since)))
        session->asking_every = true;
    if (length <= prefix || length - prefix > NBD_SNAPSHOT_BYTES_MAX ||
        memcmp(query, since, prefix) != 0)
        return true;
    const uint8_t *snapshot = query + prefix;
    const size_t bytes = length - prefix;
    if (memchr(snapshot, '\0', bytes) != NULL || find(asking, snapshot, bytes) < NBD_SINCE_MAX)
        return true;
    if (asking->snapshot_count == NBD_SINCE_MAX)
        return false;
    char *to = asking->snapshots[asking->snapshot_count++];
    memcpy(to, snapshot, bytes);
    to[bytes] = '\0';
    return true;
}

/* u32 count, then count times u32 length and text. 0, or why not: an NBD_REP_ERR_…. */
static uint32_t take_queries(struct nbd_session *session, uint32_t option, const uint8_t *data,
                             uint32_t length)
{
    if (length < 4)
        return NBD_REP_ERR_INVALID;
    const uint32_t count = nbd_get32(data);
    data += 4;
    length -= 4;
    const bool every = count == 0 && option == NBD_OPT_LIST_META_CONTEXT;
    session->asking_every = every;
    session->asking.bits = every ? 1 : 0;
    session->asking.snapshot_count = 0;
    bool fits = true;
    for (uint32_t index = 0; index < count; index++) {
        if (length < 4)
            return NBD_REP_ERR_INVALID;
        const uint32_t query_bytes = nbd_get32(data);
        if (query_bytes > length - 4 || query_bytes > NBD_STRING_BYTES_MAX)
            return NBD_REP_ERR_INVALID;
        fits = take_query(session, option, data + 4, query_bytes) && fits;
        data += 4 + query_bytes;
        length -= 4 + query_bytes;
    }
    if (length != 0)
        return NBD_REP_ERR_INVALID;
    return fits ? 0 : NBD_REP_ERR_TOO_BIG;
}

void nbd_option_contexts(struct nbd_session *session, uint32_t option, const uint8_t *data,
                         uint32_t length, struct nbd_event *event)
{
    if (option == NBD_OPT_SET_META_CONTEXT)
        session->contexts.bits = 0; /* Also when this one fails. */
    if (session->mode == NBD_SIMPLE) {
        nbd_refuse(session, option, NBD_REP_ERR_INVALID, "structured replies come first", event);
        return;
    }
    const uint32_t name_bytes = length >= 8 ? nbd_get32(data) : 0;
    uint32_t wrong = NBD_REP_ERR_INVALID;
    if (length >= 8 && name_bytes <= length - 8 && name_bytes <= NBD_STRING_BYTES_MAX)
        wrong = take_queries(session, option, data + 4 + name_bytes, length - 4 - name_bytes);
    if (wrong != 0) {
        nbd_refuse(session, option, wrong,
                   wrong == NBD_REP_ERR_TOO_BIG ? "at most 15 snapshots to compare with at once"
                                                : "the queries do not fit the option",
                   event);
        return;
    }
    if (!nbd_ask(session, option, data + 4, name_bytes, event))
        nbd_refuse(session, option, NBD_REP_ERR_UNKNOWN, "no export can have this name", event);
    else if (session->asking_every || session->asking.snapshot_count > 0)
        event->kind = NBD_EVENT_CONTEXTS;
}

/* False: no room in `out`. */
static bool answer(struct nbd_session *session, uint32_t id, const char *prefix, const char *name)
{
    const bool set = session->asking_option == NBD_OPT_SET_META_CONTEXT;
    uint8_t data[4 + sizeof since + NBD_SNAPSHOT_BYTES_MAX];
    char *text = (char *)nbd_put32(data, set ? id : 0);
    const int length = snprintf(text, sizeof data - 4, "%s%s", prefix, name);
    if (!nbd_answer_fits(session, 4 + (size_t)length))
        return false;
    nbd_answer(session, session->asking_option, NBD_REP_META_CONTEXT, data, 4 + (size_t)length);
    return true;
}

bool nbd_context_add(struct nbd_session *session, const char *snapshot, uint64_t cut)
{
    assert(session->state == NBD_STATE_ASKING);
    const size_t length = strnlen(snapshot, NBD_SNAPSHOT_BYTES_MAX + 1);
    assert(length <= NBD_SNAPSHOT_BYTES_MAX);
    const uint32_t index = find(&session->asking, (const uint8_t *)snapshot, length);
    if (index == NBD_SINCE_MAX && !session->asking_every)
        return true;
    if (!answer(session, index + 2, since, snapshot))
        return false;
    if (index < NBD_SINCE_MAX) {
        session->asking.bits |= 2u << index;
        session->asking.cuts[index] = cut;
    }
    return true;
}

bool nbd_context_end(struct nbd_session *session)
{
    assert(session->state == NBD_STATE_ASKING);
    const uint32_t option = session->asking_option;
    /* Room for both before either: the same is said again otherwise. */
    if (!nbd_answer_fits(session, 4 + sizeof allocation + 20))
        return false;
    if ((session->asking.bits & 1) != 0)
        answer(session, NBD_CONTEXT_ALLOCATION, allocation, "");
    nbd_answer(session, option, NBD_REP_ACK, NULL, 0);
    session->state = NBD_STATE_OPTIONS;
    if (option == NBD_OPT_SET_META_CONTEXT) {
        session->contexts = session->asking;
        memcpy(session->context_name, session->name, session->name_bytes + 1u);
    }
    return true;
}

uint32_t nbd_contexts_of(const struct nbd_session *session, const char *name)
{
    return strcmp(session->context_name, name) == 0 ? session->contexts.bits : 0;
}

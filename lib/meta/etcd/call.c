/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on connections: sent, answered, refused, lost, asked again. */
#include <stdio.h>
#include <stdlib.h>

#include "meta/etcd/answer.h"

#define AGAIN_NS (100 * NS_PER_MS)

/* --- Ending -------------------------------------------------------------------------------- */

void etcd_call_finish(struct meta_etcd *etcd, struct etcd_call *call, int result)
{
    assert(call->kind == CALL_REQUEST);
    list_remove(&call->node);
    call->request->result = result;
    if (result == IOMESH_UNKNOWN)
        etcd->unknown++;
    list_push_back(&etcd->done, &call->node);
}

/* A connection does not have it any more. */
static void call_off(struct etcd_call *call)
{
    struct etcd_link *link = call->link;
    if (link == NULL)
        return;
    list_remove(&call->node);
    link->call_count--;
    call->link = NULL;
    call->stream = NULL;
}

static void call_wait(struct meta_etcd *etcd, struct etcd_call *call, uint64_t again_ns)
{
    call->answered = false;
    call->again_ns = again_ns;
    /* It has waited longest: before those that were never asked. */
    list_push_front(&etcd->waiting, &call->node);
}

static void call_again(struct meta_etcd *etcd, struct etcd_call *call, uint64_t again_ns)
{
    etcd->repeated++;
    call_wait(etcd, call, again_ns);
}

/* What to say of a request whose time is over, or that nobody may ask again. */
static int lost_result(const struct etcd_call *call)
{
    bool changes = call->once || call->request->body->kind != META_TRANSACTION;
    return changes && call->maybe ? IOMESH_UNKNOWN : -ETIMEDOUT;
}

static void request_lost(struct meta_etcd *etcd, struct etcd_call *call)
{
    call->maybe = true;
    if (call->once)
        etcd_call_finish(etcd, call, IOMESH_UNKNOWN);
    else
        call_again(etcd, call, 0);
}

/* An answer larger than is received. Lists may be asked for less. */
static void request_too_large(struct meta_etcd *etcd, struct etcd_call *call, uint32_t bytes)
{
    uint32_t limit = 0;
    const struct meta_body *body = call->request->body;
    if (call->once) {
        etcd_call_finish(etcd, call, IOMESH_UNKNOWN); /* It happened, and cannot be told. */
        return;
    }
    for (unsigned b = 0; b < COUNT_OF(body->branches); b++)
        for (uint32_t i = 0; i < body->branches[b].count; i++)
            limit = MAX(limit, body->branches[b].ops[i].limit);
    if (call->list_limit != 0)
        limit = MIN(limit, call->list_limit);
    if (limit <= 1) {
        etcd_call_finish(etcd, call, -E2BIG);
        return;
    }
    call->list_limit = (uint32_t)MAX((uint64_t)limit * META_RESPONSE_BYTES_MAX / bytes, 1);
    call_again(etcd, call, 0);
}

/* --- Greetings ----------------------------------------------------------------------------- */

static void greeting_next(struct etcd_link *link, enum etcd_call_kind kind)
{
    struct etcd_call *call = &link->greeting;
    *call = (struct etcd_call){.kind = kind};
    list_init(&call->node);
    if (etcd_call_send(link, call, ETCD_GREET_NS) != 0)
        etcd_link_kill(link, "it takes no calls");
}

void etcd_greet(struct etcd_link *link)
{
    const struct meta_etcd *etcd = link->etcd;
    bool login = etcd->place.user[0] != '\0' && etcd->token[0] == '\0';
    greeting_next(link, login ? CALL_LOGIN : CALL_GREETING);
}

/* A member of another cluster has other truths. */
static bool cluster_is(struct etcd_link *link, uint64_t cluster)
{
    struct meta_etcd *etcd = link->etcd;
    if (etcd->cluster == 0)
        etcd->cluster = cluster;
    if (cluster == etcd->cluster)
        return true;
    etcd_link_kill(link, "it belongs to another cluster than the members before it");
    return false;
}

static void login_message(struct etcd_link *link, const void *data, uint32_t length)
{
    struct meta_etcd *etcd = link->etcd;
    ProtobufCMessage *message = etcd_unpack(&etcd__authenticate_response__descriptor, data, length);
    const Etcd__AuthenticateResponse *answer = (const void *)message;
    if (answer != NULL && strlen(answer->token) <= ETCD_TOKEN_BYTES_MAX)
        (void)snprintf(etcd->token, sizeof etcd->token, "%s", answer->token);
    else
        etcd_link_kill(link, "its login answers nonsense");
    etcd_unpacked_free(message);
}

static void greeting_message(struct etcd_link *link, const void *data, uint32_t length)
{
    struct meta_etcd *etcd = link->etcd;
    ProtobufCMessage *message = etcd_unpack(&etcd__range_response__descriptor, data, length);
    const Etcd__RangeResponse *answer = (const void *)message;
    if (answer == NULL || answer->header == NULL || answer->header->revision <= 0) {
        etcd_link_kill(link, "it answers nonsense");
    } else if (cluster_is(link, answer->header->cluster_id)) {
        if (etcd->revision_first == 0)
            etcd->revision_first = (uint64_t)answer->header->revision;
        link->greeting.answered = true;
    }
    etcd_unpacked_free(message);
}

/* Refused for good: whoever waits is told; the next who asks makes us try again. */
static void greeting_denied(struct etcd_link *link, const struct grpc_end *end, int result)
{
    char word[192];
    (void)snprintf(word, sizeof word, "it lets us not in: %.150s", end->text);
    etcd_link_kill(link, word);
    etcd_calls_refuse(link->etcd, result);
}

static void greeting_ended(struct etcd_link *link, const struct grpc_end *end)
{
    struct meta_etcd *etcd = link->etcd;
    enum etcd_call_kind kind = link->greeting.kind;
    char word[192];
    int result = 0;
    call_off(&link->greeting);
    if (link->dead || link->retired)
        return;
    if (end->status == GRPC_OK) {
        if (kind == CALL_LOGIN) {
            greeting_next(link, CALL_GREETING);
        } else if (link->greeting.answered) {
            link->state = LINK_UP;
            link->since_ns = etcd_now_ns();
        }
        return;
    }
    /* A user, and an etcd that knows none: it lets everybody in. */
    if (kind == CALL_LOGIN && end->status == GRPC_FAILED_PRECONDITION) {
        greeting_next(link, CALL_GREETING);
        return;
    }
    enum etcd_verdict verdict = etcd_judge(end, &result);
    if (verdict == VERDICT_LOGIN && kind == CALL_GREETING && etcd->token[0] != '\0') {
        etcd->token[0] = '\0'; /* From before it was started anew. */
        greeting_next(link, CALL_LOGIN);
        return;
    }
    if (verdict == VERDICT_LOGIN || (verdict == VERDICT_RESULT && result == -EACCES)) {
        greeting_denied(link, end, -EACCES);
        return;
    }
    (void)snprintf(word, sizeof word, "%s: %.150s", grpc_status_name(end->status), end->text);
    etcd_link_kill(link, word);
}

/* --- Events of a connection ---------------------------------------------------------------- */

void etcd_call_message(void *owner, struct grpc_stream *stream, const void *data, uint32_t length)
{
    struct etcd_link *link = owner;
    struct etcd_call *call = grpc_context(stream);
    uint64_t cluster = link->etcd->cluster;
    link->pings = 0;
    switch (call->kind) {
    case CALL_LOGIN: login_message(link, data, length); break;
    case CALL_GREETING: greeting_message(link, data, length); break;
    case CALL_WATCH: etcd_watch_message(call->watch, link, data, length); break;
    case CALL_REQUEST:
        if (call->answered)
            break; /* A second answer: the first counts. */
        call->result = etcd_answer(link->etcd, call, data, length, &cluster);
        if (call->result == -ENOMEM && call->once)
            call->result = IOMESH_UNKNOWN; /* It happened, and cannot be told. */
        if (call->result == -EPROTO)
            etcd_link_kill(link, "it answers nonsense");
        else
            call->answered = cluster_is(link, cluster);
        break;
    }
}

static void request_refused(struct etcd_link *link, struct etcd_call *call,
                            const struct grpc_end *end)
{
    struct meta_etcd *etcd = link->etcd;
    char word[192];
    int result = 0;
    enum etcd_verdict verdict = etcd_judge(end, &result);
    (void)snprintf(word, sizeof word, "%s: %.150s", grpc_status_name(end->status), end->text);
    switch (verdict) {
    case VERDICT_RESULT:
        /* Revoked at an earlier attempt, whose answer was lost. */
        if (result == -ENOENT && call->maybe && call->request->body->kind == META_LEASE_REVOKE)
            result = 0;
        if (result != -ENOENT)
            etcd_trouble(etcd, link->name, word);
        etcd_call_finish(etcd, call, result);
        return;
    case VERDICT_AGAIN: call_again(etcd, call, etcd_now_ns() + AGAIN_NS); return;
    case VERDICT_FULL:
        /* No other member has more space. A lease that was granted all the same harms nobody. */
        etcd_trouble(etcd, link->name, word);
        etcd_call_finish(etcd, call, call->once ? IOMESH_UNKNOWN : -ENOSPC);
        return;
    case VERDICT_LOGIN: etcd->token[0] = '\0'; break;
    case VERDICT_MOVE:
    case VERDICT_LOST: break;
    }
    etcd_link_retire(link, word);
    if (verdict == VERDICT_LOST)
        request_lost(etcd, call);
    else
        call_again(etcd, call, 0);
}

/* It would not let us watch: perhaps because the token is old. */
static void watch_refused(struct etcd_link *link, struct etcd_watch *watch,
                          const struct grpc_end *end)
{
    char word[192];
    int result = 0;
    enum etcd_verdict verdict = etcd_judge(end, &result);
    if (verdict == VERDICT_LOGIN)
        link->etcd->token[0] = '\0';
    (void)snprintf(word, sizeof word, "%s: %.150s", grpc_status_name(end->status), end->text);
    if (verdict == VERDICT_RESULT && watch->denied) {
        etcd_trouble(link->etcd, link->name, word);
        etcd_watch_end(link->etcd, watch, IOMESH_FAILED);
        return;
    }
    watch->denied |= verdict == VERDICT_RESULT;
    etcd_link_retire(link, word);
    call_wait(link->etcd, &watch->call, etcd_now_ns() + AGAIN_NS);
}

void etcd_call_ended(void *owner, struct grpc_stream *stream, const struct grpc_end *end)
{
    struct etcd_link *link = owner;
    struct etcd_call *call = grpc_context(stream);
    struct meta_etcd *etcd = link->etcd;
    link->pings = 0;
    switch (call->kind) {
    case CALL_LOGIN:
    case CALL_GREETING: greeting_ended(link, end); return;
    case CALL_WATCH:
        call_off(call);
        etcd_watch_restart(call->watch);
        if (call->watch->over)
            return;
        if (end->status == GRPC_OK || link->dead)
            call_wait(etcd, call, etcd_now_ns() + AGAIN_NS);
        else
            watch_refused(link, call->watch, end);
        return;
    case CALL_REQUEST: break;
    }
    call_off(call);
    if (call->answered)
        etcd_call_finish(etcd, call, call->result);
    else if (end->message_bytes != 0)
        request_too_large(etcd, call, end->message_bytes);
    else if (end->status == GRPC_OK)
        request_lost(etcd, call);
    else if (!link->dead)
        request_refused(link, call, end);
    else if (end->may_have_run)
        request_lost(etcd, call);
    else
        call_again(etcd, call, 0);
}

/* --- Sending ------------------------------------------------------------------------------- */

int etcd_call_send(struct etcd_link *link, struct etcd_call *call, uint64_t timeout_ns)
{
    const struct meta_etcd *etcd = link->etcd;
    /* A member without a leader is to say so at once, unless what it has is enough. */
    struct grpc_field fields[2];
    uint32_t field_count = 0;
    if (!etcd->stale)
        fields[field_count++] = (struct grpc_field){"hasleader", "true"};
    if (etcd->token[0] != '\0')
        fields[field_count++] = (struct grpc_field){"token", etcd->token};
    struct grpc_head head = {
        .path = etcd_path(call),
        .timeout_ns = timeout_ns,
        .fields = fields,
        .field_count = field_count,
    };
    uint8_t *bytes;
    uint32_t length;
    int result = etcd_encode(etcd, call, &bytes, &length);
    if (result != 0)
        return result;
    result = grpc_call(link->grpc, &head, call, &call->stream);
    if (result == 0) {
        result = grpc_send(call->stream, bytes, length, call->kind != CALL_WATCH);
        if (result != 0)
            grpc_cancel(call->stream);
    }
    free(bytes);
    if (result != 0)
        return result;
    /* Who owes nothing may be silent. */
    if (list_empty(&link->calls) && link->heard_ns >= link->ping_ns)
        link->heard_ns = etcd_now_ns();
    list_remove(&call->node);
    list_push_back(&link->calls, &call->node);
    link->call_count++;
    call->link = link;
    return 0;
}

void etcd_calls_send(struct meta_etcd *etcd, uint64_t now)
{
    struct etcd_link *link = etcd->current;
    if (link == NULL || link->state != LINK_UP || link->dead || link->retired)
        return;
    LIST_EACH_SAFE (&etcd->waiting, node, after) {
        struct etcd_call *call = LIST_ENTRY(node, struct etcd_call, node);
        if (link->call_count >= ETCD_CALLS_MAX)
            return;
        if (call->again_ns > now)
            continue;
        uint64_t timeout_ns = GRPC_TIMEOUT_NONE;
        if (call->kind == CALL_REQUEST) {
            if (call->deadline_ns <= now)
                continue;
            timeout_ns = call->deadline_ns - now + NS_PER_S; /* Ours is over first. */
            call->answer_ns = now + etcd->answer_ns;
            etcd->expire_ns = MIN(etcd->expire_ns, call->answer_ns);
        } else if (call->watch->next == 0) {
            call->watch->next = etcd->revision_first + 1;
        }
        int result = etcd_call_send(link, call, timeout_ns);
        if (result == -EAGAIN) {
            etcd_link_retire(link, "it takes no more calls");
            return;
        }
        if (result != 0 && call->kind == CALL_REQUEST)
            etcd_call_finish(etcd, call, result);
    }
}

/* --- Time, and moving ---------------------------------------------------------------------- */

static void expire_list(struct meta_etcd *etcd, struct list *calls, uint64_t now)
{
    LIST_EACH_SAFE (calls, node, after) {
        struct etcd_call *call = LIST_ENTRY(node, struct etcd_call, node);
        if (call->kind != CALL_REQUEST)
            continue;
        struct etcd_link *link = call->link;
        uint64_t at = link != NULL ? MIN(call->answer_ns, call->deadline_ns) : call->deadline_ns;
        if (at > now) {
            etcd->expire_ns = MIN(etcd->expire_ns, at);
            continue;
        }
        if (link != NULL) {
            call->maybe |= grpc_cancel(call->stream);
            call_off(call);
            etcd_link_retire(link, "it takes too long to answer");
        }
        if (call->answered)
            etcd_call_finish(etcd, call, call->result);
        else if (call->deadline_ns <= now || (call->once && call->maybe))
            etcd_call_finish(etcd, call, lost_result(call));
        else
            call_again(etcd, call, 0);
    }
}

void etcd_calls_expire(struct meta_etcd *etcd, uint64_t now)
{
    if (now < etcd->expire_ns)
        return;
    etcd->expire_ns = UINT64_MAX;
    expire_list(etcd, &etcd->waiting, now);
    LIST_EACH (&etcd->links, node)
        expire_list(etcd, &LIST_ENTRY(node, struct etcd_link, node)->calls, now);
}

void etcd_calls_refuse(struct meta_etcd *etcd, int result)
{
    LIST_EACH_SAFE (&etcd->waiting, node, after) {
        struct etcd_call *call = LIST_ENTRY(node, struct etcd_call, node);
        if (call->kind == CALL_REQUEST)
            etcd_call_finish(etcd, call,
                             lost_result(call) == IOMESH_UNKNOWN ? IOMESH_UNKNOWN : result);
    }
}

void etcd_calls_take_back(struct etcd_link *link)
{
    LIST_EACH_SAFE (&link->calls, node, after) {
        struct etcd_call *call = LIST_ENTRY(node, struct etcd_call, node);
        if (call->kind != CALL_WATCH && (call->kind != CALL_REQUEST || call->once))
            continue;
        if (call->answered)
            continue; /* It ends in a moment. */
        call->maybe |= grpc_cancel(call->stream);
        call_off(call);
        if (call->kind == CALL_WATCH)
            etcd_watch_restart(call->watch);
        call_again(link->etcd, call, 0);
    }
}

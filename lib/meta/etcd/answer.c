/* SPDX-License-Identifier: Apache-2.0 */
/* What etcd answers, into what meta.h promises. Nothing is believed before it was looked at. */
#include <stdlib.h>

#include "meta/etcd/answer.h"

/* --- Memory -------------------------------------------------------------------------------- */

/* A message of few bytes may unpack into many: this much for each, and no more. */
#define BYTES_BASE (1u << 20)
#define BYTES_FACTOR 8u

static void *budget_alloc(void *context, size_t bytes)
{
    size_t *left = context;
    if (bytes > *left)
        return NULL;
    *left -= bytes;
    return malloc(bytes);
}

static void budget_free(void *context, void *memory)
{
    (void)context;
    free(memory);
}

ProtobufCMessage *etcd_unpack(const ProtobufCMessageDescriptor *kind, const void *data,
                              size_t length)
{
    size_t left = BYTES_BASE + BYTES_FACTOR * length;
    ProtobufCAllocator allocator = {
        .alloc = budget_alloc,
        .free = budget_free,
        .allocator_data = &left,
    };
    return protobuf_c_message_unpack(kind, &allocator, length, data);
}

void etcd_unpacked_free(void *message)
{
    ProtobufCAllocator allocator = {.alloc = budget_alloc, .free = budget_free};
    if (message != NULL)
        protobuf_c_message_free_unpacked(message, &allocator);
}

/* --- Entries ------------------------------------------------------------------------------- */

/* A key of ours, without the pool before it. False: it is none of ours. */
bool etcd_key(const struct meta_etcd *etcd, ProtobufCBinaryData key, struct meta_slice *ret_key)
{
    if (key.len <= etcd->root_length || key.len - etcd->root_length > META_KEY_BYTES_MAX ||
        memcmp(key.data, etcd->root, etcd->root_length) != 0)
        return false;
    *ret_key = (struct meta_slice){
        .data = key.data + etcd->root_length,
        .length = key.len - etcd->root_length,
    };
    return true;
}

/* What one answer needs while it is taken over. */
struct taking {
    const struct meta_etcd *etcd;
    struct meta_request *request;
    bool reads_only;
    uint32_t list_limit;
    size_t bytes;  /* Of keys and values so far. */
    uint32_t next; /* The response to be filled next. */
};

static int take_entry(struct taking *taking, const Etcd__Pair *pair, struct meta_entry *entry)
{
    struct meta_slice key;
    struct meta_slice value = {.data = pair->value.data, .length = pair->value.len};
    if (!etcd_key(taking->etcd, pair->key, &key) || pair->create_revision <= 0 ||
        pair->mod_revision < pair->create_revision)
        return -EPROTO;
    *entry = (struct meta_entry){
        .created_revision = (uint64_t)pair->create_revision,
        .modified_revision = (uint64_t)pair->mod_revision,
        .lease = (uint64_t)pair->lease,
    };
    taking->bytes += key.length + value.length;
    int result = meta_answer_copy(taking->request, key, &entry->key);
    return result != 0 ? result : meta_answer_copy(taking->request, value, &entry->value);
}

static bool entry_fits(const struct taking *taking, const Etcd__Pair *pair)
{
    return taking->bytes + pair->key.len - MIN(pair->key.len, taking->etcd->root_length) +
               pair->value.len <=
           META_RESPONSE_BYTES_MAX;
}

static int take_range(struct taking *taking, const struct meta_op *op,
                      const Etcd__RangeResponse *range, struct meta_response *response)
{
    bool list = op->kind == META_LIST;
    if (range->n_kvs > (list ? op->limit : 1))
        return -EPROTO;
    response->more = list && range->more;
    if (range->n_kvs == 0)
        return response->more ? -EPROTO : 0;
    response->entries =
        meta_answer_allocate(taking->request, range->n_kvs * sizeof *response->entries);
    if (response->entries == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < range->n_kvs; i++) {
        if (!entry_fits(taking, range->kvs[i])) {
            if (list) {
                response->more = true;
                return 0;
            }
            /* Of a transaction that changed something it is too late to say no. */
            if (taking->reads_only)
                return -E2BIG;
        }
        int result = take_entry(taking, range->kvs[i], &response->entries[response->entry_count]);
        if (result != 0)
            return result;
        response->entry_count++;
    }
    return 0;
}

static int take_op(struct taking *taking, const struct meta_op *op, const Etcd__ResponseOp *from,
                   struct meta_response *response)
{
    response->kind = op->kind;
    switch (op->kind) {
    case META_PUT: return from->response_case == ETCD__RESPONSE_OP__RESPONSE_PUT ? 0 : -EPROTO;
    case META_DELETE:
    case META_DELETE_PREFIX:
        if (from->response_case != ETCD__RESPONSE_OP__RESPONSE_DELETE_RANGE ||
            from->delete_range->deleted < 0 || from->delete_range->deleted > UINT32_MAX)
            return -EPROTO;
        response->deleted_count = (uint32_t)from->delete_range->deleted;
        return 0;
    case META_GET:
    case META_LIST:
        if (from->response_case != ETCD__RESPONSE_OP__RESPONSE_RANGE)
            return -EPROTO;
        return take_range(taking, op, from->range, response);
    }
    return -EPROTO;
}

/* The responses of one list, and of the pieces in it. */
static int take_list(struct taking *taking, const struct meta_branch *branch,
                     Etcd__ResponseOp *const *from, size_t count, bool inner)
{
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++) {
        if (from[i]->response_case == ETCD__RESPONSE_OP__RESPONSE_TXN) {
            const Etcd__TxnResponse *piece = from[i]->txn;
            result = inner || !piece->succeeded
                         ? -EPROTO
                         : take_list(taking, branch, piece->responses, piece->n_responses, true);
        } else if (taking->next == branch->count) {
            result = -EPROTO;
        } else {
            uint32_t n = taking->next++;
            result = take_op(taking, &branch->ops[n], from[i], &taking->request->responses[n]);
        }
    }
    return result;
}

/* --- Answers ------------------------------------------------------------------------------- */

static bool header_take(const Etcd__Header *header, struct meta_request *request,
                        uint64_t *ret_cluster)
{
    if (header == NULL || header->revision < 0)
        return false;
    *ret_cluster = header->cluster_id;
    request->revision = (uint64_t)header->revision;
    return true;
}

static int answer_txn(const struct meta_etcd *etcd, const struct etcd_call *call,
                      const Etcd__TxnResponse *answer, uint64_t *ret_cluster)
{
    struct meta_request *request = call->request;
    struct taking taking = {
        .etcd = etcd,
        .request = request,
        .reads_only = !call->once,
        .list_limit = call->list_limit,
    };
    if (!header_take(answer->header, request, ret_cluster) || request->revision == 0)
        return -EPROTO;
    request->succeeded = answer->succeeded;
    const struct meta_branch *branch = &request->body->branches[request->succeeded ? 0 : 1];
    int result = meta_answer_begin(request, branch->count);
    if (result == 0)
        result = take_list(&taking, branch, answer->responses, answer->n_responses, false);
    return result == 0 && taking.next != branch->count ? -EPROTO : result;
}

static int answer_grant(struct meta_request *request, const Etcd__LeaseGrantResponse *answer,
                        uint64_t *ret_cluster)
{
    if (!header_take(answer->header, request, ret_cluster) || answer->id <= 0 || answer->ttl <= 0 ||
        (uint64_t)answer->ttl > UINT64_MAX / NS_PER_S)
        return -EPROTO;
    request->lease = (uint64_t)answer->id;
    request->ttl_ns = (uint64_t)answer->ttl * NS_PER_S;
    return 0;
}

static int answer_keep(struct meta_request *request, const Etcd__LeaseKeepAliveResponse *answer,
                       uint64_t *ret_cluster)
{
    if (!header_take(answer->header, request, ret_cluster) ||
        (uint64_t)answer->id != request->lease || answer->ttl < 0 ||
        (uint64_t)answer->ttl > UINT64_MAX / NS_PER_S)
        return -EPROTO;
    if (answer->ttl == 0)
        return -ENOENT;
    request->ttl_ns = (uint64_t)answer->ttl * NS_PER_S;
    return 0;
}

static const ProtobufCMessageDescriptor *kind_of(const struct meta_request *request)
{
    switch (request->body->kind) {
    case META_LEASE_GRANT: return &etcd__lease_grant_response__descriptor;
    case META_LEASE_KEEP: return &etcd__lease_keep_alive_response__descriptor;
    case META_LEASE_REVOKE: return &etcd__lease_revoke_response__descriptor;
    case META_TRANSACTION: break;
    }
    return &etcd__txn_response__descriptor;
}

int etcd_answer(const struct meta_etcd *etcd, struct etcd_call *call, const void *data,
                uint32_t length, uint64_t *ret_cluster)
{
    struct meta_request *request = call->request;
    void *answer = etcd_unpack(kind_of(request), data, length);
    int result = -EPROTO;
    if (answer == NULL)
        return -EPROTO;
    meta_answer_reset(request);
    switch (request->body->kind) {
    case META_TRANSACTION: result = answer_txn(etcd, call, answer, ret_cluster); break;
    case META_LEASE_GRANT: result = answer_grant(request, answer, ret_cluster); break;
    case META_LEASE_KEEP: result = answer_keep(request, answer, ret_cluster); break;
    case META_LEASE_REVOKE: {
        const Etcd__LeaseRevokeResponse *revoked = answer;
        result = header_take(revoked->header, request, ret_cluster) ? 0 : -EPROTO;
        break;
    }
    }
    etcd_unpacked_free(answer);
    return result;
}

/* --- Refusals ------------------------------------------------------------------------------ */

/* etcd's sentences decide where its codes do not. */
static bool says(const struct grpc_end *end, const char *words)
{
    return strstr(end->text, words) != NULL;
}

static enum etcd_verdict judge_argument(const struct grpc_end *end, int *ret_result)
{
    if (says(end, "user name is empty") || says(end, "revision in header is old") ||
        says(end, "revision of auth store is old"))
        return VERDICT_LOGIN;
    *ret_result = -EINVAL;
    if (says(end, "authentication failed"))
        *ret_result = -EACCES;
    if (says(end, "too large") || says(end, "too many operations"))
        *ret_result = -E2BIG;
    return VERDICT_RESULT;
}

static enum etcd_verdict judge_unavailable(const struct grpc_end *end)
{
    /* Said before anything is done. Its other sentences are of what was begun. */
    if (says(end, "etcdserver: no leader") || says(end, "not supported for learner") ||
        says(end, "etcdserver: not capable"))
        return VERDICT_MOVE;
    return end->may_have_run ? VERDICT_LOST : VERDICT_MOVE;
}

enum etcd_verdict etcd_judge(const struct grpc_end *end, int *ret_result)
{
    switch (end->status) {
    case GRPC_UNAVAILABLE: return judge_unavailable(end);
    case GRPC_UNAUTHENTICATED: return VERDICT_LOGIN;
    case GRPC_INVALID_ARGUMENT: return judge_argument(end, ret_result);
    case GRPC_NOT_FOUND: *ret_result = -ENOENT; return VERDICT_RESULT;
    case GRPC_PERMISSION_DENIED: *ret_result = -EACCES; return VERDICT_RESULT;
    case GRPC_FAILED_PRECONDITION:
    case GRPC_OUT_OF_RANGE: *ret_result = -EINVAL; return VERDICT_RESULT;
    case GRPC_UNIMPLEMENTED: *ret_result = -ENOTSUP; return VERDICT_RESULT;
    case GRPC_RESOURCE_EXHAUSTED:
        if (says(end, "too many requests"))
            return VERDICT_AGAIN;
        if (says(end, "larger than max")) {
            *ret_result = -E2BIG;
            return VERDICT_RESULT;
        }
        if (says(end, "space exceeded"))
            return VERDICT_FULL;
        break;
    default: break;
    }
    return end->may_have_run ? VERDICT_LOST : VERDICT_MOVE;
}

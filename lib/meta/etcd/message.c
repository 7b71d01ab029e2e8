/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said to etcd.
 *
 * A transaction is flat as long as each of its lists is as short as etcd takes. If not, its
 * branches are cut into pieces, each a transaction without compares inside the one that has them:
 *
 *     if C then [ S1 .. Sn ] else [ F1 .. Fm ]
 *     if C then [ [S1 .. Sk] [Sk+1 ..] .. ] else [ [F1 ..] .. ]
 *
 * etcd takes `limit` compares or operations in the outer lists together with those of one inner.
 */
#include <stdlib.h>

#include "meta/etcd/inside.h"
#include "meta/etcd/rpc.pb-c.h"

size_t etcd_range_end(const uint8_t *key, size_t length, uint8_t ret_end[ETCD_KEY_BYTES_MAX])
{
    memcpy(ret_end, key, length);
    while (ret_end[length - 1] == 0xff)
        length--; /* Not beyond the root's slash. */
    ret_end[length - 1]++;
    return length;
}

bool etcd_shape_find(uint32_t limit, uint32_t compares, uint32_t most_ops,
                     struct etcd_shape *ret_shape)
{
    *ret_shape = (struct etcd_shape){.piece = most_ops};
    if (compares <= limit && most_ops <= limit)
        return true;
    for (uint32_t outer = MAX(compares, 1); outer < limit; outer++) {
        uint32_t inner = limit - outer;
        if (DIV_CEIL(most_ops, inner) <= outer) {
            *ret_shape = (struct etcd_shape){.nested = true, .piece = inner};
            return true;
        }
    }
    return false;
}

static uint32_t most_ops(const struct meta_body *body)
{
    return MAX(body->branches[0].count, body->branches[1].count);
}

int etcd_check(const struct meta_etcd *etcd, const struct meta_request *request)
{
    struct etcd_shape shape;
    const struct meta_body *body = request->body;
    if (body->kind != META_TRANSACTION ||
        etcd_shape_find(etcd->place.txn_ops, body->compare_count, most_ops(body), &shape))
        return 0;
    return FAIL(-E2BIG,
                "a transaction of %u compares and %u operations is more than etcd takes (%u): let "
                "its members have a larger --max-txn-ops, and say so: max-txn-ops=N",
                body->compare_count, most_ops(body), etcd->place.txn_ops);
}

/* --- Memory of a message while it is made -------------------------------------------------- */

struct key_room {
    uint8_t key[ETCD_KEY_BYTES_MAX];
    uint8_t end[ETCD_KEY_BYTES_MAX];
};

struct op_room {
    Etcd__RequestOp op;
    union {
        Etcd__RangeRequest range;
        Etcd__PutRequest put;
        Etcd__DeleteRangeRequest delete_range;
    };
    struct key_room keys;
};

struct compare_room {
    Etcd__Compare compare;
    uint8_t key[ETCD_KEY_BYTES_MAX];
};

struct piece_room {
    Etcd__RequestOp op;
    Etcd__TxnRequest txn;
};

/* All of a transaction. */
struct txn_room {
    Etcd__TxnRequest txn;
    struct compare_room *compares;
    struct op_room *ops;       /* Of both branches, one after the other. */
    struct piece_room *pieces; /* The same. */
    Etcd__Compare **compare_list;
    Etcd__RequestOp **op_list; /* Of both branches. */
    Etcd__RequestOp **piece_list;
};

static void room_free(struct txn_room *room)
{
    free(room->compares);
    free(room->ops);
    free(room->pieces);
    free(room->compare_list);
    free(room->op_list);
    free(room->piece_list);
}

static bool room_make(struct txn_room *room, uint32_t compares, uint32_t ops)
{
    /* Never for nothing: calloc() of that may be NULL. */
    room->compares = calloc(compares + 1, sizeof *room->compares);
    room->ops = calloc(ops + 1, sizeof *room->ops);
    room->pieces = calloc(ops + 2, sizeof *room->pieces);
    room->compare_list = calloc(compares + 1, sizeof *room->compare_list);
    room->op_list = calloc(ops + 1, sizeof *room->op_list);
    room->piece_list = calloc(ops + 2, sizeof *room->piece_list);
    return room->compares != NULL && room->ops != NULL && room->pieces != NULL &&
           room->compare_list != NULL && room->op_list != NULL && room->piece_list != NULL;
}

/* --- Keys, compares, operations ------------------------------------------------------------ */

static ProtobufCBinaryData bytes_of(const void *data, size_t length)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)data, .len = length};
}

/* A key of ours as etcd has it: with the pool before it. */
static ProtobufCBinaryData key_of(const struct meta_etcd *etcd, struct meta_slice key,
                                  uint8_t room[ETCD_KEY_BYTES_MAX])
{
    memcpy(room, etcd->root, etcd->root_length);
    if (key.length > 0)
        memcpy(room + etcd->root_length, key.data, key.length);
    return bytes_of(room, etcd->root_length + key.length);
}

static ProtobufCBinaryData end_of(ProtobufCBinaryData key, uint8_t room[ETCD_KEY_BYTES_MAX])
{
    return bytes_of(room, etcd_range_end(key.data, key.len, room));
}

static void encode_compare(const struct meta_etcd *etcd, const struct meta_compare *from,
                           struct compare_room *room)
{
    Etcd__Compare *to = &room->compare;
    enum { EQUAL, GREATER };
    enum { VERSION, CREATE, MOD, VALUE };
    etcd__compare__init(to);
    to->key = key_of(etcd, from->key, room->key);
    switch (from->kind) {
    case META_IF_ABSENT:
    case META_IF_PRESENT:
    case META_IF_CREATED:
        to->target = CREATE;
        to->result = from->kind == META_IF_PRESENT ? GREATER : EQUAL;
        to->than_case = ETCD__COMPARE__THAN_CREATE_REVISION;
        to->create_revision = from->kind == META_IF_CREATED ? (int64_t)from->revision : 0;
        break;
    case META_IF_MODIFIED:
        to->target = MOD;
        to->than_case = ETCD__COMPARE__THAN_MOD_REVISION;
        to->mod_revision = (int64_t)from->revision;
        break;
    case META_IF_VALUE:
        to->target = VALUE;
        to->than_case = ETCD__COMPARE__THAN_VALUE;
        to->value = bytes_of(from->value.data, from->value.length);
        break;
    }
}

static void encode_list(const struct meta_etcd *etcd, const struct meta_op *from,
                        uint32_t limit_max, struct op_room *room)
{
    uint8_t *key = room->keys.key;
    struct meta_slice after = from->value;
    ProtobufCBinaryData prefix = key_of(etcd, from->key, key);
    room->range.range_end = end_of(prefix, room->keys.end);
    room->range.key = prefix;
    room->range.limit = limit_max == 0 ? from->limit : MIN(from->limit, limit_max);
    if (after.length == 0)
        return;
    /* The least key after `after`, unless all that begins with the prefix comes later still. */
    size_t common = MIN(after.length + 1, from->key.length);
    uint8_t first[META_KEY_BYTES_MAX + 1];
    memcpy(first, after.data, after.length);
    first[after.length] = 0;
    int order = common > 0 ? memcmp(first, from->key.data, common) : 0;
    if (order < 0 || (order == 0 && after.length + 1 < from->key.length))
        return;
    room->range.key =
        key_of(etcd, (struct meta_slice){.data = first, .length = after.length + 1}, key);
}

static void encode_op(const struct meta_etcd *etcd, const struct meta_op *from, uint32_t limit_max,
                      struct op_room *room)
{
    etcd__request_op__init(&room->op);
    switch (from->kind) {
    case META_PUT:
        etcd__put_request__init(&room->put);
        room->op.request_case = ETCD__REQUEST_OP__REQUEST_PUT;
        room->op.put = &room->put;
        room->put.key = key_of(etcd, from->key, room->keys.key);
        room->put.value = bytes_of(from->value.data, from->value.length);
        room->put.lease = (int64_t)from->lease;
        break;
    case META_DELETE:
    case META_DELETE_PREFIX:
        etcd__delete_range_request__init(&room->delete_range);
        room->op.request_case = ETCD__REQUEST_OP__REQUEST_DELETE_RANGE;
        room->op.delete_range = &room->delete_range;
        room->delete_range.key = key_of(etcd, from->key, room->keys.key);
        if (from->kind == META_DELETE_PREFIX)
            room->delete_range.range_end = end_of(room->delete_range.key, room->keys.end);
        break;
    case META_GET:
    case META_LIST:
        etcd__range_request__init(&room->range);
        room->op.request_case = ETCD__REQUEST_OP__REQUEST_RANGE;
        room->op.range = &room->range;
        room->range.serializable = etcd->stale;
        if (from->kind == META_LIST)
            encode_list(etcd, from, limit_max, room);
        else
            room->range.key = key_of(etcd, from->key, room->keys.key);
        break;
    }
}

/* --- Messages ------------------------------------------------------------------------------ */

static int pack(const ProtobufCMessage *message, uint8_t **ret_bytes, uint32_t *ret_length)
{
    size_t length = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(length + 1);
    if (bytes == NULL)
        return -ENOMEM;
    *ret_length = (uint32_t)protobuf_c_message_pack(message, bytes);
    *ret_bytes = bytes;
    return 0;
}

/* One branch: its list, or that of its pieces; its operations begin at `first`. */
static void encode_branch(struct txn_room *room, const struct etcd_shape *shape, uint32_t first,
                          uint32_t count, uint32_t *piece_next, size_t *ret_count,
                          Etcd__RequestOp ***ret_list)
{
    if (!shape->nested) {
        *ret_list = room->op_list + first;
        *ret_count = count;
        return;
    }
    *ret_list = room->piece_list + *piece_next;
    *ret_count = DIV_CEIL(count, shape->piece);
    for (uint32_t done = 0; done < count; done += shape->piece) {
        struct piece_room *piece = &room->pieces[*piece_next];
        etcd__request_op__init(&piece->op);
        etcd__txn_request__init(&piece->txn);
        piece->op.request_case = ETCD__REQUEST_OP__REQUEST_TXN;
        piece->op.txn = &piece->txn;
        piece->txn.success = room->op_list + first + done;
        piece->txn.n_success = MIN(shape->piece, count - done);
        room->piece_list[(*piece_next)++] = &piece->op;
    }
}

static int encode_txn(const struct meta_etcd *etcd, const struct etcd_call *call,
                      uint8_t **ret_bytes, uint32_t *ret_length)
{
    const struct meta_body *body = call->request->body;
    uint32_t first = body->branches[0].count;
    uint32_t second = body->branches[1].count;
    uint32_t pieces = 0;
    struct etcd_shape shape;
    struct txn_room room = {0};
    int result = -ENOMEM;
    if (!etcd_shape_find(etcd->place.txn_ops, body->compare_count, MAX(first, second), &shape))
        return -E2BIG;
    if (room_make(&room, body->compare_count, first + second)) {
        for (uint32_t i = 0; i < body->compare_count; i++) {
            encode_compare(etcd, &body->compares[i], &room.compares[i]);
            room.compare_list[i] = &room.compares[i].compare;
        }
        for (uint32_t i = 0; i < first + second; i++) {
            const struct meta_op *op =
                i < first ? &body->branches[0].ops[i] : &body->branches[1].ops[i - first];
            encode_op(etcd, op, call->list_limit, &room.ops[i]);
            room.op_list[i] = &room.ops[i].op;
        }
        etcd__txn_request__init(&room.txn);
        room.txn.compare = room.compare_list;
        room.txn.n_compare = body->compare_count;
        encode_branch(&room, &shape, 0, first, &pieces, &room.txn.n_success, &room.txn.success);
        encode_branch(&room, &shape, first, second, &pieces, &room.txn.n_failure,
                      &room.txn.failure);
        result = pack(&room.txn.base, ret_bytes, ret_length);
    }
    room_free(&room);
    return result;
}

static int encode_request(const struct meta_etcd *etcd, const struct etcd_call *call,
                          uint8_t **ret_bytes, uint32_t *ret_length)
{
    const struct meta_request *request = call->request;
    Etcd__LeaseGrantRequest grant = ETCD__LEASE_GRANT_REQUEST__INIT;
    Etcd__LeaseKeepAliveRequest keep = ETCD__LEASE_KEEP_ALIVE_REQUEST__INIT;
    Etcd__LeaseRevokeRequest revoke = ETCD__LEASE_REVOKE_REQUEST__INIT;
    switch (request->body->kind) {
    case META_LEASE_GRANT:
        grant.ttl = (int64_t)DIV_CEIL(request->ttl_ns, NS_PER_S);
        return pack(&grant.base, ret_bytes, ret_length);
    case META_LEASE_KEEP:
        keep.id = (int64_t)request->lease;
        return pack(&keep.base, ret_bytes, ret_length);
    case META_LEASE_REVOKE:
        revoke.id = (int64_t)request->lease;
        return pack(&revoke.base, ret_bytes, ret_length);
    case META_TRANSACTION: break;
    }
    return encode_txn(etcd, call, ret_bytes, ret_length);
}

static int encode_watch(const struct meta_etcd *etcd, const struct etcd_watch *watch,
                        uint8_t **ret_bytes, uint32_t *ret_length)
{
    struct key_room room;
    Etcd__WatchRequest request = ETCD__WATCH_REQUEST__INIT;
    Etcd__WatchCreateRequest create = ETCD__WATCH_CREATE_REQUEST__INIT;
    struct meta_slice prefix = {.data = watch->prefix, .length = watch->prefix_length};
    create.key = key_of(etcd, prefix, room.key);
    create.range_end = end_of(create.key, room.end);
    create.start_revision = (int64_t)watch->next;
    create.progress_notify = true;
    create.prev_kv = true;
    create.fragment = true;
    request.request_case = ETCD__WATCH_REQUEST__REQUEST_CREATE;
    request.create = &create;
    return pack(&request.base, ret_bytes, ret_length);
}

int etcd_encode(const struct meta_etcd *etcd, const struct etcd_call *call, uint8_t **ret_bytes,
                uint32_t *ret_length)
{
    Etcd__AuthenticateRequest login = ETCD__AUTHENTICATE_REQUEST__INIT;
    Etcd__RangeRequest greeting = ETCD__RANGE_REQUEST__INIT;
    switch (call->kind) {
    case CALL_REQUEST: return encode_request(etcd, call, ret_bytes, ret_length);
    case CALL_WATCH: return encode_watch(etcd, call->watch, ret_bytes, ret_length);
    case CALL_LOGIN:
        login.name = (char *)(uintptr_t)etcd->place.user;
        login.password = (char *)(uintptr_t)etcd->password;
        return pack(&login.base, ret_bytes, ret_length);
    case CALL_GREETING: break;
    }
    greeting.key = bytes_of(etcd->root, etcd->root_length);
    greeting.serializable = etcd->stale;
    return pack(&greeting.base, ret_bytes, ret_length);
}

const char *etcd_path(const struct etcd_call *call)
{
    switch (call->kind) {
    case CALL_LOGIN: return "/etcdserverpb.Auth/Authenticate";
    case CALL_GREETING: return "/etcdserverpb.KV/Range";
    case CALL_WATCH: return "/etcdserverpb.Watch/Watch";
    case CALL_REQUEST: break;
    }
    switch (call->request->body->kind) {
    case META_LEASE_GRANT: return "/etcdserverpb.Lease/LeaseGrant";
    case META_LEASE_KEEP: return "/etcdserverpb.Lease/LeaseKeepAlive";
    case META_LEASE_REVOKE: return "/etcdserverpb.Lease/LeaseRevoke";
    case META_TRANSACTION: break;
    }
    return "/etcdserverpb.KV/Txn";
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the pool: cluster, counters, stores, sessions, names. */
#include <string.h>

#include "format/metadata.pb-c.h"
#include "format/metadata_frame.h"

#define UUID_BYTES 16u

static bool uuid_take(const ProtobufCBinaryData *from, uint8_t to[UUID_BYTES])
{
    if (from->len != UUID_BYTES)
        return false;
    memcpy(to, from->data, UUID_BYTES);
    return true;
}

int metadata_cluster_encode(const struct metadata_cluster *cluster,
                            struct metadata_bytes *ret_value)
{
    uint8_t uuid[UUID_BYTES];
    Metadata__Cluster message = METADATA__CLUSTER__INIT;
    memcpy(uuid, cluster->uuid, sizeof uuid);
    message.uuid = (ProtobufCBinaryData){.len = sizeof uuid, .data = uuid};
    message.format = cluster->format;
    message.created_ns = cluster->created_ns;
    message.out_after_ms = cluster->out_after_ms;
    message.moves_per_store_max = cluster->moves_per_store_max;
    message.moves_per_pool_max = cluster->moves_per_pool_max;
    message.move_store_bytes_max = cluster->move_store_bytes_max;
    message.move_pool_bytes_max = cluster->move_pool_bytes_max;
    message.balance_percent = cluster->balance_percent;
    message.grace_ms = cluster->grace_ms;
    message.copy_timeout_ms = cluster->copy_timeout_ms;
    message.slow_ms = cluster->slow_ms;
    message.resync_volume_bytes_max = cluster->resync_volume_bytes_max;
    message.resync_engine_bytes_max = cluster->resync_engine_bytes_max;
    return metadata_frame_pack(METADATA_CLUSTER, &message.base, &cluster->unknown, ret_value);
}

int metadata_cluster_decode(const void *value, size_t length, struct metadata_cluster *ret_cluster)
{
    ProtobufCMessage *base;
    struct metadata_cluster cluster = {0};
    int result = metadata_frame_unpack(METADATA_CLUSTER, &metadata__cluster__descriptor, value,
                                       length, &base);
    if (result != 0)
        return result;
    const Metadata__Cluster *message = (const Metadata__Cluster *)base;
    cluster.format = message->format;
    cluster.created_ns = message->created_ns;
    cluster.out_after_ms = message->out_after_ms;
    cluster.moves_per_store_max = message->moves_per_store_max;
    cluster.moves_per_pool_max = message->moves_per_pool_max;
    cluster.move_store_bytes_max = message->move_store_bytes_max;
    cluster.move_pool_bytes_max = message->move_pool_bytes_max;
    cluster.balance_percent = message->balance_percent;
    cluster.grace_ms = message->grace_ms;
    cluster.copy_timeout_ms = message->copy_timeout_ms;
    cluster.slow_ms = message->slow_ms;
    cluster.resync_volume_bytes_max = message->resync_volume_bytes_max;
    cluster.resync_engine_bytes_max = message->resync_engine_bytes_max;
    result = uuid_take(&message->uuid, cluster.uuid)
                 ? metadata_frame_unknown(base, &cluster.unknown)
                 : IOMESH_CORRUPT;
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_cluster = cluster;
    return result;
}

void metadata_cluster_done(struct metadata_cluster *cluster)
{
    metadata_bytes_done(&cluster->unknown);
}

int metadata_counter_encode(const struct metadata_counter *counter,
                            struct metadata_bytes *ret_value)
{
    Metadata__Counter message = METADATA__COUNTER__INIT;
    message.next = counter->next;
    return metadata_frame_pack(METADATA_COUNTER, &message.base, &counter->unknown, ret_value);
}

int metadata_counter_decode(const void *value, size_t length, struct metadata_counter *ret_counter)
{
    ProtobufCMessage *base;
    struct metadata_counter counter = {0};
    int result = metadata_frame_unpack(METADATA_COUNTER, &metadata__counter__descriptor, value,
                                       length, &base);
    if (result != 0)
        return result;
    counter.next = ((const Metadata__Counter *)base)->next;
    result = metadata_frame_unknown(base, &counter.unknown);
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_counter = counter;
    return result;
}

void metadata_counter_done(struct metadata_counter *counter)
{
    metadata_bytes_done(&counter->unknown);
}

int metadata_store_encode(const struct metadata_store *store, struct metadata_bytes *ret_value)
{
    uint8_t uuid[UUID_BYTES];
    Metadata__Store message = METADATA__STORE__INIT;
    memcpy(uuid, store->uuid, sizeof uuid);
    message.id = store->id;
    message.uuid = (ProtobufCBinaryData){.len = sizeof uuid, .data = uuid};
    message.node = metadata_text_lend(store->node);
    message.address = metadata_text_lend(store->address);
    message.zone = metadata_text_lend(store->zone);
    message.rack = metadata_text_lend(store->rack);
    message.path = metadata_text_lend(store->path);
    message.media = store->media;
    message.bytes = store->bytes;
    message.bytes_used = store->bytes_used;
    message.state = store->state;
    message.incarnation = store->incarnation;
    message.bytes_promised = store->bytes_promised;
    message.state_since_ns = store->state_since_ns;
    message.state_reason = store->state_reason;
    message.weight_percent = store->weight_percent;
    message.failed = store->failed;
    message.drains = store->drains;
    message.silent_ms = store->silent_ms;
    message.silent_told_ns = store->silent_told_ns;
    return metadata_frame_pack(METADATA_STORE, &message.base, &store->unknown, ret_value);
}

static int store_take(const Metadata__Store *message, struct metadata_store *store)
{
    if (!uuid_take(&message->uuid, store->uuid) ||
        !metadata_text_take(message->node, store->node, sizeof store->node) ||
        !metadata_text_take(message->address, store->address, sizeof store->address) ||
        !metadata_text_take(message->zone, store->zone, sizeof store->zone) ||
        !metadata_text_take(message->rack, store->rack, sizeof store->rack) ||
        !metadata_text_take(message->path, store->path, sizeof store->path))
        return IOMESH_CORRUPT;
    if (message->media > METADATA_HDD || message->state > METADATA_STORE_OUT)
        return FAIL(IOMESH_FORMAT, METADATA_UNKNOWN, "a store of a class or state",
                    METADATA_VERSION);
    store->id = message->id;
    store->media = (enum metadata_media)message->media;
    store->bytes = message->bytes;
    store->bytes_used = message->bytes_used;
    store->state = (enum metadata_store_state)message->state;
    store->incarnation = message->incarnation;
    store->bytes_promised = message->bytes_promised;
    store->state_since_ns = message->state_since_ns;
    store->state_reason = message->state_reason;
    store->weight_percent = message->weight_percent;
    store->failed = message->failed != 0;
    store->drains = message->drains != 0;
    store->silent_ms = message->silent_ms;
    store->silent_told_ns = message->silent_told_ns;
    return metadata_frame_unknown(&message->base, &store->unknown);
}

int metadata_store_decode(const void *value, size_t length, struct metadata_store *ret_store)
{
    ProtobufCMessage *base;
    struct metadata_store store = {0};
    int result =
        metadata_frame_unpack(METADATA_STORE, &metadata__store__descriptor, value, length, &base);
    if (result != 0)
        return result;
    result = store_take((const Metadata__Store *)base, &store);
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_store = store;
    return result;
}

void metadata_store_done(struct metadata_store *store)
{
    metadata_bytes_done(&store->unknown);
}

int metadata_session_encode(const struct metadata_session *session,
                            struct metadata_bytes *ret_value)
{
    Metadata__Session message = METADATA__SESSION__INIT;
    message.id = session->id;
    message.node = metadata_text_lend(session->node);
    message.address = metadata_text_lend(session->address);
    message.started_ns = session->started_ns;
    return metadata_frame_pack(METADATA_SESSION, &message.base, &session->unknown, ret_value);
}

int metadata_session_decode(const void *value, size_t length, struct metadata_session *ret_session)
{
    ProtobufCMessage *base;
    struct metadata_session session = {0};
    int result = metadata_frame_unpack(METADATA_SESSION, &metadata__session__descriptor, value,
                                       length, &base);
    if (result != 0)
        return result;
    const Metadata__Session *message = (const Metadata__Session *)base;
    session.id = message->id;
    session.started_ns = message->started_ns;
    result = metadata_text_take(message->node, session.node, sizeof session.node) &&
                     metadata_text_take(message->address, session.address, sizeof session.address)
                 ? metadata_frame_unknown(base, &session.unknown)
                 : IOMESH_CORRUPT;
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_session = session;
    return result;
}

void metadata_session_done(struct metadata_session *session)
{
    metadata_bytes_done(&session->unknown);
}

int metadata_name_encode(const struct metadata_name *name, struct metadata_bytes *ret_value)
{
    Metadata__Name message = METADATA__NAME__INIT;
    message.volume = name->volume;
    return metadata_frame_pack(METADATA_NAME, &message.base, &name->unknown, ret_value);
}

int metadata_name_decode(const void *value, size_t length, struct metadata_name *ret_name)
{
    ProtobufCMessage *base;
    struct metadata_name name = {0};
    int result =
        metadata_frame_unpack(METADATA_NAME, &metadata__name__descriptor, value, length, &base);
    if (result != 0)
        return result;
    name.volume = ((const Metadata__Name *)base)->volume;
    result = metadata_frame_unknown(base, &name.unknown);
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_name = name;
    return result;
}

void metadata_name_done(struct metadata_name *name)
{
    metadata_bytes_done(&name->unknown);
}

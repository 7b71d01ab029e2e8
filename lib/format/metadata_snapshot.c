/* SPDX-License-Identifier: Apache-2.0 */
/* Records of snapshots, and of groups of them. */
#include <string.h>

#include "format/metadata.pb-c.h"
#include "format/metadata_frame.h"

int metadata_snapshot_encode(const struct metadata_snapshot *snapshot,
                             struct metadata_bytes *ret_value)
{
    Metadata__Snapshot message = METADATA__SNAPSHOT__INIT;
    uint8_t uuid[16];
    assert(name_check("snapshot", snapshot->name, strlen(snapshot->name)) == 0);
    message.volume = snapshot->volume;
    message.cut = snapshot->cut;
    message.name = metadata_text_lend(snapshot->name);
    message.created_ns = snapshot->created_ns;
    message.state = snapshot->state;
    memcpy(uuid, snapshot->uuid, sizeof uuid);
    message.uuid = (ProtobufCBinaryData){.len = sizeof uuid, .data = uuid};
    message.bytes = snapshot->bytes;
    message.group = metadata_text_lend(snapshot->group);
    message.clones = snapshot->clones;
    message.first = snapshot->first;
    return metadata_frame_pack(METADATA_SNAPSHOT, &message.base, &snapshot->unknown, ret_value);
}

static int snapshot_take(const Metadata__Snapshot *message, struct metadata_snapshot *snapshot)
{
    if (message->state > METADATA_SNAPSHOT_DELETING)
        return FAIL(IOMESH_FORMAT, METADATA_UNKNOWN, "a snapshot of a state", METADATA_VERSION);
    if (!metadata_name_take(message->name, snapshot->name) || message->cut >> 48 != 0 ||
        message->uuid.len != sizeof snapshot->uuid || message->first > message->cut ||
        (message->group[0] != '\0' && !metadata_name_take(message->group, snapshot->group)))
        return IOMESH_CORRUPT;
    memcpy(snapshot->uuid, message->uuid.data, sizeof snapshot->uuid);
    snapshot->bytes = message->bytes;
    snapshot->clones = message->clones;
    snapshot->first = message->first;
    snapshot->volume = message->volume;
    snapshot->cut = message->cut;
    snapshot->created_ns = message->created_ns;
    snapshot->state = (enum metadata_snapshot_state)message->state;
    return metadata_frame_unknown(&message->base, &snapshot->unknown);
}

int metadata_snapshot_decode(const void *value, size_t length,
                             struct metadata_snapshot *ret_snapshot)
{
    ProtobufCMessage *base;
    struct metadata_snapshot snapshot = {0};
    int result = metadata_frame_unpack(METADATA_SNAPSHOT, &metadata__snapshot__descriptor, value,
                                       length, &base);
    if (result != 0)
        return result;
    result = snapshot_take((const Metadata__Snapshot *)base, &snapshot);
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_snapshot = snapshot;
    return result;
}

void metadata_snapshot_done(struct metadata_snapshot *snapshot)
{
    metadata_bytes_done(&snapshot->unknown);
}

int metadata_together_encode(const struct metadata_together *together,
                             struct metadata_bytes *ret_value)
{
    Metadata__Together message = METADATA__TOGETHER__INIT;
    Metadata__Part parts[METADATA_PARTS_MAX];
    Metadata__Part *pointers[METADATA_PARTS_MAX];
    assert(name_check("group", together->name, strlen(together->name)) == 0);
    assert(together->part_count <= METADATA_PARTS_MAX);
    for (uint32_t i = 0; i < together->part_count; i++) {
        metadata__part__init(&parts[i]);
        parts[i].volume = together->parts[i].volume;
        parts[i].cut = together->parts[i].cut;
        pointers[i] = &parts[i];
    }
    message.name = metadata_text_lend(together->name);
    message.created_ns = together->created_ns;
    message.n_parts = together->part_count;
    message.parts = pointers;
    return metadata_frame_pack(METADATA_TOGETHER, &message.base, &together->unknown, ret_value);
}

static int together_take(const Metadata__Together *message, struct metadata_together *together)
{
    if (!metadata_name_take(message->name, together->name) || message->n_parts > METADATA_PARTS_MAX)
        return IOMESH_CORRUPT;
    together->created_ns = message->created_ns;
    together->part_count = (uint32_t)message->n_parts;
    for (uint32_t i = 0; i < together->part_count; i++) {
        if (message->parts[i]->cut >> 48 != 0)
            return IOMESH_CORRUPT;
        together->parts[i].volume = message->parts[i]->volume;
        together->parts[i].cut = message->parts[i]->cut;
    }
    return metadata_frame_unknown(&message->base, &together->unknown);
}

int metadata_together_decode(const void *value, size_t length,
                             struct metadata_together *ret_together)
{
    ProtobufCMessage *base;
    struct metadata_together together = {0};
    int result = metadata_frame_unpack(METADATA_TOGETHER, &metadata__together__descriptor, value,
                                       length, &base);
    if (result != 0)
        return result;
    result = together_take((const Metadata__Together *)base, &together);
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_together = together;
    return result;
}

void metadata_together_done(struct metadata_together *together)
{
    metadata_bytes_done(&together->unknown);
}

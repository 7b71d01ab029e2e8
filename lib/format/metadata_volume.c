/* SPDX-License-Identifier: Apache-2.0 */
/* Records of a volume: itself, its groups, its map. */
#include <stdlib.h>
#include <string.h>

#include "format/metadata.pb-c.h"
#include "format/metadata_frame.h"

/* A message whose repeated field points at `count` others, all in one piece of memory. */
static void *array_new(size_t count, size_t item_bytes, void ***ret_pointers)
{
    uint8_t *memory = calloc(count + 1, sizeof(void *) + item_bytes);
    if (memory == NULL)
        return NULL;
    void **pointers = (void **)(void *)memory;
    uint8_t *items = memory + (count + 1) * sizeof(void *);
    for (size_t i = 0; i < count; i++)
        pointers[i] = items + i * item_bytes;
    *ret_pointers = pointers;
    return memory;
}

static void volume_fill(Metadata__Volume *message, const struct metadata_volume *volume)
{
    message->id = volume->id;
    message->name = metadata_text_lend(volume->name);
    message->bytes = volume->bytes;
    message->sector_bytes = volume->sector_bytes;
    message->state = volume->state;
    message->owner_session = volume->owner_session;
    message->epoch = volume->epoch;
    message->sequence_end = volume->sequence_end;
    message->created_ns = volume->created_ns;
    message->copies = volume->policy.copies;
    message->copies_min = volume->policy.copies_min;
    message->ec_data = volume->policy.ec_data;
    message->ec_parity = volume->policy.ec_parity;
    message->tier = volume->policy.tier;
    message->compression = volume->policy.compression;
    message->domain = volume->policy.domain;
    message->media = volume->policy.media;
    message->parent_volume = volume->parent_volume;
    message->parent_cut = volume->parent_cut;
    message->cipher = volume->cipher;
    message->key_name = metadata_text_lend(volume->key_name);
    message->operations_max = volume->operations_max;
    message->bytes_max = volume->bytes_max;
    message->burst_ms = volume->burst_ms;
    message->flattened = volume->flattened;
    message->rollback_cut = volume->rollback_cut;
    message->rollback_from = volume->rollback_from;
    message->rollback_bytes = volume->rollback_bytes;
    message->unclean = volume->unclean;
    message->import_name = metadata_text_lend(volume->import_name);
    message->import_base = volume->import_base;
    message->import_bytes = volume->import_bytes;
    message->equal_cut = volume->equal_cut;
    message->equal_sequence = volume->equal_sequence;
    message->snapshots = volume->snapshots;
    message->emptied = volume->emptied;
    message->owner_yields = volume->owner_yields;
}

int metadata_volume_encode(const struct metadata_volume *volume, struct metadata_bytes *ret_value)
{
    Metadata__Volume message = METADATA__VOLUME__INIT;
    uint8_t wrapped_key[METADATA_WRAPPED_KEY_BYTES_MAX];
    uint8_t import_uuid[16];
    void **labels;
    assert(name_check("volume", volume->name, strlen(volume->name)) == 0);
    assert(volume->label_count <= METADATA_LABELS_MAX);
    assert(volume->wrapped_key_length <= sizeof wrapped_key);
    void *memory = array_new(volume->label_count, sizeof(Metadata__Label), &labels);
    if (memory == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < volume->label_count; i++) {
        Metadata__Label *label = labels[i];
        metadata__label__init(label);
        label->key = metadata_text_lend(volume->labels[i].key);
        label->value = metadata_text_lend(volume->labels[i].value);
    }
    volume_fill(&message, volume);
    memcpy(wrapped_key, volume->wrapped_key, sizeof wrapped_key);
    message.wrapped_key =
        (ProtobufCBinaryData){.len = volume->wrapped_key_length, .data = wrapped_key};
    memcpy(import_uuid, volume->import_uuid, sizeof import_uuid);
    if (volume->incomplete)
        message.import_uuid = (ProtobufCBinaryData){.len = sizeof import_uuid, .data = import_uuid};
    message.n_labels = volume->label_count;
    message.labels = (Metadata__Label **)labels;
    int result = metadata_frame_pack(METADATA_VOLUME, &message.base, &volume->unknown, ret_value);
    free(memory);
    return result;
}

static bool volume_known(const Metadata__Volume *message)
{
    return message->state <= METADATA_VOLUME_KEPT && message->tier <= METADATA_TIER_CAPACITY &&
           message->compression <= METADATA_COMPRESS_ZSTD &&
           message->domain <= METADATA_DOMAIN_ZONE &&
           (message->media & ~METADATA_MEDIA_MASK) == 0 &&
           message->cipher <= METADATA_CIPHER_AES_256_XTS;
}

static int labels_take(const Metadata__Volume *message, struct metadata_volume *volume)
{
    if (message->n_labels > METADATA_LABELS_MAX)
        return IOMESH_CORRUPT;
    if (message->n_labels == 0)
        return 0;
    volume->labels = calloc(message->n_labels, sizeof *volume->labels);
    if (volume->labels == NULL)
        return -ENOMEM;
    volume->label_count = (uint32_t)message->n_labels;
    for (size_t i = 0; i < message->n_labels; i++) {
        struct metadata_label *label = &volume->labels[i];
        if (!metadata_text_take(message->labels[i]->key, label->key, sizeof label->key) ||
            !metadata_text_take(message->labels[i]->value, label->value, sizeof label->value))
            return IOMESH_CORRUPT;
    }
    return 0;
}

static void volume_take_numbers(const Metadata__Volume *message, struct metadata_volume *volume)
{
    volume->id = message->id;
    volume->bytes = message->bytes;
    volume->sector_bytes = message->sector_bytes;
    volume->state = (enum metadata_volume_state)message->state;
    volume->owner_session = message->owner_session;
    volume->epoch = message->epoch;
    volume->sequence_end = message->sequence_end;
    volume->created_ns = message->created_ns;
    volume->policy = (struct metadata_policy){
        .copies = message->copies,
        .copies_min = message->copies_min,
        .ec_data = message->ec_data,
        .ec_parity = message->ec_parity,
        .tier = (enum metadata_tier)message->tier,
        .compression = (enum metadata_compression)message->compression,
        .domain = (enum metadata_domain)message->domain,
        .media = message->media,
    };
    volume->parent_volume = message->parent_volume;
    volume->parent_cut = message->parent_cut;
    volume->cipher = (enum metadata_cipher)message->cipher;
    volume->operations_max = message->operations_max;
    volume->bytes_max = message->bytes_max;
    volume->burst_ms = message->burst_ms;
    volume->flattened = message->flattened;
    volume->rollback_cut = message->rollback_cut;
    volume->rollback_from = message->rollback_from;
    volume->rollback_bytes = message->rollback_bytes;
    volume->unclean = message->unclean;
    volume->import_base = message->import_base;
    volume->import_bytes = message->import_bytes;
    volume->equal_cut = message->equal_cut;
    volume->equal_sequence = message->equal_sequence;
    volume->snapshots = message->snapshots;
    volume->emptied = message->emptied;
    volume->owner_yields = message->owner_yields;
}

/* The sequences among its numbers. */
static bool volume_numbers_fit(const Metadata__Volume *message)
{
    uint64_t all = message->epoch | message->sequence_end | message->parent_cut |
                   message->flattened | message->rollback_cut | message->rollback_from |
                   message->import_base | message->equal_cut | message->equal_sequence;
    return all >> 48 == 0;
}

static bool import_take(const Metadata__Volume *message, struct metadata_volume *volume)
{
    if (message->import_uuid.len == 0)
        return message->import_name[0] == '\0';
    volume->incomplete = true;
    if (message->import_uuid.len != sizeof volume->import_uuid)
        return false;
    memcpy(volume->import_uuid, message->import_uuid.data, sizeof volume->import_uuid);
    return metadata_name_take(message->import_name, volume->import_name);
}

static int volume_take(const Metadata__Volume *message, struct metadata_volume *volume)
{
    if (!volume_known(message))
        return FAIL(IOMESH_FORMAT, METADATA_UNKNOWN, "a volume of a kind", METADATA_VERSION);
    if (!metadata_name_take(message->name, volume->name) ||
        !metadata_text_take(message->key_name, volume->key_name, sizeof volume->key_name) ||
        message->wrapped_key.len > sizeof volume->wrapped_key || !volume_numbers_fit(message) ||
        !import_take(message, volume) ||
        (message->sector_bytes != 512 && message->sector_bytes != 4096))
        return IOMESH_CORRUPT;
    volume_take_numbers(message, volume);
    volume->wrapped_key_length = (uint32_t)message->wrapped_key.len;
    if (message->wrapped_key.len > 0)
        memcpy(volume->wrapped_key, message->wrapped_key.data, message->wrapped_key.len);
    int result = labels_take(message, volume);
    return result != 0 ? result : metadata_frame_unknown(&message->base, &volume->unknown);
}

int metadata_volume_decode(const void *value, size_t length, struct metadata_volume *ret_volume)
{
    ProtobufCMessage *base;
    struct metadata_volume volume = {0};
    int result =
        metadata_frame_unpack(METADATA_VOLUME, &metadata__volume__descriptor, value, length, &base);
    if (result != 0)
        return result;
    result = volume_take((const Metadata__Volume *)base, &volume);
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_volume = volume;
    else
        metadata_volume_done(&volume);
    return result;
}

void metadata_volume_done(struct metadata_volume *volume)
{
    free(volume->labels);
    volume->labels = NULL;
    volume->label_count = 0;
    metadata_bytes_done(&volume->unknown);
}

int metadata_group_encode(const struct metadata_group *group, struct metadata_bytes *ret_value)
{
    Metadata__Group message = METADATA__GROUP__INIT;
    Metadata__Member members[METADATA_MEMBERS_MAX];
    Metadata__Member *pointers[METADATA_MEMBERS_MAX];
    assert(group->member_count <= METADATA_MEMBERS_MAX);
    for (uint32_t i = 0; i < group->member_count; i++) {
        metadata__member__init(&members[i]);
        members[i].store = group->members[i].store;
        members[i].state = group->members[i].state;
        members[i].reason = group->members[i].reason;
        members[i].fragment = group->members[i].fragment;
        members[i].since_ns = group->members[i].since_ns;
        members[i].leaving = group->members[i].leaving;
        pointers[i] = &members[i];
    }
    message.volume = group->volume;
    message.id = group->id;
    message.generation = group->generation;
    message.n_members = group->member_count;
    message.members = pointers;
    uint64_t left[METADATA_LEFT_MAX]; /* What packs takes no const. */
    assert(group->left_count <= METADATA_LEFT_MAX);
    for (uint32_t i = 0; i < group->left_count; i++)
        left[i] = group->left[i];
    message.n_left = group->left_count;
    message.left = left;
    return metadata_frame_pack(METADATA_GROUP, &message.base, &group->unknown, ret_value);
}

static int group_take(const Metadata__Group *message, struct metadata_group *group)
{
    if (message->n_members > METADATA_MEMBERS_MAX || message->id > UINT16_MAX ||
        message->n_left > METADATA_LEFT_MAX)
        return IOMESH_CORRUPT;
    group->left_count = (uint32_t)message->n_left;
    for (uint32_t i = 0; i < group->left_count; i++)
        group->left[i] = message->left[i];
    group->volume = message->volume;
    group->id = message->id;
    group->generation = message->generation;
    group->member_count = (uint32_t)message->n_members;
    for (uint32_t i = 0; i < group->member_count; i++) {
        const Metadata__Member *member = message->members[i];
        if (member->state > METADATA_CATCHING_UP)
            return FAIL(IOMESH_FORMAT, METADATA_UNKNOWN, "a copy of a state", METADATA_VERSION);
        group->members[i] = (struct metadata_member){
            .store = member->store,
            .state = (enum metadata_member_state)member->state,
            .reason = member->reason,
            .fragment = member->fragment,
            .since_ns = member->since_ns,
            .leaving = member->leaving,
        };
    }
    return metadata_frame_unknown(&message->base, &group->unknown);
}

int metadata_group_decode(const void *value, size_t length, struct metadata_group *ret_group)
{
    ProtobufCMessage *base;
    struct metadata_group group = {0};
    int result =
        metadata_frame_unpack(METADATA_GROUP, &metadata__group__descriptor, value, length, &base);
    if (result != 0)
        return result;
    result = group_take((const Metadata__Group *)base, &group);
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_group = group;
    return result;
}

void metadata_group_done(struct metadata_group *group)
{
    metadata_bytes_done(&group->unknown);
}

int metadata_map_encode(const struct metadata_map *map, struct metadata_bytes *ret_value)
{
    Metadata__Map message = METADATA__MAP__INIT;
    size_t count = 0;
    assert(map->segment_count <= METADATA_MAP_SEGMENTS);
    uint32_t *runs = calloc(2 * (size_t)map->segment_count + 1, sizeof *runs);
    if (runs == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < map->segment_count; i++) {
        if (i == 0 || map->groups[i] != map->groups[i - 1]) {
            runs[count + 1] = map->groups[i];
            count += 2;
        }
        runs[count - 2]++;
    }
    message.volume = map->volume;
    message.index = map->index;
    message.n_runs = count;
    message.runs = runs;
    int result = metadata_frame_pack(METADATA_MAP, &message.base, &map->unknown, ret_value);
    free(runs);
    return result;
}

static int map_take(const Metadata__Map *message, struct metadata_map *map)
{
    if (message->n_runs % 2 != 0 || message->index > UINT16_MAX)
        return IOMESH_CORRUPT;
    map->volume = message->volume;
    map->index = message->index;
    map->segment_count = 0;
    for (size_t i = 0; i < message->n_runs; i += 2) {
        uint32_t count = message->runs[i];
        uint32_t group = message->runs[i + 1];
        if (count == 0 || count > METADATA_MAP_SEGMENTS - map->segment_count || group > UINT16_MAX)
            return IOMESH_CORRUPT;
        for (uint32_t s = 0; s < count; s++)
            map->groups[map->segment_count++] = (uint16_t)group;
    }
    return metadata_frame_unknown(&message->base, &map->unknown);
}

int metadata_map_decode(const void *value, size_t length, struct metadata_map *ret_map)
{
    ProtobufCMessage *base;
    int result =
        metadata_frame_unpack(METADATA_MAP, &metadata__map__descriptor, value, length, &base);
    if (result != 0)
        return result;
    struct metadata_map *map = calloc(1, sizeof *map);
    result = map == NULL ? -ENOMEM : map_take((const Metadata__Map *)base, map);
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_map = *map;
    free(map);
    return result;
}

void metadata_map_done(struct metadata_map *map)
{
    metadata_bytes_done(&map->unknown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of the metadata: text with numbers of fixed width. */
#include <stdio.h>
#include <string.h>

#include "format/metadata.h"

/* What follows the prefix. */
enum shape { SHAPE_NOTHING, SHAPE_NAME, SHAPE_ID, SHAPE_ID_4, SHAPE_ID_12, SHAPE_ID_12_ID };

static const struct {
    const char *prefix;
    enum shape shape;
} kinds[] = {
    [METADATA_CLUSTER] = {"cluster", SHAPE_NOTHING},
    [METADATA_COUNTER] = {"counter/", SHAPE_NAME},
    [METADATA_STORE] = {"store/", SHAPE_ID},
    [METADATA_SESSION] = {"session/", SHAPE_ID},
    [METADATA_NAME] = {"name/", SHAPE_NAME},
    [METADATA_VOLUME] = {"volume/", SHAPE_ID},
    [METADATA_GROUP] = {"group/", SHAPE_ID_4},
    [METADATA_MAP] = {"map/", SHAPE_ID_4},
    [METADATA_SNAPSHOT] = {"snap/", SHAPE_ID_12},
    [METADATA_TOGETHER] = {"snapgroup/", SHAPE_NAME},
    [METADATA_READER] = {"reader/", SHAPE_ID_12_ID},
    [METADATA_KEEPER] = {"keeper", SHAPE_NOTHING},
    [METADATA_WISH] = {"wish/", SHAPE_ID_4},
    [METADATA_PROGRESS] = {"progress/", SHAPE_ID_4},
};

static void key_append(struct metadata_key *key, const void *bytes, size_t length)
{
    assert(key->length + length <= sizeof key->bytes);
    memcpy(key->bytes + key->length, bytes, length);
    key->length += length;
}

static void key_append_number(struct metadata_key *key, uint64_t number, unsigned digits)
{
    static const char hexadecimal[] = "0123456789abcdef";
    assert(digits == 16 || number >> (4 * digits) == 0);
    for (unsigned i = digits; i-- > 0;)
        key_append(key, &hexadecimal[number >> (4 * i) & 15], 1);
}

struct metadata_key metadata_prefix(enum metadata_kind kind)
{
    struct metadata_key key = {0};
    assert(kind >= METADATA_CLUSTER && kind <= METADATA_PROGRESS);
    key_append(&key, kinds[kind].prefix, strlen(kinds[kind].prefix));
    return key;
}

static struct metadata_key id_key(enum metadata_kind kind, uint64_t id)
{
    struct metadata_key key = metadata_prefix(kind);
    key_append_number(&key, id, 16);
    return key;
}

struct metadata_key metadata_volume_prefix(enum metadata_kind kind, uint64_t volume)
{
    struct metadata_key key = id_key(kind, volume);
    assert(kinds[kind].shape >= SHAPE_ID_4);
    key_append(&key, "/", 1);
    return key;
}

static struct metadata_key group_key(enum metadata_kind kind, uint64_t volume, uint32_t group)
{
    struct metadata_key key = metadata_volume_prefix(kind, volume);
    key_append_number(&key, group, 4);
    return key;
}

struct metadata_key metadata_cluster_key(void)
{
    return metadata_prefix(METADATA_CLUSTER);
}

struct metadata_key metadata_counter_key(const char *counter)
{
    struct metadata_key key = metadata_prefix(METADATA_COUNTER);
    key_append(&key, counter, strlen(counter));
    return key;
}

struct metadata_key metadata_store_key(uint64_t id)
{
    return id_key(METADATA_STORE, id);
}

struct metadata_key metadata_session_key(uint64_t id)
{
    return id_key(METADATA_SESSION, id);
}

struct metadata_key metadata_name_key(const void *name, size_t length)
{
    struct metadata_key key = metadata_prefix(METADATA_NAME);
    assert(length > 0 && length <= NAME_BYTES_MAX);
    key_append(&key, name, length);
    return key;
}

struct metadata_key metadata_volume_key(uint64_t id)
{
    return id_key(METADATA_VOLUME, id);
}

struct metadata_key metadata_group_key(uint64_t volume, uint32_t group)
{
    return group_key(METADATA_GROUP, volume, group);
}

struct metadata_key metadata_keeper_key(void)
{
    return metadata_prefix(METADATA_KEEPER);
}

struct metadata_key metadata_wish_key(uint64_t volume, uint32_t group)
{
    return group_key(METADATA_WISH, volume, group);
}

struct metadata_key metadata_progress_key(uint64_t volume, uint32_t group)
{
    return group_key(METADATA_PROGRESS, volume, group);
}

struct metadata_key metadata_map_key(uint64_t volume, uint32_t index)
{
    struct metadata_key key = metadata_volume_prefix(METADATA_MAP, volume);
    key_append_number(&key, index, 4);
    return key;
}

struct metadata_key metadata_snapshot_key(uint64_t volume, uint64_t cut)
{
    struct metadata_key key = metadata_volume_prefix(METADATA_SNAPSHOT, volume);
    key_append_number(&key, cut, 12);
    return key;
}

struct metadata_key metadata_reader_prefix(uint64_t volume, uint64_t cut)
{
    struct metadata_key key = metadata_volume_prefix(METADATA_READER, volume);
    key_append_number(&key, cut, 12);
    key_append(&key, "/", 1);
    return key;
}

struct metadata_key metadata_reader_key(uint64_t volume, uint64_t cut, uint64_t session)
{
    struct metadata_key key = metadata_reader_prefix(volume, cut);
    key_append_number(&key, session, 16);
    return key;
}

struct metadata_key metadata_together_key(const void *name, size_t length)
{
    struct metadata_key key = metadata_prefix(METADATA_TOGETHER);
    assert(length > 0 && length <= NAME_BYTES_MAX);
    key_append(&key, name, length);
    return key;
}

/* Lower-case digits only: a number has one spelling. */
static bool number_parse(const uint8_t *from, size_t digits, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < digits; i++) {
        uint8_t digit;
        if (from[i] >= '0' && from[i] <= '9')
            digit = (uint8_t)(from[i] - '0');
        else if (from[i] >= 'a' && from[i] <= 'f')
            digit = (uint8_t)(from[i] - 'a' + 10);
        else
            return false;
        number = number << 4 | digit;
    }
    *ret_number = number;
    return true;
}

static bool rest_parse(enum shape shape, const uint8_t *rest, size_t length,
                       struct metadata_key_parts *parts)
{
    size_t digits = shape == SHAPE_ID_4 ? 4 : shape >= SHAPE_ID_12 ? 12 : 0;
    switch (shape) {
    case SHAPE_NOTHING: return length == 0;
    case SHAPE_NAME:
        parts->name = rest;
        parts->name_length = length;
        return length > 0 && length <= NAME_BYTES_MAX && name_check("key", rest, length) == 0;
    case SHAPE_ID: return length == 16 && number_parse(rest, 16, &parts->id);
    case SHAPE_ID_4:
    case SHAPE_ID_12:
        return length == 17 + digits && number_parse(rest, 16, &parts->id) && rest[16] == '/' &&
               number_parse(rest + 17, digits, &parts->index);
    case SHAPE_ID_12_ID:
        return length == 46 && number_parse(rest, 16, &parts->id) && rest[16] == '/' &&
               number_parse(rest + 17, digits, &parts->index) && rest[29] == '/' &&
               number_parse(rest + 30, 16, &parts->session);
    }
    return false;
}

int metadata_key_parse(const void *key, size_t length, struct metadata_key_parts *ret_parts)
{
    for (unsigned kind = METADATA_CLUSTER; kind < COUNT_OF(kinds); kind++) {
        if (kinds[kind].prefix == NULL)
            continue;
        size_t prefix = strlen(kinds[kind].prefix);
        struct metadata_key_parts parts = {.kind = (enum metadata_kind)kind};
        if (length < prefix || memcmp(key, kinds[kind].prefix, prefix) != 0)
            continue;
        if (!rest_parse(kinds[kind].shape, (const uint8_t *)key + prefix, length - prefix, &parts))
            return IOMESH_FORMAT;
        *ret_parts = parts;
        return 0;
    }
    return IOMESH_FORMAT;
}

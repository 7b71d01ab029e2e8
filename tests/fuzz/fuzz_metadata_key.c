/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of the metadata: any bytes in, an error or parts out that make the same key again. */
#include <string.h>

#include "format/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct metadata_key key_again(const struct metadata_key_parts *parts)
{
    char word[NAME_BYTES_MAX + 1] = {0};
    switch (parts->kind) {
    case METADATA_CLUSTER: return metadata_cluster_key();
    case METADATA_COUNTER:
        memcpy(word, parts->name, parts->name_length);
        return metadata_counter_key(word);
    case METADATA_STORE: return metadata_store_key(parts->id);
    case METADATA_SESSION: return metadata_session_key(parts->id);
    case METADATA_NAME: return metadata_name_key(parts->name, parts->name_length);
    case METADATA_VOLUME: return metadata_volume_key(parts->id);
    case METADATA_GROUP: return metadata_group_key(parts->id, (uint32_t)parts->index);
    case METADATA_MAP: return metadata_map_key(parts->id, (uint32_t)parts->index);
    case METADATA_SNAPSHOT: return metadata_snapshot_key(parts->id, parts->index);
    case METADATA_READER: return metadata_reader_key(parts->id, parts->index, parts->session);
    case METADATA_TOGETHER: return metadata_together_key(parts->name, parts->name_length);
    case METADATA_KEEPER: return metadata_keeper_key();
    case METADATA_WISH: return metadata_wish_key(parts->id, (uint32_t)parts->index);
    case METADATA_PROGRESS: return metadata_progress_key(parts->id, (uint32_t)parts->index);
    }
    assert(false);
    return metadata_cluster_key();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct metadata_key_parts parts;
    if (metadata_key_parse(data, size, &parts) == 0) {
        struct metadata_key key = key_again(&parts);
        assert(key.length == size && memcmp(key.bytes, data, size) == 0);
    }
    return 0;
}

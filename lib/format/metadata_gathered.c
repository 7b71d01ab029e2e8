/* SPDX-License-Identifier: Apache-2.0 */
#include "format/metadata_gathered.h"

#include <string.h>

#include "codec/codec.h"

uint32_t gathered_sum(uint32_t sum, const uint8_t *entry, uint32_t length)
{
    uint8_t both[8];
    put32(both, sum);
    put32(both + 4, crc32c(entry, length));
    return crc32c(both, sizeof both);
}

uint32_t gathered_store_put(uint8_t to[GATHERED_STORE_BYTES_MAX],
                            const struct gathered_store *store)
{
    uint32_t length = (uint32_t)strnlen(store->path, GATHERED_PATH_BYTES_MAX);
    memcpy(to, store->uuid, sizeof store->uuid);
    put64(to + 16, store->incarnation);
    memcpy(to + 24, store->path, length);
    return 24 + length;
}

int gathered_store_get(const uint8_t *from, uint32_t length, struct gathered_store *ret_store)
{
    struct gathered_store store = {0};
    if (length < 24 || length - 24 > GATHERED_PATH_BYTES_MAX ||
        memchr(from + 24, 0, length - 24) != NULL)
        return IOMESH_CORRUPT;
    memcpy(store.uuid, from, sizeof store.uuid);
    store.incarnation = get64(from + 16);
    memcpy(store.path, from + 24, length - 24);
    *ret_store = store;
    return 0;
}

void gathered_part_put(uint8_t to[GATHERED_PART_BYTES], const struct part_saved *part,
                       uint64_t sequence)
{
    part_state_put(to, part);
    put64(to + PART_STATE_BYTES, sequence);
}

int gathered_part_get(const uint8_t *from, uint32_t length, struct part_saved *ret_part,
                      uint64_t *ret_sequence)
{
    struct part_saved part;
    if (length != GATHERED_PART_BYTES)
        return IOMESH_CORRUPT;
    int result = part_state_get(from, &part);
    if (result == 0 && !part.used)
        result = IOMESH_CORRUPT;
    if (result != 0)
        return result;
    *ret_part = part;
    *ret_sequence = get64(from + PART_STATE_BYTES);
    return 0;
}

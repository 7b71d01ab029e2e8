/* SPDX-License-Identifier: Apache-2.0 */
#include "format/metadata_copy.h"

#include <string.h>

#include "codec/codec.h"

#define MAGIC 0x31434d49u /* "IMC1" */
#define KEY_AT 32u

_Static_assert((METADATA_COPY_HEAD_BYTES + METADATA_COPY_BYTES_MAX + BLOCK_BYTES - 1) /
                       BLOCK_BYTES ==
                   METADATA_COPY_BLOCKS_MAX,
               "the largest");

static bool is_zeros(const uint8_t *from, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if (from[i] != 0)
            return false;
    return true;
}

static bool key_take(const uint8_t *from, uint32_t length, struct metadata_copy *copy)
{
    if (length == 0 || length > METADATA_COPY_KEY_BYTES_MAX || memchr(from, 0, length) != NULL)
        return false;
    memcpy(copy->key, from, length);
    copy->key[length] = '\0';
    copy->key_length = length;
    return true;
}

void metadata_copy_put(uint8_t *to, const struct metadata_copy *copy)
{
    assert(copy->bytes <= METADATA_COPY_BYTES_MAX && copy->key_length > 0 &&
           copy->key_length <= METADATA_COPY_KEY_BYTES_MAX);
    uint32_t whole = metadata_copy_blocks(copy->bytes) * BLOCK_BYTES;
    memset(to, 0, METADATA_COPY_HEAD_BYTES);
    put32(to + 4, MAGIC);
    put64(to + 8, copy->number);
    put32(to + 16, copy->bytes);
    put32(to + 20, crc32c(copy->data, copy->bytes));
    put16(to + 24, (uint16_t)copy->key_length);
    memcpy(to + KEY_AT, copy->key, copy->key_length);
    put32(to, crc32c(to + 4, METADATA_COPY_HEAD_BYTES - 4));
    memcpy(to + METADATA_COPY_HEAD_BYTES, copy->data, copy->bytes);
    uint32_t end = METADATA_COPY_HEAD_BYTES + copy->bytes;
    memset(to + end, 0, whole - end);
}

int metadata_copy_get_head(const uint8_t from[METADATA_COPY_HEAD_BYTES],
                           struct metadata_copy *ret_copy)
{
    struct metadata_copy copy = {.number = get64(from + 8),
                                 .bytes = get32(from + 16),
                                 .data = from + METADATA_COPY_HEAD_BYTES};
    if (is_zeros(from, METADATA_COPY_HEAD_BYTES))
        return -ENOENT;
    if (get32(from + 4) != MAGIC || get32(from) != crc32c(from + 4, METADATA_COPY_HEAD_BYTES - 4) ||
        copy.bytes > METADATA_COPY_BYTES_MAX || !is_zeros(from + 26, KEY_AT - 26) ||
        !key_take(from + KEY_AT, get16(from + 24), &copy))
        return IOMESH_CORRUPT;
    uint32_t end = KEY_AT + copy.key_length;
    if (!is_zeros(from + end, METADATA_COPY_HEAD_BYTES - end))
        return IOMESH_CORRUPT;
    *ret_copy = copy;
    return 0;
}

int metadata_copy_get(const uint8_t *from, uint32_t length, struct metadata_copy *ret_copy)
{
    struct metadata_copy copy;
    if (length < METADATA_COPY_HEAD_BYTES)
        return IOMESH_CORRUPT;
    int error = metadata_copy_get_head(from, &copy);
    if (error != 0)
        return error;
    if (copy.bytes > length - METADATA_COPY_HEAD_BYTES ||
        crc32c(copy.data, copy.bytes) != get32(from + 20))
        return IOMESH_CORRUPT;
    *ret_copy = copy;
    return 0;
}

uint32_t metadata_copy_list(uint8_t *to, uint32_t room, const struct metadata_copy *copy)
{
    uint32_t length = METADATA_COPY_ENTRY_BYTES + copy->key_length + copy->bytes;
    if (length > room)
        return 0;
    put16(to, (uint16_t)copy->key_length);
    put16(to + 2, 0);
    put32(to + 4, copy->bytes);
    memcpy(to + METADATA_COPY_ENTRY_BYTES, copy->key, copy->key_length);
    memcpy(to + METADATA_COPY_ENTRY_BYTES + copy->key_length, copy->data, copy->bytes);
    return length;
}

int metadata_copy_listed(const uint8_t *from, uint32_t length, struct metadata_copy *ret_copy)
{
    if (length < METADATA_COPY_ENTRY_BYTES)
        return -EPROTO;
    struct metadata_copy copy = {.bytes = get32(from + 4)};
    uint32_t key_length = get16(from), left = length - METADATA_COPY_ENTRY_BYTES;
    if (get16(from + 2) != 0 || copy.bytes == 0 || copy.bytes > METADATA_COPY_BYTES_MAX ||
        key_length > left || copy.bytes > left - key_length ||
        !key_take(from + METADATA_COPY_ENTRY_BYTES, key_length, &copy))
        return -EPROTO;
    copy.data = from + METADATA_COPY_ENTRY_BYTES + key_length;
    *ret_copy = copy;
    return (int)(METADATA_COPY_ENTRY_BYTES + key_length + copy.bytes);
}

void metadata_stamp_put(uint8_t to[METADATA_COPY_STAMP_BYTES], const struct metadata_stamp *stamp)
{
    put64(to, stamp->epoch);
    put64(to + 8, stamp->revision);
}

bool metadata_stamp_get(const uint8_t *from, uint32_t length, struct metadata_stamp *ret_stamp)
{
    if (length <= METADATA_COPY_STAMP_BYTES)
        return false;
    *ret_stamp = (struct metadata_stamp){.epoch = get64(from), .revision = get64(from + 8)};
    return true;
}

int metadata_stamp_compare(const struct metadata_stamp *a, const struct metadata_stamp *b)
{
    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    return (a->revision > b->revision) - (a->revision < b->revision);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "format/metadata_frame.h"

#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"

#define MAGIC 0x4d49u /* "IM" */
#define TAG_MAX 0x1fffffffu

void metadata_bytes_done(struct metadata_bytes *bytes)
{
    free(bytes->bytes);
    *bytes = (struct metadata_bytes){0};
}

int metadata_frame_pack(enum metadata_kind kind, const ProtobufCMessage *message,
                        const struct metadata_bytes *unknown, struct metadata_bytes *ret_value)
{
    size_t packed = protobuf_c_message_get_packed_size(message);
    size_t length = METADATA_HEAD_BYTES + packed + unknown->length;
    uint8_t *bytes = malloc(length);
    if (bytes == NULL)
        return -ENOMEM;
    put16(bytes + 4, MAGIC);
    bytes[6] = (uint8_t)kind;
    bytes[7] = METADATA_VERSION;
    size_t written = protobuf_c_message_pack(message, bytes + METADATA_HEAD_BYTES);
    assert(written == packed);
    /* Messages that follow each other are one message: that is how protobuf merges. */
    if (unknown->length > 0)
        memcpy(bytes + METADATA_HEAD_BYTES + packed, unknown->bytes, unknown->length);
    put32(bytes, crc32c(bytes + 4, length - 4));
    *ret_value = (struct metadata_bytes){.length = length, .bytes = bytes};
    return 0;
}

int metadata_kind_of(const void *value, size_t length, enum metadata_kind *ret_kind)
{
    const uint8_t *bytes = value;
    if (length < METADATA_HEAD_BYTES || get16(bytes + 4) != MAGIC ||
        get32(bytes) != crc32c(bytes + 4, length - 4))
        return IOMESH_CORRUPT;
    if (bytes[7] > METADATA_VERSION)
        return FAIL(IOMESH_FORMAT,
                    "the metadata has a record (kind %u) of version %u; this program knows "
                    "versions up to %u: use a newer one",
                    bytes[6], bytes[7], METADATA_VERSION);
    if (bytes[6] > METADATA_PROGRESS)
        return FAIL(IOMESH_FORMAT,
                    "the metadata has a record of kind %u; this program, of version %u of the "
                    "metadata, knows kinds up to %u: use a newer one",
                    bytes[6], METADATA_VERSION, METADATA_PROGRESS);
    if (bytes[7] == 0 || bytes[6] == 0)
        return IOMESH_CORRUPT;
    *ret_kind = (enum metadata_kind)bytes[6];
    return 0;
}

int metadata_frame_unpack(enum metadata_kind kind, const ProtobufCMessageDescriptor *descriptor,
                          const void *value, size_t length, ProtobufCMessage **ret_message)
{
    enum metadata_kind found;
    int result = metadata_kind_of(value, length, &found);
    if (result != 0)
        return result;
    if (found != kind)
        return IOMESH_CORRUPT;
    ProtobufCMessage *message =
        protobuf_c_message_unpack(descriptor, NULL, length - METADATA_HEAD_BYTES,
                                  (const uint8_t *)value + METADATA_HEAD_BYTES);
    if (message == NULL)
        return IOMESH_CORRUPT;
    *ret_message = message;
    return 0;
}

static size_t varint_write(uint8_t *to, uint64_t number)
{
    size_t count = 0;
    for (; number >= 0x80; number >>= 7)
        to[count++] = (uint8_t)(number | 0x80);
    to[count++] = (uint8_t)number;
    return count;
}

int metadata_frame_unknown(const ProtobufCMessage *message, struct metadata_bytes *ret_unknown)
{
    size_t room = 0;
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        /* protobuf-c takes a 0 in two bytes, and refuses it in one. */
        if (message->unknown_fields[i].tag == 0 || message->unknown_fields[i].tag > TAG_MAX)
            return IOMESH_CORRUPT;
        room += 10 + message->unknown_fields[i].len;
    }
    *ret_unknown = (struct metadata_bytes){0};
    if (room == 0)
        return 0;
    ret_unknown->bytes = malloc(room);
    if (ret_unknown->bytes == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *field = &message->unknown_fields[i];
        uint8_t *to = ret_unknown->bytes + ret_unknown->length;
        size_t tag = varint_write(to, (uint64_t)field->tag << 3 | field->wire_type);
        /* What it holds begins with its length, if it has one. */
        memcpy(to + tag, field->data, field->len);
        ret_unknown->length += tag + field->len;
    }
    return 0;
}

bool metadata_text_take(const char *from, char *to, size_t size)
{
    size_t length = strlen(from);
    if (length >= size)
        return false;
    memcpy(to, from, length + 1);
    return true;
}

bool metadata_name_take(const char *from, char to[NAME_BYTES_MAX + 1])
{
    return metadata_text_take(from, to, NAME_BYTES_MAX + 1) &&
           name_check("record", to, strlen(to)) == 0;
}

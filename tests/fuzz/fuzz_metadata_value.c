/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of the metadata: any bytes in, an error or a record out that encodes to one which decodes
 * to the same bytes again. The first byte of the input is the kind; the head is made valid, or no
 * input would ever get past the checksum.
 */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void bytes_equal(struct metadata_bytes *a, struct metadata_bytes *b)
{
    assert(a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0);
    metadata_bytes_done(a);
    metadata_bytes_done(b);
}

#define FUZZ(record)                                                                  \
    static void fuzz_##record(const uint8_t *value, size_t length)                    \
    {                                                                                 \
        struct metadata_##record *first = calloc(1, sizeof *first);                   \
        struct metadata_##record *second = calloc(1, sizeof *second);                 \
        struct metadata_bytes once;                                                   \
        struct metadata_bytes twice;                                                  \
        int result = metadata_##record##_decode(value, length, first);                \
        assert(result == 0 || result == IOMESH_CORRUPT || result == IOMESH_FORMAT);   \
        if (result == 0) {                                                            \
            assert(metadata_##record##_encode(first, &once) == 0);                    \
            assert(metadata_##record##_decode(once.bytes, once.length, second) == 0); \
            assert(metadata_##record##_encode(second, &twice) == 0);                  \
            bytes_equal(&once, &twice);                                               \
            metadata_##record##_done(first);                                          \
            metadata_##record##_done(second);                                         \
        }                                                                             \
        free(first);                                                                  \
        free(second);                                                                 \
    }

FUZZ(cluster)
FUZZ(counter)
FUZZ(store)
FUZZ(session)
FUZZ(name)
FUZZ(volume)
FUZZ(group)
FUZZ(map)
FUZZ(snapshot)
FUZZ(together)
FUZZ(keeper)
FUZZ(wish)
FUZZ(progress)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        uint32_t kind;
        void (*decode)(const uint8_t *value, size_t length);
    } decoders[] = {
        {METADATA_CLUSTER, fuzz_cluster},   {METADATA_COUNTER, fuzz_counter},
        {METADATA_STORE, fuzz_store},       {METADATA_SESSION, fuzz_session},
        {METADATA_NAME, fuzz_name},         {METADATA_VOLUME, fuzz_volume},
        {METADATA_GROUP, fuzz_group},       {METADATA_MAP, fuzz_map},
        {METADATA_SNAPSHOT, fuzz_snapshot}, {METADATA_TOGETHER, fuzz_together},
        {METADATA_KEEPER, fuzz_keeper},     {METADATA_WISH, fuzz_wish},
        {METADATA_PROGRESS, fuzz_progress},
    };
    enum metadata_kind kind;
    metadata_kind_of(data, size, &kind);
    if (size == 0)
        return 0;
    size_t length = METADATA_HEAD_BYTES + size - 1;
    uint8_t *value = malloc(length);
    memcpy(value + METADATA_HEAD_BYTES, data + 1, size - 1);
    unsigned which = data[0] % COUNT_OF(decoders);
    put32(value + 4, 0x01004d49u | decoders[which].kind << 16);
    put32(value, crc32c(value + 4, length - 4));
    decoders[which].decode(value, length);
    free(value);
    return 0;
}

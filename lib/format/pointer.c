/* SPDX-License-Identifier: Apache-2.0 */
#include "format/pointer.h"

static bool kind_known(unsigned kind)
{
    return kind <= POINTER_PREPARED || (kind & 0xc00u) == POINTER_RUN;
}

void pointer_put(uint8_t to[POINTER_BYTES], const struct pointer *pointer)
{
    assert(pointer->place <= PLACE_MAX);
    assert(pointer->sequence <= SEQUENCE_MAX);
    assert(kind_known(pointer->kind));
    uint64_t low = pointer->place | (uint64_t)pointer->kind << 36;
    put48(to, low);
    put48(to + 6, pointer->sequence);
    put32(to + 12, pointer->crc);
}

int pointer_get(const uint8_t from[POINTER_BYTES], struct pointer *ret_pointer)
{
    uint64_t low = get48(from);
    unsigned kind = (unsigned)(low >> 36);
    if (!kind_known(kind))
        return IOMESH_FORMAT;
    *ret_pointer = (struct pointer){
        .place = low & PLACE_MAX,
        .kind = (uint16_t)kind,
        .sequence = get48(from + 6),
        .crc = get32(from + 12),
    };
    return 0;
}

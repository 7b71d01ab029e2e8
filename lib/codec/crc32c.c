/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <isa-l/crc.h>
#include <limits.h>

#include "codec/codec.h"

uint32_t crc32c(const void *data, size_t length_bytes)
{
    assert(length_bytes <= INT_MAX);
    /* ISA-L neither reads through a const pointer nor inverts: both are its interface's choice. */
    return ~crc32_iscsi((unsigned char *)(uintptr_t)data, (int)length_bytes, ~0u);
}

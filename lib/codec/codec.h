/* SPDX-License-Identifier: Apache-2.0 */
/* codec: sums over bytes. Pure. CRC32C (Castagnoli) by ISA-L, as iSCSI (RFC 3720) defines it. */
#ifndef CODEC_CODEC_H
#define CODEC_CODEC_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(const void *data, size_t length_bytes);
/* The CRC32C of 4096 zero bytes. */
#define CRC32C_ZERO_BLOCK 0x98f94189u

#endif

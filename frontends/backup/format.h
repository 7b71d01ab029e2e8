/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a backup stream; docs/backup-format.md has every field.
 *
 * Pure: no files, no threads, no time. Encoding asserts (our data), decoding refuses (the
 * world's): any bytes in, BACKUP_GOOD and a value out, or what is wrong with them.
 */
#ifndef BACKUP_FORMAT_H
#define BACKUP_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BACKUP_VERSION = 1,
    BACKUP_BLOCK_BYTES = 4096,
    BACKUP_STREAM_HEAD_BYTES = 16,
    BACKUP_FRAME_HEAD_BYTES = 32,
    BACKUP_NAME_BYTES_MAX = 128,
    BACKUP_EXTENTS_MAX = 256,
    BACKUP_DATA_BYTES_MAX = 1 << 20,
    BACKUP_DATA_HEAD_BYTES = 16,
    BACKUP_EXTENT_BYTES = 16,
    BACKUP_PAYLOAD_BYTES_MAX =
        BACKUP_DATA_HEAD_BYTES + BACKUP_EXTENTS_MAX * BACKUP_EXTENT_BYTES + BACKUP_DATA_BYTES_MAX,
    BACKUP_FRAME_BYTES_MAX = BACKUP_FRAME_HEAD_BYTES + BACKUP_PAYLOAD_BYTES_MAX,
};

enum backup_type { BACKUP_HEADER = 1, BACKUP_DATA = 2, BACKUP_ZERO = 3, BACKUP_END = 4 };
/* Types from here on may be skipped by who does not know them. */
enum { BACKUP_TYPE_OPTIONAL = 0x8000 };

/* The snapshot was taken for the export alone. */
#define BACKUP_FLAG_PASSING 1u

/* What may be wrong with a stream. */
#define BACKUP_FAULTS(X)                                                                     \
    X(GOOD, "nothing is wrong")                                                              \
    X(NO_STREAM, "this is not a backup stream of iomesh")                                    \
    X(NEWER, "its version is not known here: use the release that wrote it, or a newer one") \
    X(EMPTY, "it is empty")                                                                  \
    X(TRUNCATED, "the stream ends in the middle")                                            \
    X(DAMAGED, "a checksum is wrong: the stream was changed on its way")                     \
    X(SEAM, "a frame is missing, repeated or of another stream")                             \
    X(UNKNOWN, "a kind of frame that is not known here: use a newer release")                \
    X(NONSENSE, "its contents break the rules of the format")                                \
    X(TRAILING, "something follows the end of the stream")                                   \
    X(MEMORY, "no memory")

#define BACKUP_FAULT_NAME(name, text) BACKUP_##name,
enum backup_fault { BACKUP_FAULTS(BACKUP_FAULT_NAME) };
#undef BACKUP_FAULT_NAME

const char *backup_fault_text(enum backup_fault fault);

struct backup_header {
    uint8_t pool_uuid[16];
    uint8_t snapshot_uuid[16];
    uint8_t base_uuid[16]; /* Zeros: a full stream. */
    uint64_t volume_id;
    uint64_t volume_bytes;
    uint64_t created_ns;
    uint32_t sector_bytes;
    uint32_t flags; /* BACKUP_FLAG_… */
    char volume[BACKUP_NAME_BYTES_MAX + 1];
    char snapshot[BACKUP_NAME_BYTES_MAX + 1];
    char base[BACKUP_NAME_BYTES_MAX + 1];
};

bool backup_is_increment(const struct backup_header *header);

struct backup_extent {
    uint64_t offset, bytes;
};

struct backup_end {
    uint64_t data_bytes, zero_bytes, frames, stream_bytes;
    uint32_t chain;
};

struct backup_frame {
    uint16_t type;
    uint32_t length;
    uint32_t payload_checksum;
    uint64_t number;
    uint32_t chain;
    uint64_t stream_bytes; /* Before it; not in its head. */
};

uint32_t backup_checksum(uint32_t before, const void *data, size_t length);

/* --- Heads --------------------------------------------------------------------------------- */

void backup_stream_head_encode(uint8_t to[BACKUP_STREAM_HEAD_BYTES]);
enum backup_fault backup_stream_head_decode(const uint8_t from[BACKUP_STREAM_HEAD_BYTES]);
void backup_frame_head_encode(const struct backup_frame *frame,
                              uint8_t to[BACKUP_FRAME_HEAD_BYTES]);
enum backup_fault backup_frame_head_decode(const uint8_t from[BACKUP_FRAME_HEAD_BYTES],
                                           struct backup_frame *ret_frame);

/* --- Payloads: encoders return the length -------------------------------------------------- */

uint32_t backup_header_encode(const struct backup_header *header, uint8_t *to);
enum backup_fault backup_header_decode(const uint8_t *from, uint32_t length,
                                       struct backup_header *ret_header);
uint32_t backup_zero_encode(const struct backup_extent *extents, uint32_t count, uint8_t *to);
enum backup_fault backup_zero_decode(const uint8_t *from, uint32_t length,
                                     struct backup_extent ret_extents[BACKUP_EXTENTS_MAX],
                                     uint32_t *ret_count);
uint32_t backup_end_encode(const struct backup_end *end, uint8_t *to);
enum backup_fault backup_end_decode(const uint8_t *from, uint32_t length,
                                    struct backup_end *ret_end);

/* Compresses; one for each thread. NULL: no memory. */
struct backup_packer;
struct backup_packer *backup_packer_open(void);
void backup_packer_close(struct backup_packer *packer);

/* `plain`: the extents' data, one behind the other. */
uint32_t backup_data_encode(struct backup_packer *packer, const struct backup_extent *extents,
                            uint32_t count, const uint8_t *plain, uint8_t *to);
/* `ret_plain`: BACKUP_DATA_BYTES_MAX bytes. */
enum backup_fault backup_data_decode(struct backup_packer *packer, const uint8_t *from,
                                     uint32_t length,
                                     struct backup_extent ret_extents[BACKUP_EXTENTS_MAX],
                                     uint32_t *ret_count, uint8_t *ret_plain);

#endif

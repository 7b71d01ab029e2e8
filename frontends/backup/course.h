/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a stream has come to. Three steps for a reader, so that threads can share the work:
 *
 *   chain    in order, whoever reads     is this the head that belongs here?
 *   content  in any order, any thread    the payload against its checksum, decoded
 *   sums     in order, who believes it   does it follow from all before?
 *
 * Pure, like format.h.
 */
#ifndef BACKUP_COURSE_H
#define BACKUP_COURSE_H

#include "backup/format.h"

/* The heads so far. */
struct backup_chain {
    uint64_t number;
    uint64_t stream_bytes;
    uint32_t chain;
};

void backup_chain_begin(struct backup_chain *chain, const uint8_t head[BACKUP_STREAM_HEAD_BYTES]);
/* The head of the next frame; frame->type, ->length and ->payload_checksum are set before, the
 * rest here. */
void backup_chain_seal(struct backup_chain *chain, struct backup_frame *frame,
                       uint8_t ret_head[BACKUP_FRAME_HEAD_BYTES]);
/* The stream stays where it was unless BACKUP_GOOD is returned. */
enum backup_fault backup_chain_take(struct backup_chain *chain,
                                    const uint8_t head[BACKUP_FRAME_HEAD_BYTES],
                                    struct backup_frame *ret_frame);

/* A frame, decoded. */
struct backup_content {
    uint16_t type;
    uint32_t count; /* DATA, ZERO */
    struct backup_extent extents[BACKUP_EXTENTS_MAX];
    struct backup_header header; /* HEADER */
    struct backup_end end;       /* END */
};

/* `ret_plain`: BACKUP_DATA_BYTES_MAX bytes, for DATA. A type that may be skipped is good. */
enum backup_fault backup_content_decode(struct backup_packer *packer,
                                        const struct backup_frame *frame, const uint8_t *payload,
                                        struct backup_content *ret_content, uint8_t *ret_plain);

/* What was believed so far; all zeros before the first frame. */
struct backup_sums {
    bool begun, ended;
    bool increment;
    uint64_t volume_bytes;
    uint64_t end_offset; /* Of the last extent. */
    uint64_t data_bytes, zero_bytes;
};

enum backup_fault backup_sums_take(struct backup_sums *sums, const struct backup_frame *frame,
                                   const struct backup_content *content);
/* What the END frame has to say. `chain`: before that frame. */
struct backup_end backup_sums_end(const struct backup_sums *sums, const struct backup_chain *chain);

#endif

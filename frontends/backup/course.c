/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/course.h"

#include <assert.h>

/* --- Chain --------------------------------------------------------------------------------- */

void backup_chain_begin(struct backup_chain *chain, const uint8_t head[BACKUP_STREAM_HEAD_BYTES])
{
    *chain = (struct backup_chain){.stream_bytes = BACKUP_STREAM_HEAD_BYTES,
                                   .chain = backup_checksum(0, head, BACKUP_STREAM_HEAD_BYTES)};
}

static void advance(struct backup_chain *chain, const struct backup_frame *frame,
                    const uint8_t *head)
{
    chain->number++;
    chain->stream_bytes += BACKUP_FRAME_HEAD_BYTES + frame->length;
    chain->chain = backup_checksum(chain->chain, head, BACKUP_FRAME_HEAD_BYTES);
}

void backup_chain_seal(struct backup_chain *chain, struct backup_frame *frame,
                       uint8_t ret_head[BACKUP_FRAME_HEAD_BYTES])
{
    frame->number = chain->number;
    frame->chain = chain->chain;
    frame->stream_bytes = chain->stream_bytes;
    backup_frame_head_encode(frame, ret_head);
    advance(chain, frame, ret_head);
}

enum backup_fault backup_chain_take(struct backup_chain *chain,
                                    const uint8_t head[BACKUP_FRAME_HEAD_BYTES],
                                    struct backup_frame *ret_frame)
{
    struct backup_frame frame;
    enum backup_fault fault = backup_frame_head_decode(head, &frame);
    if (fault != BACKUP_GOOD)
        return fault;
    if (frame.number != chain->number || frame.chain != chain->chain)
        return BACKUP_SEAM;
    frame.stream_bytes = chain->stream_bytes;
    advance(chain, &frame, head);
    *ret_frame = frame;
    return BACKUP_GOOD;
}

/* --- Content ------------------------------------------------------------------------------- */

enum backup_fault backup_content_decode(struct backup_packer *packer,
                                        const struct backup_frame *frame, const uint8_t *payload,
                                        struct backup_content *ret_content, uint8_t *ret_plain)
{
    if (backup_checksum(0, payload, frame->length) != frame->payload_checksum)
        return BACKUP_DAMAGED;
    ret_content->type = frame->type;
    ret_content->count = 0;
    switch (frame->type) {
    case BACKUP_HEADER: return backup_header_decode(payload, frame->length, &ret_content->header);
    case BACKUP_DATA:
        return backup_data_decode(packer, payload, frame->length, ret_content->extents,
                                  &ret_content->count, ret_plain);
    case BACKUP_ZERO:
        return backup_zero_decode(payload, frame->length, ret_content->extents,
                                  &ret_content->count);
    case BACKUP_END: return backup_end_decode(payload, frame->length, &ret_content->end);
    default: return frame->type >= BACKUP_TYPE_OPTIONAL ? BACKUP_GOOD : BACKUP_UNKNOWN;
    }
}

/* --- Sums ---------------------------------------------------------------------------------- */

static enum backup_fault take_header(struct backup_sums *sums, const struct backup_header *header)
{
    if (sums->begun)
        return BACKUP_NONSENSE;
    sums->begun = true;
    sums->increment = backup_is_increment(header);
    sums->volume_bytes = header->volume_bytes;
    return BACKUP_GOOD;
}

static enum backup_fault take_extents(struct backup_sums *sums,
                                      const struct backup_content *content)
{
    assert(content->count > 0);
    if (content->type == BACKUP_ZERO && !sums->increment)
        return BACKUP_NONSENSE;
    const struct backup_extent *last = &content->extents[content->count - 1];
    if (content->extents[0].offset < sums->end_offset || last->offset > sums->volume_bytes ||
        last->bytes > sums->volume_bytes - last->offset)
        return BACKUP_NONSENSE;
    uint64_t *sum = content->type == BACKUP_DATA ? &sums->data_bytes : &sums->zero_bytes;
    for (uint32_t i = 0; i < content->count; i++)
        *sum += content->extents[i].bytes;
    sums->end_offset = last->offset + last->bytes;
    return BACKUP_GOOD;
}

static enum backup_fault take_end(struct backup_sums *sums, const struct backup_frame *frame,
                                  const struct backup_end *end)
{
    if (end->data_bytes != sums->data_bytes || end->zero_bytes != sums->zero_bytes ||
        end->frames != frame->number || end->stream_bytes != frame->stream_bytes ||
        end->chain != frame->chain)
        return BACKUP_NONSENSE;
    sums->ended = true;
    return BACKUP_GOOD;
}

enum backup_fault backup_sums_take(struct backup_sums *sums, const struct backup_frame *frame,
                                   const struct backup_content *content)
{
    if (sums->ended)
        return BACKUP_TRAILING;
    if (content->type == BACKUP_HEADER)
        return take_header(sums, &content->header);
    if (!sums->begun)
        return BACKUP_NONSENSE;
    if (content->type == BACKUP_END)
        return take_end(sums, frame, &content->end);
    return content->type == BACKUP_DATA || content->type == BACKUP_ZERO
               ? take_extents(sums, content)
               : BACKUP_GOOD;
}

struct backup_end backup_sums_end(const struct backup_sums *sums, const struct backup_chain *chain)
{
    return (struct backup_end){.data_bytes = sums->data_bytes,
                               .zero_bytes = sums->zero_bytes,
                               .frames = chain->number,
                               .stream_bytes = chain->stream_bytes,
                               .chain = chain->chain};
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "backup/stream.h"

struct backup_writer {
    int fd;
    struct lanes *lanes;
    struct backup_chain chain; /* With the turn. */
    struct backup_sums sums;
    bool begun;
    atomic_int error;
    atomic_uint_fast64_t bytes;
};

static void pack(void *context, struct lanes_slot *slot, struct backup_packer *packer)
{
    (void)context;
    const struct backup_content *content = &slot->content;
    struct backup_frame *frame = &slot->frame;
    frame->type = content->type;
    switch (content->type) {
    case BACKUP_HEADER:
        frame->length = backup_header_encode(&content->header, slot->payload);
        break;
    case BACKUP_DATA:
        frame->length = backup_data_encode(packer, content->extents, content->count, slot->plain,
                                           slot->payload);
        break;
    case BACKUP_ZERO:
        frame->length = backup_zero_encode(content->extents, content->count, slot->payload);
        break;
    default: /* The end says what went before, so it waits for its turn. */
        assert(content->type == BACKUP_END);
        return;
    }
    frame->payload_checksum = backup_checksum(0, slot->payload, frame->length);
}

static int put(struct backup_writer *writer, struct lanes_slot *slot)
{
    struct backup_frame *frame = &slot->frame;
    int result = 0;
    if (!writer->begun) {
        uint8_t head[BACKUP_STREAM_HEAD_BYTES];
        backup_stream_head_encode(head);
        backup_chain_begin(&writer->chain, head);
        writer->begun = true;
        result = lanes_write(writer->fd, head, sizeof head);
    }
    if (slot->content.type == BACKUP_END) {
        slot->content.end = backup_sums_end(&writer->sums, &writer->chain);
        frame->length = backup_end_encode(&slot->content.end, slot->payload);
        frame->payload_checksum = backup_checksum(0, slot->payload, frame->length);
    }
    backup_chain_seal(&writer->chain, frame, slot->head);
    /* What is written here is held to what a reader will hold it to. */
    const enum backup_fault fault = backup_sums_take(&writer->sums, frame, &slot->content);
    assert(fault == BACKUP_GOOD);
    (void)fault;
    return result != 0 ? result
                       : lanes_write(writer->fd, slot->head,
                                     BACKUP_FRAME_HEAD_BYTES + (size_t)frame->length);
}

static void put_in_turn(void *context, struct lanes_slot *slot, struct backup_packer *packer)
{
    (void)packer;
    struct backup_writer *writer = context;
    if (atomic_load(&writer->error) != 0)
        return;
    int result = put(writer, slot);
    if (result != 0)
        atomic_store(&writer->error, result);
    else
        atomic_store(&writer->bytes, writer->chain.stream_bytes);
}

int backup_writer_open(int fd, unsigned threads, backup_notify_fn *notify, void *context,
                       struct backup_writer **ret_writer)
{
    struct backup_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return -ENOMEM;
    writer->fd = fd;
    const struct lanes_steps steps = {.before = pack,
                                      .in_turn = put_in_turn,
                                      .context = writer,
                                      .notify = notify,
                                      .notify_context = context};
    int result = lanes_open(&steps, threads, false, &writer->lanes);
    if (result != 0) {
        free(writer);
        return result;
    }
    *ret_writer = writer;
    return 0;
}

struct lanes_slot *backup_writer_next(struct backup_writer *writer)
{
    return lanes_next(writer->lanes);
}

void backup_writer_send(struct backup_writer *writer, struct lanes_slot *slot)
{
    lanes_give(writer->lanes, slot);
}

bool backup_writer_idle(struct backup_writer *writer)
{
    return lanes_idle(writer->lanes);
}

int backup_writer_error(const struct backup_writer *writer)
{
    return atomic_load(&writer->error);
}

uint64_t backup_writer_bytes(const struct backup_writer *writer)
{
    return atomic_load(&writer->bytes);
}

void backup_writer_close(struct backup_writer *writer)
{
    if (writer == NULL)
        return;
    lanes_close(writer->lanes);
    free(writer);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "backup/stream.h"

struct backup_reader {
    int fd;
    struct lanes *lanes;
    struct backup_chain chain; /* With the turn, to `ended`. */
    bool begun, chain_ended, ended;
    struct backup_sums sums; /* The owner's. */
    uint64_t bytes;
    int over; /* What next() answers for good. */
    char why[300];
};

/* --- In turn: bytes ------------------------------------------------------------------------ */

/* All of `length` bytes, or what is wrong. `*ret_none`: there was not one. */
static enum backup_fault get(struct backup_reader *reader, struct lanes_slot *slot, void *to,
                             size_t length, bool *ret_none)
{
    size_t bytes = 0;
    slot->error = lanes_read(reader->fd, to, length, &bytes);
    *ret_none = slot->error == 0 && bytes == 0;
    return slot->error == 0 && bytes == length ? BACKUP_GOOD : BACKUP_TRUNCATED;
}

static enum backup_fault begin(struct backup_reader *reader, struct lanes_slot *slot)
{
    uint8_t head[BACKUP_STREAM_HEAD_BYTES];
    bool none;
    reader->begun = true;
    enum backup_fault fault = get(reader, slot, head, sizeof head, &none);
    if (none)
        return BACKUP_EMPTY;
    if (fault == BACKUP_GOOD)
        fault = backup_stream_head_decode(head);
    if (fault == BACKUP_GOOD)
        backup_chain_begin(&reader->chain, head);
    return fault;
}

/* After the end nothing may come. */
static enum backup_fault look_behind(struct backup_reader *reader, struct lanes_slot *slot)
{
    uint8_t byte;
    bool none;
    enum backup_fault fault = get(reader, slot, &byte, 1, &none);
    slot->empty = none;
    return fault == BACKUP_GOOD ? BACKUP_TRAILING : BACKUP_GOOD;
}

static enum backup_fault get_frame(struct backup_reader *reader, struct lanes_slot *slot)
{
    bool none;
    enum backup_fault fault = reader->begun ? BACKUP_GOOD : begin(reader, slot);
    slot->frame = (struct backup_frame){.number = reader->chain.number,
                                        .stream_bytes = reader->chain.stream_bytes};
    if (fault == BACKUP_GOOD)
        fault = get(reader, slot, slot->head, BACKUP_FRAME_HEAD_BYTES, &none);
    if (fault == BACKUP_GOOD)
        fault = backup_chain_take(&reader->chain, slot->head, &slot->frame);
    if (fault == BACKUP_GOOD && slot->frame.length > 0)
        fault = get(reader, slot, slot->payload, slot->frame.length, &none);
    return fault;
}

static void get_in_turn(void *context, struct lanes_slot *slot, struct backup_packer *packer)
{
    (void)packer;
    struct backup_reader *reader = context;
    slot->error = 0;
    slot->fault = BACKUP_GOOD;
    slot->empty = reader->ended;
    if (reader->ended)
        return;
    if (reader->chain_ended) {
        slot->frame.number = reader->chain.number;
        slot->frame.stream_bytes = reader->chain.stream_bytes;
        slot->fault = look_behind(reader, slot);
        reader->ended = true;
        return;
    }
    slot->fault = get_frame(reader, slot);
    reader->chain_ended = slot->fault == BACKUP_GOOD && slot->frame.type == BACKUP_END;
    reader->ended = slot->fault != BACKUP_GOOD;
}

static void unpack(void *context, struct lanes_slot *slot, struct backup_packer *packer)
{
    (void)context;
    if (slot->error == 0 && slot->fault == BACKUP_GOOD && !slot->empty)
        slot->fault =
            backup_content_decode(packer, &slot->frame, slot->payload, &slot->content, slot->plain);
}

/* --- The owner ----------------------------------------------------------------------------- */

int backup_reader_open(int fd, unsigned threads, backup_notify_fn *notify, void *context,
                       struct backup_reader **ret_reader)
{
    struct backup_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return -ENOMEM;
    reader->fd = fd;
    const struct lanes_steps steps = {.in_turn = get_in_turn,
                                      .after = unpack,
                                      .context = reader,
                                      .notify = notify,
                                      .notify_context = context};
    int result = lanes_open(&steps, threads, true, &reader->lanes);
    if (result != 0) {
        free(reader);
        return result;
    }
    *ret_reader = reader;
    return 0;
}

static int refuse(struct backup_reader *reader, const struct lanes_slot *slot,
                  enum backup_fault fault)
{
    snprintf(reader->why, sizeof reader->why, "frame %llu at byte %llu: %s",
             (unsigned long long)slot->frame.number, (unsigned long long)slot->frame.stream_bytes,
             backup_fault_text(fault));
    if (fault == BACKUP_NO_STREAM || fault == BACKUP_NEWER || fault == BACKUP_EMPTY)
        snprintf(reader->why, sizeof reader->why, "%s", backup_fault_text(fault));
    return -EBADMSG;
}

static int judge(struct backup_reader *reader, const struct lanes_slot *slot)
{
    if (slot->error != 0)
        return slot->error;
    if (slot->fault != BACKUP_GOOD)
        return refuse(reader, slot, slot->fault);
    if (slot->empty)
        return -ENODATA;
    const enum backup_fault fault = backup_sums_take(&reader->sums, &slot->frame, &slot->content);
    if (fault != BACKUP_GOOD)
        return refuse(reader, slot, fault);
    reader->bytes = slot->frame.stream_bytes + BACKUP_FRAME_HEAD_BYTES + slot->frame.length;
    return 1;
}

int backup_reader_next(struct backup_reader *reader, struct lanes_slot **ret_slot)
{
    while (reader->over == 0) {
        struct lanes_slot *slot = lanes_next(reader->lanes);
        if (slot == NULL)
            return 0;
        const int result = judge(reader, slot);
        if (result < 0) {
            reader->over = result;
        } else if (slot->content.type <= BACKUP_END) {
            *ret_slot = slot;
            return 1;
        }
        lanes_give(reader->lanes, slot);
    }
    return reader->over;
}

void backup_reader_give(struct backup_reader *reader, struct lanes_slot *slot)
{
    lanes_give(reader->lanes, slot);
}

const char *backup_reader_why(const struct backup_reader *reader)
{
    return reader->why;
}

uint64_t backup_reader_bytes(const struct backup_reader *reader)
{
    return reader->bytes;
}

void backup_reader_close(struct backup_reader *reader)
{
    if (reader == NULL)
        return;
    lanes_close(reader->lanes);
    free(reader);
}

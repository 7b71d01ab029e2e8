/* SPDX-License-Identifier: Apache-2.0 */
/* One MiB of a job: what is to be written is found out and read, then written as pieces. */
#include <string.h>

#include "volume/job.h"

static struct volume_copy *copy_of(const struct volume_io *io)
{
    return CONTAINER_OF(io, struct volume_copy, io);
}

static uint32_t copy_index(const struct volume_io *io, uint64_t offset)
{
    return (uint32_t)((offset - io->offset) / BLOCK_BYTES);
}

enum store_op_kind volume_copy_kind(const struct volume_io *io, uint64_t offset)
{
    uint8_t action = copy_of(io)->actions[copy_index(io, offset)];
    assert(action != COPY_NOTHING);
    if (action == COPY_BAD)
        return STORE_BAD;
    return action == COPY_WRITE ? STORE_WRITE : STORE_ZERO;
}

/* From `offset` on: blocks with the action of the first. */
static uint32_t copy_run(const struct volume_io *io, uint64_t offset)
{
    const uint8_t *actions = copy_of(io)->actions;
    uint32_t count = copy_index(io, io->offset + io->length);
    uint32_t first = copy_index(io, offset);
    uint32_t index = first;
    while (index < count && actions[index] == actions[first])
        index++;
    return (index - first) * BLOCK_BYTES;
}

uint32_t volume_copy_length(const struct volume_io *io, uint64_t offset)
{
    return copy_run(io, offset);
}

uint64_t volume_copy_next(const struct volume_io *io, uint64_t offset)
{
    uint64_t end = io->offset + io->length;
    if (offset < end && copy_of(io)->actions[copy_index(io, offset)] == COPY_NOTHING)
        offset += copy_run(io, offset);
    return offset;
}

static enum copy_action copy_action(const struct volume_copy *copy, uint32_t index)
{
    unsigned kind = copy->op.kinds[index];
    bool zeros = kind == POINTER_HOLE || kind == POINTER_ZERO;
    if (!block_set_has(copy->wanted, index))
        return COPY_NOTHING;
    if (zeros)
        return copy->work->rolls_back ? COPY_ZERO : COPY_NOTHING;
    if (kind == POINTER_BAD || kind == POINTER_SET_ASIDE)
        return COPY_BAD;
    return copy->work->rolls_back && MUTANT(131) ? COPY_NOTHING : COPY_WRITE;
}

/* All that is needed is in the buffer. */
static void copy_write(struct volume_copy *copy)
{
    struct volume_io *io = &copy->io;
    struct list *ready = &io->volume->engine->ready;
    for (uint32_t i = 0; i < copy->op.count; i++)
        copy->actions[i] = (uint8_t)copy_action(copy, i);
    io->next = volume_copy_next(io, io->offset);
    copy->changes = io->next != io->offset + io->length;
    if (!copy->changes)
        volume_io_ended(io);
    else if (!list_empty(ready))
        list_push_back(ready, &io->ready);
    else
        (void)volume_io_advance(io);
}

static void copy_fail(struct volume_copy *copy, int result)
{
    copy->io.result = result;
    volume_io_ended(&copy->io);
}

static bool copy_wants(const struct volume_copy *copy)
{
    for (uint32_t i = 0; i < BLOCK_SET_BYTES; i++) {
        if (copy->wanted[i] != 0)
            return true;
    }
    return false;
}

static void copy_submit(struct volume_copy *copy, enum copy_state state, enum store_op_kind kind)
{
    copy->state = (uint8_t)state;
    copy->op.kind = kind;
    volume_target_submit(copy->io.volume, &copy->op);
}

static void copy_ask_changed(struct volume_copy *copy, enum copy_state state, uint64_t since)
{
    copy->op.since = since;
    copy_submit(copy, state, STORE_CHANGED);
}

/* The holes of the head; their contents come from the family. */
static void copy_mapped(struct volume_copy *copy)
{
    struct store_op *op = &copy->op;
    for (uint32_t i = 0; i < op->count; i++)
        block_set_put(copy->wanted, i, op->kinds[i] == POINTER_HOLE);
    if (family_next(copy->work->family, &copy->level, op, copy->only))
        copy_submit(copy, COPY_READ, STORE_READ);
    else
        copy_write(copy);
}

/* The head, and then the view, are those of the volume itself. */
static void copy_read_view(struct volume_copy *copy)
{
    struct store_op *op = &copy->op;
    op->view = copy->work->cut;
    op->count = copy_index(&copy->io, copy->io.offset + copy->io.length);
    memcpy(copy->only, copy->wanted, sizeof copy->only);
    op->only = copy->only;
    /* Of the others nothing is to be thought. */
    memset(op->kinds, POINTER_ZERO, sizeof op->kinds);
    copy_submit(copy, COPY_READ, STORE_READ);
}

static void copy_changed(struct volume_copy *copy, bool any)
{
    struct store_op *op = &copy->op;
    bool since_cut = copy->state == COPY_SINCE_CUT;
    assert(!any || op->found == op->block);
    for (uint32_t i = 0; i < BLOCK_SET_BYTES; i++) {
        uint8_t changed = any ? op->changed[i] : 0;
        copy->wanted[i] = since_cut ? changed : copy->wanted[i] & (uint8_t)~changed;
    }
    if (!copy_wants(copy))
        copy_fail(copy, 0);
    else if (since_cut)
        copy_ask_changed(copy, COPY_SINCE_FROM, copy->work->from);
    else
        copy_read_view(copy);
}

/*
 * What cannot be read of the snapshot, tried twice, is damage in the head as well: it keeps neither
 * what is to be rolled back nor becomes zeros, and all the rest is as it was. The snapshot stays.
 */
static bool copy_goes_on(struct volume_copy *copy, int result)
{
    bool damage = result == -EIO || result == IOMESH_CORRUPT;
    if (!damage || copy->state != COPY_READ || !copy->work->rolls_back)
        return false;
    copy->again = !copy->again;
    return true;
}

static void copy_answered(struct store_op *op, int result)
{
    struct volume_copy *copy = op->context;
    bool nothing = op->kind == STORE_CHANGED && result == -ENOENT;
    if (result != 0 && !nothing && !copy_goes_on(copy, result))
        copy_fail(copy, result);
    else if (result != 0 && copy->state == COPY_READ && copy->again)
        copy_submit(copy, COPY_READ, STORE_READ);
    else if (copy->state == COPY_MAP)
        copy_mapped(copy);
    else if (copy->state != COPY_READ)
        copy_changed(copy, !nothing);
    else if (family_next(copy->work->family, &copy->level, op, copy->only))
        copy_submit(copy, COPY_READ, STORE_READ);
    else
        copy_write(copy);
}

void volume_copy_begin(struct volume_io *io)
{
    struct volume_copy *copy = copy_of(io);
    struct store_op *op = &copy->op;
    copy->level = 0;
    copy->again = copy->changes = false;
    op->volume = io->volume->id;
    op->view = VIEW_HEAD;
    op->block = io->offset / BLOCK_BYTES;
    op->only = NULL;
    op->data = copy->buffer;
    op->done = copy_answered;
    op->context = copy;
    if (!copy->work->rolls_back) {
        op->count = copy_index(io, io->offset + io->length);
        copy_submit(copy, COPY_MAP, STORE_MAP);
        return;
    }
    op->count = 1;
    op->last = io->last;
    copy_ask_changed(copy, COPY_SINCE_CUT, copy->work->cut);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes and zeros: to all copies at once.
 *
 * Space is granted before anything is sent: every answer of a store says how much new data fits.
 * Where that is not enough, the write goes out only if all it writes over is data already, which
 * a full store takes. So no copy falls behind for want of space that all of them want. Where a copy
 * is full all the same, and no copy has the write, nobody has: it ends with -ENOSPC.
 */
#include "codec/codec.h"
#include "volume/copies_inside.h"

/* --- Ends ------------------------------------------------------------------------------------- */

static void write_end(struct copies_op *op)
{
    assert(op->flying == 0);
    if (op->lane != NULL)
        copies_settled(op, op->result);
    else
        copies_op_finish(op, op->result);
}

void copies_write_over(struct copies_op *op, int result)
{
    op->over = true;
    op->result = result;
    clock_cancel(op->group->copies->engine->clock, &op->timer);
    if (op->flying == 0) {
        write_end(op);
        return;
    }
    EACH_COPY(copy)
    {
        if ((op->flying & COPY_BIT(copy)) != 0)
            part_cancel(&op->requests[copy]);
    }
}

/* --- Sending ---------------------------------------------------------------------------------- */

static void write_answered(struct part_request *request, int result);

static void write_to(struct copies_op *op, uint8_t copy)
{
    struct part_request *request = &op->requests[copy];
    copies_address(op->group, request, op->kind);
    request->block = op->block;
    request->count = op->count;
    request->sequence = op->sequence;
    request->cut = op->cut;
    request->views = op->views;
    request->parent = op->parent;
    request->data = op->data;
    request->crcs = op->crcs;
    if (op->kind == PART_RESYNC) {
        request->versions = op->versions;
        request->cuts = &op->cut; /* What it shows stays. */
        request->cut_count = op->cut != 0 && !MUTANT(364) ? 1 : 0;
    }
    if (copies_send(op->group, copy, request, write_answered, op))
        op->flying |= COPY_BIT(copy);
}

void copies_write_send(struct copies_op *op, uint8_t copies)
{
    EACH_COPY(copy)
    {
        if ((copies & COPY_BIT(copy)) == 0)
            continue;
        if ((op->flying & COPY_BIT(copy)) != 0)
            op->again |= COPY_BIT(copy);
        else
            write_to(op, copy);
    }
}

/* They may have space by now. */
static void write_again(struct timer *timer)
{
    struct copies_op *op = CONTAINER_OF(timer, struct copies_op, timer);
    uint8_t copies = op->full & replica_required(&op->group->replica);
    op->full = 0;
    copies_write_send(op, copies);
}

/* Copies that lack the space fall behind, unless nobody has the write: then it never was. If so
 * few are left that none may, the write waits until there is space. */
static void write_full(struct copies_op *op)
{
    struct copies_group *group = op->group;
    uint8_t required = replica_required(&group->replica);
    if ((required & (uint8_t) ~(op->write.acked | op->full)) != 0 || op->flying != 0)
        return;
    if (op->write.acked == 0 && op->lane == NULL) {
        replica_write_cancel(&group->replica, &op->write);
        copies_write_over(op, -ENOSPC);
        copies_group_ready(group);
        return;
    }
    EACH_COPY(copy)
    {
        if ((op->full & COPY_BIT(copy)) != 0)
            replica_failed(&group->replica, copy, copies_now(group));
    }
    if (!MUTANT(335)) {
        op->timer.fire = write_again;
        clock_set_after(group->copies->engine->clock, &op->timer, COPIES_RETRY_NS);
    }
    copies_group_ready(group);
}

static void write_answered(struct part_request *request, int result)
{
    struct copies_op *op = request->context;
    struct copies_group *group = op->group;
    uint8_t copy = (uint8_t)(request - op->requests);
    op->flying &= (uint8_t)~COPY_BIT(copy);
    bool again = (op->again & COPY_BIT(copy)) != 0;
    op->again &= (uint8_t)~COPY_BIT(copy);
    if (op->over) {
        if (op->flying == 0)
            write_end(op);
        return;
    }
    if (result == -ENOSPC) {
        op->full |= COPY_BIT(copy);
    } else if (!copies_answer_ends(group, copy, result, request)) {
        replica_write_told(&group->replica, &op->write, copy, request->generation,
                           result == 0 ? REPLICA_TOLD_DONE : REPLICA_TOLD_STALE_GENERATION,
                           copies_now(group));
    }
    copies_group_ready(group);
    if (again && result != 0)
        write_to(op, copy);
    else if (op->full != 0)
        write_full(op);
}

static void write_start(struct copies_op *op)
{
    if (op->group->replica.phase != REPLICA_ACTIVE) { /* It ended, and that is yet to be told. */
        assert(op->group->replica.reason != 0);
        copies_op_finish(op, op->group->replica.reason);
        return;
    }
    op->state = COPIES_SENT;
    replica_write_start(&op->group->replica, &op->write, op->sequence, 0, copies_now(op->group));
    copies_group_ready(op->group);
}

/* Younger ones went first meanwhile, and the machine wants them in order: it becomes the youngest.
 * Nothing saw its sequence, and no cut is taken while it is under way. */
static void write_late(struct copies_op *op)
{
    const struct copies_calls *calls = &op->group->copies->options.calls;
    uint64_t sequence = calls->take_sequence(calls->context);
    if (sequence == 0) {
        copies_op_wait(op);
        return;
    }
    op->sequence = sequence;
    write_start(op);
}

/* --- Credit ----------------------------------------------------------------------------------- */

static bool write_fits(const struct copies_op *op)
{
    const struct copies_group *group = op->group;
    uint8_t required = replica_required(&group->replica);
    EACH_COPY(copy)
    {
        const struct part_port *port = group->ports[copy];
        if ((required & COPY_BIT(copy)) != 0 && port != NULL && port->state == PART_PORT_UP &&
            port->room_blocks < op->count)
            return false;
    }
    return true;
}

/* What is there is known: is each block of it data? */
static void write_looked(struct part_request *request, int result)
{
    struct copies_op *op = request->context;
    struct copies_group *group = op->group;
    op->flying = 0;
    replica_read_ended(&group->replica, op->asked, copies_now(group) - op->asked_ns);
    if (group->copies->ended != 0) {
        copies_op_finish(op, group->copies->ended);
        return;
    }
    if (result != 0) {
        op->tried |= COPY_BIT(op->asked);
        (void)copies_answer_ends(group, op->asked, result, request);
        copies_write_begin(op);
        return;
    }
    bool over = true;
    for (uint32_t i = 0; i < op->count; i++)
        over = over && op->versions[i].kind == POINTER_RAW;
    if (over)
        write_late(op);
    else
        copies_op_finish(op, -ENOSPC);
}

static void write_look(struct copies_op *op)
{
    struct copies_group *group = op->group;
    op->state = COPIES_CREDIT;
    op->asked = replica_read_choose(&group->replica, copies_local(group), op->tried);
    if (op->asked == REPLICA_COPIES_MAX) {
        copies_op_wait(op);
        return;
    }
    struct part_request *request = &op->requests[op->asked];
    copies_address(group, request, PART_MAP);
    request->block = op->block;
    request->count = op->count;
    request->versions = op->versions;
    op->asked_ns = copies_now(group);
    if (!copies_send(group, op->asked, request, write_looked, op)) {
        op->tried |= COPY_BIT(op->asked);
        copies_op_wait(op);
        return;
    }
    replica_read_began(&group->replica, op->asked);
    op->flying = COPY_BIT(op->asked);
}

void copies_write_begin(struct copies_op *op)
{
    for (uint32_t i = 0; op->kind == PART_WRITE && op->state == COPIES_IDLE && i < op->count; i++)
        op->crcs[i] = crc32c((const uint8_t *)op->data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES);
    if (op->kind == PART_WRITE && !write_fits(op))
        write_look(op);
    else if (op->state == COPIES_IDLE)
        write_start(op);
    else
        write_late(op);
}

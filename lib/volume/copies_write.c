/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes and zeros: to all copies at once.
 *
 * Space is granted before anything is sent: every answer of a store says how much new data fits, of
 * which a write takes what it may need at most until the copy has answered. Where that is not
 * enough, the write goes out only if all it writes over is data that it gives back, which a full
 * store takes. Else it ends with -ENOSPC, as soon as the copy that lacks the space has said so
 * anew; or waits for writes that took it. So no copy falls behind for want of space that all of
 * them want. A copy that catches up is not asked: if it is full, it does not become in sync.
 *
 * Where a copy is full all the same (others promised the same space), and no copy has the write,
 * nobody has: it ends with -ENOSPC. If one has it, it cannot end so, for it may be seen by whoever
 * opens next: it is sent to the full one until that takes it, or has been silent for so long that
 * it is stale.
 */
#include "codec/codec.h"
#include "volume/copies_inside.h"

/* One map page and a directory of it may be made for it, beside its blocks. */
#define WRITE_PAGES 2u

static uint64_t write_cost(const struct copies_op *op)
{
    return op->count + WRITE_PAGES;
}

/* --- Ends ------------------------------------------------------------------------------------- */

/* It is taken by now, and was counted when the copy answered; or it will not be. */
static void credit_back(struct copies_op *op, uint8_t copy)
{
    if (op->credit[copy] == NULL)
        return;
    assert(op->credit[copy]->promised_blocks >= write_cost(op));
    op->credit[copy]->promised_blocks -= write_cost(op);
    op->credit[copy] = NULL;
}

static void write_end(struct copies_op *op)
{
    assert(op->flying == 0);
    EACH_COPY(copy)
    credit_back(op, copy);
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
    if (copies != 0 && op->write.acked != 0)
        REACH(copies_full_is_asked_again);
    op->full = 0;
    copies_write_send(op, copies);
}

/* Who catches up and is full goes on lacking it: nobody counts on it. */
static void write_leaves(struct copies_op *op)
{
    struct copies_group *group = op->group;
    EACH_COPY(copy)
    {
        if ((op->full & COPY_BIT(copy)) != 0 &&
            group->replica.copies[copy].state != REPLICA_IN_SYNC)
            replica_failed(&group->replica, copy, copies_now(group));
    }
}

/* It ends if nobody has it, then it never was. Else those that lack the space are asked again. */
static void write_full(struct copies_op *op)
{
    struct copies_group *group = op->group;
    uint8_t required = replica_required(&group->replica);
    bool nobody = (required & (uint8_t)~op->full) == 0 && op->flying == 0 && op->write.acked == 0;
    if (nobody && op->lane == NULL) {
        REACH(copies_full_everywhere);
        replica_write_cancel(&group->replica, &op->write);
        copies_write_over(op, -ENOSPC);
        copies_group_ready(group);
        return;
    }
    write_leaves(op);
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
    credit_back(op, copy);
    if (op->over) {
        if (op->flying == 0)
            write_end(op);
        return;
    }
    if (result == -ENOSPC) {
        if (op->kind == PART_ZERO)
            REACH(copies_full_for_zeros);
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

/* A copy that is sent to again after its answer has it counted, or takes the risk. */
static void credit_take(struct copies_op *op)
{
    uint8_t required = replica_required(&op->group->replica);
    EACH_COPY(copy)
    {
        struct part_port *port = op->group->ports[copy];
        if ((required & COPY_BIT(copy)) == 0 || port == NULL || op->credit[copy] != NULL)
            continue;
        op->credit[copy] = port;
        port->promised_blocks += write_cost(op);
    }
}

static void write_start(struct copies_op *op)
{
    if (op->group->replica.phase != REPLICA_ACTIVE) { /* It ended, and that is yet to be told. */
        assert(op->group->replica.reason != 0);
        copies_op_finish(op, op->group->replica.reason);
        return;
    }
    if (op->kind == PART_WRITE)
        credit_take(op);
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

enum write_credit {
    CREDIT_GIVEN,
    CREDIT_AWAITED, /* Others have it, and may give it back. */
    CREDIT_LACKS,   /* op->lacks has not so much. */
};

static enum write_credit write_credit(struct copies_op *op)
{
    const struct copies_group *group = op->group;
    enum write_credit credit = CREDIT_GIVEN;
    uint64_t cost = write_cost(op);
    EACH_COPY(copy)
    {
        const struct part_port *port = group->ports[copy];
        if (group->replica.copies[copy].state != REPLICA_IN_SYNC || port == NULL ||
            port->state != PART_PORT_UP)
            continue;
        if (port->room_blocks < cost) {
            op->lacks = copy;
            return CREDIT_LACKS;
        }
        if (port->promised_blocks > port->room_blocks - cost && !MUTANT(336))
            credit = CREDIT_AWAITED;
    }
    return credit;
}

/* What a snapshot shows too is not given back when it is written over. */
static bool gives_back(const struct copies_op *op)
{
    for (uint32_t i = 0; i < op->count; i++) {
        if (op->versions[i].kind != POINTER_RAW || op->versions[i].sequence <= op->cut)
            return false;
    }
    return true;
}

static void write_look(struct copies_op *op);

/* What is there is known, and how much space the copy has now that was asked. */
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
    uint8_t lacked = op->lacks;
    enum write_credit credit = write_credit(op);
    if (credit == CREDIT_GIVEN || gives_back(op))
        write_late(op);
    else if (credit == CREDIT_AWAITED)
        copies_op_wait(op);
    else if (op->lacks == lacked)
        copies_op_finish(op, -ENOSPC);
    else
        write_look(op);
}

static void write_look(struct copies_op *op)
{
    struct copies_group *group = op->group;
    op->state = COPIES_CREDIT;
    uint8_t first = op->lacks < REPLICA_COPIES_MAX ? op->lacks : copies_local(group);
    op->asked = replica_read_choose(&group->replica, first, op->tried);
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
    op->lacks = REPLICA_COPIES_MAX;
    if (op->kind == PART_WRITE && write_credit(op) != CREDIT_GIVEN)
        write_look(op);
    else if (op->state == COPIES_IDLE)
        write_start(op);
    else
        write_late(op);
}

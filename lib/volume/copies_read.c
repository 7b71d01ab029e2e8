/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and looks: one copy is asked at a time. What takes much longer than it should is given up
 * and asked of another, into the same memory: so the first must have let go of it before.
 *
 * Blocks that a copy cannot read are asked of the next; when they are in hand, the copy gets them
 * anew, behind the answer.
 */
#include <string.h>

#include "volume/copies_inside.h"

static void read_answered(struct part_request *request, int result);

/* --- Asking ----------------------------------------------------------------------------------- */

/* The first run of blocks that are wanted. */
static uint32_t read_run(const struct copies_op *op, uint32_t *ret_at)
{
    uint32_t at = 0;
    while (at < op->count && !copies_bit(op->want, at))
        at++;
    uint32_t end = at;
    while (end < op->count && copies_bit(op->want, end))
        end++;
    *ret_at = at;
    return end - at;
}

static void read_slow(struct timer *timer)
{
    struct copies_op *op = CONTAINER_OF(timer, struct copies_op, timer);
    struct copies_group *group = op->group;
    uint8_t tried = op->tried | COPY_BIT(op->asked);
    if (replica_read_choose(&group->replica, copies_local(group), tried) == REPLICA_COPIES_MAX)
        return;
    op->leave = true;
    group->hedged_reads++;
    part_cancel(&op->requests[op->asked]);
}

static void read_request(struct copies_op *op, struct part_request *request)
{
    copies_address(op->group, request, op->kind);
    uint32_t blocks = op->kind == PART_READ ? read_run(op, &op->at) : op->count;
    if (op->kind != PART_READ)
        op->at = 0;
    request->view = op->view;
    request->block = op->block + op->at;
    request->count = blocks;
    request->versions = op->versions + op->at;
    request->crcs = op->crcs + op->at;
    if (op->kind == PART_READ) {
        request->data = (uint8_t *)op->data + (size_t)op->at * BLOCK_BYTES;
    } else if (op->kind == PART_CHANGED) {
        uint32_t last = 0;
        (void)copies_group_of(op->group->copies, (uint32_t)(op->block / SEGMENT_BLOCKS), &last);
        request->since = op->since;
        request->last = MIN(op->last, ((uint64_t)last + 1) * SEGMENT_BLOCKS - 1);
        request->versions = op->versions;
    }
}

static uint8_t kind_told(uint16_t kind)
{
    return (uint8_t)(kind >= POINTER_RUN ? POINTER_RAW : kind);
}

/* Some blocks no copy can read; the data of the others is there. */
static void read_corrupt(struct copies_op *op)
{
    struct store_op *of = op->op;
    for (uint32_t i = 0; i < op->count; i++) {
        if (of->only == NULL || copies_bit(of->only, i))
            of->kinds[i] = copies_bit(op->want, i) ? POINTER_BAD : kind_told(op->versions[i].kind);
    }
    copies_op_finish(op, IOMESH_CORRUPT);
}

void copies_read_go(struct copies_op *op)
{
    struct copies_group *group = op->group;
    struct clock *clock = group->copies->engine->clock;
    if (group->copies->ended != 0) {
        copies_op_finish(op, group->copies->ended);
        return;
    }
    if (group->copies->heir != NULL) {
        copies_op_hand_over(op);
        return;
    }
    op->state = COPIES_ASKED;
    op->asked = replica_read_choose(&group->replica, copies_local(group), op->tried);
    if (op->asked == REPLICA_COPIES_MAX && op->bad_copies != 0 &&
        (replica_in_sync(&group->replica) & (uint8_t)~op->bad_copies) == 0) {
        read_corrupt(op);
        return;
    }
    if (op->asked == REPLICA_COPIES_MAX) {
        if (list_empty(&group->ready)) /* It knows its ports. */
            copies_kin_doubt(group->copies);
        copies_op_wait(op);
        op->tried = op->bad_copies;
        return;
    }
    struct part_request *request = &op->requests[op->asked];
    read_request(op, request);
    op->asked_ns = copies_now(group);
    if (!copies_send(group, op->asked, request, read_answered, op)) {
        op->tried |= COPY_BIT(op->asked);
        copies_op_wait(op);
        op->tried = op->bad_copies;
        return;
    }
    replica_read_began(&group->replica, op->asked);
    op->flying = COPY_BIT(op->asked);
    op->timer.fire = read_slow;
    clock_set_after(clock, &op->timer, replica_hedge_ns(&group->replica, op->asked));
}

void copies_read_begin(struct copies_op *op)
{
    const uint8_t *only = op->op->only;
    memset(op->want, 0, sizeof op->want);
    for (uint32_t i = 0; op->kind == PART_READ && i < op->count; i++)
        copies_bit_put(op->want, i, only == NULL || copies_bit(only, i));
    op->tried = op->bad_copies = 0;
    copies_read_go(op);
}

/* --- Answers ---------------------------------------------------------------------------------- */

/* All of it is in hand, and counts. */
static void read_tell(struct copies_op *op)
{
    struct store_op *of = op->op;
    const struct part_request *request = &op->requests[op->asked];
    uint32_t count = op->kind == PART_CHANGED ? STORE_OP_BLOCKS_MAX : op->count;
    for (uint32_t i = 0; i < count; i++) {
        if (op->kind == PART_CHANGED || of->only == NULL || copies_bit(of->only, i))
            of->kinds[i] = kind_told(op->versions[i].kind);
    }
    if (op->kind == PART_CHANGED) {
        of->found = request->found;
        memcpy(of->changed, request->changed, sizeof of->changed);
    }
    if (op->bad_copies != 0 && op->copies->of == NULL)
        copies_repair_want(op);
    copies_op_finish(op, 0);
}

/* Nothing changed in this run of segments: on to the next, of another group. */
static void changed_next(struct copies_op *op)
{
    struct copies *copies = op->group->copies;
    uint32_t last = 0;
    (void)copies_group_of(copies, (uint32_t)(op->block / SEGMENT_BLOCKS), &last);
    uint64_t next = ((uint64_t)last + 1) * SEGMENT_BLOCKS;
    struct copies_group *group =
        next > op->last ? NULL : copies_group_from(copies, &next, op->last);
    if (group == NULL) {
        copies_op_finish(op, -ENOENT);
        return;
    }
    op->group = group;
    op->block = next;
    op->tried = 0;
    copies_read_go(op);
}

void copies_read_judge(struct copies_op *op)
{
    struct copies_group *group = op->group;
    const struct part_request *request = &op->requests[op->asked];
    enum replica_verdict verdict =
        replica_read_told(&group->replica, op->asked, request->generation, copies_now(group));
    if (verdict != REPLICA_READ_ANSWER && MUTANT(321))
        verdict = REPLICA_READ_ANSWER;
    if (verdict == REPLICA_READ_HOLD && group->copies->heir != NULL) {
        copies_op_hand_over(op);
        return;
    }
    if (verdict == REPLICA_READ_HOLD) {
        op->state = COPIES_HELD;
        list_push_back(&group->held, &op->node);
        return;
    }
    bool corrupt = op->result == IOMESH_CORRUPT;
    if (corrupt) {
        op->tried |= COPY_BIT(op->asked);
        op->bad_copies |= COPY_BIT(op->asked);
    }
    uint32_t at;
    if (verdict == REPLICA_READ_ANSWER && op->kind == PART_READ) {
        for (uint32_t i = 0; i < request->count; i++) {
            bool bad = corrupt && copies_bit(request->bad, i);
            copies_bit_put(op->want, op->at + i, bad);
            if (bad)
                copies_bit_put(op->bad[op->asked], op->at + i, true);
        }
        if (read_run(op, &at) == 0) {
            read_tell(op);
            return;
        }
    } else if (verdict == REPLICA_READ_ANSWER && op->result == 0) {
        read_tell(op);
        return;
    } else if (verdict == REPLICA_READ_ANSWER && op->result == -ENOENT) {
        changed_next(op);
        return;
    }
    copies_read_go(op);
}

static void read_answered(struct part_request *request, int result)
{
    struct copies_op *op = request->context;
    struct copies_group *group = op->group;
    clock_cancel(group->copies->engine->clock, &op->timer);
    op->flying = 0;
    replica_read_ended(&group->replica, op->asked, copies_now(group) - op->asked_ns);
    copies_group_ready(group);
    bool left = op->leave;
    op->leave = false;
    op->result = result;
    bool counts = result == 0 || (result == -ENOENT && op->kind == PART_CHANGED) ||
                  (result == IOMESH_CORRUPT && op->kind == PART_READ);
    if (counts && group->copies->ended == 0) {
        if (result == IOMESH_CORRUPT && (op->bad_copies & COPY_BIT(op->asked)) == 0)
            memset(op->bad[op->asked], 0, sizeof op->bad[op->asked]);
        copies_read_judge(op);
        return;
    }
    op->tried |= COPY_BIT(op->asked);
    if (!left)
        copies_kin_doubt(group->copies);
    if (!left && result != -EAGAIN)
        (void)copies_answer_ends(group, op->asked, result, request);
    copies_read_go(op);
}

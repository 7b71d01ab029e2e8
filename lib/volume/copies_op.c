/* SPDX-License-Identifier: Apache-2.0 */
/* Operations: from the pool, to a group, into the queues, and back. */
#include <string.h>

#include "volume/copies_inside.h"

static void op_begin(struct copies_op *op);

/* --- The pool --------------------------------------------------------------------------------- */

struct copies_op *copies_op_take(struct copies_engine *engine)
{
    struct list *node = list_pop_front(&engine->free_ops);
    if (node == NULL)
        return NULL;
    struct copies_op *op = LIST_ENTRY(node, struct copies_op, node);
    op->op = NULL;
    op->lane = NULL;
    op->state = COPIES_IDLE;
    op->result = 0;
    op->flying = op->again = op->full = op->tried = op->bad_copies = 0;
    op->over = op->leave = false;
    memset(&op->write, 0, sizeof op->write);
    memset((void *)op->credit, 0, sizeof op->credit);
    memset(&op->timer, 0, sizeof op->timer);
    return op;
}

/* Of the store's vocabulary. */
static void op_translate(struct copies_op *op, struct store_op *of)
{
    static const enum part_request_kind kinds[] = {
        [STORE_READ] = PART_READ,  [STORE_WRITE] = PART_WRITE, [STORE_ZERO] = PART_ZERO,
        [STORE_BAD] = PART_RESYNC, [STORE_MAP] = PART_MAP,     [STORE_CHANGED] = PART_CHANGED};
    op->op = of;
    op->kind = kinds[of->kind];
    op->count = of->count;
    op->view = of->view;
    op->block = of->block;
    op->last = of->last;
    op->since = of->since;
    op->sequence = of->sequence;
    op->cut = of->cut;
    op->data = of->data;
    op->views = of->views;
    op->parent = of->parent;
    for (uint32_t i = 0; op->kind == PART_RESYNC && i < op->count; i++)
        op->versions[i] = (struct part_version){.sequence = op->sequence, .kind = POINTER_BAD};
}

void copies_op_release(struct copies_op *op)
{
    struct copies_engine *engine = op->copies->engine;
    op->copies->ops--;
    struct list *starved = list_pop_front(&engine->starved);
    if (starved == NULL) {
        list_push_front(&engine->free_ops, &op->node);
        return;
    }
    struct store_op *of = LIST_ENTRY(starved, struct store_op, node);
    list_push_front(&engine->free_ops, &op->node);
    copies_submit((struct copies *)(void *)of->store, of);
}

/* --- Beginning -------------------------------------------------------------------------------- */

/* Where nothing was ever placed, nothing was ever written. */
static void op_hole(struct copies_op *op)
{
    struct store_op *of = op->op;
    for (uint32_t i = 0; op->kind != PART_CHANGED && i < of->count; i++) {
        if (of->only != NULL && !copies_bit(of->only, i))
            continue;
        of->kinds[i] = POINTER_HOLE;
        if (op->kind == PART_READ)
            memset((uint8_t *)of->data + (size_t)i * BLOCK_BYTES, 0, BLOCK_BYTES);
    }
    copies_op_finish(op, op->kind == PART_CHANGED ? -ENOENT : 0);
}

void copies_submit(struct copies *copies, struct store_op *of)
{
    if (!list_empty(&copies->kin) && of->volume != copies->options.volume) {
        copies_kin_submit(copies, of);
        return;
    }
    copies_pace_foreground(copies->engine);
    struct copies_op *op = copies_op_take(copies->engine);
    if (op == NULL) {
        /* Until there is one. */
        of->store = (void *)(copies->of != NULL ? copies->of->root : copies);
        list_push_back(&copies->engine->starved, &of->node);
        return;
    }
    op_translate(op, of);
    op->copies = copies;
    op->group =
        copies_group_from(copies, &op->block, op->kind == PART_CHANGED ? op->last : op->block);
    assert(op->group != NULL || copies->of != NULL);
    copies->ops++;
    if (copies->ended != 0)
        copies_op_finish(op, copies->ended);
    else if (op->group == NULL)
        op_hole(op);
    else if (!op->group->opened)
        list_push_back(&op->group->waiting, &op->node);
    else
        op_begin(op);
}

static void op_begin(struct copies_op *op)
{
    if (op->kind == PART_WRITE || op->kind == PART_ZERO || op->kind == PART_RESYNC)
        copies_write_begin(op);
    else
        copies_read_begin(op);
}

/* --- Waiting ---------------------------------------------------------------------------------- */

static void op_again(struct copies_op *op)
{
    clock_cancel(op->group->copies->engine->clock, &op->timer);
    if (op->state == COPIES_IDLE)
        op_begin(op);
    else if (op->kind == PART_WRITE)
        copies_write_begin(op);
    else
        copies_read_go(op);
}

static void op_waited(struct timer *timer)
{
    struct copies_op *op = CONTAINER_OF(timer, struct copies_op, timer);
    list_remove(&op->node);
    op_again(op);
}

void copies_op_wait(struct copies_op *op)
{
    struct copies_engine *engine = op->group->copies->engine;
    list_push_back(&op->group->waiting, &op->node);
    if (op->tried != 0 || op->state == COPIES_CREDIT) {
        op->tried = 0;
        op->timer.fire = op_waited;
        clock_set_after(engine->clock, &op->timer, COPIES_RETRY_NS);
    }
}

void copies_ops_retry(struct copies_group *group)
{
    struct list waiting, held;
    if (!group->opened)
        return; /* It takes nothing yet. */
    list_init(&waiting);
    list_init(&held);
    list_splice_back(&waiting, &group->waiting);
    list_splice_back(&held, &group->held);
    for (struct list *node; (node = list_pop_front(&held)) != NULL;)
        copies_read_judge(LIST_ENTRY(node, struct copies_op, node));
    for (struct list *node; (node = list_pop_front(&waiting)) != NULL;)
        op_again(LIST_ENTRY(node, struct copies_op, node));
}

/* --- Ends ------------------------------------------------------------------------------------- */

void copies_op_finish(struct copies_op *op, int result)
{
    op->result = result;
    list_push_back(&op->copies->engine->finished, &op->node);
}

void copies_op_hand_over(struct copies_op *op)
{
    struct copies_kin *kin = op->copies->of;
    struct store_op *of = op->op;
    clock_cancel(op->copies->engine->clock, &op->timer);
    copies_op_release(op);
    copies_kin_submit(kin->root, of);
}

void copies_ops_end(struct copies_group *group, int result)
{
    struct list all;
    list_init(&all);
    list_splice_back(&all, &group->held);
    list_splice_back(&all, &group->waiting);
    for (struct list *node; (node = list_pop_front(&all)) != NULL;) {
        struct copies_op *op = LIST_ENTRY(node, struct copies_op, node);
        clock_cancel(group->copies->engine->clock, &op->timer);
        copies_op_finish(op, result);
    }
}

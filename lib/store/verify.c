/* SPDX-License-Identifier: Apache-2.0 */
#include "store/verify.h"

#include <stdlib.h>

#include "codec/codec.h"

int verify_open(struct verify *verify, struct store *store)
{
    const size_t run_bytes = (size_t)VERIFY_RUN_BLOCKS * BLOCK_BYTES;
    verify->store = store;
    verify->depth = VERIFY_SLOTS;
    verify->plans = calloc(VERIFY_PLANS, sizeof *verify->plans);
    verify->buffers = aligned_alloc(BLOCK_BYTES, VERIFY_SLOTS * run_bytes);
    if (verify->plans == NULL || verify->buffers == NULL) {
        free(verify->plans);
        free(verify->buffers);
        return FAIL(-ENOMEM, "reading every block: no memory");
    }
    for (unsigned i = 0; i < VERIFY_SLOTS; i++) {
        verify->slots[i].verify = verify;
        verify->slots[i].data = verify->buffers + i * run_bytes;
    }
    return 0;
}

void verify_close(struct verify *verify)
{
    assert(verify->plans == NULL || verify_idle(verify));
    free(verify->plans);
    free(verify->buffers);
    verify->plans = NULL;
    verify->buffers = NULL;
}

bool verify_idle(const struct verify *verify)
{
    return verify->plans[0].count == 0 && verify->plans[1].count == 0;
}

static struct verify_plan *plan_other(const struct verify *verify)
{
    return &verify->plans[(verify->now + 1) % VERIFY_PLANS];
}

bool verify_full(const struct verify *verify)
{
    return verify->closed && plan_other(verify)->count > 0;
}

const struct verify_block *verify_oldest(const struct verify *verify)
{
    const struct verify_plan *other = plan_other(verify);
    if (other->count > 0)
        return &other->blocks[0];
    return verify->plans[verify->now].count > 0 ? &verify->plans[verify->now].blocks[0] : NULL;
}

uint64_t verify_pending(const struct verify *verify)
{
    uint64_t pending = 0;
    for (unsigned i = 0; i < VERIFY_PLANS; i++) {
        const struct verify_plan *plan = &verify->plans[i];
        for (uint32_t j = 0; j < plan->count; j++)
            pending += plan->blocks[j].what == TREE_VISIT_BLOCK;
    }
    return pending;
}

/* --- Reading -------------------------------------------------------------------------------- */

static void verify_pump(struct verify *verify);

static void plan_ended(struct verify *verify, struct verify_plan *plan)
{
    space_read_leave(verify->store->space, plan->ticket);
    plan->count = plan->sent = plan->read = 0;
    if (plan == &verify->plans[verify->now])
        verify->closed = false;
    verify->room(verify);
}

static void slot_ended(struct verify_slot *slot)
{
    struct verify *verify = slot->verify;
    struct verify_plan *plan = slot->plan;
    slot->plan = NULL;
    plan->read += slot->blocks;
    if (plan->read == plan->count)
        plan_ended(verify, plan);
    verify_pump(verify);
}

static const struct verify_block *plan_at(const struct verify_plan *plan, uint32_t index)
{
    return &plan->blocks[plan->order[index]];
}

static void slot_judge(struct verify_slot *slot, uint32_t index, const uint8_t *data, int result)
{
    struct verify *verify = slot->verify;
    const struct verify_block *block = plan_at(slot->plan, slot->first + index);
    if (block->what == TREE_VISIT_BLOCK)
        verify->blocks++;
    if (result == 0 && crc32c(data, BLOCK_BYTES) != block->crc)
        result = IOMESH_CORRUPT;
    if (result != 0)
        verify->bad(verify, block, result);
    else if (verify->good != NULL)
        verify->good(verify, block, data);
}

static void slot_read(struct device_io *io, int result);

static void slot_submit(struct verify_slot *slot)
{
    uint32_t at = slot->singly ? slot->first + slot->single : slot->first;
    device_submit(&slot->verify->store->devices, &slot->io, DISK_READ,
                  plan_at(slot->plan, at)->place, slot->singly ? 1 : slot->blocks, slot->data,
                  slot_read);
}

static void slot_read(struct device_io *io, int result)
{
    struct verify_slot *slot = CONTAINER_OF(io, struct verify_slot, io);
    if (slot->singly) {
        slot_judge(slot, slot->single++, slot->data, result);
    } else if (result == 0 || slot->blocks == 1 || result == IOMESH_FAILED) {
        for (uint32_t i = 0; i < slot->blocks; i++)
            slot_judge(slot, i, slot->data + (size_t)i * BLOCK_BYTES, result);
        slot->single = slot->blocks;
    } else {
        REACH(verify_run_fails);
        slot->singly = true;
        slot->single = 0;
    }
    if (slot->single < slot->blocks)
        slot_submit(slot);
    else
        slot_ended(slot);
}

/* How many blocks of the plan, from the next on, lie side by side. */
static uint32_t plan_run(const struct verify *verify, const struct verify_plan *plan)
{
    uint32_t left = MIN(plan->count - plan->sent, VERIFY_RUN_BLOCKS);
    uint64_t place = plan_at(plan, plan->sent)->place;
    uint32_t count = 1;
    while (count < left && plan_at(plan, plan->sent + count)->place == place + count &&
           device_holds(&verify->store->devices, place, count + 1))
        count++;
    return count;
}

/* The plan whose turn it is: the older one first; NULL if everything is sent. */
static struct verify_plan *plan_next(const struct verify *verify)
{
    struct verify_plan *other = plan_other(verify);
    if (other->sent < other->count)
        return other;
    struct verify_plan *plan = &verify->plans[verify->now];
    return verify->closed && plan->sent < plan->count ? plan : NULL;
}

static void verify_pump(struct verify *verify)
{
    unsigned busy = 0;
    for (unsigned i = 0; i < VERIFY_SLOTS; i++)
        busy += verify->slots[i].plan != NULL;
    for (unsigned i = 0; i < VERIFY_SLOTS && busy < verify->depth; i++) {
        struct verify_slot *slot = &verify->slots[i];
        struct verify_plan *plan = plan_next(verify);
        if (plan == NULL)
            return;
        if (slot->plan != NULL)
            continue;
        slot->plan = plan;
        slot->first = plan->sent;
        slot->blocks = plan_run(verify, plan);
        slot->singly = false;
        plan->sent += slot->blocks;
        verify->requests++;
        verify->requested_blocks += slot->blocks;
        busy++;
        slot_submit(slot);
    }
}

/* --- Gathering ------------------------------------------------------------------------------ */

/* The last that was added, to where its place belongs. Mostly that is behind the others. */
static void plan_order(struct verify_plan *plan)
{
    uint32_t at = plan->count - 1;
    uint64_t place = plan->blocks[at].place;
    for (; at > 0 && plan_at(plan, at - 1)->place > place; at--)
        plan->order[at] = plan->order[at - 1];
    plan->order[at] = (uint8_t)(plan->count - 1);
}

void verify_send(struct verify *verify)
{
    const struct verify_plan *plan = &verify->plans[verify->now];
    if (plan->count == 0 || verify->closed)
        return;
    /* The walk was not told to pause: it goes on to add to this one while the other is read. */
    if (plan->count < VERIFY_PLAN_BLOCKS && plan_other(verify)->count > 0)
        return;
    verify->closed = true;
    verify_pump(verify);
}

void verify_add(struct verify *verify, const struct tree_visit *visit)
{
    assert(!verify_full(verify));
    if (verify->closed) {
        verify->now = (verify->now + 1) % VERIFY_PLANS;
        verify->closed = false;
    }
    struct verify_plan *plan = &verify->plans[verify->now];
    struct verify_block *block = &plan->blocks[plan->count];
    *block = (struct verify_block){
        .key = visit->key,
        .block = visit->block,
        .place = visit->pointer.place,
        .crc = visit->pointer.crc,
        .what = visit->what,
    };
    if (plan->count++ == 0)
        plan->ticket = space_read_enter(verify->store->space);
    plan_order(plan);
    if (plan->count == VERIFY_PLAN_BLOCKS)
        verify_send(verify);
}

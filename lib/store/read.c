/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One read of up to 256 blocks within one map page (or only where its blocks are: STORE_MAP).
 *
 *   BEGIN ──▶ LOOK ──▶ FLY ──▶ finished
 *                       ▲ │
 *                       └─┘ the blocks of requests that failed, each for itself
 *
 * From before it looks until its last block is in hand the read holds a ticket: no place that it
 * found is given to anybody else meanwhile. Each block is checked against the CRC in its pointer.
 *
 * Blocks are read in the order of their places. A request costs a disk about as much as three more
 * blocks do (measured: 6 us, 2 us), so one request reads through small gaps, into scratch memory,
 * from where blocks are copied to where they belong. What lies in a gap is not looked at.
 */
#include <string.h>

#include "codec/codec.h"
#include "store/scratch.h"

/* Blocks of others between two of ours that are read rather than to begin another request. */
#define READ_GAP_BLOCKS 3u
/* A run this long needs no neighbours: it goes straight to where it belongs. */
#define READ_RUN_BLOCKS 32u

enum read_state { READ_BEGIN, READ_LOOK, READ_FLY };

static void read_finish(struct store_op *op, int result)
{
    space_read_leave(op->store->space, op->ticket);
    store_op_finish(op, result);
}

static void read_next(struct store_op *op);

static void *read_data(const struct store_op *op, uint32_t block)
{
    return (uint8_t *)op->data + (size_t)block * BLOCK_BYTES;
}

/* Damage is told with its exact place, once for each block, and never handed on. */
static void read_damaged(struct store_op *op, uint32_t block, const char *what)
{
    REACH(read_damaged);
    if (MUTANT(384)) {
        memset(read_data(op, block), 0, BLOCK_BYTES);
        return;
    }
    op->store->stats.corrupt_blocks++;
    op->bad[block / 8] |= (uint8_t)(1u << block % 8);
    op->result = IOMESH_CORRUPT;
    op->kinds[block] = POINTER_BAD;
    memset(read_data(op, block), 0, BLOCK_BYTES);
    store_damage(op->store, op->volume, op->block + block, 1,
                 "volume %llu block %llu at place %llu: %s", (unsigned long long)op->volume,
                 (unsigned long long)(op->block + block), (unsigned long long)op->places[block],
                 what);
}

/* A block that cannot be read even for itself. */
static void read_lost(struct store_op *op, uint32_t block, int error)
{
    op->kinds[block] = POINTER_BAD;
    memset(read_data(op, block), 0, BLOCK_BYTES);
    op->bad[block / 8] |= (uint8_t)(1u << block % 8);
    if (op->result == 0)
        op->result = -EIO;
    store_damage(op->store, op->volume, op->block + block, 1,
                 "volume %llu block %llu at place %llu: %s", (unsigned long long)op->volume,
                 (unsigned long long)(op->block + block), (unsigned long long)op->places[block],
                 base_error_text(error));
}

/* A request of several blocks failed: which of them cannot be read is not known. */
static void read_again(struct store_op *op, const struct read_span *span)
{
    struct read_plan *plan = &op->plan;
    REACH(read_retried_singly);
    for (uint32_t i = 0; i < span->blocks; i++)
        plan->again[plan->again_count++] = plan->order[span->first + i];
}

/* From where the request read it to where it belongs; and is it what was written? */
static void read_check(struct store_op *op, const struct read_span *span)
{
    const uint8_t *order = op->plan.order + span->first;
    for (uint32_t i = 0; i < span->blocks; i++) {
        uint32_t block = order[i];
        if (span->scratch != NULL) {
            uint64_t skip = MUTANT(89) ? i : op->places[block] - op->places[order[0]];
            memcpy(read_data(op, block), span->scratch + skip * BLOCK_BYTES, BLOCK_BYTES);
        }
        if (crc32c(read_data(op, block), BLOCK_BYTES) != op->crcs[block] && !MUTANT(85))
            read_damaged(op, block, "what was read does not match its checksum");
    }
}

static void read_done(struct device_io *io, int result)
{
    struct store_op *op = io->owner;
    unsigned slot = (unsigned)(io - op->ios);
    struct read_span *span = &op->plan.spans[slot];
    if (result == 0)
        read_check(op, span);
    else if (span->blocks == 1)
        read_lost(op, op->plan.order[span->first], result);
    else
        read_again(op, span);
    if (span->scratch != NULL)
        scratch_put(&op->store->scratch, span->scratch);
    op->plan.slots_busy &= ~(1u << slot);
    op->pending--;
    read_next(op);
}

/* How many blocks from `first` of the plan on lie side by side, on the disk and in the volume. */
static uint32_t read_run(const struct store_op *op, uint32_t first)
{
    const uint8_t *order = op->plan.order;
    uint32_t blocks = 1;
    while (!op->plan.single && first + blocks < op->plan.count &&
           order[first + blocks] == order[first] + blocks &&
           op->places[order[first + blocks]] == op->places[order[first]] + blocks &&
           device_holds(&op->store->devices, op->places[order[first]], blocks + 1))
        blocks++;
    return blocks;
}

/* How many one request would take in if it read through small gaps. */
static uint32_t read_stretch(const struct store_op *op, uint32_t first)
{
    const uint8_t *order = op->plan.order;
    uint64_t begin = op->places[order[first]];
    uint64_t end = begin + 1;
    uint32_t blocks = 1;
    while (!op->plan.single && first + blocks < op->plan.count) {
        uint64_t next = op->places[order[first + blocks]];
        /* A place that two blocks claim is damage: the second has a request of its own. */
        if (next < end || next - end > READ_GAP_BLOCKS || next - begin >= SCRATCH_BLOCKS ||
            !device_holds(&op->store->devices, begin, next - begin + 1))
            break;
        end = next + 1;
        blocks++;
    }
    return blocks;
}

static void read_start(struct store_op *op, unsigned slot)
{
    struct read_plan *plan = &op->plan;
    struct read_span *span = &plan->spans[slot];
    const uint8_t *order = plan->order + op->base;
    uint32_t run = read_run(op, op->base);
    uint32_t stretch = run < READ_RUN_BLOCKS ? read_stretch(op, op->base) : run;
    span->first = op->base;
    span->scratch = stretch > run ? scratch_get(&op->store->scratch) : NULL;
    span->blocks = span->scratch != NULL ? stretch : run;
    if (span->scratch != NULL)
        REACH(read_through_gaps);
    else if (stretch > run)
        REACH(read_without_scratch);
    uint64_t place = op->places[order[0]];
    uint64_t end = op->places[order[span->blocks - 1]] + 1;
    op->base += span->blocks;
    op->pending++;
    plan->slots_busy |= 1u << slot;
    op->ios[slot].owner = op;
    device_submit(&op->store->devices, &op->ios[slot], DISK_READ, place, (uint32_t)(end - place),
                  span->scratch != NULL ? span->scratch : read_data(op, order[0]), read_done);
}

/* Keep as many requests under way as may be; when nothing is left, finish. */
static void read_next(struct store_op *op)
{
    struct read_plan *plan = &op->plan;
    if (op->pending == 0 && op->base == plan->count && plan->again_count > 0 && !MUTANT(86)) {
        memcpy(plan->order, plan->again, plan->again_count);
        plan->count = plan->again_count;
        plan->again_count = 0;
        plan->single = true;
        op->base = 0;
    }
    while (op->base < plan->count && op->pending < STORE_OP_READS)
        read_start(op, (unsigned)__builtin_ctz(~plan->slots_busy));
    if (op->pending == 0)
        read_finish(op, op->result);
}

/* A block for the plan. Mostly they come in the order of their places. */
static void read_plan_add(struct store_op *op, uint32_t block)
{
    struct read_plan *plan = &op->plan;
    uint32_t at = plan->count++;
    for (; at > 0 && op->places[plan->order[at - 1]] > op->places[block]; at--)
        plan->order[at] = plan->order[at - 1];
    plan->order[at] = (uint8_t)block;
}

static bool read_asked(const struct store_op *op, uint32_t block)
{
    return op->only == NULL || (op->only[block / 8] >> block % 8 & 1) != 0;
}

/* Notes where each block is; what needs no disk is answered at once. */
static void read_look(struct store_op *op)
{
    unsigned index = (unsigned)(op->block % MAP_BLOCKS);
    struct read_plan *plan = &op->plan;
    plan->count = plan->again_count = plan->slots_busy = 0;
    plan->single = false;
    memset(op->bad, 0, sizeof op->bad);
    for (uint32_t i = 0; i < op->count; i++) {
        if (!read_asked(op, i))
            continue;
        struct pointer pointer = tree_get(&op->path, index + i);
        op->kinds[i] = store_pointer_kind(&pointer);
        op->places[i] = pointer.place;
        op->crcs[i] = pointer.crc;
        if (op->versions != NULL)
            op->versions[i] = store_version(&pointer);
        if (op->kind == STORE_MAP)
            continue;
        if (pointer.kind == POINTER_RAW) {
            read_plan_add(op, i);
            continue;
        }
        memset(read_data(op, i), 0, BLOCK_BYTES);
        if (pointer.kind == POINTER_BAD || pointer.kind == POINTER_SET_ASIDE) {
            op->bad[i / 8] |= (uint8_t)(1u << i % 8);
            op->result = -EIO;
        } else if (pointer.kind != POINTER_HOLE && pointer.kind != POINTER_ZERO) {
            read_damaged(op, i, "its pointer is of a kind that this version does not read");
        }
    }
}

static void read_no_map(struct store_op *op, int error)
{
    struct store *store = op->store;
    for (uint32_t i = 0; i < op->count; i++)
        op->kinds[i] = read_asked(op, i) ? POINTER_BAD : op->kinds[i];
    store_damage(store, op->volume, op->block, op->count,
                 "volume %llu block %llu: its map cannot be read: %s",
                 (unsigned long long)op->volume, (unsigned long long)op->block,
                 base_error_text(error));
    store->stats.corrupt_blocks += op->count;
    read_finish(op, error);
}

void store_read_step(struct store_op *op)
{
    struct store *store = op->store;
    if (op->state == READ_BEGIN) {
        op->ticket = space_read_enter(store->space);
        op->state = READ_LOOK;
    }
    if (op->state != READ_LOOK)
        return;
    int error = tree_path_open(&op->path, op->volume, op->view, op->block, false);
    if (error == -EAGAIN)
        return;
    if (error != 0) {
        read_no_map(op, error);
        return;
    }
    op->state = READ_FLY;
    read_look(op);
    tree_path_close(&op->path);
    if (op->kind == STORE_MAP) {
        read_finish(op, 0);
        return;
    }
    store->stats.reads++;
    store->stats.read_blocks += op->count;
    read_next(op);
}

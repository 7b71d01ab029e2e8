/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changed since a sequence: the next map page that shows something newer.
 *
 *   BEGIN ──▶ LOOK ──▶ finished
 *
 * Sequences in the table and in directories rule out what is older, so what is left are a few
 * pages that lie apart, and each has to be read. While the operation waits for one, scouts look
 * further on and fetch what will be asked for next: some in the MiBs that follow, the others in the
 * segments that do. What they found is in the cache when the next operation begins behind this one.
 */
#include <string.h>

#include "store/internal.h"

enum changed_state { CHANGED_BEGIN, CHANGED_LOOK };

/* Pages without a change that one step may pass. */
#define CHANGED_PAGES 64u
/* Looks of scouts that one step may take. */
#define CHANGED_LOOKS 64u
#define CHANGED_NEAR 4u /* Of the scouts. */
/* In a cache that is smaller there is no room for what is not asked for yet. */
#define CHANGED_FRAMES_MIN 1024u

static void changed_end(struct store_op *op, int result)
{
    for (unsigned i = 0; i < STORE_OP_SCOUTS; i++)
        tree_path_close(&op->scouts[i].path);
    /* Whatever the operation does next finds its requests idle. */
    memset(op->ios, 0, sizeof op->ios);
    store_op_finish(op, result);
}

static void scout_look(struct store_scout *scout)
{
    const struct store_op *op = scout->path.context;
    int error =
        tree_changed_next(&scout->path, op->volume, op->view, op->since, op->last, &scout->block);
    scout->waits = error == -EAGAIN;
    if (!scout->waits)
        tree_path_close(&scout->path);
}

static void scout_woken(struct tree_path *path)
{
    scout_look(CONTAINER_OF(path, struct store_scout, path));
}

static void scouts_begin(struct store_op *op)
{
    for (unsigned i = 0; i < STORE_OP_SCOUTS; i++) {
        struct store_scout *scout = &op->scouts[i];
        tree_path_init(&scout->path, op->store->tree, scout_woken);
        scout->path.context = op;
        scout->waits = false;
    }
}

/* Each begins behind the one before it of its kind. */
static void scouts_send(struct store_op *op)
{
    struct store *store = op->store;
    uint64_t behind[2] = {op->found, op->found};
    if (page_frame_count(store->cache) < CHANGED_FRAMES_MIN ||
        store->options.segments_max < CHANGED_FRAMES_MIN)
        return;
    for (unsigned i = 0; i < STORE_OP_SCOUTS; i++) {
        const struct store_scout *scout = &op->scouts[i];
        if (scout->waits)
            behind[i >= CHANGED_NEAR] = MAX(behind[i >= CHANGED_NEAR], scout->block);
    }
    for (unsigned i = 0, looks = 0; i < STORE_OP_SCOUTS && looks < CHANGED_LOOKS;) {
        struct store_scout *scout = &op->scouts[i];
        bool far = i >= CHANGED_NEAR;
        uint64_t step = far ? SEGMENT_BLOCKS : MAP_BLOCKS;
        uint64_t from = (behind[far] / step + 1) * step;
        if (scout->waits || from > op->last) {
            i++;
            continue;
        }
        scout->block = from;
        scout_look(scout);
        behind[far] = MAX(scout->block, from);
        looks++;
    }
}

/* What the page that was found shows. False: nothing newer in the range. */
static bool changed_answer(struct store_op *op)
{
    bool any = false;
    memset(op->changed, 0, sizeof op->changed);
    for (unsigned i = 0; i < MAP_BLOCKS; i++) {
        struct pointer pointer = tree_get(&op->path, i);
        uint64_t block = op->found + i;
        op->kinds[i] = store_pointer_kind(&pointer);
        if (op->versions != NULL)
            op->versions[i] = store_version(&pointer);
        if (pointer.sequence <= op->since || block < op->block || block > op->last)
            continue;
        op->changed[i / 8] |= (uint8_t)(1u << i % 8);
        any = true;
    }
    return any;
}

static void changed_broken(struct store_op *op, int error)
{
    struct store *store = op->store;
    if (error != IOMESH_FAILED) {
        store_damage(store, op->volume, op->found, 1,
                     "volume %llu block %llu: whether it changed cannot be told: %s",
                     (unsigned long long)op->volume, (unsigned long long)op->found,
                     base_error_text(error));
        store->stats.corrupt_blocks++;
    }
    changed_end(op, error);
}

void store_changed_step(struct store_op *op)
{
    if (op->state == CHANGED_BEGIN) {
        op->found = op->block - op->block % MAP_BLOCKS;
        scouts_begin(op);
        op->state = CHANGED_LOOK;
    }
    for (unsigned pages = 0; pages < CHANGED_PAGES; pages++) {
        int error =
            tree_changed_next(&op->path, op->volume, op->view, op->since, op->last, &op->found);
        if (error == -EAGAIN) {
            scouts_send(op);
            return;
        }
        if (error == -ENOENT) {
            changed_end(op, error);
            return;
        }
        if (error != 0) {
            changed_broken(op, error);
            return;
        }
        bool any = changed_answer(op);
        tree_path_close(&op->path);
        if (any) {
            changed_end(op, 0);
            return;
        }
        op->found += MAP_BLOCKS;
        if (op->found > op->last) {
            changed_end(op, -ENOENT);
            return;
        }
    }
    page_wake(op->store->cache, &op->waiter); /* Others have their turn. */
}

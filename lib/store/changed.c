/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changed since a sequence: the next map page that shows something newer.
 *
 *   BEGIN ──▶ LOOK ──▶ finished
 *
 * Sequences in the table and in directories rule out what is older. Who goes on and on has scouts
 * look ahead of him: ahead.c.
 */
#include <string.h>

#include "store/internal.h"

enum changed_state { CHANGED_BEGIN, CHANGED_LOOK };

/* Pages without a change that one step may pass. */
#define CHANGED_PAGES 64u

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
    store_op_finish(op, error);
}

void store_changed_step(struct store_op *op)
{
    if (op->state == CHANGED_BEGIN) {
        op->found = op->block - op->block % MAP_BLOCKS;
        op->state = CHANGED_LOOK;
    }
    for (unsigned pages = 0; pages < CHANGED_PAGES; pages++) {
        int error =
            tree_changed_next(&op->path, op->volume, op->view, op->since, op->last, &op->found);
        if (error == -EAGAIN)
            return;
        if (error == -ENOENT) {
            store_op_finish(op, error);
            return;
        }
        if (error != 0) {
            changed_broken(op, error);
            return;
        }
        bool any = changed_answer(op);
        tree_path_close(&op->path);
        if (any) {
            store_op_finish(op, 0);
            return;
        }
        op->found += MAP_BLOCKS;
        if (op->found > op->last) {
            store_op_finish(op, -ENOENT);
            return;
        }
    }
    page_wake(op->store->cache, &op->waiter); /* Others have their turn. */
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Told by hand: what needs more luck than a storm has.
 *
 * A volume is deleted while an older write of another volume is still on its way. The checkpoint
 * that follows must begin its replay before that write, and so meets writes of the deleted volume
 * again: they must find it retired, or its blocks come back to life.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/store_inside.h"

struct story_op {
    struct store_op op;
    bool waiting;
    int result;
};

static _Alignas(4096) uint8_t block[BLOCK_BYTES];

static void story_ended(struct store_op *op, int result)
{
    struct story_op *story = op->context;
    story->waiting = false;
    story->result = result;
}

static void story_submit(struct rig *rig, struct story_op *story, enum store_op_kind kind,
                         uint64_t volume, uint64_t sequence)
{
    story->waiting = true;
    story->op.kind = kind;
    story->op.volume = volume;
    story->op.view = VIEW_HEAD;
    story->op.block = 7;
    story->op.count = 1;
    story->op.data = block;
    story->op.sequence = sequence;
    story->op.done = story_ended;
    story->op.context = story;
    store_submit(rig->store, &story->op);
}

static void deleted(void *context, int result)
{
    (void)result;
    *(bool *)context = false;
}

static void checkpointed(void *context, int result)
{
    (void)result;
    *(bool *)context = false;
}

/* True if the deleted volume shows nothing after the crash. */
static bool story_tell(struct rig *rig)
{
    static struct story_op slow;
    static struct story_op write;
    static struct story_op map;
    bool deleting = true;
    bool checkpointing = true;
    struct checkpoint_waiter waiter = {.done = checkpointed, .context = &checkpointing};
    model_fill(block, 42);
    /* The write of volume 100 takes forty times as long as anything after it. */
    for (unsigned i = 0; i < rig->disk_count; i++)
        rig->disks[i]->faults.slow_one_in = 1;
    story_submit(rig, &slow, STORE_WRITE, 100, 1);
    for (unsigned i = 0; i < rig->disk_count; i++)
        rig->disks[i]->faults.slow_one_in = 0;
    story_submit(rig, &write, STORE_WRITE, 101, 1);
    if (!rig_wait(rig, &write.waiting, "the write"))
        return false;
    if (store_delete_volume(rig->store, 101, deleted, &deleting) != 0)
        return rig_wrong(rig, "deleting was refused");
    store_checkpoint(rig->store, &waiter);
    if (!rig_wait(rig, &checkpointing, "the checkpoint"))
        return false;
    rig_crash(rig, false);
    if (!rig_start(rig))
        return false;
    story_submit(rig, &map, STORE_MAP, 101, 0);
    if (!rig_wait(rig, &map.waiting, "the map"))
        return false;
    return map.result == 0 && map.op.kinds[0] == POINTER_HOLE;
}

/* With and without the rule. */
static bool story_run(uint64_t seed, int mutant)
{
    static struct rig rig;
    mutant_active = mutant;
    rig_open(&rig, seed);
    bool holds = rig_format(&rig) && rig_start(&rig) && story_tell(&rig);
    if (!holds && mutant == 0)
        printf("seed %llu: %s\n", (unsigned long long)seed,
               rig.wrong[0] != '\0' ? rig.wrong : "the deleted volume came back");
    return holds;
}

int main(void)
{
    unsigned failed = 0;
    unsigned caught = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        failed += story_run(seed, 0) ? 0 : 1;
        caught += story_run(seed, 87) ? 0 : 1;
    }
    printf("60 seeds: %u failed; with recovery writing to retired volumes %u were caught\n", failed,
           caught);
    return failed == 0 && caught > 0 ? 0 : 1;
}

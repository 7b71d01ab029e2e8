/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A write of a retired volume is met by replay, and its block is somebody else's.
 *
 *   log:  write(B)   write(A, P)   retire A   drop A: P is free   (flush)   write(C, P)   ...
 *         ▲ replay begins here: the map page for B is still being read
 *
 * A checkpoint has all but B's write in it, P with C, and yet replay begins before write(A, P).
 * Written to A once more and dropped with it, P would be free while C has it; C's own record
 * changes nothing then, being no newer than the tree.
 *
 * So: one read of the disk takes very long; the store is full, for P to be given out again soon;
 * and the journal has room for what happens meanwhile.
 *
 * It does not come to that: P is given out again only when a flush covers the drop, and none covers
 * what lies behind a record that is not applied, as B's. So planted bug 87 (no such rule in replay)
 * fails no seed, and is in no table.
 */
#include "sim/store_inside.h"

#define FILL_BLOCKS RIG_REQUEST_BLOCKS
#define CHURNED 3u /* Requests; in one map page. */
#define STEPS_MAX 200000u
#define SEGMENT_FIRST 5u
#define JOURNAL_BLOCKS 128u

static uint32_t draw(struct rig *rig, uint32_t low, uint32_t high)
{
    return low + (uint32_t)prng_below(&rig->prng, high - low + 1);
}

/* Until no more than `most` requests are under way. False: power went, or something is false. */
static bool drain_to(struct rig *rig, unsigned most)
{
    for (unsigned steps = 0; rig_busy(rig) > most; steps++) {
        if (steps == STEPS_MAX)
            return rig_wrong(rig, "requests do not end");
        if (!rig_turn(rig))
            return false;
    }
    return rig->wrong[0] == '\0';
}

static struct rig_request *request_free(struct rig *rig)
{
    struct rig_request *request = rig->requests;
    while (request->busy)
        request++;
    return request;
}

/* Data of `volume` until there is no room; then some of it is given back. */
static bool fill(struct rig *rig, struct rig_volume *volume, uint32_t room)
{
    struct rig_request *request = rig->requests;
    uint64_t block = RIG_SPRAY_FROM;
    for (request->result = 0; request->result == 0; block += FILL_BLOCKS) {
        rig_spray(rig, request, volume, VOLUME_WRITE, block, FILL_BLOCKS);
        if (!drain_to(rig, 0))
            return false;
    }
    for (block = RIG_SPRAY_FROM; room > 0; block += FILL_BLOCKS) {
        uint32_t blocks = MIN(room, FILL_BLOCKS);
        rig_spray(rig, request, volume, VOLUME_DISCARD, block, blocks);
        if (!drain_to(rig, 0))
            return false;
        room -= blocks;
    }
    return true;
}

/* One block in each of `count` map pages, segment by segment, beyond what was filled. */
static bool scatter(struct rig *rig, struct rig_volume *volume, uint32_t count, uint32_t segments)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!drain_to(rig, RIG_REQUESTS / 2))
            return false;
        uint64_t block = (uint64_t)(SEGMENT_FIRST + i % segments) * SEGMENT_BLOCKS +
                         (uint64_t)(i / segments) * MAP_BLOCKS;
        rig_spray(rig, request_free(rig), volume, VOLUME_WRITE, block, 1);
    }
    return true;
}

/* What was filled is written again: every free block is given out in turn, P too. */
static bool churn(struct rig *rig, struct rig_volume *volume, uint32_t requests)
{
    for (uint32_t i = 0; i < requests; i++) {
        if (!drain_to(rig, 3))
            return false;
        /* Behind what was given back: it has places, and may have others for them. */
        uint64_t block = RIG_SPRAY_FROM + (uint64_t)(1 + i % CHURNED) * FILL_BLOCKS;
        rig_spray(rig, request_free(rig), volume, VOLUME_WRITE, block, FILL_BLOCKS);
    }
    return true;
}

/* The next read of any disk, that of a map page for B, takes as long as a thousand others. */
static void stall(struct rig *rig, struct rig_volume *volume)
{
    for (unsigned i = 0; i < rig->disk_count; i++) {
        struct sim_disk *disk = rig->disks[i];
        disk->faults.stall_read_at = disk->counts.reads + 1;
        disk->faults.stall_ns = 500 * NS_PER_MS;
    }
    rig_spray(rig, request_free(rig), volume, VOLUME_WRITE, RIG_SPRAY_FROM, 1);
}

static bool prepare(struct rig *rig, uint32_t blocks)
{
    rig->options.journal_bytes = (uint64_t)JOURNAL_BLOCKS * BLOCK_BYTES;
    if (!rig_format(rig) || !rig_start(rig))
        return false;
    rig_spray(rig, rig->requests, &rig->volumes[1], VOLUME_WRITE, RIG_SPRAY_FROM, 1);
    return drain_to(rig, 0) && fill(rig, &rig->volumes[2], blocks + draw(rig, 4, 24)) &&
           rig_stop(rig) && rig_start(rig);
}

/* Ends in a crash. */
static bool before(struct rig *rig, uint32_t blocks)
{
    /* What the way to the others needs is in memory before anything stalls. */
    if (!scatter(rig, &rig->volumes[2], 2, 1) || !drain_to(rig, 0))
        return false;
    stall(rig, &rig->volumes[1]);
    /* It stalls, or what it needs was in memory: then this is a seed like any other. */
    bool written = scatter(rig, &rig->volumes[0], blocks, 3) && drain_to(rig, 1);
    if (!written || (volume_io_count(rig->volumes[0].volume) > 0 && !drain_to(rig, 0)))
        return false;
    world_cut_after(&rig->world, draw(rig, 300, 2500));
    rig_delete(rig, &rig->volumes[0]);
    (void)(churn(rig, &rig->volumes[2], draw(rig, 10, 30)) && drain_to(rig, 1));
    for (unsigned steps = 0; steps < STEPS_MAX / 10 && rig_turn(rig); steps++)
        continue;
    return rig->wrong[0] == '\0';
}

bool shape_retired(struct rig *rig)
{
    uint32_t blocks = draw(rig, 16, 40);
    if (!prepare(rig, blocks) || !before(rig, blocks))
        return false;
    for (unsigned i = 0; i < rig->disk_count; i++)
        rig->disks[i]->faults.stall_read_at = 0;
    rig_crash(rig, true);
    return rig_start(rig) && rig_settle(rig, true) && rig_stop(rig) && rig_check(rig) &&
           rig_start(rig);
}

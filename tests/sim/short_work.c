/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/short_work.h"

#include <stdlib.h>
#include <string.h>

#include "sim/store_inside.h"
#include "sim/store_views.h"

#define SECTOR 512u
#define WAIT_NS (1100 * NS_PER_MS)
#define WINDOW 32u     /* Blocks settled at once; what the operations touch lies in three. */
#define SEGMENT_3 256u /* The index at which the model's second window begins. */

const char *const short_op_names[SHORT_KINDS] = {
    "write-one", "write-many",   "write-crossing",  "write-512",
    "write-fua", "discard-some", "discard-segment", "zero-no-hole",
    "flush",     "delete",       "reopen",          "wait",
    "snap",      "snap-delete",  "roll-back",
};

bool short_of_views(enum short_op op)
{
    return op == SHORT_SNAP || op == SHORT_SNAP_DELETE || op == SHORT_ROLL_BACK;
}

/* Of sectors from index * 8 on. One row for each operation that is an I/O. */
struct short_shape {
    enum volume_io_kind kind;
    uint32_t flags, index, first_sector, sectors;
};

static const struct short_shape shapes[] = {
    [SHORT_WRITE_ONE] = {VOLUME_WRITE, 0, 130, 0, 8},
    [SHORT_WRITE_MANY] = {VOLUME_WRITE, 0, SEGMENT_3 + 4, 0, 20 * 8},
    [SHORT_WRITE_CROSSING] = {VOLUME_WRITE, 0, 124, 0, 8 * 8},
    [SHORT_WRITE_512] = {VOLUME_WRITE, 0, 130, 3, 7},
    [SHORT_WRITE_FUA] = {VOLUME_WRITE, VOLUME_FUA, 131, 0, 8},
    [SHORT_DISCARD_SOME] = {VOLUME_DISCARD, 0, 126, 0, 6 * 8},
    [SHORT_DISCARD_SEGMENT] = {VOLUME_DISCARD, 0, SEGMENT_3, 0, 256 * 8},
    [SHORT_ZERO_NO_HOLE] = {VOLUME_ZERO, VOLUME_NO_HOLE, 129, 0, 3 * 8},
    [SHORT_FLUSH] = {VOLUME_FLUSH, 0, 0, 0, 0},
};

static uint32_t request_blocks(const struct short_request *request)
{
    return DIV_CEIL(request->first_sector + request->sectors, MODEL_SECTORS);
}

static struct short_work *work_of(const struct rig *rig);

/* Many writes of one block each go to blocks of their own, all of which are settled. */
static uint32_t place_next(uint32_t index, uint32_t number)
{
    if (number < 3)
        return index;
    number %= 3 * WINDOW;
    return number < 2 * WINDOW ? 96 + number : SEGMENT_3 + number - 2 * WINDOW;
}

/* --- Requests ------------------------------------------------------------------------------- */

static void request_done(struct volume_io *io, int result)
{
    struct short_request *request = CONTAINER_OF(io, struct short_request, io);
    struct model *model = &request->volume->model;
    work_of(request->rig)->pending--;
    if (result != 0) {
        if (result == -ENOSPC || request->rig->faulty)
            request->rig->counts.errors++;
        else
            (void)rig_wrong(request->rig, "a request ended with %d", result);
        return;
    }
    if (io->kind == VOLUME_FLUSH) {
        model->durable_acks = MAX(model->durable_acks, request->flush_acks);
        return;
    }
    for (uint32_t i = 0; i < request_blocks(request); i++)
        model_acked(model, request->index + i, request->versions[i], (io->flags & VOLUME_FUA) != 0);
}

static void request_note(struct short_request *request)
{
    struct rig *rig = request->rig;
    uint8_t *at = request->data;
    for (uint32_t i = 0; i < request_blocks(request); i++) {
        uint32_t first = i == 0 ? request->first_sector : 0;
        uint32_t end = request->first_sector + request->sectors - i * MODEL_SECTORS;
        uint32_t count = MIN(end, MODEL_SECTORS) - first;
        uint64_t tags[MODEL_SECTORS] = {0};
        for (uint32_t s = 0; s < count && request->io.kind == VOLUME_WRITE; s++) {
            tags[s] = ++rig->tag;
            model_fill(at, tags[s]);
            at += SECTOR;
        }
        bool data = request->io.kind == VOLUME_WRITE || (request->io.flags & VOLUME_NO_HOLE) != 0;
        enum model_effect effect = data                     ? MODEL_DATA
                                   : count == MODEL_SECTORS ? MODEL_NOTHING
                                                            : MODEL_ZEROED;
        request->versions[i] =
            model_change(&request->volume->model, request->index + i, first, count, tags, effect);
    }
}

static void request_start(struct short_work *work, struct short_request *request, enum short_op op)
{
    const struct short_shape *shape = &shapes[op];
    struct rig *rig = work->rig;
    request->rig = rig;
    request->volume = &rig->volumes[work->volume];
    request->index = shape->index;
    if (op == SHORT_WRITE_ONE)
        request->index = place_next(shape->index, (uint32_t)(request - work->requests));
    request->first_sector = shape->first_sector;
    request->sectors = shape->sectors;
    /* A volume of 4 KiB sectors takes whole blocks only. */
    if (request->volume->sector_bytes != SECTOR && shape->sectors % MODEL_SECTORS != 0) {
        request->first_sector = 0;
        request->sectors = 2 * MODEL_SECTORS;
    }
    bool whole = op == SHORT_DISCARD_SEGMENT;
    request->io.kind = shape->kind;
    request->io.flags = shape->flags;
    request->io.offset =
        model_block_of(request->index) * BLOCK_BYTES + request->first_sector * SECTOR;
    request->io.length =
        whole ? (uint64_t)SEGMENT_BLOCKS * BLOCK_BYTES : (uint64_t)request->sectors * SECTOR;
    request->io.done = request_done;
    request->flush_acks = request->volume->model.acks;
    if (shape->kind != VOLUME_FLUSH) {
        request->versions = calloc(request_blocks(request), sizeof *request->versions);
        request->data = aligned_alloc(BLOCK_BYTES, (size_t)request_blocks(request) * BLOCK_BYTES);
        if (request->versions == NULL || request->data == NULL)
            abort();
        request_note(request);
    }
    request->io.data = request->data;
    rig->counts.requests++;
    work->pending++;
    volume_submit(request->volume->volume, &request->io);
}

/* --- Running -------------------------------------------------------------------------------- */

/* The one that runs in this process. */
static struct short_work *running;

static struct short_work *work_of(const struct rig *rig)
{
    assert(running != NULL && running->rig == rig);
    return running;
}

static bool work_drain(struct short_work *work)
{
    for (uint64_t steps = 0; work->pending > 0 || rig_views_busy(work->rig); steps++) {
        if (work->rig->views != NULL)
            rig_views_advance(work->rig);
        if (!rig_turn(work->rig))
            return work->rig->world.off || work->rig->wrong[0] != '\0'
                       ? false
                       : rig_wrong(work->rig, "nothing is to come, and requests have not ended");
        if (steps > 2000000)
            return rig_wrong(work->rig, "requests do not end");
    }
    return work->rig->wrong[0] == '\0' && !work->rig->world.off;
}

static void work_deleted(void *context, int result)
{
    struct rig_volume *volume = context;
    if (running != NULL && running->pending > 0)
        running->pending--;
    if (result != 0 && volume->rig->faulty)
        return; /* It goes on at the next start. */
    if (result != 0) {
        (void)rig_wrong(volume->rig, "deleting a volume ended with %d", result);
        return;
    }
    volume->rig->counts.deletions++;
    volume->deleting = false;
    volume->id = volume->rig->next_id++;
    volume->sequence_end = 0;
    volume->epoch = 0;
    model_close(&volume->model);
    if (model_open(&volume->model) != 0)
        abort();
    if (volume->rig->views != NULL)
        rig_views_replaced(volume);
}

static bool work_delete(struct short_work *work)
{
    if (!work_drain(work))
        return false;
    struct rig_volume *volume = &work->rig->volumes[work->volume++];
    volume_close(volume->volume);
    volume->volume = NULL;
    volume->deleting = true;
    work->pending++;
    if (work->rig->views != NULL)
        rig_views_deleting(volume);
    if (store_delete_volume(work->rig->store, volume->id, work_deleted, volume) != 0)
        return rig_wrong(work->rig, "deleting a volume was refused: %s", base_last_error());
    return true;
}

static void work_wake(struct world_event *event)
{
    CONTAINER_OF(event, struct short_work, alarm)->asleep = false;
}

static bool work_wait(struct short_work *work)
{
    if (!work_drain(work))
        return false;
    work->asleep = true;
    work->alarm.fire = work_wake;
    world_at(&work->rig->world, &work->alarm, WAIT_NS);
    while (work->asleep) {
        if (!rig_turn(work->rig))
            return false;
    }
    return true;
}

/* The oldest snapshot of the volume, if there is one yet. */
static bool work_view(struct short_work *work, enum short_op op)
{
    struct rig_volume *volume = &work->rig->volumes[work->volume];
    if (op == SHORT_SNAP) {
        rig_cut(work->rig, 1u << work->volume, 0);
        return true;
    }
    if (op == SHORT_ROLL_BACK && !work_drain(work))
        return false;
    struct rig_snap *snap = snap_after(volume, 0);
    if (snap == NULL)
        return true;
    if (op == SHORT_SNAP_DELETE) {
        snap_delete(snap);
        return true;
    }
    /* Nobody else changes the volume meanwhile. */
    snap_roll_back(snap);
    return work_drain(work);
}

/* A volume whose deletion has ended has nobody who opens it but a start. */
static bool work_op(struct short_work *work, struct short_request *request, enum short_op op)
{
    if (op == SHORT_DELETE)
        return work_delete(work);
    if (op == SHORT_WAIT)
        return work_wait(work);
    if (short_of_views(op))
        return work_view(work, op);
    if (op == SHORT_REOPEN)
        return work_drain(work) && rig_stop(work->rig) && rig_start(work->rig);
    request_start(work, request, op);
    return true;
}

bool short_run(struct short_work *work, struct rig *rig)
{
    work->rig = rig;
    running = work;
    for (uint32_t i = 0; i < work->count; i++) {
        if (!work_op(work, &work->requests[i], work->ops[i]))
            return false;
        if (!work->at_once && !work_drain(work))
            return false;
    }
    return work_drain(work);
}

bool short_delete_again(struct rig *rig)
{
    static struct short_work again;
    again = (struct short_work){.rig = rig};
    running = &again;
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        struct rig_volume *volume = &rig->volumes[i];
        if (!volume->deleting)
            continue;
        again.pending++;
        if (store_delete_volume(rig->store, volume->id, work_deleted, volume) != 0)
            return rig_wrong(rig, "deleting a volume again was refused: %s", base_last_error());
    }
    if (rig->views != NULL)
        rig_views_resume(rig);
    return work_drain(&again);
}

/* --- After a crash -------------------------------------------------------------------------- */

struct settling {
    struct store_op op;
    bool waiting;
    int result;
};

static void settle_read(struct store_op *op, int result)
{
    struct settling *settling = op->context;
    settling->waiting = false;
    settling->result = result;
}

static bool settle_window(struct rig *rig, struct rig_volume *volume, uint32_t index,
                          enum model_crash crash)
{
    static _Alignas(4096) uint8_t data[WINDOW * BLOCK_BYTES];
    static struct settling settling;
    /* Power may have gone while it was used. */
    memset(&settling, 0, sizeof settling);
    settling.waiting = true;
    settling.op.kind = STORE_READ;
    settling.op.volume = volume->id;
    settling.op.view = VIEW_HEAD;
    settling.op.block = model_block_of(index);
    settling.op.count = WINDOW;
    settling.op.data = data;
    settling.op.done = settle_read;
    settling.op.context = &settling;
    store_submit(rig->store, &settling.op);
    if (!rig_wait(rig, &settling.waiting, "settling"))
        return false;
    if (settling.result != 0 && rig->faulty)
        return true;
    if (settling.result != 0)
        return rig_wrong(rig, "volume %llu cannot be read after a crash: %d",
                         (unsigned long long)volume->id, settling.result);
    for (uint32_t i = 0; i < WINDOW; i++) {
        const char *wrong =
            model_settle(&volume->model, index + i, crash, data + (size_t)i * BLOCK_BYTES);
        if (wrong != NULL)
            return rig_wrong(rig, "after a %s: volume %llu block %llu: %s",
                             crash == MODEL_POWER_CUT ? "power cut" : "kill",
                             (unsigned long long)volume->id,
                             (unsigned long long)model_block_of(index + i), wrong);
        rig->counts.settled++;
    }
    return true;
}

bool short_settle(struct rig *rig, bool power_cut)
{
    enum model_crash crash = power_cut ? MODEL_POWER_CUT : MODEL_KILL;
    for (unsigned v = 0; v < RIG_VOLUMES; v++) {
        struct rig_volume *volume = &rig->volumes[v];
        for (uint32_t index = 0; !volume->deleting && index < MODEL_NEAR; index += WINDOW) {
            bool touched = index == 96 || index == 128 || index == SEGMENT_3;
            /* What changed is asked of all blocks. */
            if ((touched || rig->views != NULL) && !settle_window(rig, volume, index, crash))
                return false;
        }
        if (!rig->faulty)
            volume->model.acks = volume->model.durable_acks = 1;
    }
    return rig->views == NULL || rig_views_settle(rig, true);
}

/* --- Before --------------------------------------------------------------------------------- */

bool short_prepare(struct rig *rig, uint64_t seed, uint64_t journal_blocks, bool views)
{
    static const enum short_op ops[] = {SHORT_WRITE_CROSSING, SHORT_WRITE_MANY, SHORT_FLUSH,
                                        SHORT_SNAP,           SHORT_WRITE_512,  SHORT_DISCARD_SOME,
                                        SHORT_FLUSH};
    static struct short_work work;
    rig_open(rig, seed);
    if (views) {
        rig_views_open(rig);
        rig->views->most = 6;
        rig->views->zeros_beyond = true;
        rig->views->ending = true; /* No clones: the store alone is asked what is left. */
    }
    if (journal_blocks != 0)
        rig->options.journal_bytes = journal_blocks * BLOCK_BYTES;
    if (!rig_format(rig) || !rig_start(rig))
        return false;
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        work = (struct short_work){.ops = ops, .count = views ? COUNT_OF(ops) : 3, .volume = i};
        if (!short_run(&work, rig))
            return false;
    }
    return true;
}

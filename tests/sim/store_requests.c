/* SPDX-License-Identifier: Apache-2.0 */
/* The rig's requests: drawn, made, checked when they end, settled after a crash. */
#include <stdio.h>
#include <string.h>

#include "sim/store_inside.h"
#include "sim/store_views.h"

#define SECTOR 512u

static bool changes(const struct volume_io *io)
{
    return io->kind == VOLUME_WRITE || io->kind == VOLUME_DISCARD || io->kind == VOLUME_ZERO;
}

/* No space is an answer to new data only. */
static bool error_legal(const struct rig_request *request, int result)
{
    static const char *const names[] = {
        [VOLUME_READ] = "a read",       [VOLUME_WRITE] = "a write", [VOLUME_FLUSH] = "a flush",
        [VOLUME_DISCARD] = "a discard", [VOLUME_ZERO] = "a zero",   [VOLUME_MAP] = "a map"};
    struct rig *rig = request->rig;
    const struct volume_io *io = &request->io;
    bool writes =
        io->kind == VOLUME_WRITE || (io->kind == VOLUME_ZERO && (io->flags & VOLUME_NO_HOLE) != 0);
    /* What a snapshot shows as well gives nothing back, and zeros over it take a page; a block that
     * is its parent's becomes a clone's own. */
    if (rig->views != NULL && changes(io))
        writes = writes || view_volume(request->volume)->may_have ||
                 view_volume(request->volume)->parent != NULL;
    if (result == -ENOSPC && writes && !request->overwrites) {
        rig->counts.no_space++;
        return true;
    }
    if (rig->faulty) {
        rig->counts.errors++;
        return true;
    }
    return rig_wrong(rig, "%s of volume %llu, block %llu, %u sectors%s, ended with %d (%s)",
                     names[io->kind], (unsigned long long)request->volume->id,
                     (unsigned long long)model_block_of(request->index), request->sectors,
                     request->overwrites ? " over data" : "", result, base_error_text(result));
}

/* The part of a request that lies in its i-th block. */
static void request_part(const struct rig_request *request, uint32_t i, uint32_t *ret_first,
                         uint32_t *ret_count)
{
    uint32_t begin = i == 0 ? request->first_sector : 0;
    uint32_t whole = request->first_sector + request->sectors;
    *ret_first = begin;
    *ret_count = MIN(whole - i * MODEL_SECTORS, MODEL_SECTORS) - begin;
}

static uint32_t request_blocks(const struct rig_request *request)
{
    return DIV_CEIL(request->first_sector + request->sectors, MODEL_SECTORS);
}

static void request_check_read(struct rig_request *request)
{
    struct rig *rig = request->rig;
    const uint8_t *at = request->io.data;
    for (uint32_t i = 0; i < request_blocks(request); i++) {
        uint32_t first;
        uint32_t count;
        request_part(request, i, &first, &count);
        const char *wrong =
            request->snap != NULL
                ? frozen_check(request->snap->frozen, request->index + i, first, count, at)
                : model_check_read(&request->volume->model, request->index + i,
                                   request->versions[i], first, count, at);
        if (wrong != NULL)
            (void)rig_wrong(rig, "read of volume %llu cut %llu block %llu: %s",
                            (unsigned long long)request->volume->id,
                            request->snap == NULL ? 0ull : (unsigned long long)request->snap->cut,
                            (unsigned long long)model_block_of(request->index + i), wrong);
        at += (size_t)count * SECTOR;
        rig->counts.reads_checked++;
    }
}

static void request_done(struct volume_io *io, int result)
{
    struct rig_request *request = CONTAINER_OF(io, struct rig_request, io);
    struct rig *rig = request->rig;
    request->busy = false;
    request->result = result;
    if (request->snap != NULL)
        request->snap->readers--;
    if (request->spray) {
        if (result != 0)
            (void)error_legal(request, result);
        return;
    }
    world_trace(&rig->world, (uint64_t)io->kind << 32 | (uint32_t)result);
    struct model *model = &request->volume->model;
    if (result != 0) {
        (void)error_legal(request, result);
        for (uint32_t i = 0; changes(io) && i < request_blocks(request); i++)
            model_failed(model, request->index + i, request->versions[i]);
        return;
    }
    if (io->kind == VOLUME_READ) {
        if (request->snap == NULL || !rig->media)
            request_check_read(request);
    } else if (io->kind == VOLUME_FLUSH) {
        model->durable_acks = MAX(model->durable_acks, request->flush_acks);
    } else if (changes(io)) {
        for (uint32_t i = 0; i < request_blocks(request); i++)
            model_acked(model, request->index + i, request->versions[i],
                        (io->flags & VOLUME_FUA) != 0);
    }
}

/* --- Drawing -------------------------------------------------------------------------------- */

static enum volume_io_kind draw_kind(struct rig *rig)
{
    uint64_t die = prng_below(&rig->prng, 100);
    if (die < 50)
        return VOLUME_WRITE;
    if (die < 75)
        return VOLUME_READ;
    if (die < 85)
        return VOLUME_FLUSH;
    return die < 95 ? VOLUME_DISCARD : VOLUME_ZERO;
}

static void draw_range(struct rig *rig, struct rig_request *request)
{
    uint32_t window = (uint32_t)prng_below(&rig->prng, 2) * 256;
    uint32_t blocks = 1 + (uint32_t)prng_below(&rig->prng, 4);
    if (prng_one_in(&rig->prng, 6))
        blocks = 1 + (uint32_t)prng_below(&rig->prng, RIG_REQUEST_BLOCKS - 1);
    request->first_sector = 0;
    if (rig->views != NULL && prng_below(&rig->prng, 100) < rig->spray) {
        request->index = MODEL_NEAR + (uint32_t)prng_below(&rig->prng, MODEL_FAR);
        request->sectors = MODEL_SECTORS;
        return;
    }
    /* Hot blocks meet each other often. */
    uint32_t spread = prng_one_in(&rig->prng, 3) ? 12 : 256;
    uint32_t start = (uint32_t)prng_below(&rig->prng, spread);
    request->index = window + MIN(start, 256 - blocks);
    request->sectors = blocks * MODEL_SECTORS;
    if (request->volume->sector_bytes == 512 && prng_one_in(&rig->prng, 2)) {
        request->first_sector = (uint32_t)prng_below(&rig->prng, MODEL_SECTORS);
        request->sectors -= request->first_sector;
        uint32_t cut = (uint32_t)prng_below(&rig->prng, MODEL_SECTORS);
        request->sectors -= MIN(cut, request->sectors - 1);
    }
}

static bool request_room(const struct rig_request *request)
{
    for (uint32_t i = 0; i < request_blocks(request); i++) {
        if (!model_room(&request->volume->model, request->index + i))
            return false;
    }
    return true;
}

/* What it leaves of the space of a block of which it changes so many sectors. */
static enum model_effect io_effect(const struct volume_io *io, uint32_t sectors)
{
    if (io->kind == VOLUME_WRITE || (io->flags & VOLUME_NO_HOLE) != 0)
        return MODEL_DATA;
    return sectors == MODEL_SECTORS ? MODEL_NOTHING : MODEL_ZEROED;
}

/* Some of it may be in place while it waits: for its other pieces, or for its flush. */
static bool io_in_pieces(const struct rig_request *request)
{
    const struct volume_io *io = &request->io;
    uint64_t last = io->offset + io->length - 1;
    return (io->flags & VOLUME_FUA) != 0 || io->offset % BLOCK_BYTES != 0 ||
           io->length % BLOCK_BYTES != 0 || (uintptr_t)io->data % 512 != 0 ||
           io->offset / (MAP_BLOCKS * BLOCK_BYTES) != last / (MAP_BLOCKS * BLOCK_BYTES);
}

/* Notes what it changes, or what was there when it was asked for. */
static void request_note(struct rig_request *request)
{
    struct rig *rig = request->rig;
    struct model *model = &request->volume->model;
    uint8_t *at = request->io.data;
    request->overwrites = request->io.kind != VOLUME_READ;
    for (uint32_t i = 0; i < request_blocks(request); i++) {
        uint32_t first;
        uint32_t count;
        request_part(request, i, &first, &count);
        if (rig->views != NULL ? !rig_views_alone(request->volume, request->index + i)
                               : !model_holds_data(model, request->index + i))
            request->overwrites = false;
        uint64_t tags[MODEL_SECTORS] = {0};
        if (request->io.kind == VOLUME_READ) {
            request->versions[i] = model->blocks[request->index + i].count;
            continue;
        }
        for (uint32_t s = 0; s < count && request->io.kind == VOLUME_WRITE; s++) {
            tags[s] = ++rig->tag;
            model_fill(at, tags[s]);
            at += SECTOR;
        }
        request->versions[i] = model_change(model, request->index + i, first, count, tags,
                                            io_effect(&request->io, count));
        model->blocks[request->index + i].versions[request->versions[i]].in_pieces =
            io_in_pieces(request);
    }
}

void rig_spray(struct rig *rig, struct rig_request *request, struct rig_volume *volume,
               enum volume_io_kind kind, uint64_t block, uint32_t blocks)
{
    struct volume_io *io = &request->io;
    request->volume = volume;
    io->done = request_done;
    io->kind = kind;
    io->flags = 0;
    request->overwrites = false;
    io->offset = block * BLOCK_BYTES;
    io->length = (uint64_t)blocks * BLOCK_BYTES;
    io->data = request->data;
    for (uint32_t i = 0; i < blocks && kind == VOLUME_WRITE; i++)
        model_fill(request->data + (size_t)i * BLOCK_BYTES, ++rig->tag);
    request->spray = true;
    request->busy = true;
    request->result = 0;
    rig->counts.requests++;
    volume_submit(volume->volume, io);
}

/* One block far away: many map pages. */
static void request_spray(struct rig *rig, struct rig_request *request)
{
    uint64_t block =
        RIG_SPRAY_FROM + prng_below(&rig->prng, RIG_SEGMENTS * SEGMENT_BLOCKS - RIG_SPRAY_FROM);
    enum volume_io_kind kind = prng_one_in(&rig->prng, 3) ? VOLUME_DISCARD : VOLUME_WRITE;
    rig_spray(rig, request, request->volume, kind, block, 1);
}

/* Half of the reads are of snapshots. */
static bool request_view(struct rig *rig, struct rig_request *request)
{
    struct rig_snap *snap = snap_draw_shown(rig);
    if (snap == NULL)
        return true;
    if (!snap_open(snap))
        return false;
    request->snap = snap;
    request->volume = snap->volume;
    return true;
}

static bool request_start(struct rig *rig, struct rig_request *request)
{
    struct rig_volume *volume = &rig->volumes[prng_below(&rig->prng, RIG_VOLUMES)];
    if (volume->volume == NULL)
        return false;
    if (rig->views != NULL && view_volume(volume)->blocked)
        return false;
    request->volume = volume;
    request->snap = NULL;
    struct volume_io *io = &request->io;
    io->done = request_done;
    request->spray = false;
    if (rig->views == NULL && prng_below(&rig->prng, 100) < rig->spray) {
        request_spray(rig, request);
        return true;
    }
    io->kind = draw_kind(rig);
    io->flags = 0;
    request->overwrites = false;
    if (rig->views != NULL && io->kind == VOLUME_READ && !request_view(rig, request))
        return false;
    volume = request->volume;
    draw_range(rig, request);
    if (io->kind == VOLUME_ZERO && prng_one_in(&rig->prng, 2))
        io->flags |= VOLUME_NO_HOLE;
    if (io->kind != VOLUME_READ && prng_one_in(&rig->prng, 5))
        io->flags |= VOLUME_FUA;
    if (io->kind != VOLUME_READ && io->kind != VOLUME_FLUSH && !request_room(request))
        return false;
    io->offset = model_block_of(request->index) * BLOCK_BYTES + request->first_sector * SECTOR;
    io->length = (uint64_t)request->sectors * SECTOR;
    /* Memory of any alignment is fine. */
    io->data = request->data + (prng_one_in(&rig->prng, 4) ? prng_below(&rig->prng, 4096) : 0);
    request->flush_acks = volume->model.acks;
    if (io->kind != VOLUME_FLUSH)
        request_note(request);
    if (request->snap != NULL)
        request->snap->readers++;
    request->busy = true;
    rig->counts.requests++;
    volume_submit(request->snap != NULL ? request->snap->open : volume->volume, io);
    return true;
}

/* --- Running -------------------------------------------------------------------------------- */

unsigned rig_busy(const struct rig *rig)
{
    unsigned busy = 0;
    for (unsigned i = 0; i < RIG_REQUESTS; i++)
        busy += rig->requests[i].busy ? 1 : 0;
    return busy;
}

static void deletion_done(void *context, int result)
{
    struct rig_volume *volume = context;
    struct rig *rig = volume->rig;
    volume->asked = false;
    if (result != 0 && !rig->faulty && result != -ESHUTDOWN) {
        (void)rig_wrong(rig, "deleting a volume ended with %d", result);
        return;
    }
    if (result != 0)
        return;
    rig->counts.deletions++;
    /* The metadata forgets it now; a new volume takes its place, never its number. */
    volume->deleting = false;
    volume->id = rig->next_id++;
    volume->sequence_end = 0;
    volume->epoch = 0;
    model_close(&volume->model);
    if (model_open(&volume->model) != 0)
        (void)rig_wrong(rig, "no memory");
    if (rig->views != NULL)
        rig_views_replaced(volume);
}

void rig_delete(struct rig *rig, struct rig_volume *volume)
{
    if (volume->volume != NULL)
        volume_close(volume->volume);
    volume->volume = NULL;
    volume->deleting = true;
    if (rig->views != NULL)
        rig_views_deleting(volume);
    volume->asked = true;
    if (store_delete_volume(rig->store, volume->id, deletion_done, volume) == 0)
        return;
    volume->asked = false;
    if (!rig->faulty)
        (void)rig_wrong(rig, "deleting a volume was refused: %s", base_last_error());
}

bool rig_drain(struct rig *rig)
{
    for (uint64_t steps = 0; rig_busy(rig) > 0; steps++) {
        if (!rig_turn(rig))
            return rig->world.off || rig->wrong[0] != '\0'
                       ? false
                       : rig_wrong(rig, "nothing is to come, and requests have not ended");
        if (steps > 200000)
            return rig_wrong(rig, "requests do not end");
    }
    return rig->wrong[0] == '\0';
}

/* Now and then a volume without requests is deleted, beside those of others; another takes its
 * place. */
static bool rig_replace_volume(struct rig *rig)
{
    struct rig_volume *volume = &rig->volumes[prng_below(&rig->prng, RIG_VOLUMES)];
    if (volume->volume == NULL && rig->views != NULL && !volume->deleting)
        return rig_open_volume(rig, volume);
    if (volume->volume == NULL || volume_io_count(volume->volume) > 0 ||
        (rig->views != NULL && !rig_views_can_delete(volume)))
        return true;
    rig_delete(rig, volume);
    return true;
}

void rig_resume(struct rig *rig)
{
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        if (rig->volumes[i].deleting && !rig->volumes[i].asked)
            rig_delete(rig, &rig->volumes[i]);
    }
    if (rig->views != NULL)
        rig_views_resume(rig);
}

void rig_run(struct rig *rig, uint64_t count)
{
    rig_resume(rig);
    for (uint64_t made = 0, steps = 0; made < count; steps++) {
        struct rig_request *request = &rig->requests[prng_below(&rig->prng, rig->depth)];
        if (!request->busy && prng_one_in(&rig->prng, 3)) {
            (void)request_start(rig, request);
            made++;
        }
        if (prng_one_in(&rig->prng, 200) && !rig_replace_volume(rig))
            return;
        if (rig->views != NULL)
            rig_views_step(rig);
        if (!rig_turn(rig))
            return;
        if (steps > 200000) {
            (void)rig_wrong(rig, "requests do not end");
            return;
        }
    }
}

/* --- Settling ------------------------------------------------------------------------------- */

/* A flush that failed may have lost what was acknowledged, without a cut; the media anything. */
static enum model_crash rig_crash_kind(const struct rig *rig, bool power_cut)
{
    if (rig->media)
        return MODEL_MEDIA;
    return power_cut || rig->faulty ? MODEL_POWER_CUT : MODEL_KILL;
}

struct settle {
    struct store_op op;
    struct volume_io io;
    bool waiting;
    int result;
};

static void settle_read(struct store_op *op, int result)
{
    struct settle *settle = op->context;
    settle->waiting = false;
    settle->result = result;
}

static void settle_io(struct volume_io *io, int result)
{
    struct settle *settle = CONTAINER_OF(io, struct settle, io);
    settle->waiting = false;
    settle->result = result;
}

/* Past the volume, what the store itself gives; but what a clone shows no store knows. */
static void settle_start(struct settle *settle, struct rig_volume *volume, uint32_t index,
                         uint32_t blocks, uint8_t *data)
{
    struct rig *rig = volume->rig;
    settle->waiting = true;
    settle->op.kind = STORE_READ;
    settle->op.volume = volume->id;
    settle->op.view = VIEW_HEAD;
    settle->op.block = model_block_of(index);
    settle->op.count = blocks;
    settle->op.data = data;
    settle->op.done = settle_read;
    settle->op.context = settle;
    settle->io.kind = VOLUME_READ;
    settle->io.offset = model_block_of(index) * BLOCK_BYTES;
    settle->io.length = (uint64_t)blocks * BLOCK_BYTES;
    settle->io.data = data;
    settle->io.done = settle_io;
    if (rig->views != NULL && view_volume(volume)->parent != NULL)
        volume_submit(volume->volume, &settle->io);
    else
        store_submit(rig->store, &settle->op);
}

/* 64 blocks at a time. */
static bool settle_part(struct rig *rig, struct rig_volume *volume, uint32_t index, bool power_cut,
                        uint8_t *data)
{
    static struct settle settle;
    uint32_t blocks = index < MODEL_NEAR ? 64 : 1;
    /* A crash may have left it flying. */
    memset(&settle, 0, sizeof settle);
    settle_start(&settle, volume, index, blocks, data);
    if (!rig_wait(rig, &settle.waiting, "settling"))
        return false;
    for (uint32_t i = 0; settle.result != 0 && i < blocks; i++)
        model_doubt(&volume->model, index + i);
    if (settle.result != 0)
        return rig->faulty
                   ? true
                   : rig_wrong(rig, "volume %llu block %llu cannot be read after a crash: %d",
                               (unsigned long long)volume->id, (unsigned long long)settle.op.block,
                               settle.result);
    for (uint32_t i = 0; i < blocks; i++) {
        const char *wrong = model_settle(&volume->model, index + i, rig_crash_kind(rig, power_cut),
                                         data + (size_t)i * BLOCK_BYTES);
        if (wrong != NULL && rig->verbose)
            model_print(&volume->model, index + i, data + (size_t)i * BLOCK_BYTES);
        if (wrong != NULL)
            return rig_wrong(rig, "after a %s: volume %llu block %llu: %s",
                             power_cut ? "power cut" : "kill", (unsigned long long)volume->id,
                             (unsigned long long)model_block_of(index + i), wrong);
        rig->counts.settled++;
    }
    return true;
}

bool rig_settle(struct rig *rig, bool power_cut)
{
    static _Alignas(4096) uint8_t data[64 * BLOCK_BYTES];
    for (unsigned v = 0; v < RIG_VOLUMES; v++) {
        struct rig_volume *volume = &rig->volumes[v];
        uint32_t end = rig->views != NULL ? MODEL_BLOCKS : MODEL_NEAR;
        for (uint32_t index = 0; !volume->deleting && index < end;
             index += index < MODEL_NEAR ? 64 : 1) {
            if (!settle_part(rig, volume, index, power_cut, data))
                return false;
        }
        volume->model.acks = volume->model.durable_acks = 1;
    }
    return rig->views == NULL || rig_views_settle(rig, false);
}

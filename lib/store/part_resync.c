/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A RESYNC or a REPAIR of up to 256 blocks of one MiB.
 *
 *   RESYNC   run ──▶ run ... ──▶ told       a run: one kind, one newest kept cut below, 64 blocks
 *   REPAIR   read ──▶ run of what is damaged ──▶ run ... ──▶ read ... ──▶ told
 *
 * One at a time in each MiB: what enters goes from page to page, and waits on its way.
 */
#include "store/part_resync.h"

#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"

static void resync_next(struct part_call *call);

/* The newest kept cut below a sequence. */
static uint64_t cut_below(const struct part_request *request, uint64_t sequence)
{
    uint32_t low = 0, high = request->cut_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (request->cuts[middle] < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : request->cuts[low - 1];
}

static bool version_sane(const struct part_request *request, const struct part_version *version)
{
    if (version->kind == POINTER_HOLE)
        return version->sequence == 0;
    return version->kind <= POINTER_SET_ASIDE && version->sequence > 0 &&
           version->sequence < request->view;
}

int part_resync_check(const struct part_request *request)
{
    const uint8_t *data = request->data;
    for (uint32_t i = 0; i < request->count; i++) {
        const struct part_version *version = &request->versions[i];
        if (!version_sane(request, version))
            return -EPROTO;
        if (version->kind != POINTER_RAW)
            continue;
        if (data == NULL)
            return -EPROTO;
        if (crc32c(data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES) != version->crc)
            return IOMESH_CORRUPT;
    }
    return 0;
}

/* --- One run -------------------------------------------------------------------------------- */

static void run_done(struct store_op *op, int result)
{
    struct part_call *call = CONTAINER_OF(op, struct part_call, op);
    call->at += call->run;
    if (call->resync.refused > 0 && result == 0)
        result = -EPROTO;
    if (result != 0)
        call->result = result;
    resync_next(call);
}

static void run_submit(struct part_call *call, uint32_t count)
{
    const struct part_request *request = call->request;
    struct store_op *op = &call->op;
    struct store_resync *resync = &call->resync;
    const struct part_version *versions = request->versions + call->at;
    for (uint32_t i = 0; i < count; i++) {
        resync->sequences[i] = versions[i].sequence;
        op->crcs[i] = versions[i].crc;
    }
    resync->view = request->view;
    resync->refused = 0;
    call->run = count;
    op->kind = STORE_RESYNC;
    op->volume = request->volume;
    op->view = VIEW_HEAD;
    op->block = request->block + call->at;
    op->count = count;
    op->data = (uint8_t *)request->data + (size_t)call->at * BLOCK_BYTES;
    op->epoch = request->epoch;
    op->cut = resync->cut;
    op->views = true;
    op->group = (uint16_t)request->group;
    op->versions = NULL;
    op->guarded = op->summed = true;
    op->resync = resync;
    op->done = run_done;
    store_submit(call->parts->store, op);
}

/* --- RESYNC --------------------------------------------------------------------------------- */

static uint32_t resync_run(const struct part_call *call, uint64_t cut)
{
    const struct part_request *request = call->request;
    const struct part_version *first = &request->versions[call->at];
    uint32_t most = MIN(request->count - call->at, RECORD_RESYNC_BLOCKS);
    uint32_t count = 1;
    while (count < most && first[count].kind == first->kind &&
           (first->kind == POINTER_HOLE || cut_below(request, first[count].sequence) == cut))
        count++;
    return count;
}

static void resync_go(struct part_call *call)
{
    const struct part_request *request = call->request;
    const struct part_version *first = &request->versions[call->at];
    uint64_t cut = first->kind == POINTER_HOLE ? 0 : cut_below(request, first->sequence);
    call->resync.kind = first->kind;
    call->resync.repair = false;
    call->resync.cut = cut;
    run_submit(call, resync_run(call, cut));
}

/* --- REPAIR --------------------------------------------------------------------------------- */

/* What is damaged here, of what was read: with the contents that were sent. */
static bool is_damaged(const struct part_call *call, uint32_t i)
{
    const struct part_version *wanted = &call->request->versions[call->at + i];
    const struct part_repair *repair = call->parts->repair;
    uint32_t at = call->at + i - repair->first;
    const struct part_version *here = &repair->here[at];
    bool same = (here->sequence == wanted->sequence || MUTANT(278)) && wanted->kind == POINTER_RAW;
    return same && (repair->bad[at / 8] >> at % 8 & 1) != 0 &&
           (here->kind == POINTER_RAW || here->kind == POINTER_BAD);
}

static void repair_read_done(struct store_op *op, int result)
{
    struct part_call *call = CONTAINER_OF(op, struct part_call, op);
    struct part_repair *repair = call->parts->repair;
    memcpy(repair->bad, op->bad, sizeof repair->bad);
    memcpy(repair->places, op->places, repair->count * sizeof repair->places[0]);
    /* What cannot be read is what it was asked for. */
    if (result == IOMESH_FAILED || result == -ESHUTDOWN)
        call->result = result;
    repair->read = true;
    resync_next(call);
}

static void repair_read(struct part_call *call)
{
    const struct part_request *request = call->request;
    struct part_repair *repair = call->parts->repair;
    struct store_op *op = &call->op;
    repair->first = call->at;
    repair->count = MIN(request->count - call->at, RECORD_REPAIR_BLOCKS);
    repair->read = false;
    memset(repair->here, 0, sizeof repair->here);
    memset(op->bad, 0, sizeof op->bad);
    op->kind = STORE_READ;
    op->volume = request->volume;
    op->view = request->view;
    op->block = request->block + call->at;
    op->count = repair->count;
    op->data = repair->bytes;
    op->versions = repair->here;
    op->guarded = op->views = false;
    op->done = repair_read_done;
    store_submit(call->parts->store, op);
}

static void repair_go(struct part_call *call)
{
    struct part_repair *repair = call->parts->repair;
    if (!repair->read || call->at >= repair->first + repair->count) {
        repair_read(call);
        return;
    }
    uint32_t left = repair->first + repair->count - call->at;
    uint32_t sound = 0, damaged = 0;
    while (sound < left && !is_damaged(call, sound))
        sound++;
    call->at += sound;
    const struct part_version *versions = call->request->versions + call->at;
    uint64_t cut = sound < left ? cut_below(call->request, versions[0].sequence) : 0;
    while (damaged < left - sound && is_damaged(call, damaged) &&
           cut_below(call->request, versions[damaged].sequence) == cut) {
        call->resync.damaged[damaged] = repair->places[call->at + damaged - repair->first];
        damaged++;
    }
    if (damaged == 0) {
        resync_next(call);
        return;
    }
    call->resync.kind = POINTER_RAW;
    call->resync.repair = true;
    call->resync.cut = cut;
    run_submit(call, damaged);
}

/* --- The whole ------------------------------------------------------------------------------ */

static void resync_next(struct part_call *call)
{
    const struct part_request *request = call->request;
    bool repairs = request->kind == PART_REPAIR;
    while (!repairs && call->at < request->count &&
           request->versions[call->at].kind == POINTER_SET_ASIDE)
        call->at++;
    if (call->result != 0 || call->at >= request->count)
        part_call_end(call, call->result);
    else if (repairs)
        repair_go(call);
    else
        resync_go(call);
}

void part_resync_begin(struct part_call *call)
{
    call->at = 0;
    call->result = 0;
    if (call->request->kind == PART_REPAIR)
        call->parts->repair->read = false;
    resync_next(call);
}

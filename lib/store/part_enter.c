/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a part obeys: as a request arrives, and as its record is about to enter a batch. */
#include "store/parts.h"

/* A read of a cut by who does not coordinate. */
static bool part_views(const struct part_request *request)
{
    bool looks =
        request->kind == PART_READ || request->kind == PART_MAP || request->kind == PART_CHANGED;
    return looks && request->epoch == 0 && request->view != VIEW_HEAD && !request->settle;
}

static int part_shows(const struct part *part, const struct part_request *request)
{
    const struct part_state *state = &part->state;
    if (part->retired)
        return IOMESH_FENCED;
    bool older = request->generation < state->generation && !MUTANT(361);
    bool whole = state->role == PART_IN_SYNC || MUTANT(360);
    if (older || !whole)
        return IOMESH_CONFLICT;
    REACH(part_viewed);
    return 0;
}

int part_obeys(struct parts *parts, struct part *part, const struct part_request *request)
{
    struct part_state *state = &part->state;
    if (part_views(request))
        return part_shows(part, request);
    if ((request->epoch != state->epoch && !MUTANT(381)) || part->retired)
        return IOMESH_FENCED;
    if (request->generation < state->generation && !MUTANT(272))
        return IOMESH_CONFLICT;
    if (request->generation > state->generation) {
        state->generation = request->generation;
        part_stale(parts, part);
    }
    return 0;
}

void part_hears(struct parts *parts, struct part *part, const struct part_request *request)
{
    struct part_state *state = &part->state;
    uint64_t watermark = request->watermark;
    if (request->settled > state->settled) {
        state->settled = request->settled;
        part_stale(parts, part);
    }
    bool trusts = state->role == PART_IN_SYNC || (MUTANT(273) && state->role != PART_NEW);
    uint64_t *at = trusts ? &state->watermark : &state->heard;
    /* Of what it acknowledged before its machine restarted some may be gone, whatever it hears. */
    if (state->role == PART_NEW || (state->restarted && !MUTANT(327)) || watermark <= *at)
        return;
    *at = watermark;
    part_stale(parts, part);
}

int store_part_enters(struct store_op *op)
{
    struct part_call *call = CONTAINER_OF(op, struct part_call, op);
    const struct part_state *state = &call->part->state;
    if (call->canceled)
        return -ECANCELED;
    if (call->turn != call->part->turn && !MUTANT(271)) {
        REACH(part_fenced_at_batch);
        return IOMESH_FENCED;
    }
    if (call->request->generation < state->generation && !MUTANT(272)) {
        REACH(part_conflict_at_batch);
        return IOMESH_CONFLICT;
    }
    /* Only what it may be trusted to: while it catches up it hears, and does not have. */
    op->watermark = state->role == PART_IN_SYNC || MUTANT(273) ? state->watermark : 0;
    op->generation = state->generation;
    return 0;
}

void store_part_asides(struct store_op *op, int64_t more)
{
    struct part_call *call = CONTAINER_OF(op, struct part_call, op);
    struct part_state *state = &call->part->state;
    assert(!call->part->counted || more >= -(int64_t)state->aside);
    if (call->part->counted)
        state->aside = (uint32_t)(state->aside + more);
    /* Whoever counts at this moment may have been there, or not yet. */
    call->part->disturbed |= more != 0;
}

static bool part_covers(const struct part *part, uint32_t segment)
{
    for (uint32_t i = 0; i < part->run_count; i++) {
        if (segment - part->runs[i].first < part->runs[i].count)
            return true;
    }
    return false;
}

void store_volume_asides(struct store *store, uint64_t volume, uint32_t mebibyte, int64_t more)
{
    struct parts *parts = store->parts;
    if (more == 0)
        return;
    bool unknown = false;
    for (struct part *part = part_next(parts, NULL, volume); part != NULL;
         part = part_next(parts, part, volume)) {
        bool covers = part_covers(part, mebibyte / (SEGMENT_BLOCKS / MAP_BLOCKS));
        part->disturbed = part->disturbed || covers;
        if (covers && part->counted && more >= -(int64_t)part->state.aside) {
            part->state.aside = (uint32_t)(part->state.aside + more);
            return;
        }
        unknown = unknown || covers || part->run_count == 0;
    }
    /* Whose they were is not known: the next role counts them. */
    for (struct part *part = part_next(parts, NULL, volume); unknown && part != NULL;
         part = part_next(parts, part, volume))
        part->counted = part->counted && part->state.role != PART_CATCHING_UP;
}

void store_part_entered(struct store_op *op)
{
    struct part_call *call = CONTAINER_OF(op, struct part_call, op);
    list_remove(&call->node);
    list_push_back(&call->part->entered, &call->node);
}

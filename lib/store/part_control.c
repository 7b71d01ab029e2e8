/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that change what a part is, or take long.
 *
 *   DRAIN ──▶ WORK ──▶ SAVE ──▶ FLUSH ──▶ ENDED (told)
 *
 * DRAIN: what was in a batch is finished. WORK: set aside, views, a retirement; most have none.
 * SAVE: the state is in the log. FLUSH: it survives power loss.
 */
#include <stdlib.h>

#include "store/part_aside.h"

static void control_end(struct part_control *control, int result)
{
    control->result = result;
    control->state = CONTROL_ENDED;
}

/* Somebody newer has the part: what it was asked for does not count any more. */
static bool control_overtaken(const struct part_control *control)
{
    return control->request->kind == PART_ROLE && control->turn != control->part->turn;
}

/* --- DRAIN ---------------------------------------------------------------------------------- */

static bool drains(enum part_request_kind kind)
{
    return kind == PART_FENCE || kind == PART_ROLE || kind == PART_RETIRE;
}

static int control_drain(struct part_control *control)
{
    struct part *part = control->part;
    if (control_overtaken(control))
        return IOMESH_FENCED;
    bool busy = control->request->kind == PART_ROLE && part->role != NULL;
    if (busy)
        return -EAGAIN;
    if (drains(control->request->kind) && part != NULL && !list_empty(&part->entered)) {
        const struct part_call *call =
            LIST_ENTRY(list_first(&part->entered), struct part_call, node);
        if (control->request->kind != PART_FENCE || call->turn < control->turn)
            return -EAGAIN;
    }
    if (control->request->kind == PART_ROLE)
        part->role = control;
    control->state = CONTROL_WORK;
    return 0;
}

/* --- ROLE ----------------------------------------------------------------------------------- */

static void role_take(struct part_control *control)
{
    struct part *part = control->part;
    const struct part_request *request = control->request;
    struct part_state *state = &part->state;
    state->role = request->role;
    state->role_generation = request->generation;
    state->restarted = false;
    state->settled = MAX(state->settled, request->settled);
    part->boot = control->parts->store->super.boot;
    if (request->role == PART_IN_SYNC) {
        state->watermark = MAX(state->watermark, request->watermark);
        state->heard = state->watermark;
    }
    part_changed(control->parts, part);
    control->version = part->home->version;
}

/* It was told this already, or something newer. (To be in sync it may be told again: the watermark
 * may be newer, and its machine may have restarted since.) */
static bool role_is_old(const struct part_control *control)
{
    const struct part_state *state = &control->part->state;
    return control->request->role == PART_CATCHING_UP && state->role != PART_NEW &&
           control->request->generation <= state->role_generation && !MUTANT(275);
}

/* What those who were in sync have lost is not to be trusted here. */
static bool role_lower(struct part_state *state, uint64_t since)
{
    if (MAX(state->watermark, state->heard) <= since)
        return false;
    REACH(part_role_lowers);
    state->watermark = MIN(state->watermark, since);
    state->heard = MIN(state->heard, since);
    state->flushed = MIN(state->flushed, since);
    return true;
}

/* Whoever counts what is set aside must know whose a block is. */
static int role_runs(struct part *part, const struct part_request *request)
{
    struct part_run *runs = calloc(MAX(request->run_count, 1u), sizeof *runs);
    if (runs == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < request->run_count; i++)
        runs[i] = request->runs[i];
    free(part->runs);
    part->runs = runs;
    part->run_count = request->run_count;
    return 0;
}

static int role_walk(struct part_control *control, bool lowered, bool counts)
{
    struct part_request *request = control->request;
    struct part *part = control->part;
    if (control->aside == NULL) {
        if (role_runs(part, request) != 0)
            return -ENOMEM;
        control->aside =
            part_aside_begin(control->parts, part, request->runs, request->run_count, counts);
        if (control->aside == NULL)
            return -ENOMEM;
        if (lowered)
            part_aside_clear(control->aside);
    }
    return part_aside_step(control->aside);
}

static int role_in_sync(struct part_control *control)
{
    struct part *part = control->part;
    if (!part->counted) {
        int error = role_walk(control, false, true);
        if (error != 0)
            return error;
    }
    if (part->state.aside > 0)
        return -EBUSY;
    role_take(control);
    return 0;
}

static int role_work(struct part_control *control)
{
    bool may_end = control->aside == NULL || part_aside_may_end(control->aside);
    bool ready = control->parts->store->state == STORE_READY;
    if (may_end && control_overtaken(control))
        return IOMESH_FENCED;
    if (may_end && !ready)
        return -ECONNRESET;
    if (control->aside == NULL && role_is_old(control)) {
        REACH(part_role_again);
        control->version = control->part->home->version;
        return 0;
    }
    if (control->request->role == PART_IN_SYNC)
        return role_in_sync(control);
    struct part_state *state = &control->part->state;
    uint64_t since = state->settled; /* As it was told when it was there. */
    if (control->request->since != 0)
        since = MIN(since, control->request->since);
    bool lowered = control->aside == NULL && !MUTANT(326) && role_lower(state, since);
    int error = role_walk(control, lowered, false);
    if (error == 0)
        role_take(control);
    return error;
}

/* After a restart it is not known how much is set aside: who asks to flush wants to know. */
static int flush_work(struct part_control *control)
{
    const struct part *part = control->part;
    bool counts = part->state.role == PART_CATCHING_UP && !part->counted;
    if (!counts && control->aside == NULL)
        return 0;
    if (control->request->run_count == 0)
        return 0;
    if (control->parts->store->state != STORE_READY)
        return -ECONNRESET;
    return role_walk(control, false, true);
}

/* --- Steps ---------------------------------------------------------------------------------- */

static int control_work(struct part_control *control)
{
    int error = 0;
    switch (control->request->kind) {
    case PART_ROLE: error = role_work(control); break;
    case PART_FLUSH: error = flush_work(control); break;
    case PART_VIEWS: error = part_views_work(control); break;
    case PART_VIEW_SPACE: error = part_space_work(control); break;
    case PART_RETIRE: error = part_retire_work(control); break;
    default: break;
    }
    if (error == 0)
        control->state = CONTROL_SAVE;
    return error;
}

static int control_save(struct part_control *control)
{
    bool saves = control->request->kind == PART_FENCE || control->request->kind == PART_ROLE;
    const struct part_block *block = saves ? control->part->home : NULL;
    if (saves && MUTANT(270)) {
        control_end(control, 0);
        return 0;
    }
    if (saves && block->saved < control->version)
        return block->error != 0 ? block->error : -EAGAIN;
    bool flushes =
        control->request->kind == PART_FLUSH || (saves && block->durable < control->version);
    if (flushes)
        control->state = CONTROL_FLUSH;
    else
        control_end(control, 0);
    return 0;
}

static void control_flushed(struct store_flush *flush, int result)
{
    struct part_control *control = CONTAINER_OF(flush, struct part_control, flush);
    struct part *part = control->part;
    control->waits = false;
    if (result == 0 && control->request->kind == PART_FLUSH) {
        uint64_t watermark = MIN(control->watermark, part->state.watermark);
        if (watermark > part->state.flushed) {
            part->state.flushed = watermark;
            part_stale(control->parts, part);
        }
    } else if (result == 0) {
        part->home->durable = MAX(part->home->durable, control->version);
    }
    control_end(control, result);
}

static int control_flush(struct part_control *control)
{
    control->waits = true;
    control->flush.done = control_flushed;
    store_flush(control->parts->store, &control->flush);
    return -EAGAIN;
}

static void control_step(struct part_control *control)
{
    while (!control->waits && control->state != CONTROL_ENDED) {
        int error = 0;
        if (control->parts->store->devices.failed != 0)
            error = IOMESH_FAILED;
        else if (control->state == CONTROL_DRAIN)
            error = control_drain(control);
        else if (control->state == CONTROL_WORK)
            error = control_work(control);
        else if (control->state == CONTROL_SAVE)
            error = control_save(control);
        else
            error = control_flush(control);
        if (error == -EAGAIN)
            return;
        if (error != 0)
            control_end(control, error);
    }
}

static void control_tell(struct part_control *control)
{
    struct parts *parts = control->parts;
    struct part *part = control->part;
    list_remove(&control->node);
    part_aside_end(control->aside);
    tree_path_close(&control->path);
    free(control->spaces);
    part_end(parts, control->request, part, control->result);
    if (part != NULL) {
        if (part->role == control)
            part->role = NULL;
        part_let_go(parts, part);
    }
    free(control);
}

/* It has ended, and the checkpoint that it waits for, too. */
static bool control_may_tell(const struct part_control *control)
{
    bool busy = control->aside != NULL && !part_aside_may_end(control->aside);
    return control->state == CONTROL_ENDED && !control->waits && !busy;
}

void part_controls_turn(struct parts *parts)
{
    LIST_EACH_SAFE (&parts->controls, node, after) {
        struct part_control *control = LIST_ENTRY(node, struct part_control, node);
        control_step(control);
        if (control_may_tell(control))
            control_tell(control);
    }
}

bool part_controls_need_turn(const struct parts *parts)
{
    LIST_EACH (&parts->controls, node) {
        const struct part_control *control = LIST_ENTRY(node, struct part_control, node);
        const struct part_aside *aside = control->aside;
        if (control_may_tell(control))
            return true;
        if (aside != NULL && !aside->waits && control->state == CONTROL_WORK &&
            !store_must_throttle_pages(parts->store))
            return true;
    }
    return false;
}

/* --- Beginning ------------------------------------------------------------------------------ */

/* The fence: from now on it obeys this epoch. */
static int fence_begin(struct parts *parts, struct part_control *control)
{
    const struct part_request *request = control->request;
    struct part *part = part_find(parts, request->volume, request->group);
    if (part == NULL)
        part = part_make(parts, request->volume, request->group);
    if (part == NULL)
        return -ENOMEM;
    control->part = part;
    if (part->home == NULL && part_settle(parts, part) != 0) {
        part_drop(parts, part);
        control->part = NULL;
        return -ENOMEM;
    }
    if (request->epoch < part->state.epoch || part->retired)
        return IOMESH_FENCED;
    if (request->epoch > part->state.epoch) {
        part->state.epoch = request->epoch;
        part_changed(parts, part);
    }
    /* What came before is dropped, of this epoch too: nobody waits for it any more. */
    control->turn = ++part->turn;
    control->version = part->home->version;
    return 0;
}

static void control_path_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct part_control, path)->waits = false;
}

void part_control_begin(struct parts *parts, struct part_request *request, struct part *part)
{
    struct part_control *control = calloc(1, sizeof *control);
    if (control == NULL) {
        part_end(parts, request, part, -ENOMEM);
        return;
    }
    control->parts = parts;
    control->request = request;
    control->part = part;
    tree_path_init(&control->path, parts->store->tree, control_path_woken);
    int error = 0;
    if (request->kind == PART_FENCE)
        error = fence_begin(parts, control);
    else if (part != NULL)
        control->turn = part->turn;
    if (error != 0) {
        part_end(parts, request, control->part, error);
        free(control);
        return;
    }
    if (request->kind == PART_FLUSH) {
        assert(part != NULL);
        part_hears(parts, part, request);
        part_keep_settled(parts, part);
        control->watermark = part->state.watermark;
        if (MUTANT(279))
            part->state.flushed = part->state.watermark;
    }
    if (control->part != NULL)
        control->part->refs++;
    list_push_back(&parts->controls, &control->node);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kin: cuts of volumes that need not be ours.
 *
 * Whom to ask is what the records say, and they may change at any time: a copy that was in sync
 * when they were read, and after the cut was committed, has the cut whole for as long as it thinks
 * that it is in sync itself and the cut is kept. So a record that is old does no harm: what it
 * names either has the cut, or refuses.
 */
#include <stdlib.h>

#include "volume/copies_inside.h"

/* --- Looking ---------------------------------------------------------------------------------- */

static struct copies_kin *kin_find(const struct copies *copies, uint64_t volume)
{
    LIST_EACH (&copies->kin, node) {
        struct copies_kin *kin = LIST_ENTRY(node, struct copies_kin, node);
        if (kin->volume == volume)
            return kin;
    }
    return NULL;
}

static void kin_look(struct timer *timer)
{
    struct copies_kin *kin = CONTAINER_OF(timer, struct copies_kin, timer);
    const struct copies_calls *calls = &kin->root->options.calls;
    if (kin->looking || kin->root->ended != 0)
        return;
    kin->looking = true;
    kin->looked_ns = clock_now_ns(kin->root->engine->clock);
    calls->look(calls->context, kin->volume);
}

/* At once, but for a while after the look before. */
static void kin_want(struct copies_kin *kin)
{
    struct clock *clock = kin->root->engine->clock;
    if (kin->looking || kin->timer.set || kin->root->ended != 0)
        return;
    uint64_t at = kin->looked_ns == 0 ? 0 : kin->looked_ns + COPIES_LOOK_NS;
    clock_set(clock, &kin->timer, MAX(at, clock_now_ns(clock) + 1));
}

void copies_kin_doubt(struct copies *copies)
{
    if (copies->of != NULL && copies->heir == NULL && !MUTANT(366))
        kin_want(copies->of);
}

int copies_kin_open(struct copies *copies, uint64_t volume)
{
    assert(volume != copies->options.volume);
    if (kin_find(copies, volume) != NULL)
        return 0;
    struct copies_kin *kin = calloc(1, sizeof *kin);
    if (kin == NULL)
        return -ENOMEM;
    kin->root = copies;
    kin->volume = volume;
    kin->timer.fire = kin_look;
    list_init(&kin->waiting);
    list_push_back(&copies->kin, &kin->node);
    kin_want(kin);
    return 0;
}

void copies_kin_unknown(struct copies *copies, uint64_t volume)
{
    struct copies_kin *kin = kin_find(copies, volume);
    if (kin == NULL)
        return; /* It was closed. */
    kin->looking = false;
    kin_want(kin);
}

/* --- What it found ---------------------------------------------------------------------------- */

static void view_closed(void *context)
{
    struct copies *root = context;
    root->views--;
}

/* What waits goes on with the heir. */
static void view_replace(struct copies *view, struct copies *heir)
{
    view->heir = heir;
    view->closing = view->told_end = true;
    view->closed = view_closed;
    view->closed_context = view->of->root;
    view->engine->closes = true;
    for (uint32_t i = 0; i < view->options.group_count && !MUTANT(367); i++)
        copies_ops_retry(&view->groups[i]);
}

static void kin_begin_waiting(struct copies_kin *kin)
{
    struct list waiting;
    list_init(&waiting);
    list_splice_back(&waiting, &kin->waiting);
    for (struct list *node; (node = list_pop_front(&waiting)) != NULL;) {
        kin->root->ops--;
        copies_submit(kin->copies, LIST_ENTRY(node, struct store_op, node));
    }
}

int copies_kin_set(struct copies *copies, uint64_t volume, const struct copies_kin_layout *layout)
{
    struct copies_kin *kin = kin_find(copies, volume);
    if (kin == NULL || copies->ended != 0)
        return 0;
    struct copies_options options = {
        .volume = volume,
        .bound_ns = MUTANT(365) ? UINT64_MAX : copies->options.bound_ns,
        .local_store = layout->local_store,
        .groups = layout->groups,
        .group_count = layout->group_count,
        .runs = layout->runs,
        .run_count = layout->run_count,
        .replica = copies->options.replica,
        .calls = {.port = copies->options.calls.port, .context = copies->options.calls.context},
    };
    struct copies *view;
    int result = copies_make(copies->engine, &options, kin, &view);
    kin->looking = false;
    if (result != 0) {
        kin_want(kin);
        return result;
    }
    struct copies *before = kin->copies;
    kin->copies = view;
    copies->views++;
    if (before != NULL)
        view_replace(before, view);
    kin_begin_waiting(kin);
    return 0;
}

/* --- Operations ------------------------------------------------------------------------------- */

void copies_kin_submit(struct copies *copies, struct store_op *of)
{
    struct copies_kin *kin = kin_find(copies, of->volume);
    assert(kin != NULL && of->view != VIEW_HEAD);
    assert(of->kind == STORE_READ || of->kind == STORE_MAP || of->kind == STORE_CHANGED);
    if (copies->ended == 0 && kin->copies != NULL) {
        copies_submit(kin->copies, of);
        return;
    }
    copies->ops++;
    of->store = (void *)copies;
    list_push_back(copies->ended != 0 ? &copies->engine->refused : &kin->waiting, &of->node);
}

void copies_kin_refuse(struct copies_engine *engine)
{
    for (struct list *node; (node = list_pop_front(&engine->refused)) != NULL;) {
        struct store_op *of = LIST_ENTRY(node, struct store_op, node);
        struct copies *root = (void *)of->store;
        root->ops--;
        of->done(of, root->ended);
    }
}

/* --- The whole -------------------------------------------------------------------------------- */

void copies_kin_end(struct copies *copies)
{
    LIST_EACH (&copies->kin, node) {
        struct copies_kin *kin = LIST_ENTRY(node, struct copies_kin, node);
        clock_cancel(copies->engine->clock, &kin->timer);
        list_splice_back(&copies->engine->refused, &kin->waiting);
    }
    LIST_EACH (&copies->engine->volumes, node) {
        struct copies *view = LIST_ENTRY(node, struct copies, node);
        if (view->of != NULL && view->of->root == copies)
            copies_end(view, copies->ended);
    }
}

void copies_kin_lease(struct copies *copies, uint64_t bound_ns)
{
    LIST_EACH (&copies->kin, node) {
        struct copies_kin *kin = LIST_ENTRY(node, struct copies_kin, node);
        if (kin->copies != NULL)
            copies_lease(kin->copies, bound_ns);
    }
}

void copies_kin_port(struct copies *copies, struct part_port *port)
{
    LIST_EACH (&copies->kin, node) {
        struct copies_kin *kin = LIST_ENTRY(node, struct copies_kin, node);
        if (kin->copies != NULL)
            copies_port_changed(kin->copies, port);
    }
}

void copies_kin_close(struct copies *copies)
{
    LIST_EACH (&copies->kin, node) {
        struct copies_kin *kin = LIST_ENTRY(node, struct copies_kin, node);
        if (kin->copies != NULL)
            copies_close(kin->copies, view_closed, copies);
        kin->copies = NULL; /* They may be gone before what they are kin of. */
    }
}

void copies_kin_free(struct copies *copies)
{
    for (struct list *node; (node = list_pop_front(&copies->kin)) != NULL;) {
        struct copies_kin *kin = LIST_ENTRY(node, struct copies_kin, node);
        clock_cancel(copies->engine->clock, &kin->timer);
        assert(list_empty(&kin->waiting));
        free(kin);
    }
}

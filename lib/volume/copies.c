/* SPDX-License-Identifier: Apache-2.0 */
/* The machine of each group, and what is done of what it says. */
#include <stdlib.h>
#include <string.h>

#include "volume/copies_inside.h"

uint64_t copies_now(const struct copies_group *group)
{
    return clock_now_ns(group->copies->engine->clock);
}

void copies_group_ready(struct copies_group *group)
{
    if (list_empty(&group->ready))
        list_push_back(&group->copies->engine->ready, &group->ready);
}

/* --- Requests --------------------------------------------------------------------------------- */

void copies_address(struct copies_group *group, struct part_request *request,
                    enum part_request_kind kind)
{
    *request = (struct part_request){
        .kind = kind,
        .volume = group->copies->options.volume,
        .group = group->id,
        .epoch = group->replica.epoch,
        .generation = group->replica.generation,
        .watermark = replica_watermark(&group->replica),
        .settled = replica_flushed_to(&group->replica),
        .view = VIEW_HEAD,
    };
}

bool copies_send(struct copies_group *group, uint8_t copy, struct part_request *request,
                 part_done_fn *done, void *context)
{
    struct part_port *port = group->ports[copy];
    if (port == NULL || port->state != PART_PORT_UP)
        return false;
    request->done = done;
    request->context = context;
    part_submit(port, request);
    return true;
}

bool copies_answer_ends(struct copies_group *group, uint8_t copy, int result,
                        const struct part_request *request)
{
    if (result == 0 || result == IOMESH_CONFLICT)
        return false;
    if (result == -ECONNRESET || result == -ECANCELED)
        return true; /* The port says so itself. */
    if (request->port != group->ports[copy])
        return true; /* That store is no copy any more. */
    if (group->copies->of != NULL)
        return true; /* It is only read: another one is asked. */
    if (result == IOMESH_FENCED)
        replica_refused(&group->replica, copy, request->state.epoch, copies_now(group));
    else
        replica_failed(&group->replica, copy, copies_now(group));
    copies_group_ready(group);
    return true;
}

/* --- What the machine says -------------------------------------------------------------------- */

static struct replica_part part_of(struct copies_group *group, uint8_t copy,
                                   const struct part_request *request)
{
    static const uint8_t roles[] = {[PART_NEW] = REPLICA_ABSENT,
                                    [PART_IN_SYNC] = REPLICA_IN_SYNC,
                                    [PART_CATCHING_UP] = REPLICA_CATCHING_UP};
    const struct part_state *state = &request->state;
    struct part_port *port = group->ports[copy];
    struct replica_part part = {
        .generation = request->generation,
        .role = state->role < COUNT_OF(roles) ? roles[state->role] : REPLICA_ABSENT,
        .restarted = state->restarted,
        .watermark = state->watermark,
    };
    memcpy(&part.boot, port->boot_id, sizeof part.boot);
    return part;
}

/* It is an answer, and of the store that is this copy now: a copy may have gone meanwhile, and its
 * number been given to another. */
static bool group_hears(struct copies_group *group, uint8_t copy, int result,
                        const struct part_request *request)
{
    return !copies_answer_ends(group, copy, result, request) && result == 0 &&
           (request->port == group->ports[copy] || MUTANT(350));
}

static void group_fenced(struct part_request *request, int result)
{
    struct copies_group *group = request->context;
    uint8_t copy = (uint8_t)(request - group->fences);
    group->fencing &= (uint8_t)~COPY_BIT(copy);
    if (group_hears(group, copy, result, request)) {
        struct replica_part part = part_of(group, copy, request);
        replica_fenced(&group->replica, copy, request->epoch, &part, copies_now(group));
    }
    copies_group_ready(group);
}

static void group_fence(struct copies_group *group, uint8_t copy)
{
    if ((group->fencing & COPY_BIT(copy)) != 0)
        return;
    struct part_request *request = &group->fences[copy];
    copies_address(group, request, PART_FENCE);
    if (copies_send(group, copy, request, group_fenced, group))
        group->fencing |= COPY_BIT(copy);
}

/* The segments of a group, for a role, or to count what is set aside: not on the path of an I/O.
 * 0 or -ENOMEM. */
static int group_runs_make(struct copies_group *group, struct part_request *request)
{
    const struct copies *copies = group->copies;
    struct part_run *runs = calloc(copies->options.run_count, sizeof *runs);
    if (runs == NULL)
        return -ENOMEM;
    request->runs = runs;
    for (uint32_t i = 0; i < copies->options.run_count; i++) {
        const struct copies_run *run = &copies->runs[i];
        if (&copies->groups[run->group] == group)
            runs[request->run_count++] = (struct part_run){.first = run->first, run->count};
    }
    return 0;
}

static void group_role_told(struct part_request *request, int result)
{
    struct copies_group *group = request->context;
    uint8_t copy = (uint8_t)(request - group->roles);
    group->roling &= (uint8_t)~COPY_BIT(copy);
    free((void *)request->runs);
    request->runs = NULL;
    if (group_hears(group, copy, result, request)) {
        struct replica_part part = part_of(group, copy, request);
        replica_role_told(&group->replica, copy, &part, copies_now(group));
    }
    copies_group_ready(group);
}

static void group_role(struct copies_group *group, const struct replica_action *action)
{
    uint8_t copy = action->copy;
    if ((group->roling & COPY_BIT(copy)) != 0)
        return;
    struct part_request *request = &group->roles[copy];
    copies_address(group, request, PART_ROLE);
    request->generation = action->generation;
    request->watermark = action->watermark;
    request->role = action->role == REPLICA_IN_SYNC ? PART_IN_SYNC : PART_CATCHING_UP;
    if (group_runs_make(group, request) != 0) {
        replica_failed(&group->replica, copy, copies_now(group));
        return;
    }
    if (copies_send(group, copy, request, group_role_told, group)) {
        group->roling |= COPY_BIT(copy);
    } else {
        free((void *)request->runs);
        request->runs = NULL;
    }
}

static void group_flushed(struct part_request *request, int result)
{
    struct copies_group *group = request->context;
    uint8_t copy = (uint8_t)(request - group->flushes);
    group->flushing &= (uint8_t)~COPY_BIT(copy);
    free((void *)request->runs);
    request->runs = NULL;
    if (group_hears(group, copy, result, request))
        replica_flushed(&group->replica, copy, group->tokens[copy], request->generation,
                        request->state.aside, copies_now(group));
    else if (result == IOMESH_CONFLICT && request->port == group->ports[copy])
        replica_flush_refused(&group->replica, copy, group->tokens[copy], request->generation);
    copies_group_ready(group);
}

static void group_flush(struct copies_group *group, const struct replica_action *action)
{
    uint8_t copy = action->copy;
    if ((group->flushing & COPY_BIT(copy)) != 0)
        return;
    struct part_request *request = &group->flushes[copy];
    copies_address(group, request, PART_FLUSH);
    group->tokens[copy] = action->token;
    /* Of one that catches up it matters how much is set aside. */
    bool counts = group->replica.copies[copy].state == REPLICA_CATCHING_UP;
    if (counts && group_runs_make(group, request) != 0)
        return;
    if (copies_send(group, copy, request, group_flushed, group)) {
        group->flushing |= COPY_BIT(copy);
    } else {
        free((void *)request->runs);
        request->runs = NULL;
    }
}

static void group_marked(struct part_request *request, int result)
{
    struct copies_group *group = request->context;
    uint8_t copy = (uint8_t)(request - group->marks);
    group->marking &= (uint8_t)~COPY_BIT(copy);
    (void)copies_answer_ends(group, copy, result, request);
    copies_group_ready(group);
}

static void group_mark(struct copies_group *group, uint8_t copy)
{
    if ((group->marking & COPY_BIT(copy)) != 0)
        return;
    struct part_request *request = &group->marks[copy];
    copies_address(group, request, PART_WATERMARK);
    if (copies_send(group, copy, request, group_marked, group))
        group->marking |= COPY_BIT(copy);
}

/* --- Ends of the session, and its beginning ------------------------------------------------- */

static void group_opened(struct copies_group *group)
{
    struct copies *copies = group->copies;
    if (!group->opened) {
        group->opened = true;
        copies->groups_open++;
    }
    if (!copies->told_open && copies->groups_open == copies->options.group_count) {
        copies->told_open = true;
        copies->options.calls.opened(copies->options.calls.context);
    }
    copies_ops_retry(group);
}

void copies_end(struct copies *copies, int reason)
{
    if (copies->ended == 0)
        copies->ended = reason;
    copies_kin_end(copies);
    for (uint32_t i = 0; i < copies->options.group_count; i++) {
        replica_end(&copies->groups[i].replica, reason);
        copies_group_ready(&copies->groups[i]);
    }
}

/* One group's end is the volume's. */
static void group_ended(struct copies_group *group, int result)
{
    struct copies *copies = group->copies;
    copies_end(copies, result);
    copies_task_stop(&group->reconcile);
    EACH_COPY(copy)
    copies_task_stop(&group->resync[copy]);
    copies_ops_end(group, copies->ended);
    if (!copies->told_end && copies->of == NULL) {
        copies->told_end = true;
        copies->options.calls.ended(copies->options.calls.context, copies->ended);
    }
}

static void group_perform(struct copies_group *group, const struct replica_action *action)
{
    const struct copies_calls *calls = &group->copies->options.calls;
    switch (action->kind) {
    case REPLICA_DO_FENCE: group_fence(group, action->copy); break;
    case REPLICA_DO_ROLE: group_role(group, action); break;
    case REPLICA_DO_TRANSACT: calls->transact(calls->context, group->id, &action->record); break;
    case REPLICA_DO_RECONCILE: copies_task_begin(&group->reconcile, action); break;
    case REPLICA_DO_OPEN: group_opened(group); break;
    case REPLICA_DO_RESYNC: copies_task_begin(&group->resync[action->copy], action); break;
    case REPLICA_DO_STOP: copies_task_stop(&group->resync[action->copy]); break;
    case REPLICA_DO_FLUSH: group_flush(group, action); break;
    case REPLICA_DO_WATERMARK: group_mark(group, action->copy); break;
    case REPLICA_DO_SEND:
        copies_write_send(CONTAINER_OF(action->write, struct copies_op, write), action->copies);
        break;
    case REPLICA_DO_WRITE_DONE:
        copies_write_over(CONTAINER_OF(action->write, struct copies_op, write), action->result);
        break;
    case REPLICA_DO_FLUSH_DONE: copies_flush_done(action->flush, group, action->result); break;
    case REPLICA_DO_CHANGED: copies_ops_retry(group); break;
    case REPLICA_DO_ENDED: group_ended(group, action->result); break;
    }
}

/* --- Ports ------------------------------------------------------------------------------------ */

static void group_port_state(struct copies_group *group, uint8_t copy)
{
    struct part_port *port = group->ports[copy];
    uint64_t now = copies_now(group);
    if (port != NULL && port->state == PART_PORT_UP) {
        uint64_t boot;
        memcpy(&boot, port->boot_id, sizeof boot);
        replica_connected(&group->replica, copy, boot, now);
    } else {
        replica_disconnected(&group->replica, copy, now);
    }
    copies_group_ready(group);
}

/* The machine may have given a copy's number to another store. */
static void group_ports(struct copies_group *group)
{
    const struct copies_calls *calls = &group->copies->options.calls;
    EACH_COPY(copy)
    {
        const struct replica_copy *of = &group->replica.copies[copy];
        uint64_t store = of->state == REPLICA_ABSENT ? 0 : of->store;
        if (store == group->stores[copy])
            continue;
        group->stores[copy] = store;
        group->ports[copy] = store == 0 ? NULL : calls->port(calls->context, store);
        if (group->ports[copy] != NULL && group->ports[copy]->state == PART_PORT_UP)
            group_port_state(group, copy);
    }
}

void copies_port_changed(struct copies *copies, struct part_port *port)
{
    copies_kin_port(copies, port);
    for (uint32_t i = 0; i < copies->options.group_count; i++) {
        struct copies_group *group = &copies->groups[i];
        EACH_COPY(copy)
        {
            if (group->stores[copy] != port->store)
                continue;
            group->ports[copy] = port;
            group_port_state(group, copy);
        }
    }
}

uint8_t copies_local(const struct copies_group *group)
{
    uint64_t local = group->copies->options.local_store;
    EACH_COPY(copy)
    {
        if (local != 0 && group->stores[copy] == local)
            return copy;
    }
    return REPLICA_COPIES_MAX;
}

/* --- Turning ---------------------------------------------------------------------------------- */

static void group_turn(struct copies_group *group)
{
    struct clock *clock = group->copies->engine->clock;
    struct replica_action action;
    do {
        list_remove(&group->ready);
        group_ports(group);
        while (replica_next(&group->replica, copies_now(group), &action))
            group_perform(group, &action);
    } while (!list_empty(&group->ready));
    uint64_t deadline = replica_deadline(&group->replica);
    if (deadline == UINT64_MAX)
        clock_cancel(clock, &group->tick);
    else
        clock_set(clock, &group->tick, deadline);
}

void copies_group_tick(struct timer *timer)
{
    struct copies_group *group = CONTAINER_OF(timer, struct copies_group, tick);
    replica_tick(&group->replica, copies_now(group));
    copies_group_ready(group);
}

static bool copies_idle(const struct copies *copies)
{
    if (copies->ops != 0 || copies->views != 0)
        return false;
    for (uint32_t i = 0; i < copies->options.group_count; i++) {
        const struct copies_group *group = &copies->groups[i];
        if ((group->fencing | group->roling | group->flushing | group->marking) != 0 ||
            group->reconcile.running)
            return false;
        EACH_COPY(copy)
        {
            if (group->resync[copy].running)
                return false;
        }
    }
    return true;
}

/* Those of kin come after whose kin they are. */
static void volumes_turn(struct copies_engine *engine)
{
    engine->closes = false;
    LIST_EACH_SAFE (&engine->volumes, node, after) {
        struct copies *copies = LIST_ENTRY(node, struct copies, node);
        if (!copies->closing || !copies_idle(copies))
            continue;
        engine->closes = engine->closes || copies->of != NULL;
        void (*closed)(void *) = copies->closed;
        void *context = copies->closed_context;
        copies_free(copies);
        closed(context);
    }
}

static bool turn_works(const struct copies_engine *engine)
{
    return !list_empty(&engine->ready) || !list_empty(&engine->finished) ||
           !list_empty(&engine->flushed) || !list_empty(&engine->refused) ||
           (!list_empty(&engine->tasks) && !list_empty(&engine->free_lanes));
}

void copies_engine_turn(struct copies_engine *engine)
{
    while (turn_works(engine)) {
        for (struct list *node; (node = list_pop_front(&engine->ready)) != NULL;)
            group_turn(LIST_ENTRY(node, struct copies_group, ready));
        copies_repairs_turn(engine);
        copies_tasks_turn(engine);
        copies_flushes_turn(engine);
        copies_kin_refuse(engine);
        for (struct list *node; (node = list_pop_front(&engine->finished)) != NULL;) {
            struct copies_op *op = LIST_ENTRY(node, struct copies_op, node);
            struct store_op *of = op->op;
            int result = op->result;
            copies_op_release(op);
            of->done(of, result);
        }
    }
    do {
        volumes_turn(engine);
    } while (engine->closes);
}

bool copies_engine_turn_needed(const struct copies_engine *engine)
{
    return engine->closes || turn_works(engine);
}

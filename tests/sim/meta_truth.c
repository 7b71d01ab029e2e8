/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/meta_truth_inside.h"

#include <stdlib.h>

/* A request on its way there, or back.
 *
 *   ASKED ──arrives──▶ ANSWERED ──arrives──▶ told
 *     │  ▲ cut off        │ cut off
 *     ▼  │                ▼
 *   WAITING ──too long──▶ told          GHOST: told as unknown, happens later
 */
enum flight_state { FLIGHT_WAITING, FLIGHT_ASKED, FLIGHT_ANSWERED, FLIGHT_GHOST };

struct truth_flight {
    struct list node; /* handle->flights, handle->done, truth->ghosts. */
    struct truth *truth;
    struct truth_handle *handle;
    enum flight_state state;
    struct meta_request *request; /* The caller's. */
    struct meta_request copy;     /* What is asked; outlives the caller's. */
    struct timer timer;
    uint64_t deadline_ns;
    bool once;
    bool maybe; /* A lease's word that may have been heard. */
    int result;
};

static struct truth_handle *handle_of(struct meta *meta)
{
    return CONTAINER_OF(meta, struct truth_handle, meta);
}

/* --- Flights ------------------------------------------------------------------------------- */

static void flight_free(struct truth_flight *flight)
{
    clock_cancel(flight->truth->clock, &flight->timer);
    list_remove(&flight->node);
    if (flight->copy.body != NULL)
        flight->copy.body->kind = META_TRANSACTION;
    meta_request_done(&flight->copy);
    free(flight);
}

static void flight_end(struct truth_flight *flight, int result)
{
    struct truth_handle *handle = flight->handle;
    clock_cancel(flight->truth->clock, &flight->timer);
    flight->result = result;
    list_remove(&flight->node);
    list_push_back(&handle->done, &flight->node);
    handle->options.wakeup(handle->options.wakeup_context);
}

static uint64_t draw_ns(struct truth *truth, uint64_t max_ns)
{
    return max_ns == 0 ? 0 : prng_below(&truth->prng, max_ns);
}

static void flight_ask(struct truth_flight *flight)
{
    struct truth *truth = flight->truth;
    flight->state = FLIGHT_ASKED;
    clock_set_after(truth->clock, &flight->timer,
                    draw_ns(truth, flight->handle->options.delay_ns_max));
}

static void flight_wait(struct truth_flight *flight)
{
    flight->state = FLIGHT_WAITING;
    clock_set(flight->truth->clock, &flight->timer, flight->deadline_ns);
}

static void flight_due(struct timer *timer)
{
    struct truth_flight *flight = CONTAINER_OF(timer, struct truth_flight, timer);
    struct truth *truth = flight->truth;
    switch (flight->state) {
    case FLIGHT_WAITING: flight_end(flight, flight->maybe ? IOMESH_UNKNOWN : -ETIMEDOUT); break;
    case FLIGHT_ASKED:
        flight->result = truth_do(truth, &flight->copy, flight->request);
        flight->state = FLIGHT_ANSWERED;
        if (flight->result == -ENOENT && flight->maybe &&
            flight->copy.body->kind == META_LEASE_REVOKE)
            flight->result = 0; /* Revoked by the attempt before. */
        clock_set_after(truth->clock, &flight->timer,
                        draw_ns(truth, flight->handle->options.delay_ns_max));
        break;
    case FLIGHT_ANSWERED: flight_end(flight, flight->result); break;
    case FLIGHT_GHOST:
        truth->late++;
        (void)truth_do(truth, &flight->copy, &flight->copy);
        flight_free(flight);
        break;
    }
}

/* The way between is gone while a request is on it. */
static void flight_cut(struct truth_flight *flight)
{
    struct truth *truth = flight->truth;
    if (flight->state == FLIGHT_WAITING)
        return;
    if (!flight->once) {
        flight->maybe = flight->copy.body->kind != META_TRANSACTION;
        flight_wait(flight);
        return;
    }
    if (flight->state == FLIGHT_ASKED && prng_one_in(&truth->prng, 2)) {
        /* It goes on without its owner. */
        struct truth_flight *told = calloc(1, sizeof *told);
        assert(told != NULL);
        *told = (struct truth_flight){
            .truth = truth,
            .handle = flight->handle,
            .request = flight->request,
        };
        list_init(&told->node);
        flight_end(told, IOMESH_UNKNOWN);
        list_remove(&flight->node);
        list_push_back(&truth->ghosts, &flight->node);
        flight->state = FLIGHT_GHOST;
        clock_set_after(truth->clock, &flight->timer,
                        draw_ns(truth, flight->handle->options.late_ns_max));
        flight->handle = NULL;
        return;
    }
    flight_end(flight, IOMESH_UNKNOWN);
}

/* --- What is asked, once more -------------------------------------------------------------- */

static void copy_branch(struct meta_request *to, const struct meta_branch *branch)
{
    for (uint32_t i = 0; i < branch->count; i++) {
        const struct meta_op *op = &branch->ops[i];
        switch (op->kind) {
        case META_PUT: meta_put(to, op->key, op->value, op->lease); break;
        case META_DELETE: meta_delete(to, op->key); break;
        case META_DELETE_PREFIX: meta_delete_prefix(to, op->key); break;
        case META_GET: meta_get(to, op->key); break;
        case META_LIST: meta_list(to, op->key, op->value, op->limit); break;
        }
    }
}

static void copy_request(struct meta_request *to, const struct meta_request *from)
{
    const struct meta_body *body = from->body;
    meta_request_init(to);
    for (uint32_t i = 0; i < body->compare_count; i++) {
        const struct meta_compare *compare = &body->compares[i];
        switch (compare->kind) {
        case META_IF_ABSENT: meta_if_absent(to, compare->key); break;
        case META_IF_PRESENT: meta_if_present(to, compare->key); break;
        case META_IF_MODIFIED: meta_if_modified(to, compare->key, compare->revision); break;
        case META_IF_CREATED: meta_if_created(to, compare->key, compare->revision); break;
        case META_IF_VALUE: meta_if_value(to, compare->key, compare->value); break;
        }
    }
    copy_branch(to, &body->branches[0]);
    meta_else(to);
    copy_branch(to, &body->branches[1]);
    assert(to->body != NULL && to->body->error == 0);
    to->body->kind = body->kind;
    to->lease = from->lease;
    to->ttl_ns = from->ttl_ns;
}

/* --- The handle ---------------------------------------------------------------------------- */

static int truth_submit(struct meta *meta, struct meta_request *request)
{
    struct truth_handle *handle = handle_of(meta);
    struct truth_flight *flight = calloc(1, sizeof *flight);
    if (flight == NULL)
        return FAIL(-ENOMEM, "no memory for a request");
    flight->truth = handle->truth;
    flight->handle = handle;
    flight->request = request;
    flight->timer.fire = flight_due;
    flight->deadline_ns = clock_now_ns(handle->truth->clock) + handle->options.wait_ns;
    flight->once = request->body->kind == META_TRANSACTION && meta_request_changes(request);
    copy_request(&flight->copy, request);
    list_push_back(&handle->flights, &flight->node);
    if (handle->reachable)
        flight_ask(flight);
    else
        flight_wait(flight);
    return 0;
}

static unsigned truth_poll(struct meta *meta)
{
    struct truth_handle *handle = handle_of(meta);
    struct list done;
    struct list *node;
    list_init(&done);
    list_splice_back(&done, &handle->done);
    if (handle->reachable)
        meta_history_append(&handle->history, &handle->held);
    unsigned ran = meta_history_deliver(&handle->history);
    while ((node = list_pop_front(&done)) != NULL) {
        struct truth_flight *flight = LIST_ENTRY(node, struct truth_flight, node);
        struct meta_request *request = flight->request;
        int result = flight->result;
        flight_free(flight);
        meta_complete(meta, request, result);
        ran++;
    }
    return ran;
}

static int truth_watch_start(struct meta *meta, struct meta_watch *watch)
{
    meta_history_watch(&handle_of(meta)->history, watch);
    return 0;
}

static void truth_watch_cancel(struct meta *meta, struct meta_watch *watch)
{
    meta_history_cancel(&handle_of(meta)->history, watch);
}

static void truth_close(struct meta *meta)
{
    struct truth_handle *handle = handle_of(meta);
    struct list *node;
    assert(list_empty(&handle->flights) && list_empty(&handle->done));
    while ((node = list_pop_front(&handle->held)) != NULL)
        free(LIST_ENTRY(node, struct meta_item, node));
    meta_history_done(&handle->history);
    list_remove(&handle->node);
    free(handle);
}

static const struct meta_ops truth_ops = {
    .submit = truth_submit,
    .poll = truth_poll,
    .watch_start = truth_watch_start,
    .watch_cancel = truth_watch_cancel,
    .close = truth_close,
};

struct meta *truth_open(struct truth *truth, const struct truth_options *options)
{
    struct truth_handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL)
        return NULL;
    handle->meta.ops = &truth_ops;
    handle->truth = truth;
    handle->options = *options;
    handle->reachable = true;
    list_init(&handle->flights);
    list_init(&handle->done);
    list_init(&handle->held);
    meta_history_init(&handle->history, truth->revision);
    list_push_back(&truth->handles, &handle->node);
    return &handle->meta;
}

void truth_reach(struct meta *meta, bool reachable)
{
    struct truth_handle *handle = handle_of(meta);
    bool before = handle->reachable;
    handle->reachable = reachable;
    if (before == reachable)
        return;
    LIST_EACH_SAFE (&handle->flights, node, after) {
        struct truth_flight *flight = LIST_ENTRY(node, struct truth_flight, node);
        if (reachable)
            flight_ask(flight);
        else
            flight_cut(flight);
    }
    handle->options.wakeup(handle->options.wakeup_context);
}

void truth_init(struct truth *truth, struct clock *clock, uint64_t seed)
{
    *truth = (struct truth){.clock = clock, .prng.state = seed, .revision = 1};
    list_init(&truth->leases);
    list_init(&truth->handles);
    list_init(&truth->ghosts);
}

void truth_done(struct truth *truth)
{
    struct list *node;
    assert(list_empty(&truth->handles));
    while ((node = list_first(&truth->ghosts)) != NULL)
        flight_free(LIST_ENTRY(node, struct truth_flight, node));
    truth_data_done(truth);
}

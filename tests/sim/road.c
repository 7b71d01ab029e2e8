/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/road.h"

#include <stdlib.h>
#include <string.h>

#define SILENT_NS (2 * NS_PER_S)
#define CONNECT_NS (2 * NS_PER_MS)

enum where { THERE, HELD_THERE, KEPT_THERE, AT_STORE, BACK, HELD_BACK, KEPT_BACK, CANCELLED };

/* A request on the road, with all that it points to. */
struct road_request {
    struct list node;
    struct road *road;
    enum where where;
    uint64_t session;
    struct part_request *near; /* NULL: it was told. */
    struct part_request far;
    struct world_event event;
    int result;
    uint8_t *data;
    uint32_t *crcs;
    struct part_version *versions;
    uint64_t *cuts;
    struct part_run *runs;
    char *key;
};

static void *copied(const void *from, size_t bytes)
{
    if (from == NULL || bytes == 0)
        return NULL;
    void *to = aligned_alloc(4096, ROUND_UP(bytes, 4096));
    if (to == NULL)
        abort();
    memcpy(to, from, bytes);
    return to;
}

static size_t data_bytes(const struct part_request *request)
{
    switch (request->kind) {
    case PART_RECORD: return request->bytes;
    case PART_VIEW_SPACE: return request->cut_count * sizeof(struct part_view_space);
    case PART_WRITE:
    case PART_READ:
    case PART_RESYNC:
    case PART_RECORDS:
    case PART_REPAIR: return (size_t)request->count * BLOCK_BYTES;
    default: return 0;
    }
}

static uint32_t version_count(const struct part_request *request)
{
    return request->kind == PART_CHANGED ? PART_BLOCKS_MAX : request->count;
}

static struct road_request *request_make(struct road *road, struct part_request *near)
{
    struct road_request *request = calloc(1, sizeof *request);
    if (request == NULL)
        abort();
    request->road = road;
    request->near = near;
    request->session = road->port.session;
    request->far = *near;
    request->data = copied(near->data, data_bytes(near));
    request->crcs = copied(near->crcs, near->count * sizeof *near->crcs);
    request->versions = copied(near->versions, version_count(near) * sizeof *near->versions);
    request->cuts = copied(near->cuts, near->cut_count * sizeof *near->cuts);
    request->runs = copied(near->runs, near->run_count * sizeof *near->runs);
    request->key = copied(near->key, near->key == NULL ? 0 : strlen(near->key) + 1);
    request->far.key = request->key;
    request->far.data = request->data;
    request->far.crcs = request->crcs;
    request->far.versions = request->versions;
    request->far.cuts = request->cuts;
    request->far.runs = request->runs;
    list_push_back(&road->requests, &request->node);
    return request;
}

static void request_free(struct road_request *request)
{
    list_remove(&request->node);
    free(request->data);
    free(request->crcs);
    free(request->versions);
    free(request->cuts);
    free(request->runs);
    free(request->key);
    free(request);
}

/* --- Ways ------------------------------------------------------------------------------------- */

static uint64_t road_delay(struct road *road)
{
    const struct road_faults *faults = &road->faults;
    uint64_t span = faults->delay_ns_max - faults->delay_ns_min + 1;
    uint64_t delay = faults->delay_ns_min + prng_below(&road->prng, span);
    return prng_one_in(&road->prng, faults->slow_one_in) ? 50 * delay : delay;
}

/* Into a world's queue; in order with what went before. */
static void road_send(struct road_request *request, struct world *world, uint64_t *last_ns)
{
    struct road *road = request->road;
    uint64_t at = MAX(road->worlds->now_ns + road_delay(road), *last_ns);
    *last_ns = at;
    world_at(world, &request->event, at - road->worlds->now_ns);
}

static void road_change(struct road *road, uint64_t delay_ns)
{
    if (road->changing)
        return;
    road->changing = true;
    world_at(road->near, &road->change, delay_ns);
}

/* What a bad net does to whatever is sent. */
static void road_chance(struct road *road)
{
    if (prng_one_in(&road->prng, road->faults.reset_one_in)) {
        road_reset(road);
    } else if (prng_one_in(&road->prng, road->faults.lost_one_in)) {
        road->stalled = true;
        road->counts.stalls++;
        road_change(road, road->silent_ns);
    }
}

/* --- Back ------------------------------------------------------------------------------------- */

static void request_tell(struct road_request *request)
{
    struct part_request *near = request->near;
    const struct part_request *far = &request->far;
    if (near != NULL) {
        bool data =
            far->kind == PART_READ || far->kind == PART_VIEW_SPACE || far->kind == PART_RECORDS;
        size_t bytes = data ? data_bytes(far) : 0;
        if (bytes != 0 && (request->result == 0 || request->result == IOMESH_CORRUPT))
            memcpy(near->data, request->data, bytes);
        if (far->kind == PART_READ && near->crcs != NULL)
            memcpy(near->crcs, request->crcs, near->count * sizeof *near->crcs);
        bool versions =
            far->kind == PART_READ || far->kind == PART_MAP || far->kind == PART_CHANGED;
        if (versions && near->versions != NULL)
            memcpy(near->versions, request->versions, version_count(far) * sizeof *near->versions);
        near->state = far->state;
        near->found = far->found;
        near->bytes = far->bytes;
        near->room_blocks = request->road->port.room_blocks = far->room_blocks;
        memcpy(near->changed, far->changed, sizeof near->changed);
        memcpy(near->bad, far->bad, sizeof near->bad);
        request->road->counts.answers++;
    }
    int result = request->result;
    request_free(request);
    if (near != NULL)
        near->done(near, result);
}

static void road_back(struct world_event *event)
{
    struct road_request *request = CONTAINER_OF(event, struct road_request, event);
    request_tell(request);
}

static void road_answered(struct part_request *far, int result)
{
    struct road_request *request = CONTAINER_OF(far, struct road_request, far);
    struct road *road = request->road;
    request->result = result;
    if (request->near == NULL || request->session != road->port.session) {
        road->counts.late++;
        request_free(request);
        return;
    }
    road_chance(road);
    if ((road->held_back >> far->kind & 1) != 0) {
        request->where = KEPT_BACK;
        return;
    }
    if (road->cut_back || road->stalled) {
        request->where = HELD_BACK;
        return;
    }
    request->where = BACK;
    request->event.fire = road_back;
    road_send(request, road->near, &road->last_back_ns);
}

/* --- There ------------------------------------------------------------------------------------ */

static void road_arrived(struct world_event *event)
{
    struct road_request *request = CONTAINER_OF(event, struct road_request, event);
    struct road *road = request->road;
    if (road->to == NULL || road->orphaned) {
        if (request->near == NULL)
            request_free(request);
        else
            request->where = HELD_THERE; /* Until the session breaks. */
        if (road->to != NULL)
            road_reset(road); /* Who runs there now knows nothing of it. */
        return;
    }
    request->where = AT_STORE;
    request->far.done = road_answered;
    part_submit(road->to, &request->far);
}

/* A net may give a thing twice, and late. */
static void road_again(struct road_request *of)
{
    struct road *road = of->road;
    struct road_request *request = request_make(road, &of->far);
    request->near = NULL;
    request->where = THERE;
    request->event.fire = road_arrived;
    world_at(road->far, &request->event, 1 + prng_below(&road->prng, 100 * NS_PER_MS));
}

static void road_leave(struct road_request *request)
{
    struct road *road = request->road;
    if ((road->held_there >> request->far.kind & 1) != 0) {
        request->where = KEPT_THERE;
        return;
    }
    if (road->cut_there || road->stalled) {
        request->where = HELD_THERE;
        return;
    }
    request->where = THERE;
    request->event.fire = road_arrived;
    road_send(request, road->far, &road->last_ns);
}

static void road_reset_told(struct world_event *event)
{
    struct road_request *request = CONTAINER_OF(event, struct road_request, event);
    struct part_request *near = request->near;
    int result = request->result;
    request_free(request);
    near->done(near, result);
}

/* Ends it at the near end, later. */
static void request_end(struct road_request *of, int result)
{
    struct road *road = of->road;
    struct road_request *request = calloc(1, sizeof *request);
    if (request == NULL)
        abort();
    request->road = road;
    request->where = CANCELLED;
    request->near = of->near;
    request->result = result;
    request->event.fire = road_reset_told;
    list_push_back(&road->requests, &request->node);
    of->near = NULL;
    world_at(road->near, &request->event, 1);
}

static void road_submit(struct part_port *port, struct part_request *near)
{
    struct road *road = CONTAINER_OF(port, struct road, port);
    struct road_request *request = request_make(road, near);
    road->counts.requests++;
    if (port->state != PART_PORT_UP) {
        request_end(request, -ECONNRESET);
        request_free(request);
        return;
    }
    road_chance(road);
    road_leave(request);
    if (request->where == THERE && prng_one_in(&road->prng, road->faults.twice_one_in))
        road_again(request);
}

static void road_cancel(struct part_port *port, struct part_request *near)
{
    struct road *road = CONTAINER_OF(port, struct road, port);
    LIST_EACH_SAFE (&road->requests, node, after) {
        struct road_request *request = LIST_ENTRY(node, struct road_request, node);
        if (request->near != near || request->where == CANCELLED)
            continue;
        road->counts.cancelled++;
        request_end(request, -ECANCELED);
        if (request->where == HELD_THERE || request->where == HELD_BACK ||
            request->where == KEPT_BACK)
            request_free(request);
        return;
    }
}

static const struct part_port_ops road_ops = {.submit = road_submit, .cancel = road_cancel};

/* --- The session ------------------------------------------------------------------------------ */

static void road_breaks(struct road *road)
{
    road->port.state = PART_PORT_DOWN;
    road->port.down_reason = -ECONNRESET;
    road->port.down_since_ns = road->near->now_ns;
    road->stalled = false;
    road->counts.resets++;
    LIST_EACH_SAFE (&road->requests, node, after) {
        struct road_request *request = LIST_ENTRY(node, struct road_request, node);
        if (request->near != NULL && request->where != CANCELLED)
            request_end(request, -ECONNRESET);
        /* What a cut held may come yet, as a late packet does. */
        bool back = request->where == HELD_BACK || request->where == KEPT_BACK;
        if (back || (request->where == HELD_THERE && !road->cut_there))
            request_free(request);
    }
    road->port.changed(road->port.context, &road->port);
}

static void road_changes(struct world_event *event)
{
    struct road *road = CONTAINER_OF(event, struct road, change);
    road->changing = false;
    if (road->port.state == PART_PORT_UP) {
        road_breaks(road);
    } else if (road->to != NULL && !road->cut_there && !road->cut_back) {
        road->port.state = PART_PORT_UP;
        road->orphaned = false;
        road->port.session++;
        road->port.changed(road->port.context, &road->port);
        return;
    }
    road_change(road, CONNECT_NS + prng_below(&road->prng, CONNECT_NS));
}

void road_break(struct road *road)
{
    if (road->port.state != PART_PORT_UP)
        return;
    road_breaks(road);
    road_change(road, CONNECT_NS);
}

void road_reset(struct road *road)
{
    if (road->port.state == PART_PORT_UP)
        road_change(road, 1 + prng_below(&road->prng, NS_PER_MS));
}

void road_open(struct road *road, struct worlds *worlds, struct world *near, struct world *far,
               uint64_t store, uint64_t seed)
{
    *road = (struct road){.worlds = worlds, .near = near, .far = far, .prng.state = seed};
    road->port.ops = &road_ops;
    road->port.store = store;
    road->port.state = PART_PORT_DOWN;
    road->port.room_blocks = UINT64_MAX;
    road->faults.delay_ns_min = 10000;
    road->faults.delay_ns_max = 200000;
    road->silent_ns = SILENT_NS;
    road->change.fire = road_changes;
    list_init(&road->requests);
    road_change(road, 1);
}

void road_close(struct road *road)
{
    LIST_EACH_SAFE (&road->requests, node, after)
        request_free(LIST_ENTRY(node, struct road_request, node));
}

/* --- Ends of either side ---------------------------------------------------------------------- */

void road_near_died(struct road *road)
{
    LIST_EACH_SAFE (&road->requests, node, after) {
        struct road_request *request = LIST_ENTRY(node, struct road_request, node);
        request->near = NULL;
        if (request->where != THERE && request->where != AT_STORE && request->where != KEPT_THERE)
            request_free(request);
    }
    road->port.state = PART_PORT_DOWN;
    road->port.session++;
    road->stalled = false;
    road->changing = false;
    road_change(road, CONNECT_NS);
}

void road_far_died(struct road *road, bool silent)
{
    road->to = NULL;
    road->orphaned = true;
    LIST_EACH_SAFE (&road->requests, node, after) {
        struct road_request *request = LIST_ENTRY(node, struct road_request, node);
        if (request->where != THERE && request->where != AT_STORE)
            continue;
        if (request->near != NULL)
            request->where = HELD_THERE;
        else
            request_free(request);
    }
    if (silent && road->port.state == PART_PORT_UP)
        road_change(road, road->silent_ns);
    else
        road_reset(road);
}

void road_far_lives(struct road *road, struct part_port *to, uint64_t incarnation)
{
    road->to = to;
    road->port.incarnation = incarnation;
    memcpy(road->port.boot_id, to->boot_id, sizeof road->port.boot_id);
}

void road_cut(struct road *road, bool there, bool back)
{
    bool goes = road->cut_there && !there;
    bool comes = road->cut_back && !back;
    road->cut_there = there;
    road->cut_back = back;
    LIST_EACH_SAFE (&road->requests, node, after) {
        struct road_request *request = LIST_ENTRY(node, struct road_request, node);
        if (request->where == HELD_THERE && goes && road->to != NULL) {
            road_leave(request);
        } else if (request->where == HELD_BACK && comes) {
            request->where = BACK;
            request->event.fire = road_back;
            road_send(request, road->near, &road->last_back_ns);
        }
    }
    if ((there || back) && road->port.state == PART_PORT_UP)
        road_change(road, road->silent_ns);
}

void road_hold(struct road *road, uint32_t there, uint32_t back)
{
    road->held_there = there;
    road->held_back = back;
}

void road_release(struct road *road)
{
    road_hold(road, 0, 0);
    LIST_EACH_SAFE (&road->requests, node, after) {
        struct road_request *request = LIST_ENTRY(node, struct road_request, node);
        if (request->where == KEPT_THERE) {
            road_leave(request);
        } else if (request->where == KEPT_BACK) {
            request->where = BACK;
            request->event.fire = road_back;
            road_send(request, road->near, &road->last_back_ns);
        }
    }
}

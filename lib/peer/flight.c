/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks: requests on their way, and answers. */
#include <string.h>

#include "codec/codec.h"
#include "format/pointer.h"
#include "peer/port.h"

_Static_assert(sizeof(struct part_version) == sizeof(struct wire_version) &&
                   sizeof(struct part_version) == WIRE_VERSION_BYTES,
               "one layout");
_Static_assert((int)PART_REQUEST_LAST == (int)WIRE_REQUEST_LAST &&
                   (int)PART_RECORDS == (int)WIRE_RECORDS && (int)PART_READ == (int)WIRE_READ,
               "one numbering");

/* --- Ending -------------------------------------------------------------------------------- */

static void request_end_later(struct peer_port *port, struct part_request *request, int result)
{
    request->result = result;
    request->state_of = REQUEST_ENDING;
    list_push_back(&port->ending, &request->node);
    if (!port->later.set)
        clock_set_after(port->options.clock, &port->later, 0);
}

void flight_run_later(struct timer *timer)
{
    struct peer_port *port = CONTAINER_OF(timer, struct peer_port, later);
    struct list now;
    list_init(&now);
    list_splice_back(&now, &port->ending);
    for (struct list *node; (node = list_pop_front(&now)) != NULL;) {
        struct part_request *request = LIST_ENTRY(node, struct part_request, node);
        request->state_of = 0;
        request->done(request, request->result);
    }
}

static void slot_free(struct peer_port *port, struct slot *slot)
{
    port->requests--;
    port->bytes -= slot->bytes;
    if (slot->large)
        port->large_used = false;
    slot->busy = false;
    slot->request = NULL;
    list_push_back(&port->free, &slot->node);
}

/* It was answered, and nothing reads its memory any more. */
static void slot_finish(struct peer_port *port, struct slot *slot)
{
    struct part_request *request = slot->request;
    int result = slot->result;
    slot_free(port, slot);
    if (request != NULL) {
        request->state_of = 0;
        request->done(request, result);
    }
    flight_pump(port);
}

void flight_answered(struct peer_port *port, struct slot *slot, int result)
{
    slot->answered = true;
    slot->result = result;
    if (!slot->sending)
        slot_finish(port, slot);
}

/* The request goes; the slot stays until the answer is here, or the session ends. */
static void slot_orphan(struct peer_port *port, struct slot *slot)
{
    struct part_request *request = slot->request;
    slot->request = NULL;
    request_end_later(port, request, -ECANCELED);
}

void flight_end_all(struct peer_port *port)
{
    port->receiving = NULL;
    for (uint32_t i = 0; i <= port->slot_mask; i++) {
        struct slot *slot = &port->slots[i];
        if (!slot->busy)
            continue;
        struct part_request *request = slot->request;
        int result = slot->canceled_ns != 0 ? -ECANCELED : -ECONNRESET;
        if (slot->answered)
            result = slot->result;
        if (request != NULL && MUTANT(304))
            request->done(request, result);
        slot_free(port, slot);
        if (request != NULL)
            request_end_later(port, request, result);
    }
    for (struct list *node; (node = list_pop_front(&port->waiting)) != NULL;)
        request_end_later(port, LIST_ENTRY(node, struct part_request, node), -ECONNRESET);
}

/* --- Sending ------------------------------------------------------------------------------- */

static uint64_t request_bytes(const struct part_request *request)
{
    switch (request->kind) {
    case PART_WRITE:
    case PART_RESYNC:
    case PART_REPAIR:
    case PART_RECORDS:
    case PART_READ: return (uint64_t)request->count * BLOCK_BYTES;
    case PART_RECORD: return request->bytes;
    case PART_VIEW_SPACE: return (uint64_t)request->cut_count * WIRE_SPACE_BYTES;
    default: return 0;
    }
}

/* At most; a message may need less. */
static uint64_t request_aside_bytes(const struct part_request *request)
{
    switch (request->kind) {
    case PART_WRITE: return (uint64_t)request->count * 4;
    case PART_RESYNC:
    case PART_REPAIR:
        return (uint64_t)request->count * WIRE_VERSION_BYTES + (uint64_t)request->cut_count * 8;
    default:
        if (!wire_is_control((uint8_t)request->kind))
            return 0;
        return 64 + WIRE_KEY_BYTES_MAX + (uint64_t)request->run_count * 8 +
               (uint64_t)request->cut_count * 8;
    }
}

static uint8_t request_flags(const struct part_request *request)
{
    bool change = request->kind == PART_WRITE || request->kind == PART_ZERO;
    bool fua =
        request->fua && (change || request->kind == PART_RESYNC || request->kind == PART_REPAIR);
    bool settle = request->kind == PART_READ && request->settle;
    return (uint8_t)((fua ? WIRE_FUA : 0) | (settle ? WIRE_SETTLE : 0) |
                     (change && request->views ? WIRE_VIEWS_MAY : 0) |
                     (request->kind == PART_ZERO && request->parent ? WIRE_PARENT : 0) |
                     (request->kind == PART_READ && request->versions != NULL ? WIRE_WITH_VERSIONS
                                                                              : 0));
}

static void slot_part(struct slot *slot, void *bytes, size_t length)
{
    if (length > 0)
        slot->parts[slot->send.part_count++] = (struct iovec){bytes, length};
}

/* Of the blocks only those that are data. Returns their bytes. */
static uint32_t slot_raw_parts(struct slot *slot, const struct part_request *request)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0, end; i < request->count; i = end) {
        bool raw = request->versions[i].kind == POINTER_RAW;
        for (end = i + 1; end < request->count; end++)
            if ((request->versions[end].kind == POINTER_RAW) != raw)
                break;
        if (!raw)
            continue;
        slot_part(slot, (uint8_t *)request->data + (size_t)i * BLOCK_BYTES,
                  (size_t)(end - i) * BLOCK_BYTES);
        bytes += (end - i) * BLOCK_BYTES;
    }
    return bytes;
}

static uint32_t control_put(const struct part_request *request, uint8_t *aside)
{
    bool key = request->kind == PART_RECORD || request->kind == PART_RECORDS;
    bool runs = request->kind == PART_ROLE || request->kind == PART_FLUSH;
    struct wire_control control = {
        .role = request->kind == PART_ROLE ? request->role : 0,
        .runs = (const uint32_t *)(const void *)request->runs,
        .run_count = runs ? request->run_count : 0,
        .cuts = request->cuts,
        .cut_count = request->cut_count,
        .key = key ? request->key : NULL,
        .data_crc = request->kind == PART_RECORD && request->bytes > 0
                        ? crc32c(request->data, request->bytes)
                        : 0,
    };
    return wire_control_put(aside, &control);
}

/* The header's aside and data, and the parts of the send but for the first. */
static void slot_gather(struct slot *slot, struct part_request *request, uint8_t *aside,
                        struct wire_header *header)
{
    header->aside_bytes = (uint32_t)request_aside_bytes(request);
    slot->parts[0] = (struct iovec){slot->header, WIRE_HEADER_BYTES};
    slot->send.part_count = 1;
    slot_part(slot, aside, header->aside_bytes);
    switch (request->kind) {
    case PART_WRITE:
        wire_crcs_put(aside, request->crcs, request->count);
        header->data_bytes = request->count * BLOCK_BYTES;
        slot_part(slot, request->data, header->data_bytes);
        break;
    case PART_RESYNC:
    case PART_REPAIR:
        wire_versions_put(aside, (const struct wire_version *)(const void *)request->versions,
                          request->count);
        wire_cuts_put(aside + (size_t)request->count * WIRE_VERSION_BYTES, request->cuts,
                      request->cut_count);
        header->cut_count = (uint16_t)request->cut_count;
        header->data_bytes = slot_raw_parts(slot, request);
        break;
    default:
        if (!wire_is_control(header->type))
            break;
        header->aside_bytes = control_put(request, aside);
        slot->send.part_count = 1;
        slot_part(slot, aside, header->aside_bytes);
        header->data_bytes = request->kind == PART_RECORD ? request->bytes : 0;
        slot_part(slot, request->data, header->data_bytes);
        break;
    }
    link_sum(header, aside);
}

static void slot_sent(void *context, int result);

static void slot_fill(struct peer_port *port, struct slot *slot, struct part_request *request)
{
    uint8_t *aside = slot->large ? port->large : (uint8_t *)slot->aside;
    bool changed = request->kind == PART_CHANGED;
    bool since = changed || request->kind == PART_ROLE;
    uint64_t settled = MUTANT(312) ? 0 : request->settled;
    struct wire_header header = {
        .type = (uint8_t)request->kind,
        .flags = request_flags(request),
        .count = (uint16_t)request->count,
        .session = port->part.session,
        .number = slot->number,
        .group = request->group,
        .generation = request->generation,
        .volume = request->volume,
        .epoch = request->epoch,
        .watermark = request->watermark,
        .block = request->block,
        .view = wire_has_view((uint8_t)request->kind) ? request->view : settled,
        .sequence = since ? request->since : request->sequence,
        .cut = changed ? request->last : request->cut,
    };
    slot->send = (struct iomesh_send){.parts = slot->parts, .done = slot_sent, .context = slot};
    slot_gather(slot, request, aside, &header);
    wire_header_put(slot->header, &header);
    port->counts.bytes_out += header.data_bytes;
}

static void slot_start(struct peer_port *port, struct part_request *request, bool large)
{
    struct slot *slot = LIST_ENTRY(list_pop_front(&port->free), struct slot, node);
    uint64_t index = (uint64_t)(slot - port->slots);
    slot->request = request;
    slot->number = ++port->number_next * PEER_REQUESTS_MAX + index;
    slot->bytes = request_bytes(request);
    slot->canceled_ns = 0;
    slot->generation = request->generation;
    slot->count = (uint16_t)request->count;
    slot->kind = (uint8_t)request->kind;
    slot->busy = true;
    slot->answered = false;
    slot->large = large;
    port->large_used = port->large_used || large;
    port->requests++;
    port->bytes += slot->bytes;
    port->counts.requests++;
    request->state_of = REQUEST_FLYING;
    request->inside[0] = index;
    slot_fill(port, slot, request);
    slot->sending = true;
    int result = net_send(port->link.stream, &slot->send);
    if (result == 0)
        return;
    slot->sending = false;
    port_break(port, result, NULL);
}

void flight_pump(struct peer_port *port)
{
    while (!list_empty(&port->waiting) && port->part.state == PART_PORT_UP) {
        struct part_request *request = LIST_ENTRY(port->waiting.next, struct part_request, node);
        bool large = request_aside_bytes(request) > SLOT_ASIDE_BYTES;
        uint64_t bytes = request_bytes(request);
        if (port->requests >= port->requests_max || list_empty(&port->free) ||
            (large && port->large_used) ||
            (port->requests > 0 && port->bytes + bytes > port->bytes_max))
            return;
        list_remove(&request->node);
        slot_start(port, request, large);
    }
}

/* What the kernel has taken it reads no more. */
static void slot_sent(void *context, int result)
{
    struct slot *slot = context;
    struct peer_port *port = slot->port;
    slot->sending = false;
    if (result != 0)
        port_break(port, result, NULL);
    else if (slot->answered)
        slot_finish(port, slot);
    else if (slot->canceled_ns != 0 && slot != port->receiving && slot->request != NULL)
        slot_orphan(port, slot);
}

/* --- What a coordinator calls -------------------------------------------------------------- */

static void flight_submit(struct part_port *part, struct part_request *request)
{
    struct peer_port *port = CONTAINER_OF(part, struct peer_port, part);
    assert(request->count <= PART_BLOCKS_MAX && request->cut_count <= PART_CUTS_MAX &&
           request->run_count <= PART_RUNS_MAX && request->bytes <= WIRE_DATA_BYTES_MAX);
    if (part->state != PART_PORT_UP) {
        request_end_later(port, request, -ECONNRESET);
        return;
    }
    request->state_of = REQUEST_WAITING;
    list_push_back(&port->waiting, &request->node);
    flight_pump(port);
    if (request->state_of == REQUEST_WAITING)
        port->counts.waits++;
}

static void flight_cancel(struct part_port *part, struct part_request *request)
{
    struct peer_port *port = CONTAINER_OF(part, struct peer_port, part);
    if (request->state_of == REQUEST_WAITING) {
        list_remove(&request->node);
        request_end_later(port, request, -ECANCELED);
        flight_pump(port);
        return;
    }
    if (request->state_of != REQUEST_FLYING)
        return;
    struct slot *slot = &port->slots[request->inside[0]];
    if (slot->canceled_ns != 0 || !port->linked || port->link.closing)
        return; /* When the stream is closed all of them end. */
    if ((!slot->sending && slot != port->receiving) || MUTANT(305)) {
        slot_orphan(port, slot);
        return;
    }
    slot->canceled_ns = MAX(clock_now_ns(port->options.clock), 1u);
    if (!port->flights.set)
        clock_set_after(port->options.clock, &port->flights, port->options.cancel_ns);
}

/* Whose memory the kernel keeps for too long is freed by ending the connection. */
void flight_run_canceled(struct timer *timer)
{
    struct peer_port *port = CONTAINER_OF(timer, struct peer_port, flights);
    uint64_t now_ns = clock_now_ns(port->options.clock);
    uint64_t first_ns = UINT64_MAX;
    for (uint32_t i = 0; i <= port->slot_mask; i++) {
        const struct slot *slot = &port->slots[i];
        if (slot->busy && slot->request != NULL && slot->canceled_ns != 0)
            first_ns = MIN(first_ns, slot->canceled_ns);
    }
    if (first_ns == UINT64_MAX)
        return;
    if (now_ns - first_ns >= port->options.cancel_ns)
        port_break(port, -ETIMEDOUT, "a canceled request holds its memory");
    else
        clock_set(port->options.clock, timer, first_ns + port->options.cancel_ns);
}

const struct part_port_ops flight_ops = {.submit = flight_submit, .cancel = flight_cancel};

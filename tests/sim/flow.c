/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAKE_NS_MAX 20000u
#define READ_NS_MAX 10000u
#define RETRY_NS (5 * NS_PER_MS)

static struct list *send_node(struct iomesh_send *send)
{
    return (struct list *)(void *)send->private_;
}

static struct iomesh_send *send_of(struct list *node)
{
    return CONTAINER_OF(node, struct iomesh_send, private_);
}

static struct sim_end *end_of(struct net_stream *stream)
{
    return CONTAINER_OF(stream, struct sim_end, net);
}

static uint64_t draw(struct sim_net *net, uint64_t max)
{
    return 1 + prng_below(&net->latency, max);
}

static void event_set(struct sim_end *end, struct world_event *event, bool *set, uint64_t delay_ns)
{
    if (*set)
        return;
    *set = true;
    end->flow->events++;
    world_at(end->flow->owner->world, event, delay_ns);
}

/* --- Reading ------------------------------------------------------------------------------- */

static bool end_is_satisfied(const struct sim_end *end)
{
    return end->target != NULL ? end->target_left == 0 : end->end - end->begin >= end->fill_bytes;
}

static void end_read_soon(struct sim_end *end)
{
    event_set(end, &end->read, &end->read_set, draw(end->flow->owner, READ_NS_MAX));
}

static void end_take_soon(struct sim_end *end)
{
    if (!list_empty(&end->sends) && !end->closing && end->error == 0)
        event_set(end, &end->take, &end->take_set, draw(end->flow->owner, TAKE_NS_MAX));
}

/* As much of the piece as there is room for: first to where it is wanted, then to the buffer. */
static uint32_t end_absorb(struct sim_end *end, const uint8_t *from, uint32_t length)
{
    uint32_t direct = end->target != NULL ? MIN(length, end->target_left) : 0;
    if (direct > 0) {
        memcpy(end->target, from, direct);
        end->target += direct;
        end->target_left -= direct;
    }
    if (end->begin > 0) {
        memmove(end->buffer, end->buffer + end->begin, end->end - end->begin);
        end->end -= end->begin;
        end->begin = 0;
    }
    uint32_t room = MIN(length - direct, end->buffer_bytes - end->end);
    memcpy(end->buffer + end->end, from + direct, room);
    end->end += room;
    return direct + room;
}

static void end_drink(struct sim_end *end)
{
    struct sim_end *source = end->other;
    while (!list_empty(&source->arrived) && !end_is_satisfied(end)) {
        struct sim_piece *piece = LIST_ENTRY(source->arrived.next, struct sim_piece, node);
        uint32_t taken = end_absorb(end, piece->bytes + piece->read, piece->length - piece->read);
        piece->read += taken;
        source->piped -= taken;
        if (piece->read < piece->length)
            return;
        if (piece->last && end->error == 0)
            end->error = -ECONNRESET;
        list_remove(&piece->node);
        free(piece);
    }
}

static void end_answer(struct sim_end *end, int result)
{
    end->wanted = false;
    end->target = NULL;
    end->done(end->context, result);
}

static void end_read(struct world_event *event)
{
    struct sim_end *end = CONTAINER_OF(event, struct sim_end, read);
    struct sim_flow *flow = end->flow;
    end->read_set = false;
    if (end->wanted && !end->closing && !end->host->paused) {
        end_drink(end);
        end_take_soon(end->other);
        if (end_is_satisfied(end))
            end_answer(end, 0);
        else if (end->error != 0 && list_empty(&end->other->arrived))
            end_answer(end, end->error);
    }
    flow->events--;
    flow_check(flow);
}

static int end_want(struct sim_end *end, net_done_fn *done, void *context)
{
    end->wanted = true;
    end->done = done;
    end->context = context;
    end_read_soon(end);
    return 0;
}

static int sim_fill(struct net_stream *stream, uint32_t bytes, net_done_fn *done, void *context)
{
    struct sim_end *end = end_of(stream);
    if (end->wanted || end->closing)
        return -EBUSY;
    if (bytes == 0 || bytes > end->buffer_bytes)
        return -EINVAL;
    end->target = NULL;
    end->fill_bytes = bytes;
    return end_want(end, done, context);
}

static uint32_t sim_peek(struct net_stream *stream, const void **ret_data)
{
    const struct sim_end *end = end_of(stream);
    *ret_data = end->buffer + end->begin;
    return end->end - end->begin;
}

static void sim_consume(struct net_stream *stream, uint32_t bytes)
{
    struct sim_end *end = end_of(stream);
    assert(!end->wanted && bytes <= end->end - end->begin);
    end->begin += bytes;
}

static int sim_receive(struct net_stream *stream, void *data, uint32_t length, net_done_fn *done,
                       void *context)
{
    struct sim_end *end = end_of(stream);
    if (end->wanted || end->closing)
        return -EBUSY;
    uint32_t held = MIN(length, end->end - end->begin);
    memcpy(data, end->buffer + end->begin, held);
    end->begin += held;
    end->target = (uint8_t *)data + held;
    end->target_left = length - held;
    memset(end->target, 0xdb, end->target_left);
    return end_want(end, done, context);
}

/* --- Sending ------------------------------------------------------------------------------- */

static bool end_is_cut(const struct sim_end *end)
{
    const struct sim_net *net = end->flow->owner;
    return end->flow->silent || net->cut[end->host->index][end->other->host->index];
}

static struct sim_piece *piece_new(uint32_t length)
{
    struct sim_piece *piece = malloc(sizeof *piece + length);
    if (piece == NULL)
        abort();
    *piece = (struct sim_piece){.length = length};
    return piece;
}

static void end_send_off(struct sim_end *end, struct sim_piece *piece)
{
    struct sim_net *net = end->flow->owner;
    const struct sim_net_faults *faults = &net->faults;
    uint64_t now_ns = net->world->now_ns;
    uint64_t delay_ns =
        faults->delay_ns_min + draw(net, faults->delay_ns_max - faults->delay_ns_min + 1);
    if (prng_one_in(&net->chance, faults->slow_one_in))
        delay_ns *= 20;
    if (prng_one_in(&net->chance, faults->lost_one_in)) {
        net->counts.lost++;
        delay_ns += faults->lost_ns;
    }
    if (faults->bytes_per_s != 0)
        end->free_ns = MAX(end->free_ns, now_ns) + piece->length * NS_PER_S / faults->bytes_per_s;
    piece->at_ns = MAX(now_ns, end->free_ns) + delay_ns;
    if (!list_empty(&end->under_way)) {
        const struct sim_piece *before =
            LIST_ENTRY(end->under_way.previous, struct sim_piece, node);
        piece->at_ns = MAX(piece->at_ns, before->at_ns);
    }
    end->piped += piece->length;
    net->counts.pieces++;
    net->counts.bytes += piece->length;
    list_push_back(&end->under_way, &piece->node);
    event_set(end, &end->arrive, &end->arrive_set, piece->at_ns - now_ns);
}

static void piece_corrupt(struct sim_net *net, struct sim_piece *piece)
{
    if (piece->length == 0 || !prng_one_in(&net->chance, net->faults.corrupt_one_in))
        return;
    net->counts.corrupted++;
    piece->bytes[prng_below(&net->chance, piece->length)] ^=
        (uint8_t)(1u << prng_below(&net->chance, 8));
}

/* What is sent now may come again later. */
static void old_keep(struct sim_end *end, const struct iomesh_send *send)
{
    struct sim_net *net = end->flow->owner;
    if (net->faults.repeat_one_in == 0)
        return;
    size_t length = 0;
    for (uint32_t i = 0; i < send->part_count; i++)
        length += send->parts[i].iov_len;
    assert(length > 0);
    struct sim_old_send *old = &net->old[net->old_next++ % SIM_OLD_SENDS];
    free(old->bytes);
    *old = (struct sim_old_send){
        .bytes = malloc(length), .from = end->host->index, .to = end->other->host->index};
    if (old->bytes == NULL)
        abort();
    for (uint32_t i = 0; i < send->part_count; i++) {
        memcpy(old->bytes + old->length, send->parts[i].iov_base, send->parts[i].iov_len);
        old->length += send->parts[i].iov_len;
    }
}

static void old_repeat(struct sim_end *end)
{
    struct sim_net *net = end->flow->owner;
    if (!prng_one_in(&net->chance, net->faults.repeat_one_in))
        return;
    const struct sim_old_send *old = &net->old[prng_below(&net->chance, SIM_OLD_SENDS)];
    if (old->bytes == NULL || old->from != end->host->index || old->to != end->other->host->index ||
        old->length > end->flow->window)
        return;
    net->counts.repeated++;
    struct sim_piece *piece = piece_new((uint32_t)old->length);
    memcpy(piece->bytes, old->bytes, old->length);
    end_send_off(end, piece);
}

/* Takes up to the piece's length from the sends; those that are through go to `through`. */
static void end_gather(struct sim_end *end, struct sim_piece *piece, struct list *through)
{
    uint32_t filled = 0;
    while (filled < piece->length && !list_empty(&end->sends)) {
        struct iomesh_send *send = send_of(end->sends.next);
        const struct iovec *part = &send->parts[end->sent_parts];
        size_t count = MIN(part->iov_len - end->sent_bytes, (size_t)(piece->length - filled));
        memcpy(piece->bytes + filled, (const uint8_t *)part->iov_base + end->sent_bytes, count);
        filled += (uint32_t)count;
        end->sent_bytes += count;
        if (end->sent_bytes < part->iov_len)
            continue;
        end->sent_bytes = 0;
        if (++end->sent_parts < send->part_count)
            continue;
        end->sent_parts = 0;
        old_keep(end, send);
        list_remove(send_node(send));
        list_push_back(through, send_node(send));
    }
    piece->length = filled;
}

static void end_faults(struct sim_end *end, struct sim_piece *piece)
{
    struct sim_net *net = end->flow->owner;
    piece_corrupt(net, piece);
    if (prng_one_in(&net->chance, net->faults.silent_one_in)) {
        net->counts.silenced++;
        end->flow->silent = true;
    }
    if (!prng_one_in(&net->chance, net->faults.reset_one_in))
        return;
    net->counts.resets++;
    piece->length = (uint32_t)prng_below(&net->chance, piece->length + 1);
    piece->last = true;
}

static void end_take(struct world_event *event)
{
    struct sim_end *end = CONTAINER_OF(event, struct sim_end, take);
    struct sim_flow *flow = end->flow;
    end->take_set = false;
    uint32_t room = flow->window > end->piped ? flow->window - end->piped : 0;
    if (!list_empty(&end->sends) && room > 0 && !end->closing && end->error == 0 &&
        !end->host->paused) {
        if (end->sent_parts == 0 && end->sent_bytes == 0)
            old_repeat(end);
        struct list through;
        list_init(&through);
        uint32_t most = 1u << (9 + prng_below(&flow->owner->latency, 9));
        struct sim_piece *piece = piece_new(MIN(room, MIN(most, PIECE_BYTES_MAX)));
        end_gather(end, piece, &through);
        end_faults(end, piece);
        bool reset = piece->last;
        end_send_off(end, piece);
        for (struct list *node; (node = list_pop_front(&through)) != NULL;) {
            struct iomesh_send *send = send_of(node);
            send->done(send->context, 0);
        }
        if (reset)
            flow_break(end, -ECONNRESET);
        end_take_soon(end);
    }
    flow->events--;
    flow_check(flow);
}

static int sim_send(struct net_stream *stream, struct iomesh_send *send)
{
    struct sim_end *end = end_of(stream);
    assert(send->part_count > 0 && send->done != NULL);
    if (end->closing)
        return -EPIPE;
    list_push_back(&end->sends, send_node(send));
    if (end->error != 0)
        flow_break(end, end->error);
    else
        end_take_soon(end);
    return 0;
}

/* --- Arriving ------------------------------------------------------------------------------ */

/* Whether the sender gives up. */
static bool end_hold(struct sim_end *end)
{
    struct sim_net *net = end->flow->owner;
    uint64_t now_ns = net->world->now_ns;
    net->counts.held++;
    if (end->held_ns == 0)
        end->held_ns = now_ns;
    if (now_ns - end->held_ns < net->faults.give_up_ns) {
        event_set(end, &end->arrive, &end->arrive_set, RETRY_NS + draw(net, RETRY_NS));
        return false;
    }
    net->counts.given_up++;
    return true;
}

static void pieces_drop(struct list *pieces)
{
    for (struct list *node; (node = list_pop_front(pieces)) != NULL;)
        free(LIST_ENTRY(node, struct sim_piece, node));
}

static void end_arrive_due(struct sim_end *end)
{
    struct sim_net *net = end->flow->owner;
    struct sim_end *reader = end->other;
    end->held_ns = 0;
    while (!list_empty(&end->under_way)) {
        struct sim_piece *piece = LIST_ENTRY(end->under_way.next, struct sim_piece, node);
        if (piece->at_ns > net->world->now_ns) {
            event_set(end, &end->arrive, &end->arrive_set, piece->at_ns - net->world->now_ns);
            break;
        }
        list_remove(&piece->node);
        list_push_back(&end->arrived, &piece->node);
    }
    if (!reader->open) { /* Who is not there says so, if it can be heard. */
        bool heard = !end_is_cut(reader);
        pieces_drop(&end->arrived);
        if (heard)
            flow_break(end, -ECONNRESET);
        return;
    }
    end_read_soon(reader);
}

static void end_arrive(struct world_event *event)
{
    struct sim_end *end = CONTAINER_OF(event, struct sim_end, arrive);
    struct sim_flow *flow = end->flow;
    end->arrive_set = false;
    if (!list_empty(&end->under_way)) {
        bool held = end_is_cut(end) || (end->other->open && end->other->host->paused);
        if (!held) {
            end_arrive_due(end);
        } else if (end_hold(end)) {
            pieces_drop(&end->under_way);
            flow_break(end, -ETIMEDOUT);
        }
    }
    flow->events--;
    flow_check(flow);
}

void flow_wake(struct sim_flow *flow)
{
    for (unsigned i = 0; i < 2; i++) {
        struct sim_end *end = &flow->ends[i];
        if (end->open)
            end_read_soon(end);
        end_take_soon(end);
        if (!list_empty(&end->under_way))
            event_set(end, &end->arrive, &end->arrive_set, draw(flow->owner, RETRY_NS));
    }
}

/* --- Ending -------------------------------------------------------------------------------- */

static void end_fail_sends(struct sim_end *end, int result)
{
    struct list failed;
    list_init(&failed);
    list_splice_back(&failed, &end->sends);
    end->sent_parts = 0;
    end->sent_bytes = 0;
    for (struct list *node; (node = list_pop_front(&failed)) != NULL;) {
        struct iomesh_send *send = send_of(node);
        send->done(send->context, result);
    }
}

static void end_close(struct world_event *event)
{
    struct sim_end *end = CONTAINER_OF(event, struct sim_end, close);
    struct sim_flow *flow = end->flow;
    end->close_set = false;
    if (end->closing) {
        if (end->wanted)
            end_answer(end, -ECANCELED);
        end_fail_sends(end, -ECANCELED);
        end->open = false;
        struct sim_piece *last = piece_new(0);
        last->last = true;
        end_send_off(end, last);
        if (end->closed != NULL)
            end->closed(end->closed_context, 0);
    } else if (end->error != 0) {
        end_fail_sends(end, end->error);
    }
    flow->events--;
    flow_check(flow);
}

static void close_soon(struct sim_end *end)
{
    event_set(end, &end->close, &end->close_set, draw(end->flow->owner, READ_NS_MAX));
}

void flow_break(struct sim_end *end, int error)
{
    if (!end->open || end->closing)
        return;
    if (end->error == 0)
        end->error = error;
    end_read_soon(end);
    close_soon(end);
}

static void sim_close(struct net_stream *stream, net_done_fn *closed, void *context)
{
    struct sim_end *end = end_of(stream);
    assert(!end->closing);
    end->closing = true;
    end->closed = closed;
    end->closed_context = context;
    close_soon(end);
}

static const char *sim_peer(const struct net_stream *stream)
{
    return ((const struct sim_end *)(const void *)stream)->name;
}

static const struct net_stream_ops sim_stream_ops = {
    .fill = sim_fill,
    .peek = sim_peek,
    .consume = sim_consume,
    .receive = sim_receive,
    .send = sim_send,
    .close = sim_close,
    .peer = sim_peer,
};

/* --- Life ---------------------------------------------------------------------------------- */

static void end_open(struct sim_flow *flow, unsigned index, struct sim_host *host,
                     const struct net_options *options)
{
    struct sim_end *end = &flow->ends[index];
    end->net.ops = &sim_stream_ops;
    end->flow = flow;
    end->host = host;
    end->other = &flow->ends[1 - index];
    end->open = true;
    list_init(&end->sends);
    list_init(&end->under_way);
    list_init(&end->arrived);
    end->take.fire = end_take;
    end->arrive.fire = end_arrive;
    end->read.fire = end_read;
    end->close.fire = end_close;
    end->buffer_bytes = options->buffer_bytes != 0 ? options->buffer_bytes : 64u << 10;
    end->buffer = malloc(end->buffer_bytes);
    if (end->buffer == NULL)
        abort();
}

struct sim_flow *flow_open(struct sim_host *from, struct sim_host *to,
                           const struct net_options *from_options,
                           const struct net_options *to_options)
{
    struct sim_net *net = from->owner;
    struct sim_flow *flow = calloc(1, sizeof *flow);
    if (flow == NULL)
        abort();
    flow->owner = net;
    flow->window =
        net->faults.window_min +
        (uint32_t)prng_below(&net->latency, net->faults.window_max - net->faults.window_min + 1);
    end_open(flow, 0, from, from_options);
    end_open(flow, 1, to, to_options);
    (void)snprintf(flow->ends[0].name, sizeof flow->ends[0].name, "%s", to->name);
    (void)snprintf(flow->ends[1].name, sizeof flow->ends[1].name, "%s", from->name);
    list_push_back(&net->flows, &flow->node);
    net->counts.streams++;
    return flow;
}

void flow_free(struct sim_flow *flow)
{
    for (unsigned i = 0; i < 2; i++) {
        pieces_drop(&flow->ends[i].under_way);
        pieces_drop(&flow->ends[i].arrived);
        free(flow->ends[i].buffer);
    }
    list_remove(&flow->node);
    free(flow);
}

void flow_check(struct sim_flow *flow)
{
    if (flow->events == 0 && !flow->ends[0].open && !flow->ends[1].open)
        flow_free(flow);
}

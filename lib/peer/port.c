/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks: the life of a connection. */
#include "peer/port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void port_connect(struct peer_port *port);

static void port_say(struct peer_port *port, const char *sentence)
{
    (void)snprintf(port->sentence, sizeof port->sentence, "%s: %s", port->address, sentence);
}

/* TLS has said why, with the address; for the rest the number is enough. */
static void port_say_reason(struct peer_port *port, int reason, bool connecting)
{
    if (reason == -EKEYREJECTED || (connecting && reason == -EPROTO))
        (void)snprintf(port->sentence, sizeof port->sentence, "%s", base_last_error());
    else
        port_say(port, base_error_text(reason));
}

static void port_changed(struct peer_port *port, enum part_port_state state)
{
    struct part_port *part = &port->part;
    if (part->state == PART_PORT_UP && state != PART_PORT_UP)
        part->down_since_ns = clock_now_ns(port->options.clock);
    part->state = state;
    if (part->changed != NULL && !port->closing)
        part->changed(part->context, part);
}

/* --- Going down ---------------------------------------------------------------------------- */

static void port_gone(struct peer_port *port)
{
    clock_cancel(port->options.clock, &port->later);
    flight_run_later(&port->later);
    void (*closed)(void *context) = port->closed;
    void *context = port->closed_context;
    free(port->large);
    free(port->slots);
    free(port);
    closed(context);
}

/* Not in step with others whom the same event sent here. */
static void port_back_off(struct peer_port *port)
{
    uint64_t wait_ns = port->backoff_ns;
    port->backoff_ns = MIN(2 * wait_ns, port->options.backoff_ns_max);
    wait_ns = wait_ns / 2 + prng_below(&port->prng, wait_ns / 2 + 1);
    clock_set_after(port->options.clock, &port->retry, wait_ns);
}

/* There is no attempt and no stream. Who hears of it may well know when to try again. */
static void port_rest(struct peer_port *port, bool news)
{
    if (port->closing) {
        port_gone(port);
        return;
    }
    port_back_off(port);
    if (news)
        port_changed(port, PART_PORT_DOWN);
}

void port_break(struct peer_port *port, int reason, const char *sentence)
{
    if (!port->linked || port->link.closing)
        return;
    struct clock *clock = port->options.clock;
    clock_cancel(clock, &port->retry);
    clock_cancel(clock, &port->tick);
    clock_cancel(clock, &port->flights);
    if (port->agreed)
        port->counts.breaks++;
    port->part.down_reason = reason;
    if (sentence != NULL)
        port_say(port, sentence);
    else
        port_say_reason(port, reason, false);
    link_close(&port->link);
    port_changed(port, PART_PORT_DOWN);
}

static void port_link_ended(struct link *link, int reason)
{
    struct peer_port *port = CONTAINER_OF(link, struct peer_port, link);
    if (reason == IOMESH_CORRUPT || reason == IOMESH_FORMAT || reason == -EPROTO)
        port->counts.damaged++;
    port_break(port, reason, NULL);
}

static void port_link_closed(struct link *link)
{
    struct peer_port *port = CONTAINER_OF(link, struct peer_port, link);
    port->linked = false;
    port->agreed = false;
    port->hello_sending = port->pinging = false;
    flight_end_all(port);
    port_rest(port, false);
}

/* --- The handshake ------------------------------------------------------------------------- */

static void port_frame_sent(void *context, int result)
{
    struct peer_port *port = context;
    port->hello_sending = port->pinging = false;
    if (result != 0)
        port_break(port, result, NULL);
}

static void port_frame_send(struct peer_port *port, uint32_t bytes)
{
    port->frame_part = (struct iovec){port->frame, bytes};
    port->frame_send = (struct iomesh_send){
        .parts = &port->frame_part, .part_count = 1, .done = port_frame_sent, .context = port};
    int result = net_send(port->link.stream, &port->frame_send);
    if (result != 0)
        port_frame_sent(port, result);
}

static void port_hello(struct peer_port *port)
{
    port->half = (uint32_t)prng_next(&port->prng);
    struct wire_hello hello = {
        .version_first = WIRE_VERSION,
        .version_last = WIRE_VERSION,
        .store = port->part.store,
        .engine = port->options.engine,
        .half = port->half,
    };
    if (!port->options.any)
        memcpy(hello.pool, port->options.pool, sizeof hello.pool);
    uint8_t *aside = port->frame + WIRE_HEADER_BYTES;
    struct wire_header header = {.type = WIRE_HELLO, .aside_bytes = wire_hello_put(aside, &hello)};
    link_sum(&header, aside);
    wire_header_put(port->frame, &header);
    port->hello_sending = true;
    port_frame_send(port, WIRE_HEADER_BYTES + header.aside_bytes);
}

static int port_refused(struct peer_port *port, const struct wire_header *header,
                        const uint8_t *aside)
{
    struct wire_refused refused;
    if (wire_refused_get(aside, header->aside_bytes, &refused) != 0)
        return -EPROTO;
    port->counts.refusals++;
    /* What is said will be said again: no need to hurry. */
    port->backoff_ns = port->options.backoff_ns_max;
    port_break(port, refused.code, refused.sentence);
    return 0;
}

/* Whether it is who was called; of any, it is the one from now on. */
static bool port_is_meant(struct peer_port *port, const struct wire_welcome *welcome)
{
    struct part_port *part = &port->part;
    if (welcome->version != WIRE_VERSION || welcome->session >> 32 != port->half)
        return false;
    if (!port->options.any)
        return welcome->store == part->store &&
               memcmp(welcome->pool, port->options.pool, sizeof welcome->pool) == 0;
    if (welcome->store < part->store)
        return false;
    part->store = welcome->store;
    memcpy(port->options.pool, welcome->pool, sizeof welcome->pool);
    port->options.any = false;
    return true;
}

static int port_welcome(struct peer_port *port, const struct wire_header *header,
                        const uint8_t *aside)
{
    struct wire_welcome welcome;
    if (header->type == WIRE_REFUSED)
        return port_refused(port, header, aside);
    if (header->type != WIRE_WELCOME || wire_welcome_get(aside, header->aside_bytes, &welcome) != 0)
        return -EPROTO;
    if (!port_is_meant(port, &welcome))
        return -EPROTO;
    struct part_port *part = &port->part;
    part->session = welcome.session;
    part->incarnation = welcome.incarnation;
    memcpy(part->boot_id, welcome.boot_id, sizeof part->boot_id);
    part->room_blocks = welcome.room_blocks;
    part->down_reason = 0;
    port->sentence[0] = '\0';
    port->requests_max = MIN(port->options.requests_max, welcome.requests_max);
    port->bytes_max = MIN(port->options.bytes_max, welcome.bytes_max);
    port->backoff_ns = port->options.backoff_ns_min;
    port->agreed = true;
    port->counts.connects++;
    struct clock *clock = port->options.clock;
    part->heard_ns = port->ticked_ns = clock_now_ns(clock);
    port->heard_before = port->link.heard;
    clock_cancel(clock, &port->retry);
    clock_set_after(clock, &port->tick, port->options.heartbeat_ns / 2);
    port_changed(port, PART_PORT_UP);
    return 0;
}

static int port_frame(struct link *link, const struct wire_header *header, const uint8_t *aside)
{
    struct peer_port *port = CONTAINER_OF(link, struct peer_port, link);
    if (!port->agreed)
        return port_welcome(port, header, aside);
    port->part.heard_ns = clock_now_ns(port->options.clock);
    if (header->type == WIRE_PONG)
        return 0;
    return answer_frame(port, header, aside);
}

static int port_data(struct link *link)
{
    struct peer_port *port = CONTAINER_OF(link, struct peer_port, link);
    port->part.heard_ns = clock_now_ns(port->options.clock);
    return answer_data(port);
}

static const struct link_ops port_link_ops = {
    .frame = port_frame,
    .data = port_data,
    .ended = port_link_ended,
    .closed = port_link_closed,
};

/* --- Heartbeat ----------------------------------------------------------------------------- */

static void port_ping(struct peer_port *port)
{
    if (port->pinging || port->hello_sending)
        return;
    struct wire_header header = {.type = WIRE_PING, .session = port->part.session};
    wire_header_put(port->frame, &header);
    port->pinging = true;
    port_frame_send(port, WIRE_HEADER_BYTES);
}

static void port_tick(struct timer *timer)
{
    struct peer_port *port = CONTAINER_OF(timer, struct peer_port, tick);
    const struct peer_port_options *options = &port->options;
    uint64_t now_ns = clock_now_ns(options->clock);
    /* If it was us who stood still, the store may have said much that is not read yet. */
    bool late = now_ns - port->ticked_ns > 2 * options->heartbeat_ns;
    if (port->link.heard != port->heard_before || late)
        port->part.heard_ns = MAX(port->part.heard_ns, late ? now_ns : port->ticked_ns);
    port->heard_before = port->link.heard;
    port->ticked_ns = now_ns;
    uint64_t silent_ns = now_ns - port->part.heard_ns;
    if (silent_ns > options->silence_ns && !MUTANT(310)) {
        port_break(port, -ETIMEDOUT, "it says nothing any more");
        return;
    }
    if (silent_ns >= options->heartbeat_ns)
        port_ping(port);
    clock_set_after(options->clock, &port->tick, options->heartbeat_ns / 2);
}

/* --- Connecting ---------------------------------------------------------------------------- */

static void port_failed(struct peer_port *port, int reason)
{
    port->part.down_reason = reason;
    port_say_reason(port, reason, true);
    port_rest(port, true);
}

static void port_connected(void *context, int result, struct net_stream *stream)
{
    struct peer_port *port = context;
    port->attempt = NULL;
    if (result != 0) {
        clock_cancel(port->options.clock, &port->retry);
        port_failed(port, result == -ECANCELED ? -ETIMEDOUT : result);
        return;
    }
    port->linked = true;
    link_open(&port->link, &port_link_ops, stream);
    if (port->closing)
        port_break(port, -ECANCELED, NULL);
    else if (!port->link.ended)
        port_hello(port);
}

static void port_retry_run(struct timer *timer)
{
    struct peer_port *port = CONTAINER_OF(timer, struct peer_port, retry);
    if (port->attempt != NULL)
        net_attempt_cancel(port->attempt);
    else if (port->linked)
        port_break(port, -ETIMEDOUT, "it does not answer");
    else if (port->closing)
        port_gone(port);
    else
        port_connect(port);
}

static void port_connect(struct peer_port *port)
{
    port_changed(port, PART_PORT_CONNECTING);
    if (port->closing)
        return;
    clock_set_after(port->options.clock, &port->retry, port->options.connect_ns);
    int result =
        net_connect(port->options.net, port->address, NULL, port_connected, port, &port->attempt);
    if (result == 0)
        return;
    clock_cancel(port->options.clock, &port->retry);
    port_failed(port, result);
}

/* --- Life ---------------------------------------------------------------------------------- */

static void port_defaults(struct peer_port_options *options)
{
    LINK_DEFAULT(requests_max, 128);
    LINK_DEFAULT(bytes_max, 8u << 20);
    LINK_DEFAULT(heartbeat_ns, 250 * NS_PER_MS);
    LINK_DEFAULT(silence_ns, 4 * NS_PER_S);
    LINK_DEFAULT(connect_ns, 2 * NS_PER_S);
    LINK_DEFAULT(backoff_ns_min, 10 * NS_PER_MS);
    LINK_DEFAULT(backoff_ns_max, 300 * NS_PER_MS);
    LINK_DEFAULT(cancel_ns, 50 * NS_PER_MS);
}

static int port_memory(struct peer_port *port)
{
    uint32_t count = 1;
    while (count < port->options.requests_max)
        count *= 2;
    port->slot_mask = count - 1;
    port->slots = calloc(count, sizeof *port->slots);
    port->large = malloc(WIRE_ASIDE_BYTES_MAX);
    if (port->slots == NULL || port->large == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        port->slots[i].port = port;
        list_push_back(&port->free, &port->slots[i].node);
    }
    return 0;
}

int peer_port_move(struct peer_port *port, const char *address)
{
    size_t length = strlen(address);
    if (length == 0 || length >= sizeof port->address)
        return FAIL(-EINVAL, "an address of %zu bytes: it has 1 to %zu", length,
                    sizeof port->address - 1);
    memcpy(port->address, address, length + 1);
    return 0;
}

void peer_port_silence(struct peer_port *port, uint64_t ns)
{
    port->options.silence_ns = ns;
    port->options.heartbeat_ns = MIN(port->heartbeat_ns, ns / 4);
}

int peer_port_open(const struct peer_port_options *options, struct peer_port **ret_port)
{
    struct peer_port *port = calloc(1, sizeof *port);
    if (port == NULL)
        return FAIL(-ENOMEM, "%s: no memory", options->address);
    port->options = *options;
    port_defaults(&port->options);
    port->heartbeat_ns = port->options.heartbeat_ns;
    peer_port_silence(port, port->options.silence_ns);
    list_init(&port->waiting);
    list_init(&port->ending);
    list_init(&port->free);
    port->prng.state = options->seed;
    port->part.ops = &flight_ops;
    port->part.store = options->store;
    port->part.state = PART_PORT_DOWN;
    port->part.down_reason = -ENOTCONN;
    port->part.down_since_ns = clock_now_ns(options->clock);
    port->retry.fire = port_retry_run;
    port->tick.fire = port_tick;
    port->later.fire = flight_run_later;
    port->flights.fire = flight_run_canceled;
    port->backoff_ns = port->options.backoff_ns_min;
    int result = peer_port_move(port, options->address);
    if (result == 0 && port->options.requests_max > PEER_REQUESTS_MAX)
        result = FAIL(-EINVAL, "at most %u requests in flight, not %u", PEER_REQUESTS_MAX,
                      port->options.requests_max);
    if (result == 0)
        result = port_memory(port);
    if (result != 0) {
        free(port->large);
        free(port->slots);
        free(port);
        return result;
    }
    clock_set_after(options->clock, &port->retry, 0);
    *ret_port = port;
    return 0;
}

struct part_port *peer_port_part(struct peer_port *port)
{
    return &port->part;
}

void peer_port_retry(struct peer_port *port)
{
    port->backoff_ns = port->options.backoff_ns_min;
    if (port->part.state == PART_PORT_DOWN && !port->linked && !port->closing)
        clock_set_after(port->options.clock, &port->retry, 0);
}

const char *peer_port_sentence(const struct peer_port *port)
{
    return port->sentence;
}

struct peer_port_counts peer_port_counts(const struct peer_port *port)
{
    return port->counts;
}

void peer_port_close(struct peer_port *port, void (*closed)(void *context), void *context)
{
    assert(!port->closing);
    port->closing = true;
    port->closed = closed;
    port->closed_context = context;
    if (port->linked) {
        port_break(port, -ECANCELED, NULL);
    } else if (port->attempt != NULL) {
        clock_cancel(port->options.clock, &port->retry);
        net_attempt_cancel(port->attempt);
    } else {
        clock_set_after(port->options.clock, &port->retry, 0);
    }
}

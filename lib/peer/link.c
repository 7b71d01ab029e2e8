/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/link.h"

#include <string.h>

#include "codec/codec.h"

static void link_run(struct link *link);

void link_break(struct link *link, int reason)
{
    if (link->ended)
        return;
    link->ended = true;
    link->ops->ended(link, reason);
}

static void link_came(void *context, int result)
{
    struct link *link = context;
    link->waiting = false;
    if (link->closing || link->ended)
        return;
    link->heard++;
    if (result != 0)
        link_break(link, result);
    else
        link_run(link);
}

static void link_fill(struct link *link, uint32_t bytes)
{
    link->waiting = true;
    int result = net_fill(link->stream, bytes, link_came, link);
    if (result == 0)
        return;
    link->waiting = false;
    link_break(link, result);
}

/* --- A frame ------------------------------------------------------------------------------- */

/* Whether there may be more to do at once. */
static bool link_step_head(struct link *link)
{
    const void *held;
    uint32_t count = net_peek(link->stream, &held);
    if (count < WIRE_HEADER_BYTES) {
        link_fill(link, WIRE_HEADER_BYTES);
        return false;
    }
    struct wire_header header;
    int result = wire_header_get(held, &header);
    if (result != 0) {
        link_break(link, result);
        return false;
    }
    uint32_t bytes = WIRE_HEADER_BYTES + header.aside_bytes;
    if (count < bytes) {
        link_fill(link, bytes);
        return false;
    }
    const uint8_t *aside = (const uint8_t *)held + WIRE_HEADER_BYTES;
    link->heard++;
    link->target = NULL;
    result = wire_aside_check(&header, aside);
    if (result == 0)
        result = link->ops->frame(link, &header, aside);
    if (link->ended)
        return false;
    if (result < 0)
        link_break(link, result);
    link->held = result == LINK_HOLD;
    if (result != 0)
        return false;
    net_consume(link->stream, bytes);
    link->data_left = header.data_bytes;
    link->in_data = header.data_bytes > 0;
    return true;
}

static bool link_data_came(struct link *link)
{
    link->in_data = false;
    int result = link->ops->data(link);
    if (result < 0)
        link_break(link, result);
    return !link->ended;
}

static void link_received(void *context, int result)
{
    struct link *link = context;
    if (result == 0)
        link->data_left = 0;
    link_came(link, result);
}

static bool link_step_data(struct link *link)
{
    const void *held;
    if (link->data_left > 0) {
        uint32_t count = MIN(net_peek(link->stream, &held), link->data_left);
        if (link->target != NULL && count == link->data_left)
            memcpy(link->target, held, count);
        if (link->target == NULL || count == link->data_left) {
            net_consume(link->stream, count);
            link->data_left -= count;
        }
    }
    if (link->data_left == 0)
        return link_data_came(link);
    if (link->target == NULL) {
        link_fill(link, 1);
        return false;
    }
    link->waiting = true;
    int result = net_receive(link->stream, link->target, link->data_left, link_received, link);
    if (result != 0) {
        link->waiting = false;
        link_break(link, result);
    }
    return false;
}

static void link_run(struct link *link)
{
    if (link->running)
        return;
    link->running = true;
    bool more = true;
    while (more)
        more = link->in_data ? link_step_data(link) : link_step_head(link);
    link->running = false;
}

void link_go_on(struct link *link)
{
    if (!link->held || link->ended || link->waiting)
        return;
    link->held = false;
    link_run(link);
}

/* --- Life ---------------------------------------------------------------------------------- */

void link_open(struct link *link, const struct link_ops *ops, struct net_stream *stream)
{
    *link = (struct link){.ops = ops, .stream = stream};
    link_run(link);
}

static void link_closed(void *context, int result)
{
    (void)result;
    struct link *link = context;
    link->stream = NULL;
    link->ops->closed(link);
}

void link_close(struct link *link)
{
    assert(link->stream != NULL && !link->closing);
    link->ended = true;
    link->closing = true;
    net_close(link->stream, link_closed, link);
}

void link_sum(struct wire_header *header, const uint8_t *aside)
{
    header->aside_crc = header->aside_bytes == 0 ? 0 : crc32c(aside, header->aside_bytes);
}

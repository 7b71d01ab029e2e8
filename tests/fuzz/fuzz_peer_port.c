/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes from a store: each request ends exactly once, and the port can be closed. */
#include "fuzz/peer_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUESTS PART_REQUEST_LAST

static struct feed feed;
static struct peer_port *port;
static struct {
    struct part_request request;
    bool flying;
} asked[REQUESTS];
static uint8_t memory[REQUESTS][4 * BLOCK_BYTES];
static uint32_t crcs[PART_BLOCKS_MAX];
static struct part_version versions[REQUESTS][PART_BLOCKS_MAX];
static uint64_t cuts[] = {3, 5, 9};
static struct wire_hello hello;

static void done(struct part_request *request, int result)
{
    bool *flying = request->context;
    if (!*flying || result > 0)
        abort();
    *flying = false;
}

static void ask(unsigned index)
{
    struct part_request *request = &asked[index].request;
    *request = (struct part_request){
        .kind = (enum part_request_kind)(index + 1),
        .count = 2,
        .data = memory[index],
        .crcs = crcs,
        .versions = versions[index],
        .bytes = index + 1 == PART_RECORD ? 100 : 0,
        .cuts = cuts,
        .cut_count = 3,
        .key = "key",
        .done = done,
        .context = &asked[index].flying,
    };
    asked[index].flying = true;
    part_submit(peer_port_part(port), request);
}

static void accepted(void *context, int result, struct net_stream *stream)
{
    (void)context;
    if (result == 0 && feed.stream == NULL)
        feed.stream = stream;
    else if (result == 0)
        net_close(stream, NULL, NULL);
}

static void hello_came(void *context, int result)
{
    (void)context;
    const void *bytes;
    struct wire_header header;
    if (result != 0)
        abort();
    uint32_t count = net_peek(feed.stream, &bytes);
    if (wire_header_get(bytes, &header) != 0 ||
        wire_hello_get((const uint8_t *)bytes + WIRE_HEADER_BYTES, header.aside_bytes, &hello) != 0)
        abort();
    net_consume(feed.stream, count);
    feed.connected = true;
}

static void greet(void)
{
    struct wire_welcome welcome = {.version = 1,
                                   .store = 1,
                                   .session = (uint64_t)hello.half << 32 | 7,
                                   .requests_max = 64,
                                   .bytes_max = 1u << 20};
    struct wire_header header = {.type = WIRE_WELCOME};
    uint8_t *aside = feed.bytes + WIRE_HEADER_BYTES;
    header.aside_bytes = wire_welcome_put(aside, &welcome);
    header.aside_crc = crc32c(aside, header.aside_bytes);
    wire_header_put(feed.bytes, &header);
    feed.session = welcome.session;
    feed.part = (struct iovec){feed.bytes, WIRE_HEADER_BYTES + header.aside_bytes};
    feed.send = (struct iomesh_send){
        .parts = &feed.part, .part_count = 1, .done = feed_sent, .context = &feed};
    if (net_send(feed.stream, &feed.send) != 0)
        abort();
    while (peer_port_part(port)->state != PART_PORT_UP)
        feed_steps(&feed, 1);
    for (unsigned i = 0; i < REQUESTS; i++)
        ask(i);
    feed_steps(&feed, 60);
}

static void closed(void *context)
{
    *(bool *)context = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct net_listener *listener;
    if (size == 0)
        return 0;
    feed_open(&feed, data + 1, size - 1);
    struct peer_port_options options = {.net = &feed.engine->net,
                                        .clock = &feed.world.clock,
                                        .address = "store:1",
                                        .store = 1,
                                        .seed = 1,
                                        .requests_max = 16};
    if (net_listen(&feed.store->net, "store:1", NULL, accepted, NULL, &listener) != 0 ||
        peer_port_open(&options, &port) != 0)
        abort();
    while (feed.stream == NULL)
        feed_steps(&feed, 1);
    if (net_fill(feed.stream, WIRE_HEADER_BYTES + 8, hello_came, NULL) != 0)
        abort();
    while (!feed.connected)
        feed_steps(&feed, 1);
    if (data[0] & 1)
        greet();
    feed_drain(&feed);
    while (feed_next(&feed))
        if (data[0] & 2 && asked[data[0] % REQUESTS].flying)
            part_cancel(&asked[data[0] % REQUESTS].request);
    bool gone = false;
    peer_port_close(port, closed, &gone);
    while (!gone)
        if (!world_step(&feed.world))
            abort();
    for (unsigned i = 0; i < REQUESTS; i++)
        if (asked[i].flying)
            abort();
    feed_stream_close(&feed);
    net_listener_close(listener);
    feed_close(&feed);
    return 0;
}

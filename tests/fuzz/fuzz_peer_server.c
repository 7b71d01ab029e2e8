/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes from who connects: the server stays whole, gives its memory back, and can be closed. */
#include "fuzz/peer_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct feed feed;
static struct null_port null;
static uint64_t out;

static void *take(struct peer_buffers *buffers, uint64_t bytes)
{
    (void)buffers;
    out++;
    return aligned_alloc(BLOCK_BYTES, ROUND_UP(bytes, BLOCK_BYTES));
}

static void give(struct peer_buffers *buffers, void *memory)
{
    (void)buffers;
    out--;
    free(memory);
}

static struct peer_buffers buffers = {.get = take, .put = give};

static void connected(void *context, int result, struct net_stream *stream)
{
    (void)context;
    if (result != 0)
        abort();
    feed.stream = stream;
}

static void greeted(void *context, int result)
{
    (void)context;
    const void *bytes;
    struct wire_header header;
    struct wire_welcome welcome;
    if (result != 0)
        abort();
    uint32_t count = net_peek(feed.stream, &bytes);
    if (wire_header_get(bytes, &header) != 0 || header.type != WIRE_WELCOME ||
        wire_welcome_get((const uint8_t *)bytes + WIRE_HEADER_BYTES, header.aside_bytes,
                         &welcome) != 0)
        abort();
    feed.session = welcome.session;
    net_consume(feed.stream, count);
    feed.connected = true;
}

static void greet(void)
{
    struct wire_hello hello = {.version_first = 1, .version_last = 1, .store = 1, .half = 1};
    struct wire_header header = {.type = WIRE_HELLO};
    uint8_t *aside = feed.bytes + WIRE_HEADER_BYTES;
    header.aside_bytes = wire_hello_put(aside, &hello);
    header.aside_crc = crc32c(aside, header.aside_bytes);
    wire_header_put(feed.bytes, &header);
    feed.part = (struct iovec){feed.bytes, WIRE_HEADER_BYTES + header.aside_bytes};
    feed.send = (struct iomesh_send){
        .parts = &feed.part, .part_count = 1, .done = feed_sent, .context = &feed};
    if (net_send(feed.stream, &feed.send) != 0 ||
        net_fill(feed.stream, WIRE_HEADER_BYTES + 32, greeted, NULL) != 0)
        abort();
    while (!feed.connected)
        feed_steps(&feed, 1);
}

static void closed(void *context)
{
    *(bool *)context = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct net_attempt *attempt;
    struct peer_server *server;
    if (size == 0)
        return 0;
    feed_open(&feed, data + 1, size - 1);
    null_port_open(&null, &feed.world.clock, true);
    struct peer_server_options options = {.net = &feed.store->net,
                                          .clock = &feed.world.clock,
                                          .buffers = &buffers,
                                          .requests_max = 4,
                                          .bytes_max = 1u << 20};
    if (peer_server_open(&options, &server) != 0 ||
        peer_server_add(server, 1, 1, &null.port) != 0 ||
        peer_server_listen(server, "store:1", NULL) != 0 ||
        net_connect(&feed.engine->net, "store:1", NULL, connected, NULL, &attempt) != 0)
        abort();
    while (feed.stream == NULL)
        feed_steps(&feed, 1);
    if (data[0] & 1)
        greet();
    feed_drain(&feed);
    while (feed_next(&feed))
        ;
    feed_stream_close(&feed);
    bool gone = false;
    peer_server_close(server, closed, &gone);
    while (!gone)
        if (!world_step(&feed.world))
            abort();
    feed_close(&feed);
    if (out != 0)
        abort();
    return 0;
}

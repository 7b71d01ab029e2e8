/* SPDX-License-Identifier: Apache-2.0 */
/* What a store must bear from those who connect, and what it tells them. */
#include "codec/codec.h"
#include "unit/peer/pair.h"

static struct pair pair;

static void begin(void)
{
    pair_open(&pair);
}

static void end(void)
{
    pair_close(&pair);
}

TestSuite(peer_hostile, .init = begin, .fini = end);

/* Somebody who speaks the wire by hand. */
static struct {
    struct net_stream *stream;
    int connected, received, result, closed;
    uint8_t bytes[4096];
    struct iomesh_send send;
    struct iovec part;
    uint64_t session, number;
} raw;

static void raw_connected(void *context, int result, struct net_stream *stream)
{
    (void)context;
    cr_assert_eq(result, 0);
    raw.stream = stream;
    raw.connected++;
}

static void raw_done(void *context, int result)
{
    (void)context;
    raw.result = result;
    raw.received++;
}

static void raw_sent(void *context, int result)
{
    (void)context;
    (void)result;
}

static void raw_closed(void *context, int result)
{
    (void)context;
    (void)result;
    raw.closed++;
}

static void raw_connect(void)
{
    struct net_attempt *attempt;
    memset(&raw, 0, sizeof raw);
    cr_assert_eq(net_connect(&pair.here[2]->net, "there:7", NULL, raw_connected, NULL, &attempt),
                 0);
    while (raw.connected == 0)
        cr_assert(world_step(&pair.world));
}

static void raw_send(const void *bytes, size_t length)
{
    memcpy(raw.bytes, bytes, length);
    raw.part = (struct iovec){raw.bytes, length};
    raw.send = (struct iomesh_send){.parts = &raw.part, .part_count = 1, .done = raw_sent};
    cr_assert_eq(net_send(raw.stream, &raw.send), 0);
    pair_run(&pair, NS_PER_MS);
}

/* 0, or why nothing came. */
static int raw_receive(void *to, uint32_t length)
{
    raw.received = 0;
    cr_assert_eq(net_receive(raw.stream, to, length, raw_done, NULL), 0);
    uint64_t end_ns = pair.world.now_ns + 20 * NS_PER_S;
    while (raw.received == 0 && pair.world.now_ns < end_ns)
        cr_assert(world_step(&pair.world));
    return raw.received != 0 ? raw.result : -ETIMEDOUT;
}

static void raw_close(void)
{
    net_close(raw.stream, raw_closed, NULL);
    while (raw.closed == 0)
        cr_assert(world_step(&pair.world));
}

static void raw_frame(struct wire_header *header, const uint8_t *aside)
{
    uint8_t bytes[4096];
    if (header->aside_bytes > 0)
        memcpy(bytes + WIRE_HEADER_BYTES, aside, header->aside_bytes);
    header->aside_crc = header->aside_bytes > 0 ? crc32c(aside, header->aside_bytes) : 0;
    wire_header_put(bytes, header);
    raw_send(bytes, WIRE_HEADER_BYTES + header->aside_bytes);
}

static void raw_hello(uint32_t version_first, uint32_t version_last, const char *pool,
                      uint64_t store)
{
    uint8_t aside[WIRE_MESSAGE_BYTES_MAX];
    struct wire_hello hello = {.version_first = version_first,
                               .version_last = version_last,
                               .store = store,
                               .engine = 9,
                               .half = 3};
    memcpy(hello.pool, pool, sizeof hello.pool);
    struct wire_header header = {.type = WIRE_HELLO, .aside_bytes = wire_hello_put(aside, &hello)};
    raw_frame(&header, aside);
}

static void raw_answer(struct wire_header *ret_header, uint8_t *ret_aside)
{
    uint8_t bytes[WIRE_HEADER_BYTES];
    cr_assert_eq(raw_receive(bytes, sizeof bytes), 0);
    cr_assert_eq(wire_header_get(bytes, ret_header), 0);
    if (ret_header->aside_bytes > 0)
        cr_assert_eq(raw_receive(ret_aside, ret_header->aside_bytes), 0);
}

static struct wire_refused refusal(void)
{
    struct wire_header header;
    struct wire_refused refused;
    uint8_t aside[WIRE_ASIDE_BYTES_MAX];
    raw_answer(&header, aside);
    cr_assert_eq(header.type, WIRE_REFUSED);
    cr_assert_eq(wire_refused_get(aside, header.aside_bytes, &refused), 0);
    uint8_t more;
    cr_expect_eq(raw_receive(&more, 1), -ECONNRESET, "and that is all");
    raw_close();
    return refused;
}

static void welcome(void)
{
    struct wire_header header;
    struct wire_welcome is;
    uint8_t aside[WIRE_ASIDE_BYTES_MAX];
    raw_connect();
    raw_hello(1, 1, PAIR_POOL, 1);
    raw_answer(&header, aside);
    cr_assert_eq(header.type, WIRE_WELCOME);
    cr_assert_eq(wire_welcome_get(aside, header.aside_bytes, &is), 0);
    cr_expect_eq(is.session >> 32, 3, "our half");
    raw.session = is.session;
}

/* Whoever else is connected does not notice. */
static void others_are_served(void)
{
    if (pair.ports[0] == NULL)
        pair_connect(&pair, 0, NULL);
    cr_assert(pair_run_until_up(&pair, 0, NS_PER_S));
    struct question *state = question_new(&pair, PART_STATE);
    question_ask(state, 0);
    question_wait(state, NS_PER_S);
    cr_expect_eq(state->result, 0);
    cr_expect_eq(peer_port_counts(pair.ports[0]).breaks, 0);
    free(state);
}

Test(peer_hostile, another_version_is_refused_with_a_sentence_that_names_both)
{
    raw_connect();
    raw_hello(2, 5, PAIR_POOL, 1);
    struct wire_refused refused = refusal();
    cr_expect_eq(refused.code, IOMESH_FORMAT);
    cr_expect_not_null(strstr(refused.sentence, "version 1 of the wire"), "%s", refused.sentence);
    cr_expect_not_null(strstr(refused.sentence, "you speak 2 to 5"), "%s", refused.sentence);
}

Test(peer_hostile, one_that_speaks_newer_ones_too_is_welcome)
{
    raw_connect();
    raw_hello(1, 5, PAIR_POOL, 1);
    struct wire_header header;
    uint8_t aside[WIRE_ASIDE_BYTES_MAX];
    raw_answer(&header, aside);
    cr_expect_eq(header.type, WIRE_WELCOME);
    raw_close();
}

Test(peer_hostile, another_pool_and_another_store_are_refused)
{
    raw_connect();
    raw_hello(1, 1, "the pool of him", 1);
    struct wire_refused refused = refusal();
    cr_expect_eq(refused.code, -EXDEV);
    cr_expect_str_eq(refused.sentence, "the store here is of another pool");
    raw_connect();
    raw_hello(1, 1, PAIR_POOL, 42);
    refused = refusal();
    cr_expect_eq(refused.code, -ENXIO);
    cr_expect_str_eq(refused.sentence, "store 42 is not here");
    cr_expect_eq(peer_server_counts(pair.server).refused, 2);
    others_are_served();
}

Test(peer_hostile, a_request_before_the_handshake_ends_the_connection)
{
    raw_connect();
    struct wire_header header = {.type = WIRE_FLUSH, .number = 1};
    raw_frame(&header, NULL);
    uint8_t more;
    cr_expect_eq(raw_receive(&more, 1), -ECONNRESET);
    raw_close();
    cr_expect_eq(pair.mirror.counts.requests, 0);
    cr_expect_eq(peer_server_counts(pair.server).broken, 1);
}

Test(peer_hostile, who_says_nothing_does_not_stay)
{
    raw_connect();
    uint64_t begin_ns = pair.world.now_ns;
    uint8_t more;
    cr_expect_eq(raw_receive(&more, 1), -ECONNRESET);
    cr_expect_leq(pair.world.now_ns - begin_ns, 6 * NS_PER_S);
    raw_close();
    welcome();
    begin_ns = pair.world.now_ns;
    cr_expect_eq(raw_receive(&more, 1), -ECONNRESET);
    cr_expect_leq(pair.world.now_ns - begin_ns, 15 * NS_PER_S);
    raw_close();
    pair_run(&pair, NS_PER_S);
    cr_expect_eq(peer_server_counts(pair.server).connections, 0);
}

Test(peer_hostile, garbage_ends_the_connection_and_no_other)
{
    struct prng prng = {.state = 5};
    others_are_served();
    for (unsigned i = 0; i < 50; i++) {
        uint8_t bytes[512];
        for (unsigned at = 0; at < sizeof bytes; at++)
            bytes[at] = (uint8_t)prng_next(&prng);
        if (i % 2)
            welcome();
        else
            raw_connect();
        raw_send(bytes, sizeof bytes);
        cr_expect_eq(raw_receive(bytes, 1), -ECONNRESET);
        raw_close();
    }
    others_are_served();
    cr_expect_eq(peer_server_counts(pair.server).broken, 50);
}

Test(peer_hostile, a_number_that_does_not_grow_ends_the_connection)
{
    welcome();
    struct wire_header header = {
        .type = WIRE_STATE, .session = raw.session, .number = 8, .epoch = 1};
    raw_frame(&header, NULL);
    struct wire_header answer;
    uint8_t aside[WIRE_ASIDE_BYTES_MAX];
    raw_answer(&answer, aside);
    cr_expect_eq(answer.number, 8);
    raw_frame(&header, NULL);
    cr_expect_eq(raw_receive(aside, 1), -ECONNRESET);
    raw_close();
    cr_expect_eq(pair.mirror.counts.requests, 1);
}

Test(peer_hostile, a_request_of_another_session_is_not_heard)
{
    welcome();
    struct wire_header header = {.type = WIRE_STATE, .session = raw.session + 1, .number = 8};
    raw_frame(&header, NULL);
    cr_expect_eq(pair.mirror.counts.requests, 0);
    cr_expect_eq(peer_server_counts(pair.server).strays, 1);
    raw_close();
}

Test(peer_hostile, what_makes_no_sense_is_answered_and_the_next_is_served)
{
    welcome();
    uint8_t aside[WIRE_ASIDE_BYTES_MAX];
    struct wire_header header = {
        .type = WIRE_READ, .session = raw.session, .number = 1, .block = 255, .count = 2};
    struct wire_header answer;
    raw_frame(&header, NULL);
    raw_answer(&answer, aside);
    cr_expect_eq(answer.result, -EPROTO, "across a mebibyte");
    header = (struct wire_header){
        .type = WIRE_ROLE, .session = raw.session, .number = 2, .aside_bytes = 3};
    raw_frame(&header, (const uint8_t *)"\xff\xff\xff");
    raw_answer(&answer, aside);
    cr_expect_eq(answer.result, -EPROTO, "no message");
    header = (struct wire_header){.type = WIRE_RECORD, .session = raw.session, .number = 3};
    raw_frame(&header, NULL);
    raw_answer(&answer, aside);
    cr_expect_eq(answer.result, -EPROTO, "a record without a key");
    cr_expect_eq(pair.mirror.counts.requests, 0);
    header =
        (struct wire_header){.type = WIRE_STATE, .session = raw.session, .number = 4, .epoch = 1};
    raw_frame(&header, NULL);
    raw_answer(&answer, aside);
    cr_expect_eq(pair.mirror.counts.requests, 1);
    raw_close();
}

Test(peer_hostile, the_end_in_the_middle_of_a_frame_leaves_nothing)
{
    welcome();
    struct wire_header header = {.type = WIRE_WRITE,
                                 .session = raw.session,
                                 .number = 1,
                                 .count = 1,
                                 .aside_bytes = 4,
                                 .data_bytes = BLOCK_BYTES};
    raw_frame(&header, (const uint8_t *)"crcs");
    uint8_t half[2000] = {0};
    raw_send(half, sizeof half);
    cr_expect_eq(pair.out, BLOCK_BYTES, "it has its memory");
    raw_close();
    pair_run(&pair, NS_PER_S);
    cr_expect_eq(pair.out, 0);
    cr_expect_eq(pair.mirror.counts.requests, 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends on a ring of the real world: every kind of request over a unix socket and over TCP. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/codec.h"
#include "format/pointer.h"
#include "tls/tls.h"
#include "unit/peer/pair.h"
#include "uring/uring.h"

static struct uring *ring;
static struct mirror mirror;
static struct peer_server *server;
static struct peer_port *port;
static unsigned out;
static bool closed;
static const char *address;
static char path[64];

static void *take(struct peer_buffers *buffers, uint64_t bytes)
{
    (void)buffers;
    out++;
    return uring_buffer_get(ring, bytes);
}

static void give(struct peer_buffers *buffers, void *memory)
{
    (void)buffers;
    out--;
    uring_buffer_put(ring, memory);
}

static struct peer_buffers buffers = {.get = take, .put = give};

static void turn(void)
{
    uint64_t end_ns = clock_now_ns(uring_clock(ring)) + 10 * NS_PER_MS;
    if (uring_collect(ring) + clock_run(uring_clock(ring)) == 0)
        (void)uring_wait(ring, MIN(end_ns, clock_deadline_ns(uring_clock(ring))));
    else
        (void)uring_submit(ring);
}

static void begin(void)
{
    struct uring_options options = {.entries = 64, .buffer_bytes = 8u << 20};
    cr_assert_eq(uring_open(&options, &ring), 0, "%s", base_last_error());
    mirror_open(&mirror, uring_clock(ring), 3, 100000);
}

static struct net *sealed; /* NULL: as it is. */

static void meet(const char *where)
{
    struct net *net = sealed != NULL ? sealed : uring_net(ring);
    struct peer_server_options serving = {
        .net = net, .clock = uring_clock(ring), .buffers = &buffers, .pool = PAIR_POOL, .seed = 1};
    cr_assert_eq(peer_server_open(&serving, &server), 0);
    cr_assert_eq(peer_server_add(server, 1, 5, &mirror.port), 0);
    cr_assert_eq(peer_server_listen(server, where, &address), 0, "%s", base_last_error());
    struct peer_port_options asking = {.net = net,
                                       .clock = uring_clock(ring),
                                       .address = address,
                                       .pool = PAIR_POOL,
                                       .store = 1,
                                       .engine = 4,
                                       .seed = 2};
    cr_assert_eq(peer_port_open(&asking, &port), 0);
    uint64_t end_ns = clock_now_ns(uring_clock(ring)) + 5 * NS_PER_S;
    while (peer_port_part(port)->state != PART_PORT_UP) {
        cr_assert_lt(clock_now_ns(uring_clock(ring)), end_ns, "%s", peer_port_sentence(port));
        turn();
    }
}

static void is_closed(void *context)
{
    (void)context;
    closed = true;
}

static void part_company(void)
{
    peer_port_close(port, is_closed, NULL);
    for (closed = false; !closed;)
        turn();
    peer_server_close(server, is_closed, NULL);
    for (closed = false; !closed;)
        turn();
    while (uring_open_count(ring) > 0)
        turn();
    cr_expect_eq(out, 0);
}

static void end(void)
{
    uring_close(ring);
    if (path[0] != '\0')
        (void)unlink(path);
}

TestSuite(peer_real, .init = begin, .fini = end);

static int result;
static bool pending;
static uint64_t epoch = 1;
static uint8_t data[PART_BLOCKS_MAX * BLOCK_BYTES] __attribute__((aligned(4096)));
static uint32_t crcs[PART_BLOCKS_MAX];
static struct part_version versions[PART_BLOCKS_MAX];
static uint64_t cuts[PART_CUTS_MAX];
static struct part_run runs[PART_RUNS_MAX];

static void done(struct part_request *request, int how)
{
    (void)request;
    result = how;
    pending = false;
}

/* Asks what the mirror answers with 0. */
static void ask(struct part_request *request)
{
    request->done = done;
    do
        request->epoch = epoch++;
    while (mirror_result(request, mirror_sum(request)) != 0);
    pending = true;
    part_submit(peer_port_part(port), request);
    uint64_t end_ns = clock_now_ns(uring_clock(ring)) + 20 * NS_PER_S;
    while (pending) {
        turn();
        cr_assert_lt(clock_now_ns(uring_clock(ring)), end_ns);
    }
    cr_expect_eq(result, 0, "kind %d", (int)request->kind);
    cr_expect_eq(request->found, mirror_sum(request), "kind %d", (int)request->kind);
}

static void write_and_read(uint32_t count)
{
    struct part_request request = {
        .kind = PART_WRITE, .count = count, .sequence = count, .data = data, .crcs = crcs};
    for (uint32_t i = 0; i < count; i++) {
        mirror_block(data + (size_t)i * BLOCK_BYTES, 0, i, count);
        crcs[i] = crc32c(data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES);
    }
    ask(&request);
    memset(data, 0, sizeof data);
    request = (struct part_request){
        .kind = PART_READ, .count = count, .data = data, .versions = versions};
    ask(&request);
    for (uint32_t i = 0; i < count; i++) {
        cr_expect_eq(crc32c(data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES), crcs[i]);
        cr_expect_eq(versions[i].sequence, count);
    }
}

static void resync_with_gaps(void)
{
    struct part_request request = {.kind = PART_RESYNC,
                                   .count = PART_BLOCKS_MAX,
                                   .data = data,
                                   .versions = versions,
                                   .cuts = cuts,
                                   .cut_count = PART_CUTS_MAX};
    for (uint32_t i = 0; i < PART_BLOCKS_MAX; i++) {
        uint8_t *to = data + (size_t)i * BLOCK_BYTES;
        mirror_block(to, 0, i, 1000 + i);
        versions[i] = (struct part_version){.sequence = 1000 + i,
                                            .kind = i % 2 ? POINTER_RAW : POINTER_ZERO,
                                            .crc = crc32c(to, BLOCK_BYTES)};
    }
    ask(&request);
    cr_expect_eq(mirror.sequences[0][255], 1255);
    cr_expect_neq(mirror.sequences[0][254], 1254);
}

static void everything(void)
{
    write_and_read(1);
    write_and_read(32);
    write_and_read(PART_BLOCKS_MAX);
    for (uint32_t i = 0; i < PART_CUTS_MAX; i++)
        cuts[i] = i + 1;
    for (uint32_t i = 0; i < PART_RUNS_MAX; i++)
        runs[i] = (struct part_run){i, i};
    resync_with_gaps();
    struct part_request requests[] = {
        {.kind = PART_FENCE},
        {.kind = PART_ROLE,
         .role = PART_CATCHING_UP,
         .since = 8,
         .settled = 5,
         .runs = runs,
         .run_count = PART_RUNS_MAX},
        {.kind = PART_STATE},
        {.kind = PART_ZERO, .count = 9, .sequence = 3, .parent = true},
        {.kind = PART_MAP, .count = 20, .versions = versions},
        {.kind = PART_CHANGED, .last = 9, .since = 2, .versions = versions},
        {.kind = PART_FLUSH},
        {.kind = PART_FLUSH, .settled = 9, .runs = runs, .run_count = PART_RUNS_MAX},
        {.kind = PART_WATERMARK, .watermark = 4, .settled = 3},
        {.kind = PART_VIEWS, .cuts = cuts, .cut_count = PART_CUTS_MAX},
        {.kind = PART_VIEW_SPACE, .cuts = cuts, .cut_count = PART_CUTS_MAX, .data = data},
        {.kind = PART_RETIRE},
        {.kind = PART_RECORD,
         .key = "group/1/0",
         .data = data,
         .bytes = 5000,
         .watermark = crc32c(data, 5000)},
    };
    /* The sum of a record's data stands in its watermark: fill the data before that is taken. */
    for (unsigned i = 0; i < COUNT_OF(requests); i++) {
        if (requests[i].kind == PART_RECORD)
            requests[i].watermark = crc32c(data, requests[i].bytes);
        ask(&requests[i]);
    }
    struct part_request records = {
        .kind = PART_RECORDS, .key = "group/1/0", .count = PART_BLOCKS_MAX, .data = data};
    ask(&records);
    cr_expect_eq(records.bytes, mirror_list_bytes(records.count, mirror_sum(&records)));
    cr_expect_eq(peer_port_counts(port).breaks, 0);
}

Test(peer_real, everything_over_a_unix_socket)
{
    char where[80];
    (void)mkdir("out", 0777);
    (void)snprintf(path, sizeof path, "out/peer-%d", (int)getpid());
    (void)snprintf(where, sizeof where, "unix:%s", path);
    meet(where);
    everything();
    part_company();
}

Test(peer_real, everything_over_tcp)
{
    meet("127.0.0.1:0");
    everything();
    part_company();
}

Test(peer_real, everything_over_tls)
{
    char directory[] = "/tmp/iomesh-peer-XXXXXX", line[512];
    cr_assert_not_null(mkdtemp(directory));
    (void)snprintf(line, sizeof line,
                   "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
                   "-days 2 -subj /CN=all -keyout server-key.pem -out server-cert.pem 2>/dev/null "
                   "&& cp server-cert.pem ca-cert.pem",
                   directory);
    cr_assert_eq(system(line), 0); /* NOLINT(cert-env33-c) */
    struct tls_options options = {
        .below = uring_net(ring), .clock = uring_clock(ring), .directory = directory};
    cr_assert_eq(tls_net_open(&options, &sealed), 0, "%s", base_last_error());
    meet("127.0.0.1:0");
    everything();
    part_company();
    tls_net_close(sealed);
    (void)snprintf(line, sizeof line, "rm -r %s", directory);
    cr_expect_eq(system(line), 0); /* NOLINT(cert-env33-c) */
}

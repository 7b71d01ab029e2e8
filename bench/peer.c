/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the wire costs: requests from one process to another, through a peer port, a peer server and
 * a store that does nothing; and messages of the same sizes over the same streams, without them.
 *
 *   bench-peer SECONDS_EACH
 *
 * A line for each: socket, work, depth, requests a second, microseconds (mean of a request), and
 * processor time of both processes for one.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer/peer.h"
#include "sim/null_port.h"
#include "uring/uring.h"

#define DEPTH_MAX 32u
#define HEADER_BYTES 112u

static struct uring *ring;
static uint64_t seconds_ns = NS_PER_S;

static void must(int result, const char *what)
{
    if (result == 0)
        return;
    (void)fprintf(stderr, "%s: %s %s\n", what, base_error_text(result), base_last_error());
    exit(1);
}

static void turn(void)
{
    unsigned count = uring_collect(ring) + clock_run(uring_clock(ring));
    must(count > 0 ? uring_submit(ring) : uring_wait(ring, clock_deadline_ns(uring_clock(ring))),
         "turn");
}

static void ring_open(void)
{
    struct uring_options options = {.buffer_bytes = 64u << 20};
    must(uring_open(&options, &ring), "ring");
}

static uint64_t now_ns(void)
{
    return clock_now_ns(uring_clock(ring));
}

static uint64_t cpu_ns(int who)
{
    struct rusage usage;
    (void)getrusage(who, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NS_PER_S +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000;
}

/* --- A store that does nothing ------------------------------------------------------------- */

static void *take(struct peer_buffers *buffers, uint64_t bytes)
{
    (void)buffers;
    return uring_buffer_get(ring, bytes);
}

static void give(struct peer_buffers *buffers, void *memory)
{
    (void)buffers;
    uring_buffer_put(ring, memory);
}

static void serve(const char *address)
{
    static struct null_port null;
    static struct peer_buffers buffers = {.get = take, .put = give};
    struct peer_server *server;
    ring_open();
    null_port_open(&null, uring_clock(ring), false);
    struct peer_server_options options = {
        .net = uring_net(ring), .clock = uring_clock(ring), .buffers = &buffers};
    must(peer_server_open(&options, &server), "server");
    must(peer_server_add(server, 1, 1, &null.port), "store");
    must(peer_server_listen(server, address, NULL), "listen");
    for (;;)
        turn();
}

/* --- Messages and nothing else ------------------------------------------------------------- */

static struct net_stream *bare;
static uint32_t ask_bytes, answer_bytes;
static uint8_t *bare_data;
static struct iomesh_send bare_sends[DEPTH_MAX];
static struct iovec bare_parts[DEPTH_MAX];
static uint32_t bare_next;

static void bare_came(void *context, int result);

static void bare_sent(void *context, int result)
{
    (void)context;
    (void)result;
}

static void bare_send(uint32_t bytes)
{
    uint32_t index = bare_next++ % DEPTH_MAX;
    bare_parts[index] = (struct iovec){bare_data, bytes};
    bare_sends[index] =
        (struct iomesh_send){.parts = &bare_parts[index], .part_count = 1, .done = bare_sent};
    must(net_send(bare, &bare_sends[index]), "send");
}

/* The header as frames are read, and the rest to where it would be written from. */
static void bare_read(bool *in_data, uint32_t whole, void (*each)(void))
{
    const void *data;
    for (;;) {
        uint32_t wanted = *in_data ? whole - HEADER_BYTES : HEADER_BYTES;
        uint32_t held = net_peek(bare, &data);
        if (held < wanted && *in_data && wanted > 4096) {
            must(net_receive(bare, bare_data + 65536, wanted, bare_came, NULL), "receive");
            return;
        }
        if (held < wanted) {
            must(net_fill(bare, wanted, bare_came, NULL), "fill");
            return;
        }
        if (*in_data)
            memcpy(bare_data + 65536, data, wanted);
        net_consume(bare, wanted);
        *in_data = !*in_data && whole > HEADER_BYTES;
        if (!*in_data)
            each();
    }
}

static bool bare_is_server, bare_in_data;
static uint64_t bare_answers;

static void bare_each(void)
{
    bare_answers++;
    bare_send(bare_is_server ? answer_bytes : ask_bytes);
}

static void bare_came(void *context, int result)
{
    (void)context;
    if (result != 0)
        exit(0);
    uint32_t whole = bare_is_server ? ask_bytes : answer_bytes;
    if (bare_in_data && whole - HEADER_BYTES > 4096) {
        const void *data;
        (void)data;
        bare_in_data = false;
        bare_each();
    }
    bare_read(&bare_in_data, whole, bare_each);
}

static void bare_streamed(void *context, int result, struct net_stream *stream)
{
    (void)context;
    must(result, "connection");
    bare = stream;
    bare_read(&bare_in_data, bare_is_server ? ask_bytes : answer_bytes, bare_each);
}

static void bare_serve(const char *address)
{
    struct net_listener *listener;
    ring_open();
    bare_is_server = true;
    must(net_listen(uring_net(ring), address, NULL, bare_streamed, NULL, &listener), "listen");
    for (;;)
        turn();
}

/* --- Who asks ------------------------------------------------------------------------------ */

struct load {
    struct part_request request;
    uint32_t crcs[PART_BLOCKS_MAX];
    uint8_t *data;
};

static struct load loads[DEPTH_MAX];
static struct peer_port *port;
static uint64_t answers, block;
static bool stopping;
static uint32_t flying;

static void load_done(struct part_request *request, int result)
{
    must(result, "request");
    answers++;
    if (stopping) {
        flying--;
        return;
    }
    request->block = block++ % 65536 * PART_BLOCKS_MAX;
    part_submit(peer_port_part(port), request);
}

static void load_start(uint32_t depth, enum part_request_kind kind, uint32_t count)
{
    for (uint32_t i = 0; i < depth; i++) {
        struct load *load = &loads[i];
        load->data = uring_buffer_get(ring, (uint64_t)count * BLOCK_BYTES);
        memset(load->data, 0, (size_t)count * BLOCK_BYTES);
        for (uint32_t at = 0; at < count; at++)
            load->crcs[at] = CRC32C_ZERO_BLOCK;
        load->request = (struct part_request){.kind = kind,
                                              .count = count,
                                              .sequence = 1,
                                              .data = load->data,
                                              .crcs = load->crcs,
                                              .done = load_done};
        part_submit(peer_port_part(port), &load->request);
        flying++;
    }
}

struct row {
    const char *socket, *work;
    uint32_t depth, count;
    enum part_request_kind kind;
};

static double tell(const struct row *row, const char *how, uint64_t count, uint64_t ns,
                   uint64_t cpu, pid_t child)
{
    (void)kill(child, SIGKILL);
    struct rusage usage;
    uint64_t before = cpu_ns(RUSAGE_CHILDREN);
    (void)waitpid(child, NULL, 0);
    (void)getrusage(RUSAGE_CHILDREN, &usage);
    uint64_t theirs = cpu_ns(RUSAGE_CHILDREN) - before;
    double rate = (double)count * 1e9 / (double)ns;
    printf("%-4s %-10s QD%-3u %-5s %9.0f/s %8.1f us %6.2f us CPU (asks %.2f, serves %.2f)\n",
           row->socket, row->work, row->depth, how, rate, (double)row->depth * 1e6 / rate,
           (double)(cpu + theirs) / 1e3 / (double)count, (double)cpu / 1e3 / (double)count,
           (double)theirs / 1e3 / (double)count);
    (void)fflush(stdout);
    return rate;
}

static void warm_and_count(uint64_t *counter, uint64_t *ret_count, uint64_t *ret_ns,
                           uint64_t *ret_cpu)
{
    uint64_t warm_ns = now_ns() + 50 * NS_PER_MS;
    while (now_ns() < warm_ns)
        turn();
    uint64_t count = *counter, begin_ns = now_ns(), cpu = cpu_ns(RUSAGE_SELF);
    while (now_ns() - begin_ns < seconds_ns)
        turn();
    *ret_count = *counter - count;
    *ret_ns = now_ns() - begin_ns;
    *ret_cpu = cpu_ns(RUSAGE_SELF) - cpu;
}

static pid_t start(void (*server)(const char *address), const char *address)
{
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        server(address);
        _exit(0);
    }
    (void)usleep(200000);
    return child;
}

static double run_peer(const struct row *row, const char *address)
{
    uint64_t count, ns, cpu;
    pid_t child = start(serve, address);
    ring_open();
    answers = 0;
    stopping = false;
    struct peer_port_options options = {
        .net = uring_net(ring), .clock = uring_clock(ring), .address = address, .store = 1};
    must(peer_port_open(&options, &port), "port");
    while (peer_port_part(port)->state != PART_PORT_UP)
        turn();
    load_start(row->depth, row->kind, row->count);
    warm_and_count(&answers, &count, &ns, &cpu);
    stopping = true;
    while (flying > 0)
        turn();
    return tell(row, "peer", count, ns, cpu, child);
}

static double run_bare(const struct row *row, const char *address)
{
    uint64_t count, ns, cpu;
    uint32_t data = row->count * BLOCK_BYTES;
    ask_bytes = HEADER_BYTES + (row->kind == PART_WRITE ? row->count * 4 + data : 0);
    answer_bytes = HEADER_BYTES + (row->kind == PART_READ ? row->count * 4 + data : 0);
    bare_data = calloc(1, 65536 + (2u << 20));
    pid_t child = start(bare_serve, address);
    struct net_attempt *attempt;
    ring_open();
    bare_is_server = false;
    bare_answers = 0;
    must(net_connect(uring_net(ring), address, NULL, bare_streamed, NULL, &attempt), "connect");
    while (bare == NULL)
        turn();
    for (uint32_t i = 0; i < row->depth; i++)
        bare_send(ask_bytes);
    warm_and_count(&bare_answers, &count, &ns, &cpu);
    return tell(row, "bare", count, ns, cpu, child);
}

/* Each in a process of its own: rings and ports are thrown away. */
static void run(const struct row *row, unsigned number)
{
    int rates[2];
    for (unsigned how = 0; how < 2; how++) {
        char address[64];
        if (strcmp(row->socket, "tcp") == 0)
            (void)snprintf(address, sizeof address, "127.0.0.1:%u", 17000 + 2 * number + how);
        else
            (void)snprintf(address, sizeof address, "unix:/tmp/bench-peer.%d", (int)getpid());
        int ways[2];
        if (pipe(ways) != 0)
            exit(1);
        (void)fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            int rate = (int)(how == 0 ? run_bare(row, address) : run_peer(row, address));
            _exit(write(ways[1], &rate, sizeof rate) == sizeof rate ? 0 : 1);
        }
        int status;
        (void)waitpid(child, &status, 0);
        if (read(ways[0], &rates[how], sizeof rates[how]) != sizeof rates[how] || status != 0)
            exit(1);
        (void)close(ways[0]);
        (void)close(ways[1]);
    }
    printf("     %-10s QD%-3u peer / bare %.2f\n", row->work, row->depth,
           (double)rates[1] / (double)rates[0]);
}

int main(int count, char **arguments)
{
    static const struct row rows[] = {
        {"unix", "write 4k", 1, 1, PART_WRITE},    {"unix", "write 4k", 32, 1, PART_WRITE},
        {"unix", "write 128k", 8, 32, PART_WRITE}, {"unix", "read 4k", 1, 1, PART_READ},
        {"unix", "read 128k", 8, 32, PART_READ},   {"tcp", "write 4k", 1, 1, PART_WRITE},
        {"tcp", "write 4k", 32, 1, PART_WRITE},    {"tcp", "write 128k", 8, 32, PART_WRITE},
        {"tcp", "read 4k", 1, 1, PART_READ},       {"tcp", "read 128k", 8, 32, PART_READ},
    };
    if (count > 1)
        seconds_ns = (uint64_t)(strtod(arguments[1], NULL) * 1e9);
    if (seconds_ns == 0) {
        (void)fprintf(stderr, "usage: bench-peer [SECONDS_EACH]\n");
        return 2;
    }
    for (unsigned i = 0; i < COUNT_OF(rows); i++)
        run(&rows[i], i);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Who coordinates, and the processes. */
#include "far.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "peer/peer.h"
#include "tls/tls.h"

struct uring *far_ring;
struct volume *far_volume;
struct copies *far_copies;
bool far_opened;
uint32_t far_transactions;

static struct far_options of;
static pid_t pids[FAR_STORES];
static char addresses[FAR_STORES][160];
static struct peer_port *ports[FAR_STORES];
static struct copies_engine *copies_engine;
static struct volume_engine *volume_engine;
static struct replica_record record;
static struct timer granted;
static uint64_t sequence = 1;
static uint64_t cpu_ended_ns;

void far_must(int result, const char *what)
{
    if (result == 0)
        return;
    (void)fprintf(stderr, "%s: %s %s\n", what, base_error_text(result), base_last_error());
    far_end();
    exit(1);
}

uint64_t far_now_ns(void)
{
    return clock_now_ns(uring_clock(far_ring));
}

/* As an engine turns (lib/engine). */
void far_turn(void)
{
    unsigned count = uring_collect(far_ring) + clock_run(uring_clock(far_ring));
    bool more = false;
    if (volume_engine != NULL) {
        volume_engine_turn(volume_engine);
        more = volume_engine_turn_needed(volume_engine);
    }
    if (copies_engine != NULL) {
        copies_engine_turn(copies_engine);
        more = more || copies_engine_turn_needed(copies_engine);
    }
    more = far_store_turn() || more;
    if (volume_engine != NULL)
        more = more || volume_engine_turn_needed(volume_engine);
    if (count > 0 || more)
        far_must(uring_submit(far_ring), "turn");
    else
        far_must(uring_wait(far_ring, MIN(clock_deadline_ns(uring_clock(far_ring)),
                                          far_now_ns() + 100 * NS_PER_MS)),
                 "turn");
}

void far_run(uint64_t ns)
{
    uint64_t end_ns = far_now_ns() + ns;
    do
        far_turn();
    while (far_now_ns() < end_ns);
}

struct net *far_sealed(const char *certificates)
{
    struct net *net;
    struct tls_options options = {
        .below = uring_net(far_ring), .clock = uring_clock(far_ring), .directory = certificates};
    far_must(tls_net_open(&options, &net), "TLS");
    return net;
}

/* --- Processes -------------------------------------------------------------------------------- */

static uint64_t cpu_of(pid_t pid)
{
    clockid_t id;
    struct timespec time;
    if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &time) != 0)
        return 0;
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

uint64_t far_cpu_ns(unsigned who)
{
    if (who == 0)
        return cpu_of(getpid());
    uint64_t sum = cpu_ended_ns;
    for (unsigned i = 0; i < FAR_STORES; i++)
        sum += pids[i] > 0 ? cpu_of(pids[i]) : 0;
    return sum;
}

static uint64_t switches_of(pid_t pid)
{
    char path[64], line[128];
    unsigned long long count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
            count = strtoull(line + 24, NULL, 10);
    if (file != NULL)
        (void)fclose(file);
    return count;
}

uint64_t far_sleeps(unsigned who)
{
    if (who == 0)
        return switches_of(getpid());
    uint64_t sum = 0;
    for (unsigned i = 0; i < FAR_STORES; i++)
        sum += pids[i] > 0 ? switches_of(pids[i]) : 0;
    return sum;
}

static void ring_open(void)
{
    /* Who serves does not spin, unless it is asked to. */
    struct uring_options options = {.buffer_bytes = 128u << 20, .spin_ns_max = 1};
    far_must(uring_open(&options, &far_ring), "ring");
}

static void process_start(unsigned store, bool format)
{
    char path[256];
    int ways[2];
    (void)snprintf(path, sizeof path, "%s/store.%u", of.directory, store);
    (void)fflush(stdout);
    if (pipe(ways) != 0)
        exit(1);
    pids[store] = fork();
    if (pids[store] == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        volume_engine = NULL;
        copies_engine = NULL;
        ring_open();
        far_store_serve(path, of.store_bytes, store, format, addresses[store], of.certificates,
                        ways[1]);
    }
    (void)close(ways[1]);
    if (format) {
        char byte;
        if (read(ways[0], &byte, 1) != 1)
            exit(1);
    }
    (void)close(ways[0]);
}

void far_start(unsigned store)
{
    process_start(store, false);
}

void far_kill(unsigned store)
{
    if (pids[store] <= 0)
        return;
    cpu_ended_ns += cpu_of(pids[store]);
    (void)kill(pids[store], SIGKILL);
    (void)waitpid(pids[store], NULL, 0);
    pids[store] = 0;
}

void far_stop(unsigned store, bool stopped)
{
    (void)kill(pids[store], stopped ? SIGSTOP : SIGCONT);
}

void far_end(void)
{
    for (unsigned i = 0; i < FAR_STORES; i++)
        far_kill(i);
}

/* --- What copies ask ---------------------------------------------------------------------- */

static struct part_port *call_port(void *context, uint64_t store)
{
    (void)context;
    return of.kind == FAR_LOCAL ? store_port(far_store) : peer_port_part(ports[store - 1]);
}

static void grant(struct timer *timer)
{
    (void)timer;
    copies_transacted(far_copies, 0, &record);
}

static void call_transact(void *context, uint32_t group, const struct replica_record *wanted)
{
    (void)context;
    (void)group;
    far_transactions++;
    record = *wanted;
    granted.fire = grant;
    clock_set_after(uring_clock(far_ring), &granted, 2 * NS_PER_MS);
}

static uint64_t call_sequence(void *context)
{
    (void)context;
    return far_volume != NULL ? volume_take_sequence(far_volume) : sequence++;
}

static uint32_t call_cuts(void *context, uint64_t *cuts)
{
    (void)context;
    (void)cuts;
    return 0;
}

static void call_opened(void *context)
{
    (void)context;
    far_opened = true;
}

static void call_ended(void *context, int result)
{
    (void)context;
    far_must(result, "the session");
}

static void port_changed(void *context, struct part_port *port)
{
    (void)context;
    if (far_copies != NULL)
        copies_port_changed(far_copies, port);
}

/* --- Beginning ---------------------------------------------------------------------------- */

static void ports_open(unsigned count)
{
    struct net *net = of.certificates != NULL ? far_sealed(of.certificates) : uring_net(far_ring);
    for (unsigned i = 0; i < count; i++) {
        struct peer_port_options options = {.net = net,
                                            .clock = uring_clock(far_ring),
                                            .address = addresses[i],
                                            .store = i + 1,
                                            .engine = 1,
                                            .seed = (uint64_t)getpid() + i};
        far_must(peer_port_open(&options, &ports[i]), "port");
        peer_port_part(ports[i])->changed = port_changed;
        while (peer_port_part(ports[i])->state != PART_PORT_UP)
            far_turn();
    }
}

static void copies_begin(unsigned count)
{
    struct copies_engine_options engine = {.clock = uring_clock(far_ring)};
    far_must(copies_engine_open(&engine, &copies_engine), "copies");
    for (unsigned i = 0; i < count; i++)
        record.members[i] = (struct replica_member){.store = i + 1, .state = REPLICA_IN_SYNC};
    record.epoch = 1;
    uint32_t segments = (uint32_t)(of.volume_bytes / BLOCK_BYTES / SEGMENT_BLOCKS);
    struct copies_group_options group = {.id = 0, .record = record};
    struct copies_run run = {.first = 0, .count = segments, .group = 0};
    struct copies_options options = {.volume = FAR_VOLUME,
                                     .epoch = 1,
                                     .bound_ns = UINT64_MAX / 2,
                                     .local_store = of.kind == FAR_LOCAL ? 1 : 0,
                                     .groups = &group,
                                     .group_count = 1,
                                     .runs = &run,
                                     .run_count = 1,
                                     .replica = {.min_copies = count > 1 ? 2 : 1},
                                     .calls = {.port = call_port,
                                               .transact = call_transact,
                                               .take_sequence = call_sequence,
                                               .cuts = call_cuts,
                                               .opened = call_opened,
                                               .ended = call_ended}};
    far_must(copies_open(copies_engine, &options, &far_copies), "volume");
    while (!far_opened)
        far_turn();
}

void far_begin(const struct far_options *options)
{
    of = *options;
    bool here = of.kind == FAR_EMBEDDED || of.kind == FAR_LOCAL;
    unsigned count = of.kind == FAR_THREE ? FAR_STORES : 1;
    for (unsigned i = 0; i < count && !here; i++) {
        if (of.tcp)
            (void)snprintf(addresses[i], sizeof addresses[i], "127.0.0.1:%u",
                           20000 + (unsigned)getpid() % 10000 + i);
        else
            (void)snprintf(addresses[i], sizeof addresses[i], "unix:%s/socket.%u", of.directory, i);
        process_start(i, true);
    }
    ring_open();
    if (here) {
        char path[256];
        (void)snprintf(path, sizeof path, "%s/store.0", of.directory);
        (void)far_store_open(path, of.store_bytes, 0, true);
    } else {
        ports_open(count);
    }
    if (of.kind != FAR_EMBEDDED)
        copies_begin(count);
    struct volume_engine_options engine = {.store = far_store};
    far_must(volume_engine_open(&engine, &volume_engine), "volumes");
    struct volume_options volume = {.copies = far_copies,
                                    .id = FAR_VOLUME,
                                    .view = VIEW_HEAD,
                                    .bytes = of.volume_bytes,
                                    .sector_bytes = BLOCK_BYTES,
                                    .epoch = 1,
                                    .sequence = sequence,
                                    .sequence_end = 1ull << 40};
    far_must(volume_open(volume_engine, &volume, &far_volume), "volume");
}

/* --- Load --------------------------------------------------------------------------------- */

struct far_io {
    struct volume_io io;
    struct far_load *load;
    void *data;
};

static struct far_io ios[FAR_DEPTH_MAX];
static struct prng offsets = {.state = 1};
static uint64_t cursor;

static void load_next(struct far_io *one);

static void load_done(struct volume_io *io, int result)
{
    struct far_io *one = CONTAINER_OF(io, struct far_io, io);
    struct far_load *load = one->load;
    uint64_t now_ns = far_now_ns();
    load->longest_ns = MAX(load->longest_ns, now_ns - load->last_ns);
    load->last_ns = now_ns;
    load->ended++;
    load->failed += result != 0;
    if (load->stops || (load->count_max != 0 && load->ended + load->flying > load->count_max))
        load->flying--;
    else
        load_next(one);
}

static void load_next(struct far_io *one)
{
    struct far_load *load = one->load;
    uint64_t count = load->span / load->bytes;
    uint64_t at = load->in_order ? cursor++ % count : prng_below(&offsets, count);
    one->io = (struct volume_io){.kind = load->kind,
                                 .offset = load->from + at * load->bytes,
                                 .length = load->bytes,
                                 .data = one->data,
                                 .done = load_done};
    volume_submit(far_volume, &one->io);
}

void far_load_start(struct far_load *load)
{
    cursor = 0;
    load->last_ns = far_now_ns();
    for (uint32_t i = 0; i < load->depth; i++) {
        struct far_io *one = &ios[i];
        if (one->data != NULL)
            uring_buffer_put(far_ring, one->data);
        one->data = uring_buffer_get(far_ring, load->bytes);
        far_must(one->data == NULL ? -ENOMEM : 0, "buffers");
        uint64_t *words = one->data;
        for (uint64_t at = 0; at < load->bytes / sizeof *words; at++)
            words[at] = prng_next(&offsets);
        one->load = load;
        load->flying++;
        load_next(one);
    }
}

void far_load_stop(struct far_load *load)
{
    load->stops = load->stops || load->count_max == 0;
    while (load->flying > 0)
        far_turn();
}

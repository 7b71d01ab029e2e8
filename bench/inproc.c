/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-inproc: the public API driven without NBD. Makes a pool, measures, prints one JSON object.
 *
 *   bench-inproc --pool URL --size BYTES --seconds S --rw KIND --depth N [--block BYTES]
 *                [--flush-every WRITES] [--fresh]
 *   bench-inproc --pool URL --size BYTES --seconds S --volumes --outstanding N [--used]
 *
 * A pool in etcd is there already. --used: each volume is opened, written to and closed as well.
 * KIND: randread, randwrite, randrw70, read, write. --fresh: the volume is not written before.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <iomesh/iomesh.h>

enum { DEPTH_MAX = 512 };

static struct options {
    const char *pool;
    uint64_t size;
    unsigned seconds;
    const char *kind;
    unsigned depth;
    uint32_t block;
    unsigned flush_every; /* Writes; 0: never. */
    int fresh, volumes, used;
} options = {.depth = 1, .block = 4096, .seconds = 5, .size = 4ull << 30};

static struct iomesh_engine *engine;
static struct iomesh_pool *pool;
static struct iomesh_volume *volume;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t cpu_ns(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000u;
}

static void fail(const char *what, int code)
{
    const char *sentence = iomesh_last_error();
    fprintf(stderr, "%s: %s (%s)\n", what, iomesh_error_text(code), sentence);
    exit(1);
}

/* --- I/O ----------------------------------------------------------------------------------- */

static struct job {
    uint32_t block;
    unsigned read_percent;
    int sequential;
    unsigned flush_every;
    uint64_t blocks; /* Of the volume. */
    uint64_t position;
    uint64_t end_ns; /* No new request from here on; 0: until everything was written once. */
    uint64_t seed;
    uint64_t writes;
    unsigned in_flight;
} job;

static struct slot {
    unsigned char *buffer;
    uint64_t start_ns;
    int read;
} slots[DEPTH_MAX];

static struct iomesh_histogram latency; /* By the library's own buckets. */

static uint64_t draw(void)
{
    job.seed ^= job.seed << 13;
    job.seed ^= job.seed >> 7;
    job.seed ^= job.seed << 17;
    return job.seed;
}

static void note_latency(uint64_t ns)
{
    uint32_t bucket = 0;
    while (ns >= iomesh_histogram_bound_ns(bucket) && bucket < IOMESH_HISTOGRAM_BUCKETS - 1)
        bucket++;
    latency.buckets[bucket]++;
    latency.count++;
    latency.sum_ns += ns;
}

static void flush_ended(void *context, int result)
{
    (void)context;
    if (result != 0)
        fail("flush", result);
    job.in_flight--;
}

static void io_next(struct slot *slot);

static void io_ended(void *context, int result)
{
    struct slot *slot = context;
    if (result != 0)
        fail("I/O", result);
    job.in_flight--;
    uint64_t now = now_ns();
    note_latency(now - slot->start_ns);
    int over = job.end_ns != 0 ? now >= job.end_ns : job.position >= job.blocks;
    if (!over)
        io_next(slot);
}

static void io_next(struct slot *slot)
{
    uint64_t index = job.sequential ? job.position++ % job.blocks : draw() % job.blocks;
    slot->read = draw() % 100 < job.read_percent;
    slot->start_ns = now_ns();
    int code;
    if (slot->read) {
        code = iomesh_read(volume, index * job.block, job.block, slot->buffer, io_ended, slot);
    } else {
        /* Something new each time, so that nothing below can take a short cut. */
        memcpy(slot->buffer, &job.seed, sizeof job.seed);
        code = iomesh_write(volume, index * job.block, job.block, slot->buffer, 0, io_ended, slot);
        job.writes++;
    }
    if (code != 0)
        fail("I/O refused", code);
    job.in_flight++;
    if (!slot->read && job.flush_every != 0 && job.writes % job.flush_every == 0) {
        code = iomesh_flush(volume, flush_ended, NULL);
        if (code != 0)
            fail("flush refused", code);
        job.in_flight++;
    }
}

static void run(unsigned depth)
{
    for (unsigned i = 0; i < depth; i++)
        io_next(&slots[i]);
    while (job.in_flight > 0) {
        int code = iomesh_wait(engine, IOMESH_NEVER);
        if (code < 0)
            fail("the ring", code);
    }
}

static void open_volume(uint32_t block, unsigned depth)
{
    int code = iomesh_volume_open_sync(pool, "bench", NULL, &volume);
    if (code != 0)
        fail("open", code);
    job = (struct job){.block = block, .seed = 88172645463325252ull};
    job.blocks = iomesh_volume_bytes(volume) / block;
    memset(&latency, 0, sizeof latency);
    for (unsigned i = 0; i < depth; i++) {
        slots[i].buffer = iomesh_buffer_get(engine, block);
        if (slots[i].buffer == NULL)
            fail("buffers", -ENOMEM);
        for (uint32_t at = 0; at + 8 <= block; at += 8) {
            uint64_t value = draw();
            memcpy(slots[i].buffer + at, &value, sizeof value);
        }
    }
}

static void close_volume(unsigned depth)
{
    for (unsigned i = 0; i < depth; i++)
        iomesh_buffer_put(engine, slots[i].buffer);
    int code = iomesh_volume_close_sync(volume);
    if (code != 0)
        fail("close", code);
}

/* Writes all of the volume once, in large pieces, and makes it durable. */
static void fill(void)
{
    enum { DEPTH = 8 };
    open_volume(1u << 20, DEPTH);
    job.sequential = 1;
    run(DEPTH);
    int code = iomesh_flush_sync(volume);
    if (code != 0)
        fail("flush", code);
    close_volume(DEPTH);
}

static const struct kind {
    const char *name;
    unsigned read_percent;
    int sequential;
} kinds[] = {{"randread", 100, 0}, {"randwrite", 0, 0}, {"randrw70", 70, 0},
             {"read", 100, 1},     {"write", 0, 1},     {NULL, 0, 0}};

static void bench_io(const struct kind *kind)
{
    struct iomesh_volume_create_options create = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    create.bytes = options.size;
    int code = iomesh_volume_create_sync(pool, "bench", &create);
    if (code != 0)
        fail("create", code);
    if (!options.fresh)
        fill();
    open_volume(options.block, options.depth);
    job.flush_every = options.flush_every;
    job.read_percent = kind->read_percent;
    job.sequential = kind->sequential;
    uint64_t start_ns = now_ns();
    uint64_t start_cpu_ns = cpu_ns();
    job.end_ns = start_ns + options.seconds * 1000000000ull;
    run(options.depth);
    double took = (double)(now_ns() - start_ns) / 1e9;
    double per_io = (double)(cpu_ns() - start_cpu_ns) / 1e3 / (double)latency.count;
    close_volume(options.depth);
    printf("{\"kind\": \"%s\", \"block\": %u, \"depth\": %u, \"seconds\": %.3f, \"count\": %llu, "
           "\"iops\": %.0f, \"bytes_per_second\": %.0f, \"mean_us\": %.1f, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f, \"cpu_us_per_io\": %.2f}\n",
           kind->name, options.block, options.depth, took, (unsigned long long)latency.count,
           (double)latency.count / took, (double)latency.count * options.block / took,
           (double)latency.sum_ns / 1e3 / (double)latency.count,
           (double)iomesh_histogram_quantile_ns(&latency, 500) / 1e3,
           (double)iomesh_histogram_quantile_ns(&latency, 990) / 1e3, per_io);
}

/* --- Volumes ------------------------------------------------------------------------------- */

static struct turnover {
    uint64_t end_ns;
    unsigned started, ended;
} turnover;

static struct cycle {
    char name[32];
    struct iomesh_volume *volume;
} cycles[DEPTH_MAX];

static unsigned char cycle_data[4096] __attribute__((aligned(4096)));

static void cycle_next(struct cycle *cycle);

static void cycle_deleted(void *context, int result)
{
    if (result != 0)
        fail("delete", result);
    turnover.ended++;
    if (now_ns() < turnover.end_ns)
        cycle_next(context);
}

static void cycle_closed(void *context, int result)
{
    struct cycle *cycle = context;
    if (result != 0)
        fail("close", result);
    int code = iomesh_volume_delete(pool, cycle->name, cycle_deleted, cycle);
    if (code != 0)
        fail("delete refused", code);
}

static void cycle_written(void *context, int result)
{
    struct cycle *cycle = context;
    if (result != 0)
        fail("write", result);
    int code = iomesh_volume_close(cycle->volume, cycle_closed, cycle);
    if (code != 0)
        fail("close refused", code);
}

static void cycle_opened(void *context, int result, struct iomesh_volume *opened)
{
    struct cycle *cycle = context;
    if (result != 0)
        fail("open", result);
    cycle->volume = opened;
    int code = iomesh_write(opened, 0, sizeof cycle_data, cycle_data, 0, cycle_written, cycle);
    if (code != 0)
        fail("write refused", code);
}

static void cycle_created(void *context, int result)
{
    struct cycle *cycle = context;
    if (result != 0)
        fail("create", result);
    if (!options.used) {
        cycle_closed(cycle, 0);
        return;
    }
    int code = iomesh_volume_open(pool, cycle->name, NULL, cycle_opened, cycle);
    if (code != 0)
        fail("open refused", code);
}

static void cycle_next(struct cycle *cycle)
{
    struct iomesh_volume_create_options create = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    create.bytes = 1ull << 30;
    snprintf(cycle->name, sizeof cycle->name, "bench-%u", turnover.started++);
    int code = iomesh_volume_create(pool, cycle->name, &create, cycle_created, cycle);
    if (code != 0)
        fail("create refused", code);
}

static uint64_t flushes(void)
{
    struct iomesh_pool_status status = {.size = sizeof status};
    iomesh_pool_status(pool, &status);
    return status.device_flushes + status.metadata_commits;
}

static void bench_volumes(void)
{
    uint64_t flushes_before = flushes();
    uint64_t start_ns = now_ns();
    turnover.end_ns = start_ns + options.seconds * 1000000000ull;
    for (unsigned i = 0; i < options.depth; i++)
        cycle_next(&cycles[i]);
    while (turnover.ended < turnover.started) {
        int code = iomesh_wait(engine, IOMESH_NEVER);
        if (code < 0)
            fail("the ring", code);
    }
    double took = (double)(now_ns() - start_ns) / 1e9;
    printf("{\"kind\": \"volumes\", \"outstanding\": %u, \"count\": %u, \"seconds\": %.3f, "
           "\"per_second\": %.0f, \"device_flushes_each\": %.2f}\n",
           options.depth, turnover.ended, took, turnover.ended / took,
           (double)(flushes() - flushes_before) / turnover.ended);
}

/* --- Beginning and end --------------------------------------------------------------------- */

static const struct kind *parse(int count, char **arguments)
{
    static const struct option known[] = {
        {"pool", required_argument, NULL, 'p'},    {"size", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'}, {"rw", required_argument, NULL, 'r'},
        {"depth", required_argument, NULL, 'd'},   {"outstanding", required_argument, NULL, 'd'},
        {"block", required_argument, NULL, 'b'},   {"flush-every", required_argument, NULL, 'f'},
        {"fresh", no_argument, NULL, 'n'},         {"volumes", no_argument, NULL, 'v'},
        {"used", no_argument, NULL, 'u'},          {NULL, 0, NULL, 0}};
    int word;
    while ((word = getopt_long(count, arguments, "", known, NULL)) != -1) {
        switch (word) {
        case 'p': options.pool = optarg; break;
        case 's': options.size = strtoull(optarg, NULL, 10); break;
        case 't': options.seconds = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'r': options.kind = optarg; break;
        case 'd': options.depth = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'b': options.block = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'f': options.flush_every = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'n': options.fresh = 1; break;
        case 'v': options.volumes = 1; break;
        case 'u': options.used = 1; break;
        default: exit(2);
        }
    }
    const struct kind *kind = kinds;
    while (kind->name != NULL && options.kind != NULL && strcmp(kind->name, options.kind) != 0)
        kind++;
    if (options.pool == NULL || options.depth == 0 || options.depth > DEPTH_MAX ||
        options.block == 0 || options.seconds == 0 || kind->name == NULL ||
        (options.kind != NULL) == options.volumes) {
        fprintf(stderr, "usage: bench-inproc --pool URL --size BYTES --seconds S "
                        "(--rw KIND --depth N | --volumes --outstanding N)\n");
        exit(2);
    }
    return kind;
}

int main(int count, char **arguments)
{
    const struct kind *kind = parse(count, arguments);
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    /* Room for the volume twice, so that free space does not run short while it is overwritten. */
    init.bytes = options.size * 2 + (512ull << 20);
    int code = 0;
    if (options.pool != NULL && strncmp(options.pool, "etcd:", 5) != 0)
        code = iomesh_pool_init(options.pool, &init);
    if (code == 0)
        code = iomesh_engine_open(NULL, &engine);
    struct iomesh_pool_options open = IOMESH_POOL_OPTIONS_INIT;
    open.flags = IOMESH_POOL_NO_SCRUB;
    if (code == 0)
        code = iomesh_pool_open_sync(engine, options.pool, &open, &pool);
    if (code != 0)
        fail(options.pool, code);
    if (options.volumes)
        bench_volumes();
    else
        bench_io(kind);
    code = iomesh_pool_close_sync(pool);
    if (code != 0)
        fail("closing the pool", code);
    return iomesh_engine_close(engine) == 0 ? 0 : 1;
}

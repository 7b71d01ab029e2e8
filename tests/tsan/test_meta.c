/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata's thread beside the engine's: what volume creation and deletion ask of it, with 50
 * outstanding and one at a time, on a real file. Prints how fast, and how many syncs it took.
 *
 *     tsan_test_meta [DIRECTORY [PAIRS]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "format/metadata.h"
#include "meta/sqlite/sqlite.h"

#define OUTSTANDING_MAX 50u

static struct meta *meta;
static int bell;
static unsigned pairs, begun, ended;

static void must(bool truth, const char *what)
{
    if (!truth) {
        printf("failed: %s: %s\n", what, base_last_error());
        exit(1);
    }
}

static uint64_t now_ns(struct clock *clock)
{
    struct timespec now;
    (void)clock;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static const struct clock_ops clock_ops = {.now_ns = now_ns, .wall_ns = now_ns};
static struct clock real_clock = {.ops = &clock_ops};

static void ring(void *context)
{
    uint64_t one = 1;
    (void)context;
    must(write(bell, &one, sizeof one) == (ssize_t)sizeof one, "ring");
}

/* Creates a volume, then deletes it. */
struct pair {
    struct meta_request request;
    uint64_t id;
    bool deleting;
};

static void pair_begin(struct pair *pair);

static void put_record(struct meta_request *request, struct metadata_key key,
                       struct metadata_bytes *value)
{
    meta_put(request, META_SLICE(key), META_SLICE(*value), 0);
    metadata_bytes_done(value);
}

static void build_create(struct meta_request *request, uint64_t id, const char *name)
{
    struct metadata_key key = metadata_name_key(name, strlen(name));
    struct metadata_volume volume = {.id = id, .bytes = 1 << 30, .sector_bytes = 4096};
    struct metadata_name record = {.volume = id};
    struct metadata_group group = {.volume = id, .member_count = 1, .members = {{.store = 1}}};
    static struct metadata_map map = {.segment_count = 4};
    struct metadata_bytes value;
    (void)snprintf(volume.name, sizeof volume.name, "%s", name);
    map.volume = id;
    meta_request_reset(request);
    meta_if_absent(request, META_SLICE(key));
    must(metadata_name_encode(&record, &value) == 0, "encode");
    put_record(request, key, &value);
    must(metadata_volume_encode(&volume, &value) == 0, "encode");
    put_record(request, metadata_volume_key(id), &value);
    must(metadata_group_encode(&group, &value) == 0, "encode");
    put_record(request, metadata_group_key(id, 0), &value);
    must(metadata_map_encode(&map, &value) == 0, "encode");
    put_record(request, metadata_map_key(id, 0), &value);
}

static void build_delete(struct meta_request *request, uint64_t id, const char *name)
{
    struct metadata_key key = metadata_name_key(name, strlen(name));
    struct metadata_key volume = metadata_volume_key(id);
    struct metadata_key groups = metadata_volume_prefix(METADATA_GROUP, id);
    struct metadata_key maps = metadata_volume_prefix(METADATA_MAP, id);
    meta_request_reset(request);
    meta_if_present(request, META_SLICE(key));
    meta_delete(request, META_SLICE(key));
    meta_delete(request, META_SLICE(volume));
    meta_delete_prefix(request, META_SLICE(groups));
    meta_delete_prefix(request, META_SLICE(maps));
}

static void on_done(struct meta_request *request, int result)
{
    struct pair *pair = CONTAINER_OF(request, struct pair, request);
    must(result == 0 && request->succeeded, "a transaction");
    if (!pair->deleting) {
        char name[32];
        (void)snprintf(name, sizeof name, "volume-%llu", (unsigned long long)pair->id);
        pair->deleting = true;
        build_delete(request, pair->id, name);
        must(meta_commit(meta, request, on_done) == 0, "commit");
    } else {
        ended++;
        pair_begin(pair);
    }
}

static void pair_begin(struct pair *pair)
{
    char name[32];
    if (begun == pairs)
        return;
    pair->id = ++begun;
    pair->deleting = false;
    (void)snprintf(name, sizeof name, "volume-%llu", (unsigned long long)pair->id);
    build_create(&pair->request, pair->id, name);
    must(meta_commit(meta, &pair->request, on_done) == 0, "commit");
}

static void run(const char *path, unsigned outstanding, unsigned count)
{
    static struct pair all[OUTSTANDING_MAX];
    struct meta_sqlite_options options = {
        .path = path,
        .create = true,
        .threaded = true,
        .clock = &real_clock,
        .wakeup = ring,
    };
    uint64_t opening = now_ns(NULL);
    must(meta_sqlite_open(&options, &meta) == 0, "open");
    uint64_t start = now_ns(NULL);
    pairs = count;
    begun = ended = 0;
    for (unsigned i = 0; i < outstanding; i++)
        pair_begin(&all[i]);
    while (ended < pairs) {
        uint64_t rings;
        must(read(bell, &rings, sizeof rings) == (ssize_t)sizeof rings, "bell");
        meta_poll(meta);
    }
    uint64_t took = now_ns(NULL) - start;
    struct meta_sqlite_counts counts = meta_sqlite_counts(meta);
    for (unsigned i = 0; i < outstanding; i++)
        meta_request_done(&all[i].request);
    meta_close(meta);
    printf("%2u outstanding: %u pairs in %llu ms, %llu a second, %llu syncs (open: %llu us)\n",
           outstanding, pairs, (unsigned long long)(took / NS_PER_MS),
           (unsigned long long)(pairs * NS_PER_S / MAX(took, 1)),
           (unsigned long long)counts.commits, (unsigned long long)((start - opening) / 1000));
    must(counts.requests == 2ull * count, "each happened once");
    must(outstanding == 1 ? counts.commits == 2ull * count : counts.commits < count, "commits");
}

int main(int count, char **arguments)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/meta-XXXXXX", count > 1 ? arguments[1] : "/tmp");
    unsigned total = count > 2 ? (unsigned)strtoul(arguments[2], NULL, 10) : 500;
    int fd = mkstemp(path);
    must(fd >= 0, "a file");
    close(fd);
    bell = eventfd(0, EFD_CLOEXEC);
    run(path, OUTSTANDING_MAX, total);
    run(path, 1, total / 5);
    unlink(path);
    return 0;
}

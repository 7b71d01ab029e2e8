/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/api/cluster_rig.h"

#include <criterion/hooks.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/engine.h"
#include "format/metadata.h"
#include "meta/etcd/etcd.h"
#include "meta/etcd_server.h"
#include "peer/peer.h"
#include "store/store.h"

#define PORT_NAME "IOMESH_TEST_API_ETCD_PORT"
#define STORE_BYTES (128 * MIB)

struct rig rig;
static struct etcd_server server;

/* Each test is a process of its own: this one is that of none. */
ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    char port[16];
    (void)tests;
    if (!etcd_server_start(&server, 1, false))
        exit(1);
    (void)snprintf(port, sizeof port, "%u", server.ports[0]);
    setenv(PORT_NAME, port, 1);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    (void)stats;
    etcd_server_stop(&server);
}

/* --- Stores --------------------------------------------------------------------------------- */

struct rig_store {
    struct engine_hook hook;
    struct peer_buffers buffers;
    struct disk *disk;
    struct store *store;
    struct peer_server *server;
    bool waiting;
    int ended;
};

static struct clock *rig_clock(void)
{
    return rig.engine->world.clock;
}

static void turn_until(const bool *waiting)
{
    uint64_t until_ns = clock_now_ns(rig_clock()) + 20 * NS_PER_S;
    while (*waiting) {
        cr_assert_lt(clock_now_ns(rig_clock()), until_ns, "it does not end");
        cr_assert_geq(iomesh_wait(rig.engine, 10 * NS_PER_MS), 0);
    }
}

static void *take(struct peer_buffers *buffers, uint64_t bytes)
{
    (void)buffers;
    return uring_buffer_get(rig.engine->uring, bytes);
}

static void give(struct peer_buffers *buffers, void *memory)
{
    (void)buffers;
    uring_buffer_put(rig.engine->uring, memory);
}

static unsigned store_hook(struct engine_hook *hook)
{
    struct rig_store *of = CONTAINER_OF(hook, struct rig_store, hook);
    if (of->store == NULL)
        return 0;
    store_turn(of->store);
    return of->store != NULL && (of->waiting || store_turn_needed(of->store)) ? 1 : 0;
}

static void store_ended(void *context, int result)
{
    struct rig_store *of = context;
    of->waiting = false;
    of->ended = result;
}

/* And the store is not there any more. */
static void store_gone(void *context, int result)
{
    struct rig_store *of = context;
    of->store = NULL;
    store_ended(context, result);
}

static void server_ended(void *context)
{
    store_ended(context, 0);
}

static struct store_options options_of(const struct rig_store *of)
{
    return (struct store_options){
        .clock = rig_clock(),
        .device_count = 1,
        .devices[0] = {.disk = of->disk},
        .cache_bytes = 4 * MIB,
        .boot_id = {1},
    };
}

static void store_wait(struct rig_store *of, int accepted)
{
    cr_assert_eq(accepted, 0, "%s", base_last_error());
    turn_until(&of->waiting);
    cr_assert_eq(of->ended, 0, "%s", base_last_error());
}

static void store_make(unsigned number)
{
    struct rig_store *of = calloc(1, sizeof *of);
    char path[128];
    uint8_t uuid[16] = {(uint8_t)number};
    rig.stores[number - 1] = of;
    (void)snprintf(path, sizeof path, "%s/store-%u", rig.directory, number);
    OK(uring_disk_open(rig.engine->uring, path, STORE_BYTES, URING_DISK_CREATE, &of->disk));
    of->buffers = (struct peer_buffers){.get = take, .put = give};
    of->hook.turn = store_hook;
    engine_hook_add(rig.engine->engine, &of->hook);
    struct store_options options = options_of(of);
    of->waiting = true;
    store_wait(of, store_format(&options, uuid, false, &of->store, store_gone, of));
}

static void committed(struct meta_request *request, int result)
{
    cr_assert_eq(result, 0);
    request->lease = 0;
}

static void commit(struct meta_request *request)
{
    OK(meta_commit(rig.meta, request, committed));
    while (request->flying) {
        cr_assert_geq(iomesh_wait(rig.engine, 10 * NS_PER_MS), 0);
        (void)meta_poll(rig.meta);
    }
    meta_request_done(request);
}

static void record_put(unsigned number, uint64_t incarnation, const char *address)
{
    struct metadata_store record = {
        .id = number, .uuid = {(uint8_t)number}, .bytes = STORE_BYTES, .incarnation = incarnation};
    (void)snprintf(record.node, sizeof record.node, "n%u", number);
    (void)snprintf(record.address, sizeof record.address, "%s", address);
    struct metadata_key key = metadata_store_key(number);
    struct metadata_bytes value = {0};
    struct meta_request request = {0};
    OK(metadata_store_encode(&record, &value));
    meta_put(&request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    commit(&request);
}

static void pool_uuid(uint8_t ret_uuid[16])
{
    struct metadata_key key = metadata_cluster_key();
    struct meta_request request = {0};
    struct metadata_cluster record;
    meta_get(&request, META_SLICE(key));
    OK(meta_commit(rig.meta, &request, committed));
    while (request.flying) {
        cr_assert_geq(iomesh_wait(rig.engine, 10 * NS_PER_MS), 0);
        (void)meta_poll(rig.meta);
    }
    const struct meta_entry *entry = &request.responses[0].entries[0];
    OK(metadata_cluster_decode(entry->value.data, entry->value.length, &record));
    memcpy(ret_uuid, record.uuid, sizeof record.uuid);
    metadata_cluster_done(&record);
    meta_request_done(&request);
}

void rig_serve(unsigned number)
{
    struct rig_store *of = rig.stores[number - 1];
    struct store_options options = options_of(of);
    struct peer_server_options serving = {.net = uring_net(rig.engine->uring),
                                          .clock = rig_clock(),
                                          .buffers = &of->buffers,
                                          .seed = number};
    const char *address;
    char wanted[128];
    of->waiting = true;
    store_wait(of, store_open(&options, &of->store, store_ended, of));
    pool_uuid(serving.pool);
    OK(peer_server_open(&serving, &of->server));
    uint64_t incarnation = store_incarnation(of->store);
    OK(peer_server_add(of->server, number, incarnation, store_port(of->store)));
    (void)snprintf(wanted, sizeof wanted, "unix:%s/store-%u.%llu", rig.directory, number,
                   (unsigned long long)incarnation);
    OK(peer_server_listen(of->server, wanted, &address));
    record_put(number, incarnation, address);
}

void rig_stop(unsigned number)
{
    struct rig_store *of = rig.stores[number - 1];
    if (of->server == NULL)
        return;
    of->waiting = true;
    peer_server_close(of->server, server_ended, of);
    store_wait(of, 0);
    of->server = NULL;
    of->waiting = true;
    store_close(of->store, store_gone, of);
    store_wait(of, 0);
}

/* --- Beginning, ending ---------------------------------------------------------------------- */

static void meta_wakeup(void *context)
{
    (void)context;
    uring_wake(rig.engine->uring);
}

void rig_begin(void)
{
    struct iomesh_engine_options options = IOMESH_ENGINE_OPTIONS_INIT;
    const char *port = getenv(PORT_NAME);
    (void)mkdir("out", 0777);
    (void)snprintf(rig.directory, sizeof rig.directory, "out/api-XXXXXX");
    cr_assert_not_null(mkdtemp(rig.directory));
    cr_assert_not_null(port);
    (void)snprintf(rig.url, sizeof rig.url, "etcd://127.0.0.1:%s/api-%d", port, (int)getpid());
    OK(iomesh_pool_init(rig.url, NULL));
    options.buffer_bytes = 16 * MIB;
    OK(iomesh_engine_open(&options, &rig.engine));
    struct meta_etcd_options meta = {.url = rig.url, .wakeup = meta_wakeup};
    OK(meta_etcd_open(&meta, &rig.meta));
}

void rig_begin_served(void)
{
    rig_begin();
    for (unsigned i = 1; i <= RIG_STORES; i++) {
        store_make(i);
        rig_serve(i);
    }
}

static int remove_one(const char *path, const struct stat *what, int kind, struct FTW *at)
{
    (void)what;
    (void)kind;
    (void)at;
    return remove(path);
}

void rig_end(void)
{
    for (unsigned i = 1; i <= RIG_STORES; i++) {
        struct rig_store *of = rig.stores[i - 1];
        if (of == NULL)
            continue;
        rig_stop(i);
        engine_hook_remove(rig.engine->engine, &of->hook);
        uring_disk_close(of->disk);
        free(of);
    }
    meta_close(rig.meta);
    for (unsigned turns = 0; uring_open_count(rig.engine->uring) > 0 && turns < 1000; turns++)
        (void)iomesh_wait(rig.engine, NS_PER_MS);
    OK(iomesh_engine_close(rig.engine));
    cr_assert_eq(nftw(rig.directory, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* --- Pools ---------------------------------------------------------------------------------- */

struct iomesh_pool *rig_pool(const char *node, const char *address)
{
    struct iomesh_pool_options options = IOMESH_POOL_OPTIONS_INIT;
    struct iomesh_pool *pool = NULL;
    options.requests_max = 64;
    options.node = node;
    options.address = address;
    OK(iomesh_pool_open_sync(rig.engine, rig.url, &options, &pool));
    return pool;
}

struct iomesh_engine *rig_engine(void)
{
    struct iomesh_engine_options options = IOMESH_ENGINE_OPTIONS_INIT;
    struct iomesh_engine *engine = NULL;
    options.buffer_bytes = 4 * MIB;
    OK(iomesh_engine_open(&options, &engine));
    return engine;
}

void rig_volume(struct iomesh_pool *pool, const char *name, uint64_t bytes)
{
    struct iomesh_volume_create_options options = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    options.bytes = bytes;
    OK(iomesh_volume_create_sync(pool, name, &options));
}

struct iomesh_volume *rig_open(struct iomesh_pool *pool, const char *name)
{
    struct iomesh_volume *volume = NULL;
    OK(iomesh_volume_open_sync(pool, name, NULL, &volume));
    return volume;
}

void rig_pass(uint64_t ms)
{
    uint64_t until_ns = clock_now_ns(rig_clock()) + ms * NS_PER_MS;
    while (clock_now_ns(rig_clock()) < until_ns)
        cr_assert_geq(iomesh_wait(rig.engine, NS_PER_MS), 0);
}

uint64_t rig_now_ms(void)
{
    return clock_now_ns(rig_clock()) / NS_PER_MS;
}

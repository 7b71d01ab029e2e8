/* SPDX-License-Identifier: Apache-2.0 */
/* An open pool, its volumes and requests, for the files of this room only. */
#ifndef API_POOL_H
#define API_POOL_H

#include "api/engine.h"
#include "api/place.h"
#include "meta/meta.h"
#include "store/store.h"
#include "volume/catalog.h"
#include "volume/volume.h"

#define POOL_SCRUB_RATE (16ull << 20) /* Bytes a second, unless the program says. */

/* A volume that is open, by however many handles. */
struct api_volume {
    struct list node; /* In pool->volumes. */
    struct iomesh_engine *engine;
    struct iomesh_pool *pool;
    struct volume *volume;
    /* Of another process's pool, which is NULL here as the volume is. */
    uint64_t bytes;
    uint32_t sector_bytes;
    uint32_t handle_count;
    struct iomesh_volume_stats stats;
};

struct control_volume;

/* A handle. */
struct iomesh_volume {
    struct api_volume *shared;
    struct catalog_handle *handle; /* One of these two. */
    struct control_volume *remote; /* On a volume of another process. */
    const char *name;
    bool read_only;
    bool import; /* iomesh_import_end() has not ended. */
    uint32_t in_flight;
};

/* One request of a program, from the pool's table: nothing is allocated for it. */
struct api_request {
    struct list node; /* Among the free ones. */
    struct volume_io io;
    struct iomesh_volume *volume;
    iomesh_done_fn *done;
    iomesh_extents_fn *extents_done;
    void *context;
    uint64_t start_ns;
};

struct api_requests {
    struct api_request *table;
    uint32_t count, in_flight;
    struct list free;
};
int api_requests_open(struct api_requests *requests, uint32_t count);
void api_requests_close(struct api_requests *requests);

/*
 * A pool's life.
 *
 *   CLAIM ──▶ LOOK ──▶ STORE ──▶ CATALOG ──▶ OPEN        (of a cluster: LOOK ──▶ CATALOG)
 *     │         │        │          │           │
 *     │         │        │          │     CLOSE_CONTROL ──▶ CLOSE_CATALOG ──▶ CLOSE_STORE ──▶ gone
 *     │         │        │          │                            ▲                ▲
 *     └─────────┴────────┴──────────┴── failed ──────────────────┴────────────────┘
 */
enum pool_state {
    POOL_CLAIM,   /* Devices and metadata are opened; retried while a killed owner's drain. */
    POOL_LOOK,    /* The metadata says what the pool is. */
    POOL_STORE,   /* The store opens and recovers. */
    POOL_CATALOG, /* The catalog opens. */
    POOL_OPEN,
    POOL_CLOSE_CONTROL, /* The control socket: what was asked for there ends first. */
    POOL_CLOSE_CATALOG,
    POOL_CLOSE_STORE,
    POOL_CLOSE_REST,
};

struct cluster;

struct iomesh_pool {
    struct iomesh_engine *engine;
    struct clock *clock;
    struct engine_hook hook;
    enum pool_state state;
    char *url;
    struct place place;
    struct iomesh_pool_options options;

    struct disk *disks[DEVICES_MAX];
    unsigned disk_count; /* Open ones. */
    struct meta *meta;
    struct store *store;
    struct volume_engine *volume_engine;
    struct catalog *catalog;
    struct cluster *cluster;      /* NULL: an embedded pool. */
    struct pool_control *control; /* NULL: not served. */
    struct api_requests requests;
    struct list volumes; /* struct api_volume */
    uint64_t opened_ns;
    uint64_t scrub_rate; /* Bytes a second; 0: no scrub begins by itself. */
    uint8_t uuid[16];
    uint64_t claim_until_ns;
    struct timer claim_retry;
    struct timer slow; /* Opening takes long: whoever waits hears for what. */
    uint64_t began_ns;
    uint32_t operations; /* Asked of the catalog and not told yet. */
    uint32_t openings;   /* Of these: they end when the pool is closed. */
    uint32_t handles;    /* On volumes. */
    uint32_t nodes;      /* Open on it: 0 or 1. */
    bool full;           /* Was told, and not yet that there is room again. */
    uint64_t full_ns;    /* When a request was last refused for it. */

    iomesh_pool_opened_fn *opened;
    iomesh_done_fn *closed;
    void *context;
    int result;         /* The first thing that went wrong while opening or closing. */
    char sentence[400]; /* Its sentence. */
};

/* Notes what went wrong first, with its sentence. */
void pool_note(struct iomesh_pool *pool, int result);
/* Ends an opening that failed, or a pool that shall close: everything there is, top down. */
void pool_shut(struct iomesh_pool *pool);

/* Of trace.c: what the parts below have to say, and what a program wants to hear of once. */
void pool_store_event(void *context, const struct store_event *event);
void pool_catalog_event(void *context, const struct catalog_event *event);
void pool_tell_open(struct iomesh_pool *pool);
/* It is not open yet: what it waits for. */
void pool_tell_slow(struct iomesh_pool *pool);
/* A request found no space. */
void pool_tell_full(struct iomesh_pool *pool);
/* Once per turn: is there room again? */
void pool_watch_space(struct iomesh_pool *pool);

/* Of io.c: one request that ended, in the numbers of its volume. */
void api_io_count(struct iomesh_volume_stats *stats, const struct volume_io *io, int result,
                  uint64_t took_ns);

/* Of status.c: what a store says of itself, in those fields. */
void api_store_status(struct store *store, struct iomesh_pool_status *status);

/* Of histogram.c. */
void api_histogram_add(struct iomesh_histogram *histogram, uint64_t ns);

/* --- sync.c -------------------------------------------------------------------------------- */

/* For a call that opens a volume. */
struct api_volume_waiter {
    struct api_waiter waiter;
    struct iomesh_volume *volume;
};
void api_volume_waiter_opened(void *context, int result, struct iomesh_volume *volume);
/* Waits; the volume if the result is 0. */
int api_volume_waiter_end(struct iomesh_engine *engine, struct api_volume_waiter *waiter,
                          int accepted, struct iomesh_volume **ret_volume);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serving stores to a cluster: what iomeshd is made of.
 *
 * Promised for a minor version only. A *node* stands on a cluster's pool that is open. It listens,
 * serves stores of the pool to whoever has volumes on them, and keeps their records in the metadata
 * true: where they are, how often they were opened, how full they are.
 *
 * A store is a directory, as that of an embedded pool without its metadata (DIR/store, or links
 * DIR/device.NN.CLASS), or a device. One that cannot be had does not stop the others.
 *
 * What a node is called, and where others find it, are `node` and `address` of the options that its
 * pool was opened with: the address is that of one of its listeners, as others see it.
 */
#ifndef IOMESH_SYS_SERVE_H
#define IOMESH_SYS_SERVE_H

#include <stdint.h>

#include <iomesh/engine.h>
#include <iomesh/pool.h>
#include <iomesh/stat.h>
#include <iomesh/version.h>

struct iomesh_node;
struct iomesh_node_store;

/* --- Making stores ------------------------------------------------------------------------- */

struct iomesh_store_add_options {
    uint32_t size;
    uint32_t flags;        /* IOMESH_POOL_OVERWRITE: take devices that hold something already. */
    const char *path;      /* A directory, made if it is not there; or a device. */
    uint64_t bytes;        /* Of DIR/store; 0: 16 GiB, thin; of a device: all there is. */
    uint32_t device_class; /* IOMESH_CLASS_… of that. */
    uint32_t device_count; /* Not 0: the store is on these, DIR has links to them. */
    const struct iomesh_device *devices; /* Borrowed for the call. */
    uint64_t journal_bytes;              /* 0: by the size of the store. */
    iomesh_progress_fn *progress;        /* As in iomesh_pool_init_options. NULL is fine. */
    void *progress_context;
};

#define IOMESH_STORE_ADD_OPTIONS_INIT                                                \
    {                                                                                \
        (uint32_t)sizeof(struct iomesh_store_add_options), 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/* store: its number in the pool, if result is 0. */
typedef void iomesh_store_added_fn(void *context, int result, uint64_t store);

/**
 * Make a store of a cluster's pool, and its record in the metadata. It belongs to the node that the
 * pool was opened with, and is served by whoever opens it (iomesh_node_store()).
 *
 * @added  runs exactly once if 0 is returned, never otherwise
 *
 * Returns 0 once accepted, or -EINVAL, -ENOTSUP (an embedded pool), -ENOMEM; and @added may see,
 * with nothing left behind,
 *   -EEXIST        there is a store, or a device holds something and OVERWRITE is not given: the
 *                  sentence names it
 *   IOMESH_IN_USE  another process holds a device
 *   -ENOSPC, -EACCES, -ENOTSUP (no direct I/O there), -ETIMEDOUT (the metadata), …
 *
 * Thread: the engine's. Blocks: for opening files, and looking what they hold. Allocates: yes.
 * Since: 0.3.
 */
IOMESH_API int iomesh_store_add(struct iomesh_pool *pool,
                                const struct iomesh_store_add_options *options,
                                iomesh_store_added_fn *added, void *context);
/** The same, waiting. -EDEADLK inside a callback. Thread: the engine's. Blocks: for seconds.
 * Since: 0.3. */
IOMESH_API int iomesh_store_add_sync(struct iomesh_pool *pool,
                                     const struct iomesh_store_add_options *options,
                                     uint64_t *ret_store);

/* --- Nodes --------------------------------------------------------------------------------- */

#define IOMESH_NODE_LISTENERS_MAX 16u

#define IOMESH_NODE_NO_KEEPER 1u /* This process never takes care of the pool as a whole. */
#define IOMESH_NODE_NO_SCRUB 2u  /* No scrub of a store begins by itself. */
#define IOMESH_NODE_DISCARD 4u   /* Give freed space back to the file system or device. */

struct iomesh_node_options {
    uint32_t size;
    uint32_t flags;             /* IOMESH_NODE_… above. */
    const char *const *listen;  /* Addresses as for iomesh_listen(); borrowed for the call. */
    uint32_t listen_count;      /* 1 .. IOMESH_NODE_LISTENERS_MAX */
    uint32_t connections_max;   /* Each of one process to one store, 1 .. 65536; 0: 1024. */
    const char *boot_id;        /* A UUID, another with each boot of the machine. NULL: what the
                                * kernel says. */
    uint64_t cache_bytes;       /* Page cache of each store; 0: 64 MiB. */
    uint64_t scrub_rate;        /* Of each store: bytes a second, at most; 0: 16 MiB. */
    uint64_t scrub_interval_ns; /* From the end of a scrub to the next; 0: a week. */
    uint64_t claim_wait_ns;     /* How long a killed owner's devices are waited for; 0: 10 s. */
};

#define IOMESH_NODE_OPTIONS_INIT                                                \
    {                                                                           \
        (uint32_t)sizeof(struct iomesh_node_options), 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/**
 * Listen, and be a node of the pool: one at most of each open pool.
 *
 * @ret_node  yours until iomesh_node_close(), which comes before that of the pool
 *
 * Returns 0, or -EINVAL, -ENOTSUP (an embedded pool), -EBUSY (there is one), -EADDRINUSE, -EACCES,
 * -ENOMEM, … with a sentence.
 *
 * Thread: the engine's. Blocks: for resolving names. Allocates: yes. Since: 0.3.
 */
IOMESH_API int iomesh_node_open(struct iomesh_pool *pool, const struct iomesh_node_options *options,
                                struct iomesh_node **ret_node);

/** The address of a listener, with the port that was found; NULL: there are not so many. Valid
 * until the node is closed. Thread: the engine's. Blocks: never. Since: 0.3. */
IOMESH_API const char *iomesh_node_address(const struct iomesh_node *node, uint32_t index);

struct iomesh_node_store_options {
    uint32_t size;
    uint32_t device_class; /* IOMESH_CLASS_… of what is made. */
    const char *path;      /* A directory or a device; copied. */
    uint64_t bytes;        /* Of what is made: as in iomesh_store_add_options. */
};

#define IOMESH_NODE_STORE_OPTIONS_INIT                              \
    {                                                               \
        (uint32_t)sizeof(struct iomesh_node_store_options), 0, 0, 0 \
    }

/* How a store of a node goes on. iomesh_last_error() has a sentence if `result` is not 0. */
typedef void iomesh_node_store_fn(void *context, int result);

/**
 * Serve a store. What is not there, or empty, is made into one (a device as by iomesh_store_add()
 * without OVERWRITE), unless this node had a store there: that is -ENOENT.
 *
 * @served   runs once: 0, it is served; or why not, and the handle is dead:
 *             -ENOENT         nothing is there, or it was removed from the pool
 *             IOMESH_IN_USE   another process has its devices, or serves a copy of it
 *             -EEXIST         this node serves a store with the same id already
 *             IOMESH_CORRUPT  an old image of it was put back; damage
 *             -EXDEV          it is of another pool
 *             -ETIMEDOUT, -EIO, IOMESH_FORMAT, … or -ECANCELED: the node is being closed
 * @stopped  runs at most once after served(0): it is not served any more, and the handle is dead.
 *             0: iomesh_node_store_stop(), or the node was closed; -ENOENT: its record was removed;
 *             IOMESH_FENCED: another process serves a store with the same id; IOMESH_FAILED: a
 *             device failed before or meanwhile
 *
 * A device that fails does not end it: what can be read is served on.
 *
 * Returns 0 once accepted, or -EINVAL, -ESHUTDOWN (the node is being closed), -ENOMEM.
 *
 * Thread: the engine's. Blocks: for opening files. Allocates: yes. Since: 0.3.
 */
IOMESH_API int iomesh_node_store(struct iomesh_node *node,
                                 const struct iomesh_node_store_options *options,
                                 iomesh_node_store_fn *served, iomesh_node_store_fn *stopped,
                                 void *context, struct iomesh_node_store **ret_store);

/** Serve it no longer: what is asked of it ends, then it is closed, with a checkpoint. Also before
 * it is served: @served sees -ECANCELED. Thread: the engine's. Blocks: never. Since: 0.3. */
IOMESH_API void iomesh_node_store_stop(struct iomesh_node_store *store);

#define IOMESH_NODE_STORE_OPENING 0u
#define IOMESH_NODE_STORE_SERVED 1u
#define IOMESH_NODE_STORE_CLOSING 2u

struct iomesh_node_store_status {
    uint32_t size;
    uint32_t state; /* IOMESH_NODE_STORE_… above. */
    uint64_t id;    /* In the pool; 0: not known yet. */
    uint64_t incarnation;
    uint8_t uuid[16];
    const char *path;  /* Valid while the handle is. */
    const char *doing; /* While it opens or closes: what it waits for, for people; else "". */
    uint64_t open_ns;  /* How long it took until it was served. */
};

/** How a store is. Set the size before. Returns 0 or -EINVAL. Thread: the engine's. Blocks: never.
 * Since: 0.3. */
IOMESH_API int iomesh_node_store_status(const struct iomesh_node_store *store,
                                        struct iomesh_node_store_status *ret_status);
/** What it holds, and has done: what iomesh_pool_status() says of an embedded pool's store; numbers
 * of volumes, metadata and requests are 0. Returns 0, -EINVAL (size), -EAGAIN: it is not open.
 * Thread: the engine's. Blocks: never. Since: 0.3. */
IOMESH_API int iomesh_node_store_numbers(const struct iomesh_node_store *store,
                                         struct iomesh_pool_status *ret_status);

struct iomesh_node_status {
    uint32_t size;
    uint32_t stores;                                    /* Opening, served, closing. */
    uint32_t connections;                               /* Now. */
    uint32_t requests;                                  /* Being worked on. */
    uint64_t connections_accepted, connections_refused; /* Refused: with a sentence. */
    uint64_t connections_broken;                        /* Ended because of what they sent, */
    uint64_t connections_stalled;                       /* because they took nothing, */
    uint64_t connections_replaced;                      /* by newer ones of the same process. */
    uint64_t requests_total;
    uint64_t waits; /* Requests that had to wait for memory. */

    /* Of the keeper of the pool, if that is this process now; else 0. */
    uint32_t keeper;         /* 1: it is. */
    uint32_t keeper_facts;   /* Things that are wrong with the pool, by its last pass. */
    uint32_t keeper_volumes; /* That it has open to bring them up to date. */
    uint32_t keeper_wishes;  /* Changes of copies that are under way, or wait. */
    uint64_t keeper_passes, keeper_pass_ns; /* The last one took. */
    uint64_t keeper_stores_out, keeper_stores_up, keeper_adds, keeper_drops, keeper_deletes;
};

/** What a node does. Set the size before. Returns 0 or -EINVAL. Thread: the engine's. Blocks:
 * never. Since: 0.3. */
IOMESH_API int iomesh_node_status(const struct iomesh_node *node,
                                  struct iomesh_node_status *ret_status);

/**
 * Close: takes no connection any more, answers what was asked, closes the stores, each with a
 * checkpoint (@stopped or @served of each runs). The handle is dead once 0 is returned.
 *
 * @done  0, or the first thing that went wrong with a store: the next open recovers
 *
 * Returns 0 once accepted, or -EINVAL.
 *
 * Thread: the engine's. Blocks: never. Since: 0.3.
 */
IOMESH_API int iomesh_node_close(struct iomesh_node *node, iomesh_done_fn *done, void *context);
/** The same, waiting. NULL is fine. Thread: the engine's. Blocks: yes. Since: 0.3. */
IOMESH_API int iomesh_node_close_sync(struct iomesh_node *node);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools: disks, and the metadata of what is on them.
 *
 * A pool is named by a URL. "file:DIR" is embedded: DIR holds the metadata and, unless devices
 * are named, the store. It belongs to one process at a time, which serves DIR/control.sock.
 *
 * "etcd://HOST:PORT[,HOST:PORT...]/NAME[?OPTION=VALUE[&...]]" is a cluster's: its metadata is in
 * etcd, under the keys NAME/, its stores are served by whoever has them, and any number of
 * processes have it open at once. A volume is open in one of them at a time. Options: ca, cert, key
 * (files, for TLS), user, password-file, wait (seconds).
 */
#ifndef IOMESH_POOL_H
#define IOMESH_POOL_H

#include <stdint.h>

#include <iomesh/engine.h>
#include <iomesh/version.h>

struct iomesh_pool;

#define IOMESH_CLASS_NVME 0u
#define IOMESH_CLASS_SSD 1u
#define IOMESH_CLASS_HDD 2u

#define IOMESH_DEVICES_MAX 64u
/* The smallest store that can hold its own journal and reserve. */
#define IOMESH_POOL_BYTES_MIN (64ull << 20)

/* A file or a block device. */
struct iomesh_device {
    uint32_t size;
    uint32_t device_class; /* IOMESH_CLASS_… */
    const char *path;      /* A file that does not exist is made, if `bytes` says how big. */
    uint64_t bytes;        /* 0: all that is there. */
};

#define IOMESH_DEVICE_INIT                              \
    {                                                   \
        (uint32_t)sizeof(struct iomesh_device), 0, 0, 0 \
    }

/* done of total units of work, total never 0; called now and then. */
typedef void iomesh_progress_fn(void *context, uint64_t done, uint64_t total);

struct iomesh_pool_init_options {
    uint32_t size;
    uint32_t device_count;               /* 0: one file, DIR/store, of `bytes`. */
    const struct iomesh_device *devices; /* Borrowed for the call. */
    uint64_t bytes;                      /* Of DIR/store; 0: 16 GiB, thin (grows as it is used). */
    uint64_t journal_bytes;              /* 0: by the size of the store. */
    uint32_t flags;                      /* IOMESH_POOL_OVERWRITE */
    uint32_t reserved;
    iomesh_progress_fn *progress; /* Bytes that are prepared; ends with all. NULL is fine. */
    void *context;                /* Of progress. */
};

/* Take devices that hold something already: an old store, a file system, a table of partitions, a
 * part of a RAID or volume group, anything in their first block. Its marks are wiped. */
#define IOMESH_POOL_OVERWRITE 1u

#define IOMESH_POOL_INIT_OPTIONS_INIT                                             \
    {                                                                             \
        (uint32_t)sizeof(struct iomesh_pool_init_options), 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/**
 * Make a pool.
 *
 * @url      "file:DIR"; DIR is made if it does not exist. "etcd://…": a cluster's pool, in which
 *           there are no stores yet
 * @options  NULL: defaults; of a cluster's pool there is nothing to say
 *
 * Returns 0, or with nothing left behind
 *   -EINVAL        the URL or an option is wrong
 *   -EEXIST        there is a pool, or a device holds something and OVERWRITE is not given: the
 *                  sentence names it
 *   IOMESH_IN_USE  another process holds a device
 *   -ENOSPC, -EACCES, -ENOTSUP (no direct I/O there), …
 *
 * Thread: any, not inside a callback. Blocks: for seconds. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_pool_init(const char *url, const struct iomesh_pool_init_options *options);

struct iomesh_pool_options {
    uint32_t size;
    uint32_t flags;         /* IOMESH_POOL_READ_ONLY | IOMESH_POOL_DISCARD | … */
    uint64_t cache_bytes;   /* Page cache; 0: 64 MiB. */
    uint64_t scrub_rate;    /* Bytes a second, at most; 0: 16 MiB. */
    uint64_t claim_wait_ns; /* How long a killed owner's devices are waited for; 0: 10 s. */
    uint32_t requests_max;  /* I/O requests in flight per pool, 1 .. 65536; 0: 1024. */
    uint32_t volumes_max;   /* Volumes open at once, 1 .. 65536; 0: 4096. */
    uint32_t devices_reserved;
    uint32_t reserved;
    uint64_t scrub_interval_ns; /* From the end of a scrub to the next; 0: a week. */

    /* Since 0.3. Of a cluster: who this process is; copied, at most 255 bytes each. What opens the
     * pool with the node and the address of a process that ended takes its volumes back at once,
     * else when the session of that has run out: no two that live may have both. */
    const char *node;          /* NULL: the name of this machine. As in the records of stores: a
                                * store of the same node is read first. */
    const char *address;       /* NULL: one that nobody has again. */
    const char *zone;          /* Where it is: a volume's first copy goes near. NULL: not known. */
    const char *rack;          /* The same. */
    const char *tls_directory; /* ca-cert.pem, server-cert.pem, server-key.pem: for connections
                                * between programs of the pool. NULL: no TLS. */
    uint64_t metadata_wait_ns; /* How long one request of the metadata may wait while it is out of
                                * reach; 0: as the URL says, or 10 s. */
};

/* Nothing is written to the devices or to DIR, recovery stays in memory. The devices are claimed
 * all the same; DIR/control.sock is not served. */
#define IOMESH_POOL_READ_ONLY 1u
#define IOMESH_POOL_DISCARD 2u    /* Give freed space back to the file system or device. */
#define IOMESH_POOL_NO_SCRUB 4u   /* No scrub begins by itself. */
#define IOMESH_POOL_NO_CONTROL 8u /* Do not serve DIR/control.sock. */
/* Since 0.3. Of a cluster, with READ_ONLY: what one member of etcd has is enough, though it knows
 * of no majority. What is read may be old. */
#define IOMESH_POOL_STALE 16u

#define IOMESH_POOL_OPTIONS_INIT                                                                  \
    {                                                                                             \
        (uint32_t)sizeof(struct iomesh_pool_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/* pool: NULL unless result is 0; then yours until iomesh_pool_close(). */
typedef void iomesh_pool_opened_fn(void *context, int result, struct iomesh_pool *pool);

/**
 * Open a pool on an engine: claims its devices, recovers what a crash left.
 *
 * @options  NULL: defaults; copied
 * @opened   runs exactly once if 0 is returned, never otherwise
 *
 * Returns 0 once accepted, or -EINVAL, -ENOTSUP (a kind of URL not built yet), -ENOMEM; and
 * @opened may see
 *   -ENOENT         no pool there
 *   IOMESH_IN_USE   another process owns it
 *   IOMESH_FORMAT   a foreign or newer superblock
 *   IOMESH_CORRUPT  damage that recovery must not step over
 *   -EIO, -EACCES, -ENXIO (a device is smaller than recorded), …
 *
 * Thread: the engine's. Blocks: for opening files only. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_pool_open(struct iomesh_engine *engine, const char *url,
                                const struct iomesh_pool_options *options,
                                iomesh_pool_opened_fn *opened, void *context);
/** The same, waiting. Returns 0 or what @opened would have seen. -EDEADLK inside a callback.
 * Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_pool_open_sync(struct iomesh_engine *engine, const char *url,
                                     const struct iomesh_pool_options *options,
                                     struct iomesh_pool **ret_pool);

/**
 * Close a pool: flushes, writes a checkpoint, lets the devices go. Every volume of it is closed
 * before; in a cluster, opening one may be under way, and ends with -ECANCELED. The handle is dead
 * once 0 is returned, whatever @done sees.
 *
 * Returns 0 once accepted, or -EBUSY: a volume is open or an operation runs. @done may see -EIO,
 * IOMESH_FAILED: then the next open recovers from the journal.
 *
 * Thread: the engine's. Blocks: never. Since: 0.1.
 */
IOMESH_API int iomesh_pool_close(struct iomesh_pool *pool, iomesh_done_fn *done, void *context);
/** The same, waiting. NULL is fine. Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_pool_close_sync(struct iomesh_pool *pool);

/**
 * Scrub now, at @rate bytes a second at most (0: the pool's): read and check everything that is
 * used. A pass that is under way goes on at this rate, and so does one that a close or a crash
 * interrupted; the next begins as the options of the pool say, at the pool's rate. Requests of the
 * pool's users go first. Progress, and what the last whole pass found, also before the pool was
 * opened, is in iomesh_pool_status().
 *
 * Returns 0, or IOMESH_FAILED, -ENOMEM.
 *
 * Thread: the engine's. Blocks: never. Allocates: the first time. Since: 0.1.
 */
IOMESH_API int iomesh_scrub_start(struct iomesh_pool *pool, uint64_t rate);
/** End the pass that is under way, if there is one, forget how far it was, and start no other
 * until iomesh_scrub_start() or the next open. Thread: the engine's. Since: 0.1. */
IOMESH_API void iomesh_scrub_stop(struct iomesh_pool *pool);

/* One thing that a check found wrong. */
struct iomesh_fault {
    uint32_t size;
    uint32_t kind;      /* IOMESH_FAULT_… */
    uint64_t volume_id; /* 0: of no volume. */
    uint64_t block;     /* Of the volume, or of the store. */
    const char *text;   /* One line; borrowed until the callback returns. */
};

#define IOMESH_FAULT_UNREADABLE 1u /* The device refused to read. */
#define IOMESH_FAULT_CHECKSUM 2u   /* Bytes differ from their checksum. */
#define IOMESH_FAULT_SPACE 3u      /* The free map and what is reachable disagree. */
#define IOMESH_FAULT_STRUCTURE 4u  /* A page or a record makes no sense. */
#define IOMESH_FAULT_METADATA 5u   /* Metadata and store disagree. */
#define IOMESH_FAULT_OTHER 6u      /* None of these: a block that was marked as damaged before. */

typedef void iomesh_fault_fn(void *context, const struct iomesh_fault *fault);
struct iomesh_check_result {
    uint32_t size;
    uint32_t reserved;
    uint64_t faults;
    uint64_t blocks_checked;  /* Of data, read and compared with their checksums. */
    uint64_t pages_checked;   /* Of the tree and the free map. */
    uint64_t volumes_checked; /* In the metadata, deleted ones whose space comes back too. */
};

#define IOMESH_CHECK_RESULT_INIT                                    \
    {                                                               \
        (uint32_t)sizeof(struct iomesh_check_result), 0, 0, 0, 0, 0 \
    }

/**
 * Check a pool that no process uses: walks everything, changes nothing.
 *
 * @flags       0, or IOMESH_CHECK_NO_DATA: pages only, data blocks are not read
 * @fault       called for each fault; NULL is fine
 * @progress    NULL is fine
 * @ret_result  how much was checked, how many faults; written whenever 0 is returned
 *
 * Returns 0 if it could look at everything (faults or not), or IOMESH_IN_USE, -ENOENT,
 * IOMESH_FORMAT, …
 *
 * Thread: any, not inside a callback. Blocks: yes, for as long as reading takes. Since: 0.1.
 */
IOMESH_API int iomesh_pool_check(const char *url, uint32_t flags, iomesh_fault_fn *fault,
                                 iomesh_progress_fn *progress, void *context,
                                 struct iomesh_check_result *ret_result);

#define IOMESH_CHECK_NO_DATA 1u

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta/sqlite: the metadata of an embedded pool, in one SQLite file.
 *
 * Owns meta.db (and meta.db-wal beside it while open), and one thread unless told otherwise.
 *
 * Write-ahead log, synchronous=FULL: a commit is one append and one fsync of the log. Requests that
 * wait are committed together: each is a savepoint of one SQLite transaction, and none is answered
 * before the COMMIT that covers it. They take effect in the order in which they were submitted.
 *
 * locking_mode=EXCLUSIVE. The pool has one process anyway; with the lock held for good SQLite keeps
 * the index of its log in memory, so there is no -shm file to map, nothing to lock per transaction,
 * and a second opener that went around the pool's lock is refused instead of being let in.
 *
 * The revision counter, and a lease's being attached to a key, are in the file. Leases themselves
 * are not: they belong to the process, which owns the pool alone, so whoever opens it knows that
 * every earlier lease is dead, and deletes what was attached, in one revision. History begins at
 * open.
 *
 * Each row has a CRC32C over its key, value and numbers, checked whenever it is read.
 *
 * Errors are states: when a write or a sync of the file fails, the transactions under way end as
 * IOMESH_UNKNOWN and everything later as IOMESH_FAILED until the pool is opened anew. No space left
 * is -ENOSPC, harms nothing, and passes.
 */
#ifndef META_SQLITE_SQLITE_H
#define META_SQLITE_SQLITE_H

#include "host/clock.h"
#include "meta/meta.h"

#define META_SQLITE_SCHEMA_VERSION 1
#define META_SQLITE_QUEUE_MAX 4096u /* Requests in flight, unless the options say less. */
#define META_SQLITE_BATCH_MAX 256u  /* Requests in one COMMIT. */
#define META_SQLITE_BATCH_BYTES_MAX (8u << 20)

struct meta_sqlite_options {
    const char *path;   /* Of the file; borrowed until the call returns. */
    const char *vfs;    /* A VFS by SQLite's name for it; NULL: the system's. */
    bool create;        /* Make it if it is not there, or is empty: an interrupted creation. */
    bool read_only;     /* Changes nothing, not even that it was opened: see below. */
    bool threaded;      /* A thread of its own; else meta_sqlite_step() does its work. */
    uint32_t queue_max; /* 0: META_SQLITE_QUEUE_MAX. */
    uint32_t checkpoint_pages; /* Pages in the log before it is copied home; 0: 1000. */
    struct clock *clock;       /* Leases' time. Asked on the engine's thread only. */
    /* There is something for meta_poll(). From any thread, inside calls too; calls nothing here. */
    void (*wakeup)(void *context);
    void *wakeup_context;
};

/**
 * Open the metadata of an embedded pool.
 *
 * With `read_only` no byte of the file, of its log or of their directory changes. A log that a
 * killed process left is read too: what it holds is seen, and it stays as it is. What would change
 * something ends with -EROFS, leases included; keys of dead leases are still seen.
 *
 * Returns 0, or, with a sentence that names the file,
 *   -ENOENT        it is not there (and `create` is not set), or was never completed
 *   IOMESH_FORMAT  another program's, or of a newer schema: the sentence names both versions
 *   IOMESH_CORRUPT it is damaged, or not a database at all
 *   IOMESH_IN_USE  another process has it open
 *   -EROFS, -ENOSPC, -ENOMEM, or what the system said
 *
 * Thread: the engine's. Blocks: for a few writes and syncs of the file.
 */
int meta_sqlite_open(const struct meta_sqlite_options *options, struct meta **ret_meta);

/*
 * Without a thread: takes what waits, at most META_SQLITE_BATCH_MAX requests, and commits it, as
 * the thread would. Returns how many requests it ended; meta_poll() then tells them.
 */
unsigned meta_sqlite_step(struct meta *meta);

/* What made it fail, in a sentence; "" if nothing has. Valid until the next call. */
const char *meta_sqlite_failure(struct meta *meta);

struct meta_sqlite_counts {
    uint64_t requests; /* Ended by the worker: leases granted and kept are not among them. */
    uint64_t commits;  /* SQLite transactions that changed something: one sync each. */
};
struct meta_sqlite_counts meta_sqlite_counts(struct meta *meta);

typedef void meta_sqlite_fault_fn(void *context, const char *sentence);
/**
 * Read everything in a file that no process has open, and change nothing, as `read_only` does.
 *
 * @fault  runs inside this call, once for every fault found
 *
 * Returns how many faults there are, or as meta_sqlite_open() if it cannot be opened. Blocks.
 */
int meta_sqlite_check(const char *path, const char *vfs, meta_sqlite_fault_fn *fault,
                      void *context);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta: small truths, changed by transactions, with leases and watches.
 *
 * One asynchronous interface, shaped for etcd v3. Every change of the metadata raises one counter,
 * the revision, by one; a key remembers the revisions at which it was created and last modified.
 * A transaction compares, then does one of two lists of operations, all or nothing.
 *
 * Owns: nothing but what an implementation opens. A request and a watch live inside whatever waits
 * for them. Implementations stand behind a table of functions: sqlite/ (an embedded pool), etcd/ (a
 * cluster's).
 *
 * Promises:
 *   - A transaction that completes with 0 is durable, atomic and linearizable; so is what it read.
 *   - A completion other than 0 and IOMESH_UNKNOWN: nothing of it happened. IOMESH_UNKNOWN: all of
 *     it or nothing; read before acting on either.
 *   - No order is promised between two requests in flight, nor between a completion and an event.
 *   - Callbacks run from meta_poll() and from nowhere else, never in the call that started them.
 *     Each may call back in: submit again, cancel, free its own request or watch.
 *
 * Thread: every function here belongs to the engine's thread, and none blocks unless it says so.
 * Allocates: yes, within the limits below. Nothing here is on the path of an I/O.
 */
#ifndef META_META_H
#define META_META_H

#include <string.h>

#include "base/base.h"

#define META_KEY_BYTES_MAX 512u
#define META_VALUE_BYTES_MAX (512u << 10)
#define META_COMPARES_MAX 256u             /* Per transaction. */
#define META_OPS_MAX 256u                  /* Per branch of a transaction. */
#define META_REQUEST_BYTES_MAX (1u << 20)  /* Keys and values of one transaction together. */
#define META_RESPONSE_BYTES_MAX (4u << 20) /* A list stops before it and says `more`. */
#define META_LIST_ENTRIES_MAX 1000u        /* Per page. */
#define META_LEASES_MAX 4096u
#define META_LEASE_TTL_NS_MIN NS_PER_S
#define META_LEASE_TTL_NS_MAX (86400 * NS_PER_S)

struct meta; /* Opened by an implementation. */
struct meta_request;
struct meta_watch;

/* Bytes of somebody else. `data` may be NULL when `length` is 0. */
struct meta_slice {
    const void *data;
    size_t length;
};

/* A slice of a string, and of anything that has `bytes` and `length` (format_key is one). */
#define META_TEXT(text) ((struct meta_slice){.data = (text), .length = strlen(text)})
#define META_SLICE(of) ((struct meta_slice){.data = (of).bytes, .length = (of).length})

enum meta_op_kind { META_PUT, META_DELETE, META_DELETE_PREFIX, META_GET, META_LIST };

struct meta_entry {
    struct meta_slice key;
    struct meta_slice value;
    uint64_t created_revision;
    uint64_t modified_revision;
    uint64_t lease; /* 0: none. */
};

/* The answer to one operation. Memory belongs to the request: until it is reset, reused or done. */
struct meta_response {
    enum meta_op_kind kind;
    bool more;              /* META_LIST: entries remain after the last one here. */
    uint32_t deleted_count; /* META_DELETE and META_DELETE_PREFIX. */
    uint32_t entry_count;   /* META_GET: 0 or 1. META_LIST: in order of keys. */
    struct meta_entry *entries;
};

/* result: 0, or negative as told at the call that started it. */
typedef void meta_done_fn(struct meta_request *request, int result);

/*
 * A transaction or a lease's word. Zero it or meta_request_init() it, build, submit; it stays where
 * it is and untouched until `done` has run. It may then be submitted again as it is, from within
 * `done` too; meta_request_reset() before building another transaction in it.
 */
struct meta_request {
    /* Answers, valid in `done` and after it if its result was 0. */
    bool succeeded; /* The compares held, and the first list of operations was done. */
    bool flying;    /* No answer: `done` has yet to run. */
    uint32_t response_count;
    uint64_t revision;               /* Of the metadata after this transaction. */
    struct meta_response *responses; /* One per operation of the branch taken, in order. */
    uint64_t lease;                  /* The lease granted or kept alive. */
    uint64_t ttl_ns;

    struct meta_body *body; /* The builder's; see meta/implement.h. */
    meta_done_fn *done;
    struct list node; /* The implementation's. */
    int result;       /* The implementation's. */
};

void meta_request_init(struct meta_request *request);
/* Frees what it holds. Not while it is in flight. Harmless twice. */
void meta_request_done(struct meta_request *request);
/* Forgets compares, operations and answers, and keeps the memory for the next use. */
void meta_request_reset(struct meta_request *request);

/*
 * Building a transaction. Keys and values are copied, so the caller's may go at once. What is wrong
 * (too long, too many, no memory) is remembered and refused by meta_commit() with a sentence, so
 * that no call here needs a check.
 *
 * All compares must hold for the first list of operations to be done; else the second is, which
 * begins at meta_else() and is empty without it. No compare: they hold.
 * Within a branch a key may be put or deleted once only; reads see the operations before them.
 */
void meta_if_absent(struct meta_request *request, struct meta_slice key);
void meta_if_present(struct meta_request *request, struct meta_slice key);
/* The key was last modified (created) at exactly this revision. Revision 0: the key is absent. */
void meta_if_modified(struct meta_request *request, struct meta_slice key, uint64_t revision);
void meta_if_created(struct meta_request *request, struct meta_slice key, uint64_t revision);
/* The key is present and has exactly this value. */
void meta_if_value(struct meta_request *request, struct meta_slice key, struct meta_slice value);

/* lease: 0, or a lease that is alive: the key goes when it does. A later put replaces the lease. */
void meta_put(struct meta_request *request, struct meta_slice key, struct meta_slice value,
              uint64_t lease);
void meta_delete(struct meta_request *request, struct meta_slice key);
/* Every key that begins with a prefix, which is not empty. */
void meta_delete_prefix(struct meta_request *request, struct meta_slice prefix);
void meta_get(struct meta_request *request, struct meta_slice key);
/*
 * A page of the keys that begin with `prefix` (empty: all), in order, those after the key `after`
 * (empty: from the first), at most `limit` (1 .. META_LIST_ENTRIES_MAX). For the next page give the
 * last key. Two pages are two moments: what changes between them is for a watch from the first
 * page's revision + 1 to tell.
 */
void meta_list(struct meta_request *request, struct meta_slice prefix, struct meta_slice after,
               uint32_t limit);
void meta_else(struct meta_request *request);

/**
 * Submit the transaction that was built.
 *
 * @request  stays in place, untouched, until @done has run; its memory stays the caller's
 * @done     runs exactly once if 0 is returned, never otherwise; always from meta_poll()
 *
 * Returns 0 once accepted, or
 *   -EINVAL  empty key or prefix, a key changed twice in one branch, a limit out of range
 *   -E2BIG   a key, a value, or the transaction is too large
 *   -ENOMEM  while it was built
 *   -EAGAIN  the queue is full: try again after a completion
 * with a sentence, and @done may then see
 *   -ENOENT          a put names a lease that is gone; nothing happened
 *   -ENOSPC          no space below; nothing happened, and later requests may succeed
 *   -E2BIG           the answer would pass META_RESPONSE_BYTES_MAX; nothing happened
 *   -ENOMEM          nothing happened
 *   -ETIMEDOUT       the metadata was out of reach for as long as a request may wait; nothing
 *                    happened
 *   -EACCES          the metadata does not let us; nothing happened
 *   -EINVAL, -ENOTSUP  it does not understand what is asked; nothing happened
 *   IOMESH_UNKNOWN   it happened or it did not; in a cluster it may yet happen, after a read that
 *                    did not show it: only a later transaction whose compares exclude it is proof
 *   IOMESH_FAILED    the implementation failed earlier and stays failed; nothing happened
 *   IOMESH_CORRUPT   what is stored is damaged; nothing happened
 */
int meta_commit(struct meta *meta, struct meta_request *request, meta_done_fn *done);

/**
 * Leases. A lease that is not kept alive for its ttl ends, and every key attached to it is deleted,
 * in one revision. It may end somewhat later than its ttl, never sooner. That is counted from when
 * it was asked for or last kept alive: from the call, not from its answer.
 *
 * @ttl_ns  META_LEASE_TTL_NS_MIN .. META_LEASE_TTL_NS_MAX; implementations may round up to seconds
 *
 * The id is in request->lease (never 0, never used twice in a pool), the ttl granted in
 * request->ttl_ns. Keeping alive and revoking see -ENOENT for a lease that is gone. Requests built
 * so far are forgotten: a request is one thing at a time. Errors otherwise as meta_commit().
 */
int meta_lease_grant(struct meta *meta, struct meta_request *request, uint64_t ttl_ns,
                     meta_done_fn *done);
int meta_lease_keep(struct meta *meta, struct meta_request *request, uint64_t lease,
                    meta_done_fn *done);
int meta_lease_revoke(struct meta *meta, struct meta_request *request, uint64_t lease,
                      meta_done_fn *done);

enum meta_event_kind { META_EVENT_PUT, META_EVENT_DELETE };

/* One key changed. Borrowed: valid until the callback returns. */
struct meta_event {
    enum meta_event_kind kind;
    bool last; /* No further event of this revision follows on this watch. */
    uint64_t revision;
    uint64_t previous_revision; /* At which the key was modified before; 0: it was absent. */
    struct meta_entry entry;    /* META_EVENT_DELETE: the key only. */
};

typedef void meta_event_fn(struct meta_watch *watch, const struct meta_event *event);
/* result: IOMESH_COMPACTED, IOMESH_FAILED. The watch is over when this runs, and may be freed. */
typedef void meta_watch_ended_fn(struct meta_watch *watch, int result);

/* Lives in whatever waits for it. Its fields are the implementation's. */
struct meta_watch {
    meta_event_fn *event;
    meta_watch_ended_fn *ended;
    uint64_t from;   /* Revisions below are not for this watch. */
    uint64_t cursor; /* The number of the next event to look at. */
    struct list node;
    bool active;
    bool begun; /* The cursor stands. */
    uint16_t prefix_length;
    uint8_t prefix[META_KEY_BYTES_MAX];
};

/**
 * Watch every key that begins with a prefix.
 *
 * Events come in order of revisions, each once, all of a revision together, `last` marking the end.
 * History is bounded: the embedded pool keeps 4,096 events, 8 MiB, and none from before it was
 * opened; a cluster has what etcd was not told to compact. A watch from a revision that is gone
 * ends with IOMESH_COMPACTED; list again, and watch from the revision of that answer + 1.
 *
 * @watch   stays in place until it was cancelled or has ended
 * @prefix  copied; empty: every key
 * @from    the first revision of interest; 0: whatever becomes known after this call
 * @ended   runs at most once, never after meta_watch_cancel()
 *
 * Returns 0, or -E2BIG for a prefix over META_KEY_BYTES_MAX.
 */
int meta_watch_start(struct meta *meta, struct meta_watch *watch, struct meta_slice prefix,
                     uint64_t from, meta_event_fn *event, meta_watch_ended_fn *ended);
/* At once: no callback runs after this. Harmless on a watch that is over or was zeroed. */
void meta_watch_cancel(struct meta *meta, struct meta_watch *watch);

/*
 * Runs the callbacks of what has completed or happened. Call it once per turn, and after the
 * implementation's `wakeup`. Returns how many callbacks ran.
 */
unsigned meta_poll(struct meta *meta);

/* Requests in flight. */
uint32_t meta_flying(const struct meta *meta);

/*
 * Closes. Nothing is in flight (meta_flying() is 0) and no watch is active; leases are forgotten,
 * and their keys are gone when an embedded pool is next opened, a cluster's when their ttl is over.
 * Blocks while an implementation writes what it must. NULL is fine.
 */
void meta_close(struct meta *meta);

#endif

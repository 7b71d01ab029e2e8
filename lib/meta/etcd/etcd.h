/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta/etcd: the metadata of a cluster, in etcd (3.4 and newer, its v3 interface over gRPC).
 *
 *   etcd://HOST:PORT[,HOST:PORT...]/POOL[?OPTION=VALUE[&...]]
 *
 * Owns one thread with a poll loop of its own, so that names, connecting and TLS stall nobody, and
 * beneath it one connection to one member; a second for a while, when it moves. Everything of a
 * pool is under the keys `POOL/`; whatever else is in that etcd is not looked at.
 *
 * The members take turns: one that refuses, is silent, has no leader or belongs to another cluster
 * is left for the next, with pauses that grow to a second once all have been tried. One that is not
 * there within a quarter of a second is tried on beside the next, and the first that is there is
 * taken. Whoever asks sees nothing of it but time:
 *   - What surely did not happen, and what harms nobody when it happens twice (reading, keeping a
 *     lease alive), is asked again elsewhere, until `wait` is over: then -ETIMEDOUT.
 *   - A change whose answer was lost, or takes too long, is IOMESH_UNKNOWN, at once. It may happen
 *     later than that: a member that was stopped, or cut off, may still pass on what it has. A read
 *     that does not show it proves nothing; a later transaction whose compares exclude it does.
 *   - Watches go on where they were, without a gap and without a repetition, or end as compacted.
 *
 * An answer is received up to 8 MiB. Lists are cut to META_RESPONSE_BYTES_MAX, and asked for again
 * in smaller pages if they would be larger than that; of other reads -E2BIG. But a transaction that
 * changed something is not undone because its answer is too large: it may have up to 8 MiB, and
 * beyond them is IOMESH_UNKNOWN.
 *
 * A database without space (etcd's quota) is IOMESH_UNKNOWN too for what changes something: a
 * member may say so of what it did.
 *
 * What differs from the embedded pool: the revision is etcd's, so others' changes raise it too; it
 * still grows with each change of ours. History is as long as etcd keeps it. Leases belong to etcd:
 * they outlive this handle and its process until their time is over. Their ids are etcd's choice:
 * random, 63 bits.
 *
 * A transaction has as many operations as etcd takes (--max-txn-ops, 128 unless told otherwise):
 * more, up to META_OPS_MAX, are nested into several lists of one transaction, which etcd counts
 * each for itself. More compares than that are refused when it is submitted.
 */
#ifndef META_ETCD_ETCD_H
#define META_ETCD_ETCD_H

#include "meta/meta.h"

#define META_ETCD_ENDPOINTS_MAX 16u
#define META_ETCD_NAME_BYTES_MAX 255u /* Of a host, a file, a user, each. */
#define META_ETCD_POOL_BYTES_MAX 128u
#define META_ETCD_QUEUE_MAX 4096u
#define META_ETCD_TXN_OPS 128u /* What etcd takes unless it was told otherwise. */
#define META_ETCD_WAIT_NS (10 * NS_PER_S)
#define META_ETCD_ANSWER_NS (3 * NS_PER_S)
#define META_ETCD_SILENCE_NS NS_PER_S
#define META_ETCD_WATCH_BYTES_MAX (16u << 20) /* Told to nobody yet; beyond it a watch ends. */

struct meta_etcd_endpoint {
    char host[META_ETCD_NAME_BYTES_MAX + 1];
    char port[8];
};

/* What a URL says. Options, each once:
 *   ca=FILE             TLS: who may sign the members' certificates. `ca=system`: whom this machine
 *                       trusts
 *   cert=FILE key=FILE  TLS: ours
 *   user=NAME           with password-file=FILE: its first line. Not the password itself: everybody
 *                       on the machine may read a command line
 *   wait=SECONDS        how long a request may wait while etcd is out of reach; 1 .. 3600
 *   max-txn-ops=N       as the members were told; 16 .. 4096
 */
struct meta_etcd_place {
    struct meta_etcd_endpoint endpoints[META_ETCD_ENDPOINTS_MAX];
    uint32_t endpoint_count;
    char pool[META_ETCD_POOL_BYTES_MAX + 1]; /* Without slashes at its ends. */
    char ca[META_ETCD_NAME_BYTES_MAX + 1];   /* "": no TLS. */
    char cert[META_ETCD_NAME_BYTES_MAX + 1];
    char key[META_ETCD_NAME_BYTES_MAX + 1];
    char user[META_ETCD_NAME_BYTES_MAX + 1];
    char password_file[META_ETCD_NAME_BYTES_MAX + 1];
    uint64_t wait_ns;
    uint32_t txn_ops;
};

/* 0, or -EINVAL or -E2BIG with a sentence that names what is wrong. */
int meta_etcd_place_parse(const char *url, struct meta_etcd_place *ret_place);

struct meta_etcd_options {
    const char *url;     /* Borrowed until the call returns. */
    uint32_t queue_max;  /* 0: META_ETCD_QUEUE_MAX. */
    uint64_t wait_ns;    /* 0: as the URL says. Shorter in tests. */
    uint64_t answer_ns;  /* How long one member may take, though it is alive: what it was asked is
                          * then asked elsewhere, or unknown. When a leader dies the others lose
                          * what they gave it, and say so after seven seconds; 0:
                          * META_ETCD_ANSWER_NS. */
    uint64_t silence_ns; /* A member that says nothing for so long is asked for a sign of life, and
                          * left after as long again; 0: META_ETCD_SILENCE_NS. */
    uint64_t seed;       /* With which member it begins. */
    bool stale; /* What one member has is enough, though it has no leader: transactions that
                          * only read are answered from it, and may be old. */
    /* There is something for meta_poll(). From any thread, inside calls too; calls nothing here. */
    void (*wakeup)(void *context);
    void *wakeup_context;
};

/**
 * Open the metadata of a cluster's pool.
 *
 * Nobody is asked yet: whether etcd is there, the first request tells.
 *
 * Returns 0, or, with a sentence, -EINVAL for a URL or a file that cannot be used, -ENOMEM, or what
 * the system said.
 *
 * Thread: the engine's. Blocks: for reading the files that the URL names.
 */
int meta_etcd_open(const struct meta_etcd_options *options, struct meta **ret_meta);

struct meta_etcd_state {
    bool connected;
    char endpoint[META_ETCD_NAME_BYTES_MAX + 10]; /* The last one tried, or the one in use. */
    char trouble[256];                            /* The last there was, a sentence; or "". */
    uint64_t connections;                         /* Since it was opened. */
    uint64_t repeated;                            /* Requests that were asked again. */
    uint64_t unknown;                             /* Changes whose outcome nobody told. */
};
void meta_etcd_state(struct meta *meta, struct meta_etcd_state *ret_state);
/* Whatever is asked, or will be, waits no longer than so long from now. Asked again: from then. */
void meta_etcd_hurry(struct meta *meta, uint64_t wait_ns);

#endif

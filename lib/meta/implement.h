/* SPDX-License-Identifier: Apache-2.0 */
/* What an implementation of meta sees: the table it fills, and what a request holds once built. */
#ifndef META_IMPLEMENT_H
#define META_IMPLEMENT_H

#include "meta/meta.h"

struct meta_ops {
    /* Takes the request, which the seam has checked. 0; -EAGAIN: the queue is full; or, with a
     * sentence, what this implementation refuses. */
    int (*submit)(struct meta *meta, struct meta_request *request);
    unsigned (*poll)(struct meta *meta);
    int (*watch_start)(struct meta *meta, struct meta_watch *watch);
    void (*watch_cancel)(struct meta *meta, struct meta_watch *watch);
    void (*close)(struct meta *meta);
};

struct meta {
    const struct meta_ops *ops;
    uint32_t flying;
    bool polling;
};

enum meta_compare_kind {
    META_IF_ABSENT,
    META_IF_PRESENT,
    META_IF_MODIFIED,
    META_IF_CREATED,
    META_IF_VALUE
};

struct meta_compare {
    enum meta_compare_kind kind;
    uint64_t revision;
    struct meta_slice key;
    struct meta_slice value;
};

struct meta_op {
    enum meta_op_kind kind;
    uint32_t limit;          /* META_LIST. */
    uint64_t lease;          /* META_PUT. */
    struct meta_slice key;   /* Or the prefix. */
    struct meta_slice value; /* META_LIST: the key to begin after. */
};

enum meta_body_kind { META_TRANSACTION, META_LEASE_GRANT, META_LEASE_KEEP, META_LEASE_REVOKE };

/* Memory that is given back all at once; pointers into it stay until then. */
struct meta_arena {
    struct meta_chunk *chunks;
};

/* One of the two lists of operations. */
struct meta_branch {
    struct meta_op *ops;
    uint32_t count;
    uint32_t capacity;
};

struct meta_body {
    enum meta_body_kind kind;
    struct meta_compare *compares;
    uint32_t compare_count;
    uint32_t compare_capacity;
    struct meta_branch branches[2]; /* [0]: the compares hold. */
    bool in_else;
    int error; /* The first thing wrong with what was built. */
    const char *error_text;
    size_t bytes;
    struct meta_arena built;
    struct meta_arena answers;
};

/* Does the transaction have an operation, in either branch, that changes something? */
bool meta_request_changes(const struct meta_request *request);

/* Forgets the answers. An implementation that must try again calls it, then answers anew. */
void meta_answer_reset(struct meta_request *request);
/* Makes room for `count` responses, zeroed. 0 or -ENOMEM. */
int meta_answer_begin(struct meta_request *request, uint32_t count);
/* Memory for an answer, 8-byte aligned; NULL if there is none. */
void *meta_answer_allocate(struct meta_request *request, size_t bytes);
/* A copy for an answer. 0 or -ENOMEM. */
int meta_answer_copy(struct meta_request *request, struct meta_slice from,
                     struct meta_slice *ret_copy);

/* Every implementation ends every request here, on the engine's thread, from its `poll`. */
void meta_complete(struct meta *meta, struct meta_request *request, int result);

static inline bool meta_slice_equal(struct meta_slice a, struct meta_slice b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static inline bool meta_slice_begins(struct meta_slice slice, struct meta_slice prefix)
{
    return prefix.length <= slice.length &&
           (prefix.length == 0 || memcmp(slice.data, prefix.data, prefix.length) == 0);
}

#endif

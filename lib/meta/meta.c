/* SPDX-License-Identifier: Apache-2.0 */
/* The seam: everything is checked here once, so that implementations may stay naive. */
#include <stdlib.h>

#include "meta/implement.h"

static int request_submit(struct meta *meta, struct meta_request *request, meta_done_fn *done)
{
    assert(done != NULL);
    meta_answer_reset(request);
    request->done = done;
    request->result = 0;
    list_init(&request->node);
    /* Before the implementation sees it: its own thread may finish it at once. */
    request->flying = true;
    int result = meta->ops->submit(meta, request);
    if (result != 0) {
        request->flying = false;
        return result != -EAGAIN
                   ? result /* The implementation has left a sentence. */
                   : FAIL(result, "the metadata's queue is full: too many requests are in flight");
    }
    meta->flying++;
    return 0;
}

int meta_commit(struct meta *meta, struct meta_request *request, meta_done_fn *done)
{
    assert(!request->flying);
    if (request->body == NULL)
        return FAIL(-ENOMEM, "a transaction is empty, or there was no memory to build it");
    if (request->body->error != 0)
        return FAIL(request->body->error, "%s", request->body->error_text);
    assert(request->body->kind == META_TRANSACTION);
    return request_submit(meta, request, done);
}

static int lease_submit(struct meta *meta, struct meta_request *request, enum meta_body_kind kind,
                        meta_done_fn *done)
{
    assert(!request->flying);
    meta_request_reset(request);
    if (request->body == NULL)
        request->body = calloc(1, sizeof *request->body);
    if (request->body == NULL)
        return FAIL(-ENOMEM, "no memory for a lease");
    request->body->kind = kind;
    int result = request_submit(meta, request, done);
    if (result != 0)
        meta_request_reset(request);
    return result;
}

int meta_lease_grant(struct meta *meta, struct meta_request *request, uint64_t ttl_ns,
                     meta_done_fn *done)
{
    if (ttl_ns < META_LEASE_TTL_NS_MIN || ttl_ns > META_LEASE_TTL_NS_MAX)
        return FAIL(-EINVAL, "a lease lives 1 second to 1 day without being kept alive");
    request->lease = 0;
    request->ttl_ns = ttl_ns;
    return lease_submit(meta, request, META_LEASE_GRANT, done);
}

int meta_lease_keep(struct meta *meta, struct meta_request *request, uint64_t lease,
                    meta_done_fn *done)
{
    request->lease = lease;
    return lease_submit(meta, request, META_LEASE_KEEP, done);
}

int meta_lease_revoke(struct meta *meta, struct meta_request *request, uint64_t lease,
                      meta_done_fn *done)
{
    request->lease = lease;
    return lease_submit(meta, request, META_LEASE_REVOKE, done);
}

void meta_complete(struct meta *meta, struct meta_request *request, int result)
{
    assert(meta->polling);
    assert(request->flying);
    assert(result <= 0);
    assert(meta->flying > 0);
    meta->flying--;
    request->flying = false;
    if (request->body->kind != META_TRANSACTION)
        request->body->kind = META_TRANSACTION; /* Ready to be built again. */
    request->done(request, result);
}

int meta_watch_start(struct meta *meta, struct meta_watch *watch, struct meta_slice prefix,
                     uint64_t from, meta_event_fn *event, meta_watch_ended_fn *ended)
{
    assert(event != NULL && ended != NULL);
    if (prefix.length > META_KEY_BYTES_MAX)
        return FAIL(-E2BIG, "a watch's prefix is longer than 512 bytes");
    *watch = (struct meta_watch){.event = event, .ended = ended, .from = from};
    list_init(&watch->node);
    watch->prefix_length = (uint16_t)prefix.length;
    if (prefix.length > 0)
        memcpy(watch->prefix, prefix.data, prefix.length);
    return meta->ops->watch_start(meta, watch);
}

void meta_watch_cancel(struct meta *meta, struct meta_watch *watch)
{
    if (watch->active)
        meta->ops->watch_cancel(meta, watch);
    assert(!watch->active);
}

unsigned meta_poll(struct meta *meta)
{
    assert(!meta->polling);
    meta->polling = true;
    unsigned ran = meta->ops->poll(meta);
    meta->polling = false;
    return ran;
}

uint32_t meta_flying(const struct meta *meta)
{
    return meta->flying;
}

void meta_close(struct meta *meta)
{
    if (meta == NULL)
        return;
    assert(!meta->polling);
    assert(meta->flying == 0);
    meta->ops->close(meta);
}

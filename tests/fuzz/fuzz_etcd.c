/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What etcd answers, given anything: an error, or an answer that can be read from end to end. The
 * first byte says to what: a transaction (the second byte: which), a lease granted or kept, or the
 * messages of a watch, each with its length in two bytes before it.
 */
#include <stdlib.h>
#include <string.h>

#include "meta/etcd/inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct meta_etcd etcd;
static volatile uint8_t touched;

static void nothing(void *context)
{
    (void)context;
}

static void touch(struct meta_slice slice)
{
    for (size_t i = 0; i < slice.length; i++)
        touched ^= ((const uint8_t *)slice.data)[i];
}

static void begin(void)
{
    memset(&etcd, 0, sizeof etcd);
    memcpy(etcd.root, "p/", 3);
    etcd.root_length = 2;
    etcd.cluster = 7;
    etcd.place.txn_ops = META_ETCD_TXN_OPS;
    etcd.wakeup = nothing;
    list_init(&etcd.waiting);
    list_init(&etcd.done);
    list_init(&etcd.links);
    pthread_mutex_init(&etcd.mutex, NULL);
}

static void build(struct meta_request *request, uint8_t which)
{
    meta_if_absent(request, META_TEXT("absent"));
    if (which & 1)
        meta_put(request, META_TEXT("put"), META_TEXT("value"), 0);
    if (which & 2)
        meta_get(request, META_TEXT("a"));
    if (which & 4)
        meta_list(request, META_TEXT(""), (struct meta_slice){0}, 3);
    if (which & 8)
        meta_delete_prefix(request, META_TEXT("d"));
    meta_else(request);
    if (which & 16)
        meta_get(request, META_TEXT("b"));
}

static void fuzz_request(enum meta_body_kind kind, uint8_t which, const uint8_t *data, size_t size)
{
    struct meta_request request = {0};
    uint64_t cluster = 0;
    build(&request, which);
    request.body->kind = kind;
    struct etcd_call call = {.kind = CALL_REQUEST, .request = &request};
    call.once = kind == META_TRANSACTION && meta_request_changes(&request);
    uint8_t *bytes;
    uint32_t length;
    assert(etcd_encode(&etcd, &call, &bytes, &length) == 0);
    free(bytes);
    int result = etcd_answer(&etcd, &call, data, (uint32_t)size, &cluster);
    assert(result == 0 || result == -EPROTO || result == -ENOENT || result == -E2BIG);
    if (result == 0 && kind == META_TRANSACTION) {
        assert(request.response_count == request.body->branches[request.succeeded ? 0 : 1].count);
        for (uint32_t i = 0; i < request.response_count; i++) {
            const struct meta_response *response = &request.responses[i];
            assert(response->entry_count <= 3);
            for (uint32_t e = 0; e < response->entry_count; e++) {
                touch(response->entries[e].key);
                touch(response->entries[e].value);
                assert(response->entries[e].key.length > 0);
            }
        }
    }
    if (result == 0 && kind == META_LEASE_GRANT)
        assert(request.lease != 0 && request.ttl_ns != 0);
    meta_request_done(&request);
}

static const struct grpc_events events = {
    .message = etcd_call_message,
    .ended = etcd_call_ended,
};

static void check_events(struct etcd_watch *watch)
{
    uint64_t revision = 0;
    bool last = true;
    LIST_EACH (&watch->ready, node) {
        const struct meta_item *item = LIST_ENTRY(node, struct meta_item, node);
        assert(last ? item->event.revision > revision : item->event.revision == revision);
        revision = item->event.revision;
        last = item->event.last;
        touch(item->event.entry.key);
        touch(item->event.entry.value);
    }
    assert(last);
}

static void fuzz_watch(const uint8_t *data, size_t size)
{
    struct etcd_watch *watch = calloc(1, sizeof *watch);
    struct etcd_link *link = calloc(1, sizeof *link);
    assert(watch != NULL && link != NULL);
    struct grpc_options options = {
        .authority = "a",
        .events = &events,
        .owner = link,
        .message_bytes_max = 1 << 20,
        .held_bytes_max = 1 << 20,
        .queued_bytes_max = 1 << 20,
    };
    link->etcd = &etcd;
    link->fd = -1;
    list_init(&link->calls);
    list_push_back(&etcd.links, &link->node);
    assert(grpc_session_new(&options, &link->grpc) == 0);
    watch->call = (struct etcd_call){.kind = CALL_WATCH, .watch = watch};
    list_init(&watch->call.node);
    list_init(&watch->ready);
    list_init(&watch->pending);
    assert(etcd_call_send(link, &watch->call, 0) == 0);
    for (size_t at = 0; at + 2 <= size && !watch->over && !link->dead;) {
        size_t length = MIN((size_t)get16(data + at), size - at - 2);
        etcd_watch_message(watch, link, data + at + 2, (uint32_t)length);
        at += 2 + length;
    }
    check_events(watch);
    etcd_link_kill(link, "over");
    etcd_link_close(link);
    list_remove(&watch->call.node);
    etcd_watch_free(watch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    begin();
    switch (data[0] % 4) {
    case 0: fuzz_request(META_TRANSACTION, data[1], data + 2, size - 2); break;
    case 1: fuzz_request(META_LEASE_GRANT, 0, data + 1, size - 1); break;
    case 2: fuzz_request(META_LEASE_KEEP, 0, data + 1, size - 1); break;
    default: fuzz_watch(data + 1, size - 1); break;
    }
    pthread_mutex_destroy(&etcd.mutex);
    return 0;
}
